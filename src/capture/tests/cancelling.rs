//! `order.cancelled`, and the end of the grace after a final notice.

use crate::capture::decide::{Command, Due, Note};
use crate::capture::event::{CaptureKind, EventContent, FailureReason};
use crate::capture::evidence::{Answer, RefusalReason};
use crate::capture::notice::{PlanFacts, Quantity, RejectionReason, ShippingPolicy};
use crate::capture::plan::LineProgress;
use crate::capture::states::ShipmentState;
use crate::capture::tests::support::*;
use crate::capture::why::Missing;
use crate::ids::EventId;

/// 3 of l1 and 1 of l3, delivery 4.90, total 119.00; nothing has shipped.
fn registered(name: &str) -> World {
    let mut world = World::new();
    world.receive(registration("o", authorized(name, "r", 11_900), Some(worked_plan())));
    world
}

fn progress(world: &World) -> Vec<(i64, i64)> {
    let units = |quantity: Quantity| quantity.millionths() / 1_000_000;
    let line = |at: &LineProgress| (units(at.shipped), units(at.cancelled));
    world.order("o").progress.iter().map(line).collect()
}

fn capture(world: &mut World, reply: crate::capture::decide::Reply) {
    let Asked::Send { amount, .. } = asked(reply.ticket.as_ref().expect("sent")) else { panic!("{reply:?}") };
    world.answer(reply.ticket, captured(Some(amount)));
}

fn capture_due(world: &mut World) -> Vec<i64> {
    let mut amounts = Vec::new();
    for reply in world.do_due() {
        if let Some(Asked::Send { amount, .. }) = reply.ticket.as_ref().map(asked) {
            amounts.push(amount.minor());
            capture(world, reply);
        }
    }
    amounts
}

#[test]
fn cancelled_numbers_are_absolute_and_never_touch_what_has_shipped() {
    for (cancellations, expected) in [
        (&[&[("l1", 1)][..]][..], [(1, 1), (0, 0)]),
        (&[&[("l1", 1)], &[("l1", 1)]], [(1, 1), (0, 0)]),
        (&[&[("l1", 2)], &[("l1", 1)]], [(1, 2), (0, 0)]),
        (&[&[("l1", 9)]], [(1, 2), (0, 0)]),
        (&[&[("l1", 1), ("l3", 1)]], [(1, 1), (0, 1)]),
        (&[&[]], [(1, 2), (0, 1)]),
        (&[&[("l1", 1)], &[], &[]], [(1, 2), (0, 1)]),
    ] {
        let mut world = registered(OFTEN);
        world.accept(draft("o", "s1").line("l1", 1));
        for lines in cancellations {
            world.receive(cancellation("o", lines));
        }
        assert_eq!(progress(&world), expected, "{cancellations:?}");
        let again = world.receive(cancellation("o", cancellations[cancellations.len() - 1]));
        assert_eq!(again.note, Note::Repeated, "{cancellations:?}");
    }
}

#[test]
fn shipments_of_cancelled_units_are_refused() {
    let mut world = registered(OFTEN);
    world.receive(cancellation("o", &[("l1", 2)]));
    let reply = world.accept(draft("o", "s1").line("l1", 2));
    assert_eq!(reply.note, Note::Refused(FailureReason::OrderCancelled));
    let reply = world.accept(draft("o", "s2").line("l1", 4));
    assert_eq!(reply.note, Note::Refused(FailureReason::OverShipped), "more than was ordered in the first place");
    assert!(matches!(world.accept(draft("o", "s3").line("l1", 1)).note, Note::Planned(_)));
}

#[test]
fn what_remains_owes_its_goods_and_the_whole_fee() {
    let mut world = registered(OFTEN);
    let reply = world.accept(draft("o", "s1").line("l1", 2).line("l3", 1));
    assert_eq!(reply.note, Note::Planned(gel(10_337)));
    capture(&mut world, reply);
    let reply = world.receive(cancellation("o", &[]));
    assert_eq!(reply.note, Note::Cancelled);
    assert!(reply.ready.is_some());
    // 29.98 + 69.13 + 4.90 = 104.01, and 103.37 were given.
    assert_eq!(capture_due(&mut world), [64]);
    assert_eq!(world.balance("r"), (11_900, 10_401, 0));
    assert!(world.receive(cancellation("o", &[])).ready.is_none());
}

#[test]
fn nothing_shipped_owes_nothing() {
    let mut world = registered(OFTEN);
    assert_eq!(world.receive(cancellation("o", &[])).note, Note::Cancelled);
    assert!(capture_due(&mut world).is_empty());
    assert_eq!(world.accept(draft("o", "s1").line("l1", 1)).note, Note::Refused(FailureReason::OrderCancelled));
}

