//! An audit of a ledger that has grown: 10,000 captures, or as many as `HOLDFAST_TEST_AUDIT_CAPTURES`
//! says, all of them really made by a worker. Differences of every kind are planted on both sides; the
//! audit finds each of them and nothing else, through a kill and two interruptions, and needs no more
//! memory for the whole ledger than for a tenth of it.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use holdfast::ids::CaptureId;
use holdfast::sandbox::{ByHand, ByHandKind, Fault, Operation, Rule};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{audit, capture_at_flex};
use crate::support::PATIENCE;
use crate::support::order::{Account, Order};
use crate::support::world::World;

/// What it comes to, for whoever runs it with `--nocapture`.
#[expect(clippy::print_stderr, reason = "what was measured is shown with --nocapture")]
fn say(words: &str) {
    eprintln!("{words}");
}

/// Orders that are published together.
const CHUNK: usize = 500;

/// What every order owes. At Flex Pay it ships in two halves, each captured by itself.
const OWED: i64 = 2_000;

/// More memory than this for the whole ledger than for a tenth of it would be growth with the ledger.
const GROWTH_MAX_KIB: u64 = 8 * 1024;

/// Reads that no provider but a pretended one would bear.
const FAST: [&str; 4] = ["--rate", "100000", "--concurrency", "32"];

/// Everything that was captured, and an order that never shipped.
struct Grown {
    world: World,
    flex: Vec<Order>,
    single: Vec<Order>,
    idle: Order,
    captures: u64,
}

fn wanted() -> usize {
    std::env::var("HOLDFAST_TEST_AUDIT_CAPTURES").map_or(10_000, |count| count.parse().expect("a number"))
}

/// Half of the captures at Flex Pay, two for each authorization; a quarter each at Flitt and Fondy.
async fn grow() -> Grown {
    let world = World::new().await;
    let order = |account: Account, number: usize| {
        let id = format!("{}-{number:06}", account.name());
        // Some room for what somebody else captures.
        let authorized = if account.is_single() { OWED } else { OWED + 1_000 };
        world.order_with(&id, account, &[("l1", 2, OWED)], |order| order.authorized = authorized)
    };
    let fours = wanted() / 4;
    let flex: Vec<Order> = (0..fours).map(|number| order(Account::Flex, number)).collect();
    let single: Vec<Order> =
        (0..2 * fours).map(|number| order([Account::Flitt, Account::Fondy][number % 2], number)).collect();
    let idle = order(Account::Flex, fours);
    let mut worker = world.worker_with(&[
        ("HOLDFAST_BROKER__PREFETCH", "512"),
        ("HOLDFAST_ACCOUNTS__FLEX__TIMEOUT", "9s"),
        ("HOLDFAST_ACCOUNTS__FLITT_GE__TIMEOUT", "9s"),
        ("HOLDFAST_ACCOUNTS__FONDY_EU__TIMEOUT", "9s"),
    ]);
    worker.consuming().await;
    let begun = Instant::now();
    world.publish([idle.authorized()]).await;
    let mut outcomes = 0;
    for (flex, single) in flex.chunks(CHUNK).zip(single.chunks(2 * CHUNK)) {
        let halves = flex.iter().flat_map(|order| ["a", "b"].map(|half| order.shipped(half, &[("l1", 1)])));
        let wholes = single.iter().map(|order| order.shipped("a", &[("l1", 2)]));
        world.publish(halves.chain(wholes)).await;
        outcomes += 2 * flex.len() + single.len();
        let what = format!("{outcomes} outcomes");
        world.listener.reaches(&what, |counts| counts.outcomes >= outcomes).await;
    }
    say(&format!("{outcomes} captures were made in {:.1?}", begun.elapsed()));
    worker.stop().await;
    Grown { world, flex, single, idle, captures: u64::try_from(outcomes).unwrap() }
}

/// Every difference: the order, and its kind; sorted.
type Found = Vec<(String, String)>;

