//! Whether our books are right: the ledger held against somebody else's, difference by difference.
//!
//! It compares and names; it reads nothing itself, decides nothing and mends nothing. It shares no code
//! with what books captures, so that it cannot share its mistakes.

// against what a provider shows of an authorization
mod provider;

// against the shipments that the order system believes in
mod shipments;

pub use provider::{Compared, OurAuthorization, OurCapture, OurState, compare_authorization};
pub use shipments::{Expected, OurShipment, compare_order};

use crate::ids::{CaptureId, OrderId, ShipmentId};
use crate::money::Money;

/// What a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The provider captured under our key, and the ledger does not say so; or the order system has a
    /// shipment that the ledger has never heard of.
    MissingInLedger,
    /// The ledger says captured, and the provider shows no such capture.
    MissingAtProvider,
    /// Both have it, with different amounts or currencies.
    AmountDiffers,
    /// Captured more than once under one key; or one shipment more than once in the file.
    Duplicate,
    /// A capture that is not ours; or a shipment that the order system does not know.
    Foreign,
    /// The order system believes that it was paid for, and it ended without its money.
    NotCaptured,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::MissingInLedger,
        Self::MissingAtProvider,
        Self::AmountDiffers,
        Self::Duplicate,
        Self::Foreign,
        Self::NotCaptured,
    ];

    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingInLedger => "missing_in_ledger",
            Self::MissingAtProvider => "missing_at_provider",
            Self::AmountDiffers => "amount_differs",
            Self::Duplicate => "duplicate",
            Self::Foreign => "foreign",
            Self::NotCaptured => "not_captured",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub kind: Kind,
    /// The order, where it is known.
    pub order: Option<OrderId>,
    /// The shipment, where the difference is one shipment's.
    pub shipment: Option<ShipmentId>,
    /// The capture, where it is one of ours.
    pub capture: Option<CaptureId>,
    /// The amount in the ledger.
    pub ours: Option<Money>,
    /// The amount in the other books.
    pub theirs: Option<Money>,
    /// What else there is to say, such as the provider's reference.
    pub detail: String,
}
