//! Step 6 for captures: applies a verdict to the books, and hands on the turn.

use chrono::TimeDelta;

use crate::capture::ask;
use crate::capture::books::Books;
use crate::capture::collect;
use crate::capture::decide::{Context, Evidence, Note, Reply, Settle};
use crate::capture::due;
use crate::capture::event::{FailureReason, ResolvedBy};
use crate::capture::evidence::{Answer, AuthorizationStatus, AuthorizationView, ProviderBalance, Reading};
use crate::capture::foreign;
use crate::capture::judge::{self, Case, Verdict};
use crate::capture::outcome::{self, Cause};
use crate::capture::policy::{AccountPolicy, Captures};
use crate::capture::records::{AuthorizationKey, Capture, CaptureKey, CaptureProgress, SingleUse};
use crate::capture::states::CaptureState;
use crate::clock::{self, Timestamp};
use crate::money::Money;

/// Books what a request or a read came to.
pub(super) fn settle(books: &mut Books, settle: Settle, context: Context<'_>) -> Reply {
    let Settle { capture, epoch, evidence, start } = settle;
    let Some(record) = books.captures().find(capture) else { return Reply::nothing(Note::Nothing) };
    let authorization = record.authorization;
    let Some(account) = account_of(books, record, context) else {
        // The account is not configured any more: nothing was asked, nothing is concluded.
        return Reply::nothing(Note::Nothing);
    };
    note_evidence(books, authorization, &evidence, context);
    let case = Case {
        capture: books.capture(capture),
        authorization: books.authorization(authorization),
        account,
        epoch,
        context,
    };
    let shown = Shown::of(&evidence);
    let verdict = judge::judge(&case, evidence);
    let subject = outcome::subject_of_capture(books, capture);
    let reply = apply(books, capture, verdict, start, context).about(subject);
    match shown {
        Shown::Nothing => reply,
        Shown::Balance(balance) => {
            foreign::note_answer(books, authorization, balance, context);
            reply
        }
        Shown::View(view) => {
            let corrected = adopt(books, authorization, &view, context);
            foreign::note_view(books, authorization, &view, context);
            match corrected {
                Some(corrected) => reply.with_note(corrected.note).about(corrected.subject),
                None => reply,
            }
        }
    }
}

/// What the evidence about one capture shows of all of its authorization.
enum Shown {
    Nothing,
    Balance(ProviderBalance),
    View(Box<AuthorizationView>),
}

impl Shown {
    fn of(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::Answer(Answer::Captured(proof)) => Self::Balance(proof.balance),
            Evidence::Reading(Reading::Seen(view)) => Self::View(view.clone()),
            Evidence::Answer(
                Answer::Pending
                | Answer::Refused(_)
                | Answer::Doubt(_)
                | Answer::NotExecuted(_)
                | Answer::Misconfigured(_),
            )
            | Evidence::Reading(Reading::Unclear(_) | Reading::Misconfigured(_))
            | Evidence::Interrupted => Self::Nothing,
        }
    }
}

/// Books what a read about something else proves of captures that were closed by hand without an answer.
/// The last of them, where there are any.
pub(super) fn adopt(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    context: Context<'_>,
) -> Option<Reply> {
    if books.authorization(authorization).unresolved == 0 {
        return None;
    }
    let evidence = Evidence::Reading(Reading::Seen(Box::new(view.clone())));
    let mut reply = None;
    for capture in books.unresolved_on(authorization) {
        reply = apply_positive(books, capture, &evidence, context).or(reply);
    }
    reply
}

/// Books what evidence about an authorization proves of one of its captures, where it proves anything.
pub(super) fn apply_positive(
    books: &mut Books,
    capture: CaptureKey,
    evidence: &Evidence,
    context: Context<'_>,
) -> Option<Reply> {
    let record = books.capture(capture);
    let account = account_of(books, record, context)?;
    let authorization = books.authorization(record.authorization);
    let case = Case { capture: record, authorization, account, epoch: record.progress.epoch, context };
    let verdict = judge::judge_positive(&case, evidence)?;
    let subject = outcome::subject_of_capture(books, capture);
    Some(apply(books, capture, verdict, false, context).about(subject))
}

fn account_of<'a>(books: &Books, capture: &Capture, context: Context<'a>) -> Option<&'a AccountPolicy> {
    context.policy.accounts.get(&books.authorization(capture.authorization).account)
}

