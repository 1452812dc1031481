//! Writes what changed. Only columns that may change are ever updated.

// what is written in parts
mod authorizations;
mod captures;

// what was set aside
mod dead_letters;

use rusqlite::{Connection, Params, params};

use crate::capture::books::{Announcement, Books, Change, Entry};
use crate::capture::event::CaptureKind;
use crate::capture::records::{Authorization, Kept, Order, Shipment};
use crate::capture::states::ShipmentState;
use crate::capture::why::Missing;
use crate::clock::Timestamp;
use crate::ledger::OutboxRow;
use crate::ledger::codec::{self, At, at};
use crate::ledger::sqlite::many::Insert;
use crate::ledger::sqlite::prepared::Prepared;
use crate::money::Money;
use authorizations::Authorizations;
use captures::Captures;

type Result<T> = rusqlite::Result<T>;

/// Writes every change in the books, and the encoded events.
pub(super) fn write(
    connection: &Connection,
    books: &Books,
    outbox: &[OutboxRow],
    is_single: &dyn Fn(&Authorization) -> bool,
    now: Timestamp,
) -> Result<()> {
    let mut orders = Table::new(connection, ORDER);
    for entry in books.orders().changed() {
        write_order(&mut orders, entry)?;
    }
    write_plans(connection, books)?;
    let mut authorizations = Authorizations::new(connection);
    for entry in books.authorizations().changed() {
        authorizations.put(entry)?;
    }
    let mut shipments = Table::new(connection, SHIPMENT);
    for entry in books.shipments().changed() {
        let authorization = entry.value.authorization.map(|key| books.authorization(key));
        let waits_or_waited = is_captured_with_others(books, &entry.value);
        let collected_on = authorization.filter(|record| waits_or_waited || is_single(record));
        let collected_on = collected_on.map(|record| record.key.row());
        write_shipment(&mut shipments, entry, collected_on)?;
    }
    write_messages(connection, books)?;
    let mut captures = Captures::new(connection);
    for entry in books.captures().changed() {
        captures.put(entry, &books.authorization(entry.value.authorization).account)?;
    }
    write_usages(connection, books)?;
    let mut kept = Table::new(connection, KEPT);
    for entry in books.kept().changed() {
        write_kept(&mut kept, entry)?;
    }
    write_histories(connection, books, now)?;
    write_events(connection, &books.outbox, outbox)?;
    for entry in books.changed_dead_letters() {
        match entry.change {
            Change::Inserted => dead_letters::insert(connection, &entry.value)?,
            Change::Updated => dead_letters::update(connection, &entry.value)?,
            Change::None => {}
        }
    }
    dead_letters::write_replays(connection, books, now)?;
    let mut statement = connection.prepare_cached("UPDATE sequence SET next_row = ?1 WHERE next_row <> ?1")?;
    statement.execute([books.next_row()]).map(drop)
}

/// Does it wait to be captured with others, or was it?
fn is_captured_with_others(books: &Books, shipment: &Shipment) -> bool {
    let capture = shipment.capture.and_then(|key| books.captures().find(key));
    shipment.state == ShipmentState::Waiting || capture.is_some_and(|capture| capture.kind == CaptureKind::Batch)
}

/// The two statements of a table.
struct Table<'a> {
    insert: Prepared<'a>,
    update: Prepared<'a>,
}

impl<'a> Table<'a> {
    const fn new(connection: &'a Connection, [insert, update]: [&'static str; 2]) -> Self {
        Self { insert: Prepared::new(connection, insert), update: Prepared::new(connection, update) }
    }

    /// Inserts or updates.
    fn put(&mut self, change: Change, columns: impl Params) -> Result<()> {
        let statement = match change {
            Change::None => return Ok(()),
            Change::Inserted => self.insert.get()?,
            Change::Updated => self.update.get()?,
        };
        statement.execute(columns).map(drop)
    }
}

