//! How an amount came about, in parts that somebody can check with a pencil.
//!
//! Every number comes from the functions that the amount itself comes from; there is no second
//! formula here. It does not say when something happened, and words nothing.

use super::{LineProgress, Plan, PlanLine, expected, line_owes, round_down, share_of, shipped};
use crate::capture::notice::{Quantity, ShippedLine, ShippingPolicy};
use crate::ids::LineId;
use crate::money::Money;

/// How one amount came about: lines and fee make what is earned so far, rounded where the account has
/// it so, and the amount is that less what was stored before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Working {
    /// The lines of which something has shipped so far, in the order of the plan.
    pub lines: Vec<LineWorking>,
    /// What they have earned together.
    pub goods: Money,
    /// The delivery fee.
    pub fee: FeeWorking,
    /// What all shipments so far have earned together: goods and fee.
    pub earned: Money,
    /// That as a multiple; `None` where amounts need not be multiples of anything.
    pub rounding: Option<Rounding>,
    /// The sum of the amounts of the shipments before.
    pub stored: Money,
    /// What was left for this one.
    pub amount: Money,
}

/// How much of one line is earned: its share, times shipped, divided by ordered, rounded half up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineWorking {
    /// The line.
    pub line: LineId,
    /// What the whole line owes.
    pub share: Money,
    /// Units shipped so far.
    pub shipped: Quantity,
    /// Units ordered.
    pub ordered: Quantity,
    /// What the shipped units have earned.
    pub earned: Money,
}

/// How much of the delivery fee is earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeWorking {
    /// When it is earned.
    pub policy: ShippingPolicy,
    /// The whole fee.
    pub whole: Money,
    /// What all goods that will ever ship come to. A fee in proportion to the goods is the whole fee,
    /// times the goods earned so far, divided by this, rounded half up; all of it, once anything has
    /// shipped, where this is nothing.
    pub goods_due: Money,
    /// What is earned of it so far.
    pub earned: Money,
}

/// What is earned so far, where amounts must be multiples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounding {
    /// Of this.
    pub quantum: Money,
    /// What is earned, rounded down.
    pub rounded: Money,
}

/// A shipment that was given an amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// What shipped.
    pub lines: Vec<ShippedLine>,
    /// What it was given.
    pub amount: Money,
    /// Minor units that amounts on its authorization must be multiples of; 1 where they need not.
    pub quantum: i64,
}

impl Plan {
    /// How the amount of a shipment comes about, where `progress` is how far the order has come with
    /// it, `stored` what those before it were given, and amounts must be multiples of `quantum` minor
    /// units.
    ///
    /// # Panics
    /// When `progress` is not parallel to [`Plan::lines`], `stored` in another currency, or `quantum`
    /// not positive.
    pub fn working(&self, progress: &[LineProgress], stored: Money, quantum: i64) -> Working {
        let goods = self.goods(progress, shipped);
        let line = |(line, at): (&PlanLine, LineProgress)| LineWorking {
            line: line.line.clone(),
            share: self.money(line.share),
            shipped: shipped(line, at),
            ordered: line.ordered,
            earned: self.money(line_owes(line, shipped(line, at))),
        };
        let fee = FeeWorking {
            policy: self.shipping_policy(),
            whole: self.fee(),
            goods_due: self.money(self.goods(progress, expected)),
            earned: self.money(self.fee_earned(goods, progress)),
        };
        let earned = self.earned(progress);
        let rounded = round_down(earned, quantum);
        Working {
            lines: self.with_progress(progress).filter(|(_, at)| !at.shipped.is_zero()).map(line).collect(),
            goods: self.money(goods),
            fee,
            earned,
            rounding: (quantum > 1).then(|| Rounding { quantum: self.money(quantum), rounded }),
            stored,
            amount: share_of(rounded, stored),
        }
    }

    /// How the amounts of an order came about, told again from the plan as it stands, for shipments
    /// in the order in which they were given their amounts. A fee that was given an amount of its own
    /// is one without lines.
    ///
    /// Units that are cancelled by `now` may have been cancelled before or after a shipment, and all
    /// that had not shipped may have counted as cancelled for a while; and amounts may have been free
    /// to be anything when a shipment came: what leads to the stored amount is what was. `None` where
    /// nothing does, because the plan was revised since, more units were cancelled than then, or
    /// amounts had to be multiples of something else.
    ///
    /// # Panics
    /// When `now` is not parallel to [`Plan::lines`].
    pub fn retrace(&self, now: &[LineProgress], given: &[Given]) -> Vec<Option<Working>> {
        assert_eq!(now.len(), self.lines().len(), "progress is parallel to the plan's lines");
        let mut so_far = vec![Quantity::ZERO; now.len()];
        let mut stored = Money::zero(self.currency());
        let tell = |given: &Given| {
            let before = stored;
            stored = stored.checked_add(given.amount).ok()?;
            for line in &given.lines {
                let shipped = &mut so_far[self.line_index(&line.line)?];
                *shipped = shipped.plus(line.quantity);
            }
            let cancelled: [fn(Quantity, LineProgress, Quantity) -> Quantity; 3] =
                [|_, _, _| Quantity::ZERO, |_, now, _| now.cancelled, |ordered, _, shipped| ordered.minus(shipped)];
            let candidates = cancelled.into_iter().flat_map(|cancelled| {
                let at = |((line, now), &shipped): ((&PlanLine, &LineProgress), &Quantity)| LineProgress {
                    shipped,
                    cancelled: cancelled(line.ordered, *now, shipped),
                };
                let progress: Vec<_> = self.lines().iter().zip(now).zip(&so_far).map(at).collect();
                [given.quantum, 1].map(|quantum| self.working(&progress, before, quantum))
            });
            candidates.into_iter().find(|working| working.amount == given.amount)
        };
        given.iter().map(tell).collect()
    }
}
