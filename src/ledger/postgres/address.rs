//! Where a PostgreSQL ledger is, and how it is spoken to: an address as `libpq` takes it
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>), with the same
//! meaning of `sslmode`. Connects to nothing, and never shows a password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::private_file::{self, Group};
use crate::tls::ClientFiles;

/// The schemes of an address.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Longest wait for one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that is cut off is noticed after so long: unanswered data, and silence.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Where a PostgreSQL ledger is.
#[derive(Clone)]
pub struct Address {
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// Our own certificate, for a server that asks for one.
    pub(super) client_files: Option<ClientFiles>,
    url: SecretString,
}

/// How the connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tls {
    /// Not at all.
    Disable,
    /// If the server offers it; or, `require`, at any rate. Whoever answers is believed.
    Unverified,
    /// The server's certificate has to be of its name, and signed by one of these, or by one that the
    /// system trusts.
    Verified(Option<PathBuf>),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, without any part of it that may be secret.
    pub fn parse(url: &SecretString) -> Result<Self, String> {
        let text = url.expose_secret();
        if !SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
            return Err("must be postgres://USER@HOST/DATABASE".to_owned());
        }
        let (rest, parameters) = text.split_once('?').unwrap_or((text, ""));
        let (mut mode, mut root, mut others) = ("prefer", None, Vec::new());
        let (mut certificate, mut key) = (None, None);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = value,
                Some(("sslrootcert", value)) if value != "system" => root = Some(path("sslrootcert", value)?),
                Some(("sslrootcert", _)) => {}
                Some(("sslcert", value)) => certificate = Some(path("sslcert", value)?),
                Some(("sslkey", value)) => key = Some(path("sslkey", value)?),
                _ => others.push(parameter),
            }
        }
        let plain = format!("{rest}?{}", others.join("&"));
        // What its parser says of a part may repeat it.
        let mut config: Config = plain.parse().map_err(|_| {
            "is not an address of PostgreSQL: use postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, \
             with %-escapes where a part has / : @ ? or % in it"
                .to_owned()
        })?;
        let tls = match (mode, root) {
            ("disable", _) => Tls::Disable,
            ("prefer", _) | ("require", None) => Tls::Unverified,
            // With a list of authorities to go by, it is gone by.
            ("require" | "verify-full", root) => Tls::Verified(root),
            _ => return Err("has an sslmode that is none of disable, prefer, require, verify-full".to_owned()),
        };
        check(&config, &tls)?;
        let client_files = client_files(certificate, key)?;
        // A socket is not encrypted, whatever the mode.
        let is_local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let tls = if is_local { Tls::Disable } else { tls };
        config.ssl_mode(match mode {
            _ if is_local => SslMode::Disable,
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            _ => SslMode::Require,
        });
        config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(SILENCE_MAX).keepalives_idle(SILENCE_MAX);
        config.keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("holdfast");
        }
        Ok(Self { config, tls, client_files, url: url.clone() })
    }

    /// The address as it was given, password and all.
    #[cfg(test)]
    pub(crate) const fn url(&self) -> &SecretString {
        &self.url
    }

    /// The address for people, without its password.
    pub fn shown(&self) -> String {
        let mut ports = self.config.get_ports().iter().cycle();
        let host = |host: &Host| {
            let port = ports.next().copied().unwrap_or(5_432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        };
        let hosts: Vec<String> = self.config.get_hosts().iter().map(host).collect();
        let user = self.config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
        let database = self.config.get_dbname().unwrap_or_default();
        format!("postgres://{user}{}/{database}", hosts.join(","))
    }
}

fn check(config: &Config, tls: &Tls) -> Result<(), String> {
    if config.get_hosts().is_empty() {
        return Err("names no host".to_owned());
    }
    if config.get_user().is_none() {
        return Err("names no user: use postgres://USER@HOST/DATABASE".to_owned());
    }
    if config.get_dbname().is_none_or(str::is_empty) {
        return Err("names no database: use postgres://USER@HOST/DATABASE".to_owned());
    }
    match tls {
        Tls::Verified(Some(file)) => readable("sslrootcert", file),
        Tls::Disable | Tls::Unverified | Tls::Verified(None) => Ok(()),
    }
}

