//! The cells of a row, whichever store it comes from: the same tables, columns and encodings in all of
//! them, so that one reader does for all. Knows no table.

use rusqlite::types::{FromSql, ValueRef};

type Result<T> = rusqlite::Result<T>;

/// A row of a store.
pub(crate) trait Cells {
    /// A cell, by the number of its column.
    fn cell(&self, index: usize) -> Result<ValueRef<'_>>;

    /// The number of a column, by its name.
    fn index_of(&self, name: &str) -> Result<usize>;

    /// What a cell holds, by the number of its column.
    fn read<T: FromSql>(&self, index: usize) -> Result<T> {
        let cell = self.cell(index)?;
        T::column_result(cell)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, cell.data_type(), Box::new(error)))
    }

    /// What a cell holds, by the name of its column.
    fn named<T: FromSql>(&self, name: &str) -> Result<T> {
        self.read(self.index_of(name)?)
    }
}

impl Cells for rusqlite::Row<'_> {
    fn cell(&self, index: usize) -> Result<ValueRef<'_>> {
        self.get_ref(index)
    }

    fn index_of(&self, name: &str) -> Result<usize> {
        self.as_ref().column_index(name)
    }
}
