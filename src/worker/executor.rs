//! Calls to providers: what each account allows, the earliest deadline first.
//!
//! A call needs a permit of its account (`worker::account`). What is begun in the transaction that accepted it already
//! has one; what is found later waits here for one, in the order of its deadline. After an answer is
//! booked, the permit goes on with the next capture of the same authorization, or back.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capture::decide::{Call, Command, Due, Note, Ready, Reply, Ticket};
use crate::crash;
use crate::ids::{AccountName, Reference};
use crate::ledger::desk::Desk;
use crate::ledger::{CommandFailed, Ledger, LedgerError};
use crate::worker::account::{Lane, Operation, Permit, Signal, Standing, Step};
use crate::worker::call::{self, Answered};
use crate::worker::relay::Outbox;
use crate::worker::replay::Replays;
use crate::worker::silence::Questions;
use crate::worker::spans::Waiting;
use crate::worker::standing;
use crate::worker::{look, note};

/// Makes provider calls, and books what they come to.
pub(super) struct Executor {
    ledger: Arc<dyn Ledger>,
    desk: Arc<Desk>,
    outbox: Outbox,
    lanes: BTreeMap<AccountName, Arc<Lane>>,
    calls: TaskTracker,
    /// What holds replays still while one is changed, and wakes them.
    pub(super) replays: Replays,
    /// Traces of what waits for its turn.
    pub(super) waiting: Waiting,
    /// Told when a permit was given back and nothing took it up.
    freed: Notify,
    is_draining: AtomicBool,
    /// The ledger was restored from a backup: nothing is begun but the reads that this calls for.
    is_held: AtomicBool,
    failure: OnceLock<LedgerError>,
    failed: CancellationToken,
    /// Requests for a look that are under way.
    looking: Mutex<HashSet<i64>>,
    /// Commands that the ledger has not answered.
    commands: Questions,
    /// What else the watch waits for.
    pub(super) looks: Questions,
}

impl Executor {
    /// An executor for these accounts.
    pub(super) fn new(
        ledger: Arc<dyn Ledger>,
        desk: Arc<Desk>,
        outbox: Outbox,
        lanes: impl IntoIterator<Item = Lane>,
    ) -> Self {
        Self {
            ledger,
            desk,
            outbox,
            lanes: lanes.into_iter().map(|lane| (lane.name.clone(), Arc::new(lane))).collect(),
            calls: TaskTracker::new(),
            replays: Replays::default(),
            waiting: Waiting::default(),
            freed: Notify::new(),
            is_draining: AtomicBool::new(false),
            is_held: AtomicBool::new(false),
            failure: OnceLock::new(),
            failed: CancellationToken::new(),
            looking: Mutex::default(),
            commands: Questions::default(),
            looks: Questions::default(),
        }
    }

    /// Executes commands, and hands their events to the relay. `None`: the ledger has failed.
    pub(super) async fn execute(&self, commands: Vec<Command>) -> Option<Vec<Result<Reply, CommandFailed>>> {
        let question = self.commands.ask();
        let executed = self.ledger.execute(commands).await;
        drop(question);
        match executed {
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

    /// For how long the ledger has not answered what it was asked.
    pub(super) fn silence(&self) -> Duration {
        self.commands.silence().max(self.looks.silence())
    }

    /// The ledger.
    pub(super) fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }

    /// A permit for a call to the account, if one can be made now and nothing waits for it.
    pub(super) fn try_permit(&self, account: &AccountName) -> Option<Permit> {
        if !self.may_start() || self.is_held() {
            return None;
        }
        self.lanes.get(account)?.try_permit()
    }

    /// How many calls could be started now, over all accounts; waits until it is at least one.
    pub(super) async fn free_permits(&self) -> usize {
        loop {
            let free: usize = self.lanes.values().map(|lane| lane.room()).sum();
            if free > 0 {
                return free;
            }
            self.freed.notified().await;
        }
    }

    /// Gives a permit back.
    fn release(self: &Arc<Self>, permit: Permit) {
        let lane = Arc::clone(permit.lane());
        drop(permit);
        // Something may have come to wait for it meanwhile.
        self.pump(&lane);
        self.freed.notify_one();
    }

    /// Does what a reply asks for: makes its call with the permit, or queues what is ready for one.
    pub(super) fn carry_on(self: &Arc<Self>, reply: Reply, permit: Option<Permit>) {
        if let Some(ready) = &reply.ready {
            self.enqueue(ready);
        }
        match (reply.ticket, permit) {
            (Some(ticket), Some(permit)) => self.spawn(async |executor| executor.make_calls(ticket, permit).await),
            (None, Some(permit)) => self.release(permit),
            (Some(_), None) => unreachable!("a ticket is given only to who has a permit"),
            (None, None) => {}
        }
    }

    /// Can calls be made for the account?
    pub(super) fn serves(&self, account: &AccountName) -> bool {
        self.lanes.contains_key(account)
    }

    /// The lane of an account.
    pub(super) fn lane(&self, account: &AccountName) -> Option<&Arc<Lane>> {
        self.lanes.get(account)
    }

    /// All lanes.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.values()
    }

    /// Where requests are answered.
    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Has a look that an operator asked for made, unless it is under way.
    pub(super) fn look_for(self: &Arc<Self>, row: i64, request: look::Request) {
        if self.looking().insert(row) {
            self.spawn(async move |executor| {
                look::look(&executor, row, request).await;
                executor.looking().remove(&row);
            });
        }
    }

