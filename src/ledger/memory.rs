//! The ledger in memory: the same books, fold and constraints, and a place that forgets. For tests
//! and the simulation; nothing in it survives its process.

// what is due
mod due;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};

use crate::capture::books::{Books, HistoryNote, Movement, OutcomeOf};
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::decide::{Arrival, Command, Due, Intervention};
use crate::capture::event::Event;
use crate::capture::notice::AuthorizationFacts;
use crate::capture::records::{
    Authorization, AuthorizationKey, Capture, CaptureKey, ForeignStanding, Kept, KeptKey, Order, OrderKey, Shipment,
    ShipmentKey,
};
use crate::capture::replay::{Replay, ReplayRecord};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::usage::Usage;
use crate::clock::Timestamp;
use crate::ids::{AccountName, DeadLetterId, OrderId, ShipmentId};
use crate::ledger::fold::{self, Store, StoreError};
use crate::ledger::{DueNow, Environment, Executed, Ledger, LedgerError, OutboxRow, Vitals};
use crate::money::Currency;

/// A ledger that forgets.
#[derive(Debug)]
pub struct MemoryLedger {
    environment: Environment,
    tables: Mutex<Tables>,
}

/// Everything that a memory ledger holds.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// The orders.
    pub orders: BTreeMap<OrderKey, Order>,
    /// The authorizations.
    pub authorizations: BTreeMap<AuthorizationKey, Authorization>,
    /// The shipments.
    pub shipments: BTreeMap<ShipmentKey, Shipment>,
    /// The captures.
    pub captures: BTreeMap<CaptureKey, Capture>,
    /// The notices that wait, or have waited.
    pub kept: BTreeMap<KeptKey, Kept>,
    /// The movements, append-only.
    pub movements: Vec<Movement>,
    /// What attempts and looks showed, append-only.
    pub history: Vec<HistoryNote>,
    /// Every event ever written, with its body.
    pub events: BTreeMap<i64, (Event, Bytes)>,
    /// Events that are not published.
    pub unpublished: BTreeMap<i64, Timestamp>,
    /// The dead letters.
    pub dead_letters: HashMap<DeadLetterId, DeadLetter>,
    /// What counts against the caps of accounts.
    pub usages: BTreeMap<(AccountName, Currency), Usage>,
    /// What replays have come to.
    pub replays: Vec<ReplayRecord>,
    /// As after a restore from a backup.
    pub read_first_until: Option<Timestamp>,
    /// What was written since somebody looked, where somebody wants to know.
    pub touched: Option<Touched>,
    outcomes: HashSet<(OutcomeOf, u32)>,
    next_row: i64,
}

/// Records that were written, perhaps more than once.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    /// Captures.
    pub captures: Vec<CaptureKey>,
    /// Authorizations.
    pub authorizations: Vec<AuthorizationKey>,
}

impl MemoryLedger {
    /// An empty ledger.
    pub fn new(environment: Environment) -> Self {
        Self { environment, tables: Mutex::new(Tables { next_row: 1, ..Tables::default() }) }
    }

    /// Executes a group now; what [`Ledger::execute`] does, without a future.
    ///
    /// # Errors
    /// Never: memory does not fail.
    pub fn execute_now(&self, commands: &[Command]) -> Result<Executed, LedgerError> {
        fold::execute(&mut *self.lock(), &self.environment, commands)
    }

    /// Looks at everything.
    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    fn execute(&self, commands: Vec<Command>) -> BoxFuture<'_, Result<Executed, LedgerError>> {
        let executed = self.execute_now(&commands);
        async move { executed }.boxed()
    }

    fn find_due(&self, limit: u32) -> BoxFuture<'_, Result<DueNow, LedgerError>> {
        let due = self.lock().find_due(&self.environment.policy, (self.environment.clock)().wall, limit);
        async move { Ok(due) }.boxed()
    }

    fn unpublished(
        &self,
        row: i64,
        written_before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, LedgerError>> {
        let tables = self.lock();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let old = tables.unpublished.range(row + 1..).filter(|(_, written_at)| **written_at < written_before);
        let rows = old.take(limit).map(|(row, _)| tables.outbox_row(*row)).collect();
        async move { Ok(rows) }.boxed()
    }

    fn interrupted(&self) -> BoxFuture<'_, Result<Vec<(CaptureKey, u32)>, LedgerError>> {
        let tables = self.lock();
        let sending = tables.captures.values().filter(|capture| capture.state.is_in_flight());
        let sending = sending.map(|capture| (capture.key, capture.progress.epoch)).collect();
        async move { Ok(sending) }.boxed()
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, LedgerError>> {
        let vitals = self.lock().vitals();
        async move { Ok(vitals) }.boxed()
    }
}

