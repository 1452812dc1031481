//! From settings to a running worker, and back down in order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::consumer::{Consumer, Source};
use crate::broker::publisher::Publisher;
use crate::capture::retry::Jitter;
use crate::clock::Moment;
use crate::http::Readiness;
use crate::ids::AccountName;
use crate::ledger::desk::{Desk, KeptAccount};
use crate::ledger::postgres::{Options, PostgresLedger};
use crate::ledger::restore::Restoring;
use crate::ledger::retention::Retention;
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{Environment, Ledger, LedgerError, Source as LedgerSource};
use crate::message;
use crate::provider::{self, ConnectError};
use crate::settings::{self, Settings};
use crate::worker::account::{Lane, Rules};
use crate::worker::away;
use crate::worker::desk::{at_desk, off_the_loop};
use crate::worker::executor::Executor;
use crate::worker::gate::Gate;
use crate::worker::gauges::Gauges;
use crate::worker::intake::{DeadIntake, WorkIntake};
use crate::worker::relay::{Outbox, Relay};
use crate::worker::restoring::Restore;
use crate::worker::retention::Pruning;
use crate::worker::watch::{self as watching, Watch};
use crate::worker::{replay, requests, spans, standing};

/// Why a worker did not start, or had to end.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The ledger cannot be opened, or has failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An account's adapter refuses its settings.
    #[error("an account cannot be used: {0}")]
    Account(#[from] ConnectError),
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Everything that was in flight was settled.
    Clean,
    /// Calls were still in flight when the grace was over; they are in doubt, and are looked at by
    /// whoever starts next.
    CallsLeft,
    /// The ledger did not answer any more: what was in flight is in doubt, and what was taken comes again.
    LedgerAway,
}

/// A running worker.
pub struct Worker {
    executor: Arc<Executor>,
    gate: Arc<Gate>,
    consumers: Vec<Consumer>,
    publisher: Arc<Publisher>,
    relay: JoinHandle<()>,
    watch: JoinHandle<()>,
    replays: JoinHandle<()>,
    pruning: JoinHandle<()>,
    stop_relay: CancellationToken,
    stop_watch: CancellationToken,
    drain_grace: Duration,
}

impl Worker {
    /// Opens the ledger, takes up what an earlier worker left, and starts the four loops. How ready it is, it
    /// says in `readiness` from then on.
    ///
    /// # Errors
    /// [`WorkerError`]; never because the broker is away, which is waited for.
    pub async fn start(settings: &Settings, readiness: watch::Sender<Readiness>) -> Result<Self, WorkerError> {
        let (ledger, worker) = open(settings).await?;
        let (outbox, offered) = Outbox::new();
        let Beside { desk, kept, restoring, retention } = Beside::open(settings, worker).await?;
        let executor = Arc::new(Executor::new(ledger, Arc::new(desk), outbox, lanes(settings, kept)?));
        for lane in executor.lanes() {
            executor.tell(lane);
            let status = lane.status();
            at_desk(&executor, move |desk| desk.set_status(&status)).await?;
        }
        let restore = match restoring {
            Some(restoring) => Some(Restore::resume(restoring, &executor).await?),
            None => None,
        };
        watching::recover(&executor).await?;
        let pruning = Pruning::new(retention, settings.retention.details_for);
        let broker = Arc::new(settings.broker.clone());
        let publisher = Arc::new(Publisher::spawn(Arc::clone(&broker)));
        let (stop_relay, stop_watch) = (CancellationToken::new(), CancellationToken::new());
        let relay = Relay {
            executor: Arc::clone(&executor),
            publisher: Arc::clone(&publisher),
            offered,
            exchange: broker.payments_exchange.clone(),
            batch: broker.publish_batch,
            interval: settings.worker.relay_interval,
            stop: stop_relay.clone(),
            searched: 0,
        };
        let (paused, is_paused) = watch::channel(false);
        let gate = Arc::new(Gate::new(settings.notices.clone()));
        let work = WorkIntake::new(&executor, &gate, &broker);
        let dead = DeadIntake::new(&executor, &gate, &broker);
        let work = Consumer::spawn(Arc::clone(&broker), Source::Work, work, is_paused.clone());
        let dead = Consumer::spawn(broker, Source::Dead, dead, is_paused);
        let watch = Watch {
            executor: Arc::clone(&executor),
            bounds: settings.worker.clone(),
            ledger_path: settings.ledger.path().map(Path::to_owned),
            last_lead: settings.policy.expiring_leads.iter().min().copied().unwrap_or_default(),
            paused,
            consumer: work.status(),
            publisher: publisher.status(),
            readiness,
            gauges: Gauges::default(),
            restore,
            longest_rest: settings.policy.longest_rest(),
            stop: stop_watch.clone(),
        };
        let replays = tokio::spawn(replay::run(Arc::clone(&executor), stop_watch.clone()));
        Ok(Self {
            executor,
            gate,
            replays,
            pruning: tokio::spawn(pruning.run(stop_watch.clone())),
            consumers: vec![work, dead],
            publisher,
            relay: tokio::spawn(relay.run()),
            watch: tokio::spawn(watch.run()),
            stop_relay,
            stop_watch,
            drain_grace: settings.worker.drain_grace,
        })
    }

