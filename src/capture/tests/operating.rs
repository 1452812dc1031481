//! What an operator does by hand: a look, and the two ways to close a capture in doubt.

use crate::capture::decide::{Closing, Command, Evidence, Intervention, Note, Operator, Reply};
use crate::capture::event::{CaptureKind, Correction, Event, EventContent, FailureReason, OperatorNote, ResolvedBy};
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, DoubtKind, ProviderBalance, RefusalReason,
};
use crate::capture::records::{AuthorizationKey, Capture, CaptureKey, SingleUse};
use crate::capture::states::CaptureState;
use crate::capture::tests::support::*;
use crate::ids::CaptureId;

type Prepare = fn(&mut World);

fn often(shipment: &str, amount: &str) -> Draft {
    draft("o", shipment).amount(amount).on(authorized(OFTEN, "r", 10_000))
}

fn timeout() -> Answer {
    Answer::Doubt(doubt(DoubtKind::Timeout))
}

fn by_hand(what: Intervention) -> Command {
    Command::Operator(Box::new(Operator { by: "olga".to_owned(), why: "asked them".to_owned(), what }))
}

fn close(capture: &Capture, closing: Closing) -> Command {
    by_hand(Intervention::Close { capture: capture.key, id: capture.id, closing })
}

fn look(capture: &Capture) -> Command {
    by_hand(Intervention::Look { capture: capture.key, id: capture.id })
}

fn as_captured() -> Closing {
    Closing::Captured { reference: "pay-9".to_owned() }
}

/// s1 of 10.00 in doubt, s2 of 20.00 behind it.
fn in_doubt() -> (World, Capture) {
    let mut world = World::new();
    let one = world.accept(often("s1", "10.00"));
    world.accept(draft("o", "s2").amount("20.00"));
    world.answer(one.ticket, timeout());
    world.news();
    let capture = world.capture_of("s1");
    (world, capture)
}

fn ours(id: CaptureId) -> AuthorizationView {
    AuthorizationView { captures: vec![shown(Some(id), gel(1_000))], ..view(10_000) }
}

/// The one capture of an authorization is sent, for one of two units.
fn sent_once() -> (World, Reply) {
    let mut world = World::new();
    let plan = plan(&[("l1", 2, "20.00")], "0.00", "20.00");
    world.accept(draft("o", "s1").line("l1", 1).on(authorized(ONCE, "r", 2_000)).plan(plan).last());
    world.clock.advance(15 * MINUTE);
    let read = world.due_call();
    let sent = world.show(read, seen(view(2_000)));
    (world, sent)
}

#[test]
fn closed_as_captured_it_is_booked_and_published_with_the_providers_reference() {
    let (mut world, capture) = in_doubt();
    let closed = world.tell(close(&capture, as_captured()));
    assert_eq!(closed.note, Note::Captured(gel(1_000)));
    assert!(closed.ready.is_some(), "the turn is handed on");
    let [Event { content: EventContent::Succeeded(outcome), .. }] = &world.news()[..] else { panic!() };
    assert_eq!((outcome.resolved_by, outcome.provider_reference.as_deref()), (ResolvedBy::Operator, Some("pay-9")));
    assert_eq!(world.balance("r"), (10_000, 1_000, 2_000));
    let history = world.ledger.tables().history.clone();
    let line = history.iter().find(|note| note.what == "closed").expect("it is in its history");
    assert_eq!(line.detail, "as captured, with the provider's pay-9, by olga: asked them");
    // What comes later changes nothing.
    let late = world.settle(capture.key, capture.progress.epoch, Evidence::Answer(captured(Some(gel(1_000)))));
    assert_eq!((late.note, world.news()), (Note::Nothing, Vec::new()));
}

