//! Follows a replay while the worker goes on with it, and says what became of each dead letter.

use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;

use super::replays::Job;

use super::{Context, Exit, Failure, Format, OrExit, ask, output, table, text};
use crate::cli::interrupt::Interrupts;
use crate::cli::sums::{self, Sum};
use crate::cli::{progress_bar, wait_for};
use crate::clock;
use crate::ids::{OrderId, ShipmentId};
use crate::ledger::desk::{Desk, What};
use crate::ledger::replays::{ItemOutcome, JobState};
use crate::ledger::report::{ReplayOutcome, ReplayReport, Report};

/// How often it is looked how far a replay is.
const PAUSE: Duration = Duration::from_millis(250);

/// So long after one Ctrl-C another one means the replay too.
const AGAIN: Duration = Duration::from_secs(5);

/// As many of those that were not captured are shown to people.
const SHOWN_MAX: usize = 20;

/// What ends the watching.
enum Ended {
    /// The replay has come to rest.
    AtRest,
    /// Whoever watches has left.
    Left,
    /// Whoever watches has it stopped.
    Stopped,
}

/// Watches a replay until it has come to rest, and sums it up.
pub(super) fn follow(job: i64, interrupts: &mut Interrupts, context: &mut Context) -> Result<Exit, Failure> {
    let report = context.report()?;
    let first = look(&report, job)?;
    let bar = bar(&first, context);
    let ended = wait_for_end(&report, job, &bar, interrupts, context);
    bar.finish_and_clear();
    match ended? {
        Ended::AtRest => {}
        Ended::Left => {
            let message = format!(
                "the replay goes on without this command: `holdfast dead-letters replay --watch {job}` watches it, \
                 `--stop {job}` stops it"
            );
            context.output.notice(&message);
            return Ok(Exit::Done);
        }
        Ended::Stopped => {
            let (_, answer) =
                ask::request(What::StopReplay { job }, "stopped by Ctrl-C while it was watched", context)?;
            context.output.notice(&answer.message);
        }
    }
    show(job, context)
}

/// Sums up a replay as it stands.
pub(super) fn show(job: i64, context: &mut Context) -> Result<Exit, Failure> {
    let report = context.report()?;
    let now = clock::now();
    let replay = look(&report, job)?;
    // For programs each of them; for people those that need a look.
    let but: &[ItemOutcome] = match context.output.format() {
        Format::Json => &[],
        Format::Table => &[ItemOutcome::Captured, ItemOutcome::Accepted, ItemOutcome::Pending, ItemOutcome::Left],
    };
    let outcomes = report.replay_outcomes(job, but, now).or_exit(Exit::Ledger)?;
    match context.output.format() {
        Format::Json => context.output.json(&Summary::of(&replay, &outcomes))?,
        Format::Table => show_for_people(&replay, &outcomes, context)?,
    }
    let went_wrong = [ItemOutcome::Failed, ItemOutcome::NotReplayed, ItemOutcome::Unresolved, ItemOutcome::Left];
    let is_wrong = went_wrong.iter().any(|outcome| replay.count(*outcome) > 0);
    Ok(if is_wrong { Exit::Wrong } else { Exit::Done })
}

fn look(report: &Report, job: i64) -> Result<ReplayReport, Failure> {
    let found = report.replay(job, clock::now()).or_exit(Exit::Ledger)?;
    let nothing = || format!("there is no replay {job}: `holdfast dead-letters replays` lists them");
    found.ok_or_else(|| Failure::new(Exit::Wrong, nothing()))
}

fn wait_for_end(
    report: &Report,
    job: i64,
    bar: &ProgressBar,
    interrupts: &mut Interrupts,
    context: &Context,
) -> Result<Ended, Failure> {
    let desk = Desk::open(&context.settings()?.ledger).or_exit(Exit::Ledger)?;
    let mut is_served = true;
    let mut ended = Ended::AtRest;
    wait_for(async {
        loop {
            let replay = look(report, job)?;
            bar.set_position(begun(&replay));
            bar.set_message(in_words(&replay));
            if replay.has_come_to_rest() {
                return Ok(Exit::Done);
            }
            let was_served = std::mem::replace(&mut is_served, desk.is_served().or_exit(Exit::Ledger)?);
            if was_served && !is_served {
                let message = "no worker runs on this ledger: the replay goes on when one does";
                bar.suspend(|| context.output.notice(message));
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = interrupts.next() => break,
            }
        }
        ended = Ended::Left;
        if context.output.is_terminal() {
            bar.suspend(|| context.output.notice("press Ctrl-C again within 5 seconds to stop the replay too"));
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = interrupts.next() => ended = Ended::Stopped,
            }
        }
        Ok(Exit::Done)
    })?;
    Ok(ended)
}

