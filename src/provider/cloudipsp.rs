//! The protocol of Flitt and Fondy: one capture per authorization, signed with SHA-1, errors inside HTTP 200.
//!
//! Does not reverse, refund or list anything. A capture's reply is unsigned, so TLS alone vouches for
//! it; the reply to a lookup is signed, and believed only when its signature verifies.

mod capture;
mod codes;
mod fields;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod signature;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::capture::evidence::{Answer, Reading};
use crate::capture::policy::{Captures, OnExpiry};
use crate::clock::BootInstant;
use crate::ids::Reference;
use crate::settings::{self, Account};

use super::answer::Inconclusive;
use super::http::{self, Client, Outgoing, Reply};
use super::trial;
use super::{Capabilities, CaptureRequest, ConnectError, Idempotency, Provider, ServerClock, Trial};

/// The version of the protocol; 1.0 is deprecated, 2.0 wraps the same fields in base64.
const VERSION: &str = "1.0.1";

/// One account at Flitt or Fondy.
pub(super) struct Cloudipsp {
    client: Client,
    capture_url: Url,
    status_url: Url,
    merchant_id: u64,
    secret: SecretString,
}

impl Cloudipsp {
    /// Checks the settings; sends nothing.
    pub(super) fn connect(account: &Account, settings: &settings::Cloudipsp) -> Result<Self, ConnectError> {
        let wrong = |field, problem| ConnectError::Setting { account: account.name.clone(), field, problem };
        let base = http::checked_url(&settings.base_url).map_err(|problem| wrong("base_url", problem))?;
        if settings.secret.expose_secret().is_empty() {
            return Err(wrong("secret", "is empty: copy the payment secret key from the merchant portal"));
        }
        Ok(Self {
            client: Client::new(account, &[&base])?,
            capture_url: http::endpoint(&base, &["api", "capture", "order_id"]),
            status_url: http::endpoint(&base, &["api", "status", "order_id"]),
            merchant_id: settings.merchant_id,
            secret: settings.secret.clone(),
        })
    }

    async fn post(
        &self,
        url: &Url,
        fields: BTreeMap<&'static str, Value>,
        send_by: Option<BootInstant>,
    ) -> Result<Reply, Inconclusive> {
        let outgoing = Outgoing {
            method: Method::POST,
            url: url.clone(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            body: Some(signed(fields, &self.secret)),
            send_by,
        };
        self.client.send(outgoing).await
    }

    /// The fields that every request has.
    fn fields(&self, reference: &Reference) -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("order_id", json!(reference.as_str())),
            ("merchant_id", json!(self.merchant_id)),
            ("version", json!(VERSION)),
        ])
    }
}

impl Provider for Cloudipsp {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            captures: Captures::Single,
            idempotency: Idempotency::SameAmount,
            tells_expiry: false,
            on_expiry: OnExpiry::MayCaptureInFull,
        }
    }

    fn capture<'a>(&'a self, request: &'a CaptureRequest) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let mut fields = self.fields(&request.reference);
            fields.insert("amount", json!(request.amount.minor()));
            fields.insert("currency", json!(request.amount.currency().code()));
            match self.post(&self.capture_url, fields, Some(request.send_by)).await {
                Ok(reply) => capture::read(&reply, self.merchant_id, &request.reference),
                Err(shown) => shown.into(),
            }
        })
    }

    fn lookup<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            match self.post(&self.status_url, self.fields(reference), None).await {
                Ok(reply) => status::read(&reply, self.merchant_id, reference, &self.secret),
                Err(shown) => shown.into(),
            }
        })
    }

    fn try_out(&self) -> BoxFuture<'_, Trial> {
        Box::pin(async { Trial::of(self.lookup(&trial::nothing()).await, codes::ORDER_NOT_FOUND) })
    }

    fn clock(&self) -> &ServerClock {
        self.client.clock()
    }
}

/// A value as it is signed: numbers in their text form, texts as they are.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The request's body: the fields in their envelope, with the signature over all of them.
fn signed(mut fields: BTreeMap<&'static str, Value>, secret: &SecretString) -> Bytes {
    let texts = fields.iter().map(|(name, value)| (*name, text(value)));
    let signature = signature::of(secret, texts);
    fields.insert("signature", json!(signature));
    Bytes::from(json!({ "request": fields }).to_string())
}
