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

use std::path::Path;

use rusqlite::params;
use rusqlite::types::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ledger::codec::{At, corrupt};
use crate::ledger::session::{self, Row, Session, SessionError};
use crate::ledger::{LedgerError, Source};

pub use accounts::AccountSummary;
pub use authorizations::{AuthorizationFilter, AuthorizationStory, AuthorizationSummary, AuthorizationTotal};
pub use books::Books;
pub use dead_letters::{Choice, DeadLetterFilter, DeadLetterGroup, WholeDeadLetter};
pub use replays::{Rehearsal, Rehearsed, ReplayOutcome, ReplayReport};
pub use shipments::{ShipmentFilter, ShipmentSummary, Standing};
pub use story::{About, CaptureStory, FeeStory, HistoryLine, ShipmentStory, Story, WrittenEvent};

/// As many candidates are named for the beginning of an id that more than one thing has.
const CANDIDATES_MAX: u32 = 5;

/// A ledger, opened for questions.
#[derive(Debug)]
pub struct Report {
    session: Session,
    source: Source,
}

/// Why a question got no answer.
#[derive(Debug, Error)]
pub enum ReportError {
    /// There is no such file.
    #[error("there is no ledger at `{0}`: the worker creates it when it first runs; check ledger.url in the settings")]
    Missing(String),
    /// It cannot be opened as a ledger.
    #[error(transparent)]
    Open(#[from] LedgerError),
    /// A question failed.
    #[error("the ledger `{path}` cannot be read: {cause}")]
    Read {
        /// Where it is.
        path: String,
        /// Why.
        cause: SessionError,
    },
}

impl Report {
    /// Opens the ledger for reading.
    ///
    /// # Errors
    /// [`ReportError::Missing`] when there is none; [`ReportError::Open`] when it cannot be opened or
    /// is of another version.
    pub fn open(source: &Source) -> Result<Self, ReportError> {
        // SQLite's own words for a file that is not there name neither the reason nor the way out.
        if let Source::Sqlite(path) = source
            && path.try_exists().is_ok_and(|exists| !exists)
        {
            return Err(ReportError::Missing(path.display().to_string()));
        }
        Ok(Self { session: Session::for_questions(source)?, source: source.clone() })
    }

    /// Where the ledger has gone, where it was moved: what is told here is how it was then.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn moved_to(&self) -> Result<Option<String>, ReportError> {
        self.ask(|session| session.find("SELECT place FROM moves WHERE way = 'to'", params![], |row| row.get(0)))
    }

    /// Writes a copy of the ledger, as it is at this instant, into a new file.
    ///
    /// # Errors
    /// [`ReportError::Read`]: the ledger cannot be read, or the copy cannot be written; or it is in no
    /// file, and its own tools copy it.
    pub fn copy_to(&self, to: &Path) -> Result<(), ReportError> {
        self.ask_outside(|session| {
            session.file()?.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(Into::into)
        })
        .map(drop)
    }

