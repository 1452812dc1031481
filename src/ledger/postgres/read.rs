//! What the worker's loops ask the ledger: what is due, what is not published, what a worker that is gone
//! has left, how it is doing. What others look after is left to them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::capture::decide::{Due, Ready};
use crate::capture::policy::Policy;
use crate::capture::records::{AuthorizationKey, CaptureKey, KeptKey, OrderKey, ShipmentKey};
use crate::clock::{self, Timestamp};
use crate::ids::AccountName;
use crate::ledger::cells::Cells;
use crate::ledger::codec::{corrupt, instant};
use crate::ledger::{DueNow, OutboxRow, Vitals};

use super::session::Session;
use super::trouble::Trouble;

type Result<T> = std::result::Result<T, Trouble>;

/// The other workers whose leases last. What is claimed by none of them is free, or ours.
const OTHERS: &str = "SELECT worker_row FROM workers WHERE lease_until > now() AND worker_row <> $1";

// What is due is asked for account by account, so that none crowds out another: two steps in an index find
// the next account that has anything due some time. `$1` are the other workers.

/// Besides what has come, what lies beyond any wait without waiting for its turn.
const CAPTURES: &str = "
    WITH RECURSIVE names (account) AS (
      SELECT min(account) FROM captures WHERE due_at IS NOT NULL
      UNION ALL
      SELECT (SELECT min(t.account) FROM captures t WHERE t.due_at IS NOT NULL AND t.account > n.account)
      FROM names n WHERE n.account IS NOT NULL)
    SELECT d.* FROM names n CROSS JOIN LATERAL (
      (SELECT c.capture_row AS row, a.account, a.expires_at, c.claimed_by
       FROM captures c JOIN authorizations a USING (authorization_row)
       WHERE c.account = n.account AND c.due_at <= $2 AND (c.claimed_by = ANY($1)) IS NOT TRUE
       ORDER BY c.due_at LIMIT $3)
      UNION ALL
      (SELECT c.capture_row, a.account, a.expires_at, c.claimed_by
       FROM captures c JOIN authorizations a USING (authorization_row)
       WHERE c.account = n.account AND c.due_at > $4 AND c.waits_turn = 0 AND (c.claimed_by = ANY($1)) IS NOT TRUE
       LIMIT $3)) d";

const AUTHORIZATIONS: &str = "
    WITH RECURSIVE names (account) AS (
      SELECT min(account) FROM authorizations WHERE watch_at IS NOT NULL
      UNION ALL
      SELECT (SELECT min(t.account) FROM authorizations t WHERE t.watch_at IS NOT NULL AND t.account > n.account)
      FROM names n WHERE n.account IS NOT NULL)
    SELECT d.* FROM names n CROSS JOIN LATERAL (
      SELECT a.authorization_row AS row, a.account, a.expires_at, a.lead_at, a.claimed_by FROM authorizations a
      WHERE a.account = n.account AND a.watch_at <= $2 AND (a.claimed_by = ANY($1)) IS NOT TRUE
      ORDER BY a.watch_at LIMIT $3) d";

const ASKING: &str = "
    WITH RECURSIVE names (account) AS (
      SELECT min(account) FROM authorizations WHERE ask_at IS NOT NULL
      UNION ALL
      SELECT (SELECT min(t.account) FROM authorizations t WHERE t.ask_at IS NOT NULL AND t.account > n.account)
      FROM names n WHERE n.account IS NOT NULL)
    SELECT d.* FROM names n CROSS JOIN LATERAL (
      (SELECT a.authorization_row AS row, a.account, a.expires_at, a.claimed_by FROM authorizations a
       WHERE a.account = n.account AND a.ask_at <= $2 AND (a.claimed_by = ANY($1)) IS NOT TRUE
       ORDER BY a.ask_at LIMIT $3)
      UNION ALL
      (SELECT a.authorization_row, a.account, a.expires_at, a.claimed_by FROM authorizations a
       WHERE a.account = n.account AND a.ask_at > $4 AND (a.claimed_by = ANY($1)) IS NOT TRUE LIMIT $3)) d";

