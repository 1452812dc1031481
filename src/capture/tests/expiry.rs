//! Warnings before an authorization dies, and what is said of it afterwards.

use chrono::TimeDelta;

use crate::capture::decide::{Command, Due, Note, Ticket};
use crate::capture::event::{AuthorizationEnd, AuthorizationWarning, Ending, EventContent};
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, ConfigurationFault, DoubtKind, ProviderBalance,
    Reading,
};
use crate::capture::notice::AuthorizationFacts;
use crate::capture::policy::OnExpiry;
use crate::capture::records::SingleUse;
use crate::capture::states::CaptureState;
use crate::capture::tests::support::*;

const DAY: i64 = 24 * 3_600;
/// When `authorized` says that it expires.
const EXPIRY: i64 = 7 * DAY;

fn warnings(world: &mut World) -> Vec<AuthorizationWarning> {
    let news = world.news().into_iter().filter_map(|event| match event.content {
        EventContent::Expiring(warning) => Some(*warning),
        EventContent::Succeeded(_)
        | EventContent::Failed(..)
        | EventContent::Unresolved(..)
        | EventContent::Corrected(..)
        | EventContent::Deferred(_)
        | EventContent::Rejected(_)
        | EventContent::RefundRequired(_)
        | EventContent::Expired(_) => None,
    });
    news.collect()
}

fn ends(world: &mut World) -> Vec<AuthorizationEnd> {
    let news = world.news().into_iter().filter_map(|event| match event.content {
        EventContent::Expired(end) => Some(*end),
        EventContent::Succeeded(_)
        | EventContent::Failed(..)
        | EventContent::Unresolved(..)
        | EventContent::Corrected(..)
        | EventContent::Deferred(_)
        | EventContent::Rejected(_)
        | EventContent::RefundRequired(_)
        | EventContent::Expiring(_) => None,
    });
    news.collect()
}

/// The hours of the leads that are warned of at `seconds`.
fn leads_at(world: &mut World, seconds: i64) -> Vec<u64> {
    world.clock.advance_to(at(seconds));
    world.warn();
    warnings(world).iter().map(|warning| warning.lead.as_secs() / 3_600).collect()
}

/// Two of three units have shipped, on an authorization that allows several captures.
fn partial(world: &mut World) {
    let first = draft("o", "s1").line("l1", 2).on(authorized(OFTEN, "r", 11_900)).plan(worked_plan());
    let reply = world.accept(first);
    let amount = world.capture_of("s1").amount;
    world.answer(reply.ticket, captured(Some(amount)));
}

fn of(status: AuthorizationStatus, balance: ProviderBalance) -> Reading {
    seen(AuthorizationView { status, balance, ..view(11_900) })
}

fn expired() -> Reading {
    of(AuthorizationStatus::Expired, ProviderBalance::default())
}

#[test]
fn each_lead_is_warned_of_once_while_money_is_not_captured() {
    let mut world = World::new();
    partial(&mut world);
    for (seconds, leads) in [
        (EXPIRY - 2 * DAY - 1, &[][..]),
        (EXPIRY - 2 * DAY, &[48]),
        (EXPIRY - 2 * DAY + 1, &[]),
        (EXPIRY - DAY / 2, &[12]),
        (EXPIRY - 1, &[]),
    ] {
        assert_eq!(leads_at(&mut world, seconds), leads, "{seconds}");
    }
}

#[test]
fn a_warning_says_what_is_at_stake() {
    let mut world = World::new();
    partial(&mut world);
    world.clock.advance_to(at(EXPIRY - 2 * DAY));
    let notes: Vec<Note> = world.warn().into_iter().map(|reply| reply.note).collect();
    assert_eq!(notes, [Note::Expiring(at(EXPIRY))]);
    let [warning] = &warnings(&mut world)[..] else { panic!() };
    let balance = warning.balance;
    assert_eq!((balance.captured, balance.remaining, balance.earned_uncaptured), (gel(3_127), gel(8_773), gel(0)));
    assert_eq!((warning.on_expiry, warning.expires_at), (OnExpiry::Void, at(EXPIRY)));
    assert_eq!((warning.sequence, warning.expiry_is_derived), (2, false));
}

