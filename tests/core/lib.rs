//! The core by itself, with the ledger in memory: what decides about money, and nothing that does I/O. It
//! builds in seconds, which thousands of changes and a look at every region need (`tests/core/alone.sh`).

#![allow(dead_code, reason = "only what the tests of the core need is used")]

pub mod capture;
pub mod clock;
pub mod ids;
#[cfg(all(feature = "messages", not(test)))]
pub mod message;
pub mod money;
pub mod mutant;

pub mod ledger {
    //! What the core's tests need of it.

    mod contract;
    mod fold;
    pub mod memory;

    pub use contract::{
        CommandFailed, DueNow, Environment, Executed, Ledger, LedgerError, Migrated, OutboxRow, Vitals,
    };
}