#[test]
fn what_collects_is_captured_at_once_when_the_rest_is_cancelled() {
    let mut world = registered(ONCE);
    world.accept(draft("o", "s1").line("l1", 2).line("l3", 1));
    world.receive(cancellation("o", &[("l1", 1)]));
    let read = world.due_call();
    let frozen = world.show(read, seen(view(11_900)));
    let Asked::Send { amount, .. } = asked(frozen.ticket.as_ref().expect("sent")) else { panic!() };
    assert_eq!(amount, gel(10_401));
    assert_eq!(world.capture_of("s1").kind, CaptureKind::Shipment);
}

#[test]
fn an_order_with_explicit_amounts_is_cancelled_as_a_whole_or_not_at_all() {
    let mut world = World::new();
    let reply = world.accept(draft("o", "s1").amount("1.00").on(authorized(ONCE, "r", 2_000)));
    assert_eq!(reply.note, Note::Deferred);
    assert!(matches!(world.receive(cancellation("o", &[("l1", 1)])).note, Note::DeadLettered { .. }));
    assert_eq!(world.receive(cancellation("o", &[])).note, Note::Cancelled);
    let read = world.due_call();
    let frozen = world.show(read, seen(view(2_000)));
    assert_eq!(frozen.note, Note::Frozen, "nothing more will ship");
    assert_eq!(world.accept(draft("o", "s2").amount("1.00")).note, Note::Refused(FailureReason::OrderCancelled));
}

#[test]
fn kept_notices_apply_in_the_order_they_arrived() {
    let shipped = || draft("o", "s1").line("l1", 2).command();
    let cancelled = || cancellation("o", &[]);
    for (messages, expected) in
        [([shipped(), cancelled()], [(2, 1), (0, 1)]), ([cancelled(), shipped()], [(0, 3), (0, 1)])]
    {
        for name in [OFTEN, ONCE] {
            let mut world = World::new();
            for message in messages.clone() {
                let reply = world.receive(message);
                assert!(matches!(reply.note, Note::Awaiting(_) | Note::Kept(FailureReason::UnknownPlan)));
            }
            world.receive(registration("o", authorized(name, "r", 11_900), Some(worked_plan())));
            world.do_due();
            assert_eq!(progress(&world), expected, "{name}");
            let order = world.order("o");
            assert_eq!((order.awaiting, order.kept), (0, 0));
        }
    }
}

#[test]
fn what_left_before_the_cancellation_is_not_cancelled_though_its_notice_waits() {
    let mut world = registered(OFTEN);
    // A line that the plan does not have is nobody's to cancel.
    let waits = draft("o", "s1").line("l1", 1).line("other", 1).on(authorized("new", "r2", 500));
    assert_eq!(world.accept(waits).note, Note::Awaiting(Missing::Account));
    world.receive(cancellation("o", &[]));
    assert_eq!(progress(&world), [(0, 2), (0, 1)], "one has left");
}

#[test]
fn what_left_after_a_cancellation_that_was_kept_is_cancelled_all_the_same() {
    let mut world = registered(OFTEN);
    let waits = |shipment| draft("o", shipment).line("l1", 1).on(authorized("new", "r2", 500));
    world.accept(waits("s1"));
    let kept = cancellation("o", &[("l1", 9), ("l4", 1)]);
    assert_eq!(world.receive(kept).note, Note::Kept(FailureReason::UnknownPlan));
    world.accept(waits("s2"));
    let lines = [("l1", 3, "44.97"), ("l3", 1, "69.13"), ("l4", 1, "1.00")];
    let revised = PlanFacts { revision: 2, ..plan(&lines, "4.90", "120.00") };
    world.receive(registration("o", authorized(OFTEN, "r", 11_900), Some(revised)));
    world.do_due();
    assert_eq!(progress(&world), [(0, 2), (0, 0), (0, 1)], "one had left before");
}

#[test]
fn a_cancellation_whose_plan_never_comes_ends_as_a_dead_letter() {
    let mut world = World::new();
    assert_eq!(world.receive(cancellation("o", &[])).note, Note::Kept(FailureReason::UnknownPlan));
    world.receive(cancellation("o", &[]));
    assert_eq!(world.order("o").kept, 1, "the same one waits once");
    for _ in 0..23 {
        world.clock.advance(HOUR);
        world.do_due();
    }
    assert_eq!(world.news(), []);
    world.clock.advance(HOUR);
    world.do_due();
    let [event] = &world.news()[..] else { panic!("one event") };
    let EventContent::Rejected(notice) = &event.content else { panic!("{event:?}") };
    assert_eq!((notice.reason, &*notice.path), (RejectionReason::UnknownPlan, "$.data.order_id"));
    assert_eq!(world.ledger.tables().dead_letters[&notice.dead_letter].reason, "unknown_plan");
    assert_eq!(world.order("o").kept, 0);
}

