//! The body of an answer that is still on its way from a target: read from its connection as it is asked for, by whoever sends it on. At its
//! end the connection goes back to the pool; given up before, it is closed. Made by [`super::client`].

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::pool::Pool;
use super::wire::{Fault, Wire};

/// A body on its way.
pub(super) enum Arriving {
    /// The request has been sent whole.
    Direct { wire: Option<Box<Wire>>, fault: Option<Fault>, pool: Arc<Pool> },
    /// An answer that came while the request was still being sent: a task does both, since sending must go on while nobody asks for
    /// the answer.
    Relayed { parts: mpsc::Receiver<Result<Bytes, Fault>>, left: Option<u64> },
}

impl Arriving {
    /// The rest of an answer, whose head has been read.
    pub(super) fn new(wire: Box<Wire>, pool: Arc<Pool>) -> Self {
        if wire.has_sent() {
            return Self::Direct { wire: Some(wire), fault: None, pool };
        }
        let (sender, parts) = mpsc::channel(1);
        let left = wire.length();
        tokio::spawn(relay(wire, pool, sender));
        Self::Relayed { parts, left }
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
            Self::Relayed { left, .. } => *left == Some(0),
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
            Self::Relayed { parts, left } => {
                let part = ready!(parts.poll_recv(cx));
                match (&part, &mut *left) {
                    (Some(Ok(part)), Some(left)) => *left = left.saturating_sub(part.len() as u64),
                    (Some(Ok(_)), None) => {}
                    (Some(Err(_)) | None, _) => *left = Some(0),
                }
                Poll::Ready(part)
            }
        }
    }
}

/// Sends the rest of a request and hands the answer on meanwhile, until both are done or nobody wants the answer any more. The end of
/// the channel is the end of the body: an answer that breaks off is an error in it.
async fn relay(mut wire: Box<Wire>, pool: Arc<Pool>, parts: mpsc::Sender<Result<Bytes, Fault>>) {
    // Where there is no body nobody waits for one, and the app may want the rest of the request all the same.
    if !wire.is_read()
        && let Err(broken) = hand_on(&mut wire, &parts).await
    {
        drop(wire);
        if let Some(fault) = broken {
            let _given_up = parts.send(Err(fault)).await;
        }
        return;
    }
    drop(parts);
    if std::future::poll_fn(|cx| wire.poll_upload(cx)).await.is_ok() {
        pool.put(wire);
    }
}

/// Hands an answer on to its end, and sends the request meanwhile. Fails with what breaks it off, or with nothing where nobody wants it
/// any more. A connection that takes no more of the request spoils itself and not the answer; a request that breaks off ends both,
/// since the app may wait for its rest for ever.
async fn hand_on(wire: &mut Wire, parts: &mpsc::Sender<Result<Bytes, Fault>>) -> Result<(), Option<Fault>> {
    let mut given_up = pin!(parts.closed());
    loop {
        let mut reserving = pin!(parts.reserve());
        let permit = std::future::poll_fn(|cx| match wire.poll_upload(cx) {
            Poll::Ready(Err(fault)) if fault.is_of_the_request() => Poll::Ready(Err(Some(fault))),
            Poll::Ready(_) | Poll::Pending => reserving.as_mut().poll(cx).map_err(|_given_up| None),
        });
        let permit = permit.await?;
        let part = std::future::poll_fn(|cx| {
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
        match part.await? {
            Some(part) => permit.send(Ok(part)),
            None => return Ok(()),
        }
        if wire.is_read() {
            return Ok(());
        }
    }
}
