//! What may not be tried again: each refusal, the words that say what to do instead, and that nothing was
//! raised or published in vain.

use crate::capture::dead_letter::DeadLetterState;
use crate::capture::decide::{Command, Evidence, Note};
use crate::capture::event::FailureReason;
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, ProviderBalance, RefusalReason, SeenCapture,
};
use crate::capture::notice::{AuthorizationFacts, PlanFacts, ShippingPolicy};
use crate::capture::policy::{AccountPolicy, Policy};
use crate::capture::records::{Authorization, Foreign, ForeignStanding, JobKey, Shipment};
use crate::capture::replay::{Replay, WhyNot, WhyNotKind};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::tests::replaying::*;
use crate::capture::tests::support::*;
use crate::ids::DeadLetterId;

const DAY: i64 = 24 * 3_600;

/// Leads to a dead letter.
type Given = fn(&mut World) -> DeadLetterId;

/// What it is about, why it is not replayed, words that say so, and how it came about.
type Case = (&'static str, WhyNotKind, &'static str, Given);

impl World {
    fn first_of(&self, shipment: &str) -> DeadLetterId {
        self.letter_of(shipment, 0).id
    }

    /// The authorization as no step of the core alone makes it.
    fn change(&mut self, named: &str, change: impl FnOnce(&mut Authorization)) {
        let key = self.authorization(named).key;
        change(self.ledger.tables().authorizations.get_mut(&key).expect("it was registered"));
        self.forget_before();
    }

    fn change_shipment(&mut self, id: &str, change: impl FnOnce(&mut Shipment)) {
        let key = self.shipment(id).key;
        change(self.ledger.tables().shipments.get_mut(&key).expect("it was accepted"));
        self.forget_before();
    }
}

/// Tries it, and expects that it is refused and that nothing of it has changed.
fn refused(world: &mut World, case: &str, letter: DeadLetterId) -> WhyNot {
    world.news();
    let shipments = world.ledger.tables().shipments.clone();
    let before = world.ledger.tables().dead_letters[&letter].clone();
    let message = before.raw.as_ref().map(|raw| world.messages_by_body(&raw.body));
    let command = Command::Replay(Box::new(Replay { letter, job: JOB, message, traceparent: None }));
    // Some of these states no step of the core leads to, so that they are not checked here.
    let mut executed = world.ledger.execute_now(&[command]).expect("memory does not fail");
    let reply = executed.replies.pop().expect("one reply").unwrap_or_else(|failed| panic!("{case}: {failed}"));
    assert!(executed.outbox.is_empty() && reply.ready.is_none(), "{case}");
    let Note::NotReplayed(why) = reply.note else { panic!("{case}: {:?}", reply.note) };
    let tables = world.ledger.tables();
    assert_eq!((&tables.shipments, &tables.dead_letters[&letter]), (&shipments, &before), "{case}");
    why
}

fn are_not_replayed(cases: &[Case]) {
    for (case, kind, words, given) in cases {
        let mut world = World::new();
        let letter = given(&mut world);
        let why = refused(&mut world, case, letter);
        assert_eq!(why.kind, *kind, "{case}: {}", why.message);
        assert!(why.message.contains(words), "{case}: {}", why.message);
    }
}

/// A batch's authorization beside which another one is open, at the expiry of the former.
fn expired_batch(world: &mut World) {
    declined_batch(world);
    authorize_anew(world, longer(authorized(ONCE, "new", 11_900)));
    world.clock.advance_to(at(8 * DAY));
}

