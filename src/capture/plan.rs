//! What an order owes, spread over its lines once, and how much of it the shipments so far have earned.
//!
//! Rounding each shipment by itself misses the order's total often (a test counts how often). Here
//! two rules keep the sum exact. When a plan is registered, the total without the delivery fee is
//! spread over the lines by largest remainder, once. Afterwards what is rounded is what *all*
//! shipments so far have earned, and a shipment's amount is what that adds to the amounts before.
//! So the amounts of a complete order add up to its total, whatever the split and the order of
//! arrival; none is negative; no prefix exceeds the total; and no line is ever more than half a minor
//! unit away from exact.
//!
//! It does not know shipments, authorizations or captures, does not guard against shipping more than
//! was ordered (acceptance does), and remembers nothing: the stored amounts are the ledger's. There is
//! no floating point here: products of two `i64` are taken in `i128`, which holds every one of them.

mod working;

use std::cmp::Reverse;
use std::collections::HashSet;

use rust_decimal::Decimal;
use thiserror::Error;

use crate::capture::notice::{PlanFacts, PlanLineFacts, Quantity, ShippingPolicy};
use crate::ids::LineId;
use crate::money::{Currency, Money};

pub use working::{FeeWorking, Given, LineWorking, Rounding, Working};

/// What one authorization owes for a whole order, spread over the order's lines.
///
/// Two plans are equal when their whole content is: that is how a repeated plan is told from another
/// one under the same revision, which is a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    revision: u32,
    currency: Currency,
    /// Minor units of the delivery fee: at least zero, at most the total.
    fee: i64,
    shipping_policy: ShippingPolicy,
    /// Minor units; the fee and the lines' shares add up to it.
    total: i64,
    lines: Vec<PlanLine>,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLine {
    /// The line.
    pub line: LineId,
    /// Units ordered; positive.
    pub ordered: Quantity,
    /// What the whole line owes, discount, tax and other tender inside: minor units of the plan's
    /// currency, zero or more.
    pub share: i64,
}

/// How far one line has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineProgress {
    /// Units in all shipments that were given an amount.
    pub shipped: Quantity,
    /// Units that will never ship.
    pub cancelled: Quantity,
}

/// Why a plan cannot be registered or read back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {message}")]
pub struct PlanProblem {
    /// Where in the plan, such as `total` or `lines[2].total`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Plan {
    /// Checks that the plan adds up, and spreads what it owes over its lines.
    ///
    /// The fee is `shipping`, or the total where that is less. The rest is spread by largest
    /// remainder with the lines' own totals as weights: a free line gets nothing, and of two equal
    /// remainders the earlier line's counts as larger.
    ///
    /// # Errors
    /// [`PlanProblem`] for amounts the currency cannot express, a total that is not Σ lines −
    /// discount + tax + shipping − other tender (with both numbers), something left to spread where
    /// every line is free, no lines at all, a line that appears twice, or one with nothing ordered.
    pub fn register(facts: &PlanFacts, currency: Currency) -> Result<Self, PlanProblem> {
        check_lines(facts.lines.iter().map(|line| (&line.line, line.quantity)))?;
        let weights = line_totals(&facts.lines, currency)?;
        let minor = |path: &str, major| minor_units(path, major, currency);
        let total = minor("total", facts.total)?;
        let shipping = minor("shipping", facts.shipping)?;
        let owed = sum(&weights) - i128::from(minor("discount", facts.discount)?)
            + i128::from(minor("tax", facts.tax)?)
            + i128::from(shipping)
            - i128::from(minor("other_tender", facts.other_tender)?);
        if owed != i128::from(total) {
            let owed = Decimal::from_i128_with_scale(owed, currency.exponent());
            let total = Decimal::from_i128_with_scale(i128::from(total), currency.exponent());
            let message = format!(
                "is {total} {currency}, but lines - discount + tax + shipping - other_tender make {owed}: \
                 send amounts that add up"
            );
            return Err(problem("total", message));
        }
        let fee = shipping.min(total);
        let shares = spread(total - fee, &weights).ok_or_else(|| {
            let message = "are all free, but something besides shipping is owed: put it on a line or into shipping";
            problem("lines", message)
        })?;
        let line =
            |(line, share): (&PlanLineFacts, i64)| PlanLine { line: line.line.clone(), ordered: line.quantity, share };
        let lines = facts.lines.iter().zip(shares).map(line).collect();
        Ok(Self { revision: facts.revision, currency, fee, shipping_policy: facts.shipping_policy, total, lines })
    }

