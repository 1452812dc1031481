//! `holdfast dead-letters`: what was set aside and why, and trying it again.
//!
//! What it shows it reads, while a worker may be writing. What it changes it asks of the worker.

// which dead letters
mod choice;

// by cause
mod groups;

// trying again
mod follow;
mod replay;
mod replays;
mod verdict;

// forgetting, and taking back
mod discard;

// into files
mod export;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Subcommand;
use comfy_table::Table;
use serde::Serialize;

use super::captures::several;
use super::text::{self, Amount, Instant};
use super::{Context, Exit, Failure, Format, Listing, OrExit, Output, ask, output, table};
use crate::capture::dead_letter::DeadLetter;
use crate::capture::notice::RawMessage;
use crate::capture::records::JobKey;
use crate::clock::Timestamp;
use crate::ids::{AccountName, OrderId, ShipmentId};
use crate::ledger::report::{DeadLetterFilter, Found, IdPrefix, Report, WholeDeadLetter};
use choice::Filter;

const LIST_EXAMPLES: &str = "\
Examples:
  holdfast dead-letters list
  holdfast dead-letters list --for declined --account flitt-ge --since 24h
  holdfast dead-letters list --fingerprint 5b0c1f22a9d4 --state all --output json";

const SHOW_EXAMPLES: &str = "\
Examples:
  holdfast dead-letters show 1a2b3c4d
  holdfast dead-letters show 1a2b3c4d --raw > body";

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what was set aside, the last seen first.
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Count what was set aside by cause, with what it comes to.
    #[command(after_help = groups::EXAMPLES)]
    Groups(groups::Args),
    /// Show one dead letter with its message.
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Try dead letters again, a few first; or watch, hold and stop that.
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Args),
    /// List replays: who tried what again, when and why.
    #[command(after_help = replays::EXAMPLES)]
    Replays,
    /// Forget dead letters. They stay where they are, and can be taken back.
    #[command(after_help = discard::DISCARD_EXAMPLES)]
    Discard(discard::Args),
    /// Take discarded dead letters back.
    #[command(after_help = discard::RESTORE_EXAMPLES)]
    Restore(discard::Args),
    /// Write the messages of dead letters into files, as they came.
    #[command(after_help = export::EXAMPLES)]
    Export(export::Args),
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only those set aside for this reason
    #[arg(long = "for", visible_alias = "reason", value_name = "REASON", value_parser = choice::reason())]
    set_aside_for: Option<&'static str>,
    #[command(flatten)]
    filter: Filter,
    /// Only those in this state
    #[arg(long, value_name = "STATE", default_value = "open", value_parser = choice::states())]
    state: choice::States,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Which dead letter.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Its UUID or the beginning of it
    id: String,
    /// Write nothing but the bytes of the message, as they came
    #[arg(long)]
    raw: bool,
}

pub(super) fn run(command: Command, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::List(args) => list(&args, &context.report()?, now, context),
        Command::Groups(args) => groups::run(&args, now, context),
        Command::Show(args) => show(&args, &context.report()?, now, context),
        Command::Replay(args) => replay::run(&args, now, context),
        Command::Replays => replays::run(now, context),
        Command::Discard(args) => discard::run(&args, discard::Change::Discard, now, context),
        Command::Restore(args) => discard::run(&args, discard::Change::Restore, now, context),
        Command::Export(args) => export::run(&args, now, context),
    }
}

fn list(args: &ListArgs, report: &Report, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let choice = args.filter.choice(args.set_aside_for, now);
    let filter = DeadLetterFilter { choice, state: args.state.0, limit: args.limit };
    let page = report.dead_letters(&filter).or_exit(Exit::Ledger)?;
    let listing =
        Listing { name: "dead_letters", rows: page.rows.iter().map(Row::from).collect(), has_more: page.has_more };
    context.output.list(&listing, args.limit, "no dead letter matches", |rows| listing_table(rows, now))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Row<'a> {
    dead_letter_id: String,
    reason: &'static str,
    provider_code: Option<&'a str>,
    path: Option<&'a str>,
    message: &'a str,
    fingerprint: &'a str,
    order_id: Option<&'a str>,
    shipment_id: Option<&'a str>,
    account: Option<&'a str>,
    generation: u32,
    amount: Option<Amount>,
    currency: Option<String>,
    first_seen_at: Instant,
    last_seen_at: Instant,
    count: u32,
    state: &'static str,
    replay: Option<i64>,
}

