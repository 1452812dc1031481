//! The flow as code: four loops around one ledger and one pure core.
//!
//! ```text
//! RabbitMQ ─▶ intake ─▶ decode ─▶ accept ═▶ LEDGER ─▶ executor ─▶ provider ─▶ judge ═▶ LEDGER ─▶ relay ─▶ RabbitMQ
//!                                             ▲                                 │
//!                                             └──────────── watch ◀─────────────┘
//! ```
//!
//! The loops carry; they decide nothing. Accepted work is handed on in memory, so the common path
//! never waits for a poll; what memory loses, the watch finds by an indexed query.

// messages in, and who may send them
mod gate;
mod intake;

// calls to providers
mod executor;

// one of them
mod call;

// what stands around every account
mod account;

// where accounts stand, said aloud
mod standing;

// what operators ask
mod desk;
mod look;
mod requests;

// what ended without its money, tried again
mod replay;

// events out
mod relay;
mod restoring;
mod retention;

// what is due, and how we are doing
mod watch;

// a ledger that does not answer
mod away;
mod silence;

// the first numbers on the dashboard
mod gauges;

// from settings to a running worker, and back down
mod run;

// what is logged, counted and traced
mod note;
mod spans;

pub use away::start;
pub use run::{Stop, Worker, WorkerError};
