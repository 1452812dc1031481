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
// the worked example of docs/providers.md
#[cfg(test)]
mod paper;

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
        #[cfg(test)]
        Protocol::Paper(credentials) => Arc::new(paper::Paper::connect(account, credentials)?),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    const ACCOUNTS: &str = r#"
[accounts.flitt]
protocol = "flitt"
base_url = "http://127.0.0.1:1"
merchant_id = 1
secret = { env = "SECRET" }
[accounts.fondy]
protocol = "fondy"
base_url = "http://127.0.0.1:1"
merchant_id = 1
secret = { env = "SECRET" }
[accounts.flex-pay]
protocol = "flex_pay"
base_url = "http://127.0.0.1:1"
token = { env = "SECRET" }
[accounts.paper]
protocol = "paper"
base_url = "http://127.0.0.1:1"
shop = "shop"
secret = { env = "SECRET" }
"#;

    /// The core goes by the settings, which say of a protocol what its adapter says.
    #[test]
    fn an_account_is_treated_as_its_adapter_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("holdfast.toml");
        std::fs::write(&file, ACCOUNTS).expect("written");
        let secret = [("SECRET".to_owned(), "s3cr3t".to_owned())];
        let settings = Settings::load(Some(&file), secret.into_iter()).expect("settings");
        for account in &settings.accounts {
            let (name, policy) = (&account.name, &settings.policy.accounts[&account.name]);
            let says = connect(account).expect("usable settings").capabilities();
            assert_eq!((policy.captures, policy.on_expiry), (says.captures, says.on_expiry), "{name}");
            assert_eq!(policy.tells_expiry, says.tells_expiry, "{name}");
            let window = match says.idempotency {
                Idempotency::SameAmount => None,
                Idempotency::Key { resend_window } => Some(resend_window),
            };
            assert_eq!(policy.resend_window, window, "{name}");
            // Where nobody tells, there has to be something to count from.
            assert_eq!(policy.authorization_lifetime.is_none(), says.tells_expiry, "{name}");
        }
        let protocols: Vec<&str> = settings
            .accounts
            .iter()
            .map(|account| match &account.protocol {
                Protocol::Flitt(_) => "flitt",
                Protocol::Fondy(_) => "fondy",
                Protocol::FlexPay(_) => "flex-pay",
                Protocol::Paper(_) => "paper",
            })
            .collect();
        assert_eq!(protocols, settings.accounts.iter().map(|account| account.name.as_str()).collect::<Vec<_>>());
        assert_eq!(protocols.len(), 4, "every protocol has an account here");
    }
}
