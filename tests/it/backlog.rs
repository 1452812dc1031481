//! Five thousand dead letters of twelve kinds, as an outage and ordinary days leave them: the outage's are
//! found, rehearsed and replayed while the worker is killed again and again, and nothing else is touched.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use holdfast::broker::session::Session;
use holdfast::sandbox::{ByHand, ByHandKind, Channel, Code, Fault, Operation, Rule, When};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::replay::{DONE, LETTERS, authorized_anew_of, becomes_more_than};
use crate::support::order::{Account, Message, Order, major, minor};
use crate::support::world::World;

/// Money held for each order, and owed by it.
const OWED: i64 = 1_999;

/// What somebody else has captured on each of some authorizations.
const FOREIGN: i64 = 500;

/// Of the outage: declined, though the money was there.
const FLEX: usize = 2_000;
const FLITT: usize = 300;

/// Of those: authorized anew since then, of too little.
const TOO_LITTLE: usize = 100;

/// Everything else that was set aside: reason and how many.
const OTHERS: [(&str, usize); 10] = [
    ("authorization_expired", 300),
    ("captured_elsewhere", 50),
    ("conflict", 100),
    ("declined", 700),
    ("delivery_limit", 150),
    ("exceeds_authorization", 500),
    ("invalid", 200),
    ("order_cancelled", 200),
    ("over_shipped", 300),
    ("undecodable", 200),
];

const ALL: usize = 5_000;

/// Captured in the end.
const REPLAYED: usize = FLEX + FLITT - TOO_LITTLE;

/// How often the worker is killed.
const KILLS: usize = 3;

fn count_of(reason: &str) -> usize {
    OTHERS.iter().find(|(known, _)| *known == reason).unwrap().1
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap()
}

fn orders(world: &World, account: Account, name: &str, count: usize) -> Vec<Order> {
    let order = |number| world.order(&format!("{name}-{number:04}"), account, &[("l1", 1, OWED)]);
    (0..count).map(order).collect()
}

fn shipped(orders: &[Order]) -> Vec<Value> {
    orders.iter().map(|order| order.shipped("s", &[("l1", 1)])).collect()
}

/// All captures meet this from now on.
fn captures_meet(world: &World, fault: Fault) {
    world.faults(vec![Rule { operation: Operation::Capture, ..Rule::new(fault) }]);
}

/// The outage, and what the provider refused for good reason.
struct Told {
    flex: Vec<Order>,
    flitt: Vec<Order>,
    others: Vec<Order>,
    /// Captured as they should be; a message contradicted them later.
    good: Vec<Order>,
    elsewhere: Vec<Order>,
}

async fn set_aside(world: &World) -> Told {
    let flex = orders(world, Account::Flex, "outage-flex", FLEX);
    let flitt = orders(world, Account::Flitt, "outage-flitt", FLITT);
    captures_meet(world, Fault::SoftDecline);
    world.publish(shipped(&flex).into_iter().chain(shipped(&flitt))).await;
    let mut letters = signed(FLEX + FLITT);
    world.count_becomes(LETTERS, letters).await;

    let mut others = Vec::new();
    let declined = Fault::Code { code: Code::Number(1_004), when: When::Before, channel: Channel::ResponseCode };
    let ends = [("declined", Account::Fondy, declined), ("authorization_expired", Account::Flex, Fault::Expire)];
    for (reason, account, fault) in ends {
        captures_meet(world, fault);
        let refused = orders(world, account, reason, count_of(reason));
        world.publish(shipped(&refused)).await;
        letters += signed(refused.len());
        world.count_becomes(LETTERS, letters).await;
        others.extend(refused);
    }
    world.faults(Vec::new());

    let good = orders(world, Account::Flex, "good", count_of("conflict"));
    world.publish(shipped(&good)).await;
    let elsewhere = orders(world, Account::Flitt, "elsewhere", count_of("captured_elsewhere"));
    for order in &elsewhere {
        let by_hand = ByHand { reference: order.reference.clone(), kind: ByHandKind::Capture, amount_minor: FOREIGN };
        world.sandbox.sandbox().meddle(&by_hand).unwrap();
    }
    world.publish(shipped(&elsewhere)).await;
    others.extend(refused_by_us(world).await);
    world.publish(no_messages(&good)).await;
    the_broker_gave_up(world, &shipped(&orders(world, Account::Flex, "gave-up", count_of("delivery_limit")))).await;
    letters_become(world, signed(ALL)).await;
    Told { flex, flitt, others, good, elsewhere }
}

