//! The record of what is due about an authorization.

use std::time::Duration;

use crate::capture::evidence::SeenCapture;
use crate::clock::Timestamp;
use crate::money::Money;

/// When something about an authorization is due: a warning, a read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watch {
    /// The next instant at which anything is due; `None` when there is nothing left to watch. The
    /// earliest of the others, kept by `capture::expiry`.
    pub at: Option<Timestamp>,
    /// The next lead.
    pub lead_at: Option<Timestamp>,
    /// No read is begun before this: one is under way, or was put off.
    pub read_at: Option<Timestamp>,
    /// Leads that were looked at, so that an expiry that moves there and back is warned of once.
    pub leads: Vec<Lead>,
    /// The expiry whose end was published.
    pub reported: Option<Timestamp>,
    /// Money that somebody else has captured on it, where it can be captured several times.
    pub foreign: Option<Foreign>,
    /// What is known of it since the ledger was restored from a backup.
    pub restored: Option<Restored>,
    /// The expiry under which its provider said that nothing can be taken from it any more, whenever that
    /// was. Another expiry under the same reference is another hold.
    pub over: Option<Timestamp>,
}

/// What is known of an authorization since the ledger was restored from a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// The provider has to be read first: nothing is sent on it, and notices about it wait.
    Unread,
    /// It was read.
    Read {
        /// Captures of ours that were booked because the provider showed them.
        adopted: u32,
        /// Captures under keys that the ledger does not know: of notices that may come again.
        found: Vec<SeenCapture>,
    },
}

/// Money that the provider shows as captured, and that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// How much, as it was seen last.
    pub amount: Money,
    /// What follows from it.
    pub standing: ForeignStanding,
    /// Since when it stands so.
    pub since: Timestamp,
}

/// What follows from foreign money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignStanding {
    /// The answer to a capture of ours speaks of it: the authorization is read.
    Suspected,
    /// One read has shown it; a second one, `quiet` later, decides.
    Seen,
    /// Two reads have: nothing is sent on the authorization. It is read by the resolver's schedule, until
    /// a read agrees with our books, an operator resumes it, or the deadline margin has come.
    Halted,
    /// An operator, or the deadline margin, has let it be: what fits beside it is sent.
    LetBe,
}

impl ForeignStanding {
    /// Every standing.
    pub const ALL: [Self; 4] = [Self::Suspected, Self::Seen, Self::Halted, Self::LetBe];

    /// The word in the ledger and in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suspected => "suspected",
            Self::Seen => "seen",
            Self::Halted => "halted",
            Self::LetBe => "let_be",
        }
    }
}

/// So long before an expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// The expiry.
    pub expires_at: Timestamp,
    /// How long before.
    pub lead: Duration,
}
