//! What a user's password is checked against.
//!
//! Nothing here can be printed: a hash is worth an offline attack.

use zeroize::Zeroizing;

use super::password::PasswordNormalization;

/// The stored side of a password.
pub enum Credential {
    /// A hash of our own making.
    Argon2id(StoredHash),
    /// A hash of somebody else's making, replaced at the first login that it verifies.
    Imported(StoredHash),
    /// None: such a user is known, and legacy is asked.
    Absent(AbsentBecause),
}

/// Why a known user has no password with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsentBecause {
    /// Listed in a roster or found by `get_user`, never proven.
    Roster,
    /// A reset went through legacy and did not tell us the new password.
    ResetAtLegacy,
    /// Listed, never proven, and legacy asks him for more than a password: a second factor, something that he has to do first. What has a
    /// hash of his and adds to his record does not bring it.
    LeftWithLegacy,
}

/// An encoded hash and how the password is normalized before it meets it. No `Debug`, no `Display`, no `Serialize`.
#[derive(Clone)]
pub struct StoredHash {
    encoded: Zeroizing<String>,
    normalization: PasswordNormalization,
}

impl StoredHash {
    /// Wraps an encoded hash: a PHC string, or a legacy format that `password` knows.
    #[must_use]
    pub fn new(encoded: String, normalization: PasswordNormalization) -> Self {
        Self { encoded: Zeroizing::new(encoded), normalization }
    }

    /// The encoded hash, for the verifier and the store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.encoded
    }

    /// What was done to the password before it was hashed.
    #[must_use]
    pub fn normalization(&self) -> PasswordNormalization {
        self.normalization
    }
}

impl Credential {
    /// The word for its kind in answers and files; never the hash.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Argon2id(_) => "argon2id",
            Self::Imported(_) => "imported",
            Self::Absent(_) => "none",
        }
    }
}
