//! `holdfast authorizations show`: one authorization in our books and in its provider's word.

use comfy_table::Table;
use serde::Serialize;

use crate::capture::records::{Authorization, ForeignStanding};
use crate::cli::text::{self, Amount, Instant};
use crate::cli::{Context, Exit, Failure, Format, OrExit, table};
use crate::clock::Timestamp;
use crate::ids::{AccountName, Reference};
use crate::ledger::report::{AuthorizationStory, Report};
use crate::money::Money;

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast authorizations show 3f0f8c4e-6f0b-4b52-9c0e-0a8a9a7f1d11
  holdfast authorizations show ord-10042 --account flitt-ge --output json";

/// Which.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// What the provider calls it: its order id or transaction id
    #[arg(value_name = "REF", required = true, value_parser = Reference::parse)]
    references: Vec<Reference>,
    /// Only of this account
    #[arg(long, value_name = "NAME", value_parser = AccountName::parse)]
    account: Option<AccountName>,
}

pub(super) fn run(args: &Args, report: &Report, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let mut found = Vec::new();
    for reference in &args.references {
        found.extend(find(report, reference, args.account.as_ref())?);
    }
    if context.output.format() == Format::Json {
        let views: Vec<View<'_>> = found.iter().map(View::from).collect();
        context.output.json(&views)?;
        return Ok(Exit::Done);
    }
    for (number, story) in found.iter().enumerate() {
        if number > 0 {
            context.output.line("")?;
        }
        for line in heading(story, now) {
            context.output.line(&line)?;
        }
        context.output.table(balances(&story.record))?;
    }
    Ok(Exit::Done)
}

/// Those that are called so, at least one.
pub(super) fn find(
    report: &Report,
    reference: &Reference,
    account: Option<&AccountName>,
) -> Result<Vec<AuthorizationStory>, Failure> {
    let found = report.authorizations_called(reference, account).or_exit(Exit::Ledger)?;
    if found.is_empty() {
        let message = format!(
            "the ledger has no authorization `{reference}`: give the provider's id of it, as \
             `holdfast authorizations list` shows it"
        );
        return Err(Failure::new(Exit::Wrong, message));
    }
    Ok(found)
}

fn heading(story: &AuthorizationStory, now: Timestamp) -> Vec<String> {
    let record = &story.record;
    let expiry = record.expires_at.map(|at| text::instant_and_distance(at, now));
    let derived = if record.expiry_is_derived { ", by the account's settings" } else { "" };
    let mut lines = vec![
        format!("authorization {} {}, order {}", record.account, record.reference, story.order),
        format!("expires       {}{derived}", text::or_nothing(expiry)),
    ];
    if let Some(words) = foreign_words(record, now) {
        lines.push(format!("elsewhere     {words}"));
    }
    if !story.planned.is_empty() {
        lines.push(format!("planned       {}", planned_words(story)));
    }
    lines.push(String::new());
    lines
}

/// What somebody else has captured, and what follows from it.
fn foreign_words(record: &Authorization, now: Timestamp) -> Option<String> {
    let foreign = record.watch.foreign?;
    let since = text::instant_and_distance(foreign.since, now);
    let next = record.watch.read_at.map(|at| format!("; read again at {}", text::instant_and_distance(at, now)));
    let next = next.unwrap_or_default();
    Some(match foreign.standing {
        ForeignStanding::Suspected => {
            format!("{} may have been captured by somebody else, since {since}{next}", foreign.amount)
        }
        ForeignStanding::Seen => {
            format!(
                "{} was captured by somebody else, seen once, at {since}; a second read halts it{next}",
                foreign.amount
            )
        }
        ForeignStanding::Halted => format!(
            "halted: {} was captured by somebody else, and nothing is sent on it since {since}{next}; lift it with \
             `holdfast authorizations resume`, or wait for its deadline margin",
            foreign.amount
        ),
        ForeignStanding::LetBe => {
            format!("{} was captured by somebody else, and let be, since {since}", foreign.amount)
        }
    })
}

/// The captures that wait, with their sum.
pub(super) fn planned_words(story: &AuthorizationStory) -> String {
    let amounts: Vec<String> = story.planned.iter().map(ToString::to_string).collect();
    amounts.join(", ")
}

fn balances(record: &Authorization) -> Table {
    let mut rows = table(&["", "OUR BOOKS", "THE PROVIDER"]);
    let told = |amount: Option<Money>| text::or_nothing(amount);
    let provider = &record.provider;
    rows.add_row(["authorized".to_owned(), record.authorized.to_string(), text::NOTHING.to_owned()]);
    rows.add_row(["captured".to_owned(), record.captured.to_string(), told(provider.captured)]);
    rows.add_row(["reserved".to_owned(), record.reserved.to_string(), text::NOTHING.to_owned()]);
    rows.add_row(["waiting".to_owned(), record.waiting_amount.to_string(), text::NOTHING.to_owned()]);
    rows.add_row(["voided".to_owned(), text::NOTHING.to_owned(), told(provider.voided)]);
    rows.add_row(["remaining".to_owned(), record.remaining().to_string(), told(provider.remaining)]);
    rows.add_row([
        "expires".to_owned(),
        text::or_nothing(record.expires_at.map(text::instant)),
        text::or_nothing(provider.expires_at.map(text::instant)),
    ]);
    rows
}

#[derive(Serialize)]
struct View<'a> {
    account: &'a str,
    reference: &'a str,
    order_id: &'a str,
    currency: String,
    authorized: Amount,
    captured: Amount,
    reserved: Amount,
    waiting: Amount,
    remaining: Amount,
    expires_at: Option<Instant>,
    expiry_is_derived: bool,
    provider_captured: Option<Amount>,
    provider_voided: Option<Amount>,
    provider_remaining: Option<Amount>,
    provider_expires_at: Option<Instant>,
    captured_elsewhere: Option<Amount>,
    elsewhere: Option<&'static str>,
    elsewhere_since: Option<Instant>,
    planned: Vec<Amount>,
    sending_or_in_doubt: u32,
    unresolved: u32,
    next_read_at: Option<Instant>,
}

impl<'a> From<&'a AuthorizationStory> for View<'a> {
    fn from(story: &'a AuthorizationStory) -> Self {
        let record = &story.record;
        let foreign = record.watch.foreign;
        Self {
            account: record.account.as_str(),
            reference: record.reference.as_str(),
            order_id: story.order.as_str(),
            currency: record.currency.to_string(),
            authorized: Amount(record.authorized),
            captured: Amount(record.captured),
            reserved: Amount(record.reserved),
            waiting: Amount(record.waiting_amount),
            remaining: Amount(record.remaining()),
            expires_at: record.expires_at.map(Instant),
            expiry_is_derived: record.expiry_is_derived,
            provider_captured: record.provider.captured.map(Amount),
            provider_voided: record.provider.voided.map(Amount),
            provider_remaining: record.provider.remaining.map(Amount),
            provider_expires_at: record.provider.expires_at.map(Instant),
            captured_elsewhere: foreign.map(|foreign| Amount(foreign.amount)),
            elsewhere: foreign.map(|foreign| foreign.standing.as_str()),
            elsewhere_since: foreign.map(|foreign| Instant(foreign.since)),
            planned: story.planned.iter().copied().map(Amount).collect(),
            sending_or_in_doubt: record.in_flight,
            unresolved: record.unresolved,
            next_read_at: record.watch.read_at.map(Instant),
        }
    }
}
