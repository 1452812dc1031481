//! Documented and made answers, the evidence in each, and the life of a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::capture::evidence::{
    AuthorizationStatus, AuthorizationView, CaptureProof, DoubtKind, ProviderBalance, SeenCapture,
};
use crate::provider::answer::CodeClass;
use crate::provider::connect;
use crate::provider::test_server::{Arrived, Server, account, capture_request, money, secret};
use crate::settings::Protocol;

use super::codes::Code;
use super::*;

const TRANSACTION: &str = include_str!("../../../tests/fixtures/providers/flex_pay/partially_captured.json");
const ID: Uuid = uuid::uuid!("3f0f8c4e-6f0b-4b52-9c0e-0a8a9a7f1d11");
const OURS: Uuid = uuid::uuid!("0f6e1a2b-3c4d-5e6f-8a9b-0c1d2e3f4a5b");

fn reply(status: u16, body: &str) -> Reply {
    let status = StatusCode::from_u16(status).expect("a status");
    Reply { status, retry_after: Some(Duration::from_secs(3)), body: Ok(Bytes::from(body.to_owned())) }
}

fn read_capture(status: u16, body: &str) -> Answer {
    transaction::read_capture(&reply(status, body), ID, CaptureId::from_uuid(OURS))
}

fn read_lookup(status: u16, body: &str) -> Reading {
    transaction::read_lookup(&reply(status, body), ID)
}

/// The documented transaction with some fields set, or taken away by `null`.
fn transaction(changes: &[(&str, Value)]) -> String {
    let mut transaction: Value = serde_json::from_str(TRANSACTION).expect("the fixture is JSON");
    for (name, value) in changes {
        transaction[*name] = value.clone();
    }
    transaction.to_string()
}

#[test]
fn what_is_ignored_need_not_be_utf8() {
    let told = transaction(&[("description", json!("Caf?"))]).replace("Caf?", "Caf\u{0}").into_bytes();
    let body: Vec<u8> = told.into_iter().map(|byte| if byte == 0 { 0xe9 } else { byte }).collect();
    assert!(std::str::from_utf8(&body).is_err());
    let reply = Reply { body: Ok(Bytes::from(body)), ..reply(200, "") };
    let answer = transaction::read_capture(&reply, ID, CaptureId::from_uuid(OURS));
    assert_eq!(described(&answer), described(&read_capture(200, TRANSACTION)));
}

fn described(answer: &Answer) -> String {
    match answer {
        Answer::Captured(proof) => format!("captured {}", proof.amount.expect("Flex Pay names it")),
        Answer::Pending => "pending".to_owned(),
        Answer::Refused(refusal) if refusal.read_first => format!("refused after a read {:?}", refusal.reason),
        Answer::Refused(refusal) => format!("refused {:?}", refusal.reason),
        Answer::Doubt(doubt) => format!("doubt {:?}", doubt.kind),
        Answer::NotExecuted(_) => "not executed".to_owned(),
        Answer::Misconfigured(fault) => format!("misconfigured {}", fault.code.as_deref().unwrap_or_default()),
    }
}

fn balance() -> ProviderBalance {
    ProviderBalance {
        captured: Some(money(15_118, "USD")),
        voided: Some(money(0, "USD")),
        remaining: Some(money(84_882, "USD")),
        expires_at: Some("2026-11-26T08:00:15.200431691Z".parse().expect("an instant")),
    }
}

#[test]
fn a_capture_of_ours_is_proven_by_its_event() {
    let proof = CaptureProof {
        amount: Some(money(15_118, "USD")),
        provider_reference: Some("5d8f0f57-4d0f-4d4e-bb6b-3d3a2f6b0c02".to_owned()),
        balance: balance(),
    };
    assert_eq!(read_capture(200, TRANSACTION), Answer::Captured(proof.clone()));
    assert_eq!(read_capture(201, TRANSACTION), Answer::Captured(proof.clone()));
    // What cannot be read beside the proof does not take it away.
    let odd = transaction(&[("remaining_amount", json!("plenty"))]);
    let unbalanced = CaptureProof { balance: ProviderBalance::default(), ..proof };
    assert_eq!(read_capture(200, &odd), Answer::Captured(unbalanced));
}

