//! Writes what a group has changed: for each table one statement with all its rows, sent together. Only
//! columns that may change are ever updated.

// rows by column
mod batch;
mod rows;
mod tables;

use tokio_postgres::types::ToSql;

use crate::capture::books::{Books, Change, Entry};
use crate::capture::dead_letter::DeadLetter;
use crate::capture::event::CaptureKind;
use crate::capture::records::Shipment;
use crate::capture::replay::ReplayRecord;
use crate::capture::states::ShipmentState;
use crate::clock::Timestamp;
use crate::ledger::OutboxRow;
use crate::ledger::codec::{self, At};

use super::load::IsSingle;
use super::pipeline::{self, Sending};
use super::session::Session;
use super::trouble::Trouble;
use batch::{Batch, Cell, row};
use tables::Table;

/// The last statement of a group: tells, whatever becomes of the connection, whether the group is durable;
/// and renews the worker's lease.
const COUNT: &str = "
    UPDATE workers SET groups = $2, lease_until = now() + $3::bigint * interval '1 millisecond', taken_over = 0
    WHERE worker_row = $1";

const PUBLISHED: &str = "
    UPDATE outbox SET published_at = $2 WHERE event_row = ANY(ARRAY(
      SELECT event_row FROM outbox WHERE event_row = ANY($1) AND published_at IS NULL
      ORDER BY event_row FOR UPDATE))";

/// The messages of shipments at their end. Of one that begins anew, the message comes again.
const ENDED: &str = "DELETE FROM messages WHERE shipment_row = ANY($1)";

/// What a replay has come to is told once: in the transaction that made it true.
const REPLAYED: &str = "
    UPDATE replay_items AS t SET state = 'done', result = u.result, why_not = u.why_not, why = u.why,
    shipment_row = u.shipment_row, generation = u.generation, capture_row = u.capture_row, done_at = u.done_at
    FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
      $8::bigint[], $9::bigint[])
      AS u (job_row, dead_letter_id, result, why_not, why, shipment_row, generation, capture_row, done_at)
    JOIN dead_letters d USING (dead_letter_id)
    WHERE t.job_row = u.job_row AND t.state = 'pending' AND t.dead_letter_row = d.dead_letter_row";

/// Who writes, and with which of its transactions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    /// The worker.
    pub(super) worker: i64,
    /// The number of the transaction.
    pub(super) group: i64,
    /// How long its lease is, in milliseconds.
    pub(super) lease: i64,
}

/// Writes every change in the books, and the encoded events.
pub(super) async fn write(
    session: &Session,
    writer: Writer,
    books: &Books,
    outbox: &[OutboxRow],
    is_single: &IsSingle<'_>,
    now: Timestamp,
) -> Result<(), Trouble> {
    let mut statements = Statements { writer, all: Vec::new() };
    statements.put(&tables::ORDERS, books.orders().changed(), rows::order);
    statements.put(&tables::AUTHORIZATIONS, books.authorizations().changed(), rows::authorization);
    let shipments = books.shipments().changed();
    statements.put(&tables::SHIPMENTS, shipments.clone(), |shipment| {
        rows::shipment(shipment, collected_on(books, shipment, is_single))
    });
    statements.put(&tables::CAPTURES, books.captures().changed(), |capture| {
        rows::capture(capture, &books.authorization(capture.authorization).account)
    });
    statements.put(&tables::USAGES, books.changed_usages(), rows::usage);
    statements.put(&tables::KEPT, books.kept().changed(), rows::kept);
    statements.details(books, &shipments);
    statements.histories(books, now);
    statements.events(books, outbox);
    statements.dead_letters(books, now);
    statements.add(COUNT, vec![Box::new(writer.worker), Box::new(writer.group), Box::new(writer.lease)], Some(1));
    statements.send(session).await
}

/// The authorization on which a shipment is captured together with others, or was.
fn collected_on(books: &Books, shipment: &Shipment, is_single: &IsSingle<'_>) -> Option<i64> {
    let capture = shipment.capture.and_then(|key| books.captures().find(key));
    let waits_or_waited =
        shipment.state == ShipmentState::Waiting || capture.is_some_and(|capture| capture.kind == CaptureKind::Batch);
    let authorization = shipment.authorization.map(|key| books.authorization(key));
    let record = authorization.filter(|record| waits_or_waited || is_single(record));
    record.map(|record| record.key.row())
}

