//! The books: the records that one group of commands touches, loaded from the ledger, and a note of
//! everything that changed, to be written back in the same transaction.
//!
//! Books decide nothing and know no SQL. What is not in them was looked for and does not exist: the
//! ledger loads, for every command, all the records that the command may touch.

// which records belong together
mod look;

// what ended without its money, taken up again
mod replayed;

// what counts against caps
mod usages;

use std::collections::hash_map::Entry as MapEntry;

use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::event::Event;
use crate::capture::plan::Plan;
use crate::capture::records::{
    Authorization, AuthorizationKey, Capture, CaptureKey, Kept, KeptKey, Order, OrderKey, Shipment, ShipmentKey, Watch,
};
use crate::capture::replay::ReplayRecord;
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::usage::Usage;
use crate::clock::Timestamp;
use crate::ids::{AccountName, DeadLetterId, OrderId, Reference, ShipmentId};

pub use crate::capture::changes::{Announcement, Change, Entry, HistoryNote, Movement, MovementKind, OutcomeOf, Table};
use crate::capture::changes::{Map, forget, push_once};

/// Everything one group of commands touches.
#[derive(Debug, Default)]
pub struct Books {
    orders: Table<OrderKey, Order>,
    authorizations: Table<AuthorizationKey, Authorization>,
    shipments: Table<ShipmentKey, Shipment>,
    captures: Table<CaptureKey, Capture>,
    kept: Table<KeptKey, Kept>,
    order_ids: Map<OrderId, OrderKey>,
    references: Map<(AccountName, Reference), AuthorizationKey>,
    shipment_ids: Map<(OrderKey, ShipmentId), ShipmentKey>,
    /// Where to look for shipments: those of one capture are of one order.
    shipments_of_orders: Map<OrderKey, Vec<ShipmentKey>>,
    captures_of_authorizations: Map<AuthorizationKey, Vec<CaptureKey>>,
    authorizations_of_orders: Map<OrderKey, Vec<AuthorizationKey>>,
    kept_of_orders: Map<OrderKey, Vec<KeptKey>>,
    dead_letters: Map<DeadLetterId, Entry<DeadLetter>>,
    usages: Vec<Entry<Usage>>,
    /// Movements made.
    pub movements: Vec<Movement>,
    /// History written.
    pub history: Vec<HistoryNote>,
    /// Events to publish.
    pub outbox: Vec<Announcement>,
    /// Outbox rows that were published.
    pub published: Vec<i64>,
    /// Dead letters that a replay has come to.
    pub replays: Vec<ReplayRecord>,
    /// Authorizations that the command under way has changed, each once.
    touched: Vec<AuthorizationKey>,
    /// Orders whose plan was registered or revised.
    pub plans: Vec<OrderKey>,
    /// The ledger was restored from a backup: until then, a new authorization may be one of the lost time.
    pub read_first_until: Option<Timestamp>,
    next_row: i64,
}

impl Books {
    /// Empty books; new records are numbered from `next_row`.
    pub fn new(next_row: i64) -> Self {
        Self { next_row, ..Self::default() }
    }

    /// The number of the next new record.
    pub const fn next_row(&self) -> i64 {
        self.next_row
    }

    fn take_row(&mut self) -> i64 {
        let row = self.next_row;
        self.next_row += 1;
        row
    }

    // Loading.

    /// Puts an order from the ledger into the books.
    pub fn load_order(&mut self, order: Order) {
        self.order_ids.insert(order.id.clone(), order.key);
        self.orders.load(order.key, order);
    }

    /// Puts an authorization from the ledger into the books.
    pub fn load_authorization(&mut self, authorization: Authorization) {
        let name = (authorization.account.clone(), authorization.reference.clone());
        let (key, order) = (authorization.key, authorization.order);
        self.references.insert(name, key);
        if self.authorizations.load(key, authorization) {
            self.authorizations_of_orders.entry(order).or_default().push(key);
        }
    }

    /// Puts a shipment from the ledger into the books.
    pub fn load_shipment(&mut self, shipment: Shipment) {
        let (key, order, id) = (shipment.key, shipment.order, shipment.id.clone());
        if self.shipments.load(key, shipment) {
            self.shipment_ids.insert((order, id), key);
            self.shipments_of_orders.entry(order).or_default().push(key);
        }
    }

