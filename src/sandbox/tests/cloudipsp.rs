//! Flitt and Fondy: one capture, signatures, statuses, codes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::signature::{Parameters, sign};
use super::super::{NewAuthorization, OnExpiry, OrderStatus, Protocol};
use super::{Bench, as_parameters};

/// A signed read, verified, with its `additional_info` read.
async fn verified_status(bench: &Bench, order: &str) -> (Value, Value) {
    let status = bench.status(order).await.expect("an answer");
    let parameters: Parameters = as_parameters(&status);
    assert_eq!(status["signature"].as_str(), sign("test", &parameters).as_deref(), "the reply is signed");
    let info = status["additional_info"].as_str().expect("a JSON string");
    (status.clone(), serde_json::from_str(info).expect("JSON inside"))
}

#[tokio::test]
async fn a_hold_is_captured_once_and_the_rest_is_released() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 15_118, "UAH");
    let (status, info) = verified_status(&bench, &order).await;
    assert_eq!((&status["order_status"], &status["actual_amount"]), (&json!("approved"), &json!("15118")));
    assert_eq!(info["capture_status"], Value::Null);

    let captured = json!({
        "capture_status": "captured", "order_id": order, "response_description": "", "response_code": "",
        "merchant_id": 1_549_901, "response_status": "success",
    });
    assert_eq!(bench.capture(&order, 110, "UAH").await.expect("an answer"), captured);
    assert_eq!(bench.capture(&order, 110, "UAH").await.expect("an answer"), captured, "the same amount again");
    let other = bench.capture(&order, 111, "UAH").await.expect("an answer");
    assert_eq!((&other["error_code"], &other["response_status"]), (&json!(1109), &json!("failure")));

    let (status, info) = verified_status(&bench, &order).await;
    assert_eq!(status["order_status"], "approved", "it stays so");
    assert_eq!(info["capture_status"], "captured");
    let text = status["additional_info"].as_str().expect("text");
    assert!(text.contains("\"capture_amount\": 1.1,"), "major units, as a float: {text}");

    let books = bench.books();
    let booked = books.find(&order).expect("booked");
    assert_eq!((booked.captured_minor, booked.voided_minor, booked.remaining_minor), (110, 15_008, 0));
    assert_eq!((booked.captures.len(), booked.capture_requests), (1, 3));
}

#[tokio::test]
async fn the_merchant_decides_the_brand_and_a_slash_nothing() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Fondy, 100, "EUR");
    let parameters = json!({ "order_id": order, "merchant_id": "1396424", "amount": "100", "currency": "EUR" });
    let captured = bench.signed("/api/capture/order_id/", parameters).await.expect("an answer");
    assert_eq!((&captured["capture_status"], &captured["merchant_id"]), (&json!("captured"), &json!(1_396_424)));
    assert_eq!(bench.books().find(&order).expect("booked").protocol, Protocol::Fondy);
    let status = bench.status(&order).await.expect("an answer");
    assert_eq!(status["error_code"], "1018", "Flitt's merchant has no such order");
}

#[tokio::test]
async fn requests_that_are_wrong_are_told_so_inside_200() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
    let good = json!({ "order_id": order, "merchant_id": 1_549_901, "amount": 1000, "currency": "GEL" });
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    let without = |name: &str| {
        let mut changed = good.clone();
        changed.as_object_mut().expect("an object").remove(name);
        changed
    };
    let table = [
        (with("merchant_id", json!(1)), "1016"),
        (with("order_id", json!("no-such-order")), "1018"),
        (with("order_id", json!("a|b")), "1034"),
        (with("order_id", json!("")), "1009"),
        (without("amount"), "1011"),
        (with("amount", json!("10.00")), "1007"),
        (with("amount", json!(0)), "1023"),
        (with("amount", json!(1001)), "1023"),
        (with("currency", json!("EUR")), "1007"),
        (with("currency", json!("gel")), "1007"),
        (with("version", json!("3.0")), "1007"),
        (with("merchant_id", json!("sandbox")), "1016"),
    ];
    for (parameters, code) in table {
        let answer = bench.signed("/api/capture/order_id", parameters.clone()).await.expect("an answer");
        assert_eq!(answer["response_status"], "failure", "{parameters}");
        assert_eq!(answer["error_code"].to_string().trim_matches('"'), code, "{parameters}");
    }
    for (path, code) in [("/api/capture/order_id", json!(1007)), ("/api/status/order_id", json!("1014"))] {
        for signature in [json!("281b215fe86518fe0fc99c1676b73c57b420e569"), json!("A"), json!("á")] {
            let answer = bench.unsigned(path, with("signature", signature)).await.expect("an answer");
            assert_eq!(answer["error_code"], code, "{path}");
        }
    }
    let odd_type = bench.http.post(bench.url("/api/status/order_id")).body("{}").send().await.expect("an answer");
    assert!(odd_type.text().await.expect("a body").contains("1021"));
    let empty = bench.http.post(bench.url("/api/status/order_id")).header("content-type", "application/json");
    assert!(empty.send().await.expect("an answer").text().await.expect("a body").contains("1010"));
    assert_eq!(bench.books().totals[0].captured_minor, 0);
}

