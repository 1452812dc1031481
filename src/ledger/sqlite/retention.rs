//! Retention: takes the heavy parts of what is long over, a few rows at a time. Bodies of events that were
//! published, what attempts and looks showed of captures at their end, messages of dead letters that were
//! replayed or discarded, what became of each dead letter in a replay.
//!
//! Never what tells one thing from another: order, shipment, content, outcome and generation outlive
//! everything, or a late duplicate would be captured again. Movements stay, and so does what operators
//! asked for. The file does not shrink; what was taken makes room for what comes.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::clock::{self, Timestamp};
use crate::ledger::LedgerError;
use crate::ledger::sqlite::codec::{At, corrupt};
use crate::ledger::sqlite::replays::{self, ItemOutcome};
use crate::ledger::sqlite::{failed, open_error, schema};

/// How long it waits for the writer. It comes again.
const BUSY_TIMEOUT: Duration = Duration::from_millis(200);

/// Takes what is old from one ledger.
///
/// With a connection of its own: nothing that it changes is ever loaded into books.
#[derive(Debug)]
pub struct Retention {
    connection: Mutex<Connection>,
}

/// What one pass has looked at and taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pass {
    /// Events whose bodies were taken.
    pub events: usize,
    /// Captures whose history was taken.
    pub captures: usize,
    /// Dead letters whose messages were taken.
    pub dead_letters: usize,
    /// Dead letters of replays, of which what became of each was taken; what the replay came to is kept.
    pub replayed: usize,
    /// There may be more.
    pub has_more: bool,
}

impl Retention {
    /// Of a ledger that a worker has made.
    ///
    /// # Errors
    /// [`LedgerError::Open`] when there is none or it is of another version.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let open = |error: rusqlite::Error| open_error(path, &error);
        let connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
        connection.pragma_update(None, "synchronous", 2).map_err(open)?;
        schema::check(&connection, &path.display().to_string())?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// One short transaction: looks at `limit` rows of each kind at most, however many there are.
    /// `None`: the writer was busy, and nothing was taken.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn prune(&self, before: Timestamp, limit: u32) -> Result<Option<Pass>, LedgerError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match sum_up(&mut connection, before).and_then(|()| prune(&mut connection, before, limit)) {
            Ok(pass) => Ok(Some(pass)),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn prune(connection: &mut Connection, before: Timestamp, limit: u32) -> rusqlite::Result<Pass> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (events, more_events) = bodies_of_events(&transaction, before, limit)?;
    let (captures, more_captures) = history_of_captures(&transaction, before, limit)?;
    let dead_letters = messages_of_dead_letters(&transaction, before, limit)?;
    let replayed = transaction.prepare_cached(REPLAYED)?.execute([limit])?;
    let is_full = [dead_letters, replayed].into_iter().any(|count| u32::try_from(count).is_ok_and(|n| n >= limit));
    transaction.commit()?;
    Ok(Pass { events, captures, dead_letters, replayed, has_more: more_events || more_captures || is_full })
}

/// Items of replays that are summed up. There are as many replays as operators have asked for.
const REPLAYED: &str = "
    DELETE FROM replay_items WHERE (job_row, position) IN (
      SELECT i.job_row, i.position FROM replay_jobs j CROSS JOIN replay_items i ON i.job_row = j.job_row
      WHERE j.summary IS NOT NULL LIMIT ?1)";

