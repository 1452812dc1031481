//! What must hold after every step. Worked out from the providers' books, the consumer's view and the ledger's
//! rows, with sums of its own: the core's running totals are what is checked. Only what was touched since the
//! last step is looked at; what must hold at rest is in `at_rest`, over everything.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use holdfast::capture::books::MovementKind;
use holdfast::capture::decide::{Call, Command, Evidence, Reply, Ticket};
use holdfast::capture::evidence::{Answer, Reading};
use holdfast::capture::records::{Authorization, AuthorizationKey, Capture, CaptureKey, ForeignStanding};
use holdfast::capture::states::CaptureState;
use holdfast::ids::CaptureId;
use holdfast::ledger::memory::Tables;
use holdfast::money::Money;
use rust_decimal::Decimal;

use crate::caps::{Clock, LetThrough};
use crate::clock::WALL_ERROR_MAX;
use crate::consumer::Told;
use crate::deadlines::Deadlines;
use crate::provider;
use crate::scenario::Name;
use crate::world::{Check, World};

/// What was seen before, to compare with what is seen now.
#[derive(Clone, Default)]
pub struct Memory {
    intents: BTreeMap<CaptureId, Intent>,
    /// Intents of a time that was lost in a restore.
    lost: BTreeMap<CaptureId, Vec<Intent>>,
    movements_seen: usize,
    /// Reserved and captured, summed up from the movements.
    balances: BTreeMap<AuthorizationKey, (i64, i64)>,
    /// Reserved and captured, summed up from the captures, and what each adds to it.
    committed: BTreeMap<AuthorizationKey, i64>,
    shares: BTreeMap<CaptureKey, i64>,
    told_seen: usize,
    /// Captures that the world was told have failed, and that no money moved.
    told_failed: BTreeSet<CaptureId>,
    /// Shipments, with their generation, that had their outcome.
    outcomes: BTreeSet<(String, String, u64)>,
    /// Those that were told to be captured, in the time that was lost last too.
    told_captured: BTreeSet<(String, String, u64)>,
    /// Authorizations on which somebody else captures.
    halted: BTreeSet<AuthorizationKey>,
    /// Authorizations at whose provider something may have happened.
    looked_at: BTreeSet<Name>,
    deadlines: Deadlines,
    let_through: LetThrough,
}

#[derive(Clone)]
struct Intent {
    name: Name,
    amount: Money,
    ended: Option<CaptureState>,
}

/// Everything that must hold between two steps.
pub fn check(world: &mut World) -> Check {
    let mut memory = std::mem::take(&mut world.memory);
    let result = memory.check(world);
    world.memory = memory;
    result
}

impl Memory {
    /// What was told of deadlines, and what has to be.
    pub const fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// Something may have happened at the provider.
    pub fn look_at(&mut self, name: &Name) {
        if !self.looked_at.contains(name) {
            self.looked_at.insert(name.clone());
        }
    }

    /// Was it intended in a time that was lost in a restore?
    pub fn is_lost(&self, id: CaptureId) -> bool {
        self.lost.contains_key(&id)
    }

    /// The ledger goes back to what it was; the consumer and the providers do not. What was told to have failed
    /// since is not known any more, and may succeed; what was told to be captured stays so.
    pub fn go_back_to(&mut self, then: Self) {
        let now = std::mem::replace(self, then);
        let then = &self.intents;
        let is_lost = |id: &CaptureId, intent: &Intent| then.get(id).is_none_or(|known| known.amount != intent.amount);
        self.lost = now.lost;
        for (id, intent) in now.intents.into_iter().filter(|(id, intent)| is_lost(id, intent)) {
            self.lost.entry(id).or_default().push(intent);
        }
        self.told_seen = now.told_seen;
        // Of what was told in the lost time before this one only that ledger had seen a trace.
        self.told_captured = now.told_captured.difference(&self.told_captured).cloned().collect();
        self.looked_at = now.looked_at;
        self.deadlines.go_on_after(now.deadlines);
    }

    fn check(&mut self, world: &World) -> Check {
        let mut tables = world.ledger.tables();
        let touched = std::mem::take(tables.touched.as_mut().expect("it is asked for"));
        for key in &touched.captures {
            self.check_capture(&tables, &tables.captures[key])?;
            // How long ago something was is worth nothing where the clock jumps.
            if !world.is_jumping() {
                let error = 2 * WALL_ERROR_MAX.to_std().expect("positive");
                let clock = Clock { elapsed: world.clock.elapsed(), error };
                self.let_through.check(&tables, &tables.captures[key], &world.policy, clock)?;
            }
        }
        self.sum_up_movements(&tables);
        for key in &touched.authorizations {
            self.check_authorization(&tables.authorizations[key])?;
        }
        self.deadlines.note(world, &tables, &touched.authorizations);
        self.check_told(world)?;
        for name in std::mem::take(&mut self.looked_at) {
            self.check_provider(&name, &world.authorizations[&name])?;
        }
        Ok(())
    }

