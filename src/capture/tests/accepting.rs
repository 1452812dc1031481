//! From the notice to the planned capture, the refusal, or the dead letter.

use crate::capture::decide::{Command, Note, Reject, Subject};
use crate::capture::event::{
    Balance, CaptureKind, Event, EventContent, Failure, FailureReason, NextAction, Outcome, RejectedNotice, ResolvedBy,
};
use crate::capture::notice::{RejectionReason, ShippingPolicy};
use crate::capture::states::ShipmentState;
use crate::capture::tests::support::*;
use crate::ids::{CaptureId, DeadLetterId, EventId};
use crate::money::Money;

fn order_with_plan(world: &mut World) -> Money {
    let first = draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(OFTEN, "r", 11_900)).plan(worked_plan());
    let reply = world.accept(first);
    let Note::Planned(amount) = reply.note else { panic!("{reply:?}") };
    world.answer(reply.ticket, captured(Some(amount)));
    amount
}

/// The reason of the last event, and the message.
fn refused(world: &mut World) -> (FailureReason, String) {
    let Some(Event { content: EventContent::Failed(_, failure), .. }) = world.news().pop() else {
        panic!("the last event is no failure")
    };
    (failure.reason, failure.message)
}

fn rejected(world: &mut World) -> RejectedNotice {
    let Some(Event { content: EventContent::Rejected(notice), .. }) = world.news().pop() else {
        panic!("the last event is no rejection")
    };
    notice
}

#[test]
fn the_documented_example_adds_up() {
    let mut world = World::new();
    assert_eq!(order_with_plan(&mut world), gel(10_337));
    assert_eq!(world.balance("r"), (11_900, 10_337, 0));
    let reply = world.accept(draft("o", "s2").line("l1", 1));
    assert_eq!(reply.note, Note::Planned(gel(1_563)));
    assert_eq!(world.balance("r"), (11_900, 10_337, 1_563));
    world.answer(reply.ticket, captured(Some(gel(1_563))));
    assert_eq!(world.balance("r"), (11_900, 11_900, 0));
}

#[test]
fn the_event_of_a_success_says_it_all() {
    let mut world = World::new();
    order_with_plan(&mut world);
    let (order, shipment) = (order_id("o"), shipment_id("s1"));
    let outcome = Outcome {
        order: order.clone(),
        shipment: Some(shipment.clone()),
        capture: Some(CaptureId::of_shipment(&account(OFTEN), &reference("r"), &order, &shipment, 0)),
        kind: CaptureKind::Shipment,
        generation: 0,
        authorization: Some((account(OFTEN), reference("r"))),
        amount: Some(gel(10_337)),
        capture_amount: Some(gel(10_337)),
        capture_shipments: vec![shipment.clone()],
        balance: Some(Balance {
            authorized: gel(11_900),
            captured: gel(10_337),
            remaining: gel(1_563),
            earned_uncaptured: gel(0),
        }),
        authorization_expires_at: Some(at(7 * 24 * 3_600)),
        attempts: 1,
        resolved_by: ResolvedBy::Response,
        provider_reference: Some("pay-1".to_owned()),
        caused_by: Some("evt-o-s1".to_owned()),
        sequence: 1,
    };
    let event = Event {
        id: EventId::of_shipment("capture.succeeded", &order, &shipment, 0),
        time: at(0),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        content: EventContent::Succeeded(Box::new(outcome)),
    };
    assert_eq!(world.news(), [event]);
}

#[test]
fn an_explicit_amount_is_taken_as_it_is() {
    let mut world = World::new();
    let reply = world.accept(draft("o", "s1").amount("12.34").on(authorized(OFTEN, "r", 2_000)));
    assert_eq!(reply.note, Note::Planned(gel(1_234)));
    assert_eq!(world.balance("r"), (2_000, 0, 1_234));
}

