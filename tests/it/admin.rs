//! The admin listener over sockets: who gets in, what is shown, what a browser may and may not do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use authferry::admin::roster::{Forget, Forgotten, ForgottenCount, MAX_FORGOTTEN, StragglerList};
use authferry::admin::view::{ModeView, Progress, Status, UserDetail, UserList};
use authferry::admin::{self, AdminParts, AdminState, Problem, Readiness};
use authferry::domain::clock::{Clock as _, SystemClock, UnixSeconds};
use authferry::domain::credential::{AbsentBecause, Credential, StoredHash};
use authferry::domain::identifier::{IdentifierKind, IdentifierRules};
use authferry::domain::login::AskedBy;
use authferry::domain::mode::{ConfirmedMode, Mode};
use authferry::domain::password::PasswordNormalization;
use authferry::domain::portable::PortableRoster;
use authferry::domain::roster::Bucket;
use authferry::domain::user::{Origin, Standing};
use authferry::password::Inspector;
use authferry::service::explain::{Explainer, LoginRoute, SessionBy};
use authferry::service::people::Door;
use authferry::service::ports::{ModeSwitch, StoreError, StoreHealth, UserStore};
use authferry::telemetry::Metrics;
use authferry::telemetry::metrics::{Outcome, Source};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::support::memory_store::{MemoryStore, user};
use crate::support::raw_client::{Answer, send, send_raw, without_framing};
use crate::support::service::{password_settings, policy};

pub(crate) const TOKEN: &str = "canary-of-the-admin-token";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$canary-of-a-salt$canary-of-a-hash";

/// Keeps the mode as the store has it, as the real one does; panics where a test wants a bug.
struct Switch {
    store: Arc<MemoryStore>,
    current: Mutex<Result<Mode, &'static str>>,
}

impl ModeSwitch for Switch {
    fn current(&self) -> Mode {
        let current = *self.current.lock().expect("no holder of the lock panics");
        current.unwrap_or_else(|bug| panic!("{bug}"))
    }

    fn set(&self, to: ConfirmedMode) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            self.store.set_mode(to.mode()).await?;
            *self.current.lock().expect("no holder of the lock panics") = Ok(to.mode());
            Ok(())
        }
        .boxed()
    }
}

pub(crate) struct Admin {
    pub(crate) addr: SocketAddr,
    pub(crate) store: Arc<MemoryStore>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    switch: Arc<Switch>,
    _stop: oneshot::Sender<()>,
}

impl Admin {
    pub(crate) async fn start(token: Option<&str>) -> Self {
        Self::start_at("127.0.0.1:0", token).await
    }

