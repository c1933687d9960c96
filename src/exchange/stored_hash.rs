//! Stored hashes between products: what a product gives in parts becomes one encoded text, as [`crate::password`] reads it, and an
//! encoded text is taken apart again for a product that wants parts. The encodings are those of their home products, and where a
//! product has none those that Ory Kratos documents ("Hashed password format").
//!
//! Never judges whether a hash verifies or what it may cost. Called by the formats of this module.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

use super::fields::{base64_bytes, hex_bytes};

/// A digest that PBKDF2, HMAC and plain salted hashes are built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    const ALL: [Self; 6] = [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

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

    /// How long its output is, in bytes.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|digest| digest.name() == name)
    }
}

/// In which order salt and password were joined.
pub(super) const SALT_FIRST: &str = "{SALT}{PASSWORD}";
/// The other order.
pub(super) const PASSWORD_FIRST: &str = "{PASSWORD}{SALT}";
/// No salt at all.
pub(super) const PASSWORD_ALONE: &str = "{PASSWORD}";

/// A stored hash in parts. No `Debug`.
#[derive(PartialEq, Eq)]
pub(super) enum Stored {
    /// `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
    Argon2 {
        /// `id`, `i` or `d`.
        variant: &'static str,
        /// 16 or 19.
        version: u32,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// `$2b$10$…`: 22 characters of salt and 31 of hash, in an alphabet of its own.
    Bcrypt { version: String, cost: u32, salt: String, hash: String },
    /// `$pbkdf2-sha256$i=…,l=…$salt$hash`.
    Pbkdf2 { digest: Digest, iterations: u32, salt: Vec<u8>, hash: Vec<u8> },
    /// `$scrypt$ln=…,r=…,p=…$salt$hash`; `ln` is the logarithm of the cost.
    Scrypt { log_cost: u32, block_size: u32, lanes: u32, salt: Vec<u8>, hash: Vec<u8> },
    /// `$firescrypt$ln=…,r=…,p=1$salt$hash$separator$key`.
    Firescrypt { mem_cost: u32, rounds: u32, salt: Vec<u8>, hash: Vec<u8>, separator: Vec<u8>, signer_key: Vec<u8> },
    /// `$sha256$pf=<template>,it=…$salt$hash`, or `$sha256$hash` without a salt.
    Plain { digest: Digest, template: String, iterations: u32, salt: Vec<u8>, hash: Vec<u8> },
    /// `$hmac-sha256$<hash>$<key>`.
    Hmac { digest: Digest, hash: Vec<u8>, key: Vec<u8> },
    /// Anything else: a text that only its home product and ours read.
    Other,
}

impl Stored {
    /// As the one text of it that we keep. Nothing for [`Stored::Other`].
    pub(super) fn encoded(&self) -> Zeroizing<String> {
        let bare = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        let padded = |bytes: &[u8]| STANDARD.encode(bytes);
        Zeroizing::new(match self {
            Self::Argon2 { variant, version, memory_kib, passes, lanes, salt, hash } => format!(
                "$argon2{variant}$v={version}$m={memory_kib},t={passes},p={lanes}${}${}",
                bare(salt),
                bare(hash)
            ),
            Self::Bcrypt { version, cost, salt, hash } => format!("${version}${cost:02}${salt}{hash}"),
            Self::Pbkdf2 { digest, iterations, salt, hash } => {
                let (name, length) = (digest.name(), hash.len());
                format!("$pbkdf2-{name}$i={iterations},l={length}${}${}", bare(salt), bare(hash))
            }
            Self::Scrypt { log_cost, block_size, lanes, salt, hash } => {
                format!("$scrypt$ln={log_cost},r={block_size},p={lanes}${}${}", bare(salt), bare(hash))
            }
            Self::Firescrypt { mem_cost, rounds, salt, hash, separator, signer_key } => format!(
                "$firescrypt$ln={mem_cost},r={rounds},p=1${}${}${}${}",
                padded(salt),
                padded(hash),
                padded(separator),
                padded(signer_key)
            ),
            Self::Plain { digest, template, iterations: 1, hash, .. } if template == PASSWORD_ALONE => {
                format!("${}${}", digest.name(), padded(hash))
            }
            Self::Plain { digest, template, iterations, salt, hash } => {
                let repeated = if *iterations == 1 { String::new() } else { format!(",it={iterations}") };
                let (name, template) = (digest.name(), padded(template.as_bytes()));
                format!("${name}$pf={template}{repeated}${}${}", padded(salt), padded(hash))
            }
            Self::Hmac { digest, hash, key } => format!("$hmac-{}${}${}", digest.name(), padded(hash), padded(key)),
            Self::Other => String::new(),
        })
    }

