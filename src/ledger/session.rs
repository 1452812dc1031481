//! A way to ask a ledger and to change what is not in its books, whichever store it is in: one
//! connection, and SQL that both stores understand.
//!
//! Parameters are written `?1`, or `?` for the next one. The few statements that the two cannot share
//! are chosen by [`Session::pick`]. It waits for the answer: code that must not wait calls it on a thread
//! where it may. The ledger's one write does not come this way.

mod row;

use std::time::Duration;

use rusqlite::types::{ToSql, ToSqlOutput, Value};
use rusqlite::{Connection, TransactionBehavior};
use thiserror::Error;
use tokio_postgres::types::Type;

use crate::capture::books::Books;
use crate::capture::decide::Command;
use crate::capture::policy::{Captures, Policy};
use crate::clock::Timestamp;
use crate::ids::AccountName;
use crate::ledger::postgres::{Remote, Transaction, Trouble};
use crate::ledger::sqlite::{self, load, open_error, schema};
use crate::ledger::{LedgerError, Source};

pub(in crate::ledger) use row::Row;

/// What comes of asking.
pub(in crate::ledger) type Result<T> = std::result::Result<T, SessionError>;

/// How long a change waits for others before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// So many times a change is begun anew on PostgreSQL that got in the way of others.
const CHANGE_TRIES: u32 = 10;

/// Why a question or a change came to nothing.
#[derive(Debug, Error)]
pub enum SessionError {
    /// SQLite refused, or a row holds what no Holdfast writes there.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL refused.
    #[error("{0}")]
    Postgres(String),
    /// Somebody else's change in PostgreSQL was in the way. Nothing was changed.
    #[error("somebody else's change is in the way: {0}")]
    Busy(String),
    /// PostgreSQL is not there.
    #[error("PostgreSQL cannot be reached: {0}")]
    Away(String),
    /// Only a file can do that.
    #[error("it is in PostgreSQL, whose own tools do that")]
    NoFile,
}

impl SessionError {
    /// Was somebody else in the way for too long? Nothing was changed.
    pub(in crate::ledger) fn is_busy(&self) -> bool {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy),
            Self::Busy(_) => true,
            Self::Postgres(_) | Self::Away(_) | Self::NoFile => false,
        }
    }
}

impl From<Trouble> for SessionError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Again(why) | Trouble::Twice(why) => Self::Busy(why),
            Trouble::Lost(why) => Self::Away(why),
            Trouble::Untrusted(why) | Trouble::Refused(why) | Trouble::Fatal(LedgerError::Failed(why)) => {
                Self::Postgres(why)
            }
            Trouble::Fatal(error) => Self::Postgres(error.to_string()),
        }
    }
}

impl From<SessionError> for LedgerError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Away(cause) => Self::Away(cause),
            SessionError::Busy(_) => Self::Away(error.to_string()),
            SessionError::Sqlite(_) | SessionError::Postgres(_) | SessionError::NoFile => {
                Self::Failed(error.to_string())
            }
        }
    }
}

/// A connection to a ledger.
#[derive(Debug)]
pub(in crate::ledger) struct Session {
    store: Store,
}

#[derive(Debug)]
enum Store {
    Sqlite(Connection),
    Postgres(Remote),
}

impl Session {
    /// Opens a ledger for questions, while workers may be writing it.
    ///
    /// # Errors
    /// [`LedgerError::Open`] when there is none or it is of another version; [`LedgerError::Away`].
    pub(in crate::ledger) fn for_questions(source: &Source) -> std::result::Result<Self, LedgerError> {
        let store = match source {
            Source::Sqlite(path) => Store::Sqlite(sqlite::open_for_reading(path)?),
            Source::Postgres(at) => Store::Postgres(Remote::open(at)?),
        };
        Ok(Self { store })
    }

    /// Opens a ledger that a worker has made for changes beside its books. Each waits five seconds for
    /// others at most.
    ///
    /// # Errors
    /// As [`Session::for_questions`].
    pub(in crate::ledger) fn for_changes(source: &Source) -> std::result::Result<Self, LedgerError> {
        Self::for_changes_within(source, BUSY_TIMEOUT)
    }

