//! The ledger in one file: SQLite through one writer thread.
//!
//! The thread commits whatever has queued up, of all kinds, as one transaction with one sync. It does
//! not decide, and it never carries on after an I/O error: SQLite would, but what is durable is
//! unknown then. Questions have a connection and a thread of their own, so that none holds up a commit.

// what the worker's loops ask
mod read;

// the fold's two ends
mod load;
mod write;

// rows and tables
mod codec;
mod schema;

// what operators ask
pub mod report;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use crate::capture::books::Books;
use crate::capture::decide::Command;
use crate::capture::policy::Captures;
use crate::capture::records::{Authorization, CaptureKey};
use crate::clock::Timestamp;
use crate::ledger::fold::{self, Store, StoreError};
use crate::ledger::{DueNow, Environment, Executed, Ledger, LedgerError, OutboxRow, Vitals};

/// The oldest SQLite without the bug that can corrupt a WAL with two connections.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// Pages of 4 KiB in the write-ahead log before they are copied into the file: 32 MiB. A page that
/// changes often is copied once in all that time; the default is an eighth of it.
const CHECKPOINT_PAGES: i64 = 8_000;

/// The page cache: negative, so in KiB (<https://www.sqlite.org/pragma.html#pragma_cache_size>). The
/// default of 2 MB is less than one large group touches.
const CACHE_KIBIBYTES: i64 = -65_536;

/// Commands in one transaction at most: bounds how long one group keeps the next waiting.
const GROUP_MAX: usize = 2_048;

/// Records that are kept in memory from one group to the next, at most: what `open_max` leaves open by
/// default, with their orders and authorizations. Some 50 MB.
const KEPT_MAX: usize = 40_960;

/// Requests that may queue up for the writer thread.
const QUEUE_MAX: usize = 4_096;

/// The ledger in one file.
#[derive(Debug)]
pub struct SqliteLedger {
    queue: mpsc::Sender<Group>,
    questions: mpsc::Sender<Question>,
    environment: Environment,
    /// Held as long as the ledger is: a second worker cannot open it.
    _lock: Arc<File>,
}

/// Commands that are executed together, and who waits for them.
struct Group {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Executed, LedgerError>>,
}

/// A question to the ledger; it gives its answer to whoever asked.
type Question = Box<dyn FnOnce(&Connection) + Send>;

impl SqliteLedger {
    /// Opens the ledger for writing, creates or migrates it, and starts its two threads.
    ///
    /// # Errors
    /// [`LedgerError::Held`] when another worker has it open; [`LedgerError::Open`] when it cannot be
    /// opened, is of a newer version, or does not take `journal_mode=WAL` and `synchronous=FULL`.
    pub fn open(path: &Path, environment: Environment) -> Result<Self, LedgerError> {
        let lock = Arc::new(hold(path)?);
        let connection = open_for_writing(path)?;
        Self::start(path, lock, connection, environment)
    }

