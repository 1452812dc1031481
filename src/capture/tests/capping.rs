//! Caps of an account: what they let through, what they hold, and how a capture that is held goes on or ends.

use crate::capture::books::{Books, HistoryNote};
use crate::capture::decide::{Closing, Command, Due, Evidence, Intervention, Note, Operator, Reply, Settle};
use crate::capture::event::{EventContent, FailureReason, ResolvedBy};
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, DoubtKind, ProviderBalance, RefusalReason,
};
use crate::capture::policy::{Caps, Policy};
use crate::capture::records::{Capped, Capture};
use crate::capture::states::CaptureState;
use crate::capture::tests::support::*;
use crate::clock::Timestamp;

const DAY: i64 = 24 * 3_600;

/// 50.00 GEL at once, 100.00 in an hour, 250.00 in a day.
fn capped() -> Policy {
    with_caps(Caps { capture: Some(gel(5_000)), hour: Some(gel(10_000)), day: Some(gel(25_000)), ..none() })
}

fn none() -> Caps {
    Caps::none(currency("GEL"))
}

fn with_caps(caps: Caps) -> Policy {
    let mut policy = policy();
    for name in [ONCE, OFTEN] {
        policy.accounts.get_mut(&account(name)).expect("configured").caps = vec![caps];
    }
    policy
}

/// A shipment of an order of its own, on an authorization of its own.
fn alone(name: &str, amount: &str) -> Draft {
    draft(&format!("o-{name}"), name).amount(amount).on(authorized(OFTEN, &format!("r-{name}"), 100_000))
}

fn send(world: &mut World, name: &str, amount: &str) -> Reply {
    world.accept(alone(name, amount))
}

/// Sent and captured.
fn capture(world: &mut World, name: &str, amount: &str) {
    let sent = send(world, name, amount);
    let amount = world.capture_of(name).amount;
    world.answer(sent.ticket, captured(Some(amount)));
    assert_eq!(state(world, name), CaptureState::Captured);
}

fn state(world: &World, name: &str) -> CaptureState {
    world.capture_of(name).state
}

fn held_by(world: &World, name: &str) -> Option<Capped> {
    let capture = world.capture_of(name);
    assert!(!capture.is_held() || capture.state == CaptureState::Planned);
    capture.capped
}

/// An authorization that is captured once was read for its one shipment, which a cap then holds.
fn held_after_its_read() -> World {
    let mut world = World::with(capped());
    world.accept(draft("o", "s1").amount("60.00").on(authorized(ONCE, "r", 10_000)).last());
    world.clock.advance(15 * MINUTE);
    let read = world.due_call();
    world.show(read, seen(view(10_000)));
    assert_eq!(held_by(&world, "s1"), Some(Capped::Capture));
    world
}

fn why(world: &World, name: &str) -> String {
    world.capture_of(name).progress.last_seen.expect("it says why")
}

fn by_hand(capture: &Capture) -> Command {
    let what = Intervention::Release { capture: capture.key, id: capture.id };
    Command::Operator(Box::new(Operator { by: "olga".to_owned(), why: "looked at it".to_owned(), what }))
}

fn history(world: &World, name: &str) -> Vec<(&'static str, String)> {
    let key = world.capture_of(name).key;
    let is_its = |note: &&HistoryNote| note.capture == key;
    world.ledger.tables().history.iter().filter(is_its).map(|note| (note.what, note.detail.clone())).collect()
}

#[test]
fn what_a_window_has_no_room_for_is_held_and_goes_on_when_it_has() {
    let mut world = World::with(capped());
    capture(&mut world, "a", "48.00");
    world.clock.advance(10 * MINUTE);
    capture(&mut world, "b", "50.00");
    let held = send(&mut world, "c", "3.50");
    assert!(held.ticket.is_none() && held.ready.is_none());
    assert_eq!((held_by(&world, "c"), state(&world, "c")), (Some(Capped::Hour), CaptureState::Planned));
    let words = "98.00 GEL of the 100.00 GEL that flex captures in an hour are used, it needs 3.50 GEL; room at about \
                 2027-01-15 09:01 UTC";
    assert_eq!(why(&world, "c"), words);
    assert_eq!(history(&world, "c"), [("held", words.to_owned())]);
    // What fits goes on.
    capture(&mut world, "d", "2.00");
    // An hour after the first, less a minute: looked at again, in vain, and nothing is said twice.
    world.clock.advance_to(at(3_600 - 1));
    assert_eq!(world.do_due().len(), 0);
    world.clock.advance_to(at(3_660));
    let replies = world.do_due();
    let [Reply { ticket: Some(ticket), .. }] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!(held_by(&world, "c"), None);
    world.answer(Some(ticket.clone()), captured(Some(gel(350))));
    assert_eq!((state(&world, "c"), world.capture_of("c").progress.last_seen), (CaptureState::Captured, None));
    assert_eq!(world.balance("r-c"), (100_000, 350, 0));
}