/// Writes down what a replay came to that is long over, one at a time. Nothing in it changes any more, so
/// that the writer is not held up while it is added up.
fn sum_up(connection: &mut Connection, before: Timestamp) -> rusqlite::Result<()> {
    let sql = "SELECT job_row FROM replay_jobs
               WHERE summary IS NULL AND (state = 'stopped' OR state = 'done') AND changed_at < ?1";
    let jobs: Vec<i64> = {
        let mut statement = connection.prepare_cached(sql)?;
        statement.query_map([At(before)], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
    };
    for job in jobs {
        let summary = replays::summary(connection, job, clock::now())?;
        let undecided = [ItemOutcome::Open, ItemOutcome::InDoubt, ItemOutcome::Waiting, ItemOutcome::Pending];
        if undecided.iter().any(|outcome| summary.counts.contains_key(outcome.as_str())) {
            continue;
        }
        let text = serde_json::to_string(&summary).map_err(|_| corrupt("a summary is no JSON"))?;
        connection.execute("UPDATE replay_jobs SET summary = ?2 WHERE job_row = ?1", params![job, text])?;
        return Ok(());
    }
    Ok(())
}

/// Events are numbered in the order of writing: those that are due are the first behind the mark. What is
/// not published holds up those behind it.
const EVENTS: &str = "
    SELECT event_row, published_at < ?2 FROM outbox WHERE event_row > ?1 ORDER BY event_row LIMIT ?3";

fn bodies_of_events(transaction: &Transaction<'_>, before: Timestamp, limit: u32) -> rusqlite::Result<(usize, bool)> {
    let mark = mark(transaction, "events")?;
    let mut due = Vec::new();
    let mut statement = transaction.prepare_cached(EVENTS)?;
    let mut rows = statement.query(params![mark, At(before), limit])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, Option<bool>>(1)? != Some(true) {
            break;
        }
        due.push(row.get::<_, i64>(0)?);
    }
    let Some(last) = due.last() else { return Ok((0, false)) };
    // Of a fee that was refused before it came to a capture, nothing but its event tells the amount.
    let mut take = transaction.prepare_cached(
        "UPDATE events SET body = x'', traceparent = NULL
         WHERE event_row = ?1 AND NOT (kind = 'capture.failed' AND outcome_of IS NULL)",
    )?;
    for row in &due {
        take.execute([row])?;
    }
    set_mark(transaction, "events", *last)?;
    Ok((due.len(), u32::try_from(due.len()).is_ok_and(|count| count >= limit)))
}

/// Captures are numbered in the order of planning. One that took so long to settle that it is not due now
/// keeps its history.
const CAPTURES: &str = "
    SELECT capture_row, planned_at < ?2, is_open = 0 AND settled_at < ?2 FROM captures
    WHERE capture_row > ?1 ORDER BY capture_row LIMIT ?3";

fn history_of_captures(
    transaction: &Transaction<'_>,
    before: Timestamp,
    limit: u32,
) -> rusqlite::Result<(usize, bool)> {
    let mark = mark(transaction, "captures")?;
    let (mut looked, mut last, mut due) = (0, mark, Vec::new());
    let mut statement = transaction.prepare_cached(CAPTURES)?;
    let mut rows = statement.query(params![mark, At(before), limit])?;
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>(1)? {
            break;
        }
        looked += 1;
        last = row.get(0)?;
        if row.get::<_, Option<bool>>(2)? == Some(true) {
            due.push(last);
        }
    }
    if last == mark {
        return Ok((0, false));
    }
    let mut take = transaction.prepare_cached("DELETE FROM history WHERE capture_row = ?1")?;
    let mut say = transaction.prepare_cached("UPDATE captures SET last_seen = NULL WHERE capture_row = ?1")?;
    for row in &due {
        take.execute([row])?;
        say.execute([row])?;
    }
    set_mark(transaction, "captures", last)?;
    Ok((due.len(), looked >= limit))
}

const DEAD_LETTERS: &str = "
    UPDATE dead_letters SET body = NULL, origin = NULL WHERE dead_letter_row IN (
      SELECT dead_letter_row FROM dead_letters INDEXED BY dead_letters_spent
      WHERE body IS NOT NULL AND (state = 'replayed' OR state = 'discarded') AND last_seen_at < ?1
      ORDER BY last_seen_at LIMIT ?2)";

fn messages_of_dead_letters(transaction: &Transaction<'_>, before: Timestamp, limit: u32) -> rusqlite::Result<usize> {
    transaction.prepare_cached(DEAD_LETTERS)?.execute(params![At(before), limit])
}

fn mark(connection: &Connection, what: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT up_to FROM pruned WHERE what = ?1")?.query_row([what], |row| row.get(0))
}

fn set_mark(connection: &Connection, what: &str, row: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE pruned SET up_to = ?2 WHERE what = ?1")?;
    statement.execute(params![what, row]).map(drop)
}

#[cfg(test)]
mod tests;
