//! What watching the worker costs it: its traces, and its metrics read every second.
//!
//! The collector is in this process, on its one thread, and only counts what comes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// How often metrics are read.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What of a worker is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// The share of traces that is recorded; 0: traces are off.
    pub ratio: f64,
    /// Are its metrics read every second?
    pub is_read: bool,
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.ratio, if self.is_read { "+read" } else { "" })
    }
}

/// A collector of traces that takes everything.
pub struct Collector {
    pub endpoint: String,
    bytes: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Collector {
    /// Starts it.
    pub async fn start() -> anyhow::Result<Self> {
        let bytes = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&bytes);
        let router = Router::new().fallback(move |body: Bytes| {
            count.fetch_add(u64::try_from(body.len()).unwrap_or_default(), Ordering::Relaxed);
            async {}
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let serving = async move {
            let _ = axum::serve(listener, router).await;
        };
        Ok(Self { endpoint, bytes, _task: AbortOnDropHandle::new(tokio::spawn(serving)) })
    }

    /// How much has come since it was asked last.
    pub fn taken(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

/// Reads a worker's metrics every second, until it is dropped.
pub fn read(http: &str) -> AbortOnDropHandle<()> {
    let url = format!("http://{http}/metrics");
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut tick = tokio::time::interval(READ_EVERY);
        loop {
            tick.tick().await;
            if let Ok(answer) = reqwest::get(&url).await {
                let _ = answer.bytes().await;
            }
        }
    }))
}
