//! RabbitMQ, really: what is declared, delivered, acknowledged, published, and survives the broker.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use holdfast::broker::consumer::{Consumer, ConsumerState, Delivered, Intake, IntakeStopped, Source};
use holdfast::broker::local_node::LocalNode;
use holdfast::broker::publisher::{Outgoing, PublishOutcome, Publisher, PublisherState};
use holdfast::broker::session::{BrokerError, Session};
use holdfast::broker::topology::{self, Topology, TopologyError};
use holdfast::cli;
use holdfast::message::sender::Claims;
use holdfast::settings::{Broker, TopologyMode};
use lapin::options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::{self, Groups, broker, by_hand, depth, depth_becomes, node, until};

/// A raw channel, for what the worker itself never does.
async fn raw(settings: &Broker) -> (Session, Channel) {
    let session = Session::open(settings, "test").await.unwrap();
    let channel = session.channel().await.unwrap();
    (session, channel)
}

/// Declares everything, and publishes `order.shipped` with these bodies.
async fn ship(settings: &Broker, bodies: impl IntoIterator<Item = String>) {
    let (session, channel) = raw(settings).await;
    topology::declare(&session, &Topology::of(settings)).await.unwrap();
    channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
    let bodies: Vec<String> = bodies.into_iter().collect();
    let publishing = bodies.iter().map(|body| async {
        let properties = BasicProperties::default().with_delivery_mode(2).with_message_id(body.as_str().into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let key = "order.shipped".into();
        let exchange = settings.orders_exchange.as_str().into();
        let published = channel.basic_publish(exchange, key, options, body.as_bytes(), properties).await.unwrap();
        assert!(published.await.unwrap().is_ack());
    });
    futures_util::future::join_all(publishing).await;
    session.close(channel).await;
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("m{number:04}")).collect()
}

/// A consumer that the test answers for, never paused.
fn consume(settings: &Broker, source: Source) -> (Consumer, Groups) {
    let (intake, groups) = by_hand();
    let never = watch::channel(false).1;
    (Consumer::spawn(Arc::new(settings.clone()), source, intake, never), groups)
}

