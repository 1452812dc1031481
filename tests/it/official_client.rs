//! Fondy's own Python SDK against the sandbox, and our adapter beside it: what the provider's people
//! wrote for themselves must find nothing amiss in what we pretend, nor in what we send and read.
//!
//! The SDK (`cloudipsp`) is installed once into a virtual environment below `target/tmp`. It needs
//! Python 3 with `venv`, which `./deploy/test.sh` installs, and Python's package index the first time.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use holdfast::capture::evidence::{Answer, AuthorizationStatus, Reading};
use holdfast::ids::Reference;
use holdfast::sandbox::{
    FONDY_MERCHANT, Fault, Faults, NewAuthorization, Operation, OrderStatus, Protocol, Rule, Running, Sandbox,
    TEST_SECRET, When,
};
use serde_json::{Value, json};

use crate::support::adapter;

const REQUIREMENTS: &str = include_str!("official_client/requirements.txt");
const CALLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/official_client/calls.py");

/// The SDK in a process of its own, which makes one call after the other.
struct OfficialClient {
    process: Child,
    told: ChildStdin,
    said: BufReader<ChildStdout>,
    api_url: String,
}

impl OfficialClient {
    fn start(sandbox: &Running) -> Self {
        let mut process = Command::new(installed())
            .args(["-I", CALLS])
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python of the virtual environment");
        let told = process.stdin.take().expect("piped");
        let said = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, told, said, api_url: format!("{}/api", sandbox.base_url()) }
    }

    /// A call in JSON, with the merchant's secret.
    fn call(&mut self, method: &str, data: &Value) -> Value {
        self.call_as("json", TEST_SECRET, method, data)
    }

    /// What the SDK returned, or raised.
    fn call_as(&mut self, format: &str, secret: &str, method: &str, data: &Value) -> Value {
        let told = json!({
            "api_url": self.api_url, "merchant_id": FONDY_MERCHANT.parse::<u64>().expect("a number"), "secret": secret,
            "request_type": format, "method": method, "data": data,
        });
        writeln!(self.told, "{told}").expect("the SDK listens");
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the SDK ended on {told}; its words are above"))
    }

    /// The error that the SDK raised: its code, as text.
    fn refused(&mut self, method: &str, data: &Value) -> String {
        code(&self.call(method, data))
    }
}

impl Drop for OfficialClient {
    fn drop(&mut self) {
        // Nothing to be done about one that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Python of a virtual environment that has the SDK, a client of RabbitMQ, and the SDK of `CloudEvents`. Made where
/// there is none, or another one.
pub(crate) fn installed() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official-client");
    fs::create_dir_all(&dir).expect("a directory below target");
    // Tests may be threads or processes.
    let lock = File::create(dir.join("lock")).expect("a file below target");
    lock.lock().expect("a lock on a local file");
    let (venv, complete) = (dir.join("venv"), dir.join("complete"));
    let python = venv.join("bin").join("python");
    let usable = || {
        Command::new(&python)
            .args(["-I", "-c", "import cloudipsp, cloudevents.core, pika"])
            .output()
            .is_ok_and(|ran| ran.status.success())
    };
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == REQUIREMENTS) && usable() {
        return python;
    }
    if venv.exists() {
        fs::remove_dir_all(&venv).expect("our own directory");
    }
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
        "this test needs Python 3 with venv: install the packages python3 and python3-venv, as ./deploy/test.sh does",
    );
    let requirements = dir.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).expect("a file below target");
    let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r"];
    run(
        Command::new(&python).args(pip).arg(&requirements),
        "this test installs packages from PyPI the first time: see to it that pip can reach an index",
    );
    fs::write(&complete, REQUIREMENTS).expect("a file below target");
    python
}

fn run(command: &mut Command, way_out: &str) {
    let ran = command.output().unwrap_or_else(|error| panic!("{way_out} ({error})"));
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{way_out}\n{out}{err}");
}

async fn sandbox() -> Running {
    Sandbox::start(([127, 0, 0, 1], 0).into()).await.unwrap()
}

/// An order of 151.18 UAH at the Fondy merchant.
fn order(sandbox: &Running, reference: &str, status: OrderStatus) -> Value {
    let new = NewAuthorization {
        protocol: Some(Protocol::Fondy),
        reference: Some(reference.to_owned()),
        amount_minor: 15_118,
        currency: "UAH".to_owned(),
        status,
        ..NewAuthorization::default()
    };
    sandbox.sandbox().authorize(new).unwrap();
    json!({ "order_id": reference })
}

fn with_amount(order: &Value, amount: i64) -> Value {
    json!({ "order_id": order["order_id"], "amount": amount, "currency": "UAH" })
}

/// `additional_info` is JSON in a string.
fn info(status: &Value) -> Value {
    serde_json::from_str(status["answer"]["additional_info"].as_str().expect("a string")).expect("JSON")
}

/// Codes come as numbers here and as strings there.
fn code(raised: &Value) -> String {
    let code = &raised["refused"]["error_code"];
    code.as_str().map_or_else(|| code.to_string(), str::to_owned)
}

