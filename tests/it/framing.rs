//! What a request must be, over raw sockets in front of an app that records every byte: bad heads, bad chunks, unread bodies,
//! pipelines, WebSockets that are not granted (R1-R16, R21). None of it may reach the app, and every answer has to arrive.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::{Running, start};
use crate::support::client::{RawAnswer, RawClient, show};
use crate::support::configs::{CALL_LOGIN, LOGIN, TOKEN};
use crate::support::process::Process;
use crate::support::soon;
use crate::support::upstream::{Upstream, echoed};

const FIRST: &str = "GET /first HTTP/1.1\r\nhost: app\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: app\r\n\r\n";

/// A proxy in front of an app. `server` are lines of `[server]`.
async fn before(upstream: &Upstream, server: &str) -> Running {
    start(&format!("[server]\n{server}\n[upstream]\nurl = \"{}\"\n", upstream.url())).await
}

/// How often a request was refused for a reason.
async fn refused(proxy: &Running, reason: &str) -> f64 {
    proxy.metric("authferry_refused_requests_total", &[&format!("reason=\"{reason}\"")]).await
}

fn code(answer: &RawAnswer) -> String {
    answer.json()["code"].as_str().expect("a code").to_owned()
}

/// Heads that hyper alone would let through or answer without a word, and how each is answered here.
const REFUSED: [(&str, u16, &str); 36] = [
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "length_and_coding",
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        400,
        "length_and_coding",
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "transfer_encoding"),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "transfer_encoding",
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", 400, "transfer_encoding"),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", 400, "header_name"),
    (
        "POST / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "transfer_encoding",
    ),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc", 400, "content_length"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\n\r\nabc", 400, "content_length"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc", 400, "content_length"),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 03x\r\n\r\nabc", 400, "content_length"),
    ("GET / HTTP/1.1\nhost: a\n\n", 400, "line_ending"),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: y\nz: w\r\n\r\n", 400, "line_ending"),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: y\rz: w\r\n\r\n", 400, "line_ending"),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n", 400, "header_fold"),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", 400, "header_control_byte"),
    ("GET / HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n", 400, "header_name"),
    ("GET / HTTP/1.1\r\nhost: a\r\nnot a header\r\n\r\n", 400, "header_name"),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400, "host"),
    ("GET / HTTP/1.1\r\n\r\n", 400, "host"),
    ("GET http://a@b/ HTTP/1.1\r\nhost: b\r\n\r\n", 400, "host"),
    ("GET /x#fragment HTTP/1.1\r\nhost: a\r\n\r\n", 400, "target_fragment"),
    ("GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n", 400, "target_not_ascii"),
    ("GET /<x> HTTP/1.1\r\nhost: a\r\n\r\n", 400, "target_malformed"),
    ("GET example HTTP/1.1\r\nhost: a\r\n\r\n", 400, "path_not_absolute"),
    ("GET /\r\n", 400, "request_line"),
    ("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", 400, "request_line"),
    ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400, "request_line"),
    ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 400, "request_line"),
    ("\u{16}\u{3}\u{1}\u{2}", 400, "request_line"),
    ("!refused / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n", 400, "request_line"),
    ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", 505, "http_version"),
    ("GET / HTTP/3.0\r\nhost: a\r\n\r\n", 505, "http_version"),
    ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", 405, "method_not_allowed"),
    ("GET /?\u{7f} HTTP/1.1\r\nhost: a\r\n\r\n", 400, "target_control_byte"),
    ("POST / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n{\"no\":\"length\"}", 400, "request_line"),
];

