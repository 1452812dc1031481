//! Traces as a collector gets them from a real worker: one for a shipment, from its producer's span to the event
//! about its outcome, through a restart too; and captures that take no notice of a collector that is away.

use std::time::{Duration, Instant};

use holdfast::broker::session::Session;
use holdfast::sandbox::{Channel, Code, Fault, Operation, Rule, When};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::replay::authorized_anew_of;
use crate::support::collector::{Collector, ENDPOINT, fact, has_failed, ids, is, linked, parent};
use crate::support::order::{Account, Order};
use crate::support::store::Kind;
use crate::support::world::World;

on_both_ledgers!(what_waits_for_its_turn_stays_in_its_trace);

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PRODUCER: &str = "00f067aa0ba902b7";

fn producer(flags: &str) -> String {
    format!("00-{TRACE}-{PRODUCER}-{flags}")
}

/// Publishes a notice with headers of its own.
async fn publish(world: &World, notice: &Value, headers: &[(&str, &str)]) {
    let session = Session::open(&world.broker, "test").await.unwrap();
    let channel = session.channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), AMQPValue::LongString(LongString::from(*value)));
    }
    let properties = BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_message_id(notice["id"].as_str().unwrap().into())
        .with_headers(table);
    let (exchange, key) = (world.broker.orders_exchange.as_str().into(), "order.shipped".into());
    let (options, body) = (BasicPublishOptions::default(), notice.to_string());
    let confirm = channel.basic_publish(exchange, key, options, body.as_bytes(), properties).await.unwrap();
    confirm.await.unwrap();
    session.close(channel).await;
}

/// The spans whose parent is this one.
fn children(spans: &[Span], of: &Span) -> Vec<Span> {
    let (trace, id) = ids(of);
    spans.iter().filter(|span| ids(span).0 == trace && parent(span) == id).cloned().collect()
}

