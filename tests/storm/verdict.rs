//! Holds the providers' books, the ledger and the events against each other. Shares no code with the
//! worker: its own SQL, its own reading of the events.
//!
//! S1 nothing twice; S3 never more than authorized; S6 one outcome each, repetitions the same to the
//! byte; S7 every outcome true; S8 nothing lost; S13 complete orders come to their totals; A1 the same
//! captures on both sides; L1 nothing in doubt, nothing reserved; L2 every event published; L3 the queues
//! empty.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use holdfast::sandbox::{BookedMovement, FLEX_CLIENT, FLITT_MERCHANT, MovementStatus};
use rusqlite::Connection;
use serde_json::Value;
use uuid::Uuid;

use crate::orders::{Order, minor};
use crate::stage::Stage;
use crate::support::listener::Received;

/// Differences that are shown.
const SHOWN: usize = 40;

/// How it stands.
pub struct Verdict {
    pub captured: usize,
    pub told: String,
    pub differences: Vec<String>,
}

impl Verdict {
    /// The first differences.
    pub fn shown(&self) -> String {
        self.differences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n")
    }
}

/// Account and reference.
type Name = (String, String);

/// An authorization in a provider's books.
struct Booked {
    authorized: i64,
    currency: String,
    has_ended: bool,
    captures: Vec<BookedMovement>,
}

/// A capture in the ledger.
struct Capture {
    id: String,
    name: Name,
    amount: i64,
    currency: String,
    state: String,
}

struct Court {
    differences: Vec<String>,
    theirs: HashMap<Name, Booked>,
    ours: HashMap<String, Capture>,
    /// Captures of ours that the ledger has as captured, by authorization.
    captured: HashMap<Name, Vec<String>>,
}

/// Reads everything, and compares it.
pub async fn reach(stage: &Stage, orders: &[Order], published: &[Value]) -> Verdict {
    let ledger = stage.ledger();
    let written = events(&ledger);
    stage.listener.reaches("receipt of every event", |counts| counts.different >= written.len()).await;
    let received = stage.listener.received();
    let mut court =
        Court { differences: Vec::new(), theirs: theirs(stage), ours: captures(&ledger), captured: HashMap::new() };
    for capture in court.ours.values().filter(|capture| capture.state == "captured") {
        court.captured.entry(capture.name.clone()).or_default().push(capture.id.clone());
    }
    for (queue, depth) in stage.queued().await {
        court.check(depth == 0, || format!("L3 {depth} messages are left in {queue}"));
    }
    court.same_captures();
    court.at_rest(&ledger);
    let events = court.events(&written, received);
    let outcomes = court.one_outcome_each(&events, published);
    court.truth(&outcomes);
    court.totals(orders, &outcomes);
    let told = court.told(&events);
    Verdict { captured: court.captured.values().map(Vec::len).sum(), told, differences: court.differences }
}

