//! The amounts that an order's shipments and fees were given, and how each came about.

use std::collections::BTreeMap;

use super::columns::money;
use super::fees::Fee;
use crate::capture::plan::{Given, Working};
use crate::capture::policy::Policy;
use crate::capture::records::{AmountMode, Order, ShipmentKey};
use crate::clock::Timestamp;
use crate::ids::AccountName;
use crate::ledger::codec::{corrupt, instant, lines_from_json};
use crate::ledger::session::{self, Row, Session};
use crate::money::{Currency, Money};

/// Who was given an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum To {
    Shipment(ShipmentKey),
    /// A fee, by its number in the order.
    Fee(u32),
}

/// Shipments that were given an amount, each with the row that tells when.
///
/// A shipment that is captured by itself has its capture, its success without a call or its refusal
/// from the transaction that gave it its amount; rows are numbered in the order of writing. The
/// amounts of shipments that are captured together are worked out anew in the order of acceptance,
/// when nothing is given any more: they have no such row.
const GIVEN: &str = "
    WITH given AS (
      SELECT s.shipment_row, s.lines, s.amount, a.account, a.currency, s.capture_row, s.collected_on,
             (SELECT min(event_row) FROM events WHERE outcome_of = s.shipment_row) AS outcome
      FROM shipments s JOIN authorizations a USING (authorization_row)
      WHERE s.order_row = ?1 AND s.amount IS NOT NULL
    )
    SELECT shipment_row, lines, amount, account, currency,
           coalesce((SELECT planned_at FROM captures c WHERE c.capture_row = given.capture_row),
             (SELECT written_at FROM outbox WHERE event_row = outcome)) AS at,
           CASE WHEN collected_on IS NOT NULL THEN NULL WHEN capture_row < outcome THEN capture_row
             ELSE coalesce(outcome, capture_row) END AS row
    FROM given ORDER BY shipment_row";

/// How the amounts of an order's shipments and fees came about, as far as its plan and the settings
/// can still tell.
pub(super) fn workings(
    session: &Session,
    order: &Order,
    fees: &[Fee],
    policy: &Policy,
) -> session::Result<BTreeMap<To, Working>> {
    let (Some(plan), Some(AmountMode::Planned)) = (&order.plan, order.mode) else { return Ok(BTreeMap::new()) };
    let mut all = session.query(GIVEN, [order.key.row()], |row| read_given(session, row, policy))?;
    all.extend(fees.iter().map(|fee| {
        let quantum = quantum_of(&fee.account, fee.amount, policy);
        let (at, row) = fee.given;
        let given = Given { lines: Vec::new(), amount: fee.amount, quantum };
        (Some((session.when(at), row)), To::Fee(fee.number), given)
    }));
    // The sort is stable.
    all.sort_by_key(|(place, ..)| (place.is_none(), *place));
    let (who, given): (Vec<_>, Vec<_>) = all.into_iter().map(|(_, to, given)| (to, given)).unzip();
    let workings = plan.retrace(&order.counted(&order.progress), &given);
    Ok(who.into_iter().zip(workings).filter_map(|(to, working)| Some((to, working?))).collect())
}

/// Where it stands among all that were given an amount: not known of those that were captured together.
type Place = Option<(Option<Timestamp>, i64)>;

fn read_given(session: &Session, row: &Row<'_>, policy: &Policy) -> rusqlite::Result<(Place, To, Given)> {
    let currency = Currency::parse(row.get_ref("currency")?.as_str()?);
    let currency = currency.map_err(|_| corrupt("an authorization's currency is unknown"))?;
    let account = AccountName::parse(row.get_ref("account")?.as_str()?);
    let account = account.map_err(|_| corrupt("an authorization's account is not a name"))?;
    let lines = lines_from_json(row.get_ref("lines")?.as_str()?)?;
    let amount = money(row, "amount", currency)?;
    let given = Given { lines, amount, quantum: quantum_of(&account, amount, policy) };
    let number: Option<i64> = row.get("row")?;
    let when = instant(row, "at")?.and_then(|at| session.when(at));
    Ok((number.map(|number| (when, number)), To::Shipment(ShipmentKey::new(row.get("shipment_row")?)), given))
}