const ORDER: [&str; 2] = [
    "INSERT INTO orders VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    "UPDATE orders SET mode = ?3, progress = ?4, is_cancelled = ?5, is_closed = ?6, closes_at = ?7, stored = ?8,
     captured = ?9, open = ?10, fees = ?11, refund_revision = ?12, newest_authorization = ?13, final_at = ?14,
     awaiting = ?15, kept = ?16, sequence = ?17 WHERE order_row = ?1 AND order_id = ?2",
];

fn write_order(table: &mut Table<'_>, entry: &Entry<Order>) -> Result<()> {
    let order = &entry.value;
    let columns = params![
        order.key.row(),
        order.id.as_str(),
        order.mode.map(crate::capture::records::AmountMode::as_str),
        codec::progress_to_json(&order.progress),
        order.is_cancelled,
        order.is_closed,
        at(order.closes_at),
        order.stored,
        order.captured,
        order.open,
        order.fees,
        order.refund_revision,
        order.newest_authorization.map(crate::capture::records::AuthorizationKey::row),
        at(order.final_at),
        order.awaiting,
        order.kept,
        order.sequence,
    ];
    table.put(entry.change, columns)
}

const USAGE: [&str; 2] = [
    "INSERT INTO cap_usage VALUES (?1, ?2, ?3, ?4)",
    "UPDATE cap_usage SET hour = ?3, day = ?4 WHERE account = ?1 AND currency = ?2",
];

fn write_usages(connection: &Connection, books: &Books) -> Result<()> {
    let mut table = Table::new(connection, USAGE);
    for Entry { value: usage, change, .. } in books.changed_usages() {
        let (hour, day) = (codec::tally_to_json(&usage.hour), codec::tally_to_json(&usage.day));
        table.put(*change, params![usage.account.as_str(), usage.currency.code(), hour, day])?;
    }
    Ok(())
}

fn write_plans(connection: &Connection, books: &Books) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO plans VALUES (?1, ?2)")?;
    for key in &books.plans {
        let plan = books.order(*key).plan.as_ref().expect("it was registered a moment ago");
        statement.execute(params![key.row(), codec::plan_to_json(plan)])?;
    }
    Ok(())
}

const SHIPMENT: [&str; 2] = [
    "INSERT INTO shipments (shipment_row, generation, state, awaits, says_final, amount, authorization_row, capture_row,
     collected_on, reason, due_at, order_row, shipment_id, content, lines, accepted_at, caused_by)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    "UPDATE OR ROLLBACK shipments SET generation = ?2, state = ?3, awaits = ?4, says_final = ?5, amount = ?6,
     authorization_row = ?7, capture_row = ?8, collected_on = ?9, reason = ?10, due_at = ?11 WHERE shipment_row = ?1",
];

/// The parameters of the update: the first of all.
const SHIPMENT_UPDATED: usize = 11;

fn write_shipment(table: &mut Table<'_>, entry: &Entry<Shipment>, collected_on: Option<i64>) -> Result<()> {
    let shipment = &entry.value;
    let is_new = entry.change == Change::Inserted;
    let columns = params![
        shipment.key.row(),
        shipment.generation,
        shipment.state.as_str(),
        shipment.awaits.map(Missing::as_str),
        shipment.says_final,
        shipment.amount.map(Money::minor),
        shipment.authorization.map(crate::capture::records::AuthorizationKey::row),
        shipment.capture.map(crate::capture::records::CaptureKey::row),
        collected_on,
        shipment.reason.map(crate::capture::event::FailureReason::as_str),
        at(shipment.due_at),
        shipment.order.row(),
        shipment.id.as_str(),
        shipment.content,
        is_new.then(|| codec::lines_to_json(&shipment.lines)),
        At(shipment.accepted_at),
        shipment.caused_by,
    ];
    table.put(entry.change, &columns[..if is_new { columns.len() } else { SHIPMENT_UPDATED }])
}