#[test]
fn what_its_own_end_speaks_against() {
    are_not_replayed(&[
        ("it was discarded", WhyNotKind::Discarded, "restore it first", |world| {
            declined(world);
            let letter = world.first_of("s1");
            world.set_letter(letter, DeadLetterState::Discarded, None);
            letter
        }),
        ("another replay has it", WhyNotKind::InAnotherReplay, "watch or stop that one", |world| {
            declined(world);
            let letter = world.first_of("s1");
            world.set_letter(letter, DeadLetterState::Replaying, Some(JobKey::new(9)));
            letter
        }),
        ("its shipment goes on already", WhyNotKind::AlreadyReplayed, "as generation 1: see its order", |world| {
            declined(world);
            world.replay("s1", 0);
            let letter = world.first_of("s1");
            world.set_letter(letter, DeadLetterState::Open, None);
            letter
        }),
        ("captured after all", WhyNotKind::Captured, "as capture.corrected said", |world| {
            declined(world);
            let (capture, epoch) = (world.capture_of("s1").key, world.capture_of("s1").progress.epoch);
            let evidence = Evidence::Answer(captured(Some(gel(2_000))));
            assert_eq!(world.settle(capture, epoch, evidence).note, Note::Corrected);
            world.first_of("s1")
        }),
        ("closed by hand", WhyNotKind::Unresolved, "settle it with the payer by hand", |world| {
            declined(world);
            let capture = world.capture_of("s1").key;
            world.ledger.tables().captures.get_mut(&capture).expect("there").state = CaptureState::Unresolved;
            world.first_of("s1")
        }),
        ("in doubt", WhyNotKind::CaptureUnderWay, "it is looked at by itself until it is", |world| {
            declined(world);
            let capture = world.capture_of("s1").key;
            world.ledger.tables().captures.get_mut(&capture).expect("there").state = CaptureState::InDoubt;
            world.first_of("s1")
        }),
        ("a part of its batch was discarded", WhyNotKind::BatchDiscarded, "shipment s2 of its batch", |world| {
            declined_batch(world);
            let letter = world.first_of("s2");
            world.set_letter(letter, DeadLetterState::Discarded, None);
            world.first_of("s1")
        }),
        ("its message is lost", WhyNotKind::MessageLost, "the message of shipment s1 is not kept", |world| {
            declined(world);
            let letter = world.first_of("s1");
            world.ledger.tables().dead_letters.get_mut(&letter).expect("there").raw = None;
            letter
        }),
        ("its shipment is gone", WhyNotKind::Unknown, "its shipment is not in the ledger", |world| {
            declined(world);
            let key = world.shipment("s1").key;
            world.ledger.tables().shipments.remove(&key);
            world.letter_for("declined").id
        }),
    ]);
}

#[test]
fn what_is_not_the_last_word_on_its_shipment() {
    are_not_replayed(&[
        (
            "its shipment has failed again since",
            WhyNotKind::AlreadyReplayed,
            "as generation 1: see its order",
            |world| {
                declined(world);
                let again = world.replay("s1", 0);
                let ticket = begin(world, again);
                world.answer(ticket, Answer::Refused(refusal(RefusalReason::Declined)));
                let letter = world.first_of("s1");
                world.set_letter(letter, DeadLetterState::Open, None);
                letter
            },
        ),
        ("its shipment has its money", WhyNotKind::AlreadyReplayed, "see its order", |world| {
            declined(world);
            world.change_shipment("s1", |shipment| shipment.reason = None);
            world.first_of("s1")
        }),
        ("its end was reported of an earlier expiry", WhyNotKind::EndUnknown, "until authorization.expired", |world| {
            expired_batch(world);
            world.change("r", |record| record.watch.reported = Some(at(DAY)));
            world.first_of("s1")
        }),
    ]);
}

