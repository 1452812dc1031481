//! What we say of our messages, against what others go by: AsyncAPI's own parser takes the document of
//! `holdfast schema asyncapi`, and the SDK of `CloudEvents` for Python reads what we publish and writes what we
//! capture.
//!
//! Needs Node with npm and Python 3 with `venv`, which `./deploy/test.sh` installs; and their package indices the
//! first time.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use holdfast::broker::topology::BOUND_KEYS;
use holdfast::capture::event::EventContent;
use holdfast::message::{CONTENT_TYPE, event};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::official_client;
use crate::producers::node_packages;
use crate::support::PATIENCE;
use crate::support::order::Account;
use crate::support::world::World;

const PACKAGES: [(&str, &str); 2] = [
    ("package.json", include_str!("contract/package.json")),
    ("package-lock.json", include_str!("contract/package-lock.json")),
];
const CHECK: &str = include_str!("contract/check.mjs");
const READ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/contract/read.py");
const SEND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/contract/send.py");

/// The document as the command prints it, with these settings.
fn document(settings: &[(&str, &str)]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    let printed = command.args(["schema", "asyncapi"]).envs(settings.iter().copied()).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    serde_json::from_slice(&printed.stdout).unwrap()
}

/// What the parser found in a document.
struct Found {
    /// Errors and warnings, in its words.
    problems: Vec<String>,
    /// By the message, what its examples do wrong.
    examples: BTreeMap<String, Vec<Vec<Value>>>,
    /// By its id, what it understood of an operation.
    operations: BTreeMap<String, Value>,
}

fn check(document: &Value) -> Found {
    let directory = node_packages("contract", &PACKAGES);
    let name = |end: &str| directory.join(format!("{}{end}", uuid::Uuid::new_v4()));
    // Node looks for packages beside the program.
    let (program, file) = (name(".mjs"), name(".json"));
    std::fs::write(&program, CHECK).unwrap();
    std::fs::write(&file, document.to_string()).unwrap();
    let ran = Command::new("node").args([&program, &file]).output().unwrap();
    for path in [program, file] {
        std::fs::remove_file(path).unwrap();
    }
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let of = |name: &str| found[name].clone();
    // 0 is an error, 1 a warning. Of what is only remarked, one is said: that there is a newer AsyncAPI than 3.0.
    let is_problem = |it: &&Value| it["severity"].as_u64().is_none_or(|severity| severity <= 1);
    let problems = found["diagnostics"].as_array().unwrap().iter().filter(is_problem);
    Found {
        problems: problems.map(|it| format!("{} at {}: {}", it["code"], it["path"], it["message"])).collect(),
        examples: serde_json::from_value(of("examples")).unwrap(),
        operations: serde_json::from_value(of("operations")).unwrap(),
    }
}

impl Found {
    /// Messages whose examples are not what their schemas describe.
    fn wrong_examples(&self) -> Vec<&str> {
        let is_wrong = |all: &Vec<Vec<Value>>| all.is_empty() || all.iter().any(|wrong| !wrong.is_empty());
        self.examples.iter().filter(|(_, all)| is_wrong(all)).map(|(name, _)| name.as_str()).collect()
    }
}

#[test]
fn asyncapis_own_parser_takes_the_document() {
    let document = document(&[]);
    let found = check(&document);
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(found.wrong_examples(), Vec::<&str>::new());
    let mut expected: Vec<&str> = BOUND_KEYS.into_iter().chain(EventContent::KINDS).collect();
    expected.sort_unstable();
    assert_eq!(found.operations.keys().collect::<Vec<_>>(), expected);
    for key in BOUND_KEYS {
        let understood = &found.operations[key];
        assert_eq!((&understood["action"], &understood["address"]), (&json!("receive"), &json!(key)));
        assert_eq!(understood["channel"]["exchange"]["name"], "orders");
        assert_eq!(understood["operation"], json!({ "ack": true, "deliveryMode": 2 }));
        assert_eq!(understood["messages"], json!([key, format!("{key}.plain")]));
        assert!(found.examples.contains_key(key) && found.examples.contains_key(&format!("{key}.plain")));
    }
    for key in EventContent::KINDS {
        let understood = &found.operations[key];
        assert_eq!((&understood["action"], &understood["address"]), (&json!("send"), &json!(key)));
        assert_eq!(understood["channel"]["exchange"]["name"], "payments");
        assert_eq!(understood["operation"], json!({ "mandatory": true, "deliveryMode": 2 }));
        assert_eq!(understood["messages"], json!([key]));
        assert!(found.examples.contains_key(key));
    }
}

#[test]
fn it_takes_what_other_settings_make_of_it() {
    let settings = [
        ("HOLDFAST_NOTICES__SIGNATURES", "require"),
        ("HOLDFAST_NOTICES__KEYS__SHOP__ENV", "SHOP_KEY"),
        ("SHOP_KEY", "0123456789abcdef0123456789abcdef"),
        ("HOLDFAST_BROKER__ORDERS_EXCHANGE", "warehouse"),
    ];
    let found = check(&document(&settings));
    assert_eq!((&found.problems, found.wrong_examples()), (&Vec::new(), Vec::new()));
    assert_eq!(found.operations["order.shipped"]["messages"], json!(["order.shipped"]), "plain JSON cannot be signed");
    assert_eq!(found.operations["order.shipped"]["channel"]["exchange"]["name"], "warehouse");
}

