//! Whether a ledger's file can be relied on: looked at while a worker may be writing it, and changed in
//! nothing.
//!
//! What is durable when is the writer's business; whether the file holds what it should is not looked at.

use std::path::Path;

#[cfg(target_os = "linux")]
use rustix::fs::statfs;

use crate::ledger::LedgerError;
use crate::ledger::sqlite::{SQLITE_VERSION_MIN, lock, open_error, open_for_reading};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// SQLite's journal mode: `wal` in every ledger.
    pub journal_mode: String,
    /// The library's version.
    pub sqlite: &'static str,
    /// Is that one without the bug that can corrupt a file?
    pub is_sqlite_sound: bool,
    /// How large the file is, in bytes.
    pub bytes: u64,
}

/// What a directory is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A local disk, as far as the system tells.
    Disk,
    /// Memory: gone when the machine stops.
    Memory,
    /// A network: SQLite's locks and syncs cannot be relied on.
    Network,
    /// The writable layer of a container: gone with it.
    Container,
}

/// Looks at the file.
///
/// # Errors
/// [`LedgerError::Open`] when it cannot be opened or is of another version.
pub fn look(path: &Path) -> Result<Health, LedgerError> {
    let open = |error: &dyn std::fmt::Display| open_error(path, error);
    let connection = open_for_reading(path)?;
    let journal_mode = connection.pragma_query_value(None, "journal_mode", |row| row.get(0));
    Ok(Health {
        journal_mode: journal_mode.map_err(|error| open(&error))?,
        sqlite: rusqlite::version(),
        is_sqlite_sound: rusqlite::version_number() >= SQLITE_VERSION_MIN,
        bytes: std::fs::metadata(path).map_err(|error| open(&error))?.len(),
    })
}

/// Does a worker hold the ledger now?
///
/// # Errors
/// [`LedgerError::Open`] when that cannot be found out.
pub fn is_served(path: &Path) -> Result<bool, LedgerError> {
    lock::is_held(path)
}

/// What a directory is on. Numbers of file systems: statfs(2).
#[cfg(target_os = "linux")]
pub fn place(directory: &Path) -> Place {
    let Ok(found) = statfs(directory) else { return Place::Disk };
    // Some are written as negative numbers where the field is signed and narrow.
    let kind = u64::try_from(found.f_type).unwrap_or_default() & 0xffff_ffff;
    match kind {
        0x0102_1994 | 0x8584_58f6 => Place::Memory,
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x0102_1997 | 0x5346_414f => Place::Network,
        0x794c_7630 => Place::Container,
        _ => Place::Disk,
    }
}

/// What a directory is on: not told by this system.
#[cfg(not(target_os = "linux"))]
pub fn place(_directory: &Path) -> Place {
    Place::Disk
}
