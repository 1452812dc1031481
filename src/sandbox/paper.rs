//! What Paper serves: holds, and takings from them. Written from what `provider::paper` says of the protocol, and not
//! from how it reads it. For the tests alone.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::SecondsFormat;

use super::books::{Authorization, MovementKind, OrderStatus};
use super::exchange::{Refusal, Reply, body, exchange};
use super::faults::{Code, Operation, Subject};
use super::flex_pay::basic;
use super::server::Line;
use super::world::World;
use super::{Protocol, Shared};
use crate::money::{Currency, Money};

/// The codes, and the status of each.
const CODES: [(&str, StatusCode); 9] = [
    ("no_such_hold", StatusCode::NOT_FOUND),
    ("no_funds", StatusCode::PAYMENT_REQUIRED),
    ("hold_ended", StatusCode::UNPROCESSABLE_ENTITY),
    ("hold_returned", StatusCode::UNPROCESSABLE_ENTITY),
    ("over_hold", StatusCode::UNPROCESSABLE_ENTITY),
    ("wrong_currency", StatusCode::UNPROCESSABLE_ENTITY),
    ("bad_form", StatusCode::BAD_REQUEST),
    ("memo_used", StatusCode::CONFLICT),
    ("busy", StatusCode::SERVICE_UNAVAILABLE),
];

/// Is there such a code?
pub(super) fn is_code(name: &str) -> bool {
    CODES.iter().any(|(known, _)| *known == name)
}

/// `GET /paper/holds/{hold}`.
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Extension(line): Extension<Arc<Line>>,
    Path(hold): Path<String>,
    headers: HeaderMap,
) -> Reply {
    let Some(shop) = shop(&shared, &headers) else { return unauthorized() };
    let subject = subject(shop.clone(), hold.clone(), Operation::Lookup);
    exchange(&shared, &line, subject, move |world, moment| {
        if let Some(refusal) = &moment.refusal {
            return refused(refusal);
        }
        let Some(found) = find(world, &shop, &hold) else { return error("no_such_hold") };
        found.settle(moment.now);
        shown(found)
    })
    .await
}

/// `POST /paper/holds/{hold}/takings`.
pub(super) async fn take(
    State(shared): State<Arc<Shared>>,
    Extension(line): Extension<Arc<Line>>,
    Path(hold): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let Some(shop) = shop(&shared, &headers) else { return unauthorized() };
    let subject = subject(shop.clone(), hold.clone(), Operation::Capture);
    exchange(&shared, &line, subject, move |world, moment| {
        let Some((amount, memo)) = asked(&body) else { return error("bad_form") };
        let Some(found) = find(world, &shop, &hold) else { return error("no_such_hold") };
        found.settle(moment.now);
        let known = found.movements.iter().find(|it| it.merchant_reference_id.as_deref() == Some(memo.as_str()));
        if let Some(known) = known {
            return if known.amount == amount { taken(&hold, &memo, amount) } else { error("memo_used") };
        }
        if let Some(refusal) = &moment.refusal {
            return refused(refusal);
        }
        if let Err(code) = fits(found, amount) {
            return error(code);
        }
        found.move_money(MovementKind::Capture, amount, Some(memo.clone()), moment.now);
        taken(&hold, &memo, amount)
    })
    .await
}

fn fits(hold: &Authorization, amount: Money) -> Result<(), &'static str> {
    match hold.status {
        OrderStatus::Expired => return Err("hold_ended"),
        OrderStatus::Reversed => return Err("hold_returned"),
        OrderStatus::Declined => return Err("no_funds"),
        OrderStatus::Created | OrderStatus::Processing | OrderStatus::Approved => {}
    }
    match amount.fits(hold.remaining()) {
        Err(_) => Err("wrong_currency"),
        Ok(false) => Err("over_hold"),
        Ok(true) => Ok(()),
    }
}

/// The amount and the memo of a request.
fn asked(body: &[u8]) -> Option<(Money, String)> {
    let text = std::str::from_utf8(body).ok()?;
    let field = |name: &str| text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let amount = Money::from_minor(field("amount")?.parse().ok()?, Currency::parse(field("currency")?).ok()?).ok()?;
    let memo = field("memo")?;
    (!amount.is_zero() && !memo.is_empty()).then(|| (amount, memo.to_owned()))
}

fn taken(hold: &str, memo: &str, amount: Money) -> Reply {
    let (minor, currency) = (amount.minor(), amount.currency());
    form(StatusCode::OK, format!("hold={hold}&memo={memo}&amount={minor}&currency={currency}&state=taken"))
}

fn shown(hold: &Authorization) -> Reply {
    let (held, currency) = (hold.authorized.minor(), hold.authorized.currency());
    let ends = hold.expires_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let takings = hold.movements.iter().filter(|it| it.kind == MovementKind::Capture).map(|taking| {
        let memo = taking.merchant_reference_id.as_deref().unwrap_or("by-hand");
        format!("taking={memo}:{}&", taking.amount.minor())
    });
    let takings: String = takings.collect();
    let state = match hold.status {
        OrderStatus::Declined => "refused",
        OrderStatus::Expired => "ended",
        OrderStatus::Reversed => "returned",
        OrderStatus::Created | OrderStatus::Processing | OrderStatus::Approved if !hold.remaining().is_zero() => "open",
        OrderStatus::Created | OrderStatus::Processing | OrderStatus::Approved if hold.captured().is_zero() => {
            "returned"
        }
        OrderStatus::Created | OrderStatus::Processing | OrderStatus::Approved => "emptied",
    };
    let (returned, left) = (hold.voided().minor(), hold.remaining().minor());
    let hold = &hold.reference;
    let text = format!(
        "hold={hold}&currency={currency}&held={held}&ends={ends}&{takings}returned={returned}&left={left}&state={state}"
    );
    form(StatusCode::OK, text)
}

/// The wording of an error that a fault asked for.
pub(super) fn refused(refusal: &Refusal) -> Reply {
    match &refusal.code {
        Code::Name(name) => error(name),
        Code::Number(_) | Code::About { .. } => unreachable!("a number never meets this protocol"),
    }
}

fn error(code: &str) -> Reply {
    let known = CODES.iter().find(|(known, _)| *known == code);
    let (_, status) = known.expect("the rule was checked when it was armed");
    form(*status, format!("error={code}&text=Sandbox:+{}", code.replace('_', "+")))
}

fn unauthorized() -> Reply {
    form(StatusCode::UNAUTHORIZED, String::new())
}

fn form(status: StatusCode, text: String) -> Reply {
    body(status, "application/x-www-form-urlencoded", text)
}

fn subject(account: String, reference: String, operation: Operation) -> Subject {
    Subject { protocol: Protocol::Paper, account, reference, operation }
}

fn find<'a>(world: &'a mut World, shop: &str, hold: &str) -> Option<&'a mut Authorization> {
    world.accounts.get_mut(shop)?.find(hold)
}

/// Whose credentials the request has.
fn shop(shared: &Shared, headers: &HeaderMap) -> Option<String> {
    let (shop, secret) = basic(headers)?;
    let world = shared.world();
    let account = world.accounts.get(&shop).filter(|it| it.protocol == Protocol::Paper && it.secret == secret);
    account.is_some().then_some(shop)
}
