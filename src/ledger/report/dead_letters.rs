//! What was set aside, and why.

use std::collections::HashMap;

use rusqlite::params;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Conditions, Found, IdPrefix, Page, Report, ReportError, find_ids, micros, required_instant, text};
use crate::capture::dead_letter::{self, DeadLetter, DeadLetterState};
use crate::clock::Timestamp;
use crate::ids::{DeadLetterId, OrderId};
use crate::ledger::codec::corrupt;
use crate::ledger::replays;
use crate::ledger::rows::{DEAD_LETTER, read_dead_letter};
use crate::ledger::session::{self, Row, Session};
use crate::money::{Currency, Money};

/// Which dead letters; what is left out narrows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choice {
    /// Set aside for this reason, one of [`dead_letter::REASONS`].
    pub reason: Option<String>,
    /// Of one cause.
    pub fingerprint: Option<String>,
    /// About this order.
    pub order: Option<String>,
    /// About this account.
    pub account: Option<String>,
    /// Last seen at this instant or later.
    pub since: Option<Timestamp>,
    /// Last seen before this instant.
    pub until: Option<Timestamp>,
    /// One of these UUIDs.
    pub ids: Vec<String>,
}

impl Choice {
    /// As conditions on the columns of `dead_letters`.
    pub(in crate::ledger) fn conditions(&self) -> Conditions {
        // What is no UUID is none of ours, and still narrows.
        let uuid = |id: &String| Uuid::try_parse(id).unwrap_or_default().as_bytes().to_vec();
        let ids = self.ids.iter().map(|id| Value::Blob(uuid(id))).collect();
        Conditions::default()
            .with("reason = ?", self.reason.as_deref().map(text))
            .with("fingerprint = ?", self.fingerprint.as_deref().map(text))
            .with("order_id = ?", self.order.as_deref().map(text))
            .with("account = ?", self.account.as_deref().map(text))
            .with("last_seen_at >= ?", self.since.map(micros))
            .with("last_seen_at < ?", self.until.map(micros))
            .with_one_of("dead_letter_id", ids)
    }
}

/// Which dead letters, and how many of them.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Which.
    pub choice: Choice,
    /// In this state.
    pub state: Option<DeadLetterState>,
    /// At most so many, the last seen first.
    pub limit: u32,
}

/// Dead letters of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterGroup {
    /// What they have in common.
    pub fingerprint: String,
    /// Why they were set aside.
    pub reason: &'static str,
    /// The provider's code, where a provider refused.
    pub provider_code: Option<String>,
    /// Where in the body, for messages.
    pub path: String,
    /// What is wrong, in the words of the last one.
    pub message: String,
    /// How many.
    pub letters: u64,
    /// When the first of them was first seen.
    pub first_seen_at: Timestamp,
    /// When the last of them was last seen.
    pub last_seen_at: Timestamp,
    /// What was not captured, by currency.
    pub amounts: Vec<Money>,
}

/// A dead letter with its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeDeadLetter {
    /// The dead letter.
    pub letter: DeadLetter,
    /// The SHA-256 of the whole body.
    pub sha256: Option<[u8; 32]>,
}

impl WholeDeadLetter {
    /// Is the kept body only the head of a larger one?
    pub fn is_cut(&self) -> bool {
        self.letter.raw.as_ref().is_some_and(|raw| self.sha256 != Some(dead_letter::sha256(&raw.body)))
    }
}

