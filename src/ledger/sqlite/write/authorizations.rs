//! Writes authorizations in parts: an answer changes what is captured and reserved, and seldom anything
//! else, and an update writes the index entries of all columns that it names, changed or not.

use rusqlite::{Connection, params};

use super::{Prepared, Result};
use crate::capture::books::{Change, Entry};
use crate::capture::records::Authorization;
use crate::ledger::codec::{self, at};
use crate::money::Money;

const INSERT: &str = "INSERT INTO authorizations (
     authorization_row, captured, reserved, excess, planned, in_flight, epoch, provider_captured, provider_remaining,
     provider_expires_at, provider_voided, authorized, is_amount_known, expires_at, expiry_is_derived, waiting,
     waiting_amount, single, freeze_at, reads, ask_at, ask_until, ask_count, unresolved, held, account, reference,
     order_row, currency, watch_at, lead_at, read_at, leads, reported, foreign_standing, foreign_amount, foreign_since,
     restored, over)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
     ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39)";

const BALANCE: &str =
    "UPDATE authorizations SET captured = ?2, reserved = ?3, excess = ?4, planned = ?5, in_flight = ?6, epoch = ?7,
     provider_captured = ?8, provider_remaining = ?9, provider_expires_at = ?10, provider_voided = ?11
     WHERE authorization_row = ?1";

/// The parameters of the key and the balance: the first of all.
const IN_BALANCE: usize = 11;

const BALANCE_AND_TERMS: &str =
    "UPDATE authorizations SET captured = ?2, reserved = ?3, excess = ?4, planned = ?5, in_flight = ?6, epoch = ?7,
     provider_captured = ?8, provider_remaining = ?9, provider_expires_at = ?10, provider_voided = ?11,
     authorized = ?12, is_amount_known = ?13, expires_at = ?14, expiry_is_derived = ?15, waiting = ?16,
     waiting_amount = ?17, single = ?18, freeze_at = ?19, reads = ?20, ask_at = ?21, ask_until = ?22, ask_count = ?23,
     unresolved = ?24, held = ?25 WHERE authorization_row = ?1";

/// The parameters of these and of the terms.
const IN_TERMS: usize = 25;

const BALANCE_AND_WATCH: &str =
    "UPDATE authorizations SET captured = ?2, reserved = ?3, excess = ?4, planned = ?5, in_flight = ?6, epoch = ?7,
     provider_captured = ?8, provider_remaining = ?9, provider_expires_at = ?10, provider_voided = ?11,
     watch_at = ?12, lead_at = ?13, read_at = ?14, leads = ?15, reported = ?16, foreign_standing = ?17,
     foreign_amount = ?18, foreign_since = ?19, restored = ?20, over = ?21 WHERE authorization_row = ?1";

const WATCH: &str = "UPDATE authorizations SET watch_at = ?2, lead_at = ?3, read_at = ?4, leads = ?5, reported = ?6,
     foreign_standing = ?7, foreign_amount = ?8, foreign_since = ?9, restored = ?10, over = ?11
     WHERE authorization_row = ?1";

/// The first parameter of the watch; the others follow it.
const WATCH_FROM: usize = 29;

/// The statements for authorizations.
pub(super) struct Authorizations<'a> {
    insert: Prepared<'a>,
    balance: Prepared<'a>,
    balance_and_terms: Prepared<'a>,
    balance_and_watch: Prepared<'a>,
    watch: Prepared<'a>,
}

impl<'a> Authorizations<'a> {
    pub(super) const fn new(connection: &'a Connection) -> Self {
        Self {
            insert: Prepared::new(connection, INSERT),
            balance: Prepared::new(connection, BALANCE),
            balance_and_terms: Prepared::new(connection, BALANCE_AND_TERMS),
            balance_and_watch: Prepared::new(connection, BALANCE_AND_WATCH),
            watch: Prepared::new(connection, WATCH),
        }
    }

    /// Inserts one, or updates what has changed of it.
    pub(super) fn put(&mut self, entry: &Entry<Authorization>) -> Result<()> {
        let record = &entry.value;
        match entry.change {
            Change::None => Ok(()),
            Change::Inserted => self.write(record, Extent::Everything),
            Change::Updated => {
                let before = entry.before.as_deref().expect("an authorization is kept as it was");
                let changed = Changed::between(before, record);
                if changed.balance && changed.watch && !changed.terms {
                    return self.write(record, Extent::BalanceAndWatch);
                }
                if changed.terms {
                    self.write(record, Extent::Terms)?;
                } else if changed.balance {
                    self.write(record, Extent::Balance)?;
                }
                if changed.watch { self.write(record, Extent::Watch) } else { Ok(()) }
            }
        }
    }

