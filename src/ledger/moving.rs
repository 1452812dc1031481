//! A ledger from a file into PostgreSQL: a copy of its rows, read back and compared cell by cell, and the
//! end of the file as a ledger.
//!
//! Nobody may work on either meanwhile. The copy is one transaction. Before its end the file is marked as
//! moved, so that no crash leaves two ledgers that both may be used: at worst there is a file that is
//! marked and whose move has not come about, and the same command finishes it.

mod copy;
mod tables;

use std::path::Path;

use rusqlite::params;
use thiserror::Error;
use uuid::Uuid;

use crate::clock;
use crate::ledger::codec::{At, instant};
use crate::ledger::postgres::{self, Address};
use crate::ledger::session::{self, Session, SessionError};
use crate::ledger::sqlite::{self, lock};
use crate::ledger::{LedgerError, Migrated, Source};

use tables::Table;

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The tables, in the order in which they were copied, each with its rows. None where an earlier
    /// attempt had moved it already, all but the last mark.
    pub tables: Vec<(String, u64)>,
    /// The SHA-256 over all cells, the same of both.
    pub sha256: Option<[u8; 32]>,
}

/// Why a ledger was not moved.
#[derive(Debug, Error)]
pub enum MoveError {
    /// One of the two cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no file.
    #[error("there is no ledger at `{0}`: name the file that the worker has used")]
    Missing(String),
    /// It has gone elsewhere.
    #[error("the move of `{from}` to {to} was begun: the same command finishes it, and no other")]
    Elsewhere {
        /// The file.
        from: String,
        /// Where it has gone.
        to: String,
    },
    /// Somebody works on the target.
    #[error("{worker} works on {to}: end it first")]
    Served {
        /// Who.
        worker: String,
        /// The target.
        to: String,
    },
    /// There is something in the target.
    #[error("{to} is not empty, its table `{table}` has rows: name an empty database")]
    NotEmpty {
        /// The target.
        to: String,
        /// The first table with anything in it.
        table: String,
    },
    /// What was read back is not what was written.
    #[error("the copy of the table `{table}` is not what was written, and was undone: {how}")]
    Differs {
        /// The table.
        table: String,
        /// How they differ.
        how: String,
    },
    /// Reading or writing failed.
    #[error("the ledger was not moved: {0}; nothing is lost, and the same command can be given again")]
    Failed(#[from] SessionError),
}

/// Brings a ledger to the version that this Holdfast reads, and creates it where there is none.
///
/// # Errors
/// [`LedgerError::Held`] while a worker runs on a file; [`LedgerError::Open`]; [`LedgerError::Away`].
pub fn migrate(source: &Source) -> Result<Migrated, LedgerError> {
    match source {
        Source::Sqlite(path) => {
            let _lock = lock::hold(path)?;
            sqlite::migrate(path)
        }
        Source::Postgres(at) => postgres::migrate(at),
    }
}

/// Moves the ledger in the file `from` into the empty database `to`. `progress` is told how many rows were
/// copied or compared, of how many.
///
/// # Errors
/// [`MoveError`]: the file is the ledger as before, or the same command finishes the move.
pub fn move_ledger(from: &Path, to: &Address, progress: &mut dyn FnMut(u64, u64)) -> Result<Moved, MoveError> {
    let source = Source::from(from);
    if !from.exists() {
        return Err(MoveError::Missing(source.to_string()));
    }
    let _lock = lock::hold(from)?;
    sqlite::migrate(from)?;
    postgres::migrate(to)?;
    let file = Session::for_changes(&source)?;
    let database = Session::for_changes(&Source::from(to.clone()))?;
    let a_move = Move { file: &file, database: &database, from: source.to_string(), to: to.shown(), id: id(&file)? };
    let moved = a_move.carry_out(progress)?;
    let sql = "UPDATE moves SET done_at = ?2 WHERE move_id = ?1";
    file.execute(sql, params![a_move.id, At(clock::now())]).map_err(MoveError::Failed)?;
    // Nothing but plans depends on it, and the server does it by itself some time.
    let _ = database.batch("SET statement_timeout = 0; ANALYZE");
    Ok(moved)
}

/// Refuses a file that was moved, and says what to do.
///
/// # Errors
/// [`LedgerError::Moved`].
pub(in crate::ledger) fn refuse_moved(path: &Path, file: &rusqlite::Connection) -> Result<(), LedgerError> {
    let failed = |error: rusqlite::Error| LedgerError::Failed(error.to_string());
    let mut statement = file.prepare("SELECT place, done_at FROM moves WHERE way = 'to'").map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let Some(row) = rows.next().map_err(failed)? else { return Ok(()) };
    let place: String = row.get(0).map_err(failed)?;
    let state = match instant(row, "done_at").map_err(failed)? {
        Some(at) => format!(
            "was moved to {place} on {}, and is no ledger any more: set ledger.url to that",
            at.format("%Y-%m-%d at %H:%M:%S UTC")
        ),
        None => format!(
            "is on its way to {place}, and nobody works on it meanwhile: \
             `holdfast migrate --from sqlite:{} --to …` finishes the move",
            path.display()
        ),
    };
    Err(LedgerError::Moved { path: path.display().to_string(), state })
}

/// The id of a move that was begun, or a new one.
fn id(file: &Session) -> session::Result<String> {
    let begun = file.find("SELECT move_id FROM moves WHERE way = 'to'", params![], |row| row.get(0))?;
    Ok(begun.unwrap_or_else(|| Uuid::new_v4().to_string()))
}

struct Move<'a> {
    file: &'a Session,
    database: &'a Session,
    from: String,
    to: String,
    id: String,
}

