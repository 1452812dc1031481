//! The writer's end: transactions on one connection, which is made anew when it is lost.
//!
//! While the server is away, the writer waits for it. Of a transaction that was cut off, the worker's own
//! row tells whether it is durable; if not, the group is decided anew on what is there then.

use std::collections::HashSet;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::capture::books::Books;
use crate::capture::dead_letter::DeadLetter;
use crate::capture::decide::Command;
use crate::capture::policy::Captures;
use crate::capture::records::Authorization;
use crate::ids::DeadLetterId;
use crate::ledger::fold::{Store, StoreError};
use crate::ledger::rows;
use crate::ledger::{Environment, LedgerError, OutboxRow};

use super::Options;
use super::address::Address;
use super::lease;
use super::load;
use super::schema;
use super::session::{self, Purpose, Session};
use super::trouble::Trouble;
use super::write::{self, Writer};

/// A block of numbers lasts for so many commands, roughly. A group that comes to more than are left is done
/// anew with more.
const COMMANDS_PER_BLOCK: i64 = 256;

/// How long a worker takes over its leave.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// After so many unique violations in a row it is no race.
const RACES_MAX: u32 = 8;

/// Between two tries: shortest, longest.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(50);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// After another writer came between.
const RACE_PAUSE: Duration = Duration::from_millis(10);

/// The transactions of the groups, on a runtime of their own thread.
pub(super) struct PostgresStore {
    runtime: Runtime,
    link: Link,
}

impl PostgresStore {
    /// Connects, migrates, and enters the worker.
    pub(super) fn open(
        address: &Address,
        options: &Options,
        environment: Environment,
        closing: &CancellationToken,
    ) -> Result<Self, Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Trouble::fatal(error.to_string()))?;
        let link = runtime.block_on(async {
            tokio::select! {
                opened = Link::open(address, options, environment, closing.clone()) => opened,
                () = closing.cancelled() => Err(Trouble::Fatal(closed())),
            }
        })?;
        Ok(Self { runtime, link })
    }

    /// The worker's row.
    pub(super) const fn worker(&self) -> i64 {
        self.link.worker
    }
}

/// The writer's connection, and what it knows.
struct Link {
    address: Address,
    environment: Environment,
    closing: CancellationToken,
    session: Option<Session>,
    worker: i64,
    lease: Duration,
    /// Transactions that are durable.
    groups: i64,
    numbers: Numbers,
    /// How many numbers are taken at once.
    block: i64,
    is_begun: bool,
    /// Unique violations in a row.
    races: u32,
    /// Since the last transaction that is durable, the server was lost.
    away: Option<Away>,
}

/// A server that cannot be used.
struct Away {
    /// How long to wait next.
    pause: Duration,
    /// The reasons that were said: first it breaks off, then perhaps it has no valid certificate.
    said: HashSet<String>,
}

/// Numbers of rows that are ours.
#[derive(Debug, Default, Clone, Copy)]
struct Numbers {
    next: i64,
    end: i64,
    /// So many the next group needs at least.
    needed: i64,
}

impl Link {
    async fn open(
        address: &Address,
        options: &Options,
        environment: Environment,
        closing: CancellationToken,
    ) -> Result<Self, Trouble> {
        let mut session = session::connect(address, Purpose::Groups).await?;
        schema::migrate(session.client_mut()).await?;
        let worker = lease::enter(&session, options).await?;
        Ok(Self {
            address: address.clone(),
            environment,
            closing,
            session: Some(session),
            worker,
            lease: options.lease,
            groups: 0,
            numbers: Numbers::default(),
            block: options.block,
            is_begun: false,
            races: 0,
            away: None,
        })
    }

    fn session(&self) -> Result<&Session, Trouble> {
        self.session.as_ref().ok_or_else(|| Trouble::Lost("the connection was lost".to_owned()))
    }

    /// A connection, as soon as there is one.
    async fn connect(&mut self) -> Result<(), LedgerError> {
        if self.session.as_ref().is_some_and(|session| !session.is_closed()) {
            return Ok(());
        }
        self.session = None;
        self.is_begun = false;
        loop {
            let connecting = async {
                let mut session = session::connect(&self.address, Purpose::Groups).await?;
                schema::check(session.client_mut()).await?;
                Ok::<Session, Trouble>(session)
            };
            let connected = tokio::select! {
                connected = connecting => connected,
                () = self.closing.cancelled() => return Err(closed()),
            };
            match connected {
                Ok(session) => {
                    self.session = Some(session);
                    return Ok(());
                }
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(trouble) => self.wait_for_the_server(&trouble.words()).await?,
            }
        }
    }

