//! The power goes at any moment of a run: whatever part of what was not durable is on the disk then, the
//! ledger opens, has everything that others had seen, and the next worker brings everything to its end.
//!
//! `tests/auditor/power_loss.py` makes the images and looks at them; of some, a worker is started here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use holdfast::sandbox::{FLEX_CLIENT, Fault, Operation, Rule, When};
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::auditor::{Evidence, python};
use crate::say;
use crate::stage::{self, IMPATIENT, SECRET, accounts};
use crate::strace::Strace;
use crate::support::listener::Received;
use crate::support::order::{Account, Order};
use crate::support::world::World;

/// Orders that go through the recorded worker, of two shipments each.
const ORDERS: usize = 12;

/// Images looked at, and those of which a worker is started, unless the environment says all.
const IMAGES: (&str, &str) = ("240", "2");

/// The same for all: every image, and so many workers.
const ALL: (&str, &str) = ("all", "50");

/// Whatever a worker does with its files and its connections.
const RECORDED: &str = "trace=pwrite64,write,ftruncate,rename,unlink,fdatasync,fsync,sendto,writev,recvfrom,readv,read";

/// A run that was recorded: what was published, and the directory with everything else.
struct Recorded {
    dir: TempDir,
    world: World,
    orders: Vec<Order>,
    notices: Vec<Value>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_power_cut_leaves_on_the_disk_is_a_ledger_that_goes_on() {
    let is_all = std::env::var("HOLDFAST_SYSCALLS").is_ok_and(|said| said == "all");
    let (images, keep) = if is_all { ALL } else { IMAGES };
    let seed = std::env::var("HOLDFAST_SEED").unwrap_or_else(|_| rand::random::<u32>().to_string());
    let recorded = record().await;
    let held = recorded.cut(&["--images", images, "--keep", keep, "--seed", &seed]);
    let said = String::from_utf8_lossy(&held.stdout).into_owned();
    let again = format!("repeat with HOLDFAST_SEED={seed} cargo test --test syscalls whatever_a_power_cut");
    assert!(held.status.success(), "{again}\n{said}{}", String::from_utf8_lossy(&held.stderr));

    // On a disk that lies about what is durable, it could not hold: the check would see it.
    let lied = recorded.cut(&["--images", "60", "--seed", &seed, "--never-durable"]);
    let seen = String::from_utf8_lossy(&lied.stdout);
    assert_eq!(lied.status.code(), Some(1), "{again}\n{seen}{}", String::from_utf8_lossy(&lied.stderr));
    assert!(seen.contains("S8: lost"), "{seen}");

    let kept = recorded.kept();
    for image in &kept {
        recorded.comes_back(image).await;
    }
    say(&format!(
        "proof: power loss, seed {seed}: {}proof: power loss: a worker started on {} of the images, with broker and \
         provider as of then: everything came to its end, all books agree",
        said.replace('\n', "\nproof: power loss: ").trim_end_matches("proof: power loss: "),
        kept.len(),
    ));
}

/// A worker that was idle, from then on to its end.
async fn record() -> Recorded {
    let world = stage::world().await;
    world.faults(vec![Rule {
        operation: Operation::Capture,
        per_mille: Some(300),
        ..Rule::new(Fault::Latency { ms: 50, when: When::After })
    }]);
    let mut worker = world.worker_with(&IMPATIENT);
    worker.readiness("\"ready\":true").await;
    let dir = TempDir::with_prefix("holdfast-power-").unwrap();
    let log = dir.path().join("strace.log");
    // Longer than anything that is written at once.
    let strace = Strace::attach(&[worker.id()], &["-f", "-yy", "-xx", "-s", "16777216", "-e", RECORDED], &log);
    let ledger = world.config().with_file_name("holdfast.db");
    for suffix in ["", "-wal"] {
        std::fs::copy(format!("{}{suffix}", ledger.display()), dir.path().join(format!("base.db{suffix}"))).unwrap();
    }
    let accounts = [Account::Flex, Account::Flex, Account::Flitt].into_iter().cycle();
    let order = |(number, account)| world.order(&format!("ord-{number}"), account, &[("l1", 2, 1_001)]);
    let orders: Vec<Order> = (0..ORDERS).zip(accounts).map(order).collect();
    let ship = |shipment: &'static str| orders.iter().map(move |order| order.shipped(shipment, &[("l1", 1)]));
    let notices: Vec<Value> = ship("a").chain(ship("b")).collect();
    // Not all at once: the fewer are in a group, the more moments there are.
    for (number, few) in notices.chunks(2).enumerate() {
        world.publish(few.iter().cloned()).await;
        if number % 4 == 0 {
            world.count_becomes("SELECT count(*) FROM captures WHERE state = 'sending'", 0).await;
        }
    }
    world.outcomes(notices.len()).await;
    world.check_books().await;
    worker.stop().await;
    drop(strace);
    std::fs::write(dir.path().join("books.json"), serde_json::to_string(&world.books()).unwrap()).unwrap();
    Recorded { dir, world, orders, notices }
}

impl Recorded {
    /// Makes images of it, and looks at them.
    fn cut(&self, more: &[&str]) -> Output {
        let path = |name: &str| self.dir.path().join(name);
        let broker = url::Url::parse(self.world.broker.url.expose_secret()).unwrap();
        let provider = self.world.sandbox.base_url();
        let mut command = python("power_loss.py");
        command.arg("--record").arg(path("strace.log")).arg("--base").arg(path("base.db"));
        command.arg("--ledger").arg(self.world.config().with_file_name("holdfast.db"));
        command.args(["--broker", &format!("127.0.0.1:{}", broker.port().unwrap())]);
        command.args(["--provider", provider.trim_start_matches("http://")]);
        command.arg("--books").arg(path("books.json"));
        command.args(accounts().iter().map(|(name, merchant)| format!("{name}={merchant}")));
        command.arg("--kept").arg(path("kept")).args(more).output().expect("python3 runs")
    }

