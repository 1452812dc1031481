//! The writer of a ledger: one transaction after another, each with whatever has queued up, of all kinds.
//! It does not decide, and it ends for good when the store fails.

use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::capture::decide::Command;
use crate::ledger::fold::{self, Store};
use crate::ledger::{Environment, Executed, LedgerError};

/// Commands that are executed together, and who waits for them.
pub(super) struct Group {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Executed, LedgerError>>,
}

impl Group {
    /// Commands of one caller, and where the answer comes.
    pub(super) fn of(commands: Vec<Command>) -> (Self, oneshot::Receiver<Result<Executed, LedgerError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { commands, reply }, answer)
    }
}

/// A group of this size is worth a transaction of its own. While the ledger is busy, a smaller one waits
/// a moment for more: two small transactions take more of the CPU than one, and a sync each. PostgreSQL's
/// `commit_delay` does the same (<https://www.postgresql.org/docs/current/wal-configuration.html>).
const WORTH_IT: usize = 64;

/// After a group of this size the ledger is busy. Before, nobody waits for anybody.
const BUSY_FROM: usize = 16;

/// How often a small group waits, and how long each time: two milliseconds, which is about a sync.
const WAITS: usize = 10;
const WAIT: Duration = Duration::from_micros(200);

/// Executes groups of about `size_max` commands at most, until there is nothing more to receive.
pub(super) fn run(
    mut store: impl Store,
    environment: &Environment,
    mut groups: mpsc::Receiver<Group>,
    size_max: usize,
) {
    let mut size_before = 0;
    while let Some(first) = groups.blocking_recv() {
        let sizes = least_after(size_before)..size_max;
        let (commands, callers) = gather(&mut groups, first, sizes, || std::thread::sleep(WAIT));
        size_before = commands.len();
        if let Err(error) = serve(&mut store, environment, &commands, callers) {
            tracing::error!(%error, "the ledger failed and takes nothing more");
            return;
        }
    }
    store.close();
}

/// The size from which a group does not wait for more, after one of this size.
const fn least_after(size_before: usize) -> usize {
    if size_before < BUSY_FROM { 0 } else { WORTH_IT }
}

/// Who waits for an answer, and to how many commands.
type Caller = (usize, oneshot::Sender<Result<Executed, LedgerError>>);

