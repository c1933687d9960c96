//! bcrypt in its four spellings `2a`, `2b`, `2x` and `2y`, and what Django, passlib and WordPress put before it.
//!
//! Like every bcrypt it looks at the first 72 bytes of a password and no further: what legacy accepted stays accepted. Such a
//! hash is replaced by Argon2id, which looks at all of them, at the first login that it verifies. A NUL byte does not end a
//! password here, though it does in C: comparing more finely than legacy costs one question to legacy, comparing more coarsely
//! would let a stranger in. (bcrypt repeats what it is given with a NUL between, so that `a` and `a`, NUL, `a` are one to it: everywhere.)
//!
//! `2x` marks what crypt_blowfish made before 1.1: it took the bytes of a password for signed numbers. That mistake is made here again,
//! for `2x` alone.

use zeroize::Zeroizing;

use super::digest::Algorithm;
use super::text::{self, PADDED};
use super::{About, Arena, Format, NoAnswer, Scheme, Stored, Strength, Terms, Unusable, Wraps, within};

pub(super) const BCRYPT: Format = Format {
    about: About {
        name: "bcrypt",
        made_by: "everyone: PHP, Rails, Spring, Auth0, Clerk, Supabase",
        shape: "$2b$12$…; 2a, 2x, 2y too",
        bounded_by: "bcrypt_cost",
        wraps: Wraps::Never,
    },
    claims: |encoded| VERSIONS.iter().any(|(prefix, _)| encoded.starts_with(prefix)),
    read: |encoded, terms| read(encoded, Before::Nothing, terms),
};

