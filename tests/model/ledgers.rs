//! The ledgers that a model comes to: the memory ledger's own tables, each with what time it is in it. A
//! state of the model holds the number of one. Every change is the core's: a command goes through
//! `MemoryLedger::execute_now`, which loads the books, folds `decide` over them and holds the result against
//! the ledger's constraints. The same command on the same ledger is executed once, and remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use holdfast::capture::books::MovementKind;
use holdfast::capture::dead_letter::DeadLetterState;
use holdfast::capture::decide::{Call as Begun, Command, Due, Evidence, Expire, Freeze, Note, Reply, Settle};
use holdfast::capture::evidence::Reading;
use holdfast::capture::records::{AuthorizationKey, JobKey};
use holdfast::capture::replay::Replay;
use holdfast::capture::retry::Jitter;
use holdfast::ids::{CaptureId, DeadLetterId};
use holdfast::ledger::Environment;
use holdfast::ledger::memory::{MemoryLedger, Tables};

use crate::canon::canon;
use crate::facts::{Facts, Outcomes, told};
use crate::promise::Promise;
use crate::provider::{Request, Said, View, silence};
use crate::setup::{Shared, TICK, moment};
use crate::shortcut::{self, Shortcut};

/// What a model does to a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// A message is accepted.
    Accept(usize),
    /// Something that is due is begun.
    Due(Due),
    /// A capture request came to something; under the present epoch, or an earlier one.
    Answered(Request, bool, Said),
    /// A look came to something.
    Looked(CaptureId, bool, Option<View>),
    /// The read before a single capture came to something.
    Froze(bool, Option<View>),
    /// The read of what became of an authorization came to something.
    Expired(bool, Option<View>),
    /// Whoever has begun it is gone, as far as anybody knows.
    Interrupted(CaptureId),
    /// An outcome was published.
    Published(i64),
    /// A dead letter is tried again.
    Replay(DeadLetterId),
    /// Time passes.
    Pass,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Done {
    /// The ledger after it.
    pub ledger: u32,
    /// What is to be done now.
    pub next: Option<Next>,
    /// Captures whose epoch has risen.
    pub overtaken: Vec<CaptureId>,
    /// Has the authorization's epoch?
    pub reads_overtaken: bool,
    /// What it broke.
    pub broken: Option<Promise>,
}

/// What is to be done after a command.
#[derive(Debug, Clone, Copy)]
pub enum Next {
    /// A request is to be sent, before so many steps have passed.
    Send(Request, u32),
    /// A capture is to be looked at.
    Look(CaptureId),
    /// The authorization is to be read before its single capture.
    Freeze,
    /// It is to be read for what became of it.
    Expiry,
    /// A message that was kept is to be accepted again.
    Again(usize),
}

struct Known {
    tables: Tables,
    ticks: u32,
    facts: Facts,
}

/// The ledgers of one model.
pub struct Ledgers {
    setup: Shared,
    shortcut: Option<Shortcut>,
    memory: MemoryLedger,
    clock: Arc<AtomicU32>,
    numbers: HashMap<Vec<i64>, u32>,
    known: Vec<Known>,
    done: HashMap<(u32, Step), Done>,
    /// Every outcome there ever was.
    pub outcomes: Outcomes,
}

impl Ledgers {
    /// One empty ledger, with number 0, and in it what the configuration gives.
    pub fn new(setup: Shared, shortcut: Option<Shortcut>) -> Self {
        let clock = Arc::new(AtomicU32::new(0));
        let shown = Arc::clone(&clock);
        let environment = Environment {
            policy: Arc::new(setup.policy()),
            clock: Arc::new(move || moment(shown.load(Ordering::Relaxed))),
            jitter: Arc::new(|| Jitter::NONE),
            encode: Arc::new(|_| Bytes::new()),
        };
        let mut ledgers = Self {
            setup,
            shortcut,
            memory: MemoryLedger::new(environment),
            clock,
            numbers: HashMap::new(),
            known: Vec::new(),
            done: HashMap::new(),
            outcomes: Outcomes::default(),
        };
        for number in 0..ledgers.setup.given {
            let command = ledgers.setup.command(number);
            ledgers.memory.execute_now(&[command]).expect("memory does not fail");
        }
        let mut tables = std::mem::take(&mut *ledgers.memory.tables());
        trim(&mut tables);
        ledgers.number(tables, 0);
        ledgers
    }

    /// What is to be read off a ledger.
    pub fn facts(&self, ledger: u32) -> &Facts {
        &self.at(ledger).facts
    }

    /// How many there are, and how many commands were executed.
    pub fn counts(&self) -> (usize, usize) {
        (self.known.len(), self.done.len())
    }

    fn at(&self, ledger: u32) -> &Known {
        &self.known[usize::try_from(ledger).expect("a number")]
    }