#[test]
fn what_may_have_been_captured_by_somebody_else() {
    are_not_replayed(&[
        ("captured elsewhere", WhyNotKind::CapturedElsewhere, "look at the order at the provider", |world| {
            let notice = draft("o", "s1").line("l1", 3).line("l3", 1).on(authorized(ONCE, "r", 11_900));
            let reply = world.accept(notice.plan(worked_plan()));
            let other = SeenCapture { capture: None, amount: gel(100), provider_reference: None };
            world.show(reply.ticket, seen(AuthorizationView { captures: vec![other], ..view(11_900) }));
            authorize_anew(world, authorized(ONCE, "new", 11_900));
            world.first_of("s1")
        }),
        ("as much", WhyNotKind::CapturedElsewhere, "`holdfast authorizations resume r`", |world| {
            declined(world);
            world.change("r", |record| record.provider.captured = Some(gel(4_000)));
            authorize_anew(world, authorized(OFTEN, "new", 5_000));
            world.first_of("s1")
        }),
        ("anything of what is captured once", WhyNotKind::CapturedElsewhere, "what is missing there", |world| {
            declined_batch(world);
            world.change("r", |record| record.provider.captured = Some(gel(1)));
            authorize_anew(world, authorized(OFTEN, "new", 12_000));
            world.first_of("s1")
        }),
        ("before it was given anything", WhyNotKind::CapturedElsewhere, "was captured on its authorization", |world| {
            over_shipped(world);
            revise(world, "r");
            world.change("r", |record| record.provider.captured = Some(gel(4_000)));
            world.first_of("s1")
        }),
        ("by its provider, in full", WhyNotKind::EndUnknown, "until authorization.expired says", |world| {
            expired_batch(world);
            world.first_of("s1")
        }),
    ]);
}

/// Once it is known what became of the former authorization, or whose the money is.
#[test]
fn what_may_be_tried_again_when_that_is_known() {
    let mut world = World::new();
    expired_batch(&mut world);
    let read = world.do_due().into_iter().find_map(|reply| reply.ticket);
    world.show(read, seen(AuthorizationView { status: AuthorizationStatus::Expired, ..view(11_900) }));
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(11_900), 2), "it was released, as authorization.expired said");

    let mut world = World::new();
    declined(&mut world);
    world.change("r", |record| {
        record.provider.captured = Some(gel(3_000));
        record.watch.foreign = Some(Foreign { amount: gel(3_000), standing: ForeignStanding::LetBe, since: at(0) });
    });
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1), "an operator has let it be");

    let mut world = World::new();
    declined(&mut world);
    world.change("r", |record| record.watch.reported = Some(at(DAY)));
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1), "its expiry has moved since it was reported");
}

/// Its own capture has its money after all.
#[test]
fn what_may_not_go_along_does_not_hold_up_the_rest_of_its_order() {
    let mut world = World::new();
    declined(&mut world);
    let reply = world.accept(draft("o", "s2").amount("10.00").last());
    world.answer(reply.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    authorize_anew(&mut world, authorized(ONCE, "new", 5_000));
    world.clock.advance(15 * MINUTE);
    assert_eq!(why_not(&world.replay("s1", 0)), WhyNotKind::OthersLeftOut);
    let other = world.capture_of("s2");
    let evidence = Evidence::Answer(captured(Some(gel(1_000))));
    assert_eq!(world.settle(other.key, other.progress.epoch, evidence).note, Note::Corrected);
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1));
}

