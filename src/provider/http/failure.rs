//! What a request without a reply shows, from the errors of reqwest and everything below it.
//!
//! Texts are our own: the libraries' may name URLs.

use std::error::Error;
use std::io;
use std::iter;

use crate::capture::evidence::{Doubt, DoubtKind};

use super::super::answer::Inconclusive;
use super::body::SendByPassed;

/// The evidence in a failed request. `may_have_left`: can the server have got any of it?
pub(super) fn classify(error: &reqwest::Error, may_have_left: bool) -> Inconclusive {
    if may_have_left {
        Inconclusive::Doubt(lost(error))
    } else if any(error, is_untrusted) {
        Inconclusive::misconfigured(
            Some("tls".to_owned()),
            "the server's certificate is not trusted: check the URL and the system's CA certificates",
        )
    } else {
        Inconclusive::not_executed(why_not_sent(error))
    }
}

/// The doubt about a request that may have left, or an answer that did not arrive whole.
pub(super) fn lost(error: &reqwest::Error) -> Doubt {
    let (kind, message) = if error.is_timeout() {
        (DoubtKind::Timeout, "no whole answer in time")
    } else {
        (DoubtKind::ConnectionLost, "the connection broke before a whole answer")
    };
    Doubt { kind, code: None, message: message.to_owned(), retry_after: None }
}

fn why_not_sent(error: &reqwest::Error) -> String {
    let refused = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused)
    };
    if any(error, <dyn Error>::is::<SendByPassed>) {
        return SendByPassed.to_string();
    }
    let why = if error.is_dns() {
        "the host name was not resolved"
    } else if any(error, refused) {
        "connection refused"
    } else if any(error, <dyn Error>::is::<rustls::Error>) {
        "the TLS handshake failed"
    } else if error.is_timeout() {
        "no connection in time"
    } else {
        "no connection"
    };
    why.to_owned()
}

fn is_untrusted(cause: &(dyn Error + 'static)) -> bool {
    matches!(
        cause.downcast_ref::<rustls::Error>(),
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    )
}

fn any(error: &reqwest::Error, is_it: impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    causes(error).any(is_it)
}

/// The error and everything below it, including what `io::Error` wraps but skips in its `source`.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    iter::successors(Some(first), |&cause| match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => cause.source(),
    })
}
