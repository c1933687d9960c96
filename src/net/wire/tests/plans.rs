//! Whole exchanges where the body, the socket and the answer each do what they like: what the app sees is never anything but the beginning of
//! one request.

use socket2::SockRef;
use tokio::io::AsyncReadExt as _;

use super::super::super::answer::{finish, hand_on};
use super::super::super::body::LeastPace;
use super::super::super::received::Received;
use super::*;

#[tokio::test]
async fn an_answer_whose_task_is_gone_has_broken_off() {
    for left in [None, Some(8)] {
        let (parts, mut body) = streamed(left);
        parts.send(Ok(Bytes::from_static(b"half"))).await.expect("wanted");
        drop(parts);
        assert_eq!(soon(body.frame()).await.expect("a part").expect("no error").into_data().expect("data"), "half");
        assert!(!http_body::Body::is_end_stream(&body));
        assert!(soon(body.frame()).await.expect("not the end").is_err());
        assert!(http_body::Body::is_end_stream(&body) && soon(body.frame()).await.is_none());
    }
}

#[tokio::test]
async fn what_came_before_a_fault_can_be_written_before_it_is_heard_of() {
    for fault in [Some(Fault::Incomplete), None] {
        let (parts, mut body) = streamed(None);
        parts.send(Ok(Bytes::from_static(b"half"))).await.expect("wanted");
        if let Some(fault) = fault {
            parts.send(Err(fault)).await.expect("wanted");
        }
        drop(parts);
        let mut polled = || once(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx));
        assert!(matches!(polled(), Poll::Ready(Some(Ok(_)))));
        assert!(polled().is_pending());
        assert!(matches!(polled(), Poll::Ready(Some(Err(_)))));
    }
}

/// Gives parts of a body until the app, which reads nothing, takes no more.
async fn fill(wire: &mut Wire, parts: &Parts) {
    while !wire.upload.stuck {
        parts.send(Ok(Bytes::from(vec![b'x'; 1000]))).await.expect("wanted");
        assert!(once(|cx| wire.poll_upload(cx)).is_pending());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_body_waits_while_the_app_takes_nothing() {
    let (ours, app) = sockets().await;
    let mut wire = wire_on(Socket::Plain(ours));
    let (parts, upload) = streamed(None);
    wire.begin(request(Method::POST, upload));
    fill(&mut wire, &parts).await;
    let room = parts.0.capacity();
    parts.send(Ok(Bytes::from_static(b"more"))).await.expect("wanted");
    assert!(once(|cx| wire.poll_upload(cx)).is_pending());
    assert_eq!(parts.0.capacity(), room - 1, "it is not asked for while what came before has not gone");
    drop(app);
}

#[tokio::test]
async fn r22_an_app_that_has_answered_and_takes_no_more_of_the_request_is_given_up() {
    let (ours, mut app) = sockets().await;
    let mut wire = wire_on(Socket::Plain(ours));
    let (parts, upload) = streamed(None);
    wire.begin(request(Method::POST, upload));
    app.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("a live socket");
    head(&mut wire).await.expect("a head");
    fill(&mut wire, &parts).await;
    // Nobody else would ever let the connection go, nor the request's body.
    assert!(!soon(finish(&mut wire, Duration::from_millis(90))).await);
    drop(app);
}

/// A client's body of which half has come, in a request that a server has read; and its client.
async fn half_received() -> (ProxyBody, tokio::io::DuplexStream) {
    let (mut client, server) = tokio::io::duplex(1024);
    let (sender, mut requests) = mpsc::channel(1);
    tokio::spawn(async move {
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
            let sender = sender.clone();
            async move {
                sender.send(request).await.expect("wanted");
                std::future::pending::<Result<http::Response<Empty<Bytes>>, std::convert::Infallible>>().await
            }
        });
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service).await
    });
    client.write_all(b"POST / HTTP/1.1\r\ncontent-length: 8\r\n\r\nhalf").await.expect("a live socket");
    let (head, body) = soon(requests.recv()).await.expect("a request").into_parts();
    (ProxyBody::from(Received::new(body, head.version)), client)
}

