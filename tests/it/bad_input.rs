//! Everything that is no good message, through the real broker: set aside for its own reason,
//! announced, and never in the way of the good ones beside it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use holdfast::broker::session::Session;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, BasicRejectOptions, ConfirmSelectOptions, QueueBindOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::depth_becomes;
use crate::support::order::{Account, Message, Order};
use crate::support::world::World;

const MALFORMED: &str = include_str!("../fixtures/messages/malformed.jsonl");

/// A malformed message, and what is to be said of it. `src/message/tests.rs` describes the file.
struct Malformed {
    name: String,
    message: Message,
    reason: String,
    path: String,
}

fn malformed() -> Vec<Malformed> {
    let read = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let decode_base64 = |text: String| base64::prelude::BASE64_STANDARD.decode(text).unwrap();
        let body = text("body").map(String::into_bytes).or_else(|| text("body_base64").map(decode_base64));
        Malformed {
            name: text("name").unwrap(),
            message: Message {
                routing_key: text("routing_key").unwrap(),
                content_type: text("content_type"),
                id: None,
                body: body.unwrap(),
            },
            reason: text("reason").unwrap(),
            path: text("path").unwrap(),
        }
    };
    MALFORMED.lines().map(read).collect()
}

/// A raw channel, for what neither the shipment side nor the worker does.
async fn raw(world: &World) -> (Session, Channel) {
    let session = Session::open(&world.broker, "test").await.unwrap();
    let channel = session.channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (session, channel)
}

/// Body to reason, path and how often, of every dead letter.
fn dead_letters(ledger: &Connection) -> BTreeMap<Vec<u8>, Vec<(String, String, i64)>> {
    let mut statement = ledger.prepare("SELECT body, reason, path, count FROM dead_letters").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut letters: BTreeMap<Vec<u8>, Vec<_>> = BTreeMap::new();
    while let Some(row) = rows.next().unwrap() {
        let letter = (row.get(1).unwrap(), row.get(2).unwrap(), row.get(3).unwrap());
        letters.entry(row.get(0).unwrap()).or_default().push(letter);
    }
    letters
}