/// Everything that has queued up, until it is of the largest size; of less than the smallest, what comes
/// in a few waits more.
fn gather(
    groups: &mut mpsc::Receiver<Group>,
    first: Group,
    sizes: Range<usize>,
    mut wait: impl FnMut(),
) -> (Vec<Command>, Vec<Caller>) {
    let (mut commands, mut callers) = (Vec::new(), Vec::new());
    let (mut next, mut waits) = (Ok(first), 0);
    loop {
        match next {
            Ok(mut group) => {
                callers.push((group.commands.len(), group.reply));
                commands.append(&mut group.commands);
            }
            Err(TryRecvError::Empty) if commands.len() < sizes.start && waits < WAITS => {
                wait();
                waits += 1;
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
        if commands.len() >= sizes.end {
            break;
        }
        next = groups.try_recv();
    }
    (commands, callers)
}

fn serve(
    store: &mut impl Store,
    environment: &Environment,
    commands: &[Command],
    callers: Vec<Caller>,
) -> Result<(), LedgerError> {
    let started = Instant::now();
    let executed = fold::execute(store, environment, commands);
    crate::telemetry::note_commit(commands.len(), started.elapsed());
    answer(executed, callers)?;
    store.tidy()
}

/// Gives each caller its part.
fn answer(executed: Result<Executed, LedgerError>, callers: Vec<Caller>) -> Result<(), LedgerError> {
    let executed = match executed {
        Ok(executed) => executed,
        Err(error) => {
            for (_, reply) in callers {
                let _ = reply.send(Err(error.clone()));
            }
            return Err(error);
        }
    };
    let mut replies = executed.replies.into_iter();
    // The first caller carries the events of the whole group to the relay.
    let mut outbox = executed.outbox;
    for (count, reply) in callers {
        let part = Executed { replies: replies.by_ref().take(count).collect(), outbox: std::mem::take(&mut outbox) };
        let _ = reply.send(Ok(part));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::books::Books;
    use crate::capture::dead_letter::DeadLetter;
    use crate::capture::tests::support::*;
    use crate::ids::DeadLetterId;
    use crate::ledger::OutboxRow;
    use crate::ledger::fold::StoreError;
    use crate::ledger::memory::Tables;

    /// A group of so many commands, whose answer nobody awaits.
    fn group(size: usize) -> Group {
        Group::of(vec![Command::Published(Vec::new()); size]).0
    }

    /// How many commands are gathered from these sizes, of which the first `queued` are there at once and
    /// each wait brings one more; and after how many waits.
    fn gathered(sizes: &[usize], queued: usize, wanted: Range<usize>) -> (usize, usize) {
        let (sender, mut receiver) = mpsc::channel(sizes.len());
        let mut coming = sizes.iter().map(|size| group(*size));
        let first = coming.next().expect("there is one");
        for group in coming.by_ref().take(queued - 1) {
            sender.try_send(group).expect("there is room");
        }
        let mut waits = 0;
        let (commands, callers) = gather(&mut receiver, first, wanted, || {
            waits += 1;
            if let Some(group) = coming.next() {
                sender.try_send(group).expect("there is room");
            }
        });
        assert_eq!(callers.iter().map(|(count, _)| count).sum::<usize>(), commands.len(), "each gets its part");
        (commands.len(), waits)
    }

    #[test]
    fn a_group_is_what_has_queued_up() {
        assert_eq!(gathered(&[1, 2, 3], 3, 0..100), (6, 0));
        assert_eq!(gathered(&[1, 2, 3], 2, 0..100), (3, 0), "nobody waits for the third");
        assert_eq!(gathered(&[4, 4, 4], 3, 0..8), (8, 0), "the third is of the next group");
    }

    #[test]
    fn a_small_group_of_a_busy_ledger_waits_for_more_but_not_for_long() {
        assert_eq!(gathered(&[1, 5, 5, 5], 1, 10..100), (11, 2));
        assert_eq!(gathered(&[10, 5], 1, 10..100), (10, 0), "large enough as it is");
        assert_eq!(gathered(&[1], 1, 10..100), (1, WAITS), "nothing came");
    }

    #[test]
    fn nobody_waits_while_there_is_little_to_do() {
        let sizes = [0, BUSY_FROM - 1, BUSY_FROM];
        assert_eq!(sizes.map(least_after), [0, 0, WORTH_IT]);
    }

    /// A store in which something is to be done that nobody waits for.
    struct Untidy {
        tables: Tables,
        answer: oneshot::Receiver<Result<Executed, LedgerError>>,
    }

    impl Store for Untidy {
        fn begin(&mut self) -> Result<(), LedgerError> {
            self.tables.begin()
        }

        fn load(&mut self, commands: &[Command]) -> Result<Books, StoreError> {
            self.tables.load(commands)
        }

        fn dead_letters(&mut self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError> {
            self.tables.dead_letters(ids)
        }

        fn write(&mut self, books: &Books, outbox: &[OutboxRow]) -> Result<(), StoreError> {
            self.tables.write(books, outbox)
        }

        fn commit(&mut self) -> Result<(), StoreError> {
            self.tables.commit()
        }

        fn keep(&mut self, books: Books) {
            self.tables.keep(books);
        }

        fn roll_back(&mut self) -> Result<(), LedgerError> {
            self.tables.roll_back()
        }

        fn tidy(&mut self) -> Result<(), LedgerError> {
            assert!(self.answer.try_recv().is_ok(), "somebody still waits");
            Err(LedgerError::Failed("the disk".to_owned()))
        }
    }

    #[test]
    fn what_nobody_waits_for_comes_after_the_answers_and_may_fail_like_everything_else() {
        let environment = environment(policy(), &ManualClock::new());
        let (reply, answer) = oneshot::channel();
        let mut store = Untidy { tables: Tables::default(), answer };
        let failed = serve(&mut store, &environment, &[Command::Published(Vec::new())], vec![(1, reply)]);
        assert!(failed.is_err());
    }

    #[test]
    fn who_is_the_last_is_not_kept_waiting() {
        let (sender, mut receiver) = mpsc::channel(1);
        drop(sender);
        let (commands, _) = gather(&mut receiver, group(1), 10..100, || panic!("nobody can come any more"));
        assert_eq!(commands.len(), 1);
    }
}
