//! Caps of accounts: how they are set in some worlds, and that they hold, in the time that truly passes.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast::capture::policy::{Caps, Policy};
use holdfast::capture::records::{Capped, Capture};
use holdfast::capture::states::CaptureState;
use holdfast::capture::usage::Window;
use holdfast::ids::CaptureId;
use holdfast::ledger::memory::Tables;
use holdfast::money::{Currency, Money};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::world::Check;

/// The caps of the accounts of a world, in one of three. They come from a chance of their own: the rest of the
/// world is as it would be without.
pub fn of_world(seed: u64) -> impl FnMut() -> Vec<Caps> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX);
    let has_caps = rng.random_ratio(1, 3);
    move || if has_caps && rng.random_ratio(2, 3) { of_account(&mut rng) } else { Vec::new() }
}

/// Orders come to some 10,000 minor units. Now and then a currency is forgotten.
fn of_account(rng: &mut impl Rng) -> Vec<Caps> {
    let mut caps = Vec::new();
    for code in ["EUR", "JPY", "KWD"] {
        let currency = Currency::parse(code).expect("a currency");
        let mut cap = |minor: std::ops::Range<i64>| {
            let minor = rng.random_range(minor);
            rng.random_ratio(2, 3).then(|| Money::from_minor(minor, currency).expect("positive"))
        };
        let (capture, hour, day) = (cap(5_000..20_000), cap(20_000..30_000), cap(30_000..60_000));
        if rng.random_ratio(9, 10) {
            caps.push(Caps { currency, capture, hour, day });
        }
    }
    caps
}

/// When captures were let through, in truth: since when each is sent, in doubt or captured.
#[derive(Clone, Default)]
pub struct LetThrough(BTreeMap<CaptureId, Duration>);

impl LetThrough {
    /// C1: what was let through is within the caps, in itself and in every window that truly passed, save what an
    /// operator has released. What was found in a read was not let through.
    pub fn check(&mut self, tables: &Tables, capture: &Capture, policy: &Policy, clock: Clock) -> Check {
        match capture.state {
            CaptureState::Sending => {
                self.0.entry(capture.id).or_insert(clock.elapsed);
            }
            CaptureState::Planned | CaptureState::Failed => drop(self.0.remove(&capture.id)),
            CaptureState::InDoubt | CaptureState::Captured | CaptureState::Unresolved => {}
        }
        let account = |capture: &Capture| &tables.authorizations[&capture.authorization].account;
        let Some(policy) = policy.accounts.get(account(capture)).filter(|policy| !policy.caps.is_empty()) else {
            return Ok(());
        };
        let Some(at) = self.when(capture) else { return Ok(()) };
        let currency = capture.amount.currency();
        let caps = policy.caps_in(currency).ok_or_else(|| format!("C1: {} is in no currency with caps", capture.id))?;
        if caps.capture.is_some_and(|cap| capture.amount.minor() > cap.minor()) {
            return Err(format!("C1: {} of {} is more than {:?} at once", capture.id, capture.amount, caps.capture));
        }
        for window in Window::ALL {
            let Some(cap) = caps.of(window) else { continue };
            let length = window.length().saturating_sub(clock.error);
            // What has failed in the same step may not have been looked at yet.
            let counts = |other: &Capture| !matches!(other.state, CaptureState::Planned | CaptureState::Failed);
            let is_in = |other: &&Capture| {
                let is_recent = self.when(other).and_then(|then| at.checked_sub(then)).is_some_and(|ago| ago < length);
                is_recent && counts(other) && account(other) == account(capture) && other.amount.currency() == currency
            };
            let sum: i64 = tables.captures.values().filter(is_in).map(|other| other.amount.minor()).sum();
            if sum > cap.minor() {
                return Err(format!("C1: {sum} minor units of {cap} {}, with {}", window.in_words(), capture.id));
            }
        }
        Ok(())
    }

    /// When it was let through, where a cap had to.
    fn when(&self, capture: &Capture) -> Option<Duration> {
        self.0.get(&capture.id).copied().filter(|_| capture.capped != Some(Capped::Released))
    }
}

/// The true time, and by how much the worker's clock can have been stepped within a window.
#[derive(Clone, Copy)]
pub struct Clock {
    pub elapsed: Duration,
    pub error: Duration,
}