/// Keeps what the evidence says of the authorization, whatever it means for the capture.
fn note_evidence(books: &mut Books, authorization: AuthorizationKey, evidence: &Evidence, context: Context<'_>) {
    match evidence {
        Evidence::Answer(Answer::Captured(proof)) => note_balance(books, authorization, proof.balance, context),
        Evidence::Reading(Reading::Seen(view)) => note_provider(books, authorization, view, context),
        Evidence::Answer(
            Answer::Pending | Answer::Refused(_) | Answer::Doubt(_) | Answer::NotExecuted(_) | Answer::Misconfigured(_),
        )
        | Evidence::Reading(Reading::Unclear(_) | Reading::Misconfigured(_))
        | Evidence::Interrupted => {}
    }
}

/// Keeps what a view says of an authorization; when it was made tells when it dies, where nobody does.
pub(super) fn note_provider(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    context: Context<'_>,
) {
    note_balance(books, authorization, view.balance, context);
    ask::derive_expiry(books, authorization, view, context);
    let holds_nothing = view.balance.remaining.is_some_and(Money::is_zero);
    match view.status {
        AuthorizationStatus::Expired | AuthorizationStatus::Voided | AuthorizationStatus::Declined => {
            note_over(books, authorization, true);
        }
        AuthorizationStatus::Open if !holds_nothing => note_over(books, authorization, false),
        AuthorizationStatus::Open | AuthorizationStatus::NotYetApproved | AuthorizationStatus::FullyCaptured => {}
    }
}

/// Keeps that nothing can be taken from it any more, as its provider says; or that something can after all.
pub(super) fn note_over(books: &mut Books, authorization: AuthorizationKey, is_over: bool) {
    let record = books.authorization(authorization);
    let over = is_over.then(|| record.hold());
    if record.watch.over != over {
        books.watch_mut(authorization).over = over;
    }
}

/// Keeps what the provider says beside our own books, and what it said before where it says nothing
/// now; its word on the expiry is the truth.
fn note_balance(books: &mut Books, authorization: AuthorizationKey, balance: ProviderBalance, context: Context<'_>) {
    let before = books.authorization(authorization).provider;
    let known = ProviderBalance {
        captured: balance.captured.or(before.captured),
        voided: balance.voided.or(before.voided),
        remaining: balance.remaining.or(before.remaining),
        expires_at: balance.expires_at.or(before.expires_at),
    };
    let has_moved = |told| books.authorization(authorization).expires_at.is_none_or(|known| is_another(known, told));
    let has_moved = balance.expires_at.is_some_and(has_moved);
    if known == before && !has_moved {
        return;
    }
    let record = books.authorization_mut(authorization);
    record.provider = known;
    let Some(told) = balance.expires_at else { return };
    if has_moved {
        record.expires_at = Some(told);
    }
    if has_moved || record.expiry_is_derived {
        record.expiry_is_derived = false;
        due::move_deadline(books, authorization, context);
    }
}

/// Within a second it is the same expiry, told in finer or coarser parts: one in milliseconds, another
/// in nanoseconds. Taken for another one, it would be warned of anew.
fn is_another(known: Timestamp, told: Timestamp) -> bool {
    told.signed_duration_since(known).abs() >= TimeDelta::seconds(1)
}

fn apply(books: &mut Books, capture: CaptureKey, verdict: Verdict, start: bool, context: Context<'_>) -> Reply {
    let authorization = books.capture(capture).authorization;
    match verdict {
        Verdict::Captured { resolved_by, provider_reference } => {
            let amount = books.capture(capture).amount;
            if resolved_by == ResolvedBy::Response {
                note_over(books, authorization, false);
            }
            outcome::captured(books, capture, resolved_by, provider_reference, context);
            after_single(books, capture, context);
            due::hand_on(books, authorization, start, context).with_note(Note::Captured(amount))
        }
        Verdict::Corrected { resolved_by, provider_reference } => {
            due::note(books, capture, "corrected", format!("by {}", resolved_by.as_str()), context);
            outcome::corrected(books, capture, resolved_by, provider_reference, context);
            after_correction(books, capture, context);
            Reply::nothing(Note::Corrected)
        }
        Verdict::Failed(cause) => {
            let reason = cause.reason;
            if matches!(reason, FailureReason::AuthorizationExpired | FailureReason::AuthorizationVoided) {
                note_over(books, authorization, true);
            }
            due::note(books, capture, "failed", cause.message.clone(), context);
            outcome::failed(books, capture, &cause, context);
            after_single(books, capture, context);
            due::hand_on(books, authorization, start, context).with_note(Note::Failed(reason))
        }
        Verdict::PutOff { progress, wait, parked, why } => {
            due::note(books, capture, if parked { "parked" } else { "not_executed" }, why.clone(), context);
            let due_at = clock::after(context.now.wall, wait);
            take_state(books, capture, CaptureState::Planned, progress, due_at);
            let note = if parked { Note::Parked(why) } else { Note::PutOff(why) };
            due::hand_on(books, authorization, start, context).with_note(note)
        }
        Verdict::InDoubt { progress, due_at, parked, why } => {
            due::note(books, capture, if parked { "parked" } else { "in_doubt" }, why.clone(), context);
            take_state(books, capture, CaptureState::InDoubt, progress, due_at);
            Reply::nothing(if parked { Note::Parked(why) } else { Note::InDoubt(why) })
        }
        Verdict::Resend { progress } => resend(books, capture, progress, start, context),
        Verdict::Nothing => Reply::nothing(Note::Nothing),
    }
}

