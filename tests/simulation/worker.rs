//! A worker's loops in miniature: intake, executor and watch; the relay has its own file.
//! Everything in [`Worker`] is lost when it crashes.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use holdfast::capture::decide::{
    Call, Command, Due, Evidence, Expire, Freeze, Learn, Note, Ready, Reply, Settle, Ticket,
};
use holdfast::capture::evidence::{Answer, Reading};
use holdfast::ids::AccountName;
use holdfast::ledger::{Executed, LedgerError, OutboxRow};
use rand::Rng;

use crate::at_rest;
use crate::invariants;
use crate::mutant::Mutant;
use crate::network;
use crate::scenario::Message;
use crate::world::{Check, World};

/// Provider calls under way at the same time, per account.
const PERMITS: usize = 3;
/// Commands in one group.
const GROUP_MAX: usize = 4;
/// Deliveries that are not acknowledged.
const PREFETCH: usize = 6;

/// What a worker holds in memory.
#[derive(Default)]
pub struct Worker {
    /// Tells it from all others, those before it included.
    pub name: u32,
    /// It stands still.
    pub asleep_until: Option<Duration>,
    inbox: Vec<(u64, Rc<Message>)>,
    to_acknowledge: Vec<(u64, Rc<Message>)>,
    /// Bodies of kept notices that are looked at again.
    again: Vec<bytes::Bytes>,
    ready: BTreeMap<(u8, i64), Ready>,
    /// Provider calls with a permit.
    pub jobs: Vec<Job>,
    /// Events to publish.
    pub to_publish: VecDeque<OutboxRow>,
    /// Rows that were published, to be marked.
    pub to_mark: Vec<i64>,
}

/// One provider call.
#[derive(Debug, Clone)]
pub struct Job {
    /// Tells it from all others.
    pub id: u64,
    /// What to call.
    pub ticket: Ticket,
    /// How far it is.
    pub stage: Stage,
}

/// How far a provider call is.
#[derive(Debug, Clone)]
pub enum Stage {
    /// It may be made.
    Permitted,
    /// The request is out.
    Sent {
        /// When waiting for the answer ends.
        gives_up_at: Duration,
    },
    /// It came to something.
    Answered(Outcome),
}

/// What a provider call came to.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A capture request.
    Answer(Answer),
    /// A read.
    Reading(Reading),
}

/// What a worker can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Take a delivery.
    Deliver,
    /// Execute what was delivered, as one group.
    Accept,
    /// Acknowledge what was executed.
    Acknowledge,
    /// Accept a kept notice again.
    AcceptAgain,
    /// Begin what is ready.
    Begin,
    /// Look for due work.
    Watch,
    /// Make a call that may be made.
    Send,
    /// Give up waiting for an answer.
    GiveUp,
    /// Settle what came to something, as one group.
    Settle,
    /// Look for events that are not published.
    Collect,
    /// Publish an event.
    Publish,
    /// Mark events as published.
    Mark,
    /// Look into what others had begun who are gone.
    TakeOver,
    /// Go on, because everything was read after a restore from a backup.
    LetGo,
}

impl Worker {
    /// One that has nothing yet.
    pub fn named(name: u32) -> Self {
        Self { name, ..Self::default() }
    }

    /// Deliveries that it has not acknowledged.
    pub fn unacknowledged(&self) -> impl Iterator<Item = u64> + use<> {
        let tags: Vec<u64> = self.inbox.iter().chain(&self.to_acknowledge).map(|(tag, _)| *tag).collect();
        tags.into_iter()
    }

    /// Nothing left to do in memory?
    pub fn is_idle(&self) -> bool {
        let Self { name: _, asleep_until: _, inbox, to_acknowledge, again, ready, jobs, to_publish, to_mark } = self;
        inbox.is_empty()
            && to_acknowledge.is_empty()
            && again.is_empty()
            && ready.is_empty()
            && jobs.is_empty()
            && to_publish.is_empty()
            && to_mark.is_empty()
    }
}

