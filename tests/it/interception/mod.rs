//! Interception cannot be got around (R26): whatever a real backend takes for a login was intercepted or refused on its way there.
//!
//! Ordinary login apps on Express, Fastify, Flask, Django and PHP - as their guides have them, and as lenient as they become - get every
//! variant of a login twice: directly, and through the proxy in `migrate`. A login that the app saw behind the proxy, but the proxy did
//! not see, is a bypass. A third proxy hands its logins on (`legacy = "forward"`): there the app has to judge exactly the credentials
//! that the proxy read (R41).
//!
//! The default run takes a sample; AUTHFERRY_LONG=1 takes all: more than a hundred thousand variants for each backend.

mod backends;
mod by_hand;
mod table;
mod variants;
mod wire;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use authferry::http::decode::{decode, extract};
use authferry::http::settings::{BodyFormat, FieldRef, RequestShape};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use self::backends::{APPS, App, Backend, Format};
use self::variants::{Catalogue, Choice, Variant};
use self::wire::{Back, Head, Peer, Wire};
use crate::support::app::{Running, start};

/// How many connections each side of a run has.
const CONNECTIONS: usize = 8;

/// How many variants the default run takes of each backend, beside those with one change.
const SAMPLE: usize = 1_200;

// ---------------------------------------------------------------------------------------------------------- the proxies

/// The proxies in front of one backend.
struct Proxies {
    /// Composes its own calls: a login that the app saw was not intercepted.
    call: Running,
    /// The same on a path that is a login only with its fields (`match.fields`).
    fields: Running,
    /// Hands logins on.
    forward: Running,
}

impl Proxies {
    async fn before(backend: &Backend, app: App) -> Self {
        Self {
            call: start(&configuration(backend, app, "", CALL)).await,
            fields: start(&configuration(backend, app, fields(app.format), CALL)).await,
            forward: start(&configuration(backend, app, "", FORWARD)).await,
        }
    }
}

const CALL: &str = r#"legacy = "call""#;
const FORWARD: &str = r#"legacy = "forward"
    forward.success = "status == 200"
    forward.denied = "status == 401"
    forward.user = { id = "json.id", email = "json.email" }"#;

fn fields(format: Format) -> &'static str {
    match format {
        Format::Json => r#", fields = ["/email", "/password"]"#,
        Format::Form => r#", fields = ["email", "password"]"#,
    }
}

/// A proxy that knows nobody. Its own calls go where the app has no login, so that the app's record holds none of them; each of its
/// own answers is marked.
fn configuration(backend: &Backend, app: App, fields: &str, legacy: &str) -> String {
    let (url, path) = (backend.address, app.path);
    let request = match app.format {
        Format::Json => r#"{ login = "/email", password = "/password" }"#,
        Format::Form => r#"{ form = true, login = "email", password = "password" }"#,
    };
    format!(
        r#"
        [migration]
        mode = "migrate"
        [upstream]
        url = "http://{url}"
        [legacy]
        timeout = "20s"
        breaker = {{ failures = 1000000, open_for = "1s" }}
        [legacy.login]
        request = {{ method = "POST", path = "/asked-by-the-proxy", json = {{ email = "{{{{ login }}}}", password = "{{{{ password }}}}" }} }}
        success = "status == 200"
        denied = "status in [400, 401, 403, 404, 405]"
        user = {{ id = "json.id", email = "json.email" }}
        [[route]]
        name = "login"
        action = "login"
        match = {{ method = "POST", path = "{path}"{fields} }}
        request = {request}
        {legacy}
        reply.headers = {{ x-edge = "intercepted" }}
        reply.ok = {{ status = 200 }}
        reply.denied = {{ status = 401 }}
        [token]
        key = {{ value = "only-for-the-tests-change-me-32-bytes!" }}
        claims = {{ sub = "{{{{ user.id }}}}" }}
        [password]
        argon2id = {{ memory = "8MiB", iterations = 1, parallelism = 1 }}
        [limits]
        per_ip = {{ rate = "1000000/1m", burst = 1000000 }}
        per_account = {{ rate = "1000000/1m", burst = 1000000, count = "failures" }}
        "#
    )
}

// ------------------------------------------------------------------------------------------------------------ what happened

/// What a variant came to behind a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The proxy took it for a login.
    Intercepted,
    /// The proxy refused it.
    Refused,
    /// The app got it, and took it for a login of this user or for something else.
    PassedOn(Option<Login>),
    /// No answer, or an answer of the proxy that the app failed.
    Failed,
}

