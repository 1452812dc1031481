//! Shipments, each with what became of it.

use uuid::Uuid;

use super::{Conditions, Page, Report, ReportError, micros, optional_id, required_instant, text};
use crate::capture::event::FailureReason;
use crate::capture::records::Capped;
use crate::clock::Timestamp;
use crate::ids::{AccountName, CaptureId, OrderId, Reference, ShipmentId};
use crate::ledger::codec::corrupt;
use crate::ledger::report::columns::{money, word};
use crate::ledger::session::Row;
use crate::money::{Currency, Money};

/// Where a shipment's money stands: the states of shipment and capture in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Its plan, authorization or account is not known yet.
    Awaiting,
    /// It collects with others on a single-capture authorization.
    Waiting,
    /// Its capture is planned and certainly not executed.
    Planned,
    /// So it is, and a cap of its account holds it.
    Held,
    /// An attempt is under way.
    Sending,
    /// Money may have moved.
    InDoubt,
    /// Its money was captured.
    Captured,
    /// It owed nothing, and succeeded without a call.
    Zero,
    /// Its money was not captured, on evidence.
    Failed,
    /// Its capture was closed by hand, without an answer.
    Unresolved,
    /// Evidence of a capture arrived after another outcome had been published.
    Corrected,
    /// Refused by our own rules, or by what a read before any call has shown.
    Refused,
}

impl Standing {
    /// Every standing, in the order in which a shipment can come to it.
    pub const ALL: [Self; 12] = [
        Self::Awaiting,
        Self::Waiting,
        Self::Planned,
        Self::Held,
        Self::Sending,
        Self::InDoubt,
        Self::Captured,
        Self::Zero,
        Self::Failed,
        Self::Unresolved,
        Self::Corrected,
        Self::Refused,
    ];

    /// The word in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::Waiting => "waiting",
            Self::Planned => "planned",
            Self::Held => "held",
            Self::Sending => "sending",
            Self::InDoubt => "in_doubt",
            Self::Captured => "captured",
            Self::Zero => "zero",
            Self::Failed => "failed",
            Self::Unresolved => "unresolved",
            Self::Corrected => "corrected",
            Self::Refused => "refused",
        }
    }

    /// The standing with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == word)
    }

    /// Does it imply a capture that is open? Those are few, and have an index.
    const fn has_open_capture(self) -> bool {
        match self {
            Self::Planned | Self::Held | Self::Sending | Self::InDoubt => true,
            Self::Awaiting
            | Self::Waiting
            | Self::Captured
            | Self::Zero
            | Self::Failed
            | Self::Unresolved
            | Self::Corrected
            | Self::Refused => false,
        }
    }
}

/// Which shipments.
#[derive(Debug, Clone, Default)]
pub struct ShipmentFilter {
    /// Of this order.
    pub order: Option<OrderId>,
    /// With this id, in whichever order.
    pub shipment: Option<ShipmentId>,
    /// On an authorization of this account.
    pub account: Option<AccountName>,
    /// Standing so.
    pub standing: Option<Standing>,
    /// Accepted at this instant or later.
    pub since: Option<Timestamp>,
    /// At most so many, the last accepted first.
    pub limit: u32,
}

/// A shipment and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShipmentSummary {
    /// The order.
    pub order: OrderId,
    /// Its id within the order.
    pub shipment: ShipmentId,
    /// 0, and one more for each replay.
    pub generation: u32,
    /// The account of its authorization, once it is bound to one.
    pub account: Option<AccountName>,
    /// The authorization at the provider.
    pub reference: Option<Reference>,
    /// What it has earned, once that is known.
    pub amount: Option<Money>,
    /// Where its money stands.
    pub standing: Standing,
    /// Why it ended without its money.
    pub reason: Option<FailureReason>,
    /// What holds it, where a cap does.
    pub held_by: Option<Capped>,
    /// Attempts made to capture it.
    pub attempts: u32,
    /// The capture that covers it.
    pub capture: Option<CaptureId>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

impl Report {
    /// Shipments with what became of them, the last accepted first.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn shipments(&self, filter: &ShipmentFilter) -> Result<Page<ShipmentSummary>, ReportError> {
        let conditions = Conditions::default()
            .with("s.order_id = ?", filter.order.as_ref().map(|id| text(id.as_str())))
            .with("s.shipment_id = ?", filter.shipment.as_ref().map(|id| text(id.as_str())))
            .with("s.account = ?", filter.account.as_ref().map(|name| text(name.as_str())))
            .with("s.standing = ?", filter.standing.map(|standing| text(standing.as_str())))
            .also(filter.standing.filter(|standing| standing.has_open_capture()).map(|_| WITH_OPEN_CAPTURE))
            .with("s.accepted_at >= ?", filter.since.map(micros));
        self.ask(|session| conditions.page(session, SELECT, "s.shipment_row DESC", filter.limit, read_summary))
    }
}

