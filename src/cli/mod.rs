//! The command line: arguments to a command, and its result to an exit code.
//!
//! One file per command. A new one is a variant of `Command`, an arm of `Command::run`, and a
//! file with its arguments and `run`; one that waits is run by [`wait_for`]. Decides nothing about money: commands ask the parts that do.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::{self, Timestamp};
use crate::ledger::report::Report;
use crate::settings::{Effective, Settings, SettingsErrors};
use crate::telemetry;

mod accounts;
mod ask;
mod audit;
mod authorizations;
mod backup;
mod captures;
mod check;
mod confirm;
mod dead_letters;
mod demo;
mod doctor;
mod failure;
mod health;
mod interrupt;
mod manual;
mod migrate;
mod narrow;
mod output;
mod publish;
mod run;
mod sandbox;
mod schema;
#[cfg(test)]
mod screens;
mod sums;
#[cfg(test)]
mod testing;
mod text;
/// `holdfast topology`.
pub mod topology;

pub use failure::{Exit, Failure, OrExit};
pub use output::{Format, Listing, Output, progress_bar, table};

/// Captures card authorizations as orders ship: exactly once, to the minor unit, before they expire.
#[derive(Debug, Parser)]
#[command(version, after_help = failure::EXIT_CODES, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// Settings in TOML; what it leaves out has its default.
    #[arg(long, global = true, env = "HOLDFAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to write results.
    #[arg(long, global = true, env = "HOLDFAST_OUTPUT", value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// What to log, to standard error: a level, or target=level, separated by commas.
    #[arg(long, global = true, env = "HOLDFAST_LOG", value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

/// What to do. Each has an example at the end of its help.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the worker: capture what ships.
    #[command(after_help = run::EXAMPLES)]
    Run(run::Args),
    /// Put shipment notices on the exchange, mandatory and confirmed.
    #[command(after_help = publish::EXAMPLES)]
    Publish(publish::Args),
    /// Show what became of orders, shipments and captures.
    #[command(subcommand)]
    Captures(captures::Command),
    /// Show which authorizations expire soon, and what is at stake.
    #[command(subcommand)]
    Authorizations(authorizations::Command),
    /// Show where each account stands; stop and resume one.
    #[command(subcommand)]
    Accounts(accounts::Command),
    /// Show what was set aside, and why.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Hold the ledger against the provider's books, or against the order system's.
    #[command(after_help = audit::EXAMPLES)]
    Audit(audit::Args),
    /// Check the settings, and show what is in effect.
    #[command(after_help = check::EXAMPLES)]
    Check,
    /// Check the live world: broker, ledger, and every account at its provider. Moves no money.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Args),
    /// Ask a running worker whether it lives, or whether work moves.
    #[command(after_help = health::EXAMPLES)]
    Health(health::Args),
    /// See the whole job work, on a real broker with a pretend provider.
    #[command(after_help = demo::EXAMPLES)]
    Demo,
    /// Serve three pretend providers with real books.
    #[command(after_help = sandbox::EXAMPLES)]
    Sandbox(sandbox::Args),
    /// Print the JSON Schema of the messages, in and out, or the AsyncAPI document of all.
    #[command(after_help = schema::EXAMPLES)]
    Schema(schema::Args),
    /// Show the exchanges, queues and bindings that have to exist in RabbitMQ.
    #[command(after_help = topology::EXAMPLES)]
    Topology(topology::Args),
    /// Copy the ledger, while a worker may be writing it.
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::Args),
    /// Bring the ledger to this version, or move it from a file into PostgreSQL.
    #[command(after_help = migrate::EXAMPLES)]
    Migrate(migrate::Args),
    /// Print what a shell needs to complete commands.
    #[command(after_help = manual::COMPLETIONS_EXAMPLES)]
    Completions(manual::CompletionsArgs),
    /// Print the manual page, or write one for every command.
    #[command(after_help = manual::MAN_EXAMPLES)]
    Man(manual::ManArgs),
}

impl Command {
    fn run(self, now: Timestamp, context: &mut Context) -> Result<Exit, Failure> {
        match self {
            Self::Run(args) => wait_for(run::run(&args, context)),
            Self::Publish(args) => wait_for(publish::run(args, context)),
            Self::Captures(command) => captures::run(command, now, context),
            Self::Authorizations(command) => authorizations::run(command, now, context),
            Self::Accounts(command) => accounts::run(command, now, context),
            Self::DeadLetters(command) => dead_letters::run(command, now, context),
            Self::Audit(args) => wait_for(audit::run(args, now, context)),
            Self::Check => check::run(context),
            Self::Doctor(args) => wait_for(doctor::run(args, context)),
            Self::Health(args) => wait_for(health::run(args, context)),
            Self::Demo => wait_for(demo::run(context)),
            Self::Sandbox(args) => {
                wait_for(async { sandbox::run(args).await.or_exit(Exit::Unreachable).map(|()| Exit::Done) })
            }
            Self::Schema(args) => {
                schema::run(&args, context, &mut std::io::stdout()).or_exit(Exit::Usage).map(|()| Exit::Done)
            }
            Self::Topology(args) => {
                let settings = context.settings()?;
                topology::run(&args, &settings.broker, &mut std::io::stdout()).or_exit(Exit::Usage).map(|()| Exit::Done)
            }
            Self::Backup(args) => backup::run(&args, context),
            Self::Migrate(args) => migrate::run(&args, context),
            Self::Completions(args) => manual::completions(&args, &mut std::io::stdout()),
            Self::Man(args) => manual::man(&args, &mut std::io::stdout()),
        }
    }
}

