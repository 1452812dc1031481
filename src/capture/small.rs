//! Amounts below an account's minimum, on authorizations that can be captured several times: such a
//! shipment waits, and is captured with the next one of its order. What is too little at the end is
//! refused.

use std::collections::BTreeSet;

use crate::capture::amount::{self, Rules};
use crate::capture::books::Books;
use crate::capture::collect;
use crate::capture::decide::{Context, Note, Reply};
use crate::capture::due;
use crate::capture::event::FailureReason;
use crate::capture::foreign;
use crate::capture::notice::ShipmentNotice;
use crate::capture::outcome::{self, Cause};
use crate::capture::policy::Captures;
use crate::capture::records::{AuthorizationKey, OrderKey, ShipmentKey};
use crate::capture::restored::{found, republished};
use crate::capture::states::ShipmentState;
use crate::money::Money;

/// The shipments of the same order that wait on the authorization, and what they come to together with
/// this one.
pub(super) fn with_waiting(
    books: &Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    amount: Money,
) -> (Vec<ShipmentKey>, Money) {
    if books.authorization(authorization).waiting == 0 {
        return (Vec::new(), amount);
    }
    let waiting = books.waiting_for(books.shipment(shipment).order, authorization);
    let total = with_amounts(books, amount, &waiting);
    (waiting, total)
}

/// Those of its order that wait and that it was captured with in the lost time, where that came to `captured`: those
/// that come nearest to it, since what each has earned may differ by the smallest unit from what it had then. They may
/// wait on another authorization, which was registered again first.
pub(super) fn captured_with(
    books: &Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    amount: Money,
    captured: Money,
    context: Context<'_>,
) -> (Vec<ShipmentKey>, Money) {
    let order = books.shipment(shipment).order;
    let on = books.collecting_for(order).into_iter().filter(|key| is_alike(books, *key, authorization, context));
    let mut waiting: Vec<ShipmentKey> = on.flat_map(|key| books.waiting_for(order, key)).collect();
    waiting.retain(|key| *key != shipment);
    waiting.sort_unstable();
    let latest = &waiting[waiting.len().saturating_sub(CHOSEN_FROM)..];
    let (_, chosen) = nearest(books, latest, captured.minor() - amount.minor());
    let total = with_amounts(books, amount, &chosen);
    (chosen, total)
}

/// Is the shipment of a notice too little by itself, and may have been captured with another one in the lost time?
pub(super) fn may_be_part(
    books: &Books,
    order: OrderKey,
    notice: &ShipmentNotice,
    authorization: AuthorizationKey,
    context: Context<'_>,
) -> bool {
    let rules = Rules::on(books, authorization, context);
    let given = amount::work_out(books.order(order), notice, rules);
    let is_too_little =
        |amount| rules.is_too_little(amount) || is_too_little_on_any(books, order, authorization, amount, context);
    given.is_ok_and(|given| is_too_little(given.amount)) && found::is_shown_any(books, order)
}

/// May the shipment have been captured with another one in the lost time, under whose key that was found? It waits for
/// that one where it would be too little by itself on any authorization of its order: what failed there may have been
/// replayed on another one.
pub(super) fn is_perhaps_part(
    books: &Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    amount: Money,
    context: Context<'_>,
) -> bool {
    let order = books.shipment(shipment).order;
    republished::together_from(books, authorization, context).is_some()
        && is_too_little_on_any(books, order, authorization, amount, context)
}

/// Is it too little by itself on any authorization of the order that is like this one?
fn is_too_little_on_any(
    books: &Books,
    order: OrderKey,
    authorization: AuthorizationKey,
    amount: Money,
    context: Context<'_>,
) -> bool {
    let is_too_little_on = |key: AuthorizationKey| {
        is_alike(books, key, authorization, context) && Rules::on(books, key, context).is_too_little(amount)
    };
    books.authorizations_of(order).into_iter().any(is_too_little_on)
}

/// Can one be captured several times, and in the same currency as the other?
fn is_alike(books: &Books, one: AuthorizationKey, other: AuthorizationKey, context: Context<'_>) -> bool {
    captures(books, one, context) == Some(Captures::Multiple)
        && books.authorization(one).currency == books.authorization(other).currency
}

/// Shipments that are tried in every combination: few orders have as many that are too little.
const CHOSEN_FROM: usize = 12;

/// Those of these shipments that come nearest to so many minor units, and by how many they are off.
fn nearest(books: &Books, from: &[ShipmentKey], minor: i64) -> (i64, Vec<ShipmentKey>) {
    let Some((first, others)) = from.split_first() else { return (minor.abs(), Vec::new()) };
    let (off_without, without) = nearest(books, others, minor);
    let (off_with, with) = nearest(books, others, minor - amount_of(books, *first).minor());
    if off_with <= off_without { (off_with, [&[*first], &*with].concat()) } else { (off_without, without) }
}

/// They wait no more.
pub(super) fn leave(books: &mut Books, authorization: AuthorizationKey, waiting: &[ShipmentKey]) {
    for shipment in waiting {
        let amount = amount_of(books, *shipment);
        let record = books.authorization_mut(authorization);
        record.waiting -= 1;
        record.waiting_amount = record.waiting_amount.checked_sub(amount).expect("what waits was added before");
        if record.waiting == 0 {
            record.freeze_at = None;
        }
    }
}

