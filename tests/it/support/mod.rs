//! What the integration tests share.
//!
//! Run with `cargo test`: one process, one RabbitMQ node for all tests (about 6 s), a virtual host
//! for each. The node ends with the process, however that ends. Under `cargo nextest` every test is a
//! process and starts its own, which works and is slow. The PostgreSQL that tests share is alike, with a
//! database for each.
//!
//! `HOLDFAST_TEST_AMQP=amqp://user:password@host/vhost` names a broker that is there already, which the tests
//! then share instead, for example a RabbitMQ 4: `cargo test --test it crash::` on it is the crash suite.
//! What starts, stops or inspects a node of its own does so all the same.

pub mod adapter;
pub mod audit;
pub mod certificates;
pub mod collector;
pub mod copy;
pub mod fixture;
pub mod keeper;
pub mod listener;
pub mod named;
pub mod order;
pub mod publish;
pub mod store;
pub mod worker;
pub mod world;

// what only tests on Linux need
#[cfg(target_os = "linux")]
pub mod prometheus;
#[cfg(target_os = "linux")]
pub mod proxy;
#[cfg(target_os = "linux")]
pub mod terminal;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdfast::broker::consumer::{Consumer, Delivered, Intake, IntakeStopped};
use holdfast::broker::local_node::LocalNode;
use holdfast::broker::session::Session;
use holdfast::capture::notice::RawMessage;
use holdfast::settings::{Broker, TopologyMode};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use secrecy::SecretString;
use tokio::sync::{OnceCell, mpsc, oneshot, watch};

/// How long anything may take before a test gives up: long, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Virtual hosts made at the start of the shared node; each costs it about 5 ms.
const VHOSTS: usize = 240;

static NODE: OnceCell<LocalNode> = OnceCell::const_new();
static NEXT_VHOST: AtomicUsize = AtomicUsize::new(0);

/// The node that all tests share. Do not break it: start your own.
pub async fn node() -> &'static LocalNode {
    let start = || async {
        let vhosts: Vec<String> = (0..VHOSTS).map(|number| format!("t{number:03}")).collect();
        LocalNode::start(&std::env::temp_dir(), &vhosts).await.expect("a RabbitMQ to test with")
    };
    NODE.get_or_init(start).await
}

