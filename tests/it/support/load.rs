//! Visitors of a proxy, who go on whatever is done to it: requests that are forwarded, logins of known and of new users, downloads, on
//! kept and on fresh connections. Every request that is not answered as it should be is a failure, a kept connection that is
//! closed under a request included.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authferry::net::ProxyBody;
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::client::{HttpClient, whole};
use super::legacy::LegacyDouble;
use super::upstream::{AppBody, Upstream, answer};
use crate::kill::user;

/// Parts of a download, their size, and the pause before each: about a second in all.
const PARTS: usize = 40;
const PART: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(25);
/// What a visitor does between two requests.
const THINKING: Duration = Duration::from_millis(4);
/// How many users are known before the load begins.
const KNOWN: u64 = 16;

/// An app with pages and downloads.
pub(crate) async fn app() -> Upstream {
    Upstream::app(
        async |request: Request<Incoming>| {
            if request.uri().path() == "/download" { download() } else { answer("a page") }
        },
    )
    .await
}

fn download() -> Response<AppBody> {
    let parts = stream::unfold(0, |sent| async move {
        if sent == PARTS {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
        Some((Ok(Frame::data(Bytes::from(vec![b'x'; PART]))), sent + 1))
    });
    let mut response = Response::new(StreamBody::new(parts).boxed());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(PARTS * PART));
    response
}

/// A migration in front of an app and a legacy double, with cheap hashes. `more` comes at the end.
pub(crate) fn config(app: &Upstream, double: &LegacyDouble, more: &str) -> String {
    let (app, legacy) = (app.url(), double.url());
    format!(
        r#"
        [migration]
        mode = "migrate"
        [upstream]
        url = "{app}"
        [legacy]
        url = "{legacy}"
        timeout = "20s"
        {login}
        [[route]]
        name = "login"
        action = "login"
        match = {{ method = "POST", path = "/login" }}
        request = {{ login = "/email", password = "/password" }}
        legacy = "call"
        reply.ok = {{ status = 200, json = '{{"token": {{{{ token | tojson }}}}}}' }}
        reply.denied = {{ status = 401, json = '{{"error": "invalid credentials"}}' }}
        {token}
        [password]
        argon2id = {{ memory = "8MiB", iterations = 1, parallelism = 1 }}
        queue_deadline = "30s"
        [limits]
        per_ip = {{ rate = "100000/1s", burst = 1000000 }}
        per_account = {{ rate = "1000/1s", burst = 1000, count = "failures" }}
        {more}
        "#,
        login = super::configs::CALL_LOGIN,
        token = super::configs::TOKEN,
    )
}

/// What the visitors have seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) pages: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) first_logins: AtomicU64,
    pub(crate) downloads: AtomicU64,
    /// The longest that a login and a page took, in milliseconds.
    pub(crate) slowest_login: AtomicU64,
    pub(crate) slowest_page: AtomicU64,
    failures: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Seen {
    /// All requests that were answered as they should be.
    pub(crate) fn answered(&self) -> u64 {
        [&self.pages, &self.logins, &self.first_logins, &self.downloads]
            .iter()
            .map(|of| of.load(Ordering::SeqCst))
            .sum()
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().expect("no panic").clone()
    }

    fn failed(&self, what: String) {
        self.failures.lock().expect("no panic").push(what);
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }
}

