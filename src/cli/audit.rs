//! `holdfast audit`: the ledger against the provider's books, or against the order system's.
//!
//! It reads, and changes nothing, here or there. What agrees is counted, what differs is listed.

mod file;
mod provider;
mod shelf;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use comfy_table::Table;
use indicatif::ProgressBar;
use serde::Serialize;

use super::sums::Sum;
use super::text::{self, Amount};
use super::{Context, Exit, Failure, Format, OrExit, Output, progress_bar, table};
use crate::audit::Difference;
use crate::clock::{self, Timestamp};
use crate::ids::{AccountName, Reference};
use crate::ledger::report::Report;
use crate::settings::Settings;

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast audit
  holdfast audit --account flex --rate 200
  holdfast audit --after 48211
  holdfast audit --shipments shipped.csv
  holdfast audit --shipments november.csv --complete-for 30d

Every authorization in the ledger is read from its provider, and what was captured on it compared. The
worker may go on meanwhile: what is open is counted and left out, and a difference is looked at twice
before it is told. Ctrl-C ends it with what was found so far, and says how to go on. How long it takes is
the number of authorizations by --rate.

The file for --shipments is CSV with a header line, or one JSON object per line, with order_id,
shipment_id, and if it is to be compared amount (a decimal such as 119.00) and currency. It is held
against the ledger only. It should have every shipment of the orders that it names. Where it has every
shipment of some time, --complete-for tells of the orders that it lacks, too.

Differences: missing_in_ledger, missing_at_provider, amount_differs, duplicate, foreign (not ours, or
not in the file), not_captured (ended without its money). Exit code 1 if there are any, 3 if something
could not be read.";

/// Which books.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Compare with this file of shipments instead of the provider's books
    #[arg(long, value_name = "FILE", conflicts_with_all = ["account", "after", "rate", "concurrency"])]
    shipments: Option<PathBuf>,
    /// The file has every shipment that was accepted so long ago or later: look for orders that it lacks
    #[arg(long, value_name = "SPAN", requires = "shipments", value_parser = text::parse_span)]
    complete_for: Option<Duration>,
    /// Only this account
    #[arg(long, value_name = "NAME", value_parser = AccountName::parse)]
    account: Option<AccountName>,
    /// Go on behind this place, where an audit has stopped
    #[arg(long, value_name = "PLACE", default_value = "0", value_parser = clap::value_parser!(i64).range(0..))]
    after: i64,
    /// Reads a second, at most; the worker's own come on top
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Reads under way at the same time, at most
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: u16,
}

pub(super) async fn run(args: Args, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let mut verdict = if let Some(path) = &args.shipments {
        let since = args.complete_for.map(|span| clock::before(now, span));
        file::audit(path, since, context)?
    } else {
        let (settings, report) = (context.settings()?, context.report()?);
        provider::audit(&args, &settings, report, context.output.is_terminal()).await?
    };
    verdict.took = Some(Took(begun.elapsed()));
    match context.output.format() {
        Format::Json => context.output.json(&verdict)?,
        Format::Table => verdict.show(&mut context.output)?,
    }
    Ok(verdict.exit())
}

/// Audits everything at a pace that only a pretend provider bears, shows the verdict, and says whether
/// nothing is wrong.
pub(super) async fn audit_all(settings: &Settings, output: &mut Output) -> Result<bool, Failure> {
    let args = Args { shipments: None, complete_for: None, account: None, after: 0, rate: 1_000, concurrency: 8 };
    let report = Report::open(&settings.ledger).or_exit(Exit::Ledger)?;
    let verdict = provider::audit(&args, settings, report, false).await?;
    verdict.show(output)?;
    Ok(verdict.exit() == Exit::Done)
}

/// What an audit came to.
#[derive(Debug, Default, Serialize)]
struct Verdict {
    /// What is compared, and with what.
    #[serde(skip)]
    what: &'static str,
    #[serde(skip)]
    other: &'static str,
    /// What agrees: captures or shipments.
    agreed: u64,
    /// How much agrees, by currency.
    agreed_amounts: Vec<Sum>,
    /// What is open in the ledger, and was not compared.
    open: u64,
    differences: Vec<Row>,
    /// Authorizations that could not be read.
    unread: Vec<Unread>,
    /// Where to go on; absent where it has come to its end.
    stopped_after: Option<i64>,
    /// How long it took, where that is told.
    #[serde(rename = "seconds")]
    took: Option<Took>,
}

/// How long something took. For programs: seconds, to the millisecond.
#[derive(Debug, Clone, Copy)]
struct Took(Duration);

