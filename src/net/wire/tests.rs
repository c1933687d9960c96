//! Exchanges with a scripted other side, over real sockets; and every answer as hyper reads it.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::super::answer::{Arriving, Relayed};
use super::super::body::ProxyBody;
use super::super::pool::Pool;
use super::*;

mod plans;
mod tls;

/// What a body is given by.
struct Parts(mpsc::Sender<Result<Relayed, Fault>>);

impl Parts {
    async fn send(&self, part: Result<Bytes, Fault>) -> Result<(), ()> {
        self.0.send(part.map(Relayed::Part)).await.map_err(|_unwanted| ())
    }

    async fn end(self) {
        self.0.send(Ok(Relayed::Last(Bytes::new()))).await.expect("wanted");
    }
}

/// Ours, and the other side's.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (ours, app) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.expect("connected"), app.expect("accepted").0)
}

fn wire_on(socket: Socket) -> Box<Wire> {
    Wire::new(socket, Arc::new(Semaphore::new(1)).try_acquire_owned().expect("room"))
}

/// A body of so many bytes, or of chunks, as far as it is given.
fn streamed(left: Option<u64>) -> (Parts, ProxyBody) {
    let (sender, parts) = mpsc::channel(8);
    (Parts(sender), ProxyBody::arriving(Arriving::relayed(parts, left)))
}

fn request(method: Method, body: ProxyBody) -> Upload {
    let request = Request::builder().method(method).uri("/").header("host", "app").body(body).expect("a request");
    Upload::new(request, &HeaderValue::from_static("app"), Vec::new()).0
}

fn once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

async fn head(wire: &mut Wire) -> Result<AnswerHead, Fault> {
    std::future::poll_fn(|cx| wire.poll_head(cx)).await
}

async fn body(wire: &mut Wire) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(part) = std::future::poll_fn(|cx| wire.poll_part(cx)).await {
        body.extend_from_slice(&part?);
    }
    Ok(body)
}

async fn read_until(app: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) && app.read_buf(&mut read).await.expect("a live socket") > 0 {}
    read
}

/// Takes long only where something is wrong.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("soon")
}

#[tokio::test]
async fn r11_a_request_that_broke_off_is_never_taken_for_whole() {
    for (left, sent) in [(None, &b"\r\n\r\n4\r\nhalf\r\n"[..]), (Some(100), b"\r\n\r\nhalf")] {
        let (ours, mut app) = sockets().await;
        let mut wire = wire_on(Socket::Plain(ours));
        let (parts, upload) = streamed(left);
        wire.begin(request(Method::POST, upload));
        parts.send(Ok(Bytes::from_static(b"half"))).await.expect("wanted");
        assert!(once(|cx| wire.poll_upload(cx)).is_pending());
        parts.send(Err(Fault::Incomplete)).await.expect("wanted");
        drop(parts);
        assert!(once(|cx| wire.poll_upload(cx)).is_pending());
        for _ in 0..4 {
            assert!(matches!(once(|cx| wire.poll_upload(cx)), Poll::Ready(Err(_))));
            assert!(!wire.has_sent());
        }
        app.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("a live socket");
        soon(std::future::poll_fn(|cx| wire.poll_read_head(cx))).await.expect("a head");
        assert!(wire.is_read() && !wire.may_be_used_again(), "the next request would be the rest of this one's body");
        drop(wire);
        let all = soon(read_until(&mut app, b"nothing ends so")).await;
        assert!(all.ends_with(sent), "{}", all.escape_ascii());
    }
}

#[tokio::test]
async fn an_answer_that_has_come_is_read_although_the_app_takes_no_more_of_the_request() {
    let (ours, app) = sockets().await;
    let mut app = app.into_std().expect("a socket");
    app.set_nonblocking(false).expect("a socket");
    let mut wire = wire_on(Socket::Plain(ours));
    let (parts, upload) = streamed(None);
    wire.begin(request(Method::POST, upload));
    parts.send(Ok(Bytes::from_static(b"part"))).await.expect("wanted");
    assert!(once(|cx| wire.poll_head(cx)).is_pending());
    // It answers and closes at once, with part of the request unread: the runtime hears of neither before we write on.
    assert_eq!(app.read(&mut [0; 4]).expect("the request"), 4);
    app.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge").expect("written");
    drop(app);
    parts.send(Ok(Bytes::from_static(b"more"))).await.expect("wanted");
    let answer = soon(head(&mut wire)).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(soon(body(&mut wire)).await.expect("a body"), b"large");
    assert!(!wire.may_be_used_again());
}