#[test]
fn a_line_that_the_plan_does_not_have_yet_is_waited_for() {
    let mut world = registered(OFTEN);
    assert_eq!(world.receive(cancellation("o", &[("new", 1)])).note, Note::Kept(FailureReason::UnknownPlan));
    let mut revised = plan(&[("l1", 3, "44.97"), ("l3", 1, "69.13"), ("new", 2, "1.00")], "4.90", "120.00");
    revised.revision = 2;
    world.receive(registration("o", authorized(OFTEN, "r", 11_900), Some(revised)));
    world.do_due();
    assert_eq!(progress(&world), [(0, 0), (0, 0), (0, 1)]);
}

#[test]
fn after_the_grace_of_a_final_notice_what_has_not_shipped_counts_as_cancelled() {
    let mut world = registered(OFTEN);
    let reply = world.accept(draft("o", "s1").line("l1", 2).line("l3", 1).last());
    capture(&mut world, reply);
    world.clock.advance(899 * SECOND);
    assert!(capture_due(&mut world).is_empty());
    world.clock.advance(SECOND);
    world.do_due();
    assert_eq!(capture_due(&mut world), [64], "the rest of the delivery fee");
    assert_eq!(progress(&world), [(2, 0), (1, 0)], "it only counts as cancelled");
    // It has shipped after all: it is earned, and captured.
    let reply = world.accept(draft("o", "s2").line("l1", 1));
    assert_eq!(reply.note, Note::Planned(gel(1_499)));
    capture(&mut world, reply);
    assert_eq!(world.balance("r"), (11_900, 11_900, 0), "to the minor unit");
}

#[test]
fn an_order_is_closed_at_the_end_of_its_grace_or_later_and_no_earlier() {
    for (minutes, is_closed) in [(14, false), (15, true), (16, true)] {
        let mut world = registered(OFTEN);
        world.accept(draft("o", "s1").line("l1", 2).last());
        world.clock.advance(minutes * MINUTE);
        world.tell(Command::Due(Due::Order(world.order("o").key)));
        let order = world.order("o");
        assert_eq!((order.is_closed, order.closes_at.is_none()), (is_closed, is_closed), "{minutes}");
    }
}

#[test]
fn a_final_notice_that_completes_its_order_leaves_nothing_to_wait_for() {
    let mut world = registered(OFTEN);
    world.accept(draft("o", "s1").line("l1", 2).last());
    assert!(world.order("o").closes_at.is_some());
    world.accept(draft("o", "s2").line("l1", 1).line("l3", 1));
    assert_eq!(world.order("o").closes_at, None);
}

#[test]
fn final_is_not_lost_while_a_shipment_waits() {
    let grace_begins = Some(at(3_600));
    for (first, second, final_at) in [(true, false, grace_begins), (false, true, grace_begins), (false, false, None)] {
        let mut world = World::new();
        let notice = |is_final: bool| {
            let notice = draft("o", "s1").line("l1", 1);
            if is_final { notice.last() } else { notice }
        };
        world.accept(notice(first));
        world.accept(notice(second));
        world.clock.advance(HOUR);
        world.receive(registration("o", authorized(OFTEN, "r", 11_900), Some(worked_plan())));
        world.do_due();
        assert_eq!(world.order("o").final_at, final_at, "the grace begins when it is taken up");
    }
}

#[test]
fn a_fee_due_with_the_last_unit_is_taken_when_the_last_unit_is_cancelled() {
    let mut world = World::new();
    let mut last = worked_plan();
    last.shipping_policy = ShippingPolicy::Last;
    world.receive(registration("o", authorized(OFTEN, "r", 11_900), Some(last)));
    let reply = world.accept(draft("o", "s1").line("l1", 3));
    capture(&mut world, reply);
    world.receive(cancellation("o", &[("l3", 1)]));
    assert_eq!(capture_due(&mut world), [490]);
}

#[test]
fn a_notice_that_waits_is_looked_at_once_though_two_workers_find_it_due() {
    let mut world = World::new();
    world.receive(cancellation("o", &[]));
    let due = Due::Kept(*world.ledger.tables().kept.keys().next().expect("it waits"));
    world.clock.advance(24 * HOUR);
    let [first, second] = [(); 2].map(|()| world.tell(Command::Due(due)).note);
    assert!(matches!(first, Note::LookAgain(_)), "{first:?}");
    assert_eq!(second, Note::Nothing, "else it would be kept anew after its end");
}

