//! Loads the records that commands touch.

use rusqlite::{Connection, OptionalExtension, Params, Statement, params};

use crate::capture::books::Books;
use crate::capture::dead_letter::DeadLetter;
use crate::capture::decide::{Arrival, Command, Due, Intervention};
use crate::capture::event::CaptureKind;
use crate::capture::notice::AuthorizationFacts;
use crate::capture::plan::Plan;
use crate::capture::records::{
    Authorization, AuthorizationKey, CaptureKey, KeptKey, Order, OrderKey, Restored, ShipmentKey,
};
use crate::capture::replay::Replay;
use crate::ids::{AccountName, DeadLetterId, OrderId};
use crate::ledger::codec::instant;
use crate::ledger::sqlite::prepared::Prepared;
use crate::ledger::sqlite::rows::{
    DEAD_LETTER, ORDER_BY_ID, ORDER_BY_ROW, read_authorization, read_capture, read_dead_letter, read_kept, read_order,
    read_shipment, read_usage,
};

type Result<T> = rusqlite::Result<T>;

const AUTHORIZATIONS_OF_ORDER: &str = "SELECT authorization_row FROM authorizations WHERE order_row = ?1";

/// Every record that the commands may touch, those that `kept` has included; and all that counts against the
/// caps of the accounts that are `counted`.
pub(in crate::ledger) fn load(
    connection: &Connection,
    kept: Option<Books>,
    commands: &[Command],
    is_single: &dyn Fn(&Authorization) -> bool,
    counted: &[AccountName],
) -> Result<Books> {
    let books = kept.map_or_else(|| empty(connection), Ok)?;
    let mut loader = Loader::new(connection, books, is_single);
    for command in commands {
        loader.command(command)?;
    }
    for account in counted {
        loader.usages(account)?;
    }
    Ok(loader.books)
}

/// Those of these dead letters that exist.
pub(in crate::ledger) fn dead_letters(connection: &Connection, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {DEAD_LETTER}, body, origin FROM dead_letters WHERE dead_letter_id = ?1"))?;
    let mut find = |id: &DeadLetterId| statement.query_row([id.as_uuid().as_bytes()], read_dead_letter).optional();
    ids.iter().filter_map(|id| find(id).transpose()).collect()
}

fn empty(connection: &Connection) -> Result<Books> {
    let mut statement = connection
        .prepare_cached("SELECT next_row, (SELECT read_first_until FROM restores) AS read_first_until FROM sequence")?;
    statement.query_row([], |row| {
        let mut books = Books::new(row.get(0)?);
        books.read_first_until = instant(row, "read_first_until")?;
        Ok(books)
    })
}

struct Loader<'a> {
    connection: &'a Connection,
    books: Books,
    /// Is an authorization captured once, for all its shipments?
    is_single: &'a dyn Fn(&Authorization) -> bool,
    // What every new shipment asks for.
    order_by_id: Prepared<'a>,
    shipment_by_id: Prepared<'a>,
    authorization_by_name: Prepared<'a>,
}

impl<'a> Loader<'a> {
    fn new(connection: &'a Connection, books: Books, is_single: &'a dyn Fn(&Authorization) -> bool) -> Self {
        Self {
            connection,
            books,
            is_single,
            order_by_id: Prepared::new(connection, ORDER_BY_ID),
            shipment_by_id: Prepared::new(
                connection,
                "SELECT shipment_row FROM shipments WHERE order_row = ?1 AND shipment_id = ?2",
            ),
            authorization_by_name: Prepared::new(
                connection,
                "SELECT authorization_row FROM authorizations WHERE account = ?1 AND reference = ?2",
            ),
        }
    }

