//! Loads the records that commands touch.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::capture::books::Books;
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::decide::{Arrival, Command, Due};
use crate::capture::event::{CaptureKind, FailureReason, ResolvedBy};
use crate::capture::evidence::ProviderBalance;
use crate::capture::notice::RawMessage;
use crate::capture::records::{
    AmountMode, Authorization, AuthorizationKey, Capture, CaptureKey, CaptureProgress, Order, OrderKey, Shipment,
    ShipmentKey, SingleUse,
};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::ids::{AccountName, CaptureId, DeadLetterId, OrderId, Reference, ShipmentId};
use crate::ledger::fold;
use crate::ledger::sqlite::codec::{self, corrupt, instant, money, word};
use crate::money::{Currency, Money};

type Result<T> = rusqlite::Result<T>;

/// Every record that the commands may touch.
pub(super) fn load(connection: &Connection, commands: &[Command]) -> Result<Books> {
    let next_row = connection.prepare_cached("SELECT next_row FROM sequence")?.query_row([], |row| row.get(0))?;
    let mut loader = Loader { connection, books: Books::new(next_row) };
    for command in commands {
        match command {
            Command::Accept(arrival) => loader.arrival(arrival)?,
            Command::Reject(reject) => loader.message_dead_letters(&reject.raw.body)?,
            Command::Collect(raw) => loader.message_dead_letters(&raw.body)?,
            Command::Due(Due::Capture(key)) => loader.capture_and_surroundings(*key)?,
            Command::Settle(settle) => loader.capture_and_surroundings(settle.capture)?,
            Command::Due(Due::Authorization(key)) => loader.authorization_and_shipments(*key)?,
            Command::Freeze(freeze) => loader.authorization_and_shipments(freeze.authorization)?,
            Command::Due(Due::Shipment(key)) => loader.shipment(*key)?,
            Command::Published(_) => {}
        }
    }
    Ok(loader.books)
}

struct Loader<'a> {
    connection: &'a Connection,
    books: Books,
}

