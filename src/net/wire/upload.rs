//! A request on its way out: its head as it is written, and its body framed by its real length (RFC 9112 sections 3, 5 and 6). Small parts
//! of a body are written together with what comes before them; large ones are not copied.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use super::super::body::ProxyBody;
use super::super::hop_by_hop::has_option;
use super::{Fault, Socket};

/// Parts of a body up to this size are copied behind what is to be written before them.
const SMALL: usize = 4 * 1024;
/// So much is gathered before it is written.
const ENOUGH: usize = 16 * 1024;

/// How the body is framed.
#[derive(Debug, Clone, Copy)]
enum Coding {
    /// So much is still to come.
    Length(u64),
    Chunked,
}

/// What is left to be sent of a request.
pub(in crate::net) struct Upload {
    /// The head, sizes of chunks, small parts.
    out: Vec<u8>,
    /// How much of it has been written.
    written: usize,
    /// A large part, behind `out`.
    part: Bytes,
    /// What comes behind that.
    tail: &'static [u8],
    /// What is still to come; none when nothing is.
    body: Option<ProxyBody>,
    coding: Coding,
    begun: bool,
    flushed: bool,
    /// The socket takes nothing at present: the body has to wait.
    pub(super) stuck: bool,
    /// How many bytes the socket has taken.
    sent: u64,
    /// It broke off, and can never be whole any more.
    failed: bool,
    /// It is a HEAD request, whose answer has no body.
    pub(super) to_head: bool,
    /// It says that the connection is to be closed.
    pub(super) closes: bool,
}

impl Default for Upload {
    fn default() -> Self {
        Self {
            out: Vec::new(),
            written: 0,
            part: Bytes::new(),
            tail: &[],
            body: None,
            coding: Coding::Length(0),
            begun: false,
            flushed: true,
            stuck: false,
            sent: 0,
            failed: false,
            to_head: false,
            closes: false,
        }
    }
}