impl<'a> From<&'a DeadLetter> for Row<'a> {
    fn from(letter: &'a DeadLetter) -> Self {
        Self {
            dead_letter_id: letter.id.to_string(),
            reason: letter.reason,
            provider_code: letter.provider_code.as_deref(),
            path: Some(letter.path.as_str()).filter(|path| !path.is_empty()),
            message: &letter.message,
            fingerprint: &letter.fingerprint,
            order_id: letter.order.as_ref().map(OrderId::as_str),
            shipment_id: letter.shipment.as_ref().map(ShipmentId::as_str),
            account: letter.account.as_ref().map(AccountName::as_str),
            generation: letter.generation,
            amount: letter.amount.map(Amount),
            currency: letter.amount.map(|amount| amount.currency().to_string()),
            first_seen_at: Instant(letter.first_seen_at),
            last_seen_at: Instant(letter.last_seen_at),
            count: letter.count,
            state: letter.state.as_str(),
            replay: letter.job.map(JobKey::row),
        }
    }
}

fn listing_table(rows: &[Row<'_>], now: Timestamp) -> Table {
    let mut table = table(&[
        "ID",
        "REASON",
        "ORDER",
        "SHIPMENT",
        "ACCOUNT",
        "AMOUNT",
        "STATE",
        "COUNT",
        "LAST SEEN (UTC)",
        "AGE",
        "FINGERPRINT",
        "MESSAGE",
    ]);
    for row in rows {
        table.add_row([
            row.dead_letter_id.chars().take(8).collect(),
            row.reason.to_owned(),
            text::or_nothing(row.order_id),
            text::or_nothing(row.shipment_id),
            text::or_nothing(row.account),
            text::or_nothing(row.amount.map(|Amount(amount)| amount)),
            row.state.to_owned(),
            row.count.to_string(),
            text::instant(row.last_seen_at.0),
            text::span(row.last_seen_at.0, now),
            row.fingerprint.to_owned(),
            what_is_wrong(row),
        ]);
    }
    table
}

fn what_is_wrong(row: &Row<'_>) -> String {
    let before = row.path.or(row.provider_code).map(|before| format!("{before}: ")).unwrap_or_default();
    text::harmless(&format!("{before}{}", row.message), false)
}

fn show(args: &ShowArgs, report: &Report, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let letter = find(&args.id, report)?;
    if args.raw {
        let message = letter.letter.raw.ok_or_else(|| {
            let why = "no message is kept for this dead letter, so there are no bytes to write: show it without --raw";
            Failure::new(Exit::Wrong, why)
        })?;
        context.output.bytes(&message.body)?;
        return Ok(Exit::Done);
    }
    match context.output.format() {
        Format::Json => context.output.json(&Whole::from(&letter))?,
        Format::Table => show_for_people(&letter, now, &mut context.output)?,
    }
    Ok(Exit::Done)
}

fn find(id: &str, report: &Report) -> Result<WholeDeadLetter, Failure> {
    let found = match IdPrefix::parse(id) {
        None => Found::Nothing,
        Some(prefix) => report.find_dead_letter(prefix).or_exit(Exit::Ledger)?,
    };
    let letter = match found {
        Found::One(found) => report.dead_letter(found).or_exit(Exit::Ledger)?,
        Found::Several(ids) => return Err(several(id, &ids)),
        Found::Nothing => None,
    };
    letter.ok_or_else(|| {
        let message = format!(
            "there is no dead letter `{}`: give its id, or at least the first {} digits of it; `holdfast dead-letters \
             list --state all` shows them",
            text::harmless(id, false),
            IdPrefix::DIGITS_MIN
        );
        Failure::new(Exit::Wrong, message)
    })
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    origin: Option<Origin<'a>>,
    /// As text, untouched; null where it is not UTF-8, or none is kept.
    body: Option<&'a str>,
    /// Only where the body is not UTF-8.
    body_base64: Option<String>,
    body_sha256: Option<String>,
    body_is_cut: bool,
}

#[derive(Serialize)]
struct Origin<'a> {
    exchange: &'a str,
    routing_key: &'a str,
    message_id: Option<&'a str>,
    content_type: Option<&'a str>,
    traceparent: Option<&'a str>,
    redelivered: bool,
}