const READS_SET_BACK: &str = "
    (SELECT authorization_row AS row, account, expires_at, lead_at, claimed_by FROM authorizations
     WHERE waiting > 0 AND read_at > $4 AND watch_at > $2 AND (claimed_by = ANY($1)) IS NOT TRUE LIMIT $3)
    UNION ALL
    (SELECT authorization_row, account, expires_at, lead_at, claimed_by FROM authorizations
     WHERE waiting = 0 AND read_at > $5 AND watch_at > $2 AND (claimed_by = ANY($1)) IS NOT TRUE LIMIT $3)";

/// What needs no call is nobody's own: whoever comes to it first has done it, and for the others it is not
/// due any more.
const SHIPMENTS: &str = "SELECT shipment_row FROM shipments WHERE due_at <= $1 ORDER BY due_at, shipment_row LIMIT $2";
const KEPT: &str = "SELECT notice_row FROM kept_notices WHERE due_at <= $1 ORDER BY due_at, notice_row LIMIT $2";
const ORDERS: &str = "SELECT order_row FROM orders WHERE closes_at <= $1 ORDER BY closes_at LIMIT $2";

// Taking what is still free. What somebody has in hand just now is left to him.

const CLAIM_CAPTURES: &str = "
    UPDATE captures SET claimed_by = $2 WHERE capture_row = ANY(ARRAY(
      SELECT capture_row FROM captures WHERE capture_row = ANY($3) AND (claimed_by = ANY($1)) IS NOT TRUE
      ORDER BY capture_row FOR UPDATE SKIP LOCKED))
    RETURNING capture_row";

const CLAIM_AUTHORIZATIONS: &str = "
    UPDATE authorizations SET claimed_by = $2 WHERE authorization_row = ANY(ARRAY(
      SELECT authorization_row FROM authorizations WHERE authorization_row = ANY($3) AND (claimed_by = ANY($1)) IS NOT TRUE
      ORDER BY authorization_row FOR UPDATE SKIP LOCKED))
    RETURNING authorization_row";

const CLAIM_EVENTS: &str = "
    UPDATE outbox SET claimed_by = $2 WHERE event_row = ANY(ARRAY(
      SELECT event_row FROM outbox WHERE event_row = ANY($3) AND (claimed_by = ANY($1)) IS NOT TRUE
      ORDER BY event_row FOR UPDATE SKIP LOCKED))
    RETURNING event_row";

/// A worker among others.
pub(super) struct Among {
    worker: i64,
    others: Vec<i64>,
}

/// A worker among those whose leases last now.
pub(super) async fn among(session: &Session, worker: i64) -> Result<Among> {
    let rows = session.query(OTHERS, &[&worker]).await?;
    Ok(Among { worker, others: rows.iter().map(|row| row.read(0)).collect::<rusqlite::Result<_>>()? })
}

