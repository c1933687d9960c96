//! What outbound TLS trusts and shows: the machine's roots, or an operator's own CA in their place, and a client certificate where the
//! other side wants one. There is no way to switch the verification off (R121). Called when the application is put together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, client::WantsClientCert};

use super::error::Cause;
use super::pem::{PemError, PemFiles, TlsFiles};
use crate::telemetry::WithCauses;

/// `tls` of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Trusted in place of the machine's roots: a private CA is then the only one that can speak for the target. PEM.
    pub ca: Option<PathBuf>,
    /// What we show when we are asked who we are.
    pub identity: Option<TlsFiles>,
    /// The name that the certificate has to be for, and that is asked for (SNI), where it is not the host of the URL.
    pub server_name: Option<ServerName<'static>>,
}

/// Why outbound TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA certificates are no PEM, or hold none.
    #[error("the CA certificates cannot be read")]
    Ca(#[source] Cause),
    /// A file is of no use.
    #[error(transparent)]
    File(#[from] PemError),
    /// The client certificate and its key do not belong together, or the key is of a kind that is not supported.
    #[error("the client certificate {cert} and the key {key} cannot be used together")]
    Identity {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Neither the system nor the operator names anybody to trust.
    #[error("there is no root certificate: neither the system nor the configuration has one")]
    NoRoots,
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Trusts and shows what the settings say. Reads their files, and without a CA of their own the machine's roots. Blocks.
pub fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    let TlsSettings { ca, identity, server_name: _ } = settings;
    let pair = identity.iter().flat_map(|files| [files.cert.as_path(), files.key.as_path()]);
    let files = PemFiles::read(ca.iter().map(PathBuf::as_path).chain(pair));
    let roots = match ca {
        Some(ca) => files.roots(ca)?,
        None => machine_roots()?,
    };
    let builder = trusting(roots)?;
    Ok(finished(match identity {
        None => builder.with_no_client_auth(),
        Some(TlsFiles { cert, key }) => {
            let unusable = |source| TlsError::Identity { cert: cert.clone(), key: key.clone(), source };
            builder.with_client_auth_cert(files.certificates(cert)?, files.key(key)?).map_err(unusable)?
        }
    }))
}

/// Trusts those in `ca_pem` and nobody else: for targets with a private CA.
pub fn client_config_with_only(ca_pem: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate.map_err(|error| TlsError::Ca(error.into()))?;
        roots.add(certificate).map_err(|error| TlsError::Ca(error.into()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Ca("it holds no certificate".into()));
    }
    Ok(finished(trusting(roots)?.with_no_client_auth()))
}

/// Trusts nobody: for targets that are not `https`, where it is never looked at. A system without root certificates is then no
/// obstacle.
pub fn client_config_trusting_nobody() -> Result<Arc<ClientConfig>, TlsError> {
    Ok(finished(trusting(RootCertStore::empty())?.with_no_client_auth()))
}

/// What is wrong with a file of CA certificates, if anything is. Blocks.
pub fn check_ca(ca: &Path) -> Result<(), PemError> {
    PemFiles::read([ca]).roots(ca).map(drop)
}

fn machine_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(error = %WithCauses(error), "a root certificate of the system was left out");
    }
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

fn trusting(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(TlsError::Setup)?.with_root_certificates(roots))
}

fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = directory.path().join("ca.pem");
        for pem in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(client_config_with_only(pem), Err(TlsError::Ca(_))));
            std::fs::write(&ca, pem).expect("written");
            let settings = TlsSettings { ca: Some(ca.clone()), ..TlsSettings::default() };
            assert!(matches!(client_config(&settings), Err(TlsError::File(_))));
            assert!(check_ca(&ca).is_err());
        }
    }

    #[test]
    fn a_ca_of_the_operators_own_is_taken_and_a_client_certificate_only_with_its_own_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let made = rcgen::generate_simple_self_signed(["client".to_owned()]).expect("a certificate");
        let ca = at("ca.pem", made.cert.pem());
        let (cert, key) = (at("client.pem", made.cert.pem()), at("client.key", made.signing_key.serialize_pem()));
        let other = at("other.key", rcgen::KeyPair::generate().expect("a key").serialize_pem());
        let with = |key| TlsSettings {
            ca: Some(ca.clone()),
            identity: Some(TlsFiles { cert: cert.clone(), key }),
            server_name: None,
        };
        assert!(client_config(&with(key)).is_ok());
        assert!(matches!(client_config(&with(other)), Err(TlsError::Identity { .. })));
        assert!(client_config_with_only(made.cert.pem().as_bytes()).is_ok());
    }
}
