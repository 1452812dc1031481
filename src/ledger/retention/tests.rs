use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::capture::decide::{Command, Evidence, Note, Settle};
use crate::capture::tests::support::*;
use crate::ledger::Ledger;
use crate::ledger::sqlite::SqliteLedger;

/// Orders with one shipment each.
const COUNT: usize = 10;

fn accept(order: usize) -> Command {
    let order = format!("ord-{order}");
    draft(&order, "s1").amount("10.00").on(authorized(OFTEN, &order, 10_000)).command()
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ledger.db");
    (directory, path)
}

fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path, environment(policy(), &ManualClock::new())).expect("a ledger")
}

/// Captured, all but the last, which is being sent; and all of it published.
async fn with_captures(ledger: &SqliteLedger) {
    let accepted = ledger.execute((0..COUNT).map(accept).collect()).await.expect("written");
    let tickets = accepted.replies.into_iter().map(|reply| reply.expect("decided").ticket.expect("sent"));
    let settle = |ticket| {
        let Asked::Send { capture, epoch, .. } = asked(&ticket) else { panic!("{ticket:?}") };
        let evidence = Evidence::Answer(captured(Some(gel(1_000))));
        Command::Settle(Box::new(Settle { capture, epoch, evidence, start: true }))
    };
    let settled = tickets.take(COUNT - 1).map(settle).collect();
    let rows = ledger.execute(settled).await.expect("written").outbox.into_iter().map(|row| row.row);
    ledger.execute(vec![Command::Published(rows.collect())]).await.expect("written");
}

fn count(path: &Path, sql: &str) -> i64 {
    let file = Connection::open(path).expect("a database");
    file.query_row(sql, [], |row| row.get(0)).expect("a number")
}

const BODIES: &str = "SELECT count(*) FROM events WHERE length(body) > 0";
const CAPTURED: &str = "SELECT count(DISTINCT capture_row) FROM history";

#[tokio::test]
async fn only_what_is_old_and_over_is_taken_a_few_rows_at_a_time() {
    let (_directory, path) = place();
    let ledger = open(&path);
    with_captures(&ledger).await;
    // Captured by the answer to the first attempt, they have nothing else to tell.
    let told = "INSERT INTO history SELECT capture_row, 1, 1, 'not_executed', 'refused', planned_at FROM captures
                 WHERE is_open = 0";
    Connection::open(&path).expect("a database").execute(told, []).expect("written");
    let retention = Retention::open(&(&path).into()).expect("a ledger");
    let (events, histories) = (count(&path, BODIES), count(&path, CAPTURED));
    assert_eq!((events, histories), (9, 9));
    let pass = |before| retention.prune(before, 4).expect("pruned").expect("nobody is busy");
    assert_eq!(pass(at(0)), Pass::default(), "nothing is old yet");
    let long_after = at(1_000);
    let first = pass(long_after);
    assert_eq!((first.events, first.captures, first.has_more), (4, 4, true));
    assert_eq!((count(&path, BODIES), count(&path, CAPTURED)), (events - 4, histories - 4));
    let mut passes = 1;
    while pass(long_after).has_more {
        passes += 1;
    }
    assert_eq!(passes, 2, "two with more to come, and a last one");
    assert_eq!((count(&path, BODIES), count(&path, CAPTURED)), (0, 0));
    // What tells one thing from another, and the money, is all there.
    let identity = "SELECT count(*) FROM events WHERE length(event_id) = 16 AND outcome_of IS NOT NULL";
    assert_eq!(count(&path, identity), 9);
    assert_eq!(count(&path, "SELECT count(*) FROM shipments WHERE length(content) = 32"), 10);
    assert_eq!(count(&path, "SELECT count(*) FROM movements"), 19);

    // A late duplicate, and a contradiction, are recognised as before.
    let contradiction = draft("ord-1", "s1").amount("11.00").on(authorized(OFTEN, "ord-1", 10_000)).command();
    let replies = ledger.execute(vec![accept(0), contradiction]).await.expect("written").replies;
    let notes: Vec<_> = replies.into_iter().map(|reply| reply.expect("decided").note).collect();
    assert_eq!(notes[0], Note::Repeated);
    assert!(matches!(notes[1], Note::DeadLettered { .. }), "{notes:?}");
    // A second outcome is refused by its index, body or not.
    let file = Connection::open(&path).expect("a database");
    let again =
        "INSERT INTO events SELECT 99999, event_id, kind, body, NULL, outcome_of, generation FROM events LIMIT 1";
    assert!(file.execute(again, []).expect_err("S6").to_string().contains("UNIQUE"));
}