pub(super) const DJANGO: Format = Format {
    about: About {
        name: "django-bcrypt",
        made_by: "Django (`BCryptPasswordHasher`)",
        shape: "bcrypt$$2b$12$…",
        bounded_by: "bcrypt_cost",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("bcrypt$"),
    read: |encoded, terms| read(encoded.strip_prefix("bcrypt$").unwrap_or_default(), Before::Nothing, terms),
};

pub(super) const DJANGO_SHA256: Format = Format {
    about: About {
        name: "django-bcrypt-sha256",
        made_by: "Django (`BCryptSHA256PasswordHasher`)",
        shape: "bcrypt_sha256$$2b$12$…",
        bounded_by: "bcrypt_cost",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("bcrypt_sha256$"),
    read: |encoded, terms| read(encoded.strip_prefix("bcrypt_sha256$").unwrap_or_default(), Before::HexOfSha256, terms),
};

pub(super) const PASSLIB_SHA256: Format = Format {
    about: About {
        name: "passlib-bcrypt-sha256",
        made_by: "passlib (`bcrypt_sha256`), versions 1 and 2",
        shape: "$bcrypt-sha256$v=2,t=2b,r=12$SALT$HASH",
        bounded_by: "bcrypt_cost",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("$bcrypt-sha256$"),
    read: read_passlib,
};

pub(super) const WORDPRESS: Format = Format {
    about: About {
        name: "wordpress-bcrypt",
        made_by: "WordPress from 6.8 on",
        shape: "$wp$2y$10$…",
        bounded_by: "bcrypt_cost",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("$wp$"),
    read: |encoded, terms| read(encoded.strip_prefix("$wp").unwrap_or_default(), Before::WordPress, terms),
};

const VERSIONS: [(&str, Version); 4] =
    [("$2a$", Version::A), ("$2b$", Version::B), ("$2x$", Version::X), ("$2y$", Version::Y)];

/// The lowest cost that the algorithm is defined for.
const MIN_COST: u64 = 4;

/// How much of a password it looks at, in bytes.
const LOOKED_AT: usize = 72;

const SALT_DIGITS: usize = 22;
const DIGEST_DIGITS: usize = 31;
const DIGEST_BYTES: usize = 23;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    A,
    B,
    X,
    Y,
}

/// What is done to a password before bcrypt sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Django: the hex text of its SHA-256.
    HexOfSha256,
    /// WordPress: base64 of an HMAC-SHA384 with a key that everybody knows.
    WordPress,
    /// passlib's version 1: base64 of its SHA-256.
    PasslibSha256,
    /// passlib's version 2: base64 of an HMAC-SHA256 whose key is the text of bcrypt's salt.
    PasslibHmac,
}

#[derive(Clone)]
struct Bcrypt {
    version: Version,
    cost: u32,
    salt: [u8; 16],
    before: Before,
}

impl Bcrypt {
    fn version(&self) -> &'static str {
        match self.version {
            Version::A => "2a",
            Version::B => "2b",
            Version::X => "2x",
            Version::Y => "2y",
        }
    }

    fn salt_text(&self) -> Zeroizing<String> {
        text::to_base64(&self.salt, &text::BCRYPT)
    }

    fn prepared(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let bytes = |text: Zeroizing<String>| Zeroizing::new(text.as_bytes().to_vec());
        match self.before {
            Before::Nothing => Zeroizing::new(password.to_vec()),
            Before::HexOfSha256 => bytes(text::to_hex(&Algorithm::Sha256.of(password))),
            Before::WordPress => bytes(text::to_base64(&Algorithm::Sha384.hmac(b"wp-sha384", password), &PADDED)),
            Before::PasslibSha256 => bytes(text::to_base64(&Algorithm::Sha256.of(password), &PADDED)),
            Before::PasslibHmac => {
                let hmac = Algorithm::Sha256.hmac(self.salt_text().as_bytes(), password);
                bytes(text::to_base64(&hmac, &PADDED))
            }
        }
    }
}

impl Scheme for Bcrypt {
    fn digest(&self, password: &[u8], _arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let mut key = self.prepared(password);
        key.push(0);
        match self.version {
            Version::A | Version::B | Version::Y => key.truncate(LOOKED_AT),
            Version::X => key = signed(&key),
        }
        let mut output = bcrypt::bcrypt(self.cost, self.salt, &key);
        let digest = output.get(..DIGEST_BYTES).unwrap_or_default().to_vec();
        zeroize::Zeroize::zeroize(&mut output);
        Ok(Zeroizing::new(digest))
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let (version, cost, salt) = (self.version(), self.cost, self.salt_text());
        let digest = text::to_base64(digest, &text::BCRYPT);
        let (salt, digest) = (salt.as_str(), digest.as_str());
        let plain = format!("${version}${cost:02}${salt}{digest}");
        Zeroizing::new(match self.before {
            Before::Nothing => plain,
            Before::HexOfSha256 => format!("bcrypt_sha256${plain}"),
            Before::WordPress => format!("$wp{plain}"),
            Before::PasslibSha256 => format!("$bcrypt-sha256${version},{cost}${salt}${digest}"),
            Before::PasslibHmac => format!("$bcrypt-sha256$v=2,t={version},r={cost}${salt}${digest}"),
        })
    }

    fn parameters(&self) -> String {
        let of = match self.before {
            Before::Nothing => "",
            Before::HexOfSha256 => " of SHA-256's hex text",
            Before::WordPress => " of WordPress's HMAC-SHA384",
            Before::PasslibSha256 => " of SHA-256",
            Before::PasslibHmac => " of HMAC-SHA256",
        };
        format!("bcrypt ({}) with cost {}{of}", self.version(), self.cost)
    }

    fn strength(&self) -> Strength {
        Strength::Hard
    }

    fn near(&self) -> Vec<(String, Box<dyn Scheme>)> {
        let ways = [
            (Before::Nothing, "if bcrypt sees the password itself: the text after the prefix"),
            (Before::HexOfSha256, "if it is Django's: write `bcrypt_sha256$` before it"),
            (Before::WordPress, "if it is WordPress's: write `$wp` before it"),
        ];
        let ways = ways.into_iter().filter(|(before, _)| *before != self.before);
        let mut near: Vec<(String, Box<dyn Scheme>)> = Vec::new();
        for (before, told) in ways {
            near.push((told.to_owned(), Box::new(Self { before, ..self.clone() })));
        }
        if self.version != Version::X {
            let told = "if it was made by crypt_blowfish before 1.1: its version is 2x".to_owned();
            near.push((told, Box::new(Self { version: Version::X, ..self.clone() })));
        }
        near
    }
}

/// The key schedule's 72 bytes as old versions of crypt_blowfish had them: each byte from 0x80 on fills the bits before it.
fn signed(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(password.iter().copied().cycle().take(LOOKED_AT).collect());
    let word = |bytes: &[u8; 4]| {
        bytes.iter().fold(0_u32, |word, byte| word << 8 | i32::from(byte.cast_signed()).cast_unsigned())
    };
    Zeroizing::new(bytes.as_chunks().0.iter().flat_map(|bytes| word(bytes).to_be_bytes()).collect())
}

fn read(encoded: &str, before: Before, terms: &Terms) -> Result<Stored, Unusable> {
    let (prefix, version) =
        VERSIONS.iter().find(|(prefix, _)| encoded.starts_with(prefix)).ok_or(Unusable::Malformed)?;
    let rest = encoded.strip_prefix(prefix).unwrap_or_default();
    let (cost, digits) = rest.split_once('$').filter(|(cost, _)| cost.len() == 2).ok_or(Unusable::Malformed)?;
    let (salt, digest) = digits.split_at_checked(SALT_DIGITS).ok_or(Unusable::Malformed)?;
    stored(*version, cost.strip_prefix('0').unwrap_or(cost), [salt, digest], before, terms)
}

/// `v=2,t=2b,r=12`, or `2a,12` of version 1.
fn read_passlib(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let [_, _, parameters, salt, digest] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
    let (version, cost, before) = match (text::fields(parameters, ','), text::fields(parameters, ',')) {
        (Some(["v=2", version, cost]), _) => {
            let version = version.strip_prefix("t=").ok_or(Unusable::Malformed)?;
            (version, cost.strip_prefix("r=").ok_or(Unusable::Malformed)?, Before::PasslibHmac)
        }
        (_, Some([version, cost])) => (version, cost, Before::PasslibSha256),
        _ => return Err(Unusable::Malformed),
    };
    let version = match version {
        "2a" => Version::A,
        "2b" => Version::B,
        "2y" => Version::Y,
        _ => return Err(Unusable::Malformed),
    };
    stored(version, cost, [salt, digest], before, terms)
}

fn stored(
    version: Version,
    cost: &str,
    [salt, digest]: [&str; 2],
    before: Before,
    terms: &Terms,
) -> Result<Stored, Unusable> {
    let cost = text::number(cost).filter(|cost| (MIN_COST..=31).contains(cost)).ok_or(Unusable::Malformed)?;
    within(cost, terms.bounds.bcrypt_cost)?;
    if salt.len() != SALT_DIGITS || digest.len() != DIGEST_DIGITS {
        return Err(Unusable::Malformed);
    }
    let decoded = text::base64(salt, &text::BCRYPT).zip(text::base64(digest, &text::BCRYPT));
    let (salt, digest) = decoded.ok_or(Unusable::Malformed)?;
    let salt: [u8; 16] = salt.as_slice().try_into().map_err(|_| Unusable::Malformed)?;
    let cost = u32::try_from(cost).map_err(|_| Unusable::OverBounds)?;
    Ok(Stored::new(Bcrypt { version, cost, salt, before }, &**digest))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};

    /// Made by somebody else's tool; the password is "password".
    pub(in super::super) const PASSWORD_2A: &str = "$2a$04$UuTkLRZZ6QofpDOlMz32MuuxEHA43WOemOYHPz6.SjsVsyO1tDU96";
    /// Made by Python's bcrypt.
    const STAPLER_2B: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

    fn spelled(version: &str, encoded: &str) -> String {
        format!("${version}{}", &encoded[3..])
    }

    #[test]
    fn hashes_of_other_tools_verify_in_every_spelling() {
        for version in ["2a", "2b", "2x", "2y"] {
            assert_eq!(matches(&spelled(version, PASSWORD_2A), b"password"), Ok(true), "{version}");
            assert_eq!(matches(&spelled(version, PASSWORD_2A), b"passwore"), Ok(false), "{version}");
        }
        assert_eq!(matches(STAPLER_2B, b"correctbatteryhorsestapler"), Ok(true));
    }

    #[test]
    fn r48_bcrypt_looks_at_72_bytes_as_every_bcrypt_does() {
        let of = |bytes: usize| vec![b'x'; bytes];
        let encoded = bcrypt::hash(of(72), 4).expect("a hash");
        assert_eq!(matches(&encoded, &of(71)), Ok(false));
        assert_eq!(matches(&encoded, &of(72)), Ok(true));
        assert_eq!(matches(&encoded, &of(73)), Ok(true));
        assert_eq!(matches(&encoded, &of(1_024)), Ok(true));
    }

    #[test]
    fn a_nul_byte_does_not_end_a_password() {
        let encoded = bcrypt::hash(b"before", 4).expect("a hash");
        assert_eq!(matches(&encoded, b"before after"), Ok(false));
        assert_eq!(matches(&encoded, b"before\0after"), Ok(false));
        let empty = bcrypt::hash(b"", 4).expect("a hash");
        assert_eq!(matches(&empty, b""), Ok(true));
    }

    #[test]
    fn r53_costs_over_the_bound_and_malformed_hashes_are_unusable() {
        let with_cost = |cost: &str| PASSWORD_2A.replacen("$04$", &format!("${cost}$"), 1);
        assert_eq!(matches(&with_cost("15"), b"password"), OVER_BOUNDS);
        assert_eq!(matches(&with_cost("31"), b"password"), OVER_BOUNDS);
        for cost in ["00", "03", "-4", "xx", "4", "004", "32", "99"] {
            assert_eq!(matches(&with_cost(cost), b"password"), MALFORMED, "{cost}");
        }
        assert_eq!(matches(&PASSWORD_2A[..59], b"password"), MALFORMED);
        assert_eq!(matches(&format!("{PASSWORD_2A}."), b"password"), MALFORMED);
        assert_eq!(matches(&format!("{}\u{e9}", &PASSWORD_2A[..58]), b"password"), MALFORMED);
    }

    #[test]
    fn a_defective_makers_hashes_verify_as_it_made_them() {
        // From crypt_blowfish's own tests (`wrapper.c`): bytes of 0xa3 and more, which its bug changed.
        let bug = "$2x$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e";
        let fixed = "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq";
        assert_eq!(matches(bug, b"\xa3"), Ok(true));
        assert_eq!(matches(fixed, b"\xa3"), Ok(true));
        assert_eq!(matches(&spelled("2y", bug), b"\xa3"), Ok(false));
        assert_eq!(matches(&spelled("2x", fixed), b"\xa3"), Ok(false));
        // What made it a hole: another password with the same hash. What legacy accepted stays accepted until the first login.
        assert_eq!(matches(bug, b"\xff\xff\xa3"), Ok(true));
        assert_eq!(matches(fixed, b"\xff\xff\xa3"), Ok(false));
    }
}
