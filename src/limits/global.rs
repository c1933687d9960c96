//! The limit on wrong passwords from unknown networks over the whole process: an attack that is spread over so many accounts and
//! addresses that each alone is within its limits ends here, before it costs hashes or questions to legacy (R62).
//!
//! GCRA in one atomic word. It is asked before an attempt and charged after a failure, so that right passwords are free; as many
//! more as are under way at that moment may be judged.
//!
//! One line must not use it up for everybody: a provider gives a customer a /56 or a /48 of IPv6, which is 256 networks or more
//! that `per_ip` counts one by one (RFC 6177, 2). Each site, an IPv6 /48 or an IPv4 /24, therefore has a share of its own, and
//! what it does beyond its share holds up itself alone.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::keys::{Fingerprint, Sharded, Tick};
use super::ledger::Ledger;
use super::ticks::Pace;

/// One site may use one part in so many.
const SHARES: u32 = 20;

/// A share is never less than what one account has at once by default: behind one address are many who mistype.
const LEAST_SHARE: u32 = 10;

/// Only sites that are in debt need a place, and each debt was charged to the whole as well, which is used up long before so many are.
const MAX_SITES: NonZeroUsize = NonZeroUsize::new(8_192).expect("not zero");

pub(super) struct GlobalLimit {
    whole: Pace,
    debt: AtomicU64,
    share: Pace,
    sites: Sharded<Ledger<()>>,
}

/// What stands in the way of an attempt, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    /// The share of the site that it comes from.
    Share(Duration),
    /// The whole.
    Whole(Duration),
}

impl GlobalLimit {
    pub(super) fn new(whole: Pace) -> Self {
        let share = Pace {
            interval: whole.interval.saturating_mul(u64::from(SHARES)),
            burst: (whole.burst / SHARES).max(LEAST_SHARE).min(whole.burst),
        };
        Self { whole, debt: AtomicU64::new(0), share, sites: Sharded::new(MAX_SITES, Ledger::new) }
    }

    /// Whether an attempt may be made from a site; otherwise when.
    pub(super) fn admit(&self, site: Fingerprint, now: Tick) -> Result<(), Exhausted> {
        self.share.wait(self.debt_of(site), now).map_err(Exhausted::Share)?;
        self.whole.wait(self.debt.load(Ordering::Relaxed), now).map_err(Exhausted::Whole)
    }

    /// How long attempts from everywhere are refused, if they are.
    pub(super) fn peek(&self, now: Tick) -> Option<Duration> {
        self.whole.wait(self.debt.load(Ordering::Relaxed), now).err()
    }

    /// One attempt has failed. Beyond the site's share it is charged to nobody: those are attempts that were under way together,
    /// and no more of them are let in.
    pub(super) fn charge(&self, site: Fingerprint, now: Tick) {
        {
            let mut sites = self.sites.lock(site);
            let debt = sites.find(site).map_or(0, |(debt, ())| debt);
            if self.share.wait(debt, now).is_err() {
                return;
            }
            sites.set(site, charged(self.share, debt, now), ());
        }
        // Always some, so that it never fails.
        let charged = |debt: Tick| Some(charged(self.whole, debt, now));
        let _before = self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
    }

    /// The bytes that are taken.
    pub(super) fn bytes(&self) -> usize {
        self.sites.sum(Ledger::bytes)
    }

    fn debt_of(&self, site: Fingerprint) -> Tick {
        self.sites.lock(site).find(site).map_or(0, |(debt, ())| debt)
    }
}

fn charged(pace: Pace, debt: Tick, now: Tick) -> Tick {
    debt.max(now).saturating_add(pace.interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Tick = 1_000_000_000;

    fn site(number: u64) -> Fingerprint {
        Fingerprint::from_bits(number)
    }

    fn limit(burst: u32) -> GlobalLimit {
        GlobalLimit::new(Pace { interval: SECOND, burst })
    }

    #[test]
    fn r62_so_many_failures_at_once_and_then_one_in_each_interval() {
        let limit = limit(3);
        for number in 0..3 {
            assert_eq!(limit.admit(site(number), 0), Ok(()));
            limit.charge(site(number), 0);
        }
        assert_eq!(limit.admit(site(3), 0), Err(Exhausted::Whole(Duration::from_secs(1))));
        assert_eq!(limit.admit(site(3), SECOND), Ok(()));
        limit.charge(site(3), SECOND);
        assert_eq!(limit.admit(site(4), SECOND), Err(Exhausted::Whole(Duration::from_secs(1))));
        assert_eq!(limit.admit(site(4), 100 * SECOND), Ok(()));
    }

    #[test]
    fn r62_right_passwords_cost_nothing() {
        let limit = limit(1);
        assert!((0..1_000).all(|_| limit.admit(site(1), 0).is_ok()));
    }

    #[test]
    fn r62_one_site_uses_up_its_share_and_no_more_even_if_it_asks_for_everything_at_once() {
        let limit = limit(600);
        // All of them were let in before the first had failed.
        (0..10_000).for_each(|_| limit.charge(site(1), 0));
        assert_eq!(limit.admit(site(1), 0), Err(Exhausted::Share(Duration::from_secs(20))));
        assert_eq!(limit.admit(site(1), 20 * SECOND), Ok(()), "what was under way together is no debt");
        for number in 1_000..1_570 {
            assert_eq!(limit.admit(site(number), 0), Ok(()));
            limit.charge(site(number), 0);
        }
        assert_eq!(limit.admit(site(2), 0), Err(Exhausted::Whole(Duration::from_secs(1))), "30 were its own");
    }

    #[test]
    fn a_share_of_a_small_limit_is_still_enough_for_a_few_who_mistype() {
        for (burst, share) in [(1, 1), (10, 10), (100, 10), (200, 10), (6_000, 300)] {
            assert_eq!(limit(burst).share, Pace { interval: 20 * SECOND, burst: share });
        }
    }
}
