//! One world: everything in it under one seeded scheduler that owns the time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use holdfast::capture::records::Authorization as Record;
use holdfast::capture::retry::Jitter;
use holdfast::clock::Timestamp;
use holdfast::ids::{AccountName, CaptureId};
use holdfast::ledger::Environment;
use holdfast::ledger::memory::MemoryLedger;
use holdfast::message::event::encode;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::broker::Broker;
use crate::clock::{SimClock, WALL_ERROR_MAX};
use crate::consumer::Consumer;
use crate::fault::{Fault, Tally};
use crate::invariants::{self, Memory};
use crate::mutant::Mutant;
use crate::network::Flight;
use crate::provider::Authorization;
use crate::scenario::{Message, Name, Scenario, SimOrder};
use crate::worker::{Job, Stage, Worker};

/// Steps in which everything may go wrong.
const CHAOS_STEPS: u64 = 700;
/// Steps after that in which everything has to come to an end.
const CALM_STEPS: u64 = 20_000;
/// Simulated time in which everything has to come to an end.
const TIME_MAX: Duration = Duration::from_hours(24 * 30);
/// How often an operator tries something again.
const REPLAYS_MAX: u32 = 60;
/// How many steps a failure shows.
const LOG_MAX: usize = 40;

/// Whether something holds, and what does not.
pub type Check = Result<(), String>;

/// What went wrong in a world.
#[derive(Debug)]
pub struct Failure {
    /// The seed that repeats it.
    pub seed: u64,
    /// What does not hold: the rule's name comes first.
    pub what: String,
    /// The last steps before.
    pub log: VecDeque<String>,
}

