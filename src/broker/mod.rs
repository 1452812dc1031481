//! Steps 1 and 7, delivery in and publish out: the only code that knows AMQP.
//!
//! Consuming and publishing have a connection and a supervisor each, so that trouble with one never
//! stops the other. Nothing here decides about money, keeps state across a restart or reads a body.

/// Where the broker is.
pub mod address;

/// From an address to an open connection.
mod dial;

/// One connection, and its time limits.
pub mod session;

/// How long to wait before the next.
mod reconnect;

/// Exchanges, queues and bindings.
pub mod topology;

/// The contract with producers and consumers, as a document.
pub mod asyncapi;

/// A live broker, looked at.
pub mod inspect;

/// What the broker's management knows, and AMQP does not show.
pub mod management;

/// From a queue to the worker.
pub mod consumer;

/// From the outbox to an exchange.
pub mod publisher;

/// Which messages of a batch count as published.
mod confirms;
/// Our own events, as a consumer sees them.
pub mod events;

/// A private RabbitMQ for the demo and the tests.
pub mod local_node;

/// The headers of W3C trace context, in either direction.
const TRACEPARENT_HEADER: &str = "traceparent";
const TRACESTATE_HEADER: &str = "tracestate";
