//! What an error of PostgreSQL means: another try, another connection, one command at fault, or the end
//! (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).

use std::error::Error as _;
use std::io;

use tokio_postgres::error::SqlState;

use crate::ledger::LedgerError;
use crate::tls;

/// What an error of TLS tells to set.
const TLS_NAMES: tls::Names = tls::Names {
    authorities: "sslrootcert of the ledger's address",
    identity: "sslcert and sslkey of the ledger's address",
};

/// Why something did not work.
#[derive(Debug)]
pub(in crate::ledger) enum Trouble {
    /// Another writer came between. The transaction is over, and the same again may succeed.
    Again(String),
    /// What another writer has inserted meanwhile, or what must not be there twice: which of the two, the
    /// next try tells.
    Twice(String),
    /// The connection, or the server for now.
    Lost(String),
    /// One side does not believe the other's certificate, or there is no TLS. When a ledger is opened it is a
    /// setting that is wrong; whoever is at work waits until the certificate is renewed.
    Untrusted(String),
    /// A constraint refused a change: a fault of one command.
    Refused(String),
    /// Nothing that passes.
    Fatal(LedgerError),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = words(&error);
        let Some(code) = error.code() else {
            let is_ours = error.source().is_some_and(|source| {
                let kind = source.downcast_ref::<io::Error>().map(io::Error::kind);
                kind.is_none_or(|kind| matches!(kind, io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
            });
            let said = error.to_string();
            if said.starts_with("error performing TLS handshake") {
                return Self::Untrusted(text);
            }
            let is_connecting = said.starts_with("error connecting") || said.contains("timeout");
            return if is_ours && !is_connecting { Self::fatal(text) } else { Self::Lost(text) };
        };
        if *code == SqlState::UNIQUE_VIOLATION {
            return Self::Twice(text);
        }
        match (code.code().get(..2).unwrap_or_default(), code.code()) {
            // Serialization failure, deadlock; cancelled by an operator or by a timeout.
            ("40", _) | (_, "57014" | "55P03") => Self::Again(text),
            // Connections, resources, shutdowns, and a server that has become a standby.
            ("08" | "53" | "57" | "58", _) | (_, "25006" | "25P03" | "25P02") => Self::Lost(text),
            // Constraints, and values that no column takes.
            ("23" | "22", _) => Self::Refused(text),
            _ => Self::fatal(text),
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    /// A row that nobody wrote.
    fn from(error: rusqlite::Error) -> Self {
        Self::fatal(error.to_string())
    }
}

impl Trouble {
    /// The ledger cannot be relied on.
    pub(super) fn fatal(why: impl Into<String>) -> Self {
        Self::Fatal(LedgerError::Failed(why.into()))
    }

    /// In words.
    pub(in crate::ledger) fn words(&self) -> String {
        match self {
            Self::Again(why) | Self::Twice(why) | Self::Lost(why) | Self::Untrusted(why) | Self::Refused(why) => {
                why.clone()
            }
            Self::Fatal(error) => error.to_string(),
        }
    }
}

/// What PostgreSQL says, and never the values that it says it of: those are in `DETAIL`.
fn words(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let of = said.constraint().map(|name| format!(" ({name})")).unwrap_or_default();
        // The server completes the handshake, and misses our certificate afterwards.
        let is_missed = *said.code() == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            && said.message().contains("client certificate");
        let way_out = is_missed.then(|| format!("; name one and its key in {}", TLS_NAMES.identity));
        return format!("{}{of} [{}]{}", said.message(), said.code().code(), way_out.unwrap_or_default());
    }
    let way_out = tls::way_out(error, TLS_NAMES);
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}{way_out}"))
}
