//! Certificates of every kind: CAs of a test's own, what they issue, and both ends of TLS made of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use authferry::domain::clock::{Clock as _, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A CA.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// From when until when a certificate is good.
#[derive(Clone, Copy)]
pub(crate) enum When {
    Now,
    Past,
    Future,
    /// Now, and for ninety days.
    Shortly,
}

impl Ca {
    /// Its name tells it from others: a CA of the same name with another key is another mistake.
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(vec![]).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.distinguished_name.push(DnType::CommonName, name);
        let pem = parameters.self_signed(&key).expect("a CA").pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_for(names, When::Now)
    }

    pub(crate) fn issue_for(&self, names: &[&str], when: When) -> Issued {
        self.issue_to(KeyPair::generate().expect("a key"), names, when)
    }

    /// For a key of some kind.
    pub(crate) fn issue_to(&self, key: KeyPair, names: &[&str], when: When) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.use_authority_key_identifier_extension = true;
        let day = |year| rcgen::date_time_ymd(year, 1, 1);
        (parameters.not_before, parameters.not_after) = match when {
            When::Now => (day(2020), day(2090)),
            When::Past => (day(2001), day(2002)),
            When::Future => (day(2089), day(2090)),
            When::Shortly => {
                // As a public CA makes them.
                parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                let now = day(1970) + Duration::from_secs(SystemClock.wall().0);
                (now - Duration::from_secs(3600), now + Duration::from_secs(90 * 86_400))
            }
        };
        let cert = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("a CA");
        Arc::new(roots)
    }
}

impl Issued {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("PEM")
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM")
    }

    /// Writes both files, one after the other.
    pub(crate) fn write(&self, cert: &Path, key: &Path) {
        std::fs::write(cert, &self.cert).expect("written");
        std::fs::write(key, &self.key).expect("written");
    }

    /// Writes `name.pem` and `name.key` into a folder.
    pub(crate) fn write_as(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        self.write(&cert, &key);
        (cert, key)
    }

    /// A server that shows it, and wants clients' certificates from a CA.
    pub(crate) fn server(&self, clients: Option<&Ca>) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(ca.roots(), provider).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            }
        };
        builder.with_single_cert(vec![self.der()], self.key()).expect("a pair")
    }
}

/// A client that trusts a CA and shows a certificate.
pub(crate) fn client(trusts: &Ca, shows: Option<&Issued>) -> ClientConfig {
    client_speaking(trusts, shows, rustls::ALL_VERSIONS)
}

pub(crate) fn client_speaking(
    trusts: &Ca,
    shows: Option<&Issued>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let builder = builder.with_root_certificates(trusts.roots());
    match shows {
        None => builder.with_no_client_auth(),
        Some(issued) => builder.with_client_auth_cert(vec![issued.der()], issued.key()).expect("a pair"),
    }
}

/// A handshake that asks for a name.
pub(crate) async fn shake_hands(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(client.clone()).connect(name, socket).await
}

/// The certificate that the server showed.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
}
