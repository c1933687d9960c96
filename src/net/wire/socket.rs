//! The socket of one connection to a target: TCP, or TLS over it. Copies and buffers nothing itself; knows of TLS whether all that came was
//! whole records.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(in crate::net) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<Records>>),
}

impl Socket {
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.get_ref().0.tcp,
        }
    }

    /// Asks the kernel, since the runtime learns only later what has come. `Some(0)` at the end of the stream, none where nothing is there.
    fn unread(&self) -> Option<usize> {
        match SockRef::from(self.tcp()).peek(&mut [std::mem::MaybeUninit::uninit()]) {
            Ok(length) => Some(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            // It has failed, and reading would say so.
            Err(_) => Some(0),
        }
    }

    /// Whether a read would not have to wait: bytes, the end of the stream, or an error.
    pub(super) fn has_news(&self) -> bool {
        self.unread().is_some()
    }

    /// Whether bytes have left the kernel and were not asked for: TLS is read by records, and one may hold more than the end of an answer.
    pub(super) fn holds_bytes(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => {
                let state = tls.get_mut().1.process_new_packets();
                state.map_or(true, |state| state.plaintext_bytes_to_read() > 0)
            }
        }
    }

    /// Whether bytes have left the kernel of which it cannot be told yet what they are; or TLS has said that nothing follows, which a socket
    /// may say much later.
    pub(super) fn is_unsettled(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => {
                let (records, tls) = tls.get_mut();
                !records.is_between() || tls.process_new_packets().map_or(true, |state| state.peer_has_closed())
            }
        }
    }

    /// Whether there are bytes.
    pub(super) fn has_bytes(&self) -> bool {
        self.unread().is_some_and(|length| length > 0)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// TCP with TLS over it. Walks over the records that come in by their heads (RFC 8446, section 5.1): TLS keeps the beginning of one to
/// itself, and nobody else could tell that there is something.
pub(in crate::net) struct Records {
    tcp: TcpStream,
    /// How many bytes of a record's head have come.
    head: usize,
    /// How many of its content have not. While the head comes, what is known of their number.
    left: usize,
}

/// How long the head of a record is. Its last two bytes are the content's length.
const RECORD_HEAD: usize = 5;

impl Records {
    pub(in crate::net) fn new(tcp: TcpStream) -> Self {
        Self { tcp, head: 0, left: 0 }
    }

    fn is_between(&self) -> bool {
        self.head == 0
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        loop {
            if self.head == RECORD_HEAD {
                let passed = self.left.min(bytes.len());
                (self.left, bytes) = (self.left - passed, bytes.get(passed..).unwrap_or_default());
                if self.left > 0 {
                    return;
                }
                self.head = 0;
            }
            let Some((byte, after)) = bytes.split_first() else { return };
            // The kind and the version make no part of a number of two bytes.
            self.left = (self.left << 8 | usize::from(*byte)) & 0xffff;
            (self.head, bytes) = (self.head + 1, after);
        }
    }
}

impl AsyncRead for Records {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.tcp).poll_read(cx, buf);
        this.pass(buf.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl AsyncWrite for Records {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
