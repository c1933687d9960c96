//! How often a wrong admin token may be shown from one address: ten at once, and then one every six seconds (OWASP ASVS 6.3.1).
//!
//! While an address is over it no token is looked at, the right one included: otherwise guessing would go on as fast as before. A
//! session that is open stays open. The table has a fixed size: addresses that share a slot share its patience, and which ones do
//! is a secret of this process. Called through [`super::state::AdminState::check_token`] alone.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::client_addr::network_of;

/// How many slots there are; 16 KiB in all.
const SLOTS: usize = 1024;
/// How many wrong ones at once.
const BURST: u32 = 10;
/// How long it takes until one more may be shown.
pub(super) const INTERVAL: Duration = Duration::from_secs(6);
/// What counts as one address of IPv6, in bits (R62).
const IPV6_PREFIX: u8 = 64;

/// When each slot's debt is paid off (GCRA, as in ITU-T I.371): no more than `BURST` intervals ahead.
pub(super) struct WrongTokens {
    paid_at: Mutex<Box<[Option<Instant>]>>,
    order: RandomState,
}

/// One token that is about to be looked at. It counts as a wrong one unless it turns out right.
#[must_use]
pub(super) struct Attempt<'a> {
    all: &'a WrongTokens,
    slot: usize,
    /// Whether it was the last one for a while, if it is wrong.
    pub(super) is_last: bool,
}

impl Default for WrongTokens {
    fn default() -> Self {
        Self { paid_at: Mutex::new(vec![None; SLOTS].into()), order: RandomState::new() }
    }
}

impl WrongTokens {
    /// Counts a token of this address as wrong, before it is looked at. `None` if there were too many.
    pub(super) fn begin(&self, from: IpAddr, now: Instant) -> Option<Attempt<'_>> {
        let slot =
            usize::try_from(self.order.hash_one(network_of(from.to_canonical(), IPV6_PREFIX))).unwrap_or(0) % SLOTS;
        let mut slots = self.slots();
        let paid_at = slots.get_mut(slot)?;
        let next = paid_at.map_or(now, |paid_at| paid_at.max(now)) + INTERVAL;
        let debt = next.saturating_duration_since(now);
        if debt > INTERVAL * BURST {
            return None;
        }
        *paid_at = Some(next);
        Some(Attempt { all: self, slot, is_last: debt > INTERVAL * (BURST - 1) })
    }

    fn slots(&self) -> MutexGuard<'_, Box<[Option<Instant>]>> {
        // A panic cannot leave a slot half changed.
        self.paid_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// It is not counted after all.
    pub(super) fn was_right(self) {
        if let Some(paid_at) = self.all.slots().get_mut(self.slot) {
            *paid_at = paid_at.and_then(|paid_at| paid_at.checked_sub(INTERVAL));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::{Clock, SystemClock};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn ten_wrong_ones_at_once_and_then_one_every_six_seconds() {
        let (wrong, start) = (WrongTokens::default(), SystemClock.monotonic());
        let last: Vec<bool> = (0..10).map(|_| wrong.begin(ip("192.0.2.1"), start).expect("allowed").is_last).collect();
        assert_eq!(last, [[false; 9].as_slice(), &[true]].concat());
        assert!(wrong.begin(ip("192.0.2.1"), start + INTERVAL - Duration::from_millis(1)).is_none());
        assert!(wrong.begin(ip("::ffff:192.0.2.1"), start + INTERVAL).is_some(), "one more");
        assert!(wrong.begin(ip("192.0.2.1"), start + INTERVAL).is_none());
        assert!(wrong.begin(ip("192.0.2.1"), start + INTERVAL * 100).is_some());
    }

    #[test]
    fn right_ones_do_not_count_however_many_there_are() {
        let (wrong, start) = (WrongTokens::default(), SystemClock.monotonic());
        for _ in 0..9 {
            assert!(wrong.begin(ip("192.0.2.1"), start).is_some());
        }
        for _ in 0..100 {
            wrong.begin(ip("192.0.2.1"), start).expect("allowed").was_right();
        }
        assert!(wrong.begin(ip("192.0.2.1"), start).is_some_and(|attempt| attempt.is_last));
    }

    #[test]
    fn another_address_is_not_kept_out_and_another_host_of_the_same_ipv6_network_is() {
        let (wrong, start) = (WrongTokens::default(), SystemClock.monotonic());
        while wrong.begin(ip("2001:db8::1"), start).is_some() {}
        assert!(wrong.begin(ip("2001:db8::2"), start).is_none());
        // A single neighbour may share the slot; a hundred of them do not.
        let free = (1..=100).filter(|net| wrong.begin(ip(&format!("2001:db8:{net:x}::1")), start).is_some()).count();
        assert!(free >= 90, "{free} of 100");
    }
}
