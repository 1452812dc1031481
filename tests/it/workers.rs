//! Workers on PostgreSQL: what an operator asks one of two reaches both, and when one is killed the other
//! goes on with what it had begun. And a ledger that is moved there out of its file.

use std::time::Duration;

use holdfast::ledger::postgres::local_server::{Database, LocalServer};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::order::{Account, Order};
use crate::support::worker::Worker;
use crate::support::world::World;

const LEDGER: &str = "HOLDFAST_LEDGER__URL";

/// A ledger for both, beside the world's own, which nobody uses.
struct Shared {
    world: World,
    database: Database,
    server: LocalServer,
}

impl Shared {
    async fn new() -> Self {
        let server = LocalServer::start().unwrap();
        let database = server.create_database().unwrap();
        Self { world: World::new().await, database, server }
    }

    fn worker(&self) -> Worker {
        self.world.worker_with(&[(LEDGER, self.database.url.expose_secret())])
    }

    async fn holdfast(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(arguments).arg("--config").arg(self.world.config());
        command.env(LEDGER, self.database.url.expose_secret());
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("an end in time").unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    async fn account(&self, account: Account) -> Value {
        let (code, said) = self.holdfast(&["accounts", "list", "--output", "json"]).await;
        assert_eq!(code, 0, "{said}");
        let listing: Value = serde_json::from_str(&said).unwrap();
        let mut lines = listing["accounts"].as_array().unwrap().iter();
        lines.find(|line| line["account"] == account.name()).unwrap().clone()
    }

    async fn account_becomes(&self, account: Account, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let reached = async {
            loop {
                last = self.account(account).await;
                if is_so(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await.is_ok();
        assert!(reached, "{last}");
        last
    }

    async fn ship(&self, kind: &str, account: Account, count: usize) {
        let order = |number: usize| self.world.order(&format!("{kind}-{number}"), account, &[("l1", 1, 1_999)]);
        let orders: Vec<Order> = (0..count).map(order).collect();
        self.world.publish(orders.iter().map(|order| order.shipped("s", &[("l1", 1)]))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_a_ledger_and_one_goes_on_for_both() {
    let shared = Shared::new().await;
    let world = &shared.world;
    let (mut first, mut second) = (shared.worker(), shared.worker());
    first.consuming().await;
    second.consuming().await;
    shared.ship("both", Account::Flex, 100).await;
    world.outcomes(100).await;

    let (code, said) = shared.holdfast(&["doctor", "--output", "json"]).await;
    assert!(code == 0 && said.contains("2 workers run on it"), "{code} {said}");
    let (code, said) = shared.holdfast(&["check"]).await;
    assert!(code == 0 && said.contains("postgres://holdfast@"), "{code} {said}");
    let (code, said) = shared.holdfast(&["backup", "/nowhere/copy.db"]).await;
    assert!(code == 2 && said.contains("pg_dump"), "{code} {said}");

    let (code, said) = shared.holdfast(&["accounts", "pause", "flex", "--reason", "they asked us to"]).await;
    assert!(code == 0 && said.contains("other workers follow"), "{said}");
    for worker in [&mut first, &mut second] {
        let alarm = "holdfast_alarm{name=\"account_paused\",account=\"flex\"}";
        worker.metric_becomes(alarm, |value| value > 0.0).await;
    }
    shared.ship("paused", Account::Flex, 40).await;
    let line = shared.account_becomes(Account::Flex, |line| line["waiting"] == 40).await;
    assert!(line["state"] == "paused" && line["worker"].is_string(), "{line}");
    assert_eq!(world.listener.received().iter().filter(|event| event.is_outcome()).count(), 100, "nothing was sent");
    let (code, said) = shared.holdfast(&["accounts", "resume", "flex", "--reason", "they are back"]).await;
    assert_eq!(code, 0, "{said}");
    world.outcomes(140).await;

    shared.ship("killed", Account::Flex, 200).await;
    first.kill9().await;
    let outcomes = world.outcomes(340).await;
    assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"), "nothing failed");
    let line = shared.account_becomes(Account::Flex, |line| line.get("worker").is_none()).await;
    assert_eq!((&line["waiting"], &line["in_flight"], &line["in_doubt"]), (&0.into(), &0.into(), &0.into()), "{line}");
    let (code, said) = shared.holdfast(&["audit"]).await;
    assert_eq!(code, 0, "{said}");
    second.stop().await;
}

/// Nothing is lost and nothing is done twice when PostgreSQL crashes under a worker; the worker stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_survives_crashes_of_its_postgresql() {
    let shared = Shared::new().await;
    let world = &shared.world;
    let mut worker = shared.worker();
    worker.consuming().await;
    let mut shipped = 0;
    for round in ["first", "second", "third"] {
        shared.ship(round, Account::Flex, 60).await;
        shipped += 60;
        // In the middle of it, and for as long as a few messages take to come in.
        world.outcomes(shipped - 50).await;
        shared.server.crash().unwrap();
        shared.ship(&format!("{round}-meanwhile"), Account::Flex, 20).await;
        shipped += 20;
        shared.server.start_again().unwrap();
        let outcomes = world.outcomes(shipped).await;
        assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"), "nothing failed");
    }
    let (code, said) = shared.holdfast(&["audit"]).await;
    assert_eq!(code, 0, "{said}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_is_moved_and_the_next_worker_goes_on_there_alone() {
    let shared = Shared::new().await;
    let world = &shared.world;
    let worker = world.worker();
    shared.ship("before", Account::Flex, 30).await;
    world.outcomes(30).await;
    let file = format!("sqlite:{}", world.config().with_file_name("holdfast.db").display());
    let migrate = ["migrate", "--from", &file, "--to", shared.database.url.expose_secret()];
    let (code, said) = shared.holdfast(&migrate).await;
    assert!(code == 5 && said.contains("another worker holds the ledger"), "{code} {said}");
    worker.stop().await;
    let (code, said) = shared.holdfast(&migrate).await;
    assert!(code == 0 && said.contains("read back and the same"), "{code} {said}");

    let (code, _, said) = world.holdfast(&["run"]).await;
    assert!(code == 4 && said.contains("was moved to postgres://") && said.contains("set ledger.url"), "{code} {said}");
    let worker = shared.worker();
    // Everything once more, and some that are new.
    let before = world.sent();
    world.publish(before).await;
    shared.ship("after", Account::Flitt, 10).await;
    world.outcomes(40).await;
    crate::support::depth_becomes(&world.broker, &world.broker.work_queue, 0).await;
    let (code, said) = shared.holdfast(&["audit"]).await;
    assert_eq!(code, 0, "{said}");
    worker.stop().await;
    world.listener.assert_none_repeated();
    assert_eq!(world.listener.received().iter().filter(|event| event.is_outcome()).count(), 40);
}
