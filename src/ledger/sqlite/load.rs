//! Loads the records that commands touch.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::capture::books::Books;
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::decide::{Arrival, Command, Due};
use crate::capture::event::{CaptureKind, FailureReason, ResolvedBy};
use crate::capture::evidence::ProviderBalance;
use crate::capture::notice::AuthorizationFacts;
use crate::capture::plan::Plan;
use crate::capture::records::{
    AmountMode, Ask, Authorization, AuthorizationKey, Capture, CaptureKey, CaptureProgress, Fee, Kept, KeptKey,
    NamedBy, Order, OrderKey, Shipment, ShipmentKey, SingleUse,
};
use crate::capture::reject::{MESSAGE_REASONS, WAITED_REASONS};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::ids::{AccountName, CaptureId, DeadLetterId, OrderId, Reference, ShipmentId};
use crate::ledger::fold;
use crate::ledger::sqlite::codec::{self, Columns, corrupt};

type Result<T> = rusqlite::Result<T>;

/// Every record that the commands may touch, those that `kept` has included.
pub(super) fn load(connection: &Connection, kept: Option<Books>, commands: &[Command]) -> Result<Books> {
    let books = kept.map_or_else(|| empty(connection), Ok)?;
    let mut loader = Loader { connection, books };
    for command in commands {
        match command {
            Command::Accept(arrival) => loader.arrival(arrival)?,
            Command::Register(arrival) => {
                loader.told(&arrival.notice.order, Some(&arrival.notice.authorization))?;
                loader.dead_letters(&fold::notice_dead_letters(&arrival.raw.body))?;
            }
            Command::Cancel(arrival) => {
                loader.told(&arrival.notice.order, None)?;
                loader.dead_letters(&fold::notice_dead_letters(&arrival.raw.body))?;
            }
            Command::Reject(reject) => loader.dead_letters(&fold::message_dead_letters(&reject.raw.body))?,
            Command::Collect(raw) => loader.dead_letters(&fold::message_dead_letters(&raw.body))?,
            Command::Due(Due::Capture(key)) => loader.capture_and_surroundings(*key)?,
            Command::Settle(settle) => loader.capture_and_surroundings(settle.capture)?,
            Command::Due(Due::Authorization(key)) => loader.authorization_and_shipments(*key)?,
            Command::Freeze(freeze) => loader.authorization_and_shipments(freeze.authorization)?,
            Command::Due(Due::Ask(key)) => loader.asked(*key)?,
            Command::Learn(learn) => loader.asked(learn.authorization)?,
            Command::Due(Due::Shipment(key)) => loader.shipment(*key)?,
            Command::Due(Due::Kept(key)) => loader.kept(*key)?,
            Command::Due(Due::Order(key)) => loader.closing(*key)?,
            Command::Published(_) => {}
        }
    }
    Ok(loader.books)
}

