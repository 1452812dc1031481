//! After a restore from a backup the provider knows more than the ledger. Until an authorization was read
//! nothing is sent on it, and notices about it wait. The read books what is ours and open here, and notes
//! what stands under keys that the ledger does not have: captures of the lost time. A notice that comes
//! again computes the same key, finds it there, and is booked with the provider's amount, without a call.
//!
//! Which authorizations have to be read is the ledger's to say, as it is restored. Where there is one
//! capture per authorization there are no keys: the read before it finds it (`collect`).

use std::time::Duration;

use crate::capture::books::Books;
use crate::capture::decide::{Context, Due, Evidence, Note, Ready, Reply};
use crate::capture::due;
use crate::capture::event::{FailureReason, ResolvedBy};
use crate::capture::evidence::{AuthorizationView, Doubt, DoubtKind, Reading, SeenCapture};
use crate::capture::fee;
use crate::capture::foreign;
use crate::capture::outcome::{self, Cause};
use crate::capture::policy::Captures;
use crate::capture::records::{Authorization, AuthorizationKey, CaptureKey, OrderKey, Restored, ShipmentKey};
use crate::capture::register;
use crate::capture::retry;
use crate::capture::settle;
use crate::capture::small;
use crate::capture::states::CaptureState;
use crate::clock::{self, Timestamp};
use crate::ids::{AccountName, CaptureId};
use crate::money::Money;

/// For so long after a restore the first capture on a new authorization is preceded by a read: its notice
/// may have come before, in the time that was lost. No card authorization lives longer.
pub const READ_FIRST_FOR: Duration = Duration::from_hours(24 * 90);

/// For so long after a restore began the order system may be publishing again. What waited in the backup waits
/// that long: on which authorization it was captured in the lost time, only a registration of that time says.
pub const REPUBLISHED_WITHIN: Duration = Duration::from_hours(6);

/// Answers that cannot be relied on, after which a restore waits for an authorization no longer. Nothing
/// is sent on it until it can be read.
pub const ANSWERS_MAX: u32 = 3;

/// How many generations from its own on are looked for among what was captured in the lost time: each is a
/// replay by an operator.
const GENERATIONS_MAX: u32 = 100;

/// Has the provider to be read first?
pub fn is_unread(record: &Authorization) -> bool {
    record.watch.restored == Some(Restored::Unread)
}

/// What a new authorization needs. Where the ledger was restored not long ago, a notice may have come before,
/// in the time that was lost, and was captured: under its key, where there are keys.
pub(super) fn of_new(books: &Books, account: &AccountName, context: Context<'_>) -> Option<Restored> {
    let is_several = context.policy.accounts.get(account).is_some_and(|it| it.captures == Captures::Multiple);
    (is_recent(books, context) && is_several).then_some(Restored::Unread)
}

/// Was the ledger restored not long ago?
pub(super) fn is_recent(books: &Books, context: Context<'_>) -> bool {
    books.read_first_until.is_some_and(|until| context.now.wall < until)
}

fn restored_at(books: &Books) -> Option<Timestamp> {
    books.read_first_until.map(|until| clock::before(until, READ_FIRST_FOR))
}

/// Since when something waits that came at the instant. What the ledger was restored with waits anew: what it
/// lacks may have come in the time that was lost, and is about to come again.
pub(super) fn waits_since(books: &Books, at: Timestamp) -> Timestamp {
    restored_at(books).map_or(at, |restored_at| at.max(restored_at))
}

/// Until when the order system may be publishing again.
pub(super) fn comes_again_until(books: &Books) -> Option<Timestamp> {
    restored_at(books).map(|at| clock::after(at, REPUBLISHED_WITHIN))
}

/// May it still be publishing again?
fn is_being_republished(books: &Books, context: Context<'_>) -> bool {
    comes_again_until(books).is_some_and(|until| context.now.wall < until)
}

/// From when on shipments that are too little by themselves are captured together: where captures of the lost time
/// were found, they may have been captured with others that have not come again. `None`: at any time.
pub(super) fn together_from(books: &Books, authorization: AuthorizationKey, context: Context<'_>) -> Option<Timestamp> {
    let is_apart = is_being_republished(books, context) && !found(books.authorization(authorization)).is_empty();
    comes_again_until(books).filter(|_| is_apart)
}

