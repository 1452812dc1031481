//! The error codes of Flex Pay, and what each says of a capture request.
//!
//! Source: the `codeName` values of the reference page "Capture Transaction". No page says which of
//! them are final: the classes are ours.

use crate::capture::evidence::RefusalReason;

use super::super::answer::CodeClass;

/// The transaction does not exist.
pub(super) const TRANSACTION_NOT_FOUND: &str = "TRANSACTION_NOT_FOUND";

/// A `codeName`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InsufficientFunds,
    OverCapture,
    OverRefund,
    OverVoid,
    NoAmountLeft,
    LineExpired,
    AuthExpired,
    CurrencyMismatch,
    TransactionNotFound,
    IncorrectOrderId,
    InvalidInput,
    NotReadableInput,
    IdempotencyKeyAlreadyUsed,
    MissingIdempotencyKey,
    Unexpected,
    /// None that is documented.
    Other,
}

impl Code {
    /// The code of this name.
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "INSUFFICIENT_FUNDS" => Self::InsufficientFunds,
            "OVER_CAPTURE_ERROR" => Self::OverCapture,
            "OVER_REFUND_ERROR" => Self::OverRefund,
            "OVER_VOID_ERROR" => Self::OverVoid,
            "NO_AMOUNT_LEFT" => Self::NoAmountLeft,
            "LINE_EXPIRED_ERROR" => Self::LineExpired,
            "AUTH_EXPIRED_ERROR" => Self::AuthExpired,
            "CURRENCY_MISMATCH_ERROR" => Self::CurrencyMismatch,
            TRANSACTION_NOT_FOUND => Self::TransactionNotFound,
            "INCORRECT_ORDER_ID" => Self::IncorrectOrderId,
            "INVALID_INPUT" => Self::InvalidInput,
            "NOT_READABLE_INPUT" => Self::NotReadableInput,
            "IDEMPOTENCY_KEY_ALREADY_USED" => Self::IdempotencyKeyAlreadyUsed,
            "MISSING_IDEMPOTENCY_KEY" => Self::MissingIdempotencyKey,
            "UNEXPECTED_ERROR" => Self::Unexpected,
            _ => Self::Other,
        }
    }

    /// What it says; `None` for a code that is not documented.
    pub(super) fn class(self) -> Option<CodeClass> {
        match self {
            Self::InsufficientFunds => Some(CodeClass::Refused(RefusalReason::InsufficientFunds)),
            Self::LineExpired | Self::AuthExpired => Some(CodeClass::Refused(RefusalReason::AuthorizationExpired)),
            Self::CurrencyMismatch => Some(CodeClass::Refused(RefusalReason::CurrencyMismatch)),
            Self::InvalidInput | Self::NotReadableInput => Some(CodeClass::Refused(RefusalReason::ProviderRejected)),
            // The wrong environment, credentials of another merchant, or a fault of ours: it would
            // be said of every request.
            Self::TransactionNotFound | Self::IncorrectOrderId | Self::MissingIdempotencyKey => {
                Some(CodeClass::Misconfigured)
            }
            // Nothing left, or too much: an earlier attempt of ours may be why.
            Self::NoAmountLeft | Self::OverCapture => {
                Some(CodeClass::RefusedReadFirst(RefusalReason::ExceedsAuthorization))
            }
            // The key was used: says nothing of what for. The next two are not errors of a capture,
            // and the last is none that says anything.
            Self::IdempotencyKeyAlreadyUsed | Self::OverRefund | Self::OverVoid | Self::Unexpected => {
                Some(CodeClass::Ambiguous)
            }
            Self::Other => None,
        }
    }
}
