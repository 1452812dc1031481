//! The record of what is due about an authorization.

use std::time::Duration;

use crate::clock::Timestamp;

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
}

/// So long before an expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// The expiry.
    pub expires_at: Timestamp,
    /// How long before.
    pub lead: Duration,
}
