//! Raw HTTP/1 streams: what the scanner passes is of the grammar, means the same to a reader of our own and to hyper, and does not
//! depend on how the stream was cut (R1-R5, R15, R21).

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::{Input, SHIPPED};
use crate::http::framing::{HeadRules, Scanned, Scanner, Then};
use crate::http::gate::{GatePolicy, MAX_HEADER_LINES};
use crate::http::path::PathPolicy;

/// A byte for the rules, one for the cuts; then what a client sends.
pub fn framing(data: &[u8]) {
    let mut input = Input(data);
    let small = HeadRules { head_bytes: 96, uri_bytes: 24, paths: PathPolicy::Strict };
    let shipped = HeadRules::new(&SHIPPED.edge.bounds, GatePolicy::default());
    let rules = input.of(&[shipped, HeadRules { paths: PathPolicy::Tolerant, ..shipped }, small]);
    let cut = usize::from(input.byte()) + 1;
    let stream = input.0;

    let whole = scanned(stream, stream.len().max(1), rules);
    for length in [1, cut] {
        assert_eq!(scanned(stream, length, rules), whole, "cut into pieces of {length} it is judged otherwise");
    }
    let messages = Walk { stream, whole, rules, at: 0, messages: Vec::new() }.all();
    hyper_agrees(stream.get(..whole.passed).expect("no more than there is"), &messages);
}

/// The verdict on a stream that arrives in pieces of one length, counted from its beginning.
fn scanned(stream: &[u8], length: usize, rules: HeadRules) -> Scanned {
    let mut scanner = Scanner::new(rules);
    let (mut at, mut passed, mut then) = (0, 0, Then::More);
    for piece in stream.chunks(length) {
        let scanned = scanner.feed_all(piece);
        assert!(scanned.passed <= piece.len());
        if scanned.passed > 0 {
            passed = at + scanned.passed;
        }
        then = scanned.then;
        if then != Then::More {
            assert_eq!(scanner.feed(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), Scanned { passed: 0, then }, "it was over");
            break;
        }
        at += piece.len();
    }
    Scanned { passed, then }
}

/// A request as a reader of the specification sees it.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    method: String,
    target: Vec<u8>,
    /// Names in lower case.
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// Whether the body was there to its end.
    whole: bool,
}

impl Message {
    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_slice()).collect()
    }
}

/// How a body is framed.
#[derive(Clone, Copy)]
enum Framed {
    Length(u64),
    Chunked,
}

/// What a reader of the specification thinks of a head.
enum Verdict {
    /// It has to be refused.
    Wrong,
    /// It may be refused, for a limit or for taste.
    Right(Message, Framed),
    /// Nobody may refuse it.
    Plain(Message, Framed),
}

/// A second reader, which knows the verdict of the first and checks it message by message.
struct Walk<'a> {
    stream: &'a [u8],
    whole: Scanned,
    rules: HeadRules,
    at: usize,
    messages: Vec<Message>,
}

