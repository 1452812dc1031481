//! `holdfast authorizations resume`: lets somebody else's captures be, and goes on beside them.

use serde::Serialize;

use super::show::{find, planned_words};
use crate::capture::records::ForeignStanding;
use crate::cli::confirm::confirm;
use crate::cli::{Context, Exit, Failure, Format, ask, text};
use crate::ids::{AccountName, Reference};
use crate::ledger::desk::{Answer, What};
use crate::ledger::report::{AuthorizationStory, Report};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast authorizations resume 3f0f8c4e-6f0b-4b52-9c0e-0a8a9a7f1d11 --reason 'captured by support, by hand'

What fits beside the foreign captures is sent; the rest is refused, and can be replayed on another
authorization. The halt does not come back for the same money, and comes back for more of it.";

/// Which, and why.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// What the provider calls it: its transaction id
    #[arg(value_name = "REF", required = true, value_parser = Reference::parse)]
    references: Vec<Reference>,
    /// Only of this account
    #[arg(long, value_name = "NAME", value_parser = AccountName::parse)]
    account: Option<AccountName>,
    /// Why, for whoever looks next
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Resumed {
    account: String,
    reference: String,
    done: bool,
    message: String,
}

pub(super) fn run(args: &Args, report: &Report, context: &mut Context) -> Result<Exit, Failure> {
    let mut meant = Vec::new();
    for reference in &args.references {
        meant.push(halted(report, reference, args.account.as_ref())?);
    }
    let words: Vec<String> = meant.iter().map(consequences).collect();
    confirm(&words.join("\n\n"), args.yes)?;
    let mut answers = Vec::new();
    for AuthorizationStory { record, .. } in meant {
        let (account, reference) = (record.account.to_string(), record.reference.to_string());
        let what =
            What::ResumeAuthorization { row: record.key.row(), account: account.clone(), reference: reference.clone() };
        let (_, Answer { done, message }) = ask::request(what, &args.reason, context)?;
        context.output.line(&format!("{account} {reference}: {}", text::harmless(&message, false)))?;
        answers.push(Resumed { account, reference, done, message });
    }
    if context.output.format() == Format::Json {
        context.output.json(&answers)?;
    }
    Ok(if answers.iter().all(|answer| answer.done) { Exit::Done } else { Exit::Wrong })
}

/// The one that is called so and halted.
fn halted(
    report: &Report,
    reference: &Reference,
    account: Option<&AccountName>,
) -> Result<AuthorizationStory, Failure> {
    let found = find(report, reference, account)?;
    let is_halted = |story: &AuthorizationStory| {
        story.record.watch.foreign.is_some_and(|foreign| foreign.standing == ForeignStanding::Halted)
    };
    let mut halted = found.into_iter().filter(is_halted);
    match (halted.next(), halted.next()) {
        (Some(story), None) => Ok(story),
        (Some(_), Some(_)) => {
            let message = format!("`{reference}` is halted at several accounts: say which with --account");
            Err(Failure::new(Exit::Wrong, message))
        }
        (None, _) => Err(Failure::new(Exit::Wrong, format!("`{reference}` is not halted: there is nothing to resume"))),
    }
}

/// What resuming it does, for whoever has to say yes.
fn consequences(story: &AuthorizationStory) -> String {
    let record = &story.record;
    let foreign = record.watch.foreign.map_or_else(|| text::NOTHING.to_owned(), |foreign| foreign.amount.to_string());
    let left = text::or_nothing(record.provider.remaining);
    let planned = if story.planned.is_empty() { "nothing".to_owned() } else { planned_words(story) };
    format!(
        "authorization {} {}\norder         {}\nelsewhere     {foreign} captured by somebody else, {left} left at the \
         provider\nplanned       {planned}\n\nWhat fits will be sent, in its turn; the rest will be refused, and \
         capture.failed published.",
        record.account, record.reference, story.order
    )
}
