//! phpass's portable hashes (`$P$` of WordPress, `$H$` of phpBB) and Drupal 7's (`$S$`, the same with SHA-512): a digest of salt and
//! password, then over and over of digest and password. A `U` before Drupal's says that the password was MD5 hex text already.

use zeroize::Zeroizing;

use super::digest::Algorithm;
use super::text;
use super::{About, Arena, Format, NoAnswer, Scheme, Stored, Strength, Terms, Unusable, Wraps, within};

pub(super) const PHPASS: Format = Format {
    about: About {
        name: "phpass",
        made_by: "WordPress before 6.8 (`$P$`), phpBB 3 (`$H$`), Joomla 2.5",
        shape: "$P$B…",
        bounded_by: "digest_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| encoded.starts_with("$P$") || encoded.starts_with("$H$"),
    read: |encoded, terms| read(encoded, First::Password, terms),
};

pub(super) const DRUPAL: Format = Format {
    about: About {
        name: "drupal",
        made_by: "Drupal 7 and later until 10.0",
        shape: "$S$D…",
        bounded_by: "digest_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| encoded.starts_with("$S$"),
    read: |encoded, terms| read(encoded, First::Password, terms),
};

pub(super) const DRUPAL_UPDATED: Format = Format {
    about: About {
        name: "drupal-updated",
        made_by: "Drupal 7, of users who came from Drupal 6",
        shape: "U$S$9…",
        bounded_by: "digest_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| ["U$S$", "U$P$", "U$H$"].iter().any(|head| encoded.starts_with(head)),
    read: |encoded, terms| read(encoded.strip_prefix('U').unwrap_or_default(), First::HexOfMd5, terms),
};

/// How many rounds the original makes at most, as a logarithm, and at least.
const LOG_ROUNDS: std::ops::RangeInclusive<u8> = 7..=30;

const SALT_DIGITS: usize = 8;

/// The digits that Drupal keeps of a digest's 86.
const DRUPAL_DIGITS: usize = 43;

/// Drupal refuses longer passwords, wherever they come from.
const DRUPAL_MAX_PASSWORD_BYTES: usize = 512;

/// What is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Password,
    HexOfMd5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With the letter that it is marked by.
    Phpass(char),
    Drupal,
}

struct Phpass {
    kind: Kind,
    first: First,
    log_rounds: u8,
    /// As text, which is what is hashed.
    salt: String,
}

impl Phpass {
    fn algorithm(&self) -> Algorithm {
        match self.kind {
            Kind::Phpass(_) => Algorithm::Md5,
            Kind::Drupal => Algorithm::Sha512,
        }
    }
}

impl Scheme for Phpass {
    /// In the alphabet of crypt, since Drupal cuts it in the middle of a byte.
    fn digest(&self, password: &[u8], _arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        if self.kind == Kind::Drupal && password.len() > DRUPAL_MAX_PASSWORD_BYTES {
            return Ok(Zeroizing::default());
        }
        let algorithm = self.algorithm();
        let password = match self.first {
            First::Password => Zeroizing::new(password.to_vec()),
            First::HexOfMd5 => Zeroizing::new(text::to_hex(&Algorithm::Md5.of(password)).as_bytes().to_vec()),
        };
        let mut digest = algorithm.of_parts(&[self.salt.as_bytes(), &password]);
        let mut input = Zeroizing::new(Vec::with_capacity(algorithm.output_len() + password.len()));
        for _ in 0..1_u32 << self.log_rounds {
            input.clear();
            input.extend_from_slice(&digest);
            input.extend_from_slice(&password);
            digest = algorithm.of(&input);
        }
        let mut digits = Zeroizing::new(text::to_itoa64(&digest).as_bytes().to_vec());
        if self.kind == Kind::Drupal {
            digits.truncate(DRUPAL_DIGITS);
        }
        Ok(digits)
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let letter = match self.kind {
            Kind::Phpass(letter) => letter,
            Kind::Drupal => 'S',
        };
        let updated = if self.first == First::HexOfMd5 { "U" } else { "" };
        let rounds = text::itoa64_digit(self.log_rounds);
        let digest = str::from_utf8(digest).unwrap_or_default();
        Zeroizing::new(format!("{updated}${letter}${rounds}{}{digest}", self.salt))
    }

    fn parameters(&self) -> String {
        let of = if self.first == First::HexOfMd5 { " of MD5's hex text" } else { "" };
        let (name, rounds) = (self.algorithm().name(), 1_u64 << self.log_rounds);
        format!("{name}, {rounds} rounds{of}, a salt of {SALT_DIGITS} bytes")
    }

    fn strength(&self) -> Strength {
        Strength::Rounds(1 << self.log_rounds)
    }

    fn filler(&self) -> u8 {
        b'.'
    }

    fn near(&self) -> Vec<(String, Box<dyn Scheme>)> {
        let (first, told) = match self.first {
            First::Password => (First::HexOfMd5, "if the user came from Drupal 6 or phpBB 2: write `U` before it"),
            First::HexOfMd5 => (First::Password, "if it is of the password itself: leave the `U` out"),
        };
        let other = Self { kind: self.kind, first, log_rounds: self.log_rounds, salt: self.salt.clone() };
        vec![(told.to_owned(), Box::new(other))]
    }
}

/// `$P$`, a digit for the rounds, eight of salt, and the digest.
fn read(encoded: &str, first: First, terms: &Terms) -> Result<Stored, Unusable> {
    let (kind, rest) = if let Some(rest) = encoded.strip_prefix("$P$") {
        (Kind::Phpass('P'), rest)
    } else if let Some(rest) = encoded.strip_prefix("$H$") {
        (Kind::Phpass('H'), rest)
    } else {
        (Kind::Drupal, encoded.strip_prefix("$S$").ok_or(Unusable::Malformed)?)
    };
    let (rounds, rest) = rest.split_at_checked(1).ok_or(Unusable::Malformed)?;
    let log_rounds = rounds.bytes().next().and_then(text::itoa64_value).filter(|log| LOG_ROUNDS.contains(log));
    let log_rounds = log_rounds.ok_or(Unusable::Malformed)?;
    let (salt, digest) = rest.split_at_checked(SALT_DIGITS).ok_or(Unusable::Malformed)?;
    let is_whole = match kind {
        Kind::Phpass(_) => text::is_itoa64_of(digest, Algorithm::Md5.output_len()),
        Kind::Drupal => {
            digest.len() == DRUPAL_DIGITS && digest.bytes().all(|digit| text::itoa64_value(digit).is_some())
        }
    };
    if !is_whole || !salt.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'$') {
        return Err(Unusable::Malformed);
    }
    within(1_u64 << log_rounds, terms.bounds.digest_rounds)?;
    Ok(Stored::new(Phpass { kind, first, log_rounds, salt: salt.to_owned() }, digest.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};

    /// From phpass's own test program; the password is "test12345".
    const PUBLISHED: &str = "$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0";

    #[test]
    fn phpass_own_vector_verifies_under_both_letters() {
        assert_eq!(matches(PUBLISHED, b"test12345"), Ok(true));
        assert_eq!(matches(PUBLISHED, b"test12346"), Ok(false));
        assert_eq!(matches(&PUBLISHED.replacen("$P$", "$H$", 1), b"test12345"), Ok(true));
    }

    #[test]
    fn r53_rounds_are_bounded_and_malformed_hashes_unusable() {
        let rounds = |digit: &str| matches(&PUBLISHED.replacen("$P$9", &format!("$P${digit}"), 1), b"x");
        assert_eq!(rounds("J"), OVER_BOUNDS, "2^21 rounds");
        assert_eq!(rounds("S"), OVER_BOUNDS, "2^30 rounds");
        assert_eq!(rounds("5"), Ok(false), "2^7 rounds");
        for malformed in ["4", "T", "z", "\u{e9}", "!"] {
            assert_eq!(rounds(malformed), MALFORMED, "{malformed}");
        }
        for malformed in [
            "$P$",
            "$P$9",
            "$P$9IQRaTwm",
            &PUBLISHED[..33],
            &format!("{PUBLISHED}."),
            "$S$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0",
        ] {
            assert_eq!(matches(malformed, b"x"), MALFORMED, "{malformed}");
        }
        assert_eq!(matches(&format!("{}z", &PUBLISHED[..33]), b"x"), MALFORMED, "bits that no digest has");
    }
}
