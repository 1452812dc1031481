//! The control pages, over HTTP.

use serde_json::{Value, json};

use super::super::{Books, Fault, NOTICE, RuleState, Sandbox};
use super::Bench;

async fn control(bench: &Bench, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let method = method.parse().expect("a method");
    let request = bench.http.request(method, bench.url(path)).body(body.to_string());
    super::answered(request).await.expect("an answer")
}

#[tokio::test]
async fn authorizations_are_made_and_the_books_read() {
    let bench = Bench::start().await;
    let account = json!({ "protocol": "fondy", "account": "77", "secret": "s3" });
    assert_eq!(control(&bench, "POST", "/sandbox/accounts", &account).await.0, 201);
    let order = json!({ "account": "77", "reference": "o-1", "amount_minor": 500, "currency": "JPY" });
    let (status, made) = control(&bench, "POST", "/sandbox/authorizations", &order).await;
    assert_eq!((status, &made["notice"]), (201, &json!(NOTICE)));
    assert_eq!(made["authorization"]["protocol"], "fondy");
    let (status, read) = control(&bench, "GET", "/sandbox/books", &Value::Null).await;
    let books: Books = serde_json::from_value(read).expect("books");
    assert_eq!((status, &books), (200, &bench.books()), "the page and the handle agree");
    assert_eq!(books.totals[0].authorized_minor, 500);

    let many = [
        json!({ "amount_minor": 1, "currency": "EUR" }),
        json!({ "account": "nobody", "amount_minor": 1, "currency": "EUR" }),
        json!({ "protocol": "flitt", "account": "77", "amount_minor": 1, "currency": "EUR" }),
        json!({ "account": "77", "reference": "o-1", "amount_minor": 1, "currency": "EUR" }),
        json!({ "account": "77", "amount_minor": 0, "currency": "EUR" }),
        json!({ "account": "77", "amount_minor": -1, "currency": "EUR" }),
        json!({ "account": "77", "amount_minor": 1, "currency": "EURO" }),
        json!({ "account": "77", "amount_minor": 1, "currency": "EUR", "expires": 1 }),
    ];
    for bad in many {
        let (status, answer) = control(&bench, "POST", "/sandbox/authorizations", &bad).await;
        assert_eq!(status, 400, "{bad}");
        assert!(answer["error"].is_string(), "{bad}");
    }
    for bad in [
        json!({ "protocol": "flex_pay", "account": "77", "secret": "s" }),
        json!({ "protocol": "flitt", "account": "letters", "secret": "s" }),
    ] {
        assert_eq!(control(&bench, "POST", "/sandbox/accounts", &bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn somebody_else_captures_and_voids_what_remains_and_no_more() {
    let bench = Bench::start().await;
    let several = bench.authorize(super::Protocol::FlexPay, 1_000, "USD");
    let once = bench.authorize(super::Protocol::Flitt, 1_000, "GEL");
    let by_hand = |reference: &str, kind: &str, minor: i64| json!({ "reference": reference, "kind": kind, "amount_minor": minor });
    for (reference, kind, minor, status) in [
        (&several, "capture", 300, 201),
        (&several, "void", 200, 201),
        (&several, "capture", 501, 400),
        (&several, "capture", 0, 400),
        (&several, "capture", 500, 201),
        (&several, "void", 1, 400),
        (&once, "capture", 400, 201),
        (&once, "capture", 1, 400),
        (&"nobody".to_owned(), "capture", 1, 400),
    ] {
        let (answered, answer) = control(&bench, "POST", "/sandbox/movements", &by_hand(reference, kind, minor)).await;
        assert_eq!(answered, status, "{kind} {minor}: {answer}");
    }
    let books = bench.books();
    let booked =
        |reference: &str| books.find(reference).map(|it| (it.captured_minor, it.voided_minor)).expect("booked");
    assert_eq!(booked(&several), (800, 200));
    assert_eq!(booked(&once), (400, 600), "the rest is released");
    let capture = &books.find(&several).expect("booked").captures[0];
    assert_eq!(capture.merchant_reference_id, None, "under no key of ours");
}

#[tokio::test]
async fn faults_and_settings_are_set_and_shown() {
    let bench = Bench::start().await;
    let faults = json!({ "seed": 7, "rules": [
        { "protocol": "flitt", "operation": "capture", "times": 3, "fault": { "kind": "reset", "when": "after" } },
        { "per_mille": 20, "fault": { "kind": "status", "status": 429, "retry_after_s": 2 } },
        { "fault": { "kind": "code", "code": 1109 } },
        { "fault": { "kind": "code", "code": "NO_AMOUNT_LEFT", "when": "after" } },
        { "fault": { "kind": "forget_keys" } },
        { "fault": { "kind": "clock_skew", "seconds": -60 } },
    ]});
    let (status, armed) = control(&bench, "PUT", "/sandbox/faults", &faults).await;
    assert_eq!(status, 200, "{armed}");
    let rules: Vec<RuleState> = serde_json::from_value(armed["rules"].clone()).expect("rules");
    assert_eq!(rules, bench.running.sandbox().faults());
    assert_eq!(rules.len(), 6);
    let (_, disarmed) = control(&bench, "DELETE", "/sandbox/faults", &Value::Null).await;
    assert_eq!(disarmed["rules"], json!([]));
    let bad = json!({ "rules": [{ "fault": { "kind": "latency", "ms": 1 }, "percent": 5 }] });
    assert_eq!(control(&bench, "PUT", "/sandbox/faults", &bad).await.0, 400);

    let keys = json!({ "keys": { "check": "limits_first", "retention_ms": 5 } });
    let (status, _) = control(&bench, "PUT", "/sandbox/settings", &keys).await;
    let (_, shown) = control(&bench, "GET", "/sandbox/settings", &Value::Null).await;
    assert_eq!((status, &shown["settings"]["keys"]["check"]), (200, &json!("limits_first")));
    assert_eq!(bench.running.sandbox().settings().keys.retention_ms, 5);
}

const KINDS: [&str; 14] = [
    "latency",
    "refuse",
    "reset",
    "hang",
    "status",
    "retry_at",
    "garbage",
    "hold",
    "code",
    "soft_decline",
    "forget_keys",
    "expire_tokens",
    "expire",
    "clock_skew",
];

/// The kind that a fault has in JSON; whoever adds one is led here, to the page and to the README.
fn named(fault: &Fault) -> &'static str {
    match fault {
        Fault::Latency { .. } => "latency",
        Fault::Refuse { .. } => "refuse",
        Fault::Reset { .. } => "reset",
        Fault::Hang { .. } => "hang",
        Fault::Status { .. } => "status",
        Fault::RetryAt { .. } => "retry_at",
        Fault::Garbage { .. } => "garbage",
        Fault::Hold { .. } => "hold",
        Fault::Code { .. } => "code",
        Fault::SoftDecline => "soft_decline",
        Fault::ForgetKeys => "forget_keys",
        Fault::ExpireTokens => "expire_tokens",
        Fault::Expire => "expire",
        Fault::ClockSkew { .. } => "clock_skew",
    }
}

#[tokio::test]
async fn every_example_on_the_page_works() {
    let bench = Bench::start().await;
    let page = bench.http.get(bench.url("/sandbox")).send().await.expect("an answer").text().await.expect("a body");
    let mut kinds: Vec<_> = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("{\"kind\"")) {
        let mut examples = serde_json::Deserializer::from_str(line).into_iter::<Value>();
        let example = examples.next().expect("an example").expect("JSON");
        let fault: Fault = serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(example["kind"], named(&fault));
        kinds.push(named(&fault));
        let body = json!({ "rules": [{ "fault": example }] });
        assert_eq!(control(&bench, "PUT", "/sandbox/faults", &body).await.0, 200, "{line}");
    }
    kinds.dedup();
    assert_eq!(kinds, KINDS, "each kind has its example");
    control(&bench, "DELETE", "/sandbox/faults", &Value::Null).await;
    let flat: String = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for (method, path) in [
        ("POST", "/sandbox/authorizations"),
        ("POST", "/sandbox/accounts"),
        ("PUT", "/sandbox/faults"),
        ("PUT", "/sandbox/settings"),
    ] {
        let (_, example) = flat.split_once(&format!("{method} {path} ")).expect("an example");
        let mut examples = serde_json::Deserializer::from_str(example).into_iter::<Value>();
        let body = examples.next().expect("an example").expect("JSON");
        assert!(control(&bench, method, path, &body).await.0 < 300, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn the_readme_can_be_followed() {
    let readme = include_str!("../../../README.md");
    let section = readme.split_once("### The sandbox\n").expect("a section").1.split_once("\n## ").expect("an end").0;
    let bench = Bench::start().await;
    let mut sent = 0;
    for call in section.split("curl ").skip(1) {
        let Some((to, body)) = call.split_once(" -d \\\n  '") else { continue };
        let (body, _) = body.split_once('\'').expect("a body");
        let (_, path) = to.split_once(":9900").expect("an address");
        let method = if to.starts_with("-X PUT ") { "PUT" } else { "POST" };
        let (status, answer) = control(&bench, method, path, &serde_json::from_str(body).expect("JSON")).await;
        assert!(status < 300, "{method} {path}: {answer}");
        sent += 1;
    }
    assert_eq!(sent, 2);
    for kind in KINDS {
        assert!(section.contains(&format!("`{kind}`")), "{kind}");
    }
    // What the section promises of that rule.
    assert!(bench.capture("ord-1001", 11_900, "GEL").await.is_err());
    assert_eq!(bench.capture("ord-1001", 11_900, "GEL").await.expect("an answer")["capture_status"], "captured");
}

#[tokio::test]
async fn every_page_says_that_it_is_no_payment_provider() {
    let bench = Bench::start().await;
    for path in
        ["/", "/sandbox", "/sandbox/books", "/sandbox/faults", "/sandbox/settings", "/anything", "/api/status/order_id"]
    {
        let answer = bench.http.get(bench.url(path)).send().await.expect("an answer");
        let server = answer.headers()["server"].to_str().expect("text").to_owned();
        assert!(server.contains("NOT a payment provider"), "{path}");
        let page = answer.text().await.expect("a body");
        assert!(page.contains("NOT a payment provider"), "{path}: {page}");
    }
    for (method, path) in [
        ("POST", "/sandbox/authorizations"),
        ("POST", "/sandbox/accounts"),
        ("POST", "/sandbox/movements"),
        ("PUT", "/sandbox/faults"),
        ("DELETE", "/sandbox/faults"),
        ("PUT", "/sandbox/settings"),
        ("PATCH", "/sandbox/books"),
    ] {
        for body in [json!({}), json!({ "protocol": "flitt", "amount_minor": 1, "currency": "GEL" })] {
            let (_, answer) = control(&bench, method, path, &body).await;
            assert_eq!(answer["notice"], NOTICE, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn stopping_frees_the_port_and_keeps_the_books() {
    let bench = Bench::start().await;
    let (address, sandbox) = (bench.running.address(), bench.running.sandbox().clone());
    let order = bench.authorize(super::Protocol::Flitt, 5, "EUR");
    bench.status(&order).await.expect("an answer, and a connection that is kept");
    bench.running.stop().await.expect("served well");
    assert!(sandbox.books().find(&order).is_some());
    drop(Sandbox::start(address).await.expect("the port is free"));
}