    async fn start_at(addr: &str, token: Option<&str>) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        let (store, metrics) = (Arc::new(MemoryStore::default()), Arc::new(Metrics::new()));
        let readiness = Arc::new(Readiness::new());
        let switch = Arc::new(Switch { store: Arc::clone(&store), current: Mutex::new(Ok(Mode::Migrate)) });
        readiness.set_started();
        let explainer = Explainer {
            store: Arc::clone(&store) as _,
            mode: Arc::clone(&switch) as _,
            clock: Arc::new(SystemClock),
            policy: policy(),
            hashes: Arc::new(Inspector::new(&password_settings()).expect("usable parameters")),
            routes: vec![LoginRoute { name: "login".into(), asked_by: AskedBy::Call, session_by: SessionBy::Us }],
            running: None,
        };
        let state = AdminState::new(AdminParts {
            explainer,
            store: Arc::clone(&store) as _,
            metrics: Arc::clone(&metrics),
            mode: Arc::clone(&switch) as _,
            readiness: Arc::clone(&readiness),
            clock: Arc::new(SystemClock),
            identifiers: IdentifierRules::default(),
            normalization: PasswordNormalization::None,
            token: token.map(|token| Zeroizing::new(token.to_owned())),
            door: Door::Api,
            bound: addr,
            hosts: vec!["admin.example.com".to_owned()],
        });
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(admin::serve(listener, admin::router(state), async {
            let _ = stopped.await;
        }));
        Self { addr, store, metrics, readiness, switch, _stop: stop }
    }

    /// Five users: one of each origin, and one whose name is an attack.
    pub(crate) fn fill(&self) {
        let rules = IdentifierRules::default();
        let alias = |kind, value, verified| rules.identifier(kind, value, verified).expect("a valid identifier");
        let hash = |encoded: &str| StoredHash::new(encoded.to_owned(), PasswordNormalization::None);
        let ours = || Credential::Argon2id(hash(HASH));
        let ada = vec![
            alias(IdentifierKind::Email, "Ada@Example.com", Some(true)),
            alias(IdentifierKind::Username, "Countess", None),
            alias(IdentifierKind::Phone, "+44 20 7946 0001", Some(false)),
        ];
        let profile = json!({"id": 1, "name": "Ada Lovelace", "password": "$2b$10$canary-of-legacys-hash"});
        self.store.put(user(1, ada, ours(), profile));
        let grace = vec![alias(IdentifierKind::Email, "grace@example.com", None)];
        let mut grace = user(2, grace, ours(), json!({"name": "Grace Hopper"}));
        (grace.origin, grace.standing, grace.legacy_id) = (Origin::Registered, Standing::Disabled, None);
        self.store.put(grace);
        let evil = vec![alias(IdentifierKind::Username, EVIL, None)];
        let mut evil = user(3, evil, Credential::Imported(hash(HASH)), json!({"name": EVIL, "bio": "</pre><script>"}));
        evil.origin = Origin::Imported;
        self.store.put(evil);
        let alan = vec![alias(IdentifierKind::Email, "alan@example.com", None)];
        let mut alan = user(4, alan, Credential::Absent(AbsentBecause::Roster), Value::Null);
        alan.origin = Origin::Roster;
        self.store.put(alan);
        let gone = vec![alias(IdentifierKind::Email, "gone@example.com", None)];
        let mut gone = user(5, gone, ours(), json!({}));
        gone.standing = Standing::Deleted;
        self.store.put(gone);
    }

    pub(crate) async fn plain(&self, method: &str, target: &str) -> Answer {
        send(self.addr, method, target, &[], "").await
    }

    pub(crate) async fn api(&self, method: &str, target: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        send(self.addr, method, target, &headers, body).await
    }

    /// A form as a browser on a page of this console sends it.
    pub(crate) async fn form(&self, target: &str, cookie: &str, body: &str) -> Answer {
        let origin = format!("http://{}", self.addr);
        self.form_from(&[("Origin", &origin), ("Sec-Fetch-Site", "same-origin")], target, cookie, body).await
    }

    pub(crate) async fn form_from(&self, headers: &[(&str, &str)], target: &str, cookie: &str, body: &str) -> Answer {
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", cookie)];
        all.extend_from_slice(headers);
        send(self.addr, "POST", target, &all, body).await
    }

    pub(crate) async fn page(&self, target: &str, cookie: &str) -> Answer {
        without_framing(send(self.addr, "GET", target, &[("Cookie", cookie)], "").await)
    }

    /// Signs in and gives the cookie.
    pub(crate) async fn sign_in(&self) -> String {
        let answer = self.form("/console/sign-in", "", &format!("token={TOKEN}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/console")), "{answer:?}");
        let cookie = answer.header("set-cookie").expect("a cookie");
        cookie.split(';').next().expect("a pair").to_owned()
    }
}

pub(crate) const EVIL: &str = r#"<script>alert('x')</script>"><img src=x onerror=alert(1)>{{ 7777*3 }}"#;

const API: [(&str, &str); 7] = [
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/users"),
    ("GET", "/api/v1/users/1"),
    ("GET", "/api/v1/mode"),
    ("PUT", "/api/v1/mode"),
    ("GET", "/api/v1/stragglers"),
    ("POST", "/api/v1/roster/forget"),
];

#[tokio::test]
async fn r108_without_a_configured_token_nobody_gets_in_and_is_told_what_to_do() {
    for token in [None, Some("")] {
        let admin = Admin::start(token).await;
        for (method, target) in API {
            for shown in ["Bearer ", "Bearer admin", "Basic YWRtaW46YWRtaW4="] {
                let answer = send(admin.addr, method, target, &[("Authorization", shown)], "").await;
                assert_eq!(answer.status, 403, "{method} {target}");
                assert!(answer.json::<Problem>().detail.contains("[admin] token"), "{answer:?}");
            }
        }
        assert!(admin.plain("GET", "/console/sign-in").await.body.contains("No admin token is configured"));
        let answer = admin.form("/console/sign-in", "", "token=").await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None));
        assert_eq!(admin.plain("GET", "/health/ready").await.status, 200);
    }
}