fn found(verdicts: &[&Value]) -> Found {
    let differences = verdicts.iter().flat_map(|verdict| verdict["differences"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Found = differences.map(|one| (text(&one["order_id"]), text(&one["kind"]))).collect();
    found.sort();
    found
}

fn sorted(planted: &[(&Order, &str)]) -> Found {
    let mut planted: Found = planted.iter().map(|(order, kind)| (order.id.clone(), (*kind).to_owned())).collect();
    planted.sort();
    planted
}

/// An audit as a process of its own: its end, what it wrote, and the most memory that it had, in KiB.
async fn audit_as_process(
    world: &World,
    arguments: &[&str],
    during: impl AsyncFnOnce(Pid),
) -> (Option<i32>, Option<Value>, u64) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.args(["audit", "--output", "json", "--config"]).arg(world.config()).args(arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let id = child.id().unwrap();
    let ended = tokio::spawn(child.wait_with_output());
    during(Pid::from_raw(id.try_into().unwrap()).unwrap()).await;
    let mut most = 0;
    while !ended.is_finished() {
        most = peak(id).unwrap_or(most).max(most);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let output = ended.await.unwrap().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).ok(), most)
}

async fn until_the_end(_: Pid) {}

/// `VmHWM`: the most that was ever resident.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Sends a signal once so many more authorizations were read.
async fn after_reads(world: &World, reads: u64, signal: Signal, audit: Pid) {
    let counter = Rule { operation: Operation::Lookup, ..Rule::new(Fault::ClockSkew { seconds: 0 }) };
    world.faults(vec![counter]);
    let read = async {
        while world.sandbox.sandbox().faults()[0].met < reads {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("reads in time");
    kill_process(audit, signal).unwrap();
}

/// The file of the order system: every shipment, as it was captured.
fn rows(grown: &Grown) -> Vec<[String; 3]> {
    let row = |order: &Order, shipment: &str, amount: &str| [order.id.clone(), shipment.to_owned(), amount.to_owned()];
    let halves = grown.flex.iter().flat_map(|order| ["a", "b"].map(|half| row(order, half, "10.00")));
    halves.chain(grown.single.iter().map(|order| row(order, "a", "20.00"))).collect()
}

fn currency(row: &[String; 3]) -> &'static str {
    Account::ALL.into_iter().find(|account| row[0].starts_with(account.name())).unwrap().currency()
}

fn as_csv(rows: &[[String; 3]]) -> String {
    let mut text = "order_id,shipment_id,amount,currency\n".to_owned();
    for row in rows {
        writeln!(text, "{},{}", row.join(","), currency(row)).unwrap();
    }
    text
}

fn as_json_lines(rows: &[[String; 3]]) -> String {
    let mut text = String::new();
    for row in rows {
        let [order, shipment, amount] = row;
        let row = json!({ "order_id": order, "shipment_id": shipment, "amount": amount, "currency": currency(row) });
        writeln!(text, "{row}").unwrap();
    }
    text
}

/// The ledger against files, right and wrong, in both formats.
async fn against_files(grown: &Grown) {
    let Grown { world, flex, single, .. } = grown;
    let right = rows(grown);
    let mut wrong = right.clone();
    let at = |order: &Order, shipment: &str| {
        right.iter().position(|row| row[0] == order.id && row[1] == shipment).expect("it is in the file")
    };
    // From behind, so that places stay what they are.
    let last = single.len() - 1;
    "19.99".clone_into(&mut wrong[at(&single[7], "a")][2]);
    "10.01".clone_into(&mut wrong[at(&flex[7], "b")][2]);
    let twice = wrong[at(&flex[11], "a")].clone();
    wrong.push(twice);
    wrong.push([flex[13].id.clone(), "never-told".to_owned(), "1.00".to_owned()]);
    wrong.push(["flex-never-told".to_owned(), "a".to_owned(), "1.00".to_owned()]);
    wrong.remove(at(&single[last], "a"));
    wrong.remove(at(&single[3], "a"));
    wrong.remove(at(&flex[5], "b"));
    let mut planted = sorted(&[
        (&single[7], "amount_differs"),
        (&flex[7], "amount_differs"),
        (&flex[11], "duplicate"),
        (&flex[13], "missing_in_ledger"),
        (&flex[5], "foreign"),
    ]);
    planted.push(("flex-never-told".to_owned(), "missing_in_ledger".to_owned()));
    planted.sort();
    let mut complete = [planted.clone(), sorted(&[(&single[3], "foreign"), (&single[last], "foreign")])].concat();
    complete.sort();
    let file = world.config().with_file_name("shipped");
    let path = file.to_str().unwrap();
    for write in [as_csv, as_json_lines] {
        std::fs::write(&file, write(&right)).unwrap();
        let (code, verdict) = audit(world, &["--shipments", path, "--complete-for", "1d"]).await;
        assert_eq!((code, verdict["agreed"].as_u64()), (0, Some(grown.captures)), "{}", verdict["differences"]);
        say(&format!("held against a file in {} s", verdict["seconds"]));
        std::fs::write(&file, write(&wrong)).unwrap();
        let (code, verdict) = audit(world, &["--shipments", path]).await;
        assert_eq!((code, found(&[&verdict])), (1, planted.clone()));
        let (code, verdict) = audit(world, &["--shipments", path, "--complete-for", "1d"]).await;
        assert_eq!((code, found(&[&verdict])), (1, complete.clone()));
    }
}

/// Makes both sides differ, near the beginning and near the end. What should be found.
async fn plant(grown: &Grown) -> Found {
    let Grown { world, flex, single, idle, .. } = grown;
    let (last_flex, last_single) = (flex.len() - 1, single.len() - 1);
    let mut planted = Vec::new();
    let by_hand = |order: &Order, amount_minor: i64| {
        let by_hand = ByHand { kind: ByHandKind::Capture, reference: order.reference.clone(), amount_minor };
        world.sandbox.sandbox().meddle(&by_hand).unwrap();
    };
    // At the provider.
    for order in [&flex[3], &flex[last_flex - 3], idle] {
        by_hand(order, 100);
        planted.push((order, "foreign"));
    }
    capture_at_flex(world, &flex[4], CaptureId::from_uuid(Uuid::new_v4()), 200).await;
    planted.push((&flex[4], "foreign"));
    let first_of = "SELECT capture_id FROM captures JOIN authorizations USING (authorization_row)
                    WHERE reference = ?1 ORDER BY capture_row LIMIT 1";
    world.faults(vec![Rule { operation: Operation::Capture, ..Rule::new(Fault::ForgetKeys) }]);
    for order in [&flex[5], &flex[last_flex - 5]] {
        let id: [u8; 16] = world.ledger().query_row(first_of, [&order.reference], |row| row.get(0)).unwrap();
        capture_at_flex(world, order, CaptureId::from_uuid(Uuid::from_bytes(id)), 1_000).await;
        planted.push((order, "duplicate"));
    }
    world.faults(Vec::new());
    // In the ledger, behind its triggers.
    let ledger = Connection::open(world.config().with_file_name("holdfast.db")).unwrap();
    ledger.execute_batch("DROP TRIGGER captures_frozen; DROP TRIGGER captures_absorb").unwrap();
    let change = |order: &Order, set: &str| {
        let sql = format!("UPDATE captures SET {set} WHERE capture_id = ({first_of})");
        assert_eq!(ledger.execute(&sql, [&order.reference]).unwrap(), 1);
    };
    for order in [&flex[6], &flex[last_flex - 6], &single[6], &single[last_single - 6]] {
        change(order, "amount = amount + 1");
        planted.push((order, "amount_differs"));
    }
    for order in [&flex[8], &flex[last_flex - 8], &single[8], &single[last_single - 8]] {
        change(order, "state = 'failed'");
        planted.push((order, "missing_in_ledger"));
    }
    for order in [&flex[9], &flex[last_flex], &single[9], &single[last_single]] {
        let nobody = Uuid::new_v4().to_string();
        let sql = "UPDATE authorizations SET reference = ?2 WHERE reference = ?1";
        assert_eq!(ledger.execute(sql, [&order.reference, &nobody]).unwrap(), 1);
        planted.push((order, "missing_at_provider"));
        if !order.account.is_single() {
            planted.push((order, "missing_at_provider"));
        }
    }
    let mut planted = sorted(&planted);
    // Nothing was planned on it, so that nobody knows its order but the authorization.
    for (order, _) in planted.iter_mut().filter(|(order, _)| *order == idle.id) {
        order.clear();
    }
    planted.sort();
    planted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_of_many_finds_what_was_planted_and_nothing_else_through_kills_and_interruptions() {
    let grown = grow().await;
    let world = &grown.world;
    let authorizations = u64::try_from(grown.flex.len() + grown.single.len() + 1).unwrap();
    against_files(&grown).await;
    let planted = plant(&grown).await;

    let (code, verdict, most) = audit_as_process(world, &FAST, until_the_end).await;
    let verdict = verdict.expect("a verdict");
    assert_eq!((code, found(&[&verdict])), (Some(1), planted.clone()));
    let whole = (verdict["agreed"].as_u64().unwrap(), verdict["agreed_amounts"].clone());
    say(&format!(
        "{} captures on {authorizations} authorizations were audited in {} s, with {most} KiB at most",
        grown.captures, verdict["seconds"]
    ));
    let sql = format!(
        "SELECT authorization_row FROM authorizations ORDER BY authorization_row LIMIT 1 OFFSET {}",
        authorizations * 9 / 10
    );
    let nine_tenths = world.count(&sql).to_string();
    let tenth: Vec<&str> = FAST.iter().copied().chain(["--after", &nine_tenths]).collect();
    let (_, _, least) = audit_as_process(world, &tenth, until_the_end).await;
    say(&format!("a tenth of them with {least} KiB at most"));
    assert!(least > 0 && most < least + GROWTH_MAX_KIB, "{most} KiB for all, {least} KiB for a tenth");

    // Killed, it has changed nothing; interrupted, it says where to go on, and each part tells its own.
    let a_fifth = authorizations / 5;
    let kill = async |audit| after_reads(world, a_fifth, Signal::KILL, audit).await;
    let (code, verdict, _) = audit_as_process(world, &FAST, kill).await;
    assert_eq!((code, verdict), (None, None), "it was killed");
    let (mut after, mut parts) = ("0".to_owned(), Vec::new());
    for signal in [Signal::INT, Signal::TERM] {
        let interrupt = async |audit| after_reads(world, a_fifth.max(600), signal, audit).await;
        let arguments: Vec<&str> = FAST.iter().copied().chain(["--after", &after]).collect();
        let (_, verdict, _) = audit_as_process(world, &arguments, interrupt).await;
        let verdict = verdict.expect("a verdict of what it has come to");
        let stopped_after = verdict["stopped_after"].as_u64().expect("it was interrupted");
        parts.push(verdict);
        after = stopped_after.to_string();
    }
    world.faults(Vec::new());
    let arguments: Vec<&str> = FAST.iter().copied().chain(["--after", &after]).collect();
    let (_, verdict, _) = audit_as_process(world, &arguments, until_the_end).await;
    parts.push(verdict.expect("a verdict"));
    let parts: Vec<&Value> = parts.iter().collect();
    assert_eq!(found(&parts), planted);
    let agreed: u64 = parts.iter().map(|verdict| verdict["agreed"].as_u64().unwrap()).sum();
    assert_eq!(agreed, whole.0, "{}", whole.1);
}