#[test]
fn a_refusal_has_its_event_and_its_dead_letter() {
    let mut world = World::new();
    let reply = world.accept(draft("o", "s1").amount("20.01").on(authorized(OFTEN, "r", 2_000)));
    assert_eq!(reply.note, Note::Refused(FailureReason::ExceedsAuthorization));
    let (order, shipment) = (order_id("o"), shipment_id("s1"));
    let dead_letter = DeadLetterId::of_shipment(&order, &shipment, 0);
    let message = "20.01 GEL was earned, 20.00 GEL remains on the authorization";
    let [Event { id, content: EventContent::Failed(outcome, failure), .. }] = &world.news()[..] else { panic!() };
    assert_eq!(*id, EventId::of_shipment("capture.failed", &order, &shipment, 0));
    assert_eq!(
        *failure,
        Failure {
            reason: FailureReason::ExceedsAuthorization,
            provider_code: None,
            message: message.to_owned(),
            retryable: true,
            money_may_have_moved: false,
            next_action: NextAction::Reauthorize,
            dead_letter,
        }
    );
    assert_eq!((outcome.attempts, outcome.resolved_by, outcome.amount), (0, ResolvedBy::Local, Some(gel(2_001))));
    let tables = world.ledger.tables();
    let letter = &tables.dead_letters[&dead_letter];
    assert_eq!((letter.reason, &*letter.message, letter.count), ("exceeds_authorization", message, 1));
    assert_eq!(letter.account, Some(account(OFTEN)));
    drop(tables);
    assert_eq!(world.balance("r"), (2_000, 0, 0), "nothing is reserved");
}

#[test]
fn what_is_refused_before_any_call() {
    let mut world = World::new();
    order_with_plan(&mut world);
    let lari = |shipment: &str| draft("o", shipment);
    let euros = crate::capture::notice::AuthorizationFacts {
        currency: currency("EUR"),
        amount: None,
        ..authorized(OFTEN, "r", 0)
    };
    for (notice, expected, part) in [
        (lari("a").line("l1", 2), FailureReason::OverShipped, "line l1: 4 shipped of 3 ordered"),
        (lari("b").line("l3", 1), FailureReason::OverShipped, "line l3: 2 shipped of 1 ordered"),
        (lari("c").line("l9", 1), FailureReason::PlanMismatch, "no line l9"),
        (lari("d").amount("1.00"), FailureReason::PlanMismatch, "first notice"),
        (lari("e").line("l1", 1).on(euros), FailureReason::CurrencyMismatch, "in GEL, the notice says EUR"),
    ] {
        let reply = world.accept(notice);
        assert_eq!(reply.note, Note::Refused(expected));
        assert!(reply.ticket.is_none());
        let (reason, message) = refused(&mut world);
        assert_eq!(reason, expected);
        assert!(message.contains(part), "{message}");
    }
    let last = world.accept(lari("s2").line("l1", 1));
    assert_eq!(last.note, Note::Planned(gel(1_563)), "none of them counted as shipped");
}

#[test]
fn a_shipment_that_does_not_fit_is_refused_whole_and_a_later_one_that_fits_is_captured() {
    let mut world = World::new();
    let partial = authorized(OFTEN, "r", 11_000);
    let first = draft("o", "s1").line("l1", 2).line("l3", 1).on(partial).plan(worked_plan());
    let reply = world.accept(first);
    world.answer(reply.ticket, captured(Some(gel(10_337))));
    world.accept(draft("o", "s2").line("l1", 1));
    assert_eq!(
        refused(&mut world),
        (FailureReason::ExceedsAuthorization, "15.63 GEL was earned, 6.63 GEL remains on the authorization".to_owned())
    );
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("30.00").on(authorized(OFTEN, "r", 2_000)));
    let fits = world.accept(draft("o", "s2").amount("20.00"));
    assert_eq!(fits.note, Note::Planned(gel(2_000)));
}

