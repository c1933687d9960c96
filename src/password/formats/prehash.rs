//! Hashes of an HMAC of the password, whose key is in nobody's row: Flask-Security makes base64(HMAC-SHA512(key, password)) first, and
//! Argon2 or bcrypt of that. Such rows look like any other, so they have to be declared: `$prehash$NAME` before them, and the
//! key in the configuration as `password.prehash.NAME`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::digest::Algorithm;
use super::text::{self, PADDED};
use super::{
    About, Arena, Format, NoAnswer, Scheme, Stored, Strength, Terms, Unusable, Wraps, argon2, bcrypt, pbkdf2,
    read_inner, scrypt,
};

pub(super) const PREHASH: Format = Format {
    about: About {
        name: "prehash",
        made_by: "Flask-Security",
        shape: "$prehash$NAME$argon2id$…",
        bounded_by: "as what is within",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with(PREFIX),
    read,
};

const PREFIX: &str = "$prehash$";

/// What may be made of the HMAC.
const INNER: [&Format; 4] = [&argon2::ARGON2, &bcrypt::BCRYPT, &pbkdf2::PHC, &scrypt::PHC];

/// The longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 32;

/// The keys of such hashes, by name. Cheap to clone; its `Debug` shows the names alone.
#[derive(Clone, Default)]
pub struct PrehashKeys(Arc<BTreeMap<String, Zeroizing<Vec<u8>>>>);

impl PrehashKeys {
    /// These keys.
    #[must_use]
    pub fn new(keys: BTreeMap<String, Zeroizing<Vec<u8>>>) -> Self {
        Self(Arc::new(keys))
    }

    /// Whether a key can have this name: lower-case letters, digits, `-` and `_`, at most 32.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_letter)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for PrehashKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

struct Prehashed {
    name: String,
    key: Zeroizing<Vec<u8>>,
    inner: Box<dyn Scheme>,
}

impl Scheme for Prehashed {
    fn digest(&self, password: &[u8], arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let hmac = Algorithm::Sha512.hmac(&self.key, password);
        self.inner.digest(text::to_base64(&hmac, &PADDED).as_bytes(), arena)
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}{}", self.name, *self.inner.encode(digest)))
    }

    fn parameters(&self) -> String {
        format!("HMAC-SHA512 with the key `{}`, then {}", self.name, self.inner.parameters())
    }

    fn strength(&self) -> Strength {
        self.inner.strength()
    }

    fn filler(&self) -> u8 {
        self.inner.filler()
    }
}

fn read(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let rest = encoded.strip_prefix(PREFIX).unwrap_or_default();
    let (name, _) = rest.split_once('$').ok_or(Unusable::Malformed)?;
    let inner = rest.get(name.len()..).unwrap_or_default();
    if !PrehashKeys::is_name(name) {
        return Err(Unusable::Malformed);
    }
    let Stored { scheme, digest } = read_inner(inner, terms, &INNER)?;
    let key = terms.keys.0.get(name).ok_or(Unusable::Keyed)?.clone();
    Ok(Stored { scheme: Box::new(Prehashed { name: name.to_owned(), key, inner: scheme }), digest })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};
    use super::super::*;

    #[test]
    fn a_hash_whose_key_is_not_configured_is_neither_right_nor_wrong() {
        let encoded = format!("$prehash$flask{}", bcrypt::tests::PASSWORD_2A);
        assert_eq!(matches(&encoded, b"password"), Err(NoAnswer::Unusable(Unusable::Keyed)));
        for malformed in [
            "$prehash$",
            "$prehash$flask",
            "$prehash$flask$",
            "$prehash$Flask$2a$04$",
            "$prehash$$2a$04$",
            "$prehash$a$prehash$a",
        ] {
            assert_eq!(matches(malformed, b"password"), MALFORMED, "{malformed}");
        }
        let costly = encoded.replace("$04$", "$31$");
        assert_eq!(matches(&costly, b"password"), OVER_BOUNDS, "bounded before the key is looked for");
    }

    #[test]
    fn r58_keys_are_not_shown() {
        let keys = PrehashKeys::new([("flask".to_owned(), Zeroizing::new(b"very secret".to_vec()))].into());
        assert_eq!(format!("{keys:?}"), r#"{"flask"}"#);
    }
}
