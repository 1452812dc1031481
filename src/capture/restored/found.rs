//! What the read after a restore has found under keys of ours that the ledger does not have: captures of the lost
//! time. A notice that comes again computes the same key, and is booked with what was captured, without a call.

use crate::capture::books::Books;
use crate::capture::decide::{Context, Note, Reply};
use crate::capture::due;
use crate::capture::event::{FailureReason, ResolvedBy};
use crate::capture::evidence::SeenCapture;
use crate::capture::fee;
use crate::capture::outcome::{self, Cause};
use crate::capture::policy::Captures;
use crate::capture::records::{
    AmountMode, Authorization, AuthorizationKey, CaptureKey, NamedBy, OrderKey, Restored, ShipmentKey,
};
use crate::capture::restored::{is_recent, of_order};
use crate::capture::small;
use crate::capture::states::CaptureState;
use crate::ids::{CaptureId, ShipmentId};
use crate::money::Money;

/// How many generations from its own on are looked for among what was captured in the lost time: each is a
/// replay by an operator.
const GENERATIONS_MAX: u32 = 100;

/// What was found under keys of ours that no notice has come for since, where it is captured several times.
pub(in crate::capture) fn all(record: &Authorization) -> &[SeenCapture] {
    match &record.watch.restored {
        Some(Restored::Read { found, .. }) => found,
        Some(Restored::Unread) | None => &[],
    }
}

/// What it comes to, in minor units.
pub(in crate::capture) fn in_all(record: &Authorization) -> i64 {
    all(record).iter().map(|seen| seen.amount.minor()).sum()
}

/// What was captured by us on it, in minor units: by the books, and in the lost time.
pub(in crate::capture) fn captured_by_us(record: &Authorization) -> i64 {
    record.captured.minor() + in_all(record)
}

/// Has the read shown captures of ours, of the lost time? Also those that were booked since.
pub(in crate::capture) fn has_shown_any(record: &Authorization) -> bool {
    match &record.watch.restored {
        Some(Restored::Read { adopted, found }) => *adopted > 0 || !found.is_empty(),
        Some(Restored::Unread) | None => false,
    }
}

/// Has a read shown any on an authorization of the order?
pub(in crate::capture) fn is_shown_any(books: &Books, order: OrderKey) -> bool {
    of_order(books, order).any(|key| has_shown_any(books.authorization(key)))
}

/// What was found under this key. Several captures under one key are one here, of their sum.
fn find(books: &Books, authorization: AuthorizationKey, id: CaptureId) -> Option<SeenCapture> {
    let mut ours = all(books.authorization(authorization)).iter().filter(|seen| seen.capture == Some(id));
    let first = ours.next()?.clone();
    let add = |sum: Money, seen: &SeenCapture| sum.checked_add(seen.amount).expect("one currency per authorization");
    Some(SeenCapture { amount: ours.fold(first.amount, add), ..first })
}

/// The first generation from `own` on whose key was found, and what stands under it: it may have failed in
/// the lost time, and have been captured when it was replayed.
pub(in crate::capture) fn find_generation(
    books: &Books,
    authorization: AuthorizationKey,
    own: u32,
    key: impl Fn(u32) -> CaptureId,
) -> Option<(u32, SeenCapture)> {
    if all(books.authorization(authorization)).is_empty() {
        return None;
    }
    let mut generations = own..own.saturating_add(GENERATIONS_MAX);
    generations.find_map(|generation| Some((generation, find(books, authorization, key(generation))?)))
}

/// The authorization of its order on which the shipment was captured in the lost time, in this generation or a
/// later one.
pub(in crate::capture) fn captured_on(
    books: &Books,
    shipment: ShipmentKey,
    generation: u32,
) -> Option<AuthorizationKey> {
    on_any(books, books.shipment(shipment).order, generation, |authorization, generation| {
        outcome::id_in(books, shipment, authorization, generation)
    })
}

/// The same of a shipment that need not have come again, and what stands there.
pub(in crate::capture) fn of_id(
    books: &Books,
    order: OrderKey,
    shipment: &ShipmentId,
) -> Option<(AuthorizationKey, SeenCapture)> {
    let own = books.shipment_key(order, shipment).map_or(0, |key| books.shipment(key).generation);
    of_order(books, order).find_map(|authorization| {
        let record = books.authorization(authorization);
        let (account, reference, order) = (&record.account, &record.reference, &books.order(order).id);
        let key = |generation| CaptureId::of_shipment(account, reference, order, shipment, generation);
        Some((authorization, find_generation(books, authorization, own, key)?.1))
    })
}