/// As the settings have it now.
fn quantum_of(account: &AccountName, amount: Money, policy: &Policy) -> i64 {
    policy.accounts.get(account).map_or(1, |account| account.quantum_in(amount.currency()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::example::{Example, collecting, planned};
    use super::super::{About, FeeStory, ShipmentStory, Story};
    use super::*;
    use crate::capture::event::CaptureKind;
    use crate::ids::OrderId;

    fn story(example: &Example) -> Story {
        let about = About::Order(OrderId::parse("ord-1").unwrap());
        example.report().story(&about, &example.policy).unwrap().unwrap()
    }

    /// Every shipment of `ord-1` with what those before it were given and its own amount, and then
    /// every fee.
    fn told(example: &Example) -> Vec<(String, i64, i64)> {
        let story = story(example);
        let row = |name: String, working: &Option<Working>, amount: Option<Money>| {
            let working = working.as_ref().expect("the plan tells it");
            assert_eq!(Some(working.amount), amount);
            (name, working.stored.minor(), working.amount.minor())
        };
        let shipment = |told: &ShipmentStory| row(told.shipment.id.to_string(), &told.working, told.shipment.amount);
        let fee = |fee: &FeeStory| row(format!("fee {}", fee.number), &fee.working, Some(fee.amount));
        story.shipments.iter().map(shipment).chain(story.fees.iter().map(fee)).collect()
    }

    #[test]
    fn amounts_are_told_in_the_order_in_which_they_were_given() {
        let example = Example::empty();
        // s1 waits for the plan that s2 brings, and is given its amount after it.
        let early = json!({ "lines": [{ "line_id": "l1", "quantity": 1 }] });
        example.ship("09:00:00", "ord-1", "s1", &early);
        let mut thirds = planned(&[("l1", 1)]);
        thirds["plan"]["lines"][0]["total"] = json!("29.99");
        thirds["plan"]["total"] = json!("54.99");
        example.ship("09:01:00", "ord-1", "s2", &thirds);
        example.ship("09:02:00", "ord-1", "s1", &early);
        example.ship("09:03:00", "ord-1", "s3", &json!({ "lines": [{ "line_id": "l1", "quantity": 1 }] }));
        let expected = [("s1".to_owned(), 1_000, 999), ("s2".to_owned(), 0, 1_000), ("s3".to_owned(), 1_999, 1_000)];
        assert_eq!(told(&example), expected);
    }

    #[test]
    fn what_was_cancelled_before_the_amounts_were_frozen_is_told_too() {
        let example = Example::empty();
        let mut first = collecting("test-1", &[("l1", 1)]);
        first["plan"]["shipping_policy"] = json!("prorate");
        example.ship("09:00:00", "ord-1", "s1", &first);
        let last = json!({ "lines": [{ "line_id": "l1", "quantity": 1 }], "final": true });
        example.ship("09:01:00", "ord-1", "s2", &last);
        assert_eq!(told(&example), [("s1".to_owned(), 0, 1_100), ("s2".to_owned(), 1_100, 1_100)]);
        // After the grace the rest counts as cancelled, and the whole fee is due for 20.00 of goods.
        example.freeze_what_collects("09:20:00", "09:20:01");
        assert_eq!(told(&example), [("s1".to_owned(), 0, 1_250), ("s2".to_owned(), 1_250, 1_250)]);
    }
    #[test]
    fn a_fee_is_given_an_amount_too_and_what_comes_after_it_is_told() {
        let example = Example::empty();
        let mut first = planned(&[("l1", 1)]);
        first["plan"]["shipping_policy"] = json!("prorate");
        example.ship_and_capture("09:00:00", "09:00:01", &with_ids("s1", &first));
        // 10.00 and 1.00 of the fee; the rest of it is due for nothing more, and one ships after all.
        let last = json!({ "lines": [{ "line_id": "l1", "quantity": 1 }], "final": true });
        example.ship_and_capture("09:01:00", "09:01:01", &with_ids("s2", &last));
        example.close_order("09:20:00");
        example.ship("09:30:00", "ord-1", "s3", &json!({ "lines": [{ "line_id": "l2", "quantity": 1 }] }));
        let expected = [("s1", 0, 1_100), ("s2", 1_100, 1_100), ("s3", 2_500, 2_000), ("fee 1", 2_200, 300)];
        assert_eq!(told(&example), expected.map(|(name, stored, amount)| (name.to_owned(), stored, amount)));
        let story = story(&example);
        let kinds = |fee: &FeeStory| fee.events.iter().map(|event| event.kind.clone()).collect::<Vec<_>>();
        assert_eq!((kinds(&story.fees[0]), story.fees[0].caused_by.as_deref()), (Vec::new(), None));
        let capture = story.captures.iter().find(|told| Some(told.capture.key) == story.fees[0].capture).unwrap();
        assert_eq!(capture.capture.kind, CaptureKind::Fee);
    }

    #[test]
    fn a_refused_fee_is_told_by_its_event() {
        let example = Example::empty();
        let mut first = planned(&[("l1", 1)]);
        first["plan"]["shipping_policy"] = json!("prorate");
        first["authorization"]["amount"] = json!("12.00");
        example.ship_and_capture("09:00:00", "09:00:01", &with_ids("s1", &first));
        example.cancel("09:05:00", "ord-1");
        let expected = [("s1", 0, 1_100), ("fee 1", 1_100, 400)];
        assert_eq!(told(&example), expected.map(|(name, stored, amount)| (name.to_owned(), stored, amount)));
        let story = story(&example);
        let [fee] = &story.fees[..] else { panic!("{:?}", story.fees) };
        assert_eq!((fee.capture, fee.caused_by.as_deref()), (None, Some("evt-ord-1-cancelled")));
        assert_eq!(fee.events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["capture.failed"]);
    }

    #[test]
    fn where_amounts_are_multiples_the_rounding_is_a_step() {
        let example = Example::with_quantum("1.00");
        let mut first = planned(&[("l1", 1)]);
        first["plan"]["lines"][0]["total"] = json!("32.00");
        first["plan"]["total"] = json!("57.00");
        example.ship("09:00:00", "ord-1", "s1", &first);
        example.ship("09:01:00", "ord-1", "s2", &json!({ "lines": [{ "line_id": "l1", "quantity": 1 }] }));
        let steps = story(&example).shipments.into_iter().map(|told| {
            let working = told.working.unwrap();
            (working.earned.minor(), working.rounding.unwrap().rounded.minor(), working.amount.minor())
        });
        assert_eq!(steps.collect::<Vec<_>>(), [(1_067, 1_000, 1_000), (2_133, 2_100, 1_100)]);
    }

    fn with_ids(shipment: &str, notice: &serde_json::Value) -> serde_json::Value {
        let mut notice = notice.clone();
        (notice["order_id"], notice["shipment_id"]) = (json!("ord-1"), json!(shipment));
        notice
    }
}
