//! The worker stops between two steps. What is in the ledger decides what happens next.

use futures_util::FutureExt as _;

use crate::capture::decide::{Command, Evidence, Note};
use crate::capture::event::{EventContent, FailureReason};
use crate::capture::evidence::{AuthorizationStatus, AuthorizationView, DoubtKind, Reading};
use crate::capture::states::CaptureState;
use crate::capture::tests::support::*;
use crate::ledger::Ledger as _;

/// What a worker does first: everything that was being sent is in doubt.
fn start_up(world: &mut World) {
    let interrupted = world.ledger.interrupted().now_or_never().expect("at once").expect("memory does not fail");
    for (capture, epoch) in interrupted {
        let reply = world.settle(capture, epoch, Evidence::Interrupted);
        assert!(matches!(reply.note, Note::InDoubt(_)), "{reply:?}");
    }
}

fn sent() -> World {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 10_000)));
    assert_eq!(world.capture_of("s1").state, CaptureState::Sending);
    world
}

#[test]
fn before_t1_the_message_comes_again() {
    let mut world = World::new();
    let notice = draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 10_000));
    world.accept(notice.clone());
    assert_eq!(world.accept(notice).note, Note::Repeated, "accepted, but not acknowledged");
    assert_eq!(world.balance("r"), (10_000, 0, 1_000));
}

#[test]
fn between_t1_and_t2_it_is_found_and_sent() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 10_000)).no_permit());
    start_up(&mut world);
    assert_eq!(world.capture_of("s1").state, CaptureState::Planned);
    assert!(matches!(asked(&world.due_call().expect("due")), Asked::Send { epoch: 1, .. }));
}

#[test]
fn between_t2_and_t3_it_is_in_doubt_and_looked_at_at_once() {
    for (shown_capture, expected) in [(true, "capture.succeeded"), (false, "resent")] {
        let mut world = sent();
        start_up(&mut world);
        assert_eq!(world.capture_of("s1").due_at, Some(at(0)));
        let look = world.due_call();
        let id = world.capture_of("s1").id;
        let captures = if shown_capture { vec![shown(Some(id), gel(1_000))] } else { Vec::new() };
        let reply = world.show(look, seen(AuthorizationView { captures, ..view(10_000) }));
        if shown_capture {
            assert_eq!(reply.note, Note::Captured(gel(1_000)));
            assert_eq!(world.news()[0].content.kind(), expected);
        } else {
            let Asked::Send { amount, .. } = asked(&reply.ticket.expect(expected)) else { panic!() };
            assert_eq!(amount, gel(1_000));
            assert_eq!(world.capture_of("s1").id, id, "under the same key");
        }
    }
}

#[test]
fn the_answer_of_a_worker_that_was_thought_gone_counts_only_as_proof() {
    for (answer, expected) in [
        (captured(Some(gel(1_000))), Note::Captured(gel(1_000))),
        (not_executed(), Note::Nothing),
        (
            crate::capture::evidence::Answer::Refused(refusal(crate::capture::evidence::RefusalReason::Declined)),
            Note::Nothing,
        ),
    ] {
        let mut world = sent();
        let key = world.capture_of("s1").key;
        start_up(&mut world);
        world.due_call();
        assert_eq!(world.settle(key, 1, Evidence::Answer(answer)).note, expected);
    }
}

#[test]
fn a_look_whose_answer_never_comes_is_repeated() {
    let mut world = sent();
    start_up(&mut world);
    let lost = world.due_call();
    assert!(world.due_call().is_none(), "under way");
    world.clock.advance(41 * SECOND);
    let again = world.due_call();
    let expired = || seen(AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) });
    assert_eq!(world.show(lost, expired()).note, Note::Nothing, "an old epoch");
    assert!(matches!(world.show(again, expired()).note, Note::InDoubt(_)));
}

#[test]
fn between_t3_and_t4_the_event_is_published_again_under_its_id() {
    let mut world = sent();
    let key = world.capture_of("s1").key;
    world.settle(key, 1, Evidence::Answer(captured(Some(gel(1_000)))));
    world.clock.advance(SECOND);
    let now = world.clock.now().wall;
    let unpublished = |world: &World| {
        world.ledger.unpublished(0, now, 10).now_or_never().expect("at once").expect("memory does not fail")
    };
    let rows = unpublished(&world);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows, unpublished(&world), "the same bytes");
    let published = || Command::Published(rows.iter().map(|row| row.row).collect());
    assert_eq!(world.tell(published()).note, Note::Published);
    assert_eq!(unpublished(&world), []);
    world.tell(published());
}

#[test]
fn doubt_that_lasts_is_looked_at_for_ever() {
    let mut world = sent();
    start_up(&mut world);
    let mut looks = Vec::new();
    for _ in 0..12 {
        let due = world.capture_of("s1").due_at.expect("looked at again");
        looks.push((due - world.clock.now().wall).num_seconds());
        world.clock.advance_to(due);
        let look = world.due_call();
        world.show(look, Reading::Unclear(doubt(DoubtKind::Timeout)));
    }
    assert_eq!(looks, [0, 5, 15, 60, 300, 900, 3_600, 3_600, 3_600, 3_600, 3_600, 3_600]);
    assert_eq!(world.news(), [], "and never given up");
}

#[test]
fn a_single_capture_that_was_being_sent_is_found_out_too() {
    let mut world = World::new();
    let reply = world.accept(draft("o", "s1").line("l1", 1).on(authorized(ONCE, "r", 500)).plan(plan(
        &[("l1", 1, "5.00")],
        "0.00",
        "5.00",
    )));
    let frozen = world.show(reply.ticket, seen(view(500)));
    assert!(matches!(asked(&frozen.ticket.expect("sent")), Asked::Send { .. }));
    start_up(&mut world);
    let look = world.due_call();
    let elsewhere = AuthorizationView { captures: vec![shown(None, gel(400))], ..view(500) };
    assert_eq!(world.show(look, seen(elsewhere)).note, Note::Failed(FailureReason::CapturedElsewhere));
    let news = world.news();
    let Some(EventContent::Failed(_, failure)) = news.last().map(|event| &event.content) else { panic!() };
    assert!(failure.money_may_have_moved);
}

#[test]
fn a_read_before_a_single_capture_that_was_lost_is_repeated() {
    let mut world = World::new();
    let single = plan(&[("l1", 1, "5.00")], "0.00", "5.00");
    let lost = world.accept(draft("o", "s1").line("l1", 1).on(authorized(ONCE, "r", 500)).plan(single));
    start_up(&mut world);
    assert!(world.due_call().is_none());
    world.clock.advance(41 * SECOND);
    let again = world.due_call();
    assert_eq!(world.show(lost.ticket, seen(view(500))).note, Note::Nothing, "an old epoch");
    assert_eq!(world.show(again, seen(view(500))).note, Note::Frozen);
}
