//! What `docs/providers.md` asks of every adapter, of this one: by tables, at a server that records, and at the sandbox.

use std::sync::Arc;

use proptest::prelude::*;
use reqwest::StatusCode;

use crate::capture::evidence::{AuthorizationStatus, AuthorizationView, DoubtKind};
use crate::ids::CaptureId;
use crate::provider::connect;
use crate::provider::fuzz::{check_answer, check_reading};
use crate::provider::http::Reply;
use crate::provider::test_server::{Server, account, capture_request, money, secret};
use crate::sandbox::{
    Channel, Code, Fault, Faults, NewAuthorization, Operation, OrderStatus, PAPER_SHOP, Rule, Running, Sandbox,
    TEST_SECRET, When,
};
use crate::settings::Protocol;
use crate::{sandbox, settings as of_settings};

use super::*;

const KEY: &str = "0f6e1a2b-3c4d-5e6f-8a9b-0c1d2e3f4a5b";
const TAKEN: &str = "hold=h-1&memo=0f6e1a2b-3c4d-5e6f-8a9b-0c1d2e3f4a5b&amount=15118&currency=EUR&state=taken";
const HOLD: &str = "hold=h-1&currency=EUR&held=20000&ends=2026-11-26T08:00:00Z\
                    &taking=0f6e1a2b-3c4d-5e6f-8a9b-0c1d2e3f4a5b:15118&taking=by+hand:82&returned=0&left=4800&state=open";

fn settings(base_url: String, key: &str) -> Protocol {
    Protocol::Paper(of_settings::Paper { base_url, shop: PAPER_SHOP.to_owned(), secret: secret(key) })
}

fn adapter(base_url: String) -> Arc<dyn Provider> {
    connect(&account(settings(base_url, TEST_SECRET))).expect("usable settings")
}

fn hold() -> Reference {
    Reference::parse("h-1").expect("an id")
}

fn ours() -> CaptureId {
    CaptureId::from_uuid(KEY.parse().expect("a UUID"))
}

fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    let status = StatusCode::from_u16(status).expect("a status");
    Reply { status, retry_after: None, body: Ok(body.into()) }
}

fn read_capture(status: u16, body: &str) -> String {
    described(&hold::read_capture(&reply(status, body.to_owned()), &hold(), ours()))
}

fn read_lookup(status: u16, body: &str) -> Reading {
    hold::read_lookup(&reply(status, body.to_owned()), &hold())
}

fn described(answer: &Answer) -> String {
    match answer {
        Answer::Captured(proof) => format!("captured {}", proof.amount.expect("Paper names it")),
        Answer::Pending => "pending".to_owned(),
        Answer::Refused(refusal) if refusal.read_first => format!("read first {:?}", refusal.reason),
        Answer::Refused(refusal) => format!("refused {:?}", refusal.reason),
        Answer::Doubt(doubt) => format!("doubt {:?}", doubt.kind),
        Answer::NotExecuted(_) => "not executed".to_owned(),
        Answer::Misconfigured(fault) => format!("misconfigured {}", fault.code.as_deref().unwrap_or_default()),
    }
}

/// The codes of the documentation and their meaning, typed once more.
const MEANINGS: [(&str, &str); 9] = [
    ("no_such_hold", "misconfigured no_such_hold"),
    ("no_funds", "refused InsufficientFunds"),
    ("hold_ended", "refused AuthorizationExpired"),
    ("hold_returned", "refused AuthorizationVoided"),
    ("over_hold", "read first ExceedsAuthorization"),
    ("wrong_currency", "refused CurrencyMismatch"),
    ("bad_form", "refused ProviderRejected"),
    ("memo_used", "doubt Coded"),
    ("busy", "doubt Coded"),
];

