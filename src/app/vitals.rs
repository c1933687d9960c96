//! Whether the process does its work, for the service manager's watchdog: every worker turns its loop, the store's threads answer,
//! the hash threads get on. A process in which one of them hangs is not pinged for, and so restarted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::http::server::Controls;
use crate::notify::Notifier;
use crate::password::{HashPool, Progress};
use crate::service::ports::UserStore as _;
use crate::store::HandoverStore;

/// The least time after which a worker that has not been through its loop is taken to hang. They look several times a second.
const LEAST_LAG: Duration = Duration::from_secs(1);

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
    /// Tells the service manager that all is well as often as it wants to hear it, while it is so. Another process that has taken
    /// this one's place speaks for itself.
    pub(super) async fn watch(&self, notifier: &Notifier) -> Infallible {
        let Some(interval) = notifier.watchdog_interval() else { return std::future::pending().await };
        let mut before = self.hasher.progress();
        notifier.watchdog();
        loop {
            tokio::time::sleep(interval).await;
            let now = self.hasher.progress();
            match self.examine(interval, before, now).await {
                Ok(()) if self.controls.is_given_away() => {}
                Ok(()) => notifier.watchdog(),
                Err(hangs) => tracing::error!(?hangs, "a part of this process hangs; the watchdog is not fed"),
            }
            before = now;
        }
    }

    async fn examine(&self, interval: Duration, before: Progress, now: Progress) -> Result<(), Hangs> {
        if self.controls.lag() > interval.max(LEAST_LAG) {
            return Err(Hangs::Worker);
        }
        if gets_stuck(before, now) {
            return Err(Hangs::Hashing);
        }
        // A store that refuses answers too: a restart would not help it. One that is being handed over is nobody's at the moment.
        if self.store.is_here() && timeout(interval / 2, self.store.probe()).await.is_err() {
            return Err(Hangs::Store);
        }
        Ok(())
    }
}

/// Tasks waited at both looks, and none was computed in between.
fn gets_stuck(before: Progress, now: Progress) -> bool {
    before.waiting > 0 && now.waiting > 0 && before.finished == now.finished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_hangs_if_somebody_waits_and_nobody_is_served() {
        let at = |waiting, finished| Progress { waiting, finished };
        assert!(gets_stuck(at(1, 5), at(3, 5)));
        for (before, now) in [(at(0, 5), at(3, 5)), (at(1, 5), at(0, 5)), (at(9, 5), at(9, 6)), (at(0, 5), at(0, 5))] {
            assert!(!gets_stuck(before, now), "{before:?} {now:?}");
        }
    }
}
