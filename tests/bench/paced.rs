//! What a shipment takes from its notice to its event while nothing else goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use holdfast::broker::publisher::{PublishOutcome, Publisher};
use holdfast::settings::Settings;
use lapin::Consumer;
use lapin::options::BasicAckOptions;
use tokio::time::MissedTickBehavior;

use crate::asked::Setup;
use crate::load;

/// From the moment before a notice is published to the moment after its event is received, less what the
/// provider was told to take.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// Of the half of the shipments that was fastest, the slowest.
    pub p50: Duration,
    /// Of ninety-nine in a hundred.
    pub p99: Duration,
}

/// Publishes so many shipments a second, one by one, and takes the times.
pub async fn run(settings: &Settings, events: Consumer, setup: &Setup, rate: u32) -> anyhow::Result<Latency> {
    let receiving = tokio::spawn(receive(events, setup.size));
    let publisher = Publisher::spawn(Arc::new(settings.broker.clone()));
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = HashMap::with_capacity(setup.size);
    for (number, notice) in
        load::notices(setup.first, setup.size, &settings.broker.orders_exchange).into_iter().enumerate()
    {
        pace.tick().await;
        published.insert(load::shipment(setup.first, setup.size, number), Instant::now());
        let outcomes = publisher.publish(vec![notice]).await;
        ensure!(outcomes == [PublishOutcome::Published], "a notice was not published");
    }
    publisher.close().await;
    let mut took: Vec<Duration> = receiving
        .await??
        .into_iter()
        .map(|(shipment, at)| Ok(at.duration_since(*published.get(&shipment).context("it was published")?)))
        .collect::<anyhow::Result<_>>()?;
    took.sort_unstable();
    let at =
        |hundredths: usize| took[(took.len() * hundredths / 100).min(took.len() - 1)].saturating_sub(setup.latency);
    Ok(Latency { p50: at(50), p99: at(99) })
}

/// When the event of each shipment came.
async fn receive(mut events: Consumer, size: usize) -> anyhow::Result<HashMap<String, Instant>> {
    let mut came = HashMap::with_capacity(size);
    while came.len() < size {
        let event = events.next().await.context("the broker is there")??;
        let at = Instant::now();
        let body: serde_json::Value = serde_json::from_slice(&event.data)?;
        ensure!(body["type"] == "capture.succeeded", "{} came", body["type"]);
        let shipment = body["data"]["shipment_id"].as_str().context("an event names its shipment")?;
        came.entry(shipment.to_owned()).or_insert(at);
        event.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(came)
}
