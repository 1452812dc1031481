//! Somebody else's captures and voids on an authorization that we capture several times: a halt of that
//! one authorization, and its three ways out; and what no longer fits.

use crate::capture::decide::{Command, Due, Intervention, Note, Operator, Reply};
use crate::capture::event::{Event, EventContent, FailureReason, ResolvedBy};
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, ConfigurationFault, DoubtKind, ProviderBalance,
    Reading, Refusal, RefusalReason,
};
use crate::capture::records::{Foreign, ForeignStanding};
use crate::capture::states::CaptureState;
use crate::capture::tests::support::*;

/// Until the deadline margin of an authorization made by [`authorized`].
const MARGIN: i64 = 7 * 24 * 3_600 - 2 * 3_600;

fn first(amount: &str) -> Draft {
    draft("o", "s1").amount(amount).on(authorized(OFTEN, "r", 10_000))
}

/// 100.00 authorized, of which `captured` and `remaining` are as the provider has them; what of it is
/// under none of our keys is somebody else's.
fn balance(captured: i64, remaining: i64) -> ProviderBalance {
    ProviderBalance { captured: Some(gel(captured)), remaining: Some(gel(remaining)), ..ProviderBalance::default() }
}

fn reading(captured: i64, remaining: i64) -> Reading {
    seen(AuthorizationView { balance: balance(captured, remaining), ..view(10_000) })
}

fn proof(amount: i64, captured: i64) -> Answer {
    let balance = balance(captured, 10_000 - captured);
    Answer::Captured(CaptureProof { amount: Some(gel(amount)), provider_reference: None, balance })
}

fn foreign(world: &World) -> Option<(ForeignStanding, i64)> {
    let foreign: Option<Foreign> = world.authorization("r").watch.foreign;
    foreign.map(|foreign| (foreign.standing, foreign.amount.minor()))
}

fn state(world: &World, shipment: &str) -> CaptureState {
    world.capture_of(shipment).state
}

/// The read that is due, and nothing else.
fn read(world: &mut World, reading: Reading) -> Reply {
    let ticket = world.due_call();
    assert!(matches!(asked(ticket.as_ref().expect("read")), Asked::ReadExpiry { .. }));
    world.show(ticket, reading)
}

/// 10.00 was captured by us, and 30.00 by somebody else, as the answer and one read have shown.
fn seen_once() -> World {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.answer(one.ticket, proof(1_000, 4_000));
    assert_eq!(foreign(&world), Some((ForeignStanding::Suspected, 3_000)), "our answer tells of it");
    world.clock.advance(2 * SECOND);
    read(&mut world, reading(4_000, 6_000));
    assert_eq!(foreign(&world), Some((ForeignStanding::Seen, 3_000)));
    world
}

/// Ours of 10.00 is captured, somebody else's 30.00 was seen twice; s2 of 20.00 and s3 of 60.00 wait.
fn halted() -> World {
    let mut world = seen_once();
    world.clock.advance(15 * MINUTE);
    assert_eq!(read(&mut world, reading(4_000, 6_000)).note, Note::Halted(gel(3_000)));
    for (shipment, amount) in [("s2", "20.00"), ("s3", "60.00")] {
        let reply = world.accept(draft("o", shipment).amount(amount));
        assert!(reply.ticket.is_none() && reply.ready.is_none(), "{shipment} is accepted, and not sent");
    }
    world.news();
    world
}

/// The one planned capture that is ready is sent, and captured; returns what came of it.
fn send_next(world: &mut World, amount: i64, captured: i64) -> Reply {
    let ticket = world.due_call();
    assert!(matches!(asked(ticket.as_ref().expect("sent")), Asked::Send { amount: it, .. } if it == gel(amount)));
    world.answer(ticket, proof(amount, captured))
}

