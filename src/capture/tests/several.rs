//! Authorizations that are captured several times: whose turn it is, and what comes of each.

use crate::capture::decide::{Call, Command, Due, Evidence, Note, Settle};
use crate::capture::event::{Correction, Event, EventContent, FailureReason, ResolvedBy};
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, ConfigurationFault, DoubtKind, ProviderBalance,
    Refusal, RefusalReason,
};
use crate::capture::states::CaptureState;
use crate::capture::tests::support::*;
use crate::clock;

fn first(amount: &str) -> Draft {
    draft("o", "s1").amount(amount).on(authorized(OFTEN, "r", 10_000))
}

fn state(world: &World, shipment: &str) -> CaptureState {
    world.capture_of(shipment).state
}

fn timeout() -> Answer {
    Answer::Doubt(doubt(DoubtKind::Timeout))
}

#[test]
fn one_at_a_time_and_the_turn_is_handed_on() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    for shipment in ["s2", "s3"] {
        let reply = world.accept(draft("o", shipment).amount("20.00"));
        assert!(reply.ticket.is_none() && reply.ready.is_none(), "{shipment} waits its turn");
    }
    assert_eq!(world.balance("r"), (10_000, 0, 5_000), "reserved all the same");
    let two = world.answer(one.ticket, captured(Some(gel(1_000))));
    assert_eq!(two.note, Note::Captured(gel(1_000)));
    assert_eq!((state(&world, "s2"), state(&world, "s3")), (CaptureState::Sending, CaptureState::Planned));
    let three = world.answer(two.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    assert_eq!(three.note, Note::Failed(FailureReason::Declined));
    assert_eq!(state(&world, "s3"), CaptureState::Sending, "in the order of acceptance");
    let last = world.answer(three.ticket, captured(Some(gel(2_000))));
    assert!(last.ticket.is_none());
    assert_eq!(world.balance("r"), (10_000, 3_000, 0));
}

#[test]
fn without_a_permit_it_is_ready_and_found_again() {
    let mut world = World::new();
    let reply = world.accept(first("10.00").no_permit());
    assert!(reply.ticket.is_none());
    let ready = reply.ready.expect("it only lacks a permit");
    assert_eq!((ready.account, ready.deadline), (account(OFTEN), Some(at(7 * 24 * 3_600))));
    let call = world.due_call();
    assert!(matches!(asked(&call.expect("due")), Asked::Send { .. }));
}

#[test]
fn a_doubtful_capture_holds_up_those_behind_it_until_it_is_known() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.accept(draft("o", "s2").amount("20.00"));
    let doubted = world.answer(one.ticket, timeout());
    assert!(matches!(doubted.note, Note::InDoubt(_)) && doubted.ticket.is_none());
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let id = world.capture_of("s1").id;
    let view = AuthorizationView { captures: vec![shown(Some(id), gel(1_000))], ..view(10_000) };
    let known = world.show(look, seen(view));
    assert_eq!(known.note, Note::Captured(gel(1_000)));
    assert!(matches!(asked(&known.ticket.expect("its turn")), Asked::Send { amount, .. } if amount == gel(2_000)));
    let [Event { content: EventContent::Succeeded(outcome), .. }] = &world.news()[..] else { panic!() };
    assert_eq!((outcome.resolved_by, outcome.attempts), (ResolvedBy::Lookup, 1));
}

#[test]
fn what_was_put_off_gives_its_turn_away_and_comes_back() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.accept(draft("o", "s2").amount("20.00"));
    let two = world.answer(one.ticket, not_executed());
    assert_eq!((state(&world, "s1"), state(&world, "s2")), (CaptureState::Planned, CaptureState::Sending));
    // Due while the other is in flight: it waits its turn.
    world.clock.advance(2 * SECOND);
    assert!(world.due_call().is_none());
    let back = world.answer(two.ticket, captured(Some(gel(2_000))));
    assert!(matches!(asked(&back.ticket.expect("its turn")), Asked::Send { amount, .. } if amount == gel(1_000)));
}

