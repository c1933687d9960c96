//! TLS from the clients: certificate and key from PEM files, TLS 1.2 and 1.3 with forward secrecy only, HTTP/2 and HTTP/1.1 by ALPN
//! (R120). Called once for each listener at the start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

use super::settings::TlsFiles;

/// A certificate or key is of no use. Its text names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It cannot be read, or is no PEM.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds nothing of the kind.
    #[error("{path} holds no {wanted} in PEM")]
    Missing {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// They do not belong together, or the key is of a kind that is not supported.
    #[error("the certificate and the key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

/// What a listener with TLS needs for its handshakes.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsFileError> {
    let chain = certificates(&files.cert)?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| fault(&files.key, "private key", error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsFileError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsFileError::Unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Resumption without server-side state: tickets under keys that are made at the start and rotated by rustls.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsFileError::Unusable)?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(path, "certificate", error))?;
    if certificates.is_empty() {
        return Err(TlsFileError::Missing { path: path.to_owned(), wanted: "certificate" });
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    std::fs::read(path).map_err(|source| TlsFileError::Unreadable { path: path.to_owned(), source })
}

fn fault(path: &Path, wanted: &'static str, error: pem::Error) -> TlsFileError {
    if matches!(error, pem::Error::NoItemsFound) {
        return TlsFileError::Missing { path: path.to_owned(), wanted };
    }
    // The text of a PEM error may quote lines of the file, which is a private key: only its kind is told.
    let source = io::Error::new(io::ErrorKind::InvalidData, "it is no valid PEM");
    TlsFileError::Unreadable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(cert: &str, key: &str) -> (tempfile::TempDir, TlsFiles) {
        let directory = tempfile::tempdir().expect("a directory");
        let files = TlsFiles { cert: directory.path().join("tls.pem"), key: directory.path().join("tls.key") };
        std::fs::write(&files.cert, cert).expect("written");
        std::fs::write(&files.key, key).expect("written");
        (directory, files)
    }

    #[test]
    fn a_certificate_with_its_key_is_taken_and_with_anothers_is_not() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let other = rcgen::KeyPair::generate().expect("a key");
        let (_kept, good) = files(&own.cert.pem(), &own.signing_key.serialize_pem());
        assert!(server_config(&good).is_ok());
        let (_kept, bad) = files(&own.cert.pem(), &other.serialize_pem());
        assert!(matches!(server_config(&bad), Err(TlsFileError::Unusable(_))));
    }

    #[test]
    fn files_without_what_is_wanted_are_named() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        for (cert, key, named) in
            [("", key.as_str(), "tls.pem"), (&cert, "", "tls.key"), (&cert, "nonsense", "tls.key")]
        {
            let (_kept, bad) = files(cert, key);
            let error = server_config(&bad).expect_err("nothing to be taken");
            assert!(error.to_string().contains(named), "{error}");
        }
        let (kept, gone) = files(&cert, &key);
        drop(kept);
        assert!(matches!(server_config(&gone), Err(TlsFileError::Unreadable { .. })));
    }
}
