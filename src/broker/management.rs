//! RabbitMQ's management plugin, asked for what AMQP does not show: which bindings there are.
//!
//! Reads, and changes nothing; only where `broker.management_url` is set, and only for `holdfast doctor`.
//! Source: RabbitMQ, "Management HTTP API", `/api/queues/{vhost}/{name}/bindings`.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::AUTHORIZATION;
use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use thiserror::Error;

use super::address::Login;
use super::session::BrokerError;
use crate::settings::Broker;

/// A longer answer is not about one queue of ours.
const ANSWER_MAX: usize = 1024 * 1024;

/// Why the bindings are not known.
#[derive(Debug, Error)]
pub enum ManagementError {
    /// The address of the broker itself cannot be used.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// No answer, or not within the time limit.
    #[error(
        "broker.management_url does not answer ({0}): check the address, and whether the plugin rabbitmq_management is enabled"
    )]
    Unreachable(String),
    /// It does not let us in.
    #[error(
        "broker.management_url answers {0}: give the user of broker.url the tag `management`, and permissions on the virtual host"
    )]
    NotLetIn(u16),
    /// Something else answers there.
    #[error("broker.management_url answers with {0}: check that it is the address of RabbitMQ's management plugin")]
    Unreadable(String),
}

/// What leads to a queue: an exchange and a routing key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bound {
    /// The exchange; empty for the default one.
    #[serde(rename = "source")]
    pub exchange: String,
    /// The routing key, or the pattern for it.
    #[serde(rename = "routing_key")]
    pub key: String,
}

/// Everything that leads to a queue.
///
/// # Errors
/// [`ManagementError`] where it cannot be told.
pub async fn bindings(settings: &Broker, management: &str, queue: &str) -> Result<Vec<Bound>, ManagementError> {
    let login = Login::of(settings)?;
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let url = format!("{management}/api/queues/{}/{}/bindings", encoded(&login.vhost), encoded(queue));
    let unreachable = |error: reqwest::Error| ManagementError::Unreachable(causes(&error.without_url()));
    let client = client(settings).await?.build().map_err(unreachable)?;
    let credentials = format!("{}:{}", login.user, login.password.expose_secret());
    let credentials = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, credentials);
    let request = client.get(url).header(AUTHORIZATION, format!("Basic {credentials}"));
    let mut response = request.send().await.map_err(unreachable)?;
    match response.status().as_u16() {
        200 => {}
        status @ (401 | 403) => return Err(ManagementError::NotLetIn(status)),
        status => return Err(ManagementError::Unreadable(format!("HTTP status {status}"))),
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&part);
        if body.len() > ANSWER_MAX {
            return Err(ManagementError::Unreadable("more than one queue of ours can have".to_owned()));
        }
    }
    serde_json::from_slice(&body)
        .map_err(|_| ManagementError::Unreadable("something that lists no bindings".to_owned()))
}

async fn client(settings: &Broker) -> Result<reqwest::ClientBuilder, ManagementError> {
    // Somebody else may have installed it before; either way there is one now.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.operation_timeout);
    let Some(path) = &settings.ca_file else { return Ok(builder) };
    // Whoever signs the broker's certificate signs its management's, too.
    let unusable = |reason: String| BrokerError::CaFile { path: path.clone(), reason };
    let pem = tokio::fs::read(path).await.map_err(|error| unusable(error.to_string()))?;
    let trusted = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
    Ok(builder.tls_certs_merge(trusted))
}

/// An error with what caused it: the client's own words alone say little.
fn causes(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(words, ", {error}");
        cause = error.source();
    }
    words
}
