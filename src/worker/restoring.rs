//! After a restore from a backup: has every open authorization read before anything is captured, says how
//! far that is, and ends it.
//!
//! What a read means is the core's. That nothing is captured meanwhile is the executor's hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::decide::Ready;
use crate::clock;
use crate::http::Check;
use crate::ledger::LedgerError;
use crate::ledger::restore::{Restoring, Summary};
use crate::telemetry;
use crate::worker::desk::patiently;
use crate::worker::executor::Executor;

/// How often progress is logged, while there is any.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// Without a single authorization read for so long, it is an alarm.
const STALLED_AFTER: Duration = Duration::from_secs(30);

const STALLED: &str = "restore_stalled";

/// A restore that is under way.
pub(super) struct Restore {
    ledger: Arc<Restoring>,
    total: u64,
    left: u64,
    moved_at: Instant,
    said_at: Instant,
}

impl Restore {
    /// Holds everything back until it is over.
    pub(super) async fn resume(ledger: Restoring, executor: &Arc<Executor>) -> Result<Self, LedgerError> {
        executor.hold();
        let (ledger, asking) = (Arc::new(ledger), Arc::clone(executor));
        let asked = Arc::clone(&ledger);
        let total = patiently(executor, move || configured(&asked, &asking)).await?.0;
        tracing::warn!(
            authorizations = total,
            "the ledger was restored from a backup: nothing is captured before every open authorization was read"
        );
        let now = Instant::now();
        Ok(Self { ledger, total, left: total, moved_at: now, said_at: now })
    }

    /// What has to be read now.
    pub(super) async fn due(
        &self,
        executor: &Executor,
        longest: Duration,
        limit: u32,
    ) -> Result<Vec<Ready>, LedgerError> {
        self.ask(executor, move |ledger| ledger.due(clock::now(), longest, limit)).await
    }

    /// Is it over? Says how far it is.
    pub(super) async fn is_over(&mut self, executor: &Arc<Executor>) -> Result<bool, LedgerError> {
        let asking = Arc::clone(executor);
        let (left, missing) = self.ask(executor, move |ledger| configured(ledger, &asking)).await?;
        let now = Instant::now();
        if left < self.left {
            self.moved_at = now;
        }
        self.left = left;
        if left > 0 {
            self.say(now);
            return Ok(false);
        }
        let summary = self.ask(executor, Restoring::end).await?;
        telemetry::clear(STALLED, None);
        tell(summary, missing);
        executor.let_go();
        Ok(true)
    }

    /// For `/readyz`.
    pub(super) fn check(&self) -> Check {
        Err(format!(
            "the ledger was restored from a backup: {} of {} open authorizations are still to be read before \
             anything is captured",
            self.left, self.total
        ))
    }

    fn say(&mut self, now: Instant) {
        if now.duration_since(self.moved_at) >= STALLED_AFTER {
            let message = format!(
                "the restore from a backup does not go on, {} authorizations are still to be read and nothing is \
                 captured: holdfast accounts list",
                self.left
            );
            telemetry::alarm(STALLED, None, &message);
        } else {
            telemetry::clear(STALLED, None);
        }
        if now.duration_since(self.said_at) >= SAID_EVERY {
            self.said_at = now;
            let (left, total) = (self.left, self.total);
            tracing::info!(left, total, "restored from a backup: authorizations are read before anything is captured");
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        executor: &Executor,
        question: impl Fn(&Restoring) -> Result<T, LedgerError> + Send + Sync + 'static,
    ) -> Result<T, LedgerError> {
        let ledger = Arc::clone(&self.ledger);
        patiently(executor, move || question(&ledger)).await
    }
}

/// How many authorizations of configured accounts are left, and of others: nothing is sent for those
/// anyway, and they are read when their account is configured again.
fn configured(ledger: &Restoring, executor: &Executor) -> Result<(u64, u64), LedgerError> {
    let (served, others): (Vec<_>, Vec<_>) =
        ledger.left()?.into_iter().partition(|(account, _)| executor.serves(account));
    let sum = |counts: Vec<(_, u64)>| counts.into_iter().map(|(_, count)| count).sum();
    Ok((sum(served), sum(others)))
}

fn tell(summary: Summary, missing: u64) {
    let Summary { read, unread, adopted, found } = summary;
    tracing::warn!(
        read,
        adopted,
        found,
        "the restore from a backup is over: {read} authorizations read, {adopted} captures adopted, {found} more \
         under keys of which the ledger has no notice, to be recognised when theirs comes again; captures go on: \
         holdfast audit"
    );
    if unread > 0 {
        tracing::error!(
            unread,
            "{unread} authorizations could not be read ({missing} of accounts that are not configured): nothing is \
             sent on those until they can: holdfast audit"
        );
    }
}
