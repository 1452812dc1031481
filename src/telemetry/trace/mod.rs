//! Traces: what was done for one shipment, from the message that told of it to the event about its outcome.
//! Off by default, and then nothing of this exists but one empty cell.
//!
//! Spans are begun where something has a beginning and an end that a person looks for: a message, a call to a
//! provider and its requests, an event (`worker::spans`, `provider::http`). They are made of OpenTelemetry's
//! types and not by way of `tracing`. A loop handles a group of messages at once and a single thread commits
//! it, so that no span is ever "current" while it lasts, which is what `tracing` is for; and the ids of some
//! spans are known before these begin, which its bridge does not allow. What belongs together is carried by
//! the `traceparent` that is kept with every message: the one of the span in which it was taken. So an attempt
//! after a restart or after a week is in the same trace as the message.
//!
//! The exporter is our own because the one of `opentelemetry-otlp` takes settings from `OTEL_*` past ours: a
//! variable that somebody set for another program must not keep a worker from starting. It has a task and a
//! bounded queue; nothing that captures ever waits for it.

mod context;
mod export;
mod span;
mod tracer;

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use context::{TraceParent, taken};
pub use opentelemetry::trace::SpanKind;
pub use span::{Parent, Span};
pub use tracer::Tracer;

use crate::settings::Traces;
use crate::telemetry::{TelemetryError, metric};

/// Spans that may wait for the exporter; about 1 KiB each.
const QUEUE_MAX: usize = 4_096;

/// How long the last spans may take at the end, whatever is left of the drain.
const FLUSH_MAX: Duration = Duration::from_secs(5);

static TRACER: OnceLock<Tracer> = OnceLock::new();

tokio::task_local! {
    /// The call that is under way in this task, and who records what is done for it.
    static CALL: (Tracer, TraceParent);
}

/// Who begins spans; none while traces are off.
pub fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

/// The traces of this process, until they are ended.
#[derive(Debug)]
pub struct Tracing {
    stop: CancellationToken,
    exporter: JoinHandle<()>,
}

impl Tracing {
    /// Sends what is left, for as long as `within` and five seconds allow.
    pub async fn end(self, within: Duration) {
        self.stop.cancel();
        let exporter = self.exporter.abort_handle();
        if tokio::time::timeout(within.min(FLUSH_MAX), self.exporter).await.is_err() {
            tracing::warn!("the last spans were not sent: the collector did not take them before the drain was over");
            exporter.abort();
        }
    }
}

/// Starts the traces of this process, where an endpoint is configured.
///
/// # Errors
/// [`TelemetryError::Collector`]; [`TelemetryError::Started`] the second time.
pub fn start(settings: &Traces) -> Result<Option<Tracing>, TelemetryError> {
    let Some(endpoint) = &settings.endpoint else { return Ok(None) };
    let (tracer, ended) = pair(settings.sample_ratio);
    let exporter = export::Exporter::new(endpoint, ended).map_err(TelemetryError::Collector)?;
    TRACER.set(tracer).map_err(|_| TelemetryError::Started)?;
    for result in ["exported", "dropped"] {
        metrics::counter!(metric::SPANS, "result" => result).increment(0);
    }
    let stop = CancellationToken::new();
    Ok(Some(Tracing { exporter: tokio::spawn(exporter.run(stop.clone())), stop }))
}

/// A tracer, and where its spans come out.
pub(crate) fn pair(sample_ratio: f64) -> (Tracer, mpsc::Receiver<SpanData>) {
    let (sender, ended) = mpsc::channel(QUEUE_MAX);
    (Tracer::new(sample_ratio, sender), ended)
}

/// Does `work` as what the call of `span` consists of, where anybody records it.
pub async fn within<F: Future>(span: Option<&Span>, work: F) -> F::Output {
    match span.and_then(|span| Some((span.tracer()?.clone(), span.context()))) {
        Some(call) => CALL.scope(call, work).await,
        None => work.await,
    }
}

/// Begins a span below the call that is under way in this task; none where none is traced.
pub fn begin_within(name: &'static str) -> Option<Span> {
    CALL.try_with(|(tracer, call)| tracer.begin(name, Parent::Of(*call))).ok()
}

#[cfg(test)]
mod tests;
