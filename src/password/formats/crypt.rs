//! crypt(3) as Unix has it: MD5 (`$1$`, and Apache's `$apr1$`), SHA-256 (`$5$`) and SHA-512 (`$6$`), the latter two as their
//! specification says (<https://www.akkadia.org/drepper/SHA-crypt.txt>). Ory Kratos writes the same behind names of its own.

use zeroize::Zeroizing;

use super::digest::{Algorithm, Output};
use super::text;
use super::{About, Arena, Format, NoAnswer, Scheme, Stored, Strength, Terms, Unusable, Wraps, within};

pub(super) const MD5_CRYPT: Format = Format {
    about: About {
        name: "md5-crypt",
        made_by: "crypt(3); Apache's htpasswd (`$apr1$`)",
        shape: "$1$SALT$HASH, $apr1$SALT$HASH",
        bounded_by: "",
        wraps: Wraps::Always,
    },
    claims: |encoded| MD5_MARKS.iter().any(|(mark, _)| encoded.starts_with(mark)),
    read: |encoded, _terms| {
        let (mark, magic) = MD5_MARKS.iter().find(|(mark, _)| encoded.starts_with(mark)).ok_or(Unusable::Malformed)?;
        let rest = encoded.strip_prefix(mark).unwrap_or_default();
        let [salt, hash] = text::fields(rest, '$').ok_or(Unusable::Malformed)?;
        if salt.len() > 8 || !text::is_plain_salt(salt) || !text::is_itoa64_of(hash, Algorithm::Md5.output_len()) {
            return Err(Unusable::Malformed);
        }
        Ok(Stored::new(Md5Crypt { magic, salt: salt.to_owned() }, hash.as_bytes()))
    },
};

pub(super) const SHA_CRYPT: Format = Format {
    about: About {
        name: "sha-crypt",
        made_by: "crypt(3), passlib, Dovecot",
        shape: "$6$rounds=5000$SALT$HASH, $5$…",
        bounded_by: "digest_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| SHA_MARKS.iter().any(|(mark, _)| encoded.starts_with(mark)),
    read: read_sha,
};

/// What a text begins with, and what is hashed with the password for it.
const MD5_MARKS: [(&str, &str); 3] = [("$1$", "$1$"), ("$apr1$", "$apr1$"), ("$md5-crypt$", "$1$")];

const SHA_MARKS: [(&str, Algorithm); 4] = [
    ("$5$", Algorithm::Sha256),
    ("$6$", Algorithm::Sha512),
    ("$sha256-crypt$", Algorithm::Sha256),
    ("$sha512-crypt$", Algorithm::Sha512),
];

// ------------------------------------------------------------------------------------------------------------------ MD5

struct Md5Crypt {
    magic: &'static str,
    salt: String,
}

/// The order in which MD5 crypt writes the bytes of its digest.
const MD5_ORDER: [usize; 16] = [12, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11];

const MD5_ROUNDS: u64 = 1_000;

impl Scheme for Md5Crypt {
    fn digest(&self, password: &[u8], _arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let (md5, salt) = (Algorithm::Md5, self.salt.as_bytes());
        let other = md5.of_parts(&[password, salt, password]);
        let mut input = Zeroizing::new([password, self.magic.as_bytes(), salt].concat());
        repeat_to(&mut input, &other, password.len());
        let mut bits = password.len();
        while bits > 0 {
            // A zero byte for each bit that is set, and the first byte of the password for each that is not: a mistake that stayed.
            input.push(if bits & 1 == 1 { 0 } else { password.first().copied().unwrap_or(0) });
            bits >>= 1;
        }
        let mut digest = md5.of(&input);
        for round in 0..MD5_ROUNDS {
            digest = next_round(md5, round, &digest, password, salt, &mut input);
        }
        Ok(in_order(&digest, &MD5_ORDER))
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        Zeroizing::new(format!("{}{}${}", self.magic, self.salt, str::from_utf8(digest).unwrap_or_default()))
    }

    fn parameters(&self) -> String {
        format!("MD5 crypt ({}), {MD5_ROUNDS} rounds, a salt of {} bytes", self.magic, self.salt.len())
    }

    fn strength(&self) -> Strength {
        Strength::Rounds(MD5_ROUNDS)
    }

    fn filler(&self) -> u8 {
        b'.'
    }

    fn near(&self) -> Vec<(String, Box<dyn Scheme>)> {
        let magic = if self.magic == "$1$" { "$apr1$" } else { "$1$" };
        let other = Self { magic, salt: self.salt.clone() };
        vec![(format!("if its mark is `{magic}`"), Box::new(other))]
    }
}

// ------------------------------------------------------------------------------------------------------------------ SHA

struct ShaCrypt {
    algorithm: Algorithm,
    rounds: u32,
    /// Whether the text says how many, or leaves it at the usual number.
    told: bool,
    salt: String,
}

const USUAL_ROUNDS: u32 = 5_000;
const MAX_SALT_BYTES: usize = 16;

/// The order in which SHA-256 crypt writes the bytes of its digest.
const SHA256_ORDER: [usize; 32] = [
    20, 10, 0, 11, 1, 21, 2, 22, 12, 23, 13, 3, 14, 4, 24, 5, 25, 15, 26, 16, 6, 17, 7, 27, 8, 28, 18, 29, 19, 9, 30,
    31,
];

/// The order in which SHA-512 crypt writes the bytes of its digest.
const SHA512_ORDER: [usize; 64] = [
    42, 21, 0, 1, 43, 22, 23, 2, 44, 45, 24, 3, 4, 46, 25, 26, 5, 47, 48, 27, 6, 7, 49, 28, 29, 8, 50, 51, 30, 9, 10,
    52, 31, 32, 11, 53, 54, 33, 12, 13, 55, 34, 35, 14, 56, 57, 36, 15, 16, 58, 37, 38, 17, 59, 60, 39, 18, 19, 61, 40,
    41, 20, 62, 63,
];

impl ShaCrypt {
    fn order(&self) -> &'static [usize] {
        if self.algorithm == Algorithm::Sha256 { &SHA256_ORDER } else { &SHA512_ORDER }
    }
}

