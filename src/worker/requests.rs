//! What operators ask: carries it out, and answers.
//!
//! Only what was put while this worker runs: whoever asked before is not waiting any more.

use std::sync::Arc;

use uuid::Uuid;

use crate::capture::decide::{Closing, Command, Intervention, Note, Operator};
use crate::capture::records::{AuthorizationKey, CaptureKey};
use crate::ids::{AccountName, CaptureId};
use crate::ledger::LedgerError;
use crate::ledger::desk::{Answer, Desk, Request, What};
use crate::worker::account::Lane;
use crate::worker::desk::at_desk;
use crate::worker::executor::Executor;
use crate::worker::{look, note, replay};

/// Refuses what was asked while no worker ran. Where another one runs, that is carried out.
pub(super) fn refuse_old(desk: &Desk) -> Result<(), LedgerError> {
    if desk.has_others()? {
        return Ok(());
    }
    for (row, _) in desk.open_requests()? {
        desk.answer(row, &refused("no worker ran when it was asked: ask again".to_owned()))?;
    }
    Ok(())
}

/// Carries out what is asked now.
pub(super) async fn carry_out(executor: &Arc<Executor>) -> Result<(), LedgerError> {
    let taken = at_desk(executor, Desk::take_requests).await?;
    for (row, request) in taken {
        if let Some(request) = request {
            carry_out_one(executor, row, request).await?;
        } else {
            let message = "the worker does not know this request: it is of another version".to_owned();
            at_desk(executor, move |desk| desk.answer(row, &refused(message.clone())).map(drop)).await?;
        }
    }
    Ok(())
}

async fn carry_out_one(executor: &Arc<Executor>, row: i64, request: Request) -> Result<(), LedgerError> {
    let intervention = match &request.what {
        What::PauseAccount { .. } | What::ResumeAccount { .. } => {
            let asked = Arc::clone(executor);
            return at_desk(executor, move |_| change_account(&asked, row, &request)).await;
        }
        What::StartReplay { .. }
        | What::PauseReplay { .. }
        | What::ResumeReplay { .. }
        | What::StopReplay { .. }
        | What::DiscardDeadLetters { .. }
        | What::RestoreDeadLetters { .. } => {
            let asked = Arc::clone(executor);
            return at_desk(executor, move |_| replay::carry_out(&asked, row, &request)).await;
        }
        What::LookCapture { row: capture, capture: id, account } => {
            let (id, account) = (capture_id(id), AccountName::parse(account).ok());
            if let Some((id, account)) = id.zip(account) {
                let (by, capture) = (request.by, CaptureKey::new(*capture));
                executor.look_for(row, look::Request { by, capture, id, account });
                return Ok(());
            }
            None
        }
        What::CloseCapture { row: capture, capture: id, captured } => capture_id(id).map(|id| {
            let closing = captured.clone().map(|reference| Closing::Captured { reference });
            let capture = CaptureKey::new(*capture);
            Intervention::Close { capture, id, closing: closing.unwrap_or(Closing::Unresolved) }
        }),
        What::ReleaseCapture { row: capture, capture: id } => {
            let capture = CaptureKey::new(*capture);
            capture_id(id).map(|id| Intervention::Release { capture, id })
        }
        What::ResumeAuthorization { row: authorization, .. } => {
            Some(Intervention::Resume { authorization: AuthorizationKey::new(*authorization) })
        }
    };
    let answer = match intervention {
        Some(what) => intervene(executor, request, what).await,
        None => Some(refused("the request names no capture or no account".to_owned())),
    };
    match answer {
        Some(answer) => at_desk(executor, move |desk| desk.answer(row, &answer).map(drop)).await,
        None => Ok(()),
    }
}

/// Pauses and resumes accounts as the ledger says: another worker may have been asked.
pub(super) async fn follow(executor: &Arc<Executor>) -> Result<(), LedgerError> {
    let pauses = at_desk(executor, Desk::pauses).await?;
    for lane in executor.lanes() {
        let Some(why) = pauses.get(lane.name.as_str()) else { continue };
        match (why, lane.status().state.as_str()) {
            (None, "paused") => drop(lane.resume()),
            (Some(_), "paused") | (None, _) => continue,
            (Some(why), _) => lane.pause(why.clone()),
        }
        executor.tell(lane);
        executor.pump(lane);
    }
    Ok(())
}

