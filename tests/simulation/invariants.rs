//! What must hold after every step, and at rest. Worked out from the providers' books, the consumer's
//! view and the ledger's rows, with sums of its own: the core's running totals are what is checked.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use holdfast::capture::books::MovementKind;
use holdfast::capture::decide::{Call, Command, Evidence, Reply, Ticket};
use holdfast::capture::evidence::{Answer, Reading};
use holdfast::capture::notice::RejectionReason;
use holdfast::capture::records::{AmountMode, Authorization, AuthorizationKey, Capture, ForeignStanding};
use holdfast::capture::states::CaptureState;
use holdfast::clock::Timestamp;
use holdfast::ids::{CaptureId, DeadLetterId, OrderId};
use holdfast::ledger::memory::{MemoryLedger, Tables};
use holdfast::message::Notice;
use holdfast::money::Money;
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use crate::consumer::Told;
use crate::deadlines::{self, Deadlines};
use crate::provider;
use crate::scenario::{Message, Name, SimOrder};
use crate::world::{Check, World};

/// What was seen before, to compare with what is seen now.
#[derive(Default)]
pub struct Memory {
    intents: BTreeMap<CaptureId, Intent>,
    movements_seen: usize,
    /// Reserved and captured, summed up from the movements.
    balances: BTreeMap<AuthorizationKey, (i64, i64)>,
    told_seen: usize,
    /// Captures that the world was told have failed, and that no money moved.
    told_failed: BTreeSet<CaptureId>,
    /// Shipments, with their generation, that had their outcome.
    outcomes: BTreeSet<(String, String, u64)>,
    deadlines: Deadlines,
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

    fn check(&mut self, world: &World) -> Check {
        let tables = world.ledger.tables();
        self.check_captures(&tables)?;
        self.check_movements(&tables)?;
        check_reservations(&tables)?;
        self.deadlines.note(world, &tables);
        self.check_told(world)?;
        for (name, authorization) in &world.authorizations {
            self.check_provider(name, authorization, world.is_jumping())?;
        }
        Ok(())
    }

    /// S5, S6: intents do not change, ends do not end.
    fn check_captures(&mut self, tables: &Tables) -> Check {
        for capture in tables.captures.values() {
            let record = &tables.authorizations[&capture.authorization];
            let ended = capture.state.is_terminal().then_some(capture.state);
            let Some(known) = self.intents.get_mut(&capture.id) else {
                let name = (record.account.clone(), record.reference.clone());
                self.intents.insert(capture.id, Intent { name, amount: capture.amount, ended });
                continue;
            };
            if known.amount != capture.amount || known.name.1 != record.reference {
                return Err(format!("S5: the intent of {} changed", capture.id));
            }
            if known.ended.is_some() && known.ended != ended {
                return Err(format!("S6: {} went from {:?} to {:?}", capture.id, known.ended, capture.state));
            }
            known.ended = ended;
        }
        Ok(())
    }

    /// S10: the movements add up to the balance.
    fn check_movements(&mut self, tables: &Tables) -> Check {
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
        for record in tables.authorizations.values() {
            let summed = self.balances.get(&record.key).copied().unwrap_or_default();
            if summed != (record.reserved.minor(), record.captured.minor()) {
                return Err(format!("S10: the movements of {} add up to {summed:?}: {record:?}", record.reference));
            }
        }
        Ok(())
    }

