//! What the tables say: records into the books, once their order is locked.

use tokio_postgres::Row;

use super::question::What;
use super::{Loader, Result};
use crate::capture::records::OrderKey;
use crate::ledger::cells::Cells;
use crate::ledger::{codec, rows};

impl Loader<'_> {
    pub(super) fn answer(&mut self, what: What, rows: &[Row]) -> Result<()> {
        rows.iter().try_for_each(|row| self.take(what, row))
    }

    fn take(&mut self, what: What, row: &Row) -> Result<()> {
        match what {
            What::Restore => self.books.read_first_until = codec::instant(row, "read_first_until")?,
            What::Lock => {
                self.locked.insert(row.read(0)?);
            }
            What::Orders | What::OrdersById => {
                let order = rows::read_order(row)?;
                if self.is_locked(order.key) {
                    self.books.load_order(order);
                } else {
                    self.wants.orders.known.remove(&order.key.row());
                    self.wants.order_ids.known.remove(order.id.as_str());
                }
            }
            What::Authorizations | What::AuthorizationsByName => {
                let record = rows::read_authorization(row)?;
                if self.is_locked(record.order) {
                    self.books.load_authorization(record);
                } else {
                    self.wants.authorizations.known.remove(&record.key.row());
                    let name = (record.account.as_str().to_owned(), record.reference.as_str().to_owned());
                    self.wants.authorization_names.known.remove(&name);
                }
            }
            What::Shipments | What::ShipmentsById => {
                let shipment = rows::read_shipment(row)?;
                if self.is_locked(shipment.order) {
                    self.books.load_shipment(shipment);
                } else {
                    self.wants.shipments.known.remove(&shipment.key.row());
                }
            }
            What::Captures => {
                let capture = rows::read_capture(row)?;
                if self.is_locked(capture.order) {
                    self.books.load_capture(capture);
                } else {
                    self.wants.captures.known.remove(&capture.key.row());
                }
            }
            What::Kept => {
                let kept = rows::read_kept(row)?;
                if self.is_locked(kept.order) {
                    self.books.load_kept(kept);
                } else {
                    self.wants.kept.known.remove(&kept.key.row());
                }
            }
            What::Scope(scope) => self.found.entry((scope, row.read(0)?)).or_default().push(row.read(1)?),
            What::Letters => self.books.load_dead_letter(rows::read_dead_letter(row)?),
            What::Usages => self.books.load_usage(rows::read_usage(row)?),
            What::Fees => {
                self.fees.insert((row.read(0)?, row.read(1)?, row.read(2)?), row.read(3)?);
            }
        }
        Ok(())
    }

    /// If it is not, it will be, and its records are asked for again then.
    fn is_locked(&mut self, order: OrderKey) -> bool {
        let is_locked = self.locked.contains(&order.row());
        if !is_locked {
            self.wants.locks.ask(order.row());
        }
        is_locked
    }
}