#[tokio::test]
async fn the_api_is_behind_the_token_whole_and_with_every_method() {
    let wrong = format!("Bearer {TOKEN}x");
    let part = format!("Bearer {}", &TOKEN[1..]);
    for (method, target) in API {
        let admin = Admin::start(Some(TOKEN)).await;
        admin.fill();
        for shown in [None, Some(wrong.as_str()), Some(part.as_str()), Some(TOKEN), Some("Basic Og==")] {
            let headers: Vec<_> = shown.map(|shown| ("Authorization", shown)).into_iter().collect();
            let answer = send(admin.addr, method, target, &headers, "").await;
            assert_eq!(answer.status, 401, "{method} {target} {shown:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
        }
    }
    let admin = Admin::start(Some(TOKEN)).await;
    let right = format!("Bearer {TOKEN}");
    let twice = [("Authorization", right.as_str()), ("Authorization", wrong.as_str())];
    assert_eq!(send(admin.addr, "GET", "/api/v1/status", &twice, "").await.status, 401);
    assert_eq!(admin.api("GET", "/api/v1/status", "").await.status, 200);
    assert_eq!(admin.switch.current(), Mode::Migrate);
}

#[tokio::test]
async fn guessing_at_the_token_is_slowed_down_and_counted_and_open_sessions_stay_open() {
    let admin = Admin::start(Some(TOKEN)).await;
    let cookie = admin.sign_in().await;
    for number in 0..10 {
        let shown = format!("Bearer guess-{number}");
        assert_eq!(send(admin.addr, "GET", "/api/v1/mode", &[("Authorization", &shown)], "").await.status, 401);
        assert_eq!(admin.plain("GET", "/api/v1/mode").await.status, 401, "showing none is no guess");
    }
    // From here on the right one is as good as any other: an answer would tell a guesser that he has it.
    for shown in ["Bearer guess-11", &format!("Bearer {TOKEN}")] {
        let answer = send(admin.addr, "GET", "/api/v1/mode", &[("Authorization", shown)], "").await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("6")), "{answer:?}");
        assert!(answer.json::<Problem>().detail.contains("Too many wrong tokens"), "{answer:?}");
    }
    assert_eq!(admin.form("/console/sign-in", "", &format!("token={TOKEN}")).await.status, 429);
    assert_eq!(admin.page("/console", &cookie).await.status, 200);
    assert_eq!(admin.plain("GET", "/metrics").await.status, 200);
    assert!(admin.metrics.encode().contains("authferry_refused_requests_total{reason=\"admin_token\"} 10"));
}

#[tokio::test]
async fn health_tells_the_stages_of_a_process_and_of_its_store() {
    let admin = Admin::start(None).await;
    let statuses = async || {
        let mut statuses = Vec::new();
        for probe in ["started", "live", "ready"] {
            statuses.push(admin.plain("GET", &format!("/health/{probe}")).await.status);
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 200, 200]);
    admin.metrics.breaker_open(true);
    assert_eq!(statuses().await, [200, 200, 200], "a dead legacy is not our illness");
    admin.store.set_health(StoreHealth::ReadOnly);
    assert_eq!(statuses().await, [200, 200, 200], "R103: logins go on");
    admin.store.set_health(StoreHealth::Down);
    assert_eq!(statuses().await, [200, 200, 503]);
    admin.store.set_health(StoreHealth::Ready);
    admin.readiness.set_draining();
    assert_eq!(statuses().await, [200, 200, 503]);
    let body: Value = admin.plain("GET", "/health/ready").await.json();
    assert_eq!(body, json!({"started": true, "ready": false, "draining": true, "store": "ready"}));
}

#[tokio::test]
async fn metrics_are_scraped_without_a_token_and_mirror_the_store() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    admin.metrics.login(&"login".into(), Source::Local, Outcome::Ok);
    let answer = admin.plain("GET", "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")));
    for line in [
        r#"authferry_logins_total{route="login",source="local",outcome="ok"} 1"#,
        r#"authferry_users{origin="roster"} 1"#,
        r#"authferry_known_users{side="straggler",last_seen="never"} 1"#,
        r#"authferry_known_users{side="straggler",last_seen="0-30d"} 0"#,
        r#"authferry_mode{mode="migrate"} 1"#,
        "authferry_store_ready 1",
        "# EOF",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line}\n{}", answer.body);
    }
    admin.store.set_health(StoreHealth::Down);
    let answer = admin.plain("GET", "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("authferry_store_ready 0"), "{}", answer.body);
}

#[tokio::test]
async fn the_status_adds_up_what_was_counted() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    for route in ["login", "web"] {
        admin.metrics.login(&route.into(), Source::Local, Outcome::Ok);
        admin.metrics.login(&route.into(), Source::Legacy, Outcome::Denied);
        admin.metrics.comparison(&route.into(), "match", "accepted");
    }
    admin.metrics.migration("login");
    admin.metrics.migration_failure("store");
    admin.metrics.alarm("conflict");
    admin.metrics.breaker_open(true);
    let status: Status = admin.api("GET", "/api/v1/status", "").await.json();
    let rows: Vec<_> = status.logins.iter().map(|row| (row.source.as_str(), row.outcome.as_str(), row.count)).collect();
    assert_eq!(rows, [("legacy", "denied", 2), ("local", "ok", 2)]);
    assert_eq!(Status::ended(&status.logins, "ok"), 2);
    assert_eq!(status.comparisons.iter().map(|row| row.count).sum::<u64>(), 2);
    assert_eq!((status.mode, status.legacy.breaker_open, status.health.ready), (Mode::Migrate, true, true));
    assert_eq!((status.migrations["login"], status.migration_failures["store"], status.alarms["conflict"]), (1, 1, 1));
    let users = status.users.expect("the store is well");
    assert_eq!((users.total(), users.disabled, users.deleted, users.without_password), (4, 1, 1, 1));
    assert_eq!(status.progress(), Progress::OfKnownUsers { with_password: 2, total: 3 });

    admin.store.set_health(StoreHealth::Down);
    let status: Status = admin.api("GET", "/api/v1/status", "").await.json();
    assert_eq!((status.users, status.health.ready), (None, false));
    assert_eq!(status.progress(), Progress::OfLogins { local: 2, total: 2 });
}