#[test]
fn what_no_authorization_is_open_for() {
    are_not_replayed(&[
        ("all have expired", WhyNotKind::NoOpenAuthorization, "newest authorization has expired", |world| {
            declined(world);
            authorize_anew(world, authorized(OTHER, "new", 5_000));
            world.clock.advance_to(at(8 * DAY));
            world.first_of("s1")
        }),
        ("it is known that it has expired", WhyNotKind::NoOpenAuthorization, "has expired", |world| {
            declined(world);
            world.clock.advance_to(at(7 * DAY));
            world.warn();
            let read = world.due_call();
            world.show(read, seen(AuthorizationView { status: AuthorizationStatus::Expired, ..view(5_000) }));
            assert!(world.authorization("r").watch.reported.is_some());
            // By a clock that was set back since, it has not.
            world.clock.set_back(HOUR);
            world.first_of("s1")
        }),
        ("its one capture was used", WhyNotKind::NoOpenAuthorization, "can be captured only once", |world| {
            let notice = draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(ONCE, "r", 11_900));
            world.accept(notice.plan(worked_plan()).last());
            world.clock.advance(16 * MINUTE);
            let read = world.due_call();
            let frozen = world.show(read, seen(view(11_900)));
            world.answer(frozen.ticket, captured(None));
            world.accept(draft("o", "s2").line("l1", 1));
            assert_eq!(world.shipment("s2").reason, Some(FailureReason::CaptureAlreadyUsed));
            world.first_of("s2")
        }),
        ("its amount is not known", WhyNotKind::NoOpenAuthorization, "has no amount yet", |world| {
            declined(world);
            let unknown = AuthorizationFacts { amount: None, ..authorized(OTHER, "new", 1) };
            authorize_anew(world, unknown);
            world.change("r", |record| record.provider.remaining = Some(gel(0)));
            world.first_of("s1")
        }),
        ("its provider holds nothing any more", WhyNotKind::NoOpenAuthorization, "holds nothing any more", |world| {
            declined(world);
            world.change("r", |record| record.provider.remaining = Some(gel(0)));
            world.first_of("s1")
        }),
        ("ended early, as a refusal said", WhyNotKind::NoOpenAuthorization, "ended before its time", |world| {
            ended_early(world);
            world.first_of("s1")
        }),
        ("ended early, as a read showed", WhyNotKind::NoOpenAuthorization, "ended before its time", |world| {
            let mut ended = view(11_900);
            ended.status = AuthorizationStatus::Expired;
            // As it is where the provider does not say how much it was.
            (ended.authorized, ended.balance) = (None, ProviderBalance::default());
            let notice = draft("o", "s1").line("l1", 3).line("l3", 1).on(authorized(ONCE, "r", 11_900));
            let reply = world.accept(notice.plan(worked_plan()));
            world.show(reply.ticket, seen(ended));
            world.first_of("s1")
        }),
        ("its provider tells of its end", WhyNotKind::NoOpenAuthorization, "authorize anew, tell of it", |world| {
            declined(world);
            reads(world, |view| view.balance.expires_at = Some(at(-1)));
            world.first_of("s1")
        }),
        ("it was given nothing, and all is over", WhyNotKind::NoOpenAuthorization, "has expired", |world| {
            over_shipped(world);
            world.clock.advance_to(at(8 * DAY));
            world.first_of("s1")
        }),
    ]);
}

#[test]
fn what_the_open_authorization_has_no_room_for() {
    are_not_replayed(&[
        ("another currency", WhyNotKind::CurrencyMismatch, "the open authorization is in EUR", |world| {
            declined(world);
            authorize_anew(world, in_euro(authorized(OFTEN, "euro", 5_000)));
            world.first_of("s1")
        }),
        ("its provider holds too little", WhyNotKind::ExceedsAuthorization, "19.99 GEL remains", |world| {
            declined(world);
            world.change("r", |record| record.provider.remaining = Some(gel(1_999)));
            world.first_of("s1")
        }),
        ("it was given nothing, and is too much", WhyNotKind::ExceedsAuthorization, "10.00 GEL remains", |world| {
            over_shipped(world);
            revise(world, "r");
            world.change("r", |record| record.provider.remaining = Some(gel(1_000)));
            world.first_of("s1")
        }),
        ("its one capture is under way", WhyNotKind::CaptureUnderWay, "replay once it is decided", |world| {
            declined(world);
            authorize_anew(world, authorized(ONCE, "new", 5_000));
            world.accept(draft("o", "s2").amount("10.00").last());
            world.clock.advance(15 * MINUTE);
            let read = world.due_call();
            assert!(world.show(read, seen(view(5_000))).ticket.is_some(), "it is sent");
            world.first_of("s1")
        }),
    ]);
}

/// The rules, with another one for the account that captures often.
fn often(change: impl FnOnce(&mut AccountPolicy)) -> Policy {
    let mut rules = policy();
    change(rules.accounts.get_mut(&account(OFTEN)).expect("configured"));
    rules
}

