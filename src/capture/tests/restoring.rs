//! A ledger that was restored from a backup: nothing is sent before the provider was read, and what was
//! captured in the time that was lost is recognised when its notice comes again.

use crate::capture::decide::{Note, Reply, Ticket};
use crate::capture::event::{EventContent, FailureReason};
use crate::capture::evidence::{
    Answer, AuthorizationView, CaptureProof, ConfigurationFault, DoubtKind, ProviderBalance, Reading, RefusalReason,
};
use crate::capture::notice::{PlanFacts, ShippingPolicy};
use crate::capture::records::{ForeignStanding, JobKey, Restored};
use crate::capture::restored::{ANSWERS_MAX, READ_FIRST_FOR};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::tests::replaying::JOB;
use crate::capture::tests::support::*;
use crate::capture::why::Missing;
use crate::clock;
use crate::ids::{CaptureId, EventId};
use crate::ledger::memory::Tables;

pub(super) fn worth(shipment: &str, amount: &str) -> Draft {
    draft("o", shipment).amount(amount).on(authorized(OFTEN, "r", 10_000))
}

/// As the ledger does it: everything there is has to be read.
pub(super) fn restore(world: &mut World, mut backup: Tables) {
    let now = world.clock.now().wall;
    backup.read_first_until = Some(clock::after(now, READ_FIRST_FOR));
    for record in backup.authorizations.values_mut() {
        (record.watch.restored, record.watch.at, record.watch.read_at) = (Some(Restored::Unread), Some(now), Some(now));
    }
    world.go_back_to(backup);
}

pub(super) fn now(world: &World) -> Tables {
    world.ledger.tables().clone()
}

/// What the provider shows of 100.00: these captures.
pub(super) fn shows(captures: &[(CaptureId, i64)]) -> Reading {
    let sum: i64 = captures.iter().map(|(_, minor)| minor).sum();
    let (captured, remaining) = (Some(gel(sum)), Some(gel(10_000 - sum)));
    let balance = ProviderBalance { captured, remaining, ..ProviderBalance::default() };
    let captures = captures.iter().map(|(id, minor)| shown(Some(*id), gel(*minor))).collect();
    seen(AuthorizationView { balance, captures, ..view(10_000) })
}

/// The first read, which is due.
pub(super) fn read(world: &mut World, reading: Reading) -> Reply {
    let ticket = world.due_call();
    assert!(matches!(asked(ticket.as_ref().expect("it is read")), Asked::ReadExpiry { .. }));
    world.show(ticket, reading)
}

/// Accepts and captures.
fn capture(world: &mut World, draft: Draft) -> CaptureId {
    let ticket = world.accept(draft).ticket;
    let Asked::Send { amount, capture, .. } = asked(ticket.as_ref().expect("it is sent")) else { panic!("{ticket:?}") };
    world.answer(ticket, captured(Some(amount)));
    world.ledger.tables().captures[&capture].id
}

fn found(world: &World) -> usize {
    match world.authorization("r").watch.restored {
        Some(Restored::Read { found, .. }) => found.len(),
        other => panic!("{other:?}"),
    }
}

/// Restored to when the order was registered, and nothing of it had shipped.
fn restored_when_registered() -> World {
    let mut world = World::new();
    world.receive(registration("o", authorized(OFTEN, "r", 10_000), None));
    let backup = now(&world);
    restore(&mut world, backup);
    world
}