/// One world.
pub struct World {
    pub(crate) rng: ChaCha8Rng,
    pub(crate) clock: SimClock,
    pub(crate) ledger: MemoryLedger,
    pub(crate) broker: Broker,
    pub(crate) consumer: Consumer,
    pub(crate) authorizations: BTreeMap<Name, Authorization>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) worker: Worker,
    /// Calls of workers that were believed to be gone.
    pub(crate) ghosts: Vec<Job>,
    pub(crate) orders: Vec<SimOrder>,
    /// Every message by its body, as a kept notice is decoded again.
    pub(crate) messages: BTreeMap<Bytes, Message>,
    pub(crate) acknowledged: Vec<Message>,
    /// Until when an account's credentials are rejected.
    pub(crate) misconfigured: BTreeMap<AccountName, Duration>,
    pub(crate) memory: Memory,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) is_chaos: bool,
    /// How far the wall clock may be wrong.
    pub(crate) wall_error_max: TimeDelta,
    /// Has anything changed since the invariants were checked?
    pub(crate) is_news: bool,
    pub(crate) is_tracing: bool,
    pub(crate) next_job: u64,
    /// Stale negative conclusions that were tried.
    pub(crate) stale: u64,
    /// So often an operator tries something again yet.
    pub(crate) replays_left: u32,
    tally: Tally,
    log: VecDeque<String>,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, orders: usize, mutant: Option<Mutant>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut tally = Tally { orders: u64::try_from(orders).unwrap_or_default(), ..Tally::default() };
        let scenario = Scenario::random(&mut rng, orders, &mut tally);
        let clock = SimClock::default();
        let chance = Mutex::new(ChaCha8Rng::seed_from_u64(rng.next_u64()));
        let ledger = MemoryLedger::new(Environment {
            policy: Arc::new(scenario.policy),
            clock: Arc::new({
                let clock = clock.clone();
                move || clock.machine()
            }),
            jitter: Arc::new(move || {
                Jitter::from_bits(chance.lock().unwrap_or_else(PoisonError::into_inner).next_u32())
            }),
            encode: Arc::new(|event| encode(event, "/simulation").into()),
        });
        Self {
            rng,
            clock,
            ledger,
            consumer: Consumer::default(),
            authorizations: scenario.authorizations,
            flights: Vec::new(),
            worker: Worker::default(),
            ghosts: Vec::new(),
            orders: scenario.orders,
            messages: scenario.messages.iter().map(|message| (message.body.clone(), message.clone())).collect(),
            broker: Broker::new(scenario.messages),
            acknowledged: Vec::new(),
            misconfigured: BTreeMap::new(),
            memory: Memory::default(),
            mutant,
            is_chaos: true,
            wall_error_max: WALL_ERROR_MAX,
            is_news: false,
            is_tracing: false,
            next_job: 0,
            stale: 0,
            replays_left: REPLAYS_MAX,
            tally,
            log: VecDeque::new(),
        }
    }

    /// Lives it to its end.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn live(mut self, seed: u64) -> Result<Tally, Failure> {
        match self.live_through() {
            Ok(()) => {
                self.tally.seconds = self.clock.elapsed().as_secs();
                self.count_ends();
                Ok(self.tally)
            }
            Err(what) => Err(Failure { seed, what, log: self.log }),
        }
    }

    fn live_through(&mut self) -> Check {
        for _ in 0..CHAOS_STEPS {
            self.chaos_step()?;
            self.after_step()?;
        }
        self.is_chaos = false;
        self.misconfigured.clear();
        if self.is_jumping() {
            self.clock.set_wall_error(TimeDelta::zero(), WALL_ERROR_MAX);
        }
        self.log(|| "--- faults stop".to_owned());
        for _ in 0..CALM_STEPS {
            if !self.calm_step()? {
                invariants::check(self)?;
                return invariants::check_at_rest(self);
            }
            self.after_step()?;
        }
        Err(format!("L1: not at rest after {CALM_STEPS} steps without faults"))
    }

    fn after_step(&mut self) -> Check {
        self.tally.steps += 1;
        if std::mem::take(&mut self.is_news) { invariants::check(self) } else { Ok(()) }
    }

    // One step among faults.

    fn chaos_step(&mut self) -> Check {
        match self.rng.random_range(0..1_000) {
            0..10 => self.crash(),
            10..20 => {
                self.fault_of_worker(Fault::Suspended);
                let minutes = self.rng.random_range(5..60);
                self.tick(Duration::from_mins(minutes));
                Ok(())
            }
            20..26 => {
                self.step_clock();
                Ok(())
            }
            26..29 => {
                self.break_account();
                Ok(())
            }
            29..31 => {
                self.meddle();
                Ok(())
            }
            31..36 => self.operate(),
            36..41 => self.replay_some(),
            41..80 => self.ghost_step(),
            80..250 => {
                self.tick_randomly();
                Ok(())
            }
            _ => {
                let acts = self.acts();
                if acts.is_empty() {
                    self.tick_randomly();
                    return Ok(());
                }
                let act = acts[self.rng.random_range(0..acts.len())];
                self.log(|| format!("{act:?}"));
                self.act(act)
            }
        }
    }

    fn step_clock(&mut self) {
        let is_jump = self.is_jumping() && self.rng.random_ratio(1, 2);
        self.fault_of_worker(if is_jump { Fault::WallJump } else { Fault::WallStep });
        let limit = if is_jump { self.wall_error_max } else { WALL_ERROR_MAX };
        let error = TimeDelta::seconds(self.rng.random_range(-limit.num_seconds()..=limit.num_seconds()));
        self.log(|| format!("the wall clock is wrong by {error}"));
        self.clock.set_wall_error(error, limit);
    }

    /// A worker with something to do is rarely slow; one without waits for what comes next.
    fn tick_randomly(&mut self) {
        let now = self.clock.elapsed();
        let is_idle = self.acts().is_empty();
        let by = match self.rng.random_range(0..20) {
            0..1 => Duration::from_secs(self.rng.random_range(5..300)),
            1..15 if !is_idle => Duration::from_millis(self.rng.random_range(1..1_000)),
            _ => self.next_event().map_or(Duration::ZERO, |at| at.saturating_sub(now)).min(Duration::from_hours(3)),
        };
        self.tick(by);
    }

    fn tick(&mut self, by: Duration) {
        let to = self.clock.elapsed() + by;
        self.log(|| format!("{by:?} pass"));
        self.pass_until(to);
    }

    fn crash(&mut self) -> Check {
        let worker = std::mem::take(&mut self.worker);
        self.fault_of_worker(Fault::Crash);
        self.log(|| "crash".to_owned());
        if self.rng.random_ratio(1, 3) && !worker.jobs.is_empty() {
            self.fault_of_worker(Fault::Zombie);
            self.ghosts.extend(worker.jobs);
        }
        for _ in 0..self.broker.lose_consumer() {
            self.fault(Fault::Redelivery, "broker");
        }
        self.take_over()
    }

    fn break_account(&mut self) {
        let names: Vec<&Name> = self.authorizations.keys().collect();
        let account = names[self.rng.random_range(0..names.len())].0.clone();
        let until = self.clock.elapsed() + Duration::from_mins(self.rng.random_range(1..30));
        self.log(|| format!("the credentials of {account} are rejected"));
        self.misconfigured.insert(account, until);
    }

    /// Somebody else has to do with an authorization.
    fn meddle(&mut self) {
        let index = self.rng.random_range(0..self.authorizations.len());
        let now = self.clock.truth();
        let part = self.rng.random_range(1..=2);
        let voids = self.rng.random();
        let (name, authorization) = self.authorizations.iter_mut().nth(index).expect("it is in range");
        let happened = if voids { authorization.void(now) } else { authorization.capture_by_somebody(part, now) };
        if happened {
            let reference = name.1.clone();
            self.log(|| format!("somebody meddles with {reference}"));
            self.fault(if voids { Fault::ForeignVoid } else { Fault::ForeignCapture }, "authorization");
        }
    }

    /// A worker that was believed to be gone does one thing.
    fn ghost_step(&mut self) -> Check {
        if self.ghosts.is_empty() {
            return Ok(());
        }
        let index = self.rng.random_range(0..self.ghosts.len());
        let mut job = self.ghosts.swap_remove(index);
        self.log(|| format!("a ghost goes on with {:?}", job.stage));
        match job.stage {
            Stage::Permitted => self.send(&mut job)?,
            Stage::Sent { .. } if job.is_overdue(self.clock.elapsed()) => job.give_up(),
            Stage::Sent { .. } => {}
            Stage::Answered(_) => return self.settle_ghost(&job),
        }
        self.ghosts.push(job);
        Ok(())
    }

    // One step without faults.

    /// Does something; `false` when there is nothing left to do, and nothing that time could bring.
    fn calm_step(&mut self) -> Result<bool, String> {
        if !self.ghosts.is_empty() && self.rng.random_ratio(1, 4) {
            self.ghost_step()?;
            return Ok(true);
        }
        let acts = self.acts();
        if !acts.is_empty() {
            let act = acts[self.rng.random_range(0..acts.len())];
            self.log(|| format!("{act:?}"));
            self.act(act)?;
            return Ok(true);
        }
        // Operators come later than faults, and not for ever.
        if self.replays_left > 0 && self.rng.random_ratio(1, 8) {
            self.replay_some()?;
            return Ok(true);
        }
        let now = self.clock.elapsed();
        if now > TIME_MAX {
            return Err(format!("L1: not at rest after {TIME_MAX:?}: {}", self.describe_open()));
        }
        match self.next_event() {
            // What is due and not begun waits for an answer to give its permit back.
            Some(at) if at <= now => {
                let until = self.next_answer().map_or(Duration::ZERO, |at| at.saturating_sub(now));
                self.tick(until.max(Duration::from_millis(1)));
            }
            Some(at) => self.tick(at.saturating_sub(now)),
            None if !self.ghosts.is_empty() => self.ghost_step()?,
            None if !self.broker.is_done() => return Err("L3: something stays unacknowledged".to_owned()),
            None if !self.worker_is_idle() => return Err("L1: the worker has something it cannot do".to_owned()),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn describe_open(&self) -> String {
        let tables = self.ledger.tables();
        let open: Vec<_> = tables.captures.values().filter(|capture| !capture.state.is_terminal()).collect();
        format!("{open:?}")
    }

    // Time.

    /// When something happens by itself next.
    fn next_event(&self) -> Option<Duration> {
        let later = [self.broker.next_at(), self.next_due()].into_iter().flatten();
        self.next_answer().into_iter().chain(later).min()
    }

    /// When a call comes to something next.
    fn next_answer(&self) -> Option<Duration> {
        let overdue = self.worker.jobs.iter().chain(&self.ghosts).filter_map(|job| match job.stage {
            Stage::Sent { gives_up_at } => Some(gives_up_at),
            Stage::Permitted | Stage::Answered(_) => None,
        });
        let arriving = self.flights.iter().map(|flight| flight.arrives_at);
        overdue.chain(arriving).min()
    }

    /// When the ledger has something due next, for the watch of a machine whose clock may be wrong.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let tables = self.ledger.tables();
        let captures = tables.captures.values().filter_map(|capture| capture.due_at);
        let watched = tables.authorizations.values().filter(|record| !self.is_never_over(record));
        let watched = watched.filter_map(|record| record.watch.at);
        let shipments = tables.shipments.values().filter_map(|shipment| shipment.due_at);
        let asking = tables.authorizations.values().filter_map(|record| record.ask.map(|ask| ask.at));
        let kept = tables.kept.values().filter_map(|kept| kept.due_at);
        let closing = tables.orders.values().filter_map(|order| order.closes_at);
        let waiting = shipments.chain(kept).chain(closing);
        let next: Option<Timestamp> = captures.chain(watched).chain(asking).chain(waiting).min();
        next.map(|at| self.clock.elapsed_when_machine_shows(at))
    }

    /// Is it over, with a provider that never shows it, and was that read often enough? It is read
    /// for ever, ever more seldom.
    pub(crate) fn is_never_over(&self, record: &Record) -> bool {
        let known = self.authorizations.get(&(record.account.clone(), record.reference.clone()));
        let is_silent = known.is_some_and(|known| known.is_over_in_silence(self.clock.truth()));
        is_silent && record.reads > 10 && record.waiting == 0
    }

    pub(crate) fn log(&mut self, line: impl FnOnce() -> String) {
        if self.is_tracing {
            let elapsed = self.clock.elapsed();
            self.log.push_back(format!("{elapsed:>14.3?} {}", line()));
            if self.log.len() > LOG_MAX {
                self.log.pop_front();
            }
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault, state: &'static str) {
        self.log(|| format!("  fault: {fault:?}"));
        self.tally.note(fault, state);
    }

    /// A fault that meets everything the worker has to do with.
    fn fault_of_worker(&mut self, fault: Fault) {
        self.fault(fault, "worker");
        let tables = self.ledger.tables();
        let captures = tables.captures.values().filter(|capture| !capture.state.is_terminal());
        let shipments = tables.shipments.values().filter(|shipment| !shipment.state.is_terminal());
        let states = captures.map(|capture| capture.state.as_str()).chain(shipments.map(|s| s.state.as_str()));
        self.tally.pairs.extend(states.map(|state| (state, fault)));
    }

    /// The state of a capture before its attempt under way: planned, or in doubt.
    pub(crate) fn state_of(&self, id: CaptureId) -> &'static str {
        let tables = self.ledger.tables();
        let capture = tables.captures.values().find(|capture| capture.id == id);
        match capture {
            Some(capture) if capture.progress.doubtful > 0 => "sending again",
            Some(capture) => capture.state.as_str(),
            None => "unknown",
        }
    }

    /// The wall clock jumps by days, there and back, which is outside of the fault model: how long ago
    /// something was is worth nothing then. What must hold all the same is that no deadline is lost or
    /// repeated, and that nothing is captured twice.
    pub fn jumping(mut self) -> Self {
        self.wall_error_max = TimeDelta::days(4);
        self
    }

    /// Does its wall clock jump?
    pub(crate) fn is_jumping(&self) -> bool {
        self.wall_error_max > WALL_ERROR_MAX
    }

    /// Keeps the last steps, for a failure that is lived again.
    pub fn tracing(mut self) -> Self {
        self.is_tracing = true;
        self
    }

    fn count_ends(&mut self) {
        for told in self.consumer.told() {
            let reason = told.text("reason");
            let kind = if told.is_fee() { format!("{} of a fee", told.kind) } else { told.kind.clone() };
            let end = if reason.is_empty() { kind } else { format!("{kind} {reason}") };
            *self.tally.ends.entry(end).or_default() += 1;
        }
        self.tally.ends.insert("stale conclusions ignored".to_owned(), self.stale);
    }
}