impl Court {
    fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.differences.push(otherwise());
        }
    }

    /// A1, S1, S3: what the providers captured for us is what the ledger has, one by one.
    fn same_captures(&mut self) {
        let mut found = Vec::new();
        for (name, booked) in &self.theirs {
            let sum: i64 = booked.captures.iter().map(|capture| capture.amount_minor).sum();
            if sum > booked.authorized {
                found.push(format!("S3 {name:?}: {sum} of {} captured", booked.authorized));
            }
            let is_single = is_single(name);
            if is_single && booked.captures.len() > 1 {
                found.push(format!("S1 {name:?} was captured {} times", booked.captures.len()));
            }
            let mut keys: Vec<_> =
                booked.captures.iter().filter_map(|one| one.merchant_reference_id.as_ref()).collect();
            keys.sort_unstable();
            keys.dedup();
            if !is_single && keys.len() != booked.captures.len() {
                found.push(format!("S1 {name:?}: {} captures under {} keys", booked.captures.len(), keys.len()));
            }
            for capture in &booked.captures {
                let known = match &capture.merchant_reference_id {
                    Some(key) => self.ours.get(key),
                    None => self.captured.get(name).and_then(|ids| self.ours.get(ids.first()?)),
                };
                let is_known = known.is_some_and(|known| {
                    (&known.name, known.amount, &known.currency) == (name, capture.amount_minor, &capture.currency)
                        && known.state == "captured"
                });
                if capture.status != MovementStatus::Done {
                    found.push(format!("A1 {name:?}: still on hold"));
                }
                // Its own capture of a hold that has died is ours only if it is the same amount.
                if !is_known && !capture.automatic {
                    found.push(format!("A1 {name:?}: {capture:?} is not in the ledger"));
                }
            }
        }
        for (name, ids) in &self.captured {
            let booked = &self.theirs[name].captures;
            for id in ids {
                let ours = &self.ours[id];
                let is_it = |theirs: &&BookedMovement| {
                    let is_key = theirs.merchant_reference_id.as_ref().is_none_or(|key| key == id);
                    is_key && theirs.amount_minor == ours.amount && theirs.currency == ours.currency
                };
                if booked.iter().filter(is_it).count() != 1 {
                    found.push(format!("A1 {name:?}: {id} of {} is captured in the ledger: {booked:?}", ours.amount));
                }
            }
        }
        self.differences.append(&mut found);
    }

    /// L1, L2, S10: nothing open, nothing reserved, balances as captured.
    fn at_rest(&mut self, ledger: &Connection) {
        let undecided = "SELECT count(*) FROM captures WHERE state <> 'captured' AND state <> 'failed'";
        let reserved = "SELECT count(*) FROM authorizations WHERE reserved <> 0 OR excess <> 0";
        let unpublished = "SELECT count(*) FROM outbox WHERE published_at IS NULL";
        let waiting = "SELECT count(*) FROM shipments WHERE state <> 'settled' AND state <> 'refused'";
        for (rule, sql) in [("L1", undecided), ("L1", reserved), ("L2", unpublished), ("L1", waiting)] {
            let count: i64 = ledger.query_row(sql, [], |row| row.get(0)).unwrap();
            self.check(count == 0, || format!("{rule} {count}: {sql}"));
        }
        let mut statement = ledger.prepare("SELECT account, reference, captured FROM authorizations").unwrap();
        let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)));
        for row in rows.unwrap() {
            let (name, balance): (Name, i64) = row.unwrap();
            let ids = self.captured.get(&name).into_iter().flatten();
            let sum: i64 = ids.map(|id| self.ours[id].amount).sum();
            self.check(sum == balance, || format!("S10 {name:?}: balance {balance}, captured {sum}"));
        }
    }

    /// S6, S9, L2: each event of the ledger came, as it was written, and no other. Each once.
    fn events(&mut self, written: &HashMap<String, Vec<u8>>, received: Vec<Received>) -> Vec<Received> {
        let mut first = HashMap::new();
        for event in received {
            self.check(written.get(&event.message_id) == Some(&event.body), || {
                format!("S9 {} ({}) is not as it was written", event.message_id, event.kind)
            });
            first.entry(event.message_id.clone()).or_insert(event);
        }
        for id in written.keys() {
            self.check(first.contains_key(id), || format!("L2 {id} never came"));
        }
        let surprises = ["capture.corrected", "capture.unresolved", "notice.rejected", "refund_required"];
        for event in first.values() {
            self.check(!surprises.contains(&event.kind.as_str()), || format!("S7 {}: {}", event.kind, event.json));
        }
        first.into_values().collect()
    }

    /// S6, S8: one outcome for each shipment that was published, and fees beside them.
    fn one_outcome_each<'a>(&mut self, events: &'a [Received], published: &[Value]) -> Vec<&'a Received> {
        let mut outcomes: BTreeMap<(String, String, u64), Vec<&Received>> = BTreeMap::new();
        for event in events.iter().filter(|event| event.is_outcome()) {
            outcomes.entry(event.about()).or_default().push(event);
        }
        for (about, events) in &outcomes {
            self.check(events.len() == 1, || format!("S6 {} outcomes of {about:?}", events.len()));
        }
        for notice in published {
            let text = |name: &str| notice["data"][name].as_str().unwrap().to_owned();
            let about = (text("order_id"), text("shipment_id"), 0);
            self.check(outcomes.contains_key(&about), || format!("S8 {about:?} has no outcome"));
        }
        outcomes.into_values().filter_map(|same| same.first().copied()).collect()
    }

    /// S7: what succeeded is at the provider, share by share; what failed is not, and why it did is so.
    fn truth(&mut self, outcomes: &[&Received]) {
        let mut shares: HashMap<&str, (i64, i64)> = HashMap::new();
        let mut found = Vec::new();
        for event in outcomes {
            let name = (event.field("account").to_owned(), event.field("reference").to_owned());
            let (booked, id) = (&self.theirs[&name], event.field("capture_id"));
            let is_its = |theirs: &&BookedMovement| {
                theirs.merchant_reference_id.as_ref().map_or(!theirs.automatic, |key| key == id)
            };
            let is_there = |minor: i64| booked.captures.iter().any(|theirs| theirs.amount_minor == minor);
            if event.kind == "capture.succeeded" {
                let whole = minor(event.field("capture_amount"), &booked.currency);
                let its = booked.captures.iter().find(|theirs| theirs.merchant_reference_id.as_deref() == Some(id));
                let is_true =
                    if is_single(&name) { is_there(whole) } else { its.is_some_and(|its| its.amount_minor == whole) };
                if !is_true {
                    found.push(format!("S7 {:?} succeeded with {whole}: {:?}", event.about(), booked.captures));
                }
                let share = shares.entry(id).or_insert((0, whole));
                share.0 += minor(event.field("amount"), &booked.currency);
                continue;
            }
            let reason = event.field("reason");
            let is_elsewhere = reason == "captured_elsewhere";
            let may_have_moved = event.json["data"]["money_may_have_moved"] == true;
            // The one capture of the authorization may have gone to shipments after this one.
            let was_told =
                self.captured.get(&name).is_some_and(|ids| is_single(&name) && !ids.contains(&id.to_owned()));
            let is_taken = booked.captures.iter().any(|theirs| is_its(&theirs)) && !was_told;
            let is_true = match (may_have_moved, reason) {
                (true, _) => is_elsewhere && booked.captures.iter().any(|theirs| theirs.automatic),
                (false, "authorization_expired") => booked.has_ended && !is_taken,
                (false, _) => !is_taken,
            };
            if !is_true
                || event.kind != "capture.failed"
                || self.ours.get(id).is_some_and(|ours| ours.state == "captured")
            {
                found.push(format!("S7 {:?} {} as {reason}: {:?}", event.about(), event.kind, booked.captures));
            }
        }
        for (id, (sum, whole)) in shares {
            if sum != whole {
                found.push(format!("S13 the shares of {id} come to {sum} of {whole}"));
            }
        }
        self.differences.append(&mut found);
    }

    /// S13: an order of which everything shipped and nothing failed came to its total.
    fn totals(&mut self, orders: &[Order], outcomes: &[&Received]) {
        let mut sums: HashMap<&str, Option<i64>> = HashMap::new();
        for event in outcomes {
            let sum = sums.entry(event.field("order_id")).or_insert(Some(0));
            let name = (event.field("account").to_owned(), event.field("reference").to_owned());
            let amount = || minor(event.field("amount"), &self.theirs[&name].currency);
            *sum = sum.filter(|_| event.kind == "capture.succeeded").map(|sum| sum + amount());
        }
        let mut whole = 0;
        for order in orders.iter().filter(|order| order.is_complete) {
            let Some(sum) = sums[order.id.as_str()] else { continue };
            whole += 1;
            self.check(sum == order.total, || format!("S13 {} owes {}, captured {sum}", order.id, order.total));
        }
        self.check(whole > orders.len() / 2, || format!("S13 {whole} whole orders are too few to show anything"));
    }

    /// What was told, and the sums of both sides by account and currency.
    fn told(&mut self, events: &[Received]) -> String {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for event in events {
            *kinds.entry(format!("{} {}", event.kind, event.field("reason"))).or_default() += 1;
        }
        let mut text = String::new();
        for (kind, count) in kinds {
            writeln!(text, "{count:>7}  {kind}").unwrap();
        }
        let mut sums: BTreeMap<(String, String), (i64, i64, i64)> = BTreeMap::new();
        for (name, booked) in &self.theirs {
            let sum = sums.entry((name.0.clone(), booked.currency.clone())).or_default();
            for theirs in &booked.captures {
                let is_ours = self.captured.contains_key(name) || !theirs.automatic;
                *(if is_ours { &mut sum.0 } else { &mut sum.2 }) += theirs.amount_minor;
            }
        }
        for capture in self.ours.values().filter(|capture| capture.state == "captured") {
            sums.entry((capture.name.0.clone(), capture.currency.clone())).or_default().1 += capture.amount;
        }
        writeln!(text, "account   currency   books (minor units)     ledger   by the provider itself").unwrap();
        for ((account, currency), (theirs, ours, automatic)) in sums {
            self.check(theirs == ours, || format!("A1 {account} {currency}: books {theirs}, ledger {ours}"));
            writeln!(text, "{account:<9} {currency:<8} {theirs:>21} {ours:>10} {automatic:>24}").unwrap();
        }
        text
    }
}

