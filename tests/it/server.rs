//! The server itself: bounds of time and number, drains, panics, listeners of every kind.

use std::sync::Arc;
use std::time::Duration;

use authferry::http::connection::Connection;
use authferry::http::listener::BindFault;
use authferry::http::server::{Drained, Handler, bind_all};
use authferry::http::settings::{Bind, EdgeBounds, ListenerSettings, TlsFiles};
use authferry::net::ProxyBody;
use authferry::telemetry::Metrics;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::support::client::{HttpClient, RawClient, get, show};
use crate::support::proxy::{Proxy, Wanted, on_any_port};
use crate::support::soon;
use crate::support::upstream::{Upstream, echoed};

/// Between two connections of a test that waits for the listener to go. Without it they come by the thousand, and the server
/// closes the idle connection that is looked at to make room for them.
const BETWEEN_CALLS: Duration = Duration::from_millis(10);

const GET: &str = "GET / HTTP/1.1\r\nhost: app\r\n\r\n";

/// Tells when a request is there, and answers when it is told to.
struct Held {
    arrived: mpsc::Sender<()>,
    go: watch::Receiver<bool>,
}

impl Handler for Held {
    async fn handle(&self, _: Request<Incoming>, _: &Arc<Connection>) -> Response<ProxyBody> {
        self.arrived.send(()).await.expect("wanted");
        self.go.clone().wait_for(|go| *go).await.expect("told");
        Response::new(ProxyBody::full(Bytes::from_static(b"held")))
    }
}

fn held() -> (Held, mpsc::Receiver<()>, watch::Sender<bool>) {
    let (arrived, here) = mpsc::channel(1);
    let (go, wait) = watch::channel(false);
    (Held { arrived, go: wait }, here, go)
}

fn bounds() -> EdgeBounds {
    Wanted::before("http://127.0.0.1:1").bounds
}

fn serving(bounds: EdgeBounds, handler: impl Handler) -> Proxy {
    Proxy::serving(&[on_any_port()], bounds, handler, Arc::new(Metrics::new()))
}

/// Answers with the path; panics at `/panic`.
struct Paths;

impl Handler for Paths {
    async fn handle(&self, request: Request<Incoming>, _: &Arc<Connection>) -> Response<ProxyBody> {
        assert_ne!(request.uri().path(), "/panic", "a bug");
        Response::new(ProxyBody::full(Bytes::from(request.uri().path().to_owned())))
    }
}

#[tokio::test]
async fn r25_a_drain_answers_what_is_under_way_and_takes_nothing_new() {
    let (handler, mut here, go) = held();
    // One worker tells all of its connections at once.
    let mut server = serving(EdgeBounds { workers: 1, ..bounds() }, handler);
    let address = server.address();
    let mut busy = RawClient::connect(address).await;
    busy.send(GET).await;
    soon("the request", here.recv()).await.expect("there");
    let mut idle = RawClient::connect(address).await;
    server.shutdown.cancel();
    assert_eq!(
        idle.read_to_end().await,
        b"",
        "idle connections are closed once they have had the time for a last request"
    );
    // The listener is gone before that: connecting is refused from then on.
    soon("connections to be refused", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(BETWEEN_CALLS).await;
        }
    })
    .await;
    go.send(true).expect("waited for");
    let answer = busy.answer().await;
    assert_eq!((answer.status, &answer.body[..], answer.header("connection")), (200, &b"held"[..], Some("close")));
    assert_eq!(busy.read_to_end().await, b"");
    assert_eq!(server.drained().await, Drained::InTime);
}

#[tokio::test]
async fn r25_a_request_on_an_idle_connection_is_answered_within_the_time_to_linger_and_is_the_last() {
    let long = Duration::from_secs(30);
    let mut server = serving(EdgeBounds { linger: long, ..bounds() }, Paths);
    let mut idle = RawClient::connect(server.address()).await;
    let first = idle.ask(GET).await;
    assert_eq!((first.status, first.header("connection")), (200, None));
    let mut silent = RawClient::connect(server.address()).await;
    assert_eq!(silent.ask(GET).await.status, 200);
    server.shutdown.cancel();
    // Whatever it may have missed at first: the shutdown is in force once nobody is let in any more.
    soon("connections to be refused", async {
        while TcpStream::connect(server.address()).await.is_ok() {
            tokio::time::sleep(BETWEEN_CALLS).await;
        }
    })
    .await;
    let last = idle.ask("GET /last HTTP/1.1\r\nhost: app\r\n\r\n").await;
    assert_eq!((last.status, &last.body[..], last.header("connection")), (200, &b"/last"[..], Some("close")));
    assert_eq!(idle.read_to_end().await, b"");
    drop(silent);
    assert_eq!(server.drained().await, Drained::InTime);
}

