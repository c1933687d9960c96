//! Time for the limiters: governor's clock over ours, monotonic, counted from when the limiters were made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock as GovernorClock;
use governor::nanos::Nanos;

use super::keys::Tick;
use super::settings::Quota;
use crate::domain::clock::Clock;

#[derive(Clone)]
pub(super) struct Ticks {
    clock: Arc<dyn Clock>,
    origin: Instant,
}

impl Ticks {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let origin = clock.monotonic();
        Self { clock, origin }
    }

    pub(super) fn tick(&self) -> Tick {
        nanos(self.clock.monotonic().saturating_duration_since(self.origin))
    }
}

impl GovernorClock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.tick())
    }
}

/// A quota as GCRA has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// The time in which one place comes back.
    pub(super) interval: Tick,
    /// How many may come at once.
    pub(super) burst: u32,
}

/// A place that comes back more slowly than this does not come back for all that anybody cares.
const SLOWEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Keeps all sums of ticks far from overflowing: a debt of 146 years.
const MAX_DEBT: Tick = Tick::MAX / 4;

impl Pace {
    /// The nearest pace to a quota that can be reckoned with. Every quota an operator would mean is taken exactly.
    pub(super) fn of(quota: Quota) -> Self {
        let interval = nanos((quota.period / quota.count.get()).min(SLOWEST)).max(1);
        let most = u32::try_from(MAX_DEBT / interval).unwrap_or(u32::MAX);
        Self { interval, burst: quota.burst.get().min(most) }
    }

    /// How long a debt makes one wait, if at all.
    pub(super) fn wait(self, debt: Tick, now: Tick) -> Result<(), Duration> {
        let tolerated = self.interval.saturating_mul(u64::from(self.burst.saturating_sub(1)));
        match debt.saturating_sub(tolerated) {
            earliest if earliest <= now => Ok(()),
            earliest => Err(Duration::from_nanos(earliest - now)),
        }
    }
}

/// A duration in ticks.
pub(super) fn nanos(duration: Duration) -> Tick {
    Tick::try_from(duration.as_nanos()).unwrap_or(Tick::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn pace(count: u32, period: Duration, burst: u32) -> Pace {
        let positive = |number| NonZeroU32::new(number).expect("not zero");
        Pace::of(Quota { count: positive(count), period, burst: positive(burst) })
    }

    #[test]
    fn a_quota_is_taken_exactly() {
        let quarter = Duration::from_secs(900);
        assert_eq!(pace(10, quarter, 10), Pace { interval: 90_000_000_000, burst: 10 });
    }

    #[test]
    fn absurd_quotas_neither_overflow_nor_stand_still() {
        assert_eq!(pace(1, Duration::ZERO, 1).interval, 1);
        let slow = pace(1, Duration::MAX, u32::MAX);
        assert!(slow.interval.checked_mul(u64::from(slow.burst)).is_some_and(|debt| debt <= MAX_DEBT));
        assert!(slow.burst >= 1);
    }
}
