use super::*;
use crate::ledger::report::example::Example;
use crate::ledger::testing::{batch, change, database, moved, value};

const ROWS: &str = "SELECT count(*) FROM captures";

/// Is it that file no more, for a worker?
fn refusal(path: &Path) -> String {
    let connection = rusqlite::Connection::open(path).expect("a database");
    let error = refuse_moved(path, &connection).expect_err("moved");
    assert!(matches!(error, LedgerError::Moved { .. }), "{error:?}");
    error.to_string()
}

fn ended() -> (std::path::PathBuf, tempfile::TempDir) {
    let (source, directory) = Example::new().end_worker();
    (source.path().expect("a file").to_owned(), directory)
}

#[test]
fn a_ledger_is_moved_whole_and_there_is_one_afterwards() {
    let (path, _directory) = ended();
    let at = database();
    let mut told = Vec::new();
    let moved = move_ledger(&path, &at, &mut |done, total| told.push((done, total))).expect("moved");
    let rows: u64 = moved.tables.iter().map(|(_, rows)| rows).sum();
    assert!(rows > 100 && moved.sha256.is_some(), "{moved:?}");
    assert_eq!(told.last(), Some(&(2 * rows, 2 * rows)), "copied, and compared");
    let source = Source::from(at.clone());
    assert_eq!(value::<i64>(&source, ROWS), value::<i64>(&(&path).into(), ROWS));

    let why = refusal(&path);
    assert!(why.contains(&at.shown()) && why.contains("set ledger.url to that"), "{why}");
    // Numbers that the server gives go on behind those that were there.
    let last: i64 = value(&source, "SELECT max(dead_letter_row) FROM dead_letters");
    let sql = "INSERT INTO dead_letters (dead_letter_id, reason, path, message, fingerprint, generation, first_seen_at,
               last_seen_at, count, state) VALUES ('\\x00', 'invalid', '', '', '', 0, 0, 0, 1, 'open')";
    assert_eq!(change(&source, sql, &[]), 1);
    assert!(value::<i64>(&source, "SELECT max(dead_letter_row) FROM dead_letters") > last);

    let again = move_ledger(&path, &at, &mut |_, _| {}).expect("it is there");
    assert_eq!(again, Moved { tables: Vec::new(), sha256: None });
    let elsewhere = move_ledger(&path, &database(), &mut |_, _| {}).expect_err("two would be left");
    assert!(matches!(elsewhere, MoveError::Elsewhere { .. }), "{elsewhere}");
}

#[test]
fn a_move_that_was_cut_off_is_finished_by_the_same_command() {
    let (path, _directory) = ended();
    let at = database();
    // The mark was made, and the other transaction was not committed.
    let sql = "INSERT INTO moves VALUES ('m', 'to', ?1, 1, NULL)";
    assert_eq!(change(&(&path).into(), sql, &[&at.shown()]), 1);
    let why = refusal(&path);
    assert!(why.contains("finishes the move"), "{why}");
    let moved = move_ledger(&path, &at, &mut |_, _| {}).expect("moved");
    assert!(moved.sha256.is_some());
    // It was committed, and the last mark was not made.
    change(&(&path).into(), "UPDATE moves SET done_at = NULL", &[]);
    let again = move_ledger(&path, &at, &mut |_, _| {}).expect("moved");
    assert_eq!(again.sha256, None);
    assert!(refusal(&path).contains("was moved to"));
}

#[test]
fn nothing_is_moved_under_a_worker_or_into_a_ledger() {
    let example = Example::new();
    let held = move_ledger(&example.path, &database(), &mut |_, _| {}).expect_err("a worker runs");
    assert!(matches!(held, MoveError::Ledger(LedgerError::Held { .. })), "{held}");
    let (path, _directory) = ended();
    let other = ended();
    let Source::Postgres(used) = moved(&other.0) else { panic!("a database") };
    let full = move_ledger(&path, &used, &mut |_, _| {}).expect_err("a ledger is there");
    assert!(matches!(&full, MoveError::NotEmpty { table, .. } if table == "orders"), "{full}");
    let at = database();
    migrate(&Source::from(at.clone())).expect("migrated");
    let sql = "INSERT INTO workers (name, host, pid, lease_until, groups)
               VALUES ('w1', 'h', 7, now() + interval '10 s', 0)";
    change(&Source::from(at.clone()), sql, &[]);
    let served = move_ledger(&path, &at, &mut |_, _| {}).expect_err("somebody works there");
    assert!(served.to_string().contains("w1 (process 7 on h)"), "{served}");
    let none = move_ledger(Path::new("/none.db"), &at, &mut |_, _| {}).expect_err("no file");
    assert!(matches!(none, MoveError::Missing(_)), "{none}");
    let connection = rusqlite::Connection::open(&path).expect("a database");
    assert!(refuse_moved(&path, &connection).is_ok(), "it is the ledger as before");
}

#[test]
fn a_copy_that_is_not_what_was_written_is_undone() {
    let (path, _directory) = ended();
    let at = database();
    let target = Source::from(at.clone());
    migrate(&target).expect("migrated");
    batch(
        &target,
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN NEW.message := NEW.message || '.'; RETURN NEW; END $$;
         CREATE TRIGGER spoil BEFORE INSERT ON dead_letters FOR EACH ROW EXECUTE FUNCTION spoil()",
    );
    let differs = move_ledger(&path, &at, &mut |_, _| {}).expect_err("it is spoilt");
    assert!(matches!(&differs, MoveError::Differs { table, .. } if table == "dead_letters"), "{differs}");
    assert_eq!(value::<i64>(&target, ROWS), 0);
    let connection = rusqlite::Connection::open(&path).expect("a database");
    assert!(refuse_moved(&path, &connection).is_ok(), "it is the ledger as before");
    batch(&target, "DROP TRIGGER spoil ON dead_letters");
    assert!(move_ledger(&path, &at, &mut |_, _| {}).is_ok());
}

#[test]
fn versions_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("new.db");
    for source in [Source::from(&path), Source::from(database())] {
        let first = migrate(&source).expect("created");
        assert_eq!(first, Migrated { from: 0, to: first.to });
        assert_eq!(migrate(&source).expect("nothing to do"), Migrated { from: first.to, to: first.to });
    }
}
