//! What notices say, decoded and checked as far as it can be without the ledger.

use std::fmt;

use rust_decimal::Decimal;

use crate::clock::Timestamp;
use crate::ids::{AccountName, LineId, OrderId, Reference, ShipmentId};
use crate::money::{Currency, Money};

/// The most lines a plan or a shipment may have.
pub const LINES_MAX: usize = 1_000;

/// A number of units of one order line, in millionths, so that `"1.250"` kg is exact.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Quantity(i64);

impl Quantity {
    /// None of it.
    pub const ZERO: Self = Self(0);
    /// The most units one line may have.
    pub const UNITS_MAX: i64 = 1_000_000_000;
    /// Millionths of one unit.
    const SCALE: i64 = 1_000_000;

    /// Reads a quantity from a decimal with at most six decimals.
    ///
    /// # Errors
    /// A lowercase fragment that says what is wrong.
    pub fn from_decimal(value: Decimal) -> Result<Self, &'static str> {
        let value = value.normalize();
        if value.scale() > 6 {
            return Err("has more than 6 decimals");
        }
        if value > Decimal::from(Self::UNITS_MAX) {
            return Err("is more than 1000000000 units");
        }
        let factor = 10_i128.pow(6 - value.scale());
        let millionths = i64::try_from(value.mantissa() * factor).map_err(|_| "is too large")?;
        Self::from_millionths(millionths).ok_or("is negative")
    }

    /// A quantity in millionths of a unit, as the ledger keeps it. `None` below zero.
    pub const fn from_millionths(millionths: i64) -> Option<Self> {
        if millionths < 0 { None } else { Some(Self(millionths)) }
    }

    /// Millionths of one unit.
    pub const fn millionths(self) -> i64 {
        self.0
    }

    /// None of it?
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum. Quantities are bounded by [`Self::UNITS_MAX`] each, a line by [`LINES_MAX`] of
    /// them, so that sums stay far below what the integer holds; beyond it the sum saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of `self` after `other`; nothing where `other` is more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal::new(self.0, 6).normalize().fmt(f)
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Quantity {
    /// `units` whole units, for tests and examples.
    pub const fn units(units: u32) -> Self {
        // A u32 of units times the scale is below 4.3e15.
        #[expect(clippy::as_conversions, reason = "widening in a const fn")]
        Self(units as i64 * Self::SCALE)
    }
}

/// The decoded content of `order.shipped`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShipmentNotice {
    /// The order.
    pub order: OrderId,
    /// The shipment within it.
    pub shipment: ShipmentId,
    /// Nothing more will ship. May rise from false to true when a notice is repeated.
    pub is_final: bool,
    /// What left the warehouse: quantity in *this* shipment. Empty only when `amount` is given. A
    /// line appears at most once, quantities are positive.
    pub lines: Vec<ShippedLine>,
    /// The sender has worked the amount out, in major units; its currency is the authorization's.
    pub amount: Option<Decimal>,
    /// The authorization to capture from; absent when registered before.
    pub authorization: Option<AuthorizationFacts>,
    /// What the whole order owes; absent when registered before or when `amount` is given.
    pub plan: Option<PlanFacts>,
}

/// The decoded content of `order.authorized`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationNotice {
    /// The order.
    pub order: OrderId,
    /// The authorization to capture from.
    pub authorization: AuthorizationFacts,
    /// What the whole order owes; absent where shipments name their own amounts.
    pub plan: Option<PlanFacts>,
}

/// The decoded content of `order.cancelled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancellationNotice {
    /// The order.
    pub order: OrderId,
    /// What is cancelled, line by line; `None` for everything that has not shipped.
    pub lines: Option<Vec<CancelledLine>>,
}

/// One line of a cancellation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelledLine {
    /// The line.
    pub line: LineId,
    /// How many units are cancelled so far, in all; positive.
    pub cancelled: Quantity,
}

/// One line of a shipment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShippedLine {
    /// The line.
    pub line: LineId,
    /// How much of it is in this shipment; positive.
    pub quantity: Quantity,
}

/// What a message says of an authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationFacts {
    /// The configured account.
    pub account: AccountName,
    /// The provider's order id or transaction id.
    pub reference: Reference,
    /// The currency it was made in.
    pub currency: Currency,
    /// How much was authorized; absent where the provider can be asked.
    pub amount: Option<Money>,
    /// When it was made.
    pub authorized_at: Option<Timestamp>,
    /// When it dies.
    pub expires_at: Option<Timestamp>,
}

/// What a message says an order owes, in major units of the authorization's currency. Whether it
/// adds up is checked when it is registered (`capture::plan`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFacts {
    /// Rises with each revision; the first is 1.
    pub revision: u32,
    /// The order's lines; a line id appears at most once.
    pub lines: Vec<PlanLineFacts>,
    /// Taken off the goods.
    pub discount: Decimal,
    /// Added on top of the goods.
    pub tax: Decimal,
    /// The delivery fee.
    pub shipping: Decimal,
    /// When the fee is earned.
    pub shipping_policy: ShippingPolicy,
    /// Paid by other means (gift card); not this authorization's.
    pub other_tender: Decimal,
    /// What this authorization owes for the whole order.
    pub total: Decimal,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLineFacts {
    /// The line.
    pub line: LineId,
    /// Units ordered.
    pub quantity: Quantity,
    /// What they cost together.
    pub total: Decimal,
}

/// When the delivery fee is earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShippingPolicy {
    /// In proportion to the goods that have shipped.
    Prorate,
    /// With the first shipment.
    First,
    /// With the last one.
    Last,
}

/// A message as it came, for dead letters, events and notices that have to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// The untouched body.
    pub body: bytes::Bytes,
    /// AMQP `content_type`.
    pub content_type: Option<String>,
    /// AMQP `message_id`.
    pub message_id: Option<String>,
    /// The exchange it was published to.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// W3C trace context of its producer.
    pub traceparent: Option<String>,
    /// W3C vendor trace state.
    pub tracestate: Option<String>,
    /// Has the broker delivered it before?
    pub redelivered: bool,
}

/// Why a message cannot be processed as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which kind.
    pub reason: RejectionReason,
    /// Where in the body, as a JSON path such as `$.data.plan.lines[0].total`; `$` for the whole.
    pub path: String,
    /// What is wrong and what to do, without repeating values.
    pub message: String,
    /// The order, where it could be read.
    pub order: Option<OrderId>,
    /// The shipment, where it could be read.
    pub shipment: Option<ShipmentId>,
    /// The incoming event's id, where it could be read.
    pub event_id: Option<String>,
}

/// The kinds of message that never become part of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectionReason {
    /// Not JSON in UTF-8, too large, duplicate keys, or not an envelope that we know.
    Undecodable,
    /// A field is missing, mistyped or contradicts another.
    Invalid,
    /// It is not from somebody who may send one.
    Unauthenticated,
    /// The same shipment, plan or authorization was registered with other content.
    Conflict,
    /// A cancellation or registration waited for an authorization that never became known.
    UnknownAuthorization,
    /// It waited for a plan that never became known.
    UnknownPlan,
    /// It waited for an account that was never configured.
    UnknownAccount,
}

impl RejectionReason {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Undecodable,
        Self::Invalid,
        Self::Unauthenticated,
        Self::Conflict,
        Self::UnknownAuthorization,
        Self::UnknownPlan,
        Self::UnknownAccount,
    ];

    /// The word in dead letters, events, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Conflict => "conflict",
            Self::UnknownAuthorization => "unknown_authorization",
            Self::UnknownPlan => "unknown_plan",
            Self::UnknownAccount => "unknown_account",
        }
    }
}
