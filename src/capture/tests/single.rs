//! Authorizations that are captured once: collecting, the read, and the one capture.

use crate::capture::decide::{Command, Due, Evidence, Note, Settle};
use crate::capture::event::{CaptureKind, Event, EventContent, FailureReason, ResolvedBy};
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, ConfigurationFault, DoubtKind, Reading, RefusalReason,
};
use crate::capture::records::SingleUse;
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::tests::support::*;

fn first() -> Draft {
    draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(ONCE, "r", 11_900)).plan(worked_plan())
}

fn second() -> Draft {
    draft("o", "s2").line("l1", 1)
}

/// Both shipments of the documented example, and the read that their completeness begins.
fn complete(world: &mut World) -> Option<crate::capture::decide::Ticket> {
    let deferred = world.accept(first());
    assert_eq!(deferred.note, Note::Deferred);
    assert!(deferred.ticket.is_none());
    let read = world.accept(second());
    assert!(matches!(asked(read.ticket.as_ref().expect("complete: read")), Asked::Read { .. }));
    read.ticket
}

fn outcomes(world: &mut World) -> Vec<(String, i64, i64)> {
    let content = |event: Event| match event.content {
        EventContent::Succeeded(outcome) | EventContent::Failed(outcome, _) => Some(outcome),
        EventContent::Unresolved(..)
        | EventContent::Corrected(..)
        | EventContent::Deferred(_)
        | EventContent::Rejected(_)
        | EventContent::RefundRequired(_)
        | EventContent::Expiring(_)
        | EventContent::Expired(_) => None,
    };
    let minor = |amount: Option<crate::money::Money>| amount.map_or(-1, crate::money::Money::minor);
    let news = world.news().into_iter().filter_map(content);
    news.map(|o| (o.shipment.expect("no fee").to_string(), minor(o.amount), minor(o.capture_amount))).collect()
}

fn reasons(world: &mut World) -> Vec<FailureReason> {
    let reason = |event: Event| match event.content {
        EventContent::Failed(_, failure) => Some(failure.reason),
        EventContent::Succeeded(_)
        | EventContent::Unresolved(..)
        | EventContent::Corrected(..)
        | EventContent::Deferred(_)
        | EventContent::Rejected(_)
        | EventContent::RefundRequired(_)
        | EventContent::Expiring(_)
        | EventContent::Expired(_) => None,
    };
    world.news().into_iter().filter_map(reason).collect()
}

/// The call for several shipments names the trace of each message, the latest last.
#[test]
fn a_call_names_the_traces_of_what_it_is_for() {
    let mut world = World::new();
    let traced = |draft: Draft, traceparent: &str| {
        let mut arrival = draft.arrival();
        arrival.raw.traceparent = Some(traceparent.to_owned());
        Command::Accept(Box::new(arrival))
    };
    world.receive(traced(first(), "of s1"));
    let read = world.receive(traced(second(), "of s2")).ticket;
    assert_eq!(read.as_ref().expect("complete: read").traces, ["of s1", "of s2"]);
    let frozen = world.show(read, seen(view(11_900)));
    assert_eq!(frozen.ticket.expect("it is captured").traces, ["of s1", "of s2"]);
}

#[test]
fn a_complete_order_is_read_and_captured_once_with_an_event_for_each_shipment() {
    let mut world = World::new();
    let read = complete(&mut world);
    let [Event { content: EventContent::Deferred(deferral), .. }] = &world.news()[..] else { panic!() };
    assert_eq!((deferral.amount_so_far, deferral.sequence), (gel(10_337), 1));
    assert_eq!(deferral.capture_by, Some(at(7 * 24 * 3_600 - 2 * 3_600)));
    assert_eq!(world.balance("r"), (11_900, 0, 0), "nothing is reserved while it collects");
    let frozen = world.show(read, seen(view(11_900)));
    assert_eq!(frozen.note, Note::Frozen);
    assert_eq!(world.balance("r"), (11_900, 0, 11_900));
    let capture = world.capture_of("s1");
    assert_eq!((capture.kind, capture.shipment()), (CaptureKind::Batch, Some(world.shipment("s2").key)));
    world.answer(frozen.ticket, captured(None));
    assert_eq!(outcomes(&mut world), [("s1".to_owned(), 10_337, 11_900), ("s2".to_owned(), 1_563, 11_900)]);
    assert_eq!(world.authorization("r").single, SingleUse::Used);
    assert_eq!(world.balance("r"), (11_900, 11_900, 0));
}

