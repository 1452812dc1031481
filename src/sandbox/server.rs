//! The port: accepts connections, resets them, and refuses them for a while.
//!
//! The accept loop is our own because a pretend outage needs what a web framework hides: to send a
//! TCP reset in the middle of an exchange, and to stop listening and come back on the same port.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Request, header};
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Sandbox, Shared, cloudipsp, control, flex_pay};

/// Largest request body that is read, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// Sent as `Server` with every answer, so that nobody takes one for a payment provider's.
const SERVER: HeaderValue = HeaderValue::from_static("holdfast-sandbox (NOT a payment provider)");

/// One connection, as the exchanges on it see it.
#[derive(Debug)]
pub(super) struct Line {
    cut: Notify,
    /// Ends what goes on after its caller has hung up, when the sandbox stops.
    pub(super) stopping: CancellationToken,
}

impl Line {
    /// Has the connection reset. The exchange that asked for it is never answered.
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }
}

/// Serves the three pretend providers and their control on `listener` until `shutdown`.
///
/// At its end all connections are closed at once, finished or not.
///
/// # Errors
/// Where the port cannot be bound again after a pretend outage.
pub async fn serve(listener: TcpListener, sandbox: Sandbox, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let stopping = CancellationToken::new();
    let _stop_late_work = stopping.clone().drop_guard();
    tokio::select! {
        ended = accept(listener, &sandbox.shared, &stopping) => ended,
        () = shutdown => Ok(()),
    }
}

async fn accept(mut listener: TcpListener, shared: &Arc<Shared>, stopping: &CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    let router = router(shared);
    let mut refused_until = shared.refused_until.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let line = Arc::new(Line { cut: Notify::new(), stopping: stopping.clone() });
                    connections.spawn(converse(stream, router.clone(), line));
                }
                // Out of file descriptors, or the caller has gone: neither is the listener's end.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Ok(()) = refused_until.changed() => {
                drop(listener);
                connections.shutdown().await;
                listener = after_outage(address, &mut refused_until).await?;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Waits the outage out, and listens on the same port again.
async fn after_outage(address: SocketAddr, refused_until: &mut watch::Receiver<Instant>) -> io::Result<TcpListener> {
    let until = *refused_until.borrow_and_update();
    sleep_until(until).await;
    TcpListener::bind(address).await
}

/// Serves one connection until either side ends it, or one of its exchanges cuts it.
async fn converse(stream: TcpStream, router: Router, line: Arc<Line>) {
    // Best effort: without it, answers are only slower.
    let _ = stream.set_nodelay(true);
    let pages = TowerToHyperService::new(router);
    let tagged = Arc::clone(&line);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&tagged));
        let reply = pages.call(request);
        async move {
            let mut reply = reply.await?;
            reply.headers_mut().insert(header::SERVER, SERVER);
            Ok::<_, Infallible>(reply)
        }
    });
    let mut connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        () = line.cut.notified() => {
            // Zero linger turns the close that follows into a reset.
            let _ = connection.into_parts().io.into_inner().set_zero_linger();
        }
        // A broken connection is the caller's business, and often the point of the exercise.
        _ = &mut connection => {}
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    let mut router = control::routes();
    for slash in ["", "/"] {
        router = router
            .route(&format!("/api/capture/order_id{slash}"), post(cloudipsp::capture))
            .route(&format!("/api/status/order_id{slash}"), post(cloudipsp::status))
            .route(&format!("/api/reverse/order_id{slash}"), post(cloudipsp::reverse));
    }
    for prefix in ["", "/api/flexpay"] {
        router = router
            .route(&format!("{prefix}/v1/transactions/{{id}}"), get(flex_pay::read))
            .route(&format!("{prefix}/v1/transactions/{{id}}/capture"), post(flex_pay::capture))
            .route(&format!("{prefix}/v1/transactions/{{id}}/void"), post(flex_pay::void));
    }
    #[cfg(test)]
    let router = router
        .route("/paper/holds/{hold}", get(super::paper::read))
        .route("/paper/holds/{hold}/takings", post(super::paper::take));
    router
        .route("/api/auth/v1/oauth/token", post(flex_pay::token))
        .fallback(control::nothing_here)
        // Only for the routes above: it has to come last.
        .method_not_allowed_fallback(control::nothing_here)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Arc::clone(shared))
}
