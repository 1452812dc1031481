//! Who holds the ledger: one worker at a time, by a lock on a file beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ledger::LedgerError;
use crate::ledger::sqlite::open_error;

/// So many times the lock is tried for, with a pause after each.
const HOLD_TRIES: u32 = 5;

/// The pause.
const HOLD_PAUSE: Duration = Duration::from_millis(10);

/// Takes the lock that keeps a second worker out.
pub(in crate::ledger) fn hold(path: &Path) -> Result<File, LedgerError> {
    let lock_path = lock_path(path);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
    let lock = lock.map_err(|error| open_error(&lock_path, &error))?;
    for _ in 0..HOLD_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            // A command that looks whether a worker runs has it for a moment too.
            Err(TryLockError::WouldBlock) => std::thread::sleep(HOLD_PAUSE),
            Err(TryLockError::Error(error)) => return Err(open_error(&lock_path, &error)),
        }
    }
    Err(LedgerError::Held { path: path.display().to_string() })
}

/// Does a worker hold the ledger now?
pub(in crate::ledger) fn is_held(path: &Path) -> Result<bool, LedgerError> {
    let lock_path = lock_path(path);
    let lock = match File::open(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(open_error(&lock_path, &error)),
    };
    // Given back at once: a worker that starts in this very moment tries again.
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(open_error(&lock_path, &error)),
    }
}

pub(in crate::ledger) fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
