//! What is long over loses its details, and nothing else.

use holdfast::sandbox::{Fault, When};

use crate::support::order::Account;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_go_and_a_late_duplicate_is_still_known() {
    let world = World::new().await;
    let order = world.order("old", Account::Flex, &[("l1", 2, 1_000)]);
    // Its answer is lost, so that there is something to tell of it.
    world.fault_on_captures(Fault::Reset { when: When::After }, Some(1));
    let worker = world.worker();
    world.publish([order.shipped("s1", &[("l1", 1)])]).await;
    world.outcomes(1).await;
    world.count_becomes("SELECT count(*) FROM outbox WHERE published_at IS NULL", 0).await;
    worker.stop().await;
    let bodies = "SELECT count(*) FROM events WHERE length(body) > 0";
    assert_eq!(world.count(bodies), 1);

    let worker = world.worker_with(&[("HOLDFAST_RETENTION__DETAILS_FOR", "1ms")]);
    world.count_becomes(bodies, 0).await;
    world.count_becomes("SELECT count(*) FROM history", 0).await;
    let (code, shown, said) = world.holdfast(&["captures", "show", "old"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(shown.contains("details were pruned"), "{shown}");
    // It comes again, and with other content: known, and a conflict.
    world.publish([order.shipped("s1", &[("l1", 1)]), order.shipped("s1", &[("l1", 2)])]).await;
    world.count_becomes("SELECT count(*) FROM dead_letters WHERE reason = 'conflict'", 1).await;
    assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, 500);
    let (code, verdict, said) = world.holdfast(&["audit"]).await;
    assert_eq!(code, 0, "{verdict}{said}");
    worker.stop().await;
}
