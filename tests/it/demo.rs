//! The demo over sockets: its legacy app by itself, and the proxy in front of it by the built-in configuration.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use authferry::app::App;
use authferry::config::{Config, Environment};
use authferry::demo::{self, DEMO_USERS, DemoLegacy, DemoListeners, DemoPlaces, DemoUser};
use authferry::domain::clock::SystemClock;
use authferry::http::listener::BoundAddress;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::raw_client::{Answer, send};

const ADA: DemoUser = DEMO_USERS[0];
const ZOE: DemoUser = DEMO_USERS[4];

async fn legacy() -> DemoLegacy {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let listeners = DemoListeners { app: bind().await.expect("a port"), auth: bind().await.expect("a port") };
    DemoLegacy::start(listeners, Arc::new(SystemClock)).expect("a legacy")
}

async fn post_json(to: SocketAddr, target: &str, body: Value) -> Answer {
    send(to, "POST", target, &[("Content-Type", "application/json")], &body.to_string()).await
}

async fn log_in(to: SocketAddr, login: &str, password: &str) -> Answer {
    post_json(to, "/api/login", json!({"login": login, "password": password})).await
}

async fn sign_in(to: SocketAddr, login: &str, password: &str) -> Answer {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("user[login]", login)
        .append_pair("user[password]", password)
        .finish();
    send(to, "POST", "/users/sign_in", &[("Content-Type", "application/x-www-form-urlencoded")], &form).await
}

/// What the app makes of a session.
async fn session(app: SocketAddr, name: &str, value: &str) -> Answer {
    send(app, "GET", "/app", &[("Accept", "application/json"), (name, value)], "").await
}

