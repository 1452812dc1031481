//! The error codes of Paper, and what each says of a capture request.

use crate::capture::evidence::RefusalReason;

use super::super::answer::CodeClass;

/// The hold does not exist.
pub(super) const NO_SUCH_HOLD: &str = "no_such_hold";

/// What a code says; `None` for one that is not documented.
pub(super) fn class(code: &str) -> Option<CodeClass> {
    Some(match code {
        "no_funds" => CodeClass::Refused(RefusalReason::InsufficientFunds),
        "hold_ended" => CodeClass::Refused(RefusalReason::AuthorizationExpired),
        "hold_returned" => CodeClass::Refused(RefusalReason::AuthorizationVoided),
        "wrong_currency" => CodeClass::Refused(RefusalReason::CurrencyMismatch),
        "bad_form" => CodeClass::Refused(RefusalReason::ProviderRejected),
        // Too much: an earlier request of ours may be why.
        "over_hold" => CodeClass::RefusedReadFirst(RefusalReason::ExceedsAuthorization),
        // Credentials of another shop, or the wrong environment: it would be said of every request.
        NO_SUCH_HOLD => CodeClass::Misconfigured,
        // Used with another amount, and nothing said of that one; or somewhere on the way.
        "memo_used" | "busy" => CodeClass::Ambiguous,
        _ => return None,
    })
}
