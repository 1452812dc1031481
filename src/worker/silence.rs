//! How long the ledger has owed an answer, said aloud when it is too long.
//!
//! Does not hold anything back: whoever waits for the ledger takes nothing new meanwhile. It runs beside the
//! watch, which waits for the ledger too and could not say so.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::http::{Check, Readiness};
use crate::telemetry;
use crate::worker::executor::Executor;
use crate::worker::gauges;

/// Longer than this is too long. A commit takes milliseconds, and a busy ledger answers something all the time.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the ledger was asked and has not answered.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    count: usize,
    /// The last answer; or the first question, where none came since.
    since: Option<Instant>,
}

/// A question, until it is answered or given up.
#[derive(Debug)]
pub(super) struct Question<'a>(&'a Questions);

impl Questions {
    /// Something is asked.
    pub(super) fn ask(&self) -> Question<'_> {
        let mut open = self.open();
        open.count += 1;
        open.since.get_or_insert_with(Instant::now);
        Question(self)
    }

    /// For how long nothing has been answered that was asked.
    pub(super) fn silence(&self) -> Duration {
        self.open().since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut open = self.0.open();
        open.count -= 1;
        open.since = (open.count > 0).then(Instant::now);
    }
}

/// Does the ledger answer?
pub(super) fn check(silence: Duration) -> Check {
    if silence <= SILENCE_MAX {
        return Ok(());
    }
    Err(format!("the ledger has not answered for {} s", silence.as_secs()))
}

/// Says so while it does not.
pub(super) async fn listen(executor: Arc<Executor>, readiness: watch::Sender<Readiness>) -> Infallible {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let found = check(executor.silence());
        if found.is_ok() {
            telemetry::clear("ledger_silent", None);
        } else {
            let message = "the ledger does not answer: nothing is accepted, sent or booked until it does";
            telemetry::alarm("ledger_silent", None, message);
            readiness.send_modify(|readiness| readiness.ledger_writable = found);
            // The watch waits for the ledger as well, and shows nothing meanwhile.
            gauges::show_readiness(&readiness.borrow());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_last_answer_while_something_is_asked() {
        let questions = Questions::default();
        let since = |questions: &Questions| questions.open().since;
        assert_eq!((since(&questions), questions.silence()), (None, Duration::ZERO));
        let first = questions.ask();
        let asked = since(&questions);
        let second = questions.ask();
        assert!(asked.is_some() && since(&questions) == asked, "a second question does not begin it anew");
        drop(first);
        assert!(since(&questions) > asked, "an answer does");
        drop(second);
        assert_eq!(since(&questions), None, "nothing is asked any more");
        assert_eq!(check(SILENCE_MAX), Ok(()));
        let said = check(SILENCE_MAX + Duration::from_secs(2));
        assert_eq!(said, Err("the ledger has not answered for 7 s".to_owned()));
    }
}
