//! How the amounts came about, for people and for programs: the numbers that the plan tells, put in
//! columns.

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::capture::notice::ShippingPolicy;
use crate::capture::plan::{FeeWorking, LineWorking, Rounding, Working};
use crate::capture::records::AmountMode;
use crate::cli::output::table;
use crate::cli::text::Amount;
use crate::ledger::report::Story;
use crate::money::Money;

/// The workings of a story's shipments and fees. `None` where no plan gave an amount to any of them.
pub(super) fn amounts(story: &Story) -> Option<Table> {
    let plan = story.order.plan.as_ref().filter(|_| story.order.mode == Some(AmountMode::Planned))?;
    let earned = format!("EARNED ({})", plan.currency());
    let mut amounts = table(&["SHIPMENT", "WHAT EARNS", "OWES IN ALL", "SHIPPED SO FAR", &earned]);
    for column in [2, 3, 4] {
        amounts.column_mut(column).expect("there are five").set_cell_alignment(CellAlignment::Right);
    }
    for told in &story.shipments {
        if let Some(amount) = told.shipment.amount {
            amounts.add_rows(rows(told.shipment.id.to_string(), told.working.as_ref(), amount));
        }
    }
    for fee in &story.fees {
        amounts.add_rows(rows(format!("fee {}", fee.number), fee.working.as_ref(), fee.amount));
    }
    (!amounts.is_empty()).then_some(amounts)
}

fn rows(about: String, working: Option<&Working>, amount: Money) -> Vec<[String; 5]> {
    let row =
        |what: &str, [whole, shipped, earned]: [String; 3]| [String::new(), what.to_owned(), whole, shipped, earned];
    let result = |what: &str, amount| row(what, [String::new(), String::new(), major(amount)]);
    let changed = || {
        let words = "the plan or the account has changed since, or more was cancelled";
        vec![row(words, [const { String::new() }; 3])]
    };
    let steps = |working: &Working| {
        let lines = working.lines.iter().map(|line| row(&format!("line {}", line.line), of_line(line)));
        let fee = Some(working.fee).filter(|fee| !fee.whole.is_zero());
        let fee = fee.map(|fee| row(&format!("delivery, {}", policy_words(fee.policy)), of_fee(&fee, working.goods)));
        let earned = result("earned so far", working.earned);
        let rounded =
            |it: Rounding| result(&format!("rounded down to a multiple of {}", major(it.quantum)), it.rounded);
        let rounded = working.rounding.map(rounded);
        let before = result("less the amounts before", working.stored);
        lines.chain(fee).chain([earned]).chain(rounded).chain([before]).collect()
    };
    let mut rows: Vec<_> = working.map_or_else(changed, steps);
    rows.push(result("amount", amount));
    rows[0][0] = about;
    rows
}

fn of_line(line: &LineWorking) -> [String; 3] {
    [major(line.share), format!("{} of {}", line.shipped, line.ordered), major(line.earned)]
}

fn of_fee(fee: &FeeWorking, goods: Money) -> [String; 3] {
    let shipped = match fee.policy {
        ShippingPolicy::Prorate => format!("{} of {}", major(goods), major(fee.goods_due)),
        ShippingPolicy::First | ShippingPolicy::Last => String::new(),
    };
    [major(fee.whole), shipped, major(fee.earned)]
}

/// When the fee is earned, in words.
pub(super) const fn policy_words(policy: ShippingPolicy) -> &'static str {
    match policy {
        ShippingPolicy::Prorate => "in proportion to the goods",
        ShippingPolicy::First => "with the first shipment",
        ShippingPolicy::Last => "with the last shipment",
    }
}

/// When the fee is earned, as messages say it.
pub(super) const fn policy_word(policy: ShippingPolicy) -> &'static str {
    match policy {
        ShippingPolicy::Prorate => "prorate",
        ShippingPolicy::First => "first",
        ShippingPolicy::Last => "last",
    }
}

fn major(amount: Money) -> String {
    amount.to_major().to_string()
}

/// The same for programs.
#[derive(Serialize)]
pub(super) struct WorkingView<'a> {
    lines: Vec<LineView<'a>>,
    goods: Amount,
    shipping: FeeView,
    earned_so_far: Amount,
    rounding: Option<RoundingView>,
    given_before: Amount,
    amount: Amount,
}

#[derive(Serialize)]
struct LineView<'a> {
    line_id: &'a str,
    share: Amount,
    shipped_so_far: String,
    ordered: String,
    earned: Amount,
}

#[derive(Serialize)]
struct FeeView {
    policy: &'static str,
    whole: Amount,
    goods_due: Amount,
    earned: Amount,
}

#[derive(Serialize)]
struct RoundingView {
    quantum: Amount,
    rounded: Amount,
}

impl From<Rounding> for RoundingView {
    fn from(rounding: Rounding) -> Self {
        Self { quantum: Amount(rounding.quantum), rounded: Amount(rounding.rounded) }
    }
}

impl<'a> From<&'a Working> for WorkingView<'a> {
    fn from(working: &'a Working) -> Self {
        let line = |line: &'a LineWorking| LineView {
            line_id: line.line.as_str(),
            share: Amount(line.share),
            shipped_so_far: line.shipped.to_string(),
            ordered: line.ordered.to_string(),
            earned: Amount(line.earned),
        };
        let fee = &working.fee;
        Self {
            lines: working.lines.iter().map(line).collect(),
            goods: Amount(working.goods),
            shipping: FeeView {
                policy: policy_word(fee.policy),
                whole: Amount(fee.whole),
                goods_due: Amount(fee.goods_due),
                earned: Amount(fee.earned),
            },
            earned_so_far: Amount(working.earned),
            rounding: working.rounding.map(RoundingView::from),
            given_before: Amount(working.stored),
            amount: Amount(working.amount),
        }
    }
}
