//! Time as a parameter. Logic runs on [`Clock::monotonic`]; wall-clock time is only ever written down or put into tokens.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch: what records and tokens carry. Never used to measure how long something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// How long ago `earlier` was, zero when it lies in the future (a wall clock may be set back).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// Where time comes from, so that a test can hold it still.
pub trait Clock: Send + Sync {
    /// Never goes back; unaffected by changes of the wall clock.
    fn monotonic(&self) -> Instant;
    /// What the calendar says.
    fn wall(&self) -> UnixSeconds;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the machine's clocks are read")]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place where the machine's clocks are read")]
    fn wall(&self) -> UnixSeconds {
        // A clock before 1970 is a machine without a clock; zero is then as good as any other lie.
        UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

/// A clock that stands still until a test moves it.
#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Mutex;

    use super::*;

    /// Both clocks move together, by [`ManualClock::advance`] alone.
    pub(crate) struct ManualClock {
        start: Instant,
        wall: UnixSeconds,
        elapsed: Mutex<Duration>,
    }

    impl ManualClock {
        pub(crate) fn at(wall: u64) -> Self {
            Self { start: SystemClock.monotonic(), wall: UnixSeconds(wall), elapsed: Mutex::default() }
        }

        pub(crate) fn advance(&self, by: Duration) {
            *self.elapsed.lock().expect("not poisoned") += by;
        }

        fn elapsed(&self) -> Duration {
            *self.elapsed.lock().expect("not poisoned")
        }
    }

    impl Clock for ManualClock {
        fn monotonic(&self) -> Instant {
            self.start + self.elapsed()
        }

        fn wall(&self) -> UnixSeconds {
            UnixSeconds(self.wall.0 + self.elapsed().as_secs())
        }
    }
}
