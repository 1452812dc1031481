//! What holds for every order, however it is split, whatever is cancelled, in any order of arrival.

use proptest::prelude::*;

use super::random::{Parcel, RandomOrder, SHIPMENTS_MAX, any_order, shipped_lines};
use super::*;

/// For each property. Together well over ten thousand.
const CASES: u32 = 2_048;

/// An order on its way: what the ledger keeps of it, and nothing else.
#[derive(Clone)]
struct Course {
    plan: Plan,
    progress: Vec<LineProgress>,
    stored: Money,
}

impl Course {
    fn new(plan: Plan) -> Self {
        let progress = vec![LineProgress::default(); plan.lines().len()];
        let stored = Money::zero(plan.currency());
        Self { plan, progress, stored }
    }

    /// A shipment is accepted: its amount is worked out once and stored. `None` where it has more
    /// units than are left.
    fn ship(&mut self, parcel: &Parcel) -> Option<Money> {
        let mut progress = self.progress.clone();
        for ((line, at), &millionths) in self.plan.lines().iter().zip(&mut progress).zip(parcel) {
            at.shipped = at.shipped.plus(Quantity::from_millionths(millionths).unwrap());
            if millionths > 0 && at.shipped > line.ordered.minus(at.cancelled) {
                return None;
            }
        }
        self.progress = progress;
        Some(self.store())
    }

    /// What is earned beyond what was given: a shipment's amount, or the fee that a cancellation set
    /// free.
    fn store(&mut self) -> Money {
        let amount = share_of(self.plan.earned(&self.progress), self.stored);
        self.stored = self.stored.checked_add(amount).unwrap();
        amount
    }

    /// Some of what has not shipped is cancelled, on each line so many percent by a byte.
    fn cancel(&mut self, how_much: u64) {
        let bytes = how_much.to_le_bytes();
        for (index, (line, at)) in self.plan.lines().iter().zip(&mut self.progress).enumerate() {
            let left = line.ordered.minus(at.shipped).minus(at.cancelled).millionths();
            // Nearly half of the lines lose nothing, and some everything.
            let part = (i64::from(bytes[index % bytes.len()]) - 100).clamp(0, 100);
            let cancelled = i128::from(left) * i128::from(part) / 100;
            at.cancelled = at.cancelled.plus(Quantity::from_millionths(i64::try_from(cancelled).unwrap()).unwrap());
        }
    }

    fn cancel_the_rest(&mut self) {
        for (line, at) in self.plan.lines().iter().zip(&mut self.progress) {
            at.cancelled = line.ordered.minus(at.shipped);
        }
    }

    fn earned(&self) -> Money {
        self.plan.earned(&self.progress)
    }

    /// What the units that have shipped owe.
    fn goods(&self) -> i64 {
        self.plan.goods(&self.progress, shipped)
    }
}

/// A random order with something cancelled before each of its shipments, or nothing. Shipments of
/// cancelled units are refused. Looks at the course after every step.
fn run(
    order: &RandomOrder,
    cancelling: &[u64],
    mut look: impl FnMut(&Course) -> Result<(), TestCaseError>,
) -> Result<Course, TestCaseError> {
    let mut course = Course::new(order.plan());
    for (number, parcel) in order.parcels().iter().enumerate() {
        if let Some(how_much) = cancelling.get(number) {
            course.cancel(*how_much);
            look(&course)?;
        }
        course.ship(parcel);
        look(&course)?;
    }
    Ok(course)
}

fn any_cancelling() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![1 => Just(0_u64), 1 => any::<u64>()], 0..=SHIPMENTS_MAX)
}

