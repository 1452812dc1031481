//! The screens of commands that look at the live world, on terminals of 80 and 160 columns and for
//! programs: kept, so that whoever changes one sees what becomes of it.

use holdfast::sandbox::{ByHand, ByHandKind, Fault, Rule};
use rusqlite::Connection;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::order::{Account, Order};
use crate::support::terminal::Terminal;
use crate::support::world::World;

/// What no provider knows.
const GONE: Uuid = Uuid::from_u128(0x4000_8000_0000_0000_0000);

/// The screens of a command: what differs from run to run is made the same, without changing its width.
async fn screens(world: &World, name: &str, exit: i32, arguments: &[&str]) {
    for columns in [80, 160] {
        let (code, shown) = Terminal::open_wide(world, columns, arguments).ends().await;
        assert_eq!(code, exit, "{shown}");
        insta::assert_snapshot!(format!("{name}.{columns}"), the_same(world, &shown));
    }
    let (code, json, said) = world.holdfast_json(arguments).await;
    assert_eq!(code, exit, "{json}{said}");
    let json = serde_json::to_string_pretty(&json).unwrap();
    insta::assert_snapshot!(format!("{name}.json"), the_same(world, &json));
}

fn the_same(world: &World, shown: &str) -> String {
    let broker = url::Url::parse(world.broker.url.expose_secret()).unwrap();
    let mut text = shown.replace("\r\n", "\n");
    for port in [broker.port().unwrap(), world.sandbox.address().port()] {
        text = text.replace(&port.to_string(), "PORT0");
    }
    text = text.replace(broker.path().trim_start_matches('/'), "vvvv");
    let timeless = |line| match line {
        line if str::starts_with(line, "time ") => "time         1s",
        line if line.contains("\"seconds\":") => "  \"seconds\": 1.0,",
        line => line,
    };
    let lines = text.lines().map(timeless);
    lines.flat_map(|line| [words_the_same(line), "\n".to_owned()]).collect()
}

/// Versions, sizes, and ids that the sandbox makes up.
fn words_the_same(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let same = |(place, word): (usize, &&str)| {
        let (before, after) = (place.checked_sub(1).map_or("", |before| words[before]), words.get(place + 1));
        let id = word.trim_end_matches(['"', ',']);
        let is_payment = id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_digit());
        if Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 4 && id != GONE) {
            word.replace(id, "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa")
        } else if is_payment {
            word.replace(id, "1234567890")
        } else if before.ends_with("RabbitMQ") {
            "3.x.y".to_owned()
        } else if after.is_some_and(|after| after.starts_with("ahead")) {
            "86400s".to_owned()
        } else if after.is_some_and(|unit| unit.starts_with("GiB") || unit.starts_with("TiB")) {
            let number = word.trim_start_matches('"');
            word.replace(number, "9.9")
        } else {
            (*word).to_owned()
        }
    };
    words.iter().enumerate().map(same).collect::<Vec<_>>().join(" ")
}

/// The ledger on a disk, for where temporary files are may be in memory; and by a path that is as long on
/// every machine, for it is a part of the screen.
fn on_a_disk(world: &World) -> TempDir {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::os::unix::fs::symlink(directory.path(), world.config().with_file_name("ledger")).unwrap();
    let settings = std::fs::read_to_string(world.config()).unwrap();
    let line = settings.lines().find(|line| line.starts_with("url = \"sqlite:")).unwrap();
    std::fs::write(world.config(), settings.replace(line, "url = \"sqlite:ledger/holdfast.db\"")).unwrap();
    directory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_reads_well() {
    let world = World::new().await;
    let _directory = on_a_disk(&world);
    screens(&world, "doctor-well", 0, &["doctor"]).await;

    world.give_secret(Account::Flitt, "a wrong one");
    let account = Some(Account::Fondy.merchant().to_owned());
    world.faults(vec![Rule { account, ..Rule::new(Fault::ClockSkew { seconds: 86_400 }) }]);
    screens(&world, "doctor-ill", 1, &["doctor"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_against_a_provider_reads_well() {
    let world = World::new().await;
    let order = |number: usize, account: Account| {
        let id = format!("{}-{number}", account.name());
        world.order_with(&id, account, &[("l1", 2, 1_999)], |order| order.authorized = 2_999)
    };
    let orders: Vec<Order> = [Account::Flex, Account::Flex, Account::Flitt, Account::Fondy, Account::Flex]
        .into_iter()
        .enumerate()
        .map(|(number, account)| order(number, account))
        .collect();
    let worker = world.worker();
    // One after the other, so that they stand in the same order every time.
    for (number, order) in (1..).zip(&orders) {
        world.publish([order.shipped("s", &[("l1", 2)])]).await;
        world.outcomes(number).await;
    }
    worker.stop().await;
    screens(&world, "audit-well", 0, &["audit", "--rate", "2000"]).await;

    let by_hand = ByHand { kind: ByHandKind::Capture, reference: orders[0].reference.clone(), amount_minor: 1_000 };
    world.sandbox.sandbox().meddle(&by_hand).unwrap();
    let ledger = Connection::open(world.config().with_file_name("holdfast.db")).unwrap();
    ledger.execute_batch("DROP TRIGGER captures_frozen; DROP TRIGGER captures_absorb").unwrap();
    for (order, set) in [(1, "amount = amount + 1"), (2, "state = 'failed'"), (3, "amount = amount - 1")] {
        let of = "(SELECT authorization_row FROM authorizations WHERE reference = ?1)";
        let sql = format!("UPDATE captures SET {set} WHERE authorization_row = {of}");
        assert_eq!(ledger.execute(&sql, [&orders[order].reference]).unwrap(), 1);
    }
    let gone = "UPDATE authorizations SET reference = ?2 WHERE reference = ?1";
    assert_eq!(ledger.execute(gone, [&orders[4].reference, &GONE.to_string()]).unwrap(), 1);
    screens(&world, "audit-ill", 1, &["audit", "--rate", "2000"]).await;
}