    /// Takes an encoded text apart. Also those of Django, werkzeug and LDAP, as far as they say the same in other words.
    pub(super) fn read(encoded: &str) -> Self {
        let parts: Vec<&str> = encoded.split('$').collect();
        let read = match parts.as_slice() {
            ["", "argon2id", rest @ ..] => argon2("id", rest),
            ["", "argon2i", rest @ ..] => argon2("i", rest),
            ["", "argon2d", rest @ ..] => argon2("d", rest),
            ["argon2", "argon2id", rest @ ..] => argon2("id", rest),
            ["argon2", "argon2i", rest @ ..] => argon2("i", rest),
            ["", version @ ("2a" | "2b" | "2x" | "2y"), cost, rest] => bcrypt(version, cost, rest),
            ["bcrypt", "", version @ ("2a" | "2b" | "2x" | "2y"), cost, rest] => bcrypt(version, cost, rest),
            ["", "scrypt", params, salt, hash] => scrypt(params, salt, hash),
            ["", "firescrypt", params, salt, hash, separator, key] => firescrypt(params, [salt, hash, separator, key]),
            ["", name, params, salt, hash] if name.starts_with("pbkdf2-") => pbkdf2(name, params, salt, hash),
            ["", name, params, salt, hash] => plain(name, params, salt, hash),
            ["", name, hash] => unsalted(name, hash),
            ["", name, hash, key] if name.starts_with("hmac-") => hmac(name, hash, key),
            [name @ ("pbkdf2_sha256" | "pbkdf2_sha1"), iterations, salt, hash] => django(name, iterations, salt, hash),
            [method, salt, hash] if method.starts_with("pbkdf2:") => werkzeug_pbkdf2(method, salt, hash),
            [method, salt, hash] if method.starts_with("scrypt:") => werkzeug_scrypt(method, salt, hash),
            _other_shape => None,
        };
        read.unwrap_or(Self::Other)
    }
}

/// `m=1,t=2,p=3` as its values, in the order asked for, which has to be theirs.
fn params<const N: usize>(text: &str, names: [&str; N]) -> Option<[u32; N]> {
    let mut values = [0; N];
    let mut found = text.split(',');
    for (value, name) in values.iter_mut().zip(names) {
        *value = found.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok()?;
    }
    found.next().is_none().then_some(values)
}

fn argon2(variant: &'static str, rest: &[&str]) -> Option<Stored> {
    let (version, [given, salt, hash]) = match rest {
        [version, given, salt, hash] => (version.strip_prefix("v=")?.parse().ok()?, [given, salt, hash]),
        [given, salt, hash] => (16, [given, salt, hash]),
        _other_shape => return None,
    };
    let [memory_kib, passes, lanes] = params(given, ["m", "t", "p"])?;
    let (salt, hash) = (base64_bytes(salt)?, base64_bytes(hash)?);
    Some(Stored::Argon2 { variant, version, memory_kib, passes, lanes, salt, hash })
}

fn bcrypt(version: &str, cost: &str, rest: &str) -> Option<Stored> {
    let (salt, hash) = rest.split_at_checked(22)?;
    let is_own = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
    let cost = cost.parse().ok()?;
    (hash.len() == 31 && rest.bytes().all(is_own)).then(|| Stored::Bcrypt {
        version: version.to_owned(),
        cost,
        salt: salt.to_owned(),
        hash: hash.to_owned(),
    })
}

/// `ln` is a logarithm, but for Kratos, which writes the cost itself there; the two ranges do not meet in practice.
fn scrypt(given: &str, salt: &str, hash: &str) -> Option<Stored> {
    let [cost, block_size, lanes] = params(given, ["ln", "r", "p"])?;
    let log_cost = if cost < 32 { cost } else { log_of_cost(cost)? };
    Some(Stored::Scrypt { log_cost, block_size, lanes, salt: base64_bytes(salt)?, hash: base64_bytes(hash)? })
}

fn firescrypt(given: &str, [salt, hash, separator, key]: [&str; 4]) -> Option<Stored> {
    let [mem_cost, rounds, lanes] = params(given, ["ln", "r", "p"])?;
    let (salt, hash) = (base64_bytes(salt)?, base64_bytes(hash)?);
    let (separator, signer_key) = (base64_bytes(separator)?, base64_bytes(key)?);
    (lanes == 1).then_some(Stored::Firescrypt { mem_cost, rounds, salt, hash, separator, signer_key })
}

fn pbkdf2(name: &str, given: &str, salt: &str, hash: &str) -> Option<Stored> {
    let digest = Digest::named(name.strip_prefix("pbkdf2-")?)?;
    let hash = base64_bytes(hash)?;
    let iterations = match params(given, ["i", "l"]) {
        Some([iterations, length]) => (usize::try_from(length).ok()? == hash.len()).then_some(iterations)?,
        None => params(given, ["i"]).map(|[iterations]| iterations)?,
    };
    Some(Stored::Pbkdf2 { digest, iterations, salt: base64_bytes(salt)?, hash })
}

fn plain(name: &str, given: &str, salt: &str, hash: &str) -> Option<Stored> {
    let digest = Digest::named(name)?;
    let (template, iterations) = match given.split_once(",it=") {
        Some((template, iterations)) => (template, iterations.parse().ok()?),
        None => (given, 1),
    };
    let template = String::from_utf8(base64_bytes(template.strip_prefix("pf=")?)?).ok()?;
    Some(Stored::Plain { digest, template, iterations, salt: base64_bytes(salt)?, hash: base64_bytes(hash)? })
}

fn unsalted(name: &str, hash: &str) -> Option<Stored> {
    let (digest, hash) = (Digest::named(name)?, base64_bytes(hash)?);
    Some(Stored::Plain { digest, template: PASSWORD_ALONE.to_owned(), iterations: 1, salt: Vec::new(), hash })
}

/// Kratos keeps the hexadecimal text of the digest, others its bytes.
fn hmac(name: &str, hash: &str, key: &str) -> Option<Stored> {
    let digest = Digest::named(name.strip_prefix("hmac-")?)?;
    let hash = base64_bytes(hash)?;
    let as_hex = || std::str::from_utf8(&hash).ok().and_then(hex_bytes);
    let bytes = if hash.len() == digest.bytes() { Some(hash) } else { as_hex() };
    let hash = bytes.filter(|bytes| bytes.len() == digest.bytes())?;
    Some(Stored::Hmac { digest, hash, key: base64_bytes(key)? })
}

/// Django's salt is text, its hash base64.
fn django(name: &str, iterations: &str, salt: &str, hash: &str) -> Option<Stored> {
    let digest = Digest::named(name.strip_prefix("pbkdf2_")?)?;
    let (iterations, hash) = (iterations.parse().ok()?, base64_bytes(hash)?);
    Some(Stored::Pbkdf2 { digest, iterations, salt: salt.as_bytes().to_vec(), hash })
}

/// `pbkdf2:sha256:600000$salt$hex`; the salt is text.
fn werkzeug_pbkdf2(method: &str, salt: &str, hash: &str) -> Option<Stored> {
    let (digest, iterations) = method.strip_prefix("pbkdf2:")?.split_once(':')?;
    let (digest, iterations) = (Digest::named(digest)?, iterations.parse().ok()?);
    Some(Stored::Pbkdf2 { digest, iterations, salt: salt.as_bytes().to_vec(), hash: hex_bytes(hash)? })
}

/// `scrypt:32768:8:1$salt$hex`; the salt is text.
fn werkzeug_scrypt(method: &str, salt: &str, hash: &str) -> Option<Stored> {
    let mut given = method.strip_prefix("scrypt:")?.split(':').map(|number| number.parse::<u32>().ok());
    let (cost, block_size, lanes) = (given.next()??, given.next()??, given.next()??);
    let log_cost = log_of_cost(cost)?;
    let is_whole = given.next().is_none();
    let (salt, hash) = (salt.as_bytes().to_vec(), hex_bytes(hash)?);
    is_whole.then_some(Stored::Scrypt { log_cost, block_size, lanes, salt, hash })
}

/// The logarithm of a scrypt cost, which has to be a power of two over 1 (RFC 7914, section 2).
pub(super) fn log_of_cost(cost: u32) -> Option<u32> {
    (cost > 1 && cost.is_power_of_two()).then(|| cost.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGON2ID: &str = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    const BCRYPT: &str = "$2a$04$UuTkLRZZ6QofpDOlMz32MuuxEHA43WOemOYHPz6.SjsVsyO1tDU96";

    #[test]
    fn what_is_taken_apart_is_put_together_again_to_the_same_text() {
        for encoded in [
            ARGON2ID,
            BCRYPT,
            "$pbkdf2-sha512$i=210000,l=4$c2FsdA$aGFzaA",
            "$scrypt$ln=15,r=8,p=1$c2FsdA$aGFzaA",
            "$firescrypt$ln=14,r=8,p=1$c2FsdA==$aGFzaA==$Bw==$a2V5",
            "$md5$pf=e1NBTFR9e1BBU1NXT1JEfQ==$c2FsdA==$aGFzaA==",
            "$sha256$pf=e1BBU1NXT1JEfXtTQUxUfQ==,it=24000$c2FsdA==$aGFzaA==",
            "$sha256$n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
            "$hmac-sha256$n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=$a2V5",
        ] {
            let stored = Stored::read(encoded);
            assert!(stored != Stored::Other, "{encoded}");
            assert_eq!(*stored.encoded(), encoded);
        }
    }

    #[test]
    fn the_words_of_django_and_werkzeug_mean_the_same() {
        let same = |one: &str, other: &str| assert_eq!(*Stored::read(one).encoded(), other, "{one}");
        same("pbkdf2_sha256$600000$salt$aGFzaA==", "$pbkdf2-sha256$i=600000,l=4$c2FsdA$aGFzaA");
        same("pbkdf2:sha256:600000$salt$68617368", "$pbkdf2-sha256$i=600000,l=4$c2FsdA$aGFzaA");
        same("$md5$pf=e1BBU1NXT1JEfQ==$$aGFzaA==", "$md5$aGFzaA==");
        same("$hmac-md5$NWVkZTdhM2E0ZTE5NmE1ZTdmMzQ0N2FhZTcyYTEwN2M=$a2V5", "$hmac-md5$Xt56Ok4Zal5/NEeq5yoQfA==$a2V5");
        same("$scrypt$ln=16384,r=8,p=1$c2FsdA==$aGFzaA==", "$scrypt$ln=14,r=8,p=1$c2FsdA$aGFzaA");
        same("scrypt:32768:8:1$salt$68617368", "$scrypt$ln=15,r=8,p=1$c2FsdA$aGFzaA");
        same(&format!("argon2{ARGON2ID}"), ARGON2ID);
        same(&format!("bcrypt${BCRYPT}"), BCRYPT);
    }

    #[test]
    fn what_is_unknown_or_broken_stays_a_text() {
        for encoded in [
            "",
            "plain",
            "{SSHA}c2FsdA==",
            "$P$B12345678",
            "$argon2id$v=19$m=65536,t=2$c29tZXNhbHQ$aGFzaA",
            "$2a$04$UuTkLRZZ6QofpDOlMz32Mu",
            "$pbkdf2-sha512$i=210000,l=5$c2FsdA$aGFzaA",
            "$pbkdf2-whirlpool$i=1,l=4$c2FsdA$aGFzaA",
            "$md5$pf=!$c2FsdA==$aGFzaA==",
            "scrypt:32767:8:1$salt$68617368",
        ] {
            assert!(Stored::read(encoded) == Stored::Other, "{encoded}");
        }
    }
}