/// The messages of shipments whose outcome is open. Of a shipment that waited, another may have come.
fn write_messages(connection: &Connection, books: &Books) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO messages VALUES (?1, ?2, ?3)")?;
    for entry in books.shipments().changed() {
        if let Some(raw) = &entry.value.message {
            statement.execute(params![entry.value.key.row(), &*raw.body, codec::origin_to_json(raw)])?;
        }
    }
    Ok(())
}

/// There are few messages, and many shipments: the order of the tables is ours
/// (<https://www.sqlite.org/optoverview.html#manual_control_of_query_plans_using_cross_join>).
pub(super) const DELETE_ENDED_MESSAGES: &str = "DELETE FROM messages WHERE shipment_row IN (
    SELECT shipment_row FROM messages CROSS JOIN shipments USING (shipment_row)
    WHERE state = 'settled' OR state = 'refused')";

/// Deletes the messages of all shipments at their end.
pub(super) fn delete_ended_messages(connection: &Connection) -> Result<()> {
    connection.execute(DELETE_ENDED_MESSAGES, []).map(drop)
}

/// Deletes the messages of these shipments.
pub(super) fn delete_messages(connection: &Connection, shipments: &[i64]) -> Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM messages WHERE shipment_row = ?1")?;
    shipments.iter().try_for_each(|row| statement.execute([row]).map(drop))
}

const KEPT: [&str; 2] = [
    "INSERT INTO kept_notices VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    "UPDATE kept_notices SET due_at = ?5, body = ?6, origin = ?7 WHERE notice_row = ?1",
];

fn write_kept(table: &mut Table<'_>, entry: &Entry<Kept>) -> Result<()> {
    let kept = &entry.value;
    let columns = params![
        kept.key.row(),
        kept.order.row(),
        kept.body_sha256,
        At(kept.kept_at),
        at(kept.due_at),
        kept.message.as_ref().map(|raw| &*raw.body),
        kept.message.as_ref().map(codec::origin_to_json),
    ];
    table.put(entry.change, columns)
}

const MOVEMENTS: Insert = Insert { into: "INSERT OR ROLLBACK INTO movements", columns: 5 };

const HISTORY: Insert = Insert { into: "INSERT OR ROLLBACK INTO history", columns: 6 };

fn write_histories(connection: &Connection, books: &Books, now: Timestamp) -> Result<()> {
    MOVEMENTS.all(connection, &books.movements, |movement, take| {
        take(params![
            movement.capture.row(),
            movement.kind.as_str(),
            movement.authorization.row(),
            movement.amount.minor(),
            At(movement.at),
        ])
    })?;
    HISTORY.all(connection, &books.history, |note, take| {
        take(params![note.capture.row(), note.number, note.attempt, note.what, note.detail, At(note.at)])
    })?;
    let mut statement = connection
        .prepare_cached("UPDATE outbox SET published_at = ?2 WHERE event_row = ?1 AND published_at IS NULL")?;
    for row in &books.published {
        statement.execute(params![row, At(now)])?;
    }
    Ok(())
}

const EVENTS: Insert = Insert { into: "INSERT OR ROLLBACK INTO events", columns: 7 };

const OUTBOX: Insert = Insert { into: "INSERT OR ROLLBACK INTO outbox (event_row, written_at)", columns: 2 };

fn write_events(connection: &Connection, announcements: &[Announcement], rows: &[OutboxRow]) -> Result<()> {
    let events: Vec<_> = announcements.iter().zip(rows).collect();
    EVENTS.all(connection, &events, |(announcement, row), take| {
        take(params![
            row.row,
            row.event_id.as_bytes(),
            row.kind,
            &*row.body,
            row.traceparent,
            announcement.outcome_of.map(|(of, _)| of.row()),
            announcement.outcome_of.map(|(_, generation)| generation),
        ])
    })?;
    OUTBOX.all(connection, &events, |(announcement, row), take| take(params![row.row, At(announcement.event.time)]))
}
