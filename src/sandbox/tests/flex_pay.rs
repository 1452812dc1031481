//! Flex Pay: tokens, captures in parts, limits, idempotency keys in every way.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{
    FLEX_CLIENT, KeyCheck, KeyFailures, KeyReuse, KeyRules, NewAccount, NewAuthorization, OrderStatus, Protocol,
    Settings,
};
use super::{Bench, answered};

#[tokio::test]
async fn parts_are_captured_until_nothing_remains() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let id = bench.authorize(Protocol::FlexPay, 100_000, "USD");
    let capture = format!("{id}/capture");
    let (status, open) = bench.read(&token, &id).await;
    assert_eq!((status, &open["status"]), (200, &json!("AUTHORIZED")));
    assert_eq!(open["events"].as_array().map(Vec::len), Some(1));
    assert!(open["authorization_expiration"].as_str().is_some_and(|text| text.ends_with('Z')));

    let body = r#"{"amount": 333.30, "currency": "USD", "merchant_reference_id": "shipment-1"}"#;
    let (status, part) = bench.write(&token, &capture, "key-1", body).await.expect("an answer");
    assert_eq!((status, &part["status"]), (200, &json!("PARTIALLY_CAPTURED")));
    let event = &part["events"][1];
    assert_eq!((&event["type"], &event["merchant_reference_id"]), (&json!("CAPTURE"), &json!("shipment-1")));
    let text = part.to_string();
    assert!(text.contains("\"amount\":333.3"), "{text}");

    let (_, voided) = bench
        .write(&token, &format!("{id}/void"), "key-2", r#"{"amount": 66.70, "currency": "USD"}"#)
        .await
        .expect("an answer");
    assert_eq!(voided["events"][2]["type"], "VOID");
    let (_, rest) = bench.write(&token, &capture, "key-3", "{}").await.expect("an answer");
    assert_eq!(rest["status"], "CAPTURED", "no amount: all that remains");
    let (status, none) = bench.write(&token, &capture, "key-4", "{}").await.expect("an answer");
    assert_eq!((status, &none["codeName"]), (400, &json!("NO_AMOUNT_LEFT")));

    let books = bench.books();
    let booked = books.find(&id).expect("booked");
    assert_eq!((booked.captured_minor, booked.voided_minor, booked.remaining_minor), (93_330, 6_670, 0));
    let amounts: Vec<_> = booked.captures.iter().map(|capture| capture.amount_minor).collect();
    assert_eq!(amounts, [33_330, 60_000]);
    assert_eq!(booked.capture_requests, 3);
    assert_eq!(books.totals[0].captured_minor, 93_330);
}

