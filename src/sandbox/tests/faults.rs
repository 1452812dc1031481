//! Every kind of fault, as a caller meets it.

use std::error::Error as _;
use std::io;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::cloudipsp_codes::CODES;
use super::super::flex_pay_codes::ErrorCode;
use super::super::{Channel, Code, Fault, Faults, NewAuthorization, OnExpiry, Operation, Protocol, Rule, When};
use super::Bench;

/// The operating system's word on a request that failed.
fn kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

fn captured(bench: &Bench, order: &str) -> i64 {
    bench.books().find(order).expect("booked").captured_minor
}

#[tokio::test]
async fn a_reset_is_a_real_one_before_or_after_the_work() {
    for (when, minor) in [(When::Before, 0), (When::After, 1000)] {
        let bench = Bench::start().await;
        let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
        bench.arm_once(Fault::Reset { when });
        let error = bench.capture(&order, 1000, "GEL").await.expect_err("reset");
        assert_eq!(kind(&error), Some(io::ErrorKind::ConnectionReset), "{error:?}");
        assert_eq!(captured(&bench, &order), minor);
        let again = bench.capture(&order, 1000, "GEL").await.expect("an answer");
        assert_eq!(again["capture_status"], "captured");
        let books = bench.books();
        let booked = books.find(&order).expect("booked");
        assert_eq!((booked.captures.len(), booked.capture_requests), (1, 2));
    }
}

#[tokio::test]
async fn an_outage_refuses_connections_and_ends() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
    bench.arm_once(Fault::Refuse { ms: 300 });
    let began = Instant::now();
    let first = bench.capture(&order, 1000, "GEL").await.expect_err("cut");
    assert!(!first.is_connect(), "the request that set it off was sent: {first:?}");
    let mut refused = 0;
    loop {
        match bench.capture(&order, 1000, "GEL").await {
            Ok(answer) => break assert_eq!(answer["capture_status"], "captured"),
            Err(error) => {
                assert!(error.is_connect(), "{error:?}");
                assert_eq!(kind(&error), Some(io::ErrorKind::ConnectionRefused));
                refused += 1;
            }
        }
        tokio::task::yield_now().await;
    }
    assert!(refused > 0 && began.elapsed() >= Duration::from_millis(300));
    assert_eq!(bench.books().find(&order).expect("booked").capture_requests, 2);
}

#[tokio::test]
async fn a_late_request_is_worked_on_though_its_caller_has_hung_up() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
    bench.arm_once(Fault::Latency { ms: 200, when: When::Before });
    let impatient = tokio::time::timeout(Duration::from_millis(50), bench.capture(&order, 1000, "GEL")).await;
    assert!(impatient.is_err());
    assert_eq!(captured(&bench, &order), 0);
    let deadline = Instant::now() + Duration::from_secs(10);
    while captured(&bench, &order) == 0 {
        assert!(Instant::now() < deadline, "never captured");
        tokio::task::yield_now().await;
    }
    bench.arm_once(Fault::Latency { ms: 100, when: When::After });
    let began = Instant::now();
    bench.status(&order).await.expect("an answer");
    assert!(began.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_hang_ends_without_an_answer() {
    for (when, minor) in [(When::Before, 0), (When::After, 1000)] {
        let bench = Bench::start().await;
        let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
        bench.arm_once(Fault::Hang { ms: 50, when });
        let began = Instant::now();
        assert!(bench.capture(&order, 1000, "GEL").await.is_err());
        assert!(began.elapsed() >= Duration::from_millis(50));
        assert_eq!(captured(&bench, &order), minor);
    }
}

#[tokio::test]
async fn http_errors_and_garbage_come_before_or_after_the_work() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    for (when, minor) in [(When::Before, 0), (When::After, 100)] {
        for (fault, status) in [
            (Fault::Status { status: 503, retry_after_s: Some(7), when }, 503),
            (Fault::Status { status: 429, retry_after_s: Some(7), when }, 429),
            (Fault::Garbage { when }, 200),
        ] {
            let id = bench.authorize(Protocol::FlexPay, 100, "USD");
            bench.arm_once(fault);
            let request = bench.http.post(bench.url(&format!("/v1/transactions/{id}/capture"))).bearer_auth(&token);
            let answer = request.header("Idempotency-Key", "k-".to_owned() + &id).body("{}").send().await.expect("one");
            assert_eq!(answer.status(), status);
            let wait = answer.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
            assert_eq!(wait.as_deref(), (status != 200).then_some("7"));
            let body = answer.text().await.expect("a body");
            assert!(serde_json::from_str::<Value>(&body).is_err(), "{body}");
            assert_eq!(captured(&bench, &id), minor, "{status} {when:?}");
        }
    }
}

