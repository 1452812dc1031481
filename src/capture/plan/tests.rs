//! Tables for the cases with a name. What holds for every order is in `properties`.

use super::*;
use crate::capture::notice::ShippedLine;

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

fn eur(minor: i64) -> Money {
    Money::from_minor(minor, currency("EUR")).unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn line_facts(line: &str, quantity: &str, total: &str) -> PlanLineFacts {
    PlanLineFacts {
        line: LineId::parse(line).unwrap(),
        quantity: Quantity::from_decimal(decimal(quantity)).unwrap(),
        total: decimal(total),
    }
}

/// A plan without discount, tax, shipping or other tender.
fn goods_only(lines: &[(&str, &str, &str)], total: &str) -> PlanFacts {
    PlanFacts {
        revision: 1,
        lines: lines.iter().map(|(line, quantity, total)| line_facts(line, quantity, total)).collect(),
        discount: Decimal::ZERO,
        tax: Decimal::ZERO,
        shipping: Decimal::ZERO,
        shipping_policy: ShippingPolicy::Prorate,
        other_tender: Decimal::ZERO,
        total: decimal(total),
    }
}

fn example() -> PlanFacts {
    let lines = [("l1", "3", "44.97"), ("l3", "1", "69.13")];
    PlanFacts { shipping: decimal("4.90"), ..goods_only(&lines, "119.00") }
}

fn register(facts: &PlanFacts) -> Plan {
    Plan::register(facts, currency("EUR")).unwrap()
}

fn at(shipped: u32, cancelled: u32) -> LineProgress {
    LineProgress { shipped: Quantity::units(shipped), cancelled: Quantity::units(cancelled) }
}

fn shares(plan: &Plan) -> Vec<i64> {
    plan.lines().iter().map(|line| line.share).collect()
}

#[test]
fn the_example_of_the_message_documentation() {
    let plan = register(&example());
    assert_eq!((plan.fee(), shares(&plan)), (eur(490), vec![4_497, 6_913]));

    let two_of_three = [at(2, 0), at(1, 0)];
    let first = share_of(plan.earned(&two_of_three), eur(0));
    assert_eq!(first, eur(10_337), "29.98 + 69.13 + 4.26 of the fee");
    assert!(!plan.is_complete(&two_of_three));

    let all = [at(3, 0), at(1, 0)];
    assert_eq!(share_of(plan.earned(&all), first), eur(1_563));
    assert!(plan.is_complete(&all));
}

#[test]
fn the_rest_is_spread_by_largest_remainder() {
    for (rest, weights, expected) in [
        (100, vec![1, 1, 1], Some(vec![34, 33, 33])),
        (101, vec![1, 1, 1], Some(vec![34, 34, 33])),
        (5, vec![1, 2, 3], Some(vec![1, 2, 2])),
        (10, vec![0, 3, 0, 3], Some(vec![0, 5, 0, 5])),
        (7, vec![3, 0, 3], Some(vec![4, 0, 3])),
        (1, vec![1, 99], Some(vec![0, 1])),
        (0, vec![5, 5], Some(vec![0, 0])),
        (0, vec![0, 0], Some(vec![0, 0])),
        (1, vec![0, 0], None),
        (i64::MAX, vec![i64::MAX, i64::MAX], Some(vec![i64::MAX / 2 + 1, i64::MAX / 2])),
    ] {
        assert_eq!(spread(rest, &weights), expected, "{rest} over {weights:?}");
    }
}

#[test]
fn halves_are_rounded_up() {
    for (amount, part, whole, expected) in [
        (1, 1, 2, 1),
        (3, 1, 2, 2),
        (1, 1, 3, 0),
        (2, 1, 3, 1),
        (5, 3, 3, 5),
        (5, 0, 3, 0),
        (0, 1, 3, 0),
        (10, 1, 4, 3),
    ] {
        assert_eq!(round_half_up(amount, part, whole), expected, "{amount} · {part} / {whole}");
    }
}

#[test]
fn discount_tax_and_other_tender_are_inside_the_shares() {
    let lines = [("a", "1", "10.00"), ("b", "2", "20.00"), ("free", "1", "0.00")];
    let mut facts = goods_only(&lines, "27.00");
    facts.discount = decimal("5.00");
    facts.tax = decimal("6.00");
    facts.shipping = decimal("4.00");
    facts.other_tender = decimal("8.00");
    let plan = register(&facts);
    assert_eq!((plan.fee(), shares(&plan)), (eur(400), vec![767, 1_533, 0]));

    // A gift card that leaves less than the delivery fee: goods are paid, and part of the fee.
    facts.other_tender = decimal("32.00");
    facts.total = decimal("3.00");
    let plan = register(&facts);
    assert_eq!((plan.fee(), shares(&plan)), (eur(300), vec![0, 0, 0]));
}

#[test]
fn a_plan_that_cannot_be_is_refused_where_it_is_wrong() {
    let refused = |change: fn(&mut PlanFacts), path: &str, message: &str| {
        let mut facts = example();
        change(&mut facts);
        let problem = Plan::register(&facts, currency("EUR")).unwrap_err();
        assert_eq!(problem.path, path, "{problem}");
        assert!(problem.message.contains(message), "{problem}");
    };
    refused(|plan| plan.total = decimal("118.00"), "total", "is 118.00 EUR, but");
    refused(|plan| plan.total = decimal("118.00"), "total", "make 119.00: ");
    refused(|plan| plan.discount = decimal("500"), "total", "make -381.00: ");
    refused(|plan| plan.total = decimal("119.001"), "total", "more than the 2 decimals");
    refused(|plan| plan.discount = decimal("-1"), "discount", "negative");
    refused(|plan| plan.tax = decimal("0.001"), "tax", "decimals");
    refused(|plan| plan.shipping = decimal("1000000000000"), "shipping", "12 integer digits");
    refused(|plan| plan.other_tender = decimal("0.001"), "other_tender", "decimals");
    refused(|plan| plan.lines[1].total = decimal("69.130001"), "lines[1].total", "decimals");
    refused(|plan| plan.lines[1].line = plan.lines[0].line.clone(), "lines[1].line_id", "twice");
    refused(|plan| plan.lines[0].quantity = Quantity::ZERO, "lines[0].quantity", "zero");
    refused(|plan| plan.lines.clear(), "lines", "empty");
    let all_free = |plan: &mut PlanFacts| {
        plan.lines.iter_mut().for_each(|line| line.total = Decimal::ZERO);
        plan.tax = decimal("0.93");
        plan.total = decimal("5.83");
    };
    refused(all_free, "lines", "all free");
}

#[test]
fn the_fee_follows_its_policy() {
    let steps = [
        [at(0, 0), at(0, 0)], // nothing yet
        [at(1, 0), at(0, 0)], // a third of a third of the goods
        [at(3, 0), at(0, 0)], // half the goods
        [at(3, 0), at(1, 0)], // everything
    ];
    for (policy, fees) in [
        (ShippingPolicy::Prorate, [0, 17, 50, 100]),
        (ShippingPolicy::First, [0, 100, 100, 100]),
        (ShippingPolicy::Last, [0, 0, 0, 100]),
    ] {
        let mut facts = goods_only(&[("a", "3", "30.00"), ("b", "1", "30.00")], "61.00");
        facts.shipping = decimal("1.00");
        facts.shipping_policy = policy;
        let plan = register(&facts);
        for (progress, fee) in steps.iter().zip(fees) {
            let goods = plan.goods(progress, shipped);
            assert_eq!(plan.earned(progress), eur(goods + fee), "{policy:?} {progress:?}");
        }
    }
}

#[test]
fn a_fee_on_free_goods_is_earned_with_the_first_of_them() {
    let mut facts = goods_only(&[("a", "2", "0.00")], "1.00");
    facts.shipping = decimal("1.00");
    let plan = register(&facts);
    assert_eq!(plan.earned(&[at(0, 0)]), eur(0));
    assert_eq!(plan.earned(&[at(1, 0)]), eur(100));
}

#[test]
fn cancelled_units_are_not_waited_for() {
    let plan = register(&example());
    for (progress, complete, earned) in [
        ([at(2, 0), at(1, 0)], false, 10_337),
        ([at(2, 1), at(1, 0)], true, 2_998 + 6_913 + 490),
        // Half of what will still ship brings half of the fee: 4.90 · 29.98 / 99.11.
        ([at(2, 1), at(0, 0)], false, 2_998 + 148),
        // A number above what is left takes away only what has not shipped.
        ([at(2, 3), at(1, 0)], true, 2_998 + 6_913 + 490),
        // Nothing shipped: not complete, whatever was cancelled, and nothing is owed.
        ([at(0, 3), at(0, 1)], false, 0),
    ] {
        assert_eq!(plan.is_complete(&progress), complete, "{progress:?}");
        assert_eq!(plan.earned(&progress), eur(earned), "{progress:?}");
    }
}

#[test]
fn more_than_was_ordered_earns_no_more_than_the_total() {
    let plan = register(&example());
    assert_eq!(plan.earned(&[at(9, 0), at(9, 9)]), plan.total());
}

#[test]
fn a_shipment_gets_nothing_where_more_was_given_already() {
    assert_eq!(share_of(eur(100), eur(30)), eur(70));
    assert_eq!(share_of(eur(100), eur(130)), eur(0));
}

#[test]
fn decimal_quantities_and_the_largest_amounts_are_exact() {
    let plan = register(&goods_only(&[("kg", "1.25", "10.00")], "10.00"));
    let at = |text: &str| LineProgress {
        shipped: Quantity::from_decimal(decimal(text)).unwrap(),
        cancelled: Quantity::ZERO,
    };
    assert_eq!(plan.earned(&[at("0.4")]), eur(320));
    assert_eq!(plan.earned(&[at("0.000001")]), eur(0));
    assert_eq!(plan.earned(&[at("1.249999")]), eur(1_000));

    let most = PlanLine {
        line: LineId::parse("most").unwrap(),
        ordered: Quantity::from_millionths(i64::MAX).unwrap(),
        share: i64::MAX,
    };
    let plan = Plan::from_parts(1, ShippingPolicy::Prorate, eur(0), eur(i64::MAX), vec![most]).unwrap();
    let part = LineProgress { shipped: Quantity::from_millionths(i64::MAX - 1).unwrap(), ..LineProgress::default() };
    assert_eq!(plan.earned(&[part]), eur(i64::MAX - 1));
}

#[test]
fn a_plan_is_read_back_as_it_was_and_nothing_else() {
    let plan = register(&example());
    let lines = || plan.lines().to_vec();
    let read = |fee, total, lines| Plan::from_parts(plan.revision(), plan.shipping_policy(), fee, total, lines);
    assert_eq!(read(plan.fee(), plan.total(), lines()), Ok(plan.clone()));
    let mut free = lines();
    free[0].share += free[1].share;
    free[1].share = 0;
    assert!(read(plan.fee(), plan.total(), free).is_ok(), "a line may be free");

    let path = |result: Result<Plan, PlanProblem>| result.unwrap_err().path;
    assert_eq!(path(read(plan.total(), plan.fee(), lines())), "total", "swapped");
    assert_eq!(path(read(Money::zero(currency("USD")), plan.total(), lines())), "fee");
    assert_eq!(path(read(plan.fee(), plan.total(), Vec::new())), "lines");
    let changed = |change: fn(&mut Vec<PlanLine>)| {
        let mut lines = lines();
        change(&mut lines);
        path(read(plan.fee(), plan.total(), lines))
    };
    assert_eq!(changed(|lines| lines[0].share += 1), "total");
    assert_eq!(changed(|lines| lines[1].share = -1), "lines[1].share");
    assert_eq!(changed(|lines| lines[1].ordered = Quantity::ZERO), "lines[1].quantity");
    assert_eq!(changed(|lines| lines[1].line = lines[0].line.clone()), "lines[1].line_id");
}

#[test]
fn the_same_plan_is_equal_and_another_is_not() {
    let plan = register(&example());
    assert_eq!(plan, register(&example()));
    assert_eq!(plan.line_index(&LineId::parse("l3").unwrap()), Some(1));
    assert_eq!(plan.line_index(&LineId::parse("l2").unwrap()), None);
    let changes: [fn(&mut PlanFacts); 5] = [
        |plan| plan.revision = 2,
        |plan| plan.shipping_policy = ShippingPolicy::Last,
        |plan| plan.lines[0].quantity = Quantity::units(4),
        |plan| plan.lines.swap(0, 1),
        |plan| (plan.shipping, plan.tax) = (decimal("4.00"), decimal("0.90")),
    ];
    for change in changes {
        let mut facts = example();
        change(&mut facts);
        assert_ne!(plan, register(&facts), "{facts:?}");
    }
}

#[test]
fn amounts_are_told_again_from_the_plan_and_what_was_cancelled_by_now() {
    let plan = register(&example());
    let given = |line: &str, units, amount| {
        let line = ShippedLine { line: LineId::parse(line).unwrap(), quantity: Quantity::units(units) };
        Given { lines: vec![line], amount: eur(amount), quantum: 1 }
    };
    let fee = |amount| Given { lines: Vec::new(), amount: eur(amount), quantum: 1 };
    let goods_due = |now: &[LineProgress], given: &[Given]| -> Vec<Option<i64>> {
        let workings = plan.retrace(now, given).into_iter();
        workings.map(|told| told.map(|working| working.fee.goods_due.minor())).collect()
    };
    // Nothing was cancelled then: of all goods, 29.98 are due with 1.29 of the fee.
    let (first, last) = (given("l1", 2, 3_127), given("l3", 1, 7_210));
    assert_eq!(goods_due(&[at(2, 0), at(1, 0)], &[first.clone(), last]), [Some(11_410), Some(11_410)]);
    // One l1 was cancelled before the first, or between the two, or after both: then the rest of the
    // fee was given by itself.
    let now = [at(2, 1), at(1, 0)];
    let rest = given("l3", 1, 6_913 + 2_998 + 490 - 3_146);
    assert_eq!(goods_due(&now, &[given("l1", 2, 3_146), rest]), [Some(9_911), Some(9_911)]);
    let rest = given("l3", 1, 6_913 + 2_998 + 490 - 3_127);
    assert_eq!(goods_due(&now, &[first.clone(), rest]), [Some(11_410), Some(9_911)]);
    let given_after = [first.clone(), given("l3", 1, 7_210), fee(64)];
    assert_eq!(goods_due(&now, &given_after), [Some(11_410), Some(11_410), Some(9_911)]);
    // All that had not shipped counted as cancelled, and then some of it shipped after all.
    let closed = [first, fee(361), given("l3", 1, 6_913)];
    assert_eq!(goods_due(&[at(2, 0), at(1, 0)], &closed), [Some(11_410), Some(2_998), Some(9_911)]);
    // Amounts of another plan, and a line that only that one knew; what comes after is told again.
    let other = [given("l1", 2, 3_000), given("l2", 1, 10), given("l3", 1, 10_337 - 3_010)];
    assert_eq!(goods_due(&[at(2, 0), at(1, 0)], &other), [None, None, Some(11_410)]);
}

#[test]
fn where_amounts_are_multiples_the_rounding_is_told() {
    let plan = register(&example());
    let given = |units, amount, quantum| {
        let line = ShippedLine { line: LineId::parse("l1").unwrap(), quantity: Quantity::units(units) };
        Given { lines: vec![line], amount: eur(amount), quantum }
    };
    let rounding = |given: &[Given]| -> Vec<Option<Option<(i64, i64, i64)>>> {
        let step = |working: Working| {
            let of = |it: Rounding| (working.earned.minor(), it.quantum.minor(), it.rounded.minor());
            working.rounding.map(of)
        };
        plan.retrace(&[at(2, 0), at(0, 0)], given).into_iter().map(|told| told.map(step)).collect()
    };
    // 15.63 and 31.27 have been earned.
    let (first, second) = (Some(Some((1_563, 100, 1_500))), Some(Some((3_127, 100, 3_100))));
    assert_eq!(rounding(&[given(1, 1_500, 100), given(1, 1_600, 100)]), [first, second]);
    // The settings ask for multiples since then; or for others, and nobody knows of which.
    assert_eq!(rounding(&[given(1, 1_563, 100), given(1, 1_537, 100)]), [Some(None), second]);
    assert_eq!(rounding(&[given(1, 1_550, 100), given(1, 1_550, 100)]), [None, second]);
}
