//! PostgreSQL is away when a worker starts, or when it has to end: it waits, says so once, and goes on by itself.
//! What does not pass is said at once.

use std::time::Duration;

use holdfast::ledger::postgres::local_server::{Database, LocalServer};
use holdfast::sandbox::{Fault, When};
use secrecy::ExposeSecret;

use crate::support::order::Account;
use crate::support::worker::Worker;
use crate::support::world::World;
use crate::support::{PATIENCE, audit, copy, depth_becomes};

/// A worker's call of a capture takes so long.
const LATENCY_MS: u64 = 1_500;

/// A world whose workers keep their ledger at a server of its own.
struct Scene {
    world: World,
    server: LocalServer,
    database: Database,
}

impl Scene {
    async fn new() -> Self {
        let server = LocalServer::start().unwrap();
        let database = server.create_database().unwrap();
        Self { world: World::new().await, server, database }
    }

    fn worker(&self, more: &[(&str, &str)]) -> Worker {
        let ledger = [("HOLDFAST_LEDGER__URL", self.database.tcp_url.expose_secret())];
        self.world.worker_with(&[&ledger, more].concat())
    }

    async fn ship(&self, id: &str) {
        let order = self.world.order(id, Account::Flex, &[("l1", 1, 1_999)]);
        self.world.publish([order.shipped("s", &[("l1", 1)])]).await;
    }

    /// A call of a capture is under way, and the server crashes under it.
    async fn lose_it_during_a_call(&self, worker: &mut Worker) {
        worker.consuming().await;
        let late = Fault::Latency { ms: LATENCY_MS, when: When::After };
        self.world.fault_on_captures(late, None);
        self.ship("ord-1").await;
        let asked = async {
            while self.captures() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("a call in time");
        self.server.crash().unwrap();
    }

    /// Requests that the provider had.
    fn captures(&self) -> u64 {
        self.world.books().totals.iter().map(|total| total.capture_requests).sum()
    }

    /// One worker to the end of it all; provider, ledger and events agree.
    async fn comes_to_an_end(&self, shipments: usize) {
        self.world.outcomes(shipments).await;
        depth_becomes(&self.world.broker, &self.world.broker.work_queue, 0).await;
        let ledger = copy::ledger(&self.database.url).await;
        let (books, received) = (self.world.books(), self.world.listener.received());
        let found = audit::differences(&ledger, &books, &received, &self.world.sent());
        assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
    }
}

fn times(worker: &Worker, message: &str) -> usize {
    worker.log().matches(message).count()
}

const WAITS: &str = "the ledger cannot be reached, and the start waits for it";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_starts_before_its_postgresql_waits_for_it() {
    let scene = Scene::new().await;
    scene.server.crash().unwrap();
    scene.ship("ord-1").await;
    let mut worker = scene.worker(&[]);
    worker.says(WAITS).await;
    assert_eq!(worker.get("/livez").await, (200, "alive\n".to_owned()), "nobody restarts it for that");
    worker.readiness("waiting for the ledger").await;
    let (status, said) = worker.get("/readyz").await;
    assert!(status == 503 && said.contains("Connection refused") && !said.contains("holdfast:"), "{status} {said}");
    // Several tries later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((times(&worker, WAITS), worker.has_ended()), (1, None), "{}", worker.log());
    scene.server.start_again().unwrap();
    worker.consuming().await;
    worker.readiness("\"ready\":true").await;
    scene.comes_to_an_end(1).await;
    assert_eq!(times(&worker, WAITS), 1, "{}", worker.log());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_waits_for_its_postgresql_ends_when_it_is_told_to() {
    let scene = Scene::new().await;
    scene.server.crash().unwrap();
    let mut worker = scene.worker(&[]);
    worker.says(WAITS).await;
    worker.terminate();
    worker.says("told to end before the ledger could be opened").await;
    assert_eq!(worker.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_pass_by_itself_is_said_at_once() {
    let scene = Scene::new().await;
    let url = scene.database.tcp_url.expose_secret();
    let wrong = url.replace("holdfast:", "holdfast:wrong");
    let nowhere = url.replace(&format!("/{}", scene.database.name), "/nowhere");
    for (url, words) in [(wrong, "password authentication failed"), (nowhere, "database \"nowhere\" does not exist")] {
        let mut worker = scene.worker(&[("HOLDFAST_LEDGER__URL", &url)]);
        assert_eq!(worker.ended().await.code(), Some(4), "{}", worker.log());
        assert!(worker.log().contains(words) && times(&worker, WAITS) == 0, "{}", worker.log());
    }
    scene.server.psql("ALTER SYSTEM SET full_page_writes = off").unwrap();
    scene.server.crash_and_restart().unwrap();
    let mut worker = scene.worker(&[]);
    assert_eq!(worker.ended().await.code(), Some(4), "{}", worker.log());
    assert!(worker.log().contains("full_page_writes = off"), "{}", worker.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_its_postgresql() {
    let scene = Scene::new().await;
    let mut worker = scene.worker(&[("HOLDFAST_WORKER__DRAIN_GRACE", "45s")]);
    scene.lose_it_during_a_call(&mut worker).await;
    worker.terminate();
    worker.says("draining").await;
    // The answer has come by then, and cannot be booked.
    tokio::time::sleep(Duration::from_millis(2 * LATENCY_MS)).await;
    assert_eq!(worker.has_ended(), None, "{}", worker.log());
    scene.server.start_again().unwrap();
    assert_eq!(worker.ended().await.code(), Some(0), "{}", worker.log());
    assert_eq!(times(&worker, "\"message\":\"drained\""), 1, "{}", worker.log());
    let outcomes = scene.world.outcomes(1).await;
    assert_eq!(outcomes[0].field("resolved_by"), "response", "settled by the drain itself");
    scene.comes_to_an_end(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_without_its_postgresql_when_its_time_is_over() {
    let scene = Scene::new().await;
    let mut worker = scene.worker(&[("HOLDFAST_WORKER__DRAIN_GRACE", "4s")]);
    scene.lose_it_during_a_call(&mut worker).await;
    // Taken, not committed, not acknowledged.
    scene.ship("ord-2").await;
    worker.terminate();
    worker.says("the ledger has not answered within worker.drain_grace").await;
    assert_eq!(worker.ended().await.code(), Some(0), "{}", worker.log());
    depth_becomes(&scene.world.broker, &scene.world.broker.work_queue, 1).await;
    scene.server.start_again().unwrap();
    scene.world.faults(Vec::new());
    let worker = scene.worker(&[]);
    scene.comes_to_an_end(2).await;
    assert_eq!(scene.captures(), 2, "one was looked up, and one was sent");
    worker.stop().await;
}