    /// S5, S6: intents do not change, ends do not end.
    fn check_capture(&mut self, tables: &Tables, capture: &Capture) -> Check {
        let counts = capture.state != CaptureState::Failed || capture.corrected_at.is_some();
        let share = if counts { capture.amount.minor() } else { 0 };
        let before = self.shares.insert(capture.key, share).unwrap_or_default();
        *self.committed.entry(capture.authorization).or_default() += share - before;
        let record = &tables.authorizations[&capture.authorization];
        let ended = capture.state.is_terminal().then_some(capture.state);
        let Some(known) = self.intents.get_mut(&capture.id) else {
            let name = (record.account.clone(), record.reference.clone());
            self.intents.insert(capture.id, Intent { name, amount: capture.amount, ended });
            return Ok(());
        };
        if known.amount != capture.amount || known.name.1 != record.reference {
            return Err(format!("S5: the intent of {} changed", capture.id));
        }
        if known.ended.is_some() && known.ended != ended {
            return Err(format!("S6: {} went from {:?} to {:?}", capture.id, known.ended, capture.state));
        }
        known.ended = ended;
        Ok(())
    }

    fn sum_up_movements(&mut self, tables: &Tables) {
        for movement in &tables.movements[self.movements_seen..] {
            let (reserved, captured) = self.balances.entry(movement.authorization).or_default();
            let minor = movement.amount.minor();
            match movement.kind {
                MovementKind::Reserve => *reserved += minor,
                MovementKind::Release => *reserved -= minor,
                MovementKind::Capture => {
                    *reserved -= minor;
                    *captured += minor;
                }
                MovementKind::Correct => *captured += minor,
            }
        }
        self.movements_seen = tables.movements.len();
    }

    /// S10: the movements add up to the balance. S3: our own sum of what is reserved and captured is within what
    /// was authorized.
    fn check_authorization(&mut self, record: &Authorization) -> Check {
        let summed = self.balances.get(&record.key).copied().unwrap_or_default();
        if summed != (record.reserved.minor(), record.captured.minor()) {
            return Err(format!("S10: the movements of {} add up to {summed:?}: {record:?}", record.reference));
        }
        let committed = self.committed.get(&record.key).copied().unwrap_or_default();
        if committed > record.authorized.minor() + record.excess.minor() {
            return Err(format!("S3: {committed} is committed on {} of {}", record.reference, record.authorized));
        }
        if is_halted(record) {
            self.halted.insert(record.key);
        } else {
            self.halted.remove(&record.key);
        }
        Ok(())
    }

    /// S1, S2, S3 and one half of S7, over the provider's books.
    fn check_provider(&self, name: &Name, authorization: &provider::Authorization) -> Check {
        let mut seen = BTreeSet::new();
        for event in &authorization.events {
            let Some(id) = event.capture else { continue };
            if !seen.insert(id) {
                return Err(format!("S1: {id} was captured twice"));
            }
            let mut intents = self.intents.get(&id).into_iter().chain(self.lost.get(&id).into_iter().flatten());
            if !intents.any(|intent| intent.name == *name && intent.amount == event.amount) {
                return Err(format!("S2: {id} was captured as {}, which was not intended", event.amount));
            }
            if self.told_failed.contains(&id) {
                return Err(format!("S7: {id} was told to have failed, and is captured"));
            }
        }
        if is_once(name) && authorization.events.len() > 1 {
            return Err(format!("S1: {} was captured twice", name.1));
        }
        if authorization.captured().minor() > authorization.held.minor() {
            return Err(format!("S3: more was captured on {} than is held", name.1));
        }
        Ok(())
    }

    /// S6 and S7, over what the world was told since the last step.
    fn check_told(&mut self, world: &World) -> Check {
        for told in &world.consumer.told()[self.told_seen..] {
            if told.is_outcome() && !self.outcomes.insert(told.shipment()) {
                return Err(format!("S6: two outcomes for {:?}", told.shipment()));
            }
            match &*told.kind {
                "capture.succeeded" => {
                    if told.text("kind") != "zero" && !amount(told, "amount").is_zero() {
                        self.told_captured.insert(told.shipment());
                    }
                    check_succeeded(world, told)?;
                }
                "capture.failed" if told.data["money_may_have_moved"] == false => self.check_failed(world, told)?,
                "authorization.expiring" | "authorization.expired" => self.deadlines.told(told)?,
                // Nobody knew, and nobody was told anything else.
                "capture.corrected" if told.text("was") == "unresolved" => {}
                // What the provider captures by itself at the end of a hold has no key, and may be as much as ours.
                "capture.corrected" if is_the_providers_own(world, told) => {}
                "capture.corrected" if self.is_of_a_lost_generation(world, told) => {}
                "capture.corrected" => return Err(format!("S7: {:?} had to be corrected", told.shipment())),
                _ => {}
            }
        }
        self.told_seen = world.consumer.told().len();
        Ok(())
    }