/// The visitors, until [`Load::end`].
pub(crate) struct Load {
    pub(crate) seen: Arc<Seen>,
    visitors: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Connections {
    Kept,
    Fresh,
}

#[derive(Clone, Copy)]
enum Wish {
    Page,
    Login,
    FirstLogin,
    Download,
}

impl Load {
    /// Makes the known users known, and sends the visitors.
    pub(crate) async fn begin(to: SocketAddr, double: &Arc<LegacyDouble>) -> Self {
        let seen = Arc::new(Seen::default());
        for id in 1..=KNOWN {
            double.put_user(user(id));
            let (status, _) = Wire::connect(to)
                .await
                .expect("connected")
                .ask(&login(id, Connections::Fresh))
                .await
                .expect("an answer");
            assert_eq!(status, 200);
        }
        seen.first_logins.store(KNOWN, Ordering::SeqCst);
        let next = Arc::new(AtomicU64::new(1_000));
        let mut visitors = JoinSet::new();
        let (kept, fresh) = (Connections::Kept, Connections::Fresh);
        for (number, (wish, connections)) in [
            (Wish::Page, kept),
            (Wish::Page, kept),
            (Wish::Page, fresh),
            (Wish::Login, kept),
            (Wish::Login, fresh),
            (Wish::FirstLogin, kept),
            (Wish::FirstLogin, fresh),
            (Wish::Download, kept),
            (Wish::Download, fresh),
        ]
        .into_iter()
        .enumerate()
        {
            let (seen, double, next) = (seen.clone(), double.clone(), next.clone());
            visitors.spawn(async move { visit(to, wish, connections, number as u64, &seen, &double, &next).await });
        }
        let by_http2 = seen.clone();
        visitors.spawn(async move { visit_by_http2(to, &by_http2).await });
        Self { seen, visitors }
    }

