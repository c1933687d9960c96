//! The limit on wrong passwords from unknown networks over the whole process: an attack that is spread over so many accounts and
//! addresses that each alone is within its limits ends here, before it costs hashes or questions to legacy (R62).
//!
//! GCRA in one atomic word. It is asked before an attempt and charged after a failure, so that right passwords are free; as many
//! more as are under way at that moment may be judged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::keys::Tick;
use super::ticks::Pace;

pub(super) struct GlobalLimit {
    pace: Pace,
    debt: AtomicU64,
}

impl GlobalLimit {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, debt: AtomicU64::new(0) }
    }

    /// Whether an attempt may be made; otherwise when.
    pub(super) fn admit(&self, now: Tick) -> Result<(), Duration> {
        let tolerated = self.pace.interval.saturating_mul(u64::from(self.pace.burst.saturating_sub(1)));
        match self.debt.load(Ordering::Relaxed).saturating_sub(tolerated) {
            earliest if earliest <= now => Ok(()),
            earliest => Err(Duration::from_nanos(earliest - now)),
        }
    }

    /// One attempt has failed.
    pub(super) fn charge(&self, now: Tick) {
        let charged = |debt: Tick| Some(debt.max(now).saturating_add(self.pace.interval));
        // Always some, so that it never fails.
        let _before = self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Tick = 1_000_000_000;

    #[test]
    fn r62_so_many_failures_at_once_and_then_one_in_each_interval() {
        let limit = GlobalLimit::new(Pace { interval: SECOND, burst: 3 });
        for _ in 0..3 {
            assert_eq!(limit.admit(0), Ok(()));
            limit.charge(0);
        }
        assert_eq!(limit.admit(0), Err(Duration::from_secs(1)));
        assert_eq!(limit.admit(SECOND), Ok(()));
        limit.charge(SECOND);
        assert_eq!(limit.admit(SECOND), Err(Duration::from_secs(1)));
        assert_eq!(limit.admit(100 * SECOND), Ok(()));
    }

    #[test]
    fn r62_right_passwords_cost_nothing() {
        let limit = GlobalLimit::new(Pace { interval: SECOND, burst: 1 });
        assert!((0..1_000).all(|_| limit.admit(0).is_ok()));
    }
}
