//! Step 6, remember: what happened, durably, before anything else happens.
//!
//! The ledger has one write, [`Ledger::execute`]: in one transaction it loads the books that a group
//! of commands touches, folds [`decide`](crate::capture::decide::decide) over the commands, writes
//! what changed, and commits. It decides nothing, and nothing but it writes.
//!
//! No transaction is ever held across a network call, and an I/O error is fatal: what the disk holds
//! is unknown then, and only a fresh start may look.

// what a ledger is
mod contract;

// the commands' records, in and out
mod fold;

// where a store writes
mod groups;
mod thread;

// cells to records and back
mod cells;
mod codec;
mod rows;

// for tests and the simulation
pub mod memory;

// for any number of workers
pub mod postgres;

// for one worker
pub mod sqlite;

// where it is, and a way to ask it beside the one write
mod served;
mod session;
mod source;

// what operators ask of the worker, and what ended without its money tried again
pub mod desk;
pub mod replays;

// what operators ask
pub mod report;

// from one store into another, and from one version to the next
pub mod moving;

// a restore from a backup, and what is long over
pub mod restore;
pub mod retention;

// whether it can be relied on
pub mod health;

// what every backend must do alike
#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod testing;

pub use contract::{CommandFailed, DueNow, Environment, Executed, Ledger, LedgerError, Migrated, OutboxRow, Vitals};
pub use session::SessionError;
pub use source::Source;
