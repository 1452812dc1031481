//! Where the ledger of a world is, and how a test looks into it: by connections of its own.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use holdfast::ledger::postgres::local_server::{Database, LocalServer};
use rusqlite::{Connection, OpenFlags};
use secrecy::{ExposeSecret, SecretString};

use super::copy;

/// In what a ledger is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// One ledger.
pub enum Store {
    Sqlite(PathBuf),
    Postgres(Database),
}

/// The PostgreSQL that the tests share, a database for each. Do not break it: start your own.
fn server() -> &'static LocalServer {
    static SERVER: OnceLock<LocalServer> = OnceLock::new();
    SERVER.get_or_init(|| LocalServer::start().expect("a PostgreSQL to test with"))
}

impl Store {
    /// A new one; in a file, where that is its kind.
    pub fn new(kind: Kind, file: PathBuf) -> Self {
        match kind {
            Kind::Sqlite => Self::Sqlite(file),
            Kind::Postgres => Self::Postgres(server().create_database().unwrap()),
        }
    }

    /// For `ledger.url`.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite:{}", file.display()),
            Self::Postgres(database) => database.url.expose_secret().to_owned(),
        }
    }

    /// The same over TCP, with a password, where it is in PostgreSQL.
    pub fn tcp_url(&self) -> SecretString {
        match self {
            Self::Sqlite(_) => panic!("a file has no password"),
            Self::Postgres(database) => database.tcp_url.clone(),
        }
    }

    /// All of it, for reading.
    pub fn read(&self) -> Connection {
        match self {
            Self::Sqlite(file) => open(file).unwrap(),
            Self::Postgres(database) => waited_for(|| copy::ledger(&database.url)),
        }
    }

    /// One number, if there is a ledger already: the first worker makes the tables in its own time.
    pub fn count(&self, sql: &str) -> Option<i64> {
        match self {
            Self::Sqlite(file) => open(file).ok()?.query_row(sql, [], |row| row.get(0)).ok(),
            Self::Postgres(database) => waited_for(async || {
                let client = copy::connect(&database.url).await.ok()?;
                Some(client.query_one(sql, &[]).await.ok()?.get(0))
            }),
        }
    }
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// Waits for an answer of the server as code waits for a file: on a thread beside the runtime of the test.
fn waited_for<T: Send>(ask: impl AsyncFnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let wait = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(ask());
        scope.spawn(wait).join().unwrap()
    })
}