    /// Does something to a ledger.
    pub fn step(&mut self, ledger: u32, step: &Step) -> Done {
        let key = (ledger, step.clone());
        if let Some(done) = self.done.get(&key) {
            return done.clone();
        }
        let done = match self.command(ledger, step) {
            Some(command) => self.execute(ledger, step, command),
            None => self.pass(ledger),
        };
        self.done.insert(key, done.clone());
        done
    }

    /// Time passes; the core knows nothing of it.
    fn pass(&mut self, ledger: u32) -> Done {
        let (tables, ticks) = (self.at(ledger).tables.clone(), self.at(ledger).ticks);
        let ledger = self.number(tables, ticks + 1);
        Done { ledger, next: None, overtaken: Vec::new(), reads_overtaken: false, broken: None }
    }

    fn execute(&mut self, ledger: u32, step: &Step, command: Command) -> Done {
        let ticks = self.at(ledger).ticks;
        let before = self.at(ledger).tables.clone();
        self.clock.store(ticks, Ordering::Relaxed);
        *self.memory.tables() = before.clone();
        if let Step::Replay(letter) = step {
            // As a replay does that begins.
            let mut tables = self.memory.tables();
            let known = tables.dead_letters.get_mut(letter).expect("it is open");
            (known.state, known.job) = (DeadLetterState::Replaying, Some(JobKey::new(1)));
        }
        let executed = shortcut::with(self.shortcut, || self.memory.execute_now(&[command]));
        let reply = executed.expect("memory does not fail").replies.pop().expect("one reply per command");
        let mut tables = std::mem::take(&mut *self.memory.tables());
        let broken = match &reply {
            Ok(_) => changed_wrongly(&before, &tables, step, &self.setup),
            Err(failed) => Some(refused(&failed.0)),
        };
        trim(&mut tables);
        let epoch = |tables: &Tables, id| tables.captures.values().find(|c| c.id == id).map(|c| c.progress.epoch);
        let ids = before.captures.values().map(|capture| capture.id);
        let overtaken = ids.filter(|id| epoch(&before, *id) != epoch(&tables, *id)).collect();
        let reads = |tables: &Tables| tables.authorizations.values().next().map(|record| record.epoch);
        let reads_overtaken = reads(&before) != reads(&tables);
        let next = reply.ok().and_then(|reply| self.next(&tables, &reply, ticks));
        let ledger = self.number(tables, ticks);
        Done { ledger, next, overtaken, reads_overtaken, broken }
    }

    /// The command of a step; none for the passing of time.
    fn command(&self, ledger: u32, step: &Step) -> Option<Command> {
        let Known { tables, .. } = self.at(ledger);
        // The call that came to something has a permit, and the next one may use it.
        let start = true;
        let settle = |id: CaptureId, is_current: bool, evidence| {
            let capture = tables.captures.values().find(|capture| capture.id == id)?;
            let epoch = if is_current { capture.progress.epoch } else { earlier(capture.progress.epoch) };
            Some(Command::Settle(Box::new(Settle { capture: capture.key, epoch, evidence, start })))
        };
        let read = |is_current: bool| -> (AuthorizationKey, u32) {
            let record = tables.authorizations.values().next().expect("it was read");
            (record.key, if is_current { record.epoch } else { earlier(record.epoch) })
        };
        match step {
            Step::Accept(number) => Some(self.setup.command(*number)),
            Step::Due(due) => Some(Command::Due(*due)),
            Step::Answered(request, is_current, said) => {
                settle(request.capture, *is_current, Evidence::Answer(said.answer(*request, &self.setup)))
            }
            Step::Looked(id, is_current, view) => {
                settle(*id, *is_current, Evidence::Reading(self.reading(view.as_ref())))
            }
            Step::Froze(is_current, view) => {
                let (authorization, epoch) = read(*is_current);
                let reading = self.reading(view.as_ref());
                Some(Command::Freeze(Box::new(Freeze { authorization, epoch, reading, start })))
            }
            Step::Expired(is_current, view) => {
                let (authorization, epoch) = read(*is_current);
                let reading = self.reading(view.as_ref());
                Some(Command::Expire(Box::new(Expire { authorization, epoch, reading })))
            }
            Step::Interrupted(id) => settle(*id, true, Evidence::Interrupted),
            Step::Published(row) => Some(Command::Published(vec![*row])),
            Step::Replay(letter) => {
                let raw = tables.dead_letters[letter].raw.as_ref();
                let message = raw.map(|raw| self.setup.command(self.setup.number_of(&raw.body)));
                Some(Command::Replay(Box::new(Replay {
                    letter: *letter,
                    job: JobKey::new(1),
                    message,
                    traceparent: None,
                })))
            }
            Step::Pass => None,
        }
    }

    fn reading(&self, view: Option<&View>) -> Reading {
        view.map_or_else(|| Reading::Unclear(silence()), |view| Reading::Seen(Box::new(view.reading(&self.setup))))
    }

