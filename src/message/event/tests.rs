//! Each outgoing event in full, against a snapshot and against its own schema.

use super::examples::{dead_letter, each, end, event_of, failure, outcome};
use super::*;
use crate::capture::event::{CaptureKind, Ending, ResolvedBy};
use crate::capture::notice::RejectionReason;
use crate::message::schema;
use crate::message::schema::tests::assert_conforms;
use crate::money::{Currency, Money};

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

#[test]
fn each_event_in_full() {
    assert_eq!(each().map(|event| event.content.kind()), EventContent::KINDS);
    for event in each() {
        let kind = event.content.kind();
        insta::assert_snapshot!(kind, written(&event));
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