impl Loader<'_> {
    fn arrival(&mut self, arrival: &Arrival) -> Result<()> {
        let notice = &arrival.notice;
        if let Some(order) = self.order_by_id(&notice.order)? {
            let shipment = self.row_of(
                "SELECT shipment_row FROM shipments WHERE order_row = ?1 AND shipment_id = ?2",
                params![order.row(), notice.shipment.as_str()],
            )?;
            if let Some(shipment) = shipment {
                self.shipment(ShipmentKey::new(shipment))?;
            }
            if self.books.order(order).awaiting > 0 {
                let sql = "SELECT shipment_row FROM shipments WHERE order_row = ?1 AND state = 'awaiting'";
                for shipment in self.rows_of(sql, order.row())? {
                    self.shipment(ShipmentKey::new(shipment))?;
                }
            }
        }
        if let Some(facts) = &notice.authorization {
            let known = self.row_of(
                "SELECT authorization_row FROM authorizations WHERE account = ?1 AND reference = ?2",
                params![facts.account.as_str(), facts.reference.as_str()],
            )?;
            if let Some(known) = known {
                self.authorization(AuthorizationKey::new(known))?;
            }
        }
        self.message_dead_letters(&arrival.raw.body)
    }

    fn row_of(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<Option<i64>> {
        self.connection.prepare_cached(sql)?.query_row(parameters, |row| row.get(0)).optional()
    }

    fn rows_of(&self, sql: &str, of: i64) -> Result<Vec<i64>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_map([of], |row| row.get(0))?.collect()
    }

    fn order_by_id(&mut self, id: &OrderId) -> Result<Option<OrderKey>> {
        if let Some(key) = self.books.order_key(id) {
            return Ok(Some(key));
        }
        let order = self
            .connection
            .prepare_cached("SELECT * FROM orders WHERE order_id = ?1")?
            .query_row([id.as_str()], read_order)
            .optional()?;
        order.map(|order| self.keep_order(order)).transpose()
    }

    fn order(&mut self, key: OrderKey) -> Result<()> {
        if self.books.orders().contains(key) {
            return Ok(());
        }
        let order = self
            .connection
            .prepare_cached("SELECT * FROM orders WHERE order_row = ?1")?
            .query_row([key.row()], read_order)?;
        self.keep_order(order).map(drop)
    }

    fn keep_order(&mut self, order: Order) -> Result<OrderKey> {
        let (key, newest) = (order.key, order.newest_authorization);
        self.books.load_order(order);
        if let Some(newest) = newest {
            self.authorization(newest)?;
        }
        Ok(key)
    }

    fn authorization(&mut self, key: AuthorizationKey) -> Result<()> {
        if self.books.authorizations().contains(key) {
            return Ok(());
        }
        let authorization = self
            .connection
            .prepare_cached("SELECT * FROM authorizations WHERE authorization_row = ?1")?
            .query_row([key.row()], read_authorization)
            .optional()?;
        let Some(authorization) = authorization else { return Ok(()) };
        let order = authorization.order;
        self.books.load_authorization(authorization);
        self.order(order)
    }

    fn shipment(&mut self, key: ShipmentKey) -> Result<()> {
        if self.books.shipments().contains(key) {
            return Ok(());
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT s.*, a.currency FROM shipments s LEFT JOIN authorizations a USING (authorization_row)
             WHERE shipment_row = ?1",
        )?;
        let Some(shipment) = statement.query_row([key.row()], read_shipment).optional()? else { return Ok(()) };
        drop(statement);
        let (order, authorization, capture) = (shipment.order, shipment.authorization, shipment.capture);
        self.books.load_shipment(shipment);
        self.order(order)?;
        if let Some(authorization) = authorization {
            self.authorization(authorization)?;
        }
        match capture {
            Some(capture) => self.capture(capture).map(drop),
            None => Ok(()),
        }
    }

    fn capture(&mut self, key: CaptureKey) -> Result<Option<(AuthorizationKey, ShipmentKey)>> {
        if let Some(known) = self.books.captures().find(key) {
            return Ok(Some((known.authorization, known.shipment)));
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT c.*, a.currency FROM captures c JOIN authorizations a USING (authorization_row)
             WHERE capture_row = ?1",
        )?;
        let Some(capture) = statement.query_row([key.row()], read_capture).optional()? else { return Ok(None) };
        drop(statement);
        let (authorization, shipment) = (capture.authorization, capture.shipment);
        self.books.load_capture(capture);
        self.authorization(authorization)?;
        Ok(Some((authorization, shipment)))
    }

    fn capture_and_surroundings(&mut self, key: CaptureKey) -> Result<()> {
        let Some((authorization, shipment)) = self.capture(key)? else { return Ok(()) };
        self.shipment(shipment)?;
        self.collected_on(authorization)?;
        if self.books.authorization(authorization).planned > 0 {
            let sql = "SELECT capture_row FROM captures
                       WHERE authorization_row = ?1 AND is_open = 1 AND state = 'planned'";
            for planned in self.rows_of(sql, authorization.row())? {
                self.capture(CaptureKey::new(planned))?;
            }
        }
        Ok(())
    }

    fn authorization_and_shipments(&mut self, key: AuthorizationKey) -> Result<()> {
        self.authorization(key)?;
        self.collected_on(key)
    }

    fn collected_on(&mut self, key: AuthorizationKey) -> Result<()> {
        for shipment in self.rows_of("SELECT shipment_row FROM shipments WHERE collected_on = ?1", key.row())? {
            self.shipment(ShipmentKey::new(shipment))?;
        }
        Ok(())
    }

    fn message_dead_letters(&mut self, body: &[u8]) -> Result<()> {
        for id in fold::message_dead_letters(body) {
            let known = self
                .connection
                .prepare_cached("SELECT * FROM dead_letters WHERE dead_letter_id = ?1")?
                .query_row([id.as_uuid().as_bytes()], read_dead_letter)
                .optional()?;
            if let Some(known) = known {
                self.books.load_dead_letter(known);
            }
        }
        Ok(())
    }
}

fn currency(row: &Row<'_>) -> Result<Currency> {
    Currency::parse(row.get_ref("currency")?.as_str()?).map_err(|_| corrupt("a currency is unknown"))
}

