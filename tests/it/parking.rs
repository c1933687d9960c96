//! Connections that idle are parked: what is held for them is given back, and nobody notices. Every kind of thing that can come next
//! comes to a parked connection here; and what must not be parked is not.

use std::sync::Arc;
use std::time::Duration;

use authferry::http::connection::Connection;
use authferry::http::server::{Drained, Handler};
use authferry::http::settings::{EdgeBounds, ListenerSettings};
use authferry::net::ProxyBody;
use authferry::telemetry::Metrics;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::framing::memory_config;
use crate::server::certificate;
use crate::support::client::RawClient;
use crate::support::process::Process;
use crate::support::proxy::{Proxy, Wanted, on_any_port};
use crate::support::raw_client::send;
use crate::support::soon;
use crate::support::upstream::Upstream;

const PARKED: &str = "authferry_connections_parked";
const OPEN: &str = "authferry_connections";

fn bounds() -> EdgeBounds {
    Wanted::before("http://127.0.0.1:1").bounds
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: app\r\n\r\n")
}

/// Answers with the path and the body. Of what is posted to `/unread` nothing is read.
struct Echo;

impl Handler for Echo {
    #[expect(clippy::disallowed_methods, reason = "a test's own clients send small bodies")]
    async fn handle(&self, request: Request<Incoming>, _: &Arc<Connection>) -> Response<ProxyBody> {
        let mut said = request.uri().path().as_bytes().to_vec();
        if said != b"/unread" {
            said.extend_from_slice(&request.into_body().collect().await.expect("a body").to_bytes());
        }
        Response::new(ProxyBody::full(Bytes::from(said)))
    }
}

fn echoing(bounds: EdgeBounds) -> Proxy {
    Proxy::serving(&[on_any_port()], bounds, Echo, Arc::new(Metrics::new()))
}

impl Proxy {
    /// A client whose only connection has been used once and is parked.
    async fn parked(&self) -> RawClient {
        let mut client = RawClient::connect(self.address()).await;
        assert_eq!(client.ask(get("/first")).await.status, 200);
        self.until_metric(PARKED, "1").await;
        client
    }
}

