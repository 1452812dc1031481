//! Loads the records that commands touch: for a whole group at once, in a few rounds.
//!
//! Each round goes through all commands as far as the books know, notes what is missing, and asks for all
//! of it together. Nothing enters the books before its order is locked: whoever changes a record holds the
//! lock of its order, and of that of its authorization.

// what is asked of the tables, and what comes back
mod answer;
mod question;
mod wants;

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use crate::capture::books::Books;
use crate::capture::decide::{Arrival, Command, Due, Intervention};
use crate::capture::event::CaptureKind;
use crate::capture::notice::AuthorizationFacts;
use crate::capture::plan::Plan;
use crate::capture::records::{Authorization, AuthorizationKey, CaptureKey, KeptKey, OrderKey, Restored, ShipmentKey};
use crate::capture::replay::Replay;
use crate::ids::{AccountName, DeadLetterId, OrderId};

use super::pipeline::{self, Sending};
use super::session::Session;
use super::trouble::Trouble;

use wants::Wants;

pub(super) use question::{DEAD_LETTERS, Question, Scope, What};

type Result<T> = std::result::Result<T, Trouble>;

/// More rounds than any command needs.
const ROUNDS_MAX: usize = 100;

/// Is an authorization captured once, for all its shipments?
pub(super) type IsSingle<'a> = dyn Fn(&Authorization) -> bool + Sync + 'a;

