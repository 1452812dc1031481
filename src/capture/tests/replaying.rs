//! Trying again what ended without its money: what may be tried again, and how.

use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::decide::{Command, Evidence, Note, Reject, Reply, Ticket};
use crate::capture::event::{CaptureKind, EventContent, FailureReason};
use crate::capture::evidence::{Answer, AuthorizationStatus, AuthorizationView, RefusalReason};
use crate::capture::notice::{AuthorizationFacts, Rejection, RejectionReason};
use crate::capture::records::{JobKey, SingleUse};
use crate::capture::replay::{Replay, Replayed, WhyNotKind};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::tests::support::*;
use crate::ids::DeadLetterId;

pub(super) const JOB: JobKey = JobKey::new(1);

impl World {
    pub(super) fn letter_of(&self, shipment: &str, generation: u32) -> DeadLetter {
        let tables = self.ledger.tables();
        let is_it = |letter: &&DeadLetter| {
            letter.shipment.as_ref().is_some_and(|id| id.as_str() == shipment) && letter.generation == generation
        };
        tables.dead_letters.values().find(is_it).cloned().expect("it was set aside")
    }

    pub(super) fn letter_for(&self, reason: &str) -> DeadLetter {
        let tables = self.ledger.tables();
        tables.dead_letters.values().find(|letter| letter.reason == reason).cloned().expect("it was set aside")
    }

    pub(super) fn replay_for(&mut self, letter: DeadLetterId, job: JobKey) -> Reply {
        let body = self.ledger.tables().dead_letters[&letter].raw.as_ref().map(|raw| raw.body.clone());
        let message = body.map(|body| self.messages_by_body(&body));
        self.tell(Command::Replay(Box::new(Replay { letter, job, message, traceparent: None })))
    }

    /// Tries the shipment again that failed in this generation.
    pub(super) fn replay(&mut self, shipment: &str, generation: u32) -> Reply {
        let letter = self.letter_of(shipment, generation).id;
        self.replay_for(letter, JOB)
    }

    pub(super) fn set_letter(&mut self, letter: DeadLetterId, state: DeadLetterState, job: Option<JobKey>) {
        let mut tables = self.ledger.tables();
        let letter = tables.dead_letters.get_mut(&letter).expect("it was set aside");
        (letter.state, letter.job) = (state, job);
        drop(tables);
        self.forget_before();
    }
}

pub(super) fn why_not(reply: &Reply) -> WhyNotKind {
    let Note::NotReplayed(why) = &reply.note else { panic!("{:?}", reply.note) };
    assert!(!why.message.is_empty());
    why.kind
}

pub(super) fn replayed(reply: &Reply) -> (Option<i64>, usize) {
    let Note::Replayed(Replayed { amount, shipments }) = &reply.note else { panic!("{:?}", reply.note) };
    (amount.map(crate::money::Money::minor), *shipments)
}

#[test]
fn what_follows_from_a_replay_belongs_to_its_trace() {
    let mut world = World::new();
    declined(&mut world);
    let letter = world.letter_of("s1", 0).id;
    let traceparent = Some("of the replay".to_owned());
    let replay = Replay { letter, job: JOB, message: None, traceparent: traceparent.clone() };
    let reply = world.tell(Command::Replay(Box::new(replay)));
    let ticket = begin(&mut world, reply);
    assert_eq!(ticket.as_ref().expect("it is sent again").traces, ["of the replay"]);
    world.answer(ticket, captured(Some(gel(2_000))));
    let [event] = &world.news()[..] else { panic!("one event") };
    assert_eq!(event.traceparent, traceparent);
}

