//! The stored password formats that can be verified: a table with a row a format. A further format is one more file and one
//! more row.
//!
//! A format says whether a text is one of its own, reads it, and refuses parameters over the bounds (R53). It never takes a hash
//! that it cannot verify for a wrong password. Called by `argon2id` and the pool; by an import, to tell a bad row from a good one.

mod argon2;
mod bcrypt;

use super::arena::{Arena, OutOfMemory};

pub(super) use argon2::Parsed as ParsedArgon2;

/// What a stored hash may ask for, so that a record cannot become an attack on the process (R53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Argon2: memory in KiB.
    pub memory_kib: u32,
    /// Argon2: KiB filled in all passes together, which is what the time goes by.
    pub work_kib: u64,
    /// Argon2: lanes.
    pub lanes: u32,
    /// bcrypt: the logarithm of its rounds.
    pub bcrypt_cost: u32,
}

/// 256 MiB, as libsodium's `MODERATE` has it; a gibibyte in all passes together, about half a second; 64 lanes; bcrypt with
/// cost 14, about a second.
impl Default for Bounds {
    fn default() -> Self {
        Self { memory_kib: 256 * 1024, work_kib: 1024 * 1024, lanes: 64, bcrypt_cost: 14 }
    }
}

/// Why a stored hash cannot be used. Says nothing about any password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No row of the table knows it.
    #[error("the hash is of no known format")]
    UnknownFormat,
    /// It begins like a known format and goes on differently.
    #[error("the hash is malformed")]
    Malformed,
    /// It asks for more memory, time or lanes than is given.
    #[error("the parameters of the hash are over the bounds")]
    OverBounds,
    /// It was made with a secret key that we do not have.
    #[error("the hash was made with a secret key")]
    Keyed,
    /// It was made by software that hashed this password in a way of its own.
    #[error("the hash was made by software with a defect that matters for this password")]
    DefectiveMaker,
}

/// A check without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    Unusable(Unusable),
    OutOfMemory,
}

impl From<Unusable> for NoAnswer {
    fn from(why: Unusable) -> Self {
        Self::Unusable(why)
    }
}

impl From<OutOfMemory> for NoAnswer {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// One row.
struct Format {
    name: &'static str,
    /// Whether a text claims to be of this format, by its beginning.
    claims: fn(&str) -> bool,
    /// Reads a text that does.
    read: Reader,
}

type Reader = fn(&str, &Bounds) -> Result<Box<dyn Readable>, Unusable>;

/// A hash that was read and is within the bounds.
trait Readable {
    /// Whether it is the hash of this password. Compares in constant time (R57).
    fn matches(&self, password: &[u8], arena: &mut Arena) -> Result<bool, NoAnswer>;
}

const FORMATS: &[Format] = &[
    Format { name: "argon2", claims: argon2::claims, read: argon2::read },
    Format { name: "bcrypt", claims: bcrypt::claims, read: bcrypt::read },
];

/// The name of the format of an encoded hash that can be verified within the bounds.
pub fn recognise(encoded: &str, bounds: &Bounds) -> Result<&'static str, Unusable> {
    let format = format_of(encoded)?;
    (format.read)(encoded, bounds).map(|_| format.name)
}

/// Whether an encoded hash is the hash of this password.
pub(super) fn verify(encoded: &str, password: &[u8], bounds: &Bounds, arena: &mut Arena) -> Result<bool, NoAnswer> {
    (format_of(encoded)?.read)(encoded, bounds)?.matches(password, arena)
}

fn format_of(encoded: &str) -> Result<&'static Format, Unusable> {
    FORMATS.iter().find(|format| (format.claims)(encoded)).ok_or(Unusable::UnknownFormat)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_no_row_knows_is_unusable_and_not_a_mismatch() {
        for unknown in ["", "$", "plain", "$1$salt$hash", "{SSHA}abc", "$argon2xx$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"]
        {
            assert_eq!(recognise(unknown, &Bounds::default()), Err(Unusable::UnknownFormat), "{unknown}");
        }
    }

    #[test]
    fn each_format_is_recognised_by_name() {
        let bounds = Bounds::default();
        assert_eq!(recognise(argon2::tests::ARGON2ID, &bounds), Ok("argon2"));
        assert_eq!(recognise(bcrypt::tests::PASSWORD_2A, &bounds), Ok("bcrypt"));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(prefix in "(\\$argon2(i|d|id)?\\$|\\$2[abxy]?\\$|)", rest in "\\PC{0,80}") {
            let _ = recognise(&format!("{prefix}{rest}"), &Bounds::default());
        }
    }
}
