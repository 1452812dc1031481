//! Every alert by its cause: a real Prometheus with the rules as they are delivered looks at a real worker, to
//! which happens what the alert is for; and when that is over, so is the alert.
//!
//! Only the rules are less patient here ([`Prometheus`]). What takes an hour to come true for the worker
//! itself, such as a doubt that is an hour old, comes true while it is stopped: the ledger is made older. It needs
//! Prometheus, which `./deploy/test.sh` installs. What every single rule fires on,
//! `deploy/prometheus/alerts.test.yml` tells, and `deploy/check.sh` runs.

use std::time::Duration;

use holdfast::broker::local_node::LocalNode;
use holdfast::broker::session::Session;
use holdfast::ledger::postgres::local_server::LocalServer;
use holdfast::sandbox::{ByHand, ByHandKind, Fault, Operation, Rule, When};
use holdfast::settings::Broker;
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueBindOptions};
use lapin::types::FieldTable;
use rustix::fs::{FallocateFlags, fallocate};
use secrecy::ExposeSecret;
use tokio_util::task::AbortOnDropHandle;

use crate::overload::hundredths;
use crate::restore;
use crate::support::listener;
use crate::support::order::{Account, Message, Order};
use crate::support::prometheus::{Prometheus, RULES};
use crate::support::proxy::Proxy;
use crate::support::worker::Worker;
use crate::support::world::World;
use crate::support::{self, broker_at};

/// Nothing is looked at again by itself, as far as a test lasts.
const NO_LOOKS: (&str, &str) = ("HOLDFAST_CAPTURE__LOOK_AFTER", "1h");

/// A world, and a Prometheus that looks at every worker in it: they all listen at one address.
struct Watched {
    world: World,
    address: String,
    prometheus: Prometheus,
}

impl Watched {
    async fn new() -> Self {
        Self::of(World::new().await, None).await
    }

    async fn of(world: World, rabbitmq: Option<std::net::SocketAddr>) -> Self {
        let address = support::free_address().to_string();
        let prometheus = Prometheus::start(&world, &address, rabbitmq).await;
        Self { world, address, prometheus }
    }

    /// A worker that consumes, while nothing is wrong.
    async fn worker(&self, environment: &[(&str, &str)]) -> Worker {
        let worker = self.starting(environment).await;
        self.prometheus.is_silent().await;
        worker
    }

    /// A worker that consumes.
    async fn starting(&self, environment: &[(&str, &str)]) -> Worker {
        let own = [("HOLDFAST_HTTP__LISTEN", self.address.as_str()), ("HOLDFAST_WORKER__RELAY_INTERVAL", "200ms")];
        let mut worker = self.world.worker_with(&[&own, environment].concat());
        worker.consuming().await;
        worker
    }

    fn orders(&self, name: &str, account: Account, count: usize) -> Vec<Order> {
        let one = |number| self.world.order(&format!("{name}-{number}"), account, &[("l1", 1, 500)]);
        (0..count).map(one).collect()
    }

    async fn ship(&self, orders: &[Order]) {
        self.world.publish(orders.iter().map(|order| order.shipped("s1", &[("l1", 1)]))).await;
    }

    /// Changes the ledger while no worker runs.
    fn change(&self, sql: &str) {
        let ledger = rusqlite::Connection::open(self.world.directory().join("holdfast.db")).unwrap();
        assert!(ledger.execute(sql, []).unwrap() > 0, "it changes nothing: {sql}");
    }
}

fn at(account: Account, fault: Fault) -> Rule {
    Rule { account: Some(account.merchant().to_owned()), ..Rule::new(fault) }
}