fn empty(connection: &Connection) -> Result<Books> {
    let mut statement = connection.prepare_cached("SELECT next_row FROM sequence")?;
    statement.query_row([], |row| row.get(0)).map(Books::new)
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
            self.awaiting(order)?;
            let known = self.books.order(order).plan.as_ref().map(Plan::revision);
            if known.zip(notice.plan.as_ref()).is_some_and(|(known, told)| told.revision > known) {
                self.collecting(order)?;
            }
        }
        self.named(notice.authorization.as_ref())?;
        self.dead_letters(&fold::message_dead_letters(&arrival.raw.body))
    }

    /// What a cancellation or a registration may touch.
    fn told(&mut self, order: &OrderId, facts: Option<&AuthorizationFacts>) -> Result<()> {
        if let Some(order) = self.order_by_id(order)? {
            self.awaiting(order)?;
            self.collecting(order)?;
        }
        self.named(facts)
    }

    fn closing(&mut self, order: OrderKey) -> Result<()> {
        let sql = "SELECT order_row FROM orders WHERE order_row = ?1";
        if self.row_of(sql, [order.row()])?.is_some() {
            self.order(order)?;
            self.collecting(order)?;
        }
        Ok(())
    }

    fn asked(&mut self, key: AuthorizationKey) -> Result<()> {
        self.authorization_and_shipments(key)?;
        let Some(order) = self.books.authorizations().find(key).map(|record| record.order) else { return Ok(()) };
        self.planned(key)?;
        self.awaiting(order)
    }

    /// Shipments and notices that wait for something to become known.
    fn awaiting(&mut self, order: OrderKey) -> Result<()> {
        let record = self.books.order(order);
        let (awaiting, kept) = (record.awaiting > 0, record.kept > 0);
        if awaiting {
            let sql = "SELECT shipment_row FROM shipments WHERE order_row = ?1 AND state = 'awaiting'";
            for shipment in self.rows_of(sql, order.row())? {
                self.shipment(ShipmentKey::new(shipment))?;
            }
        }
        if kept {
            let sql = "SELECT notice_row FROM kept_notices WHERE order_row = ?1 AND due_at IS NOT NULL";
            for kept in self.rows_of(sql, order.row())? {
                self.kept(KeptKey::new(kept))?;
            }
        }
        Ok(())
    }

    /// Shipments that wait to be captured with others.
    fn collecting(&mut self, order: OrderKey) -> Result<()> {
        let sql = "SELECT shipment_row FROM shipments WHERE order_row = ?1 AND state = 'waiting'";
        for shipment in self.rows_of(sql, order.row())? {
            self.shipment(ShipmentKey::new(shipment))?;
        }
        Ok(())
    }

    fn kept(&mut self, key: KeptKey) -> Result<()> {
        if self.books.kept().contains(key) {
            return Ok(());
        }
        let mut statement = self.connection.prepare_cached("SELECT * FROM kept_notices WHERE notice_row = ?1")?;
        let Some(kept) = statement.query_row([key.row()], read_kept).optional()? else { return Ok(()) };
        let order = kept.order;
        self.books.load_kept(kept);
        self.order(order)
    }

    /// The authorization that a notice names.
    fn named(&mut self, facts: Option<&AuthorizationFacts>) -> Result<()> {
        let Some(facts) = facts else { return Ok(()) };
        let known = self.row_of(
            "SELECT authorization_row FROM authorizations WHERE account = ?1 AND reference = ?2",
            params![facts.account.as_str(), facts.reference.as_str()],
        )?;
        known.map_or(Ok(()), |known| self.authorization(AuthorizationKey::new(known)))
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
        if !self.books.shipments().contains(key) {
            let mut statement = self.connection.prepare_cached(
                "SELECT a.currency, s.* FROM shipments s LEFT JOIN authorizations a USING (authorization_row)
                 WHERE shipment_row = ?1",
            )?;
            let Some(shipment) = statement.query_row([key.row()], read_shipment).optional()? else { return Ok(()) };
            self.books.load_shipment(shipment);
        }
        // Its capture may have come to its end and gone before it.
        let shipment = self.books.shipment(key);
        let (order, authorization, capture) = (shipment.order, shipment.authorization, shipment.capture);
        self.order(order)?;
        if let Some(authorization) = authorization {
            self.authorization(authorization)?;
        }
        match capture {
            Some(capture) => self.capture(capture).map(drop),
            None => Ok(()),
        }
    }

    fn capture(&mut self, key: CaptureKey) -> Result<Option<(AuthorizationKey, Option<ShipmentKey>)>> {
        if let Some(known) = self.books.captures().find(key) {
            return Ok(Some((known.authorization, known.shipment())));
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT a.currency, c.* FROM captures c JOIN authorizations a USING (authorization_row)
             WHERE capture_row = ?1",
        )?;
        let Some(capture) = statement.query_row([key.row()], read_capture).optional()? else { return Ok(None) };
        drop(statement);
        let (order, authorization, shipment) = (capture.order, capture.authorization, capture.shipment());
        self.books.load_capture(capture);
        self.order(order)?;
        self.authorization(authorization)?;
        Ok(Some((authorization, shipment)))
    }

    fn capture_and_surroundings(&mut self, key: CaptureKey) -> Result<()> {
        let Some((authorization, shipment)) = self.capture(key)? else { return Ok(()) };
        if let Some(shipment) = shipment {
            self.shipment(shipment)?;
        }
        self.collected_on(authorization)?;
        self.planned(authorization)
    }

    /// Captures that wait for their turn or their time.
    fn planned(&mut self, authorization: AuthorizationKey) -> Result<()> {
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

    fn dead_letters(&mut self, ids: &[DeadLetterId]) -> Result<()> {
        for id in ids {
            let known = self
                .connection
                .prepare_cached("SELECT dead_letter_id, reason, path, message, provider_code, fingerprint, order_id, shipment_id, account,
                     shipment_row, first_seen_at, last_seen_at, count, state, body, origin
                     FROM dead_letters WHERE dead_letter_id = ?1",
                )?
                .query_row([id.as_uuid().as_bytes()], read_dead_letter)
                .optional()?;
            if let Some(known) = known {
                self.books.load_dead_letter(known);
            }
        }
        Ok(())
    }
}

