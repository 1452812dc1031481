//! What the books promise the ledgers that keep them: from one group of commands to the next, nothing that was
//! written is written again, and nothing that has ended is found by what it belonged to.

use std::collections::HashSet;

use super::Books;
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::decide::Evidence;
use crate::capture::event::FailureReason;
use crate::capture::evidence::{Answer, RefusalReason};
use crate::capture::records::{
    Authorization, AuthorizationKey, Capture, Fee, JobKey, Kept, NamedBy, OrderKey, Shipment,
};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::tests::support::*;
use crate::capture::usage::{Usage, Window};
use crate::ids::DeadLetterId;

/// Everything that a world's ledger has, loaded twice: the second time as it is not.
fn loaded(world: &World) -> Books {
    let tables = world.ledger.tables();
    let mut books = Books::new(1_000);
    for order in tables.orders.values() {
        books.load_order(order.clone());
    }
    for record in tables.authorizations.values() {
        books.load_authorization(record.clone());
        books.load_authorization(Authorization { epoch: 99, ..record.clone() });
    }
    for shipment in tables.shipments.values() {
        books.load_shipment(shipment.clone());
        books.load_shipment(Shipment { state: ShipmentState::Awaiting, ..shipment.clone() });
    }
    for capture in tables.captures.values() {
        books.load_capture(capture.clone());
        books.load_capture(Capture { amount: gel(1), ..capture.clone() });
    }
    for kept in tables.kept.values() {
        books.load_kept(kept.clone());
        books.load_kept(Kept { due_at: None, ..kept.clone() });
    }
    for letter in tables.dead_letters.values() {
        books.load_dead_letter(letter.clone());
        books.load_dead_letter(DeadLetter { count: 99, ..letter.clone() });
    }
    books
}

/// One of 10.00 is being sent, one of 20.00 waits its turn; a cancellation waits for the plan of another order.
fn world() -> (World, OrderKey, AuthorizationKey) {
    let mut world = World::new();
    world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 10_000)));
    world.accept(draft("o", "s2").amount("20.00"));
    world.receive(cancellation("p", &[]));
    let (order, authorization) = (world.order("o").key, world.authorization("r").key);
    (world, order, authorization)
}

#[test]
fn what_is_in_the_books_is_not_loaded_over() {
    let (mut world, order, authorization) = world();
    let sent = world.capture_of("s1");
    let declined = Evidence::Answer(Answer::Refused(refusal(RefusalReason::Declined)));
    world.settle(sent.key, sent.progress.epoch, declined);
    let letter = world.ledger.tables().dead_letters.values().next().cloned().expect("s1 was declined");
    let books = loaded(&world);
    assert_eq!(books.authorization(authorization), &world.authorization("r"));
    for shipment in ["s1", "s2"] {
        let (shipment, capture) = (world.shipment(shipment), world.capture_of(shipment));
        assert_eq!(books.shipment_key(order, &shipment.id), Some(shipment.key));
        assert_eq!(books.shipment(shipment.key), &shipment);
        assert_eq!(books.capture(capture.key), &capture);
        assert_eq!(books.shipments_of(capture.key), [shipment.key], "once");
    }
    assert_eq!(books.kept_of(world.order("p").key).len(), 1);
    assert_eq!(books.dead_letter(letter.id), Some(&letter));
    assert!(books.captures().changed().is_empty() && books.changed_dead_letters().next().is_none());
}

#[test]
fn what_has_ended_leaves_the_books_once_it_is_written_and_what_is_open_stays() {
    let (world, order, authorization) = world();
    let (one, two) = (world.capture_of("s1"), world.capture_of("s2"));
    let (first, second) = (world.shipment("s1"), world.shipment("s2"));
    let other = world.order("p").key;
    let kept = loaded(&world).kept_of(other)[0];
    let mut books = loaded(&world);
    assert_eq!(books.open_on(authorization), 2);
    books.move_capture(one.key, CaptureState::Captured);
    books.move_shipment(first.key, ShipmentState::Settled);
    books.capture_mut(two.key).waits_turn = false;
    books.shipment_mut(second.key).says_final = true;
    books.kept_mut(kept).due_at = None;

    let books = books.for_next_group(10).expect("few");
    assert!(books.captures().find(one.key).is_none() && books.shipments().find(first.key).is_none());
    assert!(!books.captures().contains(one.key) && books.captures().contains(two.key));
    assert_eq!((books.shipment_key(order, &first.id), books.shipment_key(order, &second.id)), (None, Some(second.key)));
    assert_eq!((books.open_on(authorization), books.ids_on(authorization)), (1, HashSet::from([two.id])));
    assert_eq!((books.shipments_of(two.key), books.kept_of(other)), (vec![second.key], Vec::new()));
    let capture = books.capture(two.key);
    assert!(!capture.waits_turn, "as it was written");
    assert!(books.captures().changed().is_empty() && books.shipments().changed().is_empty());
    assert!(books.authorizations().changed().is_empty() && books.orders().changed().is_empty());
}