#[test]
fn a_final_notice_is_followed_by_its_grace() {
    let mut world = World::new();
    world.accept(first().last());
    assert_eq!(world.authorization("r").freeze_at, Some(at(900)));
    world.clock.advance(899 * SECOND);
    assert!(world.due_call().is_none());
    world.clock.advance(SECOND);
    let read = world.due_call();
    let frozen = world.show(read, seen(view(11_900)));
    // What has not shipped counts as cancelled: the fee is earned in full.
    assert_eq!(world.capture_of("s1").amount, gel(2_998 + 6_913 + 490));
    assert_eq!(world.capture_of("s1").kind, CaptureKind::Shipment);
    world.answer(frozen.ticket, captured(None));
    let late = world.accept(second());
    assert!(matches!(late.note, Note::Refused(_)));
}

#[test]
fn final_may_rise_and_not_fall() {
    let mut world = World::new();
    world.accept(first());
    assert_eq!(world.authorization("r").freeze_at, Some(at(7 * 24 * 3_600 - 2 * 3_600)));
    world.clock.advance(MINUTE);
    assert_eq!(world.accept(first().last()).note, Note::Repeated);
    assert_eq!(world.authorization("r").freeze_at, Some(at(60 + 900)));
    world.clock.advance(MINUTE);
    world.accept(first());
    world.accept(first().last());
    assert_eq!(world.authorization("r").freeze_at, Some(at(60 + 900)), "the first one counts");
}

#[test]
fn the_deadline_takes_what_has_shipped() {
    let mut world = World::new();
    world.accept(first());
    world.clock.advance_to(at(7 * 24 * 3_600 - 2 * 3_600));
    let read = world.due_call();
    let frozen = world.show(read, seen(view(11_900)));
    let capture = world.capture_of("s1");
    assert_eq!((capture.kind, capture.amount), (CaptureKind::Deadline, gel(10_337)));
    world.answer(frozen.ticket, captured(None));
    assert_eq!(outcomes(&mut world).len(), 1);
}

#[test]
fn a_derived_expiry_has_the_wider_margin() {
    let mut world = World::new();
    let mut facts = authorized(ONCE, "r", 11_900);
    facts.expires_at = None;
    world.accept(draft("o", "s1").line("l1", 1).on(facts).plan(worked_plan()));
    let record = world.authorization("r");
    assert_eq!((record.expires_at, record.expiry_is_derived), (Some(at(7 * 24 * 3_600)), true));
    assert_eq!(record.freeze_at, Some(at(6 * 24 * 3_600)));
    // A later notice tells it.
    world.accept(draft("o", "s2").line("l1", 1).on(authorized(ONCE, "r", 11_900)));
    let record = world.authorization("r");
    assert_eq!((record.expiry_is_derived, record.freeze_at), (false, Some(at(7 * 24 * 3_600 - 2 * 3_600))));
}

