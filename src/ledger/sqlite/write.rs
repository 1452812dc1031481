//! Writes what changed. Only columns that may change are ever updated.

use rusqlite::{Connection, named_params, params};

use crate::capture::books::{Announcement, Books, Change, Entry};
use crate::capture::dead_letter::{self, DeadLetter};
use crate::capture::records::{Authorization, Capture, Order, Shipment};
use crate::clock::Timestamp;
use crate::ledger::OutboxRow;
use crate::ledger::sqlite::codec::{self, At, at};
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
    for entry in books.orders().changed() {
        write_order(connection, entry)?;
    }
    for entry in books.authorizations().changed() {
        write_authorization(connection, entry)?;
    }
    for entry in books.shipments().changed() {
        let authorization = entry.value.authorization.map(|key| books.authorization(key));
        let collected_on = authorization.filter(|record| is_single(record)).map(|record| record.key.row());
        write_shipment(connection, entry, collected_on)?;
    }
    for entry in books.captures().changed() {
        write_capture(connection, entry)?;
    }
    write_histories(connection, books)?;
    for (announcement, row) in books.outbox.iter().zip(outbox) {
        write_event(connection, announcement, row)?;
    }
    for row in &books.published {
        let mut statement = connection
            .prepare_cached("UPDATE outbox SET published_at = ?2 WHERE event_row = ?1 AND published_at IS NULL")?;
        statement.execute(params![row, At(now)])?;
    }
    for entry in books.changed_dead_letters() {
        write_dead_letter(connection, &entry.value)?;
    }
    let mut statement = connection.prepare_cached("UPDATE sequence SET next_row = ?1 WHERE next_row <> ?1")?;
    statement.execute([books.next_row()]).map(drop)
}

fn write_order(connection: &Connection, entry: &Entry<Order>) -> Result<()> {
    let order = &entry.value;
    let sql = match entry.change {
        Change::None => return Ok(()),
        Change::Inserted => {
            "INSERT INTO orders VALUES (:row, :id, :mode, :plan, :progress, :stored, :newest, :final, :awaiting, :sequence)"
        }
        Change::Updated => {
            "UPDATE orders SET mode = :mode, plan = :plan, progress = :progress, stored = :stored,
             newest_authorization = :newest, final_at = :final, awaiting = :awaiting, sequence = :sequence
             WHERE order_row = :row AND order_id = :id"
        }
    };
    connection.prepare_cached(sql)?.execute(named_params! {
        ":row": order.key.row(),
        ":id": order.id.as_str(),
        ":mode": order.mode.map(crate::capture::records::AmountMode::as_str),
        ":plan": order.plan.as_ref().map(codec::plan_to_json),
        ":progress": codec::progress_to_json(&order.progress),
        ":stored": order.stored,
        ":newest": order.newest_authorization.map(crate::capture::records::AuthorizationKey::row),
        ":final": at(order.final_at),
        ":awaiting": order.awaiting,
        ":sequence": order.sequence,
    })?;
    Ok(())
}

fn write_authorization(connection: &Connection, entry: &Entry<Authorization>) -> Result<()> {
    let record = &entry.value;
    if entry.change == Change::Inserted {
        let sql = "INSERT INTO authorizations VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, NULL, 0, 0, 0, 0, 0, 'free',
                   NULL, 0, 0, NULL, NULL, NULL)";
        connection.prepare_cached(sql)?.execute(params![
            record.key.row(),
            record.account.as_str(),
            record.reference.as_str(),
            record.order.row(),
            record.currency.code(),
            record.authorized.minor(),
        ])?;
    }
    let sql = "UPDATE authorizations SET captured = ?2, reserved = ?3, excess = ?4, expires_at = ?5,
               expiry_is_derived = ?6, planned = ?7, in_flight = ?8, waiting = ?9, waiting_amount = ?10, single = ?11,
               freeze_at = ?12, reads = ?13, epoch = ?14, provider_captured = ?15, provider_remaining = ?16,
               provider_expires_at = ?17 WHERE authorization_row = ?1";
    connection.prepare_cached(sql)?.execute(params![
        record.key.row(),
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
        record.epoch,
        record.provider.captured.map(Money::minor),
        record.provider.remaining.map(Money::minor),
        at(record.provider.expires_at),
    ])?;
    Ok(())
}

