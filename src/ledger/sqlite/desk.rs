//! Where operators' requests are put and answered, and where each account stands.
//!
//! A command writes its request and waits; the worker that holds the ledger carries it out and answers.
//! Each has a connection of its own. Nothing in here touches the books: what a request changes about
//! them goes through the ledger's one write.

// what ended without its money
mod replays;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use crate::clock::{self, Timestamp};
use crate::ids::AccountName;
use crate::ledger::LedgerError;
use crate::ledger::sqlite::codec::{At, at, corrupt, instant};
use crate::ledger::sqlite::{failed, lock, open_error, schema};

pub use replays::{Chosen, Pace, ReplayItem};

/// What an operator can ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum What {
    /// Send nothing more for an account.
    PauseAccount {
        /// Its name.
        account: String,
    },
    /// End such a pause.
    ResumeAccount {
        /// Its name.
        account: String,
    },
    /// Read a capture's authorization at its provider now.
    LookCapture {
        /// The capture's row.
        row: i64,
        /// Its id.
        capture: String,
        /// The account that is called.
        account: String,
    },
    /// End a capture in doubt.
    CloseCapture {
        /// The capture's row.
        row: i64,
        /// Its id.
        capture: String,
        /// The provider's id of it, where it was captured; else it is closed without an answer.
        captured: Option<String>,
    },
    /// End the halt of an authorization.
    ResumeAuthorization {
        /// The authorization's row.
        row: i64,
        /// Its account.
        account: String,
        /// The provider's id of it.
        reference: String,
    },
    /// Try dead letters again.
    StartReplay {
        /// Which.
        chosen: Chosen,
        /// How.
        pace: Pace,
    },
    /// Hold a replay.
    PauseReplay {
        /// Which.
        job: i64,
    },
    /// Let a replay go on.
    ResumeReplay {
        /// Which.
        job: i64,
    },
    /// Begin nothing more of a replay.
    StopReplay {
        /// Which.
        job: i64,
    },
    /// Forget dead letters.
    DiscardDeadLetters {
        /// Which.
        chosen: Chosen,
    },
    /// Take discarded dead letters back.
    RestoreDeadLetters {
        /// Which.
        chosen: Chosen,
    },
}

/// A request, as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
    /// For what.
    pub what: What,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Was it done?
    pub done: bool,
    /// What happened, or why it was not done.
    pub message: String,
}

/// Where an account stands, as its worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountStatus {
    /// The account.
    pub account: AccountName,
    /// `active`, `paused`, `suspended` or `breaker_open`.
    pub state: String,
    /// Why, where it is not active.
    pub why: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When something last worked.
    pub last_success: Option<Timestamp>,
    /// How far its provider's clock is ahead of ours, where that is known.
    pub clock_skew: Option<TimeDelta>,
}

/// What an earlier worker left about an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAccount {
    /// Why an operator paused it, while it is paused.
    pub paused: Option<String>,
    /// When something last worked.
    pub last_success: Option<Timestamp>,
}

/// The desk of one ledger.
#[derive(Debug)]
pub struct Desk {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Desk {
    /// Opens it at a ledger that a worker has made.
    ///
    /// # Errors
    /// [`LedgerError::Open`] when there is none or it is of another version.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let open = |error: rusqlite::Error| open_error(path, &error);
        if !path.exists() {
            return Err(open_error(path, &"there is none: the worker creates it when it first runs"));
        }
        let connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(open)?;
        connection.pragma_update(None, "synchronous", 2).map_err(open)?;
        schema::check(&connection, &path.display().to_string())?;
        Ok(Self { connection: Mutex::new(connection), path: path.to_owned() })
    }

    /// Does a worker hold the ledger now?
    ///
    /// # Errors
    /// [`LedgerError::Open`] when that cannot be found out.
    pub fn is_served(&self) -> Result<bool, LedgerError> {
        lock::is_held(&self.path)
    }