    /// Puts a capture from the ledger into the books.
    pub fn load_capture(&mut self, capture: Capture) {
        let (key, authorization) = (capture.key, capture.authorization);
        if self.captures.load(key, capture) {
            self.captures_of_authorizations.entry(authorization).or_default().push(key);
        }
    }

    /// Puts a kept notice from the ledger into the books.
    pub fn load_kept(&mut self, kept: Kept) {
        let (key, order) = (kept.key, kept.order);
        if self.kept.load(key, kept) {
            self.kept_of_orders.entry(order).or_default().push(key);
        }
    }

    /// Puts a dead letter from the ledger into the books.
    pub fn load_dead_letter(&mut self, dead_letter: DeadLetter) {
        self.dead_letters.entry(dead_letter.id).or_insert(Entry {
            value: dead_letter,
            before: None,
            change: Change::None,
        });
    }

    // Keeping.

    /// The same books for the next group, once everything in them has been written: without what was
    /// written, and without captures and shipments at their end, which are seldom asked for again.
    /// `None` where more than `records` are left: it is cheaper to load anew what is needed.
    pub fn for_next_group(mut self, records: usize) -> Option<Self> {
        let _ = self.orders.written(|_| false);
        let _ = self.authorizations.written(|_| false);
        for ended in self.captures.written(|capture| capture.state.is_terminal()) {
            forget(&mut self.captures_of_authorizations, ended.authorization, ended.key);
        }
        for ended in self.shipments.written(|shipment| shipment.state.is_terminal()) {
            self.shipment_ids.remove(&(ended.order, ended.id));
            forget(&mut self.shipments_of_orders, ended.order, ended.key);
        }
        for done in self.kept.written(|kept| kept.due_at.is_none()) {
            forget(&mut self.kept_of_orders, done.order, done.key);
        }
        self.dead_letters.clear();
        self.usages_written();
        self.movements.clear();
        self.history.clear();
        self.outbox.clear();
        self.published.clear();
        self.replays.clear();
        self.plans.clear();
        let left = self.orders.len() + self.authorizations.len() + self.shipments.len() + self.captures.len();
        (left <= records).then_some(self)
    }

    // Looking.

    /// The orders.
    pub const fn orders(&self) -> &Table<OrderKey, Order> {
        &self.orders
    }

    /// The authorizations.
    pub const fn authorizations(&self) -> &Table<AuthorizationKey, Authorization> {
        &self.authorizations
    }

    /// The shipments.
    pub const fn shipments(&self) -> &Table<ShipmentKey, Shipment> {
        &self.shipments
    }

    /// The captures.
    pub const fn captures(&self) -> &Table<CaptureKey, Capture> {
        &self.captures
    }

    /// The notices that wait.
    pub const fn kept(&self) -> &Table<KeptKey, Kept> {
        &self.kept
    }

    /// Messages that were set aside, as far as these books know for the first time.
    pub fn set_aside(&self) -> Vec<DeadLetterId> {
        let is_new =
            |entry: &&Entry<DeadLetter>| entry.change == Change::Inserted && entry.value.shipment_key.is_none();
        self.dead_letters.values().filter(is_new).map(|entry| entry.value.id).collect()
    }

    /// Dead letters that have to be written.
    pub fn changed_dead_letters(&self) -> impl Iterator<Item = &Entry<DeadLetter>> {
        self.dead_letters.values().filter(|entry| entry.change != Change::None)
    }

    /// The row of an order.
    pub fn order_key(&self, id: &OrderId) -> Option<OrderKey> {
        self.order_ids.get(id).copied()
    }

    /// The row of an authorization.
    pub fn authorization_key(&self, account: &AccountName, reference: &Reference) -> Option<AuthorizationKey> {
        self.references.get(&(account.clone(), reference.clone())).copied()
    }

    /// The row of a shipment.
    pub fn shipment_key(&self, order: OrderKey, id: &ShipmentId) -> Option<ShipmentKey> {
        self.shipment_ids.get(&(order, id.clone())).copied()
    }

    /// An order that a loaded record points to.
    pub fn order(&self, key: OrderKey) -> &Order {
        self.orders.find(key).expect("the ledger loads the order of every record it loads")
    }

    /// An authorization that a loaded record points to.
    pub fn authorization(&self, key: AuthorizationKey) -> &Authorization {
        self.authorizations.find(key).expect("the ledger loads the authorization of every record it loads")
    }

