//! From the outbox to an exchange: publishes batches and says of each message whether it is safe with
//! the broker.
//!
//! `Published` is never said wrongly; what is published and not confirmed in time is said to have
//! failed, and the caller publishes it again under the same id. This module keeps nothing: until it
//! answers, the rows are the caller's, and after a failure they still are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};
use uuid::Uuid;

use crate::broker::confirms::{Confirm, Returned, Verdict, settle};
use crate::broker::reconnect::Reconnect;
use crate::broker::session::{BrokerError, Change, Changes, Session, short};
use crate::broker::{TRACEPARENT_HEADER, topology};
use crate::clock;
use crate::crash;
use crate::message::sender::{Claims, KEY_HEADER, SIGNATURE_HEADER};
use crate::settings::Broker;

/// Header with the row of a message: how a message that comes back is told from its neighbours.
pub const ROW_HEADER: &str = "x-holdfast-outbox";

/// AMQP's `delivery_mode` of a message that survives a restart of the broker.
pub(super) const PERSISTENT: u8 = 2;

/// One message to publish.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its row in the outbox; unique within what is published together.
    pub row: i64,
    /// Where to.
    pub exchange: String,
    /// `message_id`: the same each time the same event is published.
    pub event_id: Uuid,
    /// Routing key, and the event's type.
    pub routing_key: String,
    /// The encoded event.
    pub body: Bytes,
    /// Its media type.
    pub content_type: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// What is said of its sender.
    pub claims: Claims,
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker has it, in at least one queue.
    Published,
    /// No queue is bound to its routing key: the broker gave it back.
    Returned,
    /// Not confirmed. The broker may have it all the same.
    Failed(String),
}

/// What a publisher is doing. When the sender is gone, its task is.
#[derive(Debug, Clone)]
pub struct PublisherStatus {
    /// What it is doing.
    pub state: PublisherState,
    /// How many times it has started anew.
    pub generation: u64,
}

/// What a publisher is doing.
#[derive(Debug, Clone)]
pub enum PublisherState {
    /// Connecting, for the first time.
    Connecting,
    /// Takes messages.
    Connected,
    /// Connected, but the broker takes nothing (memory or disk alarm).
    Blocked,
    /// Not connected; trying again.
    Disconnected(Arc<BrokerError>),
    /// Closed, for good.
    Closed,
}

/// A publisher, in a task of its own. Dropping it ends it at once; [`Publisher::close`] in order.
#[derive(Debug)]
pub struct Publisher {
    jobs: mpsc::Sender<Job>,
    status: watch::Receiver<PublisherStatus>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
    batch: usize,
    limit: Duration,
}

/// Messages for the owner of the channel, and where it answers.
#[derive(Debug)]
struct Job {
    messages: Vec<Outgoing>,
    reply: oneshot::Sender<Vec<PublishOutcome>>,
}

impl Publisher {
    /// Starts, and goes on until closed, through every loss of the broker. With
    /// `topology = "declare"` it declares the `payments` exchange at each connection.
    pub fn spawn(settings: Arc<Broker>) -> Self {
        let (status, seen) = watch::channel(PublisherStatus { state: PublisherState::Connecting, generation: 0 });
        let (jobs, queue) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let (batch, limit) = (settings.publish_batch.max(1), settings.operation_timeout);
        let owner = Owner {
            reconnect: Reconnect::new("publish", &settings),
            settings,
            jobs: queue,
            stop: stop.clone(),
            status,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(owner.run()));
        Self { jobs, status: seen, stop, task, batch, limit }
    }

    /// Publishes, and says of each message, in the same order, what became of it. While the broker
    /// is away it waits `broker.operation_timeout` for it, then says `Failed`: the caller keeps its
    /// rows and tries again when it sees fit.
    pub async fn publish(&self, messages: Vec<Outgoing>) -> Vec<PublishOutcome> {
        let mut outcomes = Vec::with_capacity(messages.len());
        let mut rest = messages.into_iter().peekable();
        while rest.peek().is_some() {
            let batch: Vec<_> = rest.by_ref().take(self.batch).collect();
            outcomes.extend(self.publish_batch(batch).await);
        }
        outcomes
    }

    /// What it is doing, now and from now on.
    pub fn status(&self) -> watch::Receiver<PublisherStatus> {
        self.status.clone()
    }

