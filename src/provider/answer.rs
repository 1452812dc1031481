//! What every protocol's answers have in common: the step from HTTP and coded errors to evidence.
//!
//! Does not know any provider's fields or codes.

use crate::capture::evidence::{
    Answer, ConfigurationFault, Doubt, DoubtKind, NotExecuted, Reading, Refusal, RefusalReason,
};

use super::http::{Reply, StatusClass};
use super::redact;

/// What can be said without any statement by the provider about the authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inconclusive {
    /// The request was certainly not executed.
    NotExecuted(NotExecuted),
    /// It may have been.
    Doubt(Doubt),
    /// Our configuration is at fault.
    Misconfigured(ConfigurationFault),
}

impl From<Inconclusive> for Answer {
    fn from(shown: Inconclusive) -> Self {
        match shown {
            Inconclusive::NotExecuted(not_executed) => Self::NotExecuted(not_executed),
            Inconclusive::Doubt(doubt) => Self::Doubt(doubt),
            Inconclusive::Misconfigured(fault) => Self::Misconfigured(fault),
        }
    }
}

/// A read that was not executed leaves us as wise as one that was lost.
impl From<Inconclusive> for Reading {
    fn from(shown: Inconclusive) -> Self {
        match shown {
            Inconclusive::NotExecuted(NotExecuted { message, retry_after }) => {
                Self::Unclear(Doubt { kind: DoubtKind::ConnectionLost, code: None, message, retry_after })
            }
            Inconclusive::Doubt(doubt) => Self::Unclear(doubt),
            Inconclusive::Misconfigured(fault) => Self::Misconfigured(fault),
        }
    }
}

impl Inconclusive {
    /// Certainly not executed.
    pub(super) fn not_executed(message: impl Into<String>) -> Self {
        Self::NotExecuted(NotExecuted { message: message.into(), retry_after: None })
    }

    /// A fault of our configuration. No answer of this class is known to follow an executed request.
    pub(super) fn misconfigured(code: Option<String>, message: impl Into<String>) -> Self {
        Self::Misconfigured(ConfigurationFault { code, message: message.into(), may_have_executed: false })
    }

    /// An answer that cannot be read or names something else than we asked for.
    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::Doubt(Doubt { kind: DoubtKind::Unreadable, code: None, message: message.into(), retry_after: None })
    }
}

/// An error that the provider named by a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodedError {
    /// The provider's code, redacted.
    pub(super) code: String,
    /// The provider's text, redacted.
    pub(super) message: String,
    /// What the code means; `None` for a code that no documentation of the provider's lists.
    pub(super) class: Option<CodeClass>,
}

/// What a documented code says of the request that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodeClass {
    /// A definitive refusal.
    Refused(RefusalReason),
    /// A definitive refusal, whose cause may be an earlier request of ours: counts after a read.
    RefusedReadFirst(RefusalReason),
    /// Our configuration is at fault.
    Misconfigured,
    /// It neither proves nor excludes a capture: read first.
    Ambiguous,
}

impl CodedError {
    /// A code and text as the provider sent them.
    pub(super) fn new(code: &str, message: &str, class: Option<CodeClass>) -> Self {
        Self { code: redact::text(code), message: redact::text(message), class }
    }

    /// The evidence in this error, given the status it came with: a definitive refusal, or less.
    ///
    /// A status that leaves doubt outweighs any code: a 5xx may be made by somebody who relayed the
    /// request before.
    pub(super) fn judged(self, reply: &Reply) -> Result<Refusal, Inconclusive> {
        let Self { code, message, class } = self;
        let doubt = |code, message| {
            let retry_after = reply.retry_after;
            Err(Inconclusive::Doubt(Doubt { kind: DoubtKind::Coded, code: Some(code), message, retry_after }))
        };
        match reply.class() {
            StatusClass::Throttled | StatusClass::Rejected => return Err(reply.uncoded()),
            StatusClass::Ambiguous => return doubt(code, message),
            StatusClass::NotFound if class.is_none() => return Err(reply.uncoded()),
            StatusClass::Success | StatusClass::NotFound | StatusClass::Other => {}
        }
        match class {
            Some(CodeClass::Refused(reason)) => Ok(Refusal { reason, code: Some(code), message, read_first: false }),
            Some(CodeClass::RefusedReadFirst(reason)) => {
                Ok(Refusal { reason, code: Some(code), message, read_first: true })
            }
            Some(CodeClass::Misconfigured) => Err(Inconclusive::misconfigured(Some(code), message)),
            Some(CodeClass::Ambiguous) | None => doubt(code, message),
        }
    }

    /// The same for a read: a refused read says nothing about the authorization.
    pub(super) fn judged_read(self, reply: &Reply) -> Inconclusive {
        match self.judged(reply) {
            Ok(Refusal { code, message, .. }) => {
                Inconclusive::Doubt(Doubt { kind: DoubtKind::Coded, code, message, retry_after: reply.retry_after })
            }
            Err(shown) => shown,
        }
    }
}
