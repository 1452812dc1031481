//! Authorizations that are about to die: what is taken in time, in which order, and what is said.

use std::time::Duration;

use holdfast::sandbox::{Fault, Operation, Rule, When};

use crate::support::order::Account;
use crate::support::world::World;

#[tokio::test]
async fn near_the_deadline_doubt_about_one_holds_up_nobody() {
    let world = World::new().await;
    let order = world.order_held("ord-1", Account::Flex, &[("l1", 2, 5_000)], Duration::from_hours(1));
    // The first request gets no answer, and no look tells what became of it.
    let lost = Rule {
        operation: Operation::Capture,
        times: Some(1),
        ..Rule::new(Fault::Hang { ms: 100, when: When::Before })
    };
    let unclear = Fault::Status { status: 503, retry_after_s: None, when: When::Before };
    world.faults(vec![lost, Rule { operation: Operation::Lookup, ..Rule::new(unclear) }]);
    let mut worker = world.worker_with(&[("HOLDFAST_CAPTURE__DEADLINE_MARGIN", "2h"), LONG_MARGIN]);
    world.publish([order.shipped("a", &[("l1", 1)])]).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'in_doubt'", 1).await;
    world.publish([order.shipped("b", &[("l1", 1)])]).await;
    let outcomes = world.outcomes(1).await;
    assert_eq!((outcomes[0].kind.as_str(), outcomes[0].field("shipment_id")), ("capture.succeeded", "b"));
    assert_eq!(world.count("SELECT count(*) FROM captures WHERE state = 'in_doubt'"), 1, "its doubt is not over");
    let alarm = "holdfast_alarm{name=\"expiring\",account=\"\"}";
    worker.metric_becomes(alarm, |value| value > 0.5).await;
    world.faults(Vec::new());
    world.outcomes(2).await;
    worker.metric_becomes(alarm, |value| value < 0.5).await;
    world.check_books().await;
    assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, 5_000);
    worker.stop().await;
}

/// The derived margin is never shorter.
const LONG_MARGIN: (&str, &str) = ("HOLDFAST_CAPTURE__DERIVED_DEADLINE_MARGIN", "2h");

#[tokio::test]
async fn when_permits_are_short_what_expires_first_goes_first() {
    let world = World::new().await;
    let line = [("l1", 1, 1_000)];
    let busy = world.order_held("busy", Account::Flex, &line, Duration::from_hours(1));
    let hours = [30, 20, 10, 25, 5, 15];
    let orders = hours
        .map(|hours| world.order_held(&format!("in-{hours:02}h"), Account::Flex, &line, Duration::from_hours(hours)));
    world.fault_on_captures(Fault::Latency { ms: 1_000, when: When::Before }, Some(1));
    let worker = world.worker_with(&[("HOLDFAST_ACCOUNTS__FLEX__CONCURRENCY", "1")]);
    world.publish([busy.shipped("a", &[("l1", 1)])]).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'sending'", 1).await;
    world.publish(orders.iter().map(|order| order.shipped("a", &[("l1", 1)]))).await;
    let outcomes = world.outcomes(1 + orders.len()).await;
    let order: Vec<&str> = outcomes.iter().map(|event| event.field("order_id")).collect();
    assert_eq!(order, ["busy", "in-05h", "in-10h", "in-15h", "in-20h", "in-25h", "in-30h"]);
    world.check_books().await;
    worker.stop().await;
}

#[tokio::test]
async fn money_about_to_be_lost_is_warned_of_and_its_end_is_told() {
    let world = World::new().await;
    let order = world.order_held("ord-1", Account::Flex, &[("l1", 2, 5_000)], Duration::from_secs(4));
    let leads = ("HOLDFAST_CAPTURE__EXPIRING_LEADS", "2s, 1h");
    let worker = world.worker_with(&[leads]);
    world.publish([order.shipped("a", &[("l1", 1)])]).await;
    world.outcomes(1).await;
    let warnings = world.events("authorization.expiring", 2).await;
    let told: Vec<_> = warnings.iter().map(|event| event.json["data"]["lead_seconds"].as_u64().unwrap()).collect();
    assert_eq!(told, [3_600, 2]);
    for event in &warnings {
        assert_eq!((event.field("reference"), event.field("on_expiry")), (order.reference.as_str(), "void"));
        assert_eq!(event.json["data"]["balance"]["remaining"], "25.00", "{}", event.json);
    }
    let [end] = &world.events("authorization.expired", 1).await[..] else { panic!("one") };
    let amounts = ["authorized", "captured_by_us", "captured_elsewhere", "released"].map(|name| end.field(name));
    assert_eq!((end.field("ending"), amounts), ("expired", ["50.00", "25.00", "0.00", "25.00"]));
    assert_eq!(world.count("SELECT count(*) FROM authorizations WHERE watch_at IS NOT NULL"), 0, "it is over");
    world.check_books().await;
    worker.stop().await;
    world.listener.assert_none_repeated();
}

#[tokio::test]
async fn a_hold_that_the_provider_captures_by_itself_is_told_with_the_difference() {
    let world = World::new().await;
    let order = world.order_held("ord-1", Account::Flitt, &[("tea", 1, 5_000)], Duration::from_secs(3));
    let worker = world.worker();
    // Refused: nothing of it is ever captured by us, and the hold stands.
    world.publish([order.shipped("a", &[("tea", 2)])]).await;
    world.outcomes(1).await;
    world.events("authorization.expiring", 2).await;
    let [end] = &world.events("authorization.expired", 1).await[..] else { panic!("one") };
    let amounts = ["authorized", "captured_by_us", "captured_elsewhere", "released"].map(|name| end.field(name));
    assert_eq!((end.field("ending"), amounts), ("captured", ["50.00", "0.00", "50.00", "0.00"]));
    worker.stop().await;
}
