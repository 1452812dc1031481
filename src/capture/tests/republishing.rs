//! A ledger that was restored from a backup, while the order system publishes again: what waits for what is still to
//! come, what is captured together with what, and what a refusal then says.

use std::time::Duration;

use crate::capture::decide::{Note, Reply};
use crate::capture::event::{Event, EventContent, FailureReason};
use crate::capture::evidence::{Answer, CaptureProof, DoubtKind, ProviderBalance, RefusalReason};
use crate::capture::policy::Policy;
use crate::capture::restored::READ_FIRST_FOR;
use crate::capture::restored::republished::REPUBLISHED_WITHIN;
use crate::capture::states::ShipmentState;
use crate::capture::tests::restoring::*;
use crate::capture::tests::support::*;
use crate::capture::why::Missing;
use crate::ids::CaptureId;

#[test]
fn what_waits_waits_anew() {
    let mut world = World::new();
    let lacking = || draft("o", "s1").line("l1", 1);
    world.accept(lacking());
    let backup = now(&world);
    world.clock.advance(48 * HOUR);
    restore(&mut world, backup);
    let reply = world.accept(lacking());
    assert!(matches!(reply.note, Note::Awaiting(_)), "{reply:?}");
    world.clock.advance(24 * HOUR);
    let reply = world.accept(lacking());
    assert!(matches!(reply.note, Note::Refused(_)), "{reply:?}");
}

/// Restored to when a shipment waited for its authorization.
fn restored_while_it_waited(policy: Policy) -> World {
    let mut world = World::with(policy);
    world.accept(draft("o", "s1").amount("20.00"));
    let backup = now(&world);
    world.clock.advance(HOUR);
    restore(&mut world, backup);
    world
}

/// Registers an authorization, and reads it.
fn registered(world: &mut World, authorization: &str, captures: &[(CaptureId, i64)]) -> Reply {
    world.receive(registration("o", authorized(OFTEN, authorization, 10_000), None));
    read(world, shows(captures))
}

#[test]
fn what_waited_in_the_backup_waits_for_the_registrations_of_the_lost_time() {
    let mut world = restored_while_it_waited(policy());
    // It was captured on "r1", which comes after "r".
    registered(&mut world, "r", &[]);
    let waits = |world: &mut World| {
        let reply = world.accept(draft("o", "s1").amount("20.00"));
        assert_eq!((reply.note, reply.ticket.is_none()), (Note::Awaiting(Missing::Republication), true));
        assert_eq!(world.shipment("s1").awaits, Some(Missing::Republication));
    };
    waits(&mut world);
    world.clock.advance(REPUBLISHED_WITHIN.saturating_sub(SECOND));
    waits(&mut world);
    let on_r1 = CaptureId::of_shipment(&account(OFTEN), &reference("r1"), &order_id("o"), &shipment_id("s1"), 0);
    registered(&mut world, "r1", &[(on_r1, 2_000)]);
    let replies = world.do_due();
    assert!(replies.iter().any(|reply| reply.note == Note::Captured(gel(2_000))), "{replies:?}");
    assert_eq!((world.balance("r").1, world.balance("r1").1), (0, 2_000));
}

#[test]
fn what_waited_in_the_backup_is_captured_when_everything_is_published_again() {
    let mut world = restored_while_it_waited(policy());
    registered(&mut world, "r", &[]);
    world.clock.advance(REPUBLISHED_WITHIN);
    let reply = world.accept(draft("o", "s1").amount("20.00"));
    assert_eq!((reply.note, reply.ticket.is_some()), (Note::Planned(gel(2_000)), true));
}

#[test]
fn it_waits_however_short_the_wait_for_what_is_missing_is() {
    let mut world = restored_while_it_waited(Policy { awaiting_max: MINUTE, ..policy() });
    registered(&mut world, "r", &[]);
    world.clock.advance(HOUR);
    assert_eq!(world.accept(draft("o", "s1").amount("20.00")).note, Note::Awaiting(Missing::Republication));
}