    fn kept(&self) -> Vec<PathBuf> {
        let kept = std::fs::read_dir(self.dir.path().join("kept")).unwrap();
        kept.map(|entry| entry.unwrap().path()).collect()
    }

    /// A worker is started on an image. Its broker has every message, its provider has had every request that
    /// had been sent by then.
    async fn comes_back(&self, image: &Path) {
        let about: Value = serde_json::from_slice(&std::fs::read(image.join("about.json")).unwrap()).unwrap();
        let world = stage::world().await;
        for order in &self.orders {
            world.order(&order.id, order.account, &order.lines);
        }
        send_again(&world, about["requests"].as_array().unwrap()).await;
        for file in ["holdfast.db", "holdfast.db-wal"] {
            if image.join(file).exists() {
                std::fs::copy(image.join(file), world.config().with_file_name(file)).unwrap();
            }
        }
        world.publish(self.notices.iter().cloned()).await;
        let mut worker = world.worker_with(&IMPATIENT);
        worker.consuming().await;
        let ended = "SELECT count(*) FROM shipments WHERE state IN ('settled', 'refused')";
        world.count_becomes(ended, self.notices.len().try_into().unwrap()).await;
        world.count_becomes("SELECT count(*) FROM outbox WHERE published_at IS NULL", 0).await;
        let mut received: Vec<Received> = about["published"].as_array().unwrap().iter().map(event).collect();
        let written = usize::try_from(world.count("SELECT count(*) FROM events")).unwrap();
        let all_came = |since: &[Received]| {
            let different: BTreeSet<&str> =
                received.iter().chain(since).map(|event| event.message_id.as_str()).collect();
            (different.len() == written).then(|| since.to_vec())
        };
        let since = world.listener.until("every event", all_came).await;
        received.extend(since);
        worker.stop().await;
        let config = world.config();
        let evidence = Evidence {
            dir: config.parent().unwrap(),
            ledger: config.with_file_name("holdfast.db").display().to_string(),
            books: vec![(world.books(), accounts())],
            received: &received,
            messages: world.sent().into_iter().map(|message| message.body).collect(),
            secrets: &[SECRET],
            before: Some(&image.join("holdfast.db")),
        };
        evidence.assert_holds(&[]);
    }
}

/// An event as it was published before the power went.
fn event(kept: &Value) -> Received {
    let body = BASE64_STANDARD.decode(kept["body_base64"].as_str().unwrap()).unwrap();
    Received {
        traceparent: None,
        kind: kept["type"].as_str().unwrap().to_owned(),
        message_id: kept["message_id"].as_str().unwrap().to_owned(),
        content_type: holdfast::message::CONTENT_TYPE.to_owned(),
        json: serde_json::from_slice(&body).unwrap(),
        body,
        redelivered: false,
    }
}

/// Sends requests to the world's provider as they were sent once, but for the token.
async fn send_again(world: &World, requests: &[Value]) {
    let basic = BASE64_STANDARD.encode(format!("{FLEX_CLIENT}:{SECRET}"));
    let fetched = "/api/auth/v1/oauth/token?grant_type=client_credentials";
    let fetched = post(world, fetched, &format!("Basic {basic}"), "", "").await;
    let token: Value = serde_json::from_str(&fetched).unwrap();
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    for request in requests {
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        post(world, text("path"), &bearer, text("key"), text("body")).await;
    }
}

/// What the provider answers.
async fn post(world: &World, path: &str, authorization: &str, key: &str, body: &str) -> String {
    let base = world.sandbox.base_url();
    let address = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\nIdempotency-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len(),
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    body.to_owned()
}
