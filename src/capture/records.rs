//! The records that the books are made of: orders, authorizations, shipments and captures.
//!
//! They hold running totals, never histories: deciding about a shipment costs the same on its first
//! and on its thousandth day.

use crate::capture::changes::Record;
use crate::capture::event::{CaptureKind, FailureReason, ResolvedBy};
use crate::capture::evidence::{ProviderBalance, Refusal};
use crate::capture::notice::{RawMessage, ShippedLine};
use crate::capture::plan::{LineProgress, Plan, PlanLine};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::why::{LeftOpen, Missing, Since};
use crate::clock::{Mark, Timestamp};
use crate::ids::{AccountName, CaptureId, OrderId, Reference, ShipmentId};
use crate::money::{Currency, Money};

pub use crate::capture::keys::{AuthorizationKey, CaptureKey, JobKey, KeptKey, OrderKey, ShipmentKey};
pub use crate::capture::watch::{Foreign, ForeignStanding, Lead, Restored, Watch};

/// An order: its plan, and how much of it has shipped.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Its row.
    pub key: OrderKey,
    /// What the order system calls it.
    pub id: OrderId,
    /// How amounts come about, fixed by the first accepted notice.
    pub mode: Option<AmountMode>,
    /// What the order owes.
    pub plan: Option<Plan>,
    /// Shipped and cancelled so far, line by line as in the plan.
    pub progress: Vec<LineProgress>,
    /// Cancelled as a whole: what names its own amount is refused from then on.
    pub is_cancelled: bool,
    /// The grace after a final notice is over: what has not shipped counts as cancelled.
    pub is_closed: bool,
    /// When to look whether that is so, and at what the plan still owes then.
    pub closes_at: Option<Timestamp>,
    /// Sum of the amounts given to its shipments and fees, whatever became of their captures.
    pub stored: i64,
    /// Captured for it, on whichever authorizations, in minor units of its plan's currency.
    pub captured: i64,
    /// Captures of it that are not decided.
    pub open: u32,
    /// Fees that were given an amount of their own so far.
    pub fees: u32,
    /// The last revision of its plan for which a refund was called for; 0 for none.
    pub refund_revision: u32,
    /// The authorization that a shipment binds to when it names none.
    pub newest_authorization: Option<AuthorizationKey>,
    /// When a notice first said that nothing more will ship.
    pub final_at: Option<Timestamp>,
    /// Shipments that wait for their plan, authorization or account.
    pub awaiting: u32,
    /// Other notices that wait for the same.
    pub kept: u32,
    /// Events published about it so far.
    pub sequence: u64,
}

impl Order {
    /// A new order, about which nothing is known yet.
    pub const fn new(key: OrderKey, id: OrderId) -> Self {
        Self {
            key,
            id,
            mode: None,
            plan: None,
            progress: Vec::new(),
            is_cancelled: false,
            is_closed: false,
            closes_at: None,
            stored: 0,
            captured: 0,
            open: 0,
            fees: 0,
            refund_revision: 0,
            newest_authorization: None,
            final_at: None,
            awaiting: 0,
            kept: 0,
            sequence: 0,
        }
    }

    /// Has everything shipped that will?
    pub fn is_complete(&self) -> bool {
        match (&self.plan, self.mode) {
            (Some(plan), Some(AmountMode::Planned) | None) => plan.is_complete(&self.counted(&self.progress)),
            (None, _) | (Some(_), Some(AmountMode::Explicit)) => self.is_cancelled,
        }
    }

    /// Shipped and cancelled, as they count for what is earned: once the order is closed, what has not
    /// shipped counts as cancelled. It may still ship, and is captured then.
    pub fn counted(&self, progress: &[LineProgress]) -> Vec<LineProgress> {
        let Some(plan) = self.plan.as_ref().filter(|_| self.is_closed) else { return progress.to_vec() };
        let close = |(line, at): (&PlanLine, &LineProgress)| LineProgress {
            shipped: at.shipped,
            cancelled: line.ordered.minus(at.shipped),
        };
        plan.lines().iter().zip(progress).map(close).collect()
    }
}

/// How the amounts of an order come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AmountMode {
    /// Worked out from the plan.
    Planned,
    /// Given by the sender.
    Explicit,
}

impl AmountMode {
    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Explicit => "explicit",
        }
    }
}