#[tokio::test]
async fn users_are_listed_in_pages_and_found_by_the_start_of_any_identifier() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let mut target = "/api/v1/users?limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page: UserList = admin.api("GET", &target, "").await.json();
        assert!(page.users.len() <= 2);
        seen.extend(page.users.iter().map(|user| user.id));
        let Some(next) = page.next else { break };
        target = format!("/api/v1/users?limit=2&after={next}");
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "each once, in order: {seen:?}");
    for (search, found) in [
        ("ADA@", &[1][..]),
        ("count", &[1]),
        ("%2B44+20", &[1]),
        ("442079", &[1]),
        ("a", &[1, 4]),
        ("nobody", &[]),
        ("%3Cscript%3E", &[3]),
        ("", &[1, 2, 3, 4, 5]),
    ] {
        let page: UserList = admin.api("GET", &format!("/api/v1/users?search={search}"), "").await.json();
        let mut numbers: Vec<u128> = page.users.iter().map(|user| user.id.0.as_u128() & 0xff).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, found, "{search}");
    }
    for bad in ["limit=x", "limit=-1", "limits=2", "search=a&search=b"] {
        let answer = admin.api("GET", &format!("/api/v1/users?{bad}"), "").await;
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/problem+json")), "{bad}");
    }
    let page: UserList = admin.api("GET", "/api/v1/users?limit=0", "").await.json();
    assert_eq!(page.users.len(), 1, "a page is never empty by request");
}

#[tokio::test]
async fn one_user_is_shown_with_his_profile_and_by_either_id() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let ada: UserDetail = admin.api("GET", "/api/v1/users/1", "").await.json();
    assert_eq!(ada.profile["name"], "Ada Lovelace");
    assert_eq!(ada.summary.public_id, json!(1));
    let aliases: Vec<_> =
        ada.summary.identifiers.iter().map(|alias| (alias.value.as_str(), alias.canonical.as_str())).collect();
    assert_eq!(
        aliases,
        [("Ada@Example.com", "ada@example.com"), ("Countess", "countess"), ("+44 20 7946 0001", "442079460001")]
    );
    let by_ours: UserDetail = admin.api("GET", &format!("/api/v1/users/{}", ada.summary.id), "").await.json();
    assert_eq!(by_ours, ada);
    for unknown in ["99", "%00", "..%2f1", "a%20b"] {
        assert_eq!(admin.api("GET", &format!("/api/v1/users/{unknown}"), "").await.status, 404, "{unknown}");
    }
    assert_eq!(admin.api("GET", "/api/v1/users/%ff", "").await.status, 400);
}

