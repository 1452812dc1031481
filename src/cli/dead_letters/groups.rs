//! `holdfast dead-letters groups`: what was set aside, by cause.

use comfy_table::Table;
use serde::Serialize;

use super::choice::{self, Filter};

use super::{Context, Exit, Failure, Listing, OrExit, table, text};
use crate::cli::sums::{self, Sum};
use crate::cli::text::Instant;
use crate::clock::Timestamp;
use crate::ledger::report::{DeadLetterFilter, DeadLetterGroup};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast dead-letters groups
  holdfast dead-letters groups --account flitt-ge --since 24h --output json";

/// Which dead letters.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only those set aside for this reason
    #[arg(long = "for", visible_alias = "reason", value_name = "REASON", value_parser = choice::reason())]
    set_aside_for: Option<&'static str>,
    #[command(flatten)]
    filter: Filter,
    /// Only those in this state
    #[arg(long, value_name = "STATE", default_value = "open", value_parser = choice::states())]
    state: choice::States,
    /// At most so many causes
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

pub(super) fn run(args: &Args, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let choice = args.filter.choice(args.set_aside_for, now);
    let filter = DeadLetterFilter { choice, state: args.state.0, limit: args.limit };
    let page = context.report()?.dead_letter_groups(&filter).or_exit(Exit::Ledger)?;
    let rows: Vec<Row> = page.rows.iter().map(Row::from).collect();
    let listing = Listing { name: "groups", rows, has_more: page.has_more };
    context.output.list(&listing, args.limit, "no dead letter matches", |rows| groups_table(rows, now))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Row {
    fingerprint: String,
    reason: &'static str,
    provider_code: Option<String>,
    path: Option<String>,
    message: String,
    dead_letters: u64,
    amounts: Vec<Sum>,
    first_seen_at: Instant,
    last_seen_at: Instant,
}

impl From<&DeadLetterGroup> for Row {
    fn from(group: &DeadLetterGroup) -> Self {
        Self {
            fingerprint: group.fingerprint.clone(),
            reason: group.reason,
            provider_code: group.provider_code.clone(),
            path: Some(group.path.clone()).filter(|path| !path.is_empty()),
            message: group.message.clone(),
            dead_letters: group.letters,
            amounts: group.amounts.iter().copied().map(Sum::from).collect(),
            first_seen_at: Instant(group.first_seen_at),
            last_seen_at: Instant(group.last_seen_at),
        }
    }
}

fn groups_table(rows: &[Row], now: Timestamp) -> Table {
    let mut table =
        table(&["DEAD LETTERS", "REASON", "AMOUNT", "FIRST SEEN (UTC)", "LAST SEEN", "FINGERPRINT", "MESSAGE"]);
    for row in rows {
        let before = row.path.as_ref().or(row.provider_code.as_ref()).map(|before| format!("{before}: "));
        table.add_row([
            row.dead_letters.to_string(),
            row.reason.to_owned(),
            sums::sums_in_words(&row.amounts),
            text::instant(row.first_seen_at.0),
            format!("{} ago", text::span(row.last_seen_at.0, now)),
            row.fingerprint.clone(),
            text::harmless(&format!("{}{}", before.unwrap_or_default(), row.message), false),
        ]);
    }
    table
}
