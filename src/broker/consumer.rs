//! From a queue to the worker: takes what is ready as one group, hands it over, and acknowledges it
//! once it is committed.
//!
//! Nothing is acknowledged that was not committed; everything else comes again. This module does not
//! look into bodies, does not retry a group by itself and does not know what the worker does with it.

use std::future::{pending, ready};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Consumer as Deliveries};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::broker::reconnect::Reconnect;
use crate::broker::session::{BrokerError, Change, Changes, Session, short};
use crate::broker::{TRACEPARENT_HEADER, TRACESTATE_HEADER, topology};
use crate::capture::notice::RawMessage;
use crate::crash;
use crate::message::sender::{Claims, KEY_HEADER, SIGNATURE_HEADER};
use crate::mutant::{self, Mutant};
use crate::settings::Broker;
use crate::telemetry::trace;

/// The worker's side of consuming.
pub trait Intake: Send + Sync + 'static {
    /// Commits the whole group, in the order given. Returns `Ok` only when every message of it is
    /// safe on disk, because the broker forgets them then.
    ///
    /// An error gives everything that is buffered back to the broker, which counts it against each
    /// message's delivery limit ([`topology::WORK_DELIVERY_LIMIT`]). A ledger that is away for a while
    /// is therefore waited for here, and consuming paused, before an error is returned.
    fn accept(&self, group: Vec<Delivered>) -> impl Future<Output = Result<(), IntakeStopped>> + Send;

    /// How many messages the next group may have, at least one: what comes ahead of its time waits
    /// better in the queue. May take a moment, to wait for more room.
    fn room(&self) -> impl Future<Output = usize> + Send {
        ready(usize::MAX)
    }
}

/// A message, and what it says of its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The message, as it is kept.
    pub message: RawMessage,
    /// What came beside it, and is looked at once.
    pub claims: Claims,
}

/// The group was not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the worker did not commit what was delivered; the broker will deliver it again")]
pub struct IntakeStopped;

/// Which queue is consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The work queue.
    Work,
    /// What the broker gave up on.
    Dead,
}

impl Source {
    const fn purpose(self) -> &'static str {
        match self {
            Self::Work => "consume",
            Self::Dead => "consume-dead",
        }
    }

    fn queue(self, settings: &Broker) -> &str {
        match self {
            Self::Work => &settings.work_queue,
            Self::Dead => &settings.dead_queue,
        }
    }
}

/// What a consumer is doing, and did. When the sender is gone, its task is.
#[derive(Debug, Clone)]
pub struct ConsumerStatus {
    /// What it is doing.
    pub state: ConsumerState,
    /// How many times it has started anew.
    pub generation: u64,
    /// Deliveries committed and acknowledged.
    pub acknowledged: u64,
    /// Deliveries committed whose acknowledgement was lost; they come again.
    pub acks_lost: u64,
}

/// What a consumer is doing.
#[derive(Debug, Clone)]
pub enum ConsumerState {
    /// Connecting, before the first delivery can come.
    Connecting,
    /// Deliveries come.
    Consuming,
    /// Connected, and not consuming because the worker asked for it.
    Paused,
    /// Not connected; trying again.
    Disconnected(Arc<BrokerError>),
    /// Drained, for good.
    Drained,
}

