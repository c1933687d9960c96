//! A certificate with its key, ready for handshakes, and what an operator wants to know of it. Several are told apart by the name that a
//! client asks for (SNI, RFC 6066 section 3). Made by [`super`] from files; decides nothing about clients.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsFileError;
use super::validity::Validity;
use crate::net::pem::{PemFiles, TlsFiles};

/// A certificate whose key is its own.
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) facts: CertificateFacts,
}

/// What can be known of a certificate in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its file.
    pub cert: PathBuf,
    /// The DNS names that it is for, lower case, wildcards included.
    pub names: Vec<String>,
    /// Its time.
    pub validity: Validity,
}

impl CertificateFacts {
    /// The names as a line shows them.
    #[must_use]
    pub fn shown_names(&self) -> String {
        const MOST: usize = 8;
        if self.names.is_empty() {
            return "no DNS name".to_owned();
        }
        let first: Vec<&str> = self.names.iter().take(MOST).map(String::as_str).collect();
        let more = match self.names.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        first.join(", ") + &more
    }
}

impl Certificate {
    pub(super) fn of(files: &TlsFiles, read: &PemFiles, provider: &CryptoProvider) -> Result<Self, TlsFileError> {
        let chain = read.certificates(&files.cert)?;
        let key = read.key(&files.key)?;
        let unusable = |source| TlsFileError::Unusable { cert: files.cert.clone(), source };
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsFileError::Mismatched { cert: files.cert.clone(), key: files.key.clone() }
            }
            other => unusable(other),
        })?;
        let leaf = certified.end_entity_cert().map_err(unusable)?;
        let parsed = webpki::EndEntityCert::try_from(leaf)
            .map_err(|_| unusable(rustls::CertificateError::BadEncoding.into()))?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let validity = Validity::of(leaf).ok_or_else(|| unusable(rustls::CertificateError::BadEncoding.into()))?;
        let facts = CertificateFacts { cert: files.cert.clone(), names, validity };
        Ok(Self { key: Arc::new(certified), facts })
    }
}

/// The certificates of a listener by name. Whoever names nobody, or somebody unknown, gets the first: a handshake that fails for the
/// name alone would tell less, and clients that check the name refuse it themselves.
pub(super) struct BySni {
    default: Arc<CertifiedKey>,
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what stands after `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl BySni {
    pub(super) fn new<'a>(default: &'a Certificate, also: impl IntoIterator<Item = &'a Certificate>) -> Self {
        let mut by_sni = Self { default: default.key.clone(), exact: HashMap::default(), wildcard: HashMap::default() };
        for certificate in std::iter::once(default).chain(also) {
            for name in &certificate.facts.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_sni.wildcard, parent),
                    None => (&mut by_sni.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(certificate.key.clone());
            }
        }
        by_sni
    }

    /// The name itself goes before a wildcard, a wildcard before the default; among several of a kind (as RSA beside ECDSA) the first
    /// whose key the client can judge.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> &Arc<CertifiedKey> {
        let name = name.map(str::to_ascii_lowercase);
        let exact = name.as_deref().and_then(|name| self.exact.get(name));
        // A wildcard stands for exactly one label (RFC 9525, section 6.3).
        let parent = name.as_deref().and_then(|name| name.split_once('.')).map(|(_, parent)| parent);
        let wildcard = parent.and_then(|parent| self.wildcard.get(parent));
        let mut fitting = exact.into_iter().chain(wildcard).flatten().chain([&self.default]);
        fitting.find(|key| key.key.choose_scheme(schemes).is_some()).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name(), hello.signature_schemes()).clone())
    }
}

impl fmt::Debug for BySni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BySni").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

    fn certificate(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> Certificate {
        let directory = tempfile::tempdir().expect("a directory");
        let files = TlsFiles { cert: directory.path().join("tls.pem"), key: directory.path().join("tls.key") };
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let parameters = rcgen::CertificateParams::new(names).expect("names");
        std::fs::write(&files.cert, parameters.self_signed(&key).expect("a certificate").pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        let read = PemFiles::read([files.cert.as_path(), files.key.as_path()]);
        Certificate::of(&files, &read, &rustls::crypto::aws_lc_rs::default_provider()).expect("a certificate")
    }

    #[test]
    fn r120_a_name_goes_before_a_wildcard_and_a_wildcard_before_the_default() {
        let ecdsa = &rcgen::PKCS_ECDSA_P256_SHA256;
        let first = certificate(&["first.example"], ecdsa);
        let wild = certificate(&["*.wild.example", "Other.Example"], ecdsa);
        let exact = certificate(&["a.wild.example"], ecdsa);
        let by_sni = BySni::new(&first, [&wild, &exact]);
        for (name, expected) in [
            (None, &first),
            (Some("first.example"), &first),
            (Some("unknown.example"), &first),
            (Some("a.wild.example"), &exact),
            (Some("b.wild.example"), &wild),
            (Some("B.WILD.example"), &wild),
            (Some("other.example"), &wild),
            (Some("a.b.wild.example"), &first),
            (Some("wild.example"), &first),
            (Some(""), &first),
        ] {
            assert!(Arc::ptr_eq(by_sni.choose(name, ANY), &expected.key), "{name:?}");
        }
    }

    #[test]
    fn of_two_certificates_for_a_name_a_client_gets_the_one_that_it_can_judge() {
        let ecdsa = certificate(&["app.example"], &rcgen::PKCS_ECDSA_P256_SHA256);
        let ed25519 = certificate(&["app.example"], &rcgen::PKCS_ED25519);
        let by_sni = BySni::new(&ecdsa, [&ed25519]);
        let chosen = |schemes: &[SignatureScheme]| by_sni.choose(Some("app.example"), schemes).clone();
        assert!(Arc::ptr_eq(&chosen(ANY), &ecdsa.key));
        assert!(Arc::ptr_eq(&chosen(&[SignatureScheme::ED25519]), &ed25519.key));
        assert!(Arc::ptr_eq(&chosen(&[SignatureScheme::RSA_PSS_SHA256]), &ecdsa.key), "the handshake then says why");
    }

    #[test]
    fn names_are_shown_up_to_a_number() {
        let names = |count| CertificateFacts {
            cert: PathBuf::new(),
            names: (0..count).map(|at| format!("n{at}")).collect(),
            validity: Validity {
                not_before: crate::domain::clock::UnixSeconds(0),
                not_after: crate::domain::clock::UnixSeconds(0),
            },
        };
        assert_eq!(names(0).shown_names(), "no DNS name");
        assert_eq!(names(2).shown_names(), "n0, n1");
        assert!(names(10).shown_names().ends_with("n7 and 2 more"));
    }
}