/// What the other tests go by can say no.
#[test]
fn what_is_wrong_with_a_document_is_found() {
    let document = document(&[]);
    let with = |pointer: &str, value: Value| {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
        check(&changed)
    };
    let found = with("/channels/order.shipped/bindings/amqp/is", json!("topic"));
    assert!(found.problems.iter().any(|it| it.contains("amqp")), "{:?}", found.problems);
    let found = with("/operations/refund_required/channel/$ref", json!("#/channels/refund"));
    assert!(!found.problems.is_empty());
    let found = with("/components/messages/capture.failed/examples/0/payload/data/amount", json!(103.37));
    assert_eq!(found.wrong_examples(), ["capture.failed"]);
    let found = with("/components/messages/order.cancelled.plain/examples/0/payload/lines/0/cancelled", json!(0));
    assert_eq!(found.wrong_examples(), ["order.cancelled.plain"]);
}

/// What the SDK makes of messages of RabbitMQ: its attributes and its data, in one object for each.
fn read_by_the_sdk(messages: &[(String, Vec<u8>)]) -> Vec<Value> {
    let mut command = Command::new(official_client::installed());
    command.args(["-I", READ]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = command.spawn().unwrap();
    let mut told = reader.stdin.take().unwrap();
    for (content_type, body) in messages {
        let body = str::from_utf8(body).unwrap();
        writeln!(told, "{}", json!({ "content_type": content_type, "body": body })).unwrap();
    }
    drop(told);
    let ended = reader.wait_with_output().unwrap();
    assert!(ended.status.success(), "the SDK cannot read one of them; its words are above");
    str::from_utf8(&ended.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The SDK reads a time as an instant, and everything else as it stands.
fn assert_read(read: &[Value], messages: &[(String, Vec<u8>)]) {
    assert_eq!(read.len(), messages.len());
    for (read, (_, body)) in read.iter().zip(messages) {
        let mut written: Value = serde_json::from_slice(body).unwrap();
        let time = written["time"].as_str().unwrap().replace('Z', "+00:00");
        written["time"] = json!(time);
        assert_eq!(read, &written);
    }
}

#[test]
fn every_kind_of_event_is_read_by_the_sdk_of_cloudevents() {
    let events = event::examples::each();
    assert_eq!(events.each_ref().map(|event| event.content.kind()), EventContent::KINDS);
    let messages = events.map(|event| (CONTENT_TYPE.to_owned(), event::encode(&event, "/holdfast/eu-1")));
    let read = read_by_the_sdk(&messages);
    assert_read(&read, &messages);
    assert_eq!(read.iter().map(|it| it["type"].as_str().unwrap()).collect::<Vec<_>>(), EventContent::KINDS);
    assert!(read.iter().all(|it| it["specversion"] == "1.0" && it["traceparent"].is_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sdk_writes_is_captured_and_what_is_published_it_reads() {
    let world = World::new().await;
    let mut worker = world.worker();
    worker.consuming().await;
    let order = world.order("sdk", Account::Flex, &[("l1", 2, 1_999)]);
    let file: PathBuf = world.directory().join("notice.json");
    std::fs::write(&file, order.shipped("s1", &[("l1", 2)]).to_string()).unwrap();
    let mut send = tokio::process::Command::new(official_client::installed());
    send.arg("-I").arg(SEND).arg(&file).env("AMQP_URL", world.broker.url.expose_secret()).kill_on_drop(true);
    let sent = tokio::time::timeout(PATIENCE, send.output()).await.expect("an end in time").unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let id = String::from_utf8(sent.stdout).unwrap();

    // Refused, set aside, and put off: events of other kinds.
    let collecting = world.order("collecting", Account::Flitt, &[("l1", 2, 1_999)]);
    let mut invalid = order.shipped("s2", &[("l1", 1)]);
    invalid["data"]["plan"]["total"] = json!(19.99);
    world.publish([order.bare("s3", &[("l1", 9)]), collecting.shipped("s1", &[("l1", 1)]), invalid]).await;
    world.outcomes(2).await;
    world.events("capture.deferred", 1).await;
    world.events("notice.rejected", 1).await;
    worker.stop().await;

    let received = world.listener.received();
    let messages: Vec<_> = received.iter().map(|it| (it.content_type.clone(), it.body.clone())).collect();
    let read = read_by_the_sdk(&messages);
    assert_read(&read, &messages);
    let kinds: Vec<&str> = received.iter().map(|it| it.kind.as_str()).collect();
    for kind in ["capture.succeeded", "capture.failed", "capture.deferred", "notice.rejected"] {
        assert!(kinds.contains(&kind), "{kind} is not among {kinds:?}");
    }
    for (read, received) in read.iter().zip(&received) {
        assert_eq!((&read["type"], &read["id"]), (&json!(received.kind), &json!(received.message_id)));
    }
    let captured = read.iter().find(|it| it["type"] == "capture.succeeded").unwrap();
    assert_eq!((&captured["subject"], &captured["data"]["caused_by"]), (&json!("sdk"), &json!(id.trim())));
    assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, 1_999);
}
