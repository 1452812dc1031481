//! Authorizations whose end is not known yet: where money is about to be lost.

use rusqlite::params;
use rusqlite::types::Value;

use super::columns::{money, optional_money, word};
use super::{Page, Report, ReportError, text};
use crate::capture::evidence::ProviderBalance;
use crate::capture::policy::Policy;
use crate::capture::records::{Authorization, Foreign, ForeignStanding};
use crate::clock::{self, Timestamp};
use crate::ids::{AccountName, OrderId, Reference};
use crate::ledger::codec::{corrupt, instant};
use crate::ledger::rows::read_authorization;
use crate::ledger::session::{self, Row, Session};
use crate::money::{Currency, Money};

/// Which authorizations.
#[derive(Debug, Clone)]
pub struct AuthorizationFilter {
    /// Of this account.
    pub account: Option<AccountName>,
    /// That expire at this instant or earlier, or have.
    pub expires_by: Option<Timestamp>,
    /// Only those with money that is earned and not captured.
    pub only_earned: bool,
    /// Only those on which nothing is sent because somebody else captures on them.
    pub only_halted: bool,
    /// At most so many, those that expire first.
    pub limit: u32,
}

/// An authorization, as far as its end is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationSummary {
    /// The account.
    pub account: AccountName,
    /// The authorization at the provider.
    pub reference: Reference,
    /// The order that registered it.
    pub order: OrderId,
    /// When it dies.
    pub expires_at: Option<Timestamp>,
    /// Was that derived from the account's settings rather than told?
    pub expiry_is_derived: bool,
    /// How much was authorized.
    pub authorized: Money,
    /// Captured by us.
    pub captured: Money,
    /// Shipped and not captured.
    pub earned_uncaptured: Money,
    /// Authorized, less captured and reserved, as in our events.
    pub remaining: Money,
    /// Captures that are planned.
    pub planned: u32,
    /// Captures that are being sent.
    pub sending: u32,
    /// Captures in doubt.
    pub in_doubt: u32,
    /// Shipments that collect.
    pub collecting: u32,
    /// What the provider said last, beside our own books.
    pub provider: ProviderBalance,
    /// Money that somebody else has captured on it.
    pub foreign: Option<Foreign>,
}

/// An authorization with its record, and what is planned on it.
#[derive(Debug, Clone)]
pub struct AuthorizationStory {
    /// Its record.
    pub record: Authorization,
    /// The order that registered it.
    pub order: OrderId,
    /// Captures that are planned on it, in their turn: how much each.
    pub planned: Vec<Money>,
}

/// What the authorizations of one currency come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationTotal {
    /// How many.
    pub authorizations: u64,
    /// How much was authorized.
    pub authorized: Money,
    /// Captured by us.
    pub captured: Money,
    /// Shipped and not captured.
    pub earned_uncaptured: Money,
    /// Authorized, less captured and reserved, as in our events.
    pub remaining: Money,
}

impl Report {
    /// Authorizations that are watched or have open captures, those that expire first; and what all of
    /// them come to, by currency, beyond the limit too.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn authorizations(
        &self,
        filter: &AuthorizationFilter,
    ) -> Result<(Page<AuthorizationSummary>, Vec<AuthorizationTotal>), ReportError> {
        self.ask(|session| Ok((page(session, filter)?, totals(session, filter)?)))
    }

    /// The authorizations that a provider calls so; several accounts may have one.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn authorizations_called(
        &self,
        reference: &Reference,
        account: Option<&AccountName>,
    ) -> Result<Vec<AuthorizationStory>, ReportError> {
        self.ask(|session| called(session, reference, account))
    }
}

/// Account by account: references are unique within one, and the index begins with it.
const CALLED: &str = "
    WITH RECURSIVE accounts (name) AS (
      SELECT min(account) FROM authorizations
      UNION ALL
      SELECT (SELECT min(account) FROM authorizations WHERE account > name) FROM accounts WHERE name IS NOT NULL)
    SELECT a.* FROM accounts CROSS JOIN authorizations a
    WHERE a.account = name AND a.reference = ?1 AND (name = ?2 OR ?2 IS NULL) ORDER BY name";

fn called(
    session: &Session,
    reference: &Reference,
    account: Option<&AccountName>,
) -> session::Result<Vec<AuthorizationStory>> {
    let of = params![reference.as_str(), account.map(AccountName::as_str)];
    let records: Vec<Authorization> = session.query(CALLED, of, |row| read_authorization(row))?;
    let story = |record: Authorization| {
        let sql = "SELECT order_id FROM orders WHERE order_row = ?1";
        let order = session.one(sql, [record.order.row()], |row| {
            OrderId::parse(row.get_ref(0)?.as_str()?).map_err(|_| corrupt("an order's id is not an id"))
        })?;
        let sql = "SELECT amount FROM captures WHERE authorization_row = ?1 AND is_open = 1 AND state = 'planned'
                   ORDER BY capture_row";
        let planned = session.query(sql, [record.key.row()], |row| money(row, "amount", record.currency))?;
        Ok(AuthorizationStory { record, order, planned })
    };
    records.into_iter().map(story).collect()
}

/// Nothing is due about an authorization later than it expires, save another read of it. So what expires
/// soon is at the beginning of an index, or among the few with an open capture.
const CANDIDATES: &str = "
    WITH RECURSIVE accounts (name) AS (
      SELECT min(account) FROM authorizations WHERE watch_at IS NOT NULL
      UNION ALL
      SELECT (SELECT min(account) FROM authorizations WHERE watch_at IS NOT NULL AND account > name)
      FROM accounts WHERE name IS NOT NULL),
    candidates (authorization_row) AS (
      SELECT authorization_row FROM accounts CROSS JOIN authorizations
      WHERE account = name AND watch_at <= ?1
      UNION
      SELECT authorization_row FROM captures WHERE is_open = 1)";