#[test]
fn what_is_more_than_the_most_at_once_waits_for_an_operator() {
    let mut world = World::with(capped());
    send(&mut world, "a", "50.01");
    assert_eq!(held_by(&world, "a"), Some(Capped::Capture));
    assert_eq!(why(&world, "a"), "50.01 GEL is more than the 50.00 GEL that flex captures at once");
    for _ in 0..30 {
        world.clock.advance(HOUR);
        world.do_due();
        assert_eq!(held_by(&world, "a"), Some(Capped::Capture));
    }
    assert_eq!(history(&world, "a").len(), 1, "said once");
    let released = world.tell(by_hand(&world.capture_of("a")));
    assert_eq!(released.note, Note::Released(gel(5_001)));
    assert!(released.ready.is_some() && released.ticket.is_none(), "sent with the next permit");
    let ticket = world.due_call();
    world.answer(ticket, captured(Some(gel(5_001))));
    assert_eq!(state(&world, "a"), CaptureState::Captured);
    assert_eq!(history(&world, "a")[1], ("released", "by olga: looked at it".to_owned()));
    // What was released counts for the others.
    send(&mut world, "b", "49.99");
    assert_eq!(held_by(&world, "b"), None);
    send(&mut world, "c", "0.01");
    assert_eq!(held_by(&world, "c"), Some(Capped::Hour));
    let again = world.tell(by_hand(&world.capture_of("a")));
    assert_eq!(again.note, Note::NotDone("no cap holds it: there is nothing to release".to_owned()));
}

#[test]
fn what_no_window_ever_has_room_for_waits_for_an_operator_too() {
    let mut world = World::with(with_caps(Caps { hour: Some(gel(10_000)), ..none() }));
    send(&mut world, "a", "100.01");
    assert_eq!(held_by(&world, "a"), Some(Capped::Capture));
    let words = "100.01 GEL is more than the 100.00 GEL that flex captures in an hour, and never has room";
    assert_eq!(why(&world, "a"), words);
    capture(&mut world, "b", "100.00");
}

#[test]
fn a_currency_that_no_cap_names_is_held() {
    let mut world = World::with(with_caps(Caps { hour: Some(gel(10_000)), ..Caps::none(currency("EUR")) }));
    send(&mut world, "a", "0.01");
    assert_eq!(held_by(&world, "a"), Some(Capped::Currency));
    assert_eq!(why(&world, "a"), "flex has caps, and none in GEL, of which this is 0.01 GEL");
    assert!(world.ledger.tables().usages.is_empty());
}

#[test]
fn an_account_without_caps_counts_nothing() {
    let mut world = World::new();
    capture(&mut world, "a", "900.00");
    assert!(world.ledger.tables().usages.is_empty() && world.capture_of("a").counted_at.is_none());
}

#[test]
fn a_raised_cap_lets_go_what_the_old_one_held() {
    let mut world = World::with(capped());
    send(&mut world, "a", "60.00");
    world.restart_with(with_caps(Caps { capture: Some(gel(6_000)), ..none() }));
    world.clock.advance(HOUR);
    assert!(world.due_call().is_some());
    assert_eq!((held_by(&world, "a"), state(&world, "a")), (None, CaptureState::Sending));
}

#[test]
fn two_of_one_group_do_not_use_the_same_room() {
    let mut world = World::with(capped());
    let drafts = ["a", "b", "c"].map(|name| alone(name, "40.00").command());
    let replies = world.execute(&drafts).replies;
    let sent = replies.into_iter().filter(|reply| reply.as_ref().is_ok_and(|reply| reply.ticket.is_some())).count();
    assert_eq!(sent, 2);
    assert_eq!(held_by(&world, "c"), Some(Capped::Hour));
}

