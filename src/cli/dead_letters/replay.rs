//! `holdfast dead-letters replay`: shows what would be tried again, asks, and has the worker do it.

use super::choice::Which;
use super::verdict::Verdict;
use super::{Context, Exit, Failure, OrExit, ask, follow};
use crate::capture::dead_letter::DeadLetterState;
use crate::cli::confirm::confirm;
use crate::cli::interrupt::Interrupts;
use crate::clock::{Moment, Timestamp};
use crate::dead_letter;
use crate::ledger::desk::{Chosen, Pace, What};
use crate::ledger::replays::LETTERS_MAX;
use crate::ledger::report::{Report, ShipmentFilter, Standing};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast dead-letters replay --for insufficient_funds --since 24h --dry-run
  holdfast dead-letters replay --for authorization_expired --reason 'authorized anew' --rate 20
  holdfast dead-letters replay 1a2b3c4d --reason 'the bank has fixed it' --yes
  holdfast dead-letters replay --watch 3
  holdfast dead-letters replay --stop 3 --reason 'wrong filter'

A shipment that was refused, or failed on evidence, begins its next generation with the amount that it
was given, on its order's newest open authorization; a failed batch goes whole. A message that never
became a shipment is accepted as if it came now. What may have moved money is not replayed.

Ctrl-C ends this command, not the replay; it says so, and how to stop the replay too.";

/// Which dead letters, and how.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("job").multiple(false))]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    which: Which,
    /// Why, for whoever looks next
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Only show what would be replayed, and what would not and why
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// So many go first, and their outcomes are awaited
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(0..=1_000))]
    canary: u32,
    /// So many are begun in a second after that
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// The replay stops by itself when more than this share of what is decided has failed again
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = clap::value_parser!(u32).range(0..=100))]
    max_failures: u32,
    /// Begin the replay and do not wait for it
    #[arg(long)]
    detach: bool,
    /// Watch this replay
    #[arg(long, value_name = "REPLAY", group = "job")]
    watch: Option<i64>,
    /// Hold this replay
    #[arg(long, value_name = "REPLAY", group = "job")]
    pause: Option<i64>,
    /// Let this replay go on
    #[arg(long, value_name = "REPLAY", group = "job")]
    resume: Option<i64>,
    /// Begin nothing more of this replay
    #[arg(long, value_name = "REPLAY", group = "job")]
    stop: Option<i64>,
}

pub(super) fn run(args: &Args, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    if let Some(job) = args.watch {
        return follow::follow(job, &mut Interrupts::listen()?, context);
    }
    let change = args
        .pause
        .map(|job| What::PauseReplay { job })
        .or(args.resume.map(|job| What::ResumeReplay { job }))
        .or(args.stop.map(|job| What::StopReplay { job }));
    if let Some(what) = change {
        return ask::ask(what, reason(args)?, context);
    }
    let settings = context.settings()?;
    let report = context.report()?;
    let choice = args.which.choice(DeadLetterState::Open, now, &report)?;
    let moment = Moment { wall: now, ..Moment::now() };
    let rehearsal =
        report.rehearse(&choice, &settings.policy, moment, dead_letter::command_of).or_exit(Exit::Ledger)?;
    if rehearsal.letters.is_empty() {
        return Err(nothing(&args.which, &report));
    }
    if rehearsal.is_too_much {
        let message =
            format!("more than {LETTERS_MAX} dead letters match, which one replay does not take: choose fewer");
        return Err(Failure::new(Exit::Usage, message));
    }
    let verdict = Verdict::of(&rehearsal);
    if args.dry_run {
        verdict.show(context)?;
        return Ok(Exit::Done);
    }
    let why = reason(args)?;
    if verdict.would_replay == 0 {
        verdict.show(context)?;
        return Err(Failure::new(Exit::Wrong, "none of them can be replayed: nothing was changed"));
    }
    if !args.yes {
        verdict.show(context)?;
    }
    confirm(&format!("Replay {}?", verdict.in_words()), args.yes)?;
    let letters = u64::try_from(verdict.dead_letters).unwrap_or(u64::MAX);
    let chosen = Chosen { choice, up_to: rehearsal.up_to, letters };
    let pace = Pace { canary: args.canary.into(), rate: args.rate.into(), failures_max: args.max_failures.into() };
    // From here to the end: a Ctrl-C between two waits counts, too.
    let mut interrupts = Interrupts::listen()?;
    let what = What::StartReplay { chosen, pace };
    let (request, answer) = ask::request_unless(&mut interrupts, what, why, context)?;
    if !answer.done {
        return Err(Failure::new(Exit::Wrong, answer.message));
    }
    let job = report.replay_of_request(request).or_exit(Exit::Ledger)?;
    let job = job.expect("the worker has written the replay with its answer");
    if args.detach {
        return follow::show(job, context);
    }
    context.output.line(&answer.message)?;
    follow::follow(job, &mut interrupts, context)
}

fn reason(args: &Args) -> Result<&str, Failure> {
    let missing = || Failure::new(Exit::Usage, "say why with --reason: it is kept with the replay");
    args.reason.as_deref().ok_or_else(missing)
}

/// Nothing matches; perhaps because what is looked for is in doubt, and no dead letter.
fn nothing(which: &Which, report: &Report) -> Failure {
    let in_doubt = which.filter.order.clone().and_then(|order| {
        let filter = ShipmentFilter {
            order: Some(order.clone()),
            shipment: None,
            account: None,
            standing: Some(Standing::InDoubt),
            since: None,
            limit: 1,
        };
        let found = report.shipments(&filter).ok()?;
        (!found.rows.is_empty()).then_some(order)
    });
    let message = match in_doubt {
        Some(order) => format!(
            "no open dead letter matches: order {order} has a capture in doubt, which is looked at until it is \
             decided, and cannot be replayed before; see `holdfast captures show {order}`"
        ),
        None => "no open dead letter matches: nothing was changed".to_owned(),
    };
    Failure::new(Exit::Wrong, message)
}
