//! One world: everything in it under one seeded scheduler that owns the time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use holdfast::capture::policy::Policy;
use holdfast::capture::restored::is_unread;
use holdfast::capture::retry::Jitter;
use holdfast::ids::{AccountName, CaptureId, OrderId};
use holdfast::ledger::Environment;
use holdfast::ledger::memory::{MemoryLedger, Touched};
use holdfast::message::event::encode;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::at_rest;
use crate::broker::Broker;
use crate::case::Case;
use crate::clock::{SimClock, WALL_ERROR_MAX};
use crate::consumer::Consumer;
use crate::crew::Crew;
use crate::dials::Odds;
use crate::fault::{Fault, Tally};
use crate::invariants::{self, Memory};
use crate::mutant::Mutant;
use crate::network::Flight;
use crate::pace::Pace;
use crate::provider::Authorization;
use crate::restoring::{Copied, Restoring};
use crate::scenario::{Message, Name, Scenario, SimOrder};
use crate::setting;
use crate::worker::{Job, Worker};

/// Workers that share a ledger at most.
const WORKERS_MAX: u32 = 3;
/// Steps without faults in which everything has to come to an end.
const CALM_STEPS: u64 = 20_000;
/// Simulated time in which everything has to come to an end.
const TIME_MAX: Duration = Duration::from_hours(24 * 30);
/// How far a wall clock jumps, where it does.
const JUMP_MAX: TimeDelta = TimeDelta::days(4);
/// How many steps a failure shows, where nobody asks for more.
const LOG_MAX: usize = 40;

/// Whether something holds, and what does not.
pub type Check = Result<(), String>;

/// What went wrong in a world.
#[derive(Debug)]
pub struct Failure {
    /// What repeats it.
    pub case: Case,
    /// What does not hold: the rule's name comes first.
    pub what: String,
    /// The last steps before.
    pub log: VecDeque<String>,
}

impl Failure {
    /// The rule that does not hold.
    pub fn rule(&self) -> &str {
        self.what.split(':').next().unwrap_or_default()
    }
}

/// One world.
pub struct World {
    pub(crate) case: Case,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) clock: SimClock,
    pub(crate) ledger: MemoryLedger,
    pub(crate) policy: Policy,
    pub(crate) broker: Broker,
    pub(crate) consumer: Consumer,
    pub(crate) authorizations: BTreeMap<Name, Authorization>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) crew: Crew,
    /// Calls of workers that were believed to be gone.
    pub(crate) ghosts: Vec<Job>,
    pub(crate) orders: Vec<SimOrder>,
    /// Every message by its body, as a kept notice is decoded again.
    pub(crate) messages: BTreeMap<Bytes, Rc<Message>>,
    pub(crate) acknowledged: Vec<Rc<Message>>,
    /// Until when an account's credentials are rejected.
    pub(crate) misconfigured: BTreeMap<AccountName, Duration>,
    pub(crate) memory: Memory,
    pub(crate) mutant: Option<Mutant>,
    is_chaos: bool,
    /// How far the wall clock may be wrong.
    pub(crate) wall_error_max: TimeDelta,
    /// Has anything changed since the invariants were checked?
    pub(crate) is_news: bool,
    pub(crate) pace: Pace,
    /// The account that the settings lack.
    pub(crate) missing: Option<AccountName>,
    is_tracing: bool,
    log_max: usize,
    pub(crate) next_job: u64,
    /// Stale negative conclusions that were tried.
    pub(crate) stale: u64,
    /// So often an operator tries something again yet.
    pub(crate) replays_left: u32,
    /// So often the ledger goes back to a copy yet.
    pub(crate) restores_left: u32,
    /// The last copy of the ledger.
    pub(crate) copied: Option<Copied>,
    /// The ledger came from a copy, and not everything was read yet.
    pub(crate) restoring: Option<Restoring>,
    /// Orders of which an authorization was lost with it, and is told of again.
    pub(crate) registered_again: BTreeSet<OrderId>,
    /// Orders of which an authorization was about to die then: at its deadline margin nothing is waited for.
    pub(crate) hurried: BTreeSet<OrderId>,
    /// When it came from a copy, if it ever did.
    pub(crate) restored_at: Option<Duration>,
    pub(crate) tally: Tally,
    log: VecDeque<String>,
}

