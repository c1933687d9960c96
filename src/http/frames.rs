//! HTTP/2 seen from below: the frames of one downstream connection as they pass between its socket and h2, by their nine-byte
//! heads alone. Counts what costs a client nothing and us work, and ends the connection with `ENHANCE_YOUR_CALM` when it is too
//! much (R18); tells the connection's watch of heads that do not end (R22). Never looks into a payload. Made by
//! [`super::worker`] for every HTTP/2 connection.
//!
//! h2 itself bounds memory, and counts some floods (resets before a request was accepted, its own resets, CONTINUATION, small
//! DATA). A client that pings, resets requests under way or changes its settings for ever it serves for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use crate::telemetry::Metrics;

/// What a client may owe before it is told to calm down.
const CREDIT: u64 = 2_000;
/// How much of its debt time takes away, per second.
const PER_SECOND: u64 = 100;
/// How much an answer's head takes away: a few pings and a reset for each are usual.
const PER_ANSWER: u64 = 8;
/// How much a DATA frame of ours takes away at least: clients update two windows for each.
const PER_DATA: u64 = 4;
/// So many bytes of one take one away: Go's client updates two windows for every 4 KiB that it reads, half of what this allows.
const BYTES_OF_ONE: u64 = 1024;

/// RFC 9113, section 3.4, to its last byte.
const PREFACE_LENGTH: usize = 24;
/// RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The kinds of frames (RFC 9113, section 6).
mod kind {
    pub(super) const DATA: u8 = 0x0;
    pub(super) const HEADERS: u8 = 0x1;
    pub(super) const PRIORITY: u8 = 0x2;
    pub(super) const RST_STREAM: u8 = 0x3;
    pub(super) const SETTINGS: u8 = 0x4;
    pub(super) const PING: u8 = 0x6;
    pub(super) const GOAWAY: u8 = 0x7;
    pub(super) const WINDOW_UPDATE: u8 = 0x8;
    pub(super) const CONTINUATION: u8 = 0x9;
}

/// A socket that speaks HTTP/2.
pub(super) struct Metered<S> {
    socket: S,
    incoming: Walk,
    outgoing: Walk,
    debt: Debt,
    /// The highest stream that the client opened.
    last_stream: u32,
    connection: Arc<Connection>,
    metrics: Arc<Metrics>,
}

/// The head of a frame (RFC 9113, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameHead {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Walks over the frames of one direction, however they are cut up.
#[derive(Debug)]
struct Walk {
    head: [u8; 9],
    have: usize,
    /// Bytes that are no head: of a payload, or of the preface.
    skip: usize,
}

/// What a client owes for frames that cost it nothing.
#[derive(Debug)]
struct Debt {
    owed: u64,
    /// Milliseconds on the worker's clock.
    since: u64,
}

/// Why the socket of a flooding client reads no further.
#[derive(Debug, thiserror::Error)]
#[error("the client sends too many frames that ask for nothing")]
struct Flood;

impl<S> Metered<S> {
    /// `connection` is told of heads that do not end.
    pub(super) fn new(socket: S, connection: Arc<Connection>, metrics: Arc<Metrics>) -> Self {
        let debt = Debt { owed: 0, since: connection.now() };
        Self {
            socket,
            incoming: Walk::after(PREFACE_LENGTH),
            outgoing: Walk::after(0),
            debt,
            last_stream: 0,
            connection,
            metrics,
        }
    }

    /// Looks at what came in.
    fn came_in(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        let Self { incoming, debt, last_stream, connection, .. } = self;
        debt.forgive(connection.now());
        incoming.advance(bytes, |frame| {
            debt.owed = debt.owed.saturating_add(frame.price());
            match frame.kind {
                kind::HEADERS => {
                    *last_stream = frame.stream.max(*last_stream);
                    connection.note_open_head(!frame.has(END_HEADERS));
                }
                kind::CONTINUATION if frame.has(END_HEADERS) => connection.note_open_head(false),
                _ => {}
            }
        });
        if debt.owed > CREDIT { Err(Flood) } else { Ok(()) }
    }

    /// Looks at what was written.
    fn went_out(&mut self, bytes: &[u8]) {
        let Self { outgoing, debt, .. } = self;
        outgoing.advance(bytes, |frame| match frame.kind {
            kind::HEADERS => debt.pay(PER_ANSWER),
            kind::DATA => debt.pay(PER_DATA.max(u64::from(frame.length) / BYTES_OF_ONE)),
            // A stream that we had to reset is the client's doing more often than not (CVE-2025-8671).
            kind::RST_STREAM => debt.owed = debt.owed.saturating_add(frame.price()),
            _ => {}
        });
    }
}

impl<S: AsyncWrite + Unpin> Metered<S> {
    /// The last word to a flooding client, as far as it can be said at once.
    fn dismiss(&mut self, cx: &mut Context<'_>) -> io::Error {
        self.metrics.refused("http2_flood");
        if self.outgoing.is_between_frames() {
            let farewell = goaway(self.last_stream);
            if let Poll::Ready(Ok(_written)) = Pin::new(&mut self.socket).poll_write(cx, &farewell) {
                // Whoever floods and does not read gets no more of our time than this one attempt.
                let _flushed = Pin::new(&mut self.socket).poll_flush(cx);
            }
        }
        io::Error::new(io::ErrorKind::ConnectionAborted, Flood)
    }
}

