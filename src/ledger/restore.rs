//! A restore from a backup, as the ledger remembers it: which authorizations have to be read before
//! anything is captured, how many still have to be, and when that was over. It outlives the worker that
//! began it.
//!
//! Reads no provider and decides nothing about a capture: `capture::restored` does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::params;

use crate::capture::decide::{Due, Ready};
use crate::capture::records::AuthorizationKey;
use crate::capture::restored::{ANSWERS_MAX, READ_FIRST_FOR};
use crate::clock::{self, Timestamp};
use crate::ids::AccountName;
use crate::ledger::codec::{At, corrupt, instant};
use crate::ledger::moving;
use crate::ledger::session::{self, Row, Session, SessionError};
use crate::ledger::sqlite::{lock, open_error, open_for_writing};
use crate::ledger::{LedgerError, Source};

/// Marks every open authorization to be read before anything is captured: those with anything planned, in
/// doubt or waiting, and those with room left whose end is not known. Everything that was marked before is
/// marked anew.
///
/// # Errors
/// [`LedgerError::Held`] while a worker runs; [`LedgerError::Open`] where there is no ledger, or none that
/// can be written.
pub fn begin(source: &Source) -> Result<u64, LedgerError> {
    let (session, _lock) = match source {
        Source::Sqlite(path) => {
            if !path.exists() {
                return Err(open_error(path, &"there is none: put the backup in its place first"));
            }
            let lock = lock::hold(path)?;
            let connection = open_for_writing(path)?;
            moving::refuse_moved(path, &connection)?;
            (Session::of_file(connection), Some(lock))
        }
        Source::Postgres(_) => (Session::for_changes(source)?, None),
    };
    mark(&session, clock::now())?.ok_or_else(|| LedgerError::Held { path: source.to_string() })
}

/// Nothing, where a worker runs in PostgreSQL. One that begins meanwhile waits.
fn mark(session: &Session, now: Timestamp) -> session::Result<Option<u64>> {
    session.change(|session| {
        session
            .batch(session.pick("", "SET LOCAL statement_timeout = 0; LOCK TABLE workers IN ACCESS EXCLUSIVE MODE"))?;
        let live = session.pick("SELECT 1 WHERE FALSE", "SELECT 1 FROM workers WHERE lease_until > now()");
        if session.find(live, params![], |_| Ok(()))?.is_some() {
            return Ok(None);
        }
        // What a read shows is held against every capture of its authorization, which is asked for at no
        // other time: deleted when a worker starts after the end.
        session.batch("CREATE INDEX IF NOT EXISTS captures_restored ON captures (authorization_row)")?;
        session.execute(
            "INSERT INTO restores (\"only\", begun_at, ended_at, below_row, read_first_until)
             SELECT 1, ?1, NULL, next_row, ?2 FROM sequence WHERE TRUE
             ON CONFLICT (\"only\") DO UPDATE SET begun_at = excluded.begun_at, ended_at = NULL,
               below_row = excluded.below_row, read_first_until = excluded.read_first_until",
            params![At(now), At(clock::after(now, READ_FIRST_FOR))],
        )?;
        let marked = session.execute(
            "UPDATE authorizations SET restored = 'unread', read_at = ?1, watch_at = ?1, reads = 0
             WHERE planned > 0 OR in_flight > 0 OR unresolved > 0 OR waiting > 0 OR (
               single <> 'used' AND (is_amount_known = 0 OR captured < authorized)
               AND (reported IS NULL OR reported IS DISTINCT FROM expires_at))",
            params![At(now)],
        )?;
        Ok(Some(u64::try_from(marked).map_err(|_| corrupt("so many rows were never written"))?))
    })
}

/// Deletes what only a restore needed, once that is over.
fn tidy(session: &Session) -> session::Result<()> {
    let unread = "SELECT authorization_row FROM authorizations WHERE restored = 'unread' LIMIT 1";
    if session.find(unread, params![], |_| Ok(()))?.is_some() {
        return Ok(());
    }
    match session.batch("DROP INDEX IF EXISTS captures_restored") {
        // The worker may have no right to; it costs time, and nothing else.
        Err(SessionError::Postgres(why)) => {
            tracing::warn!("the index captures_restored is of no use any more and could not be dropped: {why}");
            Ok(())
        }
        dropped => dropped,
    }
}

/// What the worker holds in PostgreSQL that has authorizations read; any number that nobody else uses.
const READING: i64 = 0x0072_6561_6469_6e67;

/// A restore that is under way.
#[derive(Debug)]
pub struct Restoring {
    session: Mutex<Session>,
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
    /// The one that is under way, if there is one. If there is none, what one needed is deleted.
    ///
    /// # Errors
    /// [`LedgerError::Open`] where the ledger cannot be read.
    pub fn open(source: &Source) -> Result<Option<Self>, LedgerError> {
        let session = Session::for_changes(source)?;
        let under_way = "SELECT below_row FROM restores WHERE ended_at IS NULL";
        let below = session.find(under_way, params![], |row| row.get(0))?;
        if below.is_none() {
            tidy(&session)?;
        }
        Ok(below.map(|below| Self { session: Mutex::new(session), below }))
    }

    /// How many authorizations have still to be read, by account.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn left(&self) -> Result<Vec<(AccountName, u64)>, LedgerError> {
        let sql = "SELECT account, count(*) FROM authorizations
                   WHERE restored = 'unread' AND authorization_row < ?1 AND reads < ?2 GROUP BY account";
        let read = |row: &Row<'_>| Ok((account_of(row, "account")?, row.get(1)?));
        Ok(self.session().query(sql, params![self.below, ANSWERS_MAX], read)?)
    }

    /// What has to be read now, at most `limit` of each account. Waits that are longer than `longest` were
    /// set by a clock which was set back since, and are over.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn due(&self, now: Timestamp, longest: Duration, limit: u32) -> Result<Vec<Ready>, LedgerError> {
        let session = self.session();
        // One worker has them read, for as long as its connection lasts.
        let ours = format!("SELECT pg_try_advisory_lock({READING})");
        if !session.one(session.pick("SELECT 1", &ours), params![], |row| row.get::<_, bool>(0))? {
            return Ok(Vec::new());
        }
        let [next, due] = UNREAD;
        let beyond = At(clock::after(now, longest));
        let (mut account, mut ready) = (String::new(), Vec::new());
        while let Some(name) = session.one(next, [&account], |row| row.get::<_, Option<String>>(0))? {
            ready.extend(session.query(due, params![name, At(now), limit, beyond], |row| {
                let due = Due::Authorization(AuthorizationKey::new(row.get("row")?));
                Ok(Ready { due, account: account_of(row, "account")?, deadline: instant(row, "expires_at")? })
            })?);
            account = name;
        }
        Ok(ready)
    }

    /// Writes down that it is over, and says what came of it.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn end(&self) -> Result<Summary, LedgerError> {
        let session = self.session();
        let summary = session.one(session.pick(SUMMARY, SUMMARY_IN_POSTGRES), [self.below], |row| {
            Ok(Summary { unread: row.get(0)?, read: row.get(1)?, adopted: row.get(2)?, found: row.get(3)? })
        })?;
        session.execute("UPDATE restores SET ended_at = ?1 WHERE ended_at IS NULL", params![At(clock::now())])?;
        Ok(summary)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn account_of(row: &Row<'_>, column: &str) -> rusqlite::Result<AccountName> {
    AccountName::parse(row.get_ref(column)?.as_str()?).map_err(|_| corrupt("an account's name is not an id"))
}

