//! What goes wrong while the workers work: one of them is killed every other second, both servers crash
//! twice, and the network is cut.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::progress::Progress;
use crate::proxy::Commit;
use crate::stage::{Stage, WORKERS};
use crate::support::worker::Worker;

/// Between two cuts of the network, longest.
const CUTS: Duration = Duration::from_millis(1_500);

/// Longer than the lease of a worker: others take over what it has begun, and then it is back.
const LONG_SILENCE: Duration = Duration::from_secs(12);

/// How often each thing happened.
#[derive(Default)]
pub struct Trouble {
    pub kills: AtomicUsize,
    pub restarts_of_postgres: AtomicUsize,
    /// With SIGKILL, of those.
    pub kills_of_postgres: AtomicUsize,
    pub restarts_of_rabbitmq: AtomicUsize,
    pub resets: AtomicUsize,
    pub one_sided_resets: AtomicUsize,
    pub silences: AtomicUsize,
}

impl Trouble {
    /// What was killed, in words.
    pub fn told(&self) -> String {
        let read = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        let kills = [read(&self.kills), read(&self.kills_of_postgres), read(&self.restarts_of_rabbitmq)];
        format!(
            "kills: {}, and as many restarts ({} of workers, {} of PostgreSQL, {} of RabbitMQ); PostgreSQL ended at \
             once {} times, {} resets and {} silences of the network",
            kills.iter().sum::<usize>(),
            kills[0],
            kills[1],
            kills[2],
            read(&self.restarts_of_postgres) - kills[1],
            read(&self.resets) + read(&self.one_sided_resets),
            read(&self.silences),
        )
    }
}

/// Counts one more.
fn count(of: &AtomicUsize) {
    of.fetch_add(1, Ordering::Relaxed);
}

/// Workers in their places, of which one is killed after each pause until told to stop; those that are alive
/// then. One that ends by itself once it has begun is a fault of ours.
pub async fn kill(
    stage: &Stage,
    seed: u64,
    trouble: &Trouble,
    pauses: RangeInclusive<Duration>,
    stop: &CancellationToken,
) -> Vec<Worker> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 1);
    let mut workers: Vec<Worker> = (0..WORKERS).map(|place| stage.worker(place)).collect();
    let mut places = ChaCha8Rng::seed_from_u64(seed ^ 4);
    let mut pause = || tokio::time::sleep(rng.random_range(pauses.clone()));
    while stop.run_until_cancelled(pause()).await.is_some() {
        for (place, worker) in workers.iter_mut().enumerate() {
            if let Some(status) = worker.has_ended() {
                let has_begun = worker.log().contains("worker started");
                assert!(!has_begun, "worker {place} ended by itself: {status}");
                // It found no ledger, and is started again, as service managers do.
                *worker = stage.worker(place);
            }
        }
        let place = places.random_range(0..WORKERS);
        workers[place].kill9().await;
        assert_no_fault_of_ours(&workers[place]);
        count(&trouble.kills);
        workers[place] = stage.worker(place);
    }
    workers
}

/// What breaks an invariant is set aside, and would not show in the books.
pub fn assert_no_fault_of_ours(worker: &Worker) {
    let log = worker.log();
    let fault = log.lines().find(|line| line.contains("please report it"));
    assert_eq!(fault, None, "Holdfast says that it has a fault");
}

/// How a server ends, and is started again after a while.
#[derive(Debug, Clone, Copy)]
enum Crash {
    /// PostgreSQL, ended at once.
    Postgres,
    /// PostgreSQL, by SIGKILL to its main process.
    PostgresKilled,
    /// RabbitMQ, by SIGKILL to all of it.
    RabbitMq,
}

impl Crash {
    /// One after the other.
    const IN_TURN: [Self; 4] = [Self::Postgres, Self::RabbitMq, Self::PostgresKilled, Self::RabbitMq];

    /// It happens, and the server is away for so much longer than it takes to start.
    async fn happen(self, stage: &Stage, trouble: &Trouble, away: Duration) {
        match self {
            Self::Postgres => tokio::task::block_in_place(|| stage.server.crash()).unwrap(),
            Self::PostgresKilled => {
                stage.kill_database();
                count(&trouble.kills_of_postgres);
            }
            Self::RabbitMq => {
                let mut node = stage.node.lock().await;
                tokio::task::block_in_place(|| node.kill9());
                tokio::time::sleep(away).await;
                node.restart().await.unwrap();
                count(&trouble.restarts_of_rabbitmq);
                return;
            }
        }
        tokio::time::sleep(away).await;
        tokio::task::block_in_place(|| stage.start_database());
        count(&trouble.restarts_of_postgres);
    }
}

/// How long a server is away.
const AWAY: Range<Duration> = Duration::from_millis(300)..Duration::from_secs(3);

/// Both servers crash twice each, in turn, when so much of the shipments has ended.
pub async fn restart(stage: &Stage, seed: u64, trouble: &Trouble, shipments: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 2);
    for (quarter, crash) in Crash::IN_TURN.into_iter().enumerate() {
        let percent = rng.random_range(quarter * 20 + 5..quarter * 20 + 15);
        stage.until(|progress: &Progress| progress.ended * 100 >= shipments * percent).await;
        crash.happen(stage, trouble, rng.random_range(AWAY)).await;
    }
}

