//! One of each event, for the documents and the tests.

use std::time::Duration;

use crate::capture::event::{
    AuthorizationEnd, AuthorizationWarning, Balance, CaptureKind, Correction, Deferral, Ending, Event, EventContent,
    Failure, FailureReason, OperatorNote, Outcome, RefundRequired, RejectedNotice, ResolvedBy,
};
use crate::capture::notice::RejectionReason;
use crate::capture::policy::OnExpiry;
use crate::clock::Timestamp;
use crate::ids::{AccountName, CaptureId, DeadLetterId, EventId, OrderId, Reference, ShipmentId};
use crate::money::{Currency, Money};

/// One of each kind, in the order of [`EventContent::KINDS`].
pub fn each() -> [Event; EventContent::KINDS.len()] {
    let declined = Failure {
        provider_code: Some("1004".to_owned()),
        message: "declined by the issuer".to_owned(),
        ..failure(FailureReason::Declined)
    };
    let note = OperatorNote { who: "ops@example.com".to_owned(), why: "the provider cannot tell".to_owned() };
    let (account, reference) = authorization();
    let deferral = Deferral {
        order: order_id(),
        shipment: shipment_id("shp-881"),
        account,
        reference,
        amount_so_far: gel(10_337),
        capture_by: Some(instant("2026-11-26T06:00:00Z")),
        caused_by: Some("evt-7f3a".to_owned()),
        sequence: 1,
    };
    let rejected = RejectedNotice {
        caused_by: Some("evt-7f3a".to_owned()),
        order: Some(order_id()),
        shipment: Some(shipment_id("shp-881")),
        reason: RejectionReason::Invalid,
        path: "$.data.plan.lines[1].total".to_owned(),
        message: "total is a number: send a decimal string in major units such as \"119.00\"".to_owned(),
        dead_letter: dead_letter(),
    };
    let warning = AuthorizationWarning {
        order: order_id(),
        account: authorization().0,
        reference: authorization().1,
        expires_at: instant("2026-11-26T08:00:00Z"),
        expiry_is_derived: false,
        lead: Duration::from_hours(48),
        on_expiry: OnExpiry::MayCaptureInFull,
        balance: uncaptured(),
        sequence: 2,
    };
    let without_money = || Box::new(Outcome { balance: Some(uncaptured()), provider_reference: None, ..*outcome() });
    [
        EventContent::Succeeded(outcome()),
        EventContent::Failed(without_money(), declined),
        EventContent::Unresolved(without_money(), note),
        EventContent::Corrected(outcome(), Correction { was: "failed", now: "captured" }),
        EventContent::Deferred(deferral),
        EventContent::Rejected(rejected),
        EventContent::RefundRequired(refund()),
        EventContent::Expiring(Box::new(warning)),
        EventContent::Expired(Box::new(end(Ending::Captured))),
    ]
    .map(event_of)
}

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn gel(minor: i64) -> Money {
    Money::from_minor(minor, Currency::parse("GEL").expect("a currency")).expect("positive")
}

fn order_id() -> OrderId {
    OrderId::parse("ord-10042").expect("an id")
}

fn shipment_id(text: &str) -> ShipmentId {
    ShipmentId::parse(text).expect("an id")
}

fn authorization() -> (AccountName, Reference) {
    let reference = Reference::parse("test_12343242113").expect("an id");
    (AccountName::parse("flitt-ge").expect("an id"), reference)
}

pub(super) fn dead_letter() -> DeadLetterId {
    DeadLetterId::of_shipment(&order_id(), &shipment_id("shp-881"), 0)
}

fn uncaptured() -> Balance {
    Balance { authorized: gel(11_900), captured: gel(0), remaining: gel(11_900), earned_uncaptured: gel(10_337) }
}

pub(super) fn outcome() -> Box<Outcome> {
    let (account, reference) = authorization();
    let capture = CaptureId::of_shipment(&account, &reference, &order_id(), &shipment_id("shp-882"), 0);
    Box::new(Outcome {
        order: order_id(),
        shipment: Some(shipment_id("shp-881")),
        capture: Some(capture),
        kind: CaptureKind::Batch,
        generation: 0,
        authorization: Some((account, reference)),
        amount: Some(gel(10_337)),
        capture_amount: Some(gel(11_900)),
        capture_shipments: vec![shipment_id("shp-881"), shipment_id("shp-882")],
        balance: Some(Balance {
            authorized: gel(11_900),
            captured: gel(11_900),
            remaining: gel(0),
            earned_uncaptured: gel(0),
        }),
        authorization_expires_at: Some(instant("2026-11-26T08:00:00Z")),
        attempts: 1,
        resolved_by: ResolvedBy::Response,
        provider_reference: Some("pay-55".to_owned()),
        caused_by: Some("evt-7f3a".to_owned()),
        sequence: 2,
    })
}

pub(super) fn failure(reason: FailureReason) -> Failure {
    Failure {
        reason,
        provider_code: None,
        message: "no authorization was registered for this order".to_owned(),
        retryable: reason.is_retryable(),
        money_may_have_moved: false,
        next_action: reason.next_action(),
        dead_letter: dead_letter(),
    }
}

pub(super) fn event_of(content: EventContent) -> Event {
    Event {
        id: EventId::of_shipment(content.kind(), &order_id(), &shipment_id("shp-881"), 0),
        time: instant("2026-11-20T09:12:04.056789Z"),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        content,
    }
}

pub(super) fn end(ending: Ending) -> AuthorizationEnd {
    AuthorizationEnd {
        order: order_id(),
        account: authorization().0,
        reference: authorization().1,
        expires_at: instant("2026-11-26T08:00:00Z"),
        ending,
        authorized: gel(11_900),
        captured_by_us: gel(0),
        captured_elsewhere: gel(11_900),
        released: gel(0),
        sequence: 3,
    }
}

fn refund() -> RefundRequired {
    let (account, reference) = authorization();
    RefundRequired {
        order: order_id(),
        account,
        reference,
        revision: 2,
        captured: gel(11_900),
        plan_total: gel(10_000),
        difference: gel(1_900),
        caused_by: Some("evt-a2".to_owned()),
        sequence: 4,
    }
}
