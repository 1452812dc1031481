//! Each outgoing event in full, against a snapshot and against its own schema.

use std::time::Duration;

use super::*;
use crate::capture::event::{AuthorizationEnd, AuthorizationWarning, CaptureKind, Ending, ResolvedBy};
use crate::capture::notice::RejectionReason;
use crate::capture::policy::OnExpiry;
use crate::clock::Timestamp;
use crate::ids::{AccountName, CaptureId, DeadLetterId, EventId, Reference, ShipmentId};
use crate::message::schema;
use crate::message::schema::tests::assert_conforms;
use crate::money::{Currency, Money};

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

fn dead_letter() -> DeadLetterId {
    DeadLetterId::of_shipment(&order_id(), &shipment_id("shp-881"), 0)
}

fn outcome() -> Box<Outcome> {
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
        balance: Some(event::Balance {
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

/// An outcome of which as little is known as can be.
fn bare() -> Box<Outcome> {
    Box::new(Outcome {
        shipment: None,
        capture: None,
        kind: CaptureKind::Shipment,
        authorization: None,
        amount: None,
        capture_amount: None,
        capture_shipments: Vec::new(),
        balance: None,
        authorization_expires_at: None,
        attempts: 0,
        resolved_by: ResolvedBy::Local,
        provider_reference: None,
        caused_by: None,
        ..*outcome()
    })
}

fn failure(reason: FailureReason) -> Failure {
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

fn event_of(content: EventContent) -> Event {
    Event {
        id: EventId::of_shipment(content.kind(), &order_id(), &shipment_id("shp-881"), 0),
        time: instant("2026-11-20T09:12:04.056789Z"),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        content,
    }
}

/// The event's JSON, checked against its schema, indented.
fn written(event: &Event) -> String {
    let body = encode(event, "/holdfast/eu-1");
    assert_eq!(body, encode(event, "/holdfast/eu-1"), "a repetition repeats the bytes");
    let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let kind = event.content.kind();
    let (_, schema) = schema::all().into_iter().find(|(name, _)| *name == kind).expect("every type has a schema");
    assert_conforms(&schema, &value);
    format!("{value:#}")
}

fn end(ending: Ending) -> AuthorizationEnd {
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

fn refund() -> event::RefundRequired {
    let (account, reference) = authorization();
    event::RefundRequired {
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

#[test]
fn each_event_in_full() {
    let declined = Failure {
        provider_code: Some("1012".to_owned()),
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
        balance: event::Balance {
            authorized: gel(11_900),
            captured: gel(0),
            remaining: gel(11_900),
            earned_uncaptured: gel(10_337),
        },
        sequence: 2,
    };
    let contents = [
        EventContent::Succeeded(outcome()),
        EventContent::Failed(outcome(), declined),
        EventContent::Unresolved(outcome(), note),
        EventContent::Corrected(outcome(), Correction { was: "failed", now: "captured" }),
        EventContent::Deferred(deferral),
        EventContent::Rejected(rejected),
        EventContent::RefundRequired(refund()),
        EventContent::Expiring(Box::new(warning)),
        EventContent::Expired(Box::new(end(Ending::Captured))),
    ];
    for content in contents {
        let kind = content.kind();
        insta::assert_snapshot!(kind, written(&event_of(content)));
    }
}

#[test]
fn what_is_not_known_is_null() {
    let failed = EventContent::Failed(bare(), failure(FailureReason::UnknownAuthorization));
    insta::assert_snapshot!("capture.failed.bare", written(&Event { traceparent: None, ..event_of(failed) }));

    let rejected = RejectedNotice {
        caused_by: None,
        order: None,
        shipment: None,
        reason: RejectionReason::Undecodable,
        path: "$".to_owned(),
        message: "body is not JSON (expected value at line 1 column 1): send one JSON object in UTF-8".to_owned(),
        dead_letter: dead_letter(),
    };
    insta::assert_snapshot!("notice.rejected.bare", written(&event_of(EventContent::Rejected(rejected))));
}

#[test]
fn every_word_of_the_closed_lists_is_in_the_schemas() {
    for reason in FailureReason::ALL {
        written(&event_of(EventContent::Failed(outcome(), failure(reason))));
    }
    for ending in Ending::ALL {
        written(&event_of(EventContent::Expired(Box::new(end(ending)))));
    }
    for kind in [CaptureKind::Shipment, CaptureKind::Batch, CaptureKind::Deadline, CaptureKind::Fee, CaptureKind::Zero]
    {
        written(&event_of(EventContent::Succeeded(Box::new(Outcome { kind, ..*outcome() }))));
    }
    for resolved_by in [ResolvedBy::Response, ResolvedBy::Lookup, ResolvedBy::Local, ResolvedBy::Operator] {
        written(&event_of(EventContent::Succeeded(Box::new(Outcome { resolved_by, ..*outcome() }))));
    }
}

#[test]
fn amounts_have_all_the_decimals_of_their_currency() {
    let amount = |minor, code| {
        let money = Money::from_minor(minor, Currency::parse(code).expect("a currency")).expect("positive");
        let outcome = Box::new(Outcome { amount: Some(money), ..*bare() });
        let body = encode(&event_of(EventContent::Succeeded(outcome)), "/holdfast");
        let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        (value["data"]["amount"].clone(), value["data"]["currency"].clone())
    };
    for (minor, code, expected) in [
        (11_900, "EUR", "119.00"),
        (0, "EUR", "0.00"),
        (5, "EUR", "0.05"),
        (15_118, "JPY", "15118"),
        (1_234, "KWD", "1.234"),
        (12_345, "CLF", "1.2345"),
    ] {
        assert_eq!(amount(minor, code), (expected.into(), code.into()));
    }
}
