//! Authorizations with their captures, to be held against the provider's books.
//!
//! The ledger has no index of captures by authorization: nothing else asks for it, and every capture
//! would pay for it. An audit makes one of its own, in a temporary table.

use rusqlite::params;
use uuid::Uuid;

use super::columns::{money, word};
use super::{Report, ReportError, optional_id};
use crate::audit::{OurAuthorization, OurCapture, OurState};
use crate::capture::states::CaptureState;
use crate::clock::Timestamp;
use crate::ids::{AccountName, CaptureId, OrderId, Reference};
use crate::ledger::codec::{At, corrupt};
use crate::ledger::session::{self, Row, Session};
use crate::money::Currency;

/// The authorizations of a ledger, with their captures.
#[derive(Debug)]
pub struct Books {
    report: Report,
    /// The last capture that is in the temporary table.
    last: i64,
}

impl Report {
    /// Every authorization, also those on which nothing was ever planned: a ledger that lacks something may
    /// lack just that.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn into_books(self) -> Result<Books, ReportError> {
        // Outside of a transaction: what is rolled back at its end would be this table, too.
        let last = self.ask_outside(|session| {
            session.batch("CREATE TEMP TABLE audited AS SELECT authorization_row, capture_row FROM captures")?;
            session.batch(session.pick(
                "CREATE INDEX temp.audited_by_authorization ON audited (authorization_row, capture_row)",
                "CREATE INDEX audited_by_authorization ON audited (authorization_row, capture_row); ANALYZE audited",
            ))?;
            session.number("SELECT coalesce(max(capture_row), 0) FROM audited", params![])
        })?;
        Ok(Books { report: self, last })
    }
}

impl Report {
    /// Orders of shipments that were accepted at `since` or later: at most `limit` shipments behind the row
    /// `behind`, each with the row to go on behind. An order comes once for each of them.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn orders_behind(&self, behind: i64, since: Timestamp, limit: u32) -> Result<Vec<(i64, OrderId)>, ReportError> {
        let sql = "SELECT s.shipment_row, o.order_id FROM shipments s JOIN orders o USING (order_row)
                   WHERE s.shipment_row > ?1 AND s.accepted_at >= ?2 ORDER BY s.shipment_row LIMIT ?3";
        let read = |row: &Row<'_>| {
            let order = optional_id(row, "order_id", OrderId::parse)?;
            Ok((row.get(0)?, order.ok_or_else(|| corrupt("an order has no id"))?))
        };
        self.ask(|session| session.query(sql, params![behind, At(since), limit], read))
    }
}

impl Books {
    /// At most `limit` authorizations behind `row`, in the order of their rows.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn behind(
        &self,
        row: i64,
        account: Option<&AccountName>,
        limit: u32,
    ) -> Result<Vec<OurAuthorization>, ReportError> {
        self.report.ask(|session| {
            let sql = "SELECT authorization_row, account, reference FROM authorizations
                       WHERE authorization_row > ?1 AND (account = ?2 OR ?2 IS NULL)
                       ORDER BY authorization_row LIMIT ?3";
            let found = session.query(sql, params![row, account.map(AccountName::as_str), limit], read)?;
            found.into_iter().map(|found| self.with_captures(session, found)).collect()
        })
    }

    /// The same authorization as it is now, with what was planned on it since.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn again(&self, ours: &OurAuthorization) -> Result<OurAuthorization, ReportError> {
        let bare = OurAuthorization { captures: Vec::new(), ..ours.clone() };
        self.report.ask(|session| self.with_captures(session, bare))
    }

    /// How many authorizations there are behind `row`.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn count(&self, row: i64, account: Option<&AccountName>) -> Result<u64, ReportError> {
        self.report.ask(|session| {
            let sql = "SELECT count(*) FROM authorizations
                       WHERE authorization_row > ?1 AND (account = ?2 OR ?2 IS NULL)";
            session.one(sql, params![row, account.map(AccountName::as_str)], |row| row.get(0))
        })
    }

    fn with_captures(&self, session: &Session, mut ours: OurAuthorization) -> session::Result<OurAuthorization> {
        ours.captures = session.query(CAPTURES, [ours.row, self.last], read_capture)?;
        Ok(ours)
    }
}

/// What was planned on an authorization: by the index of the temporary table, what came since from the end
/// of the captures, and what another worker has planned since under smaller numbers. One condition for all
/// would look through all captures, for each authorization.
const CAPTURES: &str = "
    SELECT c.capture_id, o.order_id, a.currency, c.amount, c.state, c.corrected_at, c.provider_reference
    FROM (SELECT capture_row FROM audited WHERE authorization_row = ?1
          UNION SELECT capture_row FROM captures WHERE capture_row > ?2 AND authorization_row = ?1
          UNION SELECT s.capture_row FROM authorizations n JOIN shipments s ON s.order_row = n.order_row
          WHERE n.authorization_row = ?1 AND s.capture_row IS NOT NULL
          UNION SELECT f.capture_row FROM authorizations n JOIN captures f ON f.order_row = n.order_row
          WHERE n.authorization_row = ?1 AND f.fee IS NOT NULL) planned
    CROSS JOIN captures c CROSS JOIN authorizations a CROSS JOIN orders o
    WHERE c.capture_row = planned.capture_row AND c.authorization_row = ?1
      AND a.authorization_row = c.authorization_row AND o.order_row = c.order_row
    ORDER BY c.capture_row";

fn read(row: &Row<'_>) -> rusqlite::Result<OurAuthorization> {
    let missing = || corrupt("an authorization has no name");
    Ok(OurAuthorization {
        row: row.get("authorization_row")?,
        account: optional_id(row, "account", AccountName::parse)?.ok_or_else(missing)?,
        reference: optional_id(row, "reference", Reference::parse)?.ok_or_else(missing)?,
        captures: Vec::new(),
    })
}

fn read_capture(row: &Row<'_>) -> rusqlite::Result<OurCapture> {
    let currency = Currency::parse(row.get_ref("currency")?.as_str()?);
    let currency = currency.map_err(|_| corrupt("a currency is unknown"))?;
    let state = word(row, "state", &CaptureState::ALL, |state| state.as_str())?;
    let is_captured = state == CaptureState::Captured || row.get::<_, Option<i64>>("corrected_at")?.is_some();
    Ok(OurCapture {
        id: CaptureId::from_uuid(Uuid::from_bytes(row.get("capture_id")?)),
        order: optional_id(row, "order_id", OrderId::parse)?.ok_or_else(|| corrupt("an order has no id"))?,
        amount: money(row, "amount", currency)?,
        state: match (is_captured, state.is_terminal()) {
            (true, _) => OurState::Captured,
            (false, true) => OurState::Ended,
            (false, false) => OurState::Open,
        },
        provider_reference: row.get("provider_reference")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::report::example::Example;

    #[test]
    fn an_authorization_costs_the_same_however_many_there_are() {
        let books = Example::new().report().into_books().expect("a ledger");
        let explain = format!("EXPLAIN QUERY PLAN {CAPTURES}");
        let steps: Vec<String> =
            books.report.session.query(&explain, [1, 1], |row| row.get("detail")).expect("explained");
        for step in steps {
            assert!(!step.starts_with("SCAN") || step.ends_with("planned"), "{step}");
        }
    }
}
