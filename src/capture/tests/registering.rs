//! `order.authorized`: registering ahead of the shipments, and revising the plan.

use crate::capture::decide::{Command, Note};
use crate::capture::event::{CaptureKind, EventContent, FailureReason, RefundRequired, RejectedNotice};
use crate::capture::evidence::{Answer, RefusalReason};
use crate::capture::notice::{AuthorizationFacts, PlanFacts, RejectionReason};
use crate::capture::states::ShipmentState;
use crate::capture::tests::support::*;
use crate::capture::why::Missing;
use crate::ids::{CaptureId, DeadLetterId, EventId};

fn revision(revision: u32, lines: &[(&str, u32, &str)], shipping: &str, total: &str) -> PlanFacts {
    PlanFacts { revision, ..plan(lines, shipping, total) }
}

fn registration(order: &str, facts: AuthorizationFacts, plan: PlanFacts) -> Command {
    super::support::registration(order, facts, Some(plan))
}

/// 20.00 for two units of l1, delivery free.
fn two_units() -> PlanFacts {
    revision(1, &[("l1", 2, "20.00")], "0.00", "20.00")
}

fn rejected(world: &mut World) -> Option<RejectedNotice> {
    world.news().into_iter().find_map(|event| {
        let EventContent::Rejected(notice) = event.content else { return None };
        Some(notice)
    })
}

/// What was captured or failed, with its kind: shipment or fee, in minor units.
fn ends(world: &mut World) -> Vec<(Option<String>, CaptureKind, Option<FailureReason>, i64)> {
    let end = |content| match content {
        EventContent::Succeeded(outcome) => Some((outcome, None)),
        EventContent::Failed(outcome, failure) => Some((outcome, Some(failure.reason))),
        EventContent::Unresolved(..)
        | EventContent::Corrected(..)
        | EventContent::Deferred(_)
        | EventContent::Rejected(_)
        | EventContent::RefundRequired(_)
        | EventContent::Expiring(_)
        | EventContent::Expired(_) => None,
    };
    let ends = world.news().into_iter().filter_map(|event| end(event.content));
    ends.map(|(outcome, reason)| {
        let shipment = outcome.shipment.map(|id| id.to_string());
        (shipment, outcome.kind, reason, outcome.amount.expect("given").minor())
    })
    .collect()
}

fn refund(world: &mut World) -> Option<RefundRequired> {
    world.news().into_iter().find_map(|event| {
        let EventContent::RefundRequired(refund) = event.content else { return None };
        assert_eq!(event.id, EventId::of_revision("refund_required", &refund.order, refund.revision));
        Some(refund)
    })
}

/// Captures whatever is sent.
fn capture(world: &mut World, reply: crate::capture::decide::Reply) {
    let Asked::Send { amount, .. } = asked(reply.ticket.as_ref().expect("sent")) else { panic!("{reply:?}") };
    world.answer(reply.ticket, captured(Some(amount)));
}

fn capture_due(world: &mut World) {
    for reply in world.do_due() {
        if reply.ticket.is_some() {
            capture(world, reply);
        }
    }
}

#[test]
fn what_is_registered_ahead_lets_a_notice_be_three_fields_long() {
    let mut world = World::new();
    let ahead = || registration("o", authorized(OFTEN, "r", 11_900), worked_plan());
    assert_eq!(world.receive(ahead()).note, Note::Registered);
    assert_eq!(world.receive(ahead()).note, Note::Repeated);
    assert_eq!(world.authorization("r").expires_at, Some(at(7 * 24 * 3_600)), "watched from now on");
    let reply = world.accept(draft("o", "s1").line("l1", 2).line("l3", 1));
    assert_eq!(reply.note, Note::Planned(gel(10_337)));
    assert!(world.ledger.tables().dead_letters.is_empty());
}

#[test]
fn it_wakes_the_shipments_that_came_before_it() {
    for name in [OFTEN, ONCE] {
        let mut world = World::new();
        for (shipment, line) in [("s1", "l1"), ("s2", "l3")] {
            let reply = world.accept(draft("o", shipment).line(line, 1));
            assert_eq!(reply.note, Note::Awaiting(Missing::Authorization));
        }
        world.receive(registration("o", authorized(name, "r", 11_900), worked_plan()));
        world.do_due();
        assert_eq!(world.order("o").awaiting, 0, "{name}");
        assert!(world.shipment("s1").amount.is_some() && world.shipment("s2").amount.is_some());
    }
}

