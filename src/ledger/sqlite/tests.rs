//! What only the file can show: its constraints, its lock, its version, and what happens when it fails.

use std::path::PathBuf;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;
use tempfile::TempDir;

use super::*;
use crate::capture::decide::{Command, Evidence, Settle};
use crate::capture::tests::support::*;
use crate::ledger::fold;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ledger.db");
    (directory, path)
}

fn open(path: &Path) -> Result<SqliteLedger, LedgerError> {
    SqliteLedger::open(path, environment(policy(), &ManualClock::new()))
}

fn accept(order: &str, amount: &str) -> Command {
    draft(order, "s1").amount(amount).on(authorized(OFTEN, order, 10_000)).command()
}

/// A file with a capture that was captured, one that is being sent, and what belongs to them.
async fn with_books(path: &Path) {
    let ledger = open(path).expect("a new ledger");
    let mut executed = ledger.execute(vec![accept("done", "10.00"), accept("open", "20.00")]).await.expect("written");
    let ticket = executed.replies.remove(0).expect("decided").ticket.expect("sent");
    let Asked::Send { capture, epoch, .. } = asked(&ticket) else { panic!("{ticket:?}") };
    let evidence = Evidence::Answer(captured(Some(gel(1_000))));
    let settle = Settle { capture, epoch, evidence, start: true };
    ledger.execute(vec![Command::Settle(Box::new(settle))]).await.expect("written");
}

#[tokio::test]
async fn the_file_itself_refuses_what_must_never_be() {
    let (_directory, path) = place();
    with_books(&path).await;
    let file = Connection::open(&path).expect("it is a database");
    for (rule, sql, word) in [
        ("S3", "UPDATE authorizations SET captured = authorized + 1", "CHECK"),
        ("S3", "UPDATE authorizations SET reserved = authorized + 1", "CHECK"),
        ("S3", "UPDATE authorizations SET reserved = -1", "CHECK"),
        ("S5", "UPDATE captures SET amount = amount - 1", "an intent never changes"),
        ("S5", "UPDATE captures SET capture_id = x'00'", "an intent never changes"),
        ("S5", "UPDATE captures SET authorization_row = 0", "an intent never changes"),
        ("S5", "UPDATE captures SET generation = 1", "an intent never changes"),
        ("S5", "UPDATE captures SET shipment_row = NULL, fee = 1", "an intent never changes"),
        (
            "S12",
            "INSERT INTO captures SELECT 99, x'01', authorization_row, order_row, shipment_row, NULL, NULL, kind, \
          generation, 0, 'planned', 1, 0, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
          NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, account, 0, NULL, NULL \
          FROM captures LIMIT 1",
            "CHECK",
        ),
        (
            "S1",
            "INSERT INTO captures SELECT 99, capture_id, authorization_row, order_row, shipment_row, NULL, NULL, kind, \
          generation, 1, state, is_open, 0, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
          NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, account, 0, NULL, NULL \
          FROM captures WHERE is_open = 1",
            "UNIQUE",
        ),
        ("S6", "UPDATE captures SET state = 'failed' WHERE state = 'captured'", "the outcome of a capture stands"),
        ("S6", "UPDATE captures SET state = 'planned', is_open = 1 WHERE state = 'captured'", "stands"),
        ("C1", "UPDATE authorizations SET held = planned + 1", "CHECK"),
        ("S6", "UPDATE captures SET is_open = 0 WHERE state = 'sending'", "CHECK"),
        ("S6", "UPDATE captures SET state = 'lost' WHERE state = 'sending'", "CHECK"),
        ("S6", "UPDATE shipments SET state = 'covered' WHERE state = 'settled'", "the outcome of a shipment stands"),
        (
            "S6",
            "INSERT INTO events SELECT 99, event_id, kind, body, NULL, outcome_of, generation FROM events",
            "UNIQUE",
        ),
        ("S10", "UPDATE movements SET amount = 1", "movements are append-only"),
        ("S10", "DELETE FROM movements", "movements are append-only"),
        ("S10", "INSERT INTO movements SELECT * FROM movements LIMIT 1", "UNIQUE"),
        ("S10", "INSERT INTO movements VALUES (99, 'reserve', 1, 0, 0)", "CHECK"),
        ("", "DELETE FROM captures", "captures are never deleted"),
        (
            "",
            "INSERT INTO orders SELECT 99, order_id, mode, progress, is_cancelled, is_closed, closes_at, stored, \
          captured, open, fees, refund_revision, newest_authorization, final_at, awaiting, kept, sequence FROM orders",
            "UNIQUE",
        ),
    ] {
        let refused = file.execute(sql, []).expect_err(sql).to_string();
        assert!(refused.contains(word), "{rule} {sql}: {refused}");
    }
    let allowed = "UPDATE shipments SET state = 'awaiting', generation = generation + 1 WHERE state = 'settled'";
    assert_eq!(file.execute(allowed, []).expect("a replay starts a new generation"), 1);
}