#[test]
fn two_reads_quiet_apart_halt_one_authorization_and_no_other() {
    let mut world = halted();
    let told = world.ledger.tables().history.iter().filter(|note| note.what == "halted").count();
    assert_eq!(told, 2, "once for each that waits");
    let other = world.accept(draft("p", "p1").amount("5.00").on(authorized(OFTEN, "q", 10_000)));
    assert!(other.ticket.is_some(), "another authorization of the same account goes on");
    world.answer(other.ticket, captured(Some(gel(500))));
    // It is read by the resolver's schedule, each time once.
    for wait in [2, 5, 15, 60, 300, 900, 3_600, 3_600] {
        world.clock.advance(wait * SECOND);
        let still = read(&mut world, reading(4_000, 6_000));
        let why = "30.00 GEL was captured by somebody else: nothing is sent on it";
        assert_eq!(still.note, Note::ReadAgain(why.to_owned()));
        assert!(world.due_call().is_none(), "nothing is sent, and nothing read before its time");
    }
    assert_eq!((state(&world, "s2"), state(&world, "s3")), (CaptureState::Planned, CaptureState::Planned));
}

#[test]
fn one_read_is_not_enough_nor_two_close_together() {
    let mut world = seen_once();
    let two = world.accept(draft("o", "s2").amount("20.00"));
    assert!(two.ticket.is_some(), "it may be sent meanwhile");
    let three = world.accept(draft("o", "s3").amount("5.00"));
    assert!(three.ticket.is_none(), "it waits for its turn");
    assert!(world.ledger.tables().history.iter().all(|note| note.what != "halted"), "and for nothing else");
    world.answer(two.ticket, proof(2_000, 6_000));
    world.clock.advance(14 * MINUTE);
    assert!(world.due_call().is_none(), "not before it is quiet");
    world.clock.advance(MINUTE);
    // It is gone: reversed, or never there.
    read(&mut world, reading(3_000, 7_000));
    assert_eq!(foreign(&world), None);
    assert!(world.due_call().is_none());
}

#[test]
fn what_is_ours_is_not_foreign_even_where_it_is_not_booked_yet() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.answer(one.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    let id = world.capture_of("s1").id;
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let ours = AuthorizationView {
        balance: balance(1_000, 9_000),
        captures: vec![shown(Some(id), gel(1_000))],
        ..view(10_000)
    };
    assert_eq!(world.show(look, seen(ours)).note, Note::Captured(gel(1_000)));
    assert_eq!(foreign(&world), None);
}