#[test]
fn a_plan_in_another_currency_than_the_newest_authorization_is_refused() {
    let mut world = World::new();
    order_with_plan(&mut world);
    let euros = crate::capture::notice::AuthorizationFacts {
        currency: currency("EUR"),
        amount: Some(Money::from_minor(5_000, currency("EUR")).expect("positive")),
        ..authorized(OFTEN, "r-eur", 0)
    };
    let reply = world.accept(draft("o", "s2").line("l1", 1).on(euros));
    assert_eq!(reply.note, Note::Refused(FailureReason::CurrencyMismatch));
}

#[test]
fn free_goods_succeed_without_a_call() {
    let mut world = World::new();
    let plan = plan(&[("free", 1, "0.00"), ("paid", 1, "5.00")], "0.00", "5.00");
    let reply = world.accept(draft("o", "s1").line("free", 1).on(authorized(OFTEN, "r", 500)).plan(plan));
    assert_eq!(reply.note, Note::Zero);
    assert!(reply.ticket.is_none() && reply.ready.is_none());
    let [Event { content: EventContent::Succeeded(outcome), .. }] = &world.news()[..] else { panic!() };
    assert_eq!((outcome.kind, outcome.amount, outcome.attempts), (CaptureKind::Zero, Some(gel(0)), 0));
    assert_eq!(outcome.resolved_by, ResolvedBy::Local);
    assert_eq!(world.shipment("s1").state, ShipmentState::Settled);
    let explicit = world.accept(draft("o2", "s1").amount("0.00").on(authorized(OFTEN, "r2", 500)));
    assert_eq!(explicit.note, Note::Zero);
}

#[test]
fn the_same_notice_again_changes_nothing() {
    let mut world = World::new();
    let first = draft("o", "s1").line("l1", 1).line("l3", 1).on(authorized(OFTEN, "r", 11_900)).plan(worked_plan());
    world.accept(first.clone());
    world.news();
    let before = world.ledger.tables().clone();
    let reordered = draft("o", "s1").line("l3", 1).line("l1", 1);
    for again in [first, reordered] {
        let reply = world.accept(again);
        assert_eq!(reply.note, Note::Repeated);
        assert!(reply.ticket.is_none() && reply.ready.is_none());
        assert_eq!(reply.subject.capture, Some(world.capture_of("s1").id));
    }
    assert_eq!(world.news(), []);
    let tables = world.ledger.tables();
    assert_eq!(format!("{:?}", before.captures), format!("{:?}", tables.captures));
    assert_eq!(format!("{:?}", before.orders), format!("{:?}", tables.orders));
}

#[test]
fn other_content_is_a_conflict_and_the_first_stands() {
    let mut world = World::new();
    order_with_plan(&mut world);
    world.news();
    for other in [draft("o", "s1").line("l1", 1).line("l3", 1), draft("o", "s1").amount("103.37")] {
        let reply = world.accept(other.clone());
        let Note::DeadLettered { id, reason: RejectionReason::Conflict, path, .. } = reply.note else { panic!() };
        assert_eq!(path, "$.data");
        let notice = rejected(&mut world);
        assert_eq!((notice.reason, notice.dead_letter), (RejectionReason::Conflict, id));
        assert_eq!((notice.order, notice.shipment), (Some(order_id("o")), Some(shipment_id("s1"))));
        world.accept(other);
        assert_eq!(world.news(), [], "announced once");
        assert_eq!(world.ledger.tables().dead_letters[&id].count, 2, "and seen twice");
    }
    assert_eq!(world.shipment("s1").amount, Some(gel(10_337)));
    assert_eq!(world.balance("r"), (11_900, 10_337, 0));
}

