//! Settings: read once, checked whole, then handed out by part. No component sees more than its own.
//!
//! Defaults are the compiled-in `config/holdfast.toml`, which documents every key; then the file named
//! by `--config`; then `HOLDFAST_SECTION__KEY` from the environment. Every problem is found at once,
//! each with its key and where it was written.
//!
//! Does not look at the live world: whether a broker or a provider answers is not known here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::capture::policy::Policy;
use crate::ids::AccountName;
use crate::ledger::Source;
use crate::tls::ClientFiles;

mod account;
mod breaker;
mod broker;
mod capture;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod ledger;
mod notices;
mod problem;
mod retention;
mod secret;
mod section;
mod source;
mod traces;
mod value;
mod worker;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use broker::nodes;
pub use notices::Notices;
use problem::Noted;
pub use problem::{Problem, SettingsErrors};
pub use secret::SecretFile;
pub use section::Effective;
use section::{Findings, Section};
pub use source::Place;
use source::Table;

/// The compiled-in defaults.
pub const DEFAULTS: &str = include_str!("../../config/holdfast.toml");

/// Everything, checked.
#[derive(Debug)]
pub struct Settings {
    /// RabbitMQ.
    pub broker: Broker,
    /// Where the ledger lives.
    pub ledger: Source,
    /// Where health and metrics are served.
    pub http_listen: SocketAddr,
    /// Where spans go.
    pub traces: Traces,
    /// Who may send a notice.
    pub notices: Notices,
    /// The core's rules, accounts included.
    pub policy: Policy,
    /// The worker's own bounds.
    pub worker: Worker,
    /// The CloudEvents `source` of what we publish.
    pub event_source: String,
    /// When an account rests because its provider does not work.
    pub breaker: Breaker,
    /// When an account rests because its own settings do not work.
    pub suspension: Suspension,
    /// How long the ledger keeps details.
    pub retention: Retention,
    /// The configured accounts.
    pub accounts: Vec<Account>,
}

impl Settings {
    /// Reads the defaults, then `config`, then the settings among the variables of `environment`.
    ///
    /// # Errors
    /// Every problem that was found.
    pub fn load(
        config: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, SettingsErrors> {
        Self::explain(config, environment).map(|(settings, _)| settings)
    }

    /// The same, and every setting in effect with its source, secrets hidden.
    ///
    /// # Errors
    /// Every problem that was found.
    pub fn explain(
        config: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<Effective>), SettingsErrors> {
        let mut findings = Findings::new(environment.collect());
        let tree = layers(config, &mut findings).map_err(|problems| SettingsErrors { problems })?;
        let settings = read(tree, &mut findings);
        match settings {
            Ok(settings) if findings.problems.is_empty() => Ok((settings, findings.effective)),
            Ok(_) | Err(Noted) => Err(SettingsErrors { problems: findings.problems }),
        }
    }
}

/// All layers in one tree. A file that cannot be parsed is reported alone: everything else would
/// only follow from it.
fn layers(config: Option<&Path>, findings: &mut Findings) -> Result<Table, Vec<Problem>> {
    let mut tree = source::parse(DEFAULTS, &|line| Place::Default { line })?;
    if let Some(path) = config {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read the settings in {}: {error}", path.display());
            vec![Problem { key: String::new(), place: None, message }]
        })?;
        source::overlay(&mut tree, source::parse(&text, &|line| Place::File { path: path.to_owned(), line })?);
    }
    let (overrides, mut problems) = source::overrides(&findings.environment);
    source::overlay(&mut tree, overrides);
    findings.problems.append(&mut problems);
    Ok(tree)
}