/// A shipment of 20.00 on an account that captures often, which its provider has declined.
pub(super) fn declined(world: &mut World) {
    let reply = world.accept(draft("o", "s1").amount("20.00").on(authorized(OFTEN, "r", 5_000)));
    world.answer(reply.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    world.news();
}

/// Another authorization of the order, newer than all before.
pub(super) fn authorize_anew(world: &mut World, facts: AuthorizationFacts) {
    world.receive(registration("o", facts, None));
    world.news();
}

pub(super) fn longer(mut facts: AuthorizationFacts) -> AuthorizationFacts {
    facts.expires_at = Some(at(30 * 24 * 3_600));
    facts
}

/// Does what a replay has made ready, and returns the call.
pub(super) fn begin(world: &mut World, reply: Reply) -> Option<Ticket> {
    assert!(reply.ticket.is_none(), "a replay starts nothing by itself");
    world.tell(Command::Due(reply.ready.expect("ready for a call").due)).ticket
}

#[test]
fn what_failed_begins_a_new_generation_and_its_event_and_key_are_its_own() {
    let mut world = World::new();
    declined(&mut world);
    let failed = world.capture_of("s1").id;
    let reply = world.replay("s1", 0);
    assert_eq!(replayed(&reply), (Some(2_000), 1));
    assert_eq!((world.shipment("s1").generation, world.shipment("s1").state), (1, ShipmentState::Covered));
    let letter = world.letter_of("s1", 0);
    assert_eq!((letter.state, letter.job), (DeadLetterState::Replayed, Some(JOB)));
    let ticket = begin(&mut world, reply);
    let again = world.capture_of("s1");
    assert_ne!(again.id, failed);
    assert_eq!((again.generation, again.kind, again.amount), (1, CaptureKind::Shipment, gel(2_000)));
    world.answer(ticket, captured(Some(gel(2_000))));
    let news = world.news();
    let [event] = &news[..] else { panic!("{news:?}") };
    assert!(matches!(&event.content, EventContent::Succeeded(outcome) if outcome.generation == 1), "{event:?}");
    assert_eq!(world.balance("r"), (5_000, 2_000, 0));
}

#[test]
fn replaying_twice_is_harmless() {
    let mut world = World::new();
    declined(&mut world);
    world.replay("s1", 0);
    for job in [JOB, JobKey::new(2)] {
        let letter = world.letter_of("s1", 0).id;
        let reply = world.replay_for(letter, job);
        if job == JOB {
            assert_eq!(replayed(&reply), (None, 0), "by the same replay: it is done");
        } else {
            assert_eq!(why_not(&reply), WhyNotKind::AlreadyReplayed);
        }
        assert!(reply.ready.is_none());
        assert_eq!((world.shipment("s1").generation, world.balance("r")), (1, (5_000, 0, 2_000)));
    }
}

#[test]
fn what_fails_again_is_a_dead_letter_of_its_own_and_can_be_replayed_again() {
    let mut world = World::new();
    declined(&mut world);
    let mut ids = vec![world.capture_of("s1").id];
    for generation in 0..3 {
        let reply = world.replay("s1", generation);
        let ticket = begin(&mut world, reply);
        ids.push(world.capture_of("s1").id);
        world.answer(ticket, Answer::Refused(refusal(RefusalReason::Declined)));
        let letter = world.letter_of("s1", generation + 1);
        assert_eq!((letter.state, letter.amount), (DeadLetterState::Open, Some(gel(2_000))));
        assert!(letter.raw.is_some(), "the message goes along");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn what_did_not_fit_is_taken_from_the_newest_open_authorization() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("20.00").on(authorized(OFTEN, "small", 500)));
    assert_eq!(why_not(&world.replay("s1", 0)), WhyNotKind::ExceedsAuthorization);
    assert_eq!(world.shipment("s1").generation, 0, "nothing was raised in vain");
    authorize_anew(&mut world, authorized(OTHER, "large", 5_000));
    let reply = world.replay("s1", 0);
    assert_eq!(replayed(&reply), (Some(2_000), 1));
    assert_eq!((world.balance("small"), world.balance("large")), ((500, 0, 0), (5_000, 0, 2_000)));
}

#[test]
fn an_older_authorization_helps_where_the_newest_is_over() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("20.00").on(authorized(OFTEN, "small", 500)));
    authorize_anew(&mut world, longer(authorized(OTHER, "longer", 5_000)));
    authorize_anew(&mut world, authorized(OTHER, "newest", 5_000));
    world.clock.advance_to(at(8 * 24 * 3_600));
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1));
    assert_eq!(world.balance("longer"), (5_000, 0, 2_000));
}

