//! E4: how long the same key may still be sent again without a read before.
//!
//! Counted on the clock that goes on through suspend. After a restart of the machine, or a step of its
//! wall clock, nobody can say how long ago the first send was: the window counts as over.

use std::time::Duration;

use crate::clock::{Mark, Moment};

/// What is left at `now` of the window that began at `from`; nothing where it is over, or never began.
/// Without a `window` repeating the same amount is safe for ever.
pub(super) fn left(from: Option<Mark>, window: Option<Duration>, now: Moment) -> Duration {
    let Some(window) = window else { return Duration::MAX };
    let passed = from.and_then(|from| now.since(from));
    passed.map_or(Duration::ZERO, |passed| window.saturating_sub(passed))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::capture::tests::support::{SECOND, at};
    use crate::clock::{BootId, BootInstant};

    fn moment(boot: u128, wall: i64, since_boot: u32) -> Moment {
        Moment { wall: at(wall), boot: BootInstant::of(BootId::from_uuid(Uuid::from_u128(boot)), SECOND * since_boot) }
    }

    #[test]
    fn a_window_is_open_only_as_long_as_both_clocks_can_tell() {
        let sent = Some(moment(1, 0, 1_000));
        let fifteen_minutes = Some(SECOND * 900);
        for (what, from, window, now, seconds) in [
            ("just sent", sent, fifteen_minutes, moment(1, 0, 1_000), 900),
            ("a second before its end", sent, fifteen_minutes, moment(1, 899, 1_899), 1),
            ("at its end", sent, fifteen_minutes, moment(1, 900, 1_900), 0),
            ("after a night's suspend", sent, fifteen_minutes, moment(1, 36_000, 37_000), 0),
            ("a clock that was set back", sent, fifteen_minutes, moment(1, 60, 1_660), 0),
            ("a clock that was set forward", sent, fifteen_minutes, moment(1, 660, 1_060), 0),
            ("a machine that was started anew", sent, fifteen_minutes, moment(2, 60, 20), 0),
            ("the same, up for as long", sent, fifteen_minutes, moment(2, 60, 1_060), 0),
            ("never sent", None, fifteen_minutes, moment(1, 60, 1_060), 0),
        ] {
            assert_eq!(left(from, window, now), SECOND * seconds, "{what}");
        }
        for now in [moment(2, 60, 20), moment(1, -60, 5_000), moment(1, 0, 1_000)] {
            assert_eq!(left(sent, None, now), Duration::MAX, "the same amount is safe for ever");
        }
    }
}
