//! Shortcuts in the loops and in an adapter, switched on in the real worker: each loses money or a message,
//! and is caught. Without it, the same happens and nothing is wrong.
//!
//! Those in the core are shown in `tests/simulation`.

use holdfast::mutant::Mutant;
use holdfast::sandbox::{Fault, KeyReuse, KeyRules, Operation, Rule, Settings, When};
use uuid::Uuid;

use crate::support::order::Account;
use crate::support::world::World;

/// What breaks in two runs, without the shortcut and with it.
async fn is_caught<F: Future<Output = Vec<String>>>(mutant: Mutant, promise: &str, run: impl Fn(&'static str) -> F) {
    let control = run("").await;
    assert!(control.is_empty(), "without {} something is wrong too: {control:?}", mutant.as_str());
    let broken = run(mutant.as_str()).await;
    let is_caught = broken.iter().any(|difference| difference.starts_with(promise));
    assert!(is_caught, "{} breaks not {promise} but {broken:?}", mutant.as_str());
}

const SWITCH: &str = "HOLDFAST_TEST_MUTANT";

#[tokio::test]
async fn ack_early() {
    // Dies before what was delivered is in the ledger.
    is_caught(Mutant::AckEarly, "S8 lost", async |mutant| {
        let world = World::new().await;
        let order = world.order("ord-1", Account::Flex, &[("l1", 1, 1_000)]);
        world.publish([order.shipped("a", &[("l1", 1)])]).await;
        let mut doomed = world.worker_with(&[(SWITCH, mutant), ("HOLDFAST_TEST_CRASH_AT", "before-T1:1")]);
        doomed.dies_at("before-T1").await;
        let mut worker = world.worker();
        worker.consuming().await;
        if mutant.is_empty() {
            world.outcomes(1).await;
        }
        // Draining commits whatever was delivered.
        worker.stop().await;
        world.published_is_received().await;
        world.differences()
    })
    .await;
}

#[tokio::test]
async fn send_before_intent() {
    // Dies when the request has left, while the provider still works on it.
    is_caught(Mutant::SendBeforeIntent, "S4", async |mutant| {
        let world = World::new().await;
        let order = world.order("ord-1", Account::Flex, &[("l1", 1, 1_000)]);
        world.fault_on_captures(Fault::Latency { ms: 300, when: When::After }, Some(1));
        let mut doomed = world.worker_with(&[(SWITCH, mutant), ("HOLDFAST_TEST_CRASH_AT", "after-send:1")]);
        doomed.consuming().await;
        world.publish([order.shipped("a", &[("l1", 1)])]).await;
        doomed.dies_at("after-send").await;
        let books = world.books();
        let taken = books.find(&order.reference).unwrap().captures.iter();
        let keys: Vec<String> = taken.filter_map(|capture| capture.merchant_reference_id.clone()).collect();
        assert_eq!(keys.len(), 1, "the money was captured");
        let is_known = |key: &String| {
            let sql = "SELECT count(*) FROM captures WHERE capture_id = ?1 AND attempts > 0";
            let id = Uuid::parse_str(key).unwrap().into_bytes();
            world.ledger().query_row(sql, [id], |row| row.get::<_, i64>(0)).unwrap() == 1
        };
        let unknown = keys.into_iter().filter(|key| !is_known(key));
        unknown.map(|key| format!("S4 {key} was captured, and no attempt at it is in the ledger")).collect()
    })
    .await;
}

#[tokio::test]
async fn new_key_on_used() {
    // The first request is worked on late: a look does not see it yet, and permits the same key again,
    // which is used by then.
    is_caught(Mutant::NewKeyOnUsed, "S1", async |mutant| {
        let world = World::new().await;
        let keys = KeyRules { reuse: KeyReuse::AlreadyUsed, ..KeyRules::default() };
        world.sandbox.sandbox().set_settings(Settings { keys });
        let order = world.order("ord-1", Account::Flex, &[("l1", 4, 4_000)]);
        let once = |operation, fault| Rule { operation, times: Some(1), ..Rule::new(fault) };
        let late = |ms, when| Fault::Latency { ms, when };
        world.faults(vec![
            once(Operation::Capture, late(2_500, When::Before)),
            once(Operation::Lookup, late(800, When::After)),
        ]);
        let mut worker = world.worker_with(&[(SWITCH, mutant)]);
        worker.consuming().await;
        world.publish([order.shipped("a", &[("l1", 1)])]).await;
        world.outcomes(1).await;
        worker.stop().await;
        assert_eq!(
            world.books().find(&order.reference).unwrap().capture_requests,
            if mutant.is_empty() { 2 } else { 3 }
        );
        world.published_is_received().await;
        world.differences()
    })
    .await;
}
