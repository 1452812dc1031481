//! Where the broker is: one address, or several of the same cluster; and who we are there, which is never
//! shown.

use std::fmt;

use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::SecretString;

use crate::broker::session::BrokerError;
use crate::settings::Broker;

/// Where a broker is, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Virtual host.
    pub vhost: String,
    /// Is it spoken to over TLS?
    pub is_tls: bool,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}, virtual host `{}`", self.host, self.port, self.vhost)
    }
}

impl Address {
    /// Where `broker.url` points: every node, in the order given.
    ///
    /// # Errors
    /// [`BrokerError::Url`].
    pub fn all(settings: &Broker) -> Result<Vec<Self>, BrokerError> {
        Ok(uris(settings)?.iter().map(Self::of_uri).collect())
    }

    /// The virtual host: the same on every node.
    ///
    /// # Errors
    /// [`BrokerError::Url`].
    pub fn vhost(settings: &Broker) -> Result<String, BrokerError> {
        Self::all(settings)?.pop().map(|address| address.vhost).ok_or(BrokerError::Url)
    }

    pub(super) fn of_uri(uri: &AMQPUri) -> Self {
        let is_tls = uri.scheme == AMQPScheme::AMQPS;
        Self { host: uri.authority.host.clone(), port: uri.authority.port, vhost: uri.vhost.clone(), is_tls }
    }
}

/// Who we are at the broker, as `broker.url` says: the same on every node.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: SecretString,
    pub(super) vhost: String,
}

impl Login {
    /// As the settings have it.
    pub(super) fn of(settings: &Broker) -> Result<Self, BrokerError> {
        let AMQPUri { authority, vhost, .. } = uris(settings)?.pop().ok_or(BrokerError::Url)?;
        Ok(Self { user: authority.userinfo.username, password: authority.userinfo.password.into(), vhost })
    }
}

/// The user that `broker.url` names.
///
/// # Errors
/// [`BrokerError::Url`].
pub fn user(settings: &Broker) -> Result<String, BrokerError> {
    Ok(Login::of(settings)?.user)
}

/// Reads `broker.url`. The client's own message would repeat the whole address.
pub(super) fn uris(settings: &Broker) -> Result<Vec<AMQPUri>, BrokerError> {
    settings.nodes().map(parse).collect()
}

fn parse(text: &str) -> Result<AMQPUri, BrokerError> {
    let mut uri: AMQPUri = text.parse().map_err(|_| BrokerError::Url)?;
    // For an IPv6 address in brackets the client's parser silently takes `localhost`.
    let authority = text.split("://").nth(1).unwrap_or_default().split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        address.clone_into(&mut uri.authority.host);
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<String>, BrokerError> {
        crate::settings::nodes(text).map(|text| Ok(Address::of_uri(&parse(text)?).to_string())).collect()
    }

    #[test]
    fn addresses_are_read_without_their_credentials() {
        for (url, expected) in [
            ("amqp://u:p@rabbit:5673/%2f", "rabbit:5673, virtual host `/`"),
            ("amqps://rabbit/shop", "rabbit:5671, virtual host `shop`"),
            ("amqp://10.0.0.7", "10.0.0.7:5672, virtual host `/`"),
            ("amqp://u:p@[2001:db8::1]:5673/%2f", "2001:db8::1:5673, virtual host `/`"),
            ("amqp://[::1]", "::1:5672, virtual host `/`"),
            ("amqp://u:with,comma@rabbit", "rabbit:5672, virtual host `/`"),
        ] {
            assert_eq!(parsed(url).unwrap(), [expected], "{url}");
        }
        let three = parsed("amqp://u:a,b@one, amqps://two/shop,amqp://three:1").unwrap();
        let expected = ["one:5672, virtual host `/`", "two:5671, virtual host `shop`", "three:1, virtual host `/`"];
        assert_eq!(three, expected);
    }

    #[test]
    fn an_unreadable_address_is_not_repeated() {
        for url in ["user:s3cret", "http://user:s3cret@host/", "s3cret", "amqp://user:s3cret@host:99999/"] {
            let error = parsed(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{url}");
        }
    }
}
