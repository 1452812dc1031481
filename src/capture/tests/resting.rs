//! What rests: because its account is not configured any more, or because our own configuration keeps a call from
//! being answered; what brings it forward; and what is due, or answered, of which the ledger knows nothing.

use crate::capture::decide::{Call, Closing, Command, Due, Evidence, Intervention, Learn, Note, Operator, Settle};
use crate::capture::evidence::{Answer, ConfigurationFault, DoubtKind, Reading};
use crate::capture::notice::AuthorizationFacts;
use crate::capture::policy::Policy;
use crate::capture::records::{AuthorizationKey, CaptureKey, KeptKey, OrderKey, ShipmentKey};
use crate::capture::states::CaptureState;
use crate::capture::tests::support::*;
use crate::capture::why::Missing;

const NOT_CONFIGURED: &str = "the account is not configured any more: configure it again";

fn without(name: &str) -> Policy {
    let mut policy = policy();
    policy.accounts.remove(&account(name));
    policy
}

fn worth(shipment: &str, amount: &str) -> Draft {
    draft("o", shipment).amount(amount).on(authorized(OFTEN, "r", 10_000))
}

fn fault() -> ConfigurationFault {
    ConfigurationFault { code: None, message: "look at the secret".to_owned(), may_have_executed: false }
}

/// Everything due is put off, twice, and each time for as long as an account is looked for again.
fn is_put_off(world: &mut World) {
    for _ in 0..2 {
        let notes: Vec<Note> = world.do_due().into_iter().map(|reply| reply.note).collect();
        assert_eq!(notes, [Note::Parked(NOT_CONFIGURED.to_owned())]);
        assert!(world.do_due().is_empty(), "not found again and again");
        world.clock.advance(HOUR);
    }
}

#[test]
fn a_question_waits_for_its_account() {
    let mut world = World::new();
    let mut facts = authorized(OFTEN, "r", 10_000);
    facts.amount = None;
    world.receive(registration("o", facts, None));
    world.restart_with(without(OFTEN));
    is_put_off(&mut world);
    world.restart_with(policy());
    let ticket = world.due_call();
    assert!(matches!(asked(ticket.as_ref().expect("asked")), Asked::Ask));
}

#[test]
fn what_collects_waits_for_its_account() {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("10.00").on(authorized(ONCE, "r", 10_000)));
    world.restart_with(without(ONCE));
    world.clock.advance_to(at(7 * 24 * 3_600 - 2 * 3_600));
    world.warn();
    is_put_off(&mut world);
    world.restart_with(policy());
    let ticket = world.do_due().into_iter().find_map(|reply| reply.ticket);
    assert!(matches!(asked(ticket.as_ref().expect("it is read")), Asked::Read { .. }));
}

#[test]
fn what_an_order_owes_waits_for_its_account() {
    let mut world = World::new();
    let first = draft("o", "s1").line("l1", 2).line("l3", 1).on(authorized(OFTEN, "r", 11_900)).plan(worked_plan());
    let reply = world.accept(first);
    world.answer(reply.ticket, captured(Some(gel(10_337))));
    world.restart_with(without(OFTEN));
    world.receive(cancellation("o", &[]));
    assert_eq!(world.order("o").closes_at, Some(at(3_600)), "it is looked at again");
    assert_eq!(world.balance("r"), (11_900, 10_337, 0));
    world.clock.advance(HOUR);
    world.do_due();
    assert_eq!(world.order("o").closes_at, Some(at(2 * 3_600)));
    world.restart_with(policy());
    world.clock.advance(HOUR);
    world.do_due();
    let ticket = world.due_call();
    assert!(matches!(asked(ticket.as_ref().expect("sent")), Asked::Send { amount, .. } if amount == gel(64)));
}

#[test]
fn a_notice_that_names_no_authorization_waits_for_the_account_of_its_order() {
    let mut world = World::new();
    world.accept(worth("s1", "10.00"));
    world.restart_with(without(OFTEN));
    let reply = world.accept(draft("o", "s2").amount("20.00"));
    assert_eq!(reply.note, Note::Awaiting(Missing::Account));
}

#[test]
fn nobody_looks_at_or_closes_what_is_on_no_account() {
    let mut world = World::new();
    let sent = world.accept(worth("s1", "10.00"));
    world.answer(sent.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.restart_with(without(OFTEN));
    let before = world.capture_of("s1");
    let (capture, id) = (before.key, before.id);
    for what in [Intervention::Look { capture, id }, Intervention::Close { capture, id, closing: Closing::Unresolved }]
    {
        let operator = Operator { by: "olga".to_owned(), why: "asked them".to_owned(), what };
        let reply = world.tell(Command::Operator(Box::new(operator)));
        assert_eq!(reply.note, Note::NotDone(NOT_CONFIGURED.to_owned()));
    }
    assert_eq!(world.capture_of("s1"), before);
}

#[test]
fn a_look_that_our_configuration_keeps_from_being_answered_rests_and_is_brought_forward() {
    let mut world = World::new();
    let sent = world.accept(worth("s1", "10.00"));
    world.answer(sent.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
    world.clock.advance(2 * SECOND);
    let look = world.due_call();
    let parked = world.show(look, Reading::Misconfigured(fault()));
    assert_eq!(parked.note, Note::Parked("look at the secret".to_owned()));
    let capture = world.capture_of("s1");
    assert_eq!((capture.state, capture.due_at), (CaptureState::InDoubt, Some(at(302))));
    assert_eq!(world.ledger.tables().history.last().map(|note| note.what), Some("parked"));
    assert!(world.due_call().is_none());
    is_ready(&mut world, Due::Capture(capture.key));
}

/// What was parked is ready when it is recalled, and due.
fn is_ready(world: &mut World, due: Due) {
    let reply = world.tell(Command::Recall(due));
    assert_eq!(reply.ready.map(|ready| ready.due), Some(due));
    assert!(reply.ticket.is_none(), "a call needs a permit");
    assert!(world.due_call().is_some());
}

#[test]
fn a_question_and_a_read_are_brought_forward_too() {
    let mut world = World::new();
    let facts = AuthorizationFacts { amount: None, ..authorized(OFTEN, "r", 10_000) };
    world.receive(registration("o", facts, None));
    let question = world.due_call();
    assert!(matches!(world.show(question, Reading::Misconfigured(fault())).note, Note::Parked(_)));
    assert!(world.due_call().is_none());
    let key = world.authorization("r").key;
    is_ready(&mut world, Due::Ask(key));

    let mut world = World::new();
    world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 500)));
    world.clock.advance_to(at(7 * 24 * 3_600));
    world.warn();
    let read = world.due_call();
    assert!(matches!(world.show(read, Reading::Misconfigured(fault())).note, Note::Parked(_)));
    assert!(world.due_call().is_none());
    let key = world.authorization("r").key;
    is_ready(&mut world, Due::Authorization(key));
}

