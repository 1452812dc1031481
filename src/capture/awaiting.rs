//! Notices that come before what they need: kept, acknowledged, and looked at again when the missing
//! part arrives. They do not wait for ever.

use crate::capture::accept;
use crate::capture::books::Books;
use crate::capture::decide::{Arrival, Context, Note, Reply};
use crate::capture::event::FailureReason;
use crate::capture::outcome;
use crate::capture::records::ShipmentKey;
use crate::capture::restored::republished;
use crate::capture::why::Missing;
use crate::clock::{self, Timestamp};

/// Keeps a notice until what it lacks is known, or refuses it when it has waited long enough.
pub(super) fn wait(
    books: &mut Books,
    arrival: Arrival,
    content: [u8; 32],
    missing: Missing,
    context: Context<'_>,
) -> Reply {
    let order = books.open_order(&arrival.notice.order);
    let known = books.shipment_key(order, &arrival.notice.shipment);
    let shipment = known.unwrap_or_else(|| {
        books.order_mut(order).awaiting += 1;
        accept::insert_shipment(books, &arrival, order, content, context)
    });
    let give_up_at = give_up_at(books, shipment, context);
    let ends_by_itself = matches!(missing, Missing::Reading | Missing::Republication);
    if context.now.wall >= give_up_at && !ends_by_itself {
        let message = "it did not become known in time: send what is missing, then replay";
        return give_up(books, shipment, missing.as_failure(), message, context);
    }
    let next = clock::after(context.now.wall, context.policy.awaiting_check);
    let next = if ends_by_itself { next } else { next.min(give_up_at) };
    let subject = outcome::subject(books, shipment);
    let waiting = books.shipment_mut(shipment);
    waiting.due_at = Some(next);
    waiting.awaits = Some(missing);
    waiting.message = Some(arrival.raw);
    waiting.says_final |= arrival.notice.is_final;
    Reply::nothing(Note::Awaiting(missing)).about(subject)
}

/// A notice that was kept, and contradicts what was registered meanwhile, can still be corrected until
/// it has waited long enough; then it is refused. `None` before that.
pub(super) fn give_up_rejected(
    books: &mut Books,
    arrival: &Arrival,
    path: &str,
    message: &str,
    context: Context<'_>,
) -> Option<Reply> {
    let order = books.order_key(&arrival.notice.order)?;
    let shipment = books.shipment_key(order, &arrival.notice.shipment)?;
    if context.now.wall < give_up_at(books, shipment, context) {
        return None;
    }
    let is_about_authorization = path.starts_with("authorization");
    let reason = if is_about_authorization { FailureReason::UnknownAuthorization } else { FailureReason::PlanMismatch };
    Some(give_up(books, shipment, reason, message, context))
}

fn give_up_at(books: &Books, shipment: ShipmentKey, context: Context<'_>) -> Timestamp {
    let since = republished::waits_since(books, books.shipment(shipment).accepted_at);
    clock::after(since, context.policy.awaiting_max)
}

fn give_up(
    books: &mut Books,
    shipment: ShipmentKey,
    reason: FailureReason,
    message: &str,
    context: Context<'_>,
) -> Reply {
    let record = books.shipment_mut(shipment);
    record.due_at = None;
    let order = record.order;
    books.order_mut(order).awaiting -= 1;
    accept::refuse(books, shipment, reason, message, context)
}