impl<'a> From<&'a RawMessage> for Origin<'a> {
    fn from(message: &'a RawMessage) -> Self {
        Self {
            exchange: &message.exchange,
            routing_key: &message.routing_key,
            message_id: message.message_id.as_deref(),
            content_type: message.content_type.as_deref(),
            traceparent: message.traceparent.as_deref(),
            redelivered: message.redelivered,
        }
    }
}

impl<'a> From<&'a WholeDeadLetter> for Whole<'a> {
    fn from(whole: &'a WholeDeadLetter) -> Self {
        let body = whole.letter.raw.as_ref().map(|message| &*message.body);
        let as_text = body.and_then(|body| str::from_utf8(body).ok());
        Self {
            row: Row::from(&whole.letter),
            origin: whole.letter.raw.as_ref().map(Origin::from),
            body: as_text,
            body_base64: body.filter(|_| as_text.is_none()).map(|body| BASE64.encode(body)),
            body_sha256: whole.sha256.map(|hash| text::hex(&hash)),
            body_is_cut: whole.is_cut(),
        }
    }
}

fn show_for_people(whole: &WholeDeadLetter, now: Timestamp, output: &mut Output) -> Result<(), Failure> {
    let letter = &whole.letter;
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push(format!("{name:<14}  {}", text::harmless(&value, false)));
        }
    };
    fact("dead letter", Some(letter.id.to_string()));
    fact("state", Some(letter.state.as_str().to_owned()));
    fact("reason", Some(letter.reason.to_owned()));
    fact("provider code", letter.provider_code.clone());
    fact("path", Some(letter.path.clone()));
    fact("message", Some(letter.message.clone()));
    fact("fingerprint", Some(letter.fingerprint.clone()));
    fact("order", letter.order.as_ref().map(ToString::to_string));
    fact("shipment", letter.shipment.as_ref().map(ToString::to_string));
    fact("account", letter.account.as_ref().map(ToString::to_string));
    fact("amount", letter.amount.map(|amount| amount.to_string()));
    fact("generation", Some(letter.generation).filter(|number| *number > 0).map(|number| number.to_string()));
    fact("replay", letter.job.map(|job| job.row().to_string()));
    fact("first seen", Some(text::instant_and_distance(letter.first_seen_at, now)));
    fact("last seen", Some(text::instant_and_distance(letter.last_seen_at, now)));
    fact("count", Some(letter.count.to_string()));
    if let Some(origin) = &letter.raw {
        let redelivered = if origin.redelivered { ", redelivered" } else { "" };
        fact("origin", Some(format!("exchange {}, key {}{redelivered}", origin.exchange, origin.routing_key)));
        fact("message id", origin.message_id.clone());
        fact("content type", origin.content_type.clone());
        fact("traceparent", origin.traceparent.clone());
    }
    fact("body sha-256", whole.sha256.map(|hash| text::hex(&hash)));
    output.line(&format!("{}\n", facts.join("\n")))?;
    match &letter.raw {
        None => output.line("no message is kept for it"),
        Some(message) => show_body(&message.body, whole.is_cut(), output),
    }
}

fn show_body(body: &[u8], is_cut: bool, output: &mut Output) -> Result<(), Failure> {
    if is_cut {
        output.line(&format!("only the first {} bytes of the body are kept:", body.len()))?;
    }
    match (text::indented_json(body), str::from_utf8(body)) {
        (Some(indented), _) => output.line(&text::harmless(&indented, true)),
        (None, Ok(plain)) => output.line(&text::harmless(plain, true)),
        (None, Err(_)) => output
            .line(&format!("the body is {} bytes that are not UTF-8: `--raw` writes them as they came", body.len())),
    }
}