#[test]
fn an_outage_longer_than_the_resend_window_does_not_end_the_sending() {
    let mut world = World::new();
    let mut ticket = world.accept(first("10.00")).ticket;
    let began = world.clock.now().wall;
    while world.clock.now().wall < clock::after(began, 2 * HOUR) {
        let Call::Send { send_by, .. } = ticket.as_ref().expect("sent again").call else { panic!() };
        assert_eq!(send_by, world.clock.now().boot.plus(10 * SECOND), "nothing before it was executed");
        world.answer(ticket, not_executed());
        world.clock.advance_to(world.capture_of("s1").due_at.expect("put off"));
        ticket = world.due_call();
    }
    let done = world.answer(ticket, captured(Some(gel(1_000))));
    assert_eq!(done.note, Note::Captured(gel(1_000)));
}

#[test]
fn a_fault_of_ours_longer_than_the_resend_window_does_not_either() {
    let mut world = World::new();
    let ticket = world.accept(first("10.00")).ticket;
    let fault =
        ConfigurationFault { code: Some("401".to_owned()), message: "token".to_owned(), may_have_executed: false };
    let parked = world.answer(ticket, Answer::Misconfigured(fault));
    assert!(matches!(parked.note, Note::Parked(_)));
    assert_eq!(world.news(), [], "not an outcome");
    world.clock.advance(HOUR);
    let ticket = world.due_call();
    let Call::Send { send_by, attempt: 2, .. } = ticket.expect("sent again").call else { panic!() };
    assert_eq!(send_by, world.clock.now().boot.plus(10 * SECOND));
}

#[test]
fn what_is_parked_is_recalled_when_its_account_works_again() {
    let mut world = World::new();
    let ticket = world.accept(first("10.00")).ticket.expect("sent");
    let Call::Send { capture, .. } = ticket.call else { panic!() };
    let fault =
        ConfigurationFault { code: Some("401".to_owned()), message: "token".to_owned(), may_have_executed: false };
    world.answer(Some(ticket), Answer::Misconfigured(fault));
    let due = Due::Capture(capture);
    assert!(world.tell(Command::Due(due)).ticket.is_none(), "it rests");
    let reply = world.tell(Command::Recall(due));
    assert_eq!(reply.ready.expect("ready").due, due);
    let ticket = world.tell(Command::Due(due)).ticket;
    assert!(ticket.is_some());
    assert!(world.tell(Command::Recall(due)).ready.is_none(), "it is being sent");
    assert_eq!(world.answer(ticket, captured(Some(gel(1_000)))).note, Note::Captured(gel(1_000)));
    assert!(world.tell(Command::Recall(due)).ready.is_none(), "it is over");
}

#[test]
fn a_resend_at_the_end_of_the_window_may_not_leave_after_it() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.answer(one.ticket, timeout());
    world.clock.advance(897 * SECOND);
    let look = world.due_call();
    let resend = world.show(look, seen(view(10_000)));
    let Call::Send { send_by, attempt: 2, .. } = resend.ticket.expect("resent").call else { panic!() };
    assert_eq!(send_by, world.clock.now().boot.plus(3 * SECOND));
}

#[test]
fn after_the_window_a_permitting_read_opens_another() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.answer(one.ticket, timeout());
    world.clock.advance(15 * MINUTE);
    let look = world.due_call();
    let early = world.show(look, seen(view(10_000)));
    assert!(matches!(early.note, Note::InDoubt(_)), "{early:?}");
    world.clock.advance(10 * SECOND);
    let look = world.due_call();
    let permitted = world.show(look, seen(view(10_000)));
    let Call::Send { send_by, .. } = permitted.ticket.as_ref().expect("resent").call else { panic!() };
    assert_eq!(send_by, world.clock.now().boot.plus(10 * SECOND));
    world.answer(permitted.ticket, timeout());
    assert_eq!(world.capture_of("s1").progress.doubtful, 2);
    world.clock.advance(14 * MINUTE);
    let look = world.due_call();
    assert!(world.show(look, seen(view(10_000))).ticket.is_some(), "the new window");
}