pub(super) fn read_order(row: &Row<'_>) -> Result<Order> {
    let row = &mut Columns::of(row);
    let modes = [AmountMode::Planned, AmountMode::Explicit];
    Ok(Order {
        key: OrderKey::new(row.next()?),
        id: OrderId::parse(row.text()?).map_err(|_| corrupt("an order's id is not an id"))?,
        mode: row.optional_word(&modes, |mode| mode.as_str())?,
        plan: row.optional_text()?.map(codec::plan_from_json).transpose()?,
        progress: codec::progress_from_json(row.text()?)?,
        is_cancelled: row.next()?,
        is_closed: row.next()?,
        closes_at: row.instant()?,
        stored: row.next()?,
        captured: row.next()?,
        open: row.next()?,
        fees: row.next()?,
        refund_revision: row.next()?,
        newest_authorization: row.next::<Option<i64>>()?.map(AuthorizationKey::new),
        final_at: row.instant()?,
        awaiting: row.next()?,
        kept: row.next()?,
        sequence: row.next()?,
    })
}

pub(super) fn read_authorization(row: &Row<'_>) -> Result<Authorization> {
    let row = &mut Columns::of(row);
    let uses = [SingleUse::Free, SingleUse::Undecided, SingleUse::Used];
    let key = AuthorizationKey::new(row.next()?);
    let account = AccountName::parse(row.text()?).map_err(|_| corrupt("an account's name is not an id"))?;
    let reference = Reference::parse(row.text()?).map_err(|_| corrupt("a reference is not an id"))?;
    let order = OrderKey::new(row.next()?);
    let currency = row.currency()?;
    Ok(Authorization {
        key,
        account,
        reference,
        order,
        currency,
        authorized: row.money(currency)?,
        is_amount_known: row.next()?,
        captured: row.money(currency)?,
        reserved: row.money(currency)?,
        excess: row.money(currency)?,
        expires_at: row.instant()?,
        expiry_is_derived: row.next()?,
        planned: row.next()?,
        in_flight: row.next()?,
        waiting: row.next()?,
        waiting_amount: row.money(currency)?,
        single: row.word(&uses, |single| single.as_str())?,
        freeze_at: row.instant()?,
        reads: row.next()?,
        ask: read_ask(row)?,
        epoch: row.next()?,
        provider: ProviderBalance {
            captured: row.optional_money(Some(currency))?,
            remaining: row.optional_money(Some(currency))?,
            expires_at: row.instant()?,
        },
    })
}

fn read_ask(row: &mut Columns<'_>) -> Result<Option<Ask>> {
    let (at, until, count): (_, _, Option<u32>) = (row.instant()?, row.instant()?, row.next()?);
    Ok(at.zip(until).zip(count).map(|((at, until), count)| Ask { at, until, count }))
}

fn read_kept(row: &Row<'_>) -> Result<Kept> {
    let row = &mut Columns::of(row);
    Ok(Kept {
        key: KeptKey::new(row.next()?),
        order: OrderKey::new(row.next()?),
        body_sha256: row.next()?,
        kept_at: row.instant()?.ok_or_else(|| corrupt("a kept notice has no time"))?,
        due_at: row.instant()?,
        message: row.message()?,
    })
}

/// The currency of its authorization, then the shipment.
pub(super) fn read_shipment(row: &Row<'_>) -> Result<Shipment> {
    let row = &mut Columns::of(row);
    let currency = row.optional_currency()?;
    Ok(Shipment {
        key: ShipmentKey::new(row.next()?),
        order: OrderKey::new(row.next()?),
        id: ShipmentId::parse(row.text()?).map_err(|_| corrupt("a shipment's id is not an id"))?,
        generation: row.next()?,
        content: row.next()?,
        state: row.word(&ShipmentState::ALL, |state| state.as_str())?,
        says_final: row.next()?,
        lines: codec::lines_from_json(row.text()?)?,
        amount: row.optional_money(currency)?,
        authorization: row.next::<Option<i64>>()?.map(AuthorizationKey::new),
        capture: row.next::<Option<i64>>()?.map(CaptureKey::new),
        reason: row.skip().optional_word(&FailureReason::ALL, |reason| reason.as_str())?,
        accepted_at: row.instant()?.ok_or_else(|| corrupt("a shipment has no time"))?,
        due_at: row.instant()?,
        caused_by: row.next()?,
        message: row.message()?,
    })
}