#[test]
fn a_second_worker_is_kept_out() {
    let (_directory, path) = place();
    let first = open(&path).expect("a new ledger");
    let Err(LedgerError::Held { path: named }) = open(&path) else { panic!("two workers hold it") };
    assert_eq!(named, path.display().to_string());
    drop(first);
    open(&path).expect("it opens");
}

#[tokio::test]
async fn what_is_committed_survives_a_power_cut() {
    let (_directory, path) = place();
    let ledger = open(&path).expect("a new ledger");
    for (pragma, expected) in [("synchronous", "2"), ("journal_mode", "wal"), ("foreign_keys", "1")] {
        let read = move |connection: &Connection| {
            connection.pragma_query_value(None, pragma, |row| {
                let value = row.get_ref(0)?;
                Ok(value
                    .as_i64()
                    .map_or_else(|_| value.as_str().map(str::to_owned), |number| Ok(number.to_string()))?)
            })
        };
        assert_eq!(ledger.ask(read).await.expect("it answers"), expected, "{pragma}");
    }
}

#[test]
fn an_empty_file_is_migrated_and_a_newer_one_is_left_alone() {
    let (_directory, path) = place();
    std::fs::write(&path, b"").expect("written");
    drop(open(&path).expect("an empty file becomes a ledger"));
    let file = Connection::open(&path).expect("it is a database");
    let version: u32 = file.pragma_query_value(None, "user_version", |row| row.get(0)).expect("it has a version");
    assert_eq!(version, 1);
    assert!(open_for_reading(&path).is_ok());
    file.pragma_update(None, "user_version", version + 1).expect("set");
    drop(file);
    let Err(LedgerError::Open { cause, .. }) = open(&path) else { panic!("it was opened") };
    assert!(cause.contains("newer Holdfast (version 2"), "{cause}");
    let Err(LedgerError::Open { cause, .. }) = open_for_reading(&path) else { panic!("it was opened") };
    assert!(cause.contains("version 2"), "{cause}");
}

#[test]
fn what_is_no_ledger_is_not_opened() {
    let (directory, path) = place();
    std::fs::write(&path, b"this is not a database, and it is long enough to be looked at as one").expect("written");
    assert!(matches!(open(&path), Err(LedgerError::Open { .. })));
    assert!(matches!(open(&directory.path().join("missing/ledger.db")), Err(LedgerError::Open { .. })));
    assert!(matches!(open_for_reading(&directory.path().join("none.db")), Err(LedgerError::Open { .. })));
}

/// A ledger that cannot grow by a single page, which is what a full disk is to SQLite.
fn with_no_room_left(path: &Path, environment: Environment) -> SqliteLedger {
    let lock = lock::hold(path).expect("nobody holds it");
    let connection = open_for_writing(path).expect("a ledger");
    let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("counted");
    connection.pragma_update(None, "max_page_count", pages).expect("set");
    SqliteLedger::start(path, lock, connection, environment).expect("it starts")
}

