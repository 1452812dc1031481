//! Everything around the worker: four providers with three accounts each, a broker, a ledger, and every
//! duration of the settings shrunk.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holdfast::broker::session::Session;
use holdfast::broker::topology::{self, Topology};
use holdfast::sandbox::{
    Books, FLEX_CLIENT, FLITT_MERCHANT, FONDY_MERCHANT, Protocol, Running, Sandbox, Settings, TEST_SECRET,
};
use holdfast::settings::Broker;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation};
use rusqlite::{Connection, OpenFlags};
use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::account::Account;
use crate::auditor::Evidence;
use crate::faults;
use crate::orders::Order;
use crate::progress::Progress;
use crate::support::listener::Listener;
use crate::support::worker::Worker;
use crate::support::{self, depth};

/// How long the worker waits for an answer; a provider that hangs does so for longer.
const TIMEOUT_MS: u64 = 1_200;
pub const SILENT_MS: u64 = TIMEOUT_MS + 200;

/// Work that is done long after the worker has given up, and has looked, but before what a look does not
/// see means anything.
pub const LATE_MS: u64 = TIMEOUT_MS + 1_500;

/// What is not there so long after the last moment of sending will never be there.
const QUIET_MS: u64 = 4_000;

/// How long nothing may move before the run has failed.
const STUCK: Duration = Duration::from_mins(2);

/// Messages confirmed at a time.
const CHUNK: usize = 1_000;

/// Everything around the worker.
pub struct Stage {
    pub sandboxes: Vec<Running>,
    pub listener: Listener,
    broker: Broker,
    dir: TempDir,
    workers: AtomicUsize,
}

impl Stage {
    /// With all faults armed.
    pub async fn new(seed: u64) -> Self {
        let mut sandboxes = Vec::new();
        for (number, keys) in (0..).zip(faults::keys()) {
            let running = Sandbox::start(([127, 0, 0, 1], 0).into()).await.unwrap();
            running.sandbox().set_settings(Settings { keys: keys.rules });
            running.sandbox().set_faults(faults::rules(seed.wrapping_add(number), keys.forgets)).unwrap();
            sandboxes.push(running);
        }
        let broker = support::broker().await;
        let session = Session::open(&broker, "test").await.unwrap();
        topology::declare(&session, &Topology::of(&broker)).await.unwrap();
        let channel = session.channel().await.unwrap();
        session.close(channel).await;
        let listener = Listener::start(&broker).await;
        let dir = TempDir::with_prefix("holdfast-storm-").unwrap();
        let stage = Self { sandboxes, listener, broker, dir, workers: AtomicUsize::new(0) };
        std::fs::write(stage.config(), stage.settings()).unwrap();
        stage
    }

    /// The twelve.
    pub fn accounts(&self) -> Vec<Account> {
        let protocols = [Protocol::FlexPay, Protocol::Flitt, Protocol::Fondy];
        let providers = 0..self.sandboxes.len();
        providers.flat_map(|provider| protocols.map(|protocol| Account { protocol, provider })).collect()
    }

    /// A provider's books.
    pub fn books(&self, provider: usize) -> Books {
        self.sandboxes[provider].sandbox().books()
    }

