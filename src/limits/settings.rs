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

/// How attempts at an account are slowed down once they fail in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After so many failures in a row the next attempt waits for a second, and twice as long after each further one.
    pub after: NonZeroU32,
    /// The longest such wait.
    pub max: Duration,
    /// After so many failures in a row there is no next attempt for `give_up_for`.
    pub give_up: NonZeroU32,
    /// How long, and how long a row of failures is remembered.
    pub give_up_for: Duration,
}

impl Default for Backoff {
    /// From the 10th failure on, up to a quarter of an hour; a day after the 100th.
    fn default() -> Self {
        let [after, give_up] = [10, 100].map(|number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN));
        Self { after, max: Duration::from_secs(15 * 60), give_up, give_up_for: Duration::from_secs(24 * 60 * 60) }
    }
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
    /// Attempts at one account from all networks that it does not know.
    pub per_account: Quota,
    /// Attempts at one account from one network.
    pub per_ip_account: Quota,
    /// Failures in a row at one account.
    pub backoff: Backoff,
    /// Failures at all accounts from networks that they do not know.
    pub global: Quota,
    /// Which of them count.
    pub counted: CountedAttempts,
    /// Questions to legacy about one account whose local password did not match.
    pub recheck: Quota,
    /// How many addresses, and how many accounts, are remembered.
    pub max_keys: NonZeroUsize,
}