#[tokio::test]
async fn what_is_not_published_keeps_its_body_and_so_does_what_comes_after() {
    let (_directory, path) = place();
    let ledger = open(&path);
    with_captures(&ledger).await;
    Connection::open(&path)
        .expect("a database")
        .execute("UPDATE outbox SET published_at = NULL WHERE event_row = (SELECT min(event_row) + 2 FROM outbox)", [])
        .expect("changed");
    let retention = Retention::open(&(&path).into()).expect("a ledger");
    let before = count(&path, BODIES);
    retention.prune(at(1_000), 100).expect("pruned").expect("nobody is busy");
    let unpublished = "SELECT min(length(body)) FROM events JOIN outbox USING (event_row) WHERE published_at IS NULL";
    assert!(count(&path, unpublished) > 0 && count(&path, BODIES) < before);
}

#[tokio::test]
async fn only_messages_that_were_dealt_with_are_taken() {
    let (_directory, path) = place();
    let ledger = open(&path);
    let refused = |order: &str| draft(order, "s1").amount("999.00").on(authorized(OFTEN, order, 10_000)).command();
    ledger.execute(["a", "b", "c"].map(refused).into()).await.expect("written");
    let file = Connection::open(&path).expect("a database");
    let messages = "SELECT count(*) FROM dead_letters WHERE body IS NOT NULL";
    assert_eq!(count(&path, messages), 3);
    for (state, order) in [("replayed", "a"), ("discarded", "b")] {
        file.execute("UPDATE dead_letters SET state = ?1 WHERE order_id = ?2", [state, order]).expect("changed");
    }
    let retention = Retention::open(&(&path).into()).expect("a ledger");
    let pass = retention.prune(at(1_000), 100).expect("pruned").expect("nobody is busy");
    assert_eq!(pass.dead_letters, 2);
    let left = "SELECT count(*) FROM dead_letters WHERE body IS NOT NULL AND state = 'open'";
    assert_eq!((count(&path, messages), count(&path, left)), (1, 1));
    assert_eq!(count(&path, "SELECT count(*) FROM dead_letters WHERE length(body_sha256) = 32"), 3);
}

