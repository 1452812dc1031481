//! Any bytes as a provider's answer. What a capture needs is worked out here once more, by reading the same
//! bytes as plain JSON: nothing is evidence of a capture that does not name our order or our key, and
//! the exact amount where the protocol tells one.

use bytes::Bytes;
use reqwest::StatusCode;
use serde_json::Value;

use crate::capture::evidence::{Answer, Reading};

use super::http::Reply;

pub use super::cloudipsp::fuzz::{capture as cloudipsp_capture, lookup as cloudipsp_lookup, signature};
pub use super::flex_pay::fuzz::{capture as flex_pay_capture, lookup as flex_pay_lookup, token as flex_pay_token};

/// Every class of status there is.
const STATUSES: [u16; 16] = [200, 200, 200, 200, 200, 201, 302, 400, 401, 403, 404, 405, 409, 429, 500, 503];

/// The first byte chooses the status, the rest is the body.
pub(super) fn reply(data: &[u8]) -> Option<(Reply, &[u8])> {
    let (choice, body) = data.split_first()?;
    let status = STATUSES[usize::from(*choice) % STATUSES.len()];
    let status = StatusCode::from_u16(status).expect("a status");
    Some((Reply { status, retry_after: None, body: Ok(Bytes::copy_from_slice(body)) }, body))
}

/// The body as plain JSON; `null` where a plain reader refuses what ours may pass over.
pub(super) fn plain(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

/// A field's text: that of a string or of a number.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// What every answer keeps to: words for people are short, and nothing but a success is evidence.
pub(super) fn check_answer(answer: &Answer, reply: &Reply) {
    match answer {
        Answer::Captured(_) | Answer::Pending => assert!(reply.status.is_success(), "{} is no success", reply.status),
        Answer::Refused(refusal) => {
            let may_refuse =
                !reply.status.is_server_error() && ![401, 403, 408, 409, 429].contains(&reply.status.as_u16());
            assert!(may_refuse, "{} leaves doubt", reply.status);
            short(&refusal.message);
        }
        Answer::Doubt(doubt) => short(&doubt.message),
        Answer::NotExecuted(not_executed) => {
            assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "only then was it certainly not executed");
            short(&not_executed.message);
        }
        Answer::Misconfigured(fault) => short(&fault.message),
    }
}

/// The same for a read.
pub(super) fn check_reading(reading: &Reading, reply: &Reply) {
    match reading {
        Reading::Seen(view) => {
            assert!(reply.status.is_success(), "{} is no success", reply.status);
            assert!(view.captures.iter().all(|seen| seen.amount.minor() >= 0), "nothing is taken back");
        }
        Reading::Unclear(doubt) => short(&doubt.message),
        Reading::Misconfigured(fault) => short(&fault.message),
    }
}

fn short(words: &str) {
    assert!(words.chars().count() <= 400, "too long for people: {} characters", words.chars().count());
    assert!(!words.chars().any(char::is_control), "control characters in words for people");
}
