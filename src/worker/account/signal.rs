//! What an answer tells about the account, whatever it tells about the money.
//!
//! Does not judge captures: that is the core's business.

use std::time::Duration;

use crate::capture::evidence::{Answer, ConfigurationFault, Doubt, DoubtKind, Reading};

/// What was asked of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Operation {
    /// To read.
    Lookup,
    /// To take money.
    Capture,
}

/// What an answer tells about the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::worker) enum Signal {
    /// Provider and settings work.
    Worked,
    /// The provider works and let us in; whether it does what we want is another question.
    Answered,
    /// The provider does not work.
    Failed {
        /// In words.
        why: String,
        /// How long nobody should ask, by its own word.
        hold: Option<Duration>,
    },
    /// Our settings do not work.
    Misconfigured(String),
}

impl Signal {
    /// What the answer to a capture request tells.
    pub(in crate::worker) fn of_answer(answer: &Answer) -> Self {
        match answer {
            Answer::Captured(_) | Answer::Pending | Answer::Refused(_) => Self::Worked,
            Answer::Doubt(doubt) => Self::of_doubt(doubt, None),
            Answer::NotExecuted(reason) => Self::Failed { why: reason.message.clone(), hold: reason.retry_after },
            Answer::Misconfigured(fault) => Self::of_fault(fault),
        }
    }

    /// What a reading tells.
    pub(in crate::worker) fn of_reading(reading: &Reading) -> Self {
        match reading {
            Reading::Seen(_) => Self::Worked,
            // A read loses nothing by waiting, so that any `Retry-After` is heeded.
            Reading::Unclear(doubt) => Self::of_doubt(doubt, doubt.retry_after),
            Reading::Misconfigured(fault) => Self::of_fault(fault),
        }
    }

    fn of_doubt(doubt: &Doubt, hold: Option<Duration>) -> Self {
        match doubt.kind {
            DoubtKind::Timeout | DoubtKind::ConnectionLost | DoubtKind::HttpStatus | DoubtKind::Unreadable => {
                Self::Failed { why: doubt.message.clone(), hold }
            }
            DoubtKind::Coded => Self::Answered,
        }
    }

    fn of_fault(fault: &ConfigurationFault) -> Self {
        let code = fault.code.as_deref().map(|code| format!("{code}: ")).unwrap_or_default();
        Self::Misconfigured(format!("{code}{}", fault.message))
    }
}
