//! Evidence: what a provider's answer, or its silence, shows. Adapters produce it, the core judges.
//!
//! An adapter never decides. It says *what kind of thing* it saw: positive evidence of a capture, a
//! definitive refusal, certainty that nothing was executed, a fault of our configuration, or
//! anything else, which is doubt.

use std::time::Duration;

use crate::capture::event::FailureReason;
use crate::clock::Timestamp;
use crate::ids::CaptureId;
use crate::money::{Currency, Money};

/// What one capture request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The provider says that it captured, naming our authorization (E1).
    Captured(CaptureProof),
    /// The capture exists but is not approved yet (Flitt, Fondy: `hold`). In doubt, by another name.
    Pending,
    /// A definitive refusal of this request (E2 says when it counts).
    Refused(Refusal),
    /// Anything that neither proves nor excludes that the request was executed (E3).
    Doubt(Doubt),
    /// The request was certainly not executed (E6): DNS failure, connection refused, TLS handshake
    /// failed, 429, or never sent at all.
    NotExecuted(NotExecuted),
    /// A fault of our own configuration (E5); not an outcome.
    Misconfigured(ConfigurationFault),
}

/// Positive evidence of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureProof {
    /// The captured amount, where the answer names it (Flex Pay does, Flitt's and Fondy's capture
    /// reply does not). The core compares it with the intent.
    pub amount: Option<Money>,
    /// The provider's id of the capture, where it has one.
    pub provider_reference: Option<String>,
    /// What the same answer said of the authorization, where it said anything.
    pub balance: ProviderBalance,
}

/// What the provider says of an authorization's amounts; kept beside our own books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProviderBalance {
    /// Captured so far, by anybody.
    pub captured: Option<Money>,
    /// Voided or reversed so far, by anybody: given back to the payer without a capture.
    pub voided: Option<Money>,
    /// What can still be captured.
    pub remaining: Option<Money>,
    /// When the authorization dies.
    pub expires_at: Option<Timestamp>,
}

/// A definitive refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason in our closed list.
    pub reason: RefusalReason,
    /// The provider's own code.
    pub code: Option<String>,
    /// The provider's text, redacted and at most 200 characters.
    pub message: String,
    /// The code could also mean that an earlier request won (`NO_AMOUNT_LEFT`): even the only
    /// attempt's refusal counts only after a read.
    pub read_first: bool,
}

/// Why a provider refuses. A part of the closed list of `capture.failed` reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
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
    /// The authorization is in another currency.
    CurrencyMismatch,
    /// Anything else that is definitive.
    ProviderRejected,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Declined,
        Self::InsufficientFunds,
        Self::AuthorizationExpired,
        Self::AuthorizationVoided,
        Self::ExceedsAuthorization,
        Self::CaptureAlreadyUsed,
        Self::CurrencyMismatch,
        Self::ProviderRejected,
    ];

    /// The reason of `capture.failed` that it becomes.
    pub const fn as_failure(self) -> FailureReason {
        match self {
            Self::Declined => FailureReason::Declined,
            Self::InsufficientFunds => FailureReason::InsufficientFunds,
            Self::AuthorizationExpired => FailureReason::AuthorizationExpired,
            Self::AuthorizationVoided => FailureReason::AuthorizationVoided,
            Self::ExceedsAuthorization => FailureReason::ExceedsAuthorization,
            Self::CaptureAlreadyUsed => FailureReason::CaptureAlreadyUsed,
            Self::CurrencyMismatch => FailureReason::CurrencyMismatch,
            Self::ProviderRejected => FailureReason::ProviderRejected,
        }
    }

    /// The word in the ledger and in labels: that of the failure reason it becomes.
    pub const fn as_str(self) -> &'static str {
        self.as_failure().as_str()
    }
}

/// Why we do not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What was seen.
    pub kind: DoubtKind,
    /// The provider's own code, where it sent one.
    pub code: Option<String>,
    /// What was seen in words, redacted and at most 200 characters.
    pub message: String,
    /// When to look again, where the provider said so.
    pub retry_after: Option<Duration>,
}

/// The kinds of doubt, for labels and for the one rule that depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DoubtKind {
    /// No answer in time.
    Timeout,
    /// The connection broke after the request may have left.
    ConnectionLost,
    /// An HTTP 5xx, 408 or 409, or any status that we have no rule for.
    HttpStatus,
    /// An answer that cannot be read, or that names something else than we asked for.
    Unreadable,
    /// A well-formed answer with a code that is ambiguous, unknown, or says that the key was used.
    /// After `expires_at` such an answer counts as the end of an authorization (E2c).
    Coded,
}

impl DoubtKind {
    /// The word in traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::HttpStatus => "http_status",
            Self::Unreadable => "unreadable",
            Self::Coded => "coded",
        }
    }
}

/// Certainly not executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotExecuted {
    /// Why, in words, at most 200 characters.
    pub message: String,
    /// When to try again, where the provider said so.
    pub retry_after: Option<Duration>,
}

/// A fault of our configuration: bad signature, rejected credentials, unknown merchant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationFault {
    /// The provider's own code or HTTP status.
    pub code: Option<String>,
    /// What to look at, in words, at most 200 characters.
    pub message: String,
    /// May this very request have been executed all the same? False for every documented answer of
    /// this class: a request that was not authenticated was not processed.
    pub may_have_executed: bool,
}

/// What a read of an authorization came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// The provider's view, authentic and readable. Boxed: it is much larger than the others.
    Seen(Box<AuthorizationView>),
    /// No answer that can be relied on. Look again.
    Unclear(Doubt),
    /// A fault of our configuration.
    Misconfigured(ConfigurationFault),
}

/// What the provider says of one authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationView {
    /// Where it stands.
    pub status: AuthorizationStatus,
    /// Held on a card? Other payment methods are charged at once and cannot be captured later.
    pub is_card: bool,
    /// The currency that captures are made in (Flitt, Fondy: `actual_currency`).
    pub currency: Currency,
    /// How much was authorized (Flitt, Fondy: `actual_amount`).
    pub authorized: Option<Money>,
    /// Captured, remaining, expiry.
    pub balance: ProviderBalance,
    /// Every capture that the provider shows, by whomever.
    pub captures: Vec<SeenCapture>,
    /// A capture exists that is not approved yet (Flitt, Fondy: `hold` in `additional_info`).
    pub has_pending_capture: bool,
    /// When it was made, where the answer tells.
    pub authorized_at: Option<Timestamp>,
}

/// One capture that the provider shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCapture {
    /// Our id, where the provider keeps one. `None` on single-capture protocols, which keep none.
    pub capture: Option<CaptureId>,
    /// How much.
    pub amount: Money,
    /// The provider's id of it.
    pub provider_reference: Option<String>,
}

/// Where an authorization stands at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthorizationStatus {
    /// Created or processing: not approved yet.
    NotYetApproved,
    /// Approved; may be captured as far as its balance goes.
    Open,
    /// Captured in full, or captured and refunded: nothing remains, and money did move.
    FullyCaptured,
    /// Never approved.
    Declined,
    /// Expired.
    Expired,
    /// Voided or reversed.
    Voided,
}

impl AuthorizationStatus {
    /// Can the provider never capture on it again, without having captured in full?
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Declined | Self::Expired | Self::Voided => true,
            Self::NotYetApproved | Self::Open | Self::FullyCaptured => false,
        }
    }
}
