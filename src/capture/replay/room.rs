//! Does what is tried again fit on an authorization, and may it be taken without the rest?

use crate::capture::amount::Rules;
use crate::capture::books::Books;
use crate::capture::collect;
use crate::capture::dead_letter::DeadLetterState;
use crate::capture::decide::Context;
use crate::capture::event::FailureReason;
use crate::capture::policy::Captures;
use crate::capture::records::{Authorization, AuthorizationKey, ShipmentKey, SingleUse};
use crate::capture::replay::way::why_not_after;
use crate::capture::replay::{WhyNot, WhyNotKind};
use crate::clock;
use crate::money::Money;

/// Does it fit on the authorization, as things stand?
pub(super) fn has_room(
    books: &Books,
    shipments: &[ShipmentKey],
    authorization: AuthorizationKey,
    total: Money,
    context: Context<'_>,
) -> Result<(), WhyNot> {
    let record = books.authorization(authorization);
    let one = "one currency per authorization";
    if record.currency != total.currency() {
        let message = format!("{total} was earned, the open authorization is in {}", record.currency);
        return Err(WhyNot::new(WhyNotKind::CurrencyMismatch, message));
    }
    if total.is_zero() {
        return Ok(());
    }
    let rules = Rules::on(books, authorization, context);
    if !rules.allows(total) {
        let message = format!("{total} is no multiple of what the account's amounts must be multiples of");
        return Err(WhyNot::new(WhyNotKind::StillRefused, message));
    }
    let is_single =
        context.policy.accounts.get(&record.account).is_some_and(|account| account.captures == Captures::Single);
    let (ours, together) = if is_single {
        let ours = record.authorized.saturating_sub(record.captured).expect(one);
        (ours, record.waiting_amount.checked_add(total).expect(one))
    } else {
        (record.remaining(), total)
    };
    let held = record.provider.remaining.filter(|held| held.minor() < ours.minor()).unwrap_or(ours);
    if together.minor() > held.minor() {
        let message = format!(
            "{together} was earned, {held} remains on the order's newest open authorization: authorize anew, tell of \
             it by order.authorized, and replay then"
        );
        return Err(WhyNot::new(WhyNotKind::ExceedsAuthorization, message));
    }
    let goes_now = !is_single || freezes_now(books, shipments, authorization, context);
    if goes_now && rules.is_too_little(together) {
        let message = "it is less than the account's minimum: nothing can be captured for it".to_owned();
        return Err(WhyNot::new(WhyNotKind::BelowMinimum, message));
    }
    if is_single { alone(books, shipments, record, goes_now) } else { Ok(()) }
}

/// Would the authorization's one capture be taken at once?
fn freezes_now(
    books: &Books,
    shipments: &[ShipmentKey],
    authorization: AuthorizationKey,
    context: Context<'_>,
) -> bool {
    let order = books.order(books.shipment(shipments[0]).order);
    let is_past = |at: Option<clock::Timestamp>| at.is_some_and(|at| at <= context.now.wall);
    order.is_complete()
        || is_past(order.final_at.map(|at| clock::after(at, context.policy.final_grace)))
        || is_past(collect::deadline(books, authorization, context))
}

/// An authorization that is captured once must not be taken for some of what it is meant for, and be
/// lost for the rest.
fn alone(books: &Books, shipments: &[ShipmentKey], record: &Authorization, goes_now: bool) -> Result<(), WhyNot> {
    if record.single == SingleUse::Undecided {
        let message = "the open authorization's one capture is under way: replay once it is decided";
        return Err(WhyNot::new(WhyNotKind::CaptureUnderWay, message));
    }
    let order = books.shipment(shipments[0]).order;
    let is_left_out = |key: &ShipmentKey| {
        let other = books.shipment(*key);
        let capture = other.capture.map(|capture| books.capture(capture));
        let has_earned = other.amount.is_some_and(|amount| !amount.is_zero());
        let may_go =
            other.reason != Some(FailureReason::CapturedElsewhere) && capture.and_then(why_not_after).is_none();
        let is_open = books.dead_letter_of(*key).is_some_and(|letter| letter.state == DeadLetterState::Open);
        !shipments.contains(key) && has_earned && may_go && is_open
    };
    let others = books.ended_without_money(order).iter().filter(|key| is_left_out(key)).count();
    if goes_now && others > 0 {
        let message = format!(
            "the open authorization is captured only once, and {others} more dead letters of the order would be left \
             out: replay them together, by --order"
        );
        return Err(WhyNot::new(WhyNotKind::OthersLeftOut, message));
    }
    Ok(())
}

/// Does what an order owes beyond its shipments' amounts fit?
pub(super) fn fee_has_room(record: &Authorization, amount: Money, rules: Rules) -> Result<(), WhyNot> {
    let remaining = record.remaining();
    match amount.fits(remaining) {
        Ok(true) if rules.is_too_little(amount) => {
            Err(WhyNot::new(WhyNotKind::BelowMinimum, "it is less than the account's minimum"))
        }
        Ok(true) => Ok(()),
        Ok(false) => {
            let message = format!("{amount} was earned, {remaining} remains on the order's newest open authorization");
            Err(WhyNot::new(WhyNotKind::ExceedsAuthorization, message))
        }
        Err(_) => {
            let message = format!("{amount} was earned, the open authorization is in {}", record.currency);
            Err(WhyNot::new(WhyNotKind::CurrencyMismatch, message))
        }
    }
}
