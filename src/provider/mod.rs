//! Step 4, call: turns a capture request into HTTP, and the answer into evidence.
//!
//! An adapter translates; it does not decide. What evidence means for the money is the core's
//! business (`capture::judge`). A new provider is one file, one line in [`connect`], and fixtures.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::capture::evidence::{Answer, Reading};
use crate::capture::policy::{Captures, OnExpiry};
use crate::clock::BootInstant;
use crate::ids::{AccountName, CaptureId, Reference};
use crate::money::Money;
use crate::settings::{Account, Protocol};

pub use server_clock::{ClockSkew, ServerClock};
pub use trial::Trial;

// the protocols
mod cloudipsp;
mod flex_pay;
mod flitt;
mod fondy;

// what they share: the HTTP client, what an answer shows, exact numbers, text fit to be shown
mod answer;
mod exact;
mod http;
mod redact;

// the provider's clock, and whether an account works
mod server_clock;
mod trial;

// any bytes as an answer
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

// a real server for the tests
#[cfg(test)]
mod test_server;

/// One attempt at one capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureRequest {
    /// The idempotency key and the reference that comes back in the provider's events.
    pub capture: CaptureId,
    /// The authorization at the provider.
    pub reference: Reference,
    /// What to capture; always sent, always positive.
    pub amount: Money,
    /// Nothing is sent after this instant. Checked last, in the first poll of the request.
    pub send_by: BootInstant,
}

/// What a protocol can do; facts about the provider, not settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// One capture per authorization, or several.
    pub captures: Captures,
    /// What makes sending the same capture again safe.
    pub idempotency: Idempotency,
    /// Does the provider tell when an authorization dies?
    pub tells_expiry: bool,
    /// What happens to a hold that dies.
    pub on_expiry: OnExpiry,
}

/// What makes sending the same capture again safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotency {
    /// Repeating the same amount returns the current status, for ever.
    SameAmount,
    /// A key that the provider remembers for a while; the default window for resending without a
    /// read before.
    Key {
        /// Counted from the first send.
        resend_window: Duration,
    },
}

/// One account at one provider.
pub trait Provider: Send + Sync {
    /// What the protocol can do.
    fn capabilities(&self) -> Capabilities;

    /// Sends one capture request, once. Never fails: silence is evidence too.
    fn capture<'a>(&'a self, request: &'a CaptureRequest) -> BoxFuture<'a, Answer>;

    /// Reads the authorization's truth. Moves no money.
    fn lookup<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Reading>;

    /// Finds out whether the account works: reads an authorization that does not exist.
    fn try_out(&self) -> BoxFuture<'_, Trial>;

    /// What time it is there, by the answers so far.
    fn clock(&self) -> &ServerClock;
}

/// The provider that an account is at. Checks the account's URLs and credentials; sends nothing.
///
/// # Errors
/// [`ConnectError`] where a setting cannot be used.
pub fn connect(account: &Account) -> Result<Arc<dyn Provider>, ConnectError> {
    Ok(match &account.protocol {
        Protocol::Flitt(credentials) => Arc::new(flitt::connect(account, credentials)?),
        Protocol::Fondy(credentials) => Arc::new(fondy::connect(account, credentials)?),
        Protocol::FlexPay(credentials) => Arc::new(flex_pay::FlexPay::connect(account, credentials)?),
    })
}

/// Why an account's settings make no provider.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// A setting that cannot be used.
    #[error("account `{account}`: {field} {problem}")]
    Setting {
        /// Whose.
        account: AccountName,
        /// Which setting.
        field: &'static str,
        /// What is wrong with it, without its value, and the way out.
        problem: &'static str,
    },
    /// The HTTP client cannot be made; on a bare machine, usually for want of CA certificates.
    #[error("account `{account}`: cannot set up https: install the system's CA certificates")]
    Client {
        /// Whose.
        account: AccountName,
        /// What the client says.
        source: reqwest::Error,
    },
}