    /// Reads every secret anew that is in a file; a suspended account whose secret has changed is looked
    /// at at once. A secret that cannot be used is said aloud, and the one before stays in use.
    pub fn renew_secrets(&self) {
        self.gate.renew();
        for lane in self.executor.lanes() {
            standing::renew_secret(lane);
            self.executor.pump(lane);
        }
    }

    /// Resolves when the ledger has failed; the worker does nothing more then.
    pub async fn failed(&self) -> LedgerError {
        self.executor.failed().await
    }

    /// Ends in order: takes nothing new, commits and acknowledges what is buffered, waits for the
    /// calls in flight, publishes what is in the outbox, closes the connections. A ledger that does not
    /// answer is waited for as long as calls are.
    ///
    /// # Errors
    /// [`WorkerError::Ledger`] when the ledger failed before or meanwhile.
    pub async fn drain(self) -> Result<Stop, WorkerError> {
        tracing::info!("draining: nothing new is taken");
        let (executor, grace) = (Arc::clone(&self.executor), self.drain_grace);
        tokio::select! {
            ended = self.end_in_order() => ended,
            () = away::is_given_up(&executor, grace) => Ok(Stop::LedgerAway),
        }
    }

    async fn end_in_order(self) -> Result<Stop, WorkerError> {
        self.stop_watch.cancel();
        self.executor.start_nothing();
        let _ = self.replays.await;
        let _ = self.pruning.await;
        for consumer in self.consumers {
            consumer.drain().await;
        }
        let all_settled = self.executor.drain(self.drain_grace).await;
        if !all_settled {
            tracing::warn!("calls are still in flight after the grace: in doubt until the next start looks at them");
        }
        self.stop_relay.cancel();
        let _ = self.relay.await;
        let _ = self.watch.await;
        if let Ok(publisher) = Arc::try_unwrap(self.publisher).map_err(drop) {
            publisher.close().await;
        }
        match self.executor.failure() {
            Some(error) => Err(error.clone().into()),
            None if all_settled => Ok(Stop::Clean),
            None => Ok(Stop::CallsLeft),
        }
    }
}

/// The ledger; and this worker's row in it, where there may be several.
async fn open(settings: &Settings) -> Result<(Arc<dyn Ledger>, Option<i64>), LedgerError> {
    match &settings.ledger {
        LedgerSource::Sqlite(path) => Ok((Arc::new(SqliteLedger::open(path, environment(settings))?), None)),
        LedgerSource::Postgres(address) => {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let name = format!("{host}-{}", std::process::id());
            let options = Options::named(name);
            let ledger = PostgresLedger::open(address, options, environment(settings)).await?;
            let worker = ledger.worker();
            Ok((Arc::new(ledger), Some(worker)))
        }
    }
}

/// What is asked and changed beside the books.
struct Beside {
    desk: Desk,
    /// What an earlier worker left about each account.
    kept: HashMap<AccountName, KeptAccount>,
    restoring: Option<Restoring>,
    retention: Retention,
}

impl Beside {
    async fn open(settings: &Settings, worker: Option<i64>) -> Result<Self, LedgerError> {
        let source = settings.ledger.clone();
        let names: Vec<AccountName> = settings.accounts.iter().map(|account| account.name.clone()).collect();
        off_the_loop(move || {
            let desk = Desk::of_worker(&source, worker)?;
            requests::refuse_old(&desk)?;
            let kept = names.into_iter().map(|name| {
                let kept = desk.kept(&name)?;
                Ok((name, kept))
            });
            let kept = kept.collect::<Result<_, LedgerError>>()?;
            Ok(Self { desk, kept, restoring: Restoring::open(&source)?, retention: Retention::open(&source)? })
        })
        .await
    }
}

/// What stands around every account, as it is configured and as an earlier worker left it.
fn lanes(settings: &Settings, mut kept: HashMap<AccountName, KeptAccount>) -> Result<Vec<Lane>, WorkerError> {
    let lane = |account: &settings::Account| {
        let rules = Rules {
            concurrency: account.concurrency,
            rate: account.rate_limit,
            breaker: settings.breaker,
            suspension: settings.suspension,
            retry_after_max: settings.policy.retry_after_max,
        };
        let kept = kept.remove(&account.name).unwrap_or_default();
        Ok(Lane::new(account.clone(), provider::connect(account)?, rules, kept.paused, kept.last_success))
    };
    settings.accounts.iter().map(lane).collect()
}

/// The rules, the real clock, real chance, and how events are written.
fn environment(settings: &Settings) -> Environment {
    let source = settings.event_source.clone();
    Environment {
        policy: Arc::new(settings.policy.clone()),
        clock: Arc::new(Moment::now),
        jitter: Arc::new(random_jitter),
        encode: Arc::new(move |event| Bytes::from(message::event::encode(&spans::in_its_trace(event), &source))),
    }
}

fn random_jitter() -> Jitter {
    // A generator in each thread: asking the system costs a call for every command.
    Jitter::from_bits(fastrand::u32(..))
}