#[test]
fn every_verdict_of_the_read() {
    let of = |status| AuthorizationView { status, ..view(11_900) };
    let with = |amount| AuthorizationView { captures: vec![shown(None, gel(amount))], ..view(11_900) };
    let none = AuthorizationView { captures: Vec::new(), ..of(AuthorizationStatus::FullyCaptured) };
    let no_card = |status| AuthorizationView { is_card: false, ..of(status) };
    let euros = AuthorizationView { currency: currency("EUR"), authorized: None, ..view(11_900) };
    let refused = |reason| Some(Note::Refused(reason));
    for (what, view, expected, used) in [
        ("approved", view(11_900), Some(Note::Frozen), SingleUse::Undecided),
        (
            "approved, amount not told",
            AuthorizationView { authorized: None, ..view(0) },
            Some(Note::Frozen),
            SingleUse::Undecided,
        ),
        ("ours", with(11_900), Some(Note::Captured(gel(11_900))), SingleUse::Used),
        ("another amount", with(11_899), refused(FailureReason::CapturedElsewhere), SingleUse::Used),
        ("fully captured, nothing shown", none, refused(FailureReason::CapturedElsewhere), SingleUse::Used),
        ("no card", no_card(AuthorizationStatus::Open), refused(FailureReason::CapturedElsewhere), SingleUse::Used),
        ("no card yet", no_card(AuthorizationStatus::NotYetApproved), None, SingleUse::Free),
        (
            "no card, declined",
            no_card(AuthorizationStatus::Declined),
            refused(FailureReason::Declined),
            SingleUse::Free,
        ),
        ("not yet approved", of(AuthorizationStatus::NotYetApproved), None, SingleUse::Free),
        ("pending", AuthorizationView { has_pending_capture: true, ..view(11_900) }, None, SingleUse::Free),
        (
            "pending when it expired",
            AuthorizationView { has_pending_capture: true, ..of(AuthorizationStatus::Expired) },
            None,
            SingleUse::Free,
        ),
        ("declined", of(AuthorizationStatus::Declined), refused(FailureReason::Declined), SingleUse::Free),
        ("expired", of(AuthorizationStatus::Expired), refused(FailureReason::AuthorizationExpired), SingleUse::Free),
        ("reversed", of(AuthorizationStatus::Voided), refused(FailureReason::AuthorizationVoided), SingleUse::Free),
        ("too small", view(11_899), refused(FailureReason::ExceedsAuthorization), SingleUse::Free),
        ("currency", euros, refused(FailureReason::CurrencyMismatch), SingleUse::Free),
    ] {
        let mut world = World::new();
        let read = complete(&mut world);
        let reply = world.show(read, seen(view));
        match &expected {
            Some(note) => assert_eq!(reply.note, *note, "{what}"),
            None => assert!(matches!(reply.note, Note::ReadAgain(_)), "{what}: {reply:?}"),
        }
        assert_eq!(world.authorization("r").single, used, "{what}");
        if let Some(Note::Refused(reason)) = expected {
            assert_eq!(reasons(&mut world), [reason, reason], "{what}");
        }
    }
}

#[test]
fn what_the_read_finds_captured_is_ours_and_keeps_its_reference() {
    let mut world = World::new();
    let read = complete(&mut world);
    world.show(read, seen(AuthorizationView { captures: vec![shown(None, gel(11_900))], ..view(11_900) }));
    let capture = world.capture_of("s1");
    assert_eq!((capture.state, capture.resolved_by), (CaptureState::Captured, Some(ResolvedBy::Lookup)));
    assert_eq!(capture.provider_reference.as_deref(), Some("pay-2"));
}

#[test]
fn money_that_may_have_moved_is_said_to() {
    let mut world = World::new();
    let read = complete(&mut world);
    world.show(read, seen(AuthorizationView { is_card: false, ..view(11_900) }));
    let failures: Vec<bool> = world
        .news()
        .iter()
        .filter_map(|event| match &event.content {
            EventContent::Failed(_, failure) => Some(failure.money_may_have_moved),
            EventContent::Succeeded(_)
            | EventContent::Unresolved(..)
            | EventContent::Corrected(..)
            | EventContent::Deferred(_)
            | EventContent::Rejected(_)
            | EventContent::RefundRequired(_)
            | EventContent::Expiring(_)
            | EventContent::Expired(_) => None,
        })
        .collect();
    assert_eq!(failures, [true, true]);
}

#[test]
fn a_read_that_shows_nothing_is_repeated() {
    let mut world = World::new();
    let read = complete(&mut world);
    let reply = world.show(read, Reading::Unclear(doubt(DoubtKind::Timeout)));
    assert!(matches!(reply.note, Note::ReadAgain(_)));
    assert_eq!(world.authorization("r").watch.at, Some(at(2)));
    world.clock.advance(2 * SECOND);
    let read = world.due_call();
    let fault = ConfigurationFault { code: None, message: "secret".to_owned(), may_have_executed: false };
    let parked = world.show(read, Reading::Misconfigured(fault));
    assert!(matches!(parked.note, Note::Parked(_)));
    world.clock.advance(5 * MINUTE);
    let read = world.due_call();
    assert_eq!(world.show(read, seen(view(11_900))).note, Note::Frozen);
}

#[test]
fn what_the_grace_adds_must_fit_what_was_authorized() {
    // 103.37 fits what was authorized; with the whole fee it is 104.01, and does not.
    for held in [None, Some(gel(20_000))] {
        let mut world = World::new();
        let partial = authorized(ONCE, "r", 10_350);
        world.accept(draft("o", "s1").line("l1", 2).line("l3", 1).on(partial).plan(worked_plan()).last());
        world.clock.advance(15 * MINUTE);
        let read = world.due_call();
        let reply = world.show(read, seen(AuthorizationView { authorized: held, ..view(0) }));
        assert_eq!(reply.note, Note::Refused(FailureReason::ExceedsAuthorization), "{held:?}");
    }
}