#[test]
fn what_names_its_authorization_or_has_come_since_waits_for_no_registration() {
    let mut world = restored_while_it_waited(policy());
    registered(&mut world, "r", &[]);
    assert_eq!(world.accept(draft("o", "s2").amount("5.00")).note, Note::Planned(gel(500)), "new since");
    let mut world = World::new();
    world.accept(draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 10_000)));
    let backup = now(&world);
    world.clock.advance(HOUR);
    restore(&mut world, backup);
    assert_eq!(world.shipment("s1").awaits, Some(Missing::Plan));
    world.receive(registration("o", authorized(OFTEN, "r", 10_000), Some(plan(&[("l1", 1, "10.00")], "0", "10.00"))));
    read(&mut world, shows(&[]));
    let replies = world.do_due();
    assert!(replies.iter().any(|reply| matches!(reply.note, Note::Planned(_))), "{replies:?}");
}

/// Where so little is not captured.
pub(super) fn with_minimum(minimum: &str) -> Policy {
    let mut policy = policy();
    let account = policy.accounts.get_mut(&account(OFTEN)).expect("configured");
    account.minimum = Some(minimum.parse().expect("a decimal"));
    policy
}

#[test]
fn what_waited_in_the_backup_and_was_captured_with_another_is_booked_with_it() {
    let mut world = restored_while_it_waited(with_minimum("30.00"));
    // It was too little by itself, and captured with the next one, under whose key it stands.
    registered(&mut world, "r", &[(id_in("s2", 0), 4_500)]);
    world.do_due();
    assert_eq!(world.shipment("s1").state, ShipmentState::Waiting);
    assert_eq!(world.accept(draft("o", "s2").amount("25.00")).note, Note::Captured(gel(4_500)));
    assert_eq!(world.shipment("s1").capture, world.shipment("s2").capture);
}

/// An account with a minimum of 20.00, whose ledger was restored to when the order was registered: "s1" and "s2" were
/// captured together in the lost time, of so much.
fn captured_together(minor: i64) -> World {
    let mut world = World::with(with_minimum("20.00"));
    world.receive(registration("o", authorized(OFTEN, "r", 10_000), None));
    let backup = now(&world);
    restore(&mut world, backup);
    read(&mut world, shows(&[(id_in("s2", 0), minor)]));
    world
}

#[test]
fn what_may_have_been_captured_with_another_is_not_captured_with_a_third_one() {
    let mut world = captured_together(2_700);
    // They come again as "s3", "s1", "s2"; "s4" is enough by itself.
    assert_eq!(world.accept(worth("s3", "9.00")).note, Note::Deferred);
    assert_eq!(world.accept(worth("s1", "12.00")).note, Note::Deferred, "they come to 21.00, and may not be together");
    let big = world.accept(worth("s4", "20.00"));
    assert_eq!(big.note, Note::Planned(gel(2_000)), "without those that wait");
    world.answer(big.ticket, captured(Some(gel(2_000))));
    assert_eq!(world.accept(worth("s2", "15.00")).note, Note::Captured(gel(2_700)));
    assert_eq!(world.shipment("s1").capture, world.shipment("s2").capture, "the one that makes up what was captured");
    assert_eq!(world.shipment("s3").state, ShipmentState::Waiting);
    // Nothing is left that it may be a part of.
    let next = world.accept(worth("s5", "11.00"));
    assert_eq!(next.note, Note::Planned(gel(2_000)));
    world.answer(next.ticket, captured(Some(gel(2_000))));
    assert_eq!(world.balance("r"), (10_000, 6_700, 0), "each once");
}

/// So long it waits: what waits for it under its own key is looked at once more before.
pub(super) fn waited() -> Duration {
    REPUBLISHED_WITHIN + policy().awaiting_check
}

#[test]
fn what_waited_so_is_captured_together_when_notices_have_come_again() {
    let mut world = captured_together(2_700);
    world.accept(worth("s3", "9.00"));
    world.accept(worth("s1", "12.00"));
    world.receive(cancellation("o", &[]));
    assert_eq!(world.shipment("s3").state, ShipmentState::Waiting, "nothing more ships, and notices come again");
    world.clock.advance(waited().saturating_sub(SECOND));
    assert!(world.due_call().is_none());
    world.clock.advance(SECOND);
    world.do_due();
    let Asked::Send { amount, .. } = asked(world.due_call().as_ref().expect("it is sent")) else { panic!() };
    assert_eq!(amount, gel(2_100));
}