/// A higher revision of an order: other totals and quantities, never fewer units than have shipped.
fn revised(order: &RandomOrder, course: &Course, changes: &[(u8, u8)], shipping: i64) -> RandomOrder {
    let mut revised = RandomOrder { shipping, ..order.clone() };
    for (index, (line, at)) in revised.lines.iter_mut().zip(&course.progress).enumerate() {
        let (price, units) = changes[index % changes.len()];
        line.total = line.total * i64::from(price) / 100;
        let shipped = at.shipped.millionths() / line.millionths_per_step;
        line.steps = (line.steps * i64::from(units) / 100).max(shipped).max(1);
    }
    revised
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn the_shares_and_the_fee_add_up_to_the_total_and_none_is_negative(order in any_order()) {
        let plan = order.plan();
        let shares: i64 = plan.lines().iter().map(|line| line.share).sum();
        prop_assert_eq!(shares + plan.fee().minor(), order.total());
        prop_assert!(plan.lines().iter().all(|line| line.share >= 0));
    }

    #[test]
    fn a_share_is_less_than_one_minor_unit_from_its_exact_part(order in any_order()) {
        let plan = order.plan();
        let (rest, goods) = (i128::from(plan.total().minor() - plan.fee().minor()), i128::from(order.goods()));
        for (line, random) in plan.lines().iter().zip(&order.lines) {
            let error = i128::from(line.share) * goods - rest * i128::from(random.total);
            prop_assert!(error.abs() < goods || error == 0, "{line:?} of {random:?}");
        }
    }

    #[test]
    fn the_amounts_of_a_complete_order_add_up_to_the_total(order in any_order()) {
        let mut course = Course::new(order.plan());
        let mut sum = 0;
        for parcel in order.parcels() {
            prop_assert!(!course.plan.is_complete(&course.progress));
            sum += course.ship(&parcel).expect("nothing is cancelled").minor();
        }
        prop_assert!(course.plan.is_complete(&course.progress));
        prop_assert_eq!(sum, order.total());
    }

    #[test]
    fn the_amounts_of_a_cancelled_order_add_up_to_what_its_units_and_the_fee_owe(
        order in any_order(),
        cancelling in any_cancelling(),
    ) {
        let mut course = run(&order, &cancelling, |_| Ok(()))?;
        course.cancel_the_rest();
        let is_anything_shipped = course.progress.iter().any(|at| !at.shipped.is_zero());
        prop_assert_eq!(course.plan.is_complete(&course.progress), is_anything_shipped);
        course.store();
        let owed = if is_anything_shipped { course.goods() + course.plan.fee().minor() } else { 0 };
        prop_assert_eq!(course.stored.minor(), owed);
    }

    #[test]
    fn no_amount_is_negative(order in any_order(), cancelling in any_cancelling()) {
        // What is earned never falls, so that `share_of` never has anything to hide.
        let mut before = Money::zero(order.currency());
        run(&order, &cancelling, |course| {
            prop_assert!(before.fits(course.earned()).unwrap(), "{} after {before}", course.earned());
            prop_assert!(course.stored.fits(course.earned()).unwrap());
            before = course.earned();
            Ok(())
        })?;
    }

    #[test]
    fn no_prefix_exceeds_the_plan(order in any_order(), cancelling in any_cancelling()) {
        run(&order, &cancelling, |course| {
            prop_assert!(course.earned().fits(course.plan.total()).unwrap());
            prop_assert!(course.stored.fits(course.plan.total()).unwrap());
            Ok(())
        })?;
    }

    #[test]
    fn a_set_of_shipments_has_one_total_in_any_order_of_arrival(
        order in any_order(),
        members in any::<u8>(),
        arrival in Just((0..SHIPMENTS_MAX).collect::<Vec<_>>()).prop_shuffle(),
        cancelled in prop_oneof![1 => Just(0_u64), 1 => any::<u64>()],
    ) {
        let mut set = order.parcels();
        let mut number = 0;
        set.retain(|_| { number += 1; members & (1 << number) != 0 });
        let mut there = Course::new(order.plan());
        for parcel in &set {
            prop_assert!(there.ship(parcel).is_some());
        }
        // Cancelled at the end there, at the beginning here.
        there.cancel(cancelled);
        there.store();
        let mut here = Course::new(order.plan());
        for (at, there) in here.progress.iter_mut().zip(&there.progress) {
            at.cancelled = there.cancelled;
        }
        for parcel in arrival.iter().filter_map(|&number| set.get(number)) {
            prop_assert!(here.ship(parcel).is_some());
        }
        here.store();
        prop_assert_eq!(here.stored, there.stored);
    }

    #[test]
    fn every_line_stays_within_half_a_minor_unit_of_exact(order in any_order(), cancelling in any_cancelling()) {
        run(&order, &cancelling, |course| {
            for line in course.plan.working(&course.progress, course.stored, 1).lines {
                let (shipped, ordered) = (i128::from(line.shipped.millionths()), i128::from(line.ordered.millionths()));
                let rounded = i128::from(line.earned.minor()) * ordered;
                let exact = i128::from(line.share.minor()) * shipped;
                prop_assert!(2 * (rounded - exact).abs() <= ordered, "{line:?}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn the_fee_is_earned_as_its_policy_says(order in any_order(), cancelling in any_cancelling()) {
        run(&order, &cancelling, |course| {
            let fee = course.plan.working(&course.progress, course.stored, 1).fee;
            let (whole, earned) = (i128::from(fee.whole.minor()), i128::from(fee.earned.minor()));
            let (goods, due) = (i128::from(course.goods()), i128::from(fee.goods_due.minor()));
            let is_anything_shipped = course.progress.iter().any(|at| !at.shipped.is_zero());
            match fee.policy {
                _ if !is_anything_shipped => prop_assert_eq!(earned, 0),
                _ if course.plan.is_complete(&course.progress) => prop_assert_eq!(earned, whole),
                ShippingPolicy::First => prop_assert_eq!(earned, whole),
                ShippingPolicy::Last => prop_assert_eq!(earned, 0),
                ShippingPolicy::Prorate if due == 0 => prop_assert_eq!(earned, whole),
                ShippingPolicy::Prorate => prop_assert!(2 * (earned * due - whole * goods).abs() <= due),
            }
            Ok(())
        })?;
    }

    #[test]
    fn with_revisions_the_total_follows_the_newest_plan(
        order in any_order(),
        shipped_before in 0..=SHIPMENTS_MAX,
        changes in prop::collection::vec((0..=200_u8, 50..=200_u8), 1..=8),
        shipping in 0..3_000_i64,
    ) {
        let mut course = Course::new(order.plan());
        for parcel in order.parcels().iter().take(shipped_before) {
            prop_assert!(course.ship(parcel).is_some());
        }
        let given = course.stored;
        let newest = revised(&order, &course, &changes, shipping);
        course.plan = newest.plan();
        let rest = |course: &Course| -> Parcel {
            let left = course.plan.lines().iter().zip(&course.progress);
            left.map(|(line, at)| line.ordered.minus(at.shipped).millionths()).collect()
        };
        // In two shipments, where that can be.
        let half: Parcel = rest(&course).iter().map(|millionths| millionths / 2).collect();
        prop_assert!(course.ship(&half).is_some());
        prop_assert!(course.stored.fits(newest.money(newest.total().max(given.minor()))).unwrap());
        let last = rest(&course);
        prop_assert!(course.ship(&last).is_some());
        prop_assert!(course.plan.is_complete(&course.progress));
        prop_assert_eq!(course.stored.minor(), newest.total().max(given.minor()));
    }

    #[test]
    fn a_working_adds_up_to_the_amount_and_is_found_again(order in any_order(), cancelling in any_cancelling()) {
        let mut course = Course::new(order.plan());
        let (mut given, mut workings) = (Vec::new(), Vec::new());
        // At most one cancellation, since only the last number of cancelled units is kept.
        let when = cancelling.len() / 2;
        for (number, parcel) in order.parcels().iter().enumerate() {
            if number == when {
                course.cancel(cancelling.first().copied().unwrap_or_default());
            }
            let stored = course.stored;
            let Some(amount) = course.ship(parcel) else { continue };
            let working = course.plan.working(&course.progress, stored, 1);
            let lines: i64 = working.lines.iter().map(|line| line.earned.minor()).sum();
            prop_assert_eq!(lines, working.goods.minor());
            prop_assert_eq!(working.goods.minor() + working.fee.earned.minor(), working.earned.minor());
            prop_assert_eq!(working.earned.minor() - working.stored.minor(), amount.minor());
            prop_assert_eq!(working.amount, amount);
            given.push(Given { lines: shipped_lines(parcel), amount, quantum: 1 });
            workings.push(working);
        }
        for (again, working) in course.plan.retrace(&course.progress, &given).into_iter().zip(workings) {
            let again = again.expect("one cancellation is told");
            prop_assert_eq!((again.amount, again.stored, again.lines), (working.amount, working.stored, working.lines));
        }
    }
}
