//! A connection to PostgreSQL for code that waits: on a thread of its own, because whoever calls may
//! be on one that drives a runtime.
//!
//! It is made when it is needed, and anew after it was lost. What was being asked when it was lost
//! fails with [`Trouble::Lost`]; nothing is tried again here.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as answers;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::{FutureExt, LocalBoxFuture};
use rusqlite::types::Value;
use tokio::sync::mpsc;
use tokio_postgres::Row;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::address::Address;
use super::load;
use super::schema;
use super::session::{self, Purpose, Session};
use super::trouble::Trouble;
use crate::capture::books::Books;
use crate::capture::decide::Command;
use crate::capture::records::Authorization;
use crate::ids::AccountName;
use crate::ledger::{LedgerError, Migrated};

/// A thread with a connection, and the way to it. Dropping it ends both.
pub(in crate::ledger) struct Remote {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    lock_timeout: Option<Duration>,
    /// In a transaction a lost connection is not made anew: the rest would be done without the beginning.
    is_within: AtomicBool,
}

/// What is done on the thread.
struct Job {
    may_connect: bool,
    work: Work,
}

type Work = Box<dyn for<'a> FnOnce(Result<&'a Session, String>) -> LocalBoxFuture<'a, ()> + Send>;

impl Remote {
    /// Starts the thread, and makes sure that there is a ledger of this version.
    pub(in crate::ledger) fn open(at: &Address) -> Result<Self, LedgerError> {
        let (jobs, asked) = mpsc::unbounded_channel();
        let address = at.clone();
        let (runtime, at) = (tokio::runtime::Builder::new_current_thread().enable_all().build(), at.clone());
        let failed = |error: std::io::Error| LedgerError::Failed(error.to_string());
        let runtime = runtime.map_err(failed)?;
        let (opened, has_opened) = answers::sync_channel(1);
        let serve = move || {
            runtime.block_on(async {
                match open(&at).await {
                    Ok(session) => {
                        // Whoever opens it waits for this.
                        let _ = opened.send(Ok(()));
                        serve(&at, session, asked).await;
                    }
                    Err(trouble) => drop(opened.send(Err(trouble))),
                }
            });
        };
        let thread = std::thread::Builder::new().name("ledger-session".to_owned()).spawn(serve).map_err(failed)?;
        let opened = has_opened.recv().map_err(|_| LedgerError::Failed("its thread has ended".to_owned()))?;
        opened.map_err(|trouble| open_error(&address, trouble))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), lock_timeout: None, is_within: AtomicBool::new(false) })
    }

    /// Lets no change wait longer for a lock.
    pub(in crate::ledger) fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = Some(timeout);
        self
    }

    /// Asks.
    pub(in crate::ledger) fn query(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, Trouble> {
        let sql = with_dollars(sql);
        self.run(move |session| {
            async move {
                let values: Vec<Bound> = values.into_iter().map(Bound).collect();
                Ok(session.client().query_typed(&sql, &typed(&values)).await?)
            }
            .boxed_local()
        })
    }

    /// Changes rows; how many.
    pub(in crate::ledger) fn execute(&self, sql: &str, values: Vec<Value>) -> Result<usize, Trouble> {
        let sql = with_dollars(sql);
        let changed = self.run(move |session| {
            async move {
                let values: Vec<Bound> = values.into_iter().map(Bound).collect();
                Ok(session.client().execute_typed(&sql, &typed(&values)).await?)
            }
            .boxed_local()
        })?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    /// Writes rows into a table, all of the same columns.
    pub(in crate::ledger) fn copy_in(&self, sql: &str, rows: Vec<Vec<Value>>, of: Vec<Type>) -> Result<(), Trouble> {
        let sql = sql.to_owned();
        self.run(move |session| {
            async move {
                let writer = BinaryCopyInWriter::new(session.client().copy_in(&sql).await?, &of);
                let mut writer = std::pin::pin!(writer);
                for row in rows {
                    let row: Vec<Bound> = row.into_iter().map(Bound).collect();
                    let row: Vec<&(dyn ToSql + Sync)> =
                        row.iter().map(|cell| -> &(dyn ToSql + Sync) { cell }).collect();
                    writer.as_mut().write(&row).await?;
                }
                Ok(writer.finish().await.map(drop)?)
            }
            .boxed_local()
        })
    }

    /// What the commands may touch, as it is now; the commands again. Nobody waits for its end but those
    /// who would change it.
    pub(in crate::ledger) fn load(
        &self,
        commands: Vec<Command>,
        singles: HashSet<AccountName>,
    ) -> Result<(Books, Vec<Command>), Trouble> {
        self.run(move |session| {
            async move {
                let is_single = |record: &Authorization| singles.contains(&record.account);
                let loaded = load::load(session, &["BEGIN"], 0, &commands, &is_single, &[]).await;
                session.batch("ROLLBACK").await?;
                Ok((loaded?, commands))
            }
            .boxed_local()
        })
    }

    /// Several statements without parameters.
    pub(in crate::ledger) fn batch(&self, sql: &str) -> Result<(), Trouble> {
        let sql = sql.to_owned();
        self.run(move |session| async move { session.batch(&sql).await }.boxed_local())
    }

    /// Begins a transaction, which is undone unless it is ended.
    pub(in crate::ledger) fn begin(&self, sql: &str) -> Result<Transaction<'_>, Trouble> {
        match self.lock_timeout {
            Some(timeout) => self.batch(&format!("{sql}; SET LOCAL lock_timeout = {}", timeout.as_millis()))?,
            None => self.batch(sql)?,
        }
        self.is_within.store(true, Ordering::Relaxed);
        Ok(Transaction { remote: self, has_ended: false })
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a Session) -> LocalBoxFuture<'a, Result<T, Trouble>> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (reply, answer) = answers::sync_channel(1);
        let work: Work = Box::new(move |session| {
            async move {
                let done = match session {
                    Ok(session) => work(session).await,
                    Err(cause) => Err(Trouble::Lost(cause)),
                };
                // Whoever asked waits for it.
                let _ = reply.send(done);
            }
            .boxed_local()
        });
        let job = Job { may_connect: !self.is_within.load(Ordering::Relaxed), work };
        let ended = || Trouble::Lost("its thread has ended".to_owned());
        self.jobs.as_ref().expect("only a drop takes it").send(job).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // A thread that panicked has let go of its connection too.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A transaction.
pub(in crate::ledger) struct Transaction<'a> {
    remote: &'a Remote,
    has_ended: bool,
}