/// What is due, and ours from now on.
pub(super) async fn find_due(
    session: &Session,
    among: &Among,
    policy: &Policy,
    now: Timestamp,
    limit: u32,
) -> Result<DueNow> {
    let (now_micros, limit) = (now.timestamp_micros(), i64::from(limit));
    let beyond = clock::after(now, policy.longest_wait()).timestamp_micros();
    let beyond_rest = clock::after(now, policy.longest_rest()).timestamp_micros();
    let others = &among.others;
    let captures = session.query(CAPTURES, &[others, &now_micros, &limit, &beyond]).await?;
    let captures = claim(session, CLAIM_CAPTURES, among, captures).await?;
    let mut records = session.query(AUTHORIZATIONS, &[others, &now_micros, &limit]).await?;
    let set_back: &[&(dyn ToSql + Sync)] = &[others, &now_micros, &limit, &beyond, &beyond_rest];
    records.extend(session.query(READS_SET_BACK, set_back).await?);
    let records = claim(session, CLAIM_AUTHORIZATIONS, among, records).await?;
    let asking = session.query(ASKING, &[others, &now_micros, &limit, &beyond]).await?;
    let asking = claim(session, CLAIM_AUTHORIZATIONS, among, asking).await?;
    let mut due = DueNow::default();
    let mut warnings = Vec::new();
    for row in &captures {
        due.calls.push(ready(row, Due::Capture(CaptureKey::new(row.read(0)?)))?);
    }
    for row in &records {
        let key = AuthorizationKey::new(row.read(0)?);
        // Where a read is due too, it is found again when the warning is given.
        if instant(row, "lead_at")?.is_some_and(|at| at <= now) {
            warnings.push(Due::Warning(key));
        } else {
            due.calls.push(ready(row, Due::Authorization(key))?);
        }
    }
    for row in &asking {
        due.calls.push(ready(row, Due::Ask(AuthorizationKey::new(row.read(0)?)))?);
    }
    due.calls.sort_by_key(|ready| ready.deadline.unwrap_or(Timestamp::MAX_UTC));
    let mut arrived: Vec<(i64, Due)> = Vec::new();
    for row in session.query(SHIPMENTS, &[&now_micros, &limit]).await? {
        let row = row.read(0)?;
        arrived.push((row, Due::Shipment(ShipmentKey::new(row))));
    }
    for row in session.query(KEPT, &[&now_micros, &limit]).await? {
        let row = row.read(0)?;
        arrived.push((row, Due::Kept(KeptKey::new(row))));
    }
    arrived.sort_unstable_by_key(|(row, _)| *row);
    due.others = arrived.into_iter().map(|(_, due)| due).collect();
    for row in session.query(ORDERS, &[&now_micros, &limit]).await? {
        due.others.push(Due::Order(OrderKey::new(row.read(0)?)));
    }
    due.others.extend(warnings);
    Ok(due)
}

/// Those of the rows that are ours, or become ours.
async fn claim(session: &Session, sql: &'static str, among: &Among, rows: Vec<Row>) -> Result<Vec<Row>> {
    let mut free = Vec::new();
    for row in &rows {
        if row.named::<Option<i64>>("claimed_by")? != Some(among.worker) {
            free.push(row.read::<i64>(0)?);
        }
    }
    if free.is_empty() {
        return Ok(rows);
    }
    let mut taken = Vec::new();
    for row in session.query(sql, &[&among.others, &among.worker, &free]).await? {
        taken.push(row.read::<i64>(0)?);
    }
    let is_ours = |row: &Row| row.read::<i64>(0).is_ok_and(|row| !free.contains(&row) || taken.contains(&row));
    Ok(rows.into_iter().filter(is_ours).collect())
}

fn ready(row: &Row, due: Due) -> rusqlite::Result<Ready> {
    Ok(Ready { due, account: account(&row.named::<String>("account")?)?, deadline: instant(row, "expires_at")? })
}

const UNPUBLISHED: &str = "
    SELECT e.event_row, e.event_id, e.kind, e.body, e.traceparent, o.claimed_by
    FROM outbox o JOIN events e USING (event_row)
    WHERE o.published_at IS NULL AND o.event_row > $2 AND o.written_at < $3 AND (o.claimed_by = ANY($1)) IS NOT TRUE
    ORDER BY o.event_row LIMIT $4";

/// Events that are not published, and that are ours to publish, in the order of their rows: what one worker
/// has written is in the order of time, what several have is not.
pub(super) async fn unpublished(
    session: &Session,
    among: &Among,
    row: i64,
    written_before: Timestamp,
    limit: u32,
) -> Result<Vec<OutboxRow>> {
    let (before, limit) = (written_before.timestamp_micros(), i64::from(limit));
    let rows = session.query(UNPUBLISHED, &[&among.others, &row, &before, &limit]).await?;
    let rows = claim(session, CLAIM_EVENTS, among, rows).await?;
    let event = |row: &Row| {
        Ok(OutboxRow {
            row: row.read(0)?,
            event_id: Uuid::from_bytes(row.read(1)?),
            kind: row.read(2)?,
            body: row.read::<Vec<u8>>(3)?.into(),
            traceparent: row.read(4)?,
        })
    };
    Ok(rows.iter().map(event).collect::<rusqlite::Result<_>>()?)
}

