//! A token bucket: so many calls in a span of time, evenly spread.
//!
//! Kept as the instant at which the bucket is full again, so that there is no float and no timer.

use std::time::{Duration, Instant};

use crate::settings::Rate;

/// What the bucket holds: the calls of so long may come at once after a rest.
const BURST: Duration = Duration::from_millis(100);

/// One account's bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    full_at: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self { interval: rate.per / rate.calls.max(1), full_at: None }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// When there will be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let there_at = full_at.checked_sub(BURST.saturating_sub(self.interval)).unwrap_or(full_at);
        if there_at > now {
            return Err(there_at);
        }
        self.full_at = Some(full_at + self.interval);
        Ok(())
    }

    /// Takes a token that may not be there yet: the next one comes later for it.
    pub(super) fn overdraw(&mut self, now: Instant) {
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + self.interval);
    }

    /// Puts a token back that was not used.
    pub(super) fn put_back(&mut self) {
        self.full_at = self.full_at.and_then(|at| at.checked_sub(self.interval));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a call every millisecond are let through in a second, after a rest.
    fn in_a_second(rate: Rate) -> usize {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate);
        (0..1_000).filter(|ms| bucket.take(start + Duration::from_millis(*ms)).is_ok()).count()
    }

    #[test]
    fn calls_are_spread_evenly_and_a_rest_saves_only_a_little() {
        let per = |calls, per| Rate { calls, per };
        for (rate, least, most) in [
            (per(50, Duration::from_secs(1)), 50, 55),
            (per(1, Duration::from_secs(1)), 1, 1),
            (per(600, Duration::from_mins(1)), 10, 11),
            (per(1_000, Duration::from_hours(1)), 1, 1),
        ] {
            let count = in_a_second(rate);
            assert!((least..=most).contains(&count), "{rate:?}: {count}");
        }
    }

    #[test]
    fn what_is_overdrawn_is_made_up_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { calls: 50, per: Duration::from_secs(1) });
        let mut calls = 0;
        for now in (0..10_000).map(|ms| start + Duration::from_millis(ms)) {
            if bucket.take(now).is_ok() {
                bucket.overdraw(now);
                calls += 2;
            }
        }
        assert!((495..=510).contains(&calls), "{calls} in ten seconds");
    }

    #[test]
    fn it_says_when_and_takes_back() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Rate { calls: 2, per: Duration::from_secs(1) });
        assert_eq!(bucket.take(now), Ok(()));
        let next = bucket.take(now).unwrap_err();
        assert_eq!(next, now + Duration::from_millis(500));
        assert_eq!(bucket.take(next), Ok(()));
        bucket.put_back();
        assert_eq!(bucket.take(next), Ok(()));
        assert!(bucket.take(next).is_err());
    }
}
