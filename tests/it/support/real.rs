//! The two legacy backends that nobody here wrote, as processes; the proxy in front of one by its file under `examples/`; and
//! answers in a form in which two of them can be compared. The backends come from `tests/real/install`.

#![expect(clippy::print_stderr, reason = "what a backend said, beside the failure that it explains")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use authferry::domain::clock::{Clock as _, SystemClock};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::app::{ADMIN_TOKEN, Operator};
use super::process::{PATIENCE, Process, authferry};
use super::raw_client::{Answer, send, without_framing};

// -------------------------------------------------------------------------------------------------------- the backends

/// A real legacy backend on fresh data. Each is one process, since `start` becomes it: killed when it is stopped or dropped, and of
/// the test's own process group, so that whoever ends a test from outside ends it too.
pub(crate) struct Legacy {
    name: &'static str,
    child: Child,
    data: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) users: Vec<Person>,
}

/// A user of a backend, from its `credentials.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Person {
    pub(crate) login: String,
    pub(crate) password: String,
}

impl Legacy {
    /// Starts a backend and waits until it answers; none if whoever runs the tests wants them without the real ones.
    pub(crate) async fn start(name: &'static str) -> Option<Self> {
        if std::env::var_os("AUTHFERRY_SKIP_REAL").is_some_and(|value| !value.is_empty()) {
            eprintln!("AUTHFERRY_SKIP_REAL is set: nothing was tested with {name}");
            return None;
        }
        let installed = installed();
        assert!(
            installed.join("stamp").exists(),
            "{name} is not installed in {}: run `tests/run`, or once `tests/real/install`; AUTHFERRY_SKIP_REAL=1 leaves the real backends out",
            installed.display()
        );
        let credentials = fs::read(folder(name).join("credentials.json")).expect("who its users are");
        let users: Vec<Person> = serde_json::from_slice(&credentials).expect("a list of users");
        // Somebody may take a free port before the backend does: then it ends at once, and another one is tried.
        for _ in 0..5 {
            let mut legacy = Self::spawn(name, users.clone());
            let answers = timeout(PATIENCE, legacy.answers()).await;
            if answers.unwrap_or_else(|_| panic!("{name} does not answer: {}", legacy.said())) {
                return Some(legacy);
            }
            eprintln!("{name} ended at once: {}", legacy.said());
        }
        panic!("{name} does not start");
    }

    fn spawn(name: &'static str, users: Vec<Person>) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let data = TempDir::new().expect("a folder");
        let log = File::create(data.path().join("log")).expect("a log");
        let mut command = Command::new(folder(name).join("start"));
        command.env("PORT", address.port().to_string()).env("DATA_DIR", data.path().join("data"));
        command.env("AUTHFERRY_REAL_DIR", installed());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}/start does not run: {error}"));
        Self { name, child, data, address, users }
    }

    /// Whether it takes connections, as soon as that is known.
    async fn answers(&mut self) -> bool {
        loop {
            let ended = self.child.try_wait().expect("a child of ours").is_some();
            let connected = TcpStream::connect(self.address).await.is_ok();
            match (ended, connected) {
                (true, _) => return false,
                (false, true) => return true,
                (false, false) => sleep(Duration::from_millis(30)).await,
            }
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.data.path().join("log")).unwrap_or_default()
    }

    /// Asks the backend itself.
    pub(crate) async fn ask(&self, call: &Call) -> Answer {
        call.send_to(self.address).await
    }

    /// The user of a login name.
    pub(crate) fn user(&self, login: &str) -> &Person {
        self.users.iter().find(|user| user.login == login).unwrap_or_else(|| panic!("{login} is no user"))
    }

    /// Kills it, and waits until nobody listens on its port any more.
    pub(crate) async fn stop(&mut self) {
        self.kill();
        let refused = async {
            while TcpStream::connect(self.address).await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, refused).await.expect("it is gone");
    }

    fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }

    /// What a part of the app that holds the backend's key says of a token: its header and claims, or why it is refused.
    /// Needs no running backend.
    pub(crate) fn check(&self, kind: &str, token: &str) -> Result<Value, String> {
        let mut command = Command::new(folder(self.name).join("check_token"));
        command.arg(kind).env("AUTHFERRY_REAL_DIR", installed());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the checker runs");
        child.stdin.take().expect("piped").write_all(token.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        match output.status.code() {
            Some(0) => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
            Some(1) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            _ => panic!("the checker itself failed: {output:?}"),
        }
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}'s own log\n{}", self.name, self.said());
        }
    }
}

/// The scripts and data of a backend.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(name)
}

/// Where `tests/real/install` puts the backends.
pub(crate) fn installed() -> PathBuf {
    let beside_the_build = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/real-backends");
    std::env::var_os("AUTHFERRY_REAL_DIR").map_or_else(beside_the_build, PathBuf::from)
}