#[test]
fn what_waited_so_and_has_no_room_any_more_is_refused() {
    let mut world = captured_together(2_700);
    world.accept(worth("s3", "9.00"));
    world.accept(worth("s1", "12.00"));
    let big = world.accept(worth("s4", "60.00"));
    let (taken, remaining) = (Some(gel(8_700)), Some(gel(1_300)));
    let balance = ProviderBalance { captured: taken, remaining, ..ProviderBalance::default() };
    let proof = CaptureProof { amount: Some(gel(6_000)), provider_reference: None, balance };
    world.answer(big.ticket, Answer::Captured(proof));
    world.receive(cancellation("o", &[]));
    world.clock.advance(waited());
    world.do_due();
    let failed = world.news().iter().filter_map(says_that_money_may_have_moved).collect::<Vec<_>>();
    assert_eq!(failed, [true, true], "87.00 are captured, and 21.00 more are not held");
}

#[test]
fn what_is_too_little_then_goes_on_waiting_for_the_next_one_of_its_order() {
    let mut world = captured_together(2_700);
    world.accept(worth("s3", "9.00"));
    world.clock.advance(waited());
    world.do_due();
    assert_eq!(world.shipment("s3").state, ShipmentState::Waiting);
    assert_eq!(world.accept(worth("s4", "11.00")).note, Note::Planned(gel(2_000)));
}

#[test]
fn what_was_captured_together_are_those_that_come_nearest_to_it() {
    // Worked out anew, each may have earned the smallest unit more or less.
    for minor in [2_699, 2_700, 2_701] {
        let mut world = captured_together(minor);
        world.accept(worth("s3", "9.00"));
        world.accept(worth("s1", "12.00"));
        assert_eq!(world.accept(worth("s2", "15.00")).note, Note::Captured(gel(minor)));
        assert_eq!(world.shipment("s1").capture, world.shipment("s2").capture, "{minor}");
        assert_eq!(world.shipment("s3").state, ShipmentState::Waiting, "{minor}");
    }
}

#[test]
fn what_comes_nearest_may_be_none_of_them() {
    for (minor, expected) in [(2_699, true), (2_100, true), (1_600, false)] {
        let mut world = captured_together(minor);
        world.accept(worth("s1", "12.00"));
        assert_eq!(world.accept(worth("s2", "15.00")).note, Note::Captured(gel(minor)));
        assert_eq!(world.shipment("s1").capture.is_some(), expected, "{minor}");
    }
}

/// At such an account, of an order of 57 units at 1.00: this was captured under these keys in the lost time.
fn restored_with_a_plan(captures: &[(CaptureId, i64)]) -> World {
    let mut world = World::with(with_minimum("20.00"));
    let whole = plan(&[("l1", 57, "57.00")], "0.00", "57.00");
    world.receive(registration("o", authorized(OFTEN, "r", 5_700), Some(whole)));
    let backup = now(&world);
    restore(&mut world, backup);
    read(&mut world, shows(captures));
    world
}

#[test]
fn what_stands_under_its_own_key_leaves_it_its_part_of_the_plan() {
    // "s1" was captured by itself, and comes again as the last one.
    let mut world = restored_with_a_plan(&[(id_in("s1", 0), 2_500)]);
    for small in ["s2", "s3"] {
        assert_eq!(world.accept(draft("o", small).line("l1", 16)).note, Note::Deferred);
    }
    assert_eq!(world.accept(draft("o", "s1").line("l1", 25)).note, Note::Captured(gel(2_500)));
    assert_eq!(world.shipment("s1").amount, Some(gel(2_500)));
    let ticket = world.due_call();
    world.answer(ticket, captured(Some(gel(3_200))));
    assert_eq!(world.shipment("s2").capture, world.shipment("s3").capture, "the two are captured together");
    assert_eq!(world.balance("r"), (5_700, 5_700, 0), "all of the order");
}

#[test]
fn what_was_captured_of_less_than_it_is_booked_with_is_made_up_for() {
    // "s3" was captured with "s4", which comes again after what else is too little.
    let mut world = restored_with_a_plan(&[(id_in("s3", 0), 2_000)]);
    for small in ["s1", "s2"] {
        assert_eq!(world.accept(draft("o", small).line("l1", 16)).note, Note::Deferred);
    }
    assert_eq!(world.accept(draft("o", "s3").line("l1", 1)).note, Note::Captured(gel(2_000)));
    let next = world.accept(draft("o", "s4").line("l1", 24));
    assert_eq!(next.note, Note::Planned(gel(3_700)));
    world.answer(next.ticket, captured(Some(gel(3_700))));
    assert_eq!(world.balance("r"), (5_700, 5_700, 0), "all of the order");
}