#[tokio::test]
async fn r1_to_r15_a_bad_head_is_answered_in_its_turn_and_neither_it_nor_what_follows_reaches_the_app() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "").await;
    let mut counted = std::collections::BTreeMap::<&str, f64>::new();
    for (bad, status, reason) in REFUSED {
        let mut client = RawClient::connect(proxy.public).await;
        client.send([FIRST, bad, SMUGGLED].concat()).await;
        assert_eq!(client.answer().await.status, 200, "what came before it: {bad:?}");
        // The last of them is a whole request of its own, before what is refused.
        if bad.starts_with("POST / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n") {
            assert_eq!(client.answer().await.status, 200);
        }
        let answer = client.answer().await;
        assert_eq!((answer.status, code(&answer).as_str()), (status, reason), "{bad:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{bad:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(answer.body.len() < 200 && answer.all("content-length").len() == 1);
        assert_eq!(client.read_to_end().await, b"", "{bad:?}");
        *counted.entry(reason).or_default() += 1.0;
    }
    assert!(!upstream.saw("smuggled") && !upstream.saw("fragment") && !upstream.saw("refused"));
    for (reason, count) in counted {
        assert_eq!(refused(&proxy, reason).await, count, "{reason}");
    }
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_the_same_request() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "").await;
    let mut client = RawClient::connect(proxy.public).await;
    let chunked = "POST /chunked?a=b HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n\
                   3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nexpires: now\r\n\r\n";
    let stream =
        format!("\r\n{FIRST}{chunked}POST /length HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nabcde{FIRST}");
    let (target, body): (Vec<_>, Vec<_>) =
        [("/first", ""), ("/chunked?a=b", "abcde"), ("/length", "abcde"), ("/first", "")].into_iter().unzip();
    for byte in stream.as_bytes() {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(client.answer().await.json());
    }
    assert_eq!(seen.iter().map(|seen| seen["target"].as_str().expect("text")).collect::<Vec<_>>(), target);
    assert_eq!(seen.iter().map(|seen| seen["body"].as_str().expect("text")).collect::<Vec<_>>(), body);
    // R13: neither the extension nor the trailer, nor what announces one.
    assert!(!upstream.saw("a=b\r\n") && !upstream.saw("expires"));
    assert!(seen.iter().all(|seen| echoed(seen, "trailer").is_empty()));
}

#[tokio::test]
async fn r21_target_and_head_are_taken_up_to_their_limits_and_answered_one_byte_further() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "").await;
    let uri = |length: usize| format!("GET /{} HTTP/1.1\r\nhost: app\r\n\r\n", "a".repeat(length - 1));
    let head = |length: usize| {
        let rest = "GET / HTTP/1.1\r\nhost: app\r\nx: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nhost: app\r\nx: {}\r\n\r\n", "a".repeat(length - rest))
    };
    for (request, status) in [
        (uri(8 * 1024), 200),
        (uri(8 * 1024 + 1), 414),
        (head(16 * 1024), 200),
        (head(16 * 1024 + 1), 431),
        (format!("\r\n{}", head(16 * 1024)), 200),
        (format!("GET / HTTP/1.1\r\nhost: app\r\n{}\r\n", "x: y\r\n".repeat(80)), 200),
        (format!("GET / HTTP/1.1\r\nhost: app\r\n{}\r\n", "x: y\r\n".repeat(100)), 431),
        (format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(16 * 1024)), 431),
    ] {
        let answer = RawClient::connect(proxy.public).await.ask(&request).await;
        assert_eq!(answer.status, status, "{} bytes", request.len());
    }
}

