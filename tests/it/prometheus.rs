//! A real Prometheus with the rules as they are delivered, looking at a real worker: alerts fire by what they
//! are about, and end with it.
//!
//! Only the rules' patience is shorter here. It needs Prometheus, which `./deploy/test.sh` installs. What every
//! single rule fires on, `deploy/prometheus/alerts.test.yml` tells, and `deploy/check.sh` runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use holdfast::broker::session::Session;
use holdfast::sandbox::{Fault, Rule, When};
use holdfast::settings::Broker;
use lapin::options::QueueBindOptions;
use lapin::types::FieldTable;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::PATIENCE;
use crate::support::listener;
use crate::support::order::{Account, Order};
use crate::support::world::World;

const RULES: &str = include_str!("../../deploy/prometheus/alerts.yml");

/// The name and the account of an alert that fires.
type Alert = (String, String);

/// A Prometheus of our own, ended when it is dropped.
struct Prometheus {
    address: SocketAddr,
    _process: Child,
}

impl Prometheus {
    /// Looks at the worker four times a second.
    async fn start(world: &World, worker: &str) -> Self {
        let dir = world.directory();
        let mut rules = String::new();
        for line in RULES.lines() {
            let patience = line.trim_start().starts_with("for: ");
            writeln!(rules, "{}", if patience { "        for: 500ms" } else { line }).unwrap();
        }
        assert!(rules.contains("        for: 500ms"), "no rule has any patience");
        std::fs::write(dir.join("alerts.yml"), rules).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms }}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs: [{{ job_name: holdfast, static_configs: [{{ targets: ['{worker}'] }}] }}]\n"
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = std::fs::File::create(dir.join("prometheus.log")).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs Prometheus, as ./deploy/test.sh installs it: {error}"));
        let started = Self { address, _process: process };
        let ready = async {
            while started.get("/-/ready").await.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ready = tokio::time::timeout(PATIENCE, ready).await.is_ok();
        assert!(ready, "{}", std::fs::read_to_string(dir.join("prometheus.log")).unwrap());
        started
    }

    /// A page, where it answers with one.
    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.ok()?;
        let (head, body) = reply.split_once("\r\n\r\n")?;
        head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
    }

    /// What fires now.
    async fn firing(&self) -> BTreeSet<Alert> {
        let page = self.get("/api/v1/alerts").await.expect("it answers");
        let page: Value = serde_json::from_str(&page).unwrap();
        let alerts = page["data"]["alerts"].as_array().unwrap().iter();
        let text = |label: &Value| label.as_str().unwrap_or_default().to_owned();
        alerts
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["labels"]["account"])))
            .collect()
    }

    /// Waits until this fires, and all the rest as told.
    async fn until(&self, what: &str, is_so: impl Fn(&BTreeSet<Alert>) -> bool) -> BTreeSet<Alert> {
        let mut last = BTreeSet::new();
        let reached = async {
            loop {
                last = self.firing().await;
                if is_so(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await.is_ok();
        assert!(reached, "{what}: it never came to that, but {last:?} fire");
        last
    }

    async fn fires(&self, name: &str, account: &str) {
        let alert = (name.to_owned(), account.to_owned());
        self.until(&format!("{name} {account} fires"), |firing| firing.contains(&alert)).await;
    }
}

fn orders(world: &World, account: Account, count: usize) -> Vec<Order> {
    (0..count).map(|number| world.order(&format!("{}-{number}", account.name()), account, &[("l1", 1, 500)])).collect()
}

async fn publish(world: &World, orders: &[Order]) {
    world.publish(orders.iter().map(|order| order.shipped("s1", &[("l1", 1)]))).await;
}

/// Takes away, or gives back, what leads to the queue of whoever listens to our events.
async fn bind_events(broker: &Broker, is_bound: bool) {
    let session = Session::open(broker, "test").await.unwrap();
    let channel = session.channel().await.unwrap();
    let (queue, exchange) = (listener::queue(broker), broker.payments_exchange.clone());
    let (queue, exchange, arguments) = (queue.into(), exchange.into(), FieldTable::default());
    if is_bound {
        channel.queue_bind(queue, exchange, "#".into(), QueueBindOptions::default(), arguments).await.unwrap();
    } else {
        channel.queue_unbind(queue, exchange, "#".into(), arguments).await.unwrap();
    }
    session.close(channel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_fire_by_their_causes_and_end_with_them() {
    let world = World::new().await;
    world.give_secret(Account::Fondy, "a wrong one");
    let quick = [("HOLDFAST_WORKER__RELAY_INTERVAL", "200ms"), ("HOLDFAST_BREAKER__FAILURES", "3")];
    let mut worker = world.worker_with(&quick);
    worker.consuming().await;
    let address = worker.says("worker started").await["http"].as_str().unwrap().to_owned();
    let prometheus = Prometheus::start(&world, &address).await;
    let (fondy, flex) = (Account::Fondy.name(), Account::Flex.name());
    prometheus.until("nothing fires while nothing is wrong", BTreeSet::is_empty).await;

    // A wrong secret, and a provider that does not work.
    let down = Fault::Status { status: 503, retry_after_s: None, when: When::Before };
    world.faults(vec![Rule { account: Some(Account::Flex.merchant().to_owned()), ..Rule::new(down) }]);
    let (wronged, delayed) = (orders(&world, Account::Fondy, 4), orders(&world, Account::Flex, 4));
    publish(&world, &wronged).await;
    publish(&world, &delayed).await;
    prometheus.fires("HoldfastAccountSuspended", fondy).await;
    prometheus.fires("HoldfastBreakerOpen", flex).await;

    // Nobody listens.
    bind_events(&world.broker, false).await;
    let heard_of = orders(&world, Account::Flitt, 1);
    publish(&world, &heard_of).await;
    prometheus.fires("HoldfastUnroutable", "").await;

    bind_events(&world.broker, true).await;
    world.faults(Vec::new());
    world.give_secret(Account::Fondy, Account::Fondy.secret());
    worker.hang_up();
    world.outcomes(9).await;
    prometheus.until("all is well again", BTreeSet::is_empty).await;
    world.check_books().await;

    worker.kill9().await;
    prometheus.fires("HoldfastDown", "").await;
}
