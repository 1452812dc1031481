//! The operations guide's "Money is stuck: what now?", word by word: every command of it runs in a shell, in a
//! world that has what its section is about, and shows what the guide says is seen then.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use holdfast::sandbox::{ByHand, ByHandKind, Fault, Operation, Rule, When};
use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::order::{Account, Message, Order};
use crate::support::worker::Worker;
use crate::support::world::World;

const GUIDE: &str = include_str!("../../docs/operations.md");
const RUNBOOK: &str = "\n## Money is stuck: what now?\n";

/// What every shipment is worth.
const OWED: i64 = 1_999;

/// The part of the runbook before its situations.
fn first_part() -> &'static str {
    parts()[0].1
}

/// Its parts: heading and text. The first one has none.
fn parts() -> Vec<(&'static str, &'static str)> {
    let runbook = GUIDE.split_once(RUNBOOK).expect("the guide has a runbook").1;
    let runbook = runbook.split("\n## ").next().expect("one part at least");
    let mut parts = runbook.split("\n### ");
    let first = parts.next().expect("one at least");
    let rest = parts.map(|part| part.split_once('\n').expect("a heading is a line"));
    std::iter::once(("", first)).chain(rest).collect()
}

/// The lines of all its blocks of shell.
fn lines(part: &str) -> impl Iterator<Item = &str> {
    part.split("```sh\n").skip(1).flat_map(|rest| rest.split_once("```").expect("a block is closed").0.lines())
}

/// Something to do, in its order.
#[derive(Debug)]
enum Step<'a> {
    /// A command, and what is seen then.
    Run(&'a str, Vec<&'a str>),
    /// What a person does.
    ByHand(&'a str),
}

fn steps(part: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for line in lines(part) {
        if let Some(seen) = line.strip_prefix("# → ") {
            let Some(Step::Run(_, all)) = steps.last_mut() else { panic!("nothing is seen before a command: {line}") };
            all.push(seen);
        } else if let Some(by_hand) = line.strip_prefix("# ") {
            steps.push(Step::ByHand(by_hand));
        } else if !line.is_empty() {
            steps.push(Step::Run(line, Vec::new()));
        }
    }
    steps
}

/// The rows of the table: the command, what stands in it, and the heading of the situation.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [command, shown, link] = cells[..] else { return None };
        let heading = link.strip_prefix('[')?.split_once("](#").expect("a link").0;
        Some((command.trim_matches('`'), shown.trim_matches('`'), heading))
    };
    first_part().lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

/// Is it on one line of the screen, however many spaces are between words, with anything for `…`?
fn is_seen(screen: &str, seen: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    screen.lines().map(squeeze).any(|line| {
        let mut rest = line.as_str();
        seen.split('…').map(squeeze).all(|piece| rest.split_once(&piece).map(|(_, after)| rest = after).is_some())
    })
}

/// What stands under a heading of a table, in its first line.
fn under(screen: &str, heading: &str) -> Option<String> {
    let mut lines = screen.lines();
    let head = lines.find(|line| line.split_whitespace().any(|word| word == heading))?;
    let at = head.split("  ").scan(0, |at, cell| Some((std::mem::replace(at, *at + cell.chars().count() + 2), cell)));
    let at = at
        .filter(|(_, cell)| cell.trim() == heading)
        .map(|(at, cell)| at + cell.chars().count() - cell.trim_start().chars().count());
    let at = at.last()?;
    let cell: String = lines.next()?.chars().skip(at).collect();
    cell.split_whitespace().next().map(str::to_owned)
}

/// A shell before a world, as an operator has it.
struct Shell<'a> {
    world: &'a World,
    worker: Worker,
    dir: TempDir,
    /// Everything that was shown, the last at the end.
    screens: Vec<String>,
    /// Words in capitals that a person has said.
    said: Vec<(&'static str, String)>,
}

impl<'a> Shell<'a> {
    fn new(world: &'a World, worker: Worker) -> Self {
        let dir = TempDir::new().unwrap();
        // The service manager of this world, which knows one unit.
        let script = format!("#!/bin/sh\n[ \"$*\" = \"reload holdfast\" ] && kill -HUP {}\n", worker.id());
        let systemctl = dir.path().join("systemctl");
        std::fs::write(&systemctl, script).unwrap();
        std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { world, worker, dir, screens: Vec::new(), said: Vec::new() }
    }