#[tokio::test]
async fn a_time_to_come_back_may_be_a_date() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    for status in [429, 503] {
        let id = bench.authorize(Protocol::FlexPay, 100, "USD");
        bench.arm_once(Fault::RetryAt { status, seconds: 90, when: When::Before });
        let request = bench.http.get(bench.url(&format!("/v1/transactions/{id}"))).bearer_auth(&token);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status);
        let instant = |name| {
            let text = answer.headers()[name].to_str().expect("text");
            assert!(text.ends_with(" GMT"), "{text}");
            DateTime::parse_from_rfc2822(text).expect("a date")
        };
        let wait = (instant("retry-after") - instant("date")).num_seconds();
        assert!((89..=91).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn a_soft_decline_passes() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let id = bench.authorize(Protocol::FlexPay, 1000, "USD");
    let orders = [bench.authorize(Protocol::Flitt, 1000, "GEL"), bench.authorize(Protocol::Flitt, 1000, "GEL")];
    bench.arm(Rule { times_each: Some(2), ..Rule::new(Fault::SoftDecline) });
    for attempt in 0..3 {
        for order in &orders {
            let answer = bench.capture(order, 1000, "GEL").await.expect("an answer");
            let declined = (&answer["response_status"], &answer["response_code"]) == (&json!("success"), &json!(1037));
            assert_eq!(declined, attempt < 2, "{attempt}: {answer}");
            assert_eq!(captured(&bench, order), if declined { 0 } else { 1000 });
        }
        // A refused key may try again: the rules of keys decide, not the fault.
        let (status, answer) = bench.write(&token, &format!("{id}/capture"), "a-key", "{}").await.expect("an answer");
        let expected = if attempt < 2 { (400, json!("INSUFFICIENT_FUNDS")) } else { (200, Value::Null) };
        assert_eq!((status, answer["codeName"].clone()), expected);
    }
    assert_eq!(captured(&bench, &id), 1000);
}

#[tokio::test]
async fn the_same_seed_strikes_the_same_orders() {
    let references: Vec<String> = (0..24).map(|number| format!("order-{number}")).collect();
    let mut struck = Vec::new();
    for (seed, backwards) in [(5, false), (5, true), (6, false)] {
        let bench = Bench::start().await;
        for reference in &references {
            bench.authorize_as(NewAuthorization {
                protocol: Some(Protocol::Fondy),
                reference: Some(reference.clone()),
                amount_minor: 100,
                currency: "EUR".to_owned(),
                ..NewAuthorization::default()
            });
        }
        let unlucky = Rule { per_mille: Some(400), ..Rule::new(Fault::Reset { when: When::After }) };
        bench.running.sandbox().set_faults(Faults { seed, rules: vec![unlucky] }).expect("a good rule");
        let mut met = Vec::new();
        let mut asked = references.clone();
        if backwards {
            asked.reverse();
        }
        for order in asked {
            let capture = json!({ "order_id": order, "merchant_id": 1_396_424, "amount": 100, "currency": "EUR" });
            if bench.signed("/api/capture/order_id", capture).await.is_err() {
                met.push(order);
            }
        }
        assert!(bench.books().authorizations.iter().all(|booked| booked.captured_minor == 100), "after the work");
        met.sort();
        struck.push(met);
    }
    assert!(!struck[0].is_empty() && struck[0].len() < references.len());
    assert_eq!(struck[0], struck[1], "in whatever order they come");
    assert_ne!(struck[0], struck[2], "the seed matters");
}