#[test]
fn a_registration_that_contradicts_registers_nothing() {
    let mut dearer = authorized(OFTEN, "r", 12_000);
    let mut foreign = authorized(OFTEN, "r", 2_000);
    foreign.currency = currency("EUR");
    foreign.amount = None;
    let other = revision(1, &[("l1", 2, "21.00")], "0.00", "21.00");
    dearer.amount = Some(gel(12_000));
    for (facts, plan, path) in [
        (authorized(OFTEN, "r", 2_000), other, "$.data.plan"),
        (dearer, two_units(), "$.data.authorization.amount"),
        (foreign, two_units(), "$.data.authorization"),
        (authorized(OFTEN, "r", 2_000), revision(2, &[("l1", 2, "20.00")], "0.00", "21.00"), "$.data.plan.total"),
    ] {
        let mut world = World::new();
        world.receive(registration("o", authorized(OFTEN, "r", 2_000), two_units()));
        let before = (world.order("o"), world.authorization("r"));
        let reply = world.receive(registration("o", facts, plan));
        assert!(matches!(reply.note, Note::DeadLettered { .. }), "{path}: {reply:?}");
        let notice = rejected(&mut world).expect("announced");
        let reason = if path.ends_with("total") { RejectionReason::Invalid } else { RejectionReason::Conflict };
        assert_eq!((&*notice.path, notice.reason), (path, reason));
        assert_eq!((world.order("o"), world.authorization("r")), before, "{path}");
    }
}

#[test]
fn a_lower_revision_is_ignored_and_a_higher_one_replaces_the_plan() {
    let mut world = World::new();
    let tell = |world: &mut World, plan| world.receive(registration("o", authorized(OFTEN, "r", 9_000), plan)).note;
    assert_eq!(tell(&mut world, revision(2, &[("l1", 2, "30.00")], "0.00", "30.00")), Note::Registered);
    assert_eq!(tell(&mut world, two_units()), Note::Repeated, "lower");
    assert_eq!(world.order("o").plan.expect("registered").total(), gel(3_000));
    assert_eq!(tell(&mut world, revision(5, &[("l2", 1, "40.00")], "0.00", "40.00")), Note::Registered);
    assert_eq!(world.order("o").plan.expect("registered").total(), gel(4_000));
    // A shipment notice can bring one too.
    let with_plan =
        draft("o", "s1").line("l2", 1).plan(PlanFacts { revision: 6, ..plan(&[("l2", 1, "50.00")], "0.00", "50.00") });
    assert_eq!(world.accept(with_plan).note, Note::Planned(gel(5_000)));
}

#[test]
fn the_next_shipment_brings_what_a_revision_adds_and_a_complete_order_a_fee() {
    let mut world = World::new();
    let facts = || authorized(OFTEN, "r", 9_000);
    world.receive(registration("o", facts(), two_units()));
    let reply = world.accept(draft("o", "s1").line("l1", 1));
    capture(&mut world, reply);
    world.receive(registration("o", facts(), revision(2, &[("l1", 2, "30.00")], "0.00", "30.00")));
    assert!(world.due_call().is_none(), "not complete: nothing of its own");
    let reply = world.accept(draft("o", "s2").line("l1", 1));
    assert_eq!(reply.note, Note::Planned(gel(2_000)), "15.00, and 5.00 for the first");
    capture(&mut world, reply);
    ends(&mut world);

    let reply = world.receive(registration("o", facts(), revision(3, &[("l1", 2, "33.00")], "0.00", "33.00")));
    assert!(reply.ready.is_some(), "the fee is ready for a permit");
    capture_due(&mut world);
    assert_eq!(ends(&mut world), [(None, CaptureKind::Fee, None, 300)]);
    let tables = world.ledger.tables();
    let fee = tables.captures.values().last().expect("the fee's");
    assert_eq!(fee.id, CaptureId::of_fee(&account(OFTEN), &reference("r"), &order_id("o"), 1, 0));
    let (event, _) = tables.events.values().last().expect("the fee's");
    assert_eq!(event.id, EventId::of_fee("capture.succeeded", &order_id("o"), 1, 0));
    let EventContent::Succeeded(outcome) = &event.content else { panic!("{event:?}") };
    assert_eq!(outcome.caused_by.as_deref(), Some("evt-o-authorized"));
    drop(tables);

    world.receive(registration("o", facts(), revision(4, &[("l1", 2, "34.00")], "0.00", "34.00")));
    capture_due(&mut world);
    assert_eq!(ends(&mut world), [(None, CaptureKind::Fee, None, 100)], "the second fee of the order");
    assert_eq!(world.balance("r"), (9_000, 3_400, 0));
}

