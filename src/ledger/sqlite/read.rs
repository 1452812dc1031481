//! What the worker's loops ask the ledger: what is due, what is not published, how it is doing.

use std::time::Duration;

use rusqlite::{Connection, Row, ToSql, params};
use uuid::Uuid;

use crate::capture::decide::{Due, Ready};
use crate::capture::records::{AuthorizationKey, CaptureKey, KeptKey, OrderKey, ShipmentKey};
use crate::clock::{self, Timestamp};
use crate::ids::AccountName;
use crate::ledger::codec::{At, corrupt, instant};
use crate::ledger::{DueNow, OutboxRow, Vitals};

type Result<T> = rusqlite::Result<T>;

/// No wait that is counted from now is longer. One that is, was set by a clock that was set back since,
/// and is over.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    /// Of a capture, and of an authorization on which shipments collect.
    pub(super) longest: Duration,
    /// Of any other authorization.
    pub(super) longest_rest: Duration,
}

/// What is due.
pub(super) fn find_due(connection: &Connection, now: Timestamp, waits: Waits, limit: u32) -> Result<DueNow> {
    let mut due = DueNow::default();
    let mut warnings = Vec::new();
    let beyond = clock::after(now, waits.longest);
    of_each_account(connection, CAPTURES, params![At(now), limit, At(beyond)], &mut |row| {
        due.calls.push(ready(row, Due::Capture(CaptureKey::new(row.get("row")?)))?);
        Ok(())
    })?;
    let mut add = |row: &Row<'_>| {
        let key = AuthorizationKey::new(row.get("row")?);
        // Where a read is due too, it is found again when the warning is given.
        if instant(row, "lead_at")?.is_some_and(|at| at <= now) {
            warnings.push(Due::Warning(key));
        } else {
            due.calls.push(ready(row, Due::Authorization(key))?);
        }
        Ok(())
    };
    of_each_account(connection, AUTHORIZATIONS, params![At(now), limit], &mut add)?;
    let mut statement = connection.prepare_cached(READS_SET_BACK)?;
    let beyond_rest = clock::after(now, waits.longest_rest);
    let mut rows = statement.query(params![At(now), At(beyond), At(beyond_rest), limit])?;
    while let Some(row) = rows.next()? {
        add(row)?;
    }
    of_each_account(connection, ASKING, params![At(now), limit, At(beyond)], &mut |row| {
        due.calls.push(ready(row, Due::Ask(AuthorizationKey::new(row.get("row")?)))?);
        Ok(())
    })?;
    due.calls.sort_by_key(|ready| ready.deadline.unwrap_or(Timestamp::MAX_UTC));
    let waiting = |sql: &str, kind: fn(i64) -> Due| -> Result<Vec<(i64, Due)>> {
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![At(now), limit], |row| {
            let row: i64 = row.get(0)?;
            Ok((row, kind(row)))
        })?;
        rows.collect()
    };
    let mut arrived = waiting(
        "SELECT shipment_row FROM shipments WHERE due_at <= ?1 ORDER BY due_at, shipment_row LIMIT ?2",
        |row| Due::Shipment(ShipmentKey::new(row)),
    )?;
    arrived.extend(waiting(
        "SELECT notice_row FROM kept_notices WHERE due_at <= ?1 ORDER BY due_at, notice_row LIMIT ?2",
        |row| Due::Kept(KeptKey::new(row)),
    )?);
    arrived.sort_unstable_by_key(|(row, _)| *row);
    arrived.extend(waiting("SELECT order_row FROM orders WHERE closes_at <= ?1 ORDER BY closes_at LIMIT ?2", |row| {
        Due::Order(OrderKey::new(row))
    })?);
    due.others = arrived.into_iter().map(|(_, due)| due).chain(warnings).collect();
    Ok(due)
}

/// The next account that has anything due some time, and what is due of one.
pub(super) type OfEachAccount = [&'static str; 2];

/// Besides what has come, what lies beyond any wait without waiting for its turn.
const CAPTURES: OfEachAccount = [
    "SELECT min(account) FROM captures WHERE due_at IS NOT NULL AND account > ?1",
    "SELECT * FROM (
       SELECT c.capture_row AS row, a.account, a.expires_at FROM captures c JOIN authorizations a
       USING (authorization_row) WHERE c.account = ?1 AND c.due_at <= ?2 ORDER BY c.due_at LIMIT ?3)
     UNION ALL SELECT * FROM (
       SELECT c.capture_row, a.account, a.expires_at FROM captures c JOIN authorizations a
       USING (authorization_row) WHERE c.account = ?1 AND c.due_at > ?4 AND c.waits_turn = 0 LIMIT ?3)",
];

