//! The pieces that a request passes, each alone: how long it takes to judge a head, to find a path's one spelling and its route, to
//! count an address, to read a login, to fill in an answer. `cargo bench --bench pieces`. What they come to together is counted by
//! `benches/instructions`.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use authferry::config::{Config, Environment};
use authferry::domain::client_addr::ClientAddr;
use authferry::domain::clock::SystemClock;
use authferry::http::decode::decode;
use authferry::http::framing::{HeadRules, Scanner};
use authferry::http::gate::GatePolicy;
use authferry::http::path::{CanonicalTarget, PathPolicy};
use authferry::http::router::Router;
use authferry::limits::Limits;
use authferry::net::field_value::value_run;
use authferry::service::ports::{AddressBucket, AddressLimits as _};
use authferry::telemetry::Metrics;
use authferry::template;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a browser sends, or thereabouts.
const HEAD: &[u8] = b"GET /api/things?page=1 HTTP/1.1\r\nhost: app.example\r\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    accept: application/json, text/plain, */*\r\naccept-language: en-US,en;q=0.5\r\naccept-encoding: gzip, deflate, br, zstd\r\n\
    referer: https://app.example/things\r\ncookie: session=0123456789abcdef0123456789abcdef\r\nsec-fetch-site: same-origin\r\n\r\n";
const LOGIN: &[u8] = br#"{"email":"known@example.com","password":"correct horse battery","remember":true}"#;

const CONFIG: &str = r#"
    [[listener]]
    bind = "127.0.0.1:0"
    [upstream]
    url = "http://127.0.0.1:1"
    [legacy]
    url = "http://127.0.0.1:1"
    [legacy.login]
    request = { method = "POST", path = "/login", json = { email = "{{ login }}", password = "{{ password }}" } }
    success = "status == 200"
    denied = "status == 401"
    user = { id = "json.user.id", email = "json.user.email" }
    [[route]]
    name = "login"
    action = "login"
    match = { method = "POST", path = "/api/login" }
    request = { login = "/email", password = "/password" }
    legacy = "call"
    reply.ok = { status = 200, json = '{"token": {{ token | tojson }}, "user": {{ user | tojson }}}' }
    [token]
    key = { value = "only-for-the-bench-change-me-32-bytes!" }
    [limits]
    per_ip = { rate = "1000000/1s", burst = 1000000 }
    [admin]
    bind = "off"
"#;

fn config() -> Config {
    let environment = Environment::new([], NonZeroUsize::MIN);
    Config::from_text(CONFIG, "bench", &environment).unwrap_or_else(|error| panic!("{error}"))
}

fn heads(criterion: &mut Criterion) {
    let config = config();
    let rules = HeadRules::new(&config.edge.bounds, GatePolicy::default());
    criterion.bench_function("judge a head", |bencher| {
        let mut scanner = Scanner::new(rules);
        bencher.iter(|| scanner.feed(black_box(HEAD)));
    });
    criterion.bench_function("a run of 80 bytes of a value", |bencher| {
        let value = [b'a'; 80];
        bencher.iter(|| value_run(black_box(&value)));
    });
}

fn paths(criterion: &mut Criterion) {
    let router = Router::new(&config().edge.routes).expect("routes");
    let headers = HeaderMap::new();
    for target in ["/api/things?page=1", "/api/%74hings/a%20b?page=%31", "/api/login"] {
        let received = target.parse().expect("a target");
        criterion.bench_function(&format!("canonical {target}"), |bencher| {
            bencher.iter(|| CanonicalTarget::parse(black_box(&received), PathPolicy::Strict));
        });
        let canonical = CanonicalTarget::parse(&received, PathPolicy::Strict).expect("a target");
        criterion.bench_function(&format!("route {target}"), |bencher| {
            bencher.iter(|| router.route(&Method::POST, black_box(&canonical), &headers));
        });
    }
}

fn logins(criterion: &mut Criterion) {
    let config = config();
    let limits = Limits::new(config.limits, Arc::new(SystemClock), Arc::new(Metrics::new()));
    criterion.bench_function("count one of 65,536 addresses", |bencher| {
        let mut number = 0_u32;
        bencher.iter(|| {
            number = (number + 1) % 65_536;
            let client = ClientAddr::supposed(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)));
            limits.admit(client, AddressBucket::Intercepted)
        });
    });
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    criterion.bench_function("read a login", |bencher| bencher.iter(|| decode(&headers, black_box(LOGIN))));
    let reply = config.edge.routes[0].replies.ok.as_ref().expect("an answer").body.as_ref().expect("a body");
    let user = serde_json::json!({ "id": "7", "email": "known@example.com", "profile": { "name": "A. User", "roles": ["a"] } });
    let context = template::context(serde_json::json!({ "token": "x".repeat(200), "user": user }));
    criterion.bench_function("fill in an answer", |bencher| bencher.iter(|| reply.render(black_box(&context))));
}

criterion_group!(pieces, heads, paths, logins);
criterion_main!(pieces);
