//! Amounts below an account's minimum, on authorizations that can be captured several times: such a
//! shipment waits, and is captured with the next one of its order. What is too little at the end is
//! refused.

use crate::capture::amount::Rules;
use crate::capture::books::Books;
use crate::capture::decide::{Context, Note, Reply};
use crate::capture::outcome;
use crate::capture::policy::Captures;
use crate::capture::records::{AuthorizationKey, OrderKey, ShipmentKey};
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
    let total = waiting.iter().fold(amount, |sum, key| sum.checked_add(amount_of(books, *key)).expect("one currency"));
    (waiting, total)
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
    if is_several && books.authorization(authorization).waiting > 0 && books.order(order).is_complete() {
        let waiting = books.waiting_for(order, authorization);
        refuse(books, authorization, &waiting, context);
    }
}

/// The authorization is about to die.
pub(super) fn end_on(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) -> Reply {
    let waiting = books.all_waiting_on(authorization);
    refuse(books, authorization, &waiting, context);
    Reply::nothing(Note::Refused(crate::capture::event::FailureReason::BelowMinimum))
}

fn refuse(books: &mut Books, authorization: AuthorizationKey, waiting: &[ShipmentKey], context: Context<'_>) {
    let rules = Rules::on(books, authorization, context);
    leave(books, authorization, waiting);
    for shipment in waiting {
        let cause = rules.too_little(amount_of(books, *shipment));
        outcome::refuse(books, *shipment, &cause, context);
    }
}

/// How often the authorization can be captured, as far as its account is configured.
pub(super) fn captures(books: &Books, authorization: AuthorizationKey, context: Context<'_>) -> Option<Captures> {
    let account = &books.authorization(authorization).account;
    context.policy.accounts.get(account).map(|account| account.captures)
}

fn amount_of(books: &Books, shipment: ShipmentKey) -> Money {
    books.shipment(shipment).amount.expect("given before it waits")
}
