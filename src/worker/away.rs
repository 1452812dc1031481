//! The ledger's server is away when a worker starts, or still when it has to end.
//!
//! At the start it is waited for, as for the broker; what does not pass by itself (a wrong password, no such
//! database, a server that forgets) ends the start at once. At the end it is waited for as long as calls are:
//! then the worker goes without it, as a crash does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::http::Readiness;
use crate::ledger::{LedgerError, restore};
use crate::settings::Settings;
use crate::worker::desk::off_the_loop;
use crate::worker::executor::Executor;
use crate::worker::run::{Worker, WorkerError};

/// Between two tries: shortest, longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Longer than this it does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Starts a worker as soon as its ledger can be reached; `after_restore` marks the ledger as restored from a
/// backup first. Says once that it waits, and in `readiness` why.
///
/// # Errors
/// [`WorkerError`]; never because the ledger's server or the broker is away.
pub async fn start(
    settings: &Settings,
    after_restore: bool,
    readiness: watch::Sender<Readiness>,
) -> Result<Worker, WorkerError> {
    let mut marks = after_restore;
    let mut pause = None;
    loop {
        let why = match attempt(settings, &mut marks, readiness.clone()).await {
            Err(WorkerError::Ledger(LedgerError::Away(why))) => why,
            started => {
                if started.is_ok() && pause.is_some() {
                    tracing::info!(ledger = %settings.ledger, "the ledger is there");
                }
                return started;
            }
        };
        if pause.is_none() {
            tracing::warn!(ledger = %settings.ledger, "the ledger cannot be reached, and the start waits for it: {why}");
        }
        readiness.send_modify(|readiness| readiness.ledger_writable = Err(format!("waiting for the ledger: {why}")));
        let longest = pause.unwrap_or(PAUSE_MIN);
        tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
        pause = Some((longest * 2).min(PAUSE_MAX));
    }
}

async fn attempt(
    settings: &Settings,
    marks: &mut bool,
    readiness: watch::Sender<Readiness>,
) -> Result<Worker, WorkerError> {
    if *marks {
        let ledger = settings.ledger.clone();
        off_the_loop(move || restore::begin(&ledger)).await?;
        *marks = false;
    }
    Worker::start(settings, readiness).await
}

/// Resolves when `grace` is over and the ledger does not answer.
pub(super) async fn is_given_up(executor: &Arc<Executor>, grace: Duration) {
    tokio::time::sleep(grace).await;
    while executor.silence() <= ANSWER_MAX && tokio::time::timeout(ANSWER_MAX, executor.ledger().vitals()).await.is_ok()
    {
        tokio::time::sleep(ANSWER_MAX).await;
    }
}
