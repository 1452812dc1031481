//! `holdfast dead-letters export`: messages into files, as they came.

use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::choice::Which;
use super::{Context, Exit, Failure, Format, OrExit};
use crate::capture::dead_letter::DeadLetterState;
use crate::clock::Timestamp;
use crate::ledger::report::DeadLetterFilter;

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast dead-letters export --to letters --for undecodable
  holdfast dead-letters export --to letters 1a2b3c4d && holdfast publish letters/*.json

A replay needs no files: `holdfast dead-letters replay` tries again what is in the ledger. What is put on
an exchange is received by everybody who listens there.";

/// Which messages, and where to.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    which: Which,
    /// The directory; it is made where it is not there, and no file in it is overwritten
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
}

#[derive(Serialize)]
struct Exported {
    files: Vec<String>,
    without_message: usize,
}

pub(super) fn run(args: &Args, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
    let report = context.report()?;
    let choice = args.which.choice(DeadLetterState::Open, now, &report)?;
    let filter = DeadLetterFilter { choice, state: Some(DeadLetterState::Open), limit: u32::MAX - 1 };
    let letters = report.dead_letters(&filter).or_exit(Exit::Ledger)?.rows;
    std::fs::create_dir_all(&args.to).or_exit(Exit::Usage)?;
    let mut exported = Exported { files: Vec::new(), without_message: 0 };
    for letter in letters {
        let whole = report.dead_letter(letter.id).or_exit(Exit::Ledger)?;
        let Some(raw) = whole.filter(|whole| !whole.is_cut()).and_then(|whole| whole.letter.raw) else {
            exported.without_message += 1;
            continue;
        };
        let path = args.to.join(format!("{}.json", letter.id));
        let mut file = std::fs::File::create_new(&path)
            .map_err(|error| std::io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display())))
            .or_exit(Exit::Wrong)?;
        file.write_all(&raw.body).or_exit(Exit::Wrong)?;
        exported.files.push(path.display().to_string());
    }
    match context.output.format() {
        Format::Json => context.output.json(&exported)?,
        Format::Table => {
            let message =
                format!("{} files written; {} have no whole message", exported.files.len(), exported.without_message);
            context.output.line(&message)?;
        }
    }
    Ok(Exit::Done)
}
