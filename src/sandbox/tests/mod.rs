//! The pretend providers over real HTTP.
//!
//! Requests are written out here as the providers document them; nothing of the adapters is used.

mod cloudipsp;
mod control;
mod faults;
mod flex_pay;

use reqwest::Client;
use serde_json::{Value, json};

use super::signature::{Parameters, sign};
use super::{Books, Fault, Faults, NewAuthorization, Protocol, Rule, Running, Sandbox};

/// A sandbox of one's own, and a caller.
struct Bench {
    running: Running,
    http: Client,
}

impl Bench {
    async fn start() -> Self {
        // The only clients here speak plain HTTP, but reqwest wants a TLS provider all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let running = Sandbox::start(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let http = Client::builder().no_proxy().build().expect("a client");
        Self { running, http }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.base_url())
    }

    fn books(&self) -> Books {
        self.running.sandbox().books()
    }

    /// Makes an authorization and returns its reference.
    fn authorize(&self, protocol: Protocol, amount_minor: i64, currency: &str) -> String {
        self.authorize_as(NewAuthorization {
            protocol: Some(protocol),
            amount_minor,
            currency: currency.to_owned(),
            ..NewAuthorization::default()
        })
    }

    fn authorize_as(&self, new: NewAuthorization) -> String {
        self.running.sandbox().authorize(new).expect("a good authorization").reference
    }

    fn arm(&self, rule: Rule) {
        self.running.sandbox().set_faults(Faults { seed: 0, rules: vec![rule] }).expect("a good rule");
    }

    fn arm_once(&self, fault: Fault) {
        self.arm(Rule { times: Some(1), ..Rule::new(fault) });
    }

    /// A signed request to Flitt or Fondy.
    async fn signed(&self, path: &str, mut parameters: Value) -> reqwest::Result<Value> {
        let signature = sign("test", &as_parameters(&parameters)).expect("no lists");
        parameters["signature"] = signature.into();
        self.unsigned(path, parameters).await
    }

    async fn unsigned(&self, path: &str, parameters: Value) -> reqwest::Result<Value> {
        let body = json!({ "request": parameters }).to_string();
        let request = self.http.post(self.url(path)).header("content-type", "application/json").body(body);
        let answer = request.send().await?;
        assert_eq!(answer.status(), 200, "errors come inside 200");
        let text = answer.text().await?;
        let read: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        Ok(read["response"].clone())
    }

    async fn capture(&self, order: &str, amount: i64, currency: &str) -> reqwest::Result<Value> {
        let parameters = json!({
            "version": "1.0.1", "order_id": order, "merchant_id": 1_549_901, "amount": amount, "currency": currency,
        });
        self.signed("/api/capture/order_id", parameters).await
    }

    async fn status(&self, order: &str) -> reqwest::Result<Value> {
        self.signed("/api/status/order_id", json!({ "order_id": order, "merchant_id": 1_549_901 })).await
    }

    /// A bearer token for the Flex Pay test client.
    async fn token(&self) -> String {
        let request = self.http.post(self.url("/api/auth/v1/oauth/token?grant_type=client_credentials"));
        let answer = request.basic_auth("sandbox", Some("sandbox")).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let read: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
        read["access_token"].as_str().expect("a token").to_owned()
    }

    /// Reads a Flex Pay transaction: status and body.
    async fn read(&self, token: &str, id: &str) -> (u16, Value) {
        let request = self.http.get(self.url(&format!("/api/flexpay/v1/transactions/{id}"))).bearer_auth(token);
        answered(request).await.expect("an answer")
    }

    /// Writes to a Flex Pay transaction: status and body.
    async fn write(&self, token: &str, path: &str, key: &str, body: &str) -> reqwest::Result<(u16, Value)> {
        let request = self.http.post(self.url(&format!("/v1/transactions/{path}"))).bearer_auth(token);
        answered(request.header("Idempotency-Key", key).body(body.to_owned())).await
    }
}

async fn answered(request: reqwest::RequestBuilder) -> reqwest::Result<(u16, Value)> {
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let text = answer.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

fn as_parameters(value: &Value) -> Parameters {
    serde_json::from_value(value.clone()).expect("an object")
}
