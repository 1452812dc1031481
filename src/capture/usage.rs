//! How much of an account was captured, or may have been, in the last hour and the last day.
//!
//! Each window is counted in sixtieths of itself, and a sixtieth counts until all of it has left the window:
//! what was let through counts for up to a sixtieth longer than the window, and never for less. Reads no clock.

use std::time::Duration;

use chrono::DateTime;

use crate::clock::Timestamp;
use crate::ids::AccountName;
use crate::money::{Currency, Money};

/// A span of time in which the sum of captures may have a cap. It rolls: it always ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// Sixty minutes.
    Hour,
    /// Twenty-four hours.
    Day,
}

/// The parts that a window is counted in.
const SLOTS: i64 = 60;

impl Window {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Hour, Self::Day];

    /// How long it is.
    pub const fn length(self) -> Duration {
        match self {
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }

    /// In words, behind an amount.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Hour => "in an hour",
            Self::Day => "in a day",
        }
    }

    /// The length of a slot, in microseconds.
    const fn slot_length(self) -> i64 {
        match self {
            Self::Hour => 60 * 1_000_000,
            Self::Day => 24 * 60 * 1_000_000,
        }
    }

    fn slot(self, at: Timestamp) -> i64 {
        at.timestamp_micros().div_euclid(self.slot_length())
    }

    /// The instant from which on a slot counts no longer.
    fn end_of(self, slot: i64) -> Timestamp {
        let micros = slot.saturating_add(SLOTS + 1).saturating_mul(self.slot_length());
        DateTime::from_timestamp_micros(micros).unwrap_or(Timestamp::MAX_UTC)
    }
}

/// What of an account counts in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The account.
    pub account: AccountName,
    /// The currency.
    pub currency: Currency,
    /// In the last hour.
    pub hour: Tally,
    /// In the last day.
    pub day: Tally,
}

/// What counts in one window: slots, numbered from 1970, and minor units in each; the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(pub Vec<(i64, i64)>);

impl Tally {
    /// Counts an amount in a slot, none after which is counted yet.
    fn add(&mut self, slot: i64, more: i64) {
        match self.0.last_mut() {
            Some((last, minor)) if *last == slot => *minor = minor.saturating_add(more),
            Some(_) | None => self.0.push((slot, more)),
        }
    }
}

impl Usage {
    /// Nothing yet.
    pub fn new(account: AccountName, currency: Currency) -> Self {
        Self { account, currency, hour: Tally::default(), day: Tally::default() }
    }

    /// What counts in a window now.
    pub fn used(&self, window: Window, now: Timestamp) -> Money {
        let sum = self.counting(window, now).fold(0_i64, |sum, (_, minor)| sum.saturating_add(*minor));
        Money::from_minor(sum, self.currency).expect("what is counted is never less than nothing")
    }

    /// From when on there is room for `amount` under `cap`, if nothing else is let through; `None` where there
    /// is never.
    pub fn room_at(&self, window: Window, amount: Money, cap: Money, now: Timestamp) -> Option<Timestamp> {
        let least = amount.minor().saturating_sub(cap.minor());
        if least > 0 {
            return None;
        }
        let mut over = self.used(window, now).minor().saturating_add(least);
        for (slot, minor) in self.counting(window, now) {
            if over <= 0 {
                break;
            }
            over = over.saturating_sub(*minor);
            if over <= 0 {
                return Some(window.end_of(*slot));
            }
        }
        Some(now)
    }

    /// Counts an amount from now on.
    pub fn count(&mut self, amount: Money, now: Timestamp) {
        self.come_to(now);
        for window in Window::ALL {
            self.tally_mut(window).add(window.slot(now), amount.minor());
        }
    }

    /// Gives back the room of what was counted at `at`. Where it is not found, because the clock was set back
    /// meanwhile or its slot is over, it counts until it leaves the window.
    pub fn take_back(&mut self, amount: Money, at: Timestamp) {
        for window in Window::ALL {
            let (slot, tally) = (window.slot(at), self.tally_mut(window));
            let found = tally.0.iter_mut().find(|(known, minor)| *known == slot && *minor >= amount.minor());
            if let Some((_, minor)) = found {
                *minor -= amount.minor();
            }
            tally.0.retain(|(_, minor)| *minor > 0);
        }
    }

