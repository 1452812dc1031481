//! The books held against each other: nothing is found where nothing is wrong, and each difference that
//! was planted is found, by its name, and nothing else.

// ten thousand captures, or a hundred thousand
#[cfg(target_os = "linux")]
mod at_size;

use std::collections::BTreeMap;

use holdfast::ids::CaptureId;
use holdfast::sandbox::{Fault, Operation, Protocol, Rule, When};
use rusqlite::Connection;
use serde_json::Value;
use uuid::Uuid;

use crate::support::adapter;
use crate::support::order::{Account, Order};
use crate::support::world::World;

/// Captures of an account in the world.
const COUNT: usize = 40;

fn orders(world: &World, account: Account) -> Vec<Order> {
    let order = |number| world.order(&format!("{}-{number}", account.name()), account, &[("l1", 2, 1_999)]);
    (0..COUNT).map(order).collect()
}

/// `holdfast audit`: its exit code and its verdict.
async fn audit(world: &World, arguments: &[&str]) -> (i32, Value) {
    let line: Vec<&str> = ["audit", "--output", "json"].iter().chain(arguments).copied().collect();
    let (code, verdict, said) = world.holdfast(&line).await;
    (code, serde_json::from_str(&verdict).unwrap_or_else(|error| panic!("{error}: {verdict}{said}")))
}

/// The differences: kind and order.
fn differences(verdict: &Value) -> BTreeMap<String, String> {
    let difference = |found: &Value| {
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        (text("order_id"), text("kind"))
    };
    verdict["differences"].as_array().unwrap().iter().map(difference).collect()
}