const REMAINING: &str = "CASE WHEN a.authorized > a.captured + a.reserved
           THEN a.authorized - a.captured - a.reserved ELSE 0 END";

const FROM: &str = "
    FROM candidates x CROSS JOIN authorizations a JOIN orders o ON o.order_row = a.order_row
    WHERE a.authorization_row = x.authorization_row
      AND (a.expires_at <= ?2 OR ?2 IS NULL) AND (a.account = ?3 OR ?3 IS NULL)
      AND (?4 = 0 OR a.reserved + a.waiting_amount > 0)
      AND (?5 = 0 OR a.foreign_standing = 'halted')";

fn parameters(filter: &AuthorizationFilter) -> Vec<Value> {
    let micros = |at: Timestamp| Value::Integer(at.timestamp_micros());
    // Twice: the longest rest before another read, spread.
    let watched_by = filter.expires_by.map(|at| clock::after(at, 2 * Policy::REST_MAX));
    vec![
        watched_by.map_or(Value::Integer(i64::MAX), micros),
        filter.expires_by.map_or(Value::Null, micros),
        filter.account.as_ref().map_or(Value::Null, |name| text(name.as_str())),
        Value::Integer(i64::from(filter.only_earned)),
        Value::Integer(i64::from(filter.only_halted)),
    ]
}

fn page(session: &Session, filter: &AuthorizationFilter) -> session::Result<Page<AuthorizationSummary>> {
    let in_state = |state: &str| {
        format!(
            "(SELECT count(*) FROM captures c WHERE c.authorization_row = a.authorization_row AND c.is_open = 1
              AND c.state = '{state}')"
        )
    };
    let sql = format!(
        "{CANDIDATES} SELECT a.account, a.reference, o.order_id, a.currency, a.expires_at, a.expiry_is_derived,
           a.authorized, a.captured, a.reserved + a.waiting_amount AS earned,
           {REMAINING} AS remaining, a.planned, a.waiting, a.provider_captured, a.provider_voided, a.provider_remaining,
           a.provider_expires_at, a.foreign_standing, a.foreign_amount, a.foreign_since, {} AS sending, {} AS in_doubt
         {FROM} ORDER BY a.expires_at IS NULL, a.expires_at, a.authorization_row LIMIT ?6",
        in_state("sending"),
        in_state("in_doubt"),
    );
    let mut values = parameters(filter);
    values.push(Value::Integer(i64::from(filter.limit) + 1));
    Ok(Page::of(session.query(&sql, values, read_summary)?, filter.limit))
}

fn read_summary(row: &Row<'_>) -> rusqlite::Result<AuthorizationSummary> {
    let currency = currency(row)?;
    let id = |column: &str| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    Ok(AuthorizationSummary {
        account: AccountName::parse(id("account")?).map_err(|_| corrupt("an account's name is not an id"))?,
        reference: Reference::parse(id("reference")?).map_err(|_| corrupt("a reference is not an id"))?,
        order: OrderId::parse(id("order_id")?).map_err(|_| corrupt("an order's id is not an id"))?,
        expires_at: instant(row, "expires_at")?,
        expiry_is_derived: row.get("expiry_is_derived")?,
        authorized: money(row, "authorized", currency)?,
        captured: money(row, "captured", currency)?,
        earned_uncaptured: money(row, "earned", currency)?,
        remaining: money(row, "remaining", currency)?,
        planned: row.get("planned")?,
        sending: row.get("sending")?,
        in_doubt: row.get("in_doubt")?,
        collecting: row.get("waiting")?,
        provider: ProviderBalance {
            captured: optional_money(row, "provider_captured", currency)?,
            voided: optional_money(row, "provider_voided", currency)?,
            remaining: optional_money(row, "provider_remaining", currency)?,
            expires_at: instant(row, "provider_expires_at")?,
        },
        foreign: foreign(row, currency)?,
    })
}

fn foreign(row: &Row<'_>, currency: Currency) -> rusqlite::Result<Option<Foreign>> {
    let Some(since) = instant(row, "foreign_since")? else { return Ok(None) };
    let standing = word(row, "foreign_standing", &ForeignStanding::ALL, |standing| standing.as_str())?;
    Ok(Some(Foreign { amount: money(row, "foreign_amount", currency)?, standing, since }))
}

fn totals(session: &Session, filter: &AuthorizationFilter) -> session::Result<Vec<AuthorizationTotal>> {
    let sum = |what: &str| format!("CAST(sum({what}) AS BIGINT)");
    let sql = format!(
        "{CANDIDATES} SELECT a.currency, count(*) AS count, {} AS authorized, {} AS captured, {} AS earned,
           {} AS remaining
         {FROM} GROUP BY a.currency ORDER BY a.currency",
        sum("a.authorized"),
        sum("a.captured"),
        sum("a.reserved + a.waiting_amount"),
        sum(REMAINING),
    );
    session.query(&sql, parameters(filter), |row| {
        let currency = currency(row)?;
        Ok(AuthorizationTotal {
            authorizations: row.get("count")?,
            authorized: money(row, "authorized", currency)?,
            captured: money(row, "captured", currency)?,
            earned_uncaptured: money(row, "earned", currency)?,
            remaining: money(row, "remaining", currency)?,
        })
    })
}

fn currency(row: &Row<'_>) -> rusqlite::Result<Currency> {
    Currency::parse(row.get_ref("currency")?.as_str()?).map_err(|_| corrupt("a currency is unknown"))
}