impl World {
    /// What the worker that acts can do now, where so much is due.
    pub fn acts_of_one(&self, due: &[Ready]) -> impl Iterator<Item = Act> + use<> {
        let worker = &*self.crew;
        let unacknowledged = worker.inbox.len() + worker.to_acknowledge.len();
        let elapsed = self.clock.elapsed();
        let can = [
            (Act::Deliver, self.broker.has_ready() && unacknowledged < PREFETCH),
            (Act::Accept, !worker.inbox.is_empty()),
            (Act::Acknowledge, !worker.to_acknowledge.is_empty()),
            (Act::AcceptAgain, !worker.again.is_empty()),
            (Act::Begin, worker.ready.values().any(|ready| self.permits(ready) > 0)),
            (Act::Watch, due.iter().any(|due| !worker.ready.contains_key(&ready_key(due)))),
            (Act::Send, worker.jobs.iter().any(|job| matches!(job.stage, Stage::Permitted))),
            (Act::GiveUp, worker.jobs.iter().any(|job| job.is_overdue(elapsed))),
            (Act::Settle, worker.jobs.iter().any(|job| matches!(job.stage, Stage::Answered(_)))),
            (Act::Collect, worker.to_publish.is_empty() && worker.to_mark.is_empty() && self.has_unpublished()),
            (Act::Publish, !worker.to_publish.is_empty()),
            (Act::Mark, !worker.to_mark.is_empty()),
            (Act::TakeOver, self.crew.is_anybody_gone(elapsed)),
            (Act::LetGo, self.is_everything_read()),
        ];
        can.into_iter().filter_map(|(act, can)| can.then_some(act))
    }

    /// Has a worker do one thing.
    pub fn act(&mut self, (index, act): (usize, Act)) -> Check {
        self.crew.let_act(index);
        match act {
            Act::Deliver => self.deliver(),
            Act::Accept => self.accept(),
            Act::Acknowledge => self.acknowledge(),
            Act::AcceptAgain => self.accept_again(),
            Act::Begin => self.begin(),
            Act::Watch => {
                self.watch();
                Ok(())
            }
            Act::Send => {
                let permitted = |job: &Job| matches!(job.stage, Stage::Permitted);
                let index = self.crew.jobs.iter().position(permitted).expect("it can be done");
                let mut job = self.crew.jobs.remove(index);
                self.send(&mut job)?;
                self.crew.jobs.push(job);
                Ok(())
            }
            Act::GiveUp => {
                let elapsed = self.clock.elapsed();
                let mut jobs = std::mem::take(&mut self.crew.jobs);
                jobs.iter_mut().filter(|job| job.is_overdue(elapsed)).for_each(Job::give_up);
                self.crew.jobs = jobs;
                Ok(())
            }
            Act::Settle => self.settle_some(),
            Act::Collect => {
                self.collect();
                Ok(())
            }
            Act::Publish => self.publish(),
            Act::Mark => self.mark(),
            Act::TakeOver => self.take_over(),
            Act::LetGo => {
                self.let_go();
                Ok(())
            }
        }
    }

    // Intake.

    fn deliver(&mut self) -> Check {
        let (tag, message) = self.broker.deliver(&mut self.rng);
        self.crew.inbox.push((tag, Rc::clone(&message)));
        if self.mutant == Some(Mutant::AcknowledgesFirst) {
            return at_rest::acknowledged(&self.ledger.tables(), &message);
        }
        Ok(())
    }

    fn accept(&mut self) -> Check {
        let size = self.rng.random_range(1..=GROUP_MAX.min(self.crew.inbox.len()));
        let taken: Vec<(u64, Rc<Message>)> = self.crew.inbox.drain(..size).collect();
        let mut begun = BTreeMap::new();
        let mut commands = Vec::new();
        for (_, message) in &taken {
            let start = message.account().is_some_and(|account| self.take_permit(account, &mut begun));
            commands.push(message.command(start));
        }
        self.run(commands)?;
        self.crew.to_acknowledge.extend(taken);
        Ok(())
    }