#[test]
fn several_on_one_authorization_go_one_after_the_other_and_no_further_than_it_reaches() {
    let mut world = World::new();
    for shipment in ["s1", "s2", "s3"] {
        world.accept(draft("o", shipment).amount("20.00").on(authorized(OFTEN, "small", 500)));
    }
    authorize_anew(&mut world, authorized(OTHER, "large", 4_500));
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1));
    assert_eq!(replayed(&world.replay("s2", 0)), (Some(2_000), 1));
    assert_eq!(why_not(&world.replay("s3", 0)), WhyNotKind::ExceedsAuthorization);
    assert_eq!(world.balance("large"), (4_500, 0, 4_000));
}

/// Both shipments of the documented example, whose one capture was declined.
pub(super) fn declined_batch(world: &mut World) {
    world.accept(draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(ONCE, "r", 11_900)).plan(worked_plan()));
    let read = world.accept(draft("o", "s2").line("l1", 1));
    let frozen = world.show(read.ticket, seen(view(11_900)));
    world.answer(frozen.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    world.news();
    assert_eq!(world.authorization("r").single, SingleUse::Free);
}

#[test]
fn a_failed_batch_goes_whole() {
    let mut world = World::new();
    declined_batch(&mut world);
    let reply = world.replay("s2", 0);
    assert_eq!(replayed(&reply), (Some(11_900), 2));
    let with_it = world.replay("s1", 0);
    assert_eq!(replayed(&with_it), (None, 0), "it went along");
    let read = begin(&mut world, reply);
    let frozen = world.show(read, seen(view(11_900)));
    world.answer(frozen.ticket, captured(None));
    assert_eq!(world.balance("r"), (11_900, 11_900, 0));
    let capture = world.capture_of("s1");
    assert_eq!((capture.kind, capture.generation, capture.state), (CaptureKind::Batch, 1, CaptureState::Captured));
}

#[test]
fn a_failed_batch_goes_whole_on_an_account_that_captures_often() {
    let mut world = World::new();
    declined_batch(&mut world);
    authorize_anew(&mut world, authorized(OFTEN, "new", 12_000));
    let reply = world.replay("s1", 0);
    assert_eq!(replayed(&reply), (Some(11_900), 2));
    let ticket = begin(&mut world, reply);
    world.answer(ticket, captured(Some(gel(11_900))));
    assert_eq!(world.balance("new"), (12_000, 11_900, 0));
    let succeeded = world.news().iter().filter(|event| matches!(event.content, EventContent::Succeeded(_))).count();
    assert_eq!(succeeded, 2, "each shipment has its own event");
}

#[test]
fn what_was_refused_together_goes_together_where_there_is_one_capture() {
    let mut world = World::new();
    world.accept(draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(ONCE, "r", 11_900)).plan(worked_plan()));
    let read = world.accept(draft("o", "s2").line("l1", 1));
    let voided = AuthorizationView { status: AuthorizationStatus::Voided, ..view(11_900) };
    world.show(read.ticket, seen(voided));
    authorize_anew(&mut world, authorized(ONCE, "new", 11_900));
    assert_eq!(why_not(&world.replay("s1", 0)), WhyNotKind::OthersLeftOut);
    let letters = ["s1", "s2"].map(|shipment| world.letter_of(shipment, 0).id);
    for letter in letters {
        world.set_letter(letter, DeadLetterState::Replaying, Some(JOB));
    }
    let first = world.replay_for(letters[0], JOB);
    assert_eq!(replayed(&first).1, 1);
    assert_eq!(replayed(&world.replay_for(letters[1], JOB)).1, 1);
    let read = begin(&mut world, first);
    let frozen = world.show(read, seen(view(11_900)));
    world.answer(frozen.ticket, captured(None));
    assert_eq!(world.balance("new"), (11_900, 11_900, 0));
    assert_eq!(world.capture_of("s1").key, world.capture_of("s2").key);
}

