use std::fmt::Write as _;

use clap::Parser;

use super::super::testing;
use super::*;
use crate::capture::why::{LeftOpen, Since};
use crate::ledger::Source;
use crate::ledger::report::example::{self, Example};
use crate::ledger::testing::{batch, change};

/// Those of the example.
const ACCOUNTS: &str = "
[accounts.flex]
protocol = \"flex_pay\"
base_url = \"http://127.0.0.1:1/api\"
token = { env = \"PATH\" }
[accounts.flitt-ge]
protocol = \"flitt\"
base_url = \"http://127.0.0.1:1\"
merchant_id = 1
secret = { env = \"PATH\" }
";

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn run(source: impl Into<Source>, format: Format, arguments: &[&str]) -> testing::Ended {
    run_at("09:30:00", source, format, arguments)
}

fn run_at(now: &str, source: impl Into<Source>, format: Format, arguments: &[&str]) -> testing::Ended {
    let line = Line::try_parse_from(std::iter::once("captures").chain(arguments.iter().copied())).unwrap();
    testing::run_with(ACCOUNTS, source, format, |context| super::run(line.command, example::at(now), context))
}

fn written(example: &Example, format: Format, arguments: &[&str]) -> String {
    let (ended, written) = testing::alike(example, |source| run(source, format, arguments));
    assert_eq!(ended, Ok(Exit::Done), "{arguments:?}");
    String::from_utf8(written).unwrap()
}

fn refused(example: &Example, arguments: &[&str]) -> (Exit, String) {
    testing::alike(example, |source| run(source, Format::Table, arguments)).0.unwrap_err()
}

#[test]
fn the_list_says_what_became_of_every_shipment() {
    let example = Example::new();
    insta::assert_snapshot!("list", written(&example, Format::Table, &["list"]));
    insta::assert_snapshot!("list.json", written(&example, Format::Json, &["list", "--in-doubt"]));
}

#[test]
fn filters_narrow_the_list() {
    let example = Example::new();
    for (arguments, count) in [
        (&["--order", "ord-1008"][..], 2),
        (&["--shipment", "s2"], 3),
        (&["--account", "flitt-ge"], 3),
        (&["--state", "refused"], 1),
        (&["--state", "in_doubt"], 1),
        (&["--in-doubt"], 1),
        (&["--since", "20m"], 8),
        (&["--since", "20m", "--account", "flex"], 5),
        (&["--limit", "2"], 2),
    ] {
        let arguments: Vec<_> = std::iter::once("list").chain(arguments.iter().copied()).collect();
        let listing: serde_json::Value = serde_json::from_str(&written(&example, Format::Json, &arguments)).unwrap();
        assert_eq!(listing["shipments"].as_array().unwrap().len(), count, "{arguments:?}");
        assert_eq!(listing["has_more"], arguments.contains(&"--limit"), "{arguments:?}");
    }
    let more = written(&example, Format::Table, &["list", "--limit", "2"]);
    assert!(more.ends_with("there are more than these 2: narrow the search, or raise --limit\n"), "{more}");
    assert_eq!(written(&example, Format::Table, &["list", "--order", "none"]), "no shipment matches\n");
}

#[test]
fn wrong_filters_are_usage_errors_that_say_what_is_right() {
    for (arguments, words) in [
        (["list", "--state=lost"], "in_doubt"),
        (["list", "--since=yesterday"], "24h"),
        (["list", "--order=a b"], "1 to 128"),
        (["list", "--limit=0"], "1..=100000"),
    ] {
        let error = Line::try_parse_from(std::iter::once("captures").chain(arguments)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_order_is_told_as_a_timeline() {
    let example = Example::new();
    for order in ["1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1009", "1013"] {
        let story = written(&example, Format::Table, &["show", &format!("ord-{order}")]);
        insta::assert_snapshot!(format!("show.{order}"), story);
    }
}

#[test]
fn a_capture_in_doubt_says_when_it_is_looked_up_next() {
    let example = Example::new();
    for (now, words) in [
        ("09:07:00", "it is looked up at 2026-11-20 09:08:01 (in 1m)"),
        ("09:08:30", "it is looked up now, due at 2026-11-20 09:08:01 (29s ago)"),
        ("09:30:00", "it was to be looked up at 2026-11-20 09:08:01 (21m ago): is a worker running?"),
    ] {
        let (ended, written) = run_at(now, &example.source, Format::Table, &["show", "ord-1001/s2"]);
        assert_eq!(ended, Ok(Exit::Done));
        let written = String::from_utf8(written).unwrap();
        assert!(written.contains("(last seen: 503: service unavailable)"), "{written}");
        let last = written.lines().last().unwrap();
        assert!(last.contains("next") && last.ends_with(words), "{last}");
    }
}

/// What is told of the capture of ord-1001/s2, which is in doubt, after a change by hand.
fn explained(example: &Example, sql: &str) -> serde_json::Value {
    batch(&example.source, sql);
    let told: serde_json::Value =
        serde_json::from_str(&written(example, Format::Json, &["show", "ord-1001/s2"])).unwrap();
    told["captures"][0]["explained"].clone()
}

#[test]
fn every_label_has_its_sentences() {
    let example = Example::new();
    let mut told = String::new();
    let mut tell = |column: &str, label: &str| {
        let sql = format!("UPDATE captures SET {column} = '{label}' WHERE state = 'in_doubt'");
        let explained = explained(&example, &sql);
        let words = |field: &str| explained[field].as_str().unwrap().to_owned();
        let (why, latest, settled_by) = (words("why"), words("latest"), words("settled_by"));
        writeln!(told, "{label}\n  why             {why}\n  since then      {latest}\n  what settles it {settled_by}")
            .unwrap();
    };
    let seen_when_sent = "terminal_seen_at = send_by, terminal_seen_boot = send_by_boot, \
                          terminal_seen_since_boot = send_by_since_boot";
    tell(&format!("since = NULL, {seen_when_sent}, left_open"), LeftOpen::ALL[0].as_str());
    for how in LeftOpen::ALL {
        tell("left_open", how.as_str());
    }
    tell("left_open", LeftOpen::NoAnswer.as_str());
    for since in Since::ALL {
        tell("since", since.as_str());
    }
    insta::assert_snapshot!("show.labels", told);
}

#[test]
fn what_is_planned_says_why_it_was_not_sent() {
    let example = Example::new();
    let told = |sql: &str| {
        let planned =
            "UPDATE captures SET state = 'planned', waits_turn = 0 WHERE state = 'in_doubt' OR state = 'planned'";
        let explained = explained(&example, &format!("{planned}; {sql}"));
        let words = |field: &str| explained[field].as_str().unwrap().to_owned();
        format!("{}: {}; {}", words("label"), words("why"), words("next"))
    };
    let change = |columns: &str| format!("UPDATE captures SET {columns} WHERE state = 'planned'");
    for (sql, words) in [
        (
            change("since = 'not_executed', last_seen = 'connection refused', attempts = 3"),
            "not_executed: its last attempt, of 3, was certainly not executed: connection refused; it was to be sent \
             again at 2026-11-20 09:08:01 (21m ago): is a worker running?",
        ),
        (
            change("since = 'parked', last_seen = '401: check the credentials'"),
            "parked: it rests, because the account's settings do not work, and has not failed: 401: check the \
             credentials; it was to be sent again at 2026-11-20 09:08:01 (21m ago): is a worker running?",
        ),
        (
            change("capped = 'hour', last_seen = 'none of it is left'"),
            "held_by_cap_per_hour: a cap of its account holds it, and it has not failed: none of it is left; it was to be \
             looked at again at 2026-11-20 09:08:01 (21m ago): is a worker running?",
        ),
        (
            change("capped = 'capture'"),
            "held_by_cap_per_capture: a cap of its account holds it, and it has not failed: none of it is left; it was \
             to be looked at again at 2026-11-20 09:08:01 (21m ago): is a worker running?",
        ),
        (
            change("capped = NULL, attempts = 0, since = NULL, due_at = NULL"),
            "ready: it has not been sent yet; it is sent as soon as there is a permit for its account",
        ),
        (
            change("waits_turn = 1"),
            "waits_turn: another capture of its authorization is being sent or in doubt, and they go one at a time; it \
             is sent when its turn comes",
        ),
    ] {
        assert_eq!(told(&sql), words);
    }
}

#[test]
fn an_account_that_rests_is_why_nothing_happens() {
    let example = Example::new();
    let stand = |state: &str| {
        let since = example::at("09:10:00").timestamp_micros();
        format!(
            "INSERT OR REPLACE INTO accounts (account, state, why, since) VALUES ('flex', '{state}', 'a reason', {since})"
        )
    };
    for (state, words) in [
        ("active", None),
        (
            "paused",
            Some(
                "its account flex is paused since 2026-11-20 09:10:00 (20m ago) (a reason): nothing is asked or sent until `holdfast accounts resume flex`",
            ),
        ),
        (
            "suspended",
            Some(
                "its account flex is suspended since 2026-11-20 09:10:00 (20m ago) (a reason): nothing is asked or sent until its settings work, which is tried by itself",
            ),
        ),
        (
            "breaker_open",
            Some(
                "the provider of its account flex does not work since 2026-11-20 09:10:00 (20m ago) (a reason): nothing is asked or sent until it does, which is tried by itself",
            ),
        ),
    ] {
        let explained = explained(&example, &stand(state));
        assert_eq!(explained["held_up_by"].as_str(), words);
        let waits = explained["next"].as_str().unwrap().contains("when that is over, not before 2026-11-20 09:08:01");
        assert_eq!(waits, words.is_some(), "{explained}");
    }
    let unknown = |context: &mut Context| {
        let line = Line::try_parse_from(["captures", "show", "ord-1001/s2"]).unwrap();
        super::run(line.command, example::at("09:30:00"), context)
    };
    let (_, written) = testing::run(&example.source, Format::Table, unknown);
    let written = String::from_utf8(written).unwrap();
    assert!(
        written.contains("its account flex is not in the settings: nothing is asked or sent until it is"),
        "{written}"
    );
}

/// One of three units at 10.00, with its part of the delivery, 1.00.
fn one_of_three() -> serde_json::Value {
    let mut notice = example::planned(&[("l1", 1)]);
    notice["plan"]["shipping_policy"] = serde_json::json!("prorate");
    (notice["order_id"], notice["shipment_id"]) = (serde_json::json!("ord-1"), serde_json::json!("s1"));
    notice
}

#[test]
fn what_is_owed_beyond_the_shipments_is_told_with_its_events_and_its_working() {
    let example = Example::empty();
    example.ship_and_capture("09:00:00", "09:00:01", &one_of_three());
    example.cancel("09:05:00", "ord-1");
    example.capture_what_is_open("09:05:01", "09:05:02");
    example.publish_all("09:05:03");
    insta::assert_snapshot!("show.fee", written(&example, Format::Table, &["show", "ord-1"]));
    let json = written(&example, Format::Json, &["show", "ord-1"]);
    insta::assert_snapshot!("show.fee.json", json);

    let order: serde_json::Value = serde_json::from_str(&json).unwrap();
    let capture = order["fees"][0]["capture_id"].as_str().unwrap();
    let told: serde_json::Value = serde_json::from_str(&written(&example, Format::Json, &["show", capture])).unwrap();
    assert_eq!((&told["fees"], told["shipments"].as_array().unwrap().len()), (&order["fees"], 0));
    let told: serde_json::Value =
        serde_json::from_str(&written(&example, Format::Json, &["show", "ord-1/s1"])).unwrap();
    assert_eq!((&told["fees"], &told["shipments"]), (&serde_json::json!([]), &order["shipments"]));
}

#[test]
fn what_is_owed_and_does_not_fit_is_told_too() {
    let example = Example::empty();
    let mut notice = one_of_three();
    notice["authorization"]["amount"] = serde_json::json!("12.00");
    example.ship_and_capture("09:00:00", "09:00:01", &notice);
    example.cancel("09:05:00", "ord-1");
    example.publish_all("09:05:03");
    insta::assert_snapshot!("show.fee.refused", written(&example, Format::Table, &["show", "ord-1"]));
}

#[test]
fn where_amounts_are_multiples_the_rounding_is_a_step_of_the_working() {
    let example = Example::with_quantum("5.00");
    example.ship_and_capture("09:00:00", "09:00:01", &one_of_three());
    example.publish_all("09:00:03");
    let settings = "[accounts.flex]\nprotocol = \"flex_pay\"\nbase_url = \"http://127.0.0.1:1/api\"\n\
                    token_url = \"http://127.0.0.1:1/token\"\nclient_id = \"test\"\n\
                    client_secret = { env = \"PATH\" }\nquantum = \"5.00\"\n";
    let line = Line::try_parse_from(["captures", "show", "ord-1"]).unwrap();
    let now = example::at("09:30:00");
    let show = |context: &mut Context| super::run(line.command, now, context);
    let (ended, written) = testing::run_with(settings, &example.source, Format::Table, show);
    assert_eq!(ended, Ok(Exit::Done));
    insta::assert_snapshot!("show.quantum", String::from_utf8(written).unwrap());
}

#[test]
fn an_order_is_told_to_programs() {
    let example = Example::new();
    insta::assert_snapshot!("show.1001.json", written(&example, Format::Json, &["show", "ord-1001"]));
    insta::assert_snapshot!("show.1006.json", written(&example, Format::Json, &["show", "ord-1006"]));
}

#[test]
fn a_shipment_and_a_capture_are_told_alone() {
    let example = Example::new();
    let shipment: serde_json::Value =
        serde_json::from_str(&written(&example, Format::Json, &["show", "ord-1001/s2"])).unwrap();
    assert_eq!(shipment["shipments"].as_array().unwrap().len(), 1);
    assert_eq!(shipment["shipments"][0]["shipment_id"], "s2");
    let capture = shipment["captures"][0]["capture_id"].as_str().unwrap();
    for id in [capture, &capture[..8], &capture[..12], &capture.to_uppercase()] {
        let story: serde_json::Value = serde_json::from_str(&written(&example, Format::Json, &["show", id])).unwrap();
        assert_eq!(story, shipment, "{id}");
    }

    let batch: serde_json::Value =
        serde_json::from_str(&written(&example, Format::Json, &["show", "ord-1008/s1"])).unwrap();
    assert_eq!(batch["shipments"].as_array().unwrap().len(), 1);
    assert_eq!(batch["captures"][0]["shipment_ids"], serde_json::json!(["s1", "s2"]));
    let batch = batch["captures"][0]["capture_id"].as_str().unwrap();
    let story: serde_json::Value = serde_json::from_str(&written(&example, Format::Json, &["show", batch])).unwrap();
    assert_eq!(story["shipments"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_not_there_says_what_to_try() {
    let example = Example::new();
    for id in ["ord-9999", "ord-1001/s9", "ord-9999/s1", "0000ffff", "/", "a b", ""] {
        let (exit, words) = refused(&example, &["show", id]);
        assert_eq!(exit, Exit::Wrong, "{id}");
        assert!(words.contains("ORDER/SHIPMENT") && words.contains("dead-letters list"), "{words}");
    }
}

#[test]
fn a_ledger_that_is_not_there_is_exit_code_4() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.db");
    for arguments in [&["list"][..], &["show", "ord-1"]] {
        let (exit, words) = run(&path, Format::Table, arguments).0.unwrap_err();
        assert_eq!(exit, Exit::Ledger);
        assert!(words.contains("there is no ledger at") && words.contains("ledger.url"), "{words}");
    }
}

#[test]
fn it_reads_after_the_worker_has_ended_too() {
    let example = Example::new();
    let during = written(&example, Format::Table, &["list"]);
    let (source, _directory) = example.end_worker();
    let (ended, after) = run(&source, Format::Table, &["list"]);
    assert_eq!(ended, Ok(Exit::Done));
    assert_eq!(String::from_utf8(after).unwrap(), during);
}

#[test]
fn only_doubt_can_be_closed_by_hand_and_only_by_a_worker() {
    let (source, _directory) = Example::new().end_worker();
    let close = |id: &str, how: &[&str]| {
        let arguments: Vec<&str> = ["close", id, "--reason", "ticket", "--yes"].iter().chain(how).copied().collect();
        run(&source, Format::Table, &arguments).0.unwrap_err()
    };
    for how in [&["--unresolved"][..], &["--captured", "pay-9"]] {
        let (exit, said) = close("ord-1001/s2", how);
        assert_eq!(exit, Exit::Unreachable, "{said}");
        assert!(said.contains("no worker runs on this ledger, so nothing was changed"), "{said}");
        for (id, words) in [
            ("ord-1001/s1", "`ord-1001/s1` has no capture in doubt: it is captured, and that stands"),
            ("ord-1006", "no capture in doubt"),
            ("nobody", "the ledger has no order, shipment or capture `nobody`"),
        ] {
            let (exit, said) = close(id, how);
            assert_eq!(exit, Exit::Wrong, "{id}: {said}");
            assert!(said.contains(words), "{id}: {said}");
        }
    }
    let (exit, said) = run(&source, Format::Table, &["look", "ord-1001/s2"]).0.unwrap_err();
    assert_eq!(exit, Exit::Unreachable, "{said}");
}

#[test]
fn closing_by_hand_says_as_what_and_why() {
    for (arguments, words) in [
        (&["close", "x", "--reason", "r"][..], "--unresolved"),
        (&["close", "x", "--unresolved"], "--reason"),
        (&["close", "x", "--reason", "r", "--unresolved", "--captured", "p"], "cannot be used with"),
        (&["close", "x", "--reason", "r", "--captured", " "], "1 to 64 characters"),
    ] {
        let line = std::iter::once("captures").chain(arguments.iter().copied());
        let error = Line::try_parse_from(line).unwrap_err().to_string();
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn what_waits_for_the_end_of_a_halt_says_so() {
    let (source, _directory) = Example::new().end_worker();
    let sql = "UPDATE authorizations SET foreign_standing = 'halted', foreign_amount = 1200, foreign_since = ?1
               WHERE order_row = (SELECT order_row FROM orders WHERE order_id = 'ord-1013')";
    assert_eq!(change(&source, sql, &[&example::at("09:20:00").timestamp_micros()]), 1);
    let (ended, written) = run(&source, Format::Table, &["show", "ord-1013"]);
    assert_eq!(ended, Ok(Exit::Done));
    let text = String::from_utf8(written).unwrap();
    assert!(text.contains("12.00 EUR was captured by somebody else on its authorization"), "{text}");
    let (_, written) = run(&source, Format::Json, &["show", "ord-1013"]);
    let story: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(story["authorizations"][0]["foreign"]["captured"], "12.00", "{story}");
}

#[test]
fn a_shipment_that_was_replayed_tells_of_both_times() {
    let example = Example::new();
    example.replayed();
    insta::assert_snapshot!("show.replayed", written(&example, Format::Table, &["show", "ord-1003"]));
}