#[test]
fn a_look_shows_foreign_money_and_a_capture_in_doubt_is_not_sent_again_on_a_halted_authorization() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.answer(one.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.clock.advance(890 * SECOND);
    let theirs = || {
        let captures = vec![shown(None, gel(3_000))];
        seen(AuthorizationView { balance: balance(3_000, 7_000), captures, ..view(10_000) })
    };
    let look = world.due_call();
    let resent = world.show(look, theirs());
    assert_eq!(foreign(&world), Some((ForeignStanding::Seen, 3_000)));
    assert!(resent.ticket.is_some(), "within its window");
    world.answer(resent.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.clock.advance(15 * MINUTE);
    let calls: Vec<_> = world.do_due().into_iter().filter_map(|reply| reply.ticket).collect();
    for ticket in calls {
        world.show(Some(ticket), theirs());
    }
    assert_eq!(foreign(&world), Some((ForeignStanding::Halted, 3_000)));
    for _ in 0..8 {
        world.clock.advance(HOUR);
        for reply in world.do_due() {
            let still = world.show(reply.ticket, theirs());
            assert!(still.ticket.is_none(), "{still:?}");
        }
    }
    assert_eq!(state(&world, "s1"), CaptureState::InDoubt);
}

#[test]
fn nothing_is_refused_for_it_while_it_is_halted() {
    let mut world = halted();
    world.clock.advance(2 * SECOND);
    read(&mut world, reading(9_500, 500));
    assert_eq!(world.accept(draft("o", "s4").amount("10.00")).note, Note::Planned(gel(1_000)));
    assert_eq!(world.news(), []);
    resume(&mut world);
    while !world.do_due().is_empty() {}
    let states = ["s2", "s3", "s4"].map(|shipment| state(&world, shipment));
    assert_eq!(states, [CaptureState::Failed; 3], "nothing fits any more");
}

#[test]
fn an_agreeing_read_lifts_it() {
    let mut world = halted();
    world.clock.advance(2 * SECOND);
    // Older than our books: it says nothing.
    assert!(matches!(read(&mut world, reading(0, 6_000)).note, Note::ReadAgain(_)));
    world.clock.advance(5 * SECOND);
    let lifted = read(&mut world, reading(1_000, 9_000));
    assert!(matches!(lifted.note, Note::Resumed(_)) && lifted.ready.is_some(), "{lifted:?}");
    assert_eq!(foreign(&world), None);
    let next = send_next(&mut world, 2_000, 3_000);
    let last = world.answer(next.ticket, proof(6_000, 9_000));
    assert_eq!(last.note, Note::Captured(gel(6_000)), "everything fits");
    assert_eq!(world.balance("r"), (10_000, 9_000, 0));
}

/// What fits is sent, the rest is refused.
fn goes_on(world: &mut World) {
    let sent = send_next(world, 2_000, 6_000);
    assert!(sent.ticket.is_none(), "what does not fit is not begun");
    assert!(world.due_call().is_none(), "and it is refused");
    assert_eq!((state(world, "s2"), state(world, "s3")), (CaptureState::Captured, CaptureState::Failed));
    let news = world.news();
    let failed = news.iter().find_map(|event| match event {
        Event { content: EventContent::Failed(outcome, failure), .. } => Some((outcome, failure)),
        _ => None,
    });
    let (outcome, failure) = failed.expect("the rest is refused");
    assert_eq!((failure.reason, failure.money_may_have_moved), (FailureReason::ExceedsAuthorization, false));
    assert_eq!((outcome.attempts, outcome.resolved_by), (0, ResolvedBy::Lookup));
    assert_eq!(world.balance("r"), (10_000, 3_000, 0));
}

fn resume(world: &mut World) -> Note {
    let what = Intervention::Resume { authorization: world.authorization("r").key };
    let operator = Operator { by: "olga".to_owned(), why: "it was us, by hand".to_owned(), what };
    world.tell(Command::Operator(Box::new(operator))).note
}

#[test]
fn an_operator_lifts_it_and_it_does_not_come_back_for_the_same_money() {
    let mut world = halted();
    assert_eq!(resume(&mut world), Note::Resumed("by olga: it was us, by hand".to_owned()));
    goes_on(&mut world);
    assert_eq!(foreign(&world), Some((ForeignStanding::LetBe, 3_000)));
    assert!(matches!(resume(&mut world), Note::NotDone(_)), "there is nothing to lift");
    let four = world.accept(draft("o", "s4").amount("5.00"));
    world.answer(four.ticket, proof(500, 6_500));
    assert_eq!(foreign(&world), Some((ForeignStanding::LetBe, 3_000)), "the same money");
    let five = world.accept(draft("o", "s5").amount("5.00"));
    world.answer(five.ticket, proof(500, 8_000));
    assert_eq!(foreign(&world), Some((ForeignStanding::Suspected, 4_000)), "more of it");
}

#[test]
fn the_deadline_margin_lifts_it() {
    let mut world = halted();
    world.clock.advance_to(at(MARGIN - 1));
    assert!(matches!(read(&mut world, reading(4_000, 6_000)).note, Note::ReadAgain(_)));
    world.clock.advance_to(at(MARGIN));
    let sent: Vec<_> = world.do_due().into_iter().filter_map(|reply| reply.ticket).collect();
    assert_eq!(foreign(&world), Some((ForeignStanding::LetBe, 3_000)));
    // Both fit when they are begun, so that both are; the provider says which was too much.
    let [two, three] = <[_; 2]>::try_from(sent).expect("both at once: time is short");
    world.answer(Some(two), proof(2_000, 6_000));
    let read_first = Refusal { read_first: true, ..refusal(RefusalReason::ExceedsAuthorization) };
    world.answer(Some(three), Answer::Refused(read_first));
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    assert_eq!(world.show(look, reading(6_000, 4_000)).note, Note::Failed(FailureReason::ExceedsAuthorization));
    assert_eq!(world.balance("r"), (10_000, 3_000, 0));
}

#[test]
fn at_the_deadline_margin_what_cannot_fit_any_more_is_refused() {
    let mut world = halted();
    world.clock.advance(2 * SECOND);
    read(&mut world, reading(5_000, 5_000));
    world.clock.advance_to(at(MARGIN));
    goes_on(&mut world);
}

#[test]
fn after_somebody_elses_void_what_no_longer_fits_is_refused() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    for (shipment, amount) in [("s2", "50.00"), ("s3", "20.00"), ("s4", "15.00")] {
        world.accept(draft("o", shipment).amount(amount));
    }
    world.news();
    // Somebody has voided 60.00 before ours was captured: 30.00 remain.
    let answer = CaptureProof {
        amount: Some(gel(1_000)),
        provider_reference: None,
        balance: ProviderBalance { voided: Some(gel(6_000)), ..balance(1_000, 3_000) },
    };
    let next = world.answer(one.ticket, Answer::Captured(answer));
    assert!(next.ticket.is_none() && next.ready.is_some(), "it is taken up by itself: {next:?}");
    let [refused] = &world.do_due()[..] else { panic!() };
    assert_eq!(refused.note, Note::Refused(FailureReason::ExceedsAuthorization));
    let fits = CaptureProof { balance: balance(3_000, 1_000), amount: Some(gel(2_000)), provider_reference: None };
    let last = world.answer(refused.ticket.clone(), Answer::Captured(fits));
    assert!(last.ticket.is_none());
    assert_eq!(world.do_due().len(), 1);
    let states = ["s1", "s2", "s3", "s4"].map(|shipment| state(&world, shipment));
    assert_eq!(
        states,
        [CaptureState::Captured, CaptureState::Failed, CaptureState::Captured, CaptureState::Failed],
        "what comes after one that does not fit may fit"
    );
    assert_eq!(world.authorization("r").provider.voided, Some(gel(6_000)), "kept beside our books");
    assert_eq!(world.balance("r"), (10_000, 3_000, 0));
    let late = world.accept(draft("o", "s5").amount("10.01"));
    assert_eq!(late.note, Note::Refused(FailureReason::ExceedsAuthorization), "at once");
    assert!(world.accept(draft("o", "s6").amount("10.00")).ticket.is_some());
}

