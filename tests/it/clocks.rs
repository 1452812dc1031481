//! Clocks that cannot be relied on: a worker that stands still longer than the provider remembers its
//! keys, and a provider's clock that is not ours.

use std::time::Duration;

use holdfast::sandbox::{Fault, KeyRules, Operation, Rule, Settings, When};
use rand::Rng;
use serde_json::Value;

use crate::support::order::{Account, Order};
use crate::support::world::World;

/// How long the same key may be sent again, and is remembered.
const WINDOW: Duration = Duration::from_millis(1_500);

/// Longer than any request may be under way, with its key.
const STANDSTILL: Duration = Duration::from_secs(3);

const BRISK: [(&str, &str); 4] = [
    ("HOLDFAST_ACCOUNTS__FLEX__RESEND_WINDOW", "1500ms"),
    ("HOLDFAST_ACCOUNTS__FLEX__TIMEOUT", "400ms"),
    ("HOLDFAST_ACCOUNTS__FLEX__CONNECT_TIMEOUT", "400ms"),
    ("HOLDFAST_CAPTURE__SEND_WITHIN", "1s"),
];

/// A provider that is slow, so that the first request of every capture is given up on before it is
/// executed, and that forgets every key when the window is over.
async fn slow_and_forgetful() -> World {
    let world = World::new().await;
    let retention_ms = WINDOW.as_millis().try_into().unwrap();
    let keys = KeyRules { retention_ms, ..KeyRules::default() };
    world.sandbox.sandbox().set_settings(Settings { keys });
    let fault = Fault::Latency { ms: 800, when: When::Before };
    world.faults(vec![Rule { operation: Operation::Capture, times_each: Some(1), ..Rule::new(fault) }]);
    world
}

/// Every capture exactly once, by the provider's own books, and by everybody else's.
async fn each_once(world: &World, orders: &[Order]) {
    world.outcomes(orders.len()).await;
    world.check_books().await;
    let books = world.books();
    for order in orders {
        let booked = books.find(&order.reference).unwrap();
        let amounts: Vec<i64> = booked.captures.iter().map(|capture| capture.amount_minor).collect();
        assert_eq!(amounts, [order.total() / 2], "{}", order.id);
    }
}

/// An authorization has room for a second capture of the same: only the protocol keeps it out.
fn order(world: &World, id: &str) -> Order {
    world.order(id, Account::Flex, &[("l1", 2, 2_000)])
}

/// The worker stands still at `point`, when it passes it the `pass`th time, for longer than the window.
async fn stands_still_at(point: &str, pass: u32) {
    let world = slow_and_forgetful().await;
    let at = format!("{point}:{pass}");
    let mut environment = BRISK.to_vec();
    environment.push(("HOLDFAST_TEST_STOP_AT", &at));
    let mut worker = world.worker_with(&environment);
    let order = order(&world, &format!("ord-{point}-{pass}"));
    world.publish([order.shipped("s", &[("l1", 1)])]).await;
    worker.stands_still().await;
    tokio::time::sleep(STANDSTILL).await;
    worker.thaw();
    each_once(&world, &[order]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stands_still_longer_than_the_window_captures_nothing_twice() {
    // The first pass is the first attempt, the second is the same key again, which the window allowed
    // before the worker stood still.
    let points = ["after-T1", "before-send", "after-send", "before-answer", "before-T3", "after-T3"];
    let first = points.map(|point| (point, 1));
    let second = ["before-send", "after-send", "before-T3"].map(|point| (point, 2));
    let all = first.into_iter().chain(second).map(|(point, pass)| stands_still_at(point, pass));
    futures_util::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stands_still_at_any_moment_captures_nothing_twice() {
    let world = slow_and_forgetful().await;
    let worker = world.worker_with(&BRISK);
    let orders: Vec<Order> = (0..120).map(|number| order(&world, &format!("ord-{number}"))).collect();
    for some in orders.chunks(40) {
        world.publish(some.iter().map(|order| order.shipped("s", &[("l1", 1)]))).await;
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..1_500))).await;
        worker.freeze();
        tokio::time::sleep(STANDSTILL).await;
        worker.thaw();
    }
    each_once(&world, &orders).await;
    worker.stop().await;
}

/// What `holdfast accounts list` says of an account's clock.
async fn listed_skew(world: &World, account: Account) -> Option<f64> {
    let (code, listed, said) = world.holdfast(&["accounts", "list", "--output", "json"]).await;
    assert_eq!(code, 0, "{said}");
    let listing: Value = serde_json::from_str(&listed).unwrap();
    let mut lines = listing["accounts"].as_array().unwrap().iter();
    lines.find(|line| line["account"] == account.name()).unwrap()["clock_skew_seconds"].as_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_whose_clock_is_far_from_ours_is_shouted_about_until_it_is_not() {
    let world = World::new().await;
    let skewed = |seconds| Rule {
        account: Some(Account::Fondy.merchant().to_owned()),
        ..Rule::new(Fault::ClockSkew { seconds })
    };
    world.faults(vec![skewed(-75)]);
    let mut worker = world.worker();
    let ship = async |name: &str| {
        for account in [Account::Fondy, Account::Flitt] {
            let orders: Vec<Order> = (0..6)
                .map(|number| world.order(&format!("{name}-{}-{number}", account.name()), account, &[("l1", 1, 999)]))
                .collect();
            world.publish(orders.iter().map(|order| order.shipped("s", &[("l1", 1)]))).await;
        }
    };
    ship("one").await;
    let skew = "holdfast_clock_skew_seconds{account=\"fondy-eu\"}";
    let alarm = "holdfast_alarm{name=\"clock_skew\",account=\"fondy-eu\"}";
    worker.metric_becomes(skew, |seconds| (-75.0..=-73.0).contains(&seconds)).await;
    worker.metric_becomes(alarm, |value| value > 0.0).await;
    worker.metric_becomes("holdfast_clock_skew_seconds{account=\"flitt-ge\"}", |seconds| seconds.abs() < 1.0).await;
    assert_eq!(worker.metric("holdfast_alarm{name=\"clock_skew\",account=\"flitt-ge\"}").await, None);
    worker.says("the clock of the account's provider is").await;
    world.count_becomes("SELECT count(*) FROM accounts WHERE clock_skew_ms < -70000", 1).await;
    assert!(listed_skew(&world, Account::Fondy).await.is_some_and(|seconds| seconds < -70.0));

    world.faults(Vec::new());
    ship("two").await;
    worker.metric_becomes(alarm, |value| value == 0.0).await;
    world.count_becomes("SELECT count(*) FROM accounts WHERE clock_skew_ms < -70000", 0).await;
    world.outcomes(24).await;
    world.check_books().await;
    worker.stop().await;
}
