//! `holdfast captures look`: has the worker read captures at their providers now.

use serde::Serialize;

use super::find_one;
use crate::capture::records::Capture;
use crate::capture::states::CaptureState;
use crate::cli::{Context, Exit, Failure, Format, OrExit, ask, text};
use crate::ledger::desk::{Answer, What};
use crate::ledger::report::{About, Report, Story};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast captures look ord-10042/shp-881
  holdfast captures look 7f3a09c2 b41c55d0 --output json

What the provider says is judged as what any other read shows: looking by hand proves nothing sooner.
A capture that has ended is looked at too; only proof that it was captured changes anything about it.";

/// What to look at.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// ORDER/SHIPMENT, an order, or a capture: its UUID or the beginning of it
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

#[derive(Serialize)]
struct Look {
    capture_id: String,
    done: bool,
    message: String,
    state: &'static str,
    is_corrected: bool,
}

pub(super) fn run(args: &Args, report: &Report, context: &mut Context) -> Result<Exit, Failure> {
    let policy = context.settings()?.policy;
    let mut looks = Vec::new();
    for id in &args.ids {
        let story = find_one(id, report, &policy)?;
        let captures = which(id, &story)?;
        for capture in captures {
            let Some(authorization) = story.authorizations.iter().find(|record| record.key == capture.authorization)
            else {
                return Err(Failure::new(Exit::Wrong, "its authorization cannot be found: please report it"));
            };
            let what = What::LookCapture {
                row: capture.key.row(),
                capture: capture.id.to_string(),
                account: authorization.account.to_string(),
            };
            let (_, Answer { done, message }) = ask::request(what, "a look by hand", context)?;
            let now = report.story(&About::Capture(capture.id), &policy).or_exit(Exit::Ledger)?;
            let now = now.as_ref().and_then(|story| story.capture(capture.key)).unwrap_or(capture);
            let (state, is_corrected) = (now.state.as_str(), now.corrected_at.is_some());
            let look = Look { capture_id: capture.id.to_string(), done, message, state, is_corrected };
            if context.output.format() == Format::Table {
                show(&look, context)?;
            }
            looks.push(look);
        }
    }
    let all_done = looks.iter().all(|look| look.done);
    if context.output.format() == Format::Json {
        context.output.json(&looks)?;
    }
    Ok(if all_done { Exit::Done } else { Exit::Wrong })
}

/// Of several, those whose end is not known.
fn which<'a>(id: &str, story: &'a Story) -> Result<Vec<&'a Capture>, Failure> {
    let all: Vec<&Capture> = story.captures.iter().map(|told| &told.capture).collect();
    if all.is_empty() {
        let message = format!("`{}` has no capture: there is nothing to look at", text::harmless(id, false));
        return Err(Failure::new(Exit::Wrong, message));
    }
    if all.len() == 1 {
        return Ok(all);
    }
    let is_undecided = |capture: &&Capture| match capture.state {
        CaptureState::Sending | CaptureState::InDoubt | CaptureState::Unresolved => true,
        CaptureState::Planned | CaptureState::Captured | CaptureState::Failed => false,
    };
    let undecided: Vec<&Capture> = all.into_iter().filter(is_undecided).collect();
    if undecided.is_empty() {
        let message = "none of its captures is in doubt: name one of them, as `holdfast captures show` lists them";
        return Err(Failure::new(Exit::Wrong, message));
    }
    Ok(undecided)
}

fn show(look: &Look, context: &mut Context) -> Result<(), Failure> {
    context.output.line(&format!("capture {}", look.capture_id))?;
    for line in look.message.lines() {
        context.output.line(&format!("  {}", text::harmless(line, false)))?;
    }
    let corrected = if look.is_corrected { ", and corrected: it was captured" } else { "" };
    context.output.line(&format!("  now: {}{corrected}", look.state.replace('_', " ")))
}
