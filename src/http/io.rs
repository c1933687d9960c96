//! The socket of one downstream connection: hands on what was read ahead, tells the connection's watch about every read and every
//! stuck write, and on HTTP/1 lets hyper read only what [`super::framing`] has judged (see [`Framing`]), one request at a time, and
//! knows when hyper waits for the next one (see [`super::parking`]). Made by [`super::worker`]; copies nothing unless a head comes in
//! pieces or another request behind one.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::Connection;
use super::framing::HeadRules;

mod guard;

pub(super) use self::guard::{BrokenFraming, Framing};
use self::guard::{Guard, Judged, Stage};

/// What is still read, and thrown away, of a client that sends on while its connection is being closed: closing with unread bytes
/// would reset the connection, and with it an answer that the client has not read yet (RFC 9112, section 9.6; R11).
const LINGER_BYTES: usize = 64 * 1024;
/// How long.
const LINGER: Duration = Duration::from_secs(2);
/// What is read ahead of what comes behind a request before it is answered.
const EARLY_BYTES: usize = 4 * 1024;
/// What is read ahead at once of a connection that nobody reads from; a usual request head fits.
const READ_AHEAD: usize = 1024;

/// A watched socket.
pub(super) struct Watched<S> {
    raw: Raw<S>,
    guard: Option<Guard>,
    closing: Closing,
    /// Something was written, and no flush has ended since.
    unflushed: bool,
}

/// The socket itself, and what was read of it already.
struct Raw<S> {
    socket: S,
    /// Read while there was nobody to hand it on to, or behind a request that is being answered. Not judged yet. Bounded by
    /// [`EARLY_BYTES`] and what one read brought.
    ahead: Bytes,
    connection: Arc<Connection>,
}

/// How far the closing of our side has come.
enum Closing {
    Not,
    Lingering { left: usize, until: Pin<Box<Sleep>> },
    Done,
}

impl<S> Watched<S> {
    pub(super) fn new(socket: S, connection: Arc<Connection>) -> Self {
        let raw = Raw { socket, ahead: Bytes::new(), connection };
        Self { raw, guard: None, closing: Closing::Not, unflushed: false }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.raw.connection
    }

    /// What was read ahead, as it came. It is read again, and judged then.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.raw.ahead
    }

    /// From here on it is HTTP/1, and only what is well-formed is handed on.
    pub(super) fn guard(&mut self, rules: HeadRules) -> Arc<Framing> {
        let guard = self.guard.insert(Guard::new(rules));
        guard.framing.clone()
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads some bytes ahead, and says how many; none at the end of the stream. Takes no memory while there are none. What is wrong
    /// with the socket it may say once only: whoever reads next meets the same, or the end.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.raw.poll_ahead(cx)
    }
}

impl<S: AsyncRead + Unpin> Raw<S> {
    /// The next bytes as they came.
    fn poll(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            hand_on(&mut self.ahead, buf);
            return Poll::Ready(Ok(()));
        }
        self.poll_socket(cx, buf)
    }

    /// The next bytes behind those that were read ahead.
    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.connection.note_read();
        }
        Poll::Ready(Ok(()))
    }

    /// See [`Watched::poll_ahead`].
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = [const { MaybeUninit::uninit() }; READ_AHEAD];
        let mut some = ReadBuf::uninit(&mut scratch);
        ready!(self.poll_socket(cx, &mut some))?;
        let (before, came) = (std::mem::take(&mut self.ahead), some.filled());
        self.ahead = if before.is_empty() { Bytes::copy_from_slice(came) } else { [&before[..], came].concat().into() };
        Poll::Ready(Ok(came.len()))
    }

    /// The end of the stream or what is wrong with it, while a request is being answered: then its client has left. hyper looks for that
    /// only as long as it holds nothing of the next request, so that one waits here, unjudged.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < EARLY_BYTES {
            match self.poll_ahead(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if !self.ahead.is_empty() {
                        self.connection.note_next();
                    }
                    return Poll::Pending;
                }
            }
        }
        self.connection.note_crowd();
        Poll::Pending
    }

    /// The next bytes that may be read as HTTP.
    fn poll_judged(&mut self, guard: &mut Guard, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !guard.judged.is_empty() {
                hand_on(&mut guard.judged, buf);
                return Poll::Ready(Ok(()));
            }
            match guard.stage {
                Stage::Scanning if guard.is_answering(&self.connection) => return self.poll_end(cx),
                Stage::Scanning if !self.ahead.is_empty() => {
                    // It may have come when there was no time to be kept of a head.
                    self.connection.note_read();
                    guard.judge_ahead(&mut self.ahead);
                }
                Stage::Scanning => {
                    let before = buf.filled().len();
                    ready!(self.poll_socket(cx, buf))?;
                    // With half a head the connection has ended between two requests for hyper: nobody waits for an answer.
                    if buf.filled().len() == before || guard.judge(buf, before, &mut self.ahead) == Judged::HandedOn {
                        return Poll::Ready(Ok(()));
                    }
                }
                Stage::Waiting if guard.framing.switched.load(Ordering::Acquire) => {
                    guard.stage = Stage::Open;
                    guard.judged = std::mem::take(&mut guard.held).into();
                }
                Stage::Waiting => {
                    // hyper reads on to hear of the client's leaving.
                    let mut scratch = [0; 512];
                    let room = EARLY_BYTES.saturating_sub(guard.held.len()).min(scratch.len());
                    if room == 0 {
                        return Poll::Pending;
                    }
                    let mut early = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
                    ready!(self.poll(cx, &mut early))?;
                    if early.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    guard.held.extend_from_slice(early.filled());
                }
                Stage::Open => return self.poll(cx, buf),
                // The answer to the refusal is under way, and with it the end of the connection. An end of the stream must not end it sooner:
                // whoever closes his side after a bad request gets to know what was bad.
                Stage::Refused => return Poll::Pending,
                Stage::Broken(fault) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, BrokenFraming(fault))));
                }
            }
        }
    }
}

