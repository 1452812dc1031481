//! Secrets that can be told from all other words, wherever a worker is given one; and then everything that comes
//! out of it is searched for them: its log at its loudest, every page that it serves, what commands print,
//! every row of its ledger, every event and every span.
//!
//! The network is not searched: there they belong.

use std::os::unix::process::ExitStatusExt as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use holdfast::private_file;
use holdfast::sandbox::NewAccount;
use rusqlite::types::Value as Cell;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::{ExposeSecret, SecretString};

use crate::support::collector::{Collector, ENDPOINT};
use crate::support::order::{Account, Message, Order};
use crate::support::store::Kind;
use crate::support::world::World;

/// What accounts and notices are given.
const CANARY: &str = "canary-Qz7Lw9-of-more-than-32-characters";

/// The password in an address.
fn password(url: &SecretString) -> String {
    url::Url::parse(url.expose_secret()).unwrap().password().unwrap().to_owned()
}

/// The file of a secret, as settings name one.
fn in_file(world: &World, name: &str, secret: &str) -> String {
    let path = world.directory().join(name);
    private_file::write(&path, secret).unwrap();
    format!("{{ file = \"{}\" }}", path.display())
}

/// Gives the worker every kind of secret that there is; returns them.
fn plant(world: &World) -> Vec<String> {
    for account in Account::ALL {
        let (protocol, name) = (account.protocol(), account.merchant().to_owned());
        let new = NewAccount { protocol, account: name, secret: CANARY.to_owned(), token_lifetime_ms: None };
        world.sandbox.sandbox().register(new).unwrap();
        world.give_secret(account, CANARY);
    }
    let (broker, ledger) = (world.broker.url.clone(), world.ledger_over_tcp());
    let settings = std::fs::read_to_string(world.config()).unwrap();
    let named = |url: &SecretString, file: &str| format!("url = {}", in_file(world, file, url.expose_secret()));
    let settings = settings
        .replace(&format!("url = \"{}\"", broker.expose_secret()), &named(&broker, "amqp-url"))
        .replace(&format!("url = \"{}\"", world.ledger_url()), &named(&ledger, "ledger-url"));
    assert_eq!(settings.matches("-url\" }").count(), 2, "{settings}");
    let key = in_file(world, "notices-key", CANARY);
    let notices = format!("[notices]\nsignatures = \"accept\"\n[notices.keys]\nshop = {key}\n");
    std::fs::write(world.config(), settings + &notices).unwrap();
    vec![CANARY.to_owned(), password(&broker), password(&ledger)]
}

/// The secrets, and what they become on the way to a provider.
fn needles(secrets: &[String]) -> Vec<String> {
    let basic = BASE64_STANDARD.encode(format!("{}:{CANARY}", Account::Flex.merchant()));
    secrets.iter().cloned().chain([basic, BASE64_STANDARD.encode(CANARY)]).collect()
}

/// Every cell of every table that auditors read, in words and in bytes.
fn dump(world: &World) -> Vec<u8> {
    let ledger = world.ledger();
    let mut out = Vec::new();
    for table in ["orders", "authorizations", "shipments", "captures", "movements", "events", "outbox", "dead_letters"]
    {
        let mut statement = ledger.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                match row.get_unwrap::<_, Cell>(column) {
                    Cell::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Cell::Blob(bytes) => out.extend_from_slice(&bytes),
                    Cell::Null | Cell::Integer(_) | Cell::Real(_) => {}
                }
                out.push(b'\n');
            }
        }
    }
    out
}

fn assert_nowhere(needles: &[String], what: &str, hay: &[u8]) {
    assert!(!hay.is_empty(), "{what} is empty: nothing was searched");
    let text = String::from_utf8_lossy(hay);
    for needle in needles {
        // Not the line itself: it has the secret in it.
        let at = text.lines().position(|line| line.contains(needle.as_str()));
        assert_eq!(at, None, "{what}, by line, tells a secret that begins with {}", &needle[..4]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_comes_out_of_a_worker() {
    let world = World::on(Kind::Postgres).await;
    let secrets = plant(&world);
    let needles = needles(&secrets);
    let collector = Collector::start().await;
    let mut worker = world.worker_with(&[("HOLDFAST_LOG", "trace,lapin=error"), (ENDPOINT, collector.endpoint())]);
    worker.consuming().await;
    let orders: Vec<Order> = Account::ALL
        .into_iter()
        .map(|account| world.order(&format!("canary-{}", account.name()), account, &[("l1", 1, 1_999)]))
        .collect();
    world.publish(orders.iter().map(|order| Message::from(order.last("s1", &[("l1", 1)])))).await;
    let outcomes = world.outcomes(orders.len()).await;
    assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"), "{outcomes:?}");
    // What goes wrong is where secrets get out: a message that is none, a provider that refuses our secret.
    world.publish([Message::raw(Some("application/json"), "no JSON")]).await;
    world.give_secret(Account::Flex, &CANARY.replace("canary", "yranac"));
    worker.hang_up();
    let refused = world.order("canary-refused", Account::Flex, &[("l1", 1, 500)]);
    world.publish([Message::from(refused.shipped("s1", &[("l1", 1)]))]).await;
    world.count_becomes("SELECT count(*) FROM dead_letters", 1).await;

    for page in ["/metrics", "/readyz", "/livez"] {
        let (_, body) = worker.get(page).await;
        assert_nowhere(&needles, page, body.as_bytes());
    }
    for command in [
        &["check"][..],
        &["check", "--output", "json"],
        &["doctor"],
        &["topology", "--definitions"],
        &["accounts", "list"],
        &["captures", "list"],
        &["captures", "show", "canary-flex"],
        &["dead-letters", "list"],
        &["audit"],
    ] {
        let (_, out, error) = world.holdfast(command).await;
        assert_nowhere(&needles, &command.join(" "), (out + &error).as_bytes());
    }
    assert_nowhere(&needles, "the ledger", &dump(&world));
    for event in world.listener.received() {
        assert_nowhere(&needles, &event.kind, &event.body);
    }
    assert_nowhere(&needles, "the log", worker.log().as_bytes());
    worker.stop().await;
    assert_nowhere(&needles, "the traces", &collector.bytes());
}

/// Its memory has all of them, and whoever starts it may allow a core file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_leaves_no_core_file() {
    let most = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).unwrap();
    let world = World::new().await;
    let mut worker = world.worker_with(&[]);
    worker.consuming().await;
    worker.abort();
    let ended = worker.ended().await;
    assert_eq!(ended.signal(), Some(6), "{ended}");
    assert!(!ended.core_dumped(), "{ended}");
}

/// One that others can read ends the start, with the setting, the mode and the way out.
#[tokio::test]
async fn a_secret_that_others_can_read_is_refused_before_anything_begins() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let file = world.directory().join(format!("{}-secret", Account::Flex.name()));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    for command in ["check", "run"] {
        let (exit, out, error) = world.holdfast(&[command]).await;
        let said = out + &error;
        assert_eq!(exit, 2, "{said}");
        let expected = format!("accounts.{}.client_secret", Account::Flex.name());
        for word in [expected.as_str(), "mode 0644", "chmod 600"] {
            assert!(said.contains(word), "{word} in {said}");
        }
    }
}