#[test]
fn a_pass_looks_at_no_more_rows_however_many_there_are() {
    let (_directory, path) = place();
    drop(open(&path));
    let connection = Connection::open(&path).expect("a database");
    for sql in [EVENTS, CAPTURES, DEAD_LETTERS] {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is SQL");
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().expect("explained") {
            let step: String = row.get("detail").expect("a text");
            assert!(!step.starts_with("SCAN") && !step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
}

#[test]
fn a_busy_writer_is_not_waited_for_long() {
    let (_directory, path) = place();
    drop(open(&path));
    let retention = Retention::open(&(&path).into()).expect("a ledger");
    let writer = Connection::open(&path).expect("a database");
    writer.execute_batch("BEGIN IMMEDIATE").expect("begun");
    assert_eq!(retention.prune(at(1_000), 10).expect("not failed"), None);
    writer.execute_batch("COMMIT").expect("committed");
    assert_eq!(retention.prune(at(1_000), 10).expect("pruned"), Some(Pass::default()));
}

#[test]
fn in_postgres_the_same_is_taken() {
    let example = crate::ledger::report::example::Example::new();
    example.publish_all("09:00:02");
    let [file, database] = example.everywhere().map(|source| {
        let retention = Retention::open(&source).expect("a ledger");
        let mut passes = Vec::new();
        let long_after = clock::after(crate::ledger::report::example::at("09:30:00"), 24 * HOUR);
        let mut more = true;
        while more {
            passes.push(retention.prune(long_after, 3).expect("pruned").expect("nobody is busy"));
            more = passes.last().is_some_and(|pass| pass.has_more);
        }
        let left = ["SELECT count(*) FROM history", BODIES, "SELECT count(*) FROM dead_letters WHERE body IS NOT NULL"];
        (passes, left.map(|sql| crate::ledger::testing::value::<i64>(&source, sql)))
    });
    assert!(file.0.iter().map(|pass| pass.events).sum::<usize>() > 3, "{file:?}");
    assert_eq!(database, file);
}

#[test]
fn of_a_replay_who_and_why_and_what_it_came_to_is_kept() {
    use crate::ledger::desk::{Chosen, Desk, Pace, Request, What};
    use crate::ledger::replays::JobState;
    use crate::ledger::report::Choice;
    use crate::ledger::report::example::Example;

    let example = Example::new();
    for body in ["one", "two", "three"] {
        example.message("09:28:00", body.as_bytes());
    }
    let desk = Desk::open(&example.source).expect("a desk");
    let open = "SELECT count(*) FROM dead_letters WHERE state = 'open'";
    let letters = u64::try_from(count(&example.path, open)).expect("some");
    let start = || {
        let up_to = count(&example.path, "SELECT max(dead_letter_row) FROM dead_letters");
        let chosen = Chosen { choice: Choice::default(), up_to, letters };
        let pace = Pace { canary: 1, rate: 1, failures_max: 1 };
        let what = What::StartReplay { chosen: chosen.clone(), pace };
        let request = Request { by: "olga".to_owned(), reason: "the cause is gone".to_owned(), what };
        let row = desk.put(&request).expect("put");
        assert!(desk.start_replay(row, &chosen, pace).expect("answered").done);
        row
    };
    let stop = |job| desk.end_replay(job, JobState::Stopped, Some("enough")).expect("stopped");
    start();
    stop(1);
    let whole = example.report().replay(1, clock::now()).expect("read").expect("there");
    start();
    let items = "SELECT count(*) FROM replay_items WHERE job_row = ";
    let [first, second] = [1, 2].map(|job| format!("{items}{job}"));
    let retention = Retention::open(&example.source).expect("a ledger");
    let later = clock::after(clock::now(), Duration::from_mins(1));
    let replayed = |before| retention.prune(before, 2).expect("pruned").expect("nobody is busy").replayed;
    assert_eq!(replayed(clock::before(clock::now(), Duration::from_mins(1))), 0, "nothing is old yet");
    let mut taken = 0;
    while count(&example.path, &first) > 0 {
        let now = replayed(later);
        assert!((1..=2).contains(&now), "a few rows at a time: {now}");
        taken += now;
    }
    assert_eq!(
        (taken, count(&example.path, &second)),
        (usize::try_from(letters).expect("few"), i64::try_from(letters).expect("few"))
    );
    assert_eq!(replayed(later), 0, "one that runs loses nothing");
    let report = example.report();
    let kept = report.replay(1, clock::now()).expect("read").expect("there");
    assert_eq!((&kept.counts, &kept.captured), (&whole.counts, &whole.captured));
    assert!(!kept.counts.is_empty());
    assert_eq!(
        (&*kept.job.by, &*kept.job.reason, kept.job.asked_at),
        ("olga", "the cause is gone", whole.job.asked_at)
    );
    assert!(report.replay_outcomes(1, &[], clock::now()).expect("read").is_empty());
    stop(2);
}
