//! The desk's side of replays: a replay begins, is held, goes on and ends; and dead letters are
//! discarded and taken back. What a replay does with each of its dead letters is the ledger's one write.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, Transaction, params, params_from_iter};

use super::{Answer, Desk, Request, answered, write_answer};
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::clock::{self, Timestamp};
use crate::ids::DeadLetterId;
use crate::ledger::LedgerError;
use crate::ledger::sqlite::codec::{At, corrupt};
use crate::ledger::sqlite::failed;
use crate::ledger::sqlite::replays::{self, ItemOutcome, JobState, LETTERS_MAX, ReplayJob};
use crate::ledger::sqlite::report::Choice;
use crate::ledger::sqlite::rows::{DEAD_LETTER, read_dead_letter};

/// Which dead letters, as whoever asks has seen them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chosen {
    /// Which.
    pub choice: Choice,
    /// Set aside up to this row: what came later was not seen.
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
        self.write(|transaction| {
            if let Some(withdrawn) = answered(transaction, row)? {
                return Ok(withdrawn);
            }
            let answer = match check(transaction, chosen, DeadLetterState::Open)? {
                Some(why) => why,
                None => insert_job(transaction, row, chosen, pace)?,
            };
            write_answer(transaction, row, &answer)?;
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
        self.write(|transaction| {
            if let Some(withdrawn) = answered(transaction, row)? {
                return Ok(withdrawn);
            }
            let answer = match check(transaction, chosen, from)? {
                Some(why) => why,
                None => change_state(transaction, chosen, from, to)?,
            };
            write_answer(transaction, row, &answer)?;
            Ok(answer)
        })
    }

    /// Replays that the worker goes on with, the oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn running_replays(&self) -> Result<Vec<ReplayJob>, LedgerError> {
        let sql = format!("{} WHERE j.state = 'running' ORDER BY j.job_row", replays::SELECT_JOB);
        let connection = self.connection();
        let read =
            || connection.prepare_cached(&sql)?.query_map([], replays::read_job)?.collect::<rusqlite::Result<_>>();
        read().map_err(|error: rusqlite::Error| failed(&error))
    }

    /// The next dead letters of a replay, at least `limit` of them, and all the rest of the last one's
    /// order: what belongs to one order goes in one transaction.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn next_replayed(&self, job: i64, limit: u64) -> Result<Vec<ReplayItem>, LedgerError> {
        let connection = self.connection();
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
        let read = || {
            let last = "SELECT max(position) FROM (SELECT position FROM replay_items
                        WHERE job_row = ?1 AND state = 'pending' ORDER BY position LIMIT ?2)";
            let last: Option<i64> = connection.prepare_cached(last)?.query_row((job, limit), |row| row.get(0))?;
            let Some(last) = last else { return Ok(Vec::new()) };
            let item =
                |row: &Row<'_>| Ok(ReplayItem { letter: read_dead_letter(row)?, position: row.get("position")? });
            connection.prepare_cached(&sql)?.query_map((job, last), item)?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error: rusqlite::Error| failed(&error))
    }

    /// What became of these positions of a replay; of all, where none is given.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn replay_outcomes(&self, job: i64, positions: &[i64]) -> Result<Vec<(i64, ItemOutcome)>, LedgerError> {
        replays::outcomes(&self.connection(), job, positions, clock::now()).map_err(|error| failed(&error))
    }

    /// A dead letter could not be tried again for a fault of ours: it is left as it was.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn give_up_replayed(&self, job: i64, letter: DeadLetterId, why: &str) -> Result<(), LedgerError> {
        self.write(|transaction| {
            let sql = "UPDATE replay_items SET state = 'done', result = 'not_replayed', why_not = 'fault', why = ?3,
                         done_at = ?4
                       WHERE job_row = ?1 AND state = 'pending'
                       AND dead_letter_row = (SELECT dead_letter_row FROM dead_letters WHERE dead_letter_id = ?2)";
            transaction.execute(sql, params![job, letter.as_uuid().as_bytes(), why, At(clock::now())])?;
            let sql = "UPDATE dead_letters SET state = 'open', job_row = NULL
                       WHERE dead_letter_id = ?1 AND state = 'replaying' AND job_row = ?2";
            transaction.execute(sql, params![letter.as_uuid().as_bytes(), job]).map(drop)
        })
    }

    /// A replay comes to an end by itself: everything in it had its turn, or too much of it has failed.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn end_replay(&self, job: i64, state: JobState, why: Option<&str>) -> Result<(), LedgerError> {
        self.write(|transaction| set_state(transaction, job, state, why, None).map(drop))
    }

    /// An operator holds a replay, lets it go on, or stops it.
    ///
    /// # Errors
    /// [`LedgerError::Failed`].
    pub fn change_replay(&self, row: i64, job: i64, to: JobState, request: &Request) -> Result<Answer, LedgerError> {
        self.write(|transaction| {
            if let Some(withdrawn) = answered(transaction, row)? {
                return Ok(withdrawn);
            }
            let answer = change(transaction, job, to, request)?;
            write_answer(transaction, row, &answer)?;
            Ok(answer)
        })
    }
}

fn chosen_sql(chosen: &Chosen, state: DeadLetterState) -> (String, Vec<Value>) {
    let (conditions, mut values) = chosen.choice.conditions().into_sql();
    values.push(Value::Integer(chosen.up_to));
    (format!("{conditions} AND dead_letter_row <= ? AND state = '{}'", state.as_str()), values)
}

