//! How much: what a shipment adds to what its order has earned, under the plan as it stands, or as the
//! sender says.
//!
//! The arithmetic is `plan`'s; here is what an order remembers of it, and the guards: no more units than
//! were ordered, none that were cancelled.

use crate::capture::accept::Stop;
use crate::capture::books::Books;
use crate::capture::decide::Context;
use crate::capture::event::FailureReason;
use crate::capture::notice::{Quantity, ShipmentNotice};
use crate::capture::outcome::Cause;
use crate::capture::plan::{self, LineProgress, Plan};
use crate::capture::records::{AmountMode, AuthorizationKey, Order, OrderKey, ShipmentKey};
use crate::capture::restored::found;
use crate::ids::{AccountName, LineId};
use crate::money::{Currency, Money};

/// What an authorization says of amounts on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) currency: Currency,
    /// Amounts are multiples of so many minor units.
    pub(super) quantum: i64,
    /// Less than so many minor units is not captured.
    pub(super) minimum: i64,
}

impl Rules {
    /// Of an account in a currency; an account that is not configured has none.
    pub(super) fn of(account: &AccountName, currency: Currency, context: Context<'_>) -> Self {
        let account = context.policy.accounts.get(account);
        let quantum = account.map_or(1, |account| account.quantum_in(currency));
        let minimum = account.map_or(0, |account| account.minimum_in(currency));
        Self { currency, quantum, minimum }
    }

    /// Of the authorization's account, in its currency.
    pub(super) fn on(books: &Books, authorization: AuthorizationKey, context: Context<'_>) -> Self {
        let record = books.authorization(authorization);
        Self::of(&record.account, record.currency, context)
    }

    /// Down to a multiple.
    fn round(self, earned: Money) -> Money {
        plan::round_down(earned, self.quantum)
    }

    /// Is it a multiple?
    pub(super) const fn allows(self, amount: Money) -> bool {
        amount.minor() % self.quantum == 0
    }

    /// Is it too little to be captured, and more than nothing?
    pub(super) const fn is_too_little(self, amount: Money) -> bool {
        !amount.is_zero() && amount.minor() < self.minimum
    }

    /// Why it is refused.
    pub(super) fn too_little(self, amount: Money) -> Cause {
        let least = Money::from_minor(self.minimum, self.currency).expect("not negative");
        Cause::local(FailureReason::BelowMinimum, &format!("{amount} was earned, the account's minimum is {least}"))
    }
}

/// What a shipment is given, and what its order remembers of it.
pub(super) struct Given {
    pub(super) amount: Money,
    mode: AmountMode,
    progress: Vec<LineProgress>,
}

/// Gives the shipment what it has earned: worked out from the plan, or as the sender says.
pub(super) fn give(
    books: &mut Books,
    notice: &ShipmentNotice,
    shipment: ShipmentKey,
    rules: Rules,
) -> Result<Money, Stop> {
    let order = books.shipment(shipment).order;
    let given = work_out(books.order(order), notice, rules).or_else(|stop| {
        let is_cancelled = matches!(stop, Stop::Refuse { reason: FailureReason::OrderCancelled, .. });
        let before = is_cancelled.then(|| given_before(books, notice, shipment, rules));
        before.flatten().ok_or(stop)
    });
    let Given { mut amount, mode, progress } = given?;
    if mode == AmountMode::Planned {
        let left = found::left_of_plan(books, shipment).map(|left| rules.round(left));
        amount = left.filter(|left| left.minor() < amount.minor()).unwrap_or(amount);
    }
    let record = books.order_mut(order);
    record.progress = progress;
    record.stored = record.stored.saturating_add(amount.minor());
    record.mode = Some(mode);
    Ok(amount)
}

/// What the shipment is given that stands under its key after a restore, though its cancellation has come before it now:
/// it had shipped by then, and only the rest was cancelled.
fn given_before(books: &Books, notice: &ShipmentNotice, shipment: ShipmentKey, rules: Rules) -> Option<Given> {
    found::find_own(books, shipment)?;
    let mut order = books.order(books.shipment(shipment).order).clone();
    order.is_cancelled = false;
    for shipped in &notice.lines {
        let plan = order.plan.as_ref()?;
        let index = plan.line_index(&shipped.line)?;
        let ordered = plan.lines()[index].ordered;
        let line = &mut order.progress[index];
        line.cancelled = line.cancelled.min(ordered.minus(line.shipped.plus(shipped.quantity).min(ordered)));
    }
    work_out(&order, notice, rules).ok()
}

