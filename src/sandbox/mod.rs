//! Three pretend providers with real books, served over HTTP as the real ones document themselves.
//!
//! It is what the demo, the tests and a newcomer's first hour run against. It is **not** a payment
//! provider: no card is ever charged, everything lives in memory, and whoever can reach the port can
//! make authorizations and read the books. It shares no code with the adapters that call it
//! (`provider`), so that a mistake there cannot be hidden by the same mistake here.
//!
//! ```text
//! server      accepts connections, resets them, refuses them for a while
//! control     /sandbox: make authorizations, read the books, arm faults
//! cloudipsp   what Flitt and Fondy serve, in JSON and forms (cloudipsp_format)
//! flex_pay    what Flex Pay serves
//! exchange    one request: its fault, its work, its answer
//! faults      which request meets which fault: seeded, reproducible
//! world       accounts, tokens, keys; books  authorizations and their movements; report  read-out
//! ```

mod books;
mod cloudipsp;
mod cloudipsp_codes;
mod cloudipsp_format;
mod control;
mod exchange;
mod faults;
mod flex_pay;
mod flex_pay_codes;
mod keys;
#[cfg(test)]
mod paper;
mod report;
mod server;
mod signature;
mod world;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock;

pub use self::books::{NewAuthorization, OnExpiry, OrderStatus};
pub use self::faults::{Channel, Code, Fault, Faults, Operation, Rule, RuleState, When};
pub use self::keys::{KeyCheck, KeyFailures, KeyReuse, KeyRules};
pub use self::report::{BookedAuthorization, BookedMovement, Books, MovementStatus, Total};
pub use self::server::serve;
use self::world::World;
pub use self::world::{ByHand, ByHandKind, NewAccount, Rejected};

/// What every page says.
pub const NOTICE: &str = "This is the Holdfast sandbox. It is NOT a payment provider: no money moves here.";

/// The Flitt merchant that is there from the start; its secret is [`TEST_SECRET`].
pub const FLITT_MERCHANT: &str = "1549901";

/// The Fondy merchant that is there from the start; its secret is [`TEST_SECRET`].
pub const FONDY_MERCHANT: &str = "1396424";

/// The secret of both merchants, as the providers publish it for their test merchants.
pub const TEST_SECRET: &str = "test";

/// The Flex Pay client that is there from the start; its secret is the same word.
pub const FLEX_CLIENT: &str = "sandbox";

/// The Paper shop that is there from the start; its secret is [`TEST_SECRET`].
#[cfg(test)]
pub(crate) const PAPER_SHOP: &str = "paper-shop";

/// Whose books an authorization is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Flitt.
    Flitt,
    /// Fondy: the same endpoints as Flitt; the merchant id decides.
    Fondy,
    /// Flex Pay.
    FlexPay,
    /// The worked example of `docs/providers.md`.
    #[cfg(test)]
    Paper,
}

impl Protocol {
    const ALL: &[Self] = &[
        Self::Flitt,
        Self::Fondy,
        Self::FlexPay,
        #[cfg(test)]
        Self::Paper,
    ];

    /// Flitt's and Fondy's: a merchant's number, one capture for each authorization, errors by number.
    const fn is_cloudipsp(self) -> bool {
        match self {
            Self::Flitt | Self::Fondy => true,
            Self::FlexPay => false,
            #[cfg(test)]
            Self::Paper => false,
        }
    }
}

/// How the pretend providers behave where the real ones do not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Flex Pay's `Idempotency-Key`.
    pub keys: KeyRules,
}

/// A handle on the pretend providers' books. Clones share them.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

/// What the handle and all connections share.
struct Shared {
    world: Mutex<World>,
    /// Until when the port refuses connections.
    refused_until: watch::Sender<Instant>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("nothing panics while it holds the books")
    }

    fn refuse_for(&self, span: Duration) {
        self.refused_until.send_replace(Instant::now() + span);
    }
}

impl Sandbox {
    /// Empty books, and the test accounts.
    pub fn new() -> Self {
        let (refused_until, _) = watch::channel(Instant::now());
        Self { shared: Arc::new(Shared { world: Mutex::new(World::new()), refused_until }) }
    }

    /// Serves on `address` (port 0: any free one) in the background until stopped or dropped.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn start(address: SocketAddr) -> io::Result<Running> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let sandbox = Self::new();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, sandbox.clone(), stop.clone().cancelled_owned()));
        Ok(Running { sandbox, address, serving, stop: stop.drop_guard() })
    }

    /// Registers an account, or replaces the credentials of one.
    ///
    /// # Errors
    /// [`Rejected`] where its name belongs to another protocol, or is no merchant id.
    pub fn register(&self, account: NewAccount) -> Result<(), Rejected> {
        self.shared.world().register(account)
    }

    /// Makes an authorization: holds pretend money.
    ///
    /// # Errors
    /// [`Rejected`] says which field is wrong.
    pub fn authorize(&self, new: NewAuthorization) -> Result<BookedAuthorization, Rejected> {
        self.shared.world().authorize(new, clock::now())
    }

    /// Somebody else captures or voids a part of an authorization, past every API.
    ///
    /// # Errors
    /// [`Rejected`] says what is wrong.
    pub fn meddle(&self, by_hand: &ByHand) -> Result<BookedAuthorization, Rejected> {
        self.shared.world().meddle(by_hand, clock::now())
    }

    /// Everything that was authorized, captured and voided, as of now.
    pub fn books(&self) -> Books {
        self.shared.world().report(clock::now())
    }

    /// Arms these faults instead of those armed before; an empty list ends them.
    ///
    /// # Errors
    /// [`Rejected`] names the rule that makes no sense.
    pub fn set_faults(&self, faults: Faults) -> Result<(), Rejected> {
        self.shared.world().arm(faults)
    }

    /// The armed faults, and how often each rule was met and fired.
    pub fn faults(&self) -> Vec<RuleState> {
        self.shared.world().faults()
    }

    /// Behaves in this way from now on.
    pub fn set_settings(&self, settings: Settings) {
        self.shared.world().settings = settings;
    }

    /// How the pretend providers behave now.
    pub fn settings(&self) -> Settings {
        self.shared.world().settings.clone()
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

/// A sandbox that serves in the background. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    sandbox: Sandbox,
    address: SocketAddr,
    serving: JoinHandle<io::Result<()>>,
    stop: DropGuard,
}

impl Running {
    /// The books and the controls.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves, as the `base_url` of a Flitt or Fondy account (Flex Pay: with `/api/flexpay`).
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops, and waits until the port is free and every connection is closed. The books stay
    /// readable through clones of [`Self::sandbox`].
    ///
    /// # Errors
    /// Where serving ended before, by an error of the listener.
    pub async fn stop(self) -> io::Result<()> {
        drop(self.stop);
        self.serving.await.map_err(io::Error::other)?
    }
}
