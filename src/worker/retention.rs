//! When retention takes what is old: in short passes, one after the other while there is more, and seldom
//! else. What it takes, and what never, is `ledger::retention`'s.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::ledger::LedgerError;
use crate::ledger::retention::{Pass, Retention};
use crate::worker::desk::off_the_loop;

/// Rows of each kind in a pass: a few milliseconds, for which the writer may have to wait.
const BATCH: u32 = 256;

/// Between two passes while there is more: 256 captures a second are 22 million a day.
const NEXT: Duration = Duration::from_secs(1);

/// Between two passes when there was nothing more.
const REST: Duration = Duration::from_mins(1);

/// Takes what is older than `details_for`, until told to stop.
pub(super) struct Pruning {
    ledger: Arc<Retention>,
    details_for: Duration,
}

impl Pruning {
    /// From this ledger.
    pub(super) fn new(ledger: Retention, details_for: Duration) -> Self {
        Self { ledger: Arc::new(ledger), details_for }
    }

    /// Goes on until told to stop, or until the ledger fails, which whoever writes to it finds out too.
    pub(super) async fn run(self, stop: CancellationToken) {
        loop {
            let rest = match self.pass().await {
                Ok(None) => NEXT,
                Ok(Some(pass)) => say(pass),
                // It comes again.
                Err(LedgerError::Away(_)) => REST,
                Err(error) => {
                    tracing::error!(%error, "what is old cannot be taken from the ledger");
                    REST
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn pass(&self) -> Result<Option<Pass>, LedgerError> {
        let ledger = Arc::clone(&self.ledger);
        let before = clock::before(clock::now(), self.details_for);
        off_the_loop(move || ledger.prune(before, BATCH)).await
    }
}

/// Says what was taken, and how long to rest.
fn say(pass: Pass) -> Duration {
    let Pass { events, captures, dead_letters, replayed, has_more } = pass;
    if events + captures + dead_letters + replayed > 0 {
        tracing::debug!(events, captures, dead_letters, replayed, "old details were taken from the ledger");
    }
    if has_more { NEXT } else { REST }
}
