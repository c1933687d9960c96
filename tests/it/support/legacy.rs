//! Legacy backends for tests, over raw sockets on port 0: one that is well behaved, and every way of not being so that we
//! have to survive, by name. Each counts and records what it is sent.
//!
//! The well-behaved one speaks, for the users that it is given (one by default, [`ann`]):
//!
//! ```text
//! POST /internal/login        {"email", "password"}   200 {"user": {…}} · 401 · 200 {"mfa_required": true}
//! GET  /internal/users/{name}                         200 {"id", …} · 404
//! POST /internal/register     {"email", "password"}   201 {"user": {…}} · 409
//! POST /api/login             {"email", "password"}   200 {"accessToken": a JWT} · 400 "a bare string"
//! GET  /api/me                Authorization: Bearer   200 {"id", …} · 401
//! POST /users/sign_in         user[email], user[password]   303 with cookies · 422 with a page and a blank cookie
//! POST /users/password        {"email", "current", "new"}   204 · 403
//! ```

#![expect(clippy::indexing_slicing, reason = "a double that panics fails its test")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Every way of not being well behaved. To a composed call each of them is an outage: nobody may hear "wrong password", and
/// nothing may be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// Nobody listens.
    Refuses,
    /// Takes the request and says nothing.
    NeverAnswers,
    /// Takes the request and hangs up.
    HangsUp,
    /// Resets the connection within the head of an answer.
    ResetsInHead,
    /// Resets the connection within the body of an answer that began well.
    ResetsInBody,
    /// Ends a body before its announced length.
    Truncates,
    /// Ends a chunked body without its last chunk.
    TruncatesChunked,
    /// Answers something that is no HTTP.
    Garbage,
    /// 200, and an error in it.
    OkWithErrorBody,
    /// 200, and a page: maintenance, a proxy's error, a login page.
    OkWithHtml,
    /// 200, and nothing.
    OkWithEmptyBody,
    /// 200, and JSON that stops in the middle, in a body that does not.
    OkWithHalfJson,
    /// 200, and a user without an id.
    NoStableId,
    /// 200, and somebody else's profile.
    AnotherUsersProfile,
    /// 200, and a success that is compressed, though nobody asked for that.
    Compressed,
    /// 302 to a service on the loopback interface, which counts its visitors: [`LegacyDouble::trapped`].
    RedirectsToLoopback,
    /// 307 to the same: a client that follows it hands the password over.
    RedirectsWithBody,
    /// 429.
    TooManyRequests,
    /// 500.
    ServerError,
    /// 502.
    BadGateway,
    /// 503.
    ServiceUnavailable,
    /// 500, and a success in it.
    ServerErrorWithUser,
    /// A success in 5 MB.
    FiveMegabytes,
    /// A chunked body that never ends, as fast as it is read.
    NeverEnds,
    /// A success, one byte a second.
    OneByteASecond,
    /// The head of a success, one byte a second.
    SlowHead,
    /// A head that never ends.
    EndlessHead,
    /// 101, though nobody asked for another protocol.
    SwitchesProtocols,
}

impl Misbehaviour {
    /// All of them.
    pub(crate) const ALL: [Self; 28] = [
        Self::Refuses,
        Self::NeverAnswers,
        Self::HangsUp,
        Self::ResetsInHead,
        Self::ResetsInBody,
        Self::Truncates,
        Self::TruncatesChunked,
        Self::Garbage,
        Self::OkWithErrorBody,
        Self::OkWithHtml,
        Self::OkWithEmptyBody,
        Self::OkWithHalfJson,
        Self::NoStableId,
        Self::AnotherUsersProfile,
        Self::Compressed,
        Self::RedirectsToLoopback,
        Self::RedirectsWithBody,
        Self::TooManyRequests,
        Self::ServerError,
        Self::BadGateway,
        Self::ServiceUnavailable,
        Self::ServerErrorWithUser,
        Self::FiveMegabytes,
        Self::NeverEnds,
        Self::OneByteASecond,
        Self::SlowHead,
        Self::EndlessHead,
        Self::SwitchesProtocols,
    ];
}

/// A user of a double.
#[derive(Debug, Clone)]
pub(crate) struct DoubleUser {
    pub(crate) id: u64,
    pub(crate) email: String,
    pub(crate) username: String,
    pub(crate) phone: String,
    pub(crate) password: String,
    /// Whether a right password is answered by a demand for more.
    pub(crate) mfa: bool,
}

