//! Named shortcuts, for tests only: release builds have none.
//!
//! Each is a mistake that is easy to make and loses money or tells a lie: one line at the place where it
//! would be made. A test of the same name shows that it is caught; `docs/proof.md` lists them all.
//! [`with`] switches one on in this thread, `HOLDFAST_TEST_MUTANT=ack_early` in a worker.

pub(crate) mod replan;

#[cfg(debug_assertions)]
mod switch;

#[cfg(debug_assertions)]
pub use switch::{on, with};

macro_rules! mutants {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A shortcut.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$doc])* $variant,)*
        }

        impl Mutant {
            /// Every shortcut.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, which is that of its test too.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

mutants! {
    /// A key that was used is replaced by a new one.
    NewKeyOnUsed = "new_key_on_used",
    /// A refusal ends the capture, whatever may have become of the attempts before.
    RejectIsFinal = "reject_is_final",
    /// What a read does not show has failed.
    AbsenceIsFailure = "absence_is_failure",
    /// What is not answered has failed.
    TimeoutIsFailure = "timeout_is_failure",
    /// A key that was used means that the money was captured.
    UsedIsSuccess = "used_is_success",
    /// A message is acknowledged before it is in the ledger.
    AckEarly = "ack_early",
    /// Nothing looks whether an amount still fits.
    NoReserve = "no_reserve",
    /// The same shipment with other content changes the amount of its capture.
    ReplanOnChange = "replan_on_change",
    /// The same, where the key has the amount in it.
    ReplanWithNewKey = "replan_on_change_key_has_amount",
    /// The request is sent before its intent is durable.
    SendBeforeIntent = "send_before_intent",
    /// The same key is sent again without a read, however long after the first time.
    ResendAfterHorizon = "resend_after_horizon",
    /// A request is sent however long after it was begun.
    NoSendDeadline = "no_send_deadline",
    /// What an earlier worker concludes counts.
    NoFence = "no_fence",
    /// After the window nothing is sent again, whatever a read shows.
    ReadOnlyAfterWindow = "read_only_after_window",
    /// A refusal that a later read confirms ends nothing.
    RefusalStaysOpen = "refusal_stays_open",
    /// Another amount on a single-capture authorization ends nothing.
    ForeignStaysOpen = "foreign_stays_open",
    /// A read means something at once, and not only once everything that was sent has arrived.
    NoQuiet = "no_quiet",
}

/// No: release builds have no shortcuts.
#[cfg(not(debug_assertions))]
pub const fn on(_mutant: Mutant) -> bool {
    false
}

/// The compiler has looked at each.
#[cfg(not(debug_assertions))]
const _: () = {
    let mut number = 0;
    while number < Mutant::ALL.len() {
        assert!(!on(Mutant::ALL[number]));
        number += 1;
    }
};

#[cfg(test)]
mod tests;
