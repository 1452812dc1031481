//! Where accounts stand, as their worker last said, and what is open on them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use rusqlite::params;

use super::{Report, ReportError};
use crate::capture::usage::Usage;
use crate::ids::AccountName;
use crate::ledger::codec::{corrupt, instant};
use crate::ledger::desk::AccountStatus;
use crate::ledger::rows::read_usage;
use crate::ledger::session::{self, Row, Session};

/// An account, as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountSummary {
    /// Where it stands, by the worker with which it stands worst; `None` for an account that no worker has
    /// had in its settings.
    pub status: Option<AccountStatus>,
    /// That worker, where several run.
    pub worker: Option<String>,
    /// Captures that wait to be sent.
    pub waiting: u64,
    /// Captures that are being sent.
    pub in_flight: u64,
    /// Captures in doubt.
    pub in_doubt: u64,
    /// What counts against its caps by the hour and by the day, in each currency that has any.
    pub usages: Vec<Usage>,
}

impl Report {
    /// Every account that a worker has had in its settings, or that has open captures.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn accounts(&self) -> Result<BTreeMap<AccountName, AccountSummary>, ReportError> {
        self.ask(read)
    }
}

fn read(session: &Session) -> session::Result<BTreeMap<AccountName, AccountSummary>> {
    let mut accounts: BTreeMap<AccountName, AccountSummary> = BTreeMap::new();
    let sql = "SELECT account, state, why, since, last_success_at, clock_skew_ms FROM accounts";
    for status in session.query(sql, params![], read_status)? {
        let name = status.account.clone();
        accounts.entry(name).or_default().status = Some(status);
    }
    for (status, worker) in of_workers(session)? {
        let summary = accounts.entry(status.account.clone()).or_default();
        (summary.status, summary.worker) = (Some(status), worker);
    }
    let sql = "SELECT account, state, count(*) FROM captures WHERE is_open = 1 GROUP BY account, state";
    let open = session.query(sql, params![], |row| {
        let in_state: fn(&mut AccountSummary) -> &mut u64 = match row.get_ref("state")?.as_str()? {
            "planned" => |summary| &mut summary.waiting,
            "sending" => |summary| &mut summary.in_flight,
            "in_doubt" => |summary| &mut summary.in_doubt,
            _ => return Err(corrupt("an open capture is in no open state")),
        };
        Ok((name(row)?, in_state, row.get(2)?))
    })?;
    for (name, in_state, count) in open {
        *in_state(accounts.entry(name).or_default()) = count;
    }
    let sql = "SELECT account, currency, hour, day FROM cap_usage ORDER BY account, currency";
    for usage in session.query(sql, params![], |row| read_usage(row))? {
        accounts.entry(usage.account.clone()).or_default().usages.push(usage);
    }
    Ok(accounts)
}

/// Where each account stands with the workers that run, the worst of it; and with whom, where several run.
fn of_workers(session: &Session) -> session::Result<Vec<(AccountStatus, Option<String>)>> {
    session.query(session.pick("SELECT 1 WHERE FALSE", STANDINGS), params![], |row| {
        let worker = if row.get("several")? { Some(row.get("name")?) } else { None };
        Ok((read_status(row)?, worker))
    })
}

const STANDINGS: &str = "
    SELECT DISTINCT ON (s.account) s.account, s.state, s.why, s.since, s.last_success_at, s.clock_skew_ms, w.name,
      (SELECT count(*) FROM workers WHERE lease_until > now()) > 1 AS several
    FROM standings s JOIN workers w USING (worker_row) WHERE w.lease_until > now()
    ORDER BY s.account, CASE s.state WHEN 'paused' THEN 1 WHEN 'suspended' THEN 2 WHEN 'breaker_open' THEN 3 ELSE 4 END,
      s.since DESC";

fn read_status(row: &Row<'_>) -> rusqlite::Result<AccountStatus> {
    Ok(AccountStatus {
        account: name(row)?,
        state: row.get("state")?,
        why: row.get("why")?,
        since: instant(row, "since")?.ok_or_else(|| corrupt("an account stands there since never"))?,
        last_success: instant(row, "last_success_at")?,
        clock_skew: row.get::<_, Option<i64>>("clock_skew_ms")?.and_then(TimeDelta::try_milliseconds),
    })
}

fn name(row: &Row<'_>) -> rusqlite::Result<AccountName> {
    AccountName::parse(row.get_ref("account")?.as_str()?).map_err(|_| corrupt("an account's name is not an id"))
}
