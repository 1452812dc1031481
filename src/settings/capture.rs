//! `[capture]` and `[retry]`: the rules that every decision follows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::problem::Noted;
use super::section::Section;
use super::value;
use crate::capture::policy::{Backoff, Policy};

/// What `[capture]` says: the policy, without backoff and accounts, and two bounds of the worker.
pub(super) struct CaptureRules {
    pub policy: Policy,
    pub open_max: u64,
    pub disk_free_min: u64,
}

pub(super) fn read(mut section: Section<'_>, backoff: Result<Backoff, Noted>) -> Result<CaptureRules, Noted> {
    let deadline_margin = section.required("deadline_margin", value::span);
    let derived_deadline_margin = section.required("derived_deadline_margin", value::span);
    let final_grace = section.required("final_grace", value::duration);
    let quiet = section.required("quiet", value::span);
    let awaiting_max = section.required("awaiting_max", value::span);
    let awaiting_check = section.required("awaiting_check", value::span);
    let send_within = section.required("send_within", value::span);
    let parked_for = section.required("parked_for", value::span);
    let retry_after_max = section.required("retry_after_max", value::span);
    let look_after = section.required("look_after", value::spans);
    let leads = section.required("expiring_leads", value::spans);
    let open_max = section.required("open_max", value::integer(1, 10_000_000));
    let disk_free_min = section.required("disk_free_min", value::bytes);

    if let (Ok(margin), Ok(quiet)) = (deadline_margin, quiet)
        && margin < quiet
    {
        // Doubt is cleared by a read at least `quiet` after the last send: with less than that
        // between margin and expiry, one lost answer at the margin outlives the authorization.
        section.contradiction("deadline_margin", "must not be shorter than capture.quiet".to_owned());
    }
    if let (Ok(derived), Ok(margin)) = (derived_deadline_margin, deadline_margin)
        && derived < margin
    {
        let message =
            "must not be shorter than capture.deadline_margin: a derived expiry is less certain than a told one";
        section.contradiction("derived_deadline_margin", message.to_owned());
    }
    section.finish();
    let policy = Policy {
        deadline_margin: deadline_margin?,
        derived_deadline_margin: derived_deadline_margin?,
        expiring_leads: longest_first(leads?),
        final_grace: final_grace?,
        quiet: quiet?,
        awaiting_max: awaiting_max?,
        awaiting_check: awaiting_check?,
        send_within: send_within?,
        parked_for: parked_for?,
        retry_after_max: retry_after_max?,
        backoff: backoff?,
        look_after: look_after?,
        accounts: BTreeMap::new(),
    };
    Ok(CaptureRules { policy, open_max: open_max?, disk_free_min: disk_free_min? })
}

/// Each lead once, in the order in which they come.
fn longest_first(mut leads: Vec<Duration>) -> Vec<Duration> {
    leads.sort_unstable_by(|a, b| b.cmp(a));
    leads.dedup();
    leads
}

pub(super) fn read_backoff(mut section: Section<'_>) -> Result<Backoff, Noted> {
    let initial = section.required("initial", value::span);
    let max = section.required("max", value::span);
    let multiplier = section.required("multiplier", value::decimal(1.0, 100.0, "must be a number from 1 to 100"));
    let jitter = section.required("jitter", value::decimal(0.0, 1.0, "must be a number from 0 to 1"));
    if let (Ok(initial), Ok(max)) = (initial, max)
        && initial > max
    {
        section.contradiction("initial", "must not be longer than retry.max".to_owned());
    }
    section.finish();
    Ok(Backoff { initial: initial?, max: max?, multiplier: multiplier?, jitter: jitter? })
}