impl Took {
    fn to(self, millis: u128) -> Duration {
        Duration::from_millis(u64::try_from(self.0.as_millis() / millis * millis).unwrap_or(u64::MAX))
    }
}

impl Serialize for Took {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let took = self.to(1);
        // From its digits: a sum of seconds and their parts would show what is beyond the millisecond.
        let seconds = format!("{}.{:03}", took.as_secs(), took.subsec_millis()).parse();
        serializer.serialize_f64(seconds.unwrap_or_default())
    }
}

/// One difference.
#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    account: Option<String>,
    reference: Option<String>,
    order_id: Option<String>,
    shipment_id: Option<String>,
    capture_id: Option<String>,
    ledger: Option<Sum>,
    other: Option<Sum>,
    detail: String,
}

/// An authorization that could not be read.
#[derive(Debug, Serialize)]
struct Unread {
    account: String,
    reference: String,
    why: String,
}

impl Row {
    fn new(at: Option<(&AccountName, &Reference)>, difference: Difference) -> Self {
        Self {
            kind: difference.kind.as_str(),
            account: at.map(|(account, _)| account.to_string()),
            reference: at.map(|(_, reference)| reference.to_string()),
            order_id: difference.order.map(|id| id.to_string()),
            shipment_id: difference.shipment.map(|id| id.to_string()),
            capture_id: difference.capture.map(|id| id.to_string()),
            ledger: difference.ours.map(Sum::from),
            other: difference.theirs.map(Sum::from),
            detail: difference.detail,
        }
    }
}

impl Verdict {
    fn exit(&self) -> Exit {
        match (self.differences.is_empty(), self.unread.is_empty() && self.stopped_after.is_none()) {
            (false, _) => Exit::Wrong,
            (true, false) => Exit::Unreachable,
            (true, true) => Exit::Done,
        }
    }

    fn show(&self, output: &mut Output) -> Result<(), Failure> {
        if !self.differences.is_empty() {
            output.table(differences_table(&self.differences, self.other))?;
            output.line("")?;
        }
        for unread in self.unread.iter().take(UNREAD_SHOWN) {
            let why = text::harmless(&unread.why, false);
            output.line(&format!("not read: {} {}: {why}", unread.account, unread.reference))?;
        }
        if self.unread.len() > UNREAD_SHOWN {
            output.line(&format!("and {} more that were not read", self.unread.len() - UNREAD_SHOWN))?;
        }
        let sums: Vec<_> = self.agreed_amounts.iter().map(|Sum { amount: Amount(sum), .. }| sum.to_string()).collect();
        let sums = if sums.is_empty() { String::new() } else { format!(": {}", sums.join(", ")) };
        output.line(&format!("agreed       {} {}{sums}", self.agreed, self.what))?;
        output.line(&format!("open         {} (not compared)", self.open))?;
        output.line(&format!("differences  {}", self.differences.len()))?;
        if let Some(took) = self.took {
            output.line(&format!("time         {}", humantime::format_duration(took.to(100))))?;
        }
        if let Some(after) = self.stopped_after {
            output.line(&format!("\nstopped before its end; go on with: holdfast audit --after {after}"))?;
        }
        Ok(())
    }
}

/// As many of those that were not read are named for people.
const UNREAD_SHOWN: usize = 10;

fn differences_table(rows: &[Row], other: &str) -> Table {
    let other = other.to_uppercase();
    let mut table =
        table(&["DIFFERENCE", "ACCOUNT", "AUTHORIZATION", "ORDER", "SHIPMENT", "CAPTURE", "LEDGER", &other, "DETAIL"]);
    let side = |side: &Option<Sum>| text::or_nothing(side.as_ref().map(|Sum { amount: Amount(money), .. }| money));
    for row in rows {
        table.add_row([
            row.kind.to_owned(),
            text::or_nothing(row.account.as_ref()),
            text::or_nothing(row.reference.as_ref()),
            text::or_nothing(row.order_id.as_ref()),
            text::or_nothing(row.shipment_id.as_ref()),
            row.capture_id.as_deref().map_or_else(|| text::NOTHING.to_owned(), |id| id.chars().take(8).collect()),
            side(&row.ledger),
            side(&row.other),
            text::harmless(&row.detail, false),
        ]);
    }
    table
}

fn progress(total: u64, what: &str, is_terminal: bool) -> ProgressBar {
    progress_bar(
        Some(total),
        &format!("{{bar:40}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left {{msg}}"),
        is_terminal,
    )
}
