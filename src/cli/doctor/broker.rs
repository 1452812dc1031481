//! The broker: reached, which one it is, and what of the topology is there.

use super::{Check, Outcome};
use crate::broker::inspect;
use crate::broker::management::{self, Bound};
use crate::broker::session::{BrokerError, Session};
use crate::broker::topology::{Owner, Topology, TopologyError};
use crate::settings;

/// The oldest version that Holdfast is tried with.
const OLDEST: (u32, u32) = (3, 10);

/// `is_served`: does a worker hold the ledger? Then somebody has to consume.
pub(super) async fn check(settings: &settings::Broker, is_served: Option<bool>) -> Vec<Check> {
    let (mut checks, mut reached) = (Vec::new(), None);
    for node in settings.separately() {
        let about = "broker";
        match Session::open(&node, "doctor").await {
            Ok(session) => {
                let version = inspect::version(&node, session.address()).await;
                checks.push(named(about, version.as_deref(), &session.address().to_string()));
                if let Some(earlier) = reached.replace(session) {
                    close(earlier).await;
                }
            }
            Err(error) => {
                let way_out = "check broker.url, the user's permissions on the virtual host, and whether RabbitMQ runs";
                checks.push(Check::unreachable(about, error.to_string(), way_out));
            }
        }
    }
    let Some(session) = reached else {
        checks.push(Check::unknown("exchanges and queues", "the broker is not reached"));
        return checks;
    };
    let topology = Topology::of(settings);
    for exchange in &topology.exchanges {
        let about = format!("exchange {}", exchange.name);
        let found = match exchange.owner {
            Owner::Ours => "there, as it has to be",
            Owner::Theirs => "there; it is the shipment side's",
        };
        checks.push(
            inspect::exchange(&session, exchange)
                .await
                .map_or_else(|error| wrong(about.clone(), &error), |()| Check::ok(about.clone(), found)),
        );
    }
    for queue in &topology.queues {
        let about = format!("queue {}", queue.name);
        checks.push(match inspect::queue(&session, queue).await {
            Err(error) => wrong(about, &error),
            Ok(depth) => {
                let found = format!(
                    "there with all its arguments (quorum, delivery limit, dead-lettering); {} messages ready, {} \
                     consumers",
                    depth.messages, depth.consumers
                );
                if depth.consumers == 0 && is_served == Some(true) {
                    let way_out = "look at the worker's /readyz and its alarms: it may be paused, or reconnecting";
                    Check::wrong(about, format!("a worker runs, and nobody consumes: {found}"), way_out)
                } else {
                    Check::ok(about, found)
                }
            }
        });
    }
    close(session).await;
    checks.push(bindings(settings, &topology).await);
    checks
}

async fn close(session: Session) {
    if let Ok(channel) = session.channel().await {
        session.close(channel).await;
    }
}

/// Does what we are sent reach our queue? AMQP does not show bindings; the management plugin does.
async fn bindings(settings: &settings::Broker, topology: &Topology) -> Check {
    let about = format!("bindings of {}", settings.work_queue);
    let Some(management) = &settings.management_url else {
        let found = "AMQP does not show them; a worker with broker.topology = \"declare\" makes them, and with \
                     broker.management_url they are looked at here";
        return Check::unknown(about, found);
    };
    let bound = match management::bindings(settings, management, &settings.work_queue).await {
        Ok(bound) => bound,
        Err(error) => return Check::from_words(Outcome::Problem, about, &error.to_string()),
    };
    let missing: Vec<&str> = topology
        .bindings
        .iter()
        .filter(|wanted| {
            let is_it = |bound: &Bound| bound.exchange == wanted.exchange && bound.key == wanted.key;
            wanted.queue == settings.work_queue && !bound.iter().any(is_it)
        })
        .map(|wanted| wanted.key)
        .collect();
    let exchange = &settings.orders_exchange;
    if missing.is_empty() {
        return Check::ok(about, format!("{exchange} leads to it with every key, says the management plugin"));
    }
    let way_out = "start a worker with broker.topology = \"declare\", or bind it as `holdfast topology` shows: until \
                   then these messages are lost";
    Check::wrong(about, format!("{exchange} does not lead to it with {}", missing.join(", ")), way_out)
}

fn named(about: &str, version: Option<&str>, address: &str) -> Check {
    let Some(version) = version else {
        return Check::ok(about, format!("reached at {address}; it does not tell its version here"));
    };
    let found = format!("{version} at {address}");
    let number = version.rsplit(' ').next().and_then(|number| {
        let mut parts = number.split('.').map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    });
    if number.is_some_and(|number| number < OLDEST) {
        return Check::wrong(
            about,
            found,
            "use RabbitMQ 3.10 or newer: older quorum queues lack what is asked of them",
        );
    }
    Check::ok(about, found)
}

/// What is wrong with an exchange or a queue.
fn wrong(about: String, error: &BrokerError) -> Check {
    match error {
        BrokerError::Topology(TopologyError::Forbidden { .. }) => {
            Check { result: Outcome::Unknown, ..Check::from_words(Outcome::Unknown, about, &error.to_string()) }
        }
        BrokerError::Topology(
            TopologyError::OrdersMissing { .. } | TopologyError::Missing { .. } | TopologyError::Differs { .. },
        ) => Check::from_words(Outcome::Problem, about, &error.to_string()),
        BrokerError::Url
        | BrokerError::CaFile { .. }
        | BrokerError::ClientFiles { .. }
        | BrokerError::NameTooLong { .. }
        | BrokerError::Connect { .. }
        | BrokerError::Nowhere { .. }
        | BrokerError::Amqp { .. }
        | BrokerError::Timeout { .. }
        | BrokerError::ConsumerEnded { .. }
        | BrokerError::AckLost { .. }
        | BrokerError::Refused(_) => Check::unreachable(about, error.to_string(), "look at RabbitMQ's log"),
    }
}