impl Transaction<'_> {
    /// Ends it as it is meant to end.
    pub(in crate::ledger) fn end(mut self, sql: &str) -> Result<(), Trouble> {
        let ended = self.remote.batch(sql);
        self.has_ended = ended.is_ok();
        ended
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            // Where the connection is lost, it is undone already.
            let _ = self.remote.batch("ROLLBACK");
        }
        self.remote.is_within.store(false, Ordering::Relaxed);
    }
}

/// Brings a database to the version that this Holdfast reads.
pub(in crate::ledger) fn migrate(at: &Address) -> Result<Migrated, LedgerError> {
    let failed = |error: std::io::Error| LedgerError::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let address = at.clone();
    let migrate = move || {
        runtime.block_on(async {
            let mut session = session::connect(&address, Purpose::Questions).await?;
            schema::migrate(session.client_mut()).await
        })
    };
    let ended = std::thread::spawn(migrate).join();
    let migrated = ended.map_err(|_| LedgerError::Failed("its thread has ended".to_owned()))?;
    migrated.map_err(|trouble| open_error(at, trouble))
}

/// A server that is away may come back. A standby may become the primary, but it was named: that is said at
/// once.
pub(super) fn open_error(at: &Address, trouble: Trouble) -> LedgerError {
    let is_lost = matches!(&trouble, Trouble::Lost(why) if why != session::STANDBY);
    let (path, cause) = (at.shown(), super::cause(trouble));
    if is_lost { LedgerError::Away(format!("{path}: {cause}")) } else { LedgerError::Open { path, cause } }
}

/// Connects, and makes sure that there is a ledger of this version.
async fn open(at: &Address) -> Result<Session, Trouble> {
    let mut session = session::connect(at, Purpose::Questions).await?;
    schema::check(session.client_mut()).await?;
    Ok(session)
}

/// The thread.
async fn serve(at: &Address, session: Session, mut asked: mpsc::UnboundedReceiver<Job>) {
    let mut session = Some(session);
    while let Some(Job { may_connect, work }) = asked.recv().await {
        session = session.filter(|session| !session.is_closed());
        let mut why = "the connection was lost".to_owned();
        if session.is_none() && may_connect {
            match open(at).await {
                Ok(opened) => session = Some(opened),
                Err(trouble) => why = trouble.words(),
            }
        }
        work(session.as_ref().ok_or(why)).await;
    }
}

/// Parameters with their types. That of a null is for the server to find out.
fn typed(values: &[Bound]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.iter().map(|value| -> (&(dyn ToSql + Sync), Type) { (value, value.of()) }).collect()
}

/// A parameter.
#[derive(Debug)]
struct Bound(Value);

impl Bound {
    const fn of(&self) -> Type {
        match &self.0 {
            Value::Null => Type::UNKNOWN,
            Value::Integer(_) => Type::INT8,
            Value::Real(_) => Type::FLOAT8,
            Value::Text(_) => Type::TEXT,
            Value::Blob(_) => Type::BYTEA,
        }
    }
}

impl ToSql for Bound {
    fn to_sql(&self, of: &Type, to: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(number) => number.to_sql(of, to),
            Value::Real(number) => number.to_sql(of, to),
            Value::Text(text) => text.to_sql(of, to),
            Value::Blob(bytes) => bytes.to_sql(of, to),
        }
    }

    fn accepts(_of: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// `?1` as PostgreSQL writes it; `?` alone is the one after the highest so far, as SQLite has it.
fn with_dollars(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut translated = parts.next().unwrap_or_default().to_owned();
    let mut highest: u32 = 0;
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = part[..digits].parse().unwrap_or(highest + 1);
        highest = highest.max(number);
        translated.push('$');
        translated += &number.to_string();
        translated += &part[digits..];
    }
    translated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_their_numbers() {
        for (sql, translated) in [
            ("SELECT ?1 + ?2 WHERE x < ?1", "SELECT $1 + $2 WHERE x < $1"),
            ("a = ? AND b IN (?, ?)", "a = $1 AND b IN ($2, $3)"),
            ("a = ?2 AND b IN (?, ?)", "a = $2 AND b IN ($3, $4)"),
            ("?10", "$10"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(with_dollars(sql), translated);
        }
    }
}
