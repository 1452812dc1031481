//! Holds the provider's books, the ledger and what a consumer received against each other. Shares no
//! code with the worker: its own SQL, its own reading of the events.
//!
//! The rules by their names in the protocol: A1 the same captures on both sides; S1 none twice; S3
//! never more than was authorized; S6 one outcome per shipment and generation, every repetition the
//! same to the byte; S7 what was published is true; S8 what was published to us is kept; S9 what we
//! published is in the ledger; S10 movements add up to balances.

use std::collections::{BTreeMap, BTreeSet};

use holdfast::sandbox::{Books, MovementStatus};
use rusqlite::Connection;
use serde_json::Value;
use uuid::Uuid;

use super::listener::Received;
use super::order::{Account, Message, minor};

/// A capture as both sides can name it: account, reference, key (where the provider keeps it),
/// minor units, currency.
type Captured = (String, String, Option<String>, i64, String);

/// The ids of every event that the ledger holds.
pub fn event_ids(ledger: &Connection) -> Vec<String> {
    events(ledger).into_keys().collect()
}

/// Every difference, in words. The ledger must be at rest.
pub fn differences(ledger: &Connection, books: &Books, received: &[Received], sent: &[Message]) -> Vec<String> {
    let mut audit = Audit { found: Vec::new(), captures: captures(ledger) };
    audit.same_captures(books);
    audit.bounds(ledger, books);
    audit.movements(ledger);
    audit.repetitions(ledger, received);
    let outcomes = audit.one_outcome_each(ledger, received);
    audit.truth(books, &outcomes);
    audit.all_kept(ledger, sent);
    audit.found
}

/// A capture of the ledger.
struct Capture {
    id: String,
    account: String,
    reference: String,
    amount: i64,
    currency: String,
    state: String,
    kind: String,
}

impl Capture {
    fn is_single(&self) -> bool {
        self.account != Account::Flex.name()
    }
}

struct Audit {
    found: Vec<String>,
    captures: Vec<Capture>,
}

