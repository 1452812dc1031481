//! Twenty thousand captures over all three protocols while everything fails at once: a real RabbitMQ, the
//! real worker as a process that is killed now and then, a ledger on disk, and the sandbox over HTTP.
//!
//! In the end the providers' books, the ledger and the events agree to the minor unit, and every event
//! was true. The verdict is worked out from these three alone.
//!
//! `cargo test --test storm -- --nocapture` tells how often each fault struck. `HOLDFAST_SEED=n` repeats
//! a run: the same orders, the same luck at the providers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod account;
#[path = "../auditor/mod.rs"]
mod auditor;
mod faults;
mod orders;
mod progress;
mod stage;
#[expect(dead_code, reason = "shared with the integration tests, which use more of it")]
#[path = "../it/support/mod.rs"]
mod support;
mod verdict;

use std::io::Write as _;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use orders::Size;
use progress::Progress;
use stage::Stage;
use support::worker::Worker;

/// Captures that must have been made, whatever failed beside them.
const CAPTURES: usize = 20_000;

/// At each account that captures several times.
const SEVERAL: Size = Size { orders: 1_030, shipments: 3..=3 };

/// At each account that captures once.
const ONCE: Size = Size { orders: 1_350, shipments: 1..=2 };

/// Says how to repeat a run that failed.
struct Again(u64);

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("repeat with HOLDFAST_SEED={} cargo test --test storm", self.0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_captures_while_everything_fails_at_once() {
    let seed = std::env::var("HOLDFAST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let _again = Again(seed);
    say(&format!("seed {seed}"));
    let stage = Stage::new(seed).await;
    let orders = orders::random(&mut ChaCha8Rng::seed_from_u64(seed), &stage.accounts(), &SEVERAL, &ONCE);
    let shipments: usize = orders.iter().map(|order| order.shipments.len()).sum();
    let mut worker = stage.worker();
    worker.consuming().await;
    let began = Instant::now();
    let published = stage.publish(&orders).await;
    // As by a power cut: whatever was under way is found out by the one that comes next.
    for quarter in 1..=3 {
        stage.until(|progress| progress.ended >= shipments / 4 * quarter).await;
        worker.kill9().await;
        assert_no_fault_of_ours(&worker);
        drop(worker);
        stage.keys_may_be_forgotten().await;
        worker = stage.worker();
    }
    stage.until(|progress| progress.is_at_rest(shipments)).await;
    let took = began.elapsed();
    assert_no_fault_of_ours(&worker);
    worker.stop().await;
    // What a provider does late, it has done by now.
    stage.late_work_is_done().await;

    let Progress { attempts, .. } = stage.progress();
    let lookups = faults::lookups(&stage);
    let found = verdict::reach(&stage, &orders, &published).await;
    let speed = found.captured * 1_000 / usize::try_from(took.as_millis()).unwrap();
    say(&format!(
        "{} orders, {shipments} shipments, {} messages; {} captured by {attempts} requests and {lookups} look-ups\n\
         in {took:.0?}, {speed} captures per second; the worker was killed 3 times\n{}\n{}",
        orders.len(),
        published.len(),
        found.captured,
        found.told,
        faults::told(&stage),
    ));
    say(&stage.audit(&published));
    assert!(found.differences.is_empty(), "{} differences:\n{}", found.differences.len(), found.shown());
    assert!(found.captured >= CAPTURES, "{} captures are too few to show anything", found.captured);
    faults::assert_all_struck(&stage);
    // One before each single capture, and some for each doubt: providers are spared, whatever they do.
    assert!(lookups < 2 * u64::try_from(found.captured).unwrap(), "{lookups} look-ups");
}

/// What breaks an invariant is set aside, and would not show in the books.
fn assert_no_fault_of_ours(worker: &Worker) {
    let log = worker.log();
    let fault = log.lines().find(|line| line.contains("please report it"));
    assert_eq!(fault, None, "Holdfast says that it has a fault");
}

/// Not through `eprintln`: the verdict of a run of minutes is worth seeing even if it held.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
