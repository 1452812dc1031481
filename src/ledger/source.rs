//! Where a ledger is: what every command that asks it is given.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::ledger::postgres::Address;

/// Where a ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, for one worker.
    Sqlite(PathBuf),
    /// A database, for any number of workers.
    Postgres(Box<Address>),
}

impl Source {
    /// The file, where it is in one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<&PathBuf> for Source {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

impl From<&Self> for Source {
    fn from(source: &Self) -> Self {
        source.clone()
    }
}

impl From<Address> for Source {
    fn from(address: Address) -> Self {
        Self::Postgres(Box::new(address))
    }
}

/// For people: never with a password.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(address) => f.write_str(&address.shown()),
        }
    }
}
