//! Changes a ledger behind the back of its worker, for tests.

use rusqlite::types::{FromSql, ToSql};

use crate::ledger::Source;
use crate::ledger::session::Session;

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