fn change_state(
    transaction: &Transaction<'_>,
    chosen: &Chosen,
    from: DeadLetterState,
    to: DeadLetterState,
) -> rusqlite::Result<Answer> {
    let (conditions, mut values) = chosen_sql(chosen, from);
    let sql = format!("UPDATE dead_letters SET state = ? WHERE {conditions}");
    values.insert(0, Value::Text(to.as_str().to_owned()));
    let count = transaction.execute(&sql, params_from_iter(values))?;
    let message = if count == 1 {
        format!("1 dead letter is {} now", to.as_str())
    } else {
        format!("{count} dead letters are {} now", to.as_str())
    };
    Ok(Answer { done: true, message })
}

/// Why nothing is done: they are not what was seen any more.
fn check(transaction: &Transaction<'_>, chosen: &Chosen, state: DeadLetterState) -> rusqlite::Result<Option<Answer>> {
    let (conditions, values) = chosen_sql(chosen, state);
    let sql = format!("SELECT count(*) FROM dead_letters WHERE {conditions}");
    let count: u64 = transaction.query_row(&sql, params_from_iter(values), |row| row.get(0))?;
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

fn insert_job(transaction: &Transaction<'_>, row: i64, chosen: &Chosen, pace: Pace) -> rusqlite::Result<Answer> {
    let choice = serde_json::to_string(&chosen.choice).map_err(|_| corrupt("a choice is no JSON"))?;
    let sql = "INSERT INTO replay_jobs
               (request_row, choice, letters, canary, rate, failures_max, state, changed_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'running', ?7)";
    let Pace { canary, rate, failures_max } = pace;
    let now = At(clock::now());
    transaction.execute(sql, params![row, choice, chosen.letters, canary, rate, failures_max, now])?;
    let job = transaction.last_insert_rowid();
    let (conditions, mut values) = chosen.choice.conditions().into_sql();
    values.push(Value::Integer(chosen.up_to));
    let item =
        format!("{job}, row_number() OVER (ORDER BY {}), dead_letter_row, order_id, 'pending'", replays::SEQUENCE);
    let in_order = replays::in_order(&item, &format!("{conditions} AND dead_letter_row <= ?"));
    let sql = format!("INSERT INTO replay_items (job_row, position, dead_letter_row, order_id, state) {in_order}");
    transaction.execute(&sql, params_from_iter(values))?;
    let sql = "UPDATE dead_letters SET state = 'replaying', job_row = ?1
               WHERE dead_letter_row IN (SELECT dead_letter_row FROM replay_items WHERE job_row = ?1)";
    transaction.execute(sql, [job])?;
    Ok(Answer { done: true, message: format!("replay {job} has begun, of {} dead letters", chosen.letters) })
}

/// Sets the state of a replay that has not ended; what an ended one has not come to is open again. How
/// many those are.
fn set_state(
    transaction: &Transaction<'_>,
    job: i64,
    state: JobState,
    why: Option<&str>,
    by: Option<&str>,
) -> rusqlite::Result<usize> {
    let sql = "UPDATE replay_jobs SET state = ?2, why = ?3, changed_by = ?4, changed_at = ?5
               WHERE job_row = ?1 AND state IN ('running', 'paused')";
    let now: Timestamp = clock::now();
    let changed = transaction.execute(sql, params![job, state.as_str(), why, by, At(now)])?;
    if changed == 0 || !state.has_ended() {
        return Ok(0);
    }
    let sql = "UPDATE dead_letters SET state = 'open', job_row = NULL
               WHERE state = 'replaying' AND job_row = ?1";
    transaction.execute(sql, [job])?;
    let sql = "UPDATE replay_items SET state = 'left' WHERE job_row = ?1 AND state = 'pending'";
    transaction.execute(sql, [job])
}

fn change(transaction: &Transaction<'_>, job: i64, to: JobState, request: &Request) -> rusqlite::Result<Answer> {
    let sql = "SELECT state FROM replay_jobs WHERE job_row = ?1";
    let word: Option<String> = transaction.query_row(sql, [job], |row| row.get(0)).optional()?;
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
    let left = set_state(transaction, job, to, Some(&request.reason), Some(&request.by))?;
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
    use crate::ledger::sqlite::report::example::Example;

    const PACE: Pace = Pace { canary: 1, rate: 10, failures_max: 10 };

    fn all(desk: &Desk) -> Chosen {
        let count = "SELECT count(*), max(dead_letter_row) FROM dead_letters WHERE state = 'open'";
        let (letters, up_to) =
            desk.connection().query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("counted");
        Chosen { choice: Choice::default(), up_to, letters }
    }

    fn put(desk: &Desk, chosen: &Chosen) -> (i64, Request) {
        let what = super::super::What::StartReplay { chosen: chosen.clone(), pace: PACE };
        let request = Request { by: "olga".to_owned(), reason: "the cause is gone".to_owned(), what };
        (desk.put(&request).expect("put"), request)
    }

    fn count(desk: &Desk, sql: &str) -> u64 {
        desk.connection().query_row(sql, [], |row| row.get(0)).expect("counted")
    }

    #[test]
    fn a_replay_takes_what_was_seen_and_gives_back_what_it_did_not_come_to() {
        let example = Example::new();
        // Two of one order, the last of all.
        for body in [r#"{"order_id":"ord-9"}"#, r#"{"order_id":"ord-9","shipment_id":"s1"}"#] {
            example.message("09:28:00", body.as_bytes());
        }
        let desk = Desk::open(&example.path).expect("a desk");
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
    fn what_is_set_aside_later_is_not_in_it() {
        let example = Example::new();
        let desk = Desk::open(&example.path).expect("a desk");
        let chosen = all(&desk);
        example.message("09:29:00", b"later");
        let (row, _) = put(&desk, &chosen);
        assert!(desk.start_replay(row, &chosen, PACE).expect("answered").done);
        assert_eq!(all(&desk).letters, 1);
    }
}
