//! Retention: takes the heavy parts of what is long over, a few rows at a time. Bodies of events that were
//! published, what attempts and looks showed of captures at their end, messages of dead letters that were
//! replayed or discarded, what became of each dead letter in a replay.
//!
//! Never what tells one thing from another: order, shipment, content, outcome and generation outlive
//! everything, or a late duplicate would be captured again. Movements stay, and so does what operators
//! asked for. The file does not shrink; what was taken makes room for what comes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::params;

use crate::clock::{self, Timestamp};
use crate::ledger::codec::{At, corrupt};
use crate::ledger::replays::{self, ItemOutcome};
use crate::ledger::session::{self, Row, Session};
use crate::ledger::{LedgerError, Source};

/// How long it waits for the writer. It comes again.
const BUSY_TIMEOUT: Duration = Duration::from_millis(200);

/// Takes what is old from one ledger.
///
/// With a connection of its own: nothing that it changes is ever loaded into books.
#[derive(Debug)]
pub struct Retention {
    session: Mutex<Session>,
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
    pub fn open(source: &Source) -> Result<Self, LedgerError> {
        Ok(Self { session: Mutex::new(Session::for_changes_within(source, BUSY_TIMEOUT)?) })
    }

    /// One short transaction: looks at `limit` rows of each kind at most, however many there are.
    /// `None`: the writer was busy, and nothing was taken.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn prune(&self, before: Timestamp, limit: u32) -> Result<Option<Pass>, LedgerError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let summed_up = sum_up(&session, before);
        match summed_up.and_then(|()| session.change(|session| prune(session, before, limit))) {
            Ok(pass) => Ok(Some(pass)),
            Err(error) if error.is_busy() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn prune(session: &Session, before: Timestamp, limit: u32) -> session::Result<Pass> {
    // One at a time, where several workers run.
    session.query(session.pick("SELECT 1 WHERE FALSE", LOCK), params![], |_| Ok(()))?;
    let (events, more_events) = bodies_of_events(session, before, limit)?;
    let (captures, more_captures) = history_of_captures(session, before, limit)?;
    let sql = session.pick(DEAD_LETTERS, DEAD_LETTERS_IN_POSTGRES);
    let dead_letters = session.execute(sql, params![At(before), limit])?;
    let replayed = session.execute(REPLAYED, [limit])?;
    let is_full = [dead_letters, replayed].into_iter().any(|count| u32::try_from(count).is_ok_and(|n| n >= limit));
    Ok(Pass { events, captures, dead_letters, replayed, has_more: more_events || more_captures || is_full })
}

/// Items of replays that are summed up. There are as many replays as operators have asked for.
const REPLAYED: &str = "
    DELETE FROM replay_items WHERE (job_row, position) IN (
      SELECT i.job_row, i.position FROM replay_jobs j CROSS JOIN replay_items i
      WHERE i.job_row = j.job_row AND j.summary IS NOT NULL LIMIT ?1)";

/// Writes down what a replay came to that is long over, one at a time. Nothing in it changes any more, so
/// that the writer is not held up while it is added up.
fn sum_up(session: &Session, before: Timestamp) -> session::Result<()> {
    let sql = "SELECT job_row FROM replay_jobs
               WHERE summary IS NULL AND (state = 'stopped' OR state = 'done') AND changed_at < ?1";
    let jobs: Vec<i64> = session.query(sql, params![At(before)], |row| row.get(0))?;
    for job in jobs {
        let summary = replays::summary(session, job, clock::now())?;
        let undecided = [ItemOutcome::Open, ItemOutcome::InDoubt, ItemOutcome::Waiting, ItemOutcome::Pending];
        if undecided.iter().any(|outcome| summary.counts.contains_key(outcome.as_str())) {
            continue;
        }
        let text = serde_json::to_string(&summary).map_err(|_| corrupt("a summary is no JSON"))?;
        session.execute("UPDATE replay_jobs SET summary = ?2 WHERE job_row = ?1", params![job, text])?;
        return Ok(());
    }
    Ok(())
}

/// Events are numbered in the order of writing: those that are due are the first behind the mark. What is
/// not published holds up those behind it.
const EVENTS: &str = "
    SELECT event_row, published_at < ?2 FROM outbox WHERE event_row > ?1 ORDER BY event_row LIMIT ?3";

fn bodies_of_events(session: &Session, before: Timestamp, limit: u32) -> session::Result<(usize, bool)> {
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<bool>>(1)? == Some(true)));
    let rows = session.query(EVENTS, params![mark(session, "events")?, At(before), limit], read)?;
    let due: Vec<i64> = rows.into_iter().take_while(|(_, is_due)| *is_due).map(|(row, _)| row).collect();
    let Some(last) = due.last() else { return Ok((0, false)) };
    // Of a fee that was refused before it came to a capture, nothing but its event tells the amount.
    let take = format!(
        "UPDATE events SET body = {}, traceparent = NULL
         WHERE event_row IN ({}) AND NOT (kind = 'capture.failed' AND outcome_of IS NULL)",
        session.pick("x''", "''"),
        list(&due)
    );
    session.execute(&take, params![])?;
    set_mark(session, "events", *last)?;
    Ok((due.len(), u32::try_from(due.len()).is_ok_and(|count| count >= limit)))
}

