//! The desk's side of replays: a replay begins, is held, goes on and ends; and dead letters are
//! discarded and taken back. What a replay does with each of its dead letters is the ledger's one write.

use rusqlite::params;
use rusqlite::types::Value;

use super::{Answer, Desk, Request, answered, write_answer};
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::clock::{self, Timestamp};
use crate::ids::DeadLetterId;
use crate::ledger::LedgerError;
use crate::ledger::codec::{At, corrupt};
use crate::ledger::replays::{self, ItemOutcome, JobState, LETTERS_MAX, ReplayJob};
use crate::ledger::report::Choice;
use crate::ledger::rows::{DEAD_LETTER, read_dead_letter};
use crate::ledger::session::{self, Row, Session};

/// Which dead letters, as whoever asks has seen them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chosen {
    /// Which.
    pub choice: Choice,
    /// Set aside up to this mark: what came later was not seen.
    pub up_to: i64,
    /// How many.
    pub letters: u64,
}

/// How a replay is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pace {
    /// So many first, and their outcomes awaited.
    pub canary: u64,
    /// So many in a second.
    pub rate: u64,
    /// The greatest share of failures among what is decided, in percent.
    pub failures_max: u64,
}

/// A dead letter whose turn it is.
#[derive(Debug, Clone)]
pub struct ReplayItem {
    /// Its place in the replay.
    pub position: i64,
    /// The dead letter, with its message.
    pub letter: DeadLetter,
}