    fn next(&self, tables: &Tables, reply: &Reply, ticks: u32) -> Option<Next> {
        if let Note::LookAgain(raw) = &reply.note {
            return Some(Next::Again(self.setup.number_of(&raw.body)));
        }
        let now = moment(ticks).boot.since_boot();
        Some(match &reply.ticket.as_ref()?.call {
            Begun::Send { id, amount, send_by, .. } => {
                let left = send_by.since_boot().saturating_sub(now).as_secs() / TICK.as_secs();
                Next::Send(
                    Request { capture: *id, key: 0, amount: amount.minor() },
                    u32::try_from(left).unwrap_or(u32::MAX),
                )
            }
            Begun::Look { capture, .. } => Next::Look(tables.captures[capture].id),
            Begun::Read { .. } => Next::Freeze,
            Begun::ReadExpiry { .. } => Next::Expiry,
            Begun::Ask { .. } => unreachable!("everything is told"),
        })
    }

    /// The number of a ledger: that of one that is the same to the core, where there is one.
    fn number(&mut self, tables: Tables, ticks: u32) -> u32 {
        let canon = canon(&tables, moment(ticks));
        if let Some(number) = self.numbers.get(&canon) {
            return *number;
        }
        let number = u32::try_from(self.known.len()).expect("memory ends before");
        self.clock.store(ticks, Ordering::Relaxed);
        *self.memory.tables() = tables;
        let facts = Facts::of(&self.memory, &self.setup, &mut self.outcomes);
        let tables = std::mem::take(&mut *self.memory.tables());
        self.numbers.insert(canon, number);
        self.known.push(Known { tables, ticks, facts });
        number
    }
}

/// Forgets what is for people only, and events that are no outcomes: they count as published at once.
fn trim(tables: &mut Tables) {
    tables.history.clear();
    tables.movements.clear();
    tables.replays.clear();
    let others = tables.events.iter().filter(|(_, (event, _))| told(event.id, &event.content).is_none());
    let others: Vec<i64> = others.map(|(row, _)| *row).collect();
    for row in others {
        tables.events.remove(&row);
        tables.unpublished.remove(&row);
    }
}

/// Which promise the ledger's own constraints have kept, by their words.
fn refused(why: &str) -> Promise {
    match why {
        "captured and reserved exceed what was authorized" => Promise::S3,
        "an intent never changes" => Promise::S5,
        "terminal states absorb" | "one outcome per shipment and generation" => Promise::S6,
        _ => Promise::Core,
    }
}

/// An epoch that is not the present one. Ledgers that differ only in epochs are one here, so that the present one may
/// be the first.
const fn earlier(present: u32) -> u32 {
    present.wrapping_sub(1)
}

/// What a change broke that can be seen in it alone: S5, S6, S10 and S11.
fn changed_wrongly(before: &Tables, after: &Tables, step: &Step, setup: &Shared) -> Option<Promise> {
    for capture in before.captures.values() {
        let now = &after.captures[&capture.key];
        if (now.id, now.amount, now.authorization) != (capture.id, capture.amount, capture.authorization) {
            return Some(Promise::S5);
        }
        if capture.state.is_terminal() && now.state != capture.state {
            return Some(Promise::S6);
        }
    }
    if !adds_up(before, after) {
        return Some(Promise::S10);
    }
    let is_stale_negative = match step {
        Step::Answered(_, is_current, said) => !is_current && !said.is_positive(),
        Step::Looked(id, is_current, view) => {
            let capture = before.captures.values().find(|capture| capture.id == *id);
            let request = capture.map(|capture| Request { capture: *id, key: 0, amount: capture.amount.minor() });
            let shows = |view: &View| request.is_some_and(|request| view.shows(request, setup.rules));
            !is_current && !view.as_ref().is_some_and(shows)
        }
        Step::Froze(is_current, _) | Step::Expired(is_current, _) => !is_current,
        Step::Accept(_) | Step::Due(_) | Step::Interrupted(_) | Step::Published(_) | Step::Replay(_) | Step::Pass => {
            false
        }
    };
    let is_same = before.captures == after.captures && before.events.len() == after.events.len();
    (is_stale_negative && !(is_same && after.movements.is_empty())).then_some(Promise::S11)
}

/// S10: the movements of a change are the change of the balance.
fn adds_up(before: &Tables, after: &Tables) -> bool {
    let balance = |tables: &Tables| {
        let records = tables.authorizations.values();
        records.fold((0, 0), |(reserved, captured), record| {
            (reserved + record.reserved.minor(), captured + record.captured.minor())
        })
    };
    let moved = after.movements.iter().fold(balance(before), |(reserved, captured), movement| {
        let minor = movement.amount.minor();
        match movement.kind {
            MovementKind::Reserve => (reserved + minor, captured),
            MovementKind::Release => (reserved - minor, captured),
            MovementKind::Capture => (reserved - minor, captured + minor),
            MovementKind::Correct => (reserved, captured + minor),
        }
    });
    moved == balance(after)
}