    /// S1, S2, S3 and one half of S7, over the provider's books.
    fn check_provider(&self, name: &Name, authorization: &provider::Authorization, world_is_jumping: bool) -> Check {
        let mut seen = BTreeSet::new();
        for event in &authorization.events {
            let Some(id) = event.capture else { continue };
            if !seen.insert(id) {
                return Err(format!("S1: {id} was captured twice"));
            }
            let intent = self.intents.get(&id).ok_or_else(|| format!("S2: {id} was captured without an intent"))?;
            if intent.name != *name || intent.amount != event.amount {
                return Err(format!("S2: {id} was captured as {} instead of {}", event.amount, intent.amount));
            }
            if self.told_failed.contains(&id) && !world_is_jumping {
                return Err(format!("S7: {id} was told to have failed, and is captured"));
            }
        }
        if name.0.as_str().starts_with("once") && authorization.events.len() > 1 {
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
                "capture.succeeded" => check_succeeded(world, told)?,
                "capture.failed" if told.data["money_may_have_moved"] == false => {
                    self.told_failed.extend(told.capture());
                }
                "authorization.expiring" | "authorization.expired" => self.deadlines.told(told)?,
                // How long ago something was is what says that a capture has failed.
                "capture.corrected" if world.is_jumping() => {}
                // Nobody knew, and nobody was told anything else.
                "capture.corrected" if told.text("was") == "unresolved" => {}
                "capture.corrected" => return Err(format!("S7: {:?} had to be corrected", told.shipment())),
                _ => {}
            }
        }
        self.told_seen = world.consumer.told().len();
        Ok(())
    }
}

/// S3: our own sum of what is reserved and captured is within what was authorized.
fn check_reservations(tables: &Tables) -> Check {
    let mut committed: BTreeMap<AuthorizationKey, i64> = BTreeMap::new();
    for capture in tables.captures.values() {
        let counts = capture.state != CaptureState::Failed || capture.is_corrected;
        *committed.entry(capture.authorization).or_default() += if counts { capture.amount.minor() } else { 0 };
    }
    for (key, minor) in committed {
        let record = &tables.authorizations[&key];
        if minor > record.authorized.minor() {
            return Err(format!("S3: {minor} is committed on {} of {}", record.reference, record.authorized));
        }
    }
    Ok(())
}

/// The other half of S7: who was told of success can find the money at the provider.
fn check_succeeded(world: &World, told: &Told) -> Check {
    if told.text("kind") == "zero" {
        return Ok(());
    }
    let is_its = |name: &&Name| name.0.as_str() == told.text("account") && name.1.as_str() == told.text("reference");
    let name = world.authorizations.keys().find(is_its);
    let name = name.ok_or("S7: told of an authorization that nobody knows")?;
    let authorization = &world.authorizations[name];
    let amount = amount(told, "capture_amount");
    let once = name.0.as_str().starts_with("once");
    let is_there = authorization
        .events
        .iter()
        .any(|event| (once || event.capture == told.capture()) && event.amount.to_major() == amount);
    if is_there { Ok(()) } else { Err(format!("S7: {:?} was told to be captured, and is not", told.shipment())) }
}

fn amount(told: &Told, field: &str) -> Decimal {
    told.text(field).parse().expect("amounts are decimal texts")
}

/// S8: what is acknowledged is in the ledger: as a shipment with this content, as an authorization, as an
/// order to be cancelled, as a notice that waits, or as a dead letter.
pub fn acknowledged(tables: &Tables, message: &Message) -> Check {
    let order_of = |id: &OrderId| tables.orders.values().find(|order| order.id == *id);
    let is_there = match &message.notice {
        Notice::Shipped(notice) => tables.shipments.values().any(|shipment| {
            let order = &tables.orders[&shipment.order];
            order.id == notice.order && shipment.id == notice.shipment && shipment.lines == notice.lines
        }),
        Notice::Authorized(notice) => {
            let facts = &notice.authorization;
            let is_it = |record: &Authorization| record.account == facts.account && record.reference == facts.reference;
            tables.authorizations.values().any(is_it)
                && order_of(&notice.order).is_some_and(|order| notice.plan.is_none() || order.plan.is_some())
        }
        Notice::Cancelled(notice) => {
            let whole = notice.lines.is_none();
            order_of(&notice.order).is_some_and(|order| if whole { order.is_cancelled } else { order.plan.is_some() })
        }
    };
    let hash: [u8; 32] = Sha256::digest(&message.body).into();
    let is_kept = tables.kept.values().any(|kept| kept.body_sha256 == hash && kept.due_at.is_some());
    let is_dead = RejectionReason::ALL
        .iter()
        .any(|reason| tables.dead_letters.contains_key(&DeadLetterId::of_message(reason.as_str(), &hash)));
    if is_there || is_kept || is_dead {
        Ok(())
    } else {
        Err(format!("S8: {:?} is acknowledged and not in the ledger", message.body))
    }
}