fn read(tree: Table, findings: &mut Findings) -> Result<Settings, Noted> {
    let mut root = Section::root(tree, findings);
    let broker = broker::read(root.section("broker"));
    let ledger = ledger::read(root.section("ledger"));
    let http_listen = read_only(root.section("http"), "listen", value::address);
    let traces = traces::read(root.section("traces"));
    let event_source = read_only(root.section("events"), "source", value::text);
    let notices = notices::read(root.section("notices"));
    let backoff = capture::read_backoff(root.section("retry"));
    let rules = capture::read(root.section("capture"), backoff);
    let margin = rules.as_ref().ok().map(|rules| rules.policy.derived_deadline_margin);
    let accounts = account::read(root.section("accounts"), margin);
    let bounds = rules.as_ref().map(|rules| (rules.open_max, rules.disk_free_min)).map_err(|noted| *noted);
    let breaker = breaker::read(root.section("breaker"));
    let suspension = breaker::read_suspension(root.section("suspension"));
    let retention = retention::read(root.section("retention"));
    let worker = worker::read(root.section("worker"), bounds, accounts.longest_timeout);
    root.finish();

    let mut policy = rules?.policy;
    let (accounts, policies): (Vec<_>, Vec<_>) = accounts.accounts.into_iter().unzip();
    policy.accounts = accounts.iter().map(|account| account.name.clone()).zip(policies).collect();
    Ok(Settings {
        broker: broker?,
        ledger: ledger?,
        http_listen: http_listen?,
        traces: traces?,
        notices: notices?,
        policy,
        worker: worker?,
        event_source: event_source?,
        breaker: breaker?,
        suspension: suspension?,
        retention: retention?,
        accounts,
    })
}

/// Reads a section that has only one key.
fn read_only<T>(
    mut section: Section<'_>,
    key: &'static str,
    check: impl FnOnce(&source::Value) -> Result<T, String>,
) -> Result<T, Noted> {
    let value = section.required(key, check);
    section.finish();
    value
}

/// How to reach RabbitMQ and what things are called there.
#[derive(Debug, Clone)]
pub struct Broker {
    /// `amqp://` or `amqps://`, with credentials: never printed. Several are nodes of one cluster, with
    /// commas between them.
    pub url: SecretString,
    /// PEM file of the authorities to trust with `amqps://`.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate with `amqps://`, for a broker that asks for one.
    pub client_files: Option<ClientFiles>,
    /// Where RabbitMQ's management plugin answers; only `doctor` asks it.
    pub management_url: Option<String>,
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
    /// A provider's clock further than this from ours is an alarm.
    pub clock_skew_max: Duration,
}

/// Where spans go, and how many.
#[derive(Debug, Clone)]
pub struct Traces {
    /// The collector's address, without a slash at its end; `None`: no traces.
    pub endpoint: Option<String>,
    /// The share of the traces that begin here which is recorded, from 0 to 1.
    pub sample_ratio: f64,
}

/// When an account rests because its provider does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Opens after so many technical failures in a row.
    pub failures: u32,
    /// How long it is open before one call is let through; doubled when that fails too.
    pub wait: Duration,
    /// The longest such wait.
    pub wait_max: Duration,
    /// Over this span after a rest, calls at the same time rise from one to all that are allowed.
    pub recovery: Duration,
}

/// When an account rests because its own settings do not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspension {
    /// After configuration faults for so many different authorizations, with no success in between.
    pub faults: usize,
    /// How often it is looked whether the account works again.
    pub probe_interval: Duration,
}

/// How long the ledger keeps details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Bodies of published events, what attempts and looks showed, and messages that were dealt with are
    /// taken when they are older.
    pub details_for: Duration,
}

/// So many calls in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least one.
    pub calls: u32,
    /// In how long.
    pub per: Duration,
}

/// One configured account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its permanent name.
    pub name: AccountName,
    /// Calls under way at the same time, at most.
    pub concurrency: usize,
    /// Calls begun in a span of time, at most.
    pub rate_limit: Option<Rate>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Overrides the protocol's default window for resending without a read before.
    pub resend_window: Option<Duration>,
    /// How long an authorization lives where nobody says so.
    pub authorization_lifetime: Option<Duration>,
    /// The file that its one secret was read from; `None` for a variable, which never changes.
    pub secret_file: Option<SecretFile>,
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
    /// The worked example of `docs/providers.md`, which no shipped program has.
    #[cfg(test)]
    Paper(Paper),
}

impl Protocol {
    /// Its name in settings.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Flitt(_) => "flitt",
            Self::Fondy(_) => "fondy",
            Self::FlexPay(_) => "flex_pay",
            #[cfg(test)]
            Self::Paper(_) => "paper",
        }
    }
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

/// Credentials of Paper.
#[cfg(test)]
#[derive(Debug, Clone)]
pub struct Paper {
    /// Scheme, host and path prefix, without a trailing slash.
    pub base_url: String,
    /// The shop's name.
    pub shop: String,
    /// The shop's secret.
    pub secret: SecretString,
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
