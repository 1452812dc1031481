//! Who may send a notice: signatures and the broker's own word, through a real broker and a real worker. What
//! fails is set aside for its own reason, announced, never captured, and no replay takes it after all.

use std::sync::Arc;

use bytes::Bytes;
use holdfast::broker::publisher::{Outgoing, PublishOutcome, Publisher};
use holdfast::message::sender::{self, Claims, Key};
use holdfast::private_file;
use serde_json::Value;
use uuid::Uuid;

use crate::support::order::{Account, Order};
use crate::support::world::World;

const OLD: &str = "an-old-key-of-32-characters-exactly";
const NEW: &str = "another-key-of-more-than-32-characters";
const REPLACED: &str = "what-the-file-holds-after-its-rotation";

fn key(id: &str, secret: &str) -> Key {
    Key { id: id.to_owned(), secret: secret.into() }
}

/// A world whose settings have this section more.
async fn world_with(section: &str) -> World {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.config()).unwrap();
    std::fs::write(world.config(), settings + section).unwrap();
    world
}

/// A world that takes only what is signed with one of two keys.
async fn world_that_requires_signatures() -> World {
    let directory = tempfile::tempdir().unwrap().keep();
    let files = ["old", "new"].map(|name| directory.join(name));
    private_file::write(&files[0], OLD).unwrap();
    private_file::write(&files[1], NEW).unwrap();
    let [old, new] = files.map(|file| file.display().to_string());
    let keys = format!("[notices.keys]\nold = {{ file = \"{old}\" }}\nnew = {{ file = \"{new}\" }}\n");
    world_with(&format!("[notices]\nsignatures = \"require\"\n{keys}")).await
}

/// Sends a body to an exchange, with what is said of its sender.
async fn send(world: &World, (exchange, routing_key): (&str, &str), body: &[u8], claims: Claims) -> PublishOutcome {
    let publisher = Publisher::spawn(Arc::new(world.broker.clone()));
    let message = Outgoing {
        row: 1,
        exchange: exchange.to_owned(),
        event_id: Uuid::new_v4(),
        routing_key: routing_key.to_owned(),
        body: Bytes::copy_from_slice(body),
        content_type: "application/json".to_owned(),
        traceparent: None,
        claims,
    };
    let outcome = publisher.publish(vec![message]).await.pop().unwrap();
    publisher.close().await;
    outcome
}

async fn ship(world: &World, notice: &Value, claims: impl FnOnce(&[u8]) -> Claims) {
    let body = notice.to_string().into_bytes();
    let claims = claims(&body);
    let sent = send(world, (&world.broker.orders_exchange, "order.shipped"), &body, claims).await;
    assert_eq!(sent, PublishOutcome::Published);
}

fn one(world: &World, id: &str) -> (Order, Value) {
    let order = world.order(id, Account::Flex, &[("l1", 1, 1_999)]);
    let notice = order.shipped("s1", &[("l1", 1)]);
    (order, notice)
}

