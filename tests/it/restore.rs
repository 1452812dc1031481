//! A ledger that was restored from a backup, while the provider knows what was captured since: nothing is
//! captured before everything open was read, and nothing twice.

use holdfast::sandbox::{Fault, Operation, Rule, When};
use serde_json::Value;

use crate::support::order::{Account, Order};
use crate::support::worker::Worker;
use crate::support::world::World;

/// Nothing is looked at again by itself, as far as a test lasts.
const NO_LOOKS: [(&str, &str); 1] = [("HOLDFAST_CAPTURE__LOOK_AFTER", "1h")];

const OPEN: &str = "SELECT count(*) FROM captures WHERE is_open = 1";

/// Puts the backup in the place of the ledger.
pub fn restore(world: &World) {
    let file = |name: &str| world.config().with_file_name(name);
    for gone in ["holdfast.db", "holdfast.db-wal", "holdfast.db-shm"] {
        let _ = std::fs::remove_file(file(gone));
    }
    std::fs::copy(file("backup.db"), file("holdfast.db")).unwrap();
}

pub async fn back_up(world: &World) {
    let to = world.config().with_file_name("backup.db");
    let (code, _, said) = world.holdfast(&["backup", to.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
}

/// What the provider has captured, by authorization.
fn captured(world: &World, orders: &[&Order]) -> Vec<i64> {
    orders.iter().map(|order| world.books().find(&order.reference).unwrap().captured_minor).collect()
}

/// Whatever could hide a second capture is gone: Flex Pay has forgotten every key.
fn forget_keys() -> Rule {
    Rule { operation: Operation::Capture, ..Rule::new(Fault::ForgetKeys) }
}

fn unreachable() -> Rule {
    Rule { operation: Operation::Lookup, ..Rule::new(Fault::Reset { when: When::Before }) }
}

/// The books agree; what was published about them before the restore may say that another call found it.
async fn check(world: &World) {
    world.count_becomes(OPEN, 0).await;
    world.count_becomes("SELECT count(*) FROM outbox WHERE published_at IS NULL", 0).await;
    world.published_is_received().await;
    let found = world.differences();
    let found: Vec<&String> = found.iter().filter(|it| !it.ends_with("as it was received")).collect();
    assert!(found.is_empty(), "{found:#?}");
    let (code, verdict, said) = world.holdfast(&["audit", "--output", "json", "--rate", "2000"]).await;
    assert_eq!(code, 0, "{verdict}{said}");
}

async fn is_over(worker: &mut Worker) -> Value {
    let said = worker.says("the restore from a backup is over").await;
    worker.readiness("\"ready\":true").await;
    said
}

/// An order that is captured several times.
fn several(world: &World, id: &str) -> Order {
    world.order(id, Account::Flex, &[("l1", 3, 1_000)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_captured_after_the_backup_is_not_captured_again() {
    let world = World::new().await;
    let [known, doubted, lost, planned] = ["known", "doubted", "lost", "planned"].map(|id| several(&world, id));
    let done = world.order("done", Account::Flitt, &[("l1", 1, 500)]);
    let half = world.order("half", Account::Flitt, &[("l1", 2, 1_999)]);
    let gone = world.order("gone", Account::Fondy, &[("l1", 2, 1_999)]);
    let orders = [&known, &doubted, &lost, &planned, &done, &half, &gone];
    let before =
        [known.shipped("s1", &[("l1", 1)]), done.shipped("s1", &[("l1", 1)]), half.shipped("s1", &[("l1", 1)])];
    let in_doubt = [doubted.shipped("s1", &[("l1", 1)]), doubted.shipped("s2", &[("l1", 1)])];
    let put_off = [planned.shipped("s1", &[("l1", 1)])];
    let after = [
        known.shipped("s2", &[("l1", 1)]),
        lost.shipped("s1", &[("l1", 1)]),
        half.shipped("s2", &[("l1", 1)]),
        gone.shipped("s1", &[("l1", 1)]),
        gone.shipped("s2", &[("l1", 1)]),
    ];

    // Before the backup: one captured, one in doubt with another behind it, one put off, one half collected.
    let mut worker = world.worker_with(&NO_LOOKS);
    world.publish(before.clone()).await;
    world.outcomes(2).await;
    world.fault_on_captures(Fault::Reset { when: When::After }, Some(1));
    world.publish(in_doubt.clone()).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'in_doubt'", 1).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'planned'", 1).await;
    world.fault_on_captures(Fault::Status { status: 429, retry_after_s: Some(60), when: When::Before }, None);
    world.publish(put_off.clone()).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'planned'", 2).await;
    world.count_becomes("SELECT count(*) FROM shipments WHERE state = 'waiting'", 1).await;
    back_up(&world).await;
    worker.kill9().await;
    // After it: everything of that is captured, and more.
    world.faults(Vec::new());
    let mut worker = world.worker();
    world.publish(after.clone()).await;
    world.outcomes(11).await;
    worker.kill9().await;
    let captured_then = captured(&world, &orders);
    assert_eq!(captured_then.iter().filter(|minor| **minor > 0).count(), orders.len(), "{captured_then:?}");

    restore(&world);
    world.faults(vec![forget_keys(), unreachable()]);
    // Half of it was published again already when nobody can be reached.
    let mut worker = world.worker_after_restore();
    world.publish(after.clone()).await;
    worker.readiness("open authorizations are still to be read before").await;
    world.count_becomes("SELECT count(*) FROM orders", 7).await;
    worker.metric_becomes("holdfast_alarm{name=\"account_breaker_open\",account=\"flex\"}", |value| value > 0.0).await;
    assert_eq!(captured(&world, &orders), captured_then);
    // One of the providers answers before the worker dies, without the other having been read.
    world.faults(vec![
        forget_keys(),
        Rule { account: Some(holdfast::sandbox::FLEX_CLIENT.to_owned()), ..unreachable() },
    ]);
    let unread_flitt = "SELECT count(*) FROM authorizations WHERE restored = 'unread' AND account <> 'flex'";
    world.count_becomes(unread_flitt, 0).await;
    worker.kill9().await;

    // Nobody says that it was restored, and nothing is captured all the same.
    let mut worker = world.worker();
    worker.readiness("open authorizations are still to be read before").await;
    world.publish(before.clone().into_iter().chain(in_doubt).chain(put_off).chain(after)).await;
    worker.consuming().await;
    assert_eq!(world.count("SELECT count(*) FROM restores WHERE ended_at IS NULL"), 1);
    assert_eq!(captured(&world, &orders), captured_then);
    world.faults(vec![forget_keys()]);
    let said = is_over(&mut worker).await;
    assert!(said["adopted"].as_u64() >= Some(3), "the one in doubt, the one behind it, the one put off: {said}");
    world.count_becomes("SELECT count(*) FROM shipments WHERE state = 'settled'", 11).await;
    assert_eq!(captured(&world, &orders), captured_then);
    check(&world).await;

    // It goes on as before, on what it has recognised too.
    world.publish([known.shipped("s3", &[("l1", 1)]), lost.shipped("s2", &[("l1", 2)])]).await;
    world.count_becomes("SELECT count(*) FROM shipments WHERE state = 'settled'", 13).await;
    assert_eq!(captured(&world, &[&known, &lost]), [1_000, 1_000]);
    check(&world).await;
    worker.stop().await;
}