#[test]
fn where_nothing_is_to_be_lost_nobody_is_warned() {
    // Everything that was ordered has shipped, and its money is captured: the rest is nobody's.
    let mut complete = World::new();
    let plan = plan(&[("l1", 1, "10.00")], "0.00", "10.00");
    let reply = complete.accept(draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 11_900)).plan(plan));
    complete.answer(reply.ticket, captured(Some(gel(1_000))));
    assert_eq!(leads_at(&mut complete, EXPIRY - 1), [0; 0]);

    let mut last = World::new();
    let reply = last.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 11_900)).last());
    last.answer(reply.ticket, captured(Some(gel(1_000))));
    assert_eq!(leads_at(&mut last, EXPIRY - 1), [0; 0], "nothing more ships");

    let mut used = World::new();
    partial_single(&mut used, true);
    assert_eq!(leads_at(&mut used, EXPIRY - 1), [0; 0], "its one capture was made");
    assert_eq!(used.authorization("r").watch.at, None);
}

/// One shipment on an authorization that is captured once; captured, or still collecting.
fn partial_single(world: &mut World, is_captured: bool) {
    let first = draft("o", "s1").line("l1", 2).on(authorized(ONCE, "r", 11_900)).plan(worked_plan());
    world.accept(if is_captured { first.last() } else { first });
    if is_captured {
        world.clock.advance(15 * MINUTE);
        let read = world.due_call();
        let frozen = world.show(read, seen(view(11_900)));
        world.answer(frozen.ticket, captured(None));
    }
}

#[test]
fn where_the_provider_may_capture_by_itself_any_hold_is_warned_of() {
    let mut world = World::new();
    // Final, and refused: nothing is earned and nothing will be, but the hold stands.
    let plan = plan(&[("l1", 1, "200.00")], "0.00", "200.00");
    world.accept(draft("o", "s1").line("l1", 1).on(authorized(ONCE, "r", 11_900)).plan(plan).last());
    assert_eq!(leads_at(&mut world, EXPIRY - 2 * DAY), [48]);
    let read = world.due_call();
    assert!(read.is_none(), "nothing is due but the next lead");
    assert_eq!(leads_at(&mut world, EXPIRY - DAY / 2), [12]);
    assert_eq!(world.authorization("r").single, SingleUse::Free);
}

#[test]
fn an_expiry_that_moves_is_warned_of_anew_and_one_that_moves_back_is_not() {
    let mut world = World::new();
    let reply = world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 11_900)));
    assert_eq!(leads_at(&mut world, EXPIRY - 2 * DAY), [48]);
    let told = |seconds| ProviderBalance { expires_at: Some(at(seconds)), ..view(11_900).balance };
    let pending = |seconds| AuthorizationView { balance: told(seconds), has_pending_capture: true, ..view(11_900) };
    world.answer(reply.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    for (moved_to, leads) in [(EXPIRY + 60, &[48][..]), (EXPIRY, &[]), (EXPIRY + 60, &[]), (EXPIRY + 120, &[48])] {
        let due = world.capture_of("s1").due_at.expect("in doubt");
        world.clock.advance_to(due.max(at(moved_to - 2 * DAY)));
        let look = world.due_call();
        world.show(look, seen(pending(moved_to)));
        world.do_due();
        let warned: Vec<u64> = warnings(&mut world).iter().map(|warning| warning.lead.as_secs() / 3_600).collect();
        assert_eq!(warned, leads, "{moved_to}");
    }
}

#[test]
fn an_expiry_told_in_finer_parts_has_not_moved() {
    let mut world = World::new();
    let reply = world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 11_900)));
    assert_eq!(leads_at(&mut world, EXPIRY - 2 * DAY), [48]);
    let told = Some(at(EXPIRY) + TimeDelta::microseconds(200_431));
    let balance = ProviderBalance { expires_at: told, ..view(11_900).balance };
    let proof = CaptureProof { amount: Some(gel(1_000)), provider_reference: None, balance };
    world.answer(reply.ticket, Answer::Captured(proof));
    assert_eq!(leads_at(&mut world, EXPIRY - 2 * DAY + 1), [0; 0]);
    let record = world.authorization("r");
    assert_eq!((record.expires_at, record.provider.expires_at), (Some(at(EXPIRY)), told));
}

