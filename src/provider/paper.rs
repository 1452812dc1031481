//! Paper, which there is not: the worked example of `docs/providers.md`, built for the tests alone. Several captures
//! for each authorization, HTTP Basic authentication, and forms both ways, in minor units.
//!
//! Does not authorize, void or refund. No page documents it, so that here is all of it:
//!
//! ```text
//! POST {base}/holds/{hold}/takings    amount=15118&currency=EUR&memo=KEY
//!   200                               hold=…&memo=KEY&amount=15118&currency=EUR&state=taken (or queued)
//! GET  {base}/holds/{hold}
//!   200                               hold=…&currency=EUR&held=20000&ends=2026-11-26T08:00:00Z
//!                                     &taking=KEY:15118&taking=…&returned=0&left=4882&state=open
//! any other status                    error=CODE&text=…
//! ```
//!
//! A memo that was used with the same amount is answered as the first time, for a day. A hold's state is `open`,
//! `emptied`, `ended`, `returned` or `refused`. Fields come in this order, the state last.

mod codes;
mod hold;
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::ExposeSecret as _;

use crate::capture::evidence::{Answer, Reading};
use crate::capture::policy::{Captures, OnExpiry};
use crate::ids::Reference;
use crate::settings::{self, Account};

use super::http::{self, Client, Outgoing};
use super::trial;
use super::{Capabilities, CaptureRequest, ConnectError, Idempotency, Provider, ServerClock, Trial};

/// How long a memo is remembered.
const RESEND_WINDOW: Duration = Duration::from_hours(24);

/// One account at Paper.
pub(super) struct Paper {
    client: Client,
    base: Url,
    credentials: HeaderValue,
}

impl Paper {
    /// Checks the settings; sends nothing.
    pub(super) fn connect(account: &Account, settings: &settings::Paper) -> Result<Self, ConnectError> {
        let wrong = |field, problem| ConnectError::Setting { account: account.name.clone(), field, problem };
        let base = http::checked_url(&settings.base_url).map_err(|problem| wrong("base_url", problem))?;
        if settings.shop.is_empty() || settings.shop.contains(':') {
            return Err(wrong("shop", "is empty or has a colon in it: write the shop's name as Paper gave it"));
        }
        let secret = settings.secret.expose_secret();
        if secret.is_empty() {
            return Err(wrong("secret", "is empty: name where the shop's secret is"));
        }
        let pair = BASE64_STANDARD.encode(format!("{}:{secret}", settings.shop));
        let mut credentials = HeaderValue::from_str(&format!("Basic {pair}")).expect("base64 is ASCII");
        credentials.set_sensitive(true);
        Ok(Self { client: Client::new(account, &[&base])?, base, credentials })
    }

    fn outgoing(&self, method: Method, segments: &[&str]) -> Outgoing {
        Outgoing {
            method,
            url: http::endpoint(&self.base, segments),
            headers: HeaderMap::from_iter([(AUTHORIZATION, self.credentials.clone())]),
            body: None,
            send_by: None,
        }
    }
}

impl Provider for Paper {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            captures: Captures::Multiple,
            idempotency: Idempotency::Key { resend_window: RESEND_WINDOW },
            tells_expiry: true,
            on_expiry: OnExpiry::Void,
        }
    }

    fn capture<'a>(&'a self, request: &'a CaptureRequest) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let mut outgoing = self.outgoing(Method::POST, &["holds", request.reference.as_str(), "takings"]);
            outgoing.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            outgoing.body = Some(body(request));
            outgoing.send_by = Some(request.send_by);
            match self.client.send(outgoing).await {
                Ok(reply) => hold::read_capture(&reply, &request.reference, request.capture),
                Err(shown) => shown.into(),
            }
        })
    }

    fn lookup<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            match self.client.send(self.outgoing(Method::GET, &["holds", reference.as_str()])).await {
                Ok(reply) => hold::read_lookup(&reply, reference),
                Err(shown) => shown.into(),
            }
        })
    }

    fn try_out(&self) -> BoxFuture<'_, Trial> {
        Box::pin(async { Trial::of(self.lookup(&trial::nothing()).await, codes::NO_SUCH_HOLD) })
    }

    fn clock(&self) -> &ServerClock {
        self.client.clock()
    }
}

/// The body of a capture request. Digits, capitals and hyphens: nothing in it needs an escape.
fn body(request: &CaptureRequest) -> Bytes {
    let (minor, currency) = (request.amount.minor(), request.amount.currency());
    Bytes::from(format!("amount={minor}&currency={currency}&memo={}", request.capture))
}
