//! The contract with those who send and those who listen, as one document: AsyncAPI 3.0
//! (<https://www.asyncapi.com/docs/reference/specification/v3.0.0>) with its bindings for AMQP 0-9-1
//! (<https://github.com/asyncapi/bindings/blob/v3.0.0/amqp/README.md>).
//!
//! Everything in it comes from what the worker itself goes by: names from the settings, keys and queues from the
//! topology, messages from the types that are read and written. It is Holdfast's own side: what it receives, others
//! send. Where the broker is, is not in it.

use serde_json::{Map, Value, json};

use crate::broker::address::Address;
use crate::broker::publisher::{PERSISTENT, ROW_HEADER};
use crate::broker::session::BrokerError;
use crate::broker::topology::{BOUND_KEYS, Queue, Topology};
use crate::broker::{TRACEPARENT_HEADER, TRACESTATE_HEADER};
use crate::capture::event::EventContent;
use crate::message::sender::{KEY_HEADER, Rules, SIGNATURE_HEADER, Signatures};
use crate::message::{CONTENT_TYPE, schema};
use crate::settings::Broker;

/// Of AsyncAPI.
const VERSION: &str = "3.0.0";

/// Of the bindings for AMQP.
const BINDING: &str = "0.3.0";

/// Where every message's schema is, by its name.
const SCHEMAS: &str = "/components/schemas";

/// Schemas of headers.
const NOTICE_HEADERS: &str = "NoticeHeaders";
const PLAIN_HEADERS: &str = "PlainNoticeHeaders";
const EVENT_HEADERS: &str = "EventHeaders";

/// The document for these settings. `source` is the CloudEvents source of what is published.
///
/// # Errors
/// [`BrokerError::Url`], because the virtual host is part of the address.
pub fn document(settings: &Broker, rules: &Rules, source: &str) -> Result<Value, BrokerError> {
    let mut contract = Contract {
        settings,
        rules,
        vhost: Address::vhost(settings)?,
        schemas: schema::components(SCHEMAS),
        examples: schema::examples(source).into_iter().map(|(kind, it)| (kind.to_owned(), it)).collect(),
        messages: Map::new(),
        channels: Map::new(),
        operations: Map::new(),
    };
    for kind in BOUND_KEYS {
        contract.receives(kind);
    }
    for kind in EventContent::KINDS {
        contract.sends(kind);
    }
    for queue in Topology::of(settings).queues {
        contract.has(&queue);
    }
    Ok(contract.written())
}

/// What is written so far.
struct Contract<'a> {
    settings: &'a Broker,
    rules: &'a Rules,
    vhost: String,
    schemas: Map<String, Value>,
    examples: Map<String, Value>,
    messages: Map<String, Value>,
    channels: Map<String, Value>,
    operations: Map<String, Value>,
}