impl Walk<'_> {
    fn all(mut self) -> Vec<Message> {
        while self.next() {}
        self.messages
    }

    fn rest(&self) -> &[u8] {
        self.stream.get(self.at..).unwrap_or_default()
    }

    fn is_refused(&self) -> bool {
        matches!(self.whole.then, Then::Refused { .. }) && self.whole.passed == self.at
    }

    /// Reads one message; whether there may be another.
    fn next(&mut self) -> bool {
        let rest = self.rest();
        let blank = if rest.starts_with(b"\r\n") { 2 } else { 0 };
        let Some(end) = rest.get(blank..).and_then(|rest| rest.windows(4).position(|four| four == b"\r\n\r\n")) else {
            let held_back = self.whole.then == Then::More && self.whole.passed == self.at;
            assert!(held_back || self.is_refused(), "{:?} without a whole head", self.whole);
            return false;
        };
        let head = rest.get(blank..blank + end).unwrap_or_default();
        let after = self.at + blank + end + 4;
        let (message, framed) = match judged(head, self.rules) {
            Verdict::Wrong => {
                assert!(self.is_refused(), "{:?} on {}", self.whole, head.escape_ascii());
                return false;
            }
            Verdict::Right(_, _) if self.whole.passed < after => {
                assert!(self.is_refused(), "{:?} on {}", self.whole, head.escape_ascii());
                return false;
            }
            Verdict::Right(message, framed) | Verdict::Plain(message, framed) => (message, framed),
        };
        assert!(self.whole.passed >= after, "{:?} on {}", self.whole, head.escape_ascii());
        self.at = after;
        self.body(message, framed)
    }

    fn body(&mut self, mut message: Message, framed: Framed) -> bool {
        let upgrades = message.values("upgrade").iter().any(|value| value.eq_ignore_ascii_case(b"websocket"));
        let (taken, goes_on) = match framed {
            // What follows is not HTTP until the WebSocket is granted or refused.
            Framed::Length(0) if upgrades && self.whole.then == Then::Waiting && self.whole.passed == self.at => {
                (0, false)
            }
            Framed::Length(length) => {
                let rest = self.rest();
                let here = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
                message.body = rest.get(..here).unwrap_or_default().to_vec();
                message.whole = here as u64 == length;
                assert!(self.whole.passed >= self.at + here, "{:?} in a body", self.whole);
                (here, message.whole)
            }
            Framed::Chunked => {
                let chunks = chunks(self.stream.get(self.at..self.whole.passed).unwrap_or_default());
                let broken = matches!(self.whole.then, Then::Broken(_));
                match chunks {
                    Chunks::Whole(data, length) => {
                        (message.body, message.whole) = (data, true);
                        (length, true)
                    }
                    Chunks::Begun(data) => {
                        message.body = data;
                        message.whole = false;
                        assert!(broken || (self.whole.then == Then::More && self.whole.passed == self.stream.len()));
                        (self.whole.passed - self.at, false)
                    }
                    Chunks::Wrong => panic!("{:?}: passed what are no chunks", self.whole),
                }
            }
        };
        self.at += taken;
        self.messages.push(message);
        goes_on
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A head without its empty line (RFC 9112, sections 2 to 6).
fn judged(head: &[u8], rules: HeadRules) -> Verdict {
    let text = head.split(|byte| *byte == b'\r').collect::<Vec<_>>();
    let lines: Vec<&[u8]> = text
        .iter()
        .enumerate()
        .map(|(at, line)| if at == 0 { line } else { line.get(1..).unwrap_or_default() })
        .collect();
    let ends = text.iter().skip(1).all(|line| line.starts_with(b"\n"));
    if !ends || lines.iter().any(|line| line.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)) {
        return Verdict::Wrong;
    }
    let Some((request, fields)) = lines.split_first() else { return Verdict::Wrong };
    let words: Vec<&[u8]> = request.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words.as_slice() else { return Verdict::Wrong };
    if method.is_empty() || !method.iter().copied().all(is_token) || target.is_empty() || target.contains(&b'#') {
        return Verdict::Wrong;
    }
    let old = match *version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Verdict::Wrong,
    };
    let mut message = Message {
        method: String::from_utf8_lossy(method).into_owned(),
        target: target.to_vec(),
        fields: Vec::new(),
        body: Vec::new(),
        whole: true,
    };
    for field in fields {
        let Some(colon) = field.iter().position(|byte| *byte == b':') else { return Verdict::Wrong };
        let (name, value) = field.split_at(colon);
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Verdict::Wrong;
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii().to_vec();
        message.fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value));
    }
    let Some(framed) = framed(&message, old) else { return Verdict::Wrong };
    let too_long = head.len() + 4 > rules.head_bytes || target.len() > rules.uri_bytes;
    if too_long || message.fields.len() > MAX_HEADER_LINES {
        return Verdict::Wrong;
    }
    let plain_target = target.starts_with(b"/")
        && target.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(byte));
    let plain_method =
        method.len() <= 20 && method.first().is_some_and(u8::is_ascii_uppercase) && *method != b"CONNECT";
    if plain_target && plain_method { Verdict::Plain(message, framed) } else { Verdict::Right(message, framed) }
}