#[test]
fn a_fee_ends_like_any_other_capture() {
    let complete = |held| {
        let mut world = World::new();
        world.receive(registration("o", authorized(OFTEN, "r", held), two_units()));
        let reply = world.accept(draft("o", "s1").line("l1", 2));
        capture(&mut world, reply);
        ends(&mut world);
        let dearer = revision(2, &[("l1", 2, "30.00")], "0.00", "30.00");
        world.receive(registration("o", authorized(OFTEN, "r", held), dearer));
        world
    };
    // Refused by the provider.
    let mut world = complete(9_000);
    let sent = world.due_call();
    world.answer(sent.clone(), Answer::Refused(refusal(RefusalReason::Declined)));
    assert_eq!(ends(&mut world), [(None, CaptureKind::Fee, Some(FailureReason::Declined), 1_000)]);
    // The refusal was not true.
    world.answer(sent, captured(Some(gel(1_000))));
    let [event] = &world.news()[..] else { panic!("one event") };
    let EventContent::Corrected(outcome, _) = &event.content else { panic!("{event:?}") };
    assert_eq!((outcome.kind, outcome.amount), (CaptureKind::Fee, Some(gel(1_000))));
    // In doubt, and found by a look.
    let mut world = complete(9_000);
    let sent = world.due_call();
    world.answer(sent, Answer::Doubt(doubt(crate::capture::evidence::DoubtKind::Timeout)));
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let id = CaptureId::of_fee(&account(OFTEN), &reference("r"), &order_id("o"), 1, 0);
    let found = vec![shown(Some(id), gel(1_000))];
    world.show(look, seen(crate::capture::evidence::AuthorizationView { captures: found, ..view(9_000) }));
    assert_eq!(ends(&mut world), [(None, CaptureKind::Fee, None, 1_000)]);
    // More than remains.
    let mut world = complete(2_500);
    assert!(world.due_call().is_none());
    assert_eq!(ends(&mut world), [(None, CaptureKind::Fee, Some(FailureReason::ExceedsAuthorization), 1_000)]);
    let letter = DeadLetterId::of_fee(&order_id("o"), 1, 0);
    assert_eq!(world.ledger.tables().dead_letters[&letter].reason, "exceeds_authorization");
}

#[test]
fn a_revision_below_what_has_shipped_is_refused() {
    for (lines, total) in [(&[("l1", 1, "20.00")][..], "20.00"), (&[("l2", 2, "20.00")][..], "20.00")] {
        let mut world = World::new();
        world.receive(registration("o", authorized(OFTEN, "r", 9_000), two_units()));
        world.accept(draft("o", "s1").line("l1", 2));
        let reply = world.receive(registration("o", authorized(OFTEN, "r", 9_000), revision(2, lines, "0.00", total)));
        assert!(matches!(reply.note, Note::DeadLettered { .. }), "{reply:?}");
        let notice = rejected(&mut world).expect("announced");
        assert_eq!((notice.reason, &*notice.path), (RejectionReason::Conflict, "$.data.plan.lines"));
        assert_eq!(world.order("o").plan.expect("the old one stands").revision(), 1);
    }
}

#[test]
fn a_revision_below_what_was_captured_calls_for_a_refund_and_captures_nothing_more() {
    let mut world = World::new();
    let facts = || authorized(OFTEN, "r", 9_000);
    world.receive(registration("o", facts(), two_units()));
    let reply = world.accept(draft("o", "s1").line("l1", 1));
    capture(&mut world, reply);
    let cheaper = || revision(2, &[("l1", 2, "6.00")], "0.00", "6.00");
    assert_eq!(world.receive(registration("o", facts(), cheaper())).note, Note::Registered);
    let expected = RefundRequired {
        order: order_id("o"),
        account: account(OFTEN),
        reference: reference("r"),
        revision: 2,
        captured: gel(1_000),
        plan_total: gel(600),
        difference: gel(400),
        caused_by: Some("evt-o-authorized".to_owned()),
        sequence: 2,
    };
    assert_eq!(refund(&mut world), Some(expected));
    world.receive(registration("o", facts(), cheaper()));
    assert_eq!(refund(&mut world), None, "once for each revision");
    assert_eq!(world.accept(draft("o", "s2").line("l1", 1)).note, Note::Zero);
    assert_eq!(world.balance("r"), (9_000, 1_000, 0));
}

#[test]
fn a_refund_is_called_for_when_nothing_is_under_way_any_more() {
    for succeeds in [true, false] {
        let mut world = World::new();
        let facts = || authorized(OFTEN, "r", 9_000);
        world.receive(registration("o", facts(), two_units()));
        let first = world.accept(draft("o", "s1").line("l1", 1));
        let second = world.accept(draft("o", "s2").line("l1", 1));
        assert!(second.ticket.is_none(), "in turn");
        let first = world.answer(first.ticket, captured(Some(gel(1_000))));
        world.receive(registration("o", facts(), revision(2, &[("l1", 2, "6.00")], "0.00", "6.00")));
        assert_eq!(refund(&mut world), None, "the second is under way");
        let answer =
            if succeeds { captured(Some(gel(1_000))) } else { Answer::Refused(refusal(RefusalReason::Declined)) };
        world.answer(first.ticket, answer);
        let refund = refund(&mut world).expect("now");
        let captured = if succeeds { 2_000 } else { 1_000 };
        assert_eq!((refund.captured, refund.difference), (gel(captured), gel(captured - 600)));
        assert_eq!(refund.caused_by, None);
    }
}

