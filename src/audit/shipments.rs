//! One order: its shipments in the ledger against those that the order system believes in.

use std::collections::BTreeMap;

use crate::audit::{Difference, Kind};
use crate::ids::{OrderId, ShipmentId};
use crate::money::Money;

/// A shipment that the order system believes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Where it stands in the file, from 1.
    pub line: u64,
    /// The order.
    pub order: OrderId,
    /// Its id within the order.
    pub shipment: ShipmentId,
    /// What it should have brought in; nothing is compared where it is not said.
    pub amount: Option<Money>,
}

/// A shipment as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurShipment {
    /// Its id within the order.
    pub shipment: ShipmentId,
    /// What it was given, where that is known.
    pub amount: Option<Money>,
    /// `Some(true)`: it has its money, or owed none. `Some(false)`: it ended without. `None`: open.
    pub has_its_money: Option<bool>,
    /// Where it stands, in a word.
    pub standing: &'static str,
}

/// Compares the shipments of one order. Says how many agree and how many are still open, beside the
/// differences.
pub fn compare_order(order: &OrderId, expected: &[Expected], ours: &[OurShipment]) -> (u64, u64, Vec<Difference>) {
    let (mut agreed, mut open, mut differences) = (0, 0, Vec::new());
    let known: BTreeMap<&ShipmentId, &OurShipment> = ours.iter().map(|ours| (&ours.shipment, ours)).collect();
    let mut named: BTreeMap<&ShipmentId, u64> = BTreeMap::new();
    let difference = |kind, shipment: &ShipmentId, ours: Option<Money>, theirs: Option<Money>, detail| Difference {
        kind,
        order: Some(order.clone()),
        shipment: Some(shipment.clone()),
        capture: None,
        ours,
        theirs,
        detail,
    };
    for row in expected {
        let (shipment, line) = (&row.shipment, row.line);
        if let Some(first) = named.insert(shipment, line) {
            let detail = format!("on lines {first} and {line} of the file");
            differences.push(difference(Kind::Duplicate, shipment, None, row.amount, detail));
            continue;
        }
        let Some(ours) = known.get(shipment) else {
            let detail = format!("line {line} of the file; no notice of it was ever accepted");
            differences.push(difference(Kind::MissingInLedger, shipment, None, row.amount, detail));
            continue;
        };
        match ours.has_its_money {
            None => open += 1,
            Some(false) => {
                let detail = format!("{}; line {line} of the file", ours.standing);
                differences.push(difference(Kind::NotCaptured, shipment, ours.amount, row.amount, detail));
            }
            Some(true) if row.amount.is_some() && row.amount != ours.amount => {
                let detail = format!("line {line} of the file");
                differences.push(difference(Kind::AmountDiffers, shipment, ours.amount, row.amount, detail));
            }
            Some(true) => agreed += 1,
        }
    }
    let unknown = ours.iter().filter(|ours| !named.contains_key(&ours.shipment));
    let lacks = if expected.is_empty() {
        "the file does not have the order"
    } else {
        "the file has other shipments of the order, not this one"
    };
    differences.extend(unknown.map(|ours| {
        let detail = format!("{}; {lacks}", ours.standing);
        difference(Kind::Foreign, &ours.shipment, ours.amount, None, detail)
    }));
    (agreed, open, differences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    fn money(minor: i64) -> Money {
        Money::from_minor(minor, Currency::parse("EUR").unwrap()).unwrap()
    }

    #[test]
    fn each_difference_has_its_name_and_agreement_has_none() {
        use Kind::{AmountDiffers, Duplicate, Foreign, MissingInLedger, NotCaptured};
        type Row<'a> =
            (&'a str, &'a [(&'a str, Option<i64>)], &'a [(&'a str, i64, Option<bool>)], u64, u64, &'a [Kind]);
        let table: &[Row<'_>] = &[
            (
                "agrees",
                &[("s1", Some(500)), ("s2", None)],
                &[("s2", 1, Some(true)), ("s1", 500, Some(true))],
                2,
                0,
                &[],
            ),
            ("open", &[("s1", Some(500))], &[("s1", 400, None)], 0, 1, &[]),
            ("never heard of", &[("s1", Some(500))], &[], 0, 0, &[MissingInLedger]),
            ("without its money", &[("s1", Some(500))], &[("s1", 500, Some(false))], 0, 0, &[NotCaptured]),
            ("another amount", &[("s1", Some(500))], &[("s1", 499, Some(true))], 0, 0, &[AmountDiffers]),
            ("twice in the file", &[("s1", None), ("s1", None)], &[("s1", 500, Some(true))], 1, 0, &[Duplicate]),
            ("no order of that name", &[], &[("s1", 500, Some(true))], 0, 0, &[Foreign]),
            ("not in the file", &[("s1", None)], &[("s1", 500, Some(true)), ("s2", 1, Some(true))], 1, 0, &[Foreign]),
        ];
        let order = OrderId::parse("ord-1").unwrap();
        for (name, file, ledger, agreed, open, kinds) in table {
            let expected: Vec<Expected> = (1..)
                .zip(*file)
                .map(|(line, &(shipment, minor))| Expected {
                    line,
                    order: order.clone(),
                    shipment: ShipmentId::parse(shipment).unwrap(),
                    amount: minor.map(money),
                })
                .collect();
            let ours: Vec<OurShipment> = ledger
                .iter()
                .map(|&(shipment, minor, has_its_money)| OurShipment {
                    shipment: ShipmentId::parse(shipment).unwrap(),
                    amount: Some(money(minor)),
                    has_its_money,
                    standing: "captured",
                })
                .collect();
            let (same, pending, differences) = compare_order(&order, &expected, &ours);
            assert_eq!((same, pending), (*agreed, *open), "{name}");
            assert_eq!(differences.iter().map(|found| found.kind).collect::<Vec<_>>(), *kinds, "{name}");
        }
    }
}
