//! `order.authorized` and `order.cancelled`, over a real broker and real HTTP.

use crate::support::order::{Account, minor};
use crate::support::world::World;

#[tokio::test]
async fn what_nobody_tells_is_looked_up_and_what_is_cancelled_completes_the_order() {
    for account in Account::ALL {
        let world = World::new().await;
        let order = world.order_with("ord-1", account, &[("l1", 3, 9_000)], |order| order.shipping = 500);
        let worker = world.worker();
        // The notice comes first, and waits; then what it lacks, without the amount of the authorization.
        world.publish([order.bare("a", &[("l1", 2)])]).await;
        world.publish([order.registered(1)]).await;
        if account.is_single() {
            world.events("capture.deferred", 1).await;
            world.publish([order.cancelled()]).await;
            let outcomes = world.outcomes(1).await;
            assert_eq!((outcomes[0].kind.as_str(), outcomes[0].field("amount")), ("capture.succeeded", "65.00"));
        } else {
            world.outcomes(1).await;
            world.publish([order.cancelled()]).await;
            let outcomes = world.outcomes(2).await;
            assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"), "{outcomes:?}");
            let fee = outcomes.iter().find(|event| event.field("kind") == "fee").expect("the rest of the delivery");
            assert!(fee.json["data"]["shipment_id"].is_null());
            assert_eq!(outcomes.iter().map(|event| minor(event.field("amount"))).sum::<i64>(), 6_500);
        }
        world.publish([order.bare("b", &[("l1", 1)])]).await;
        let late = world.events("capture.failed", 1).await;
        assert_eq!(late[0].field("reason"), "order_cancelled");
        world.check_books().await;
        assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, 6_500);
        worker.stop().await;
        world.check_books().await;
    }
}
