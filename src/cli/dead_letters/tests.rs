use clap::Parser;
use serde_json::Value;

use super::super::testing;
use super::*;
use crate::ledger::Source;
use crate::ledger::report::example::{self, Example};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn run(source: impl Into<Source>, format: Format, arguments: &[&str]) -> testing::Ended {
    let line = Line::try_parse_from(std::iter::once("dead-letters").chain(arguments.iter().copied())).unwrap();
    testing::run(source, format, |context| super::run(line.command, example::at("09:30:00"), context))
}

fn written(example: &Example, format: Format, arguments: &[&str]) -> String {
    let (ended, written) = testing::alike(example, |source| run(source, format, arguments));
    assert_eq!(ended, Ok(Exit::Done), "{arguments:?}");
    String::from_utf8(written).unwrap()
}

fn json(example: &Example, arguments: &[&str]) -> Value {
    serde_json::from_str(&written(example, Format::Json, arguments)).unwrap()
}

fn id_of(example: &Example, reason: &str) -> String {
    let listing = json(example, &["list", "--state", "all", "--reason", reason]);
    listing["dead_letters"][0]["dead_letter_id"].as_str().unwrap().to_owned()
}

#[test]
fn the_list_says_what_was_set_aside_and_why() {
    let example = Example::new();
    insta::assert_snapshot!("list", written(&example, Format::Table, &["list"]));
    insta::assert_snapshot!("list.json", written(&example, Format::Json, &["list", "--reason", "conflict"]));
}

#[test]
fn filters_narrow_the_list() {
    let example = Example::new();
    let all = json(&example, &["list", "--state", "all"])["dead_letters"].as_array().unwrap().len();
    let declined = json(&example, &["list", "--reason", "declined"]);
    let fingerprint = declined["dead_letters"][0]["fingerprint"].as_str().unwrap();
    for (arguments, count) in [
        (&["--state", "all"][..], all),
        (&[], all - 1),
        (&["--state", "discarded"], 1),
        (&["--for", "declined"], 2),
        (&["--reason", "declined"], 2),
        (&["--fingerprint", fingerprint], 2),
        (&["--order", "ord-1001"], 1),
        (&["--account", "flex"], 3),
        (&["--since", "7m"], 2),
        (&["--until", "7m"], all - 3),
        (&["--limit", "1"], 1),
    ] {
        let arguments: Vec<_> = std::iter::once("list").chain(arguments.iter().copied()).collect();
        let listing = json(&example, &arguments);
        assert_eq!(listing["dead_letters"].as_array().unwrap().len(), count, "{arguments:?}");
        assert_eq!(listing["has_more"], arguments.contains(&"--limit"), "{arguments:?}");
    }
    assert_eq!(written(&example, Format::Table, &["list", "--order", "none"]), "no dead letter matches\n");
}

#[test]
fn a_dead_letter_is_shown_with_its_message() {
    let example = Example::new();
    for reason in ["undecodable", "conflict", "declined", "delivery_limit"] {
        let id = id_of(&example, reason);
        insta::assert_snapshot!(format!("show.{reason}"), written(&example, Format::Table, &["show", &id[..8]]));
    }
    let id = id_of(&example, "declined");
    insta::assert_snapshot!("show.json", written(&example, Format::Json, &["show", &id]));
}

#[test]
fn raw_is_the_message_byte_for_byte() {
    let example = Example::new();
    let listing = json(&example, &["list", "--reason", "undecodable"]);
    let ids: Vec<_> = listing["dead_letters"].as_array().unwrap().iter().map(|it| &it["dead_letter_id"]).collect();
    let bodies = [
        b"order\x1b[31m ord-1012 has shipped".as_slice(),
        br#"{"order_id":"ord-1010","order_id":"ord-1011","amount":1.10}"#,
    ];
    for (id, body) in ids.into_iter().zip(bodies) {
        let (ended, written) = run(&example.source, Format::Table, &["show", id.as_str().unwrap(), "--raw"]);
        assert_eq!((ended, &*written), (Ok(Exit::Done), body));
    }
}

#[test]
fn a_body_that_is_cut_or_not_text_is_said_so() {
    let example = Example::empty();
    let large = vec![b'x'; 100_000];
    example.message("09:00:00", &large);
    example.message("09:01:00", b"\xff\xfe");
    let listing = json(&example, &["list"]);
    let id = |index: usize| listing["dead_letters"][index]["dead_letter_id"].as_str().unwrap();

    let binary = json(&example, &["show", id(0)]);
    assert_eq!((&binary["body"], &binary["body_base64"]), (&Value::Null, &Value::from("//4=")));
    assert_eq!(binary["body_is_cut"], false);
    let shown = written(&example, Format::Table, &["show", id(0)]);
    assert!(shown.contains("2 bytes that are not UTF-8"), "{shown}");

    let cut = json(&example, &["show", id(1)]);
    assert_eq!((&cut["body_is_cut"], cut["body"].as_str().unwrap().len()), (&Value::from(true), 65_536));
    assert_eq!(cut["body_sha256"], text::hex(&crate::capture::dead_letter::sha256(&large)));
    let shown = written(&example, Format::Table, &["show", id(1)]);
    assert!(shown.contains("only the first 65536 bytes of the body are kept"), "{shown}");
}