#[tokio::test]
async fn a_capture_stays_on_hold_for_so_many_lookups() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
    bench.arm_once(Fault::Hold { lookups: 2, ms: 0 });
    assert_eq!(bench.capture(&order, 400, "GEL").await.expect("an answer")["capture_status"], "hold");
    assert_eq!(bench.capture(&order, 400, "GEL").await.expect("an answer")["capture_status"], "hold");
    let books = bench.books();
    let booked = books.find(&order).expect("booked");
    assert_eq!((booked.captured_minor, booked.on_hold_minor), (0, 400));
    for shown in ["hold", "hold", "captured"] {
        let info = bench.status(&order).await.expect("an answer")["additional_info"].to_string();
        assert!(info.contains(&format!(r#"\"capture_status\": \"{shown}\""#)), "{shown}: {info}");
    }
    assert_eq!(bench.capture(&order, 400, "GEL").await.expect("an answer")["capture_status"], "captured");
    assert_eq!(captured(&bench, &order), 400);
}

#[tokio::test]
async fn a_hold_may_end_by_time() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
    bench.arm_once(Fault::Hold { lookups: 0, ms: 50 });
    assert_eq!(bench.capture(&order, 400, "GEL").await.expect("an answer")["capture_status"], "hold");
    let deadline = Instant::now() + Duration::from_secs(10);
    while captured(&bench, &order) == 0 {
        assert!(Instant::now() < deadline, "never approved");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_code_of_flitt_and_fondy_is_reachable() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
    for (code, text) in CODES {
        for (channel, status) in [(Channel::ErrorCode, "failure"), (Channel::ResponseCode, "success")] {
            bench.arm_once(Fault::Code { code: Code::Number(*code), when: When::Before, channel });
            let answer = bench.capture(&order, 1000, "GEL").await.expect("an answer");
            let (name, words) = match channel {
                Channel::ErrorCode => ("error_code", "error_message"),
                Channel::ResponseCode => ("response_code", "response_description"),
            };
            assert_eq!(answer[name].to_string().trim_matches('"'), code.to_string());
            assert_eq!(answer[words], text.replace("{}", "signature"));
            assert_eq!(answer["response_status"], status);
        }
    }
    assert_eq!(captured(&bench, &order), 0);
    bench.arm_once(Fault::Code { code: Code::Number(1002), when: When::After, channel: Channel::ErrorCode });
    assert_eq!(bench.capture(&order, 1000, "GEL").await.expect("an answer")["error_code"], "1002");
    assert_eq!(captured(&bench, &order), 1000, "and yet it was captured");
}

/// What 1007 is about makes all the difference: of `signature` it is said to every request.
#[tokio::test]
async fn a_code_can_be_about_any_parameter() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
    for (number, parameter, text) in [
        (1007, "amount", "Parameter `amount` is incorrect"),
        (1007, "merchant_id", "Parameter `merchant_id` is incorrect"),
        (1011, "currency", "Parameter `currency` is missing"),
    ] {
        let code = Code::About { number, parameter: parameter.to_owned() };
        bench.arm_once(Fault::Code { code, when: When::Before, channel: Channel::ErrorCode });
        assert_eq!(bench.capture(&order, 1000, "GEL").await.expect("an answer")["error_message"], text);
    }
}

#[tokio::test]
async fn every_code_of_flex_pay_is_reachable() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let id = bench.authorize(Protocol::FlexPay, 1000, "USD");
    let path = format!("{id}/capture");
    for code in ErrorCode::ALL {
        let named = |when| Fault::Code { code: Code::Name(code.name().to_owned()), when, channel: Channel::ErrorCode };
        bench.arm_once(named(When::Before));
        let (status, answer) = bench.write(&token, &path, "a-key", "{}").await.expect("an answer");
        assert_eq!((status, &answer["codeName"]), (code.status().as_u16(), &json!(code.name())));
        assert!(answer["message"].is_string());
        bench.arm_once(named(When::Before));
        assert_eq!(bench.read(&token, &id).await.1["codeName"], code.name());
    }
    assert_eq!(captured(&bench, &id), 0);
    let unexpected = Code::Name("UNEXPECTED_ERROR".to_owned());
    bench.arm_once(Fault::Code { code: unexpected, when: When::After, channel: Channel::ErrorCode });
    assert_eq!(bench.write(&token, &path, "a-key", "{}").await.expect("an answer").0, 500);
    assert_eq!(captured(&bench, &id), 1000, "and yet it was captured");
}

#[tokio::test]
async fn forgotten_keys_capture_twice() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let id = bench.authorize(Protocol::FlexPay, 1000, "USD");
    let (path, body) = (format!("{id}/capture"), r#"{"amount": 3, "currency": "USD"}"#);
    for forget in [false, false, true] {
        if forget {
            bench.arm_once(Fault::ForgetKeys);
        }
        assert_eq!(bench.write(&token, &path, "one-key", body).await.expect("an answer").0, 200);
        assert_eq!(captured(&bench, &id), if forget { 600 } else { 300 });
    }
}