#[tokio::test]
async fn r22_a_client_that_owes_its_request_to_an_app_that_waits_for_it_is_not_waited_for_for_ever() {
    let (ours, mut app) = sockets().await;
    let mut wire = wire_on(Socket::Plain(ours));
    let (mut upload, _client) = half_received().await;
    upload.watch(LeastPace { patience: Duration::from_millis(10), rate: 1_000_000 }).expect("more to come");
    wire.begin(request(Method::POST, upload));
    app.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await.expect("a live socket");
    soon(head(&mut wire)).await.expect("a head");
    let (sender, mut parts) = mpsc::channel(1);
    // The client's side takes the answer all the while.
    let taking = async { while parts.recv().await.is_some() {} };
    let handing_on = async {
        let ended = hand_on(&mut wire, &sender, Duration::from_millis(90)).await;
        drop(sender);
        ended
    };
    assert!(matches!(soon(async { tokio::join!(handing_on, taking) }).await.0, Err(None)));
}

#[tokio::test]
async fn a_switch_before_the_request_is_there_as_a_whole_is_no_switch() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut app, _) = listener.accept().await.expect("accepted");
            let mut first = [0; 4];
            app.read_exact(&mut first).await.expect("the request");
            app.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.expect("a live socket");
            read_until(&mut app, b"nothing ends so").await;
        });
        address
    };
    let settings = crate::net::ClientSettings {
        connect_timeout: Duration::from_secs(20),
        tls: crate::net::tls::client_config_trusting_nobody().expect("a configuration"),
        max_idle_per_thread: 1,
        idle_timeout: Duration::from_secs(20),
    };
    let target = crate::net::Target::parse(&format!("http://{address}")).expect("a URL");
    let (_parts, upload) = streamed(None);
    let request = Request::post("/").body(upload).expect("a request");
    let answer = soon(crate::net::Client::new(target, settings).send(request)).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert!(answer.into_body().into_switched().is_none());
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Whole,
    Fault,
    Gone,
}

#[derive(Debug, Clone)]
struct Plan {
    parts: Vec<usize>,
    end: End,
    /// Added to what is announced, where that is.
    announced: Option<i64>,
    /// How much the app reads at once; 0 for a pause.
    reads: Vec<usize>,
    /// After how many bytes it answers, with what, and in pieces of which size.
    answers_at: usize,
    answer: &'static str,
    piece: usize,
    /// After how many bytes it closes.
    closes_at: Option<usize>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let length = prop_oneof![1_usize..50, 4000_usize..4200, 10_000_usize..40_000];
    let answer = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nmore than that",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "nonsense\r\n\r\n",
    ]);
    let end = prop::sample::select(vec![End::Whole, End::Whole, End::Whole, End::Fault, End::Gone]);
    let announced = prop::option::of(prop::sample::select(vec![0_i64, 0, 0, 1, -1]));
    let closes_at = prop::option::weighted(0.3, 0_usize..60_000);
    let answers_at = prop_oneof![Just(0), 0_usize..300, 0_usize..100_000, Just(usize::MAX)];
    let reads = prop::collection::vec(prop_oneof![Just(0), 1_usize..40, 1_usize..20_000], 1..8);
    (prop::collection::vec(length, 0..6), end, announced, reads, answers_at, answer, 1_usize..80, closes_at).prop_map(
        |(parts, end, announced, reads, answers_at, answer, piece, closes_at)| Plan {
            parts,
            end,
            announced,
            reads,
            answers_at,
            answer,
            piece,
            closes_at,
        },
    )
}

impl Plan {
    fn announced(&self) -> Option<u64> {
        let all = i64::try_from(self.parts.iter().sum::<usize>()).expect("short");
        self.announced.map(|off| u64::try_from((all + off).max(0)).expect("a length"))
    }

