//! The way to the desk from code that must not wait: on a thread where it may, and once more while the
//! ledger's server is away.

use std::sync::Arc;
use std::time::Duration;

use crate::ledger::LedgerError;
use crate::ledger::desk::Desk;
use crate::worker::executor::Executor;

/// Between two tries while the server is away: shortest, longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Asks or writes at the desk, off the loop. While the server is away, `work` is done again until it is
/// back, or until the ledger has failed; what `work` changes may have been changed by the first try.
pub(super) async fn at_desk<T: Send + 'static>(
    executor: &Executor,
    work: impl Fn(&Desk) -> Result<T, LedgerError> + Send + Sync + 'static,
) -> Result<T, LedgerError> {
    let desk = Arc::clone(executor.desk());
    patiently(executor, move || work(&desk)).await
}

/// The same with whatever else waits for the ledger.
pub(super) async fn patiently<T: Send + 'static>(
    executor: &Executor,
    work: impl Fn() -> Result<T, LedgerError> + Send + Sync + 'static,
) -> Result<T, LedgerError> {
    let work = Arc::new(work);
    let mut pause = PAUSE_MIN;
    loop {
        let work = Arc::clone(&work);
        let done = off_the_loop(move || work()).await;
        match done {
            Err(LedgerError::Away(why)) if executor.failure().is_none() => {
                tracing::debug!("the ledger's server is away, once more: {why}");
                tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            done => return done,
        }
    }
}

/// Waits on a thread where that is allowed.
pub(super) async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LedgerError::Failed(error.to_string()))?
}