fn pool() -> Arc<Pool> {
    Pool::new(4, Duration::from_secs(60))
}

#[tokio::test]
async fn a_request_goes_on_being_sent_behind_an_early_answer_without_a_body() {
    let (ours, mut app) = sockets().await;
    let mut wire = wire_on(Socket::Plain(ours));
    let (parts, upload) = streamed(None);
    wire.begin(request(Method::POST, upload));
    parts.send(Ok(Bytes::from_static(b"first"))).await.expect("wanted");
    app.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("a live socket");
    soon(head(&mut wire)).await.expect("a head");
    let pool = pool();
    let answer = ProxyBody::arriving(Arriving::new(wire, pool.clone()));
    assert!(http_body::Body::is_end_stream(&answer));
    tokio::task::yield_now().await;
    parts.send(Ok(Bytes::from_static(b"second"))).await.expect("wanted");
    parts.end().await;
    let all = soon(read_until(&mut app, b"\r\n0\r\n\r\n")).await;
    assert!(all.ends_with(b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"), "{}", all.escape_ascii());
    soon(async {
        while pool.take().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_breaks_off_behind_an_early_answer_ends_the_exchange() {
    let (ours, mut app) = sockets().await;
    let mut wire = wire_on(Socket::Plain(ours));
    let (parts, upload) = streamed(Some(100));
    wire.begin(request(Method::POST, upload));
    app.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await.expect("a live socket");
    soon(head(&mut wire)).await.expect("a head");
    let pool = pool();
    let mut answer = ProxyBody::arriving(Arriving::new(wire, pool.clone()));
    assert_eq!(soon(answer.frame()).await.expect("a part").expect("no error").into_data().expect("data"), "hello");
    parts.send(Err(Fault::Incomplete)).await.expect("wanted");
    drop(parts);
    // The app would wait for the rest of the request, and we for the rest of its answer.
    soon(read_until(&mut app, b"nothing ends so")).await;
    assert!(soon(answer.frame()).await.expect("not the end").is_err());
    assert!(pool.take().is_none());
}

/// Both ends of a TLS connection.
async fn tls() -> (Box<Wire>, tokio_rustls::server::TlsStream<TcpStream>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate");
    let (ours, app) = sockets().await;
    let (connector, acceptor) =
        (tokio_rustls::TlsConnector::from(Arc::new(client)), tokio_rustls::TlsAcceptor::from(Arc::new(server)));
    let name = "localhost".try_into().expect("a name");
    let (ours, app) = tokio::join!(connector.connect(name, Records::new(ours)), acceptor.accept(app));
    (wire_on(Socket::Tls(Box::new(ours.expect("a handshake")))), app.expect("a handshake"))
}

#[tokio::test]
async fn r20_what_came_unasked_behind_an_answer_over_tls_is_never_the_next_answer() {
    // The end of the first answer and what follows it are in one record.
    for length in [2 * FIRST_READ, 3 * FIRST_READ, 20_000] {
        let (mut wire, mut app) = tls().await;
        wire.begin(request(Method::GET, ProxyBody::empty()));
        let pool = pool();
        let answer = [
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes(),
            vec![b'a'; length],
            b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison".to_vec(),
        ]
        .concat();
        app.write_all(&answer).await.expect("a live socket");
        app.flush().await.expect("a live socket");
        soon(head(&mut wire)).await.expect("a head");
        assert_eq!(soon(body(&mut wire)).await.expect("a body").len(), length);
        pool.put(wire);
        assert!(pool.take().is_none(), "{length}");
    }
}

#[tokio::test]
async fn a_tls_connection_with_nothing_but_tickets_on_it_is_used_again() {
    let (mut wire, mut app) = tls().await;
    for _ in 0..3 {
        wire.begin(request(Method::GET, ProxyBody::empty()));
        app.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("a live socket");
        soon(head(&mut wire)).await.expect("a head");
        assert_eq!(soon(body(&mut wire)).await.expect("a body"), b"ok");
        let pool = pool();
        pool.put(wire);
        wire = pool.take().expect("nothing unasked");
    }
}

/// An answer's status, headers and body.
type Answer = (StatusCode, HeaderMap, Vec<u8>);

/// Whole answers as we read them, where they come in such pieces and the connection ends then; and whether another may follow.
async fn as_we_read(to: Method, bytes: &[u8], pieces: &[usize]) -> Option<(Answer, bool)> {
    let (ours, mut app) = sockets().await;
    app.set_nodelay(true).expect("a live socket");
    let mut wire = wire_on(Socket::Plain(ours));
    wire.begin(request(to, ProxyBody::empty()));
    let answering = async {
        read_until(&mut app, b"\r\n\r\n").await;
        let mut rest = bytes;
        for piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            // He may have given up.
            if now.is_empty() || app.write_all(now).await.is_err() {
                break;
            }
            rest = later;
            tokio::task::yield_now().await;
        }
        let _gone = app.shutdown().await;
    };
    let reading = async {
        let head = head(&mut wire).await.ok()?;
        let body = body(&mut wire).await.ok()?;
        Some(((head.status, head.headers, body), wire.may_be_used_again()))
    };
    tokio::join!(answering, reading).1
}

#[expect(clippy::disallowed_methods, reason = "answers of a test's own making are small")]
async fn as_hyper_reads(to: Method, bytes: &[u8]) -> Option<Answer> {
    let (ours, mut app) = tokio::io::duplex(64 * 1024);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.ok()?;
    let connection = tokio::spawn(connection.with_upgrades());
    let answering = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") && app.read_buf(&mut request).await.is_ok_and(|length| length > 0) {}
        let _gone = app.write_all(bytes).await;
        let _gone = app.shutdown().await;
    };
    let request = Request::builder().method(to).uri("/").header("host", "app").body(Empty::<Bytes>::new());
    let reading = async {
        let (head, body) = sender.send_request(request.ok()?).await.ok()?.into_parts();
        Some((head.status, head.headers, body.collect().await.ok()?.to_bytes().to_vec()))
    };
    let read = tokio::join!(answering, reading).1;
    connection.abort();
    read
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let status = prop::sample::select(vec![
        "1.1 200 OK",
        "1.1 200",
        "1.0 200 OK",
        "1.1 204 No Content",
        "1.1 304 Not Modified",
        "1.1 404 X\u{e9}",
        "1.1 101 Switching",
        "1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
        "1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 205 Reset",
    ]);
    let line = prop::sample::select(vec![
        "content-length: 5",
        "Content-Length:7 ",
        "content-length: 0",
        "content-length: 05",
        "content-length: 5, 5",
        "transfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: identity",
        "connection: close",
        "connection: keep-alive",
        "a: b",
        "a:",
        "a:\t\u{fc} ",
        "set-cookie: a=b",
        "trailer: x",
    ]);
    let body = prop::sample::select(vec![
        "",
        "hello",
        "hello, world",
        "5\r\nhello\r\n0\r\n\r\n",
        "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: u\r\n\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
    ]);
    let noise = prop::option::weighted(
        0.4,
        (any::<prop::sample::Index>(), 0_usize..3, prop::sample::select(b"\r\n \t:;,0159aA\0\x7f\xff".to_vec())),
    );
    (status, prop::collection::vec(line, 0..4), body, noise).prop_map(|(status, lines, body, noise)| {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut bytes = format!("HTTP/{status}\r\n{lines}\r\n{body}").into_bytes();
        if let Some((at, kind, byte)) = noise {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn r20_no_answer_is_read_otherwise_than_hyper_reads_it(
        bytes in stream(),
        to_head in any::<bool>(),
        pieces in prop::collection::vec(1_usize..30, 1..10),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(soon(async {
            let to = if to_head { Method::HEAD } else { Method::GET };
            let in_pieces = as_we_read(to.clone(), &bytes, &pieces).await;
            let at_once = as_we_read(to.clone(), &bytes, &[usize::MAX]).await;
            let text = bytes.escape_ascii();
            prop_assert_eq!(in_pieces.as_ref().map(|read| &read.0), at_once.as_ref().map(|read| &read.0), "{}", text);
            if let Some((read, _)) = at_once {
                prop_assert_eq!(Some(read), as_hyper_reads(to, &bytes).await, "{}", text);
            }
            Ok(())
        }))?;
    }
}
