//! How long to wait before the next try, and before the next look at a capture in doubt.
//!
//! It does not decide *whether* to try again, and it never ends the trying: retries end on the
//! provider's evidence. Time and chance are arguments: the count of failures says where the backoff
//! stands, the caller brings the random bits.
//!
//! This is the only file that knows the `backoff` crate, and `next_backoff` is all it uses of it. The
//! crate is complete but no longer maintained (RUSTSEC-2025-0012); replacing it means replacing
//! one private function, `unspread`.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use backoff::backoff::Backoff as _;
use backoff::exponential::ExponentialBackoff;

use crate::capture::policy::Backoff;

/// The most steps that are counted towards the longest wait. From half a second to a day takes 18
/// doublings; a multiplier close to one stops growing here instead of costing a loop per failure.
const STEPS_MAX: u32 = 1_000;

/// Looks when the schedule is empty: settings refuse that, but a capture in doubt is never left alone.
const LOOK_DEFAULT: Duration = Duration::from_hours(1);

/// The last look of a schedule, which repeats, is spread over plus or minus this share.
const LOOK_JITTER: Share = Share { billionths: 100_000_000 };

/// A random number from 0 up to but not including 1, given by the caller: `bits / 2^32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(u32);

impl Jitter {
    /// The middle: a wait that is neither shortened nor lengthened.
    pub const NONE: Self = Self(1 << 31);

    /// From 32 random bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// How long to wait after `failures` failures in a row of something that was certainly not executed.
///
/// The wait grows exponentially from `policy.initial` to `policy.max` and is spread over plus or
/// minus `policy.jitter` of itself. A provider's `retry_after` (RFC 9110, section 10.2.3) counts up to
/// `retry_after_max`; the wait is never shorter than that, so where it is the longer of the two, the
/// spread goes upwards only. The longest possible wait is the larger maximum with its jitter.
pub fn delay(
    policy: &Backoff,
    failures: u32,
    jitter: Jitter,
    retry_after: Option<Duration>,
    retry_after_max: Duration,
) -> Duration {
    let asked = retry_after.unwrap_or_default().min(retry_after_max);
    let wait = unspread(policy, failures).max(asked);
    let half = Share::from_fraction(policy.jitter).of(wait);
    between(wait.saturating_sub(half).max(asked), wait.saturating_add(half), jitter)
}

/// How long to wait before the next look at a capture in doubt, after `looks` looks.
///
/// `schedule` has the wait before each look. Its last entry repeats for ever, spread over plus or
/// minus a tenth, so that what fell into doubt together is not looked at together for ever.
pub fn look_delay(schedule: &[Duration], looks: u32, jitter: Jitter) -> Duration {
    let (last, before) = schedule.split_last().unwrap_or((&LOOK_DEFAULT, &[]));
    let early = usize::try_from(looks).ok().and_then(|looks| before.get(looks));
    early.copied().unwrap_or_else(|| {
        let half = LOOK_JITTER.of(*last);
        between(last.saturating_sub(half), last.saturating_add(half), jitter)
    })
}

/// The wait after `failures` failures, before jitter: the state of the backoff after as many steps,
/// counted from the first failure.
fn unspread(policy: &Backoff, failures: u32) -> Duration {
    let mut state = ExponentialBackoff {
        current_interval: policy.initial,
        initial_interval: policy.initial,
        // Jitter is ours: the crate's generator cannot be seeded.
        randomization_factor: 0.0,
        multiplier: policy.multiplier,
        max_interval: policy.max,
        start_time: *STOPPED,
        max_elapsed_time: None,
        clock: StoppedClock,
    };
    for _ in 0..failures.saturating_sub(1).min(STEPS_MAX) {
        if state.current_interval >= policy.max {
            break;
        }
        // What it returns may carry a random nanosecond even without jitter; where it has got to
        // does not, so that is what is read.
        let _ = state.next_backoff();
    }
    state.current_interval.min(policy.max)
}

/// The point of `low..high` that `jitter` picks.
fn between(low: Duration, high: Duration, jitter: Jitter) -> Duration {
    let width = high.saturating_sub(low).as_nanos();
    // A duration has fewer than 2^94 nanoseconds, so 32 bits more fit.
    low.saturating_add(Duration::from_nanos_u128((width * u128::from(jitter.0)) >> 32))
}

/// A share of a wait, from nothing to all of it, in whole billionths.
#[derive(Debug, Clone, Copy)]
struct Share {
    billionths: u128,
}

impl Share {
    /// Nothing for what is not a number or below zero, all for what is above one.
    fn from_fraction(fraction: f64) -> Self {
        // The standard library turns the fraction into an integer: as many nanoseconds of a second.
        let of_a_second = Duration::try_from_secs_f64(fraction).unwrap_or_default();
        Self { billionths: of_a_second.min(Duration::from_secs(1)).as_nanos() }
    }

