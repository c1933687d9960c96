//! Secret keys of the operator's that have a name: what profiles are sealed with, and what passwords are peppered with.
//!
//! A key is 32 random bytes; whoever uses one derives a key of his own from it by HKDF (RFC 5869), so that no two uses share one.
//! What is kept beside the data is a key's id and a [`KeyCheck`], by which a wrong key is found before it does harm. Called by
//! `config`, `store` and `password`; reads no file, prints no key.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Bytes of a [`KeyCheck`]: too many to find another key that fits, of one direction, so that they say nothing about the key.
const CHECK_BYTES: usize = 16;

/// Under what name an operator keeps a key: 1 to 8 letters, digits, `-` and `_`, as many as the key id of a PHC string holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Box<str>);

/// The longest id, in bytes (PHC string format, Argon2's `keyid`).
pub const MAX_KEY_ID_BYTES: usize = 8;

/// A text that cannot name a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's id is 1 to {MAX_KEY_ID_BYTES} letters, digits, `-` or `_`")]
pub struct InvalidKeyId;

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let fits = (1..=MAX_KEY_ID_BYTES).contains(&text.len());
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if fits && plain { Ok(Self(text.into())) } else { Err(InvalidKeyId) }
    }
}

impl KeyId {
    /// As the operator wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a key is for. Keys of one id and different uses are different keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyUse {
    /// Sealing profiles in the store.
    Seal,
    /// Peppering passwords.
    Pepper,
}

impl KeyUse {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Seal, Self::Pepper];

    /// The word for it in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Pepper => "pepper",
        }
    }

    /// Where its keys stand in the configuration.
    #[must_use]
    pub fn config_key(self) -> &'static str {
        match self {
            Self::Seal => "store.encryption.keys",
            Self::Pepper => "password.pepper.keys",
        }
    }
}

/// A key and its name. Has no `Debug`, `Clone`, `PartialEq` or `Serialize`; overwritten when dropped.
pub struct NamedKey {
    id: KeyId,
    secret: Zeroizing<[u8; KEY_BYTES]>,
}

impl NamedKey {
    /// Takes the key over.
    #[must_use]
    pub fn new(id: KeyId, secret: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self { id, secret }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key itself, for what takes it as it is: Argon2's secret.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }

    /// A key for one purpose (RFC 5869, section 3.2). None only if the library fails.
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
        self.expand(purpose)
    }

    /// What is kept of it in the store.
    #[must_use]
    pub fn check(&self, used_for: KeyUse) -> Option<KeyCheck> {
        let purpose = format!("authferry key check 1: {} {}", used_for.as_str(), self.id);
        let check = self.expand::<CHECK_BYTES>(purpose.as_bytes())?;
        Some(KeyCheck { used_for, id: self.id.clone(), check: *check })
    }

    fn expand<const N: usize>(&self, purpose: &[u8]) -> Option<Zeroizing<[u8; N]>> {
        let extracted = Salt::new(HKDF_SHA256, b"authferry").extract(self.secret.as_slice());
        let mut out = Zeroizing::new([0; N]);
        let purpose = [purpose];
        extracted.expand(&purpose, Length(N)).ok()?.fill(out.as_mut_slice()).ok()?;
        Some(out)
    }
}

/// So many bytes are to be derived.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// By which the store tells whether it was given the right key.
#[derive(Debug, Clone)]
pub struct KeyCheck {
    /// What the key is for.
    pub used_for: KeyUse,
    /// The key's name.
    pub id: KeyId,
    check: [u8; CHECK_BYTES],
}

impl KeyCheck {
    /// The bytes that the store keeps.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.check
    }

    /// Whether kept bytes are of the same key. Constant time (R57).
    #[must_use]
    pub fn fits(&self, kept: &[u8]) -> bool {
        self.check.ct_eq(kept).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, byte: u8) -> NamedKey {
        NamedKey::new(id.parse().expect("an id"), Zeroizing::new([byte; KEY_BYTES]))
    }

    fn check(key: &NamedKey, used_for: KeyUse) -> KeyCheck {
        key.check(used_for).expect("a check value")
    }

    #[test]
    fn an_id_is_short_and_plain() {
        for id in ["2", "2026", "a-b_C9", "12345678"] {
            assert_eq!(id.parse::<KeyId>().map(|id| id.to_string()).as_deref(), Ok(id));
        }
        for id in ["", "123456789", "a b", "a/b", "\u{e9}", "a,b", "$"] {
            assert_eq!(id.parse::<KeyId>(), Err(InvalidKeyId), "{id}");
        }
    }

    #[test]
    fn r56_a_check_value_fits_its_key_use_and_name_alone() {
        let kept = check(&key("2026", 7), KeyUse::Seal);
        assert!(check(&key("2026", 7), KeyUse::Seal).fits(kept.as_bytes()));
        assert!(!check(&key("2026", 8), KeyUse::Seal).fits(kept.as_bytes()));
        assert!(!check(&key("2027", 7), KeyUse::Seal).fits(kept.as_bytes()));
        assert!(!check(&key("2026", 7), KeyUse::Pepper).fits(kept.as_bytes()));
        assert!(!kept.fits(&kept.as_bytes()[1..]));
    }

    #[test]
    fn keys_for_different_purposes_have_nothing_in_common() {
        let key = key("2026", 7);
        let derive = |purpose: &[u8]| key.derive(purpose).expect("a key");
        assert_eq!(*derive(b"one"), *derive(b"one"));
        assert_ne!(*derive(b"one"), *derive(b"two"));
        assert_ne!(*derive(b"one"), *key.expose());
    }
}
