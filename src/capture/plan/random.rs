//! Random orders: what they owe, how they are split into shipments, and in which order those arrive.

use proptest::prelude::*;

use super::*;
use crate::capture::notice::ShippedLine;

const POLICIES: [ShippingPolicy; 3] = [ShippingPolicy::Prorate, ShippingPolicy::First, ShippingPolicy::Last];
/// 0, 2, 3 and 4 decimals. No currency has one.
const CURRENCIES: [&str; 4] = ["JPY", "EUR", "KWD", "CLF"];
/// The most shipments a random order is split into.
pub(crate) const SHIPMENTS_MAX: usize = 6;

/// A random order, in minor units and in steps of a line's smallest quantity.
#[derive(Debug, Clone)]
pub(crate) struct RandomOrder {
    pub(crate) currency: usize,
    pub(crate) policy: usize,
    pub(crate) lines: Vec<RandomLine>,
    pub(crate) discount_percent: i64,
    pub(crate) tax_percent: i64,
    pub(crate) shipping: i64,
    /// In percent of everything, the delivery fee included.
    pub(crate) tender_percent: i64,
    /// How many shipments the order goes out in, at most (empty ones are left out).
    pub(crate) shipments: usize,
    /// Sorting the shipments by their bytes gives the order of arrival.
    pub(crate) arrival: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct RandomLine {
    pub(crate) steps: i64,
    pub(crate) millionths_per_step: i64,
    pub(crate) total: i64,
    /// A byte for each shipment: how much of the line goes with it, in proportion.
    pub(crate) split: u64,
}

/// Any order that can be, the odd ones often: free lines, whole discounts, the smallest quantities.
pub(crate) fn any_order() -> impl Strategy<Value = RandomOrder> {
    let percent = || prop_oneof![1 => Just(0_i64), 2 => 0..=100_i64];
    let shipping = prop_oneof![1 => Just(0_i64), 3 => 1..3_000_i64];
    let rest = (0..CURRENCIES.len(), 0..POLICIES.len(), 1..=SHIPMENTS_MAX, any::<u64>());
    (prop::collection::vec(any_line(), 1..=8), percent(), 0..=25_i64, shipping, percent(), rest).prop_map(
        |(lines, discount_percent, tax_percent, shipping, tender_percent, (currency, policy, shipments, arrival))| {
            RandomOrder {
                currency,
                policy,
                lines,
                discount_percent,
                tax_percent,
                shipping,
                tender_percent,
                shipments,
                arrival,
            }
        },
    )
}

fn any_line() -> impl Strategy<Value = RandomLine> {
    let total = prop_oneof![2 => Just(0_i64), 4 => 1..100_i64, 8 => 1..100_000_i64, 1 => 1..90_000_000_000_i64];
    let step = prop_oneof![3 => Just(1_000_000_i64), 1 => Just(250_000_i64), 1 => Just(1_000_i64), 1 => Just(1_i64)];
    (1..40_i64, step, total, any::<u64>()).prop_map(|(steps, millionths_per_step, total, split)| RandomLine {
        steps,
        millionths_per_step,
        total,
        split,
    })
}

/// Quantities by line, in millionths.
pub(crate) type Parcel = Vec<i64>;

impl RandomOrder {
    pub(crate) fn goods(&self) -> i64 {
        self.lines.iter().map(|line| line.total).sum()
    }

    fn discount(&self) -> i64 {
        self.goods() * self.discount_percent / 100
    }

    fn tax(&self) -> i64 {
        (self.goods() - self.discount()) * self.tax_percent / 100
    }

    fn other_tender(&self) -> i64 {
        (self.goods() - self.discount() + self.tax() + self.shipping) * self.tender_percent / 100
    }

    pub(crate) fn total(&self) -> i64 {
        self.goods() - self.discount() + self.tax() + self.shipping - self.other_tender()
    }

    pub(crate) fn currency(&self) -> Currency {
        Currency::parse(CURRENCIES[self.currency]).unwrap()
    }

    pub(crate) fn money(&self, minor: i64) -> Money {
        Money::from_minor(minor, self.currency()).unwrap()
    }

    /// What an order system would send.
    pub(crate) fn facts(&self) -> PlanFacts {
        let major = |minor| self.money(minor).to_major();
        let line = |(index, line): (usize, &RandomLine)| PlanLineFacts {
            line: line_id(index),
            quantity: Quantity::from_millionths(line.ordered()).unwrap(),
            total: major(line.total),
        };
        PlanFacts {
            revision: 1,
            lines: self.lines.iter().enumerate().map(line).collect(),
            discount: major(self.discount()),
            tax: major(self.tax()),
            shipping: major(self.shipping),
            shipping_policy: POLICIES[self.policy],
            other_tender: major(self.other_tender()),
            total: major(self.total()),
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan::register(&self.facts(), self.currency()).unwrap()
    }

    /// The whole order in shipments, none of them empty, in order of arrival.
    pub(crate) fn parcels(&self) -> Vec<Parcel> {
        let mut parcels = vec![vec![0; self.lines.len()]; self.shipments];
        for (index, line) in self.lines.iter().enumerate() {
            let weights: Vec<i64> = line.split.to_le_bytes()[..self.shipments].iter().map(|&b| i64::from(b)).collect();
            let whole = weights.iter().sum::<i64>().max(1);
            let (mut weight, mut before) = (0, 0);
            for (number, parcel) in parcels.iter_mut().enumerate() {
                weight += weights[number];
                let until = if number + 1 == self.shipments { line.steps } else { line.steps * weight / whole };
                parcel[index] = (until - before) * line.millionths_per_step;
                before = until;
            }
        }
        let keys = self.arrival.to_le_bytes();
        let mut numbered: Vec<(usize, Parcel)> = parcels.into_iter().enumerate().collect();
        numbered.sort_by_key(|(number, _)| keys[*number]);
        let not_empty = |parcel: &Parcel| parcel.iter().any(|&quantity| quantity > 0);
        numbered.into_iter().map(|(_, parcel)| parcel).filter(not_empty).collect()
    }
}

impl RandomLine {
    /// In millionths of a unit.
    pub(crate) const fn ordered(&self) -> i64 {
        self.steps * self.millionths_per_step
    }
}

/// A line of a random order by its place.
pub(crate) fn line_id(index: usize) -> LineId {
    LineId::parse(&format!("l{index}")).unwrap()
}

/// What a notice says of a parcel.
pub(crate) fn shipped_lines(parcel: &Parcel) -> Vec<ShippedLine> {
    let line = |(index, &millionths)| ShippedLine {
        line: line_id(index),
        quantity: Quantity::from_millionths(millionths).unwrap(),
    };
    parcel.iter().enumerate().filter(|(_, quantity)| **quantity > 0).map(line).collect()
}