fn write_shipment(connection: &Connection, entry: &Entry<Shipment>, collected_on: Option<i64>) -> Result<()> {
    let shipment = &entry.value;
    let body = shipment.message.as_ref().map(|raw| &*raw.body);
    let origin = shipment.message.as_ref().map(codec::origin_to_json);
    if entry.change == Change::Inserted {
        let sql = "INSERT INTO shipments VALUES
                   (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
        connection.prepare_cached(sql)?.execute(params![
            shipment.key.row(),
            shipment.order.row(),
            shipment.id.as_str(),
            shipment.generation,
            shipment.content,
            shipment.state.as_str(),
            codec::lines_to_json(&shipment.lines),
            shipment.amount.map(Money::minor),
            shipment.authorization.map(crate::capture::records::AuthorizationKey::row),
            shipment.capture.map(crate::capture::records::CaptureKey::row),
            collected_on,
            shipment.reason.map(crate::capture::event::FailureReason::as_str),
            At(shipment.accepted_at),
            at(shipment.due_at),
            shipment.caused_by,
            body,
            origin,
        ])?;
        return Ok(());
    }
    let sql = "UPDATE shipments SET generation = ?2, state = ?3, amount = ?4, authorization_row = ?5, capture_row = ?6,
               collected_on = ?7, reason = ?8, due_at = ?9, body = ?10, origin = ?11 WHERE shipment_row = ?1";
    connection.prepare_cached(sql)?.execute(params![
        shipment.key.row(),
        shipment.generation,
        shipment.state.as_str(),
        shipment.amount.map(Money::minor),
        shipment.authorization.map(crate::capture::records::AuthorizationKey::row),
        shipment.capture.map(crate::capture::records::CaptureKey::row),
        collected_on,
        shipment.reason.map(crate::capture::event::FailureReason::as_str),
        at(shipment.due_at),
        body,
        origin,
    ])?;
    Ok(())
}

fn write_capture(connection: &Connection, entry: &Entry<Capture>) -> Result<()> {
    let capture = &entry.value;
    if entry.change == Change::Inserted {
        let sql =
            "INSERT INTO captures VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'planned', 1, ?9, NULL, 0, 0, 0, 0, 0, 0,
                   NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 0)";
        connection.prepare_cached(sql)?.execute(params![
            capture.key.row(),
            capture.id.as_uuid().as_bytes(),
            capture.authorization.row(),
            capture.order.row(),
            capture.shipment.row(),
            capture.kind.as_str(),
            capture.generation,
            capture.amount.minor(),
            At(capture.planned_at),
        ])?;
    }
    let progress = &capture.progress;
    let sql = "UPDATE captures SET state = ?2, is_open = ?3, due_at = ?4, attempts = ?5, epoch = ?6, doubtful = ?7,
               failures = ?8, looks = ?9, window_from = ?10, send_by = ?11, doubt_since = ?12, is_pending = ?13,
               refused = ?14, terminal_seen_at = ?15, last_seen = ?16, resolved_by = ?17, provider_reference = ?18,
               settled_at = ?19, is_corrected = ?20, waits_turn = ?21 WHERE capture_row = ?1";
    connection.prepare_cached(sql)?.execute(params![
        capture.key.row(),
        capture.state.as_str(),
        !capture.state.is_terminal(),
        at(capture.due_at),
        progress.attempts,
        progress.epoch,
        progress.doubtful,
        progress.failures,
        progress.looks,
        at(progress.window_from),
        at(progress.send_by),
        at(progress.doubt_since),
        progress.is_pending,
        progress.refused.as_ref().map(codec::refusal_to_json),
        at(progress.terminal_seen_at),
        progress.last_seen,
        capture.resolved_by.map(crate::capture::event::ResolvedBy::as_str),
        capture.provider_reference,
        at(capture.settled_at),
        capture.is_corrected,
        capture.waits_turn,
    ])?;
    Ok(())
}

fn write_histories(connection: &Connection, books: &Books) -> Result<()> {
    for movement in &books.movements {
        let sql = "INSERT INTO movements VALUES (?1, ?2, ?3, ?4, ?5)";
        connection.prepare_cached(sql)?.execute(params![
            movement.capture.row(),
            movement.kind.as_str(),
            movement.authorization.row(),
            movement.amount.minor(),
            At(movement.at),
        ])?;
    }
    for note in &books.history {
        let sql = "INSERT INTO history SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5
                   FROM history WHERE capture_row = ?1";
        connection.prepare_cached(sql)?.execute(params![
            note.capture.row(),
            note.attempt,
            note.what,
            note.detail,
            At(note.at),
        ])?;
    }
    Ok(())
}

fn write_event(connection: &Connection, announcement: &Announcement, row: &OutboxRow) -> Result<()> {
    connection.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
        row.row,
        row.event_id.as_bytes(),
        row.kind,
        &*row.body,
        row.traceparent,
        announcement.outcome_of.map(|(shipment, _)| shipment.row()),
        announcement.outcome_of.map(|(_, generation)| generation),
    ])?;
    let mut statement = connection.prepare_cached("INSERT INTO outbox VALUES (?1, ?2, NULL)")?;
    statement.execute(params![row.row, At(announcement.event.time)]).map(drop)
}

fn write_dead_letter(connection: &Connection, letter: &DeadLetter) -> Result<()> {
    // The same one may be there although it was not loaded: it is seen once more.
    let sql = "INSERT INTO dead_letters VALUES
               (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
               ON CONFLICT (dead_letter_id) DO UPDATE SET count = max(count + 1, excluded.count),
               last_seen_at = excluded.last_seen_at";
    connection.prepare_cached(sql)?.execute(params![
        letter.id.as_uuid().as_bytes(),
        letter.reason,
        letter.path,
        letter.message,
        letter.provider_code,
        letter.fingerprint,
        letter.order.as_ref().map(crate::ids::OrderId::as_str),
        letter.shipment.as_ref().map(crate::ids::ShipmentId::as_str),
        letter.account.as_ref().map(crate::ids::AccountName::as_str),
        letter.shipment_key.map(crate::capture::records::ShipmentKey::row),
        At(letter.first_seen_at),
        At(letter.last_seen_at),
        letter.count,
        letter.state.as_str(),
        letter.raw.as_ref().map(kept_body),
        letter.raw.as_ref().map(|raw| dead_letter::sha256(&raw.body)),
        letter.raw.as_ref().map(codec::origin_to_json),
    ])?;
    Ok(())
}

/// The body, untouched up to 64 KiB; of a larger one, its head.
fn kept_body(raw: &crate::capture::notice::RawMessage) -> &[u8] {
    let end = raw.body.len().min(crate::message::BODY_MAX);
    &raw.body[..end]
}
