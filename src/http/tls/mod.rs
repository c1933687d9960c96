//! TLS from the clients: certificates and keys from PEM files, TLS 1.2 and 1.3 with forward secrecy only, HTTP/2 and HTTP/1.1 by ALPN,
//! several certificates by name, client certificates where they are asked for, and all of it again whenever the files change (R120).
//!
//! ```text
//! certificate  one with its key; which of several a client gets
//! validity     from when until when
//! reload       what is in use, and how it is replaced
//! ```
//!
//! Called by [`super::server`] at the start, by `worker` for each handshake, and by `config` and `cli` to check files.

mod certificate;
mod reload;
mod validity;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

pub use self::certificate::CertificateFacts;
use self::certificate::{BySni, Certificate};
pub use self::reload::Reload;
pub(super) use self::reload::{LiveConfig, TlsListeners};
pub use self::validity::{Standing, Validity};
use super::settings::{ClientAuth, ClientCertificates, ListenerTls, TlsFiles};
use crate::net::pem::{PemError, PemFiles};

/// A certificate or key is of no use. Its text names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// A file by itself.
    #[error(transparent)]
    File(#[from] PemError),
    /// The key is another certificate's.
    #[error("the key {key} is not the key of the certificate {cert}")]
    Mismatched {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The certificate cannot be read, or its key is of a kind that is not supported.
    #[error("the certificate {cert} and its key cannot be used")]
    Unusable {
        /// The certificate.
        cert: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// No client could ever ask for it.
    #[error("{cert} is for no DNS name, and only the first certificate of a listener may be")]
    Nameless {
        /// The certificate.
        cert: PathBuf,
    },
    /// The CA for client certificates.
    #[error("{ca} cannot be used to judge client certificates")]
    ClientCa {
        /// Its file.
        ca: PathBuf,
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What a certificate with its key is good for, or what is wrong with the two. Blocks.
pub fn check_pair(files: &TlsFiles) -> Result<CertificateFacts, TlsFileError> {
    let read = PemFiles::read([files.cert.as_path(), files.key.as_path()]);
    Ok(Certificate::of(files, &read, &rustls::crypto::aws_lc_rs::default_provider())?.facts)
}

/// Every file that a listener's TLS is made of.
fn paths(tls: &ListenerTls) -> impl Iterator<Item = &Path> {
    let pairs = tls.certificates().flat_map(|files| [files.cert.as_path(), files.key.as_path()]);
    pairs.chain(tls.clients.iter().map(|clients| clients.ca.as_path()))
}

/// What a listener with TLS needs for its handshakes, and what can be told of its certificates.
fn server_config(
    tls: &ListenerTls,
    read: &PemFiles,
) -> Result<(Arc<ServerConfig>, Vec<CertificateFacts>), TlsFileError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let default = Certificate::of(&tls.default, read, &provider)?;
    let mut also = Vec::with_capacity(tls.also.len());
    for files in &tls.also {
        let certificate = Certificate::of(files, read, &provider)?;
        if certificate.facts.names.is_empty() {
            return Err(TlsFileError::Nameless { cert: files.cert.clone() });
        }
        also.push(certificate);
    }
    // TLS 1.2 only with ECDHE and an AEAD, and 1.3: the library has nothing else. No compression, no renegotiation, no early data.
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsFileError::Setup)?;
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(ClientCertificates { ca, demand }) => {
            let roots = Arc::new(read.roots(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match demand {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let unusable = |source| TlsFileError::ClientCa { ca: ca.clone(), source };
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(BySni::new(&default, &also)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if tls.clients.is_some() {
        // A resumed session is not verified again: a client whose certificate has expired, or whose CA was taken away, would be let
        // in for as long as its ticket lasts.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        // Resumption without server-side state, under keys that are made here and rotated by the library every six hours.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsFileError::Setup)?;
    }
    let facts = std::iter::once(default).chain(also).map(|certificate| certificate.facts).collect();
    Ok((Arc::new(config), facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        directory: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().expect("a directory") }
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        }

        fn pair(&self, name: &str, cert: &str, key: &str) -> TlsFiles {
            TlsFiles { cert: self.write(&format!("{name}.pem"), cert), key: self.write(&format!("{name}.key"), key) }
        }
    }

    fn load(tls: &ListenerTls) -> Result<Vec<CertificateFacts>, TlsFileError> {
        server_config(tls, &PemFiles::read(paths(tls))).map(|(_, facts)| facts)
    }

    fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_with_its_key_is_taken_and_with_anothers_is_not() {
        let (files, (cert, key), (_, other)) = (Files::new(), made("localhost"), made("localhost"));
        let good = files.pair("good", &cert, &key);
        assert_eq!(load(&good.clone().into()).expect("a pair")[0].names, ["localhost"]);
        let bad = files.pair("bad", &cert, &other);
        let error = load(&bad.clone().into()).expect_err("another's key");
        assert!(matches!(error, TlsFileError::Mismatched { .. }), "{error}");
        assert!(error.to_string().contains("bad.key") && error.to_string().contains("bad.pem"), "{error}");
        // One that is bad spoils the good ones with it: they come and go together.
        let both = ListenerTls { also: vec![bad], ..ListenerTls::from(good) };
        assert!(matches!(load(&both), Err(TlsFileError::Mismatched { .. })));
    }

    #[test]
    fn files_without_what_is_wanted_are_named() {
        let (cert, key) = made("localhost");
        let files = Files::new();
        for (cert, key, named) in
            [("", key.as_str(), "tls.pem"), (&cert, "", "tls.key"), (&cert, "nonsense", "tls.key")]
        {
            let error = load(&files.pair("tls", cert, key).into()).expect_err("nothing to be taken");
            assert!(error.to_string().contains(named), "{error}");
        }
        let gone = files.pair("tls", &cert, &key);
        drop(files);
        let error = load(&gone.into()).expect_err("nothing to be taken");
        assert!(matches!(error, TlsFileError::File(PemError::Unreadable { .. })), "{error}");
    }

    #[test]
    fn a_further_certificate_without_a_name_is_refused() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let nameless = rcgen::CertificateParams::new(vec![]).expect("parameters").self_signed(&key).expect("made");
        let (files, (cert, own)) = (Files::new(), made("localhost"));
        let nameless = files.pair("nameless", &nameless.pem(), &key.serialize_pem());
        assert!(load(&nameless.clone().into()).is_ok(), "alone it serves whoever comes");
        let both = ListenerTls { also: vec![nameless], ..ListenerTls::from(files.pair("named", &cert, &own)) };
        assert!(matches!(load(&both), Err(TlsFileError::Nameless { .. })));
    }

    #[test]
    fn a_listener_that_asks_for_client_certificates_resumes_nothing() {
        let (files, (cert, key)) = (Files::new(), made("localhost"));
        let own = ListenerTls::from(files.pair("own", &cert, &key));
        let ca = files.write("ca.pem", &cert);
        let asking =
            ListenerTls { clients: Some(ClientCertificates { ca, demand: ClientAuth::Optional }), ..own.clone() };
        let config = |tls: &ListenerTls| server_config(tls, &PemFiles::read(paths(tls))).expect("files").0;
        let (open, asking) = (config(&own), config(&asking));
        assert!(open.ticketer.enabled() && open.send_tls13_tickets > 0);
        assert!(!asking.ticketer.enabled() && asking.send_tls13_tickets == 0 && !asking.session_storage.can_cache());
        assert_eq!((open.max_early_data_size, asking.max_early_data_size), (0, 0));
    }
}
