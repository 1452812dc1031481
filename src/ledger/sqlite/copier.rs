//! Copies the write-ahead log into the file, beside the writer.
//!
//! A long log takes a few hundredths of a second to copy, a sync among them, and the writer would keep
//! everybody waiting meanwhile. So another connection copies it in a thread of its own. What the writer adds
//! in that time is copied by the writer itself: a log starts anew only once all of it has been copied, which
//! it hardly ever is beside a busy writer
//! (<https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files>).

use std::path::Path;

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::{SYNCHRONOUS_FULL, failed, open_error, schema, set_pragma};
use crate::ledger::LedgerError;
use crate::ledger::thread::{Thread, stopped};

/// Where the thread says what came of a copy.
type Reply = oneshot::Sender<Result<(), LedgerError>>;

/// The thread that copies, and what it is at.
pub(super) struct Copier {
    thread: Thread<Reply>,
    under_way: Option<oneshot::Receiver<Result<(), LedgerError>>>,
}

impl Copier {
    /// Opens the ledger once more, and starts the thread.
    pub(super) fn start(path: &Path) -> Result<Self, LedgerError> {
        let connection = open(path)?;
        let thread = Thread::start("ledger-copier", move |requests| serve(&connection, requests));
        Ok(Self { thread: thread.map_err(|error| open_error(path, &error))?, under_way: None })
    }

    /// Has the log copied if it is long; once it was, copies what has been added since. To be called by the
    /// writer between two transactions.
    ///
    /// # Errors
    /// The copy failed, perhaps a while ago: nothing more is to be written.
    pub(super) fn tend(&mut self, writer: &Connection, is_long: bool) -> Result<(), LedgerError> {
        match self.under_way.as_mut().map(oneshot::Receiver::try_recv) {
            None if is_long => {
                let (reply, answer) = oneshot::channel();
                self.under_way = Some(answer);
                self.thread.send_now(reply)
            }
            None | Some(Err(TryRecvError::Empty)) => Ok(()),
            Some(Ok(copied)) => {
                self.under_way = None;
                copied?;
                copy(writer)
            }
            Some(Err(TryRecvError::Closed)) => Err(stopped()),
        }
    }
}

fn open(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| open_error(path, &error))?;
    // A copy is synced as its connection syncs.
    let (pragma, value) = SYNCHRONOUS_FULL;
    set_pragma(&connection, path, pragma, value)?;
    schema::check(&connection, &path.display().to_string())?;
    Ok(connection)
}

fn serve(connection: &Connection, mut requests: mpsc::Receiver<Reply>) {
    while let Some(reply) = requests.blocking_recv() {
        // The writer has ended meanwhile: it is told nothing any more.
        let _ = reply.send(copy(connection));
    }
}

/// Copies the log as far as no reader needs it. Should another process be at it, the next one tries again.
pub(super) fn copy(connection: &Connection) -> Result<(), LedgerError> {
    match connection.wal_checkpoint_v2(Some(rusqlite::MAIN_DB), CheckpointMode::PASSIVE) {
        Err(error) if error.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy) => Err(failed(&error)),
        Ok(_) | Err(_) => Ok(()),
    }
}
