//! `holdfast migrate`: a ledger to the version that this Holdfast reads, or from a file into PostgreSQL.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use secrecy::SecretString;
use serde::Serialize;

use super::{Context, Exit, Failure, Format, progress_bar};
use crate::ledger::moving::{self, MoveError, Moved};
use crate::ledger::postgres::Address;
use crate::ledger::{LedgerError, Source};

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast migrate
  holdfast migrate --from sqlite:/var/lib/holdfast/holdfast.db --to 'postgres://holdfast@db/holdfast'

Without arguments it brings the ledger of the settings to the version that this Holdfast reads, as a worker
does when it starts: for those who give a worker no right to create tables, and run this first with another
user.

With --from and --to it moves a ledger from a file into an empty database. Stop the worker first: nothing
may run on either. All rows are copied in one transaction, read back, and compared by their SHA-256; only
then the file is marked as moved, and no worker starts on it again. Keep it until you trust the new one: it
can still be read. Then set ledger.url to the database, and start the worker. Should the move be cut off,
the same command finishes it. Where the address has a password in it, give it as HOLDFAST_MIGRATE_TO rather
than as --to, which every list of processes shows.";

const TEMPLATE: &str = "{bar:30} {human_pos} of {human_len} rows copied and compared, {eta} left";

/// What to migrate.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to move: sqlite:PATH
    #[arg(long, value_name = "URL", value_parser = file, requires = "to")]
    from: Option<PathBuf>,
    /// The empty database to move it to: `postgres://USER@HOST/DATABASE`
    #[arg(long, value_name = "URL", env = "HOLDFAST_MIGRATE_TO", hide_env_values = true)]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    to: Option<String>,
}

fn file(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    path.filter(|path| !path.is_empty()).map(PathBuf::from).ok_or_else(|| "must be sqlite:PATH".to_owned())
}

#[derive(Serialize)]
struct Versions {
    ledger: String,
    from_version: usize,
    version: usize,
    changed: bool,
}

#[derive(Serialize)]
struct Move {
    from: String,
    to: String,
    rows: u64,
    tables: Vec<Table>,
    sha256: Option<String>,
    was_there: bool,
}

#[derive(Serialize)]
struct Table {
    table: String,
    rows: u64,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<Exit, Failure> {
    match (&args.from, &args.to) {
        (Some(from), Some(to)) => {
            let to = Address::parse(&SecretString::from(to.as_str()));
            let to = to.map_err(|why| Failure::new(Exit::Usage, format!("--to {why}")))?;
            move_ledger(from, &to, context)
        }
        (None, _) | (_, None) => migrate(context),
    }
}

fn migrate(context: &mut Context) -> Result<Exit, Failure> {
    let source: Source = context.settings()?.ledger;
    let migrated = moving::migrate(&source).map_err(|error| failure(&error.into()))?;
    let (ledger, changed) = (source.to_string(), migrated.from != migrated.to);
    if context.output.format() == Format::Json {
        let versions = Versions { ledger, from_version: migrated.from, version: migrated.to, changed };
        context.output.json(&versions)?;
        return Ok(Exit::Done);
    }
    context.output.line(&match (migrated.from, changed) {
        (0, _) => format!("{ledger}: created, version {}", migrated.to),
        (from, true) => format!("{ledger}: from version {from} to version {}", migrated.to),
        (from, false) => format!("{ledger}: version {from}, which this Holdfast reads; nothing was changed"),
    })?;
    Ok(Exit::Done)
}

fn move_ledger(from: &PathBuf, to: &Address, context: &mut Context) -> Result<Exit, Failure> {
    let bar = progress_bar(None, TEMPLATE, context.output.is_terminal());
    let moved = moving::move_ledger(from, to, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let moved = moved.map_err(|error| failure(&error))?;
    let told = told(&moved, Source::from(from).to_string(), to.shown());
    if context.output.format() == Format::Json {
        context.output.json(&told)?;
        return Ok(Exit::Done);
    }
    let Move { from, to, rows, sha256, .. } = told;
    context.output.line(&match sha256 {
        Some(sha256) => format!("{from} was moved to {to}: {rows} rows, read back and the same (SHA-256 {sha256})"),
        None => format!("{from} was moved to {to} before, all but the last mark, which is made now"),
    })?;
    context.output.line("set ledger.url to the database and start the worker: none starts on the file any more")?;
    Ok(Exit::Done)
}

fn told(moved: &Moved, from: String, to: String) -> Move {
    let hex = |sha256: [u8; 32]| sha256.map(|byte| format!("{byte:02x}")).concat();
    let tables = moved.tables.iter().map(|(table, rows)| Table { table: table.clone(), rows: *rows });
    Move {
        from,
        to,
        rows: moved.tables.iter().map(|(_, rows)| rows).sum(),
        tables: tables.collect(),
        sha256: moved.sha256.map(hex),
        was_there: moved.sha256.is_none(),
    }
}

fn failure(error: &MoveError) -> Failure {
    let exit = match error {
        MoveError::Ledger(LedgerError::Held { .. }) | MoveError::Served { .. } => Exit::LedgerHeld,
        MoveError::Missing(_) | MoveError::NotEmpty { .. } | MoveError::Elsewhere { .. } => Exit::Usage,
        MoveError::Ledger(_) | MoveError::Differs { .. } | MoveError::Failed(_) => Exit::Ledger,
    };
    Failure::new(exit, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::ledger::report::example::Example;
    use crate::ledger::testing::database;

    fn args(from: &Source, to: &Address) -> Args {
        use secrecy::ExposeSecret as _;
        Args { from: from.path().map(Into::into), to: Some(to.url().expose_secret().to_owned()) }
    }

    #[test]
    fn a_ledger_is_migrated_and_says_from_which_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new.db");
        for (format, words) in [(Format::Table, "created, version 1"), (Format::Json, "\"changed\": false")] {
            let none = Args { from: None, to: None };
            let (ended, written) = testing::run(&path, format, |context| run(&none, context));
            assert_eq!(ended, Ok(Exit::Done));
            let text = String::from_utf8(written).unwrap();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_move_says_what_was_moved_and_what_to_do() {
        let (source, _directory) = Example::new().end_worker();
        let (at, none) = (database(), std::path::Path::new("none.db"));
        let (ended, written) = testing::run(none, Format::Json, |context| run(&args(&source, &at), context));
        assert_eq!(ended, Ok(Exit::Done));
        let told: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert!(told["rows"].as_u64().unwrap() > 100 && told["sha256"].as_str().unwrap().len() == 64, "{told}");
        let (ended, written) = testing::run(none, Format::Table, |context| run(&args(&source, &at), context));
        assert_eq!(ended, Ok(Exit::Done));
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains("before, all but the last mark") && text.contains("set ledger.url"), "{text}");
        let (ended, _) = testing::run(none, Format::Table, |context| run(&args(&source, &database()), context));
        assert!(
            matches!(&ended, Err((Exit::Usage, words)) if words.contains("the same command finishes it")),
            "{ended:?}"
        );
        let (ended, _) = testing::run(&Example::new().source, Format::Table, |context| {
            let wrong = Args { from: source.path().map(Into::into), to: Some("mysql://x".to_owned()) };
            run(&wrong, context)
        });
        assert!(matches!(&ended, Err((Exit::Usage, words)) if words.contains("--to must be postgres://")), "{ended:?}");
    }
}