fn order(world: &World, id: &str, account: Account) -> Order {
    world.order(id, account, &[("l1", 2, 2_000)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shipment_is_one_trace_from_its_producer_to_its_event() {
    let (world, collector) = (World::new().await, Collector::start().await);
    let mut worker = world.worker_with(&[(ENDPOINT, collector.endpoint())]);
    worker.consuming().await;
    let order = order(&world, "traced", Account::Flex);
    let headers = [("traceparent", producer("01")), ("tracestate", "congo=t61".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    publish(&world, &order.last("s1", &[("l1", 2)]), &headers).await;
    let event = world.outcomes(1).await.remove(0);
    worker.metric_becomes("holdfast_spans_total{result=\"exported\"}", |count| count >= 5.0).await;
    worker.stop().await;

    let message = collector.one("process ").await;
    let queue = &world.broker.work_queue;
    assert_eq!(message.name, format!("process {}:order.shipped:{queue}", world.broker.orders_exchange));
    assert!(is(&message, SpanKind::Consumer));
    assert_eq!((ids(&message).0.as_str(), parent(&message).as_str()), (TRACE, PRODUCER));
    assert_eq!(message.trace_state, "congo=t61");
    assert_eq!(message.links.iter().map(linked).collect::<Vec<_>>(), [(TRACE.to_owned(), PRODUCER.to_owned())]);
    for (key, value) in [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.type", "process"),
        ("messaging.message.id", "traced-s1"),
        ("messaging.rabbitmq.destination.routing_key", "order.shipped"),
        ("order.id", "traced"),
        ("shipment.id", "s1"),
        ("account", "flex"),
        ("capture.id", event.field("capture_id")),
    ] {
        assert_eq!(fact(&message, key), value, "{key}");
    }

    let call = collector.one("capture flex").await;
    assert!(is(&call, SpanKind::Client));
    assert_eq!((ids(&call).0.as_str(), parent(&call)), (TRACE, ids(&message).1));
    for (key, value) in [
        ("protocol", "flex_pay"),
        ("attempt", "1"),
        ("evidence", "captured"),
        ("capture.id", event.field("capture_id")),
    ] {
        assert_eq!(fact(&call, key), value, "{key}");
    }
    let requests = children(&collector.spans(), &call);
    assert_eq!(requests.len(), 2, "one for a token, one for the capture: {requests:?}");
    let port = world.sandbox.base_url().rsplit(':').next().unwrap().to_owned();
    for request in &requests {
        assert_eq!((request.name.as_str(), is(request, SpanKind::Client)), ("POST", true));
        let keys: Vec<&str> = request.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        let expected = ["http.request.method", "server.address", "server.port", "http.response.status_code"];
        assert_eq!(keys, expected, "and nothing that identifies an authorization");
        assert_eq!(fact(request, "server.address"), "127.0.0.1");
        assert_eq!(fact(request, "server.port"), port);
        assert!(fact(request, "http.response.status_code").starts_with('2'));
        assert!(request.end_time_unix_nano <= call.end_time_unix_nano);
    }

    let published = collector.one("publish ").await;
    assert_eq!(published.name, format!("publish {}:capture.succeeded", world.broker.payments_exchange));
    assert!(is(&published, SpanKind::Producer));
    assert_eq!(parent(&published), ids(&message).1);
    assert_eq!(fact(&published, "messaging.message.id"), event.message_id);
    let context = format!("00-{TRACE}-{}-01", ids(&published).1);
    assert_eq!(event.traceparent.as_deref(), Some(context.as_str()));
    assert_eq!(event.json["traceparent"], json!(context));
    assert!(!collector.spans().iter().any(has_failed));
    assert!(collector.spans().iter().all(|span| ids(span).0 == TRACE));
    assert!(collector.resources("service.name").iter().all(|name| name == "holdfast"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_of_several_shipments_is_linked_to_each() {
    let (world, collector) = (World::new().await, Collector::start().await);
    let mut worker = world.worker_with(&[(ENDPOINT, collector.endpoint())]);
    worker.consuming().await;
    let order = order(&world, "collected", Account::Fondy);
    publish(&world, &order.shipped("s1", &[("l1", 1)]), &[]).await;
    let first = collector.one("process ").await;
    publish(&world, &order.last("s2", &[("l1", 1)]), &[]).await;
    world.outcomes(2).await;
    worker.stop().await;

    let messages = collector.until("process ", 2).await;
    let second = messages.iter().find(|span| fact(span, "shipment.id") == "s2").unwrap();
    assert_ne!(ids(&first).0, ids(second).0, "nobody has begun a trace before us");
    let call = collector.one("capture fondy-eu").await;
    assert_eq!((ids(&call).0, parent(&call)), ids(second));
    assert_eq!(call.links.iter().map(linked).collect::<Vec<_>>(), [ids(&first)]);
    // It was read before.
    let read = collector.one("lookup fondy-eu").await;
    assert_eq!((ids(&read).0, fact(&read, "evidence")), (ids(second).0, "seen".to_owned()));
    let event =
        |of: &Span| children(&collector.spans(), of).iter().any(|span| span.name.ends_with("capture.succeeded"));
    assert!(event(&first) && event(second));
}

/// Captures of one authorization go one after the other, and each stays in the trace of its own shipment. A ledger
/// in PostgreSQL keeps no books from one group to the next, so that what is handed on has no messages there.
async fn what_waits_for_its_turn_stays_in_its_trace(kind: Kind) {
    let (world, collector) = (World::on(kind).await, Collector::start().await);
    let order = world.order("in-turn", Account::Flex, &[("l1", 6, 6_000)]);
    world.publish((1..=6).map(|number| order.shipped(&format!("s{number}"), &[("l1", 1)]))).await;
    let mut worker = world.worker_with(&[(ENDPOINT, collector.endpoint())]);
    worker.consuming().await;
    world.outcomes(6).await;
    worker.stop().await;
    let spans = collector.spans();
    for message in collector.until("process ", 6).await {
        let children = children(&spans, &message);
        let mut names: Vec<&str> = children.iter().map(|span| span.name.split(' ').next().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["capture", "publish"], "{}", fact(&message, "shipment.id"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_after_a_crash_is_in_the_same_trace() {
    let (world, collector) = (World::new().await, Collector::start().await);
    let order = order(&world, "crashed", Account::Flex);
    let mut doomed =
        world.worker_with(&[(ENDPOINT, collector.endpoint()), ("HOLDFAST_TEST_CRASH_AT", "after-answer:1")]);
    publish(&world, &order.last("s1", &[("l1", 2)]), &[("traceparent", &producer("01"))]).await;
    doomed.dies_at("after-answer").await;
    let mut worker = world.worker_with(&[(ENDPOINT, collector.endpoint())]);
    worker.consuming().await;
    let event = world.outcomes(1).await.remove(0);
    worker.stop().await;
    // The span of the message died with the first worker, and what follows has it as its parent all the same.
    let look = collector.one("lookup flex").await;
    let published = collector.one("publish ").await;
    assert_eq!((ids(&look).0.as_str(), ids(&published).0.as_str()), (TRACE, TRACE));
    assert_eq!(parent(&look), parent(&published));
    assert_ne!(parent(&look), PRODUCER);
    assert_eq!(event.traceparent, Some(format!("00-{TRACE}-{}-01", ids(&published).1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_a_trace_of_its_own_and_linked_to_the_one_before() {
    let (world, collector) = (World::new().await, Collector::start().await);
    let mut worker = world.worker_with(&[(ENDPOINT, collector.endpoint())]);
    worker.consuming().await;
    let order = order(&world, "replayed", Account::Flex);
    let decline = Fault::Code {
        code: Code::Name("INSUFFICIENT_FUNDS".to_owned()),
        when: When::Before,
        channel: Channel::default(),
    };
    world.faults(vec![Rule { operation: Operation::Capture, ..Rule::new(decline) }]);
    publish(&world, &order.last("s1", &[("l1", 2)]), &[("traceparent", &producer("01"))]).await;
    let refused = world.outcomes(1).await.remove(0);
    assert_eq!((refused.kind.as_str(), &refused.traceparent.unwrap()[3..35]), ("capture.failed", TRACE));
    let message = collector.one("process ").await;
    let call = collector.one("capture flex").await;
    assert_eq!((has_failed(&call), fact(&call, "refused")), (true, "insufficient_funds".to_owned()));

    world.faults(Vec::new());
    let anew = authorized_anew_of(&world, &order, order.total());
    world.publish([anew.authorized()]).await;
    world.count_becomes("SELECT count(*) FROM authorizations", 2).await;
    let replay = ["dead-letters", "replay", "--all", "--reason", "they have money now", "--yes"];
    let (code, _, said) = world.holdfast(&replay).await;
    assert_eq!(code, 0, "{said}");
    let captured = world.events("capture.succeeded", 1).await.remove(0);
    worker.stop().await;

    let span = collector.one("replay").await;
    assert_eq!((parent(&span), span.links.iter().map(linked).collect()), (String::new(), vec![ids(&message)]));
    assert_eq!((fact(&span, "order.id"), fact(&span, "dead_letter.reason")).0, "replayed");
    let (trace, id) = ids(&span);
    assert_ne!(trace, TRACE);
    let again = collector.until("capture flex", 2).await.into_iter().find(|span| ids(span).0 == trace).unwrap();
    assert_eq!((parent(&again), fact(&again, "evidence")), (id, "captured".to_owned()));
    assert_eq!(captured.traceparent.unwrap()[3..35], trace);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_disturbs_no_capture() {
    let world = World::new().await;
    // Nobody listens there; and one that takes a connection and never answers.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (number, address) in [gone, silent.local_addr().unwrap()].into_iter().enumerate() {
        let orders: Vec<Order> =
            (0..40).map(|order_of| order(&world, &format!("away-{number}-{order_of}"), Account::Flex)).collect();
        let mut worker = world.worker_with(&[(ENDPOINT, &format!("http://{address}"))]);
        worker.consuming().await;
        world.publish(orders.iter().map(|order| order.last("s1", &[("l1", 2)]))).await;
        let outcomes = world.outcomes(40 * (number + 1)).await;
        assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"));
        world.check_books().await;
        if number == 0 {
            worker.says("the collector of traces takes nothing").await;
        }
        let log = world.directory().join(format!("worker-{number}.log"));
        let draining = Instant::now();
        worker.stop().await;
        assert!(draining.elapsed() < Duration::from_secs(9), "{:?}", draining.elapsed());
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.matches("the collector of traces takes nothing").count() <= 1, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_nothing_is_sent_and_a_context_is_passed_on_as_it_came() {
    let (world, collector) = (World::new().await, Collector::start().await);
    // What OpenTelemetry's own variables say is nothing to us.
    let elsewhere = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()), ("OTEL_TRACES_EXPORTER", "otlp")];
    let mut worker = world.worker_with(&elsewhere);
    worker.consuming().await;
    let good = order(&world, "good", Account::Flex);
    let bad = order(&world, "bad", Account::Flex);
    publish(&world, &good.last("s1", &[("l1", 2)]), &[("traceparent", &producer("01"))]).await;
    publish(&world, &bad.last("s1", &[("l1", 2)]), &[("traceparent", &producer("01").to_uppercase())]).await;
    let outcomes = world.outcomes(2).await;
    assert_eq!(worker.metric("holdfast_spans_total{result=\"exported\"}").await, None);
    worker.stop().await;
    let of = |order: &str| outcomes.iter().find(|event| event.field("order_id") == order).unwrap();
    assert_eq!(of("good").traceparent, Some(producer("01")));
    assert_eq!(of("good").json["traceparent"], json!(producer("01")));
    assert_eq!((&of("bad").traceparent, &of("bad").json["traceparent"]), (&None, &Value::Null), "it breaks a rule");
    assert!(collector.bytes().is_empty());
}

/// A sender that records nothing has decided for all who follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sender_does_not_record_is_recorded_by_nobody() {
    let (world, collector) = (World::new().await, Collector::start().await);
    let mut worker = world.worker_with(&[(ENDPOINT, collector.endpoint())]);
    worker.consuming().await;
    let order = order(&world, "quiet", Account::Flex);
    publish(&world, &order.last("s1", &[("l1", 2)]), &[("traceparent", &producer("00"))]).await;
    let event = world.outcomes(1).await.remove(0);
    worker.stop().await;
    let context = event.traceparent.unwrap();
    assert_eq!((&context[3..35], &context[52..]), (TRACE, "-00"));
    assert!(collector.bytes().is_empty());
}
