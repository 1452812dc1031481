//! What is due, and how we are doing: finds in the ledger what memory has lost or what had to wait,
//! and stops the intake before the worker takes on more than it can carry.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::consumer::{ConsumerState, ConsumerStatus};
use crate::broker::publisher::{PublisherState, PublisherStatus};
use crate::capture::decide::{Command, Evidence, Note, Settle};
use crate::clock::{self, Timestamp};
use crate::http::Readiness;
use crate::ids::AccountName;
use crate::ledger::{LedgerError, Vitals};
use crate::settings;
use crate::telemetry::{self, metric};
use crate::worker::executor::Executor;
use crate::worker::gauges::{self, Gauges, age};
use crate::worker::restoring::Restore;
use crate::worker::{intake, note, requests, silence, standing};

/// Due items taken up in one tick, of each kind.
const DUE_MAX: u32 = 4_096;

/// How often the numbers are read.
const VITALS_INTERVAL: Duration = Duration::from_secs(1);

/// A capture in doubt for longer than this is an alarm.
const DOUBT_OLD: Duration = Duration::from_hours(1);
/// For so long after an outcome was corrected a person should look at it.
const CORRECTED_FOR: Duration = Duration::from_hours(24);

/// A notice that has waited longer than this for what it lacks is an alarm.
const AWAITING_OLD: Duration = Duration::from_mins(15);

/// Looks after everything that is not on its way through memory.
pub(super) struct Watch {
    pub(super) executor: Arc<Executor>,
    pub(super) bounds: settings::Worker,
    /// The ledger's file, whose disk must not fill up; a server looks after its own.
    pub(super) ledger_path: Option<PathBuf>,
    /// So long before an expiry, earned money that is not captured is an alarm.
    pub(super) last_lead: Duration,
    /// Says whether the intake has to pause.
    pub(super) paused: watch::Sender<bool>,
    pub(super) consumer: watch::Receiver<ConsumerStatus>,
    pub(super) publisher: watch::Receiver<PublisherStatus>,
    pub(super) readiness: watch::Sender<Readiness>,
    pub(super) gauges: Gauges,
    /// A restore from a backup that is under way.
    pub(super) restore: Option<Restore>,
    /// No wait for a read is longer.
    pub(super) longest_rest: Duration,
    pub(super) stop: CancellationToken,
}

/// What another worker had begun and left is in doubt, and looked at before anything else.
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
        tracing::warn!(captures = count, "a worker that is gone left captures in doubt: they are looked at now");
    }
    Ok(count)
}

impl Watch {
    /// Watches until told to stop.
    pub(super) async fn run(self) {
        let listening = silence::listen(Arc::clone(&self.executor), self.readiness.clone());
        tokio::select! {
            () = self.look() => {}
            never = listening => match never {},
        }
    }