#[test]
fn a_refusal_gives_its_room_back_and_doubt_does_not() {
    let mut world = World::with(capped());
    let refused = send(&mut world, "a", "50.00");
    world.answer(refused.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    let doubtful = send(&mut world, "b", "50.00");
    world.answer(doubtful.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    capture(&mut world, "c", "50.00");
    send(&mut world, "d", "0.01");
    assert_eq!(held_by(&world, "d"), Some(Capped::Hour));
    // Looked at, and sent again: counted once, though there is no room for it any more.
    let counted_at = world.capture_of("b").counted_at;
    world.clock.advance(15 * MINUTE + 10 * SECOND);
    let look = world.due_call();
    let sent_again = world.show(look, seen(view(100_000)));
    assert!(matches!(asked(sent_again.ticket.as_ref().expect("sent again")), Asked::Send { .. }));
    assert_eq!(world.capture_of("b").counted_at, counted_at);
    world.answer(sent_again.ticket, captured(Some(gel(5_000))));
    assert_eq!(used(&world), (10_000, 10_000));
}

/// What counts in the hour and in the day.
fn used(world: &World) -> (i64, i64) {
    let tables = world.ledger.tables();
    let usage = tables.usages.values().next().expect("something counts");
    let sum = |slots: &[(i64, i64)]| slots.iter().map(|(_, minor)| minor).sum();
    (sum(&usage.hour.0), sum(&usage.day.0))
}

#[test]
fn what_was_certainly_not_executed_counts_when_it_is_sent_again() {
    let mut world = World::with(capped());
    let first = send(&mut world, "a", "50.00");
    world.answer(first.ticket, not_executed());
    assert_eq!((used(&world), world.capture_of("a").counted_at), ((0, 0), None));
    capture(&mut world, "b", "50.00");
    capture(&mut world, "c", "50.00");
    world.clock.advance(2 * SECOND);
    assert!(world.due_call().is_none(), "others have taken the room");
    assert_eq!((held_by(&world, "a"), world.capture_of("a").progress.attempts), (Some(Capped::Hour), 1));
}

#[test]
fn the_day_holds_what_every_hour_lets_through() {
    let mut world = World::with(capped());
    for number in 0..5 {
        capture(&mut world, &format!("a{number}"), "50.00");
        world.clock.advance(HOUR);
    }
    send(&mut world, "b", "50.00");
    assert_eq!(held_by(&world, "b"), Some(Capped::Day));
    world.clock.advance_to(at(DAY - 1));
    assert!(world.due_call().is_none());
    world.clock.advance_to(at(DAY + 24 * 60));
    assert!(world.due_call().is_some());
}

#[test]
fn of_two_windows_the_one_that_has_room_later_holds() {
    let mut world = World::with(with_caps(Caps { hour: Some(gel(1_000)), day: Some(gel(1_000)), ..none() }));
    capture(&mut world, "a", "10.00");
    send(&mut world, "b", "10.00");
    assert_eq!(held_by(&world, "b"), Some(Capped::Day));
}

#[test]
fn what_is_held_ends_as_its_authorization_has_ended() {
    // Before its expiry, as a look at another capture shows.
    let mut world = World::with(capped());
    world.accept(alone("a", "60.00"));
    let other = world.accept(draft("o-a", "b").amount("10.00"));
    world.answer(other.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    for _ in 0..2 {
        world.clock.advance(HOUR);
        let look = world.due_call();
        world.show(look, seen(AuthorizationView { status: AuthorizationStatus::Voided, ..view(100_000) }));
    }
    assert_eq!(world.shipment("b").reason, Some(FailureReason::AuthorizationVoided));
    world.clock.advance(HOUR);
    world.do_due();
    assert_eq!(world.shipment("a").reason, Some(FailureReason::AuthorizationVoided));

    // After it, where there is one capture, and nobody else has captured.
    let mut world = held_after_its_read();
    world.clock.advance_to(at(7 * DAY + 1));
    let read = world.do_due().into_iter().find_map(|reply| reply.ticket);
    world.show(read, seen(AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) }));
    world.do_due();
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::AuthorizationExpired));
}