impl Desk {
    /// Writes down a replay with all its dead letters, and takes them for it, if they are what was seen.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn start_replay(&self, row: i64, chosen: &Chosen, pace: Pace) -> Result<Answer, LedgerError> {
        self.write(|session| {
            keep_replays_still(session)?;
            if let Some(withdrawn) = answered(session, row)? {
                return Ok(withdrawn);
            }
            let answer = match check(session, chosen, DeadLetterState::Open)? {
                Some(why) => why,
                None => insert_job(session, row, chosen, pace)?,
            };
            write_answer(session, row, &answer)?;
            Ok(answer)
        })
    }

    /// Brings dead letters from one state into another, if they are what was seen.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn change_letters(
        &self,
        row: i64,
        chosen: &Chosen,
        (from, to): (DeadLetterState, DeadLetterState),
    ) -> Result<Answer, LedgerError> {
        self.write(|session| {
            keep_replays_still(session)?;
            if let Some(withdrawn) = answered(session, row)? {
                return Ok(withdrawn);
            }
            let answer = match check(session, chosen, from)? {
                Some(why) => why,
                None => change_state(session, chosen, from, to)?,
            };
            write_answer(session, row, &answer)?;
            Ok(answer)
        })
    }

    /// Lets nobody change a replay while this worker takes a step in its own. To be ended with
    /// [`Desk::end_step`].
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn begin_step(&self) -> Result<(), LedgerError> {
        let Some(_) = self.worker else { return Ok(()) };
        let sql = format!("SELECT pg_advisory_lock_shared({REPLAYS})");
        Ok(self.session().query(&sql, params![], |_| Ok(())).map(drop)?)
    }

    /// Lets changes through again.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn end_step(&self) -> Result<(), LedgerError> {
        let Some(_) = self.worker else { return Ok(()) };
        let sql = format!("SELECT pg_advisory_unlock_shared({REPLAYS})");
        Ok(self.session().query(&sql, params![], |_| Ok(())).map(drop)?)
    }

    /// Replays that this worker goes on with, the oldest first: where there are several workers, those that
    /// it has begun, and those of workers that are gone.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn running_replays(&self) -> Result<Vec<ReplayJob>, LedgerError> {
        let mine = match self.worker {
            Some(worker) => {
                self.write(|session| session.execute(TAKE_REPLAYS, [worker]))?;
                format!("AND j.claimed_by = {worker}")
            }
            None => String::new(),
        };
        let sql = format!("{} WHERE j.state = 'running' {mine} ORDER BY j.job_row", replays::SELECT_JOB);
        Ok(self.session().query(&sql, params![], replays::read_job)?)
    }

    /// The next dead letters of a replay, at least `limit` of them, and all the rest of the last one's
    /// order: what belongs to one order goes in one transaction.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn next_replayed(&self, job: i64, limit: u64) -> Result<Vec<ReplayItem>, LedgerError> {
        let session = self.session();
        let columns =
            DEAD_LETTER.split(',').map(|column| format!("d.{}", column.trim())).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT {columns}, d.body, d.origin, i.position FROM replay_items i
             JOIN dead_letters d USING (dead_letter_row)
             WHERE i.job_row = ?1 AND i.state = 'pending' AND i.position <= (
               SELECT max(position) FROM replay_items WHERE job_row = ?1 AND state = 'pending' AND (
                 position <= ?2 OR order_id = (SELECT order_id FROM replay_items WHERE job_row = ?1 AND position = ?2)))
             ORDER BY i.position"
        );
        let last = "SELECT max(position) FROM (SELECT position FROM replay_items
                    WHERE job_row = ?1 AND state = 'pending' ORDER BY position LIMIT ?2) next";
        let last: Option<i64> = session.one(last, params![job, limit], |row| row.get(0))?;
        let Some(last) = last else { return Ok(Vec::new()) };
        let item = |row: &Row<'_>| Ok(ReplayItem { letter: read_dead_letter(row)?, position: row.get("position")? });
        Ok(session.query(&sql, [job, last], item)?)
    }

    /// What became of these positions of a replay; of all, where none is given.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn replay_outcomes(&self, job: i64, positions: &[i64]) -> Result<Vec<(i64, ItemOutcome)>, LedgerError> {
        Ok(replays::outcomes(&self.session(), job, positions, clock::now())?)
    }

    /// A dead letter could not be tried again for a fault of ours: it is left as it was.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn give_up_replayed(&self, job: i64, letter: DeadLetterId, why: &str) -> Result<(), LedgerError> {
        self.write(|session| {
            let sql = "UPDATE replay_items SET state = 'done', result = 'not_replayed', why_not = 'fault', why = ?3,
                         done_at = ?4
                       WHERE job_row = ?1 AND state = 'pending'
                       AND dead_letter_row = (SELECT dead_letter_row FROM dead_letters WHERE dead_letter_id = ?2)";
            session.execute(sql, params![job, letter.as_uuid().as_bytes(), why, At(clock::now())])?;
            let sql = "UPDATE dead_letters SET state = 'open', job_row = NULL
                       WHERE dead_letter_id = ?1 AND state = 'replaying' AND job_row = ?2";
            session.execute(sql, params![letter.as_uuid().as_bytes(), job]).map(drop)
        })
    }

    /// A replay comes to an end by itself: everything in it had its turn, or too much of it has failed.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn end_replay(&self, job: i64, state: JobState, why: Option<&str>) -> Result<(), LedgerError> {
        self.write(|session| set_state(session, job, state, why, None).map(drop))
    }

    /// An operator holds a replay, lets it go on, or stops it.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn change_replay(&self, row: i64, job: i64, to: JobState, request: &Request) -> Result<Answer, LedgerError> {
        self.write(|session| {
            keep_replays_still(session)?;
            if let Some(withdrawn) = answered(session, row)? {
                return Ok(withdrawn);
            }
            let answer = change(session, job, to, request)?;
            write_answer(session, row, &answer)?;
            Ok(answer)
        })
    }
}

/// Takes what nobody goes on with.
const TAKE_REPLAYS: &str = "
    UPDATE replay_jobs SET claimed_by = ?1 WHERE job_row = ANY(ARRAY(
      SELECT job_row FROM replay_jobs WHERE state = 'running' AND (claimed_by IS NULL
        OR claimed_by <> ALL(ARRAY(SELECT worker_row FROM workers WHERE lease_until > now())))
      ORDER BY job_row FOR UPDATE SKIP LOCKED))";

