//! Questions, on connections of their own, so that none holds up a commit; and the heartbeat.
//!
//! While the server is away, a question waits for it.

use std::time::Duration;

use deadpool::managed::{self, Metrics, Pool, PoolError, RecycleError, RecycleResult};
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;

use super::address::Address;
use super::lease;
use super::session::{self, Purpose, Session};
use super::store::{PAUSE_MAX, PAUSE_MIN, jittered};
use super::trouble::Trouble;
use crate::ledger::LedgerError;

/// Connections for questions at most: what is due, what is not published, how it is doing, the heartbeat.
const CONNECTIONS_MAX: usize = 4;

/// Where questions are asked.
#[derive(Debug)]
pub(super) struct Readers {
    /// Taken by the drop.
    runtime: Option<Runtime>,
    pool: Pool<Sessions>,
}

#[derive(Debug)]
struct Sessions(Address);

impl managed::Manager for Sessions {
    type Type = Session;
    type Error = Trouble;

    async fn create(&self) -> Result<Session, Trouble> {
        session::connect(&self.0, Purpose::Questions).await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Trouble> {
        if session.is_closed() { Err(RecycleError::message("it is closed")) } else { Ok(()) }
    }
}

impl Readers {
    /// Starts them, and the heartbeat of a worker.
    pub(super) fn start(address: &Address, worker: i64, lease: Duration) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ledger-reader")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let pool = Pool::builder(Sessions(address.clone())).max_size(CONNECTIONS_MAX).build();
        let pool = pool.map_err(|error| error.to_string())?;
        runtime.spawn(beat(pool.clone(), worker, lease));
        Ok(Self { runtime: Some(runtime), pool })
    }

    /// Asks a question, as often as it takes.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> Fn(&'a Session) -> BoxFuture<'a, Result<T, Trouble>> + Send + Sync + 'static,
    ) -> Result<T, LedgerError> {
        let pool = self.pool.clone();
        let runtime = self.runtime.as_ref().expect("only a drop takes it");
        let asked = runtime.spawn(async move {
            let mut pause = PAUSE_MIN;
            loop {
                match once(&pool, &question).await {
                    Ok(answer) => return Ok(answer),
                    Err(Trouble::Fatal(error)) => return Err(error),
                    Err(Trouble::Refused(why)) => return Err(LedgerError::Failed(why)),
                    // The writer says that the server is away.
                    Err(
                        trouble @ (Trouble::Again(_) | Trouble::Twice(_) | Trouble::Lost(_) | Trouble::Untrusted(_)),
                    ) => {
                        tracing::debug!("a question to PostgreSQL is asked again: {}", trouble.words());
                    }
                }
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        });
        asked.await.map_err(|_| LedgerError::Failed("it was closed".to_owned()))?
    }
}

async fn once<T>(
    pool: &Pool<Sessions>,
    question: &(impl for<'a> Fn(&'a Session) -> BoxFuture<'a, Result<T, Trouble>> + Sync),
) -> Result<T, Trouble> {
    let session = connected(pool).await?;
    let answer = question(&session).await;
    put_back(session, matches!(answer, Err(Trouble::Lost(_))));
    answer
}

async fn connected(pool: &Pool<Sessions>) -> Result<managed::Object<Sessions>, Trouble> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(trouble) => trouble,
        PoolError::Timeout(_) | PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            Trouble::Lost("there is no connection to be had".to_owned())
        }
    })
}

fn put_back(session: managed::Object<Sessions>, is_lost: bool) {
    if is_lost {
        drop(managed::Object::take(session));
    }
}

/// Renews the lease, also while nothing is written.
async fn beat(pool: Pool<Sessions>, worker: i64, lease: Duration) {
    let mut tick = tokio::time::interval(lease * 3 / 10);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let renewed = async {
            let session = connected(&pool).await?;
            let renewed = lease::renew(&session, worker, lease).await;
            put_back(session, matches!(renewed, Err(Trouble::Lost(_))));
            renewed
        };
        if let Err(trouble) = renewed.await {
            tracing::debug!("the lease was not renewed: {}", trouble.words());
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        // Nothing of theirs has to be finished.
        self.runtime.take().expect("only a drop takes it").shutdown_background();
    }
}
