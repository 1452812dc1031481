//! `holdfast accounts`: where each account stands, and the switch that stops one.
//!
//! The list reads, while a worker may be writing. To pause and resume, it asks the worker.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use chrono::TimeDelta;
use clap::Subcommand;
use comfy_table::Table;
use serde::Serialize;

use super::text::{self, Amount, Instant};
use super::{Context, Exit, Failure, Listing, OrExit, ask, table};
use crate::capture::policy::{AccountPolicy, Caps};
use crate::capture::usage::{Usage, Window};
use crate::clock::Timestamp;
use crate::ids::AccountName;
use crate::ledger::desk::{Desk, What};
use crate::ledger::report::AccountSummary;
use crate::money::Money;

const LIST_EXAMPLES: &str = "\
Examples:
  holdfast accounts list
  holdfast accounts list --output json

States: active; paused (by an operator); suspended (its own settings do not work, and it is looked at
again by itself); breaker open (its provider does not work, the same); not configured (it has open
captures, and the settings do not have it); unknown (no worker has had it yet).

Where several workers run, it is the worst that any of them says, and which one.

CLOCK is how far the provider's clock is ahead of this machine's or behind it, by its answers.

CAPS, where the settings have any: what counts now of what is captured in an hour or a day at most.";

const PAUSE_EXAMPLES: &str = "\
Examples:
  holdfast accounts pause flitt-ge --reason 'the provider asked us to stop'

Nothing more is sent for the account, not even reads, until it is resumed, restarts included. Calls
under way are settled. Shipments are accepted and wait; deadlines pass all the same.";

const RESUME_EXAMPLES: &str = "\
Examples:
  holdfast accounts resume flitt-ge --reason 'their incident is over'";

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the accounts: where each stands and why, and what is open on it.
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Send nothing more for an account, until it is resumed.
    #[command(after_help = PAUSE_EXAMPLES)]
    Pause(ChangeArgs),
    /// End a pause.
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(ChangeArgs),
}

/// Which account, and why.
#[derive(Debug, clap::Args)]
pub(super) struct ChangeArgs {
    /// The account's name
    #[arg(value_name = "NAME", value_parser = AccountName::parse)]
    account: AccountName,
    /// Why, for whoever looks next
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

pub(super) fn run(command: Command, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::List => list(now, context),
        Command::Pause(ChangeArgs { account, reason }) => {
            ask::ask(What::PauseAccount { account: account.to_string() }, &reason, context)
        }
        Command::Resume(ChangeArgs { account, reason }) => {
            ask::ask(What::ResumeAccount { account: account.to_string() }, &reason, context)
        }
    }
}