const UNAUTHENTICATED: &str = "SELECT count(*) FROM dead_letters WHERE reason = 'unauthenticated'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_signed_is_captured_and_no_replay_takes_the_rest() {
    let world = world_that_requires_signatures().await;
    let mut worker = world.worker();
    worker.consuming().await;
    let orders: Vec<(Order, Value)> = (0..6).map(|number| one(&world, &format!("signed-{number}"))).collect();
    let (old, new) = (key("old", OLD), key("new", NEW));
    ship(&world, &orders[0].1, |_| Claims::default()).await;
    ship(&world, &orders[1].1, |_| sender::sign(&old, b"another body")).await;
    ship(&world, &orders[2].1, |body| sender::sign(&key("old", NEW), body)).await;
    world.count_becomes(UNAUTHENTICATED, 3).await;
    // Into the queue of what the broker gives up on, past the exchange.
    let body = orders[3].1.to_string();
    let sent = send(&world, ("", &world.broker.dead_queue), body.as_bytes(), Claims::default()).await;
    assert_eq!(sent, PublishOutcome::Published);
    world.count_becomes(UNAUTHENTICATED, 4).await;
    let rejected = world.events("notice.rejected", 4).await;
    assert!(rejected.iter().all(|event| event.field("reason") == "unauthenticated"), "{rejected:?}");

    let replay = ["dead-letters", "replay", "--for", "unauthenticated", "--reason", "try", "--yes"];
    let (exit, said, _) = world.holdfast(&replay).await;
    assert!(exit != 0 || said.contains("0 "), "{exit} {said}");
    let (_, dry, _) = world.holdfast(&["dead-letters", "replay", "--for", "unauthenticated", "--dry-run"]).await;
    assert!(dry.contains("still_rejected") || dry.contains("have it sent again"), "{dry}");

    // The same messages, signed with either key, simply work.
    ship(&world, &orders[0].1, |body| sender::sign(&old, body)).await;
    ship(&world, &orders[4].1, |body| sender::sign(&new, body)).await;
    let outcomes = world.outcomes(2).await;
    assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"), "{outcomes:?}");
    let books = world.books();
    let captured = |order: &Order| books.find(&order.reference).unwrap().captured_minor;
    assert_eq!(orders.iter().map(|(order, _)| captured(order)).collect::<Vec<_>>(), [1_999, 0, 0, 0, 1_999, 0]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_changed_while_the_worker_runs_and_the_command_line_signs() {
    let world = world_that_requires_signatures().await;
    let mut worker = world.worker();
    worker.consuming().await;
    let settings = std::fs::read_to_string(world.config()).unwrap();
    let file = settings.split("new = { file = \"").nth(1).unwrap().split('"').next().unwrap();
    let (first, second) = (one(&world, "rotated-1"), one(&world, "rotated-2"));
    let publish = async |notice: &Value| {
        let path = world.directory().join("notice.json");
        std::fs::write(&path, notice.to_string()).unwrap();
        world.holdfast(&["publish", path.to_str().unwrap(), "--sign", "new"]).await
    };
    let (exit, said, error) = publish(&first.1).await;
    assert_eq!(exit, 0, "{said}{error}");
    world.outcomes(1).await;
    private_file::write(std::path::Path::new(file), REPLACED).unwrap();
    worker.hang_up();
    worker.says("in files are read anew").await;
    ship(&world, &second.1, |body| sender::sign(&key("new", NEW), body)).await;
    world.count_becomes(UNAUTHENTICATED, 1).await;
    // The command reads the file anew, as every command does.
    let (exit, said, error) = publish(&second.1).await;
    assert_eq!(exit, 0, "{said}{error}");
    assert!(world.outcomes(2).await.iter().all(|event| event.kind == "capture.succeeded"));
    let (exit, _, error) = world.holdfast(&["publish", "none.json", "--sign", "nobody"]).await;
    assert!(exit == 2 && error.contains("notices.keys"), "{exit} {error}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brokers_own_word_of_who_sends_is_asked_for() {
    let world = world_with("[notices]\nusers = [\"holdfast\"]\n").await;
    let mut worker = world.worker();
    worker.consuming().await;
    let (by_us, by_nobody) = (one(&world, "by-us"), one(&world, "by-nobody"));
    ship(&world, &by_nobody.1, |_| Claims::default()).await;
    world.count_becomes(UNAUTHENTICATED, 1).await;
    let path = world.directory().join("notice.json");
    std::fs::write(&path, by_us.1.to_string()).unwrap();
    let (exit, said, error) = world.holdfast(&["publish", path.to_str().unwrap()]).await;
    assert_eq!(exit, 0, "{said}{error}");
    let outcomes = world.outcomes(1).await;
    assert_eq!(outcomes[0].kind, "capture.succeeded", "{outcomes:?}");
    assert_eq!(world.books().find(&by_nobody.0.reference).unwrap().captured_minor, 0);
    // Nobody but the broker's own impersonators can send in another's name.
    let forged = Claims { user: Some("somebody".to_owned()), ..Claims::default() };
    let body = by_nobody.1.to_string();
    let sent = send(&world, (&world.broker.orders_exchange, "order.shipped"), body.as_bytes(), forged).await;
    assert!(matches!(sent, PublishOutcome::Failed(_)), "{sent:?}");
    worker.stop().await;
}