impl Tables {
    fn outbox_row(&self, row: i64) -> OutboxRow {
        let (event, body) = &self.events[&row];
        OutboxRow {
            row,
            event_id: event.id.as_uuid(),
            kind: event.content.kind().to_owned(),
            body: body.clone(),
            traceparent: event.traceparent.clone(),
        }
    }

    fn vitals(&self) -> Vitals {
        let open = || self.captures.values().filter(|capture| !capture.state.is_terminal());
        let in_doubt = || open().filter(|capture| capture.state == CaptureState::InDoubt);
        let waiting = || self.authorizations.values().filter(|record| record.waiting > 0);
        let record_of = |capture: &Capture| &self.authorizations[&capture.authorization];
        let mut doubts = BTreeMap::new();
        for capture in in_doubt() {
            *doubts.entry(record_of(capture).account.clone()).or_default() += 1;
        }
        let mut earned = BTreeMap::new();
        let reserved = open().map(|capture| (record_of(capture), capture.amount));
        for (record, amount) in reserved.chain(waiting().map(|record| (record, record.waiting_amount))) {
            let key = (record.account.clone(), record.currency.code().to_owned());
            *earned.entry(key).or_default() += amount.minor();
        }
        let mut dead_letters = BTreeMap::new();
        for letter in self.dead_letters.values().filter(|letter| letter.state == DeadLetterState::Open) {
            *dead_letters.entry(letter.reason.to_owned()).or_default() += 1;
        }
        Vitals {
            open_captures: count(open().count()),
            in_doubt: doubts.into_iter().collect(),
            oldest_doubt: in_doubt().filter_map(|capture| capture.progress.doubt_since).min(),
            earned_uncaptured: earned.into_iter().map(|((account, code), minor)| (account, code, minor)).collect(),
            nearest_deadline: open().map(record_of).chain(waiting()).filter_map(|record| record.expires_at).min(),
            oldest_awaiting: self.oldest_awaiting(),
            outbox_pending: count(self.unpublished.len()),
            outbox_oldest: self.unpublished.values().min().copied(),
            dead_letters: dead_letters.into_iter().collect(),
            halted: self.halted(),
            held: self.held(),
            corrected: self.corrected(),
        }
    }

    fn halted(&self) -> Vec<(AccountName, u64)> {
        let mut halted = BTreeMap::new();
        for record in self.authorizations.values() {
            if record.watch.foreign.is_some_and(|foreign| foreign.standing == ForeignStanding::Halted) {
                *halted.entry(record.account.clone()).or_default() += 1;
            }
        }
        halted.into_iter().collect()
    }

    fn held(&self) -> Vec<(AccountName, u64)> {
        let mut held = BTreeMap::new();
        for record in self.authorizations.values().filter(|record| record.held > 0) {
            *held.entry(record.account.clone()).or_default() += u64::from(record.held);
        }
        held.into_iter().collect()
    }

    fn corrected(&self) -> Vec<(AccountName, Timestamp)> {
        let mut corrected = BTreeMap::new();
        for capture in self.captures.values() {
            if let Some(at) = capture.corrected_at {
                let account = self.authorizations[&capture.authorization].account.clone();
                let latest = corrected.entry(account).or_insert(at);
                *latest = at.max(*latest);
            }
        }
        corrected.into_iter().collect()
    }

    fn oldest_awaiting(&self) -> Option<Timestamp> {
        let awaiting = self.shipments.values().filter(|shipment| shipment.state == ShipmentState::Awaiting);
        let kept = self.kept.values().filter(|kept| kept.due_at.is_some());
        awaiting.map(|shipment| shipment.accepted_at).chain(kept.map(|kept| kept.kept_at)).min()
    }

    /// What a command may touch.
    fn load_command(&self, books: &mut Books, command: &Command) {
        match command {
            Command::Accept(arrival) => self.load_arrival(books, arrival),
            Command::Register(arrival) => {
                let notice = &arrival.notice;
                self.load_told(books, &notice.order, Some(&notice.authorization), None);
            }
            Command::Cancel(arrival) => self.load_told(books, &arrival.notice.order, None, None),
            Command::Due(Due::Capture(key)) | Command::Recall(Due::Capture(key)) => {
                self.load_capture(books, *key);
            }
            Command::Settle(settle) => self.load_capture(books, settle.capture),
            Command::Due(Due::Authorization(key)) | Command::Recall(Due::Authorization(key)) => {
                self.load_on_authorization(books, *key);
            }
            Command::Freeze(freeze) => self.load_on_authorization(books, freeze.authorization),
            Command::Expire(expire) => self.load_asked(books, expire.authorization),
            Command::Due(Due::Warning(key)) | Command::Recall(Due::Warning(key)) => {
                self.load_authorization(books, *key);
            }
            Command::Due(Due::Ask(key)) | Command::Recall(Due::Ask(key)) => self.load_asked(books, *key),
            Command::Learn(learn) => self.load_asked(books, learn.authorization),
            Command::Due(Due::Shipment(key)) | Command::Recall(Due::Shipment(key)) => {
                self.load_shipment(books, *key);
            }
            Command::Due(Due::Kept(key)) | Command::Recall(Due::Kept(key)) => {
                if let Some(kept) = self.kept.get(key) {
                    self.load_order(books, kept.order);
                    books.load_kept(kept.clone());
                }
            }
            Command::Due(Due::Order(key)) | Command::Recall(Due::Order(key)) => self.load_closing(books, *key),
            Command::Operator(operator) => match operator.what {
                Intervention::Look { capture, .. }
                | Intervention::Close { capture, .. }
                | Intervention::Release { capture, .. } => {
                    self.load_capture(books, capture);
                }
                Intervention::Resume { authorization } => self.load_on_authorization(books, authorization),
            },
            Command::Replay(replay) => self.load_replay(books, replay),
            Command::Reject(_) | Command::Collect(_) | Command::Published(_) => {}
        }
    }