#[test]
fn what_collects_is_worked_out_anew_under_the_plan_as_it_stands() {
    let mut world = World::new();
    let facts = || authorized(ONCE, "r", 4_000);
    world.receive(registration("o", facts(), revision(1, &[("l1", 3, "30.00")], "0.00", "30.00")));
    world.accept(draft("o", "s1").line("l1", 1));
    world.accept(draft("o", "s2").line("l1", 1));
    // One unit fewer, and dearer: what has shipped is complete now.
    let reply = world.receive(registration("o", facts(), revision(2, &[("l1", 2, "25.00")], "0.00", "25.00")));
    assert!(reply.ready.is_some(), "complete: read at once");
    let read = world.due_call();
    let frozen = world.show(read, seen(view(4_000)));
    world.answer(frozen.ticket, captured(None));
    assert_eq!(
        ends(&mut world),
        [
            (Some("s1".to_owned()), CaptureKind::Batch, None, 1_250),
            (Some("s2".to_owned()), CaptureKind::Batch, None, 1_250)
        ]
    );
}

#[test]
fn what_a_revision_makes_too_dear_is_refused_alone() {
    let mut world = World::new();
    let facts = || authorized(ONCE, "r", 3_000);
    world.receive(registration("o", facts(), revision(1, &[("l1", 2, "20.00"), ("l2", 1, "5.00")], "0.00", "25.00")));
    for (shipment, line) in [("s1", "l1"), ("s2", "l1"), ("s3", "l2")] {
        world.accept(draft("o", shipment).line(line, 1));
    }
    let dearer = revision(2, &[("l1", 2, "40.00"), ("l2", 1, "5.00")], "0.00", "45.00");
    world.receive(registration("o", facts(), dearer));
    let read = world.due_call();
    let frozen = world.show(read, seen(view(3_000)));
    let Asked::Send { amount, .. } = asked(frozen.ticket.as_ref().expect("sent")) else { panic!() };
    assert_eq!(amount, gel(2_500), "the first and the third");
    assert_eq!(world.shipment("s2").state, ShipmentState::Refused);
    assert_eq!(world.shipment("s2").reason, Some(FailureReason::ExceedsAuthorization));
}

#[test]
fn a_registration_waits_for_its_account_and_ends_as_unknown() {
    let mut world = World::new();
    let ahead = registration("o", authorized("nobody", "r", 2_000), two_units());
    assert_eq!(world.receive(ahead).note, Note::Kept(FailureReason::UnknownAccount));
    assert_eq!(world.order("o").kept, 1);
    for _ in 0..30 {
        world.clock.advance(HOUR);
        world.do_due();
    }
    let notice = rejected(&mut world).expect("it ends");
    assert_eq!(notice.reason, RejectionReason::UnknownAccount);
    assert_eq!((world.order("o").kept, world.news()), (0, Vec::new()), "once");
}

#[test]
fn a_revision_keeps_the_currency_of_its_order() {
    let mut world = World::new();
    world.receive(registration("o", authorized(OFTEN, "r", 11_900), worked_plan()));
    let euro = in_euro(authorized(OFTEN, "euro", 11_900));
    let revised = PlanFacts { revision: 2, ..worked_plan() };
    let reply = world.receive(registration("o", euro, revised));
    let Note::DeadLettered { reason, path, message, .. } = reply.note else { panic!("{reply:?}") };
    assert_eq!((reason, &*path), (RejectionReason::Conflict, "$.data.plan"));
    assert_eq!(message, "the order's plan is in GEL: a revision keeps its currency");
    assert_eq!(world.order("o").plan.map(|plan| plan.revision()), Some(1), "it stands");
}

#[test]
fn a_later_expiry_of_a_hold_that_is_not_over_is_not_taken_from_a_notice() {
    let mut world = World::new();
    world.receive(registration("o", authorized(OFTEN, "r", 11_900), worked_plan()));
    let mut later = authorized(OFTEN, "r", 11_900);
    later.expires_at = Some(at(30 * 24 * 3_600));
    world.receive(registration("o", later, worked_plan()));
    assert_eq!(world.authorization("r").expires_at, Some(at(7 * 24 * 3_600)));
}