/// The authorization of the order on which anything was found under these keys, from this generation on.
pub(in crate::capture) fn on_any(
    books: &Books,
    order: OrderKey,
    generation: u32,
    key: impl Fn(AuthorizationKey, u32) -> CaptureId,
) -> Option<AuthorizationKey> {
    let is_there = |authorization: &AuthorizationKey| {
        find_generation(books, *authorization, generation, |generation| key(*authorization, generation)).is_some()
    };
    of_order(books, order).find(is_there)
}

/// Why a capture that is open by the books of that day is not sent: only what has failed is replayed, and a later
/// generation of it was captured.
pub(in crate::capture) fn obstacle(books: &Books, capture: CaptureKey) -> Option<Cause> {
    let record = books.capture(capture);
    let next = record.generation + 1;
    let is_captured_later = match &record.named_by {
        // What was captured together is named by whichever of them was the last one then.
        NamedBy::Shipment(_) => {
            books.shipments_of(capture).into_iter().any(|shipment| captured_on(books, shipment, next).is_some())
        }
        NamedBy::Fee(fee) => fee::captured_on(books, record.order, fee.number, next).is_some(),
    };
    let message = "it failed in the time that was lost, and was captured when it was replayed: replay it";
    is_captured_later.then(|| Cause::lookup(FailureReason::Declined, message))
}

/// Why what is planned is not sent after a restore: beside what was found, its order would be captured for more than its
/// plan. While notices come again, another revision of that may.
pub(in crate::capture) fn beyond_plan(books: &Books, capture: CaptureKey, context: Context<'_>) -> Option<Cause> {
    let record = books.capture(capture);
    let is_beyond = || exceeds_plan(books, record.order, Money::zero(record.amount.currency()));
    let message = "with it the order would be captured for more than its plan: others of it were captured for a part of this in \
                   the time that was lost";
    let is_asked = record.state == CaptureState::Planned
        && is_recent(books, context)
        && small::captures(books, record.authorization, context) == Some(Captures::Multiple);
    (is_asked && is_beyond()).then(|| Cause::lookup(FailureReason::ExceedsAuthorization, message))
}

/// Is certainly no later generation of it captured? Where its shipment is not at hand, that is told when it is taken up
/// by itself.
pub(in crate::capture) fn excludes_later(books: &Books, capture: CaptureKey) -> bool {
    let is_at_hand = || books.capture(capture).shipment().is_none_or(|shipment| books.shipments().contains(shipment));
    books.read_first_until.is_none() || is_at_hand() && obstacle(books, capture).is_none()
}

/// What of its order's plan is left for a shipment: what was neither given to others since nor captured for others
/// in the lost time, where anything was. Notices come again in another order, and what goes with the first of them,
/// such as the delivery fee, was captured with another. What comes to too little by it is made up for when the order
/// is complete.
pub(in crate::capture) fn left_of_plan(books: &Books, shipment: ShipmentKey) -> Option<Money> {
    let order = books.shipment(shipment).order;
    let own = find_own(books, shipment).map_or(0, |(_, seen)| seen.amount.minor());
    left_beside(books, order, books.order(order).plan.as_ref()?.total(), own)
}

/// What is left so for what no shipment was given, of all that a complete order has earned.
pub(in crate::capture) fn left_for_fee(books: &Books, order: OrderKey, earned: Money) -> Option<Money> {
    left_beside(books, order, earned, 0)
}

/// What is left of this; so much of what was found is its own.
fn left_beside(books: &Books, order: OrderKey, of: Money, own: i64) -> Option<Money> {
    let found = Some(in_order(books, order)).filter(|sum| *sum > 0)?;
    let left = of.minor() - taken(books, order) - (found - own);
    Some(Money::from_minor(left.max(0), of.currency()).expect("it is not negative"))
}

/// Would more be captured for an order than its plan comes to, with this? After a restore others may have been captured
/// for a part that this was given before.
pub(in crate::capture) fn exceeds_plan(books: &Books, order: OrderKey, amount: Money) -> bool {
    let record = books.order(order);
    let is_planned = books.read_first_until.is_some() && record.mode == Some(AmountMode::Planned);
    let plan = record.plan.as_ref().filter(|_| is_planned);
    plan.is_some_and(|plan| taken(books, order) + in_order(books, order) + amount.minor() > plan.total().minor())
}

/// What was found on all authorizations of an order, in minor units.
fn in_order(books: &Books, order: OrderKey) -> i64 {
    of_order(books, order).map(|key| in_all(books.authorization(key))).sum()
}

/// What was found of a capture that has this shipment as its last one, and in which generation.
pub(in crate::capture) fn find_own(books: &Books, shipment: ShipmentKey) -> Option<(u32, SeenCapture)> {
    let record = books.shipment(shipment);
    let authorization = record.authorization?;
    let key = |generation| outcome::id_in(books, shipment, authorization, generation);
    find_generation(books, authorization, record.generation, key)
}