    fn load_order(&self, books: &mut Books, key: OrderKey) {
        let order = &self.orders[&key];
        books.load_order(order.clone());
        if let Some(newest) = order.newest_authorization {
            books.load_authorization(self.authorizations[&newest].clone());
        }
        if self.read_first_until.is_some() {
            for record in self.authorizations.values().filter(|record| record.order == key) {
                books.load_authorization(record.clone());
            }
        }
    }

    fn load_shipment(&self, books: &mut Books, key: ShipmentKey) {
        let Some(shipment) = self.shipments.get(&key) else { return };
        self.load_order(books, shipment.order);
        if let Some(authorization) = shipment.authorization {
            self.load_authorization(books, authorization);
        }
        if let Some(capture) = shipment.capture {
            books.load_capture(self.captures[&capture].clone());
        }
        books.load_shipment(shipment.clone());
    }

    fn load_authorization(&self, books: &mut Books, key: AuthorizationKey) {
        let Some(authorization) = self.authorizations.get(&key) else { return };
        self.load_order(books, authorization.order);
        books.load_authorization(authorization.clone());
    }

    /// What any notice of an order may touch.
    fn load_told(
        &self,
        books: &mut Books,
        id: &OrderId,
        facts: Option<&AuthorizationFacts>,
        named: Option<&ShipmentId>,
    ) {
        if let Some(order) = self.orders.values().find(|order| order.id == *id) {
            self.load_order(books, order.key);
            let of_order = self.shipments.values().filter(|shipment| shipment.order == order.key);
            for shipment in of_order.filter(|shipment| shipment.state.is_waiting() || Some(&shipment.id) == named) {
                self.load_shipment(books, shipment.key);
            }
            for kept in self.kept.values().filter(|kept| kept.order == order.key && kept.due_at.is_some()) {
                books.load_kept(kept.clone());
            }
        }
        let named = facts.and_then(|facts| {
            let mut known = self.authorizations.values();
            known.find(|known| known.account == facts.account && known.reference == facts.reference)
        });
        if let Some(known) = named {
            self.load_authorization(books, known.key);
            let told = facts.and_then(|facts| facts.expires_at);
            if known.learns_expiry(told) {
                self.load_on_authorization(books, known.key);
            }
        }
    }

    fn load_arrival(&self, books: &mut Books, arrival: &Arrival) {
        let notice = &arrival.notice;
        self.load_told(books, &notice.order, notice.authorization.as_ref(), Some(&notice.shipment));
    }

    fn load_closing(&self, books: &mut Books, key: OrderKey) {
        if let Some(order) = self.orders.get(&key) {
            self.load_told(books, &order.id, None, None);
        }
    }

    fn load_asked(&self, books: &mut Books, key: AuthorizationKey) {
        let Some(record) = self.authorizations.get(&key) else { return };
        books.load_authorization(record.clone());
        self.load_closing(books, record.order);
        self.load_on_authorization(books, key);
    }

    fn load_capture(&self, books: &mut Books, key: CaptureKey) {
        let Some(capture) = self.captures.get(&key) else { return };
        books.load_capture(capture.clone());
        self.load_on_authorization(books, capture.authorization);
        self.load_order(books, capture.order);
        if let Some(shipment) = capture.shipment() {
            self.load_shipment(books, shipment);
        }
    }

    fn load_on_authorization(&self, books: &mut Books, key: AuthorizationKey) {
        self.load_authorization(books, key);
        // After a restore, what waits on it may be held up by what another one of its order shows.
        let order =
            self.authorizations.get(&key).filter(|_| self.read_first_until.is_some()).map(|record| record.order);
        let waits_beside =
            |shipment: &Shipment| shipment.state == ShipmentState::Waiting && Some(shipment.order) == order;
        let is_of = |shipment: &&Shipment| shipment.authorization == Some(key) || waits_beside(shipment);
        for shipment in self.shipments.values().filter(is_of) {
            self.load_shipment(books, shipment.key);
        }
        for capture in self.captures.values().filter(|capture| capture.authorization == key) {
            books.load_capture(capture.clone());
        }
    }