#[test]
fn a_shipment_during_the_read_joins_and_is_read_anew() {
    let mut world = World::new();
    let lost = world.accept(first().last());
    assert!(lost.ticket.is_none());
    world.clock.advance(15 * MINUTE);
    let stale = world.due_call();
    let read = world.accept(second());
    assert!(read.ticket.is_some(), "complete");
    assert_eq!(world.show(stale, seen(view(11_900))).note, Note::Nothing, "an old epoch");
    world.show(read.ticket, seen(view(11_900)));
    assert_eq!(world.capture_of("s1").amount, gel(11_900));
}

/// s1 is captured as the deadline comes, and s2 arrives while that is undecided.
fn late(world: &mut World) -> Option<crate::capture::decide::Ticket> {
    world.accept(first());
    world.clock.advance_to(at(7 * 24 * 3_600 - 2 * 3_600));
    let read = world.due_call();
    let frozen = world.show(read, seen(view(11_900)));
    let late = world.accept(second());
    assert_eq!(late.note, Note::Deferred);
    assert_eq!(world.shipment("s2").state, ShipmentState::Waiting);
    world.clock.advance(MINUTE);
    assert!(world.due_call().is_none(), "undecided");
    world.news();
    frozen.ticket
}

#[test]
fn late_shipments_are_refused_after_a_success() {
    let mut world = World::new();
    let sent = late(&mut world);
    world.answer(sent, captured(None));
    assert_eq!(reasons(&mut world), [FailureReason::CaptureAlreadyUsed]);
    let later = world.accept(draft("o", "s3").line("l9", 1));
    assert_eq!(later.note, Note::Refused(FailureReason::PlanMismatch));
}

#[test]
fn late_shipments_collect_anew_after_a_failure() {
    let mut world = World::new();
    let sent = late(&mut world);
    world.answer(sent, Answer::Refused(refusal(RefusalReason::Declined)));
    assert_eq!(reasons(&mut world), [FailureReason::Declined]);
    assert_eq!(world.balance("r"), (11_900, 0, 0));
    let read = world.due_call();
    let frozen = world.show(read, seen(view(11_900)));
    assert_eq!(world.capture_of("s2").amount, gel(1_563), "a failed capture's money is not folded into it");
    world.answer(frozen.ticket, captured(None));
    assert_eq!(outcomes(&mut world), [("s2".to_owned(), 1_563, 1_563)]);
}