/// Captures are numbered in the order of planning. One that took so long to settle that it is not due now
/// keeps its history.
const CAPTURES: &str = "
    SELECT capture_row, planned_at < ?2, is_open = 0 AND settled_at < ?2 FROM captures
    WHERE capture_row > ?1 ORDER BY capture_row LIMIT ?3";

fn history_of_captures(session: &Session, before: Timestamp, limit: u32) -> session::Result<(usize, bool)> {
    let read = |row: &Row<'_>| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?, row.get::<_, Option<bool>>(2)? == Some(true)))
    };
    let rows = session.query(CAPTURES, params![mark(session, "captures")?, At(before), limit], read)?;
    let looked: Vec<_> = rows.into_iter().take_while(|(_, is_old, _)| *is_old).collect();
    let Some((last, ..)) = looked.last() else { return Ok((0, false)) };
    let due: Vec<i64> = looked.iter().filter(|(.., is_due)| *is_due).map(|(row, ..)| *row).collect();
    if !due.is_empty() {
        let due = list(&due);
        session.execute(&format!("DELETE FROM history WHERE capture_row IN ({due})"), params![])?;
        session.execute(&format!("UPDATE captures SET last_seen = NULL WHERE capture_row IN ({due})"), params![])?;
    }
    set_mark(session, "captures", *last)?;
    Ok((due.len(), u32::try_from(looked.len()).is_ok_and(|count| count >= limit)))
}

const DEAD_LETTERS: &str = "
    UPDATE dead_letters SET body = NULL, origin = NULL WHERE dead_letter_row IN (
      SELECT dead_letter_row FROM dead_letters INDEXED BY dead_letters_spent
      WHERE body IS NOT NULL AND (state = 'replayed' OR state = 'discarded') AND last_seen_at < ?1
      ORDER BY last_seen_at LIMIT ?2)";

const DEAD_LETTERS_IN_POSTGRES: &str = "
    UPDATE dead_letters SET body = NULL, origin = NULL WHERE dead_letter_row IN (
      SELECT dead_letter_row FROM dead_letters
      WHERE body IS NOT NULL AND (state = 'replayed' OR state = 'discarded') AND last_seen_at < $1
      ORDER BY last_seen_at LIMIT $2)";

/// Held to the end of the transaction.
const LOCK: &str = "SELECT up_to FROM pruned ORDER BY what FOR UPDATE";

/// Numbers of ours, in one statement: each by itself would be a way to the server and back.
fn list(rows: &[i64]) -> String {
    rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn mark(session: &Session, what: &str) -> session::Result<i64> {
    session.number("SELECT up_to FROM pruned WHERE what = ?1", [what])
}

fn set_mark(session: &Session, what: &str, row: i64) -> session::Result<()> {
    session.execute("UPDATE pruned SET up_to = ?2 WHERE what = ?1", params![what, row]).map(drop)
}

#[cfg(test)]
mod tests;
