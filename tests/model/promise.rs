//! The promises, by their names.

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    /// Nothing is captured twice.
    S1,
    /// What is captured is what was intended.
    S2,
    /// Never more than was authorized.
    S3,
    /// What is sent was committed before.
    S4,
    /// An intent never changes.
    S5,
    /// Ends do not end, and each shipment has one outcome in a generation.
    S6,
    /// Every published outcome is true.
    S7,
    /// What is acknowledged is in the ledger.
    S8,
    /// What is published was committed.
    S9,
    /// Movements add up to balances.
    S10,
    /// An old epoch changes nothing, unless it brings the money.
    S11,
    /// No request without a positive amount.
    S12,
    /// An order that ended well was captured to the cent.
    S13,
    /// The core refuses none of its own commands.
    Core,
}

impl Promise {
    /// Every promise that is looked at in each state, with what is said when it breaks.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::S1, "S1 captured twice"),
        (Self::S2, "S2 captured other than intended"),
        (Self::S3, "S3 more than was authorized"),
        (Self::S4, "S4 sent before it was committed"),
        (Self::S5, "S5 an intent changed"),
        (Self::S6, "S6 two outcomes"),
        (Self::S7, "S7 told what is not true"),
        (Self::S8, "S8 acknowledged and not in the ledger"),
        (Self::S9, "S9 published and not committed"),
        (Self::S10, "S10 movements and balance differ"),
        (Self::S11, "S11 an old epoch changed something"),
        (Self::S12, "S12 sent without an amount"),
        (Self::S13, "S13 not what the order owes"),
        (Self::Core, "the core failed at a command"),
    ];

    /// What is said when it breaks.
    pub fn words(self) -> &'static str {
        Self::ALL.iter().find(|(promise, _)| *promise == self).map(|(_, words)| *words).expect("all are all")
    }
}