    fn looking(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds everything back but what is queued ahead, until it is let go. The watch finds it then.
    pub(super) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    /// Ends that.
    pub(super) fn let_go(&self) {
        self.is_held.store(false, Ordering::SeqCst);
    }

    /// Is everything held back?
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::SeqCst)
    }

    /// Queues what is ready for a call.
    pub(super) fn enqueue(self: &Arc<Self>, ready: &Ready) {
        if !self.is_held() {
            self.enqueue_ahead(ready);
        }
    }

    /// The same, of what is not held back.
    pub(super) fn enqueue_ahead(self: &Arc<Self>, ready: &Ready) {
        if let Some(lane) = self.lanes.get(&ready.account)
            && lane.enqueue(ready)
        {
            self.pump(lane);
        }
    }

    /// Begins as much for an account as can be begun now.
    pub(super) fn pump(self: &Arc<Self>, lane: &Arc<Lane>) {
        while self.may_start() {
            match lane.next() {
                Step::Begin(due, permit) => self.spawn(async move |executor| executor.begin(due, permit).await),
                Step::Look(reference, permit) => {
                    self.spawn(async move |executor| executor.look(reference, permit).await);
                }
                Step::Recall(parked) => self.recall(lane, parked),
                Step::Resumed => self.tell(lane),
                Step::WakeAt(at) => return self.wake(lane, at),
                Step::Nothing => return,
            }
        }
    }

    /// Asks again for an account at this instant, if the worker is still there.
    fn wake(self: &Arc<Self>, lane: &Arc<Lane>, at: Instant) {
        let (executor, lane) = (Arc::downgrade(self), Arc::clone(lane));
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            lane.has_woken();
            if let Some(executor) = executor.upgrade() {
                executor.pump(&lane);
                executor.freed.notify_one();
            }
        });
    }

    fn spawn<F>(self: &Arc<Self>, call: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.calls.spawn(call(Arc::clone(self)));
    }

    /// Begins what is due, and makes the calls that follow.
    async fn begin(self: Arc<Self>, due: Due, permit: Permit) {
        let replies = self.execute(vec![Command::Due(due)]).await;
        let Some(reply) = replies.and_then(|mut replies| replies.pop()) else { return };
        match reply {
            Ok(reply) => {
                note::note(&reply);
                match reply.ticket {
                    Some(ticket) => Arc::clone(&self).make_calls(ticket, permit).await,
                    None => self.release(permit),
                }
            }
            Err(error) => {
                tracing::error!(%error, "what was due could not be begun: please report it");
                self.release(permit);
            }
        }
    }

    /// Looks whether an account works, by a read that moves no money and is not booked.
    async fn look(self: Arc<Self>, reference: Reference, mut permit: Permit) {
        let lane = Arc::clone(permit.lane());
        standing::renew_secret(&lane);
        let reading = call::lookup(&lane, &reference, &[]).await;
        permit.answered(Operation::Lookup, &reference, &Signal::of_reading(&reading));
        drop(permit);
        self.tell(&lane);
        self.pump(&lane);
        self.freed.notify_one();
    }

    /// Brings forward what is parked.
    fn recall(self: &Arc<Self>, lane: &Arc<Lane>, parked: Vec<Due>) {
        let lane = Arc::clone(lane);
        self.spawn(async move |executor| {
            let replies = executor.execute(parked.into_iter().map(Command::Recall).collect()).await;
            for reply in replies.into_iter().flatten().flatten() {
                if let Some(ready) = &reply.ready {
                    lane.enqueue(ready);
                }
            }
            lane.has_recalled();
            executor.pump(&lane);
        });
    }

    /// Says where an account stands, if that has changed; what was parked in a suspension is recalled.
    pub(super) fn tell(self: &Arc<Self>, lane: &Arc<Lane>) {
        let Some(change) = lane.change() else { return };
        standing::tell(&lane.name, &change);
        standing::keep(&self.desk, lane);
        let rested = matches!(change.before, Standing::Suspended(_) | Standing::Paused(_));
        if rested && change.now == Standing::Active {
            self.recall(lane, lane.take_parked());
        }
    }

    /// Makes the call of a ticket, books it, and goes on with whatever call comes next.
    ///
    /// What waits for a permit goes first, and is begun in the transaction that books the answer:
    /// one commit between two calls, not two.
    async fn make_calls(self: Arc<Self>, first: Ticket, mut permit: Permit) {
        let lane = Arc::clone(permit.lane());
        let mut next = Some(first);
        while let Some(ticket) = next.take() {
            let unbooked = call::interrupted(&ticket.call);
            let parks = call::due_of(&ticket.call);
            // A look may permit sending again: the permit stays with it, or while others wait it would look
            // again instead, for ever.
            let for_another = !matches!(ticket.call, Call::Look { .. });
            let mut waiting = None;
            let may_hand_on = |answered: Answered<'_>| {
                permit.answered(answered.operation, answered.reference, &answered.signal);
                self.tell(&lane);
                if !self.may_start() {
                    return false;
                }
                let may_go_on;
                (may_go_on, waiting) = permit.go_on(for_another);
                may_go_on && waiting.is_none()
            };
            let command = call::make(&lane, ticket, &self.waiting, may_hand_on).await;
            let commands = std::iter::once(command).chain(waiting.map(Command::Due)).collect();
            crash::point("before-T3");
            let replies = self.execute(commands).await;
            crash::point("after-T3");
            let Some(replies) = replies else { return };
            for (number, reply) in replies.into_iter().enumerate() {
                match reply {
                    Ok(reply) => {
                        note::note(&reply);
                        if matches!(reply.note, Note::Parked(_)) && number == 0 {
                            lane.park(parks);
                        }
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
        self.release(permit);
    }

    /// Is anything to be begun, or is the worker draining?
    pub(super) fn may_start(&self) -> bool {
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
