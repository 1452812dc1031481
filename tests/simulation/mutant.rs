//! Loops that are wrong on purpose: the simulation has to catch every one of them. Shortcuts in the core are
//! in `mutants`.

/// What is wrong with a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Acknowledges a message when it comes, not when it is in the ledger.
    AcknowledgesFirst,
    /// Sends a request whose time is over.
    IgnoresSendBy,
    /// Sends each attempt with a key of its own.
    NewKeyPerAttempt,
    /// Leaves the amount out.
    NoAmount,
    /// Marks events as published before they are.
    MarksFirst,
    /// Forgets at start-up what the worker before it had begun.
    ForgetsInterrupted,
    /// Goes on after a restore from a backup as if nothing had happened.
    ReadsNothingAfterRestore,
}

impl Mutant {
    /// Every mutant, with what the simulation says when it catches it.
    pub const ALL: [(Self, &'static [&'static str]); 7] = [
        (Self::AcknowledgesFirst, &["S8"]),
        (Self::IgnoresSendBy, &["S1", "S7"]),
        (Self::NewKeyPerAttempt, &["S1"]),
        (Self::NoAmount, &["S2"]),
        (Self::MarksFirst, &["L2"]),
        (Self::ForgetsInterrupted, &["L1"]),
        (Self::ReadsNothingAfterRestore, &["S1", "S2", "S7", "A1"]),
    ];
}
