//! Commands on a real terminal: who is asked, and what Ctrl-C does.

use serde_json::json;

use crate::replay::{DONE, LETTERS, authorized_anew_of, becomes_more_than};
use crate::support::order::{Account, Order};
use crate::support::terminal::{CTRL_C, Terminal};
use crate::support::world::World;

const JOBS: &str = "SELECT count(*) FROM replay_jobs";

/// So many dead letters that can be tried again, and a worker.
async fn with_letters(count: usize) -> (World, crate::support::worker::Worker) {
    let world = World::new().await;
    let orders: Vec<Order> = (0..count)
        .map(|number| {
            let id = format!("flex-{number:03}");
            world.order_with(&id, Account::Flex, &[("l1", 1, 1_999)], |order| order.authorized = 500)
        })
        .collect();
    let mut worker = world.worker();
    worker.consuming().await;
    world.publish(orders.iter().map(|order| order.shipped("s", &[("l1", 1)]))).await;
    let all = i64::try_from(count).unwrap();
    world.count_becomes(LETTERS, all).await;
    world.publish(orders.iter().map(|order| authorized_anew_of(&world, order, order.total()).authorized())).await;
    world.count_becomes("SELECT count(*) FROM authorizations", 2 * all).await;
    (world, worker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_changed_unless_somebody_types_yes() {
    let (world, worker) = with_letters(2).await;
    let discard = ["dead-letters", "discard", "--all", "--reason", "a test"];
    let prompt = "Type yes to go on: ";
    for (keys, expected) in [("no\n", 1), ("\n", 1), ("y\n", 1), (CTRL_C, 130), ("\u{4}", 1)] {
        let mut terminal = Terminal::open(&world, &discard);
        terminal.shows(prompt).await;
        terminal.type_in(keys).await;
        let (code, shown) = terminal.ends().await;
        assert_eq!(code, expected, "{keys:?}: {shown}");
        assert_eq!(shown.contains("not confirmed: nothing was changed"), keys != CTRL_C, "{keys:?}: {shown}");
        assert_eq!(world.count("SELECT count(*) FROM requests"), 0, "{keys:?}");
    }
    let mut terminal = Terminal::open(&world, &discard);
    terminal.shows(prompt).await;
    terminal.type_in("yes\n").await;
    let (code, shown) = terminal.ends().await;
    assert!(code == 0 && shown.contains("2 dead letters are discarded now"), "{code} {shown}");
    assert_eq!(world.count(LETTERS), 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_ctrl_c_leaves_a_replay_and_a_second_one_stops_it() {
    let (world, worker) = with_letters(40).await;
    let replay = ["dead-letters", "replay", "--all", "--reason", "authorized anew", "--rate", "2", "--canary", "1"];
    let mut terminal = Terminal::open(&world, &replay);
    terminal.shows("Type yes to go on: ").await;
    terminal.type_in("yes\n").await;
    becomes_more_than(&world, DONE, 1).await;
    terminal.type_in(CTRL_C).await;
    terminal.shows("press Ctrl-C again within 5 seconds to stop the replay too").await;
    let (code, shown) = terminal.ends().await;
    assert!(code == 0 && shown.contains("the replay goes on without this command"), "{code} {shown}");

    let mut terminal = Terminal::open(&world, &["dead-letters", "replay", "--watch", "1"]);
    terminal.shows("/40").await;
    terminal.type_in(CTRL_C).await;
    terminal.shows("press Ctrl-C again").await;
    terminal.type_in(CTRL_C).await;
    let (code, shown) = terminal.ends().await;
    assert!(code == 1 && shown.contains("replay 1 is stopped"), "{code} {shown}");
    let (_, listed, _) = world.holdfast_json(&["dead-letters", "replays"]).await;
    let job = &listed["replays"][0];
    assert_eq!((&job["state"], &job["changed_by"]), (&json!("stopped"), &json!("olga")), "{job}");
    assert!(world.count(LETTERS) > 20, "what was left is open again");
    world.count_becomes("SELECT count(*) FROM captures WHERE is_open = 1", 0).await;
    world.check_books().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_before_the_worker_has_answered_withdraws_the_request_and_says_so() {
    let (world, mut worker) = with_letters(3).await;
    worker.freeze();
    worker.stands_still().await;
    let replay = ["dead-letters", "replay", "--all", "--reason", "authorized anew", "--yes"];
    let mut terminal = Terminal::open(&world, &replay);
    world.count_becomes("SELECT count(*) FROM requests", 1).await;
    terminal.type_in(CTRL_C).await;
    terminal.shows("interrupted, and the request is withdrawn: nothing was changed").await;
    let (code, shown) = terminal.ends().await;
    assert_eq!(code, 1, "{shown}");
    worker.thaw();
    // Whatever is asked next is carried out, and what was withdrawn is not.
    let (code, _, said) = world.holdfast(&["accounts", "pause", "flitt-ge", "--reason", "a test"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!((world.count(JOBS), world.count(LETTERS)), (0, 3));
    worker.stop().await;
}
