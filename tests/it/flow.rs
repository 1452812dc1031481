//! From a message to money and back to a message: the worker as a process, RabbitMQ, real HTTP, and
//! both ledgers.

use std::collections::BTreeMap;

use holdfast::sandbox::{Fault, When};
use serde_json::json;

use crate::support::depth_becomes;
use crate::support::listener::Received;
use crate::support::order::{Account, Message, minor};
use crate::support::store::Kind;
use crate::support::world::World;

on_both_ledgers!(
    one_shipment_is_one_call_with_the_exact_amount_and_one_event,
    partial_shipments_add_up_to_the_cent_on_both_kinds_of_authorization,
    a_single_capture_waits_for_the_rest_or_for_the_last,
    the_same_shipment_any_number_of_times_is_captured_once,
    free_goods_explicit_amounts_and_both_forms_of_a_message,
    what_cannot_be_captured_fails_in_words_and_moves_nothing,
    sigterm_settles_what_is_in_flight_and_leaves_the_rest_in_the_queue,
    a_second_sigterm_ends_at_once_and_nothing_is_lost,
    health_and_numbers_over_http,
    when_the_provider_hangs_the_backlog_waits_in_the_queue_and_goes_on_by_itself,
    a_message_that_is_none_is_set_aside_and_a_corrected_one_simply_works,
    events_that_wait_their_turn_are_not_taken_for_lost,
    a_drain_publishes_all_that_is_left_and_nothing_twice,
);

/// Shipment to its share, in minor units.
fn shares(outcomes: &[Received]) -> BTreeMap<&str, i64> {
    outcomes
        .iter()
        .map(|event| {
            assert_eq!(event.kind, "capture.succeeded", "{}", event.json);
            (event.field("shipment_id"), minor(event.field("amount")))
        })
        .collect()
}

async fn one_shipment_is_one_call_with_the_exact_amount_and_one_event(kind: Kind) {
    for account in Account::ALL {
        let world = World::on(kind).await;
        let order = world.order("ord-1", account, &[("l1", 2, 11_900)]);
        let worker = world.worker();
        world.publish([order.shipped("a", &[("l1", 2)])]).await;
        let outcomes = world.outcomes(1).await;
        let event = &outcomes[0];
        assert_eq!(event.kind, "capture.succeeded", "{}", event.json);
        assert_eq!((event.field("amount"), event.field("capture_amount")), ("119.00", "119.00"));
        assert_eq!((event.field("currency"), event.field("caused_by")), (account.currency(), "ord-1-a"));
        assert_eq!((event.field("account"), event.field("reference")), (account.name(), order.reference.as_str()));
        assert_eq!(event.json["data"]["attempts"], 1);
        world.check_books().await;

        let books = world.books();
        let booked = books.find(&order.reference).unwrap();
        assert_eq!(booked.capture_requests, 1, "{account:?}");
        let [capture] = booked.captures.as_slice() else { panic!("{:?}", booked.captures) };
        assert_eq!((capture.amount_minor, capture.currency.as_str()), (11_900, account.currency()));
        if !account.is_single() {
            assert_eq!(capture.merchant_reference_id.as_deref(), Some(event.field("capture_id")));
        }
        worker.stop().await;
        world.listener.assert_none_repeated();
        world.check_books().await;
    }
}

async fn partial_shipments_add_up_to_the_cent_on_both_kinds_of_authorization(kind: Kind) {
    for account in [Account::Flex, Account::Fondy] {
        let world = World::on(kind).await;
        let lines = [("chair", 3, 8_999)];
        let order = world.order_with("ord-1", account, &lines, |order| (order.tax, order.shipping) = (720, 281));
        assert_eq!(order.total(), 10_000);
        let worker = world.worker();
        world.publish(["a", "b", "c"].map(|shipment| order.shipped(shipment, &[("chair", 1)]))).await;
        let outcomes = world.outcomes(3).await;
        let shares = shares(&outcomes);
        // Goods and tax earn 32.40, 64.79, 97.19; shipping 0.94, 1.87, 2.81; each shipment the difference.
        let [a, b, c] = ["a", "b", "c"].map(|shipment| shares[shipment]);
        let mut sorted = [a, b, c];
        sorted.sort_unstable();
        assert_eq!(sorted, [3_332, 3_334, 3_334]);
        world.check_books().await;
        let books = world.books();
        let booked = books.find(&order.reference).unwrap();
        let captures = if account.is_single() { 1 } else { 3 };
        assert_eq!((booked.captured_minor, booked.remaining_minor), (10_000, 0));
        assert_eq!((booked.captures.len(), booked.capture_requests), (captures, captures.try_into().unwrap()));
        for event in &outcomes {
            let kind = if account.is_single() { "batch" } else { "shipment" };
            assert_eq!(event.field("kind"), kind);
            let covered = event.json["data"]["capture_shipment_ids"].as_array().unwrap().len();
            assert_eq!(covered, if account.is_single() { 3 } else { 1 });
        }
        worker.stop().await;
    }
}

