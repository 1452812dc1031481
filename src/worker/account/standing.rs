//! Where an account stands, in words.

/// Where an account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::worker) enum Standing {
    /// It is used.
    Active,
    /// An operator has paused it.
    Paused(String),
    /// Its settings do not work.
    Suspended(String),
    /// Its provider does not work.
    BreakerOpen(String),
}

impl Standing {
    /// The words for labels, the ledger and operators.
    pub(in crate::worker) const WORDS: [&'static str; 4] = ["active", "paused", "suspended", "breaker_open"];

    /// Its word, and why.
    pub(in crate::worker) fn in_words(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Active => ("active", None),
            Self::Paused(why) => ("paused", Some(why.clone())),
            Self::Suspended(why) => ("suspended", Some(why.clone())),
            Self::BreakerOpen(why) => ("breaker_open", Some(why.clone())),
        }
    }
}
