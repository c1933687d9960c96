//! What goes through: streams in both directions, headers, WebSockets, server-sent events, HTTP/2, upstreams with TLS.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use authferry::net::{ProxyBody, tls};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::mpsc;

use crate::support::client::{HttpClient, RawClient, get, show, whole};
use crate::support::proxy::Wanted;
use crate::support::soon;
use crate::support::upstream::{AppBody, Upstream, answer, echoed};

/// A body that a test feeds piece by piece.
fn fed() -> (mpsc::Sender<Bytes>, AppBody) {
    let (feed, mut pieces) = mpsc::channel::<Bytes>(1);
    let pieces = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
    let frames = futures_util::StreamExt::map(pieces, |piece| Ok::<_, Infallible>(Frame::data(piece)));
    (feed, BodyExt::boxed(StreamBody::new(frames)))
}

#[tokio::test]
async fn an_answer_reaches_the_client_piece_by_piece_while_it_is_made() {
    let (feed, body) = fed();
    let body = Arc::new(Mutex::new(Some(body)));
    let upstream = Upstream::app(move |_| {
        let body = body.lock().expect("the body").take().expect("asked once");
        async { Response::builder().header("content-type", "text/event-stream").body(body).expect("an answer") }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("GET /events HTTP/1.1\r\nhost: app\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    // Each event is sent only after the one before has arrived.
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        feed.send(Bytes::from(event)).await.expect("wanted");
        assert!(show(&client.read_until(b"\n\n").await).ends_with(event));
    }
    drop(feed);
    assert!(client.read_until(b"0\r\n\r\n").await.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_request_body_reaches_the_upstream_piece_by_piece_while_it_is_sent() {
    let (seen, mut pieces) = mpsc::channel::<Bytes>(1);
    let upstream = Upstream::app(move |mut request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            while let Some(frame) = request.body_mut().frame().await {
                if let Ok(data) = frame.expect("a frame").into_data() {
                    seen.send(data).await.expect("wanted");
                }
            }
            answer("done")
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("POST /upload HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for piece in ["first", "second", "third"] {
        client.send(format!("{:x};ext=1\r\n{piece}\r\n", piece.len())).await;
        assert_eq!(soon("a piece", pieces.recv()).await.expect("a piece"), piece);
    }
    client.send("0\r\nx-trailer: dropped\r\n\r\n").await;
    assert_eq!(client.answer().await.body, b"done");
    assert!(!upstream.saw("ext=1") && !upstream.saw("x-trailer"), "R5, R13: neither extensions nor trailers go on");
}

#[tokio::test]
async fn r6_a_request_is_written_anew_and_its_path_goes_on_as_it_is() {
    let upstream = Upstream::echo().await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    let seen = client
        .ask("PUT /a%20b/c;d?q=%2F&r HTTP/1.1\r\nHost: app.example:81\r\nContent-Length: 2\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\nhi")
        .await
        .json();
    assert_eq!(
        (&seen["method"], &seen["target"], &seen["body"]),
        (&"PUT".into(), &"/a%20b/c;d?q=%2F&r".into(), &"hi".into())
    );
    assert_eq!(echoed(&seen, "host"), ["app.example:81"]);
    assert_eq!(echoed(&seen, "x-twice"), ["1", "2"]);
    assert_eq!(echoed(&seen, "content-length"), ["2"]);
    assert_eq!(echoed(&seen, "via"), ["1.1 authferry-00000001"]);
    assert_eq!(echoed(&seen, "x-forwarded-port"), ["81"]);
    // A GET with a body keeps it, and one without gets none.
    let seen =
        client.ask("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n").await.json();
    assert_eq!((&seen["body"], echoed(&seen, "transfer-encoding")), (&"x".into(), vec!["chunked"]));
    let seen = client.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.json();
    assert_eq!(echoed(&seen, "transfer-encoding").len() + echoed(&seen, "content-length").len(), 0);
    let seen = client.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.json();
    assert_eq!(echoed(&seen, "content-length"), ["0"]);
    assert_eq!(upstream.connections(), 1, "one connection is used again and again");
}

#[tokio::test]
async fn host_and_base_path_are_the_upstreams_own_where_configured() {
    let upstream = Upstream::echo().await;
    let wanted = Wanted { preserve_host: false, ..Wanted::before(format!("{}/base/", upstream.url())) };
    let proxy = wanted.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    let seen = client.ask("GET /x?y=1 HTTP/1.1\r\nhost: public.example\r\n\r\n").await.json();
    assert_eq!(seen["target"], "/base/x?y=1");
    assert_eq!(echoed(&seen, "host"), [upstream.address.to_string()]);
    assert_eq!(echoed(&seen, "x-forwarded-host"), ["public.example"]);
}

#[tokio::test]
async fn r8_r125_what_a_client_claims_is_not_what_the_app_sees() {
    let upstream = Upstream::echo().await;
    let remote_user = HeaderName::from_static("x-remote-user");
    let wanted =
        Wanted { identity: vec![(remote_user, HeaderValue::from_static("alice"))], ..Wanted::before(upstream.url()) };
    let proxy = wanted.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    let seen = client
        .ask(
            "GET / HTTP/1.1\r\nhost: app\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nte: trailers\r\nupgrade: h2c\r\n\
             http2-settings: AAMAAABk\r\nproxy-authorization: Basic x\r\nkeep-alive: timeout=5\r\nx-remote-user: admin\r\n\
             x-forwarded-for: 203.0.113.9\r\nx-forwarded-host: evil\r\nx-forwarded-proto: https\r\nx-forwarded-port: 1\r\n\
             forwarded: for=203.0.113.9\r\nx-real-ip: 203.0.113.9\r\nexpect: 100-continue\r\n\r\n",
        )
        .await
        .json();
    for (name, expected) in [
        ("connection", ""),
        ("x-hop", ""),
        ("te", ""),
        ("upgrade", ""),
        ("http2-settings", ""),
        ("proxy-authorization", ""),
        ("keep-alive", ""),
        ("expect", ""),
        ("x-remote-user", "alice"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "app"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "80"),
        ("forwarded", "for=127.0.0.1;host=\"app\";proto=http"),
        ("x-real-ip", "127.0.0.1"),
    ] {
        assert_eq!(echoed(&seen, name).join(","), expected, "{name}");
    }
}

#[tokio::test]
async fn r125_a_trusted_proxys_forwarding_headers_go_on_with_its_own_address_added() {
    let upstream = Upstream::echo().await;
    let proxy = Wanted { peer_is_trusted: true, ..Wanted::before(upstream.url()) }.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    let seen = client
        .ask("GET / HTTP/1.1\r\nhost: app\r\nx-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n\r\n")
        .await
        .json();
    assert_eq!(echoed(&seen, "x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(echoed(&seen, "x-forwarded-proto"), ["https"]);
}

#[tokio::test]
async fn r8_r12_requests_that_want_headers_removed_or_expect_too_much_are_not_sent_on() {
    let upstream = Upstream::echo().await;
    let proxy = Wanted::before(upstream.url()).start().await;
    for (line, status) in [
        ("connection: close, host", 400),
        ("connection: Cookie", 400),
        ("connection: x-forwarded-for", 400),
        ("connection: content-length", 400),
        ("expect: the-unexpected", 417),
        ("via: 1.0 first, 1.1 authferry-00000001", 508),
    ] {
        let mut client = RawClient::connect(proxy.address()).await;
        let refused = client.ask(format!("GET / HTTP/1.1\r\nhost: app\r\n{line}\r\n\r\n")).await;
        assert_eq!(refused.status, status, "{line}");
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        assert_eq!(refused.header("cache-control"), Some("no-store"));
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn r10_nobody_gets_a_tunnel_by_connect() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\n\r\n").await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    assert_eq!(client.ask("CONNECT app:80 HTTP/1.1\r\nhost: app:80\r\n\r\n").await.status, 405);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn r16_a_loop_ends_and_a_chain_of_two_does_not_look_like_one() {
    let upstream = Upstream::echo().await;
    let second = Wanted { instance: 2, ..Wanted::before(upstream.url()) }.start().await;
    let first = Wanted { instance: 1, ..Wanted::before(format!("http://{}", second.address())) }.start().await;
    let seen = RawClient::connect(first.address()).await.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(echoed(&seen.json(), "via"), ["1.1 authferry-00000001", "1.1 authferry-00000002"]);
    assert_eq!(seen.all("via"), ["1.1 authferry-00000002", "1.1 authferry-00000001"]);
    // Two proxies whose upstreams are each other.
    let address = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let there = Wanted { instance: 3, ..Wanted::before(format!("http://{address}")) }.start().await;
    let mut wanted = Wanted { instance: 4, ..Wanted::before(format!("http://{}", there.address())) };
    wanted.listeners[0].bind = authferry::http::settings::Bind::Tcp(address);
    let back = wanted.start().await;
    let looped = RawClient::connect(back.address()).await.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(looped.status, 508);
}

#[tokio::test]
async fn r12_a_client_that_waits_to_continue_is_told_by_us() {
    let upstream = Upstream::echo().await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: app\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(client.head().await.status, 100);
    let answer = client.ask("hi").await;
    assert_eq!((answer.status, &answer.json()["body"]), (200, &"hi".into()));
    assert!(!upstream.saw("expect"));
}

#[tokio::test]
async fn r126_cookies_come_back_one_by_one_in_order_and_hop_headers_do_not() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 Fine\r\nset-cookie: a=1; Path=/\r\nX-Hop: 1\r\nconnection: x-hop\r\nset-cookie: a=2; Path=/b\r\n\
         date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: theirs\r\nkeep-alive: timeout=9\r\ntrailer: x-sum\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
    )
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let answer = RawClient::connect(proxy.address()).await.ask("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    assert_eq!(answer.all("set-cookie"), ["a=1; Path=/", "a=2; Path=/b"]);
    assert_eq!(answer.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!(answer.header("server"), Some("theirs"));
    assert_eq!(answer.header("via"), Some("1.1 authferry-00000001"));
    for name in ["x-hop", "connection", "keep-alive", "trailer"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.body, b"ok");
}

#[tokio::test]
async fn answers_without_a_body_keep_what_their_headers_say() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\ncontent-length: 12345\r\netag: \"1\"\r\n\r\n").await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("HEAD / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.header("content-length"), head.header("etag")), (Some("12345"), Some("\"1\"")));
    let upstream = Upstream::saying("HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n").await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    assert_eq!(client.head().await.status, 304);
}

#[tokio::test]
async fn an_old_client_gets_an_answer_that_ends_with_its_connection() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.status, head.header("transfer-encoding")), (200, None));
    assert_eq!(client.read_to_end().await, b"ok");
    assert!(upstream.saw(&format!("host: {}", upstream.address)), "a missing Host is the upstream's own");
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nhost: app\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[tokio::test]
async fn r9_a_websocket_is_a_tunnel_once_the_upstream_grants_it_and_not_before() {
    let (sent, heads) = mpsc::channel::<String>(1);
    let heads = Arc::new(tokio::sync::Mutex::new(heads));
    let (go, wait) = tokio::sync::watch::channel(false);
    let upstream = Upstream::raw(move |mut connection, _| {
        let (sent, mut wait) = (sent.clone(), wait.clone());
        async move {
            sent.send(connection.head().await.expect("a head")).await.expect("wanted");
            wait.wait_for(|go| *go).await.expect("told");
            connection.send(GRANTED).await;
            while let Some(bytes) = connection.read_exactly(4).await {
                connection.send(bytes.to_ascii_uppercase()).await;
            }
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send(HANDSHAKE).await;
    client.send("earl").await;
    let head = soon("the handshake", heads.lock().await.recv()).await.expect("a head");
    for line in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"]
    {
        assert!(head.contains(line), "{head}");
    }
    assert!(!upstream.saw("earl"), "no byte goes on before the 101");
    go.send(true).expect("waited for");
    let granted = client.head().await;
    assert_eq!((granted.status, granted.header("upgrade")), (101, Some("websocket")));
    assert_eq!(granted.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(client.read_exactly(4).await, b"EARL");
    for word in ["ping", "pong"] {
        client.send(word).await;
        assert_eq!(client.read_exactly(4).await, word.to_uppercase().as_bytes());
    }
    client.finish().await;
    assert_eq!(client.read_to_end().await, b"", "the end of one side ends the other");
}

#[tokio::test]
async fn r9_an_upstream_that_grants_no_websocket_opens_no_tunnel() {
    let upstream =
        Upstream::saying("HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nno").await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    let refused = client.ask(HANDSHAKE).await;
    assert_eq!((refused.status, refused.header("upgrade"), &refused.body[..]), (426, None, &b"no"[..]));
    assert_eq!(refused.header("connection"), Some("close"));
    assert_eq!(client.read_to_end().await, b"", "nobody can say what the next bytes are");
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
        GRANTED.replace("s3pP", "AAAA"),
        GRANTED.replace("connection: Upgrade\r\n", ""),
    ] {
        let upstream = Upstream::saying(answer.clone()).await;
        let proxy = Wanted::before(upstream.url()).start().await;
        assert_eq!(RawClient::connect(proxy.address()).await.ask(HANDSHAKE).await.status, 502, "{answer}");
    }
}

#[tokio::test]
async fn r9_a_101_that_nobody_asked_for_is_a_bad_answer() {
    let upstream = Upstream::saying(GRANTED).await;
    let proxy = Wanted::before(upstream.url()).start().await;
    for upgrade in ["", "connection: upgrade\r\nupgrade: h2c\r\n", "connection: upgrade\r\nupgrade: websocket, h2c\r\n"]
    {
        let request =
            format!("GET / HTTP/1.1\r\nhost: app\r\n{upgrade}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        assert_eq!(RawClient::connect(proxy.address()).await.ask(request).await.status, 502, "{upgrade}");
    }
    assert!(!upstream.saw("upgrade"));
}

#[tokio::test]
async fn http2_clients_are_served_many_requests_at_once() {
    let upstream = Upstream::echo().await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let HttpClient::H2(client) = HttpClient::h2(proxy.address()).await else { unreachable!("HTTP/2 was asked for") };
    let asked = (0..20).map(|index| {
        let mut client = client.clone();
        async move {
            let body = ProxyBody::full(Bytes::from(format!("body {index}")));
            let request = Request::post(format!("http://app.example:81/{index}?q")).header("te", "trailers").body(body);
            let response = client.send_request(request.expect("a request")).await.expect("an answer");
            assert_eq!(response.status(), StatusCode::OK);
            let seen: serde_json::Value = serde_json::from_slice(&whole(response.into_body()).await).expect("JSON");
            assert_eq!(
                (&seen["target"], &seen["body"]),
                (&format!("/{index}?q").into(), &format!("body {index}").into())
            );
            assert_eq!(echoed(&seen, "host"), ["app.example:81"]);
            assert_eq!((echoed(&seen, "te").len(), echoed(&seen, "via")), (0, vec!["2 authferry-00000001"]));
        }
    });
    soon("all answers", futures_util::future::join_all(asked)).await;
}

#[tokio::test]
async fn an_http2_upload_without_a_length_is_chunked_to_the_upstream() {
    let upstream = Upstream::echo().await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let stream = tokio::net::TcpStream::connect(proxy.address()).await.expect("connected");
    let (mut client, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .expect("a handshake");
    tokio::spawn(connection);
    let (feed, body) = fed();
    let asked = client.send_request(Request::get("http://app/").body(body).expect("a request"));
    let fed = async {
        feed.send(Bytes::from_static(b"one ")).await.expect("wanted");
        feed.send(Bytes::from_static(b"two")).await.expect("wanted");
        drop(feed);
    };
    let (response, ()) = soon("an answer", async { tokio::join!(asked, fed) }).await;
    let seen: serde_json::Value =
        serde_json::from_slice(&whole(response.expect("an answer").into_body()).await).expect("JSON");
    assert_eq!((&seen["body"], echoed(&seen, "transfer-encoding")), (&"one two".into(), vec!["chunked"]));
}

/// A CA of the test's own, and an upstream configuration with a certificate of it.
fn authority(names: &[&str], expired: bool) -> (String, rustls::ServerConfig) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(vec![]).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&ca_key).expect("a CA").pem();
    let mut leaf =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
    if expired {
        leaf.not_before = rcgen::date_time_ymd(2001, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    (pem, config)
}

#[tokio::test]
async fn r121_an_upstreams_certificate_has_to_be_right() {
    let app = |_| async { answer("secret") };
    for (names, expired, trusts_its_ca, status) in [
        (&["localhost"][..], false, true, 200),
        (&["other.example"], false, true, 502),
        (&["localhost"], true, true, 502),
        (&["localhost"], false, false, 502),
    ] {
        let (ca, config) = authority(names, expired);
        let upstream = Upstream::tls_app(config, app).await;
        let trusted = if trusts_its_ca { ca } else { authority(names, false).0 };
        let wanted = Wanted {
            tls: tls::client_config_with_only(trusted.as_bytes()).expect("a configuration"),
            ..Wanted::before(format!("https://localhost:{}", upstream.address.port()))
        };
        let proxy = wanted.start().await;
        let mut client = HttpClient::h1(proxy.address()).await;
        for _ in 0..2 {
            let response = client.ask(get("/")).await;
            assert_eq!(response.status(), status, "{names:?} {expired} {trusts_its_ca}");
            assert_eq!(response.body() == "secret", status == 200);
        }
    }
}