impl Audit {
    fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.found.push(otherwise());
        }
    }

    /// A1 and S1.
    fn same_captures(&mut self, books: &Books) {
        let mut theirs: BTreeMap<Captured, usize> = BTreeMap::new();
        for (account, booked) in at_provider(books) {
            for capture in &booked.captures {
                let key = capture.merchant_reference_id.clone();
                self.check(capture.status == MovementStatus::Done && !capture.automatic, || {
                    format!("A1 {} {} is on hold or was made by the provider itself", booked.reference, capture.id)
                });
                self.check(account.is_single() != key.is_some(), || {
                    format!("A1 {}: a capture with merchant_reference_id {key:?}", booked.reference)
                });
                let capture = (
                    account.name().to_owned(),
                    booked.reference.clone(),
                    key,
                    capture.amount_minor,
                    capture.currency.clone(),
                );
                *theirs.entry(capture).or_default() += 1;
            }
            self.check(!account.is_single() || booked.captures.len() <= 1, || {
                format!("S1 {} was captured {} times", booked.reference, booked.captures.len())
            });
        }
        let mut ours: BTreeMap<Captured, usize> = BTreeMap::new();
        for capture in self.captures.iter().filter(|capture| capture.state == "captured") {
            let key = (!capture.is_single()).then(|| capture.id.clone());
            let (account, reference) = (capture.account.clone(), capture.reference.clone());
            *ours.entry((account, reference, key, capture.amount, capture.currency.clone())).or_default() += 1;
        }
        for (capture, count) in &theirs {
            self.check(*count == 1, || format!("S1 {count} times at the provider: {capture:?}"));
            self.check(ours.get(capture) == Some(count), || format!("A1 not in the ledger: {capture:?}"));
        }
        for capture in ours.keys() {
            self.check(theirs.contains_key(capture), || format!("A1 not at the provider: {capture:?}"));
        }
    }

    /// S3, at the provider and in the ledger.
    fn bounds(&mut self, ledger: &Connection, books: &Books) {
        for booked in &books.authorizations {
            let sum: i64 = booked.captures.iter().map(|capture| capture.amount_minor).sum();
            self.check(sum <= booked.amount_minor, || format!("S3 {} of {} captured", sum, booked.amount_minor));
        }
        let sql = "SELECT count(*) FROM authorizations WHERE captured + reserved > authorized OR excess > 0";
        let beyond: i64 = ledger.query_row(sql, [], |row| row.get(0)).unwrap();
        self.check(beyond == 0, || format!("S3 {beyond} authorizations hold more than was authorized"));
        let mut twice = BTreeMap::new();
        for capture in &self.captures {
            *twice.entry(capture.id.as_str()).or_insert(0) += usize::from(capture.state == "captured");
        }
        let twice: Vec<String> =
            twice.iter().filter(|(_, count)| **count > 1).map(|(id, _)| (*id).to_owned()).collect();
        self.check(twice.is_empty(), || format!("S1 captured twice in the ledger: {twice:?}"));
    }

    /// S10.
    fn movements(&mut self, ledger: &Connection) {
        let sql = "SELECT a.reference, a.captured, a.reserved,
              coalesce(sum(iif(m.kind IN ('capture', 'correct'), m.amount, 0)), 0),
              coalesce(sum(CASE m.kind WHEN 'reserve' THEN m.amount WHEN 'correct' THEN 0 ELSE -m.amount END), 0)
            FROM authorizations a LEFT JOIN movements m USING (authorization_row) GROUP BY a.authorization_row";
        let mut statement = ledger.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let number = |index: usize| row.get::<_, i64>(index).unwrap();
            let reference: String = row.get(0).unwrap();
            let (balance, moved) = ((number(1), number(2)), (number(3), number(4)));
            self.check(balance == moved, || format!("S10 {reference}: balance {balance:?}, movements {moved:?}"));
            self.check(balance.1 == 0, || format!("S10 {reference}: {} still reserved at rest", balance.1));
        }
    }

    /// S6 and S9: every repetition is the same to the byte, and what the ledger holds.
    fn repetitions(&mut self, ledger: &Connection, received: &[Received]) {
        let written = events(ledger);
        for event in received {
            let id = &event.message_id;
            self.check(event.json["id"] == id.as_str() && event.json["type"] == event.kind.as_str(), || {
                format!("S6 {id} is {} inside, {} outside", event.json["id"], event.kind)
            });
            self.check(event.content_type == holdfast::message::CONTENT_TYPE, || {
                format!("S6 {id} came as {}", event.content_type)
            });
            self.check(written.get(id) == Some(&event.body), || {
                format!("S9 {id} ({}) is not in the ledger as it was received", event.kind)
            });
        }
        let seen: BTreeSet<&str> = received.iter().map(|event| event.message_id.as_str()).collect();
        for id in written.keys() {
            self.check(seen.contains(id.as_str()), || format!("L2 {id} was never received"));
        }
    }

    /// S6 and L1: every shipment that ended has one outcome, and no other has any.
    fn one_outcome_each(&mut self, ledger: &Connection, received: &[Received]) -> Vec<Received> {
        let mut outcomes: BTreeMap<(String, String, u64), BTreeMap<String, Received>> = BTreeMap::new();
        for event in received.iter().filter(|event| event.is_outcome()) {
            outcomes.entry(event.about()).or_default().insert(event.message_id.clone(), event.clone());
        }
        let ended = shipments(ledger);
        for (about, state) in &ended {
            let count = outcomes.get(about).map_or(0, BTreeMap::len);
            let is_ended = state == "settled" || state == "refused";
            self.check(count == usize::from(is_ended), || format!("S6 {about:?} is {state} and has {count} outcomes"));
        }
        let fees = self.captures.iter().filter(|capture| capture.kind == "fee");
        let fees: BTreeSet<String> = fees.map(|capture| capture.id.clone()).collect();
        for about in outcomes.keys() {
            // A fee has no shipment: its outcome is of its capture.
            let is_fee = fees.contains(&about.1);
            self.check(is_fee || ended.contains_key(about), || {
                format!("S9 an outcome of {about:?}, which nobody shipped")
            });
        }
        outcomes.into_values().filter_map(|mut same| same.pop_first().map(|(_, event)| event)).collect()
    }

    /// S7, both ways: what succeeded is at the provider and what failed is not; and the shares of
    /// a capture add up to what the provider took.
    fn truth(&mut self, books: &Books, outcomes: &[Received]) {
        let mut taken: BTreeMap<(String, String), i64> = BTreeMap::new();
        for (account, booked) in at_provider(books) {
            for capture in &booked.captures {
                let key = capture.merchant_reference_id.clone().unwrap_or_else(|| booked.reference.clone());
                *taken.entry((account.name().to_owned(), key)).or_default() += capture.amount_minor;
            }
        }
        let mut told: BTreeMap<(String, String), i64> = BTreeMap::new();
        for event in outcomes {
            let is_single = event.field("account") != Account::Flex.name();
            let key = if is_single { event.field("reference") } else { event.field("capture_id") };
            let key = (event.field("account").to_owned(), key.to_owned());
            let subject = format!("{} of {:?}", event.kind, event.about());
            match event.kind.as_str() {
                "capture.succeeded" if event.field("kind") == "zero" => {
                    self.check(minor(event.field("amount")) == 0, || format!("S7 {subject} is free and costs"));
                }
                "capture.succeeded" => {
                    let whole = minor(event.field("capture_amount"));
                    self.check(taken.get(&key) == Some(&whole), || {
                        format!("S7 {subject} speaks of {whole}, the provider has {:?}", taken.get(&key))
                    });
                    *told.entry(key).or_default() += minor(event.field("amount"));
                }
                _ => {
                    // Where the provider keeps no key, A1 ties the ledger's captures to its own.
                    let is_ours =
                        |capture: &Capture| capture.id == event.field("capture_id") && capture.state == "captured";
                    let is_taken = self.captures.iter().any(is_ours) || (!is_single && taken.contains_key(&key));
                    let may_have_moved = event.json["data"]["money_may_have_moved"] == true;
                    self.check(may_have_moved || !is_taken, || format!("S7 {subject}, but the provider took it"));
                }
            }
        }
        for (key, amount) in taken {
            self.check(told.get(&key) == Some(&amount), || {
                format!("S7 the provider took {amount} under {key:?}, events tell of {:?}", told.get(&key))
            });
        }
    }

    /// S8: every message that was confirmed to its sender is a shipment or a dead letter, or says something
    /// of an order that the ledger knows.
    fn all_kept(&mut self, ledger: &Connection, sent: &[Message]) {
        let known: BTreeSet<(String, String)> =
            shipments(ledger).into_keys().map(|(order, shipment, _)| (order, shipment)).collect();
        let mut statement = ledger.prepare("SELECT order_id FROM orders").unwrap();
        let orders: BTreeSet<String> =
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let mut statement = ledger.prepare("SELECT body FROM dead_letters WHERE body IS NOT NULL").unwrap();
        let dead: BTreeSet<Vec<u8>> =
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        for message in sent {
            let json: Value = serde_json::from_slice(&message.body).unwrap_or_default();
            let data = if json["data"].is_object() { &json["data"] } else { &json };
            let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
            let is_companion = json["type"] == "order.authorized" || json["type"] == "order.cancelled";
            let is_known = known.contains(&(text("order_id"), text("shipment_id")));
            let is_kept =
                is_known || is_companion && orders.contains(&text("order_id")) || dead.contains(&message.body);
            self.check(is_kept, || format!("S8 lost: {}", String::from_utf8_lossy(&message.body)));
        }
    }
}