/// An address on this machine that nobody listens at.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Has a node of one's own run one of RabbitMQ's plugins that answer over HTTP, here. Once it is started again
/// the plugin is where its defaults say: do not.
pub async fn run_plugin(node: &LocalNode, plugin: &str, address: SocketAddr) {
    let enable = format!(
        "application:load({plugin}),
         ok = application:set_env({plugin}, tcp_config, [{{ip, \"127.0.0.1\"}}, {{port, {}}}]),
         {{ok, File}} = application:get_env(rabbit, enabled_plugins_file),
         ok = rabbit_file:write_term_file(File, [[{plugin}]]),
         {{ok, _, _}} = rabbit_plugins:ensure(File), ok.",
        address.port()
    );
    node.ctl(&["eval", &enable]).await.unwrap();
}

/// Settings for a virtual host of the shared node that nobody else uses; or for names that nobody else uses on
/// the broker that [`named::NAMED`] names.
pub async fn broker() -> Broker {
    if let Some(broker) = named::broker() {
        return broker;
    }
    let number = NEXT_VHOST.fetch_add(1, Ordering::Relaxed);
    assert!(number < VHOSTS, "raise VHOSTS: there are more tests than virtual hosts");
    broker_at(node().await.url(&format!("t{number:03}")))
}

/// Settings with names and time limits for tests. Declares the `orders` exchange too.
pub fn broker_at(url: SecretString) -> Broker {
    Broker {
        url,
        ca_file: None,
        client_files: None,
        management_url: None,
        topology: TopologyMode::Declare,
        declare_orders: true,
        orders_exchange: "orders".into(),
        payments_exchange: "payments".into(),
        work_queue: "holdfast.work.v1".into(),
        dead_queue: "holdfast.dead.v1".into(),
        prefetch: 64,
        publish_batch: 128,
        heartbeat: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(10),
        operation_timeout: Duration::from_secs(10),
        reconnect_min: Duration::from_millis(5),
        reconnect_max: Duration::from_millis(50),
    }
}

/// A directory for a node of one's own.
pub fn temp_dir() -> PathBuf {
    std::env::temp_dir()
}

/// Ready messages in a queue.
pub async fn depth(settings: &Broker, queue: &str) -> u32 {
    let session = Session::open(settings, "test").await.expect("a connection");
    let channel = session.channel().await.expect("a channel");
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("the queue");
    let count = queue.message_count();
    session.close(channel).await;
    count
}

/// Waits until a queue holds this many ready messages: a quorum queue counts an acknowledgement a
/// moment after it came.
pub async fn depth_becomes(settings: &Broker, queue: &str, expected: u32) {
    let mut last = None;
    let reached = async {
        loop {
            let count = depth(settings, queue).await;
            if count == expected {
                return;
            }
            last = Some(count);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await.is_ok();
    assert!(reached, "{queue} holds {last:?} messages, not {expected}");
}

/// Waits until a status says so.
pub async fn until<T: Clone + std::fmt::Debug>(status: &mut watch::Receiver<T>, says: impl FnMut(&T) -> bool) -> T {
    let waited = tokio::time::timeout(PATIENCE, status.wait_for(says)).await.map(|seen| seen.map(|seen| seen.clone()));
    let Ok(Ok(seen)) = waited else {
        panic!("it did not come to that within {PATIENCE:?}, or its task ended: {:?}", *status.borrow())
    };
    seen
}

/// An intake that the test answers for, group by group.
pub struct ByHand(mpsc::UnboundedSender<Handed>);

/// A group that waits for its answer.
pub struct Handed {
    /// The messages.
    pub group: Vec<RawMessage>,
    /// Where to answer.
    pub answer: oneshot::Sender<Result<(), IntakeStopped>>,
}

impl Handed {
    /// The messages' bodies as texts.
    pub fn bodies(&self) -> Vec<String> {
        self.group.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
    }

    /// Answers that the group is committed, and returns its bodies.
    pub fn commit(self) -> Vec<String> {
        let bodies = self.bodies();
        self.answer.send(Ok(())).expect("the consumer waits for the answer");
        bodies
    }

    /// Answers that it is not.
    pub fn refuse(self) {
        self.answer.send(Err(IntakeStopped)).expect("the consumer waits for the answer");
    }
}

/// Groups as they come.
pub struct Groups(mpsc::UnboundedReceiver<Handed>);

impl Groups {
    /// The next group.
    pub async fn next(&mut self) -> Handed {
        let next = tokio::time::timeout(PATIENCE, self.0.recv()).await;
        next.expect("a group in time").expect("a consumer")
    }

    /// Drains the consumer and commits what it still hands over; returns those bodies.
    pub async fn drain(&mut self, consumer: Consumer) -> Vec<String> {
        let rest = async {
            let mut bodies = Vec::new();
            while let Some(handed) = self.last().await {
                bodies.extend(handed.commit());
            }
            bodies
        };
        let draining = futures_util::future::join(consumer.drain(), rest);
        tokio::time::timeout(PATIENCE, draining).await.expect("a drain in time").1
    }

    /// The next group, or none when the consumer is gone.
    pub async fn last(&mut self) -> Option<Handed> {
        tokio::time::timeout(PATIENCE, self.0.recv()).await.expect("a group, or the end, in time")
    }

    /// Nothing is waiting.
    pub fn none(&mut self) -> bool {
        self.0.try_recv().is_err()
    }

    /// Commits groups until this many messages came; returns their bodies.
    pub async fn commit(&mut self, messages: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        while bodies.len() < messages {
            bodies.extend(self.next().await.commit());
        }
        bodies
    }
}

/// An intake and its other end.
pub fn by_hand() -> (Arc<ByHand>, Groups) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Arc::new(ByHand(sender)), Groups(receiver))
}

impl Intake for ByHand {
    async fn accept(&self, group: Vec<Delivered>) -> Result<(), IntakeStopped> {
        let group = group.into_iter().map(|delivered| delivered.message).collect();
        let (answer, answered) = oneshot::channel();
        self.0.send(Handed { group, answer }).map_err(|_| IntakeStopped)?;
        answered.await.unwrap_or(Err(IntakeStopped))
    }
}