#[test]
fn the_end_of_the_authorization_is_the_end_of_the_halt() {
    let mut world = halted();
    world.clock.advance_to(at(7 * 24 * 3_600 + 1));
    for reply in world.do_due() {
        if let Some(Asked::Send { .. }) = reply.ticket.as_ref().map(asked) {
            world.answer(reply.ticket, Answer::Refused(refusal(RefusalReason::AuthorizationExpired)));
        }
    }
    assert_eq!((state(&world, "s2"), state(&world, "s3")), (CaptureState::Failed, CaptureState::Failed));
    world.clock.advance(HOUR);
    let expired =
        AuthorizationView { status: AuthorizationStatus::Expired, balance: balance(4_000, 0), ..view(10_000) };
    let over = read(&mut world, seen(expired));
    assert_eq!(over.note, Note::Expired { captured_elsewhere: gel(3_000), released: gel(6_000) });
    world.clock.advance(90 * 24 * HOUR);
    assert!(world.do_due().is_empty(), "and nothing is read any more");
}

#[test]
fn what_waits_its_turn_when_the_halt_comes_is_told_so() {
    let mut world = seen_once();
    let two = world.accept(draft("o", "s2").amount("20.00"));
    assert!(two.ticket.is_some());
    world.accept(draft("o", "s3").amount("20.00"));
    world.clock.advance(15 * MINUTE);
    assert_eq!(read(&mut world, reading(4_000, 6_000)).note, Note::Halted(gel(3_000)));
    let history = world.ledger.tables().history.clone();
    let told: Vec<_> = history.iter().filter(|note| note.what == "halted").map(|note| note.capture).collect();
    assert_eq!(told, [world.capture_of("s3").key], "and not what is under way");
}

#[test]
fn a_read_that_was_begun_before_it_was_quiet_decides_nothing() {
    let mut world = seen_once();
    world.clock.advance(14 * MINUTE);
    // Somebody has it read early.
    let key = world.authorization("r").key;
    world.tell(Command::Recall(Due::Authorization(key)));
    let early = read(&mut world, reading(4_500, 5_500));
    assert!(matches!(early.note, Note::ReadAgain(_)), "{early:?}");
    assert_eq!(foreign(&world), Some((ForeignStanding::Seen, 3_500)), "as much as was shown last");
    assert_eq!(world.authorization("r").watch.read_at, Some(at(2 + 15 * 60)), "counted from the first");
    world.clock.advance(MINUTE);
    assert_eq!(read(&mut world, reading(4_500, 5_500)).note, Note::Halted(gel(3_500)));
}

