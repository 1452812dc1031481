//! What is told of a message, a call, an event and a replay, and that nothing else is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::trace::Status;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc::Receiver;
use uuid::uuid;

use super::*;
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::evidence::{Doubt, DoubtKind, Refusal, RefusalReason};
use crate::capture::notice::RejectionReason;
use crate::capture::records::CaptureKey;
use crate::clock::{self, BootInstant};
use crate::ids::{DeadLetterId, Reference};
use crate::money::{Currency, Money};
use crate::provider;
use crate::settings::{Account, Breaker, Cloudipsp, Protocol, Suspension};
use crate::worker::account::Rules;

const PRODUCER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const EVENT: uuid::Uuid = uuid!("6f8aef38-1b7c-5d2e-9a4f-0c1d2e3f4a5b");
const CAPTURE: uuid::Uuid = uuid!("0f6e1a2b-3c4d-5e6f-8a9b-0c1d2e3f4a5b");

fn message(traceparent: Option<&str>) -> RawMessage {
    RawMessage {
        body: Bytes::from_static(b"a body, which is nobody's business"),
        content_type: None,
        message_id: Some("msg-1".to_owned()),
        exchange: "orders".to_owned(),
        routing_key: "order.shipped".to_owned(),
        traceparent: traceparent.map(str::to_owned),
        tracestate: Some("congo=t61".to_owned()),
        redelivered: false,
    }
}

fn reply(note: Note) -> Reply {
    let subject = Subject {
        order: Some(OrderId::parse("ord-1").unwrap()),
        shipment: Some(ShipmentId::parse("s1").unwrap()),
        capture: Some(CaptureId::from_uuid(CAPTURE)),
        account: Some(AccountName::parse("flitt-ge").unwrap()),
    };
    Reply::nothing(note).about(subject)
}

fn lane() -> Lane {
    let credentials =
        Cloudipsp { base_url: "http://127.0.0.1:9".to_owned(), merchant_id: 1, secret: "of-nobody".to_owned().into() };
    let account = Account {
        name: AccountName::parse("flitt-ge").unwrap(),
        concurrency: 1,
        rate_limit: None,
        timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        resend_window: None,
        authorization_lifetime: None,
        secret_file: None,
        protocol: Protocol::Flitt(credentials),
    };
    let second = Duration::from_secs(1);
    let rules = Rules {
        concurrency: 1,
        rate: None,
        breaker: Breaker { failures: 1, wait: second, wait_max: second, recovery: second },
        suspension: Suspension { faults: 1, probe_interval: second },
        retry_after_max: second,
    };
    let provider = provider::connect(&account).unwrap();
    Lane::new(account, provider, rules, None, None)
}

fn told(ended: &mut Receiver<SpanData>) -> SpanData {
    ended.try_recv().expect("a span has ended")
}

/// Every attribute of a span, by its key.
fn facts(span: &SpanData) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().into_owned();
    let fact = |KeyValue { key, value, .. }: &KeyValue| (key.to_string(), text(value));
    let mut facts: Vec<_> = span.attributes.iter().map(fact).collect();
    facts.sort();
    facts
}

fn assert_facts(span: &SpanData, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(facts(span), expected);
}

fn context_of(span: &SpanData) -> String {
    let context = &span.span_context;
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
}

