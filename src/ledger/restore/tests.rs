use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::capture::decide::{Call, Command, Evidence, Expire, Note, Settle};
use crate::capture::evidence::{AuthorizationView, DoubtKind, ProviderBalance, Reading};
use crate::capture::tests::support::*;
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{Ledger, testing};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ledger.db");
    (directory, path)
}

fn open(path: &Path, clock: &ManualClock) -> SqliteLedger {
    SqliteLedger::open(path, environment(policy(), clock)).expect("a ledger")
}

/// A clock as the real one, which the tables are marked by.
fn real_clock() -> ManualClock {
    let clock = ManualClock::new();
    let now = clock::now();
    if clock.now().wall < now {
        clock.advance_to(now);
    } else {
        clock.set_back((clock.now().wall - now).to_std().expect("later"));
    }
    clock
}

fn worth(order: &str, amount: &str) -> Command {
    draft(order, "s1").amount(amount).on(authorized(OFTEN, order, 10_000)).command()
}

async fn tell(ledger: &SqliteLedger, command: Command) -> crate::capture::decide::Reply {
    let mut executed = ledger.execute(vec![command]).await.expect("written");
    executed.replies.pop().expect("one reply").expect("decided")
}

async fn capture(ledger: &SqliteLedger, order: &str, amount: &str) -> crate::ids::CaptureId {
    let ticket = tell(ledger, worth(order, amount)).await.ticket.expect("sent");
    let Call::Send { capture, id, amount, epoch, .. } = ticket.call else { panic!("{ticket:?}") };
    let evidence = Evidence::Answer(captured(Some(amount)));
    tell(ledger, Command::Settle(Box::new(Settle { capture, epoch, evidence, start: true }))).await;
    id
}

fn unread(path: &Path) -> Vec<String> {
    let file = Connection::open(path).expect("a database");
    let mut statement =
        file.prepare("SELECT reference FROM authorizations WHERE restored = 'unread' ORDER BY reference").expect("SQL");
    let rows = statement.query_map([], |row| row.get(0)).expect("read");
    rows.collect::<rusqlite::Result<_>>().expect("read")
}

fn has_index(path: &Path) -> bool {
    let file = Connection::open(path).expect("a database");
    let sql = "SELECT count(*) = 1 FROM sqlite_schema WHERE name = 'captures_restored'";
    file.query_row(sql, [], |row| row.get(0)).expect("read")
}

#[tokio::test]
async fn what_is_open_is_read_and_the_end_is_remembered() {
    let (_directory, path) = place();
    let clock = real_clock();
    assert!(matches!(begin(&(&path).into()), Err(LedgerError::Open { .. })), "there is nothing to be restored");
    let ledger = open(&path, &clock);
    let known = capture(&ledger, "part", "10.00").await;
    capture(&ledger, "whole", "100.00").await;
    tell(&ledger, worth("sent", "20.00")).await;
    assert!(matches!(begin(&(&path).into()), Err(LedgerError::Held { .. })), "a worker runs");
    drop(ledger);
    assert!(Restoring::open(&(&path).into()).expect("opened").is_none());

    assert_eq!(begin(&(&path).into()).expect("marked"), 2);
    assert_eq!(unread(&path), ["part", "sent"], "of the whole one nothing is left");
    let restoring = Restoring::open(&(&path).into()).expect("opened").expect("under way");
    let left = |restoring: &Restoring| restoring.left().expect("counted").iter().map(|(_, count)| count).sum::<u64>();
    assert_eq!(left(&restoring), 2);
    let ledger = open(&path, &clock);
    clock.advance(MINUTE);
    let due = restoring.due(clock.now().wall, HOUR, 10).expect("asked");
    assert_eq!(due.len(), 2);
    // One is read: a capture of ours that is known, and one that is not. Of the other nothing can be read.
    let unknown = crate::ids::CaptureId::from_uuid(uuid::Uuid::from_u128(7));
    let balance =
        ProviderBalance { captured: Some(gel(4_000)), remaining: Some(gel(6_000)), ..ProviderBalance::default() };
    let captures = vec![shown(Some(known), gel(1_000)), shown(Some(unknown), gel(3_000))];
    for ready in due {
        let ticket = tell(&ledger, Command::Due(ready.due)).await.ticket.expect("it is read");
        let Call::ReadExpiry { authorization, epoch } = ticket.call else { panic!("{ticket:?}") };
        let is_part = ticket.reference.as_str() == "part";
        let readable = seen(AuthorizationView { balance, captures: captures.clone(), ..view(10_000) });
        let reading = if is_part { readable } else { Reading::Unclear(doubt(DoubtKind::Timeout)) };
        let note = tell(&ledger, Command::Expire(Box::new(Expire { authorization, epoch, reading }))).await.note;
        assert_eq!(is_part, note == Note::Restored { adopted: 0, found: 1 }, "{note:?}");
    }
    assert_eq!((left(&restoring), unread(&path)), (1, vec!["sent".to_owned()]));
    drop(ledger);
    // What was found outlives the worker; and nobody has to say again that it was restored.
    let restoring = Restoring::open(&(&path).into()).expect("opened").expect("still under way");
    let summary = restoring.end().expect("written");
    assert_eq!(summary, Summary { read: 1, unread: 1, adopted: 0, found: 1 });
    assert!(Restoring::open(&(&path).into()).expect("opened").is_none());
    drop(open(&path, &clock));
    assert!(has_index(&path), "one is still to be read");
    let file = Connection::open(&path).expect("a database");
    file.execute("UPDATE authorizations SET restored = NULL WHERE restored = 'unread'", []).expect("changed");
    assert!(Restoring::open(&(&path).into()).expect("opened").is_none());
    assert!(!has_index(&path));
}