#[tokio::test]
async fn each_malformed_message_is_a_dead_letter_of_its_own_and_the_good_ones_are_captured() {
    let world = World::new().await;
    let cases = malformed();
    assert!(cases.len() >= 75, "{}", cases.len());
    // The queue is bound to three keys only; whoever binds it to more must not be able to break it.
    let (session, channel) = raw(&world).await;
    let keys: BTreeSet<&str> = cases.iter().map(|case| case.message.routing_key.as_str()).collect();
    for key in keys {
        let (queue, exchange) = (world.broker.work_queue.as_str(), world.broker.orders_exchange.as_str());
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(queue.into(), exchange.into(), key.into(), options, arguments).await.unwrap();
    }
    session.close(channel).await;

    let orders: Vec<Order> = (0..=cases.len())
        .map(|number| {
            let account = Account::ALL[number % 3];
            world.order(&format!("good-{number}"), account, &[("l1", 1, 1_000 + i64::try_from(number).unwrap())])
        })
        .collect();
    let good = |order: &Order| Message::from(order.shipped("a", &[("l1", 1)]));
    let mut messages = vec![good(&orders[0])];
    for (case, order) in cases.iter().zip(&orders[1..]) {
        messages.push(case.message.clone());
        messages.push(good(order));
    }
    let mut worker = world.worker();
    world.publish(messages).await;

    world.outcomes(orders.len()).await;
    let mut different: BTreeMap<(&[u8], &str), i64> = BTreeMap::new();
    for case in &cases {
        *different.entry((&case.message.body, &case.reason)).or_default() += 1;
    }
    let rejected = world.events("notice.rejected", different.len()).await;
    world.check_books().await;
    for order in &orders {
        assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, order.total(), "{}", order.id);
    }
    let letters = dead_letters(&world.ledger());
    let mut wrong = Vec::new();
    for case in &cases {
        // The same body for the same reason is the same dead letter, whatever else came with it.
        let same = different[&(case.message.body.as_slice(), case.reason.as_str())];
        let found = letters.get(&case.message.body).map(Vec::as_slice);
        let is_kept = match found {
            Some([(reason, path, count)]) => {
                (reason, *count) == (&case.reason, same) && (*path == case.path || same > 1)
            }
            Some(_) | None => false,
        };
        if !is_kept {
            wrong.push(format!("{}: {found:?}, not {} at {}, {same} times", case.name, case.reason, case.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((letters.len(), rejected.len()), (different.len(), different.len()));
    let announced: BTreeSet<&str> = rejected.iter().map(|event| event.field("dead_letter_id")).collect();
    assert_eq!(announced.len(), different.len(), "each names its own dead letter");
    // Nothing of a body is repeated where others read along.
    for said in rejected.iter().map(|event| event.json.to_string()).chain([worker.log()]) {
        assert!(!said.contains("hunter2"), "{said}");
    }
    worker.readiness("\"ready\":true").await;
    worker.stop().await;
    world.listener.assert_none_repeated();
}

#[tokio::test]
async fn messages_of_any_size_are_taken() {
    let world = World::new().await;
    let order = world.order("ord-1", Account::Flex, &[("l1", 2, 2_000)]);
    let mut worker = world.worker();
    let padded = |notice: Value, size: usize| {
        let text = notice.to_string();
        format!("{text}{}", " ".repeat(size - text.len()))
    };
    let fits = padded(order.shipped("fits", &[("l1", 1)]), 64 * 1024);
    let json = Some("application/cloudevents+json");
    world.publish([Message::raw(json, fits)]).await;
    // Kept by hash and head only, so they are checked here and not by the auditor's rule for all messages.
    let (session, channel) = raw(&world).await;
    for size in [64 * 1024 + 1, 1 << 20, 8 << 20] {
        let body = padded(order.shipped("big", &[("l1", 1)]), size);
        let exchange = world.broker.orders_exchange.as_str().into();
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let sent = channel.basic_publish(exchange, "order.shipped".into(), options, body.as_bytes(), properties).await;
        // Eight megabytes take a busy machine longer than a connection takes to close.
        sent.unwrap().await.unwrap();
    }
    session.close(channel).await;
    let rejected = world.events("notice.rejected", 3).await;
    assert!(rejected.iter().all(|event| event.field("reason") == "undecodable"));
    world.outcomes(1).await;
    world.check_books().await;
    let longest = world.count("SELECT max(coalesce(length(body), 0)) FROM dead_letters");
    assert!(longest <= 64 * 1024, "a dead letter keeps {longest} bytes");
    assert_eq!(world.count("SELECT count(DISTINCT body_sha256) FROM dead_letters"), 3);
    worker.readiness("\"ready\":true").await;
    worker.stop().await;
}

#[tokio::test]
async fn the_same_shipment_with_other_content_changes_nothing_and_is_set_aside() {
    let world = World::new().await;
    let orders = [Account::Flex, Account::Flitt].map(|account| world.order(account.name(), account, &[("l1", 3, 900)]));
    let other = world.order("other", Account::Flex, &[("l1", 3, 900)]);
    let worker = world.worker();
    let mut conflicts = Vec::new();
    for order in &orders {
        world.publish([order.shipped("a", &[("l1", 1)])]).await;
        let more = order.shipped("a", &[("l1", 2)]);
        let mut elsewhere = order.shipped("a", &[("l1", 1)]);
        elsewhere["data"]["authorization"]["reference"] = other.reference.clone().into();
        let mut replanned = order.shipped("b", &[("l1", 2)]);
        replanned["data"]["plan"]["lines"][0]["total"] = json!("8.00");
        replanned["data"]["plan"]["total"] = json!("8.00");
        conflicts.extend([more, elsewhere, replanned]);
    }
    world.publish(conflicts.clone()).await;
    let rejected = world.events("notice.rejected", conflicts.len()).await;
    assert!(rejected.iter().all(|event| event.field("reason") == "conflict"), "{rejected:?}");
    // What stands goes on as if nothing had been.
    world.publish(orders.iter().map(|order| order.shipped("b", &[("l1", 2)]))).await;
    world.outcomes(4).await;
    world.check_books().await;
    for order in &orders {
        assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, 900);
    }
    assert_eq!(world.books().find(&other.reference).unwrap().capture_requests, 0);
    let letters = dead_letters(&world.ledger());
    for conflict in conflicts {
        let [(reason, path, count)] = letters[conflict.to_string().as_bytes()].as_slice() else {
            panic!("{letters:?}")
        };
        assert_eq!((reason.as_str(), *count), ("conflict", 1));
        assert!(path.starts_with("$.data"), "{path}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn what_the_broker_gave_up_on_is_kept_with_its_origin() {
    let world = World::new().await;
    let order = world.order("ord-1", Account::Flex, &[("l1", 2, 1_000)]);
    // A consumer that rejects, as one does that crashes on a message again and again.
    world.publish([order.shipped("a", &[("l1", 1)])]).await;
    let (session, channel) = raw(&world).await;
    let queue = world.broker.work_queue.as_str();
    let message = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap().unwrap();
    assert!(message.reject(BasicRejectOptions { requeue: false }).await.unwrap());
    depth_becomes(&world.broker, &world.broker.dead_queue, 1).await;
    // And what somebody put there by hand, with no word of where it came from.
    let body = order.shipped("b", &[("l1", 1)]).to_string();
    let properties = BasicProperties::default().with_delivery_mode(2);
    let dead = world.broker.dead_queue.as_str();
    channel
        .basic_publish("".into(), dead.into(), BasicPublishOptions::default(), body.as_bytes(), properties)
        .await
        .unwrap();
    session.close(channel).await;

    let mut worker = world.worker();
    worker.consuming().await;
    world.count_becomes("SELECT count(*) FROM dead_letters WHERE reason = 'delivery_limit'", 2).await;
    world.check_books().await;
    let letters = dead_letters(&world.ledger());
    assert_eq!(letters.keys().filter(|kept| kept.as_slice() == body.as_bytes()).count(), 1);
    let origin: String = world
        .ledger()
        .query_row("SELECT origin FROM dead_letters WHERE body = ?1", [world.sent()[0].body.clone()], |row| row.get(0))
        .unwrap();
    let origin: Value = serde_json::from_str(&origin).unwrap();
    assert_eq!((&origin["exchange"], &origin["routing_key"]), (&json!("orders"), &json!("order.shipped")));
    assert_eq!(world.count("SELECT count(*) FROM shipments"), 0, "nobody captures what was given up on");
    worker.stop().await;
}