    /// A shipment that a loaded record points to.
    pub fn shipment(&self, key: ShipmentKey) -> &Shipment {
        self.shipments.find(key).expect("the ledger loads the shipments of every capture it loads")
    }

    /// A capture that a command names.
    pub fn capture(&self, key: CaptureKey) -> &Capture {
        self.captures.find(key).expect("the ledger loads the capture that a command names")
    }

    // Changing.

    /// An order, to be changed.
    pub fn order_mut(&mut self, key: OrderKey) -> &mut Order {
        self.orders.mark(key).expect("the ledger loads the order of every record it loads")
    }

    /// An authorization, to be changed.
    pub fn authorization_mut(&mut self, key: AuthorizationKey) -> &mut Authorization {
        push_once(&mut self.touched, key);
        self.authorizations.mark(key).expect("the ledger loads the authorization of every record it loads")
    }

    /// What is due about an authorization, to be changed.
    pub fn watch_mut(&mut self, key: AuthorizationKey) -> &mut Watch {
        &mut self.authorization_mut(key).watch
    }

    /// Authorizations that were changed since somebody last asked.
    pub fn take_touched(&mut self) -> Vec<AuthorizationKey> {
        std::mem::take(&mut self.touched)
    }

    /// A shipment, to be changed.
    pub fn shipment_mut(&mut self, key: ShipmentKey) -> &mut Shipment {
        self.shipments.mark(key).expect("the ledger loads the shipments of every capture it loads")
    }

    /// A capture, to be changed.
    pub fn capture_mut(&mut self, key: CaptureKey) -> &mut Capture {
        self.captures.mark(key).expect("the ledger loads the capture that a command names")
    }

    /// A kept notice, to be changed.
    pub fn kept_mut(&mut self, key: KeptKey) -> &mut Kept {
        self.kept.mark(key).expect("the ledger loads the kept notices of every order that has any")
    }

    /// Opens an order, unless it is known.
    pub fn open_order(&mut self, id: &OrderId) -> OrderKey {
        if let Some(key) = self.order_key(id) {
            return key;
        }
        let key = OrderKey::new(self.take_row());
        self.order_ids.insert(id.clone(), key);
        self.orders.insert(key, Order::new(key, id.clone()));
        key
    }

    /// Adds an authorization made by `build` from its new row.
    pub fn add_authorization(&mut self, build: impl FnOnce(AuthorizationKey) -> Authorization) -> AuthorizationKey {
        let key = AuthorizationKey::new(self.take_row());
        let authorization = build(key);
        self.references.insert((authorization.account.clone(), authorization.reference.clone()), key);
        self.authorizations_of_orders.entry(authorization.order).or_default().push(key);
        self.authorizations.insert(key, authorization);
        push_once(&mut self.touched, key);
        key
    }

    /// Adds a shipment made by `build` from its new row.
    pub fn add_shipment(&mut self, build: impl FnOnce(ShipmentKey) -> Shipment) -> ShipmentKey {
        let key = ShipmentKey::new(self.take_row());
        let shipment = build(key);
        self.shipment_ids.insert((shipment.order, shipment.id.clone()), key);
        self.shipments_of_orders.entry(shipment.order).or_default().push(key);
        self.shipments.insert(key, shipment);
        key
    }

    /// Adds a capture made by `build` from its new row.
    pub fn add_capture(&mut self, build: impl FnOnce(CaptureKey) -> Capture) -> CaptureKey {
        let key = CaptureKey::new(self.take_row());
        let capture = build(key);
        self.captures_of_authorizations.entry(capture.authorization).or_default().push(key);
        self.captures.insert(key, capture);
        key
    }

    /// Adds a kept notice made by `build` from its new row.
    pub fn add_kept(&mut self, build: impl FnOnce(KeptKey) -> Kept) -> KeptKey {
        let key = KeptKey::new(self.take_row());
        let kept = build(key);
        self.kept_of_orders.entry(kept.order).or_default().push(key);
        self.kept.insert(key, kept);
        key
    }

    /// Moves a shipment to its next state.
    ///
    /// # Panics
    /// When no such step exists: terminal states absorb.
    pub fn move_shipment(&mut self, key: ShipmentKey, next: ShipmentState) {
        let shipment = self.shipment_mut(key);
        assert!(shipment.state.can_become(next), "a shipment cannot go from {:?} to {next:?}", shipment.state);
        shipment.state = next;
    }

