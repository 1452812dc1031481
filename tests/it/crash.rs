//! A worker that dies as by a power cut at every point where it matters, and the one after it: the
//! same books, the same events, nothing doubled. On both ledgers; and on a broker that is there already, for
//! example a RabbitMQ 4, where one is named:
//!
//! ```text
//! HOLDFAST_TEST_AMQP=amqp://user:password@host/vhost cargo test --test it crash::
//! ```

use std::io::Write as _;
use std::time::Duration;

use futures_util::StreamExt;
use holdfast::sandbox::{Fault, When};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::order::{Account, Order};
use crate::support::store::Kind;
use crate::support::world::World;

on_both_ledgers!(
    several_captures_survive_a_crash_at_every_point,
    a_single_capture_survives_a_crash_at_every_point,
    any_number_of_crashes_at_any_moment_double_and_lose_nothing,
);

/// Every named crash point, in the order of the flow.
const POINTS: [&str; 16] = [
    "before-T1",
    "after-T1",
    "before-ack",
    "after-ack",
    "before-send",
    "after-send",
    "before-answer",
    "after-answer",
    "before-T3",
    "after-T3",
    "before-publish",
    "after-publish",
    "before-confirm",
    "after-confirm",
    "before-T4",
    "after-T4",
];

/// Crashes that are survived beside each other, where the worker that comes next has to wait.
const AT_A_TIME: usize = 12;

/// Shorter, because a read that was cut off is begun again only when it can be answered no more, and
/// an event that memory has lost is looked for only once in a while.
const IMPATIENT: [(&str, &str); 4] = [
    ("HOLDFAST_WORKER__RELAY_INTERVAL", "200ms"),
    ("HOLDFAST_CAPTURE__SEND_WITHIN", "1s"),
    ("HOLDFAST_ACCOUNTS__FLITT_GE__TIMEOUT", "1s"),
    ("HOLDFAST_ACCOUNTS__FLEX__TIMEOUT", "1s"),
];

/// An order of two shipments goes through a worker that dies at `point` when it passes it the
/// `pass`th time, and through the one after it.
async fn survive(world: &World, account: Account, point: &str, pass: u32, fault: Option<Fault>, shipped: usize) {
    let round = format!("{point}-{pass}-{shipped}");
    let order: Order = world.order(&round, account, &[("l1", 2, 3_333)]);
    let at = format!("{point}:{pass}");
    let mut environment = IMPATIENT.to_vec();
    environment.push(("HOLDFAST_TEST_CRASH_AT", &at));
    world.faults(Vec::new());
    if let Some(fault) = fault {
        world.fault_on_captures(fault, Some(1));
    }
    let mut doomed = world.worker_with(&environment);
    world.publish(["a", "b"].map(|shipment| order.shipped(shipment, &[("l1", 1)]))).await;
    doomed.dies_at(&at).await;
    drop(doomed);
    let mut worker = world.worker_with(&IMPATIENT);
    worker.consuming().await;
    world.outcomes(shipped).await;
    world.check_books().await;
    worker.stop().await;
    let books = world.books();
    let booked = books.find(&order.reference).unwrap();
    assert_eq!(booked.captured_minor, 3_333, "{round}");
    assert_eq!(booked.captures.len(), if account.is_single() { 1 } else { 2 }, "{round}");
}

/// The answer comes late enough to die before it: the money has moved, or will have.
fn late(point: &str) -> Vec<Option<Fault>> {
    match point {
        "after-send" => [When::After, When::Before].map(|when| Some(Fault::Latency { ms: 300, when })).to_vec(),
        _ => vec![None],
    }
}

/// All points with one account. On a file, one after the other, with a ledger that grows. On PostgreSQL the
/// worker that comes next waits until the one before has been silent for a lease: there, many at a time, with
/// a database for each.
async fn at_every_point(kind: Kind, account: Account, second_passes: &[&'static str]) {
    let first = POINTS.into_iter().map(|point| (point, 1));
    let second = second_passes.iter().map(|point| (*point, 2));
    let rounds =
        first.chain(second).flat_map(|(point, pass)| late(point).into_iter().map(move |fault| (point, pass, fault)));
    match kind {
        Kind::Sqlite => {
            let world = World::new().await;
            let mut shipped = 0;
            for (point, pass, fault) in rounds {
                shipped += 2;
                survive(&world, account, point, pass, fault, shipped).await;
            }
        }
        Kind::Postgres => {
            let alone = |(point, pass, fault)| async move {
                survive(&World::on(kind).await, account, point, pass, fault, 2).await;
            };
            futures_util::stream::iter(rounds.map(alone)).buffer_unordered(AT_A_TIME).collect::<()>().await;
        }
    }
}

async fn several_captures_survive_a_crash_at_every_point(kind: Kind) {
    // The second capture of the authorization: its turn comes in the transaction that books the first.
    let second =
        ["before-send", "after-send", "before-answer", "after-answer", "before-T3", "after-T3", "after-publish"];
    at_every_point(kind, Account::Flex, &second).await;
}

async fn a_single_capture_survives_a_crash_at_every_point(kind: Kind) {
    // The first answer is that of the read before the capture, the first events are deferrals.
    let second = ["before-answer", "before-T3", "after-T3", "before-publish", "after-publish", "before-T4"];
    at_every_point(kind, Account::Flitt, &second).await;
}

/// Says how to repeat a test that failed.
struct Again(u64);

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let again = format!("repeat with HOLDFAST_SEED={} cargo test --test it any_number_of_crashes\n", self.0);
            let _ = std::io::stderr().write_all(again.as_bytes());
        }
    }
}

async fn any_number_of_crashes_at_any_moment_double_and_lose_nothing(kind: Kind) {
    let seed = std::env::var("HOLDFAST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let _again = Again(seed);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let world = World::on(kind).await;
    world.fault_on_captures(Fault::Latency { ms: 40, when: When::After }, None);
    let accounts = Account::ALL.into_iter().cycle();
    let orders: Vec<Order> = accounts
        .take(90)
        .enumerate()
        .map(|(number, account)| world.order(&format!("ord-{number}"), account, &[("l1", 2, 999)]))
        .collect();
    for orders in orders.chunks(15) {
        let notices = ["a", "b"]
            .into_iter()
            .flat_map(|shipment| orders.iter().map(move |order| order.shipped(shipment, &[("l1", 1)])));
        world.publish(notices).await;
        let mut worker = world.worker_with(&IMPATIENT);
        worker.consuming().await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..250))).await;
        worker.kill9().await;
    }
    world.faults(Vec::new());
    let worker = world.worker_with(&IMPATIENT);
    world.outcomes(180).await;
    world.check_books().await;
    worker.stop().await;
    for order in &orders {
        assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, 999, "{}", order.id);
    }
}