impl Scheme for ShaCrypt {
    /// The steps are numbered as in the specification.
    fn digest(&self, password: &[u8], _arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let (sha, salt) = (self.algorithm, self.salt.as_bytes());
        // 4 to 8.
        let other = sha.of_parts(&[password, salt, password]);
        // 1 to 3, 9 to 12.
        let mut input = Zeroizing::new([password, salt].concat());
        repeat_to(&mut input, &other, password.len());
        let mut bits = password.len();
        while bits > 0 {
            input.extend_from_slice(if bits & 1 == 1 { &other } else { password });
            bits >>= 1;
        }
        let mut digest = sha.of(&input);
        // 13 to 16.
        let long_password = sha.of(&Zeroizing::new(password.repeat(password.len())));
        let mut spread = Zeroizing::new(Vec::with_capacity(password.len()));
        repeat_to(&mut spread, &long_password, password.len());
        // 17 to 20.
        let times = 16 + usize::from(digest.first().copied().unwrap_or(0));
        let long_salt = sha.of(&salt.repeat(times));
        let mut salt_spread = Zeroizing::new(Vec::with_capacity(salt.len()));
        repeat_to(&mut salt_spread, &long_salt, salt.len());
        // 21.
        for round in 0..u64::from(self.rounds) {
            digest = next_round(sha, round, &digest, &spread, &salt_spread, &mut input);
        }
        // 22.
        Ok(in_order(&digest, self.order()))
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let mark = if self.algorithm == Algorithm::Sha256 { "$5$" } else { "$6$" };
        let rounds = if self.told { format!("rounds={}$", self.rounds) } else { String::new() };
        Zeroizing::new(format!("{mark}{rounds}{}${}", self.salt, str::from_utf8(digest).unwrap_or_default()))
    }

    fn parameters(&self) -> String {
        let (name, rounds, salt) = (self.algorithm.name(), self.rounds, self.salt.len());
        format!("{name} crypt, {rounds} rounds, a salt of {salt} bytes")
    }

    fn strength(&self) -> Strength {
        Strength::Rounds(self.rounds.into())
    }

    fn filler(&self) -> u8 {
        b'.'
    }
}

