//! What the settings say, as far as the core needs it.

use std::collections::HashMap;
use std::time::Duration;

use crate::ids::AccountName;

/// Rules that hold for every decision.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long before `expires_at` earned money is taken whatever else is missing.
    pub deadline_margin: Duration,
    /// The same where `expires_at` was derived from the account's settings rather than told.
    pub derived_deadline_margin: Duration,
    /// How long a single-capture authorization goes on collecting after a final notice.
    pub final_grace: Duration,
    /// How long after the last moment a request could have left its absence starts to mean anything.
    pub quiet: Duration,
    /// How long a shipment may wait for its plan, authorization or account.
    pub awaiting_max: Duration,
    /// How often a shipment that waits for its account is looked at again.
    pub awaiting_check: Duration,
    /// How long after an attempt began its request may still be sent.
    pub send_within: Duration,
    /// How long a parked capture waits before the next try after a configuration fault.
    pub parked_for: Duration,
    /// Longest wait that a provider's `Retry-After` can impose.
    pub retry_after_max: Duration,
    /// Exponential backoff for what was certainly not executed.
    pub backoff: Backoff,
    /// When to look at a capture in doubt: the wait before each look, the last one repeating.
    pub look_after: Vec<Duration>,
    /// The configured accounts.
    pub accounts: HashMap<AccountName, AccountPolicy>,
}

/// Parameters of the exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Each wait is this many times the one before.
    pub multiplier: f64,
    /// A wait is spread over plus or minus this share of itself, 0 to 1.
    pub jitter: f64,
}

/// What the core needs to know of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPolicy {
    /// One capture per authorization, or several.
    pub captures: Captures,
    /// How long after the first send the same key may be sent again without a read before;
    /// `None` where repeating the same amount is safe for ever (Flitt, Fondy).
    pub resend_window: Option<Duration>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Does the provider say when an authorization dies?
    pub tells_expiry: bool,
    /// How long an authorization lives where neither message nor provider says so.
    pub authorization_lifetime: Option<Duration>,
}

/// How often an authorization can be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Captures {
    /// Once; the rest of the hold is released.
    Single,
    /// Several times, until it expires.
    Multiple,
}
