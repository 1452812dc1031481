//! What both sides run on, new for each measurement: queues, provider, ledger, settings.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use holdfast::broker::local_node::LocalNode;
use holdfast::broker::publisher::{PublishOutcome, Publisher};
use holdfast::broker::session::Session;
use holdfast::broker::topology;
use holdfast::sandbox::FLEX_CLIENT;
use holdfast::settings::Settings;
use lapin::Consumer;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::asked::{Asked, LedgerKind, Setup};
use crate::counted::{Counting, Counts, Probe};
use crate::observed::{self, Collector};
use crate::process::{self, Measuring, Side};
use crate::report::Measured;
use crate::server::Server;
use crate::{bare, load, made, paced, provider, report, work};

/// How long one measurement may take before it is given up.
const PATIENCE: Duration = Duration::from_mins(10);

/// Before the memory of a worker with nothing to do is looked at.
const SETTLING: Duration = Duration::from_secs(2);

/// Captures that are made up at once, and the groups they are written in.
const FILLED_AT_ONCE: usize = 20_000;
const GROUP: usize = 1_000;

/// Events between two acknowledgements.
const ACK_EVERY: usize = 256;

/// The worker that is measured.
const HOLDFAST: &str = env!("CARGO_BIN_EXE_holdfast");

const BROKER_URL: &str = "HOLDFAST_BROKER__URL";
const LEDGER_URL: &str = "HOLDFAST_LEDGER__URL";

/// The broker, PostgreSQL where it is wanted, and a directory on the disk that holds the build.
pub struct Stage {
    node: LocalNode,
    server: Option<Server>,
    collector: Collector,
    dir: TempDir,
    /// A ledger that has captured much.
    filled: Option<PathBuf>,
    /// Where statements are counted.
    probe: Option<Probe>,
}

/// One measurement's settings and where they are.
struct Scene {
    settings: Settings,
    config: PathBuf,
    provider: Child,
    provider_pid: u32,
}