/// May a shipment that waits, and whose notice names no authorization, have been captured on one that is not
/// known again yet? One that waited in the backup, until everything is published again; or until captures of the lost
/// time were found for its order, which it may be a part of.
pub(super) fn may_lack_authorization(books: &Books, shipment: ShipmentKey, context: Context<'_>) -> bool {
    let record = books.shipment(shipment);
    restored_at(books).is_some_and(|restored_at| record.accepted_at < restored_at)
        && is_being_republished(books, context)
        && !of_order(books, record.order).any(|key| has_shown_any(books.authorization(key)))
}

/// Has the read shown captures of ours, of the lost time?
fn has_shown_any(record: &Authorization) -> bool {
    match &record.watch.restored {
        Some(Restored::Read { adopted, found }) => *adopted > 0 || !found.is_empty(),
        Some(Restored::Unread) | None => false,
    }
}

/// May what ends without its money have been captured in the time that was lost, when notices came in another order?
/// Where captures of ours were found for its order, it may be a part of them. What our own rules refuse (`is_ours`) was
/// not even asked for: nothing else is known of it before all have come again, and where there are no keys.
pub(super) fn may_have_captured(
    books: &Books,
    order: Option<OrderKey>,
    authorization: Option<AuthorizationKey>,
    is_ours: bool,
    context: Context<'_>,
) -> bool {
    if !is_recent(books, context) {
        return false;
    }
    let is_all_here = !is_being_republished(books, context);
    let Some(key) = authorization.filter(|_| is_all_here || !is_ours) else { return is_ours };
    match small::captures(books, key, context) {
        // What was captured together then may be split otherwise now, and be on another one of its order.
        Some(Captures::Multiple) => {
            let others = order.into_iter().flat_map(|order| of_order(books, order));
            let mut records = others.chain([key]).map(|key| books.authorization(key));
            records.any(|record| has_shown_any(record) || is_ours && is_unread(record))
        }
        Some(Captures::Single) | None => is_ours,
    }
}

/// What is ready of an authorization that has to be read first.
pub(super) fn ready(books: &Books, authorization: AuthorizationKey) -> Option<Ready> {
    let record = books.authorization(authorization);
    let due = Due::Authorization(authorization);
    is_unread(record).then(|| Ready { due, account: record.account.clone(), deadline: record.expires_at })
}

/// The read came to nothing that can be relied on: it is made again, soon. An answer counts; that the
/// provider cannot be reached does not.
pub(super) fn again(books: &mut Books, authorization: AuthorizationKey, doubt: Doubt, context: Context<'_>) -> Reply {
    let is_answer = match doubt.kind {
        DoubtKind::Unreadable | DoubtKind::Coded => true,
        DoubtKind::Timeout | DoubtKind::ConnectionLost | DoubtKind::HttpStatus => false,
    };
    let record = books.authorization_mut(authorization);
    record.reads = record.reads.saturating_add(u32::from(is_answer));
    let wait = retry::look_delay(&context.policy.look_after, record.reads, context.jitter);
    let hint = doubt.retry_after.unwrap_or(Duration::ZERO).min(context.policy.retry_after_max);
    books.watch_mut(authorization).read_at = Some(clock::after(context.now.wall, wait.max(hint)));
    Reply::nothing(Note::ReadAgain(doubt.message))
}

/// The provider does not let us read, because of our configuration. It is an answer, too: others may be
/// readable.
pub(super) fn parked(books: &mut Books, authorization: AuthorizationKey) {
    let record = books.authorization_mut(authorization);
    record.reads = record.reads.saturating_add(1);
}

/// The read came: books what is ours and open here, and notes what else is under keys.
pub(super) fn read(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    context: Context<'_>,
) -> Reply {
    let found = unknown(books, authorization, view);
    let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
    books.authorization_mut(authorization).reads = 0;
    let watch = books.watch_mut(authorization);
    watch.read_at = None;
    watch.restored = Some(Restored::Read { adopted: 0, found });
    let adopted = adopt(books, authorization, view, context);
    make_room(books, authorization, context);
    for capture in books.planned_on(authorization) {
        // An attempt of the lost time may have been executed, or be on its way: a refusal proves nothing
        // before a later read does.
        let progress = &mut books.capture_mut(capture).progress;
        progress.doubtful = progress.doubtful.max(1);
    }
    let order = books.authorization(authorization).order;
    register::wake(books, order, context);
    due::hand_on(books, authorization, false, context).with_note(Note::Restored { adopted, found: count })
}

