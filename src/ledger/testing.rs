//! Ledgers of tests' own, and changes behind the back of their workers.

use rusqlite::types::{FromSql, ToSql};

use std::path::Path;

use crate::ledger::Source;
use crate::ledger::moving;
use crate::ledger::postgres::{Address, local_server};
use crate::ledger::session::Session;

/// An empty database.
pub(crate) fn database() -> Address {
    let database = local_server::tests::server().create_database().expect("a database");
    Address::parse(&database.url).expect("an address")
}

/// A ledger moved into a database of its own.
pub(crate) fn moved(path: &Path) -> Source {
    let at = database();
    moving::move_ledger(path, &at, &mut |_, _| {}).expect("moved");
    Source::from(at)
}

/// Enters a worker that runs for an hour, without any of its work; its row.
pub(crate) fn enter_worker(source: &Source, name: &str) -> i64 {
    let sql = "INSERT INTO workers (name, host, pid, lease_until) VALUES (?1, 'h', 7, now() + interval '1 hour')
               RETURNING worker_row";
    Session::for_changes(source).expect("a ledger").one(sql, [name], |row| row.get(0)).expect("entered")
}

/// The lease of a worker runs out.
pub(crate) fn end_lease(source: &Source, worker: i64) {
    let sql = "UPDATE workers SET lease_until = now() - interval '1 second' WHERE worker_row = ?1";
    assert_eq!(change(source, sql, &[&worker]), 1);
}

/// Changes rows; how many.
pub(crate) fn change(source: &Source, sql: &str, values: &[&dyn ToSql]) -> usize {
    Session::for_changes(source).expect("a ledger").execute(sql, values).expect("changed")
}

/// Several statements without parameters.
pub(crate) fn batch(source: &Source, sql: &str) {
    Session::for_changes(source).expect("a ledger").batch(sql).expect("done");
}

/// The one cell of an answer.
pub(crate) fn value<T: FromSql>(source: &Source, sql: &str) -> T {
    let none: &[&dyn ToSql] = &[];
    Session::for_questions(source).expect("a ledger").one(sql, none, |row| row.get(0)).expect("a row")
}
