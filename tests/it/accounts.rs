//! What stands around every account: a wrong secret, an odd order, a long outage, an operator's pause.
//! Nothing fails for any of them, and no other account takes notice.

use std::collections::HashMap;
use std::time::Duration;

use holdfast::sandbox::{Channel, Code, Fault, Operation, Rule, When};
use serde_json::Value;

use crate::support::order::{Account, Order};
use crate::support::world::World;

/// Orders of one shipment each.
fn orders(world: &World, account: Account, count: usize) -> Vec<Order> {
    let id = |number: usize| format!("{}-{number}", account.name());
    (0..count).map(|number| world.order(&id(number), account, &[("l1", 1, 1_999)])).collect()
}

fn shipped(orders: &[Order]) -> Vec<Value> {
    orders.iter().map(|order| order.shipped("s", &[("l1", 1)])).collect()
}

fn captured(world: &World, orders: &[Order]) -> usize {
    let books = world.books();
    let booked: HashMap<&str, i64> =
        books.authorizations.iter().map(|booked| (booked.reference.as_str(), booked.captured_minor)).collect();
    orders.iter().filter(|order| booked[order.reference.as_str()] == order.total()).count()
}

/// A line of `holdfast accounts list`.
async fn standing(world: &World, account: Account) -> Value {
    let (code, listed, said) = world.holdfast(&["accounts", "list", "--output", "json"]).await;
    assert_eq!(code, 0, "{said}");
    let listing: Value = serde_json::from_str(&listed).unwrap();
    let mut lines = listing["accounts"].as_array().unwrap().iter();
    lines.find(|line| line["account"] == account.name()).unwrap().clone()
}

async fn stands(world: &World, account: Account, state: &str) -> Value {
    let sql = format!("SELECT count(*) FROM accounts WHERE account = '{}' AND state = '{state}'", account.name());
    world.count_becomes(&sql, 1).await;
    standing(world, account).await
}