    fn write(&mut self, record: &Authorization, extent: Extent) -> Result<()> {
        let watch = &record.watch;
        let columns = params![
            record.key.row(),
            record.captured.minor(),
            record.reserved.minor(),
            record.excess.minor(),
            record.planned,
            record.in_flight,
            record.epoch,
            record.provider.captured.map(Money::minor),
            record.provider.remaining.map(Money::minor),
            at(record.provider.expires_at),
            record.provider.voided.map(Money::minor),
            record.authorized.minor(),
            record.is_amount_known,
            at(record.expires_at),
            record.expiry_is_derived,
            record.waiting,
            record.waiting_amount.minor(),
            record.single.as_str(),
            at(record.freeze_at),
            record.reads,
            at(record.ask.map(|ask| ask.at)),
            at(record.ask.map(|ask| ask.until)),
            record.ask.map(|ask| ask.count),
            record.unresolved,
            record.held,
            record.account.as_str(),
            record.reference.as_str(),
            record.order.row(),
            record.currency.code(),
            at(watch.at),
            at(watch.lead_at),
            at(watch.read_at),
            codec::leads_to_json(&watch.leads),
            at(watch.reported),
            watch.foreign.map(|foreign| foreign.standing.as_str()),
            watch.foreign.map(|foreign| foreign.amount.minor()),
            at(watch.foreign.map(|foreign| foreign.since)),
            watch.restored.as_ref().map(codec::restored_to_json),
            at(watch.over),
        ];
        let (key, watch) = (&columns[..1], &columns[WATCH_FROM..]);
        let changed = match extent {
            Extent::Everything => self.insert.get()?.execute(columns),
            Extent::Balance => self.balance.get()?.execute(&columns[..IN_BALANCE]),
            Extent::Terms => self.balance_and_terms.get()?.execute(&columns[..IN_TERMS]),
            Extent::BalanceAndWatch => {
                self.balance_and_watch.get()?.execute(&*[&columns[..IN_BALANCE], watch].concat())
            }
            Extent::Watch => self.watch.get()?.execute(&*[key, watch].concat()),
        };
        changed.map(drop)
    }
}

/// How much of a record is written.
#[derive(Clone, Copy)]
enum Extent {
    /// An update of the balance.
    Balance,
    /// An update of the balance and the terms: the table holds one against the other.
    Terms,
    /// An update of the balance and of when to look at it next.
    BalanceAndWatch,
    /// An update of when to look at it next.
    Watch,
    /// An insert.
    Everything,
}

/// Which parts differ.
struct Changed {
    balance: bool,
    terms: bool,
    watch: bool,
}

impl Changed {
    /// Every field is named, so that a new one is not forgotten.
    fn between(before: &Authorization, now: &Authorization) -> Self {
        let parts = |record: &Authorization| {
            let Authorization {
                // These never change.
                key: _,
                account: _,
                reference: _,
                order: _,
                currency: _,
                // The balance.
                captured,
                reserved,
                excess,
                planned,
                in_flight,
                epoch,
                provider,
                // The terms, and what is known of how they are used.
                authorized,
                is_amount_known,
                expires_at,
                expiry_is_derived,
                waiting,
                waiting_amount,
                single,
                freeze_at,
                reads,
                ask,
                unresolved,
                held,
                // Compared by itself: it cannot be copied.
                watch: _,
            } = *record;
            let balance = (captured, reserved, excess, planned, in_flight, epoch, provider);
            let terms = (authorized, is_amount_known, expires_at, expiry_is_derived);
            (balance, terms, (waiting, waiting_amount, single, freeze_at, reads, ask, unresolved, held))
        };
        let (before_balance, before_terms, before_use) = parts(before);
        let (balance, terms, of_use) = parts(now);
        Self {
            balance: before_balance != balance,
            terms: before_terms != terms || before_use != of_use,
            watch: before.watch != now.watch,
        }
    }
}