/// What replays are held by in PostgreSQL; any number that nobody else uses.
const REPLAYS: i64 = 0x0000_7265_706c_6179;

/// Waits until no worker is in the middle of a step, and lets none begin before the end of the transaction.
fn keep_replays_still(session: &Session) -> session::Result<()> {
    let held = format!("SELECT pg_advisory_xact_lock({REPLAYS})");
    session.query(session.pick("SELECT 1 WHERE FALSE", &held), params![], |_| Ok(())).map(drop)
}

fn chosen_sql(session: &Session, chosen: &Chosen, state: DeadLetterState) -> (String, Vec<Value>) {
    let (conditions, mut values) = chosen.choice.conditions().into_sql();
    values.push(Value::Integer(chosen.up_to));
    let mark = replays::mark(session);
    (format!("{conditions} AND {mark} <= ? AND state = '{}'", state.as_str()), values)
}

fn change_state(
    session: &Session,
    chosen: &Chosen,
    from: DeadLetterState,
    to: DeadLetterState,
) -> session::Result<Answer> {
    let (conditions, mut values) = chosen_sql(session, chosen, from);
    let sql = format!("UPDATE dead_letters SET state = ? WHERE {conditions}");
    values.insert(0, Value::Text(to.as_str().to_owned()));
    let count = session.execute(&sql, values)?;
    let message = if count == 1 {
        format!("1 dead letter is {} now", to.as_str())
    } else {
        format!("{count} dead letters are {} now", to.as_str())
    };
    Ok(Answer { done: true, message })
}

/// Why nothing is done: they are not what was seen any more.
fn check(session: &Session, chosen: &Chosen, state: DeadLetterState) -> session::Result<Option<Answer>> {
    let (conditions, values) = chosen_sql(session, chosen, state);
    let sql = format!("SELECT count(*) FROM dead_letters WHERE {conditions}");
    let count: u64 = session.one(&sql, values, |row| row.get(0))?;
    let refused = |message: String| Ok(Some(Answer { done: false, message }));
    if count > LETTERS_MAX {
        return refused(format!(
            "{count} dead letters are more than the {LETTERS_MAX} that are taken at once: choose fewer"
        ));
    }
    if count != chosen.letters {
        let seen = chosen.letters;
        return refused(format!("{count} dead letters are {} now, {seen} were seen: look again", state.as_str()));
    }
    Ok(None)
}

fn insert_job(session: &Session, row: i64, chosen: &Chosen, pace: Pace) -> session::Result<Answer> {
    let choice = serde_json::to_string(&chosen.choice).map_err(|_| corrupt("a choice is no JSON"))?;
    let sql = "INSERT INTO replay_jobs
               (request_row, choice, letters, canary, rate, failures_max, state, changed_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'running', ?7) RETURNING job_row";
    let Pace { canary, rate, failures_max } = pace;
    let now = At(clock::now());
    let values = params![row, choice, chosen.letters, canary, rate, failures_max, now];
    let job: i64 = session.one(sql, values, |row| row.get(0))?;
    let (conditions, mut values) = chosen.choice.conditions().into_sql();
    values.push(Value::Integer(chosen.up_to));
    let item =
        format!("{job}, row_number() OVER (ORDER BY {}), dead_letter_row, order_id, 'pending'", replays::SEQUENCE);
    let in_order = replays::in_order(&item, &format!("{conditions} AND {} <= ?", replays::mark(session)));
    let sql = format!("INSERT INTO replay_items (job_row, position, dead_letter_row, order_id, state) {in_order}");
    session.execute(&sql, values)?;
    let sql = "UPDATE dead_letters SET state = 'replaying', job_row = ?1
               WHERE dead_letter_row IN (SELECT dead_letter_row FROM replay_items WHERE job_row = ?1)";
    session.execute(sql, [job])?;
    Ok(Answer { done: true, message: format!("replay {job} has begun, of {} dead letters", chosen.letters) })
}

