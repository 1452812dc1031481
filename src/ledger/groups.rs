//! The writer of a ledger: one transaction after another, each with whatever has queued up, of all kinds.
//! It does not decide, and it ends for good when the store fails.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::capture::decide::Command;
use crate::ledger::fold::{self, Store};
use crate::ledger::{Environment, Executed, LedgerError};

/// Commands that are executed together, and who waits for them.
pub(super) struct Group {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Executed, LedgerError>>,
}

impl Group {
    /// Commands of one caller, and where the answer comes.
    pub(super) fn of(commands: Vec<Command>) -> (Self, oneshot::Receiver<Result<Executed, LedgerError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { commands, reply }, answer)
    }
}

/// Executes groups of about `size_max` commands at most, until there is nothing more to receive.
pub(super) fn run(
    mut store: impl Store,
    environment: &Environment,
    mut groups: mpsc::Receiver<Group>,
    size_max: usize,
) {
    while let Some(first) = groups.blocking_recv() {
        if let Err(error) = serve(&mut store, environment, &mut groups, first, size_max) {
            tracing::error!(%error, "the ledger failed and takes nothing more");
            return;
        }
    }
    store.close();
}

fn serve(
    store: &mut impl Store,
    environment: &Environment,
    groups: &mut mpsc::Receiver<Group>,
    first: Group,
    size_max: usize,
) -> Result<(), LedgerError> {
    let mut group = Vec::new();
    let mut waiting = Vec::new();
    let mut next = Some(first);
    while let Some(Group { mut commands, reply }) = next.take() {
        waiting.push((commands.len(), reply));
        group.append(&mut commands);
        if group.len() < size_max {
            next = groups.try_recv().ok();
        }
    }
    let size = group.len();
    let started = Instant::now();
    let executed = fold::execute(store, environment, group);
    crate::telemetry::note_commit(size, started.elapsed());
    answer(executed, waiting)
}

/// Gives each caller its part.
fn answer(
    executed: Result<Executed, LedgerError>,
    waiting: Vec<(usize, oneshot::Sender<Result<Executed, LedgerError>>)>,
) -> Result<(), LedgerError> {
    let executed = match executed {
        Ok(executed) => executed,
        Err(error) => {
            for (_, reply) in waiting {
                let _ = reply.send(Err(error.clone()));
            }
            return Err(error);
        }
    };
    let mut replies = executed.replies.into_iter();
    // The first caller carries the events of the whole group to the relay.
    let mut outbox = executed.outbox;
    for (count, reply) in waiting {
        let part = Executed { replies: replies.by_ref().take(count).collect(), outbox: std::mem::take(&mut outbox) };
        let _ = reply.send(Ok(part));
    }
    Ok(())
}
