//! `holdfast captures`: what became of orders, shipments and captures.
//!
//! It reads, while a worker may be writing. To look at one at its provider, to close one by hand, and to
//! release one that a cap holds, it asks the worker.

mod close;
mod explain;
mod look;
mod release;
mod timeline;
mod view;
mod words;
mod working;

#[cfg(test)]
mod readme;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use comfy_table::Table;
use serde::Serialize;

use super::text::{self, Amount, Instant};
use super::{Context, Exit, Failure, Format, Listing, OrExit, table};
use crate::capture::event::FailureReason;
use crate::capture::policy::Policy;
use crate::capture::records::Capped;
use crate::clock::{self, Timestamp};
use crate::ids::{AccountName, OrderId, Reference, ShipmentId};
use crate::ledger::report::{
    About, AccountSummary, Found, IdPrefix, Report, ShipmentFilter, ShipmentSummary, Standing, Story,
};

const LIST_EXAMPLES: &str = "\
Examples:
  holdfast captures list --in-doubt
  holdfast captures list --held
  holdfast captures list --account flitt-ge --state failed --since 24h
  holdfast captures list --order ord-10042 --output json";

const SHOW_EXAMPLES: &str = "\
Examples:
  holdfast captures show ord-10042
  holdfast captures show ord-10042/shp-881
  holdfast captures show 7f3a09c2";

/// What to show.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List shipments, the last accepted first, each with what became of it.
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Tell the story of an order, a shipment or a capture.
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Have the worker read captures at their providers now, and settle on what they say.
    #[command(after_help = look::EXAMPLES)]
    Look(look::Args),
    /// End a capture in doubt by hand.
    #[command(after_help = close::EXAMPLES)]
    Close(close::Args),
    /// Let captures through that a cap of their account holds.
    #[command(after_help = release::EXAMPLES)]
    Release(release::Args),
}

/// Which shipments.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only this order
    #[arg(long, value_name = "ID", value_parser = OrderId::parse)]
    order: Option<OrderId>,
    /// Only shipments with this id
    #[arg(long, value_name = "ID", value_parser = ShipmentId::parse)]
    shipment: Option<ShipmentId>,
    /// Only this account
    #[arg(long, value_name = "NAME", value_parser = AccountName::parse)]
    account: Option<AccountName>,
    /// Only those that stand so
    #[arg(long, value_name = "STATE", value_parser = standing())]
    state: Option<Standing>,
    /// Only those whose money may have moved without our knowing; the same as --state `in_doubt`
    #[arg(long, conflicts_with = "state")]
    in_doubt: bool,
    /// Only those that a cap of their account holds; the same as --state held
    #[arg(long, conflicts_with_all = ["state", "in_doubt"])]
    held: bool,
    /// Only those accepted within this span, such as 24h
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    since: Option<Duration>,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

fn standing() -> impl TypedValueParser<Value = Standing> {
    PossibleValuesParser::new(Standing::ALL.map(Standing::as_str))
        .map(|word| Standing::parse(&word).expect("clap lets only these words through"))
}

/// Whose story.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// An order, ORDER/SHIPMENT, or a capture: its UUID or the beginning of it
    id: String,
}

pub(super) fn run(command: Command, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let report = context.report()?;
    match command {
        Command::List(args) => list(args, &report, now, context),
        Command::Show(args) => {
            let policy = context.settings()?.policy;
            show(&args.id, &report, &policy, now, context)
        }
        Command::Look(args) => look::run(&args, &report, context),
        Command::Close(args) => close::run(args, &report, context),
        Command::Release(args) => release::run(&args, &report, context),
    }
}

fn list(args: ListArgs, report: &Report, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let filter = ShipmentFilter {
        order: args.order,
        shipment: args.shipment,
        account: args.account,
        standing: match (args.in_doubt, args.held) {
            (true, _) => Some(Standing::InDoubt),
            (false, true) => Some(Standing::Held),
            (false, false) => args.state,
        },
        since: args.since.map(|span| clock::before(now, span)),
        limit: args.limit,
    };
    let page = report.shipments(&filter).or_exit(Exit::Ledger)?;
    let listing =
        Listing { name: "shipments", rows: page.rows.iter().map(Row::from).collect(), has_more: page.has_more };
    context.output.list(&listing, args.limit, "no shipment matches", |rows| listing_table(rows, now))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Row<'a> {
    order_id: &'a str,
    shipment_id: &'a str,
    generation: u32,
    account: Option<&'a str>,
    reference: Option<&'a str>,
    amount: Option<Amount>,
    currency: Option<String>,
    state: &'static str,
    reason: Option<&'static str>,
    held_by: Option<&'static str>,
    attempts: u32,
    capture_id: Option<String>,
    accepted_at: Instant,
}