/// Captures under keys that the ledger does not have.
fn unknown(books: &Books, authorization: AuthorizationKey, view: &AuthorizationView) -> Vec<SeenCapture> {
    let known = books.ids_on(authorization);
    let currency = books.authorization(authorization).currency;
    let is_unknown =
        |seen: &&SeenCapture| seen.capture.is_some_and(|id| !known.contains(&id)) && seen.amount.currency() == currency;
    view.captures.iter().filter(is_unknown).cloned().collect()
}

/// Books what the read proves of captures whose end was not known. How many they are.
fn adopt(books: &mut Books, authorization: AuthorizationKey, view: &AuthorizationView, context: Context<'_>) -> u32 {
    let mut adopted = 0;
    for capture in books.undecided_on(authorization) {
        let evidence = Evidence::Reading(Reading::Seen(Box::new(view.clone())));
        if settle::apply_positive(books, capture, &evidence, context).is_some() {
            let words = "found at the provider after a restore from a backup".to_owned();
            due::note(books, capture, "adopted", words, context);
            adopted += 1;
            count_adopted(books, authorization);
        }
    }
    adopted
}

/// What the books of that day had planned, and what no longer fits beside what was captured since, is
/// refused: else there would be no room in the books for what was captured.
fn make_room(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) {
    let record = books.authorization(authorization);
    let Some(left) = foreign::left(record, context).filter(|_| !found(record).is_empty()) else { return };
    let planned = books.planned_on(authorization);
    let amount_of = |books: &Books, key: &CaptureKey| books.capture(*key).amount.minor();
    let in_doubt = record.reserved.minor() - planned.iter().map(|key| amount_of(books, key)).sum::<i64>();
    let mut room = left.minor() - in_doubt;
    for capture in planned {
        let amount = amount_of(books, &capture);
        if amount <= room {
            room -= amount;
            continue;
        }
        let message = format!(
            "{} was earned; what was captured since the backup leaves no room for it",
            books.capture(capture).amount
        );
        due::note(books, capture, "refused", message.clone(), context);
        let cause = Cause::lookup(FailureReason::ExceedsAuthorization, &message);
        outcome::failed(books, capture, &cause, context);
    }
}

fn count_adopted(books: &mut Books, authorization: AuthorizationKey) {
    if let Some(Restored::Read { adopted, .. }) = &mut books.watch_mut(authorization).restored {
        *adopted += 1;
    }
}

/// What was found under keys of ours that no notice has come for since, where it is captured several times.
pub(super) fn found(record: &Authorization) -> &[SeenCapture] {
    match &record.watch.restored {
        Some(Restored::Read { found, .. }) => found,
        Some(Restored::Unread) | None => &[],
    }
}

/// What it comes to, in minor units.
pub(super) fn found_in_all(record: &Authorization) -> i64 {
    found(record).iter().map(|seen| seen.amount.minor()).sum()
}

/// What was captured by us on it, in minor units: by the books, and in the lost time.
pub(super) fn captured_by_us(record: &Authorization) -> i64 {
    record.captured.minor() + found_in_all(record)
}

/// The authorizations of an order on which something may have been captured in the lost time; none in a ledger
/// that was never restored.
fn of_order(books: &Books, order: OrderKey) -> impl Iterator<Item = AuthorizationKey> {
    let keys = books.read_first_until.map(|_| books.authorizations_of(order));
    keys.into_iter().flatten()
}

/// What of its order's plan is left for a shipment: what was neither given to others since nor captured for others
/// in the lost time, where anything was. Notices come again in another order, and what goes with the first of them,
/// such as the delivery fee, was captured with another. What comes to too little by it is made up for when the order
/// is complete.
pub(super) fn left_of_plan(books: &Books, shipment: ShipmentKey) -> Option<Money> {
    let order = books.shipment(shipment).order;
    let record = books.order(order);
    let plan = record.plan.as_ref()?;
    let found = of_order(books, order).map(|key| found_in_all(books.authorization(key)));
    let found = Some(found.sum::<i64>()).filter(|sum| *sum > 0)?;
    let own = find_own(books, shipment).map_or(0, |(_, seen)| seen.amount.minor());
    let left = plan.total().minor() - record.stored - (found - own);
    Some(Money::from_minor(left.max(0), plan.currency()).expect("it is not negative"))
}

