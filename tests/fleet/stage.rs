//! Everything around the workers: a broker and a database of their own, a provider that takes its time, and
//! a network between each worker and both servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holdfast::broker::local_node::LocalNode;
use holdfast::broker::session::Session;
use holdfast::broker::topology::{self, Topology};
use holdfast::ledger::postgres::local_server::{Database, LocalServer};
use holdfast::sandbox::{
    Books, FLEX_CLIENT, FLITT_MERCHANT, FONDY_MERCHANT, Fault, Faults, Operation, Protocol, Rule, Running, Sandbox,
    TEST_SECRET, When,
};
use holdfast::settings::Broker;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation};
use rusqlite::Connection;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::account::Account;
use crate::auditor::Evidence;
use crate::orders::Order;
use crate::progress::Progress;
use crate::proxy::{Proxy, Speaks};
use crate::support::listener::{ANSWER_MAX, Listener};
use crate::support::worker::Worker;
use crate::support::{broker_at, copy, depth, temp_dir};

/// Workers at a time.
pub const WORKERS: usize = 4;

/// How late the provider answers. Half of the captures are made at the beginning of it, half at the end.
const LATENCY_MS: u64 = 200;

/// How long nothing may move before the run has failed.
const STUCK: Duration = Duration::from_mins(2);

/// How long the shipments are published for, so that all that happens meets some of them.
const PUBLISHING: Duration = Duration::from_secs(20);

/// Times that a chunk of messages is published in.
const CHUNKS: usize = 40;

/// Everything around the workers.
pub struct Stage {
    /// One provider.
    pub sandboxes: Vec<Running>,
    pub listener: Listener,
    pub node: tokio::sync::Mutex<LocalNode>,
    pub server: LocalServer,
    /// To the ledger and to the broker, of each place for a worker.
    pub networks: Vec<[Proxy; 2]>,
    database: Database,
    /// What the workers left, once they are gone.
    left: Mutex<Option<Connection>>,
    broker: Broker,
    dir: TempDir,
    workers: AtomicUsize,
}

impl Stage {
    pub async fn new(seed: u64) -> Self {
        let server = LocalServer::start().unwrap();
        let database = server.create_database().unwrap();
        let node = LocalNode::start(&temp_dir(), &[]).await.unwrap();
        let sandbox = Sandbox::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        sandbox.sandbox().set_faults(Faults { seed, rules: latency() }).unwrap();
        let broker = broker_at(node.url("/"));
        let session = Session::open(&broker, "test").await.unwrap();
        topology::declare(&session, &Topology::of(&broker)).await.unwrap();
        let channel = session.channel().await.unwrap();
        session.close(channel).await;
        let listener = Listener::start(&broker).await;
        // From here on everything that was declared survives a crash.
        node.flush().await.unwrap();
        let broker_port = port(&broker.url);
        let mut networks = Vec::new();
        for _ in 0..WORKERS {
            let to_ledger = Proxy::start(server.port(), Speaks::Postgres).await;
            networks.push([to_ledger, Proxy::start(broker_port, Speaks::Amqp).await]);
        }
        let dir = TempDir::with_prefix("holdfast-fleet-").unwrap();
        let (node, left, workers) = (tokio::sync::Mutex::new(node), Mutex::new(None), AtomicUsize::new(0));
        let sandboxes = vec![sandbox];
        let stage = Self { sandboxes, listener, node, server, networks, database, left, broker, dir, workers };
        std::fs::write(stage.config(), stage.settings()).unwrap();
        stage
    }

    /// One for each protocol.
    pub fn accounts() -> Vec<Account> {
        [Protocol::FlexPay, Protocol::Flitt, Protocol::Fondy].map(|protocol| Account { protocol, provider: 0 }).into()
    }

    /// The provider's books.
    pub fn books(&self, provider: usize) -> Books {
        self.sandboxes[provider].sandbox().books()
    }

