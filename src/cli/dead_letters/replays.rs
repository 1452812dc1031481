//! `holdfast dead-letters replays`: who tried what again, when and why.

use comfy_table::Table;
use serde::Serialize;

use super::{Context, Exit, Failure, Listing, OrExit, table, text};
use crate::cli::text::Instant;
use crate::clock::Timestamp;
use crate::ledger::replays::ReplayJob;
use crate::ledger::report::Choice;

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast dead-letters replays
  holdfast dead-letters replays --output json";

pub(super) fn run(now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let jobs = context.report()?.replays().or_exit(Exit::Ledger)?;
    let listing = Listing { name: "replays", rows: jobs.iter().map(Job::from).collect(), has_more: false };
    context.output.list(&listing, u32::MAX, "nothing was ever replayed", |rows| jobs_table(rows, now))?;
    Ok(Exit::Done)
}

/// A replay as it was asked for and as it stands.
#[derive(Serialize)]
pub(super) struct Job<'a> {
    replay: i64,
    state: &'static str,
    why: Option<&'a str>,
    dead_letters: u64,
    choice: &'a Choice,
    canary: u64,
    rate: u64,
    failures_max_percent: u64,
    asked_by: &'a str,
    reason: &'a str,
    asked_at: Instant,
    changed_by: Option<&'a str>,
    changed_at: Instant,
}

impl<'a> From<&'a ReplayJob> for Job<'a> {
    fn from(job: &'a ReplayJob) -> Self {
        Self {
            replay: job.job,
            state: job.state.as_str(),
            why: job.why.as_deref(),
            dead_letters: job.letters,
            choice: &job.choice,
            canary: job.canary,
            rate: job.rate,
            failures_max_percent: job.failures_max,
            asked_by: &job.by,
            reason: &job.reason,
            asked_at: Instant(job.asked_at),
            changed_by: job.changed_by.as_deref(),
            changed_at: Instant(job.changed_at),
        }
    }
}

fn jobs_table(rows: &[Job<'_>], now: Timestamp) -> Table {
    let mut table = table(&["REPLAY", "STATE", "DEAD LETTERS", "ASKED (UTC)", "AGE", "BY", "REASON", "WHY"]);
    for job in rows {
        table.add_row([
            job.replay.to_string(),
            job.state.to_owned(),
            job.dead_letters.to_string(),
            text::instant(job.asked_at.0),
            text::span(job.asked_at.0, now),
            text::harmless(job.asked_by, false),
            text::harmless(job.reason, false),
            text::or_nothing(job.why.map(|why| text::harmless(why, false))),
        ]);
    }
    table
}
