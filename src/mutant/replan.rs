//! A shipment that comes again with other content plans its capture anew.

use uuid::Uuid;

use crate::capture::books::Books;
use crate::capture::notice::ShipmentNotice;
use crate::ids::CaptureId;
use crate::money::Money;

use super::Mutant;

/// Changes the amount of the open capture, and with it its id where that has the amount in it.
pub(crate) fn on_change(books: &mut Books, notice: &ShipmentNotice, content: [u8; 32]) {
    let has_amount = super::on(Mutant::ReplanWithNewKey);
    if !has_amount && !super::on(Mutant::ReplanOnChange) {
        return;
    }
    let shipment = books.order_key(&notice.order).and_then(|order| books.shipment_key(order, &notice.shipment));
    let Some(shipment) = shipment.map(|key| books.shipment(key)).filter(|known| known.content != content) else {
        return;
    };
    let Some(capture) = shipment.capture.filter(|key| !books.capture(*key).state.is_terminal()) else { return };
    let record = books.capture_mut(capture);
    let amount = record.amount;
    record.amount = Money::from_minor(amount.minor() + 1, amount.currency()).expect("more than a positive amount");
    if has_amount {
        record.id = CaptureId::from_uuid(Uuid::new_v5(&record.id.as_uuid(), record.amount.to_string().as_bytes()));
    }
}
