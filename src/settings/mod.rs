//! Settings: read once, checked whole, then handed out by part. No component sees more than its own.
//!
//! Defaults are the compiled-in `config/holdfast.toml`, which documents every key; then the file named
//! by `--config`; then `HOLDFAST_SECTION__KEY` from the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::capture::policy::Policy;
use crate::ids::AccountName;

/// Everything, checked.
#[derive(Debug)]
pub struct Settings {
    /// RabbitMQ.
    pub broker: Broker,
    /// Where the ledger lives.
    pub ledger: LedgerUrl,
    /// Where health and metrics are served.
    pub http_listen: SocketAddr,
    /// The core's rules, accounts included.
    pub policy: Policy,
    /// The worker's own bounds.
    pub worker: Worker,
    /// The CloudEvents `source` of what we publish.
    pub event_source: String,
    /// The configured accounts.
    pub accounts: Vec<Account>,
}

/// Where the ledger lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerUrl {
    /// A file on a local disk.
    Sqlite(PathBuf),
}

/// How to reach RabbitMQ and what things are called there.
#[derive(Debug, Clone)]
pub struct Broker {
    /// `amqp://` or `amqps://`, with credentials: never printed.
    pub url: SecretString,
    /// PEM file of the authorities to trust with `amqps://`.
    pub ca_file: Option<PathBuf>,
    /// What to do about exchanges and queues at start.
    pub topology: TopologyMode,
    /// Declare the `orders` exchange too, which belongs to the shipment side.
    pub declare_orders: bool,
    /// Topic exchange we bind to.
    pub orders_exchange: String,
    /// Topic exchange we publish to.
    pub payments_exchange: String,
    /// Our work queue.
    pub work_queue: String,
    /// Where the broker puts what it gives up on.
    pub dead_queue: String,
    /// Unacknowledged deliveries at most.
    pub prefetch: u16,
    /// Outgoing events in one pipelined batch at most.
    pub publish_batch: usize,
    /// AMQP heartbeat.
    pub heartbeat: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for any other AMQP answer.
    pub operation_timeout: Duration,
    /// Shortest wait before connecting again (full jitter between this and the longest).
    pub reconnect_min: Duration,
    /// Longest wait before connecting again.
    pub reconnect_max: Duration,
}

/// What to do about exchanges and queues at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopologyMode {
    /// Declare ours, and bind.
    Declare,
    /// Look passively whether everything is there.
    Verify,
    /// Neither.
    None,
}

/// The worker's own bounds.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Stop consuming above this many open captures.
    pub open_max: u64,
    /// Stop consuming below this much free disk under the ledger, in bytes.
    pub disk_free_min: u64,
    /// How long a drain waits for calls in flight.
    pub drain_grace: Duration,
    /// How often the watch looks for due work.
    pub watch_interval: Duration,
    /// How often unpublished events are looked for, beside the hand-over in memory.
    pub relay_interval: Duration,
    /// Outbox older than this makes the worker not ready.
    pub outbox_age_max: Duration,
}

/// One configured account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its permanent name.
    pub name: AccountName,
    /// Calls under way at the same time, at most.
    pub concurrency: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Overrides the protocol's default window for resending without a read before.
    pub resend_window: Option<Duration>,
    /// How long an authorization lives where nobody says so.
    pub authorization_lifetime: Option<Duration>,
    /// Protocol and credentials.
    pub protocol: Protocol,
}

/// Protocol and credentials of an account.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// `pay.flitt.com`.
    Flitt(Cloudipsp),
    /// `pay.fondy.eu`: the same protocol under another brand.
    Fondy(Cloudipsp),
    /// Upgrade's Flex Pay.
    FlexPay(FlexPay),
}

/// Credentials of Flitt and Fondy.
#[derive(Debug, Clone)]
pub struct Cloudipsp {
    /// Scheme, host and path prefix, without a trailing slash.
    pub base_url: String,
    /// The merchant.
    pub merchant_id: u64,
    /// The payment secret key.
    pub secret: SecretString,
}

/// Credentials of Flex Pay.
#[derive(Debug, Clone)]
pub struct FlexPay {
    /// Scheme, host and path prefix, without a trailing slash.
    pub base_url: String,
    /// How to get a bearer token.
    pub token: FlexPayToken,
}

/// How to get a bearer token.
#[derive(Debug, Clone)]
pub enum FlexPayToken {
    /// Fetched with client credentials, cached, renewed before it expires.
    Fetched {
        /// The token endpoint, whole.
        token_url: String,
        /// Client id.
        client_id: String,
        /// Client secret.
        client_secret: SecretString,
    },
    /// Given once and for all.
    Fixed(SecretString),
}
