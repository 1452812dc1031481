//! The ledger of any number of workers: PostgreSQL.

// where it is, and how it is reached
mod address;
mod session;
mod tls;
mod trouble;

// asked by code that waits
mod remote;

// rows and tables
mod cells;
mod schema;

// a server of the tests' own
pub mod local_server;

pub use address::Address;

pub(in crate::ledger) use remote::{Remote, Transaction, migrate};
pub(in crate::ledger) use trouble::Trouble;
