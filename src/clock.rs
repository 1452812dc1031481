//! Time, from the two clocks that are needed: the wall, and one that counts through suspend.
//!
//! The wall clock schedules. What must not happen after an instant (sending an attempt after its `send_by`), or
//! not before one (concluding from what a read does not show), is held against `CLOCK_BOOTTIME`, which goes on
//! while the machine sleeps and never steps. An instant that is kept for another process to read is a [`Mark`]: of
//! both clocks, so that a restart of the machine and a step of the wall clock show. Only how long ago something was
//! in an earlier run of the machine, or on another one, has to be told by the wall clock.

use std::cmp::Ordering;
use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rustix::time::ClockId;
use uuid::Uuid;

/// A wall-clock instant, in UTC.
pub type Timestamp = DateTime<Utc>;

/// Now, by the wall.
pub fn now() -> Timestamp {
    Utc::now()
}

/// The clock that counts through suspend. Where the system has no `CLOCK_BOOTTIME` it has a monotonic
/// clock that goes on while the machine sleeps (macOS: `clock_gettime(3)`).
#[cfg(target_os = "linux")]
const SINCE_BOOT: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: ClockId = ClockId::Monotonic;

/// Further apart than this, the two clocks show that the wall clock was stepped, or that the machine
/// stood still without knowing it (a virtual one that was paused). Slewing corrects half a
/// millisecond in a second (`adjtime(3)`): half a second in a quarter of an hour.
const STEP_MIN: TimeDelta = TimeDelta::seconds(5);

/// One run of a machine, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(Uuid);

impl BootId {
    /// This run of this machine: `/proc/sys/kernel/random/boot_id`. Where the system does not say, this
    /// run of this process: a restart of the worker then counts as one of the machine.
    pub fn current() -> Self {
        static CURRENT: LazyLock<BootId> = LazyLock::new(|| {
            let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
            BootId(told.and_then(|id| Uuid::try_parse(id.trim()).ok()).unwrap_or_else(Uuid::new_v4))
        });
        *CURRENT
    }

    /// From its UUID.
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// Its UUID.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

/// An instant on a clock that counts through suspend and never steps (`CLOCK_BOOTTIME`). Instants of
/// two runs of the machine have no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootInstant {
    boot: BootId,
    since: Duration,
}

impl BootInstant {
    /// Now, since boot.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(SINCE_BOOT);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self::of(BootId::current(), Duration::new(seconds, nanos))
    }

    /// The instant `since` after this start of the machine.
    pub const fn of(boot: BootId, since: Duration) -> Self {
        Self { boot, since }
    }

    /// The instant `since_boot` after boot, on somebody else's clock: the simulation owns its time.
    pub const fn from_boot(since_boot: Duration) -> Self {
        Self::of(BootId(Uuid::nil()), since_boot)
    }

    /// Which run of the machine it is in.
    pub const fn boot(self) -> BootId {
        self.boot
    }

    /// How long after its start.
    pub const fn since_boot(self) -> Duration {
        self.since
    }

    /// This instant and `span` more.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self { since: self.since.saturating_add(span), ..self }
    }

    /// Has this instant come? One of another run of the machine has.
    pub fn is_past(self) -> bool {
        Self::now().partial_cmp(&self) != Some(Ordering::Less)
    }
}

impl PartialOrd for BootInstant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.boot == other.boot).then(|| self.since.cmp(&other.since))
    }
}

/// One instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the wall: what the ledger keeps.
    pub wall: Timestamp,
    /// Since boot: what a send deadline is held against.
    pub boot: BootInstant,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        // In this order: a process that is stopped in between has less time left, never more.
        let boot = BootInstant::now();
        Self { wall: now(), boot }
    }

    /// How long ago `mark` was. `None` where that cannot be told: the machine was started anew since, or
    /// its wall clock was stepped.
    pub fn since(self, mark: Mark) -> Option<Duration> {
        if self.boot.boot != mark.boot.boot {
            return None;
        }
        let passed = self.boot.since.checked_sub(mark.boot.since)?;
        let by_the_wall = self.wall.signed_duration_since(mark.wall);
        let is_stepped = (by_the_wall - TimeDelta::from_std(passed).ok()?).abs() > STEP_MIN;
        (!is_stepped).then_some(passed)
    }

    /// How much longer until `span` has certainly passed since `mark`; zero once it has. In the same run of the
    /// machine its own clock tells, however the wall clock was stepped. In a later one, or on another machine, the
    /// wall clock has to, and no more is believed than this machine has been up for.
    pub fn until(self, mark: Mark, span: Duration) -> Duration {
        if self.boot.boot == mark.boot.boot {
            return mark.boot.since.saturating_add(span).saturating_sub(self.boot.since);
        }
        let by_the_wall = self.wall.signed_duration_since(mark.wall).to_std().unwrap_or_default();
        span.saturating_sub(by_the_wall.min(self.boot.since))
    }

    /// This instant and `span` more.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self { wall: after(self.wall, span), boot: self.boot.plus(span) }
    }

    /// The later one of two; of two runs of the machine this one.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        if self.boot < other.boot { other } else { self }
    }
}