impl Report {
    /// Dead letters without their messages, the last seen first.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Page<DeadLetter>, ReportError> {
        let conditions = filter.choice.conditions().with("state = ?", filter.state.map(|state| text(state.as_str())));
        let order_by = "last_seen_at DESC, dead_letter_row DESC";
        self.ask(|session| conditions.page(session, &select(), order_by, filter.limit, |row| read_dead_letter(row)))
    }

    /// How many dead letters a choice comes to, and the last mark that was looked at: what comes later is
    /// not in it.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn count_dead_letters(&self, choice: &Choice, state: DeadLetterState) -> Result<(u64, i64), ReportError> {
        let (filter, values) = choice.conditions().with("state = ?", Some(text(state.as_str()))).into_sql();
        self.ask(|session| {
            let mark = replays::mark(session);
            let sql = format!("SELECT count(*), coalesce(max({mark}), 0) FROM dead_letters WHERE {filter}");
            session.one(&sql, values, |row| Ok((row.get(0)?, row.get(1)?)))
        })
    }

    /// Dead letters by cause, the most frequent first; at most `filter.limit` causes.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn dead_letter_groups(&self, filter: &DeadLetterFilter) -> Result<Page<DeadLetterGroup>, ReportError> {
        let conditions = filter.choice.conditions().with("state = ?", filter.state.map(|state| text(state.as_str())));
        let (conditions, mut values) = conditions.into_sql();
        // Each cause in the words of the one that was seen last; what was not captured, by currency.
        let groups = format!(
            "WITH chosen AS (SELECT * FROM dead_letters WHERE {conditions}),
             ranked AS (SELECT *, count(*) OVER cause AS letters, min(first_seen_at) OVER cause AS first_of_all,
                          row_number() OVER (PARTITION BY fingerprint
                            ORDER BY last_seen_at DESC, dead_letter_row DESC) AS place
                        FROM chosen WINDOW cause AS (PARTITION BY fingerprint))
             SELECT fingerprint, reason, provider_code, path, message, letters, first_of_all, last_seen_at
             FROM ranked WHERE place = 1 ORDER BY letters DESC, fingerprint LIMIT ?"
        );
        let sums = format!(
            "SELECT fingerprint, currency, CAST(sum(amount) AS BIGINT) AS amount FROM dead_letters
             WHERE {conditions} AND amount IS NOT NULL GROUP BY fingerprint, currency ORDER BY currency"
        );
        self.ask(|session| {
            let mut amounts: HashMap<String, Vec<Money>> = HashMap::new();
            for (fingerprint, amount) in session.query(&sums, values.clone(), read_sum)? {
                amounts.entry(fingerprint).or_default().push(amount);
            }
            values.push(Value::Integer(i64::from(filter.limit) + 1));
            let mut rows: Vec<DeadLetterGroup> = session.query(&groups, values, read_group)?;
            for group in &mut rows {
                group.amounts = amounts.remove(&group.fingerprint).unwrap_or_default();
            }
            Ok(Page::of(rows, filter.limit))
        })
    }

    /// The dead letter whose id begins so.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn find_dead_letter(&self, prefix: IdPrefix) -> Result<Found<DeadLetterId>, ReportError> {
        let sql = "SELECT dead_letter_id FROM dead_letters WHERE dead_letter_id BETWEEN ?1 AND ?2
                   ORDER BY dead_letter_id LIMIT ?3";
        self.ask(|session| Ok(find_ids(session, sql, prefix)?.map(DeadLetterId::from_uuid)))
    }

    /// One dead letter with its message.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn dead_letter(&self, id: DeadLetterId) -> Result<Option<WholeDeadLetter>, ReportError> {
        self.ask(|session| {
            let sql = format!(
                "SELECT {DEAD_LETTER}, body, origin, body_sha256 FROM dead_letters
                               WHERE dead_letter_id = ?1"
            );
            let read =
                |row: &Row<'_>| Ok(WholeDeadLetter { letter: read_dead_letter(row)?, sha256: row.get("body_sha256")? });
            session.find(&sql, params![id.as_uuid().as_bytes()], read)
        })
    }
}

/// Without their messages.
fn select() -> String {
    format!("SELECT {DEAD_LETTER}, NULL AS body, NULL AS origin FROM dead_letters")
}

/// Without its amounts.
fn read_group(row: &Row<'_>) -> rusqlite::Result<DeadLetterGroup> {
    Ok(DeadLetterGroup {
        fingerprint: row.get("fingerprint")?,
        reason: super::columns::word(row, "reason", &dead_letter::REASONS, |reason| reason)?,
        provider_code: row.get("provider_code")?,
        path: row.get("path")?,
        message: row.get("message")?,
        letters: row.get("letters")?,
        first_seen_at: required_instant(row, "first_of_all")?,
        last_seen_at: required_instant(row, "last_seen_at")?,
        amounts: Vec::new(),
    })
}