#[test]
fn what_was_missed_is_made_up_for() {
    let mut world = World::new();
    partial(&mut world);
    // Nobody was there for a week.
    assert_eq!(leads_at(&mut world, EXPIRY + DAY), [48, 12]);
    let read = world.due_call().or_else(|| panic!("read after the expiry"));
    world.show(read, expired());
    assert_eq!(ends(&mut world).len(), 1);
}

#[test]
fn what_became_of_the_money_is_the_providers_word() {
    let balance = |captured, remaining| ProviderBalance {
        captured: Some(gel(captured)),
        remaining: Some(gel(remaining)),
        ..ProviderBalance::default()
    };
    let nothing_told = ProviderBalance::default();
    // Ours is 31.27 of 119.00.
    for (what, reading, ending, elsewhere, released) in [
        ("expired", of(AuthorizationStatus::Expired, balance(3_127, 0)), Ending::Expired, 0, 8_773),
        ("voided", of(AuthorizationStatus::Voided, balance(3_127, 0)), Ending::Voided, 0, 8_773),
        ("by somebody else", of(AuthorizationStatus::Expired, balance(5_127, 0)), Ending::Expired, 2_000, 6_773),
        ("all of it", of(AuthorizationStatus::FullyCaptured, balance(11_900, 0)), Ending::Captured, 8_773, 0),
        ("declined", of(AuthorizationStatus::Declined, balance(3_127, 0)), Ending::Declined, 0, 8_773),
        ("all, in no figures", of(AuthorizationStatus::FullyCaptured, nothing_told), Ending::Captured, 8_773, 0),
        ("not even ours", of(AuthorizationStatus::Expired, balance(0, 0)), Ending::Expired, 0, 8_773),
        ("nothing left", of(AuthorizationStatus::Open, balance(3_127, 0)), Ending::Expired, 0, 8_773),
    ] {
        let mut world = World::new();
        partial(&mut world);
        leads_at(&mut world, EXPIRY);
        let read = world.due_call();
        assert!(matches!(asked(read.as_ref().expect(what)), Asked::ReadExpiry { .. }), "{what}");
        let reply = world.show(read.clone(), reading.clone());
        assert_eq!(world.show(read, reading).note, Note::Nothing, "{what}: the same answer again");
        let expected = Note::Expired { captured_elsewhere: gel(elsewhere), released: gel(released) };
        assert_eq!(reply.note, expected, "{what}");
        let [end] = &ends(&mut world)[..] else { panic!("{what}") };
        assert_eq!((end.ending, end.captured_by_us, end.authorized), (ending, gel(3_127), gel(11_900)), "{what}");
        let total = end.captured_by_us.minor() + end.captured_elsewhere.minor() + end.released.minor();
        assert_eq!(total, end.authorized.minor(), "{what}");
        assert_eq!(world.authorization("r").watch.at, None, "{what}");
        world.clock.advance_to(at(EXPIRY + 30 * DAY));
        assert!(world.do_due().is_empty(), "{what}: said once");
    }
}

#[test]
fn a_hold_that_ended_in_a_capture_by_the_provider_is_reported_with_the_difference() {
    let mut world = World::new();
    let plan = plan(&[("l1", 1, "200.00")], "0.00", "200.00");
    world.accept(draft("o", "s1").line("l1", 1).on(authorized(ONCE, "r", 11_900)).plan(plan));
    leads_at(&mut world, EXPIRY);
    let read = world.due_call();
    let by_itself = AuthorizationView {
        status: AuthorizationStatus::FullyCaptured,
        captures: vec![shown(None, gel(11_900))],
        ..view(11_900)
    };
    world.show(read, seen(by_itself));
    let [end] = &ends(&mut world)[..] else { panic!() };
    assert_eq!((end.captured_by_us, end.captured_elsewhere, end.released), (gel(0), gel(11_900), gel(0)));
    let record = world.authorization("r");
    assert_eq!(record.provider.captured, Some(gel(11_900)), "recorded beside our books");
    assert_eq!(record.watch.foreign, None, "nothing is halted where there is one capture");
}