const AUTHORIZATIONS: OfEachAccount = [
    "SELECT min(account) FROM authorizations WHERE watch_at IS NOT NULL AND account > ?1",
    "SELECT authorization_row AS row, account, expires_at, lead_at FROM authorizations
     WHERE account = ?1 AND watch_at <= ?2 ORDER BY watch_at LIMIT ?3",
];

const ASKING: OfEachAccount = [
    "SELECT min(account) FROM authorizations WHERE ask_at IS NOT NULL AND account > ?1",
    "SELECT * FROM (
       SELECT authorization_row AS row, account, expires_at FROM authorizations
       WHERE account = ?1 AND ask_at <= ?2 ORDER BY ask_at LIMIT ?3)
     UNION ALL SELECT * FROM (
       SELECT authorization_row, account, expires_at FROM authorizations WHERE account = ?1 AND ask_at > ?4 LIMIT ?3)",
];

const READS_SET_BACK: &str = "
    SELECT * FROM (
      SELECT authorization_row AS row, account, expires_at, lead_at FROM authorizations
      WHERE waiting > 0 AND read_at > ?2 AND watch_at > ?1 LIMIT ?4)
    UNION ALL SELECT * FROM (
      SELECT authorization_row, account, expires_at, lead_at FROM authorizations
      WHERE waiting = 0 AND read_at > ?3 AND watch_at > ?1 LIMIT ?4)";

/// Asks for what is due account by account: two steps in an index for each, however much the others
/// have due.
pub(super) fn of_each_account(
    connection: &Connection,
    [next, due]: OfEachAccount,
    parameters: &[&dyn ToSql],
    add: &mut dyn FnMut(&Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut next = connection.prepare_cached(next)?;
    let mut due = connection.prepare_cached(due)?;
    let mut account = String::new();
    while let Some(name) = next.query_row([&account], |row| row.get::<_, Option<String>>(0))? {
        let parameters: Vec<&dyn ToSql> =
            std::iter::once::<&dyn ToSql>(&name).chain(parameters.iter().copied()).collect();
        let mut rows = due.query(&*parameters)?;
        while let Some(row) = rows.next()? {
            add(row)?;
        }
        drop(rows);
        account = name;
    }
    Ok(())
}

pub(super) fn ready(row: &Row<'_>, due: Due) -> Result<Ready> {
    Ok(Ready { due, account: account(row.get_ref("account")?.as_str()?)?, deadline: instant(row, "expires_at")? })
}

/// Events that are not published, the oldest first.
pub(super) fn unpublished(
    connection: &Connection,
    row: i64,
    written_before: Timestamp,
    limit: u32,
) -> Result<Vec<OutboxRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT e.event_row, e.event_id, e.kind, e.body, e.traceparent FROM outbox o JOIN events e USING (event_row)
         WHERE o.published_at IS NULL AND o.event_row > ?1 AND o.written_at < ?2 ORDER BY o.event_row LIMIT ?3",
    )?;
    let rows = statement.query_map(params![row, At(written_before), limit], |row| {
        Ok(OutboxRow {
            row: row.get(0)?,
            event_id: Uuid::from_bytes(row.get(1)?),
            kind: row.get(2)?,
            body: row.get::<_, Vec<u8>>(3)?.into(),
            traceparent: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// Captures that are being sent or in doubt.
pub(super) fn interrupted(connection: &Connection) -> Result<Vec<(CaptureKey, u32)>> {
    let mut statement = connection.prepare_cached(
        "SELECT capture_row, epoch FROM captures WHERE is_open = 1 AND state IN ('sending', 'in_doubt')",
    )?;
    statement.query_map([], |row| Ok((CaptureKey::new(row.get(0)?), row.get(1)?)))?.collect()
}

/// The first numbers on the dashboard.
pub(super) fn vitals(connection: &Connection) -> Result<Vitals> {
    let count = |sql: &str| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, u64>(0));
    let earliest = |sql: &str| -> Result<Option<Timestamp>> {
        connection.prepare_cached(sql)?.query_row([], |row| instant(row, "at"))
    };
    Ok(Vitals {
        open_captures: count("SELECT count(*) FROM captures WHERE is_open = 1")?,
        in_doubt: by_account(connection, IN_DOUBT)?,
        oldest_doubt: earliest("SELECT min(doubt_since) AS at FROM captures WHERE is_open = 1 AND state = 'in_doubt'")?,
        earned_uncaptured: earned_uncaptured(connection)?,
        nearest_deadline: earliest(
            "SELECT min(at) AS at FROM (
               SELECT min(a.expires_at) AS at FROM captures c JOIN authorizations a USING (authorization_row)
               WHERE c.is_open = 1
               UNION ALL
               SELECT min(expires_at) FROM authorizations WHERE waiting > 0)",
        )?,
        oldest_awaiting: earliest(
            "SELECT min(at) AS at FROM (
               SELECT min(accepted_at) AS at FROM shipments WHERE due_at IS NOT NULL
               UNION ALL
               SELECT min(kept_at) FROM kept_notices WHERE due_at IS NOT NULL)",
        )?,
        outbox_pending: count("SELECT count(*) FROM outbox WHERE published_at IS NULL")?,
        outbox_oldest: earliest("SELECT min(written_at) AS at FROM outbox WHERE published_at IS NULL")?,
        dead_letters: dead_letters(connection)?,
        halted: by_account(connection, HALTED)?,
        held: by_account(connection, HELD)?,
        corrected: corrected(connection)?,
    })
}

const IN_DOUBT: &str = "SELECT a.account, count(*) FROM captures c JOIN authorizations a USING (authorization_row)
    WHERE c.is_open = 1 AND c.state = 'in_doubt' GROUP BY a.account ORDER BY a.account";

const HALTED: &str = "SELECT account, count(*) FROM authorizations WHERE foreign_standing = 'halted'
    GROUP BY account ORDER BY account";

const HELD: &str = "SELECT account, sum(held) FROM authorizations WHERE held > 0 GROUP BY account ORDER BY account";

/// How many of something there are, by account.
fn by_account(connection: &Connection, sql: &str) -> Result<Vec<(AccountName, u64)>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([], |row| Ok((account(row.get_ref(0)?.as_str()?)?, row.get(1)?)))?.collect()
}