#[test]
fn a_message_is_processed_below_its_producer_and_goes_on_in_that_trace() {
    let (tracer, mut ended) = trace::pair(1.0);
    let mut message = message(Some(PRODUCER));
    let span = begin_message(&tracer, "holdfast.work.v1", &mut message);
    end_message(span, &reply(Note::Begun));
    let span = told(&mut ended);
    assert_eq!(span.name, "process orders:order.shipped:holdfast.work.v1");
    assert_eq!(span.span_kind, SpanKind::Consumer);
    assert_facts(
        &span,
        &[
            ("account", "flitt-ge"),
            ("capture.id", &CAPTURE.to_string()),
            ("messaging.destination.name", "orders:order.shipped:holdfast.work.v1"),
            ("messaging.message.id", "msg-1"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.rabbitmq.destination.routing_key", "order.shipped"),
            ("messaging.system", "rabbitmq"),
            ("order.id", "ord-1"),
            ("shipment.id", "s1"),
        ],
    );
    assert_eq!(span.span_context.trace_id().to_string(), PRODUCER[3..35]);
    assert_eq!(span.parent_span_id.to_string(), PRODUCER[36..52]);
    assert!(span.parent_span_is_remote);
    assert_eq!(span.span_context.trace_state().header(), "congo=t61");
    assert_eq!(span.links.links.len(), 1);
    assert_eq!(span.links.links[0].span_context.span_id().to_string(), PRODUCER[36..52]);
    assert_eq!(message.traceparent, Some(context_of(&span)));
    assert_eq!(span.status, Status::Unset);
}

#[test]
fn a_message_that_becomes_a_dead_letter_has_failed_and_says_why() {
    let (tracer, mut ended) = trace::pair(1.0);
    let id = DeadLetterId::from_uuid(EVENT);
    let note = Note::DeadLettered {
        id,
        reason: RejectionReason::Invalid,
        path: "$.data".to_owned(),
        message: "words of a message".to_owned(),
    };
    end_message(begin_message(&tracer, "q", &mut message(None)), &reply(note));
    let span = told(&mut ended);
    assert!(facts(&span).contains(&("error.type".to_owned(), "invalid".to_owned())));
    assert_eq!(span.status, Status::error(""));
    assert!(!format!("{span:?}").contains("words of a message"));
}

/// With the ratio of a trace that begins here, and what follows from it.
#[test]
fn what_is_not_recorded_is_passed_on_and_told_to_nobody() {
    let (tracer, mut ended) = trace::pair(0.0);
    let mut alone = message(None);
    end_message(begin_message(&tracer, "q", &mut alone), &reply(Note::Begun));
    let context = alone.traceparent.unwrap();
    assert!(context.ends_with("-00"), "{context}");
    let row = row(Some(&context));
    end_events(vec![begin_event(&tracer, "payments", &row)], &[PublishOutcome::Published]);
    assert!(ended.try_recv().is_err());

    // Where the producer has decided, our ratio has no say.
    let (every, mut all) = trace::pair(1.0);
    end_message(begin_message(&every, "q", &mut message(Some(&PRODUCER.replace("-01", "-00")))), &reply(Note::Begun));
    assert!(all.try_recv().is_err());
    end_message(begin_message(&tracer, "q", &mut message(Some(PRODUCER))), &reply(Note::Begun));
    assert_eq!(told(&mut ended).span_context.trace_id().to_string(), PRODUCER[3..35]);
}

#[test]
fn a_capture_is_below_the_latest_message_and_linked_to_the_others() {
    let (tracer, mut ended) = trace::pair(1.0);
    let (first, last): (TraceParent, TraceParent) =
        (PRODUCER.parse().unwrap(), PRODUCER.replace("00f0", "aaaa").parse().unwrap());
    let span = begin_at_provider(&tracer, "capture", &lane(), &[first, last]);
    let refusal = Refusal {
        reason: RefusalReason::InsufficientFunds,
        code: Some("of the provider".to_owned()),
        message: "words of the provider".to_owned(),
        read_first: false,
    };
    end_capture(span, "refused", &Answer::Refused(refusal));
    let span = told(&mut ended);
    assert_eq!((span.name.as_ref(), &span.span_kind), ("capture flitt-ge", &SpanKind::Client));
    assert_facts(
        &span,
        &[
            ("account", "flitt-ge"),
            ("error.type", "refused"),
            ("evidence", "refused"),
            ("protocol", "flitt"),
            ("refused", "insufficient_funds"),
        ],
    );
    assert_eq!(span.parent_span_id.to_string(), "aaaa67aa0ba902b7");
    assert_eq!(span.links.links.len(), 1);
    assert_eq!(span.links.links[0].span_context.span_id().to_string(), PRODUCER[36..52]);
    assert!(!format!("{span:?}").contains("of the provider"));
}

#[test]
fn a_read_says_what_it_showed() {
    let (tracer, mut ended) = trace::pair(1.0);
    let doubt = Doubt { kind: DoubtKind::Timeout, code: None, message: "words of ours".to_owned(), retry_after: None };
    end_lookup(begin_lookup(&tracer, &lane(), &[]), &Reading::Unclear(doubt));
    let span = told(&mut ended);
    assert_facts(
        &span,
        &[("account", "flitt-ge"), ("error.type", "timeout"), ("evidence", "doubt"), ("protocol", "flitt")],
    );
}

fn row(traceparent: Option<&str>) -> OutboxRow {
    OutboxRow {
        row: 1,
        event_id: EVENT,
        kind: "capture.succeeded".to_owned(),
        body: Bytes::from_static(b"{}"),
        traceparent: traceparent.map(str::to_owned),
    }
}

#[test]
fn the_span_of_an_event_is_known_before_it_is_published() {
    let (tracer, mut ended) = trace::pair(1.0);
    let announced = tracer.of_event(Parent::of_header(Some(PRODUCER)), EVENT).to_string();
    let rows = [row(Some(PRODUCER)), row(Some(PRODUCER)), row(Some(PRODUCER))];
    let spans = rows.iter().map(|row| begin_event(&tracer, "payments", row)).collect();
    end_events(spans, &[PublishOutcome::Failed("why".into()), PublishOutcome::Returned, PublishOutcome::Published]);
    let (failed, returned, published) = (told(&mut ended), told(&mut ended), told(&mut ended));
    for (span, why) in [(&failed, "not_confirmed"), (&returned, "returned")] {
        assert!(facts(span).contains(&("error.type".to_owned(), why.to_owned())));
        assert_ne!(context_of(span), announced, "another attempt will have that id");
    }
    assert_eq!(context_of(&published), announced);
    assert_eq!(published.parent_span_id.to_string(), PRODUCER[36..52]);
    assert_eq!(published.name, "publish payments:capture.succeeded");
    assert_eq!(published.span_kind, SpanKind::Producer);
    assert_facts(
        &published,
        &[
            ("messaging.destination.name", "payments:capture.succeeded"),
            ("messaging.message.id", &EVENT.to_string()),
            ("messaging.operation.name", "publish"),
            ("messaging.operation.type", "send"),
            ("messaging.rabbitmq.destination.routing_key", "capture.succeeded"),
            ("messaging.system", "rabbitmq"),
        ],
    );
}

/// An event that no message caused begins a trace, the same one in every repetition, and a fair share of them is
/// recorded.
#[test]
fn the_trace_of_an_event_without_a_cause_follows_from_its_id() {
    let (tracer, _ended) = trace::pair(0.3);
    let event = |number: u64| uuid::Uuid::new_v5(&EVENT, &number.to_be_bytes());
    assert_eq!(tracer.of_event(Parent::None, EVENT), tracer.of_event(Parent::None, EVENT));
    let recorded = (0..10_000).filter(|number| tracer.of_event(Parent::None, event(*number)).is_sampled()).count();
    assert!((2_700..3_300).contains(&recorded), "{recorded} of 10,000 at a ratio of 0.3");
}

fn letter(traceparent: Option<&str>) -> ReplayItem {
    let now = clock::now();
    let letter = DeadLetter {
        id: DeadLetterId::from_uuid(EVENT),
        reason: "declined",
        path: String::new(),
        message: "words of the provider".to_owned(),
        provider_code: None,
        fingerprint: crate::capture::dead_letter::fingerprint("declined", None, "", ""),
        order: None,
        shipment: None,
        account: None,
        shipment_key: None,
        fee: None,
        generation: 0,
        amount: None,
        first_seen_at: now,
        last_seen_at: now,
        count: 1,
        state: DeadLetterState::Open,
        job: None,
        raw: Some(message(traceparent)),
    };
    ReplayItem { position: 0, letter }
}

#[test]
fn a_replay_begins_a_trace_that_is_linked_to_the_one_before() {
    let (tracer, mut ended) = trace::pair(1.0);
    let mut item = letter(Some(PRODUCER));
    let span = begin_replay(&tracer, &mut item);
    end_replay(span, &reply(Note::Nothing));
    let span = told(&mut ended);
    assert_eq!(span.name, "replay");
    assert_ne!(span.span_context.trace_id().to_string(), PRODUCER[3..35]);
    assert_eq!(span.parent_span_id, opentelemetry::trace::SpanId::INVALID);
    assert_eq!(span.links.links[0].span_context.trace_id().to_string(), PRODUCER[3..35]);
    assert_eq!(item.letter.raw.unwrap().traceparent, Some(context_of(&span)));
    assert!(!format!("{span:?}").contains("words of the provider"));
}

#[test]
fn the_trace_of_what_waits_its_turn_is_remembered_until_it_is_sent() {
    let (tracer, _ended) = trace::pair(1.0);
    let waiting = Waiting::default();
    let span = begin_message(&tracer, "q", &mut message(Some(PRODUCER)));
    let amount = Money::from_minor(1, Currency::parse("EUR").unwrap()).unwrap();
    let id = CaptureId::from_uuid(CAPTURE);
    let call =
        Call::Send { capture: CaptureKey::new(1), id, amount, attempt: 1, epoch: 1, send_by: BootInstant::now() };
    let (account, reference) = (AccountName::parse("flitt-ge").unwrap(), Reference::parse("r").unwrap());
    let ticket = Ticket { account, reference, call, traces: Vec::new() };
    waiting.remember(&span, &Reply { ticket: Some(ticket), ..reply(Note::Planned(amount)) });
    waiting.remember(&span, &reply(Note::Deferred));
    assert_eq!(waiting.take(id), None, "what is sent at once, or with others, does not wait for its turn");
    waiting.remember(&span, &reply(Note::Planned(amount)));
    assert_eq!(waiting.take(id), Some(span.context()));
    assert_eq!(waiting.take(id), None);
}

#[test]
fn a_destination_is_named_by_what_there_is_of_it() {
    assert_eq!(destination(&["orders", "order.shipped", "q"]), "orders:order.shipped:q");
    assert_eq!(destination(&["", "q", "q"]), "q");
    assert_eq!(destination(&["", ""]), "amq.default");
}

/// The lane is of the right account, whatever else it holds.
#[test]
fn a_protocol_is_named_as_in_the_settings() {
    assert_eq!(Arc::new(lane()).protocol, "flitt");
}