    /// The next worker in one of the places. A shortcut may be switched on in it, to see that the verdict
    /// finds it.
    pub fn worker(&self, place: usize) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let [to_ledger, to_broker] = &self.networks[place];
        let ledger = with_port(&self.database.tcp_url, to_ledger.port) + "?sslmode=disable";
        let broker = with_port(&self.broker.url, to_broker.port);
        let mutant = std::env::var("HOLDFAST_TEST_MUTANT").unwrap_or_default();
        let environment = [
            ("SECRET", TEST_SECRET),
            ("CLIENT_SECRET", FLEX_CLIENT),
            ("HOLDFAST_LEDGER__URL", &ledger),
            ("HOLDFAST_BROKER__URL", &broker),
            ("HOLDFAST_TEST_MUTANT", &mutant),
        ];
        Worker::spawn(&self.config(), self.log(number), &environment)
    }

    /// What all workers have logged.
    pub fn logs(&self) -> Vec<Value> {
        let logs = (0..self.workers.load(Ordering::Relaxed)).map(|number| std::fs::read_to_string(self.log(number)));
        let logs: Vec<String> = logs.map(Result::unwrap).collect();
        logs.iter().flat_map(|log| log.lines()).filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Holds the money of these orders.
    pub fn hold(&self, orders: &[Order]) {
        for order in orders {
            self.sandboxes[0].sandbox().authorize(order.authorization()).unwrap();
        }
    }

    /// Holds the money of all orders, and publishes their shipments as the shipment side does, over a while
    /// and until they are confirmed: the first ones of all orders, then the second ones. Some come twice.
    pub async fn publish(&self, orders: &[Order]) -> Vec<Value> {
        self.hold(orders);
        let most = orders.iter().map(|order| order.shipments.len()).max().unwrap();
        let mut notices = Vec::new();
        for number in 0..most {
            for (index, order) in orders.iter().filter(|order| number < order.shipments.len()).enumerate() {
                let notice = order.shipped(number);
                if index % 40 == 0 {
                    notices.push(notice.clone());
                }
                notices.push(notice);
            }
        }
        let mut pace = tokio::time::interval(PUBLISHING / u32::try_from(CHUNKS).unwrap());
        for chunk in notices.chunks(notices.len().div_ceil(CHUNKS)) {
            pace.tick().await;
            self.confirm(chunk).await;
        }
        notices
    }

    /// Publishes these, and again until all are confirmed.
    pub async fn confirm(&self, notices: &[Value]) {
        let began = Instant::now();
        while let Err(error) = self.publish_once(notices).await {
            assert!(began.elapsed() < STUCK, "publishing failed: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// All of them, confirmed; or an error, and nobody knows which.
    async fn publish_once(&self, notices: &[Value]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let session = tokio::time::timeout(ANSWER_MAX, Session::open(&self.broker, "test")).await??;
        let publishing = async {
            let channel = session.channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let mut confirms = Vec::new();
            for notice in notices {
                let properties = BasicProperties::default()
                    .with_delivery_mode(2)
                    .with_content_type("application/cloudevents+json".into());
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let (exchange, key) = (self.broker.orders_exchange.as_str().into(), "order.shipped".into());
                let body = notice.to_string();
                confirms.push(channel.basic_publish(exchange, key, options, body.as_bytes(), properties).await?);
            }
            let confirmed = futures_util::future::try_join_all(confirms).await?;
            let all = confirmed.iter().all(|one| matches!(one, Confirmation::Ack(None)));
            if all { Ok(()) } else { Err("a message was returned or refused".into()) }
        };
        tokio::time::timeout(self.broker.operation_timeout, publishing).await?
    }

    /// Waits until it is so far.
    pub async fn until(&self, enough: impl Fn(&Progress) -> bool) -> Progress {
        let mut client = None;
        let mut last = (Progress::default(), Instant::now());
        loop {
            if let Some(now) = self.progress(&mut client).await {
                if enough(&now) {
                    return now;
                }
                if now != last.0 {
                    last = (now, Instant::now());
                }
            }
            let is_stuck = last.1.elapsed() > STUCK;
            assert!(!is_stuck, "nothing moves any more: {:?}\n{}", last.0, self.stuck().await);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// How far it all is, by the ledger; nothing while it is away.
    async fn progress(&self, client: &mut Option<Client>) -> Option<Progress> {
        const SQL: &str = "SELECT
            (SELECT count(*) FROM shipments WHERE state = 'settled' OR state = 'refused'),
            (SELECT count(*) FROM captures WHERE is_open = 1),
            (SELECT count(*) FROM outbox WHERE published_at IS NULL),
            (SELECT count(*) FROM orders WHERE closes_at IS NOT NULL),
            (SELECT coalesce(sum(attempts), 0)::bigint FROM captures)";
        if client.as_ref().is_none_or(Client::is_closed) {
            *client = Some(copy::connect(&self.database.url).await.ok()?);
        }
        let row = client.as_ref()?.query_one(SQL, &[]).await.ok()?;
        let count = |index: usize| usize::try_from(row.get::<_, i64>(index)).unwrap();
        let (ended, open, unpublished) = (count(0), count(1), count(2));
        Some(Progress { ended, open, unpublished, closing: count(3), attempts: count(4) })
    }

    async fn stuck(&self) -> String {
        let sql = "SELECT a.account || ' ' || a.reference || ' ' || c.state || ' attempts ' || c.attempts
                     || ' looks ' || c.looks || ' due ' || coalesce(c.due_at, 0) || ' of worker '
                     || coalesce(c.claimed_by, 0) || ' ' || coalesce(c.last_seen, '')
                   FROM captures c JOIN authorizations a USING (authorization_row) WHERE c.is_open = 1 LIMIT 20";
        let client = copy::connect(&self.database.url).await.unwrap();
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
    }

    /// The workers are gone: what they left can be read.
    pub async fn is_over(&self) {
        *self.left.lock().unwrap() = Some(copy::ledger(&self.database.url).await);
    }

    /// What they left, for reading.
    pub fn ledger(&self) -> Connection {
        self.left.lock().unwrap().take().expect("it is over")
    }

    /// The verdict of the auditor from outside, which looks at the ledger itself.
    pub fn audit(&self, published: &[Value]) -> String {
        let merchant = |account: &Account| match account.protocol {
            Protocol::FlexPay => FLEX_CLIENT,
            Protocol::Flitt => FLITT_MERCHANT,
            Protocol::Fondy => FONDY_MERCHANT,
        };
        let names = Self::accounts().iter().map(|account| (account.name(), merchant(account))).collect();
        let received = self.listener.received();
        let evidence = Evidence {
            dir: self.dir.path(),
            ledger: self.database.url.expose_secret().to_owned(),
            books: vec![(self.books(0), names)],
            received: &received,
            messages: published.iter().map(|notice| notice.to_string().into_bytes()).collect(),
            // Theirs are words that are everywhere.
            secrets: &[],
            before: None,
        };
        evidence.assert_holds(&[])
    }

    /// Messages that are still in our queues.
    pub async fn queued(&self) -> BTreeMap<String, u32> {
        let mut queued = BTreeMap::new();
        for queue in [&self.broker.work_queue, &self.broker.dead_queue] {
            queued.insert(queue.clone(), depth(&self.broker, queue).await);
        }
        queued
    }

    /// Ends the database with SIGKILL, as the system does when it is out of memory.
    pub fn kill_database(&self) {
        let file = std::fs::read_to_string(self.server.dir().join("data/postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    /// Starts the database again, which it refuses while a part of what was there before is still ending.
    pub fn start_database(&self) {
        let began = Instant::now();
        while let Err(error) = self.server.start_again() {
            assert!(began.elapsed() < STUCK, "{error}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("holdfast.toml")
    }

    fn log(&self, worker: usize) -> PathBuf {
        self.dir.path().join(format!("worker-{worker}.log"))
    }

    fn settings(&self) -> String {
        let base = self.sandboxes[0].base_url();
        let mut text = r#"
[broker]
declare_orders = true
operation_timeout = "5s"
reconnect_min = "20ms"
reconnect_max = "500ms"
[http]
listen = "127.0.0.1:0"
[capture]
deadline_margin = "10s"
derived_deadline_margin = "10s"
final_grace = "2s"
quiet = "8s"
send_within = "3s"
look_after = ["400ms", "600ms", "1s"]
[retry]
initial = "50ms"
max = "1s"
[worker]
watch_interval = "200ms"
relay_interval = "1s"
drain_grace = "10s"
"#
        .to_owned();
        for account in Self::accounts() {
            let of_protocol = match account.protocol {
                Protocol::Flitt => format!(
                    "protocol = \"flitt\"\nbase_url = \"{base}\"\nmerchant_id = {FLITT_MERCHANT}\nsecret = {{ env = \"SECRET\" }}"
                ),
                Protocol::Fondy => format!(
                    "protocol = \"fondy\"\nbase_url = \"{base}\"\nmerchant_id = {FONDY_MERCHANT}\nsecret = {{ env = \"SECRET\" }}"
                ),
                Protocol::FlexPay => format!(
                    "protocol = \"flex_pay\"\nbase_url = \"{base}/api/flexpay\"\n\
                     token_url = \"{base}/api/auth/v1/oauth/token\"\nclient_id = \"{FLEX_CLIENT}\"\n\
                     client_secret = {{ env = \"CLIENT_SECRET\" }}"
                ),
            };
            write!(text, "[accounts.{}]\n{of_protocol}\ntimeout = \"3s\"\nconnect_timeout = \"2s\"\n", account.name())
                .unwrap();
        }
        text
    }
}

fn latency() -> Vec<Rule> {
    let late = |operation, per_mille, when| Rule {
        operation,
        per_mille,
        ..Rule::new(Fault::Latency { ms: LATENCY_MS, when })
    };
    vec![
        late(Operation::Capture, Some(500), When::Before),
        late(Operation::Capture, None, When::After),
        late(Operation::Lookup, None, When::Before),
    ]
}

/// The port of an address with user, host and port.
fn port(url: &SecretString) -> u16 {
    url::Url::parse(url.expose_secret()).unwrap().port().unwrap()
}

fn with_port(url: &SecretString, port: u16) -> String {
    let mut url = url::Url::parse(url.expose_secret()).unwrap();
    url.set_port(Some(port)).unwrap();
    url.into()
}