#[test]
fn every_code_is_judged_under_every_documented_status() {
    for (code, expected) in MEANINGS {
        let body = format!("error={code}&text=no+card+4444555511116666");
        for status in [400, 402, 404, 422] {
            assert_eq!(read_capture(status, &body), expected, "{status} {code}");
        }
        for status in [408, 409, 500, 503] {
            assert_eq!(read_capture(status, &body), "doubt Coded", "{status} {code}");
        }
        for (status, expected) in [(401, "misconfigured 401"), (403, "misconfigured 403"), (429, "not executed")] {
            assert_eq!(read_capture(status, &body), expected, "{status} {code}");
        }
        let reading = read_lookup(422, &body);
        let is_fault = code == "no_such_hold";
        assert_eq!(matches!(reading, Reading::Misconfigured(_)), is_fault, "{code}: {reading:?}");
        assert_eq!(matches!(reading, Reading::Unclear(_)), !is_fault, "a refused read shows nothing");
        assert!(!format!("{reading:?}").contains("4444"), "{reading:?}");
    }
    assert_eq!(read_capture(422, "error=new_code&text="), "doubt Coded", "on no list");
    assert_eq!(read_capture(422, "<html>"), "doubt HttpStatus");
    assert_eq!(read_capture(404, "<html>"), "misconfigured 404");
}

#[test]
fn every_shape_of_capture_reply_is_judged() {
    let with = |from: &str, to: &str| TAKEN.replace(from, to);
    for (body, expected) in [
        (TAKEN.to_owned(), "captured 151.18 EUR"),
        (with("taken", "queued"), "pending"),
        (with("taken", "lost"), "doubt Unreadable"),
        // The core compares both with what was asked for.
        (with("15118", "15117"), "captured 151.17 EUR"),
        (with("EUR", "JPY"), "captured 15118 JPY"),
        (with("h-1", "h-2"), "doubt Unreadable"),
        (with("0f6e", "1f6e"), "doubt Unreadable"),
        (with("EUR", "euros"), "doubt Unreadable"),
        (with("15118", "151.18"), "doubt Unreadable"),
        (with("15118", "-15118"), "doubt Unreadable"),
        (with("amount=15118", "amount=1&amount=15118"), "doubt Unreadable"),
        (with("&state=taken", ""), "doubt Unreadable"),
        (with("hold=h-1&", "state=taken&hold=h-1&"), "doubt Unreadable"),
        (format!("{TAKEN}&more=1"), "doubt Unreadable"),
        (with("&amount", "&unheard=of&amount"), "captured 151.18 EUR"),
        (String::new(), "doubt Unreadable"),
        ("<html>".to_owned(), "doubt Unreadable"),
        ("error=no_funds&text=".to_owned(), "doubt Unreadable"),
    ] {
        assert_eq!(read_capture(200, &body), expected, "{body}");
    }
}

/// A form that was cut off is a form, and a number that was cut off is a number.
#[test]
fn an_answer_that_was_cut_off_shows_nothing() {
    for end in 0..TAKEN.len() {
        assert_eq!(read_capture(200, &TAKEN[..end]), "doubt Unreadable", "{}", &TAKEN[..end]);
    }
    for end in 0..HOLD.len() {
        assert!(matches!(read_lookup(200, &HOLD[..end]), Reading::Unclear(_)), "{}", &HOLD[..end]);
    }
}

#[test]
fn a_lookup_shows_everything_or_nothing() {
    let Reading::Seen(view) = read_lookup(200, HOLD) else { panic!("a hold") };
    let seen: Vec<_> = view.captures.iter().map(|it| (it.capture, it.amount)).collect();
    assert_eq!(seen, [(Some(ours()), money(15_118, "EUR")), (None, money(82, "EUR"))]);
    assert_eq!((view.status, view.authorized), (AuthorizationStatus::Open, Some(money(20_000, "EUR"))));
    assert_eq!(view.balance.captured, Some(money(15_200, "EUR")));
    assert_eq!(view.balance.remaining, Some(money(4_800, "EUR")));
    assert_eq!(view.balance.expires_at, Some("2026-11-26T08:00:00Z".parse().expect("an instant")));
    let without_a_taking = HOLD.replace("&taking=by+hand:82", "");
    for body in [
        without_a_taking.as_str(),
        &HOLD.replace("h-1", "h-2"),
        &HOLD.replace("by+hand:82", "by+hand"),
        &HOLD.replace("by+hand:82", "by+hand:0.82"),
        &HOLD.replace("state=open", "state=new"),
        &HOLD.replace("left=4800", "left=4801"),
    ] {
        assert!(
            matches!(read_lookup(200, body), Reading::Unclear(doubt) if doubt.kind == DoubtKind::Unreadable),
            "{body}"
        );
    }
}

