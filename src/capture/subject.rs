//! What a reply is about, for logs.

use crate::capture::books::Books;
use crate::capture::decide::Subject;
use crate::capture::records::{AuthorizationKey, CaptureKey, OrderKey, ShipmentKey};

/// What a reply about a shipment is about.
pub(super) fn subject(books: &Books, shipment: ShipmentKey) -> Subject {
    let shipment = books.shipment(shipment);
    Subject {
        order: Some(books.order(shipment.order).id.clone()),
        shipment: Some(shipment.id.clone()),
        capture: shipment.capture.map(|key| books.capture(key).id),
        account: shipment.authorization.map(|key| books.authorization(key).account.clone()),
    }
}

/// What a reply about a capture is about: its last shipment, where it has one.
pub(super) fn subject_of_capture(books: &Books, capture: CaptureKey) -> Subject {
    let record = books.capture(capture);
    let of_order = || {
        let account = books.authorization(record.authorization).account.clone();
        Subject { account: Some(account), ..subject_of_order(books, record.order) }
    };
    let subject = record.shipment().map_or_else(of_order, |shipment| subject(books, shipment));
    Subject { capture: Some(record.id), ..subject }
}

/// What a reply about an order is about.
pub(super) fn subject_of_order(books: &Books, order: OrderKey) -> Subject {
    Subject { order: Some(books.order(order).id.clone()), ..Subject::default() }
}

/// What a reply about an authorization is about.
pub(super) fn subject_of_authorization(books: &Books, authorization: AuthorizationKey) -> Subject {
    let record = books.authorization(authorization);
    Subject { account: Some(record.account.clone()), ..subject_of_order(books, record.order) }
}