impl Upload {
    /// Writes the head of a request in origin form, for `authority` if it names no host itself, into a buffer that is used again. Gives
    /// its headers back, whose map can be used again too.
    pub(in crate::net) fn new(
        request: Request<ProxyBody>,
        authority: &HeaderValue,
        mut out: Vec<u8>,
    ) -> (Self, HeaderMap) {
        let (head, body) = request.into_parts();
        let length = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        let coding = length.map_or(Coding::Chunked, Coding::Length);
        out.clear();
        out.extend_from_slice(head.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(head.uri.path().as_bytes());
        if let Some(query) = head.uri.query() {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let (mut has_host, mut has_length, mut closes) = (false, false, false);
        for (name, value) in &head.headers {
            // The body is framed as it is, by its length or by chunks, whatever is said of it.
            if *name == TRANSFER_ENCODING {
                continue;
            }
            if *name == CONTENT_LENGTH {
                let is_right = length.is_some_and(|length| value.to_str().is_ok_and(|said| said == length.to_string()));
                if has_length || !is_right {
                    continue;
                }
                has_length = true;
            }
            has_host |= *name == HOST;
            closes |= *name == CONNECTION && has_option(value, b"close");
            line(&mut out, name.as_str(), value.as_bytes());
        }
        if !has_host {
            line(&mut out, "host", authority.as_bytes());
        }
        // An empty body is said of where one is expected (RFC 9110, section 8.6): without, some servers wait for one or answer 411.
        let expects_a_body = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
        match length {
            Some(length) if !has_length && (length > 0 || expects_a_body) => {
                line(&mut out, "content-length", length.to_string().as_bytes());
            }
            Some(_) => {}
            None => line(&mut out, "transfer-encoding", b"chunked"),
        }
        out.extend_from_slice(b"\r\n");
        let upload = Self {
            out,
            body: (length != Some(0)).then_some(body),
            coding,
            flushed: false,
            to_head: head.method == Method::HEAD,
            closes,
            ..Self::default()
        };
        (upload, head.headers)
    }

    /// Whether anything may have reached the other side.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) fn is_done(&self) -> bool {
        self.flushed && self.body.is_none() && !self.failed
    }

    /// How many bytes of it the socket has taken.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether its sender has kept everybody waiting for longer than he may; where nobody watches him, none.
    pub(super) fn is_too_slow(&self) -> Option<bool> {
        if self.stuck {
            return None;
        }
        let progress = self.body.as_ref().and_then(ProxyBody::progress)?;
        let is_over = progress.patience_ends().is_some_and(|end| end <= tokio::time::Instant::now());
        Some(progress.is_starved() && is_over)
    }

    /// The buffer, for the next request.
    pub(in crate::net) fn take_buffer(&mut self) -> Vec<u8> {
        self.rest();
        std::mem::take(&mut self.out)
    }

    /// Lets go of a buffer that one large request has needed.
    pub(super) fn rest(&mut self) {
        if self.out.capacity() > ENOUGH {
            self.out = Vec::new();
        }
    }

    /// Sends as much as there is. Whoever asks on after a fault hears of one again: a body that broke off ends for who asks it again,
    /// and half of it would pass for the whole.
    pub(super) fn poll(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.failed {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe).into()));
        }
        if self.is_done() {
            return Poll::Ready(Ok(()));
        }
        let polled = self.poll_rest(socket, cx);
        if let Poll::Ready(Err(fault)) = &polled {
            // What has not begun may yet be sent on another connection.
            self.failed = self.begun || fault.is_of_the_request();
        }
        polled
    }

    fn poll_rest(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let gathered = if self.stuck { Poll::Ready(()) } else { self.gather(cx)? };
            let sent = self.poll_send(socket, cx);
            self.stuck = sent.is_pending();
            if self.stuck
                && let Some(progress) = self.body.as_ref().and_then(ProxyBody::progress)
            {
                progress.is_held_up();
            }
            ready!(sent)?;
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            ready!(gathered);
        }
    }

    /// Sends what was gathered.
    fn poll_send(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() || !self.part.is_empty() || !self.tail.is_empty() {
            self.flushed = false;
            // What TLS has taken cannot be told from what it has sent.
            self.begun |= socket.is_tls();
            let length = ready!(self.poll_write(socket, cx))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun = true;
            self.sent += length as u64;
            self.advance(length);
        }
        if !self.flushed {
            ready!(Pin::new(socket).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes parts of the body until there is enough to be written; pending where the next one has not come. Holds so much and one part.
    fn gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        // What stands behind a part goes out before what is gathered next.
        while self.part.is_empty() && self.tail.is_empty() && self.out.len() < ENOUGH {
            let Some(body) = &mut self.body else { break };
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let ended = body.is_end_stream();
                    if let Some(part) = frame.into_data().ok().filter(|part| !part.is_empty()) {
                        self.put(part)?;
                    }
                    if ended {
                        self.end()?;
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(Fault::Upload(error))),
                None => self.end()?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn put(&mut self, part: Bytes) -> Result<(), Fault> {
        match &mut self.coding {
            Coding::Length(left) => {
                *left = left.checked_sub(part.len() as u64).ok_or(Fault::Length)?;
            }
            Coding::Chunked => {
                write!(self.out, "{:X}\r\n", part.len())?;
                self.tail = b"\r\n";
            }
        }
        if part.len() > SMALL {
            self.part = part;
        } else {
            self.out.extend_from_slice(&part);
            self.out.extend_from_slice(std::mem::take(&mut self.tail));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.body = None;
        match self.coding {
            Coding::Length(0) => {}
            Coding::Length(1..) => return Err(Fault::Length),
            Coding::Chunked if self.part.is_empty() => self.out.extend_from_slice(b"0\r\n\r\n"),
            Coding::Chunked => self.tail = b"\r\n0\r\n\r\n",
        }
        Ok(())
    }

    fn poll_write(&self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let out = self.out.get(self.written..).unwrap_or_default();
        if self.part.is_empty() && self.tail.is_empty() {
            return Pin::new(socket).poll_write(cx, out);
        }
        let parts = [out, &self.part, self.tail];
        if socket.is_write_vectored() {
            return Pin::new(socket).poll_write_vectored(cx, &parts.map(IoSlice::new));
        }
        Pin::new(socket).poll_write(cx, parts.into_iter().find(|part| !part.is_empty()).unwrap_or_default())
    }

    fn advance(&mut self, length: usize) {
        let of_out = length.min(self.out.len() - self.written);
        self.written += of_out;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        let of_part = (length - of_out).min(self.part.len());
        self.part.advance(of_part);
        if self.part.is_empty() {
            // An empty rest would keep all of it in memory, also while the connection idles.
            self.part = Bytes::new();
        }
        self.tail = self.tail.get(length - of_out - of_part..).unwrap_or_default();
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + b": \r\n".len());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::mpsc;

    use super::super::super::answer::{Arriving, Relayed};
    use super::super::framing::Framing;
    use super::*;

    const AUTHORITY: HeaderValue = HeaderValue::from_static("app.example");

    fn written(method: &str, headers: &[(&'static str, &'static str)], body: &'static str) -> String {
        let mut request = Request::builder()
            .method(method)
            .uri("/a/b?c=d")
            .body(ProxyBody::full(Bytes::from_static(body.as_bytes())));
        if let Ok(request) = &mut request {
            for (name, value) in headers {
                request.headers_mut().append(*name, HeaderValue::from_static(value));
            }
        }
        let request = request.expect("a request");
        let (upload, _) = Upload::new(request, &AUTHORITY, b"old".to_vec());
        String::from_utf8(upload.out).expect("text")
    }

    #[test]
    fn a_head_says_of_its_body_what_is_true() {
        const HOST: (&str, &str) = ("host", "h");
        for (method, headers, body, lines) in [
            ("GET", &[("a", "b")][..], "", "a: b\r\nhost: app.example\r\n"),
            ("POST", &[HOST], "12345", "host: h\r\ncontent-length: 5\r\n"),
            ("GET", &[HOST], "12345", "host: h\r\ncontent-length: 5\r\n"),
            ("POST", &[HOST, ("content-length", "0")], "", "host: h\r\ncontent-length: 0\r\n"),
            ("DELETE", &[HOST, ("content-length", "0")], "", "host: h\r\ncontent-length: 0\r\n"),
            ("PUT", &[("content-length", "5"), HOST], "12345", "content-length: 5\r\nhost: h\r\n"),
            // Where a body is expected, that there is none is said.
            ("POST", &[HOST], "", "host: h\r\ncontent-length: 0\r\n"),
            ("PUT", &[HOST], "", "host: h\r\ncontent-length: 0\r\n"),
            ("PATCH", &[HOST], "", "host: h\r\ncontent-length: 0\r\n"),
            ("DELETE", &[HOST], "", "host: h\r\n"),
            // Whoever believes one of these reads another request behind it.
            ("POST", &[HOST, ("content-length", "5")], "", "host: h\r\ncontent-length: 0\r\n"),
            ("GET", &[HOST, ("content-length", "5")], "", "host: h\r\n"),
            ("POST", &[HOST, ("content-length", "4")], "12345", "host: h\r\ncontent-length: 5\r\n"),
            (
                "POST",
                &[HOST, ("content-length", "5"), ("content-length", "5")],
                "12345",
                "host: h\r\ncontent-length: 5\r\n",
            ),
            ("POST", &[HOST, ("transfer-encoding", "chunked")], "12345", "host: h\r\ncontent-length: 5\r\n"),
        ] {
            let written = written(method, headers, body);
            assert_eq!(written, format!("{method} /a/b?c=d HTTP/1.1\r\n{lines}\r\n"), "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn r11_chunks_stay_whole_however_little_the_socket_takes_at_once(
            lengths in prop::collection::vec(1_usize..(SMALL + 100), 1..6),
            takes in prop::collection::vec(prop_oneof![Just(0), 1_usize..8, 1_usize..(2 * SMALL)], 1..40),
        ) {
            let (sender, parts) = mpsc::channel(lengths.len() + 1);
            let mut data = Vec::new();
            for (letter, length) in (b'a'..).zip(&lengths) {
                data.extend(vec![letter; *length]);
                sender.try_send(Ok(Relayed::Part(vec![letter; *length].into()))).expect("room");
            }
            sender.try_send(Ok(Relayed::Last(Bytes::new()))).expect("room");
            let body = ProxyBody::arriving(Arriving::relayed(parts, None));
            let (mut upload, _) = Upload::new(Request::post("/").body(body).expect("a request"), &AUTHORITY, Vec::new());
            let mut sent = Vec::new();
            // What remains of a large part, and of what stands behind it, is always one of the amounts that a socket takes.
            for take in takes.into_iter().chain([usize::MAX]).cycle() {
                let gathered = upload.gather(&mut Context::from_waker(std::task::Waker::noop()));
                prop_assert!(matches!(gathered, Poll::Ready(Ok(()))));
                let left = [&upload.out[upload.written..], &upload.part, upload.tail].concat();
                if left.is_empty() && upload.body.is_none() {
                    break;
                }
                let take = if take == 0 { upload.out.len() - upload.written + upload.part.len() } else { take };
                let take = take.min(left.len());
                sent.extend_from_slice(&left[..take]);
                upload.advance(take);
            }
            let head = sent.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
            let (mut framing, mut rest, mut read) = (Framing::chunked(), Bytes::copy_from_slice(&sent[head..]), Vec::new());
            while let Some(part) = framing.take(&mut rest).expect("proper chunks") {
                read.extend_from_slice(&part);
            }
            prop_assert!(framing.is_end() && rest.is_empty());
            prop_assert_eq!(read, data);
        }
    }
}