    /// Checks every page and index of the file, and counts the captures in it.
    ///
    /// # Errors
    /// [`ReportError::Read`]: it cannot be read, is damaged, or is no file.
    pub fn check(&self) -> Result<u64, ReportError> {
        self.ask(|session| {
            let found: String = session.file()?.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(corrupt("the file is damaged: `PRAGMA integrity_check` has more").into());
            }
            session.one("SELECT count(*) FROM captures", params![], |row| row.get(0))
        })
    }

    /// Asks so that all answers are of one instant.
    fn ask<T>(&self, question: impl FnOnce(&Session) -> session::Result<T>) -> Result<T, ReportError> {
        self.ask_outside(|session| session.snapshot(question))
    }

    /// Asks what must be asked outside of a transaction.
    fn ask_outside<T>(&self, question: impl FnOnce(&Session) -> session::Result<T>) -> Result<T, ReportError> {
        question(&self.session).map_err(|cause| ReportError::Read { path: self.source.to_string(), cause })
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

impl<T> Page<T> {
    /// The first `limit` of these; one more was asked for.
    fn of(mut rows: Vec<T>, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        Self { rows, has_more }
    }
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

fn find_ids(session: &Session, sql: &str, prefix: IdPrefix) -> session::Result<Found<Uuid>> {
    let (first, last) = (prefix.first.as_bytes(), prefix.last.as_bytes());
    let ids = session.query(sql, params![first, last, CANDIDATES_MAX], |row| Ok(Uuid::from_bytes(row.get(0)?)))?;
    Ok(Found::from_candidates(ids))
}

/// The conditions of a question, all of which must hold. Values are bound, never spliced.
#[derive(Default)]
pub(in crate::ledger) struct Conditions {
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
    pub(in crate::ledger) fn into_sql(self) -> (String, Vec<Value>) {
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
        session: &Session,
        select: &str,
        order_by: &str,
        limit: u32,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> session::Result<Page<T>> {
        let (filter, mut values) = self.into_sql();
        let sql = format!("{select} WHERE {filter} ORDER BY {order_by} LIMIT ?");
        values.push(Value::Integer(i64::from(limit) + 1));
        Ok(Page::of(session.query(&sql, values, read)?, limit))
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
    use super::example::Example;
    use super::*;
    use crate::ids::{OrderId, Reference, ShipmentId};

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
        let error = Report::open(&path.as_path().into()).unwrap_err();
        assert!(matches!(error, ReportError::Missing(_)), "{error}");
        assert!(!path.exists());
    }

    /// How often a table has been read from one end to the other.
    fn whole_reads(report: &Report) -> Vec<(String, i64)> {
        report.session.number("SELECT count(*) FROM (SELECT pg_stat_force_next_flush()) flushed", params![]).unwrap();
        let sql = "SELECT CAST(relname AS TEXT), seq_scan FROM pg_stat_user_tables WHERE relname IN
                   ('orders', 'authorizations', 'shipments', 'messages', 'captures', 'history', 'events', 'outbox')
                   ORDER BY relname";
        report.session.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    #[test]
    fn in_postgres_too_questions_are_answered_by_indexes() {
        let example = Example::new();
        let report = Report::open(&example.in_postgres()).unwrap();
        // So small a table would be read as a whole.
        report.session.batch("SET enable_seqscan = off").unwrap();
        let before = whole_reads(&report);
        let order = OrderId::parse("ord-1001").unwrap();
        let shipment = ShipmentId::parse("s1").unwrap();
        for about in [About::Order(order.clone()), About::Shipment(order.clone(), shipment)] {
            assert!(report.story(&about, &example.policy).unwrap().is_some());
        }
        let shipments = |filter| report.shipments(&filter).unwrap().rows;
        let some = || ShipmentFilter { limit: 3, ..ShipmentFilter::default() };
        assert_eq!(shipments(some()).len(), 3);
        assert!(!shipments(ShipmentFilter { order: Some(order), ..some() }).is_empty());
        assert!(!shipments(ShipmentFilter { standing: Some(Standing::InDoubt), ..some() }).is_empty());
        let (only_earned, only_halted) = (false, false);
        let expires_by = Some(example::at("20:00:00"));
        let filter = AuthorizationFilter { account: None, expires_by, only_earned, only_halted, limit: 10 };
        assert!(!report.authorizations(&filter).unwrap().0.rows.is_empty());
        assert_eq!(report.authorizations_called(&Reference::parse("txn-1001").unwrap(), None).unwrap().len(), 1);
        assert!(!report.accounts().unwrap().is_empty());
        assert_eq!(whole_reads(&report), before);
        // What has no index is noticed.
        report.session.number("SELECT count(*) FROM captures WHERE last_seen = 'nothing'", params![]).unwrap();
        assert_ne!(whole_reads(&report), before);
    }
}