#[test]
fn what_was_the_last_of_its_authorization_or_order_leaves_nothing_behind() {
    let (world, order, authorization) = world();
    let mut books = loaded(&world);
    for shipment in ["s1", "s2"] {
        let record = world.shipment(shipment);
        let capture = record.capture.expect("a capture covers it");
        if books.capture(capture).state == CaptureState::Planned {
            books.move_capture(capture, CaptureState::Sending);
        }
        books.move_capture(capture, CaptureState::Captured);
        books.move_shipment(record.key, ShipmentState::Settled);
    }
    let books = books.for_next_group(10).expect("few");
    assert_eq!((books.open_on(authorization), books.ids_on(authorization)), (0, HashSet::new()));
    assert!(books.awaiting_of(order).is_empty() && books.ended_without_money(order).is_empty());
}

#[test]
fn more_than_are_kept_are_loaded_anew() {
    let (world, ..) = world();
    // Two orders, an authorization, two shipments and two captures.
    assert!(loaded(&world).for_next_group(7).is_some());
    assert!(loaded(&world).for_next_group(6).is_none());
}

#[test]
fn a_replay_takes_what_nobody_has_dealt_with_and_nothing_else() {
    let mut world = World::new();
    for shipment in ["s1", "s2", "s3"] {
        world.accept(draft("o", shipment).amount("20.00").on(authorized(OFTEN, "small", 500)));
    }
    let id = |shipment| DeadLetterId::of_shipment(&order_id("o"), &shipment_id(shipment), 0);
    world.ledger.tables().dead_letters.get_mut(&id("s2")).expect("refused").state = DeadLetterState::Discarded;
    let (mut books, job) = (loaded(&world), JobKey::new(7));
    books.claim(&HashSet::from([id("s1"), id("s2")]), job);
    let taken = ["s1", "s2", "s3"].map(|shipment| {
        let letter = books.dead_letter(id(shipment)).expect("loaded");
        (letter.state, letter.job)
    });
    let expected =
        [(DeadLetterState::Replaying, Some(job)), (DeadLetterState::Discarded, None), (DeadLetterState::Open, None)];
    assert_eq!(taken, expected);
    assert!(books.dead_letter_mut(DeadLetterId::of_fee(&order_id("o"), 1, 0)).is_none(), "what is not there");
}

#[test]
fn what_counts_has_to_be_loaded_for_the_accounts_in_the_books() {
    let mut world = World::new();
    world.receive(registration("o", authorized(OFTEN, "r", 500), None));
    world.receive(registration("o", authorized(OFTEN, "r2", 500), None));
    world.receive(registration("p", authorized(ONCE, "r", 500), None));
    let books = loaded(&world);
    assert_eq!(books.accounts(), HashSet::from([&account(OFTEN), &account(ONCE)]));
}

/// As a ledger loads it: nothing of what counts for an account without caps.
#[test]
fn what_counts_is_loaded_once_and_given_back_only_where_it_is_loaded() {
    let (world, _, authorization) = world();
    let (name, capture) = (account(OFTEN), world.capture_of("s1").key);
    let mut counted = Usage::new(name.clone(), currency("GEL"));
    counted.count(gel(1_000), at(0));
    for has_caps in [true, false] {
        let mut books = loaded(&world);
        books.capture_mut(capture).counted_at = Some(at(0));
        if has_caps {
            books.load_usage(counted.clone());
            books.load_usage(Usage::new(name.clone(), currency("GEL")));
            assert_eq!(books.usage(&name, currency("GEL")), Some(&counted));
        }
        books.move_capture(capture, CaptureState::Failed);
        assert_eq!(books.capture(capture).counted_at, None);
        let used = books.usage(&name, currency("GEL")).map(|usage| usage.used(Window::Day, at(0)).minor());
        assert_eq!((used, books.changed_usages().len()), (has_caps.then_some(0), usize::from(has_caps)));
        assert_eq!(books.open_on(authorization), 1);
    }
}

