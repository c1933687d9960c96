//! A built proxy runs: takes another process's place if it was built to, serves, hands over to a third, drains.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::handover::Estate;
use super::vitals::Vitals;
use super::{App, RunError};
use crate::notify::Notifier;
use crate::takeover::Door;

/// How long saves that outlive the edge may take at shutdown.
const LAST_SAVES: Duration = Duration::from_secs(5);
/// What an end takes beyond draining and saving: the admin's last answers, closing the store.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// Why serving ends.
enum End {
    /// Somebody asked for it.
    Asked,
    /// Another process has taken this one's place.
    HandedOver,
    /// This process cannot go on.
    Failed(RunError),
}

impl App {
    /// Serves until `shutdown`, then drains: not ready, no new connections, everything under way finished (R25). The admin
    /// listener stays to the end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), RunError> {
        self.run_under(&Notifier::none(), shutdown).await
    }

    /// The same under a service manager, which is told how it goes.
    pub async fn run_under(
        mut self,
        notifier: &Notifier,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), RunError> {
        let mut predecessor = self.predecessor.take();
        if let Some(predecessor) = &mut predecessor {
            predecessor.prepared().await?;
        }
        self.admin.open().map_err(RunError::Admin)?;
        self.readiness.set_started();
        let stop = CancellationToken::new();
        let controls = self.server.controls();
        let vitals =
            Vitals { controls: controls.clone(), hasher: self.hasher.clone(), store: self.store.clone() };
        let estate = Estate {
            controls: controls.clone(),
            admin: &self.admin,
            admin_bind: self.admin_bind,
            service: self.service.clone(),
            store: self.store.clone(),
            open_store: self.open_store.clone(),
            notifier,
            linger: self.linger,
        };
        // Whether the sockets and the store are this process's yet.
        let settled = AtomicBool::new(predecessor.is_none());
        // Who was before, and who comes after.
        let steward = async {
            if let Some(predecessor) = predecessor {
                match predecessor.succeed(&self.store, &self.open_store, &self.mode).await {
                    Ok(()) => {
                        controls.claim();
                        settled.store(true, Ordering::Release);
                    }
                    Err(error) => return End::Failed(error),
                }
            }
            let door = match self.takeover.as_deref().map(Door::open).transpose() {
                Ok(door) => door,
                Err(error) => {
                    tracing::error!(%error, "no other process will be able to take over");
                    None
                }
            };
            tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
            notifier.ready("serving");
            let Some(door) = door else { return std::future::pending().await };
            match estate.attend(door).await {
                Ok(()) => End::HandedOver,
                Err(error) => End::Failed(error),
            }
        };
        let serving = self.server.run(self.interceptor, self.metrics, stop.clone());
        let whole = async {
            let mut serving = pin!(serving);
            let end = tokio::select! {
                ended = &mut serving => return (ended, None),
                () = shutdown => End::Asked,
                end = steward => end,
            };
            self.readiness.set_draining();
            tracing::info!("draining");
            let failed = match end {
                End::Asked => {
                    if !settled.load(Ordering::Acquire) {
                        // The process that ran before takes everything back.
                        controls.pause();
                        self.store.give_up();
                    }
                    notifier.stopping(self.drain_timeout + LAST_SAVES + LAST_STEPS);
                    None
                }
                End::HandedOver => None,
                End::Failed(error) => {
                    controls.give_away();
                    // Whatever waits in the sockets is for the process that goes on; what waits here gets no store any more.
                    controls.pause();
                    self.store.give_up();
                    Some(error)
                }
            };
            stop.cancel();
            let ended = serving.await;
            // What was begun elsewhere than on a worker, within bounds: a save that hangs must not hold the process.
            drop(tokio::time::timeout(LAST_SAVES, self.service.drain()).await);
            (ended, failed)
        };
        let (ended, failed) = tokio::select! {
            ended = whole => ended,
            never = vitals.watch(notifier) => match never {},
        };
        self.admin.end().await;
        let drained = ended?;
        match failed {
            Some(error) => Err(error),
            None => {
                tracing::info!(?drained, "stopped");
                Ok(())
            }
        }
    }
}
