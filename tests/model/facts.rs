//! What the model reads off a ledger, once for each.

use futures_util::FutureExt;
use holdfast::capture::dead_letter::{DeadLetter, DeadLetterState};
use holdfast::capture::decide::Due;
use holdfast::capture::event::EventContent;
use holdfast::capture::records::{AmountMode, Capture};
use holdfast::capture::states::CaptureState;
use holdfast::ids::{CaptureId, DeadLetterId, EventId};
use holdfast::ledger::Ledger;
use holdfast::ledger::memory::{MemoryLedger, Tables};
use holdfast::money::Money;

use crate::promise::Promise;
use crate::setup::{Message, Setup, order, raw, shipment};

/// What the model reads off a ledger.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Its captures, in the order of their keys.
    pub captures: Vec<CaptureFact>,
    /// What is due now.
    pub due: Vec<Due>,
    /// Outcomes that were ever written to the outbox, as bits of [`Outcomes`].
    pub written: u32,
    /// Those that are not marked as published, with their rows.
    pub unpublished: Vec<(u32, i64)>,
    /// Dead letters that may be replayed.
    pub letters: Vec<DeadLetterId>,
    /// Messages that are in it, as bits.
    pub accepted: u32,
    /// Everything in it has come to an end.
    pub is_settled: bool,
    /// What is wrong with it by itself, once it is settled: S13.
    pub broken: Option<Promise>,
}

/// One capture.
#[derive(Debug, Clone, Copy)]
pub struct CaptureFact {
    /// Its id.
    pub id: CaptureId,
    /// Its amount, in minor units.
    pub amount: i64,
    /// Where it stands.
    pub state: CaptureState,
    /// Was an attempt ever begun?
    pub was_begun: bool,
}

/// One outcome, as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    id: EventId,
    /// Of which shipment (of a fee: its capture) and generation.
    pub of: (String, u32),
    /// What it says.
    pub says: Says,
    /// The capture, or what its id would have been.
    pub capture: Option<CaptureId>,
    /// The whole capture, in minor units.
    pub amount: i64,
}

/// What an outcome says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The money was captured.
    Succeeded,
    /// Nothing was owed.
    Zero,
    /// It was not captured.
    Failed,
    /// It was not captured by us.
    Elsewhere,
    /// What was told before was wrong.
    Corrected,
}

/// Every outcome that was ever written in any ledger of a model, numbered.
#[derive(Debug, Default)]
pub struct Outcomes(Vec<Told>);

impl Outcomes {
    /// Those of a set of bits.
    pub fn of(&self, bits: u32) -> impl Iterator<Item = &Told> {
        (0..).zip(&self.0).filter(move |(number, _)| bits & (1 << number) != 0).map(|(_, told)| told)
    }

    fn number(&mut self, told: Told) -> u32 {
        let known = self.0.iter().position(|known| *known == told);
        let number = known.unwrap_or_else(|| {
            self.0.push(told);
            self.0.len() - 1
        });
        assert!(number < 32, "as many as there are bits");
        u32::try_from(number).expect("a few")
    }
}

/// Is it an outcome, of which a shipment has one? `None` for any other event.
pub fn told(id: EventId, content: &EventContent) -> Option<Told> {
    let (outcome, says) = match content {
        EventContent::Succeeded(outcome) if outcome.amount.is_some_and(Money::is_zero) => (outcome, Says::Zero),
        EventContent::Succeeded(outcome) => (outcome, Says::Succeeded),
        EventContent::Failed(outcome, failure) if failure.money_may_have_moved => (outcome, Says::Elsewhere),
        EventContent::Failed(outcome, _) => (outcome, Says::Failed),
        EventContent::Corrected(outcome, _) => (outcome, Says::Corrected),
        EventContent::Unresolved(..) => unreachable!("nobody closes anything by hand here"),
        EventContent::Deferred(_)
        | EventContent::Rejected(_)
        | EventContent::RefundRequired(_)
        | EventContent::Expiring(_)
        | EventContent::Expired(_) => return None,
    };
    let fee = outcome.capture.filter(|_| outcome.shipment.is_none());
    let shipment = outcome.shipment.as_ref().map(ToString::to_string);
    let about = shipment.or(fee.map(|id| id.to_string())).expect("of a shipment or of a fee");
    let amount = outcome.capture_amount.map_or(0, Money::minor);
    Some(Told { id, of: (about, outcome.generation), says, capture: outcome.capture, amount })
}