#[test]
fn what_the_account_does_not_take() {
    let decimal = |text: &str| Some(text.parse().expect("a decimal"));
    let mut gone = policy();
    gone.accounts.remove(&account(OFTEN));
    for (rules, kind, words) in [
        (often(|rules| rules.minimum = decimal("20.01")), WhyNotKind::BelowMinimum, "less than the account's minimum"),
        (often(|rules| rules.quantum = decimal("0.30")), WhyNotKind::StillRefused, "20.00 GEL is no multiple"),
        (gone, WhyNotKind::NoOpenAuthorization, "is on account flex, which is not configured"),
    ] {
        let mut world = World::new();
        declined(&mut world);
        world.restart_with(rules);
        let letter = world.first_of("s1");
        let why = refused(&mut world, words, letter);
        assert_eq!(why.kind, kind);
        assert!(why.message.contains(words), "{}", why.message);
        world.restart_with(policy());
        assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1), "under other settings it goes");
    }
}

/// Two units of a line that has one, on an account that captures often: refused before it was given anything.
fn over_shipped(world: &mut World) {
    let small = plan(&[("l1", 1, "10.00")], "0.00", "10.00");
    world.accept(draft("o", "s1").line("l1", 2).on(authorized(OFTEN, "r", 5_000)).plan(small));
    assert_eq!(world.shipment("s1").reason, Some(FailureReason::OverShipped));
}

/// The plan has two units from now on, of 20.00.
fn revise(world: &mut World, named: &str) {
    let large = PlanFacts { revision: 2, ..plan(&[("l1", 2, "20.00")], "0.00", "20.00") };
    world.receive(registration("o", authorized(OFTEN, named, 5_000), Some(large)));
}

/// Waits for what never becomes known, until it has ended.
fn in_vain(world: &mut World, notice: Draft) -> DeadLetterId {
    world.accept(notice);
    world.clock.advance(25 * HOUR);
    world.do_due();
    world.first_of("s1")
}

#[test]
fn what_would_end_the_same_way_again() {
    are_not_replayed(&[
        ("over-shipped as before", WhyNotKind::StillRefused, "refused again, as over_shipped: ", |world| {
            over_shipped(world);
            world.first_of("s1")
        }),
        ("no authorization", WhyNotKind::StillUnknown, "tell of it by order.authorized", |world| {
            in_vain(world, draft("o", "s1").amount("20.00"))
        }),
        ("no plan", WhyNotKind::StillUnknown, "still unknown plan: send or configure", |world| {
            in_vain(world, draft("o", "s1").line("l1", 1).on(longer(authorized(OFTEN, "r", 5_000))))
        }),
        ("no account", WhyNotKind::StillUnknown, "still unknown account: send or configure", |world| {
            in_vain(world, draft("o", "s1").amount("20.00").on(authorized("new", "r", 5_000)))
        }),
        (
            "its plan contradicts the registered one",
            WhyNotKind::StillRejected,
            "set aside: $.data.plan the same revision",
            |world| {
                let other = plan(&[("l1", 1, "10.00")], "0.00", "10.00");
                let letter =
                    in_vain(world, draft("o", "s1").line("l1", 1).on(authorized("new", "r", 5_000)).plan(other));
                world.receive(registration("o", longer(authorized(OFTEN, "r2", 11_900)), Some(worked_plan())));
                letter
            },
        ),
    ]);
}

#[test]
fn what_was_refused_and_cannot_be_read_any_more() {
    let mut world = World::new();
    over_shipped(&mut world);
    let letter = world.first_of("s1");
    let reply = world.tell(Command::Replay(Box::new(Replay { letter, job: JOB, message: None, traceparent: None })));
    let Note::NotReplayed(why) = reply.note else { panic!("{:?}", reply.note) };
    assert_eq!(
        (why.kind, &*why.message),
        (WhyNotKind::StillRejected, "its message cannot be read any more: have it sent again")
    );
}

/// A message that the broker gave up on.
fn given_up(world: &mut World, notice: Draft) -> DeadLetterId {
    let message = notice.arrival();
    let raw = message.raw.clone();
    world.remember(&Command::Accept(Box::new(message)));
    world.tell(collect(raw));
    world.letter_for("delivery_limit").id
}

