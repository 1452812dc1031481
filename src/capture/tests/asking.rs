//! Asking the provider for what nobody has told of an authorization.

use crate::capture::decide::{Command, Due, Note};
use crate::capture::event::FailureReason;
use crate::capture::evidence::{AuthorizationStatus, AuthorizationView, ConfigurationFault, DoubtKind, Reading};
use crate::capture::notice::AuthorizationFacts;
use crate::capture::records::{AuthorizationKey, CaptureKey};
use crate::capture::tests::support::*;
use crate::capture::why::Missing;
use crate::clock::Timestamp;

const WEEK: i64 = 7 * 24 * 3_600;

fn facts(name: &str, amount: bool, authorized_at: Option<i64>, expires_at: Option<i64>) -> AuthorizationFacts {
    let mut facts = authorized(name, "r", 11_900);
    facts.amount = facts.amount.filter(|_| amount);
    facts.authorized_at = authorized_at.map(at);
    facts.expires_at = expires_at.map(at);
    facts
}

/// A view that says when the authorization was made, and when it dies.
fn dated(authorized_at: Option<i64>, expires_at: Option<i64>) -> Reading {
    let mut seen_view = view(11_900);
    seen_view.authorized_at = authorized_at.map(at);
    seen_view.balance.expires_at = expires_at.map(at);
    seen(seen_view)
}

#[test]
fn only_what_nobody_told_and_the_provider_may_know_is_asked_for() {
    for (name, amount, authorized_at, expires_at, asks) in [
        (OFTEN, true, Some(0), Some(WEEK), false),
        (OFTEN, true, None, Some(WEEK), false),
        (OFTEN, true, Some(0), None, true),
        (ONCE, true, Some(0), None, false),
        (ONCE, true, None, None, true),
        (ONCE, false, Some(0), Some(WEEK), true),
    ] {
        let mut world = World::new();
        let reply = world.receive(registration("o", facts(name, amount, authorized_at, expires_at), None));
        let is_ready = reply.ready.is_some_and(|ready| matches!(ready.due, Due::Ask(_)));
        assert_eq!(is_ready, asks, "{name} {amount} {authorized_at:?} {expires_at:?}");
        assert_eq!(world.authorization("r").ask.is_some(), asks);
    }
}

#[test]
fn a_missing_amount_is_asked_for_and_wakes_what_waits_for_it() {
    for name in [ONCE, OFTEN] {
        let mut world = World::new();
        let notice = draft("o", "s1").line("l1", 1).on(facts(name, false, Some(0), Some(WEEK))).plan(worked_plan());
        let reply = world.accept(notice);
        assert_eq!(reply.note, Note::Awaiting(Missing::Authorization));
        assert!(reply.ready.is_some(), "asked for as soon as there is a permit");
        let asked_for = world.due_call();
        assert_eq!(asked(asked_for.as_ref().expect("asked")), Asked::Ask);
        world.show(asked_for, seen(view(11_900)));
        assert_eq!(world.balance("r").0, 11_900);
        world.do_due();
        assert!(world.shipment("s1").amount.is_some(), "{name}");
        assert_eq!(world.authorization("r").ask, None, "asked once");
    }
}

#[test]
fn a_later_notice_can_tell_the_amount_first() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("1.00").on(facts(OFTEN, false, Some(0), Some(WEEK))));
    let asked_for = world.due_call();
    world.accept(draft("o", "s2").amount("2.00").on(facts(OFTEN, true, Some(0), Some(WEEK))));
    world.do_due();
    world.show(asked_for, seen(view(500)));
    assert_eq!(world.balance("r"), (11_900, 0, 300), "what was told stands");
    assert_eq!(world.authorization("r").ask, None);
}

#[test]
fn an_answer_that_does_not_tell_is_asked_for_again_but_not_for_ever() {
    let unapproved = || seen(AuthorizationView { status: AuthorizationStatus::NotYetApproved, ..view(11_900) });
    let silent = || seen(AuthorizationView { authorized: None, ..view(11_900) });
    let foreign = || seen(AuthorizationView { currency: currency("EUR"), ..view(11_900) });
    let fault = || ConfigurationFault { code: None, message: "token".to_owned(), may_have_executed: false };
    for (reading, wait) in [
        (unapproved(), 2),
        (silent(), 2),
        (foreign(), 2),
        (Reading::Unclear(doubt(DoubtKind::Timeout)), 2),
        (Reading::Misconfigured(fault()), 300),
    ] {
        let mut world = World::new();
        world.accept(draft("o", "s1").amount("1.00").on(facts(OFTEN, false, Some(0), Some(WEEK))));
        let asked_for = world.due_call();
        let reply = world.show(asked_for, reading.clone());
        assert!(matches!(reply.note, Note::ReadAgain(_) | Note::Parked(_)), "{reply:?}");
        assert_eq!(world.authorization("r").ask.map(|ask| ask.at), Some(at(wait)), "{reading:?}");
        for _ in 0..300 {
            world.clock.advance(10 * MINUTE);
            for reply in world.do_due() {
                if reply.ticket.is_some() {
                    world.show(reply.ticket, reading.clone());
                }
            }
        }
        assert_eq!(world.authorization("r").ask, None, "{reading:?}");
        assert_eq!(world.shipment("s1").reason, Some(FailureReason::UnknownAuthorization));
    }
}

