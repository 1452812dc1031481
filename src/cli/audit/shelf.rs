//! The shipments of a file, by order, in a temporary database: a file of any length is held in the memory of
//! a short one. SQLite puts it on disk when it grows, and removes it in the end.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::audit::Expected;
use crate::ids::{OrderId, ShipmentId};
use crate::money::{Currency, Money};

/// No name: private, and gone when it is closed.
const TEMPORARY: &str = "";

/// Shipments that the order system believes in.
pub(super) struct Shelf(Connection);

impl Shelf {
    /// An empty one. Everything is put into it within one transaction, which is never ended.
    pub(super) fn new() -> rusqlite::Result<Self> {
        let database = Connection::open(TEMPORARY)?;
        database.execute_batch(
            "CREATE TABLE expected (order_id TEXT, line INTEGER, shipment_id TEXT, minor INTEGER, currency TEXT,
             PRIMARY KEY (order_id, line)) WITHOUT ROWID; BEGIN",
        )?;
        Ok(Self(database))
    }

    /// Puts one more into it.
    pub(super) fn put(&self, expected: &Expected) -> rusqlite::Result<()> {
        let sql = "INSERT INTO expected VALUES (?, ?, ?, ?, ?)";
        let minor = expected.amount.map(Money::minor);
        let currency = expected.amount.map(Money::currency);
        let currency = currency.as_ref().map(Currency::code);
        let line = i64::try_from(expected.line).unwrap_or(i64::MAX);
        let (order, shipment) = (expected.order.as_str(), expected.shipment.as_str());
        self.0.prepare_cached(sql)?.execute(params![order, line, shipment, minor, currency]).map(drop)
    }

    /// How many orders there are.
    pub(super) fn orders(&self) -> rusqlite::Result<u64> {
        self.0.query_row("SELECT count(DISTINCT order_id) FROM expected", [], |row| row.get(0))
    }

    /// Is the order in it?
    pub(super) fn has(&self, order: &OrderId) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM expected WHERE order_id = ? LIMIT 1";
        Ok(self.0.prepare_cached(sql)?.query_row([order.as_str()], |_| Ok(())).optional()?.is_some())
    }

    /// The shipments of the next order after this one; empty after the last.
    pub(super) fn next(&self, after: Option<&OrderId>) -> rusqlite::Result<Vec<Expected>> {
        let sql = "SELECT order_id, line, shipment_id, minor, currency FROM expected
                   WHERE order_id = (SELECT min(order_id) FROM expected WHERE order_id > ?) ORDER BY line";
        let mut statement = self.0.prepare_cached(sql)?;
        statement.query_map([after.map_or("", OrderId::as_str)], read)?.collect()
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Expected> {
    let ours = "it was put in as one";
    let text = |index: usize| row.get_ref(index).and_then(|value| Ok(value.as_str()?));
    let currency: Option<String> = row.get(4)?;
    let currency = currency.map(|code| Currency::parse(&code).expect(ours));
    let minor: Option<i64> = row.get(3)?;
    Ok(Expected {
        line: row.get(1)?,
        order: OrderId::parse(text(0)?).expect(ours),
        shipment: ShipmentId::parse(text(2)?).expect(ours),
        amount: minor.zip(currency).map(|(minor, currency)| Money::from_minor(minor, currency).expect(ours)),
    })
}