#[test]
fn a_capture_that_is_held_does_not_hold_up_the_next_of_its_authorization() {
    let mut world = World::with(capped());
    let first = world.accept(alone("a", "40.00"));
    for (name, amount) in [("b", "60.00"), ("c", "50.00"), ("d", "0.02")] {
        let later = world.accept(draft("o-a", name).amount(amount));
        assert!(later.ticket.is_none());
    }
    let next = world.answer(first.ticket, captured(Some(gel(4_000))));
    assert_eq!(held_by(&world, "b"), Some(Capped::Capture), "the turn came to it");
    let Asked::Send { amount, .. } = asked(next.ticket.as_ref().expect("and was handed on")) else { panic!() };
    assert_eq!(amount, gel(5_000));
    // A permit that is handed to what is held goes on with what waits its turn.
    let look = world.answer(next.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    assert!(look.ticket.is_none());
    world.tell(by_hand(&world.capture_of("b")));
    let c = world.capture_of("c");
    let last = world.settle(
        c.key,
        c.progress.epoch,
        Evidence::Reading(seen(AuthorizationView { captures: vec![shown(Some(c.id), gel(5_000))], ..view(100_000) })),
    );
    assert!(last.ticket.is_some(), "b is released, and its turn comes first");
}

#[test]
fn an_end_without_its_turn_taken_is_handed_on() {
    let mut world = World::with(capped());
    let first = world.accept(alone("a", "50.00"));
    world.accept(draft("o-a", "b").amount("50.00"));
    world.accept(draft("o-a", "c").amount("1.00"));
    let ready = {
        let key = world.capture_of("a").key;
        let Asked::Send { epoch, .. } = asked(first.ticket.as_ref().expect("sent")) else { panic!() };
        let evidence = Evidence::Answer(captured(Some(gel(5_000))));
        let settle = Settle { capture: key, epoch, evidence, start: false };
        world.tell(Command::Settle(Box::new(settle))).ready.expect("b is ready, and waits for a permit")
    };
    // Before it has one, others take its room.
    capture(&mut world, "x", "49.00");
    let Due::Capture(b) = ready.due else { panic!() };
    assert_eq!(world.capture_of("b").key, b);
    let reply = world.tell(Command::Due(ready.due));
    assert_eq!(held_by(&world, "b"), Some(Capped::Hour));
    let Asked::Send { amount, .. } = asked(reply.ticket.as_ref().expect("c goes in its place")) else { panic!() };
    assert_eq!(amount, gel(100));
}

#[test]
fn what_has_room_again_and_no_permit_is_held_no_longer() {
    let mut world = World::with(capped());
    let first = send(&mut world, "a", "50.00");
    capture(&mut world, "b", "50.00");
    world.accept(draft("o-b", "c").amount("1.00"));
    assert_eq!(held_by(&world, "c"), Some(Capped::Hour));
    world.answer(first.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    world.clock.advance(HOUR);
    // Something else of its authorization comes to its end, without a permit for the next.
    let other = world.accept(draft("o-b", "d").amount("0.50"));
    let Asked::Send { capture, epoch, .. } = asked(other.ticket.as_ref().expect("sent")) else { panic!() };
    let evidence = Evidence::Answer(captured(Some(gel(50))));
    let settle = Settle { capture, epoch, evidence, start: false };
    let reply = world.tell(Command::Settle(Box::new(settle)));
    assert!(matches!(reply.ready.map(|ready| ready.due), Some(Due::Capture(c)) if c == world.capture_of("c").key));
    assert_eq!((held_by(&world, "c"), state(&world, "c")), (None, CaptureState::Planned));
}

#[test]
fn what_is_held_ends_with_its_authorization() {
    let mut world = World::with(capped());
    send(&mut world, "a", "60.00");
    world.clock.advance_to(at(5 * DAY + 1));
    assert_eq!(world.warn().len(), 1, "the warnings come as for anything else");
    world.clock.advance_to(at(7 * DAY + 1));
    world.warn();
    world.news();
    let read = |world: &mut World| {
        let tickets: Vec<_> = world.do_due().into_iter().filter_map(|reply| reply.ticket).collect();
        tickets.into_iter().find(|ticket| matches!(asked(ticket), Asked::ReadExpiry { .. }))
    };
    let first = read(&mut world);
    world.show(first, seen(view(100_000)));
    assert_eq!(held_by(&world, "a"), Some(Capped::Capture), "its provider holds it still");
    world.clock.advance(2 * SECOND);
    let second = read(&mut world);
    let over = AuthorizationView { status: AuthorizationStatus::Expired, ..view(100_000) };
    world.show(second, seen(over.clone()));
    assert_eq!(state(&world, "a"), CaptureState::Planned, "it ends by itself, with its shipments");
    world.do_due();
    assert_eq!(state(&world, "a"), CaptureState::Failed);
    let news = world.news();
    let [event] = &news[..] else { panic!("{news:?}") };
    let EventContent::Failed(outcome, failure) = &event.content else { panic!("{event:?}") };
    assert_eq!((failure.reason, outcome.resolved_by), (FailureReason::AuthorizationExpired, ResolvedBy::Lookup));
    assert!(!failure.money_may_have_moved);
    assert_eq!(world.balance("r-a"), (100_000, 0, 0));
    // And what became of the authorization is said.
    world.clock.advance(HOUR);
    let third = read(&mut world);
    world.show(third, seen(over));
    assert!(matches!(&world.news()[..], [event] if matches!(event.content, EventContent::Expired(_))));
}

#[test]
fn a_single_capture_is_held_after_its_read_and_its_end_may_be_somebody_elses() {
    let mut world = held_after_its_read();
    world.accept(draft("o", "s2").amount("10.00"));
    world.clock.advance_to(at(7 * DAY + 1));
    world.warn();
    let tickets: Vec<_> = world.do_due().into_iter().filter_map(|reply| reply.ticket).collect();
    let [read] = &tickets[..] else { panic!("{tickets:?}") };
    let in_full = AuthorizationView {
        status: AuthorizationStatus::FullyCaptured,
        captures: vec![shown(None, gel(10_000))],
        balance: ProviderBalance::default(),
        ..view(10_000)
    };
    world.show(Some(read.clone()), seen(in_full));
    world.do_due();
    let reasons = ["s1", "s2"].map(|shipment| world.shipment(shipment).reason);
    let expected = [FailureReason::CapturedElsewhere, FailureReason::CaptureAlreadyUsed];
    assert_eq!(reasons, expected.map(Some));
}

/// The read that showed the end was put off for what was held; what came later is not made to wait for that.
#[test]
fn what_came_after_a_held_capture_is_read_as_soon_as_that_has_ended() {
    let mut world = held_after_its_read();
    world.accept(draft("o", "s2").amount("10.00"));
    world.clock.advance_to(at(7 * DAY + 1));
    world.warn();
    let read = world.do_due().into_iter().find_map(|reply| reply.ticket);
    let over = AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) };
    world.show(read, seen(over.clone()));
    let put_off = world.authorization("r").watch.read_at.expect("a later read");
    assert!(put_off > world.clock.now().wall);
    let replies = world.do_due();
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::AuthorizationExpired));
    assert_eq!(world.authorization("r").watch.read_at, None, "{replies:?}");
    let read = world.due_call();
    world.show(read, seen(over));
    assert_eq!(world.shipment("s2").reason, Some(FailureReason::AuthorizationExpired));
}