/// The user whom every double knows.
pub(crate) fn ann() -> DoubleUser {
    DoubleUser {
        id: 7,
        email: "ann@example.com".to_owned(),
        username: "Ann".to_owned(),
        phone: "+49 151 1234567".to_owned(),
        password: "correct horse battery".to_owned(),
        mfa: false,
    }
}

impl DoubleUser {
    /// What it says of the user.
    pub(crate) fn profile(&self) -> Value {
        json!({
            "id": self.id, "email": self.email, "username": self.username, "phone": self.phone,
            "email_verified": true, "theme": "dark",
        })
    }

    fn is_called(&self, name: &str) -> bool {
        [&self.email, &self.username, &self.phone].into_iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// What its JSON login hands out.
    pub(crate) fn token(&self) -> String {
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let claims = json!({ "sub": self.id.to_string(), "email": self.email });
        format!("{}.{}.c2lnbmVk", part(json!({ "alg": "HS256", "typ": "JWT" })), part(claims))
    }
}

/// What a double was sent.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Recorded {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn json(&self, field: &str) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body[field].as_str().unwrap_or_default().to_owned()
    }

    fn form(&self, field: &str) -> String {
        let found = form_urlencoded::parse(&self.body).find(|(name, _)| name == field);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// A legacy backend. Its socket is closed when it is dropped.
pub(crate) struct LegacyDouble {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<AbortHandle>,
    /// Bound and not listening: the port refuses, and nobody else can take it.
    _refusing: Option<Socket>,
}

struct Shared {
    /// None: well behaved.
    misbehaviour: Mutex<Option<Misbehaviour>>,
    /// Answers that were put in by [`LegacyDouble::say`]: method, path, bytes.
    said: Mutex<Vec<(String, String, Vec<u8>)>>,
    /// The path whose answers wait.
    held: watch::Sender<Option<String>>,
    users: Mutex<Vec<DoubleUser>>,
    requests: Mutex<Vec<Recorded>>,
    calls: watch::Sender<usize>,
    connections: AtomicUsize,
    trapped: Arc<Mutex<usize>>,
    trap: SocketAddr,
}

impl LegacyDouble {
    /// One that knows [`ann`] and does as it should.
    pub(crate) fn well_behaved() -> Self {
        Self::start(None)
    }

    /// One that does not.
    pub(crate) fn misbehaving(misbehaviour: Misbehaviour) -> Self {
        Self::start(Some(misbehaviour))
    }

    fn start(misbehaviour: Option<Misbehaviour>) -> Self {
        let trapped = Arc::new(Mutex::new(0));
        let (trap, trap_listener) = listener();
        tokio::spawn(count_visitors(trap_listener, Arc::clone(&trapped)));
        let shared = Arc::new(Shared {
            misbehaviour: Mutex::new(misbehaviour),
            said: Mutex::default(),
            held: watch::Sender::new(None),
            users: Mutex::new(vec![ann()]),
            requests: Mutex::default(),
            calls: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            trapped,
            trap,
        });
        if misbehaviour == Some(Misbehaviour::Refuses) {
            let (address, socket) = refusing();
            return Self { address, shared, accepting: None, _refusing: Some(socket) };
        }
        let (address, listener) = listener();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, accepting: Some(accepting), _refusing: None }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on; `None` for well behaved. A double that refuses stays so.
    pub(crate) fn behave(&self, misbehaviour: Option<Misbehaviour>) {
        assert!(misbehaviour != Some(Misbehaviour::Refuses), "a socket that listens cannot refuse");
        *lock(&self.shared.misbehaviour) = misbehaviour;
    }

    /// Answers a method and path with exactly this from now on, as long as it is well behaved.
    pub(crate) fn say(&self, method: &str, path: &str, status: u16, headers: &[(&str, &str)], body: &str) {
        let mut said = lock(&self.shared.said);
        said.retain(|(known_method, known_path, _)| (&**known_method, &**known_path) != (method, path));
        said.push((method.to_owned(), path.to_owned(), answer(status, "Said", headers, body)));
    }

    /// Makes up its mind about requests for a path, and keeps the answers back until [`Self::release`].
    pub(crate) fn hold(&self, path: &str) {
        self.shared.held.send_replace(Some(path.to_owned()));
    }

    /// Lets the answers go that were kept back.
    pub(crate) fn release(&self) {
        self.shared.held.send_replace(None);
    }

    /// Adds a user, or replaces the one with his id.
    pub(crate) fn put_user(&self, user: DoubleUser) {
        let mut users = lock(&self.shared.users);
        users.retain(|known| known.id != user.id);
        users.push(user);
    }

    /// Takes a user away.
    pub(crate) fn remove_user(&self, id: u64) {
        lock(&self.shared.users).retain(|known| known.id != id);
    }

    /// How many requests it got.
    pub(crate) fn calls(&self) -> usize {
        *self.shared.calls.borrow()
    }

    /// How many connections it took.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until it has got so many.
    pub(crate) async fn until_calls(&self, at_least: usize) {
        let mut calls = self.shared.calls.subscribe();
        calls.wait_for(|calls| *calls >= at_least).await.expect("the sender lives as long as the double");
    }

    /// What it got, in order.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.requests).clone()
    }

    /// How often somebody followed it to where its redirects lead.
    pub(crate) fn trapped(&self) -> usize {
        *lock(&self.shared.trapped)
    }
}