    /// Puts a request; its row.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn put(&self, request: &Request) -> Result<i64, LedgerError> {
        let what = serde_json::to_string(&request.what).map_err(|error| LedgerError::Failed(error.to_string()))?;
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO requests (asked_at, asked_by, reason, what) VALUES (?1, ?2, ?3, ?4)",
                params![At(clock::now()), request.by, request.reason, what],
            )?;
            Ok(transaction.last_insert_rowid())
        })
    }

    /// What became of a request; `None` while nobody has answered.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn answer_to(&self, row: i64) -> Result<Option<Answer>, LedgerError> {
        answered(&self.connection(), row).map_err(|error| failed(&error))
    }

    /// Answers a request; `false` where it is answered already.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn answer(&self, row: i64, answer: &Answer) -> Result<bool, LedgerError> {
        self.write(|transaction| write_answer(transaction, row, answer))
    }

    /// Requests that nobody has answered, in their order. What this Holdfast does not know is left out.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn open_requests(&self) -> Result<Vec<(i64, Option<Request>)>, LedgerError> {
        let read = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT request_row, asked_by, reason, what FROM requests WHERE answered_at IS NULL
                 ORDER BY request_row",
            )?;
            statement.query_map([], read_request)?.collect::<rusqlite::Result<_>>()
        };
        read(&self.connection()).map_err(|error| failed(&error))
    }

    /// Writes down that an account is paused, and why, or that it is not any more, together with the
    /// answer to whoever asked.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn set_pause(&self, row: i64, status: &AccountStatus, answer: &Answer) -> Result<(), LedgerError> {
        let paused = (status.state == "paused").then(|| status.why.clone().unwrap_or_default());
        self.write(|transaction| {
            write_status(transaction, status)?;
            let sql = "UPDATE accounts SET paused_why = ?2 WHERE account = ?1";
            transaction.execute(sql, params![status.account.as_str(), paused])?;
            write_answer(transaction, row, answer).map(drop)
        })
    }

    /// Writes down where an account stands.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn set_status(&self, status: &AccountStatus) -> Result<(), LedgerError> {
        self.write(|transaction| write_status(transaction, status))
    }

    /// What an earlier worker left about an account.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn kept(&self, account: &AccountName) -> Result<KeptAccount, LedgerError> {
        let sql = "SELECT paused_why, last_success_at FROM accounts WHERE account = ?1";
        let read = |row: &Row<'_>| {
            Ok(KeptAccount { paused: row.get("paused_why")?, last_success: instant(row, "last_success_at")? })
        };
        let kept = self.connection().query_row(sql, [account.as_str()], read).optional();
        Ok(kept.map_err(|error| failed(&error))?.unwrap_or(KeptAccount { paused: None, last_success: None }))
    }

    fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        let mut connection = self.connection();
        let write = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = change(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        write().map_err(|error: rusqlite::Error| failed(&error))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_request(row: &Row<'_>) -> rusqlite::Result<(i64, Option<Request>)> {
    let what = serde_json::from_str(row.get_ref("what")?.as_str()?).ok();
    let (by, reason) = (row.get("asked_by")?, row.get("reason")?);
    Ok((row.get("request_row")?, what.map(|what| Request { by, reason, what })))
}

/// The answer to a request, where there is one: whoever asked may have withdrawn it.
fn answered(connection: &Connection, row: i64) -> rusqlite::Result<Option<Answer>> {
    let sql = "SELECT answer FROM requests WHERE request_row = ?1";
    let text: Option<String> = connection.query_row(sql, [row], |row| row.get(0))?;
    text.map(|text| serde_json::from_str(&text).map_err(|_| corrupt("an answer is not JSON"))).transpose()
}

fn write_answer(transaction: &Transaction<'_>, row: i64, answer: &Answer) -> rusqlite::Result<bool> {
    let text = serde_json::to_string(answer).map_err(|_| corrupt("an answer is no JSON"))?;
    let sql = "UPDATE requests SET answered_at = ?2, answer = ?3 WHERE request_row = ?1 AND answered_at IS NULL";
    Ok(transaction.execute(sql, params![row, At(clock::now()), text])? == 1)
}

fn write_status(transaction: &Transaction<'_>, status: &AccountStatus) -> rusqlite::Result<()> {
    let AccountStatus { account, state, why, since, last_success, clock_skew } = status;
    let sql = "INSERT INTO accounts (account, state, why, since, last_success_at, clock_skew_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (account) DO UPDATE SET
               state = ?2, why = ?3, since = ?4, last_success_at = ?5, clock_skew_ms = ?6";
    let skew = clock_skew.map(|skew| skew.num_milliseconds());
    transaction.execute(sql, params![account.as_str(), state, why, At(*since), at(*last_success), skew]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sqlite::open_for_writing;

    fn desk(directory: &tempfile::TempDir) -> Desk {
        let path = directory.path().join("ledger.db");
        drop(open_for_writing(&path).expect("a new ledger"));
        Desk::open(&path).expect("a desk")
    }

    fn request(account: &str) -> Request {
        let what = What::PauseAccount { account: account.to_owned() };
        Request { by: "olga".to_owned(), reason: "maintenance".to_owned(), what }
    }

    #[test]
    fn a_request_is_answered_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let desk = desk(&directory);
        let row = desk.put(&request("flitt-ge")).expect("put");
        assert_eq!(desk.answer_to(row).expect("read"), None);
        assert_eq!(desk.open_requests().expect("read"), [(row, Some(request("flitt-ge")))]);
        let answer = |message: &str| Answer { done: true, message: message.to_owned() };
        assert!(desk.answer(row, &answer("paused")).expect("answered"));
        assert!(!desk.answer(row, &answer("again")).expect("too late"));
        assert_eq!(desk.answer_to(row).expect("read"), Some(answer("paused")));
        assert_eq!(desk.open_requests().expect("read"), []);
    }

    #[test]
    fn a_pause_outlives_what_is_said_of_the_account() {
        let directory = tempfile::tempdir().expect("a directory");
        let desk = desk(&directory);
        let account = AccountName::parse("flex").expect("a name");
        let row = desk.put(&request("flex")).expect("put");
        let status = |state: &str, why: Option<&str>| AccountStatus {
            account: account.clone(),
            state: state.to_owned(),
            why: why.map(str::to_owned),
            since: clock::now(),
            last_success: None,
            clock_skew: None,
        };
        let answer = Answer { done: true, message: "paused".to_owned() };
        desk.set_pause(row, &status("paused", Some("maintenance")), &answer).expect("paused");
        desk.set_status(&status("active", None)).expect("written");
        assert_eq!(desk.kept(&account).expect("read").paused.as_deref(), Some("maintenance"));
        desk.set_pause(row, &status("active", None), &answer).expect("resumed");
        assert_eq!(desk.kept(&account).expect("read").paused, None);
    }

    #[test]
    fn nobody_serves_a_ledger_that_no_worker_holds() {
        let directory = tempfile::tempdir().expect("a directory");
        let desk = desk(&directory);
        assert!(!desk.is_served().expect("looked"));
        let held = lock::hold(&directory.path().join("ledger.db")).expect("held");
        assert!(desk.is_served().expect("looked"));
        drop(held);
        assert!(!desk.is_served().expect("looked"));
    }
}