fn list(now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let known = context.report()?.accounts().or_exit(Exit::Ledger)?;
    let runs = Desk::open(&settings.ledger).and_then(|desk| desk.is_served()).or_exit(Exit::Ledger)?;
    let configured: BTreeSet<&AccountName> = settings.accounts.iter().map(|account| &account.name).collect();
    let is_shown = |name: &&AccountName| {
        let summary = &known[*name];
        summary.waiting + summary.in_flight + summary.in_doubt > 0
    };
    let names: BTreeSet<&AccountName> = configured.iter().copied().chain(known.keys().filter(is_shown)).collect();
    let nothing = AccountSummary::default();
    let entry = |name: &AccountName| {
        let summary = known.get(name).unwrap_or(&nothing);
        let caps = settings.policy.accounts.get(name).map(|policy| counted(policy, &summary.usages, now));
        Entry { caps: caps.unwrap_or_default(), ..Entry::new(name, summary, configured.contains(name)) }
    };
    let rows: Vec<Entry> = names.into_iter().map(entry).collect();
    let listing = Listing { name: "accounts", rows, has_more: false };
    context.output.list(&listing, u32::MAX, "no account is configured", |rows| rows_table(rows, now))?;
    if !runs {
        context.output.line("\nno worker runs on this ledger: this is how the last one left it")?;
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Entry {
    account: String,
    state: String,
    why: Option<String>,
    since: Option<Instant>,
    waiting: u64,
    in_flight: u64,
    in_doubt: u64,
    last_success_at: Option<Instant>,
    clock_skew_seconds: Option<f64>,
    /// Of the caps by the hour and by the day.
    caps: Vec<Counted>,
    /// With which worker it stands so, where several run.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    #[serde(skip)]
    clock_skew: Option<TimeDelta>,
}

/// How much of a cap counts now.
#[derive(Serialize)]
struct Counted {
    window: &'static str,
    currency: String,
    used: Amount,
    cap: Amount,
}

impl Counted {
    fn new(window: Window, used: Money, cap: Money) -> Self {
        let window = match window {
            Window::Hour => "hour",
            Window::Day => "day",
        };
        Self { window, currency: cap.currency().to_string(), used: Amount(used), cap: Amount(cap) }
    }

    fn in_words(&self) -> String {
        let Self { window, used: Amount(used), cap: Amount(cap), .. } = self;
        format!("{} of {cap} in the {window}", used.to_major())
    }
}

/// What counts now of each cap by the hour and by the day, in the order of the settings.
fn counted(policy: &AccountPolicy, usages: &[Usage], now: Timestamp) -> Vec<Counted> {
    let of = |caps: &Caps, window| {
        let usage = usages.iter().find(|usage| usage.currency == caps.currency);
        let used = usage.map_or(Money::zero(caps.currency), |usage| usage.used(window, now));
        caps.of(window).map(|cap| Counted::new(window, used, cap))
    };
    policy.caps.iter().flat_map(|caps| Window::ALL.into_iter().filter_map(move |window| of(caps, window))).collect()
}

impl Entry {
    fn new(name: &AccountName, summary: &AccountSummary, is_configured: bool) -> Self {
        let status = summary.status.as_ref();
        let state = match status {
            _ if !is_configured => "not_configured",
            Some(status) => status.state.as_str(),
            None => "unknown",
        };
        Self {
            account: name.to_string(),
            state: state.to_owned(),
            why: status.filter(|_| is_configured).and_then(|status| status.why.clone()),
            since: status.filter(|_| is_configured).map(|status| Instant(status.since)),
            waiting: summary.waiting,
            in_flight: summary.in_flight,
            in_doubt: summary.in_doubt,
            last_success_at: status.and_then(|status| status.last_success).map(Instant),
            clock_skew_seconds: status.and_then(|status| status.clock_skew).map(TimeDelta::as_seconds_f64),
            caps: Vec::new(),
            worker: summary.worker.clone().filter(|_| is_configured),
            clock_skew: status.and_then(|status| status.clock_skew),
        }
    }
}

impl Entry {
    /// Why, and with which worker, where there is something to be said.
    fn why_so(&self) -> Option<String> {
        match (&self.why, &self.worker) {
            (Some(why), Some(worker)) => Some(format!("{why} (worker {worker})")),
            (why, _) => why.clone(),
        }
    }
}

fn rows_table(rows: &[Entry], now: Timestamp) -> Table {
    let mut heads =
        vec!["ACCOUNT", "STATE", "SINCE (UTC)", "WAITING", "IN FLIGHT", "IN DOUBT", "LAST SUCCESS", "CLOCK", "WHY"];
    let has_caps = rows.iter().any(|entry| !entry.caps.is_empty());
    if has_caps {
        heads.push("CAPS");
    }
    let mut table = table(&heads);
    for entry in rows {
        let mut cells = vec![
            entry.account.clone(),
            entry.state.replace('_', " "),
            text::or_nothing(entry.since.map(|Instant(at)| text::instant(at))),
            entry.waiting.to_string(),
            entry.in_flight.to_string(),
            entry.in_doubt.to_string(),
            text::or_nothing(entry.last_success_at.map(|Instant(at)| format!("{} ago", text::span(at, now)))),
            text::or_nothing(entry.clock_skew.map(text::skew)),
            text::or_nothing(entry.why_so().map(|why| text::harmless(&why, false))),
        ];
        if has_caps {
            let words: Vec<String> = entry.caps.iter().map(Counted::in_words).collect();
            cells.push(text::or_nothing((!words.is_empty()).then(|| words.join(", "))));
        }
        table.add_row(cells);
    }
    table
}
