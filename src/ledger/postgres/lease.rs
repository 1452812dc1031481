//! Who works on the ledger, and whose work is free.
//!
//! A worker holds a lease by the clock of the database, renewed with every group and by a heartbeat. What
//! it has accepted or begun is its own for as long; then whoever asks first takes it over. Nothing is safe
//! because of it: a worker that wakes after its lease is kept from mistakes by states and epochs.

use std::time::Duration;

use super::Options;
use super::session::Session;
use super::trouble::Trouble;

/// Rows of workers that are long gone, and of which nothing is left to do, are deleted.
const TIDY: &str = "DELETE FROM workers WHERE taken_over = 1 AND lease_until < now() - interval '7 days'";

/// Enters a worker; its row.
pub(super) async fn enter(session: &Session, options: &Options) -> Result<i64, Trouble> {
    session.execute(TIDY, &[]).await?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (pid, lease) = (i64::from(std::process::id()), millis(options.lease));
    let sql = "INSERT INTO workers (name, host, pid, lease_until)
               VALUES ($1, $2, $3, now() + $4::bigint * interval '1 millisecond') RETURNING worker_row";
    let rows = session.query(sql, &[&options.name, &host, &pid, &lease]).await?;
    Ok(rows.first().ok_or_else(|| Trouble::fatal("no worker was entered"))?.try_get(0)?)
}

/// Renews a worker's lease. One that has left stays gone.
pub(super) async fn renew(session: &Session, worker: i64, lease: Duration) -> Result<(), Trouble> {
    let sql = "UPDATE workers SET lease_until = now() + $2::bigint * interval '1 millisecond', taken_over = 0
               WHERE worker_row = $1 AND lease_until > '-infinity'";
    session.execute(sql, &[&worker, &millis(lease)]).await.map(drop)
}

/// A worker leaves: what is its own is free at once, and so are the numbers that it has not used, if nobody
/// has taken any behind them.
pub(super) async fn leave(session: &Session, worker: i64, next: i64, end: i64) -> Result<(), Trouble> {
    session.execute("UPDATE workers SET lease_until = '-infinity' WHERE worker_row = $1", &[&worker]).await?;
    session.execute("UPDATE sequence SET next_row = $1 WHERE next_row = $2", &[&next, &end]).await.map(drop)
}

/// A span in milliseconds.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
