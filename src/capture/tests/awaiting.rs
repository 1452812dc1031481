//! Shipments that arrive before what they need.

use crate::capture::decide::{Command, Due, Note};
use crate::capture::event::{Event, EventContent, FailureReason};
use crate::capture::states::ShipmentState;
use crate::capture::tests::support::*;
use crate::capture::why::Missing;
use crate::clock;

fn awaiting(world: &World) -> u32 {
    world.ledger.tables().orders.values().map(|order| order.awaiting).sum()
}

#[test]
fn any_order_of_arrival_captures_the_same() {
    let whole = || draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(OFTEN, "r", 11_900)).plan(worked_plan());
    let bare = || draft("o", "s2").line("l1", 1);
    for notices in [vec![whole(), bare()], vec![bare(), whole()]] {
        let mut world = World::new();
        for notice in notices {
            world.accept(notice);
        }
        world.do_due();
        assert_eq!(awaiting(&world), 0);
        assert_eq!(world.balance("r"), (11_900, 0, 11_900));
    }
}

#[test]
fn authorization_and_plan_may_come_with_different_shipments() {
    let with_authorization = || draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 11_900));
    let with_plan = || draft("o", "s2").line("l1", 1).plan(worked_plan());
    for notices in [[with_authorization(), with_plan()], [with_plan(), with_authorization()]] {
        let mut world = World::new();
        for notice in notices {
            world.accept(notice);
        }
        for _ in 0..3 {
            world.do_due();
        }
        assert_eq!(awaiting(&world), 0, "together they are everything that is needed");
        assert!(world.shipment("s1").amount.is_some() && world.shipment("s2").amount.is_some());
    }
}

#[test]
fn what_is_missing_is_named_and_ends_as_unknown() {
    for (notice, missing, reason) in [
        (draft("o", "s1").amount("1.00"), Missing::Authorization, FailureReason::UnknownAuthorization),
        (draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 500)), Missing::Plan, FailureReason::UnknownPlan),
        (
            draft("o", "s1").amount("1.00").on(authorized("nobody", "r", 500)),
            Missing::Account,
            FailureReason::UnknownAccount,
        ),
    ] {
        let mut world = World::new();
        assert_eq!(world.accept(notice).note, Note::Awaiting(missing));
        assert_eq!(world.news(), [], "no outcome yet");
        let started = world.clock.now().wall;
        while world.shipment("s1").state == ShipmentState::Awaiting {
            let due = world.shipment("s1").due_at.expect("it is looked at again");
            assert!(due <= clock::after(started, 24 * HOUR), "{reason:?} is forgotten");
            world.clock.advance_to(due);
            world.do_due();
        }
        assert_eq!(world.clock.now().wall, clock::after(started, 24 * HOUR));
        let [Event { content: EventContent::Failed(outcome, failure), .. }] = &world.news()[..] else { panic!() };
        assert_eq!((failure.reason, failure.retryable), (reason, true));
        assert_eq!((outcome.amount, outcome.attempts), (None, 0));
        assert_eq!(awaiting(&world), 0);
    }
}

#[test]
fn an_account_that_becomes_known_is_noticed() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("1.00").on(authorized("new", "r", 500)));
    world.restart_with(policy_with("new"));
    world.clock.advance(HOUR);
    world.do_due();
    assert_eq!(world.balance("r"), (500, 0, 100));
}

#[test]
fn a_repeat_while_it_waits_is_counted_once_and_may_bring_what_is_missing() {
    let mut world = World::new();
    for _ in 0..3 {
        world.accept(draft("o", "s1").line("l1", 1));
        assert_eq!(awaiting(&world), 1);
    }
    let other = world.accept(draft("o", "s1").line("l1", 2));
    assert!(matches!(other.note, Note::DeadLettered { .. }), "other content is a conflict already");
    let complete = draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 11_900)).plan(worked_plan());
    assert!(matches!(world.accept(complete).note, Note::Planned(_)));
    assert_eq!(awaiting(&world), 0);
    assert_eq!(world.shipment("s1").due_at, None);
}

#[test]
fn what_waits_is_refused_like_anything_else_when_it_can_be_judged() {
    let mut world = World::new();
    world.accept(draft("o", "s1").line("l9", 1));
    world.accept(draft("o", "s2").line("l1", 1).on(authorized(OFTEN, "r", 11_900)).plan(worked_plan()));
    world.do_due();
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::PlanMismatch));
    assert_eq!(awaiting(&world), 0);
}

#[test]
fn a_kept_notice_that_conflicts_with_what_came_meanwhile_ends_too() {
    let mut world = World::new();
    let mut other = worked_plan();
    other.lines[0].line = crate::ids::LineId::parse("other").expect("an id");
    // Both carry a plan of revision 1; the account of the first is not known when it arrives.
    world.accept(draft("o", "s1").line("l3", 1).on(authorized("nobody", "r1", 11_900)).plan(other));
    world.accept(draft("o", "s2").line("l1", 1).on(authorized(OFTEN, "r", 11_900)).plan(worked_plan()));
    world.restart_with(policy_with("nobody"));
    world.news();
    let end = clock::after(at(0), 26 * HOUR);
    while world.clock.now().wall < end && world.shipment("s1").state == ShipmentState::Awaiting {
        world.clock.advance(HOUR);
        world.do_due();
    }
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::PlanMismatch));
    assert_eq!(world.shipment("s1").state, ShipmentState::Refused);
    let kinds: Vec<&str> = world.news().iter().map(|event| event.content.kind()).collect();
    assert_eq!(kinds, ["notice.rejected", "capture.failed"], "said at once, ended in time");
}

#[test]
fn looking_at_a_shipment_that_no_longer_waits_does_nothing() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("1.00").on(authorized(OFTEN, "r", 500)));
    let key = world.shipment("s1").key;
    assert_eq!(world.tell(Command::Due(Due::Shipment(key))).note, Note::Nothing);
}

#[test]
fn a_shipment_without_an_authorization_binds_the_newest() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("1.00").on(authorized(OFTEN, "old", 500)));
    world.accept(draft("o", "s2").amount("2.00").on(authorized(OFTEN, "new", 500)));
    world.accept(draft("o", "s3").amount("3.00"));
    assert_eq!((world.balance("old"), world.balance("new")), ((500, 0, 100), (500, 0, 500)));
}

#[test]
fn a_kept_notice_that_contradicts_its_authorization_ends_as_of_no_known_one() {
    let mut world = World::new();
    world.accept(draft("o", "s1").line("l1", 1).on(authorized("new", "r", 11_900)));
    world.restart_with(policy_with("new"));
    world.receive(registration("o", authorized("new", "r", 12_000), Some(worked_plan())));
    while world.shipment("s1").state == ShipmentState::Awaiting {
        world.clock.advance(HOUR);
        world.do_due();
        assert!(world.clock.now().wall <= clock::after(at(0), 24 * HOUR), "it waits for too long");
    }
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::UnknownAuthorization));
}

#[test]
fn what_waits_ends_in_time_however_often_it_is_looked_at() {
    let mut rules = policy();
    rules.awaiting_max = 90 * MINUTE;
    let mut world = World::with(rules);
    world.accept(draft("o", "s1").amount("1.00"));
    assert_eq!(world.shipment("s1").due_at, Some(at(60 * 60)));
    world.clock.advance(HOUR);
    world.do_due();
    assert_eq!(world.shipment("s1").due_at, Some(at(90 * 60)), "no later than it is given up");
}