fn read_sum(row: &Row<'_>) -> rusqlite::Result<(String, Money)> {
    let currency = Currency::parse(row.get_ref("currency")?.as_str()?);
    let currency = currency.map_err(|_| corrupt("a currency is unknown"))?;
    Ok((row.get("fingerprint")?, super::columns::money(row, "amount", currency)?))
}

/// Those about an order without their messages, the first set aside first.
pub(super) fn of_order(session: &Session, order: &OrderId) -> session::Result<Vec<DeadLetter>> {
    let sql = format!("{} WHERE order_id = ?1 ORDER BY dead_letter_row", select());
    session.query(&sql, params![order.as_str()], |row| read_dead_letter(row))
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, at};
    use super::*;

    type Filtered = (DeadLetterFilter, fn(&DeadLetter) -> bool);

    #[test]
    fn every_filter_narrows() {
        for source in Example::new().everywhere() {
            filters_narrow(&Report::open(&source).unwrap());
        }
    }

    fn filters_narrow(report: &Report) {
        let all = || DeadLetterFilter { limit: 100, ..DeadLetterFilter::default() };
        let found = |filter| report.dead_letters(&filter).unwrap().rows;
        let everything = found(all());
        let conflict = everything.iter().find(|letter| letter.reason == "conflict").unwrap();
        let chosen = |choice: Choice| DeadLetterFilter { choice, ..all() };
        let none = Choice::default;
        let filters: Vec<Filtered> = vec![
            (chosen(Choice { reason: Some("conflict".to_owned()), ..none() }), |letter| letter.reason == "conflict"),
            (chosen(Choice { fingerprint: Some(conflict.fingerprint.clone()), ..none() }), |letter| {
                letter.reason == "conflict"
            }),
            (chosen(Choice { order: Some("ord-1003".to_owned()), ..none() }), |letter| {
                letter.order.as_ref().is_some_and(|order| order.as_str() == "ord-1003")
            }),
            (chosen(Choice { account: Some("flex".to_owned()), ..none() }), |letter| {
                letter.account.as_ref().is_some_and(|account| account.as_str() == "flex")
            }),
            (chosen(Choice { since: Some(at("09:20:00")), ..none() }), |letter| letter.last_seen_at >= at("09:20:00")),
            (chosen(Choice { until: Some(at("09:20:00")), ..none() }), |letter| letter.last_seen_at < at("09:20:00")),
            (chosen(Choice { ids: vec![conflict.id.to_string()], ..none() }), |letter| letter.reason == "conflict"),
            (DeadLetterFilter { state: Some(DeadLetterState::Discarded), ..all() }, |letter| {
                letter.state == DeadLetterState::Discarded
            }),
        ];
        for (filter, is_meant) in filters {
            let expected: Vec<_> = everything.iter().filter(|letter| is_meant(letter)).cloned().collect();
            assert_ne!(expected.len(), everything.len(), "{filter:?}");
            assert_eq!(found(filter.clone()), expected, "{filter:?}");
        }
    }

    #[test]
    fn an_id_is_found_by_its_beginning() {
        for source in Example::new().everywhere() {
            ids_are_found(&Report::open(&source).unwrap());
        }
    }

    fn ids_are_found(report: &Report) {
        let all = report.dead_letters(&DeadLetterFilter { limit: 100, ..DeadLetterFilter::default() }).unwrap().rows;
        for letter in all {
            let beginning: String = letter.id.to_string().chars().take(8).collect();
            let found = report.find_dead_letter(IdPrefix::parse(&beginning).unwrap()).unwrap();
            assert_eq!(found, Found::One(letter.id));
            assert_eq!(report.dead_letter(letter.id).unwrap().unwrap().letter.id, letter.id);
        }
        let nothing = report.find_dead_letter(IdPrefix::parse("ffffffffffff").unwrap()).unwrap();
        assert_eq!(nothing, Found::Nothing);
    }
}
