//! Rows by column, as `unnest` takes them: one statement writes all the rows of a table.

use tokio_postgres::types::ToSql;

use crate::ledger::codec::At;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Text,
    Bytes,
}

/// A cell to write.
pub(super) enum Cell {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Option<i64>> for Cell {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Integer(Some(value.into()))
    }
}

impl From<Option<u32>> for Cell {
    fn from(value: Option<u32>) -> Self {
        Self::Integer(value.map(i64::from))
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        Self::Integer(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Integer(Some(value.into()))
    }
}

impl From<At> for Cell {
    fn from(value: At) -> Self {
        Self::Integer(Some(value.0.timestamp_micros()))
    }
}

impl From<Option<At>> for Cell {
    fn from(value: Option<At>) -> Self {
        Self::Integer(value.map(|at| at.0.timestamp_micros()))
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(Some(storable(value.to_owned())))
    }
}

impl From<Option<&str>> for Cell {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(|text| storable(text.to_owned())))
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(Some(storable(value)))
    }
}

impl From<Option<String>> for Cell {
    fn from(value: Option<String>) -> Self {
        Self::Text(value.map(storable))
    }
}

impl From<&[u8]> for Cell {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl From<Option<&[u8]>> for Cell {
    fn from(value: Option<&[u8]>) -> Self {
        Self::Bytes(value.map(<[u8]>::to_vec))
    }
}

/// PostgreSQL takes no NUL in a text. Ids have none; in words for people it says nothing.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// The cells of a row, in the order of the columns.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($crate::ledger::postgres::write::batch::Cell::from($cell)),*] };
}
pub(super) use row;

/// Rows of one table, by column.
pub(super) struct Batch {
    columns: Vec<Column>,
    rows: u64,
}

enum Column {
    Integers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Batch {
    /// No rows yet.
    pub(super) fn of(kinds: impl Iterator<Item = Kind>) -> Self {
        let column = |kind| match kind {
            Kind::Integer => Column::Integers(Vec::new()),
            Kind::Text => Column::Texts(Vec::new()),
            Kind::Bytes => Column::Bytes(Vec::new()),
        };
        Self { columns: kinds.map(column).collect(), rows: 0 }
    }

    /// One row more.
    ///
    /// # Panics
    /// When its cells are not what the columns hold.
    pub(super) fn push(&mut self, row: Vec<Cell>) {
        assert_eq!(row.len(), self.columns.len(), "a row has a cell for every column");
        self.rows += 1;
        for (number, (column, cell)) in self.columns.iter_mut().zip(row).enumerate() {
            match (column, cell) {
                (Column::Integers(cells), Cell::Integer(cell)) => cells.push(cell),
                (Column::Texts(cells), Cell::Text(cell)) => cells.push(cell),
                (Column::Bytes(cells), Cell::Bytes(cell)) => cells.push(cell),
                (Column::Integers(_) | Column::Texts(_) | Column::Bytes(_), _) => {
                    unreachable!("cell {number} is not what its column holds")
                }
            }
        }
    }

    /// How many there are.
    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    /// One array for each column.
    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.columns
            .iter()
            .map(|column| -> &(dyn ToSql + Sync) {
                match column {
                    Column::Integers(cells) => cells,
                    Column::Texts(cells) => cells,
                    Column::Bytes(cells) => cells,
                }
            })
            .collect()
    }
}
