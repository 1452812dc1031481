//! What tells records apart: the numbers of their rows.

use std::fmt;

macro_rules! record_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(i64);

        impl $name {
            /// The key of a row that the ledger holds, or is about to hold.
            pub const fn new(row: i64) -> Self {
                Self(row)
            }

            /// The row's number.
            pub const fn row(self) -> i64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

record_key!(
    /// An order's row.
    OrderKey
);
record_key!(
    /// An authorization's row.
    AuthorizationKey
);
record_key!(
    /// A shipment's row. Rows are numbered in the order of acceptance.
    ShipmentKey
);
record_key!(
    /// A capture's row.
    CaptureKey
);
record_key!(
    /// A kept notice's row. Rows of notices and shipments are numbered together, in the order of arrival.
    KeptKey
);
record_key!(
    /// A replay job's row.
    JobKey
);