pub(super) fn read_order(row: &Row<'_>) -> Result<Order> {
    let mode: Option<String> = row.get("mode")?;
    let modes = [AmountMode::Planned, AmountMode::Explicit];
    let plan: Option<String> = row.get("plan")?;
    Ok(Order {
        key: OrderKey::new(row.get("order_row")?),
        id: OrderId::parse(row.get_ref("order_id")?.as_str()?).map_err(|_| corrupt("an order's id is not an id"))?,
        mode: mode.map(|_| word(row, "mode", &modes, |mode| mode.as_str())).transpose()?,
        plan: plan.as_deref().map(codec::plan_from_json).transpose()?,
        progress: codec::progress_from_json(row.get_ref("progress")?.as_str()?)?,
        stored: row.get("stored")?,
        newest_authorization: row.get::<_, Option<i64>>("newest_authorization")?.map(AuthorizationKey::new),
        final_at: instant(row, "final_at")?,
        awaiting: row.get("awaiting")?,
        sequence: row.get("sequence")?,
    })
}

pub(super) fn read_authorization(row: &Row<'_>) -> Result<Authorization> {
    let currency = currency(row)?;
    let amount = |column| money(row, column, currency);
    let optional = |column: &str| -> Result<Option<Money>> {
        let minor: Option<i64> = row.get(column)?;
        minor.map(|_| money(row, column, currency)).transpose()
    };
    let account = row.get_ref("account")?.as_str()?;
    let reference = row.get_ref("reference")?.as_str()?;
    let uses = [SingleUse::Free, SingleUse::Undecided, SingleUse::Used];
    Ok(Authorization {
        key: AuthorizationKey::new(row.get("authorization_row")?),
        account: AccountName::parse(account).map_err(|_| corrupt("an account's name is not an id"))?,
        reference: Reference::parse(reference).map_err(|_| corrupt("a reference is not an id"))?,
        order: OrderKey::new(row.get("order_row")?),
        currency,
        authorized: amount("authorized")?,
        captured: amount("captured")?,
        reserved: amount("reserved")?,
        excess: amount("excess")?,
        expires_at: instant(row, "expires_at")?,
        expiry_is_derived: row.get("expiry_is_derived")?,
        planned: row.get("planned")?,
        in_flight: row.get("in_flight")?,
        waiting: row.get("waiting")?,
        waiting_amount: amount("waiting_amount")?,
        single: word(row, "single", &uses, |single| single.as_str())?,
        freeze_at: instant(row, "freeze_at")?,
        reads: row.get("reads")?,
        epoch: row.get("epoch")?,
        provider: ProviderBalance {
            captured: optional("provider_captured")?,
            remaining: optional("provider_remaining")?,
            expires_at: instant(row, "provider_expires_at")?,
        },
    })
}

pub(super) fn read_shipment(row: &Row<'_>) -> Result<Shipment> {
    let id = row.get_ref("shipment_id")?.as_str()?;
    let amount: Option<i64> = row.get("amount")?;
    let reason: Option<String> = row.get("reason")?;
    Ok(Shipment {
        key: ShipmentKey::new(row.get("shipment_row")?),
        order: OrderKey::new(row.get("order_row")?),
        id: ShipmentId::parse(id).map_err(|_| corrupt("a shipment's id is not an id"))?,
        generation: row.get("generation")?,
        content: row.get("content")?,
        state: word(row, "state", &ShipmentState::ALL, |state| state.as_str())?,
        lines: codec::lines_from_json(row.get_ref("lines")?.as_str()?)?,
        amount: amount.map(|_| money(row, "amount", currency(row)?)).transpose()?,
        authorization: row.get::<_, Option<i64>>("authorization_row")?.map(AuthorizationKey::new),
        capture: row.get::<_, Option<i64>>("capture_row")?.map(CaptureKey::new),
        reason: reason.map(|_| word(row, "reason", &FailureReason::ALL, |reason| reason.as_str())).transpose()?,
        accepted_at: instant(row, "accepted_at")?.ok_or_else(|| corrupt("a shipment has no time"))?,
        due_at: instant(row, "due_at")?,
        caused_by: row.get("caused_by")?,
        message: read_message(row)?,
    })
}

