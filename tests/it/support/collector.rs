//! A collector of traces: takes OTLP over HTTP on the loopback, and keeps every span.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, status};
use prost::Message as _;
use tokio::net::TcpListener;

use super::PATIENCE;

/// The setting that switches traces on.
pub const ENDPOINT: &str = "HOLDFAST_TRACES__ENDPOINT";

/// The collector; gone with the test's runtime.
pub struct Collector {
    endpoint: String,
    arrived: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    pub async fn start() -> Self {
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&arrived);
        let router = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            assert_eq!((method, uri.path()), (Method::POST, "/v1/traces"));
            assert_eq!(headers["content-type"], "application/x-protobuf");
            record.lock().unwrap().push(body);
            async { StatusCode::OK }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, arrived }
    }

    /// For `traces.endpoint`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The bytes of every request so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.arrived.lock().unwrap().concat()
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// An attribute of every process that has sent something.
    pub fn resources(&self, key: &str) -> Vec<String> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        resources.filter_map(|resource| of(&resource.resource?.attributes, key)).collect()
    }

    /// Waits until so many spans have come whose name begins like this; returns them.
    pub async fn until(&self, name: &str, count: usize) -> Vec<Span> {
        let come = async {
            loop {
                let found: Vec<Span> = self.spans().into_iter().filter(|span| span.name.starts_with(name)).collect();
                if found.len() >= count {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let come = tokio::time::timeout(PATIENCE, come).await;
        come.unwrap_or_else(|_| panic!("{count} spans {name:?} never came; there are {:?}", names(&self.spans())))
    }

    /// The one span whose name begins like this.
    pub async fn one(&self, name: &str) -> Span {
        let mut found = self.until(name, 1).await;
        assert_eq!(found.len(), 1, "{name}: {:?}", names(&found));
        found.remove(0)
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let arrived = self.arrived.lock().unwrap();
        arrived.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap()).collect()
    }
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// An attribute of a span as a text; empty where it has none.
pub fn fact(span: &Span, key: &str) -> String {
    of(&span.attributes, key).unwrap_or_default()
}

fn of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    let AnyValue { value } = found.value.clone()?;
    if let Some(Value::IntValue(number)) = value {
        return Some(number.to_string());
    }
    let Some(Value::StringValue(text)) = value else { panic!("{key} is neither text nor a number") };
    Some(text)
}

/// A span's trace and its own id, in hex.
pub fn ids(span: &Span) -> (String, String) {
    (hex(&span.trace_id), hex(&span.span_id))
}

/// The id of a span's parent; empty where it has none.
pub fn parent(span: &Span) -> String {
    hex(&span.parent_span_id)
}

/// The trace and the id that a link leads to.
pub fn linked(link: &Link) -> (String, String) {
    (hex(&link.trace_id), hex(&link.span_id))
}

/// Has it failed?
pub fn has_failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == status::StatusCode::Error)
}

/// Is it of this kind?
pub fn is(span: &Span, kind: SpanKind) -> bool {
    span.kind() == kind
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