/// The currency of its authorization, then the capture.
pub(super) fn read_capture(row: &Row<'_>) -> Result<Capture> {
    let row = &mut Columns::of(row);
    let kinds = [CaptureKind::Shipment, CaptureKind::Batch, CaptureKind::Deadline, CaptureKind::Fee];
    let ways = [ResolvedBy::Response, ResolvedBy::Lookup, ResolvedBy::Local, ResolvedBy::Operator];
    let currency = row.currency()?;
    Ok(Capture {
        key: CaptureKey::new(row.next()?),
        id: CaptureId::from_uuid(Uuid::from_bytes(row.next()?)),
        authorization: AuthorizationKey::new(row.next()?),
        order: OrderKey::new(row.next()?),
        named_by: read_name(row)?,
        kind: row.word(&kinds, |kind| kind.as_str())?,
        generation: row.next()?,
        amount: row.money(currency)?,
        state: row.word(&CaptureState::ALL, |state| state.as_str())?,
        planned_at: row.skip().instant()?.ok_or_else(|| corrupt("a capture has no time"))?,
        due_at: row.instant()?,
        waits_turn: row.next()?,
        progress: read_progress(row)?,
        resolved_by: row.optional_word(&ways, |way| way.as_str())?,
        provider_reference: row.next()?,
        settled_at: row.instant()?,
        is_corrected: row.next()?,
    })
}

fn read_name(row: &mut Columns<'_>) -> Result<NamedBy> {
    let (shipment, number, caused_by): (Option<i64>, Option<u32>, _) = (row.next()?, row.next()?, row.next()?);
    match (shipment, number) {
        (Some(shipment), None) => Ok(NamedBy::Shipment(ShipmentKey::new(shipment))),
        (None, Some(number)) => Ok(NamedBy::Fee(Fee { number, caused_by })),
        (Some(_), Some(_)) | (None, None) => Err(corrupt("a capture is of a shipment or of a fee")),
    }
}

fn read_progress(row: &mut Columns<'_>) -> Result<CaptureProgress> {
    Ok(CaptureProgress {
        attempts: row.next()?,
        epoch: row.next()?,
        doubtful: row.next()?,
        failures: row.next()?,
        looks: row.next()?,
        window_from: row.instant()?,
        send_by: row.instant()?,
        doubt_since: row.instant()?,
        is_pending: row.next()?,
        refused: row.optional_text()?.map(codec::refusal_from_json).transpose()?,
        terminal_seen_at: row.instant()?,
        last_seen: row.next()?,
    })
}

fn read_dead_letter(row: &Row<'_>) -> Result<DeadLetter> {
    let row = &mut Columns::of(row);
    let reasons = [&MESSAGE_REASONS[..], &WAITED_REASONS[..]].concat();
    let states =
        [DeadLetterState::Open, DeadLetterState::Replaying, DeadLetterState::Replayed, DeadLetterState::Discarded];
    Ok(DeadLetter {
        id: DeadLetterId::from_uuid(Uuid::from_bytes(row.next()?)),
        reason: row.word(&reasons, |reason| reason)?,
        path: row.next()?,
        message: row.next()?,
        provider_code: row.next()?,
        fingerprint: row.next()?,
        order: row.optional_text()?.and_then(|text| OrderId::parse(text).ok()),
        shipment: row.optional_text()?.and_then(|text| ShipmentId::parse(text).ok()),
        account: row.optional_text()?.and_then(|text| AccountName::parse(text).ok()),
        shipment_key: row.next::<Option<i64>>()?.map(ShipmentKey::new),
        first_seen_at: row.instant()?.ok_or_else(|| corrupt("a dead letter has no time"))?,
        last_seen_at: row.instant()?.ok_or_else(|| corrupt("a dead letter has no time"))?,
        count: row.next()?,
        state: row.word(&states, |state| state.as_str())?,
        raw: row.message()?,
    })
}
