//! What is told of authorizations that expire: each lead once, none missed, and in the end what became
//! of the money. Worked out from the ledger's rows, the providers' books and the machine's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use holdfast::capture::records::{Authorization as Record, AuthorizationKey, SingleUse};
use holdfast::clock::Timestamp;
use holdfast::ledger::memory::Tables;
use rust_decimal::Decimal;

use crate::consumer::Told;
use crate::world::{Check, World};

/// As the scenario's rules have them.
pub const LEADS: [Duration; 3] = [Duration::from_hours(48), Duration::from_hours(12), Duration::from_hours(1)];

/// An authorization, its expiry, and so many seconds before; for its end, none.
type Deadline = (String, String, Option<u64>);

/// What was told, and what has to be.
#[derive(Clone, Default)]
pub struct Deadlines {
    told: BTreeSet<Deadline>,
    /// When the next lead of each authorization comes.
    next: BTreeMap<AuthorizationKey, Timestamp>,
    /// Leads that have come, by the machine's clock.
    seen: BTreeSet<(AuthorizationKey, Timestamp, Duration)>,
    /// Those with money to be lost, of which nobody has been told.
    owed: BTreeMap<(AuthorizationKey, Timestamp, Duration), Deadline>,
}

impl Deadlines {
    /// D1: of each deadline once.
    pub fn told(&mut self, told: &Told) -> Check {
        let lead = told.data["lead_seconds"].as_u64();
        let deadline = (told.text("reference").to_owned(), told.text("authorization_expires_at").to_owned(), lead);
        self.owed.retain(|_, owed| *owed != deadline);
        if self.told.insert(deadline.clone()) { Ok(()) } else { Err(format!("D1: told twice of {deadline:?}")) }
    }

    /// The ledger went back to an earlier copy: what was told since stays told.
    pub fn go_on_after(&mut self, now: Self) {
        self.told = now.told;
        self.owed.retain(|_, owed| !self.told.contains(owed));
    }

    /// Notes whose lead has come, with money to be lost.
    pub fn note(&mut self, world: &World, tables: &Tables, touched: &[AuthorizationKey]) {
        let now = world.clock.machine().wall;
        self.owed.retain(|(key, expires_at, _), _| {
            let record = &tables.authorizations[key];
            record.expires_at == Some(*expires_at) && is_at_stake(tables, record)
        });
        for key in touched {
            self.expect(&tables.authorizations[key]);
        }
        let come: Vec<AuthorizationKey> = self.next.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
        for key in come {
            let record = &tables.authorizations[&key];
            self.note_of(tables, record, now);
            self.expect(record);
        }
    }

    /// The next lead that has not come yet.
    fn expect(&mut self, record: &Record) {
        let to_come = |expires_at: Timestamp| {
            let leads = LEADS.iter().filter(|lead| !self.seen.contains(&(record.key, expires_at, **lead)));
            leads.map(|lead| expires_at - TimeDelta::from_std(*lead).expect("hours")).min()
        };
        match record.expires_at.and_then(to_come) {
            Some(at) => self.next.insert(record.key, at),
            None => self.next.remove(&record.key),
        };
    }

    fn note_of(&mut self, tables: &Tables, record: &Record, now: Timestamp) {
        let Some(expires_at) = record.expires_at else { return };
        for lead in LEADS {
            let has_come = expires_at - TimeDelta::from_std(lead).expect("hours") <= now;
            let is_new = has_come && self.seen.insert((record.key, expires_at, lead));
            // What expired before anybody knew when, cannot be warned of.
            if is_new && now < expires_at && is_at_stake(tables, record) {
                let text = expires_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
                let deadline = (record.reference.to_string(), text, Some(lead.as_secs()));
                if !self.told.contains(&deadline) {
                    self.owed.insert((record.key, expires_at, lead), deadline);
                }
            }
        }
    }

    /// D2: nobody is owed a warning.
    pub fn check_at_rest(&self) -> Check {
        match self.owed.values().next() {
            Some(owed) => Err(format!("D2: nobody was warned of {owed:?}")),
            None => Ok(()),
        }
    }
}

/// Earned and not captured, or still to be earned; where the provider may capture by itself, held.
fn is_at_stake(tables: &Tables, record: &Record) -> bool {
    let ours = |key: AuthorizationKey| key == record.key;
    let captures = tables.captures.values().filter(|capture| ours(capture.authorization));
    let open: i64 = captures.filter(|c| !c.state.is_terminal()).map(|c| c.amount.minor()).sum();
    let is_held = record.provider.remaining.is_none_or(|held| !held.is_zero());
    if record.account.as_str().starts_with("once") {
        return record.single != SingleUse::Used && is_held;
    }
    let order = &tables.orders[&record.order];
    let left = record.authorized.minor() - record.captured.minor() - open;
    open > 0 || (left > 0 && order.final_at.is_none() && !order.is_complete())
}

/// D3: what is over and not captured by us was told, and the money is where it was said to be.
pub fn check_at_rest(world: &World, tables: &Tables) -> Check {
    let truth = world.clock.truth();
    for record in tables.authorizations.values() {
        let name = (record.account.clone(), record.reference.clone());
        let Some(known) = world.authorizations.get(&name) else { continue };
        let is_of_it =
            |told: &&Told| told.kind == "authorization.expired" && told.text("reference") == record.reference.as_str();
        let told = world.consumer.told().iter().rfind(is_of_it);
        let is_done = record.captured.minor() >= record.authorized.minor()
            || (record.single == SingleUse::Used && !record.captured.is_zero());
        let Some(told) = told else {
            if is_done || world.is_never_over(record) {
                continue;
            }
            return Err(format!("D3: nobody was told what became of {record:?} at {truth}"));
        };
        let sum = |fields: &[&str]| -> Decimal {
            fields.iter().map(|field| told.text(field).parse::<Decimal>().expect("amounts are decimal texts")).sum()
        };
        let captured = known.captured().to_major();
        if sum(&["captured_by_us", "captured_elsewhere"]) != captured {
            return Err(format!("D3: {captured} was captured on {}: {:?}", record.reference, told.data));
        }
        if sum(&["captured_by_us", "captured_elsewhere", "released"]) != known.held.to_major() {
            return Err(format!("D3: {} was held on {}: {:?}", known.held, record.reference, told.data));
        }
    }
    world.memory.deadlines().check_at_rest()
}