/// A consumer, in a task of its own. Dropping it ends it at once: what was not acknowledged comes
/// again. [`Consumer::drain`] ends it in order.
#[derive(Debug)]
pub struct Consumer {
    status: watch::Receiver<ConsumerStatus>,
    drain: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Consumer {
    /// Starts consuming, and goes on until drained, through every loss of the broker. While `paused`
    /// holds `true` nothing is consumed.
    pub fn spawn<I: Intake>(
        settings: Arc<Broker>,
        source: Source,
        intake: Arc<I>,
        paused: watch::Receiver<bool>,
    ) -> Self {
        let (status, seen) = watch::channel(ConsumerStatus {
            state: ConsumerState::Connecting,
            generation: 0,
            acknowledged: 0,
            acks_lost: 0,
        });
        let drain = CancellationToken::new();
        let supervisor = Supervisor {
            reconnect: Reconnect::new(source.purpose(), &settings),
            settings,
            source,
            intake,
            paused,
            drain: drain.clone(),
            status,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(supervisor.run()));
        Self { status: seen, drain, task }
    }

    /// What it is doing, now and from now on.
    pub fn status(&self) -> watch::Receiver<ConsumerStatus> {
        self.status.clone()
    }

    /// Stops consuming, commits and acknowledges what is buffered, closes channel and connection.
    /// Takes as long as [`Intake::accept`] takes, and the time limits of the broker's answers.
    pub async fn drain(self) {
        self.drain.cancel();
        if let Err(ended) = self.task.await
            && let Ok(panic) = ended.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Why deliveries stopped in good order.
enum Stopped {
    Paused,
    Draining,
}

struct Supervisor<I> {
    settings: Arc<Broker>,
    source: Source,
    intake: Arc<I>,
    paused: watch::Receiver<bool>,
    drain: CancellationToken,
    reconnect: Reconnect,
    status: watch::Sender<ConsumerStatus>,
}

impl<I: Intake> Supervisor<I> {
    async fn run(mut self) {
        let drain = self.drain.clone();
        while !drain.is_cancelled() {
            self.status.send_modify(|status| status.generation += 1);
            let Err(cause) = self.generation().await else { break };
            let cause = Arc::new(cause);
            self.state(ConsumerState::Disconnected(Arc::clone(&cause)));
            tokio::select! {
                () = drain.cancelled() => {}
                () = self.reconnect.pause(&cause) => {}
            }
        }
        self.state(ConsumerState::Drained);
    }

    /// One connection from its beginning to its end. A delivery belongs to it and can be
    /// acknowledged only through it. `Ok` means drained.
    async fn generation(&mut self) -> Result<(), BrokerError> {
        let drain = self.drain.clone();
        let opening = async {
            let session = Session::open(&self.settings, self.source.purpose()).await?;
            let changes = session.changes();
            topology::prepare(&session, &self.settings).await?;
            let channel = session.channel().await?;
            // Per consumer: `global` is not for quorum queues, and zero would be no limit at all.
            let prefetch = channel.basic_qos(self.settings.prefetch.max(1), BasicQosOptions { global: false });
            session.limited("setting the prefetch", prefetch).await?;
            Ok::<_, BrokerError>((session, changes, channel))
        };
        let (session, mut changes, channel) = tokio::select! {
            () = drain.cancelled() => return Ok(()),
            opened = opening => opened?,
        };
        loop {
            if let Stopped::Draining = self.while_paused(&mut changes).await? {
                break;
            }
            if let Stopped::Draining = self.consume(&session, &channel).await? {
                break;
            }
        }
        session.close(channel).await;
        Ok(())
    }

    /// Waits until the worker wants deliveries. `Stopped::Paused` means: no longer.
    async fn while_paused(&mut self, changes: &mut Changes) -> Result<Stopped, BrokerError> {
        while !self.drain.is_cancelled() && *self.paused.borrow_and_update() {
            self.state(ConsumerState::Paused);
            self.reconnect.serving();
            tokio::select! {
                () = self.drain.cancelled() => {}
                change = changes.next() => if let Change::Lost(cause) = change { return Err(cause) },
                // With the sender gone the last word stands.
                () = async { if self.paused.changed().await.is_err() { pending().await } } => {}
            }
        }
        Ok(if self.drain.is_cancelled() { Stopped::Draining } else { Stopped::Paused })
    }

    /// Consumes until told to stop. One consumer at a time on this channel, because acknowledging
    /// `multiple` covers everything that was delivered on it.
    async fn consume(&mut self, session: &Session, channel: &Channel) -> Result<Stopped, BrokerError> {
        let queue = short("a queue name", self.source.queue(&self.settings))?;
        let tag = short("a consumer tag", &format!("holdfast-{}", std::process::id()))?;
        let consuming =
            channel.basic_consume(queue, tag.clone(), BasicConsumeOptions::default(), FieldTable::default());
        let mut deliveries = session.limited("starting to consume", consuming).await?;
        self.reconnect.serving();
        self.state(ConsumerState::Consuming);
        info!(queue = self.source.queue(&self.settings), "consuming");
        let drain = self.drain.clone();
        let mut paused = self.paused.clone();
        let stopped = loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => break Stopped::Draining,
                () = until_paused(&mut paused) => break Stopped::Paused,
                next = deliveries.next() => {
                    let first = delivered(session, next)?;
                    let room = self.intake.room().await;
                    let group = self.ready(session, first, &mut deliveries, room)?;
                    self.commit(session, group).await?;
                }
            }
        };
        let cancelling = channel.basic_cancel(tag, BasicCancelOptions::default());
        session.limited("cancelling the consumer", cancelling).await?;
        // What was buffered comes out before the end; it is ours, so it is committed too.
        let mut rest = Vec::new();
        while let Some(next) = session.limited("emptying the buffer", async { Ok(deliveries.next().await) }).await? {
            rest.push(delivered(session, Some(next))?);
        }
        self.commit(session, rest).await?;
        Ok(stopped)
    }

    /// The first delivery and those that are here already, as far as there is room. An idle worker never waits for company.
    fn ready(
        &self,
        session: &Session,
        first: Delivery,
        deliveries: &mut Deliveries,
        room: usize,
    ) -> Result<Vec<Delivery>, BrokerError> {
        let mut group = vec![first];
        while group.len() < room.min(usize::from(self.settings.prefetch))
            && let Some(next) = deliveries.next().now_or_never()
        {
            group.push(delivered(session, next)?);
        }
        Ok(group)
    }

    /// Hands the group over and acknowledges it: with one `multiple`, which covers exactly this
    /// group, because all before it are acknowledged and none after it was taken.
    async fn commit(&mut self, session: &Session, group: Vec<Delivery>) -> Result<(), BrokerError> {
        let Some(last) = group.last() else { return Ok(()) };
        let acker = last.acker.clone();
        let deliveries = group.len();
        let messages = group.into_iter().map(|delivery| taken(delivery, self.source)).collect();
        if mutant::on(Mutant::AckEarly) {
            session.limited("acknowledging", acker.ack(BasicAckOptions { multiple: true })).await?;
            return Ok(self.intake.accept(messages).await?);
        }
        self.intake.accept(messages).await?;
        crash::point("before-ack");
        let acknowledging = acker.ack(BasicAckOptions { multiple: true });
        let acknowledged = session.limited("acknowledging", acknowledging).await;
        crash::point("after-ack");
        let count = u64::try_from(deliveries).unwrap_or(u64::MAX);
        if let Ok(true) = acknowledged {
            self.reconnect.progress();
            self.status.send_modify(|status| status.acknowledged += count);
            return Ok(());
        }
        // The client answers `false` for an acknowledgement it could not send.
        self.status.send_modify(|status| status.acks_lost += count);
        warn!(deliveries, "an acknowledgement was lost; these deliveries will come again");
        Err(BrokerError::AckLost { deliveries })
    }

    fn state(&self, state: ConsumerState) {
        self.status.send_modify(|status| status.state = state);
    }
}

/// The end of the stream that nobody asked for is a failure: a deleted queue or a consumer timeout
/// arrives like that.
fn delivered(session: &Session, next: Option<lapin::Result<Delivery>>) -> Result<Delivery, BrokerError> {
    match next {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(source)) => Err(session.failed("consuming", source)),
        None => Err(BrokerError::ConsumerEnded { address: session.address().clone() }),
    }
}

