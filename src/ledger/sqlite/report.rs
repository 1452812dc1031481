//! What operators ask of the ledger: what became of a shipment, and what was set aside.
//!
//! It reads, through a connection of its own, while a worker may be writing. It changes nothing and
//! words nothing: what it finds is put into words by the command line.

// columns by their name
mod columns;

// where accounts stand
mod accounts;

// what is about to be lost
mod authorizations;

// what was captured in all, and where
mod books;
mod captured;

// what was set aside
mod dead_letters;

// trying it again
mod replays;

// what became of shipments and fees
mod fees;
mod given;
mod shipments;
mod story;

#[cfg(test)]
pub(crate) mod example;

use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, Row};
use thiserror::Error;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::codec::{At, corrupt};
use crate::ledger::sqlite::open_for_reading;

pub use accounts::AccountSummary;
pub use authorizations::{AuthorizationFilter, AuthorizationStory, AuthorizationSummary, AuthorizationTotal};
pub use books::Books;
pub use captured::captured_by_reference;
pub use dead_letters::{Choice, DeadLetterFilter, DeadLetterGroup, WholeDeadLetter};
pub use replays::{Rehearsal, Rehearsed, ReplayOutcome, ReplayReport};
pub use shipments::{ShipmentFilter, ShipmentSummary, Standing};
pub use story::{About, CaptureStory, FeeStory, HistoryLine, ShipmentStory, Story, WrittenEvent};

/// As many candidates are named for the beginning of an id that more than one thing has.
const CANDIDATES_MAX: u32 = 5;

/// A ledger, opened for questions.
#[derive(Debug)]
pub struct Report {
    connection: Connection,
    path: PathBuf,
}

/// Why a question got no answer.
#[derive(Debug, Error)]
pub enum ReportError {
    /// There is no such file.
    #[error("there is no ledger at `{0}`: the worker creates it when it first runs; check ledger.url in the settings")]
    Missing(String),
    /// The file cannot be opened as a ledger.
    #[error(transparent)]
    Open(#[from] LedgerError),
    /// A question failed.
    #[error("the ledger `{path}` cannot be read: {cause}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        cause: rusqlite::Error,
    },
}

impl Report {
    /// Opens the ledger for reading.
    ///
    /// # Errors
    /// [`ReportError::Missing`] when there is none; [`ReportError::Open`] when it cannot be opened or
    /// is of another version.
    pub fn open(path: &Path) -> Result<Self, ReportError> {
        // SQLite's own words for a file that is not there name neither the reason nor the way out.
        if path.try_exists().is_ok_and(|exists| !exists) {
            return Err(ReportError::Missing(path.display().to_string()));
        }
        Ok(Self { connection: open_for_reading(path)?, path: path.to_owned() })
    }

    /// Writes a copy of the ledger, as it is at this instant, into a new file.
    ///
    /// # Errors
    /// [`ReportError::Read`]: the ledger cannot be read, or the copy cannot be written.
    pub fn copy_to(&self, to: &Path) -> Result<(), ReportError> {
        let copied = self.connection.execute("VACUUM INTO ?1", [to.to_string_lossy()]);
        copied.map(drop).map_err(|cause| self.failed(cause))
    }

    /// Checks every page and index of the file, and counts the captures in it.
    ///
    /// # Errors
    /// [`ReportError::Read`]: it cannot be read, or is damaged.
    pub fn check(&self) -> Result<u64, ReportError> {
        self.ask(|connection| {
            let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(corrupt("the file is damaged: `PRAGMA integrity_check` has more"));
            }
            connection.query_row("SELECT count(*) FROM captures", [], |row| row.get(0))
        })
    }

    /// Asks within one transaction, so that all answers are of one instant.
    fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReportError> {
        let ask = || {
            let snapshot = self.connection.unchecked_transaction()?;
            question(&snapshot)
        };
        ask().map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: rusqlite::Error) -> ReportError {
        ReportError::Read { path: self.path.display().to_string(), cause }
    }
}

/// The first rows of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub rows: Vec<T>,
    /// Are there more?
    pub has_more: bool,
}

/// The beginning of an id, or all of it: the UUIDs that begin so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdPrefix {
    first: Uuid,
    last: Uuid,
}

impl IdPrefix {
    /// The fewest digits that are taken for the beginning of an id.
    pub const DIGITS_MIN: usize = 4;

