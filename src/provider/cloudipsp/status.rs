//! Reads the reply to a status request: the authorization's truth, signed.
//!
//! Sources: <https://docs.flitt.com/api/order-status>, <https://docs.flitt.com/api/get-capture-status>.
//! Amounts are minor units as text, except `capture_amount`, which is a number in major units.

use chrono::{NaiveDateTime, TimeDelta};
use secrecy::SecretString;

use crate::capture::evidence::{AuthorizationStatus, AuthorizationView, ProviderBalance, Reading, SeenCapture};
use crate::clock::Timestamp;
use crate::ids::Reference;
use crate::money::{Currency, Money};

use super::super::answer::Inconclusive;
use super::super::exact;
use super::super::http::{Reply, StatusClass};
use super::fields::Fields;

/// The evidence in the reply.
pub(super) fn read(reply: &Reply, merchant_id: u64, reference: &Reference, secret: &SecretString) -> Reading {
    match authentic(reply, merchant_id, reference, secret).and_then(|fields| view(&fields)) {
        Ok(view) => Reading::Seen(Box::new(view)),
        Err(shown) => shown.into(),
    }
}

/// The fields of a reply that is signed and about our order.
fn authentic(
    reply: &Reply,
    merchant_id: u64,
    reference: &Reference,
    secret: &SecretString,
) -> Result<Fields, Inconclusive> {
    let fields = Fields::parse(reply.content()?).ok_or_else(|| reply.uncoded())?;
    // `response_code` here is the payment's own, not the read's.
    if let Some(error) = fields.error("error_code", "error_message") {
        return Err(error.judged_read(reply));
    }
    if reply.class() != StatusClass::Success {
        return Err(reply.uncoded());
    }
    if !fields.is("response_status", "success") {
        return Err(Inconclusive::unreadable("the answer is neither a success nor a coded failure"));
    }
    if !fields.verify(secret) {
        return Err(Inconclusive::unreadable("the answer's signature does not verify: check the account's secret"));
    }
    fields.echo(merchant_id, reference)?;
    Ok(fields)
}

/// Where the order stands, before its capture is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OrderStatus {
    /// `created`, `processing`.
    Open,
    /// Before and after a capture alike.
    Approved,
    Declined,
    Expired,
    /// In full.
    Reversed,
}

impl OrderStatus {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "created" | "processing" => Self::Open,
            "approved" => Self::Approved,
            "declined" => Self::Declined,
            "expired" => Self::Expired,
            "reversed" => Self::Reversed,
            _ => return None,
        })
    }
}

/// What `additional_info`, which is JSON inside a string, says of the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CaptureState {
    /// Nothing captured.
    None,
    /// Created, not approved.
    Pending,
    /// This much.
    Captured(Money),
    /// Given back before a capture.
    Reversed,
}

fn view(fields: &Fields) -> Result<AuthorizationView, Inconclusive> {
    let order = fields
        .get("order_status")
        .and_then(|text| OrderStatus::parse(&text))
        .ok_or_else(|| Inconclusive::unreadable("the answer has no order_status that we know"))?;
    // Never approved, an order has no actual currency yet.
    let currency = fields
        .get("actual_currency")
        .or_else(|| fields.get("currency"))
        .and_then(|code| Currency::parse(&code).ok())
        .ok_or_else(|| Inconclusive::unreadable("the answer has no currency that we know"))?;
    let authorized = minor(fields, "actual_amount", currency)?;
    let reversed = minor(fields, "reversal_amount", currency)?;
    let info = fields.nested("additional_info");
    let capture = capture_state(order, info.as_ref(), currency)?;
    let status = status(order, capture);
    Ok(AuthorizationView {
        status,
        is_card: is_card(fields, info.as_ref()),
        currency,
        authorized,
        balance: balance(status, capture, authorized, reversed)?,
        captures: seen(fields, capture),
        has_pending_capture: capture == CaptureState::Pending,
        authorized_at: fields.get("order_time").and_then(|text| earliest_reading(&text)),
    })
}