#[tokio::test]
async fn a_full_disk_is_fatal_and_nothing_is_taken_after_it() {
    let (_directory, path) = place();
    let ledger = open(&path).expect("a new ledger");
    ledger.execute(vec![accept("before", "10.00")]).await.expect("written");
    let environment = ledger.environment.clone();
    drop(ledger);
    let ledger = with_no_room_left(&path, environment);
    let many: Vec<Command> = (0..200).map(|number| accept(&format!("o{number}"), "1.00")).collect();
    let Err(LedgerError::Failed(why)) = ledger.execute(many).await else { panic!("the disk is full") };
    assert!(why.contains("full"), "{why}");
    // The disk has room again, but what is durable is unknown: a fresh start has to look.
    let Err(LedgerError::Failed(_)) = ledger.execute(vec![accept("after", "1.00")]).await else { panic!("it went on") };
    assert!(ledger.find_due(1).await.is_err() && ledger.vitals().await.is_err() && ledger.interrupted().await.is_err());
    assert!(ledger.unpublished(0, at(0), 1).await.is_err());
    drop(ledger);
    let fresh = open(&path).expect("it opens");
    assert_eq!(fresh.interrupted().await.expect("it reads").len(), 1, "what was durable before, and nothing else");
    fresh.execute(vec![accept("after", "1.00")]).await.expect("written");
}

#[tokio::test]
async fn a_row_that_nobody_wrote_is_an_error_and_not_a_guess() {
    let (_directory, path) = place();
    with_books(&path).await;
    let file = Connection::open(&path).expect("it is a database");
    file.execute("UPDATE orders SET progress = 'nonsense'", []).expect("changed by hand");
    drop(file);
    let ledger = open(&path).expect("it opens");
    let again = ledger.execute(vec![accept("done", "10.00")]).await;
    assert!(matches!(again, Err(LedgerError::Failed(_))), "{again:?}");
}

#[tokio::test]
async fn callers_at_the_same_time_share_a_transaction_and_get_their_own_replies() {
    let (_directory, path) = place();
    let ledger = open(&path).expect("a new ledger");
    let order = |number: usize| accept(&format!("o{number}"), "1.00");
    let calls = (0..50).map(|number| ledger.execute((0..=number % 3).map(|_| order(number)).collect()));
    let executed = futures_util::future::join_all(calls).await;
    for (number, executed) in executed.into_iter().enumerate() {
        let replies = executed.expect("written").replies;
        assert_eq!(replies.len(), number % 3 + 1);
        for reply in replies {
            let subject = reply.expect("decided").subject;
            assert_eq!(subject.order, Some(order_id(&format!("o{number}"))));
        }
    }
    assert_eq!(ledger.vitals().await.expect("it reads").open_captures, 50);
}

/// Whoever comes after a worker finds one file, and nobody in it.
#[tokio::test]
async fn a_dropped_ledger_is_closed() {
    let (directory, path) = place();
    for number in 0..20 {
        let ledger = open(&path).expect("nobody holds it");
        ledger.execute(vec![accept(&format!("o{number}"), "1.00")]).await.expect("written");
        ledger.vitals().await.expect("it reads");
        drop(ledger);
        assert!(!directory.path().join("ledger.db-wal").exists(), "the log was not copied into the file");
        open_for_reading(&path).expect("it is whole");
    }
}

/// A message is kept for as long as its shipment may come to nothing, and not much longer.
#[tokio::test]
async fn the_message_of_a_shipment_goes_when_its_outcome_is_known() {
    let (_directory, path) = place();
    with_books(&path).await;
    let messages = || -> Vec<String> {
        let file = open_for_reading(&path).expect("it is there");
        let sql = "SELECT order_id FROM messages JOIN shipments USING (shipment_row) JOIN orders USING (order_row)";
        let mut statement = file.prepare(sql).expect("the tables are there");
        statement.query_map([], |row| row.get(0)).expect("asked").map(|id| id.expect("a text")).collect()
    };
    assert_eq!(messages(), ["done", "open"], "one by one would cost a page each");
    drop(open(&path));
    assert_eq!(messages(), ["open"]);

    let environment = environment(policy(), &ManualClock::new());
    let mut file = store(&path, &environment);
    file.ended = vec![1, 2, 3];
    file.ended_since -= ENDED_FOR;
    let executed = fold::execute(&mut file, &environment, &[accept("new", "1.00")]);
    assert!(executed.expect("written").replies[0].is_ok());
    file.tidy().expect("kept");
    assert!(file.ended.is_empty(), "deleted in the same transaction");
}

