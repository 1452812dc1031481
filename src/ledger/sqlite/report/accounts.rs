//! Where accounts stand, as their worker last said, and what is open on them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use rusqlite::{Connection, Row};

use super::{Report, ReportError};
use crate::ids::AccountName;
use crate::ledger::codec::{corrupt, instant};
use crate::ledger::sqlite::desk::AccountStatus;

/// An account, as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountSummary {
    /// Where it stands; `None` for an account that no worker has had in its settings.
    pub status: Option<AccountStatus>,
    /// Captures that wait to be sent.
    pub waiting: u64,
    /// Captures that are being sent.
    pub in_flight: u64,
    /// Captures in doubt.
    pub in_doubt: u64,
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

fn read(connection: &Connection) -> rusqlite::Result<BTreeMap<AccountName, AccountSummary>> {
    let mut accounts: BTreeMap<AccountName, AccountSummary> = BTreeMap::new();
    let mut statement =
        connection.prepare("SELECT account, state, why, since, last_success_at, clock_skew_ms FROM accounts")?;
    for status in statement.query_map([], read_status)? {
        let status = status?;
        let name = status.account.clone();
        accounts.entry(name).or_default().status = Some(status);
    }
    let mut statement = connection
        .prepare("SELECT account, state, count(*) FROM captures WHERE is_open = 1 GROUP BY account, state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let summary = accounts.entry(name(row)?).or_default();
        let count = row.get(2)?;
        match row.get_ref("state")?.as_str()? {
            "planned" => summary.waiting = count,
            "sending" => summary.in_flight = count,
            "in_doubt" => summary.in_doubt = count,
            _ => return Err(corrupt("an open capture is in no open state")),
        }
    }
    Ok(accounts)
}

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
