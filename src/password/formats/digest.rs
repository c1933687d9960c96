//! The fast digests that formats are made of, and HMAC over each. MD5 comes of its own crate, the SHA family of AWS-LC.
//!
//! Inputs are put together first and hashed in one go: repeated a million times, that is what counts.

use std::ops::Deref;

use md5::Digest as _;
use zeroize::{Zeroize as _, Zeroizing};

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// What came out; overwritten when dropped.
pub(super) struct Output {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

const MAX_BYTES: usize = 64;

impl Algorithm {
    pub(super) const ALL: [Self; 6] = [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The only one whose digests have so many bytes.
    pub(super) fn of_len(bytes: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.output_len() == bytes)
    }

    pub(super) fn output_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn block_len(self) -> usize {
        match self {
            Self::Md5 | Self::Sha1 | Self::Sha224 | Self::Sha256 => 64,
            Self::Sha384 | Self::Sha512 => 128,
        }
    }

    /// The digest of these bytes.
    pub(super) fn of(self, input: &[u8]) -> Output {
        use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA224, SHA256, SHA384, SHA512, digest};
        match self {
            Self::Md5 => Output::new(&md5::Md5::digest(input)),
            Self::Sha1 => Output::new(digest(&SHA1_FOR_LEGACY_USE_ONLY, input).as_ref()),
            Self::Sha224 => Output::new(digest(&SHA224, input).as_ref()),
            Self::Sha256 => Output::new(digest(&SHA256, input).as_ref()),
            Self::Sha384 => Output::new(digest(&SHA384, input).as_ref()),
            Self::Sha512 => Output::new(digest(&SHA512, input).as_ref()),
        }
    }

    /// The digest of several parts, one behind the other.
    pub(super) fn of_parts(self, parts: &[&[u8]]) -> Output {
        self.of(&Zeroizing::new(parts.concat()))
    }

    /// HMAC (RFC 2104).
    pub(super) fn hmac(self, key: &[u8], message: &[u8]) -> Output {
        let mut block = Zeroizing::new([0; 128]);
        let shortened = (key.len() > self.block_len()).then(|| self.of(key));
        let key = shortened.as_deref().unwrap_or(key);
        for (slot, byte) in block.iter_mut().zip(key) {
            *slot = *byte;
        }
        let padded = |with: u8| -> Zeroizing<Vec<u8>> {
            Zeroizing::new(block.iter().take(self.block_len()).map(|byte| byte ^ with).collect())
        };
        let inner = self.of_parts(&[&padded(0x36), message]);
        self.of_parts(&[&padded(0x5c), &inner])
    }
}

impl Output {
    fn new(digest: &[u8]) -> Self {
        let mut bytes = [0; MAX_BYTES];
        for (slot, byte) in bytes.iter_mut().zip(digest) {
            *slot = *byte;
        }
        Self { bytes, len: digest.len().min(MAX_BYTES) }
    }

    pub(super) fn to_vec(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(<[u8]>::to_vec(self))
    }
}

impl Deref for Output {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::to_hex;
    use super::*;

    #[test]
    fn digests_are_those_of_their_specifications() {
        // RFC 1321, appendix A.5, and FIPS 180-4's "abc".
        for (algorithm, expected) in [
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Sha224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                Algorithm::Sha384,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                Algorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            assert_eq!(to_hex(&algorithm.of(b"abc")).as_str(), expected, "{algorithm:?}");
            assert_eq!(to_hex(&algorithm.of_parts(&[b"a", b"", b"bc"])).as_str(), expected, "{algorithm:?}");
            assert_eq!(algorithm.output_len() * 2, expected.len());
            assert_eq!(Algorithm::of_len(expected.len() / 2), Some(algorithm));
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
        }
    }

    #[test]
    fn hmac_is_that_of_its_specifications() {
        // RFC 2202, section 2, case 2, and RFC 4231, cases 2 and 6: a short key, and one longer than a block.
        let (key, message) = (b"Jefe", b"what do ya want for nothing?");
        assert_eq!(to_hex(&Algorithm::Md5.hmac(key, message)).as_str(), "750c783e6ab0b503eaa86e310a5db738");
        assert_eq!(
            to_hex(&Algorithm::Sha256.hmac(key, message)).as_str(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            to_hex(&Algorithm::Sha512.hmac(&[0xaa; 131], message)).as_str(),
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"
        );
    }
}
