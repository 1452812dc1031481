//! What was set aside, and why.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Conditions, Found, IdPrefix, Page, Report, ReportError, find_ids, micros, text};
use crate::capture::dead_letter::{self, DeadLetter, DeadLetterState};
use crate::clock::Timestamp;
use crate::ids::{AccountName, DeadLetterId, OrderId};
use crate::ledger::sqlite::rows::read_dead_letter;

/// Which dead letters.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Set aside for this reason, one of [`dead_letter::REASONS`].
    pub reason: Option<&'static str>,
    /// Of one cause.
    pub fingerprint: Option<String>,
    /// About this order.
    pub order: Option<OrderId>,
    /// About this account.
    pub account: Option<AccountName>,
    /// Seen at this instant or later.
    pub since: Option<Timestamp>,
    /// In this state.
    pub state: Option<DeadLetterState>,
    /// At most so many, the last seen first.
    pub limit: u32,
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
        let conditions = Conditions::default()
            .with("reason = ?", filter.reason.map(text))
            .with("fingerprint = ?", filter.fingerprint.as_deref().map(text))
            .with("order_id = ?", filter.order.as_ref().map(|id| text(id.as_str())))
            .with("account = ?", filter.account.as_ref().map(|name| text(name.as_str())))
            .with("last_seen_at >= ?", filter.since.map(micros))
            .with("state = ?", filter.state.map(|state| text(state.as_str())));
        let order_by = "last_seen_at DESC, dead_letter_row DESC";
        self.ask(|connection| conditions.page(connection, SELECT, order_by, filter.limit, read_dead_letter))
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
            let sql = "SELECT dead_letter_id, reason, path, message, provider_code, fingerprint, order_id, shipment_id,
                              account, shipment_row, first_seen_at, last_seen_at, count, state, body, origin, body_sha256
                       FROM dead_letters WHERE dead_letter_id = ?1";
            let read = |row: &Row<'_>| {
                Ok(WholeDeadLetter { letter: read_dead_letter(row)?, sha256: row.get("body_sha256")? })
            };
            connection.prepare(sql)?.query_row([id.as_uuid().as_bytes()], read).optional()
        })
    }
}

const SELECT: &str = "
    SELECT dead_letter_id, reason, path, message, provider_code, fingerprint, order_id, shipment_id, account,
           shipment_row, first_seen_at, last_seen_at, count, state, NULL AS body, NULL AS origin
    FROM dead_letters";

/// Those about an order without their messages, the first set aside first.
pub(super) fn of_order(connection: &Connection, order: &OrderId) -> rusqlite::Result<Vec<DeadLetter>> {
    let mut statement = connection.prepare(&format!("{SELECT} WHERE order_id = ?1 ORDER BY dead_letter_row"))?;
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
        let filters: Vec<Filtered> = vec![
            (DeadLetterFilter { reason: Some("conflict"), ..all() }, |letter| letter.reason == "conflict"),
            (DeadLetterFilter { fingerprint: Some(conflict.fingerprint.clone()), ..all() }, |letter| {
                letter.reason == "conflict"
            }),
            (DeadLetterFilter { order: Some(OrderId::parse("ord-1003").unwrap()), ..all() }, |letter| {
                letter.order.as_ref().is_some_and(|order| order.as_str() == "ord-1003")
            }),
            (DeadLetterFilter { account: Some(AccountName::parse("flex").unwrap()), ..all() }, |letter| {
                letter.account.as_ref().is_some_and(|account| account.as_str() == "flex")
            }),
            (DeadLetterFilter { since: Some(at("09:20:00")), ..all() }, |letter| letter.last_seen_at >= at("09:20:00")),
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