/// What the event of a failure says.
fn says_that_money_may_have_moved(event: &Event) -> Option<bool> {
    if let EventContent::Failed(_, failure) = &event.content { Some(failure.money_may_have_moved) } else { None }
}

/// Accepts what is refused, and returns what its event says.
fn may_have_moved(world: &mut World, draft: Draft) -> bool {
    world.accept(draft);
    world.news().iter().find_map(says_that_money_may_have_moved).expect("it is refused")
}

#[test]
fn a_refusal_of_our_own_does_not_say_that_no_money_moved_where_there_are_no_keys() {
    let mut world = World::new();
    let too_much = |name: &str, account| draft(name, "s1").amount("100.01").on(authorized(account, name, 10_000));
    assert!(!may_have_moved(&mut world, too_much("a", ONCE)));
    let backup = now(&world);
    restore(&mut world, backup);
    assert!(may_have_moved(&mut world, too_much("b", ONCE)), "it may have been captured in the time that was lost");
    world.clock.advance(REPUBLISHED_WITHIN);
    assert!(may_have_moved(&mut world, too_much("d", ONCE)), "nothing shows that it was not");
    world.clock.advance(READ_FIRST_FOR);
    assert!(!may_have_moved(&mut world, too_much("c", ONCE)));
}

#[test]
fn a_refusal_of_our_own_says_that_no_money_moved_where_the_read_has_shown_nothing() {
    let s1 = (id_in("s1", 0), 1_000);
    let s2 = (id_in("s2", 0), 2_000);
    for (shown, expected) in [(&[][..], false), (&[s1], true), (&[s2], true)] {
        let mut world = World::new();
        let one = world.accept(worth("s1", "10.00"));
        world.answer(one.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
        let backup = now(&world);
        restore(&mut world, backup);
        read(&mut world, shows(shown));
        assert!(may_have_moved(&mut world, worth("s3", "100.01")), "what shows it may be registered again only later");
        world.clock.advance(REPUBLISHED_WITHIN);
        assert_eq!(may_have_moved(&mut world, worth("s4", "100.01")), expected, "{shown:?}");
    }
}

#[test]
fn a_refusal_says_that_money_may_have_moved_where_captures_of_the_lost_time_were_found() {
    for (lost, may_have_moved) in [(None, false), (Some((id_in("s1", 0), 2_000)), true)] {
        let mut world = World::new();
        world.receive(registration("o", authorized(OFTEN, "r", 10_000), None));
        let backup = now(&world);
        restore(&mut world, backup);
        let captures: Vec<_> = lost.into_iter().collect();
        read(&mut world, shows(&captures));
        world.clock.advance(REPUBLISHED_WITHIN);
        world.accept(worth("s9", "100.01"));
        let news = world.news();
        let [event] = &news[..] else { panic!("{news:?}") };
        let EventContent::Failed(_, failure) = &event.content else { panic!("{event:?}") };
        let expected = (FailureReason::ExceedsAuthorization, may_have_moved);
        assert_eq!((failure.reason, failure.money_may_have_moved), expected, "split otherwise, it may be of that");
    }
}

#[test]
fn a_refusal_of_several_together_does_not_say_that_no_money_moved() {
    let policy = with_minimum("30.00");
    for (others, expected) in [(vec![], false), (vec![(id_in("s2", 0), 4_500)], true)] {
        let mut world = World::with(policy.clone());
        world.receive(registration("o", authorized(OFTEN, "r", 10_000), None));
        let backup = now(&world);
        restore(&mut world, backup);
        read(&mut world, shows(&others));
        world.clock.advance(REPUBLISHED_WITHIN);
        // "s1" was captured together with "s2", and comes with "s3" now.
        assert_eq!(world.accept(worth("s1", "20.00")).note, Note::Deferred);
        let ticket = world.accept(worth("s3", "10.00")).ticket;
        world.answer(ticket, Answer::Refused(refusal(RefusalReason::Declined)));
        let failures: Vec<bool> = world.news().iter().filter_map(says_that_money_may_have_moved).collect();
        assert_eq!(failures, [expected, expected]);
    }
}
