//! The spans of the loops: what a trace tells of a message, a call, an event and a replay.
//!
//! Names are those of OpenTelemetry's semantic conventions 1.42 for messaging with RabbitMQ
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/>); ours are those of the log. Ids and words
//! out of closed lists, and never a body, a provider's text, a reference or a secret. While traces are off, every
//! function here returns at once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::broker::consumer::Delivered;
use crate::broker::publisher::PublishOutcome;
use crate::capture::decide::{Call, Note, Reply, Subject, Ticket};
use crate::capture::event::Event;
use crate::capture::evidence::{Answer, Reading};
use crate::capture::notice::RawMessage;
use crate::ids::{AccountName, CaptureId, OrderId, ShipmentId};
use crate::ledger::OutboxRow;
use crate::ledger::desk::ReplayItem;
use crate::telemetry::trace::{self, Parent, Span, SpanKind, TraceParent, Tracer};
use crate::worker::account::Lane;

/// Captures that wait for their turn and whose trace is remembered; what is more begins one of its own.
const WAITING_MAX: usize = 10_000;

/// Messages that one span is linked to at most, as of OpenTelemetry's own limit.
const LINKS_MAX: usize = 128;

/// Begins the span of each message of a group. Each message goes on as one of its span's trace: what is kept of
/// it, and whatever follows from it, belongs there.
pub(super) fn begin_messages(queue: &str, group: &mut [Delivered]) -> Vec<Span> {
    let Some(tracer) = trace::tracer() else { return Vec::new() };
    group.iter_mut().map(|delivered| begin_message(tracer, queue, &mut delivered.message)).collect()
}

/// A consumer's span, below the span of the producer and linked to it: the conventions ask for the link, and
/// allow the parent where one message is processed at a time.
fn begin_message(tracer: &Tracer, queue: &str, message: &mut RawMessage) -> Span {
    let destination = destination(&[&message.exchange, &message.routing_key, queue]);
    let parent = Parent::of_header(message.traceparent.as_deref());
    let mut span = tracer.begin(format!("process {destination}"), parent).kind(SpanKind::Consumer);
    if let Parent::Of(producer) = parent {
        span = span.from_afar(message.tracestate.as_deref());
        span.link(producer);
    }
    set_messaging(&mut span, "process", "process", destination, &message.routing_key);
    if let Some(id) = &message.message_id {
        span.set_text("messaging.message.id", id);
    }
    message.traceparent = Some(span.context().to_string());
    span
}

/// What a message came to ends its span.
pub(super) fn end_message(mut span: Span, reply: &Reply) {
    if span.is_recorded() {
        set_subject(&mut span, &reply.subject);
        if let Note::DeadLettered { reason, .. } = &reply.note {
            span.fail(reason.as_str());
        } else if let Note::Collected(_) = &reply.note {
            span.fail("delivery_limit");
        } else if let Note::Refused(reason) = &reply.note {
            span.set("refused", reason.as_str());
        }
    }
    span.end();
}

/// The traces of captures that wait for their turn. The transaction that hands on a turn does not load the
/// messages of the next capture; they are remembered here, and after a restart such a capture may begin a trace
/// of its own.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<CaptureId, TraceParent>>);

impl Waiting {
    /// Remembers the trace of a message whose capture is not sent at once.
    pub(super) fn remember(&self, span: &Span, reply: &Reply) {
        if let (Note::Planned(_), Some(capture), None) = (&reply.note, reply.subject.capture, &reply.ticket) {
            let mut waiting = self.waiting();
            if waiting.len() >= WAITING_MAX {
                waiting.clear();
            }
            waiting.insert(capture, span.context());
        }
    }

    fn take(&self, capture: CaptureId) -> Option<TraceParent> {
        self.waiting().remove(&capture)
    }

    /// A panic elsewhere leaves nothing half done in here.
    fn waiting(&self) -> MutexGuard<'_, HashMap<CaptureId, TraceParent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins the span of the call that a ticket asks for.
pub(super) fn begin_call(lane: &Lane, ticket: &Ticket, waiting: &Waiting) -> Option<Span> {
    let tracer = trace::tracer()?;
    let mut traces = contexts(&ticket.traces);
    let Call::Send { id, attempt, .. } = ticket.call else { return Some(begin_lookup(tracer, lane, &traces)) };
    let remembered = waiting.take(id);
    if traces.is_empty() {
        traces.extend(remembered);
    }
    let mut span = begin_at_provider(tracer, "capture", lane, &traces);
    if span.is_recorded() {
        span.set("capture.id", id.to_string());
        span.set("attempt", i64::from(attempt));
    }
    Some(span)
}

/// Begins the span of a read about what these messages told of.
pub(super) fn begin_read(lane: &Lane, traces: &[String]) -> Option<Span> {
    Some(begin_lookup(trace::tracer()?, lane, &contexts(traces)))
}

fn begin_lookup(tracer: &Tracer, lane: &Lane, traces: &[TraceParent]) -> Span {
    begin_at_provider(tracer, "lookup", lane, traces)
}

/// Below the span of the latest message, linked to those of the others.
fn begin_at_provider(tracer: &Tracer, operation: &'static str, lane: &Lane, traces: &[TraceParent]) -> Span {
    let parent = traces.last().map_or(Parent::None, |last| Parent::Of(*last));
    let mut span = tracer.begin(format!("{operation} {}", lane.name), parent).kind(SpanKind::Client);
    for other in traces.iter().rev().skip(1).take(LINKS_MAX) {
        span.link(*other);
    }
    span.set_text("account", lane.name.as_str());
    span.set("protocol", lane.protocol);
    span
}

/// What the answer to a capture request showed ends its span.
pub(super) fn end_capture(mut span: Span, evidence: &'static str, answer: &Answer) {
    span.set("evidence", evidence);
    if let Answer::Refused(refusal) = answer {
        span.set("refused", refusal.reason.as_str());
    }
    if !matches!(answer, Answer::Captured(_) | Answer::Pending) {
        span.fail(evidence);
    }
    span.end();
}

/// What a read showed ends its span.
pub(super) fn end_lookup(mut span: Span, reading: &Reading) {
    match reading {
        Reading::Seen(_) => span.set("evidence", "seen"),
        Reading::Unclear(doubt) => {
            span.set("evidence", "doubt");
            span.fail(doubt.kind.as_str());
        }
        Reading::Misconfigured(_) => {
            span.set("evidence", "misconfigured");
            span.fail("misconfigured");
        }
    }
    span.end();
}

/// An event as one of the trace of the span that will publish it, for the event's body.
pub(super) fn in_its_trace(event: &Event) -> Cow<'_, Event> {
    let Some(traceparent) = event_header(event.traceparent.as_deref(), event.id.as_uuid()) else {
        return Cow::Borrowed(event);
    };
    Cow::Owned(Event { traceparent: Some(traceparent), ..event.clone() })
}