/// Both servers crash in turn, after such pauses, until told to stop.
pub async fn keep_restarting(
    stage: &Stage,
    seed: u64,
    trouble: &Trouble,
    pauses: Range<Duration>,
    stop: &CancellationToken,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 2);
    for crash in Crash::IN_TURN.into_iter().cycle() {
        let pause = tokio::time::sleep(rng.random_range(pauses.clone()));
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
        crash.happen(stage, trouble, rng.random_range(AWAY)).await;
    }
}

/// Cuts the networks until told to stop; then they are whole again.
pub async fn cut(stage: &Stage, seed: u64, trouble: &Trouble, stop: &CancellationToken) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 3);
    let mut long = LONG_SILENCE;
    for number in 0.. {
        let pause = Duration::from_millis(rng.random_range(200..u64::try_from(CUTS.as_millis()).unwrap()));
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let networks = stage.networks.choose(&mut rng).unwrap();
        let [to_ledger, _] = networks;
        let proxy = networks.choose(&mut rng).unwrap();
        match number % 5 {
            0 => {
                stage.networks.iter().for_each(|[to_ledger, _]| to_ledger.cut_commit(Commit::Unanswered));
            }
            1 => {
                stage.networks.iter().for_each(|[to_ledger, _]| to_ledger.cut_commit(Commit::Lost));
            }
            2 => {
                proxy.reset(false);
                count(&trouble.resets);
            }
            3 => {
                proxy.reset(true);
                count(&trouble.one_sided_resets);
            }
            _ => {
                let silence = Duration::from_millis(rng.random_range(500..4_000));
                let proxy = if long.is_zero() { proxy } else { to_ledger };
                let silence = silence.max(std::mem::take(&mut long));
                proxy.be_silent(true);
                let _ = stop.run_until_cancelled(tokio::time::sleep(silence)).await;
                // Half of them end in a reset: what was on its way does not arrive late, but never.
                if rng.random() {
                    proxy.reset(false);
                }
                proxy.be_silent(false);
                count(&trouble.silences);
            }
        }
    }
}

/// What came of it, as the workers and the network have it.
pub struct Consequences {
    counts: Vec<(&'static str, usize)>,
    /// What the workers warned of, without what is particular to each time.
    warnings: BTreeMap<String, usize>,
}

impl Consequences {
    pub fn of(stage: &Stage, trouble: &Trouble, is_cut: bool) -> Self {
        let logs = stage.logs();
        let said = |what: &str| {
            let said = |line: &&Value| line["message"].as_str().is_some_and(|message| message.contains(what));
            logs.iter().filter(said).collect::<Vec<_>>()
        };
        let taken_over = said("a worker that is gone left captures in doubt");
        let taken_over = taken_over.iter().map(|line| line["captures"].as_u64().unwrap()).sum::<u64>();
        let known = said("it is known now");
        let durable = |is_durable: bool| known.iter().filter(|line| line["is_durable"] == is_durable).count();
        let received = stage.listener.received();
        let different: HashSet<&str> = received.iter().map(|event| event.message_id.as_str()).collect();
        let repeated = received.len() - different.len();
        let read = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        let mut counts = vec![
            ("workers killed", read(&trouble.kills)),
            ("PostgreSQL crashed and was restarted", read(&trouble.restarts_of_postgres)),
            ("RabbitMQ crashed and was restarted", read(&trouble.restarts_of_rabbitmq)),
            ("messages redelivered", stage.networks.iter().map(|[_, proxy]| proxy.redeliveries()).sum()),
            ("captures of dead workers taken over", usize::try_from(taken_over).unwrap()),
        ];
        if is_cut {
            counts.extend([
                ("connections reset: whole networks", read(&trouble.resets)),
                ("connections reset, and the server did not hear of it", read(&trouble.one_sided_resets)),
                ("silences", read(&trouble.silences)),
                ("COMMITs cut off", stage.networks.iter().map(|[proxy, _]| proxy.cut_commits()).sum()),
                ("found out to be durable", durable(true)),
                ("found out not to be", durable(false)),
            ]);
        }
        counts.push(("events published again", repeated));
        let mut warnings = BTreeMap::new();
        for line in logs.iter().filter(|line| line["level"] == "WARN" || line["level"] == "ERROR") {
            let message = line["message"].as_str().unwrap_or_default();
            *warnings.entry(message.split(": ").next().unwrap().to_owned()).or_default() += 1;
        }
        Self { counts, warnings }
    }

    /// The table of them.
    pub fn told(&self) -> String {
        let mut text = String::new();
        for (what, times) in &self.counts {
            writeln!(text, "{times:>7}  {what}").unwrap();
        }
        writeln!(text, "the workers warned:").unwrap();
        for (what, times) in &self.warnings {
            writeln!(text, "{times:>7}  {what}").unwrap();
        }
        text
    }

    /// No trouble counts that never came.
    pub fn assert_all_came(&self) {
        for (what, times) in self.counts.iter().filter(|(what, _)| *what != "events published again") {
            assert!(*times > 0, "never: {what}");
        }
    }
}
