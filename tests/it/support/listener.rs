//! A consumer of our events, as another team would write one: a durable queue of its own, read
//! through every loss of the broker.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use holdfast::broker::session::Session;
use holdfast::broker::topology;
use holdfast::settings::Broker;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::PATIENCE;

/// How long the broker may take to answer before it is asked anew.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The types that say how a shipment ended.
pub const OUTCOMES: [&str; 3] = ["capture.succeeded", "capture.failed", "capture.unresolved"];

/// The queue that events are read from.
pub fn queue(settings: &Broker) -> String {
    format!("{}.test", settings.payments_exchange)
}

/// One event as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its type.
    pub kind: String,
    /// AMQP `message_id`.
    pub message_id: String,
    /// AMQP `content_type`.
    pub content_type: String,
    /// Its bytes.
    pub body: Vec<u8>,
    /// Its bytes, read.
    pub json: Value,
    /// Its header of that name.
    pub traceparent: Option<String>,
    /// The broker gave it to us before.
    pub redelivered: bool,
}

impl Received {
    /// A field of its data, as a text; empty where it is null.
    pub fn field(&self, name: &str) -> &str {
        self.json["data"][name].as_str().unwrap_or_default()
    }

    /// Does it say how a shipment ended?
    pub fn is_outcome(&self) -> bool {
        OUTCOMES.contains(&self.kind.as_str())
    }

    /// What it is the outcome of: order, shipment, generation.
    pub fn about(&self) -> (String, String, u64) {
        let generation = self.json["data"]["generation"].as_u64().expect("an outcome has a generation");
        (
            self.field("order_id").to_owned(),
            self.field(if self.field("kind") == "fee" { "capture_id" } else { "shipment_id" }).to_owned(),
            generation,
        )
    }
}

/// Everything that was received, in the order of arrival, repetitions included.
pub struct Listener {
    received: Arc<Mutex<Vec<Received>>>,
    counts: watch::Receiver<Counts>,
    _task: AbortOnDropHandle<()>,
}

/// How much was received.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Events, repetitions included.
    pub events: usize,
    /// Different events.
    pub different: usize,
    /// Different things that have had an outcome.
    pub outcomes: usize,
}

/// What was seen before, so that the next event is counted at once.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    outcomes: BTreeSet<(String, String, u64)>,
}

impl Listener {
    /// Binds the queue to every event, and reads it from now on.
    pub async fn start(settings: &Broker) -> Self {
        bind(settings).await.unwrap();
        let (sender, counts) = watch::channel(Counts::default());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (settings, shared) = (settings.clone(), Arc::clone(&received));
        let task = tokio::spawn(async move {
            let mut seen = Seen::default();
            loop {
                let _ = listen(&settings, &shared, &mut seen, &sender).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { received, counts, _task: AbortOnDropHandle::new(task) }
    }

    /// Everything so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Without a crash or an outage, every event is published once. (What the broker repeats by
    /// itself does not count.)
    pub fn assert_none_repeated(&self) {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for event in self.received().into_iter().filter(|event| !event.redelivered) {
            *times.entry(event.message_id).or_default() += 1;
        }
        let repeated = times.values().filter(|times| **times > 1).count();
        assert_eq!(repeated, 0, "of {} events so many were published again", times.len());
    }

    /// Waits until so much was received.
    pub async fn reaches(&self, what: &str, enough: impl FnMut(&Counts) -> bool) {
        let mut counts = self.counts.clone();
        let reached = tokio::time::timeout(PATIENCE, counts.wait_for(enough)).await;
        match reached {
            Ok(counts) => drop(counts.expect("the listener listens")),
            Err(_) => self.give_up(what),
        }
    }

    /// Waits until `look` finds in everything so far what it looks for.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&[Received]) -> Option<T>) -> T {
        let mut counts = self.counts.clone();
        let found = async {
            loop {
                counts.borrow_and_update();
                if let Some(found) = look(&self.received.lock().unwrap()) {
                    return found;
                }
                counts.changed().await.expect("the listener listens");
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| self.give_up(what))
    }

    fn give_up(&self, what: &str) -> ! {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for event in self.received() {
            *kinds.entry(event.kind).or_default() += 1;
        }
        panic!("no {what} within {PATIENCE:?}; received so far: {kinds:?}")
    }
}

async fn bind(settings: &Broker) -> Result<(), Box<dyn std::error::Error>> {
    let session = Session::open(settings, "test").await?;
    topology::prepare_publishing(&session, settings).await?;
    let channel = session.channel().await?;
    let queue = queue(settings);
    channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
    let exchange = settings.payments_exchange.as_str().into();
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.as_str().into(), exchange, "#".into(), options, arguments).await?;
    session.close(channel).await;
    Ok(())
}

async fn listen(
    settings: &Broker,
    received: &Mutex<Vec<Received>>,
    seen: &mut Seen,
    counts: &watch::Sender<Counts>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // A broker that is just starting, or dying, may never answer.
    let session = tokio::time::timeout(ANSWER_MAX, Session::open(settings, "test")).await??;
    let channel = tokio::time::timeout(ANSWER_MAX, session.channel()).await??;
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(queue(settings).as_str().into(), "".into(), options, FieldTable::default());
    let mut deliveries = tokio::time::timeout(ANSWER_MAX, consuming).await??;
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        let text =
            |text: &Option<lapin::types::ShortString>| text.as_ref().map(ToString::to_string).unwrap_or_default();
        let headers = delivery.properties.headers().as_ref();
        let traceparent = headers.and_then(|headers| headers.inner().get("traceparent")?.as_long_string());
        let event = Received {
            traceparent: traceparent.map(ToString::to_string),
            kind: delivery.routing_key.to_string(),
            message_id: text(delivery.properties.message_id()),
            content_type: text(delivery.properties.content_type()),
            json: serde_json::from_slice(&delivery.data).expect("an event is JSON"),
            redelivered: delivery.redelivered,
            body: delivery.data.clone(),
        };
        let is_new = seen.ids.insert(event.message_id.clone());
        let is_outcome = event.is_outcome() && seen.outcomes.insert(event.about());
        received.lock().unwrap().push(event);
        counts.send_modify(|counts| {
            counts.events += 1;
            counts.different += usize::from(is_new);
            counts.outcomes += usize::from(is_outcome);
        });
        tokio::time::timeout(ANSWER_MAX, delivery.ack(BasicAckOptions::default())).await??;
    }
    Ok(())
}
