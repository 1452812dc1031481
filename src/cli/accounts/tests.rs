use crate::cli::{Exit, Format, testing};
use crate::clock;
use crate::ledger::Source;
use crate::ledger::desk::{AccountStatus, Answer, Desk, Request, What};
use crate::ledger::report::example::Example;

use super::*;

fn run_over(source: impl Into<Source>, format: Format, command: Command) -> testing::Ended {
    testing::run(source, format, |context| run(command, clock::now(), context))
}

fn change(account: &str) -> ChangeArgs {
    ChangeArgs { account: AccountName::parse(account).unwrap(), reason: "a test".to_owned() }
}

#[test]
fn without_a_worker_nothing_is_changed_and_it_says_so() {
    let (source, _directory) = Example::new().end_worker();
    let (ended, written) = run_over(&source, Format::Table, Command::Pause(change("flitt-ge")));
    let (exit, said) = ended.unwrap_err();
    assert_eq!((exit, written.as_slice()), (Exit::Unreachable, b"".as_slice()));
    assert!(said.contains("no worker runs on this ledger, so nothing was changed"), "{said}");
    assert!(Desk::open(&source).unwrap().open_requests().unwrap().is_empty());
}

#[test]
fn the_list_has_what_is_open_and_where_accounts_stand() {
    let (source, _directory) = Example::new().end_worker();
    let desk = Desk::open(&source).unwrap();
    let account = AccountName::parse("flex").unwrap();
    let row = desk
        .put(&Request {
            by: "olga".to_owned(),
            reason: "maintenance".to_owned(),
            what: What::PauseAccount { account: account.to_string() },
        })
        .unwrap();
    let status = AccountStatus {
        account,
        state: "paused".to_owned(),
        why: Some("maintenance (olga)".to_owned()),
        since: clock::now(),
        last_success: None,
        clock_skew: Some(TimeDelta::milliseconds(-61_250)),
    };
    desk.set_pause(row, &status, &Answer { done: true, message: "paused".to_owned() }).unwrap();
    let (ended, written) = run_over(&source, Format::Json, Command::List);
    assert_eq!(ended.unwrap(), Exit::Done);
    let listing: serde_json::Value = serde_json::from_slice(&written).unwrap();
    let accounts = listing["accounts"].as_array().unwrap();
    assert!(!accounts.is_empty(), "{listing}");
    for account in accounts {
        // The settings of this test have no account at all.
        assert_eq!(account["state"], "not_configured", "{account}");
        let open = ["waiting", "in_flight", "in_doubt"].map(|name| account[name].as_u64().unwrap());
        assert!(open.iter().sum::<u64>() > 0, "{account}");
    }
    let skews: Vec<_> = accounts.iter().map(|account| &account["clock_skew_seconds"]).collect();
    assert!(skews.contains(&&serde_json::json!(-61.25)), "{skews:?}");
    let (_, written) = run_over(&source, Format::Table, Command::List);
    let text = String::from_utf8(written).unwrap();
    assert!(text.contains("no worker runs on this ledger: this is how the last one left it"), "{text}");
}