impl World {
    /// The world of a case.
    pub fn new(case: &Case, mutant: Option<Mutant>) -> Self {
        let mut tally =
            Tally { worlds: 1, orders: u64::try_from(case.orders.len()).unwrap_or_default(), ..Tally::default() };
        let mut scenario = Scenario::random(case, &mut tally);
        // What happens is another matter than what was meant to.
        let mut rng = ChaCha8Rng::seed_from_u64(case.seed);
        rng.set_stream(case.way + 1);
        let clock = SimClock::default();
        let ledger = ledger(scenario.policy.clone(), &clock, rng.next_u64());
        let messages: Vec<Rc<Message>> = scenario.messages.drain(..).map(Rc::new).collect();
        let workers = rng.random_range(1..=WORKERS_MAX);
        tally.with_several = u64::from(workers > 1);
        Self {
            rng,
            clock,
            ledger,
            policy: scenario.policy,
            consumer: Consumer::default(),
            authorizations: scenario.authorizations,
            flights: Vec::new(),
            crew: Crew::new(workers),
            ghosts: Vec::new(),
            orders: scenario.orders,
            messages: messages.iter().map(|message| (message.body.clone(), Rc::clone(message))).collect(),
            broker: Broker::new(messages),
            acknowledged: Vec::new(),
            misconfigured: BTreeMap::new(),
            memory: Memory::default(),
            mutant,
            is_chaos: true,
            wall_error_max: if case.is_jumping { JUMP_MAX } else { WALL_ERROR_MAX },
            is_news: false,
            pace: Pace::default(),
            missing: None,
            is_tracing: false,
            log_max: LOG_MAX,
            next_job: 0,
            stale: 0,
            replays_left: case.dials().replays_max,
            restores_left: case.dials().restores_max,
            copied: None,
            restoring: None,
            registered_again: BTreeSet::new(),
            hurried: BTreeSet::new(),
            restored_at: None,
            tally,
            log: VecDeque::new(),
            case: case.clone(),
        }
    }

