//! The upstream of these tests: it holds every byte that it gets to the canonical grammar, and tells in its answer what it
//! took the request for, so that a client sees whether it got its own answer.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::grammar::{self, Head, show};

/// A request as it came.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Head { method, target, framing, .. } = &self.head;
        write!(f, "{method} {target} {framing:?} {:?}", show(&self.body))?;
        self.head.headers.iter().try_for_each(|(name, value)| write!(f, " [{name}: {}]", value.escape_ascii()))
    }
}

/// What the recorder has found. Shared with whoever asks.
#[derive(Default)]
pub(super) struct Findings {
    /// What must never happen, in words.
    violations: Mutex<Vec<String>>,
    /// Whole requests, where they are kept.
    seen: Mutex<Vec<Seen>>,
    /// Heads whose bodies broke off.
    pub(super) cut: AtomicU64,
    /// Whole requests.
    pub(super) whole: AtomicU64,
    keep: bool,
}

/// The header that says which case a request is, and by its first word what may become of it.
pub(super) const CASE: &str = "x-case";
/// The header of an answer that says what the recorder took the request for.
pub(super) const ECHO: &str = "x-echo";

impl Findings {
    pub(super) fn violation(&self, text: String) {
        let mut violations = self.violations.lock().expect("no panic holds it");
        // The first ones tell enough.
        if violations.len() < 20 {
            violations.push(text);
        }
    }

    /// All violations so far.
    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().expect("no panic holds it").clone()
    }

    /// The requests since the last call.
    pub(super) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().expect("no panic holds it"))
    }
}

/// A running recorder, until it is dropped.
pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    pub(super) findings: Arc<Findings>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Recorder {
    /// Keeps all requests, for cases that are sent one after the other.
    pub(super) async fn keeping() -> Self {
        Self::start(true).await
    }

    /// Keeps none, for more cases than fit in memory; each says itself what may become of it.
    pub(super) async fn counting() -> Self {
        Self::start(false).await
    }

    async fn start(keep: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let findings = Arc::new(Findings { keep, ..Findings::default() });
        let shared = findings.clone();
        let accepting = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                stream.set_nodelay(true).expect("a live socket");
                serving.spawn(serve(stream, shared.clone()));
                while serving.try_join_next().is_some() {}
            }
        });
        Self { address, findings, accepting }
    }
}

async fn serve(mut stream: TcpStream, findings: Arc<Findings>) {
    let mut buffer = Vec::with_capacity(32 * 1024);
    loop {
        match request(&mut stream, &mut buffer, &findings).await {
            Ok(Some(answer)) => {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(what) => {
                findings.violation(format!("{what}; at the upstream: {}", show(&buffer)));
                return;
            }
        }
    }
}

/// The next request and its answer; none when the connection ends where it may.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>, findings: &Findings) -> Result<Option<String>, String> {
    let mut read: Option<(Head, String)> = None;
    loop {
        if read.is_none()
            && let Some(head) = grammar::head(buffer)?
        {
            let case = label(&head, findings.keep)?;
            read = Some((head, case));
        }
        if let Some((head, case)) = &read
            && let Some((body, length)) = grammar::body(head.framing, &buffer[head.length..])?
        {
            if case.starts_with("cut") {
                return Err(format!("{case} is whole"));
            }
            let answer = answer(head, case, &body);
            buffer.drain(..head.length + length);
            findings.whole.fetch_add(1, Ordering::Relaxed);
            if findings.keep {
                let seen = Seen { head: head.clone(), body };
                findings.seen.lock().expect("no panic holds it").push(seen);
            }
            return Ok(Some(answer));
        }
        if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
            return match read {
                Some(_) => {
                    findings.cut.fetch_add(1, Ordering::Relaxed);
                    Ok(None)
                }
                None if buffer.is_empty() => Ok(None),
                None => Err("half a head".into()),
            };
        }
    }
}

/// Which case a request is. A canary is none, and a case that must be refused must not come at all.
fn label(head: &Head, any: bool) -> Result<String, String> {
    if head.target.contains("/canary") {
        return Err("SMUGGLED".into());
    }
    let case = head.only(CASE)?.map(|case| String::from_utf8_lossy(case).into_owned());
    match case {
        None if any => Ok("corpus".into()),
        None => Err("a request that nobody sent".into()),
        Some(case) if case.starts_with("pass-") || case.starts_with("may-") || case.starts_with("cut-") => Ok(case),
        Some(case) => Err(format!("{case} should not be here")),
    }
}

fn answer(head: &Head, case: &str, body: &[u8]) -> String {
    let mut answer = String::with_capacity(200);
    answer.push_str("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n");
    let echo = echo(case, &head.method, &head.target, body);
    let _never_fails = write!(answer, "{ECHO}: {echo}\r\n\r\n");
    answer
}

/// What a request is taken for, in one line.
pub(super) fn echo(case: &str, method: &str, target: &str, body: &[u8]) -> String {
    // FNV-1a: fast, and nobody attacks it here.
    let hash = body
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{case} {method} {} {hash:x} {target}", body.len())
}