type Value = Box<dyn ToSql + Sync + Send>;

/// A statement with what it writes.
struct Statement {
    sql: &'static str,
    batch: Option<Batch>,
    values: Vec<Value>,
    /// How many rows it writes, where that is certain.
    rows: Option<u64>,
}

/// Everything that a group writes, in order.
struct Statements {
    writer: Writer,
    all: Vec<Statement>,
}

impl Statements {
    fn add(&mut self, sql: &'static str, values: Vec<Value>, rows: Option<u64>) {
        self.all.push(Statement { sql, batch: None, values, rows });
    }

    fn batch(&mut self, sql: &'static str, batch: Batch, values: Vec<Value>, is_certain: bool) {
        let rows = is_certain.then(|| batch.rows());
        if batch.rows() > 0 {
            self.all.push(Statement { sql, batch: Some(batch), values, rows });
        }
    }

    /// Updates first: what is inserted may take the place of what has ended. What is as it was is not
    /// written.
    fn put<T: PartialEq>(&mut self, table: &'static Table, entries: Vec<&Entry<T>>, row: impl Fn(&T) -> Vec<Cell>) {
        let (mut inserted, mut updated) = (Batch::of(table.kinds()), Batch::of(table.kinds()));
        for entry in entries {
            match entry.change {
                Change::Inserted => inserted.push(row(&entry.value)),
                Change::Updated if entry.before.as_deref() == Some(&entry.value) => {}
                Change::Updated => updated.push(row(&entry.value)),
                Change::None => {}
            }
        }
        self.batch(&table.update, updated, self.claimant(&table.update), true);
        self.batch(&table.insert, inserted, self.claimant(&table.insert), true);
    }

    fn claimant(&self, sql: &str) -> Vec<Value> {
        if sql.contains("claimed_by") { vec![Box::new(self.writer.worker)] } else { Vec::new() }
    }

    fn details(&mut self, books: &Books, shipments: &[&Entry<Shipment>]) {
        let mut plans = Batch::of(tables::PLANS.kinds());
        let mut registered = books.plans.clone();
        registered.sort_unstable();
        registered.dedup();
        for key in registered {
            let plan = books.order(key).plan.as_ref().expect("it was registered a moment ago");
            plans.push(row![key.row(), codec::plan_to_json(plan)]);
        }
        self.batch(&tables::PLANS.insert, plans, Vec::new(), true);
        let (mut messages, mut ended) = (Batch::of(tables::MESSAGES.kinds()), Vec::new());
        for entry in shipments {
            let shipment = &entry.value;
            if shipment.state.is_terminal() && entry.change == Change::Updated {
                ended.push(shipment.key.row());
            } else if !shipment.state.is_terminal()
                && let Some(raw) = &shipment.message
            {
                messages.push(row![shipment.key.row(), &*raw.body, codec::origin_to_json(raw)]);
            }
        }
        self.batch(&tables::MESSAGES.insert, messages, Vec::new(), false);
        if !ended.is_empty() {
            self.add(ENDED, vec![Box::new(ended)], None);
        }
    }

    fn histories(&mut self, books: &Books, now: Timestamp) {
        let mut movements = Batch::of(tables::MOVEMENTS.kinds());
        for movement in &books.movements {
            movements.push(row![
                movement.capture.row(),
                movement.kind.as_str(),
                movement.authorization.row(),
                movement.amount.minor(),
                At(movement.at),
            ]);
        }
        self.batch(&tables::MOVEMENTS.insert, movements, Vec::new(), true);
        let mut history = Batch::of(tables::HISTORY.kinds());
        for note in &books.history {
            history.push(row![
                note.capture.row(),
                note.number,
                note.attempt,
                note.what,
                note.detail.as_str(),
                At(note.at)
            ]);
        }
        self.batch(&tables::HISTORY.insert, history, Vec::new(), true);
        if !books.published.is_empty() {
            let values: Vec<Value> = vec![Box::new(books.published.clone()), Box::new(now.timestamp_micros())];
            self.add(PUBLISHED, values, None);
        }
    }