    /// Lives it to its end.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn live(mut self) -> Result<Tally, Box<Failure>> {
        match self.live_through() {
            Ok(()) => {
                self.tally.seconds = self.clock.elapsed().as_secs();
                self.count_ends();
                Ok(self.tally)
            }
            Err(what) => Err(Box::new(Failure { case: self.case, what, log: self.log })),
        }
    }

    fn live_through(&mut self) -> Check {
        for _ in 0..self.case.steps {
            self.chaos_step()?;
            self.after_step()?;
        }
        self.end_faults();
        for _ in 0..CALM_STEPS {
            if !self.calm_step()? {
                invariants::check(self)?;
                return at_rest::check(self);
            }
            self.after_step()?;
        }
        Err(format!("L1: not at rest after {CALM_STEPS} steps without faults: {}", self.describe_open()))
    }

    fn end_faults(&mut self) {
        self.log(|| "--- faults stop".to_owned());
        self.is_chaos = false;
        if self.missing.is_some() {
            self.start_without(None);
        }
        self.misconfigured.clear();
        self.copied = None;
        if self.is_jumping() {
            self.clock.set_wall_error(TimeDelta::zero(), WALL_ERROR_MAX);
        }
    }

    /// All workers start anew, with settings that lack this account. What those before had begun is theirs to look into,
    /// also where the account was missing when somebody looked before.
    pub(crate) fn start_without(&mut self, account: Option<AccountName>) {
        self.lose_everybody();
        let mut policy = self.policy.clone();
        policy.accounts.retain(|name, _| Some(name) != account.as_ref());
        let tables = std::mem::take(&mut *self.ledger.tables());
        self.ledger = ledger(policy, &self.clock, self.rng.next_u64());
        self.crew.begin_anew(tables.captures.keys().copied());
        *self.ledger.tables() = tables;
        self.missing = account;
        self.has_changed();
    }

    fn after_step(&mut self) -> Check {
        self.tally.steps += 1;
        if std::mem::take(&mut self.is_news) { invariants::check(self) } else { Ok(()) }
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
        if self.release_one()? {
            return Ok(true);
        }
        self.wait()
    }

    /// Lets time pass until something happens by itself; `false` when nothing will.
    fn wait(&mut self) -> Result<bool, String> {
        let now = self.clock.elapsed();
        if now > TIME_MAX {
            return Err(format!("L1: not at rest after {TIME_MAX:?}: {}", self.describe_open()));
        }
        match self.next_event() {
            // What is due and not begun waits for an answer to give its permit back, or for somebody to wake.
            Some(at) if at <= now => {
                let until = [self.next_answer(), self.crew.next_at(now)].into_iter().flatten().min();
                let until = until.map_or(Duration::ZERO, |at| at.saturating_sub(now));
                self.tick(until.max(Duration::from_millis(1)));
            }
            Some(at) => self.tick(at.saturating_sub(now)),
            None if !self.ghosts.is_empty() => self.ghost_step()?,
            None if !self.broker.is_done() => return Err("L3: something stays unacknowledged".to_owned()),
            None if !self.crew.all().all(Worker::is_idle) => {
                return Err("L1: a worker has something it cannot do".to_owned());
            }
            None if self.restoring.is_some() => return Err("L1: a restore does not end".to_owned()),
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Did the ledger ever come from a copy?
    pub(crate) const fn is_restored(&self) -> bool {
        self.restored_at.is_some()
    }

    fn describe_open(&self) -> String {
        let tables = self.ledger.tables();
        let open: Vec<_> = tables.captures.values().filter(|capture| !capture.state.is_terminal()).collect();
        let unread: Vec<_> = tables.authorizations.values().filter(|record| is_unread(record)).collect();
        let due = self.find_next_due(&tables);
        let asleep: Vec<_> = self.crew.all().map(|worker| worker.asleep_until).collect();
        let is_restoring = self.restoring.is_some();
        format!("due {due:?}, asleep {asleep:?}, restoring {is_restoring}, open: {open:?}; unread: {unread:?}")
    }

    /// The ledger is not as it was a moment ago.
    pub(crate) fn has_changed(&mut self) {
        self.is_news = true;
        self.pace.forget();
    }

    /// May this go wrong now?
    pub(crate) fn may(&self, fault: Fault) -> bool {
        self.is_chaos && !self.case.without.contains(&fault)
    }

    pub(crate) fn happens(&mut self, (times, of): Odds) -> bool {
        self.rng.random_ratio(times, of)
    }

    pub(crate) fn log(&mut self, line: impl FnOnce() -> String) {
        if self.is_tracing {
            let elapsed = self.clock.elapsed();
            self.log.push_back(format!("{elapsed:>14.3?} {}", line()));
            if self.log.len() > self.log_max {
                self.log.pop_front();
            }
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault, state: &'static str) {
        self.log(|| format!("  fault: {fault:?}"));
        self.tally.note(fault, state);
    }

    /// A fault that meets everything the workers have to do with.
    pub(crate) fn fault_of_worker(&mut self, fault: Fault) {
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

    /// Does its wall clock jump?
    pub(crate) const fn is_jumping(&self) -> bool {
        self.case.is_jumping
    }

    /// Keeps the last steps, for a failure that is lived again.
    pub fn tracing(mut self) -> Self {
        self.is_tracing = true;
        self.log_max = setting("HOLDFAST_TEST_LOG").and_then(|max| usize::try_from(max).ok()).unwrap_or(LOG_MAX);
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
        let tables = self.ledger.tables();
        let held = tables.history.iter().filter(|note| note.what == "held").count();
        self.tally.ends.insert("held by a cap".to_owned(), u64::try_from(held).unwrap_or(u64::MAX));
    }
}

fn ledger(policy: Policy, clock: &SimClock, chance: u64) -> MemoryLedger {
    let chance = Mutex::new(ChaCha8Rng::seed_from_u64(chance));
    let clock = clock.clone();
    let ledger = MemoryLedger::new(Environment {
        policy: Arc::new(policy),
        clock: Arc::new(move || clock.machine()),
        jitter: Arc::new(move || Jitter::from_bits(chance.lock().unwrap_or_else(PoisonError::into_inner).next_u32())),
        encode: Arc::new(|event| encode(event, "/simulation").into()),
    });
    ledger.tables().touched = Some(Touched::default());
    ledger
}
