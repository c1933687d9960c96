//! Clients that send the next request before the answer to the last one: each is answered in its turn, and whoever leaves meanwhile is
//! noticed, whatever he has sent (R22, R23).

use std::net::SocketAddr;
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
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::certificate;
use crate::support::client::{RawClient, show};
use crate::support::proxy::{Proxy, Wanted, on_any_port};
use crate::support::soon;
use crate::support::upstream::Upstream;

const OPEN: &str = "authferry_connections";
const PARKED: &str = "authferry_connections_parked";
const BEGUN: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: app\r\n\r\n")
}

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello")
}

fn chunked(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
}

// -------------------------------------------------------------------------------------------------------------- leaving

/// How far the app comes before its client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    NotBegun,
    Begun,
}

/// How the client leaves.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    EndingItsSide,
    Resetting,
}

/// An app that says nothing more once a request is there, and tells of it and of its end.
struct Silent {
    upstream: Upstream,
    here: mpsc::Receiver<()>,
    given_up: mpsc::Receiver<()>,
}

impl Silent {
    async fn after(answer: Answer) -> Self {
        let (told, given_up) = mpsc::channel(1);
        let (arrived, here) = mpsc::channel(1);
        let upstream = Upstream::raw(move |mut connection, _| {
            let (told, arrived) = (told.clone(), arrived.clone());
            async move {
                connection.head().await.expect("a head");
                if answer == Answer::Begun {
                    connection.send(BEGUN).await;
                }
                arrived.send(()).await.expect("wanted");
                connection.closed().await;
                told.send(()).await.expect("wanted");
            }
        })
        .await;
        Self { upstream, here, given_up }
    }
}

/// What has come by then behind the request under way: with it, and later.
fn behind() -> [(String, String); 5] {
    [
        (get("/next"), String::new()),
        (String::new(), get("/next")),
        (chunked("/next"), get("/next")),
        ("GET /ne".to_owned(), String::new()),
        (get("/next").repeat(50), get("/next")),
    ]
}