    /// Reads 4 to 32 hexadecimal digits, with or without dashes. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex || !(Self::DIGITS_MIN..=32).contains(&digits.len()) {
            return None;
        }
        let padded = |with: &str| {
            let padding = with.repeat(32 - digits.len());
            Uuid::try_parse(&format!("{digits}{padding}")).ok()
        };
        Some(Self { first: padded("0")?, last: padded("f")? })
    }
}

/// What a beginning of an id leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// Nothing begins so.
    Nothing,
    /// One thing does.
    One(T),
    /// Several do; these are the first of them.
    Several(Vec<Uuid>),
}

impl Found<Uuid> {
    fn from_candidates(mut candidates: Vec<Uuid>) -> Self {
        match candidates.len() {
            0 | 1 => candidates.pop().map_or(Self::Nothing, Self::One),
            2.. => Self::Several(candidates),
        }
    }

    fn map<T>(self, to: impl FnOnce(Uuid) -> T) -> Found<T> {
        match self {
            Self::Nothing => Found::Nothing,
            Self::One(id) => Found::One(to(id)),
            Self::Several(ids) => Found::Several(ids),
        }
    }
}

fn find_ids(connection: &Connection, sql: &str, prefix: IdPrefix) -> rusqlite::Result<Found<Uuid>> {
    let mut statement = connection.prepare(sql)?;
    let (first, last) = (prefix.first.as_bytes(), prefix.last.as_bytes());
    let ids = statement.query_map((first, last, CANDIDATES_MAX), |row| Ok(Uuid::from_bytes(row.get(0)?)))?;
    Ok(Found::from_candidates(ids.collect::<rusqlite::Result<_>>()?))
}

/// The conditions of a question, all of which must hold. Values are bound, never spliced.
#[derive(Default)]
pub(in crate::ledger::sqlite) struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// `condition` has one `?`; without a value it is left out.
    fn with(mut self, condition: &'static str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.sql.push(condition.to_owned());
            self.values.push(value);
        }
        self
    }

    /// `column` has one of these values; where there are none, that is no condition.
    fn with_one_of(mut self, column: &'static str, values: Vec<Value>) -> Self {
        if !values.is_empty() {
            self.sql.push(format!("{column} IN ({})", vec!["?"; values.len()].join(", ")));
            self.values.extend(values);
        }
        self
    }

    /// As SQL with its values, in their order.
    pub(in crate::ledger::sqlite) fn into_sql(self) -> (String, Vec<Value>) {
        let sql = if self.sql.is_empty() { "TRUE".to_owned() } else { self.sql.join(" AND ") };
        (sql, self.values)
    }

    fn also(mut self, condition: Option<&'static str>) -> Self {
        self.sql.extend(condition.map(str::to_owned));
        self
    }

    /// Asks `select` under these conditions, and learns whether there is more than `limit`.
    fn page<T>(
        self,
        connection: &Connection,
        select: &str,
        order_by: &str,
        limit: u32,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Page<T>> {
        let (filter, mut values) = self.into_sql();
        let sql = format!("{select} WHERE {filter} ORDER BY {order_by} LIMIT ?");
        values.push(Value::Integer(i64::from(limit) + 1));
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(values), read)?;
        let mut rows: Vec<T> = rows.collect::<rusqlite::Result<_>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        Ok(Page { rows, has_more })
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn micros(at: Timestamp) -> Value {
    Value::Integer(at.timestamp_micros())
}

/// An instant that every row has.
fn required_instant(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Ok(row.get::<_, At>(column)?.0)
}

/// An optional text that is one of our ids.
fn optional_id<T, E>(
    row: &Row<'_>,
    column: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<Option<T>> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(parse).transpose().map_err(|_| corrupt("an id is not an id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_a_range_of_ids() {
        let id = Uuid::from_u128(0x1a2b_3c4d_5e6f_5789_8abc_def0_1234_5678);
        for text in ["1a2b", "1A2B3", "1a2b3c4d-5e6f", "1a2b3c4d5e6f", &id.to_string(), &id.simple().to_string()] {
            let prefix = IdPrefix::parse(text).unwrap();
            assert!(prefix.first <= id && id <= prefix.last, "{text}");
        }
        let other = IdPrefix::parse("1a2c").unwrap();
        assert!(other.first > id);
        for text in ["", "1a2", "ord-1001", "1a2g", "--------", &"0".repeat(33)] {
            assert_eq!(IdPrefix::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_ledger_that_is_not_there_is_said_so_and_not_created() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none.db");
        let error = Report::open(&path).unwrap_err();
        assert!(matches!(error, ReportError::Missing(_)), "{error}");
        assert!(!path.exists());
    }
}
