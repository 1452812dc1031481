//! `holdfast doctor` before the live world: all is well, and what it says of each thing that is not.

use holdfast::broker::local_node::LocalNode;
use holdfast::broker::session::Session;
use holdfast::sandbox::{Fault, Rule};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use serde_json::Value;
use tempfile::TempDir;

use crate::support;
use crate::support::order::Account;
use crate::support::world::World;

const BINDINGS: &str = "bindings of holdfast.work.v1";

/// Everything around a worker, with the ledger on a disk: where temporary files are may be in memory.
async fn world() -> (World, TempDir) {
    with_its_ledger_on_a_disk(World::new().await)
}

fn with_its_ledger_on_a_disk(world: World) -> (World, TempDir) {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let settings = std::fs::read_to_string(world.config()).unwrap();
    let line = settings.lines().find(|line| line.starts_with("url = \"sqlite:")).unwrap();
    let settings = settings.replace(line, &format!("url = \"sqlite:{}/holdfast.db\"", directory.path().display()));
    std::fs::write(world.config(), settings).unwrap();
    (world, directory)
}

/// Changes the settings.
fn set(world: &World, from: &str, to: &str) {
    let settings = std::fs::read_to_string(world.config()).unwrap();
    assert!(settings.contains(from), "{settings}");
    std::fs::write(world.config(), settings.replacen(from, to, 1)).unwrap();
}

/// What it finds, and its exit code.
struct Found(i32, Vec<Value>);

impl Found {
    async fn of(world: &World, arguments: &[&str]) -> Self {
        let arguments: Vec<&str> =
            ["doctor", "--output", "json"].into_iter().chain(arguments.iter().copied()).collect();
        let (code, written, said) = world.holdfast(&arguments).await;
        let report: Value = serde_json::from_str(&written).unwrap_or_else(|_| panic!("{code} {said}"));
        assert_eq!(report["ok"], code == 0, "{report}");
        Self(code, report["checks"].as_array().unwrap().clone())
    }

    fn about(&self, about: &str) -> &Value {
        self.1
            .iter()
            .find(|check| check["about"] == about)
            .unwrap_or_else(|| panic!("nothing about {about}: {:?}", self.1))
    }

    /// The result about a thing, and that it is told with these words and a way out, where there is one.
    fn says(&self, about: &str, result: &str, words: &str) {
        let check = self.about(about);
        assert!(check["result"] == result && check["found"].as_str().unwrap().contains(words), "{check}");
        let is_wrong = matches!(result, "problem" | "unreachable");
        assert_eq!(check["way_out"].as_str().is_some_and(|way_out| !way_out.is_empty()), is_wrong, "{check}");
    }