    /// The line with every word in capitals filled in.
    fn filled(&self, line: &str) -> String {
        let is_placeholder = |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase());
        let fill = |word: &str| {
            if !is_placeholder(word) {
                return word.to_owned();
            }
            let said = || self.said.iter().rev().find(|(name, _)| *name == word).map(|(_, said)| said.clone());
            let shown = || self.screens.iter().rev().find_map(|screen| under(screen, word));
            said()
                .or_else(shown)
                .unwrap_or_else(|| panic!("nothing tells what {word} is in: {line}\n{:?}", self.screens))
        };
        line.split(' ').map(fill).collect::<Vec<_>>().join(" ")
    }

    /// Runs a line, and returns what it shows.
    async fn run(&self, line: &str) -> String {
        let bin = std::path::Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
        let path = format!("{}:{}:{}", self.dir.path().display(), bin.display(), std::env::var("PATH").unwrap());
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", line]).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("PATH", path).env("HOLDFAST_CONFIG", self.world.config());
        let ended = tokio::time::timeout(PATIENCE, command.output()).await.expect("an end in time").unwrap();
        let code = ended.status.code().expect("it has ended by itself");
        let screen = String::from_utf8(ended.stdout).unwrap() + &String::from_utf8(ended.stderr).unwrap();
        assert!(
            [0, 1, 3].contains(&code),
            "it is no command of ours, or not used so: {line}\nexit code {code}\n{screen}"
        );
        screen
    }

    /// Runs a line until it shows all of this; what changes something only once.
    async fn shows(&mut self, line: &str, seen: &[&str]) {
        let line = self.filled(line);
        let changes = ["--yes", "systemctl", "export"].iter().any(|word| line.contains(word));
        let mut screen = self.run(&line).await;
        let missing = |screen: &str| seen.iter().find(|seen| !is_seen(screen, seen)).copied();
        let shown = async {
            while !changes && missing(&screen).is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                screen = self.run(&line).await;
            }
        };
        let _late = tokio::time::timeout(Duration::from_secs(30), shown).await;
        assert_eq!(missing(&screen), None, "it is not seen by: {line}\n{screen}");
        self.screens.push(screen);
    }

    /// The one screen, and that it leads here.
    async fn look_first(&mut self, situation: &str) {
        let rows: Vec<_> = rows().into_iter().filter(|row| row.2 == situation).collect();
        assert!(!rows.is_empty(), "nothing leads to {situation}");
        for step in steps(first_part()) {
            let Step::Run(line, seen) = step else { panic!("nothing is done before one has looked: {step:?}") };
            if line.starts_with("export ") {
                continue;
            }
            let leads: Vec<&str> = rows.iter().filter(|row| row.0 == line).map(|row| row.1).collect();
            self.shows(line, &[seen, leads].concat()).await;
        }
        self.screens.clear();
    }

    /// All of a situation, as it is written. `by_hand` does what people do, and returns what they send.
    async fn follow(&mut self, situation: &str, mut by_hand: impl FnMut(&mut Self, &str) -> Vec<Message>) {
        self.look_first(situation).await;
        let part = parts().into_iter().find(|(heading, _)| *heading == situation).expect("a situation").1;
        for step in steps(part) {
            match step {
                Step::Run(line, seen) => self.shows(line, &seen).await,
                Step::ByHand(what) => self.world.publish(by_hand(self, what)).await,
            }
        }
    }
}

fn orders(world: &World, account: Account, name: &str, count: usize) -> Vec<Order> {
    (0..count).map(|number| world.order(&format!("{name}-{number:02}"), account, &[("l1", 1, OWED)])).collect()
}

fn shipped(orders: &[Order]) -> impl Iterator<Item = Message> {
    orders.iter().map(|order| order.shipped("s", &[("l1", 1)]).into())
}

fn captured(world: &World, orders: &[Order]) -> usize {
    let books = world.books();
    orders.iter().filter(|order| books.find(&order.reference).unwrap().captured_minor == OWED).count()
}

fn on_captures(fault: Fault) -> Rule {
    Rule { operation: Operation::Capture, ..Rule::new(fault) }
}

#[test]
fn every_situation_is_led_to_and_tried() {
    const SOURCE: &str = include_str!("runbook.rs");
    let headings: BTreeSet<&str> = parts().iter().skip(1).map(|(heading, _)| *heading).collect();
    let led_to: BTreeSet<&str> = rows().iter().map(|row| row.2).collect();
    assert_eq!(headings, led_to);
    for heading in headings {
        assert!(SOURCE.contains(&format!("follow(\"{heading}\"")), "no test follows: {heading}");
        let anchor = heading.to_lowercase().replace(' ', "-").replace('\'', "");
        assert!(first_part().contains(&format!("[{heading}](#{anchor})")), "a link leads nowhere: {heading}");
    }
}

