//! Limits by client address and by account: governor's GCRA over a bounded store of our own.
//!
//! Decides nothing but how many; who an account is and where a client's address comes from is decided before. Never learns a
//! password, and keeps no name: only fingerprints. Called through [`AddressLimits`] by `http` and through [`AccountLimits`] by
//! the use cases.

mod failures;
mod keys;
pub mod settings;
mod ticks;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use governor::RateLimiter;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;

pub use settings::{CountedAttempts, LimitSettings, Quota};

use self::failures::FailureLimit;
use self::keys::{Fingerprint, Fingerprints, Newcomer, States, Tick};
use self::ticks::{Pace, Ticks};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::Clock;
use crate::service::ports::{
    AccountKey, AccountLimits, AccountPermit, AddressBucket, AddressLimits, ClientStanding, Limited,
};
use crate::telemetry::Metrics;

/// All limits of the process.
pub struct Limits {
    ipv6_prefix: u8,
    intercepted: Attempts,
    registrations: Attempts,
    accounts: Accounts,
    rechecks: Attempts,
    fingerprints: Fingerprints,
    metrics: Arc<Metrics>,
}

/// What is counted at an account.
enum Accounts {
    Failures(FailureLimit),
    All(Attempts),
}

impl Limits {
    /// Limits at rest. Each of them remembers at most `max_keys` keys and takes memory as they come.
    #[must_use]
    pub fn new(settings: LimitSettings, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let (ticks, keys) = (Ticks::new(clock), settings.max_keys);
        let attempts = |quota, newcomer| Attempts::new(Pace::of(quota), keys, newcomer, ticks.clone());
        let accounts = match settings.counted {
            CountedAttempts::Failures => {
                let pace = Pace::of(settings.per_account);
                Accounts::Failures(FailureLimit::new(pace, keys, failures::MAX_WAIT, ticks.clone()))
            }
            CountedAttempts::All => Accounts::All(attempts(settings.per_account, Newcomer::InheritsDebt)),
        };
        Self {
            ipv6_prefix: settings.ipv6_prefix,
            intercepted: attempts(settings.per_ip, Newcomer::AtRest),
            registrations: attempts(settings.register_per_ip, Newcomer::AtRest),
            accounts,
            rechecks: attempts(settings.recheck, Newcomer::InheritsDebt),
            fingerprints: Fingerprints::default(),
            metrics,
        }
    }
}

impl AddressLimits for Limits {
    fn admit(&self, client: ClientAddr, what: AddressBucket) -> Result<(), Limited> {
        let (attempts, scope) = match what {
            AddressBucket::Intercepted => (&self.intercepted, "address"),
            AddressBucket::Registration => (&self.registrations, "registration"),
        };
        let network = self.fingerprints.of(client.limit_key(self.ipv6_prefix));
        attempts.take(network).inspect_err(|_| self.metrics.rate_limited(scope))
    }
}

impl AccountLimits for Limits {
    fn admit(&self, account: AccountKey, _client: ClientAddr) -> BoxFuture<'_, Result<AccountPermit, Limited>> {
        let account = self.fingerprints.of(&account);
        Box::pin(async move {
            let admitted = match &self.accounts {
                Accounts::Failures(limit) => limit.admit(account).await,
                Accounts::All(attempts) => {
                    attempts.take(account).map(|()| AccountPermit::new(ClientStanding::Unknown, |_counted_already| ()))
                }
            };
            admitted.inspect_err(|_| self.metrics.rate_limited("account"))
        })
    }

    fn take_recheck(&self, account: &AccountKey) -> bool {
        self.rechecks.take(self.fingerprints.of(account)).is_ok()
    }

    fn give_recheck_back(&self, account: &AccountKey) {
        self.rechecks.give_back(self.fingerprints.of(account));
    }
}

/// A limit that counts every attempt when it comes.
struct Attempts {
    limiter: RateLimiter<Fingerprint, States, Ticks, NoOpMiddleware<Nanos>>,
    states: States,
    interval: Tick,
}

impl Attempts {
    fn new(pace: Pace, max_keys: NonZeroUsize, newcomer: Newcomer, ticks: Ticks) -> Self {
        let interval = Duration::from_nanos(pace.interval);
        let quota = governor::Quota::with_period(interval).expect("the interval of a pace is never zero");
        let quota = quota.allow_burst(NonZeroU32::new(pace.burst).unwrap_or(NonZeroU32::MIN));
        let states = States::new(max_keys, newcomer);
        Self { limiter: RateLimiter::new(quota, states.clone(), ticks), states, interval: pace.interval }
    }

    /// Takes one attempt back that was counted; governor itself has no way to.
    fn give_back(&self, key: Fingerprint) {
        self.states.give_back(key, self.interval);
    }

    fn take(&self, key: Fingerprint) -> Result<(), Limited> {
        let refused = |not_until: governor::NotUntil<Nanos>| not_until.wait_time_from(self.limiter.clock().now());
        self.limiter.check_key(&key).map_err(|not_until| Limited { retry_after: refused(not_until) })
    }
}

#[cfg(test)]
mod tests;
