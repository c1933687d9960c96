//! The body of an answer that is still on its way from a target: read from its connection as it is asked for, by whoever sends it on. At its
//! end the connection goes back to the pool; given up before, it is closed. Made by [`super::client`].

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pool::Pool;
use super::wire::{Fault, Wire};

/// A body on its way.
pub(super) enum Arriving {
    /// The request has been sent whole.
    Direct { wire: Option<Box<Wire>>, fault: Option<Fault>, pool: Arc<Pool> },
    /// An answer that came while the request was still being sent: a task does both, since sending must go on while nobody asks for
    /// the answer.
    Relayed { parts: mpsc::Receiver<Result<Relayed, Fault>>, left: Option<u64>, fault: Option<Fault>, ended: bool },
}

/// A part of an answer as a task hands it on. The end is said outright: a task that is gone has not read it.
pub(super) enum Relayed {
    Part(Bytes),
    /// Nothing follows. It may be empty.
    Last(Bytes),
}

/// How long an app may take nothing more of a request that it has answered, and a client that nobody else watches may send nothing.
const MOST_STANDSTILL: Duration = Duration::from_secs(30);

impl Arriving {
    /// The rest of an answer, whose head has been read.
    pub(super) fn new(wire: Box<Wire>, pool: Arc<Pool>) -> Self {
        if wire.has_sent() {
            return Self::Direct { wire: Some(wire), fault: None, pool };
        }
        let (sender, parts) = mpsc::channel(1);
        let left = wire.length();
        // A drain waits for the client's connection, and so for the body to have come, but not for this task: the last that came can be
        // lost to the app, when its answer has long been with the client.
        tokio::spawn(relay(wire, pool, sender));
        Self::relayed(parts, left)
    }

    /// What a task hands on, of so many bytes where that is known.
    pub(super) fn relayed(parts: mpsc::Receiver<Result<Relayed, Fault>>, left: Option<u64>) -> Self {
        Self::Relayed { parts, left, fault: None, ended: left == Some(0) }
    }

    /// How much is still to come, where that was announced.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Direct { wire, .. } => wire.as_ref().and_then(|wire| wire.length()),
            Self::Relayed { left, .. } => *left,
        }
    }

    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Direct { wire, fault, .. } => wire.is_none() && fault.is_none(),
            Self::Relayed { fault, ended, .. } => *ended && fault.is_none(),
        }
    }

    /// The next part; none at the end.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        match self {
            Self::Direct { wire: slot, fault, pool } => {
                let Some(wire) = slot else { return Poll::Ready(fault.take().map(Err)) };
                match ready!(wire.poll_part(cx)) {
                    Some(Err(found)) => {
                        (*slot, *fault) = (None, Some(found));
                        // Whoever sends this on drops what he has not written yet as soon as he hears of it: he gets to write it.
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    part => {
                        // He may not ask again once the end is known.
                        if wire.is_read()
                            && let Some(wire) = slot.take()
                        {
                            pool.put(wire);
                        }
                        Poll::Ready(part)
                    }
                }
            }
            Self::Relayed { fault, ended: true, .. } => Poll::Ready(fault.take().map(Err)),
            Self::Relayed { parts, left, fault, ended } => {
                let part = match ready!(parts.poll_recv(cx)) {
                    Some(Ok(Relayed::Part(part))) => part,
                    Some(Ok(Relayed::Last(part))) => {
                        *ended = true;
                        part
                    }
                    broken @ (Some(Err(_)) | None) => {
                        let found = broken.and_then(Result::err).unwrap_or(Fault::Incomplete);
                        (*ended, *fault) = (true, Some(found));
                        // As above.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                };
                if let Some(left) = left {
                    *left = left.saturating_sub(part.len() as u64);
                }
                Poll::Ready((!*ended || !part.is_empty()).then_some(Ok(part)))
            }
        }
    }
}

/// Sends the rest of a request and hands the answer on meanwhile, until both are done or nobody wants the answer any more.
async fn relay(mut wire: Box<Wire>, pool: Arc<Pool>, parts: mpsc::Sender<Result<Relayed, Fault>>) {
    // Where there is no body nobody waits for one, and the app may want the rest of the request all the same.
    if !wire.is_read()
        && let Err(broken) = hand_on(&mut wire, &parts, MOST_STANDSTILL).await
    {
        drop(wire);
        if let Some(fault) = broken {
            let _given_up = parts.send(Err(fault)).await;
        }
        return;
    }
    drop(parts);
    if finish(&mut wire, MOST_STANDSTILL).await {
        pool.put(wire);
    }
}

/// Sends the rest of a request whose answer has been handed on; whether that was possible. Nobody waits for it any more who would set it
/// a time, and it keeps a connection to the app: it has to move (R22).
pub(super) async fn finish(wire: &mut Wire, most_standstill: Duration) -> bool {
    let (mut sent, mut since) = (wire.sent(), Instant::now());
    loop {
        let sending = std::future::poll_fn(|cx| wire.poll_upload(cx));
        if let Ok(sent) = tokio::time::timeout(most_standstill / 30, sending).await {
            return sent.is_ok();
        }
        if wire.sent() != sent {
            (sent, since) = (wire.sent(), Instant::now());
        }
        if wire.is_sent_too_slowly().unwrap_or(since.elapsed() >= most_standstill) {
            return false;
        }
    }
}

/// Hands an answer on to its end, and sends the request meanwhile. Fails with what breaks it off, or with nothing where nobody wants it
/// any more. A connection that takes no more of the request spoils itself and not the answer; a request that breaks off ends both,
/// since the app may wait for its rest for ever. So does one that does not go on while the app says nothing either (R22).
pub(super) async fn hand_on(
    wire: &mut Wire,
    parts: &mpsc::Sender<Result<Relayed, Fault>>,
    most_standstill: Duration,
) -> Result<(), Option<Fault>> {
    let mut given_up = pin!(parts.closed());
    loop {
        let mut reserving = pin!(parts.reserve());
        let permit = std::future::poll_fn(|cx| match wire.poll_upload(cx) {
            Poll::Ready(Err(fault)) if fault.is_of_the_request() => Poll::Ready(Err(Some(fault))),
            Poll::Ready(_) | Poll::Pending => reserving.as_mut().poll(cx).map_err(|_given_up| None),
        });
        let permit = permit.await?;
        let since = Instant::now();
        let part = loop {
            let coming = std::future::poll_fn(|cx| {
                if let Poll::Ready(Err(fault)) = wire.poll_upload(cx)
                    && fault.is_of_the_request()
                {
                    return Poll::Ready(Err(Some(fault)));
                }
                match wire.poll_part(cx) {
                    Poll::Pending => given_up.as_mut().poll(cx).map(|()| Err(None)),
                    Poll::Ready(part) => Poll::Ready(part.transpose().map_err(Some)),
                }
            });
            if let Ok(part) = tokio::time::timeout(most_standstill / 30, coming).await {
                break part;
            }
            if since.elapsed() >= most_standstill && wire.is_sent_too_slowly() == Some(true) {
                return Err(None);
            }
        };
        match part? {
            Some(part) if !wire.is_read() => permit.send(Ok(Relayed::Part(part))),
            last @ (Some(_) | None) => {
                permit.send(Ok(Relayed::Last(last.unwrap_or_default())));
                return Ok(());
            }
        }
    }
}