#[test]
fn what_was_captured_without_being_let_through_counts_all_the_same() {
    let mut world = World::with(capped());
    let failed = send(&mut world, "a", "50.00");
    let ticket = failed.ticket.clone();
    world.answer(failed.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    capture(&mut world, "b", "40.00");
    assert_eq!(used(&world), (4_000, 4_000));
    // The refusal was not true.
    world.answer(ticket, captured(Some(gel(5_000))));
    assert!(world.capture_of("a").corrected_at.is_some());
    assert_eq!(used(&world), (9_000, 9_000));
    send(&mut world, "c", "10.01");
    assert_eq!(held_by(&world, "c"), Some(Capped::Hour));
}

#[test]
fn an_unresolved_capture_goes_on_counting() {
    let mut world = World::with(capped());
    let doubtful = send(&mut world, "a", "50.00");
    world.answer(doubtful.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    let capture = world.capture_of("a");
    let closing = Closing::Unresolved;
    let what = Intervention::Close { capture: capture.key, id: capture.id, closing };
    let by = Operator { by: "olga".to_owned(), why: "nobody knows".to_owned(), what };
    world.tell(Command::Operator(Box::new(by)));
    assert_eq!(used(&world), (5_000, 5_000));
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_for_longer_than_a_window() {
    let mut world = World::with(capped());
    world.clock.advance(1_000 * HOUR);
    capture(&mut world, "a", "50.00");
    capture(&mut world, "b", "50.00");
    world.clock.set_back(1_000 * HOUR);
    send(&mut world, "c", "1.00");
    assert_eq!(held_by(&world, "c"), Some(Capped::Hour));
    for _ in 0..2 {
        world.clock.advance(HOUR);
        world.do_due();
    }
    assert_eq!(state(&world, "c"), CaptureState::Sending);
}

/// How the books keep what nobody has loaded: an account whose caps were taken away.
#[test]
fn what_was_counted_ends_without_its_caps() {
    let mut world = World::with(capped());
    let sent = send(&mut world, "a", "50.00");
    world.restart_with(policy());
    world.answer(sent.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    assert_eq!((state(&world, "a"), world.capture_of("a").counted_at), (CaptureState::Failed, None));
}

#[test]
fn books_without_what_counts_begin_at_nothing() {
    let mut books = Books::new(1);
    let (name, gel_) = (account(OFTEN), currency("GEL"));
    assert!(!books.knows_usage_of(&name) && books.changed_usages().is_empty());
    books.usage_mut(&name, gel_).count(gel(5), Timestamp::UNIX_EPOCH);
    assert!(books.knows_usage_of(&name));
    let mut kept = books.for_next_group(10).expect("few");
    assert!(kept.changed_usages().is_empty());
    kept.usage_mut(&name, gel_);
    assert_eq!(kept.changed_usages().len(), 1);
}

#[test]
fn what_neither_window_has_room_for_waits_for_the_later_one() {
    let mut world = World::with(with_caps(Caps { hour: Some(gel(6_000)), day: Some(gel(10_000)), ..none() }));
    capture(&mut world, "a", "50.00");
    world.clock.advance_to(at(DAY - 20 * 60));
    capture(&mut world, "b", "50.00");
    send(&mut world, "c", "20.00");
    assert_eq!(held_by(&world, "c"), Some(Capped::Hour), "the day has room before the hour has");
    assert!(why(&world, "c").starts_with("50.00 GEL of the 60.00 GEL that flex captures in an hour"));
}

fn failure(content: EventContent) -> Option<(FailureReason, String)> {
    if let EventContent::Failed(_, failure) = content { Some((failure.reason, failure.message)) } else { None }
}

#[test]
fn what_is_held_ends_when_its_authorization_is_ended_before_its_time() {
    let mut world = World::with(capped());
    send(&mut world, "a", "60.00");
    let other = world.accept(draft("o-a", "b").amount("1.00"));
    world.news();
    world.answer(other.ticket, Answer::Refused(refusal(RefusalReason::AuthorizationVoided)));
    world.clock.advance(HOUR);
    world.do_due();
    assert_eq!(state(&world, "a"), CaptureState::Failed);
    let failed: Vec<_> = world.news().into_iter().filter_map(|event| failure(event.content)).collect();
    let [_, (reason, words)] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(*reason, FailureReason::AuthorizationVoided);
    assert!(words.starts_with("the authorization was ended while a cap held it: 60.00 GEL is more"), "{words}");
}

#[test]
fn only_accounts_whose_windows_are_bounded_are_counted() {
    assert!(policy().counted().is_empty());
    assert!(with_caps(Caps { capture: Some(gel(1)), ..none() }).counted().is_empty(), "each by itself");
    for caps in [Caps { hour: Some(gel(1)), ..none() }, Caps { day: Some(gel(1)), ..none() }] {
        let mut counted = with_caps(caps).counted();
        counted.sort_unstable();
        assert_eq!(counted, [account(OFTEN), account(ONCE)]);
    }
}

#[test]
fn what_is_held_for_another_reason_is_held_once() {
    let mut world = World::with(with_caps(Caps { hour: Some(gel(6_000)), day: Some(gel(10_000)), ..none() }));
    capture(&mut world, "a", "50.00");
    send(&mut world, "c", "20.00");
    assert_eq!(held_by(&world, "c"), Some(Capped::Hour));
    world.clock.advance(30 * MINUTE);
    send(&mut world, "d", "50.00");
    world.tell(by_hand(&world.capture_of("d")));
    let ticket = world.due_call();
    world.answer(ticket, captured(Some(gel(5_000))));
    world.clock.advance(35 * MINUTE);
    assert!(world.due_call().is_none());
    assert_eq!(held_by(&world, "c"), Some(Capped::Day));
    assert_eq!(world.authorization("r-c").held, 1);
    assert_eq!(history(&world, "c").len(), 2, "each reason is told");
}
