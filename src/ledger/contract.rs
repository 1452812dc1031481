//! What a ledger is to the rest: its one write, what it can be asked, and what either may come to.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use uuid::Uuid;

use crate::capture::decide::{Command, Due, Ready, Reply};
use crate::capture::event::Event;
use crate::capture::policy::Policy;
use crate::capture::records::CaptureKey;
use crate::capture::retry::Jitter;
use crate::clock::{Moment, Timestamp};
use crate::ids::AccountName;

/// What happened, durably.
pub trait Ledger: Send + Sync {
    /// Executes a group of commands in one transaction, and returns when it is durable.
    ///
    /// A command that breaks an invariant fails alone: its neighbours are executed without it.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known of any of the commands, and the ledger takes no more.
    fn execute(&self, commands: Vec<Command>) -> BoxFuture<'_, Result<Executed, LedgerError>>;

    /// What is due now, at most `limit` of each kind and account: what one account cannot get rid of
    /// never crowds out another's. A wait that was set by a clock which has been set back since is
    /// over, so that a clock that goes there and back delays nothing.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    fn find_due(&self, limit: u32) -> BoxFuture<'_, Result<DueNow, LedgerError>>;

    /// Events behind `row`, written before `written_before`, that are not published: the oldest first.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    fn unpublished(
        &self,
        row: i64,
        written_before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, LedgerError>>;

    /// Captures that are being sent or in doubt, with their epochs, and that a worker left which is gone:
    /// for this one to find out, at once. Each is told once. Where there is one worker at a time, only the
    /// first question finds any.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    fn interrupted(&self) -> BoxFuture<'_, Result<Vec<(CaptureKey, u32)>, LedgerError>>;

    /// The first numbers on the dashboard.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    fn vitals(&self) -> BoxFuture<'_, Result<Vitals, LedgerError>>;
}

/// What is due.
#[derive(Debug, Clone, Default)]
pub struct DueNow {
    /// Captures and authorizations, for which a provider is called, the earliest deadline first.
    pub calls: Vec<Ready>,
    /// What needs no call: shipments and notices that wait for something to become known, in the order
    /// of arrival, orders whose grace is over, and authorizations to be warned of.
    pub others: Vec<Due>,
}

/// What came of a group.
#[derive(Debug)]
pub struct Executed {
    /// One reply per command, in their order.
    pub replies: Vec<Result<Reply, CommandFailed>>,
    /// Events that the group wrote to the outbox.
    pub outbox: Vec<OutboxRow>,
}

/// A command that broke an invariant. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the command broke an invariant: {0}")]
pub struct CommandFailed(pub String);

/// An event in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its row, unique for ever.
    pub row: i64,
    /// The event's id.
    pub event_id: Uuid,
    /// Its type, which is the routing key.
    pub kind: String,
    /// The bytes to publish: the same in every repetition.
    pub body: Bytes,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// The first numbers on the dashboard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Captures that are planned, being sent or in doubt.
    pub open_captures: u64,
    /// Captures in doubt, by account.
    pub in_doubt: Vec<(AccountName, u64)>,
    /// Since when the oldest of them is.
    pub oldest_doubt: Option<Timestamp>,
    /// Earned and not captured, by account and currency, in minor units.
    pub earned_uncaptured: Vec<(AccountName, String, i64)>,
    /// The earliest expiry of an authorization with earned money that is not captured.
    pub nearest_deadline: Option<Timestamp>,
    /// Since when the oldest shipment or notice waits for its plan, authorization or account.
    pub oldest_awaiting: Option<Timestamp>,
    /// Events that are not published.
    pub outbox_pending: u64,
    /// When the oldest of them was written.
    pub outbox_oldest: Option<Timestamp>,
    /// Open dead letters, by reason.
    pub dead_letters: Vec<(String, u64)>,
    /// Authorizations on which nothing is sent because somebody else captures on them, by account.
    pub halted: Vec<(AccountName, u64)>,
    /// Captures that a cap of their account holds, by account.
    pub held: Vec<(AccountName, u64)>,
    /// When an outcome was corrected last, by account, where one ever was.
    pub corrected: Vec<(AccountName, Timestamp)>,
}

/// What a ledger needs beside its store: the rules, the time, chance, and how events are written.
#[derive(Clone)]
pub struct Environment {
    /// The rules.
    pub policy: Arc<Policy>,
    /// What time it is.
    pub clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    /// Chance.
    pub jitter: Arc<dyn Fn() -> Jitter + Send + Sync>,
    /// An event's bytes.
    pub encode: Arc<dyn Fn(&Event) -> Bytes + Send + Sync>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// What it took to bring a ledger to the version that this Holdfast reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version that was found; 0 where there was no ledger.
    pub from: usize,
    /// The version that it has now.
    pub to: usize,
}

/// Why the ledger cannot be relied on. Every variant is fatal for the worker that sees it.
#[derive(Debug, Clone, Error)]
pub enum LedgerError {
    /// Another worker holds the ledger.
    #[error("another worker holds the ledger `{path}`: stop it first, or use another ledger")]
    Held {
        /// The file.
        path: String,
    },
    /// It was moved to another place.
    #[error("the ledger `{path}` {state}")]
    Moved {
        /// Where it was.
        path: String,
        /// What became of it, and what to do.
        state: String,
    },
    /// The file cannot be opened as a ledger.
    #[error("the ledger `{path}` cannot be opened: {cause}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// The server of the ledger is not there, or busy for longer than is waited for; it may come back.
    #[error("the ledger cannot be reached: {0}")]
    Away(String),
    /// Reading or writing failed; what is durable is unknown.
    #[error("the ledger failed: {0}; nothing more is done until it was read anew: restart the worker")]
    Failed(String),
}
