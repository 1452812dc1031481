//! The ledger in one file: SQLite through one writer thread.
//!
//! The thread commits whatever has queued up, of all kinds, as one transaction with one sync. It does
//! not decide, and it never carries on after an I/O error: SQLite would, but what is durable is
//! unknown then. Questions have a connection and a thread of their own, so that none holds up a commit; so
//! has the copying of the write-ahead log into the file.

// what the worker's loops ask
pub(in crate::ledger) mod read;

// the fold's two ends
pub(in crate::ledger) mod load;
mod write;

// the log into the file
mod copier;

// rows and tables
mod many;
mod prepared;
mod rows;
pub(in crate::ledger) mod schema;

// who holds the file
pub(in crate::ledger) mod lock;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use crate::capture::books::Books;
use crate::capture::dead_letter::DeadLetter;
use crate::capture::decide::Command;
use crate::capture::policy::Captures;
use crate::capture::records::{Authorization, CaptureKey, ShipmentKey};
use crate::clock::Timestamp;
use crate::ids::DeadLetterId;
use crate::ledger::fold::{Store, StoreError};
use crate::ledger::groups::{self, Group};
use crate::ledger::moving;
use crate::ledger::thread::{Thread, stopped};
use crate::ledger::{DueNow, Environment, Executed, Ledger, LedgerError, Migrated, OutboxRow, Vitals};
use crate::mutant::{self, Mutant};
use copier::Copier;

/// The oldest SQLite without the bug that can corrupt a WAL with two connections.
pub(in crate::ledger) const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// Pages of 4 KiB in the write-ahead log before they are copied into the file: 32 MiB. A page that
/// changes often is copied once in all that time; the default is an eighth of it.
const CHECKPOINT_PAGES: i32 = 8_000;

/// The page cache: negative, so in KiB (<https://www.sqlite.org/pragma.html#pragma_cache_size>). The
/// default of 2 MB is less than one large group touches; every commit that splits a page looks through
/// all of them.
const CACHE_KIBIBYTES: i64 = -4_096;

/// What is committed or copied is on the disk.
const SYNCHRONOUS_FULL: (&str, i64) = ("synchronous", 2);

/// Commands in one transaction at most: bounds how long one group keeps the next waiting.
const GROUP_MAX: usize = 2_048;

/// Records that are kept in memory from one group to the next, at most: what `open_max` leaves open by
/// default, with their orders and authorizations. Some 50 MB.
const KEPT_MAX: usize = 40_960;

/// Messages of shipments at their end that may wait to be deleted together.
const ENDED_MAX: usize = 2_048;

/// How long they may wait, while anything is written at all.
const ENDED_FOR: Duration = Duration::from_mins(1);

/// The ledger in one file.
#[derive(Debug)]
pub struct SqliteLedger {
    // Dropped in this order: whoever closes the file last copies the write-ahead log into it, which
    // only the writer can.
    questions: Thread<Question>,
    groups: Thread<Group>,
    environment: Environment,
    /// What an earlier worker left is told once: nobody else begins anything.
    was_asked_for_interrupted: AtomicBool,
    /// Held as long as the ledger is: a second worker cannot open it.
    _lock: File,
}

/// A question to the ledger; it gives its answer to whoever asked.
type Question = Box<dyn FnOnce(&Connection) + Send>;

impl SqliteLedger {
    /// Opens the ledger for writing, creates or migrates it, and starts its three threads.
    ///
    /// # Errors
    /// [`LedgerError::Held`] when another worker has it open; [`LedgerError::Open`] when it cannot be
    /// opened, is of a newer version, or does not take `journal_mode=WAL` and `synchronous=FULL`.
    pub fn open(path: &Path, environment: Environment) -> Result<Self, LedgerError> {
        let lock = lock::hold(path)?;
        let connection = open_for_writing(path)?;
        moving::refuse_moved(path, &connection)?;
        Self::start(path, lock, connection, environment)
    }

    fn start(path: &Path, lock: File, connection: Connection, environment: Environment) -> Result<Self, LedgerError> {
        let reading = open_for_reading(path)?;
        let copier = Copier::start(path)?;
        let file = FileStore::new(connection, copier, environment.clone()).map_err(|error| open_error(path, &error))?;
        let rules = environment.clone();
        let groups = Thread::start("ledger", move |groups| groups::run(file, &rules, groups, GROUP_MAX));
        let questions = Thread::start("ledger-reader", move |asked| answer_questions(&reading, asked));
        Ok(Self {
            questions: questions.map_err(|error| open_error(path, &error))?,
            groups: groups.map_err(|error| open_error(path, &error))?,
            environment,
            was_asked_for_interrupted: AtomicBool::new(false),
            _lock: lock,
        })
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        // After a failure nothing is concluded from the file until it is opened anew.
        if self.groups.has_ended() {
            return Err(stopped());
        }
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |connection| {
            // Nobody waits for the answer any more: that is theirs to decide.
            let _ = reply.send(question(connection).map_err(|error| failed(&error)));
        });
        self.questions.send(question).await?;
        answer.await.map_err(|_| stopped())?
    }
}

