//! Peppers: secret keys that go into every hash and are kept apart from them, so that a stolen store alone verifies nothing (R56).
//!
//! A pepper is Argon2's own secret input K (RFC 9106, section 3.1), and the hash names its key in `keyid`, as the PHC string format
//! provides. That is a keyed hash by the algorithm's own definition: there is no second construction around it whose output is cut, or
//! ends at a NUL, and any library that takes K verifies our hashes for whoever has the key.

use std::fmt;
use std::sync::Arc;

use super::formats::{Bounds, ParsedArgon2};
use crate::keys::{KeyCheck, KeyId, KeyUse, NamedKey};

/// The peppers that passwords are and were hashed with. Shows nothing of them; without any, hashes are not peppered.
#[derive(Clone, Default)]
pub struct Peppers(Option<Arc<Set>>);

struct Set {
    keys: Vec<NamedKey>,
    checks: Vec<KeyCheck>,
    current: Option<usize>,
}

/// Why peppers cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PepperSetupError {
    /// The key to hash with is not among them.
    #[error("the key to hash with is not among the keys")]
    NoSuchKey,
    /// The library refuses a key.
    #[error("a key cannot be used")]
    Unusable,
}

impl Peppers {
    /// Several to verify with, and the one that new hashes get; without one, new hashes get none.
    pub fn new(keys: Vec<NamedKey>, hash_with: Option<&KeyId>) -> Result<Self, PepperSetupError> {
        let checks = keys.iter().map(|key| key.check(KeyUse::Pepper)).collect::<Option<Vec<_>>>();
        let checks = checks.ok_or(PepperSetupError::Unusable)?;
        let place = |id: &KeyId| keys.iter().position(|key| key.id() == id).ok_or(PepperSetupError::NoSuchKey);
        let current = hash_with.map(place).transpose()?;
        Ok(Self(Some(Arc::new(Set { keys, checks, current }))))
    }

    /// By which a store tells whether these are the ones that its hashes need.
    #[must_use]
    pub fn checks(&self) -> Vec<KeyCheck> {
        self.0.as_ref().map(|set| set.checks.clone()).unwrap_or_default()
    }

    /// The name of the one that new hashes get.
    #[must_use]
    pub fn current_id(&self) -> Option<&KeyId> {
        self.current().map(NamedKey::id)
    }

    /// Whether a stored hash is one of Argon2's that was made with one of these, and asks for no more than is given.
    #[must_use]
    pub fn were_in(&self, encoded: &str, bounds: &Bounds) -> bool {
        ParsedArgon2::new(encoded)
            .is_ok_and(|parsed| self.named(parsed.params.keyid()).is_some() && parsed.within(bounds).is_ok())
    }

    /// The one that new hashes get.
    pub(super) fn current(&self) -> Option<&NamedKey> {
        let set = self.0.as_ref()?;
        set.keys.get(set.current?)
    }

    /// The one that a hash names.
    pub(super) fn named(&self, id: &[u8]) -> Option<&NamedKey> {
        self.0.as_ref()?.keys.iter().find(|key| key.id().as_str().as_bytes() == id)
    }
}

/// The names of the keys, never the keys.
impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.iter().flat_map(|set| &set.keys).map(|key| key.id().as_str());
        let current = self.current().map(|key| key.id().as_str());
        f.debug_struct("Peppers").field("ids", &ids.collect::<Vec<_>>()).field("current", &current).finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::keys::KEY_BYTES;

    pub(in super::super) fn peppers(all: &[(&str, u8)], hash_with: Option<&str>) -> Peppers {
        let key =
            |(id, byte): &(&str, u8)| NamedKey::new(id.parse().expect("an id"), Zeroizing::new([*byte; KEY_BYTES]));
        let hash_with: Option<KeyId> = hash_with.map(|id| id.parse().expect("an id"));
        Peppers::new(all.iter().map(key).collect(), hash_with.as_ref()).expect("peppers")
    }

    #[test]
    fn r116_peppers_are_shown_by_name_alone() {
        let shown = format!("{:?}", peppers(&[("a", 1), ("b", 2)], Some("b")));
        assert_eq!(shown, "Peppers { ids: [\"a\", \"b\"], current: Some(\"b\") }");
        assert_eq!(format!("{:?}", Peppers::default()), "Peppers { ids: [], current: None }");
    }

    #[test]
    fn the_key_to_hash_with_has_to_be_there() {
        let id = "b".parse().ok();
        assert_eq!(Peppers::new(Vec::new(), id.as_ref()).err(), Some(PepperSetupError::NoSuchKey));
        assert!(peppers(&[("a", 1)], None).current().is_none());
    }
}