impl Stage {
    /// Starts what stays from one measurement to the next.
    pub async fn set_up(asked: &Asked) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix_in("bench-", env!("CARGO_TARGET_TMPDIR"))?;
        let node = LocalNode::start(dir.path(), &[]).await?;
        let server = match asked.ledger {
            LedgerKind::Sqlite => None,
            LedgerKind::Postgres => Some(Server::start()?),
        };
        let filled = match asked.filled {
            Some(captures) => Some(fill(dir.path().join("filled.db"), captures).await?),
            None => None,
        };
        let probe = asked.counts_statements.then(|| Probe::of_statements(Path::new(HOLDFAST))).transpose()?;
        Ok(Self { node, server, collector: Collector::start().await?, dir, filled, probe })
    }

    /// Ends it.
    pub fn strike(self) {
        self.node.stop();
    }

    /// Lets shipments be captured.
    pub async fn measure(&self, setup: Setup) -> anyhow::Result<Measured> {
        tokio::time::timeout(PATIENCE, self.run(setup)).await.context("it took too long")?
    }

    async fn run(&self, setup: Setup) -> anyhow::Result<Measured> {
        let mut scene = self.scene(&setup).await?;
        let database = self.server.as_ref().map(Server::create_database).transpose()?;
        let session = Session::open(&scene.settings.broker, "bench").await?;
        topology::prepare(&session, &scene.settings.broker).await?;
        let (seen, events) = subscribe(&session, &scene.settings).await?;
        if setup.rate.is_none() {
            preload(&scene.settings, &setup).await?;
        }

        let broker_pid = process::descendant("beam.smp").context("the broker runs")?;
        let done = || self.server.as_ref().zip(database.as_ref()).map(|(server, of)| server.done(of)).transpose();
        let before = (process::cpu(scene.provider_pid)?, process::cpu(broker_pid)?, done()?);
        let ledger = database.as_ref().map(|database| database.tcp_url.expose_secret());
        let spawned = Instant::now();
        let start = |_| Measuring::start(self.command(&setup, &scene.config, ledger));
        let mut children: Vec<Measuring> = (0..setup.workers).map(start).collect::<Result<_, _>>()?;
        let consuming = format!("consuming\",\"queue\":\"{}", scene.settings.broker.work_queue);
        let starting = children.iter_mut().map(async |child| {
            child.says(&consuming).await?;
            anyhow::Ok((Instant::now(), process::cpu(child.pid())?))
        });
        let started = futures_util::future::try_join_all(starting).await?;
        let first = started.iter().map(|(at, _)| *at).min().context("somebody has started")?;
        let is_read = setup.observed.is_some_and(|observed| observed.is_read);
        let reading: Vec<_> =
            children.iter().filter(|_| is_read).filter_map(Measuring::http).map(observed::read).collect();
        let start = started.iter().map(|(at, _)| at.duration_since(spawned)).max().unwrap_or_default();
        let pids: Vec<u32> = children.iter().map(Measuring::pid).collect();
        let counting = Counting::of(&pids, self.probe.as_ref());
        let latency = match setup.rate {
            None => {
                receive(events, setup.size).await?;
                None
            }
            Some(rate) => {
                tokio::time::sleep(SETTLING).await;
                report::idle(
                    &children
                        .iter()
                        .map(|child| process::memory(child.pid(), "VmRSS"))
                        .collect::<Result<Vec<_>, _>>()?,
                );
                Some(paced::run(&scene.settings, events, &setup, rate).await?)
            }
        };
        let took = first.elapsed();
        drop(reading);
        let counts = match counting {
            Some(counting) => counting.end().await?,
            None => Counts::default(),
        };
        let provider = process::cpu(scene.provider_pid)?.saturating_sub(before.0);
        let broker = process::cpu(broker_pid)?.saturating_sub(before.1);
        let (mut own, mut memory, mut commits) = (Duration::ZERO, 0, None);
        for (child, (_, used)) in children.into_iter().zip(started) {
            memory = memory.max(process::memory(child.pid(), "VmHWM")?);
            commits = commits.or(Some(0)).zip(child.commits().await?).map(|(sum, commits)| sum + commits);
            own += child.end().await?.saturating_sub(used);
        }
        if setup.observed.is_some() {
            report::exported(&setup.name(), self.collector.taken());
        }
        let postgres = done()?.zip(before.2).map(|(after, before)| after.since(before));

        let channel = session.channel().await?;
        channel.queue_delete(seen.as_str().into(), QueueDeleteOptions::default()).await?;
        topology::remove(session, &scene.settings.broker).await?;
        drop(scene.provider.stdin.take());
        scene.provider.wait().await?;
        Ok(Measured { setup, took, own, provider, broker, postgres, memory, commits, counts, start, latency })
    }

    /// A provider with its authorizations, and settings that lead there.
    async fn scene(&self, setup: &Setup) -> anyhow::Result<Scene> {
        let (first, end) = (setup.first.to_string(), (setup.first + setup.size / 2).to_string());
        let latency = setup.latency.as_millis().to_string();
        let own = std::env::current_exe()?;
        let mut provider = Command::new(own)
            .args([provider::ROLE, &first, &end, &latency])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = provider.stdout.take().context("its output is piped")?;
        let provider_pid = provider.id().context("it has just been started")?;
        let base = BufReader::new(stdout).lines().next_line().await?.context("the provider says where it is")?;
        let name = format!("{}-{}-{}", setup.round, setup.name().replace([' ', '+'], "-"), setup.workers);
        let dir = self.dir.path().join(name);
        std::fs::create_dir(&dir)?;
        let of_its_own = dir.join("holdfast.db");
        let ledger = self.filled.as_deref().filter(|_| setup.side == Side::Filled).unwrap_or(&of_its_own);
        let config = write_settings(&dir, &base, setup.concurrency, ledger)?;
        let url = (BROKER_URL.to_owned(), self.url());
        let settings = Settings::load(Some(&config), std::iter::once(url))?;
        Ok(Scene { settings, config, provider, provider_pid })
    }

    fn url(&self) -> String {
        self.node.url("/").expose_secret().to_owned()
    }

    fn command(&self, setup: &Setup, config: &Path, ledger: Option<&str>) -> Command {
        let mut command = match setup.side {
            Side::Holdfast | Side::Filled => {
                let mut command = Command::new(HOLDFAST);
                command.arg("run").arg("--config").arg(config);
                command
            }
            Side::Bare => {
                let mut command = Command::new(std::env::current_exe().unwrap_or_default());
                command.arg(bare::ROLE).arg(config);
                command
            }
        };
        command.env(BROKER_URL, self.url()).stdin(Stdio::null());
        command.envs(ledger.map(|url| (LEDGER_URL, url)));
        if let Some(observed) = setup.observed.filter(|observed| observed.ratio > 0.0) {
            command.env("HOLDFAST_TRACES__ENDPOINT", &self.collector.endpoint);
            command.env("HOLDFAST_TRACES__SAMPLE_RATIO", observed.ratio.to_string());
        }
        command
    }
}