#[test]
fn nothing_is_concluded_by_the_clock() {
    let mut world = World::new();
    partial(&mut world);
    leads_at(&mut world, EXPIRY);
    let mut waits = Vec::new();
    let readings = [
        Reading::Unclear(doubt(DoubtKind::Timeout)),
        seen(view(11_900)),
        seen(AuthorizationView { has_pending_capture: true, status: AuthorizationStatus::Expired, ..view(11_900) }),
        seen(AuthorizationView { currency: currency("EUR"), status: AuthorizationStatus::Expired, ..view(11_900) }),
    ];
    for reading in readings.iter().cycle().take(24) {
        let read = world.due_call();
        let reply = world.show(read, reading.clone());
        assert!(matches!(reply.note, Note::ReadAgain(_)), "{reply:?}");
        let next = world.authorization("r").watch.at.expect("read again");
        let due = Due::Authorization(world.authorization("r").key);
        assert_eq!(world.tell(Command::Due(due)).note, Note::Nothing, "however long the rest is");
        waits.push((next - world.clock.now().wall).num_seconds());
        world.clock.advance_to(next);
    }
    assert_eq!(waits[..7], [2, 5, 15, 60, 300, 900, 3_600], "by the resolver's schedule");
    assert_eq!(waits[23], 12 * 3_600, "ever more seldom, up to a bound");
    assert_eq!(ends(&mut world), []);
    let fault = ConfigurationFault { code: None, message: "secret".to_owned(), may_have_executed: false };
    let read = world.due_call();
    assert!(matches!(world.show(read, Reading::Misconfigured(fault)).note, Note::Parked(_)));
    world.clock.advance(5 * MINUTE);
    let read = world.due_call();
    world.show(read, expired());
    assert_eq!(ends(&mut world).len(), 1);
}

#[test]
fn captures_that_are_open_keep_their_own_rules_and_come_first() {
    let mut world = World::new();
    let reply = world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 11_900)));
    world.answer(reply.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    leads_at(&mut world, EXPIRY);
    let look = |world: &mut World| {
        let due = world.capture_of("s1").due_at.expect("in doubt");
        world.clock.advance_to(due.max(world.clock.now().wall));
        let look = world.due_call();
        assert!(matches!(asked(look.as_ref().expect("due")), Asked::Look { .. }), "nothing is said of the rest");
        look
    };
    let first = look(&mut world);
    world.show(first, expired());
    assert_eq!(ends(&mut world), [], "one read is not enough to fail it");
    let second = look(&mut world);
    assert!(matches!(world.show(second, expired()).note, Note::Failed(_)));
    let read = world.due_call();
    world.show(read, expired());
    let [end] = &ends(&mut world)[..] else { panic!() };
    assert_eq!((end.captured_by_us, end.released), (gel(0), gel(11_900)));
}

/// A shipment on an authorization whose expiry nobody has told, and its call.
fn untold() -> (World, Option<Ticket>) {
    let mut without = policy();
    without.accounts.get_mut(&account(OFTEN)).expect("configured").authorization_lifetime = None;
    let mut world = World::with(without);
    let mut facts = authorized(OFTEN, "r", 11_900);
    (facts.expires_at, facts.authorized_at) = (None, None);
    let reply = world.accept(draft("o", "s1").amount("10.00").on(facts));
    (world, reply.ticket)
}

#[test]
fn an_expiry_that_nobody_told_is_asked_for_until_somebody_does() {
    let (mut world, _) = untold();
    world.accept(draft("o", "s2").amount("10.00"));
    let asked_at_once = world.due_call();
    world.show(asked_at_once, seen(view(11_900)));
    assert_eq!(world.capture_of("s2").due_at, None, "behind the first, without a deadline");
    world.clock.advance(2 * SECOND);
    let read = world.due_call();
    assert!(matches!(asked(read.as_ref().expect("asked")), Asked::ReadExpiry { .. }));
    assert!(matches!(world.show(read, seen(view(11_900))).note, Note::ReadAgain(_)));
    world.clock.advance(2 * SECOND);
    let read = world.due_call();
    let told = ProviderBalance { expires_at: Some(at(EXPIRY)), ..view(11_900).balance };
    world.show(read, seen(AuthorizationView { balance: told, ..view(11_900) }));
    assert_eq!(world.capture_of("s2").due_at, Some(at(EXPIRY - 2 * 3_600)), "and with it the deadline");
    assert_eq!(leads_at(&mut world, EXPIRY - 2 * DAY), [48]);
}

