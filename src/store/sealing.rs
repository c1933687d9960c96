//! Sealing what is personal in a record (R102): AES-256-GCM-SIV under a key of the operator's, bound to whose record it is.
//!
//! Why this AEAD: nonces are random and of 96 bits, and a store that goes on for years, is copied, restored and run again from
//! an image may come to use one twice. GCM would then give its authentication key away, and so may be used 2^32 times with random
//! nonces (NIST SP 800-38D, section 8.3); GCM-SIV (RFC 8452) tells no more than that the same text was sealed twice for the same
//! user, so that nobody has to count.
//!
//! Knows nothing of records or tables; called by the store's adapters. Never prints a key or what it opened.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::keys::{KeyCheck, KeyId, KeyUse, NamedKey};

/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = NONCE_LEN;

/// Bytes that sealing adds at the end.
pub(super) const TAG_BYTES: usize = 16;

/// What the AEAD key is derived for.
const PURPOSE: &[u8] = b"authferry store seal 1";

/// The keys that profiles are and were sealed with. Shows nothing of them.
pub struct SealingKeys {
    keys: Vec<SealingKey>,
    /// Which of them seals; none where nothing is sealed any more.
    current: Option<usize>,
}

struct SealingKey {
    id: KeyId,
    key: RandomizedNonceKey,
    check: KeyCheck,
}

/// Why keys cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealingSetupError {
    /// The key that is to seal is not among them.
    #[error("the key to seal with is not among the keys")]
    NoSuchKey,
    /// The library refuses a key.
    #[error("a key cannot be used")]
    Unusable,
}

/// What was sealed.
pub(super) struct Sealed {
    pub(super) nonce: [u8; NONCE_BYTES],
    /// Ciphertext and tag.
    pub(super) bytes: Vec<u8>,
}

/// It cannot be sealed: the system gives no random bytes.
#[derive(Debug)]
pub(super) struct NotSealed;

/// It cannot be opened: another key, another user's, or changed.
#[derive(Debug)]
pub(super) struct NotOpened;

impl SealingKeys {
    /// Several keys to open with, and the one to seal with; without one, what is written from now on is not sealed.
    pub fn new(keys: &[NamedKey], seal_with: Option<&KeyId>) -> Result<Self, SealingSetupError> {
        let keys = keys.iter().map(SealingKey::new).collect::<Option<Vec<_>>>().ok_or(SealingSetupError::Unusable)?;
        let place = |id: &KeyId| keys.iter().position(|key| key.id == *id).ok_or(SealingSetupError::NoSuchKey);
        let current = seal_with.map(place).transpose()?;
        Ok(Self { keys, current })
    }

    /// The check values of all of them.
    pub fn checks(&self) -> impl Iterator<Item = &KeyCheck> {
        self.keys.iter().map(|key| &key.check)
    }

    /// The key that seals now.
    #[must_use]
    pub fn current(&self) -> Option<&KeyId> {
        self.sealer().map(|sealer| sealer.id())
    }

    /// What seals; `None` where nothing is sealed any more.
    pub(super) fn sealer(&self) -> Option<Sealer<'_>> {
        self.current.and_then(|at| self.keys.get(at)).map(Sealer)
    }

    /// Opens what was sealed with a key of this name about this.
    pub(super) fn open(
        &self,
        id: &str,
        nonce: [u8; NONCE_BYTES],
        sealed: &[u8],
        about: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        let key = self.keys.iter().find(|key| key.id.as_str() == id).ok_or(NotOpened)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = key.key.open_in_place(nonce, Aad::from(about), &mut buffer).map_err(|_| NotOpened)?.len();
        buffer.truncate(plain);
        Ok(buffer)
    }
}

/// The key that seals now.
pub(super) struct Sealer<'a>(&'a SealingKey);

impl<'a> Sealer<'a> {
    pub(super) fn id(&self) -> &'a KeyId {
        &self.0.id
    }

    /// Seals. `about` is authenticated with it: it has to be the same to open it.
    pub(super) fn seal(&self, mut plain: Zeroizing<Vec<u8>>, about: &[u8]) -> Result<Sealed, NotSealed> {
        let sealed = self.0.key.seal_in_place_separate_tag(Aad::from(about), &mut plain);
        let (nonce, tag) = sealed.map_err(|_| NotSealed)?;
        // Sealed in place: what was plain is gone.
        let mut bytes = std::mem::take(&mut *plain);
        bytes.extend_from_slice(tag.as_ref());
        Ok(Sealed { nonce: *nonce.as_ref(), bytes })
    }
}

