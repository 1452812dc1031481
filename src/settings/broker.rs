//! `[broker]`: how to reach RabbitMQ.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;
use url::Url;

use super::problem::Noted;
use super::section::Section;
use super::source::Value;
use super::{Broker, TopologyMode, secret, value};
use crate::tls::ClientFiles;

pub(super) fn read(mut section: Section<'_>) -> Result<Broker, Noted> {
    let url = secret::or_plain(&mut section, "url", without_credentials);
    let ca_file = section.optional("ca_file", value::readable_file);
    let client_files = client_files(&mut section);
    let management_url = section.optional("management_url", value::management_url);
    let topology = section.required("topology", topology);
    let declare_orders = section.required("declare_orders", value::flag);
    let orders_exchange = section.required("orders_exchange", value::broker_name);
    let payments_exchange = section.required("payments_exchange", value::broker_name);
    let work_queue = section.required("work_queue", value::broker_name);
    let dead_queue = section.required("dead_queue", value::broker_name);
    // AMQP reads 0 as "no limit", which would move the whole queue into memory.
    let prefetch = section.required("prefetch", value::integer(1, u16::MAX));
    let publish_batch = section.required("publish_batch", value::integer(1, 10_000));
    let heartbeat = section.required("heartbeat", value::heartbeat);
    let connect_timeout = section.required("connect_timeout", value::span);
    let operation_timeout = section.required("operation_timeout", value::span);
    let reconnect_min = section.required("reconnect_min", value::span);
    let reconnect_max = section.required("reconnect_max", value::span);

    if let (Ok(min), Ok(max)) = (reconnect_min, reconnect_max)
        && min > max
    {
        section.contradiction("reconnect_min", "must not be longer than reconnect_max".to_owned());
    }
    if let (Ok(work), Ok(dead)) = (&work_queue, &dead_queue)
        && work == dead
    {
        section.contradiction("dead_queue", "must not be the same queue as work_queue".to_owned());
    }
    section.finish();
    Ok(Broker {
        url: url?,
        ca_file: ca_file?,
        client_files: client_files?,
        management_url: management_url?,
        topology: topology?,
        declare_orders: declare_orders?,
        orders_exchange: orders_exchange?,
        payments_exchange: payments_exchange?,
        work_queue: work_queue?,
        dead_queue: dead_queue?,
        prefetch: prefetch?,
        publish_batch: publish_batch?,
        heartbeat: heartbeat?,
        connect_timeout: connect_timeout?,
        operation_timeout: operation_timeout?,
        reconnect_min: reconnect_min?,
        reconnect_max: reconnect_max?,
    })
}

/// Our own certificate: both files or none.
fn client_files(section: &mut Section<'_>) -> Result<Option<ClientFiles>, Noted> {
    let certificate = section.optional("client_cert_file", value::readable_file);
    let key = section.optional("client_key_file", value::private_file);
    match (certificate?, key?) {
        (Some(certificate), Some(key)) => Ok(Some(ClientFiles { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(section.contradiction("client_cert_file", "needs client_key_file beside it".to_owned())),
        (None, Some(_)) => Err(section.contradiction("client_key_file", "needs client_cert_file beside it".to_owned())),
    }
}

impl Broker {
    /// The addresses of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        nodes(self.url.expose_secret())
    }

    /// The same settings for each node by itself.
    pub fn separately(&self) -> Vec<Self> {
        self.nodes().map(|url| Self { url: url.to_owned().into(), ..self.clone() }).collect()
    }
}

/// The addresses in a text: several are separated by commas. A comma that no scheme follows belongs to a
/// password.
pub(crate) fn nodes(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let is_next = |at: &usize| ["amqp://", "amqps://"].iter().any(|it| text[at + 1..].trim_start().starts_with(it));
        let end = text.match_indices(',').map(|(at, _)| at).find(is_next);
        rest = end.map(|at| &text[at + 1..]);
        Some(text[..end.unwrap_or(text.len())].trim())
    })
}

/// The addresses as they may be shown.
fn without_credentials(text: &str) -> Result<String, String> {
    let shown = nodes(text).map(one_without_credentials).collect::<Result<Vec<_>, _>>()?;
    let vhosts: BTreeSet<&str> = shown.iter().filter_map(|url| url.split_once("://")?.1.split('/').nth(1)).collect();
    if vhosts.len() > 1 {
        return Err("must name the same virtual host on every node of the cluster".to_owned());
    }
    Ok(shown.join(","))
}

fn one_without_credentials(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "must be an address such as \"amqps://user:password@host:5671/virtual-host\"";
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "amqp" | "amqps") && url.has_host());
    let Some(mut url) = url else { return Err(EXPECTED.to_owned()) };
    if !url.username().is_empty() || url.password().is_some() {
        let hidden = url.set_username("***").and_then(|()| url.set_password(None));
        hidden.map_err(|()| EXPECTED.to_owned())?;
    }
    // A query can carry paths and pass phrases of client certificates.
    url.set_query(None);
    Ok(url.into())
}

fn topology(value: &Value) -> Result<TopologyMode, String> {
    match value::text(value).as_deref() {
        Ok("declare") => Ok(TopologyMode::Declare),
        Ok("verify") => Ok(TopologyMode::Verify),
        Ok("none") => Ok(TopologyMode::None),
        Ok(_) | Err(_) => Err("must be \"declare\", \"verify\" or \"none\"".to_owned()),
    }
}
