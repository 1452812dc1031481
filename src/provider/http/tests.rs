//! The client against real sockets that misbehave.

use std::io::Read;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::capture::evidence::DoubtKind;
use crate::provider::test_server::{account, secret};
use crate::settings::{Cloudipsp, Protocol};

use super::reply::{BODY_MAX, retry_after};
use super::*;

fn client_for(urls: &[&Url], timeout: Duration) -> Client {
    let settings = Cloudipsp { base_url: String::new(), merchant_id: 1, secret: secret("test") };
    let account =
        Account { timeout, connect_timeout: Duration::from_millis(500), ..account(Protocol::Flitt(settings)) };
    Client::new(&account, urls).expect("a client for the loopback")
}

/// The client for plain loopback, patient enough for a busy machine.
fn client() -> Client {
    client_for(&[], Duration::from_secs(20))
}

/// A client for cases that have to run into its total timeout.
fn hasty() -> Client {
    client_for(&[], Duration::from_millis(300))
}

fn post(url: &str) -> Outgoing {
    Outgoing {
        method: Method::POST,
        url: Url::parse(url).expect("a URL"),
        headers: HeaderMap::new(),
        body: Some(Bytes::from_static(b"{\"amount\":1}")),
        send_by: Some(BootInstant::now().plus(Duration::from_mins(1))),
    }
}

fn get(url: &str) -> Outgoing {
    Outgoing { method: Method::GET, body: None, send_by: None, ..post(url) }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    (listener, url)
}

/// Reads one request with the test's body; returns all of it.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut request).await.expect("readable"), 0, "the request is whole");
    }
    String::from_utf8(request).expect("UTF-8")
}

/// One connection, one request, these bytes, and the end of the connection.
async fn answering(bytes: Vec<u8>) -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await;
        // The client may hang up in the middle of a body that is too large.
        let _ = stream.write_all(&bytes).await;
    });
    url
}

fn raw_answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn not_executed(result: Result<Reply, Inconclusive>) -> String {
    let shown = result.expect_err("no reply");
    let Inconclusive::NotExecuted(not_executed) = &shown else { panic!("{shown:?}") };
    not_executed.message.clone()
}

fn doubt(result: Result<Reply, Inconclusive>) -> DoubtKind {
    let shown = result.expect_err("no reply");
    let Inconclusive::Doubt(doubt) = &shown else { panic!("{shown:?}") };
    doubt.kind
}

#[tokio::test]
async fn a_reply_comes_back_with_status_and_body() {
    let url = answering(raw_answer("200 OK", "", "{}")).await;
    let reply = client().send(post(&url)).await.expect("a reply");
    assert_eq!((reply.class(), reply.body.as_deref()), (StatusClass::Success, Ok(&b"{}"[..])));
    assert_eq!(reply.retry_after, None);
}

#[tokio::test]
async fn a_request_is_written_as_meant() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let request = read_request(&mut stream).await;
        stream.write_all(&raw_answer("200 OK", "", "{}")).await.expect("writable");
        request
    });
    client().send(post(&url)).await.expect("a reply");
    let request = server.await.expect("no panic").to_lowercase();
    assert!(request.starts_with("post / http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\ncontent-length: 12\r\n"), "{request}");
    assert!(request.contains("\r\nuser-agent: holdfast/"), "{request}");
    assert!(!request.contains("accept-encoding") && !request.contains("transfer-encoding"), "{request}");
}

#[tokio::test]
async fn without_a_connection_nothing_was_executed() {
    let (listener, url) = listen().await;
    drop(listener);
    assert_eq!(not_executed(client().send(post(&url)).await), "connection refused");
    assert_eq!(not_executed(client().send(get(&url)).await), "connection refused");
    // No label of a name is longer than 63 characters: this one is refused without asking anybody.
    let nowhere = format!("http://{}.invalid/", "a".repeat(64));
    assert_eq!(not_executed(client().send(post(&nowhere)).await), "the host name was not resolved");
}

/// A listener whose backlog is full swallows connections without answering them.
#[tokio::test]
async fn a_connection_that_takes_too_long_was_not_executed() {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("loopback");
    let listener = socket.listen(1).expect("listening");
    let address = listener.local_addr().expect("bound");
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(stream.expect("queued"));
    }
    let message = not_executed(client().send(post(&format!("http://{address}/"))).await);
    assert_eq!(message, "no connection in time");
    // Whichever timeout strikes, nothing was written.
    let message = not_executed(hasty().send(post(&format!("http://{address}/"))).await);
    assert_eq!(message, "no connection in time");
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_write_leaves_doubt() {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            read_request(&mut stream).await;
            // Closing with a linger of zero sends a reset.
            stream.set_zero_linger().expect("settable");
        }
    });
    assert_eq!(doubt(client().send(post(&url)).await), DoubtKind::ConnectionLost);
    let closed = answering(Vec::new()).await;
    assert_eq!(doubt(client().send(post(&closed)).await), DoubtKind::ConnectionLost);
    let garbage = answering(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()).await;
    assert_eq!(doubt(client().send(post(&garbage)).await), DoubtKind::ConnectionLost);
}