    /// Finishes the batch under way, closes channel and connection.
    pub async fn close(self) {
        self.stop.cancel();
        if let Err(ended) = self.task.await
            && let Ok(panic) = ended.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    async fn publish_batch(&self, messages: Vec<Outgoing>) -> Vec<PublishOutcome> {
        let count = messages.len();
        let failed = |reason: &str| vec![PublishOutcome::Failed(reason.to_owned()); count];
        let mut status = self.status.clone();
        let connected = status.wait_for(|status| matches!(status.state, PublisherState::Connected));
        if tokio::time::timeout(self.limit, connected).await.is_err() {
            return failed(&describe(&self.status.borrow().state));
        }
        let (reply, answer) = oneshot::channel();
        let answered = async {
            self.jobs.send(Job { messages, reply }).await.ok()?;
            answer.await.ok()
        };
        // The owner answers within the limit once it has begun; before, another batch may be ahead.
        match tokio::time::timeout(self.limit.saturating_mul(3), answered).await {
            Ok(Some(outcomes)) => outcomes,
            Ok(None) => failed("the publisher was closed or lost its connection"),
            Err(_) => failed("the publisher did not come to it in time"),
        }
    }
}

fn describe(state: &PublisherState) -> String {
    match state {
        PublisherState::Connecting | PublisherState::Connected => "not connected to RabbitMQ yet".to_owned(),
        PublisherState::Blocked => "RabbitMQ takes nothing for the moment (memory or disk alarm)".to_owned(),
        PublisherState::Disconnected(cause) => cause.to_string(),
        PublisherState::Closed => "the publisher is closed".to_owned(),
    }
}

/// The one task that uses the channel. The client numbers a message and queues its frames under two
/// locks: two tasks on one channel could swap their confirms.
struct Owner {
    settings: Arc<Broker>,
    jobs: mpsc::Receiver<Job>,
    stop: CancellationToken,
    reconnect: Reconnect,
    status: watch::Sender<PublisherStatus>,
}

impl Owner {
    async fn run(mut self) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            self.status.send_modify(|status| status.generation += 1);
            let Err(cause) = self.generation().await else { break };
            let cause = Arc::new(cause);
            self.state(PublisherState::Disconnected(Arc::clone(&cause)));
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.reconnect.pause(&cause) => {}
            }
        }
        self.state(PublisherState::Closed);
    }

    /// One connection from its beginning to its end. `Ok` means closed.
    async fn generation(&mut self) -> Result<(), BrokerError> {
        let stop = self.stop.clone();
        let opening = async {
            let session = Session::open(&self.settings, "publish").await?;
            let changes = session.changes();
            topology::prepare_publishing(&session, &self.settings).await?;
            let channel = session.channel().await?;
            let selecting = channel.confirm_select(ConfirmSelectOptions::default());
            session.limited("asking for confirms", selecting).await?;
            Ok::<_, BrokerError>((session, changes, channel))
        };
        let (session, mut changes, channel) = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            opened = opening => opened?,
        };
        self.reconnect.serving();
        self.state(PublisherState::Connected);
        info!("ready to publish");
        loop {
            tokio::select! {
                biased;
                change = changes.next() => if let Some(cause) = self.note(change) { return Err(cause) },
                job = self.jobs.recv() => match job {
                    // Nobody waits for it any more: it may have been handed in again since.
                    Some(job) if job.reply.is_closed() => {}
                    Some(job) => self.publish(&session, &channel, &mut changes, job).await?,
                    None => break,
                },
                () = stop.cancelled() => break,
            }
        }
        session.close(channel).await;
        Ok(())
    }

    /// Publishes one batch, joins it whole and answers.
    async fn publish(
        &mut self,
        session: &Session,
        channel: &Channel,
        changes: &mut Changes,
        job: Job,
    ) -> Result<(), BrokerError> {
        let Job { messages, reply } = job;
        crash::point("before-publish");
        let confirming = join_all(messages.iter().map(|message| publish_one(session, channel, message)));
        let limited = tokio::time::timeout(self.settings.operation_timeout, confirming);
        let mut lost = None;
        let confirmed = {
            tokio::pin!(limited);
            loop {
                tokio::select! {
                    confirmed = &mut limited => break confirmed,
                    change = changes.next(), if lost.is_none() => lost = self.note(change),
                }
            }
        };
        let Ok(confirmed) = confirmed else {
            let late = session.late("waiting for confirms");
            let failed = PublishOutcome::Failed(late.to_string());
            // An answer that nobody waits for is lost, and the rows are published again.
            let _ = reply.send(vec![failed; messages.len()]);
            self.wait_until_unblocked(changes).await;
            return Err(late);
        };
        crash::point("before-confirm");
        let rows: Vec<i64> = messages.iter().map(|message| message.row).collect();
        let (confirms, broken): (Vec<_>, Vec<_>) = confirmed.into_iter().map(Attempt::split).unzip();
        let outcomes = settle(&rows, &confirms);
        if outcomes.contains(&PublishOutcome::Published) {
            self.reconnect.progress();
        }
        let _ = reply.send(outcomes);
        crash::point("after-confirm");
        broken.into_iter().flatten().next().or(lost).map_or(Ok(()), Err)
    }

    /// After a batch that the broker took in and keeps unread because of an alarm: on a new
    /// connection we would only send it a copy with every attempt.
    async fn wait_until_unblocked(&mut self, changes: &mut Changes) {
        while matches!(self.status.borrow().state, PublisherState::Blocked) {
            tokio::select! {
                change = changes.next() => if self.note(change).is_some() { return },
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Shows what happened to the connection; returns why it is lost, if it is.
    fn note(&self, change: Change) -> Option<BrokerError> {
        match change {
            Change::Blocked => self.state(PublisherState::Blocked),
            Change::Unblocked => self.state(PublisherState::Connected),
            Change::Lost(cause) => return Some(cause),
        }
        None
    }

    fn state(&self, state: PublisherState) {
        self.status.send_modify(|status| status.state = state);
    }
}

/// What came of trying to publish one message.
enum Attempt {
    Answered(Confirm),
    /// It never left; the channel is as good as before.
    Invalid(BrokerError),
    /// The channel is not to be used again.
    Broken(BrokerError),
}

impl Attempt {
    fn split(self) -> (Confirm, Option<BrokerError>) {
        let unknown = |error: &BrokerError| Confirm { verdict: Verdict::Unknown(error.to_string()), returned: None };
        match self {
            Self::Answered(confirm) => (confirm, None),
            Self::Invalid(error) => (unknown(&error), None),
            Self::Broken(error) => (unknown(&error), Some(error)),
        }
    }
}

async fn publish_one(session: &Session, channel: &Channel, message: &Outgoing) -> Attempt {
    let names = short("an exchange name", &message.exchange)
        .and_then(|exchange| Ok((exchange, short("a routing key", &message.routing_key)?, properties(message)?)));
    let (exchange, key, properties) = match names {
        Ok(names) => names,
        Err(error) => return Attempt::Invalid(error),
    };
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let answer = async {
        let confirm = channel.basic_publish(exchange, key, options, &message.body, properties).await?;
        crash::point("after-publish");
        confirm.await
    };
    match answer.await {
        Ok(Confirmation::Ack(returned)) => Attempt::Answered(confirm(Verdict::Ack, returned)),
        Ok(Confirmation::Nack(returned)) => Attempt::Answered(confirm(Verdict::Nack, returned)),
        Ok(Confirmation::NotRequested) => {
            error!("published on a channel without confirms: this is a bug, and going on could lose events");
            std::process::abort()
        }
        Err(source) => Attempt::Broken(session.failed("publishing", source)),
    }
}

fn properties(message: &Outgoing) -> Result<BasicProperties, BrokerError> {
    let mut headers = FieldTable::default();
    headers.insert(ROW_HEADER.into(), AMQPValue::LongLongInt(message.row));
    if let Some(traceparent) = &message.traceparent {
        headers.insert(TRACEPARENT_HEADER.into(), AMQPValue::LongString(LongString::from(traceparent.as_str())));
    }
    for (name, value) in [(SIGNATURE_HEADER, &message.claims.signature), (KEY_HEADER, &message.claims.key)] {
        if let Some(value) = value {
            headers.insert(name.into(), AMQPValue::LongString(LongString::from(value.as_str())));
        }
    }
    let properties = match &message.claims.user {
        Some(user) => BasicProperties::default().with_user_id(short("a user name", user)?),
        None => BasicProperties::default(),
    };
    Ok(properties
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
        .with_message_id(message.event_id.to_string().into())
        .with_type(short("an event type", &message.routing_key)?)
        .with_content_type(short("a content type", &message.content_type)?)
        .with_app_id("holdfast".into())
        .with_timestamp(u64::try_from(clock::now().timestamp()).unwrap_or_default()))
}

fn confirm(verdict: Verdict, returned: Option<BasicReturnMessage>) -> Confirm {
    let row_of = |message: BasicReturnMessage| {
        let headers = message.delivery.properties.headers().as_ref();
        headers.and_then(|headers| headers.inner().get(ROW_HEADER)?.as_long_long_int())
    };
    Confirm { verdict, returned: returned.map(|message| row_of(message).map_or(Returned::Unreadable, Returned::Row)) }
}
