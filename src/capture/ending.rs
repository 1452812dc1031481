//! What we tell the world of authorizations that die: the warning, and what became of the money.

use std::time::Duration;

use crate::capture::event::Balance;
use crate::capture::policy::OnExpiry;
use crate::clock::Timestamp;
use crate::ids::{AccountName, OrderId, Reference};
use crate::money::Money;

/// An authorization that is about to expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationWarning {
    /// The order that registered it.
    pub order: OrderId,
    /// The account.
    pub account: AccountName,
    /// The authorization at the provider.
    pub reference: Reference,
    /// When it dies.
    pub expires_at: Timestamp,
    /// Was that derived from the account's settings rather than told?
    pub expiry_is_derived: bool,
    /// So long before it was to be warned of.
    pub lead: Duration,
    /// What happens to the money then.
    pub on_expiry: OnExpiry,
    /// Its balance now.
    pub balance: Balance,
    /// Counts the events of the order, from 1.
    pub sequence: u64,
}

/// What became of an authorization, by the provider's word after its expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationEnd {
    /// The order that registered it.
    pub order: OrderId,
    /// The account.
    pub account: AccountName,
    /// The authorization at the provider.
    pub reference: Reference,
    /// When it died.
    pub expires_at: Timestamp,
    /// How the provider says that it ended.
    pub ending: Ending,
    /// How much was held.
    pub authorized: Money,
    /// Captured by us.
    pub captured_by_us: Money,
    /// Captured beyond that: by the provider itself as the hold ended, or by somebody else.
    pub captured_elsewhere: Money,
    /// Given back to the payer.
    pub released: Money,
    /// Counts the events of the order, from 1.
    pub sequence: u64,
}

/// How an authorization ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Nothing is held any more.
    Expired,
    /// It was voided or reversed.
    Voided,
    /// It was never approved.
    Declined,
    /// It was captured, and nothing is left of it.
    Captured,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 4] = [Self::Expired, Self::Voided, Self::Declined, Self::Captured];

    /// The word in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Voided => "voided",
            Self::Declined => "declined",
            Self::Captured => "captured",
        }
    }
}
