//! The events of one order, held in full against a file that somebody can read.
//!
//! What differs from run to run has a word in braces instead: when something became true, the expiry
//! and a margin before it, what is derived from them, and the provider's own ids. Everything else,
//! derived ids included, is compared as it was received.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chrono::SubsecRound;
use holdfast::clock::Timestamp;
use holdfast::sandbox::Books;
use serde_json::Value;

use super::listener::Received;
use super::order::Order;

/// Set to anything, it has the files written instead of compared.
const REWRITE: &str = "HOLDFAST_TEST_REWRITE_FIXTURES";

/// Compares what was received about the order with `tests/fixtures/orders/<name>.json`.
pub fn compare(name: &str, order: &Order, margin: Duration, received: &[Received], books: &Books) {
    let booked = books.find(&order.reference).expect("the order's money is in the books");
    // Events tell milliseconds.
    let told = |at: Timestamp| at.trunc_subsecs(3);
    let seen = Seen {
        expires_at: told(order.expires_at),
        capture_by: told(order.expires_at - margin),
        movements: booked.captures.iter().map(|capture| capture.id.as_str()).collect(),
    };
    let mut events: Vec<Value> = received.iter().map(|event| event.json.clone()).collect();
    // They count up; whichever came first is the broker's business.
    events.sort_by_key(|event| event["data"]["sequence"].as_u64());
    let times: Vec<_> = events.iter().map(|event| instant(&event["time"]).expect("an event has a time")).collect();
    assert!(times.is_sorted(), "{name}: what is counted up becomes true in this order: {times:?}");
    for event in &mut events {
        seen.normalise(event);
    }

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/orders/{name}.json"));
    let events = Value::from(events);
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(path, format!("{events:#}\n")).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = Vec::new();
    differences("", &events, &serde_json::from_str(&expected).unwrap(), &mut found);
    assert!(found.is_empty(), "{name}.json ({REWRITE}=1 rewrites it) says otherwise:\n{}", found.join("\n"));
}

/// Every value that is not as expected, with where it is.
fn differences(path: &str, value: &Value, expected: &Value, found: &mut Vec<String>) {
    let at = |key: &dyn std::fmt::Display| format!("{path}/{key}");
    match (value, expected) {
        (Value::Object(ours), Value::Object(theirs)) if ours.keys().eq(theirs.keys()) => {
            ours.iter().for_each(|(key, value)| differences(&at(key), value, &theirs[key], found));
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            let both = ours.iter().zip(theirs).enumerate();
            both.for_each(|(index, (value, expected))| differences(&at(&index), value, expected, found));
        }
        _ if value == expected => {}
        _ => found.push(format!("{path}: {value}, not {expected}")),
    }
}

/// What the provider has told of this run.
struct Seen<'a> {
    expires_at: Timestamp,
    capture_by: Timestamp,
    movements: BTreeSet<&'a str>,
}

impl Seen<'_> {
    fn normalise(&self, event: &mut Value) {
        event["time"] = "{time}".into();
        if event["type"].as_str().is_some_and(|kind| kind.starts_with("authorization.")) {
            event["id"] = "{derived from the expiry}".into();
        }
        let data = event["data"].as_object_mut().expect("an event has data");
        for (name, value) in data {
            let word = match instant(value) {
                Some(at) if at == self.expires_at => "{expiry}",
                Some(at) if at == self.capture_by => "{margin before the expiry}",
                None if name == "provider_reference" && self.is_movement(value) => "{provider's id of the capture}",
                Some(_) | None => continue,
            };
            *value = word.into();
        }
    }

    fn is_movement(&self, value: &Value) -> bool {
        value.as_str().is_some_and(|id| self.movements.contains(id))
    }
}

fn instant(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}
