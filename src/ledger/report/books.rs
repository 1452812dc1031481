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
use crate::ids::{AccountName, CaptureId, OrderId, Reference};
use crate::ledger::codec::corrupt;
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
    /// The authorizations on which anything was ever planned.
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
            let sql =
                format!("SELECT authorization_row, account, reference {BEHIND} ORDER BY authorization_row LIMIT ?3");
            let of = params![row, account.map(AccountName::as_str), limit];
            let found = session.query(&sql, of, read)?;
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
            let of = params![row, account.map(AccountName::as_str)];
            session.one(&format!("SELECT count(*) {BEHIND}"), of, |row| row.get(0))
        })
    }

    fn with_captures(&self, session: &Session, mut ours: OurAuthorization) -> session::Result<OurAuthorization> {
        let of = [ours.row, self.last];
        ours.captures = session.query(WITH_CAPTURES, of, read_capture)?;
        Ok(ours)
    }
}

/// Behind the row `?1`, and of the account `?2` where there is one.
const BEHIND: &str = "
    FROM authorizations a WHERE authorization_row > ?1 AND (account = ?2 OR ?2 IS NULL)
      AND EXISTS (SELECT 1 FROM audited x WHERE x.authorization_row = a.authorization_row)";

/// Those that were there when the table was made, and those that were planned since: numbered behind the
/// last of them, or, by another worker, before it.
const WITH_CAPTURES: &str = "
    WITH since AS (
      SELECT capture_row FROM audited WHERE authorization_row = ?1
      UNION SELECT capture_row FROM captures WHERE capture_row > ?2 AND authorization_row = ?1
      UNION SELECT s.capture_row FROM authorizations a JOIN shipments s ON s.order_row = a.order_row
      WHERE a.authorization_row = ?1
      UNION SELECT f.capture_row FROM authorizations a JOIN captures f ON f.order_row = a.order_row
      WHERE a.authorization_row = ?1 AND f.fee IS NOT NULL)
    SELECT c.capture_id, o.order_id, a.currency, c.amount, c.state, c.is_corrected, c.provider_reference
    FROM since x CROSS JOIN captures c JOIN authorizations a ON a.authorization_row = c.authorization_row
    JOIN orders o ON o.order_row = c.order_row
    WHERE c.capture_row = x.capture_row AND c.authorization_row = ?1 ORDER BY c.capture_row";

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
    let is_captured = state == CaptureState::Captured || row.get("is_corrected")?;
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
