//! What the worker's loops ask the ledger: what is due, what is not published, how it is doing.

use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::capture::decide::{Due, Ready};
use crate::capture::records::{AuthorizationKey, CaptureKey, KeptKey, OrderKey, ShipmentKey};
use crate::clock::Timestamp;
use crate::ids::AccountName;
use crate::ledger::sqlite::codec::{At, corrupt, instant};
use crate::ledger::{DueNow, OutboxRow, Vitals};

type Result<T> = rusqlite::Result<T>;

/// What is due.
pub(super) fn find_due(connection: &Connection, now: Timestamp, limit: u32) -> Result<DueNow> {
    let mut due = DueNow::default();
    let mut add = |sql: &str, kind: fn(i64) -> Due| -> Result<()> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![At(now), limit])?;
        while let Some(row) = rows.next()? {
            let account = account(row.get_ref("account")?.as_str()?)?;
            due.calls.push(Ready { due: kind(row.get("row")?), account, deadline: instant(row, "expires_at")? });
        }
        Ok(())
    };
    add(
        "SELECT c.capture_row AS row, a.account, a.expires_at FROM captures c JOIN authorizations a
         USING (authorization_row) WHERE c.due_at <= ?1 ORDER BY c.due_at LIMIT ?2",
        |row| Due::Capture(CaptureKey::new(row)),
    )?;
    add(
        "SELECT authorization_row AS row, account, expires_at FROM authorizations
         WHERE freeze_at <= ?1 AND waiting > 0 AND single = 'free' ORDER BY freeze_at LIMIT ?2",
        |row| Due::Authorization(AuthorizationKey::new(row)),
    )?;
    add(
        "SELECT authorization_row AS row, account, expires_at FROM authorizations
         WHERE ask_at <= ?1 ORDER BY ask_at LIMIT ?2",
        |row| Due::Ask(AuthorizationKey::new(row)),
    )?;
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
    due.others = arrived.into_iter().map(|(_, due)| due).collect();
    Ok(due)
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
        in_doubt: in_doubt(connection)?,
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
    })
}

fn in_doubt(connection: &Connection) -> Result<Vec<(AccountName, u64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT a.account, count(*) FROM captures c JOIN authorizations a USING (authorization_row)
         WHERE c.is_open = 1 AND c.state = 'in_doubt' GROUP BY a.account ORDER BY a.account",
    )?;
    statement.query_map([], |row| Ok((account(row.get_ref(0)?.as_str()?)?, row.get(1)?)))?.collect()
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

fn account(text: &str) -> Result<AccountName> {
    AccountName::parse(text).map_err(|_| corrupt("an account's name is not an id"))
}
