//! What was captured together in the lost time, and comes again in parts: each part waits for the others, and an order
//! is not captured for more than it owes.

use crate::capture::decide::{Command, Due, Note};
use crate::capture::event::FailureReason;
use crate::capture::evidence::{Answer, DoubtKind};
use crate::capture::notice::AuthorizationFacts;
use crate::capture::records::JobKey;
use crate::capture::replay::WhyNotKind;
use crate::capture::restored::republished::REPUBLISHED_WITHIN;
use crate::capture::states::ShipmentState;
use crate::capture::tests::lost_time::{Lived, id_on, on, one_of_two};
use crate::capture::tests::replaying::why_not;
use crate::capture::tests::republishing::{waited, with_minimum};
use crate::capture::tests::restoring::{id_in, now};
use crate::capture::tests::support::*;
use crate::capture::why::Missing;
use crate::clock;
use crate::ids::{CaptureId, DeadLetterId};

/// An authorization on an account that has no minimum.
fn on_other(name: &str) -> AuthorizationFacts {
    authorized(OTHER, name, 10_000)
}

fn id_on_other(on: &str, shipment: &str, generation: u32) -> CaptureId {
    CaptureId::of_shipment(&account(OTHER), &reference(on), &order_id("o"), &shipment_id(shipment), generation)
}

/// Restored to when the order was registered: "s1" of 20.00 and "s2" of 25.00 were captured together, in this generation.
fn captured_as(generation: u32) -> Lived {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    let backup = now(&lived.world);
    lived.lost("r", id_in("s2", generation), 4_500);
    lived.restore(backup);
    lived.go_on();
    lived
}

#[test]
fn what_comes_before_those_that_it_was_captured_with_waits_for_them() {
    let mut lived = captured_as(0);
    let reply = lived.world.receive(draft("o", "s2").amount("25.00").command());
    assert_eq!(reply.note, Note::Awaiting(Missing::Republication));
    lived.take(draft("o", "s1").amount("20.00").command());
    lived.wait(30);
    assert_eq!(lived.total(), 4_500);
    assert_eq!(lived.world.shipment("s1").capture, lived.world.shipment("s2").capture);
}

#[test]
fn what_comes_alone_is_booked_with_all_that_was_captured_when_notices_have_come_again() {
    let mut lived = captured_as(0);
    lived.take(draft("o", "s2").amount("25.00").command());
    lived.wait(30);
    assert_eq!((lived.total(), lived.world.balance("r")), (4_500, (10_000, 4_500, 0)));
}

#[test]
fn those_that_waited_for_an_authorization_are_booked_with_what_they_were_captured_with() {
    let mut lived = Lived::with(with_minimum("30.00"));
    for shipment in ["s2", "s3"] {
        lived.take(draft("o", shipment).amount("20.00").command());
    }
    let backup = now(&lived.world);
    lived.world.clock.advance(HOUR);
    lived.lost("r", id_in("s1", 0), 6_000);
    lived.restore(backup);
    lived.world.receive(registration("o", on("r"), None));
    // On the newest one of their order none is too little.
    lived.take(registration("o", on_other("r2"), None));
    lived.take(draft("o", "s1").amount("20.00").command());
    lived.wait(30);
    assert_eq!((lived.total(), lived.world.balance("r")), (6_000, (10_000, 6_000, 0)));
    assert_eq!(lived.world.shipment("s1").capture, lived.world.shipment("s3").capture);
}

/// "s1" of 20.00 waits in the backup, and its order is cancelled before its authorization can be read again.
fn cancelled_before_the_read(lost: &[(&str, i64)]) -> Lived {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    lived.take(draft("o", "s1").amount("20.00").command());
    let backup = now(&lived.world);
    for (shipment, minor) in lost {
        lived.lost("r", id_in(shipment, 0), *minor);
    }
    lived.restore(backup);
    lived.unreadable.insert("r");
    lived.take(cancellation("o", &[]));
    assert_eq!(lived.world.shipment("s1").state, ShipmentState::Waiting);
    lived.unreadable.clear();
    lived.wait(1);
    lived
}

