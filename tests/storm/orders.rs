//! The orders: every currency exponent, several lines and shipments, fees, discounts of what never ships.

use std::ops::{Range, RangeInclusive};

use holdfast::sandbox::{NewAuthorization, OnExpiry, Protocol};
use rand::Rng;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::account::Account;

/// Currencies and their decimals.
const CURRENCIES: [(&str, u32); 5] = [("EUR", 2), ("GEL", 2), ("USD", 2), ("JPY", 0), ("KWD", 3)];

/// An order, as the shipment side knows it.
pub struct Order {
    pub id: String,
    pub account: Account,
    pub reference: String,
    pub currency: &'static str,
    decimals: u32,
    pub authorized: i64,
    pub total: i64,
    shipping: i64,
    /// Units and total of each line.
    lines: Vec<(u32, i64)>,
    /// Units of each line.
    pub shipments: Vec<Vec<u32>>,
    /// Has everything shipped with the last one? Else it says that nothing more will.
    pub is_complete: bool,
    on_expiry: OnExpiry,
}

/// How many orders there are at each account of a kind, and of how many shipments.
pub struct Size {
    pub orders: usize,
    pub shipments: RangeInclusive<u32>,
}

/// All of them, the same for the same seed: at accounts that capture several times, and at those that
/// capture once.
pub fn random(rng: &mut impl Rng, accounts: &[Account], several: &Size, once: &Size) -> Vec<Order> {
    let mut orders = Vec::new();
    for account in accounts {
        let size = if account.is_single() { once } else { several };
        for number in 0..size.orders {
            let (least, most) = (*size.shipments.start(), *size.shipments.end());
            let shipments = if least == most { most } else { rng.random_range(least..=most) };
            orders.push(Order::random(rng, *account, number, shipments));
        }
    }
    orders
}

/// So many more at each account, with such numbers in their ids.
#[allow(dead_code, reason = "only what goes on and on needs more of them")]
pub fn more(rng: &mut impl Rng, accounts: &[Account], numbers: Range<usize>, shipments: u32) -> Vec<Order> {
    let mut orders = Vec::new();
    for number in numbers {
        orders.extend(accounts.iter().map(|account| Order::random(rng, *account, number, shipments)));
    }
    orders
}

impl Order {
    fn random(rng: &mut impl Rng, account: Account, number: usize, count: u32) -> Self {
        let id = format!("{}-{number}", account.name());
        let mut lines: Vec<(u32, i64)> =
            (0..rng.random_range(1..=3)).map(|_| (rng.random_range(1..=4), rng.random_range(50..9_999))).collect();
        // Every shipment has at least one unit of the first line.
        lines[0].0 = rng.random_range(count..=count + 3);
        let is_complete = rng.random_ratio(7, 8);
        let mut shipments = vec![vec![0; lines.len()]; usize::try_from(count).unwrap()];
        for (line, (units, _)) in lines.iter().enumerate() {
            let left_out = u32::from(!is_complete && line == 0 && *units > count);
            for unit in 0..units - left_out {
                let fixed = usize::try_from(unit).unwrap();
                let of = if line == 0 && unit < count { fixed } else { rng.random_range(0..shipments.len()) };
                shipments[of][line] += 1;
            }
        }
        let is_complete = is_complete || lines[0].0 == count;
        let (currency, decimals) = CURRENCIES[rng.random_range(0..CURRENCIES.len())];
        let shipping = if rng.random_ratio(1, 2) { rng.random_range(1..900) } else { 0 };
        let total = lines.iter().map(|(_, total)| total).sum::<i64>() + shipping;
        Self {
            reference: match account.protocol {
                Protocol::FlexPay => Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes()).to_string(),
                Protocol::Flitt | Protocol::Fondy => format!("{id}-ref"),
            },
            id,
            account,
            currency,
            decimals,
            authorized: if rng.random() { total } else { total + rng.random_range(1..1_000) },
            total,
            shipping,
            lines,
            shipments,
            is_complete,
            on_expiry: if rng.random() { OnExpiry::Capture } else { OnExpiry::Release },
        }
    }

    /// The money that is held for it.
    pub fn authorization(&self) -> NewAuthorization {
        NewAuthorization {
            protocol: Some(self.account.protocol),
            reference: Some(self.reference.clone()),
            amount_minor: self.authorized,
            currency: self.currency.to_owned(),
            on_expiry: self.on_expiry,
            ..NewAuthorization::default()
        }
    }

    /// The notice of a shipment.
    pub fn shipped(&self, number: usize) -> Value {
        let units = self.shipments[number].iter().enumerate().filter(|(_, units)| **units > 0);
        let plan = self.lines.iter().enumerate().map(
            |(line, (units, total))| json!({ "line_id": format!("l{line}"), "quantity": units, "total": self.major(*total) }),
        );
        json!({
            "specversion": "1.0",
            "id": format!("{}-{number}", self.id),
            "source": "/test/warehouse",
            "type": "order.shipped",
            "data": {
                "order_id": self.id,
                "shipment_id": format!("s{number}"),
                "final": !self.is_complete && number + 1 == self.shipments.len(),
                "lines": units.map(|(line, units)| json!({ "line_id": format!("l{line}"), "quantity": units })).collect::<Vec<_>>(),
                "authorization": {
                    "account": self.account.name(),
                    "reference": self.reference,
                    "currency": self.currency,
                    "amount": self.major(self.authorized),
                    "expires_at": holdfast::clock::now() + chrono::TimeDelta::days(7),
                },
                "plan": {
                    "lines": plan.collect::<Vec<_>>(),
                    "shipping": self.major(self.shipping),
                    "total": self.major(self.total),
                },
            },
        })
    }

    fn major(&self, minor: i64) -> String {
        rust_decimal::Decimal::new(minor, self.decimals).to_string()
    }
}

/// A decimal text in minor units of its currency.
pub fn minor(major: &str, currency: &str) -> i64 {
    let (_, decimals) = CURRENCIES.into_iter().find(|(code, _)| *code == currency).expect("one of ours");
    let (whole, fraction) = major.split_once('.').unwrap_or((major, ""));
    assert_eq!(fraction.len(), usize::try_from(decimals).unwrap(), "{major} {currency}");
    format!("{whole}{fraction}").parse().unwrap()
}