/// RFC 9113, section 6.8.
fn goaway(last_stream: u32) -> [u8; 17] {
    let mut frame = [0; 17];
    let (head, payload) = frame.split_at_mut(9);
    head.copy_from_slice(&[0, 0, 8, kind::GOAWAY, 0, 0, 0, 0, 0]);
    let (stream, code) = payload.split_at_mut(4);
    stream.copy_from_slice(&last_stream.to_be_bytes());
    code.copy_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    frame
}

impl FrameHead {
    fn of([a, b, c, kind, flags, stream @ ..]: [u8; 9]) -> Self {
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What a frame of the client's costs us beyond what it asks for. Requests and their bodies are bounded elsewhere.
    fn price(self) -> u64 {
        match self.kind {
            kind::HEADERS => 0,
            kind::DATA if self.length == 0 && !self.has(END_STREAM) => 1,
            kind::DATA => 0,
            kind::SETTINGS | kind::PING if self.has(ACK) => 1,
            // A request is thrown away with whatever was done for it (CVE-2023-44487). A map that is zoomed cancels hundreds at once.
            kind::RST_STREAM | kind::SETTINGS => 4,
            // Both ask for an answer.
            kind::PING | kind::CONTINUATION => 2,
            kind::PRIORITY | kind::WINDOW_UPDATE => 1,
            _unknown => 1,
        }
    }
}

impl Walk {
    fn after(skip: usize) -> Self {
        Self { head: [0; 9], have: 0, skip }
    }

    fn is_between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    fn advance(&mut self, mut bytes: &[u8], mut seen: impl FnMut(FrameHead)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            let wanted = self.head.get_mut(self.have..).unwrap_or_default();
            let taken = wanted.len().min(bytes.len());
            let (now, later) = bytes.split_at(taken);
            wanted.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            (self.have, bytes) = (self.have + taken, later);
            if self.have == self.head.len() {
                let head = FrameHead::of(self.head);
                (self.have, self.skip) = (0, usize::try_from(head.length).unwrap_or(usize::MAX));
                seen(head);
            }
        }
    }
}

impl Debt {
    fn pay(&mut self, amount: u64) {
        self.owed = self.owed.saturating_sub(amount);
    }

    /// Time heals.
    fn forgive(&mut self, now: u64) {
        let healed = now.saturating_sub(self.since).saturating_mul(PER_SECOND) / 1_000;
        if healed > 0 {
            self.since = now;
            self.pay(healed);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        match this.came_in(new) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Flood) => Poll::Ready(Err(this.dismiss(cx))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write(cx, buf))?;
        this.went_out(buf.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = buf.get(..left.min(buf.len())).unwrap_or_default();
            this.went_out(part);
            left -= part.len();
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn seen(walk: &mut Walk, bytes: &[u8]) -> Vec<FrameHead> {
        let mut heads = Vec::new();
        walk.advance(bytes, |head| heads.push(head));
        heads
    }

    #[test]
    fn frames_are_found_behind_the_preface_whatever_they_carry() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(kind::SETTINGS, 0, 0, &[0; 12]));
        bytes.extend(frame(kind::HEADERS, END_HEADERS, 0x8000_0001, b"\0\0\x08\x06\0\0\0\0\0"));
        let heads = seen(&mut Walk::after(PREFACE_LENGTH), &bytes);
        let expected = [
            FrameHead { length: 12, kind: kind::SETTINGS, flags: 0, stream: 0 },
            FrameHead { length: 9, kind: kind::HEADERS, flags: END_HEADERS, stream: 1 },
        ];
        assert_eq!(heads, expected);
    }

    #[test]
    fn r18_answers_and_time_pay_for_what_a_usual_client_sends_beside() {
        let mut debt = Debt { owed: 0, since: 1 };
        for _ in 0..10_000 {
            // One request: its window updates, a ping, every tenth is given up.
            debt.owed += 3 + 2;
            debt.pay(PER_ANSWER);
        }
        assert_eq!(debt.owed, 0);
        debt.owed = CREDIT;
        debt.forgive(1_001);
        assert_eq!(debt.owed, CREDIT - PER_SECOND);
        debt.forgive(1_001);
        assert_eq!(debt.owed, CREDIT - PER_SECOND, "time heals once");
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_up_the_same_frames_are_seen(
            frames in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
            let mut whole = Walk::after(0);
            let expected = seen(&mut whole, &bytes);
            prop_assert_eq!(expected.len(), frames.len());
            prop_assert!(whole.is_between_frames());
            let (mut walk, mut heads, mut from) = (Walk::after(0), Vec::new(), 0);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            for cut in cuts.into_iter().chain([bytes.len()]) {
                heads.extend(seen(&mut walk, &bytes[from..cut]));
                from = cut;
            }
            prop_assert_eq!(heads, expected);
        }
    }
}