#[test]
fn closed_as_unresolved_it_keeps_its_reservation_and_absorbs() {
    let (mut world, capture) = in_doubt();
    let closed = world.tell(close(&capture, Closing::Unresolved));
    assert_eq!(closed.note, Note::Unresolved(gel(1_000)));
    assert!(closed.ready.is_some(), "the turn is handed on");
    let [Event { content: EventContent::Unresolved(outcome, note), .. }] = &world.news()[..] else { panic!() };
    assert_eq!(*note, OperatorNote { who: "olga".to_owned(), why: "asked them".to_owned() });
    assert_eq!((outcome.amount, outcome.resolved_by), (Some(gel(1_000)), ResolvedBy::Operator));
    assert_eq!(world.balance("r"), (10_000, 0, 3_000), "reserved still");
    assert!(world.ledger.tables().dead_letters.is_empty(), "nothing is left to be replayed");
    for evidence in [Evidence::Interrupted, Evidence::Answer(timeout()), Evidence::Reading(seen(view(10_000)))] {
        assert_eq!(world.settle(capture.key, capture.progress.epoch, evidence).note, Note::Nothing);
    }
    for closing in [as_captured(), Closing::Unresolved] {
        assert!(matches!(world.tell(close(&capture, closing)).note, Note::NotDone(_)), "its outcome stands");
    }
    assert_eq!(world.news(), []);
    assert_eq!(world.accept(draft("o", "s3").amount("70.01")).note, Note::Refused(FailureReason::ExceedsAuthorization));
}

/// Evidence for an unresolved capture: by a look at it, and by a read about something else.
#[test]
fn evidence_for_an_unresolved_capture_is_admitted_whoever_brings_it() {
    for by_look in [true, false] {
        let (mut world, capture) = in_doubt();
        world.tell(close(&capture, Closing::Unresolved));
        world.news();
        let reply = if by_look {
            let ticket = world.tell(look(&capture)).ticket;
            world.show(ticket, seen(ours(capture.id)))
        } else {
            let two = world.due_call();
            world.answer(two, timeout());
            world.clock.advance(2 * SECOND);
            let ticket = world.due_call();
            world.show(ticket, seen(ours(capture.id)))
        };
        assert_eq!(reply.note, Note::Corrected, "by look: {by_look}");
        let news = world.news();
        let [Event { content: EventContent::Corrected(outcome, correction), .. }] = &news[..] else {
            panic!("{news:?}")
        };
        assert_eq!(*correction, Correction { was: "unresolved", now: "captured" });
        assert_eq!(outcome.amount, Some(gel(1_000)));
        assert_eq!(world.balance("r"), (10_000, 1_000, 2_000));
        assert_eq!(world.authorization("r").watch.foreign, None, "it was ours");
        assert_eq!(world.capture_of("s1").state, CaptureState::Unresolved);
    }
}

#[test]
fn the_end_of_an_authorization_shows_what_became_of_an_unresolved_capture() {
    let mut world = World::new();
    let one = world.accept(often("s1", "10.00"));
    world.answer(one.ticket, timeout());
    let capture = world.capture_of("s1");
    world.tell(close(&capture, Closing::Unresolved));
    world.clock.advance_to(at(7 * 24 * 3_600));
    let expired = || {
        let balance =
            ProviderBalance { captured: Some(gel(1_000)), remaining: Some(gel(0)), ..ProviderBalance::default() };
        seen(AuthorizationView { status: AuthorizationStatus::Expired, balance, ..ours(capture.id) })
    };
    let ticket = world.due_call();
    assert_eq!(world.show(ticket, expired()).note, Note::Corrected);
    world.clock.advance(HOUR);
    let ticket = world.due_call();
    let over = world.show(ticket, expired());
    assert_eq!(over.note, Note::Expired { captured_elsewhere: gel(0), released: gel(9_000) }, "it was ours");
}

