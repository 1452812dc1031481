//! Exchanges, queues and bindings: one description, and what is done with it.
//!
//! Everything correctness hangs on is a queue argument, because policies cannot be set over AMQP.
//! Retry delays are the ledger's business: there are no delay queues here. Arguments of existing
//! queues are compared only by declaring (RabbitMQ does it); looking passively finds what is missing.

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{ErrorKind, ExchangeKind};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::broker::address::Address;
use crate::broker::session::{BrokerError, Session, short};
use crate::settings::{Broker, TopologyMode};

/// What the work queue is bound to on the shipment side's exchange.
pub const BOUND_KEYS: [&str; 3] = ["order.shipped", "order.authorized", "order.cancelled"];

/// How often the broker gives one message back before it puts it aside. From 4.0 on it is RabbitMQ's
/// own default; 3.10 has none. Never -1, which 3.10 takes as "at the first return".
pub const WORK_DELIVERY_LIMIT: i64 = 20;

/// The same for the queue of what was put aside. From 4.0 on the default of 20 would drop messages
/// that nobody could copy for a while.
pub const DEAD_DELIVERY_LIMIT: i64 = 1_000_000;

/// What is wrong with exchanges and queues.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopologyError {
    /// The shipment side's exchange is not there.
    #[error(
        "exchange `{name}` does not exist: it belongs to the shipment side, which declares it; where it never does, set broker.declare_orders = true"
    )]
    OrdersMissing {
        /// Its name.
        name: String,
    },
    /// Something of ours is not there.
    #[error(
        "{kind} `{name}` does not exist: set broker.topology = \"declare\", or import what `holdfast topology --definitions` prints"
    )]
    Missing {
        /// Exchange or queue.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It exists, and is different.
    #[error(
        "{kind} `{name}` exists with other properties ({reason}): delete it, or give ours another name in the settings"
    )]
    Differs {
        /// Exchange or queue.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What RabbitMQ says.
        reason: String,
    },
    /// We may not look or declare.
    #[error(
        "no permission for {kind} `{name}` ({reason}): grant the user the access that is refused there, or set broker.topology = \"none\""
    )]
    Forbidden {
        /// Exchange or queue.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What RabbitMQ says.
        reason: String,
    },
}

/// Everything that has to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Durable topic exchanges.
    pub exchanges: Vec<Exchange>,
    /// Durable quorum queues.
    pub queues: Vec<Queue>,
    /// From an exchange to a queue.
    pub bindings: Vec<Binding>,
}

/// A durable topic exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Ours to declare.
    Ours,
    /// The shipment side's: we look whether it is there.
    Theirs,
}

/// A durable quorum queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Vec<(&'static str, Argument)>,
}

/// The value of a queue argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// From an exchange to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The exchange.
    pub exchange: String,
    /// The routing key.
    pub key: &'static str,
    /// The queue.
    pub queue: String,
}

impl Topology {
    /// What these settings ask for.
    pub fn of(settings: &Broker) -> Self {
        let orders = if settings.declare_orders { Owner::Ours } else { Owner::Theirs };
        let binding =
            |key| Binding { exchange: settings.orders_exchange.clone(), key, queue: settings.work_queue.clone() };
        Self {
            exchanges: vec![
                Exchange { name: settings.payments_exchange.clone(), owner: Owner::Ours },
                Exchange { name: settings.orders_exchange.clone(), owner: orders },
            ],
            queues: vec![Queue::dead(settings), Queue::work(settings)],
            bindings: BOUND_KEYS.into_iter().map(binding).collect(),
        }
    }
}

impl Queue {
    /// No maximum length: a full queue would refuse the shipment side's publishes.
    fn work(settings: &Broker) -> Self {
        let text = |text: &str| Argument::Text(text.to_owned());
        Self {
            name: settings.work_queue.clone(),
            arguments: vec![
                ("x-queue-type", text("quorum")),
                // The default exchange needs no binding that somebody could forget.
                ("x-dead-letter-exchange", text("")),
                ("x-dead-letter-routing-key", text(&settings.dead_queue)),
                ("x-dead-letter-strategy", text("at-least-once")),
                // At-least-once silently becomes at-most-once without it.
                ("x-overflow", text("reject-publish")),
                ("x-delivery-limit", Argument::Number(WORK_DELIVERY_LIMIT)),
            ],
        }
    }

