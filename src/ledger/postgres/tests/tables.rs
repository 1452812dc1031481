//! The tables are those of SQLite, and hold the same.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Value;

use super::*;
use crate::ledger::sqlite::open_for_reading;

/// What is only here.
const ONLY_HERE: [&str; 3] = ["schema_version", "standings", "workers"];

/// Tables with their columns, in order.
type Tables = BTreeMap<String, Vec<String>>;

fn of_sqlite(path: &Path) -> Tables {
    let file = open_for_reading(path).expect("a ledger");
    let sql = "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c
               WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid";
    let mut statement = file.prepare(sql).expect("it is SQL");
    let mut tables = Tables::new();
    let mut rows = statement.query([]).expect("asked");
    while let Some(row) = rows.next().expect("a row") {
        tables.entry(row.get(0).expect("a name")).or_default().push(row.get(1).expect("a name"));
    }
    tables
}

fn of_postgres(address: &Address) -> Tables {
    let listed = "SELECT table_name || '.' || column_name FROM information_schema.columns
                  WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position";
    let mut tables = Tables::new();
    for name in sql(address, listed).expect("listed") {
        let (table, column) = name.split_once('.').expect("two names");
        if !ONLY_HERE.contains(&table) && column != "claimed_by" {
            tables.entry(table.to_owned()).or_default().push(column.to_owned());
        }
    }
    tables
}

/// Every row of every table that tells what has happened.
pub(crate) fn rows_of_sqlite(path: &Path) -> BTreeMap<String, Vec<Vec<Value>>> {
    let file = open_for_reading(path).expect("a ledger");
    let read = |(table, columns): (String, Vec<String>)| {
        let mut statement = file.prepare(&all(&table, &columns)).expect("it is SQL");
        let count = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..count).map(|index| row.get(index)).collect();
        let rows = statement.query_map([], row).expect("asked").map(|row| row.expect("a row")).collect();
        (table, rows)
    };
    of_sqlite(path).into_iter().filter(|(table, _)| table != "sequence").map(read).collect()
}

/// The same of a database.
pub(crate) fn rows_of_postgres(address: &Address) -> BTreeMap<String, Vec<Vec<Value>>> {
    let tables = of_postgres(address);
    runtime().block_on(async {
        let mut session = connect(address, Purpose::Questions).await.expect("connected");
        let mut all_rows = BTreeMap::new();
        for (table, columns) in tables.into_iter().filter(|(table, _)| table != "sequence") {
            let rows = session.client_mut().query(&all(&table, &columns), &[]).await.expect("asked");
            let row = |row: &tokio_postgres::Row| {
                (0..row.len()).map(|index| row.read::<Value>(index).expect("a cell")).collect()
            };
            all_rows.insert(table, rows.iter().map(row).collect());
        }
        all_rows
    })
}

/// In the order of the first column that is not numbered by the table itself.
fn all(table: &str, columns: &[String]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .filter(|column| *column != "dead_letter_row")
        .map(|column| if column == "only" { "\"only\"".to_owned() } else { column.clone() })
        .collect();
    format!("SELECT {} FROM {table} ORDER BY 1, 2", columns.join(", "))
}

#[test]
fn the_tables_and_their_columns_are_those_of_sqlite() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ledger.db");
    let clock = ManualClock::new();
    drop(crate::ledger::sqlite::SqliteLedger::open(&path, environment(policy(), &clock)).expect("a ledger"));
    let address = database();
    drop(open(&address, &clock));
    assert_eq!(of_sqlite(&path), of_postgres(&address));
    let kinds = sql(
        &address,
        "SELECT DISTINCT data_type::text FROM information_schema.columns c
        WHERE table_schema = current_schema() AND table_name NOT IN ('schema_version', 'workers') ORDER BY 1",
    );
    assert_eq!(kinds.expect("listed"), ["bigint", "bytea", "text"]);
}