const fn down() -> Fault {
    Fault::Status { status: 503, retry_after_s: None, when: When::Before }
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

/// Puts a message into a queue without any exchange of ours.
async fn put_into(broker: &Broker, queue: &str) {
    let session = Session::open(broker, "test").await.unwrap();
    let channel = session.channel().await.unwrap();
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish("".into(), queue.into(), options, b"{}", properties).await.unwrap();
    session.close(channel).await;
}

#[test]
fn every_alert_fires_here_and_ends() {
    const SOURCE: &str = include_str!("alerts.rs");
    let names: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(SOURCE.contains(&format!("fires(\"{name}\"")), "{name} fires in no test");
        // By its name, or with all others.
        let (_, after) = SOURCE.split_once(&format!("fires(\"{name}\"")).unwrap();
        let rest = after.split("\n}\n").next().unwrap();
        let quoted = format!("\"{name}\"");
        let ends = rest.contains(".is_silent()")
            || rest.lines().any(|line| line.contains("ends(&[") && line.contains(&quoted));
        assert!(ends, "{name} ends in no test");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_do_not_work_or_must_not() {
    let watched = Watched::new().await;
    let (world, prometheus) = (&watched.world, &watched.prometheus);
    world.give_secret(Account::Fondy, "a wrong one");
    let worker = watched.worker(&[("HOLDFAST_BREAKER__FAILURES", "3")]).await;
    let [fondy, flex, flitt] = [Account::Fondy, Account::Flex, Account::Flitt].map(Account::name);

    // A wrong secret, a provider that does not work, and one whose clock is far from ours.
    world.faults(vec![at(Account::Flex, down()), at(Account::Flitt, Fault::ClockSkew { seconds: -75 })]);
    let of = |account: Account, count| watched.orders(account.name(), account, count);
    watched.ship(&of(Account::Fondy, 4)).await;
    watched.ship(&of(Account::Flex, 4)).await;
    watched.ship(&of(Account::Flitt, 6)).await;
    prometheus.fires("HoldfastAccountMisconfigured", fondy).await;
    prometheus.fires("HoldfastAccountSuspended", fondy).await;
    prometheus.fires("HoldfastBreakerOpen", flex).await;
    prometheus.fires("HoldfastBreakerOpenForLong", flex).await;
    prometheus.fires("HoldfastClockSkew", flitt).await;
    watched.world.runs(0, &["accounts", "pause", flitt, "--reason", "they asked us to"]).await;
    prometheus.fires("HoldfastAccountPaused", flitt).await;

    world.faults(Vec::new());
    world.give_secret(Account::Fondy, Account::Fondy.secret());
    worker.hang_up();
    watched.world.runs(0, &["accounts", "resume", flitt, "--reason", "they are back"]).await;
    watched.ship(&watched.orders("later", Account::Flitt, 6)).await;
    world.outcomes(20).await;
    prometheus.is_silent().await;
    world.check_books().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_an_account_captures_without_a_person() {
    let watched = Watched::new().await;
    let worker = watched.worker(&[("HOLDFAST_ACCOUNTS__FLEX__CAP_PER_CAPTURE", "4.99 USD")]).await;
    let order = watched.orders("large", Account::Flex, 1);
    watched.ship(&order).await;
    watched.prometheus.fires("HoldfastAccountCapped", Account::Flex.name()).await;
    watched.world.runs(0, &["captures", "release", &order[0].id, "--reason", "it is right", "--yes"]).await;
    watched.world.outcomes(1).await;
    watched.prometheus.is_silent().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_is_in_doubt_about_to_be_lost_or_somebody_elses() {
    let watched = Watched::new().await;
    let (world, prometheus) = (&watched.world, &watched.prometheus);
    let flex = Account::Flex.name();
    let mut worker = watched.worker(&[NO_LOOKS]).await;

    // Captured, and nobody can tell; then no worker runs for some hours.
    let unheard = Rule { operation: Operation::Capture, ..Rule::new(Fault::Reset { when: When::After }) };
    world.faults(vec![unheard, Rule { operation: Operation::Lookup, ..Rule::new(down()) }]);
    let doubted = watched.orders("doubted", Account::Flex, 1);
    watched.ship(&doubted).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'in_doubt'", 1).await;
    worker.kill9().await;
    watched.change("UPDATE captures SET doubt_since = doubt_since - 7 * 3600 * 1000000 WHERE state = 'in_doubt'");
    let mut worker = watched.starting(&[NO_LOOKS]).await;
    prometheus.fires("HoldfastInDoubt", "").await;
    prometheus.fires("HoldfastInDoubtForLong", "").await;

    // Somebody closes it, and the provider knew it all the time.
    let capture = format!("{}/s1", doubted[0].id);
    world.faults(Vec::new());
    watched.world.runs(0, &["captures", "close", &capture, "--unresolved", "--reason", "ticket 4711", "--yes"]).await;
    prometheus.ends(&["HoldfastInDoubt", "HoldfastInDoubtForLong"]).await;
    watched.world.runs(0, &["captures", "look", &capture]).await;
    prometheus.fires("HoldfastCorrected", flex).await;
    worker.kill9().await;
    let mut worker = watched.starting(&[]).await;
    worker.metric_becomes("holdfast_alarm{name=\"corrected\",account=\"flex\"}", |value| value > 0.0).await;
    worker.kill9().await;
    watched.change("UPDATE captures SET corrected_at = corrected_at - 24 * 3600 * 1000000 WHERE corrected_at > 0");
    let mut worker = watched.worker(&[]).await;

    // Not captured yet, and held for less than an hour.
    world.fault_on_captures(down(), None);
    let held = world.order_held("held", Account::Flex, &[("l1", 1, 500)], Duration::from_mins(50));
    watched.ship(std::slice::from_ref(&held)).await;
    prometheus.fires("HoldfastExpiring", "").await;
    prometheus.fires("HoldfastDeadlineNear", "").await;
    world.faults(Vec::new());
    world.outcomes(2).await;
    prometheus.ends(&["HoldfastExpiring", "HoldfastDeadlineNear"]).await;

    // Somebody else captures on an authorization of ours.
    let shared = world.order("shared", Account::Flex, &[("l1", 3, 3_000)]);
    world.publish([shared.shipped("s1", &[("l1", 1)])]).await;
    world.outcomes(3).await;
    let by_hand = ByHand { reference: shared.reference.clone(), kind: ByHandKind::Capture, amount_minor: 500 };
    world.sandbox.sandbox().meddle(&by_hand).unwrap();
    world.publish([shared.shipped("s2", &[("l1", 1)])]).await;
    prometheus.fires("HoldfastAuthorizationHalted", flex).await;
    let resume = ["authorizations", "resume", &shared.reference, "--reason", "ticket 4712", "--yes"];
    watched.world.runs(0, &resume).await;
    prometheus.is_silent().await;
    worker.metric_becomes("holdfast_open_captures", |open| open == 0.0).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_contradict_wait_cannot_be_read_or_reach_nobody() {
    let watched = Watched::new().await;
    let (world, prometheus) = (&watched.world, &watched.prometheus);
    let mut worker = watched.worker(&[]).await;

    // The same shipment with other contents, until somebody has looked at it.
    let order = world.order("told-twice", Account::Flex, &[("l1", 2, 1_000)]);
    world.publish([order.shipped("s1", &[("l1", 1)])]).await;
    world.outcomes(1).await;
    world.publish([order.shipped("s1", &[("l1", 2)])]).await;
    prometheus.fires("HoldfastConflict", "").await;
    watched
        .world
        .runs(0, &["dead-letters", "discard", "--order", "told-twice", "--reason", "their mistake", "--yes"])
        .await;
    prometheus.ends(&["HoldfastConflict"]).await;

    // Ten that nobody can read.
    world.publish((0..10).map(|number| Message::raw(None, format!("no JSON {number}")))).await;
    prometheus.fires("HoldfastDeadLettersRising", "").await;
    prometheus.ends(&["HoldfastDeadLettersRising"]).await;

    // Nobody listens.
    bind_events(&world.broker, false).await;
    let heard_of = watched.orders("heard", Account::Flitt, 1);
    watched.ship(&heard_of).await;
    prometheus.fires("HoldfastUnroutable", "").await;
    bind_events(&world.broker, true).await;
    world.outcomes(2).await;
    prometheus.ends(&["HoldfastUnroutable"]).await;

    // A shipment without its plan, for twenty minutes.
    let bare = world.order("bare", Account::Flex, &[("l1", 1, 700)]);
    world.publish([bare.bare("s1", &[("l1", 1)])]).await;
    world.count_becomes("SELECT count(*) FROM shipments WHERE state = 'awaiting'", 1).await;
    worker.kill9().await;
    watched.change("UPDATE shipments SET accepted_at = accepted_at - 1200 * 1000000 WHERE state = 'awaiting'");
    let worker = watched.starting(&[]).await;
    prometheus.fires("HoldfastAwaiting", "").await;
    world.publish([bare.authorized()]).await;
    world.outcomes(3).await;
    prometheus.is_silent().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_gone_or_full_and_workers_that_are_gone() {
    let mut node = LocalNode::start(&support::temp_dir(), &[]).await.unwrap();
    let exporter = support::free_address();
    let world = World::at(broker_at(node.url("/"))).await;
    let watched = Watched::of(world, Some(exporter)).await;
    let (world, prometheus) = (&watched.world, &watched.prometheus);
    let mut worker = watched.worker(&[]).await;

    // It takes nothing more: its memory is full.
    let flex = Account::Flex.name();
    watched.world.runs(0, &["accounts", "pause", flex, "--reason", "not yet"]).await;
    watched.ship(&watched.orders("full", Account::Flex, 3)).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'planned'", 3).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.0001"]).await.unwrap();
    watched.world.runs(0, &["accounts", "resume", flex, "--reason", "now"]).await;
    prometheus.fires("HoldfastOutboxOld", "").await;
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).await.unwrap();
    world.outcomes(3).await;
    prometheus.ends(&["HoldfastOutboxOld"]).await;

    node.flush().await.unwrap();
    node.kill9();
    prometheus.fires("HoldfastBrokerUnusable", "").await;
    prometheus.fires("HoldfastNotConsuming", "").await;
    prometheus.fires("HoldfastNotReady", "").await;
    node.restart().await.unwrap();
    prometheus.ends(&["HoldfastBrokerUnusable", "HoldfastNotConsuming", "HoldfastNotReady"]).await;

    support::run_plugin(&node, "rabbitmq_prometheus", exporter).await;
    worker.kill9().await;
    prometheus.fires("HoldfastDown", "").await;
    prometheus.fires("HoldfastWorkerDown", "").await;
    watched.ship(&watched.orders("backlog", Account::Flex, 60)).await;
    put_into(&world.broker, &world.broker.dead_queue).await;
    prometheus.fires("HoldfastQueueWithoutConsumer", "").await;
    prometheus.fires("HoldfastBacklog", "").await;
    prometheus.fires("HoldfastDeadQueue", "").await;

    // One that cannot stay.
    for _ in 0..5 {
        let mut worker = watched.starting(&[]).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        worker.kill9().await;
    }
    let worker = watched.starting(&[]).await;
    prometheus.fires("HoldfastRestarting", "").await;
    world.outcomes(63).await;
    prometheus.is_silent().await;
    worker.stop().await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_again_and_again() {
    let watched = Watched::new().await;
    let (world, prometheus) = (&watched.world, &watched.prometheus);
    let way = Proxy::to(&world.broker).await;
    let url = way.url();
    let hasty = [("HOLDFAST_BROKER__URL", url.expose_secret()), ("HOLDFAST_BROKER__CONNECT_TIMEOUT", "1s")];
    let mut worker = watched.worker(&hasty).await;
    let orders = watched.orders("cut", Account::Flex, 2_000);
    let mut shipped = 0;
    for some in orders.chunks(50) {
        // Where it consumes, these are delivered before the connection ends, and taken afterwards.
        worker.freeze();
        watched.ship(some).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        way.cut();
        worker.thaw();
        shipped += some.len();
        world.outcomes(shipped).await;
        worker.readiness("\"ready\":true").await;
        if prometheus.is_firing("HoldfastAcksLost").await {
            break;
        }
    }
    prometheus.fires("HoldfastAcksLost", "").await;
    prometheus.is_silent().await;
    world.check_books().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_does_not_answer() {
    let watched = Watched::new().await;
    let server = LocalServer::start().unwrap();
    let database = server.create_database().unwrap();
    let url = database.url.expose_secret();
    let worker = watched.worker(&[("HOLDFAST_LEDGER__URL", url)]).await;
    // Somebody holds a table that every group needs.
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    client.batch_execute("BEGIN; LOCK TABLE captures IN ACCESS EXCLUSIVE MODE").await.unwrap();
    watched.ship(&watched.orders("locked", Account::Flex, 20)).await;
    watched.prometheus.fires("HoldfastLedgerSilent", "").await;
    client.batch_execute("ROLLBACK").await.unwrap();
    watched.world.outcomes(20).await;
    watched.prometheus.is_silent().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_worker_or_its_disk_can_carry() {
    let watched = Watched::new().await;
    let (world, prometheus) = (&watched.world, &watched.prometheus);
    let floor = hundredths(world.directory(), 85).to_string();
    let bounds = [("HOLDFAST_CAPTURE__DISK_FREE_MIN", floor.as_str()), ("HOLDFAST_CAPTURE__OPEN_MAX", "10")];
    let worker = watched.worker(&bounds).await;

    world.fault_on_captures(down(), None);
    watched.ship(&watched.orders("open", Account::Flex, 20)).await;
    prometheus.fires("HoldfastTooManyOpenCaptures", "").await;
    world.faults(Vec::new());
    world.outcomes(20).await;
    prometheus.is_silent().await;

    // Taken, and not written.
    let ballast = world.directory().join("ballast");
    let file = std::fs::File::create(&ballast).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, hundredths(world.directory(), 20)).unwrap();
    prometheus.fires("HoldfastDiskNearlyFull", "").await;
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    prometheus.is_silent().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_cannot_read_its_provider() {
    let watched = Watched::new().await;
    let (world, prometheus) = (&watched.world, &watched.prometheus);
    let mut worker = watched.worker(&[]).await;
    let order = world.order("half", Account::Flex, &[("l1", 2, 1_000)]);
    world.publish([order.shipped("s1", &[("l1", 1)])]).await;
    world.outcomes(1).await;
    restore::back_up(world).await;
    worker.kill9().await;
    restore::restore(world);

    world.faults(vec![Rule { operation: Operation::Lookup, ..Rule::new(down()) }]);
    let listen = [("HOLDFAST_HTTP__LISTEN", watched.address.as_str())];
    let mut worker = world.worker_after_restore_with(&listen);
    worker.consuming().await;
    prometheus.fires("HoldfastRestoreStalled", "").await;
    world.faults(Vec::new());
    worker.says("the restore from a backup is over").await;
    prometheus.is_silent().await;
    worker.stop().await;
}
