//! hyper behind the guard, polled only when it was woken: however the bytes come and whenever the answers do, every request is answered
//! in its turn, and a client that leaves is noticed whatever it has sent.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::task::{Wake, Waker};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use prometheus_client::metrics::gauge::Gauge;
use proptest::prelude::*;
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;

use super::super::connection::{InFlight, Roster};
use super::super::parking::Http1;
use super::super::path::PathPolicy;
use super::super::places::tests::places;
use super::*;
use crate::net::body::StreamError;

const RULES: HeadRules = HeadRules { head_bytes: 16 * 1024, uri_bytes: 8 * 1024, paths: PathPolicy::Strict };

/// Whether somebody was woken.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An answer whose head and whose body have to be allowed, each on its own.
struct Staged {
    allowed: Option<BoxFuture<'static, ()>>,
    content: Option<Bytes>,
    _under_way: InFlight,
}

impl Body for Staged {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if let Some(allowed) = &mut self.allowed {
            ready!(allowed.as_mut().poll(cx));
            self.allowed = None;
        }
        Poll::Ready(self.content.take().map(|content| Ok(Frame::data(content))))
    }
}

/// A client, and the connection that it has.
struct Wire {
    client: DuplexStream,
    serving: BoxFuture<'static, hyper::Result<()>>,
    woken: Arc<Woken>,
    allowed: Arc<Semaphore>,
    /// The requests that were handled.
    handled: Arc<Mutex<usize>>,
    ended: bool,
    answers: Vec<u8>,
}

impl Wire {
    /// With so much room in each direction.
    fn new(room: usize) -> Self {
        let (client, server) = tokio::io::duplex(room);
        let place = places(1, 1).take().expect("a place");
        let connection = Connection::new(None, None, false, &Roster::new(), place);
        let (allowed, handled) = (Arc::new(Semaphore::new(0)), Arc::<Mutex<usize>>::default());
        let (gate, count) = (allowed.clone(), handled.clone());
        let serving = async move {
            let mut socket = Box::new(Watched::new(server, connection.clone()));
            let framing = socket.guard(RULES);
            let told = framing.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let under_way = connection.in_flight();
                told.answers();
                *count.lock().expect("one thread") += 1;
                answer(request, gate.clone(), under_way).map(Ok::<_, Infallible>)
            });
            let mut builder = http1::Builder::new();
            builder.header_read_timeout(None);
            Http1 { builder: &builder, framing: &framing, parked: &Gauge::default() }.serve(socket, service).await
        };
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let (serving, answers) = (Box::pin(serving), Vec::new());
        Self { client, serving, woken, allowed, handled, ended: false, answers }
    }

    /// Polls the connection for as long as it has been woken.
    fn run(&mut self) {
        let waker = Waker::from(self.woken.clone());
        while self.woken.0.swap(false, Ordering::Relaxed) && !self.ended {
            self.ended = self.serving.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        }
    }

    /// Sends as much as there is room for; how much it was.
    fn send(&mut self, bytes: &[u8]) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let sent = match Pin::new(&mut self.client).poll_write(&mut cx, bytes) {
            Poll::Ready(sent) => sent.expect("it listens"),
            Poll::Pending => 0,
        };
        self.run();
        sent
    }

    fn allow(&mut self, parts: usize) {
        self.allowed.add_permits(parts);
        self.run();
    }

    /// Takes some of the answers.
    fn read(&mut self, most: usize) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut space = vec![0; most];
        let mut space = ReadBuf::new(&mut space);
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.client).poll_read(&mut cx, &mut space) {
            self.answers.extend_from_slice(space.filled());
        }
        self.run();
    }

    fn handled(&self) -> usize {
        *self.handled.lock().expect("one thread")
    }
}

async fn answer(request: Request<Incoming>, gate: Arc<Semaphore>, under_way: InFlight) -> Response<Staged> {
    let target = request.uri().to_string();
    #[expect(clippy::disallowed_methods, reason = "a test's own bodies are small")]
    let Ok(body) = request.into_body().collect().await.map(|body| body.to_bytes()) else {
        // It broke off: as the app, nobody goes on.
        return Response::new(Staged { allowed: None, content: None, _under_way: under_way });
    };
    let allowed = |gate: Arc<Semaphore>| async move { gate.acquire().await.expect("open").forget() };
    allowed(gate.clone()).await;
    let content = format!("<{target} {}>", body.escape_ascii());
    Response::new(Staged { allowed: Some(allowed(gate).boxed()), content: Some(content.into()), _under_way: under_way })
}

