//! One connection: opened, checked, and with its statements prepared once each.
//!
//! Refuses a server that would forget, or that is not the one that writes: an acknowledgement is a promise
//! to have it on disk.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::address::{Address, Tls};
use super::tls;
use super::trouble::Trouble;

/// The oldest PostgreSQL that is looked after when this was written.
const VERSION_MIN: i64 = 140_000;

/// What is said of a server that does not write.
pub(super) const STANDBY: &str = "the server is a standby, which does not write: name the primary";

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The transactions of the groups.
    Groups,
    /// Whatever else.
    Questions,
}

/// A connection, ended with its drop.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

/// Connects and looks whether the server keeps what it is given.
pub(super) async fn connect(address: &Address, purpose: Purpose) -> Result<Session, Trouble> {
    let client = match address.tls {
        Tls::Disable => {
            let (client, connection) = address.config.connect(NoTls).await?;
            // Its errors come back from the statement that they are of.
            drop(tokio::spawn(connection));
            client
        }
        Tls::Unverified | Tls::Verified(_) => {
            let connector = tls::connector(address).map_err(Trouble::fatal)?;
            let (client, connection) = address.config.connect(connector).await?;
            drop(tokio::spawn(connection));
            client
        }
    };
    prepare(&client, purpose).await?;
    Ok(Session { client, statements: Mutex::new(HashMap::new()) })
}

/// What holds for a session.
///
/// A worker that stands still in the middle of a transaction must not keep the others from its orders:
/// the server ends it. Plans come from the indexes, also those that were made while the tables were empty.
async fn prepare(client: &Client, purpose: Purpose) -> Result<(), Trouble> {
    let plans = match purpose {
        Purpose::Groups => "SET enable_seqscan = off;",
        Purpose::Questions => "SET statement_timeout = '60s';",
    };
    client
        .batch_execute(&format!(
            "SET client_min_messages = warning; SET jit = off; SET timezone = 'UTC';
             SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off;
             SET idle_in_transaction_session_timeout = '10s'; {plans}"
        ))
        .await?;
    let row = client
        .query_one(
            "SELECT pg_is_in_recovery(), current_setting('server_version_num')::bigint, current_setting('fsync'),
             current_setting('full_page_writes'), current_setting('synchronous_commit')",
            &[],
        )
        .await?;
    let (is_standby, version): (bool, i64) = (row.try_get(0)?, row.try_get(1)?);
    if is_standby {
        // After a failover it may be the other one.
        return Err(Trouble::Lost(STANDBY.to_owned()));
    }
    if version < VERSION_MIN {
        return Err(Trouble::fatal(format!("the server is PostgreSQL {}: 14 or newer is needed", version / 10_000)));
    }
    for (index, setting) in [(2, "fsync"), (3, "full_page_writes")] {
        if row.try_get::<_, &str>(index)? != "on" {
            return Err(Trouble::fatal(format!(
                "the server has {setting} = off, and forgets what was captured when it crashes: switch it on"
            )));
        }
    }
    // `remote_write` and `remote_apply` promise more than `on`, `local` as much without a standby.
    if row.try_get::<_, &str>(4)? == "off" {
        client.batch_execute("SET synchronous_commit = on").await?;
        let set = client.query_one("SHOW synchronous_commit", &[]).await?;
        if set.try_get::<_, &str>(0)? == "off" {
            return Err(Trouble::fatal("the server has synchronous_commit = off, and does not let it be set"));
        }
    }
    Ok(())
}

impl Session {
    /// Asks, with a statement that is prepared once.
    pub(super) async fn query(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, values).await?)
    }

    /// Changes, with a statement that is prepared once; how many rows.
    pub(super) async fn execute(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Trouble> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, values).await?)
    }

    /// Runs statements without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Trouble> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Has it come to its end?
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The client, for what is asked once.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The client itself.
    pub(super) const fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Prepared statements must not wait for one another in the middle of a pipeline: whoever is about to
    /// send several prepares them before.
    pub(super) async fn prepare(&self, statements: &[&'static str]) -> Result<(), Trouble> {
        for sql in statements {
            self.statement(sql).await?;
        }
        Ok(())
    }

    async fn statement(&self, sql: &'static str) -> Result<Statement, Trouble> {
        let known = self.statements.lock().expect("nothing panics under it").get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.lock().expect("nothing panics under it").insert(sql, statement.clone());
        Ok(statement)
    }
}

#[cfg(test)]
impl Session {
    /// What a statement without values says, line by line.
    pub(super) async fn simple(&self, sql: &str) -> Vec<String> {
        let said = self.client.simple_query(sql).await.expect(sql);
        let line = |message| {
            let tokio_postgres::SimpleQueryMessage::Row(row) = message else { return None };
            row.get(0).map(str::to_owned)
        };
        said.into_iter().filter_map(line).collect()
    }
}
