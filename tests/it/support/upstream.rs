//! Upstreams: apps that behave, and apps that do not. All record every byte they get, so that a test can say what was sent on and
//! that nothing was.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::client::whole;
use super::soon;

pub(crate) type AppBody = BoxBody<Bytes, Infallible>;

/// An app behind the proxy, until it is dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    recorded: Arc<Mutex<Vec<Vec<u8>>>>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// An app that answers what a function says.
    pub(crate) async fn app<F, R>(app: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<AppBody>> + Send + 'static,
    {
        Self::accepting(move |stream| {
            let app = app.clone();
            async move { serve(stream, app).await }
        })
        .await
    }

    /// The same behind TLS.
    pub(crate) async fn tls_app<F, R>(config: rustls::ServerConfig, app: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<AppBody>> + Send + 'static,
    {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::accepting(move |stream| {
            let (app, acceptor) = (app.clone(), acceptor.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, app).await;
                }
            }
        })
        .await
    }

    /// An app that answers every request with what it saw of it, as JSON: method, target, headers in order, body.
    pub(crate) async fn echo() -> Self {
        Self::app(echo).await
    }

    /// An app that reads one head on each connection and then does what a script says.
    pub(crate) async fn raw<F, R>(script: F) -> Self
    where
        F: Fn(RawConnection, usize) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let index = Arc::new(AtomicUsize::new(0));
        Self::accepting(move |stream| {
            let (script, index) = (script.clone(), index.fetch_add(1, Ordering::SeqCst));
            async move { script(RawConnection { stream, ahead: Vec::new() }, index).await }
        })
        .await
    }

    /// An app that answers the first request of each connection with these very bytes and then waits for the other side to close.
    pub(crate) async fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::raw(move |mut connection, _| {
            let bytes = bytes.clone();
            async move {
                if connection.head().await.is_some() {
                    connection.send(&bytes).await;
                    connection.stall().await;
                }
            }
        })
        .await
    }

    /// The same, but it closes after its bytes.
    pub(crate) async fn saying_and_closing(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::raw(move |mut connection, _| {
            let bytes = bytes.clone();
            async move {
                if connection.head().await.is_some() {
                    connection.send(&bytes).await;
                }
            }
        })
        .await
    }

    /// An address where nobody listens.
    pub(crate) async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address")
    }

    async fn accepting<F, R>(serve: F) -> Self
    where
        F: Fn(Recorded) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count) = (recorded.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                stream.set_nodelay(true).expect("a live socket");
                let index = count.fetch_add(1, Ordering::SeqCst);
                log.lock().expect("the log").push(Vec::new());
                serving.spawn(serve(Recorded { stream, log: log.clone(), index }));
            }
        });
        Self { address, recorded, connections, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bytes that came, one entry a connection.
    pub(crate) fn recorded(&self) -> Vec<Vec<u8>> {
        self.recorded.lock().expect("the log").clone()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Whether a text came, on any connection.
    pub(crate) fn saw(&self, text: &str) -> bool {
        self.recorded().iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

async fn serve<S, F, R>(stream: S, app: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<AppBody>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = app(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // Clients that go away are part of the tests.
    let _ended = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn echo(request: Request<Incoming>) -> Response<AppBody> {
    let (head, body) = request.into_parts();
    let headers: Vec<_> =
        head.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
    let seen = serde_json::json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "body": String::from_utf8_lossy(&whole(body).await),
    });
    answer(seen.to_string())
}

/// A 200 with a body.
pub(crate) fn answer(body: impl Into<Bytes>) -> Response<AppBody> {
    Response::new(Full::new(body.into()).boxed())
}

/// All values of a header in what [`Upstream::echo`] saw.
pub(crate) fn echoed<'a>(seen: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let headers = seen["headers"].as_array().expect("headers");
    headers.iter().filter(|line| line[0] == name).map(|line| line[1].as_str().expect("text")).collect()
}

/// A connection to a scripted app.
pub(crate) struct RawConnection {
    stream: Recorded,
    ahead: Vec<u8>,
}

impl RawConnection {
    /// The head of the next request; `None` when the other side closed.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.ahead.drain(..at + 4).collect();
                return Some(String::from_utf8(head).expect("a head is text"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub(crate) async fn read_exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.ahead.drain(..length).collect())
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.ahead).await.is_ok_and(|length| length > 0)
    }

    /// Sends bytes; that the other side has gone is no failure here.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _gone = self.stream.write_all(bytes.as_ref()).await;
        let _gone = self.stream.flush().await;
    }

    /// Says nothing more until the other side closes.
    pub(crate) async fn stall(&mut self) {
        while self.more().await {}
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        let socket = SockRef::from(&self.stream.stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("a live socket");
    }

    /// Waits until the other side has closed.
    pub(crate) async fn closed(&mut self) {
        soon("the other side to close", self.stall()).await;
    }
}

/// A socket that keeps what is read from it.
pub(crate) struct Recorded {
    stream: TcpStream,
    log: Arc<Mutex<Vec<Vec<u8>>>>,
    index: usize,
}

impl AsyncRead for Recorded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.log.lock().expect("the log")[self.index].extend_from_slice(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
