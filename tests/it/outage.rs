//! The others fail: the broker is killed in the middle of it all, the provider does everything that
//! a provider can do. Nothing is lost, nothing is doubled.

use std::io::Write as _;
use std::time::{Duration, Instant};

use holdfast::broker::local_node::LocalNode;
use holdfast::sandbox::{Fault, Operation, Rule, When};
use serde_json::Value;

use crate::support::order::{Account, Order};
use crate::support::world::World;
use crate::support::{broker_at, temp_dir};

/// Orders of two shipments each, over all three accounts.
fn orders(world: &World, count: usize) -> Vec<Order> {
    let lines = |number: i64| [("l1", 2, 1_001 + number), ("l2", 1, 499)];
    let accounts = Account::ALL.into_iter().cycle();
    let numbered = accounts.take(count).zip(0_i64..);
    numbered.map(|(account, number)| world.order(&format!("ord-{number}"), account, &lines(number))).collect()
}

fn notices(orders: &[Order]) -> Vec<Value> {
    let first = orders.iter().map(|order| order.shipped("a", &[("l1", 1)]));
    let second = orders.iter().map(|order| order.shipped("b", &[("l1", 1), ("l2", 1)]));
    first.chain(second).collect()
}

/// Every order is captured in full.
fn assert_captured(world: &World, orders: &[Order]) {
    let books = world.books();
    for order in orders {
        let booked = books.find(&order.reference).unwrap();
        assert_eq!(booked.captured_minor, order.total(), "{}", order.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_dies_in_the_middle_of_a_thousand_shipments() {
    let mut node = LocalNode::start(&temp_dir(), &[]).await.unwrap();
    let settings = broker_at(node.url("/"));
    let world = World::at(settings).await;
    let orders = orders(&world, 500);
    let notices = notices(&orders);
    node.flush().await.unwrap();
    let mut worker = world.worker();
    worker.consuming().await;
    let (before, during) = notices.split_at(600);
    world.publish(before.iter().cloned()).await;
    world.outcomes(100).await;
    // Some are in the queue, some in memory, some at the provider, some events not confirmed.
    let rest = async {
        for chunk in during.chunks(50) {
            world.publish(chunk.iter().cloned()).await;
        }
    };
    let outage = async {
        node.kill9();
        // The outbox fills while the broker is away.
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.restart().await.unwrap();
    };
    futures_util::future::join(rest, outage).await;
    world.outcomes(1_000).await;
    world.check_books().await;
    assert_captured(&world, &orders);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters"), 0);
    let consumed = worker.log().matches("\"message\":\"consuming\"").count();
    assert!(consumed >= 4, "two queues, before and after: {consumed}");
    worker.readiness("\"ready\":true").await;
    worker.stop().await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_does_everything_a_provider_can_do() {
    let world = World::new().await;
    let orders = orders(&world, 150);
    let status = |status, retry_after_s, when| Fault::Status { status, retry_after_s, when };
    let faults = [
        Fault::Reset { when: When::Before },
        Fault::Reset { when: When::After },
        Fault::Hang { ms: 300, when: When::Before },
        Fault::Hang { ms: 300, when: When::After },
        status(500, None, When::Before),
        status(502, None, When::After),
        status(503, Some(1), When::Before),
        status(503, None, When::After),
        status(429, Some(1), When::Before),
        Fault::Garbage { when: When::Before },
        Fault::Garbage { when: When::After },
        Fault::Hold { lookups: 2, ms: 100 },
        Fault::Latency { ms: 200, when: When::Before },
        Fault::Latency { ms: 200, when: When::After },
        Fault::ForgetKeys,
    ];
    let on_captures =
        faults.into_iter().map(|fault| Rule { operation: Operation::Capture, per_mille: Some(80), ..Rule::new(fault) });
    let on_lookups =
        [Fault::Reset { when: When::Before }, status(500, None, When::Before), Fault::Garbage { when: When::Before }]
            .map(|fault| Rule { operation: Operation::Lookup, per_mille: Some(100), ..Rule::new(fault) });
    let on_tokens = Rule { operation: Operation::Token, times: Some(2), ..Rule::new(status(503, None, When::Before)) };
    let refusing = Rule {
        operation: Operation::Capture,
        times: Some(1),
        per_mille: Some(20),
        ..Rule::new(Fault::Refuse { ms: 400 })
    };
    world.faults([refusing, on_tokens].into_iter().chain(on_lookups).chain(on_captures).collect());
    let worker = world.worker();
    world.publish(notices(&orders)).await;
    world.outcomes(300).await;
    world.check_books().await;
    assert_captured(&world, &orders);
    assert_eq!(world.count("SELECT count(*) FROM captures WHERE state <> 'captured'"), 0, "nothing failed or in doubt");
    // It was no fair weather: each fault struck.
    for state in world.sandbox.sandbox().faults() {
        assert!(state.fired > 0, "never struck: {:?} (met {} times)", state.rule, state.met);
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_down_for_longer_than_the_longest_backoff() {
    const COUNT: usize = 1_000;
    // Settings: the longest backoff is 1 s, looks come every 500 ms, the breaker waits for 500 ms at most.
    const DOWN: Duration = Duration::from_secs(5);
    const INTERVAL: Duration = Duration::from_millis(100);
    let world = World::new().await;
    let one_line = |number| world.order(&format!("ord-{number}"), Account::Flex, &[("l1", 1, 1_999)]);
    let orders: Vec<Order> = (0..COUNT).map(one_line).collect();
    let down = Fault::Status { status: 503, retry_after_s: None, when: When::Before };
    world.faults(vec![Rule::new(down)]);
    let mut worker = world.worker_with(&[("HOLDFAST_BREAKER__RECOVERY", "3s")]);
    worker.consuming().await;
    for chunk in orders.chunks(250) {
        world.publish(chunk.iter().map(|order| order.shipped("s", &[("l1", 1)]))).await;
    }
    tokio::time::sleep(DOWN).await;
    let requests = || u64::from(world.sandbox.sandbox().faults()[0].fired);
    let in_vain = requests();
    assert_eq!(world.books().totals[0].captures, 0);

    world.faults(vec![Rule::new(Fault::Latency { ms: 20, when: When::Before })]);
    let (recovered, mut seen, mut intervals) = (Instant::now(), 0, Vec::new());
    let recovered_at = holdfast::clock::now();
    while intervals.len() < 600 && world.books().totals[0].captures < u64::try_from(COUNT).unwrap() {
        tokio::time::sleep_until((recovered + INTERVAL * u32::try_from(intervals.len() + 1).unwrap()).into()).await;
        let now = requests();
        intervals.push(now - seen);
        seen = now;
    }
    world.outcomes(COUNT).await;
    world.check_books().await;
    assert_captured(&world, &orders);
    let books = world.books();
    let last = books.authorizations.iter().flat_map(|booked| &booked.captures).map(|capture| capture.at).max().unwrap();
    let took = (last - recovered_at).to_std().unwrap();
    let line = format!(
        "{in_vain} calls during {DOWN:?} without an answer, for {COUNT} shipments; {took:.1?} from recovery to the last \
         capture; requests in each {INTERVAL:?} from then on: {intervals:?}\n"
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
    worker.stop().await;
    // What was under way when it went down, then one call for each wait of the breaker. Without one, every
    // shipment would have been tried, and looked at ten times.
    assert!((10..150).contains(&in_vain), "{in_vain} calls in vain");
    assert!(took < Duration::from_secs(30), "{took:?}");
    // Found within the breaker's longest wait; then no more than a few at first, and never more at a time
    // than the account allows: 64, five times in an interval.
    let first = intervals.iter().position(|count| *count > 0).unwrap();
    assert!(first <= 7, "{intervals:?}");
    let at_first: u64 = intervals[first..].iter().take(3).sum();
    assert!(at_first < 150, "{at_first} requests within 300 ms: {intervals:?}");
    assert!(intervals.iter().all(|count| *count <= 64 * 5), "{intervals:?}");
}