impl Drop for LegacyDouble {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no double panics with a lock held")
}

fn listener() -> (SocketAddr, TcpListener) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    let address = listener.local_addr().expect("a bound socket has an address");
    (address, TcpListener::from_std(listener).expect("within a runtime"))
}

fn refusing() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let address = socket.local_addr().expect("a bound socket has an address").as_socket().expect("an IP address");
    (address, socket)
}

async fn count_visitors(listener: TcpListener, visitors: Arc<Mutex<usize>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        *lock(&visitors) += 1;
        let admin = answer(200, "OK", &[("content-type", "application/json")], r#"{"user":{"id":1},"id":1}"#);
        send(&mut stream, &admin).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        shared.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move { serve(stream, &shared).await });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) {
    while let Some(request) = read_request(&mut stream).await {
        lock(&shared.requests).push(request.clone());
        shared.calls.send_modify(|calls| *calls += 1);
        let misbehaviour = *lock(&shared.misbehaviour);
        match misbehaviour {
            None => {
                let answer = said(shared, &request).unwrap_or_else(|| well_behaved(shared, &request));
                let mut held = shared.held.subscribe();
                let let_go = held.wait_for(|held| held.as_deref() != Some(request.path())).await.is_ok();
                assert!(let_go, "the sender lives as long as the double");
                send(&mut stream, &answer).await;
                if request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                    return;
                }
            }
            Some(misbehaviour) => return misbehave(misbehaviour, stream, shared, &request).await,
        }
    }
}

/// Reads one request, without trailers. None when the client is gone.
async fn read_request(stream: &mut TcpStream) -> Option<Recorded> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
        if !head[0].is_ascii_uppercase() {
            // Somebody speaks TLS to it.
            send(stream, b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
            return None;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
        body = read_chunks(stream).await?;
    }
    Some(Recorded { method, target, headers, body })
}

async fn read_chunks(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.ok()?);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).await.ok()?;
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Some(body);
        }
    }
}

/// A peer that is gone meanwhile is none of our affair.
async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    drop(stream.write_all(bytes).await);
    drop(stream.flush().await);
}

fn answer(status: u16, reason: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    answer.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    answer.into_bytes()
}

fn json_answer(status: u16, body: &Value) -> Vec<u8> {
    answer(status, "Whatever", &[("content-type", "application/json")], &body.to_string())
}

fn page(status: u16, headers: &[(&str, &str)], title: &str) -> Vec<u8> {
    let mut all = vec![("content-type", "text/html; charset=utf-8")];
    all.extend_from_slice(headers);
    answer(status, "Whatever", &all, &format!("<!doctype html><title>{title}</title>"))
}

// ---------------------------------------------------------------------------------------------------- well behaved

fn said(shared: &Shared, request: &Recorded) -> Option<Vec<u8>> {
    let said = lock(&shared.said);
    let found = said.iter().find(|(method, path, _)| *method == request.method && path == request.path());
    found.map(|(_, _, answer)| answer.clone())
}