/// A shipment that is covered or settled stands as its capture does.
const SELECT: &str = "
    SELECT * FROM (
      SELECT s.shipment_row, s.order_row, s.shipment_id, s.generation, s.amount, s.reason, s.accepted_at,
             o.order_id, a.account, a.reference, a.currency, c.capture_id, c.capped, coalesce(c.attempts, 0) AS attempts,
             CASE WHEN s.state NOT IN ('covered', 'settled') THEN s.state
                  WHEN c.corrected_at IS NOT NULL THEN 'corrected'
                  WHEN c.state = 'planned' AND c.capped <> 'released' THEN 'held'
                  ELSE coalesce(c.state, 'zero') END AS standing
      FROM shipments s
      JOIN orders o ON o.order_row = s.order_row
      LEFT JOIN authorizations a ON a.authorization_row = s.authorization_row
      LEFT JOIN captures c ON c.capture_row = s.capture_row) s";

/// Leads from the few open captures to their shipments, rather than through all shipments.
const WITH_OPEN_CAPTURE: &str = "s.shipment_row IN (
    SELECT covered.shipment_row FROM captures open
    CROSS JOIN shipments covered
    WHERE covered.order_row = open.order_row AND covered.capture_row = open.capture_row AND open.is_open = 1)";

fn read_summary(row: &Row<'_>) -> rusqlite::Result<ShipmentSummary> {
    let currency = optional_id(row, "currency", Currency::parse)?;
    let minor: Option<i64> = row.get("amount")?;
    let amount = minor.map(|_| currency.ok_or_else(|| corrupt("an amount has no currency"))).transpose()?;
    let reason: Option<String> = row.get("reason")?;
    let capped: Option<String> = row.get("capped")?;
    let capped = capped.map(|_| word(row, "capped", &Capped::ALL, |capped| capped.as_str())).transpose()?;
    Ok(ShipmentSummary {
        order: OrderId::parse(row.get_ref("order_id")?.as_str()?).map_err(|_| corrupt("an order's id is not an id"))?,
        shipment: ShipmentId::parse(row.get_ref("shipment_id")?.as_str()?)
            .map_err(|_| corrupt("a shipment's id is not an id"))?,
        generation: row.get("generation")?,
        account: optional_id(row, "account", AccountName::parse)?,
        reference: optional_id(row, "reference", Reference::parse)?,
        amount: amount.map(|currency| money(row, "amount", currency)).transpose()?,
        standing: word(row, "standing", &Standing::ALL, |standing| standing.as_str())?,
        reason: reason.map(|_| word(row, "reason", &FailureReason::ALL, |reason| reason.as_str())).transpose()?,
        held_by: capped.filter(|capped| capped.is_held()),
        attempts: row.get("attempts")?,
        capture: row.get::<_, Option<[u8; 16]>>("capture_id")?.map(|id| CaptureId::from_uuid(Uuid::from_bytes(id))),
        accepted_at: required_instant(row, "accepted_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, at};
    use super::*;

    fn found(report: &Report, filter: ShipmentFilter) -> Vec<String> {
        let page = report.shipments(&ShipmentFilter { limit: 100, ..filter }).unwrap();
        assert!(!page.has_more);
        page.rows.iter().map(|row| format!("{}/{} {}", row.order, row.shipment, row.standing.as_str())).collect()
    }

    #[test]
    fn every_filter_narrows() {
        for source in Example::new().everywhere() {
            filters_narrow(&Report::open(&source).unwrap());
        }
    }

    fn filters_narrow(report: &Report) {
        let all = ShipmentFilter::default;
        let everything = found(report, all());
        for standing in Standing::ALL {
            let narrowed = found(report, ShipmentFilter { standing: Some(standing), ..all() });
            let ending = format!(" {}", standing.as_str());
            let expected: Vec<_> = everything.iter().filter(|row| row.ends_with(&ending)).cloned().collect();
            assert_eq!(narrowed, expected);
        }
        let order = Some(OrderId::parse("ord-1001").unwrap());
        assert_eq!(found(report, ShipmentFilter { order, ..all() }), ["ord-1001/s2 in_doubt", "ord-1001/s1 captured"]);
        let shipment = Some(ShipmentId::parse("s2").unwrap());
        assert_eq!(
            found(report, ShipmentFilter { shipment, ..all() }),
            ["ord-1013/s2 planned", "ord-1008/s2 captured", "ord-1001/s2 in_doubt"]
        );
        let account = Some(AccountName::parse("flitt-ge").unwrap());
        assert_eq!(
            found(report, ShipmentFilter { account, ..all() }),
            ["ord-1008/s2 captured", "ord-1008/s1 captured", "ord-1002/s1 waiting"]
        );
        assert!(found(report, ShipmentFilter { since: Some(at("10:00:00")), ..all() }).is_empty());
        assert_eq!(found(report, ShipmentFilter { since: Some(at("09:00:00")), ..all() }), everything);
    }

    #[test]
    fn a_page_says_whether_there_is_more() {
        let example = Example::new();
        let report = Report::open(&example.in_postgres()).unwrap();
        let page = |limit| report.shipments(&ShipmentFilter { limit, ..ShipmentFilter::default() }).unwrap();
        let all = page(100).rows;
        let count = u32::try_from(all.len()).unwrap();
        assert!(!page(count).has_more);
        let most = page(count - 1);
        assert!(most.has_more);
        assert_eq!(most.rows, all[..all.len() - 1]);
    }
}