#[test]
fn the_providers_word_on_the_expiry_forgets_nobody_who_waits() {
    for told in [2 * 24 * 3_600, 7 * 24 * 3_600 + 1] {
        let mut world = World::new();
        let one = world.accept(first("10.00"));
        world.accept(draft("o", "s2").amount("20.00"));
        let balance = ProviderBalance { expires_at: Some(at(told)), ..ProviderBalance::default() };
        let proof = CaptureProof { amount: Some(gel(1_000)), provider_reference: None, balance };
        let two = world.answer(one.ticket, Answer::Captured(proof));
        assert_eq!(world.authorization("r").expires_at, Some(at(told)));
        assert!(two.ticket.is_some(), "its turn has come, whatever the deadline is now");
    }
}

#[test]
fn an_earlier_expiry_brings_the_deadline_of_those_who_wait_forward() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.accept(draft("o", "s2").amount("20.00"));
    world.answer(one.ticket, timeout());
    world.clock.advance(MINUTE);
    let look = world.due_call();
    let balance = ProviderBalance { expires_at: Some(at(24 * 3_600)), ..view(10_000).balance };
    let pending = AuthorizationView { balance, has_pending_capture: true, ..view(10_000) };
    world.show(look, seen(pending));
    assert_eq!(world.capture_of("s2").due_at, Some(at(22 * 3_600)));
}

#[test]
fn near_the_deadline_those_behind_a_doubtful_one_are_sent_and_it_is_only_read() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.accept(draft("o", "s2").amount("20.00"));
    world.answer(one.ticket, timeout());
    let margin = at(7 * 24 * 3_600 - 2 * 3_600);
    assert_eq!(world.capture_of("s2").due_at, Some(margin));
    world.clock.advance_to(margin);
    let calls: Vec<_> = world.do_due().into_iter().filter_map(|reply| reply.ticket).collect();
    let [look, send] = <[_; 2]>::try_from(calls).expect("a look at the first, the second is sent");
    assert!(matches!(asked(&send), Asked::Send { amount, .. } if amount == gel(2_000)));
    let read = world.show(Some(look), seen(view(10_000)));
    assert!(matches!(read.note, Note::InDoubt(_)) && read.ticket.is_none(), "others are in flight: {read:?}");
    let late = world.accept(draft("o", "s3").amount("5.00"));
    assert!(late.ticket.is_some(), "accepted after the margin: sent at once");
    world.answer(late.ticket, captured(Some(gel(500))));
    world.answer(Some(send), captured(Some(gel(2_000))));
    assert_eq!(world.balance("r"), (10_000, 2_500, 1_000), "the doubtful one keeps its reservation");
}

#[test]
fn a_refusal_after_a_doubtful_attempt_waits_for_quiet_and_a_read() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.answer(one.ticket, timeout());
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let resend = world.show(look, seen(view(10_000)));
    let refused = world.answer(resend.ticket, Answer::Refused(refusal(RefusalReason::InsufficientFunds)));
    assert!(matches!(refused.note, Note::InDoubt(_)));
    assert_eq!(world.news(), []);
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    world.show(look, seen(view(10_000)));
    assert_eq!(world.news(), [], "not quiet yet");
    world.clock.advance_to(world.capture_of("s1").due_at.expect("looked at again"));
    let look = world.due_call();
    let failed = world.show(look, seen(view(10_000)));
    assert_eq!(failed.note, Note::Failed(FailureReason::InsufficientFunds));
    let [Event { content: EventContent::Failed(outcome, failure), .. }] = &world.news()[..] else { panic!() };
    assert_eq!((outcome.resolved_by, outcome.attempts), (ResolvedBy::Lookup, 2));
    assert!(!failure.money_may_have_moved && failure.retryable);
    assert_eq!(world.balance("r"), (10_000, 0, 0));
}

