//! Caps of an account: what exceeds them waits, visibly, until an operator or the settings let it go on.

use serde_json::{Value, json};

use crate::support::order::{Account, Order};
use crate::support::store::Kind;
use crate::support::world::World;

const HELD: &str = "SELECT count(*) FROM captures WHERE capped = 'hour'";
const ALARM: &str = "holdfast_alarm{name=\"account_capped\",account=\"flex\"}";

fn cap(amount: &'static str) -> [(&'static str, &'static str); 2] {
    [("HOLDFAST_ACCOUNTS__FLEX__CAP_PER_HOUR", amount), ("HOLDFAST_CAPTURE__AWAITING_CHECK", "1s")]
}

/// Three orders of 10.00 each; a cap that lets two through.
async fn third_is_held(world: &World) -> Order {
    let orders = ["capped-1", "capped-2", "capped-3"].map(|id| world.order(id, Account::Flex, &[("l1", 1, 1_000)]));
    for (number, order) in orders.iter().enumerate() {
        world.publish([order.shipped("s1", &[("l1", 1)])]).await;
        if number < 2 {
            world.outcomes(number + 1).await;
        }
    }
    world.count_becomes(HELD, 1).await;
    let [_, _, third] = orders;
    assert_eq!(world.books().find(&third.reference).unwrap().captured_minor, 0);
    third
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_exceeds_a_cap_is_held_with_an_alarm_until_an_operator_releases_it() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let world = World::on(kind).await;
        let settings = std::fs::read_to_string(world.config()).unwrap();
        let capped = settings.replace("[accounts.flex]", "[accounts.flex]\ncap_per_hour = \"25.00 USD\"");
        std::fs::write(world.config(), capped).unwrap();
        let mut worker = world.worker_with(&[("HOLDFAST_CAPTURE__AWAITING_CHECK", "1s")]);
        let third = third_is_held(&world).await;
        worker.metric_becomes(ALARM, |value| value > 0.0).await;
        worker.metric_becomes("holdfast_capped{account=\"flex\"}", |value| value > 0.0).await;

        let listed = world.runs(0, &["captures", "list", "--held", "--output", "json"]).await;
        let listing: Value = serde_json::from_str(&listed).unwrap();
        let [line] = listing["shipments"].as_array().unwrap().as_slice() else { panic!("{listing}") };
        let told = ["order_id", "state", "held_by"].map(|field| line[field].as_str().unwrap().to_owned());
        assert_eq!(told, ["capped-3", "held", "hour"]);
        let (_, listing, _) = world.holdfast_json(&["accounts", "list"]).await;
        let flex = listing["accounts"].as_array().unwrap().iter().find(|line| line["account"] == "flex").unwrap();
        let counted = json!([{ "window": "hour", "currency": "USD", "used": "20.00", "cap": "25.00" }]);
        assert_eq!(flex["caps"], counted, "{listing}");
        let listed = world.runs(0, &["accounts", "list"]).await;
        assert!(listed.contains("20.00 of 25.00 USD in the hour"), "{listed}");
        let shown = world.runs(0, &["captures", "show", &third.id]).await;
        let why =
            "20.00 USD of the 25.00 USD that flex captures in an hour are used, it needs 10.00 USD; room at about";
        assert!(shown.contains(why), "{shown}");

        let mut asked = vec!["captures", "release", third.id.as_str(), "--reason", "the shop has confirmed it"];
        assert!(world.runs(2, &asked).await.contains("there is nobody to be asked"));
        assert_eq!(world.count(HELD), 1);
        asked.push("--yes");
        assert!(world.runs(0, &asked).await.contains("released: 10.00 USD is sent as soon as it can be"));
        let outcomes = world.outcomes(3).await;
        assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"), "{outcomes:?}");
        worker.metric_becomes(ALARM, |value| value == 0.0).await;
        assert!(world.runs(1, &asked).await.contains("there is nothing to release"));
        assert_eq!(world.count("SELECT count(*) FROM requests WHERE what LIKE '%release_capture%'"), 1);
        let shown = world.runs(0, &["captures", "show", &third.id]).await;
        assert!(shown.contains("released") && shown.contains("the shop has confirmed it"), "{shown}");
        world.check_books().await;
        worker.stop().await;
    }
}

/// What was counted outlives the worker, and what is held is looked at again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_goes_on_by_itself_under_another_cap() {
    let world = World::new().await;
    let mut worker = world.worker_with(&cap("25.00 USD"));
    let third = third_is_held(&world).await;
    worker.kill9().await;
    let worker = world.worker_with(&cap("29.99 USD"));
    let why = "20.00 USD of the 29.99 USD that flex captures in an hour are used";
    let waits = format!("SELECT count(*) FROM captures WHERE capped = 'hour' AND last_seen LIKE '{why}%'");
    world.count_becomes(&waits, 1).await;
    worker.stop().await;
    let worker = world.worker_with(&cap("30.00 USD"));
    world.outcomes(3).await;
    assert_eq!(world.books().find(&third.reference).unwrap().captured_minor, 1_000);
    world.check_books().await;
    worker.stop().await;
}