    /// What the broker has given to somebody else meanwhile cannot be acknowledged any more.
    fn acknowledge(&mut self) -> Check {
        for (tag, _) in std::mem::take(&mut self.crew.to_acknowledge) {
            if let Some(message) = self.broker.acknowledge(tag) {
                at_rest::acknowledged(&self.ledger.tables(), &message)?;
                self.acknowledged.push(message);
            }
        }
        Ok(())
    }

    fn accept_again(&mut self) -> Check {
        let body = self.crew.again.remove(0);
        let command = self.messages[&body].command(false);
        self.run(vec![command])
    }

    // Executor.

    fn permits(&self, ready: &Ready) -> usize {
        match ready.due {
            Due::Shipment(_) | Due::Kept(_) | Due::Order(_) | Due::Warning(_) => 1,
            Due::Capture(_) | Due::Authorization(_) | Due::Ask(_) => self.free_permits(&ready.account),
        }
    }

    fn free_permits(&self, account: &AccountName) -> usize {
        let used = self.crew.jobs.iter().filter(|job| job.ticket.account == *account).count();
        PERMITS.saturating_sub(used)
    }

    fn take_permit(&self, account: &AccountName, taken: &mut BTreeMap<AccountName, usize>) -> bool {
        let taken = taken.entry(account.clone()).or_default();
        let is_free = *taken < self.free_permits(account) && self.restoring.is_none();
        *taken += usize::from(is_free);
        is_free
    }

    fn begin(&mut self) -> Check {
        let mut taken = BTreeMap::new();
        let mut waiting: Vec<_> = std::mem::take(&mut self.crew.ready).into_iter().collect();
        waiting.sort_by_key(|(_, ready)| ready.deadline);
        let mut commands = Vec::new();
        for (key, ready) in waiting {
            let needs_none = matches!(ready.due, Due::Shipment(_) | Due::Kept(_) | Due::Order(_) | Due::Warning(_));
            // What is read because of a restore is not held back by it.
            let is_free = needs_none || self.restoring.is_some() || self.take_permit(&ready.account, &mut taken);
            if is_free && commands.len() < GROUP_MAX {
                commands.push(Command::Due(ready.due));
            } else {
                self.crew.ready.insert(key, ready);
            }
        }
        self.run(commands)
    }

    fn settle_some(&mut self) -> Check {
        let size = self.rng.random_range(1..=GROUP_MAX);
        let mut settled = Vec::new();
        let jobs = std::mem::take(&mut self.crew.jobs);
        for job in jobs {
            if settled.len() < size && matches!(job.stage, Stage::Answered(_)) {
                settled.push(job);
            } else {
                self.crew.jobs.push(job);
            }
        }
        let start = self.rng.random_ratio(3, 4) && self.restoring.is_none();
        let commands = settled.iter().map(|job| settle_command(job, start)).collect();
        self.run(commands)
    }

    /// Settles what a worker that was believed to be gone has found out.
    pub fn settle_ghost(&mut self, job: &Job) -> Check {
        self.run(vec![settle_command(job, false)])
    }

    // Watch.

    fn watch(&mut self) {
        for ready in self.due_now().iter() {
            self.enqueue(ready.clone());
        }
    }

    fn enqueue(&mut self, ready: Ready) {
        if !self.is_held_back(&ready) {
            self.crew.ready.insert(ready_key(&ready), ready);
        }
    }

    // All of them.

    /// Executes a group, and hands on what comes of it.
    pub fn run(&mut self, commands: Vec<Command>) -> Check {
        if commands.is_empty() {
            return Ok(());
        }
        let (stale, fresh): (Vec<_>, Vec<_>) =
            commands.into_iter().partition(|command| invariants::is_stale_negative(&self.ledger.tables(), command));
        for command in stale {
            self.stale += 1;
            let before = invariants::trace(&self.ledger.tables(), &command);
            self.execute(std::slice::from_ref(&command))?;
            if before != invariants::trace(&self.ledger.tables(), &command) {
                return Err(format!("S11: an old epoch changed something: {command:?}"));
            }
        }
        if fresh.is_empty() { Ok(()) } else { self.execute(&fresh) }
    }

