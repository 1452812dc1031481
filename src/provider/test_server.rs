//! A real HTTP server on the loopback for the adapters' tests: records requests, gives canned answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use secrecy::SecretString;

use crate::clock::BootInstant;
use crate::ids::{AccountName, CaptureId, Reference};
use crate::money::{Currency, Money};
use crate::settings::{Account, Protocol};

use super::CaptureRequest;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Arrived {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }
}

/// The server; gone with the test's runtime.
pub(super) struct Server {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Server {
    /// Answers every request with what `answer` makes of it.
    pub(super) async fn start<F>(answer: F) -> Self
    where
        F: Fn(&Arrived) -> (u16, String) + Clone + Send + Sync + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&arrived);
        let router = Router::new().fallback(move |method, uri, headers, body: Bytes| {
            let body = String::from_utf8(body.to_vec()).expect("UTF-8");
            let request = Arrived { method, uri, headers, body };
            let (status, text) = answer(&request);
            record.lock().expect("no panic").push(request);
            async move { (StatusCode::from_u16(status).expect("a status"), text) }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, arrived }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().expect("no panic").clone()
    }
}

pub(super) fn account(protocol: Protocol) -> Account {
    Account {
        name: AccountName::parse("test").expect("an id"),
        concurrency: 4,
        rate_limit: None,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        resend_window: None,
        authorization_lifetime: None,
        secret_file: None,
        protocol,
    }
}

/// A capture that may be sent for another minute.
pub(super) fn capture_request(reference: &str, minor: i64, currency: &str) -> CaptureRequest {
    CaptureRequest {
        capture: CaptureId::from_uuid(uuid::uuid!("0f6e1a2b-3c4d-5e6f-8a9b-0c1d2e3f4a5b")),
        reference: Reference::parse(reference).expect("an id"),
        amount: money(minor, currency),
        send_by: BootInstant::now().plus(Duration::from_mins(1)),
    }
}

pub(super) fn money(minor: i64, currency: &str) -> Money {
    Money::from_minor(minor, Currency::parse(currency).expect("known")).expect("positive")
}

pub(super) fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}