#[tokio::test]
async fn r11_an_answer_arrives_although_the_client_goes_on_sending() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "").await;
    for request in [
        "GET /x#y HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /a//b HTTP/1.1\r\nhost: a\r\ncontent-length: 50000\r\n\r\n",
        "POST /a//b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nc350\r\n",
        "POST /a//b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
    ] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(proxy.public).await.expect("connected");
            // With it comes what follows: where nothing is owed and nothing more is there, the connection may be closed at once.
            stream.write_all(&[request.as_bytes(), &[b'a'; 1000]].concat()).await.expect("sent");
            for _ in 0..40 {
                // A reset would fail one of these, or the reading.
                if stream.write_all(&[b'a'; 1000]).await.is_err() {
                    panic!("it was reset while it sent");
                }
                tokio::task::yield_now().await;
            }
            let mut answer = Vec::new();
            soon("the answer", stream.read_to_end(&mut answer)).await.expect("no reset");
            let text = show(&answer);
            assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with('}'), "{text}");
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn r11_a_request_hidden_in_a_body_that_nobody_read_is_never_executed() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "").await;
    let length = SMUGGLED.len();
    let chunked = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    for (head, body, stays_open) in [
        // All of the body is there: it is skipped, and the next request is a request.
        (format!("POST /a//b HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}"), "", true),
        // It is not: nobody waits for it.
        (format!("POST /a//b HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"), SMUGGLED, false),
        (
            format!("POST /a//b HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n"),
            SMUGGLED,
            false,
        ),
        (format!("POST /a//b HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\nx", length + 1), SMUGGLED, false),
        ("POST /a//b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), &chunked, false),
        (
            format!("POST /a//b HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\ncontent-length: {length}\r\n\r\n"),
            SMUGGLED,
            false,
        ),
    ] {
        let mut client = RawClient::connect(proxy.public).await;
        let answer = client.ask(&head).await;
        assert!(matches!(answer.status, 400 | 417), "{head:?}: {answer:?}");
        assert_eq!(answer.header("connection"), (!stays_open).then_some("close"), "{head:?}");
        client.send(body).await;
        if stays_open {
            assert_eq!(client.ask(FIRST).await.status, 200, "{head:?}");
        } else {
            client.send(FIRST).await;
            assert_eq!(client.read_to_end().await, b"", "{head:?}");
        }
    }
    assert!(!upstream.saw("smuggled"));
}

