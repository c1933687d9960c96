//! What happens when the upstream, or the client, does not keep to the rules.

use std::time::Duration;

use authferry::http::settings::EdgeBounds;
use http::StatusCode;

use crate::support::client::{HttpClient, RawClient, get, show};
use crate::support::h2::{self, H2Client};
use crate::support::proxy::{Proxy, Wanted};
use crate::support::soon;
use crate::support::upstream::{Upstream, answer};

const GET: &str = "GET / HTTP/1.1\r\nhost: app\r\n\r\n";

fn forwarded(proxy: &Proxy, class: &str) -> Option<String> {
    proxy.metric(&format!("authferry_forwarded_requests_total{{class=\"{class}\"}}"))
}

#[tokio::test]
async fn a_dead_upstream_is_a_502_and_a_live_one_is_found_again() {
    let address = Upstream::nobody().await;
    let proxy = Wanted::before(format!("http://{address}")).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    let answer = client.ask(GET).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (502, Some("upstream_unreachable")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(forwarded(&proxy, "error").as_deref(), Some("1"));
    let listener = tokio::net::TcpListener::bind(address).await.expect("the port is free again");
    let served = async {
        let (stream, _) = listener.accept().await.expect("accepted");
        let mut upstream = RawClient::over(stream);
        upstream.read_until(b"\r\n\r\n").await;
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        upstream
    };
    let (answer, _upstream) = soon("an answer", async { tokio::join!(client.ask(GET), served) }).await;
    assert_eq!(answer.status, 204, "the client's own connection was kept");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_502() {
    let proxy = Wanted::before("http://no-such-host.invalid").start().await;
    assert_eq!(RawClient::connect(proxy.address()).await.ask(GET).await.status, 502);
}

#[tokio::test]
async fn a_slow_upstream_is_a_504_and_its_connection_is_given_up() {
    let (gone, mut given_up) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::raw(move |mut connection, _| {
        let gone = gone.clone();
        async move {
            connection.head().await.expect("a head");
            connection.closed().await;
            gone.send(()).await.expect("wanted");
        }
    })
    .await;
    let wanted = Wanted { response_timeout: Duration::from_millis(50), ..Wanted::before(upstream.url()) };
    let proxy = wanted.start().await;
    let answer = RawClient::connect(proxy.address()).await.ask(GET).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (504, Some("upstream_timeout")));
    soon("the connection to be given up", given_up.recv()).await.expect("closed");
}

#[tokio::test]
async fn an_app_that_never_answers_is_a_504_also_for_the_next_request_and_for_a_connection_that_was_parked() {
    let upstream = Upstream::raw(|mut connection, _| async move {
        while let Some(head) = connection.head().await {
            if head.starts_with("GET /slow") {
                return connection.stall().await;
            }
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere").await;
        }
    })
    .await;
    let wanted = Wanted { response_timeout: Duration::from_millis(50), ..Wanted::before(upstream.url()) };
    let proxy = wanted.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    let slow = GET.replace("GET /", "GET /slow");
    for _ in 0..3 {
        assert_eq!(client.ask(&slow).await.status, 504);
        assert_eq!(client.ask(GET).await.status, 200);
    }
    for _ in 0..2 {
        proxy.until_metric("authferry_connections_parked", "1").await;
        assert_eq!(client.ask(&slow).await.status, 504);
    }
}

#[tokio::test]
async fn an_app_that_never_answers_is_a_504_for_every_request_of_an_http_2_connection() {
    let upstream = Upstream::raw(|mut connection, _| async move { connection.stall().await }).await;
    let wanted = Wanted { response_timeout: Duration::from_millis(50), ..Wanted::before(upstream.url()) };
    let proxy = wanted.start().await;
    // No table of headers for its answers: every status is written out.
    let mut client = H2Client::connect(proxy.address(), &[0, 1, 0, 0, 0, 0]).await;
    for streams in [[1, 3], [5, 7]] {
        for stream in streams {
            client.ask(stream, &h2::GET).await;
        }
        let mut answered = Vec::new();
        while answered.len() < streams.len() {
            let frame = client.frame_where(|frame| frame.kind == h2::HEADERS).await.expect("an answer");
            // 504 in the Huffman code of RFC 7541, appendix B.
            assert!(
                frame.payload.windows(4).any(|text| text == b"\x83\x6c\x0d\x7f"),
                "{}",
                frame.payload.escape_ascii()
            );
            answered.push(frame.stream);
        }
        answered.sort_unstable();
        assert_eq!(answered, streams);
    }
}

#[tokio::test]
async fn only_the_head_has_to_be_in_time_and_an_upload_may_take_as_long_as_it_moves() {
    let upstream = Upstream::raw(|mut connection, _| async move {
        connection.head().await.expect("a head");
        connection.read_exactly(11).await.expect("a body");
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        connection.send("late").await;
    })
    .await;
    // The pauses are what is tested here, not a way to wait for something.
    let wanted = Wanted { response_timeout: Duration::from_millis(300), ..Wanted::before(upstream.url()) };
    let proxy = wanted.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 11\r\n\r\n").await;
    // Longer than the timeout in all, shorter from piece to piece.
    for piece in ["slo", "wly", "but", "ok"] {
        client.send(piece).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.answer().await.body, b"late");
}

#[tokio::test]
async fn a_client_that_stops_sending_is_told_so_and_the_upstream_is_not_blamed() {
    let upstream = Upstream::raw(|mut connection, _| async move { connection.stall().await }).await;
    let wanted = Wanted { response_timeout: Duration::from_millis(50), ..Wanted::before(upstream.url()) };
    let proxy = wanted.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    let answer = client.ask("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (408, Some("body_timeout")));
}

#[tokio::test]
async fn r22_a_body_that_trickles_in_is_given_up_however_regularly_it_trickles() {
    let upstream = Upstream::raw(|mut connection, _| async move { connection.stall().await }).await;
    let mut wanted = Wanted::before(upstream.url());
    wanted.bounds.body_timeout = Duration::from_millis(200);
    let proxy = wanted.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 1000000\r\n\r\n").await;
    let (mut reading, mut writing) = tokio::io::split(client.into_stream());
    let trickle = async {
        while tokio::io::AsyncWriteExt::write_all(&mut writing, b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await
    };
    let answer = async {
        let mut head = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut reading, &mut head).await.expect("an answer");
        head
    };
    let answer = soon("an answer", async {
        tokio::select! {
            answer = answer => answer,
            () = trickle => unreachable!("it goes on for ever"),
        }
    });
    assert_eq!(&answer.await, b"HTTP/1.1 408");
}

#[tokio::test]
async fn r23_a_client_that_pauses_in_its_body_makes_room_for_another() {
    let upstream = Upstream::raw(|mut connection, _| async move {
        while let Some(head) = connection.head().await {
            if head.starts_with("POST") {
                return connection.stall().await;
            }
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere").await;
        }
    })
    .await;
    let mut wanted = Wanted::before(upstream.url());
    (wanted.bounds.max_connections, wanted.bounds.workers) = (1, 1);
    let proxy = wanted.start().await;
    let mut pauses = RawClient::connect(proxy.address()).await;
    pauses.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 10\r\n\r\nhalf").await;
    while !upstream.saw("half") {
        tokio::task::yield_now().await;
    }
    let served = soon("room", async {
        loop {
            let mut next = RawClient::connect(proxy.address()).await;
            next.try_send(GET).await;
            let answer = next.read_to_end_of(b"here").await;
            if answer.ends_with(b"here") {
                return answer;
            }
        }
    });
    assert!(served.await.starts_with(b"HTTP/1.1 200"));
    assert_eq!(pauses.read_to_end().await, b"", "it is closed");
}

#[tokio::test]
async fn r22_a_body_that_comes_fast_enough_may_come_for_longer_than_the_timeout() {
    let upstream = Upstream::raw(|mut connection, _| async move {
        connection.read_exactly(40_000).await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlong").await;
    })
    .await;
    let mut wanted = Wanted::before(upstream.url());
    wanted.bounds.body_timeout = Duration::from_millis(300);
    wanted.bounds.min_body_rate = 1_000;
    let proxy = wanted.start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 40000\r\n\r\n").await;
    for _ in 0..40 {
        client.send([b'x'; 1_000]).await;
        // The pace is what is tested: a thousand bytes win a second back.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.answer().await.body, b"long");
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_breaks_off_the_upstreams_request_too() {
    let (gone, mut broken_off) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::raw(move |mut connection, _| {
        let gone = gone.clone();
        async move {
            connection.head().await.expect("a head");
            let body = connection.read_exactly(10).await;
            gone.send(body).await.expect("wanted");
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 10\r\n\r\nhalf").await;
    drop(client);
    let body = soon("the end", broken_off.recv()).await.expect("told");
    assert_eq!(body, None, "the upstream never sees a whole body");
}

/// What an upstream may say that no client may be told (R20).
const HOSTILE: [(&str, &str); 56] = [
    ("nothing", ""),
    ("half a status line", "HTTP/1.1 20"),
    ("half a head", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"),
    ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ("HTTP/0.9", "<html>hello</html>"),
    ("another version", "HTTP/3.0 200 OK\r\n\r\n"),
    ("no status", "HTTP/1.1 OK\r\n\r\n"),
    ("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
    ("a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"),
    ("a status that is none", "HTTP/1.1 099 Hm\r\n\r\n"),
    ("a status over 599", "HTTP/1.1 600 Hm\r\ncontent-length: 0\r\n\r\n"),
    ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk"),
    ("the same length twice", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok"),
    ("a list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok"),
    ("a length with a sign", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok"),
    ("a negative length", "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok"),
    (
        "length and chunks",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("an encoding besides chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("chunks that are not last", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\nok"),
    ("chunks twice", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a length where no body can be", "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello"),
    ("a folded header", "HTTP/1.1 200 OK\r\nx-a: 1\r\n folded\r\ncontent-length: 0\r\n\r\n"),
    ("a NUL in a header", "HTTP/1.1 200 OK\r\nx-a: 1\x002\r\ncontent-length: 0\r\n\r\n"),
    ("a space before the colon", "HTTP/1.1 200 OK\r\nx-a : 1\r\ncontent-length: 0\r\n\r\n"),
    ("line feeds only", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok\r\n\r\n"),
    ("a line feed after the status line", "HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nok"),
    ("a line feed in a header", "HTTP/1.1 200 OK\r\nx-a: 1\nset-cookie: a=1\r\ncontent-length: 2\r\n\r\nok"),
    ("a line feed for an empty line", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\nok\r\n\r\n"),
    (
        "a second head behind a line feed",
        "HTTP/1.1 200 OK\r\nx-a: 1\n\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
    ),
    ("a carriage return in a header", "HTTP/1.1 200 OK\r\nx-a: 1\rset-cookie: a=1\r\ncontent-length: 2\r\n\r\nok"),
    ("two carriage returns", "HTTP/1.1 200 OK\r\r\ncontent-length: 2\r\n\r\nok"),
    ("an empty line first", "\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("a line feed first", "\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("a blank first", " HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("the end of a body first", "0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("a version in lower case", "http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("version 1.2", "HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("version 2", "HTTP/2 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("the start of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("frames of HTTP/2", "\0\0\0\x04\0\0\0\0\0\r\n\r\n"),
    ("a request", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("two blanks in the status line", "HTTP/1.1  200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("a sign in the status", "HTTP/1.1 +200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("a NUL in the reason", "HTTP/1.1 200 O\0K\r\ncontent-length: 2\r\n\r\nok"),
    ("a DEL in a header", "HTTP/1.1 200 OK\r\nx-a: \x7f\r\ncontent-length: 2\r\n\r\nok"),
    ("a header without a name", "HTTP/1.1 200 OK\r\n: 1\r\ncontent-length: 2\r\n\r\nok"),
    ("a header without a colon", "HTTP/1.1 200 OK\r\nnothing\r\ncontent-length: 2\r\n\r\nok"),
    ("a name in brackets", "HTTP/1.1 200 OK\r\n(a): 1\r\ncontent-length: 2\r\n\r\nok"),
    ("a first line that is folded", "HTTP/1.1 200 OK\r\n content-length: 2\r\n\r\nok"),
    ("an empty length", "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\nok"),
    ("a length in hexadecimal", "HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok"),
    ("a length beyond all numbers", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551618\r\n\r\nok"),
    ("no encoding at all", "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok"),
    (
        "an encoding that is nearly chunked",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("chunks where no body can be", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
];

/// Heads that no table can hold: too much of everything.
fn endless() -> Vec<(&'static str, String)> {
    let head = |lines: String| format!("HTTP/1.1 200 OK\r\n{lines}content-length: 0\r\n\r\n");
    vec![
        ("a header as long as a book", head(format!("x-a: {}\r\n", "b".repeat(70_000)))),
        ("a status line as long as a book", format!("HTTP/1.1 200 {}\r\n\r\n", "O".repeat(70_000))),
        ("a hundred headers too many", head("x-a: b\r\n".repeat(200))),
        ("interim answers without an end", "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000)),
        ("early hints and nothing else", "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n".repeat(1_000)),
        ("a protocol that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n".into()),
    ]
}

#[tokio::test]
async fn r20_an_answer_without_an_end_is_a_502_and_its_connection_is_not_used_again() {
    for (what, bytes) in endless() {
        let upstream = Upstream::saying(bytes).await;
        let proxy = Wanted::before(upstream.url()).start().await;
        let mut client = RawClient::connect(proxy.address()).await;
        for round in 1..=2 {
            assert_eq!(client.ask(GET).await.status, 502, "{what}");
            assert_eq!(upstream.connections(), round, "{what}");
        }
    }
}

/// Bodies whose ends are not where they say: what came of them before may have been handed on, an end may not.
const HOSTILE_CHUNKS: [&str; 14] = [
    "2\nok\r\n0\r\n\r\n",
    "2\r\nok\n0\r\n\r\n",
    "2\r\nok\r\n0\n\r\n",
    "2\r\nokk\r\n0\r\n\r\n",
    "3\r\nok\r\n0\r\n\r\n",
    "+2\r\nok\r\n0\r\n\r\n",
    "-2\r\nok\r\n0\r\n\r\n",
    "0x2\r\nok\r\n0\r\n\r\n",
    " 2\r\nok\r\n0\r\n\r\n",
    "\r\nok\r\n0\r\n\r\n",
    ";a\r\nok\r\n0\r\n\r\n",
    "2;a\nb\r\nok\r\n0\r\n\r\n",
    "10000000000000002\r\nok\r\n0\r\n\r\n",
    "2\r\nok\r\n0\r\nno trailer\r\n\r\n",
];

#[tokio::test]
async fn r20_chunks_that_end_nowhere_end_nowhere_at_the_client_too() {
    for chunks in HOSTILE_CHUNKS {
        let upstream = Upstream::saying(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
        let proxy = Wanted::before(upstream.url()).start().await;
        for round in 1..=2 {
            let mut client = RawClient::connect(proxy.address()).await;
            client.send(GET).await;
            let rest = show(&client.read_to_end().await);
            let is_whole = rest.ends_with("0\r\n\r\n") && rest.starts_with("HTTP/1.1 200");
            assert!(!is_whole, "{chunks:?} came as {rest:?}");
            assert_eq!(upstream.connections(), round, "{chunks:?}");
        }
    }
}

#[tokio::test]
async fn r20_what_comes_before_a_request_is_never_taken_for_its_answer() {
    const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let (said, mut wait) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::raw(move |mut connection, _| {
        let said = said.clone();
        async move {
            while connection.head().await.is_some() {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood").await;
                connection.send(POISON).await;
                said.send(()).await.expect("wanted");
            }
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    for _ in 0..100 {
        let answer = client.ask(GET).await;
        match answer.status {
            200 => {
                assert_eq!(show(&answer.body), "good");
                soon("the poison to be there", wait.recv()).await.expect("said");
            }
            // It came just when the request was to be sent.
            status => assert_eq!((status, answer.json()["code"].as_str()), (502, Some("upstream_broken"))),
        }
    }
}

#[tokio::test]
async fn r20_an_answer_to_head_has_no_body_whatever_it_says_and_what_follows_is_nobodys() {
    let upstream = Upstream::raw(|mut connection, index| async move {
        while let Some(head) = connection.head().await {
            let body =
                if head.starts_with("HEAD") { "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison" } else { "good" };
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-index: {index}\r\n\r\n{body}")).await;
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("HEAD / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    assert_eq!(client.head().await.header("content-length"), Some("4"));
    let answer = client.ask(GET).await;
    assert_eq!((show(&answer.body), answer.header("x-index")), ("good".to_owned(), Some("1")));
}

#[tokio::test]
async fn r126_cookies_come_as_they_were_sent_one_by_one_and_in_order() {
    let lines =
        ["a=1; path=/", "b=2", "a=1; path=/", "a=3; path=/x; expires=Wed, 21 Oct 2026 07:28:00 GMT", "c=\u{fc}, d=4"];
    let head: String =
        lines.iter().enumerate().map(|(at, line)| format!("Set-Cookie: {line}\r\nx-{at}: y\r\n")).collect();
    let upstream = Upstream::saying(format!("HTTP/1.1 200 OK\r\n{head}content-length: 0\r\n\r\n")).await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let answer = RawClient::connect(proxy.address()).await.ask(GET).await;
    assert_eq!(answer.all("set-cookie"), lines);
}

#[tokio::test]
async fn r20_a_bad_answer_is_a_502_and_its_connection_is_not_used_again() {
    for (what, bytes) in HOSTILE {
        let upstream = Upstream::saying_and_closing(bytes).await;
        let proxy = Wanted::before(upstream.url()).start().await;
        let mut client = RawClient::connect(proxy.address()).await;
        for round in 1..=2 {
            let answer = client.ask(GET).await;
            assert_eq!((answer.status, answer.json()["code"].as_str()), (502, Some("upstream_broken")), "{what}");
            assert_eq!(upstream.connections(), round, "{what}");
        }
    }
}

#[tokio::test]
async fn r20_a_bad_answer_over_a_connection_that_stays_open_is_a_502_too() {
    let complete = HOSTILE.iter().filter(|(_, bytes)| bytes.contains("\r\n\r\n"));
    for (what, bytes) in complete {
        let upstream = Upstream::saying(*bytes).await;
        let proxy = Wanted::before(upstream.url()).start().await;
        let mut client = RawClient::connect(proxy.address()).await;
        for round in 1..=2 {
            assert_eq!(client.ask(GET).await.status, 502, "{what}");
            assert_eq!(upstream.connections(), round, "{what}");
        }
    }
}

#[tokio::test]
async fn r20_a_head_without_an_end_is_a_502_before_it_fills_the_memory() {
    let upstream = Upstream::raw(|mut connection, _| async move {
        connection.head().await.expect("a head");
        connection.send("HTTP/1.1 200 OK\r\n").await;
        for _ in 0..64 {
            connection.send(format!("x-{}: {}\r\n", "a".repeat(50), "b".repeat(4000))).await;
        }
        connection.stall().await;
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    assert_eq!(RawClient::connect(proxy.address()).await.ask(GET).await.status, 502);
}

#[tokio::test]
async fn r20_what_follows_an_answer_unasked_is_never_taken_for_the_next_answer() {
    let upstream = Upstream::raw(|mut connection, index| async move {
        while connection.head().await.is_some() {
            let poison = if index == 0 { "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison" } else { "" };
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood{poison}")).await;
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    for _ in 0..3 {
        assert_eq!(show(&client.ask(GET).await.body), "good");
    }
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_at_the_client_too() {
    for (bytes, sees) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "half"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", "4\r\nhalf\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n", "4\r\nhalf\r\n"),
    ] {
        let upstream = Upstream::saying_and_closing(bytes).await;
        let proxy = Wanted::before(upstream.url()).start().await;
        let mut client = RawClient::connect(proxy.address()).await;
        client.send(GET).await;
        assert_eq!(client.head().await.status, 200);
        let rest = client.read_to_end().await;
        assert!(sees.starts_with(&show(&rest)), "no end is made up: {:?}", show(&rest));
    }
}

#[tokio::test]
async fn a_reset_instead_of_an_answer_is_a_502() {
    let upstream = Upstream::raw(|mut connection, _| async move {
        connection.head().await.expect("a head");
        connection.reset();
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    assert_eq!(RawClient::connect(proxy.address()).await.ask(GET).await.status, 502);
    assert_eq!(upstream.connections(), 1, "a request that was sent is not sent again");
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_has_closed_costs_no_request() {
    let (closed, mut wait) = tokio::sync::mpsc::channel::<()>(1);
    let upstream = Upstream::raw(move |mut connection, index| {
        let closed = closed.clone();
        async move {
            connection.head().await.expect("a head");
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{index}")).await;
            drop(connection);
            closed.send(()).await.expect("wanted");
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    for round in 0..5 {
        assert_eq!(show(&client.ask(GET).await.body), round.to_string());
        soon("the upstream to close", wait.recv()).await.expect("closed");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let (gone, mut given_up) = tokio::sync::mpsc::channel(1);
    let (arrived, mut here) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::raw(move |mut connection, _| {
        let (gone, arrived) = (gone.clone(), arrived.clone());
        async move {
            connection.head().await.expect("a head");
            arrived.send(()).await.expect("wanted");
            connection.closed().await;
            gone.send(()).await.expect("wanted");
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send(GET).await;
    soon("the request", here.recv()).await.expect("there");
    drop(client);
    soon("the request to be given up", given_up.recv()).await.expect("closed");
}

#[tokio::test]
async fn r11_an_answer_before_the_body_was_read_never_makes_the_body_a_request() {
    let upstream = Upstream::raw(|mut connection, _| async move {
        let head = connection.head().await.expect("a head");
        let body = if head.starts_with("POST") { "early" } else { "other" };
        connection
            .send(format!("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 5\r\n\r\n{body}"))
            .await;
        connection.stall().await;
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 100000\r\n\r\n").await;
    let early = client.answer().await;
    assert_eq!((early.status, show(&early.body)), (413, "early".to_owned()));
    // If the connection is still open, these are 34 bytes of the body that was announced, and no request.
    client.send("GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.finish().await;
    let rest = client.read_to_end().await;
    assert!(!show(&rest).contains("other"), "{}", show(&rest));
    assert!(!upstream.recorded().iter().any(|bytes| bytes.starts_with(b"GET /smuggled")));
}

#[tokio::test]
async fn r11_a_body_that_breaks_off_behind_an_early_answer_ends_both_and_the_connection_is_not_used_again() {
    for (framing, part) in [("content-length: 100", "half"), ("transfer-encoding: chunked", "4\r\nhalf\r\n")] {
        let (gone, mut given_up) = tokio::sync::mpsc::channel(1);
        let upstream = Upstream::raw(move |mut connection, _| {
            let gone = gone.clone();
            async move {
                if connection.head().await.expect("a head").starts_with("GET") {
                    return connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother").await;
                }
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
                connection.closed().await;
                gone.send(()).await.expect("wanted");
            }
        })
        .await;
        let bounds = EdgeBounds { workers: 1, ..Wanted::before("http://127.0.0.1:1").bounds };
        let proxy = Wanted { bounds, ..Wanted::before(upstream.url()) }.start().await;
        let mut client = RawClient::connect(proxy.address()).await;
        client.send(format!("POST / HTTP/1.1\r\nhost: app\r\n{framing}\r\n\r\n{part}")).await;
        assert_eq!(client.head().await.status, 200);
        assert_eq!(client.read_exactly(5).await, b"hello");
        client.finish().await;
        soon("the request to be given up", given_up.recv()).await.expect("closed");
        assert_eq!(client.read_to_end().await, b"");
        assert_eq!(RawClient::connect(proxy.address()).await.ask(GET).await.body, b"other");
        let recorded = upstream.recorded();
        assert_eq!(recorded.len(), 2);
        assert!(recorded[0].ends_with(part.as_bytes()), "{}", show(&recorded[0]));
    }
}

#[tokio::test]
async fn a_body_reaches_the_upstream_whole_although_its_answer_came_before_and_has_none() {
    let (done, mut whole) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::raw(move |mut connection, _| {
        let done = done.clone();
        async move {
            connection.head().await.expect("a head");
            connection.read_exactly(5).await.expect("a part");
            connection.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            done.send(connection.read_exactly(5).await).await.expect("wanted");
        }
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = RawClient::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 10\r\n\r\nfirst").await;
    assert_eq!(client.head().await.status, 204);
    client.send("later").await;
    assert_eq!(soon("the rest", whole.recv()).await.expect("an end"), Some(b"later".to_vec()));
}

#[tokio::test]
async fn the_classes_of_answers_are_counted() {
    let upstream = Upstream::app(|request| async move {
        let mut response = answer("");
        *response.status_mut() = request.uri().path()[1..].parse::<StatusCode>().expect("a status");
        response
    })
    .await;
    let proxy = Wanted::before(upstream.url()).start().await;
    let mut client = HttpClient::h1(proxy.address()).await;
    for status in [200, 201, 302, 404, 500, 503] {
        assert_eq!(client.ask(get(&format!("/{status}"))).await.status(), status);
    }
    let counted = ["2xx", "3xx", "4xx", "5xx"].map(|class| forwarded(&proxy, class).unwrap_or_default());
    assert_eq!(counted, ["2", "1", "1", "2"]);
}