impl Contract<'_> {
    /// A notice that is consumed, in either form.
    fn receives(&mut self, kind: &str) {
        self.notice(kind);
        let mut names = vec![kind.to_owned()];
        // The type of plain JSON is outside of what a signature covers.
        if self.rules.signatures != Signatures::Require {
            let plain = format!("{kind}.plain");
            self.plain_notice(kind, &plain);
            names.push(plain);
        }
        self.channel(kind, &self.settings.orders_exchange, &names);
        let description = "Publish it with the flag mandatory, and wait for the broker's confirm; what came back or was \
                           not confirmed, publish again. Any number of times and in any order is well.";
        let bindings = json!({ "deliveryMode": PERSISTENT, "ack": true, "bindingVersion": BINDING });
        self.operation("receive", kind, &names, description, &bindings);
    }

    /// An event that is published.
    fn sends(&mut self, kind: &str) {
        let message = json!({
            "name": kind,
            "title": kind,
            "summary": self.summary(kind),
            "description": "CloudEvents 1.0 in structured mode. The properties `message_id` and `type` are the event's \
                            `id` and `type`.",
            "contentType": CONTENT_TYPE,
            "headers": in_schemas(EVENT_HEADERS),
            "payload": in_schemas(kind),
            "bindings": { "amqp": { "messageType": kind, "bindingVersion": BINDING } },
            "examples": [{ "name": kind, "payload": self.examples[kind] }],
        });
        self.messages.insert(kind.to_owned(), message);
        let names = [kind.to_owned()];
        self.channel(kind, &self.settings.payments_exchange, &names);
        let description = "At least once, with the same `id` each time: deduplicate by it. Bind a durable queue before \
                           the first: what no queue wants is kept, and is an alarm.";
        let bindings = json!({ "deliveryMode": PERSISTENT, "mandatory": true, "bindingVersion": BINDING });
        self.operation("send", kind, &names, description, &bindings);
    }

    fn notice(&mut self, kind: &str) {
        let message = json!({
            "name": kind,
            "title": kind,
            "summary": self.summary(kind),
            "description": format!("CloudEvents 1.0 in structured mode.{}", self.senders()),
            "contentType": "application/cloudevents+json",
            "headers": in_schemas(NOTICE_HEADERS),
            "payload": in_schemas(kind),
            "examples": [{ "name": kind, "payload": self.examples[kind] }],
        });
        self.messages.insert(kind.to_owned(), message);
    }

    fn plain_notice(&mut self, kind: &str, name: &str) {
        let message = json!({
            "name": name,
            "title": format!("{kind} in plain JSON"),
            "summary": self.summary(kind),
            "description": format!(
                "The event's data alone. Its type is the routing key, its id the property `message_id` or else derived \
                 from the bytes. It cannot be signed.{}",
                self.senders()
            ),
            "contentType": "application/json",
            "headers": in_schemas(PLAIN_HEADERS),
            "payload": { "$ref": self.data(kind) },
            "examples": [{ "name": name, "payload": self.examples[kind]["data"] }],
        });
        self.messages.insert(name.to_owned(), message);
    }

    /// A routing key of an exchange.
    fn channel(&mut self, key: &str, exchange: &str, messages: &[String]) {
        let messages: Map<String, Value> = messages
            .iter()
            .map(|name| (name.clone(), json!({ "$ref": format!("#/components/messages/{name}") })))
            .collect();
        let binding = json!({
            "is": "routingKey",
            "exchange": {
                "name": exchange, "type": "topic", "durable": true, "autoDelete": false, "vhost": self.vhost,
            },
            "bindingVersion": BINDING,
        });
        let channel = json!({ "address": key, "messages": messages, "bindings": { "amqp": binding } });
        self.channels.insert(key.to_owned(), channel);
    }

    /// What is done with a routing key.
    fn operation(&mut self, action: &str, key: &str, messages: &[String], description: &str, bindings: &Value) {
        let messages: Vec<Value> =
            messages.iter().map(|name| json!({ "$ref": format!("#/channels/{key}/messages/{name}") })).collect();
        let operation = json!({
            "action": action,
            "channel": { "$ref": format!("#/channels/{key}") },
            "summary": self.summary(key),
            "description": description,
            "messages": messages,
            "bindings": { "amqp": bindings },
        });
        self.operations.insert(key.to_owned(), operation);
    }

    /// A queue of ours, on which nobody else does anything. The bindings know nothing of its arguments, which are an
    /// extension here.
    fn has(&mut self, queue: &Queue) {
        let (key, description) = if queue.name == self.settings.work_queue {
            ("work_queue", "What Holdfast consumes: bound to the routing keys that it receives.")
        } else {
            ("dead_queue", "What the broker gives up on. Holdfast keeps it as dead letters.")
        };
        let binding = json!({
            "is": "queue",
            "queue": {
                "name": queue.name, "durable": true, "exclusive": false, "autoDelete": false, "vhost": self.vhost,
            },
            "x-arguments": queue.arguments_in_json(),
            "bindingVersion": BINDING,
        });
        let channel = json!({
            "address": queue.name,
            "description": format!("{description} Nobody else takes from it, or puts anything into it."),
            "bindings": { "amqp": binding },
        });
        self.channels.insert(key.to_owned(), channel);
    }

    /// What a message says, in the first sentence of its type.
    fn summary(&self, kind: &str) -> String {
        let name = self.data(kind).rsplit('/').next().unwrap_or_default();
        let description = self.schemas[name]["description"].as_str().expect("every type is described");
        let text = description.split_whitespace().collect::<Vec<_>>().join(" ");
        text.split_inclusive(". ").next().unwrap_or_default().trim_end().to_owned()
    }

    /// Where the schema of a message's data is.
    fn data(&self, kind: &str) -> &str {
        let data = &self.schemas[kind]["properties"]["data"];
        data["allOf"][0]["$ref"].as_str().expect("data is a type of its own")
    }

    fn senders(&self) -> String {
        match self.rules.users.as_slice() {
            [] => String::new(),
            users => format!(" The property `user-id` has to be one of: {}.", users.join(", ")),
        }
    }

    fn written(mut self) -> Value {
        self.schemas.insert(NOTICE_HEADERS.to_owned(), notice_headers(self.rules.signatures));
        self.schemas.insert(EVENT_HEADERS.to_owned(), event_headers());
        if self.rules.signatures != Signatures::Require {
            self.schemas.insert(PLAIN_HEADERS.to_owned(), plain_headers());
        }
        json!({
            "asyncapi": VERSION,
            "info": {
                "title": "Holdfast",
                "version": env!("CARGO_PKG_VERSION"),
                "description": env!("CARGO_PKG_DESCRIPTION"),
                "license": { "name": env!("CARGO_PKG_LICENSE") },
            },
            "defaultContentType": "application/cloudevents+json",
            "channels": self.channels,
            "operations": self.operations,
            "components": { "messages": self.messages, "schemas": self.schemas },
        })
    }
}

fn in_schemas(name: &str) -> Value {
    json!({ "$ref": format!("#{SCHEMAS}/{name}") })
}

fn notice_headers(signatures: Signatures) -> Value {
    let mut headers = plain_headers();
    if signatures != Signatures::Off {
        headers["properties"][KEY_HEADER] =
            json!({ "type": "string", "description": "The name of the signature's key." });
        headers["properties"][SIGNATURE_HEADER] = json!({
            "type": "string", "pattern": "^[0-9a-fA-F]{64}$",
            "description": "HMAC-SHA256 of the body, the very bytes that are sent.",
        });
    }
    match signatures {
        Signatures::Off => {}
        Signatures::Accept => headers["dependencies"] = json!({ SIGNATURE_HEADER: [KEY_HEADER] }),
        Signatures::Require => headers["required"] = json!([KEY_HEADER, SIGNATURE_HEADER]),
    }
    headers
}

fn plain_headers() -> Value {
    json!({
        "type": "object",
        "properties": {
            TRACEPARENT_HEADER: { "type": "string", "description": "W3C trace context; comes back in the events." },
            TRACESTATE_HEADER: { "type": "string", "description": "W3C trace context." },
        },
    })
}

fn event_headers() -> Value {
    json!({
        "type": "object",
        "properties": {
            ROW_HEADER: { "type": "integer", "description": "Holdfast's own: means nothing to anybody else." },
            TRACEPARENT_HEADER: { "type": "string", "description": "W3C trace context, the one in its body: of its publishing where traces are exported, else of the notice that caused it." },
        },
        "required": [ROW_HEADER],
    })
}

#[cfg(test)]
mod tests;
