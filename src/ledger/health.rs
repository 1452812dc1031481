//! Whether a ledger's file, or its server, can be relied on: looked at while workers may be writing, and
//! changed in nothing.
//!
//! What is durable when is the writer's business; whether the file holds what it should is not looked at.

use std::path::Path;

use rusqlite::params;
#[cfg(target_os = "linux")]
use rustix::fs::statfs;

use crate::ledger::moving;
use crate::ledger::postgres::{Address, NO_LEDGER};
use crate::ledger::session::Session;
use crate::ledger::sqlite::{SQLITE_VERSION_MIN, lock, open_error, open_for_reading};
use crate::ledger::{LedgerError, Source};

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

/// What was found of a server. One that forgets, does not write or is too old is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    /// Its version, in its own words.
    pub version: String,
    /// Is the connection encrypted?
    pub is_encrypted: bool,
    /// How large the database is, in bytes.
    pub bytes: u64,
    /// The workers that run, by name.
    pub workers: Vec<String>,
}

/// Looks at the server. `None`: there is no ledger in the database yet.
///
/// # Errors
/// [`LedgerError::Away`]; [`LedgerError::Open`] when it cannot be relied on, or the ledger is of another
/// version.
pub fn look_at_server(address: &Address) -> Result<Option<ServerHealth>, LedgerError> {
    let session = match Session::for_questions(&Source::from(address.clone())) {
        Ok(session) => session,
        Err(LedgerError::Open { cause, .. }) if cause == NO_LEDGER => return Ok(None),
        Err(error) => return Err(error),
    };
    let sql = "SELECT name FROM workers WHERE lease_until > now() ORDER BY worker_row";
    let workers = session.query(sql, params![], |row| row.get(0))?;
    let sql = "SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS bytes,
               coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS is_encrypted";
    let health = session.one(sql, params![], |row| {
        let (version, bytes, is_encrypted) = (row.get("version")?, row.get("bytes")?, row.get("is_encrypted")?);
        Ok(ServerHealth { version, is_encrypted, bytes, workers: Vec::new() })
    })?;
    Ok(Some(ServerHealth { workers, ..health }))
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
    moving::refuse_moved(path, &connection)?;
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

/// What a directory is on; `None` where the system does not tell. Numbers of file systems: statfs(2).
#[cfg(target_os = "linux")]
pub fn place(directory: &Path) -> Option<Place> {
    let found = statfs(directory).ok()?;
    // Some are written as negative numbers where the field is signed and narrow.
    let kind = u64::try_from(found.f_type).unwrap_or_default() & 0xffff_ffff;
    Some(match kind {
        0x0102_1994 | 0x8584_58f6 => Place::Memory,
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x0102_1997 | 0x5346_414f => Place::Network,
        0x794c_7630 => Place::Container,
        _ => Place::Disk,
    })
}

/// What a directory is on: not told by this system.
#[cfg(not(target_os = "linux"))]
pub fn place(_directory: &Path) -> Option<Place> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sqlite::open_for_writing;

    #[test]
    fn a_ledger_is_looked_at_without_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("holdfast.db");
        drop(open_for_writing(&path).unwrap());
        let before = std::fs::read(&path).unwrap();
        let health = look(&path).unwrap();
        assert!(health.journal_mode == "wal" && health.is_sqlite_sound && health.bytes > 0, "{health:?}");
        assert_eq!(is_served(&path).ok(), Some(false));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::write(&path, b"this is not a database, and it is long enough to be looked at as one").unwrap();
        assert!(matches!(look(&path), Err(LedgerError::Open { .. })));
    }

    #[test]
    fn a_server_is_looked_at_before_and_after_there_is_a_ledger() {
        let address = crate::ledger::testing::database();
        assert_eq!(look_at_server(&address).unwrap(), None);
        moving::migrate(&Source::from(address.clone())).unwrap();
        let health = look_at_server(&address).unwrap().expect("a ledger");
        assert!(health.version.starts_with(|c: char| c.is_ascii_digit()), "{health:?}");
        assert!(health.bytes > 0 && health.workers.is_empty() && !health.is_encrypted, "{health:?}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_told_from_a_disk() {
        let shared_memory = Path::new("/dev/shm");
        if shared_memory.exists() {
            assert_eq!(place(shared_memory), Some(Place::Memory));
        }
        assert_eq!(place(Path::new("/nowhere")), None);
        assert_ne!(place(Path::new(env!("CARGO_MANIFEST_DIR"))), None);
    }
}