    fn start(
        path: &Path,
        lock: Arc<File>,
        connection: Connection,
        environment: Environment,
    ) -> Result<Self, LedgerError> {
        let reading = open_for_reading(path)?;
        let (queue, groups) = mpsc::channel(QUEUE_MAX);
        let (questions, asked) = mpsc::channel(QUEUE_MAX);
        let file = FileStore { connection, kept: None, environment: environment.clone() };
        let held = Arc::clone(&lock);
        let write = move || {
            run(file, groups);
            drop(held);
        };
        std::thread::Builder::new().name("ledger".to_owned()).spawn(write).map_err(|error| open_error(path, &error))?;
        let answer = move || answer_questions(&reading, asked);
        let reader = std::thread::Builder::new().name("ledger-reader".to_owned());
        reader.spawn(answer).map_err(|error| open_error(path, &error))?;
        Ok(Self { queue, questions, environment, _lock: lock })
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        // After a failure nothing is concluded from the file until it is opened anew.
        if self.queue.is_closed() {
            return Err(stopped());
        }
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |connection| {
            // Nobody waits for the answer any more: that is theirs to decide.
            let _ = reply.send(question(connection).map_err(|error| failed(&error)));
        });
        self.questions.send(question).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> LedgerError {
    LedgerError::Failed("its writer has stopped after an earlier failure".to_owned())
}

fn failed(error: &rusqlite::Error) -> LedgerError {
    LedgerError::Failed(error.to_string())
}

fn open_error(path: &Path, cause: &dyn std::fmt::Display) -> LedgerError {
    LedgerError::Open { path: path.display().to_string(), cause: cause.to_string() }
}

/// Takes the lock that keeps a second worker out.
fn hold(path: &Path) -> Result<File, LedgerError> {
    let lock_path = lock_path(path);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
    let lock = lock.map_err(|error| open_error(&lock_path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(LedgerError::Held { path: path.display().to_string() }),
        Err(std::fs::TryLockError::Error(error)) => Err(open_error(&lock_path, &error)),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn open_for_writing(path: &Path) -> Result<Connection, LedgerError> {
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
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
        ("wal_autocheckpoint", CHECKPOINT_PAGES),
        ("cache_size", CACHE_KIBIBYTES),
    ];
    for (pragma, value) in pragmas {
        connection.pragma_update(None, pragma, value).map_err(open)?;
        let set: i64 = connection.pragma_query_value(None, pragma, |row| row.get(0)).map_err(open)?;
        if set != value {
            return Err(open_error(path, &format!("{pragma} is {set} and cannot be set to {value}")));
        }
    }
    // Without it SQLite plans a statement anew whenever a parameter is bound that it compared with the
    // condition of a partial index: with every use of every statement on such a table.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(open)?;
    connection.set_prepared_statement_cache_capacity(64);
    schema::migrate(&mut connection, &path.display().to_string())?;
    Ok(connection)
}

/// Opens a ledger for reading, while a worker may be writing it.
///
/// # Errors
/// [`LedgerError::Open`] when there is none or it is of another version.
pub fn open_for_reading(path: &Path) -> Result<Connection, LedgerError> {
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

/// The writer thread: one transaction after another, each with whatever has queued up.
fn run(mut file: FileStore, mut groups: mpsc::Receiver<Group>) {
    while let Some(first) = groups.blocking_recv() {
        if let Err(error) = serve(&mut file, &mut groups, first) {
            tracing::error!(%error, "the ledger failed and takes nothing more");
            return;
        }
    }
}

fn serve(file: &mut FileStore, groups: &mut mpsc::Receiver<Group>, first: Group) -> Result<(), LedgerError> {
    let mut group = Vec::new();
    let mut waiting = Vec::new();
    let mut next = Some(first);
    while let Some(Group { mut commands, reply }) = next.take() {
        waiting.push((commands.len(), reply));
        group.append(&mut commands);
        if group.len() < GROUP_MAX {
            next = groups.try_recv().ok();
        }
    }
    let size = group.len();
    let started = Instant::now();
    let executed = fold::execute(file, &file.environment.clone(), group);
    crate::telemetry::note_commit(size, started.elapsed());
    answer(executed, waiting)
}

/// Gives each caller its part.
fn answer(
    executed: Result<Executed, LedgerError>,
    waiting: Vec<(usize, oneshot::Sender<Result<Executed, LedgerError>>)>,
) -> Result<(), LedgerError> {
    let executed = match executed {
        Ok(executed) => executed,
        Err(error) => {
            for (_, reply) in waiting {
                let _ = reply.send(Err(error.clone()));
            }
            return Err(error);
        }
    };
    let mut replies = executed.replies.into_iter();
    // The first caller carries the events of the whole group to the relay.
    let mut outbox = executed.outbox;
    for (count, reply) in waiting {
        let part = Executed { replies: replies.by_ref().take(count).collect(), outbox: std::mem::take(&mut outbox) };
        let _ = reply.send(Ok(part));
    }
    Ok(())
}

struct FileStore {
    connection: Connection,
    /// The books of the last group, exactly as they are in the file: nobody else writes to it.
    kept: Option<Books>,
    environment: Environment,
}

impl FileStore {
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
        self.statement("BEGIN IMMEDIATE")
    }

    fn load(&mut self, commands: &[Command]) -> Result<Books, StoreError> {
        // Taken: should this group fail, the next one loads everything anew.
        load::load(&self.connection, self.kept.take(), commands).map_err(|error| store_error(&error))
    }

    fn write(&mut self, books: &Books, outbox: &[OutboxRow]) -> Result<(), StoreError> {
        let accounts = &self.environment.policy.accounts;
        let is_single = |record: &Authorization| {
            accounts.get(&record.account).is_some_and(|account| account.captures == Captures::Single)
        };
        let now = (self.environment.clock)().wall;
        write::write(&self.connection, books, outbox, &is_single, now).map_err(|error| store_error(&error))
    }

    fn commit(&mut self) -> Result<(), LedgerError> {
        self.statement("COMMIT")
    }

    fn keep(&mut self, books: Books) {
        self.kept = books.for_next_group(KEPT_MAX);
    }

    fn roll_back(&mut self) -> Result<(), LedgerError> {
        self.statement("ROLLBACK")
    }
}

impl Ledger for SqliteLedger {
    fn execute(&self, commands: Vec<Command>) -> BoxFuture<'_, Result<Executed, LedgerError>> {
        async move {
            let (reply, answer) = oneshot::channel();
            self.queue.send(Group { commands, reply }).await.map_err(|_| stopped())?;
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
        self.ask(read::interrupted).boxed()
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, LedgerError>> {
        self.ask(read::vitals).boxed()
    }
}

#[cfg(test)]
mod tests;
