//! A built proxy runs: takes another process's place if it was built to, serves, hands over to a third, drains.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::handover::{Attended, Estate};
use super::takeover::{Predecessor, kept_by_the_old};
use super::vitals::Vitals;
use super::{App, RunError, memory};
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
        let (stop, controls) = (CancellationToken::new(), self.server.controls());
        let vitals = Vitals { controls: controls.clone(), hasher: self.hasher, store: self.store.clone() };
        let estate = Estate {
            controls,
            admin: &self.admin,
            admin_bind: self.admin_bind,
            service: self.service.clone(),
            mode: self.mode,
            store: self.store,
            open_store: self.open_store,
            notifier,
            linger: self.linger,
            drain_timeout: self.drain_timeout,
            settled: AtomicBool::new(predecessor.is_none()),
            handing_over: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        };
        let serving = self.server.run(self.interceptor, self.metrics, stop.clone());
        let whole = async {
            let mut serving = pin!(serving);
            let failed = |ended: Result<_, _>| End::Failed(ended.err().map_or(RunError::Ended, RunError::Serve));
            let mut steward = Box::pin(steward(&estate, predecessor, self.takeover.as_deref()));
            let mut end = tokio::select! {
                ended = &mut serving => failed(ended),
                () = shutdown => End::Asked,
                end = &mut steward => end,
            };
            self.readiness.set_draining();
            tracing::info!("draining");
            // The new process has accepted logins already: it gets the store before anything else is finished here.
            if matches!(end, End::Asked) && estate.end() {
                tracing::info!("asked to end while handing over; finishing the handover first");
                end = tokio::select! {
                    ended = &mut serving => failed(ended),
                    end = timeout(self.drain_timeout, &mut steward) => end.unwrap_or_else(|_elapsed| {
                        estate.leave_to_others();
                        End::Asked
                    }),
                };
            }
            // With it the link to a process that would take over: it sees that this one is gone.
            drop(steward);
            match end {
                End::Asked => notifier.stopping(self.drain_timeout + LAST_SAVES + LAST_STEPS),
                End::HandedOver | End::Failed(_) => {}
            }
            if matches!(end, End::Failed(_)) || !estate.settled.load(Ordering::Acquire) {
                estate.leave_to_others();
            }
            stop.cancel();
            let ended = match end {
                End::Failed(error @ (RunError::Ended | RunError::Serve(_))) => Err(error),
                End::Failed(error) => serving.await.map_err(RunError::Serve).and(Err(error)),
                End::Asked | End::HandedOver => serving.await.map_err(RunError::Serve),
            };
            // What was begun elsewhere than on a worker, within bounds: a save that hangs must not hold the process.
            drop(timeout(LAST_SAVES, self.service.drain()).await);
            ended
        };
        let ended = tokio::select! {
            ended = whole => ended,
            never = vitals.watch(notifier) => match never {},
            never = memory::goes_back() => match never {},
        };
        self.admin.end().await;
        let drained = ended?;
        tracing::info!(?drained, "stopped");
        Ok(())
    }
}

/// Takes the place of who was before, then waits for who comes after.
async fn steward(estate: &Estate<'_>, predecessor: Option<Predecessor>, takeover: Option<&Path>) -> End {
    let kept = kept_by_the_old(estate.drain_timeout);
    if let Some(predecessor) = predecessor
        && let Err(error) = predecessor.succeed(kept, &estate.store, &estate.open_store, &estate.mode).await
    {
        return End::Failed(error);
    }
    estate.controls.claim();
    estate.settled.store(true, Ordering::Release);
    let door = takeover.map(Door::open).transpose().unwrap_or_else(|error| {
        tracing::error!(%error, "no other process will be able to take over");
        None
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    estate.notifier.ready("serving");
    // After a takeover the one before may have said so last a while ago, and for itself.
    estate.notifier.watchdog();
    let Some(door) = door else { return std::future::pending().await };
    match estate.attend(door).await {
        Ok(Attended::HandedOver) => End::HandedOver,
        Ok(Attended::InVain) => End::Asked,
        Err(error) => End::Failed(error),
    }
}