/// A name and a password, as JSON: what an app was given need not be text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Login(serde_json::Value);

/// Whom the app took a request for a login of, if it says so.
fn login_of(head: &Head) -> Option<Login> {
    let text = BASE64_STANDARD.decode(head.header("x-login")?).expect("base64");
    // JavaScript and Python write lone surrogates, which no reader takes back.
    let unreadable = |_| serde_json::Value::String(String::from_utf8_lossy(&text).into_owned());
    Some(Login(serde_json::from_slice(&text).unwrap_or_else(unreadable)))
}

fn outcome(back: &Back) -> Outcome {
    let Back::Answer(head) = back else { return Outcome::Failed };
    match (head.header("x-edge"), head.header("x-backend"), head.status) {
        (None, Some(_), _) => Outcome::PassedOn(login_of(head)),
        (Some(_), None, 200 | 401 | 429 | 503) => Outcome::Intercepted,
        (Some(_), None, 400..=499) => Outcome::Refused,
        (None, None, 502 | 504) => Outcome::Failed,
        (None, None, _) if head.header("content-type") == Some("application/problem+json") => Outcome::Refused,
        // The framework's own server answered before the app saw anything.
        (None, None, _) => Outcome::PassedOn(None),
        (Some(_), _, _) => panic!("an answer of both: {head:?}"),
    }
}

/// What a run came to.
#[derive(Debug, Default)]
struct Figures {
    variants: usize,
    /// The app took it for a login when asked directly.
    direct_logins: usize,
    intercepted: usize,
    refused: usize,
    passed_on: usize,
    failed: usize,
    /// Logins that were handed on and judged by the app.
    judged: usize,
    /// Logins by the app that went past a proxy.
    bypasses: Vec<String>,
    /// Logins that were judged with other credentials than the proxy read.
    misread: Vec<String>,
}

impl Figures {
    /// How many logins the app's own record has to hold.
    fn recorded(&self) -> usize {
        self.direct_logins + self.judged + self.bypasses.len()
    }
}

// ------------------------------------------------------------------------------------------------------------------ the run

/// Sends variants directly and through all proxies, over several connections.
async fn run(backend: &Backend, proxies: &Proxies, app: App, choices: Vec<Choice>) -> Figures {
    let shared = Arc::new(Shared {
        catalogue: Catalogue::new(app.path, app.format),
        format: app.format,
        choices,
        next: AtomicUsize::new(0),
        figures: Mutex::new(Figures::default()),
    });
    let to = [backend.address, proxies.call.public, proxies.fields.public, proxies.forward.public];
    let runners: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(Arc::clone(&shared).work(to))).collect();
    for runner in runners {
        runner.await.expect("no panic");
    }
    let mut figures = shared.figures.lock().expect("no panic");
    std::mem::take(&mut *figures)
}

struct Shared {
    catalogue: Catalogue,
    format: Format,
    choices: Vec<Choice>,
    next: AtomicUsize,
    figures: Mutex<Figures>,
}