#[test]
fn messages_of_which_too_little_is_kept() {
    are_not_replayed(&[
        ("nothing", WhyNotKind::MessageLost, "is not kept: have it sent again", |world| {
            let letter = given_up(world, draft("o", "s1").amount("20.00"));
            world.ledger.tables().dead_letters.get_mut(&letter).expect("there").raw = None;
            letter
        }),
        // What is left of it may be a message all the same.
        ("the beginning", WhyNotKind::MessageLost, "have it sent again, smaller", |world| {
            let letter = given_up(world, draft("o", "s1").amount("20.00"));
            let mut arrival = draft("o", "s1").amount("2").on(authorized(OFTEN, "r", 5_000)).arrival();
            arrival.raw.body = "the beginning".into();
            let raw = arrival.raw.clone();
            world.remember(&Command::Accept(Box::new(arrival)));
            world.ledger.tables().dead_letters.get_mut(&letter).expect("there").raw = Some(raw);
            letter
        }),
    ]);
}

#[test]
fn a_message_that_is_set_aside_for_another_reason_now_is_a_dead_letter_of_that() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("20.00").on(authorized(OFTEN, "r", 5_000)));
    let letter = given_up(&mut world, draft("o", "s1").amount("30.00"));
    let reply = world.replay_for(letter, JOB);
    assert_eq!(why_not(&reply), WhyNotKind::StillRejected);
    assert_eq!(world.letter_for("delivery_limit").state, DeadLetterState::Replayed);
    let conflict = world.letter_for("conflict");
    assert_eq!((conflict.state, conflict.count), (DeadLetterState::Open, 1));
}

#[test]
fn what_a_replay_has_taken_and_cannot_do_is_open_again() {
    let mut world = World::new();
    ended_early(&mut world);
    let letter = world.first_of("s1");
    world.set_letter(letter, DeadLetterState::Replaying, Some(JOB));
    assert_eq!(why_not(&world.replay("s1", 0)), WhyNotKind::NoOpenAuthorization);
    let after = world.letter_of("s1", 0);
    assert_eq!((after.state, after.job), (DeadLetterState::Open, None));
}

#[test]
fn a_dead_letter_that_the_ledger_does_not_have_comes_to_nothing() {
    let mut world = World::new();
    let letter = DeadLetterId::of_message("conflict", &[0; 32]);
    let reply = world.tell(Command::Replay(Box::new(Replay { letter, job: JOB, message: None, traceparent: None })));
    assert_eq!((reply.note, world.ledger.tables().replays.len()), (Note::Nothing, 0));
}

/// A fee of 5.00, which was declined.
fn declined_fee(world: &mut World) -> DeadLetterId {
    let whole = PlanFacts { shipping_policy: ShippingPolicy::Last, ..plan(&[("l1", 2, "20.00")], "5.00", "25.00") };
    let reply = world.accept(draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 5_000)).plan(whole));
    world.answer(reply.ticket, captured(Some(gel(1_000))));
    let cancelled = world.receive(cancellation("o", &[]));
    let fee = begin(world, cancelled);
    world.answer(fee, Answer::Refused(refusal(RefusalReason::Declined)));
    world.letter_for("declined").id
}

