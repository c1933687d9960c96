//! Limits by client address and by account: governor's GCRA over a bounded store of our own.
//!
//! Decides nothing but how many; who an account is and where a client's address comes from is decided before. Never learns a
//! password, and keeps no name: only fingerprints. Called through [`AddressLimits`] by `http` and through [`AccountLimits`] by
//! the use cases.

mod accounts;
mod failures;
mod global;
mod keys;
mod known;
mod ledger;
mod rules;
pub mod settings;
mod signals;
mod ticks;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use governor::RateLimiter;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;

pub use settings::{Backoff, CountedAttempts, LimitSettings, Quota};

use self::accounts::AccountLimit;
use self::keys::{Fingerprint, Fingerprints, Newcomer, States};
use self::ticks::{Pace, Ticks};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::Clock;
use crate::service::ports::{
    AccountKey, AccountLimits, AccountPermit, AccountState, AddressBucket, AddressLimits, LimitPolicy, Limited, There,
};
use crate::telemetry::Metrics;

/// All limits of the process.
pub struct Limits {
    ipv6_prefix: u8,
    intercepted: Attempts,
    registrations: Attempts,
    accounts: Arc<AccountLimit>,
    /// What clients are told of the limits on accounts, whichever of them it is that refuses: which one would tell whether somebody has
    /// logged in from there before.
    account_policy: LimitPolicy,
    rechecks: Attempts,
    fingerprints: Fingerprints,
    metrics: Arc<Metrics>,
}

impl Limits {
    /// Limits at rest. Each of them remembers at most `max_keys` keys and takes memory as they come.
    #[must_use]
    pub fn new(settings: LimitSettings, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let (ticks, keys) = (Ticks::new(clock), settings.max_keys);
        let attempts = |name, quota, newcomer| Attempts::new(policy(name, quota), quota, keys, newcomer, ticks.clone());
        Self {
            ipv6_prefix: settings.ipv6_prefix,
            intercepted: attempts("address", settings.per_ip, Newcomer::AtRest),
            registrations: attempts("registration", settings.register_per_ip, Newcomer::AtRest),
            accounts: Arc::new(AccountLimit::new(&settings, ticks.clone(), Arc::clone(&metrics))),
            account_policy: policy("account", settings.per_account),
            rechecks: attempts("recheck", settings.recheck, Newcomer::InheritsDebt),
            fingerprints: Fingerprints::default(),
            metrics,
        }
    }

    /// The bytes that everything which grows with keys takes, used or reserved. Never more than about 350 for each of `max_keys`.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let attempts = [&self.intercepted, &self.registrations, &self.rechecks];
        attempts.iter().map(|attempts| attempts.states.bytes()).sum::<usize>() + self.accounts.bytes()
    }
}

fn policy(name: &'static str, quota: Quota) -> LimitPolicy {
    LimitPolicy { name, quota: quota.count.get(), window: quota.period }
}

impl AddressLimits for Limits {
    fn admit(&self, client: ClientAddr, what: AddressBucket) -> Result<(), Limited> {
        let attempts = match what {
            AddressBucket::Intercepted => &self.intercepted,
            AddressBucket::Registration => &self.registrations,
        };
        let network = self.fingerprints.of(client.limit_key(self.ipv6_prefix));
        attempts.take(network).inspect_err(|limited| self.metrics.rate_limited(limited.policy.name))
    }
}

impl AccountLimits for Limits {
    fn admit(&self, account: AccountKey, client: ClientAddr) -> BoxFuture<'_, Result<AccountPermit, Limited>> {
        Box::pin(async move {
            self.accounts.admit(&account, client).await.map_err(|(scope, retry_after)| {
                self.metrics.rate_limited(scope);
                Limited { retry_after, policy: self.account_policy }
            })
        })
    }

    fn welcome(&self, account: &AccountKey, client: ClientAddr) {
        self.accounts.welcome(account, client);
    }

    fn take_recheck(&self, account: &AccountKey) -> bool {
        self.rechecks.take(self.fingerprints.of(account.identity())).is_ok()
    }

    fn give_recheck_back(&self, account: &AccountKey) {
        self.rechecks.give_back(self.fingerprints.of(account.identity()));
    }

    fn peek(&self, account: &AccountKey, from: Option<ClientAddr>) -> AccountState {
        AccountState {
            closed_for: self.accounts.peek(account),
            may_recheck: self.rechecks.wait(self.fingerprints.of(account.identity())).is_none(),
            there: from.map(|client| {
                let network = self.fingerprints.of(client.limit_key(self.ipv6_prefix));
                let (standing, of_account) = self.accounts.peek_from(account, client);
                let of_address = self.intercepted.wait(network).map(|wait| (self.intercepted.policy.name, wait));
                There { standing, refused: of_address.or(of_account) }
            }),
        }
    }
}

/// A limit that counts every attempt when it comes.
struct Attempts {
    limiter: RateLimiter<Fingerprint, States, Ticks, NoOpMiddleware<Nanos>>,
    states: States,
    pace: Pace,
    policy: LimitPolicy,
}

impl Attempts {
    fn new(policy: LimitPolicy, quota: Quota, max_keys: NonZeroUsize, newcomer: Newcomer, ticks: Ticks) -> Self {
        let pace = Pace::of(quota);
        let interval = Duration::from_nanos(pace.interval);
        let quota = governor::Quota::with_period(interval).expect("the interval of a pace is never zero");
        let quota = quota.allow_burst(NonZeroU32::new(pace.burst).unwrap_or(NonZeroU32::MIN));
        let states = States::new(max_keys, newcomer);
        Self { limiter: RateLimiter::new(quota, states.clone(), ticks), states, pace, policy }
    }

    /// Takes one attempt back that was counted; governor itself has no way to.
    fn give_back(&self, key: Fingerprint) {
        self.states.give_back(key, self.pace.interval);
    }

    /// How long [`Self::take`] would refuse, if it would now; takes nothing.
    fn wait(&self, key: Fingerprint) -> Option<Duration> {
        let now = self.limiter.clock().tick();
        self.pace.wait(self.states.debt(key)?, now).err()
    }

    fn take(&self, key: Fingerprint) -> Result<(), Limited> {
        let refused = |not_until: governor::NotUntil<Nanos>| not_until.wait_time_from(self.limiter.clock().now());
        self.limiter
            .check_key(&key)
            .map_err(|not_until| Limited { retry_after: refused(not_until), policy: self.policy })
    }
}

#[cfg(test)]
mod tests;
