//! What every backend does alike: load, fold, write, and isolate a command that breaks an invariant.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::capture::books::Books;
use crate::capture::dead_letter::DeadLetter;
use crate::capture::decide::{self, Command, Context, Reply};
use crate::ids::DeadLetterId;
use crate::ledger::{CommandFailed, Environment, Executed, LedgerError, OutboxRow};

/// A place where records are kept, inside one transaction at a time.
pub(super) trait Store {
    /// Opens a transaction.
    fn begin(&mut self) -> Result<(), LedgerError>;
    /// Loads every record that the commands may touch. What [`Store::keep`] was given may be in the
    /// books already.
    fn load(&mut self, commands: &[Command]) -> Result<Books, StoreError>;
    /// Those of these dead letters that exist.
    fn dead_letters(&mut self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError>;
    /// Writes every change, and the encoded events.
    fn write(&mut self, books: &Books, outbox: &[OutboxRow]) -> Result<(), StoreError>;
    /// Makes it durable. After a fatal error nothing is known.
    fn commit(&mut self) -> Result<(), StoreError>;
    /// Takes the books of a group that is durable, for the next one. After a failure they are dropped.
    fn keep(&mut self, books: Books);
    /// Everybody has been answered: does what nobody waits for.
    fn tidy(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }
    /// Undoes the transaction.
    fn roll_back(&mut self) -> Result<(), LedgerError>;
    /// Nothing more comes.
    fn close(&mut self) {}
}

/// Why a group could not be loaded or written.
pub(super) enum StoreError {
    /// A constraint of the store refused a change: a fault of one command, not of the store.
    Refused(String),
    /// Nothing of it is durable, and it is done anew: another writer came between, or the store was away.
    Again,
    /// The store itself.
    Fatal(LedgerError),
}

/// Executes commands as one transaction. Where one of them breaks an invariant, each is executed in a
/// transaction of its own, so that it fails alone.
pub(super) fn execute(
    store: &mut impl Store,
    environment: &Environment,
    commands: &[Command],
) -> Result<Executed, LedgerError> {
    match execute_together(store, environment, commands)? {
        Ok((replies, outbox)) => Ok(Executed { replies: replies.into_iter().map(Ok).collect(), outbox }),
        Err(_) => execute_apart(store, environment, commands),
    }
}

fn execute_apart(
    store: &mut impl Store,
    environment: &Environment,
    commands: &[Command],
) -> Result<Executed, LedgerError> {
    let mut executed = Executed { replies: Vec::with_capacity(commands.len()), outbox: Vec::new() };
    for command in commands {
        let reply = execute_together(store, environment, std::slice::from_ref(command))?;
        executed.replies.push(reply.map(|(mut replies, outbox)| {
            executed.outbox.extend(outbox);
            replies.pop().expect("one reply per command")
        }));
    }
    Ok(executed)
}

type Group = (Vec<Reply>, Vec<OutboxRow>);

fn execute_together(
    store: &mut impl Store,
    environment: &Environment,
    commands: &[Command],
) -> Result<Result<Group, CommandFailed>, LedgerError> {
    loop {
        store.begin()?;
        let folded = fold(store, environment, commands);
        match folded.and_then(|(group, books)| store.commit().map(|()| (group, books))) {
            Ok((group, books)) => {
                store.keep(books);
                return Ok(Ok(group));
            }
            Err(StoreError::Refused(why)) => {
                store.roll_back()?;
                return Ok(Err(CommandFailed(why)));
            }
            Err(StoreError::Again) => store.roll_back()?,
            Err(StoreError::Fatal(error)) => return Err(error),
        }
    }
}

fn fold(store: &mut impl Store, environment: &Environment, commands: &[Command]) -> Result<(Group, Books), StoreError> {
    let mut books = store.load(commands)?;
    let mut replies = decide_all(&mut books, environment, commands)?;
    let set_aside = books.set_aside();
    let again = if set_aside.is_empty() { Vec::new() } else { store.dead_letters(&set_aside)? };
    if !again.is_empty() {
        // What was set aside before is seen once more, and not announced again.
        books = store.load(commands)?;
        for letter in again {
            books.load_dead_letter(letter);
        }
        replies = decide_all(&mut books, environment, commands)?;
    }
    let outbox: Vec<OutboxRow> = books.outbox.iter().map(|announcement| encode(environment, announcement)).collect();
    store.write(&books, &outbox)?;
    Ok(((replies, outbox), books))
}

/// The books are thrown away when a command panics, and the store is rolled back.
fn decide_all(books: &mut Books, environment: &Environment, commands: &[Command]) -> Result<Vec<Reply>, StoreError> {
    let (policy, now) = (&*environment.policy, (environment.clock)());
    let decide = |command: &Command| {
        let context = Context { policy, now, jitter: (environment.jitter)() };
        decide::decide(books, command, context)
    };
    let decided = catch_unwind(AssertUnwindSafe(|| commands.iter().map(decide).collect()));
    decided.map_err(|panic| StoreError::Refused(panic_message(&*panic)))
}

fn encode(environment: &Environment, announcement: &crate::capture::books::Announcement) -> OutboxRow {
    OutboxRow {
        row: announcement.row,
        event_id: announcement.event.id.as_uuid(),
        kind: announcement.event.content.kind().to_owned(),
        body: (environment.encode)(&announcement.event),
        traceparent: announcement.event.traceparent.clone(),
    }
}

/// The words of a panic, where it has any.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}