fn well_behaved(shared: &Shared, request: &Recorded) -> Vec<u8> {
    let mut users = lock(&shared.users);
    let by_password = |users: &[DoubleUser], name: &str, password: &str| {
        users.iter().find(|user| user.is_called(name) && user.password == password).cloned()
    };
    match (request.method.as_str(), request.path()) {
        ("POST", "/internal/login") => match by_password(&users, &request.json("email"), &request.json("password")) {
            Some(user) if user.mfa => json_answer(200, &json!({ "mfa_required": true, "session": "s-1" })),
            Some(user) => json_answer(200, &json!({ "user": user.profile() })),
            None => json_answer(401, &json!({ "error": "wrong" })),
        },
        ("GET", path) if path.starts_with("/internal/users/") => {
            let name = path.trim_start_matches("/internal/users/");
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
            match users.iter().find(|user| user.is_called(&name)) {
                Some(user) => json_answer(200, &user.profile()),
                None => json_answer(404, &json!({ "error": "no such user" })),
            }
        }
        ("POST", "/internal/register") => {
            let (email, password) = (request.json("email"), request.json("password"));
            if users.iter().any(|user| user.is_called(&email)) {
                return json_answer(409, &json!({ "error": "taken" }));
            }
            let id = users.iter().map(|user| user.id).max().unwrap_or(0) + 1;
            let user =
                DoubleUser { id, email, password, username: format!("user{id}"), phone: String::new(), mfa: false };
            users.push(user.clone());
            json_answer(201, &json!({ "user": user.profile() }))
        }
        ("POST", "/api/login") => match by_password(&users, &request.json("email"), &request.json("password")) {
            Some(user) => json_answer(200, &json!({ "accessToken": user.token() })),
            None => json_answer(400, &json!("Incorrect password")),
        },
        ("GET", "/api/me") => {
            let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
            match users.iter().find(|user| Some(user.token().as_str()) == token) {
                Some(user) => json_answer(200, &user.profile()),
                None => json_answer(401, &json!({ "error": "no token" })),
            }
        }
        ("POST", "/users/sign_in") => {
            match by_password(&users, &request.form("user[email]"), &request.form("user[password]")) {
                Some(user) if user.mfa => {
                    page(303, &[("location", "/twofa"), ("set-cookie", "session=half; Path=/")], "")
                }
                Some(user) => {
                    let remember = format!("remember={}; Path=/; HttpOnly", user.token());
                    let cookies = [
                        ("set-cookie", "session=old; Path=/old"),
                        ("set-cookie", "session=s-1; Path=/"),
                        ("set-cookie", &remember),
                    ];
                    page(303, &[&[("location", "/")], &cookies[..]].concat(), "")
                }
                None => page(422, &[("set-cookie", "remember=; Path=/; Max-Age=0")], "Wrong name or password"),
            }
        }
        ("POST", "/users/password") => {
            let (email, current) = (request.json("email"), request.json("current"));
            match users.iter_mut().find(|user| user.is_called(&email) && user.password == current) {
                Some(user) => {
                    user.password = request.json("new");
                    answer(204, "No Content", &[], "")
                }
                None => json_answer(403, &json!({ "error": "wrong" })),
            }
        }
        _ => page(404, &[], "Nothing here"),
    }
}

// ---------------------------------------------------------------------------------------------------- misbehaving

/// What would be a success, or a user, on the path that was asked.
fn success(request: &Recorded, user: &Value) -> Value {
    if request.method == "GET" { user.clone() } else { json!({ "user": user }) }
}