#[tokio::test]
async fn r116_no_hash_token_or_password_is_in_any_answer() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let cookie = admin.sign_in().await;
    let mut answers = vec![admin.plain("GET", "/metrics").await, admin.plain("GET", "/health/ready").await];
    for (_, target) in API {
        answers.push(admin.api("GET", target, "").await);
    }
    for page in ["/console", "/console/users", "/console/users/1", "/console/users/3"] {
        answers.push(admin.page(page, &cookie).await);
    }
    answers.push(admin.form("/console/sign-in", "", "token=canary-of-a-wrong-token").await);
    answers.push(admin.form("/console/sign-in", "", &format!("tokens={TOKEN}")).await);
    answers.push(admin.api("PUT", "/api/v1/mode", r#"{"mode": "observe", "confirm": ["canary"]}"#).await);
    for answer in answers {
        assert!(!format!("{answer:?}").contains("canary"), "{answer:?}");
    }
}

#[tokio::test]
async fn the_mode_is_changed_and_retired_only_with_its_word() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let view: ModeView = admin.api("GET", "/api/v1/mode", "").await.json();
    assert_eq!(view, ModeView { mode: Mode::Migrate, registered_here: Some(1) });
    let view: ModeView = admin.api("PUT", "/api/v1/mode", r#"{"mode": "observe"}"#).await.json();
    assert_eq!(view.mode, Mode::Observe);
    assert_eq!(admin.store.mode().await.ok().flatten(), Some(Mode::Observe), "kept for the next start");
    for (body, status) in [
        (r#"{"mode": "retired"}"#, 409),
        (r#"{"mode": "retired", "confirm": "yes"}"#, 409),
        (r#"{"mode": "Migrate"}"#, 422),
        (r#"{"mode": "migrate", "force": true}"#, 422),
        (r#"{"mode": "migrate""#, 400),
        ("", 400),
    ] {
        let answer = admin.api("PUT", "/api/v1/mode", body).await;
        assert_eq!((answer.status, admin.switch.current()), (status, Mode::Observe), "{body}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
    }
    admin.store.set_health(StoreHealth::ReadOnly);
    let answer = admin.api("PUT", "/api/v1/mode", r#"{"mode": "migrate"}"#).await;
    assert_eq!((answer.status, admin.switch.current()), (503, Mode::Observe));
    admin.store.set_health(StoreHealth::Ready);
    let answer = admin.api("PUT", "/api/v1/mode", r#"{"mode": "retired", "confirm": "retired"}"#).await;
    assert_eq!((answer.status, admin.switch.current()), (200, Mode::Retired));
    for method in ["POST", "DELETE", "PATCH"] {
        assert_eq!(admin.api(method, "/api/v1/mode", "").await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn r110_another_name_than_the_listeners_is_answered_nothing() {
    let admin = Admin::start(Some(TOKEN)).await;
    let cookie = admin.sign_in().await;
    let bearer = format!("Bearer {TOKEN}");
    let port = admin.addr.port();
    for target in ["/", "/metrics", "/api/v1/status", "/console", "/console/sign-in", "/nothing"] {
        let status = async |host: &str| {
            let headers = [("Host", host), ("Authorization", bearer.as_str()), ("Cookie", cookie.as_str())];
            send(admin.addr, "GET", target, &headers, "").await.status
        };
        let usual = status(&admin.addr.to_string()).await;
        for host in [format!("localhost:{port}"), format!("[::1]:{port}"), "admin.example.com".to_owned()] {
            assert_eq!(status(&host).await, usual, "{target} {host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "admin.example.com.evil.example", "192.0.2.1", ""] {
            assert_eq!(status(host).await, 421, "{target} {host:?}");
        }
        let two =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        assert_eq!(send_raw(admin.addr, two.as_bytes()).await.status, 421, "{target}");
        let absolute =
            format!("GET http://evil.example{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(send_raw(admin.addr, absolute.as_bytes()).await.status, 421, "{target}");
    }
    let headers = [("Host", "evil.example")];
    assert_eq!(send(admin.addr, "GET", "/health/live", &headers, "").await.status, 200, "probes come under any name");
}

#[tokio::test]
async fn r109_only_a_form_of_the_consoles_own_pages_writes() {
    let admin = Admin::start(Some(TOKEN)).await;
    let cookie = admin.sign_in().await;
    let own = format!("http://{}", admin.addr);
    let neighbour = format!("http://127.0.0.1:{}", admin.addr.port().wrapping_add(1).max(1));
    let foreign: [&[(&str, &str)]; 7] = [
        &[],
        &[("Origin", "null")],
        &[("Origin", "https://evil.example")],
        &[("Origin", &neighbour), ("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "none")],
        &[("Origin", &own), ("Sec-Fetch-Site", "cross-site")],
    ];
    for (target, body) in [
        ("/console/mode", "mode=observe".to_owned()),
        ("/console/sign-in", format!("token={TOKEN}")),
        ("/console/sign-out", String::new()),
    ] {
        for headers in foreign {
            let answer = admin.form_from(headers, target, &cookie, &body).await;
            assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{target} {headers:?}");
        }
        assert_ne!(admin.page(target, &cookie).await.status, 303, "no write by GET: {target}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let headers =
        [("Authorization", bearer.as_str()), ("Origin", "https://evil.example"), ("Content-Type", "application/json")];
    assert_eq!(send(admin.addr, "PUT", "/api/v1/mode", &headers, r#"{"mode": "observe"}"#).await.status, 403);
    assert_eq!(admin.switch.current(), Mode::Migrate);
    assert_eq!(admin.page("/console", &cookie).await.status, 200, "still signed in");
}

#[tokio::test]
async fn r109_a_session_opens_the_console_and_nothing_else_until_it_is_ended() {
    let admin = Admin::start(Some(TOKEN)).await;
    for page in ["/console", "/console/users", "/console/users/1"] {
        for cookie in ["", "authferry-console=", "authferry-console=guessed", &format!("authferry-console={TOKEN}")] {
            let answer = admin.page(page, cookie).await;
            assert_eq!((answer.status, answer.header("location")), (303, Some("/console/sign-in")), "{page} {cookie}");
        }
    }
    let wrong = admin.form("/console/sign-in", "", "token=wrong").await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, None));
    let cookie = admin.sign_in().await;
    assert_ne!(cookie, admin.sign_in().await);
    assert_eq!(admin.page("/console", &cookie).await.status, 200);
    assert_eq!(admin.page("/api/v1/status", &cookie).await.status, 401, "the API takes no cookie");
    let bearer = format!("Bearer {TOKEN}");
    let answer = send(admin.addr, "GET", "/console", &[("Authorization", &bearer)], "").await;
    assert_eq!(answer.status, 303, "the console takes no bearer");

    let changed = admin.form("/console/mode", &cookie, "mode=observe&confirm=").await;
    assert_eq!((changed.status, admin.switch.current()), (303, Mode::Observe));
    let refused = admin.form("/console/mode", &cookie, "mode=retired&confirm=no").await;
    assert_eq!((refused.status, admin.switch.current()), (409, Mode::Observe));
    assert!(refused.body.contains("The mode was not changed"), "{}", refused.body);

    let out = admin.form("/console/sign-out", &cookie, "").await;
    assert_eq!(out.status, 303);
    assert!(out.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")));
    assert_eq!(admin.page("/console", &cookie).await.status, 303, "the id itself is worth nothing now");
}

#[tokio::test]
async fn r109_over_tls_the_cookie_bears_the_host_prefix() {
    let admin = Admin::start(Some(TOKEN)).await;
    let headers = [("Host", "admin.example.com"), ("Origin", "https://admin.example.com")];
    let answer = admin.form_from(&headers, "/console/sign-in", "", &format!("token={TOKEN}")).await;
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.starts_with("__Host-") && cookie.contains("; Secure"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair");
    assert_eq!(admin.page("/console", pair).await.status, 200);
}

#[tokio::test]
async fn r111_a_hostile_name_is_inert_and_every_answer_is_protected() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let cookie = admin.sign_in().await;
    let search = "/console/users?search=%3Cscript%3Ealert(%27x%27)%3C%2Fscript%3E%22%3E%3Cimg+src%3Dx";
    for (target, shown) in [
        ("/console", false),
        ("/console/users", true),
        (search, true),
        ("/console/users/3", true),
        ("/console/users/%3Cscript%3E", false),
        ("/console/%3Cscript%3E", false),
        ("/console/users?limit=%3Cscript%3E", false),
    ] {
        let answer = admin.page(target, &cookie).await;
        let html = answer.body.to_lowercase();
        let is_html = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        assert!(
            !is_html || !(html.contains("<script") || html.contains("<img") || html.contains("23331")),
            "{target}: {html}"
        );
        assert_eq!(html.contains("&lt;script&gt;alert"), shown, "{target}: {html}");
        assert!(!html.contains("style=") && !html.contains("javascript:"), "{target}");
    }
    for (method, target) in [
        ("GET", "/console"),
        ("GET", "/metrics"),
        ("GET", "/health/ready"),
        ("GET", "/nothing"),
        ("DELETE", "/console"),
        ("GET", "/api/v1/users"),
        ("GET", "/console/style.css"),
        ("GET", "/console/sign-in"),
    ] {
        let answer = admin.plain(method, target).await;
        let csp = answer.header("content-security-policy").unwrap_or_default();
        assert!(csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"), "{target}: {csp}");
        assert!(!csp.contains("unsafe"), "{target}: {csp}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{target}");
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{target}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{target}");
    }
}

#[tokio::test]
async fn the_consoles_links_lead_through_every_page_and_to_every_user() {
    let admin = Admin::start(Some(TOKEN)).await;
    let rules = IdentifierRules::default();
    for number in 1..=120 {
        let name = format!("a&b={number:03}?#/%");
        let alias = rules.identifier(IdentifierKind::Username, &name, None).expect("a valid identifier");
        admin.store.put(user(number, vec![alias], Credential::Absent(AbsentBecause::Roster), Value::Null));
    }
    let cookie = admin.sign_in().await;
    let links = |html: &str, start: &str| -> Vec<String> {
        let hrefs = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        hrefs.filter(|href| href.starts_with(start)).map(|href| href.replace("&amp;", "&")).collect()
    };
    let mut target = "/console/users?search=a%26b%3D".to_owned();
    let mut users = Vec::new();
    loop {
        let page = admin.page(&target, &cookie).await;
        assert_eq!(page.status, 200, "{target}");
        users.extend(links(&page.body, "/console/users/"));
        let next = links(&page.body, "/console/users?").into_iter().find(|href| href.contains("after="));
        let Some(next) = next else { break };
        target = next;
    }
    users.sort();
    users.dedup();
    assert_eq!(users.len(), 120);
    let page = admin.page(&users[7], &cookie).await;
    assert!(page.status == 200 && page.body.contains("a&amp;b=008?#"), "{page:?}");
}

#[tokio::test]
async fn an_oversized_body_or_head_is_refused() {
    let admin = Admin::start(Some(TOKEN)).await;
    let long = format!("token={}", "x".repeat(8 * 1024));
    assert_eq!(admin.form("/console/sign-in", "", &long).await.status, 413);
    let body = format!(r#"{{"mode": "observe", "confirm": "{}"}}"#, "x".repeat(8 * 1024));
    assert_eq!(admin.api("PUT", "/api/v1/mode", &body).await.status, 413);
    let cookie = "x".repeat(20 * 1024);
    assert_eq!(admin.page("/console", &cookie).await.status, 431);
}

#[tokio::test]
async fn r122_a_bug_in_a_handler_is_a_500_and_the_listener_lives() {
    let admin = Admin::start(Some(TOKEN)).await;
    *admin.switch.current.lock().expect("no holder of the lock panics") = Err("canary of a bug");
    let answer = admin.api("GET", "/api/v1/mode", "").await;
    assert_eq!((answer.status, answer.header("content-type")), (500, Some("application/problem+json")));
    assert!(!answer.body.contains("canary"), "{}", answer.body);
    *admin.switch.current.lock().expect("no holder of the lock panics") = Ok(Mode::Migrate);
    assert_eq!(admin.api("GET", "/api/v1/mode", "").await.status, 200);
    assert!(admin.plain("GET", "/metrics").await.body.contains("authferry_panics_total 1"));
}

/// For a look at the console in a browser: `cargo nextest run --run-ignored only a_console_to_look_at --no-capture`.
#[tokio::test]
#[ignore = "serves until it is stopped"]
async fn a_console_to_look_at() {
    let admin = Admin::start_at("127.0.0.1:9097", Some("look")).await;
    admin.fill();
    let rules = IdentifierRules::default();
    for number in 10..140 {
        let email = format!("user{number}@example.com");
        let alias = rules.identifier(IdentifierKind::Email, &email, Some(true)).expect("a valid identifier");
        let hash = StoredHash::new(HASH.to_owned(), PasswordNormalization::None);
        admin.store.put(user(number, vec![alias], Credential::Argon2id(hash), json!({"name": "Somebody"})));
    }
    for (source, outcome, count) in [
        (Source::Local, Outcome::Ok, 1_204),
        (Source::Legacy, Outcome::Ok, 131),
        (Source::Local, Outcome::Denied, 48),
        (Source::Legacy, Outcome::Denied, 17),
        (Source::Legacy, Outcome::Unavailable, 3),
        (Source::Edge, Outcome::Limited, 9),
    ] {
        (0..count).for_each(|_| admin.metrics.login(&"login".into(), source, outcome));
    }
    (0..131).for_each(|_| admin.metrics.migration("login"));
    admin.metrics.migration_failure("conflict");
    admin.metrics.alarm("conflict");
    admin.metrics.registration(&"register".into(), Source::Local, Outcome::Ok);
    (0..12).for_each(|_| admin.metrics.comparison(&"login".into(), "match", "accepted"));
    for (id, other) in [(77, "countess2"), (78, EVIL)] {
        let names = [crate::store_people::email("ada@example.com"), crate::store_people::username(other)];
        let based_on = crate::store_people::revision(&*admin.store).await;
        let proven = crate::store_people::proven(id, &names, "two", based_on);
        admin.store.save_proven(proven).await.expect("a conflict");
    }
    for number in 200..700 {
        let days_ago = (number % 11 != 0).then_some(number * number % 600);
        admin.store.put(listed(number, &format!("straggler{number}"), days_ago, number % 90 * 10));
    }
    println!("http://{} with the token `look`", admin.addr);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn r110_names_that_are_configured_are_answered() {
    use crate::support::app::Running;
    let text = "[upstream]\nurl = \"http://127.0.0.1:1\"\n";
    let ask =
        async |proxy: &Running, host: &str| send(proxy.admin, "GET", "/metrics", &[("Host", host)], "").await.status;
    let proxy = crate::support::app::start_with_admin(text, "hosts = [\"authferry.internal\", \"scraped:9090\"]").await;
    for (host, status) in [
        ("authferry.internal", 200),
        ("AuthFerry.internal:8443", 200),
        ("scraped:9090", 200),
        ("scraped:9091", 421),
        ("evil.example", 421),
    ] {
        assert_eq!(ask(&proxy, host).await, status, "{host}");
    }
}

/// A user of a list, last seen so many days ago.
fn listed(number: u64, name: &str, days_ago: Option<u64>, value: u64) -> authferry::domain::user::User {
    let alias = IdentifierRules::default().identifier(IdentifierKind::Username, name, None).expect("a username");
    let mut listed = user(number, vec![alias], Credential::Absent(AbsentBecause::Roster), Value::Null);
    (listed.origin, listed.legacy_vouched_at) = (Origin::Roster, None);
    let last_seen = days_ago.map(|days| UnixSeconds(SystemClock.wall().0 - days * 86_400));
    listed.roster = Some(PortableRoster { last_seen, value: Some(value) });
    listed
}

#[tokio::test]
async fn stragglers_are_listed_by_bucket_in_pages() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    for (number, days_ago) in [(11, Some(1)), (12, Some(60)), (13, Some(200)), (14, Some(900)), (15, None)] {
        admin.store.put(listed(number, &format!("user{number}"), days_ago, number));
    }
    for (query, names) in [
        ("bucket=30d", &["user11"][..]),
        ("bucket=90d", &["user11", "user12"]),
        ("bucket=365d", &["user11", "user12", "user13"]),
        ("bucket=older", &["user14"]),
        ("bucket=365d&min_value=13", &["user13"]),
    ] {
        let list: StragglerList = admin.api("GET", &format!("/api/v1/stragglers?{query}"), "").await.json();
        let found: Vec<_> = list.stragglers.iter().map(|user| user.identifiers[0].value.as_str()).collect();
        assert_eq!((found.as_slice(), list.next), (names, None), "{query}");
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let list: StragglerList =
            admin.api("GET", &format!("/api/v1/stragglers?limit=2&after={after}"), "").await.json();
        found.extend(list.stragglers);
        match list.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(found.len(), 6, "everybody once, the one without facts too");
    assert!(found.is_sorted_by(|one, next| one.last_seen >= next.last_seen), "last seen first");
    for query in ["bucket=weekly", "limit=many", "min_value=-1", "offset=7"] {
        let answer = admin.api("GET", &format!("/api/v1/stragglers?{query}"), "").await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    let status: Status = admin.api("GET", "/api/v1/status", "").await.json();
    let roster = status.roster.expect("the store is well");
    let sums: Vec<_> = roster.buckets.iter().map(|sums| (sums.bucket.as_str(), sums.stragglers)).collect();
    assert_eq!(sums, [("30d", 1), ("90d", 2), ("365d", 3), ("older", 1), ("never", 2), ("all", 6)]);
    assert_eq!(roster.of(Bucket::Days90).straggler_value, 23);
    admin.store.set_health(StoreHealth::Down);
    assert_eq!(admin.api("GET", "/api/v1/stragglers", "").await.status, 503);
}

#[tokio::test]
async fn only_listed_users_can_be_forgotten_and_not_too_many_at_once() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    admin.store.put(listed(11, "user11", Some(1), 1));
    let list: StragglerList = admin.api("GET", "/api/v1/stragglers?bucket=30d", "").await.json();
    let named = Forgotten { id: list.stragglers[0].id, version: list.stragglers[0].version };
    let forget = |users: Vec<Forgotten>| serde_json::to_string(&Forget { users }).expect("JSON");
    let stale = Forgotten { version: named.version + 1, ..named };
    for (users, status, forgotten) in [
        (vec![stale], 200, Some(0)),
        (vec![named; MAX_FORGOTTEN + 1], 413, None),
        (vec![named], 200, Some(1)),
        (vec![named], 200, Some(0)),
    ] {
        let answer = admin.api("POST", "/api/v1/roster/forget", &forget(users)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if let Some(forgotten) = forgotten {
            assert_eq!(answer.json::<ForgottenCount>().forgotten, forgotten);
        }
    }
    assert_eq!(admin.api("GET", "/api/v1/users/11", "").await.status, 404);
}

#[tokio::test]
async fn r112_the_console_shows_stragglers_inert_and_hands_them_out_as_csv() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    admin.store.put(listed(11, &format!("{EVIL} too"), Some(1), 7));
    admin.store.put(listed(12, "=cmd|' /C calc'!A0", Some(2), 8));
    for number in 100..1_300 {
        admin.store.put(listed(number, &format!("user{number}"), Some(3), 1));
    }
    assert_eq!(admin.plain("GET", "/console/stragglers").await.header("location"), Some("/console/sign-in"));
    assert_eq!(admin.plain("GET", "/console/stragglers.csv").await.header("location"), Some("/console/sign-in"));
    let cookie = admin.sign_in().await;
    let overview = admin.page("/console", &cookie).await;
    for said in
        ["Who has come over", "active in 90 days", "retiring denies them", "nobody came over in the last 14 days"]
    {
        assert!(overview.body.contains(said), "{said}\n{}", overview.body);
    }
    let page = admin.page("/console/stragglers?bucket=30d", &cookie).await;
    assert!(page.status == 200 && page.body.contains("Next page") && !page.body.contains("<script>"), "{}", page.body);
    assert!(page.body.contains("&lt;script&gt;"), "{}", page.body);

    let file = admin.page("/console/stragglers.csv?bucket=30d", &cookie).await;
    assert_eq!(file.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(file.header("content-disposition"), Some("attachment; filename=\"stragglers-30d.csv\""));
    let lines: Vec<&str> = file.body.lines().collect();
    assert_eq!(lines.len(), 1 + 1_202, "a header and everybody, whatever the size of a page");
    assert_eq!(lines[0], "authferry_id,legacy_id,legacy_id_type,email,username,phone,last_seen,value");
    assert!(lines[1].contains("\"<script>alert('x')</script>\"\">"), "{}", lines[1]);
    assert!(lines[2].contains("'=cmd|' /C calc'!A0"), "{}", lines[2]);
    assert!(!file.body.contains("canary"), "no hash");
    assert_eq!(admin.page("/console/stragglers?bucket=weekly", &cookie).await.status, 400);
}
