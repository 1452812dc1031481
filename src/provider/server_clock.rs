//! What time it is at a provider, by the `Date` of its answers (RFC 9110, 6.6.1).
//!
//! A `Date` has whole seconds and was made at some instant between request and answer, so that an answer
//! bounds the difference of the two clocks from both sides. Of the last few answers the middle one
//! counts: one proxy with a clock of its own does not. Decides nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use reqwest::header::{AGE, DATE, HeaderMap, HeaderValue};

use crate::clock::{BootInstant, Moment, Timestamp};

use super::http::http_date;

/// Answers that count.
const KEPT: usize = 5;

/// Fewer answers show nothing: the first may be the odd one.
const KNOWN_FROM: usize = 3;

/// The resolution of a `Date`.
const RESOLUTION: TimeDelta = TimeDelta::seconds(1);

/// How far the provider's clock is ahead of ours; below zero, behind. As near to zero as the answers
/// allow: what resolution and round trip explain is no skew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew(pub TimeDelta);

/// The clock of one account's provider.
#[derive(Debug, Default)]
pub struct ServerClock(Mutex<Heard>);

/// What the last answers told.
#[derive(Debug, Default)]
struct Heard {
    answers: VecDeque<Bounds>,
    /// The last `Date`, as it stood there, and read: a busy provider says the same thousands of times a second.
    date: Option<(HeaderValue, Timestamp)>,
}

impl Heard {
    fn read(&mut self, header: &HeaderValue) -> Option<Timestamp> {
        match &self.date {
            Some((known, date)) if known == header => Some(*date),
            Some(_) | None => {
                let date = http_date(header.to_str().ok()?)?;
                self.date = Some((header.clone(), date));
                Some(date)
            }
        }
    }

    fn add(&mut self, bounds: Bounds) {
        if self.answers.len() == KEPT {
            self.answers.pop_front();
        }
        self.answers.push_back(bounds);
    }
}

/// What one answer shows: the provider's time, less the time since our machine's start, is between these.
/// Against the boot clock, so that a step of our own wall clock shows at once, and no sample is stale.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    earliest: Timestamp,
    latest: Timestamp,
}

impl Bounds {
    /// A `Date` of `date` in the answer that came at `answered` to what was asked at `asked`.
    fn of(date: Timestamp, asked: BootInstant, answered: BootInstant) -> Option<Self> {
        Some(Self { earliest: before_start(date, answered)?, latest: before_start(date + RESOLUTION, asked)? })
    }

    fn middle(&self) -> Timestamp {
        self.earliest + (self.latest - self.earliest) / 2
    }

    /// Held against our wall clock.
    fn skew(&self, now: Moment) -> Option<ClockSkew> {
        let ours = before_start(now.wall, now.boot)?;
        let (least, most) = (self.earliest - ours, self.latest - ours);
        Some(ClockSkew(TimeDelta::zero().clamp(least.min(most), most)))
    }
}

/// What a clock that shows `at` showed when our machine started.
fn before_start(at: Timestamp, since_start: BootInstant) -> Option<Timestamp> {
    at.checked_sub_signed(TimeDelta::from_std(since_start.since_boot()).ok()?)
}

impl ServerClock {
    /// Learns from the headers of an answer. Nothing, where they come out of a cache or have no date.
    pub(super) fn learn(&self, headers: &HeaderMap, asked: BootInstant, answered: BootInstant) {
        if headers.contains_key(AGE) {
            return;
        }
        let Some(header) = headers.get(DATE) else { return };
        let mut heard = self.heard();
        let date = heard.read(header);
        if let Some(bounds) = date.and_then(|date| Bounds::of(date, asked, answered)) {
            heard.add(bounds);
        }
    }

    /// By the middle one of the last few answers; `None` before there are enough of them.
    pub fn skew(&self, now: Moment) -> Option<ClockSkew> {
        let mut kept: Vec<Bounds> = self.heard().answers.iter().copied().collect();
        if kept.len() < KNOWN_FROM {
            return None;
        }
        kept.sort_by_key(Bounds::middle);
        kept.get(kept.len() / 2)?.skew(now)
    }