fn capture_id(text: &str) -> Option<CaptureId> {
    Uuid::try_parse(text).ok().map(CaptureId::from_uuid)
}

/// Has the core do what is asked. `None`: the ledger has failed.
async fn intervene(executor: &Arc<Executor>, request: Request, what: Intervention) -> Option<Answer> {
    let Request { by, reason, .. } = request;
    tracing::warn!(by, reason, "an operator asks: {what:?}");
    let command = Command::Operator(Box::new(Operator { by, why: reason, what }));
    let reply = match executor.execute(vec![command]).await?.pop()? {
        Ok(reply) => reply,
        Err(failed) => return Some(refused(failed.to_string())),
    };
    note::note(&reply);
    let answer = in_words(&reply.note);
    executor.carry_on(reply, None);
    Some(answer)
}

fn in_words(note: &Note) -> Answer {
    let done = |message: String| Answer { done: true, message };
    if let Note::Captured(amount) = note {
        done(format!("closed as captured: {amount} is booked, and capture.succeeded published"))
    } else if let Note::Unresolved(amount) = note {
        done(format!("closed as unresolved: {amount} stays reserved, and capture.unresolved is published"))
    } else if let Note::Released(amount) = note {
        done(format!("released: {amount} is sent as soon as it can be, whatever the caps of its account"))
    } else if let Note::Resumed(_) = note {
        done("resumed: what fits is sent, the rest is refused".to_owned())
    } else if let Note::NotDone(why) = note {
        refused(why.clone())
    } else {
        refused(format!("nothing was done: {note:?}"))
    }
}

fn change_account(executor: &Arc<Executor>, row: i64, request: &Request) -> Result<(), LedgerError> {
    let (account, pauses) = match &request.what {
        What::PauseAccount { account } => (account, true),
        What::ResumeAccount { account } => (account, false),
        What::LookCapture { .. }
        | What::CloseCapture { .. }
        | What::ReleaseCapture { .. }
        | What::ResumeAuthorization { .. }
        | What::StartReplay { .. }
        | What::PauseReplay { .. }
        | What::ResumeReplay { .. }
        | What::StopReplay { .. }
        | What::DiscardDeadLetters { .. }
        | What::RestoreDeadLetters { .. } => return Ok(()),
    };
    let Some(lane) = AccountName::parse(account).ok().and_then(|name| executor.lane(&name)) else {
        let answer = refused(format!("no account of that name is configured: {}", names(executor)));
        return executor.desk().answer(row, &answer).map(drop);
    };
    let mut message = if pauses { pause(lane, request) } else { resume(lane) };
    if executor.desk().has_others()? {
        message += "; other workers follow within seconds";
    }
    tracing::warn!(account = lane.name.as_str(), by = request.by, reason = request.reason, "asked for: {message}");
    executor.desk().set_pause(row, &lane.status(), &Answer { done: true, message })?;
    executor.tell(lane);
    executor.pump(lane);
    Ok(())
}

fn pause(lane: &Lane, request: &Request) -> String {
    lane.pause(format!("{} ({})", request.reason, request.by));
    let (waiting, in_flight) = lane.numbers();
    format!(
        "{} is paused: nothing more is sent; {in_flight} calls under way will be settled, {waiting} wait",
        lane.name
    )
}

fn resume(lane: &Lane) -> String {
    if !lane.resume() {
        return format!("{} was not paused: {} as before", lane.name, lane.status().state.replace('_', " "));
    }
    let (waiting, _) = lane.numbers();
    let state = lane.status().state.replace('_', " ");
    format!("{} is resumed, and {state}; {waiting} waited", lane.name)
}

/// Answers a request. A failure of the ledger ends the worker.
pub(super) async fn answer(executor: &Arc<Executor>, row: i64, answer: Answer) {
    if let Err(error) = at_desk(executor, move |desk| desk.answer(row, &answer).map(drop)).await {
        executor.fail(error);
    }
}

pub(super) fn refused(message: String) -> Answer {
    Answer { done: false, message }
}

fn names(executor: &Executor) -> String {
    let mut names: Vec<&str> = executor.lanes().map(|lane| lane.name.as_str()).collect();
    names.sort_unstable();
    if names.is_empty() { "there is none".to_owned() } else { names.join(", ") }
}
