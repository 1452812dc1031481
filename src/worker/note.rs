//! What the loops log and count of a reply: each occurrence once, with words that read alone.

use crate::capture::decide::{Note, Reply, Subject};
use crate::capture::why::Missing;
use crate::ids::{AccountName, CaptureId, OrderId, ShipmentId};
use crate::money::Money;
use crate::telemetry::{self, metric};

macro_rules! say {
    ($level:ident, $subject:expr, $($message:tt)+) => {
        tracing::$level!(
            order.id = $subject.order.as_ref().map(OrderId::as_str),
            shipment.id = $subject.shipment.as_ref().map(ShipmentId::as_str),
            capture.id = $subject.capture.as_ref().map(CaptureId::to_string),
            account = $subject.account.as_ref().map(AccountName::as_str),
            $($message)+
        )
    };
}

/// Logs and counts what came of a command.
pub(super) fn note(reply: &Reply) {
    let subject = &reply.subject;
    match &reply.note {
        Note::Planned(amount) => say!(debug, subject, "capture of {amount} planned"),
        Note::Deferred => say!(debug, subject, "shipment waits to be captured with others"),
        Note::Zero => {
            say!(debug, subject, "nothing to capture, succeeded without a call");
            count(subject, "succeeded");
        }
        Note::Awaiting(missing) => say!(info, subject, "shipment waits: {}", lacks(*missing)),
        Note::Kept(reason) => say!(info, subject, "notice waits: {} yet", reason.as_str().replace('_', " ")),
        Note::Restored { adopted, found } => restored(subject, *adopted, *found),
        Note::Registered => say!(debug, subject, "authorization and plan registered"),
        Note::Cancelled => say!(info, subject, "what has not shipped was cancelled"),
        Note::Refused(reason) => {
            say!(warn, subject, "refused: {}", reason.as_str());
            count(subject, "refused");
        }
        Note::Repeated => say!(debug, subject, "the same notice again, nothing else happens"),
        Note::DeadLettered { id, reason, path, message } => {
            say!(warn, subject, "message set aside as {}: {path} {message} (dead letter {id})", reason.as_str());
            metrics::counter!(metric::REJECTED, "reason" => reason.as_str()).increment(1);
        }
        Note::Collected(id) => {
            say!(warn, subject, "the broker gave up on a message; kept as dead letter {id}");
            metrics::counter!(metric::REJECTED, "reason" => "delivery_limit").increment(1);
        }
        Note::LookAgain(_) => say!(debug, subject, "a notice that waits is looked at again"),
        Note::Begun => say!(debug, subject, "attempt begun"),
        Note::Looking => say!(debug, subject, "looking at the provider"),
        Note::Captured(amount) => {
            say!(debug, subject, "captured {amount}");
            count(subject, "succeeded");
            telemetry::clear("account_misconfigured", subject.account.as_ref());
        }
        Note::Failed(reason) => {
            say!(warn, subject, "not captured: {}", reason.as_str());
            count(subject, "failed");
        }
        Note::InDoubt(why) => say!(warn, subject, "in doubt: {why}"),
        Note::PutOff(why) => say!(info, subject, "certainly not executed, will be sent again: {why}"),
        Note::Held(why) => say!(warn, subject, "held by a cap of its account: {why}"),
        Note::Released(amount) => say!(warn, subject, "released by hand: no cap holds its {amount} any more"),
        Note::Parked(why) => {
            say!(info, subject, "parked, nothing failed: {why}");
            let message = format!("captures are parked, none failed; check the account's settings: {why}");
            telemetry::alarm("account_misconfigured", subject.account.as_ref(), &message);
        }
        Note::Corrected => corrected(subject),
        Note::Frozen => say!(debug, subject, "stopped collecting"),
        Note::ReadAgain(why) => say!(info, subject, "the authorization is read again: {why}"),
        Note::Expiring(at) => say!(warn, subject, "an authorization with uncaptured money expires at {at}"),
        Note::Expired { captured_elsewhere, released } => over(subject, *captured_elsewhere, *released),
        Note::Halted(amount) => halted(subject, *amount),
        Note::Resumed(why) => say!(warn, subject, "no longer halted: {why}"),
        Note::Unresolved(amount) => {
            say!(warn, subject, "closed by hand without an answer: {amount} stays reserved");
            count(subject, "unresolved");
        }
        Note::NotDone(why) => say!(info, subject, "not done: {why}"),
        Note::Replayed(_) => {
            say!(info, subject, "replayed");
            metrics::counter!(metric::REPLAYED, "result" => "replayed").increment(1);
        }
        Note::NotReplayed(why) => {
            say!(warn, subject, "not replayed: {}", why.message);
            metrics::counter!(metric::REPLAYED, "result" => "not_replayed").increment(1);
        }
        Note::Nothing | Note::Published => {}
    }
}

/// What a shipment waits for.
const fn lacks(missing: Missing) -> &'static str {
    match missing {
        Missing::Authorization => "its authorization is not known yet",
        Missing::Plan => "the plan of its order is not known yet",
        Missing::Account => "its account is not in the settings",
        Missing::Reading => "its authorization is read first",
        Missing::Republication => "what it may have been captured on or with comes again, after the restore",
    }
}

fn corrected(subject: &Subject) {
    say!(error, subject, "captured after all: evidence arrived after the outcome was published");
    count(subject, "corrected");
}

fn restored(subject: &Subject, adopted: u32, found: u32) {
    if adopted + found == 0 {
        say!(debug, subject, "read, and as the ledger says");
    } else {
        let unknown = "under keys of which the ledger has no notice";
        say!(info, subject, "read: {adopted} captures of ours adopted, {found} {unknown}");
    }
}

fn over(subject: &Subject, captured_elsewhere: Money, released: Money) {
    if captured_elsewhere.is_zero() {
        say!(info, subject, "the authorization is over, {released} released");
    } else {
        say!(
            error,
            subject,
            "the authorization is over, {captured_elsewhere} captured and not by us, {released} released: review it"
        );
    }
}

fn halted(subject: &Subject, amount: Money) {
    say!(
        error,
        subject,
        "halted: {amount} was captured by somebody else, nothing is sent on this one authorization: \
         holdfast authorizations list --halted"
    );
}

fn count(subject: &Subject, outcome: &'static str) {
    // A shipment that was refused before its account was known belongs to none.
    match &subject.account {
        Some(account) => telemetry::count_outcome(account, outcome),
        None => metrics::counter!(metric::CAPTURES, "account" => "", "outcome" => outcome).increment(1),
    }
}
