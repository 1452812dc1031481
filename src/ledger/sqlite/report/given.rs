//! The amounts that an order's shipments were given, and how each came about.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use super::columns::money;
use crate::capture::plan::{Given, Working};
use crate::capture::records::{AmountMode, Order, ShipmentKey};
use crate::ledger::sqlite::codec::{corrupt, lines_from_json};
use crate::money::Currency;

/// Shipments that were given an amount, in the order in which they were.
///
/// A shipment that is captured by itself has its capture, its success without a call or its refusal
/// from the transaction that gave it its amount; rows are numbered in the order of writing. The
/// amounts of shipments that are captured together are worked out anew in the order of acceptance.
const GIVEN: &str = "
    WITH given AS (
      SELECT s.shipment_row, s.lines, s.amount, a.currency, s.capture_row, s.collected_on,
             (SELECT min(event_row) FROM events WHERE outcome_of = s.shipment_row) AS outcome
      FROM shipments s JOIN authorizations a USING (authorization_row)
      WHERE s.order_row = ?1 AND s.amount IS NOT NULL
    )
    SELECT shipment_row, lines, amount, currency FROM given
    ORDER BY iif(collected_on IS NULL, min(coalesce(capture_row, outcome), coalesce(outcome, capture_row)), NULL)
             NULLS LAST, shipment_row";

/// How the amounts of an order's shipments came about, as far as its plan can still tell.
pub(super) fn workings(connection: &Connection, order: &Order) -> rusqlite::Result<BTreeMap<ShipmentKey, Working>> {
    let (Some(plan), Some(AmountMode::Planned)) = (&order.plan, order.mode) else { return Ok(BTreeMap::new()) };
    let mut statement = connection.prepare_cached(GIVEN)?;
    let rows = statement.query_map([order.key.row()], read_given)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let (keys, given): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let workings = plan.retrace(&order.counted(&order.progress), &given);
    Ok(keys.into_iter().zip(workings).filter_map(|(key, working)| Some((key, working?))).collect())
}

fn read_given(row: &Row<'_>) -> rusqlite::Result<(ShipmentKey, Given)> {
    let currency = Currency::parse(row.get_ref("currency")?.as_str()?);
    let currency = currency.map_err(|_| corrupt("an authorization's currency is unknown"))?;
    let lines = lines_from_json(row.get_ref("lines")?.as_str()?)?;
    Ok((ShipmentKey::new(row.get("shipment_row")?), Given { lines, amount: money(row, "amount", currency)? }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::example::{Example, collecting, planned};
    use super::super::{About, ShipmentStory};
    use crate::ids::OrderId;

    /// Every shipment of `ord-1` with what those before it were given and its own amount.
    fn told(example: &Example) -> Vec<(String, i64, i64)> {
        let story = example.report().story(&About::Order(OrderId::parse("ord-1").unwrap())).unwrap().unwrap();
        let tell = |told: &ShipmentStory| {
            let working = told.working.as_ref().expect("the plan tells it");
            assert_eq!(Some(working.amount), told.shipment.amount);
            (told.shipment.id.to_string(), working.stored.minor(), working.amount.minor())
        };
        story.shipments.iter().map(tell).collect()
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
}
