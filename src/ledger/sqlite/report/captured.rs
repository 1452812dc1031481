//! What was captured in all, to hold it against other books.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::ledger::LedgerError;

/// What was captured, by reference of the authorization: how many captures, and how much in minor
/// units.
///
/// # Errors
/// [`LedgerError::Failed`] when it cannot be read.
pub fn captured_by_reference(connection: &Connection) -> Result<BTreeMap<String, (u64, i64)>, LedgerError> {
    let read = || {
        let mut statement = connection.prepare(
            "SELECT a.reference, count(*), sum(c.amount) FROM captures c JOIN authorizations a USING (authorization_row)
             WHERE c.state = 'captured' GROUP BY a.authorization_row",
        )?;
        statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?.collect::<rusqlite::Result<_>>()
    };
    read().map_err(|error: rusqlite::Error| LedgerError::Failed(error.to_string()))
}
