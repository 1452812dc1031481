//! A look that an operator asked for: reads a capture's authorization at its provider now, has it judged
//! as any other read, and answers in words what the provider said and what became of the capture.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::decide::{Call, Command, Evidence, Intervention, Note, Operator, Reply, Settle};
use crate::capture::evidence::{AuthorizationStatus, AuthorizationView, Reading, SeenCapture};
use crate::capture::records::CaptureKey;
use crate::ids::{AccountName, CaptureId};
use crate::ledger::desk::Answer;
use crate::money::Money;
use crate::worker::account::{Operation, Permit, Signal};
use crate::worker::executor::Executor;
use crate::worker::{call, note, requests};

/// How long it may wait for a permit of the account.
const PERMIT_WITHIN: Duration = Duration::from_secs(10);

/// How often it asks for one.
const PERMIT_EVERY: Duration = Duration::from_millis(20);

/// What to look at, and who wants to know.
pub(super) struct Request {
    pub(super) by: String,
    pub(super) capture: CaptureKey,
    pub(super) id: CaptureId,
    pub(super) account: AccountName,
}

/// Looks, and answers the request.
pub(super) async fn look(executor: &Arc<Executor>, row: i64, request: Request) {
    let Some(answer) = answer(executor, request).await else { return };
    requests::answer(executor, row, answer).await;
}

/// `None`: the ledger has failed.
async fn answer(executor: &Arc<Executor>, request: Request) -> Option<Answer> {
    let Some(permit) = permit(executor, &request.account).await else {
        let state = executor.lane(&request.account).map(|lane| lane.status().state.replace('_', " "));
        let state = state.unwrap_or_else(|| "not configured".to_owned());
        return Some(requests::refused(format!(
            "no call can be made for {} now, it is {state}: holdfast accounts list",
            request.account
        )));
    };
    let Request { by, capture, id, .. } = request;
    let what = Intervention::Look { capture, id };
    let begin = Command::Operator(Box::new(Operator { by, why: String::new(), what }));
    let reply = execute(executor, begin).await?;
    match reply {
        Ok(Reply { ticket: Some(ticket), .. }) => {
            let reading = call::lookup(permit.lane(), &ticket.reference, &ticket.traces).await;
            settle(executor, permit, ticket.call, &ticket.reference, reading, id).await
        }
        Ok(Reply { note: Note::NotDone(why), .. }) | Err(why) => Some(requests::refused(why)),
        Ok(reply) => Some(requests::refused(format!("it could not be looked at: {:?}", reply.note))),
    }
}

async fn permit(executor: &Executor, account: &AccountName) -> Option<Permit> {
    let lane = Arc::clone(executor.lane(account)?);
    let wait = async {
        // A pause lasts for as long as its operator says.
        while executor.may_start() && lane.status().state != "paused" {
            let permit = lane.permit_ahead();
            if permit.is_some() {
                return permit;
            }
            tokio::time::sleep(PERMIT_EVERY).await;
        }
        None
    };
    tokio::time::timeout(PERMIT_WITHIN, wait).await.ok().flatten()
}

/// Books what the read shows.
async fn settle(
    executor: &Arc<Executor>,
    mut permit: Permit,
    begun: Call,
    reference: &crate::ids::Reference,
    reading: Reading,
    id: CaptureId,
) -> Option<Answer> {
    permit.answered(Operation::Lookup, reference, &Signal::of_reading(&reading));
    executor.tell(permit.lane());
    let Call::Look { capture, epoch } = begun else { unreachable!("a look was begun") };
    let said = said(&reading, id);
    let evidence = Evidence::Reading(reading);
    let settle = Command::Settle(Box::new(Settle { capture, epoch, evidence, start: false }));
    match execute(executor, settle).await? {
        Ok(reply) => {
            note::note(&reply);
            let message = format!("{said}\n{}", became(&reply.note));
            executor.carry_on(reply, Some(permit));
            Some(Answer { done: true, message })
        }
        Err(why) => Some(requests::refused(format!("{said}\nwhat it means could not be booked: {why}"))),
    }
}

async fn execute(executor: &Executor, command: Command) -> Option<Result<Reply, String>> {
    let reply = executor.execute(vec![command]).await?.pop()?;
    Some(reply.map_err(|failed| failed.to_string()))
}

/// What the provider said, in words.
fn said(reading: &Reading, capture: CaptureId) -> String {
    match reading {
        Reading::Seen(view) => format!("the provider says: {}", seen(view, capture)),
        Reading::Unclear(doubt) => format!("the provider gave no answer to rely on: {}", doubt.message),
        Reading::Misconfigured(fault) => format!("the provider does not let us read: {}", fault.message),
    }
}

fn seen(view: &AuthorizationView, capture: CaptureId) -> String {
    let status = match view.status {
        AuthorizationStatus::NotYetApproved => "not yet approved",
        AuthorizationStatus::Open => "open",
        AuthorizationStatus::FullyCaptured => "captured, nothing is left",
        AuthorizationStatus::Declined => "declined",
        AuthorizationStatus::Expired => "expired",
        AuthorizationStatus::Voided => "voided or reversed",
    };
    let balance = &view.balance;
    let amounts = [
        (view.authorized, "authorized"),
        (balance.captured, "captured"),
        (balance.voided.filter(|voided| !voided.is_zero()), "voided"),
        (balance.remaining, "left"),
    ];
    let amounts = amounts.into_iter().filter_map(|(amount, word)| Some(format!("{} {word}", amount?)));
    let expiry = balance.expires_at.map(|at| format!("expires at {}", at.format("%Y-%m-%d %H:%M:%S UTC")));
    let pending = view.has_pending_capture.then(|| "a capture is not approved yet".to_owned());
    let captures = view.captures.iter().map(|event| one_capture(event, capture));
    let parts: Vec<String> =
        std::iter::once(status.to_owned()).chain(amounts).chain(expiry).chain(pending).chain(captures).collect();
    parts.join("; ")
}

fn one_capture(event: &SeenCapture, capture: CaptureId) -> String {
    let whose = match event.capture {
        Some(id) if id == capture => " under this capture's key".to_owned(),
        Some(id) => format!(" under the key {id}"),
        None => String::new(),
    };
    let reference = event.provider_reference.as_deref().map(|it| format!(" ({it})")).unwrap_or_default();
    let amount: Money = event.amount;
    format!("a capture of {amount}{whose}{reference}")
}

/// What became of the capture.
fn became(note: &Note) -> String {
    if let Note::Captured(amount) = note {
        format!("it is captured: {amount}")
    } else if let Note::Failed(reason) = note {
        format!("it has failed: {}", reason.as_str())
    } else if let Note::InDoubt(why) = note {
        format!("it stays in doubt: {why}")
    } else if let Note::Parked(why) = note {
        format!("it stays in doubt, and is looked at again later: {why}")
    } else if *note == Note::Corrected {
        "it was captured after all: a correction is booked and published".to_owned()
    } else {
        "nothing follows from it: it stands as before, or is sent again in its turn".to_owned()
    }
}
