//! One HTTP/1.1 connection to a target and the exchange that is under way on it. Polled by whoever waits for the answer, so that a request
//! is one task from the client's socket to the app's and back. Judges every head by [`super::guard`] before it is parsed, and knows of
//! each answer how it ends (RFC 9112 section 6.3) and whether anything may follow it (R15, R20). Called by [`super::client`] and
//! [`super::answer`]; opens, pools and retries nothing.
//!
//! ```text
//! upload   the request on its way out: head, body, framing
//! head     the answer's head
//! framing  where its body ends
//! socket   TCP, or TLS over it
//! ```

mod framing;
mod head;
mod socket;
mod upload;

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

pub(super) use self::framing::ChunkFault;
use self::framing::Framing;
pub(super) use self::head::AnswerHead;
pub(super) use self::socket::{Records, Socket};
pub(super) use self::upload::Upload;
use super::body::StreamError;
use super::guard::{self, HeadFault};

/// What one read brings of an answer's head, and of a body behind it, in bytes. A usual answer is there whole.
const FIRST_READ: usize = 8 * 1024;
/// What is read of a body at once, from and to.
const READ: (usize, usize) = (8 * 1024, 64 * 1024);

thread_local! {
    /// Where heads are read into, so that no connection has a buffer of its own for them.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(FIRST_READ));
}

