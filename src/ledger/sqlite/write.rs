//! Writes what changed. Only columns that may change are ever updated.

// what was set aside
mod dead_letters;

use rusqlite::{Connection, Params, params};

use crate::capture::books::{Announcement, Books, Change, Entry};
use crate::capture::event::CaptureKind;
use crate::capture::records::{Authorization, Capture, Kept, NamedBy, Order, Shipment, ShipmentKey};
use crate::capture::states::ShipmentState;
use crate::capture::why::{LeftOpen, Missing, Since};
use crate::clock::Timestamp;
use crate::ids::AccountName;
use crate::ledger::OutboxRow;
use crate::ledger::sqlite::codec::{self, At, at};
use crate::ledger::sqlite::prepared::Prepared;
use crate::money::Money;

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
    let mut authorizations = Table::new(connection, AUTHORIZATION);
    for entry in books.authorizations().changed() {
        write_authorization(&mut authorizations, entry)?;
        if entry.change == Change::Updated && books.rewatched().contains(&entry.value.key) {
            write_watch(connection, &entry.value)?;
        }
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
    let mut captures = Table::new(connection, CAPTURE);
    for entry in books.captures().changed() {
        let account = &books.authorization(entry.value.authorization).account;
        write_capture(&mut captures, entry, account)?;
    }
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

    /// Inserts or updates. Both take the same parameters, one for each column of the table in its
    /// order; an update leaves out those that never change.
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

fn write_plans(connection: &Connection, books: &Books) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO plans VALUES (?1, ?2)")?;
    for key in &books.plans {
        let plan = books.order(*key).plan.as_ref().expect("it was registered a moment ago");
        statement.execute(params![key.row(), codec::plan_to_json(plan)])?;
    }
    Ok(())
}

const AUTHORIZATION: [&str; 2] = [
    "INSERT INTO authorizations VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
     ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38)",
    "UPDATE authorizations SET authorized = ?6, is_amount_known = ?7, captured = ?8, reserved = ?9, excess = ?10,
     expires_at = ?11, expiry_is_derived = ?12, planned = ?13, in_flight = ?14, waiting = ?15, waiting_amount = ?16,
     single = ?17, freeze_at = ?18, reads = ?19, ask_at = ?20, ask_until = ?21, ask_count = ?22, epoch = ?23,
     provider_captured = ?24, provider_remaining = ?25, provider_expires_at = ?26, provider_voided = ?27,
     unresolved = ?28 WHERE authorization_row = ?1",
];

/// The columns behind these are only inserted: see [`write_watch`].
const AUTHORIZATION_UPDATED: usize = 28;

fn write_authorization(table: &mut Table<'_>, entry: &Entry<Authorization>) -> Result<()> {
    let (record, watch) = (&entry.value, &entry.value.watch);
    let columns = params![
        record.key.row(),
        record.account.as_str(),
        record.reference.as_str(),
        record.order.row(),
        record.currency.code(),
        record.authorized.minor(),
        record.is_amount_known,
        record.captured.minor(),
        record.reserved.minor(),
        record.excess.minor(),
        at(record.expires_at),
        record.expiry_is_derived,
        record.planned,
        record.in_flight,
        record.waiting,
        record.waiting_amount.minor(),
        record.single.as_str(),
        at(record.freeze_at),
        record.reads,
        at(record.ask.map(|ask| ask.at)),
        at(record.ask.map(|ask| ask.until)),
        record.ask.map(|ask| ask.count),
        record.epoch,
        record.provider.captured.map(Money::minor),
        record.provider.remaining.map(Money::minor),
        at(record.provider.expires_at),
        record.provider.voided.map(Money::minor),
        record.unresolved,
        at(watch.at),
        at(watch.lead_at),
        at(watch.read_at),
        codec::leads_to_json(&watch.leads),
        at(watch.reported),
        watch.foreign.map(|foreign| foreign.standing.as_str()),
        watch.foreign.map(|foreign| foreign.amount.minor()),
        at(watch.foreign.map(|foreign| foreign.since)),
        watch.restored.as_ref().map(codec::restored_to_json),
        at(watch.over),
    ];
    match entry.change {
        Change::Inserted => table.put(entry.change, columns),
        Change::Updated | Change::None => table.put(entry.change, &columns[..AUTHORIZATION_UPDATED]),
    }
}

/// By itself: an update writes the index entries of all columns that it names, changed or not.
fn write_watch(connection: &Connection, record: &Authorization) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE authorizations SET watch_at = ?2, lead_at = ?3, read_at = ?4, leads = ?5, reported = ?6,
         foreign_standing = ?7, foreign_amount = ?8, foreign_since = ?9, restored = ?10, over = ?11
         WHERE authorization_row = ?1",
    )?;
    let watch = &record.watch;
    let columns = params![
        record.key.row(),
        at(watch.at),
        at(watch.lead_at),
        at(watch.read_at),
        codec::leads_to_json(&watch.leads),
        at(watch.reported),
        watch.foreign.map(|foreign| foreign.standing.as_str()),
        watch.foreign.map(|foreign| foreign.amount.minor()),
        at(watch.foreign.map(|foreign| foreign.since)),
        watch.restored.as_ref().map(codec::restored_to_json),
        at(watch.over),
    ];
    statement.execute(columns).map(drop)
}

const SHIPMENT: [&str; 2] = [
    "INSERT INTO shipments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    "UPDATE OR ROLLBACK shipments SET generation = ?4, state = ?6, awaits = ?7, says_final = ?8, amount = ?10,
     authorization_row = ?11, capture_row = ?12, collected_on = ?13, reason = ?14, due_at = ?17 WHERE shipment_row = ?1",
];