#[test]
fn what_was_refused_before_it_was_given_anything_is_given_it_now() {
    let mut world = World::new();
    let small = plan(&[("l1", 1, "10.00")], "0.00", "10.00");
    world.accept(draft("o", "s1").line("l1", 2).on(authorized(OFTEN, "r", 5_000)).plan(small));
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::OverShipped));
    assert_eq!(why_not(&world.replay("s1", 0)), WhyNotKind::StillRefused);
    let large = plan(&[("l1", 2, "20.00")], "0.00", "20.00");
    let large = crate::capture::notice::PlanFacts { revision: 2, ..large };
    world.receive(registration("o", authorized(OFTEN, "r", 5_000), Some(large)));
    let reply = world.replay("s1", 0);
    // The message brings the plan as it was, which is older, and stands aside.
    assert_eq!((replayed(&reply), reply.ready.is_some()), ((Some(2_000), 1), true));
    assert_eq!(world.balance("r"), (5_000, 0, 2_000));
}

#[test]
fn what_lacked_its_authorization_waits_for_nothing_again() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("20.00"));
    world.clock.advance(25 * HOUR);
    world.do_due();
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::UnknownAuthorization));
    assert_eq!(why_not(&world.replay("s1", 0)), WhyNotKind::StillUnknown);
    world.receive(registration("o", longer(authorized(OFTEN, "r", 5_000)), None));
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1));
}

#[test]
fn a_message_that_never_became_a_shipment_is_accepted_as_if_it_came_now() {
    let mut world = World::new();
    let command = draft("o", "s1").amount("20.00").on(authorized(OFTEN, "r", 5_000)).no_permit().command();
    world.remember(&command);
    let Command::Accept(arrival) = &command else { panic!() };
    world.tell(collect(arrival.raw.clone()));
    let letter = world.letter_for("delivery_limit").id;
    let reply = world.replay_for(letter, JOB);
    assert_eq!((replayed(&reply), reply.ready.is_some()), ((Some(2_000), 1), true));
    assert_eq!((world.shipment("s1").generation, world.balance("r")), (0, (5_000, 0, 2_000)));
    assert_eq!(world.letter_for("delivery_limit").state, DeadLetterState::Replayed);
    // The broker gives up on the same message once more: it is open again, and harmless.
    world.tell(collect(arrival.raw.clone()));
    let again = world.letter_for("delivery_limit");
    assert_eq!((again.state, again.count), (DeadLetterState::Open, 2));
    world.replay_for(letter, JobKey::new(2));
    assert_eq!(world.balance("r"), (5_000, 0, 2_000));
}

#[test]
fn a_message_that_is_still_wrong_stays_as_it_was() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("20.00").on(authorized(OFTEN, "r", 5_000)));
    world.accept(draft("o", "s1").amount("30.00"));
    let before = world.letter_for("conflict");
    world.clock.advance(MINUTE);
    world.news();
    let reply = world.replay_for(before.id, JOB);
    assert_eq!(why_not(&reply), WhyNotKind::StillRejected);
    assert_eq!(world.letter_for("conflict"), before, "to look again is not to see it again");
    assert!(world.news().is_empty());

    let raw = crate::capture::notice::RawMessage { body: "no JSON".into(), ..before.raw.expect("kept") };
    let rejection = Rejection {
        reason: RejectionReason::Undecodable,
        path: "$".to_owned(),
        message: "is not JSON".to_owned(),
        order: None,
        shipment: None,
        event_id: None,
    };
    let reject = Command::Reject(Box::new(Reject { rejection, raw }));
    world.tell(reject.clone());
    let letter = world.letter_for("undecodable").id;
    let reply =
        world.tell(Command::Replay(Box::new(Replay { letter, job: JOB, message: Some(reject), traceparent: None })));
    assert_eq!(why_not(&reply), WhyNotKind::StillRejected);
}

/// Its body may be a good one: what it lacked was beside it.
#[test]
fn a_message_of_nobody_who_may_send_is_never_replayed() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("20.00").on(authorized(OFTEN, "r", 5_000)));
    world.accept(draft("o", "s1").amount("30.00"));
    let raw = world.letter_for("conflict").raw.expect("kept");
    let rejection = Rejection {
        reason: RejectionReason::Unauthenticated,
        path: "$".to_owned(),
        message: "it is not signed".to_owned(),
        order: None,
        shipment: None,
        event_id: None,
    };
    world.tell(Command::Reject(Box::new(Reject { rejection, raw })));
    let before = world.letter_for("unauthenticated");
    let good = draft("o2", "s1").amount("20.00").on(authorized(OFTEN, "r2", 5_000)).command();
    world.news();
    let replay = Replay { letter: before.id, job: JOB, message: Some(good), traceparent: None };
    let reply = world.tell(Command::Replay(Box::new(replay)));
    assert_eq!(why_not(&reply), WhyNotKind::StillRejected);
    assert_eq!(world.letter_for("unauthenticated"), before);
    assert!(world.news().is_empty());
}