fn begun(replay: &ReplayReport) -> u64 {
    replay.job.letters.saturating_sub(replay.count(ItemOutcome::Pending) + replay.count(ItemOutcome::Left))
}

/// `37 captured, 2 failed`.
fn in_words(replay: &ReplayReport) -> String {
    let counts = ItemOutcome::ALL.into_iter().filter(|outcome| *outcome != ItemOutcome::Pending);
    let words: Vec<String> = counts
        .filter(|outcome| replay.count(*outcome) > 0)
        .map(|outcome| format!("{} {}", replay.count(outcome), outcome.as_str().replace('_', " ")))
        .collect();
    let state = if replay.job.state == JobState::Paused { "paused; " } else { "" };
    format!("{state}{}", words.join(", "))
}

fn bar(replay: &ReplayReport, context: &Context) -> ProgressBar {
    let is_seen = context.output.is_terminal() && context.output.format() == Format::Table;
    let template = "{bar:30} {pos}/{len}  {per_sec}  {eta_precise} left  {msg}";
    progress_bar(Some(replay.job.letters), template, is_seen).with_position(begun(replay))
}

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    job: Job<'a>,
    counts: serde_json::Map<String, serde_json::Value>,
    captured: Vec<Sum>,
    each: Vec<Each<'a>>,
}

#[derive(Serialize)]
struct Each<'a> {
    dead_letter_id: String,
    order_id: Option<&'a str>,
    shipment_id: Option<&'a str>,
    outcome: &'static str,
    why_not: Option<&'a str>,
    why: Option<&'a str>,
}

impl<'a> Summary<'a> {
    fn of(replay: &'a ReplayReport, outcomes: &'a [ReplayOutcome]) -> Self {
        let count = |outcome: ItemOutcome| (outcome.as_str().to_owned(), replay.count(outcome).into());
        let each = |item: &'a ReplayOutcome| Each {
            dead_letter_id: item.letter.id.to_string(),
            order_id: item.letter.order.as_ref().map(OrderId::as_str),
            shipment_id: item.letter.shipment.as_ref().map(ShipmentId::as_str),
            outcome: item.outcome.as_str(),
            why_not: item.why_not.as_deref(),
            why: item.why.as_deref(),
        };
        Self {
            job: Job::from(&replay.job),
            counts: ItemOutcome::ALL.into_iter().map(count).collect(),
            captured: replay.captured.iter().copied().map(Sum::from).collect(),
            each: outcomes.iter().map(each).collect(),
        }
    }
}

fn show_for_people(replay: &ReplayReport, outcomes: &[ReplayOutcome], context: &mut Context) -> Result<(), Failure> {
    let output = &mut context.output;
    let job = &replay.job;
    let why = job.why.as_deref().map(|why| format!(": {}", text::harmless(why, false))).unwrap_or_default();
    output.line(&format!("replay {} is {}{why}", job.job, job.state.as_str()))?;
    let sums: Vec<Sum> = replay.captured.iter().copied().map(Sum::from).collect();
    let counts = ItemOutcome::ALL.into_iter().filter(|outcome| replay.count(*outcome) > 0);
    let rows = counts.map(|outcome| {
        let worth = if outcome == ItemOutcome::Captured { sums::sums_in_words(&sums) } else { String::new() };
        [replay.count(outcome).to_string(), outcome.as_str().replace('_', " "), worth]
    });
    output.table(output::aligned(rows))?;
    if job.summary.is_some() {
        output.line("\nwhat became of each is not kept any longer (retention.details_for)")?;
    }
    if outcomes.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let mut table = table(&["DEAD LETTER", "ORDER", "SHIPMENT", "OUTCOME", "WHY"]);
    for item in outcomes.iter().take(SHOWN_MAX) {
        table.add_row([
            text::short(item.letter.id.as_uuid()),
            text::or_nothing(item.letter.order.as_ref()),
            text::or_nothing(item.letter.shipment.as_ref()),
            item.outcome.as_str().replace('_', " "),
            text::or_nothing(item.why.as_deref().map(|why| text::harmless(why, false))),
        ]);
    }
    output.table(table)?;
    if outcomes.len() > SHOWN_MAX {
        output.line(&format!("\n{} more: --output json tells of each", outcomes.len() - SHOWN_MAX))?;
    }
    Ok(())
}
