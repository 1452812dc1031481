//! What refuses a TLS connection, in words that name the way out; and who we are to a server that asks.
//!
//! The broker's client and the ledger's bring their own connections, with one implementation below them
//! (rustls), whose errors are found inside theirs.

#![expect(clippy::wildcard_enum_match_arm, reason = "the errors of rustls are many, and more are to come")]

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError};

/// The settings that a way out names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    /// Where the authorities are named.
    pub(crate) authorities: &'static str,
    /// Where our own certificate and its key are named.
    pub(crate) identity: &'static str,
}

/// The way out of an error, to be appended to its text; empty where it is not of TLS.
pub(crate) fn way_out(error: &(dyn Error + 'static), names: Names) -> String {
    advice(error, names).map(|text| format!("; {text}")).unwrap_or_default()
}

fn advice(error: &(dyn Error + 'static), names: Names) -> Option<String> {
    match find(error)? {
        rustls::Error::InvalidCertificate(fault) => of_their_certificate(fault, names),
        rustls::Error::AlertReceived(alert) => of_our_certificate(*alert, names),
        _ => None,
    }
}

/// What we think of the server's certificate.
fn of_their_certificate(fault: &CertificateError, names: Names) -> Option<String> {
    let text = match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it there, or put this machine's clock right".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: put this machine's clock right".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is of another name: connect by a name that is in it, or have one made for this name"
                .to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "no authority that is trusted here has signed the server's certificate: name the PEM file of its authority in {}",
            names.authorities
        ),
        _ => return None,
    };
    Some(text)
}

/// What the server thinks of ours (RFC 8446, 6.2).
fn of_our_certificate(alert: AlertDescription, names: Names) -> Option<String> {
    let identity = names.identity;
    match alert {
        AlertDescription::CertificateRequired => {
            Some(format!("the server wants a certificate of ours: name it and its key in {identity}"))
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown => Some(format!(
            "the server does not accept our certificate: have one signed by an authority that the server trusts, and name it in {identity}"
        )),
        // TLS 1.2 has no alert of its own for a certificate that is missing.
        AlertDescription::HandshakeFailure => Some(format!(
            "the server refused the handshake: it may want a certificate of ours, to be named in {identity}"
        )),
        _ => None,
    }
}

/// The error of rustls inside another. An [`io::Error`] does not tell what it carries as its source.
fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>() {
            Some(carrier) => carrier.get_ref().map(|inner| -> &'e (dyn Error + 'static) { inner }),
            None => error.source(),
        };
    }
    None
}

/// The files of our certificate and of its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate, and what leads from it to its authority.
    pub certificate: PathBuf,
    /// Its private key, without a pass phrase.
    pub key: PathBuf,
}

/// Our certificate with what leads to its authority, and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl ClientFiles {
    /// Reads both.
    ///
    /// # Errors
    /// Which file cannot be used and why, with nothing of what is in it.
    pub(crate) fn read(&self) -> Result<Identity, String> {
        let unusable = |path: &Path, why: String| format!("{} cannot be used: {why}", path.display());
        let of_certificate = |error: rustls::pki_types::pem::Error| unusable(&self.certificate, error.to_string());
        let chain = CertificateDer::pem_file_iter(&self.certificate).map_err(of_certificate)?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(of_certificate)?;
        if chain.is_empty() {
            return Err(unusable(&self.certificate, "no certificate is in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| {
            let why = match error {
                rustls::pki_types::pem::Error::Io(error) => error.to_string(),
                _ => "no private key without a pass phrase is in it".to_owned(),
            };
            unusable(&self.key, why)
        })?;
        Ok((chain, key))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const NAMES: Names = Names { authorities: "ca_file", identity: "client_cert_file" };

    #[test]
    fn every_refusal_has_its_way_out_however_deep_it_is_carried() {
        let certificate = |fault| rustls::Error::InvalidCertificate(fault);
        for (error, word) in [
            (certificate(CertificateError::Expired), "renew it"),
            (certificate(CertificateError::NotValidYet), "clock"),
            (certificate(CertificateError::NotValidForName), "another name"),
            (certificate(CertificateError::UnknownIssuer), "ca_file"),
            (rustls::Error::AlertReceived(AlertDescription::CertificateRequired), "client_cert_file"),
            (rustls::Error::AlertReceived(AlertDescription::UnknownCA), "does not accept our certificate"),
            (rustls::Error::AlertReceived(AlertDescription::HandshakeFailure), "client_cert_file"),
        ] {
            let carried = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
            let deeper = lapin::Error::from(lapin::ErrorKind::IOError(Arc::new(carried)));
            let text = way_out(&deeper, NAMES);
            assert!(text.starts_with("; ") && text.contains(word), "{text}");
        }
        assert_eq!(way_out(&io::Error::other("reset"), NAMES), "");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_without_its_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = ClientFiles { certificate: directory.path().join("c"), key: directory.path().join("k") };
        assert!(files.read().expect_err("absent").contains("/c cannot be used"));
        std::fs::write(&files.certificate, "hunter2").expect("written");
        assert!(files.read().expect_err("no certificate").contains("no certificate is in it"));
        let made = rcgen::generate_simple_self_signed(["x".to_owned()]).expect("a certificate");
        std::fs::write(&files.certificate, made.cert.pem()).expect("written");
        std::fs::write(&files.key, "hunter2").expect("written");
        let why = files.read().expect_err("no key");
        assert!(why.contains("/k cannot be used") && !why.contains("hunter2"), "{why}");
        std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
        assert_eq!(files.read().expect("both are usable").0.len(), 1);
    }
}
