//! Coming back after a loss: how long to wait, and what to say of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::broker::session::BrokerError;
use crate::settings::Broker;

/// Most distinct causes remembered, so that each is logged once.
const CAUSES_MAX: usize = 32;

/// Coming back after a loss, for ever: waits with full jitter, longer each time, and logs each cause
/// once.
#[derive(Debug)]
pub(crate) struct Reconnect {
    purpose: &'static str,
    min: Duration,
    max: Duration,
    attempts: u32,
    since: Instant,
    logged: BTreeSet<String>,
}

impl Reconnect {
    pub(crate) fn new(purpose: &'static str, settings: &Broker) -> Self {
        Self {
            purpose,
            min: settings.reconnect_min,
            max: settings.reconnect_max.max(settings.reconnect_min),
            attempts: 0,
            since: Instant::now(),
            logged: BTreeSet::new(),
        }
    }

    /// The connection serves. That alone does not reset the waits: one that is lost at once, time
    /// after time, is asked for ever more slowly.
    pub(crate) fn serving(&mut self) {
        self.since = Instant::now();
        if !self.logged.is_empty() {
            self.logged.clear();
            info!(connection = self.purpose, "RabbitMQ is back");
        }
    }

    /// Real work went through.
    pub(crate) fn progress(&mut self) {
        self.attempts = 0;
    }

    /// Notes the cause and waits before the next attempt.
    pub(crate) async fn pause(&mut self, cause: &BrokerError) {
        if self.since.elapsed() >= self.max {
            self.attempts = 0;
        }
        let wait = self.wait();
        let cause = cause.to_string();
        if self.logged.len() < CAUSES_MAX && self.logged.insert(cause.clone()) {
            warn!(connection = self.purpose, cause, "RabbitMQ cannot be used; trying again until it can");
        }
        tokio::time::sleep(wait).await;
        self.since = Instant::now();
    }

    fn wait(&mut self) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        let factor = 2_u32.saturating_pow(self.attempts);
        let longest = self.min.saturating_mul(factor).min(self.max);
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(fastrand::u64(millis(self.min)..=millis(longest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::session::tests::settings;

    #[test]
    fn waits_grow_within_their_bounds_and_start_again_after_progress() {
        let mut reconnect = Reconnect::new("test", &settings("amqp://h"));
        let (min, max) = (reconnect.min, reconnect.max);
        for longest in [200, 400, 800, 1600, 2000, 2000] {
            let wait = reconnect.wait();
            assert!(wait >= min && wait <= Duration::from_millis(longest), "{wait:?}");
        }
        for _ in 0..100 {
            assert!(reconnect.wait() <= max);
        }
        reconnect.progress();
        assert!(reconnect.wait() <= min * 2);
    }
}
