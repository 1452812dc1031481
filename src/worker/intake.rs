//! Messages in: decodes a group, accepts it in one transaction, and hands on what it started.
//!
//! A group is what is ready now. It is acknowledged only after its transaction is durable. A message
//! that makes us panic is set aside like any other that cannot be processed; its neighbours are not
//! touched.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::consumer::{Delivered, Intake, IntakeStopped};
use crate::capture::decide::{Command, Reject};
use crate::capture::notice::RawMessage;
use crate::crash;
use crate::dead_letter;
use crate::settings::Broker;
use crate::telemetry::metric;
use crate::telemetry::trace::Span;
use crate::worker::account::Permit;
use crate::worker::executor::Executor;
use crate::worker::gate::{self, Gate};
use crate::worker::{note, spans};

/// A group may always be so large: what does not find a permit then costs less than another sync.
const GROUP_MIN: usize = 32;

/// How long the intake waits for a free permit before it takes a group all the same.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Accepts groups from the work queue.
pub(super) struct WorkIntake {
    executor: Arc<Executor>,
    gate: Arc<Gate>,
    /// Where they come from.
    queue: String,
}

/// Collects what the broker gave up on.
pub(super) struct DeadIntake {
    executor: Arc<Executor>,
    gate: Arc<Gate>,
    /// Where it comes from.
    queue: String,
}

impl WorkIntake {
    /// From the work queue of this broker.
    pub(super) fn new(executor: &Arc<Executor>, gate: &Arc<Gate>, broker: &Broker) -> Arc<Self> {
        let (executor, gate) = (Arc::clone(executor), Arc::clone(gate));
        Arc::new(Self { executor, gate, queue: broker.work_queue.clone() })
    }
}

impl DeadIntake {
    /// From the dead queue of this broker.
    pub(super) fn new(executor: &Arc<Executor>, gate: &Arc<Gate>, broker: &Broker) -> Arc<Self> {
        let (executor, gate) = (Arc::clone(executor), Arc::clone(gate));
        Arc::new(Self { executor, gate, queue: broker.dead_queue.clone() })
    }
}

impl Intake for WorkIntake {
    async fn accept(&self, mut group: Vec<Delivered>) -> Result<(), IntakeStopped> {
        metrics::counter!(metric::DELIVERIES).increment(u64::try_from(group.len()).unwrap_or(u64::MAX));
        crash::point("before-T1");
        let spans = spans::begin_messages(&self.queue, &mut group);
        let rules = self.gate.rules();
        let read = |delivered| gate::command_for(&rules, delivered, dead_letter::command_of);
        take(&self.executor, group, spans, |delivered| &delivered.message, read).await?;
        crash::point("after-T1");
        Ok(())
    }

    /// As many as calls can be started: each is then begun in the transaction that accepts it. While
    /// all accounts are busy, what they have to do next is still accepted, at a walking pace, so that
    /// deadlines get known and what needs no call goes on.
    async fn room(&self) -> usize {
        match tokio::time::timeout(BUSY_PAUSE, self.executor.free_permits()).await {
            Ok(free) => free.max(GROUP_MIN),
            Err(_) => usize::MAX,
        }
    }
}

impl Intake for DeadIntake {
    async fn accept(&self, mut group: Vec<Delivered>) -> Result<(), IntakeStopped> {
        let mut spans = spans::begin_messages(&self.queue, &mut group).into_iter();
        let rules = self.gate.rules();
        let commands = group.into_iter().map(|delivered| gate::collect(&rules, delivered)).collect();
        let executed = self.executor.execute(commands).await.ok_or(IntakeStopped)?;
        for reply in executed {
            let reply = reply.map_err(|_| IntakeStopped)?;
            note::note(&reply);
            if let Some(span) = spans.next() {
                spans::end_message(span, &reply);
            }
        }
        Ok(())
    }
}

/// Accepts messages that were let in before, and starts what they allow to be started.
pub(super) async fn accept(executor: &Arc<Executor>, group: Vec<RawMessage>) -> Result<(), IntakeStopped> {
    take(executor, group, Vec::new(), |raw| raw, dead_letter::command_of).await
}

/// Accepts what comes to a command each, and starts what they allow to be started. `spans` are theirs, or none.
async fn take<M: Clone>(
    executor: &Arc<Executor>,
    group: Vec<M>,
    spans: Vec<Span>,
    raw: impl Fn(&M) -> &RawMessage,
    read: impl Fn(M) -> Command,
) -> Result<(), IntakeStopped> {
    let mut commands = Vec::with_capacity(group.len());
    let mut permits = Vec::with_capacity(group.len());
    for message in &group {
        let (command, permit) = with_permit(executor, read(message.clone()));
        commands.push(command);
        permits.push(permit);
    }
    let replies = executor.execute(commands).await.ok_or(IntakeStopped)?;
    let (mut broken, mut spans) = (Vec::new(), spans.into_iter());
    for ((reply, permit), message) in replies.into_iter().zip(permits).zip(&group) {
        let span = spans.next();
        match reply {
            Ok(reply) => {
                note::note(&reply);
                if let Some(span) = span {
                    executor.waiting.remember(&span, &reply);
                    spans::end_message(span, &reply);
                }
                executor.carry_on(reply, permit);
            }
            Err(error) => broken.push((raw(message).clone(), error.to_string())),
        }
    }
    set_aside(executor, broken).await
}

/// A command with a permit for its account where there is one to be had. Nothing is captured in the
/// transaction that accepts a companion: what it makes ready comes next.
fn with_permit(executor: &Executor, mut command: Command) -> (Command, Option<Permit>) {
    let Command::Accept(arrival) = &mut command else { return (command, None) };
    let account = arrival.notice.authorization.as_ref().map(|facts| &facts.account);
    let permit = account.and_then(|account| executor.try_permit(account));
    arrival.start = permit.is_some();
    (command, permit)
}

/// Messages whose commands broke an invariant become dead letters: nothing is lost, and they can be
/// replayed once the fault is mended.
async fn set_aside(executor: &Executor, broken: Vec<(RawMessage, String)>) -> Result<(), IntakeStopped> {
    if broken.is_empty() {
        return Ok(());
    }
    let reject = |(raw, why): (RawMessage, String)| {
        tracing::error!(error = %why, "a message broke an invariant: a fault of Holdfast's, please report it");
        Command::Reject(Box::new(Reject {
            rejection: dead_letter::broken("a fault of Holdfast's, not of the message"),
            raw,
        }))
    };
    let replies = executor.execute(broken.into_iter().map(reject).collect()).await.ok_or(IntakeStopped)?;
    for reply in replies {
        note::note(&reply.map_err(|_| IntakeStopped)?);
    }
    Ok(())
}