/// Why an exchange came to nothing, or broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the connection failed")]
    Socket(#[source] io::Error),
    #[error("the connection was closed before the answer was complete")]
    Incomplete,
    #[error("the answer has no proper head")]
    Guard(#[from] HeadFault),
    #[error("the answer's head cannot be read")]
    Head(#[from] httparse::Error),
    #[error("the answer cannot be read: {0}")]
    Malformed(&'static str),
    #[error("the answer's chunks are malformed")]
    Chunks(#[from] ChunkFault),
    #[error("the body to be sent broke off")]
    Upload(#[source] StreamError),
    #[error("the body to be sent is not as long as was said")]
    Length,
}

impl Fault {
    /// Whether it is the request that broke off, and no connection's fault.
    pub(super) fn is_of_the_request(&self) -> bool {
        matches!(self, Self::Upload(_) | Self::Length)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// A connection, idle or with one exchange under way.
pub(super) struct Wire {
    socket: Socket,
    upload: Upload,
    /// Judges the head that is being read.
    guard: guard::Head,
    /// A head that came in pieces, as far as it has come.
    pieces: BytesMut,
    framing: Framing,
    /// Read, and part of the body or behind it.
    ahead: Bytes,
    /// Room for what is read next of a body.
    room: BytesMut,
    /// How much is asked for at once where nobody says how much there is.
    next: usize,
    /// Whether the answer lets the connection be used again.
    persists: bool,
    /// The last request's headers, emptied, for the next answer's.
    spare: HeaderMap,
    _permit: OwnedSemaphorePermit,
}

impl Wire {
    pub(super) fn new(socket: Socket, permit: OwnedSemaphorePermit) -> Box<Self> {
        Box::new(Self {
            socket,
            upload: Upload::default(),
            guard: guard::Head::default(),
            pieces: BytesMut::new(),
            framing: Framing::default(),
            ahead: Bytes::new(),
            room: BytesMut::new(),
            next: READ.0,
            persists: true,
            spare: HeaderMap::new(),
            _permit: permit,
        })
    }

    /// Whether it holds bytes that nobody asked for, or has ended. To be asked before each request: what came unasked must not be
    /// taken for the answer to it (R20).
    pub(super) fn is_stale(&mut self) -> bool {
        if self.socket.has_news() {
            if !self.socket.is_tls() {
                return true;
            }
            // Over TLS it may be a session ticket, which has no part in HTTP.
            let mut byte = [0];
            let mut read = ReadBuf::new(&mut byte);
            let polled = Pin::new(&mut self.socket).poll_read(&mut Context::from_waker(Waker::noop()), &mut read);
            if polled.is_ready() || self.socket.has_news() {
                return true;
            }
        }
        self.socket.holds_bytes() || self.socket.is_unsettled()
    }

    /// Whether a fresh connection begins with bytes of the other side's.
    pub(super) fn was_spoken_to(&mut self) -> bool {
        if self.socket.is_tls() { self.socket.holds_bytes() } else { self.socket.has_bytes() }
    }

    /// The buffer that the last request was written from, for the next one.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.upload.take_buffer()
    }

    /// Begins an exchange. The one before is over.
    pub(super) fn begin(&mut self, upload: Upload) {
        self.upload = upload;
        (self.guard, self.persists) = (guard::Head::default(), true);
    }

    /// The request back, if nothing of it has been sent.
    pub(super) fn take_unsent(&mut self) -> Option<Upload> {
        (!self.upload.has_begun()).then(|| std::mem::take(&mut self.upload))
    }

    /// Sends the request and waits for the head of its answer. What is left of the request's body then is sent by
    /// [`Wire::poll_upload`].
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Fault>> {
        let unsent = match self.poll_upload(cx) {
            // What cannot have been asked is not answered, whatever is there to be read.
            Poll::Ready(Err(fault)) if fault.is_of_the_request() || !self.upload.has_begun() => {
                return Poll::Ready(Err(fault));
            }
            // Whoever refuses a request may close before he has read all of it; his answer may be there all the same.
            Poll::Ready(Err(fault)) => Some(fault),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        match (self.poll_read_head(cx), unsent) {
            (Poll::Ready(Ok(head)), unsent) => {
                self.persists = head.persists && unsent.is_none() && !self.upload.closes;
                Poll::Ready(Ok(head))
            }
            // A connection that takes nothing any more has an end to be read, behind the answer; of which the runtime may hear later.
            (polled @ (Poll::Ready(Err(_)) | Poll::Pending), _) => polled,
        }
    }

    fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Fault>> {
        loop {
            let whole = SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                let read = pin!(self.socket.read_buf(&mut scratch.limit(FIRST_READ))).poll(cx);
                if ready!(read)? == 0 {
                    return Poll::Ready(Err(Fault::Incomplete));
                }
                let is_whole = self.guard.read(scratch)? == guard::Read::Whole;
                if is_whole && self.pieces.is_empty() {
                    return Poll::Ready(Ok(Some(Bytes::copy_from_slice(scratch))));
                }
                self.pieces.extend_from_slice(scratch);
                Poll::Ready(Ok(is_whole.then(|| std::mem::take(&mut self.pieces).freeze())))
            });
            if let Some(whole) = ready!(whole)? {
                let (head, framing, behind) = head::parse(whole, std::mem::take(&mut self.spare), self.upload.to_head)?;
                (self.framing, self.ahead, self.next) = (framing, behind, READ.0);
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Keeps an emptied map for the next answer.
    pub(super) fn spare(&mut self, mut headers: HeaderMap) {
        headers.clear();
        self.spare = headers;
    }

    /// Sends what is left of the request.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.upload.poll(&mut self.socket, cx)
    }

    /// How many bytes of the request the socket has taken.
    pub(super) fn sent(&self) -> u64 {
        self.upload.sent()
    }

    /// Whether the request's sender has kept everybody waiting for longer than he may; none where nobody watches him, or where the app
    /// takes nothing.
    pub(super) fn is_sent_too_slowly(&self) -> Option<bool> {
        self.upload.is_too_slow()
    }

    /// Whether the request has been sent whole.
    pub(super) fn has_sent(&self) -> bool {
        self.upload.is_done()
    }

    /// The answer's body where it is there already, whole.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.framing.length()?).ok().filter(|length| *length <= self.ahead.len())?;
        self.framing = Framing::default();
        Some(self.ahead.split_to(length))
    }

    /// The next part of the answer's body; none at its end.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            match self.framing.take(&mut self.ahead) {
                Ok(Some(part)) => return Poll::Ready(Some(Ok(part))),
                Ok(None) if self.framing.is_end() => return Poll::Ready(None),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Some(Err(fault.into()))),
            }
            match ready!(self.poll_read_part(cx)) {
                Ok(0) if self.framing.ends_by_closing() => {
                    (self.framing, self.persists) = (Framing::default(), false);
                    return Poll::Ready(None);
                }
                Ok(0) => return Poll::Ready(Some(Err(Fault::Incomplete))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// Reads on. Of a body whose length is known, nothing behind it.
    fn poll_read_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = self.framing.length().map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = if left == usize::MAX { self.next } else { left.min(READ.1) };
        // What is left of the last buffer is used up first, but not for a trickle of small reads.
        if self.room.capacity() < wanted.min(READ.0 / 2) {
            self.room.reserve(wanted);
        }
        let asked = self.room.capacity().min(left);
        let read = pin!(self.socket.read_buf(&mut (&mut self.room).limit(asked))).poll(cx);
        let length = ready!(read)?;
        if length == asked {
            self.next = (self.next * 2).min(READ.1);
        }
        self.ahead = self.room.split().freeze();
        Poll::Ready(Ok(length))
    }

    /// How long the rest of the answer's body is, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.framing.length()
    }

    /// Whether the answer's body has been taken whole.
    pub(super) fn is_read(&self) -> bool {
        self.framing.is_end()
    }

    /// Whether the exchange is over and left nothing behind, so that the next one may begin.
    pub(super) fn may_be_used_again(&self) -> bool {
        self.persists && self.upload.is_done() && self.framing.is_end() && self.ahead.is_empty()
    }

    /// Lets go of what an idle connection does not need.
    pub(super) fn rest(&mut self) {
        (self.room, self.ahead) = (BytesMut::new(), Bytes::new());
        self.upload.rest();
    }

    /// Closes it as its protocol wants it. Where that cannot be done at once, the other side has to do without.
    pub(super) fn close(mut self: Box<Self>) {
        let _done_or_not = Pin::new(&mut self.socket).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

/// A connection that speaks HTTP no longer: what is read first is what came behind the answer that said so.
pub struct Switched(pub(super) Box<Wire>);

impl AsyncRead for Switched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ahead = &mut self.0.ahead;
        if ahead.is_empty() {
            return Pin::new(&mut self.0.socket).poll_read(cx, buf);
        }
        let length = ahead.len().min(buf.remaining());
        buf.put_slice(&ahead.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