#[test]
fn a_cancellation_before_the_read_ends_nothing_that_was_captured() {
    let mut lived = cancelled_before_the_read(&[("s2", 4_000)]);
    lived.take(draft("o", "s2").amount("20.00").command());
    assert_eq!((lived.total(), lived.world.balance("r")), (4_000, (10_000, 4_000, 0)));
    assert_eq!(lived.world.shipment("s1").capture, lived.world.shipment("s2").capture);
}

#[test]
fn where_the_read_shows_nothing_it_ends_as_it_would_have() {
    let mut lived = cancelled_before_the_read(&[]);
    assert_eq!(lived.failures(), [(FailureReason::BelowMinimum, true)]);
}

#[test]
fn what_may_have_been_captured_is_not_captured_again_when_the_authorization_is_about_to_expire() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(draft("o", "s1").amount("20.00").on(on("r")).command());
    lived.take(registration("o", on_other("r2"), None));
    let expiry = lived.world.authorization("r").expires_at.expect("it was told");
    lived.world.clock.advance_to(clock::before(expiry, policy().deadline_margin + 2 * HOUR));
    lived.go_on();
    let backup = now(&lived.world);
    // With "s3", which has not come again yet.
    lived.lost("r", id_in("s3", 0), 4_000);
    lived.restore(backup);
    lived.go_on();
    lived.take(draft("o", "s2").amount("20.00").on(on_other("r2")).command());
    lived.wait(3);
    assert_eq!(lived.total(), 4_000);
    assert_eq!(lived.failures(), [(FailureReason::BelowMinimum, true), (FailureReason::AuthorizationExpired, true)]);
}

#[test]
fn what_waits_is_refused_where_its_authorization_is_about_to_expire_just_when_nothing_comes_again_any_more() {
    let mut lived = Lived::with(with_minimum("30.00"));
    let backup = now(&lived.world);
    lived.restore(backup);
    let until = clock::after(lived.world.clock.now().wall, waited());
    let expires_at = Some(clock::after(until, policy().deadline_margin));
    lived.take(draft("o", "s1").amount("20.00").on(AuthorizationFacts { expires_at, ..on("r") }).command());
    lived.world.clock.advance_to(until);
    lived.go_on();
    assert_eq!(lived.failures(), [(FailureReason::BelowMinimum, false)]);
}

#[test]
fn a_part_waits_for_the_others_on_an_account_without_a_minimum_too() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    let backup = now(&lived.world);
    // They were declined together on "r", and captured in a replay on "r2".
    lived.lost("r2", id_on_other("r2", "s2", 1), 4_500);
    lived.restore(backup);
    lived.take(registration("o", on_other("r2"), None));
    lived.take(draft("o", "s1").amount("20.00").command());
    lived.take(draft("o", "s2").amount("25.00").command());
    lived.wait(30);
    assert_eq!((lived.total(), lived.world.balance("r2")), (4_500, (10_000, 4_500, 0)));
}

/// Restored to when both authorizations were registered, of which only "r" has a minimum: these were captured on it.
fn found_on_one_of_two(lost: &[(&str, i64)]) -> Lived {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    lived.take(registration("o", on_other("r2"), None));
    let backup = now(&lived.world);
    for (shipment, minor) in lost {
        lived.lost("r", id_in(shipment, 0), *minor);
    }
    lived.restore(backup);
    lived.go_on();
    lived
}

#[test]
fn what_waited_only_for_what_was_found_is_captured_once_that_is_booked() {
    let mut lived = found_on_one_of_two(&[("s1", 4_500)]);
    lived.take(draft("o", "s2").amount("20.00").command());
    assert_eq!(lived.total(), 4_500, "it may be a part of what was found");
    lived.take(draft("o", "s1").amount("45.00").command());
    assert_eq!((lived.on("r"), lived.on("r2")), (4_500, 2_000));
}

#[test]
fn it_waits_until_what_was_found_was_looked_at_once_more() {
    // Together with a third one, which comes again too late.
    let mut lived = found_on_one_of_two(&[("s1", 6_000)]);
    lived.take(draft("o", "s2").amount("20.00").command());
    lived.take(draft("o", "s1").amount("20.00").command());
    lived.wait(30);
    assert_eq!((lived.on("r"), lived.on("r2")), (6_000, 0));
    assert_eq!(lived.world.shipment("s1").capture, lived.world.shipment("s2").capture);
}

