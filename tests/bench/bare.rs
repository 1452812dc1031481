//! The bare loop: consume, call, publish with confirm, acknowledge. A task per message, no ledger.
//!
//! It knows neither whether it has captured a shipment before, nor how much is right, nor what became
//! of a call whose answer got lost. It is what a worker costs that promises nothing.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use holdfast::broker::session::Session;
use holdfast::settings::{Account, FlexPay, FlexPayToken, Protocol, Settings};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// The argument that makes this program the bare loop.
pub const ROLE: &str = "--as-bare-loop";

struct Bare {
    client: reqwest::Client,
    base_url: String,
    token: HeaderValue,
    publishing: Channel,
    exchange: String,
    calls: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    data: Notice,
}

#[derive(Deserialize)]
struct Notice {
    order_id: String,
    shipment_id: String,
    authorization: Authorization,
}

#[derive(Deserialize)]
struct Authorization {
    account: String,
    reference: String,
    currency: String,
    expires_at: String,
}

/// Captures until it is killed.
#[expect(clippy::print_stderr, reason = "whoever measures waits for this line")]
pub async fn run(config: &Path) -> anyhow::Result<()> {
    let settings = Settings::load(Some(config), std::env::vars().filter(|(name, _)| name.starts_with("HOLDFAST_")))?;
    let session = Session::open(&settings.broker, "bare").await?;
    let (consuming, publishing) = (session.channel().await?, session.channel().await?);
    publishing.confirm_select(ConfirmSelectOptions::default()).await?;
    consuming.basic_qos(settings.broker.prefetch, BasicQosOptions::default()).await?;
    let account = settings.accounts.first().context("the settings have one account")?;
    let bare = Bare::connect(account, publishing, settings.broker.payments_exchange).await?;
    let bare = Arc::new(bare);
    let queue = settings.broker.work_queue.as_str().into();
    let mut deliveries =
        consuming.basic_consume(queue, "bare".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    eprintln!(r#"{{"message":"consuming","queue":"{}"}}"#, settings.broker.work_queue);
    while let Some(delivery) = deliveries.next().await {
        let (bare, delivery) = (Arc::clone(&bare), delivery?);
        tokio::spawn(async move {
            if let Err(error) = bare.capture(delivery).await {
                eprintln!("ERROR {error:#}");
            }
        });
    }
    Ok(())
}

impl Bare {
    async fn connect(account: &Account, publishing: Channel, exchange: String) -> anyhow::Result<Self> {
        let Protocol::FlexPay(FlexPay { base_url, token }) = &account.protocol else {
            anyhow::bail!("the account is at Flex Pay")
        };
        let FlexPayToken::Fetched { token_url, client_id, client_secret } = token else {
            anyhow::bail!("the token is fetched")
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .tls_certs_only([])
            .timeout(account.timeout)
            .pool_max_idle_per_host(account.concurrency)
            .build()?;
        let asking = client.post(format!("{token_url}?grant_type=client_credentials"));
        let answer = asking.basic_auth(client_id, Some(client_secret.expose_secret())).send().await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
        let token = answer["access_token"].as_str().context("an answer has a token")?;
        Ok(Self {
            client,
            base_url: base_url.clone(),
            token: format!("Bearer {token}").parse()?,
            publishing,
            exchange,
            calls: Arc::new(Semaphore::new(account.concurrency)),
        })
    }

    async fn capture(&self, delivery: Delivery) -> anyhow::Result<()> {
        let message: Message = serde_json::from_slice(&delivery.data)?;
        let key = Uuid::new_v5(&Uuid::NAMESPACE_OID, message.data.shipment_id.as_bytes()).to_string();
        let reference = &message.data.authorization.reference;
        let body = format!(r#"{{"amount":47.50,"currency":"USD","merchant_reference_id":"{key}"}}"#);
        let answer = {
            let _permit = self.calls.acquire().await?;
            let call = self.client.post(format!("{}/v1/transactions/{reference}/capture", self.base_url));
            let call = call.header(CONTENT_TYPE, "application/json").header("idempotency-key", &key);
            let answer = call.header(AUTHORIZATION, self.token.clone()).body(body).send().await?;
            ensure!(answer.status().is_success(), "the provider answered {}", answer.status());
            answer.bytes().await?
        };
        ensure!(!answer.is_empty(), "the provider answered nothing");
        self.publish(&message, &key).await?;
        delivery.ack(BasicAckOptions::default()).await?;
        Ok(())
    }

    async fn publish(&self, message: &Message, capture: &str) -> anyhow::Result<()> {
        let body = event(message, capture);
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(Uuid::new_v4().to_string().into())
            .with_type("capture.succeeded".into())
            .with_content_type("application/cloudevents+json".into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let exchange = self.exchange.as_str().into();
        let publishing =
            self.publishing.basic_publish(exchange, "capture.succeeded".into(), options, &body, properties);
        ensure!(publishing.await?.await?.is_ack(), "the broker did not take an event");
        Ok(())
    }
}

/// As large as ours.
fn event(message: &Message, capture: &str) -> Vec<u8> {
    let notice = &message.data;
    let event = json!({
        "specversion": "1.0",
        "id": Uuid::new_v4().to_string(),
        "source": "/bare",
        "type": "capture.succeeded",
        "subject": notice.order_id,
        "time": chrono::Utc::now(),
        "datacontenttype": "application/json",
        "data": {
            "order_id": notice.order_id,
            "shipment_id": notice.shipment_id,
            "capture_id": capture,
            "kind": "shipment",
            "generation": 0,
            "account": notice.authorization.account,
            "reference": notice.authorization.reference,
            "currency": notice.authorization.currency,
            "amount": "47.50",
            "capture_amount": "47.50",
            "capture_shipment_ids": [notice.shipment_id],
            "balance": { "authorized": "100.00", "captured": "47.50", "remaining": "52.50", "earned_uncaptured": "0.00" },
            "authorization_expires_at": notice.authorization.expires_at,
            "attempts": 1,
            "resolved_by": "response",
            "provider_reference": capture,
            "caused_by": message.id,
            "sequence": 1,
        },
    });
    event.to_string().into_bytes()
}
