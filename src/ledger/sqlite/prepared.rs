//! A statement that is looked up once in a group of commands, however often it is used in it.

use rusqlite::{CachedStatement, Connection};

/// A statement, once it is needed.
pub(super) struct Prepared<'a> {
    connection: &'a Connection,
    sql: &'static str,
    statement: Option<CachedStatement<'a>>,
}

impl<'a> Prepared<'a> {
    /// A statement that was not needed yet.
    pub(super) const fn new(connection: &'a Connection, sql: &'static str) -> Self {
        Self { connection, sql, statement: None }
    }

    /// The statement.
    pub(super) fn get(&mut self) -> rusqlite::Result<&mut CachedStatement<'a>> {
        match &mut self.statement {
            Some(statement) => Ok(statement),
            none => Ok(none.insert(self.connection.prepare_cached(self.sql)?)),
        }
    }
}