    /// What the app would see of it in the end, and whether that is a whole request.
    fn bytes(&self) -> (Vec<u8>, bool) {
        let mut bytes = b"POST / HTTP/1.1\r\nhost: app\r\n".to_vec();
        let all = self.parts.iter().sum::<usize>() as u64;
        match self.announced() {
            Some(length) => bytes.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes()),
            None => bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n"),
        }
        if self.announced() == Some(0) {
            return (bytes, true);
        }
        for (letter, length) in (b'a'..).zip(&self.parts) {
            match self.announced() {
                Some(_) => bytes.extend(vec![letter; *length]),
                None => {
                    bytes.extend_from_slice(format!("{length:X}\r\n").as_bytes());
                    bytes.extend(vec![letter; *length]);
                    bytes.extend_from_slice(b"\r\n");
                }
            }
        }
        let is_whole = self.end == End::Whole && self.announced().is_none_or(|length| length == all);
        if is_whole && self.announced().is_none() {
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        (bytes, is_whole)
    }

    /// Reads as it likes, and answers; what it has read, when the other side is done.
    async fn app(self, mut app: TcpStream, all: usize) -> Vec<u8> {
        let (mut read, mut answered) = (Vec::new(), false);
        for most in self.reads.iter().chain([&1000]).cycle() {
            if !answered && read.len() >= self.answers_at.min(all) {
                answered = true;
                for piece in self.answer.as_bytes().chunks(self.piece) {
                    if app.write_all(piece).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                if self.answer.ends_with("hel") {
                    // Both would wait for each other.
                    break;
                }
            }
            if self.closes_at.is_some_and(|at| read.len() >= at) {
                break;
            }
            if *most == 0 {
                tokio::task::yield_now().await;
                continue;
            }
            let mut room = vec![0; *most];
            match app.read(&mut room).await {
                Ok(length @ 1..) => read.extend_from_slice(&room[..length]),
                Ok(0) | Err(_) => break,
            }
        }
        read
    }
}

proptest! {
    // Each waits for a window of a few bytes to open again and again.
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn r11_an_app_sees_the_beginning_of_one_request_and_the_next_one_only_behind_a_whole_one(plan in plan()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(soon(async {
            let (ours, app) = sockets().await;
            // So that much has to wait.
            SockRef::from(&ours).set_send_buffer_size(1).expect("a socket");
            SockRef::from(&app).set_recv_buffer_size(1).expect("a socket");
            let (expected, is_whole) = plan.bytes();
            let app = tokio::spawn(plan.clone().app(app, expected.len()));
            let mut wire = wire_on(Socket::Plain(ours));
            let (parts, upload) = streamed(plan.announced());
            wire.begin(request(Method::POST, upload));
            let (lengths, end) = (plan.parts.clone(), plan.end);
            let giving = tokio::spawn(async move {
                for (letter, length) in (b'a'..).zip(lengths) {
                    if parts.send(Ok(vec![letter; length].into())).await.is_err() {
                        return;
                    }
                }
                let _unwanted = match end {
                    End::Whole => parts.0.send(Ok(Relayed::Last(Bytes::new()))).await,
                    End::Fault => parts.0.send(Err(Fault::Incomplete)).await,
                    End::Gone => Ok(()),
                };
            });
            let pool = pool();
            if head(&mut wire).await.is_ok() {
                let mut answer = ProxyBody::arriving(Arriving::new(wire, pool.clone()));
                while let Some(Ok(_)) = answer.frame().await {}
            } else {
                drop(wire);
            }
            let mut again = None;
            while again.is_none() && !app.is_finished() {
                again = pool.take();
                tokio::task::yield_now().await;
            }
            let is_used_again = again.is_some();
            drop(again);
            let seen = app.await.expect("no panic");
            giving.await.expect("no panic");
            prop_assert!(expected.starts_with(&seen), "{:?}", seen.len());
            if is_used_again {
                prop_assert!(is_whole && seen.len() == expected.len(), "{} of {}", seen.len(), expected.len());
            }
            Ok(())
        }))?;
    }
}
