//! Loads the records that commands touch.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::capture::books::Books;
use crate::capture::dead_letter::{self, DeadLetter, DeadLetterState};
use crate::capture::decide::{Arrival, Command, Due};
use crate::capture::event::{CaptureKind, FailureReason, ResolvedBy};
use crate::capture::evidence::ProviderBalance;
use crate::capture::records::{
    AmountMode, Authorization, AuthorizationKey, Capture, CaptureKey, CaptureProgress, Order, OrderKey, Shipment,
    ShipmentKey, SingleUse, Watch,
};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::ids::{AccountName, CaptureId, DeadLetterId, OrderId, Reference, ShipmentId};
use crate::ledger::sqlite::codec::{self, Columns, corrupt};

type Result<T> = rusqlite::Result<T>;

/// Every record that the commands may touch, those that `kept` has included.
pub(super) fn load(
    connection: &Connection,
    kept: Option<Books>,
    commands: &[Command],
    is_single: &dyn Fn(&Authorization) -> bool,
) -> Result<Books> {
    let books = kept.map_or_else(|| empty(connection), Ok)?;
    let mut loader = Loader { connection, books, is_single };
    for command in commands {
        match command {
            Command::Accept(arrival) => loader.arrival(arrival)?,
            Command::Due(Due::Capture(key)) => loader.capture_and_surroundings(*key)?,
            Command::Settle(settle) => loader.capture_and_surroundings(settle.capture)?,
            Command::Due(Due::Authorization(key)) => loader.authorization_and_shipments(*key)?,
            Command::Freeze(freeze) => loader.authorization_and_shipments(freeze.authorization)?,
            Command::Expire(expire) => loader.authorization_and_captures(expire.authorization)?,
            Command::Due(Due::Warning(key)) => loader.authorization(*key)?,
            Command::Due(Due::Shipment(key)) => loader.shipment(*key)?,
            Command::Reject(_) | Command::Collect(_) | Command::Published(_) => {}
        }
    }
    Ok(loader.books)
}

