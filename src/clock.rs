//! Time, from the two clocks that are needed: the wall, and one that counts through suspend.
//!
//! The wall clock never decides an outcome; it schedules. What must not happen after an instant
//! (sending an attempt after its `send_by`) is held against `CLOCK_BOOTTIME`, which goes on while
//! the machine sleeps and never steps.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// A wall-clock instant, in UTC.
pub type Timestamp = DateTime<Utc>;

/// Now, by the wall.
pub fn now() -> Timestamp {
    Utc::now()
}

/// An instant on a clock that counts through suspend and never steps (`CLOCK_BOOTTIME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Now, since boot.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self(Duration::new(seconds, nanos))
    }

    /// The instant `since_boot` after boot, on somebody else's clock: the simulation owns its time.
    pub const fn from_boot(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// This instant and `span` more.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// Has this instant come?
    pub fn is_past(self) -> bool {
        Self::now() >= self
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
        Self { wall: now(), boot: BootInstant::now() }
    }
}

/// `at` and `span` more; the end of time where it would lie beyond.
pub fn after(at: Timestamp, span: Duration) -> Timestamp {
    chrono::TimeDelta::from_std(span).ok().and_then(|span| at.checked_add_signed(span)).unwrap_or(Timestamp::MAX_UTC)
}

/// `at` less `span`; the beginning of time where it would lie before.
pub fn before(at: Timestamp, span: Duration) -> Timestamp {
    chrono::TimeDelta::from_std(span).ok().and_then(|span| at.checked_sub_signed(span)).unwrap_or(Timestamp::MIN_UTC)
}