/// Our own certificate: both files or none.
fn client_files(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<ClientFiles>, String> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            readable("sslcert", &certificate)?;
            private_file::open(&key, Group::Ours).map_err(|why| format!("has an sslkey that {why}"))?;
            Ok(Some(ClientFiles { certificate, key }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err("has an sslcert without its sslkey".to_owned()),
        (None, Some(_)) => Err("has an sslkey without its sslcert".to_owned()),
    }
}

fn readable(parameter: &str, file: &Path) -> Result<(), String> {
    std::fs::File::open(file)
        .map(drop)
        .map_err(|error| format!("names the {parameter} {}, which cannot be read: {error}", file.display()))
}

fn path(parameter: &str, value: &str) -> Result<PathBuf, String> {
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
    decoded.map(|text| PathBuf::from(text.as_ref())).map_err(|_| format!("has an {parameter} that is not UTF-8"))
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown()).finish()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.url.expose_secret() == other.url.expose_secret()
    }
}

impl Eq for Address {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, String> {
        Address::parse(&url.into())
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://u:hunter2@db/ledger", "postgres://u@db:5432/ledger"),
            ("postgresql://u:hunter2@a:1,b:2/ledger?target_session_attrs=read-write", "postgres://u@a:1,b:2/ledger"),
            ("postgres://u:hunter2@%2Frun%2Fpg:5433/l", "postgres://u@/run/pg:5433/l"),
            ("postgres://u:hunter2@[::1]/l?sslmode=require", "postgres://u@::1:5432/l"),
        ] {
            let address = parse(url).expect(url);
            assert_eq!(address.shown(), shown);
            assert!(!format!("{address:?}").contains("hunter2"));
        }
    }

    #[test]
    fn the_modes_of_tls_are_those_of_libpq() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let verify = format!("sslmode=verify-full&sslrootcert={}", file.path().display());
        let require = format!("sslmode=require&sslrootcert={}", file.path().display());
        let rooted = Tls::Verified(Some(file.path().to_path_buf()));
        for (parameters, mode, tls) in [
            ("", SslMode::Prefer, Tls::Unverified),
            ("sslmode=disable", SslMode::Disable, Tls::Disable),
            ("sslmode=prefer", SslMode::Prefer, Tls::Unverified),
            ("connect_timeout=5&sslmode=require", SslMode::Require, Tls::Unverified),
            ("sslmode=verify-full", SslMode::Require, Tls::Verified(None)),
            ("sslmode=verify-full&sslrootcert=system", SslMode::Require, Tls::Verified(None)),
            (&verify, SslMode::Require, rooted.clone()),
            (&require, SslMode::Require, rooted.clone()),
        ] {
            let address = parse(&format!("postgres://u@h/d?{parameters}")).expect(parameters);
            assert_eq!((address.config.get_ssl_mode(), address.tls), (mode, tls), "{parameters}");
        }
        let socket = parse("postgres://u@%2Frun/d?sslmode=verify-full").expect("an address");
        assert_eq!((socket.config.get_ssl_mode(), socket.tls), (SslMode::Disable, Tls::Disable), "as libpq has it");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said_without_its_secret() {
        for (url, word) in [
            ("mysql://u:hunter2@h/d", "postgres://"),
            ("postgres://u:hunter2@h:port/d", "not an address"),
            ("postgres://u:hunter2@h/d?sslpassword=hunter2", "not an address"),
            ("postgres://u:hunter2@h/d?sslcert=/none", "without its sslkey"),
            ("postgres://u:hunter2@h/d?sslkey=/none", "without its sslcert"),
            ("postgres://u:hunter2@h/d?sslcert=/none&sslkey=/none", "sslcert /none, which cannot be read"),
            ("postgres://u:hunter2@h/d?sslmode=hunter2", "sslmode"),
            ("postgres://u:hunter2@h/d?sslmode=verify-full&sslrootcert=/none", "cannot be read"),
            ("postgres://u:hunter2@/d", "no host"),
            ("postgres://u:hunter2@h", "no database"),
            ("postgres://h/d", "no user"),
        ] {
            let why = parse(url).expect_err(url);
            assert!(why.contains(word) && !why.contains("hunter2"), "{url}: {why}");
        }
    }
}