#[test]
fn what_an_order_owes_beyond_its_shipments_is_tried_again() {
    let mut world = World::new();
    let plan = plan(&[("l1", 2, "20.00")], "5.00", "25.00");
    let plan =
        crate::capture::notice::PlanFacts { shipping_policy: crate::capture::notice::ShippingPolicy::Last, ..plan };
    let reply = world.accept(draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 5_000)).plan(plan));
    world.answer(reply.ticket, captured(Some(gel(1_000))));
    let cancelled = world.receive(cancellation("o", &[]));
    let fee = begin(&mut world, cancelled);
    world.answer(fee, Answer::Refused(refusal(RefusalReason::Declined)));
    let letter = world.letter_for("declined");
    assert_eq!((letter.fee, letter.amount), (Some(1), Some(gel(500))));
    let reply = world.replay_for(letter.id, JOB);
    assert_eq!(replayed(&reply), (Some(500), 0));
    let ticket = begin(&mut world, reply);
    world.news();
    world.answer(ticket, captured(Some(gel(500))));
    let [event] = &world.news()[..] else { panic!("one event") };
    let EventContent::Succeeded(outcome) = &event.content else { panic!("{event:?}") };
    assert_eq!(outcome.caused_by.as_deref(), Some("evt-o-cancelled"), "as the first time");
    assert_eq!(world.balance("r"), (5_000, 1_500, 0));
    assert_eq!(why_not(&world.replay_for(letter.id, JobKey::new(2))), WhyNotKind::AlreadyReplayed);
}

#[test]
fn a_correction_after_a_replay_is_told_of_the_generation_that_it_corrects() {
    let mut world = World::new();
    declined(&mut world);
    let (failed, epoch) = (world.capture_of("s1").key, world.capture_of("s1").progress.epoch);
    world.replay("s1", 0);
    world.news();
    let evidence = Evidence::Answer(captured(Some(gel(2_000))));
    assert_eq!(world.settle(failed, epoch, evidence).note, Note::Corrected);
    let news = world.news();
    let [event] = &news[..] else { panic!("{news:?}") };
    let EventContent::Corrected(outcome, _) = &event.content else { panic!("{event:?}") };
    assert_eq!((outcome.generation, outcome.capture_amount), (0, Some(gel(2_000))));
}

#[test]
fn a_correction_after_a_replay_elsewhere_is_about_the_capture_that_it_corrects() {
    let mut world = World::new();
    world.accept(draft("o", "s1").line("l1", 2).on(authorized(ONCE, "r", 11_900)).plan(worked_plan()));
    world.accept(draft("o", "s2").line("l1", 1));
    world.clock.advance_to(at(7 * 24 * 3_600 - 2 * 3_600));
    let read = world.due_call();
    let frozen = world.show(read, seen(view(11_900)));
    let former = world.capture_of("s2");
    world.answer(frozen.ticket.clone(), Answer::Refused(refusal(RefusalReason::Declined)));
    authorize_anew(&mut world, longer(authorized(OFTEN, "new", 20_000)));
    world.replay("s2", 0);
    world.news();
    assert_eq!(world.answer(frozen.ticket, captured(None)).note, Note::Corrected);
    let [event] = &world.news()[..] else { panic!("one event") };
    let EventContent::Corrected(outcome, _) = &event.content else { panic!("{event:?}") };
    assert_eq!((outcome.capture, outcome.kind, outcome.attempts), (Some(former.id), CaptureKind::Deadline, 1));
    assert_eq!(outcome.capture_amount, Some(former.amount));
    assert_eq!(outcome.capture_shipments, [shipment_id("s2")]);
    assert_eq!(outcome.authorization, Some((account(ONCE), reference("r"))));
    assert_eq!(outcome.authorization_expires_at, Some(at(7 * 24 * 3_600)));
    assert_eq!(outcome.provider_reference.as_deref(), Some("pay-1"));
    assert_eq!(outcome.balance.expect("of that authorization").captured, former.amount);
}