/// The next account that has anything to be read some time, and what is due of one.
const UNREAD: [&str; 2] = [
    "SELECT min(account) FROM authorizations WHERE restored = 'unread' AND account > ?1",
    "SELECT * FROM (
       SELECT authorization_row AS row, account, expires_at FROM authorizations
       WHERE restored = 'unread' AND account = ?1 AND read_at <= ?2 ORDER BY read_at LIMIT ?3) due
     UNION ALL SELECT * FROM (
       SELECT authorization_row, account, expires_at FROM authorizations
       WHERE restored = 'unread' AND account = ?1 AND read_at > ?4 LIMIT ?3) beyond",
];

/// Once in a restore, over all authorizations.
const SUMMARY: &str = "
    SELECT count(*) FILTER (WHERE restored = 'unread'), count(*) FILTER (WHERE restored <> 'unread'),
      coalesce(sum(CASE WHEN restored <> 'unread' THEN json_extract(restored, '$.adopted') END), 0),
      coalesce(sum(CASE WHEN restored <> 'unread' THEN json_array_length(restored, '$.found') END), 0)
    FROM authorizations WHERE restored IS NOT NULL AND authorization_row < ?1";

const SUMMARY_IN_POSTGRES: &str = "
    SELECT count(*) FILTER (WHERE restored = 'unread'), count(*) FILTER (WHERE restored <> 'unread'),
      CAST(coalesce(sum(CASE WHEN restored <> 'unread' THEN CAST(CAST(restored AS jsonb) ->> 'adopted' AS BIGINT) END), 0)
        AS BIGINT),
      CAST(coalesce(sum(CASE WHEN restored <> 'unread' THEN jsonb_array_length(CAST(restored AS jsonb) -> 'found') END), 0)
        AS BIGINT)
    FROM authorizations WHERE restored IS NOT NULL AND authorization_row < $1";

#[cfg(test)]
mod tests;
