//! A broker that somebody else runs, named by `HOLDFAST_TEST_AMQP`: every test has exchanges and queues with
//! names of its own there, and removes them, also after a failure. Only the right to declare is needed.

use holdfast::broker::session::Session;
use holdfast::broker::topology;
use holdfast::settings::Broker;
use lapin::options::QueueDeleteOptions;
use uuid::Uuid;

use super::listener;

/// The address: `amqp://user:password@host/vhost`.
pub const NAMED: &str = "HOLDFAST_TEST_AMQP";

/// Settings for this broker, if there is one, with names that nobody else uses.
pub fn broker() -> Option<Broker> {
    let url = std::env::var(NAMED).ok().filter(|url| !url.is_empty())?;
    let name = format!("holdfast-test-{}", Uuid::new_v4().simple());
    Some(Broker {
        orders_exchange: format!("{name}.orders"),
        payments_exchange: format!("{name}.payments"),
        work_queue: format!("{name}.work"),
        dead_queue: format!("{name}.dead"),
        ..super::broker_at(url.into())
    })
}

/// Removes what a test has declared, when it is dropped.
pub struct Sweep(pub Broker);

impl Drop for Sweep {
    fn drop(&mut self) {
        let sweep = || tokio::runtime::Runtime::new().unwrap().block_on(sweep(&self.0));
        let swept = std::thread::scope(|scope| scope.spawn(sweep).join().unwrap());
        // A test that has failed says why itself.
        assert!(swept.is_ok() || std::thread::panicking(), "the broker was not swept: {swept:?}");
    }
}

async fn sweep(broker: &Broker) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let session = Session::open(broker, "test").await?;
    let channel = session.channel().await?;
    let events = listener::queue(broker);
    channel.queue_delete(events.as_str().into(), QueueDeleteOptions::default()).await?;
    Ok(topology::remove(session, broker).await?)
}