#[test]
fn an_expiry_is_the_providers_or_counts_from_the_earliest_that_anybody_says() {
    let expiry = |name, told: Option<i64>, made_at: Option<i64>, dies_at: Option<i64>| -> (Option<Timestamp>, bool) {
        let mut world = World::new();
        world.receive(registration("o", facts(name, true, told, None), None));
        let asked_for = world.due_call();
        if asked_for.is_some() {
            world.show(asked_for, dated(made_at, dies_at));
        }
        let record = world.authorization("r");
        (record.expires_at, record.expiry_is_derived)
    };
    let derived = |from: i64| (Some(at(from + WEEK)), true);
    // Nobody says when it was made: it was made before it was told of.
    assert_eq!(expiry(ONCE, None, None, None), derived(0));
    assert_eq!(expiry(ONCE, None, Some(-3_600), None), derived(-3_600));
    assert_eq!(expiry(ONCE, None, Some(3_600), None), derived(0), "the earliest");
    assert_eq!(expiry(ONCE, Some(-60), None, None), derived(-60));
    assert_eq!(expiry(OFTEN, Some(-60), None, Some(500)), (Some(at(500)), false), "told by the provider");
    assert_eq!(expiry(OFTEN, Some(-60), Some(-120), None), derived(-120));
}

#[test]
fn what_collects_is_taken_earlier_when_it_turns_out_to_die_earlier() {
    let mut world = World::new();
    let notice = draft("o", "s1").line("l1", 1).on(facts(ONCE, true, None, None)).plan(worked_plan());
    world.accept(notice);
    assert_eq!(world.authorization("r").freeze_at, Some(at(WEEK - 24 * 3_600)), "with the wider margin");
    let asked_for = world.due_call();
    world.show(asked_for, dated(Some(-2 * 24 * 3_600), None));
    assert_eq!(world.authorization("r").freeze_at, Some(at(WEEK - 3 * 24 * 3_600)));
}

#[test]
fn a_question_whose_answer_never_came_is_asked_again() {
    let mut world = World::new();
    world.receive(registration("o", facts(OFTEN, false, None, None), None));
    assert!(world.due_call().is_some());
    assert!(world.due_call().is_none());
    world.clock.advance(40 * SECOND);
    assert!(world.due_call().is_some());
}

#[test]
fn a_question_that_is_parked_is_recalled_when_its_account_works_again() {
    let mut world = World::new();
    world.receive(registration("o", facts(OFTEN, false, Some(0), Some(WEEK)), None));
    let due = Due::Ask(world.authorization("r").key);
    let ticket = world.tell(Command::Due(due)).ticket;
    let fault = ConfigurationFault { code: None, message: "token".to_owned(), may_have_executed: false };
    assert!(matches!(world.show(ticket, Reading::Misconfigured(fault)).note, Note::Parked(_)));
    assert!(world.tell(Command::Due(due)).ticket.is_none(), "it rests");
    assert_eq!(world.tell(Command::Recall(due)).ready.expect("ready").due, due);
    assert!(world.tell(Command::Due(due)).ticket.is_some());
}

#[test]
fn what_is_not_known_is_not_recalled() {
    let unknown = AuthorizationKey::new(99);
    for due in [Due::Authorization(unknown), Due::Ask(unknown), Due::Capture(CaptureKey::new(99))] {
        assert!(World::new().tell(Command::Recall(due)).ready.is_none(), "{due:?}");
    }
}

#[test]
fn what_is_asked_again_is_asked_less_and_less_often() {
    let mut world = World::new();
    world.receive(registration("o", facts(OFTEN, false, Some(0), Some(WEEK)), None));
    for wait in [2, 5, 15] {
        let asked_for = world.due_call();
        world.show(asked_for, Reading::Unclear(doubt(DoubtKind::Timeout)));
        let ask = world.authorization("r").ask.expect("asked again");
        assert_eq!((ask.at - world.clock.now().wall).num_seconds(), wait);
        world.clock.advance_to(ask.at);
    }
}
