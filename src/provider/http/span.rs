//! The span of a request, by OpenTelemetry's semantic conventions for HTTP clients
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).
//!
//! Without `url.full`: paths have authorizations in them. The host is the account's, as configured.

use reqwest::{Method, Url};

use crate::capture::evidence::Doubt;
use crate::telemetry::trace::{self, Span, SpanKind};

use super::super::answer::Inconclusive;
use super::reply::Reply;

/// Begins the span of a request, where the call that it is for is traced.
pub(super) fn begin(method: &Method, url: &Url) -> Option<Span> {
    let name = match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        _ => "HTTP",
    };
    let mut span = trace::begin_within(name)?.kind(SpanKind::Client);
    span.set_text("http.request.method", method.as_str());
    span.set_text("server.address", url.host_str().unwrap_or_default());
    if let Some(port) = url.port_or_known_default() {
        span.set("server.port", i64::from(port));
    }
    Some(span)
}

/// What the request came to ends its span.
pub(super) fn end(span: Option<Span>, sent: &Result<Reply, Inconclusive>) {
    let Some(mut span) = span else { return };
    match sent {
        Ok(reply) => {
            let status = reply.status.as_u16();
            span.set("http.response.status_code", i64::from(status));
            if let Err(Doubt { kind, .. }) = &reply.body {
                span.fail(kind.as_str());
            } else if status >= 400 {
                span.fail(status.to_string());
            }
        }
        Err(Inconclusive::NotExecuted(_)) => span.fail("not_executed"),
        Err(Inconclusive::Doubt(doubt)) => span.fail(doubt.kind.as_str()),
        Err(Inconclusive::Misconfigured(_)) => span.fail("misconfigured"),
    }
    span.end();
}
