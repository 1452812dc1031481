//! Recorded and made answers, and the evidence in each.

use reqwest::StatusCode;
use serde_json::Map;

use crate::capture::evidence::{
    AuthorizationStatus, AuthorizationView, DoubtKind, ProviderBalance, RefusalReason, SeenCapture,
};
use crate::provider::test_server::{Server, account, capture_request, money, secret};
use crate::provider::{connect, http};
use crate::settings::Protocol;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/providers/cloudipsp/", $name, ".json"))
    };
}

const CAPTURED: &str = fixture!("captured");
const BAD_SIGNATURE: &str = fixture!("bad_signature");
const PARTIAL_CAPTURE: &str = fixture!("status_partial_capture");
const EXPIRED: &str = fixture!("status_expired");
const NOT_CAPTURED: &str = fixture!("status_not_captured");

fn reply(status: u16, body: &str) -> Reply {
    let status = StatusCode::from_u16(status).expect("a status");
    Reply { status, retry_after: None, body: Ok(Bytes::from(body.to_owned())) }
}

/// One word for a piece of evidence, with what is special about it.
fn described(answer: &Answer) -> String {
    match answer {
        Answer::Captured(proof) => {
            assert_eq!((proof.amount, proof.balance), (None, ProviderBalance::default()));
            "captured".to_owned()
        }
        Answer::Pending => "pending".to_owned(),
        Answer::Refused(refusal) => {
            format!("refused {:?} {}", refusal.reason, refusal.code.as_deref().unwrap_or_default())
        }
        Answer::Doubt(doubt) => match &doubt.code {
            Some(code) => format!("doubt {:?} {code}", doubt.kind),
            None => format!("doubt {:?}", doubt.kind),
        },
        Answer::NotExecuted(_) => "not executed".to_owned(),
        Answer::Misconfigured(fault) => format!("misconfigured {}", fault.code.as_deref().unwrap_or_default()),
    }
}

fn captured(status: u16, body: &str) -> String {
    let reference = Reference::parse("test_12343242113").expect("an id");
    described(&capture::read(&reply(status, body), 1_549_901, &reference))
}