    /// A plan as the ledger kept it; nothing is spread anew.
    ///
    /// # Errors
    /// [`PlanProblem`] for anything [`Plan::register`] could not have made.
    pub fn from_parts(
        revision: u32,
        shipping_policy: ShippingPolicy,
        fee: Money,
        total: Money,
        lines: Vec<PlanLine>,
    ) -> Result<Self, PlanProblem> {
        check_lines(lines.iter().map(|line| (&line.line, line.ordered)))?;
        if let Some(index) = lines.iter().position(|line| line.share < 0) {
            return Err(problem(line_path(index, "share"), "is negative"));
        }
        if fee.currency() != total.currency() {
            return Err(problem("fee", "is in another currency than the total"));
        }
        let shares: Vec<i64> = lines.iter().map(|line| line.share).collect();
        if sum(&shares) + i128::from(fee.minor()) != i128::from(total.minor()) {
            return Err(problem("total", "is not the sum of the fee and the lines' shares"));
        }
        let (currency, fee, total) = (total.currency(), fee.minor(), total.minor());
        Ok(Self { revision, currency, fee, shipping_policy, total, lines })
    }

    /// What all shipments so far have earned together: goods, rounded per line, and the fee as the
    /// shipping policy has it. It never falls while shipments and cancellations come in, and never
    /// exceeds the total. Of more units than were ordered, only the ordered ones count.
    ///
    /// # Panics
    /// When `progress` is not parallel to [`Plan::lines`].
    pub fn earned(&self, progress: &[LineProgress]) -> Money {
        let goods = self.goods(progress, shipped);
        let earned = goods + self.fee_earned(goods, progress);
        self.money(earned)
    }

    /// Has everything shipped that will, and anything at all?
    ///
    /// # Panics
    /// When `progress` is not parallel to [`Plan::lines`].
    pub fn is_complete(&self, progress: &[LineProgress]) -> bool {
        let all = self.with_progress(progress).all(|(line, at)| shipped(line, at) == expected(line, at));
        all && something_shipped(progress)
    }

    /// Where in [`Plan::lines`] a line is; `None` for a line the plan does not know.
    pub fn line_index(&self, line: &LineId) -> Option<usize> {
        self.lines.iter().position(|known| known.line == *line)
    }

    /// Rises with each revision of an order's plan.
    pub const fn revision(&self) -> u32 {
        self.revision
    }

    /// The currency of every amount in it.
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// The delivery fee that is part of the total.
    pub fn fee(&self) -> Money {
        self.money(self.fee)
    }

    /// When the fee is earned.
    pub const fn shipping_policy(&self) -> ShippingPolicy {
        self.shipping_policy
    }

    /// What the whole order owes this authorization.
    pub fn total(&self) -> Money {
        self.money(self.total)
    }

    /// The lines, in the order of the message.
    pub fn lines(&self) -> &[PlanLine] {
        &self.lines
    }

    fn fee_earned(&self, goods: i64, progress: &[LineProgress]) -> i64 {
        let with_first = if something_shipped(progress) { self.fee } else { 0 };
        let with_last = if self.is_complete(progress) { self.fee } else { 0 };
        match self.shipping_policy {
            ShippingPolicy::First => with_first,
            ShippingPolicy::Last => with_last,
            ShippingPolicy::Prorate => {
                let due = self.goods(progress, expected);
                // Free goods give nothing to be in proportion to. With all goods shipped the
                // proportion is one, so a complete order needs no rule of its own.
                if due == 0 { with_first } else { round_half_up(self.fee, goods, due) }
            }
        }
    }

    /// What the given units of each line owe, each line rounded by itself. At most the sum of the
    /// shares, so that it cannot overflow.
    fn goods(&self, progress: &[LineProgress], units: impl Fn(&PlanLine, LineProgress) -> Quantity) -> i64 {
        self.with_progress(progress).map(|(line, at)| line_owes(line, units(line, at))).sum()
    }

    fn with_progress(&self, progress: &[LineProgress]) -> impl Iterator<Item = (&PlanLine, LineProgress)> {
        assert_eq!(progress.len(), self.lines.len(), "progress is parallel to the plan's lines");
        self.lines.iter().zip(progress.iter().copied())
    }

    fn money(&self, minor: i64) -> Money {
        Money::from_minor(minor, self.currency).expect("a plan holds no negative amount")
    }
}