/// What every command gets.
pub struct Context {
    /// Where results go.
    pub output: Output,
    config: Option<PathBuf>,
}

impl Context {
    /// The settings, checked.
    ///
    /// # Errors
    /// All problems together, with exit code 2.
    pub fn settings(&self) -> Result<Settings, Failure> {
        self.explain().map(|(settings, _)| settings).or_exit(Exit::Usage)
    }

    /// The ledger, for reading, while a worker may be writing it.
    ///
    /// # Errors
    /// Those of the settings; or there is no ledger, or none that can be read, with exit code 4.
    pub fn report(&self) -> Result<Report, Failure> {
        let report = Report::open(&self.settings()?.ledger).or_exit(Exit::Ledger)?;
        if let Some(place) = report.moved_to().or_exit(Exit::Ledger)? {
            self.output.notice(&format!("this ledger was moved to {place}: what is told is how it was then"));
        }
        Ok(report)
    }

    fn explain(&self) -> Result<(Settings, Vec<Effective>), SettingsErrors> {
        // A variable that is not UTF-8 cannot be one of ours.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Settings::explain(self.config.as_deref(), environment)
    }
}

/// Runs a command that waits for the network or the ledger.
///
/// # Errors
/// Those of the command; or the system grants no threads.
pub fn wait_for(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    // One core is left to the ledger's writer, which is as busy as all the rest together: with a thread for
    // each core, they only take turns.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.or_exit(Exit::Wrong)?.block_on(command)
}

/// Whatever kills this process, its memory is written to no file: there are secrets in it.
fn leave_no_core_file() -> Result<(), Failure> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // A service manager that has set it may forbid to set limits.
    if getrlimit(Resource::Core) == none { Ok(()) } else { setrlimit(Resource::Core, none).or_exit(Exit::Wrong) }
}

/// Runs the command that the arguments name, and says how it ended.
pub fn main() -> ExitCode {
    let Cli { config, output, log, command } = Cli::parse();
    let mut context = Context { output: Output::stdout(output), config };
    let ended = telemetry::start_logs(log.as_deref())
        .or_exit(Exit::Usage)
        .and_then(|()| leave_no_core_file())
        .and_then(|()| command.run(clock::now(), &mut context));
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(&mut std::io::stderr()).into(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let mut inner = command.get_subcommands().peekable();
            if inner.peek().is_none() {
                assert!(help.contains("Example"), "no example in the help of{path}");
                assert!(help.contains("holdfast "), "the example of{path} is not a command");
            }
            inner.for_each(|command| check(command, &path));
        }
        check(&Cli::command(), "");
    }

    /// What a reader would paste: commands in the text and lines of its blocks.
    fn commands(text: &str) -> Vec<String> {
        let in_blocks = text.lines().filter(|line| line.starts_with("holdfast ")).map(str::to_owned);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let inline =
            text.split("`holdfast ").skip(1).map(|rest| format!("holdfast {}", rest.split('`').next().unwrap()));
        in_blocks.chain(inline).collect()
    }

    #[test]
    fn every_command_of_the_documentation_is_one() {
        use clap::error::ErrorKind::{InvalidSubcommand, InvalidValue, UnknownArgument, ValueValidation};
        let pages = [
            include_str!("../../README.md"),
            include_str!("../../docs/operations.md"),
            include_str!("../../docs/producers.md"),
            include_str!("../../docs/providers.md"),
        ];
        let commands: Vec<String> = pages.into_iter().flat_map(commands).collect();
        assert!(commands.len() > 60, "only {} are found", commands.len());
        for command in commands {
            // A word in capitals stands for something; what may stand there is told where not any word may.
            let stands_for = [("--for REASON", "--for invalid"), ("SHELL", "bash"), ("REPLAY", "1"), (" N", " 1")];
            let filled = stands_for.iter().fold(command.clone(), |text, (word, is)| text.replace(word, is));
            // What is in quotes is one word.
            let parts = filled.split('\'').enumerate();
            let filled: String = parts.map(|(number, part)| if number % 2 == 1 { "X" } else { part }).collect();
            let words = filled.split_whitespace().take_while(|word| !["#", "|", ">", "\\"].contains(word));
            if let Err(error) = Cli::try_parse_from(words) {
                let is_wrong =
                    matches!(error.kind(), InvalidSubcommand | InvalidValue | UnknownArgument | ValueValidation);
                assert!(!is_wrong, "`{command}`: {error}");
            }
        }
    }
}
