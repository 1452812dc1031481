//! The tables of a ledger, as the file has them: the same in both, in an order in which none refers to a
//! later one.

use rusqlite::params;
use tokio_postgres::types::Type;

use crate::ledger::codec::corrupt;
use crate::ledger::session::{self, Session};

/// A table.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// The places of its key's columns, in their order in the key.
    pub(super) key: Vec<usize>,
    pub(super) rows: u64,
}

/// A column.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of: Type,
}

impl Table {
    /// Has it rows from the beginning?
    pub(super) fn is_never_empty(&self) -> bool {
        self.name == "sequence" || self.name == "pruned"
    }

    /// Its columns, separated by commas.
    pub(super) fn list(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// The columns of its key, separated by commas.
    pub(super) fn key_list(&self) -> String {
        self.key.iter().map(|place| quoted(&self.columns[*place].name)).collect::<Vec<_>>().join(", ")
    }

    /// The types of its columns.
    pub(super) fn types(&self) -> Vec<Type> {
        self.columns.iter().map(|column| column.of.clone()).collect()
    }
}

/// One of them is a word of the language.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// Every table of the file, but what tells of moves.
pub(super) fn of(file: &Session) -> session::Result<Vec<Table>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'moves'
               ORDER BY rowid";
    let names: Vec<String> = file.query(sql, params![], |row| row.get(0))?;
    names.into_iter().map(|name| table(file, name)).collect()
}

fn table(file: &Session, name: String) -> session::Result<Table> {
    let sql = "SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY cid";
    let read: Vec<(Column, u64)> = file.query(sql, params![name], |row| {
        let of = match row.get_ref("type")?.as_str()? {
            "INTEGER" => Type::INT8,
            "TEXT" => Type::TEXT,
            "BLOB" => Type::BYTEA,
            _ => return Err(corrupt("a column is of a type that no Holdfast uses")),
        };
        Ok((Column { name: row.get("name")?, of }, row.get("pk")?))
    })?;
    let mut key: Vec<(u64, usize)> =
        read.iter().enumerate().filter(|(_, (_, pk))| *pk > 0).map(|(place, (_, pk))| (*pk, place)).collect();
    key.sort_unstable();
    let rows = file.one(&format!("SELECT count(*) FROM {name}"), params![], |row| row.get(0))?;
    Ok(Table {
        name,
        columns: read.into_iter().map(|(column, _)| column).collect(),
        key: key.into_iter().map(|(_, place)| place).collect(),
        rows,
    })
}

/// What a copy of rows leaves out: numbers that the server gives go on behind those that were copied, and a
/// restore that is under way has its index.
pub(super) fn finish(file: &Session, database: &Session) -> session::Result<()> {
    let sql = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
               WHERE table_schema = current_schema() AND is_identity = 'YES' AND table_name <> 'workers'";
    let numbered: Vec<(String, String)> = database.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (table, column) in numbered {
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 0) + 1, false)
             FROM {table}"
        );
        database.number(&sql, params![])?;
    }
    let sql = "SELECT 1 FROM sqlite_schema WHERE name = 'captures_restored'";
    if file.find(sql, params![], |_| Ok(()))?.is_some() {
        database.batch("CREATE INDEX IF NOT EXISTS captures_restored ON captures (authorization_row)")?;
    }
    Ok(())
}
