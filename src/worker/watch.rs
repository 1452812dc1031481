//! What is due, and how we are doing: finds in the ledger what memory has lost or what had to wait,
//! and stops the intake before the worker takes on more than it can carry.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::consumer::{ConsumerState, ConsumerStatus};
use crate::broker::publisher::{PublisherState, PublisherStatus};
use crate::capture::decide::{Command, Due, Evidence, Note, Settle};
use crate::clock::{self, Timestamp};
use crate::http::Readiness;
use crate::ledger::{LedgerError, Vitals};
use crate::settings;
use crate::telemetry::{self, gauge_value, metric};
use crate::worker::executor::Executor;
use crate::worker::{intake, note};

/// Due items taken up in one tick, of each kind.
const DUE_MAX: u32 = 4_096;

/// How often the numbers are read.
const VITALS_INTERVAL: Duration = Duration::from_secs(1);

/// Looks after everything that is not on its way through memory.
pub(super) struct Watch {
    pub(super) executor: Arc<Executor>,
    pub(super) bounds: settings::Worker,
    /// The ledger's directory, whose disk must not fill up.
    pub(super) ledger_path: PathBuf,
    /// Says whether the intake has to pause.
    pub(super) paused: watch::Sender<bool>,
    pub(super) consumer: watch::Receiver<ConsumerStatus>,
    pub(super) publisher: watch::Receiver<PublisherStatus>,
    pub(super) readiness: watch::Sender<Readiness>,
    pub(super) stop: CancellationToken,
}

/// What an earlier worker had begun and left is in doubt, and looked at before anything else.
pub(super) async fn recover(executor: &Executor) -> Result<usize, LedgerError> {
    let interrupted = executor.ledger().interrupted().await?;
    let count = interrupted.len();
    let settle = |(capture, epoch)| {
        Command::Settle(Box::new(Settle { capture, epoch, evidence: Evidence::Interrupted, start: false }))
    };
    if count > 0 {
        let executed = executor.ledger().execute(interrupted.into_iter().map(settle).collect()).await?;
        for reply in executed.replies.iter().flatten() {
            note::note(reply);
        }
        tracing::warn!(captures = count, "an earlier worker left attempts under way: in doubt until looked at");
    }
    Ok(count)
}

