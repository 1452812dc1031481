//! A ledger in PostgreSQL as the auditors read one: the tables that they look at, copied row by row into a
//! SQLite database in memory. Both stores have the same tables, columns and encodings, so nothing is
//! translated.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Row};

/// What auditors read.
const TABLES: [&str; 8] =
    ["orders", "authorizations", "shipments", "captures", "movements", "events", "outbox", "dead_letters"];

/// A connection of our own, past everything that stands between the workers and their ledger.
pub async fn connect(url: &SecretString) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url.expose_secret(), NoTls).await?;
    drop(tokio::spawn(connection));
    Ok(client)
}

/// All of it, as it was at one moment.
pub async fn ledger(url: &SecretString) -> Connection {
    let mut client = connect(url).await.unwrap();
    let moment = client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let moment = moment.read_only(true).start().await.unwrap();
    let copy = Connection::open_in_memory().unwrap();
    for table in TABLES {
        let select = moment.prepare(&format!("SELECT * FROM {table}")).await.unwrap();
        let columns: Vec<String> = select.columns().iter().map(|column| format!("\"{}\"", column.name())).collect();
        copy.execute_batch(&format!("CREATE TABLE {table} ({}); BEGIN", columns.join(", "))).unwrap();
        let holes = vec!["?"; columns.len()].join(", ");
        let mut insert = copy.prepare(&format!("INSERT INTO {table} VALUES ({holes})")).unwrap();
        for row in moment.query(&select, &[]).await.unwrap() {
            insert.execute(params_from_iter((0..columns.len()).map(|index| cell(&row, index)))).unwrap();
        }
        copy.execute_batch("COMMIT").unwrap();
    }
    copy.execute_batch("CREATE INDEX movements_of ON movements (authorization_row)").unwrap();
    copy
}

fn cell(row: &Row, index: usize) -> Value {
    let kind = row.columns()[index].type_();
    let value = match *kind {
        Type::INT8 => row.get::<_, Option<i64>>(index).map(Value::Integer),
        Type::TEXT => row.get::<_, Option<String>>(index).map(Value::Text),
        Type::BYTEA => row.get::<_, Option<Vec<u8>>>(index).map(Value::Blob),
        _ => panic!("a ledger has no {kind}"),
    };
    value.unwrap_or(Value::Null)
}
