//! The networks that each account knows: those from which somebody logged in to it.
//!
//! What attackers elsewhere do to an account does not hold its user up where he has logged in before (R67). Who is told apart is
//! told apart exactly: a network is known to a user, or to a name as it is typed, never to everything that looks like that name.
//! Remembers fingerprints only, and forgets when the process ends. An account under attack is the last to be forgotten: a
//! flood of logins to fresh accounts does not make strangers of those whom the attack is meant for.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::keys::{Fingerprint, Sharded, Tick};
use super::ledger::Ledger;
use super::ticks::nanos;
use crate::service::ports::ClientStanding;

/// How many networks an account knows. The one that nobody has logged in from for the longest time goes first.
pub(super) const NETWORKS: usize = 6;

/// How long after a failure from elsewhere an account counts as attacked.
const ATTACKED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Short fingerprints of networks, the latest first; zero is none.
type Networks = [u32; NETWORKS];

pub(super) struct KnownNetworks(Sharded<Ledger<Networks>>);

impl KnownNetworks {
    pub(super) fn new(max_accounts: NonZeroUsize) -> Self {
        Self(Sharded::new(max_accounts, Ledger::new))
    }

    /// Whether an account knows a network.
    pub(super) fn standing(&self, account: Fingerprint, network: u32) -> ClientStanding {
        match self.0.lock(account).find(account) {
            Some((_, networks)) if networks.contains(&network) => ClientStanding::Known,
            Some(_) | None => ClientStanding::Unknown,
        }
    }

    /// Somebody has logged in to an account.
    pub(super) fn remember(&self, account: Fingerprint, network: u32, now: Tick) {
        let mut ledger = self.0.lock(account);
        let (rest, mut networks) = ledger.find(account).unwrap_or((0, [0; NETWORKS]));
        let at = networks.iter().position(|known| *known == network).unwrap_or(NETWORKS - 1);
        if let Some(older) = networks.get_mut(..=at) {
            older.rotate_right(1);
        }
        if let Some(latest) = networks.first_mut() {
            *latest = network;
        }
        // Where everybody who is remembered is under attack, who comes now stays a stranger.
        ledger.set_if_room(account, rest.max(now), networks);
    }

    /// Too many attempts from a network have failed for it to be anybody's.
    pub(super) fn forget(&self, account: Fingerprint, network: u32) {
        let mut ledger = self.0.lock(account);
        if let Some((rest, mut networks)) = ledger.find(account) {
            networks.iter_mut().filter(|known| **known == network).for_each(|known| *known = 0);
            ledger.set(account, rest, networks);
        }
    }

    /// An attempt from elsewhere has failed: whom it was aimed at is kept for longer.
    pub(super) fn attacked(&self, account: Fingerprint, now: Tick) {
        let mut ledger = self.0.lock(account);
        if let Some((rest, networks)) = ledger.find(account) {
            ledger.set(account, rest.max(now.saturating_add(nanos(ATTACKED_FOR))), networks);
        }
    }

    /// The bytes that are taken.
    pub(super) fn bytes(&self) -> usize {
        self.0.sum(Ledger::bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Fingerprints;
    use super::*;

    const KNOWN: ClientStanding = ClientStanding::Known;
    const UNKNOWN: ClientStanding = ClientStanding::Unknown;

    fn known(max_accounts: usize) -> KnownNetworks {
        KnownNetworks::new(NonZeroUsize::new(max_accounts).expect("not zero"))
    }

    fn account(number: u64) -> Fingerprint {
        Fingerprint::from_bits(number)
    }

    #[test]
    fn r67_a_network_is_known_to_the_account_that_was_logged_in_to_from_there_and_to_no_other() {
        let known = known(10);
        assert_eq!(known.standing(account(1), 7), UNKNOWN);
        known.remember(account(1), 7, 100);
        assert_eq!(known.standing(account(1), 7), KNOWN);
        assert_eq!((known.standing(account(1), 8), known.standing(account(2), 7)), (UNKNOWN, UNKNOWN));
        known.forget(account(1), 7);
        assert_eq!(known.standing(account(1), 7), UNKNOWN);
    }

    #[test]
    fn an_account_knows_its_last_networks() {
        let known = known(10);
        let last = u32::try_from(NETWORKS).expect("small");
        (1..=last).for_each(|network| known.remember(account(1), network, 100));
        known.remember(account(1), 1, 101);
        known.remember(account(1), 100, 102);
        let standings: Vec<_> = (1..=last).map(|network| known.standing(account(1), network)).collect();
        let expected: Vec<_> = (1..=last).map(|network| if network == 2 { UNKNOWN } else { KNOWN }).collect();
        assert_eq!(standings, expected, "the one that was logged in from longest ago made room");
        assert_eq!(known.standing(account(1), 100), KNOWN);
        assert_eq!(known.standing(account(1), 0), UNKNOWN, "nothing is no network");
    }

    #[test]
    fn r67_r69_a_flood_of_fresh_logins_makes_no_stranger_of_who_is_under_attack() {
        let (known, fingerprints) = (known(2_000), Fingerprints::default());
        let [victim, bystander] = ["victim", "bystander"].map(|name| fingerprints.of(name));
        known.remember(victim, 7, 100);
        known.remember(bystander, 7, 100);
        known.attacked(victim, 200);
        for number in 0..50_000_u64 {
            known.remember(fingerprints.of(number), 9, 1_000 + number);
        }
        assert_eq!(known.standing(victim, 7), KNOWN);
        assert_eq!(known.standing(bystander, 7), UNKNOWN, "room is room");
        assert!(known.0.sum(Ledger::len) <= 2_000);
    }

    #[test]
    fn r67_where_all_are_under_attack_nobody_is_forgotten_for_a_newcomer() {
        let known = known(2);
        for number in [1, 2] {
            known.remember(account(number), 7, 100);
            known.attacked(account(number), 200);
        }
        known.remember(account(3), 7, 300);
        assert_eq!([1, 2, 3].map(|number| known.standing(account(number), 7)), [KNOWN, KNOWN, UNKNOWN]);
    }
}