/// The `traceparent` of an event, by that of the message that caused it; none while traces are off.
pub(super) fn event_header(caused_by: Option<&str>, event: uuid::Uuid) -> Option<String> {
    let tracer = trace::tracer()?;
    Some(tracer.of_event(Parent::of_header(caused_by), event).to_string())
}

/// Begins the span of each event that is handed to the broker.
pub(super) fn begin_events(exchange: &str, rows: &[OutboxRow]) -> Vec<Span> {
    let Some(tracer) = trace::tracer() else { return Vec::new() };
    rows.iter().map(|row| begin_event(tracer, exchange, row)).collect()
}

fn begin_event(tracer: &Tracer, exchange: &str, row: &OutboxRow) -> Span {
    let destination = destination(&[exchange, &row.kind]);
    let parent = Parent::of_header(row.traceparent.as_deref());
    let mut span = tracer.begin_event(format!("publish {destination}"), parent, row.event_id).kind(SpanKind::Producer);
    set_messaging(&mut span, "send", "publish", destination, &row.kind);
    if span.is_recorded() {
        span.set("messaging.message.id", row.event_id.to_string());
    }
    span
}

/// What became of each event ends its span.
pub(super) fn end_events(spans: Vec<Span>, outcomes: &[PublishOutcome]) {
    for (span, outcome) in spans.into_iter().zip(outcomes) {
        match outcome {
            PublishOutcome::Published => span.end(),
            // The event is published again, and the span of that has the id that the event names.
            PublishOutcome::Returned => end_in_vain(span, "returned"),
            PublishOutcome::Failed(_) => end_in_vain(span, "not_confirmed"),
        }
    }
}

fn end_in_vain(span: Span, why: &'static str) {
    let mut span = span.in_vain();
    span.fail(why);
    span.end();
}

/// Begins the span of each replay. It begins a trace of its own, linked to the one in which the dead letter came
/// about: the two may be weeks apart. Its message goes on as one of the new trace.
pub(super) fn begin_replays(items: &mut [ReplayItem]) -> Vec<Span> {
    let Some(tracer) = trace::tracer() else { return Vec::new() };
    items.iter_mut().map(|item| begin_replay(tracer, item)).collect()
}

fn begin_replay(tracer: &Tracer, item: &mut ReplayItem) -> Span {
    let letter = &mut item.letter;
    let mut span = tracer.begin("replay", Parent::None);
    if span.is_recorded() {
        span.set("dead_letter.id", letter.id.to_string());
        span.set("dead_letter.reason", letter.reason);
    }
    if let Some(raw) = &mut letter.raw {
        if let Parent::Of(original) = Parent::of_header(raw.traceparent.as_deref()) {
            span.link(original);
        }
        raw.traceparent = Some(span.context().to_string());
    }
    span
}

/// What a replay came to ends its span.
pub(super) fn end_replay(mut span: Span, reply: &Reply) {
    if span.is_recorded() {
        set_subject(&mut span, &reply.subject);
        if let Note::NotReplayed(why) = &reply.note {
            span.fail(why.kind.as_str());
        }
    }
    span.end();
}

/// The name of a destination: exchange, routing key and, for a consumer, queue, without what is empty or the
/// same as what is before it.
fn destination(parts: &[&str]) -> String {
    let mut named: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    named.dedup();
    if named.is_empty() { "amq.default".to_owned() } else { named.join(":") }
}

fn set_messaging(span: &mut Span, kind: &'static str, name: &'static str, destination: String, key: &str) {
    span.set("messaging.system", "rabbitmq");
    span.set("messaging.operation.type", kind);
    span.set("messaging.operation.name", name);
    span.set("messaging.destination.name", destination);
    if !key.is_empty() {
        span.set_text("messaging.rabbitmq.destination.routing_key", key);
    }
}

fn set_subject(span: &mut Span, subject: &Subject) {
    let facts = [
        ("order.id", subject.order.as_ref().map(OrderId::as_str)),
        ("shipment.id", subject.shipment.as_ref().map(ShipmentId::as_str)),
        ("account", subject.account.as_ref().map(AccountName::as_str)),
    ];
    for (key, value) in facts {
        if let Some(value) = value {
            span.set_text(key, value);
        }
    }
    if let Some(capture) = &subject.capture {
        span.set("capture.id", capture.to_string());
    }
}

fn contexts(traces: &[String]) -> Vec<TraceParent> {
    traces.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