#[test]
fn what_is_put_off_until_after_the_expiry_is_sent_before_it_is_read() {
    let mut world = World::new();
    let reply = world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 11_900)));
    world.answer(reply.ticket, not_executed());
    assert_eq!(world.capture_of("s1").state, CaptureState::Planned);
    world.clock.advance_to(at(EXPIRY));
    let due = Due::Authorization(world.authorization("r").key);
    assert_eq!(world.tell(Command::Due(due)).note, Note::Nothing);
    let sent = world.due_call();
    assert!(matches!(asked(sent.as_ref().expect("sent")), Asked::Send { .. }), "{sent:?}");
}

#[test]
fn an_expiry_that_nobody_told_is_not_read_at_once() {
    let mut without = policy();
    without.accounts.get_mut(&account(ONCE)).expect("configured").authorization_lifetime = None;
    let mut world = World::with(without);
    let facts = AuthorizationFacts { expires_at: None, ..authorized(ONCE, "r", 11_900) };
    world.receive(registration("o", facts, None));
    assert!(world.due_call().is_none(), "the answer to a capture may tell it");
    world.clock.advance(2 * SECOND);
    let read = world.due_call();
    assert!(matches!(asked(read.as_ref().expect("read")), Asked::ReadExpiry { .. }));
}

#[test]
fn what_comes_during_the_read_after_the_expiry_ends_before_the_authorization() {
    let mut minimum = policy();
    minimum.accounts.get_mut(&account(OFTEN)).expect("configured").minimum = Some("5.00".parse().expect("a decimal"));
    let mut world = World::with(minimum);
    partial(&mut world);
    leads_at(&mut world, EXPIRY);
    let read = world.due_call();
    let too_little = draft("p", "p1").amount("1.00").on(authorized(OFTEN, "r", 11_900));
    world.accept(too_little);
    world.show(read, expired());
    assert_eq!(ends(&mut world), []);
}

#[test]
fn an_expiry_told_later_moves_the_deadline_of_what_waits() {
    let mut world = World::new();
    let mut facts = authorized(OFTEN, "r", 11_900);
    facts.expires_at = None;
    world.accept(draft("o", "s1").amount("10.00").on(facts));
    world.accept(draft("o", "s2").amount("10.00"));
    assert_eq!(world.capture_of("s2").due_at, Some(at(EXPIRY - DAY)), "derived, with the wider margin");
    world.accept(draft("o", "s3").amount("10.00").on(authorized(OFTEN, "r", 11_900)));
    assert_eq!(world.capture_of("s2").due_at, Some(at(EXPIRY - 2 * 3_600)));
    assert_eq!(world.authorization("r").freeze_at, None, "nothing collects there");
}

#[test]
fn a_clock_that_goes_there_and_back_neither_loses_nor_repeats_a_lead() {
    let mut world = World::new();
    partial(&mut world);
    assert_eq!(leads_at(&mut world, EXPIRY - 2 * DAY), [48]);
    // Two days forward, for a moment: the last lead comes early, and the read shows that it is held.
    assert_eq!(leads_at(&mut world, EXPIRY + 1), [12]);
    let read = world.due_call();
    world.show(read, seen(view(11_900)));
    world.clock.set_back(2 * 24 * HOUR);
    assert_eq!(warnings(&mut world), []);
    assert!(world.do_due().iter().all(|reply| reply.ticket.is_none()), "it is not over by the clock");
    assert_eq!(leads_at(&mut world, EXPIRY - DAY / 2), [0; 0], "not again");
    world.clock.advance_to(at(EXPIRY + 5));
    let read = world.due_call();
    world.show(read, expired());
    assert_eq!(ends(&mut world).len(), 1, "not lost");
}