pub(super) fn read_message(row: &Row<'_>) -> Result<Option<RawMessage>> {
    let body: Option<Vec<u8>> = row.get("body")?;
    body.map(|body| codec::message(body, row.get_ref("origin")?.as_str()?)).transpose()
}

pub(super) fn read_capture(row: &Row<'_>) -> Result<Capture> {
    let kinds = [CaptureKind::Shipment, CaptureKind::Batch, CaptureKind::Deadline];
    let ways = [ResolvedBy::Response, ResolvedBy::Lookup, ResolvedBy::Local, ResolvedBy::Operator];
    let resolved_by: Option<String> = row.get("resolved_by")?;
    Ok(Capture {
        key: CaptureKey::new(row.get("capture_row")?),
        id: CaptureId::from_uuid(Uuid::from_bytes(row.get("capture_id")?)),
        authorization: AuthorizationKey::new(row.get("authorization_row")?),
        order: OrderKey::new(row.get("order_row")?),
        shipment: ShipmentKey::new(row.get("shipment_row")?),
        kind: word(row, "kind", &kinds, |kind| kind.as_str())?,
        generation: row.get("generation")?,
        amount: money(row, "amount", currency(row)?)?,
        state: word(row, "state", &CaptureState::ALL, |state| state.as_str())?,
        planned_at: instant(row, "planned_at")?.ok_or_else(|| corrupt("a capture has no time"))?,
        due_at: instant(row, "due_at")?,
        waits_turn: row.get("waits_turn")?,
        progress: read_progress(row)?,
        resolved_by: resolved_by.map(|_| word(row, "resolved_by", &ways, |way| way.as_str())).transpose()?,
        provider_reference: row.get("provider_reference")?,
        settled_at: instant(row, "settled_at")?,
        is_corrected: row.get("is_corrected")?,
    })
}

fn read_progress(row: &Row<'_>) -> Result<CaptureProgress> {
    let refused: Option<String> = row.get("refused")?;
    Ok(CaptureProgress {
        attempts: row.get("attempts")?,
        epoch: row.get("epoch")?,
        doubtful: row.get("doubtful")?,
        failures: row.get("failures")?,
        looks: row.get("looks")?,
        window_from: instant(row, "window_from")?,
        send_by: instant(row, "send_by")?,
        doubt_since: instant(row, "doubt_since")?,
        is_pending: row.get("is_pending")?,
        refused: refused.as_deref().map(codec::refusal_from_json).transpose()?,
        terminal_seen_at: instant(row, "terminal_seen_at")?,
        last_seen: row.get("last_seen")?,
    })
}

fn read_dead_letter(row: &Row<'_>) -> Result<DeadLetter> {
    let reasons = crate::capture::reject::MESSAGE_REASONS;
    let states =
        [DeadLetterState::Open, DeadLetterState::Replaying, DeadLetterState::Replayed, DeadLetterState::Discarded];
    let id = |text: Option<String>| text.and_then(|text| OrderId::parse(&text).ok());
    let shipment: Option<String> = row.get("shipment_id")?;
    let account: Option<String> = row.get("account")?;
    Ok(DeadLetter {
        id: DeadLetterId::from_uuid(Uuid::from_bytes(row.get("dead_letter_id")?)),
        reason: word(row, "reason", &reasons, |reason| reason)?,
        path: row.get("path")?,
        message: row.get("message")?,
        provider_code: row.get("provider_code")?,
        fingerprint: row.get("fingerprint")?,
        order: id(row.get("order_id")?),
        shipment: shipment.and_then(|text| ShipmentId::parse(&text).ok()),
        account: account.and_then(|text| AccountName::parse(&text).ok()),
        shipment_key: row.get::<_, Option<i64>>("shipment_row")?.map(ShipmentKey::new),
        first_seen_at: instant(row, "first_seen_at")?.ok_or_else(|| corrupt("a dead letter has no time"))?,
        last_seen_at: instant(row, "last_seen_at")?.ok_or_else(|| corrupt("a dead letter has no time"))?,
        count: row.get("count")?,
        state: word(row, "state", &states, |state| state.as_str())?,
        raw: read_message(row)?,
    })
}