/// As it is found by a worker whose list is older than the ledger, or came from one that a backup has lost.
fn comes_to_nothing(world: &mut World, command: Command) {
    let before = world.ledger.tables().clone();
    let what = format!("{command:?}");
    let reply = world.tell(command);
    assert!(reply.note == Note::Nothing && reply.ticket.is_none() && reply.ready.is_none(), "{what}: {reply:?}");
    let tables = world.ledger.tables();
    assert_eq!((&tables.captures, &tables.authorizations), (&before.captures, &before.authorizations), "{what}");
    assert_eq!((&tables.orders, &tables.shipments), (&before.orders, &before.shipments), "{what}");
}

#[test]
fn what_the_ledger_does_not_have_is_not_due_and_not_recalled() {
    let mut world = World::new();
    let lost = [
        Due::Capture(CaptureKey::new(99)),
        Due::Ask(AuthorizationKey::new(99)),
        Due::Shipment(ShipmentKey::new(99)),
        Due::Warning(AuthorizationKey::new(99)),
        Due::Kept(KeptKey::new(99)),
        Due::Order(OrderKey::new(99)),
    ];
    for due in lost {
        comes_to_nothing(&mut world, Command::Due(due));
        comes_to_nothing(&mut world, Command::Recall(due));
    }
    comes_to_nothing(&mut world, Command::Recall(Due::Authorization(AuthorizationKey::new(99))));
}

#[test]
fn an_answer_about_what_the_ledger_does_not_have_comes_to_nothing() {
    let mut world = World::new();
    let evidence = Evidence::Answer(captured(Some(gel(1_000))));
    let settle = Settle { capture: CaptureKey::new(99), epoch: 1, evidence, start: true };
    comes_to_nothing(&mut world, Command::Settle(Box::new(settle)));
    let learn = Learn { authorization: AuthorizationKey::new(99), reading: seen(view(10_000)) };
    comes_to_nothing(&mut world, Command::Learn(Box::new(learn)));
}

/// Else it would be sent a second time, or a second question asked.
#[test]
fn what_another_worker_has_taken_up_is_not_due_any_more() {
    let mut world = World::new();
    let sent = world.accept(worth("s1", "10.00"));
    let capture = world.capture_of("s1");
    assert_eq!(capture.state, CaptureState::Sending);
    comes_to_nothing(&mut world, Command::Due(Due::Capture(capture.key)));
    comes_to_nothing(&mut world, Command::Recall(Due::Capture(capture.key)));
    world.answer(sent.ticket, captured(Some(gel(1_000))));
    comes_to_nothing(&mut world, Command::Due(Due::Capture(capture.key)));
    let before = world.capture_of("s1");
    world.restart_with(without(OFTEN));
    let parked = world.tell(Command::Due(Due::Capture(capture.key)));
    assert_eq!(parked.note, Note::Parked(NOT_CONFIGURED.to_owned()));
    assert_eq!(world.capture_of("s1"), before, "what has ended is not looked at again");
    world.restart_with(policy());
    let authorization = capture.authorization;
    comes_to_nothing(&mut world, Command::Due(Due::Ask(authorization)));
    comes_to_nothing(&mut world, Command::Due(Due::Order(capture.order)));
    let rest = world.accept(draft("o", "s2").amount("90.00"));
    world.answer(rest.ticket, captured(Some(gel(9_000))));
    world.clock.advance_to(at(6 * 24 * 3_600));
    comes_to_nothing(&mut world, Command::Due(Due::Warning(authorization)));
}

#[test]
fn a_clock_that_is_set_back_puts_no_question_off() {
    let mut world = World::new();
    world.clock.advance(1_000 * HOUR);
    let facts = AuthorizationFacts { amount: None, ..authorized(OFTEN, "r", 10_000) };
    let facts = AuthorizationFacts { expires_at: Some(at(2_000 * 3_600)), ..facts };
    world.receive(registration("o", facts, None));
    let question = world.due_call();
    world.show(question, Reading::Unclear(doubt(DoubtKind::Timeout)));
    assert!(world.due_call().is_none());
    world.clock.set_back(1_000 * HOUR);
    let again = world.due_call();
    assert!(matches!(again.expect("asked again").call, Call::Ask { .. }));
}
