//! Who runs on a ledger now.

use rusqlite::params;

use super::session::Session;
use super::{LedgerError, Source};
use crate::ledger::sqlite::lock;

/// Does a worker, as far as `session` and the system tell?
pub(in crate::ledger) fn is_served(source: &Source, session: &Session) -> Result<bool, LedgerError> {
    match source {
        Source::Sqlite(path) => lock::is_held(path),
        Source::Postgres(_) => {
            let sql = "SELECT 1 FROM workers WHERE lease_until > now() LIMIT 1";
            Ok(session.find(sql, params![], |_| Ok(()))?.is_some())
        }
    }
}
