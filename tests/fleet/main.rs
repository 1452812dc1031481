//! Four workers on one PostgreSQL and one RabbitMQ, while workers are killed, both servers crash, and the
//! network is cut: the provider's books, the ledger and the events agree to the minor unit, and nothing is
//! lost. The verdict is the storm's, which shares no code with the worker.
//!
//! `cargo test --test fleet -- --nocapture` tells what happened and how often. `HOLDFAST_SEED=n` repeats
//! orders and trouble, `HOLDFAST_FLEET_SHIPMENTS=n` makes it larger: with
//! `HOLDFAST_FLEET_SHIPMENTS=50000 cargo test --release --test fleet -- --nocapture`, 10,000 orders.
//! `HOLDFAST_SOAK=1h cargo test --release --test fleet soak -- --nocapture` goes on for an hour.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../storm/account.rs"]
mod account;
#[path = "../auditor/mod.rs"]
mod auditor;
#[path = "../storm/orders.rs"]
mod orders;
#[path = "../storm/progress.rs"]
mod progress;
mod proxy;
mod ran;
mod soak;
mod stage;
#[expect(dead_code, reason = "shared with the integration tests, which use more of it")]
#[path = "../it/support/mod.rs"]
mod support;
mod trouble;
#[path = "../storm/verdict.rs"]
mod verdict;

use std::io::Write as _;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use orders::Size;
use ran::Ran;
use stage::Stage;
use trouble::Trouble;

/// Shipments of a run, unless the environment says otherwise.
const SHIPMENTS: usize = 2_250;

/// Shipments of an order.
const OF_ORDER: u32 = 5;

/// Between two kills of a worker.
const KILLS: Duration = Duration::from_secs(2);

/// One run at a time: each has the machine to itself.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Says how to repeat a run that failed.
struct Again(u64, &'static str);

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("repeat with HOLDFAST_SEED={} cargo test --test fleet {}", self.0, self.1));
        }
    }
}

/// The seed of a run.
fn seed() -> u64 {
    let seed = std::env::var("HOLDFAST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    say(&format!("seed {seed}"));
    seed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_workers_lose_nothing_while_they_are_killed_and_both_servers_crash() {
    let _alone = ALONE.lock().await;
    run(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_workers_lose_nothing_while_their_network_is_cut_as_well() {
    let _alone = ALONE.lock().await;
    run(true).await;
}

async fn run(is_cut: bool) {
    let seed = seed();
    let _again = Again(seed, "four_workers");
    let shipments = std::env::var("HOLDFAST_FLEET_SHIPMENTS").map_or(SHIPMENTS, |size| size.parse().unwrap());
    let accounts = Stage::accounts();
    let of_account = shipments / usize::try_from(OF_ORDER).unwrap() / accounts.len();
    let size = Size { orders: of_account, shipments: OF_ORDER..=OF_ORDER };
    let orders = orders::random(&mut ChaCha8Rng::seed_from_u64(seed), &accounts, &size, &size);
    let shipments: usize = orders.iter().map(|order| order.shipments.len()).sum();

    let stage = Stage::new(seed).await;
    let (trouble, stop) = (Trouble::default(), CancellationToken::new());
    let began = Instant::now();
    let works = async {
        let published = stage.publish(&orders);
        let restarted = trouble::restart(&stage, seed, &trouble, shipments);
        let (published, ()) = tokio::join!(published, restarted);
        stage.until(|progress| progress.ended * 100 >= shipments * 90).await;
        stop.cancel();
        published
    };
    let cuts = async {
        if is_cut {
            trouble::cut(&stage, seed, &trouble, &stop).await;
        }
    };
    let (published, workers, ()) =
        tokio::join!(works, trouble::kill(&stage, seed, &trouble, KILLS..=KILLS, &stop), cuts);
    let (stage, trouble, orders, published) = (&stage, &trouble, &orders, &published);
    Ran { name: "fleet", seed, stage, trouble, is_cut, began, orders, published, workers }.judge().await;
}

/// Not through `eprintln`: the verdict of a run of minutes is worth seeing even if it held.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