fn at_provider(books: &Books) -> impl Iterator<Item = (Account, &holdfast::sandbox::BookedAuthorization)> {
    books.authorizations.iter().map(|booked| {
        let account = Account::ALL.into_iter().find(|account| account.merchant() == booked.account);
        (account.expect("one of the three accounts"), booked)
    })
}

fn captures(ledger: &Connection) -> Vec<Capture> {
    let sql = "SELECT c.capture_id, a.account, a.reference, c.amount, a.currency, c.state, c.kind
               FROM captures c JOIN authorizations a USING (authorization_row)";
    let mut statement = ledger.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        Ok(Capture {
            id: Uuid::from_bytes(row.get(0)?).to_string(),
            account: row.get(1)?,
            reference: row.get(2)?,
            amount: row.get(3)?,
            currency: row.get(4)?,
            state: row.get(5)?,
            kind: row.get(6)?,
        })
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Order, shipment and generation to state. Every generation but the last one has ended, in failure.
fn shipments(ledger: &Connection) -> BTreeMap<(String, String, u64), String> {
    let sql = "WITH RECURSIVE generations AS (
          SELECT order_row, shipment_id, generation, state FROM shipments
          UNION ALL
          SELECT order_row, shipment_id, generation - 1, 'settled' FROM generations WHERE generation > 0)
        SELECT o.order_id, g.shipment_id, g.generation, g.state FROM generations g JOIN orders o USING (order_row)";
    let mut statement = ledger.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Id to body.
fn events(ledger: &Connection) -> BTreeMap<String, Vec<u8>> {
    let mut statement = ledger.prepare("SELECT event_id, body FROM events").unwrap();
    let rows = statement.query_map([], |row| Ok((Uuid::from_bytes(row.get(0)?).to_string(), row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}
