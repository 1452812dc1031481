//! Dead letters are tried again, by the command, on a real broker and against a provider's books: each
//! is captured once, whatever crashes meanwhile, and however often it is asked for.

use std::time::{Duration, Instant};

use holdfast::broker::session::Session;
use holdfast::sandbox::{Channel, Code, Fault, NewAuthorization, Operation, Rule, When};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::order::{Account, Message, Order};
use crate::support::world::World;

/// What every order owes.
const OWED: i64 = 1_999;

/// Orders of one shipment each, for which too little was authorized.
fn too_small(world: &World, account: Account, count: usize) -> Vec<Order> {
    let id = |number: usize| format!("{}-{number:04}", account.name());
    (0..count)
        .map(|number| world.order_with(&id(number), account, &[("l1", 1, OWED)], |o| o.authorized = 500))
        .collect()
}

/// Orders of one shipment each, with all the money that they owe.
fn well_funded(world: &World, count: usize) -> Vec<Order> {
    (0..count).map(|number| world.order(&format!("flex-{number:04}"), Account::Flex, &[("l1", 1, OWED)])).collect()
}

/// The same order on a new authorization, of all that it owes.
fn authorized_anew(world: &World, order: &Order) -> Order {
    authorized_anew_of(world, order, order.total())
}

/// The same order on a new authorization.
pub fn authorized_anew_of(world: &World, order: &Order, amount_minor: i64) -> Order {
    let id = format!("{}-new", order.id);
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes()).to_string();
    let new = NewAuthorization {
        protocol: Some(order.account.protocol()),
        reference: Some(if order.account.is_single() { id } else { uuid }),
        amount_minor,
        currency: order.account.currency().to_owned(),
        ..NewAuthorization::default()
    };
    let booked = world.sandbox.sandbox().authorize(new).unwrap();
    Order::new(&order.id, order.account, &booked, &order.lines)
}

fn shipped(orders: &[Order]) -> Vec<Value> {
    orders.iter().map(|order| order.shipped("s", &[("l1", 1)])).collect()
}

fn captured(world: &World, orders: &[Order]) -> usize {
    let books = world.books();
    orders.iter().filter(|order| books.find(&order.reference).unwrap().captured_minor == OWED).count()
}

/// Dead letters that nobody has dealt with.
pub const LETTERS: &str = "SELECT count(*) FROM dead_letters WHERE state = 'open'";
/// Dead letters that had their turn in a replay.
pub const DONE: &str = "SELECT count(*) FROM replay_items WHERE state = 'done'";
const PENDING: &str = "SELECT count(*) FROM replay_items WHERE state = 'pending'";

/// A decline of every capture of these orders, or of all.
fn declines(orders: Option<&[Order]>) -> Vec<Rule> {
    let fault = || Fault::Code {
        code: Code::Name("INSUFFICIENT_FUNDS".to_owned()),
        when: When::Before,
        channel: Channel::default(),
    };
    let rule = |reference: Option<String>| Rule { reference, operation: Operation::Capture, ..Rule::new(fault()) };
    match orders {
        Some(orders) => orders.iter().map(|order| rule(Some(order.reference.clone()))).collect(),
        None => vec![rule(None)],
    }
}

/// Waits until a number in the ledger is greater.
pub async fn becomes_more_than(world: &World, sql: &str, count: i64) {
    let reached = async {
        while world.count(sql) <= count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, reached).await.unwrap_or_else(|_| panic!("{sql} stays at {count}"));
}

/// An ordinary shipment is captured while a replay is on its way.
async fn a_fresh_shipment_does_not_wait(world: &World) -> Order {
    let fresh = world.order("fresh", Account::Flex, &[("l1", 1, OWED)]);
    let sent = Instant::now();
    world.publish(shipped(std::slice::from_ref(&fresh))).await;
    let fresh_captured = "SELECT count(*) FROM shipments s JOIN orders USING (order_row)
                          WHERE order_id = 'fresh' AND s.state = 'settled'";
    world.count_becomes(fresh_captured, 1).await;
    assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
    assert!(world.count(PENDING) > 0, "the replay was still on its way");
    fresh
}