/// An authorization: our own movements over it, and beside them what the provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Its row.
    pub key: AuthorizationKey,
    /// The configured account.
    pub account: AccountName,
    /// The provider's id.
    pub reference: Reference,
    /// The order that registered it.
    pub order: OrderKey,
    /// Its currency.
    pub currency: Currency,
    /// How much was authorized; zero while that is not known.
    pub authorized: Money,
    /// Is `authorized` known?
    pub is_amount_known: bool,
    /// Captured by us.
    pub captured: Money,
    /// Held back for captures that are planned, being sent, in doubt or unresolved.
    pub reserved: Money,
    /// Captured by us beyond what was authorized: only positive evidence that arrived after a
    /// failure was booked can put anything here. Zero, or an alarm.
    pub excess: Money,
    /// When it dies.
    pub expires_at: Option<Timestamp>,
    /// Was `expires_at` derived from the account's settings rather than told?
    pub expiry_is_derived: bool,
    /// Captures that are planned.
    pub planned: u32,
    /// Those of them that a cap of the account holds.
    pub held: u32,
    /// Captures that are being sent or in doubt.
    pub in_flight: u32,
    /// Captures that were closed by hand without an answer, and of which none has come since.
    pub unresolved: u32,
    /// Shipments that wait for the single capture, and what they come to.
    pub waiting: u32,
    /// What the waiting shipments come to.
    pub waiting_amount: Money,
    /// Single-capture only: has the one capture been used?
    pub single: SingleUse,
    /// Single-capture only: when to stop collecting and read.
    pub freeze_at: Option<Timestamp>,
    /// Reads made so far, for the freeze or for the expiry.
    pub reads: u32,
    /// The provider is being asked for what nobody has told.
    pub ask: Option<Ask>,
    /// Rises with each read that is begun, so that a late answer to an earlier one is told apart.
    pub epoch: u32,
    /// What the provider said last.
    pub provider: ProviderBalance,
    /// What is due about it, and when.
    pub watch: Watch,
}

impl Authorization {
    /// Authorized, less captured and reserved.
    pub fn remaining(&self) -> Money {
        let committed = self.captured.checked_add(self.reserved).expect("one currency per authorization");
        self.authorized.saturating_sub(committed).expect("one currency per authorization")
    }

    /// Does it learn its expiry from a notice that tells `told`? A registered one stands, unless it was
    /// only derived or not known at all; or its hold is over, and the notice tells of a later one under the
    /// same reference.
    pub fn learns_expiry(&self, told: Option<Timestamp>) -> bool {
        let is_later = self.is_over() && told > self.expires_at;
        told.is_some() && (self.expires_at.is_none() || self.expiry_is_derived || is_later)
    }

    /// Has its provider said that nothing can be taken from it any more, whatever the clock says?
    pub fn is_over(&self) -> bool {
        self.watch.over.is_some() && self.watch.over == Some(self.hold())
    }

    /// What tells one hold from the next under the same reference.
    pub fn hold(&self) -> Timestamp {
        self.expires_at.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Shipped but not captured: reserved or waiting.
    pub fn earned_uncaptured(&self) -> Money {
        self.reserved.checked_add(self.waiting_amount).expect("one currency per authorization")
    }
}

/// The provider is being asked for an amount or an expiry that nobody has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// When to ask next.
    pub at: Timestamp,
    /// When to give it up.
    pub until: Timestamp,
    /// How often it was asked.
    pub count: u32,
}

/// What became of the one capture of a single-capture authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SingleUse {
    /// Not used: shipments collect.
    Free,
    /// A capture is on its way; later shipments wait for its outcome.
    Undecided,
    /// Used: later shipments are refused.
    Used,
}

impl SingleUse {
    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Undecided => "undecided",
            Self::Used => "used",
        }
    }
}

/// A shipment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// Its row.
    pub key: ShipmentKey,
    /// The order.
    pub order: OrderKey,
    /// Its id within the order.
    pub id: ShipmentId,
    /// 0, and one more for each replay of a failure.
    pub generation: u32,
    /// SHA-256 of its content: lines and quantities, or amount.
    pub content: [u8; 32],
    /// Where it stands.
    pub state: ShipmentState,
    /// While it is awaiting: what it lacked when it was last looked at.
    pub awaits: Option<Missing>,
    /// While it is awaiting: did any notice of it say that nothing more will ship?
    pub says_final: bool,
    /// What shipped.
    pub lines: Vec<ShippedLine>,
    /// What it has earned, once it was given an amount.
    pub amount: Option<Money>,
    /// The authorization it is bound to.
    pub authorization: Option<AuthorizationKey>,
    /// The capture that covers it.
    pub capture: Option<CaptureKey>,
    /// Why it was refused or not captured.
    pub reason: Option<FailureReason>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When to look at it again; only while awaiting.
    pub due_at: Option<Timestamp>,
    /// The id of the incoming event.
    pub caused_by: String,
    /// The message as it came; kept until its money is captured, for the dead letter that it may
    /// become.
    pub message: Option<RawMessage>,
}

