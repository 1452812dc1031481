//! Step 3, accept, and step 5, judge: the core.
//!
//! Functions over values. No I/O, no async, no clock, no randomness, no serde: time and jitter are
//! arguments, so the simulation runs the same functions that production does. Everything goes through
//! [`decide::decide`].

// what comes in
pub mod notice;

// what a provider's answer shows
pub mod evidence;

// what the settings say
pub mod policy;

// amounts
pub mod plan;

// the records, and which steps between their states exist
mod keys;
pub mod records;
pub mod states;
mod watch;

// what counts against caps
pub mod usage;

// the loaded records, and what changed
pub mod books;
mod changes;

// the one door
pub mod decide;

// 3 accept
mod accept;
mod amount;
mod ask;
mod awaiting;
mod collect;
mod companion;
mod complete;
mod expiry;
mod fee;
mod foreign;
mod kept;
mod register;
pub(crate) mod reject;
pub mod restored;
mod small;

// what ended without its money, tried again
pub mod replay;

// whose turn it is, and when; and what a cap holds
mod cap;
mod due;
pub mod retry;
mod window;

// 5 judge
mod judge;
mod operator;
mod settle;
pub mod why;

// 6 what an end means
mod outcome;
mod subject;

// what goes out
pub mod dead_letter;
mod ending;
pub mod event;

#[cfg(test)]
pub(crate) mod tests;