#[test]
fn only_doubt_can_be_ended_by_hand() {
    let cases: [(&str, Prepare); 4] = [
        ("planned", |world| drop(world.accept(often("s1", "10.00").no_permit()))),
        ("being sent", |world| drop(world.accept(often("s1", "10.00")))),
        ("captured", |world| {
            let one = world.accept(often("s1", "10.00"));
            world.answer(one.ticket, captured(Some(gel(1_000))));
        }),
        ("failed", |world| {
            let one = world.accept(often("s1", "10.00"));
            world.answer(one.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
        }),
    ];
    for (what, prepare) in cases {
        for closing in [as_captured(), Closing::Unresolved] {
            let mut world = World::new();
            prepare(&mut world);
            let before = world.capture_of("s1");
            world.news();
            let reply = world.tell(close(&before, closing));
            assert!(matches!(reply.note, Note::NotDone(_)), "{what}: {reply:?}");
            assert_eq!((world.capture_of("s1"), world.news()), (before, Vec::new()), "{what}");
        }
    }
}

#[test]
fn what_was_being_sent_can_be_closed_once_no_answer_can_come() {
    for (seconds, is_done) in [(49, false), (50, true)] {
        let mut world = World::new();
        world.accept(often("s1", "10.00"));
        let capture = world.capture_of("s1");
        world.clock.advance(seconds * SECOND);
        let closed = world.tell(close(&capture, Closing::Unresolved));
        assert_eq!(closed.note == Note::Unresolved(gel(1_000)), is_done, "after {seconds} s: {closed:?}");
    }
}

#[test]
fn another_capture_than_was_meant_is_not_touched() {
    let (mut world, capture) = in_doubt();
    let other = Capture { id: world.capture_of("s2").id, ..capture.clone() };
    for command in [close(&other, Closing::Unresolved), look(&other)] {
        assert!(matches!(world.tell(command).note, Note::NotDone(_)));
    }
    assert_eq!(world.capture_of("s1"), capture);
}

#[test]
fn a_single_capture_that_is_closed_uses_its_authorization_up() {
    for closing in [as_captured(), Closing::Unresolved] {
        let mut world = World::new();
        let plan = plan(&[("l1", 2, "20.00")], "0.00", "20.00");
        let first = draft("o", "s1").line("l1", 1).on(authorized(ONCE, "r", 2_000)).plan(plan).last();
        world.accept(first);
        world.clock.advance(15 * MINUTE);
        let read = world.due_call();
        let sent = world.show(read, seen(view(2_000)));
        world.answer(sent.ticket, timeout());
        // It came too late for that capture, and waits for what becomes of it.
        world.accept(draft("o", "s2").line("l1", 1));
        world.news();
        world.tell(close(&world.capture_of("s1"), closing.clone()));
        assert_eq!(world.authorization("r").single, SingleUse::Used, "{closing:?}");
        assert_eq!(world.shipment("s2").reason, Some(FailureReason::CaptureAlreadyUsed), "{closing:?}");
        let Closing::Unresolved = closing else { continue };
        // A read that shows its amount shows its capture: there is one at most.
        let ticket = world.tell(look(&world.capture_of("s1"))).ticket;
        let shown = AuthorizationView { captures: vec![shown(None, gel(1_000))], ..view(2_000) };
        assert_eq!(world.show(ticket, seen(shown)).note, Note::Corrected);
    }
}

#[test]
fn a_look_at_a_single_capture_is_not_taken_for_one_at_the_capture_after_it() {
    let (mut world, sent) = sent_once();
    world.accept(draft("o", "s2").line("l1", 1));
    world.answer(sent.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    let read = world.due_call();
    let again = world.show(read, seen(view(2_000)));
    world.answer(again.ticket, timeout());
    // Both are of 10.00: a read of that amount would be about the second.
    assert!(matches!(world.tell(look(&world.capture_of("s1"))).note, Note::NotDone(_)));
    let ticket = world.tell(look(&world.capture_of("s2"))).ticket;
    let shown = AuthorizationView { captures: vec![shown(None, gel(1_000))], ..view(2_000) };
    assert_eq!(world.show(ticket, seen(shown)).note, Note::Captured(gel(1_000)));
}

#[test]
fn a_fee_has_its_unresolved_event_too() {
    let mut world = World::new();
    let plan = plan(&[("l1", 1, "10.00"), ("l2", 1, "10.00")], "4.90", "24.90");
    let mut plan = plan;
    plan.shipping_policy = crate::capture::notice::ShippingPolicy::Last;
    let one = world.accept(draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 10_000)).plan(plan));
    world.answer(one.ticket, captured(Some(gel(1_000))));
    world.receive(cancellation("o", &[("l2", 1)]));
    let fee = world.due_call();
    world.answer(fee, timeout());
    let key = world.ledger.tables().captures.values().find(|c| c.kind == CaptureKind::Fee).expect("a fee").clone();
    world.news();
    world.tell(close(&key, Closing::Unresolved));
    let news = world.news();
    let [Event { content: EventContent::Unresolved(outcome, _), .. }] = &news[..] else { panic!("{news:?}") };
    assert_eq!((outcome.kind, outcome.amount), (CaptureKind::Fee, Some(gel(490))));
}