#[test]
fn what_contradicts_the_registered_is_a_conflict_that_registers_nothing() {
    let mut world = World::new();
    order_with_plan(&mut world);
    world.accept(draft("single", "s1").amount("1.00").on(authorized(ONCE, "once", 500)));
    world.news();
    let mut cheaper = worked_plan();
    cheaper.lines[0].total = crate::money::parse_plain_decimal("44.96").expect("plain");
    cheaper.total = crate::money::parse_plain_decimal("118.99").expect("plain");
    let mut revised = cheaper.clone();
    revised.revision = 2;
    revised.lines[0].quantity = crate::capture::notice::Quantity::units(1);
    for (notice, path) in [
        (draft("o", "s2").line("l1", 1).on(authorized(OFTEN, "r", 11_901)), "$.data.authorization.amount"),
        (draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(OFTEN, "r2", 1)), "$.data.authorization.reference"),
        (draft("o", "s2").line("l1", 1).plan(cheaper), "$.data.plan"),
        (draft("o", "s2").line("l1", 1).plan(revised), "$.data.plan.lines"),
        (draft("thief", "s1").amount("1.00").on(authorized(ONCE, "once", 500)), "$.data.authorization.reference"),
    ] {
        let before = world.ledger.tables().shipments.len();
        let reply = world.accept(notice);
        assert!(matches!(reply.note, Note::DeadLettered { reason: RejectionReason::Conflict, .. }), "{reply:?}");
        assert_eq!(rejected(&mut world).path, path);
        assert_eq!(world.ledger.tables().shipments.len(), before, "{path}");
    }
    assert_eq!(world.ledger.tables().authorizations.len(), 2);
    let corrected = world.accept(draft("o", "s2").line("l1", 1));
    assert_eq!(corrected.note, Note::Planned(gel(1_563)), "a corrected one simply works");
}

#[test]
fn a_lower_revision_than_known_is_ignored() {
    let mut world = World::new();
    let mut second = worked_plan();
    second.revision = 2;
    world.accept(draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 11_900)).plan(second));
    let mut first = worked_plan();
    first.total = crate::money::parse_plain_decimal("1.00").expect("plain");
    let reply = world.accept(draft("o", "s2").line("l1", 1).plan(first));
    assert!(matches!(reply.note, Note::Planned(_)), "{reply:?}");
}

#[test]
fn an_invalid_plan_or_amount_registers_nothing() {
    let mut world = World::new();
    let wrong = plan(&[("l1", 1, "5.00")], "0.00", "6.00");
    for (notice, path) in [
        (draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 600)).plan(wrong), "$.data.plan.total"),
        (draft("o", "s1").amount("1.001").on(authorized(OFTEN, "r", 600)), "$.data.amount"),
    ] {
        world.accept(notice);
        let notice = rejected(&mut world);
        assert_eq!((notice.reason, &*notice.path), (RejectionReason::Invalid, path));
        let tables = world.ledger.tables();
        assert!(tables.orders.is_empty() && tables.authorizations.is_empty() && tables.shipments.is_empty());
    }
    let corrected = plan(&[("l1", 1, "6.00")], "0.00", "6.00");
    let reply = world.accept(draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 600)).plan(corrected));
    assert_eq!(reply.note, Note::Planned(gel(600)));
}

#[test]
fn a_message_that_cannot_be_read_is_set_aside_once() {
    let mut world = World::new();
    let raw = draft("o", "s1").arrival().raw;
    let rejection = crate::capture::notice::Rejection {
        reason: RejectionReason::Undecodable,
        path: "$".to_owned(),
        message: "is not JSON".to_owned(),
        order: None,
        shipment: None,
        event_id: None,
    };
    let reject = || Command::Reject(Box::new(Reject { rejection: rejection.clone(), raw: raw.clone() }));
    let Note::DeadLettered { id, .. } = world.tell(reject()).note else { panic!() };
    let news = world.news();
    let [Event { id: event_id, content: EventContent::Rejected(_), .. }] = &news[..] else { panic!() };
    assert_eq!(*event_id, EventId::of_dead_letter("notice.rejected", &id));
    world.clock.advance(MINUTE);
    world.tell(reject());
    assert_eq!(world.news(), []);
    let letter = world.ledger.tables().dead_letters[&id].clone();
    assert_eq!((letter.count, letter.first_seen_at, letter.last_seen_at), (2, at(0), at(60)));
    let Note::Collected(collected) = world.tell(collect(raw)).note else { panic!() };
    assert_ne!(collected, id, "what the broker gave up on is another dead letter");
    assert_eq!(world.news(), [], "and is not announced");
}

