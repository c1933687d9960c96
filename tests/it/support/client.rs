//! Clients: one that writes and reads raw bytes, and hyper's for HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;

use authferry::net::ProxyBody;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// A client that sends what it is told, byte by byte.
pub(crate) struct RawClient<S = TcpStream> {
    stream: S,
    /// Read and not yet looked at.
    ahead: Vec<u8>,
}

/// An answer as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    /// In the order of the wire, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl RawAnswer {
    /// All values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [] => None,
            [only] => Some(only),
            _ => panic!("{name} came more than once"),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }
}

impl RawClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(soon("a connection", TcpStream::connect(address)).await.expect("connected"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    /// The connection itself, after nothing was read ahead.
    pub(crate) fn into_stream(self) -> S {
        assert!(self.ahead.is_empty(), "bytes would be lost");
        self.stream
    }

    pub(crate) fn over(stream: S) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("room to send", self.stream.write_all(bytes.as_ref())).await.expect("sent");
        soon("room to send", self.stream.flush()).await.expect("sent");
    }

    /// Sends where the other side may have gone already; whether it went through.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon("room to send", self.stream.write_all(bytes.as_ref())).await.is_ok()
            && soon("room to send", self.stream.flush()).await.is_ok()
    }

    /// What comes until it ends so, or the other side ends the connection.
    pub(crate) async fn read_to_end_of(&mut self, end: &[u8]) -> Vec<u8> {
        while !self.ahead.ends_with(end) && self.read_more().await {}
        std::mem::take(&mut self.ahead)
    }

    /// Ends our side of the connection.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.expect("shut down");
    }

    /// Everything up to and with `end`.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                return self.ahead.drain(..at + end.len()).collect();
            }
            assert!(self.read_more().await, "the connection ended before {:?}: {:?}", show(end), show(&self.ahead));
        }
    }

    pub(crate) async fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert!(self.read_more().await, "the connection ended after {:?}", show(&self.ahead));
        }
        self.ahead.drain(..length).collect()
    }

    /// What comes until the other side ends the connection, in good order or not.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        while self.read_more().await {}
        std::mem::take(&mut self.ahead)
    }

    /// One answer, to anything but HEAD.
    pub(crate) async fn answer(&mut self) -> RawAnswer {
        let mut answer = self.head().await;
        if answer.all("transfer-encoding") == ["chunked"] {
            loop {
                let size = self.read_until(b"\r\n").await;
                let size = std::str::from_utf8(&size).expect("a size").trim_end();
                let size = usize::from_str_radix(size, 16).expect("a size");
                answer.body.extend(self.read_exactly(size).await);
                assert_eq!(self.read_exactly(2).await, b"\r\n");
                if size == 0 {
                    return answer;
                }
            }
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("a length");
            answer.body = self.read_exactly(length).await;
        } else if answer.status >= 200 && answer.status != 204 && answer.status != 304 {
            answer.body = self.read_to_end().await;
        }
        answer
    }

    /// The head of an answer.
    pub(crate) async fn head(&mut self) -> RawAnswer {
        let head = self.read_until(b"\r\n\r\n").await;
        let (status, headers) = parse_head(&head);
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        RawAnswer { status, headers, body: Vec::new() }
    }

    /// Sends a request and reads the answer to it.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> RawAnswer {
        self.send(request).await;
        self.answer().await
    }

    async fn read_more(&mut self) -> bool {
        let read = soon("bytes", self.stream.read_buf(&mut self.ahead)).await;
        read.is_ok_and(|length| length > 0)
    }
}

/// The first line and the headers of a message.
pub(crate) fn parse_head(head: &[u8]) -> (String, Vec<(String, String)>) {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no header: {line}")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    (first, headers)
}

pub(crate) fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A connection of hyper's client.
pub(crate) enum HttpClient {
    H1(hyper::client::conn::http1::SendRequest<ProxyBody>),
    H2(hyper::client::conn::http2::SendRequest<ProxyBody>),
}

impl HttpClient {
    pub(crate) async fn h1(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.expect("connected");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
        tokio::spawn(connection);
        Self::H1(sender)
    }

    /// HTTP/2 with prior knowledge.
    pub(crate) async fn h2(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.expect("connected");
        Self::h2_over(stream).await
    }

    pub(crate) async fn h2_over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a handshake");
        tokio::spawn(connection);
        Self::H2(sender)
    }

    /// Sends a request and waits for the head of its answer. HTTP/1 gets a `Host` where there is none.
    pub(crate) async fn start(&mut self, mut request: Request<ProxyBody>) -> hyper::Result<Response<Incoming>> {
        let sent = async {
            match self {
                Self::H1(sender) => {
                    request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("app"));
                    sender.send_request(request).await
                }
                Self::H2(sender) => sender.send_request(request).await,
            }
        };
        soon("an answer", sent).await
    }

    /// Sends a request and reads the whole of its answer.
    pub(crate) async fn ask(&mut self, request: Request<ProxyBody>) -> Response<Bytes> {
        let (head, body) = self.start(request).await.expect("an answer").into_parts();
        Response::from_parts(head, whole(body).await)
    }
}

/// Reads a body whole.
#[expect(clippy::disallowed_methods, reason = "a test's own peers send small bodies")]
pub(crate) async fn whole<B: Body<Data = Bytes>>(body: B) -> Bytes
where
    B::Error: std::fmt::Debug,
{
    soon("a body", body.collect()).await.expect("a body").to_bytes()
}

/// A GET without a body.
pub(crate) fn get(uri: &str) -> Request<ProxyBody> {
    Request::get(uri).body(ProxyBody::empty()).expect("a request")
}