#[test]
fn an_account_that_is_no_longer_configured_is_warned_of_and_its_work_is_put_off() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 11_900)).no_permit());
    let mut without = policy();
    without.accounts.remove(&account(OFTEN));
    world.restart_with(without);
    assert_eq!(leads_at(&mut world, EXPIRY - 2 * DAY), [48]);
    for _ in 0..3 {
        let notes: Vec<Note> = world.do_due().into_iter().map(|reply| reply.note).collect();
        assert!(matches!(&notes[..], [Note::Parked(_)]), "{notes:?}");
        assert!(world.do_due().is_empty(), "not found again and again");
        world.clock.advance(HOUR);
    }
    world.restart_with(policy());
    assert!(world.due_call().is_some(), "configured again, it goes on");
}

#[test]
fn an_answer_to_a_read_before_the_last_one_says_nothing() {
    let mut world = World::new();
    partial(&mut world);
    leads_at(&mut world, EXPIRY);
    let first = world.due_call();
    world.clock.advance(40 * SECOND);
    let second = world.due_call();
    assert_eq!(world.show(first, expired()).note, Note::Nothing);
    assert_eq!(ends(&mut world), []);
    world.show(second, expired());
    assert_eq!(ends(&mut world).len(), 1);
}

#[test]
fn what_has_ended_early_is_reported_when_its_expiry_has_come() {
    let (mut world, ticket) = untold();
    let asked_at_once = world.due_call();
    world.show(asked_at_once, seen(view(11_900)));
    world.answer(ticket, captured(Some(gel(1_000))));
    world.clock.advance(2 * SECOND);
    let told = ProviderBalance { expires_at: Some(at(EXPIRY)), captured: Some(gel(1_000)), ..view(10_900).balance };
    let read = world.due_call();
    assert_eq!(world.show(read, of(AuthorizationStatus::Voided, told)).note, Note::Nothing);
    assert_eq!(ends(&mut world), [], "it is not over by the clock");
    world.clock.advance_to(at(EXPIRY));
    let read = world.do_due().into_iter().find_map(|reply| reply.ticket);
    world.show(read, of(AuthorizationStatus::Voided, told));
    assert_eq!(ends(&mut world).len(), 1);
}

#[test]
fn an_expiry_told_later_does_not_put_off_what_is_to_be_sent_again() {
    let mut world = World::new();
    let mut facts = authorized(OFTEN, "r", 11_900);
    facts.expires_at = None;
    let one = world.accept(draft("o", "s1").amount("10.00").on(facts));
    world.answer(one.ticket, not_executed());
    let retry_at = world.capture_of("s1").due_at;
    assert_eq!(retry_at, Some(at(1)));
    world.accept(draft("o", "s2").amount("10.00").on(authorized(OFTEN, "r", 11_900)));
    assert_eq!(world.authorization("r").expires_at, Some(at(EXPIRY)));
    assert_eq!(world.capture_of("s1").due_at, retry_at);
}

#[test]
fn a_hold_of_an_unknown_amount_is_warned_of() {
    let mut world = World::new();
    let facts = AuthorizationFacts { amount: None, ..authorized(OFTEN, "r", 11_900) };
    world.receive(registration("o", facts, None));
    assert_eq!(leads_at(&mut world, EXPIRY - 2 * DAY), [48]);
}

#[test]
fn a_read_that_is_under_way_is_waited_for() {
    let mut world = World::new();
    partial(&mut world);
    leads_at(&mut world, EXPIRY);
    assert!(world.due_call().is_some());
    let due = Due::Authorization(world.authorization("r").key);
    for _ in 0..2 {
        assert_eq!(world.tell(Command::Due(due)).note, Note::Nothing, "another worker found it due, too");
    }
}

#[test]
fn a_hold_that_the_provider_shows_to_be_empty_is_not_warned_of() {
    for (remaining, leads) in [(11_900, &[48][..]), (0, &[])] {
        let mut world = World::new();
        world.accept(draft("o", "s1").line("l1", 2).on(authorized(ONCE, "r", 11_900)).plan(worked_plan()).last());
        world.clock.advance(15 * MINUTE);
        let read = world.due_call();
        let balance = ProviderBalance { remaining: Some(gel(remaining)), ..view(11_900).balance };
        let pending = AuthorizationView { balance, has_pending_capture: true, ..view(11_900) };
        assert!(matches!(world.show(read, seen(pending)).note, Note::ReadAgain(_)));
        assert_eq!(leads_at(&mut world, EXPIRY - 2 * DAY), leads, "{remaining}");
    }
}