impl<'a> From<&'a ShipmentSummary> for Row<'a> {
    fn from(summary: &'a ShipmentSummary) -> Self {
        Self {
            order_id: summary.order.as_str(),
            shipment_id: summary.shipment.as_str(),
            generation: summary.generation,
            account: summary.account.as_ref().map(AccountName::as_str),
            reference: summary.reference.as_ref().map(Reference::as_str),
            amount: summary.amount.map(Amount),
            currency: summary.amount.map(|amount| amount.currency().to_string()),
            state: summary.standing.as_str(),
            reason: summary.reason.map(FailureReason::as_str),
            held_by: summary.held_by.map(Capped::as_str),
            attempts: summary.attempts,
            capture_id: summary.capture.map(|id| id.to_string()),
            accepted_at: Instant(summary.accepted_at),
        }
    }
}

fn listing_table(rows: &[Row<'_>], now: Timestamp) -> Table {
    let mut table = table(&[
        "ORDER",
        "SHIPMENT",
        "ACCOUNT",
        "AMOUNT",
        "STATE",
        "REASON",
        "ATTEMPTS",
        "CAPTURE",
        "ACCEPTED (UTC)",
        "AGE",
    ]);
    for row in rows {
        table.add_row([
            row.order_id.to_owned(),
            row.shipment_id.to_owned(),
            text::or_nothing(row.account),
            text::or_nothing(row.amount.map(|Amount(amount)| amount)),
            row.state.to_owned(),
            text::or_nothing(row.reason.map(str::to_owned).or_else(|| Some(format!("cap: {}", row.held_by?)))),
            row.attempts.to_string(),
            row.capture_id.as_deref().map_or_else(|| text::NOTHING.to_owned(), |id| id.chars().take(8).collect()),
            text::instant(row.accepted_at.0),
            text::span(row.accepted_at.0, now),
        ]);
    }
    table
}

/// A story, and what stands around it.
struct Surroundings<'a> {
    story: &'a Story,
    policy: &'a Policy,
    /// Where accounts stand, as their worker last said.
    accounts: BTreeMap<AccountName, AccountSummary>,
    now: Timestamp,
}

fn show(id: &str, report: &Report, policy: &Policy, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let story = find_one(id, report, policy)?;
    let accounts = report.accounts().or_exit(Exit::Ledger)?;
    let around = Surroundings { story: &story, policy, accounts, now };
    match context.output.format() {
        Format::Json => context.output.json(&view::view(&around))?,
        Format::Table => timeline::show(&around, &mut context.output)?,
    }
    Ok(Exit::Done)
}

fn find_one(id: &str, report: &Report, policy: &Policy) -> Result<Story, Failure> {
    find(id, report, policy)?.ok_or_else(|| {
        let message = format!(
            "the ledger has no order, shipment or capture `{}`: give an order, ORDER/SHIPMENT, or at least {} digits \
             of a capture's id. A shipment that was refused, or owed nothing, has no capture: look for its order. A \
             message that was set aside is in `holdfast dead-letters list`",
            text::harmless(id, false),
            IdPrefix::DIGITS_MIN
        );
        Failure::new(Exit::Wrong, message)
    })
}

/// An order comes first, since it may be called by a number; its id may contain a slash, too.
fn find(id: &str, report: &Report, policy: &Policy) -> Result<Option<Story>, Failure> {
    for about in named(id) {
        if let Some(story) = report.story(&about, policy).or_exit(Exit::Ledger)? {
            return Ok(Some(story));
        }
    }
    let Some(prefix) = IdPrefix::parse(id) else { return Ok(None) };
    match report.find_capture(prefix).or_exit(Exit::Ledger)? {
        Found::Nothing => Ok(None),
        Found::One(capture) => report.story(&About::Capture(capture), policy).or_exit(Exit::Ledger),
        Found::Several(ids) => Err(several(id, &ids)),
    }
}

/// The orders and shipments that this text may name.
fn named(id: &str) -> impl Iterator<Item = About> {
    let shipments = id.match_indices('/').filter_map(|(slash, _)| {
        let order = OrderId::parse(&id[..slash]).ok()?;
        Some(About::Shipment(order, ShipmentId::parse(&id[slash + 1..]).ok()?))
    });
    OrderId::parse(id).map(About::Order).into_iter().chain(shipments)
}

/// The beginning of an id that does not say which one is meant.
pub(super) fn several(beginning: &str, ids: &[uuid::Uuid]) -> Failure {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let message = format!("more than one id begins with `{beginning}`: give more digits, as of {}", ids.join(", "));
    Failure::new(Exit::Wrong, message)
}