impl Shared {
    async fn work(self: Arc<Self>, to: [SocketAddr; 4]) {
        let [app, proxies @ ..] = to;
        let mut direct = Wire::new(app, Peer::App);
        let [mut call, mut fields, mut forward] = proxies.map(|proxy| Wire::new(proxy, Peer::Proxy));
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(choice) = self.choices.get(number) else { return };
            let variant = self.catalogue.variant(*choice, number);
            let (method, bytes) = (variant.method.as_str(), variant.bytes.as_slice());
            let direct = direct.exchange(method, bytes).await;
            let call = outcome(&call.exchange(method, bytes).await);
            let fields = outcome(&fields.exchange(method, bytes).await);
            let judged = match call {
                Outcome::Intercepted => forward.exchange(method, bytes).await,
                Outcome::Refused | Outcome::PassedOn(_) | Outcome::Failed => Back::Closed,
            };
            self.note(&variant, &direct, call, fields, &judged);
        }
    }

    fn note(&self, variant: &Variant, direct: &Back, call: Outcome, fields: Outcome, judged: &Back) {
        let mut figures = self.figures.lock().expect("no panic");
        figures.variants += 1;
        if let Back::Answer(head) = direct {
            figures.direct_logins += usize::from(login_of(head).is_some());
        }
        for (proxy, outcome) in [("fields", &fields), ("call", &call)] {
            if let Outcome::PassedOn(Some(login)) = outcome {
                figures.bypasses.push(format!("{proxy}: {login:?} by {}", variant.label));
            }
        }
        match call {
            Outcome::Intercepted => figures.intercepted += 1,
            Outcome::Refused => figures.refused += 1,
            Outcome::PassedOn(_) => figures.passed_on += 1,
            Outcome::Failed => figures.failed += 1,
        }
        if let Back::Answer(head) = judged
            && let Some(login) = login_of(head)
        {
            figures.judged += 1;
            let read = self.read(variant);
            if read.as_ref() != Some(&login) {
                figures.misread.push(format!("{read:?} and not {login:?} by {}", variant.label));
            }
        }
    }

    /// The credentials as the proxy reads them.
    fn read(&self, variant: &Variant) -> Option<Login> {
        let mut headers = HeaderMap::new();
        for value in &variant.types {
            headers.append(CONTENT_TYPE, HeaderValue::from_str(value).ok()?);
        }
        let (format, prefix) = match self.format {
            Format::Json => (BodyFormat::Json, "/"),
            Format::Form => (BodyFormat::Form, ""),
        };
        let field = |name: &str| Some(FieldRef::new(format!("{prefix}{name}")));
        let shape = RequestShape {
            format,
            login: field("email"),
            password: field("password"),
            new_password: None,
            token: None,
            email: None,
            username: None,
            phone: None,
            profile: None,
        };
        let decoded = decode(&headers, &variant.body).ok()?;
        let credentials = extract(&shape, &decoded).ok()?;
        Some(Login(serde_json::json!([credentials.login?, credentials.password?.as_str()])))
    }
}

/// Whether all variants are to be sent.
fn is_long() -> bool {
    std::env::var_os("AUTHFERRY_LONG").is_some_and(|value| !value.is_empty())
}

/// Nothing goes past the proxy to this backend.
async fn nothing_goes_past(framework: &str) {
    for app in APPS.into_iter().filter(|app| app.framework == framework) {
        let Some(backend) = Backend::start(app).await else { return };
        let proxies = Proxies::before(&backend, app).await;
        let catalogue = Catalogue::new(app.path, app.format);
        let mut choices = catalogue.singles();
        let pairs = catalogue.pairs();
        if is_long() {
            choices.extend(pairs);
            choices.extend(catalogue.mixtures(10_000));
        } else {
            choices.extend(pairs.into_iter().take(SAMPLE));
        }
        let figures = run(&backend, &proxies, app, choices).await;
        println!(
            "{}: {} variants, {} logins directly; behind the proxy {} intercepted, {} refused, {} passed on, {} failed; \
             {} judged by the app, {} misread; {} bypasses",
            app.name(),
            figures.variants,
            figures.direct_logins,
            figures.intercepted,
            figures.refused,
            figures.passed_on,
            figures.failed,
            figures.judged,
            figures.misread.len(),
            figures.bypasses.len(),
        );
        let name = app.name();
        assert!(figures.bypasses.is_empty(), "{name}: went past: {}", some(&figures.bypasses));
        assert!(figures.misread.is_empty(), "{name}: judged otherwise: {}", some(&figures.misread));
        // Whatever the answers say, the app's own record has no further login.
        let record = backend.record();
        assert_eq!(record.len(), figures.recorded(), "{name}: its record has others than its answers");
        // The test itself works: the app takes many variants for logins, and so does the proxy, though most of those that differ in
        // two places are refused by one of them.
        let enough = figures.variants / 40;
        assert!(figures.direct_logins > enough && figures.intercepted > enough / 10, "{name}: {figures:?}");
        assert!(figures.judged > enough / 25, "{name}: {figures:?}");
    }
}

/// The first of many, a line each.
fn some(all: &[String]) -> String {
    let shown: Vec<&str> = all.iter().take(20).map(String::as_str).collect();
    format!("{}:\n{}", all.len(), shown.join("\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_nothing_goes_past_to_express() {
    nothing_goes_past("express").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_nothing_goes_past_to_fastify() {
    nothing_goes_past("fastify").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_nothing_goes_past_to_flask() {
    nothing_goes_past("flask").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_nothing_goes_past_to_django() {
    nothing_goes_past("django").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_nothing_goes_past_to_php() {
    nothing_goes_past("php").await;
}