/// An instant to be kept, on both clocks.
pub type Mark = Moment;

/// `at` and `span` more; the end of time where it would lie beyond.
pub fn after(at: Timestamp, span: Duration) -> Timestamp {
    TimeDelta::from_std(span).ok().and_then(|span| at.checked_add_signed(span)).unwrap_or(Timestamp::MAX_UTC)
}

/// `at` less `span`; the beginning of time where it would lie before.
pub fn before(at: Timestamp, span: Duration) -> Timestamp {
    TimeDelta::from_std(span).ok().and_then(|span| at.checked_sub_signed(span)).unwrap_or(Timestamp::MIN_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_run_of_the_machine_has_one_name() {
        assert_eq!(BootId::current(), BootId::current());
        let (before, after) = (BootInstant::now(), BootInstant::now());
        assert!(before <= after && before.is_past() && !after.plus(Duration::from_mins(1)).is_past());
        let elsewhere = BootInstant::of(BootId::from_uuid(Uuid::nil()), after.since_boot().saturating_mul(2));
        assert!(elsewhere.is_past(), "an instant of another run will never come");
        assert_eq!(elsewhere.partial_cmp(&after), None);
    }

    #[test]
    fn how_long_ago_is_told_unless_a_clock_was_stepped_or_the_machine_started_anew() {
        let wall = Timestamp::UNIX_EPOCH + TimeDelta::days(20_000);
        let seconds = Duration::from_secs;
        let (here, there) = (BootId::from_uuid(Uuid::from_u128(1)), BootId::from_uuid(Uuid::from_u128(2)));
        let mark = Moment { wall, boot: BootInstant::of(here, seconds(1_000)) };
        for (boot, by_the_wall, since_boot, expected) in [
            (here, 0, 1_000, Some(0)),
            (here, 60, 1_060, Some(60)),
            // Suspended for an hour: both clocks counted.
            (here, 3_600, 4_600, Some(3_600)),
            // Slewed, or read at slightly different instants.
            (here, 905, 1_900, Some(900)),
            (here, 895, 1_900, Some(900)),
            // Stepped, forth and back.
            (here, 906, 1_900, None),
            (here, 894, 1_900, None),
            (here, -600, 1_060, None),
            (here, 86_400, 1_060, None),
            // Started anew, whatever the clocks show.
            (there, 60, 1_060, None),
            (there, 60, 5, None),
            // Before it was marked: not by this clock.
            (here, -10, 990, None),
        ] {
            let now = Moment {
                wall: wall + TimeDelta::seconds(by_the_wall),
                boot: BootInstant::of(boot, seconds(since_boot)),
            };
            assert_eq!(now.since(mark), expected.map(seconds), "{by_the_wall} {since_boot}");
        }
    }

    #[test]
    fn what_has_certainly_passed_is_counted_by_this_run_of_the_machine_or_by_the_wall_and_never_longer_than_it_is_up() {
        let wall = Timestamp::UNIX_EPOCH + TimeDelta::days(20_000);
        let seconds = Duration::from_secs;
        let (here, there) = (BootId::from_uuid(Uuid::from_u128(1)), BootId::from_uuid(Uuid::from_u128(2)));
        let mark = Moment { wall, boot: BootInstant::of(here, seconds(1_000)) };
        for (boot, by_the_wall, since_boot, left) in [
            (here, 0, 1_000, 900),
            (here, 899, 1_899, 1),
            (here, 900, 1_900, 0),
            (here, 90_000, 2_000_000, 0),
            // Before it: a deadline that lies ahead.
            (here, -10, 990, 910),
            // Whatever the wall clock was stepped by.
            (here, 86_400, 1_060, 840),
            (here, -86_400, 1_060, 840),
            (here, -86_400, 1_900, 0),
            // A later run, or another machine: by the wall, as far as that can be.
            (there, 899, 5_000, 1),
            (there, 900, 5_000, 0),
            (there, 86_400, 60, 840),
            (there, 86_400, 900, 0),
            (there, -60, 5_000, 900),
        ] {
            let now = Moment {
                wall: wall + TimeDelta::seconds(by_the_wall),
                boot: BootInstant::of(boot, seconds(since_boot)),
            };
            assert_eq!(now.until(mark, seconds(900)), seconds(left), "{by_the_wall} {since_boot}");
        }
    }

    #[test]
    fn of_two_moments_the_later_one_is_told_by_the_clock_that_never_steps() {
        let moment = |wall, boot, since| Moment {
            wall: Timestamp::UNIX_EPOCH + TimeDelta::seconds(wall),
            boot: BootInstant::of(BootId::from_uuid(Uuid::from_u128(boot)), Duration::from_secs(since)),
        };
        let now = moment(1_000, 1, 50);
        assert_eq!(now.plus(Duration::from_secs(10)), moment(1_010, 1, 60));
        for (other, expected) in
            [(moment(0, 1, 51), moment(0, 1, 51)), (moment(2_000, 1, 49), now), (moment(2_000, 2, 99), now)]
        {
            assert_eq!(now.or_later(other), expected);
        }
    }
}
