//! A real Prometheus with the rules as they are delivered, looking at what a test runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::PATIENCE;
use super::world::World;

/// The rules as they are delivered.
pub const RULES: &str = include_str!("../../../deploy/prometheus/alerts.yml");

/// How patient the rules are, and in a test; and how much of something is too much. What they ask is the same.
const PATIENCE_OF_RULES: [(&str, &str); 5] = [
    ("offset 1h", "offset 5s"),
    ("[30m]", "[20s]"),
    ("acks_lost_total[1h]) > 100", "acks_lost_total[30s]) > 5"),
    ("outbox_oldest_age_seconds) > 120", "outbox_oldest_age_seconds) > 2"),
    ("messages_ready{queue=\"holdfast.work.v1\"}) > 5000", "messages_ready{queue=\"holdfast.work.v1\"}) > 50"),
];

/// The name and the account of an alert that fires; no account where it is about none.
pub type Alert = (String, String);

/// A Prometheus of our own, ended when it is dropped.
pub struct Prometheus {
    address: SocketAddr,
    _process: Child,
}

impl Prometheus {
    /// Looks at the worker four times a second, and at RabbitMQ's own exporter where there is one.
    pub async fn start(world: &World, worker: &str, rabbitmq: Option<SocketAddr>) -> Self {
        let dir = world.directory();
        std::fs::write(dir.join("alerts.yml"), impatient(RULES)).unwrap();
        let mut config = format!(
            "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms }}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n\
             - {{ job_name: holdfast, static_configs: [{{ targets: ['{worker}'] }}] }}\n"
        );
        if let Some(exporter) = rabbitmq {
            write!(
                config,
                "- job_name: rabbitmq\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  metrics_path: /metrics/detailed\n  \
                 params: {{ family: [queue_coarse_metrics, queue_consumer_count], vhost: ['/'] }}\n  \
                 static_configs: [{{ targets: ['{exporter}'] }}]\n"
            )
            .unwrap();
        }
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

    async fn until(&self, what: &str, is_so: impl Fn(&BTreeSet<Alert>) -> bool) {
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
    }

    /// Waits until this one fires. No account: it is about none.
    pub async fn fires(&self, name: &str, account: &str) {
        let alert = (name.to_owned(), account.to_owned());
        self.until(&format!("{name} {account} fires"), |firing| firing.contains(&alert)).await;
    }

    /// Does it fire now, for whatever account?
    pub async fn is_firing(&self, name: &str) -> bool {
        self.firing().await.iter().any(|(firing, _)| firing == name)
    }

    /// Waits until none of these fires.
    pub async fn ends(&self, names: &[&str]) {
        let ended = |firing: &BTreeSet<Alert>| firing.iter().all(|(name, _)| !names.contains(&name.as_str()));
        self.until(&format!("{names:?} end"), ended).await;
    }

    /// Waits until nothing fires.
    pub async fn is_silent(&self) {
        self.until("nothing fires", BTreeSet::is_empty).await;
    }
}

/// The same rules, in a hurry.
fn impatient(rules: &str) -> String {
    let mut hurried = String::new();
    for line in rules.lines() {
        let waits = line.trim_start().starts_with("for: ");
        writeln!(hurried, "{}", if waits { "        for: 500ms" } else { line }).unwrap();
    }
    assert!(hurried.contains("        for: 500ms"), "no rule has any patience");
    for (patient, hurry) in PATIENCE_OF_RULES {
        assert!(hurried.contains(patient), "no rule says {patient}");
        hurried = hurried.replace(patient, hurry);
    }
    hurried
}