// ----------------------------------------------------------------------------------------------------------- the proxy

/// `authferry run --config examples/NAME.toml` in front of a backend. Overridden by variables, as an operator would: addresses,
/// the store's place, limits that one address making every call of a test would meet, and a timeout for machines under load.
pub(crate) struct Ferry {
    /// None only between an end and the next start.
    process: Option<Process>,
    secrets: &'static [(&'static str, &'static str)],
    store: TempDir,
}

impl Ferry {
    /// In front of a backend, with an empty store. `secrets` are the variables that the example reads its keys from.
    pub(crate) fn before(legacy: &Legacy, secrets: &'static [(&'static str, &'static str)]) -> Self {
        let store = TempDir::new().expect("a folder");
        Self { process: Some(Self::spawn(legacy, secrets, store.path())), secrets, store }
    }

    /// Stops it as a service manager does and starts it again on the same store.
    pub(crate) fn restart(&mut self, legacy: &Legacy) {
        self.running().terminate();
        let ended = self.process.take().map(Process::wait);
        assert!(ended.as_ref().is_some_and(|(status, _)| status.success()), "{ended:?}");
        self.process = Some(Self::spawn(legacy, self.secrets, self.store.path()));
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("started, and not being restarted")
    }

    fn spawn(legacy: &Legacy, secrets: &[(&str, &str)], store: &Path) -> Process {
        let config = format!("examples/{}.toml", if legacy.name == "django" { "django-djoser" } else { legacy.name });
        let mut command = authferry(Path::new(env!("CARGO_MANIFEST_DIR")), &["run", "--config", &config]);
        let variables = [
            ("LISTENER__0__BIND", "127.0.0.1:0".to_owned()),
            ("ADMIN__BIND", "127.0.0.1:0".to_owned()),
            ("ADMIN__TOKEN__VALUE", ADMIN_TOKEN.to_owned()),
            ("UPSTREAM__URL", format!("http://{}", legacy.address)),
            ("STORE__PATH", store.join("users.redb").display().to_string()),
            ("LEGACY__TIMEOUT", "15s".to_owned()),
            ("LIMITS__PER_IP__RATE", "10000/1m".to_owned()),
            ("LIMITS__PER_IP__BURST", "10000".to_owned()),
            ("LIMITS__REGISTER_PER_IP__RATE", "1000/1h".to_owned()),
            ("LIMITS__REGISTER_PER_IP__BURST", "1000".to_owned()),
        ];
        command.envs(variables.map(|(name, value)| (format!("AUTHFERRY__{name}"), value)));
        command.envs(secrets.iter().copied());
        Process::spawn(command)
    }

    /// Asks the proxy.
    pub(crate) async fn ask(&self, call: &Call) -> Answer {
        call.send_to(self.running().public()).await
    }

    /// Whoever runs it.
    pub(crate) fn operator(&self) -> Operator {
        Operator { admin: self.running().admin() }
    }

    /// How many calls of a kind (`logins`, `registrations`, `changes`) were answered by a source.
    pub(crate) async fn answered(&self, what: &str, source: &str, outcome: &str) -> f64 {
        let labels = [format!("source=\"{source}\""), format!("outcome=\"{outcome}\"")];
        self.operator().metric(&format!("authferry_{what}_total"), &labels.each_ref().map(String::as_str)).await
    }

    /// Asks, and holds that exactly this source answered, with this outcome.
    pub(crate) async fn ask_answered_by(&self, what: &str, source: &str, outcome: &str, call: &Call) -> Answer {
        let before = self.answered(what, source, outcome).await;
        let answer = self.ask(call).await;
        let by = self.answered(what, source, outcome).await - before;
        assert!((by - 1.0).abs() < f64::EPSILON, "not answered as {outcome} by {source}: {call:?} {answer:?}");
        answer
    }

    /// Waits until so many users are saved: a save may outlast the answer of the login that it belongs to.
    pub(crate) async fn wait_for_users(&self, wanted: u64) {
        let saved = async {
            while self.operator().users().await != wanted {
                sleep(Duration::from_millis(30)).await;
            }
        };
        if timeout(PATIENCE, saved).await.is_err() {
            panic!("{} users and not {wanted}", self.operator().users().await);
        }
    }
}

impl Drop for Ferry {
    fn drop(&mut self) {
        if let (true, Some(process)) = (std::thread::panicking(), &mut self.process) {
            eprintln!("--- authferry's log\n{}", process.log());
        }
    }
}

// ------------------------------------------------------------------------------------------------------------- answers

