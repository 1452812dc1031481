//! Why a shipment waits or a capture is not decided, as labels for people and programs.
//!
//! Nothing is decided by them: the rules are in `judge`, which sets them; the words are the command
//! line's.

use crate::capture::event::FailureReason;
use crate::capture::evidence::DoubtKind;
use crate::capture::notice::RejectionReason;
use crate::capture::records::CaptureProgress;

/// What the latest attempt that may have been executed was answered with, if with anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeftOpen {
    /// No answer in time.
    NoAnswer,
    /// The connection broke before an answer.
    ConnectionLost,
    /// A status that a proxy may have made after the request went through.
    HttpStatus,
    /// An answer that cannot be read, or names something else than was asked for.
    Unreadable,
    /// A code that neither proves nor excludes a capture.
    Ambiguous,
    /// The worker ended before the answer.
    Interrupted,
    /// Created at the provider, not approved yet.
    Pending,
    /// A definitive refusal, while an earlier request may have been executed or may be its cause.
    Refused,
    /// A fault of our configuration that does not exclude execution.
    Misconfigured,
}

impl LeftOpen {
    /// Every label.
    pub const ALL: [Self; 9] = [
        Self::NoAnswer,
        Self::ConnectionLost,
        Self::HttpStatus,
        Self::Unreadable,
        Self::Ambiguous,
        Self::Interrupted,
        Self::Pending,
        Self::Refused,
        Self::Misconfigured,
    ];

    /// The word in the ledger and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::ConnectionLost => "connection_lost",
            Self::HttpStatus => "http_status",
            Self::Unreadable => "unreadable",
            Self::Ambiguous => "ambiguous",
            Self::Interrupted => "interrupted",
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl From<DoubtKind> for LeftOpen {
    fn from(kind: DoubtKind) -> Self {
        match kind {
            DoubtKind::Timeout => Self::NoAnswer,
            DoubtKind::ConnectionLost => Self::ConnectionLost,
            DoubtKind::HttpStatus => Self::HttpStatus,
            DoubtKind::Unreadable => Self::Unreadable,
            DoubtKind::Coded => Self::Ambiguous,
        }
    }
}

/// What came of it since: of a later attempt that was certainly not executed, or of the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Since {
    /// An attempt was certainly not executed: it is sent again later.
    NotExecuted,
    /// A fault of our configuration: it rests.
    Parked,
    /// The look came to nothing that can be relied on.
    LookFailed,
    /// The provider has it, not approved yet.
    StillPending,
    /// The authorization is over, nothing captured: seen once, and has to be seen again.
    OverOnce,
    /// Under our key, another amount was captured.
    OtherAmount,
    /// The authorization is in another currency.
    OtherCurrency,
    /// Nothing is captured, and too early for that to mean anything.
    NothingYet,
    /// Refused and nothing captured, and too early for that to mean anything.
    RefusedNothingYet,
    /// Nothing of ours is captured, and the provider's balance is not what our books say.
    BalanceDiffers,
    /// Nothing is captured, and other captures of the authorization are under way.
    OthersUnderWay,
    /// Nothing is captured, and nothing is sent: somebody else captures on the authorization.
    Halted,
}

impl Since {
    /// Every label.
    pub const ALL: [Self; 12] = [
        Self::NotExecuted,
        Self::Parked,
        Self::LookFailed,
        Self::StillPending,
        Self::OverOnce,
        Self::OtherAmount,
        Self::OtherCurrency,
        Self::NothingYet,
        Self::RefusedNothingYet,
        Self::BalanceDiffers,
        Self::OthersUnderWay,
        Self::Halted,
    ];

    /// The word in the ledger and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotExecuted => "not_executed",
            Self::Parked => "parked",
            Self::LookFailed => "look_failed",
            Self::StillPending => "still_pending",
            Self::OverOnce => "over_once",
            Self::OtherAmount => "other_amount",
            Self::OtherCurrency => "other_currency",
            Self::NothingYet => "nothing_yet",
            Self::RefusedNothingYet => "refused_nothing_yet",
            Self::BalanceDiffers => "balance_differs",
            Self::OthersUnderWay => "others_under_way",
            Self::Halted => "halted",
        }
    }
}

/// What a notice waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// Its authorization, or how much was authorized.
    Authorization,
    /// Its order's plan.
    Plan,
    /// Its account, in the settings.
    Account,
    /// That its authorization is read: the ledger was restored from a backup.
    Reading,
    /// What was registered or shipped in the time that a restore from a backup has lost: it is published again.
    Republication,
}

impl Missing {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Authorization, Self::Plan, Self::Account, Self::Reading, Self::Republication];

    /// The word in the ledger and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Plan => "plan",
            Self::Account => "account",
            Self::Reading => "reading",
            Self::Republication => "republication",
        }
    }

    /// How a shipment ends for which it never became known.
    pub(super) const fn as_failure(self) -> FailureReason {
        match self {
            // These end by themselves.
            Self::Authorization | Self::Reading | Self::Republication => FailureReason::UnknownAuthorization,
            Self::Plan => FailureReason::UnknownPlan,
            Self::Account => FailureReason::UnknownAccount,
        }
    }

    /// How any other notice ends for which it never became known.
    pub(super) const fn as_rejection(self) -> RejectionReason {
        match self {
            Self::Authorization | Self::Reading | Self::Republication => RejectionReason::UnknownAuthorization,
            Self::Plan => RejectionReason::UnknownPlan,
            Self::Account => RejectionReason::UnknownAccount,
        }
    }
}

impl CaptureProgress {
    /// The same, left open in this way by an attempt.
    #[must_use]
    pub(super) fn left_open(self, how: LeftOpen) -> Self {
        Self { left_open: Some(how), since: None, ..self }
    }

    /// The same, and this came of it since.
    #[must_use]
    pub(super) fn then(self, since: Since) -> Self {
        Self { since: Some(since), ..self }
    }
}
