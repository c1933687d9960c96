//! `[password]` and `[limits]` as written: what a login may cost, and how often it may be tried.

use serde::{Deserialize, Serialize};

use super::{RawPepper, RawSecret, Table};
use crate::domain::password::PasswordNormalization;
use crate::limits::CountedAttempts;

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Password")]
pub(in crate::config) struct RawPassword {
    /// The cost of a hash. Raised: each user is hashed anew at the next login.
    pub(in crate::config) argon2id: RawArgon2id,
    /// Hash threads: a number, or `auto` for one a core. Memory times workers is the bound of the pool.
    pub(in crate::config) workers: RawCount,
    /// How many passwords may wait to be hashed; over it 503.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) queue: u64,
    /// How long one may wait; over it 503.
    #[schemars(extend("x-value" = "a duration"))]
    pub(in crate::config) queue_deadline: String,
    /// For new passwords only, in characters.
    #[schemars(range(min = 1, max = 256))]
    pub(in crate::config) min_length: u64,
    /// What legacy does to a password before it hashes it; kept in each record.
    pub(in crate::config) normalize: PasswordNormalization,
    /// A secret key in every hash, so that a stolen file alone verifies nothing.
    #[serde(skip_serializing)]
    pub(in crate::config) pepper: Option<RawPepper>,
    /// Keys, by name, of imported hashes that begin with `$prehash$NAME`: made of an HMAC of the password, as Flask-Security does with its
    /// `SECURITY_PASSWORD_SALT`.
    #[serde(skip_serializing)]
    pub(in crate::config) prehash: Table<RawSecret>,
}

impl Default for RawPassword {
    fn default() -> Self {
        Self {
            argon2id: RawArgon2id::default(),
            workers: RawCount::Word(RawAuto::Auto),
            queue: 256,
            queue_deadline: "5s".into(),
            min_length: 8,
            normalize: PasswordNormalization::None,
            pepper: None,
            prehash: Table::default(),
        }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Argon2id")]
pub(in crate::config) struct RawArgon2id {
    /// Memory of one hash. OWASP asks for 19 MiB; under 8 MiB is refused.
    #[schemars(extend("x-value" = "a size"))]
    pub(in crate::config) memory: String,
    /// Passes over the memory. OWASP asks for 2 with 19 MiB.
    #[schemars(range(min = 1, max = 64))]
    pub(in crate::config) iterations: u32,
    /// Lanes.
    #[schemars(range(min = 1, max = 64))]
    pub(in crate::config) parallelism: u32,
}

impl Default for RawArgon2id {
    fn default() -> Self {
        Self { memory: "19MiB".into(), iterations: 2, parallelism: 1 }
    }
}

/// A number, or `auto`.
#[derive(Clone, Copy, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Count")]
pub(in crate::config) enum RawCount {
    Number(#[schemars(range(min = 1, max = 1_024))] u64),
    Word(RawAuto),
}

#[derive(Clone, Copy, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Auto")]
pub(in crate::config) enum RawAuto {
    Auto,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub(in crate::config) struct RawLimits {
    /// Intercepted requests of one client address.
    pub(in crate::config) per_ip: RawPerIp,
    /// Attempts at one account, from all networks together that it does not know.
    pub(in crate::config) per_account: RawPerAccount,
    /// Attempts at one account from one network, known or not.
    pub(in crate::config) per_ip_account: RawPerIpAccount,
    /// Failures in a row at one account: the longer the row, the longer the wait. Holds beside `per_account`.
    pub(in crate::config) backoff: RawBackoff,
    /// Wrong passwords at all accounts, from all networks together that they do not know.
    pub(in crate::config) global: RawGlobal,
    /// Registrations of one client address.
    pub(in crate::config) register_per_ip: RawRegisterPerIp,
    /// How many addresses, and how many accounts, are remembered.
    #[schemars(range(min = 1_000, max = 100_000_000))]
    pub(in crate::config) max_keys: u64,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            per_ip: RawPerIp::default(),
            per_account: RawPerAccount::default(),
            per_ip_account: RawPerIpAccount::default(),
            backoff: RawBackoff::default(),
            global: RawGlobal::default(),
            register_per_ip: RawRegisterPerIp::default(),
            max_keys: 200_000,
        }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "PerIp")]
pub(in crate::config) struct RawPerIp {
    /// How many in which time.
    #[schemars(extend("x-value" = "a rate"))]
    pub(in crate::config) rate: String,
    /// How many at once; left out: as many as `rate` gives in its time.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(in crate::config) burst: Option<u32>,
    /// How many leading bits of an IPv6 address count as one client.
    #[schemars(range(min = 1, max = 128))]
    pub(in crate::config) ipv6_prefix: u8,
}

impl Default for RawPerIp {
    fn default() -> Self {
        Self { rate: "30/1m".into(), burst: None, ipv6_prefix: 64 }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "PerAccount")]
pub(in crate::config) struct RawPerAccount {
    /// How many in which time.
    #[schemars(extend("x-value" = "a rate"))]
    pub(in crate::config) rate: String,
    /// How many at once; left out: as many as `rate` gives in its time.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(in crate::config) burst: Option<u32>,
    /// `failures`: a right password gives its place back; `all`: every attempt counts.
    pub(in crate::config) count: CountedAttempts,
}

impl Default for RawPerAccount {
    fn default() -> Self {
        Self { rate: "10/15m".into(), burst: None, count: CountedAttempts::Failures }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "RegisterPerIp")]
pub(in crate::config) struct RawRegisterPerIp {
    /// How many in which time.
    #[schemars(extend("x-value" = "a rate"))]
    pub(in crate::config) rate: String,
    /// How many at once; left out: as many as `rate` gives in its time.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(in crate::config) burst: Option<u32>,
}

impl Default for RawRegisterPerIp {
    fn default() -> Self {
        Self { rate: "10/1h".into(), burst: None }
    }
}

#[derive(Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "PerIpAccount")]
pub(in crate::config) struct RawPerIpAccount {
    /// How many in which time; left out: as `per_account`.
    #[schemars(extend("x-value" = "a rate"))]
    pub(in crate::config) rate: Option<String>,
    /// How many at once; left out: as many as `rate` gives in its time, or as `per_account`.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(in crate::config) burst: Option<u32>,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Backoff")]
pub(in crate::config) struct RawBackoff {
    /// After so many failures in a row the next attempt waits 1 s, and twice as long after each further one; left out: after
    /// `per_account.burst`.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(in crate::config) after: Option<u32>,
    /// The longest such wait.
    #[schemars(extend("x-value" = "a duration"))]
    pub(in crate::config) max: String,
    /// After so many failures in a row there is no next attempt for `give_up_for`; left out: after 100, or `per_account.burst` if that
    /// is more.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(in crate::config) give_up: Option<u32>,
    /// How long an account is given up, and a row of failures remembered.
    #[schemars(extend("x-value" = "a duration"))]
    pub(in crate::config) give_up_for: String,
}

impl Default for RawBackoff {
    fn default() -> Self {
        Self { after: None, max: "15m".into(), give_up: None, give_up_for: "24h".into() }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Global")]
pub(in crate::config) struct RawGlobal {
    /// How many in which time.
    #[schemars(extend("x-value" = "a rate"))]
    pub(in crate::config) rate: String,
    /// How many at once; left out: as many as `rate` gives in its time.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(in crate::config) burst: Option<u32>,
}

impl Default for RawGlobal {
    fn default() -> Self {
        Self { rate: "6000/1m".into(), burst: None }
    }
}