    /// Waits until so many more requests were answered.
    pub(crate) async fn until_more(&self, more: u64) {
        let wanted = self.seen.answered() + more;
        while self.seen.answered() < wanted && self.seen.failures().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets every visitor finish his request.
    pub(crate) async fn end(mut self) -> Arc<Seen> {
        self.seen.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.visitors.join_next().await {
            ended.expect("a visitor does not panic");
        }
        self.seen
    }
}

async fn visit(
    to: SocketAddr,
    wish: Wish,
    connections: Connections,
    number: u64,
    seen: &Seen,
    double: &LegacyDouble,
    next: &AtomicU64,
) {
    let mut kept: Option<Wire> = None;
    let mut turn = number;
    while seen.goes_on() {
        turn += 1;
        let (what, request, count, slowest) = match wish {
            Wish::Page => ("a page", get("/page", connections), &seen.pages, Some(&seen.slowest_page)),
            Wish::Login => ("a login", login(turn % KNOWN + 1, connections), &seen.logins, Some(&seen.slowest_login)),
            Wish::FirstLogin => {
                let id = next.fetch_add(1, Ordering::SeqCst);
                double.put_user(user(id));
                ("a first login", login(id, connections), &seen.first_logins, Some(&seen.slowest_login))
            }
            Wish::Download => ("a download", get("/download", connections), &seen.downloads, None),
        };
        let begun = tokio::time::Instant::now();
        let wire = match kept.take().filter(Wire::is_open) {
            Some(wire) => Ok(wire),
            None => Wire::connect(to).await,
        };
        let answered = match wire {
            Ok(mut wire) => wire.ask(&request).await.map(|(status, body)| (wire, status, body)),
            Err(why) => Err(why),
        };
        match answered {
            Ok((wire, 200, body)) if !matches!(wish, Wish::Download) || body == PARTS * PART => {
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(slowest) = slowest {
                    slowest.fetch_max(
                        u64::try_from(begun.elapsed().as_millis()).expect("not that long"),
                        Ordering::SeqCst,
                    );
                }
                kept = (connections == Connections::Kept && !wire.last).then_some(wire);
            }
            Ok((_, status, body)) => seen.failed(format!("{what}: status {status}, {body} bytes")),
            Err(why) => seen.failed(format!("{what}: {why}")),
        }
        tokio::time::sleep(THINKING).await;
    }
}

/// Pages and logins in turn over one connection, and over another one when that has gone.
async fn visit_by_http2(to: SocketAddr, seen: &Seen) {
    let mut client = HttpClient::h2(to).await;
    let mut turn = 0;
    while seen.goes_on() {
        turn += 1;
        let page = turn % 4 != 0;
        let request = if page {
            Request::get("http://app/page").body(ProxyBody::empty())
        } else {
            let body = login_body(turn % KNOWN + 1);
            let request = Request::post("http://app/login").header("content-type", "application/json");
            request.body(ProxyBody::full(Bytes::from(body)))
        };
        let count = if page { &seen.pages } else { &seen.logins };
        match client.start(request.expect("a request")).await {
            Ok(response) if response.status() == 200 => {
                whole(response.into_body()).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(response) => seen.failed(format!("HTTP/2: status {}", response.status())),
            // Never sent: the connection had been told to go away. The same request again, on another.
            Err(error) if error.is_canceled() || error.is_closed() => {
                client = HttpClient::h2(to).await;
                turn -= 1;
            }
            // Sent, and not taken: a GOAWAY without an error names the last request that is, and a client sends what comes after it
            // again (RFC 9113, section 8.7). hyper leaves that to its caller.
            Err(error) if is_goaway_without_error(&error) => {
                client = HttpClient::h2(to).await;
                turn -= 1;
            }
            Err(error) => seen.failed(format!("HTTP/2: {error:?}")),
        }
        tokio::time::sleep(THINKING).await;
    }
}

/// A request that was taken ends in another error if its connection breaks. The error's type is not hyper's own to tell.
fn is_goaway_without_error(error: &hyper::Error) -> bool {
    let text = format!("{error:?}");
    text.contains("GoAway(") && text.contains("NO_ERROR, Remote")
}

fn get(path: &str, connections: Connections) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: app\r\n{}\r\n", close(connections)).into_bytes()
}

fn login(id: u64, connections: Connections) -> Vec<u8> {
    let body = login_body(id);
    let head = format!("POST /login HTTP/1.1\r\nhost: app\r\ncontent-type: application/json\r\n{}", close(connections));
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn login_body(id: u64) -> String {
    format!(r#"{{"email":"user{id}@example.com","password":"correct horse battery"}}"#)
}

fn close(connections: Connections) -> &'static str {
    match connections {
        Connections::Kept => "",
        Connections::Fresh => "connection: close\r\n",
    }
}

/// A connection of a visitor.
struct Wire {
    stream: TcpStream,
    used: bool,
    /// The other side has said that its last answer was the last.
    last: bool,
}

impl Wire {
    async fn connect(to: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(to).await.map_err(|error| format!("not connected: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, used: false, last: false })
    }

    /// Whether it can be used again: every client looks before it does.
    fn is_open(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = SockRef::from(&self.stream).peek(&mut byte);
        matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// The status, and the length of a whole body.
    async fn ask(&mut self, request: &[u8]) -> Result<(u16, usize), String> {
        let asked = tokio::time::timeout(Duration::from_secs(60), self.exchange(request)).await;
        let used = if self.used { "a kept connection" } else { "a new connection" };
        self.used = true;
        asked.unwrap_or_else(|_| Err("no answer in a minute".into())).map_err(|why| format!("{why}, on {used}"))
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<(u16, usize), String> {
        self.stream.write_all(request).await.map_err(|error| format!("not sent: {error}"))?;
        let mut read = Vec::with_capacity(4096);
        let head = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            match self.stream.read_buf(&mut read).await {
                Ok(0) => return Err(format!("closed after {} bytes of a head", read.len())),
                Ok(_) => {}
                Err(error) => return Err(format!("broken after {} bytes of a head: {error}", read.len())),
            }
        };
        let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
        let length: usize = header("content-length:").and_then(|length| length.parse().ok()).ok_or("no length")?;
        self.last = header("connection:") == Some("close");
        let mut body = read.len() - head;
        while body < length {
            read.clear();
            match self.stream.read_buf(&mut read).await {
                Ok(0) => return Err(format!("closed after {body} of {length} bytes of a body")),
                Ok(more) => body += more,
                Err(error) => return Err(format!("broken after {body} of {length} bytes of a body: {error}")),
            }
        }
        Ok((status, body))
    }
}
