//! All hashing: a bounded pool of Argon2id threads with reused memory, and the verifiers of other people's hashes.
//!
//! Called through [`crate::service::ports::PasswordHasher`]. Never decides what a match or a mismatch means, never logs a
//! password, a hash or a tag, and never uses more memory than [`memory_bound_bytes`] and [`STORED_MEMORY_BYTES`] say.

mod arena;
mod argon2id;
mod fill;
pub mod formats;
mod look;
mod pepper;
mod pool;
mod queue;
pub mod settings;
pub mod trial;
pub mod tune;

pub use arena::STORED_MEMORY_BYTES;
pub use argon2id::PolicyError;
pub use fill::{Choice, Implementation, Input, Rejected, choice};
pub use look::Inspector;
pub use pepper::{PepperSetupError, Peppers};
pub use pool::{HashPool, Progress, StartError};
pub use settings::PasswordSettings;

/// What the pool's threads use under the configured parameters, in bytes: the bound for hashes of our own making (R54).
///
/// Stored hashes with larger parameters, imported ones as a rule, borrow what they need beyond that from one common
/// allowance, [`STORED_MEMORY_BYTES`], and wait where it is used up.
#[must_use]
pub fn memory_bound_bytes(settings: &PasswordSettings) -> u64 {
    let workers = u64::try_from(settings.workers.get()).unwrap_or(u64::MAX);
    (u64::from(settings.memory_kib) * 1024).saturating_mul(workers)
}

/// What `crate::fuzzing` needs to see.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed {
    use zeroize::Zeroizing;

    use super::arena::{Allowance, Arena};
    use super::formats::{self, Bounds, Terms};

    /// A hash within the bounds, as we write it.
    pub(crate) fn reencoded(encoded: &str) -> Option<Zeroizing<String>> {
        formats::reencoded(encoded, &Terms::default())
    }

    /// How many fast digests one try costs; none for what is hard by other means.
    pub(crate) fn rounds(encoded: &str) -> Option<u64> {
        formats::rounds(encoded, &Terms::default())
    }

    /// Whether it is the hash of a password; none if there is no answer.
    pub(crate) fn verify(encoded: &str, password: &[u8], bounds: &Bounds) -> Option<bool> {
        formats::verify(encoded, password, &Terms::of(bounds), &mut Arena::new(0, Allowance::new())).ok()
    }
}