#[test]
fn a_correction_after_a_replay_tells_what_was_captured_then_and_not_what_is_under_way_now() {
    let read = AuthorizationView { captures: vec![shown(None, gel(2_000))], ..view(20_000) };
    for evidence in [Evidence::Answer(captured(Some(gel(2_000)))), Evidence::Reading(seen(read))] {
        let mut world = World::new();
        world.accept(draft("o", "s1").amount("20.00").on(authorized(ONCE, "r", 20_000)).last());
        world.clock.advance(15 * MINUTE);
        let freeze = |world: &mut World| {
            let read = world.due_call();
            world.show(read, seen(view(20_000))).ticket
        };
        let ticket = freeze(&mut world);
        let former = world.capture_of("s1");
        world.answer(ticket, Answer::Refused(refusal(RefusalReason::Declined)));
        world.accept(draft("o", "s2").amount("10.00").no_permit());
        assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1));
        freeze(&mut world);
        assert_eq!(world.capture_of("s1").amount, gel(3_000), "with the other one");
        world.news();
        assert_eq!(world.settle(former.key, former.progress.epoch, evidence).note, Note::Corrected);
        let [event] = &world.news()[..] else { panic!("one event") };
        let EventContent::Corrected(outcome, _) = &event.content else { panic!("{event:?}") };
        assert_eq!((outcome.capture, outcome.capture_amount), (Some(former.id), Some(gel(2_000))));
        assert_eq!(outcome.capture_shipments, [shipment_id("s1")]);
    }
}

/// A shipment of 20.00, of which the provider says days before the expiry that it is over.
pub(super) fn ended_early(world: &mut World) {
    let reply = world.accept(draft("o", "s1").amount("20.00").on(authorized(OFTEN, "r", 5_000)));
    world.answer(reply.ticket, Answer::Refused(refusal(RefusalReason::AuthorizationExpired)));
    world.news();
}

/// A read of the authorization that was put in its way: of 50.00, of which 20.00 may have been earned.
pub(super) fn reads(world: &mut World, change: impl FnOnce(&mut AuthorizationView)) {
    let mut shown = view(5_000);
    change(&mut shown);
    let (capture, epoch) = (world.capture_of("s1").key, world.capture_of("s1").progress.epoch);
    world.settle(capture, epoch, Evidence::Reading(seen(shown)));
    world.news();
}

#[test]
fn an_authorization_that_ended_early_is_open_again_when_its_expiry_moves() {
    type Moves = fn(&mut World);
    let same = || authorized(OFTEN, "r", 5_000);
    let moved: [(&str, bool, Moves); 6] = [
        ("nobody says anything", false, |_| {}),
        ("a notice repeats the expiry", false, |world| authorize_anew(world, authorized(OFTEN, "r", 5_000))),
        ("a notice tells of a later one", true, |world| authorize_anew(world, longer(authorized(OFTEN, "r", 5_000)))),
        ("a read shows it open", true, |world| reads(world, |_| {})),
        ("a read shows it over once more", false, |world| {
            reads(world, |view| view.status = AuthorizationStatus::Voided);
        }),
        ("a read tells of a later one", true, |world| {
            reads(world, |view| view.balance.expires_at = Some(at(30 * 24 * 3_600)));
        }),
    ];
    for (case, is_open, moves) in moved {
        let mut world = World::new();
        ended_early(&mut world);
        assert_eq!(world.authorization("r").expires_at, same().expires_at, "it is recorded as it was told");
        moves(&mut world);
        let reply = world.replay("s1", 0);
        if is_open {
            assert_eq!(replayed(&reply), (Some(2_000), 1), "{case}");
            let ticket = begin(&mut world, reply);
            world.answer(ticket, captured(Some(gel(2_000))));
            assert_eq!(world.balance("r"), (5_000, 2_000, 0), "{case}");
        } else {
            assert_eq!(why_not(&reply), WhyNotKind::NoOpenAuthorization, "{case}");
            assert_eq!(world.shipment("s1").generation, 0, "{case}: nothing was raised in vain");
        }
    }
}