/// Those of these dead letters that exist.
pub(super) fn dead_letters(connection: &Connection, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>> {
    let mut statement = connection.prepare_cached(
        "SELECT dead_letter_id, reason, path, message, provider_code, fingerprint, order_id, shipment_id, account,
         shipment_row, first_seen_at, last_seen_at, count, state, body, origin
         FROM dead_letters WHERE dead_letter_id = ?1",
    )?;
    let mut find = |id: &DeadLetterId| statement.query_row([id.as_uuid().as_bytes()], read_dead_letter).optional();
    ids.iter().filter_map(|id| find(id).transpose()).collect()
}

fn empty(connection: &Connection) -> Result<Books> {
    let mut statement = connection.prepare_cached("SELECT next_row FROM sequence")?;
    statement.query_row([], |row| row.get(0)).map(Books::new)
}

struct Loader<'a> {
    connection: &'a Connection,
    books: Books,
    /// Is an authorization captured once, for all its shipments?
    is_single: &'a dyn Fn(&Authorization) -> bool,
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
            if let Some(known) = known.map(AuthorizationKey::new) {
                self.authorization(known)?;
                if self.books.authorization(known).learns_expiry(facts.expires_at) {
                    self.planned_on(known)?;
                }
            }
        }
        Ok(())
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
                "SELECT a.currency, s.*, m.body, m.origin FROM shipments s
                 LEFT JOIN authorizations a USING (authorization_row)
                 LEFT JOIN messages m USING (shipment_row) WHERE shipment_row = ?1",
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

    fn capture(&mut self, key: CaptureKey) -> Result<Option<(AuthorizationKey, ShipmentKey)>> {
        if let Some(known) = self.books.captures().find(key) {
            return Ok(Some((known.authorization, known.shipment)));
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT a.currency, c.* FROM captures c JOIN authorizations a USING (authorization_row)
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
        self.planned_on(authorization)
    }

    fn planned_on(&mut self, authorization: AuthorizationKey) -> Result<()> {
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

    /// Its expiry may move, and with it the deadline of everything that waits on it.
    fn authorization_and_captures(&mut self, key: AuthorizationKey) -> Result<()> {
        self.authorization_and_shipments(key)?;
        if self.books.authorizations().contains(key) { self.planned_on(key) } else { Ok(()) }
    }

    fn collected_on(&mut self, key: AuthorizationKey) -> Result<()> {
        if !self.books.authorizations().find(key).is_some_and(self.is_single) {
            return Ok(());
        }
        for shipment in self.rows_of("SELECT shipment_row FROM shipments WHERE collected_on = ?1", key.row())? {
            self.shipment(ShipmentKey::new(shipment))?;
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
        stored: row.next()?,
        newest_authorization: row.next::<Option<i64>>()?.map(AuthorizationKey::new),
        final_at: row.instant()?,
        awaiting: row.next()?,
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
        epoch: row.next()?,
        provider: ProviderBalance {
            captured: row.optional_money(Some(currency))?,
            remaining: row.optional_money(Some(currency))?,
            expires_at: row.instant()?,
        },
        watch: Watch {
            at: row.instant()?,
            lead_at: row.instant()?,
            read_at: row.instant()?,
            leads: row.optional_text()?.map(codec::leads_from_json).transpose()?.unwrap_or_default(),
            reported: row.instant()?,
        },
    })
}

/// The currency of its authorization, then the shipment, then its message.
pub(super) fn read_shipment(row: &Row<'_>) -> Result<Shipment> {
    let row = &mut Columns::of(row);
    let currency = row.optional_currency()?;
    let mut shipment = Shipment {
        key: ShipmentKey::new(row.next()?),
        order: OrderKey::new(row.next()?),
        id: ShipmentId::parse(row.text()?).map_err(|_| corrupt("a shipment's id is not an id"))?,
        generation: row.next()?,
        content: row.next()?,
        state: row.word(&ShipmentState::ALL, |state| state.as_str())?,
        lines: codec::lines_from_json(row.text()?)?,
        amount: row.optional_money(currency)?,
        authorization: row.next::<Option<i64>>()?.map(AuthorizationKey::new),
        capture: row.next::<Option<i64>>()?.map(CaptureKey::new),
        reason: row.skip().optional_word(&FailureReason::ALL, |reason| reason.as_str())?,
        accepted_at: row.instant()?.ok_or_else(|| corrupt("a shipment has no time"))?,
        caused_by: row.next()?,
        due_at: row.instant()?,
        message: row.message()?,
    };
    if shipment.state.is_terminal() {
        // Not deleted yet.
        shipment.message = None;
    }
    Ok(shipment)
}

/// The currency of its authorization, then the capture.
pub(super) fn read_capture(row: &Row<'_>) -> Result<Capture> {
    let row = &mut Columns::of(row);
    let kinds = [CaptureKind::Shipment, CaptureKind::Batch, CaptureKind::Deadline];
    let ways = [ResolvedBy::Response, ResolvedBy::Lookup, ResolvedBy::Local, ResolvedBy::Operator];
    let currency = row.currency()?;
    Ok(Capture {
        key: CaptureKey::new(row.next()?),
        id: CaptureId::from_uuid(Uuid::from_bytes(row.next()?)),
        authorization: AuthorizationKey::new(row.next()?),
        order: OrderKey::new(row.next()?),
        shipment: ShipmentKey::new(row.next()?),
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
        is_corrected: row.skip().next()?,
    })
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

pub(super) fn read_dead_letter(row: &Row<'_>) -> Result<DeadLetter> {
    let row = &mut Columns::of(row);
    Ok(DeadLetter {
        id: DeadLetterId::from_uuid(Uuid::from_bytes(row.next()?)),
        reason: row.word(&dead_letter::REASONS, |reason| reason)?,
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
        state: row.word(&DeadLetterState::ALL, |state| state.as_str())?,
        raw: row.message()?,
    })
}
