//! Random orders through acceptance, a ledger and a provider that captures what it is asked to: the
//! captures of a complete order equal its total, whatever the order of arrival, and every amount that
//! is sent is positive and has the currency of its authorization. The world checks after every step
//! that captured and reserved stay within what was authorized.

use proptest::prelude::*;

use super::support::*;
use crate::capture::decide::{Call, Ticket};
use crate::capture::evidence::AuthorizationView;
use crate::capture::notice::AuthorizationFacts;
use crate::capture::plan::random::{RandomOrder, any_order, shipped_lines};
use crate::capture::records::Order;
use crate::capture::states::{CaptureState, ShipmentState};
use crate::ledger::memory::Tables;
use crate::money::Money;

const CASES: u32 = 512;
const REFERENCE: &str = "txn-1";

/// How the notices of an order come.
#[derive(Debug, Clone)]
struct Arrivals {
    account: &'static str,
    /// By the bits: which notices bring the authorization and the plan. The last one brings both.
    with_authorization: u8,
    with_plan: u8,
    /// By the bits: which notices come twice.
    twice: u8,
    /// By the bits: after which notices the provider answers before the next one comes.
    answered: u8,
    /// Percent of the plan's total that was authorized.
    authorized_percent: i64,
}

fn any_arrivals(authorized_percent: impl Strategy<Value = i64>) -> impl Strategy<Value = Arrivals> {
    let bits = any::<u8>;
    (prop_oneof![Just(ONCE), Just(OFTEN)], bits(), bits(), bits(), bits(), authorized_percent).prop_map(
        |(account, with_authorization, with_plan, twice, answered, authorized_percent)| Arrivals {
            account,
            with_authorization,
            with_plan,
            twice,
            answered,
            authorized_percent,
        },
    )
}

/// An order on its way through a world, with its provider.
struct Run {
    world: World,
    authorized: Money,
    /// Calls that have not been answered.
    calls: Vec<Ticket>,
    /// What was asked for, and done.
    captured: Vec<Money>,
}

impl Run {
    fn new(order: &RandomOrder, arrivals: &Arrivals) -> Self {
        let authorized = i128::from(order.total()) * i128::from(arrivals.authorized_percent) / 100;
        let authorized = order.money(i64::try_from(authorized).unwrap().max(1));
        Self { world: World::new(), authorized, calls: Vec::new(), captured: Vec::new() }
    }

    fn ship_everything(&mut self, order: &RandomOrder, arrivals: &Arrivals) {
        let parcels = order.parcels();
        for (number, parcel) in parcels.iter().enumerate() {
            let is_last = number + 1 == parcels.len();
            let says = |bits: u8| is_last || bits & (1 << number) != 0;
            let mut notice = draft("ord-1", &format!("s{number}"));
            notice.notice.lines = shipped_lines(parcel);
            if says(arrivals.with_authorization) {
                notice = notice.on(self.authorization(arrivals));
            }
            if says(arrivals.with_plan) {
                notice = notice.plan(order.facts());
            }
            for _ in 0..=(arrivals.twice >> number & 1) {
                let reply = self.world.accept(notice.clone());
                self.calls.extend(reply.ticket);
            }
            if says(arrivals.answered) {
                self.answer();
            }
        }
    }

    fn authorization(&self, arrivals: &Arrivals) -> AuthorizationFacts {
        AuthorizationFacts {
            currency: self.authorized.currency(),
            amount: Some(self.authorized),
            ..authorized(arrivals.account, REFERENCE, 1)
        }
    }

    /// The provider answers every call, and those that follow from its answers.
    fn answer(&mut self) {
        while let Some(ticket) = self.calls.pop() {
            let reply = match ticket.call {
                Call::Send { amount, .. } => {
                    assert!(amount.minor() > 0, "{amount} is to be sent");
                    assert_eq!(amount.currency(), self.authorized.currency());
                    self.captured.push(amount);
                    self.world.answer(Some(ticket), captured(Some(amount)))
                }
                Call::Read { .. } | Call::Ask { .. } => self.world.show(Some(ticket), seen(self.view())),
                Call::Look { .. } | Call::ReadExpiry { .. } => panic!("every answer was clear: {ticket:?}"),
            };
            self.calls.extend(reply.ticket);
        }
    }

    /// What the provider holds before the first capture.
    fn view(&self) -> AuthorizationView {
        AuthorizationView { currency: self.authorized.currency(), authorized: Some(self.authorized), ..view(1) }
    }

    /// Time passes until nothing is left to do.
    fn finish(&mut self) {
        self.answer();
        for _ in 0..40 {
            if is_at_rest(&self.world.ledger.tables()) {
                return;
            }
            self.world.clock.advance(MINUTE);
            for reply in self.world.do_due() {
                self.calls.extend(reply.ticket);
            }
            self.answer();
        }
        panic!("something is left to do: {:?}", self.world.ledger.tables().shipments);
    }

    fn sum(&self) -> i64 {
        self.captured.iter().map(|amount| amount.minor()).sum()
    }
}

fn is_at_rest(tables: &Tables) -> bool {
    tables.shipments.values().all(|shipment| shipment.state.is_terminal())
        && tables.captures.values().all(|capture| capture.state.is_terminal())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn the_captures_of_a_complete_order_equal_its_total(
        order in any_order(),
        arrivals in any_arrivals(100..=130_i64),
    ) {
        let mut run = Run::new(&order, &arrivals);
        run.ship_everything(&order, &arrivals);
        run.finish();
        prop_assert_eq!(run.sum(), order.total());
        let tables = run.world.ledger.tables();
        prop_assert!(tables.shipments.values().all(|shipment| shipment.state == ShipmentState::Settled));
        prop_assert!(tables.captures.values().all(|capture| capture.state == CaptureState::Captured));
        let booked: i64 = tables.authorizations.values().map(|record| record.captured.minor()).sum();
        prop_assert_eq!(booked, order.total());
        prop_assert!(tables.orders.values().all(Order::is_complete));
    }

    #[test]
    fn what_was_authorized_is_never_exceeded_and_shipments_are_captured_whole(
        order in any_order(),
        arrivals in any_arrivals(0..100_i64),
    ) {
        let mut run = Run::new(&order, &arrivals);
        run.ship_everything(&order, &arrivals);
        run.finish();
        prop_assert!(run.sum() <= run.authorized.minor());
        let tables = run.world.ledger.tables();
        let settled = tables.shipments.values().filter(|shipment| shipment.state == ShipmentState::Settled);
        let whole: i64 = settled.filter_map(|shipment| shipment.amount).map(Money::minor).sum();
        prop_assert_eq!(run.sum(), whole);
    }
}

/// The last shipment does not fit; those that waited for it are captured all the same, and now.
#[test]
fn a_refused_last_shipment_does_not_hold_up_the_others() {
    let mut world = World::new();
    let partly_authorized = authorized(ONCE, REFERENCE, 1_500);
    let plan = plan(&[("l1", 1, "10.00"), ("l2", 1, "20.00")], "0.00", "30.00");
    world.accept(draft("ord-1", "s1").line("l1", 1).on(partly_authorized).plan(plan));
    assert!(world.due_call().is_none(), "it waits for the rest");
    world.accept(draft("ord-1", "s2").line("l2", 1));
    assert_eq!(world.shipment("s2").state, ShipmentState::Refused);
    let read = world.due_call();
    let reply = world.show(read, seen(view(1_500)));
    world.answer(reply.ticket, captured(None));
    assert_eq!(world.balance(REFERENCE), (1_500, 1_000, 0));
}