/// A request that can be made more than once.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Call {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), headers: Vec::new(), body: String::new() }
    }

    /// JSON, unless [`Self::with`] another type.
    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self::send("POST", path, "application/json", &body.to_string())
    }

    pub(crate) fn send(method: &'static str, path: &str, content_type: &str, body: &str) -> Self {
        Self { method, body: body.to_owned(), ..Self::get(path) }.with("Content-Type", content_type)
    }

    pub(crate) fn with(mut self, header: &'static str, value: &str) -> Self {
        self.headers.push((header, value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.with("Authorization", &format!("Bearer {token}"))
    }

    async fn send_to(&self, to: SocketAddr) -> Answer {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        without_framing(send(to, self.method, &self.path, &headers, &self.body).await)
    }
}

/// An answer without what differs between two calls by nature: each token stands as its header and claims, times as what they
/// are counted from, ids of tokens as their form. Everything else is kept to the byte.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
    tokens: Vec<String>,
}

/// Of one connection, one moment or one way only (RFC 9110 sections 7.6.1, 6.6.1 and 7.6.3).
const OF_THE_MOMENT: [&str; 4] = ["connection", "date", "keep-alive", "via"];

impl Seen {
    pub(crate) fn of(answer: &Answer) -> Self {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &answer.headers {
            let name = name.to_ascii_lowercase();
            if !OF_THE_MOMENT.contains(&name.as_str()) {
                assert_eq!(headers.insert(name, value.clone()), None, "a header twice: {answer:?}");
            }
        }
        if answer.status == 204 {
            // Not to be sent with this status (RFC 9110 section 8.6), and the proxy does not; Express does.
            headers.remove("content-length");
        }
        let tokens = tokens_of(&answer.body);
        let mut body = answer.body.clone();
        for token in &tokens {
            body = body.replace(token, "<token>");
        }
        if !tokens.is_empty() {
            // Derived from a body that no second answer has.
            headers.entry("etag".to_owned()).and_modify(|etag| *etag = "<of this body>".to_owned());
        }
        let tokens = tokens.iter().map(|token| described(token)).collect();
        Self { status: answer.status, headers, body, tokens }
    }

    /// Without headers that only one of two sides has: each of them has to be there.
    pub(crate) fn less(mut self, headers: &[&str]) -> Self {
        for name in headers {
            assert!(self.headers.remove(*name).is_some(), "no header {name} in {self:?}");
        }
        self
    }

    /// With parts of the body and of the claims exchanged: what two users differ in. Their lengths may differ too.
    pub(crate) fn exchanging(mut self, pairs: &[(&str, &str)]) -> Self {
        self.headers.remove("content-length");
        self.headers.entry("etag".to_owned()).and_modify(|etag| *etag = "<of this body>".to_owned());
        for (from, to) in pairs {
            let texts = self.tokens.iter_mut().chain([&mut self.body]);
            for text in texts {
                *text = text.replace(from, to);
            }
        }
        self
    }

    /// Only what a client's code looks at first: the status, the type and the body.
    pub(crate) fn essence(mut self) -> Self {
        self.headers.retain(|name, _| name == "content-type");
        self
    }
}

/// Every compact JWS in a text (RFC 7515 section 7.1).
pub(crate) fn tokens_of(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    words.filter(|word| word.starts_with("eyJ") && word.matches('.').count() == 2).map(ToOwned::to_owned).collect()
}

/// A token's claims.
pub(crate) fn claims_of(token: &str) -> Map<String, Value> {
    part(token, 1)
}

fn part(token: &str, index: usize) -> Map<String, Value> {
    let part = token.split('.').nth(index).expect("three parts");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url without padding");
    serde_json::from_slice(&bytes).expect("an object")
}

/// Header and claims in the order of their names, each with its value in JSON, which shows its type.
fn described(token: &str) -> String {
    let (header, claims) = (part(token, 0), claims_of(token));
    let number = |name: &str| claims.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("{name}: {claims:?}"));
    let (issued, expires, now) = (number("iat"), number("exp"), SystemClock.wall().0);
    assert!(issued <= now && now - issued < 120, "made at {issued}, it is {now}");
    let mut text = String::new();
    for (name, value) in header.iter().collect::<BTreeMap<_, _>>() {
        write!(text, "{name}: {value}; ").expect("into memory");
    }
    for (name, value) in claims.iter().collect::<BTreeMap<_, _>>() {
        match name.as_str() {
            "iat" => text.push_str("iat: now; "),
            // simplejwt reads its clock once for `exp` and once more for `iat`, so that now and then a second lies between them.
            "exp" => {
                let lifetime = expires - issued;
                let meant = if (lifetime + 1).is_multiple_of(60) { lifetime + 1 } else { lifetime };
                write!(text, "exp: iat + {meant}; ").expect("into memory");
            }
            "jti" => {
                let id = value.as_str().unwrap_or_default();
                let is_hex = id.len() == 32 && id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
                text.push_str(if is_hex { "jti: 32 hexadecimal digits; " } else { id });
            }
            _ => write!(text, "{name}: {value}; ").expect("into memory"),
        }
    }
    text
}

/// The same token with another signature.
pub(crate) fn tampered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let other = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{other}{}", signature.get(1..).unwrap_or_default())
}