#[tokio::test]
async fn an_authorization_can_end_early() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let id = bench.authorize(Protocol::FlexPay, 1000, "USD");
    bench.arm_once(Fault::Expire);
    let (_, answer) = bench.write(&token, &format!("{id}/capture"), "a-key", "{}").await.expect("an answer");
    assert_eq!(answer["codeName"], "AUTH_EXPIRED_ERROR");
    let books = bench.books();
    let booked = books.find(&id).expect("booked");
    assert_eq!((booked.voided_minor, booked.remaining_minor), (1000, 0));
}

/// What the shop plug-ins of Flitt and Fondy warn of, or what cards do otherwise.
#[tokio::test]
async fn a_hold_that_ends_early_is_captured_in_full_or_released() {
    let bench = Bench::start().await;
    for (on_expiry, code, minor) in [(OnExpiry::Capture, json!(1109), 1000), (OnExpiry::Release, json!("1052"), 0)] {
        let order = bench.authorize_as(NewAuthorization {
            protocol: Some(Protocol::Flitt),
            amount_minor: 1000,
            currency: "GEL".to_owned(),
            on_expiry,
            ..NewAuthorization::default()
        });
        bench.arm_once(Fault::Expire);
        let answer = bench.capture(&order, 400, "GEL").await.expect("an answer");
        assert_eq!(answer["error_code"], code);
        assert_eq!(captured(&bench, &order), minor);
        let books = bench.books();
        assert!(books.find(&order).expect("booked").captures.iter().all(|capture| capture.automatic));
    }
}

#[tokio::test]
async fn tokens_can_end_early() {
    let bench = Bench::start().await;
    let (token, other) = (bench.token().await, bench.token().await);
    let id = bench.authorize(Protocol::FlexPay, 1000, "USD");
    bench.arm_once(Fault::ExpireTokens);
    let path = format!("{id}/capture");
    for old in [&token, &token, &other] {
        assert_eq!(bench.write(old, &path, "a-key", "{}").await.expect("an answer").0, 401);
    }
    assert_eq!(captured(&bench, &id), 0);
    assert_eq!(bench.write(&bench.token().await, &path, "a-key", "{}").await.expect("an answer").0, 200);
}

#[tokio::test]
async fn the_clock_in_date_can_be_wrong() {
    let bench = Bench::start().await;
    let date = async || {
        let request = bench.http.get(bench.url("/v1/transactions/none")).bearer_auth(bench.token().await);
        let answer = request.send().await.expect("an answer");
        let date = answer.headers()["date"].to_str().expect("text").to_owned();
        DateTime::parse_from_rfc2822(&date).expect("a date").to_utc().signed_duration_since(Utc::now()).num_seconds()
    };
    assert!(date().await.abs() < 30);
    bench.arm(Rule { operation: Operation::Lookup, ..Rule::new(Fault::ClockSkew { seconds: 3600 }) });
    assert!((3570..3630).contains(&date().await));
}

#[tokio::test]
async fn tokens_can_be_withheld() {
    let bench = Bench::start().await;
    let withheld = Fault::Status { status: 503, retry_after_s: None, when: When::Before };
    bench.arm(Rule {
        account: Some("sandbox".to_owned()),
        operation: Operation::Token,
        times: Some(1),
        ..Rule::new(withheld)
    });
    let url = bench.url("/api/auth/v1/oauth/token?grant_type=client_credentials");
    for status in [503, 200] {
        let request = bench.http.post(&url).basic_auth("sandbox", Some("sandbox"));
        assert_eq!(request.send().await.expect("an answer").status(), status);
    }
}

#[tokio::test]
async fn rules_meet_only_what_they_name() {
    let bench = Bench::start().await;
    let (met, spared) = (bench.authorize(Protocol::Flitt, 10, "GEL"), bench.authorize(Protocol::Flitt, 10, "GEL"));
    bench.arm(Rule {
        protocol: Some(Protocol::Flitt),
        account: Some("1549901".to_owned()),
        reference: Some(met.clone()),
        operation: Operation::Capture,
        ..Rule::new(Fault::Reset { when: When::Before })
    });
    assert!(bench.capture(&met, 10, "GEL").await.is_err());
    assert!(bench.capture(&spared, 10, "GEL").await.is_ok());
    assert!(bench.status(&met).await.is_ok());
    assert_eq!(bench.running.sandbox().faults()[0].fired, 1);
}
