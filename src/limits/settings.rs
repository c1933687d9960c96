//! What the limiters need to be told.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// So many in such a time, with so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many are replenished in one `period`.
    pub count: NonZeroU32,
    /// The time in which `count` are replenished.
    pub period: Duration,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// Which attempts of an account use its quota up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CountedAttempts {
    /// Wrong passwords. A right one gives its place back.
    Failures,
    /// Every attempt.
    All,
}

/// `[limits]` and `[migration] recheck_budget`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Intercepted requests of one address.
    pub per_ip: Quota,
    /// Registrations of one address.
    pub register_per_ip: Quota,
    /// Network size that counts as one IPv6 address, in bits.
    pub ipv6_prefix: u8,
    /// Attempts at one account.
    pub per_account: Quota,
    /// Which of them count.
    pub counted: CountedAttempts,
    /// Questions to legacy about one account whose local password did not match.
    pub recheck: Quota,
    /// How many addresses, and how many accounts, are remembered.
    pub max_keys: NonZeroUsize,
}