    /// By the last answer alone.
    pub fn last_skew(&self, now: Moment) -> Option<ClockSkew> {
        self.heard().answers.back()?.skew(now)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::HeaderValue;

    use super::*;

    /// Noon by our clock, and so many milliseconds more.
    fn at(milliseconds: i64) -> Moment {
        let noon = Timestamp::UNIX_EPOCH + TimeDelta::hours(500_004);
        let since = Duration::from_millis(u64::try_from(1_000_000 + milliseconds).expect("after the start"));
        Moment { wall: noon + TimeDelta::milliseconds(milliseconds), boot: BootInstant::from_boot(since) }
    }

    /// An answer made at `made` by a clock that is `ahead`, asked at `asked` and here at `answered`.
    fn hear(clock: &ServerClock, ahead: i64, [asked, made, answered]: [i64; 3]) {
        let date = (at(made).wall + TimeDelta::milliseconds(ahead)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let headers = HeaderMap::from_iter([(DATE, HeaderValue::from_str(&date).expect("ASCII"))]);
        clock.learn(&headers, at(asked).boot, at(answered).boot);
    }

    #[test]
    fn what_resolution_and_round_trip_explain_is_no_skew() {
        for (ahead, exchange, least, most) in [
            (0, [0, 1, 2], 0, 0),
            (0, [990, 999, 1_010], 0, 0),
            (0, [10, 9_000, 9_010], 0, 0),
            (0, [10, 20, 9_010], 0, 0),
            (700, [0, 1, 2], 0, 0),
            (-700, [500, 501, 502], -700, 0),
            (61_000, [0, 1, 2], 60_000, 61_000),
            (-61_000, [0, 1, 2], -61_000, -60_000),
            // A slow answer: the more it took, the less is certain.
            (61_000, [0, 10_000, 20_000], 40_000, 61_000),
        ] {
            let clock = ServerClock::default();
            hear(&clock, ahead, exchange);
            assert_eq!(clock.skew(at(20_000)), None, "one answer shows nothing yet");
            let ClockSkew(skew) = clock.last_skew(at(20_000)).expect("an answer");
            let (least, most) = (TimeDelta::milliseconds(least), TimeDelta::milliseconds(most));
            assert!((least..=most).contains(&skew), "{ahead} {exchange:?}: {skew}");
        }
    }

    #[test]
    fn one_odd_answer_does_not_count_and_a_change_does() {
        let clock = ServerClock::default();
        let hear_ahead = |ahead| hear(&clock, ahead, [0, 1, 2]);
        let seconds = || clock.skew(at(3)).map(|ClockSkew(skew)| skew.num_seconds());
        for ahead in [0, 0, 3_600_000, 0] {
            hear_ahead(ahead);
        }
        assert_eq!(seconds(), Some(0));
        for (answers, expected) in [(1, 0), (2, 60), (3, 60)] {
            hear_ahead(61_000);
            assert_eq!(seconds(), Some(expected), "after {answers}");
        }
        for _ in 0..KEPT {
            hear_ahead(0);
        }
        assert_eq!(seconds(), Some(0), "it is over");
    }

    #[test]
    fn a_step_of_our_own_clock_shows_without_another_answer() {
        let clock = ServerClock::default();
        for _ in 0..KEPT {
            hear(&clock, 0, [0, 1, 2]);
        }
        let later = at(5_000);
        let stepped = Moment { wall: later.wall - TimeDelta::minutes(1), ..later };
        assert!(clock.skew(stepped).is_some_and(|ClockSkew(skew)| skew >= TimeDelta::seconds(59)));
        assert_eq!(clock.skew(later), Some(ClockSkew(TimeDelta::zero())));
    }

    #[test]
    fn what_a_cache_answers_and_what_is_no_date_counts_for_nothing() {
        let clock = ServerClock::default();
        let value = HeaderValue::from_static;
        for headers in [
            vec![],
            vec![(DATE, value("yesterday"))],
            vec![(DATE, value("Fri, 20 Nov 2026 12:00:00 GMT")), (AGE, value("3"))],
        ] {
            clock.learn(&headers.into_iter().collect(), at(0).boot, at(1).boot);
        }
        assert_eq!(clock.last_skew(at(2)), None);
    }
}
