//! More than the worker can carry: a long queue while the provider is down, a ledger that does not answer, a
//! disk that fills up. It takes no more, says why, stays small, and goes on by itself.

#![expect(clippy::print_stdout, reason = "the figures of a run, which are in the README")]

use std::path::Path;
use std::time::{Duration, Instant};

use holdfast::broker::local_node::LocalNode;
use holdfast::ledger::postgres::local_server::LocalServer;
use holdfast::sandbox;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::support::order::Account;
use crate::support::worker::Worker;
use crate::support::world::World;
use crate::support::{broker_at, depth, depth_becomes, temp_dir};

/// Messages in the queue; `HOLDFAST_BACKLOG_MESSAGES` says how many instead.
const BACKLOG: usize = 200_000;

/// Published at once.
const CHUNK: usize = 2_000;

/// `capture.open_max` of the workers here, and their prefetch, which is the default.
const OPEN_MAX: u32 = 2_000;
const PREFETCH: u32 = 512;

/// Above the bound when the worker notices, which it looks at every second: as much as it may take in three.
const ABOVE_MAX: u32 = 30 * PREFETCH;

/// Captured of what was still in the queue when the provider came back.
const MORE: usize = 1_000;

/// The worker's memory, at its largest; a debug build's.
const MEMORY_MAX: u64 = 200 << 20;

/// What an idle worker has allocated, whatever the size of its program.
const IDLE_MAX: u64 = 16 << 20;

/// The ledger's growth with each message, indexes included.
const GROWTH_MAX: u64 = 16 << 10;

/// What each order owes.
const OWED: i64 = 1_999;

const LEDGER: &str = "HOLDFAST_LEDGER__URL";

/// A provider at an address of its own, with the world's books: it is there, or connections are refused.
struct Provider {
    port: u16,
    serving: Option<AbortOnDropHandle<()>>,
}

impl Provider {
    async fn down() -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        Self { port, serving: None }
    }

    async fn comes_back(&mut self, world: &World) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let sandbox = world.sandbox.sandbox().clone();
        let serving = async { sandbox::serve(listener, sandbox, std::future::pending()).await.unwrap() };
        self.serving = Some(AbortOnDropHandle::new(tokio::spawn(serving)));
    }

    /// A worker that calls this one, with the default prefetch.
    fn worker(&self, world: &World, ledger: Option<&str>) -> Worker {
        let base = format!("http://127.0.0.1:{}", self.port);
        let (url, token) = (format!("{base}/api/flexpay"), format!("{base}/api/auth/v1/oauth/token"));
        let (open_max, prefetch) = (OPEN_MAX.to_string(), PREFETCH.to_string());
        let mut environment = vec![
            ("HOLDFAST_ACCOUNTS__FLEX__BASE_URL", url.as_str()),
            ("HOLDFAST_ACCOUNTS__FLEX__TOKEN_URL", &token),
            ("HOLDFAST_CAPTURE__OPEN_MAX", &open_max),
            ("HOLDFAST_BROKER__PREFETCH", &prefetch),
        ];
        environment.extend(ledger.map(|url| (LEDGER, url)));
        world.worker_with(&environment)
    }
}

/// What a process has in memory, in bytes, by the name that Linux has for it; none on other systems.
fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().unwrap() << 10)
}

/// The largest that a process has been.
fn peak_memory(pid: u32) -> Option<u64> {
    memory(pid, "VmHWM")
}

/// A file of SQLite and what belongs to it.
fn file_size(world: &World) -> u64 {
    let dir = world.config().parent().unwrap().to_path_buf();
    let size = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    ["holdfast.db", "holdfast.db-wal"].into_iter().map(size).sum()
}