    /// The next worker. A shortcut may be switched on in it, to see that the verdict finds it.
    pub fn worker(&self) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let mutant = std::env::var("HOLDFAST_TEST_MUTANT").unwrap_or_default();
        let environment =
            [("SECRET", TEST_SECRET), ("CLIENT_SECRET", FLEX_CLIENT), ("HOLDFAST_TEST_MUTANT", mutant.as_str())];
        Worker::spawn(&self.config(), self.dir.path().join(format!("worker-{number}.log")), &environment)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("holdfast.toml")
    }

    /// Holds the money of all orders, and publishes their shipments: the first ones of all orders, then
    /// the second ones. One in forty comes twice.
    pub async fn publish(&self, orders: &[Order]) -> Vec<serde_json::Value> {
        for order in orders {
            self.sandboxes[order.account.provider].sandbox().authorize(order.authorization()).unwrap();
        }
        let most = orders.iter().map(|order| order.shipments.len()).max().unwrap();
        let mut notices = Vec::new();
        for number in 0..most {
            // Mixed, so that all accounts are busy all the time.
            let mut having: Vec<&Order> = orders.iter().filter(|order| number < order.shipments.len()).collect();
            having.sort_by_key(|order| order.id.split('-').rev().map(str::to_owned).collect::<Vec<_>>());
            for (index, order) in having.into_iter().enumerate() {
                let notice = order.shipped(number);
                if index % 40 == 0 {
                    notices.push(notice.clone());
                }
                notices.push(notice);
            }
        }
        let session = Session::open(&self.broker, "test").await.unwrap();
        let channel = session.channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for chunk in notices.chunks(CHUNK) {
            let mut confirms = Vec::new();
            for notice in chunk {
                let properties = BasicProperties::default()
                    .with_delivery_mode(2)
                    .with_content_type("application/cloudevents+json".into());
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let (exchange, key) = (self.broker.orders_exchange.as_str().into(), "order.shipped".into());
                let body = notice.to_string();
                confirms
                    .push(channel.basic_publish(exchange, key, options, body.as_bytes(), properties).await.unwrap());
            }
            let confirmed = futures_util::future::try_join_all(confirms).await.unwrap();
            assert!(confirmed.iter().all(|one| matches!(one, Confirmation::Ack(None))), "all are queued");
        }
        session.close(channel).await;
        notices
    }

    /// Waits until it is so far.
    pub async fn until(&self, enough: impl Fn(&Progress) -> bool) {
        let mut last = (self.progress(), Instant::now());
        loop {
            let now = self.progress();
            if enough(&now) {
                return;
            }
            if now != last.0 {
                last = (now, Instant::now());
            }
            assert!(last.1.elapsed() < STUCK, "nothing moves any more: {now:?}\n{}", self.stuck());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// How far it all is, by the ledger.
    pub fn progress(&self) -> Progress {
        let ledger = self.ledger();
        let count = |sql: &str| -> usize { ledger.query_row(sql, [], |row| row.get(0)).unwrap() };
        Progress {
            ended: count("SELECT count(*) FROM shipments WHERE state = 'settled' OR state = 'refused'"),
            open: count("SELECT count(*) FROM captures WHERE is_open = 1"),
            unpublished: count("SELECT count(*) FROM outbox WHERE published_at IS NULL"),
            closing: count("SELECT count(*) FROM orders WHERE closes_at IS NOT NULL"),
            attempts: count("SELECT coalesce(sum(attempts), 0) FROM captures"),
        }
    }

    fn stuck(&self) -> String {
        let ledger = self.ledger();
        let sql = "SELECT a.account || ' ' || a.reference || ' ' || c.state || ' attempts ' || c.attempts
                     || ' looks ' || c.looks || ' ' || coalesce(c.last_seen, '')
                   FROM captures c JOIN authorizations a USING (authorization_row) WHERE c.is_open = 1 LIMIT 20";
        let mut statement = ledger.prepare(sql).unwrap();
        let lines: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        lines.join("\n")
    }

    /// The ledger, for reading, by a connection of our own.
    pub fn ledger(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.dir.path().join("holdfast.db"), flags).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    /// The verdict of the auditor from outside.
    pub fn audit(&self, published: &[serde_json::Value]) -> String {
        let name = |protocol, provider| Account { protocol, provider }.name();
        let names = |provider| {
            let merchants = [
                (Protocol::FlexPay, FLEX_CLIENT),
                (Protocol::Flitt, FLITT_MERCHANT),
                (Protocol::Fondy, FONDY_MERCHANT),
            ];
            merchants.map(|(protocol, merchant)| (name(protocol, provider), merchant)).into()
        };
        let received = self.listener.received();
        let evidence = Evidence {
            dir: self.dir.path(),
            ledger: self.dir.path().join("holdfast.db").display().to_string(),
            books: (0..self.sandboxes.len()).map(|provider| (self.books(provider), names(provider))).collect(),
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

    /// Longer than the window within which the account that may lose keys sends again without a read.
    pub async fn keys_may_be_forgotten(&self) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    /// Longer than any provider takes for anything.
    pub async fn late_work_is_done(&self) {
        tokio::time::sleep(Duration::from_millis(2 * LATE_MS)).await;
    }

    fn settings(&self) -> String {
        let mut text = format!(
            r#"
[broker]
url = "{url}"
declare_orders = true
reconnect_min = "20ms"
reconnect_max = "200ms"
[ledger]
url = "sqlite:{ledger}"
[http]
listen = "127.0.0.1:0"
[capture]
deadline_margin = "10s"
derived_deadline_margin = "10s"
final_grace = "500ms"
quiet = "{QUIET_MS}ms"
send_within = "1s"
parked_for = "200ms"
retry_after_max = "200ms"
look_after = ["400ms", "600ms", "1s"]
disk_free_min = "1MiB"
[retry]
initial = "50ms"
max = "500ms"
[breaker]
failures = 20
wait = "50ms"
wait_max = "200ms"
recovery = "200ms"
[suspension]
probe_interval = "200ms"
[worker]
watch_interval = "100ms"
relay_interval = "1s"
drain_grace = "10s"
"#,
            url = self.broker.url.expose_secret(),
            ledger = self.dir.path().join("holdfast.db").display(),
        );
        for account in self.accounts() {
            let base = self.sandboxes[account.provider].base_url();
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
                     client_secret = {{ env = \"CLIENT_SECRET\" }}\nresend_window = \"{}\"",
                    faults::keys()[account.provider].resend_window,
                ),
            };
            write!(
                text,
                "[accounts.{}]\n{of_protocol}\nconcurrency = 8\ntimeout = \"{TIMEOUT_MS}ms\"\nconnect_timeout = \"1s\"\n",
                account.name(),
            )
            .unwrap();
        }
        text
    }
}