    fn command(&mut self, command: &Command) -> Result<()> {
        match command {
            Command::Accept(arrival) => self.arrival(arrival)?,
            Command::Register(arrival) => self.told(&arrival.notice.order, Some(&arrival.notice.authorization))?,
            Command::Cancel(arrival) => self.told(&arrival.notice.order, None)?,
            Command::Due(Due::Capture(key)) | Command::Recall(Due::Capture(key)) => {
                self.capture_and_surroundings(*key)?;
            }
            Command::Settle(settle) => self.capture_and_surroundings(settle.capture)?,
            Command::Due(Due::Authorization(key)) | Command::Recall(Due::Authorization(key)) => {
                self.authorization_and_shipments(*key)?;
            }
            Command::Freeze(freeze) => self.authorization_and_shipments(freeze.authorization)?,
            Command::Expire(expire) => {
                self.authorization_and_captures(expire.authorization)?;
                self.everything_unread(expire.authorization)?;
            }
            Command::Due(Due::Warning(key)) | Command::Recall(Due::Warning(key)) => self.authorization(*key)?,
            Command::Due(Due::Ask(key)) | Command::Recall(Due::Ask(key)) => self.asked(*key)?,
            Command::Learn(learn) => self.asked(learn.authorization)?,
            Command::Due(Due::Shipment(key)) | Command::Recall(Due::Shipment(key)) => self.shipment(*key)?,
            Command::Due(Due::Kept(key)) | Command::Recall(Due::Kept(key)) => self.kept(*key)?,
            Command::Due(Due::Order(key)) | Command::Recall(Due::Order(key)) => self.closing(*key)?,
            Command::Operator(operator) => match operator.what {
                Intervention::Look { capture, .. }
                | Intervention::Close { capture, .. }
                | Intervention::Release { capture, .. } => {
                    self.capture_and_surroundings(capture)?;
                }
                Intervention::Resume { authorization } => self.authorization_and_captures(authorization)?,
            },
            Command::Replay(replay) => self.replay(replay)?,
            Command::Reject(_) | Command::Collect(_) | Command::Published(_) => {}
        }
        Ok(())
    }

