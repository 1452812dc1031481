//! Health and metrics over HTTP, for whoever runs the worker.
//!
//! `/livez`: the event loop turns; never depends on the broker or the ledger, so that nobody restarts
//! a worker for somebody else's outage. `/readyz`: does work move? `/metrics`: for Prometheus.
//!
//! Does not decide what is healthy: the worker says so through a [`Readiness`]. Takes no commands.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the exporter folds what histograms have collected.
const UPKEEP: Duration = Duration::from_secs(5);

/// Longest wait for requests under way when the server stops.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Why health and metrics are not served.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address of `http.listen` cannot be used.
    #[error("cannot listen on {address} (http.listen): is another worker running?")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server ended.
    #[error("the health and metrics server ended")]
    Serve(#[source] std::io::Error),
}

/// Is one thing as it should be? If not, why not.
pub type Check = Result<(), String>;

/// Does work move?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The ledger takes writes.
    pub ledger_writable: Check,
    /// Deliveries are being consumed.
    pub consuming: Check,
    /// No event has waited longer than `worker.outbox_age_max` to be published.
    pub outbox_young: Check,
    /// No restore from a backup is under way, which holds every capture back.
    pub restored: Check,
}

impl Readiness {
    /// Before anything is known.
    pub fn starting() -> Self {
        let starting = || Err("the worker is starting".to_owned());
        Self { ledger_writable: starting(), consuming: starting(), outbox_young: starting(), restored: starting() }
    }

    /// Each of them, by its name.
    pub fn checks(&self) -> [(&'static str, &Check); 4] {
        [
            ("ledger_writable", &self.ledger_writable),
            ("consuming", &self.consuming),
            ("outbox_young", &self.outbox_young),
            ("restored", &self.restored),
        ]
    }
}

/// As one line: `ready`, or what is not as it should be, and why.
impl fmt::Display for Readiness {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = self.checks().into_iter().filter_map(|(name, check)| Some((name, check.as_ref().err()?)));
        let wrong: Vec<String> = wrong.map(|(name, why)| format!("{name}: {why}")).collect();
        if wrong.is_empty() { to.write_str("ready") } else { write!(to, "not ready: {}", wrong.join("; ")) }
    }
}

/// A server that has its address and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the address. Port 0 takes any free one.
    ///
    /// # Errors
    /// [`HttpError::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        let bind = |source| HttpError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self { listener, address })
    }

    /// The address it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`. Once the sender of `readiness` is gone, the answer is "not ready".
    ///
    /// # Errors
    /// [`HttpError::Serve`].
    pub async fn serve(
        self,
        readiness: watch::Receiver<Readiness>,
        metrics: PrometheusHandle,
        stop: CancellationToken,
    ) -> Result<(), HttpError> {
        let upkeep = keep_up(metrics.clone());
        let router = Router::new()
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(ready).with_state(readiness))
            .route("/metrics", get(render).with_state(metrics));
        let signal = stop.clone();
        let server = axum::serve(self.listener, router).with_graceful_shutdown(signal.cancelled_owned());
        let closed = async {
            stop.cancelled().await;
            tokio::time::sleep(CLOSE_GRACE).await;
        };
        tokio::select! {
            ended = server.into_future() => ended.map_err(HttpError::Serve),
            () = closed => Ok(()),
            never = upkeep => match never {},
        }
    }
}

async fn ready(State(readiness): State<watch::Receiver<Readiness>>) -> impl IntoResponse {
    let worker_gone = readiness.has_changed().is_err();
    let readiness = readiness.borrow();
    let ready = !worker_gone && readiness.checks().iter().all(|(_, check)| check.is_ok());
    let checks: serde_json::Map<_, _> = readiness
        .checks()
        .into_iter()
        .map(|(name, check)| {
            let check = match check {
                Err(reason) => json!({ "ok": false, "reason": reason }),
                Ok(()) if worker_gone => json!({ "ok": false, "reason": "the worker has ended" }),
                Ok(()) => json!({ "ok": true }),
            };
            (name.to_owned(), check)
        })
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "checks": checks })))
}

async fn render(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}

async fn keep_up(metrics: PrometheusHandle) -> std::convert::Infallible {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn readiness_is_what_the_worker_says() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        assert!(matches!(Server::bind(address).await, Err(HttpError::Bind { .. })));

        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("holdfast_test_total").increment(1));
        let (worker, readiness) = watch::channel(Readiness::starting());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(readiness, recorder.handle(), stop.clone()));

        assert_eq!(get(address, "/livez").await, (200, "alive\n".to_owned()));
        assert_eq!(get(address, "/readyz").await.0, 503);

        let fine = Readiness { ledger_writable: Ok(()), consuming: Ok(()), outbox_young: Ok(()), restored: Ok(()) };
        worker.send_replace(fine.clone());
        let (status, body) = get(address, "/readyz").await;
        assert_eq!((status, body.contains(r#""ready":true"#)), (200, true), "{body}");

        worker.send_replace(Readiness { consuming: Err("the broker is away".to_owned()), ..fine.clone() });
        let (status, body) = get(address, "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 503);
        assert_eq!(body["checks"]["consuming"]["reason"], "the broker is away");
        assert_eq!(body["checks"]["ledger_writable"]["ok"], true);

        let (status, body) = get(address, "/metrics").await;
        assert_eq!((status, body.contains("holdfast_test_total 1")), (200, true), "{body}");
        assert_eq!(get(address, "/elsewhere").await.0, 404);

        worker.send_replace(fine);
        drop(worker);
        assert_eq!(get(address, "/readyz").await.0, 503, "a dead worker is not ready");
        assert_eq!(get(address, "/livez").await.0, 200);

        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