/// Holds its worker's thread, as a bug would.
struct Blocking(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Handler for Blocking {
    async fn handle(&self, _: Request<Incoming>, _: &Arc<Connection>) -> Response<ProxyBody> {
        let released = self.0.lock().expect("one request");
        // An error is a release too.
        let _released = released.recv();
        Response::new(ProxyBody::empty())
    }
}

#[tokio::test]
async fn a_worker_whose_loop_hangs_lags_behind_and_catches_up_when_it_goes_on() {
    let (release, released) = std::sync::mpsc::sync_channel(1);
    let server = bind_all(&[on_any_port()], EdgeBounds { workers: 2, ..bounds() }).expect("bound");
    let (address, controls) = (server.addresses()[0].tcp().expect("TCP"), server.controls());
    let (shutdown, handler) = (CancellationToken::new(), Arc::new(Blocking(std::sync::Mutex::new(released))));
    let served = tokio::spawn(server.run(handler, Arc::new(Metrics::new()), shutdown.clone()));
    let mut client = RawClient::connect(address).await;
    client.send(GET).await;
    // Both workers look several times a second.
    let far_behind = Duration::from_secs(2);
    soon("the worker to lag", async {
        while controls.lag() < far_behind {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    release.send(()).expect("waited for");
    assert_eq!(client.answer().await.status, 200);
    soon("the worker to catch up", async {
        while controls.lag() > far_behind {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    drop(client);
    shutdown.cancel();
    assert_eq!(soon("the end", served).await.expect("no panic").expect("served"), Drained::InTime);
    assert_eq!(controls.lag(), Duration::ZERO, "a worker that has ended does not hang");
}

#[tokio::test]
async fn r23_requests_over_the_limit_are_told_to_come_back_however_few_connections_they_come_on() {
    let (handler, mut here, go) = held();
    let server = serving(EdgeBounds { max_requests: 1, ..bounds() }, handler);
    let mut client = HttpClient::h2(server.address()).await;
    let mut other = match &client {
        HttpClient::H2(sender) => HttpClient::H2(sender.clone()),
        HttpClient::H1(_) => unreachable!("HTTP/2 was asked for"),
    };
    let first = tokio::spawn(async move { client.ask(get("http://app/")).await });
    soon("the request", here.recv()).await.expect("there");
    let refused = other.ask(get("http://app/")).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (503, &http::HeaderValue::from_static("1"))
    );
    go.send(true).expect("waited for");
    assert_eq!(soon("the answer", first).await.expect("no panic").body(), "held");
    assert_eq!(other.ask(get("http://app/")).await.body(), "held", "the place is free again");
}

#[tokio::test]
async fn r23_one_network_has_an_eighth_of_the_requests_that_there_may_be() {
    let (handler, mut here, go) = held();
    let server = serving(EdgeBounds { max_requests: 16, ..bounds() }, handler);
    let HttpClient::H2(sender) = HttpClient::h2(server.address()).await else { unreachable!("HTTP/2 was asked for") };
    let ask = || {
        let mut client = HttpClient::H2(sender.clone());
        tokio::spawn(async move { client.ask(get("http://app/")).await })
    };
    let under_way = [ask(), ask()];
    for _ in &under_way {
        soon("the request", here.recv()).await.expect("there");
    }
    assert_eq!(soon("an answer", ask()).await.expect("no panic").status(), 503);
    // On HTTP/1 the bound on connections is one on requests.
    let mut other = HttpClient::h1(server.address()).await;
    let elsewhere = tokio::spawn(async move { other.ask(get("/")).await });
    soon("the request", here.recv()).await.expect("there");
    go.send(true).expect("waited for");
    for asked in under_way.into_iter().chain([elsewhere]) {
        assert_eq!(soon("the answer", asked).await.expect("no panic").body(), "held");
    }
}

#[tokio::test]
async fn r25_http2_streams_are_finished_before_the_drain_is_over() {
    let (handler, mut here, go) = held();
    let mut server = serving(bounds(), handler);
    let mut client = HttpClient::h2(server.address()).await;
    let asked = tokio::spawn(async move { client.ask(get("http://app/")).await });
    soon("the request", here.recv()).await.expect("there");
    server.shutdown.cancel();
    go.send(true).expect("waited for");
    assert_eq!(soon("the answer", asked).await.expect("no panic").body(), "held");
    assert_eq!(server.drained().await, Drained::InTime);
}

#[tokio::test]
async fn r25_a_request_that_came_before_the_drain_is_answered_even_if_it_was_not_accepted_yet() {
    let server = bind_all(&[on_any_port()], bounds()).expect("bound");
    let address = server.addresses()[0].tcp().expect("TCP");
    // The kernel completes the connection; nobody accepts before the shutdown.
    let mut client = RawClient::connect(address).await;
    client.send("GET /early HTTP/1.1\r\nhost: app\r\n\r\n").await;
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let served = server.run(Arc::new(Paths), Arc::new(Metrics::new()), shutdown);
    assert_eq!(soon("the drain", served).await.expect("served"), Drained::InTime);
    assert_eq!(client.answer().await.body, b"/early");
    assert_eq!(client.read_to_end().await, b"");
}

#[tokio::test]
async fn r25_a_drain_has_an_end_whatever_is_under_way() {
    let (handler, mut here, _go) = held();
    let mut server = serving(EdgeBounds { drain_timeout: Duration::from_millis(50), ..bounds() }, handler);
    let mut client = RawClient::connect(server.address()).await;
    client.send(GET).await;
    soon("the request", here.recv()).await.expect("there");
    server.shutdown.cancel();
    assert_eq!(server.drained().await, Drained::CutOff);
    assert_eq!(client.read_to_end().await, b"");
}

#[tokio::test]
async fn r122_a_panic_is_a_500_and_everything_goes_on() {
    let server = serving(bounds(), Paths);
    let mut client = RawClient::connect(server.address()).await;
    let failed = client.ask("GET /panic HTTP/1.1\r\nhost: app\r\n\r\n").await;
    assert_eq!((failed.status, failed.json()["code"].as_str()), (500, Some("internal")));
    assert_eq!(client.ask("GET /fine HTTP/1.1\r\nhost: app\r\n\r\n").await.body, b"/fine");
    assert_eq!(server.metric("authferry_panics_total").as_deref(), Some("1"));
}

#[tokio::test]
async fn r22_heads_that_do_not_come_and_connections_that_idle_are_closed() {
    let short = Duration::from_millis(80);
    let long = Duration::from_secs(30);
    for (head_timeout, idle_timeout, first) in [
        (short, long, "GET / HT"),
        (long, short, ""),
        (long, short, GET),
        (long, short, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0"),
    ] {
        let server = serving(EdgeBounds { head_timeout, idle_timeout, ..bounds() }, Paths);
        let mut client = RawClient::connect(server.address()).await;
        client.send(first).await;
        let read = client.read_to_end().await;
        assert_eq!(read.starts_with(b"HTTP/1.1 200"), first == GET, "{}", show(&read));
    }
}

#[tokio::test]
async fn r22_a_client_that_takes_no_bytes_is_cut_off() {
    struct Endless;
    impl Handler for Endless {
        async fn handle(&self, _: Request<Incoming>, _: &Arc<Connection>) -> Response<ProxyBody> {
            // More than the sockets' buffers of both sides hold.
            Response::new(ProxyBody::full(Bytes::from(vec![b'x'; 64 * 1024 * 1024])))
        }
    }
    let server = serving(EdgeBounds { idle_timeout: Duration::from_millis(100), ..bounds() }, Endless);
    let mut client = RawClient::connect(server.address()).await;
    client.send(GET).await;
    assert_eq!(client.head().await.status, 200);
    server.until_metric("authferry_connections", "0").await;
    assert!(client.read_to_end().await.len() < 64 * 1024 * 1024);
}

#[tokio::test]
async fn r22_a_tls_handshake_that_does_not_come_is_given_up() {
    let (_kept, files, _) = certificate();
    let listener = ListenerSettings { tls: Some(files.into()), ..on_any_port() };
    let bounds = EdgeBounds { tls_timeout: Duration::from_millis(50), ..bounds() };
    let server = Proxy::serving(&[listener], bounds, Paths, Arc::new(Metrics::new()));
    assert_eq!(RawClient::connect(server.address()).await.read_to_end().await, b"");
    server.until_metric("authferry_refused_requests_total{reason=\"tls\"}", "1").await;
}

#[tokio::test]
async fn r21_a_head_is_taken_up_to_its_limit_and_refused_one_byte_further() {
    let server = serving(EdgeBounds { head_bytes: 1000, ..bounds() }, Paths);
    let rest = "GET / HTTP/1.1\r\nhost: app\r\nx: \r\n\r\n".len();
    for (length, status) in [(1000, 200), (1001, 431)] {
        let head = format!("GET / HTTP/1.1\r\nhost: app\r\nx: {}\r\n\r\n", "a".repeat(length - rest));
        assert_eq!(RawClient::connect(server.address()).await.ask(head).await.status, status, "{length}");
    }
    let mut client = RawClient::connect(server.address()).await;
    client.send(format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(1000))).await;
    assert_eq!(client.answer().await.status, 431, "a head that never ends");
}

#[tokio::test]
async fn r23_more_connections_than_allowed_are_closed_and_counted() {
    let (handler, mut here, go) = held();
    let server = serving(EdgeBounds { max_connections: 2, ..bounds() }, handler);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(server.address()).await;
        client.send(GET).await;
        soon("the request", here.recv()).await.expect("served");
        kept.push(client);
    }
    let mut refused = RawClient::connect(server.address()).await;
    assert_eq!(refused.read_to_end().await, b"");
    server.until_metric("authferry_refused_requests_total{reason=\"connections\"}", "1").await;
    assert_eq!(server.metric("authferry_connections").as_deref(), Some("2"));
    go.send(true).expect("served");
    for client in &mut kept {
        assert_eq!(client.answer().await.body, b"held", "who was there is served");
    }
    drop(kept.pop());
    server.until_metric("authferry_connections", "1").await;
    assert_eq!(RawClient::connect(server.address()).await.ask(GET).await.status, 200);
}

#[tokio::test]
async fn r23_a_new_connection_takes_the_place_of_the_one_that_idles_longest() {
    let (handler, mut here, go) = held();
    let server = serving(EdgeBounds { max_connections: 3, workers: 1, ..bounds() }, handler);
    let mut busy = RawClient::connect(server.address()).await;
    busy.send(GET).await;
    soon("the request", here.recv()).await.expect("served");
    let mut idle = RawClient::connect(server.address()).await;
    server.until_metric("authferry_connections", "2").await;
    let mut begun = RawClient::connect(server.address()).await;
    begun.send("GET / HTTP/1.1\r\nho").await;
    server.until_metric("authferry_connections", "3").await;
    let mut new = RawClient::connect(server.address()).await;
    assert_eq!(idle.read_to_end().await, b"", "the one before it is closed");
    new.send(GET).await;
    soon("the request", here.recv()).await.expect("served");
    begun.send("st: app\r\n\r\n").await;
    soon("the request", here.recv()).await.expect("served");
    go.send(true).expect("served");
    for client in [&mut busy, &mut new, &mut begun] {
        assert_eq!(client.answer().await.body, b"held");
    }
    assert_eq!(server.metric("authferry_refused_requests_total{reason=\"connection_shed\"}").as_deref(), Some("1"));
    assert_eq!(server.metric("authferry_refused_requests_total{reason=\"connections\"}"), None);
}

#[tokio::test]
async fn r23_one_client_fills_its_own_places_and_nobody_elses() {
    let (handler, mut here, _go) = held();
    let listener = ListenerSettings { proxy_protocol: true, ..on_any_port() };
    let bounds = EdgeBounds { max_connections_per_ip: 2, workers: 1, ..bounds() };
    let server = Proxy::serving(&[listener], bounds, handler, Arc::new(Metrics::new()));
    let from = async |client: &str| {
        let mut stream = RawClient::connect(server.address()).await;
        let family = if client.contains(':') { "TCP6" } else { "TCP4" };
        let local = if client.contains(':') { "2001:db8::99" } else { "192.0.2.99" };
        stream.send(format!("PROXY {family} {client} {local} 4000 443\r\n{GET}")).await;
        stream
    };
    let mut kept = Vec::new();
    for client in ["198.51.100.7", "198.51.100.7", "2001:db8:0:1::1", "2001:db8:0:1::2", "198.51.100.8"] {
        kept.push(from(client).await);
        soon("the request", here.recv()).await.expect("served");
    }
    for client in ["198.51.100.7", "2001:db8:0:1::3"] {
        assert_eq!(from(client).await.read_to_end().await, b"", "{client} has as many as it may have");
    }
    kept.push(from("2001:db8:0:2::1").await);
    soon("the request", here.recv()).await.expect("another network has its own");
    assert_eq!(server.metric("authferry_refused_requests_total{reason=\"connections_per_ip\"}").as_deref(), Some("2"));
    drop(kept.remove(0));
    server.until_metric("authferry_connections", "5").await;
    kept.push(from("198.51.100.7").await);
    soon("the request", here.recv()).await.expect("its place is free again");
}

/// Behind a trusted proxy stand all clients.
struct Trusting(Held);

impl Handler for Trusting {
    async fn handle(&self, request: Request<Incoming>, connection: &Arc<Connection>) -> Response<ProxyBody> {
        self.0.handle(request, connection).await
    }

    fn is_trusted_proxy(&self, peer: std::net::IpAddr) -> bool {
        peer.is_loopback()
    }
}

#[tokio::test]
async fn r23_a_trusted_proxy_may_have_more_connections_than_a_client() {
    let (handler, mut here, _go) = held();
    let server = serving(EdgeBounds { max_connections_per_ip: 1, ..bounds() }, Trusting(handler));
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut client = RawClient::connect(server.address()).await;
        client.send(GET).await;
        soon("the request", here.recv()).await.expect("served");
        kept.push(client);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_key() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("an address");
    let taken = ListenerSettings { bind: Bind::Tcp(address), ..on_any_port() };
    let error = bind_all(&[on_any_port(), taken], bounds()).err().expect("taken");
    assert!(matches!(error.fault, BindFault::Taken));
    let expected = format!("listener[1].bind: {address}: another process listens there already");
    assert_eq!(error.to_string(), expected);
    let running = serving(bounds(), Paths);
    let again = ListenerSettings { bind: Bind::Tcp(running.address()), ..on_any_port() };
    assert!(bind_all(&[again], bounds()).is_err(), "another authferry holds it");
}

#[tokio::test]
async fn a_unix_socket_is_served_and_its_file_goes_with_the_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("edge.sock");
    let listener = ListenerSettings { bind: Bind::Unix(path.clone()), ..on_any_port() };
    let mut server = Proxy::serving(&[listener], bounds(), Paths, Arc::new(Metrics::new()));
    let mut client = RawClient::over(UnixStream::connect(&path).await.expect("connected"));
    assert_eq!(client.ask("GET /unix HTTP/1.1\r\nhost: app\r\n\r\n").await.body, b"/unix");
    server.shutdown.cancel();
    server.drained().await;
    assert!(!path.exists());
}

const HANDED_OVER_TO: &str = "AUTHFERRY_TEST_HANDED_OVER";

#[tokio::test]
async fn a_socket_that_a_service_manager_hands_over_is_served() {
    let socket = socket2::Socket::from(std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    socket.set_cloexec(false).expect("a live socket");
    let address = socket.local_addr().expect("an address").as_socket().expect("TCP");
    let mut service = std::process::Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "server::the_service_that_is_handed_a_socket", "--ignored", "--nocapture"])
        .env(HANDED_OVER_TO, "1")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "public")
        .env("LISTEN_FDS_FIRST_FD", std::os::fd::AsRawFd::as_raw_fd(&socket).to_string())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("a process");
    drop(socket);
    let answer = RawClient::connect(address).await.ask("GET /handed HTTP/1.1\r\nhost: app\r\n\r\n").await;
    drop(service.stdin.take());
    assert_eq!(answer.body, b"/handed");
    assert!(service.wait().expect("it ends").success());
}

#[tokio::test]
#[ignore = "run by the test before in a process of its own"]
async fn the_service_that_is_handed_a_socket() {
    if std::env::var_os(HANDED_OVER_TO).is_none() {
        return;
    }
    let listener = ListenerSettings { bind: Bind::Systemd("public".to_owned()), ..on_any_port() };
    let mut server = Proxy::serving(&[listener], bounds(), Paths, Arc::new(Metrics::new()));
    // Until the other test is done.
    let (done, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(std::io::Read::read(&mut std::io::stdin(), &mut [0])));
    soon("the other test", told).await.expect("told").expect("the end");
    server.shutdown.cancel();
    assert_eq!(server.drained().await, Drained::InTime);
}

/// A certificate for localhost in files, and a client that trusts it.
pub(crate) fn certificate() -> (tempfile::TempDir, TlsFiles, rustls::ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let directory = tempfile::tempdir().expect("a directory");
    let files = TlsFiles { cert: directory.path().join("tls.pem"), key: directory.path().join("tls.key") };
    std::fs::write(&files.cert, made.cert.pem()).expect("written");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (directory, files, client)
}

#[tokio::test]
async fn r120_tls_clients_speak_the_protocol_they_agreed_on_and_the_app_hears_of_it() {
    let (_kept, files, client) = certificate();
    let upstream = Upstream::echo().await;
    let mut wanted = Wanted::before(upstream.url());
    wanted.listeners[0].tls = Some(files.into());
    let proxy = wanted.start().await;
    for protocol in ["http/1.1", "h2"] {
        let mut config = client.clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let socket = TcpStream::connect(proxy.address()).await.expect("connected");
        let name = "localhost".try_into().expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let seen = if protocol == "h2" {
            let answer = HttpClient::h2_over(stream).await.ask(get("https://app/")).await;
            serde_json::from_slice(answer.body()).expect("JSON")
        } else {
            RawClient::over(stream).ask("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await.json()
        };
        assert_eq!(
            (echoed(&seen, "x-forwarded-proto"), echoed(&seen, "x-forwarded-port")),
            (vec!["https"], vec!["443"])
        );
    }
}

#[tokio::test]
async fn r72_the_proxy_protocol_is_mandatory_where_it_is_configured() {
    let upstream = Upstream::echo().await;
    let mut wanted = Wanted::before(upstream.url());
    wanted.listeners[0].proxy_protocol = true;
    let proxy = wanted.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("PROXY TCP4 198.51.100.7 192.0.2.1 4000 443\r\n").await;
    let seen = client.ask(GET).await.json();
    assert_eq!(echoed(&seen, "x-forwarded-for"), ["198.51.100.7"]);
    let mut without = RawClient::connect(proxy.address()).await;
    without.send(GET).await;
    assert_eq!(without.read_to_end().await, b"");
    let plain = Wanted::before(upstream.url()).start().await;
    let mut unasked = RawClient::connect(plain.address()).await;
    unasked.send(format!("PROXY TCP4 198.51.100.7 192.0.2.1 4000 443\r\n{GET}")).await;
    assert_eq!(unasked.answer().await.status, 400, "it is never guessed");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn r19_http2_clients_are_told_the_bounds() {
    let server = serving(bounds(), Paths);
    let mut client = RawClient::connect(server.address()).await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0").await;
    let head = client.read_exactly(9).await;
    assert_eq!((head[3], &head[5..]), (4, &[0; 4][..]), "SETTINGS come first");
    let settings = client.read_exactly(usize::from(head[1]) << 8 | usize::from(head[2])).await;
    let settings: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|one| (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes([one[2], one[3], one[4], one[5]])))
        .collect();
    // RFC 9113 section 6.5.2.
    for (setting, value) in [(3, 100), (4, 64 * 1024), (6, 16 * 1024)] {
        assert!(settings.contains(&(setting, value)), "{settings:?}");
    }
}