async fn a_single_capture_waits_for_the_rest_or_for_the_last(kind: Kind) {
    let world = World::on(kind).await;
    let whole = world.order("whole", Account::Flitt, &[("lamp", 1, 4_000), ("mug", 2, 2_000)]);
    let cut = world.order("cut", Account::Fondy, &[("shirt", 3, 9_000)]);
    let worker = world.worker();
    world.publish([whole.shipped("a", &[("lamp", 1)]), cut.shipped("a", &[("shirt", 1)])]).await;
    let deferred = world.events("capture.deferred", 2).await;
    for event in &deferred {
        assert!(!event.field("capture_by").is_empty(), "{}", event.json);
    }
    assert_eq!(world.count("SELECT count(*) FROM captures"), 0, "nothing is sent while it collects");
    let requests: u64 = world.books().totals.iter().map(|total| total.capture_requests).sum();
    assert_eq!(requests, 0);

    world.publish([whole.shipped("b", &[("mug", 2)]), cut.last("b", &[("shirt", 1)])]).await;
    world.outcomes(4).await;
    world.check_books().await;
    let books = world.books();
    let captured = |reference: &str| {
        let booked = books.find(reference).unwrap();
        (booked.captured_minor, booked.voided_minor, booked.capture_requests)
    };
    assert_eq!(captured(&whole.reference), (6_000, 0, 1));
    assert_eq!(captured(&cut.reference).0, 6_000, "what shipped, and the rest is let go");
    assert_eq!(captured(&cut.reference).2, 1);
    worker.stop().await;
}

async fn the_same_shipment_any_number_of_times_is_captured_once(kind: Kind) {
    let world = World::on(kind).await;
    let orders = Account::ALL.map(|account| world.order(account.name(), account, &[("l1", 2, 5_001)]));
    let worker = world.worker();
    let notices: Vec<_> =
        orders.iter().flat_map(|order| ["a", "b"].map(|shipment| order.shipped(shipment, &[("l1", 1)]))).collect();
    let again: Vec<_> = std::iter::repeat_n(notices.clone(), 20).flatten().collect();
    world.publish(again).await;
    world.outcomes(6).await;
    // And once more, when everything is over.
    world.publish(notices).await;
    world.check_books().await;
    let books = world.books();
    for order in &orders {
        let booked = books.find(&order.reference).unwrap();
        assert_eq!(booked.captured_minor, 5_001);
        assert_eq!(booked.capture_requests, if order.account.is_single() { 1 } else { 2 });
    }
    assert_eq!(world.count("SELECT count(*) FROM dead_letters"), 0);
    worker.stop().await;
    world.listener.assert_none_repeated();
}

async fn free_goods_explicit_amounts_and_both_forms_of_a_message(kind: Kind) {
    let world = World::on(kind).await;
    let gift = world.order("gift", Account::Flex, &[("pan", 1, 4_000), ("handle", 1, 0)]);
    let erp = world.order("erp", Account::Flex, &[("any", 1, 9_000)]);
    let plain = world.order("plain", Account::Flex, &[("l1", 1, 1_234)]);
    let nameless = world.order("nameless", Account::Fondy, &[("l1", 1, 77)]);
    let worker = world.worker();
    let messages: [Message; 6] = [
        gift.shipped("free", &[("handle", 1)]).into(),
        gift.shipped("paid", &[("pan", 1)]).into(),
        erp.worth("some", 1_563).into(),
        erp.worth("none", 0).into(),
        Message::plain(&plain.shipped("a", &[("l1", 1)]), "wms-77"),
        Message::raw(None, nameless.shipped("n", &[("l1", 1)])["data"].to_string()),
    ];
    world.publish(messages).await;
    let outcomes = world.outcomes(6).await;
    let shares = shares(&outcomes);
    let expected = [("free", 0), ("paid", 4_000), ("some", 1_563), ("none", 0), ("a", 1_234), ("n", 77)];
    assert_eq!(shares, BTreeMap::from(expected));
    for event in &outcomes {
        let is_zero = event.field("amount") == "0.00";
        assert_eq!(event.field("kind") == "zero", is_zero, "{}", event.json);
        match event.field("order_id") {
            "plain" => assert_eq!(event.field("caused_by"), "wms-77"),
            "nameless" => assert_eq!(event.field("caused_by").len(), 36, "derived from the bytes"),
            _ => assert!(event.field("caused_by").starts_with(event.field("order_id"))),
        }
    }
    world.check_books().await;
    assert_eq!(world.books().find(&gift.reference).unwrap().capture_requests, 1, "no call for what is free");
    worker.stop().await;
}