    /// The same, where each waits no longer than `patience`.
    pub(in crate::ledger) fn for_changes_within(
        source: &Source,
        patience: Duration,
    ) -> std::result::Result<Self, LedgerError> {
        let path = match source {
            Source::Sqlite(path) => path,
            Source::Postgres(at) => {
                let remote = Remote::open(at)?.with_lock_timeout(patience);
                return Ok(Self { store: Store::Postgres(remote) });
            }
        };
        let open = |error: rusqlite::Error| open_error(path, &error);
        if !path.exists() {
            return Err(open_error(path, &"there is none: the worker creates it when it first runs"));
        }
        let connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(patience).map_err(open)?;
        connection.pragma_update(None, "synchronous", 2).map_err(open)?;
        schema::check(&connection, &path.display().to_string())?;
        Ok(Self { store: Store::Sqlite(connection) })
    }

    /// What the commands may touch, to decide on it without a consequence; the commands again. Not what counts
    /// against caps: they decide nothing but when something is sent. In a file `kept` goes on.
    pub(in crate::ledger) fn load(
        &self,
        kept: Option<Books>,
        commands: Vec<Command>,
        policy: &Policy,
    ) -> Result<(Books, Vec<Command>)> {
        let is_single =
            |name: &AccountName| policy.accounts.get(name).is_some_and(|account| account.captures == Captures::Single);
        match &self.store {
            Store::Sqlite(connection) => {
                let books = load::load(connection, kept, &commands, &|record| is_single(&record.account), &[])?;
                Ok((books, commands))
            }
            Store::Postgres(remote) => {
                let singles = policy.accounts.keys().filter(|name| is_single(name)).cloned().collect();
                Ok(remote.load(commands, singles)?)
            }
        }
    }