    /// Nothing may leave it but by its consumer: no expiry, no dead-lettering of its own.
    fn dead(settings: &Broker) -> Self {
        Self {
            name: settings.dead_queue.clone(),
            arguments: vec![
                ("x-queue-type", Argument::Text("quorum".to_owned())),
                ("x-delivery-limit", Argument::Number(DEAD_DELIVERY_LIMIT)),
            ],
        }
    }

    pub(super) fn arguments_in_json(&self) -> Map<String, Value> {
        let value = |argument: &Argument| match argument {
            Argument::Text(text) => json!(text),
            Argument::Number(number) => json!(number),
        };
        self.arguments.iter().map(|(name, argument)| ((*name).to_owned(), value(argument))).collect()
    }

    fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in &self.arguments {
            let value = match value {
                Argument::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
                Argument::Number(number) => AMQPValue::LongLongInt(*number),
            };
            table.insert((*name).into(), value);
        }
        table
    }
}

/// Does what `broker.topology` says for a connection that consumes.
///
/// # Errors
/// [`BrokerError::Topology`] where something is missing or different, or the connection's own.
pub async fn prepare(session: &Session, settings: &Broker) -> Result<(), BrokerError> {
    match settings.topology {
        TopologyMode::Declare => declare(session, &Topology::of(settings)).await,
        TopologyMode::Verify => verify(session, &Topology::of(settings)).await,
        TopologyMode::None => Ok(()),
    }
}

/// Does what `broker.topology` says for a connection that only publishes our events: a missing
/// `orders` exchange is no reason to keep them back.
///
/// # Errors
/// As [`prepare`].
pub async fn prepare_publishing(session: &Session, settings: &Broker) -> Result<(), BrokerError> {
    let payments = Exchange { name: settings.payments_exchange.clone(), owner: Owner::Ours };
    match settings.topology {
        TopologyMode::Declare => exchange(session, &payments, false).await,
        TopologyMode::Verify => exchange(session, &payments, true).await,
        TopologyMode::None => Ok(()),
    }
}

/// Declares what is ours, looks for what is not, and binds. Again and again is harmless.
///
/// # Errors
/// As [`prepare`].
pub async fn declare(session: &Session, topology: &Topology) -> Result<(), BrokerError> {
    for queue in &topology.queues {
        self::queue(session, queue, false).await?;
    }
    for exchange in &topology.exchanges {
        self::exchange(session, exchange, exchange.owner == Owner::Theirs).await?;
    }
    for binding in &topology.bindings {
        bind(session, binding).await?;
    }
    Ok(())
}

/// Looks whether everything is there, changing nothing. Needs the `configure` permission from
/// RabbitMQ 4.3 on. Bindings cannot be looked at over AMQP.
///
/// # Errors
/// As [`prepare`].
pub async fn verify(session: &Session, topology: &Topology) -> Result<(), BrokerError> {
    for queue in &topology.queues {
        self::queue(session, queue, true).await?;
    }
    for exchange in &topology.exchanges {
        self::exchange(session, exchange, true).await?;
    }
    Ok(())
}

/// Deletes queues and exchanges, with whatever is in them: for the demo and the tests, which make
/// their own.
///
/// # Errors
/// [`BrokerError::Amqp`] or [`BrokerError::Timeout`].
pub async fn remove(session: Session, settings: &Broker) -> Result<(), BrokerError> {
    let channel = session.channel().await?;
    let topology = Topology::of(settings);
    for queue in &topology.queues {
        let deleting = channel.queue_delete(short("a queue's name", &queue.name)?, QueueDeleteOptions::default());
        session.limited("deleting a queue", deleting).await?;
    }
    for exchange in &topology.exchanges {
        let name = short("an exchange's name", &exchange.name)?;
        session
            .limited("deleting an exchange", channel.exchange_delete(name, ExchangeDeleteOptions::default()))
            .await?;
    }
    session.close(channel).await;
    Ok(())
}