/// A request, and how it is answered.
fn request(number: usize, kind: usize) -> (String, String) {
    let line = |method: &str| format!("{method} /{number} HTTP/1.1\r\nhost: a\r\n");
    match kind {
        0 => (format!("{}\r\n", line("GET")), format!("</{number} >")),
        1 => (format!("{}content-length: 5\r\n\r\nhello", line("POST")), format!("</{number} hello>")),
        2 => (
            format!("{}transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\na: b\r\n\r\n", line("POST")),
            format!("</{number} hello>"),
        ),
        _ => (format!("\r\n{}\r\n", line("GET")), format!("</{number} >")),
    }
}

fn requests(kinds: &[usize]) -> (String, Vec<String>) {
    kinds.iter().enumerate().map(|(number, kind)| request(number, *kind)).unzip()
}

fn entered() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// What happens next on the wire.
#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    Allow,
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_usize..200).prop_map(Step::Send),
        1 => Just(Step::Send(4096)),
        3 => Just(Step::Allow),
        2 => (1_usize..300).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 0..40)
}

/// Takes the steps; how much of the stream was sent.
fn walk(wire: &mut Wire, stream: &[u8], steps: &[Step]) -> usize {
    let mut sent = 0;
    for step in steps {
        match *step {
            Step::Send(most) => sent += wire.send(&stream[sent..stream.len().min(sent + most)]),
            Step::Allow => wire.allow(1),
            Step::Read(most) => wire.read(most),
        }
    }
    sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_request_is_answered_in_its_turn_however_bytes_and_answers_come(
        kinds in prop::collection::vec(0_usize..4, 1..12),
        steps in steps(),
        room in prop_oneof![1_usize..100, Just(64 * 1024)],
    ) {
        let _runtime = entered();
        let _entered = _runtime.enter();
        let (stream, expected) = requests(&kinds);
        let mut wire = Wire::new(room);
        wire.run();
        let mut sent = walk(&mut wire, stream.as_bytes(), &steps);
        for _ in 0..stream.len() * 3 + 1000 {
            sent += wire.send(&stream.as_bytes()[sent..]);
            wire.allow(1);
            wire.read(1000);
        }
        prop_assert_eq!((sent, wire.handled()), (stream.len(), kinds.len()), "{:?}", wire.answers.escape_ascii().to_string());
        let answers = String::from_utf8(wire.answers).expect("text");
        let seen: Vec<&str> = answers.split_inclusive('>').filter_map(|part| part.find('<').map(|at| &part[at..])).collect();
        prop_assert_eq!(seen, expected);
        prop_assert!(!wire.ended, "it may bring more");
    }

    #[test]
    fn a_client_that_leaves_is_noticed_whatever_it_has_sent_and_whatever_is_under_way(
        kinds in prop::collection::vec(0_usize..4, 1..12),
        steps in steps(),
        room in prop_oneof![1_usize..100, Just(64 * 1024)],
    ) {
        let _runtime = entered();
        let _entered = _runtime.enter();
        let (stream, _) = requests(&kinds);
        let mut wire = Wire::new(room);
        wire.run();
        walk(&mut wire, stream.as_bytes(), &steps);
        drop(std::mem::replace(&mut wire.client, tokio::io::duplex(1).0));
        wire.run();
        prop_assert!(wire.ended, "{} handled", wire.handled());
    }
}

#[test]
fn one_request_is_answered_at_a_time_and_those_behind_it_come_by_themselves() {
    let _runtime = entered();
    let _entered = _runtime.enter();
    let (stream, expected) = requests(&[0, 1, 2, 3, 0]);
    let mut wire = Wire::new(64 * 1024);
    wire.send(stream.as_bytes());
    for number in 1..=expected.len() {
        assert_eq!(wire.handled(), number);
        wire.allow(1);
        assert_eq!(wire.handled(), number, "its body is missing");
        wire.allow(1);
    }
    wire.read(64 * 1024);
    assert!(expected.iter().all(|answer| wire.answers.windows(answer.len()).any(|part| part == answer.as_bytes())));
}

#[test]
fn what_waits_behind_a_request_is_bounded() {
    let _runtime = entered();
    let _entered = _runtime.enter();
    let (stream, expected) = requests(&[0; 2000]);
    let mut wire = Wire::new(1024);
    let (mut sent, mut more) = (0, true);
    while more {
        let now = wire.send(&stream.as_bytes()[sent..]);
        (sent, more) = (sent + now, now > 0);
    }
    assert!((EARLY_BYTES..EARLY_BYTES + 4 * 1024).contains(&sent), "{sent} bytes went in");
    for _ in &expected {
        sent += wire.send(&stream.as_bytes()[sent..]);
        wire.allow(2);
        wire.read(1024);
    }
    assert_eq!((wire.handled(), sent), (expected.len(), stream.len()));
}
