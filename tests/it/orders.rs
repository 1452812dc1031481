//! Whole orders, from the first notice to the last event, with every field of every event.
//!
//! Each test compares the events of one order with a file in `tests/fixtures/orders`. To write the
//! files anew after a change that is meant to change them, and to read what has changed:
//!
//! ```text
//! HOLDFAST_TEST_REWRITE_FIXTURES=1 cargo test --test it orders::
//! git diff tests/fixtures/orders
//! ```
//!
//! Afterwards the provider's books equal the ledger, and the queues are empty (`World::check_books`).

use std::time::Duration;

use serde_json::json;

use crate::support::fixture;
use crate::support::order::{Account, Order};
use crate::support::worker::Worker;
use crate::support::world::World;

/// So long before the expiry money is taken, as `World` sets it.
const MARGIN: Duration = Duration::from_secs(2);

/// Everything agrees, and was said once.
async fn end(name: &str, world: &World, order: &Order, worker: Worker) {
    world.check_books().await;
    worker.stop().await;
    world.listener.assert_none_repeated();
    fixture::compare(name, order, MARGIN, &world.listener.received(), &world.books());
}

/// What the provider has taken and let go, and in how many requests.
fn booked(world: &World, order: &Order) -> (i64, i64, u64) {
    let books = world.books();
    let booked = books.find(&order.reference).unwrap();
    (booked.captured_minor, booked.voided_minor, booked.capture_requests)
}

#[tokio::test]
async fn three_shipments_captured_once_at_the_end() {
    let world = World::new().await;
    let order = world.order_with("ord-1", Account::Flitt, &[("chair", 3, 8_999)], |order| {
        (order.tax, order.shipping) = (720, 281);
    });
    let worker = world.worker();
    for (shipment, deferred) in [("a", 1), ("b", 2)] {
        world.publish([order.shipped(shipment, &[("chair", 1)])]).await;
        world.events("capture.deferred", deferred).await;
    }
    assert_eq!(booked(&world, &order).2, 0, "nothing is asked of the provider while it collects");
    world.publish([order.shipped("c", &[("chair", 1)])]).await;
    world.outcomes(3).await;
    assert_eq!(booked(&world, &order), (10_000, 0, 1));
    end("captured_once", &world, &order, worker).await;
}

#[tokio::test]
async fn an_order_that_never_completes_is_captured_before_its_money_is_lost() {
    let world = World::new().await;
    let mut worker = world.worker_with(&[("HOLDFAST_CAPTURE__EXPIRING_LEADS", "4s")]);
    worker.consuming().await;
    let order = world.order_with("ord-1", Account::Flitt, &[("tea", 3, 9_500)], |order| {
        order.shipping = 500;
        order.expires_at = order.created_at + Duration::from_secs(9);
    });
    for (shipment, deferred) in [("a", 1), ("b", 2)] {
        world.publish([order.shipped(shipment, &[("tea", 1)])]).await;
        world.events("capture.deferred", deferred).await;
    }
    world.events("authorization.expiring", 1).await;
    assert_eq!(booked(&world, &order).2, 0, "it collects until the margin");
    world.outcomes(2).await;
    // Two thirds of the goods, 63.33, and of the delivery, 3.33.
    assert_eq!((booked(&world, &order).0, booked(&world, &order).2), (6_666, 1));
    end("deadline", &world, &order, worker).await;
}

#[tokio::test]
async fn the_final_notice_comes_first() {
    let world = World::new().await;
    let order = world
        .order_with("ord-1", Account::Flitt, &[("mug", 4, 4_000), ("lamp", 1, 3_000)], |order| order.shipping = 490);
    let worker = world.worker_with(&[("HOLDFAST_CAPTURE__FINAL_GRACE", "3s")]);
    world.publish([order.last("b", &[("mug", 1), ("lamp", 1)])]).await;
    world.events("capture.deferred", 1).await;
    world.publish([order.shipped("a", &[("mug", 2)])]).await;
    world.events("capture.deferred", 2).await;
    world.outcomes(2).await;
    // One mug never shipped: the delivery is due in full all the same.
    assert_eq!((booked(&world, &order).0, booked(&world, &order).2), (6_490, 1));
    end("final_first", &world, &order, worker).await;
}