    /// Moves a capture to its next state, and counts it where its authorization counts.
    ///
    /// # Panics
    /// When no such step exists: terminal states absorb.
    pub fn move_capture(&mut self, key: CaptureKey, next: CaptureState) {
        self.let_go(key);
        if matches!(next, CaptureState::Planned | CaptureState::Failed) {
            self.take_back(key);
        }
        let capture = self.capture_mut(key);
        let before = capture.state;
        assert!(before.can_become(next), "a capture cannot go from {before:?} to {next:?}");
        capture.state = next;
        let (order, authorization) = (capture.order, capture.authorization);
        if next.is_terminal() {
            self.order_mut(order).open -= 1;
        }
        let authorization = self.authorization_mut(authorization);
        authorization.planned -= u32::from(before == CaptureState::Planned);
        authorization.in_flight -= u32::from(before.is_in_flight());
        authorization.planned += u32::from(next == CaptureState::Planned);
        authorization.in_flight += u32::from(next.is_in_flight());
        authorization.unresolved += u32::from(next == CaptureState::Unresolved);
    }

    /// Writes a movement, and applies it to the balance.
    pub fn add_movement(&mut self, movement: Movement) {
        let authorization = self.authorization_mut(movement.authorization);
        let (one, amount) = ("one currency per authorization", movement.amount);
        match movement.kind {
            MovementKind::Reserve => authorization.reserved = authorization.reserved.checked_add(amount).expect(one),
            MovementKind::Release => authorization.reserved = authorization.reserved.checked_sub(amount).expect(one),
            MovementKind::Capture => {
                authorization.reserved = authorization.reserved.checked_sub(amount).expect(one);
                authorization.captured = authorization.captured.checked_add(amount).expect(one);
            }
            MovementKind::Correct => {
                authorization.captured = authorization.captured.checked_add(amount).expect(one);
                let committed = authorization.captured.checked_add(authorization.reserved).expect(one);
                authorization.excess = committed.saturating_sub(authorization.authorized).expect(one);
            }
        }
        self.movements.push(movement);
    }

    /// What was captured in the lost time before a restore may not fit beside what the restored books have
    /// planned: the difference is set apart, as for a correction.
    pub fn cover_excess(&mut self, key: AuthorizationKey) {
        let record = self.authorization(key);
        let one = "one currency per authorization";
        let committed = record.captured.checked_add(record.reserved).expect(one);
        let excess = committed.saturating_sub(record.authorized).expect(one);
        if excess.minor() > record.excess.minor() {
            self.authorization_mut(key).excess = excess;
        }
    }

    /// Writes a line of history made by `build` from its number.
    pub fn add_history(&mut self, build: impl FnOnce(i64) -> HistoryNote) {
        let number = self.take_row();
        self.history.push(build(number));
    }

    /// Writes a dead letter. The same one again is only seen once more; one that was replayed is open
    /// again then.
    ///
    /// Returns whether it is new.
    pub fn add_dead_letter(&mut self, dead_letter: DeadLetter) -> bool {
        match self.dead_letters.entry(dead_letter.id) {
            MapEntry::Occupied(mut known) => {
                let known = known.get_mut();
                known.value.count += 1;
                known.value.last_seen_at = dead_letter.last_seen_at;
                if known.value.state == DeadLetterState::Replayed {
                    known.value.state = DeadLetterState::Open;
                }
                if known.change == Change::None {
                    known.change = Change::Updated;
                }
                false
            }
            MapEntry::Vacant(vacant) => {
                vacant.insert(Entry { value: dead_letter, before: None, change: Change::Inserted });
                true
            }
        }
    }

    /// Writes an event to the outbox.
    pub fn announce(&mut self, event: Event, outcome_of: Option<(OutcomeOf, u32)>) {
        let row = self.take_row();
        self.outbox.push(Announcement { row, event, outcome_of });
    }

    /// Registers an order's plan, or its newest revision.
    pub fn set_plan(&mut self, order: OrderKey, plan: Plan) {
        self.order_mut(order).plan = Some(plan);
        self.plans.push(order);
    }

    /// The number of an order's next event.
    pub fn next_sequence(&mut self, order: OrderKey) -> u64 {
        let order = self.order_mut(order);
        order.sequence += 1;
        order.sequence
    }
}

#[cfg(test)]
mod tests;
