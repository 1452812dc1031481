//! Scenarios: commands in, books and events out, over a ledger in memory and a clock by hand. Every
//! step of every scenario is checked against the invariants.

// what the tests of the ledgers use too
pub(crate) mod invariants;
pub(crate) mod support;

// from the notice to the plan
mod accepting;
mod asking;
mod awaiting;
mod bounds;
mod cancelling;
mod exact;
mod registering;

// from the plan to the outcome
mod capping;
mod crashes;
mod expiry;
mod halting;
mod lost_parts;
mod lost_time;
mod operating;
mod replaying;
mod republishing;
mod resting;
mod restoring;
mod several;
mod single;
mod unreplayable;

// what both are called, and what replies are about
mod subjects;
mod words;
