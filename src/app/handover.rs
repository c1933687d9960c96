//! The old process's side of a takeover: passes the sockets on, finishes its logins, closes the store, and takes everything back if the
//! new process does not get as far as serving. See [`crate::takeover`] for what is said when.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::admin_desk::AdminDesk;
use super::takeover::open;
use super::{OpenStore, RunError};
use crate::http::server::{Controls, NamedSockets};
use crate::notify::Notifier;
use crate::service::Service;
use crate::service::mode::ModeCell;
use crate::store::HandoverStore;
use crate::takeover::{Door, Fault, Link, Message};
use crate::telemetry::WithCauses;

/// How long the new process may take to build itself. Until then nothing here changes.
const PREPARE: Duration = Duration::from_secs(60);
/// How long idle connections may take to end once they were told to, on a machine that is very busy.
const QUIET: Duration = Duration::from_secs(2);
/// How long intercepted requests may take to finish. Those that take longer, to send their body above all, find no store, and are
/// told to try again. What legacy has been asked to do is waited for longer, see [`Estate::drain_timeout`].
const LOGINS: Duration = Duration::from_secs(10);
/// How long the new process may say nothing while it opens the store.
const OPEN: Duration = Duration::from_secs(60);
/// How long it may take to open it, whatever it says.
const OPEN_AT_MOST: Duration = Duration::from_secs(600);
/// How long a store that is taken back may stay locked by a new process that is just ending.
const TAKE_BACK: Duration = Duration::from_secs(60);
/// How often is looked whether the last connection has ended.
const LOOK: Duration = Duration::from_millis(10);

/// How long a login may wait for a store that changes hands: as long as the old process may take to close it, and a while to open it;
/// but no longer than clients wait.
pub(super) fn patience(linger: Duration, drain_timeout: Duration) -> Duration {
    const TO_OPEN: Duration = Duration::from_secs(5);
    const CLIENTS: Duration = Duration::from_secs(60);
    [linger, QUIET, LOGINS, drain_timeout, TO_OPEN]
        .into_iter()
        .fold(Duration::ZERO, Duration::saturating_add)
        .min(CLIENTS)
}

/// What changes hands, and who is told.
pub(super) struct Estate<'a> {
    pub(super) controls: Controls,
    pub(super) admin: &'a AdminDesk,
    /// Where the admin listener is configured to be.
    pub(super) admin_bind: Option<SocketAddr>,
    pub(super) service: Arc<Service>,
    pub(super) mode: Arc<ModeCell>,
    pub(super) store: Arc<HandoverStore>,
    pub(super) open_store: OpenStore,
    pub(super) notifier: &'a Notifier,
    /// How long idle connections may still bring a request.
    pub(super) linger: Duration,
    /// How long work may take that legacy has been asked for, and whose outcome has to reach our store (R91): as long as at a stop.
    pub(super) drain_timeout: Duration,
    /// Whether all this is this process's yet, and not still that of the one before.
    pub(super) settled: AtomicBool,
    /// Whether another process has begun to accept in this one's place, and waits for the store.
    pub(super) handing_over: AtomicBool,
    /// Whether this process ends, whatever becomes of a handover.
    pub(super) ending: AtomicBool,
}

/// What became of those who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attended {
    /// One of them has taken this process's place.
    HandedOver,
    /// The last one did not get as far, and nothing was taken back, as this process is ending.
    InVain,
}