/// Loads every record that the commands may touch. `first` goes ahead of the first round. What counts against
/// the caps of the accounts that are `counted` comes last, where it may be touched: its lock is held for as
/// short as can be.
pub(super) async fn load(
    session: &Session,
    first: &[&'static str],
    next_row: i64,
    commands: &[Command],
    is_single: &IsSingle<'_>,
    counted: &[AccountName],
) -> Result<Books> {
    let mut loader = Loader::new(Books::new(next_row), is_single);
    loader.wants.restore = true;
    let mut first = first;
    for _ in 0..ROUNDS_MAX {
        for command in commands {
            loader.passed.clear();
            loader.command(command);
        }
        let questions = loader.questions();
        if questions.is_empty() {
            let Some(question) = loader.usages(commands, counted) else { return Ok(loader.books) };
            for (what, rows) in ask(session, &[], vec![question]).await? {
                loader.answer(what, &rows)?;
            }
            return Ok(loader.books);
        }
        for (what, rows) in ask(session, std::mem::take(&mut first), questions).await? {
            loader.answer(what, &rows)?;
        }
    }
    Err(Trouble::fatal("what a command touches does not come to an end"))
}

type Answer = (What, Vec<Row>);

/// Asks everything together, behind `first`.
async fn ask(session: &Session, first: &[&'static str], questions: Vec<Question>) -> Result<Vec<Answer>> {
    for question in &questions {
        session.prepare(&[question.what.sql()]).await?;
    }
    let mut sending: Vec<Sending<'_, Option<Answer>>> = Vec::new();
    for sql in first {
        sending.push(Box::pin(async move { session.batch(sql).await.map(|()| None) }));
    }
    for question in questions {
        sending.push(Box::pin(async move {
            let rows = session.query(question.what.sql(), &question.parameters()).await?;
            Ok(Some((question.what, rows)))
        }));
    }
    Ok(pipeline::in_order(sending).await?.into_iter().flatten().collect())
}

struct Loader<'a> {
    books: Books,
    is_single: &'a IsSingle<'a>,
    wants: Wants,
    locked: HashSet<i64>,
    /// Orders that the command under way was at.
    passed: HashSet<OrderKey>,
    found: HashMap<(Scope, i64), Vec<i64>>,
    fees: HashMap<(i64, i64, i64), i64>,
}

impl<'a> Loader<'a> {
    fn new(books: Books, is_single: &'a IsSingle<'a>) -> Self {
        Self {
            books,
            is_single,
            wants: Wants::default(),
            locked: HashSet::new(),
            passed: HashSet::new(),
            found: HashMap::new(),
            fees: HashMap::new(),
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Accept(arrival) => self.arrival(arrival),
            Command::Register(arrival) => self.told(&arrival.notice.order, Some(&arrival.notice.authorization)),
            Command::Cancel(arrival) => self.told(&arrival.notice.order, None),
            Command::Due(Due::Capture(key)) | Command::Recall(Due::Capture(key)) => {
                self.capture_and_surroundings(*key);
            }
            Command::Settle(settle) => self.capture_and_surroundings(settle.capture),
            Command::Due(Due::Authorization(key)) | Command::Recall(Due::Authorization(key)) => {
                self.authorization_and_shipments(*key);
            }
            Command::Freeze(freeze) => self.authorization_and_shipments(freeze.authorization),
            Command::Expire(expire) => {
                self.authorization_and_captures(expire.authorization);
                self.everything_unread(expire.authorization);
            }
            Command::Due(Due::Warning(key)) | Command::Recall(Due::Warning(key)) => self.authorization(*key),
            Command::Due(Due::Ask(key)) | Command::Recall(Due::Ask(key)) => self.asked(*key),
            Command::Learn(learn) => self.asked(learn.authorization),
            Command::Due(Due::Shipment(key)) | Command::Recall(Due::Shipment(key)) => self.shipment(*key),
            Command::Due(Due::Kept(key)) | Command::Recall(Due::Kept(key)) => self.kept(*key),
            Command::Due(Due::Order(key)) | Command::Recall(Due::Order(key)) => self.closing(*key),
            Command::Operator(operator) => match operator.what {
                Intervention::Look { capture, .. }
                | Intervention::Close { capture, .. }
                | Intervention::Release { capture, .. } => {
                    self.capture_and_surroundings(capture);
                }
                Intervention::Resume { authorization } => self.authorization_and_captures(authorization),
            },
            Command::Replay(replay) => self.replay(replay),
            Command::Reject(_) | Command::Collect(_) | Command::Published(_) => {}
        }
    }

    /// A dead letter, and what of its order decides whether and how it is tried again.
    fn replay(&mut self, replay: &Replay) {
        if let Some(message) = &replay.message {
            self.command(message);
        }
        self.letter(replay.letter);
        let Some(letter) = self.books.dead_letter(replay.letter) else { return };
        let (fee, generation) = (letter.fee, letter.generation);
        let Some(id) = letter.order.clone().filter(|_| !letter.is_of_message()) else { return };
        let Some(order) = self.order_by_id(&id) else { return };
        for authorization in self.scope(Scope::AuthorizationsOf, order.row()) {
            self.authorization(AuthorizationKey::new(authorization));
        }
        for shipment in self.scope(Scope::Ended, order.row()) {
            let key = ShipmentKey::new(shipment);
            self.shipment(key);
            if let Some(shipment) = self.books.shipments().find(key) {
                self.letter(DeadLetterId::of_shipment(&id, &shipment.id, shipment.generation));
            }
        }
        if let Some(fee) = fee {
            let fee = (order.row(), i64::from(fee), i64::from(generation));
            if self.wants.fees.ask(fee)
                && let Some(capture) = self.fees.get(&fee)
            {
                self.capture(CaptureKey::new(*capture));
            }
        }
        self.collecting(order);
    }

    /// Asks for what counts against the caps of accounts on which a call may be begun, or may have come to its
    /// end.
    fn usages(&self, commands: &[Command], counted: &[AccountName]) -> Option<Question> {
        if counted.is_empty() {
            return None;
        }
        let mut accounts = self.books.accounts();
        accounts.extend(commands.iter().filter_map(account_named));
        let touched = counted.iter().filter(|account| accounts.contains(account));
        Question::usages(touched.map(|account| account.as_str().to_owned()).collect())
    }

    fn letter(&mut self, id: DeadLetterId) {
        if self.books.dead_letter(id).is_none() {
            self.wants.letters.ask(*id.as_uuid().as_bytes());
        }
    }

    fn arrival(&mut self, arrival: &Arrival) {
        let notice = &arrival.notice;
        if let Some(order) = self.order_by_id(&notice.order) {
            match self.books.shipment_key(order, &notice.shipment) {
                Some(shipment) => self.shipment(shipment),
                None => {
                    self.wants.shipment_ids.ask((order.row(), notice.shipment.as_str().to_owned()));
                }
            }
            self.awaiting(order);
            let known = self.books.order(order).plan.as_ref().map(Plan::revision);
            if known.zip(notice.plan.as_ref()).is_some_and(|(known, told)| told.revision > known) {
                self.collecting(order);
            }
        }
        self.named(notice.authorization.as_ref());
        self.too_little_before(arrival);
    }

    /// Shipments that were too little to be captured alone, and may be captured with this one.
    fn too_little_before(&mut self, arrival: &Arrival) {
        let notice = &arrival.notice;
        let Some(order) = self.books.order_key(&notice.order) else { return };
        let facts = notice.authorization.as_ref();
        let named = facts.and_then(|facts| self.books.authorization_key(&facts.account, &facts.reference));
        let bound = named.or(self.books.order(order).newest_authorization);
        let record = bound.and_then(|key| self.books.authorizations().find(key));
        // After a restore from a backup, such may wait on another one of the order than they were captured on.
        let is_restored = self.books.read_first_until.is_some();
        if is_restored || record.is_some_and(|record| record.waiting > 0 && !(self.is_single)(record)) {
            self.collecting(order);
        }
    }

    /// What a cancellation or a registration may touch.
    fn told(&mut self, order: &OrderId, facts: Option<&AuthorizationFacts>) {
        if let Some(order) = self.order_by_id(order) {
            self.awaiting(order);
            self.collecting(order);
        }
        self.named(facts);
    }

    fn closing(&mut self, order: OrderKey) {
        self.order(order);
        if self.books.orders().contains(order) {
            self.collecting(order);
        }
    }

    fn asked(&mut self, key: AuthorizationKey) {
        self.authorization_and_shipments(key);
        let Some(order) = self.books.authorizations().find(key).map(|record| record.order) else { return };
        self.undecided(key);
        self.awaiting(order);
    }

    /// Shipments and notices that wait for something to become known.
    fn awaiting(&mut self, order: OrderKey) {
        let Some(record) = self.books.orders().find(order) else { return };
        let (awaiting, kept) = (record.awaiting > 0, record.kept > 0);
        if awaiting {
            for shipment in self.scope(Scope::Awaiting, order.row()) {
                self.shipment(ShipmentKey::new(shipment));
            }
        }
        if kept {
            for kept in self.scope(Scope::Kept, order.row()) {
                self.kept(KeptKey::new(kept));
            }
        }
    }

    /// Shipments that wait to be captured with others.
    fn collecting(&mut self, order: OrderKey) {
        for shipment in self.scope(Scope::Waiting, order.row()) {
            self.shipment(ShipmentKey::new(shipment));
        }
    }

    fn kept(&mut self, key: KeptKey) {
        match self.books.kept().find(key) {
            Some(kept) => self.order(kept.order),
            None => {
                self.wants.kept.ask(key.row());
            }
        }
    }

    /// The authorization that a notice names.
    fn named(&mut self, facts: Option<&AuthorizationFacts>) {
        let Some(facts) = facts else { return };
        let Some(known) = self.books.authorization_key(&facts.account, &facts.reference) else {
            let name = (facts.account.as_str().to_owned(), facts.reference.as_str().to_owned());
            self.wants.authorization_names.ask(name);
            return;
        };
        self.authorization(known);
        // The deadline of everything that waits on it moves.
        if self.books.authorization(known).learns_expiry(facts.expires_at) {
            self.undecided(known);
        }
    }

    /// The rows that belong to this one, once they are known.
    fn scope(&mut self, scope: Scope, of: i64) -> Vec<i64> {
        self.wants.scopes.ask((scope, of));
        self.found.get(&(scope, of)).cloned().unwrap_or_default()
    }

    fn order_by_id(&mut self, id: &OrderId) -> Option<OrderKey> {
        let key = self.books.order_key(id);
        if let Some(key) = key {
            self.order(key);
        } else {
            self.wants.order_ids.ask(id.as_str().to_owned());
        }
        key
    }

    fn order(&mut self, key: OrderKey) {
        match self.books.orders().find(key) {
            Some(order) => {
                let newest = order.newest_authorization;
                // Orders that share authorizations may point at each other.
                if !self.passed.insert(key) {
                    return;
                }
                if let Some(newest) = newest {
                    self.authorization(newest);
                }
                // After a restore from a backup, what it shipped may have been captured on any of them.
                if self.books.read_first_until.is_some() {
                    for authorization in self.scope(Scope::AuthorizationsOf, key.row()) {
                        self.authorization(AuthorizationKey::new(authorization));
                    }
                }
            }
            None => {
                self.wants.orders.ask(key.row());
            }
        }
    }

    fn authorization(&mut self, key: AuthorizationKey) {
        match self.books.authorizations().find(key) {
            Some(record) => self.order(record.order),
            None => {
                self.wants.authorizations.ask(key.row());
            }
        }
    }

    fn shipment(&mut self, key: ShipmentKey) {
        let Some(shipment) = self.books.shipments().find(key) else {
            self.wants.shipments.ask(key.row());
            return;
        };
        // Its capture may have come to its end before it.
        let (order, authorization, capture) = (shipment.order, shipment.authorization, shipment.capture);
        self.order(order);
        if let Some(authorization) = authorization {
            self.authorization(authorization);
        }
        if let Some(capture) = capture {
            self.capture(capture);
        }
    }

    fn capture(&mut self, key: CaptureKey) {
        match self.books.captures().find(key) {
            Some(capture) => {
                let (order, authorization) = (capture.order, capture.authorization);
                self.order(order);
                self.authorization(authorization);
            }
            None => {
                self.wants.captures.ask(key.row());
            }
        }
    }

    fn capture_and_surroundings(&mut self, key: CaptureKey) {
        if let Some(authorization) = self.capture_and_shipments(key) {
            self.undecided(authorization);
        }
    }

    fn capture_and_shipments(&mut self, key: CaptureKey) -> Option<AuthorizationKey> {
        self.capture(key);
        let capture = self.books.captures().find(key)?;
        let (authorization, shipment, kind) = (capture.authorization, capture.shipment(), capture.kind);
        if let Some(shipment) = shipment {
            self.shipment(shipment);
        }
        self.collected_on(authorization, kind == CaptureKind::Batch);
        Some(authorization)
    }

    /// Captures whose end is not known: open ones, and those that were closed by hand, for which evidence
    /// may still come.
    fn undecided(&mut self, authorization: AuthorizationKey) {
        let Some(record) = self.books.authorizations().find(authorization) else { return };
        let open = usize::try_from(record.planned + record.in_flight).unwrap_or(usize::MAX);
        let is_unresolved = record.unresolved > 0;
        // After a restore from a backup, whether one may be sent is told by its shipments.
        let is_restored = self.books.read_first_until.is_some();
        if self.books.open_on(authorization) < open || is_restored && open > 0 {
            for capture in self.scope(Scope::Open, authorization.row()) {
                let key = CaptureKey::new(capture);
                if is_restored {
                    self.capture_and_shipments(key);
                } else {
                    self.capture(key);
                }
            }
        }
        if is_unresolved {
            for capture in self.scope(Scope::Unresolved, authorization.row()) {
                self.capture_and_shipments(CaptureKey::new(capture));
            }
        }
    }

    fn authorization_and_shipments(&mut self, key: AuthorizationKey) {
        self.authorization(key);
        self.collected_on(key, false);
        let record = self.books.authorizations().find(key).filter(|record| record.waiting > 0);
        let Some(order) = record.map(|record| record.order) else { return };
        // After a restore from a backup, such may be booked with others that wait on another one of their order.
        if self.books.read_first_until.is_some() {
            self.collecting(order);
        }
    }

    /// Its expiry may move, and with it the deadline of everything that waits on it.
    fn authorization_and_captures(&mut self, key: AuthorizationKey) {
        self.authorization_and_shipments(key);
        self.undecided(key);
    }

    /// Where it is read for the first time since the ledger was restored: all its captures, whatever became
    /// of them, and what waits for the read, or may be held up by it.
    fn everything_unread(&mut self, key: AuthorizationKey) {
        let record = self.books.authorizations().find(key);
        let unread = record.filter(|record| record.watch.restored == Some(Restored::Unread));
        let Some(order) = unread.map(|record| record.order) else { return };
        for capture in self.scope(Scope::All, key.row()) {
            self.capture_and_shipments(CaptureKey::new(capture));
        }
        self.awaiting(order);
        self.collecting(order);
    }

    fn collected_on(&mut self, key: AuthorizationKey, is_batch: bool) {
        let record = self.books.authorizations().find(key);
        if !record.is_some_and(|record| is_batch || record.waiting > 0 || (self.is_single)(record)) {
            return;
        }
        for shipment in self.scope(Scope::Collected, key.row()) {
            self.shipment(ShipmentKey::new(shipment));
        }
    }
}

/// The account that a message names, for an authorization that may be new.
fn account_named(command: &Command) -> Option<&AccountName> {
    match command {
        Command::Accept(arrival) => arrival.notice.authorization.as_ref().map(|facts| &facts.account),
        Command::Register(arrival) => Some(&arrival.notice.authorization.account),
        Command::Replay(replay) => replay.message.as_ref().and_then(account_named),
        Command::Cancel(_)
        | Command::Reject(_)
        | Command::Collect(_)
        | Command::Due(_)
        | Command::Recall(_)
        | Command::Settle(_)
        | Command::Freeze(_)
        | Command::Expire(_)
        | Command::Learn(_)
        | Command::Operator(_)
        | Command::Published(_) => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What is asked for groups.
    pub(in crate::ledger::postgres) const ALL: &[&str] = &[
        What::Lock.sql(),
        What::Orders.sql(),
        What::OrdersById.sql(),
        What::Authorizations.sql(),
        What::AuthorizationsByName.sql(),
        What::Shipments.sql(),
        What::ShipmentsById.sql(),
        What::Captures.sql(),
        What::Kept.sql(),
        What::Scope(Scope::Awaiting).sql(),
        What::Scope(Scope::Waiting).sql(),
        What::Scope(Scope::Ended).sql(),
        What::Scope(Scope::Kept).sql(),
        What::Scope(Scope::AuthorizationsOf).sql(),
        What::Scope(Scope::Open).sql(),
        What::Scope(Scope::Unresolved).sql(),
        What::Scope(Scope::Collected).sql(),
        What::Letters.sql(),
        What::Usages.sql(),
    ];
}
