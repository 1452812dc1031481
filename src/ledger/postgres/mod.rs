//! The ledger of any number of workers: PostgreSQL.
//!
//! Every worker has one connection that writes, a group of commands in one transaction, and some that ask.
//! Orders are locked in the order of their rows, so two workers that come to the same one take turns. What
//! a worker has begun is its own while its lease lasts, and is taken over after that.
//!
//! It does not decide, and no safety rests on a lease: that is on states, epochs and the constraints of the
//! tables. While the server is away, the ledger waits for it; it ends only on what does not pass.

// where it is, and how it is reached
mod address;
mod session;
mod tls;
mod trouble;

// asked by code that waits
mod remote;

// what the worker's loops ask
mod read;
mod readers;

// the fold's two ends
mod load;
mod store;
mod write;

// who works on it
mod lease;

// rows and tables
mod cells;
mod pipeline;
mod schema;

// a server of the tests' own
pub mod local_server;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::capture::decide::Command;
use crate::capture::records::CaptureKey;
use crate::clock::Timestamp;
use crate::ledger::groups::{self, Group};
use crate::ledger::postgres::readers::Readers;
use crate::ledger::postgres::session::Session;
use crate::ledger::postgres::store::PostgresStore;
use crate::ledger::thread::{Thread, stopped};
use crate::ledger::{DueNow, Environment, Executed, Ledger, LedgerError, OutboxRow, Vitals};

pub use address::Address;

pub(in crate::ledger) use remote::{Remote, Transaction, migrate};
pub(in crate::ledger) use schema::NO_LEDGER;
pub(in crate::ledger) use trouble::Trouble;

/// Commands in one transaction at most: bounds how long a group holds its orders.
const GROUP_MAX: usize = 1_024;

/// How long what a worker has begun stays its own after it was last heard of.
const LEASE: Duration = Duration::from_secs(10);

/// Numbers of rows that a worker takes from the sequence at once.
const BLOCK: i64 = 4_096;

/// What a worker brings along.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it calls itself, for people.
    pub name: String,
    /// How long what it has begun stays its own after it was last heard of. Renewed with every group, and
    /// three times in it at least.
    pub lease: Duration,
    /// Numbers of rows that it takes from the sequence at once.
    block: i64,
}

impl Options {
    /// What is usual, for a worker of this name.
    pub const fn named(name: String) -> Self {
        Self { name, lease: LEASE, block: BLOCK }
    }
}

/// The ledger in PostgreSQL.
#[derive(Debug)]
pub struct PostgresLedger {
    // Dropped in this order: the heartbeat ends before the worker leaves.
    readers: Readers,
    /// Ends waiting for a server that is away, before the writer's end is waited for.
    _closing: tokio_util::sync::DropGuard,
    groups: Thread<Group>,
    environment: Environment,
    worker: i64,
    was_asked_for_interrupted: AtomicBool,
}

#[cfg(test)]
impl Options {
    /// So few numbers at once that they run out all the time.
    pub(in crate::ledger) fn with_few_numbers() -> Self {
        Self { block: 64, ..Self::named("test".to_owned()) }
    }
}

impl PostgresLedger {
    /// Connects, creates or migrates the tables, and enters as a worker.
    ///
    /// # Errors
    /// [`LedgerError::Away`] when the server does not answer; [`LedgerError::Open`] when it does not keep what
    /// it is given (`synchronous_commit`, `fsync`, `full_page_writes`), is a standby, is older than 14, lets
    /// nobody of this name in, or has a ledger of a newer version.
    pub async fn open(address: &Address, options: Options, environment: Environment) -> Result<Self, LedgerError> {
        let closing = CancellationToken::new();
        let (opened, is_open) = oneshot::channel();
        let lease = options.lease;
        let serve = {
            let (address, environment, closing) = (address.clone(), environment.clone(), closing.clone());
            move |groups| match PostgresStore::open(&address, &options, environment.clone(), &closing) {
                Ok(store) => {
                    // Nobody waits any more: then nothing comes either.
                    let _ = opened.send(Ok(store.worker()));
                    groups::run(store, &environment, groups, GROUP_MAX);
                }
                Err(trouble) => {
                    let _ = opened.send(Err(trouble));
                }
            }
        };
        let cannot = |cause: String| LedgerError::Open { path: address.shown(), cause };
        let groups = Thread::start("ledger", serve).map_err(|error| cannot(error.to_string()))?;
        // Whoever stops waiting for this ends the thread's wait for the server first.
        let closing = closing.drop_guard();
        let opened = is_open.await.map_err(|_| stopped())?;
        let worker = opened.map_err(|trouble| remote::open_error(address, trouble))?;
        let readers = Readers::start(address, worker, lease).map_err(cannot)?;
        let was_asked_for_interrupted = AtomicBool::new(false);
        Ok(Self { readers, _closing: closing, groups, environment, worker, was_asked_for_interrupted })
    }

    /// The worker's row.
    pub const fn worker(&self) -> i64 {
        self.worker
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> Fn(&'a Session) -> BoxFuture<'a, Result<T, Trouble>> + Send + Sync + 'static,
    ) -> Result<T, LedgerError> {
        // After a failure nothing is concluded from the tables until they are opened anew.
        if self.groups.has_ended() {
            return Err(stopped());
        }
        self.readers.ask(question).await
    }
}

fn cause(trouble: Trouble) -> String {
    match trouble {
        Trouble::Fatal(LedgerError::Failed(why)) => why,
        Trouble::Again(_)
        | Trouble::Twice(_)
        | Trouble::Lost(_)
        | Trouble::Untrusted(_)
        | Trouble::Refused(_)
        | Trouble::Fatal(_) => trouble.words(),
    }
}

impl Ledger for PostgresLedger {
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
        let (worker, policy) = (self.worker, Arc::clone(&self.environment.policy));
        self.ask(move |session| {
            let policy = Arc::clone(&policy);
            async move {
                let among = read::among(session, worker).await?;
                read::find_due(session, &among, &policy, now, limit).await
            }
            .boxed()
        })
        .boxed()
    }

    fn unpublished(
        &self,
        row: i64,
        written_before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, LedgerError>> {
        let worker = self.worker;
        self.ask(move |session| {
            async move {
                let among = read::among(session, worker).await?;
                read::unpublished(session, &among, row, written_before, limit).await
            }
            .boxed()
        })
        .boxed()
    }

    fn interrupted(&self) -> BoxFuture<'_, Result<Vec<(CaptureKey, u32)>, LedgerError>> {
        let worker = self.worker;
        async move {
            let is_first = !self.was_asked_for_interrupted.load(Ordering::Relaxed);
            let so_far = Arc::new(Mutex::default());
            let found = self.ask(move |session| {
                let so_far = Arc::clone(&so_far);
                async move {
                    let among = read::among(session, worker).await?;
                    read::interrupted(session, &among, is_first, &so_far).await
                }
                .boxed()
            });
            let found = found.await?;
            self.was_asked_for_interrupted.store(true, Ordering::Relaxed);
            Ok(found)
        }
        .boxed()
    }

    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, LedgerError>> {
        self.ask(|session| read::vitals(session).boxed()).boxed()
    }
}

#[cfg(test)]
pub(crate) mod tests;