const INTERRUPTED: &str = "
    SELECT capture_row FROM captures
    WHERE is_open = 1 AND (state = 'sending' OR state = 'in_doubt')
    AND claimed_by IS DISTINCT FROM $2 AND (claimed_by = ANY($1)) IS NOT TRUE";

/// Whoever has one in hand just now is waited for: should it be our own question whose connection was lost,
/// what it takes is ours.
const TAKE_OVER: &str = "
    UPDATE captures SET claimed_by = $2 WHERE capture_row = ANY(ARRAY(
      SELECT capture_row FROM captures
      WHERE capture_row = ANY($3) AND is_open = 1 AND (state = 'sending' OR state = 'in_doubt')
      AND (claimed_by = ANY($1)) IS NOT TRUE
      ORDER BY capture_row FOR UPDATE))
    RETURNING capture_row, epoch";

const GONE: &str = "SELECT worker_row FROM workers
    WHERE lease_until <= now() AND taken_over = 0 AND worker_row <> $1";

const TAKEN_OVER: &str = "
    UPDATE workers SET taken_over = 1 WHERE worker_row = ANY($1) AND lease_until <= now() AND NOT EXISTS (
      SELECT 1 FROM captures c WHERE c.is_open = 1 AND (c.state = 'sending' OR c.state = 'in_doubt')
      AND c.claimed_by = worker_row)";

/// Captures that a worker had begun which is gone, and that are ours from now on. Of those that nobody has
/// ever claimed, such as a ledger has that came from a file, only the first question finds any.
///
/// `found` is what was found so far by the same question: when its answer was lost on the way, they are ours
/// already, and would be nobody's for as long as we live if they were not told again.
pub(super) async fn interrupted(
    session: &Session,
    among: &Among,
    is_first: bool,
    found: &Mutex<BTreeSet<i64>>,
) -> Result<Vec<(CaptureKey, u32)>> {
    let mut gone: Vec<i64> = Vec::new();
    for row in session.query(GONE, &[&among.worker]).await? {
        gone.push(row.read(0)?);
    }
    if !gone.is_empty() || is_first {
        let left = session.query(INTERRUPTED, &[&among.others, &among.worker]).await?;
        let left = left.iter().map(|row| row.read(0)).collect::<rusqlite::Result<Vec<i64>>>()?;
        found.lock().expect("nothing panics under it").extend(left);
    }
    let found: Vec<i64> = found.lock().expect("nothing panics under it").iter().copied().collect();
    let mut captures = Vec::new();
    if !found.is_empty() {
        let rows = session.query(TAKE_OVER, &[&among.others, &among.worker, &found]).await?;
        let capture = |row: &Row| Ok((CaptureKey::new(row.read(0)?), row.read(1)?));
        captures = rows.iter().map(capture).collect::<rusqlite::Result<_>>()?;
        captures.sort_unstable();
    }
    if !gone.is_empty() {
        session.execute(TAKEN_OVER, &[&gone]).await?;
    }
    Ok(captures)
}

const COUNTS: &str = "SELECT
    (SELECT count(*) FROM captures WHERE is_open = 1),
    (SELECT min(doubt_since) FROM captures WHERE is_open = 1 AND state = 'in_doubt'),
    least((SELECT min(a.expires_at) FROM captures c JOIN authorizations a USING (authorization_row)
       WHERE c.is_open = 1), (SELECT min(expires_at) FROM authorizations WHERE waiting > 0)),
    least((SELECT min(accepted_at) FROM shipments WHERE due_at IS NOT NULL),
      (SELECT min(kept_at) FROM kept_notices WHERE due_at IS NOT NULL)),
    (SELECT count(*) FROM outbox WHERE published_at IS NULL),
    (SELECT min(written_at) FROM outbox WHERE published_at IS NULL)";

const IN_DOUBT: &str = "SELECT a.account, count(*) FROM captures c JOIN authorizations a USING (authorization_row)
    WHERE c.is_open = 1 AND c.state = 'in_doubt' GROUP BY a.account ORDER BY a.account";