/// What the shipment would be given, or why it would be given nothing.
pub(super) fn work_out(record: &Order, notice: &ShipmentNotice, rules: Rules) -> Result<Given, Stop> {
    let mode = if notice.amount.is_some() { AmountMode::Explicit } else { AmountMode::Planned };
    if record.mode.is_some_and(|fixed| fixed != mode) {
        let message = "the order's first notice fixed how amounts come about (from the plan, or explicit): keep to it";
        return Err(Stop::refuse(FailureReason::PlanMismatch, message));
    }
    match notice.amount {
        Some(_) if record.is_cancelled => {
            Err(Stop::refuse(FailureReason::OrderCancelled, "the whole order was cancelled before"))
        }
        Some(major) => {
            // Checked before registration, unless it is taken from another authorization than it was told of.
            let amount = Money::from_major(major, rules.currency)
                .map_err(|error| Stop::refuse(FailureReason::CurrencyMismatch, error.to_string()))?;
            Ok(Given { amount, mode, progress: record.progress.clone() })
        }
        None => planned(record, notice, rules),
    }
}

/// What the shipment adds to what the order has earned; its units join what has shipped.
fn planned(record: &Order, notice: &ShipmentNotice, rules: Rules) -> Result<Given, Stop> {
    let plan = record.plan.as_ref().expect("a planned notice without a plan waits");
    if plan.currency() != rules.currency {
        let message = format!("the plan is in {}, the authorization in {}", plan.currency(), rules.currency);
        return Err(Stop::refuse(FailureReason::CurrencyMismatch, message));
    }
    let progress = ship(record, plan, notice)?;
    let amount = plan::share_of(rules.round(plan.earned(&record.counted(&progress))), stored(record, plan));
    Ok(Given { amount, mode: AmountMode::Planned, progress })
}

/// The progress after the notice's units have shipped, or why they cannot have.
fn ship(order: &Order, plan: &Plan, notice: &ShipmentNotice) -> Result<Vec<LineProgress>, Stop> {
    let mut progress = order.progress.clone();
    for shipped in &notice.lines {
        let Some(index) = plan.line_index(&shipped.line) else {
            let message = format!("the plan has no line {}", shipped.line);
            return Err(Stop::refuse(FailureReason::PlanMismatch, message));
        };
        let ordered = plan.lines()[index].ordered;
        let line = &mut progress[index];
        let after = line.shipped.plus(shipped.quantity);
        let numbers = |limit: Quantity, what: &str| format!("line {}: {after} shipped of {limit} {what}", shipped.line);
        if after > ordered {
            return Err(Stop::refuse(FailureReason::OverShipped, numbers(ordered, "ordered")));
        }
        let left = ordered.minus(line.cancelled);
        if after > left {
            return Err(Stop::refuse(FailureReason::OrderCancelled, numbers(left, "not cancelled")));
        }
        line.shipped = after;
    }
    Ok(progress)
}

/// What the order has earned beyond what its shipments were given; `None` where that is nothing.
pub(super) fn owed(order: &Order, rules: Rules) -> Option<Money> {
    let plan = order.plan.as_ref()?;
    let earned = rules.round(plan.earned(&order.counted(&order.progress)));
    let owed = plan::share_of(earned, stored(order, plan));
    (!owed.is_zero()).then_some(owed)
}

/// The amounts of shipments that wait, worked out anew under the plan as it stands, in the order of
/// acceptance.
pub(super) fn recompute(books: &mut Books, order: OrderKey, waiting: &[ShipmentKey], rules: Rules) {
    let record = books.order(order);
    let plan = record.plan.clone().expect("planned amounts come from a plan");
    let mut progress = record.counted(&record.progress);
    let mut stored = record.stored;
    for key in waiting {
        let shipment = books.shipment(*key);
        stored -= shipment.amount.map_or(0, Money::minor);
        for shipped in &shipment.lines {
            let line = &mut progress[index_of(&plan, &shipped.line)];
            line.shipped = line.shipped.minus(shipped.quantity);
        }
    }
    for key in waiting {
        for shipped in &books.shipment(*key).lines {
            let line = &mut progress[index_of(&plan, &shipped.line)];
            line.shipped = line.shipped.plus(shipped.quantity);
        }
        let before = Money::from_minor(stored, plan.currency()).expect("a sum of amounts is not negative");
        let amount = plan::share_of(rules.round(plan.earned(&progress)), before);
        stored += amount.minor();
        books.shipment_mut(*key).amount = Some(amount);
    }
    books.order_mut(order).stored = stored;
}

fn stored(order: &Order, plan: &Plan) -> Money {
    Money::from_minor(order.stored, plan.currency()).expect("a sum of amounts is not negative")
}

fn index_of(plan: &Plan, line: &LineId) -> usize {
    plan.line_index(line).expect("checked when it was accepted, and by every revision since")
}