    /// A dead letter, and all of its order.
    fn load_replay(&self, books: &mut Books, replay: &Replay) {
        if let Some(message) = &replay.message {
            self.load_command(books, message);
        }
        let Some(letter) = self.dead_letters.get(&replay.letter) else { return };
        books.load_dead_letter(letter.clone());
        let Some(order) = self.orders.values().find(|order| Some(&order.id) == letter.order.as_ref()) else { return };
        self.load_order(books, order.key);
        for record in self.authorizations.values().filter(|record| record.order == order.key) {
            self.load_on_authorization(books, record.key);
        }
        for shipment in self.shipments.values().filter(|shipment| shipment.order == order.key) {
            self.load_shipment(books, shipment.key);
        }
        for letter in self.dead_letters.values().filter(|letter| letter.order.as_ref() == Some(&order.id)) {
            books.load_dead_letter(letter.clone());
        }
    }

    fn check(&self, books: &Books) -> Result<(), StoreError> {
        let refuse = |why: &str| Err(StoreError::Refused(why.to_owned()));
        for entry in books.authorizations().changed() {
            let record = &entry.value;
            let committed = record.captured.minor() + record.reserved.minor() - record.excess.minor();
            if committed > record.authorized.minor() {
                return refuse("captured and reserved exceed what was authorized");
            }
        }
        for entry in books.captures().changed() {
            let Some(before) = self.captures.get(&entry.value.key) else { continue };
            if before.amount != entry.value.amount || before.id != entry.value.id {
                return refuse("an intent never changes");
            }
            if before.state.is_terminal() && before.state != entry.value.state {
                return refuse("terminal states absorb");
            }
        }
        let outcomes = books.outbox.iter().filter_map(|announcement| announcement.outcome_of);
        let mut seen = HashSet::new();
        for outcome in outcomes {
            if self.outcomes.contains(&outcome) || !seen.insert(outcome) {
                return refuse("one outcome per shipment and generation");
            }
        }
        Ok(())
    }
}

impl Store for Tables {
    fn begin(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }

    fn load(&mut self, commands: &[Command]) -> Result<Books, StoreError> {
        let mut books = Books::new(self.next_row);
        books.read_first_until = self.read_first_until;
        for command in commands {
            self.load_command(&mut books, command);
        }
        for usage in self.usages.values() {
            books.load_usage(usage.clone());
        }
        Ok(books)
    }

    fn dead_letters(&mut self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(ids.iter().filter_map(|id| self.dead_letters.get(id)).cloned().collect())
    }

    fn write(&mut self, books: &Books, outbox: &[OutboxRow]) -> Result<(), StoreError> {
        self.check(books)?;
        self.next_row = books.next_row();
        if let Some(touched) = &mut self.touched {
            touched.captures.extend(books.captures().changed().iter().map(|entry| entry.value.key));
            touched.authorizations.extend(books.authorizations().changed().iter().map(|entry| entry.value.key));
        }
        self.orders.extend(books.orders().changed().into_iter().map(|e| (e.value.key, e.value.clone())));
        self.authorizations
            .extend(books.authorizations().changed().into_iter().map(|e| (e.value.key, e.value.clone())));
        self.shipments.extend(books.shipments().changed().into_iter().map(|e| (e.value.key, e.value.clone())));
        self.captures.extend(books.captures().changed().into_iter().map(|e| (e.value.key, e.value.clone())));
        self.kept.extend(books.kept().changed().into_iter().map(|e| (e.value.key, e.value.clone())));
        self.movements.extend(books.movements.iter().cloned());
        self.history.extend(books.history.iter().cloned());
        for (announcement, row) in books.outbox.iter().zip(outbox) {
            self.outcomes.extend(announcement.outcome_of);
            self.events.insert(row.row, (announcement.event.clone(), row.body.clone()));
            self.unpublished.insert(row.row, announcement.event.time);
        }
        for row in &books.published {
            self.unpublished.remove(row);
        }
        for entry in books.changed_usages() {
            let usage = &entry.value;
            self.usages.insert((usage.account.clone(), usage.currency), usage.clone());
        }
        self.replays.extend(books.replays.iter().cloned());
        self.dead_letters.extend(books.changed_dead_letters().map(|e| (e.value.id, e.value.clone())));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn keep(&mut self, _: Books) {}

    fn roll_back(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }
}

fn count(things: usize) -> u64 {
    u64::try_from(things).expect("a count in memory")
}