/// Decimals are written with all the currency's digits; the wire text itself, not a float of it.
#[tokio::test]
async fn amounts_on_the_wire_are_exact_decimals() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    for (minor, currency, shown) in [(100_000, "USD", "1000.00"), (15_118, "JPY", "15118"), (1, "KWD", "0.001")] {
        let id = bench.authorize(Protocol::FlexPay, minor, currency);
        let request = bench.http.get(bench.url(&format!("/v1/transactions/{id}"))).bearer_auth(&token);
        let text = request.send().await.expect("an answer").text().await.expect("a body");
        assert!(text.contains(&format!("\"remaining_amount\":{shown},")), "{text}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let id = bench.authorize(Protocol::FlexPay, 1000, "USD");
    let ended = bench.authorize_as(NewAuthorization {
        protocol: Some(Protocol::FlexPay),
        amount_minor: 1000,
        currency: "USD".to_owned(),
        lifetime_ms: Some(0),
        ..NewAuthorization::default()
    });
    let table = [
        (format!("{id}/capture"), r#"{"amount": 10.01, "currency": "USD"}"#, 400, "OVER_CAPTURE_ERROR"),
        (format!("{id}/void"), r#"{"amount": 10.01, "currency": "USD"}"#, 400, "OVER_VOID_ERROR"),
        (format!("{id}/capture"), r#"{"amount": 1.00, "currency": "CAD"}"#, 400, "CURRENCY_MISMATCH_ERROR"),
        (format!("{id}/capture"), r#"{"amount": 1.001, "currency": "USD"}"#, 400, "INVALID_INPUT"),
        (format!("{id}/capture"), r#"{"amount": -1, "currency": "USD"}"#, 400, "INVALID_INPUT"),
        (format!("{id}/capture"), r#"{"amount": 0, "currency": "USD"}"#, 400, "INVALID_INPUT"),
        (format!("{id}/capture"), r#"{"amount": "1.00", "currency": "USD"}"#, 400, "INVALID_INPUT"),
        (format!("{id}/capture"), r#"{"amount": 1.00}"#, 400, "INVALID_INPUT"),
        (format!("{id}/capture"), "amount=1", 400, "NOT_READABLE_INPUT"),
        ("no-such-id/capture".to_owned(), "{}", 404, "TRANSACTION_NOT_FOUND"),
        (format!("{ended}/capture"), "{}", 400, "AUTH_EXPIRED_ERROR"),
    ];
    for (path, body, status, code) in table {
        let (seen, answer) = bench.write(&token, &path, "a-key", body).await.expect("an answer");
        assert_eq!((seen, &answer["codeName"]), (status, &json!(code)), "{path} {body}");
    }
    let keyless = bench.http.post(bench.url(&format!("/v1/transactions/{id}/capture"))).bearer_auth(&token).body("{}");
    let (status, answer) = answered(keyless).await.expect("an answer");
    assert_eq!((status, &answer["codeName"]), (400, &json!("MISSING_IDEMPOTENCY_KEY")));
    assert_eq!(bench.read(&token, "no-such-id").await.0, 404);
    let (_, expired) = bench.read(&token, &ended).await;
    assert_eq!((&expired["status"], &expired["events"][1]["type"]), (&json!("AUTHORIZATION_EXPIRED"), &json!("VOID")));
}

#[tokio::test]
async fn transactions_stand_where_they_were_made_to_stand() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let new = |status| NewAuthorization {
        protocol: Some(Protocol::FlexPay),
        amount_minor: 1000,
        currency: "USD".to_owned(),
        status,
        ..NewAuthorization::default()
    };
    for (status, shown, code) in [
        (OrderStatus::Declined, "AUTHORIZED_FAILED", "NO_AMOUNT_LEFT"),
        (OrderStatus::Reversed, "VOIDED", "NO_AMOUNT_LEFT"),
        (OrderStatus::Expired, "AUTHORIZATION_EXPIRED", "AUTH_EXPIRED_ERROR"),
    ] {
        let id = bench.authorize_as(new(status));
        assert_eq!(bench.read(&token, &id).await.1["status"], shown);
        let (_, answer) = bench.write(&token, &format!("{id}/capture"), "a-key", "{}").await.expect("an answer");
        assert_eq!(answer["codeName"], code, "{shown}");
    }
    for unpaid in [OrderStatus::Created, OrderStatus::Processing] {
        assert!(bench.running.sandbox().authorize(new(unpaid)).is_err());
    }
}

#[tokio::test]
async fn tokens_are_for_clients_and_expire() {
    let bench = Bench::start().await;
    let id = bench.authorize(Protocol::FlexPay, 1000, "USD");
    let url = bench.url("/api/auth/v1/oauth/token?grant_type=client_credentials");
    for (client, secret) in [("sandbox", "wrong"), ("nobody", "sandbox"), ("1549901", "test")] {
        let (status, _) = answered(bench.http.post(&url).basic_auth(client, Some(secret))).await.expect("an answer");
        assert_eq!(status, 401, "{client}");
    }
    let no_grant = bench.http.post(bench.url("/api/auth/v1/oauth/token")).basic_auth("sandbox", Some("sandbox"));
    assert_eq!(answered(no_grant).await.expect("an answer").0, 400);
    assert_eq!(bench.read("made-up", &id).await.0, 401);

    let token = bench.token().await;
    assert_eq!(bench.read(&token, &id).await.0, 200);
    let renewed = NewAccount {
        protocol: Protocol::FlexPay,
        account: FLEX_CLIENT.to_owned(),
        secret: "sandbox".to_owned(),
        token_lifetime_ms: Some(150),
    };
    bench.running.sandbox().register(renewed).expect("a good account");
    assert_eq!(bench.read(&token, &id).await.0, 401, "new credentials end the old tokens");
    let token = bench.token().await;
    assert_eq!(bench.read(&token, &id).await.0, 200);
    // It is the passing of this time that is under test; there is nothing to await.
    tokio::time::sleep(Duration::from_millis(160)).await;
    assert_eq!(bench.read(&token, &id).await.0, 401);
}

/// What one key is answered with, the second time.
async fn second_answers(rules: KeyRules) -> Vec<(u16, Value)> {
    let bench = Bench::start().await;
    bench.running.sandbox().set_settings(Settings { keys: rules });
    let token = bench.token().await;
    let id = bench.authorize(Protocol::FlexPay, 1000, "USD");
    let path = format!("{id}/capture");
    let mut seen = Vec::new();
    for (key, body) in [
        ("refused", r#"{"amount": 11, "currency": "USD"}"#),
        ("refused", r#"{"amount": 1, "currency": "USD"}"#),
        ("refused", r#"{"amount": 11, "currency": "USD"}"#),
        ("all", r#"{"amount": 9, "currency": "USD"}"#),
        ("all", r#"{"currency": "USD", "amount": 9.00}"#),
        ("all", r#"{"amount": 8, "currency": "USD"}"#),
    ] {
        let (status, answer) = bench.write(&token, &path, key, body).await.expect("an answer");
        seen.push((status, answer["codeName"].clone()));
    }
    let books = bench.books();
    let captures: Vec<_> = books.find(&id).expect("booked").captures.iter().map(|made| made.amount_minor).collect();
    assert!(captures.iter().filter(|minor| **minor == 900).count() <= 1, "one key, one capture: {captures:?}");
    seen
}

#[tokio::test]
async fn keys_behave_as_the_settings_say() {
    let (over, used, left) = ("OVER_CAPTURE_ERROR", "IDEMPOTENCY_KEY_ALREADY_USED", "NO_AMOUNT_LEFT");
    let done = || (200, Value::Null);
    let no = |code: &str| (400, json!(code));
    let default = KeyRules::default();
    assert_eq!(
        second_answers(default.clone()).await,
        [no(over), done(), no(used), done(), done(), no(used)],
        "a refused key may try again with another amount; a used one may not"
    );
    assert_eq!(
        second_answers(KeyRules { failures: KeyFailures::Remember, ..default.clone() }).await,
        [no(over), no(used), no(over), done(), done(), no(used)],
    );
    assert_eq!(
        second_answers(KeyRules { reuse: KeyReuse::AlreadyUsed, ..default.clone() }).await,
        [no(over), done(), no(used), done(), no(used), no(used)],
    );
    assert_eq!(
        second_answers(KeyRules { check: KeyCheck::LimitsFirst, ..default.clone() }).await,
        [no(over), done(), no(over), done(), no(left), no(left)],
    );
    assert_eq!(
        second_answers(KeyRules { retention_ms: 0, ..default }).await,
        [no(over), done(), no(over), done(), no(left), no(left)],
        "forgotten at once"
    );
}

/// A replay that meets a limit first is refused, but does not turn the remembered success into a refusal.
#[tokio::test]
async fn what_a_key_stands_for_does_not_change() {
    let bench = Bench::start().await;
    let limits_first =
        KeyRules { check: KeyCheck::LimitsFirst, failures: KeyFailures::Remember, ..KeyRules::default() };
    bench.running.sandbox().set_settings(Settings { keys: limits_first.clone() });
    let token = bench.token().await;
    let path = format!("{}/capture", bench.authorize(Protocol::FlexPay, 1000, "USD"));
    assert_eq!(bench.write(&token, &path, "a-key", "{}").await.expect("an answer").0, 200);
    assert_eq!(bench.write(&token, &path, "a-key", "{}").await.expect("an answer").1["codeName"], "NO_AMOUNT_LEFT");
    let key_first = KeyRules { check: KeyCheck::KeyFirst, ..limits_first };
    bench.running.sandbox().set_settings(Settings { keys: key_first });
    assert_eq!(bench.write(&token, &path, "a-key", "{}").await.expect("an answer").0, 200);
}