#[test]
fn a_transaction_is_read_exactly() {
    let view = AuthorizationView {
        status: AuthorizationStatus::Open,
        is_card: true,
        currency: money(0, "USD").currency(),
        authorized: Some(money(100_000, "USD")),
        balance: balance(),
        captures: vec![SeenCapture {
            capture: Some(CaptureId::from_uuid(OURS)),
            amount: money(15_118, "USD"),
            provider_reference: Some("5d8f0f57-4d0f-4d4e-bb6b-3d3a2f6b0c02".to_owned()),
        }],
        has_pending_capture: false,
        authorized_at: Some("2026-11-19T08:00:15.200317Z".parse().expect("an instant")),
    };
    assert_eq!(read_lookup(200, TRANSACTION), Reading::Seen(Box::new(view)));
}

fn event(id: &str, kind: &str, amount: &str, currency: &str, key: &str) -> String {
    format!(
        r#"{{"id": "{id}", "type": "{kind}", "amount": {amount}, "currency": "{currency}", "merchant_reference_id": "{key}"}}"#
    )
}

fn with_events(events: &[String]) -> String {
    format!(r#"{{"id": "{ID}", "status": "PARTIALLY_CAPTURED", "currency": "USD", "events": [{}]}}"#, events.join(","))
}

#[test]
fn every_shape_of_capture_reply_is_judged() {
    let ours = OURS.to_string();
    let capture = |amount: &str| event("e1", "CAPTURE", amount, "USD", &ours);
    for (status, body, expected) in [
        (200, with_events(&[capture("1.0")]), "captured 1.00 USD"),
        (200, with_events(&[capture("0.1")]), "captured 0.10 USD"),
        (200, with_events(&[capture("\"151.180\"")]), "captured 151.18 USD"),
        (200, with_events(&[event("e1", "CAPTURE", "151.18", "CAD", &ours)]), "captured 151.18 CAD"),
        (200, with_events(&[capture("1.0"), capture("1.0")]), "captured 1.00 USD"),
        (200, with_events(&[capture("1.0"), event("e2", "CAPTURE", "1.0", "USD", &ours)]), "captured 2.00 USD"),
        (200, with_events(&[capture("1.0"), event("e2", "CAPTURE", "1.0", "CAD", &ours)]), "doubt Unreadable"),
        (200, with_events(&[capture("1.0"), event("e2", "CAPTURE", "1e2", "CAD", "PO-77")]), "captured 1.00 USD"),
        (200, with_events(&[capture("1E+2")]), "captured 100.00 USD"),
        (200, with_events(&[capture("1e-3")]), "doubt Unreadable"),
        (200, with_events(&[capture("0.001")]), "doubt Unreadable"),
        (200, with_events(&[capture("null")]), "doubt Unreadable"),
        (200, with_events(&[event("e1", "CAPTURE", "1.0", "???", &ours)]), "doubt Unreadable"),
        (200, with_events(&[event("e1", "REFUND", "1.0", "USD", &ours)]), "doubt Unreadable"),
        (200, with_events(&[event("e1", "CAPTURE", "1.0", "USD", "PO-77")]), "doubt Unreadable"),
        (200, with_events(&[]), "doubt Unreadable"),
        (200, transaction(&[("events", Value::Null)]), "doubt Unreadable"),
        (200, transaction(&[("id", json!("3f0f8c4e-6f0b-4b52-9c0e-0a8a9a7f1d12"))]), "doubt Unreadable"),
        (200, transaction(&[("id", json!("3F0F8C4E-6F0B-4B52-9C0E-0A8A9A7F1D11"))]), "captured 151.18 USD"),
        (200, "{}".to_owned(), "doubt Unreadable"),
        (200, "<html>".to_owned(), "doubt Unreadable"),
        (204, String::new(), "doubt Unreadable"),
        (400, TRANSACTION.to_owned(), "doubt HttpStatus"),
        (400, "<html>".to_owned(), "doubt HttpStatus"),
        (422, "<html>".to_owned(), "doubt HttpStatus"),
        (409, "<html>".to_owned(), "doubt HttpStatus"),
        (408, String::new(), "doubt HttpStatus"),
        (500, String::new(), "doubt HttpStatus"),
        (503, TRANSACTION.to_owned(), "doubt HttpStatus"),
        (404, "<html>".to_owned(), "misconfigured 404"),
        (404, r#"{"codeName": "NEW_CODE"}"#.to_owned(), "misconfigured 404"),
        (405, String::new(), "misconfigured 405"),
        (401, TRANSACTION.to_owned(), "misconfigured 401"),
        (403, r#"{"codeName": "AUTH_EXPIRED_ERROR"}"#.to_owned(), "misconfigured 403"),
        (307, String::new(), "misconfigured 307"),
        (429, r#"{"codeName": "AUTH_EXPIRED_ERROR"}"#.to_owned(), "not executed"),
    ] {
        assert_eq!(described(&read_capture(status, &body)), expected, "{status} {body}");
    }
}

#[test]
fn every_code_is_judged_under_every_documented_status() {
    for (name, expected) in [
        ("INSUFFICIENT_FUNDS", "refused InsufficientFunds"),
        ("OVER_CAPTURE_ERROR", "refused after a read ExceedsAuthorization"),
        ("OVER_REFUND_ERROR", "doubt Coded"),
        ("OVER_VOID_ERROR", "doubt Coded"),
        ("NO_AMOUNT_LEFT", "refused after a read ExceedsAuthorization"),
        ("LINE_EXPIRED_ERROR", "refused AuthorizationExpired"),
        ("AUTH_EXPIRED_ERROR", "refused AuthorizationExpired"),
        ("CURRENCY_MISMATCH_ERROR", "refused CurrencyMismatch"),
        ("TRANSACTION_NOT_FOUND", "misconfigured TRANSACTION_NOT_FOUND"),
        ("INCORRECT_ORDER_ID", "misconfigured INCORRECT_ORDER_ID"),
        ("INVALID_INPUT", "refused ProviderRejected"),
        ("NOT_READABLE_INPUT", "refused ProviderRejected"),
        ("IDEMPOTENCY_KEY_ALREADY_USED", "doubt Coded"),
        ("MISSING_IDEMPOTENCY_KEY", "misconfigured MISSING_IDEMPOTENCY_KEY"),
        ("UNEXPECTED_ERROR", "doubt Coded"),
    ] {
        assert_ne!(Code::parse(name), Code::Other, "{name}");
        let body = json!({ "codeName": name, "message": "no card 4444555511116666" }).to_string();
        for status in [400, 404, 422] {
            assert_eq!(described(&read_capture(status, &body)), expected, "{status} {name}");
        }
        for status in [408, 409, 500, 503] {
            assert_eq!(described(&read_capture(status, &body)), "doubt Coded", "{status} {name}");
        }
        let shown = format!("{:?}{:?}", read_capture(400, &body), read_lookup(400, &body));
        assert!(shown.contains("no card …") && !shown.contains("4444"), "{shown}");
        // A refused read says nothing about the authorization.
        let reading = read_lookup(400, &body);
        match Code::parse(name).class() {
            Some(CodeClass::Misconfigured) => assert!(matches!(reading, Reading::Misconfigured(_)), "{name}"),
            Some(CodeClass::Refused(_) | CodeClass::RefusedReadFirst(_) | CodeClass::Ambiguous) | None => {
                assert!(matches!(reading, Reading::Unclear(doubt) if doubt.kind == DoubtKind::Coded), "{name}");
            }
        }
    }
    assert_eq!((Code::parse("NEW_CODE"), Code::Other.class()), (Code::Other, None));
    assert_eq!(described(&read_capture(400, r#"{"codeName": "NEW_CODE", "message": null}"#)), "doubt Coded");
}

#[test]
fn a_doubt_keeps_the_time_to_look_again() {
    for (status, body) in [(503, ""), (503, r#"{"codeName": "UNEXPECTED_ERROR"}"#), (429, "")] {
        let wait = match read_capture(status, body) {
            Answer::Doubt(doubt) => doubt.retry_after,
            Answer::NotExecuted(not_executed) => not_executed.retry_after,
            answer @ (Answer::Captured(_) | Answer::Pending | Answer::Refused(_) | Answer::Misconfigured(_)) => {
                panic!("{answer:?}")
            }
        };
        assert_eq!(wait, Some(Duration::from_secs(3)), "{status} {body}");
    }
}

#[test]
fn every_status_of_a_transaction_is_known() {
    use AuthorizationStatus::{Declined, Expired, FullyCaptured, Open, Voided};

    for (status, remaining, expected) in [
        (json!("AUTHORIZED"), json!(1000.00), Some(Open)),
        (json!("AUTHORIZED_FAILED"), Value::Null, Some(Declined)),
        (json!("AUTHORIZATION_EXPIRED"), json!(0), Some(Expired)),
        (json!("CAPTURED"), json!(0.00), Some(FullyCaptured)),
        (json!("CAPTURED"), Value::Null, Some(FullyCaptured)),
        (json!("PARTIALLY_CAPTURED"), json!(1), Some(Open)),
        (json!("REFUNDED"), json!(0), Some(FullyCaptured)),
        (json!("PARTIALLY_REFUNDED"), json!(0), Some(FullyCaptured)),
        (json!("PARTIALLY_REFUNDED"), json!(848.82), Some(Open)),
        (json!("REFUNDED"), Value::Null, Some(Open)),
        (json!("VOIDED"), json!(0), Some(Voided)),
        (json!("NEW"), json!(0), None),
        (Value::Null, json!(0), None),
    ] {
        let body = transaction(&[("status", status.clone()), ("remaining_amount", remaining)]);
        match read_lookup(200, &body) {
            Reading::Seen(view) => assert_eq!(Some(view.status), expected, "{status}"),
            Reading::Unclear(doubt) => assert_eq!((doubt.kind, expected), (DoubtKind::Unreadable, None), "{status}"),
            Reading::Misconfigured(fault) => panic!("{fault:?}"),
        }
    }
}

#[test]
fn a_lookup_that_does_not_show_everything_shows_nothing() {
    let foreign = |amount: &str| with_events(&[event("e9", "CAPTURE", amount, "USD", "PO-77")]);
    for body in [
        transaction(&[("events", Value::Null)]),
        transaction(&[("currency", Value::Null)]),
        transaction(&[("captured_amount", json!("lots"))]),
        transaction(&[("id", json!("other"))]),
        foreign("1e-3"),
    ] {
        assert!(matches!(read_lookup(200, &body), Reading::Unclear(_)), "{body}");
    }
    let reading = read_lookup(200, &foreign("1.0"));
    let Reading::Seen(view) = &reading else { panic!("{reading:?}") };
    assert_eq!((view.captures[0].capture, view.captures[0].amount), (None, money(100, "USD")));
    assert_eq!(view.balance, ProviderBalance::default());
}

fn fetched(server: &Server) -> Protocol {
    Protocol::FlexPay(settings::FlexPay {
        base_url: server.url("/api/flexpay"),
        token: FlexPayToken::Fetched {
            token_url: server.url("/oauth/token"),
            client_id: "id".to_owned(),
            client_secret: secret("s3cret"),
        },
    })
}

fn fixed(base_url: String, token: &str) -> Protocol {
    Protocol::FlexPay(settings::FlexPay { base_url, token: FlexPayToken::Fixed(secret(token)) })
}

fn is_token_request(request: &Arrived) -> bool {
    request.uri.path() == "/oauth/token"
}

/// Answers with tokens `t1`, `t2`, … that live for `lifetime`, and with the transaction to those `valid`.
async fn flex_pay(lifetime: &'static str, valid: fn(&str) -> bool) -> Server {
    let issued = Arc::new(AtomicUsize::new(0));
    Server::start(move |request| {
        if is_token_request(request) {
            let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
            return (200, format!(r#"{{"access_token": "t{number}", "expires_in": {lifetime}}}"#));
        }
        match request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) if valid(token) => (200, TRANSACTION.to_owned()),
            _ => (401, String::new()),
        }
    })
    .await
}

/// What the server saw: a token request, or the bearer of any other.
fn trail(server: &Server) -> Vec<String> {
    let step = |request: &Arrived| match request.header("authorization") {
        _ if is_token_request(request) => "token".to_owned(),
        bearer => bearer.unwrap_or_default().to_owned(),
    };
    server.arrived().iter().map(step).collect()
}

#[tokio::test]
async fn requests_are_those_of_the_documentation() {
    let server = flex_pay("1800", |_| true).await;
    let provider = connect(&account(fetched(&server))).expect("usable settings");
    let request = capture_request(&ID.to_string(), 15_118, "USD");
    assert_eq!(described(&provider.capture(&request).await), "captured 151.18 USD");
    assert!(matches!(provider.lookup(&request.reference).await, Reading::Seen(_)));

    let [token, capture, lookup] = &server.arrived()[..] else { panic!("{:?}", trail(&server)) };
    assert_eq!((token.method.as_str(), token.uri.query()), ("POST", Some("grant_type=client_credentials")));
    assert_eq!(token.header("authorization"), Some("Basic aWQ6czNjcmV0"));
    assert_eq!((token.header("content-length"), token.body.as_str()), (Some("0"), ""));
    assert_eq!(
        (capture.method.as_str(), capture.uri.path()),
        ("POST", format!("/api/flexpay/v1/transactions/{ID}/capture").as_str())
    );
    assert_eq!(capture.header("authorization"), Some("Bearer t1"));
    assert_eq!(capture.header("idempotency-key"), Some(OURS.to_string().as_str()));
    assert_eq!(capture.header("content-type"), Some("application/json"));
    assert_eq!(capture.body, format!(r#"{{"amount":151.18,"currency":"USD","merchant_reference_id":"{OURS}"}}"#));
    assert_eq!(
        (lookup.method.as_str(), lookup.uri.path()),
        ("GET", format!("/api/flexpay/v1/transactions/{ID}").as_str())
    );
    assert_eq!((lookup.header("authorization"), lookup.header("idempotency-key")), (Some("Bearer t1"), None));
}

#[test]
fn amounts_are_written_exactly() {
    let capture = CaptureId::from_uuid(OURS);
    for (minor, currency, written) in [
        (100, "USD", "1.00"),
        (10, "USD", "0.10"),
        (15_118, "CAD", "151.18"),
        (99_999_999_999_999, "USD", "999999999999.99"),
    ] {
        let body = body(capture, money(minor, currency));
        let text = std::str::from_utf8(&body).expect("UTF-8");
        assert!(text.contains(&format!(r#""amount":{written},"currency":"{currency}""#)), "{text}");
    }
}

#[tokio::test]
async fn one_fetch_serves_everybody() {
    let server = flex_pay("\"1800\"", |_| true).await;
    let provider = connect(&account(fetched(&server))).expect("usable settings");
    let request = capture_request(&ID.to_string(), 15_118, "USD");
    let answers = join_all((0..20).map(|_| provider.capture(&request))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Captured(_))));
    assert_eq!(trail(&server).iter().filter(|step| *step == "token").count(), 1);
}

#[tokio::test]
async fn a_rejected_token_is_renewed_once() {
    let server = flex_pay("1800", |token| token == "t2").await;
    let provider = connect(&account(fetched(&server))).expect("usable settings");
    let request = capture_request(&ID.to_string(), 15_118, "USD");
    assert_eq!(described(&provider.capture(&request).await), "captured 151.18 USD");
    assert_eq!(trail(&server), ["token", "Bearer t1", "token", "Bearer t2"]);
    let keys: Vec<_> =
        server.arrived().iter().filter_map(|sent| sent.header("idempotency-key").map(str::to_owned)).collect();
    assert_eq!(keys, [OURS.to_string(), OURS.to_string()], "the same key both times");

    let never = flex_pay("1800", |_| false).await;
    let provider = connect(&account(fetched(&never))).expect("usable settings");
    assert_eq!(described(&provider.capture(&request).await), "misconfigured 401");
    assert!(matches!(provider.lookup(&request.reference).await, Reading::Misconfigured(_)));
    assert_eq!(trail(&never), ["token", "Bearer t1", "token", "Bearer t2", "Bearer t2", "token", "Bearer t3"]);
}

#[tokio::test]
async fn an_expired_token_is_not_used() {
    let server = flex_pay("0", |_| true).await;
    let provider = connect(&account(fetched(&server))).expect("usable settings");
    let request = capture_request(&ID.to_string(), 15_118, "USD");
    for _ in 0..2 {
        assert_eq!(described(&provider.capture(&request).await), "captured 151.18 USD");
    }
    assert_eq!(trail(&server), ["token", "Bearer t1", "token", "Bearer t2"]);
}

#[tokio::test]
async fn a_fixed_token_is_sent_as_it_is() {
    let server = flex_pay("1800", |token| token == "fixed").await;
    let request = capture_request(&ID.to_string(), 15_118, "USD");
    let provider = connect(&account(fixed(server.url(""), "fixed"))).expect("usable settings");
    assert_eq!(described(&provider.capture(&request).await), "captured 151.18 USD");
    let provider = connect(&account(fixed(server.url(""), "wrong"))).expect("usable settings");
    assert_eq!(described(&provider.capture(&request).await), "misconfigured 401");
    assert_eq!(trail(&server), ["Bearer fixed", "Bearer wrong"]);
    for unusable in ["", "two words", "naïve"] {
        assert!(connect(&account(fixed(server.url(""), unusable))).is_err(), "{unusable:?}");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    for (status, body, expected) in [
        (400, "", "misconfigured 400"),
        (401, "", "misconfigured 401"),
        (403, "", "misconfigured 403"),
        (404, "", "misconfigured 404"),
        (302, "", "misconfigured 302"),
        (429, "", "not executed"),
        (500, "", "not executed"),
        (503, "", "not executed"),
        (200, "<html>", "misconfigured "),
        (200, r#"{"access_token": ""}"#, "misconfigured "),
        (200, r#"{"access_token": "line\nbreak"}"#, "misconfigured "),
    ] {
        let server = Server::start(move |_| (status, body.to_owned())).await;
        let provider = connect(&account(fetched(&server))).expect("usable settings");
        let request = capture_request(&ID.to_string(), 15_118, "USD");
        assert_eq!(described(&provider.capture(&request).await), expected, "{status} {body}");
        assert!(server.arrived().iter().all(is_token_request), "{status} {body}");
    }
}

#[tokio::test]
async fn a_reference_that_is_no_transaction_is_never_sent() {
    let server = flex_pay("1800", |_| true).await;
    let provider = connect(&account(fetched(&server))).expect("usable settings");
    for reference in ["..", "PO-77", "a/b"] {
        let request = capture_request(reference, 15_118, "USD");
        assert_eq!(described(&provider.capture(&request).await), "refused ProviderRejected", "{reference}");
        assert!(matches!(provider.lookup(&request.reference).await, Reading::Unclear(_)), "{reference}");
    }
    assert_eq!(trail(&server), [""; 0]);
}
