//! A row of an answer, from either store.

use rusqlite::types::{FromSql, ValueRef};

use crate::ledger::cells::Cells;

/// A row.
pub(in crate::ledger) enum Row<'a> {
    /// Of a file.
    Sqlite(&'a rusqlite::Row<'a>),
    /// Of a server.
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The decoded cell in a column, by its number or its name.
    pub(in crate::ledger) fn get<C: Column, T: FromSql>(&self, column: C) -> rusqlite::Result<T> {
        self.read(column.number(self)?)
    }

    /// The same, as it stands there.
    pub(in crate::ledger) fn get_ref(&self, column: impl Column) -> rusqlite::Result<ValueRef<'_>> {
        self.cell(column.number(self)?)
    }
}

impl Cells for Row<'_> {
    fn cell(&self, index: usize) -> rusqlite::Result<ValueRef<'_>> {
        match self {
            Self::Sqlite(row) => row.cell(index),
            Self::Postgres(row) => row.cell(index),
        }
    }

    fn index_of(&self, name: &str) -> rusqlite::Result<usize> {
        match self {
            Self::Sqlite(row) => row.index_of(name),
            Self::Postgres(row) => row.index_of(name),
        }
    }
}

/// What a column can be asked for by.
pub(in crate::ledger) trait Column: Copy {
    /// Its number in the row.
    fn number(self, row: &Row<'_>) -> rusqlite::Result<usize>;
}

impl Column for usize {
    fn number(self, _row: &Row<'_>) -> rusqlite::Result<usize> {
        Ok(self)
    }
}

impl Column for &str {
    fn number(self, row: &Row<'_>) -> rusqlite::Result<usize> {
        row.index_of(self)
    }
}
