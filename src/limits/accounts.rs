//! The limits of one attempt at an account, in the order in which they are asked.
//!
//! ```text
//! attempt -> the network at this account -> known? -> yes: admitted
//!                                                  -> no:  its site's share -> all unknown networks -> this account's -> admitted
//! ```
//!
//! A network that the account knows is held to its own bucket alone (R67); what happens elsewhere is counted where it never looks.
//! Keeps no name and no address: only fingerprints. Called through [`super::Limits`].

use std::sync::Arc;
use std::time::Duration;

use super::failures::{Comer, FailureLimit, MAX_WAIT, Place, Streak};
use super::global::{Exhausted, GlobalLimit};
use super::keys::{Fingerprint, Fingerprints, Newcomer};
use super::known::KnownNetworks;
use super::rules::Rules;
use super::settings::LimitSettings;
use super::signals::{Seen, Signals};
use super::ticks::{Pace, Ticks};
use crate::domain::client_addr::ClientAddr;
use crate::service::ports::{AccountKey, AccountPermit, AttemptOutcome, ClientStanding};
use crate::telemetry::Metrics;

pub(super) struct AccountLimit {
    ipv6_prefix: u8,
    ticks: Ticks,
    fingerprints: Fingerprints,
    /// Of each account, by network.
    pairs: FailureLimit,
    /// Of each account, from all networks that it does not know.
    accounts: FailureLimit,
    /// Of all accounts, from all networks that they do not know.
    global: GlobalLimit,
    known: KnownNetworks,
    signals: Signals,
}

/// Who is tried, and from where.
#[derive(Clone, Copy)]
struct Target {
    account: Fingerprint,
    pair: Fingerprint,
    identity: Fingerprint,
    typed: Fingerprint,
    /// The network, among those of the user, and among those of the typed name.
    network: [u32; 2],
    client: ClientAddr,
    from: Fingerprint,
    site: Fingerprint,
}