    fn events(&mut self, books: &Books, rows: &[OutboxRow]) {
        let (mut events, mut outbox) = (Batch::of(tables::EVENTS.kinds()), Batch::of(tables::OUTBOX.kinds()));
        for (announcement, event) in books.outbox.iter().zip(rows) {
            events.push(row![
                event.row,
                &event.event_id.as_bytes()[..],
                event.kind.as_str(),
                &*event.body,
                event.traceparent.as_deref(),
                announcement.outcome_of.map(|(of, _)| of.row()),
                announcement.outcome_of.map(|(_, generation)| generation),
            ]);
            outbox.push(row![event.row, At(announcement.event.time)]);
        }
        self.batch(&tables::EVENTS.insert, events, Vec::new(), true);
        self.batch(&tables::OUTBOX.insert, outbox, vec![Box::new(self.writer.worker)], true);
    }

    fn dead_letters(&mut self, books: &Books, now: Timestamp) {
        let mut entries: Vec<&Entry<DeadLetter>> = books.changed_dead_letters().collect();
        entries.sort_unstable_by_key(|entry| entry.value.id.as_uuid());
        let is_new =
            |entry: &&Entry<DeadLetter>| entry.change == Change::Inserted && entry.value.shipment_key.is_some();
        let (of_shipments, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_new);
        self.put(&tables::DEAD_LETTERS, others, rows::dead_letter);
        self.put(&tables::SHIPMENT_LETTERS, of_shipments, rows::dead_letter);
        if books.replays.is_empty() {
            return;
        }
        let (integer, text) = (batch::Kind::Integer, batch::Kind::Text);
        let kinds = [integer, batch::Kind::Bytes, text, text, text, integer, integer, integer, integer];
        let mut replays = Batch::of(kinds.into_iter());
        for ReplayRecord { job, letter, result } in &books.replays {
            let (word, why, shipment, generation, capture) = codec::replay_columns(result);
            replays.push(row![
                job.row(),
                &letter.as_uuid().as_bytes()[..],
                word,
                why.map(|why| why.kind.as_str()),
                why.map(|why| why.message.as_str()),
                shipment,
                generation,
                capture,
                At(now),
            ]);
        }
        self.batch(REPLAYED, replays, Vec::new(), false);
    }

    async fn send(self, session: &Session) -> Result<(), Trouble> {
        for statement in &self.all {
            session.prepare(&[statement.sql]).await?;
        }
        let mut sending: Vec<Sending<'_, u64>> = Vec::new();
        for statement in &self.all {
            let mut values = statement.batch.as_ref().map(Batch::parameters).unwrap_or_default();
            values.extend(statement.values.iter().map(|value| -> &(dyn ToSql + Sync) { &**value }));
            sending.push(Box::pin(async move { session.execute(statement.sql, &values).await }));
        }
        let written = pipeline::in_order(sending).await?;
        for (statement, rows) in self.all.iter().zip(written) {
            if statement.rows.is_some_and(|expected| expected != rows) {
                let head: String = statement.sql.trim().chars().take(40).collect();
                return Err(Trouble::fatal(format!("{rows} rows were written and not {:?}: {head}", statement.rows)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What is written for groups.
    pub(in crate::ledger::postgres) fn all() -> Vec<&'static str> {
        let tables: [&'static Table; 8] = [
            &tables::ORDERS,
            &tables::AUTHORIZATIONS,
            &tables::SHIPMENTS,
            &tables::CAPTURES,
            &tables::USAGES,
            &tables::KEPT,
            &tables::MESSAGES,
            &tables::DEAD_LETTERS,
        ];
        let statements = tables.into_iter().flat_map(|table| [table.insert.as_str(), table.update.as_str()]);
        statements.filter(|sql| !sql.is_empty()).chain([COUNT, PUBLISHED, ENDED, REPLAYED]).collect()
    }
}