/// Where everything of an order has shipped that will, nothing comes with which they could be captured.
pub(super) fn end(books: &mut Books, order: OrderKey, authorization: AuthorizationKey, context: Context<'_>) {
    let is_several = captures(books, authorization, context) == Some(Captures::Multiple);
    let is_over =
        books.order(order).is_complete() && republished::together_from(books, authorization, context).is_none();
    if is_several && is_over && books.authorization(authorization).waiting > 0 {
        let waiting = still_waiting(books, order, authorization, context);
        if !capture_together(books, authorization, &waiting, context) {
            refuse(books, authorization, &waiting, context);
        }
    }
}

/// Those that wait on it once each is booked that was found under its key since it began to wait.
fn still_waiting(
    books: &mut Books,
    order: OrderKey,
    authorization: AuthorizationKey,
    context: Context<'_>,
) -> Vec<ShipmentKey> {
    for shipment in books.waiting_for(order, authorization) {
        let record = books.shipment(shipment);
        let is_waiting = record.state == ShipmentState::Waiting;
        let on = found::captured_on(books, shipment, record.generation).filter(|_| is_waiting);
        if let Some(on) = on {
            leave(books, authorization, &[shipment]);
            books.shipment_mut(shipment).authorization = Some(on);
            found::claim(books, shipment, on, amount_of(books, shipment), context);
        }
    }
    books.waiting_for(order, authorization)
}

/// The authorization is about to die; or notices have come again, as far as they will, after a restore. What may have been
/// captured with others that have not come again is not captured a second time at the last moment.
pub(super) fn end_on(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) -> Reply {
    let is_dying = collect::deadline(books, authorization, context).is_some_and(|at| at <= context.now.wall);
    let has_come_again =
        !is_dying && books.authorization(authorization).freeze_at == republished::together_at(books, context);
    let mut note = Note::Nothing;
    for order in orders_of(books, authorization) {
        let waiting = still_waiting(books, order, authorization, context);
        let may_be_captured = republished::together_from(books, authorization, context).is_some();
        if waiting.is_empty() || !may_be_captured && capture_together(books, authorization, &waiting, context) {
            continue;
        }
        if has_come_again && !books.order(order).is_complete() {
            // It goes on waiting for the next one of its order.
            books.authorization_mut(authorization).freeze_at = None;
            collect::schedule(books, authorization, context);
            continue;
        }
        refuse(books, authorization, &waiting, context);
        note = Note::Refused(FailureReason::BelowMinimum);
    }
    Reply::nothing(note)
}

/// The orders that have shipments waiting on it.
fn orders_of(books: &Books, authorization: AuthorizationKey) -> Vec<OrderKey> {
    let waiting = books.all_waiting_on(authorization);
    let orders: BTreeSet<OrderKey> = waiting.iter().map(|shipment| books.shipment(*shipment).order).collect();
    orders.into_iter().collect()
}

/// Everything is booked that was found of the order, or nothing comes again any more: what waited only for that is
/// captured.
pub(super) fn let_go(books: &mut Books, order: OrderKey, context: Context<'_>) {
    for authorization in books.collecting_for(order) {
        let is_several = captures(books, authorization, context) == Some(Captures::Multiple);
        if is_several && republished::together_from(books, authorization, context).is_none() {
            let waiting = still_waiting(books, order, authorization, context);
            capture_together(books, authorization, &waiting, context);
        }
    }
}

/// They waited because some of them may have been captured with others in the lost time. Where they come to enough
/// together, and there is room for it, they are captured. Are they?
fn capture_together(
    books: &mut Books,
    authorization: AuthorizationKey,
    waiting: &[ShipmentKey],
    context: Context<'_>,
) -> bool {
    let Some((last, others)) = waiting.split_last() else { return false };
    let total = with_amounts(books, amount_of(books, *last), others);
    let room = foreign::room(books.authorization(authorization), context);
    let fits = total.fits(room).expect("one currency per authorization");
    if Rules::on(books, authorization, context).is_too_little(total) || !fits {
        return false;
    }
    leave(books, authorization, waiting);
    let capture = outcome::plan_capture(books, waiting, outcome::kind_of(waiting), total, context);
    // Without a permit it is ready, and found.
    due::begin_in_turn(books, capture, false, context);
    true
}

/// Why what waited is refused although there is room for it.
const MAY_BE_CAPTURED: &str = "its authorization is about to expire, and it may have been captured with another shipment in \
                               the time that a restore has lost, which has not come again: look at the provider first";

fn refuse(books: &mut Books, authorization: AuthorizationKey, waiting: &[ShipmentKey], context: Context<'_>) {
    let rules = Rules::on(books, authorization, context);
    leave(books, authorization, waiting);
    let remaining = foreign::room(books.authorization(authorization), context);
    for shipment in waiting {
        let amount = amount_of(books, *shipment);
        let fits = amount.fits(remaining).expect("one currency per authorization");
        let cause = match (rules.is_too_little(amount), fits) {
            (true, _) => rules.too_little(amount),
            (false, true) => Cause::local(FailureReason::AuthorizationExpired, MAY_BE_CAPTURED),
            (false, false) => Cause::exceeds(amount, remaining),
        };
        outcome::refuse(books, *shipment, &cause, context);
    }
}

/// How often the authorization can be captured, as far as its account is configured.
pub(super) fn captures(books: &Books, authorization: AuthorizationKey, context: Context<'_>) -> Option<Captures> {
    let account = &books.authorization(authorization).account;
    context.policy.accounts.get(account).map(|account| account.captures)
}

/// What it comes to together with these shipments.
fn with_amounts(books: &Books, amount: Money, shipments: &[ShipmentKey]) -> Money {
    shipments.iter().fold(amount, |sum, key| sum.checked_add(amount_of(books, *key)).expect("one currency"))
}

fn amount_of(books: &Books, shipment: ShipmentKey) -> Money {
    books.shipment(shipment).amount.expect("given before it waits")
}