impl Facts {
    /// Reads them off a ledger that holds just what it is about.
    pub fn of(ledger: &MemoryLedger, setup: &Setup, outcomes: &mut Outcomes) -> Self {
        let due =
            ledger.find_due(u32::MAX).now_or_never().expect("memory does not wait").expect("memory does not fail");
        let due = due.calls.into_iter().map(|ready| ready.due).chain(due.others).collect();
        let tables = ledger.tables();
        let mut facts =
            Self { due, captures: tables.captures.values().map(CaptureFact::of).collect(), ..Self::default() };
        for (row, (event, _)) in &tables.events {
            let told = told(event.id, &event.content).expect("others are not kept");
            let number = outcomes.number(told);
            facts.written |= 1 << number;
            if tables.unpublished.contains_key(row) {
                facts.unpublished.push((number, *row));
            }
        }
        let letters = tables.dead_letters.values();
        let open = letters.filter(|letter| letter.state == DeadLetterState::Open && !letter.is_of_message());
        facts.letters = open.map(|letter| letter.id).collect();
        facts.letters.sort_unstable();
        facts.accepted =
            (0..setup.messages.len()).filter(|number| is_in(&tables, setup, *number)).map(|n| 1 << n).sum();
        facts.is_settled = is_settled(&tables);
        facts.broken = (facts.is_settled && !is_captured_to_the_cent(&tables)).then_some(Promise::S13);
        facts
    }

    /// A capture by its id.
    pub fn capture(&self, id: CaptureId) -> Option<&CaptureFact> {
        self.captures.iter().find(|capture| capture.id == id)
    }
}

impl CaptureFact {
    fn of(capture: &Capture) -> Self {
        Self {
            id: capture.id,
            amount: capture.amount.minor(),
            state: capture.state,
            was_begun: capture.progress.attempts > 0,
        }
    }
}

/// Is it in the ledger, as a shipment, as what it registers or cancels, as a notice that waits, or set aside?
fn is_in(tables: &Tables, setup: &Setup, number: usize) -> bool {
    let body = raw(number).body;
    let is_its =
        |raw: &Option<_>| raw.as_ref().is_some_and(|raw: &holdfast::capture::notice::RawMessage| raw.body == body);
    if tables.dead_letters.values().any(|letter| is_its(&letter.raw)) {
        return true;
    }
    if tables.kept.values().any(|kept| is_its(&kept.message)) {
        return true;
    }
    let Some(known) = tables.orders.values().find(|known| known.id == order()) else { return false };
    match &setup.messages[number] {
        Message::Ships(which, minor) => {
            let shipped = tables.shipments.values().find(|shipped| shipped.id == shipment(*which));
            shipped.is_some_and(|shipped| shipped.amount.is_none_or(|amount| amount.minor() == *minor))
        }
        Message::ShipsLine(which) => tables.shipments.values().any(|shipped| shipped.id == shipment(*which)),
        Message::Authorized(revision, ..) => known.plan.as_ref().is_some_and(|plan| plan.revision() >= *revision),
        Message::CancelsLine(which) => {
            let at = known.progress.get(usize::from(*which));
            at.is_some_and(|at| !at.cancelled.is_zero() || !at.shipped.is_zero())
        }
    }
}

fn is_settled(tables: &Tables) -> bool {
    tables.shipments.values().all(|shipment| shipment.state.is_terminal())
        && tables.captures.values().all(|capture| capture.state.is_terminal())
        && tables.kept.values().all(|kept| kept.due_at.is_none())
        && tables.orders.values().all(|order| order.closes_at.is_none())
        && tables.unpublished.is_empty()
}

/// S13: an order of which nothing failed was captured as its plan says; where a revision has come, at least,
/// for it takes nothing back.
fn is_captured_to_the_cent(tables: &Tables) -> bool {
    let Some(order) = tables.orders.values().next() else { return true };
    // Of a shipment or of a fee, and not made good by a replay.
    let is_open = |letter: &DeadLetter| letter.state == DeadLetterState::Open && !letter.is_of_message();
    let failed = tables.shipments.values().any(|shipment| shipment.reason.is_some())
        || tables.dead_letters.values().any(is_open);
    let (Some(plan), Some(AmountMode::Planned), false) = (&order.plan, order.mode, failed) else { return true };
    if !order.is_complete() {
        return true;
    }
    let earned = plan.earned(&order.counted(&order.progress)).minor();
    if plan.revision() == 1 { order.captured == earned } else { order.captured >= earned }
}