#[test]
fn also_where_a_replay_books_it() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on_other("r2"), None));
    lived.decline(draft("o", "s1").amount("45.00").on(on("r")).command());
    let backup = now(&lived.world);
    lived.lost("r", id_in("s1", 1), 4_500);
    lived.restore(backup);
    lived.go_on();
    lived.take(draft("o", "s2").amount("20.00").on(on_other("r2")).command());
    assert_eq!(lived.total(), 4_500, "it may be a part of what was found");
    lived.replay("s1");
    assert_eq!((lived.on("r"), lived.on("r2")), (4_500, 2_000));
}

#[test]
fn it_waits_as_long_as_anything_that_was_found_has_not_come_again() {
    let mut lived = found_on_one_of_two(&[("s1", 4_500), ("s3", 3_000)]);
    lived.take(draft("o", "s2").amount("20.00").command());
    lived.take(draft("o", "s1").amount("45.00").command());
    assert_eq!((lived.on("r"), lived.on("r2")), (7_500, 0));
    lived.take(draft("o", "s3").amount("30.00").command());
    assert_eq!((lived.on("r"), lived.on("r2")), (7_500, 2_000));
}

#[test]
fn it_is_captured_with_the_end_of_its_order_once_nothing_comes_again_any_more() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    let backup = now(&lived.world);
    lived.lost("r", id_in("s3", 0), 3_000);
    lived.restore(backup);
    lived.go_on();
    for shipment in ["s1", "s2"] {
        lived.take(draft("o", shipment).amount("20.00").command());
    }
    assert_eq!(lived.total(), 3_000);
    lived.world.clock.advance(REPUBLISHED_WITHIN);
    let reply = lived.world.receive(cancellation("o", &[]));
    assert_eq!((reply.note, lived.world.shipment("s2").state), (Note::Cancelled, ShipmentState::Covered));
    lived.go_on();
    assert_eq!(lived.total(), 7_000);
}

#[test]
fn what_was_found_of_it_is_booked_before_it_is_captured_with_others() {
    let mut lived = found_on_one_of_two(&[("s9", 3_000)]);
    lived.take(draft("o", "s1").amount("20.00").on(on("r")).command());
    lived.take(draft("o", "s2").amount("20.00").on(on_other("r2")).command());
    // Both wait, and were captured when nothing came again; after a second restore they wait once more.
    let backup = now(&lived.world);
    lived.lost("r2", id_on_other("r2", "s1", 1), 2_000);
    lived.lost("r2", id_on_other("r2", "s2", 0), 2_000);
    lived.restore(backup);
    lived.go_on();
    lived.world.clock.advance(waited());
    let first = lived.world.authorization("r").key;
    lived.world.tell(Command::Due(Due::Authorization(first)));
    lived.go_on();
    assert_eq!((lived.on("r"), lived.on("r2")), (3_000, 4_000));
    assert_eq!(lived.world.capture_of("s2").progress.attempts, 0, "its key may be forgotten");
}

#[test]
fn what_waited_and_does_not_fit_any_more_is_refused_when_its_authorization_is_about_to_expire() {
    let mut lived = found_on_one_of_two(&[("s3", 3_000)]);
    lived.take(draft("o", "s1").amount("20.00").command());
    lived.take(draft("o", "s2").amount("90.00").command());
    lived.wait(7 * 24);
    assert_eq!(lived.failures(), [(FailureReason::ExceedsAuthorization, true)]);
    assert_eq!((lived.on("r"), lived.on("r2")), (3_000, 9_000));
}

#[test]
fn what_is_too_little_may_have_been_captured_on_an_authorization_that_is_lost() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(draft("o", "s1").amount("20.00").command());
    let backup = now(&lived.world);
    lived.world.clock.advance(HOUR);
    lived.restore(backup);
    lived.take(registration("o", on("r"), None));
    lived.wait(1);
    let record = lived.world.shipment("s1");
    assert_eq!((record.state, record.awaits), (ShipmentState::Awaiting, Some(Missing::Republication)));
}

