//! What we tell the world: the outgoing events as values. `message` gives them their JSON.

use crate::capture::notice::RejectionReason;
use crate::clock::Timestamp;
use crate::ids::{AccountName, CaptureId, DeadLetterId, EventId, OrderId, Reference, ShipmentId};
use crate::money::Money;

pub use crate::capture::ending::{AuthorizationEnd, AuthorizationWarning, Ending};

/// One event, ready to be written to the outbox in the transaction that makes it true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Deterministic: the same in every repetition.
    pub id: EventId,
    /// The instant of the transaction that made it true.
    pub time: Timestamp,
    /// W3C trace context of the message that caused it.
    pub traceparent: Option<String>,
    /// What happened.
    pub content: EventContent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventContent {
    /// The shipment's money was captured.
    Succeeded(Box<Outcome>),
    /// It was not, on evidence.
    Failed(Box<Outcome>, Failure),
    /// An operator closed a capture in doubt by hand.
    Unresolved(Box<Outcome>, OperatorNote),
    /// Evidence arrived after a terminal outcome.
    Corrected(Box<Outcome>, Correction),
    /// Accepted, waiting to be captured with others.
    Deferred(Deferral),
    /// A message that cannot be processed as it is.
    Rejected(RejectedNotice),
    /// A revised plan is below what was captured.
    RefundRequired(RefundRequired),
    /// An authorization is about to expire, with money that is not captured.
    Expiring(Box<AuthorizationWarning>),
    /// An authorization is over, and what became of its money is known.
    Expired(Box<AuthorizationEnd>),
}

impl EventContent {
    /// The type of every event there is.
    pub const KINDS: [&'static str; 9] = [
        "capture.succeeded",
        "capture.failed",
        "capture.unresolved",
        "capture.corrected",
        "capture.deferred",
        "notice.rejected",
        "refund_required",
        "authorization.expiring",
        "authorization.expired",
    ];

    /// The event's type, which is its routing key too.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => Self::KINDS[0],
            Self::Failed(..) => Self::KINDS[1],
            Self::Unresolved(..) => Self::KINDS[2],
            Self::Corrected(..) => Self::KINDS[3],
            Self::Deferred(_) => Self::KINDS[4],
            Self::Rejected(_) => Self::KINDS[5],
            Self::RefundRequired(_) => Self::KINDS[6],
            Self::Expiring(_) => Self::KINDS[7],
            Self::Expired(_) => Self::KINDS[8],
        }
    }
}

/// The fields that every outcome carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The order.
    pub order: OrderId,
    /// The shipment; `None` for a fee.
    pub shipment: Option<ShipmentId>,
    /// The capture, or what its id would have been.
    pub capture: Option<CaptureId>,
    /// What kind of capture.
    pub kind: CaptureKind,
    /// 0, and one more for each replay of a failure.
    pub generation: u32,
    /// The account and reference of the authorization; `None` when it was never known.
    pub authorization: Option<(AccountName, Reference)>,
    /// This shipment's share; `None` when no amount could be worked out.
    pub amount: Option<Money>,
    /// The whole capture.
    pub capture_amount: Option<Money>,
    /// Every shipment that the capture covers.
    pub capture_shipments: Vec<ShipmentId>,
    /// The authorization's balance after this outcome.
    pub balance: Option<Balance>,
    /// When the authorization dies.
    pub authorization_expires_at: Option<Timestamp>,
    /// Provider calls made for it.
    pub attempts: u32,
    /// What settled it.
    pub resolved_by: ResolvedBy,
    /// The provider's id of the capture.
    pub provider_reference: Option<String>,
    /// The id of the incoming event.
    pub caused_by: Option<String>,
    /// Counts the events of the order, from 1.
    pub sequence: u64,
}

/// An authorization's balance, over our own movements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Authorized.
    pub authorized: Money,
    /// Captured.
    pub captured: Money,
    /// Authorized, less captured and reserved.
    pub remaining: Money,
    /// Shipped but not captured: planned, in doubt, or collecting.
    pub earned_uncaptured: Money,
}

/// What kind of capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaptureKind {
    /// One shipment.
    Shipment,
    /// Several shipments of a single-capture authorization, complete or final.
    Batch,
    /// What had shipped when the authorization was about to expire.
    Deadline,
    /// What an order owes beyond its shipments' amounts, after a cancellation or a revision.
    Fee,
    /// Nothing to capture: free goods.
    Zero,
}

impl CaptureKind {
    /// The word in events and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shipment => "shipment",
            Self::Batch => "batch",
            Self::Deadline => "deadline",
            Self::Fee => "fee",
            Self::Zero => "zero",
        }
    }
}

/// What settled an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResolvedBy {
    /// The answer to a capture request.
    Response,
    /// A read.
    Lookup,
    /// Our own rules, without a call.
    Local,
    /// A person.
    Operator,
}

impl ResolvedBy {
    /// The word in events and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Lookup => "lookup",
            Self::Local => "local",
            Self::Operator => "operator",
        }
    }
}

/// Why money was not captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// From the closed list.
    pub reason: FailureReason,
    /// The provider's own code.
    pub provider_code: Option<String>,
    /// Redacted, at most 200 characters.
    pub message: String,
    /// Would a replay make sense?
    pub retryable: bool,
    /// False, except with `captured_elsewhere`.
    pub money_may_have_moved: bool,
    /// What somebody should do.
    pub next_action: NextAction,
    /// The dead letter that keeps it.
    pub dead_letter: DeadLetterId,
}

