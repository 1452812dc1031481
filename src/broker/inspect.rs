//! Looks at a live broker: its version, and what of the topology is there and how it is.
//!
//! Changes nothing. What is there is compared by declaring it once more, which RabbitMQ answers with what
//! differs; what is not there is only looked for. Bindings cannot be seen over AMQP.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::broker::address::Address;
use crate::broker::session::{BrokerError, Session};
use crate::broker::topology::{self, Exchange, Owner, Queue};
use crate::settings::Broker;

/// The header of AMQP 0-9-1 (section 4.2.2 of its specification).
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

/// The longest greeting that is read: RabbitMQ's has some 500 bytes.
const GREETING_MAX: u32 = 16 * 1024;

/// A queue that is there as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that are ready.
    pub messages: u32,
    /// Who consumes from it.
    pub consumers: u32,
}

/// Looks for a queue, then compares it.
///
/// # Errors
/// [`BrokerError::Topology`] where it is missing, different or not ours to look at; or the connection's own.
pub async fn queue(session: &Session, queue: &Queue) -> Result<Depth, BrokerError> {
    let found = topology::queue(session, queue, true).await?;
    topology::queue(session, queue, false).await?;
    Ok(Depth { messages: found.message_count(), consumers: found.consumer_count() })
}

/// Looks for an exchange, then compares it, if it is ours.
///
/// # Errors
/// As [`queue`].
pub async fn exchange(session: &Session, exchange: &Exchange) -> Result<(), BrokerError> {
    topology::exchange(session, exchange, true).await?;
    match exchange.owner {
        Owner::Ours => topology::exchange(session, exchange, false).await,
        Owner::Theirs => Ok(()),
    }
}

/// What the broker says it is, such as `RabbitMQ 3.13.7`. The client library keeps it to itself, so it is
/// read from the greeting of a connection of its own, which goes no further. `None` over TLS, or where it
/// does not say.
pub async fn version(settings: &Broker, address: &Address) -> Option<String> {
    if address.is_tls {
        return None;
    }
    let limit = settings.connect_timeout.min(Duration::from_secs(10));
    tokio::time::timeout(limit, greet(&address.host, address.port)).await.ok()?
}

async fn greet(host: &str, port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((host, port)).await.ok()?;
    stream.write_all(PROTOCOL_HEADER).await.ok()?;
    // A frame: type (1 is a method), channel, length of what follows.
    let (kind, _channel) = (stream.read_u8().await.ok()?, stream.read_u16().await.ok()?);
    let length = stream.read_u32().await.ok().filter(|length| kind == 1 && *length <= GREETING_MAX)?;
    let mut frame = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut frame).await.ok()?;
    named(&frame)
}

/// Product and version in the method `connection.start` (class 10, method 10): after the version of the
/// protocol comes a table of the server's properties.
fn named(mut frame: &[u8]) -> Option<String> {
    let start = take(&mut frame, 6)?;
    if start.get(..4)? != [0, 10, 0, 10] {
        return None;
    }
    let (mut product, mut version) = (None, None);
    let mut table = take_long(&mut frame)?;
    while !table.is_empty() {
        let length = usize::from(*take(&mut table, 1)?.first()?);
        let name = take(&mut table, length)?;
        // RabbitMQ's properties are texts, booleans and tables.
        match take(&mut table, 1)?.first()? {
            b't' => drop(take(&mut table, 1)?),
            b'F' => drop(take_long(&mut table)?),
            b'S' => {
                let text = String::from_utf8(take_long(&mut table)?.to_vec()).ok();
                match name {
                    b"product" => product = text,
                    b"version" => version = text,
                    _ => {}
                }
            }
            _ => break,
        }
    }
    Some(format!("{} {}", product?, version?))
}

fn take<'a>(from: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(bytes)?;
    *from = rest;
    Some(taken)
}

/// What a length in four bytes says.
fn take_long<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(from, 4)?.try_into().ok()?);
    take(from, usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn property(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
        [&[u8::try_from(name.len()).unwrap()], name.as_bytes(), &[kind], value].concat()
    }

    #[test]
    fn a_greeting_names_the_server() {
        let table = [
            property("capabilities", b'F', &long(&property("basic.nack", b't', &[1]))),
            property("product", b'S', &long(b"RabbitMQ")),
            property("version", b'S', &long(b"3.13.7")),
        ];
        let frame = [&[0, 10, 0, 10, 0, 9][..], &long(&table.concat()), &long(b"PLAIN")].concat();
        assert_eq!(named(&frame).as_deref(), Some("RabbitMQ 3.13.7"));
        for cut in 0..frame.len() - 9 {
            assert_eq!(named(&frame[..cut]), None, "cut off after {cut}");
        }
    }
}