/// The authorizations on which somebody else captures.
pub fn halted(ledger: &MemoryLedger) -> BTreeSet<AuthorizationKey> {
    let tables = ledger.tables();
    tables.authorizations.values().filter(|record| is_halted(record)).map(|record| record.key).collect()
}

fn is_halted(record: &Authorization) -> bool {
    record.watch.foreign.is_some_and(|foreign| foreign.standing == ForeignStanding::Halted)
}

/// H1: on an authorization on which somebody else captures, nothing is begun before its deadline margin.
/// What is begun in the group that halts it may have been begun before.
pub fn nothing_is_sent_where_it_is_halted(
    ledger: &MemoryLedger,
    halted_before: &BTreeSet<AuthorizationKey>,
    reply: &Reply,
    now: Timestamp,
) -> Check {
    let Some(Ticket { call: Call::Send { capture, id, .. }, .. }) = &reply.ticket else { return Ok(()) };
    let tables = ledger.tables();
    let record = &tables.authorizations[&tables.captures[capture].authorization];
    let is_halted = is_halted(record) && halted_before.contains(&record.key);
    let margin = TimeDelta::hours(if record.expiry_is_derived { 24 } else { 2 });
    if is_halted && record.expires_at.is_none_or(|at| now < at - margin) {
        return Err(format!("H1: {id} is sent on {}, which is halted", record.reference));
    }
    Ok(())
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
    let capture = tables.captures[&settle.capture].clone();
    Some((capture, tables.events.len(), tables.movements.len()))
}

/// L1 to L4, A1 and S13: what must hold when everything is at rest.
pub fn check_at_rest(world: &World) -> Check {
    let tables = world.ledger.tables();
    for shipment in tables.shipments.values() {
        if !shipment.state.is_terminal() {
            return Err(format!("L1: {} ends {}", shipment.id, shipment.state.as_str()));
        }
    }
    if let Some(kept) = tables.kept.values().find(|kept| kept.due_at.is_some()) {
        return Err(format!("L1: a notice waits for ever: {kept:?}"));
    }
    if let Some(row) = tables.unpublished.keys().next() {
        return Err(format!("L2: event {row} was not published"));
    }
    if tables.events.len() != world.consumer.told().len() {
        return Err(format!("L2: {} events, {} arrived", tables.events.len(), world.consumer.told().len()));
    }
    for message in &world.acknowledged {
        acknowledged(&tables, message)?;
    }
    check_outcomes(world, &tables)?;
    deadlines::check_at_rest(world, &tables)?;
    // Where a clock jumps, a capture may be given up that arrives all the same.
    for (name, authorization) in world.authorizations.iter().filter(|_| !world.is_jumping()) {
        check_books(&tables, name, authorization)?;
    }
    for order in &world.orders {
        check_order(world, &tables, order)?;
    }
    Ok(())
}