#[test]
fn what_waits_is_booked_when_it_is_found_under_its_own_key() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    for (shipment, amount) in [("s1", "20.00"), ("s2", "5.00")] {
        lived.take(draft("o", shipment).amount(amount).command());
    }
    let backup = now(&lived.world);
    // "s3" of 5.00 came in between, and they were captured together with "s2" as the last one.
    lived.lost("r", id_in("s2", 0), 3_000);
    lived.restore(backup);
    lived.go_on();
    lived.take(draft("o", "s3").amount("5.00").command());
    lived.wait(30);
    assert_eq!((lived.total(), lived.world.balance("r")), (3_000, (10_000, 3_000, 0)));
}

#[test]
fn a_cancellation_that_comes_first_now_does_not_refuse_what_was_captured() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    lived.take(draft("o", "s1").amount("20.00").command());
    let backup = now(&lived.world);
    lived.lost("r", id_in("s2", 0), 4_500);
    lived.restore(backup);
    lived.go_on();
    lived.take(cancellation("o", &[]));
    lived.take(draft("o", "s2").amount("25.00").command());
    assert_eq!((lived.total(), lived.world.balance("r")), (4_500, (10_000, 4_500, 0)));
    assert_eq!(lived.world.shipment("s1").capture, lived.world.shipment("s2").capture);
}

#[test]
fn nor_where_a_plan_says_what_it_has_earned() {
    let mut lived = Lived::new();
    let two = plan(&[("l1", 1, "10.00"), ("l2", 1, "12.00")], "0", "22.00");
    lived.take(registration("o", on("r"), Some(two)));
    let backup = now(&lived.world);
    lived.lost("r", id_in("s1", 0), 1_000);
    lived.restore(backup);
    lived.go_on();
    lived.take(cancellation("o", &[]));
    lived.take(draft("o", "s1").line("l1", 1).command());
    assert_eq!((lived.total(), lived.world.balance("r")), (1_000, (10_000, 1_000, 0)));
    let after = lived.world.receive(draft("o", "s2").line("l2", 1).command());
    assert_eq!(after.note, Note::Refused(FailureReason::OrderCancelled), "what was not captured is refused");
}

