//! Messages that never become a shipment: set aside whole, and announced, so that a corrected one
//! simply works.

use crate::capture::books::Books;
use crate::capture::dead_letter::{self, DeadLetter, DeadLetterState};
use crate::capture::decide::{Arrival, Collect, Context, Note, Reply, Subject};
use crate::capture::event::{Event, EventContent, RejectedNotice};
use crate::capture::notice::{RawMessage, Rejection, RejectionReason};
use crate::ids::{DeadLetterId, EventId, OrderId, ShipmentId};

/// The reason of a message that the broker gave up on.
const DELIVERY_LIMIT: &str = "delivery_limit";

/// Reasons for which only a message is set aside, never a shipment.
pub(crate) const MESSAGE_REASONS: [&str; 5] =
    ["undecodable", "invalid", RejectionReason::Unauthenticated.as_str(), "conflict", DELIVERY_LIMIT];

/// Where in its message a place below the notice is.
pub(super) fn path_in<N>(arrival: &Arrival<N>, path: &str) -> String {
    let separator = if path.is_empty() { "" } else { "." };
    format!("{}{separator}{path}", arrival.data_path)
}

/// Sets a decoded notice aside. It registers nothing. `path` is below the notice.
pub(super) fn reject_notice<N>(
    books: &mut Books,
    arrival: Arrival<N>,
    (order, shipment): (OrderId, Option<ShipmentId>),
    (reason, path, message): (RejectionReason, &str, String),
    context: Context<'_>,
) -> Reply {
    let rejection = Rejection {
        reason,
        path: path_in(&arrival, path),
        message,
        order: Some(order),
        shipment,
        event_id: Some(arrival.event_id),
    };
    reject(books, rejection, arrival.raw, context)
}

/// Sets a message aside that cannot be processed as it is. It registers nothing.
pub(super) fn reject(books: &mut Books, rejection: Rejection, raw: RawMessage, context: Context<'_>) -> Reply {
    let reason = rejection.reason.as_str();
    let id = DeadLetterId::of_message(reason, &dead_letter::sha256(&raw.body));
    let subject =
        Subject { order: rejection.order.clone(), shipment: rejection.shipment.clone(), ..Subject::default() };
    let note = Note::DeadLettered {
        id,
        reason: rejection.reason,
        path: rejection.path.clone(),
        message: rejection.message.clone(),
    };
    let traceparent = raw.traceparent.clone();
    let is_new = books.add_dead_letter(DeadLetter {
        id,
        reason,
        path: rejection.path.clone(),
        message: rejection.message.clone(),
        provider_code: None,
        fingerprint: dead_letter::fingerprint(reason, None, &rejection.path, &rejection.message),
        order: rejection.order.clone(),
        shipment: rejection.shipment.clone(),
        account: None,
        shipment_key: None,
        fee: None,
        generation: 0,
        amount: None,
        first_seen_at: context.now.wall,
        last_seen_at: context.now.wall,
        count: 1,
        state: DeadLetterState::Open,
        job: None,
        raw: Some(raw),
    });
    if is_new {
        let content = EventContent::Rejected(RejectedNotice {
            caused_by: rejection.event_id,
            order: rejection.order,
            shipment: rejection.shipment,
            reason: rejection.reason,
            path: rejection.path,
            message: rejection.message,
            dead_letter: id,
        });
        let event_id = EventId::of_dead_letter(content.kind(), &id);
        books.announce(Event { id: event_id, time: context.now.wall, traceparent, content }, None);
    }
    Reply::nothing(note).about(subject)
}

/// Copies a message that the broker gave up on (delivery limit, reject) into the ledger.
pub(super) fn collect(books: &mut Books, dead: Collect, context: Context<'_>) -> Reply {
    let Collect { raw, order, shipment } = dead;
    let subject = Subject { order: order.clone(), shipment: shipment.clone(), ..Subject::default() };
    let id = DeadLetterId::of_message(DELIVERY_LIMIT, &dead_letter::sha256(&raw.body));
    let message = "the broker delivered it as often as its limit allows without an acknowledgement";
    books.add_dead_letter(DeadLetter {
        id,
        reason: DELIVERY_LIMIT,
        path: String::new(),
        message: message.to_owned(),
        provider_code: None,
        fingerprint: dead_letter::fingerprint(DELIVERY_LIMIT, None, "", message),
        order,
        shipment,
        account: None,
        shipment_key: None,
        fee: None,
        generation: 0,
        amount: None,
        first_seen_at: context.now.wall,
        last_seen_at: context.now.wall,
        count: 1,
        state: DeadLetterState::Open,
        job: None,
        raw: Some(raw),
    });
    Reply::nothing(Note::Collected(id)).about(subject)
}