#[test]
fn fees_that_may_not_be_tried_again() {
    are_not_replayed(&[
        ("captured after all", WhyNotKind::Captured, "nothing is left to do", |world| {
            let letter = declined_fee(world);
            let fee = world.ledger.tables().captures.values().find(|c| c.state == CaptureState::Failed).cloned();
            let fee = fee.expect("it was declined");
            let evidence = Evidence::Answer(captured(Some(gel(500))));
            assert_eq!(world.settle(fee.key, fee.progress.epoch, evidence).note, Note::Corrected);
            letter
        }),
        ("over", WhyNotKind::NoOpenAuthorization, "has expired", |world| {
            let letter = declined_fee(world);
            world.clock.advance_to(at(8 * DAY));
            letter
        }),
        ("captured once", WhyNotKind::NoOpenAuthorization, "only once, for shipments", |world| {
            let letter = declined_fee(world);
            authorize_anew(world, authorized(ONCE, "new", 5_000));
            letter
        }),
        ("too little left", WhyNotKind::ExceedsAuthorization, "4.99 GEL remains", |world| {
            let letter = declined_fee(world);
            authorize_anew(world, authorized(OFTEN, "new", 499));
            letter
        }),
        ("another currency", WhyNotKind::CurrencyMismatch, "the open authorization is in EUR", |world| {
            let letter = declined_fee(world);
            authorize_anew(world, in_euro(authorized(OFTEN, "euro", 5_000)));
            letter
        }),
        ("of nothing known", WhyNotKind::Unknown, "is not in the ledger", |world| {
            let letter = declined_fee(world);
            world.ledger.tables().dead_letters.get_mut(&letter).expect("there").amount = None;
            letter
        }),
    ]);
    let mut world = World::new();
    let letter = declined_fee(&mut world);
    world.restart_with(often(|rules| rules.minimum = Some("5.01".parse().expect("a decimal"))));
    let why = refused(&mut world, "below the minimum", letter);
    assert_eq!(why.kind, WhyNotKind::BelowMinimum);
}

/// One unit of two has shipped, and its capture was declined at the deadline of an authorization that is captured
/// once. The account takes no less than 100.00.
fn declined_at_its_deadline() -> World {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("20.00").on(authorized(ONCE, "r", 5_000)));
    world.clock.advance_to(at(7 * DAY - 2 * 3_600));
    world.warn();
    let read = world.do_due().into_iter().find_map(|reply| reply.ticket);
    let frozen = world.show(read, seen(view(5_000)));
    world.answer(frozen.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    let mut rules = policy();
    rules.accounts.get_mut(&account(ONCE)).expect("configured").minimum = Some("100.00".parse().expect("a decimal"));
    world.restart_with(rules);
    world
}

#[test]
fn too_little_waits_for_more_where_more_may_come() {
    let mut world = declined_at_its_deadline();
    let letter = world.first_of("s1");
    let why = refused(&mut world, "its deadline has come", letter);
    assert_eq!(why.kind, WhyNotKind::BelowMinimum);
    authorize_anew(&mut world, longer(authorized(ONCE, "new", 20_000)));
    assert_eq!(replayed(&world.replay("s1", 0)), (Some(2_000), 1));
    let shipment = world.shipment("s1");
    assert_eq!((shipment.state, shipment.capture), (ShipmentState::Waiting, None));
    assert_eq!(world.authorization("new").waiting_amount, gel(2_000));
}

#[test]
fn too_little_does_not_wait_when_the_grace_after_the_last_notice_is_over() {
    let mut world = declined_at_its_deadline();
    let key = world.order("o").key;
    world.ledger.tables().orders.get_mut(&key).expect("there").final_at = Some(at(0));
    authorize_anew(&mut world, longer(authorized(ONCE, "new", 20_000)));
    let letter = world.first_of("s1");
    let why = refused(&mut world, "nothing more ships", letter);
    assert_eq!(why.kind, WhyNotKind::BelowMinimum);
}

/// What owes nothing needs no call, on whatever authorization.
#[test]
fn what_comes_to_nothing_has_succeeded_when_it_is_tried_again() {
    let mut world = World::new();
    declined(&mut world);
    world.change_shipment("s1", |shipment| shipment.amount = Some(gel(0)));
    let letter = world.first_of("s1");
    let message = None;
    let command = Command::Replay(Box::new(Replay { letter, job: JOB, message, traceparent: None }));
    let mut executed = world.ledger.execute_now(&[command]).expect("memory does not fail");
    let reply = executed.replies.pop().expect("one reply").expect("it is done");
    assert_eq!((replayed(&reply), reply.ready.is_none()), ((Some(0), 1), true));
    assert_eq!(world.shipment("s1").state, ShipmentState::Settled);
}