/// Which limit refused, and when trying again makes sense.
pub(super) type Refused = (&'static str, Duration);

/// The limit by its name.
fn named(exhausted: Exhausted) -> Refused {
    match exhausted {
        Exhausted::Share(wait) => ("site", wait),
        Exhausted::Whole(wait) => ("global", wait),
    }
}

impl AccountLimit {
    pub(super) fn new(settings: &LimitSettings, ticks: Ticks, metrics: Arc<Metrics>) -> Self {
        let (keys, counted, backoff) = (settings.max_keys, settings.counted, settings.backoff);
        let limit = |quota, newcomer| {
            let rules = Rules::new(Pace::of(quota), counted, backoff);
            FailureLimit::new(rules, newcomer, keys, MAX_WAIT, ticks.clone())
        };
        Self {
            ipv6_prefix: settings.ipv6_prefix,
            // Whoever fills the ledger with networks must not hold those up that an account knows.
            pairs: limit(settings.per_ip_account, Newcomer::AtRest),
            accounts: limit(settings.per_account, Newcomer::InheritsDebt),
            global: GlobalLimit::new(Pace::of(settings.global)),
            known: KnownNetworks::new(keys),
            signals: Signals::new(keys, metrics),
            fingerprints: Fingerprints::default(),
            ticks,
        }
    }

    /// Admits an attempt, waiting where only attempts under way stand before it.
    pub(super) async fn admit(
        self: &Arc<Self>,
        account: &AccountKey,
        client: ClientAddr,
    ) -> Result<AccountPermit, Refused> {
        let target = self.target(account, client);
        let comer = |standing| Comer { aimed_at: target.identity.short(), standing };
        let pair = self.pairs.admit(target.pair, comer(self.standing(target))).await;
        let pair = pair.map_err(|wait| ("address_account", wait))?;
        // Asked again: the one that it waited for may have made its network known.
        let standing = self.standing(target);
        let account = match standing {
            ClientStanding::Known => None,
            ClientStanding::Unknown => {
                self.global.admit(target.site, self.ticks.tick()).map_err(named)?;
                let place = self.accounts.admit(target.account, comer(standing)).await;
                Some(place.map_err(|wait| ("account", wait))?)
            }
        };
        let limit = Arc::clone(self);
        Ok(AccountPermit::new(standing, move |outcome| limit.settle(target, pair, account, outcome)))
    }

    /// How long an account takes no attempts from networks that it does not know, if it does not.
    pub(super) fn peek(&self, account: &AccountKey) -> Option<Duration> {
        let of_account = self.accounts.peek(self.fingerprints.of(account.coarse()));
        of_account.max(self.global.peek(self.ticks.tick()))
    }

    /// Whether an account knows the network of an address, and which limit [`Self::admit`] would refuse an attempt from there by, in the same
    /// order, those under way left out.
    pub(super) fn peek_from(&self, account: &AccountKey, client: ClientAddr) -> (ClientStanding, Option<Refused>) {
        let target = self.target(account, client);
        let standing = self.standing(target);
        let of_pair = self.pairs.peek(target.pair).map(|wait| ("address_account", wait));
        let refused = of_pair.or_else(|| match standing {
            ClientStanding::Known => None,
            ClientStanding::Unknown => self.of_strangers(target),
        });
        (standing, refused)
    }

    /// Which limit on unknown networks refuses an attempt.
    fn of_strangers(&self, target: Target) -> Option<Refused> {
        match self.global.admit(target.site, self.ticks.tick()) {
            Err(exhausted) => Some(named(exhausted)),
            Ok(()) => self.accounts.peek(target.account).map(|wait| ("account", wait)),
        }
    }

    /// Notes a login that succeeded without a permit.
    pub(super) fn welcome(&self, account: &AccountKey, client: ClientAddr) {
        let target = self.target(account, client);
        self.pairs.forgive(target.pair, target.identity.short());
        self.succeeded(target);
    }

    /// The bytes that are taken by all that is remembered of accounts.
    pub(super) fn bytes(&self) -> usize {
        let global = self.global.bytes();
        self.pairs.bytes() + self.accounts.bytes() + global + self.known.bytes() + self.signals.bytes()
    }

    fn settle(&self, target: Target, pair: Place, account: Option<Place>, outcome: AttemptOutcome) {
        let streak = pair.settle(outcome);
        let now = self.ticks.tick();
        match (outcome, account) {
            (AttemptOutcome::Succeeded, account) => {
                drop(account);
                self.succeeded(target);
            }
            (AttemptOutcome::Failed, None) if streak == Some(Streak::TooLong) => {
                self.known.forget(target.identity, target.network[0]);
                self.known.forget(target.typed, target.network[1]);
            }
            (AttemptOutcome::Failed, None) | (AttemptOutcome::NoVerdict, _) => {}
            (AttemptOutcome::Failed, Some(place)) => {
                place.settle(outcome);
                self.global.charge(target.site, now);
                self.known.attacked(target.identity, now);
                self.known.attacked(target.typed, now);
            }
        }
        let seen = Seen { account: target.account, network: target.from, client: target.client };
        self.signals.note(seen, outcome, now);
    }

    fn succeeded(&self, target: Target) {
        self.accounts.forgive(target.account, target.identity.short());
        self.known.remember(target.identity, target.network[0], self.ticks.tick());
    }

    fn standing(&self, target: Target) -> ClientStanding {
        match self.known.standing(target.identity, target.network[0]) {
            ClientStanding::Known => ClientStanding::Known,
            // Until he was migrated he was known by what he typed.
            ClientStanding::Unknown => self.known.standing(target.typed, target.network[1]),
        }
    }

    fn target(&self, account: &AccountKey, client: ClientAddr) -> Target {
        let network = client.limit_key(self.ipv6_prefix);
        let of = |name: &str| self.fingerprints.of(name);
        let at = |name: &str| self.fingerprints.of((name, network)).short();
        Target {
            account: of(account.coarse()),
            pair: self.fingerprints.of((account.coarse(), network)),
            identity: of(account.identity()),
            typed: of(account.typed()),
            network: [at(account.identity()), at(account.typed())],
            client,
            from: self.fingerprints.of(network),
            site: self.fingerprints.of(client.site()),
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.accounts.remembered()
    }
}