#[test]
fn what_is_not_there_says_what_to_try() {
    let example = Example::new();
    for id in ["ffffffff", "ord-1001", "abc", ""] {
        let (exit, words) = run(&example.source, Format::Table, &["show", id]).0.unwrap_err();
        assert_eq!(exit, Exit::Wrong, "{id}");
        assert!(words.contains("`holdfast dead-letters list --state all`"), "{words}");
    }
    let directory = tempfile::tempdir().unwrap();
    let (exit, words) = run(&directory.path().join("none.db"), Format::Table, &["list"]).0.unwrap_err();
    assert_eq!(exit, Exit::Ledger);
    assert!(words.contains("there is no ledger at"), "{words}");
}

#[test]
fn groups_tell_how_many_and_what_they_come_to() {
    let example = Example::new();
    insta::assert_snapshot!("groups", written(&example, Format::Table, &["groups"]));
    let groups = json(&example, &["groups", "--for", "declined"]);
    let [group] = &groups["groups"].as_array().unwrap()[..] else { panic!("{groups}") };
    assert_eq!((&group["dead_letters"], &group["amounts"][0]["amount"]), (&2.into(), &"15.80".into()));
}

fn account(name: &str, protocol: &str) -> String {
    let rest = if protocol == "flex_pay" {
        "token_url = \"http://127.0.0.1:1/t\"\nclient_id = \"c\"\nclient_secret = { env = \"PATH\" }"
    } else {
        "merchant_id = 1\nsecret = { env = \"PATH\" }"
    };
    format!("[accounts.{name}]\nprotocol = \"{protocol}\"\nbase_url = \"http://127.0.0.1:1\"\n{rest}\n")
}

#[test]
fn a_dry_run_tells_what_would_be_replayed_and_what_not_and_why() {
    let example = Example::new();
    let settings = account("flex", "flex_pay") + &account("flitt-ge", "flitt");
    let dry = |format, arguments: &[&str]| {
        let line = ["dead-letters", "replay", "--dry-run"].into_iter().chain(arguments.iter().copied());
        let line = Line::try_parse_from(line).unwrap();
        let run = |context: &mut Context| super::run(line.command, example::at("09:30:00"), context);
        let (ended, written) = testing::run_with(&settings, &example.source, format, run);
        assert_eq!(ended, Ok(Exit::Done), "{}", String::from_utf8_lossy(&written));
        String::from_utf8(written).unwrap()
    };
    insta::assert_snapshot!("dry-run", dry(Format::Table, &["--all"]));
    let dry: Value = serde_json::from_str(&dry(Format::Json, &["--for", "declined"])).unwrap();
    assert_eq!((&dry["dead_letters"], &dry["would_replay"]), (&2.into(), &1.into()), "{dry}");
    assert_eq!(dry["amounts"][0]["amount"], "12.50");
    assert_eq!(dry["would_not"][0]["why_not"], "captured", "a failure that was corrected later");
    let listed = json(&example, &["list", "--state", "all"]);
    assert!(listed["dead_letters"].as_array().unwrap().iter().all(|letter| letter["state"] != "replaying"));
}

#[test]
fn who_asks_for_too_little_or_too_much_is_told() {
    let example = Example::new();
    for (arguments, exit, words) in [
        (&["replay", "--reason", "x"][..], Exit::Usage, "say which dead letters"),
        (&["replay", "--order", "ord-1001"], Exit::Usage, "say why with --reason"),
        (&["replay", "--order", "none", "--dry-run"], Exit::Wrong, "no open dead letter matches"),
        (&["replay", "--for", "invalid", "--order", "ord-1001", "--dry-run"], Exit::Wrong, "has a capture in doubt"),
        (&["replay", "--watch", "7"], Exit::Wrong, "there is no replay 7"),
        (&["discard", "--order", "none", "--reason", "x"], Exit::Wrong, "no dead letter that is open matches"),
        (&["restore", "--all", "--reason", "x"], Exit::Usage, "nobody to be asked"),
    ] {
        let (ended, said) = run(&example.source, Format::Table, arguments).0.unwrap_err();
        assert_eq!(ended, exit, "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let discarded = id_of(&example, "delivery_limit");
    let (_, said) = run(&example.source, Format::Table, &["replay", &discarded, "--dry-run"]).0.unwrap_err();
    assert!(said.contains("is discarded, not open: `holdfast dead-letters restore`"), "{said}");
    assert_eq!(written(&example, Format::Table, &["replays"]), "nothing was ever replayed\n");
}