fn outgoing(row: i64, routing_key: &str) -> Outgoing {
    Outgoing {
        row,
        exchange: "payments".into(),
        event_id: Uuid::from_u128(u128::try_from(row).unwrap()),
        routing_key: routing_key.into(),
        body: Bytes::from(format!("event {row}")),
        content_type: "application/cloudevents+json".into(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        claims: Claims::default(),
    }
}

/// A queue that takes `capture.succeeded` from the `payments` exchange.
async fn listen(settings: &Broker) {
    let (session, channel) = raw(settings).await;
    topology::prepare_publishing(&session, settings).await.unwrap();
    channel.queue_declare("events".into(), QueueDeclareOptions::durable(), FieldTable::default()).await.unwrap();
    let (exchange, key) = ("payments".into(), "capture.succeeded".into());
    channel
        .queue_bind("events".into(), exchange, key, QueueBindOptions::default(), FieldTable::default())
        .await
        .unwrap();
    session.close(channel).await;
}

#[tokio::test]
async fn the_topology_is_declared_as_described_and_again_without_harm() {
    let settings = broker().await;
    let described = Topology::of(&settings);
    let session = Session::open(&settings, "test").await.unwrap();
    for _ in 0..2 {
        topology::declare(&session, &described).await.unwrap();
    }
    topology::verify(&session, &described).await.unwrap();

    let vhost = session.address().vhost.clone();
    let listing = ["list_queues", "-p", &vhost, "name", "durable", "type", "arguments", "--formatter", "json"];
    let queues: Vec<Value> = serde_json::from_str(&node().await.ctl(&listing).await.unwrap()).unwrap();
    let wanted = topology::definitions(&settings).unwrap();
    let wanted = wanted["queues"].as_array().unwrap();
    assert_eq!(queues.len(), wanted.len());
    for wanted in wanted {
        let found = queues.iter().find(|queue| queue["name"] == wanted["name"]).unwrap();
        assert_eq!(found["durable"], true);
        assert_eq!(found["type"], "quorum");
        // `rabbitmqctl` prints arguments as [name, type, value].
        for (name, value) in wanted["arguments"].as_object().unwrap() {
            let text = found["arguments"].to_string();
            assert!(text.contains(name) && text.contains(&value.to_string()), "{name} = {value} in {text}");
        }
    }
}

#[tokio::test]
async fn the_definitions_file_makes_the_same_topology() {
    let settings = broker().await;
    let session = Session::open(&settings, "test").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("definitions.json");
    std::fs::write(&file, topology::definitions(&settings).unwrap().to_string()).unwrap();
    node().await.ctl(&["import_definitions", file.to_str().unwrap()]).await.unwrap();

    topology::verify(&session, &Topology::of(&settings)).await.unwrap();
    // An argument that differed would be refused.
    topology::declare(&session, &Topology::of(&settings)).await.unwrap();
}

#[test]
fn the_topology_is_printed_without_credentials() {
    let settings = support::broker_at("amqp://me:s3cret@rabbit/shop".to_owned().into());
    let print = |definitions| {
        let mut out = Vec::new();
        cli::topology::run(&cli::topology::Args { definitions }, &settings, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let (table, json) = (print(false), print(true));
    for text in [&table, &json] {
        for part in ["holdfast.work.v1", "x-dead-letter-strategy", "at-least-once", "order.shipped", "shop"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("s3cret"), "{text}");
    }
    assert!(table.contains("rabbit:5672"), "{table}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["queues"][1]["arguments"]["x-delivery-limit"], 20);
}

#[tokio::test]
async fn what_is_missing_or_different_is_named() {
    let mut settings = broker().await;
    let (session, channel) = raw(&settings).await;
    let described = Topology::of(&settings);

    let missing = topology::verify(&session, &described).await.unwrap_err();
    let BrokerError::Topology(TopologyError::Missing { kind: "queue", name }) = &missing else { panic!("{missing}") };
    assert_eq!(name, "holdfast.dead.v1");

    settings.declare_orders = false;
    let missing = topology::declare(&session, &Topology::of(&settings)).await.unwrap_err();
    let BrokerError::Topology(TopologyError::OrdersMissing { name }) = &missing else { panic!("{missing}") };
    assert_eq!(name, "orders");

    topology::declare(&session, &described).await.unwrap();
    settings.work_queue = "taken".into();
    channel.queue_declare("taken".into(), QueueDeclareOptions::durable(), FieldTable::default()).await.unwrap();
    let different = topology::declare(&session, &Topology::of(&settings)).await.unwrap_err();
    let BrokerError::Topology(TopologyError::Differs { kind: "queue", name, reason }) = &different else {
        panic!("{different}")
    };
    assert_eq!(name, "taken");
    assert!(reason.contains("inequivalent arg"), "{reason}");
}

#[tokio::test]
async fn a_consumer_waits_for_the_orders_exchange() {
    let mut settings = broker().await;
    settings.declare_orders = false;
    let (consumer, mut groups) = consume(&settings, Source::Work);
    let mut status = consumer.status();
    let waiting = until(&mut status, |status| matches!(status.state, ConsumerState::Disconnected(_))).await;
    let ConsumerState::Disconnected(cause) = waiting.state else { unreachable!() };
    assert!(matches!(*cause, BrokerError::Topology(TopologyError::OrdersMissing { .. })), "{cause}");

    ship(&Broker { declare_orders: true, ..settings.clone() }, numbered(1)).await;
    assert_eq!(groups.commit(1).await, numbered(1));
}

#[tokio::test]
async fn a_committed_group_leaves_the_queue() {
    let settings = broker().await;
    ship(&settings, numbered(150)).await;
    let (consumer, mut groups) = consume(&settings, Source::Work);
    let first = groups.next().await;
    assert!(first.group.len() <= usize::from(settings.prefetch));
    let message = &first.group[0];
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("orders", "order.shipped"));
    assert_eq!(message.message_id.as_deref(), Some("m0000"));
    assert!(!message.redelivered);
    let mut bodies = first.commit();
    bodies.extend(groups.commit(150 - bodies.len()).await);
    assert_eq!(bodies, numbered(150), "once each, in order");
    let mut status = consumer.status();
    let status = until(&mut status, |status| status.acknowledged == 150).await;
    assert_eq!((status.acks_lost, status.generation), (0, 1));
    groups.drain(consumer).await;
    depth_becomes(&settings, &settings.work_queue, 0).await;
}

#[tokio::test]
async fn a_refused_group_comes_again() {
    let settings = broker().await;
    ship(&settings, numbered(10)).await;
    let (consumer, mut groups) = consume(&settings, Source::Work);
    groups.next().await.refuse();
    let again = groups.next().await;
    assert!(again.group[0].redelivered);
    let mut bodies = again.commit();
    bodies.extend(groups.commit(10 - bodies.len()).await);
    assert_eq!(bodies, numbered(10));
    groups.drain(consumer).await;
    depth_becomes(&settings, &settings.work_queue, 0).await;
}

#[tokio::test]
async fn an_acknowledgement_that_is_lost_is_counted_and_the_group_comes_again() {
    let settings = broker().await;
    ship(&settings, numbered(5)).await;
    let (consumer, mut groups) = consume(&settings, Source::Work);
    let mut bodies = BTreeSet::new();
    let held = groups.next().await;
    let vhost = holdfast::broker::address::Address::vhost(&settings).unwrap();
    node().await.ctl(&["close_all_connections", "-p", &vhost, "test"]).await.unwrap();
    // It is gone when the broker has given the messages back.
    depth_becomes(&settings, &settings.work_queue, 5).await;
    bodies.extend(held.commit());
    let mut status = consumer.status();
    let lost = until(&mut status, |status| status.acks_lost > 0).await;
    assert_eq!(lost.acknowledged, 0);
    let again = groups.next().await;
    assert!(again.group[0].redelivered);
    bodies.extend(again.commit());
    while bodies.len() < 5 {
        bodies.extend(groups.next().await.commit());
    }
    bodies.extend(groups.drain(consumer).await);
    assert_eq!(bodies.into_iter().collect::<Vec<_>>(), numbered(5));
    depth_becomes(&settings, &settings.work_queue, 0).await;
}

#[tokio::test]
async fn paused_it_takes_nothing_and_resumed_it_goes_on() {
    let settings = broker().await;
    ship(&settings, numbered(3)).await;
    let (intake, mut groups) = by_hand();
    let (pause, paused) = watch::channel(true);
    let consumer = Consumer::spawn(Arc::new(settings.clone()), Source::Work, intake, paused);
    let mut status = consumer.status();
    until(&mut status, |status| matches!(status.state, ConsumerState::Paused)).await;
    assert_eq!(depth(&settings, &settings.work_queue).await, 3);
    assert!(groups.none());

    pause.send(false).unwrap();
    assert_eq!(groups.commit(3).await, numbered(3));
    pause.send(true).unwrap();
    until(&mut status, |status| matches!(status.state, ConsumerState::Paused)).await;
    ship(&settings, ["late".to_owned()]).await;
    assert_eq!(depth(&settings, &settings.work_queue).await, 1);
    assert!(groups.none());

    pause.send(false).unwrap();
    assert_eq!(groups.commit(1).await, ["late"]);
    assert_eq!(status.borrow().generation, 1, "all on one connection");
    groups.drain(consumer).await;
    depth_becomes(&settings, &settings.work_queue, 0).await;
}

#[tokio::test]
async fn pausing_commits_what_is_buffered() {
    let settings = broker().await;
    ship(&settings, ["first".to_owned()]).await;
    let (intake, mut groups) = by_hand();
    let (pause, paused) = watch::channel(false);
    let consumer = Consumer::spawn(Arc::new(settings.clone()), Source::Work, intake, paused);
    let held = groups.next().await;
    ship(&settings, numbered(20)).await;
    depth_becomes(&settings, &settings.work_queue, 0).await;
    pause.send(true).unwrap();
    held.commit();
    assert_eq!(groups.commit(20).await, numbered(20));
    let mut status = consumer.status();
    until(&mut status, |status| matches!(status.state, ConsumerState::Paused)).await;
    assert_eq!(status.borrow().acknowledged, 21);
}

#[tokio::test]
async fn a_drain_acknowledges_what_is_committed_and_gives_back_the_rest() {
    let settings = Broker { prefetch: 4, ..broker().await };
    ship(&settings, numbered(10)).await;
    let (consumer, mut groups) = consume(&settings, Source::Work);
    let held = groups.next().await;
    let status = consumer.status();
    let draining = tokio::spawn(consumer.drain());
    let mut committed = held.commit();
    // What was buffered beside the group is committed too, and nothing beyond it.
    while let Some(rest) = groups.last().await {
        committed.extend(rest.commit());
    }
    draining.await.unwrap();
    assert!(matches!(status.borrow().state, ConsumerState::Drained));
    assert_eq!(committed, numbered(10)[..committed.len()]);
    assert!(committed.len() < 10, "the drain took everything there was");
    let left = u32::try_from(10 - committed.len()).unwrap();
    depth_becomes(&settings, &settings.work_queue, left).await;
}

#[tokio::test]
async fn what_the_broker_gave_up_on_comes_with_its_origin() {
    let settings = broker().await;
    ship(&settings, numbered(1)).await;
    let (session, channel) = raw(&settings).await;
    let queue = settings.work_queue.as_str();
    let message = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap().unwrap();
    assert!(message.reject(BasicRejectOptions { requeue: false }).await.unwrap());
    let (consumer, mut groups) = consume(&settings, Source::Dead);
    let dead = groups.next().await;
    let message = &dead.group[0];
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("orders", "order.shipped"));
    assert_eq!(dead.commit(), numbered(1));
    groups.drain(consumer).await;
    depth_becomes(&settings, &settings.dead_queue, 0).await;
    session.close(channel).await;
}

#[tokio::test]
async fn an_unroutable_event_is_returned_and_its_neighbours_are_published() {
    let settings = broker().await;
    listen(&settings).await;
    let publisher = Publisher::spawn(Arc::new(settings.clone()));
    let unroutable = |row: i64| row % 7 == 3;
    let key = |row| if unroutable(row) { "nobody.listens" } else { "capture.succeeded" };
    // More than one batch.
    let rows: Vec<i64> = (1..=300).collect();
    let outcomes = publisher.publish(rows.iter().map(|row| outgoing(*row, key(*row))).collect()).await;
    for (row, outcome) in rows.iter().zip(&outcomes) {
        let expected = if unroutable(*row) { PublishOutcome::Returned } else { PublishOutcome::Published };
        assert_eq!(*outcome, expected, "row {row}");
    }
    publisher.close().await;
    let routed = rows.iter().filter(|row| !unroutable(**row)).count();
    depth_becomes(&settings, "events", u32::try_from(routed).unwrap()).await;

    let (session, channel) = raw(&settings).await;
    let first = channel.basic_get("events".into(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap();
    let properties = &first.properties;
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), Uuid::from_u128(1).to_string());
    assert_eq!(properties.kind().as_ref().unwrap().as_str(), "capture.succeeded");
    assert_eq!(properties.app_id().as_ref().unwrap().as_str(), "holdfast");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert!(properties.timestamp().is_some());
    assert!(properties.headers().as_ref().unwrap().inner().contains_key("traceparent"));
    session.close(channel).await;
}

#[tokio::test]
async fn a_missing_exchange_fails_and_a_later_one_serves() {
    let mut settings = broker().await;
    settings.topology = TopologyMode::None;
    let publisher = Publisher::spawn(Arc::new(settings.clone()));
    let outcomes = publisher.publish(vec![outgoing(1, "capture.succeeded")]).await;
    let [PublishOutcome::Failed(reason)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!(reason.contains("NOT_FOUND"), "{reason}");
    settings.topology = TopologyMode::Declare;
    listen(&settings).await;
    let outcomes = publisher.publish(vec![outgoing(1, "capture.succeeded")]).await;
    assert_eq!(outcomes, [PublishOutcome::Published]);
}

#[tokio::test]
async fn a_name_that_amqp_cannot_carry_fails_alone() {
    let settings = broker().await;
    listen(&settings).await;
    let publisher = Publisher::spawn(Arc::new(settings));
    let long = "x".repeat(256);
    let outcomes = publisher.publish(vec![outgoing(1, &long), outgoing(2, "capture.succeeded")]).await;
    assert!(matches!(&outcomes[0], PublishOutcome::Failed(reason) if reason.contains("255")), "{outcomes:?}");
    assert_eq!(outcomes[1], PublishOutcome::Published);
    assert_eq!(publisher.status().borrow().generation, 1);
}

#[tokio::test]
async fn both_sides_come_back_after_the_broker_is_killed() {
    let mut node = LocalNode::start(&support::temp_dir(), &[]).await.unwrap();
    let settings = Broker { operation_timeout: Duration::from_secs(3), ..support::broker_at(node.url("/")) };
    listen(&settings).await;
    ship(&settings, numbered(3)).await;
    let publisher = Publisher::spawn(Arc::new(settings.clone()));
    let (consumer, mut groups) = consume(&settings, Source::Work);
    assert_eq!(publisher.publish(vec![outgoing(1, "capture.succeeded")]).await, [PublishOutcome::Published]);
    assert_eq!(groups.commit(3).await, numbered(3));
    let (mut publishing, mut consuming) = (publisher.status(), consumer.status());
    until(&mut consuming, |status| status.acknowledged == 3).await;

    node.flush().await.unwrap();
    node.kill9();
    until(&mut publishing, |status| matches!(status.state, PublisherState::Disconnected(_))).await;
    until(&mut consuming, |status| matches!(status.state, ConsumerState::Disconnected(_))).await;
    let outcomes = publisher.publish(vec![outgoing(2, "capture.succeeded")]).await;
    assert!(matches!(outcomes.as_slice(), [PublishOutcome::Failed(_)]), "{outcomes:?}");

    node.restart().await.unwrap();
    until(&mut publishing, |status| matches!(status.state, PublisherState::Connected)).await;
    until(&mut consuming, |status| matches!(status.state, ConsumerState::Consuming)).await;
    assert_eq!(publisher.publish(vec![outgoing(2, "capture.succeeded")]).await, [PublishOutcome::Published]);
    ship(&settings, ["after".to_owned()]).await;
    // The broker may not have written the last acknowledgement down before it was killed.
    while !groups.next().await.commit().contains(&"after".to_owned()) {}
    groups.drain(consumer).await;
    publisher.close().await;
    depth_becomes(&settings, "events", 2).await;
}

/// Of two nodes one is gone, and later the other: whoever is there is used, without a restart.
#[tokio::test]
async fn of_several_nodes_whichever_answers_is_used() {
    let mut one = LocalNode::start(&support::temp_dir(), &[]).await.unwrap();
    let mut two = LocalNode::start(&support::temp_dir(), &[]).await.unwrap();
    let both = format!("{},{}", one.url("/").expose_secret(), two.url("/").expose_secret());
    let settings = Broker { operation_timeout: Duration::from_secs(3), ..support::broker_at(both.into()) };
    let nodes = settings.separately();
    two.kill9();
    listen(&nodes[0]).await;
    ship(&nodes[0], numbered(1)).await;
    let publisher = Publisher::spawn(Arc::new(settings.clone()));
    let (consumer, mut groups) = consume(&settings, Source::Work);
    assert_eq!(groups.commit(1).await, numbered(1));
    assert_eq!(publisher.publish(vec![outgoing(1, "capture.succeeded")]).await, [PublishOutcome::Published]);

    let (mut publishing, mut consuming) = (publisher.status(), consumer.status());
    one.kill9();
    until(&mut publishing, |status| matches!(status.state, PublisherState::Disconnected(_))).await;
    until(&mut consuming, |status| matches!(status.state, ConsumerState::Disconnected(_))).await;
    two.restart().await.unwrap();
    until(&mut consuming, |status| matches!(status.state, ConsumerState::Consuming)).await;
    until(&mut publishing, |status| matches!(status.state, PublisherState::Connected)).await;
    listen(&nodes[1]).await;
    ship(&nodes[1], ["after".to_owned()]).await;
    assert_eq!(groups.next().await.commit(), ["after"]);
    assert_eq!(publisher.publish(vec![outgoing(2, "capture.succeeded")]).await, [PublishOutcome::Published]);
    groups.drain(consumer).await;
    publisher.close().await;
}

#[tokio::test]
async fn an_alarm_of_the_broker_stops_publishing_and_not_consuming() {
    let node = LocalNode::start(&support::temp_dir(), &[]).await.unwrap();
    let settings = Broker { operation_timeout: Duration::from_secs(3), ..support::broker_at(node.url("/")) };
    listen(&settings).await;
    ship(&settings, numbered(3)).await;
    let publisher = Publisher::spawn(Arc::new(settings.clone()));
    assert_eq!(publisher.publish(vec![outgoing(1, "capture.succeeded")]).await, [PublishOutcome::Published]);

    node.ctl(&["set_vm_memory_high_watermark", "0.0001"]).await.unwrap();
    // The broker tells a connection of it when it publishes.
    let mut publishing = publisher.status();
    for reason in ["waiting for confirms", "alarm"] {
        let outcomes = publisher.publish(vec![outgoing(2, "capture.succeeded")]).await;
        assert!(matches!(&outcomes[..], [PublishOutcome::Failed(said)] if said.contains(reason)), "{outcomes:?}");
        assert!(matches!(publishing.borrow().state, PublisherState::Blocked));
    }
    let (consumer, mut groups) = consume(&settings, Source::Work);
    assert_eq!(groups.commit(3).await, numbered(3));
    groups.drain(consumer).await;
    depth_becomes(&settings, &settings.work_queue, 0).await;

    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).await.unwrap();
    until(&mut publishing, |status| matches!(status.state, PublisherState::Connected) && status.generation == 2).await;
    assert_eq!(publisher.publish(vec![outgoing(2, "capture.succeeded")]).await, [PublishOutcome::Published]);
    assert_eq!(publishing.borrow().generation, 2, "it did not send a copy with every attempt");
    publisher.close().await;
    node.stop();
}

/// Commits at random, fails at random before or after it.
struct Unreliable {
    committed: Mutex<BTreeSet<String>>,
    random: Mutex<ChaCha8Rng>,
}

impl Intake for Unreliable {
    async fn accept(&self, group: Vec<Delivered>) -> Result<(), IntakeStopped> {
        tokio::task::yield_now().await;
        let roll = self.random.lock().unwrap().random_range(0..20);
        if roll == 0 {
            return Err(IntakeStopped);
        }
        let bodies = group.iter().map(|message| String::from_utf8_lossy(&message.message.body).into_owned());
        self.committed.lock().unwrap().extend(bodies);
        if roll == 1 { Err(IntakeStopped) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_acknowledged_unprocessed_whatever_fails() {
    let seed = std::env::var("HOLDFAST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let again = format!("repeat with HOLDFAST_SEED={seed} cargo test --test it whatever_fails");
    let settings = Broker { prefetch: 50, ..broker().await };
    ship(&settings, numbered(2_000)).await;
    let intake =
        Arc::new(Unreliable { committed: Mutex::default(), random: Mutex::new(ChaCha8Rng::seed_from_u64(seed)) });
    let never = watch::channel(false).1;
    let consumers = [Source::Work, Source::Work, Source::Dead]
        .map(|source| Consumer::spawn(Arc::new(settings.clone()), source, Arc::clone(&intake), never.clone()));
    // The delivery limit may put some aside: they are not lost, they come from the other queue.
    for consumer in &consumers[..2] {
        until(&mut consumer.status(), |status| status.acknowledged > 0).await;
    }
    let all = async {
        while intake.committed.lock().unwrap().len() < 2_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let finished = tokio::time::timeout(support::PATIENCE, all).await.is_ok();
    let committed = intake.committed.lock().unwrap().len();
    assert!(finished, "{committed} of 2000 were committed; {again}");
    depth_becomes(&settings, &settings.work_queue, 0).await;
    depth_becomes(&settings, &settings.dead_queue, 0).await;
    let mut acknowledged = 0;
    for consumer in consumers {
        let status = consumer.status();
        consumer.drain().await;
        acknowledged += status.borrow().acknowledged;
    }
    assert!(acknowledged >= 2_000, "{acknowledged} acknowledged; {again}");
    assert_eq!(intake.committed.lock().unwrap().iter().cloned().collect::<Vec<_>>(), numbered(2_000), "{again}");
}