    /// The other half of S7: who was told that no money moved will not find any.
    fn check_failed(&mut self, world: &World, told: &Told) -> Check {
        if self.told_captured.contains(&told.shipment()) {
            return Err(format!("S7: it was captured before a restore, and told to have failed now: {:?}", told.data));
        }
        self.told_failed.extend(told.capture());
        self.looked_at.extend(told.authorization().filter(|name| world.authorizations.contains_key(name)));
        Ok(())
    }

    /// Was the one capture made in the lost time, for another generation? Without keys nobody can say for which.
    fn is_of_a_lost_generation(&self, world: &World, told: &Told) -> bool {
        let name = told.authorization().filter(is_once);
        let known = name.and_then(|name| world.authorizations.get(&name));
        let another = |id| Some(id) != told.capture() && self.lost.contains_key(&id);
        known.is_some_and(|known| matches!(&*known.events, [event] if event.capture.is_some_and(another)))
    }
}

/// Can it be captured once, and without a key?
fn is_once(name: &Name) -> bool {
    name.0.as_str().starts_with("once")
}

/// S7: who was told of success can find the money at the provider.
fn check_succeeded(world: &World, told: &Told) -> Check {
    if told.text("kind") == "zero" {
        return Ok(());
    }
    let is_its = |name: &&Name| name.0.as_str() == told.text("account") && name.1.as_str() == told.text("reference");
    let name = world.authorizations.keys().find(is_its);
    let name = name.ok_or("S7: told of an authorization that nobody knows")?;
    let authorization = &world.authorizations[name];
    let amount = amount(told, "capture_amount");
    let once = is_once(name);
    let is_there = authorization
        .events
        .iter()
        .any(|event| (once || event.capture == told.capture()) && event.amount.to_major() == amount);
    if is_there { Ok(()) } else { Err(format!("S7: {:?} was told to be captured, and is not", told.shipment())) }
}

/// Is there one capture, and not under a key of ours?
fn is_the_providers_own(world: &World, told: &Told) -> bool {
    let known = told.authorization().and_then(|name| world.authorizations.get(&name));
    known.is_some_and(|known| matches!(&*known.events, [event] if event.capture.is_none()))
}

pub fn amount(told: &Told, field: &str) -> Decimal {
    told.text(field).parse().expect("amounts are decimal texts")
}

fn is_halted(record: &Authorization) -> bool {
    record.watch.foreign.is_some_and(|foreign| foreign.standing == ForeignStanding::Halted)
}

impl World {
    /// H1: on an authorization on which somebody else captures, nothing is begun before its deadline margin.
    /// What is begun in the group that halts it may have been begun before.
    pub fn nothing_is_sent_where_it_is_halted(&self, reply: &Reply) -> Check {
        let Some(Ticket { call: Call::Send { capture, id, .. }, .. }) = &reply.ticket else { return Ok(()) };
        let tables = self.ledger.tables();
        let record = &tables.authorizations[&tables.captures[capture].authorization];
        let is_halted = is_halted(record) && self.memory.halted.contains(&record.key);
        let margin = TimeDelta::hours(if record.expiry_is_derived { 24 } else { 2 });
        if is_halted && record.expires_at.is_none_or(|at| self.clock.machine().wall < at - margin) {
            return Err(format!("H1: {id} is sent on {}, which is halted", record.reference));
        }
        Ok(())
    }
}

/// Does the command bring, under an old epoch, anything but positive evidence?
pub fn is_stale_negative(tables: &Tables, command: &Command) -> bool {
    let Command::Settle(settle) = command else { return false };
    let is_positive = match &settle.evidence {
        Evidence::Answer(Answer::Captured(_)) => true,
        Evidence::Reading(Reading::Seen(view)) => !view.captures.is_empty(),
        Evidence::Answer(
            Answer::Pending | Answer::Refused(_) | Answer::Doubt(_) | Answer::NotExecuted(_) | Answer::Misconfigured(_),
        )
        | Evidence::Reading(Reading::Unclear(_) | Reading::Misconfigured(_))
        | Evidence::Interrupted => false,
    };
    !is_positive && tables.captures[&settle.capture].progress.epoch != settle.epoch
}

/// What a stale command could have left behind.
pub fn trace(tables: &Tables, command: &Command) -> Option<(Capture, usize, usize)> {
    let Command::Settle(settle) = command else { return None };
    // Whoever brings it hands on the turn all the same: when a capture is due is no conclusion.
    let capture = Capture { due_at: None, waits_turn: false, ..tables.captures[&settle.capture].clone() };
    Some((capture, tables.events.len(), tables.movements.len()))
}