    fn execute(&mut self, commands: &[Command]) -> Check {
        self.log(|| format!("  {commands:?}"));
        self.has_changed();
        let executed: Result<Executed, LedgerError> = self.ledger.execute_now(commands);
        self.claim_what_was_written();
        let executed = executed.map_err(|error| error.to_string())?;
        for reply in executed.replies {
            let reply = reply.map_err(|error| error.to_string())?;
            self.nothing_is_sent_where_it_is_halted(&reply)?;
            self.follow(reply);
        }
        if self.rng.random_ratio(3, 4) {
            self.crew.to_publish.extend(executed.outbox);
        }
        Ok(())
    }

    fn follow(&mut self, reply: Reply) {
        if let Some(ticket) = reply.ticket {
            self.next_job += 1;
            self.crew.jobs.push(Job { id: self.next_job, ticket, stage: Stage::Permitted });
        }
        if let Some(ready) = reply.ready
            && self.rng.random_ratio(3, 4)
        {
            self.enqueue(ready);
        }
        if let Note::LookAgain(raw) = reply.note {
            self.crew.again.push(raw.body);
        }
    }
}

impl Job {
    /// Ends the wait for an answer.
    pub fn give_up(&mut self) {
        self.stage = Stage::Answered(network::silence(&self.ticket.call, false));
    }

    /// Has it waited long enough?
    pub fn is_overdue(&self, elapsed: Duration) -> bool {
        matches!(self.stage, Stage::Sent { gives_up_at } if gives_up_at <= elapsed)
    }
}

/// Tells two ready things apart.
fn ready_key(ready: &Ready) -> (u8, i64) {
    match ready.due {
        Due::Capture(key) => (0, key.row()),
        Due::Authorization(key) => (1, key.row()),
        Due::Shipment(key) => (2, key.row()),
        Due::Kept(key) => (2, key.row()),
        Due::Ask(key) => (3, key.row()),
        Due::Order(key) => (4, key.row()),
        Due::Warning(key) => (5, key.row()),
    }
}

fn settle_command(job: &Job, start: bool) -> Command {
    let Stage::Answered(outcome) = job.stage.clone() else { unreachable!("only what came to something is settled") };
    let evidence = match outcome {
        Outcome::Answer(answer) => Evidence::Answer(answer),
        Outcome::Reading(reading) => Evidence::Reading(reading),
    };
    match (&job.ticket.call, evidence) {
        (Call::Send { capture, epoch, .. } | Call::Look { capture, epoch }, evidence) => {
            Command::Settle(Box::new(Settle { capture: *capture, epoch: *epoch, evidence, start }))
        }
        (Call::Read { authorization, epoch }, Evidence::Reading(reading)) => {
            Command::Freeze(Box::new(Freeze { authorization: *authorization, epoch: *epoch, reading, start }))
        }
        (Call::ReadExpiry { authorization, epoch }, Evidence::Reading(reading)) => {
            Command::Expire(Box::new(Expire { authorization: *authorization, epoch: *epoch, reading }))
        }
        (Call::Ask { authorization }, Evidence::Reading(reading)) => {
            Command::Learn(Box::new(Learn { authorization: *authorization, reading }))
        }
        (
            Call::Read { .. } | Call::ReadExpiry { .. } | Call::Ask { .. },
            Evidence::Answer(_) | Evidence::Interrupted,
        ) => {
            unreachable!("a read comes to a reading")
        }
    }
}

/// What a future of the memory ledger holds: it is never pending.
pub fn now<T>(future: impl Future<Output = Result<T, LedgerError>>) -> T {
    future.now_or_never().expect("memory does not wait").expect("memory does not fail")
}
