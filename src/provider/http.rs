//! The one HTTP client: sends a request once, and returns the reply or what its absence shows.
//!
//! Never repeats, follows or relays a request, and knows nothing of any provider. `https` only,
//! except on the machine itself. Bodies and headers are never logged.

mod body;
mod failure;
mod reply;
mod span;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

use crate::clock::BootInstant;
use crate::crash;
use crate::settings::Account;

use super::answer::Inconclusive;
use super::{ConnectError, ServerClock};

use body::{GuardedBody, SendByPassed};
pub(super) use reply::{Reply, StatusClass, http_date};

/// A connection that idles longer is closed by us. Shorter than what load balancers commonly allow
/// (60 s), so that a request is seldom written to a connection that the other side is closing.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// One request.
pub(super) struct Outgoing {
    /// `POST` or `GET`.
    pub(super) method: Method,
    /// Where to; checked by [`checked_url`].
    pub(super) url: Url,
    /// Beyond what HTTP itself needs.
    pub(super) headers: HeaderMap,
    /// What is sent; `None` for a request that has no body.
    pub(super) body: Option<Bytes>,
    /// Nothing of the body is written after this instant.
    pub(super) send_by: Option<BootInstant>,
}

/// One account's connections.
#[derive(Clone)]
pub(super) struct Client {
    inner: reqwest::Client,
    clock: Arc<ServerClock>,
}

impl Client {
    /// The client for `urls`, all of them checked by [`checked_url`].
    ///
    /// # Errors
    /// [`ConnectError::Client`], for want of CA certificates.
    pub(super) fn new(account: &Account, urls: &[&Url]) -> Result<Self, ConnectError> {
        // Somebody else may have installed it before; either way there is one now.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(account.connect_timeout)
            .timeout(account.timeout)
            .pool_max_idle_per_host(account.concurrency)
            .pool_idle_timeout(IDLE_MAX);
        let plain = |url: &&Url| url.scheme() == "http";
        if urls.iter().all(plain) {
            // Everything is on this machine: do without the system's CA certificates.
            builder = builder.tls_certs_only([]);
        } else if !urls.iter().any(plain) {
            builder = builder.https_only(true);
        }
        let inner = builder.build().map_err(|source| ConnectError::Client { account: account.name.clone(), source })?;
        Ok(Self { inner, clock: Arc::default() })
    }

    /// What time it is at the other side.
    pub(super) fn clock(&self) -> &ServerClock {
        &self.clock
    }

    /// Sends the request, once.
    ///
    /// `send_by` is looked at in the first poll, and again when the body is first asked for: after
    /// name resolution, connection and TLS handshake, as the last thing before the write. The same
    /// place tells whether any of the body can have left, so what is reported as not executed
    /// certainly was not.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<Reply, Inconclusive> {
        let Outgoing { method, url, headers, body, send_by } = outgoing;
        if send_by.is_some_and(BootInstant::is_past) {
            return Err(Inconclusive::not_executed(SendByPassed.to_string()));
        }
        let handed_over = Arc::new(AtomicBool::new(false));
        let guarded = body.is_some();
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        if let Some(bytes) = body {
            let body = GuardedBody::new(bytes, send_by, Arc::clone(&handed_over));
            *request.body_mut() = Some(reqwest::Body::wrap(body));
        }
        let span = span::begin(request.method(), request.url());
        let asked = BootInstant::now();
        let sent = match self.inner.execute(request).await {
            Ok(response) => {
                self.clock.learn(response.headers(), asked, BootInstant::now());
                crash::point("before-answer");
                Ok(Reply::read(response).await)
            }
            Err(error) => {
                let may_have_left = if guarded { handed_over.load(Ordering::SeqCst) } else { !error.is_connect() };
                Err(failure::classify(&error, may_have_left))
            }
        };
        span::end(span, &sent);
        sent
    }
}

/// A URL that requests may go to.
///
/// # Errors
/// What is wrong with it, to follow the name of the setting.
pub(super) fn checked_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL: write https://host/path")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has credentials in it: they have settings of their own");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment: leave out everything from `?` or `#` on");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err("is not https, and the host is not this machine: use https"),
        _ => Err("is neither https nor http: use https"),
    }
}

/// `base` with the path segments added, percent-encoded.
pub(super) fn endpoint(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    url.path_segments_mut()
        .expect("an http or https URL has a path, and checked_url admits no other")
        .pop_if_empty()
        .extend(segments);
    url
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
