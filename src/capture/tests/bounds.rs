//! What an account says of amounts: multiples of a quantum, and no less than a minimum.

use crate::capture::decide::{Command, Note};
use crate::capture::event::{CaptureKind, FailureReason};
use crate::capture::notice::PlanFacts;
use crate::capture::policy::Policy;
use crate::capture::states::ShipmentState;
use crate::capture::tests::support::*;

fn bounded(quantum: Option<&str>, minimum: Option<&str>) -> World {
    World::with(with_bounds(quantum, minimum))
}

fn with_bounds(quantum: Option<&str>, minimum: Option<&str>) -> Policy {
    let mut policy = policy();
    for account in policy.accounts.values_mut() {
        account.quantum = quantum.map(|text| text.parse().expect("a decimal"));
        account.minimum = minimum.map(|text| text.parse().expect("a decimal"));
    }
    policy
}

/// Three units of l1 at 10.00 together, delivery free.
fn ten(name: &str) -> Command {
    registration("o", authorized(name, "r", 5_000), Some(plan(&[("l1", 3, "10.00")], "0.00", "10.00")))
}

fn capture(world: &mut World, reply: crate::capture::decide::Reply) {
    let Asked::Send { amount, .. } = asked(reply.ticket.as_ref().expect("sent")) else { panic!("{reply:?}") };
    world.answer(reply.ticket, captured(Some(amount)));
}

/// The amount that is planned for the next unit of l1, captured.
fn unit(world: &mut World, shipment: &str) -> i64 {
    let reply = world.accept(draft("o", shipment).line("l1", 1));
    capture(world, reply);
    world.shipment(shipment).amount.expect("given").minor()
}

#[test]
fn shipments_are_multiples_and_a_complete_order_comes_to_its_total() {
    let mut world = bounded(Some("1.00"), None);
    world.receive(ten(OFTEN));
    // 3.33, 6.67 and 10.00 have been earned, and 3, 6 and 10 are taken.
    assert_eq!(["s1", "s2", "s3"].map(|shipment| unit(&mut world, shipment)), [300, 300, 400]);
    assert_eq!(world.balance("r"), (5_000, 1_000, 0));
}

#[test]
fn with_a_part_cancelled_the_end_is_rounded_down_too() {
    let mut world = bounded(Some("1.00"), None);
    world.receive(ten(OFTEN));
    unit(&mut world, "s1");
    unit(&mut world, "s2");
    assert!(world.receive(cancellation("o", &[])).ready.is_none(), "6.67 is owed, 6.00 were taken");
    assert_eq!(world.balance("r"), (5_000, 600, 0));
}

#[test]
fn what_collects_is_a_multiple_shipment_by_shipment() {
    let mut world = bounded(Some("1.00"), None);
    world.receive(ten(ONCE));
    world.accept(draft("o", "s1").line("l1", 1));
    world.accept(draft("o", "s2").line("l1", 1).last());
    world.clock.advance(15 * MINUTE);
    let read = world.due_call();
    let frozen = world.show(read, seen(view(5_000)));
    let Asked::Send { amount, .. } = asked(frozen.ticket.as_ref().expect("sent")) else { panic!() };
    assert_eq!(amount, gel(600));
}

#[test]
fn what_is_no_multiple_is_set_aside() {
    let mut world = bounded(Some("1.00"), None);
    let odd = plan(&[("l1", 3, "10.50")], "0.00", "10.50");
    let registered = registration("o", authorized(OFTEN, "r", 5_000), Some(odd.clone()));
    let shipped = draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 5_000)).plan(odd);
    let explicit = draft("o", "s1").amount("1.50").on(authorized(OFTEN, "r", 5_000));
    for (message, expected) in [
        (registered, "$.data.plan.total"),
        (shipped.command(), "$.data.plan.total"),
        (explicit.command(), "$.data.amount"),
    ] {
        let Note::DeadLettered { path, message, .. } = world.receive(message).note else { panic!("{expected}") };
        assert_eq!((&*path, &*message), (expected, "is no multiple of 1.00 GEL, which the account's amounts must be"));
    }
    assert!(world.ledger.tables().authorizations.is_empty(), "nothing was registered");
}

#[test]
fn a_revision_is_a_multiple_too_and_what_is_registered_already_stands() {
    let mut world = World::new();
    world.receive(ten(OFTEN));
    world.restart_with(with_bounds(Some("3.00"), None));
    assert_eq!(world.receive(ten(OFTEN)).note, Note::Repeated, "it was registered before amounts had to be multiples");
    let revision = |total| PlanFacts { revision: 2, ..plan(&[("l1", 3, total)], "0.00", total) };
    let told = |total| registration("o", authorized(OFTEN, "r", 5_000), Some(revision(total)));
    assert!(matches!(world.receive(told("10.00")).note, Note::DeadLettered { .. }));
    assert_eq!(world.receive(told("12.00")).note, Note::Registered);
}

