//! HTTP/2 from the clients: what is announced, what is refused, and what becomes of clients that flood or dawdle (R17-R19, R22).

use std::net::SocketAddr;
use std::time::Duration;

use authferry::http::settings::EdgeBounds;
use http::Response;
use http_body_util::{BodyExt, Full};
use tokio::io::AsyncWriteExt;

use crate::support::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GET, GOAWAY, H2Client, HEADERS, Outcome, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
};
use crate::support::process::Process;
use crate::support::proxy::{Proxy, Wanted};
use crate::support::soon;
use crate::support::upstream::Upstream;

/// RFC 9113, section 7.
const PROTOCOL_ERROR: u32 = 0x1;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// An app whose every answer is as long as this.
async fn large(bytes: usize) -> Upstream {
    Upstream::app(move |_| async move { Response::new(Full::from(vec![b'x'; bytes]).boxed()) }).await
}

/// The edge alone, which sends everything on.
async fn before(app: &Upstream) -> Proxy {
    Wanted::before(app.url()).start().await
}

/// The built binary, which judges heads before it sends anything on.
fn built_before(app: &Upstream) -> (Process, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a directory");
    let config = format!(
        r#"
        [migration]
        mode = "passthrough"
        [[listener]]
        bind = "127.0.0.1:0"
        [upstream]
        url = "{}"
        [store]
        path = "users.redb"
        [admin]
        bind = "off"
        "#,
        app.url()
    );
    (Process::start(folder.path(), &config), folder)
}

/// The request that a good client sends on a connection of its own.
async fn is_served(address: SocketAddr) {
    let mut client = H2Client::connect(address, b"").await;
    client.ask(1, &GET).await;
    assert!(matches!(client.outcome(1).await, Outcome::Answered(_)));
}

#[tokio::test]
async fn r19_the_settings_are_those_of_an_edge() {
    let app = large(1).await;
    let proxy = before(&app).await;
    let mut client = H2Client::connect(proxy.address(), b"").await;
    let window = client.frame_where(|frame| frame.kind == WINDOW_UPDATE).await.expect("a connection window");
    assert_eq!(65_535 + window.word(0), 1024 * 1024);
    let settings = client.greeting.iter().find(|frame| frame.kind == SETTINGS).expect("settings");
    let told: Vec<(u16, u32)> = settings
        .payload
        .chunks_exact(6)
        .map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), u32::from_be_bytes(pair[2..].try_into().expect("four"))))
        .collect();
    // MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE; ENABLE_CONNECT_PROTOCOL is not offered.
    for wanted in [(3, 100), (4, 64 * 1024), (5, 16 * 1024), (6, 16 * 1024)] {
        assert!(told.contains(&wanted), "{wanted:?} in {told:?}");
    }
    assert!(told.iter().all(|(id, _)| *id != 8), "{told:?}");
}

#[tokio::test]
async fn r19_a_stream_more_than_announced_is_refused_and_the_others_go_on() {
    let app = Upstream::app(|_| std::future::pending()).await;
    let proxy = before(&app).await;
    let mut client = H2Client::connect(proxy.address(), b"").await;
    for stream in 0..101 {
        client.ask(2 * stream + 1, &GET).await;
    }
    // RFC 9113, section 5.1.2: REFUSED_STREAM.
    assert_eq!(client.outcome(201).await, Outcome::Reset(0x7));
    client.send(&[Frame::new(PING, 0, 0, *b"are you?")]).await;
    assert!(client.frame_where(|frame| frame.kind == PING && frame.flags == ACK).await.is_some());
}