#[test]
fn nothing_left_is_believed_after_one_read() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    let read_first = Refusal { read_first: true, ..refusal(RefusalReason::ExceedsAuthorization) };
    world.answer(one.ticket, Answer::Refused(read_first));
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let failed = world.show(look, seen(view(10_000)));
    assert_eq!(failed.note, Note::Failed(FailureReason::ExceedsAuthorization));
}

#[test]
fn an_expired_authorization_fails_what_is_in_doubt_after_two_reads() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.answer(one.ticket, timeout());
    let expired = || seen(AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) });
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    world.show(look, expired());
    world.clock.advance(899 * SECOND);
    assert!(world.due_call().is_none());
    world.clock.advance(SECOND);
    let look = world.due_call();
    let failed = world.show(look, expired());
    assert_eq!(failed.note, Note::Failed(FailureReason::AuthorizationExpired));
}

#[test]
fn what_does_not_fit_any_more_is_not_sent_again_and_again() {
    let mut world = World::new();
    let one = world.accept(first("70.00"));
    world.answer(one.ticket, timeout());
    // 50.00 of it has gone, and not to us, so that a request for 70.00 can never be met.
    let used = || {
        let balance = ProviderBalance { remaining: Some(gel(5_000)), ..ProviderBalance::default() };
        seen(AuthorizationView { balance, ..view(10_000) })
    };
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let doubtful = world.show(look, used());
    assert_eq!(doubtful.note, Note::InDoubt("too little remains, without our capture".to_owned()));
    world.clock.advance(899 * SECOND);
    assert!(world.due_call().is_none(), "nothing is sent on it");
    world.clock.advance(SECOND);
    let look = world.due_call();
    assert_eq!(world.show(look, used()).note, Note::Failed(FailureReason::ExceedsAuthorization));
    assert_eq!(world.capture_of("s1").progress.attempts, 1);
}

#[test]
fn what_may_be_gone_to_this_very_capture_is_not_told_to_have_failed() {
    let mut world = World::new();
    let one = world.accept(first("70.00"));
    world.answer(one.ticket, timeout());
    // As much is gone as it needs, under no key that is shown yet.
    let balance = ProviderBalance { remaining: Some(gel(3_000)), ..ProviderBalance::default() };
    let gone = || seen(AuthorizationView { balance, ..view(10_000) });
    for _ in 0..4 {
        world.clock.advance(900 * SECOND);
        let looks = world.do_due().into_iter().filter_map(|reply| reply.ticket);
        let look = looks.into_iter().find(|ticket| matches!(ticket.call, Call::Look { .. }));
        if look.is_some() {
            let reply = world.show(look, gone());
            assert!(!matches!(reply.note, Note::Failed(_)), "{reply:?}");
        }
    }
    assert_eq!(world.capture_of("s1").state, CaptureState::InDoubt);
}

#[test]
fn evidence_after_the_end_is_booked_and_said_aloud_once() {
    let mut world = World::new();
    let one = world.accept(first("70.00"));
    let key = world.capture_of("s1").key;
    world.answer(one.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    world.accept(draft("o", "s2").amount("50.00"));
    world.news();
    let late = world.settle(key, 0, Evidence::Answer(captured(Some(gel(7_000)))));
    assert_eq!(late.note, Note::Corrected);
    let [Event { content: EventContent::Corrected(outcome, correction), .. }] = &world.news()[..] else { panic!() };
    assert_eq!(*correction, Correction { was: "failed", now: "captured" });
    assert_eq!(outcome.amount, Some(gel(7_000)));
    assert_eq!(world.balance("r"), (10_000, 7_000, 5_000));
    assert_eq!(world.authorization("r").excess, gel(2_000), "more than was authorized, and said so");
    assert_eq!(state(&world, "s1"), CaptureState::Failed, "terminal states absorb");
    let again = world.settle(key, 0, Evidence::Answer(captured(Some(gel(7_000)))));
    assert_eq!(again.note, Note::Nothing);
    assert_eq!(world.news(), []);
    let refused = world.accept(draft("o", "s3").amount("0.01"));
    assert_eq!(refused.note, Note::Refused(FailureReason::ExceedsAuthorization));
}

#[test]
fn an_old_epoch_changes_nothing_unless_it_is_proof() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    let key = world.capture_of("s1").key;
    world.answer(one.ticket, timeout());
    for evidence in [
        Evidence::Answer(Answer::Refused(refusal(RefusalReason::Declined))),
        Evidence::Reading(seen(AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) })),
        Evidence::Interrupted,
    ] {
        assert_eq!(world.settle(key, 0, evidence).note, Note::Nothing);
    }
    assert_eq!(world.settle(key, 0, Evidence::Answer(captured(Some(gel(1_000))))).note, Note::Captured(gel(1_000)));
}

