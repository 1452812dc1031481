//! Time, from the two clocks that are needed: the wall, and one that counts through suspend.
//!
//! The wall clock never decides an outcome; it schedules. What must not happen after an instant
//! (sending an attempt after its `send_by`) is held against `CLOCK_BOOTTIME`, which goes on while
//! the machine sleeps and never steps. An instant that is kept for another process to read is a
//! [`Mark`]: of both clocks, so that a restart of the machine and a step of the wall clock show.

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
}
