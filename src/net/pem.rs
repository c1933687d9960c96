//! Certificates and private keys in PEM files, for both sides of TLS. Several files are read as one snapshot, so that what is loaded is
//! what was compared; what is read is bounded, and wiped when it is dropped. Called by [`super::tls`] and by `http::tls`;
//! keeps no file open and never shows what stands in one.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use zeroize::Zeroizing;

/// More than any chain with its key; a bundle of public CAs has a quarter of it.
const MAX_BYTES: u64 = 1024 * 1024;

/// Files of a certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, PEM, the leaf first.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// A file is of no use. The text names it, and quotes nothing of what stands in it.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a folder, a pipe or a device, which could hold up whoever reads it.
    #[error("{path} is no regular file")]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// It is larger than what is read.
    #[error("{path} is larger than 1 MiB")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It is broken, or only half written.
    #[error("{path} holds a broken {wanted}: it is no valid PEM")]
    Broken {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// It holds nothing of the kind.
    #[error("{path} holds no {wanted} in PEM")]
    Missing {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// The key has a passphrase.
    #[error("{path} holds no private key that can be used: it is encrypted, and nobody is asked for a passphrase")]
    Encrypted {
        /// Which.
        path: PathBuf,
    },
    /// A certificate in it cannot be trusted in as a CA.
    #[error("{path} holds a certificate that is no usable CA")]
    NoAuthority {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// What some files held at one time.
pub struct PemFiles(BTreeMap<PathBuf, Result<Zeroizing<Vec<u8>>, Unread>>);

enum Unread {
    Io(io::Error),
    NotAFile,
    TooLarge,
}

impl PemFiles {
    /// Reads them all, each once; what could not be read is told when it is asked for. Blocks.
    pub fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut files = BTreeMap::new();
        for path in paths {
            files.entry(path.to_owned()).or_insert_with(|| read(path));
        }
        Self(files)
    }

    /// A value that is another one when any of the files is. Says nothing else about them.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut all = digest::Context::new(&digest::SHA256);
        for file in self.0.values() {
            // A length first, so that bytes cannot move from one file to the next unseen.
            let (kind, length, bytes): (u8, usize, &[u8]) = match file {
                Ok(bytes) => (0, bytes.len(), bytes),
                Err(Unread::TooLarge) => (1, 0, &[]),
                Err(Unread::Io(error)) if error.kind() == io::ErrorKind::NotFound => (2, 0, &[]),
                Err(Unread::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => (3, 0, &[]),
                Err(Unread::Io(_)) => (4, 0, &[]),
                Err(Unread::NotAFile) => (5, 0, &[]),
            };
            all.update(&[kind]);
            all.update(&length.to_be_bytes());
            all.update(bytes);
        }
        let mut value = [0; 32];
        for (to, from) in value.iter_mut().zip(all.finish().as_ref()) {
            *to = *from;
        }
        value
    }

    /// The certificates of a file in order, at least one.
    pub fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
        const WANTED: &str = "certificate";
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(self.bytes(path)?)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(path, WANTED, &error))?;
        if certificates.is_empty() {
            return Err(PemError::Missing { path: path.to_owned(), wanted: WANTED });
        }
        Ok(certificates)
    }

    /// The first private key of a file.
    pub fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
        let bytes = self.bytes(path)?;
        PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
            let is_encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
                .iter()
                .any(|mark| bytes.windows(mark.len()).any(|window| window == *mark));
            if is_encrypted {
                PemError::Encrypted { path: path.to_owned() }
            } else {
                fault(path, "private key", &error)
            }
        })
    }

    /// The certificates of a file as those that are trusted to issue others.
    pub fn roots(&self, path: &Path) -> Result<RootCertStore, PemError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(path)? {
            roots.add(certificate).map_err(|source| PemError::NoAuthority { path: path.to_owned(), source })?;
        }
        Ok(roots)
    }

    fn bytes(&self, path: &Path) -> Result<&[u8], PemError> {
        let path = path.to_owned();
        match self.0.get(&path) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(Unread::TooLarge)) => Err(PemError::TooLarge { path }),
            Some(Err(Unread::NotAFile)) => Err(PemError::NotAFile { path }),
            Some(Err(Unread::Io(error))) => {
                let again = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
                Err(PemError::Unreadable { path, source: again })
            }
            None => Err(PemError::Unreadable { path, source: io::ErrorKind::NotFound.into() }),
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unread> {
    // Opening a pipe would wait for whoever writes into it.
    let found = std::fs::metadata(path).map_err(Unread::Io)?;
    if !found.is_file() {
        return Err(Unread::NotAFile);
    }
    let file = std::fs::File::open(path).map_err(Unread::Io)?;
    // Read into the room that is there from the start: what a growing buffer leaves behind nobody wipes.
    let expected = found.len().min(MAX_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or_default() + 64));
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Unread::Io)?;
    if read as u64 > MAX_BYTES { Err(Unread::TooLarge) } else { Ok(bytes) }
}

/// The parser's own words may quote lines of the file, which may be a private key: only the kind of fault is told.
fn fault(path: &Path, wanted: &'static str, error: &pem::Error) -> PemError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => PemError::Missing { path, wanted },
        _ => PemError::Broken { path, wanted },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file.pem");
        std::fs::write(&path, text).expect("written");
        (directory, path)
    }

    fn snapshot(path: &Path) -> PemFiles {
        PemFiles::read([path])
    }

    #[test]
    fn a_half_written_file_is_told_from_one_that_holds_something_else_and_nothing_is_quoted() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let half = &key[..key.len() / 2];
        for (text, wanted) in [(half, "broken private key"), (&cert, "no private key"), ("", "no private key")] {
            let (_kept, path) = holding(text);
            let told = snapshot(&path).key(&path).expect_err("no key").to_string();
            assert!(told.contains(wanted) && told.contains("file.pem") && !told.contains(&key[40..60]), "{told}");
        }
        let (_kept, path) = holding(&cert[..cert.len() / 2]);
        assert!(matches!(snapshot(&path).certificates(&path), Err(PemError::Broken { .. })));
        let (_kept, path) =
            holding("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
        assert!(matches!(snapshot(&path).key(&path), Err(PemError::Encrypted { .. })));
    }

    #[test]
    fn a_digest_changes_with_what_a_file_holds_and_with_whether_it_is_there() {
        let (kept, path) = holding("one");
        let one = snapshot(&path).digest();
        assert_eq!(snapshot(&path).digest(), one);
        std::fs::write(&path, "two").expect("written");
        let two = snapshot(&path).digest();
        assert_ne!(two, one);
        drop(kept);
        let gone = snapshot(&path);
        assert!(gone.digest() != one && gone.digest() != two);
        assert!(matches!(gone.certificates(&path), Err(PemError::Unreadable { .. })));
    }

    #[test]
    fn what_is_too_large_or_no_ca_is_refused() {
        let (_kept, path) = holding(&"x".repeat(usize::try_from(MAX_BYTES).expect("small") + 1));
        assert!(matches!(snapshot(&path).certificates(&path), Err(PemError::TooLarge { .. })));
        let (_kept, path) = holding("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(matches!(snapshot(&path).roots(&path), Err(PemError::NoAuthority { .. })));
        let folder = path.parent().expect("a folder");
        assert!(matches!(snapshot(folder).roots(folder), Err(PemError::NotAFile { .. })));
        let (_kept, path) = holding("no pem");
        assert!(matches!(snapshot(&path).roots(&path), Err(PemError::Missing { .. })));
    }
}