async fn what_cannot_be_captured_fails_in_words_and_moves_nothing(kind: Kind) {
    let world = World::on(kind).await;
    let over = world.order("over", Account::Flitt, &[("tea", 2, 5_000)]);
    let poor = world.order_with("poor", Account::Flex, &[("sofa", 1, 9_000)], |order| order.authorized = 5_000);
    let worker = world.worker();
    world.publish([over.shipped("a", &[("tea", 3)]), poor.shipped("a", &[("sofa", 1)])]).await;
    let outcomes = world.outcomes(2).await;
    let reasons: BTreeMap<&str, (&str, &str)> = outcomes
        .iter()
        .map(|event| (event.field("order_id"), (event.field("reason"), event.field("next_action"))))
        .collect();
    assert_eq!(
        reasons,
        BTreeMap::from([("over", ("over_shipped", "review")), ("poor", ("exceeds_authorization", "reauthorize"))])
    );
    world.check_books().await;
    assert_eq!(world.books().totals.iter().map(|total| total.capture_requests).sum::<u64>(), 0);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters WHERE state = 'open'"), 2);
    // What failed does not keep others of the order out.
    world.publish([over.shipped("b", &[("tea", 2)])]).await;
    world.outcomes(3).await;
    world.check_books().await;
    assert_eq!(world.books().find(&over.reference).unwrap().captured_minor, 5_000);
    worker.stop().await;
}

async fn sigterm_settles_what_is_in_flight_and_leaves_the_rest_in_the_queue(kind: Kind) {
    let world = World::on(kind).await;
    let order = world.order("ord-1", Account::Flex, &[("l1", 2, 2_500)]);
    world.fault_on_captures(Fault::Latency { ms: 700, when: When::Before }, None);
    let mut worker = world.worker();
    world.publish([order.shipped("a", &[("l1", 1)])]).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'sending'", 1).await;
    worker.terminate();
    worker.says("draining").await;
    assert_eq!(world.count("SELECT count(*) FROM captures WHERE state = 'sending'"), 1, "it drains while it calls");
    assert_eq!(worker.ended().await.code(), Some(0));
    // The call was settled and its event published by the worker that ended.
    assert_eq!(world.count("SELECT count(*) FROM captures WHERE state = 'captured'"), 1);
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE published_at IS NULL"), 0);
    world.outcomes(1).await;
    // Nobody is there: the next one waits, in sight.
    world.publish([order.shipped("b", &[("l1", 1)])]).await;
    depth_becomes(&world.broker, &world.broker.work_queue, 1).await;
    world.faults(Vec::new());
    let worker = world.worker();
    world.outcomes(2).await;
    world.check_books().await;
    assert_eq!(world.books().find(&order.reference).unwrap().capture_requests, 2);
    worker.stop().await;
}

async fn a_second_sigterm_ends_at_once_and_nothing_is_lost(kind: Kind) {
    let world = World::on(kind).await;
    let order = world.order("ord-1", Account::Flex, &[("l1", 1, 2_500)]);
    world.fault_on_captures(Fault::Hang { ms: 1_500, when: When::After }, Some(1));
    let mut worker = world.worker();
    world.publish([order.shipped("a", &[("l1", 1)])]).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'sending'", 1).await;
    worker.terminate();
    worker.says("draining").await;
    worker.terminate();
    worker.says("told twice").await;
    assert_eq!(worker.ended().await.code(), Some(0));
    let worker = world.worker();
    let outcomes = world.outcomes(1).await;
    assert_eq!(outcomes[0].field("resolved_by"), "lookup", "{}", outcomes[0].json);
    world.check_books().await;
    assert_eq!(world.books().find(&order.reference).unwrap().capture_requests, 1, "looked at, not sent again");
    worker.stop().await;
}