#[tokio::test]
async fn r17_heads_that_http1_could_not_say_are_never_sent_on() {
    let app = large(1).await;
    let (process, _folder) = built_before(&app);
    let proxy = process.public();
    let with = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "timeout=5")])),
        ("proxy-connection", with(&[("proxy-connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("te", with(&[("te", "gzip")])),
        ("upper case", with(&[("X-Upper", "1")])),
        ("a space in a name", with(&[("x y", "1")])),
        ("a colon in a name", with(&[("x:y", "1")])),
        ("CR in a value", with(&[("x", "a\rb")])),
        ("LF in a value", with(&[("x", "a\nb: c")])),
        ("NUL in a value", with(&[("x", "a\0b")])),
        ("an unknown pseudo-header", with(&[(":unknown", "1")])),
        ("a pseudo-header of answers", with(&[(":status", "200")])),
        ("two methods", with(&[(":method", "GET")])),
        ("two paths", with(&[(":path", "/b")])),
        ("two authorities", with(&[(":authority", "b")])),
        ("a pseudo-header behind a field", [&[("x", "1")][..], &GET[..]].concat()),
        ("no path", GET[..3].to_vec()),
        ("an empty path", [&GET[..3], &[(":path", "")][..]].concat()),
        ("a path without its slash", [&GET[..3], &[(":path", "login")][..]].concat()),
        ("a space in a path", [&GET[..3], &[(":path", "/a HTTP/1.1")][..]].concat()),
        ("no method", GET[1..].to_vec()),
        ("a method with a line end", [&[(":method", "GET / HTTP/1.1\r\nx: y")][..], &GET[1..]].concat()),
        ("no scheme", [&GET[..1], &GET[2..]].concat()),
        ("another host", with(&[("host", "evil")])),
        ("two hosts", with(&[("host", "app"), ("host", "app")])),
        ("a length that is none", with(&[("content-length", "+1")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "0")])),
    ];
    for (what, fields) in cases {
        let mut client = H2Client::connect(proxy, b"").await;
        client.ask(1, &fields).await;
        match client.outcome(1).await {
            // 0x8c is `:status 400` in the static table, and the only status that may come.
            Outcome::Answered(block) => assert_eq!(block.first(), Some(&0x8c), "{what}: {block:?}"),
            Outcome::Reset(_) | Outcome::GoAway(_) | Outcome::Closed => {}
        }
        assert_eq!(app.recorded(), Vec::<Vec<u8>>::new(), "{what}");
    }
    is_served(proxy).await;
}

#[tokio::test]
async fn r17_a_body_that_is_not_as_long_as_it_says_is_never_taken_for_a_whole_one() {
    let app = Upstream::echo().await;
    let (process, _folder) = built_before(&app);
    let proxy = process.public();
    let post = [("POST", "3", "1234"), ("POST", "5", "1234")];
    for (method, length, body) in post {
        let mut client = H2Client::connect(proxy, b"").await;
        let fields = [&[(":method", method)][..], &GET[1..], &[("content-length", length)]].concat();
        client
            .send(&[
                Frame::new(HEADERS, END_HEADERS, 1, block(&fields)),
                Frame::new(DATA, END_STREAM, 1, body.as_bytes()),
            ])
            .await;
        match client.outcome(1).await {
            Outcome::Answered(block) => assert_ne!(block.first(), Some(&0x88), "length {length} was answered with 200"),
            Outcome::Reset(code) | Outcome::GoAway(code) => assert_eq!(code, PROTOCOL_ERROR, "length {length}"),
            Outcome::Closed => {}
        }
    }
    is_served(proxy).await;
}

/// One kind of flood: what is sent before, and what is sent again and again on which stream.
struct Flood {
    name: &'static str,
    before: Vec<Frame>,
    again: fn(u32) -> Vec<Frame>,
}

fn open(stream: u32) -> Frame {
    Frame::new(HEADERS, END_STREAM | END_HEADERS, stream, block(&GET))
}

/// A request whose body is still to come.
fn post(stream: u32) -> Frame {
    let fields = [&[(":method", "POST")][..], &GET[1..]].concat();
    Frame::new(HEADERS, END_HEADERS, stream, block(&fields))
}

fn floods() -> Vec<Flood> {
    let flood = |name, before, again| Flood { name, before, again };
    vec![
        flood("rapid reset", vec![], |n| vec![open(n), Frame::new(RST_STREAM, 0, n, [0, 0, 0, 8])]),
        // A window update of nothing is an error of the stream, for which the server resets it.
        flood("made you reset", vec![], |n| vec![open(n), Frame::new(WINDOW_UPDATE, 0, n, [0; 4])]),
        flood("continuation", vec![Frame::new(HEADERS, 0, 1, block(&GET))], |_| {
            vec![Frame::new(CONTINUATION, 0, 1, block(&[("x", "y")]))]
        }),
        flood("empty continuation", vec![Frame::new(HEADERS, 0, 1, block(&GET))], |_| {
            vec![Frame::new(CONTINUATION, 0, 1, [])]
        }),
        flood("empty data", vec![post(1)], |_| vec![Frame::new(DATA, 0, 1, [])]),
        flood("settings", vec![], |_| vec![Frame::new(SETTINGS, 0, 0, [0, 4, 0, 0, 0xff, 0xff])]),
        flood("ping", vec![], |_| vec![Frame::new(PING, 0, 0, *b"whatever")]),
        flood("priority", vec![], |n| vec![Frame::new(PRIORITY, 0, n, [0, 0, 0, 0, 16])]),
        flood("window update", vec![], |_| vec![Frame::new(WINDOW_UPDATE, 0, 0, [0, 0, 0, 1])]),
        flood("unknown frames", vec![], |_| vec![Frame::new(0x99, 0, 0, [])]),
        flood("too many streams", vec![], |n| vec![post(n)]),
        // Each indexes a long header once and names it a thousand times: 2 KiB that stand for 4 MiB.
        flood("hpack bomb", vec![], |n| {
            let mut bomb = block(&GET);
            bomb.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
            bomb.extend([b'v'; 4000]);
            bomb.extend([0xbe; 1000]);
            vec![Frame::new(HEADERS, END_STREAM | END_HEADERS, n, bomb)]
        }),
    ]
}

/// Far more than any client may send for nothing.
const MANY: u32 = 50_000;

/// Floods a connection until the server ends it; the code of its GOAWAY.
async fn until_dismissed(address: SocketAddr, flood: &Flood) -> Option<u32> {
    let mut client = H2Client::connect(address, b"").await;
    client.send(&flood.before).await;
    let (mut write, last_word) = client.split();
    for batch in 0..MANY / 50 {
        let frames = (batch * 50..(batch + 1) * 50).flat_map(|n| (flood.again)(2 * n + 1));
        let bytes: Vec<u8> = frames.flat_map(|frame| frame.bytes()).collect();
        if write.write_all(&bytes).await.is_err() {
            return soon("the end", last_word).await.expect("no panic");
        }
    }
    panic!("{}: {MANY} of them and no end", flood.name);
}

#[tokio::test]
async fn r18_every_kind_of_flood_is_ended_and_others_are_served_meanwhile() {
    let app = large(100).await;
    let proxy = before(&app).await;
    for flood in floods() {
        let code = until_dismissed(proxy.address(), &flood).await;
        assert!(matches!(code, Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR)), "{}: ended by {code:?}", flood.name);
        is_served(proxy.address()).await;
    }
}

