//! Messages as the shipment side publishes them.

use holdfast::broker::session::Session;
use holdfast::settings::Broker;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation};

use super::order::Message;

/// All of them, confirmed; or an error, and nobody knows which.
pub async fn publish_once(broker: &Broker, messages: &[Message]) -> Result<(), Box<dyn std::error::Error>> {
    let session = Session::open(broker, "test").await?;
    let channel = session.channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    // Together: one at a time would wait for the socket with every message.
    let publishing = messages.iter().map(|message| publish_one(&channel, broker, message));
    let confirming = futures_util::future::try_join_all(publishing);
    let confirmed = tokio::time::timeout(broker.operation_timeout, confirming).await??;
    for confirmation in confirmed {
        match confirmation {
            Confirmation::Ack(None) => {}
            Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => {
                return Err("a message was returned or refused".into());
            }
        }
    }
    session.close(channel).await;
    Ok(())
}

async fn publish_one(channel: &Channel, broker: &Broker, message: &Message) -> lapin::Result<Confirmation> {
    let mut properties = BasicProperties::default().with_delivery_mode(2);
    if let Some(content_type) = &message.content_type {
        properties = properties.with_content_type(content_type.as_str().into());
    }
    if let Some(id) = &message.id {
        properties = properties.with_message_id(id.as_str().into());
    }
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let (exchange, key) = (broker.orders_exchange.as_str().into(), message.routing_key.as_str().into());
    channel.basic_publish(exchange, key, options, &message.body, properties).await?.await
}
