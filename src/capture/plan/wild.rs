//! Three formulas that shop systems use instead, beside ours, over seeded random orders such as shops
//! have. The README shows what this prints.
//!
//! `cargo test --lib formulas -- --nocapture` prints the table.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::random::{Parcel, RandomLine, RandomOrder};
use super::*;

const ORDERS: usize = 20_000;
const SEED: u64 = 1;

/// What the amounts of a whole order add up to.
type Formula = fn(&RandomOrder, &Plan, &[Parcel]) -> i64;

/// How the table calls each of them.
const FORMULAS: [(&str, Formula); 4] = [
    ("each shipment: the line's total with its discount and tax, times units, rounded", by_line),
    ("rounded price of one unit, discount and tax inside, times units", by_unit_price),
    ("the order's total in proportion to the goods in the shipment, rounded", by_value),
    ("Holdfast", ours),
];

/// `amount · part / whole` rounded half up, nothing of nothing.
fn rounded(amount: i64, part: i64, whole: i64) -> i64 {
    if whole == 0 { 0 } else { round_half_up(amount, part, whole) }
}

/// What the goods in a parcel come to before discount and tax; the shops' measure for the fee.
fn value(order: &RandomOrder, parcel: &Parcel) -> i64 {
    order.lines.iter().zip(parcel).map(|(line, &quantity)| rounded(line.total, quantity, line.ordered())).sum()
}

fn fee(order: &RandomOrder, plan: &Plan, parcel: &Parcel) -> i64 {
    rounded(plan.fee().minor(), value(order, parcel), order.goods())
}

fn by_line(order: &RandomOrder, plan: &Plan, parcels: &[Parcel]) -> i64 {
    let line = |(line, &quantity): (&PlanLine, &i64)| rounded(line.share, quantity, line.ordered.millionths());
    let goods = |parcel: &Parcel| plan.lines().iter().zip(parcel).map(line).sum::<i64>();
    parcels.iter().map(|parcel| goods(parcel) + fee(order, plan, parcel)).sum()
}

fn by_unit_price(order: &RandomOrder, plan: &Plan, parcels: &[Parcel]) -> i64 {
    let line = |((line, random), &quantity): ((&PlanLine, &RandomLine), &i64)| {
        rounded(line.share, 1, random.steps) * (quantity / random.millionths_per_step)
    };
    let goods = |parcel: &Parcel| plan.lines().iter().zip(&order.lines).zip(parcel).map(line).sum::<i64>();
    parcels.iter().map(|parcel| goods(parcel) + fee(order, plan, parcel)).sum()
}

fn by_value(order: &RandomOrder, _: &Plan, parcels: &[Parcel]) -> i64 {
    parcels.iter().map(|parcel| rounded(order.total(), value(order, parcel), order.goods())).sum()
}

fn ours(_: &RandomOrder, plan: &Plan, parcels: &[Parcel]) -> i64 {
    let mut progress = vec![LineProgress::default(); plan.lines().len()];
    let mut stored = Money::zero(plan.currency());
    for parcel in parcels {
        for (at, &millionths) in progress.iter_mut().zip(parcel) {
            at.shipped = at.shipped.plus(Quantity::from_millionths(millionths).unwrap());
        }
        let amount = share_of(plan.earned(&progress), stored);
        stored = stored.checked_add(amount).unwrap();
    }
    stored.minor()
}

/// One to six lines of up to five units at up to 200.00, often a discount, tax and a delivery fee, in
/// euro.
fn shop_order(rng: &mut ChaCha8Rng) -> RandomOrder {
    let count = rng.random_range(1..=6);
    let lines = (0..count).map(|_| {
        let steps = rng.random_range(1..=5);
        RandomLine {
            steps,
            millionths_per_step: 1_000_000,
            total: steps * rng.random_range(50..=20_000),
            split: rng.random(),
        }
    });
    RandomOrder {
        currency: 1,
        policy: 0,
        lines: lines.collect(),
        discount_percent: if rng.random() { rng.random_range(1..=30) } else { 0 },
        tax_percent: rng.random_range(0..=25),
        shipping: if rng.random() { rng.random_range(100..=1_500) } else { 0 },
        tender_percent: 0,
        shipments: rng.random_range(2..=5),
        arrival: rng.random(),
    }
}

#[derive(Default)]
struct Tally {
    missed: usize,
    over: usize,
    largest: i64,
}

#[test]
fn the_usual_formulas_miss_the_total_and_ours_does_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut tallies = FORMULAS.map(|_| Tally::default());
    let mut orders = 0;
    while orders < ORDERS {
        let order = shop_order(&mut rng);
        let parcels = order.parcels();
        if parcels.len() < 2 {
            continue;
        }
        orders += 1;
        let plan = order.plan();
        for (tally, (_, formula)) in tallies.iter_mut().zip(FORMULAS) {
            let error = formula(&order, &plan, &parcels) - order.total();
            tally.missed += usize::from(error != 0);
            tally.over += usize::from(error > 0);
            tally.largest = tally.largest.max(error.abs());
        }
    }
    let table = table(&tallies);
    print(&table);
    let [naive @ .., ours] = &tallies;
    assert_eq!((ours.missed, ours.over, ours.largest), (0, 0, 0));
    assert!(naive.iter().all(|tally| tally.missed > ORDERS / 10), "{table}");
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&table), "the README shows another table than this:\n{table}");
}

#[expect(clippy::print_stdout, reason = "whoever runs this test with --nocapture wants to see the table")]
fn print(table: &str) {
    println!("{table}");
}

/// As the README shows it.
fn table(tallies: &[Tally]) -> String {
    let percent = |count: usize| {
        let per_mille = (count * 1_000 + ORDERS / 2) / ORDERS;
        format!("{}.{} %", per_mille / 10, per_mille % 10)
    };
    let cents = |cents: i64| if cents == 0 { "-".to_owned() } else { format!("{cents} cents") };
    let row = |((name, _), tally): (&(&str, Formula), &Tally)| {
        format!("| {name} | {} | {} | {} |", percent(tally.missed), percent(tally.over), cents(tally.largest))
    };
    let rows: Vec<String> = FORMULAS.iter().zip(tallies).map(row).collect();
    let head = "| how a shipment's amount comes about | sum misses the total | sum is more than it | furthest off |";
    format!("{head}\n|---|---|---|---|\n{}", rows.join("\n"))
}
