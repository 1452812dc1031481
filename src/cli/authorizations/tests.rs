use clap::Parser;

use super::super::testing;
use super::*;
use crate::ledger::Source;
use crate::ledger::report::example::{self, Example};
use crate::ledger::testing::{change, value};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn run_at(now: &str, example: &Example, format: Format, arguments: &[&str]) -> String {
    let line = std::iter::once("authorizations").chain(arguments.iter().copied());
    let line: Vec<&str> = line.collect();
    let (ended, written) = testing::alike(example, |source| {
        let line = Line::try_parse_from(&line).unwrap();
        testing::run(source, format, |context| run(line.command, example::at(now), context))
    });
    assert_eq!(ended, Ok(Exit::Done), "{arguments:?}");
    String::from_utf8(written).unwrap()
}

#[test]
fn the_list_says_where_money_is_about_to_be_lost() {
    let example = Example::new();
    insta::assert_snapshot!("list", run_at("09:30:00", &example, Format::Table, &["list"]));
    let json = run_at("09:30:00", &example, Format::Json, &["list", "--account", "flitt-ge"]);
    insta::assert_snapshot!("list.json", json);
}

#[test]
fn filters_narrow_the_list_and_the_totals() {
    let example = Example::new();
    let earned = |listing: &serde_json::Value| {
        let amounts = listing["authorizations"].as_array().unwrap().iter();
        amounts.filter(|entry| entry["earned_uncaptured"] != "0.00").count()
    };
    let all: serde_json::Value = serde_json::from_str(&run_at("09:30:00", &example, Format::Json, &["list"])).unwrap();
    let count = |listing: &serde_json::Value| listing["authorizations"].as_array().unwrap().len();
    for (now, arguments, expected) in [
        ("09:30:00", &["--expiring-within", "48h"][..], count(&all)),
        ("09:30:00", &["--expiring-within", "11h"], 1),
        ("09:30:00", &["--expiring-within", "1h"], 0),
        ("20:00:01", &["--expiring-within", "1s"], 1),
        ("09:30:00", &["--account", "flitt-ge"], 1),
        ("09:30:00", &["--earned"], earned(&all)),
        ("09:30:00", &["--limit", "1"], 1),
    ] {
        let arguments: Vec<_> = std::iter::once("list").chain(arguments.iter().copied()).collect();
        let listing: serde_json::Value =
            serde_json::from_str(&run_at(now, &example, Format::Json, &arguments)).unwrap();
        assert_eq!(count(&listing), expected, "{arguments:?}");
        let in_total: u64 =
            listing["totals"].as_array().unwrap().iter().map(|t| t["authorizations"].as_u64().unwrap()).sum();
        let is_limited = arguments.contains(&"--limit");
        assert_eq!(in_total == u64::try_from(expected).unwrap(), !is_limited, "the totals are of all: {listing}");
        assert_eq!(listing["has_more"], is_limited);
    }
    assert_eq!(
        run_at("09:30:00", &example, Format::Table, &["list", "--account", "none"]),
        "no authorization matches\n"
    );
}

#[test]
fn what_is_past_its_expiry_is_overdue() {
    let example = Example::new();
    let text = run_at("20:30:00", &example, Format::Table, &["list", "--expiring-within", "1s"]);
    assert!(text.contains("over") && text.contains("overdue, in doubt"), "{text}");
}

/// Somebody else has captured 12.00 on ord-1001's authorization, and it is halted.
fn halted() -> (Source, tempfile::TempDir, String) {
    let (source, directory) = Example::new().end_worker();
    let which = "order_row = (SELECT order_row FROM orders WHERE order_id = 'ord-1001')";
    let sql = format!(
        "UPDATE authorizations SET foreign_standing = 'halted', foreign_amount = 1200, foreign_since = ?1,
         provider_remaining = 2300, provider_voided = 0 WHERE {which}"
    );
    assert_eq!(change(&source, &sql, &[&example::at("09:20:00").timestamp_micros()]), 1);
    let sql = format!("SELECT reference FROM authorizations WHERE {which}");
    let reference = value(&source, &sql);
    (source, directory, reference)
}

fn run_on(source: impl Into<Source>, format: Format, arguments: &[&str]) -> testing::Ended {
    let line = std::iter::once("authorizations").chain(arguments.iter().copied());
    let line = Line::try_parse_from(line).unwrap();
    testing::run(source, format, |context| run(line.command, example::at("09:30:00"), context))
}

#[test]
fn what_somebody_else_has_captured_is_shown_beside_our_books() {
    let (source, _directory, reference) = halted();
    for (format, name) in [(Format::Table, "show"), (Format::Json, "show.json")] {
        let (ended, written) = run_on(&source, format, &["show", &reference]);
        assert_eq!(ended, Ok(Exit::Done));
        insta::assert_snapshot!(name, String::from_utf8(written).unwrap());
    }
    let (_, written) = run_on(&source, Format::Table, &["list", "--halted"]);
    let text = String::from_utf8(written).unwrap();
    assert!(text.contains("halted, ") && text.contains("12.00 EUR"), "{text}");
    assert_eq!(text.matches("txn-").count(), 1, "no other one: {text}");
    let (ended, _) = run_on(&source, Format::Table, &["show", "nobody-knows-it"]);
    assert!(ended.unwrap_err().1.contains("the ledger has no authorization `nobody-knows-it`"));
}

#[test]
fn only_a_halt_can_be_lifted_and_only_by_a_worker() {
    let (source, _directory, reference) = halted();
    let reason = ["--reason", "by hand", "--yes"];
    let resume = |reference: &str| {
        let arguments: Vec<&str> = ["resume", reference].into_iter().chain(reason).collect();
        run_on(&source, Format::Table, &arguments).0.unwrap_err()
    };
    let (exit, said) = resume(&reference);
    assert_eq!(exit, Exit::Unreachable);
    assert!(said.contains("no worker runs on this ledger, so nothing was changed"), "{said}");
    change(&source, "UPDATE authorizations SET foreign_standing = 'seen'", &[]);
    let (exit, said) = resume(&reference);
    assert_eq!(exit, Exit::Wrong);
    assert!(said.contains("is not halted: there is nothing to resume"), "{said}");
    assert!(Line::try_parse_from(["authorizations", "resume", "r"]).unwrap_err().to_string().contains("--reason"));
}