/// Captures on an authorization at Flex Pay, past Holdfast.
async fn capture_at_flex(world: &World, order: &Order, key: CaptureId, minor: i64) {
    let mut request = adapter::request(&order.reference, minor, "USD");
    request.capture = key;
    adapter::connect(&world.sandbox, Protocol::FlexPay).capture(&request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_finds_what_was_planted_and_nothing_else() {
    let world = World::new().await;
    let (flex, flitt) = (orders(&world, Account::Flex), orders(&world, Account::Flitt));
    let worker = world.worker();
    let all = flex.iter().chain(&flitt);
    // One unit of each is left, so that there is room for somebody else's capture at Flex Pay.
    let unit = |order: &Order| {
        let units = if order.account.is_single() { 2 } else { 1 };
        order.shipped("s", &[("l1", units)])
    };
    world.publish(all.clone().map(unit)).await;
    world.outcomes(2 * COUNT).await;

    // While the worker runs, and with nothing wrong.
    let (code, verdict) = audit(&world, &["--rate", "2000"]).await;
    assert_eq!((code, verdict["agreed"].as_u64()), (0, Some(80)), "{verdict}");
    let amounts: Vec<&str> =
        verdict["agreed_amounts"].as_array().unwrap().iter().map(|sum| sum["amount"].as_str().unwrap()).collect();
    assert_eq!(amounts.len(), 2, "two currencies: {verdict}");
    worker.stop().await;

    // At the provider: one captured by somebody else, one captured twice under our key.
    let id_of = |order: &Order| {
        let sql = "SELECT capture_id FROM captures JOIN authorizations USING (authorization_row) WHERE reference = ?1";
        let id: [u8; 16] = world.ledger().query_row(sql, [&order.reference], |row| row.get(0)).unwrap();
        CaptureId::from_uuid(Uuid::from_bytes(id))
    };
    capture_at_flex(&world, &flex[3], CaptureId::from_uuid(Uuid::new_v4()), 100).await;
    world.faults(vec![Rule { operation: Operation::Capture, ..Rule::new(Fault::ForgetKeys) }]);
    capture_at_flex(&world, &flex[4], id_of(&flex[4]), 999).await;
    world.faults(Vec::new());
    // In the ledger, behind its triggers.
    let ledger = Connection::open(world.config().with_file_name("holdfast.db")).unwrap();
    ledger.execute_batch("DROP TRIGGER captures_frozen; DROP TRIGGER captures_absorb").unwrap();
    let change = |order: &Order, set: &str| {
        let of = "(SELECT authorization_row FROM authorizations WHERE reference = ?1)";
        let sql = format!("UPDATE captures SET {set} WHERE authorization_row = {of}");
        assert_eq!(ledger.execute(&sql, [&order.reference]).unwrap(), 1);
    };
    change(&flex[5], "amount = amount + 1");
    change(&flex[6], "state = 'failed'");
    change(&flex[7], "capture_id = randomblob(16), provider_reference = NULL");
    change(&flitt[5], "amount = amount - 1");
    change(&flitt[6], "state = 'failed'");

    let (code, verdict) = audit(&world, &["--rate", "2000"]).await;
    let mut expected: BTreeMap<String, String> = [
        (&flex[3], "foreign"),
        (&flex[4], "duplicate"),
        (&flex[5], "amount_differs"),
        (&flex[6], "missing_in_ledger"),
        (&flitt[5], "amount_differs"),
        (&flitt[6], "missing_in_ledger"),
    ]
    .map(|(order, kind)| (order.id.clone(), kind.to_owned()))
    .into();
    // Under another id it is missing at the provider, and what is there is not ours.
    let kinds: Vec<&str> = verdict["differences"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|found| found["order_id"] == flex[7].id.as_str())
        .map(|found| found["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["missing_at_provider", "foreign"], "{verdict}");
    expected.insert(flex[7].id.clone(), "foreign".to_owned());
    assert_eq!(differences(&verdict), expected, "{verdict}");
    assert_eq!((code, verdict["differences"].as_array().unwrap().len()), (1, 8), "{verdict}");
    assert_eq!(verdict["agreed"], 74, "what agrees is as it was, flex[3] included: {verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_cannot_read_says_so_and_finds_no_difference() {
    let world = World::new().await;
    let (flex, flitt) = (orders(&world, Account::Flex), orders(&world, Account::Flitt));
    let worker = world.worker();
    world.publish(flex.iter().chain(&flitt).map(|order| order.shipped("s", &[("l1", 2)]))).await;
    world.outcomes(2 * COUNT).await;
    worker.stop().await;
    let down = Rule {
        account: Some(holdfast::sandbox::FLEX_CLIENT.to_owned()),
        ..Rule::new(Fault::Reset { when: When::Before })
    };
    world.faults(vec![down]);
    let (code, verdict) = audit(&world, &["--rate", "2000", "--concurrency", "64"]).await;
    assert_eq!(code, 3, "{verdict}");
    assert_eq!(verdict["unread"].as_array().unwrap().len(), COUNT, "{verdict}");
    assert_eq!((verdict["agreed"].as_u64(), &verdict["differences"]), (Some(40), &serde_json::json!([])), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_held_against_a_file_of_shipments() {
    let world = World::new().await;
    let orders = orders(&world, Account::Flex);
    let worker = world.worker();
    world.publish(orders.iter().map(|order| order.shipped("s", &[("l1", 2)]))).await;
    world.outcomes(COUNT).await;
    worker.stop().await;
    let file = world.config().with_file_name("shipped.csv");
    let row = |order: &Order, shipment: &str, amount: &str| format!("{},{shipment},{amount},USD\n", order.id);
    let good: String = orders.iter().map(|order| row(order, "s", "19.99")).collect();
    std::fs::write(&file, format!("order_id,shipment_id,amount,currency\n{good}")).unwrap();
    let path = file.to_str().unwrap();
    let (code, verdict) = audit(&world, &["--shipments", path]).await;
    assert_eq!((code, verdict["agreed"].as_u64()), (0, Some(40)), "{verdict}");
    let more = [row(&orders[1], "never-told", "1.00"), row(&orders[2], "s", "19.99")].concat();
    let wrong = good.replacen("19.99", "19.98", 1);
    std::fs::write(&file, format!("order_id,shipment_id,amount,currency\n{wrong}{more}")).unwrap();
    let (code, verdict) = audit(&world, &["--shipments", path]).await;
    let expected: BTreeMap<String, String> =
        [(&orders[0], "amount_differs"), (&orders[1], "missing_in_ledger"), (&orders[2], "duplicate")]
            .map(|(order, kind)| (order.id.clone(), kind.to_owned()))
            .into();
    assert_eq!((code, differences(&verdict)), (1, expected), "{verdict}");
}