#[test]
fn late_shipments_are_refused_when_it_was_captured_elsewhere() {
    let mut world = World::new();
    let sent = late(&mut world);
    world.answer(sent, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let elsewhere = AuthorizationView { captures: vec![shown(None, gel(1))], ..view(11_900) };
    world.show(look, seen(elsewhere));
    assert_eq!(reasons(&mut world), [FailureReason::CapturedElsewhere, FailureReason::CaptureAlreadyUsed]);
}

#[test]
fn a_late_shipment_waits_even_where_both_would_not_fit() {
    let mut world = World::new();
    let plan = plan(&[("a", 1, "80.00"), ("b", 1, "80.00")], "0.00", "160.00");
    world.accept(draft("o", "s1").line("a", 1).on(authorized(ONCE, "r", 10_000)).plan(plan).last());
    world.clock.advance(15 * MINUTE);
    // Explicit amounts would do as well; the plan is larger than what was authorized.
    let read = world.due_call();
    let frozen = world.show(read, seen(view(10_000)));
    assert!(frozen.ticket.is_some());
    let mut explicit = World::new();
    explicit.accept(draft("o", "s1").amount("80.00").on(authorized(ONCE, "r", 10_000)).last());
    explicit.clock.advance(15 * MINUTE);
    let read = explicit.due_call();
    let frozen = explicit.show(read, seen(view(10_000)));
    let late = explicit.accept(draft("o", "s2").amount("80.00"));
    assert_eq!(late.note, Note::Deferred, "what it waits for may fail");
    explicit.answer(frozen.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    let read = explicit.due_call();
    let frozen = explicit.show(read, seen(view(10_000)));
    explicit.answer(frozen.ticket, captured(None));
    assert_eq!(explicit.balance("r"), (10_000, 8_000, 0));
}

#[test]
fn evidence_after_a_failure_uses_the_authorization_up() {
    let mut world = World::new();
    world.accept(first());
    world.clock.advance_to(at(7 * 24 * 3_600 - 2 * 3_600));
    let read = world.due_call();
    let frozen = world.show(read, seen(view(11_900)));
    let key = world.capture_of("s1").key;
    world.answer(frozen.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    let waiting = world.accept(second().no_permit());
    assert_eq!(waiting.note, Note::Deferred);
    world.news();
    let late = Settle { capture: key, epoch: 0, evidence: Evidence::Answer(captured(None)), start: false };
    assert_eq!(world.tell(Command::Settle(Box::new(late))).note, Note::Corrected);
    assert_eq!(world.authorization("r").single, SingleUse::Used);
    assert_eq!(reasons(&mut world), [FailureReason::CaptureAlreadyUsed], "there is nothing left for it");
}

#[test]
fn free_goods_in_a_set_succeed_without_being_captured() {
    let mut world = World::new();
    let plan = plan(&[("free", 1, "0.00"), ("paid", 1, "5.00")], "0.00", "5.00");
    world.accept(draft("o", "s1").line("free", 1).on(authorized(ONCE, "r", 500)).plan(plan));
    let read = world.accept(draft("o", "s2").line("paid", 1));
    let frozen = world.show(read.ticket, seen(view(500)));
    assert_eq!(outcomes(&mut world), [("s1".to_owned(), 0, 0)]);
    world.answer(frozen.ticket, captured(None));
    assert_eq!(outcomes(&mut world), [("s2".to_owned(), 500, 500)]);
}

#[test]
fn free_goods_succeed_whatever_became_of_the_authorization() {
    let mut world = World::new();
    let plan = plan(&[("free", 1, "0.00"), ("paid", 1, "5.00")], "0.00", "5.00");
    world.accept(draft("o", "s1").line("free", 1).on(authorized(ONCE, "r", 500)).plan(plan));
    let read = world.accept(draft("o", "s2").line("paid", 1));
    world.show(read.ticket, seen(AuthorizationView { status: AuthorizationStatus::Voided, ..view(500) }));
    assert_eq!(world.shipment("s1").state, ShipmentState::Settled);
    assert_eq!(reasons(&mut world), [FailureReason::AuthorizationVoided]);
}

#[test]
fn a_read_that_is_repeated_after_the_grace_keeps_the_books_straight() {
    let mut world = World::new();
    world.accept(first().last());
    world.clock.advance(15 * MINUTE);
    let read = world.due_call();
    let reply = world.show(read, seen(AuthorizationView { has_pending_capture: true, ..view(11_900) }));
    assert!(matches!(reply.note, Note::ReadAgain(_)));
    assert_eq!(world.authorization("r").waiting_amount, gel(10_401), "the fee is earned in full");
    world.clock.advance(2 * SECOND);
    let read = world.due_call();
    world.show(read, seen(view(11_900)));
    assert_eq!(world.capture_of("s1").amount, gel(10_401));
}

#[test]
fn two_captures_of_one_authorization_are_never_both_believed() {
    let mut world = World::new();
    let sent = late(&mut world);
    let failed = world.capture_of("s1").key;
    world.answer(sent, Answer::Refused(refusal(RefusalReason::Declined)));
    let read = world.due_call();
    let second = world.show(read, seen(view(11_900)));
    // The first was captured after all, while the second is under way.
    world.settle(failed, 0, Evidence::Answer(captured(None)));
    assert_eq!(world.authorization("r").single, SingleUse::Undecided);
    let doubted = world.answer(second.ticket, captured(None));
    assert!(matches!(doubted.note, Note::InDoubt(_)), "it may be the first that the provider speaks of");
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    world.news();
    world.show(look, seen(AuthorizationView { captures: vec![shown(None, gel(10_337))], ..view(11_900) }));
    assert_eq!(reasons(&mut world), [FailureReason::CaptureAlreadyUsed]);
    assert_eq!(world.authorization("r").single, SingleUse::Used);
    assert_eq!(world.balance("r"), (11_900, 10_337, 0));
}

/// A read for the capture that failed, made by a worker that stood still, while a second one is under way.
#[test]
fn a_late_read_for_the_one_before_does_not_claim_what_is_under_way() {
    let mut world = World::new();
    let plan = plan(&[("a", 1, "5.00"), ("b", 1, "5.00")], "0.00", "10.00");
    world.accept(draft("o", "s1").line("a", 1).on(authorized(ONCE, "r", 1_000)).plan(plan).last());
    world.clock.advance(15 * MINUTE);
    let read = world.due_call();
    let sent = world.show(read, seen(view(1_000))).ticket;
    let former = world.capture_of("s1").key;
    world.accept(draft("o", "s2").line("b", 1).no_permit());
    world.answer(sent, Answer::Refused(refusal(RefusalReason::Declined)));
    let read = world.due_call();
    let second = world.show(read, seen(view(1_000))).ticket;
    world.news();

    let late = seen(AuthorizationView { captures: vec![shown(None, gel(500))], ..view(1_000) });
    assert_eq!(world.settle(former, 0, Evidence::Reading(late)).note, Note::Nothing, "it may be the second");
    world.answer(second, captured(None));
    let [event] = &world.news()[..] else { panic!("one event") };
    let EventContent::Succeeded(outcome) = &event.content else { panic!("{event:?}") };
    assert_eq!(outcome.shipment, Some(shipment_id("s2")));
    assert_eq!(world.balance("r"), (1_000, 500, 0));
}

#[test]
fn a_read_that_is_answered_twice_counts_once() {
    let mut world = World::new();
    world.accept(first());
    world.clock.advance_to(at(7 * 24 * 3_600 - 2 * 3_600));
    let read = world.due_call();
    let frozen = world.show(read.clone(), seen(view(11_900)));
    assert_eq!(world.accept(second()).note, Note::Deferred, "it waits for the end of the one capture");
    assert_eq!(world.show(read, seen(view(11_900))).note, Note::Nothing, "that is under way");
    world.answer(frozen.ticket, captured(None));

    let mut world = World::new();
    let read = complete(&mut world);
    let voided = || seen(AuthorizationView { status: AuthorizationStatus::Voided, ..view(11_900) });
    assert!(matches!(world.show(read.clone(), voided()).note, Note::Refused(_)));
    assert_eq!(world.show(read, voided()).note, Note::Nothing, "nothing waits any more");
}

#[test]
fn a_read_that_is_parked_is_recalled_when_its_account_works_again() {
    let mut world = World::new();
    let read = complete(&mut world);
    let fault = ConfigurationFault { code: None, message: "token".to_owned(), may_have_executed: false };
    assert!(matches!(world.show(read, Reading::Misconfigured(fault)).note, Note::Parked(_)));
    let due = Due::Authorization(world.authorization("r").key);
    assert!(world.tell(Command::Due(due)).ticket.is_none(), "it rests");
    assert_eq!(world.tell(Command::Recall(due)).ready.expect("ready").due, due);
    assert!(world.tell(Command::Due(due)).ticket.is_some());
}

#[test]
fn a_read_that_a_clock_that_was_set_back_has_put_beyond_every_wait_is_due() {
    let mut world = World::new();
    world.accept(first());
    // Four hours after its deadline; then an hour after it.
    world.clock.advance_to(at(7 * 24 * 3_600 + 2 * 3_600));
    let read = world.due_call();
    world.show(read, Reading::Unclear(doubt(DoubtKind::Timeout)));
    world.clock.set_back(3 * HOUR);
    let due = Due::Authorization(world.authorization("r").key);
    assert_eq!(world.tell(Command::Due(due)).note, Note::Looking, "money waits for it");
}

#[test]
fn what_is_final_is_not_captured_because_of_the_deadline() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("10.00").on(authorized(ONCE, "r", 11_900)).last());
    world.clock.advance(15 * MINUTE);
    let read = world.due_call();
    world.show(read, seen(view(11_900)));
    assert_eq!(world.capture_of("s1").kind, CaptureKind::Shipment);
}

#[test]
fn where_nothing_waits_no_time_to_capture_is_set() {
    let freeze_at = |world: &World| world.authorization("r").freeze_at;
    for name in [ONCE, OFTEN] {
        let mut world = World::new();
        world.receive(registration("o", authorized(name, "r", 11_900), None));
        world.accept(draft("o", "s1").amount("200.00"));
        assert_eq!(world.shipment("s1").reason, Some(FailureReason::ExceedsAuthorization));
        assert_eq!(freeze_at(&world), None, "{name}: it is refused");
        world.accept(draft("o", "s1").amount("200.00").last());
        assert_eq!(freeze_at(&world), None, "{name}: it was the last one");
    }
    let mut world = World::new();
    world.accept(first().last());
    world.clock.advance(15 * MINUTE);
    let read = world.due_call();
    let frozen = world.show(read, seen(view(11_900)));
    world.answer(frozen.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    assert_eq!(freeze_at(&world), None, "the one capture has failed");
}