fn failed(error: &rusqlite::Error) -> LedgerError {
    LedgerError::Failed(error.to_string())
}

pub(in crate::ledger) fn open_error(path: &Path, cause: &dyn std::fmt::Display) -> LedgerError {
    LedgerError::Open { path: path.display().to_string(), cause: cause.to_string() }
}

pub(in crate::ledger) fn open_for_writing(path: &Path) -> Result<Connection, LedgerError> {
    let open = |error: rusqlite::Error| open_error(path, &error);
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(open_error(path, &format!("SQLite {} can corrupt it", rusqlite::version())));
    }
    let mut connection = Connection::open(path).map_err(open)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(open)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(open)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(open_error(path, &format!("journal_mode is {mode}, not WAL: use a local disk")));
    }
    let pragmas = [
        SYNCHRONOUS_FULL,
        ("foreign_keys", 1),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
        ("wal_autocheckpoint", CHECKPOINT_PAGES.into()),
        ("cache_size", CACHE_KIBIBYTES),
    ];
    for (pragma, value) in pragmas {
        set_pragma(&connection, path, pragma, value)?;
    }
    // Without it SQLite plans a statement anew whenever a parameter is bound that it compared with the
    // condition of a partial index: with every use of every statement on such a table.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(open)?;
    connection.set_prepared_statement_cache_capacity(96);
    schema::migrate(&mut connection, &path.display().to_string())?;
    // Which of them a worker before this one has still had to delete, nobody knows.
    write::delete_ended_messages(&connection).map_err(open)?;
    Ok(connection)
}

/// Sets a pragma, and reads it back.
fn set_pragma(connection: &Connection, path: &Path, pragma: &str, value: i64) -> Result<(), LedgerError> {
    connection.pragma_update(None, pragma, value).map_err(|error| open_error(path, &error))?;
    let set = connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let set = set.map_err(|error| open_error(path, &error))?;
    if set == value {
        Ok(())
    } else {
        Err(open_error(path, &format!("{pragma} is {set} and cannot be set to {value}")))
    }
}

/// Brings the file to the newest version, or creates it; from which one.
pub(in crate::ledger) fn migrate(path: &Path) -> Result<Migrated, LedgerError> {
    let mut connection = Connection::open(path).map_err(|error| open_error(path, &error))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(|error| open_error(path, &error))?;
    let migrated = schema::migrate(&mut connection, &path.display().to_string())?;
    drop(connection);
    open_for_writing(path).map(drop)?;
    Ok(migrated)
}

/// Opens a ledger for reading, while a worker may be writing it.
///
/// # Errors
/// [`LedgerError::Open`] when there is none or it is of another version.
pub(in crate::ledger) fn open_for_reading(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| open_error(path, &error))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(|error| open_error(path, &error))?;
    schema::check(&connection, &path.display().to_string())?;
    Ok(connection)
}

/// The reader thread.
fn answer_questions(connection: &Connection, mut asked: mpsc::Receiver<Question>) {
    while let Some(question) = asked.blocking_recv() {
        question(connection);
    }
}

struct FileStore {
    // Dropped before the connection: the writer is the last to close the file.
    copier: Copier,
    connection: Connection,
    /// The books of the last group, as it left them.
    durable: Option<Books>,
    /// What is kept of them, exactly as it is in the file: nobody else writes to it.
    kept: Option<Books>,
    /// Pages in the write-ahead log after the last commit.
    logged: Arc<AtomicI32>,
    /// Shipments at their end whose messages are still there, since when, and how many of them the
    /// transaction under way deletes.
    ended: Vec<i64>,
    ended_since: Instant,
    deleted: usize,
    environment: Environment,
}

