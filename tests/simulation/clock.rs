//! Time, as the scheduler lets it pass. One true time that only goes forward; the wall clock of the
//! worker's machine differs from it by what it was stepped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use holdfast::clock::{BootId, BootInstant, Moment, Timestamp};
use uuid::Uuid;

/// How far the machine's wall clock may be from the truth, to either side.
pub const WALL_ERROR_MAX: TimeDelta = TimeDelta::minutes(2);

/// The time of one simulated world. Clones show the same time.
#[derive(Clone, Default)]
pub struct SimClock(Arc<Mutex<Hands>>);

#[derive(Clone, Copy, Default)]
struct Hands {
    elapsed: Duration,
    wall_error: TimeDelta,
    /// How often the machine was started, and when it was the last time.
    starts: u128,
    started_at: Duration,
}

impl SimClock {
    /// True time since the world began.
    pub fn elapsed(&self) -> Duration {
        self.hands().elapsed
    }

    /// True time, as everybody but the worker's machine has it.
    pub fn truth(&self) -> Timestamp {
        truth_at(self.elapsed())
    }

    /// What the worker's machine shows.
    pub fn machine(&self) -> Moment {
        let Hands { elapsed, wall_error, starts, started_at } = self.hands();
        let boot = BootInstant::of(BootId::from_uuid(Uuid::from_u128(starts)), elapsed.saturating_sub(started_at));
        Moment { wall: truth_at(elapsed) + wall_error, boot }
    }

    /// Lets time pass until `elapsed`. It never goes back.
    pub fn advance_to(&self, elapsed: Duration) {
        let mut hands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hands.elapsed = hands.elapsed.max(elapsed);
    }

    /// The machine starts anew: the clock that counts from its start begins at nothing.
    pub fn restart(&self) {
        let mut hands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (hands.starts, hands.started_at) = (hands.starts + 1, hands.elapsed);
    }

    /// Steps the wall clock of the machine: from now on it is wrong by `error`.
    pub fn set_wall_error(&self, error: TimeDelta, limit: TimeDelta) {
        assert!(error.abs() <= limit, "a larger error is outside of the fault model");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wall_error = error;
    }

    /// How long from the beginning until the machine's wall clock, as wrong as it is now, shows `at`.
    pub fn elapsed_when_machine_shows(&self, at: Timestamp) -> Duration {
        (at - self.hands().wall_error - truth_at(Duration::ZERO)).to_std().unwrap_or_default()
    }

    fn hands(&self) -> Hands {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True time `elapsed` after the world began.
pub fn truth_at(elapsed: Duration) -> Timestamp {
    let beginning = DateTime::from_timestamp(1_767_225_600, 0).expect("the year 2026 can be written");
    beginning + TimeDelta::from_std(elapsed).expect("a simulation lasts weeks at most")
}