/// Sets the state of a replay that has not ended; what an ended one has not come to is open again. How
/// many those are.
fn set_state(
    session: &Session,
    job: i64,
    state: JobState,
    why: Option<&str>,
    by: Option<&str>,
) -> session::Result<usize> {
    let sql = "UPDATE replay_jobs SET state = ?2, why = ?3, changed_by = ?4, changed_at = ?5
               WHERE job_row = ?1 AND state IN ('running', 'paused')";
    let now: Timestamp = clock::now();
    let changed = session.execute(sql, params![job, state.as_str(), why, by, At(now)])?;
    if changed == 0 || !state.has_ended() {
        return Ok(0);
    }
    let sql = "UPDATE dead_letters SET state = 'open', job_row = NULL
               WHERE state = 'replaying' AND job_row = ?1";
    session.execute(sql, [job])?;
    let sql = "UPDATE replay_items SET state = 'left' WHERE job_row = ?1 AND state = 'pending'";
    session.execute(sql, [job])
}

fn change(session: &Session, job: i64, to: JobState, request: &Request) -> session::Result<Answer> {
    let sql = "SELECT state FROM replay_jobs WHERE job_row = ?1";
    let word: Option<String> = session.find(sql, [job], |row| row.get(0))?;
    let answer = |done, message: String| Ok(Answer { done, message });
    let Some(word) = word else {
        return answer(false, format!("there is no replay {job}: `holdfast dead-letters replays` lists them"));
    };
    let now = JobState::parse(&word)?;
    if now.has_ended() {
        return answer(false, format!("replay {job} has ended: it is {word}"));
    }
    if now == to {
        return answer(true, format!("replay {job} is {word} already"));
    }
    let left = set_state(session, job, to, Some(&request.reason), Some(&request.by))?;
    match to {
        JobState::Paused => answer(true, format!("replay {job} is paused: nothing more is begun until it is resumed")),
        JobState::Running => answer(true, format!("replay {job} goes on")),
        JobState::Stopped | JobState::Done => {
            answer(true, format!("replay {job} is stopped: {left} dead letters were left, and are open again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::report::example::Example;
    use crate::ledger::testing;

    const PACE: Pace = Pace { canary: 1, rate: 10, failures_max: 10 };

    fn all(desk: &Desk) -> Chosen {
        let session = desk.session();
        let count = format!("SELECT count(*), max({}) FROM dead_letters WHERE state = 'open'", replays::mark(&session));
        let (letters, up_to) = session.one(&count, params![], |row| Ok((row.get(0)?, row.get(1)?))).expect("counted");
        Chosen { choice: Choice::default(), up_to, letters }
    }

    fn put(desk: &Desk, chosen: &Chosen) -> (i64, Request) {
        let what = super::super::What::StartReplay { chosen: chosen.clone(), pace: PACE };
        let request = Request { by: "olga".to_owned(), reason: "the cause is gone".to_owned(), what };
        (desk.put(&request).expect("put"), request)
    }

    fn count(desk: &Desk, sql: &str) -> u64 {
        desk.session().one(sql, params![], |row| row.get(0)).expect("counted")
    }

    #[test]
    fn a_replay_takes_what_was_seen_and_gives_back_what_it_did_not_come_to() {
        let example = Example::new();
        // Two of one order, the last of all.
        for body in [r#"{"order_id":"ord-9"}"#, r#"{"order_id":"ord-9","shipment_id":"s1"}"#] {
            example.message("09:28:00", body.as_bytes());
        }
        example.everywhere().iter().for_each(a_replay_takes_what_was_seen);
    }

    fn a_replay_takes_what_was_seen(source: &crate::ledger::Source) {
        let desk = Desk::open(source).expect("a desk");
        let chosen = all(&desk);
        let (row, request) = put(&desk, &chosen);
        let fewer = Chosen { letters: chosen.letters - 1, ..chosen.clone() };
        assert!(!desk.start_replay(row, &fewer, PACE).expect("answered").done, "more than was seen");
        let (row, _) = put(&desk, &chosen);
        assert!(desk.start_replay(row, &chosen, PACE).expect("answered").done);
        let [job] = &desk.running_replays().expect("read")[..] else { panic!("one") };
        assert_eq!((job.letters, &*job.by, &*job.reason), (chosen.letters, "olga", "the cause is gone"));
        let replaying = "SELECT count(*) FROM dead_letters WHERE state = 'replaying'";
        assert_eq!(count(&desk, replaying), chosen.letters);
        assert!(desk.start_replay(row, &chosen, PACE).expect("answered").done, "the answer stands");
        let (row, _) = put(&desk, &chosen);
        assert!(!desk.start_replay(row, &chosen, PACE).expect("answered").done, "nobody else takes them");

        let first = desk.next_replayed(job.job, 1).expect("read");
        assert_eq!(first.iter().map(|item| item.position).collect::<Vec<_>>(), [1]);
        let together = desk.next_replayed(job.job, chosen.letters - 1).expect("read");
        assert_eq!(u64::try_from(together.len()), Ok(chosen.letters), "all of an order together");
        desk.give_up_replayed(job.job, first[0].letter.id, "a fault").expect("given up");
        assert_eq!(desk.next_replayed(job.job, 1).expect("read")[0].position, 2);

        let id = job.job;
        for (to, done) in
            [(JobState::Paused, true), (JobState::Running, true), (JobState::Stopped, true), (JobState::Running, false)]
        {
            let (row, _) = put(&desk, &chosen);
            let answer = desk.change_replay(row, id, to, &request).expect("answered");
            assert_eq!(answer.done, done, "{}", answer.message);
        }
        assert!(desk.running_replays().expect("read").is_empty());
        assert_eq!(count(&desk, replaying), 0);
        assert_eq!(all(&desk).letters, chosen.letters);
        let (row, _) = put(&desk, &chosen);
        assert!(!desk.change_replay(row, 99, JobState::Stopped, &request).expect("answered").done);
    }

    #[test]
    fn one_worker_goes_on_with_a_replay_and_another_when_it_is_gone() {
        let source = Example::new().in_postgres();
        let workers = ["w1", "w2"].map(|name| testing::enter_worker(&source, name));
        let desks = workers.map(|worker| Desk::of_worker(&source, Some(worker)).expect("a desk"));
        let chosen = all(&desks[0]);
        let (row, request) = put(&desks[0], &chosen);
        assert!(desks[0].start_replay(row, &chosen, PACE).expect("answered").done);
        let running = |desk: &Desk| desk.running_replays().expect("read").iter().map(|job| job.job).collect::<Vec<_>>();
        let job = running(&desks[1]);
        assert_eq!((job.len(), running(&desks[0])), (1, Vec::new()), "the first that looks goes on with it");
        testing::end_lease(&source, workers[1]);
        assert_eq!(running(&desks[0]), job);
        // Nobody changes it in the middle of a step.
        let row = desks[1].put(&request).expect("put");
        desks[0].begin_step().expect("held");
        std::thread::scope(|scope| {
            let change = || desks[1].change_replay(row, job[0], JobState::Paused, &request).expect("answered");
            let changing = scope.spawn(change);
            let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            while testing::value::<i64>(&source, waits) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(running(&desks[0]), job, "as it was");
            desks[0].end_step().expect("let go");
            assert!(changing.join().expect("no panic").done);
        });
        assert!(running(&desks[0]).is_empty());
    }

    #[test]
    fn what_is_set_aside_later_is_not_in_it() {
        let example = Example::new();
        let desk = Desk::open(&example.source).expect("a desk");
        let chosen = all(&desk);
        example.message("09:29:00", b"later");
        let (row, _) = put(&desk, &chosen);
        assert!(desk.start_replay(row, &chosen, PACE).expect("answered").done);
        assert_eq!(all(&desk).letters, 1);
    }
}
