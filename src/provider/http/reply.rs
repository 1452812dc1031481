//! A reply: its status, how long it asks us to wait, and as much of its body as we read.
//!
//! Does not look into the body.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use crate::capture::evidence::{Doubt, DoubtKind, NotExecuted};
use crate::clock::{self, Timestamp};

use super::super::answer::Inconclusive;
use super::failure;

/// The longest body that is read, in bytes.
pub(super) const BODY_MAX: usize = 64 * 1024;

/// A bound for arithmetic with times, not a policy: the core's own is far below.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(365 * 24);

/// The server answered, whatever it said.
#[derive(Debug, Clone)]
pub(in crate::provider) struct Reply {
    /// The HTTP status.
    pub(in crate::provider) status: StatusCode,
    /// How long to wait, where the reply says so.
    pub(in crate::provider) retry_after: Option<Duration>,
    /// The whole body, or why there is none.
    pub(in crate::provider) body: Result<Bytes, Doubt>,
}

/// What a status says before the body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::provider) enum StatusClass {
    /// 2xx: the body tells.
    Success,
    /// 429: turned away before any work.
    Throttled,
    /// 401, 403 and redirects: not let in, or the wrong place. Whatever the body says.
    Rejected,
    /// 404, 405: a known code in the body tells; else the URL is wrong.
    NotFound,
    /// 408, 409, any 5xx: the request may have been executed. Whatever the body says.
    Ambiguous,
    /// Any other: a known code in the body tells; else nobody knows.
    Other,
}

impl Reply {
    /// Reads the body, up to 64 KiB of it.
    pub(super) async fn read(response: Response) -> Self {
        let status = response.status();
        let retry_after = retry_after(response.headers(), clock::now());
        Self { status, retry_after, body: read_body(response).await }
    }

    /// What the status says.
    pub(in crate::provider) fn class(&self) -> StatusClass {
        match self.status.as_u16() {
            200..=299 => StatusClass::Success,
            429 => StatusClass::Throttled,
            300..=399 | 401 | 403 => StatusClass::Rejected,
            404 | 405 => StatusClass::NotFound,
            408 | 409 | 500.. => StatusClass::Ambiguous,
            _ => StatusClass::Other,
        }
    }

    /// The body, where it can matter: whole, and with a status that leaves something to say.
    pub(in crate::provider) fn content(&self) -> Result<&[u8], Inconclusive> {
        match (self.class(), &self.body) {
            (StatusClass::Throttled | StatusClass::Rejected, _) | (StatusClass::Ambiguous, Err(_)) => {
                Err(self.uncoded())
            }
            (StatusClass::Success | StatusClass::NotFound | StatusClass::Other, Err(doubt)) => {
                Err(Inconclusive::Doubt(doubt.clone()))
            }
            (StatusClass::Success | StatusClass::NotFound | StatusClass::Other | StatusClass::Ambiguous, Ok(body)) => {
                Ok(body)
            }
        }
    }

    /// What a reply shows whose body says nothing that we know.
    pub(in crate::provider) fn uncoded(&self) -> Inconclusive {
        let status = self.status.as_u16();
        let retry_after = self.retry_after;
        let doubt = |kind| {
            let message = format!("HTTP status {status} without an answer that we know");
            Inconclusive::Doubt(Doubt { kind, code: None, message, retry_after })
        };
        match self.class() {
            StatusClass::Success => doubt(DoubtKind::Unreadable),
            StatusClass::Ambiguous | StatusClass::Other => doubt(DoubtKind::HttpStatus),
            StatusClass::Throttled => {
                let message = "HTTP status 429: too many requests".to_owned();
                Inconclusive::NotExecuted(NotExecuted { message, retry_after })
            }
            StatusClass::Rejected | StatusClass::NotFound => {
                let hint = match status {
                    401 | 403 => "check the account's credentials and whether this machine's address is allowed",
                    _ => "check the account's URLs",
                };
                Inconclusive::misconfigured(Some(status.to_string()), format!("HTTP status {status}: {hint}"))
            }
        }
    }
}

async fn read_body(mut response: Response) -> Result<Bytes, Doubt> {
    let too_large = || Doubt {
        kind: DoubtKind::Unreadable,
        code: None,
        message: "the answer is larger than 64 KiB".to_owned(),
        retry_after: None,
    };
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure::lost(&error))? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// `Retry-After` as seconds or as an HTTP date (RFC 9110, 10.2.3). A date is the server's, so it is
/// counted from the server's own `Date`; from `now` only where there is none.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let sent_at = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?)).unwrap_or(now);
        (http_date(text)? - sent_at).to_std().unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// An instant as HTTP writes it (RFC 9110, 5.6.7).
pub(in crate::provider) fn http_date(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc2822(text).ok().map(|date| date.with_timezone(&Utc))
}