#[test]
fn what_was_captured_together_in_another_order_of_arrival_is_not_sent_again() {
    let mut lived = Lived::with(with_minimum("30.00"));
    // "s1" is there first, and taken up last: it names their capture.
    lived.world.receive(draft("o", "s1").amount("20.00").command());
    lived.world.receive(draft("o", "s2").amount("25.00").on(on("r")).command());
    let reply = lived.world.do_due().into_iter().find(|reply| reply.ticket.is_some()).expect("it is sent");
    lived.world.answer(reply.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    let backup = now(&lived.world);
    // It was declined, and the replay was named by "s2".
    lived.lost("r2", id_on("r2", "s2", 1), 4_500);
    lived.restore(backup);
    lived.take(registration("o", on("r2"), None));
    lived.wait(30);
    assert_eq!(lived.total(), 4_500);
    lived.replay("s1");
    assert_eq!((lived.total(), lived.world.balance("r2")), (4_500, (10_000, 4_500, 0)), "a replay books it");
}

#[test]
fn what_is_in_doubt_is_not_sent_again_before_every_authorization_of_its_order_was_read() {
    let mut lived = Lived::new();
    lived.world.receive(draft("o", "s1").amount("20.00").on(on("r")).no_permit().command());
    let reply = lived.world.do_due().into_iter().find(|reply| reply.ticket.is_some()).expect("it is sent");
    lived.world.answer(reply.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    let backup = now(&lived.world);
    // It was declined, and captured in a replay on "r2".
    lived.lost("r2", id_on("r2", "s1", 1), 2_000);
    lived.restore(backup);
    lived.world.receive(registration("o", on("r2"), None));
    lived.unreadable.insert("r2");
    lived.go_on();
    lived.unreadable.clear();
    lived.wait(30);
    assert_eq!((lived.total(), lived.on("r2")), (2_000, 2_000));
}

#[test]
fn what_was_sent_since_the_restore_may_have_been_captured_whatever_it_came_to_before() {
    let mut lived = Lived::new();
    let facts = on("r");
    lived.world.clock.advance_to(clock::before(facts.expires_at.expect("it is told"), policy().deadline_margin));
    lived.world.receive(draft("o", "s1").amount("20.00").on(facts).no_permit().command());
    let backup = now(&lived.world);
    // It was declined, and captured in a replay on an authorization that comes again too late.
    lived.lost("r2", id_on("r2", "s1", 1), 2_000);
    lived.restore(backup);
    lived.world.clock.advance(SECOND);
    let read = lived.world.do_due().into_iter().find_map(|reply| reply.ticket);
    lived.world.show(read, seen(view(10_000)));
    let sent = lived.world.do_due().into_iter().find_map(|reply| reply.ticket).expect("it is sent");
    lived.world.answer(Some(sent), Answer::Doubt(doubt(DoubtKind::Timeout)));
    lived.lost("r", id_in("s1", 0), 2_000);
    lived.take(registration("o", AuthorizationFacts { expires_at: None, ..on("r2") }, None));
    lived.wait(1);
    assert_eq!((lived.failures(), lived.world.shipment("s1").state), (Vec::new(), ShipmentState::Settled));
}

#[test]
fn what_is_found_on_an_account_that_the_settings_lack_waits_for_it() {
    let mut lived = Lived::new();
    lived.take(registration("o", on("r"), None));
    lived.take(registration("o", on_other("r2"), None));
    let backup = now(&lived.world);
    lived.lost("r", id_in("s1", 0), 2_000);
    lived.restore(backup);
    lived.go_on();
    lived.restart_without_account();
    let reply = lived.world.receive(draft("o", "s1").amount("20.00").command());
    assert_eq!(reply.note, Note::Awaiting(Missing::Account));
    lived.world.restart_with(policy());
    lived.wait(1);
    assert_eq!((lived.total(), lived.world.balance("r")), (2_000, (10_000, 2_000, 0)));
}

#[test]
fn nor_is_it_replayed_without_that() {
    let mut lived = Lived::new();
    lived.decline(draft("o", "s1").amount("20.00").on(on("r")).command());
    let backup = now(&lived.world);
    lived.lost("r", id_in("s1", 1), 2_000);
    lived.restore(backup);
    lived.go_on();
    lived.restart_without_account();
    assert_eq!(why_not(&lived.world.replay("s1", 0)), WhyNotKind::NoOpenAuthorization);
    lived.world.restart_with(policy());
    lived.replay("s1");
    assert_eq!((lived.total(), lived.world.balance("r")), (2_000, (10_000, 2_000, 0)));
}

/// One of two units is captured, and what the order owes beside it was declined, with its dead letter.
fn declined_fee() -> (Lived, DeadLetterId) {
    let mut lived = Lived::new();
    lived.take(one_of_two().command());
    lived.decline(cancellation("o", &[("l1", 1)]));
    let letter = lived.world.letter_for("declined").id;
    (lived, letter)
}

#[test]
fn nor_is_what_an_order_owes() {
    let (mut lived, letter) = declined_fee();
    let backup = now(&lived.world);
    lived.lost("r", CaptureId::of_fee(&account(OFTEN), &reference("r"), &order_id("o"), 1, 1), 250);
    lived.restore(backup);
    lived.go_on();
    lived.restart_without_account();
    assert_eq!(why_not(&lived.world.replay_for(letter, JobKey::new(1))), WhyNotKind::NoOpenAuthorization);
}

#[test]
fn nor_what_was_refused_before_it_was_given_anything() {
    let mut lived = Lived::new();
    let one = plan(&[("l1", 1, "10.00")], "0", "10.00");
    lived.take(draft("o", "s1").line("l1", 2).plan(one).on(on("r")).command());
    assert_eq!(lived.failures(), [(FailureReason::OverShipped, false)]);
    let backup = now(&lived.world);
    // By a later plan it was captured in a replay.
    lived.lost("r", id_in("s1", 1), 2_000);
    lived.restore(backup);
    lived.go_on();
    lived.restart_without_account();
    assert_eq!(why_not(&lived.world.replay("s1", 0)), WhyNotKind::NoOpenAuthorization);
}

#[test]
fn a_replay_of_what_an_order_owes_does_not_take_it_above_its_plan() {
    let (mut lived, letter) = declined_fee();
    let backup = now(&lived.world);
    // The other unit was captured in the lost time, by a plan of that day.
    lived.lost("r", id_in("s2", 0), 700);
    lived.restore(backup);
    lived.go_on();
    assert_eq!(why_not(&lived.world.replay_for(letter, JobKey::new(1))), WhyNotKind::ExceedsAuthorization);
    assert_eq!(lived.total(), 1_450);
}

#[test]
fn a_replay_does_not_take_an_order_above_its_plan() {
    let mut lived = Lived::new();
    let two = plan(&[("l1", 1, "10.00"), ("l2", 1, "10.00")], "0", "20.00");
    lived.decline(draft("o", "s1").line("l1", 1).plan(two).on(on("r")).command());
    let backup = now(&lived.world);
    // What the other one was captured for in the lost time was more, by a plan of that day.
    lived.lost("r", id_in("s2", 0), 1_500);
    lived.restore(backup);
    lived.go_on();
    lived.take(draft("o", "s2").line("l2", 1).command());
    assert_eq!(why_not(&lived.world.replay("s1", 0)), WhyNotKind::ExceedsAuthorization);
    assert_eq!(lived.total(), 1_500);
}

#[test]
fn what_may_have_been_replayed_where_there_are_no_keys_may_have_moved() {
    let mut lived = Lived::new();
    lived.take(registration("o", authorized(ONCE, "r", 10_000), None));
    lived.take(registration("o", authorized(ONCE, "r2", 10_000), None));
    let backup = now(&lived.world);
    lived.restore(backup);
    lived.declines = true;
    lived.take(draft("o", "s1").amount("20.00").last().on(authorized(ONCE, "r2", 10_000)).command());
    lived.wait(30 * 24);
    assert_eq!(lived.failures(), [(FailureReason::Declined, true)]);
}

/// One of two units was captured with half of the delivery, then everything else was cancelled; so much was captured for
/// the other one in the lost time, which comes again last.
fn cancelled_first(minor: i64) -> Lived {
    let mut lived = Lived::new();
    lived.take(one_of_two().command());
    let backup = now(&lived.world);
    lived.lost("r", id_in("s2", 0), minor);
    lived.restore(backup);
    lived.go_on();
    lived.take(cancellation("o", &[]));
    lived.wait(1);
    assert_eq!(lived.total(), 750 + minor, "what is left of the delivery may have gone with what was found");
    lived.take(draft("o", "s2").line("l1", 1).command());
    lived.wait(30);
    lived
}

#[test]
fn what_an_order_owes_is_not_captured_beside_what_was_found_of_it() {
    assert_eq!(cancelled_first(750).total(), 1_500);
}

#[test]
fn what_an_order_owes_is_captured_once_what_was_found_has_come_again() {
    assert_eq!(cancelled_first(600).total(), 1_500);
}

#[test]
fn what_an_order_owes_does_not_wait_where_what_was_found_is_all_given() {
    let mut lived = Lived::new();
    lived.decline(one_of_two().command());
    lived.take(draft("o", "s2").line("l1", 1).command());
    let backup = now(&lived.world);
    // What was declined was captured in a replay.
    lived.lost("r", id_in("s1", 1), 750);
    lived.restore(backup);
    lived.go_on();
    let mut revised = plan(&[("l1", 2, "15.00")], "5.00", "20.00");
    revised.revision = 2;
    lived.take(registration("o", on("r"), Some(revised)));
    assert_eq!(lived.total(), 2_000);
}

#[test]
fn what_an_order_owes_is_looked_at_again_when_nothing_comes_again_any_more() {
    let mut lived = Lived::new();
    lived.take(one_of_two().command());
    let backup = now(&lived.world);
    lived.lost("r", id_in("s2", 0), 750);
    lived.restore(backup);
    let until = clock::after(lived.world.clock.now().wall, REPUBLISHED_WITHIN);
    lived.go_on();
    lived.take(cancellation("o", &[]));
    assert_eq!(lived.world.order("o").closes_at, Some(until));
    lived.world.clock.advance_to(until);
    lived.go_on();
    let again = lived.world.order("o").closes_at.expect("nothing is left of it, but the plan may be revised");
    assert!(again > until, "not before the authorization is about to expire: {again}");
    lived.world.clock.advance_to(again);
    lived.go_on();
    assert_eq!((lived.world.order("o").closes_at, lived.total()), (None, 1_500));
}

#[test]
fn what_is_left_of_what_an_order_owes_is_captured_when_nothing_comes_again_any_more() {
    let mut lived = Lived::new();
    lived.take(one_of_two().command());
    let backup = now(&lived.world);
    lived.lost("r", id_in("s2", 0), 200);
    lived.restore(backup);
    let until = clock::after(lived.world.clock.now().wall, REPUBLISHED_WITHIN);
    lived.go_on();
    lived.take(cancellation("o", &[]));
    assert_eq!(lived.total(), 950);
    lived.world.clock.advance_to(until);
    lived.go_on();
    assert_eq!(lived.total(), 1_000, "one unit, and the whole delivery");
}

#[test]
fn no_plan_bounds_the_amounts_that_notices_name() {
    let mut lived = Lived::new();
    lived.declines = true;
    let smaller = plan(&[("l1", 1, "10.00")], "0", "10.00");
    lived.take(registration("o", on("r"), Some(smaller)));
    lived.take(draft("o", "s1").amount("20.00").command());
    lived.declines = false;
    let backup = now(&lived.world);
    lived.lost("r", id_in("s2", 0), 500);
    lived.restore(backup);
    lived.go_on();
    lived.replay("s1");
    assert_eq!(lived.total(), 2_500);
}

#[test]
fn the_minimum_in_another_currency_holds_nothing_back() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    let backup = now(&lived.world);
    lived.lost("r", id_in("s9", 0), 3_000);
    lived.restore(backup);
    lived.go_on();
    lived.take(draft("o", "s1").amount("20.00").on(in_euro(on_other("r2"))).command());
    assert_eq!((lived.on("r"), lived.on("r2")), (3_000, 2_000));
}

#[test]
fn what_waited_in_the_backup_waits_though_others_of_its_order_were_found() {
    let mut lived = Lived::new();
    lived.take(draft("o", "s1").amount("20.00").command());
    let backup = now(&lived.world);
    lived.world.clock.advance(HOUR);
    lived.lost("r", id_in("s1", 0), 2_000);
    lived.lost("r2", id_on("r2", "s2", 0), 1_000);
    lived.restore(backup);
    lived.take(registration("o", on("r2"), None));
    lived.wait(1);
    assert_eq!(lived.total(), 3_000, "on which one of its order it was captured is not known yet");
    lived.take(registration("o", on("r"), None));
    lived.take(draft("o", "s2").amount("10.00").command());
    lived.wait(30);
    assert_eq!((lived.total(), lived.world.balance("r").1, lived.world.balance("r2").1), (3_000, 2_000, 1_000));
}

/// What "s1" has earned was planned in the backup; "s2" was captured for 15.00 in the lost time, by a later plan.
fn planned_in_the_backup() -> Lived {
    let mut lived = Lived::new();
    let two = plan(&[("l1", 1, "10.00"), ("l2", 1, "10.00")], "0", "20.00");
    lived.world.receive(draft("o", "s1").line("l1", 1).plan(two).on(on("r")).no_permit().command());
    let backup = now(&lived.world);
    lived.lost("r", id_in("s2", 0), 1_500);
    lived.restore(backup);
    lived.go_on();
    lived.wait(3);
    assert_eq!(lived.total(), 1_500, "the plan may be revised again");
    lived
}

#[test]
fn what_was_planned_in_the_backup_does_not_take_its_order_above_its_plan() {
    let mut lived = planned_in_the_backup();
    lived.wait(5);
    assert_eq!(lived.failures(), [(FailureReason::ExceedsAuthorization, true)]);
    assert_eq!(lived.total(), 1_500);
}

#[test]
fn what_was_planned_in_the_backup_is_captured_once_the_plan_has_room_for_it() {
    let mut lived = planned_in_the_backup();
    let mut revised = plan(&[("l1", 1, "10.00"), ("l2", 1, "15.00")], "0", "25.00");
    revised.revision = 2;
    lived.take(registration("o", on("r"), Some(revised)));
    lived.wait(1);
    assert_eq!(lived.total(), 2_500);
}