impl Move<'_> {
    fn carry_out(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Moved, MoveError> {
        self.check_mark()?;
        let tables = tables::of(self.file)?;
        let transaction = self.database.begin()?;
        self.keep_workers_out()?;
        if self.is_there()? {
            return Ok(Moved { tables: Vec::new(), sha256: None });
        }
        self.check_empty(&tables)?;
        let moved = copy::copy(self.file, self.database, &tables, progress)?;
        tables::finish(self.file, self.database)?;
        self.sign()?;
        // From here on the file is none, whatever happens.
        self.mark()?;
        transaction.end("COMMIT").map_err(SessionError::from)?;
        Ok(moved)
    }

    /// Has it gone elsewhere?
    fn check_mark(&self) -> Result<(), MoveError> {
        let marked = self.file.find("SELECT place FROM moves WHERE way = 'to'", params![], |row| row.get(0))?;
        match marked {
            Some(to) if to != self.to => Err(MoveError::Elsewhere { from: self.from.clone(), to }),
            Some(_) | None => Ok(()),
        }
    }

    /// Whoever begins to work on the target meanwhile waits for the end of the transaction.
    fn keep_workers_out(&self) -> Result<(), MoveError> {
        self.database.batch(
            "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0;
             LOCK TABLE workers IN ACCESS EXCLUSIVE MODE",
        )?;
        let sql = "SELECT name || ' (process ' || pid || ' on ' || host || ')' FROM workers
                   WHERE lease_until > now() ORDER BY worker_row LIMIT 1";
        match self.database.find(sql, params![], |row| row.get(0))? {
            Some(worker) => Err(MoveError::Served { worker, to: self.to.clone() }),
            None => Ok(()),
        }
    }

    /// Had an earlier attempt come to its end, all but the last mark?
    fn is_there(&self) -> session::Result<bool> {
        let sql = "SELECT 1 FROM moves WHERE move_id = ?1 AND way = 'from'";
        Ok(self.database.find(sql, params![self.id], |_| Ok(()))?.is_some())
    }

    fn check_empty(&self, tables: &[Table]) -> Result<(), MoveError> {
        for table in tables.iter().filter(|table| !table.is_never_empty()) {
            let sql = format!("SELECT 1 FROM {} LIMIT 1", table.name);
            if self.database.find(&sql, params![], |_| Ok(()))?.is_some() {
                return Err(MoveError::NotEmpty { to: self.to.clone(), table: table.name.clone() });
            }
        }
        Ok(())
    }

    fn sign(&self) -> session::Result<()> {
        let sql = "INSERT INTO moves (move_id, way, place, begun_at, done_at) VALUES (?1, 'from', ?2, ?3, ?3)";
        self.database.execute(sql, params![self.id, self.from, At(clock::now())]).map(drop)
    }

    fn mark(&self) -> session::Result<()> {
        let sql = "INSERT INTO moves (move_id, way, place, begun_at) VALUES (?1, 'to', ?2, ?3)
                   ON CONFLICT (move_id) DO NOTHING";
        self.file.execute(sql, params![self.id, self.to, At(clock::now())]).map(drop)
    }
}

#[cfg(test)]
mod tests;
