//! A restore from a backup, as the ledger remembers it: which authorizations have to be read before
//! anything is captured, how many still have to be, and when that was over. It outlives the worker that
//! began it.
//!
//! Reads no provider and decides nothing about a capture: `capture::restored` does.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::capture::decide::{Due, Ready};
use crate::capture::records::AuthorizationKey;
use crate::capture::restored::ANSWERS_MAX;
use crate::clock::{self, Timestamp};
use crate::ids::AccountName;
use crate::ledger::LedgerError;
use crate::ledger::codec::{At, corrupt};
use crate::ledger::sqlite::read::{self, OfEachAccount};
use crate::ledger::sqlite::{failed, lock, open_error, open_for_writing, schema};

/// For so long after a restore the first capture on a new authorization is preceded by a read: its notice
/// may have come before, in the time that was lost. No card authorization lives longer.
const READ_FIRST_FOR: Duration = Duration::from_hours(24 * 90);

/// Marks every open authorization to be read before anything is captured: those with anything planned, in
/// doubt or waiting, and those with room left whose end is not known. Everything that was marked before is
/// marked anew.
///
/// # Errors
/// [`LedgerError::Held`] while a worker runs; [`LedgerError::Open`] where there is no ledger, or none that
/// can be written.
pub fn begin(path: &Path) -> Result<u64, LedgerError> {
    if !path.exists() {
        return Err(open_error(path, &"there is none: put the backup in its place first"));
    }
    let _lock = lock::hold(path)?;
    let mut connection = open_for_writing(path)?;
    mark(&mut connection, clock::now()).map_err(|error| failed(&error))
}

fn mark(connection: &mut Connection, now: Timestamp) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // What a read shows is held against every capture of its authorization, which is asked for at no
    // other time: deleted when a worker starts after the end.
    transaction.execute_batch("CREATE INDEX IF NOT EXISTS captures_restored ON captures (authorization_row)")?;
    transaction.execute(
        "INSERT OR REPLACE INTO restores SELECT 1, ?1, NULL, next_row, ?2 FROM sequence",
        params![At(now), At(clock::after(now, READ_FIRST_FOR))],
    )?;
    let marked = transaction.execute(
        "UPDATE authorizations SET restored = 'unread', read_at = ?1, watch_at = ?1, reads = 0
         WHERE planned > 0 OR in_flight > 0 OR unresolved > 0 OR waiting > 0 OR (
           single <> 'used' AND (is_amount_known = 0 OR captured < authorized)
           AND (reported IS NULL OR reported IS NOT expires_at))",
        params![At(now)],
    )?;
    transaction.commit()?;
    u64::try_from(marked).map_err(|_| corrupt("so many rows were never written"))
}

/// Deletes what only a restore needed, once that is over.
pub(super) fn tidy(connection: &Connection) -> rusqlite::Result<()> {
    let under_way = "SELECT EXISTS (SELECT 1 FROM restores WHERE ended_at IS NULL)
                     OR EXISTS (SELECT 1 FROM authorizations WHERE restored = 'unread')";
    let is_under_way: bool = connection.query_row(under_way, [], |row| row.get(0))?;
    if is_under_way { Ok(()) } else { connection.execute_batch("DROP INDEX IF EXISTS captures_restored") }
}

/// A restore that is under way.
#[derive(Debug)]
pub struct Restoring {
    connection: Mutex<Connection>,
    below: i64,
}

/// What came of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Authorizations that were read.
    pub read: u64,
    /// Authorizations that cannot be read: nothing is sent on them until they can.
    pub unread: u64,
    /// Captures that were booked because the provider showed them.
    pub adopted: u64,
    /// Captures under keys of which the ledger has no notice.
    pub found: u64,
}

impl Restoring {
    /// The one that is under way, if there is one.
    ///
    /// # Errors
    /// [`LedgerError::Open`] where the ledger cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>, LedgerError> {
        let open = |error: rusqlite::Error| open_error(path, &error);
        let connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(open)?;
        connection.pragma_update(None, "synchronous", 2).map_err(open)?;
        schema::check(&connection, &path.display().to_string())?;
        let below = connection
            .query_row("SELECT below_row FROM restores WHERE ended_at IS NULL", [], |row| row.get(0))
            .optional()
            .map_err(open)?;
        Ok(below.map(|below| Self { connection: Mutex::new(connection), below }))
    }

    /// How many authorizations have still to be read, by account.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn left(&self) -> Result<Vec<(AccountName, u64)>, LedgerError> {
        let count = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT account, count(*) FROM authorizations
                 WHERE restored = 'unread' AND authorization_row < ?1 AND reads < ?2 GROUP BY account",
            )?;
            let rows = statement.query_map(params![self.below, ANSWERS_MAX], |row| {
                Ok((read::account(row.get_ref(0)?.as_str()?)?, row.get(1)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        count(&self.connection()).map_err(|error| failed(&error))
    }

    /// What has to be read now, at most `limit` of each account. Waits that are longer than `longest` were
    /// set by a clock which was set back since, and are over.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn due(&self, now: Timestamp, longest: Duration, limit: u32) -> Result<Vec<Ready>, LedgerError> {
        let mut due = Vec::new();
        let parameters = params![At(now), limit, At(clock::after(now, longest))];
        let mut add = |row: &rusqlite::Row<'_>| {
            due.push(read::ready(row, Due::Authorization(AuthorizationKey::new(row.get("row")?)))?);
            Ok(())
        };
        let asked = read::of_each_account(&self.connection(), UNREAD, parameters, &mut add);
        asked.map_err(|error| failed(&error))?;
        Ok(due)
    }

    /// Writes down that it is over, and says what came of it.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn end(&self) -> Result<Summary, LedgerError> {
        let end = |connection: &Connection| {
            let summary = connection.query_row(SUMMARY, [self.below], |row| {
                Ok(Summary { unread: row.get(0)?, read: row.get(1)?, adopted: row.get(2)?, found: row.get(3)? })
            })?;
            connection.execute("UPDATE restores SET ended_at = ?1", params![At(clock::now())])?;
            Ok(summary)
        };
        end(&self.connection()).map_err(|error: rusqlite::Error| failed(&error))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const UNREAD: OfEachAccount = [
    "SELECT min(account) FROM authorizations WHERE restored = 'unread' AND account > ?1",
    "SELECT * FROM (
       SELECT authorization_row AS row, account, expires_at FROM authorizations
       WHERE restored = 'unread' AND account = ?1 AND read_at <= ?2 ORDER BY read_at LIMIT ?3)
     UNION ALL SELECT * FROM (
       SELECT authorization_row, account, expires_at FROM authorizations
       WHERE restored = 'unread' AND account = ?1 AND read_at > ?4 LIMIT ?3)",
];

/// Once in a restore, over all authorizations.
const SUMMARY: &str = "
    SELECT count(*) FILTER (WHERE restored = 'unread'), count(*) FILTER (WHERE restored <> 'unread'),
      coalesce(sum(CASE WHEN restored <> 'unread' THEN json_extract(restored, '$.adopted') END), 0),
      coalesce(sum(CASE WHEN restored <> 'unread' THEN json_array_length(restored, '$.found') END), 0)
    FROM authorizations WHERE restored IS NOT NULL AND authorization_row < ?1";

#[cfg(test)]
mod tests;