#[test]
fn a_long_log_is_copied_beside_the_writer_which_copies_the_rest() {
    let (_directory, path) = place();
    let environment = environment(policy(), &ManualClock::new());
    let mut file = store(&path, &environment);
    let size = || std::fs::metadata(&path).expect("it is there").len();
    let before = size();
    let write = |file: &mut FileStore, order: &str| {
        let executed = fold::execute(file, &environment, &[accept(order, "1.00")]);
        assert!(executed.expect("written").replies[0].is_ok());
        file.logged.load(Ordering::Relaxed)
    };
    assert!(write(&mut file, "first") > 0, "what a commit appends is counted");
    file.tidy().expect("kept");
    assert_eq!(size(), before, "a page that changes again is copied once");

    file.logged.store(CHECKPOINT_PAGES, Ordering::Relaxed);
    file.tidy().expect("begun");
    until(|| size() > before);
    let logged = write(&mut file, "meanwhile");
    let mut orders = 0..;
    until(|| {
        file.tidy().expect("copied");
        let written = write(&mut file, &format!("later-{}", orders.next().expect("one more")));
        assert!(written < CHECKPOINT_PAGES, "the log does not start anew");
        written < logged
    });
}

#[test]
fn a_log_that_somebody_else_copies_is_left_to_them() {
    let (_directory, path) = place();
    let environment = environment(policy(), &ManualClock::new());
    let mut file = store(&path, &environment);
    let count = |connection: &Connection| connection.query_row("SELECT count(*) FROM orders", [], |_| Ok(()));
    // A reader keeps the other one waiting, and with it the lock of those who copy.
    let reader = open_for_reading(&path).expect("it opens");
    let reading = reader.unchecked_transaction().expect("begun");
    count(&reading).expect("read");
    assert!(fold::execute(&mut file, &environment, &[accept("new", "1.00")]).expect("written").replies[0].is_ok());
    let mut other = Connection::open(&path).expect("it opens");
    count(&other).expect("read");
    let (waits, waiting) = std::sync::mpsc::channel();
    let (enough, until_enough) = std::sync::mpsc::channel::<()>();
    let wait = move |_| {
        let _ = waits.send(());
        until_enough.recv().is_ok()
    };
    other.busy_handler(Some(wait)).expect("set");
    let copying = std::thread::spawn(move || copy(&other, CheckpointMode::TRUNCATE));
    waiting.recv().expect("it waits for the reader");

    let is_busy = |copied: rusqlite::Result<()>| {
        copied.expect_err("held").sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
    };
    assert!(is_busy(copy(&file.connection, CheckpointMode::PASSIVE)));
    copier::copy(&file.connection).expect("nothing is wrong");
    drop(enough);
    assert!(is_busy(copying.join().expect("no panic")));
}

#[test]
fn a_log_that_cannot_be_copied_ends_the_ledger() {
    let (_directory, path) = place();
    let environment = environment(policy(), &ManualClock::new());
    let mut file = store(&path, &environment);
    assert!(fold::execute(&mut file, &environment, &[accept("new", "1.00")]).expect("written").replies[0].is_ok());
    let log = File::options().write(true).open(path.with_extension("db-wal")).expect("it is there");
    log.set_len(0).expect("cut");
    file.logged.store(CHECKPOINT_PAGES, Ordering::Relaxed);
    let mut tidied = Ok(());
    until(|| {
        tidied = file.tidy();
        tidied.is_err()
    });
    let Err(LedgerError::Failed(why)) = tidied else { panic!("{tidied:?}") };
    assert!(why.contains("I/O"), "{why}");
}

fn copy(connection: &Connection, mode: CheckpointMode) -> rusqlite::Result<()> {
    connection.wal_checkpoint_v2(Some(rusqlite::MAIN_DB), mode).map(drop)
}

/// Waits for a thread.
fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn store(path: &Path, environment: &Environment) -> FileStore {
    let connection = open_for_writing(path).expect("it opens");
    let copier = Copier::start(path).expect("it opens once more");
    FileStore::new(connection, copier, environment.clone()).expect("its log is watched")
}