/// The topology as a definitions file, which `rabbitmqctl import_definitions` takes. The shipment
/// side's exchange is in it only where we are to declare it; otherwise it must exist before.
///
/// # Errors
/// [`BrokerError::Url`], because the virtual host is part of the address.
pub fn definitions(settings: &Broker) -> Result<Value, BrokerError> {
    let vhost = Address::vhost(settings)?;
    let topology = Topology::of(settings);
    let ours = topology.exchanges.iter().filter(|exchange| exchange.owner == Owner::Ours);
    let exchanges: Vec<Value> = ours
        .map(|exchange| {
            json!({
                "name": exchange.name, "vhost": vhost, "type": "topic",
                "durable": true, "auto_delete": false, "internal": false, "arguments": {},
            })
        })
        .collect();
    let queues: Vec<Value> = topology.queues.iter().map(|queue| queue_definition(queue, &vhost)).collect();
    let bindings: Vec<Value> = topology
        .bindings
        .iter()
        .map(|binding| {
            json!({
                "source": binding.exchange, "vhost": vhost, "destination": binding.queue,
                "destination_type": "queue", "routing_key": binding.key, "arguments": {},
            })
        })
        .collect();
    Ok(json!({ "exchanges": exchanges, "queues": queues, "bindings": bindings }))
}

fn queue_definition(queue: &Queue, vhost: &str) -> Value {
    let arguments = queue.arguments_in_json();
    json!({ "name": queue.name, "vhost": vhost, "durable": true, "auto_delete": false, "arguments": arguments })
}

pub(super) async fn exchange(session: &Session, exchange: &Exchange, passive: bool) -> Result<(), BrokerError> {
    let name = short("an exchange name", &exchange.name)?;
    let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
    // A refusal closes the channel: each object gets its own.
    let channel = session.channel().await?;
    let declaring = channel.exchange_declare(name, ExchangeKind::Topic, options, FieldTable::default());
    let declared = session.limited("declaring an exchange", declaring).await;
    declared.map_err(|error| {
        let name = exchange.name.clone();
        let missing = match exchange.owner {
            Owner::Ours => TopologyError::Missing { kind: "exchange", name },
            Owner::Theirs => TopologyError::OrdersMissing { name },
        };
        explain(error, "exchange", &exchange.name, missing)
    })
}

pub(super) async fn queue(session: &Session, queue: &Queue, passive: bool) -> Result<lapin::Queue, BrokerError> {
    let name = short("a queue name", &queue.name)?;
    let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
    let channel = session.channel().await?;
    let declaring = channel.queue_declare(name, options, queue.table());
    let declared = session.limited("declaring a queue", declaring).await;
    declared.map_err(|error| {
        let missing = TopologyError::Missing { kind: "queue", name: queue.name.clone() };
        explain(error, "queue", &queue.name, missing)
    })
}

async fn bind(session: &Session, binding: &Binding) -> Result<(), BrokerError> {
    let queue = short("a queue name", &binding.queue)?;
    let exchange = short("an exchange name", &binding.exchange)?;
    let channel = session.channel().await?;
    let binding_to =
        channel.queue_bind(queue, exchange, binding.key.into(), QueueBindOptions::default(), FieldTable::default());
    let bound = session.limited("binding a queue", binding_to).await;
    bound.map_err(|error| {
        let missing = TopologyError::Missing { kind: "queue", name: binding.queue.clone() };
        explain(error, "queue", &binding.queue, missing)
    })
}

/// What a refusal means for this object.
fn explain(error: BrokerError, kind: &'static str, name: &str, missing: TopologyError) -> BrokerError {
    let BrokerError::Amqp { source, .. } = &error else { return error };
    let ErrorKind::ProtocolError(protocol) = source.kind() else { return error };
    let (name, reason) = (name.to_owned(), protocol.get_message().to_string());
    let explained = match protocol.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => missing,
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => TopologyError::Differs { kind, name, reason },
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => TopologyError::Forbidden { kind, name, reason },
        AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => return error,
    };
    explained.into()
}