    /// Begins a transaction in PostgreSQL, which is undone unless it is ended.
    pub(in crate::ledger) fn begin(&self) -> Result<Transaction<'_>> {
        match &self.store {
            Store::Sqlite(_) => unreachable!("a ledger is moved to PostgreSQL"),
            Store::Postgres(remote) => Ok(remote.begin("BEGIN")?),
        }
    }

    /// Writes rows into a table of PostgreSQL, all of these columns.
    pub(in crate::ledger) fn copy_in(&self, sql: &str, rows: Vec<Vec<Value>>, of: Vec<Type>) -> Result<()> {
        match &self.store {
            Store::Sqlite(_) => unreachable!("a ledger is moved to PostgreSQL"),
            Store::Postgres(remote) => Ok(remote.copy_in(sql, rows, of)?),
        }
    }

    /// One over an open file.
    pub(in crate::ledger) fn of_file(connection: Connection) -> Self {
        Self { store: Store::Sqlite(connection) }
    }

    /// The connection, for what only a file can do.
    pub(in crate::ledger) fn file(&self) -> Result<&Connection> {
        match &self.store {
            Store::Sqlite(connection) => Ok(connection),
            Store::Postgres(_) => Err(SessionError::NoFile),
        }
    }

    /// The instant by which rows are put in order. In a file they are numbered in the order of writing,
    /// which no clock disturbs; in PostgreSQL every worker has numbers of its own.
    pub(in crate::ledger) fn when(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.store {
            Store::Sqlite(_) => None,
            Store::Postgres(_) => Some(at),
        }
    }

    /// What is said differently in the two.
    pub(in crate::ledger) fn pick<'a>(&self, sqlite: &'a str, postgres: &'a str) -> &'a str {
        match &self.store {
            Store::Sqlite(_) => sqlite,
            Store::Postgres(_) => postgres,
        }
    }

    /// Every row of an answer.
    pub(in crate::ledger) fn query<T>(
        &self,
        sql: &str,
        values: impl IntoValues,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let values = values.into_values()?;
        match &self.store {
            Store::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map(rusqlite::params_from_iter(values), |row| read(&Row::Sqlite(row)))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            }
            Store::Postgres(remote) => {
                let rows = remote.query(sql, values)?;
                Ok(rows.iter().map(|row| read(&Row::Postgres(row))).collect::<rusqlite::Result<_>>()?)
            }
        }
    }

    /// The first row of an answer, if there is one.
    pub(in crate::ledger) fn find<T>(
        &self,
        sql: &str,
        values: impl IntoValues,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.query(sql, values, read)?.into_iter().next())
    }

    /// The one row of an answer.
    pub(in crate::ledger) fn one<T>(
        &self,
        sql: &str,
        values: impl IntoValues,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        Ok(self.find(sql, values, read)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?)
    }

    /// The one number of an answer.
    pub(in crate::ledger) fn number(&self, sql: &str, values: impl IntoValues) -> Result<i64> {
        self.one(sql, values, |row| row.get(0))
    }

    /// Changes rows; how many.
    pub(in crate::ledger) fn execute(&self, sql: &str, values: impl IntoValues) -> Result<usize> {
        let values = values.into_values()?;
        match &self.store {
            Store::Sqlite(connection) => {
                Ok(connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))?)
            }
            Store::Postgres(remote) => Ok(remote.execute(sql, values)?),
        }
    }

    /// Several statements without parameters.
    pub(in crate::ledger) fn batch(&self, sql: &str) -> Result<()> {
        match &self.store {
            Store::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Store::Postgres(remote) => Ok(remote.batch(sql)?),
        }
    }

    /// Asks so that all answers are of one instant.
    pub(in crate::ledger) fn snapshot<T>(&self, question: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        match &self.store {
            Store::Sqlite(connection) => {
                let _snapshot = connection.unchecked_transaction()?;
                question(self)
            }
            Store::Postgres(remote) => {
                let snapshot = remote.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
                let answer = question(self)?;
                snapshot.end("COMMIT")?;
                Ok(answer)
            }
        }
    }

    /// Changes in one transaction: all of it, or nothing. On PostgreSQL `change` may be called again,
    /// after it met somebody else's.
    pub(in crate::ledger) fn change<T>(&self, mut change: impl FnMut(&Self) -> Result<T>) -> Result<T> {
        let remote = match &self.store {
            Store::Sqlite(connection) => {
                let transaction = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
                let done = change(self)?;
                transaction.commit()?;
                return Ok(done);
            }
            Store::Postgres(remote) => remote,
        };
        let mut tries = 0;
        loop {
            tries += 1;
            match self.change_once(remote, &mut change) {
                Err(SessionError::Busy(_)) if tries < CHANGE_TRIES => {}
                changed => return changed,
            }
        }
    }

    fn change_once<T>(&self, remote: &Remote, change: &mut impl FnMut(&Self) -> Result<T>) -> Result<T> {
        let transaction = remote.begin("BEGIN")?;
        let done = change(self)?;
        transaction.end("COMMIT")?;
        Ok(done)
    }
}

/// Parameters of a statement.
pub(in crate::ledger) trait IntoValues {
    /// As both stores take them.
    fn into_values(self) -> rusqlite::Result<Vec<Value>>;
}

impl IntoValues for Vec<Value> {
    fn into_values(self) -> rusqlite::Result<Vec<Value>> {
        Ok(self)
    }
}

impl<T: ToSql, const N: usize> IntoValues for [T; N] {
    fn into_values(self) -> rusqlite::Result<Vec<Value>> {
        self.iter().map(|value| to_value(value)).collect()
    }
}

impl IntoValues for &[&dyn ToSql] {
    fn into_values(self) -> rusqlite::Result<Vec<Value>> {
        self.iter().copied().map(to_value).collect()
    }
}

fn to_value(value: &dyn ToSql) -> rusqlite::Result<Value> {
    let output = value.to_sql()?;
    if let ToSqlOutput::Borrowed(value) = output {
        return Ok(Value::try_from(value)?);
    }
    let ToSqlOutput::Owned(value) = output else { unreachable!("nothing else is ever bound") };
    Ok(value)
}