fn read_sha(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let (mark, algorithm) = SHA_MARKS.iter().find(|(mark, _)| encoded.starts_with(mark)).ok_or(Unusable::Malformed)?;
    let rest = encoded.strip_prefix(mark).unwrap_or_default();
    let (rounds, told, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (number, rest) = rest.split_once('$').ok_or(Unusable::Malformed)?;
            // Fewer than 1,000 or more than 999,999,999 are never written: the original corrects them.
            let rounds = text::number(number).filter(|rounds| (1_000..=999_999_999).contains(rounds));
            (rounds.ok_or(Unusable::Malformed)?, true, rest)
        }
        None => (USUAL_ROUNDS.into(), false, rest),
    };
    let [salt, hash] = text::fields(rest, '$').ok_or(Unusable::Malformed)?;
    if salt.len() > MAX_SALT_BYTES || !text::is_plain_salt(salt) || !text::is_itoa64_of(hash, algorithm.output_len()) {
        return Err(Unusable::Malformed);
    }
    within(rounds, terms.bounds.digest_rounds)?;
    let rounds = u32::try_from(rounds).map_err(|_| Unusable::OverBounds)?;
    Ok(Stored::new(ShaCrypt { algorithm: *algorithm, rounds, told, salt: salt.to_owned() }, hash.as_bytes()))
}

// ---------------------------------------------------------------------------------------------------------- of both alike

/// Puts as many bytes of a digest, repeated, behind what is there.
fn repeat_to(out: &mut Vec<u8>, digest: &[u8], bytes: usize) {
    out.extend(digest.iter().copied().cycle().take(bytes));
}

fn next_round(
    algorithm: Algorithm,
    round: u64,
    digest: &[u8],
    password: &[u8],
    salt: &[u8],
    input: &mut Zeroizing<Vec<u8>>,
) -> Output {
    let (first, last) = if round & 1 == 1 { (password, digest) } else { (digest, password) };
    input.clear();
    input.extend_from_slice(first);
    if !round.is_multiple_of(3) {
        input.extend_from_slice(salt);
    }
    if !round.is_multiple_of(7) {
        input.extend_from_slice(password);
    }
    input.extend_from_slice(last);
    algorithm.of(input)
}

fn in_order(digest: &[u8], order: &[usize]) -> Zeroizing<Vec<u8>> {
    let ordered: Zeroizing<Vec<u8>> = Zeroizing::new(order.iter().filter_map(|at| digest.get(*at).copied()).collect());
    Zeroizing::new(text::to_itoa64(&ordered).as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};

    #[test]
    fn the_vectors_of_the_specification_verify() {
        // SHA-crypt.txt, the test vectors of both.
        for (encoded, password) in [
            ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
            ("$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA", "Hello world!"),
            (
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
                "Hello world!",
            ),
        ] {
            assert_eq!(matches(encoded, password.as_bytes()), Ok(true), "{encoded}");
            assert_eq!(matches(encoded, b"Hello world"), Ok(false), "{encoded}");
        }
    }

    #[test]
    fn r53_rounds_are_bounded_and_malformed_hashes_unusable() {
        let hash = "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
        let of = |before: &str| matches(&format!("$5${before}${hash}"), b"x");
        assert_eq!(of("rounds=1048577$salt"), OVER_BOUNDS);
        assert_eq!(of("rounds=999999999$salt"), OVER_BOUNDS);
        assert_eq!(of("rounds=1000$salt"), Ok(false));
        assert_eq!(of(""), Ok(false), "no salt is a salt");
        for malformed in [
            "rounds=999$salt",
            "rounds=1000000000$salt",
            "rounds=05000$salt",
            "rounds=$salt",
            "seventeen-letters",
            "a$b",
            "a b",
        ] {
            assert_eq!(of(malformed), MALFORMED, "{malformed}");
        }
        for malformed in [
            "$1$",
            "$1$salt",
            "$1$salt$",
            "$1$saltsalts$rnY5bI5Ig0ZPTX5sU8lV5/",
            "$1$salt$rnY5bI5Ig0ZPTX5sU8lV5z",
            "$6$salt$short",
        ] {
            assert_eq!(matches(malformed, b"x"), MALFORMED, "{malformed}");
        }
    }
}
