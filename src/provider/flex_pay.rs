//! Upgrade's Flex Pay: several captures per authorization, decimal major units, an idempotency key.
//!
//! Does not authorize, void or refund. Sources: the reference pages "Capture Transaction" and "Get
//! Transaction" of <https://docs.uplift.com/apidocs>.

mod codes;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
mod token;
mod transaction;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use uuid::Uuid;

use crate::capture::evidence::{Answer, Reading, Refusal, RefusalReason};
use crate::capture::policy::{Captures, OnExpiry};
use crate::ids::{CaptureId, Reference};
use crate::money::Money;
use crate::mutant::{self, Mutant};
use crate::settings::{self, Account, FlexPayToken};

use super::answer::Inconclusive;
use super::http::{self, Client, Outgoing, Reply};
use super::trial;
use super::{Capabilities, CaptureRequest, ConnectError, Idempotency, Provider, ServerClock, Trial};

use token::Tokens;

/// How long a key is trusted to be remembered. The documentation requires the key, and does not say
/// how long it is kept.
const RESEND_WINDOW: Duration = Duration::from_mins(15);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One account at Flex Pay.
pub(super) struct FlexPay {
    client: Client,
    base: Url,
    tokens: Tokens,
}

impl FlexPay {
    /// Checks the settings; sends nothing, and fetches no token yet.
    pub(super) fn connect(account: &Account, settings: &settings::FlexPay) -> Result<Self, ConnectError> {
        let wrong = |field, problem| ConnectError::Setting { account: account.name.clone(), field, problem };
        let base = http::checked_url(&settings.base_url).map_err(|problem| wrong("base_url", problem))?;
        let (client, tokens) = match &settings.token {
            FlexPayToken::Fixed(token) => {
                let tokens = Tokens::fixed(token).map_err(|problem| wrong("token", problem))?;
                (Client::new(account, &[&base])?, tokens)
            }
            FlexPayToken::Fetched { token_url, client_id, client_secret } => {
                let url = http::checked_url(token_url).map_err(|problem| wrong("token_url", problem))?;
                let client = Client::new(account, &[&base, &url])?;
                let tokens = Tokens::fetched(client.clone(), url, client_id, client_secret);
                (client, tokens)
            }
        };
        Ok(Self { client, base, tokens })
    }

    /// Sends with a bearer token, and once more with a new one where the token was rejected: such a
    /// request was not processed.
    async fn send(&self, request: impl Fn() -> Outgoing) -> Result<Reply, Inconclusive> {
        let send = |bearer| {
            let mut outgoing = request();
            outgoing.headers.insert(AUTHORIZATION, bearer);
            self.client.send(outgoing)
        };
        let bearer = self.tokens.bearer().await?;
        let reply = send(bearer.clone()).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let Some(renewed) = self.tokens.after_rejection(&bearer).await? else { return Ok(reply) };
        send(renewed).await
    }

    fn capture_request(&self, id: Uuid, request: &CaptureRequest) -> Outgoing {
        let key = HeaderValue::from_str(&request.capture.to_string()).expect("a UUID is ASCII");
        Outgoing {
            method: Method::POST,
            url: http::endpoint(&self.base, &["v1", "transactions", &id.to_string(), "capture"]),
            headers: HeaderMap::from_iter([
                (CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (IDEMPOTENCY_KEY, key),
            ]),
            body: Some(body(request.capture, request.amount)),
            send_by: Some(request.send_by),
        }
    }

    /// What nobody may do: tests switch it on, to see it caught.
    async fn capture_with_new_key(&self, id: Uuid, request: &CaptureRequest) -> Result<Reply, Inconclusive> {
        let key = HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("a UUID is ASCII");
        self.send(|| {
            let mut outgoing = self.capture_request(id, request);
            outgoing.headers.insert(IDEMPOTENCY_KEY, key.clone());
            outgoing
        })
        .await
    }
}

impl Provider for FlexPay {
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
            let Some(id) = transaction_id(&request.reference) else {
                return Answer::Refused(Refusal {
                    reason: RefusalReason::ProviderRejected,
                    code: None,
                    message: NOT_A_TRANSACTION.to_owned(),
                    read_first: false,
                });
            };
            let read = |sent: Result<Reply, Inconclusive>| match sent {
                Ok(reply) => transaction::read_capture(&reply, id, request.capture),
                Err(shown) => shown.into(),
            };
            let answer = read(self.send(|| self.capture_request(id, request)).await);
            if mutant::on(Mutant::NewKeyOnUsed) && is_key_used(&answer) {
                return read(self.capture_with_new_key(id, request).await);
            }
            answer
        })
    }

    fn lookup<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let Some(id) = transaction_id(reference) else {
                return Inconclusive::unreadable(NOT_A_TRANSACTION).into();
            };
            let outgoing = || Outgoing {
                method: Method::GET,
                url: http::endpoint(&self.base, &["v1", "transactions", &id.to_string()]),
                headers: HeaderMap::new(),
                body: None,
                send_by: None,
            };
            match self.send(outgoing).await {
                Ok(reply) => transaction::read_lookup(&reply, id),
                Err(shown) => shown.into(),
            }
        })
    }

    fn try_out(&self) -> BoxFuture<'_, Trial> {
        Box::pin(async { Trial::of(self.lookup(&trial::nothing()).await, codes::TRANSACTION_NOT_FOUND) })
    }

    fn clock(&self) -> &ServerClock {
        self.client.clock()
    }
}

const NOT_A_TRANSACTION: &str = "the reference is not a transaction id: Flex Pay's are UUIDs";

fn is_key_used(answer: &Answer) -> bool {
    matches!(answer, Answer::Doubt(doubt) if doubt.code.as_deref() == Some("IDEMPOTENCY_KEY_ALREADY_USED"))
}

/// The documentation has UUIDs only; anything else could bend the path, and is never sent.
fn transaction_id(reference: &Reference) -> Option<Uuid> {
    Uuid::try_parse(reference.as_str()).ok()
}

/// The body of a capture request. Never without an amount: that would capture all that remains.
fn body(capture: CaptureId, amount: Money) -> Bytes {
    // Digits, letters and hyphens: nothing in it needs an escape.
    let (major, currency) = (amount.to_major(), amount.currency());
    Bytes::from(format!(r#"{{"amount":{major},"currency":"{currency}","merchant_reference_id":"{capture}"}}"#))
}