    fn of(self, wait: Duration) -> Duration {
        // 2^94 nanoseconds at most, times 2^30. At most `wait` itself, so that it is a duration.
        Duration::from_nanos_u128(wait.as_nanos() * self.billionths / 1_000_000_000)
    }
}

/// The crate wants a clock to know when to give up, which we never let it. Ours stands still; which
/// instant it shows has no influence.
#[derive(Debug, Clone, Copy)]
struct StoppedClock;

static STOPPED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl backoff::Clock for StoppedClock {
    fn now(&self) -> Instant {
        *STOPPED
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_HINT: Option<Duration> = None;
    const HINT_MAX: Duration = Duration::from_mins(30);

    fn policy() -> Backoff {
        Backoff { initial: Duration::from_millis(500), max: Duration::from_mins(15), multiplier: 2.0, jitter: 0.5 }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let wait = |failures| delay(&policy(), failures, Jitter::NONE, NO_HINT, HINT_MAX);
        for (failures, expected) in [
            (0, Duration::from_millis(500)),
            (1, Duration::from_millis(500)),
            (2, seconds(1)),
            (3, seconds(2)),
            (11, seconds(512)),
            (12, seconds(900)),
            (13, seconds(900)),
            (u32::MAX, seconds(900)),
        ] {
            assert_eq!(wait(failures), expected, "after {failures}");
        }
    }

    #[test]
    fn the_longest_wait_holds_for_the_first_too() {
        let policy = Backoff { max: Duration::from_millis(100), ..policy() };
        assert_eq!(delay(&policy, 1, Jitter::NONE, NO_HINT, HINT_MAX), policy.max);
    }

    #[test]
    fn jitter_spreads_to_both_sides() {
        let wait = |bits| delay(&policy(), 2, Jitter::from_bits(bits), NO_HINT, HINT_MAX);
        assert_eq!(wait(0), Duration::from_millis(500));
        assert_eq!(wait(1 << 30), Duration::from_millis(750));
        assert_eq!(wait(1 << 31), seconds(1));
        assert!(wait(u32::MAX) < Duration::from_millis(1_500) && wait(u32::MAX) > Duration::from_millis(1_499));
    }

    #[test]
    fn a_share_that_makes_no_sense_is_bounded() {
        for (jitter, low, high) in
            [(f64::NAN, 1_000, 1_000), (-1.0, 1_000, 1_000), (7.0, 0, 2_000), (0.0, 1_000, 1_000)]
        {
            let policy = Backoff { jitter, ..policy() };
            for bits in [0, 1, 1 << 31, u32::MAX] {
                let wait = delay(&policy, 2, Jitter::from_bits(bits), NO_HINT, HINT_MAX);
                assert!(
                    (Duration::from_millis(low)..=Duration::from_millis(high)).contains(&wait),
                    "{jitter} {wait:?}"
                );
            }
        }
    }

    #[test]
    fn retry_after_is_honoured_and_capped() {
        for (failures, hint, low, high) in [
            (2, 60, 60, 90),                 // longer than the backoff: upwards only
            (2, 0, 0, 2),                    // says nothing
            (9, 100, 100, 192),              // 128 s, shortened by jitter to no less than the hint
            (2, 24 * 3_600, 1_800, 2_700),   // capped
            (2, u64::MAX, 1_800, 2_700),     // capped
            (u32::MAX, 1_800, 1_800, 2_700), // both at their longest
        ] {
            for bits in [0, 1, 1 << 20, 1 << 31, u32::MAX] {
                let wait = delay(&policy(), failures, Jitter::from_bits(bits), Some(seconds(hint)), HINT_MAX);
                assert!((seconds(low)..seconds(high)).contains(&wait), "{failures} {hint} {bits}: {wait:?}");
            }
        }
    }

    #[test]
    fn many_failures_cost_no_more_than_few() {
        let began = Instant::now();
        for multiplier in [1.0, 1.000_001, 1.5, 2.0, 0.5, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            let policy = Backoff { multiplier, ..policy() };
            let wait = delay(&policy, u32::MAX, Jitter::from_bits(u32::MAX), NO_HINT, HINT_MAX);
            assert!(wait <= policy.max * 2, "{multiplier}: {wait:?}");
        }
        // Four thousand million steps would take minutes.
        assert!(began.elapsed() < seconds(5));
    }

    #[test]
    fn looks_follow_the_schedule_and_its_last_entry_repeats() {
        let schedule = [2, 5, 15, 60, 300, 900, 3_600].map(seconds);
        for bits in [0, 1 << 31, u32::MAX] {
            let look = |looks| look_delay(&schedule, looks, Jitter::from_bits(bits));
            for (looks, wait) in (0_u32..).zip(&schedule[..6]) {
                assert_eq!(look(looks), *wait);
            }
            for looks in [6, 7, 1_000, u32::MAX] {
                assert!((seconds(3_240)..seconds(3_960)).contains(&look(looks)), "{looks} {bits}");
            }
        }
        assert_eq!(look_delay(&schedule, 9, Jitter::NONE), seconds(3_600));
        assert_eq!(look_delay(&schedule, 6, Jitter::from_bits(0)), seconds(3_240), "spread from its first use on");
        assert_eq!(look_delay(&[], 0, Jitter::NONE), seconds(3_600), "never at once for ever");
    }

    prop_compose! {
        fn any_policy()(
            initial in 1..60_000_u64,
            max in prop_oneof![1..100_000_u64, 1..100_000_000_u64],
            multiplier in 1.0..10.0_f64,
            jitter in 0.0..=1.0_f64,
        ) -> Backoff {
            Backoff { initial: Duration::from_millis(initial), max: Duration::from_millis(max), multiplier, jitter }
        }
    }

    proptest! {
        #[test]
        fn waits_are_bounded_and_repeatable(
            policy in any_policy(), failures in any::<u32>(), bits in any::<u32>(),
            hint in prop::option::of(any::<u64>()), hint_max in 0..1_000_000_u64,
        ) {
            let (hint, hint_max) = (hint.map(Duration::from_millis), Duration::from_millis(hint_max));
            let wait = || delay(&policy, failures, Jitter::from_bits(bits), hint, hint_max);
            let longest = policy.max.max(hint_max);
            prop_assert!(wait() <= longest + Share::from_fraction(policy.jitter).of(longest));
            prop_assert!(wait() >= hint.unwrap_or_default().min(hint_max));
            prop_assert_eq!(wait(), wait());
        }

        #[test]
        fn waits_never_shrink_before_jitter(policy in any_policy(), failures in 0..200_u32) {
            prop_assert!(unspread(&policy, failures) <= unspread(&policy, failures + 1));
            prop_assert!(unspread(&policy, failures) >= policy.initial.min(policy.max));
        }
    }
}
