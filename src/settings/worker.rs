//! `[worker]`: the worker's own bounds.

use std::time::Duration;

use super::problem::Noted;
use super::section::Section;
use super::{Worker, value};

/// `bounds` are `open_max` and `disk_free_min`, which stand in `[capture]`; `longest_timeout` is
/// that of all accounts, those with problems included.
pub(super) fn read(
    mut section: Section<'_>,
    bounds: Result<(u64, u64), Noted>,
    longest_timeout: Option<Duration>,
) -> Result<Worker, Noted> {
    let drain_grace = section.required("drain_grace", value::duration);
    let watch_interval = section.required("watch_interval", value::span);
    let relay_interval = section.required("relay_interval", value::span);
    let outbox_age_max = section.required("outbox_age_max", value::span);
    let clock_skew_max = section.required("clock_skew_max", value::span);

    if let (Ok(grace), Some(longest)) = (drain_grace, longest_timeout)
        && grace < longest
    {
        // Else a normal stop would cut calls off and leave captures in doubt.
        let longest = humantime::format_duration(longest);
        section.contradiction("drain_grace", format!("must be at least {longest}, the longest timeout of an account"));
    }
    section.finish();
    let (open_max, disk_free_min) = bounds?;
    Ok(Worker {
        open_max,
        disk_free_min,
        drain_grace: drain_grace?,
        watch_interval: watch_interval?,
        relay_interval: relay_interval?,
        outbox_age_max: outbox_age_max?,
        clock_skew_max: clock_skew_max?,
    })
}