#[test]
fn the_fee_policy_decides_when_the_fee_is_earned() {
    for (policy, first, last) in [
        (ShippingPolicy::Prorate, 10_337, 1_563),
        (ShippingPolicy::First, 10_401, 1_499),
        (ShippingPolicy::Last, 9_911, 1_989),
    ] {
        let mut world = World::new();
        let mut plan = worked_plan();
        plan.shipping_policy = policy;
        let notice = draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(OFTEN, "r", 11_900)).plan(plan);
        assert_eq!(world.accept(notice).note, Note::Planned(gel(first)), "{policy:?}");
        assert_eq!(world.accept(draft("o", "s2").line("l1", 1)).note, Note::Planned(gel(last)), "{policy:?}");
    }
}

#[test]
fn two_shipments_of_one_order_in_one_group_are_as_good_as_two_groups() {
    let mut world = World::new();
    let first = draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(OFTEN, "r", 11_900)).plan(worked_plan());
    let group = vec![first.clone().command(), draft("o", "s2").line("l1", 1).command(), first.command()];
    let replies = world.execute(&group).replies;
    let notes: Vec<Note> = replies.into_iter().map(|reply| reply.expect("accepted").note).collect();
    assert_eq!(notes, [Note::Planned(gel(10_337)), Note::Planned(gel(1_563)), Note::Repeated]);
    assert_eq!(world.balance("r"), (11_900, 0, 11_900));
}

#[test]
fn a_command_that_breaks_an_invariant_fails_alone() {
    let mut world = World::new();
    let unknown =
        Command::Due(crate::capture::decide::Due::Authorization(crate::capture::records::AuthorizationKey::new(99)));
    let group = [
        draft("o", "s1").amount("1.00").on(authorized(OFTEN, "r", 500)).command(),
        unknown,
        draft("o", "s2").amount("2.00").command(),
    ];
    let executed = world.execute(&group);
    let [first, second, third] = &executed.replies[..] else { panic!() };
    assert_eq!(first.as_ref().expect("accepted").note, Note::Planned(gel(100)));
    assert!(second.is_err(), "{second:?}");
    assert_eq!(third.as_ref().expect("accepted").note, Note::Planned(gel(200)));
    assert_eq!(world.balance("r"), (500, 0, 300));
}

#[test]
fn a_reply_says_what_it_is_about() {
    let mut world = World::new();
    let reply = world.accept(draft("o", "s1").amount("1.00").on(authorized(OFTEN, "r", 500)));
    let Subject { order, shipment, capture, account: named } = reply.subject;
    assert_eq!((order, shipment), (Some(order_id("o")), Some(shipment_id("s1"))));
    assert_eq!((capture, named), (Some(world.capture_of("s1").id), Some(account(OFTEN))));
}

#[test]
fn the_same_message_twice_in_one_group_is_one_dead_letter() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("1.00").on(authorized(OFTEN, "r", 500)));
    let conflict = || draft("o", "s1").amount("2.00").command();
    let counts = |world: &World| {
        let tables = world.ledger.tables();
        tables.dead_letters.values().map(|letter| letter.count).collect::<Vec<_>>()
    };
    world.news();
    world.execute(&[conflict(), conflict()]);
    assert_eq!((counts(&world), world.news().len()), (vec![2], 1));
    world.execute(&[conflict(), conflict()]);
    assert_eq!((counts(&world), world.news().len()), (vec![4], 0), "told once");
}
