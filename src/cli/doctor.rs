//! `holdfast doctor`: checks the live world, one line for each thing, with the way out where something is
//! wrong.
//!
//! It looks and asks, while a worker may be running, and changes nothing; no money can move from it. The
//! settings alone are `holdfast check`'s business.

mod accounts;
mod broker;
mod ledger;

use comfy_table::Table;
use serde::Serialize;

use super::{Context, Exit, Failure, table, text};
use crate::ids::AccountName;
use crate::settings::Account;

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast doctor --config holdfast.toml
  holdfast doctor --account flitt-ge --output json

Every account is asked for an authorization that does not exist: the answer tells whether its provider
is reached and its credentials are accepted, and no money can move. Exit codes: 0 all is well, 1
something is wrong, 2 wrong arguments or settings, 3 the broker or a provider cannot be reached.";

/// What to check.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this account, and neither broker nor ledger
    #[arg(long, value_name = "NAME", value_parser = AccountName::parse)]
    account: Option<AccountName>,
}

pub(super) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let mut checks = Vec::new();
    let chosen: Vec<&Account> = match &args.account {
        Some(name) => vec![settings.accounts.iter().find(|account| account.name == *name).ok_or_else(|| {
            let names: Vec<&str> = settings.accounts.iter().map(|account| account.name.as_str()).collect();
            Failure::new(Exit::Usage, format!("no account `{name}` is configured: there are {}", names.join(", ")))
        })?],
        None => settings.accounts.iter().collect(),
    };
    if args.account.is_none() {
        let (found, is_served) = ledger::check(&settings);
        checks.extend(broker::check(&settings.broker, is_served).await);
        checks.extend(found);
    }
    checks.extend(accounts::check(&chosen, settings.worker.clock_skew_max).await);
    let exit = exit(&checks);
    let report = Report { ok: exit == Exit::Done, checks };
    context.output.show(&report, |report| rows(&report.checks))?;
    Ok(exit)
}

/// What was found of one thing.
#[derive(Debug, Serialize)]
struct Check {
    about: String,
    result: Outcome,
    found: String,
    way_out: Option<String>,
}

/// How it stands with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// As it should be.
    Ok,
    /// Something is wrong with it.
    Problem,
    /// It cannot be reached.
    Unreachable,
    /// It cannot be told.
    Unknown,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Problem => "problem",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        }
    }
}

impl Check {
    fn ok(about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { about: about.into(), result: Outcome::Ok, found: found.into(), way_out: None }
    }

    fn wrong(about: impl Into<String>, found: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { result: Outcome::Problem, way_out: Some(way_out.into()), ..Self::ok(about, found) }
    }

    fn unreachable(about: impl Into<String>, found: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { result: Outcome::Unreachable, way_out: Some(way_out.into()), ..Self::ok(about, found) }
    }

    fn unknown(about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { result: Outcome::Unknown, ..Self::ok(about, found) }
    }

    /// What an error says: what is wrong, and after a colon the way out, as all of ours are written.
    fn from_words(result: Outcome, about: impl Into<String>, words: &str) -> Self {
        let (found, way_out) =
            words.rsplit_once(": ").map_or((words, None), |(found, out)| (found, Some(out.to_owned())));
        Self { about: about.into(), result, found: found.to_owned(), way_out }
    }
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

fn exit(checks: &[Check]) -> Exit {
    let any = |result| checks.iter().any(|check| check.result == result);
    if any(Outcome::Unreachable) {
        Exit::Unreachable
    } else if any(Outcome::Problem) {
        Exit::Wrong
    } else {
        Exit::Done
    }
}

fn rows(checks: &[Check]) -> Table {
    let mut table = table(&["ABOUT", "RESULT", "FOUND", "WAY OUT"]);
    for check in checks {
        table.add_row([
            check.about.clone(),
            check.result.as_str().to_owned(),
            text::harmless(&check.found, false),
            text::harmless(check.way_out.as_deref().unwrap_or_default(), false),
        ]);
    }
    table
}