/// So many shipments on an account with a wrong secret, and so many among them on another one.
async fn a_wrong_secret(
    account: Account,
    (wrong, right): (usize, usize),
    environment: &[(&str, &str)],
    by_signal: bool,
) {
    let world = World::new().await;
    world.give_secret(account, "a wrong one");
    let wronged = orders(&world, account, wrong);
    let others = orders(&world, Account::Fondy, right);
    let mut worker = world.worker_with(environment);
    worker.consuming().await;
    for (wronged, others) in wronged.chunks(100).zip(others.chunks(100 * right / wrong)) {
        world.publish(shipped(wronged).into_iter().chain(shipped(others))).await;
    }
    world.outcomes(right).await;
    let line = stands(&world, account, "suspended").await;
    assert!(line["why"].as_str().is_some_and(|why| !why.is_empty()), "{line}");
    assert_eq!((captured(&world, &others), captured(&world, &wronged)), (right, 0));
    world.count_becomes("SELECT count(*) FROM shipments", i64::try_from(wrong + right).unwrap()).await;
    assert_eq!(standing(&world, Account::Fondy).await["state"], "active");
    let alarm = format!("holdfast_alarm{{name=\"account_suspended\",account=\"{}\"}}", account.name());
    worker.metric_becomes(&alarm, |value| value > 0.0).await;
    // The gate closed before most of them were tried even once.
    let parked = world.count("SELECT count(*) FROM history WHERE what = 'parked'");
    assert!(parked < 150, "{parked} were tried in vain");

    world.give_secret(account, account.secret());
    if by_signal {
        worker.hang_up();
    }
    let outcomes = world.outcomes(wrong + right).await;
    assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"), "nothing failed");
    assert_eq!(captured(&world, &wronged), wrong);
    world.check_books().await;
    stands(&world, account, "active").await;
    worker.metric_becomes(&alarm, |value| value == 0.0).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_fails_nothing_and_is_found_right_by_itself() {
    a_wrong_secret(Account::Flitt, (200, 200), &[], false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_rotated_by_a_signal_and_what_was_parked_is_sent_at_once() {
    let environment = [("HOLDFAST_SUSPENSION__PROBE_INTERVAL", "1h"), ("HOLDFAST_CAPTURE__PARKED_FOR", "1h")];
    a_wrong_secret(Account::Flex, (200, 200), &environment, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_during_five_thousand_shipments_fails_none() {
    a_wrong_secret(Account::Flex, (5_000, 500), &[], true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_order_is_parked_alone_and_its_account_goes_on() {
    let world = World::new().await;
    let orders = orders(&world, Account::Flitt, 40);
    let code = Fault::Code { code: Code::Number(1_014), when: When::Before, channel: Channel::default() };
    let odd = Rule { reference: Some(orders[3].reference.clone()), operation: Operation::Capture, ..Rule::new(code) };
    world.faults(vec![odd]);
    let worker = world.worker();
    world.publish(shipped(&orders)).await;
    world.outcomes(39).await;
    // Tried again and again, and never more than that.
    world.count_becomes("SELECT count(*) FROM captures WHERE attempts >= 5 AND state = 'planned'", 1).await;
    assert_eq!(standing(&world, Account::Flitt).await["state"], "active");
    assert!(!worker.log().contains("account_suspended"));
    world.faults(Vec::new());
    world.outcomes(40).await;
    assert_eq!(captured(&world, &orders), 40);
    world.check_books().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_down_for_long_is_spared_and_comes_back_gradually() {
    const COUNT: usize = 300;
    let world = World::new().await;
    let orders = orders(&world, Account::Flex, COUNT);
    let down = Rule { operation: Operation::Capture, times: Some(1), ..Rule::new(Fault::Refuse { ms: 4_000 }) };
    let slow = Rule { operation: Operation::Capture, ..Rule::new(Fault::Latency { ms: 50, when: When::Before }) };
    world.faults(vec![down, slow]);
    let mut worker = world.worker_with(&[("HOLDFAST_BREAKER__RECOVERY", "3s")]);
    worker.consuming().await;
    world.publish(shipped(&orders)).await;
    stands(&world, Account::Flex, "breaker_open").await;
    world.outcomes(COUNT).await;
    assert_eq!(captured(&world, &orders), COUNT);
    stands(&world, Account::Flex, "active").await;
    world.check_books().await;
    let in_vain = world.count("SELECT sum(attempts) - count(*) FROM captures");
    // What was under way when it went down, and one at a time from then on. With a backoff of at most a
    // second and no breaker there were over two thousand.
    assert!((10..130).contains(&in_vain), "{in_vain} attempts in vain");
    let at_once = "SELECT count(*) FROM captures WHERE settled_at < 300000 + (
        SELECT min(settled_at) FROM captures WHERE settled_at > 3000000 + (SELECT min(planned_at) FROM captures))";
    let at_once = world.count(at_once);
    assert!(at_once < 100, "{at_once} within 300 ms");
    worker.stop().await;
}

/// Doubt is resolved while others wait for their call, whatever it is that they wait for.
async fn doubt_is_resolved_while_others_wait(scarce: (&str, &str)) {
    let world = World::new().await;
    let orders = orders(&world, Account::Flex, 40);
    let of_first = |operation, times, fault| Rule {
        operation,
        times,
        reference: Some(orders[0].reference.clone()),
        ..Rule::new(fault)
    };
    let slow = || Fault::Latency { ms: 50, when: When::Before };
    let lost = of_first(Operation::Capture, Some(1), Fault::Reset { when: When::Before });
    let looks = of_first(Operation::Lookup, None, slow());
    world.faults(vec![lost, looks, Rule { operation: Operation::Capture, ..Rule::new(slow()) }]);
    let mut worker = world.worker_with(&[scarce]);
    worker.consuming().await;
    world.publish(shipped(&orders)).await;
    let outcomes = world.outcomes(40).await;
    world.check_books().await;
    // One look permits sending again; had the next one in the queue taken the permit, it would be looked
    // at again and again until the queue is empty.
    let looked = world.sandbox.sandbox().faults()[1].fired;
    assert!((1..=2).contains(&looked), "looked at {looked} times");
    let place = outcomes.iter().position(|event| event.field("reference") == orders[0].reference).unwrap();
    assert!(place < 30, "the first one was settled as number {place}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubt_is_resolved_while_others_wait_for_a_permit() {
    doubt_is_resolved_while_others_wait(("HOLDFAST_ACCOUNTS__FLEX__CONCURRENCY", "1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubt_is_resolved_while_others_wait_for_the_rate() {
    doubt_is_resolved_while_others_wait(("HOLDFAST_ACCOUNTS__FLEX__RATE_LIMIT", "10/s")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_pauses_and_resumes_an_account() {
    let world = World::new().await;
    let (flex, fondy) = (orders(&world, Account::Flex, 20), orders(&world, Account::Fondy, 20));
    let mut worker = world.worker();
    worker.consuming().await;
    let reason = ["--reason", "their incident"];
    let (code, done, said) = world.holdfast(&["accounts", "pause", "flex", reason[0], reason[1]]).await;
    assert_eq!(code, 0, "{said}");
    assert!(done.contains("flex is paused: nothing more is sent"), "{done}");
    let (code, refused, _) = world.holdfast(&["accounts", "pause", "flexx", reason[0], reason[1]]).await;
    assert_eq!((code, refused.trim()), (1, "no account of that name is configured: flex, flitt-ge, fondy-eu"));
    world.publish(shipped(&flex).into_iter().chain(shipped(&fondy))).await;
    world.outcomes(20).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'planned' AND attempts = 0", 20).await;
    worker.stop().await;

    let (code, _, said) = world.holdfast(&["accounts", "resume", "flex", reason[0], reason[1]]).await;
    assert_eq!(code, 3);
    assert!(said.contains("no worker runs on this ledger, so nothing was changed"), "{said}");
    let mut worker = world.worker();
    worker.consuming().await;
    let line = stands(&world, Account::Flex, "paused").await;
    assert_eq!((line["why"].as_str(), line["waiting"].as_u64()), (Some("their incident (olga)"), Some(20)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(captured(&world, &flex), 0, "a pause outlives a restart");
    let (code, done, said) = world.holdfast(&["accounts", "resume", "flex", reason[0], reason[1]]).await;
    assert_eq!(code, 0, "{said}");
    assert!(done.contains("flex is resumed, and active"), "{done}");
    world.outcomes(40).await;
    assert_eq!(captured(&world, &flex), 20);
    world.check_books().await;
    let kept =
        "SELECT count(*) FROM requests WHERE asked_by = 'olga' AND reason = 'their incident' AND answer NOT NULL";
    assert_eq!(world.count(kept), 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_keep_to_the_rate() {
    let world = World::new().await;
    let orders = orders(&world, Account::Flex, 60);
    let mut worker = world.worker_with(&[("HOLDFAST_ACCOUNTS__FLEX__RATE_LIMIT", "20/s")]);
    worker.consuming().await;
    world.publish(shipped(&orders)).await;
    world.outcomes(60).await;
    world.check_books().await;
    let span = world.count("SELECT max(settled_at) - min(settled_at) FROM captures");
    assert!(span >= 2_500_000, "60 calls in {span} microseconds");
    worker.stop().await;
}
