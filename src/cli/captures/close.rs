//! `holdfast captures close`: ends a capture in doubt by hand.

use std::fmt::Write as _;

use super::find_one;
use crate::capture::records::{Authorization, Capture};
use crate::capture::states::CaptureState;
use crate::cli::confirm::confirm;
use crate::cli::{Context, Exit, Failure, ask, text};
use crate::ids::ShipmentId;
use crate::ledger::desk::What;
use crate::ledger::report::{CaptureStory, Report, Story};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast captures close 7f3a09c2 --captured pay-77123 --reason 'found in their back office'
  holdfast captures close ord-10042/shp-881 --unresolved --reason 'they cannot say, ticket 4711'

Only a capture in doubt can be closed, and it ends by itself once its provider shows what became of it:
close one only when you know more than the provider's API says, or cannot wait. As unresolved it keeps its
reservation and is never replayed. Evidence that comes later is booked, and published as a correction.";

/// Which capture, and as what.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("closing").required(true))]
pub(in crate::cli) struct Args {
    /// A capture in doubt: its UUID or the beginning of it, ORDER/SHIPMENT, or an order
    #[arg(value_name = "ID")]
    id: String,
    /// It was captured: the provider's id of the capture, as it shows it
    #[arg(long, value_name = "REFERENCE", group = "closing", value_parser = reference)]
    captured: Option<String>,
    /// Nobody can say what became of it
    #[arg(long, group = "closing")]
    unresolved: bool,
    /// Why, for whoever looks next; published with an unresolved capture
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// What events carry of a provider's id: 64 characters at most, none of them a control character.
fn reference(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 64 || text.chars().any(char::is_control) {
        return Err("is not a provider's id of a capture: 1 to 64 characters, without control characters".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn run(args: Args, report: &Report, context: &mut Context) -> Result<Exit, Failure> {
    let Args { id, captured, unresolved: _, reason, yes } = args;
    let policy = context.settings()?.policy;
    let story = find_one(&id, report, &policy)?;
    let told = which(&id, &story)?;
    confirm(&consequences(&story, told, captured.as_deref()), yes)?;
    let capture = &told.capture;
    let what = What::CloseCapture { row: capture.key.row(), capture: capture.id.to_string(), captured };
    ask::ask(what, &reason, context)
}

/// The one capture in doubt.
fn which<'a>(id: &str, story: &'a Story) -> Result<&'a CaptureStory, Failure> {
    let is_in_doubt = |capture: &Capture| match capture.state {
        CaptureState::Sending | CaptureState::InDoubt => true,
        CaptureState::Planned | CaptureState::Captured | CaptureState::Failed | CaptureState::Unresolved => false,
    };
    let mut in_doubt = story.captures.iter().filter(|told| is_in_doubt(&told.capture));
    match (in_doubt.next(), in_doubt.next()) {
        (Some(told), None) => Ok(told),
        (Some(_), Some(_)) => {
            let ids = story.captures.iter().map(|told| &told.capture).filter(|capture| is_in_doubt(capture));
            let ids: Vec<String> = ids.map(|capture| capture.id.to_string()).collect();
            let message = format!("it has several captures in doubt: name one of {}", ids.join(", "));
            Err(Failure::new(Exit::Wrong, message))
        }
        (None, _) => {
            let states: Vec<&str> = story.captures.iter().map(|told| told.capture.state.as_str()).collect();
            let states =
                if states.is_empty() { "it has none".to_owned() } else { format!("it is {}", states.join(", ")) };
            let id = text::harmless(id, false);
            let message = format!("`{id}` has no capture in doubt: {}, and that stands", states.replace('_', " "));
            Err(Failure::new(Exit::Wrong, message))
        }
    }
}

/// What closing it does, for whoever has to say yes.
fn consequences(story: &Story, told: &CaptureStory, captured: Option<&str>) -> String {
    let capture = &told.capture;
    let mut words = format!("capture       {}\norder         {}\n", capture.id, story.order.id);
    let shipments: Vec<&str> = told.shipments.iter().map(ShipmentId::as_str).collect();
    let shipments = if shipments.is_empty() { "none: it is a fee".to_owned() } else { shipments.join(", ") };
    // Writing to a string does not fail.
    let _ = writeln!(words, "shipments     {shipments}\namount        {}", capture.amount);
    if let Some(record) = story.authorization(capture.authorization) {
        let _ = writeln!(words, "authorization {} {}{}", record.account, record.reference, at_provider(record));
    }
    let seen = capture.progress.last_seen.as_deref().unwrap_or("nothing");
    let _ = writeln!(words, "last seen     {}\n", text::harmless(seen, false));
    let events = told.shipments.len().max(1);
    let events = if events == 1 { "one event".to_owned() } else { format!("{events} events") };
    let what = match captured {
        Some(reference) => format!(
            "It will be booked as captured, with the provider's {}, and capture.succeeded published ({events}).\n\
             If that is not so, consumers are told of money that nobody has.",
            text::harmless(reference, false)
        ),
        None => format!(
            "It will be closed without an answer, and capture.unresolved published ({events}).\n\
             Its amount stays reserved on the authorization, and it can never be replayed."
        ),
    };
    words + &what + "\nThis cannot be taken back."
}

fn at_provider(record: &Authorization) -> String {
    let parts = [(record.provider.captured, "captured"), (record.provider.remaining, "left")];
    let parts: Vec<String> =
        parts.into_iter().filter_map(|(amount, word)| Some(format!("{} {word}", amount?))).collect();
    if parts.is_empty() { String::new() } else { format!("; the provider's last word: {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::report::example::Example;

    #[test]
    fn whoever_has_to_say_yes_is_told_everything() {
        let example = Example::new();
        let story = find_one("ord-1001/s2", &example.report(), &example.policy).unwrap();
        let told = which("ord-1001/s2", &story).unwrap();
        let captured = consequences(&story, told, Some("pay-9\u{1b}"));
        let unresolved = consequences(&story, told, None);
        insta::assert_snapshot!("close", format!("{captured}\n\n----\n\n{unresolved}"));
    }
}
