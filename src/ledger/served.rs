//! Does a worker run on a ledger now?

use super::session::Session;
use super::{LedgerError, Source};
use crate::ledger::sqlite::lock;

/// Does one, as far as `session` and the system tell?
pub(in crate::ledger) fn is_served(source: &Source, _session: &Session) -> Result<bool, LedgerError> {
    match source {
        Source::Sqlite(path) => lock::is_held(path),
        Source::Postgres(_) => todo!(),
    }
}