#[test]
fn a_look_shortens_no_rule() {
    let (mut world, capture) = in_doubt();
    let expired = || seen(AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) });
    let again = |world: &mut World| -> Reply {
        let ticket = world.tell(look(&capture)).ticket;
        world.show(ticket, expired())
    };
    for _ in 0..3 {
        assert!(matches!(again(&mut world).note, Note::InDoubt(_)), "two reads, and quiet between them");
        world.clock.advance(4 * MINUTE);
    }
    world.clock.advance(4 * MINUTE);
    assert_eq!(again(&mut world).note, Note::Failed(FailureReason::AuthorizationExpired));
}

#[test]
fn a_look_at_what_is_not_in_doubt_changes_nothing_but_by_proof() {
    let mut world = World::new();
    world.accept(often("s1", "10.00").no_permit());
    let before = world.capture_of("s1");
    let ticket = world.tell(look(&before)).ticket;
    assert_eq!(world.show(ticket, seen(view(10_000))).note, Note::Nothing);
    assert_eq!(world.capture_of("s1"), before);
    assert!(world.due_call().is_some(), "it is sent as if nobody had looked");
}

#[test]
fn a_single_capture_is_not_closed_as_captured_beside_another() {
    let (mut world, sent) = sent_once();
    let first = sent.ticket.clone();
    world.answer(sent.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    let read = world.accept(draft("o", "s2").line("l1", 1));
    let again = world.show(read.ticket, seen(view(2_000)));
    world.answer(again.ticket, timeout());
    // The first was captured after all.
    assert_eq!(world.answer(first, captured(Some(gel(1_000)))).note, Note::Corrected);
    let second = world.capture_of("s2");
    let words = "its authorization can be captured once, and that capture is in the books";
    assert_eq!(world.tell(close(&second, as_captured())).note, Note::NotDone(words.to_owned()));
    assert_eq!(world.tell(close(&second, Closing::Unresolved)).note, Note::Unresolved(gel(1_000)));
}

#[test]
fn what_the_ledger_does_not_have_is_said_so() {
    let (mut world, capture) = in_doubt();
    let no_capture = Note::NotDone("the ledger has no such capture".to_owned());
    let release = Intervention::Release { capture: CaptureKey::new(99), id: capture.id };
    assert_eq!(world.tell(by_hand(release)).note, no_capture);
    let gone = Capture { key: CaptureKey::new(99), ..capture };
    assert_eq!(world.tell(close(&gone, as_captured())).note, no_capture);
    assert_eq!(world.tell(look(&gone)).note, no_capture);
    let resume = Intervention::Resume { authorization: AuthorizationKey::new(99) };
    assert_eq!(world.tell(by_hand(resume)).note, Note::NotDone("the ledger has no such authorization".to_owned()));
}