impl SealingKey {
    fn new(key: &NamedKey) -> Option<Self> {
        let derived = key.derive(PURPOSE)?;
        let aead = RandomizedNonceKey::new(&AES_256_GCM_SIV, derived.as_slice()).ok()?;
        Some(Self { id: key.id().clone(), key: aead, check: key.check(KeyUse::Seal)? })
    }
}

/// The names of the keys, never the keys.
impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| key.id.as_str());
        f.debug_struct("SealingKeys").field("ids", &ids.collect::<Vec<_>>()).field("current", &self.current()).finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::keys::KEY_BYTES;

    pub(in super::super) fn named(id: &str, byte: u8) -> NamedKey {
        NamedKey::new(id.parse().expect("an id"), Zeroizing::new([byte; KEY_BYTES]))
    }

    pub(in super::super) fn keys(all: &[(&str, u8)], seal_with: Option<&str>) -> SealingKeys {
        let all: Vec<NamedKey> = all.iter().map(|(id, byte)| named(id, *byte)).collect();
        let seal_with: Option<KeyId> = seal_with.map(|id| id.parse().expect("an id"));
        SealingKeys::new(&all, seal_with.as_ref()).expect("keys")
    }

    fn seal(keys: &SealingKeys, plain: &[u8], about: &[u8]) -> Sealed {
        let sealer = keys.sealer().expect("a key to seal with");
        sealer.seal(Zeroizing::new(plain.to_vec()), about).expect("random bytes")
    }

    fn open(keys: &SealingKeys, id: &str, sealed: &Sealed, about: &[u8]) -> Option<Vec<u8>> {
        keys.open(id, sealed.nonce, &sealed.bytes, about).ok().map(|plain| plain.to_vec())
    }

    #[test]
    fn r102_what_is_sealed_opens_with_its_key_about_the_same_alone() {
        let here = keys(&[("a", 1), ("b", 2)], Some("b"));
        let sealed = seal(&here, b"profile", b"user 1");
        assert_eq!(sealed.bytes.len(), b"profile".len() + TAG_BYTES);
        assert_eq!(open(&here, "b", &sealed, b"user 1").as_deref(), Some(&b"profile"[..]));
        assert_eq!(open(&here, "b", &sealed, b"user 2"), None, "another user's");
        assert_eq!(open(&here, "a", &sealed, b"user 1"), None, "another key");
        assert_eq!(open(&here, "c", &sealed, b"user 1"), None, "no such key");
        assert_eq!(open(&keys(&[("b", 3)], None), "b", &sealed, b"user 1"), None, "a wrong key of this name");
    }

    #[test]
    fn r102_every_changed_byte_and_every_cut_is_found() {
        let here = keys(&[("a", 1)], Some("a"));
        let sealed = seal(&here, b"profile", b"user 1");
        for at in 0..sealed.bytes.len() {
            let mut bytes = sealed.bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(open(&here, "a", &Sealed { bytes, ..sealed }, b"user 1"), None, "byte {at}");
            let cut = Sealed { bytes: sealed.bytes[..at].to_vec(), ..sealed };
            assert_eq!(open(&here, "a", &cut, b"user 1"), None, "{at} bytes");
        }
        for at in 0..NONCE_BYTES {
            let mut nonce = sealed.nonce;
            nonce[at] ^= 1;
            assert_eq!(open(&here, "a", &Sealed { nonce, bytes: sealed.bytes.clone() }, b"user 1"), None);
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_alike() {
        let here = keys(&[("a", 1)], Some("a"));
        assert_ne!(seal(&here, b"profile", b"").bytes, seal(&here, b"profile", b"").bytes);
    }

    #[test]
    fn without_a_key_to_seal_with_nothing_is_sealed_and_a_missing_one_is_told() {
        assert!(keys(&[("a", 1)], None).sealer().is_none());
        let none = "b".parse().ok();
        assert_eq!(SealingKeys::new(&[named("a", 1)], none.as_ref()).err(), Some(SealingSetupError::NoSuchKey));
    }

    #[test]
    fn r116_keys_are_shown_by_name_alone() {
        assert_eq!(format!("{:?}", keys(&[("a", 1)], None)), "SealingKeys { ids: [\"a\"], current: None }");
    }
}
