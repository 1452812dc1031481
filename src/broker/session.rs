//! One connection to RabbitMQ: opened, and limited in time.
//!
//! The client's own recovery stays off: after a channel error its consumers wait for ever. What is
//! lost here is dropped whole and opened anew by whoever owns it. Errors name host,
//! port and virtual host, never the user or the password.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, Event};
use thiserror::Error;

use crate::broker::address::{self, Address};
use crate::broker::consumer::IntakeStopped;
use crate::broker::dial;
use crate::broker::topology::TopologyError;
use crate::settings::Broker;
use crate::tls;

/// What an error of TLS tells to set.
const TLS_NAMES: tls::Names =
    tls::Names { authorities: "broker.ca_file", identity: "broker.client_cert_file and broker.client_key_file" };

/// Bytes of a frame, at most, unless the address says otherwise (`?frame_max=`). The client keeps room for 32
/// of them each way on every connection: with RabbitMQ's 128 KiB that would be 8 MiB for each, most of what
/// an idle worker has in memory. A larger body takes several frames. RabbitMQ refuses less than 8 KiB
/// (<https://www.rabbitmq.com/docs/configure>, `frame_max`).
const FRAME_MAX: u32 = 16_384;

/// Longest wait for a close to be confirmed; after it the socket is simply dropped.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Why the broker cannot be used right now. None of these is final: whoever owns a connection tries
/// again for ever.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// The address cannot be read.
    #[error(
        "broker.url is not an AMQP address: write amqp://user:password@host:port/vhost, with / in the vhost as %2f, and commas between the nodes of a cluster"
    )]
    Url,
    /// The file of trusted authorities cannot be used.
    #[error(
        "broker.ca_file {path} cannot be used: {reason}; give the PEM file of the authority that signed the broker's certificate"
    )]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Our own certificate cannot be used.
    #[error(
        "broker.client_cert_file and broker.client_key_file: {reason}; give a certificate and its private key, as PEM"
    )]
    ClientFiles {
        /// Which file, and what is wrong with it.
        reason: String,
    },
    /// A name is longer than AMQP's 255 bytes.
    #[error("{what} is longer than the 255 bytes that AMQP allows")]
    NameTooLong {
        /// Which name.
        what: &'static str,
    },
    /// The connection was refused.
    #[error("cannot connect to RabbitMQ at {address}: {source}{}", way_out(address, source))]
    Connect {
        /// Where.
        address: Address,
        /// What the client says.
        source: Box<lapin::Error>,
    },
    /// No node of the cluster can be connected to.
    #[error("no node of broker.url can be used: {causes}")]
    Nowhere {
        /// What each says.
        causes: String,
    },
    /// An operation failed.
    #[error("RabbitMQ at {address} failed while {doing}: {source}")]
    Amqp {
        /// Where.
        address: Address,
        /// What was being done.
        doing: &'static str,
        /// What the client says.
        source: Box<lapin::Error>,
    },
    /// No answer in time.
    #[error("RabbitMQ at {address} did not answer within {limit:?} while {doing}")]
    Timeout {
        /// Where.
        address: Address,
        /// What was being done.
        doing: &'static str,
        /// How long we waited.
        limit: Duration,
    },
    /// The broker ended the consumer: queue deleted or moved, or the consumer timed out.
    #[error(
        "RabbitMQ at {address} ended the consumer: the queue was deleted or moved, or a delivery stayed unacknowledged too long"
    )]
    ConsumerEnded {
        /// Where.
        address: Address,
    },
    /// An acknowledgement did not reach the broker: it will deliver again.
    #[error("the acknowledgement of {deliveries} deliveries was lost; the broker will deliver them again")]
    AckLost {
        /// How many.
        deliveries: usize,
    },
    /// The worker did not take the group.
    #[error(transparent)]
    Refused(#[from] IntakeStopped),
    /// Exchanges and queues are not as they have to be.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

/// What to do about a connection that was refused, as the end of a sentence.
fn way_out(address: &Address, source: &lapin::Error) -> String {
    let said = tls::way_out(source, TLS_NAMES);
    // RabbitMQ closes with our first bytes unread, and what it said of certificates may be lost with them.
    let is_cut = matches!(source.kind(), lapin::ErrorKind::IOError(error) if is_end(error.kind()));
    if said.is_empty() && address.is_tls && is_cut {
        return format!(
            "; it ended the connection without a word: if it wants a certificate of ours, name one that it accepts and its key in {}",
            TLS_NAMES.identity
        );
    }
    said
}

const fn is_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// What an open connection tells.
#[derive(Debug)]
pub(crate) enum Change {
    /// The broker refuses publishes for the moment (memory or disk alarm).
    Blocked,
    /// It takes them again.
    Unblocked,
    /// The connection is gone.
    Lost(BrokerError),
}

/// One open connection.
pub struct Session {
    connection: Connection,
    address: Address,
    limit: Duration,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects once, to the first node that takes it. Where there are several, they are tried in a random
    /// order: workers spread over them, and none of them comes back to a sick one time after time.
    /// `purpose` ends the connection's name in the management pages: `holdfast/consume`.
    ///
    /// # Errors
    /// [`BrokerError`]: the address, the file of authorities, or what the broker said.
    pub async fn open(settings: &Broker, purpose: &str) -> Result<Self, BrokerError> {
        let mut uris = address::uris(settings)?;
        fastrand::shuffle(&mut uris);
        let mut errors = Vec::new();
        for uri in uris {
            match Self::open_at(settings, uri, purpose).await {
                Ok(session) => return Ok(session),
                Err(error) => errors.push(error),
            }
        }
        match errors.pop() {
            Some(error) if errors.is_empty() => Err(error),
            last => {
                // In an order of its own, so that it is the same cause the next time.
                let causes: BTreeSet<String> = errors.iter().chain(&last).map(ToString::to_string).collect();
                Err(BrokerError::Nowhere { causes: causes.into_iter().collect::<Vec<_>>().join("; ") })
            }
        }
    }

    async fn open_at(settings: &Broker, mut uri: AMQPUri, purpose: &str) -> Result<Self, BrokerError> {
        let address = Address::of_uri(&uri);
        let heartbeat = u16::try_from(settings.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1);
        uri.query.heartbeat = Some(heartbeat);
        uri.query.frame_max = uri.query.frame_max.or(Some(FRAME_MAX));
        let trusted = dial::trust(settings, &uri).await?;
        // The client reads a `connection_timeout` in the address, but does not use it.
        let limit = settings.connect_timeout;
        let dialled = tokio::time::timeout(limit, dial::dial(uri, trusted, format!("holdfast/{purpose}")));
        let connection = match dialled.await {
            Ok(Ok(connection)) => connection,
            Ok(Err(source)) => return Err(BrokerError::Connect { address, source: source.into() }),
            Err(_) => return Err(BrokerError::Timeout { address, doing: "connecting", limit }),
        };
        Ok(Self { connection, address, limit: settings.operation_timeout })
    }

    /// Opens a channel.
    ///
    /// # Errors
    /// [`BrokerError::Amqp`] or [`BrokerError::Timeout`].
    pub async fn channel(&self) -> Result<Channel, BrokerError> {
        self.limited("opening a channel", self.connection.create_channel()).await
    }

    /// Where it leads.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Closes the channel, then the connection, waiting at most 2 s for each.
    pub async fn close(self, channel: Channel) {
        // Nobody waits for the result: what is not closed politely is dropped, and the broker sees
        // the end of the socket.
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, ShortString::from("drained"))).await;
        let _ = tokio::time::timeout(CLOSE_LIMIT, self.connection.close(200, ShortString::from("drained"))).await;
    }

    /// Waits for an answer, but not longer than `broker.operation_timeout`.
    pub(crate) async fn limited<T>(
        &self,
        doing: &'static str,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerError> {
        match tokio::time::timeout(self.limit, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(self.failed(doing, source)),
            Err(_) => Err(self.late(doing)),
        }
    }

    /// The error of an operation that the broker or the client refused.
    pub(crate) fn failed(&self, doing: &'static str, source: lapin::Error) -> BrokerError {
        BrokerError::Amqp { address: self.address.clone(), doing, source: source.into() }
    }

    /// The error of an operation that was not answered in time.
    pub(crate) fn late(&self, doing: &'static str) -> BrokerError {
        BrokerError::Timeout { address: self.address.clone(), doing, limit: self.limit }
    }

    /// What happens to the connection by itself, from now on. To be asked for once: the client's
    /// listeners compete for its events.
    pub(crate) fn changes(&self) -> Changes {
        Changes { events: Box::pin(self.connection.events_listener()), address: self.address.clone() }
    }
}

