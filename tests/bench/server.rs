//! The PostgreSQL that workers share while they are measured: on the disk of the build, with its syncs, and
//! counting its statements.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use holdfast::ledger::postgres::local_server::{Database, LocalServer};

use crate::process;

/// A server.
pub struct Server(LocalServer);

/// What it has done for a database.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// CPU time of all its processes.
    pub cpu: Duration,
    /// Statements, `BEGIN` and `COMMIT` among them.
    pub statements: u64,
    /// Transactions that were committed.
    pub transactions: u64,
    /// Syncs of its log.
    pub syncs: u64,
}

impl Server {
    /// Starts it.
    pub fn start() -> anyhow::Result<Self> {
        let server = LocalServer::start_in(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        server.psql("CREATE EXTENSION pg_stat_statements")?;
        Ok(Self(server))
    }

    /// A ledger that nobody has used.
    pub fn create_database(&self) -> anyhow::Result<Database> {
        Ok(self.0.create_database()?)
    }

    /// What it has done for this database so far. Whoever was connected to it has to be gone: only then all
    /// of it is told.
    pub fn done(&self, database: &Database) -> anyhow::Result<Done> {
        let name = &database.name;
        let number = |sql: &str| anyhow::Ok(self.0.psql(sql)?.trim().parse::<u64>()?);
        let of = format!("SELECT oid FROM pg_database WHERE datname = '{name}'");
        Ok(Done {
            cpu: self.cpu()?,
            statements: number(&format!("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE dbid = ({of})"))?,
            transactions: number(&format!("SELECT xact_commit FROM pg_stat_database WHERE datname = '{name}'"))?,
            syncs: number("SELECT wal_sync FROM pg_stat_wal")?,
        })
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        let file = std::fs::read_to_string(self.0.dir().join("data/postmaster.pid"))?;
        process::family_cpu(file.lines().next().context("the first line is its process")?.parse()?)
    }
}

impl Done {
    /// What came since then.
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            statements: self.statements.saturating_sub(before.statements),
            transactions: self.transactions.saturating_sub(before.transactions),
            syncs: self.syncs.saturating_sub(before.syncs),
        }
    }
}
