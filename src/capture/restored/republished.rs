//! After a restore the order system publishes again what was acknowledged in the lost time, in whatever order. Until
//! that is over, what is here may have been captured with what is still to come, or on an authorization that is.

use std::time::Duration;

use rust_decimal::Decimal;

use crate::capture::books::Books;
use crate::capture::decide::Context;
use crate::capture::foreign;
use crate::capture::policy::Captures;
use crate::capture::records::{AuthorizationKey, CaptureKey, OrderKey, ShipmentKey};
use crate::capture::restored::{found, is_any_unread, is_recent, is_unread, of_order, restored_at};
use crate::capture::small;
use crate::clock::{self, Timestamp};
use crate::ids::ShipmentId;

/// For so long after a restore began the order system may be publishing again. What waited in the backup waits
/// that long: on which authorization it was captured in the lost time, only a registration of that time says.
pub const REPUBLISHED_WITHIN: Duration = Duration::from_hours(6);

/// Since when something waits that came at the instant. What the ledger was restored with waits anew: what it
/// lacks may have come in the time that was lost, and is about to come again.
pub(in crate::capture) fn waits_since(books: &Books, at: Timestamp) -> Timestamp {
    restored_at(books).map_or(at, |restored_at| at.max(restored_at))
}

/// Until when the order system may be publishing again.
pub(in crate::capture) fn comes_again_until(books: &Books) -> Option<Timestamp> {
    restored_at(books).map(|at| clock::after(at, REPUBLISHED_WITHIN))
}

/// May it still be publishing again?
fn is_being_republished(books: &Books, context: Context<'_>) -> bool {
    comes_again_until(books).is_some_and(|until| context.now.wall < until)
}

/// May what was captured in the lost time still come again, before the authorization is about to die?
pub(in crate::capture) fn may_come_again(books: &Books, authorization: AuthorizationKey, context: Context<'_>) -> bool {
    is_being_republished(books, context) && !foreign::is_hurried(books.authorization(authorization), context)
}

/// Has an authorization of the order to be read yet, on which something of it may have been captured, replayed, in the
/// time that was lost? When it was registered in that time, that comes again.
pub(in crate::capture) fn may_be_on_unread(books: &Books, order: OrderKey, context: Context<'_>) -> bool {
    is_being_republished(books, context) && is_any_unread(books, order)
}

/// Does what is planned wait for what comes again: for an authorization of its order that has to be read, or, where it is
/// too much for the order's plan beside what was found, for a revision?
pub(in crate::capture) fn holds_back(books: &Books, capture: CaptureKey, context: Context<'_>) -> bool {
    let may_be_revised =
        || is_being_republished(books, context) && found::beyond_plan(books, capture, context).is_some();
    may_be_on_unread(books, books.capture(capture).order, context) || may_be_revised()
}

/// From when on shipments that are too little by themselves are captured together: where captures of the lost time
/// were found for their order, or may be when it is read, they may have been captured with others that have not come
/// again. `None`: at any time.
pub(in crate::capture) fn together_from(
    books: &Books,
    authorization: AuthorizationKey,
    context: Context<'_>,
) -> Option<Timestamp> {
    let of_its_order = of_order(books, books.authorization(authorization).order);
    let is_apart = is_being_republished(books, context)
        && of_its_order
            .map(|key| books.authorization(key))
            .any(|record| is_unread(record) || !found::all(record).is_empty());
    together_at(books, context).filter(|_| is_apart)
}

/// When that ends: what waits for the others under its own key is looked at once more before.
pub(in crate::capture) fn together_at(books: &Books, context: Context<'_>) -> Option<Timestamp> {
    comes_again_until(books).map(|until| clock::after(until, context.policy.awaiting_check))
}

/// May a shipment that waits, and whose notice names no authorization, have been captured on one that is not
/// known again yet? One that waited in the backup, until everything is published again.
pub(in crate::capture) fn may_lack_authorization(books: &Books, shipment: ShipmentKey, context: Context<'_>) -> bool {
    let record = books.shipment(shipment);
    restored_at(books).is_some_and(|restored_at| record.accepted_at < restored_at)
        && is_being_republished(books, context)
}

/// Was more captured under the key of a shipment that names its amount, than it comes to with all that wait? Then it was
/// captured together with others, which have not come again yet.
pub(in crate::capture) fn lacks_others(
    books: &Books,
    order: OrderKey,
    shipment: &ShipmentId,
    amount: Decimal,
    context: Context<'_>,
) -> bool {
    let Some((_, seen)) = found::of_id(books, order, shipment) else { return false };
    let waiting: Decimal = of_order(books, order).map(|key| books.authorization(key).waiting_amount.to_major()).sum();
    is_being_republished(books, context) && seen.amount.to_major() > amount + waiting
}

/// May what ends without its money have been captured in the time that was lost, when notices came in another order?
/// Where captures of ours were found for its order, it may be a part of them. What our own rules refuse (`is_ours`) was
/// not even asked for: nothing else is known of it before all have come again, and where there are no keys.
pub(in crate::capture) fn may_have_captured(
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
    let mut others = order.into_iter().flat_map(|order| of_order(books, order)).filter(|other| *other != key);
    match small::captures(books, key, context) {
        // What was captured together then may be split otherwise now, and be on another one of its order.
        Some(Captures::Multiple) => {
            let mut records = others.chain([key]).map(|key| books.authorization(key));
            records.any(|record| found::has_shown_any(record) || is_unread(record))
        }
        // It may have been replayed then, on another one.
        Some(Captures::Single) | None => is_ours || others.next().is_some(),
    }
}
