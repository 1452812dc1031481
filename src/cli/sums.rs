//! Money of one currency for programs, and what amounts of several come to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::text::{self, Amount};
use crate::money::Money;

/// An amount with its currency.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sum {
    pub(super) amount: Amount,
    currency: String,
}

impl From<Money> for Sum {
    fn from(money: Money) -> Self {
        Self { amount: Amount(money), currency: money.currency().to_string() }
    }
}

/// `12.00 EUR and 3.00 GEL`, or a dash.
pub(super) fn sums_in_words(sums: &[Sum]) -> String {
    let words: Vec<String> = sums.iter().map(|Sum { amount: Amount(money), .. }| money.to_string()).collect();
    if words.is_empty() { text::NOTHING.to_owned() } else { words.join(" and ") }
}

/// Adds up what is in one currency each.
pub(super) fn add_up(amounts: impl Iterator<Item = Money>) -> Vec<Sum> {
    let mut sums: BTreeMap<String, Money> = BTreeMap::new();
    for amount in amounts {
        let sum = sums.entry(amount.currency().to_string()).or_insert(Money::zero(amount.currency()));
        // More than the integer holds is not shown as less.
        *sum = sum.checked_add(amount).unwrap_or(*sum);
    }
    sums.into_values().map(Sum::from).collect()
}