#[tokio::test]
async fn an_authorization_that_answers_nothing_of_use_is_not_waited_for() {
    let (_directory, path) = place();
    let clock = real_clock();
    drop(open(&path, &clock));
    drop(tell(&open(&path, &clock), worth("odd", "10.00")).await);
    begin(&(&path).into()).expect("marked");
    let restoring = Restoring::open(&(&path).into()).expect("opened").expect("under way");
    let ledger = open(&path, &clock);
    for left in [1, 1, 0] {
        clock.advance(HOUR);
        let [ready] = &restoring.due(clock.now().wall, 24 * HOUR, 10).expect("asked")[..] else { panic!("one is due") };
        let ticket = tell(&ledger, Command::Due(ready.due)).await.ticket.expect("it is read");
        let Call::ReadExpiry { authorization, epoch } = ticket.call else { panic!("{ticket:?}") };
        let reading = Reading::Unclear(doubt(DoubtKind::Coded));
        tell(&ledger, Command::Expire(Box::new(Expire { authorization, epoch, reading }))).await;
        let counted: u64 = restoring.left().expect("counted").iter().map(|(_, count)| count).sum();
        assert_eq!(counted, left);
    }
    assert_eq!(unread(&path), ["odd"], "nothing is sent on it");
}

#[test]
fn what_has_to_be_read_is_found_by_an_index() {
    let (_directory, path) = place();
    drop(open(&path, &ManualClock::new()));
    let connection = Connection::open(&path).expect("a database");
    for sql in UNREAD {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is SQL");
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().expect("explained") {
            let step: String = row.get("detail").expect("a text");
            let is_bounded = !step.starts_with("SCAN") || ["SCAN due", "SCAN beyond"].contains(&&*step);
            assert!(is_bounded && !step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
}

#[test]
fn in_postgres_the_same_has_to_be_read() {
    let (file, _directory) = crate::ledger::report::example::Example::new().end_worker();
    let copy = file.path().expect("a file").with_file_name("copy.db");
    crate::ledger::report::Report::open(&file).expect("a ledger").copy_to(&copy).expect("copied");
    let database = testing::moved(&copy);
    let worker = testing::enter_worker(&database, "w1");
    assert!(matches!(begin(&database), Err(LedgerError::Held { .. })), "a worker runs");
    testing::end_lease(&database, worker);
    let [file, database] = [file, database].map(|source| {
        let marked = begin(&source).expect("marked");
        let restoring = Restoring::open(&source).expect("opened").expect("under way");
        let later = clock::after(clock::now(), MINUTE);
        let due: Vec<String> =
            restoring.due(later, HOUR, 100).expect("asked").iter().map(|ready| format!("{ready:?}")).collect();
        let read = "UPDATE authorizations SET restored = '{\"adopted\":2,\"found\":[[\"x\",1,null]]}'
                    WHERE authorization_row = (SELECT min(authorization_row) FROM authorizations WHERE restored = 'unread')";
        assert_eq!(testing::change(&source, read, &[]), 1);
        let mut left = restoring.left().expect("counted");
        left.sort();
        let summary = restoring.end().expect("written");
        assert!(Restoring::open(&source).expect("opened").is_none());
        (marked, due, left, summary)
    });
    assert_eq!((file.3.read, file.3.adopted, file.3.found), (1, 2, 1), "{file:?}");
    assert!(file.0 > 1 && u64::try_from(file.1.len()) == Ok(file.0), "{file:?}");
    assert_eq!(database, file);
}