const EARNED: &str = "SELECT account, currency, sum(amount)::bigint FROM (
      SELECT a.account, a.currency, c.amount FROM captures c JOIN authorizations a USING (authorization_row)
      WHERE c.is_open = 1
      UNION ALL
      SELECT account, currency, waiting_amount FROM authorizations WHERE waiting > 0) AS earned
    GROUP BY account, currency ORDER BY account, currency";

const DEAD_LETTERS: &str =
    "SELECT reason, count(*) FROM dead_letters WHERE state = 'open' GROUP BY reason ORDER BY reason";

const HALTED: &str = "SELECT account, count(*) FROM authorizations WHERE foreign_standing = 'halted'
    GROUP BY account ORDER BY account";

const HELD: &str =
    "SELECT account, sum(held)::bigint FROM authorizations WHERE held > 0 GROUP BY account ORDER BY account";

const CORRECTED: &str = "SELECT account, max(corrected_at) FROM captures WHERE corrected_at IS NOT NULL
    GROUP BY account ORDER BY account";

/// The first numbers on the dashboard: of the whole ledger, whoever works on it.
pub(super) async fn vitals(session: &Session) -> Result<Vitals> {
    let counts = session.query(COUNTS, &[]).await?;
    let counts = counts.first().ok_or_else(|| Trouble::fatal("nothing was counted"))?;
    let at = |index| -> rusqlite::Result<Option<Timestamp>> {
        Ok(counts.read::<Option<crate::ledger::codec::At>>(index)?.map(|at| at.0))
    };
    let earned = session.query(EARNED, &[]).await?;
    let earned = earned.iter().map(|row| Ok((account(&row.read::<String>(0)?)?, row.read(1)?, row.read(2)?)));
    let dead_letters = session.query(DEAD_LETTERS, &[]).await?;
    let dead_letters = dead_letters.iter().map(|row| Ok((row.read(0)?, row.read(1)?)));
    let corrected = session.query(CORRECTED, &[]).await?;
    let corrected =
        corrected.iter().map(|row| Ok((account(&row.read::<String>(0)?)?, row.read::<crate::ledger::codec::At>(1)?.0)));
    Ok(Vitals {
        open_captures: counts.read(0)?,
        in_doubt: by_account(session, IN_DOUBT).await?,
        oldest_doubt: at(1)?,
        earned_uncaptured: earned.collect::<rusqlite::Result<_>>()?,
        nearest_deadline: at(2)?,
        oldest_awaiting: at(3)?,
        outbox_pending: counts.read(4)?,
        outbox_oldest: at(5)?,
        dead_letters: dead_letters.collect::<rusqlite::Result<_>>()?,
        halted: by_account(session, HALTED).await?,
        held: by_account(session, HELD).await?,
        corrected: corrected.collect::<rusqlite::Result<_>>()?,
    })
}

async fn by_account(session: &Session, sql: &'static str) -> Result<Vec<(AccountName, u64)>> {
    let rows = session.query(sql, &[]).await?;
    let count = |row: &Row| Ok((account(&row.read::<String>(0)?)?, row.read(1)?));
    Ok(rows.iter().map(count).collect::<rusqlite::Result<_>>()?)
}

fn account(text: &str) -> rusqlite::Result<AccountName> {
    AccountName::parse(text).map_err(|_| corrupt("an account's name is not an id"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What is asked again and again.
    pub(in crate::ledger::postgres) const ALL: &[&str] = &[
        CAPTURES,
        AUTHORIZATIONS,
        ASKING,
        READS_SET_BACK,
        SHIPMENTS,
        KEPT,
        ORDERS,
        CLAIM_CAPTURES,
        CLAIM_AUTHORIZATIONS,
        CLAIM_EVENTS,
        UNPUBLISHED,
        INTERRUPTED,
        TAKE_OVER,
        COUNTS,
        IN_DOUBT,
        EARNED,
        DEAD_LETTERS,
        HALTED,
        HELD,
    ];
}
