//! What was captured in all, to hold it against other books.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Report, ReportError};

impl Report {
    /// What was captured, by reference of the authorization: how many captures, and how much in minor
    /// units.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn captured_by_reference(&self) -> Result<BTreeMap<String, (u64, i64)>, ReportError> {
        let sql = "SELECT a.reference, count(*), CAST(sum(c.amount) AS BIGINT)
                   FROM captures c JOIN authorizations a USING (authorization_row)
                   WHERE c.state = 'captured' GROUP BY a.authorization_row, a.reference";
        let rows =
            self.ask(|session| session.query(sql, params![], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))))?;
        Ok(rows.into_iter().collect())
    }
}
