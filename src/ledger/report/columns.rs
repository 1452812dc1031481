//! Columns by their name: questions are asked seldom, and choose their columns as they need them.

use crate::ledger::codec::corrupt;
use crate::ledger::session::Row;
use crate::money::{Currency, Money};

/// An amount from a column of minor units.
pub(super) fn money(row: &Row<'_>, column: &str, currency: Currency) -> rusqlite::Result<Money> {
    Money::from_minor(row.get(column)?, currency).map_err(|_| corrupt("an amount is negative"))
}

/// The same, or null.
pub(super) fn optional_money(row: &Row<'_>, column: &str, currency: Currency) -> rusqlite::Result<Option<Money>> {
    let minor: Option<i64> = row.get(column)?;
    minor.map(|minor| Money::from_minor(minor, currency).map_err(|_| corrupt("an amount is negative"))).transpose()
}

/// One of our closed words from a column.
pub(super) fn word<T: Copy>(
    row: &Row<'_>,
    column: &str,
    all: &[T],
    as_str: impl Fn(&T) -> &'static str,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    all.iter().find(|value| as_str(value) == text).copied().ok_or_else(|| corrupt("a word is not one of ours"))
}
