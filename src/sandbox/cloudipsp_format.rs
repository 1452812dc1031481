//! The formats that Flitt and Fondy speak: JSON in an envelope, or a form; the answer comes in the
//! format of the request (docs.flitt.com/api/introduction).
//!
//! Does not know what the parameters mean. XML, which only old SDKs speak, and protocol 2.0, which no
//! page documents for captures, are not served.

use axum::body::to_bytes;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::exchange::{Reply, body};
use super::signature::{Parameters, text};

const FORM: &str = "application/x-www-form-urlencoded";

/// How a request is written, and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Form,
}

#[derive(Deserialize)]
struct Request {
    request: Parameters,
}

#[derive(Deserialize)]
struct Response {
    response: Parameters,
}

impl Format {
    /// The format that the headers name.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        match content_type.split(';').next()?.trim() {
            "application/json" => Some(Self::Json),
            FORM => Some(Self::Form),
            _ => None,
        }
    }

    /// The parameters in a request's body; in a form, all of them are text.
    pub(super) fn parameters(self, body: &str) -> Option<Parameters> {
        match self {
            Self::Json => serde_json::from_str::<Request>(body).ok().map(|envelope| envelope.request),
            Self::Form => {
                let pairs = form_urlencoded::parse(body.as_bytes());
                let parameters: Parameters =
                    pairs.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect();
                Some(parameters).filter(|parameters| !parameters.is_empty())
            }
        }
    }

    /// A JSON answer in this format. What is no answer of the protocol (a proxy's page, garbage) stays
    /// as it is.
    pub(super) async fn worded(self, reply: Reply) -> Reply {
        if self == Self::Json {
            return reply;
        }
        let (head, content) = reply.into_parts();
        let content = to_bytes(content, usize::MAX).await.expect("our own answers are whole");
        let Ok(Response { response }) = serde_json::from_slice(&content) else {
            return Reply::from_parts(head, content.into());
        };
        let pairs = response.iter().map(|(name, value)| (name, text(value).unwrap_or_default()));
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let mut worded = body(head.status, FORM, form);
        if let Some(date) = head.headers.get(header::DATE) {
            worded.headers_mut().insert(header::DATE, date.clone());
        }
        worded
    }
}
