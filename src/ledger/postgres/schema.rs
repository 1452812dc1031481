//! The tables, and how an older database becomes a newer one.
//!
//! The database itself refuses what must never be, as the SQLite file does: more captured and reserved
//! than authorized (S3), a changed intent (S5), a terminal state that moves, a second outcome of one
//! shipment (S6), and a movement that is changed or deleted.

use tokio_postgres::Client;

use super::trouble::Trouble;
use crate::ledger::Migrated;

/// Each migration brings the database from its index to the next version.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_ledger.sql")];

/// What is said of a database without a ledger.
pub(in crate::ledger) const NO_LEDGER: &str = "there is no ledger in the database: start its worker once";

/// Taken by whoever migrates; any number that nobody else uses.
const LOCK: i64 = 0x486f_6c64_6661_7374;

/// Brings the database to the newest version; from which one. Workers that start together wait for the
/// first of them.
pub(super) async fn migrate(client: &mut Client) -> Result<Migrated, Trouble> {
    if check(client).await.is_ok() {
        // Nor is any right to create tables needed then.
        return Ok(Migrated { from: MIGRATIONS.len(), to: MIGRATIONS.len() });
    }
    let mut from = None;
    loop {
        let transaction = client.transaction().await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        transaction
            .batch_execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, migrated_at TIMESTAMPTZ NOT NULL DEFAULT now())")
            .await?;
        let version = transaction.query_one("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await?;
        let version = known(version.try_get(0)?)?;
        let from = *from.get_or_insert(version);
        let Some(migration) = MIGRATIONS.get(version) else {
            transaction.rollback().await?;
            return Ok(Migrated { from, to: version });
        };
        transaction.batch_execute(migration).await?;
        let next = i64::try_from(version + 1).expect("there are few migrations");
        transaction.execute("INSERT INTO schema_version (version) VALUES ($1)", &[&next]).await?;
        transaction.commit().await?;
    }
}

/// Is the database of the version that this Holdfast reads?
pub(super) async fn check(client: &Client) -> Result<(), Trouble> {
    let there = client.query_one("SELECT to_regclass('schema_version') IS NOT NULL", &[]).await?;
    if !there.try_get::<_, bool>(0)? {
        return Err(Trouble::fatal(NO_LEDGER));
    }
    let version = client.query_one("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await?;
    let version = known(version.try_get(0)?)?;
    if version == MIGRATIONS.len() {
        return Ok(());
    }
    let reads = MIGRATIONS.len();
    Err(Trouble::fatal(format!("it has version {version}, this Holdfast reads {reads}: start its worker once")))
}

fn known(version: i64) -> Result<usize, Trouble> {
    let newest = MIGRATIONS.len();
    usize::try_from(version).ok().filter(|version| *version <= newest).ok_or_else(|| {
        Trouble::fatal(format!(
            "it was written by a newer Holdfast (version {version}, this one knows {newest}): use that one"
        ))
    })
}