#[tokio::test]
async fn orders_stand_where_they_were_made_to_stand() {
    let bench = Bench::start().await;
    let new = |status| NewAuthorization {
        protocol: Some(Protocol::Flitt),
        amount_minor: 1000,
        currency: "GEL".to_owned(),
        status,
        ..NewAuthorization::default()
    };
    for (status, shown, code) in [
        (OrderStatus::Created, "created", 1065),
        (OrderStatus::Processing, "processing", 1065),
        (OrderStatus::Declined, "declined", 1065),
        (OrderStatus::Expired, "expired", 1052),
        (OrderStatus::Reversed, "reversed", 1086),
    ] {
        let order = bench.authorize_as(new(status));
        assert_eq!(verified_status(&bench, &order).await.0["order_status"], shown);
        let answer = bench.capture(&order, 1000, "GEL").await.expect("an answer");
        assert_eq!(answer["error_code"].to_string().trim_matches('"'), code.to_string(), "{shown}");
    }
    let paid = NewAuthorization { payment_system: Some("banklinks_eu".to_owned()), ..new(OrderStatus::Approved) };
    let order = bench.authorize_as(paid);
    let (status, info) = verified_status(&bench, &order).await;
    assert_eq!((&status["payment_system"], &info["capture_status"]), (&json!("banklinks_eu"), &Value::Null));
    assert_eq!(bench.capture(&order, 1000, "GEL").await.expect("an answer")["error_code"], 1027);
    let books = bench.books();
    let booked = books.find(&order).expect("booked");
    assert!(booked.captured_minor == 1000 && booked.captures[0].automatic, "charged at once");
    let converted = NewAuthorization {
        order_amount_minor: Some(366),
        order_currency: Some("USD".to_owned()),
        ..new(OrderStatus::Approved)
    };
    let (status, _) = verified_status(&bench, &bench.authorize_as(converted)).await;
    assert_eq!((&status["amount"], &status["currency"]), (&json!("366"), &json!("USD")));
    assert_eq!((&status["actual_amount"], &status["actual_currency"]), (&json!("1000"), &json!("GEL")));
}

#[tokio::test]
async fn a_hold_ends_in_a_full_capture_or_a_release() {
    let bench = Bench::start().await;
    for (on_expiry, captured, shown) in [(OnExpiry::Capture, 1000, "approved"), (OnExpiry::Release, 0, "expired")] {
        let order = bench.authorize_as(NewAuthorization {
            protocol: Some(Protocol::Flitt),
            amount_minor: 1000,
            currency: "GEL".to_owned(),
            lifetime_ms: Some(0),
            on_expiry,
            ..NewAuthorization::default()
        });
        assert_eq!(verified_status(&bench, &order).await.0["order_status"], shown);
        let books = bench.books();
        let booked = books.find(&order).expect("booked");
        assert_eq!((booked.captured_minor, booked.remaining_minor), (captured, 0));
        assert_eq!(booked.voided_minor, 1000 - captured);
    }
}

#[tokio::test]
async fn a_whole_hold_can_be_reversed_and_then_not_be_captured() {
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 1000, "GEL");
    let reverse =
        |amount: i64| json!({ "order_id": order, "merchant_id": 1_549_901, "amount": amount, "currency": "GEL" });
    let partial = bench.signed("/api/reverse/order_id", reverse(999)).await.expect("an answer");
    assert_eq!(partial["error_code"], "1084");
    let whole = bench.signed("/api/reverse/order_id", reverse(1000)).await.expect("an answer");
    assert_eq!((&whole["reverse_status"], &whole["reversal_amount"]), (&json!("approved"), &json!("1000")));
    assert_eq!(whole["signature"].as_str(), sign("test", &as_parameters(&whole)).as_deref());
    let (status, _) = verified_status(&bench, &order).await;
    assert_eq!((&status["order_status"], &status["reversal_amount"]), (&json!("reversed"), &json!("1000")));
    assert_eq!(bench.capture(&order, 1000, "GEL").await.expect("an answer")["error_code"], "1086");
}

/// The documentation allows forms beside JSON; the answer comes in the form of the question.
#[tokio::test]
async fn a_form_is_answered_with_a_form() {
    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
    let bench = Bench::start().await;
    let order = bench.authorize(Protocol::Flitt, 15_118, "UAH");
    let post = async |path: &str, mut parameters: Value| {
        if parameters.get("signature").is_none() {
            parameters["signature"] = sign("test", &as_parameters(&parameters)).into();
        }
        let texts = parameters
            .as_object()
            .expect("an object")
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(texts).finish();
        let request = bench.http.post(bench.url(path)).header("content-type", FORM).body(body);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "application/x-www-form-urlencoded");
        let text = answer.text().await.expect("a body");
        url::form_urlencoded::parse(text.as_bytes()).into_owned().collect::<BTreeMap<String, String>>()
    };
    let capture = json!({ "order_id": order, "merchant_id": 1_549_901, "amount": 100, "currency": "UAH" });
    assert_eq!(post("/api/capture/order_id/", capture.clone()).await["capture_status"], "captured");
    let status = post("/api/status/order_id/", json!({ "order_id": order, "merchant_id": 1_549_901 })).await;
    assert_eq!((status["order_status"].as_str(), status["actual_amount"].as_str()), ("approved", "15118"));
    let parameters = as_parameters(&json!(status));
    assert_eq!(Some(&status["signature"]), sign("test", &parameters).as_ref(), "signed over the same text");
    let mut forged = capture;
    forged["signature"] = json!("281b215fe86518fe0fc99c1676b73c57b420e569");
    assert_eq!(post("/api/capture/order_id", forged).await["error_code"], "1007");
    assert_eq!(post("/api/status/order_id", json!({ "signature": "" })).await["error_code"], "1011");
}