#[tokio::test]
async fn a_server_that_hangs_leaves_doubt() {
    let (listener, url) = listen().await;
    let (done, over) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await;
        let _ = over.await;
    });
    assert_eq!(doubt(hasty().send(post(&url)).await), DoubtKind::Timeout);
    drop(done);
}

#[tokio::test]
async fn a_status_is_kept_where_the_body_is_not() {
    let slow = answering_slowly().await;
    let reply = hasty().send(post(&slow)).await.expect("a reply");
    assert_eq!(reply.body.as_ref().map_err(|doubt| doubt.kind), Err(DoubtKind::Timeout));
    assert!(matches!(reply.content(), Err(Inconclusive::Doubt(_))));

    let cut = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_vec()).await;
    let reply = client().send(post(&cut)).await.expect("a reply");
    assert_eq!(reply.body.as_ref().map_err(|doubt| doubt.kind), Err(DoubtKind::ConnectionLost));

    let large = answering(raw_answer("200 OK", "", &"x".repeat(BODY_MAX + 1))).await;
    let reply = client().send(post(&large)).await.expect("a reply");
    assert_eq!(reply.body.as_ref().map_err(|doubt| doubt.kind), Err(DoubtKind::Unreadable));

    let most = answering(raw_answer("200 OK", "", &"x".repeat(BODY_MAX))).await;
    let reply = client().send(post(&most)).await.expect("a reply");
    assert_eq!(reply.body.map(|body| body.len()), Ok(BODY_MAX));
}

/// Answers with a head and half a body, and then nothing.
async fn answering_slowly() -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{").await.expect("writable");
        // Until the client hangs up.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    url
}

/// What every status shows on its own, without a body that says more.
#[tokio::test]
async fn statuses_are_told_apart() {
    for (status, headers, expected) in [
        ("200 OK", "", "unreadable"),
        ("204 No Content", "", "unreadable"),
        ("302 Found", "Location: http://127.0.0.1:1/\r\n", "misconfigured 302"),
        ("400 Bad Request", "", "status"),
        ("401 Unauthorized", "", "misconfigured 401"),
        ("403 Forbidden", "", "misconfigured 403"),
        ("404 Not Found", "", "misconfigured 404"),
        ("405 Method Not Allowed", "", "misconfigured 405"),
        ("408 Request Timeout", "", "status"),
        ("409 Conflict", "", "status"),
        ("418 I'm a teapot", "", "status"),
        ("422 Unprocessable Content", "", "status"),
        ("429 Too Many Requests", "Retry-After: 7\r\n", "not executed, after 7s"),
        ("500 Internal Server Error", "", "status"),
        ("503 Service Unavailable", "Retry-After: 7\r\n", "status, after 7s"),
        ("599 Odd", "", "status"),
    ] {
        let url = answering(raw_answer(status, headers, "")).await;
        let reply = client().send(post(&url)).await.expect("a reply");
        assert_eq!(described(&reply.uncoded()), expected, "{status}");
    }
}

fn described(shown: &Inconclusive) -> String {
    let (what, after) = match shown {
        Inconclusive::NotExecuted(not_executed) => ("not executed".to_owned(), not_executed.retry_after),
        Inconclusive::Misconfigured(fault) => {
            assert!(!fault.may_have_executed);
            (format!("misconfigured {}", fault.code.as_deref().unwrap_or_default()), None)
        }
        Inconclusive::Doubt(doubt) if doubt.kind == DoubtKind::HttpStatus => ("status".to_owned(), doubt.retry_after),
        Inconclusive::Doubt(doubt) => {
            assert_eq!(doubt.kind, DoubtKind::Unreadable);
            ("unreadable".to_owned(), doubt.retry_after)
        }
    };
    after.map_or(what.clone(), |after| format!("{what}, after {}s", after.as_secs()))
}

#[tokio::test]
async fn nothing_is_sent_after_send_by() {
    let (listener, url) = listen().await;
    let late = Outgoing { send_by: Some(BootInstant::now()), ..post(&url) };
    assert_eq!(not_executed(client().send(late).await), SendByPassed.to_string());
    let untouched = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(untouched.is_err(), "not even a connection is made");
}

/// The moment passes while the connection is being made: with a connection, but without a byte.
#[tokio::test]
async fn the_last_look_at_send_by_is_before_the_write() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("closed by the client");
        read
    });
    // The body is made with a moment that has passed already, past the first look.
    let handed_over = Arc::new(AtomicBool::new(false));
    let body = GuardedBody::new(Bytes::from_static(b"{}"), Some(BootInstant::now()), Arc::clone(&handed_over));
    let mut request = reqwest::Request::new(Method::POST, Url::parse(&url).expect("a URL"));
    *request.body_mut() = Some(reqwest::Body::wrap(body));
    let error = client().inner.execute(request).await.expect_err("nothing is sent");
    assert!(!handed_over.load(Ordering::SeqCst));
    assert_eq!(not_executed(Err(failure::classify(&error, false))), SendByPassed.to_string());
    assert_eq!(server.await.expect("no panic"), b"", "not even the head was written");
}

