//! `[breaker]` and `[suspension]`: when an account rests.

use super::problem::Noted;
use super::section::Section;
use super::{Breaker, Suspension, value};

pub(super) fn read(mut section: Section<'_>) -> Result<Breaker, Noted> {
    let failures = section.required("failures", value::integer(1, 1_000_000));
    let wait = section.required("wait", value::span);
    let wait_max = section.required("wait_max", value::span);
    let recovery = section.required("recovery", value::span);
    if let (Ok(wait), Ok(longest)) = (wait, wait_max)
        && wait > longest
    {
        section.contradiction("wait", "must not be longer than breaker.wait_max".to_owned());
    }
    section.finish();
    Ok(Breaker { failures: failures?, wait: wait?, wait_max: wait_max?, recovery: recovery? })
}

pub(super) fn read_suspension(mut section: Section<'_>) -> Result<Suspension, Noted> {
    let faults = section.required("faults", value::integer(1, 1_000));
    let probe_interval = section.required("probe_interval", value::span);
    section.finish();
    Ok(Suspension { faults: faults?, probe_interval: probe_interval? })
}
