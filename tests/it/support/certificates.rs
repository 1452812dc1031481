//! An authority to throw away, and the certificates that it signs.

use std::path::{Path, PathBuf};

use holdfast::private_file;
use holdfast::tls::ClientFiles;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// An authority that nobody else trusts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub pem: String,
}

/// A certificate and its key, both PEM.
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// Its private key, without a pass phrase.
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a server of this name.
    pub fn server(&self, name: &str) -> Signed {
        self.sign(&named(name, ExtendedKeyUsagePurpose::ServerAuth))
    }

    /// One that has been over for years.
    pub fn expired_server(&self, name: &str) -> Signed {
        let mut params = named(name, ExtendedKeyUsagePurpose::ServerAuth);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }

    /// A certificate for a client of this name.
    pub fn client(&self, name: &str) -> Signed {
        self.sign(&named(name, ExtendedKeyUsagePurpose::ClientAuth))
    }

    fn sign(&self, params: &CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Its own certificate as a file.
    pub fn file(&self, directory: &Path, name: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, &self.pem).unwrap();
        path
    }
}

impl Signed {
    /// As files, the key for nobody else to read.
    pub fn files(&self, directory: &Path, name: &str) -> ClientFiles {
        let (certificate, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}-key.pem")));
        std::fs::write(&certificate, &self.certificate).unwrap();
        private_file::write(&key, &self.key).unwrap();
        ClientFiles { certificate, key }
    }
}

fn named(name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    params
}