/// What was found under this key. Several captures under one key are one here, of their sum.
fn find(books: &Books, authorization: AuthorizationKey, id: CaptureId) -> Option<SeenCapture> {
    let mut ours = found(books.authorization(authorization)).iter().filter(|seen| seen.capture == Some(id));
    let first = ours.next()?.clone();
    let add = |sum: Money, seen: &SeenCapture| sum.checked_add(seen.amount).expect("one currency per authorization");
    Some(SeenCapture { amount: ours.fold(first.amount, add), ..first })
}

/// The first generation from `own` on whose key was found, and what stands under it: it may have failed in
/// the lost time, and have been captured when it was replayed.
pub(super) fn find_generation(
    books: &Books,
    authorization: AuthorizationKey,
    own: u32,
    key: impl Fn(u32) -> CaptureId,
) -> Option<(u32, SeenCapture)> {
    if found(books.authorization(authorization)).is_empty() {
        return None;
    }
    let mut generations = own..own.saturating_add(GENERATIONS_MAX);
    generations.find_map(|generation| Some((generation, find(books, authorization, key(generation))?)))
}

/// The authorization of its order on which the shipment was captured in the lost time, in this generation or a
/// later one.
pub(super) fn captured_on(books: &Books, shipment: ShipmentKey, generation: u32) -> Option<AuthorizationKey> {
    let is_there = |authorization: &AuthorizationKey| {
        let key = |generation| outcome::id_in(books, shipment, *authorization, generation);
        find_generation(books, *authorization, generation, key).is_some()
    };
    of_order(books, books.shipment(shipment).order).find(is_there)
}

/// Has anything of the order to be read, on which a shipment may have been captured whose notice names no
/// authorization? One that cannot be read is not waited for.
pub(super) fn is_any_unread(books: &Books, order: OrderKey) -> bool {
    let is_waited_for = |key: AuthorizationKey| {
        let record = books.authorization(key);
        is_unread(record) && record.reads < ANSWERS_MAX
    };
    of_order(books, order).any(is_waited_for)
}

/// What was found of a capture that has this shipment as its last one, and in which generation.
fn find_own(books: &Books, shipment: ShipmentKey) -> Option<(u32, SeenCapture)> {
    let record = books.shipment(shipment);
    let authorization = record.authorization?;
    let key = |generation| outcome::id_in(books, shipment, authorization, generation);
    find_generation(books, authorization, record.generation, key)
}

/// The same, whose generation is that one from now on.
pub(super) fn claim_generation(books: &mut Books, shipment: ShipmentKey) -> Option<SeenCapture> {
    let (generation, seen) = find_own(books, shipment)?;
    books.shipment_mut(shipment).generation = generation;
    Some(seen)
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

/// The shipment was captured in the lost time, if its key was found: booked with the amount that was
/// captured, together with the shipments that wait to be captured with it.
pub(super) fn claim(
    books: &mut Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    amount: Money,
    context: Context<'_>,
) -> Option<Reply> {
    let seen = claim_generation(books, shipment)?;
    let (waiting, total) = small::captured_with(books, shipment, authorization, amount, seen.amount);
    small::leave(books, authorization, &waiting);
    let reply = book(books, &[&waiting[..], &[shipment]].concat(), total, seen, context);
    let reply = reply.about(outcome::subject(books, shipment));
    let record = books.shipment(shipment);
    let (order, caused_by) = (record.order, record.caused_by.clone());
    // Where it is the last of its order, nothing comes after it: the difference is captured by itself.
    Some(Reply { ready: fee::take(books, order, Some(&caused_by), context).ready, ..reply })
}

/// Books what was found as the capture of these shipments, the last of which it is named by. They have earned
/// `total`.
pub(super) fn book(
    books: &mut Books,
    shipments: &[ShipmentKey],
    total: Money,
    seen: SeenCapture,
    context: Context<'_>,
) -> Reply {
    make_up(books, shipments, total, seen.amount);
    let capture = outcome::plan_capture(books, shipments, outcome::kind_of(shipments), seen.amount, context);
    settle_found(books, capture, seen, context)
}

/// A planned capture stands under a key that was found: it is captured.
pub(super) fn settle_found(books: &mut Books, capture: CaptureKey, seen: SeenCapture, context: Context<'_>) -> Reply {
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