#[tokio::test]
async fn r18_what_busy_clients_send_beside_their_requests_is_no_flood() {
    let app = large(40_000).await;
    let proxy = before(&app).await;
    let mut client = H2Client::connect(proxy.address(), b"").await;
    // Two window updates for every frame of every answer, a ping for each request, and every third is given up.
    for n in 0..600_u32 {
        let stream = 2 * n + 1;
        client.ask(stream, &GET).await;
        client.send(&[Frame::new(PING, 0, 0, *b"how long")]).await;
        if n % 3 == 0 {
            client.send(&[Frame::new(RST_STREAM, 0, stream, [0, 0, 0, 8])]).await;
            client.frame_where(|frame| frame.kind == PING).await.expect("not ended");
            continue;
        }
        loop {
            let frame = client.frame().await.unwrap_or_else(|| panic!("ended at request {n}"));
            assert_ne!(frame.kind, GOAWAY, "at request {n}");
            if frame.kind == DATA && !frame.payload.is_empty() {
                let credit = u32::try_from(frame.payload.len()).expect("short").to_be_bytes();
                client.send(&[0, frame.stream].map(|of| Frame::new(WINDOW_UPDATE, 0, of, credit))).await;
            }
            if frame.stream == stream && frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
}

#[tokio::test]
async fn r18_a_client_that_updates_its_windows_for_every_4_kib_may_download_as_much_as_it_likes() {
    const LENGTH: usize = 20 * 1024 * 1024;
    let app = large(LENGTH).await;
    let proxy = before(&app).await;
    let mut client = H2Client::connect(proxy.address(), b"").await;
    client.ask(1, &GET).await;
    let mut left = LENGTH;
    while left > 0 {
        let frame = client.frame().await.expect("not ended");
        assert_ne!(frame.kind, GOAWAY, "{left} bytes were left");
        if frame.kind == DATA {
            left -= frame.payload.len();
            for part in frame.payload.chunks(4096) {
                let credit = u32::try_from(part.len()).expect("short").to_be_bytes();
                client.send(&[0, 1].map(|of| Frame::new(WINDOW_UPDATE, 0, of, credit))).await;
            }
        }
    }
}

#[tokio::test]
async fn r18_a_page_full_of_pictures_that_are_given_up_is_no_flood() {
    let app = Upstream::app(|_| std::future::pending()).await;
    let proxy = before(&app).await;
    let mut client = H2Client::connect(proxy.address(), b"").await;
    for page in 0..5 {
        let pictures = (page * 60..(page + 1) * 60).map(|n| 2 * n + 1);
        for stream in pictures.clone() {
            client.ask(stream, &GET).await;
        }
        client.send(&[Frame::new(PING, 0, 0, *b"are you?")]).await;
        assert!(client.frame_where(|frame| frame.kind == PING && frame.flags == ACK).await.is_some(), "page {page}");
        let resets: Vec<Frame> = pictures.map(|stream| Frame::new(RST_STREAM, 0, stream, [0, 0, 0, 8])).collect();
        client.send(&resets).await;
    }
    client.send(&[Frame::new(PING, 0, 0, *b"are you?")]).await;
    assert!(client.frame_where(|frame| frame.kind == PING && frame.flags == ACK).await.is_some());
}

#[tokio::test]
async fn r22_a_head_without_its_end_is_cut_though_other_requests_are_under_way() {
    let app = Upstream::app(|_| std::future::pending()).await;
    let bounds = EdgeBounds { head_timeout: Duration::from_millis(50), ..Wanted::before("http://127.0.0.1:1").bounds };
    let proxy = Wanted { bounds, ..Wanted::before(app.url()) }.start().await;
    let mut client = H2Client::connect(proxy.address(), b"").await;
    client.ask(1, &GET).await;
    client.send(&[Frame::new(HEADERS, END_STREAM, 3, block(&GET))]).await;
    assert_eq!(client.outcome(3).await, Outcome::Closed);
}

#[tokio::test]
async fn r22_a_client_that_opens_no_window_for_any_answer_is_cut() {
    let app = large(200_000).await;
    let bounds = EdgeBounds { idle_timeout: Duration::from_millis(100), ..Wanted::before("http://127.0.0.1:1").bounds };
    let proxy = Wanted { bounds, ..Wanted::before(app.url()) }.start().await;
    // INITIAL_WINDOW_SIZE 0.
    let mut client = H2Client::connect(proxy.address(), &[0, 4, 0, 0, 0, 0]).await;
    for stream in [1, 3, 5] {
        client.ask(stream, &GET).await;
    }
    // It keeps the connection busy meanwhile: it answers pings, and never takes a byte of an answer.
    while let Some(frame) = client.frame().await {
        assert_ne!(frame.kind, DATA);
        if frame.kind == PING && frame.flags != ACK {
            client.send(&[Frame::new(PING, ACK, 0, frame.payload)]).await;
        }
    }
    proxy.until_metric("authferry_connections", "0").await;
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn r18_memory_stays_flat_under_every_flood() {
    let app = large(100).await;
    let (process, _folder) = built_before(&app);
    let address = process.public();
    let round = async || {
        for flood in floods() {
            let attackers = (0..4).map(|_| until_dismissed(address, &flood));
            futures_util::future::join_all(attackers).await;
        }
    };
    // The first round pays for what is kept: threads' heaps, pools, tables.
    round().await;
    let before = resident(process.id());
    for _ in 0..3 {
        round().await;
    }
    let after = resident(process.id());
    println!("resident before {before} KiB, after three more rounds {after} KiB");
    assert!(after < before + 16 * 1024, "{before} KiB grew to {after} KiB");
}

#[tokio::test]
async fn r11_an_upload_that_its_client_resets_is_never_whole_for_the_app_whatever_the_reset_says() {
    // NO_ERROR, INTERNAL_ERROR, CANCEL: a proxy in front of this one may say the first of a client of its own that went away.
    for code in [0_u8, 2, 8] {
        let (seen, mut wait) = tokio::sync::mpsc::channel(2);
        let app = Upstream::raw(move |mut connection, _| {
            let seen = seen.clone();
            async move {
                connection.head().await.expect("a head");
                let half = connection.read_exactly("4\r\nhalf\r\n".len()).await;
                seen.send(()).await.expect("wanted");
                assert!(half.is_some());
                connection.closed().await;
                seen.send(()).await.expect("wanted");
            }
        })
        .await;
        let proxy = before(&app).await;
        let mut client = H2Client::connect(proxy.address(), b"").await;
        let post = [(":method", "POST"), (":scheme", "http"), (":authority", "app"), (":path", "/")];
        client.send(&[Frame::new(HEADERS, END_HEADERS, 1, block(&post)), Frame::new(DATA, 0, 1, *b"half")]).await;
        soon("half of it", wait.recv()).await.expect("there");
        client.send(&[Frame::new(RST_STREAM, 0, 1, [0, 0, 0, code])]).await;
        soon("the request to be given up", wait.recv()).await.expect("closed");
        let recorded = app.recorded();
        assert!(recorded[0].ends_with(b"\r\n\r\n4\r\nhalf\r\n"), "{code}: {}", recorded[0].escape_ascii());
    }
}
