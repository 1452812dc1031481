//! `holdfast backup`: a consistent copy of the ledger, while a worker may be writing it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Context, Exit, Failure, Format, OrExit};
use crate::ledger::Source;
use crate::ledger::report::Report;

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast backup /var/backups/holdfast-$(date +%F).db

The copy is of one instant, checked and on disk when the command ends with 0; the worker goes on
meanwhile. It holds what the ledger holds: treat it alike. What was captured after that instant is at
the provider and not in the copy. So, to restore one:

  1. Stop the worker. Put the copy in the place of the ledger; remove what ends in -wal and -shm beside it.
  2. holdfast run --after-restore: reads every open authorization before anything is captured, and adopts
     what is there and not in the copy. It says when it is over (as /readyz does), and goes on as usual.
  3. Have the order system publish again what it published since the copy was made. What was captured is
     recognised by its key, and not captured again. Events that were published since are published again,
     under the same ids: harmless for whoever deduplicates by id.
  4. holdfast audit: what it still finds is what nobody has published again.";

/// Where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

#[derive(Serialize)]
struct Done {
    file: String,
    bytes: u64,
    captures: u64,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<Exit, Failure> {
    if let Source::Postgres(address) = context.settings()?.ledger {
        return Err(Failure::new(Exit::Usage, in_postgres(&address.shown())));
    }
    let report = context.report()?;
    let file = args.to.display().to_string();
    if args.to.try_exists().or_exit(Exit::Usage)? {
        return Err(Failure::new(Exit::Usage, format!("{file} exists: name a file that does not")));
    }
    // Under its name it is there whole or not at all.
    let partial = args.to.with_added_extension("partial");
    let copied = copy(&report, &partial, &args.to);
    if copied.is_err() {
        // What is there of it is of no use. That it cannot be removed is less than why it is there.
        let _unremovable = fs::remove_file(&partial);
    }
    let captures = copied?;
    let bytes = fs::metadata(&args.to).or_exit(Exit::Wrong)?.len();
    match context.output.format() {
        Format::Json => context.output.json(&Done { file, bytes, captures })?,
        Format::Table => context.output.line(&format!("{file}: {captures} captures, {bytes} bytes, checked"))?,
    }
    Ok(Exit::Done)
}

/// Its own tools know what to copy, and how to go back to any instant; a copy of ours would be a second way
/// that is tried less often.
fn in_postgres(address: &str) -> String {
    format!(
        "the ledger is in PostgreSQL, whose own tools copy it whole and while workers run: pg_dump --format=custom \
         --file=holdfast.dump {address}; to lose less than since the last copy, archive its log \
         (pg_basebackup and archive_command); after pg_restore: holdfast run --after-restore"
    )
}

fn copy(report: &Report, partial: &Path, to: &Path) -> Result<u64, Failure> {
    report.copy_to(partial).or_exit(Exit::Ledger)?;
    let captures = Report::open(&partial.into()).and_then(|copy| copy.check()).or_exit(Exit::Ledger)?;
    File::open(partial).and_then(|file| file.sync_all()).or_exit(Exit::Wrong)?;
    fs::rename(partial, to).or_exit(Exit::Wrong)?;
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).or_exit(Exit::Wrong)?;
    Ok(captures)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::ledger::report::example::Example;

    #[test]
    fn a_copy_says_what_the_ledger_says_and_overwrites_nothing() {
        let example = Example::new();
        let directory = tempfile::tempdir().unwrap();
        let args = Args { to: directory.path().join("copy.db") };
        let (ended, written) = testing::run(&example.source, Format::Json, |context| run(&args, context));
        assert_eq!(ended, Ok(Exit::Done));
        let done: serde_json::Value = serde_json::from_slice(&written).unwrap();
        let original = Report::open(&example.source).unwrap();
        assert_eq!(done["captures"], original.check().unwrap());
        let copy = Report::open(&(&args.to).into()).unwrap();
        assert_eq!(copy.accounts().unwrap(), original.accounts().unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left there");

        let (ended, _) = testing::run(example.in_postgres(), Format::Json, |context| run(&args, context));
        assert!(matches!(ended, Err((Exit::Usage, words)) if words.contains("pg_dump")));

        let before = fs::read(&args.to).unwrap();
        let (ended, _) = testing::run(&example.source, Format::Json, |context| run(&args, context));
        assert!(matches!(ended, Err((Exit::Usage, words)) if words.contains("exists")));
        assert_eq!(fs::read(&args.to).unwrap(), before);
    }
}