/// A kept connection that the server has closed meanwhile is replaced without a doubt.
#[tokio::test]
async fn a_kept_connection_that_died_is_replaced() {
    let (listener, url) = listen().await;
    let (closed, was_closed) = oneshot::channel();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.expect("a connection");
        read_request(&mut first).await;
        first.write_all(&raw_answer("200 OK", "", "1")).await.expect("writable");
        drop(first);
        closed.send(()).expect("the test waits");
        let (mut second, _) = listener.accept().await.expect("another connection");
        read_request(&mut second).await;
        second.write_all(&raw_answer("200 OK", "", "2")).await.expect("writable");
    });
    let client = client();
    client.send(post(&url)).await.expect("a reply");
    was_closed.await.expect("closed");
    // The client has seen the end of the connection once its own task has run.
    tokio::task::yield_now().await;
    let reply = client.send(post(&url)).await.expect("a reply");
    assert_eq!(reply.body.as_deref(), Ok(&b"2"[..]));
}

#[tokio::test]
async fn a_failed_tls_handshake_was_not_executed() {
    let (listener, _) = listen().await;
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"220 mail.example.com ESMTP\r\n").await.expect("writable");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let url = format!("https://{address}/");
    assert_eq!(not_executed(client().send(post(&url)).await), "the TLS handshake failed");
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_fault_of_the_configuration() {
    let url = format!("https://localhost:{}/", serve_self_signed().port());
    let shown = client().send(post(&url)).await.expect_err("not trusted");
    let Inconclusive::Misconfigured(fault) = &shown else { panic!("{shown:?}") };
    assert_eq!((fault.code.as_deref(), fault.may_have_executed), (Some("tls"), false));
}

/// A TLS server with a certificate of its own, for one connection.
fn serve_self_signed() -> SocketAddr {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a pair");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).expect("a connection");
        let _ = rustls::Stream::new(&mut tls, &mut stream).read(&mut [0; 1]);
    });
    address
}

#[test]
fn retry_after_is_read_in_both_forms() {
    let now = "2026-11-20T09:00:00Z".parse().expect("an instant");
    let year = 365 * 24 * 60 * 60;
    for (text, seconds) in [
        ("0", Some(0)),
        ("120", Some(120)),
        (" 7 ", Some(7)),
        ("99999999999999999999999", Some(year)),
        ("Fri, 20 Nov 2026 09:01:30 GMT", Some(90)),
        ("Fri, 20 Nov 2026 08:00:00 GMT", Some(0)),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
    ] {
        let headers = HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, text.parse().expect("a header"))]);
        assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text:?}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
    // A server whose clock is an hour ahead, or shows nothing that we can read.
    for (date, seconds) in [("Fri, 20 Nov 2026 10:00:00 GMT", 90), ("yesterday", 3690)] {
        let headers = HeaderMap::from_iter([
            (reqwest::header::RETRY_AFTER, "Fri, 20 Nov 2026 10:01:30 GMT".parse().expect("a header")),
            (reqwest::header::DATE, date.parse().expect("a header")),
        ]);
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(seconds)), "{date}");
    }
}

#[test]
fn only_https_leaves_the_machine() {
    for good in [
        "https://pay.flitt.com",
        "https://partner.upgrade.com/api/flexpay",
        "http://localhost:8080",
        "http://127.0.0.1:8080/x",
        "http://127.8.9.10",
        "http://[::1]:8080",
    ] {
        assert!(checked_url(good).is_ok(), "{good}");
    }
    for (bad, problem) in [
        ("", "is not a URL"),
        ("pay.flitt.com", "is not a URL"),
        ("http://pay.flitt.com", "is not https"),
        ("http://127.0.0.1.example.com", "is not https"),
        ("http://localhost.example.com", "is not https"),
        ("ftp://127.0.0.1", "is neither"),
        ("https://user@pay.flitt.com", "has credentials"),
        ("https://:password@pay.flitt.com", "has credentials"),
        ("https://pay.flitt.com?x=1", "has a query"),
        ("https://pay.flitt.com#x", "has a query"),
    ] {
        let found = checked_url(bad).expect_err(bad);
        assert!(found.starts_with(problem), "{bad}: {found}");
    }
}

#[test]
fn a_segment_stays_one_segment() {
    let base = Url::parse("https://host/prefix/").expect("a URL");
    assert_eq!(endpoint(&base, &["v1", "a/b?c#d"]).as_str(), "https://host/prefix/v1/a%2Fb%3Fc%23d");
    let root = Url::parse("https://host").expect("a URL");
    assert_eq!(endpoint(&root, &["api", "x"]).as_str(), "https://host/api/x");
}
