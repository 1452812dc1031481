//! `holdfast authorizations`: where money is about to be lost, and where somebody else has a hand in it.
//!
//! It reads, while a worker may be writing. To lift a halt, it asks the worker.

mod resume;
mod show;

#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::Subcommand;
use comfy_table::Table;
use serde::Serialize;

use super::text::{self, Amount, Instant};
use super::{Context, Exit, Failure, Format, OrExit, table};
use crate::capture::records::ForeignStanding;
use crate::clock::{self, Timestamp};
use crate::ids::AccountName;
use crate::ledger::report::{AuthorizationFilter, AuthorizationSummary, AuthorizationTotal, Report};

const LIST_EXAMPLES: &str = "\
Examples:
  holdfast authorizations list --expiring-within 48h
  holdfast authorizations list --expiring-within 12h --earned --account flitt-ge
  holdfast authorizations list --halted
  holdfast authorizations list --output json

States: halted (somebody else captures on it, and nothing is sent on it: see `authorizations show`),
collecting (waits to be captured once, with the rest of the order), planned, sending and in_doubt (its
captures), open (nothing is under way), overdue (past its expiry, being read at the provider).
ELSEWHERE is what somebody else has captured on it, as far as the provider was asked.";

/// What to show.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List authorizations that are not over, those that expire first.
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Show authorizations: our books, and beside them what the provider says.
    #[command(after_help = show::EXAMPLES)]
    Show(show::Args),
    /// End the halt of authorizations on which somebody else has captured money.
    #[command(after_help = resume::EXAMPLES)]
    Resume(resume::Args),
}

/// Which authorizations.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only those that expire within this span, such as 48h, or have
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    expiring_within: Option<Duration>,
    /// Only this account
    #[arg(long, value_name = "NAME", value_parser = AccountName::parse)]
    account: Option<AccountName>,
    /// Only those with money that has shipped and is not captured
    #[arg(long)]
    earned: bool,
    /// Only those on which nothing is sent, because somebody else captures on them
    #[arg(long)]
    halted: bool,
    /// At most so many; the totals are of all
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

pub(super) fn run(command: Command, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let report = context.report()?;
    match command {
        Command::List(args) => list(args, &report, now, context),
        Command::Show(args) => show::run(&args, &report, now, context),
        Command::Resume(args) => resume::run(&args, &report, context),
    }
}

fn list(args: ListArgs, report: &Report, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let filter = AuthorizationFilter {
        account: args.account,
        expires_by: args.expiring_within.map(|span| clock::after(now, span)),
        only_earned: args.earned,
        only_halted: args.halted,
        limit: args.limit,
    };
    let (page, totals) = report.authorizations(&filter).or_exit(Exit::Ledger)?;
    let listing = Listing {
        authorizations: page.rows.iter().map(|summary| Entry::new(summary, now)).collect(),
        totals: totals.iter().map(Total::from).collect(),
        has_more: page.has_more,
    };
    if listing.authorizations.is_empty() && context.output.format() == Format::Table {
        context.output.line("no authorization matches")?;
        return Ok(Exit::Done);
    }
    context.output.show(&listing, |listing| listing_table(listing, now))?;
    if context.output.format() == Format::Table {
        context.output.line("")?;
        context.output.table(totals_table(&listing))?;
    }
    if page.has_more {
        let message = format!("\nthere are more than these {}: narrow the search, or raise --limit", args.limit);
        context.output.line(&message)?;
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Listing<'a> {
    authorizations: Vec<Entry<'a>>,
    totals: Vec<Total>,
    has_more: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    account: &'a str,
    reference: &'a str,
    order_id: &'a str,
    expires_at: Option<Instant>,
    expiry_is_derived: bool,
    seconds_left: Option<i64>,
    currency: String,
    authorized: Amount,
    captured: Amount,
    earned_uncaptured: Amount,
    remaining: Amount,
    provider_captured: Option<Amount>,
    provider_voided: Option<Amount>,
    provider_remaining: Option<Amount>,
    provider_expires_at: Option<Instant>,
    captured_elsewhere: Option<Amount>,
    states: Vec<&'static str>,
}

impl<'a> Entry<'a> {
    fn new(summary: &'a AuthorizationSummary, now: Timestamp) -> Self {
        Self {
            account: summary.account.as_str(),
            reference: summary.reference.as_str(),
            order_id: summary.order.as_str(),
            expires_at: summary.expires_at.map(Instant),
            expiry_is_derived: summary.expiry_is_derived,
            seconds_left: summary.expires_at.map(|at| at.signed_duration_since(now).num_seconds()),
            currency: summary.authorized.currency().to_string(),
            authorized: Amount(summary.authorized),
            captured: Amount(summary.captured),
            earned_uncaptured: Amount(summary.earned_uncaptured),
            remaining: Amount(summary.remaining),
            provider_captured: summary.provider.captured.map(Amount),
            provider_voided: summary.provider.voided.map(Amount),
            provider_remaining: summary.provider.remaining.map(Amount),
            provider_expires_at: summary.provider.expires_at.map(Instant),
            captured_elsewhere: summary.foreign.map(|foreign| Amount(foreign.amount)),
            states: states(summary, now),
        }
    }
}

/// What is going on, in the words of the help.
fn states(summary: &AuthorizationSummary, now: Timestamp) -> Vec<&'static str> {
    let is_over = summary.expires_at.is_some_and(|at| at <= now);
    let is_halted = summary.foreign.is_some_and(|foreign| foreign.standing == ForeignStanding::Halted);
    let words = [
        ("halted", is_halted),
        ("overdue", is_over),
        ("collecting", summary.collecting > 0),
        ("planned", summary.planned > 0),
        ("sending", summary.sending > 0),
        ("in_doubt", summary.in_doubt > 0),
    ];
    let words: Vec<_> = words.into_iter().filter_map(|(word, holds)| holds.then_some(word)).collect();
    if words.is_empty() { vec!["open"] } else { words }
}