#[test]
fn a_word_in_capitals_is_what_stands_under_it() {
    let screen = "ORDER   LAST SEEN  ID\no-1 x   1m ago     7f\no-2     2m ago     80\n";
    for (heading, cell) in [("ORDER", Some("o-1")), ("ID", Some("7f")), ("SEEN", None), ("NOTHING", None)] {
        assert_eq!(under(screen, heading).as_deref(), cell, "{heading}");
    }
    assert!(is_seen("a   b  c", "a b") && is_seen("a b c", "a … c") && !is_seen("a b c", "c … a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_was_down() {
    let world = World::new().await;
    let declined = orders(&world, Account::Flitt, "declined", 20);
    let waiting = orders(&world, Account::Flitt, "outage", 40);
    let mut worker = world.worker();
    worker.consuming().await;
    world.faults(vec![on_captures(Fault::SoftDecline)]);
    world.publish(shipped(&declined)).await;
    world.outcomes(20).await;
    let account = Some(Account::Flitt.merchant().to_owned());
    world.faults(vec![Rule { account, ..Rule::new(Fault::Reset { when: When::Before }) }]);
    // As many as are on their way when it goes down, and those that wait at the gate then.
    let (on_their_way, at_the_gate) = waiting.split_at(12);
    world.publish(shipped(on_their_way)).await;
    world.count_becomes("SELECT count(*) FROM accounts WHERE state = 'breaker_open'", 1).await;
    world.publish(shipped(at_the_gate)).await;
    let mut shell = Shell::new(&world, worker);
    shell
        .follow("The provider was down", |shell, what| {
            assert_eq!(what, "wait until the provider is back");
            shell.world.faults(Vec::new());
            Vec::new()
        })
        .await;
    world.outcomes(80).await;
    assert_eq!((captured(&world, &declined), captured(&world, &waiting)), (20, 40));
    world.check_books().await;
    shell.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret() {
    let world = World::new().await;
    world.give_secret(Account::Flitt, "a wrong one");
    let orders = orders(&world, Account::Flitt, "parked", 20);
    // Nothing is found by itself here: the reload is what counts.
    let environment = [("HOLDFAST_SUSPENSION__PROBE_INTERVAL", "1h"), ("HOLDFAST_CAPTURE__PARKED_FOR", "1h")];
    let mut worker = world.worker_with(&environment);
    worker.consuming().await;
    world.publish(shipped(&orders)).await;
    let mut shell = Shell::new(&world, worker);
    shell
        .follow("A wrong secret", |shell, what| {
            assert_eq!(what, "put the right secret into the account's file");
            shell.world.give_secret(Account::Flitt, Account::Flitt.secret());
            Vec::new()
        })
        .await;
    world.outcomes(20).await;
    assert_eq!(captured(&world, &orders), 20);
    world.check_books().await;
    shell.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authorizations_expired() {
    let world = World::new().await;
    let mut worker = world.worker();
    worker.consuming().await;
    let hold = |number| {
        let (id, held) = (format!("expired-{number:02}"), Duration::from_millis(1_500));
        world.order_held(&id, Account::Flex, &[("l1", 1, OWED)], held)
    };
    let old: Vec<Order> = (0..12).map(hold).collect();
    // The provider answers nothing until it is too late.
    let down = Fault::Status { status: 503, retry_after_s: None, when: When::Before };
    world.faults(vec![on_captures(down)]);
    world.publish(shipped(&old)).await;
    world.events("authorization.expired", 12).await;
    world.faults(Vec::new());
    world.outcomes(12).await;
    let mut shell = Shell::new(&world, worker);
    let mut anew = Vec::new();
    shell
        .follow("Authorizations expired", |shell, what| {
            assert!(what.starts_with("the shop authorizes the orders in expired.json anew"), "{what}");
            // The shop has nothing but the file.
            let file = std::fs::read(shell.dir.path().join("expired.json")).unwrap();
            let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
            let ids: Vec<&str> =
                file["dead_letters"].as_array().unwrap().iter().map(|row| row["order_id"].as_str().unwrap()).collect();
            let authorize = |id: &str| {
                let order = shell.world.order(&format!("{id}-anew"), Account::Flex, &[("l1", 1, OWED)]);
                Order { id: id.to_owned(), ..order }
            };
            anew = ids.into_iter().map(authorize).collect();
            anew.iter().map(|order| order.authorized().into()).collect()
        })
        .await;
    assert_eq!((anew.len(), captured(&world, &anew)), (12, 12));
    world.check_books().await;
    shell.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_cannot_be_read() {
    let world = World::new().await;
    let good = orders(&world, Account::Flex, "good", 3);
    let lost = orders(&world, Account::Flex, "lost", 3);
    let mut worker = world.worker();
    worker.consuming().await;
    let json = Some("application/cloudevents+json");
    // It wraps its JSON in something.
    let wrapped = lost.iter().map(|order| Message::raw(json, format!("<{}>", order.shipped("s", &[("l1", 1)]))));
    world.publish(wrapped.chain(shipped(&good))).await;
    world.count_becomes("SELECT count(*) FROM dead_letters", 3).await;
    let mut shell = Shell::new(&world, worker);
    shell
        .follow("Messages that cannot be read", |shell, what| {
            assert!(what.starts_with("the producer mends what is in for-the-producer"), "{what}");
            let files = std::fs::read_dir(shell.dir.path().join("for-the-producer")).unwrap();
            let mended = files.map(|file| {
                let body = std::fs::read_to_string(file.unwrap().path()).unwrap();
                Message::raw(json, body.trim_matches(['<', '>']))
            });
            let mended: Vec<Message> = mended.collect();
            assert_eq!(mended.len(), 3);
            mended
        })
        .await;
    world.outcomes(6).await;
    assert_eq!((captured(&world, &good), captured(&world, &lost)), (3, 3));
    world.check_books().await;
    shell.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_in_doubt() {
    let world = World::new().await;
    let orders = orders(&world, Account::Flex, "doubt", 2);
    // Captured, nobody hears of it, and reads do not work.
    let silent = on_captures(Fault::Reset { when: When::After });
    let down = Fault::Status { status: 503, retry_after_s: None, when: When::Before };
    world.faults(vec![silent, Rule { operation: Operation::Lookup, ..Rule::new(down) }]);
    let mut worker = world.worker_with(&[("HOLDFAST_CAPTURE__LOOK_AFTER", "1h")]);
    worker.consuming().await;
    world.publish(shipped(&orders)).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'in_doubt'", 2).await;
    let mut shell = Shell::new(&world, worker);
    shell
        .follow("A capture in doubt", |shell, what| {
            if what == "the provider's back office finds it, and calls it PAYMENT" {
                let order = shell.filled("ORDER");
                let reference = &orders.iter().find(|known| known.id == order).unwrap().reference;
                let payment = shell.world.books().find(reference).unwrap().captures[0].id.clone();
                shell.said.push(("PAYMENT", payment));
            } else {
                assert_eq!(what, "the provider cannot say what became of the other one");
            }
            Vec::new()
        })
        .await;
    let kinds: BTreeSet<String> = world.outcomes(2).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["capture.succeeded", "capture.unresolved"].map(str::to_owned).into());
    shell.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_money() {
    let world = World::new().await;
    let order = world.order("ord-1", Account::Flex, &[("l1", 3, 3_000), ("l2", 1, 400)]);
    let mut worker = world.worker();
    worker.consuming().await;
    world.publish([order.shipped("s1", &[("l1", 1)])]).await;
    world.outcomes(1).await;
    let by_hand = ByHand { reference: order.reference.clone(), kind: ByHandKind::Capture, amount_minor: 500 };
    world.sandbox.sandbox().meddle(&by_hand).unwrap();
    world.publish([order.shipped("s2", &[("l1", 1)])]).await;
    world.outcomes(2).await;
    world.count_becomes("SELECT count(*) FROM authorizations WHERE foreign_standing = 'halted'", 1).await;
    world.publish([order.shipped("s3", &[("l1", 1)]), order.shipped("s4", &[("l2", 1)])]).await;
    world.count_becomes("SELECT count(*) FROM captures WHERE state = 'planned' AND waits_turn = 1", 2).await;
    let mut shell = Shell::new(&world, worker);
    shell.follow("Somebody else's money", |_, what| panic!("nothing is done by hand here: {what}")).await;
    world.outcomes(4).await;
    assert_eq!(world.books().find(&order.reference).unwrap().captured_minor, 2_900);
    shell.worker.stop().await;
}
