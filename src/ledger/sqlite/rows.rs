//! Whole rows of the file to records: [`crate::ledger::rows`], as functions of one row for a query.

use rusqlite::{Result, Row};

use crate::capture::dead_letter::DeadLetter;
use crate::capture::records::{Authorization, Capture, Kept, Order, Shipment};
use crate::capture::usage::Usage;
use crate::ledger::rows;

pub(super) use crate::ledger::rows::{DEAD_LETTER, ORDER_BY_ID, ORDER_BY_ROW};

pub(super) fn read_order(row: &Row<'_>) -> Result<Order> {
    rows::read_order(row)
}

pub(super) fn read_authorization(row: &Row<'_>) -> Result<Authorization> {
    rows::read_authorization(row)
}

pub(super) fn read_kept(row: &Row<'_>) -> Result<Kept> {
    rows::read_kept(row)
}

pub(super) fn read_shipment(row: &Row<'_>) -> Result<Shipment> {
    rows::read_shipment(row)
}

pub(super) fn read_capture(row: &Row<'_>) -> Result<Capture> {
    rows::read_capture(row)
}

pub(super) fn read_usage(row: &Row<'_>) -> Result<Usage> {
    rows::read_usage(row)
}

pub(super) fn read_dead_letter(row: &Row<'_>) -> Result<DeadLetter> {
    rows::read_dead_letter(row)
}