/// The same, whose generation is that one from now on.
pub(in crate::capture) fn claim_generation(books: &mut Books, shipment: ShipmentKey) -> Option<SeenCapture> {
    let (generation, seen) = find_own(books, shipment)?;
    books.shipment_mut(shipment).generation = generation;
    Some(seen)
}

/// The shipment was captured in the lost time, if its key was found: booked with the amount that was
/// captured, together with the shipments that wait to be captured with it.
pub(in crate::capture) fn claim(
    books: &mut Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    amount: Money,
    context: Context<'_>,
) -> Option<Reply> {
    let seen = claim_generation(books, shipment)?;
    let (waiting, total) = small::captured_with(books, shipment, authorization, amount, seen.amount, context);
    for waits in &waiting {
        // On a newer one of its order, where all were registered again before it came.
        small::leave(books, books.shipment(*waits).authorization.expect("bound before it waits"), &[*waits]);
        books.shipment_mut(*waits).authorization = Some(authorization);
    }
    let reply = book(books, &[&waiting[..], &[shipment]].concat(), total, seen, context);
    Some(follow_up(books, shipment, reply.about(outcome::subject(books, shipment)), context))
}

/// It is booked: what waited only for that is captured.
pub(in crate::capture) fn follow_up(
    books: &mut Books,
    shipment: ShipmentKey,
    reply: Reply,
    context: Context<'_>,
) -> Reply {
    let record = books.shipment(shipment);
    let (order, caused_by) = (record.order, record.caused_by.clone());
    small::let_go(books, order, context);
    // Where it is the last of its order, nothing comes after it: the difference is captured by itself.
    Reply { ready: fee::take(books, order, Some(&caused_by), context).ready, ..reply }
}

/// Books what was found as the capture of these shipments, the last of which it is named by. They have earned
/// `total`.
pub(in crate::capture) fn book(
    books: &mut Books,
    shipments: &[ShipmentKey],
    total: Money,
    seen: SeenCapture,
    context: Context<'_>,
) -> Reply {
    make_up(books, shipments, total, seen.amount);
    // They were replayed together.
    let generation = shipments.iter().map(|shipment| books.shipment(*shipment).generation).max().unwrap_or_default();
    for shipment in shipments {
        books.shipment_mut(*shipment).generation = generation;
    }
    let capture = outcome::plan_capture(books, shipments, outcome::kind_of(shipments), seen.amount, context);
    settle(books, capture, seen, context)
}

/// What of an order is captured by the books, or may be yet, in minor units. What has failed is not, and where it was
/// captured when it was tried again, it is found.
fn taken(books: &Books, order: OrderKey) -> i64 {
    let record = books.order(order);
    let held = of_order(books, order).map(|key| books.authorization(key));
    let held = held.map(|record| record.reserved.minor() + record.waiting_amount.minor());
    record.stored.min(record.captured + held.sum::<i64>())
}

/// What was captured is what these come to, of `total`: worked out anew in another order of arrival it may differ,
/// by the smallest unit or by the delivery fee. The last one has the difference, those before it what is more than it
/// had; and what comes after them makes up for that.
fn make_up(books: &mut Books, shipments: &[ShipmentKey], total: Money, captured: Money) {
    let mut more = captured.minor() - total.minor();
    for shipment in shipments.iter().rev() {
        let record = books.shipment(*shipment);
        let (order, amount) = (record.order, record.amount.expect("given before"));
        let own = Money::from_minor((amount.minor() + more).max(0), amount.currency()).expect("it is not negative");
        let taken = own.minor() - amount.minor();
        books.shipment_mut(*shipment).amount = Some(own);
        books.order_mut(order).stored += taken;
        more -= taken;
    }
}

/// A planned capture stands under a key that was found: it is captured.
pub(in crate::capture) fn settle(
    books: &mut Books,
    capture: CaptureKey,
    seen: SeenCapture,
    context: Context<'_>,
) -> Reply {
    let record = books.capture(capture);
    assert!(record.state == CaptureState::Planned, "it was planned a moment ago");
    let (authorization, amount) = (record.authorization, record.amount);
    if let Some(Restored::Read { found, .. }) = &mut books.watch_mut(authorization).restored {
        found.retain(|other| other.capture != seen.capture);
    }
    count_adopted(books, authorization);
    let words = "found at the provider: captured after the backup that the ledger was restored from".to_owned();
    due::note(books, capture, "adopted", words, context);
    outcome::captured(books, capture, ResolvedBy::Lookup, seen.provider_reference, context);
    // What is still in doubt by the books of that day may not fit beside it.
    books.cover_excess(authorization);
    Reply::nothing(Note::Captured(amount))
}

pub(in crate::capture) fn count_adopted(books: &mut Books, authorization: AuthorizationKey) {
    if let Some(Restored::Read { adopted, .. }) = &mut books.watch_mut(authorization).restored {
        *adopted += 1;
    }
}
