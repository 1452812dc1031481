//! Writes what was set aside, and what replays have come to.

use rusqlite::{Connection, params};

use super::Result;
use crate::capture::books::Books;
use crate::capture::dead_letter::{self, DeadLetter};
use crate::capture::records::{JobKey, ShipmentKey};
use crate::capture::replay::ReplayRecord;
use crate::clock::Timestamp;
use crate::ids::AccountName;
use crate::ledger::codec::{self, At};
use crate::money::Money;

pub(super) fn insert(connection: &Connection, letter: &DeadLetter) -> Result<()> {
    // The same one may be there although it was not loaded: it is seen once more.
    let sql = "INSERT INTO dead_letters VALUES
               (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)
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
        letter.account.as_ref().map(AccountName::as_str),
        letter.shipment_key.map(ShipmentKey::row),
        letter.fee,
        letter.generation,
        letter.amount.as_ref().map(|amount| amount.currency().code().to_owned()),
        letter.amount.map(Money::minor),
        At(letter.first_seen_at),
        At(letter.last_seen_at),
        letter.count,
        letter.state.as_str(),
        letter.job.map(JobKey::row),
        letter.raw.as_ref().map(kept_body),
        letter.raw.as_ref().map(|raw| dead_letter::sha256(&raw.body)),
        letter.raw.as_ref().map(codec::origin_to_json),
    ])?;
    Ok(())
}

/// Its message and its cause never change.
pub(super) fn update(connection: &Connection, letter: &DeadLetter) -> Result<()> {
    let sql = "UPDATE dead_letters SET last_seen_at = ?2, count = ?3, state = ?4, job_row = ?5
               WHERE dead_letter_id = ?1";
    connection.prepare_cached(sql)?.execute(params![
        letter.id.as_uuid().as_bytes(),
        At(letter.last_seen_at),
        letter.count,
        letter.state.as_str(),
        letter.job.map(JobKey::row),
    ])?;
    Ok(())
}

/// What a replay has come to is told once: in the transaction that made it true.
pub(super) fn write_replays(connection: &Connection, books: &Books, now: Timestamp) -> Result<()> {
    if books.replays.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "UPDATE replay_items SET state = 'done', result = ?3, why_not = ?4, why = ?5, shipment_row = ?6,
         generation = ?7, capture_row = ?8, done_at = ?9
         WHERE job_row = ?1 AND state = 'pending'
         AND dead_letter_row = (SELECT dead_letter_row FROM dead_letters WHERE dead_letter_id = ?2)",
    )?;
    for ReplayRecord { job, letter, result } in &books.replays {
        let (word, why, shipment, generation, capture) = codec::replay_columns(result);
        statement.execute(params![
            job.row(),
            letter.as_uuid().as_bytes(),
            word,
            why.map(|why| why.kind.as_str()),
            why.map(|why| why.message.as_str()),
            shipment,
            generation,
            capture,
            At(now),
        ])?;
    }
    Ok(())
}

/// The body, untouched up to 64 KiB; of a larger one, its head.
fn kept_body(raw: &crate::capture::notice::RawMessage) -> &[u8] {
    let end = raw.body.len().min(crate::message::BODY_MAX);
    &raw.body[..end]
}
