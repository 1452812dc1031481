//! `holdfast publish`: puts notices on the exchange, mandatory and confirmed.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::broker::address;
use crate::broker::publisher::{Outgoing, PublishOutcome, Publisher};
use crate::capture::notice::RawMessage;
use crate::cli::{Context, Exit, Failure, OrExit};
use crate::ids;
use crate::message;
use crate::message::sender::{self, Claims, Key};
use crate::settings::Settings;

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast publish shipped.json
  holdfast publish notices/*.json --routing-key order.cancelled
  holdfast publish shipped.json --sign shop-2026
  cat shipped.json | holdfast publish -";

/// Put messages on an exchange, one per file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files with one message each; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The exchange; the one that the worker's queue is bound to, unless said otherwise
    #[arg(long, value_name = "NAME")]
    exchange: Option<String>,
    /// The routing key; the event's own type, else order.shipped, unless said otherwise
    #[arg(long, value_name = "KEY")]
    routing_key: Option<String>,
    /// Sign with this key of notices.keys
    #[arg(long, value_name = "KEY")]
    sign: Option<String>,
    /// Publish without looking whether the worker could read it
    #[arg(long)]
    unchecked: bool,
}

/// Publishes every file, and says of each what became of it.
pub(super) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let exchange = args.exchange.unwrap_or_else(|| settings.broker.orders_exchange.clone());
    let sender = Sender::of(&settings, args.sign.as_deref())?;
    let mut outgoing = Vec::with_capacity(args.files.len());
    for (row, path) in (1..).zip(&args.files) {
        let body = read(path).or_exit(Exit::Usage)?;
        let message = outgoing_message(row, &exchange, args.routing_key.as_deref(), body);
        if !args.unchecked {
            check(path, &message)?;
        }
        outgoing.push(Outgoing { claims: sender.claims(&message.body), ..message });
    }
    let publisher = Publisher::spawn(Arc::new(settings.broker));
    let outcomes = publisher.publish(outgoing).await;
    publisher.close().await;
    let mut exit = Exit::Done;
    for (path, outcome) in args.files.iter().zip(outcomes) {
        let path = path.display();
        match outcome {
            PublishOutcome::Published => context.output.line(&format!("published  {path}"))?,
            PublishOutcome::Returned => {
                context.output.line(&format!("unroutable {path}: no queue is bound to {exchange} for its key"))?;
                exit = Exit::Wrong;
            }
            PublishOutcome::Failed(why) => {
                context.output.line(&format!("failed     {path}: {why}"))?;
                exit = Exit::Unreachable;
            }
        }
    }
    Ok(exit)
}

fn read(path: &PathBuf) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body)?;
        return Ok(body);
    }
    std::fs::read(path)
        .map_err(|error| std::io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())))
}

fn outgoing_message(row: i64, exchange: &str, routing_key: Option<&str>, body: Vec<u8>) -> Outgoing {
    let value = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
    let is_cloud_event = value.get("specversion").is_some();
    let own_type = value.get("type").and_then(serde_json::Value::as_str).filter(|_| is_cloud_event);
    let content_type = if is_cloud_event { message::CONTENT_TYPE } else { "application/json" };
    Outgoing {
        row,
        exchange: exchange.to_owned(),
        event_id: event_id(&body),
        routing_key: routing_key.or(own_type).unwrap_or("order.shipped").to_owned(),
        body: Bytes::from(body),
        content_type: content_type.to_owned(),
        traceparent: None,
        claims: Claims::default(),
    }
}

/// Who signs, and as whom.
struct Sender {
    key: Option<Key>,
    /// Ourselves, where it is looked at who sends.
    user: Option<String>,
}

impl Sender {
    fn of(settings: &Settings, id: Option<&str>) -> Result<Self, Failure> {
        let rules = &settings.notices.rules;
        let unknown = |id: &str| {
            let known: Vec<&str> = rules.keys.iter().map(|key| key.id.as_str()).collect();
            let what = format!("there is no key `{id}` in notices.keys, which has: {}", known.join(", "));
            Failure::new(Exit::Usage, what)
        };
        let find = |id: &str| rules.keys.iter().find(|key| key.id == id).cloned().ok_or_else(|| unknown(id));
        let is_asked = !rules.users.is_empty();
        let user = is_asked.then(|| address::user(&settings.broker)).transpose().or_exit(Exit::Usage)?;
        Ok(Self { key: id.map(find).transpose()?, user })
    }

    fn claims(&self, body: &[u8]) -> Claims {
        let signed = self.key.as_ref().map(|key| sender::sign(key, body)).unwrap_or_default();
        Claims { user: self.user.clone(), ..signed }
    }
}

/// The same file is the same message, however often it is published.
fn event_id(body: &[u8]) -> Uuid {
    ids::message_id_of_bytes(body)
}

fn check(path: &std::path::Path, message: &Outgoing) -> Result<(), Failure> {
    let raw = RawMessage {
        body: message.body.clone(),
        content_type: Some(message.content_type.clone()),
        message_id: Some(message.event_id.to_string()),
        exchange: message.exchange.clone(),
        routing_key: message.routing_key.clone(),
        traceparent: None,
        tracestate: None,
        redelivered: false,
    };
    message::decode(&raw).map(drop).map_err(|rejection| {
        let what = format!(
            "{} would be set aside as {}: {} {} (publish it all the same with --unchecked)",
            path.display(),
            rejection.reason.as_str(),
            rejection.path,
            rejection.message
        );
        Failure::new(Exit::Wrong, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_where_its_type_says_unless_somebody_says_otherwise() {
        let event = br#"{"specversion":"1.0","type":"order.cancelled"}"#;
        for (key, body, expected) in [
            (None, &event[..], "order.cancelled"),
            (Some("x"), event, "x"),
            (None, br#"{"type":"order.cancelled"}"#, "order.shipped"),
            (None, b"no JSON", "order.shipped"),
        ] {
            assert_eq!(outgoing_message(1, "orders", key, body.to_vec()).routing_key, expected);
        }
    }
}
