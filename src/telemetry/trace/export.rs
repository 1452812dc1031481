//! Spans out: in batches to a collector, by OTLP over HTTP.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>. A batch that a collector may take later is
//! kept and sent again; meanwhile the queue fills, and what does not fit is dropped where it ends.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::telemetry::metric;

/// Spans in one request at most; about 1 KiB each.
const BATCH_MAX: usize = 512;

/// How long the first span of a batch waits for others.
const WAIT: Duration = Duration::from_secs(1);

/// Longest wait for a collector's answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Between two tries of the same batch: shortest, longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often it is said that a collector takes nothing.
const SAID_EVERY: Duration = Duration::from_mins(10);

/// Sends what has ended.
pub(super) struct Exporter {
    client: reqwest::Client,
    url: String,
    resource: ResourceAttributesWithSchema,
    ended: mpsc::Receiver<SpanData>,
    /// The batch that is being gathered.
    batch: Vec<SpanData>,
    trouble: Trouble,
}

/// What became of a batch.
enum Sent {
    /// The collector has it, but for so many spans.
    Taken { rejected: u64 },
    /// It may have it later.
    Later(String),
    /// It will never have it.
    Refused(String),
}

impl Exporter {
    /// Sends to `endpoint`, an address without a slash at its end.
    ///
    /// # Errors
    /// What the HTTP client says; for https, usually for want of CA certificates.
    pub(super) fn new(endpoint: &str, ended: mpsc::Receiver<SpanData>) -> reqwest::Result<Self> {
        // Somebody else may have installed it before; either way there is one now.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT);
        if endpoint.starts_with("http://") {
            client = client.tls_certs_only([]);
        }
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "holdfast"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", instance()),
            ])
            .build();
        Ok(Self {
            client: client.build()?,
            url: format!("{endpoint}/v1/traces"),
            resource: (&resource).into(),
            ended,
            batch: Vec::new(),
            trouble: Trouble::default(),
        })
    }

    /// Sends until told to stop; then what is left, each batch once.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while let Some(batch) = tokio::select! {
            batch = self.next_batch() => batch,
            () = stop.cancelled() => None,
        } {
            self.deliver(batch, &stop).await;
        }
        self.ended.close();
        while let Some(batch) = self.next_batch().await {
            self.deliver(batch, &stop).await;
        }
    }

    /// The next spans, as soon as there are enough or the first has waited long enough. `None`: there will be
    /// none. What was gathered is kept where nobody waits for the rest.
    async fn next_batch(&mut self) -> Option<Vec<SpanData>> {
        let Self { ended, batch, .. } = self;
        if batch.is_empty() {
            batch.push(ended.recv().await?);
        }
        let others = async {
            while batch.len() < BATCH_MAX
                && let Some(span) = ended.recv().await
            {
                batch.push(span);
            }
        };
        let _ = tokio::time::timeout(WAIT, others).await;
        Some(std::mem::take(batch))
    }

    /// Sends a batch until it is taken or refused; once told to stop, no more than once.
    async fn deliver(&mut self, batch: Vec<SpanData>, stop: &CancellationToken) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let body = bytes::Bytes::from(ExportTraceServiceRequest { resource_spans: spans }.encode_to_vec());
        let mut pause = PAUSE_MIN;
        loop {
            match self.send(body.clone()).await {
                Sent::Taken { rejected: 0 } => {
                    self.trouble.is_over();
                    return tell(count, 0);
                }
                Sent::Taken { rejected } => {
                    self.trouble.say(&format!("it rejected {rejected} of {count}"));
                    return tell(count.saturating_sub(rejected), rejected);
                }
                Sent::Refused(why) => {
                    self.trouble.say(&why);
                    return tell(0, count);
                }
                Sent::Later(why) => {
                    self.trouble.say(&why);
                    if stop.is_cancelled() {
                        return tell(0, count);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(fastrand::f64())) => {}
                () = stop.cancelled() => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn send(&self, body: bytes::Bytes) -> Sent {
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let response = match request.send().await {
            Ok(response) => response,
            // The library's own words may name the address.
            Err(error) if error.is_timeout() => return Sent::Later("no answer in time".to_owned()),
            Err(_) => return Sent::Later("no connection, or it broke".to_owned()),
        };
        match response.status().as_u16() {
            200..=299 => Sent::Taken { rejected: rejected(response).await },
            status @ (429 | 502 | 503 | 504) => Sent::Later(format!("HTTP status {status}")),
            status => Sent::Refused(format!("HTTP status {status}: check traces.endpoint, and the collector")),
        }
    }
}

/// So many spans of a batch the collector did not take, by its own word.
async fn rejected(response: reqwest::Response) -> u64 {
    let body = response.bytes().await.unwrap_or_default();
    let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or_default())
}

fn tell(exported: u64, dropped: u64) {
    metrics::counter!(metric::SPANS, "result" => "exported").increment(exported);
    metrics::counter!(metric::SPANS, "result" => "dropped").increment(dropped);
}

/// Which of several workers this is.
fn instance() -> String {
    format!("{}-{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id())
}

/// Says that a collector takes nothing, once in a while and not for every batch.
#[derive(Default)]
struct Trouble {
    said: Option<Instant>,
}

impl Trouble {
    fn say(&mut self, why: &str) {
        if self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!("the collector of traces takes nothing, captures take no notice: {why}");
        }
    }

    fn is_over(&mut self) {
        if self.said.take().is_some() {
            tracing::info!("the collector of traces takes spans again");
        }
    }
}