/// What happened to the hold. Where a capture can exist, a reply that does not speak of one shows
/// nothing: absence is not evidence.
fn capture_state(order: OrderStatus, info: Option<&Fields>, currency: Currency) -> Result<CaptureState, Inconclusive> {
    let Some(info) = info.filter(|info| info.has("capture_status")) else {
        return match order {
            OrderStatus::Approved | OrderStatus::Reversed => {
                Err(Inconclusive::unreadable("the answer has no readable capture_status in additional_info"))
            }
            OrderStatus::Open | OrderStatus::Declined | OrderStatus::Expired => Ok(CaptureState::None),
        };
    };
    let amount = info
        .get("capture_amount")
        .map(|text| exact::major(&text, currency))
        .transpose()
        .map_err(|problem| Inconclusive::unreadable(format!("capture_amount {problem}")))?
        .filter(|amount| !amount.is_zero());
    match (info.get("capture_status").as_deref(), amount) {
        (Some("captured"), Some(amount)) => Ok(CaptureState::Captured(amount)),
        (Some("captured"), None) => Err(Inconclusive::unreadable("capture_status is captured without an amount")),
        (Some("hold"), _) => Ok(CaptureState::Pending),
        (None, None) => Ok(CaptureState::None),
        (Some("reversed"), None) => Ok(CaptureState::Reversed),
        (None | Some("reversed"), Some(_)) => {
            Err(Inconclusive::unreadable("the answer has a capture_amount, but no capture_status captured"))
        }
        (Some(_), _) => Err(Inconclusive::unreadable("the answer has a capture_status that we do not know")),
    }
}

/// A capture outweighs the order's status: money moved, whatever came after. One capture uses the
/// authorization up, and the rest of the hold is released.
fn status(order: OrderStatus, capture: CaptureState) -> AuthorizationStatus {
    match (capture, order) {
        (CaptureState::Captured(_), _) => AuthorizationStatus::FullyCaptured,
        (CaptureState::Reversed, _) | (_, OrderStatus::Reversed) => AuthorizationStatus::Voided,
        (CaptureState::None | CaptureState::Pending, OrderStatus::Open) => AuthorizationStatus::NotYetApproved,
        (CaptureState::None | CaptureState::Pending, OrderStatus::Approved) => AuthorizationStatus::Open,
        (CaptureState::None | CaptureState::Pending, OrderStatus::Declined) => AuthorizationStatus::Declined,
        (CaptureState::None | CaptureState::Pending, OrderStatus::Expired) => AuthorizationStatus::Expired,
    }
}

fn balance(
    status: AuthorizationStatus,
    capture: CaptureState,
    authorized: Option<Money>,
    reversed: Option<Money>,
) -> Result<ProviderBalance, Inconclusive> {
    let (captured, remaining) = match (capture, status, authorized) {
        (CaptureState::Captured(amount), _, _) => (Some(amount), Some(Money::zero(amount.currency()))),
        (_, AuthorizationStatus::Open, Some(held)) => {
            let gone = reversed.unwrap_or(Money::zero(held.currency()));
            let left = held
                .saturating_sub(gone)
                .map_err(|error| Inconclusive::unreadable(format!("reversal_amount: {error}")))?;
            (Some(Money::zero(held.currency())), Some(left))
        }
        (_, _, Some(held)) if status.is_terminal() => {
            (Some(Money::zero(held.currency())), Some(Money::zero(held.currency())))
        }
        _ => (None, None),
    };
    Ok(ProviderBalance { captured, voided: reversed, remaining, expires_at: None })
}

fn seen(fields: &Fields, capture: CaptureState) -> Vec<SeenCapture> {
    match capture {
        CaptureState::Captured(amount) => vec![SeenCapture {
            capture: None,
            amount,
            provider_reference: fields.get("payment_id").map(|id| id.chars().take(64).collect()),
        }],
        CaptureState::None | CaptureState::Pending | CaptureState::Reversed => Vec::new(),
    }
}

/// Cards alone can be held; any other method was charged at once. Named in one of two places; an
/// order that was never paid names none.
fn is_card(fields: &Fields, info: Option<&Fields>) -> bool {
    let system = fields.get("payment_system");
    let method = info.and_then(|info| info.get("payment_method"));
    match (system.as_deref(), method.as_deref()) {
        (None, None) => true,
        (system, method) => system == Some("card") || method == Some("card"),
    }
}

fn minor(fields: &Fields, name: &str, currency: Currency) -> Result<Option<Money>, Inconclusive> {
    fields
        .get(name)
        .map(|text| exact::minor(&text, currency))
        .transpose()
        .map_err(|problem| Inconclusive::unreadable(format!("{name} {problem}")))
}

/// `DD.MM.YYYY hh:mm:ss` without a zone: the earliest instant that it can mean is 14 hours before
/// the same digits in UTC (the easternmost zone is UTC+14).
fn earliest_reading(text: &str) -> Option<Timestamp> {
    let local = NaiveDateTime::parse_from_str(text, "%d.%m.%Y %H:%M:%S").ok()?;
    local.and_utc().checked_sub_signed(TimeDelta::hours(14))
}