#[derive(Serialize)]
struct Total {
    currency: String,
    authorizations: u64,
    authorized: Amount,
    captured: Amount,
    earned_uncaptured: Amount,
    remaining: Amount,
}

impl From<&AuthorizationTotal> for Total {
    fn from(total: &AuthorizationTotal) -> Self {
        Self {
            currency: total.authorized.currency().to_string(),
            authorizations: total.authorizations,
            authorized: Amount(total.authorized),
            captured: Amount(total.captured),
            earned_uncaptured: Amount(total.earned_uncaptured),
            remaining: Amount(total.remaining),
        }
    }
}

fn listing_table(listing: &Listing<'_>, now: Timestamp) -> Table {
    let mut table = table(&[
        "ACCOUNT",
        "REFERENCE",
        "ORDER",
        "EXPIRES (UTC)",
        "LEFT",
        "AUTHORIZED",
        "CAPTURED",
        "EARNED",
        "REMAINING",
        "ELSEWHERE",
        "STATE",
    ]);
    for entry in &listing.authorizations {
        let at = entry.expires_at.map(|Instant(at)| at);
        let told = if entry.expiry_is_derived { "~" } else { "" };
        table.add_row([
            entry.account.to_owned(),
            entry.reference.to_owned(),
            entry.order_id.to_owned(),
            text::or_nothing(at.map(|at| format!("{told}{}", text::instant(at)))),
            text::or_nothing(at.map(|at| left(at, now))),
            entry.authorized.0.to_string(),
            entry.captured.0.to_string(),
            entry.earned_uncaptured.0.to_string(),
            entry.remaining.0.to_string(),
            text::or_nothing(entry.captured_elsewhere.map(|Amount(amount)| amount)),
            entry.states.join(", ").replace('_', " "),
        ]);
    }
    table
}

/// How long until the expiry; `over` once there is nothing left.
fn left(at: Timestamp, now: Timestamp) -> String {
    if at > now { text::span(now, at) } else { "over".to_owned() }
}

fn totals_table(listing: &Listing<'_>) -> Table {
    let mut table = table(&["TOTAL", "AUTHORIZATIONS", "AUTHORIZED", "CAPTURED", "EARNED", "REMAINING"]);
    for total in &listing.totals {
        table.add_row([
            total.currency.clone(),
            total.authorizations.to_string(),
            total.authorized.0.to_string(),
            total.captured.0.to_string(),
            total.earned_uncaptured.0.to_string(),
            total.remaining.0.to_string(),
        ]);
    }
    table
}
