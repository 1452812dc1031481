//! The worker as it is shipped, killed in the middle of its system calls, given errors by them, and robbed
//! of every write that it had not made durable. Nothing in it is made for these tests: they use `strace`.
//!
//! `cargo test --test syscalls -- --nocapture` takes a part of all points. Of a release build, all of them:
//! `HOLDFAST_SYSCALLS=all cargo test --release --test syscalls -- --nocapture`.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
#[path = "../auditor/mod.rs"]
mod auditor;
mod calls;
mod failing;
mod full;
mod killed;
mod points;
mod power_loss;
mod stage;
mod strace;
#[expect(dead_code, reason = "shared with the integration tests, which use more of it")]
#[path = "../it/support/mod.rs"]
mod support;

use std::io::Write as _;

/// Not through `eprintln`: the figures of a run are worth seeing even if it held.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