/// Waits until so many were set aside; otherwise says which.
async fn letters_become(world: &World, count: i64) {
    let waited = tokio::time::timeout(Duration::from_secs(30), world.count_becomes(LETTERS, count)).await;
    if waited.is_err() {
        let (_, groups, said) = world.holdfast(&["dead-letters", "groups"]).await;
        panic!("there are not {count}:\n{groups}{said}");
    }
}

/// What our own rules refuse.
async fn refused_by_us(world: &World) -> Vec<Order> {
    let small = |number| {
        world.order_with(&format!("small-{number:04}"), Account::Flex, &[("l1", 1, OWED)], |o| o.authorized = 500)
    };
    let small: Vec<Order> = (0..count_of("exceeds_authorization")).map(small).collect();
    world.publish(shipped(&small)).await;
    let over = orders(world, Account::Flex, "over", count_of("over_shipped"));
    world.publish(over.iter().map(|order| order.shipped("s", &[("l1", 2)]))).await;
    let cancelled = orders(world, Account::Flex, "cancelled", count_of("order_cancelled"));
    let story = |order: &Order| [order.authorized(), order.cancelled(), order.shipped("s", &[("l1", 1)])];
    world.publish(cancelled.iter().flat_map(story)).await;
    [small, over, cancelled].concat()
}

/// What is no message, and what contradicts a shipment.
fn no_messages(good: &[Order]) -> Vec<Message> {
    let undecodable = (0..count_of("undecodable")).map(|number| Message::raw(None, format!("no JSON {number}")));
    let invalid = (0..count_of("invalid")).map(|number| Message::raw(None, json!({ "order_id": number }).to_string()));
    let otherwise = |order: &Order| {
        let mut notice = order.shipped("s", &[("l1", 1)]);
        notice["data"]["lines"][0]["line_id"] = json!("l2");
        Message::from(notice)
    };
    undecodable.chain(invalid).chain(good.iter().map(otherwise)).collect()
}

async fn the_broker_gave_up(world: &World, notices: &[Value]) {
    let session = Session::open(&world.broker, "test").await.unwrap();
    let channel = session.channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut confirms = Vec::new();
    for notice in notices {
        let dead = world.broker.dead_queue.as_str();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let (options, body) = (BasicPublishOptions::default(), notice.to_string());
        confirms
            .push(channel.basic_publish("".into(), dead.into(), options, body.as_bytes(), properties).await.unwrap());
    }
    futures_util::future::try_join_all(confirms).await.unwrap();
    session.close(channel).await;
}

/// The causes, as an operator finds them: reason and how many, and each is one group.
async fn groups_are_told(world: &World) {
    let (code, groups, said) = world.holdfast_json(&["dead-letters", "groups"]).await;
    assert_eq!(code, 0, "{said}");
    let groups = groups["groups"].as_array().unwrap();
    let mut found: Vec<(&str, u64)> = groups
        .iter()
        .map(|group| (group["reason"].as_str().unwrap(), group["dead_letters"].as_u64().unwrap()))
        .collect();
    found.sort_unstable();
    let outage = [("insufficient_funds", FLEX), ("insufficient_funds", FLITT)];
    let mut expected: Vec<(&str, u64)> =
        OTHERS.into_iter().chain(outage).map(|(reason, count)| (reason, u64::try_from(count).unwrap())).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(groups.len(), 12);
    let first = &groups[0];
    let sum = json!([{ "amount": major(OWED * signed(FLEX)), "currency": "USD" }]);
    assert_eq!((&first["reason"], &first["amounts"]), (&json!("insufficient_funds"), &sum), "the outage comes first");
}

/// What was captured for these, one by one: so much, and in how many captures.
fn taken(world: &World, orders: &[Order]) -> BTreeMap<(i64, usize), usize> {
    let books = world.books();
    let booked: HashMap<&str, (i64, usize)> = books
        .authorizations
        .iter()
        .map(|booked| (booked.reference.as_str(), (booked.captured_minor, booked.captures.len())))
        .collect();
    let mut taken = BTreeMap::new();
    for order in orders {
        *taken.entry(booked[order.reference.as_str()]).or_default() += 1;
    }
    taken
}

/// What `capture.succeeded` told of replayed shipments, by currency, each event counted once.
fn told_to_have_succeeded(world: &World) -> Value {
    let mut of: BTreeMap<String, (String, i64)> = BTreeMap::new();
    for event in world.listener.received() {
        if event.kind == "capture.succeeded" && event.json["data"]["generation"] == 1 {
            let sum = (event.field("currency").to_owned(), minor(event.field("amount")));
            of.insert(event.message_id, sum);
        }
    }
    assert_eq!(of.len(), REPLAYED);
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for (currency, amount) in of.into_values() {
        *sums.entry(currency).or_default() += amount;
    }
    let sum = |(currency, amount)| json!({ "amount": major(amount), "currency": currency });
    sums.into_iter().map(sum).collect()
}