/// The closed list of reasons of `capture.failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureReason {
    /// The issuer or the provider declined.
    Declined,
    /// Not enough money behind the card.
    InsufficientFunds,
    /// The authorization has expired.
    AuthorizationExpired,
    /// The authorization was voided or reversed.
    AuthorizationVoided,
    /// More than the authorization has left.
    ExceedsAuthorization,
    /// The single capture was used before.
    CaptureAlreadyUsed,
    /// More units than were ordered.
    OverShipped,
    /// The units were cancelled.
    OrderCancelled,
    /// The shipment and the plan do not go together.
    PlanMismatch,
    /// Two currencies.
    CurrencyMismatch,
    /// The authorization never became known.
    UnknownAuthorization,
    /// The plan never became known.
    UnknownPlan,
    /// The account was never configured.
    UnknownAccount,
    /// Below the account's minimum.
    BelowMinimum,
    /// Somebody else captured on a single-capture authorization.
    CapturedElsewhere,
    /// Any other definitive refusal.
    ProviderRejected,
}

impl FailureReason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::Declined,
        Self::InsufficientFunds,
        Self::AuthorizationExpired,
        Self::AuthorizationVoided,
        Self::ExceedsAuthorization,
        Self::CaptureAlreadyUsed,
        Self::OverShipped,
        Self::OrderCancelled,
        Self::PlanMismatch,
        Self::CurrencyMismatch,
        Self::UnknownAuthorization,
        Self::UnknownPlan,
        Self::UnknownAccount,
        Self::BelowMinimum,
        Self::CapturedElsewhere,
        Self::ProviderRejected,
    ];

    /// The word in events, dead letters, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::InsufficientFunds => "insufficient_funds",
            Self::AuthorizationExpired => "authorization_expired",
            Self::AuthorizationVoided => "authorization_voided",
            Self::ExceedsAuthorization => "exceeds_authorization",
            Self::CaptureAlreadyUsed => "capture_already_used",
            Self::OverShipped => "over_shipped",
            Self::OrderCancelled => "order_cancelled",
            Self::PlanMismatch => "plan_mismatch",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::UnknownAuthorization => "unknown_authorization",
            Self::UnknownPlan => "unknown_plan",
            Self::UnknownAccount => "unknown_account",
            Self::BelowMinimum => "below_minimum",
            Self::CapturedElsewhere => "captured_elsewhere",
            Self::ProviderRejected => "provider_rejected",
        }
    }

    /// What somebody should do about it.
    pub const fn next_action(self) -> NextAction {
        match self {
            Self::Declined
            | Self::InsufficientFunds
            | Self::UnknownAuthorization
            | Self::UnknownPlan
            | Self::UnknownAccount
            | Self::ProviderRejected => NextAction::Replay,
            Self::AuthorizationExpired | Self::AuthorizationVoided | Self::ExceedsAuthorization => {
                NextAction::Reauthorize
            }
            Self::CaptureAlreadyUsed
            | Self::OverShipped
            | Self::PlanMismatch
            | Self::CurrencyMismatch
            | Self::CapturedElsewhere => NextAction::Review,
            Self::OrderCancelled | Self::BelowMinimum => NextAction::None,
        }
    }

    /// Would a replay make sense, now or once a new authorization is there?
    pub const fn is_retryable(self) -> bool {
        match self.next_action() {
            NextAction::Replay | NextAction::Reauthorize => true,
            NextAction::Review | NextAction::None => false,
        }
    }
}

/// What somebody should do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextAction {
    /// Replay it once the cause is gone.
    Replay,
    /// Get a new authorization, then replay.
    Reauthorize,
    /// Look at it.
    Review,
    /// Nothing.
    None,
}

impl NextAction {
    /// The word in events and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Reauthorize => "reauthorize",
            Self::Review => "review",
            Self::None => "none",
        }
    }
}

/// Who closed a capture by hand, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorNote {
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
}

/// What an outcome was, and what it turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// Before: `failed` or `unresolved`.
    pub was: &'static str,
    /// Now: `captured`.
    pub now: &'static str,
}

/// A shipment that waits to be captured with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// The order.
    pub order: OrderId,
    /// The shipment.
    pub shipment: ShipmentId,
    /// The authorization.
    pub account: AccountName,
    /// Its reference at the provider.
    pub reference: Reference,
    /// What the order has earned so far on this authorization.
    pub amount_so_far: Money,
    /// The latest instant at which it is captured; `None` while the expiry is unknown.
    pub capture_by: Option<Timestamp>,
    /// The id of the incoming event.
    pub caused_by: Option<String>,
    /// Counts the events of the order, from 1.
    pub sequence: u64,
}

/// A message that cannot be processed as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedNotice {
    /// The id of the incoming event, where it could be read.
    pub caused_by: Option<String>,
    /// The order, where it could be read.
    pub order: Option<OrderId>,
    /// The shipment, where it could be read.
    pub shipment: Option<ShipmentId>,
    /// Which kind.
    pub reason: RejectionReason,
    /// Where in the body.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The dead letter that keeps the body.
    pub dead_letter: DeadLetterId,
}

/// A revised plan is below what was captured. Holdfast refunds nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequired {
    /// The order.
    pub order: OrderId,
    /// The account of the order's newest authorization.
    pub account: AccountName,
    /// The order's newest authorization at the provider.
    pub reference: Reference,
    /// The plan's revision.
    pub revision: u32,
    /// Captured for the order, on all its authorizations.
    pub captured: Money,
    /// What the revised plan comes to.
    pub plan_total: Money,
    /// Captured, less what the plan comes to.
    pub difference: Money,
    /// The id of the incoming event; `None` where a capture that was under way when the revision came
    /// has called for it.
    pub caused_by: Option<String>,
    /// Counts the events of the order, from 1.
    pub sequence: u64,
}
