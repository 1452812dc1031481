//! What was set aside, and why.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Conditions, Found, IdPrefix, Page, Report, ReportError, find_ids, micros, required_instant, text};
use crate::capture::dead_letter::{self, DeadLetter, DeadLetterState};
use crate::clock::Timestamp;
use crate::ids::{DeadLetterId, OrderId};
use crate::ledger::codec::corrupt;
use crate::ledger::sqlite::rows::{DEAD_LETTER, read_dead_letter};
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
    pub(in crate::ledger::sqlite) fn conditions(&self) -> Conditions {
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
        self.ask(|connection| conditions.page(connection, &select(), order_by, filter.limit, read_dead_letter))
    }

    /// How many dead letters a choice comes to, and the last row that was looked at: what comes later is
    /// not in it.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn count_dead_letters(&self, choice: &Choice, state: DeadLetterState) -> Result<(u64, i64), ReportError> {
        let (filter, values) = choice.conditions().with("state = ?", Some(text(state.as_str()))).into_sql();
        let sql = format!("SELECT count(*), coalesce(max(dead_letter_row), 0) FROM dead_letters WHERE {filter}");
        self.ask(|connection| {
            let values = rusqlite::params_from_iter(values);
            connection.prepare(&sql)?.query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))
        })
    }

    /// Dead letters by cause, the most frequent first; at most `filter.limit` causes.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn dead_letter_groups(&self, filter: &DeadLetterFilter) -> Result<Page<DeadLetterGroup>, ReportError> {
        let conditions = filter.choice.conditions().with("state = ?", filter.state.map(|state| text(state.as_str())));
        let (conditions, mut values) = conditions.into_sql();
        // Without an aggregate the columns are those of the row with the greatest `last_seen_at`
        // (<https://www.sqlite.org/lang_select.html#bareagg>).
        let sql = format!(
            "WITH chosen AS (SELECT * FROM dead_letters WHERE {conditions}),
             sums AS (SELECT fingerprint, json_group_array(json_array(currency, amount)) AS amounts FROM (
               SELECT fingerprint, currency, sum(amount) AS amount FROM chosen WHERE amount IS NOT NULL
               GROUP BY fingerprint, currency ORDER BY currency) GROUP BY fingerprint)
             SELECT fingerprint, reason, provider_code, path, message, count(*) AS letters,
                    min(first_seen_at) AS first_seen_at, last_seen_at, amounts, max(last_seen_at)
             FROM chosen LEFT JOIN sums USING (fingerprint)
             GROUP BY fingerprint ORDER BY letters DESC, fingerprint LIMIT ?"
        );
        values.push(Value::Integer(i64::from(filter.limit) + 1));
        let mut rows: Vec<DeadLetterGroup> = self.ask(|connection| {
            let mut statement = connection.prepare(&sql)?;
            statement.query_map(rusqlite::params_from_iter(values), read_group)?.collect()
        })?;
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        Ok(Page { rows, has_more })
    }

    /// The dead letter whose id begins so.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn find_dead_letter(&self, prefix: IdPrefix) -> Result<Found<DeadLetterId>, ReportError> {
        let sql = "SELECT dead_letter_id FROM dead_letters WHERE dead_letter_id BETWEEN ?1 AND ?2
                   ORDER BY dead_letter_id LIMIT ?3";
        self.ask(|connection| Ok(find_ids(connection, sql, prefix)?.map(DeadLetterId::from_uuid)))
    }

    /// One dead letter with its message.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn dead_letter(&self, id: DeadLetterId) -> Result<Option<WholeDeadLetter>, ReportError> {
        self.ask(|connection| {
            let sql = format!(
                "SELECT {DEAD_LETTER}, body, origin, body_sha256 FROM dead_letters
                               WHERE dead_letter_id = ?1"
            );
            let read =
                |row: &Row<'_>| Ok(WholeDeadLetter { letter: read_dead_letter(row)?, sha256: row.get("body_sha256")? });
            connection.prepare(&sql)?.query_row([id.as_uuid().as_bytes()], read).optional()
        })
    }
}

/// Without their messages.
fn select() -> String {
    format!("SELECT {DEAD_LETTER}, NULL AS body, NULL AS origin FROM dead_letters")
}

fn read_group(row: &Row<'_>) -> rusqlite::Result<DeadLetterGroup> {
    let amounts = row.get_ref("amounts")?.as_str_or_null()?.unwrap_or("[]");
    let amounts: Vec<(String, i64)> = serde_json::from_str(amounts).map_err(|_| corrupt("a sum is no sum"))?;
    let money = |(code, minor): (String, i64)| {
        let currency = Currency::parse(&code).map_err(|_| corrupt("a currency is unknown"))?;
        Money::from_minor(minor, currency).map_err(|_| corrupt("an amount is negative"))
    };
    Ok(DeadLetterGroup {
        fingerprint: row.get("fingerprint")?,
        reason: super::columns::word(row, "reason", &dead_letter::REASONS, |reason| reason)?,
        provider_code: row.get("provider_code")?,
        path: row.get("path")?,
        message: row.get("message")?,
        letters: row.get("letters")?,
        first_seen_at: required_instant(row, "first_seen_at")?,
        last_seen_at: required_instant(row, "last_seen_at")?,
        amounts: amounts.into_iter().map(money).collect::<rusqlite::Result<_>>()?,
    })
}

/// Those about an order without their messages, the first set aside first.
pub(super) fn of_order(connection: &Connection, order: &OrderId) -> rusqlite::Result<Vec<DeadLetter>> {
    let mut statement = connection.prepare(&format!("{} WHERE order_id = ?1 ORDER BY dead_letter_row", select()))?;
    statement.query_map([order.as_str()], read_dead_letter)?.collect()
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, at};
    use super::*;

    type Filtered = (DeadLetterFilter, fn(&DeadLetter) -> bool);

    #[test]
    fn every_filter_narrows() {
        let example = Example::new();
        let report = example.report();
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
        let example = Example::new();
        let report = example.report();
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