fn write_shipment(table: &mut Table<'_>, entry: &Entry<Shipment>, collected_on: Option<i64>) -> Result<()> {
    let shipment = &entry.value;
    let columns = params![
        shipment.key.row(),
        shipment.order.row(),
        shipment.id.as_str(),
        shipment.generation,
        shipment.content,
        shipment.state.as_str(),
        shipment.awaits.map(Missing::as_str),
        shipment.says_final,
        codec::lines_to_json(&shipment.lines),
        shipment.amount.map(Money::minor),
        shipment.authorization.map(crate::capture::records::AuthorizationKey::row),
        shipment.capture.map(crate::capture::records::CaptureKey::row),
        collected_on,
        shipment.reason.map(crate::capture::event::FailureReason::as_str),
        At(shipment.accepted_at),
        shipment.caused_by,
        at(shipment.due_at),
    ];
    table.put(entry.change, columns)
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

/// Deletes the messages of all shipments at their end.
pub(super) fn delete_ended_messages(connection: &Connection) -> Result<()> {
    let sql = "DELETE FROM messages WHERE shipment_row IN (
               SELECT shipment_row FROM messages JOIN shipments USING (shipment_row)
               WHERE state = 'settled' OR state = 'refused')";
    connection.execute(sql, []).map(drop)
}

/// Deletes the messages of these shipments.
pub(super) fn delete_messages(connection: &Connection, shipments: &[i64]) -> Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM messages WHERE shipment_row = ?1")?;
    shipments.iter().try_for_each(|row| statement.execute([row]).map(drop))
}

const CAPTURE: [&str; 2] = [
    "INSERT INTO captures VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
     ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36)",
    "UPDATE OR ROLLBACK captures SET state = ?11, is_open = ?12, due_at = ?14, waits_turn = ?15, attempts = ?16, epoch = ?17,
     doubtful = ?18, failures = ?19, looks = ?20, window_from = ?21, window_boot = ?22,
     window_since_boot = ?23, send_by = ?24, doubt_since = ?25, is_pending = ?26, refused = ?27,
     terminal_seen_at = ?28, left_open = ?29, since = ?30, last_seen = ?31, resolved_by = ?32,
     provider_reference = ?33, settled_at = ?34, is_corrected = ?36 WHERE capture_row = ?1",
];

fn write_capture(table: &mut Table<'_>, entry: &Entry<Capture>, account: &AccountName) -> Result<()> {
    let capture = &entry.value;
    let (id, progress) = (capture.id.as_uuid(), &capture.progress);
    let window = progress.window_from;
    let fee = match &capture.named_by {
        NamedBy::Shipment(_) => None,
        NamedBy::Fee(fee) => Some(fee),
    };
    let columns = params![
        capture.key.row(),
        id.as_bytes(),
        capture.authorization.row(),
        capture.order.row(),
        capture.shipment().map(ShipmentKey::row),
        fee.map(|fee| fee.number),
        fee.and_then(|fee| fee.caused_by.as_deref()),
        capture.kind.as_str(),
        capture.generation,
        capture.amount.minor(),
        capture.state.as_str(),
        !capture.state.is_terminal(),
        At(capture.planned_at),
        at(capture.due_at),
        capture.waits_turn,
        progress.attempts,
        progress.epoch,
        progress.doubtful,
        progress.failures,
        progress.looks,
        at(window.map(|mark| mark.wall)),
        window.map(|mark| *mark.boot.boot().as_uuid().as_bytes()),
        window.map(|mark| i64::try_from(mark.boot.since_boot().as_micros()).unwrap_or(i64::MAX)),
        at(progress.send_by),
        at(progress.doubt_since),
        progress.is_pending,
        progress.refused.as_ref().map(codec::refusal_to_json),
        at(progress.terminal_seen_at),
        progress.left_open.map(LeftOpen::as_str),
        progress.since.map(Since::as_str),
        progress.last_seen,
        capture.resolved_by.map(crate::capture::event::ResolvedBy::as_str),
        capture.provider_reference,
        at(capture.settled_at),
        account.as_str(),
        capture.is_corrected,
    ];
    table.put(entry.change, columns)
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

fn write_histories(connection: &Connection, books: &Books, now: Timestamp) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT INTO movements VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for movement in &books.movements {
        statement.execute(params![
            movement.capture.row(),
            movement.kind.as_str(),
            movement.authorization.row(),
            movement.amount.minor(),
            At(movement.at),
        ])?;
    }
    let mut statement = connection.prepare_cached("INSERT INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for note in &books.history {
        statement.execute(params![
            note.capture.row(),
            note.number,
            note.attempt,
            note.what,
            note.detail,
            At(note.at)
        ])?;
    }
    let mut statement = connection
        .prepare_cached("UPDATE outbox SET published_at = ?2 WHERE event_row = ?1 AND published_at IS NULL")?;
    for row in &books.published {
        statement.execute(params![row, At(now)])?;
    }
    Ok(())
}

fn write_events(connection: &Connection, announcements: &[Announcement], rows: &[OutboxRow]) -> Result<()> {
    let mut events = connection.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut outbox = connection.prepare_cached("INSERT INTO outbox VALUES (?1, ?2, NULL)")?;
    for (announcement, row) in announcements.iter().zip(rows) {
        events.execute(params![
            row.row,
            row.event_id.as_bytes(),
            row.kind,
            &*row.body,
            row.traceparent,
            announcement.outcome_of.map(|(of, _)| of.row()),
            announcement.outcome_of.map(|(_, generation)| generation),
        ])?;
        outbox.execute(params![row.row, At(announcement.event.time)])?;
    }
    Ok(())
}