async fn a_client_that_leaves<S, C, F>(listener: ListenerSettings, connect: impl Fn(SocketAddr) -> F, socket: C)
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Fn(&S) -> &TcpStream,
    F: Future<Output = S>,
{
    for answer in [Answer::NotBegun, Answer::Begun] {
        let mut app = Silent::after(answer).await;
        let listeners = vec![listener.clone()];
        let proxy = Wanted { listeners, ..Wanted::before(app.upstream.url()) }.start().await;
        for leaves in [Leaves::EndingItsSide, Leaves::Resetting] {
            for (with, later) in behind() {
                let what = format!("{answer:?} {leaves:?} {with:.20} {later:.20}");
                let mut client = RawClient::over(connect(proxy.address()).await);
                client.send(get("/first") + &with).await;
                soon(&what, app.here.recv()).await.expect("there");
                if answer == Answer::Begun {
                    assert_eq!(client.head().await.status, 200, "{what}");
                    assert_eq!(client.read_exactly(10).await, b"5\r\nbegun\r\n", "{what}");
                }
                client.send(&later).await;
                let kept = match leaves {
                    Leaves::EndingItsSide => {
                        client.finish().await;
                        Some(client)
                    }
                    Leaves::Resetting => {
                        let stream = client.into_stream();
                        SockRef::from(socket(&stream)).set_linger(Some(Duration::ZERO)).expect("a live socket");
                        None
                    }
                };
                soon(&what, app.given_up.recv()).await.expect("closed");
                proxy.until_metric(OPEN, "0").await;
                drop(kept);
            }
        }
        assert!(!app.upstream.saw("/next"), "nobody is there to be answered");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along_whatever_it_has_sent_behind_it() {
    let connect = |address| async move { TcpStream::connect(address).await.expect("connected") };
    a_client_that_leaves(on_any_port(), connect, |stream| stream).await;
}

#[tokio::test]
async fn a_tls_client_that_leaves_takes_its_request_along_whatever_it_has_sent_behind_it() {
    let (_kept, tls, config) = certificate();
    let connector = TlsConnector::from(Arc::new(config));
    let connect = |address| {
        let connector = connector.clone();
        async move {
            let socket = TcpStream::connect(address).await.expect("connected");
            let name = "localhost".try_into().expect("a name");
            connector.connect(name, socket).await.expect("a handshake")
        }
    };
    let listener = ListenerSettings { tls: Some(tls.into()), ..on_any_port() };
    a_client_that_leaves(listener, connect, |stream: &TlsStream<TcpStream>| stream.get_ref().0).await;
}

#[tokio::test]
async fn a_client_that_leaves_behind_a_crowd_of_requests_is_not_waited_for_without_end() {
    let mut app = Silent::after(Answer::Begun).await;
    let bounds = EdgeBounds { idle_timeout: Duration::from_millis(20), ..Wanted::before("http://127.0.0.1:1").bounds };
    let proxy = Wanted { bounds, ..Wanted::before(app.upstream.url()) }.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send(get("/first")).await;
    soon("the request", app.here.recv()).await.expect("there");
    client.send(get("/next").repeat(1000)).await;
    client.finish().await;
    soon("the request to be given up", app.given_up.recv()).await.expect("closed");
    proxy.until_metric(OPEN, "0").await;
}

// -------------------------------------------------------------------------------------------------------------- in turn

/// Answers at once, with the target and the body.
struct Echo;

impl Handler for Echo {
    #[expect(clippy::disallowed_methods, reason = "a test's own clients send small bodies")]
    async fn handle(&self, request: Request<Incoming>, _: &Arc<Connection>) -> Response<ProxyBody> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        Response::new(ProxyBody::full(Bytes::from([path.as_bytes(), &body].concat())))
    }
}

fn echoing() -> Proxy {
    let bounds = EdgeBounds { workers: 1, ..Wanted::before("http://127.0.0.1:1").bounds };
    Proxy::serving(&[on_any_port()], bounds, Echo, Arc::new(Metrics::new()))
}

#[tokio::test]
async fn many_requests_in_one_write_are_answered_in_their_order() {
    let upstream = Upstream::echo().await;
    let forwarding = Wanted::before(upstream.url()).start().await;
    let answering = echoing();
    for proxy in [&forwarding, &answering] {
        let mut client = RawClient::connect(proxy.address()).await;
        let stream: String = (0..300)
            .map(|number| {
                let path = format!("/{number}");
                vec![get(&path), post(&path), chunked(&path)].swap_remove(number % 3)
            })
            .collect();
        client.send(stream).await;
        for number in 0..300 {
            let seen = show(&client.answer().await.body);
            let body = if number % 3 == 0 { "" } else { "hello" };
            if std::ptr::eq(proxy, &raw const answering) {
                assert_eq!(seen, format!("/{number}{body}"));
            } else {
                let seen: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
                assert_eq!((&seen["target"], &seen["body"]), (&format!("/{number}").into(), &body.into()));
            }
        }
        drop(client);
        proxy.until_metric(OPEN, "0").await;
    }
}

#[tokio::test]
async fn requests_in_two_pieces_are_the_same_requests_wherever_they_were_cut() {
    let server = echoing();
    let stream = [get("/0"), chunked("/1"), post("/2"), get("/3")].concat();
    for cut in 1..stream.len() {
        let mut client = RawClient::connect(server.address()).await;
        let (begin, end) = stream.as_bytes().split_at(cut);
        client.send(begin).await;
        tokio::task::yield_now().await;
        client.send(end).await;
        for answer in ["/0", "/1hello", "/2hello", "/3"] {
            assert_eq!(show(&client.answer().await.body), answer, "cut at {cut}");
        }
    }
}

/// An app that answers `/held` in two parts, the second when it is told to, and all else at once.
async fn holding() -> (Upstream, mpsc::Receiver<()>, watch::Sender<bool>) {
    let (arrived, here) = mpsc::channel(1);
    let (go, told) = watch::channel(false);
    let upstream = Upstream::raw(move |mut connection, _| {
        let (arrived, mut told) = (arrived.clone(), told.clone());
        async move {
            while let Some(head) = connection.head().await {
                if !head.starts_with("GET /held") {
                    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother").await;
                    continue;
                }
                connection.send(BEGUN).await;
                arrived.send(()).await.expect("wanted");
                told.wait_for(|go| *go).await.expect("told");
                connection.send("5\r\nended\r\n0\r\n\r\n").await;
            }
        }
    })
    .await;
    (upstream, here, go)
}

#[tokio::test]
async fn a_request_that_comes_while_another_is_answered_waits_for_its_turn() {
    for pieces in [vec![get("/next")], vec!["GET /ne".into(), "xt HTTP/1.1\r\nhost: app\r\n\r\n".into()]] {
        let (upstream, mut here, go) = holding().await;
        let proxy = Wanted::before(upstream.url()).start().await;
        let mut client = RawClient::connect(proxy.address()).await;
        client.send(get("/held")).await;
        soon("the request", here.recv()).await.expect("there");
        for piece in pieces {
            client.send(piece).await;
            // It is read by when another client has been served.
            assert_eq!(RawClient::connect(proxy.address()).await.ask(get("/beside")).await.body, b"other");
        }
        assert!(!upstream.saw("/next"));
        go.send(true).expect("waited for");
        assert_eq!(client.answer().await.body, b"begunended");
        assert_eq!(client.answer().await.body, b"other");
        assert_eq!(client.ask(get("/last")).await.body, b"other");
    }
}

#[tokio::test]
async fn a_refused_head_behind_a_request_under_way_is_answered_in_its_turn() {
    let (upstream, mut here, go) = holding().await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send([get("/held"), get("/next"), get("/x#y"), get("/smuggled")].concat()).await;
    soon("the request", here.recv()).await.expect("there");
    go.send(true).expect("waited for");
    assert_eq!(client.answer().await.body, b"begunended");
    assert_eq!(client.answer().await.body, b"other");
    let refused = client.answer().await;
    assert_eq!((refused.status, refused.header("connection")), (400, Some("close")));
    assert_eq!(client.read_to_end().await, b"");
    assert!(!upstream.saw("smuggled"));
}

#[tokio::test]
async fn a_client_that_takes_a_large_answer_late_gets_the_next_one_too() {
    const LARGE: usize = 8 * 1024 * 1024;
    let upstream = Upstream::raw(|mut connection, _| async move {
        while let Some(head) = connection.head().await {
            let length = if head.starts_with("GET /large") { LARGE } else { 5 };
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).await;
            connection.send(vec![b'a'; length]).await;
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send([get("/large"), get("/next"), get("/large"), get("/next")].concat()).await;
    for length in [LARGE, 5, LARGE, 5] {
        assert_eq!(client.answer().await.body.len(), length);
    }
}

#[tokio::test]
async fn what_is_behind_the_last_request_of_a_connection_is_never_answered() {
    let upstream = Upstream::echo().await;
    let proxy = Wanted::before(upstream.url()).start().await;
    for (last, first) in [
        ("GET /last HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n", get("/first")),
        ("POST /last HTTP/1.1\r\nhost: app\r\nconnection: close\r\ncontent-length: 2\r\n\r\nab", get("/first")),
        ("GET /last HTTP/1.0\r\nhost: app\r\n\r\n", String::new()),
        ("GET /last HTTP/1.0\r\n\r\n", "GET /first HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".to_owned()),
    ] {
        let mut client = RawClient::connect(proxy.address()).await;
        client.send([&first, last, &get("/smuggled")].concat()).await;
        if !first.is_empty() {
            assert_eq!(client.answer().await.json()["target"], "/first", "{last:?}");
        }
        assert_eq!(client.answer().await.json()["target"], "/last", "{last:?}");
        assert_eq!(client.read_to_end().await, b"", "{last:?}");
        drop(client);
        proxy.until_metric(OPEN, "0").await;
    }
    assert!(!upstream.saw("smuggled"));
}

#[tokio::test]
async fn r25_a_drain_answers_what_is_under_way_and_not_what_waits_behind_it() {
    let (upstream, mut here, go) = holding().await;
    let bounds = EdgeBounds { workers: 1, ..Wanted::before("http://127.0.0.1:1").bounds };
    let mut proxy = Wanted { bounds, ..Wanted::before(upstream.url()) }.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send([get("/held"), get("/next"), get("/next")].concat()).await;
    soon("the request", here.recv()).await.expect("there");
    assert_eq!(client.head().await.header("connection"), None);
    let mut idle = RawClient::connect(proxy.address()).await;
    proxy.shutdown.cancel();
    assert_eq!(idle.read_to_end().await, b"", "the drain has begun");
    go.send(true).expect("waited for");
    client.read_until(b"ended\r\n0\r\n\r\n").await;
    // Its head was out before the drain began, so that the next one says that it is the last.
    let last = client.answer().await;
    assert_eq!((&last.body[..], last.header("connection")), (&b"other"[..], Some("close")));
    assert_eq!(client.read_to_end().await, b"");
    drop(client);
    assert_eq!(proxy.drained().await, Drained::InTime);
}

#[tokio::test]
async fn a_connection_is_parked_when_all_that_came_is_answered_and_not_before() {
    let server = echoing();
    let mut client = RawClient::connect(server.address()).await;
    client.send([get("/1"), post("/2"), "GET /3 HTTP".into()].concat()).await;
    assert_eq!(client.answer().await.body, b"/1");
    assert_eq!(client.answer().await.body, b"/2hello");
    let mut beside = RawClient::connect(server.address()).await;
    beside.send([get("/4"), get("/5")].concat()).await;
    assert_eq!(beside.answer().await.body, b"/4");
    assert_eq!(beside.answer().await.body, b"/5");
    server.until_metric(PARKED, "1").await;
    // The other one was to be parked before.
    client.send(["/1.1\r\nhost: app\r\n\r\n".to_owned(), get("/6")].concat()).await;
    assert_eq!(client.answer().await.body, b"/3");
    assert_eq!(client.answer().await.body, b"/6");
    server.until_metric(PARKED, "2").await;
    for client in [&mut client, &mut beside] {
        client.send([get("/7"), get("/8")].concat()).await;
        assert_eq!(client.answer().await.body, b"/7");
        assert_eq!(client.answer().await.body, b"/8");
    }
    server.until_metric(PARKED, "2").await;
}

/// Reads a body to its end only after it has answered.
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
async fn a_request_behind_one_whose_body_is_read_after_its_answer_comes_when_it_was_read() {
    let (here, mut bodies) = mpsc::channel(1);
    let bounds = EdgeBounds { workers: 1, ..Wanted::before("http://127.0.0.1:1").bounds };
    let server = Proxy::serving(&[on_any_port()], bounds, Later(here), Arc::new(Metrics::new()));
    let mut client = RawClient::connect(server.address()).await;
    for round in 0..3 {
        client.send([chunked("/post"), get("/next"), get("/next")].concat()).await;
        assert_eq!(client.answer().await.body, b"answered", "{round}");
        soon("the body", bodies.recv()).await.expect("there").send(()).await.expect("waited for");
        assert_eq!(client.answer().await.body, b"answered", "{round}");
        assert_eq!(client.answer().await.body, b"answered", "{round}");
    }
}

#[tokio::test]
async fn r9_a_request_for_a_websocket_waits_for_its_turn_and_what_is_behind_it_for_its_answer() {
    const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                           sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let upstream = Upstream::raw(|mut connection, _| async move {
        while let Some(head) = connection.head().await {
            if !head.contains("websocket") {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother").await;
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
    let mut client = RawClient::connect(proxy.address()).await;
    client
        .send(
            get("/first")
                + "GET /ws HTTP/1.1\r\nhost: app\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearl",
        )
        .await;
    assert_eq!(client.answer().await.body, b"other");
    assert_eq!(client.head().await.status, 101);
    assert_eq!(client.read_exactly(4).await, b"EARL");
    client.send("ping").await;
    assert_eq!(client.read_exactly(4).await, b"PING");
}