fn is_single(name: &Name) -> bool {
    !name.0.starts_with("flex")
}

fn theirs(stage: &Stage) -> HashMap<Name, Booked> {
    let mut theirs = HashMap::new();
    let now = holdfast::clock::now();
    for provider in 0..stage.sandboxes.len() {
        for booked in stage.books(provider).authorizations {
            let protocol = match booked.account.as_str() {
                FLEX_CLIENT => "flex",
                FLITT_MERCHANT => "flitt",
                _ => "fondy",
            };
            let name = (format!("{protocol}-{provider}"), booked.reference);
            let has_ended = booked.expires_at <= now;
            let (authorized, currency, captures) = (booked.amount_minor, booked.currency, booked.captures);
            theirs.insert(name, Booked { authorized, currency, has_ended, captures });
        }
    }
    theirs
}

fn captures(ledger: &Connection) -> HashMap<String, Capture> {
    let sql = "SELECT c.capture_id, a.account, a.reference, c.amount, a.currency, c.state
               FROM captures c JOIN authorizations a USING (authorization_row)";
    let mut statement = ledger.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        let id = Uuid::from_bytes(row.get(0)?).to_string();
        let name = (row.get(1)?, row.get(2)?);
        Ok((id.clone(), Capture { id, name, amount: row.get(3)?, currency: row.get(4)?, state: row.get(5)? }))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Id to body.
fn events(ledger: &Connection) -> HashMap<String, Vec<u8>> {
    let mut statement = ledger.prepare("SELECT event_id, body FROM events").unwrap();
    let rows = statement.query_map([], |row| Ok((Uuid::from_bytes(row.get(0)?).to_string(), row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}