/// What happens to a connection by itself.
pub(crate) struct Changes {
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    address: Address,
}

impl Changes {
    /// The next one.
    pub(crate) async fn next(&mut self) -> Change {
        let lost = |address: &Address, source: lapin::Error| {
            let (address, source) = (address.clone(), source.into());
            Change::Lost(BrokerError::Amqp { address, doing: "waiting", source })
        };
        loop {
            match self.events.next().await {
                Some(Event::ConnectionBlocked(_)) => return Change::Blocked,
                Some(Event::ConnectionUnblocked) => return Change::Unblocked,
                Some(Event::Error(source)) => return lost(&self.address, source),
                Some(_) => {}
                None => {
                    let closed = lapin::ErrorKind::InvalidConnectionState(lapin::ConnectionState::Closed);
                    return lost(&self.address, closed.into());
                }
            }
        }
    }
}

/// A name as AMQP wants it.
///
/// # Errors
/// [`BrokerError::NameTooLong`].
pub(crate) fn short(what: &'static str, name: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(name).map_err(|_| BrokerError::NameTooLong { what })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::settings::TopologyMode;

    pub(in crate::broker) fn settings(url: &str) -> Broker {
        Broker {
            url: url.to_owned().into(),
            ca_file: None,
            client_files: None,
            management_url: None,
            topology: TopologyMode::None,
            declare_orders: false,
            orders_exchange: "orders".into(),
            payments_exchange: "payments".into(),
            work_queue: "work".into(),
            dead_queue: "dead".into(),
            prefetch: 1,
            publish_batch: 1,
            heartbeat: Duration::from_secs(20),
            connect_timeout: Duration::from_millis(300),
            operation_timeout: Duration::from_secs(1),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(2),
        }
    }

    #[tokio::test]
    async fn connecting_is_limited_in_time_and_names_no_password() {
        // Accepts and never answers.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let error =
            Session::open(&settings(&format!("amqp://u:s3cret@127.0.0.1:{port}/%2f")), "test").await.unwrap_err();
        assert!(matches!(error, BrokerError::Timeout { doing: "connecting", .. }), "{error}");
        drop(listener);
        let nobody = format!("amqp://u:s3cret@127.0.0.1:{port}/%2f");
        let nowhere =
            Session::open(&settings(&format!("{nobody},{nobody},amqp://127.0.0.1:1")), "test").await.unwrap_err();
        assert!(nowhere.to_string().matches("cannot connect to RabbitMQ at").count() == 2, "each once: {nowhere}");
        let refused = Session::open(&settings(&nobody), "test").await;
        let error = refused.unwrap_err();
        assert!(matches!(error, BrokerError::Connect { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}