/// The amount of one shipment: what all shipments including it have earned, less what those before
/// it were given. Nothing where those were given more already (a revision lowered the plan).
///
/// # Panics
/// When the two are in different currencies; a plan and its shipments share one.
pub fn share_of(earned: Money, stored: Money) -> Money {
    earned.saturating_sub(stored).expect("a plan and its shipments have one currency")
}

/// Down to a multiple of `quantum` minor units. The total of a plan is one, so a complete order still
/// comes to it.
///
/// # Panics
/// When `quantum` is zero.
pub fn round_down(earned: Money, quantum: i64) -> Money {
    let minor = earned.minor() - earned.minor() % quantum;
    Money::from_minor(minor, earned.currency()).expect("at most what was earned, and not negative")
}

fn check_lines<'a>(lines: impl Iterator<Item = (&'a LineId, Quantity)>) -> Result<(), PlanProblem> {
    let mut seen = HashSet::new();
    for (index, (line, ordered)) in lines.enumerate() {
        if !seen.insert(line) {
            return Err(problem(line_path(index, "line_id"), "appears twice: send one entry per line"));
        }
        if ordered.is_zero() {
            return Err(problem(line_path(index, "quantity"), "is zero: leave out a line that was not ordered"));
        }
    }
    if seen.is_empty() {
        return Err(problem("lines", "is empty: send at least one line"));
    }
    Ok(())
}

fn line_totals(lines: &[PlanLineFacts], currency: Currency) -> Result<Vec<i64>, PlanProblem> {
    let read = |(index, line): (usize, &PlanLineFacts)| minor_units(line_path(index, "total"), line.total, currency);
    lines.iter().enumerate().map(read).collect()
}

fn minor_units(path: impl Into<String>, major: Decimal, currency: Currency) -> Result<i64, PlanProblem> {
    Money::from_major(major, currency).map(Money::minor).map_err(|error| problem(path, error.to_string()))
}

fn sum(minor: &[i64]) -> i128 {
    minor.iter().copied().map(i128::from).sum()
}

/// Spreads `rest` in proportion to `weights` by largest remainder: everybody gets the exact part
/// rounded down, and what is left goes, one each, to the largest fractions, the earlier first.
/// `None` where there is something to spread and no weight.
fn spread(rest: i64, weights: &[i64]) -> Option<Vec<i64>> {
    let whole = sum(weights);
    if whole == 0 {
        return (rest == 0).then(|| vec![0; weights.len()]);
    }
    let exact = |weight: &i64| i128::from(rest) * i128::from(*weight);
    let mut shares: Vec<i64> = weights.iter().map(|weight| at_most_i64(exact(weight) / whole)).collect();
    let mut by_fraction: Vec<usize> = (0..weights.len()).collect();
    // The sort is stable, so that equal fractions stay in the order of the lines.
    by_fraction.sort_by_key(|&index| Reverse(exact(&weights[index]) % whole));
    let given: i64 = shares.iter().sum();
    // Fewer units are left than there are lines with a fraction, so no line without one gets any.
    let left = usize::try_from(rest - given).expect("rounding down gives out at most the rest");
    for index in by_fraction.into_iter().take(left) {
        shares[index] += 1;
    }
    Some(shares)
}

fn shipped(line: &PlanLine, at: LineProgress) -> Quantity {
    at.shipped.min(line.ordered)
}

/// What will ever ship of a line. Cancelling takes away only what has not shipped.
fn expected(line: &PlanLine, at: LineProgress) -> Quantity {
    line.ordered.minus(at.cancelled).max(shipped(line, at))
}

fn something_shipped(progress: &[LineProgress]) -> bool {
    progress.iter().any(|at| !at.shipped.is_zero())
}

fn line_owes(line: &PlanLine, units: Quantity) -> i64 {
    round_half_up(line.share, units.millionths(), line.ordered.millionths())
}

/// `amount · part / whole`, rounded half up. None is negative, `whole` is positive and at least
/// `part`, so that the result is at most `amount`.
fn round_half_up(amount: i64, part: i64, whole: i64) -> i64 {
    let exact = i128::from(amount) * i128::from(part);
    let whole = i128::from(whole);
    let (down, rest) = (exact / whole, exact % whole);
    at_most_i64(if rest >= whole - rest { down + 1 } else { down })
}

fn at_most_i64(minor: i128) -> i64 {
    i64::try_from(minor).expect("a part of an amount is at most the amount")
}

fn line_path(index: usize, field: &str) -> String {
    format!("lines[{index}].{field}")
}

fn problem(path: impl Into<String>, message: impl Into<String>) -> PlanProblem {
    PlanProblem { path: path.into(), message: message.into() }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod random;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wild;
