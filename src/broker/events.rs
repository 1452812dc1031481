//! Reads our own events back from the exchange: for the demo and the tests, as a consumer would.

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};

use crate::broker::session::{BrokerError, Session, short};
use crate::broker::topology;
use crate::settings::Broker;

/// A queue of its own bound to the `payments` exchange. It is gone with the connection.
pub struct Events {
    session: Session,
    channel: Channel,
    deliveries: Consumer,
}

/// One event as a consumer sees it.
#[derive(Debug, Clone)]
pub struct ReceivedEvent {
    /// Its type.
    pub routing_key: String,
    /// AMQP `message_id`.
    pub message_id: String,
    /// Its JSON.
    pub body: Vec<u8>,
}

impl Events {
    /// Binds a queue to every event from now on.
    ///
    /// # Errors
    /// [`BrokerError`] where the broker cannot be reached or refuses.
    pub async fn subscribe(settings: &Broker) -> Result<Self, BrokerError> {
        let session = Session::open(settings, "events").await?;
        topology::prepare_publishing(&session, settings).await?;
        let channel = session.channel().await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let declaring = channel.queue_declare("".into(), options, FieldTable::default());
        let queue = session.limited("declaring a queue for events", declaring).await?;
        let exchange = short("an exchange's name", &settings.payments_exchange)?;
        let binding = channel.queue_bind(
            queue.name().clone(),
            exchange,
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        session.limited("binding a queue for events", binding).await?;
        let consuming = channel.basic_consume(
            queue.name().clone(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let deliveries = session.limited("consuming events", consuming).await?;
        Ok(Self { session, channel, deliveries })
    }

    /// The next event; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<ReceivedEvent> {
        let delivery = self.deliveries.next().await?.ok()?;
        let message_id = delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        let event =
            ReceivedEvent { routing_key: delivery.routing_key.to_string(), message_id, body: delivery.data.clone() };
        delivery.ack(BasicAckOptions::default()).await.ok()?;
        Some(event)
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.session.close(self.channel).await;
    }
}
