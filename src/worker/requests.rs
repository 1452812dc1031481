//! What operators ask: carries it out, and answers.
//!
//! Only what was put while this worker runs: whoever asked before is not waiting any more.

use std::sync::Arc;

use crate::ids::AccountName;
use crate::ledger::LedgerError;
use crate::ledger::sqlite::desk::{Answer, Desk, Request, What};
use crate::worker::account::Lane;
use crate::worker::executor::Executor;
use crate::worker::replay;

/// Refuses what was asked while no worker ran.
pub(super) fn refuse_old(desk: &Desk) -> Result<(), LedgerError> {
    for (row, _) in desk.open_requests()? {
        desk.answer(row, &refused("no worker ran when it was asked: ask again".to_owned()))?;
    }
    Ok(())
}

/// Carries out what is asked now.
pub(super) async fn carry_out(executor: &Arc<Executor>) -> Result<(), LedgerError> {
    let desk = Arc::clone(executor.desk());
    let executor = Arc::clone(executor);
    let work = move || {
        for (row, request) in desk.open_requests()? {
            if let Some(request) = request {
                carry_out_one(&executor, row, &request)?;
            } else {
                let message = "the worker does not know this request: it is of another version".to_owned();
                desk.answer(row, &refused(message))?;
            }
        }
        Ok(())
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| LedgerError::Failed(error.to_string()))?
}

fn carry_out_one(executor: &Arc<Executor>, row: i64, request: &Request) -> Result<(), LedgerError> {
    match &request.what {
        What::PauseAccount { account } | What::ResumeAccount { account } => {
            change_account(executor, row, request, account)
        }
        What::StartReplay { .. }
        | What::PauseReplay { .. }
        | What::ResumeReplay { .. }
        | What::StopReplay { .. }
        | What::DiscardDeadLetters { .. }
        | What::RestoreDeadLetters { .. } => replay::carry_out(executor, row, request),
    }
}

fn change_account(executor: &Arc<Executor>, row: i64, request: &Request, account: &str) -> Result<(), LedgerError> {
    let Some(lane) = AccountName::parse(account).ok().and_then(|name| executor.lane(&name)) else {
        let answer = refused(format!("no account of that name is configured: {}", names(executor)));
        return executor.desk().answer(row, &answer).map(drop);
    };
    let message = if matches!(request.what, What::PauseAccount { .. }) { pause(lane, request) } else { resume(lane) };
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

fn refused(message: String) -> Answer {
    Answer { done: false, message }
}

fn names(executor: &Executor) -> String {
    let mut names: Vec<&str> = executor.lanes().map(|lane| lane.name.as_str()).collect();
    names.sort_unstable();
    if names.is_empty() { "there is none".to_owned() } else { names.join(", ") }
}