/// Whatever comes next to a parked connection.
async fn goes_on<S: AsyncRead + AsyncWrite + Unpin>(server: &Proxy, client: &mut RawClient<S>) {
    let is_parked = || server.until_metric(PARKED, "1");
    assert_eq!(client.ask(get("/once")).await.body, b"/once");
    assert_eq!(server.metric(PARKED).as_deref(), Some("0"), "it is served again");

    is_parked().await;
    let posted = client.ask("POST /post HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(posted.body, b"/posthello");

    is_parked().await;
    client.send("POST /parts HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n").await;
    client.send("2\r\nlo\r\n0\r\n\r\n").await;
    assert_eq!(client.answer().await.body, b"/partshello");

    is_parked().await;
    client.send([get("/a"), get("/b"), get("/c")].concat()).await;
    for body in [b"/a", b"/b", b"/c"] {
        assert_eq!(client.answer().await.body, body, "none is lost, none comes twice");
    }

    is_parked().await;
    // More than what is read of a parked connection at once, and a body behind it.
    let long = format!("x-long: {}\r\ncontent-length: 4\r\n\r\nbody", "l".repeat(5_000));
    assert_eq!(client.ask(format!("PUT /long HTTP/1.1\r\nhost: app\r\n{long}")).await.body, b"/longbody");

    is_parked().await;
    for byte in get("/bytes").as_bytes() {
        client.send([*byte]).await;
    }
    assert_eq!(client.answer().await.body, b"/bytes");

    is_parked().await;
    let last = client.ask("GET /last HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n").await;
    assert_eq!((&last.body[..], last.header("connection")), (&b"/last"[..], Some("close")));
    assert_eq!(client.read_to_end().await, b"");
    assert_eq!(server.metric(PARKED).as_deref(), Some("0"));
}

#[tokio::test]
async fn a_parked_connection_takes_whatever_comes_next() {
    let server = echoing(bounds());
    let mut client = server.parked().await;
    goes_on(&server, &mut client).await;
}

#[tokio::test]
async fn a_parked_tls_connection_takes_whatever_comes_next() {
    let (_kept, tls, config) = certificate();
    let listener = ListenerSettings { tls: Some(tls.into()), ..on_any_port() };
    let server = Proxy::serving(&[listener], bounds(), Echo, Arc::new(Metrics::new()));
    let socket = TcpStream::connect(server.address()).await.expect("connected");
    let name = "localhost".try_into().expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("a handshake");
    let mut client = RawClient::over(stream);
    assert_eq!(client.ask(get("/first")).await.status, 200);
    server.until_metric(PARKED, "1").await;
    goes_on(&server, &mut client).await;
}

#[tokio::test]
async fn what_is_refused_is_refused_after_parking_as_before() {
    let server = echoing(bounds());
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: app\r\nx y: z\r\n\r\n", 400),
        ("GET / HTTP/1.1\nhost: app\r\n\r\n", 400),
        ("CONNECT app:443 HTTP/1.1\r\nhost: app\r\n\r\n", 405),
        // Only the beginning of a connection can be HTTP/2.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ] {
        let mut client = server.parked().await;
        client.send(request).await;
        client.try_send(get("/smuggled")).await;
        let refused = client.answer().await;
        assert_eq!((refused.status, refused.header("connection")), (status, Some("close")), "{request:?}");
        assert_eq!(client.read_to_end().await, b"", "{request:?}");
        drop(client);
        server.until_metric(OPEN, "0").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_parked_connection_along() {
    let server = echoing(bounds());
    let mut half = server.parked().await;
    half.finish().await;
    assert_eq!(half.read_to_end().await, b"");
    server.until_metric(OPEN, "0").await;
    drop(server.parked().await);
    server.until_metric(OPEN, "0").await;
    assert_eq!(server.metric(PARKED).as_deref(), Some("0"));
}

#[tokio::test]
async fn r22_a_parked_connection_idles_out_and_a_head_that_does_not_end_is_cut() {
    let idle_timeout = Duration::from_millis(900);
    let server = echoing(EdgeBounds { idle_timeout, ..bounds() });
    let mut idle = server.parked().await;
    assert_eq!(idle.read_to_end().await, b"");
    server.until_metric(OPEN, "0").await;
    let server = echoing(EdgeBounds { head_timeout: Duration::from_millis(100), ..bounds() });
    let mut slow = server.parked().await;
    slow.send("GET / HT").await;
    assert_eq!(slow.read_to_end().await, b"");
    server.until_metric(OPEN, "0").await;
}

#[tokio::test]
async fn r25_a_parked_connection_has_its_last_request_answered_in_a_drain_and_a_silent_one_is_closed() {
    let mut server = echoing(EdgeBounds { linger: Duration::from_secs(30), workers: 1, ..bounds() });
    let mut client = server.parked().await;
    server.shutdown.cancel();
    soon("connections to be refused", async {
        while TcpStream::connect(server.address()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let last = client.ask(get("/last")).await;
    assert_eq!((&last.body[..], last.header("connection")), (&b"/last"[..], Some("close")));
    assert_eq!(client.read_to_end().await, b"");
    assert_eq!(server.drained().await, Drained::InTime);

    let mut server = echoing(EdgeBounds { linger: Duration::from_millis(50), ..bounds() });
    let mut silent = server.parked().await;
    server.shutdown.cancel();
    assert_eq!(silent.read_to_end().await, b"");
    assert_eq!(server.drained().await, Drained::InTime);
}

#[tokio::test]
async fn r23_a_parked_connection_makes_room_like_any_that_idles() {
    let server = echoing(EdgeBounds { max_connections: 1, workers: 1, ..bounds() });
    let mut parked = server.parked().await;
    let mut new = RawClient::connect(server.address()).await;
    assert_eq!(new.ask(get("/new")).await.body, b"/new");
    assert_eq!(parked.read_to_end().await, b"");
}

/// Reads a body to its end only after it has answered, as forwarding does with an app that answers early.
struct Later(mpsc::Sender<mpsc::Sender<()>>);

impl Handler for Later {
    #[expect(clippy::disallowed_methods, reason = "a test's own clients send small bodies")]
    async fn handle(&self, request: Request<Incoming>, _: &Arc<Connection>) -> Response<ProxyBody> {
        if request.method() == http::Method::POST {
            let (go, mut told) = mpsc::channel(1);
            self.0.send(go).await.expect("wanted");
            tokio::spawn(async move {
                told.recv().await;
                drop(request.into_body().collect().await);
            });
        }
        Response::new(ProxyBody::full(Bytes::from_static(b"answered")))
    }
}

#[tokio::test]
async fn a_connection_whose_body_nobody_has_read_is_not_parked_and_its_bytes_are_no_request() {
    let (here, mut bodies) = mpsc::channel(1);
    let bounds = EdgeBounds { workers: 1, ..bounds() };
    let server = Proxy::serving(&[on_any_port()], bounds, Later(here), Arc::new(Metrics::new()));
    let mut client = RawClient::connect(server.address()).await;
    // The first chunk is handed on before anybody asks for it; the others stay with hyper, whole as they are.
    let smuggled = get("/smuggled");
    let body = format!("1\r\na\r\n1\r\nb\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    client.send(format!("POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await;
    assert_eq!(client.answer().await.status, 200);
    let go = soon("the body", bodies.recv()).await.expect("there");
    // One that idles beside it is parked meanwhile.
    let mut beside = RawClient::connect(server.address()).await;
    assert_eq!(beside.ask(get("/")).await.status, 200);
    server.until_metric(PARKED, "1").await;
    go.send(()).await.expect("waited for");
    assert_eq!(client.ask(get("/next")).await.body, b"answered");
    client.send("GET /last HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n").await;
    assert_eq!(client.answer().await.body, b"answered");
    assert_eq!(client.read_to_end().await, b"", "as many answers as requests");
}

#[tokio::test]
async fn a_request_under_way_is_not_parked_however_long_it_takes() {
    let (here, mut arrived) = mpsc::channel(1);
    struct Slow(mpsc::Sender<mpsc::Sender<()>>);
    impl Handler for Slow {
        async fn handle(&self, _: Request<Incoming>, _: &Arc<Connection>) -> Response<ProxyBody> {
            let (go, mut told) = mpsc::channel(1);
            self.0.send(go).await.expect("wanted");
            told.recv().await;
            Response::new(ProxyBody::full(Bytes::from_static(b"at last")))
        }
    }
    let bounds = EdgeBounds { workers: 1, ..bounds() };
    let server = Proxy::serving(&[on_any_port()], bounds, Slow(here), Arc::new(Metrics::new()));
    let mut slow = RawClient::connect(server.address()).await;
    slow.send(get("/")).await;
    let go = soon("the request", arrived.recv()).await.expect("there");
    let mut other = RawClient::connect(server.address()).await;
    other.send(get("/")).await;
    soon("the request", arrived.recv()).await.expect("there").send(()).await.expect("waited for");
    assert_eq!(other.answer().await.body, b"at last");
    // It came later, and is parked before.
    server.until_metric(PARKED, "1").await;
    go.send(()).await.expect("waited for");
    assert_eq!(slow.answer().await.body, b"at last");
    server.until_metric(PARKED, "2").await;
}

#[tokio::test]
async fn r9_a_websocket_can_be_had_after_parking_and_is_never_parked() {
    const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                           sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let upstream = Upstream::raw(|mut connection, _| async move {
        while let Some(head) = connection.head().await {
            if !head.contains("websocket") {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                continue;
            }
            connection.send(GRANTED).await;
            while let Some(bytes) = connection.read_exactly(4).await {
                connection.send(bytes.to_ascii_uppercase()).await;
            }
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = proxy.parked().await;
    client
        .send(
            "GET /ws HTTP/1.1\r\nhost: app\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearl",
        )
        .await;
    assert_eq!(client.head().await.status, 101);
    assert_eq!(client.read_exactly(4).await, b"EARL");
    let _other = {
        let mut other = RawClient::connect(proxy.address()).await;
        assert_eq!(other.ask(get("/")).await.status, 200);
        proxy.until_metric(PARKED, "1").await;
        other
    };
    client.send("ping").await;
    assert_eq!(client.read_exactly(4).await, b"PING");
    client.finish().await;
    assert_eq!(client.read_to_end().await, b"");
}

/// Resident memory of a process that belongs to no file, in KiB.
#[cfg(target_os = "linux")]
fn anonymous(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn r24_what_connections_took_while_they_were_used_goes_back_to_the_system_while_they_idle() {
    const CONNECTIONS: usize = 300;
    let upstream = Upstream::raw(|mut connection, _| async move {
        while connection.head().await.is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::start(folder.path(), &memory_config(&upstream.url()));
    // The first ones pay for what is kept: threads' heaps, pools, tables.
    let mut clients = used_once(&process, 10).await;
    let before = anonymous(process.id());
    clients.extend(used_once(&process, CONNECTIONS).await);
    soon("all to be parked", async {
        let all = format!("authferry_connections_parked {}\n", clients.len());
        while !metrics(&process).await.contains(&all) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    // Used and not parked, a connection takes four times as much.
    soon("the memory to go back", async {
        while anonymous(process.id()) > before + 10 * CONNECTIONS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    for client in &mut clients {
        assert_eq!(client.ask(get("/")).await.status, 200);
    }
}

async fn used_once(process: &Process, connections: usize) -> Vec<RawClient> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut client = RawClient::connect(process.public()).await;
        client.send(get("/")).await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    clients
}

async fn metrics(process: &Process) -> String {
    send(process.admin(), "GET", "/metrics", &[], "").await.body
}