/// A ledger that has captured so many shipments of half as many orders, whose authorizations it watches.
async fn fill(path: PathBuf, captures: usize) -> anyhow::Result<PathBuf> {
    let began = Instant::now();
    let ledger = made::ledger(&path, &[load::ACCOUNT])?;
    for first in (0..captures).step_by(FILLED_AT_ONCE) {
        let size = FILLED_AT_ONCE.min(captures - first).next_multiple_of(2);
        work::capture(&ledger, work::accept_all(load::notices(first / 2, size, "orders")), GROUP).await?;
    }
    drop(ledger);
    report::filled(captures, std::fs::metadata(&path)?.len(), began.elapsed());
    Ok(path)
}

/// The worker's defaults, with names of their own and more calls at a time.
fn write_settings(dir: &Path, base: &str, concurrency: usize, ledger: &Path) -> anyhow::Result<PathBuf> {
    let secret = dir.join("client-secret");
    holdfast::private_file::write(&secret, FLEX_CLIENT)?;
    let name = dir.file_name().and_then(|name| name.to_str()).context("a directory has a name")?;
    let text = format!(
        r#"
[broker]
declare_orders = true
orders_exchange = "{name}.orders"
payments_exchange = "{name}.payments"
work_queue = "{name}.work"
dead_queue = "{name}.dead"
prefetch = {prefetch}
[ledger]
url = "sqlite:{ledger}"
[http]
listen = "127.0.0.1:0"
[accounts.{account}]
protocol = "flex_pay"
base_url = "{base}/api/flexpay"
token_url = "{base}/api/auth/v1/oauth/token"
client_id = "{FLEX_CLIENT}"
client_secret = {{ file = "{secret}" }}
concurrency = {concurrency}
"#,
        account = load::ACCOUNT,
        prefetch = concurrency.max(load::CONCURRENCY),
        ledger = ledger.display(),
        secret = secret.display(),
    );
    let config = dir.join("holdfast.toml");
    std::fs::write(&config, text)?;
    Ok(config)
}

/// A quorum queue of all events, and a consumer of it.
async fn subscribe(session: &Session, settings: &Settings) -> anyhow::Result<(String, Consumer)> {
    let channel = session.channel().await?;
    let name = format!("{}.seen", settings.broker.payments_exchange);
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(name.as_str().into(), options, arguments).await?;
    let exchange = settings.broker.payments_exchange.as_str().into();
    let (binding, table) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(name.as_str().into(), exchange, "#".into(), binding, table).await?;
    channel.basic_qos(2_048, BasicQosOptions::default()).await?;
    let (consuming, table) = (BasicConsumeOptions::default(), FieldTable::default());
    let events = channel.basic_consume(name.as_str().into(), "seen".into(), consuming, table).await?;
    Ok((name, events))
}

/// Puts every notice into the work queue before anybody consumes it.
async fn preload(settings: &Settings, setup: &Setup) -> anyhow::Result<()> {
    let publisher = Publisher::spawn(Arc::new(settings.broker.clone()));
    let outcomes = publisher.publish(load::notices(setup.first, setup.size, &settings.broker.orders_exchange)).await;
    publisher.close().await;
    ensure!(outcomes.iter().all(|outcome| *outcome == PublishOutcome::Published), "a notice was not published");
    Ok(())
}

/// Waits for one success for every shipment.
async fn receive(mut events: Consumer, size: usize) -> anyhow::Result<()> {
    let mut ids = HashSet::with_capacity(size);
    let mut count = 0;
    while ids.len() < size {
        let event = events.next().await.context("the broker is there")??;
        ensure!(event.routing_key.as_str() == "capture.succeeded", "{} came", event.routing_key);
        ids.insert(event.properties.message_id().clone().context("an event has an id")?);
        count += 1;
        if count % ACK_EVERY == 0 || ids.len() == size {
            event.acker.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}
