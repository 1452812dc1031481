//! Copies rows page by page in the order of their keys, reads them back, and holds both against each other.

use rusqlite::params;
use rusqlite::types::Value;
use sha2::{Digest, Sha256};

use super::tables::Table;
use super::{MoveError, Moved};
use crate::ledger::cells::Cells;
use crate::ledger::session::{self, Row, Session};

/// Rows that are read and written together.
const PAGE: usize = 1_000;

/// Copies every table, and makes sure that what can be read from the copy is what is in the file.
pub(super) fn copy(
    file: &Session,
    database: &Session,
    tables: &[Table],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Moved, MoveError> {
    let total = 2 * tables.iter().map(|table| table.rows).sum::<u64>();
    let mut done = 0;
    let mut all = Sha256::new();
    let mut moved = Vec::new();
    for table in tables {
        let mut tell = |rows: usize| {
            done += u64::try_from(rows).unwrap_or(u64::MAX);
            progress(done, total);
        };
        if table.is_never_empty() {
            database.execute(&format!("DELETE FROM {}", table.name), params![])?;
        }
        let sql = format!("COPY {} ({}) FROM STDIN BINARY", table.name, table.list());
        let written = each_page(file, table, |rows| {
            tell(rows.len());
            database.copy_in(&sql, rows, table.types())
        })?;
        let read = each_page(database, table, |rows| {
            tell(rows.len());
            Ok(())
        })?;
        if written != read {
            return Err(differs(table, &written, &read));
        }
        all.update(table.name.as_bytes());
        all.update(written.sha256);
        moved.push((table.name.clone(), written.rows));
    }
    Ok(Moved { tables: moved, sha256: Some(all.finalize().into()) })
}

fn differs(table: &Table, written: &Whole, read: &Whole) -> MoveError {
    let how = if written.rows == read.rows {
        "the cells of its rows differ".to_owned()
    } else {
        format!("{} rows were written, and {} read back", written.rows, read.rows)
    };
    MoveError::Differs { table: table.name.clone(), how }
}

/// All rows of a table.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    rows: u64,
    sha256: [u8; 32],
}

/// Reads a table in the order of its key.
fn each_page(
    session: &Session,
    table: &Table,
    mut take: impl FnMut(Vec<Vec<Value>>) -> session::Result<()>,
) -> session::Result<Whole> {
    let (columns, key) = (table.list(), table.key_list());
    let places: Vec<String> = (1..=table.key.len()).map(|number| format!("?{number}")).collect();
    let first = format!("SELECT {columns} FROM {} ORDER BY {key} LIMIT {PAGE}", table.name);
    let next = format!(
        "SELECT {columns} FROM {} WHERE ({key}) > ({}) ORDER BY {key} LIMIT {PAGE}",
        table.name,
        places.join(", ")
    );
    let (mut whole, mut rows, mut behind) = (Sha256::new(), 0, Vec::new());
    loop {
        let sql = if behind.is_empty() { &first } else { &next };
        let page = session.query(sql, std::mem::take(&mut behind), |row| read(row, table.columns.len()))?;
        for row in &page {
            rows += 1;
            for cell in row {
                add(&mut whole, cell);
            }
        }
        let is_last = page.len() < PAGE;
        if let Some(last) = page.last() {
            behind = table.key.iter().map(|place| last[*place].clone()).collect();
            take(page)?;
        }
        if is_last {
            return Ok(Whole { rows, sha256: whole.finalize().into() });
        }
    }
}

fn read(row: &Row<'_>, columns: usize) -> rusqlite::Result<Vec<Value>> {
    let cell = |index| Ok(Value::try_from(row.cell(index)?)?);
    (0..columns).map(cell).collect()
}

/// A cell so that no two different rows are the same bytes.
fn add(whole: &mut Sha256, cell: &Value) {
    let (kind, bytes): (u8, &[u8]) = match cell {
        Value::Null => (0, &[]),
        Value::Integer(number) => return add_bytes(whole, 1, &number.to_be_bytes()),
        Value::Real(number) => return add_bytes(whole, 2, &number.to_be_bytes()),
        Value::Text(text) => (3, text.as_bytes()),
        Value::Blob(bytes) => (4, bytes),
    };
    add_bytes(whole, kind, bytes);
}

fn add_bytes(whole: &mut Sha256, kind: u8, bytes: &[u8]) {
    whole.update([kind]);
    whole.update(bytes.len().to_be_bytes());
    whole.update(bytes);
}