#[test]
fn an_account_that_is_no_longer_configured_concludes_nothing() {
    let mut world = World::new();
    world.accept(first("10.00"));
    let key = world.capture_of("s1").key;
    let mut without = policy();
    without.accounts.remove(&account(OFTEN));
    world.restart_with(without);
    assert_eq!(world.settle(key, 1, Evidence::Interrupted).note, Note::Nothing);
    world.restart_with(policy());
    assert!(matches!(world.settle(key, 1, Evidence::Interrupted).note, Note::InDoubt(_)));
}

#[test]
fn what_may_be_sent_again_and_has_no_permit_is_due_at_once() {
    let mut world = World::new();
    let one = world.accept(first("10.00"));
    world.answer(one.ticket, timeout());
    world.clock.advance(890 * SECOND);
    let look = world.due_call().expect("looked at");
    let Call::Look { capture, epoch } = look.call else { panic!("{look:?}") };
    let evidence = Evidence::Reading(crate::capture::evidence::Reading::Seen(Box::new(view(10_000))));
    let reply = world.tell(Command::Settle(Box::new(Settle { capture, epoch, evidence, start: false })));
    assert!(reply.ticket.is_none(), "nothing is sent without one");
    let record = world.capture_of("s1");
    assert_eq!((record.state, record.due_at), (CaptureState::InDoubt, Some(at(890))));
    assert_eq!(world.ledger.tables().history.last().map(|note| note.what), Some("looked"));
}

#[test]
fn what_a_clock_that_was_set_back_has_put_beyond_every_wait_is_due() {
    let mut world = World::new();
    world.clock.advance(1_000 * HOUR);
    let ticket = world.accept(first("10.00")).ticket;
    world.answer(ticket, timeout());
    let due = Due::Capture(world.capture_of("s1").key);
    // It is looked at in two seconds; no wait is longer than twice an hour and what a request takes to begin.
    world.clock.set_back(2 * HOUR + 18 * SECOND);
    assert_eq!(world.tell(Command::Due(due)).note, Note::Nothing, "as far ahead as a wait may be");
    world.clock.set_back(SECOND);
    assert_eq!(world.tell(Command::Due(due)).note, Note::Looking);
}

#[test]
fn that_an_authorization_is_over_is_its_providers_last_word() {
    let is_over = |world: &World| world.authorization("r").is_over();
    let look = |world: &mut World, status| {
        let due = Due::Capture(world.capture_of("s1").key);
        world.clock.advance_to(world.capture_of("s1").due_at.expect("in doubt"));
        let look = world.tell(Command::Due(due)).ticket;
        let balance = ProviderBalance { remaining: Some(gel(0)), ..view(10_000).balance };
        world.show(look, seen(AuthorizationView { status, balance, ..view(10_000) }));
    };
    let voided = || {
        let mut world = World::new();
        let sent = world.accept(first("10.00")).ticket;
        world.answer(sent.clone(), timeout());
        look(&mut world, AuthorizationStatus::Voided);
        assert!(is_over(&world));
        (world, sent)
    };
    let (mut world, sent) = voided();
    world.answer(sent, captured(Some(gel(1_000))));
    assert!(!is_over(&world), "its answer was long on its way, and it has captured");
    let (mut world, _) = voided();
    look(&mut world, AuthorizationStatus::Open);
    assert!(is_over(&world), "open, with nothing in it");
}
