//! Does an account work? Found out by asking for an authorization that does not exist.
//!
//! A read of nothing: no money can move from it, and what it is answered with tells a stranger from
//! somebody whose credentials were accepted.

use uuid::Uuid;

use crate::capture::evidence::{ConfigurationFault, Doubt, DoubtKind, Reading};
use crate::ids::Reference;

/// What came of trying an account out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// The provider knows us, and nothing of the authorization that there is not.
    LetIn,
    /// It did not come to an answer.
    Unreachable {
        /// Why, in words.
        why: String,
    },
    /// The account's settings are at fault.
    Misconfigured(ConfigurationFault),
    /// An answer that says neither.
    Unclear {
        /// What it said.
        why: String,
    },
}

impl Trial {
    /// What a reading of an authorization that does not exist shows, where the provider says so by
    /// `not_found`.
    pub(super) fn of(reading: Reading, not_found: &str) -> Self {
        let is_not_found = |code: &Option<String>| code.as_deref() == Some(not_found);
        match reading {
            Reading::Seen(_) => Self::Unclear { why: "it shows an authorization that there is not".to_owned() },
            Reading::Misconfigured(fault) if is_not_found(&fault.code) => Self::LetIn,
            Reading::Misconfigured(fault) => Self::Misconfigured(fault),
            Reading::Unclear(doubt) if is_not_found(&doubt.code) => Self::LetIn,
            Reading::Unclear(Doubt { kind, code, message, .. }) => {
                let why = code.map(|code| format!("{code}: {message}")).unwrap_or(message);
                match kind {
                    DoubtKind::Timeout | DoubtKind::ConnectionLost => Self::Unreachable { why },
                    DoubtKind::HttpStatus | DoubtKind::Unreadable | DoubtKind::Coded => Self::Unclear { why },
                }
            }
        }
    }
}

/// What no provider has: made up for each trial.
pub(super) fn nothing() -> Reference {
    Reference::parse(&Uuid::new_v4().to_string()).expect("a UUID is a reference")
}
