//! After a restore the order system publishes again what was acknowledged in the lost time, in whatever order. Until
//! that is over, what is here may have been captured with what is still to come, or on an authorization that is.

use std::time::Duration;

use crate::capture::books::Books;
use crate::capture::decide::Context;
use crate::capture::policy::Captures;
use crate::capture::records::{AuthorizationKey, OrderKey, ShipmentKey};
use crate::capture::restored::{found, is_any_unread, is_recent, is_unread, of_order, restored_at};
use crate::capture::small;
use crate::clock::{self, Timestamp};

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

/// Has an authorization of the order to be read yet, on which something of it may have been captured, replayed, in the
/// time that was lost? When it was registered in that time, that comes again.
pub(in crate::capture) fn may_be_on_unread(books: &Books, order: OrderKey, context: Context<'_>) -> bool {
    is_being_republished(books, context) && is_any_unread(books, order)
}

/// From when on shipments that are too little by themselves are captured together: where captures of the lost time
/// were found, they may have been captured with others that have not come again. `None`: at any time.
pub(in crate::capture) fn together_from(
    books: &Books,
    authorization: AuthorizationKey,
    context: Context<'_>,
) -> Option<Timestamp> {
    let is_apart = is_being_republished(books, context) && !found::all(books.authorization(authorization)).is_empty();
    comes_again_until(books).filter(|_| is_apart)
}

/// May a shipment that waits, and whose notice names no authorization, have been captured on one that is not
/// known again yet? One that waited in the backup, until everything is published again; or until captures of the lost
/// time were found for its order, which it may be a part of.
pub(in crate::capture) fn may_lack_authorization(books: &Books, shipment: ShipmentKey, context: Context<'_>) -> bool {
    let record = books.shipment(shipment);
    restored_at(books).is_some_and(|restored_at| record.accepted_at < restored_at)
        && is_being_republished(books, context)
        && !of_order(books, record.order).any(|key| found::has_shown_any(books.authorization(key)))
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
    match small::captures(books, key, context) {
        // What was captured together then may be split otherwise now, and be on another one of its order.
        Some(Captures::Multiple) => {
            let others = order.into_iter().flat_map(|order| of_order(books, order));
            let mut records = others.chain([key]).map(|key| books.authorization(key));
            records.any(|record| found::has_shown_any(record) || is_unread(record))
        }
        Some(Captures::Single) | None => is_ours,
    }
}