#[tokio::test]
async fn an_order_is_revised_downwards() {
    let world = World::new().await;
    let mut order = world.order("ord-1", Account::Flex, &[("lamp", 3, 9_000)]);
    let worker = world.worker();
    world.publish([order.shipped("a", &[("lamp", 1)])]).await;
    world.outcomes(1).await;
    // Still above what was captured: the next shipment is given less.
    order.lines = vec![("lamp", 3, 7_500)];
    world.publish([order.registered(2), order.bare("b", &[("lamp", 1)])]).await;
    world.outcomes(2).await;
    // Below: somebody has to give 5.00 back, and the last shipment is free.
    order.lines = vec![("lamp", 3, 4_500)];
    world.publish([order.registered(3)]).await;
    world.events("refund_required", 1).await;
    world.publish([order.bare("c", &[("lamp", 1)])]).await;
    world.outcomes(3).await;
    assert_eq!(booked(&world, &order), (5_000, 0, 2));
    end("revised_downwards", &world, &order, worker).await;
}

#[tokio::test]
async fn a_part_is_cancelled_between_two_shipments_and_told_three_times() {
    let world = World::new().await;
    let order = world.order_with("ord-1", Account::Fondy, &[("shirt", 4, 8_000)], |order| order.shipping = 500);
    let worker = world.worker();
    world.publish([order.shipped("a", &[("shirt", 1)])]).await;
    world.events("capture.deferred", 1).await;
    let mut cancelled = order.cancelled();
    cancelled["data"]["lines"] = json!([{ "line_id": "shirt", "cancelled": 1 }]);
    world.publish([cancelled.clone(), cancelled.clone(), cancelled]).await;
    world.publish([order.shipped("b", &[("shirt", 2)])]).await;
    world.outcomes(2).await;
    world.publish([order.shipped("c", &[("shirt", 1)])]).await;
    world.outcomes(3).await;
    assert_eq!((booked(&world, &order).0, booked(&world, &order).2), (6_500, 1));
    end("cancelled_between", &world, &order, worker).await;
}

#[tokio::test]
async fn every_shipment_is_captured_by_itself() {
    let world = World::new().await;
    let order = world.order_with("ord-1", Account::Flex, &[("chair", 3, 8_999)], |order| {
        (order.tax, order.shipping) = (720, 281);
    });
    let worker = world.worker();
    for (shipment, outcomes) in [("a", 1), ("b", 2), ("c", 3)] {
        world.publish([order.shipped(shipment, &[("chair", 1)])]).await;
        world.outcomes(outcomes).await;
    }
    assert_eq!(booked(&world, &order), (10_000, 0, 3));
    end("captured_per_shipment", &world, &order, worker).await;
}

#[tokio::test]
async fn less_is_authorized_than_the_order_costs() {
    let world = World::new().await;
    let lines = [("sofa", 2, 8_000), ("cushion", 1, 2_000)];
    let order = world.order_with("ord-1", Account::Flex, &lines, |order| order.authorized = 6_000);
    let worker = world.worker();
    // The second sofa is too much; the cushion still fits.
    let shipments = [("a", ("sofa", 1)), ("b", ("sofa", 1)), ("c", ("cushion", 1))];
    for ((shipment, line), outcomes) in shipments.into_iter().zip(1..) {
        world.publish([order.shipped(shipment, &[line])]).await;
        world.outcomes(outcomes).await;
    }
    assert_eq!(booked(&world, &order), (6_000, 0, 2));
    end("authorized_in_part", &world, &order, worker).await;
}

#[tokio::test]
async fn shipments_come_before_everything_they_need() {
    let world = World::new().await;
    let order = world.order("ord-1", Account::Flitt, &[("l1", 3, 10_000)]);
    let worker = world.worker();
    for (shipment, units, awaiting) in [("a", 1, 1), ("b", 2, 2)] {
        world.publish([order.bare(shipment, &[("l1", units)])]).await;
        world.count_becomes("SELECT count(*) FROM shipments WHERE state = 'awaiting'", awaiting).await;
    }
    assert!(world.listener.received().is_empty(), "there is nothing to tell yet");
    world.publish([order.authorized()]).await;
    world.outcomes(2).await;
    assert_eq!(booked(&world, &order), (10_000, 0, 1));
    end("shipped_before_authorized", &world, &order, worker).await;
}