impl Watch {
    /// Watches until told to stop.
    pub(super) async fn run(self) {
        let mut due = tokio::time::interval(self.bounds.watch_interval);
        let mut vitals = tokio::time::interval(VITALS_INTERVAL);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        vitals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let looked = tokio::select! {
                () = self.stop.cancelled() => return,
                _ = due.tick() => self.take_up_what_is_due().await,
                _ = vitals.tick() => self.check().await,
            };
            if let Err(error) = looked {
                self.executor.fail(error);
                return;
            }
        }
    }

    async fn take_up_what_is_due(&self) -> Result<(), LedgerError> {
        let due = self.executor.ledger().find_due(DUE_MAX).await?;
        for ready in due.calls {
            self.executor.enqueue(&ready);
        }
        if due.awaiting.is_empty() {
            return Ok(());
        }
        let commands = due.awaiting.into_iter().map(|key| Command::Due(Due::Shipment(key))).collect();
        let Some(replies) = self.executor.execute(commands).await else { return Ok(()) };
        for reply in replies.into_iter().flatten() {
            note::note(&reply);
            // One by one, in the order of acceptance: each may make the next one possible.
            if let Note::LookAgain(raw) = reply.note
                && intake::accept(&self.executor, vec![*raw]).await.is_err()
            {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), LedgerError> {
        let vitals = self.executor.ledger().vitals().await?;
        let now = clock::now();
        report(&vitals, now);
        self.hold_back(&vitals);
        let outbox_age = age(vitals.outbox_oldest, now);
        let consumer = self.consumer.borrow().state.clone();
        let publisher = self.publisher.borrow().state.clone();
        metrics::gauge!(metric::BROKER_CONNECTED, "connection" => "consume")
            .set(f64::from(u8::from(matches!(consumer, ConsumerState::Consuming | ConsumerState::Paused))));
        metrics::gauge!(metric::BROKER_CONNECTED, "connection" => "publish")
            .set(f64::from(u8::from(matches!(publisher, PublisherState::Connected | PublisherState::Blocked))));
        metrics::counter!(metric::ACKS_LOST).absolute(self.consumer.borrow().acks_lost);
        let outbox_young = if outbox_age <= self.bounds.outbox_age_max {
            Ok(())
        } else {
            Err(format!("the oldest event has waited {} s to be published", outbox_age.as_secs()))
        };
        self.readiness.send_replace(Readiness {
            ledger_writable: self.executor.failure().map_or(Ok(()), |error| Err(error.to_string())),
            consuming: consuming(&consumer),
            outbox_young,
        });
        Ok(())
    }

    /// Pauses the intake above its bounds, and resumes it well below them: the backlog waits where it
    /// is visible, in the queue.
    fn hold_back(&self, vitals: &Vitals) {
        let is_paused = *self.paused.borrow();
        let open_max = if is_paused { self.bounds.open_max / 10 * 9 } else { self.bounds.open_max };
        let too_many = vitals.open_captures > open_max;
        let free = free_disk(&self.ledger_path);
        let floor = self.bounds.disk_free_min;
        let floor = if is_paused { floor.saturating_add(floor / 10) } else { floor };
        let disk_is_full = free.is_some_and(|free| free < floor);
        set_alarm(too_many, "too_many_open_captures", "too many open captures: consuming pauses until there are fewer");
        set_alarm(
            disk_is_full,
            "disk_nearly_full",
            "the ledger's disk is nearly full: consuming pauses until it is not",
        );
        let pause = too_many || disk_is_full;
        self.paused.send_if_modified(|paused| std::mem::replace(paused, pause) != pause);
    }
}

fn set_alarm(is_raised: bool, name: &'static str, message: &str) {
    if is_raised {
        telemetry::alarm(name, None, message);
    } else {
        telemetry::clear(name, None);
    }
}

fn consuming(state: &ConsumerState) -> Result<(), String> {
    match state {
        ConsumerState::Consuming => Ok(()),
        ConsumerState::Connecting => Err("connecting to the broker".to_owned()),
        ConsumerState::Paused => Err("paused: see the alarms".to_owned()),
        ConsumerState::Disconnected(cause) => Err(cause.to_string()),
        ConsumerState::Drained => Err("draining".to_owned()),
    }
}

/// Free bytes for us on the disk of `path`; `None` where the system does not say.
fn free_disk(path: &std::path::Path) -> Option<u64> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let disk = rustix::fs::statvfs(directory.unwrap_or(std::path::Path::new("."))).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

fn age(since: Option<Timestamp>, now: Timestamp) -> Duration {
    since.and_then(|since| now.signed_duration_since(since).to_std().ok()).unwrap_or_default()
}

fn report(vitals: &Vitals, now: Timestamp) {
    metrics::gauge!(metric::OPEN_CAPTURES).set(gauge_value(vitals.open_captures));
    metrics::gauge!(metric::IN_DOUBT_OLDEST).set(age(vitals.oldest_doubt, now).as_secs_f64());
    metrics::gauge!(metric::OUTBOX_PENDING).set(gauge_value(vitals.outbox_pending));
    metrics::gauge!(metric::OUTBOX_OLDEST).set(age(vitals.outbox_oldest, now).as_secs_f64());
    if let Some(deadline) = vitals.nearest_deadline {
        let left = deadline.signed_duration_since(now).to_std().unwrap_or_default();
        metrics::gauge!(metric::NEAREST_DEADLINE).set(left.as_secs_f64());
    }
    for (account, count) in &vitals.in_doubt {
        metrics::gauge!(metric::IN_DOUBT, "account" => account.to_string()).set(gauge_value(*count));
    }
    for (account, currency, minor) in &vitals.earned_uncaptured {
        let labels = [("account", account.to_string()), ("currency", currency.clone())];
        metrics::gauge!(metric::EARNED_UNCAPTURED, &labels).set(gauge_value(u64::try_from(*minor).unwrap_or_default()));
    }
    for (reason, count) in &vitals.dead_letters {
        metrics::gauge!(metric::DEAD_LETTERS, "reason" => reason.clone()).set(gauge_value(*count));
    }
}