/// In JSON and as a form, with an order id and a remark that are not ASCII.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_reads_and_captures() {
    let sandbox = sandbox().await;
    let mut client = OfficialClient::start(&sandbox);
    for (format, reference) in [("json", "order 1/ї"), ("form", "order-2")] {
        let mut call = |method: &str, data: &Value| client.call_as(format, TEST_SECRET, method, data);
        let order = order(&sandbox, reference, OrderStatus::Approved);
        let status = call("status", &order);
        assert_eq!((&status["valid"], &status["approved"]), (&json!(true), &json!(true)), "{status}");
        assert_eq!(
            (&status["answer"]["actual_amount"], &info(&status)["capture_status"]),
            (&json!("15118"), &Value::Null)
        );

        let mut capture = with_amount(&order, 10_010);
        capture["comment"] = json!("часткове списання");
        let captured = call("capture", &capture);
        assert_eq!(captured["answer"]["capture_status"], "captured", "{captured}");
        assert_eq!(captured["answer"]["order_id"], reference);
        assert_eq!(call("capture", &capture), captured, "the same amount again");

        let status = call("status", &order);
        assert_eq!((&status["valid"], &status["approved"]), (&json!(true), &json!(true)), "{status}");
        assert_eq!(info(&status)["capture_status"], "captured");
        assert_eq!(info(&status)["capture_amount"].to_string(), "100.1", "in major units");
        let other = call("capture", &with_amount(&order, 10_011));
        assert_eq!(code(&other), "1109", "{other}");

        let books = sandbox.sandbox().books();
        let booked = books.find(reference).unwrap();
        assert_eq!((booked.captured_minor, booked.voided_minor, booked.remaining_minor), (10_010, 5_108, 0));
        assert_eq!((booked.captures.len(), booked.capture_requests), (1, 3));
    }
}

/// What one of the two did, the other sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_adapter_and_the_official_client_agree() {
    let sandbox = sandbox().await;
    let mut client = OfficialClient::start(&sandbox);
    let adapter = adapter::connect(&sandbox, Protocol::Fondy);

    let theirs = order(&sandbox, "theirs", OrderStatus::Approved);
    let capture = with_amount(&theirs, 29);
    assert_eq!(client.call("capture", &capture)["answer"]["capture_status"], "captured");
    let reference = Reference::parse("theirs").unwrap();
    let Reading::Seen(seen) = adapter.lookup(&reference).await else { panic!("a signed reading") };
    assert_eq!(seen.status, AuthorizationStatus::FullyCaptured);
    assert_eq!(seen.captures.iter().map(|capture| capture.amount.minor()).collect::<Vec<_>>(), [29]);
    assert!(matches!(adapter.capture(&adapter::request("theirs", 29, "UAH")).await, Answer::Captured(_)));
    assert!(matches!(adapter.capture(&adapter::request("theirs", 30, "UAH")).await, Answer::Doubt(_)), "1109");

    let ours = order(&sandbox, "ours", OrderStatus::Approved);
    sandbox.sandbox().set_faults(once(Operation::Capture, Fault::Hold { lookups: 1, ms: 0 })).unwrap();
    assert_eq!(adapter.capture(&adapter::request("ours", 15_118, "UAH")).await, Answer::Pending);
    for shown in ["hold", "captured"] {
        let status = client.call("status", &ours);
        assert_eq!((&info(&status)["capture_status"], &status["valid"]), (&json!(shown), &json!(true)));
    }
    let again = client.call("capture", &with_amount(&ours, 15_118));
    assert_eq!(again["answer"]["capture_status"], "captured", "the same amount from either");
    assert_eq!(sandbox.sandbox().books().find("ours").unwrap().captures.len(), 1);
}

/// What is refused is refused in a way that the SDK understands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_is_refused_by_code() {
    let sandbox = sandbox().await;
    let mut client = OfficialClient::start(&sandbox);
    let approved = order(&sandbox, "approved", OrderStatus::Approved);
    assert_eq!(client.refused("capture", &with_amount(&approved, 15_119)), "1023");
    assert_eq!(client.refused("capture", &json!({ "order_id": "approved", "amount": 1, "currency": "EUR" })), "1007");
    assert_eq!(client.refused("capture", &json!({ "order_id": "a|b", "amount": 1, "currency": "UAH" })), "1034");
    assert_eq!(client.refused("status", &json!({ "order_id": "unknown" })), "1018");
    for (method, data, expected) in
        [("capture", with_amount(&approved, 1), "1007"), ("status", approved.clone(), "1014")]
    {
        for format in ["json", "form"] {
            let raised = client.call_as(format, "another secret", method, &data);
            assert_eq!((code(&raised).as_str(), &raised["refused"]["response_status"]), (expected, &json!("failure")));
        }
    }
    for (reference, status, expected) in [
        ("created", OrderStatus::Created, "1065"),
        ("expired", OrderStatus::Expired, "1052"),
        ("declined", OrderStatus::Declined, "1065"),
    ] {
        let order = order(&sandbox, reference, status);
        assert_eq!(client.refused("capture", &with_amount(&order, 1)), expected, "{status:?}");
        let status = client.call("status", &order);
        assert_eq!((&status["valid"], &status["approved"]), (&json!(true), &json!(false)), "{status}");
    }
    sandbox
        .sandbox()
        .set_faults(once(Operation::Any, Fault::Status { status: 503, retry_after_s: None, when: When::Before }))
        .unwrap();
    assert_eq!(client.call("status", &approved)["failed"], "Response code is: 503");
    let reversed = client.call("reverse", &with_amount(&approved, 15_118));
    assert_eq!((&reversed["answer"]["reverse_status"], &reversed["valid"]), (&json!("approved"), &json!(true)));
    let status = client.call("status", &approved);
    assert_eq!((&status["answer"]["order_status"], &status["valid"]), (&json!("reversed"), &json!(true)));
    assert_eq!(client.refused("capture", &with_amount(&approved, 1)), "1086");
    assert!(sandbox.sandbox().books().totals.iter().all(|total| total.captured_minor == 0));
}

fn once(operation: Operation, fault: Fault) -> Faults {
    Faults { seed: 0, rules: vec![Rule { operation, times: Some(1), ..Rule::new(fault) }] }
}
