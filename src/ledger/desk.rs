//! Where operators' requests are put and answered, and where each account stands.
//!
//! A command writes its request and waits; the worker that holds the ledger carries it out and answers.
//! Each has a connection of its own. Nothing in here touches the books: what a request changes about
//! them goes through the ledger's one write.

// what ended without its money
mod replays;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Timestamp};
use crate::ids::AccountName;
use crate::ledger::codec::{At, at, corrupt, instant};
use crate::ledger::session::{self, Row, Session};
use crate::ledger::{LedgerError, Source, served};

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
    /// Let a capture through that a cap holds.
    ReleaseCapture {
        /// The capture's row.
        row: i64,
        /// Its id.
        capture: String,
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptAccount {
    /// Why an operator paused it, while it is paused.
    pub paused: Option<String>,
    /// When something last worked.
    pub last_success: Option<Timestamp>,
}

/// The desk of one ledger.
#[derive(Debug)]
pub struct Desk {
    session: Mutex<Session>,
    source: Source,
    /// The worker whose desk it is, where there may be several.
    worker: Option<i64>,
}

impl Desk {
    /// Opens it at a ledger that a worker has made.
    ///
    /// # Errors
    /// [`LedgerError::Open`] when there is none or it is of another version.
    pub fn open(source: &Source) -> Result<Self, LedgerError> {
        Ok(Self { session: Mutex::new(Session::for_changes(source)?), source: source.clone(), worker: None })
    }

    /// The same as that of a worker, by its row where there may be several.
    ///
    /// # Errors
    /// As [`Desk::open`].
    pub fn of_worker(source: &Source, worker: Option<i64>) -> Result<Self, LedgerError> {
        Ok(Self { worker, ..Self::open(source)? })
    }

    /// Does a worker run on the ledger now?
    ///
    /// # Errors
    /// [`LedgerError::Open`] when that cannot be found out.
    pub fn is_served(&self) -> Result<bool, LedgerError> {
        served::is_served(&self.source, &self.session())
    }

    /// Does another worker run on the ledger now?
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn has_others(&self) -> Result<bool, LedgerError> {
        let Some(worker) = self.worker else { return Ok(false) };
        let sql = "SELECT 1 FROM workers WHERE lease_until > now() AND worker_row <> ?1 LIMIT 1";
        Ok(self.session().find(sql, [worker], |_| Ok(()))?.is_some())
    }

    /// Puts a request; its row.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn put(&self, request: &Request) -> Result<i64, LedgerError> {
        let what = serde_json::to_string(&request.what).map_err(|error| LedgerError::Failed(error.to_string()))?;
        let sql = "INSERT INTO requests (asked_at, asked_by, reason, what) VALUES (?1, ?2, ?3, ?4)
                   RETURNING request_row";
        self.write(|session| session.number(sql, params![At(clock::now()), request.by, request.reason, what]))
    }

    /// What became of a request; `None` while nobody has answered.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn answer_to(&self, row: i64) -> Result<Option<Answer>, LedgerError> {
        Ok(answered(&self.session(), row)?)
    }

    /// Answers a request; `false` where it is answered already.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn answer(&self, row: i64, answer: &Answer) -> Result<bool, LedgerError> {
        self.write(|session| write_answer(session, row, answer))
    }

    /// Requests that nobody has answered, in their order. What this Holdfast does not know is left out.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn open_requests(&self) -> Result<Vec<(i64, Option<Request>)>, LedgerError> {
        let sql = "SELECT request_row, asked_by, reason, what FROM requests WHERE answered_at IS NULL
                   ORDER BY request_row";
        Ok(self.session().query(sql, params![], read_request)?)
    }

    /// Requests that this worker is to carry out now, in their order: where there are several, those that no
    /// other has taken, and those of workers that are gone.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn take_requests(&self) -> Result<Vec<(i64, Option<Request>)>, LedgerError> {
        let Some(worker) = self.worker else { return self.open_requests() };
        let mut taken = self.write(|session| session.query(TAKE_REQUESTS, [worker], read_request))?;
        taken.sort_by_key(|(row, _)| *row);
        Ok(taken)
    }

    /// Why operators have paused accounts, where they have; of all accounts that any worker has had in its
    /// settings. Nothing, where only this worker can be asked for it.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn pauses(&self) -> Result<HashMap<String, Option<String>>, LedgerError> {
        if self.worker.is_none() {
            return Ok(HashMap::new());
        }
        let sql = "SELECT account, paused_why FROM accounts";
        let pauses = self.session().query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(pauses.into_iter().collect())
    }

    /// Writes down that an account is paused, and why, or that it is not any more, together with the
    /// answer to whoever asked.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn set_pause(&self, row: i64, status: &AccountStatus, answer: &Answer) -> Result<(), LedgerError> {
        let paused = (status.state == "paused").then(|| status.why.clone().unwrap_or_default());
        self.write(|session| {
            write_status(session, status, self.worker)?;
            let sql = "UPDATE accounts SET paused_why = ?2 WHERE account = ?1";
            session.execute(sql, params![status.account.as_str(), paused])?;
            write_answer(session, row, answer).map(drop)
        })
    }

    /// Writes down where an account stands.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn set_status(&self, status: &AccountStatus) -> Result<(), LedgerError> {
        self.write(|session| write_status(session, status, self.worker))
    }

    /// What an earlier worker left about an account.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn kept(&self, account: &AccountName) -> Result<KeptAccount, LedgerError> {
        let sql = "SELECT paused_why, last_success_at FROM accounts WHERE account = ?1";
        let kept = self.session().find(sql, [account.as_str()], |row| {
            Ok(KeptAccount { paused: row.get("paused_why")?, last_success: instant(row, "last_success_at")? })
        })?;
        Ok(kept.unwrap_or_default())
    }

    fn write<T>(&self, change: impl FnMut(&Session) -> session::Result<T>) -> Result<T, LedgerError> {
        Ok(self.session().change(change)?)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_request(row: &Row<'_>) -> rusqlite::Result<(i64, Option<Request>)> {
    let what = serde_json::from_str(row.get_ref("what")?.as_str()?).ok();
    let (by, reason) = (row.get("asked_by")?, row.get("reason")?);
    Ok((row.get("request_row")?, what.map(|what| Request { by, reason, what })))
}

/// The answer to a request, where there is one: whoever asked may have withdrawn it.
fn answered(session: &Session, row: i64) -> session::Result<Option<Answer>> {
    session.one("SELECT answer FROM requests WHERE request_row = ?1", [row], |row| {
        let text = row.get_ref(0)?.as_str_or_null()?;
        text.map(|text| serde_json::from_str(text).map_err(|_| corrupt("an answer is not JSON"))).transpose()
    })
}

fn write_answer(session: &Session, row: i64, answer: &Answer) -> session::Result<bool> {
    let text = serde_json::to_string(answer).map_err(|_| corrupt("an answer is no JSON"))?;
    let sql = "UPDATE requests SET answered_at = ?2, answer = ?3 WHERE request_row = ?1 AND answered_at IS NULL";
    Ok(session.execute(sql, params![row, At(clock::now()), text])? == 1)
}

/// Takes what nobody has taken, or whoever took it is gone.
const TAKE_REQUESTS: &str = "
    UPDATE requests SET claimed_by = ?1 WHERE request_row = ANY(ARRAY(
      SELECT request_row FROM requests WHERE answered_at IS NULL AND (claimed_by IS NULL
        OR claimed_by <> ALL(ARRAY(SELECT worker_row FROM workers WHERE lease_until > now())))
      ORDER BY request_row FOR UPDATE SKIP LOCKED))
    RETURNING request_row, asked_by, reason, what";

/// Where it stands for this worker, and as whoever said so last.
fn write_status(session: &Session, status: &AccountStatus, worker: Option<i64>) -> session::Result<()> {
    let AccountStatus { account, state, why, since, last_success, clock_skew } = status;
    let sql = "INSERT INTO accounts (account, state, why, since, last_success_at, clock_skew_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (account) DO UPDATE SET
               state = ?2, why = ?3, since = ?4, last_success_at = ?5, clock_skew_ms = ?6";
    let skew = clock_skew.map(|skew| skew.num_milliseconds());
    session.execute(sql, params![account.as_str(), state, why, At(*since), at(*last_success), skew])?;
    let Some(worker) = worker else { return Ok(()) };
    let sql = "INSERT INTO standings (account, worker_row, state, why, since, last_success_at, clock_skew_ms)
               VALUES (?1, ?7, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (account, worker_row) DO UPDATE SET
               state = ?2, why = ?3, since = ?4, last_success_at = ?5, clock_skew_ms = ?6";
    session.execute(sql, params![account.as_str(), state, why, At(*since), at(*last_success), skew, worker])?;
    // Of workers that are long gone.
    session.batch("DELETE FROM standings WHERE worker_row NOT IN (SELECT worker_row FROM workers)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sqlite::{lock, open_for_writing};
    use crate::ledger::{moving, testing};

    fn desk(directory: &tempfile::TempDir) -> Desk {
        let path = directory.path().join("ledger.db");
        drop(open_for_writing(&path).expect("a new ledger"));
        Desk::open(&(&path).into()).expect("a desk")
    }

    /// One in each store.
    fn desks(directory: &tempfile::TempDir) -> [Desk; 2] {
        let source = Source::from(testing::database());
        moving::migrate(&source).expect("a new ledger");
        [desk(directory), Desk::open(&source).expect("a desk")]
    }

    fn request(account: &str) -> Request {
        let what = What::PauseAccount { account: account.to_owned() };
        Request { by: "olga".to_owned(), reason: "maintenance".to_owned(), what }
    }

    #[test]
    fn a_request_is_answered_once() {
        let directory = tempfile::tempdir().expect("a directory");
        desks(&directory).iter().for_each(answered_once);
    }

    fn answered_once(desk: &Desk) {
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
        desks(&directory).iter().for_each(pause_outlives);
    }

    fn pause_outlives(desk: &Desk) {
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

    fn of_two_workers() -> (Source, [i64; 2], [Desk; 2]) {
        let source = Source::from(testing::database());
        moving::migrate(&source).expect("a new ledger");
        let workers = ["w1", "w2"].map(|name| testing::enter_worker(&source, name));
        let desks = workers.map(|worker| Desk::of_worker(&source, Some(worker)).expect("a desk"));
        (source, workers, desks)
    }

    #[test]
    fn a_request_is_carried_out_by_one_worker_and_taken_over_from_one_that_is_gone() {
        let (source, workers, desks) = of_two_workers();
        let mut put: Vec<i64> = (0..20).map(|_| desks[0].put(&request("flex")).expect("put")).collect();
        let take = |desk: &Desk| desk.take_requests().expect("taken").into_iter().map(|(row, _)| row);
        let mut taken: Vec<i64> = std::thread::scope(|scope| {
            let threads = [&desks[0], &desks[1]].map(|desk| scope.spawn(move || take(desk).collect::<Vec<_>>()));
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        taken.sort_unstable();
        put.sort_unstable();
        assert_eq!(taken, put, "each by one");
        assert_eq!(take(&desks[1]).count(), 0, "those that were taken are under way");
        desks[0].answer(put[0], &Answer { done: true, message: String::new() }).expect("answered");
        for worker in workers {
            testing::end_lease(&source, worker);
        }
        let third = Desk::of_worker(&source, Some(testing::enter_worker(&source, "w3"))).expect("a desk");
        assert_eq!(take(&third).collect::<Vec<_>>(), put[1..]);
    }

    #[test]
    fn a_pause_is_for_every_worker_and_the_worst_standing_is_told() {
        let (source, workers, desks) = of_two_workers();
        assert!(desks[0].has_others().expect("asked") && desks[0].is_served().expect("asked"));
        let row = desks[0].put(&request("flex")).expect("put");
        let status = |state: &str| AccountStatus {
            account: AccountName::parse("flex").expect("a name"),
            state: state.to_owned(),
            why: (state != "active").then(|| "a reason".to_owned()),
            since: clock::now(),
            last_success: None,
            clock_skew: None,
        };
        let answer = Answer { done: true, message: "paused".to_owned() };
        desks[0].set_pause(row, &status("paused"), &answer).expect("paused");
        assert_eq!(desks[1].pauses().expect("read")["flex"].as_deref(), Some("a reason"));
        desks[1].set_status(&status("active")).expect("written");
        let told = || {
            let report = crate::ledger::report::Report::open(&source).expect("a ledger");
            let summary = report.accounts().expect("read").into_values().next().expect("one");
            (summary.status.expect("told").state, summary.worker)
        };
        assert_eq!(told(), ("paused".to_owned(), Some("w1".to_owned())));
        testing::end_lease(&source, workers[0]);
        assert_eq!(told(), ("active".to_owned(), None), "of those that run");
        assert!(!desks[1].has_others().expect("asked"));
        testing::end_lease(&source, workers[1]);
        assert_eq!(told(), ("active".to_owned(), None), "as it was said last");
        assert!(!desks[1].is_served().expect("asked"));
    }

    #[test]
    fn a_server_that_is_away_is_said_so_and_asked_again_when_it_is_back() {
        use crate::ledger::postgres::{Address, local_server::LocalServer};
        let server = LocalServer::start().expect("PostgreSQL is installed");
        let address = Address::parse(&server.create_database().expect("a database").url).expect("an address");
        let source = Source::from(address);
        moving::migrate(&source).expect("a new ledger");
        let desk = Desk::open(&source).expect("a desk");
        let row = desk.put(&request("flex")).expect("put");
        server.crash().expect("stopped");
        for _ in 0..2 {
            let away = desk.answer_to(row).expect_err("nobody answers");
            assert!(matches!(away, LedgerError::Away(_)), "{away:?}");
        }
        let away = Desk::open(&source).expect_err("nobody answers");
        assert!(matches!(&away, LedgerError::Away(_)), "{away:?}");
        server.start_again().expect("started");
        assert_eq!(desk.open_requests().expect("read"), [(row, Some(request("flex")))]);
    }
}
