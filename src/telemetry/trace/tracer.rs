//! Where spans begin: which trace one belongs to, and whether it is recorded.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample, SpanData};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::context::TraceParent;
use super::span::{Parent, Span};
use crate::telemetry::metric;

/// The version of the semantic conventions that names of spans and attributes are from.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Begins spans, and hands over those that have ended.
#[derive(Debug, Clone)]
pub struct Tracer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sampler: Sampler,
    scope: InstrumentationScope,
    ended: mpsc::Sender<SpanData>,
}

impl Tracer {
    /// A tracer that records this share of the traces that begin here, and hands spans to `ended`.
    pub(super) fn new(sample_ratio: f64, ended: mpsc::Sender<SpanData>) -> Self {
        let scope = InstrumentationScope::builder("holdfast")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(CONVENTIONS)
            .build();
        Self { shared: Arc::new(Shared { sampler: Sampler::TraceIdRatioBased(sample_ratio), scope, ended }) }
    }

    /// Begins a span. Below a parent it is recorded where its parent is.
    pub fn begin(&self, name: impl Into<Cow<'static, str>>, parent: Parent) -> Span {
        let span = some(|| fastrand::u64(..));
        let context = match parent {
            Parent::Of(parent) => parent.with_span(span),
            Parent::None => self.root(some(|| fastrand::u128(..)), span),
        };
        Span::begin(self, context, parent, name.into())
    }

    /// Begins the span of publishing an event, which is [`Tracer::of_event`].
    pub fn begin_event(&self, name: impl Into<Cow<'static, str>>, parent: Parent, event: Uuid) -> Span {
        Span::begin(self, self.of_event(parent, event), parent, name.into())
    }

    /// The span of publishing an event. It follows from the event's id, so that it is known when the event is
    /// written, long before it is published, and is the same in every repetition. Without a parent, so does its
    /// trace.
    pub fn of_event(&self, parent: Parent, event: Uuid) -> TraceParent {
        let (high, low) = event.as_u64_pair();
        match parent {
            Parent::Of(parent) => parent.with_span(low),
            // Samplers look at the low half, and of that one a UUID's variant takes two bits.
            Parent::None => self.root(u128::from(low) << 64 | u128::from(high), low),
        }
    }

    fn root(&self, trace: u128, span: u64) -> TraceParent {
        let decided = self.shared.sampler.should_sample(None, TraceId::from(trace), "", &SpanKind::Internal, &[], &[]);
        TraceParent::new(trace, span, decided.decision == SamplingDecision::RecordAndSample)
    }

    pub(super) fn scope(&self) -> InstrumentationScope {
        self.shared.scope.clone()
    }

    /// Hands over a span that has ended. Where there is no room for it, it is counted and gone: nothing
    /// waits for a collector.
    pub(super) fn offer(&self, span: SpanData) {
        if self.shared.ended.try_send(span).is_err() {
            metrics::counter!(metric::SPANS, "result" => "dropped").increment(1);
        }
    }
}

/// One that is not zero.
pub(super) fn some<N: Default + PartialEq>(chance: impl Fn() -> N) -> N {
    loop {
        let number = chance();
        if number != N::default() {
            return number;
        }
    }
}