async fn until_paused(paused: &mut watch::Receiver<bool>) {
    if paused.wait_for(|paused| *paused).await.is_err() {
        // With the sender gone the last word stands.
        pending::<()>().await;
    }
}

fn taken(delivery: Delivery, source: Source) -> Delivered {
    let claims = claims(&delivery.properties);
    Delivered { message: raw(delivery, source), claims }
}

fn claims(properties: &BasicProperties) -> Claims {
    // One of another type is no text that anything is equal to, and is not overlooked.
    let header = |name: &str| {
        let value = properties.headers().as_ref().and_then(|headers| headers.inner().get(name));
        value.map(|value| text(value).unwrap_or_default())
    };
    Claims {
        signature: header(SIGNATURE_HEADER),
        key: header(KEY_HEADER),
        user: properties.user_id().as_ref().map(ToString::to_string),
    }
}

fn raw(delivery: Delivery, source: Source) -> RawMessage {
    let properties = &delivery.properties;
    let header = |name: &str| properties.headers().as_ref().and_then(|headers| headers.inner().get(name));
    let origin = match source {
        Source::Work => None,
        Source::Dead => header("x-death").and_then(origin_of_death),
    };
    let (exchange, routing_key) =
        origin.unwrap_or_else(|| (delivery.exchange.to_string(), delivery.routing_key.to_string()));
    let (traceparent, tracestate) = trace::taken(word(header(TRACEPARENT_HEADER)), word(header(TRACESTATE_HEADER)));
    RawMessage {
        content_type: properties.content_type().as_ref().map(ToString::to_string),
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        traceparent,
        tracestate,
        exchange,
        routing_key,
        redelivered: delivery.redelivered,
        body: Bytes::from(delivery.data),
    }
}

/// Where a message was published before the broker put it aside: the newest entry of `x-death`
/// (<https://www.rabbitmq.com/docs/dlx#effects>). Its delivery only names the queue it was put into.
fn origin_of_death(deaths: &AMQPValue) -> Option<(String, String)> {
    let newest = deaths.as_array()?.as_slice().first()?.as_field_table()?.inner();
    let exchange = text(newest.get("exchange")?)?;
    let key = text(newest.get("routing-keys")?.as_array()?.as_slice().first()?)?;
    Some((exchange, key))
}

fn text(value: &AMQPValue) -> Option<String> {
    word(Some(value)).map(str::to_owned)
}

fn word(value: Option<&AMQPValue>) -> Option<&str> {
    std::str::from_utf8(value?.as_long_string()?.as_bytes()).ok()
}
