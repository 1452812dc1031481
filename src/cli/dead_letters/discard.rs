//! `holdfast dead-letters discard` and `restore`.

use super::choice::Which;

use super::{Context, Exit, Failure, OrExit, ask};
use crate::capture::dead_letter::DeadLetterState;
use crate::cli::confirm::confirm;
use crate::cli::sums::{self, Sum};
use crate::clock::Timestamp;
use crate::ledger::desk::{Chosen, What};
use crate::ledger::report::DeadLetterFilter;

pub(super) const DISCARD_EXAMPLES: &str = "\
Examples:
  holdfast dead-letters discard 1a2b3c4d --reason 'paid by bank transfer'
  holdfast dead-letters discard --for conflict --order ord-10042 --reason 'a sender has repeated itself'";

pub(super) const RESTORE_EXAMPLES: &str = "\
Examples:
  holdfast dead-letters restore 1a2b3c4d --reason 'the transfer was returned'
  holdfast dead-letters restore --for conflict --since 24h --reason 'discarded by mistake'";

/// Which dead letters, and why.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    which: Which,
    /// Why, for whoever looks next
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::cli) enum Change {
    Discard,
    Restore,
}

pub(super) fn run(args: &Args, change: Change, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let (state, verb) = match change {
        Change::Discard => (DeadLetterState::Open, "Discard"),
        Change::Restore => (DeadLetterState::Discarded, "Restore"),
    };
    let report = context.report()?;
    let choice = args.which.choice(state, now, &report)?;
    let (letters, up_to) = report.count_dead_letters(&choice, state).or_exit(Exit::Ledger)?;
    if letters == 0 {
        let message = format!("no dead letter that is {} matches: nothing was changed", state.as_str());
        return Err(Failure::new(Exit::Wrong, message));
    }
    let filter = DeadLetterFilter { choice: choice.clone(), state: Some(state), limit: u32::MAX - 1 };
    let groups = report.dead_letter_groups(&filter).or_exit(Exit::Ledger)?.rows;
    let sums: Vec<Sum> = sums::add_up(groups.into_iter().flat_map(|group| group.amounts));
    let worth = if sums.is_empty() { String::new() } else { format!(", {}", sums::sums_in_words(&sums)) };
    confirm(&format!("{verb} {letters} dead letters{worth}?"), args.yes)?;
    let chosen = Chosen { choice, up_to, letters };
    let what = match change {
        Change::Discard => What::DiscardDeadLetters { chosen },
        Change::Restore => What::RestoreDeadLetters { chosen },
    };
    ask::ask(what, &args.reason, context)
}
