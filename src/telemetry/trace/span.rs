//! Spans: what is known of one thing that was done, from its beginning to its end.
//!
//! One that nobody records costs two random numbers, and its facts are not even copied.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{Link, SpanId, SpanKind, Status, TraceState};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanLinks};

use super::context::TraceParent;
use super::tracer::{Tracer, some};

/// Where a span belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Below this span.
    Of(TraceParent),
    /// It begins a trace of its own.
    None,
}

impl Parent {
    /// Below the span of this header, where there is one.
    pub fn of_header(header: Option<&str>) -> Self {
        header.and_then(|text| text.parse().ok()).map_or(Self::None, Self::Of)
    }
}

/// Something that is being done.
#[derive(Debug)]
pub struct Span {
    context: TraceParent,
    record: Option<Box<Record>>,
}

/// What will be told of it.
#[derive(Debug)]
struct Record {
    tracer: Tracer,
    state: TraceState,
    parent: Option<TraceParent>,
    is_parent_remote: bool,
    kind: SpanKind,
    name: Cow<'static, str>,
    begun_at: SystemTime,
    begun: Instant,
    attributes: Vec<KeyValue>,
    links: SpanLinks,
    status: Status,
}

impl Span {
    pub(super) fn begin(tracer: &Tracer, context: TraceParent, parent: Parent, name: Cow<'static, str>) -> Self {
        let record = context.is_sampled().then(|| {
            Box::new(Record {
                tracer: tracer.clone(),
                state: TraceState::default(),
                parent: match parent {
                    Parent::Of(parent) => Some(parent),
                    Parent::None => None,
                },
                is_parent_remote: false,
                kind: SpanKind::Internal,
                name,
                begun_at: SystemTime::now(),
                begun: Instant::now(),
                attributes: Vec::with_capacity(12),
                links: SpanLinks::default(),
                status: Status::Unset,
            })
        });
        Self { context, record }
    }

    /// Itself, as the parent of what follows from it.
    pub fn context(&self) -> TraceParent {
        self.context
    }

    /// Who records it, if anybody does.
    pub(super) fn tracer(&self) -> Option<&Tracer> {
        self.record.as_ref().map(|record| &record.tracer)
    }

    /// Does anybody record it? If not, nothing need be worked out for it.
    pub fn is_recorded(&self) -> bool {
        self.record.is_some()
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(mut self, kind: SpanKind) -> Self {
        if let Some(record) = &mut self.record {
            record.kind = kind;
        }
        self
    }

    /// Its parent came from another process, with this vendor state beside it.
    #[must_use]
    pub fn from_afar(mut self, state: Option<&str>) -> Self {
        if let Some(record) = &mut self.record {
            record.is_parent_remote = true;
            record.state = state.and_then(|text| text.parse().ok()).unwrap_or_default();
        }
        self
    }

    /// A fact about it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(record) = &mut self.record {
            record.attributes.push(KeyValue::new(key, value));
        }
    }

    /// A fact about it in words that are copied only where it is recorded.
    pub fn set_text(&mut self, key: &'static str, value: &str) {
        if self.is_recorded() {
            self.set(key, value.to_owned());
        }
    }

    /// Another span that it follows from.
    pub fn link(&mut self, to: TraceParent) {
        if let Some(record) = &mut self.record {
            let link = Link::with_context(to.span_context(true, TraceState::default()));
            record.links.links.push(link);
        }
    }

    /// It failed; `kind` is out of a closed list.
    pub fn fail(&mut self, kind: impl Into<Value>) {
        if let Some(record) = &mut self.record {
            record.attributes.push(KeyValue::new("error.type", kind));
            record.status = Status::error("");
        }
    }

    /// An attempt that came to nothing, at what another one will have the id of.
    #[must_use]
    pub fn in_vain(mut self) -> Self {
        self.context = self.context.with_span(some(|| fastrand::u64(..)));
        self
    }

    /// It is over.
    pub fn end(self) {
        let Some(record) = self.record else { return };
        let Record { tracer, state, parent, kind, name, begun_at, begun, attributes, links, status, .. } = *record;
        let data = SpanData {
            span_context: self.context.span_context(false, state),
            parent_span_id: parent.map_or(SpanId::INVALID, TraceParent::span),
            parent_span_is_remote: record.is_parent_remote,
            span_kind: kind,
            name,
            start_time: begun_at,
            // By the monotonic clock: a step of the wall clock makes no span longer or shorter.
            end_time: begun_at + begun.elapsed(),
            attributes,
            dropped_attributes_count: 0,
            events: opentelemetry_sdk::trace::SpanEvents::default(),
            links,
            status,
            instrumentation_scope: tracer.scope(),
        };
        tracer.offer(data);
    }
}
