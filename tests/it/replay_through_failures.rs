//! A replay goes through everything that can fail: the worker is killed, the connection to the broker is
//! cut, the ledger's disk is full, at every named point and at any moment. No generation is raised twice,
//! no outcome contradicts the provider's books, every event arrives.

use std::io::Write as _;
use std::time::Duration;

use holdfast::sandbox::{Channel, Code, Fault, Operation, Protocol, Rule, When};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::replay::{LETTERS, becomes_more_than};
use crate::support::order::{Account, Order};
use crate::support::proxy::Proxy;
use crate::support::worker::Worker;
use crate::support::world::World;

/// What every order owes.
const OWED: i64 = 1_999;

/// Every named point that a replay passes, in the order of its flow.
const POINTS: [&str; 18] = [
    "before-job",
    "after-job",
    "before-replay",
    "after-replay",
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
    "before-end",
    "after-end",
];

/// What a worker has to be told so that it does not wait for what was lost with the one before it.
const IMPATIENT: [(&str, &str); 5] = [
    ("HOLDFAST_WORKER__RELAY_INTERVAL", "200ms"),
    ("HOLDFAST_CAPTURE__SEND_WITHIN", "1s"),
    ("HOLDFAST_ACCOUNTS__FLITT_GE__TIMEOUT", "1s"),
    ("HOLDFAST_ACCOUNTS__FONDY_EU__TIMEOUT", "1s"),
    ("HOLDFAST_ACCOUNTS__FLEX__TIMEOUT", "1s"),
];

const JOBS_OPEN: &str = "SELECT count(*) FROM replay_jobs WHERE state IN ('running', 'paused')";
const UNDECIDED: &str = "SELECT count(*) FROM shipments WHERE state NOT IN ('settled', 'refused')";
const DONE: &str = "SELECT count(*) FROM replay_items WHERE state = 'done'";

/// Every capture is declined, as each protocol says it.
fn declined() -> Vec<Rule> {
    let rule = |(protocol, code)| {
        let fault = Fault::Code { code, when: When::Before, channel: Channel::ResponseCode };
        Rule { protocol: Some(protocol), operation: Operation::Capture, ..Rule::new(fault) }
    };
    let codes = [
        (Protocol::FlexPay, Code::Name("INSUFFICIENT_FUNDS".to_owned())),
        (Protocol::Flitt, Code::Number(1_004)),
        (Protocol::Fondy, Code::Number(1_004)),
    ];
    codes.map(rule).into()
}

fn notice(order: &Order) -> Value {
    order.shipped("s", &[("l1", 1)])
}

/// These orders have shipped, and their provider has declined every one.
async fn set_aside(world: &World, orders: &[Order]) {
    world.faults(declined());
    let mut worker = world.worker_with(&IMPATIENT);
    worker.consuming().await;
    world.publish(orders.iter().map(notice)).await;
    world.count_becomes(LETTERS, orders.len().try_into().unwrap()).await;
    world.count_becomes("SELECT count(*) FROM outbox WHERE published_at IS NULL", 0).await;
    worker.stop().await;
    world.faults(Vec::new());
}

/// The dead letters of these orders.
fn letters(world: &World, like: &str) -> Vec<String> {
    let ledger = world.ledger();
    let sql = "SELECT lower(hex(dead_letter_id)) FROM dead_letters WHERE order_id LIKE ?1 AND state = 'open'";
    let mut statement = ledger.prepare(sql).unwrap();
    statement.query_map([like], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Asks for a replay of these, without waiting for it. Its exit code.
async fn ask(world: &World, letters: &[String], pace: &[&str]) -> i32 {
    let words = ["dead-letters", "replay", "--reason", "the bank has mended it", "--yes", "--detach"];
    let letters = letters.iter().map(String::as_str);
    let line: Vec<&str> = words.into_iter().chain(pace.iter().copied()).chain(letters).collect();
    world.holdfast(&line).await.0
}

/// Waits until every replay has ended, and everything in it is decided and told.
async fn at_rest(world: &World) {
    world.count_becomes(JOBS_OPEN, 0).await;
    world.count_becomes(UNDECIDED, 0).await;
    world.check_books().await;
}

/// Each of these was tried again once, with one key more, and has its money.
fn check_each(world: &World, orders: &[Order]) {
    let books = world.books();
    let ledger = world.ledger();
    let mut of_order = ledger
        .prepare(
            "SELECT s.generation, s.state, s.reason, count(c.capture_row), count(DISTINCT c.generation),
               sum(c.state = 'captured'),
               (SELECT count(*) FROM replay_items i WHERE i.shipment_row = s.shipment_row AND i.result = 'replayed')
             FROM orders o JOIN shipments s USING (order_row) JOIN captures c USING (order_row)
             WHERE o.order_id = ?1 GROUP BY s.shipment_row",
        )
        .unwrap();
    for order in orders {
        type Row = (i64, String, Option<String>, i64, i64, i64, i64);
        let row: Row = of_order
            .query_row([&order.id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
            })
            .unwrap();
        assert_eq!(row, (1, "settled".to_owned(), None, 2, 2, 1, 1), "{}", order.id);
        assert_eq!(books.find(&order.reference).unwrap().captured_minor, OWED, "{}", order.id);
    }
    let taken = "SELECT count(*) FROM dead_letters WHERE state <> 'replayed'";
    assert_eq!(world.count(taken), 0, "every dead letter was tried again");
}

/// Three orders of an account that captures often, and one of an account that captures once.
fn of_point(world: &World, point: &str) -> Vec<Order> {
    let accounts = [Account::Flex, Account::Flex, Account::Flex, Account::Flitt];
    let order =
        |(number, account): (usize, Account)| world.order(&format!("{point}-{number}"), account, &[("l1", 1, OWED)]);
    accounts.into_iter().enumerate().map(order).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_survives_a_crash_at_every_point() {
    let world = World::new().await;
    let orders: Vec<Order> = POINTS.iter().flat_map(|point| of_point(&world, point)).collect();
    set_aside(&world, &orders).await;
    for point in POINTS {
        let chosen = letters(&world, &format!("{point}-%"));
        assert_eq!(chosen.len(), 4, "{point}");
        if point == "after-send" {
            world.fault_on_captures(Fault::Latency { ms: 300, when: When::After }, Some(1));
        }
        let at = format!("{point}:1");
        let mut doomed = world.worker_with(&[&IMPATIENT[..], &[("HOLDFAST_TEST_CRASH_AT", &at)]].concat());
        doomed.consuming().await;
        let pace = ["--canary", "1", "--rate", "100"];
        let code = ask(&world, &chosen, &pace).await;
        doomed.dies_at(&at).await;
        drop(doomed);
        let mut worker = world.worker_with(&IMPATIENT);
        worker.consuming().await;
        if point == "before-job" {
            // Nothing was written down, the command has said so, and whoever asked asks again.
            assert_eq!(code, 3);
            assert_eq!(letters(&world, &format!("{point}-%")), chosen);
            assert_eq!(ask(&world, &chosen, &pace).await, 0);
        }
        at_rest(&world).await;
        worker.stop().await;
    }
    check_each(&world, &orders);
}

/// Says how to repeat a test that failed.
struct Again(u64);

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let test = "replay_through_failures::whatever_fails";
            let again = format!("repeat with HOLDFAST_SEED={} cargo test --test it {test}\n", self.0);
            let _ = std::io::stderr().write_all(again.as_bytes());
        }
    }
}