    /// Waits a while, longer each time. Each reason is said once.
    async fn wait_for_the_server(&mut self, why: &str) -> Result<(), LedgerError> {
        let away = self.away.get_or_insert_with(|| Away { pause: PAUSE_MIN, said: HashSet::new() });
        if away.said.insert(why.to_owned()) {
            let ledger = self.address.shown();
            tracing::warn!(%ledger, "PostgreSQL cannot be used, and everything waits for it: {why}");
        }
        let pause = away.pause;
        away.pause = (pause * 2).min(PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => Ok(()),
            () = self.closing.cancelled() => Err(closed()),
        }
    }

    /// Takes numbers, unless there are enough for so many commands.
    async fn number(&mut self, commands: usize) -> Result<(), Trouble> {
        let commands = i64::try_from(commands).unwrap_or(i64::MAX);
        let needed = self.numbers.needed.max(commands.saturating_mul((self.block / COMMANDS_PER_BLOCK).max(1)));
        if self.numbers.end - self.numbers.next >= needed {
            return Ok(());
        }
        let more = needed.max(self.block);
        let sql = "UPDATE sequence SET next_row = next_row + $1 RETURNING next_row - $1";
        let rows = self.session()?.query(sql, &[&more]).await?;
        let start: i64 = rows.first().ok_or_else(|| Trouble::fatal("there is no sequence"))?.try_get(0)?;
        if start != self.numbers.end {
            // Somebody else was there: what is left of ours is a gap.
            self.numbers.next = start;
        }
        self.numbers.end = start + more;
        Ok(())
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Books, Trouble> {
        if !self.is_begun {
            self.number(commands.len()).await?;
        }
        let first: &[&str] = if self.is_begun { &[] } else { &["BEGIN"] };
        self.is_begun = true;
        let policy = &self.environment.policy;
        let counted = policy.counted();
        load::load(self.session()?, first, self.numbers.next, commands, &is_single(policy), &counted).await
    }

    async fn dead_letters(&self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, Trouble> {
        let ids: Vec<Vec<u8>> = ids.iter().map(|id| id.as_uuid().as_bytes().to_vec()).collect();
        let found = self.session()?.query(load::DEAD_LETTERS, &[&ids]).await?;
        Ok(found.iter().map(rows::read_dead_letter).collect::<rusqlite::Result<_>>()?)
    }

    async fn write(&mut self, books: &Books, outbox: &[OutboxRow]) -> Result<(), Trouble> {
        if books.next_row() > self.numbers.end {
            self.numbers.needed = (books.next_row() - self.numbers.next) * 2;
            return Err(Trouble::Again("more numbers of rows are needed".to_owned()));
        }
        let writer = Writer {
            worker: self.worker,
            group: self.groups + 1,
            lease: i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX),
        };
        let policy = &self.environment.policy;
        let now = (self.environment.clock)().wall;
        write::write(self.session()?, writer, books, outbox, &is_single(policy), now).await
    }

    async fn commit(&mut self) -> Result<(), Trouble> {
        let committed = self.session()?.batch("COMMIT").await;
        self.is_begun = false;
        match committed {
            Ok(()) => Ok(()),
            Err(Trouble::Lost(why)) => {
                self.session = None;
                self.find_out(&why).await
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Is the transaction durable whose end was cut off? Should it still be under way, its lock on our row
    /// is waited for.
    async fn find_out(&mut self, why: &str) -> Result<(), Trouble> {
        loop {
            self.connect().await.map_err(Trouble::Fatal)?;
            let sql = "SELECT groups FROM workers WHERE worker_row = $1 FOR UPDATE";
            let asked = async { self.session()?.query(sql, &[&self.worker]).await };
            let rows = match asked.await {
                Ok(rows) => rows,
                Err(Trouble::Lost(_) | Trouble::Again(_)) => {
                    self.session = None;
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            let row = rows.first().ok_or_else(|| Trouble::fatal("the worker's row is gone: start it anew"))?;
            let is_durable = row.try_get::<_, i64>(0)? == self.groups + 1;
            tracing::info!(is_durable, "the connection was lost while a transaction ended ({why}): it is known now");
            return if is_durable { Ok(()) } else { Err(Trouble::Lost(why.to_owned())) };
        }
    }

    async fn roll_back(&mut self) -> Result<(), LedgerError> {
        if !std::mem::take(&mut self.is_begun) {
            return Ok(());
        }
        let Ok(session) = self.session() else { return Ok(()) };
        match session.batch("ROLLBACK").await {
            Ok(()) => Ok(()),
            Err(Trouble::Fatal(error)) => Err(error),
            // With the connection, the transaction is gone.
            Err(
                Trouble::Again(_) | Trouble::Twice(_) | Trouble::Lost(_) | Trouble::Untrusted(_) | Trouble::Refused(_),
            ) => {
                self.session = None;
                Ok(())
            }
        }
    }

    /// What has to be done about it, and said of it.
    async fn take(&mut self, trouble: Trouble) -> StoreError {
        match trouble {
            Trouble::Refused(why) => StoreError::Refused(why),
            Trouble::Fatal(error) => StoreError::Fatal(error),
            Trouble::Twice(why) if self.races >= RACES_MAX => StoreError::Refused(why),
            Trouble::Again(_) | Trouble::Twice(_) => {
                self.races += u32::from(matches!(trouble, Trouble::Twice(_)));
                let why = trouble.words();
                tracing::debug!("another worker came between, once more: {why}");
                if let Err(error) = self.roll_back().await {
                    return StoreError::Fatal(error);
                }
                tokio::time::sleep(jittered(RACE_PAUSE)).await;
                StoreError::Again
            }
            Trouble::Lost(why) | Trouble::Untrusted(why) => {
                self.session = None;
                self.is_begun = false;
                match self.wait_for_the_server(&why).await {
                    Ok(()) => StoreError::Again,
                    Err(error) => StoreError::Fatal(error),
                }
            }
        }
    }
}

fn closed() -> LedgerError {
    LedgerError::Failed("it was closed while PostgreSQL was away".to_owned())
}

/// Full jitter: anything up to `pause`.
pub(super) fn jittered(pause: Duration) -> Duration {
    Duration::from_micros(fastrand::u64(0..=u64::try_from(pause.as_micros()).unwrap_or(u64::MAX)))
}

/// Is an authorization captured once, for all its shipments?
fn is_single(policy: &crate::capture::policy::Policy) -> impl Fn(&Authorization) -> bool + Sync + '_ {
    |record| policy.accounts.get(&record.account).is_some_and(|account| account.captures == Captures::Single)
}

impl Store for PostgresStore {
    fn begin(&mut self) -> Result<(), LedgerError> {
        // The transaction itself begins with the first statement in it.
        self.runtime.block_on(self.link.connect())
    }

    fn load(&mut self, commands: &[Command]) -> Result<Books, StoreError> {
        self.runtime.block_on(async {
            match self.link.load(commands).await {
                Ok(books) => Ok(books),
                Err(trouble) => Err(self.link.take(trouble).await),
            }
        })
    }

    fn dead_letters(&mut self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError> {
        self.runtime.block_on(async {
            match self.link.dead_letters(ids).await {
                Ok(found) => Ok(found),
                Err(trouble) => Err(self.link.take(trouble).await),
            }
        })
    }

    fn write(&mut self, books: &Books, outbox: &[OutboxRow]) -> Result<(), StoreError> {
        self.runtime.block_on(async {
            match self.link.write(books, outbox).await {
                Ok(()) => Ok(()),
                Err(trouble) => Err(self.link.take(trouble).await),
            }
        })
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.runtime.block_on(async {
            match self.link.commit().await {
                Ok(()) => Ok(()),
                Err(trouble) => Err(self.link.take(trouble).await),
            }
        })
    }

    /// Others write too: nothing is kept from one group to the next.
    fn keep(&mut self, books: Books) {
        if self.link.away.take().is_some() {
            tracing::info!(ledger = %self.link.address.shown(), "PostgreSQL is back");
        }
        self.link.groups += 1;
        self.link.races = 0;
        self.link.numbers.next = books.next_row();
        self.link.numbers.needed = 0;
    }

    fn roll_back(&mut self) -> Result<(), LedgerError> {
        self.runtime.block_on(self.link.roll_back())
    }

    fn close(&mut self) {
        let Some(session) = &self.link.session else { return };
        let (worker, numbers) = (self.link.worker, self.link.numbers);
        // Should it fail: the lease runs out, and the rest of the numbers is a gap.
        let leaving = lease::leave(session, worker, numbers.next, numbers.end);
        match self.runtime.block_on(async { tokio::time::timeout(LEAVE_MAX, leaving).await }) {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => tracing::debug!("the worker could not take its leave: {}", trouble.words()),
            Err(_) => tracing::debug!("the worker could not take its leave in time"),
        }
    }
}