async fn a_held_replay_begins_nothing(world: &World) {
    let (code, _, said) = world.holdfast(&["dead-letters", "replay", "--pause", "1", "--reason", "lunch"]).await;
    assert_eq!(code, 0, "{said}");
    let held = world.count(DONE);
    world.count_becomes("SELECT count(*) FROM captures WHERE is_open = 1", 0).await;
    assert_eq!(world.count(DONE), held);
    let (code, _, said) =
        world.holdfast(&["dead-letters", "replay", "--resume", "1", "--reason", "lunch is over"]).await;
    assert_eq!(code, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_are_replayed_through_a_pause_and_a_crash_and_each_is_captured_once() {
    const FLEX: usize = 3_700;
    const FLITT: usize = 300;
    const ALL: i64 = 4_000;
    let world = World::new().await;
    let (flex, flitt) = (too_small(&world, Account::Flex, FLEX), too_small(&world, Account::Flitt, FLITT));
    let mut worker = world.worker();
    worker.consuming().await;
    let garbage = ["no JSON", "{", "[]"].map(|body| Message::raw(None, body));
    world.publish(garbage).await;
    world.publish(shipped(&flex).into_iter().chain(shipped(&flitt))).await;
    world.count_becomes(LETTERS, ALL + 3).await;

    // Nothing helps before the money is authorized anew, and the rehearsal says so.
    let all = ["dead-letters", "replay", "--all"];
    let (code, dry, said) = world.holdfast_json(&[&all[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, &dry["dead_letters"], &dry["would_replay"]), (0, &json!(ALL + 3), &json!(0)), "{said}");
    let mut why_not: Vec<&Value> = dry["would_not"].as_array().unwrap().iter().map(|why| &why["why_not"]).collect();
    why_not.dedup();
    assert_eq!(why_not, ["exceeds_authorization", "still_rejected"]);

    let (new_flex, new_flitt): (Vec<Order>, Vec<Order>) = (
        flex.iter().map(|order| authorized_anew(&world, order)).collect(),
        flitt.iter().map(|order| authorized_anew(&world, order)).collect(),
    );
    world.publish(new_flex.iter().chain(&new_flitt).map(Order::authorized)).await;
    world.count_becomes("SELECT count(*) FROM authorizations", 2 * ALL).await;
    let (_, dry, _) = world.holdfast_json(&[&all[..], &["--dry-run"]].concat()).await;
    assert_eq!((&dry["dead_letters"], &dry["would_replay"]), (&json!(ALL + 3), &json!(ALL)));
    let sums = json!([{ "amount": "5997.00", "currency": "GEL" }, { "amount": "73963.00", "currency": "USD" }]);
    assert_eq!(dry["amounts"], sums);
    assert_eq!(world.count(DONE), 0, "a rehearsal changes nothing");

    let how = ["--reason", "authorized anew", "--yes", "--detach", "--rate", "300", "--canary", "5"];
    let (_, begun, said) = world.holdfast_json(&[&all[..], &how].concat()).await;
    assert_eq!(
        (&begun["replay"], &begun["state"], &begun["asked_by"]),
        (&json!(1), &json!("running"), &json!("olga")),
        "{said}"
    );

    becomes_more_than(&world, DONE, 300).await;
    let fresh = a_fresh_shipment_does_not_wait(&world).await;
    a_held_replay_begins_nothing(&world).await;

    // A power cut in the middle, and the next worker goes on where it was.
    becomes_more_than(&world, DONE, 1_500).await;
    worker.kill9().await;
    assert!(world.count(PENDING) > 0);
    let mut worker = world.worker();
    worker.says("a replay goes on where it was").await;
    let (code, summary, said) = world.holdfast_json(&["dead-letters", "replay", "--watch", "1"]).await;
    let count = |outcome: &str| summary["counts"][outcome].as_i64().unwrap();
    assert_eq!(
        (count("captured"), count("not_replayed"), count("pending")),
        (ALL, 3, 0),
        "{said}{}",
        summary["counts"]
    );
    assert_eq!((code, &summary["state"]), (1, &json!("done")), "three were not replayed");
    assert_eq!(summary["captured"], sums);
    assert_eq!((captured(&world, &new_flex), captured(&world, &new_flitt)), (FLEX, FLITT));
    assert_eq!(captured(&world, std::slice::from_ref(&fresh)), 1);
    world.check_books().await;

    // Once more: nothing more.
    let (code, _, said) = world.holdfast(&[&all[..], &["--reason", "again", "--yes"]].concat()).await;
    assert_eq!(code, 1);
    assert!(said.contains("none of them can be replayed"), "{said}");
    assert_eq!(world.count("SELECT count(*) FROM captures"), ALL + 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_stops_by_itself_when_those_that_go_first_fail() {
    let world = World::new().await;
    let orders = well_funded(&world, 40);
    world.faults(declines(None));
    let mut worker = world.worker();
    worker.consuming().await;
    world.publish(shipped(&orders)).await;
    world.count_becomes(LETTERS, 40).await;
    let replay = ["dead-letters", "replay", "--for", "insufficient_funds", "--reason", "hope", "--yes"];
    let (code, summary, said) = world.holdfast_json(&replay).await;
    assert_eq!((code, &summary["state"]), (1, &json!("stopped")), "{said}{summary}");
    assert_eq!((&summary["counts"]["failed"], &summary["counts"]["left"]), (&json!(5), &json!(35)));
    assert!(summary["why"].as_str().unwrap().contains("5 of 5 have failed again"), "{}", summary["why"]);
    // What was left is open again, and what has failed is a dead letter of its own.
    assert_eq!(world.count(LETTERS), 40);

    world.faults(Vec::new());
    let (code, summary, said) = world.holdfast_json(&[&replay[..], &["--rate", "200"]].concat()).await;
    assert_eq!((code, &summary["counts"]["captured"]), (0, &json!(40)), "{said}{summary}");
    assert_eq!(captured(&world, &orders), 40);
    world.check_books().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_stops_by_itself_when_too_many_fail_later() {
    let world = World::new().await;
    let orders = well_funded(&world, 200);
    world.faults(declines(None));
    let mut worker = world.worker();
    worker.consuming().await;
    for orders in orders.chunks(20) {
        world.publish(shipped(orders)).await;
    }
    world.count_becomes(LETTERS, 200).await;
    world.faults(declines(Some(&orders[20..])));
    let replay = ["dead-letters", "replay", "--all", "--reason", "hope", "--yes", "--rate", "40"];
    let (code, summary, said) = world.holdfast_json(&replay).await;
    assert_eq!((code, &summary["state"]), (1, &json!("stopped")), "{said}{}", summary["counts"]);
    let count = |outcome: &str| summary["counts"][outcome].as_u64().unwrap();
    assert!(count("captured") <= 20 && count("failed") >= 1, "{}", summary["counts"]);
    assert!(count("left") > 100, "it stopped in time: {}", summary["counts"]);
    world.check_books().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_stops_a_replay_discards_and_takes_back() {
    let world = World::new().await;
    let orders = too_small(&world, Account::Flex, 30);
    let mut worker = world.worker();
    worker.consuming().await;
    world.publish(shipped(&orders)).await;
    world.count_becomes(LETTERS, 30).await;
    let new: Vec<Order> = orders.iter().map(|order| authorized_anew(&world, order)).collect();
    world.publish(new.iter().map(Order::authorized)).await;
    world.count_becomes("SELECT count(*) FROM authorizations", 60).await;

    // Whoever does not say which, why, or yes, changes nothing.
    for (arguments, words) in [
        (&["dead-letters", "replay", "--reason", "x", "--yes"][..], "say which dead letters"),
        (&["dead-letters", "replay", "--all", "--yes"], "say why with --reason"),
        (&["dead-letters", "replay", "--all", "--reason", "x"], "there is nobody to be asked"),
        (&["dead-letters", "discard", "--all", "--reason", "x"], "there is nobody to be asked"),
    ] {
        let (code, _, said) = world.holdfast(arguments).await;
        assert!(code == 2 && said.contains(words), "{code} {said}");
    }
    assert_eq!(world.count("SELECT count(*) FROM requests"), 0);

    let order = |number: usize| format!("flex-{number:04}");
    let discard = ["dead-letters", "discard", "--order", &order(7), "--reason", "paid in cash", "--yes"];
    let (code, done, said) = world.holdfast(&discard).await;
    assert_eq!((code, done.trim()), (0, "1 dead letter is discarded now"), "{said}");
    let how =
        ["dead-letters", "replay", "--all", "--reason", "anew", "--yes", "--rate", "1", "--canary", "1", "--detach"];
    let (_, begun, said) = world.holdfast_json(&how).await;
    assert_eq!(begun["dead_letters"], json!(29), "{said}");
    // What it has taken nobody else can take or discard.
    let (code, _, _) = world.holdfast(&[&how[..], &["--for", "exceeds_authorization"]].concat()).await;
    assert_eq!(code, 1);
    let (code, _, said) = world.holdfast(&["dead-letters", "replay", "--stop", "1", "--reason", "wrong filter"]).await;
    assert_eq!(code, 0, "{said}");
    let stopped = world.count("SELECT count(*) FROM replay_items WHERE state = 'left'");
    assert!(stopped >= 20, "{stopped} were left");
    assert_eq!(world.count(LETTERS), stopped);
    let (code, _, said) = world.holdfast(&["dead-letters", "replay", "--resume", "1", "--reason", "x"]).await;
    assert!(code == 1 && said.is_empty(), "{said}");

    let restore = ["dead-letters", "restore", "--order", &order(7), "--reason", "the cash was false", "--yes"];
    let (code, _, said) = world.holdfast(&restore).await;
    assert_eq!(code, 0, "{said}");
    let rest = ["dead-letters", "replay", "--all", "--reason", "the rest", "--yes", "--rate", "100"];
    let (code, summary, said) = world.holdfast_json(&rest).await;
    assert_eq!((code, &summary["counts"]["captured"]), (0, &json!(stopped + 1)), "{said}{summary}");
    assert_eq!(captured(&world, &new), 30);
    world.check_books().await;

    // Who did what, and why, is kept.
    let (_, listed, _) = world.holdfast_json(&["dead-letters", "replays"]).await;
    let last = &listed["replays"][0];
    assert_eq!((&last["replay"], &last["reason"], &last["asked_by"]), (&json!(2), &json!("the rest"), &json!("olga")));
    worker.stop().await;
    let (code, _, said) = world.holdfast(&["dead-letters", "replay", "--stop", "2", "--reason", "x"]).await;
    assert_eq!(code, 3);
    assert!(said.contains("no worker runs on this ledger"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_leaves_the_replay_running_and_says_so() {
    let world = World::new().await;
    let orders = too_small(&world, Account::Flex, 20);
    let mut worker = world.worker();
    worker.consuming().await;
    world.publish(shipped(&orders)).await;
    world.count_becomes(LETTERS, 20).await;
    let new: Vec<Order> = orders.iter().map(|order| authorized_anew(&world, order)).collect();
    world.publish(new.iter().map(Order::authorized)).await;
    world.count_becomes("SELECT count(*) FROM authorizations", 40).await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_holdfast"));
    let arguments = ["dead-letters", "replay", "--all", "--reason", "anew", "--yes", "--rate", "5", "--config"];
    command
        .args(arguments)
        .arg(world.config())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let watching = command.spawn().unwrap();
    becomes_more_than(&world, DONE, 6).await;
    let id = rustix::process::Pid::from_raw(i32::try_from(watching.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let ended = watching.wait_with_output().await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success() && said.contains("the replay goes on without this command"), "{said}");
    assert!(world.count(PENDING) > 0);
    let (code, summary, said) = world.holdfast_json(&["dead-letters", "replay", "--watch", "1"]).await;
    assert_eq!((code, &summary["counts"]["captured"]), (0, &json!(20)), "{said}{summary}");
    world.check_books().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_gave_up_on_is_accepted_as_a_fresh_delivery() {
    let world = World::new().await;
    let orders = well_funded(&world, 2);
    let mut worker = world.worker();
    worker.consuming().await;
    // One that never came through, and one that did.
    world.publish(shipped(&orders[1..])).await;
    world.count_becomes("SELECT count(*) FROM shipments WHERE state = 'settled'", 1).await;
    let session = Session::open(&world.broker, "test").await.unwrap();
    let channel = session.channel().await.unwrap();
    for notice in shipped(&orders) {
        let dead = world.broker.dead_queue.as_str();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let (options, body) = (BasicPublishOptions::default(), notice.to_string());
        channel.basic_publish("".into(), dead.into(), options, body.as_bytes(), properties).await.unwrap();
    }
    session.close(channel).await;
    world.count_becomes(LETTERS, 2).await;
    let (_, one, _) = world.holdfast_json(&["dead-letters", "list", "--order", "flex-0001"]).await;
    assert_eq!(one["dead_letters"][0]["shipment_id"], "s", "it is known whose they are: {one}");
    let replay = ["dead-letters", "replay", "--for", "delivery_limit", "--reason", "the crash is mended", "--yes"];
    let (_, dry, _) = world.holdfast_json(&[&replay[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry["amounts"][0]["amount"], "19.99", "what was captured before is not counted: {dry}");
    let (code, summary, said) = world.holdfast_json(&replay).await;
    assert_eq!((code, &summary["counts"]["captured"]), (0, &json!(1)), "{said}{summary}");
    assert_eq!(summary["counts"]["accepted"], 1, "it was accepted before, and nothing else happens");
    assert_eq!(captured(&world, &orders), 2);
    assert_eq!(world.count("SELECT count(*) FROM shipments WHERE generation = 0 AND state = 'settled'"), 2);
    world.check_books().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_written_into_files_as_they_came() {
    let world = World::new().await;
    let mut worker = world.worker();
    worker.consuming().await;
    world.publish([Message::raw(None, "no JSON")]).await;
    world.count_becomes(LETTERS, 1).await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("letters");
    let export = ["dead-letters", "export", "--all", "--to", to.to_str().unwrap()];
    let (code, exported, said) = world.holdfast_json(&export).await;
    assert_eq!(code, 0, "{said}");
    let file = exported["files"][0].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "no JSON");
    let (code, _, said) = world.holdfast(&export).await;
    assert!(code == 1 && said.contains("cannot write"), "no file is overwritten: {said}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_ended_early_is_open_to_neither_a_rehearsal_nor_a_replay() {
    let world = World::new().await;
    let orders = well_funded(&world, 10);
    world.faults(vec![Rule { operation: Operation::Capture, ..Rule::new(Fault::Expire) }]);
    let mut worker = world.worker();
    worker.consuming().await;
    world.publish(shipped(&orders)).await;
    world.count_becomes(LETTERS, 10).await;
    world.faults(Vec::new());
    let replay = ["dead-letters", "replay", "--for", "authorization_expired", "--reason", "authorized anew", "--yes"];
    let rehearse = [&replay[..], &["--dry-run"]].concat();
    let (_, dry, said) = world.holdfast_json(&rehearse).await;
    assert_eq!((&dry["dead_letters"], &dry["would_replay"]), (&json!(10), &json!(0)), "{said}{dry}");
    assert_eq!(dry["would_not"][0]["why_not"], "no_open_authorization", "{dry}");
    let (code, _, said) = world.holdfast(&replay).await;
    assert!(code == 1 && said.contains("none of them can be replayed"), "{code} {said}");

    let new: Vec<Order> = orders[..7].iter().map(|order| authorized_anew(&world, order)).collect();
    world.publish(new.iter().map(Order::authorized)).await;
    world.count_becomes("SELECT count(*) FROM authorizations", 17).await;
    let (_, dry, _) = world.holdfast_json(&rehearse).await;
    assert_eq!(dry["would_replay"], json!(7), "{dry}");
    let (code, summary, said) = world.holdfast_json(&replay).await;
    let count = |outcome: &str| summary["counts"][outcome].as_i64().unwrap();
    assert_eq!((code, count("captured"), count("not_replayed"), count("failed")), (1, 7, 3, 0), "{said}{summary}");
    assert_eq!(captured(&world, &new), 7);
    world.check_books().await;
    worker.stop().await;
}
