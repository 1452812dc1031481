//! Step 3, accept, and step 5, judge: the core.
//!
//! Functions over values. No I/O, no async, no clock, no randomness, no serde: time and jitter are
//! arguments, so the simulation runs the same functions that production does.

/// What a message says.
pub mod notice;

/// What a provider's answer shows.
pub mod evidence;

/// What the settings say.
pub mod policy;

/// What we tell the world.
pub mod event;

/// What an order owes, and how much of it has been earned.
pub mod plan;

/// How long to wait before the next try or look.
pub mod retry;