    /// Was anything counted by a clock that has been set back since?
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        let is_ahead = |window: Window| self.tally(window).0.last().is_some_and(|(slot, _)| *slot > window.slot(now));
        Window::ALL.into_iter().any(is_ahead)
    }

    /// Forgets what counts no longer. What was counted by a clock that has been set back since counts from now
    /// on.
    pub fn come_to(&mut self, now: Timestamp) {
        for window in Window::ALL {
            let (current, tally) = (window.slot(now), self.tally_mut(window));
            let ahead = tally.0.iter().filter(|(slot, _)| *slot > current);
            let ahead = ahead.fold(0_i64, |sum, (_, minor)| sum.saturating_add(*minor));
            tally.0.retain(|(slot, _)| (current - SLOTS..=current).contains(slot));
            if ahead > 0 {
                tally.add(current, ahead);
            }
        }
    }

    /// The slots that are not over yet.
    fn counting(&self, window: Window, now: Timestamp) -> impl Iterator<Item = &(i64, i64)> {
        let from = window.slot(now) - SLOTS;
        self.tally(window).0.iter().filter(move |(slot, _)| *slot >= from)
    }

    const fn tally(&self, window: Window) -> &Tally {
        match window {
            Window::Hour => &self.hour,
            Window::Day => &self.day,
        }
    }

    const fn tally_mut(&mut self, window: Window) -> &mut Tally {
        match window {
            Window::Hour => &mut self.hour,
            Window::Day => &mut self.day,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn eur(minor: i64) -> Money {
        Money::from_minor(minor, Currency::parse("EUR").unwrap()).unwrap()
    }

    fn empty() -> Usage {
        Usage::new(AccountName::parse("flex").unwrap(), Currency::parse("EUR").unwrap())
    }

    /// Not at the beginning of a slot.
    fn start() -> Timestamp {
        DateTime::from_timestamp_micros(1_800_000_031_000_000).unwrap()
    }

    fn after(seconds: i64) -> Timestamp {
        start() + TimeDelta::seconds(seconds)
    }

    #[test]
    fn what_was_counted_counts_for_a_window_and_at_most_a_sixtieth_longer() {
        let mut usage = empty();
        usage.count(eur(300), start());
        for (window, length) in [(Window::Hour, 3_600_i64), (Window::Day, 86_400)] {
            assert_eq!(window.length(), Duration::from_secs(length.unsigned_abs()));
            assert_eq!(usage.used(window, after(length)), eur(300), "{window:?}: to the end of the window");
            assert_eq!(usage.used(window, after(length + length / 60)), eur(0), "{window:?}");
        }
        // And it is forgotten.
        usage.count(eur(1), after(100_000));
        usage.count(eur(1), after(100_000));
        assert_eq!((usage.hour.0.len(), usage.day.0.len()), (1, 1));
    }

    #[test]
    fn room_comes_when_enough_has_left_the_window() {
        let mut usage = empty();
        for (minor, at) in [(300, 0), (100, 600), (100, 1_200)] {
            usage.count(eur(minor), after(at));
        }
        let (now, cap) = (after(1_300), eur(500));
        assert_eq!(usage.room_at(Window::Hour, eur(501), cap, now), None, "it never has room");
        for (amount, counted_at) in [(300, 0), (301, 600), (500, 1_200)] {
            let at = usage.room_at(Window::Hour, eur(amount), cap, now).unwrap();
            let whole = after(counted_at) + TimeDelta::seconds(3_600);
            assert!(at > whole && at <= whole + TimeDelta::seconds(60), "{amount}: {at}");
            let just_before = usage.used(Window::Hour, at - TimeDelta::microseconds(1)).minor();
            assert!(just_before + amount > 500 && usage.used(Window::Hour, at).minor() + amount <= 500, "{amount}");
        }
        assert_eq!(usage.room_at(Window::Day, eur(1), eur(600), now), Some(now), "there is room");
    }

    #[test]
    fn room_is_given_back_once_and_to_nobody_else() {
        let mut usage = empty();
        usage.count(eur(300), start());
        usage.count(eur(200), after(600));
        usage.take_back(eur(300), start());
        assert_eq!(usage.used(Window::Hour, after(600)), eur(200));
        assert_eq!(usage.used(Window::Day, after(600)), eur(200));
        assert_eq!((usage.hour.0.len(), usage.day.0.len()), (1, 1), "nothing is kept of it");
        // Not found any more: nothing that others have counted is given back.
        usage.take_back(eur(300), start());
        assert_eq!(usage.used(Window::Day, after(600)), eur(200));
    }

    #[test]
    fn what_a_clock_has_counted_that_was_set_back_counts_from_now_on() {
        let mut usage = empty();
        usage.come_to(start());
        assert_eq!(usage, empty());
        usage.count(eur(300), after(400 * 86_400));
        assert_eq!(usage.used(Window::Hour, start()), eur(300), "it counts all the while");
        assert!(usage.is_ahead(start()));
        usage.come_to(start());
        assert!(!usage.is_ahead(start()));
        assert_eq!(usage.used(Window::Hour, after(3_600)), eur(300));
        assert_eq!(usage.used(Window::Hour, after(3_660)), eur(0));
        assert_eq!(usage.used(Window::Day, after(86_400)), eur(300));
    }

    #[test]
    fn no_sum_overflows() {
        let mut usage = empty();
        usage.count(eur(i64::MAX), start());
        usage.count(eur(i64::MAX), start());
        usage.count(eur(i64::MAX), after(100));
        assert_eq!(usage.used(Window::Hour, after(100)).minor(), i64::MAX);
        assert!(usage.room_at(Window::Hour, eur(1), eur(1), after(100)).is_some());
    }
}
