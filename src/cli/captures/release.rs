//! `holdfast captures release`: lets captures through that a cap of their account holds.

use serde::Serialize;

use super::find_one;
use crate::capture::records::Capture;
use crate::cli::confirm::confirm;
use crate::cli::{Context, Exit, Failure, Format, ask, text};
use crate::ledger::desk::{Answer, What};
use crate::ledger::report::{CaptureStory, Report, Story};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast captures release ord-10042/shp-881 --reason 'a large order, confirmed by the shop'
  holdfast captures release 7f3a09c2 b41c55d0 --yes --reason 'the campaign, ticket 4711'

What is released is sent whatever the caps of its account, and counts against them for what comes later.
What waits for the hour or the day goes on by itself when there is room.";

/// Which captures, and why.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A held capture: its UUID or the beginning of it, ORDER/SHIPMENT, or an order
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Why, for whoever looks next
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Released {
    capture_id: String,
    done: bool,
    message: String,
}

pub(super) fn run(args: &Args, report: &Report, context: &mut Context) -> Result<Exit, Failure> {
    let policy = context.settings()?.policy;
    let stories = args.ids.iter().map(|id| find_one(id, report, &policy)).collect::<Result<Vec<_>, _>>()?;
    let mut held = Vec::new();
    for (id, story) in args.ids.iter().zip(&stories) {
        held.extend(which(id, story)?.into_iter().map(|told| (story, told)));
    }
    let words: Vec<String> = held.iter().map(|(story, told)| consequences(story, told)).collect();
    confirm(&format!("{}\n\nThe money will be captured.", words.join("\n\n")), args.yes)?;
    let mut answers = Vec::new();
    for (_, CaptureStory { capture, .. }) in held {
        let capture_id = capture.id.to_string();
        let what = What::ReleaseCapture { row: capture.key.row(), capture: capture_id.clone() };
        let (_, Answer { done, message }) = ask::request(what, &args.reason, context)?;
        context.output.line(&format!("{capture_id}: {}", text::harmless(&message, false)))?;
        answers.push(Released { capture_id, done, message });
    }
    if context.output.format() == Format::Json {
        context.output.json(&answers)?;
    }
    Ok(if answers.iter().all(|answer| answer.done) { Exit::Done } else { Exit::Wrong })
}

/// Those that are held.
fn which<'a>(id: &str, story: &'a Story) -> Result<Vec<&'a CaptureStory>, Failure> {
    let held: Vec<_> = story.captures.iter().filter(|told| told.capture.is_held()).collect();
    if held.is_empty() {
        let message =
            format!("`{}` has no capture that a cap holds: there is nothing to release", text::harmless(id, false));
        return Err(Failure::new(Exit::Wrong, message));
    }
    Ok(held)
}

/// What is released, for whoever has to say yes.
fn consequences(story: &Story, told: &CaptureStory) -> String {
    let capture: &Capture = &told.capture;
    let authorization = story.authorization(capture.authorization);
    let authorization =
        authorization.map_or_else(String::new, |record| format!("{} {}", record.account, record.reference));
    let why = text::harmless(capture.progress.last_seen.as_deref().unwrap_or(text::NOTHING), false);
    format!(
        "capture       {}\norder         {}\namount        {}\nauthorization {authorization}\nheld          {why}",
        capture.id, story.order.id, capture.amount
    )
}