    /// Everything but these is well.
    fn is_well_but_for(&self, abouts: &[&str]) {
        for check in &self.1 {
            let is_named = abouts.contains(&check["about"].as_str().unwrap());
            assert_eq!(check["result"] != "ok", is_named, "{check}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_well_with_a_worker_and_without() {
    let (world, _directory) = world().await;
    let found = Found::of(&world, &[]).await;
    assert_eq!(found.0, 0);
    found.is_well_but_for(&[BINDINGS]);
    found.says(BINDINGS, "unknown", "AMQP does not show them");
    found.says("broker", "ok", "RabbitMQ ");
    found.says("queue holdfast.work.v1", "ok", "0 messages ready, 0 consumers");
    found.says("ledger", "ok", "the worker creates it");
    for account in Account::ALL {
        found.says(&format!("account {}", account.name()), "ok", "its credentials are accepted");
        found.says(&format!("clock of {}", account.name()), "ok", "agrees");
    }

    let mut worker = world.worker();
    worker.consuming().await;
    let order = world.order("ord-1", Account::Flex, &[("l1", 1, 999)]);
    world.publish([order.shipped("s", &[("l1", 1)])]).await;
    world.outcomes(1).await;
    let before = world.books();
    let found = Found::of(&world, &[]).await;
    assert_eq!(found.0, 0, "{:?}", found.1);
    found.says("queue holdfast.work.v1", "ok", "1 consumers");
    found.says("ledger", "ok", "a worker holds it");
    found.says("ledger", "ok", "journal_mode WAL, committed with synchronous FULL");
    assert_eq!(world.books().totals, before.totals, "nothing has moved");

    let (code, table, _) = world.holdfast(&["doctor", "--account", "flex"]).await;
    assert_eq!(code, 0);
    assert_eq!(table.lines().count(), 3, "{table}");
    let (code, _, said) = world.holdfast(&["doctor", "--account", "nobody"]).await;
    assert!(code == 2 && said.contains("flitt-ge"), "{said}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_told_from_an_order_that_does_not_exist() {
    let (world, _directory) = world().await;
    for account in [Account::Flitt, Account::Flex] {
        world.give_secret(account, "a wrong one");
    }
    let found = Found::of(&world, &[]).await;
    assert_eq!(found.0, 1);
    found.is_well_but_for(&[BINDINGS, "account flitt-ge", "account flex"]);
    found.says("account flitt-ge", "problem", "not let in: 1014");
    found.says("account flex", "problem", "not let in: 40");
    let only = Found::of(&world, &["--account", "fondy-eu"]).await;
    assert_eq!((only.0, only.1.len()), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_cannot_be_reached_is_exit_code_3() {
    let (world, _directory) = world().await;
    let base = world.sandbox.base_url();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // The first account with a plain base URL is Flitt's; Flex Pay's goes to a port that speaks no TLS.
    set(&world, &format!("base_url = \"{base}\""), &format!("base_url = \"http://{closed}\""));
    let no_tls = base.replace("http://", "https://");
    set(&world, &format!("base_url = \"{base}/api/flexpay\""), &format!("base_url = \"{no_tls}/api/flexpay\""));
    let found = Found::of(&world, &[]).await;
    assert_eq!(found.0, 3);
    found.is_well_but_for(&[BINDINGS, "account flitt-ge", "clock of flitt-ge", "account flex"]);
    found.says("account flitt-ge", "unreachable", "connection refused");
    found.says("clock of flitt-ge", "unknown", "no answer");
    found.says("account flex", "unreachable", "TLS handshake failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_far_off_is_told_with_its_distance() {
    let (world, _directory) = world().await;
    let account = Some(Account::Fondy.merchant().to_owned());
    world.faults(vec![Rule { account, ..Rule::new(Fault::ClockSkew { seconds: 300 }) }]);
    let found = Found::of(&world, &[]).await;
    assert_eq!(found.0, 1);
    found.is_well_but_for(&[BINDINGS, "clock of fondy-eu"]);
    found.says("clock of fondy-eu", "problem", "s ahead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_are_missing_or_different_are_told() {
    let (world, _directory) = world().await;
    let session = Session::open(&world.broker, "test").await.unwrap();
    let channel = session.channel().await.unwrap();
    for queue in ["holdfast.work.v1", "holdfast.dead.v1"] {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("holdfast.work.v1".into(), durable, FieldTable::default()).await.unwrap();
    let found = Found::of(&world, &[]).await;
    assert_eq!(found.0, 1);
    found.is_well_but_for(&[BINDINGS, "queue holdfast.work.v1", "queue holdfast.dead.v1"]);
    found.says("queue holdfast.work.v1", "problem", "exists with other properties");
    found.says("queue holdfast.dead.v1", "problem", "does not exist");
    // It has looked, and made nothing.
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    assert!(channel.queue_declare("holdfast.dead.v1".into(), passive, FieldTable::default()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_is_exit_code_3_and_the_rest_is_told() {
    let (world, _directory) = world().await;
    let settings = std::fs::read_to_string(world.config()).unwrap();
    let line = settings.lines().find(|line| line.starts_with("url = \"amqp:")).unwrap();
    set(&world, line, "url = \"amqp://127.0.0.1:1/%2f\"");
    let found = Found::of(&world, &[]).await;
    assert_eq!(found.0, 3);
    found.is_well_but_for(&["broker", "exchanges and queues"]);
    found.says("broker", "unreachable", "cannot connect to RabbitMQ at 127.0.0.1:1");
}

/// A node of its own whose management plugin answers, and where.
pub(crate) async fn managed() -> (LocalNode, String) {
    let node = LocalNode::start(&support::temp_dir(), &[]).await.unwrap();
    let address = support::free_address();
    support::run_plugin(&node, "rabbitmq_management", address).await;
    (node, format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bindings_are_told_where_the_management_plugin_is_known() {
    let (node, management) = managed().await;
    let (world, _directory) = with_its_ledger_on_a_disk(World::at(support::broker_at(node.url("/"))).await);
    set(&world, "[broker]\n", &format!("[broker]\nmanagement_url = \"{management}/\"\n"));
    let found = Found::of(&world, &[]).await;
    assert_eq!(found.0, 0, "{:?}", found.1);
    found.is_well_but_for(&[]);
    found.says(BINDINGS, "ok", "orders leads to it with every key");

    let session = Session::open(&world.broker, "test").await.unwrap();
    let channel = session.channel().await.unwrap();
    for key in ["order.shipped", "order.cancelled"] {
        let (queue, exchange) = ("holdfast.work.v1".into(), "orders".into());
        channel.queue_unbind(queue, exchange, key.into(), FieldTable::default()).await.unwrap();
    }
    let found = Found::of(&world, &[]).await;
    assert_eq!(found.0, 1);
    found.is_well_but_for(&[BINDINGS]);
    found.says(BINDINGS, "problem", "orders does not lead to it with order.shipped");
    found.says(BINDINGS, "problem", "order.cancelled");

    node.ctl(&["set_user_tags", "holdfast"]).await.unwrap();
    Found::of(&world, &[]).await.says(BINDINGS, "problem", "answers 401");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    set(&world, &management, &format!("http://{closed}"));
    Found::of(&world, &[]).await.says(BINDINGS, "problem", "does not answer");
    let sandbox = world.sandbox.base_url();
    set(&world, &format!("http://{closed}"), &sandbox);
    Found::of(&world, &[]).await.says(BINDINGS, "problem", "HTTP status 404");
    node.stop();
}