#[test]
fn what_has_no_known_end_is_open_or_was_closed_without_an_answer_and_none_has_come() {
    let (world, _, authorization) = world();
    let (one, two) = (world.capture_of("s1").key, world.capture_of("s2").key);
    let mut books = loaded(&world);
    assert_eq!((books.undecided_on(authorization), books.unresolved_on(authorization)), (vec![one, two], Vec::new()));
    books.capture_mut(one).state = CaptureState::Unresolved;
    assert_eq!((books.undecided_on(authorization), books.unresolved_on(authorization)), (vec![one, two], vec![one]));
    books.capture_mut(one).corrected_at = Some(crate::clock::Timestamp::UNIX_EPOCH);
    assert_eq!((books.undecided_on(authorization), books.unresolved_on(authorization)), (vec![two], Vec::new()));
}

#[test]
fn what_ended_without_its_money_has_ended_and_has_a_reason() {
    let (world, order, _) = world();
    let (one, two) = (world.shipment("s1").key, world.shipment("s2").key);
    let mut books = loaded(&world);
    books.move_shipment(one, ShipmentState::Settled);
    books.shipment_mut(two).reason = Some(FailureReason::Declined);
    assert!(books.ended_without_money(order).is_empty());
    books.shipment_mut(one).reason = Some(FailureReason::Declined);
    assert_eq!(books.ended_without_money(order), [one]);
}

#[test]
#[should_panic(expected = "a shipment that is Settled does not begin anew")]
fn what_has_its_money_does_not_begin_anew() {
    let (world, ..) = world();
    let shipment = world.shipment("s1");
    let mut books = loaded(&world);
    books.move_shipment(shipment.key, ShipmentState::Settled);
    books.start_generation(shipment.key, shipment.message.expect("kept"));
}

#[test]
fn a_fee_is_its_orders_by_its_number_and_generation() {
    let (world, order, _) = world();
    let (one, other) = (world.capture_of("s1").key, world.order("p").key);
    let mut books = loaded(&world);
    books.capture_mut(one).named_by = NamedBy::Fee(Fee { number: 1, caused_by: None });
    let found = |order, number, generation| books.fee_of(order, number, generation).map(|capture| capture.key);
    assert_eq!(found(order, 1, 0), Some(one));
    assert_eq!([found(other, 1, 0), found(order, 2, 0), found(order, 1, 1)], [None; 3]);
}

#[test]
fn only_messages_that_are_set_aside_here_may_have_been_set_aside_before() {
    let mut world = World::new();
    let sent = world.accept(draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 10_000)));
    world.answer(sent.ticket, Answer::Refused(refusal(RefusalReason::Declined)));
    world.accept(draft("o", "s1").amount("11.00"));
    assert!(loaded(&world).set_aside().is_empty(), "what is loaded is known");
    let letters: Vec<_> = world.ledger.tables().dead_letters.values().cloned().collect();
    let of_message = letters.iter().find(|letter| letter.shipment_key.is_none()).expect("a conflict").id;
    let mut books = Books::new(1_000);
    assert!(letters.into_iter().all(|letter| books.add_dead_letter(letter)), "the capture's is another");
    assert_eq!(books.set_aside(), [of_message]);
}

#[test]
fn what_counts_is_kept_apart_by_account_and_currency() {
    let mut books = Books::new(1_000);
    let each = [(OFTEN, "GEL"), (OFTEN, "EUR"), (OTHER, "GEL")].map(|(name, code)| (account(name), currency(code)));
    for (name, currency) in &each {
        assert_eq!(books.usage(name, *currency), None);
        books.usage_mut(name, *currency);
        books.usage_mut(name, *currency);
    }
    for (name, currency) in &each {
        assert_eq!(books.usage(name, *currency), Some(&Usage::new(name.clone(), *currency)));
    }
    assert_eq!(books.changed_usages().len(), 3);
}
