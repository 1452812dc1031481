//! What the settings say of an account's calls.

use std::time::Duration;

use crate::settings::{Breaker, Rate, Suspension};

/// What the settings say.
#[derive(Debug, Clone, Copy)]
pub(in crate::worker) struct Rules {
    /// Calls at the same time, at most.
    pub(in crate::worker) concurrency: usize,
    /// Calls in a span of time, at most.
    pub(in crate::worker) rate: Option<Rate>,
    /// When the breaker opens, and how it closes.
    pub(in crate::worker) breaker: Breaker,
    /// When the account is suspended, and how it resumes.
    pub(in crate::worker) suspension: Suspension,
    /// The longest wait that the provider can impose.
    pub(in crate::worker) retry_after_max: Duration,
}
