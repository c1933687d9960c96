//! What the hash pool needs to be told.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::formats::{Bounds, PrehashKeys, Terms};
use super::pepper::Peppers;
use crate::domain::password::PasswordNormalization;

/// OWASP's Password Storage Cheat Sheet: Argon2id with 19 MiB and 2 passes, or 46 MiB and 1. In KiB.
pub const OWASP_MEMORY_KIB: u32 = 19 * 1_024;
/// The least memory with which one pass is enough.
pub const OWASP_ONE_PASS_KIB: u32 = 46 * 1_024;

/// `[password]`, resolved.
#[derive(Debug, Clone)]
pub struct PasswordSettings {
    /// Memory of one hash, in KiB. OWASP's minimum is 19 MiB; under 8 MiB is refused.
    pub memory_kib: u32,
    /// Passes over the memory. OWASP's minimum with 19 MiB is 2.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hash threads. Memory times workers bounds the pool.
    pub workers: NonZeroUsize,
    /// How many passwords may wait.
    pub queue: NonZeroUsize,
    /// How long one may wait.
    pub queue_deadline: Duration,
    /// What is done to a new user's password before it is hashed.
    pub normalization: PasswordNormalization,
    /// The keys with which some imported passwords were hashed before they were hashed.
    pub prehash_keys: PrehashKeys,
    /// The secret keys that go into hashes.
    pub peppers: Peppers,
}

impl PasswordSettings {
    /// What stored hashes are read under. What an operator configured for himself is never over the bounds.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let usual = Bounds::default();
        let bounds = Bounds {
            memory_kib: usual.memory_kib.max(self.memory_kib),
            work_kib: usual.work_kib.max(u64::from(self.memory_kib) * u64::from(self.iterations)),
            lanes: usual.lanes.max(self.parallelism),
            ..usual
        };
        Terms { bounds, keys: self.prehash_keys.clone() }
    }
}