/// What befalls a worker in the middle of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    Killed,
    Cut,
    DiskFull,
}

impl Mishap {
    const ALL: [Self; 3] = [Self::Killed, Self::Cut, Self::DiskFull];

    /// It happens now. Is the worker still there afterwards?
    async fn befall(self, world: &World, worker: &mut Worker, proxy: &Proxy, random: &mut ChaCha8Rng) -> bool {
        match self {
            Self::Killed => {
                worker.kill9().await;
                false
            }
            Self::Cut => {
                for _ in 0..random.random_range(1..4) {
                    proxy.cut();
                    tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
                }
                true
            }
            Self::DiskFull => {
                let journal = world.config().with_file_name("holdfast.db-wal");
                let size = std::fs::metadata(journal).map_or(0, |journal| journal.len());
                worker.fill_disk(size + 4_096 * random.random_range(0..16));
                let ended = worker.ended().await;
                assert_eq!(ended.code(), Some(4), "the ledger failed, and the worker ends: {ended}");
                false
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_during_a_replay_nothing_is_doubled_and_nothing_lost() {
    const MISHAPS: usize = 12;
    let seed = std::env::var("HOLDFAST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let _again = Again(seed);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let world = World::new().await;
    let accounts = [Account::Flex, Account::Flex, Account::Flitt, Account::Fondy].into_iter().cycle();
    let orders: Vec<Order> = accounts
        .take(320)
        .enumerate()
        .map(|(number, account)| world.order(&format!("ord-{number:03}"), account, &[("l1", 1, OWED)]))
        .collect();
    set_aside(&world, &orders).await;

    let proxy = Proxy::to(&world.broker).await;
    let url = proxy.url();
    let environment = [&IMPATIENT[..], &[("HOLDFAST_BROKER__URL", url.expose_secret())]].concat();
    world.fault_on_captures(Fault::Latency { ms: 30, when: When::After }, None);
    let mut worker = world.worker_on_a_small_disk(&environment);
    worker.consuming().await;
    let pace = ["--canary", "3", "--rate", "40", "--max-failures", "100"];
    assert_eq!(ask(&world, &letters(&world, "%"), &pace).await, 0);
    let mut befallen = Vec::new();
    for mishap in Mishap::ALL.into_iter().cycle().take(MISHAPS) {
        // Something of it goes on before the next thing fails.
        let done = world.count(DONE);
        if world.count(JOBS_OPEN) == 0 {
            break;
        }
        becomes_more_than(&world, DONE, done.min(310)).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..200))).await;
        if !mishap.befall(&world, &mut worker, &proxy, &mut random).await {
            worker = world.worker_on_a_small_disk(&environment);
            worker.says("worker started").await;
        }
        befallen.push((mishap, world.count(DONE)));
    }
    let in_the_middle = befallen.iter().filter(|(_, done)| *done < 320).count();
    assert!(in_the_middle >= 6, "too late to tell anything: {befallen:?}");
    world.faults(Vec::new());
    at_rest(&world).await;
    check_each(&world, &orders);
    let (code, summary, said) = world.holdfast_json(&["dead-letters", "replay", "--watch", "1"]).await;
    assert_eq!((code, &summary["counts"]["captured"]), (0, &json!(320)), "{said}{}", summary["counts"]);
    worker.stop().await;
}