/// When an outcome was corrected last, by account.
fn corrected(connection: &Connection) -> Result<Vec<(AccountName, Timestamp)>> {
    let mut statement = connection.prepare_cached(
        "SELECT account, max(corrected_at) FROM captures WHERE corrected_at IS NOT NULL
         GROUP BY account ORDER BY account",
    )?;
    statement.query_map([], |row| Ok((account(row.get_ref(0)?.as_str()?)?, row.get::<_, At>(1)?.0)))?.collect()
}

fn earned_uncaptured(connection: &Connection) -> Result<Vec<(AccountName, String, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT account, currency, sum(amount) FROM (
           SELECT a.account, a.currency, c.amount FROM captures c JOIN authorizations a USING (authorization_row)
           WHERE c.is_open = 1
           UNION ALL
           SELECT account, currency, waiting_amount FROM authorizations WHERE waiting > 0)
         GROUP BY account, currency ORDER BY account, currency",
    )?;
    statement.query_map([], |row| Ok((account(row.get_ref(0)?.as_str()?)?, row.get(1)?, row.get(2)?)))?.collect()
}

fn dead_letters(connection: &Connection) -> Result<Vec<(String, u64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT reason, count(*) FROM dead_letters WHERE state = 'open' GROUP BY reason ORDER BY reason",
    )?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

pub(in crate::ledger) fn account(text: &str) -> Result<AccountName> {
    AccountName::parse(text).map_err(|_| corrupt("an account's name is not an id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sqlite::{open_for_reading, open_for_writing, write};

    /// How SQLite carries it out in a new ledger; what is not bound is null.
    fn plan(sql: &str) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("ledger.db");
        drop(open_for_writing(&path).expect("a new ledger"));
        let connection = open_for_reading(&path).expect("a ledger");
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is SQL");
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().expect("explained") {
            steps.push(row.get::<_, String>("detail").expect("a text"));
        }
        steps
    }

    #[test]
    fn what_is_due_is_found_by_an_index_however_much_is_watched() {
        for sql in CAPTURES.into_iter().chain(AUTHORIZATIONS).chain(ASKING).chain([READS_SET_BACK]) {
            let steps = plan(sql);
            for step in &steps {
                let is_bounded =
                    !step.starts_with("SCAN") || step.contains("(subquery") || step.contains("SCAN CONSTANT");
                assert!(is_bounded && !step.contains("TEMP B-TREE"), "{sql}: {steps:#?}");
            }
        }
    }

    /// There are as many as a worker before this one has left.
    #[test]
    fn a_ledger_is_opened_by_going_through_messages_only() {
        let steps = plan(write::DELETE_ENDED_MESSAGES);
        let scanned: Vec<_> = steps.iter().filter(|step| step.starts_with("SCAN")).collect();
        assert_eq!(scanned, ["SCAN messages"], "{steps:#?}");
    }
}