#[tokio::test]
async fn requests_are_those_of_the_documentation() {
    let server = Server::start(|asked| (200, if asked.method == Method::GET { HOLD } else { TAKEN }.to_owned())).await;
    let adapter = adapter(server.url("/v1/"));
    let request = capture_request("h-1", 15_118, "EUR");
    assert_eq!(described(&adapter.capture(&request).await), "captured 151.18 EUR");
    assert!(matches!(adapter.lookup(&request.reference).await, Reading::Seen(_)));
    let arrived = server.arrived();
    let lines: Vec<_> = arrived.iter().map(|it| (it.method.as_str(), it.uri.path(), it.body.as_str())).collect();
    let form = format!("amount=15118&currency=EUR&memo={KEY}");
    assert_eq!(lines, [("POST", "/v1/holds/h-1/takings", form.as_str()), ("GET", "/v1/holds/h-1", "")]);
    // paper-shop:test
    assert!(arrived.iter().all(|it| it.header("authorization") == Some("Basic cGFwZXItc2hvcDp0ZXN0")));
    assert_eq!(arrived[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    // What could bend a path is one segment of it.
    adapter.lookup(&Reference::parse("../x/y").expect("an id")).await;
    assert_eq!(server.arrived()[2].uri.path(), "/v1/holds/..%2Fx%2Fy");
}

#[tokio::test]
async fn nothing_is_sent_too_late() {
    let server = Server::start(|_| (200, TAKEN.to_owned())).await;
    let late = CaptureRequest { send_by: crate::clock::BootInstant::now(), ..capture_request("h-1", 15_118, "EUR") };
    assert_eq!(described(&adapter(server.url("")).capture(&late).await), "not executed");
    assert!(server.arrived().is_empty());
}

#[test]
fn unusable_settings_are_named() {
    let problem = |protocol| connect(&account(protocol)).err().map(|error| error.to_string()).unwrap_or_default();
    let plain = settings("http://paper.example".to_owned(), TEST_SECRET);
    assert!(problem(plain).starts_with("account `test`: base_url is not https"));
    assert!(problem(settings("https://paper.example".to_owned(), "")).starts_with("account `test`: secret is empty"));
    let shop = of_settings::Paper { base_url: "https://paper.example".into(), shop: "a:b".into(), secret: secret("s") };
    assert!(problem(Protocol::Paper(shop)).starts_with("account `test`: shop is empty or has a colon"));
}

proptest! {
    /// Any bytes as an answer: nothing is evidence that does not name our hold, our memo and the end of the form.
    #[test]
    fn whatever_comes_is_read_carefully(
        status in prop::sample::select(vec![200_u16, 201, 302, 400, 401, 404, 409, 422, 429, 500, 503]),
        start in 0..HOLD.len(), length in 0..HOLD.len(), noise in prop::collection::vec(any::<u8>(), 0..40), taken: bool,
    ) {
        let text = if taken { TAKEN } else { HOLD }.as_bytes();
        let mut body: Vec<u8> = text.iter().copied().skip(start).take(length).collect();
        body.extend(noise);
        let reply = reply(status, body.clone());
        let answer = hold::read_capture(&reply, &hold(), ours());
        check_answer(&answer, &reply);
        if let Answer::Captured(_) | Answer::Pending = answer {
            let text = String::from_utf8_lossy(&body);
            prop_assert!(text.contains("hold=h-1") && text.contains(KEY) && text.contains("state="), "{text}");
        }
        check_reading(&hold::read_lookup(&reply, &hold()), &reply);
    }
}

// From here on at the sandbox, which was written from the same documentation.

async fn sandbox() -> Running {
    Sandbox::start(([127, 0, 0, 1], 0).into()).await.expect("loopback")
}

fn at(sandbox: &Running) -> Arc<dyn Provider> {
    adapter(format!("{}/paper", sandbox.base_url()))
}

fn new(minor: i64, currency: &str) -> NewAuthorization {
    let protocol = Some(sandbox::Protocol::Paper);
    NewAuthorization { protocol, amount_minor: minor, currency: currency.to_owned(), ..NewAuthorization::default() }
}

fn authorize(sandbox: &Running, new: NewAuthorization) -> String {
    sandbox.sandbox().authorize(new).expect("an authorization").reference
}

fn arm(sandbox: &Running, fault: Fault) {
    let rule = Rule { operation: Operation::Capture, times: Some(1), ..Rule::new(fault) };
    sandbox.sandbox().set_faults(Faults { seed: 0, rules: vec![rule] }).expect("a fault");
}

async fn seen(adapter: &dyn Provider, reference: &str) -> AuthorizationView {
    let reading = adapter.lookup(&Reference::parse(reference).expect("an id")).await;
    let Reading::Seen(view) = reading else { panic!("{reading:?}") };
    *view
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_a_doubt_that_a_lookup_ends() {
    let sandbox = sandbox().await;
    let adapter = at(&sandbox);
    for when in [When::Before, When::After] {
        for (fault, kind) in [
            (Fault::Reset { when }, DoubtKind::ConnectionLost),
            (Fault::Hang { ms: 20, when }, DoubtKind::ConnectionLost),
            (Fault::Garbage { when }, DoubtKind::Unreadable),
            (Fault::Status { status: 500, retry_after_s: None, when }, DoubtKind::HttpStatus),
            (Fault::Status { status: 503, retry_after_s: None, when }, DoubtKind::HttpStatus),
        ] {
            let reference = authorize(&sandbox, new(15_118, "EUR"));
            let request = capture_request(&reference, 29, "EUR");
            arm(&sandbox, fault.clone());
            let answer = adapter.capture(&request).await;
            assert!(matches!(&answer, Answer::Doubt(doubt) if doubt.kind == kind), "{fault:?}: {answer:?}");
            let captures = seen(&*adapter, &reference).await.captures;
            assert_eq!(captures.len(), usize::from(when == When::After), "{fault:?}");
            assert!(captures.iter().all(|it| it.capture == Some(request.capture) && it.amount == request.amount));
            assert_eq!(described(&adapter.capture(&request).await), "captured 0.29 EUR", "sent again");
            assert_eq!(sandbox.sandbox().books().find(&reference).expect("booked").captures.len(), 1, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn every_code_is_heard_as_it_was_meant() {
    let sandbox = sandbox().await;
    let adapter = at(&sandbox);
    let reference = authorize(&sandbox, new(15_118, "EUR"));
    let request = capture_request(&reference, 15_118, "EUR");
    for (name, expected) in MEANINGS {
        let code = Code::Name(name.to_owned());
        arm(&sandbox, Fault::Code { code, when: When::Before, channel: Channel::ErrorCode });
        assert_eq!(described(&adapter.capture(&request).await), expected, "{name}");
    }
    assert_eq!(described(&adapter.capture(&request).await), "captured 151.18 EUR");
    let other = CaptureRequest { amount: money(1, "EUR"), ..request };
    assert_eq!(described(&adapter.capture(&other).await), "doubt Coded", "its memo was used");
    assert_eq!(described(&adapter.capture(&capture_request("nowhere", 1, "EUR")).await), "misconfigured no_such_hold");
}

#[tokio::test]
async fn amounts_arrive_exactly_both_ways() {
    let sandbox = sandbox().await;
    let adapter = at(&sandbox);
    for currency in ["JPY", "EUR", "KWD", "CLF"] {
        for minor in [1, 10, 29, 100, 101, 1_005, 15_118, 100_000, 199_999_999_999] {
            let reference = authorize(&sandbox, new(200_000_000_000, currency));
            let request = capture_request(&reference, minor, currency);
            assert_eq!(described(&adapter.capture(&request).await), format!("captured {}", money(minor, currency)));
            let view = seen(&*adapter, &reference).await;
            assert_eq!(view.captures[0].amount, money(minor, currency));
            assert_eq!(view.balance.remaining, Some(money(200_000_000_000 - minor, currency)));
            assert_eq!(sandbox.sandbox().books().find(&reference).expect("booked").captured_minor, minor);
        }
    }
}

#[tokio::test]
async fn several_captures_share_a_hold_and_none_exceeds_it() {
    let sandbox = sandbox().await;
    let adapter = at(&sandbox);
    let reference = authorize(&sandbox, new(10_000, "EUR"));
    for (capture, minor, expected) in [
        (1, 6_000, "captured 60.00 EUR"),
        (2, 4_001, "read first ExceedsAuthorization"),
        (3, 4_000, "captured 40.00 EUR"),
    ] {
        let capture = CaptureId::from_uuid(uuid::Uuid::from_u128(capture));
        let request = CaptureRequest { capture, ..capture_request(&reference, minor, "EUR") };
        assert_eq!(described(&adapter.capture(&request).await), expected);
    }
    let view = seen(&*adapter, &reference).await;
    assert_eq!((view.status, view.captures.len()), (AuthorizationStatus::FullyCaptured, 2));
    let elsewhere = capture_request(&authorize(&sandbox, new(10_000, "EUR")), 1, "USD");
    assert_eq!(described(&adapter.capture(&elsewhere).await), "refused CurrencyMismatch");
}

#[tokio::test]
async fn every_end_of_an_authorization_is_seen() {
    use AuthorizationStatus::{Declined, Expired, Open, Voided};
    let sandbox = sandbox().await;
    let adapter = at(&sandbox);
    for (status, lifetime_ms, expected, answer) in [
        (OrderStatus::Approved, None, Open, "captured 0.01 EUR"),
        (OrderStatus::Approved, Some(0), Expired, "refused AuthorizationExpired"),
        (OrderStatus::Reversed, None, Voided, "refused AuthorizationVoided"),
        (OrderStatus::Declined, None, Declined, "refused InsufficientFunds"),
    ] {
        let reference = authorize(&sandbox, NewAuthorization { lifetime_ms, status, ..new(1_000, "EUR") });
        let view = seen(&*adapter, &reference).await;
        assert_eq!(view.status, expected);
        let booked = sandbox.sandbox().books().find(&reference).expect("booked").expires_at;
        let apart = (booked - view.balance.expires_at.expect("told")).abs().to_std().expect("positive");
        assert!(apart < Duration::from_micros(1), "to the digits that were sent: {apart:?}");
        assert_eq!(described(&adapter.capture(&capture_request(&reference, 1, "EUR")).await), answer);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_our_fault_and_no_outcome() {
    let sandbox = sandbox().await;
    let base = format!("{}/paper", sandbox.base_url());
    let rotated = connect(&account(settings(base.clone(), "mis-rotated"))).expect("usable settings");
    let reference = authorize(&sandbox, new(15_118, "EUR"));
    let request = capture_request(&reference, 15_118, "EUR");
    assert_eq!(described(&rotated.capture(&request).await), "misconfigured 401");
    assert!(matches!(rotated.lookup(&request.reference).await, Reading::Misconfigured(_)));
    assert!(matches!(rotated.try_out().await, Trial::Misconfigured(_)));
    assert_eq!(adapter(base).try_out().await, Trial::LetIn);
    assert_eq!(sandbox.sandbox().books().find(&reference).expect("booked").captured_minor, 0);
    let nowhere = adapter("http://127.0.0.1:1".to_owned());
    assert_eq!(described(&nowhere.capture(&request).await), "not executed");
    assert!(matches!(nowhere.try_out().await, Trial::Unreachable { .. }));
}
