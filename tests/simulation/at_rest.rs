//! What must hold when faults have stopped and everything has come to an end, over everything there is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use holdfast::capture::notice::RejectionReason;
use holdfast::capture::plan::LineProgress;
use holdfast::capture::records::{AmountMode, Authorization, Capture};
use holdfast::capture::states::CaptureState;
use holdfast::ids::{DeadLetterId, OrderId};
use holdfast::ledger::memory::Tables;
use holdfast::message::Notice;
use holdfast::money::Money;
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use crate::consumer::Told;
use crate::deadlines;
use crate::invariants::amount;
use crate::provider;
use crate::scenario::{Message, Name, SimOrder};
use crate::world::{Check, World};

/// L1 to L4, A1 and S13: what must hold when everything is at rest.
pub fn check(world: &World) -> Check {
    let tables = world.ledger.tables();
    for shipment in tables.shipments.values() {
        if !shipment.state.is_terminal() {
            let capture = shipment.capture.map(|key| &tables.captures[&key]);
            return Err(format!("L1: {} ends {}: {shipment:?} {capture:?}", shipment.id, shipment.state.as_str()));
        }
    }
    if let Some(kept) = tables.kept.values().find(|kept| kept.due_at.is_some()) {
        return Err(format!("L1: a notice waits for ever: {kept:?}"));
    }
    if let Some(row) = tables.unpublished.keys().next() {
        return Err(format!("L2: event {row} was not published"));
    }
    if let Some((event, _)) = tables.events.values().find(|(event, _)| !world.consumer.has_seen(event.id.as_uuid())) {
        return Err(format!("L2: {event:?} has not arrived"));
    }
    for message in &world.acknowledged {
        acknowledged(&tables, message)?;
    }
    check_outcomes(world, &tables)?;
    deadlines::check_at_rest(world, &tables)?;
    for (name, authorization) in &world.authorizations {
        check_books(world, &tables, name, authorization)?;
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
    // What a capture of the time that was lost was for may be split otherwise after a restore.
    match shares.iter().find(|(_, (sum, whole))| sum != whole && !world.is_restored()) {
        Some((id, (sum, whole))) => Err(format!("S13: the shares of {id} add up to {sum} of {whole}")),
        None => Ok(()),
    }
}

/// A1 and L4: the provider's events of ours are what the ledger says is captured. What nobody has asked for
/// again after a restore is the exception, and what `holdfast audit` would name.
fn check_books(world: &World, tables: &Tables, name: &Name, authorization: &provider::Authorization) -> Check {
    let record = tables.authorizations.values().find(|record| record.account == name.0 && record.reference == name.1);
    let ours = |capture: &&Capture| Some(capture.authorization) == record.map(|record| record.key);
    let is_captured = |capture: &&Capture| capture.state == CaptureState::Captured || capture.corrected_at.is_some();
    let in_ledger: Vec<&Capture> = tables.captures.values().filter(ours).filter(is_captured).collect();
    for event in &authorization.events {
        let Some(id) = event.capture else { continue };
        let known = in_ledger.iter().find(|capture| capture.id == id);
        if known.is_none_or(|capture| capture.amount != event.amount) && !world.memory.is_lost(id) {
            return Err(format!("A1: {id} is missing in the ledger"));
        }
    }
    let once = name.0.as_str().starts_with("once");
    for capture in in_ledger {
        let is_there = authorization.events.iter().any(|event| {
            let has_no_key = once && event.capture.is_none_or(|id| world.memory.is_lost(id));
            (event.capture == Some(capture.id) || has_no_key) && event.amount == capture.amount
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
    check_most(world, tables, order)?;
    // A replay that has succeeded makes good for the failure before it.
    let mut last: BTreeMap<(String, String), &Told> = BTreeMap::new();
    for outcome in outcomes {
        let (order, shipment, generation) = outcome.shipment();
        let known = last.entry((order, shipment)).or_insert(outcome);
        if known.shipment().2 <= generation {
            *known = outcome;
        }
    }
    let outcomes: Vec<&Told> = last.into_values().collect();
    if outcomes.iter().any(|told| told.kind != "capture.succeeded") || has_ended_without_money(tables, order) {
        return Ok(());
    }
    let sum = if world.is_restored() {
        // What was told in the time that was lost is told otherwise since.
        captured_for(world, tables, order)
    } else {
        outcomes.iter().map(|told| amount(told, "amount")).sum()
    };
    let shipped = outcomes.iter().filter(|told| !told.is_fee()).count();
    if let Some(total) = order.total.filter(|_| order.ships_completely && shipped == order.shipments.len())
        && !off_by(world, tables, order, total).contains(&(sum - total.to_major()))
    {
        return Err(format!("S13: {} owes {total}, captured {sum}", order.id));
    }
    let known = tables.orders.values().find(|known| known.id == order.id);
    let Some(record) = known.filter(|record| record.mode == Some(AmountMode::Planned)) else { return Ok(()) };
    let (Some(plan), true) = (&record.plan, record.is_complete() && order.captures_often) else { return Ok(()) };
    let earned = plan.earned(&record.counted(&record.progress)).to_major();
    // A revision may have come after more was given, and takes nothing back.
    let off_by = off_by(world, tables, order, plan.total());
    let difference = sum - earned;
    let is_right = off_by.contains(&difference) || (plan.revision() > 1 && difference >= *off_by.start());
    if is_right { Ok(()) } else { Err(format!("S13: {} has earned {earned}, captured {sum}", order.id)) }
}

/// Has a shipment of the order ended without its money, by the ledger? After a restore it may have, though it was told
/// to be captured in the time that was lost.
fn has_ended_without_money(tables: &Tables, order: &SimOrder) -> bool {
    let mut shipments = tables.shipments.values().filter(|shipment| tables.orders[&shipment.order].id == order.id);
    let is_unresolved = |key| tables.captures[&key].state == CaptureState::Unresolved;
    shipments.any(|shipment| shipment.reason.is_some() || shipment.capture.is_some_and(is_unresolved))
}

/// S1: never more was captured for an order than it owes. After a restore it may be the smallest unit for each shipment,
/// and the delivery fee; and what was captured on an authorization that the ledger cannot know of.
fn check_most(world: &World, tables: &Tables, order: &SimOrder) -> Check {
    if world.is_restored() && may_be_unknown(world, order) {
        return Ok(());
    }
    let events = events_of(world, order);
    let sum: Decimal = events.filter(|event| event.capture.is_some()).map(|event| event.amount.to_major()).sum();
    let least = if world.is_restored() { slack(tables, order, order.most) } else { Decimal::ZERO };
    let most = order.most.to_major() + least;
    if sum <= most { Ok(()) } else { Err(format!("S1: {} owes {most} at most, captured {sum}", order.id)) }
}

/// Of an order that was authorized more than once the ledger may not know yet on which authorization it was captured:
/// where that is registered again after something has come that was never acknowledged, and where there are no keys.
/// In dense worlds all are registered again before anything else comes. Nor is that waited for when an authorization is
/// about to die.
fn may_be_unknown(world: &World, order: &SimOrder) -> bool {
    let is_late = world.registered_again.contains(&order.id) && !world.case.is_dense;
    order.references.len() > 1 && (!order.captures_often || is_late || world.hurried.contains(&order.id))
}

/// The smallest unit for each shipment, and the delivery fee.
fn slack(tables: &Tables, order: &SimOrder, any: Money) -> Decimal {
    let record = tables.orders.values().find(|known| known.id == order.id);
    let fee = record.and_then(|record| record.plan.as_ref()).map_or(Decimal::ZERO, |plan| plan.fee().to_major());
    units(order, any) + fee
}

fn units(order: &SimOrder, any: Money) -> Decimal {
    let units = i64::try_from(order.shipments.len()).expect("a few");
    Money::from_minor(units, any.currency()).expect("not negative").to_major()
}

/// What was captured on the authorizations of an order, by the providers' books.
fn events_of<'a>(world: &'a World, order: &'a SimOrder) -> impl Iterator<Item = &'a provider::CaptureEvent> {
    let ours = world.authorizations.iter().filter(|(name, _)| order.references.contains(&name.1));
    ours.flat_map(|(_, authorization)| &authorization.events)
}

/// What was captured for an order, by the providers' books.
fn captured_for(world: &World, tables: &Tables, order: &SimOrder) -> Decimal {
    // Where there is one capture, the provider's own at the end of the hold may have been it: it is of that amount.
    let is_captured = |known: &Capture| known.state == CaptureState::Captured || known.corrected_at.is_some();
    let is_it = |amount| tables.captures.values().any(|known| known.amount == amount && is_captured(known));
    let events = events_of(world, order);
    let ours = events.filter(|event| event.capture.is_some() || !order.captures_often && is_it(event.amount));
    ours.map(|event| event.amount.to_major()).sum()
}

/// After a restore notices come in another order, and what was captured in the time that was lost stays as it
/// was. That is off by the smallest unit for each shipment that came before it now, and after it then; and the
/// delivery fee, which goes with whatever comes first, was captured before with something else. What was shipped
/// before it was cancelled may have been cancelled before it is shipped now.
fn off_by(world: &World, tables: &Tables, order: &SimOrder, any: Money) -> RangeInclusive<Decimal> {
    if !world.is_restored() {
        return Decimal::ZERO..=Decimal::ZERO;
    }
    let record = tables.orders.values().find(|known| known.id == order.id);
    let is_cancelled = |at: &LineProgress| !at.cancelled.is_zero();
    let is_part_cancelled = record.is_some_and(|record| record.progress.iter().any(is_cancelled));
    let is_revised = record.and_then(|record| record.plan.as_ref()).is_some_and(|plan| plan.revision() > 1);
    if is_revised {
        // The revision may come before what was captured by the plan that it replaces.
        return Decimal::MIN..=Decimal::MAX;
    }
    let (units, slack) = (units(order, any), slack(tables, order, any));
    let most = if may_be_unknown(world, order) || is_part_cancelled { Decimal::MAX } else { slack };
    -units..=most
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
