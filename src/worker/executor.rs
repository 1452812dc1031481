//! Calls to providers: so many at a time per account, the earliest deadline first.
//!
//! A call needs a permit of its account. What is begun in the transaction that accepted it already
//! has one; what is found later waits here for one, in the order of its deadline. After an answer is
//! booked, the permit goes on with the next capture of the same authorization, or back.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capture::decide::{Call, Command, Due, Evidence, Expire, Freeze, Learn, Ready, Reply, Settle, Ticket};
use crate::capture::evidence::{Answer, Reading};
use crate::clock::Timestamp;
use crate::crash;
use crate::ids::AccountName;
use crate::ledger::{CommandFailed, Ledger, LedgerError};
use crate::provider::{CaptureRequest, Provider};
use crate::telemetry::metric;
use crate::worker::note;
use crate::worker::relay::Outbox;

/// Permission for one call under way.
pub(super) type Permit = OwnedSemaphorePermit;

/// Makes provider calls, and books what they come to.
pub(super) struct Executor {
    ledger: Arc<dyn Ledger>,
    outbox: Outbox,
    lanes: HashMap<AccountName, Lane>,
    calls: TaskTracker,
    /// Told when a permit was given back and nothing took it up.
    freed: Notify,
    is_draining: AtomicBool,
    failure: OnceLock<LedgerError>,
    failed: CancellationToken,
}

/// One account's calls.
struct Lane {
    provider: Arc<dyn Provider>,
    permits: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    heap: BinaryHeap<Urgent>,
    /// What is in the heap: the watch finds it again and again until it is begun. Not what is being
    /// begun: that may be handed on before its own reply is here, and must not get lost.
    known: HashSet<Due>,
}

/// Ordered so that the earliest deadline is the greatest.
#[derive(PartialEq, Eq)]
struct Urgent {
    deadline: Timestamp,
    due: Due,
}

impl Ord for Urgent {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.deadline.cmp(&self.deadline).then_with(|| other.due.row().cmp(&self.due.row()))
    }
}

impl PartialOrd for Urgent {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Executor {
    /// An executor for these accounts: name, adapter, and how many calls at a time.
    pub(super) fn new(
        ledger: Arc<dyn Ledger>,
        outbox: Outbox,
        accounts: impl IntoIterator<Item = (AccountName, Arc<dyn Provider>, usize)>,
    ) -> Self {
        let lane = |(name, provider, concurrency)| {
            let permits = Arc::new(Semaphore::new(concurrency));
            (name, Lane { provider, permits, waiting: Mutex::default() })
        };
        Self {
            ledger,
            outbox,
            lanes: accounts.into_iter().map(lane).collect(),
            calls: TaskTracker::new(),
            freed: Notify::new(),
            is_draining: AtomicBool::new(false),
            failure: OnceLock::new(),
            failed: CancellationToken::new(),
        }
    }

