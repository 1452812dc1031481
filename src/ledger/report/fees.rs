//! What an order owes beyond its shipments' amounts: a capture of its own, or a refusal without one.

use rusqlite::params;
use serde::Deserialize;

use super::story::{WrittenEvent, read_event};
use crate::capture::records::{Capture, NamedBy, Order};
use crate::clock::Timestamp;
use crate::ids::{AccountName, DeadLetterId, EventId};
use crate::ledger::codec::corrupt;
use crate::ledger::rows::read_capture;
use crate::ledger::session::{self, Row, Session};
use crate::money::{Currency, Money};

/// A fee, as the ledger has it.
pub(super) struct Fee {
    /// Its number in the order, from 1.
    pub(super) number: u32,
    pub(super) amount: Money,
    pub(super) account: AccountName,
    /// The id of the incoming event.
    pub(super) caused_by: Option<String>,
    /// The last one; `None` where it was refused without a call.
    pub(super) capture: Option<Capture>,
    /// The events about it, in the order in which they were written.
    pub(super) events: Vec<WrittenEvent>,
    /// When it was given its amount, and the row that was written then.
    pub(super) given: (Timestamp, i64),
}

/// All of an order, by their numbers.
pub(super) fn of_order(session: &Session, order: &Order) -> session::Result<Vec<Fee>> {
    let mut fees = Vec::new();
    for number in 1..=order.fees {
        let fee = match captured(session, order, number)? {
            Some(fee) => Some(fee),
            None => refused(session, order, number)?,
        };
        fees.extend(fee);
    }
    Ok(fees)
}

fn captured(session: &Session, order: &Order, number: u32) -> session::Result<Option<Fee>> {
    let sql = "SELECT a.currency, c.* FROM captures c JOIN authorizations a USING (authorization_row)
               WHERE c.order_row = ?1 AND c.fee = ?2 ORDER BY c.capture_row";
    let read = |row: &Row<'_>| Ok((read_capture(row)?, account(row.get_ref("account")?.as_str()?)?));
    let captures: Vec<(Capture, AccountName)> = session.query(sql, params![order.key.row(), number], read)?;
    let Some((first, _)) = captures.first() else { return Ok(None) };
    // It was given its amount once; a replay has begun a capture of its own.
    let given = (first.planned_at, first.key.row());
    let mut events = Vec::new();
    for (capture, _) in &captures {
        events.extend(events_of(session, order, number, capture)?);
    }
    let Some((capture, account)) = captures.into_iter().next_back() else { return Ok(None) };
    let NamedBy::Fee(fee) = &capture.named_by else { return Err(corrupt("a fee's capture has a shipment").into()) };
    let caused_by = fee.caused_by.clone();
    let amount = capture.amount;
    Ok(Some(Fee { number, amount, account, caused_by, capture: Some(capture), events, given }))
}

/// Its outcome, which has an index, and its correction, which has none, where there is one.
fn events_of(session: &Session, order: &Order, number: u32, capture: &Capture) -> session::Result<Vec<WrittenEvent>> {
    let sql = "SELECT e.event_id, e.kind, o.written_at, o.published_at FROM events e JOIN outbox o USING (event_row)
               WHERE e.outcome_of = ?1 ORDER BY e.event_row";
    let mut events = session.query(sql, [capture.key.row()], read_event)?;
    if capture.corrected_at.is_some() {
        let id = EventId::of_fee("capture.corrected", &order.id, number, capture.generation);
        let sql = format!(
            "SELECT e.event_id, e.kind, o.written_at, o.published_at FROM events e JOIN outbox o USING (event_row)
             WHERE {} AND e.event_id = ?2 ORDER BY e.event_row LIMIT 1",
            behind(session)
        );
        events.extend(session.find(&sql, params![capture.key.row(), id.as_uuid().as_bytes()], read_event)?);
    }
    Ok(events)
}

/// An event that is no outcome of anything is found by its id, or in a file among those that were written
/// behind the row `?1`.
fn behind(session: &Session) -> &'static str {
    session.pick("e.event_row > ?1", "e.outcome_of IS NULL")
}

/// What the event about a refusal tells.
#[derive(Deserialize)]
struct Told {
    account: String,
    currency: String,
    amount: String,
    caused_by: Option<String>,
}

/// Only its event tells of it. In a file that has no index but its row, which is later than the order's;
/// so it is looked for only where a dead letter says that it is there.
fn refused(session: &Session, order: &Order, number: u32) -> session::Result<Option<Fee>> {
    let sql = format!(
        "SELECT e.event_row, e.event_id, e.kind, e.body, o.written_at, o.published_at
         FROM events e JOIN outbox o USING (event_row)
         WHERE {} AND e.event_id = ?2 AND EXISTS (SELECT 1 FROM dead_letters WHERE dead_letter_id = ?3)
         ORDER BY e.event_row LIMIT 1",
        behind(session)
    );
    let event = EventId::of_fee("capture.failed", &order.id, number, 0).as_uuid();
    let letter = DeadLetterId::of_fee(&order.id, number, 0).as_uuid();
    let which = params![order.key.row(), event.as_bytes(), letter.as_bytes()];
    let read = |row: &Row<'_>| {
        let told: Told = told(row.get_ref("body")?.as_blob()?)?;
        let event = read_event(row)?;
        Ok(Fee {
            number,
            amount: amount(&told)?,
            account: account(&told.account)?,
            caused_by: told.caused_by,
            capture: None,
            given: (event.written_at, row.get("event_row")?),
            events: vec![event],
        })
    };
    session.find(&sql, which, read)
}

fn told(body: &[u8]) -> rusqlite::Result<Told> {
    #[derive(Deserialize)]
    struct Event {
        data: Told,
    }
    let event: Event = serde_json::from_slice(body).map_err(|_| corrupt("a fee's event does not tell its amount"))?;
    Ok(event.data)
}

fn amount(told: &Told) -> rusqlite::Result<Money> {
    let amount = Currency::parse(&told.currency).ok().zip(told.amount.parse().ok());
    let amount = amount.and_then(|(currency, major)| Money::from_major(major, currency).ok());
    amount.ok_or_else(|| corrupt("a fee's amount is none"))
}

fn account(name: &str) -> rusqlite::Result<AccountName> {
    AccountName::parse(name).map_err(|_| corrupt("an account's name is none"))
}
