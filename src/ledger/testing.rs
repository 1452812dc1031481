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
    Source::Postgres(at)
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