async fn misbehave(misbehaviour: Misbehaviour, mut stream: TcpStream, shared: &Shared, request: &Recorded) {
    let well = json_answer(200, &success(request, &ann().profile()));
    let (reset, hold) = match misbehaviour {
        Misbehaviour::Refuses | Misbehaviour::HangsUp => (false, false),
        Misbehaviour::NeverAnswers => (false, true),
        Misbehaviour::ResetsInHead => {
            send(&mut stream, &well[..20]).await;
            (true, false)
        }
        Misbehaviour::ResetsInBody => {
            send(&mut stream, &well[..well.len() - 10]).await;
            (true, false)
        }
        Misbehaviour::Truncates => {
            send(&mut stream, &well[..well.len() - 10]).await;
            (false, false)
        }
        Misbehaviour::TruncatesChunked => {
            let body = success(request, &ann().profile()).to_string();
            let chunk = format!("{:x}\r\n{body}\r\n", body.len());
            send(&mut stream, format!("{CHUNKED}{chunk}").as_bytes()).await;
            (false, false)
        }
        Misbehaviour::FiveMegabytes => {
            let mut profile = ann().profile();
            profile["padding"] = Value::from("x".repeat(5_000_000));
            send(&mut stream, &json_answer(200, &success(request, &profile))).await;
            (false, false)
        }
        Misbehaviour::NeverEnds => {
            send(&mut stream, CHUNKED.as_bytes()).await;
            let chunk = format!("2000\r\n{}\r\n", " ".repeat(0x2000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            (false, false)
        }
        Misbehaviour::OneByteASecond => {
            let head = well.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
            send(&mut stream, &well[..head]).await;
            trickle(&mut stream, &well[head..]).await;
            (false, false)
        }
        Misbehaviour::SlowHead => {
            trickle(&mut stream, &well).await;
            (false, false)
        }
        Misbehaviour::EndlessHead => {
            send(&mut stream, b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(b"x-padding: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n").await.is_ok() {}
            (false, false)
        }
        Misbehaviour::Garbage
        | Misbehaviour::OkWithErrorBody
        | Misbehaviour::OkWithHtml
        | Misbehaviour::OkWithEmptyBody
        | Misbehaviour::OkWithHalfJson
        | Misbehaviour::NoStableId
        | Misbehaviour::AnotherUsersProfile
        | Misbehaviour::Compressed
        | Misbehaviour::RedirectsToLoopback
        | Misbehaviour::RedirectsWithBody
        | Misbehaviour::TooManyRequests
        | Misbehaviour::ServerError
        | Misbehaviour::BadGateway
        | Misbehaviour::ServiceUnavailable
        | Misbehaviour::ServerErrorWithUser
        | Misbehaviour::SwitchesProtocols => {
            let answer = closing(whole_answer(misbehaviour, shared, request));
            send(&mut stream, &answer).await;
            (false, false)
        }
    };
    if hold {
        // Until the client gives up.
        drop(stream.read_u8().await);
    }
    if reset {
        // Whoever closes with no time to linger resets; what was written has to have left before.
        tokio::task::yield_now().await;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket can be told to reset");
    } else {
        drop(stream.shutdown().await);
    }
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

/// Those that are wrong in what they say, not in how they say it.
fn whole_answer(misbehaviour: Misbehaviour, shared: &Shared, request: &Recorded) -> Vec<u8> {
    let user = success(request, &ann().profile());
    match misbehaviour {
        Misbehaviour::Garbage => b"\x15\x03\x01\x00\x02\x02\x50 no HTTP at all\r\n\r\n".to_vec(),
        Misbehaviour::OkWithErrorBody => json_answer(200, &json!({ "error": "database is locked", "user": null })),
        Misbehaviour::OkWithHtml => page(200, &[], "We will be right back"),
        Misbehaviour::OkWithEmptyBody => answer(200, "OK", &[("content-type", "application/json")], ""),
        Misbehaviour::OkWithHalfJson => {
            let whole = user.to_string();
            answer(200, "OK", &[("content-type", "application/json")], &whole[..whole.len() - 3])
        }
        Misbehaviour::NoStableId => {
            let mut profile = ann().profile();
            profile["id"] = Value::Null;
            json_answer(200, &success(request, &profile))
        }
        Misbehaviour::AnotherUsersProfile => {
            let other = DoubleUser {
                id: 8,
                email: "mallory@example.com".to_owned(),
                username: "Mallory".to_owned(),
                phone: "+49 151 7654321".to_owned(),
                ..ann()
            };
            json_answer(200, &success(request, &other.profile()))
        }
        Misbehaviour::Compressed => {
            let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
            answer(200, "OK", &headers, &user.to_string())
        }
        Misbehaviour::RedirectsToLoopback => {
            page(302, &[("location", &format!("http://{}/admin", shared.trap))], "Moved")
        }
        Misbehaviour::RedirectsWithBody => {
            page(307, &[("location", &format!("http://{}/admin", shared.trap))], "Moved")
        }
        Misbehaviour::TooManyRequests => page(429, &[("retry-after", "60")], "Too many requests"),
        Misbehaviour::ServerError => page(500, &[], "Internal Server Error"),
        Misbehaviour::BadGateway => page(502, &[], "Bad Gateway"),
        Misbehaviour::ServiceUnavailable => page(503, &[("retry-after", "5")], "Service Unavailable"),
        Misbehaviour::ServerErrorWithUser => json_answer(500, &user),
        Misbehaviour::SwitchesProtocols => {
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".to_vec()
        }
        Misbehaviour::Refuses
        | Misbehaviour::NeverAnswers
        | Misbehaviour::HangsUp
        | Misbehaviour::ResetsInHead
        | Misbehaviour::ResetsInBody
        | Misbehaviour::Truncates
        | Misbehaviour::TruncatesChunked
        | Misbehaviour::FiveMegabytes
        | Misbehaviour::NeverEnds
        | Misbehaviour::OneByteASecond
        | Misbehaviour::SlowHead
        | Misbehaviour::EndlessHead => unreachable!("it gives no whole answer"),
    }
}

/// Says that the connection ends with this answer, so that no later request meets its end.
fn closing(mut answer: Vec<u8>) -> Vec<u8> {
    if let Some(first_line) = answer.windows(2).position(|window| window == b"\r\n") {
        answer.splice(first_line..first_line, *b"\r\nconnection: close");
    }
    answer
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