#[test]
fn what_is_too_little_is_captured_with_the_next_shipment() {
    let mut world = bounded(None, Some("5.00"));
    world.receive(ten(OFTEN));
    assert_eq!(world.accept(draft("o", "s1").line("l1", 1)).note, Note::Deferred);
    assert_eq!((world.balance("r"), world.authorization("r").waiting_amount), ((5_000, 0, 0), gel(333)));
    let reply = world.accept(draft("o", "s2").line("l1", 1));
    assert_eq!(reply.note, Note::Planned(gel(667)));
    let both = world.capture_of("s1");
    assert_eq!((both.kind, both.shipment()), (CaptureKind::Batch, Some(world.shipment("s2").key)));
    capture(&mut world, reply);
    assert_eq!(world.shipment("s1").state, ShipmentState::Settled);
    assert_eq!((world.balance("r"), world.authorization("r").waiting), ((5_000, 667, 0), 0));
    // The last one comes to 3.33, and nothing comes after it.
    world.accept(draft("o", "s3").line("l1", 1));
    assert_eq!(world.shipment("s3").reason, Some(FailureReason::BelowMinimum));
}

#[test]
fn what_is_too_little_at_the_end_is_refused() {
    let waits = || {
        let mut world = bounded(None, Some("5.00"));
        world.receive(ten(OFTEN));
        world.accept(draft("o", "s1").line("l1", 1));
        world
    };
    let mut cancelled = waits();
    cancelled.receive(cancellation("o", &[]));
    let mut grace = waits();
    grace.accept(draft("o", "s1").line("l1", 1).last());
    grace.clock.advance(15 * MINUTE);
    grace.do_due();
    let mut deadline = waits();
    deadline.clock.advance_to(at(7 * 24 * 3_600 - 2 * 3_600));
    deadline.do_due();
    for (world, end) in [(cancelled, "cancelled"), (grace, "grace"), (deadline, "deadline")] {
        assert_eq!(world.shipment("s1").reason, Some(FailureReason::BelowMinimum), "{end}");
        let record = world.authorization("r");
        assert_eq!((record.waiting, record.waiting_amount, record.freeze_at), (0, gel(0), None), "{end}");
    }
}

#[test]
fn a_single_capture_below_the_minimum_is_refused_whole() {
    let mut world = bounded(None, Some("12.00"));
    world.receive(ten(ONCE));
    world.accept(draft("o", "s1").line("l1", 1));
    let read = world.accept(draft("o", "s2").line("l1", 2)).ticket;
    let reply = world.show(read, seen(view(5_000)));
    assert_eq!(reply.note, Note::Refused(FailureReason::BelowMinimum));
    for shipment in ["s1", "s2"] {
        assert_eq!(world.shipment(shipment).reason, Some(FailureReason::BelowMinimum));
    }
}

#[test]
fn shipments_of_different_orders_wait_each_for_their_own() {
    let mut world = bounded(None, Some("5.00"));
    let of = |order: &str, shipment: &str, amount: &str| {
        draft(order, shipment).amount(amount).on(authorized(OFTEN, "r", 5_000))
    };
    assert_eq!(world.accept(of("a", "s1", "2.00")).note, Note::Deferred);
    assert_eq!(world.accept(of("b", "t1", "4.00")).note, Note::Deferred);
    assert_eq!(world.accept(of("a", "s2", "3.00")).note, Note::Planned(gel(500)));
    assert_eq!(world.authorization("r").waiting_amount, gel(400));
    world.clock.advance_to(at(7 * 24 * 3_600 - 2 * 3_600));
    world.do_due();
    assert_eq!(world.shipment("t1").reason, Some(FailureReason::BelowMinimum));
}

#[test]
fn what_a_complete_order_owes_is_not_captured_below_the_minimum() {
    let mut world = bounded(None, Some("5.00"));
    world.receive(ten(OFTEN));
    let reply = world.accept(draft("o", "s1").line("l1", 3));
    capture(&mut world, reply);
    let dearer = PlanFacts { revision: 2, ..plan(&[("l1", 3, "14.99")], "0.00", "14.99") };
    let reply = world.receive(registration("o", authorized(OFTEN, "r", 5_000), Some(dearer)));
    assert!(reply.ready.is_none() && world.due_call().is_none());
    let letters = &world.ledger.tables().dead_letters;
    let letter = letters.values().next().expect("it is set aside");
    assert_eq!((letter.reason, letter.fee, letter.amount), ("below_minimum", Some(1), Some(gel(499))));
}
