//! Everything around a worker, real but for the money: a virtual host of RabbitMQ, the sandbox, a
//! ledger on disk, a consumer of the events, and the shipment side.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdfast::broker::session::Session;
use holdfast::broker::topology::{self, Topology};
use holdfast::private_file;
use holdfast::sandbox::{Books, Fault, Faults, NewAuthorization, Operation, Rule, Running, Sandbox};
use holdfast::settings::Broker;
use rusqlite::Connection;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use uuid::Uuid;

use super::PATIENCE;
use super::audit;
use super::listener::{ANSWER_MAX, Listener, Received};
use super::named::{self, Sweep};
use super::order::{Account, Message, Order};
use super::publish::publish_once;
use super::store::{Kind, Store};
use super::worker::Worker;

/// Everything around a worker. It stays when workers come and go.
pub struct World {
    pub sandbox: Running,
    pub broker: Broker,
    pub listener: Listener,
    _sweep: Option<Sweep>,
    store: Store,
    dir: TempDir,
    sent: Mutex<Vec<Message>>,
    workers: AtomicUsize,
}

impl World {
    /// On a virtual host of the shared node, with a ledger in a file.
    pub async fn new() -> Self {
        Self::on(Kind::Sqlite).await
    }

    /// The same, with this kind of a ledger.
    pub async fn on(kind: Kind) -> Self {
        Self::of(super::broker().await, kind).await
    }

    /// On this broker.
    pub async fn at(broker: Broker) -> Self {
        Self::of(broker, Kind::Sqlite).await
    }

    async fn of(broker: Broker, kind: Kind) -> Self {
        let sandbox = Sandbox::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let dir = TempDir::with_prefix("holdfast-it-").unwrap();
        let session = Session::open(&broker, "test").await.unwrap();
        topology::declare(&session, &Topology::of(&broker)).await.unwrap();
        let channel = session.channel().await.unwrap();
        session.close(channel).await;
        let listener = Listener::start(&broker).await;
        let sweep = std::env::var_os(named::NAMED).map(|_| Sweep(broker.clone()));
        let store = Store::new(kind, dir.path().join("holdfast.db"));
        let (sent, workers) = (Mutex::default(), AtomicUsize::new(0));
        let world = Self { sandbox, broker, listener, _sweep: sweep, store, dir, sent, workers };
        std::fs::write(world.config(), world.settings()).unwrap();
        world
    }

