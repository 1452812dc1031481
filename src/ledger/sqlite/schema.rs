//! The tables, and how an older file becomes a newer one.
//!
//! The database itself refuses what must never be: more captured and reserved than authorized (S3),
//! a changed intent (S5), a terminal state that moves, a second outcome of one shipment (S6), and a
//! movement that is changed or deleted.

use rusqlite::Connection;

use crate::ledger::{LedgerError, Migrated};

/// Each migration brings the file from its index to the next version (`PRAGMA user_version`).
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_ledger.sql")];

/// Brings the file to the newest version; from which one.
pub(in crate::ledger) fn migrate(connection: &mut Connection, path: &str) -> Result<Migrated, LedgerError> {
    let failed = |cause: String| LedgerError::Open { path: path.to_owned(), cause };
    let sql = |error: rusqlite::Error| failed(error.to_string());
    let version: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        .map_err(sql)?
        .try_into()
        .map_err(|_| failed("its version is out of range".to_owned()))?;
    if version > MIGRATIONS.len() {
        return Err(failed(format!(
            "it was written by a newer Holdfast (version {version}, this one knows {}): use that one",
            MIGRATIONS.len()
        )));
    }
    for (done, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction().map_err(sql)?;
        transaction.execute_batch(migration).map_err(sql)?;
        transaction.pragma_update(None, "user_version", done + 1).map_err(sql)?;
        transaction.commit().map_err(sql)?;
    }
    Ok(Migrated { from: version, to: MIGRATIONS.len() })
}

/// Is the file of the version that this Holdfast reads?
pub(in crate::ledger) fn check(connection: &Connection, path: &str) -> Result<(), LedgerError> {
    let failed = |cause: String| LedgerError::Open { path: path.to_owned(), cause };
    let version = connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0));
    let version = version.map_err(|error| failed(error.to_string()))?;
    if usize::try_from(version) == Ok(MIGRATIONS.len()) {
        return Ok(());
    }
    Err(failed(format!("it has version {version}, this Holdfast reads {}: start its worker once", MIGRATIONS.len())))
}