/// L1: every shipment in the ledger has one outcome, and the shares of a capture add up to it.
fn check_outcomes(world: &World, tables: &Tables) -> Check {
    let mut told = BTreeSet::new();
    let mut shares: BTreeMap<String, (Decimal, Decimal)> = BTreeMap::new();
    for outcome in world.consumer.told().iter().filter(|told| told.is_outcome()) {
        let (order, shipment, _) = outcome.shipment();
        told.insert((order, shipment));
        if outcome.kind == "capture.succeeded" && outcome.text("kind") != "zero" {
            let (sum, whole) = shares.entry(outcome.text("capture_id").to_owned()).or_default();
            *sum += amount(outcome, "amount");
            *whole = amount(outcome, "capture_amount");
        }
    }
    for shipment in tables.shipments.values() {
        let order = &tables.orders[&shipment.order].id;
        if !told.contains(&(order.to_string(), shipment.id.to_string())) {
            return Err(format!("L1: {order} {} has no outcome", shipment.id));
        }
    }
    match shares.iter().find(|(_, (sum, whole))| sum != whole) {
        Some((id, (sum, whole))) => Err(format!("S13: the shares of {id} add up to {sum} of {whole}")),
        None => Ok(()),
    }
}

/// A1 and L4: the provider's events of ours are what the ledger says is captured.
fn check_books(tables: &Tables, name: &Name, authorization: &provider::Authorization) -> Check {
    let record = tables.authorizations.values().find(|record| record.account == name.0 && record.reference == name.1);
    let ours = |capture: &&Capture| Some(capture.authorization) == record.map(|record| record.key);
    let is_captured = |capture: &&Capture| capture.state == CaptureState::Captured || capture.is_corrected;
    let in_ledger: Vec<&Capture> = tables.captures.values().filter(ours).filter(is_captured).collect();
    for event in authorization.events.iter().filter(|event| event.capture.is_some()) {
        let known = in_ledger.iter().find(|capture| Some(capture.id) == event.capture);
        if known.is_none_or(|capture| capture.amount != event.amount) {
            return Err(format!("A1: {:?} is missing in the ledger", event.capture));
        }
    }
    let once = name.0.as_str().starts_with("once");
    for capture in in_ledger {
        let is_there = authorization.events.iter().any(|event| {
            let is_its = event.capture == Some(capture.id) || (once && event.capture.is_none());
            is_its && event.amount == capture.amount
        });
        if !is_there {
            return Err(format!("A1: {} is missing at the provider", capture.id));
        }
    }
    Ok(())
}

/// S13: a fully shipped order, none of whose shipments failed, was captured to the minor unit; and so
/// was one of which a part was cancelled, where its authorizations can be captured several times.
fn check_order(world: &World, tables: &Tables, order: &SimOrder) -> Check {
    let outcomes =
        world.consumer.told().iter().filter(|told| told.is_outcome() && told.text("order_id") == order.id.as_str());
    // A replay that has succeeded makes good for the failure before it.
    let mut last: BTreeMap<(String, String), &Told> = BTreeMap::new();
    for outcome in outcomes {
        let (order, shipment, generation) = outcome.shipment();
        let known = last.entry((order, shipment)).or_insert(outcome);
        if known.shipment().2 < generation {
            *known = outcome;
        }
    }
    let outcomes: Vec<&Told> = last.into_values().collect();
    if outcomes.iter().any(|told| told.kind != "capture.succeeded") {
        return Ok(());
    }
    let sum: Decimal = outcomes.iter().map(|told| amount(told, "amount")).sum();
    let shipped = outcomes.iter().filter(|told| !told.is_fee()).count();
    if let Some(total) = order.total.filter(|_| order.ships_completely && shipped == order.shipments.len())
        && sum != total.to_major()
    {
        return Err(format!("S13: {} owes {total}, captured {sum}", order.id));
    }
    let known = tables.orders.values().find(|known| known.id == order.id);
    let Some(record) = known.filter(|record| record.mode == Some(AmountMode::Planned)) else { return Ok(()) };
    let (Some(plan), true) = (&record.plan, record.is_complete() && order.captures_often) else { return Ok(()) };
    let earned = plan.earned(&record.counted(&record.progress)).to_major();
    // A revision may have come after more was given, and takes nothing back.
    let is_right = if plan.revision() == 1 { sum == earned } else { sum >= earned };
    if is_right { Ok(()) } else { Err(format!("S13: {} has earned {earned}, captured {sum}", order.id)) }
}
