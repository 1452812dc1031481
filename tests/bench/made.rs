//! What every benchmark of a ledger is made of.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast::capture::notice::RawMessage;
use holdfast::capture::policy::{AccountPolicy, Captures, OnExpiry, Policy};
use holdfast::capture::retry::Jitter;
use holdfast::clock::Moment;
use holdfast::ids::AccountName;
use holdfast::ledger::Environment;
use holdfast::ledger::sqlite::SqliteLedger;
use holdfast::message;
use holdfast::settings::Settings;

/// A ledger with the default settings, and accounts of these names that capture often.
pub fn ledger(path: &Path, accounts: &[&str]) -> anyhow::Result<SqliteLedger> {
    let mut policy: Policy = Settings::load(None, std::iter::empty())?.policy;
    for name in accounts {
        let account = AccountPolicy {
            captures: Captures::Multiple,
            resend_window: Some(Duration::from_mins(15)),
            timeout: Duration::from_secs(30),
            authorization_lifetime: None,
            tells_expiry: true,
            on_expiry: OnExpiry::Void,
            quantum: None,
            minimum: None,
            caps: Vec::new(),
        };
        policy.accounts.insert(AccountName::parse(name)?, account);
    }
    let environment = Environment {
        policy: Arc::new(policy),
        clock: Arc::new(Moment::now),
        jitter: Arc::new(|| Jitter::NONE),
        encode: Arc::new(|event| message::event::encode(event, "/bench").into()),
    };
    Ok(SqliteLedger::open(path, environment)?)
}

/// A message as it comes from the broker.
pub fn raw(body: Bytes) -> RawMessage {
    RawMessage {
        body,
        content_type: Some("application/cloudevents+json".to_owned()),
        message_id: None,
        exchange: "orders".to_owned(),
        routing_key: "order.shipped".to_owned(),
        traceparent: None,
        tracestate: None,
        redelivered: false,
    }
}
