//! The new process's side of a takeover: gets the sockets, says when it is prepared, and opens the store once the old process has
//! closed it. See [`crate::takeover`] for what is said when.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{OpenStore, RunError};
use crate::domain::mode::Mode;
use crate::http::server::NamedSockets;
use crate::service::mode::ModeCell;
use crate::store::{HandoverStore, OpenError};
use crate::takeover::{Fault, Link, Message, connect};

/// How long the old process may take to pass its sockets on, or to stop accepting.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the store may stay locked after the old process has closed it: by a command that looks into it for a moment.
const LOCKED: Duration = Duration::from_secs(5);
/// How long the old process may keep the store at least, whatever its `drain_timeout` was.
const KEPT: Duration = Duration::from_secs(120);
/// What it may take beyond its `drain_timeout`: logins, last saves, closing the store.
const BEYOND_DRAIN: Duration = Duration::from_secs(60);
/// How often the old process is told that the store is still being opened. It waits several times as long for the next word.
const SAY_SO: Duration = Duration::from_secs(10);
/// The pause before a locked store is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// As many listeners are taken.
const MAX_LISTENERS: usize = 1_024;

/// How long the old process may keep the store: until its logins are done, or until it has ended if it is being stopped. Both are
/// bounded by its `drain_timeout`, which is taken to be like ours.
pub(super) fn kept_by_the_old(drain_timeout: Duration) -> Duration {
    drain_timeout.saturating_add(BEYOND_DRAIN).max(KEPT)
}

/// The process whose place is being taken.
pub(super) struct Predecessor {
    link: Link,
    sockets: NamedSockets,
    /// The mode in force there.
    pub(super) mode: Mode,
}

impl Predecessor {
    /// Asks the process behind this socket for its sockets; none if there is no process.
    pub(super) async fn ask(path: &Path) -> Result<Option<Self>, Fault> {
        let Some(mut link) = connect(path).await? else {
            tracing::info!(path = %path.display(), "no process to take over from; starting afresh");
            return Ok(None);
        };
        let (sockets, mode) = timeout(ANSWER, offer(&mut link)).await.map_err(|_elapsed| Fault::Late)??;
        tracing::info!(pid = link.pid, listeners = sockets.len(), "taking over from the running process");
        Ok(Some(Self { link, sockets, mode }))
    }

    /// Its listening sockets, once.
    pub(super) fn sockets(&mut self) -> NamedSockets {
        std::mem::take(&mut self.sockets)
    }

    /// Says that everything but the store is there, and waits until the old process accepts nothing more.
    pub(super) async fn prepared(&mut self) -> Result<(), RunError> {
        // What this process did not want is not kept open by it.
        self.sockets.clear();
        self.link.send(&Message::Prepared).await.map_err(RunError::Takeover)?;
        self.link.expect(&Message::Accept, ANSWER).await.map_err(RunError::Takeover)
    }

    /// Waits for the store, for at most `kept`, opens it, and tells the old process that it may go. An error means that this process
    /// must not serve.
    pub(super) async fn succeed(
        mut self,
        kept: Duration,
        store: &HandoverStore,
        open_store: &OpenStore,
        mode: &ModeCell,
    ) -> Result<(), RunError> {
        let locked = match self.link.expect(&Message::StoreClosed, kept).await {
            Ok(()) => LOCKED,
            // It is dead or being stopped, and does not come back: the store is free as soon as it has ended.
            Err(Fault::Lost(cause)) => {
                tracing::warn!(%cause, "the old process is gone; going on without it");
                kept
            }
            Err(fault @ (Fault::Refused(_) | Fault::Stranger(_) | Fault::Garbled(_) | Fault::Late)) => {
                return Err(RunError::Takeover(fault));
            }
        };
        let opening = async {
            open(store, open_store, locked).await?;
            Ok::<(), RunError>(mode.reread().await?)
        };
        self.while_saying_so(SAY_SO, opening).await?;
        if let Err(fault) = self.farewell().await {
            // The store is ours: whatever the old process thinks, it cannot have it back.
            tracing::warn!(%fault, "the old process did not take its leave");
        }
        Ok(())
    }

    /// The store may be large, or its disk slow: the old process is told that it is still being opened, lest it take it back.
    async fn while_saying_so<T>(&mut self, every: Duration, opening: impl Future<Output = T>) -> T {
        let mut opening = pin!(opening);
        loop {
            match timeout(every, &mut opening).await {
                Ok(opened) => return opened,
                Err(_elapsed) => {
                    if let Err(fault) = self.link.send(&Message::Opening).await {
                        tracing::debug!(%fault, "the old process does not hear that the store is being opened");
                    }
                }
            }
        }
    }

    async fn farewell(&mut self) -> Result<(), Fault> {
        self.link.send(&Message::Serving).await?;
        self.link.expect(&Message::Farewell, ANSWER).await
    }
}

async fn offer(link: &mut Link) -> Result<(NamedSockets, Mode), Fault> {
    let mut sockets = NamedSockets::new();
    loop {
        match link.receive().await? {
            (Message::Sockets { listener, name, .. }, mut more) => {
                if listener == sockets.len() && listener < MAX_LISTENERS {
                    sockets.push((name, Vec::new()));
                }
                // One listener's sockets may take several messages.
                match sockets.get_mut(listener) {
                    Some((_name, known)) => known.append(&mut more),
                    None => return Err(Fault::Garbled("listeners out of order")),
                }
            }
            (Message::Offer { mode }, _) => return Ok((sockets, mode)),
            (
                Message::Hello { .. }
                | Message::Refused { .. }
                | Message::Prepared
                | Message::Accept
                | Message::StoreClosed
                | Message::Opening
                | Message::Serving
                | Message::Farewell,
                _,
            ) => return Err(Fault::Garbled("no offer")),
        }
    }
}

/// Opens the store, waiting for whoever holds it.
pub(super) async fn open(store: &HandoverStore, open_store: &OpenStore, at_most: Duration) -> Result<(), OpenError> {
    let until = Instant::now() + at_most;
    loop {
        let open_store = Arc::clone(open_store);
        match store.bring(move || open_store()).await {
            Err(OpenError::Locked(_)) if Instant::now() < until => tokio::time::sleep(TRY_AGAIN).await,
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover::Door;

    #[tokio::test]
    async fn r25_a_store_that_takes_long_to_open_is_told_of_until_it_is_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("takeover");
        let door = Door::open(&path).expect("open");
        let (mut old, link) = tokio::join!(door.next(), connect(&path));
        let link = link.expect("let in").expect("a process");
        let mut predecessor = Predecessor { link, sockets: NamedSockets::new(), mode: Mode::Migrate };
        // It is open as soon as the old process has heard of it three times.
        let heard = async {
            for _ in 0..3 {
                old.expect(&Message::Opening, KEPT).await.expect("still opening");
            }
        };
        predecessor.while_saying_so(Duration::from_millis(1), heard).await;
    }

    #[test]
    fn r25_the_old_process_is_waited_for_longer_than_it_may_drain() {
        for seconds in [0, 30, 600] {
            let drain_timeout = Duration::from_secs(seconds);
            assert!(kept_by_the_old(drain_timeout) >= drain_timeout + Duration::from_secs(20));
        }
        assert_eq!(kept_by_the_old(Duration::MAX), Duration::MAX);
    }
}