#[test]
fn a_read_that_comes_at_the_deadline_margin_lifts_it() {
    let mut world = halted();
    world.clock.advance_to(at(MARGIN - 1));
    let ticket = world.due_call();
    world.clock.advance_to(at(MARGIN));
    let lifted = world.show(ticket, reading(4_000, 6_000));
    assert_eq!(lifted.note, Note::Resumed("its deadline margin has come".to_owned()));
    assert_eq!(foreign(&world), Some((ForeignStanding::LetBe, 3_000)));
    assert!(lifted.ready.is_some(), "what fits is sent");
}

#[test]
fn what_was_let_be_is_not_asked_about_again_unless_there_is_more_of_it() {
    for (captured, more) in [(4_000, false), (4_001, true)] {
        let mut policy = policy();
        policy.accounts.get_mut(&account(OFTEN)).expect("configured").authorization_lifetime = None;
        let mut world = World::with(policy);
        // It is read for its expiry, which nobody tells.
        let mut facts = authorized(OFTEN, "r", 10_000);
        (facts.expires_at, facts.authorized_at) = (None, None);
        let one = world.accept(draft("o", "s1").amount("10.00").on(facts));
        world.answer(one.ticket, proof(1_000, 1_000));
        let let_be = Foreign { amount: gel(3_000), standing: ForeignStanding::LetBe, since: at(0) };
        let key = world.authorization("r").key;
        world.ledger.tables().authorizations.get_mut(&key).expect("there").watch.foreign = Some(let_be);
        world.forget_before();
        let asked_at_once = world.due_call();
        world.show(asked_at_once, reading(1_000, 9_000));
        world.clock.advance(2 * SECOND);
        read(&mut world, reading(captured, 10_000 - captured));
        let expected = if more { (ForeignStanding::Seen, 3_001) } else { (ForeignStanding::LetBe, 3_000) };
        assert_eq!(foreign(&world), Some(expected));
    }
}

#[test]
fn a_read_that_an_operator_did_not_wait_for_shows_what_is_known() {
    for (captured, expected) in [(4_000, (ForeignStanding::LetBe, 3_000)), (4_001, (ForeignStanding::Seen, 3_001))] {
        let mut world = halted();
        world.clock.advance(2 * SECOND);
        let ticket = world.due_call();
        resume(&mut world);
        world.show(ticket, reading(captured, 10_000 - captured));
        assert_eq!(foreign(&world), Some(expected));
    }
}

#[test]
fn where_nothing_is_left_to_take_nobody_asks_whose_the_rest_is() {
    let mut world = World::new();
    let one = world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 1_000)));
    world.answer(one.ticket, proof(1_000, 1_200));
    assert_eq!(foreign(&world), None);
    world.clock.advance(HOUR);
    assert!(world.do_due().is_empty());
}

#[test]
fn what_rests_when_the_halt_comes_is_told_when_its_rest_is_over() {
    let mut world = seen_once();
    world.clock.advance(14 * MINUTE);
    let two = world.accept(draft("o", "s2").amount("20.00"));
    let fault = ConfigurationFault { code: None, message: "secret".to_owned(), may_have_executed: false };
    world.answer(two.ticket, Answer::Misconfigured(fault));
    world.clock.advance(MINUTE);
    assert_eq!(read(&mut world, reading(4_000, 6_000)).note, Note::Halted(gel(3_000)));
    let told = |world: &World| world.ledger.tables().history.iter().filter(|note| note.what == "halted").count();
    assert_eq!(told(&world), 0);
    world.clock.advance(4 * MINUTE);
    for _ in 0..2 {
        for reply in world.do_due() {
            assert!(!matches!(reply.ticket.as_ref().map(asked), Some(Asked::Send { .. })), "nothing is sent");
        }
        assert_eq!(told(&world), 1, "once");
    }
}

#[test]
fn nothing_is_found_out_about_an_authorization_that_is_captured() {
    let mut world = World::new();
    let one = world.accept(first("100.00"));
    let answer = CaptureProof { amount: Some(gel(10_000)), provider_reference: None, balance: balance(13_000, 0) };
    world.answer(one.ticket, Answer::Captured(answer));
    assert_eq!((foreign(&world), world.authorization("r").watch.at), (None, None));
}
