//! Whether the process does its work, for the service manager's watchdog: every worker turns its loop, the store's threads answer,
//! the hash threads get on. A process in which one of them hangs is not pinged for, and so restarted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::http::server::Controls;
use crate::notify::Notifier;
use crate::password::{HashPool, Progress};
use crate::service::ports::UserStore as _;
use crate::store::HandoverStore;

/// The least time after which a worker that has not been through its loop is taken to hang. They look several times a second.
const LEAST_LAG: Duration = Duration::from_secs(1);
/// How soon is looked again after something seemed to hang.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What is looked at.
pub(super) struct Vitals {
    pub(super) controls: Controls,
    pub(super) hasher: Arc<HashPool>,
    pub(super) store: Arc<HandoverStore>,
}

/// What hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hangs {
    Worker,
    Hashing,
    Store,
}

impl Vitals {
    /// Tells the service manager that all is well, several times within the time after which it would restart the process. Another
    /// process that has taken this one's place speaks for itself.
    pub(super) async fn watch(&self, notifier: &Notifier) -> Infallible {
        let Some(deadline) = notifier.watchdog_deadline() else { return std::future::pending().await };
        let pace = Pace::within(deadline);
        let mut hashing = Hashing { last: self.hasher.progress(), since: Instant::now() };
        let mut before = Look::Well;
        notifier.watchdog();
        loop {
            tokio::time::sleep(pace.until_next(before)).await;
            let stuck = hashing.stuck_for(self.hasher.progress(), Instant::now());
            let now = match self.examine(pace, stuck).await {
                Ok(()) => Look::Well,
                Err(hangs) => {
                    tracing::error!(?hangs, "a part of this process hangs");
                    Look::Hangs
                }
            };
            if !is_fed(before, now) {
                tracing::error!("the watchdog is not fed");
            } else if !self.controls.is_given_away() {
                notifier.watchdog();
            }
            before = now;
        }
    }

    async fn examine(&self, pace: Pace, hashing_stuck: Duration) -> Result<(), Hangs> {
        if self.controls.lag() > pace.look.max(LEAST_LAG) {
            return Err(Hangs::Worker);
        }
        if hashing_stuck > pace.hashing {
            return Err(Hangs::Hashing);
        }
        // A store that refuses answers too: a restart would not help it. One that is being handed over is nobody's at the moment.
        if self.store.is_here() && timeout(pace.look, self.store.probe()).await.is_err() {
            return Err(Hangs::Store);
        }
        Ok(())
    }
}

/// What one look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Well,
    Hangs,
}

/// A single bad look says little: the disk took long over one commit, the machine stood still. Two in a row are believed, until the
/// next good one.
fn is_fed(before: Look, now: Look) -> bool {
    match (before, now) {
        (_, Look::Well) | (Look::Well, Look::Hangs) => true,
        (Look::Hangs, Look::Hangs) => false,
    }
}

/// How often is looked, and how long a look may take, given the time after which the service manager restarts the process.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Until the next look, and for each look at most: even one that takes its whole time ends well before the deadline, with time for
    /// several more.
    look: Duration,
    /// As long may somebody wait for a hash while none is finished.
    hashing: Duration,
}

impl Pace {
    fn within(deadline: Duration) -> Self {
        Self { look: deadline / 6, hashing: deadline / 2 }
    }

    fn until_next(self, last: Look) -> Duration {
        match last {
            Look::Well => self.look,
            Look::Hangs => self.look.min(LOOK_AGAIN),
        }
    }
}

/// How the hash threads get on.
struct Hashing {
    last: Progress,
    /// Since when nothing has changed.
    since: Instant,
}

impl Hashing {
    /// For how long somebody has been waiting and nothing was computed.
    fn stuck_for(&mut self, now: Progress, at: Instant) -> Duration {
        if self.last.waiting == 0 || now.waiting == 0 || self.last.finished != now.finished {
            self.since = at;
        }
        self.last = now;
        at.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[test]
    fn hashing_hangs_if_somebody_waits_and_nobody_is_served() {
        let at = |waiting, finished| Progress { waiting, finished };
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let mut hashing = Hashing { last: at(1, 5), since: begin };
        assert_eq!(hashing.stuck_for(at(3, 5), begin + second), second);
        assert_eq!(hashing.stuck_for(at(3, 5), begin + 9 * second), 9 * second);
        for served in [at(9, 6), at(0, 6), at(1, 6)] {
            assert_eq!(hashing.stuck_for(served, begin + 20 * second), Duration::ZERO, "{served:?}");
        }
    }

    /// The longest time without a ping when each look comes out like this, and takes its whole time where something hangs.
    fn longest_silence(looks: &[Look]) -> Duration {
        let pace = Pace::within(DEADLINE);
        let (mut silence, mut longest, mut before) = (Duration::ZERO, Duration::ZERO, Look::Well);
        for &now in looks {
            silence += pace.until_next(before);
            silence += if now == Look::Hangs { pace.look } else { Duration::ZERO };
            longest = longest.max(silence);
            if is_fed(before, now) {
                silence = Duration::ZERO;
            }
            before = now;
        }
        longest
    }

    #[test]
    fn a_stall_of_half_the_watchdogs_time_is_survived_whenever_it_begins() {
        // Each look at a store that hangs takes 5 s, and the next begins half a second later.
        let (well, hangs) = (Look::Well, Look::Hangs);
        for stalled in [&[well, hangs, well, well][..], &[well, hangs, hangs, well], &[well, hangs, hangs, hangs, well]]
        {
            assert!(longest_silence(stalled) < DEADLINE, "{stalled:?}");
        }
    }

    #[test]
    fn what_hangs_for_good_is_not_fed_from_the_second_look_on() {
        assert!(is_fed(Look::Well, Look::Hangs));
        assert!(!is_fed(Look::Hangs, Look::Hangs));
        assert!(is_fed(Look::Hangs, Look::Well), "it has recovered");
        assert!(longest_silence(&[Look::Hangs; 8]) > DEADLINE);
    }

    #[test]
    fn after_a_bad_look_the_next_one_comes_within_a_second_and_never_later_than_usual() {
        for seconds in [1, 3, 30, 600] {
            let pace = Pace::within(Duration::from_secs(seconds));
            assert!(pace.until_next(Look::Hangs) < Duration::from_secs(1));
            assert!(pace.until_next(Look::Hangs) <= pace.until_next(Look::Well));
        }
    }
}
