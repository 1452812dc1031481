//! How a command ended: its exit code, and what to say when it could not do its work.

use std::io::Write;
use std::process::ExitCode;

/// The exit codes, as the help shows them.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  found something wrong
  2  wrong arguments or settings
  3  cannot reach the broker, a provider or the worker
  4  the ledger failed
  5  another worker holds the ledger";

/// How a command ended. The numbers are part of the interface: scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: what was asked for is done, and nothing is wrong.
    Done,
    /// 1: done, and something wrong was found; or a failure that no other code names.
    Wrong,
    /// 2: the arguments or the settings are wrong (clap uses the same).
    Usage,
    /// 3: the broker, a provider or the worker cannot be reached.
    Unreachable,
    /// 4: the ledger failed.
    Ledger,
    /// 5: another worker holds the ledger.
    LedgerHeld,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Wrong => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Ledger => 4,
            Self::LedgerHeld => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// A failure in words: a lowercase fragment that names the way out.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, error: anyhow::anyhow!(message.into()) }
    }

    /// How the process ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Says it, with its causes, and gives the exit code.
    pub fn report(&self, to: &mut dyn Write) -> Exit {
        // Nobody is left to tell if this cannot be written either.
        let _unwritable = writeln!(to, "holdfast: {:#}", self.error);
        self.exit
    }
}

/// Gives an error its exit code. There is no default: whoever calls knows what failed.
pub trait OrExit<T> {
    /// # Errors
    /// The error that was there.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_causes_and_keeps_its_code() {
        let cause: Result<(), _> = Err(std::io::Error::other("connection refused"));
        let failure = cause.or_exit(Exit::Unreachable).unwrap_err();
        let mut said = Vec::new();
        assert_eq!(failure.report(&mut said).code(), 3);
        assert_eq!(String::from_utf8(said).unwrap(), "holdfast: connection refused\n");
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        for exit in [Exit::Done, Exit::Wrong, Exit::Usage, Exit::Unreachable, Exit::Ledger, Exit::LedgerHeld] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", exit.code())), "{exit:?}");
        }
    }
}