/// The one failure since somebody last asked: why, and of which amount.
fn failed_fee(world: &mut World) -> (FailureReason, Option<i64>) {
    let news = world.news();
    let [event] = &news[..] else { panic!("{news:?}") };
    let EventContent::Failed(outcome, failure) = &event.content else { panic!("{event:?}") };
    assert_eq!((outcome.kind, outcome.attempts), (CaptureKind::Fee, 0));
    (failure.reason, outcome.amount.map(crate::money::Money::minor))
}

#[test]
fn what_an_order_owes_is_refused_like_anything_else() {
    let mut rules = policy();
    rules.accounts.get_mut(&account(OFTEN)).expect("configured").minimum = Some("0.65".parse().expect("a decimal"));
    let euro = in_euro(authorized(OFTEN, "euro", 11_900));
    let small = authorized(OFTEN, "small", 63);
    for (rules, newest, reason) in [
        (rules, None, FailureReason::BelowMinimum),
        (policy(), Some(euro), FailureReason::CurrencyMismatch),
        (policy(), Some(small), FailureReason::ExceedsAuthorization),
    ] {
        let mut world = registered(OFTEN);
        let reply = world.accept(draft("o", "s1").line("l1", 2).line("l3", 1));
        capture(&mut world, reply);
        world.restart_with(rules);
        if let Some(newest) = newest {
            world.receive(registration("o", newest, None));
        }
        world.news();
        assert_eq!(world.receive(cancellation("o", &[])).note, Note::Cancelled);
        assert_eq!(failed_fee(&mut world), (reason, Some(64)));
        assert_eq!(world.ledger.tables().dead_letters.values().next().map(|letter| letter.fee), Some(Some(1)));
        assert!(capture_due(&mut world).is_empty());
    }
}

#[test]
fn a_fee_that_was_captured_after_its_failure_is_corrected_under_its_own_event() {
    let mut world = registered(OFTEN);
    let reply = world.accept(draft("o", "s1").line("l1", 2).line("l3", 1));
    capture(&mut world, reply);
    world.receive(cancellation("o", &[]));
    let ticket = world.due_call();
    world.answer(ticket.clone(), Answer::Refused(refusal(RefusalReason::Declined)));
    world.news();
    assert_eq!(world.answer(ticket, captured(Some(gel(64)))).note, Note::Corrected);
    let news = world.news();
    let [event] = &news[..] else { panic!("{news:?}") };
    let EventContent::Corrected(outcome, correction) = &event.content else { panic!("{event:?}") };
    assert_eq!((outcome.kind, outcome.amount, outcome.generation), (CaptureKind::Fee, Some(gel(64)), 0));
    assert_eq!((correction.was, correction.now), ("failed", "captured"));
    assert_eq!(event.id, EventId::of_fee("capture.corrected", &order_id("o"), 1, 0));
    assert_eq!(world.balance("r"), (11_900, 10_401, 0));
}

#[test]
fn what_an_order_owes_is_not_forgotten_while_its_account_is_not_in_the_settings() {
    let mut world = registered(OFTEN);
    let shipped = || draft("o", "s1").line("l1", 2).line("l3", 1).last();
    let reply = world.accept(shipped());
    capture(&mut world, reply);
    let mut without = policy();
    without.accounts.remove(&account(OFTEN));
    world.restart_with(without);
    world.receive(cancellation("o", &[]));
    assert_eq!(world.accept(shipped()).note, Note::Repeated, "it comes once more, and changes nothing");
    world.restart_with(policy());
    world.clock.advance(HOUR);
    world.do_due();
    assert_eq!(capture_due(&mut world), [64]);
}

#[test]
fn a_cancellation_of_everything_does_not_refuse_what_came_before_it_and_waits() {
    let mut world = World::new();
    world.accept(draft("o", "s0").amount("5.00").on(authorized(OFTEN, "r", 10_000)));
    world.accept(draft("o", "s1").amount("20.00").on(authorized("new", "r2", 10_000)));
    assert_eq!(world.receive(cancellation("o", &[])).note, Note::Kept(FailureReason::UnknownAccount));
    world.restart_with(policy_with("new"));
    world.clock.advance(HOUR);
    world.do_due();
    assert_eq!((world.shipment("s1").state, world.shipment("s1").amount), (ShipmentState::Covered, Some(gel(2_000))));
    world.clock.advance(HOUR);
    world.do_due();
    let after = world.accept(draft("o", "s2").amount("1.00"));
    assert_eq!(after.note, Note::Refused(FailureReason::OrderCancelled));
}