#[tokio::test]
async fn a_second_worker_is_kept_off_the_ledger_and_the_first_goes_on() {
    let world = World::new().await;
    let order = world.order("ord-1", Account::Flex, &[("l1", 1, 2_500)]);
    let mut first = world.worker();
    first.consuming().await;
    let mut second = world.worker();
    assert_eq!(second.ended().await.code(), Some(5), "{}", second.log());
    assert!(second.log().contains("holdfast.db"), "{}", second.log());
    world.publish([order.shipped("a", &[("l1", 1)])]).await;
    world.outcomes(1).await;
    world.check_books().await;
    first.stop().await;
    // The file is free again.
    world.worker().consuming().await;
}

#[tokio::test]
async fn settings_that_are_wrong_end_with_two_and_name_the_setting() {
    let world = World::new().await;
    for (name, value, key) in [
        ("HOLDFAST_CAPTURE__QUIET", "soon", "capture.quiet"),
        ("HOLDFAST_CAPTURE__DEADLINE_MARGIN", "10ms", "capture.deadline_margin"),
        ("HOLDFAST_ACCOUNTS__FLEX__TIMEOUT", "1h", "worker.drain_grace"),
        ("HOLDFAST_BROKER__PREFETSH", "5", "broker.prefetsh"),
        ("HOLDFAST_HTTP__LISTEN", "192.0.2.1:1", "http.listen"),
    ] {
        let mut worker = world.worker_with(&[(name, value)]);
        assert_eq!(worker.ended().await.code(), Some(2), "{name}: {}", worker.log());
        assert!(worker.log().contains(key), "{name}: {}", worker.log());
    }
}

async fn health_and_numbers_over_http(kind: Kind) {
    let world = World::on(kind).await;
    let order = world.order("ord-1", Account::Flex, &[("l1", 1, 2_500)]);
    let held = world.order("ord-2", Account::Flitt, &[("l1", 2, 700)]);
    let mut worker = world.worker();
    worker.consuming().await;
    let (status, body) = worker.get("/livez").await;
    assert_eq!((status, body.as_str()), (200, "alive\n"));
    worker.readiness("\"ready\":true").await;

    let no_message = Message::raw(Some("application/json"), "{\"order_id\": ");
    world.publish([order.shipped("a", &[("l1", 1)]).into(), held.shipped("a", &[("l1", 1)]).into(), no_message]).await;
    world.outcomes(1).await;
    world.events("capture.deferred", 1).await;
    world.events("notice.rejected", 1).await;
    for (line, wanted) in [
        ("holdfast_deliveries_total", 3.0),
        ("holdfast_deliveries_rejected_total{reason=\"undecodable\"}", 1.0),
        ("holdfast_captures_total{account=\"flex\",outcome=\"succeeded\"}", 1.0),
        ("holdfast_attempts_total{account=\"flex\",evidence=\"captured\"}", 1.0),
        ("holdfast_published_total{result=\"published\"}", 3.0),
        ("holdfast_dead_letters{reason=\"undecodable\"}", 1.0),
        ("holdfast_open_captures", 0.0),
        ("holdfast_in_doubt_oldest_age_seconds", 0.0),
        ("holdfast_outbox_pending", 0.0),
        ("holdfast_earned_uncaptured_minor_units{account=\"flitt-ge\",currency=\"GEL\"}", 350.0),
        ("holdfast_broker_connected{connection=\"consume\"}", 1.0),
        ("holdfast_broker_connected{connection=\"publish\"}", 1.0),
    ] {
        worker.metric_becomes(line, |value| value.total_cmp(&wanted).is_eq()).await;
    }
    worker.metric_becomes("holdfast_nearest_deadline_seconds", |value| value > 600_000.0).await;
    worker.stop().await;
}

