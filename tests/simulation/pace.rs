//! What is due, and when something happens next: looked up in the ledger once for each change of it.

use std::rc::Rc;
use std::time::Duration;

use holdfast::capture::decide::{Due, Ready};
use holdfast::capture::records::Authorization as Record;
use holdfast::capture::restored::is_unread;
use holdfast::clock::Timestamp;
use holdfast::ids::AccountName;
use holdfast::ledger::Ledger;
use holdfast::ledger::memory::Tables;

use crate::worker::{Stage, now};
use crate::world::World;

/// When something is due next, if ever.
#[derive(Clone, Copy)]
struct Next(Option<Timestamp>);

/// What was looked up, until the ledger changes.
#[derive(Default)]
pub struct Pace {
    next: Option<Next>,
    due: Option<(Timestamp, Rc<[Ready]>)>,
}

impl Pace {
    /// The ledger has changed.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

impl World {
    /// Lets so much time pass.
    pub fn tick(&mut self, by: Duration) {
        let to = self.clock.elapsed() + by;
        self.log(|| format!("{by:?} pass"));
        self.pass_until(to);
    }

    /// When something happens by itself next.
    pub fn next_event(&mut self) -> Option<Duration> {
        let due = self.next_due().map(|at| self.clock.elapsed_when_machine_shows(at));
        let later = [self.broker.next_at(), due, self.crew.next_at(self.clock.elapsed())].into_iter().flatten();
        self.next_answer().into_iter().chain(later).min()
    }

    /// When a call comes to something next.
    pub fn next_answer(&self) -> Option<Duration> {
        let awake = self.crew.all().filter(|worker| worker.asleep_until.is_none());
        let jobs = awake.flat_map(|worker| &worker.jobs).chain(&self.ghosts);
        let overdue = jobs.filter_map(|job| match job.stage {
            Stage::Sent { gives_up_at } => Some(gives_up_at),
            Stage::Permitted | Stage::Answered(_) => None,
        });
        let arriving = self.flights.iter().map(|flight| flight.arrives_at);
        overdue.chain(arriving).min()
    }

    /// Everything that is due and not held back. What waits needs no permit, so its account is never looked
    /// at.
    pub fn due_now(&mut self) -> Rc<[Ready]> {
        let wall = self.clock.machine().wall;
        if self.next_due().is_none_or(|at| at > wall) {
            return Rc::from([]);
        }
        if let Some((at, due)) = &self.pace.due
            && *at == wall
        {
            return Rc::clone(due);
        }
        let found = now(self.ledger.find_due(u32::MAX));
        let nobody = AccountName::parse("nobody").expect("a name");
        let others = found.others.into_iter();
        let others = others.map(|due| Ready { due, account: nobody.clone(), deadline: None });
        let due: Rc<[Ready]> =
            found.calls.into_iter().chain(others).filter(|ready| !self.is_held_back(ready)).collect();
        self.pace.due = Some((wall, Rc::clone(&due)));
        due
    }

    /// When the ledger has something due next, by the machine's clock, which may be wrong.
    fn next_due(&mut self) -> Option<Timestamp> {
        if let Some(Next(next)) = self.pace.next {
            return next;
        }
        let next = self.find_next_due(&self.ledger.tables());
        self.pace.next = Some(Next(next));
        next
    }

    pub fn find_next_due(&self, tables: &Tables) -> Option<Timestamp> {
        let captures = tables.captures.values().filter_map(|capture| capture.due_at);
        let asking = tables.authorizations.values().filter_map(|record| record.ask.map(|ask| ask.at));
        let held_back = captures.chain(asking).filter(|_| self.restoring.is_none());
        let watched = tables.authorizations.values().filter(|record| !self.is_never_over(record));
        let watched = watched.filter_map(|record| {
            if self.restoring.is_none() || is_unread(record) { record.watch.at } else { record.watch.lead_at }
        });
        let shipments = tables.shipments.values().filter_map(|shipment| shipment.due_at);
        let kept = tables.kept.values().filter_map(|kept| kept.due_at);
        let closing = tables.orders.values().filter_map(|order| order.closes_at);
        held_back.chain(watched).chain(shipments).chain(kept).chain(closing).min()
    }

    /// Is it over, with a provider that never shows it, and was that read often enough? It is read
    /// for ever, ever more seldom.
    pub fn is_never_over(&self, record: &Record) -> bool {
        if record.reads <= 10 || record.waiting > 0 {
            return false;
        }
        let known = self.authorizations.get(&(record.account.clone(), record.reference.clone()));
        known.is_some_and(|known| known.is_over_in_silence(self.clock.truth()))
    }

    /// After a restore nothing is called but what has to be read first.
    pub fn is_held_back(&self, ready: &Ready) -> bool {
        if self.restoring.is_none() {
            return false;
        }
        match ready.due {
            Due::Shipment(_) | Due::Kept(_) | Due::Order(_) | Due::Warning(_) => false,
            Due::Capture(_) | Due::Ask(_) => true,
            Due::Authorization(key) => !is_unread(&self.ledger.tables().authorizations[&key]),
        }
    }
}