/// One length, or one coding, or nothing (RFC 9112, section 6.3); one host, but for HTTP/1.0.
fn framed(message: &Message, old: bool) -> Option<Framed> {
    let hosts = message.values("host").len();
    if hosts > 1 || (hosts == 0 && !old) {
        return None;
    }
    match (message.values("content-length").as_slice(), message.values("transfer-encoding").as_slice()) {
        ([], []) => Some(Framed::Length(0)),
        ([length], []) => {
            let digits = str::from_utf8(length).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            digits.filter(|digits| digits.len() < 20)?.parse().ok().map(Framed::Length)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && !old => Some(Framed::Chunked),
        _ => None,
    }
}

/// A chunked body, as far as it was passed.
enum Chunks {
    /// Its data, and how long it is.
    Whole(Vec<u8>, usize),
    /// The data that is there.
    Begun(Vec<u8>),
    Wrong,
}

fn chunks(stream: &[u8]) -> Chunks {
    let (mut data, mut at) = (Vec::new(), 0);
    let line = |at: usize| {
        let rest = stream.get(at..).unwrap_or_default();
        rest.windows(2).position(|pair| pair == b"\r\n").and_then(|end| rest.get(..end))
    };
    loop {
        let Some(size) = line(at) else { return Chunks::Begun(data) };
        let digits = size.split(|byte| *byte == b';').next().unwrap_or_default();
        let hex = str::from_utf8(digits).ok().filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(length) = hex.filter(|hex| hex.len() <= 16).and_then(|hex| u64::from_str_radix(hex, 16).ok()) else {
            return Chunks::Wrong;
        };
        at += size.len() + 2;
        if length == 0 {
            break;
        }
        let rest = stream.get(at..).unwrap_or_default();
        let here = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        data.extend_from_slice(rest.get(..here).unwrap_or_default());
        at += here;
        match rest.get(here..).unwrap_or_default() {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => return Chunks::Begun(data),
            _ => return Chunks::Wrong,
        }
    }
    loop {
        let Some(trailer) = line(at) else { return Chunks::Begun(data) };
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Chunks::Whole(data, at);
        }
    }
}

/// hyper reads the same requests, with the same bodies, and finds nothing to complain of.
fn hyper_agrees(passed: &[u8], messages: &[Message]) {
    let seen: Mutex<Vec<Message>> = Mutex::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let seen = &seen;
        async move {
            let (parts, mut body) = request.into_parts();
            let fields = parts.headers.iter();
            let fields = fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
            let (method, target) = (parts.method.to_string(), parts.uri.to_string().into_bytes());
            let (mut bytes, mut whole) = (Vec::new(), true);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => bytes.extend(frame.into_data().into_iter().flatten()),
                    Err(_) => {
                        whole = false;
                        break;
                    }
                }
            }
            seen.lock().expect("one thread").push(Message { method, target, fields, body: bytes, whole });
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let socket = TokioIo::new(tokio::io::join(passed, tokio::io::sink()));
    let mut builder = http1::Builder::new();
    // The end of the input is no hang-up that would cost the answers to what came before.
    builder.max_headers(MAX_HEADER_LINES).max_buf_size(64 * 1024).half_close(true);
    let mut connection = pin!(builder.serve_connection(socket, service));
    let mut context = Context::from_waker(Waker::noop());
    // hyper lets others have a turn now and then. Only half a body leaves it waiting for more.
    let served = (0..64 + 8 * messages.len()).find_map(|_| match connection.as_mut().poll(&mut context) {
        Poll::Ready(served) => Some(served),
        Poll::Pending => None,
    });
    assert!(served.is_some() || messages.last().is_some_and(|last| !last.whole), "a slice never waits");
    if let Some(Err(error)) = &served {
        assert!(!error.is_parse(), "passed, and refused by hyper: {error}");
    }
    let seen = std::mem::take(&mut *seen.lock().expect("one thread"));
    assert!(seen.len() <= messages.len(), "hyper sees {} requests in {}", seen.len(), messages.len());
    for (theirs, ours) in seen.iter().zip(messages) {
        assert_eq!(theirs.method, ours.method);
        assert_eq!(sorted(&theirs.fields), sorted(&ours.fields));
        assert_eq!(theirs.whole, ours.whole);
        if ours.whole {
            assert_eq!(theirs.body, ours.body, "hyper sees another body");
        } else {
            assert!(ours.body.starts_with(&theirs.body), "hyper sees another body");
        }
        if ours.target.starts_with(b"/") {
            assert_eq!(theirs.target, ours.target);
        }
    }
    // A connection may end with a request that says so, and nobody answers one that broke off; else everything is read.
    let ends = |message: &Message| !message.values("connection").is_empty() || !message.values("upgrade").is_empty();
    let is_old = passed.windows(8).any(|word| word == b"HTTP/1.0");
    let whole = messages.iter().filter(|message| message.whole).count();
    if seen.len() < whole && !is_old {
        assert!(
            messages.get(..seen.len()).is_some_and(|read| read.iter().any(ends)),
            "hyper reads {} of {whole}: {served:?}",
            seen.len()
        );
    }
}

fn sorted(fields: &[(String, Vec<u8>)]) -> Vec<&(String, Vec<u8>)> {
    let mut sorted: Vec<_> = fields.iter().collect();
    // The order among lines of one name is kept.
    sorted.sort_by_key(|(name, _)| name);
    sorted
}