    /// Executes commands, and hands their events to the relay. `None`: the ledger has failed.
    pub(super) async fn execute(&self, commands: Vec<Command>) -> Option<Vec<Result<Reply, CommandFailed>>> {
        match self.ledger.execute(commands).await {
            Ok(executed) => {
                self.outbox.offer(executed.outbox);
                Some(executed.replies)
            }
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// The ledger has failed: the worker ends.
    pub(super) fn fail(&self, error: LedgerError) {
        let _ = self.failure.set(error);
        self.failed.cancel();
    }

    /// Resolves when the ledger has failed.
    pub(super) async fn failed(&self) -> LedgerError {
        self.failed.cancelled().await;
        self.failure.get().cloned().unwrap_or_else(|| LedgerError::Failed("for an unknown reason".to_owned()))
    }

    /// Has the ledger failed?
    pub(super) fn failure(&self) -> Option<&LedgerError> {
        self.failure.get()
    }

    /// The ledger.
    pub(super) fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }

    /// A permit for a call to the account, if one is free and nothing waits for it.
    pub(super) fn try_permit(&self, account: &AccountName) -> Option<Permit> {
        if self.is_draining.load(Ordering::Relaxed) {
            return None;
        }
        let lane = self.lanes.get(account)?;
        if !lane.waiting().heap.is_empty() {
            return None;
        }
        Arc::clone(&lane.permits).try_acquire_owned().ok()
    }

    /// How many calls could be started now, over all accounts; waits until it is at least one.
    pub(super) async fn free_permits(&self) -> usize {
        loop {
            let free: usize = self.lanes.values().map(|lane| lane.permits.available_permits()).sum();
            if free > 0 {
                return free;
            }
            self.freed.notified().await;
        }
    }

    /// Gives a permit back.
    fn release(self: &Arc<Self>, account: &AccountName, permit: Permit) {
        drop(permit);
        // Something may have come to wait for it meanwhile.
        self.pump(account);
        self.freed.notify_one();
    }

    /// Does what a reply asks for: makes its call with the permit, or queues what is ready for one.
    pub(super) fn carry_on(self: &Arc<Self>, reply: Reply, permit: Option<Permit>) {
        if let Some(ready) = &reply.ready {
            self.enqueue(ready);
        }
        match (reply.ticket, permit) {
            (Some(ticket), Some(permit)) => self.spawn(async |executor| executor.make_calls(ticket, permit).await),
            (None, Some(permit)) => {
                drop(permit);
                // Something may have come to wait for it meanwhile.
                self.pump_all();
                self.freed.notify_one();
            }
            (Some(_), None) => unreachable!("a ticket is given only to who has a permit"),
            (None, None) => {}
        }
    }

    /// Can calls be made for the account?
    pub(super) fn serves(&self, account: &AccountName) -> bool {
        self.lanes.contains_key(account)
    }

    /// Queues what is ready for a call.
    pub(super) fn enqueue(self: &Arc<Self>, ready: &Ready) {
        let Some(lane) = self.lanes.get(&ready.account) else { return };
        {
            let mut waiting = lane.waiting();
            if !waiting.known.insert(ready.due) {
                return;
            }
            let deadline = ready.deadline.unwrap_or(Timestamp::MAX_UTC);
            waiting.heap.push(Urgent { deadline, due: ready.due });
        }
        self.pump(&ready.account);
    }

    fn pump_all(self: &Arc<Self>) {
        for account in self.lanes.keys() {
            self.pump(account);
        }
    }

    /// Begins as much of what waits as there are permits.
    fn pump(self: &Arc<Self>, account: &AccountName) {
        let Some(lane) = self.lanes.get(account) else { return };
        while !self.is_draining.load(Ordering::Relaxed) {
            let mut waiting = lane.waiting();
            if waiting.heap.is_empty() {
                return;
            }
            let Ok(permit) = Arc::clone(&lane.permits).try_acquire_owned() else { return };
            let Some(due) = waiting.pop() else { return };
            drop(waiting);
            let account = account.clone();
            self.spawn(async move |executor| executor.begin(account, due, permit).await);
        }
    }

    fn spawn<F>(self: &Arc<Self>, call: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.calls.spawn(call(Arc::clone(self)));
    }

    /// Begins what is due, and makes the calls that follow.
    async fn begin(self: Arc<Self>, account: AccountName, due: Due, permit: Permit) {
        let replies = self.execute(vec![Command::Due(due)]).await;
        let Some(reply) = replies.and_then(|mut replies| replies.pop()) else { return };
        match reply {
            Ok(reply) => {
                note::note(&reply);
                match reply.ticket {
                    Some(ticket) => Arc::clone(&self).make_calls(ticket, permit).await,
                    None => self.release(&account, permit),
                }
            }
            Err(error) => {
                tracing::error!(%error, "what was due could not be begun: please report it");
                self.release(&account, permit);
            }
        }
    }

    /// Makes the call of a ticket, books it, and goes on with whatever call comes next.
    ///
    /// What waits for a permit goes first, and is begun in the transaction that books the answer:
    /// one commit between two calls, not two.
    async fn make_calls(self: Arc<Self>, first: Ticket, permit: Permit) {
        let account = first.account.clone();
        let Some(lane) = self.lanes.get(&account) else { return };
        let mut next = Some(first);
        while let Some(ticket) = next.take() {
            let unbooked = interrupted(&ticket.call);
            let mut waiting = None;
            let may_hand_on = || {
                waiting = self.next_waiting(lane);
                waiting.is_none() && self.may_start()
            };
            let command = call(&*lane.provider, ticket, may_hand_on).await;
            let commands = std::iter::once(command).chain(waiting.map(Command::Due)).collect();
            crash::point("before-T3");
            let replies = self.execute(commands).await;
            crash::point("after-T3");
            let Some(replies) = replies else { return };
            for (number, reply) in replies.into_iter().enumerate() {
                match reply {
                    Ok(reply) => {
                        note::note(&reply);
                        if let Some(ready) = &reply.ready {
                            self.enqueue(ready);
                        }
                        let both = next.is_some() && reply.ticket.is_some();
                        assert!(!both, "one permit allows one call: an answer hands on its turn only if nothing waits");
                        next = next.or(reply.ticket);
                    }
                    Err(error) if number == 0 => {
                        tracing::error!(%error, "an answer could not be booked: in doubt; please report it");
                        self.execute(unbooked.iter().cloned().collect()).await;
                    }
                    Err(error) => tracing::error!(%error, "what was due could not be begun: please report it"),
                }
            }
        }
        self.release(&account, permit);
    }

    /// What waits most urgently for a permit, while calls may be started.
    fn next_waiting(&self, lane: &Lane) -> Option<Due> {
        if !self.may_start() {
            return None;
        }
        lane.waiting().pop()
    }

    fn may_start(&self) -> bool {
        !self.is_draining.load(Ordering::Relaxed)
    }

    /// Begins no attempt and no look from now on; what is accepted meanwhile is for the next start.
    pub(super) fn start_nothing(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Waits for the calls under way, `grace` at most. Says whether all of them were settled.
    pub(super) async fn drain(&self, grace: Duration) -> bool {
        self.calls.close();
        tokio::time::timeout(grace, self.calls.wait()).await.is_ok()
    }
}

impl Waiting {
    /// Takes out the most urgent, to be begun.
    fn pop(&mut self) -> Option<Due> {
        let urgent = self.heap.pop()?;
        self.known.remove(&urgent.due);
        Some(urgent.due)
    }
}

impl Lane {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of a request whose answer cannot be booked: it is in doubt, and looked at again.
fn interrupted(call: &Call) -> Option<Command> {
    match call {
        Call::Send { capture, epoch, .. } => Some(Command::Settle(Box::new(Settle {
            capture: *capture,
            epoch: *epoch,
            evidence: Evidence::Interrupted,
            start: false,
        }))),
        // The watch finds what was to be looked at again.
        Call::Look { .. } | Call::Read { .. } | Call::ReadExpiry { .. } | Call::Ask { .. } => None,
    }
}

/// Makes one call, and returns the command that books what it came to. Once it has come to something,
/// `start` says whether the command may begin another call with the same permit.
async fn call(provider: &dyn Provider, ticket: Ticket, start: impl FnOnce() -> bool + Send) -> Command {
    let Ticket { account, reference, call } = ticket;
    let started = Instant::now();
    match call {
        Call::Send { capture, id, amount, epoch, send_by, .. } => {
            let request = CaptureRequest { capture: id, reference, amount, send_by };
            crash::point("before-send");
            let answer = provider.capture(&request).await;
            crash::point("after-answer");
            measure(&account, "capture", started);
            let evidence = evidence_label(&answer);
            metrics::counter!(metric::ATTEMPTS, "account" => account.to_string(), "evidence" => evidence).increment(1);
            Command::Settle(Box::new(Settle { capture, epoch, evidence: Evidence::Answer(answer), start: start() }))
        }
        Call::Look { capture, epoch } => {
            let reading = lookup(provider, &account, &reference, started).await;
            Command::Settle(Box::new(Settle { capture, epoch, evidence: Evidence::Reading(reading), start: start() }))
        }
        Call::Read { authorization, epoch } => {
            let reading = lookup(provider, &account, &reference, started).await;
            Command::Freeze(Box::new(Freeze { authorization, epoch, reading, start: start() }))
        }
        Call::ReadExpiry { authorization, epoch } => {
            let reading = lookup(provider, &account, &reference, started).await;
            Command::Expire(Box::new(Expire { authorization, epoch, reading }))
        }
        Call::Ask { authorization } => {
            let reading = lookup(provider, &account, &reference, started).await;
            Command::Learn(Box::new(Learn { authorization, reading }))
        }
    }
}

async fn lookup(
    provider: &dyn Provider,
    account: &AccountName,
    reference: &crate::ids::Reference,
    started: Instant,
) -> Reading {
    let reading = provider.lookup(reference).await;
    measure(account, "lookup", started);
    reading
}

fn measure(account: &AccountName, operation: &'static str, started: Instant) {
    metrics::histogram!(metric::PROVIDER_CALL, "account" => account.to_string(), "operation" => operation)
        .record(started.elapsed());
}

const fn evidence_label(answer: &Answer) -> &'static str {
    match answer {
        Answer::Captured(_) => "captured",
        Answer::Pending => "pending",
        Answer::Refused(_) => "refused",
        Answer::Doubt(_) => "doubt",
        Answer::NotExecuted(_) => "not_executed",
        Answer::Misconfigured(_) => "misconfigured",
    }
}