async fn when_the_provider_hangs_the_backlog_waits_in_the_queue_and_goes_on_by_itself(kind: Kind) {
    let world = World::on(kind).await;
    let orders: Vec<_> =
        (0..40).map(|number| world.order(&format!("ord-{number}"), Account::Flex, &[("l1", 1, 1_000)])).collect();
    world.fault_on_captures(Fault::Hang { ms: 1_500, when: When::Before }, None);
    let bounds = [("HOLDFAST_CAPTURE__OPEN_MAX", "5"), ("HOLDFAST_BROKER__PREFETCH", "4")];
    let mut worker = world.worker_with(&bounds);
    worker.consuming().await;
    let (first, rest) = orders.split_at(10);
    world.publish(first.iter().map(|order| order.shipped("a", &[("l1", 1)]))).await;
    worker.metric_becomes("holdfast_alarm{name=\"too_many_open_captures\",account=\"\"}", |value| value > 0.5).await;
    worker.readiness("paused").await;
    // Paused, it takes nothing more.
    let accepted = world.count("SELECT count(*) FROM shipments");
    world.publish(rest.iter().map(|order| order.shipped("a", &[("l1", 1)]))).await;
    let waiting = u32::try_from(40 - accepted).unwrap();
    depth_becomes(&world.broker, &world.broker.work_queue, waiting).await;
    assert_eq!(world.count("SELECT count(*) FROM shipments"), accepted);

    world.faults(Vec::new());
    let outcomes = world.outcomes(40).await;
    assert_eq!(shares(&outcomes), BTreeMap::from([("a", 1_000)]));
    world.check_books().await;
    worker.metric_becomes("holdfast_alarm{name=\"too_many_open_captures\",account=\"\"}", |value| value < 0.5).await;
    worker.stop().await;
}

async fn a_message_that_is_none_is_set_aside_and_a_corrected_one_simply_works(kind: Kind) {
    let world = World::on(kind).await;
    let order = world.order("ord-1", Account::Flex, &[("l1", 1, 2_500)]);
    let worker = world.worker();
    let mut wrong = order.shipped("a", &[("l1", 1)]);
    wrong["data"]["plan"]["total"] = json!(25.0);
    world.publish([wrong.clone(), wrong.clone()]).await;
    let rejected = world.events("notice.rejected", 1).await;
    assert_eq!((rejected[0].field("reason"), rejected[0].field("path")), ("invalid", "$.data.plan.total"));
    assert_eq!((rejected[0].field("order_id"), rejected[0].field("shipment_id")), ("ord-1", "a"));
    world.publish([order.shipped("a", &[("l1", 1)])]).await;
    world.outcomes(1).await;
    world.check_books().await;
    let kept: (String, String, i64, Vec<u8>) = world
        .ledger()
        .query_row("SELECT reason, path, count, body FROM dead_letters", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    assert_eq!(kept, ("invalid".into(), "$.data.plan.total".into(), 2, wrong.to_string().into_bytes()));
    assert_eq!(world.listener.received().iter().filter(|event| event.kind == "notice.rejected").count(), 1);
    worker.stop().await;
}

/// Messages that cost nothing but their event.
fn worthless(count: usize) -> Vec<Message> {
    (0..count).map(|number| Message::raw(None, format!("{{\"number\": {number}}}"))).collect()
}

/// Quick to accept, slow to publish, and soon to take an event for lost.
const BEHIND: [(&str, &str); 3] = [
    ("HOLDFAST_BROKER__PREFETCH", "512"),
    ("HOLDFAST_BROKER__PUBLISH_BATCH", "1"),
    ("HOLDFAST_WORKER__RELAY_INTERVAL", "500ms"),
];

async fn events_that_wait_their_turn_are_not_taken_for_lost(kind: Kind) {
    let world = World::on(kind).await;
    world.publish(worthless(1_500)).await;
    let worker = world.worker_with(&BEHIND);
    world.events("notice.rejected", 1_500).await;
    world.check_books().await;
    worker.stop().await;
    world.listener.assert_none_repeated();
}

async fn a_drain_publishes_all_that_is_left_and_nothing_twice(kind: Kind) {
    let world = World::on(kind).await;
    world.publish(worthless(1_000)).await;
    let mut worker = world.worker_with(&BEHIND);
    world.events("notice.rejected", 50).await;
    worker.terminate();
    assert_eq!(worker.ended().await.code(), Some(0));
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE published_at IS NULL"), 0);
    let published = world.count("SELECT count(*) FROM outbox").try_into().unwrap();
    world.events("notice.rejected", published).await;
    world.listener.assert_none_repeated();
    // What it did not take any more waits in the queue. Perhaps that is nothing: the worker has to be there
    // before it can be stopped.
    let mut worker = world.worker_with(&BEHIND);
    worker.consuming().await;
    world.events("notice.rejected", 1_000).await;
    world.check_books().await;
    worker.stop().await;
}