#[expect(clippy::print_stdout, reason = "the seed and the moments of a run, for whoever has to repeat it")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outages_worth_is_replayed_through_three_kills_and_nothing_else_is_touched() {
    let seed = std::env::var("HOLDFAST_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("HOLDFAST_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new().await;
    let mut worker = world.worker();
    worker.consuming().await;
    let told = set_aside(&world).await;
    groups_are_told(&world).await;

    // Some of the outage's are on a new authorization by now, which is too small for them.
    let anew = told.flex[..TOO_LITTLE].iter().map(|order| authorized_anew_of(&world, order, 500).authorized());
    let before = world.count("SELECT count(*) FROM authorizations");
    world.publish(anew.collect::<Vec<_>>()).await;
    world.count_becomes("SELECT count(*) FROM authorizations", before + signed(TOO_LITTLE)).await;

    let which = ["dead-letters", "replay", "--for", "insufficient_funds"];
    let (code, dry, said) = world.holdfast_json(&[&which[..], &["--dry-run"]].concat()).await;
    assert_eq!(
        (code, &dry["dead_letters"], &dry["would_replay"]),
        (0, &json!(FLEX + FLITT), &json!(REPLAYED)),
        "{said}"
    );
    let why_not = json!([["exceeds_authorization", TOO_LITTLE]]);
    let said_why_not: Vec<Value> =
        dry["would_not"].as_array().unwrap().iter().map(|why| json!([why["why_not"], why["dead_letters"]])).collect();
    assert_eq!(json!(said_why_not), why_not);

    let how = ["--reason", "declined in the outage", "--yes", "--detach", "--canary", "10", "--rate", "400"];
    let (_, begun, said) = world.holdfast_json(&[&which[..], &how].concat()).await;
    assert_eq!((&begun["replay"], &begun["state"]), (&json!(1), &json!("running")), "{said}");
    let mut moments: Vec<i64> = (0..KILLS).map(|_| random.random_range(0..signed(REPLAYED - 500))).collect();
    moments.sort_unstable();
    for moment in moments {
        becomes_more_than(&world, DONE, moment).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
        worker.kill9().await;
        println!("killed after {} had their turn", world.count(DONE));
        worker = world.worker();
        worker.consuming().await;
    }
    let (code, summary, said) = world.holdfast_json(&["dead-letters", "replay", "--watch", "1"]).await;
    let count = |outcome: &str| summary["counts"][outcome].as_u64().unwrap();
    assert_eq!(
        (code, &summary["state"], count("captured"), count("not_replayed")),
        (1, &json!("done"), u64::try_from(REPLAYED).unwrap(), u64::try_from(TOO_LITTLE).unwrap()),
        "{said}{}",
        summary["counts"]
    );

    // Each once, and the sums of the rehearsal, in the ledger, in the events and at the provider.
    assert_eq!(summary["captured"], dry["amounts"]);
    world.events("capture.succeeded", REPLAYED + told.good.len()).await;
    assert_eq!(told_to_have_succeeded(&world), dry["amounts"]);
    assert_eq!(taken(&world, &told.flex[TOO_LITTLE..]), BTreeMap::from([((OWED, 1), FLEX - TOO_LITTLE)]));
    assert_eq!(taken(&world, &told.flitt), BTreeMap::from([((OWED, 1), FLITT)]));
    let sums = json!([
        { "amount": major(OWED * signed(FLITT)), "currency": "GEL" },
        { "amount": major(OWED * signed(FLEX - TOO_LITTLE)), "currency": "USD" },
    ]);
    assert_eq!(dry["amounts"], sums);
    // What was not to be replayed is as it was.
    assert_eq!(taken(&world, &told.flex[..TOO_LITTLE]), BTreeMap::from([((0, 0), TOO_LITTLE)]));
    assert_eq!(taken(&world, &told.others), BTreeMap::from([((0, 0), told.others.len())]));
    assert_eq!(taken(&world, &told.good), BTreeMap::from([((OWED, 1), told.good.len())]));
    assert_eq!(taken(&world, &told.elsewhere), BTreeMap::from([((FOREIGN, 1), told.elsewhere.len())]));
    assert_eq!(world.count(LETTERS), signed(ALL - REPLAYED));
    assert_eq!(world.count("SELECT count(*) FROM shipments WHERE generation > 0"), signed(REPLAYED));
    // Somebody else's money is missed once in the ledger, and once in the events.
    let is_foreign = |found: &str| found.contains("\"elsewhere-") && found.contains(&FOREIGN.to_string());
    assert_eq!(world.check_books_but_for(is_foreign).await, 2 * told.elsewhere.len());
    worker.stop().await;
}
