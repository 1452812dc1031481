//! What people do by hand: somebody else at the provider, and our operators at the worker.

use holdfast::sandbox::{ByHand, ByHandKind, Fault, Operation, Rule, When};
use serde_json::Value;

use crate::support::order::{Account, Order};
use crate::support::world::World;

/// Nothing is looked at again by itself, as far as a test lasts.
const NO_LOOKS: [(&str, &str); 1] = [("HOLDFAST_CAPTURE__LOOK_AFTER", "1h")];

const HALTED: &str = "SELECT count(*) FROM authorizations WHERE foreign_standing = 'halted'";

fn somebody(world: &World, order: &Order, kind: ByHandKind, amount_minor: i64) {
    let by_hand = ByHand { reference: order.reference.clone(), kind, amount_minor };
    world.sandbox.sandbox().meddle(&by_hand).unwrap();
}

fn capture_of(order: &Order, shipment: &str) -> String {
    format!("{}/{shipment}", order.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_money_halts_its_own_authorization_while_another_goes_on() {
    let world = World::new().await;
    let lines = [("l1", 3, 3_000), ("l2", 1, 400)];
    let order = world.order("halted", Account::Flex, &lines);
    let other = world.order("other", Account::Flex, &lines);
    let mut worker = world.worker();
    world.publish([order.shipped("s1", &[("l1", 1)])]).await;
    world.outcomes(1).await;
    somebody(&world, &order, ByHandKind::Capture, 500);
    // Its answer tells of it; one read shows it, and another one a second later.
    world.publish([order.shipped("s2", &[("l1", 1)])]).await;
    world.outcomes(2).await;
    world.count_becomes(HALTED, 1).await;
    let alarm = "holdfast_alarm{name=\"authorization_halted\",account=\"flex\"}";
    worker.metric_becomes(alarm, |value| value > 0.0).await;
    let said = worker.says("was captured by somebody else, nothing is sent on this one authorization").await;
    assert_eq!((&said["order.id"], &said["level"]), (&"halted".into(), &"ERROR".into()), "{said}");

    world.publish([order.shipped("s3", &[("l1", 1)]), order.shipped("s4", &[("l2", 1)])]).await;
    world.publish([other.shipped("s1", &[("l1", 3)]), other.shipped("s2", &[("l2", 1)])]).await;
    world.outcomes(4).await;
    assert_eq!(world.books().find(&other.reference).unwrap().captured_minor, 3_400, "the other one goes on");
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'planned' AND waits_turn = 1", 2).await;
    assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, 2_500);

    let listed = world.runs(0, &["authorizations", "list", "--halted", "--output", "json"]).await;
    let listing: Value = serde_json::from_str(&listed).unwrap();
    let [line] = listing["authorizations"].as_array().unwrap().as_slice() else { panic!("{listing}") };
    assert_eq!((&line["reference"], &line["captured_elsewhere"]), (&order.reference.as_str().into(), &"5.00".into()));
    assert_eq!((&line["provider_captured"], &line["provider_remaining"]), (&"25.00".into(), &"9.00".into()));
    let shown = world.runs(0, &["authorizations", "show", &order.reference]).await;
    assert!(shown.contains("halted: 5.00 USD was captured by somebody else"), "{shown}");

    let resume = |order: &Order| ["authorizations", "resume", order.reference.as_str()].map(ToOwned::to_owned);
    let reason = ["--reason".to_owned(), "by hand, ticket 4711".to_owned()];
    let asked: Vec<String> = resume(&other).into_iter().chain(reason.clone()).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    assert!(world.runs(1, &asked).await.contains("is not halted: there is nothing to resume"));
    let asked: Vec<String> = resume(&order).into_iter().chain(reason).collect();
    let mut asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    assert!(world.runs(2, &asked).await.contains("there is nobody to be asked"));
    assert_eq!(world.count(HALTED), 1);
    asked.push("--yes");
    assert!(world.runs(0, &asked).await.contains("resumed: what fits is sent, the rest is refused"));
    assert!(world.runs(1, &asked).await.contains("there is nothing to resume"));

    // 9.00 are left: 10.00 do not fit, 4.00 do.
    let outcomes = world.outcomes(6).await;
    let of = |shipment: &str| {
        let mut its = outcomes.iter().filter(|event| event.about() == ("halted".to_owned(), shipment.to_owned(), 0));
        its.next().unwrap()
    };
    assert_eq!((of("s3").kind.as_str(), of("s3").field("reason")), ("capture.failed", "exceeds_authorization"));
    assert_eq!(of("s4").kind, "capture.succeeded");
    assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, 2_900);
    worker.metric_becomes(alarm, |value| value == 0.0).await;
    assert_eq!(world.count("SELECT count(*) FROM requests WHERE what LIKE '%resume_authorization%'"), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_by_hand_finds_what_happened() {
    for account in [Account::Flex, Account::Flitt] {
        let world = World::new().await;
        let order = world.order("ord-1", account, &[("l1", 1, 1_999)]);
        world.fault_on_captures(Fault::Reset { when: When::After }, Some(1));
        let worker = world.worker_with(&NO_LOOKS);
        world.publish([order.shipped("s1", &[("l1", 1)])]).await;
        world.count_becomes("SELECT count(*) FROM captures WHERE state = 'in_doubt'", 1).await;
        let looked = world.runs(0, &["captures", "look", &capture_of(&order, "s1")]).await;
        assert!(looked.contains("the provider says: "), "{looked}");
        assert!(looked.contains("it is captured: 19.99"), "{looked}");
        assert!(looked.contains("now: captured"), "{looked}");
        let outcomes = world.outcomes(1).await;
        assert_eq!(outcomes[0].field("resolved_by"), "lookup");
        world.check_books().await;
        // A pause is a pause.
        world.runs(0, &["accounts", "pause", account.name(), "--reason", "their incident"]).await;
        let said = world.runs(1, &["captures", "look", &capture_of(&order, "s1")]).await;
        assert!(said.contains("no call can be made for") && said.contains("it is paused"), "{said}");
        world.runs(0, &["accounts", "resume", account.name(), "--reason", "it is over"]).await;
        // What has ended is looked at, too; nothing follows.
        let again = world.runs(0, &["captures", "look", outcomes[0].field("capture_id"), "--output", "json"]).await;
        let looks: Value = serde_json::from_str(&again).unwrap();
        assert_eq!((&looks[0]["done"], &looks[0]["state"]), (&true.into(), &"captured".into()), "{looks}");
        worker.stop().await;
        let said = world.runs(3, &["captures", "look", &capture_of(&order, "s1")]).await;
        assert!(said.contains("no worker runs on this ledger"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_in_doubt_is_closed_by_hand_both_ways_and_a_correction_comes_later() {
    let world = World::new().await;
    let found = world.order("found", Account::Flex, &[("l1", 1, 1_999)]);
    let lost = world.order("lost", Account::Flex, &[("l1", 1, 2_999)]);
    // Both are captured, and nobody hears of it.
    let unheard = Rule { operation: Operation::Capture, ..Rule::new(Fault::Reset { when: When::After }) };
    world.faults(vec![unheard]);
    let worker = world.worker_with(&NO_LOOKS);
    world.publish([found.shipped("s1", &[("l1", 1)]), lost.shipped("s1", &[("l1", 1)])]).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'in_doubt'", 2).await;
    world.faults(Vec::new());
    let close = |order: &Order, how: &[&str]| -> Vec<String> {
        let command = ["captures", "close", &capture_of(order, "s1"), "--reason", "ticket 4711"];
        command.iter().chain(how).map(ToString::to_string).collect()
    };
    let closing = |arguments: Vec<String>, code: i32| {
        let world = &world;
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            world.runs(code, &arguments).await
        }
    };
    assert!(closing(close(&found, &["--captured", "pay-9"]), 2).await.contains("there is nobody to be asked"));
    assert!(closing(close(&found, &["--yes"]), 2).await.contains("--captured"), "one of the two has to be said");
    let done = closing(close(&found, &["--captured", "pay-9", "--yes"]), 0).await;
    assert!(done.contains("closed as captured: 19.99 USD is booked"), "{done}");
    let done = closing(close(&lost, &["--unresolved", "--yes"]), 0).await;
    assert!(done.contains("closed as unresolved: 29.99 USD stays reserved"), "{done}");
    let outcomes = world.outcomes(2).await;
    let of = |order: &Order| outcomes.iter().find(|event| event.field("order_id") == order.id).unwrap();
    assert_eq!(of(&found).kind, "capture.succeeded");
    assert_eq!((of(&found).field("resolved_by"), of(&found).field("provider_reference")), ("operator", "pay-9"));
    assert_eq!((of(&lost).kind.as_str(), of(&lost).field("who")), ("capture.unresolved", "olga"));
    assert_eq!(of(&lost).field("why"), "ticket 4711");
    assert_eq!(world.count("SELECT reserved FROM authorizations WHERE captured = 0"), 2_999);
    let said = closing(close(&lost, &["--unresolved", "--yes"]), 1).await;
    assert!(said.contains("has no capture in doubt: it is unresolved, and that stands"), "{said}");

    let shown = world.runs(0, &["captures", "show", &capture_of(&lost, "s1"), "--output", "json"]).await;
    let story: Value = serde_json::from_str(&shown).unwrap();
    let history = story["captures"][0]["history"].as_array().unwrap();
    let closed = history.iter().find(|line| line["what"] == "closed").expect("who, why and when");
    assert_eq!(closed["detail"], "as unresolved, by olga: ticket 4711");

    // The provider knows it all the time.
    let looked = world.runs(0, &["captures", "look", &capture_of(&lost, "s1")]).await;
    assert!(looked.contains("it was captured after all"), "{looked}");
    assert!(looked.contains("now: unresolved, and corrected: it was captured"), "{looked}");
    let corrected = world.events("capture.corrected", 1).await;
    assert_eq!((corrected[0].field("was"), corrected[0].field("now")), ("unresolved", "captured"));
    assert_eq!(world.count("SELECT sum(captured) FROM authorizations"), 1_999 + 2_999);
    assert_eq!(world.count("SELECT sum(reserved) FROM authorizations"), 0);
    worker.stop().await;
}