async fn publish_backlog(world: &World, count: usize) {
    let started = Instant::now();
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(CHUNK) {
        let order = |number: &usize| world.order(&format!("backlog-{number:07}"), Account::Flex, &[("l1", 1, OWED)]);
        world.publish(chunk.iter().map(|number| order(number).shipped("s", &[("l1", 1)]))).await;
    }
    println!("{count} messages published in {:?}", started.elapsed());
}

/// One worker on what is in the queue: it takes as much as it may while the provider is down, and goes on when
/// it is back. `size` is that of its ledger.
async fn carries_what_it_can(world: &World, what: &str, ledger: Option<&str>, size: impl Fn() -> u64) {
    let queue = world.broker.work_queue.as_str();
    let done = world.listener.received().len();
    depth_becomes(&world.broker, queue, depth(&world.broker, queue).await).await;
    let waiting = depth(&world.broker, queue).await;
    let mut provider = Provider::down().await;
    let (mut worker, empty) = (provider.worker(world, ledger), size());
    let started = Instant::now();
    worker.readiness("captures are open: capture.open_max").await;
    worker.metric_becomes("holdfast_alarm{name=\"too_many_open_captures\",account=\"\"}", |value| value > 0.0).await;
    // What was on its way when it stopped is accepted too; the rest waits where it is visible.
    let open = worker.metric("holdfast_open_captures").await;
    let left = depth(&world.broker, queue).await;
    let taken = waiting - left;
    println!("{what}: {taken} of {waiting} taken in {:?}, open {open:?}", started.elapsed());
    assert!((OPEN_MAX..=OPEN_MAX + ABOVE_MAX).contains(&taken), "{taken}");
    let growth = (size() - empty) / u64::from(taken);
    let held = peak_memory(worker.id());
    println!("{what}: memory {held:?} at its largest, {growth} bytes of ledger for each message");
    assert!(growth < GROWTH_MAX, "{growth}");
    assert_eq!(worker.get("/livez").await.0, 200);
    depth_becomes(&world.broker, queue, left).await;

    provider.comes_back(world).await;
    let back = Instant::now();
    let all = done + usize::try_from(taken).unwrap() + MORE;
    // However slow the machine is: a thousand are waited for as long as anything else is.
    for some in (done..all).step_by(1_000) {
        world.outcomes(some).await;
    }
    let captured = world.outcomes(all).await;
    worker.readiness("\"ready\":true").await;
    println!("{what}: {} captured {:?} after the provider came back", captured.len() - done, back.elapsed());
    assert!(captured.iter().all(|event| event.kind == "capture.succeeded"), "the provider's absence is no answer");
    let held = peak_memory(worker.id());
    println!("{what}: memory {held:?} at its largest");
    assert!(held.is_none_or(|held| held < MEMORY_MAX), "{held:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_nothing_to_do_is_small() {
    let world = World::new().await;
    let mut worker = world.worker();
    worker.readiness("\"ready\":true").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let held = memory(worker.id(), "RssAnon");
    println!("idle: {held:?}");
    assert!(held.is_none_or(|held| held < IDLE_MAX), "{held:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_waits_for_the_provider_in_the_queue() {
    let count = std::env::var("HOLDFAST_BACKLOG_MESSAGES").map_or(BACKLOG, |count| count.parse().unwrap());
    let node = LocalNode::start(&temp_dir(), &[]).await.unwrap();
    let world = World::at(broker_at(node.url("/"))).await;
    publish_backlog(&world, count).await;
    carries_what_it_can(&world, "SQLite", None, || file_size(&world)).await;
    let server = LocalServer::start().unwrap();
    let database = server.create_database().unwrap();
    let sql = format!("SELECT pg_database_size('{}')", database.name);
    let size = || server.psql(&sql).unwrap().trim().parse().unwrap();
    carries_what_it_can(&world, "PostgreSQL", Some(database.url.expose_secret()), size).await;
    let books = world.books();
    let twice = books.authorizations.iter().filter(|booked| ![0, OWED].contains(&booked.captured_minor));
    assert_eq!(twice.count(), 0, "whole, once, or not yet");
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_does_not_answer_stops_the_intake_until_it_does() {
    let world = World::new().await;
    let server = LocalServer::start().unwrap();
    let database = server.create_database().unwrap();
    let url = database.url.expose_secret();
    let mut worker = world.worker_with(&[(LEDGER, url)]);
    worker.consuming().await;
    let ship = async |kind: &str, count: usize| {
        let order = |number| world.order(&format!("{kind}-{number}"), Account::Flex, &[("l1", 1, OWED)]);
        world.publish((0..count).map(|number| order(number).shipped("s", &[("l1", 1)]))).await;
    };
    ship("before", 50).await;
    world.outcomes(50).await;

    // Somebody holds a table that every group needs.
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    client.batch_execute("BEGIN; LOCK TABLE captures IN ACCESS EXCLUSIVE MODE").await.unwrap();
    ship("locked", 1_000).await;
    says_that_it_waits(&world, &mut worker, 1_000).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    world.outcomes(1_050).await;
    worker.readiness("\"ready\":true").await;

    server.crash().unwrap();
    ship("away", 1_000).await;
    says_that_it_waits(&world, &mut worker, 1_000).await;
    server.start_again().unwrap();
    let outcomes = world.outcomes(2_050).await;
    assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"));
    worker.readiness("\"ready\":true").await;
    worker.metric_becomes("holdfast_alarm{name=\"ledger_silent\",account=\"\"}", |value| value < 1.0).await;
    worker.stop().await;
}

/// Of `published` messages it has taken its prefetch at most.
async fn says_that_it_waits(world: &World, worker: &mut Worker, published: u32) {
    worker.readiness("the ledger has not answered for").await;
    worker.metric_becomes("holdfast_alarm{name=\"ledger_silent\",account=\"\"}", |value| value > 0.0).await;
    assert_eq!(worker.get("/livez").await.0, 200, "nobody restarts it for that");
    let waiting = depth(&world.broker, &world.broker.work_queue).await;
    let taken = published - waiting;
    assert!(taken <= u32::from(world.broker.prefetch), "{taken} taken");
}

/// A part of what is free on the disk, in hundredths.
pub fn hundredths(path: &Path, of: u64) -> u64 {
    let disk = statvfs(path).unwrap();
    disk.f_bavail * disk.f_frsize / 100 * of
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_stops_the_intake_until_there_is_room() {
    let world = World::new().await;
    let dir = world.config().parent().unwrap().to_path_buf();
    let floor = hundredths(&dir, 85).to_string();
    let mut worker = world.worker_with(&[("HOLDFAST_CAPTURE__DISK_FREE_MIN", &floor)]);
    worker.readiness("\"ready\":true").await;
    let order = |number| world.order(&format!("ord-{number}"), Account::Flex, &[("l1", 1, OWED)]);
    let orders: Vec<_> = (0..100).map(order).collect();
    let (before, during) = orders.split_at(50);
    world.publish(before.iter().map(|order| order.shipped("s", &[("l1", 1)]))).await;
    world.outcomes(50).await;

    // Taken, and not written.
    let ballast = dir.join("ballast");
    let file = std::fs::File::create(&ballast).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, hundredths(&dir, 20)).unwrap();
    worker.readiness("are free on the ledger's disk: capture.disk_free_min").await;
    worker.metric_becomes("holdfast_alarm{name=\"disk_nearly_full\",account=\"\"}", |value| value > 0.0).await;
    world.publish(during.iter().map(|order| order.shipped("s", &[("l1", 1)]))).await;
    depth_becomes(&world.broker, &world.broker.work_queue, 50).await;
    let outcomes = world.listener.received().len();

    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    world.outcomes(100).await;
    assert_eq!(outcomes, 50, "nothing was taken meanwhile");
    worker.readiness("\"ready\":true").await;
    world.check_books().await;
    worker.stop().await;
}