/// A capture: one frozen intent, and what is known of its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Its row.
    pub key: CaptureKey,
    /// Its id, which is the idempotency key too.
    pub id: CaptureId,
    /// Where the money is taken from.
    pub authorization: AuthorizationKey,
    /// The order.
    pub order: OrderKey,
    /// What it is named after.
    pub named_by: NamedBy,
    /// What kind.
    pub kind: CaptureKind,
    /// As the shipment's.
    pub generation: u32,
    /// How much; frozen.
    pub amount: Money,
    /// Where it stands.
    pub state: CaptureState,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// When to do something about it; `None` once it is terminal. While it waits its turn, the
    /// deadline margin of its authorization, where that is known.
    pub due_at: Option<Timestamp>,
    /// Does it only wait for its turn behind another capture of its authorization?
    pub waits_turn: bool,
    /// What the caps of its account mean for it, where they mean anything.
    pub capped: Option<Capped>,
    /// When it was counted against the caps of its account; `None` while it is not, or not any more.
    pub counted_at: Option<Timestamp>,
    /// What is known of its attempts.
    pub progress: CaptureProgress,
    /// What settled it.
    pub resolved_by: Option<ResolvedBy>,
    /// The provider's id of it.
    pub provider_reference: Option<String>,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
    /// When positive evidence was booked that arrived after a terminal outcome.
    pub corrected_at: Option<Timestamp>,
}

/// What the caps of its account mean for a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capped {
    /// More than the most in one capture, or than a window ever has room for. Held until an operator releases
    /// it, or the settings permit it.
    Capture,
    /// Held until the hour has room.
    Hour,
    /// Held until the day has room.
    Day,
    /// The account has caps, and none of them is in its currency. Held as [`Capped::Capture`].
    Currency,
    /// An operator has released it: no cap holds it any more.
    Released,
}

impl Capped {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Capture, Self::Hour, Self::Day, Self::Currency, Self::Released];

    /// The word in the ledger and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Currency => "currency",
            Self::Released => "released",
        }
    }

    /// Is it held?
    pub const fn is_held(self) -> bool {
        match self {
            Self::Capture | Self::Hour | Self::Day | Self::Currency => true,
            Self::Released => false,
        }
    }
}

impl Capture {
    /// Does a cap of its account hold it?
    pub fn is_held(&self) -> bool {
        self.capped.is_some_and(Capped::is_held)
    }

    /// The last shipment in it; `None` for a fee.
    pub const fn shipment(&self) -> Option<ShipmentKey> {
        match &self.named_by {
            NamedBy::Shipment(shipment) => Some(*shipment),
            NamedBy::Fee(_) => None,
        }
    }
}

/// What a capture is named after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedBy {
    /// The last shipment in it.
    Shipment(ShipmentKey),
    /// What an order owes beyond its shipments' amounts.
    Fee(Fee),
}

/// What an order owes beyond its shipments' amounts, after a cancellation or a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fee {
    /// Its number in the order, from 1.
    pub number: u32,
    /// The id of the incoming event; `None` where the end of a grace brought it.
    pub caused_by: Option<String>,
}

/// A notice about an order that waits for a plan, an authorization or an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its row.
    pub key: KeptKey,
    /// The order.
    pub order: OrderKey,
    /// What tells it from others.
    pub body_sha256: [u8; 32],
    /// Since when it waits.
    pub kept_at: Timestamp,
    /// When to look at it again; `None` once it was applied or set aside.
    pub due_at: Option<Timestamp>,
    /// The message as it came, while it waits.
    pub message: Option<RawMessage>,
}

/// What is known of a capture's attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaptureProgress {
    /// Attempts begun.
    pub attempts: u32,
    /// Rises with each attempt and each look, so that a late negative conclusion is told apart.
    pub epoch: u32,
    /// Attempts before the one under way that may have been executed.
    pub doubtful: u32,
    /// Answers in a row that said "certainly not executed".
    pub failures: u32,
    /// Looks since it came into doubt.
    pub looks: u32,
    /// When the current resend window began: the first send, or the first after a permitting read.
    pub window_from: Option<Mark>,
    /// No attempt so far can have been sent after this instant.
    pub send_by: Option<Mark>,
    /// When the latest look was begun: what is not seen in it may have arrived since.
    pub look_begun: Option<Mark>,
    /// Since when it is in doubt.
    pub doubt_since: Option<Timestamp>,
    /// The provider calls it created but not approved (Flitt, Fondy: `hold`).
    pub is_pending: bool,
    /// The definitive refusal of the latest attempt, while an earlier one may have been executed.
    pub refused: Option<Refusal>,
    /// The first of two reads that show the authorization terminal and nothing captured.
    pub terminal_seen_at: Option<Mark>,
    /// How the latest attempt that may have been executed left it open.
    pub left_open: Option<LeftOpen>,
    /// What came of it since.
    pub since: Option<Since>,
    /// What was seen last, in words, for people.
    pub last_seen: Option<String>,
}

impl Record for Order {}

impl Record for Authorization {
    const KEEPS_BEFORE: bool = true;
}

impl Record for Shipment {}

impl Record for Capture {
    const KEEPS_BEFORE: bool = true;
}

impl Record for Kept {}