impl FileStore {
    fn new(mut connection: Connection, copier: Copier, environment: Environment) -> rusqlite::Result<Self> {
        let logged = Arc::new(AtomicI32::new(0));
        let noted = Arc::clone(&logged);
        // Instead of the checkpoint within a commit, for which everybody in the group would have to wait.
        connection.wal_hook(Some(move |_: &mut Wal, pages| {
            noted.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let (durable, kept, ended) = (None, None, Vec::new());
        Ok(Self {
            copier,
            connection,
            durable,
            kept,
            logged,
            ended,
            ended_since: Instant::now(),
            deleted: 0,
            environment,
        })
    }

    /// Keeps of the last group what the next one may need.
    fn take_over(&mut self) {
        let Some(books) = self.durable.take() else { return };
        self.ended.drain(..self.deleted);
        if self.ended.is_empty() {
            self.ended_since = Instant::now();
        }
        let ended = books.shipments().changed().into_iter().filter(|entry| entry.value.state.is_terminal());
        self.ended.extend(ended.map(|entry| entry.value.key.row()));
        self.kept = books.for_next_group(KEPT_MAX);
    }

    /// Is an authorization captured once, for all its shipments?
    fn is_single(&self) -> impl Fn(&Authorization) -> bool {
        let accounts = &self.environment.policy.accounts;
        |record| accounts.get(&record.account).is_some_and(|account| account.captures == Captures::Single)
    }

    /// Are there enough messages to delete, or have they been there long enough? Many together are
    /// whole pages of the file, and cost next to nothing.
    fn deletes_messages(&self) -> bool {
        self.ended.len() >= ENDED_MAX || (!self.ended.is_empty() && self.ended_since.elapsed() >= ENDED_FOR)
    }

    fn statement(&self, sql: &str) -> Result<(), LedgerError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| failed(&error))?;
        statement.execute([]).map(drop).map_err(|error| failed(&error))
    }
}

/// A constraint or a trigger speaks of one command; anything else of the store.
fn store_error(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => StoreError::Refused(error.to_string()),
        Some(_) | None => StoreError::Fatal(failed(error)),
    }
}

impl Store for FileStore {
    fn begin(&mut self) -> Result<(), LedgerError> {
        if mutant::on(Mutant::SendBeforeIntent) && !self.connection.is_autocommit() {
            self.statement("COMMIT")?;
        }
        self.statement("BEGIN IMMEDIATE")
    }

    fn load(&mut self, commands: &[Command]) -> Result<Books, StoreError> {
        self.take_over();
        // Taken: should this group fail, the next one loads everything anew.
        let kept = self.kept.take();
        let counted = self.environment.policy.counted();
        load::load(&self.connection, kept, commands, &self.is_single(), &counted).map_err(|error| store_error(&error))
    }

    fn dead_letters(&mut self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError> {
        load::dead_letters(&self.connection, ids).map_err(|error| store_error(&error))
    }

    fn write(&mut self, books: &Books, outbox: &[OutboxRow]) -> Result<(), StoreError> {
        let now = (self.environment.clock)().wall;
        if !books.replays.is_empty() {
            // What begins anew needs its message again.
            let shipments = books.shipments();
            let is_open = |row: &i64| shipments.find(ShipmentKey::new(*row)).is_some_and(|s| !s.state.is_terminal());
            self.ended.retain(|row| !is_open(row));
        }
        self.deleted = if self.deletes_messages() { self.ended.len() } else { 0 };
        let written = write::write(&self.connection, books, outbox, &self.is_single(), now);
        let deleted = written.and_then(|()| write::delete_messages(&self.connection, &self.ended[..self.deleted]));
        deleted.map_err(|error| store_error(&error))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if mutant::on(Mutant::SendBeforeIntent) {
            return Ok(());
        }
        self.statement("COMMIT").map_err(StoreError::Fatal)
    }

    fn keep(&mut self, books: Books) {
        self.durable = Some(books);
    }

    fn tidy(&mut self) -> Result<(), LedgerError> {
        self.take_over();
        self.copier.tend(&self.connection, self.logged.load(Ordering::Relaxed) >= CHECKPOINT_PAGES)
    }

    fn roll_back(&mut self) -> Result<(), LedgerError> {
        // What was refused may have rolled it back already.
        if self.connection.is_autocommit() { Ok(()) } else { self.statement("ROLLBACK") }
    }
}

impl Ledger for SqliteLedger {
    fn execute(&self, commands: Vec<Command>) -> BoxFuture<'_, Result<Executed, LedgerError>> {
        async move {
            let (group, answer) = Group::of(commands);
            self.groups.send(group).await?;
            answer.await.map_err(|_| stopped())?
        }
        .boxed()
    }

    fn find_due(&self, limit: u32) -> BoxFuture<'_, Result<DueNow, LedgerError>> {
        let now = (self.environment.clock)().wall;
        let policy = &self.environment.policy;
        let waits = read::Waits { longest: policy.longest_wait(), longest_rest: policy.longest_rest() };
        self.ask(move |connection| read::find_due(connection, now, waits, limit)).boxed()
    }

    fn unpublished(
        &self,
        row: i64,
        written_before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, LedgerError>> {
        self.ask(move |connection| read::unpublished(connection, row, written_before, limit)).boxed()
    }

    fn interrupted(&self) -> BoxFuture<'_, Result<Vec<(CaptureKey, u32)>, LedgerError>> {
        async {
            if self.was_asked_for_interrupted.load(Ordering::Relaxed) {
                return Ok(Vec::new());
            }
            let interrupted = self.ask(read::interrupted).await?;
            self.was_asked_for_interrupted.store(true, Ordering::Relaxed);
            Ok(interrupted)
        }
        .boxed()
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, LedgerError>> {
        self.ask(read::vitals).boxed()
    }
}

#[cfg(test)]
mod tests;