    async fn look(mut self) {
        let executor = Arc::clone(&self.executor);
        let mut due = tokio::time::interval(self.bounds.watch_interval);
        let mut vitals = tokio::time::interval(VITALS_INTERVAL);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        vitals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let looked = tokio::select! {
                () = self.stop.cancelled() => return,
                _ = due.tick() => {
                    let _question = executor.looks.ask();
                    self.take_up_what_is_due().await
                }
                _ = vitals.tick() => {
                    let _question = executor.looks.ask();
                    self.check().await
                }
            };
            if let Err(error) = looked {
                self.executor.fail(error);
                return;
            }
        }
    }

    async fn take_up_what_is_due(&self) -> Result<(), LedgerError> {
        requests::carry_out(&self.executor).await?;
        requests::follow(&self.executor).await?;
        recover(&self.executor).await?;
        let due = self.executor.ledger().find_due(DUE_MAX).await?;
        let mut at_once = due.others;
        if let Some(restore) = &self.restore {
            for ready in restore.due(&self.executor, self.longest_rest, DUE_MAX).await? {
                self.executor.enqueue_ahead(&ready);
            }
        }
        // Nothing else is called before a restore is over.
        for ready in due.calls.into_iter().filter(|_| self.restore.is_none()) {
            if self.executor.serves(&ready.account) {
                self.executor.enqueue(&ready);
            } else {
                // No call will be made: it is put off, and said aloud.
                at_once.push(ready.due);
            }
        }
        if at_once.is_empty() {
            return Ok(());
        }
        let commands = at_once.into_iter().map(Command::Due).collect();
        let Some(replies) = self.executor.execute(commands).await else { return Ok(()) };
        for reply in replies.into_iter().flatten() {
            note::note(&reply);
            if let Some(ready) = &reply.ready {
                self.executor.enqueue(ready);
            }
            // One by one, in the order of arrival: each may make the next one possible.
            if let Note::LookAgain(raw) = reply.note
                && intake::accept(&self.executor, vec![*raw]).await.is_err()
            {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn check(&mut self) -> Result<(), LedgerError> {
        let vitals = self.executor.ledger().vitals().await?;
        let now = clock::now();
        self.gauges.report(&vitals, now);
        for lane in self.executor.lanes() {
            standing::show(lane);
            standing::watch_clock(lane, self.bounds.clock_skew_max);
            if lane.takes_news() {
                standing::keep(self.executor.desk(), lane);
            }
        }
        let held = self.hold_back(&vitals);
        if let Some(restore) = &mut self.restore
            && restore.is_over(&self.executor).await?
        {
            self.restore = None;
        }
        self.raise_alarms(&vitals, now);
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
        let readiness = Readiness {
            ledger_writable: match self.executor.failure() {
                Some(error) => Err(error.to_string()),
                None => silence::check(self.executor.silence()),
            },
            consuming: consuming(&consumer, held),
            outbox_young,
            restored: self.restore.as_ref().map_or(Ok(()), Restore::check),
        };
        gauges::show_readiness(&readiness);
        self.readiness.send_replace(readiness);
        Ok(())
    }

    /// Pauses the intake above its bounds, and resumes it well below them: the backlog waits where it
    /// is visible, in the queue. Returns why.
    fn hold_back(&self, vitals: &Vitals) -> Option<String> {
        let is_paused = *self.paused.borrow();
        let open_max = if is_paused { self.bounds.open_max / 10 * 9 } else { self.bounds.open_max };
        let too_many = vitals.open_captures > open_max;
        let free = self.ledger_path.as_deref().and_then(free_disk);
        let floor = self.bounds.disk_free_min;
        let floor = if is_paused { floor.saturating_add(floor / 10) } else { floor };
        let full = free.filter(|free| *free < floor);
        set_alarm(too_many, "too_many_open_captures", "too many open captures: consuming pauses until there are fewer");
        set_alarm(
            full.is_some(),
            "disk_nearly_full",
            "the ledger's disk is nearly full: consuming pauses until it is not",
        );
        let many = too_many.then(|| format!("{} captures are open: capture.open_max", vitals.open_captures));
        let full = full.map(|free| format!("{} are free on the ledger's disk: capture.disk_free_min", ByteSize(free)));
        let why: Vec<String> = many.into_iter().chain(full).collect();
        let pause = !why.is_empty();
        self.paused.send_if_modified(|paused| std::mem::replace(paused, pause) != pause);
        pause.then(|| why.join("; "))
    }
}

impl Watch {
    /// Conditions that a person should look at, for as long as they last.
    fn raise_alarms(&self, vitals: &Vitals, now: Timestamp) {
        let trouble = broker_trouble(&self.consumer.borrow().state);
        set_alarm(trouble.is_some(), "broker_unusable", trouble.as_deref().unwrap_or_default());
        let conflicts = vitals.dead_letters.iter().any(|(reason, _)| reason == "conflict");
        let message = "messages contradict what was accepted before: holdfast dead-letters list --for conflict";
        set_alarm(conflicts, "conflict", message);
        let long = age(vitals.oldest_awaiting, now) > AWAITING_OLD;
        let message = "a notice has waited for its plan, authorization or account for over 15 minutes: \
                       holdfast captures list --state awaiting";
        set_alarm(long, "awaiting", message);
        let old = age(vitals.oldest_doubt, now) > DOUBT_OLD;
        let message = "a capture has been in doubt for long: holdfast captures list --in-doubt";
        set_alarm(old, "in_doubt", message);
        let is_near = |at| at <= clock::after(now, self.last_lead);
        let near = vitals.nearest_deadline.is_some_and(is_near);
        let message = "earned money is about to be lost: holdfast authorizations list --earned";
        set_alarm(near, "expiring", message);
        let message = "somebody else captures on an authorization, and nothing is sent on that one: \
                       holdfast authorizations list --halted";
        self.raise_for_accounts(&accounts(&vitals.halted), "authorization_halted", message);
        let message = "a cap of the account holds captures, neither sent nor failed: holdfast captures list --held";
        self.raise_for_accounts(&accounts(&vitals.held), "account_capped", message);
        let recently = vitals.corrected.iter().filter(|(_, at)| age(Some(*at), now) < CORRECTED_FOR);
        let recently: Vec<_> = recently.map(|(account, _)| account).collect();
        let message = "an outcome was corrected after it was published: holdfast captures list --state corrected";
        self.raise_for_accounts(&recently, "corrected", message);
    }

    /// An alarm for each of these accounts.
    fn raise_for_accounts(&self, accounts: &[&AccountName], name: &'static str, message: &str) {
        for lane in self.executor.lanes() {
            if accounts.contains(&&lane.name) {
                telemetry::alarm(name, Some(&lane.name), message);
            } else {
                telemetry::clear(name, Some(&lane.name));
            }
        }
    }
}

/// The accounts of which there is any.
fn accounts(counts: &[(AccountName, u64)]) -> Vec<&AccountName> {
    counts.iter().map(|(account, _)| account).collect()
}

fn set_alarm(is_raised: bool, name: &'static str, message: &str) {
    if is_raised {
        telemetry::alarm(name, None, message);
    } else {
        telemetry::clear(name, None);
    }
}

fn consuming(state: &ConsumerState, held: Option<String>) -> Result<(), String> {
    match state {
        ConsumerState::Consuming => Ok(()),
        ConsumerState::Connecting => Err("connecting to the broker".to_owned()),
        ConsumerState::Paused => {
            Err(held.map_or_else(|| "paused, and about to go on".to_owned(), |why| format!("paused: {why}")))
        }
        ConsumerState::Disconnected(cause) => Err(cause.to_string()),
        ConsumerState::Drained => Err("draining".to_owned()),
    }
}

/// Why the broker cannot be used, where it cannot.
fn broker_trouble(state: &ConsumerState) -> Option<String> {
    match state {
        ConsumerState::Disconnected(cause) => Some(cause.to_string()),
        ConsumerState::Connecting | ConsumerState::Consuming | ConsumerState::Paused | ConsumerState::Drained => None,
    }
}

/// Free bytes for us on the disk of `path`; `None` where the system does not say.
fn free_disk(path: &std::path::Path) -> Option<u64> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let disk = rustix::fs::statvfs(directory.unwrap_or(std::path::Path::new("."))).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}