fn cookie(answer: &Answer) -> String {
    let line = answer.header("set-cookie").unwrap_or_else(|| panic!("a cookie: {answer:?}"));
    line.split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn the_legacy_logs_its_users_in_and_nobody_else() {
    let legacy = legacy().await;
    for to in [legacy.app_addr(), legacy.auth_addr()] {
        for user in DEMO_USERS {
            let answer = log_in(to, user.email, user.password).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let body: Value = answer.json();
            assert_eq!(body["user"]["name"], user.name);
            let bearer = format!("Bearer {}", body["token"].as_str().expect("a token"));
            let claims: Value = session(legacy.app_addr(), "Authorization", &bearer).await.json();
            assert_eq!((&claims["email"], &claims["via"]), (&json!(user.email), &json!("legacy")));
            assert_eq!(session(legacy.app_addr(), "Cookie", &cookie(&answer)).await.status, 200);
        }
        for (login, password) in [(ADA.email, "wrong"), (ADA.email, ""), ("nobody", ADA.password), ("", "")] {
            assert_eq!(log_in(to, login, password).await.status, 401, "{login} {password}");
        }
        assert_eq!(post_json(to, "/api/login", json!({"login": ADA.email})).await.status, 400);
    }
    assert_eq!(legacy.logins(), 2 * (5 + 4), "malformed ones are not judged");
}

#[tokio::test]
async fn the_form_redirects_whatever_happens_and_only_success_sets_the_cookie() {
    let legacy = legacy().await;
    let right = sign_in(legacy.app_addr(), ZOE.username, ZOE.password).await;
    assert_eq!((right.status, right.header("location")), (303, Some("/app")));
    let page = send(legacy.app_addr(), "GET", "/app", &[("Cookie", &cookie(&right))], "").await;
    assert!(page.status == 200 && page.body.contains("Welcome, Zoë Müller"), "{page:?}");
    let wrong = sign_in(legacy.app_addr(), ZOE.username, "wrong").await;
    assert_eq!(
        (wrong.status, wrong.header("location"), wrong.header("set-cookie")),
        (303, Some("/login?failed=1"), None)
    );
    let page = send(legacy.app_addr(), "GET", "/login?failed=1", &[], "").await;
    assert!(page.body.contains("Wrong name or password."));
    let out = send(legacy.app_addr(), "POST", "/users/sign_out", &[], "").await;
    assert!(out.header("set-cookie").is_some_and(|line| line.starts_with("session=; ") && line.contains("Max-Age=0")));
}

#[tokio::test]
async fn a_session_that_the_shared_key_did_not_sign_is_none() {
    let legacy = legacy().await;
    let token = log_in(legacy.app_addr(), ADA.email, ADA.password).await.json::<Value>()["token"].clone();
    let token = token.as_str().expect("a token");
    let (body, _) = token.rsplit_once('.').expect("a signature");
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIiwiZW1haWwiOiJhIiwibmFtZSI6ImEiLCJ2aWEiOiJhIiwiaWF0IjowLCJleHAiOjk5OTk5OTk5OTl9.";
    for forged in [format!("{body}."), format!("{body}.AAAA"), unsigned.to_owned(), String::new()] {
        let answer = session(legacy.app_addr(), "Authorization", &format!("Bearer {forged}")).await;
        assert_eq!(answer.status, 401, "{forged}");
    }
    let answer = send(legacy.app_addr(), "GET", "/app", &[], "").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/login")));
}

#[tokio::test]
async fn the_legacy_registers_a_name_once_and_tells_the_house_whom_it_knows() {
    let legacy = legacy().await;
    let new = json!({"email": "new@example.com", "name": "New", "password": "long enough"});
    let answer = post_json(legacy.app_addr(), "/api/register", new.clone()).await;
    assert_eq!((answer.status, &answer.json::<Value>()["user"]["id"]), (201, &json!(1006)));
    assert_eq!(post_json(legacy.app_addr(), "/api/register", new).await.status, 409);
    for bad in
        [json!({"email": "x@y", "password": "short"}), json!({"email": "x", "password": "long enough"}), json!([])]
    {
        assert_eq!(post_json(legacy.app_addr(), "/api/register", bad.clone()).await.status, 400, "{bad}");
    }
    let internal =
        async |login: &str| send(legacy.auth_addr(), "GET", &format!("/internal/users/{login}"), &[], "").await;
    assert_eq!(internal("new%40example.com").await.json::<Value>()["id"], 1006);
    assert_eq!(internal("zo%C3%AB").await.json::<Value>()["email"], ZOE.email);
    assert_eq!(internal("nobody").await.status, 404);
    let login = |password| json!({"login": ADA.username, "password": password});
    let answer = post_json(legacy.auth_addr(), "/internal/login", login(ADA.password)).await;
    assert_eq!(answer.json::<Value>()["user"]["phone"], ADA.phone);
    assert_eq!(post_json(legacy.auth_addr(), "/internal/login", login("wrong")).await.status, 401);
    for path in ["/internal/users/ada", "/internal/login"] {
        assert_eq!(
            send(legacy.app_addr(), "GET", path, &[], "").await.status,
            404,
            "the app's address shows no {path}"
        );
    }
    assert_eq!(legacy.users(), 6);
}

#[tokio::test]
async fn the_auth_backend_goes_off_and_comes_back_as_it_was() {
    let mut legacy = legacy().await;
    let new = json!({"email": "new@example.com", "password": "long enough"});
    assert_eq!(post_json(legacy.auth_addr(), "/api/register", new).await.status, 201);
    let session_cookie = cookie(&log_in(legacy.app_addr(), ADA.email, ADA.password).await);
    let idle = TcpStream::connect(legacy.auth_addr()).await.expect("a connection");
    for _ in 0..2 {
        legacy.stop().await;
        assert!(!legacy.is_running());
    }
    drop(idle);
    assert!(TcpStream::connect(legacy.auth_addr()).await.is_err(), "refused");
    assert_eq!(log_in(legacy.app_addr(), ADA.email, ADA.password).await.status, 503);
    assert_eq!(session(legacy.app_addr(), "Cookie", &session_cookie).await.status, 200, "the app itself goes on");
    for _ in 0..2 {
        legacy.resume().await.expect("the same address");
        assert!(legacy.is_running());
    }
    assert_eq!(log_in(legacy.auth_addr(), "new@example.com", "long enough").await.status, 200);
}

/// The demo as `authferry demo` puts it together.
struct Demo {
    legacy: DemoLegacy,
    proxy: SocketAddr,
    admin: SocketAddr,
    _store: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

async fn whole_demo() -> Demo {
    let legacy = legacy().await;
    let directory = tempfile::tempdir().expect("a directory");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let places = DemoPlaces {
        public: any,
        admin: any,
        app: legacy.app_addr(),
        legacy: legacy.auth_addr(),
        store: &directory.path().join("users.redb"),
        admin_token: "made-for-this-demo",
    };
    let overrides = demo::overrides(&places);
    let environment =
        Environment::new(overrides.iter().map(|(name, value)| (*name, value.as_str())), NonZeroUsize::MIN);
    let config = Config::from_text(demo::CONFIG, demo::CONFIG_NAME, &environment);
    let app = App::build(config.unwrap_or_else(|problems| panic!("{problems}"))).await.expect("an app");
    let proxy = match app.addresses().public[0] {
        BoundAddress::Tcp(addr) => addr,
        ref other => panic!("{other:?}"),
    };
    let admin = app.addresses().admin.expect("an admin listener");
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(app.run(async {
        let _ = stopped.await;
    }));
    Demo { legacy, proxy, admin, _store: directory, _stop: stop }
}

async fn via(demo: &Demo, answer: &Answer) -> String {
    let claims: Value = session(demo.proxy, "Cookie", &cookie(answer)).await.json();
    claims["via"].as_str().unwrap_or_else(|| panic!("{claims}")).to_owned()
}

#[tokio::test]
async fn users_come_over_at_their_first_login_and_the_legacy_may_go() {
    let mut demo = whole_demo().await;
    let first = log_in(demo.proxy, ADA.email, ADA.password).await;
    assert_eq!(first.status, 200, "{first:?}");
    let body: Value = first.json();
    assert_eq!(body["user"], json!({"id": 1001, "email": ADA.email, "name": ADA.name}));
    assert_eq!(via(&demo, &first).await, "authferry");
    let first = sign_in(demo.proxy, ZOE.username, ZOE.password).await;
    assert_eq!((first.status, first.header("location")), (303, Some("/app")), "{first:?}");
    assert_eq!(via(&demo, &first).await, "legacy", "its own answer came back");
    let wrong = sign_in(demo.proxy, ADA.username, "wrong").await;
    assert_eq!(
        (wrong.status, wrong.header("location"), wrong.header("set-cookie")),
        (303, Some("/login?failed=1"), None)
    );
    let judged = demo.legacy.logins();
    let landing = send(demo.proxy, "GET", "/", &[], "").await.body;
    assert!(
        landing.contains(&format!("http://{}/api/login", demo.proxy)),
        "what it tells to try leads through the proxy"
    );

    demo.legacy.stop().await;
    for login in [ADA.email, ADA.username, ADA.phone] {
        let answer = log_in(demo.proxy, login, ADA.password).await;
        assert_eq!((answer.status, &answer.json::<Value>()["user"]), (200, &body["user"]), "{login}");
    }
    let again = sign_in(demo.proxy, ZOE.email, ZOE.password).await;
    assert_eq!((again.status, again.header("location")), (303, Some("/app")), "{again:?}");
    assert_eq!(via(&demo, &again).await, "authferry");
    let straggler = DEMO_USERS[1];
    assert_eq!(log_in(demo.proxy, straggler.email, straggler.password).await.status, 503, "never \"wrong password\"");
    assert_eq!(send(demo.proxy, "GET", "/login", &[], "").await.status, 200);

    demo.legacy.resume().await.expect("the same address");
    assert_eq!(demo.legacy.logins(), judged);
    let bearer = [("Authorization", "Bearer made-for-this-demo")];
    let status: Value = send(demo.admin, "GET", "/api/v1/status", &bearer, "").await.json();
    assert_eq!(status["users"]["migrated"], 2, "{status}");
}

#[tokio::test]
async fn a_registration_through_the_proxy_is_ours_alone_and_answers_in_the_apps_shape() {
    let demo = whole_demo().await;
    let new = json!({"email": "new@example.com", "name": "New", "password": "long enough"});
    let ours = post_json(demo.proxy, "/api/register", new.clone()).await;
    assert_eq!(ours.status, 201, "{ours:?}");
    let theirs = post_json(
        demo.legacy.app_addr(),
        "/api/register",
        json!({"email": "b@example.com", "password": "long enough"}),
    );
    let keys = |answer: &Answer| {
        let body: Value = answer.json();
        let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        (keys(&body), keys(&body["user"]))
    };
    assert_eq!(keys(&ours), keys(&theirs.await));
    assert_eq!(via(&demo, &ours).await, "authferry");
    assert_eq!(log_in(demo.proxy, "new@example.com", "long enough").await.status, 200);
    assert_eq!(log_in(demo.legacy.auth_addr(), "new@example.com", "long enough").await.status, 401);
    assert_eq!(post_json(demo.proxy, "/api/register", new).await.status, 409);
    let taken = json!({"email": ADA.email, "name": "Eve", "password": "long enough"});
    assert_eq!(post_json(demo.proxy, "/api/register", taken).await.status, 409, "legacy has this name");
}