#[test]
fn what_was_captured_since_is_booked_and_not_sent_again() {
    let mut world = World::new();
    let one = world.accept(worth("s1", "10.00"));
    world.answer(one.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.accept(worth("s2", "5.00"));
    assert_eq!(world.capture_of("s2").state, CaptureState::Planned);
    let backup = now(&world);
    let (id1, id2) = (world.capture_of("s1").id, world.capture_of("s2").id);
    let elsewhere = &mut World::new();
    let id3 = capture(elsewhere, worth("s3", "20.00"));

    restore(&mut world, backup);
    for again in [worth("s3", "20.00"), worth("s4", "30.00")] {
        let reply = world.accept(again);
        assert_eq!((reply.note, reply.ticket.is_none()), (Note::Awaiting(Missing::Reading), true));
        assert!(reply.ready.is_some(), "it is read at once");
    }
    assert_eq!(world.accept(worth("s1", "10.00")).note, Note::Repeated);
    let reply = read(&mut world, shows(&[(id1, 1_000), (id2, 500), (id3, 2_000)]));
    assert_eq!(reply.note, Note::Restored { adopted: 2, found: 1 });
    assert_eq!((reply.subject.order, reply.subject.account), (Some(order_id("o")), Some(account(OFTEN))));
    assert_eq!(world.balance("r"), (10_000, 1_500, 0));
    // Now the others are taken up: one is there already, one is sent.
    let replies = world.do_due();
    assert!(replies.iter().any(|reply| reply.note == Note::Captured(gel(2_000))), "{replies:?}");
    let ticket = replies.into_iter().find_map(|reply| reply.ticket);
    assert!(matches!(asked(ticket.as_ref().expect("s4 is sent")), Asked::Send { amount, .. } if amount == gel(3_000)));
    assert_eq!((world.balance("r"), found(&world)), ((10_000, 3_500, 3_000), 0));
    world.answer(ticket, captured(Some(gel(3_000))));
    let succeeded = world.news().into_iter().filter(|event| matches!(event.content, EventContent::Succeeded(_)));
    assert_eq!(succeeded.count(), 4);
    assert_eq!(world.authorization("r").watch.foreign, None, "none of it is somebody else's");
}

#[test]
fn amounts_are_those_that_were_captured_whatever_the_order_of_arrival() {
    let mut world = World::new();
    let whole = plan(&[("l1", 3, "10.00")], "0.00", "10.00");
    let unit = |shipment| draft("o", shipment).line("l1", 1).plan(whole.clone()).on(authorized(OFTEN, "r", 1_000));
    let backup = now(&world);
    let ids = ["s1", "s2"].map(|shipment| capture(&mut world, unit(shipment)));
    let amounts = ["s1", "s2"].map(|shipment| world.shipment(shipment).amount.expect("given").minor());
    assert_ne!(amounts[0], amounts[1], "else this shows nothing");
    restore(&mut world, backup);
    // The authorization is new here, and is read first all the same.
    assert_eq!(world.accept(unit("s2")).note, Note::Awaiting(Missing::Reading));
    read(&mut world, shows(&[(ids[0], amounts[0]), (ids[1], amounts[1])]));
    world.do_due();
    assert_eq!(world.accept(unit("s1")).note, Note::Captured(gel(amounts[0])));
    assert_eq!(world.shipment("s2").amount, Some(gel(amounts[1])));
    capture(&mut world, unit("s3"));
    assert_eq!(world.balance("r"), (1_000, 1_000, 0), "to the minor unit");
}

#[test]
fn a_fee_is_recognised_by_its_number() {
    let mut world = World::new();
    let whole = plan(&[("l1", 2, "10.00")], "5.00", "15.00");
    capture(&mut world, draft("o", "s1").line("l1", 1).plan(whole).on(authorized(OFTEN, "r", 10_000)));
    let (backup, first) = (now(&world), world.capture_of("s1"));
    world.receive(cancellation("o", &[("l1", 1)]));
    let ticket = world.due_call();
    let Asked::Send { capture, amount, .. } = asked(ticket.as_ref().expect("the fee is sent")) else { panic!() };
    let id = world.ledger.tables().captures[&capture].id;

    restore(&mut world, backup);
    read(&mut world, shows(&[(first.id, first.amount.minor()), (id, amount.minor())]));
    world.receive(cancellation("o", &[("l1", 1)]));
    assert!(world.due_call().is_none());
    let captured = first.amount.minor() + amount.minor();
    assert_eq!((world.balance("r"), found(&world)), ((10_000, captured, 0), 0));
}

/// Its key in another generation.
pub(super) fn id_in(shipment: &str, generation: u32) -> CaptureId {
    CaptureId::of_shipment(&account(OFTEN), &reference("r"), &order_id("o"), &shipment_id(shipment), generation)
}

#[test]
fn what_was_captured_in_a_later_generation_is_not_captured_in_an_earlier_one() {
    let mut world = World::new();
    capture(&mut world, worth("s1", "10.00"));
    let (backup, first) = (now(&world), world.capture_of("s1"));
    // In the lost time s2 was declined, replayed twice, and captured the second time.
    restore(&mut world, backup);
    read(&mut world, shows(&[(first.id, 1_000), (id_in("s2", 2), 2_000)]));
    let reply = world.accept(worth("s2", "20.00"));
    assert_eq!((reply.note, reply.ticket.is_none()), (Note::Captured(gel(2_000)), true));
    assert_eq!((world.shipment("s2").generation, world.capture_of("s2").id), (2, id_in("s2", 2)));
    let restored = world.authorization("r").watch.restored;
    assert!(matches!(restored, Some(Restored::Read { adopted: 1, .. })), "{restored:?}");
    assert_eq!((world.balance("r"), found(&world)), ((10_000, 3_000, 0), 0));
    let succeeded = world.news().into_iter().find(|event| matches!(event.content, EventContent::Succeeded(_)));
    let id = EventId::of_shipment("capture.succeeded", &order_id("o"), &shipment_id("s2"), 2);
    assert_eq!(succeeded.map(|event| event.id), Some(id), "the event of that day once more");
    // What was never captured has no other generation.
    let ticket = world.accept(worth("s3", "5.00")).ticket;
    assert!(ticket.is_some());
    assert_eq!(world.capture_of("s3").id, id_in("s3", 0));
}

#[test]
fn a_replay_finds_what_another_replay_of_the_lost_time_captured() {
    let mut world = World::new();
    let reply = world.accept(worth("s1", "10.00"));
    world.answer(reply.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    let backup = now(&world);
    // In the lost time it was replayed twice, and captured the second time, of another amount.
    restore(&mut world, backup);
    read(&mut world, shows(&[(id_in("s1", 2), 1_001)]));
    let reply = world.replay("s1", 0);
    assert_eq!((reply.subject.order, reply.subject.shipment), (Some(order_id("o")), Some(shipment_id("s1"))));
    assert_eq!(reply.subject.account, Some(account(OFTEN)));
    assert_eq!((reply.ready.is_none(), reply.ticket.is_none()), (true, true));
    let shipment = world.shipment("s1");
    assert_eq!((shipment.generation, shipment.state, shipment.amount), (2, ShipmentState::Settled, Some(gel(1_001))));
    assert_eq!((world.balance("r"), found(&world)), ((10_000, 1_001, 0), 0));
}

/// An order that was authorized anew since the backup, which has its first authorization, "r".
fn authorized_anew() -> World {
    let mut world = restored_when_registered();
    world.receive(registration("o", authorized(OFTEN, "r2", 10_000), None));
    let reply = world.accept(draft("o", "s1").amount("20.00"));
    assert_eq!(reply.note, Note::Awaiting(Missing::Reading));
    world
}

/// The reads that are due, of these authorizations.
fn reads<const N: usize>(world: &mut World, of: [&str; N]) -> [Option<Ticket>; N] {
    let mut tickets: Vec<Ticket> = world.do_due().into_iter().filter_map(|reply| reply.ticket).collect();
    assert_eq!(tickets.len(), N, "{tickets:?}");
    of.map(|name| tickets.iter().position(|ticket| ticket.reference.as_str() == name).map(|at| tickets.remove(at)))
}

#[test]
fn a_notice_that_names_no_authorization_is_recognised_on_any_of_its_order() {
    let mut world = authorized_anew();
    // In the lost time it was captured on "r", before the order was authorized anew.
    let [r, r2] = reads(&mut world, ["r", "r2"]);
    let reply = world.show(r2, shows(&[]));
    assert_eq!((reply.ticket.is_none(), world.shipment("s1").state), (true, ShipmentState::Awaiting));
    assert!(world.do_due().iter().all(|reply| reply.ticket.is_none()), "the newer one tells nothing of \"r\"");
    world.show(r, shows(&[(id_in("s1", 0), 2_000)]));
    let replies = world.do_due();
    assert!(replies.iter().any(|reply| reply.note == Note::Captured(gel(2_000))), "{replies:?}");
    assert_eq!((world.balance("r").1, world.balance("r2").1), (2_000, 0));
}

#[test]
fn what_cannot_be_read_holds_up_no_notice_that_does_not_name_it() {
    let mut world = authorized_anew();
    let [r, r2] = reads(&mut world, ["r", "r2"]);
    world.show(r2, shows(&[]));
    // That our own settings are wrong is an answer, too.
    let fault = ConfigurationFault { code: None, message: "token".to_owned(), may_have_executed: false };
    world.show(r, Reading::Misconfigured(fault));
    for _ in 1..ANSWERS_MAX {
        world.clock.advance(HOUR);
        assert_eq!(world.shipment("s1").state, ShipmentState::Awaiting);
        let [r] = reads(&mut world, ["r"]);
        world.show(r, Reading::Unclear(doubt(DoubtKind::Unreadable)));
    }
    world.clock.advance(HOUR);
    let replies = world.do_due();
    assert!(replies.iter().any(|reply| reply.note == Note::Planned(gel(2_000))), "{replies:?}");
    assert_eq!((world.balance("r").2, world.balance("r2").2), (0, 2_000));
}

#[test]
fn a_fee_that_was_replayed_is_recognised() {
    let mut world = World::new();
    let whole = plan(&[("l1", 2, "10.00")], "5.00", "15.00");
    capture(&mut world, draft("o", "s1").line("l1", 1).plan(whole).on(authorized(OFTEN, "r", 10_000)));
    let (backup, first) = (now(&world), world.capture_of("s1"));
    let fee = CaptureId::of_fee(&account(OFTEN), &reference("r"), &order_id("o"), 1, 3);
    for is_cancelled_before in [false, true] {
        restore(&mut world, backup.clone());
        let cancelled = || cancellation("o", &[("l1", 1)]);
        if is_cancelled_before {
            world.receive(cancelled());
        }
        read(&mut world, shows(&[(first.id, first.amount.minor()), (fee, 260)]));
        world.receive(cancelled());
        world.clock.advance(HOUR);
        assert!(world.due_call().is_none());
        // As much as was captured, not as would be owed today.
        let captured = first.amount.minor() + 260;
        assert_eq!((world.balance("r"), found(&world)), ((10_000, captured, 0), 0), "{is_cancelled_before}");
        assert_eq!(world.order("o").stored, captured);
        let of_that_day = world.ledger.tables().captures.values().any(|capture| capture.id == fee);
        assert!(of_that_day, "its event is the one of that day");
    }
}

#[test]
fn a_fee_that_is_replayed_finds_what_another_replay_captured() {
    let mut world = World::new();
    let whole = plan(&[("l1", 2, "10.00")], "5.00", "15.00");
    let id1 = capture(&mut world, draft("o", "s1").line("l1", 1).plan(whole).on(authorized(OFTEN, "r", 10_000)));
    world.receive(cancellation("o", &[("l1", 1)]));
    let ticket = world.due_call();
    world.answer(ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    let (backup, fee) = (now(&world), CaptureId::of_fee(&account(OFTEN), &reference("r"), &order_id("o"), 1, 2));
    restore(&mut world, backup);
    read(&mut world, shows(&[(id1, 750), (fee, 250)]));
    let letter = world.letter_for("declined").id;
    let reply = world.replay_for(letter, JobKey::new(1));
    assert_eq!((reply.ticket.is_none(), reply.ready.is_none()), (true, true));
    assert_eq!((world.balance("r"), found(&world)), ((10_000, 1_000, 0), 0));
    assert!(world.ledger.tables().captures.values().any(|capture| capture.id == fee));
}

#[test]
fn a_refusal_proves_nothing_of_what_may_have_been_sent_before() {
    let mut world = World::new();
    let one = world.accept(worth("s1", "10.00"));
    world.answer(one.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.accept(worth("s2", "20.00"));
    let (backup, id1) = (now(&world), world.capture_of("s1").id);
    restore(&mut world, backup);
    read(&mut world, shows(&[(id1, 1_000)]));
    let ticket = world.due_call();
    assert!(matches!(asked(ticket.as_ref().expect("s2 is sent")), Asked::Send { .. }));
    let reply = world.answer(ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    assert!(matches!(reply.note, Note::InDoubt(_)), "{reply:?}");
    // Nothing of it is there long after: it has failed.
    world.clock.advance(HOUR);
    let ticket = world.due_call();
    let reply = world.show(ticket, shows(&[(id1, 1_000)]));
    assert_eq!(reply.note, Note::Failed(FailureReason::Declined));
}

#[test]
fn what_the_books_of_that_day_had_planned_gives_way() {
    let mut world = World::new();
    let one = world.accept(worth("s1", "10.00"));
    world.answer(one.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.accept(worth("s2", "60.00"));
    let (backup, id1) = (now(&world), world.capture_of("s1").id);
    // In the time that was lost the second failed, and another one took what was left.
    let id3 = capture(&mut World::new(), worth("s3", "90.00"));
    restore(&mut world, backup);
    read(&mut world, shows(&[(id1, 1_000), (id3, 9_000)]));
    assert_eq!(world.shipment("s2").reason, Some(FailureReason::ExceedsAuthorization), "without a call");
    assert!(world.due_call().is_none());
    assert_eq!(world.accept(worth("s3", "90.00")).note, Note::Captured(gel(9_000)));
    assert_eq!(world.balance("r"), (10_000, 10_000, 0));
}

#[test]
fn what_was_planned_keeps_the_room_that_is_left() {
    let mut world = World::new();
    let one = world.accept(worth("s1", "10.00"));
    world.answer(one.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.accept(worth("s2", "30.00"));
    world.accept(worth("s3", "30.00"));
    world.accept(worth("s4", "10.00"));
    let backup = now(&world);
    restore(&mut world, backup);
    // 50.00 are left, of which s1 may take 10.00: one of 30.00 fits, and not the other beside it.
    read(&mut world, shows(&[(id_in("s9", 0), 5_000)]));
    let states = ["s2", "s3", "s4"].map(|shipment| world.capture_of(shipment).state);
    assert_eq!(states, [CaptureState::Planned, CaptureState::Failed, CaptureState::Planned]);
}

#[test]
fn what_was_found_is_not_taken_for_somebody_elses() {
    let mut world = World::new();
    let id1 = capture(&mut world, worth("s1", "10.00"));
    let backup = now(&world);
    restore(&mut world, backup);
    let found = [(id1, 1_000), (id_in("s2", 0), 2_000)];
    read(&mut world, shows(&found));
    let tells = |amount, captured| {
        let captured = ProviderBalance { captured: Some(gel(captured)), ..ProviderBalance::default() };
        Answer::Captured(CaptureProof { amount: Some(gel(amount)), provider_reference: None, balance: captured })
    };
    let ticket = world.accept(worth("s3", "5.00")).ticket;
    world.answer(ticket, tells(500, 3_500));
    assert_eq!(world.authorization("r").watch.foreign, None, "the answer tells of it");
    let ticket = world.accept(worth("s4", "5.00")).ticket;
    world.answer(ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let (id3, id4) = (world.capture_of("s3").id, world.capture_of("s4").id);
    world.show(look, shows(&[&found[..], &[(id3, 500), (id4, 500)]].concat()));
    assert_eq!((world.balance("r").1, world.authorization("r").watch.foreign), (2_000, None), "the look shows it");
    let ticket = world.accept(worth("s5", "5.00")).ticket;
    world.answer(ticket, tells(500, 5_500));
    let foreign = world.authorization("r").watch.foreign.expect("more than that");
    assert_eq!((foreign.standing, foreign.amount), (ForeignStanding::Suspected, gel(1_000)));
}

#[test]
fn what_comes_up_under_another_key_after_the_read_is_somebody_elses() {
    let mut world = World::new();
    let id1 = capture(&mut world, worth("s1", "10.00"));
    let backup = now(&world);
    restore(&mut world, backup);
    let found = [(id1, 1_000), (id_in("s2", 0), 2_000)];
    read(&mut world, shows(&found));
    let ticket = world.accept(worth("s3", "5.00")).ticket;
    world.answer(ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    world.show(look, shows(&[&found[..], &[(id_in("s9", 0), 700)]].concat()));
    let foreign = world.authorization("r").watch.foreign.expect("nobody has asked for it here");
    assert_eq!((foreign.standing, foreign.amount), (ForeignStanding::Seen, gel(700)));
}

#[test]
fn a_new_authorization_is_read_first_for_a_while_where_there_are_keys() {
    let mut world = World::new();
    let empty = now(&world);
    restore(&mut world, empty);
    let on = |account: &str, name: &str| draft(name, "s1").amount("10.00").on(authorized(account, name, 10_000));
    assert_eq!(world.accept(on(OFTEN, "a")).note, Note::Awaiting(Missing::Reading));
    assert_eq!(world.authorization("a").watch.at, Some(world.clock.now().wall), "it is due from now on");
    assert_eq!(world.accept(on(ONCE, "b")).note, Note::Deferred, "the read before the one capture finds it");
    for (name, days, note) in [("c", 89, Note::Awaiting(Missing::Reading)), ("d", 1, Note::Planned(gel(1_000)))] {
        world.clock.advance(days * 24 * HOUR);
        assert_eq!(world.accept(on(OFTEN, name)).note, note, "ninety days after the restore no longer");
    }
}

#[test]
fn a_shipment_waits_for_the_read_without_end_and_only_answers_count() {
    let mut world = World::new();
    let empty = now(&world);
    restore(&mut world, empty);
    world.accept(worth("s1", "10.00"));
    for (kind, reads) in [(DoubtKind::Timeout, 0), (DoubtKind::Coded, 1), (DoubtKind::HttpStatus, 1)] {
        read(&mut world, Reading::Unclear(doubt(kind)));
        assert_eq!(world.authorization("r").reads, reads, "{kind:?}");
        world.clock.advance(MINUTE);
    }
    world.clock.advance(48 * HOUR);
    read(&mut world, Reading::Unclear(doubt(DoubtKind::Timeout)));
    assert_eq!(world.shipment("s1").state, ShipmentState::Awaiting);
    world.clock.advance(MINUTE);
    read(&mut world, shows(&[]));
    let ticket = world.due_call();
    assert!(matches!(asked(ticket.as_ref().expect("it is sent")), Asked::Send { .. }));
}

#[test]
fn a_cancellation_that_comes_before_the_read_does_not_put_it_off_for_ever() {
    let mut world = World::new();
    let first = draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(ONCE, "r", 11_900)).plan(worked_plan());
    assert_eq!(world.accept(first).note, Note::Deferred);
    let backup = now(&world);
    restore(&mut world, backup);
    world.receive(cancellation("o", &[]));
    assert_eq!(world.authorization("r").watch.restored, Some(Restored::Unread));
    assert_eq!(world.authorization("r").watch.read_at, Some(world.clock.now().wall), "it is due as before");
}

#[test]
fn what_nothing_comes_after_to_make_up_for_is_captured_by_itself() {
    let fee_comes_last = ShippingPolicy::Last;
    let whole = PlanFacts { shipping_policy: fee_comes_last, ..plan(&[("l1", 2, "10.00")], "5.00", "15.00") };
    let mut facts = authorized(OFTEN, "r", 1_500);
    facts.expires_at = Some(at(200 * 24 * 3_600));
    let unit = |shipment| draft("o", shipment).line("l1", 1).plan(whole.clone()).on(facts.clone());
    for days_later in [0, 91] {
        let mut world = World::new();
        let backup = now(&world);
        let id1 = capture(&mut world, unit("s1"));
        restore(&mut world, backup);
        // The other one comes first now, and neither has the delivery fee.
        world.accept(unit("s2"));
        read(&mut world, shows(&[(id1, 500)]));
        let ticket = world.do_due().into_iter().find_map(|reply| reply.ticket);
        world.answer(ticket, captured(Some(gel(500))));
        world.clock.advance(days_later * 24 * HOUR);
        let reply = world.accept(unit("s1"));
        assert_eq!((reply.note, reply.ready.is_some()), (Note::Captured(gel(500)), true), "{days_later}");
        let ticket = world.due_call();
        assert!(
            matches!(asked(ticket.as_ref().expect("the fee is sent")), Asked::Send { amount, .. } if amount == gel(500))
        );
        world.news();
        world.answer(ticket, captured(Some(gel(500))));
        let [event] = &world.news()[..] else { panic!("one event") };
        let EventContent::Succeeded(outcome) = &event.content else { panic!("{event:?}") };
        assert_eq!(outcome.caused_by.as_deref(), Some("evt-o-s1"), "what completed the order");
        assert_eq!(world.balance("r"), (1_500, 1_500, 0), "to the minor unit");
    }
}

#[test]
fn what_went_with_the_first_notice_of_that_day_does_not_go_with_another_too() {
    let mut world = World::new();
    let fee_comes_first = ShippingPolicy::First;
    let whole = PlanFacts { shipping_policy: fee_comes_first, ..plan(&[("l1", 2, "10.00")], "5.00", "15.00") };
    let unit = |shipment| draft("o", shipment).line("l1", 1).plan(whole.clone()).on(authorized(OFTEN, "r", 10_000));
    let backup = now(&world);
    let id1 = capture(&mut world, unit("s1"));
    restore(&mut world, backup);
    world.accept(unit("s2"));
    read(&mut world, shows(&[(id1, 1_000)]));
    let ticket = world.do_due().into_iter().find_map(|reply| reply.ticket);
    world.answer(ticket, captured(Some(gel(500))));
    assert_eq!(world.accept(unit("s1")).note, Note::Captured(gel(1_000)));
    assert_eq!(world.balance("r"), (10_000, 1_500, 0), "to the minor unit");
}

#[test]
fn a_unit_that_was_captured_in_the_lost_time_is_not_given_to_another() {
    let mut world = World::new();
    let whole = plan(&[("l1", 3, "10.00")], "0.00", "10.00");
    let unit = |shipment| draft("o", shipment).line("l1", 1).plan(whole.clone()).on(authorized(OFTEN, "r", 10_000));
    let id1 = capture(&mut world, unit("s1"));
    let backup = now(&world);
    let id2 = capture(&mut world, unit("s2"));
    assert_eq!(world.capture_of("s2").amount, gel(334), "else this shows nothing");
    restore(&mut world, backup);
    read(&mut world, shows(&[(id1, 333), (id2, 334)]));
    capture(&mut world, unit("s3"));
    assert_eq!(world.accept(unit("s2")).note, Note::Captured(gel(334)));
    assert_eq!(world.balance("r"), (10_000, 1_000, 0), "to the minor unit");
}

#[test]
fn what_was_captured_in_parts_under_one_key_is_their_sum() {
    let mut world = restored_when_registered();
    let key = id_in("s1", 0);
    read(&mut world, shows(&[(key, 1_500), (key, 500)]));
    assert_eq!(world.accept(worth("s1", "20.00")).note, Note::Captured(gel(2_000)));
    assert_eq!((world.balance("r"), found(&world)), ((10_000, 2_000, 0), 0));
}

#[test]
fn what_the_books_of_that_day_had_planned_and_still_fits_stays() {
    let mut world = World::new();
    let one = world.accept(worth("s1", "10.00"));
    world.answer(one.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.accept(worth("s2", "5.00"));
    world.accept(worth("s3", "60.00"));
    world.accept(worth("s4", "5.00"));
    let (backup, id1) = (now(&world), world.capture_of("s1").id);
    restore(&mut world, backup);
    read(&mut world, shows(&[(id1, 1_000), (id_in("s9", 0), 8_000)]));
    let reasons = ["s2", "s3", "s4"].map(|shipment| world.shipment(shipment).reason);
    assert_eq!(reasons, [None, Some(FailureReason::ExceedsAuthorization), None]);
    assert_eq!(world.balance("r"), (10_000, 1_000, 1_000));
}

#[test]
fn several_captures_under_one_key_are_one() {
    let mut world = restored_when_registered();
    read(&mut world, shows(&[(id_in("s1", 0), 400), (id_in("s1", 0), 600)]));
    assert_eq!(world.accept(worth("s1", "10.00")).note, Note::Captured(gel(1_000)));
    assert_eq!((world.balance("r"), found(&world)), ((10_000, 1_000, 0), 0));
}

#[test]
fn what_was_found_is_not_somebody_elses_in_a_later_look() {
    let mut world = restored_when_registered();
    let lost = (id_in("s1", 0), 2_000);
    read(&mut world, shows(&[lost]));
    let sent = world.accept(worth("s2", "5.00"));
    world.answer(sent.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let id2 = world.capture_of("s2").id;
    assert_eq!(world.show(look, shows(&[lost, (id2, 500)])).note, Note::Captured(gel(500)));
    assert_eq!((world.authorization("r").watch.foreign, found(&world)), (None, 1));
}

#[test]
fn a_read_that_our_configuration_keeps_from_being_answered_counts_as_an_answer() {
    let mut world = restored_when_registered();
    let fault = ConfigurationFault { code: None, message: "secret".to_owned(), may_have_executed: false };
    let reply = read(&mut world, Reading::Misconfigured(fault));
    assert_eq!(reply.note, Note::Parked("secret".to_owned()));
    let record = world.authorization("r");
    assert_eq!((record.reads, record.watch.restored), (1, Some(Restored::Unread)));
    assert_eq!(record.watch.read_at, Some(at(5 * 60)));
}

#[test]
fn a_replay_of_a_fee_finds_what_another_replay_of_the_lost_time_captured() {
    let mut world = World::new();
    let whole = PlanFacts { shipping_policy: ShippingPolicy::Last, ..plan(&[("l1", 2, "20.00")], "5.00", "25.00") };
    let first = capture(&mut world, draft("o", "s1").line("l1", 1).plan(whole).on(authorized(OFTEN, "r", 10_000)));
    world.receive(cancellation("o", &[]));
    let fee = world.due_call();
    world.answer(fee, Answer::Refused(refusal(RefusalReason::Declined)));
    let letter = world.letter_for("declined").id;
    let backup = now(&world);
    // In the lost time it was replayed twice, and captured the second time.
    restore(&mut world, backup);
    let id = CaptureId::of_fee(&account(OFTEN), &reference("r"), &order_id("o"), 1, 2);
    read(&mut world, shows(&[(first, 1_000), (id, 500)]));
    let reply = world.replay_for(letter, JOB);
    assert!(reply.ready.is_none() && reply.ticket.is_none(), "{reply:?}");
    assert_eq!((world.balance("r"), found(&world)), ((10_000, 1_500, 0), 0));
}

#[test]
fn what_is_in_doubt_by_the_books_of_that_day_does_not_fit_beside_what_was_found() {
    let mut world = World::new();
    let one = world.accept(worth("s1", "60.00"));
    world.answer(one.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    let backup = now(&world);
    restore(&mut world, backup);
    read(&mut world, shows(&[(id_in("s9", 0), 9_000)]));
    assert_eq!(world.accept(worth("s9", "90.00")).note, Note::Captured(gel(9_000)));
    assert_eq!(world.balance("r"), (10_000, 9_000, 6_000), "what is in doubt stays reserved");
    assert_eq!(world.authorization("r").excess, gel(5_000), "and what is too much is set apart");
}

#[test]
fn what_was_ready_is_not_sent_before_the_read() {
    let mut world = World::new();
    world.accept(worth("s1", "10.00").no_permit());
    let backup = now(&world);
    restore(&mut world, backup);
    let calls: Vec<Ticket> = world.do_due().into_iter().filter_map(|reply| reply.ticket).collect();
    let [ticket] = &calls[..] else { panic!("{calls:?}") };
    assert!(matches!(asked(ticket), Asked::ReadExpiry { .. }));
    assert!(world.do_due().is_empty(), "it waits for the read");
    world.show(Some(ticket.clone()), shows(&[]));
    assert!(matches!(asked(&world.due_call().expect("now it is sent")), Asked::Send { .. }));
}

#[test]
fn what_never_became_known_before_the_read_may_have_been_captured_all_the_same() {
    let mut world = restored_when_registered();
    let lacking = || draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 10_000));
    world.accept(lacking());
    world.clock.advance(25 * HOUR);
    world.accept(lacking());
    let news = world.news();
    let failed = news.iter().find_map(|event| {
        if let EventContent::Failed(_, failure) = &event.content {
            Some((failure.reason, failure.money_may_have_moved))
        } else {
            None
        }
    });
    assert_eq!(failed, Some((FailureReason::UnknownPlan, true)));
    assert_eq!(world.authorization("r").watch.restored, Some(Restored::Unread));
}