fn resend(
    books: &mut Books,
    capture: CaptureKey,
    progress: CaptureProgress,
    start: bool,
    context: Context<'_>,
) -> Reply {
    due::note(books, capture, "looked", "nothing captured yet: may be sent again".to_owned(), context);
    if !due::may_send_again(books, capture, context) {
        // It stays in doubt: what was begun may be under way, and is looked at again.
        books.capture_mut(capture).due_at = Some(clock::after(context.now.wall, context.policy.awaiting_check));
        return Reply::nothing(Note::Nothing);
    }
    books.capture_mut(capture).progress = progress;
    if start {
        return due::begin(books, capture, context);
    }
    books.capture_mut(capture).due_at = Some(context.now.wall);
    Reply::nothing(Note::Nothing)
}

fn take_state(
    books: &mut Books,
    capture: CaptureKey,
    state: CaptureState,
    progress: CaptureProgress,
    due_at: Timestamp,
) {
    if books.capture(capture).state != state {
        books.move_capture(capture, state);
    }
    let record = books.capture_mut(capture);
    record.progress = progress;
    record.due_at = Some(due_at);
    record.waits_turn = false;
}

/// What the end of a single capture means for the authorization, and for shipments that came later.
pub(super) fn after_single(books: &mut Books, capture: CaptureKey, context: Context<'_>) {
    let record = books.capture(capture);
    let authorization = record.authorization;
    let (is_captured, is_unresolved) =
        (record.state == CaptureState::Captured, record.state == CaptureState::Unresolved);
    let account = account_of(books, record, context);
    if account.is_none_or(|account| account.captures == Captures::Multiple) {
        return;
    }
    let was_captured_elsewhere = books
        .shipments_of(capture)
        .into_iter()
        .any(|shipment| books.shipment(shipment).reason == Some(FailureReason::CapturedElsewhere));
    let was_corrected_before = !books.authorization(authorization).captured.is_zero();
    if is_captured || was_captured_elsewhere || was_corrected_before {
        use_up(books, authorization, USED, context);
    } else if is_unresolved {
        use_up(books, authorization, PERHAPS_USED, context);
    } else {
        books.authorization_mut(authorization).single = SingleUse::Free;
        if books.authorization(authorization).waiting > 0 {
            collect::schedule(books, authorization, context);
        }
    }
}

/// A single capture that had failed was captured after all: nothing is left for those who came later,
/// unless another capture is under way, whose own evidence tells.
fn after_correction(books: &mut Books, capture: CaptureKey, context: Context<'_>) {
    let authorization = books.capture(capture).authorization;
    let account = account_of(books, books.capture(capture), context);
    let is_single = account.is_some_and(|account| account.captures == Captures::Single);
    if is_single && books.authorization(authorization).single == SingleUse::Free {
        use_up(books, authorization, USED, context);
    }
}

const USED: &str = "the authorization's one capture was used for the shipments before it";
const PERHAPS_USED: &str =
    "the authorization's one capture may have been used: it was closed by hand without an answer";

fn use_up(books: &mut Books, authorization: AuthorizationKey, message: &str, context: Context<'_>) {
    books.authorization_mut(authorization).single = SingleUse::Used;
    let cause = Cause::local(FailureReason::CaptureAlreadyUsed, message);
    collect::end_set(books, authorization, &cause, context);
}
