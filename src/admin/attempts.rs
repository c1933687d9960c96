//! How often a wrong admin token may be shown from one address: ten at once, and then one every six seconds (OWASP ASVS 6.3.1).
//!
//! While an address is over it no token is looked at, the right one included: otherwise guessing would go on as fast as before. A
//! session that is open stays open. The table has a fixed size: addresses that share a slot share its patience, and which ones do
//! is a secret of this process. So that many addresses together cannot keep everybody out, an address whose slot others have used
//! up shares one token a second with all that fare likewise, and gets its turn after a few tries. Called through [`super::state::AdminState::check_token`] alone.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::client_addr::network_of;

/// How many slots there are; 24 KiB in all.
const SLOTS: usize = 1024;
/// How many wrong ones at once.
const BURST: u32 = 10;
/// How long it takes until one more may be shown.
pub(super) const INTERVAL: Duration = Duration::from_secs(6);
/// The same for all those together whose slot others have used up.
const CROWDED_OUT: Duration = Duration::from_secs(1);
/// What counts as one address of IPv6, in bits: a site (RFC 6177). Whoever has one must not have a slot for each of its 65,536 networks.
const IPV6_PREFIX: u8 = 48;

pub(super) struct WrongTokens {
    slots: Mutex<Slots>,
    order: RandomState,
}

struct Slots {
    all: Box<[Slot]>,
    crowded_out: Slot,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// When the debt is paid off (GCRA, as in ITU-T I.371): no more than `BURST` intervals ahead.
    paid_at: Option<Instant>,
    /// Whose token was looked at last.
    last: u64,
}

impl Slot {
    /// Takes on another interval of debt, if that is not too much, and says how much it is.
    fn owe(&mut self, interval: Duration, now: Instant) -> Option<Duration> {
        let next = self.paid_at.map_or(now, |paid_at| paid_at.max(now)) + interval;
        let debt = next.saturating_duration_since(now);
        (debt <= interval * BURST).then(|| {
            self.paid_at = Some(next);
            debt
        })
    }

    fn forgive(&mut self, interval: Duration) {
        self.paid_at = self.paid_at.and_then(|paid_at| paid_at.checked_sub(interval));
    }
}

/// One token that is about to be looked at. It counts as a wrong one unless it turns out right.
#[must_use]
pub(super) struct Attempt<'a> {
    all: &'a WrongTokens,
    /// None among those crowded out.
    slot: Option<usize>,
    /// Whether it was the last one for a while, if it is wrong.
    pub(super) is_last: bool,
}

impl Default for WrongTokens {
    fn default() -> Self {
        let all = vec![Slot::default(); SLOTS].into();
        Self { slots: Mutex::new(Slots { all, crowded_out: Slot::default() }), order: RandomState::new() }
    }
}

impl WrongTokens {
    /// Counts a token of this address as wrong, before it is looked at. `None` if there were too many.
    pub(super) fn begin(&self, from: IpAddr, now: Instant) -> Option<Attempt<'_>> {
        let address = self.order.hash_one(network_of(from.to_canonical(), IPV6_PREFIX));
        let index = usize::try_from(address).unwrap_or(0) % SLOTS;
        let mut slots = self.slots();
        let Slots { all, crowded_out } = &mut *slots;
        let slot = all.get_mut(index)?;
        if let Some(debt) = slot.owe(INTERVAL, now) {
            slot.last = address;
            return Some(Attempt { all: self, slot: Some(index), is_last: debt > INTERVAL * (BURST - 1) });
        }
        if slot.last == address {
            return None;
        }
        let debt = crowded_out.owe(CROWDED_OUT, now)?;
        Some(Attempt { all: self, slot: None, is_last: debt > CROWDED_OUT * (BURST - 1) })
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // A panic cannot leave a slot half changed.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// It is not counted after all.
    pub(super) fn was_right(self) {
        let mut slots = self.all.slots();
        match self.slot {
            Some(index) => {
                if let Some(slot) = slots.all.get_mut(index) {
                    slot.forgive(INTERVAL);
                }
            }
            None => slots.crowded_out.forgive(CROWDED_OUT),
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

    #[test]
    fn many_addresses_together_keep_nobody_out_for_long_and_win_little_by_it() {
        let (wrong, start) = (WrongTokens::default(), SystemClock.monotonic());
        for slot in &mut *wrong.slots().all {
            while slot.owe(INTERVAL, start).is_some() {}
        }
        let address = |number: u16| IpAddr::from([192, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]]);
        let looked_at = |at| (0..1_000).filter(|number| wrong.begin(address(*number), at).is_some()).count();
        assert_eq!(looked_at(start), 10);
        assert_eq!(looked_at(start + CROWDED_OUT), 1);
        let right = wrong.begin(ip("2001:db8::1"), start + CROWDED_OUT * 2).expect("its turn");
        right.was_right();
        assert_eq!(looked_at(start + CROWDED_OUT * 2), 1, "a right one is not counted here either");
    }

    #[test]
    fn one_ipv6_site_has_one_slot_however_many_networks_it_has() {
        let (wrong, start) = (WrongTokens::default(), SystemClock.monotonic());
        let looked_at = (0..2_000).filter(|net| wrong.begin(ip(&format!("2001:db8:1:{net:x}::1")), start).is_some());
        assert_eq!(looked_at.count(), 10);
    }
}