fn hand_on(bytes: &mut Bytes, buf: &mut ReadBuf<'_>) {
    let length = bytes.len().min(buf.remaining());
    buf.put_slice(&bytes.split_to(length));
    if !bytes.has_remaining() {
        *bytes = Bytes::new();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.guard {
            None => this.raw.poll(cx, buf),
            Some(guard) => {
                let polled = this.raw.poll_judged(guard, cx, buf);
                let nothing = !this.unflushed && this.raw.ahead.is_empty();
                let awaits = polled.is_pending() && nothing && guard.is_between_requests();
                guard.framing.awaits.store(awaits, Ordering::Relaxed);
                polled
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn noted<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.raw.connection.note_write(polled.is_pending());
        polled
    }

    /// Something is about to be written.
    fn begin_write(&mut self) {
        self.unflushed = true;
        if let Some(guard) = &self.guard {
            guard.framing.forget();
        }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads what the client still sends, until it closes its side or enough is enough. Where nothing is owed and nothing is there, that is
    /// at once.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let owes = self.guard.as_ref().is_some_and(|guard| !guard.is_at_rest()) || !self.raw.ahead.is_empty();
        let Closing::Lingering { left, until } = &mut self.closing else { return Poll::Ready(()) };
        let mut scratch = [0; 2048];
        loop {
            let mut unread = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.raw.socket).poll_read(cx, &mut unread) {
                Poll::Ready(Ok(())) if !unread.filled().is_empty() => {
                    *left = left.saturating_sub(unread.filled().len());
                    if *left == 0 {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
                Poll::Pending if !owes && *left == LINGER_BYTES => return Poll::Ready(()),
                Poll::Pending => return until.as_mut().poll(cx),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.begin_write();
        let polled = Pin::new(&mut self.raw.socket).poll_write(cx, buf);
        self.noted(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.begin_write();
        let polled = Pin::new(&mut self.raw.socket).poll_write_vectored(cx, bufs);
        self.noted(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.raw.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when all that it had to write has been taken, and not before.
        let polled = Pin::new(&mut self.raw.socket).poll_flush(cx);
        self.unflushed &= !matches!(polled, Poll::Ready(Ok(())));
        self.noted(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Closing::Not = self.closing {
            let polled = Pin::new(&mut self.raw.socket).poll_shutdown(cx);
            ready!(self.noted(polled))?;
            // The other direction of a tunnel goes on.
            let lingers = self.guard.as_ref().is_some_and(|guard| !matches!(guard.stage, Stage::Open));
            self.closing = if lingers {
                let until = Box::pin(sleep_until(Instant::now() + LINGER));
                Closing::Lingering { left: LINGER_BYTES, until }
            } else {
                Closing::Done
            };
        }
        ready!(self.poll_linger(cx));
        self.closing = Closing::Done;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