    fn usages(&mut self, account: &AccountName) -> Result<()> {
        if self.books.knows_usage_of(account) {
            return Ok(());
        }
        let sql = "SELECT account, currency, hour, day FROM cap_usage WHERE account = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        for usage in statement.query_map([account.as_str()], read_usage)? {
            self.books.load_usage(usage?);
        }
        Ok(())
    }

    /// A dead letter, and what of its order decides whether and how it is tried again.
    fn replay(&mut self, replay: &Replay) -> Result<()> {
        if let Some(message) = &replay.message {
            self.command(message)?;
        }
        let Some(letter) = self.dead_letter(replay.letter)? else { return Ok(()) };
        let (fee, generation) = (letter.fee, letter.generation);
        let Some(id) = letter.order.clone().filter(|_| !letter.is_of_message()) else { return Ok(()) };
        let Some(order) = self.order_by_id(&id)? else { return Ok(()) };
        for authorization in self.rows_of(AUTHORIZATIONS_OF_ORDER, order.row())? {
            self.authorization(AuthorizationKey::new(authorization))?;
        }
        let sql = "SELECT shipment_row FROM shipments WHERE order_row = ?1 AND reason IS NOT NULL";
        for shipment in self.rows_of(sql, order.row())? {
            let key = ShipmentKey::new(shipment);
            self.shipment(key)?;
            let shipment = self.books.shipment(key);
            let of_shipment = DeadLetterId::of_shipment(&id, &shipment.id, shipment.generation);
            self.dead_letter(of_shipment)?;
        }
        if let Some(fee) = fee {
            let sql = "SELECT capture_row FROM captures WHERE order_row = ?1 AND fee = ?2 AND generation = ?3";
            let mut statement = self.connection.prepare_cached(sql)?;
            let capture = statement.query_row((order.row(), fee, generation), |row| row.get(0)).optional()?;
            drop(statement);
            if let Some(capture) = capture {
                self.capture(CaptureKey::new(capture))?;
            }
        }
        self.collecting(order)
    }

    fn dead_letter(&mut self, id: DeadLetterId) -> Result<Option<&DeadLetter>> {
        if self.books.dead_letter(id).is_none() {
            for letter in dead_letters(self.connection, &[id])? {
                self.books.load_dead_letter(letter);
            }
        }
        Ok(self.books.dead_letter(id))
    }

    fn arrival(&mut self, arrival: &Arrival) -> Result<()> {
        let notice = &arrival.notice;
        if let Some(order) = self.order_by_id(&notice.order)? {
            let by_id = params![order.row(), notice.shipment.as_str()];
            if let Some(shipment) = row(self.shipment_by_id.get()?, by_id)? {
                self.shipment(ShipmentKey::new(shipment))?;
            }
            self.awaiting(order)?;
            let known = self.books.order(order).plan.as_ref().map(Plan::revision);
            if known.zip(notice.plan.as_ref()).is_some_and(|(known, told)| told.revision > known) {
                self.collecting(order)?;
            }
        }
        self.named(notice.authorization.as_ref())?;
        self.too_little_before(arrival)
    }

    /// Shipments that were too little to be captured alone, and may be captured with this one.
    fn too_little_before(&mut self, arrival: &Arrival) -> Result<()> {
        let notice = &arrival.notice;
        let Some(order) = self.books.order_key(&notice.order) else { return Ok(()) };
        let facts = notice.authorization.as_ref();
        let named = facts.and_then(|facts| self.books.authorization_key(&facts.account, &facts.reference));
        let bound = named.or(self.books.order(order).newest_authorization);
        let record = bound.and_then(|key| self.books.authorizations().find(key));
        // After a restore from a backup, such may wait on another one of the order than they were captured on.
        let is_restored = self.books.read_first_until.is_some();
        if is_restored || record.is_some_and(|record| record.waiting > 0 && !(self.is_single)(record)) {
            self.collecting(order)?;
        }
        Ok(())
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
        let mut statement = self.connection.prepare_cached("SELECT order_row FROM orders WHERE order_row = ?1")?;
        let known = row(&mut statement, [order.row()])?;
        drop(statement);
        if known.is_some() {
            self.order(order)?;
            self.collecting(order)?;
        }
        Ok(())
    }

    fn asked(&mut self, key: AuthorizationKey) -> Result<()> {
        self.authorization_and_shipments(key)?;
        let Some(order) = self.books.authorizations().find(key).map(|record| record.order) else { return Ok(()) };
        self.undecided(key)?;
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
        let Some(known) = self.authorization_by_name(facts)? else { return Ok(()) };
        // The deadline of everything that waits on it moves.
        let learns = self.books.authorization(known).learns_expiry(facts.expires_at);
        if learns { self.undecided(known) } else { Ok(()) }
    }

    fn authorization_by_name(&mut self, facts: &AuthorizationFacts) -> Result<Option<AuthorizationKey>> {
        if let Some(known) = self.books.authorization_key(&facts.account, &facts.reference) {
            return Ok(Some(known));
        }
        let by_name = params![facts.account.as_str(), facts.reference.as_str()];
        let known = row(self.authorization_by_name.get()?, by_name)?.map(AuthorizationKey::new);
        known.map_or(Ok(()), |key| self.authorization(key))?;
        Ok(known)
    }

    fn rows_of(&self, sql: &str, of: i64) -> Result<Vec<i64>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_map([of], |row| row.get(0))?.collect()
    }

    fn order_by_id(&mut self, id: &OrderId) -> Result<Option<OrderKey>> {
        if let Some(key) = self.books.order_key(id) {
            return Ok(Some(key));
        }
        let order = self.order_by_id.get()?.query_row([id.as_str()], read_order).optional()?;
        order.map(|order| self.keep_order(order)).transpose()
    }

    fn order(&mut self, key: OrderKey) -> Result<()> {
        if self.books.orders().contains(key) {
            return Ok(());
        }
        let order = self.connection.prepare_cached(ORDER_BY_ROW)?.query_row([key.row()], read_order)?;
        self.keep_order(order).map(drop)
    }

    fn keep_order(&mut self, order: Order) -> Result<OrderKey> {
        let (key, newest) = (order.key, order.newest_authorization);
        self.books.load_order(order);
        if let Some(newest) = newest {
            self.authorization(newest)?;
        }
        // After a restore from a backup, what it shipped may have been captured on any of them.
        if self.books.read_first_until.is_some() {
            for authorization in self.rows_of(AUTHORIZATIONS_OF_ORDER, key.row())? {
                self.authorization(AuthorizationKey::new(authorization))?;
            }
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
        match self.capture_and_shipments(key)? {
            Some(authorization) => self.undecided(authorization),
            None => Ok(()),
        }
    }

    fn capture_and_shipments(&mut self, key: CaptureKey) -> Result<Option<AuthorizationKey>> {
        let Some((authorization, shipment)) = self.capture(key)? else { return Ok(None) };
        if let Some(shipment) = shipment {
            self.shipment(shipment)?;
        }
        let kind = self.books.capture(key).kind;
        self.collected_on(authorization, kind == CaptureKind::Batch)?;
        Ok(Some(authorization))
    }

    /// Captures whose end is not known: open ones, and those that were closed by hand, for which evidence
    /// may still come.
    fn undecided(&mut self, authorization: AuthorizationKey) -> Result<()> {
        let record = self.books.authorization(authorization);
        let open = usize::try_from(record.planned + record.in_flight).unwrap_or(usize::MAX);
        let is_unresolved = record.unresolved > 0;
        // After a restore from a backup, whether one may be sent is told by its shipments.
        let is_restored = self.books.read_first_until.is_some();
        if self.books.open_on(authorization) < open || is_restored && open > 0 {
            let sql = "SELECT capture_row FROM captures WHERE authorization_row = ?1 AND is_open = 1";
            for capture in self.rows_of(sql, authorization.row())? {
                let key = CaptureKey::new(capture);
                if is_restored { self.capture_and_shipments(key).map(drop) } else { self.capture(key).map(drop) }?;
            }
        }
        if is_unresolved {
            let sql = "SELECT capture_row FROM captures WHERE authorization_row = ?1 AND state = 'unresolved'";
            for capture in self.rows_of(sql, authorization.row())? {
                self.capture_and_shipments(CaptureKey::new(capture))?;
            }
        }
        Ok(())
    }

    fn authorization_and_shipments(&mut self, key: AuthorizationKey) -> Result<()> {
        self.authorization(key)?;
        self.collected_on(key, false)?;
        let record = self.books.authorizations().find(key).filter(|record| record.waiting > 0);
        match record.map(|record| record.order) {
            // After a restore from a backup, such may be booked with others that wait on another one of their order.
            Some(order) if self.books.read_first_until.is_some() => self.collecting(order),
            Some(_) | None => Ok(()),
        }
    }

    /// Its expiry may move, and with it the deadline of everything that waits on it.
    fn authorization_and_captures(&mut self, key: AuthorizationKey) -> Result<()> {
        self.authorization_and_shipments(key)?;
        if self.books.authorizations().contains(key) { self.undecided(key) } else { Ok(()) }
    }

    /// Where it is read for the first time since the ledger was restored: all its captures, whatever became
    /// of them, and what waits for the read, or may be held up by it.
    fn everything_unread(&mut self, key: AuthorizationKey) -> Result<()> {
        let record = self.books.authorizations().find(key);
        let unread = record.filter(|record| record.watch.restored == Some(Restored::Unread));
        let Some(order) = unread.map(|record| record.order) else { return Ok(()) };
        for capture in self.rows_of("SELECT capture_row FROM captures WHERE authorization_row = ?1", key.row())? {
            self.capture_and_shipments(CaptureKey::new(capture))?;
        }
        self.awaiting(order)?;
        self.collecting(order)
    }

    fn collected_on(&mut self, key: AuthorizationKey, is_batch: bool) -> Result<()> {
        let record = self.books.authorizations().find(key);
        if !record.is_some_and(|record| is_batch || record.waiting > 0 || (self.is_single)(record)) {
            return Ok(());
        }
        for shipment in self.rows_of("SELECT shipment_row FROM shipments WHERE collected_on = ?1", key.row())? {
            self.shipment(ShipmentKey::new(shipment))?;
        }
        Ok(())
    }
}

/// The one column of the row that there may be.
fn row(statement: &mut Statement<'_>, parameters: impl Params) -> Result<Option<i64>> {
    statement.query_row(parameters, |row| row.get(0)).optional()
}