    /// The settings file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("holdfast.toml")
    }

    /// A worker, as configured.
    pub fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    /// A worker with more in its environment.
    pub fn worker_with(&self, environment: &[(&str, &str)]) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        Worker::spawn(&self.config(), self.dir.path().join(format!("worker-{number}.log")), environment)
    }

    /// A worker as somebody else's command line starts it.
    pub fn worker_from(&self, command: tokio::process::Command) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        Worker::spawn_command(command, self.dir.path().join(format!("worker-{number}.log")))
    }

    /// The directory of all its files.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// A worker whose disk can be filled.
    #[cfg(target_os = "linux")]
    pub fn worker_on_a_small_disk(&self, environment: &[(&str, &str)]) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let log = self.dir.path().join(format!("worker-{number}.log"));
        Worker::spawn_on_a_small_disk(&self.config(), log, environment)
    }

    /// The first worker on a ledger that was restored from a backup.
    pub fn worker_after_restore(&self) -> Worker {
        self.worker_after_restore_with(&[])
    }

    /// The same, with more in its environment.
    pub fn worker_after_restore_with(&self, environment: &[(&str, &str)]) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let log = self.dir.path().join(format!("worker-{number}.log"));
        Worker::spawn_with(&self.config(), log, environment, &["--after-restore"])
    }

    /// An order and the money held for it: as much as it owes.
    pub fn order(&self, id: &str, account: Account, lines: &[(&'static str, u32, i64)]) -> Order {
        self.order_with(id, account, lines, |_| {})
    }

    /// The same, of which the money is held for so long.
    pub fn order_held(&self, id: &str, account: Account, lines: &[(&'static str, u32, i64)], held: Duration) -> Order {
        self.order_with(id, account, lines, |order| order.expires_at = order.created_at + held)
    }

    /// The same, changed before the money is held. Its reference comes from its id, and with it every
    /// id that is derived from the two: they are the same in every run.
    pub fn order_with(
        &self,
        id: &str,
        account: Account,
        lines: &[(&'static str, u32, i64)],
        change: impl FnOnce(&mut Order),
    ) -> Order {
        let now = holdfast::clock::now();
        let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes());
        let mut order = Order {
            id: id.to_owned(),
            account,
            reference: if account.is_single() { format!("{id}-ref") } else { uuid.to_string() },
            authorized: 0,
            created_at: now,
            expires_at: now,
            lines: lines.to_vec(),
            shipping: 0,
            tax: 0,
        };
        change(&mut order);
        let amount_minor = if order.authorized == 0 { order.total() } else { order.authorized };
        let held = (order.expires_at - order.created_at).num_milliseconds();
        let new = NewAuthorization {
            protocol: Some(account.protocol()),
            reference: Some(order.reference.clone()),
            amount_minor,
            currency: account.currency().to_owned(),
            lifetime_ms: (held > 0).then(|| held.try_into().unwrap()),
            ..NewAuthorization::default()
        };
        let booked = self.sandbox.sandbox().authorize(new).unwrap();
        Order { shipping: order.shipping, tax: order.tax, ..Order::new(id, account, &booked, lines) }
    }

    /// What goes wrong at the provider from now on, instead of what went wrong before.
    pub fn faults(&self, rules: Vec<Rule>) {
        self.sandbox.sandbox().set_faults(Faults { seed: 7, rules }).unwrap();
    }

    /// Something that goes wrong with the next captures, so many times.
    pub fn fault_on_captures(&self, fault: Fault, times: Option<u32>) {
        self.faults(vec![Rule { operation: Operation::Capture, times, ..Rule::new(fault) }]);
    }

    /// The provider's books.
    pub fn books(&self) -> Books {
        self.sandbox.sandbox().books()
    }

    /// Publishes to the `orders` exchange as the shipment side does: persistent, mandatory, and
    /// again until every message is confirmed.
    pub async fn publish(&self, messages: impl IntoIterator<Item = impl Into<Message>>) {
        let messages: Vec<Message> = messages.into_iter().map(Into::into).collect();
        let publishing = async {
            // A node that goes away may never answer. One that many tests share is only slow at times.
            let answers_within = if self.broker_may_fail() { ANSWER_MAX } else { PATIENCE };
            let once = || tokio::time::timeout(answers_within, publish_once(&self.broker, &messages));
            while let Err(error) = once().await.unwrap_or_else(|late| Err(late.into())) {
                assert!(self.broker_may_fail(), "publishing failed: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, publishing).await.expect("publishing in time");
        self.sent.lock().unwrap().extend(messages);
    }

    /// Only on a node of one's own.
    fn broker_may_fail(&self) -> bool {
        self.broker.url.expose_secret().ends_with("%2F")
    }

    /// Everything that was published and confirmed.
    pub fn sent(&self) -> Vec<Message> {
        self.sent.lock().unwrap().clone()
    }

    /// Waits until so many shipments have their outcomes; returns them by the order of arrival.
    pub async fn outcomes(&self, shipments: usize) -> Vec<Received> {
        let what = format!("outcomes of {shipments} shipments");
        self.listener.reaches(&what, |counts| counts.outcomes >= shipments).await;
        let mut seen = std::collections::BTreeSet::new();
        let first = |event: &Received| event.is_outcome() && seen.insert(event.about());
        self.listener.received().into_iter().filter(first).collect()
    }

    /// Waits until so many different events of a type have come; returns them.
    pub async fn events(&self, kind: &str, count: usize) -> Vec<Received> {
        let what = format!("{count} {kind}");
        self.listener
            .until(&what, |received| {
                let mut seen = std::collections::BTreeSet::new();
                let first = |event: &&Received| event.kind == kind && seen.insert(event.message_id.clone());
                let events: Vec<Received> = received.iter().filter(first).cloned().collect();
                (events.len() >= count).then_some(events)
            })
            .await
    }

    /// For `ledger.url`, as the settings have it.
    pub fn ledger_url(&self) -> String {
        self.store.url()
    }

    /// The same over TCP, with a password.
    pub fn ledger_over_tcp(&self) -> SecretString {
        self.store.tcp_url()
    }

    /// Puts a secret where an account's is read from.
    pub fn give_secret(&self, account: Account, secret: &str) {
        private_file::write(&self.secret_file(account), secret).unwrap();
    }

    fn secret_file(&self, account: Account) -> PathBuf {
        self.dir.path().join(format!("{}-secret", account.name()))
    }

    /// Runs a command of ours to its end: exit code, standard output and standard error.
    pub async fn holdfast(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(arguments).arg("--config").arg(self.config()).current_dir(self.dir.path());
        command.env("USER", "olga").env_remove("SUDO_USER");
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("an end in time").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Runs a command of ours that has to end with this code, and returns what it wrote.
    pub async fn runs(&self, code: i32, arguments: &[&str]) -> String {
        let (ended, written, said) = self.holdfast(arguments).await;
        assert_eq!(ended, code, "{arguments:?}: {written}{said}");
        written + &said
    }

    /// Runs a command of ours to its end as [`World::holdfast`] does, and reads what it wrote as JSON.
    pub async fn holdfast_json(&self, arguments: &[&str]) -> (i32, serde_json::Value, String) {
        let (code, wrote, said) = self.holdfast(&[arguments, &["--output", "json"]].concat()).await;
        (code, serde_json::from_str(&wrote).unwrap_or_else(|_| panic!("{wrote}{said}")), said)
    }

    /// The ledger, for reading, by a connection of our own.
    pub fn ledger(&self) -> Connection {
        self.store.read()
    }

    /// One number from the ledger.
    pub fn count(&self, sql: &str) -> i64 {
        self.store.count(sql).unwrap_or_else(|| panic!("it cannot be counted: {sql}"))
    }

    /// Waits until a number in the ledger is this.
    pub async fn count_becomes(&self, sql: &str, expected: i64) {
        let mut last = None;
        let reached = async {
            loop {
                last = self.store.count(sql);
                if last == Some(expected) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await.is_ok();
        assert!(reached, "{sql}: {last:?}, not {expected}");
    }

    /// Waits until nothing is on its way any more, then holds provider, ledger and events against
    /// each other. Panics with every difference.
    pub async fn check_books(&self) {
        self.check_books_but_for(|_| false).await;
    }

    /// The same, and returns how many differences are such that the test has made them itself.
    pub async fn check_books_but_for(&self, is_meant: impl Fn(&str) -> bool) -> usize {
        self.count_becomes("SELECT count(*) FROM captures WHERE is_open = 1", 0).await;
        self.count_becomes("SELECT count(*) FROM outbox WHERE published_at IS NULL", 0).await;
        super::depth_becomes(&self.broker, &self.broker.work_queue, 0).await;
        super::depth_becomes(&self.broker, &self.broker.dead_queue, 0).await;
        self.published_is_received().await;
        let (meant, found): (Vec<_>, Vec<_>) = self.differences().into_iter().partition(|found| is_meant(found));
        assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
        meant.len()
    }

    /// Waits until every event of the ledger has come. Published is what the broker has confirmed; the
    /// last ones may still be on their way to us.
    pub async fn published_is_received(&self) {
        let events = audit::event_ids(&self.ledger());
        self.listener
            .until("receipt of every published event", |received| {
                let come: HashSet<&str> = received.iter().map(|event| event.message_id.as_str()).collect();
                events.iter().all(|event| come.contains(event.as_str())).then_some(())
            })
            .await;
    }

    /// Every difference between provider, ledger and events as they are now.
    pub fn differences(&self) -> Vec<String> {
        audit::differences(&self.ledger(), &self.books(), &self.listener.received(), &self.sent())
    }

    fn settings(&self) -> String {
        let base = self.sandbox.base_url();
        for account in Account::ALL {
            self.give_secret(account, account.secret());
        }
        let client_secret = self.secret_file(Account::Flex);
        let mut text = format!(
            r#"
[broker]
url = "{url}"
orders_exchange = "{orders}"
payments_exchange = "{payments}"
work_queue = "{work}"
dead_queue = "{dead}"
declare_orders = true
prefetch = 64
operation_timeout = "5s"
reconnect_min = "20ms"
reconnect_max = "200ms"
[ledger]
url = "{ledger}"
[http]
listen = "127.0.0.1:0"
[capture]
deadline_margin = "2s"
derived_deadline_margin = "2s"
final_grace = "300ms"
quiet = "1s"
send_within = "5s"
parked_for = "300ms"
retry_after_max = "1s"
look_after = ["200ms", "300ms", "500ms"]
disk_free_min = "1MiB"
[retry]
initial = "50ms"
max = "1s"
[breaker]
wait = "100ms"
wait_max = "500ms"
recovery = "500ms"
[suspension]
probe_interval = "300ms"
[worker]
watch_interval = "50ms"
relay_interval = "2s"
drain_grace = "10s"
[accounts.flex]
protocol = "flex_pay"
base_url = "{base}/api/flexpay"
token_url = "{base}/api/auth/v1/oauth/token"
client_id = "{client}"
client_secret = {{ file = "{client_secret}" }}
timeout = "2s"
connect_timeout = "1s"
"#,
            url = self.broker.url.expose_secret(),
            orders = self.broker.orders_exchange,
            payments = self.broker.payments_exchange,
            work = self.broker.work_queue,
            dead = self.broker.dead_queue,
            ledger = self.store.url(),
            client = Account::Flex.merchant(),
            client_secret = client_secret.display(),
        );
        text.push_str(&self.single_accounts(&base));
        text
    }

    /// Settings of the accounts that capture once.
    fn single_accounts(&self, base: &str) -> String {
        let mut text = String::new();
        for (account, protocol) in [(Account::Flitt, "flitt"), (Account::Fondy, "fondy")] {
            write!(
                text,
                "[accounts.{name}]\nprotocol = \"{protocol}\"\nbase_url = \"{base}\"\nmerchant_id = {merchant}\n\
                 secret = {{ file = \"{secret}\" }}\ntimeout = \"2s\"\nconnect_timeout = \"1s\"\n",
                name = account.name(),
                merchant = account.merchant(),
                secret = self.secret_file(account).display(),
            )
            .unwrap();
        }
        text
    }
}
