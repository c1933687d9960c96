//! What outbound TLS trusts: the system's roots, and an operator's own CA where one is given. There is no way to switch the
//! verification off (R121). Called when the application is put together.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::Cause;
use crate::telemetry::WithCauses;

/// Why outbound TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The extra CA file is no PEM, or holds no certificate.
    #[error("the CA certificates cannot be read")]
    Ca(#[source] Cause),
    /// Neither the system nor the operator names anybody to trust.
    #[error("there is no root certificate: neither the system nor the configuration has one")]
    NoRoots,
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Trusts the system's roots, and those in `extra_ca_pem` besides.
pub fn client_config(extra_ca_pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(error = %WithCauses(error), "a root certificate of the system was left out");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(pem) = extra_ca_pem {
        add_ca(&mut roots, pem)?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    trusting(roots)
}

/// Trusts those in `ca_pem` and nobody else: for targets with a private CA.
pub fn client_config_with_only(ca_pem: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    add_ca(&mut roots, ca_pem)?;
    trusting(roots)
}

/// Trusts nobody: for targets that are not `https`, where it is never looked at. A system without root certificates is then no
/// obstacle.
pub fn client_config_trusting_nobody() -> Result<Arc<ClientConfig>, TlsError> {
    trusting(RootCertStore::empty())
}

fn add_ca(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), TlsError> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsError::Ca(error.into()))?;
        roots.add(certificate).map_err(|error| TlsError::Ca(error.into()))?;
    }
    if roots.len() == before { Err(TlsError::Ca("it holds no certificate".into())) } else { Ok(()) }
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        for pem in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(client_config_with_only(pem), Err(TlsError::Ca(_))));
            assert!(matches!(client_config(Some(pem)), Err(TlsError::Ca(_))));
        }
    }

    #[test]
    fn a_ca_of_the_operators_own_is_taken() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let ca = rcgen::CertificateParams::new(vec![]).expect("parameters").self_signed(&key).expect("a certificate");
        assert!(client_config_with_only(ca.pem().as_bytes()).is_ok());
    }
}