impl Estate<'_> {
    /// Serves those who ask to take over, one after the other, until one has. An error means that the store is lost.
    pub(super) async fn attend(&self, door: Door) -> Result<Attended, RunError> {
        loop {
            let mut link = door.next().await;
            match self.hand_over(&mut link).await {
                Ok(()) => {
                    // The next one makes its own, under the same name perhaps.
                    drop(door);
                    if let Err(fault) = link.send(&Message::Farewell).await {
                        tracing::warn!(%fault, "the new process did not hear the farewell");
                    }
                    return Ok(Attended::HandedOver);
                }
                Err(fault) if self.ending.load(Ordering::Acquire) => {
                    tracing::warn!(fault = %WithCauses(&fault), "the takeover came to nothing, and this process is ending");
                    let _told = link.send(&Message::Refused { reason: fault.to_string() }).await;
                    if !self.store.is_here() {
                        self.store.give_up();
                    }
                    return Ok(Attended::InVain);
                }
                Err(fault) => {
                    tracing::warn!(fault = %WithCauses(&fault), "the takeover came to nothing; this process goes on");
                    // It may be gone.
                    let _told = link.send(&Message::Refused { reason: fault.to_string() }).await;
                }
            }
            drop(link);
            self.take_back().await?;
        }
    }

    /// This process has been asked to end. Says whether another one is just taking its place and has to get the store first: from now
    /// on [`Self::attend`] ends with that handover, and takes nothing back.
    pub(super) fn end(&self) -> bool {
        self.ending.store(true, Ordering::Release);
        self.handing_over.load(Ordering::Acquire)
    }

    /// This process must not go on: whatever waits in the sockets is for another one, and what waits here gets no store any more.
    pub(super) fn leave_to_others(&self) {
        self.controls.give_away();
        self.controls.pause();
        self.store.give_up();
    }

    async fn hand_over(&self, link: &mut Link) -> Result<(), Fault> {
        for (listener, (name, sockets)) in self.sockets()?.into_iter().enumerate() {
            link.send_sockets(listener, &name, &sockets).await?;
        }
        link.send(&Message::Offer { mode: self.service.mode().current() }).await?;
        link.expect(&Message::Prepared, PREPARE).await?;

        tracing::info!(pid = link.pid, "handing over");
        self.notifier.reloading("handing over to another process");
        self.handing_over.store(true, Ordering::Release);
        self.controls.pause();
        self.admin.close();
        link.send(&Message::Accept).await?;
        tokio::select! {
            () = self.close_store() => {}
            fault = link.broken() => return Err(fault),
        }
        link.send(&Message::StoreClosed).await?;
        timeout(OPEN_AT_MOST, serving(link, OPEN)).await.map_err(|_elapsed| Fault::Late)??;

        // From here on there is no way back.
        self.store.give_up();
        self.controls.give_away();
        if let Some(pid) = link.pid {
            self.notifier.succeeded_by(pid);
        }
        tracing::info!(pid = link.pid, "handed over; finishing what is under way");
        Ok(())
    }

    fn sockets(&self) -> io::Result<NamedSockets> {
        let mut sockets = self.controls.sockets()?;
        sockets.extend(self.admin.sockets(self.admin_bind)?);
        Ok(sockets)
    }

    /// Waits until no connection here brings another login, as far as that can be waited for, and none is under way.
    async fn close_store(&self) {
        let deserted = async {
            while !self.controls.is_deserted() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if timeout(self.linger, deserted).await.is_err() {
            // Idle connections are being closed now. Streams go on, and their connections end with them.
            let quiet = async {
                while !self.controls.is_quiet() {
                    tokio::time::sleep(LOOK).await;
                }
            };
            let _as_far_as_it_went = timeout(QUIET, quiet).await;
        }
        if timeout(LOGINS, self.service.settle()).await.is_err() {
            tracing::warn!("some logins take long to finish");
            // A password that legacy has changed must not stay the old one here because the store has left.
            if timeout(self.drain_timeout, self.service.drain()).await.is_err() {
                tracing::error!(
                    "legacy has not answered within server.drain_timeout; what it still does is not noted here"
                );
            }
        }
        self.store.put_away().await;
    }

    /// Goes on as before, whatever had been given up already.
    async fn take_back(&self) -> Result<(), RunError> {
        self.handing_over.store(false, Ordering::Release);
        self.controls.resume();
        if let Err(error) = self.admin.open() {
            tracing::error!(%error, "the admin listener could not be opened again");
        }
        open(&self.store, &self.open_store, TAKE_BACK).await?;
        self.notifier.ready("serving; a takeover came to nothing");
        Ok(())
    }
}

/// Waits until the new process serves, for as long as it says that it is opening the store and is never `silent` for longer than this.
async fn serving(link: &mut Link, silent: Duration) -> Result<(), Fault> {
    loop {
        let (message, _) = timeout(silent, link.receive()).await.map_err(|_elapsed| Fault::Late)??;
        match message {
            Message::Serving => return Ok(()),
            Message::Opening => tracing::info!(pid = link.pid, "the new process is still opening the store"),
            Message::Hello { .. }
            | Message::Refused { .. }
            | Message::Sockets { .. }
            | Message::Offer { .. }
            | Message::Prepared
            | Message::Accept
            | Message::StoreClosed
            | Message::Farewell => return Err(Fault::Garbled("not what comes next")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover::connect;

    #[tokio::test]
    async fn r25_a_new_process_that_says_it_is_opening_the_store_is_waited_for_and_a_silent_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("takeover");
        let door = Door::open(&path).expect("open");
        let (mut old, new) = tokio::join!(door.next(), connect(&path));
        let mut new = new.expect("let in").expect("a process");
        for message in [Message::Opening, Message::Opening, Message::Serving, Message::Opening] {
            new.send(&message).await.expect("sent");
        }
        serving(&mut old, OPEN).await.expect("it serves in the end");
        assert!(
            matches!(serving(&mut old, Duration::from_millis(10)).await, Err(Fault::Late)),
            "it was opening, and then said nothing more"
        );
    }

    #[test]
    fn r25_logins_wait_for_the_store_as_long_as_the_old_process_may_keep_it() {
        let (linger, drain_timeout) = (Duration::from_millis(500), Duration::from_secs(30));
        assert!(patience(linger, drain_timeout) > linger + QUIET + LOGINS + drain_timeout);
        assert_eq!(patience(linger, Duration::MAX), Duration::from_secs(60), "nobody waits for ever");
    }
}