#[test]
fn every_shape_of_capture_reply_is_judged() {
    let success = |fields: &str| {
        format!(
            r#"{{"response": {{"response_status": "success", "order_id": "test_12343242113", "merchant_id": 1549901{fields}}}}}"#
        )
    };
    let failure = |fields: &str| format!(r#"{{"response": {{"response_status": "failure"{fields}}}}}"#);
    for (status, body, expected) in [
        (200, CAPTURED.to_owned(), "captured"),
        (200, CAPTURED.replace("1549901", "\"1549901\""), "captured"),
        (200, CAPTURED.replace("\"captured\"", "\"hold\""), "pending"),
        (200, CAPTURED.replace("\"captured\"", "\"reversed\""), "doubt Unreadable"),
        (200, CAPTURED.replace("\"captured\"", "null"), "doubt Unreadable"),
        (200, CAPTURED.replace("test_12343242113", "test_12343242114"), "doubt Unreadable"),
        (200, CAPTURED.replace("1549901", "1549902"), "doubt Unreadable"),
        (200, CAPTURED.replace("\"hold\"", "\"captured\"").replace("1549901", "1549901.0"), "doubt Unreadable"),
        (200, success(""), "doubt Unreadable"),
        (200, success(r#", "capture_status": "hold", "response_code": """#), "pending"),
        // A success that names a decline in the second channel.
        (200, success(r#", "response_code": "1037""#), "refused InsufficientFunds 1037"),
        (200, success(r#", "response_code": 1000"#), "doubt Coded 1000"),
        (200, success(r#", "capture_status": "captured", "response_code": 1004"#), "doubt Unreadable"),
        (200, failure(r#", "capture_status": "captured", "error_code": 1004"#), "doubt Unreadable"),
        (
            200,
            failure(r#", "order_id": "test_12343242113", "merchant_id": 1549901, "capture_status": "captured""#),
            "doubt Unreadable",
        ),
        (200, failure(""), "doubt Unreadable"),
        (200, BAD_SIGNATURE.to_owned(), "misconfigured 1007"),
        (200, BAD_SIGNATURE.replace("`signature`", "`amount`"), "refused ProviderRejected 1007"),
        (200, failure(r#", "error_code": "1014""#), "misconfigured 1014"),
        (200, failure(r#", "error_code": "1109""#), "doubt Coded 1109"),
        (200, failure(r#", "error_code": 1999"#), "doubt Coded 1999"),
        (200, failure(r#", "error_code": "BROKEN""#), "doubt Coded BROKEN"),
        // Statuses outweigh codes where they leave doubt or name a fault of ours.
        (500, failure(r#", "error_code": 1037"#), "doubt Coded 1037"),
        (503, CAPTURED.to_owned(), "doubt HttpStatus"),
        (500, "<html>".to_owned(), "doubt HttpStatus"),
        (409, failure(r#", "error_code": 1014"#), "doubt Coded 1014"),
        (400, failure(r#", "error_code": 1037"#), "refused InsufficientFunds 1037"),
        (400, CAPTURED.to_owned(), "doubt HttpStatus"),
        (401, CAPTURED.to_owned(), "misconfigured 401"),
        (403, failure(r#", "error_code": 1037"#), "misconfigured 403"),
        (302, String::new(), "misconfigured 302"),
        (404, "<html>".to_owned(), "misconfigured 404"),
        (404, failure(r#", "error_code": 1999"#), "misconfigured 404"),
        (404, failure(r#", "error_code": 1018"#), "refused ProviderRejected 1018"),
        (429, failure(r#", "error_code": 1037"#), "not executed"),
        (200, String::new(), "doubt Unreadable"),
        (200, "[]".to_owned(), "doubt Unreadable"),
        (200, "{}".to_owned(), "doubt Unreadable"),
        (200, r#"{"response": []}"#.to_owned(), "doubt Unreadable"),
        (200, "<html>".to_owned(), "doubt Unreadable"),
    ] {
        assert_eq!(captured(status, &body), expected, "{status} {body}");
    }
}

#[test]
fn every_code_shows_what_its_class_says() {
    for code in 1_000..=1_130_u16 {
        let body = format!(
            r#"{{"response": {{"response_status": "failure", "error_code": {code}, "error_message": "Parameter `amount` is incorrect"}}}}"#
        );
        let expected = match codes::class(code) {
            Some(codes::Class::Refused(reason)) => format!("refused {reason:?} {code}"),
            Some(codes::Class::Misconfigured) => format!("misconfigured {code}"),
            Some(codes::Class::Parameter) => format!("refused {:?} {code}", RefusalReason::ProviderRejected),
            Some(codes::Class::Broken | codes::Class::Elsewhere | codes::Class::OtherOperation) | None => {
                format!("doubt Coded {code}")
            }
        };
        assert_eq!(captured(200, &body), expected);
    }
}

/// The signed reply of a status request for `reference`, with `changes` made to a recorded one.
fn status_body(recorded: &str, changes: &[(&str, Value)]) -> String {
    let mut envelope: Map<String, Value> = serde_json::from_str(recorded).expect("the fixture is JSON");
    let fields = envelope["response"].as_object_mut().expect("an object");
    for (name, value) in changes {
        fields.insert((*name).to_owned(), value.clone());
        fields.retain(|_, value| !value.is_null());
    }
    let texts: Vec<(&str, String)> = fields.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let signature = signature::of(&secret("test"), texts);
    fields.insert("signature".to_owned(), json!(signature));
    Value::Object(envelope).to_string()
}

fn read_status(status: u16, body: &str, merchant_id: u64, reference: &str) -> Reading {
    let reference = Reference::parse(reference).expect("an id");
    status::read(&reply(status, body), merchant_id, &reference, &secret("test"))
}

fn seen(body: &str, merchant_id: u64, reference: &str) -> AuthorizationView {
    let reading = read_status(200, body, merchant_id, reference);
    let Reading::Seen(view) = &reading else { panic!("{reading:?}") };
    AuthorizationView::clone(view)
}

#[test]
fn a_recorded_partial_capture_is_read_exactly() {
    let view = seen(PARTIAL_CAPTURE, 1_396_424, "test_12343242113");
    let expected = AuthorizationView {
        status: AuthorizationStatus::FullyCaptured,
        is_card: true,
        currency: money(0, "UAH").currency(),
        authorized: Some(money(15_118, "UAH")),
        balance: ProviderBalance {
            captured: Some(money(100, "UAH")),
            voided: Some(money(0, "UAH")),
            remaining: Some(money(0, "UAH")),
            expires_at: None,
        },
        captures: vec![SeenCapture {
            capture: None,
            amount: money(100, "UAH"),
            provider_reference: Some("814543587".to_owned()),
        }],
        has_pending_capture: false,
        // 30.08.2024 12:39:48, read in the easternmost zone.
        authorized_at: Some("2024-08-29T22:39:48Z".parse().expect("an instant")),
    };
    assert_eq!(view, expected);
}

#[test]
fn recorded_orders_without_a_capture_are_read_as_such() {
    let open = seen(NOT_CAPTURED, 1_549_901, "test_recurring_payment123");
    assert_eq!((open.status, open.is_card), (AuthorizationStatus::Open, true));
    assert_eq!(open.balance.captured, Some(money(0, "GEL")));
    assert_eq!(open.balance.remaining, Some(money(4_600, "GEL")));
    assert!(open.captures.is_empty() && !open.has_pending_capture);
    assert!(!format!("{open:?}").contains("I0wh7f"), "no token goes further than the signature check");

    let expired = seen(EXPIRED, 1_396_424, "TestOrder2");
    assert_eq!((expired.status, expired.authorized), (AuthorizationStatus::Expired, None));
    assert_eq!(expired.currency, money(0, "USD").currency());
    assert!(expired.captures.is_empty());
}

fn info(json: &str) -> (&'static str, Value) {
    ("additional_info", json!(json))
}

#[test]
fn every_combination_of_order_and_capture_is_judged() {
    use AuthorizationStatus::{Declined, Expired, FullyCaptured, NotYetApproved, Open, Voided};

    let none = r#"{"capture_status": null, "capture_amount": null}"#;
    let hold = r#"{"capture_status": "hold", "capture_amount": null}"#;
    let captured = r#"{"capture_status": "captured", "capture_amount": 151.18}"#;
    let reversed = r#"{"capture_status": "reversed", "capture_amount": null}"#;
    let silent = r#"{"payment_method": "card"}"#;
    for (order, capture, expected) in [
        ("created", none, Some((NotYetApproved, false, 0))),
        ("processing", none, Some((NotYetApproved, false, 0))),
        ("processing", silent, Some((NotYetApproved, false, 0))),
        ("declined", silent, Some((Declined, false, 0))),
        ("expired", none, Some((Expired, false, 0))),
        ("approved", none, Some((Open, false, 0))),
        ("approved", hold, Some((Open, true, 0))),
        ("approved", captured, Some((FullyCaptured, false, 15_118))),
        ("approved", reversed, Some((Voided, false, 0))),
        ("reversed", none, Some((Voided, false, 0))),
        ("reversed", captured, Some((FullyCaptured, false, 15_118))),
        ("expired", captured, Some((FullyCaptured, false, 15_118))),
        // What is not said is not known.
        ("approved", silent, None),
        ("reversed", silent, None),
        ("approved", "not JSON", None),
        ("approved", r#"{"capture_status": "captured", "capture_amount": null}"#, None),
        ("approved", r#"{"capture_status": "captured", "capture_amount": 0.0}"#, None),
        ("approved", r#"{"capture_status": "captured", "capture_amount": 1e2}"#, Some((FullyCaptured, false, 10_000))),
        ("approved", r#"{"capture_status": "captured", "capture_amount": 0.001}"#, None),
        ("approved", r#"{"capture_status": "captured", "capture_amount": -1.0}"#, None),
        ("approved", r#"{"capture_status": null, "capture_amount": 1.0}"#, None),
        ("reversed", r#"{"capture_status": "reversed", "capture_amount": 1.0}"#, None),
        ("approved", r#"{"capture_status": {}, "capture_amount": null}"#, None),
        ("approved", r#"{"capture_status": "new", "capture_amount": null}"#, None),
        ("paid", none, None),
    ] {
        let body = status_body(NOT_CAPTURED, &[("order_status", json!(order)), info(capture)]);
        match read_status(200, &body, 1_549_901, "test_recurring_payment123") {
            Reading::Seen(view) => {
                let sum = view.captures.iter().map(|capture| capture.amount.minor()).sum();
                assert_eq!(Some((view.status, view.has_pending_capture, sum)), expected, "{order} {capture}");
            }
            Reading::Unclear(doubt) => {
                assert_eq!((doubt.kind, expected), (DoubtKind::Unreadable, None), "{order} {capture}");
            }
            Reading::Misconfigured(fault) => panic!("{fault:?}"),
        }
    }
}

#[test]
fn amounts_of_a_status_reply_are_exact() {
    let none = info(r#"{"capture_status": null}"#);
    for (actual, reversal, remaining) in
        [(json!("4600"), json!("0"), 4_600), (json!(4600), json!(600), 4_000), (json!("4600"), json!(""), 4_600)]
    {
        let changes = [("actual_amount", actual), ("reversal_amount", reversal), none.clone()];
        let view = seen(&status_body(NOT_CAPTURED, &changes), 1_549_901, "test_recurring_payment123");
        assert_eq!(view.balance.remaining, Some(money(remaining, "GEL")));
    }
    for wrong in [json!("46.00"), json!(46.0), json!("-1"), json!(true)] {
        let body = status_body(NOT_CAPTURED, &[("actual_amount", wrong), none.clone()]);
        let reading = read_status(200, &body, 1_549_901, "test_recurring_payment123");
        assert!(matches!(reading, Reading::Unclear(_)), "{body}");
    }
}

#[test]
fn other_methods_than_cards_are_told_apart() {
    for (system, method, card) in [
        (json!("card"), json!("card"), true),
        (json!("card"), json!("wallet"), true),
        (Value::Null, json!("card"), true),
        (Value::Null, Value::Null, true),
        (json!("banklinks_eu"), Value::Null, false),
        (json!("banklinks_eu"), json!("banklinks_eu"), false),
        (Value::Null, json!("installments"), false),
    ] {
        let info = json!({ "capture_status": null, "payment_method": method }).to_string();
        let body = status_body(NOT_CAPTURED, &[("payment_system", system.clone()), ("additional_info", json!(info))]);
        let view = seen(&body, 1_549_901, "test_recurring_payment123");
        assert_eq!(view.is_card, card, "{system} {method}");
    }
}

#[test]
fn only_a_signed_reply_about_our_order_is_believed() {
    let unsigned = NOT_CAPTURED.replace("\"signature\"", "\"was_signature\"");
    let forged = NOT_CAPTURED.replace("\"4600\"", "\"4601\"");
    let other_order = status_body(NOT_CAPTURED, &[("order_id", json!("other"))]);
    let other_merchant = status_body(NOT_CAPTURED, &[("merchant_id", json!(1))]);
    let with_parts = NOT_CAPTURED.replace("\"fee\": \"\"", "\"fee\": {}");
    for (status, body, expected) in [
        (200, unsigned.as_str(), DoubtKind::Unreadable),
        (200, &forged, DoubtKind::Unreadable),
        (200, &other_order, DoubtKind::Unreadable),
        (200, &other_merchant, DoubtKind::Unreadable),
        (200, &with_parts, DoubtKind::Unreadable),
        (200, CAPTURED, DoubtKind::Unreadable),
        (200, "", DoubtKind::Unreadable),
        (500, NOT_CAPTURED, DoubtKind::HttpStatus),
        (400, NOT_CAPTURED, DoubtKind::HttpStatus),
        (429, NOT_CAPTURED, DoubtKind::ConnectionLost),
        (200, r#"{"response": {"response_status": "failure", "error_code": 1018}}"#, DoubtKind::Coded),
        (200, r#"{"response": {"response_status": "failure", "error_code": "1002"}}"#, DoubtKind::Coded),
    ] {
        let reading = read_status(status, body, 1_549_901, "test_recurring_payment123");
        let Reading::Unclear(doubt) = &reading else { panic!("{reading:?}: {status} {body}") };
        assert_eq!(doubt.kind, expected, "{status} {body}");
    }
    for (status, body) in [(200, BAD_SIGNATURE), (403, NOT_CAPTURED), (404, "")] {
        let reading = read_status(status, body, 1_549_901, "test_recurring_payment123");
        assert!(matches!(reading, Reading::Misconfigured(_)), "{status} {body}");
    }
    // The hint that test merchants get is no part of the signed fields.
    let hinted = NOT_CAPTURED.replace("\"rrn\"", "\"response_signature_string\": \"**********|4600\", \"rrn\"");
    seen(&hinted, 1_549_901, "test_recurring_payment123");
}

fn settings(base_url: String) -> settings::Cloudipsp {
    settings::Cloudipsp { base_url, merchant_id: 1_549_901, secret: secret("test") }
}

#[tokio::test]
async fn requests_are_those_of_the_documentation() {
    let server = Server::start(|request| match request.uri.path() {
        "/gate/api/capture/order_id" => (200, CAPTURED.to_owned()),
        "/gate/api/status/order_id" => (200, NOT_CAPTURED.replace("test_recurring_payment123", "test_12343242113")),
        other => panic!("{other}"),
    })
    .await;
    let provider = connect(&account(Protocol::Flitt(settings(server.url("/gate"))))).expect("usable settings");
    let request = capture_request("test_12343242113", 100, "GEL");
    assert_eq!(described(&provider.capture(&request).await), "captured");
    // The reply was changed after it was signed.
    assert!(matches!(provider.lookup(&request.reference).await, Reading::Unclear(_)));

    let arrived = server.arrived();
    assert_eq!(arrived[0].method, "POST");
    assert_eq!(arrived[0].header("content-type"), Some("application/json"));
    let sent = |index: usize| serde_json::from_str::<Value>(&arrived[index].body).expect("JSON");
    let common = json!({ "order_id": "test_12343242113", "merchant_id": 1_549_901, "version": "1.0.1" });
    let mut capture = json!({ "request": common });
    capture["request"]["amount"] = json!(100);
    capture["request"]["currency"] = json!("GEL");
    // D1 of the signature vectors.
    capture["request"]["signature"] = json!("281b215fe86518fe0fc99c1676b73c57b420e569");
    assert_eq!(sent(0), capture);
    let status_signature = signature::of(
        &secret("test"),
        [("a", "1549901".to_owned()), ("b", "test_12343242113".to_owned()), ("c", VERSION.to_owned())],
    );
    let mut status = json!({ "request": common });
    status["request"]["signature"] = json!(status_signature);
    assert_eq!(sent(1), status);
}

#[tokio::test]
async fn both_brands_speak_it_and_unusable_settings_are_named() {
    let server = Server::start(|_| (200, CAPTURED.to_owned())).await;
    for protocol in [Protocol::Flitt(settings(server.url(""))), Protocol::Fondy(settings(server.url("")))] {
        let provider = connect(&account(protocol)).expect("usable settings");
        assert_eq!(provider.capabilities().captures, Captures::Single);
        let answer = provider.capture(&capture_request("test_12343242113", 100, "GEL")).await;
        assert_eq!(described(&answer), "captured");
    }
    let problem = |settings| match connect(&account(Protocol::Flitt(settings))) {
        Ok(_) => panic!("usable"),
        Err(error) => error.to_string(),
    };
    let plain = settings("http://pay.flitt.com".to_owned());
    assert_eq!(problem(plain), "account `test`: base_url is not https, and the host is not this machine: use https");
    let empty = settings::Cloudipsp { secret: secret(""), ..settings(server.url("")) };
    assert!(problem(empty).starts_with("account `test`: secret is empty"));
    assert!(http::checked_url("https://pay.fondy.eu").is_ok());
}
