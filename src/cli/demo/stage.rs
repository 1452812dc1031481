//! Everything the demo runs on: a real broker, a real worker, a real ledger, and the sandbox.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use crate::broker::events::Events;
use crate::broker::local_node::LocalNode;
use crate::broker::publisher::{Outgoing, PublishOutcome, Publisher};
use crate::broker::session::Session;
use crate::broker::topology;
use crate::http::Readiness;
use crate::message;
use crate::message::sender::Claims;
use crate::private_file;
use crate::sandbox::{FLEX_CLIENT, FLITT_MERCHANT, FONDY_MERCHANT, Running, Sandbox, TEST_SECRET};
use crate::settings::Settings;
use crate::worker::Worker;

/// The environment variable that names a broker to use.
pub(super) const BROKER_URL: &str = "HOLDFAST_BROKER__URL";

/// Everything the demo runs on. Dropping it ends all of it.
pub(super) struct Stage {
    pub(super) sandbox: Running,
    pub(super) settings: Settings,
    pub(super) events: Events,
    publisher: Publisher,
    worker: Worker,
    node: Option<LocalNode>,
    dir: TempDir,
}

impl Stage {
    /// Sets it up, telling `say` each step before it is taken.
    pub(super) async fn set_up(say: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("holdfast-demo-").context("cannot make a temporary directory")?;
        let named = std::env::var(BROKER_URL).ok().filter(|url| !url.is_empty());
        let (node, url) = if let Some(url) = named {
            say(&format!("broker    the one that {BROKER_URL} names"));
            (None, SecretString::from(url))
        } else {
            say("broker    starting a private RabbitMQ node: own port, own directory, gone at the end");
            let node = LocalNode::start(dir.path(), &[]).await?;
            let url = node.url("/");
            (Some(node), url)
        };
        let sandbox = Sandbox::start(([127, 0, 0, 1], 0).into()).await.context("cannot start the sandbox")?;
        say(&format!("provider  the sandbox at {} (not a payment provider: no money moves)", sandbox.base_url()));
        let settings = settings(dir.path(), &sandbox, &url)?;
        say(&format!("ledger    SQLite at {}", settings.ledger));
        prepare(&settings).await?;
        let events = Events::subscribe(&settings.broker).await?;
        let worker = Worker::start(&settings, watch::channel(Readiness::starting()).0).await?;
        let publisher = Publisher::spawn(Arc::new(settings.broker.clone()));
        Ok(Self { sandbox, settings, events, publisher, worker, node, dir })
    }

    /// Publishes messages to the `orders` exchange, as the shipment side would.
    pub(super) async fn publish(&self, bodies: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let outgoing = |(row, body): (i64, Vec<u8>)| Outgoing {
            row,
            exchange: self.settings.broker.orders_exchange.clone(),
            event_id: Uuid::new_v4(),
            routing_key: "order.shipped".to_owned(),
            body: Bytes::from(body),
            content_type: message::CONTENT_TYPE.to_owned(),
            traceparent: None,
            claims: Claims::default(),
        };
        let outcomes = self.publisher.publish((1..).zip(bodies).map(outgoing).collect()).await;
        match outcomes.into_iter().find(|outcome| *outcome != PublishOutcome::Published) {
            Some(outcome) => anyhow::bail!("a notice could not be published: {outcome:?}"),
            None => Ok(()),
        }
    }

    /// Ends everything in order; the ledger stays readable until the directory is dropped.
    pub(super) async fn strike(self) -> anyhow::Result<Struck> {
        self.publisher.close().await;
        self.worker.drain().await?;
        self.events.close().await;
        let books = self.sandbox.sandbox().books();
        self.sandbox.stop().await.context("the sandbox ended badly")?;
        let session = Session::open(&self.settings.broker, "demo").await?;
        topology::remove(session, &self.settings.broker).await?;
        if let Some(node) = self.node {
            node.stop();
        }
        Ok(Struck { settings: self.settings, books, dir: self.dir })
    }
}

/// What is left when everything has ended.
pub(super) struct Struck {
    pub(super) settings: Settings,
    pub(super) books: crate::sandbox::Books,
    pub(super) dir: TempDir,
}

/// Exchange, queue and binding are there before the first notice: the broker drops what has no queue.
async fn prepare(settings: &Settings) -> anyhow::Result<()> {
    let session = Session::open(&settings.broker, "demo").await?;
    topology::prepare(&session, &settings.broker).await?;
    let channel = session.channel().await?;
    session.close(channel).await;
    Ok(())
}

/// Real settings, with times that fit a demo, read the way any settings are.
fn settings(dir: &Path, sandbox: &Running, url: &SecretString) -> anyhow::Result<Settings> {
    let base = sandbox.base_url();
    let merchant_secret = dir.join("merchant-secret");
    let client_secret = dir.join("client-secret");
    private_file::write(&merchant_secret, TEST_SECRET)?;
    private_file::write(&client_secret, FLEX_CLIENT)?;
    let suffix = Uuid::new_v4().simple().to_string();
    let text = format!(
        r#"
[broker]
declare_orders = true
orders_exchange = "demo-{suffix}.orders"
payments_exchange = "demo-{suffix}.payments"
work_queue = "demo-{suffix}.work"
dead_queue = "demo-{suffix}.dead"
[ledger]
url = "sqlite:{ledger}"
[capture]
deadline_margin = "5s"
expiring_leads = ["6s"]
final_grace = "1s"
quiet = "2s"
look_after = ["1s", "2s", "5s", "15s"]
[retry]
initial = "250ms"
[worker]
watch_interval = "100ms"
[accounts.flitt-ge]
protocol = "flitt"
base_url = "{base}"
merchant_id = {FLITT_MERCHANT}
secret = {{ file = "{merchant}" }}
timeout = "3s"
connect_timeout = "1s"
[accounts.fondy-eu]
protocol = "fondy"
base_url = "{base}"
merchant_id = {FONDY_MERCHANT}
secret = {{ file = "{merchant}" }}
timeout = "3s"
connect_timeout = "1s"
[accounts.flex]
protocol = "flex_pay"
base_url = "{base}/api/flexpay"
token_url = "{base}/api/auth/v1/oauth/token"
client_id = "{FLEX_CLIENT}"
client_secret = {{ file = "{client}" }}
timeout = "3s"
connect_timeout = "1s"
"#,
        ledger = dir.join("holdfast.db").display(),
        merchant = merchant_secret.display(),
        client = client_secret.display(),
    );
    let file = dir.join("holdfast.toml");
    std::fs::write(&file, text)?;
    let url = ("HOLDFAST_BROKER__URL".to_owned(), url.expose_secret().to_owned());
    Ok(Settings::load(Some(&file), std::iter::once(url))?)
}