#[tokio::test]
async fn r5_a_body_whose_chunks_are_wrong_is_given_up_on_both_sides() {
    for (body, reason) in [
        ("3\r\nabcd\r\n0\r\n\r\n", "chunk_ending"),
        ("3\nabc\r\n0\r\n\r\n", "chunk_ending"),
        ("3 \r\nabc\r\n0\r\n\r\n", "chunk_size"),
        ("0x3\r\nabc\r\n0\r\n\r\n", "chunk_size"),
        ("00000000000000003\r\nabc\r\n0\r\n\r\n", "chunk_size"),
        ("3;\r\nabc\r\n0\r\n\r\n", "chunk_extension"),
        ("3\r\nabc\r\n0\r\nx y: z\r\n\r\n", "chunk_trailer"),
        ("3\r\nabc\r\n0\r\ncontent-length: 3\r\n\r\n", "chunk_trailer"),
    ] {
        let (told, mut ended) = tokio::sync::mpsc::channel(1);
        let upstream = Upstream::raw(move |mut connection, _| {
            let told = told.clone();
            async move {
                connection.head().await.expect("a head");
                connection.stall().await;
                told.send(()).await.expect("wanted");
            }
        })
        .await;
        let proxy = before(&upstream, "").await;
        let mut client = RawClient::connect(proxy.public).await;
        // The head alone first, so that the app has it when the body turns out to be none.
        client.send("POST /up HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n").await;
        soon("the beginning at the app", async {
            while !upstream.saw("1\r\nx\r\n") {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        client.send(format!("{body}{SMUGGLED}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, code(&answer).as_str()), (400, "bad_body"), "{body:?}");
        assert_eq!(client.read_to_end().await, b"", "{body:?}");
        // Nothing more is waited for once the client has closed.
        drop(client);
        soon("the app to hear of it", ended.recv()).await;
        assert!(!upstream.saw("smuggled") && !upstream.saw("0\r\n\r\n"), "{body:?}");
        soon("the count", async {
            while refused(&proxy, reason).await != 1.0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn r5_a_login_whose_chunks_are_wrong_asks_nobody() {
    let upstream = Upstream::echo().await;
    let config = format!("[upstream]\nurl = \"{}\"\n{TOKEN}{CALL_LOGIN}{LOGIN}", upstream.url());
    let proxy = start(&config).await;
    let head =
        "POST /login HTTP/1.1\r\nhost: app\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let login = r#"{"email":"a@b.example","password":"x"}"#;
    for end in ["\n0\r\n\r\n", "\r\n0\n\r\n", "\r\n0\r\n\n", "\r\n0\r\nx\r\n\r\n", "\r\n00000000000000000\r\n\r\n"] {
        let mut client = RawClient::connect(proxy.public).await;
        client.send(format!("{head}{:x}\r\n{login}{end}{SMUGGLED}", login.len())).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, code(&answer).as_str()), (400, "body_broken"), "{end:?}");
        assert_eq!(client.read_to_end().await, b"", "{end:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn r10_methods_that_no_app_should_see_are_answered_here() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "").await;
    let mut client = RawClient::connect(proxy.public).await;
    for (method, status) in
        [("TRACE", 405), ("TRACK", 501), ("PROPFIND", 501), ("get", 400), ("Get", 400), ("DEBUG", 501), ("X!", 501)]
    {
        let answer = client.ask(format!("{method} / HTTP/1.1\r\nhost: app\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("connection")), (status, None), "{method}");
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(client.ask(FIRST).await.status, 200);
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_a_bad_request_gets_to_know_what_was_bad() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "").await;
    for bad in ["GET /\r\n", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "GET / HTTP/1.1\r\nx: y\n"] {
        let mut client = RawClient::connect(proxy.public).await;
        client.send(bad).await;
        client.finish().await;
        assert_eq!(client.answer().await.status, 400, "{bad:?}");
    }
    let mut half = RawClient::connect(proxy.public).await;
    half.send("GET / HTTP/1.1\r\nhost: a").await;
    half.finish().await;
    assert_eq!(half.read_to_end().await, b"", "half a request is none");
}

#[tokio::test]
async fn a_refused_head_request_gets_no_body() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "").await;
    let mut client = RawClient::connect(proxy.public).await;
    client.send("HEAD /x#y HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let whole = show(&client.read_to_end().await);
    assert!(whole.starts_with("HTTP/1.1 400 ") && whole.ends_with("\r\n\r\n"), "{whole}");
    assert_eq!(refused(&proxy, "target_fragment").await, 1.0);
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nhost: app\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The shape of CVE-2026-2833: bytes behind an `Upgrade` went through before anybody had agreed to it.
#[tokio::test]
async fn r9_what_comes_behind_a_request_for_a_websocket_goes_nowhere_without_a_101() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    let proxy = before(&upstream, "").await;
    for (asked, behind) in [
        (HANDSHAKE.to_owned(), SMUGGLED.to_owned()),
        (HANDSHAKE.to_owned(), SMUGGLED.repeat(300)),
        (HANDSHAKE.to_owned(), "\u{1}\u{2}frames".to_owned()),
        // Nobody asks for it with the whole of a handshake; still nobody knows what is behind it.
        ("GET /ws HTTP/1.1\r\nhost: app\r\nupgrade: WebSocket\r\n\r\n".to_owned(), SMUGGLED.to_owned()),
    ] {
        let mut client = RawClient::connect(proxy.public).await;
        client.send(format!("{asked}{behind}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{behind:.40}");
        assert_eq!(client.read_to_end().await, b"", "{behind:.40}");
    }
    assert!(!upstream.saw("smuggled") && !upstream.saw("frames"));
    // Any other protocol is just not offered: the request is an ordinary one, and so is the next.
    let echo = Upstream::echo().await;
    let proxy = before(&echo, "").await;
    let mut client = RawClient::connect(proxy.public).await;
    let h2c = "GET / HTTP/1.1\r\nhost: app\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n";
    client.send(format!("{h2c}{FIRST}")).await;
    let seen = client.answer().await.json();
    for name in ["upgrade", "connection", "http2-settings"] {
        assert!(echoed(&seen, name).is_empty(), "{seen}");
    }
    assert_eq!(client.answer().await.json()["target"], "/first");
}

#[tokio::test]
async fn r9_a_handshake_with_a_body_is_no_handshake() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "").await;
    let mut client = RawClient::connect(proxy.public).await;
    let with_body = HANDSHAKE.replace("\r\n\r\n", "\r\ncontent-length: 3\r\n\r\nabc");
    client.send(format!("{with_body}{FIRST}")).await;
    let seen = client.answer().await.json();
    assert!(echoed(&seen, "upgrade").is_empty() && seen["body"] == "abc", "{seen}");
    assert_eq!(client.answer().await.json()["target"], "/first");
}

// -------------------------------------------------------------------------------------------------------------- switches

#[tokio::test]
async fn r28_an_edge_told_to_be_lenient_forwards_odd_paths_and_still_no_fragment() {
    let upstream = Upstream::echo().await;
    let (strict, lenient) = (before(&upstream, "").await, before(&upstream, "paths = \"lenient\"").await);
    for (target, forwarded) in [
        ("/a//b", "/a//b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a/../b", "/a/../b"),
        ("/\u{e9}?\u{e9}", "/%C3%A9?%C3%A9"),
        ("/%zz", "/%25zz"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: app\r\n\r\n");
        assert_eq!(RawClient::connect(strict.public).await.ask(&request).await.status, 400, "{target}");
        let answer = RawClient::connect(lenient.public).await.ask(&request).await;
        assert_eq!((answer.status, answer.json()["target"].as_str()), (200, Some(forwarded)), "{target}");
    }
    for (target, reason) in [(&b"/\xc3"[..], "target_malformed"), (b"/x#y", "target_fragment"), (b"/%00", "path_nul")] {
        let request = [b"GET ", target, b" HTTP/1.1\r\nhost: app\r\n\r\n"].concat();
        let answer = RawClient::connect(lenient.public).await.ask(&request).await;
        assert_eq!((answer.status, code(&answer).as_str()), (400, reason));
    }
}

#[tokio::test]
async fn r14_an_edge_told_to_allow_underscores_lets_none_through_that_stand_for_a_proxys_own_headers() {
    let upstream = Upstream::echo().await;
    let (strict, allowing) = (before(&upstream, "").await, before(&upstream, "underscores = \"allow\"").await);
    for (name, status) in
        [("x_custom", 200), ("x_forwarded_for", 400), ("transfer_encoding", 400), ("content_length", 400)]
    {
        let request = format!("GET / HTTP/1.1\r\nhost: app\r\n{name}: 1\r\n\r\n");
        let refused = RawClient::connect(strict.public).await.ask(&request).await;
        assert_eq!((refused.status, code(&refused).as_str()), (400, "header_underscore"), "{name}");
        assert_eq!(RawClient::connect(allowing.public).await.ask(&request).await.status, status, "{name}");
    }
}

#[tokio::test]
async fn r7_only_hosts_that_are_listed_are_served_and_an_absolute_target_agrees_with_the_host() {
    let upstream = Upstream::echo().await;
    let proxy = before(&upstream, "hosts = [\"app.example\", \"*.shop.example\"]").await;
    for (target, host, status) in [
        ("/", "app.example", 200),
        ("/", "APP.example:8080", 200),
        ("/", "a.shop.example", 200),
        ("/", "evil.example", 421),
        ("/", "shop.example", 421),
        ("http://app.example/", "app.example", 200),
        ("http://app.example/", "evil.example", 400),
        ("http://evil.example/", "app.example", 400),
        ("http://evil.example/", "evil.example", 421),
        ("/", "app.example, evil.example", 400),
        ("/", "app.example evil.example", 400),
        ("/", "user@app.example", 400),
        ("/", "", 400),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_eq!(RawClient::connect(proxy.public).await.ask(request).await.status, status, "{target} {host}");
    }
    assert!(!upstream.saw("evil"));
    assert_eq!(refused(&proxy, "host_unknown").await, 3.0);
}

#[tokio::test]
async fn r9_an_edge_told_to_let_no_websocket_through_offers_none() {
    let upstream = Upstream::echo().await;
    let config = format!("[upstream]\nurl = \"{}\"\nwebsocket = false\n", upstream.url());
    let proxy = start(&config).await;
    let answer = RawClient::connect(proxy.public).await.ask(HANDSHAKE).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(echoed(&answer.json(), "upgrade").is_empty() && echoed(&answer.json(), "connection").is_empty());
}

// ---------------------------------------------------------------------------------------------------------------- memory

/// R24: what a request costs in memory over the least that any request costs, against its size. All of them are under way at once. Of
/// half a kilobyte and more: what smaller ones cost is lost in what every connection does.
#[tokio::test]
async fn r24_no_request_costs_a_hundred_times_its_size_in_memory() {
    const AT_ONCE: usize = 200;
    let head = |rest: &str| format!("GET / HTTP/1.1\r\nhost: app\r\n{rest}\r\n");
    let many: String = (0..98).map(|n| format!("{n}:\r\n")).collect();
    let post = |kind: &str, body: &str| {
        let length = body.len();
        format!("POST /login HTTP/1.1\r\nhost: app\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let json = |rest: &str| post("application/json", &format!(r#"{{"email":"100@b.example","password":"x"{rest}}}"#));
    // As many values as are read: what is denser is refused.
    let objects = |count: usize| format!(r#","a":[{}{{}}]"#, "{},".repeat(count));
    let padded = format!(r#"{},"b":"{}""#, objects(1950), "b".repeat(10_000));
    let keys: String = (0..1500).map(|n| format!(r#","{n}":[]"#)).collect();
    let mut least = [0; 2];
    for (what, request, baseline) in [
        ("the least", head(""), None),
        ("many headers", head(&many), Some(0)),
        ("a large header", head(&format!("x: {}\r\n", "y".repeat(16_000))), Some(0)),
        ("a long target", head("").replace("/ ", &format!("/{} ", "a".repeat(8_000))), Some(0)),
        ("the least login", json(""), None),
        ("many objects", json(&padded), Some(1)),
        ("keys", json(&keys), Some(1)),
    ] {
        let upstream = Upstream::raw(|mut connection, _| async move { connection.stall().await }).await;
        let folder = tempfile::tempdir().expect("a folder");
        let config = memory_config(&upstream.url());
        let process = Process::start(folder.path(), &config);
        let mut clients = Vec::new();
        for number in 100..100 + AT_ONCE {
            let mut client = RawClient::connect(process.public()).await;
            // Equal logins would share one call to legacy.
            client.send(request.replace("100@b.example", &format!("{number}@b.example"))).await;
            clients.push(client);
        }
        soon("all to be under way", async {
            while upstream.connections() < AT_ONCE {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let resident = resident_bytes(process.id());
        let kind = usize::from(request.starts_with("POST"));
        let Some(baseline) = baseline else {
            least[kind] = resident;
            continue;
        };
        let sent = request.len() * AT_ONCE;
        let cost = resident.saturating_sub(least[baseline]);
        println!("{what}: {} bytes each, {:.1} times its size", request.len(), cost as f64 / sent as f64);
        assert!(cost < 100 * sent, "{what}: {cost} bytes for {sent}");
    }
}

/// An app and a legacy backend that never answer.
pub(crate) fn memory_config(url: &str) -> String {
    format!(
        r#"
        [upstream]
        url = "{url}"
        [[listener]]
        bind = "127.0.0.1:0"
        [admin]
        bind = "127.0.0.1:0"
        [legacy]
        timeout = "30s"
        max_in_flight = 1000
        [limits]
        per_ip = {{ rate = "100000/1m", burst = 100000 }}
        per_account = {{ rate = "10000/15m", burst = 10000, count = "failures" }}
        [password]
        argon2id = {{ memory = "8MiB", iterations = 1, parallelism = 1 }}
        {TOKEN}{CALL_LOGIN}{LOGIN}"#
    )
}

fn resident_bytes(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a live process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}