#[test]
fn a_provider_that_repeats_its_expiry_has_the_last_word_after_a_notice() {
    let mut world = World::new();
    ended_early(&mut world);
    let repeats = |world: &mut World| {
        reads(world, |view| {
            view.status = AuthorizationStatus::Voided;
            view.balance.expires_at = Some(at(7 * 24 * 3_600));
        });
        world.authorization("r").expires_at
    };
    assert_eq!(repeats(&mut world), Some(at(7 * 24 * 3_600)));
    authorize_anew(&mut world, longer(authorized(OFTEN, "r", 5_000)));
    assert_eq!(world.authorization("r").expires_at, Some(at(30 * 24 * 3_600)));
    assert_eq!(repeats(&mut world), Some(at(7 * 24 * 3_600)));
}

#[test]
fn what_its_provider_has_ended_before_its_time_is_taken_from_the_next_one() {
    let mut world = World::new();
    ended_early(&mut world);
    authorize_anew(&mut world, authorized(OTHER, "new", 5_000));
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1));
    assert_eq!((world.balance("r"), world.balance("new")), ((5_000, 0, 0), (5_000, 0, 2_000)));
}

#[test]
fn what_its_own_replay_could_not_try_is_open_again() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("20.00").on(authorized(OFTEN, "small", 500)));
    let letter = world.letter_of("s1", 0).id;
    world.set_letter(letter, DeadLetterState::Replaying, Some(JOB));
    assert_eq!(why_not(&world.replay_for(letter, JOB)), WhyNotKind::ExceedsAuthorization);
    let letter = world.letter_of("s1", 0);
    assert_eq!((letter.state, letter.job), (DeadLetterState::Open, None));
}

#[test]
fn what_lacked_its_account_is_registered_and_taken_when_the_account_is_configured() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("20.00").on(longer(authorized("new", "r", 5_000))));
    world.clock.advance(25 * HOUR);
    world.do_due();
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::UnknownAccount));
    world.restart_with(policy_with("new"));
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1));
    assert_eq!(world.balance("r"), (5_000, 0, 2_000));
}

#[test]
fn what_lacked_its_account_brings_its_plan_when_it_is_tried_again() {
    let mut world = World::new();
    let facts = || longer(authorized("new", "r", 11_900));
    world.accept(draft("o", "s1").line("l1", 3).line("l3", 1).on(facts()).plan(worked_plan()));
    world.clock.advance(25 * HOUR);
    world.do_due();
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::UnknownAccount));
    world.restart_with(policy_with("new"));
    authorize_anew(&mut world, facts());
    assert!(world.order("o").plan.is_none());
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(11_900), 1));
    assert_eq!(world.balance("r"), (11_900, 0, 11_900));
}

#[test]
fn an_authorization_of_several_orders_helps_the_second_of_them_too() {
    let mut world = World::new();
    let shared = || longer(authorized(OFTEN, "shared", 9_000));
    let of_other = world.accept(draft("p", "s0").amount("1.00").on(shared()));
    world.answer(of_other.ticket, captured(Some(gel(100))));
    let reply = world.accept(draft("o", "s1").amount("20.00").on(shared()));
    world.answer(reply.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    authorize_anew(&mut world, authorized(OTHER, "new", 5_000));
    world.clock.advance_to(at(8 * 24 * 3_600));
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1), "the newest one is over");
    assert_eq!(world.balance("shared"), (9_000, 100, 2_000));
}

#[test]
fn a_notice_that_comes_again_after_a_replay_on_another_authorization_is_a_repeat() {
    let mut world = World::new();
    let notice = || draft("o", "s1").amount("20.00").on(authorized(OFTEN, "r", 10_000));
    let ticket = world.accept(notice()).ticket;
    world.answer(ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    world.receive(registration("o", authorized(OFTEN, "r2", 10_000), None));
    let reply = world.replay("s1", 0);
    assert!(matches!(reply.note, Note::Replayed(_)), "{reply:?}");
    assert_eq!(world.accept(notice()).note, Note::Repeated);
}
