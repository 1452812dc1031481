//! Flex Pay's fifteen error codes, as its capture page lists them.

use axum::http::StatusCode;

/// A `codeName`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorCode {
    InsufficientFunds,
    OverCaptureError,
    OverRefundError,
    OverVoidError,
    NoAmountLeft,
    LineExpiredError,
    AuthExpiredError,
    CurrencyMismatchError,
    TransactionNotFound,
    IncorrectOrderId,
    InvalidInput,
    NotReadableInput,
    IdempotencyKeyAlreadyUsed,
    MissingIdempotencyKey,
    UnexpectedError,
}

impl ErrorCode {
    /// All of them, in the order of the page.
    pub(super) const ALL: [Self; 15] = [
        Self::InsufficientFunds,
        Self::OverCaptureError,
        Self::OverRefundError,
        Self::OverVoidError,
        Self::NoAmountLeft,
        Self::LineExpiredError,
        Self::AuthExpiredError,
        Self::CurrencyMismatchError,
        Self::TransactionNotFound,
        Self::IncorrectOrderId,
        Self::InvalidInput,
        Self::NotReadableInput,
        Self::IdempotencyKeyAlreadyUsed,
        Self::MissingIdempotencyKey,
        Self::UnexpectedError,
    ];

    /// Reads a `codeName`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// The `codeName`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InsufficientFunds => "INSUFFICIENT_FUNDS",
            Self::OverCaptureError => "OVER_CAPTURE_ERROR",
            Self::OverRefundError => "OVER_REFUND_ERROR",
            Self::OverVoidError => "OVER_VOID_ERROR",
            Self::NoAmountLeft => "NO_AMOUNT_LEFT",
            Self::LineExpiredError => "LINE_EXPIRED_ERROR",
            Self::AuthExpiredError => "AUTH_EXPIRED_ERROR",
            Self::CurrencyMismatchError => "CURRENCY_MISMATCH_ERROR",
            Self::TransactionNotFound => "TRANSACTION_NOT_FOUND",
            Self::IncorrectOrderId => "INCORRECT_ORDER_ID",
            Self::InvalidInput => "INVALID_INPUT",
            Self::NotReadableInput => "NOT_READABLE_INPUT",
            Self::IdempotencyKeyAlreadyUsed => "IDEMPOTENCY_KEY_ALREADY_USED",
            Self::MissingIdempotencyKey => "MISSING_IDEMPOTENCY_KEY",
            Self::UnexpectedError => "UNEXPECTED_ERROR",
        }
    }

    /// The page lists every code under 400, 404 and 500 alike; this is the plain reading of their names.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::TransactionNotFound => StatusCode::NOT_FOUND,
            Self::UnexpectedError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::InsufficientFunds
            | Self::OverCaptureError
            | Self::OverRefundError
            | Self::OverVoidError
            | Self::NoAmountLeft
            | Self::LineExpiredError
            | Self::AuthExpiredError
            | Self::CurrencyMismatchError
            | Self::IncorrectOrderId
            | Self::InvalidInput
            | Self::NotReadableInput
            | Self::IdempotencyKeyAlreadyUsed
            | Self::MissingIdempotencyKey => StatusCode::BAD_REQUEST,
        }
    }
}
