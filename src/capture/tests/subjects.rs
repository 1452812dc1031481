//! What a reply is about, for whoever reads the logs.

use crate::capture::decide::{Collect, Command, Subject};
use crate::capture::event::CaptureKind;
use crate::capture::notice::ShippingPolicy;
use crate::capture::records::Capture;
use crate::capture::tests::support::*;

fn of_account() -> Subject {
    Subject { order: Some(order_id("o")), account: Some(account(OFTEN)), ..Subject::default() }
}

fn of_shipment() -> Subject {
    Subject { order: Some(order_id("o")), shipment: Some(shipment_id("s1")), ..Subject::default() }
}

#[test]
fn what_is_set_aside_is_about_what_its_message_names() {
    let mut world = World::new();
    let notice = || draft("o", "s1").amount("10.00").on(authorized(OFTEN, "r", 5_000));
    world.accept(notice());
    assert_eq!(world.accept(draft("o", "s1").amount("11.00")).subject, of_shipment());
    let (order, shipment) = (Some(order_id("o")), Some(shipment_id("s1")));
    let given_up = Collect { raw: notice().arrival().raw, order, shipment };
    assert_eq!(world.tell(Command::Collect(Box::new(given_up))).subject, of_shipment());
}

#[test]
fn what_is_asked_of_an_authorization_is_about_its_order_and_account() {
    let mut world = World::new();
    let mut facts = authorized(OFTEN, "r", 5_000);
    facts.amount = None;
    world.receive(registration("o", facts, None));
    let [asked] = <[_; 1]>::try_from(world.do_due()).expect("one reply");
    assert_eq!(asked.subject, of_account());
    assert_eq!(world.show(asked.ticket, seen(view(5_000))).subject, of_account());
}

#[test]
fn the_end_of_a_capture_is_about_its_shipment_or_about_its_order() {
    let mut world = World::new();
    let mut plan = plan(&[("l1", 1, "10.00"), ("l2", 1, "10.00")], "4.90", "24.90");
    plan.shipping_policy = ShippingPolicy::Last;
    let one = world.accept(draft("o", "s1").line("l1", 1).on(authorized(OFTEN, "r", 5_000)).plan(plan));
    let (capture, account) = (Some(world.capture_of("s1").id), of_account().account);
    let end = world.answer(one.ticket, captured(Some(gel(1_000))));
    assert_eq!(end.subject, Subject { capture, account, ..of_shipment() });
    world.receive(cancellation("o", &[("l2", 1)]));
    let ticket = world.due_call();
    let is_fee = |capture: &&Capture| capture.kind == CaptureKind::Fee;
    let fee = world.ledger.tables().captures.values().find(is_fee).expect("a fee").id;
    let end = world.answer(ticket, captured(Some(gel(490))));
    assert_eq!(end.subject, Subject { capture: Some(fee), ..of_account() });
}
