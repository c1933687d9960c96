//! Limits end to end: who is refused, what he is told, and that a refusal costs neither a hash nor a question to legacy.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::app::{Running, start};
use crate::support::call_login::call_login;
use crate::support::legacy::{LegacyDouble, Misbehaviour, ann};
use crate::support::raw_client::{Answer, send};
use crate::support::service::{Kept, rig};
use crate::support::soon;

const ANN: &str = "ann@example.com";
const NOBODY: &str = "nobody@example.com";
const RIGHT: &str = "correct horse battery";
const HOME: &str = "192.0.2.1";

/// The tests' own address may say where a client is.
const TRUST: &str = r#"
    [trusted_proxies]
    cidrs = ["127.0.0.0/8"]
"#;

/// Changes that legacy carries out, and one login more with an answer of the operator's own to those over a limit.
const ROUTES: &str = r#"
    [[route]]
    name = "change"
    action = "change_password"
    match = { method = "POST", path = "/users/password" }
    request = { login = "/email", password = "/current", new_password = "/new" }
    forward.success = "status in [200, 204]"
    forward.denied = "status == 403"
    reply.ok = { status = 200, json = '"done, we say"' }
    reply.denied = { status = 403, json = '"no, we say"' }
    [[route]]
    name = "reset"
    action = "reset_password"
    match = { method = "POST", path = "/reset" }
    request = { login = "/email", new_password = "/new" }
    forward.success = "status in [200, 204]"
    forward.denied = "status == 403"
    [[route]]
    name = "delete"
    action = "delete_user"
    match = { method = "POST", path = "/delete" }
    request = { login = "/email", password = "/current" }
    forward.success = "status in [200, 204]"
    forward.denied = "status == 403"
    reply.denied = { status = 403, json = '"no, we say"' }
    [[route]]
    name = "forwarded"
    action = "login"
    match = { method = "POST", path = "/internal/login" }
    request = { login = "/email", password = "/password" }
    legacy = "forward"
    forward.success = "status == 200 and json.user.id is defined"
    forward.denied = "status == 401"
    forward.user = { id = "json.user.id", email = "json.user.email", username = "json.user.username", phone = "json.user.phone", profile = "json.user" }
    [[route]]
    name = "other-login"
    action = "login"
    match = { method = "POST", path = "/other-login" }
    request = { login = "/email", password = "/password" }
    legacy = "call"
    reply.limited = { status = 429, json = '{"later": {{ retry_after }}}', headers = { cache-control = "max-age=600" } }
"#;

async fn started(double: &LegacyDouble, mode: &str, more: &str) -> Running {
    start(&call_login(double, mode, &[more, TRUST, ROUTES].concat())).await
}

async fn post_from(proxy: &Running, addr: &str, path: &str, body: &Value) -> Answer {
    let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", addr)];
    send(proxy.public, "POST", path, &headers, &body.to_string()).await
}

async fn login_from(proxy: &Running, addr: &str, email: &str, password: &str) -> Answer {
    post_from(proxy, addr, "/login", &json!({ "email": email, "password": password })).await
}

/// How many hashes were computed and how often legacy was asked.
async fn cost(proxy: &Running, double: &LegacyDouble) -> (f64, usize) {
    (proxy.metric("authferry_password_duration_seconds_count", &[]).await, double.calls())
}

/// An answer without what time makes of it.
fn substance(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let masked = |(name, value): &(String, String)| match name.to_ascii_lowercase() {
        name if name == "retry-after" => (name, "soon".to_owned()),
        name if name == "ratelimit" => (name, value.split(";t=").next().unwrap_or_default().to_owned()),
        name => (name, value.clone()),
    };
    let headers = answer.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("date")).map(masked);
    (answer.status, headers.collect(), answer.body.clone())
}

#[tokio::test]
async fn r67_the_victim_logs_in_from_home_while_the_attack_goes_on_and_a_refusal_costs_nothing() {
    let double = LegacyDouble::well_behaved();
    let proxy = started(&double, "migrate", "").await;
    assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200);
    let mut statuses = Vec::new();
    for host in 0..10 {
        statuses.push(login_from(&proxy, &format!("10.0.0.{host}"), ANN, "wrong").await.status);
    }
    assert_eq!(statuses, [401; 10]);
    let before = cost(&proxy, &double).await;
    for (host, name) in (10..40).zip([ANN, "ANN@EXAMPLE.COM", "\u{e1}nn@example.com"].into_iter().cycle()) {
        let refused = login_from(&proxy, &format!("10.0.0.{host}"), name, RIGHT).await;
        assert_eq!(refused.status, 429, "{name} from 10.0.0.{host}");
    }
    assert_eq!(cost(&proxy, &double).await, before, "neither a hash nor a question");
    for _ in 0..5 {
        assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200);
    }
    assert_eq!(login_from(&proxy, HOME, ANN, "wrong").await.status, 401);
    assert_eq!(proxy.metric("authferry_rate_limited_total", &["scope=\"account\""]).await, 30.0);
}

#[tokio::test]
async fn r73_r74_whoever_is_refused_is_told_the_same_whether_there_is_such_an_account_or_not() {
    for mode in ["migrate", "retired"] {
        let double = LegacyDouble::well_behaved();
        let proxy = started(&double, "migrate", "").await;
        assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200);
        proxy.set_mode(mode).await;
        let mut told = Vec::new();
        for name in [ANN, NOBODY] {
            for attempt in 0..10 {
                let answer = login_from(&proxy, "10.0.1.1", name, "wrong").await;
                assert_eq!(answer.status, 401, "{name} {attempt}");
            }
            let answer = login_from(&proxy, "10.0.1.1", name, "wrong").await;
            let wait: u64 = answer.header("retry-after").and_then(|after| after.parse().ok()).expect("seconds");
            assert!((1..=90).contains(&wait), "{answer:?}");
            assert_eq!(answer.header("ratelimit-policy"), Some("\"account\";q=10;w=900"));
            assert_eq!(answer.header("ratelimit"), Some(&*format!("\"account\";r=0;t={wait}")));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            told.push(substance(&answer));
        }
        assert_eq!(told[0], told[1], "{mode}");
    }
}

#[tokio::test]
async fn r73_an_answer_of_the_operators_own_bears_the_fields_and_is_never_cached() {
    let double = LegacyDouble::well_behaved();
    let proxy = started(&double, "migrate", "").await;
    let body = json!({ "email": NOBODY, "password": "wrong" });
    for _ in 0..10 {
        assert_eq!(post_from(&proxy, HOME, "/other-login", &body).await.status, 401);
    }
    let answer = post_from(&proxy, HOME, "/other-login", &body).await;
    assert_eq!((answer.status, answer.header("cache-control")), (429, Some("no-store")), "{answer:?}");
    assert!(answer.json::<Value>()["later"].as_u64().is_some_and(|seconds| seconds <= 90));
    assert!(answer.header("ratelimit").is_some() && answer.header("ratelimit-policy").is_some());
}

#[tokio::test]
async fn r62_r73_an_address_over_its_limit_is_told_so_before_its_body_is_read() {
    let double = LegacyDouble::well_behaved();
    let text = call_login(&double, "migrate", TRUST).replacen("100000/1m\", burst = 100000", "3/1m\", burst = 3", 1);
    let proxy = start(&text).await;
    for _ in 0..3 {
        assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200);
    }
    let before = cost(&proxy, &double).await;
    let answer = login_from(&proxy, HOME, ANN, RIGHT).await;
    assert_eq!((answer.status, answer.header("ratelimit-policy")), (429, Some("\"address\";q=3;w=60")), "{answer:?}");
    assert_eq!(cost(&proxy, &double).await, before);
    assert_eq!(login_from(&proxy, "192.0.2.2", ANN, RIGHT).await.status, 200);
}

#[tokio::test]
async fn observing_refuses_nobody() {
    let double = LegacyDouble::well_behaved();
    let proxy = started(&double, "observe", "").await;
    for _ in 0..30 {
        assert_eq!(login_from(&proxy, HOME, ANN, "wrong").await.status, 401);
        let change = json!({ "email": ANN, "current": "wrong", "new": "a new password" });
        assert_eq!(post_from(&proxy, HOME, "/users/password", &change).await.status, 403);
    }
}

#[tokio::test]
async fn r65_everybody_who_shares_a_question_to_legacy_is_charged_for_it() {
    let double = LegacyDouble::well_behaved();
    let proxy = started(&double, "migrate", "").await;
    let logins = (0..40).map(|_| login_from(&proxy, HOME, NOBODY, "wrong"));
    let answers = futures_util::future::join_all(logins).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(401), count(429)), (10, 30));
    assert!(double.calls() <= 10, "{}", double.calls());
}

/// Sends a guess and goes away once legacy has it, and the edge has noticed.
async fn guess_and_leave(proxy: &Running, double: &LegacyDouble, path: &str, password: &str) {
    let body = json!({ "email": ANN, "password": password }).to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nX-Forwarded-For: 10.0.6.1\r\nContent-Length: {}",
        proxy.public,
        body.len()
    );
    let (calls, under_way) = (double.calls(), proxy.metric("authferry_requests", &[]).await);
    let mut client = TcpStream::connect(proxy.public).await.expect("a listener");
    client.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.expect("it is read");
    soon("the guess at legacy", double.until_calls(calls + 1)).await;
    drop(client);
    let left = async {
        while proxy.metric("authferry_requests", &[]).await > under_way {
            tokio::task::yield_now().await;
        }
    };
    soon("the edge to notice that the client left", left).await;
}

/// Waits until so many attempts have ended in a way.
async fn until_attempts(proxy: &Running, outcome: &str, count: f64) {
    let label = format!("outcome=\"{outcome}\"");
    let counted = async {
        while proxy.metric("authferry_password_attempts_total", &[&label]).await < count {
            tokio::task::yield_now().await;
        }
    };
    soon(&format!("{count} attempts {outcome}"), counted).await;
}

#[tokio::test]
async fn r62_r63_a_guess_counts_although_the_client_goes_away_before_legacy_answers() {
    for path in ["/login", "/internal/login"] {
        let double = LegacyDouble::well_behaved();
        let text = call_login(&double, "migrate", &[TRUST, ROUTES].concat());
        let proxy = start(&text.replace("timeout = \"400ms\"", "timeout = \"20s\"")).await;
        double.hold("/internal/login");
        for guess in 0..10 {
            guess_and_leave(&proxy, &double, path, &format!("guess {guess}")).await;
        }
        double.release();
        until_attempts(&proxy, "failed", 10.0).await;
        let before = cost(&proxy, &double).await;
        let next = post_from(&proxy, "10.0.6.2", path, &json!({ "email": ANN, "password": RIGHT })).await;
        assert_eq!(next.status, 429, "{path}");
        assert_eq!(cost(&proxy, &double).await, before, "{path}");
    }
}

#[tokio::test]
async fn r82_who_goes_away_while_legacy_hangs_has_not_failed() {
    for path in ["/login", "/internal/login"] {
        let double = LegacyDouble::misbehaving(Misbehaviour::NeverAnswers);
        let proxy = started(&double, "migrate", "").await;
        for guess in 0..12 {
            guess_and_leave(&proxy, &double, path, &format!("guess {guess}")).await;
        }
        let asked_to_the_end = async {
            while proxy.metric("authferry_legacy_in_flight", &[]).await > 0.0 {
                tokio::task::yield_now().await;
            }
        };
        soon("legacy to be given up", asked_to_the_end).await;
        assert_eq!(proxy.metric("authferry_password_attempts_total", &["outcome=\"failed\""]).await, 0.0, "{path}");
        double.behave(None);
        let next = post_from(&proxy, "10.0.6.1", path, &json!({ "email": ANN, "password": RIGHT })).await;
        assert_eq!(next.status, 200, "{path}: {next:?}");
    }
}

#[tokio::test]
async fn r65_everybody_who_shares_a_question_is_charged_for_it_although_all_have_gone_away() {
    let double = LegacyDouble::well_behaved();
    let rig = rig(&double, None, Kept::In(&Arc::default())).await;
    double.hold("/internal/login");
    let mut logins: Vec<_> = (0..5).map(|_| Box::pin(rig.login(ANN, "wrong"))).collect();
    // Nothing that a login waits for before its question can be pending here.
    for login in &mut logins {
        assert!(futures_util::poll!(login).is_pending());
    }
    double.until_calls(1).await;
    drop(logins);
    double.release();
    let counted = async {
        while rig.metric("authferry_password_attempts_total", "outcome=\"failed\"") < 5.0 {
            tokio::task::yield_now().await;
        }
    };
    soon("five failures", counted).await;
    assert_eq!(double.calls(), 1, "one question");
}

#[tokio::test]
async fn r62_passwords_are_guessed_no_faster_by_changes_resets_and_deletions_than_by_logins() {
    for (path, addr) in [("/users/password", "10.0.2.1"), ("/delete", "10.0.2.2"), ("/reset", "10.0.2.3")] {
        let double = LegacyDouble::well_behaved();
        let proxy = started(&double, "migrate", "").await;
        assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200);
        double.say("POST", path, 403, &[], "no");
        let guess = json!({ "email": ANN, "current": "wrong", "new": "a new password" });
        for attempt in 0..10 {
            assert_eq!(post_from(&proxy, addr, path, &guess).await.status, 403, "{path} {attempt}");
        }
        let before = cost(&proxy, &double).await;
        assert_eq!(post_from(&proxy, addr, path, &guess).await.status, 429, "{path}");
        assert_eq!(login_from(&proxy, addr, ANN, RIGHT).await.status, 429, "{path}: one budget for all");
        assert_eq!(cost(&proxy, &double).await, before, "{path}");
        assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn r62_a_stolen_session_is_no_way_to_guess_by_naming_somebody_else_each_time() {
    let double = LegacyDouble::well_behaved();
    let proxy = started(&double, "migrate", "").await;
    let guess =
        |number| json!({ "email": format!("user{number}@example.com"), "current": "wrong", "new": "a new password" });
    for number in 0..10 {
        assert_eq!(post_from(&proxy, "10.0.3.1", "/users/password", &guess(number)).await.status, 403);
    }
    let before = double.calls();
    assert_eq!(post_from(&proxy, "10.0.3.1", "/users/password", &guess(11)).await.status, 429);
    assert_eq!(double.calls(), before);
    assert_eq!(post_from(&proxy, "10.0.3.2", "/users/password", &guess(12)).await.status, 403, "from elsewhere");
}

#[tokio::test]
async fn r67_a_done_that_may_be_somebody_elses_makes_no_network_known() {
    let double = LegacyDouble::well_behaved();
    let proxy = started(&double, "migrate", "").await;
    // Legacy goes by the attacker's session and changes his own password, while the body names Ann.
    double.say("POST", "/users/password", 200, &[], "{}");
    let change = json!({ "email": ANN, "current": "x", "new": "attackers" });
    assert_eq!(post_from(&proxy, "10.0.4.1", "/users/password", &change).await.status, 200);
    for host in 2..12 {
        assert_eq!(login_from(&proxy, &format!("10.0.4.{host}"), ANN, "wrong").await.status, 401);
    }
    assert_eq!(login_from(&proxy, "10.0.4.1", ANN, "wrong").await.status, 429);
}

#[tokio::test]
async fn r62_a_login_that_confirms_a_change_is_a_guess_at_whom_the_body_names() {
    let changes =
        [json!({ "email": ANN, "current": "x" }), json!({ "email": ANN, "current": "" }), json!({ "email": ANN })];
    for (mut change, path) in changes.into_iter().zip(["/users/password", "/users/password", "/reset"]) {
        let double = LegacyDouble::well_behaved();
        let proxy = started(&double, "migrate", "").await;
        assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200);
        // Legacy goes by the attacker's session and changes his own password, each time to a guess at Ann's.
        double.say("POST", path, 200, &[], "{}");
        for guess in 0..10 {
            change["new"] = json!(format!("guess {guess}"));
            assert_eq!(post_from(&proxy, "10.0.8.1", path, &change).await.status, 200, "{path} {guess}");
        }
        let before = double.calls();
        assert_eq!(post_from(&proxy, "10.0.8.1", path, &change).await.status, 429, "{change}");
        assert_eq!(login_from(&proxy, "10.0.8.2", ANN, RIGHT).await.status, 429, "{change}: one budget for all");
        assert_eq!(double.calls(), before, "{change}");
        assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200, "{change}: she herself is not held up");
    }
}

#[tokio::test]
async fn r67_a_yes_to_somebody_else_makes_no_network_known_and_ends_no_row() {
    let (other, nameless) =
        (json!({ "user": { "id": 9, "email": "eve@example.com" } }), json!({ "user": { "id": 9 } }));
    // To a session of the attacker's own that he sends along, legacy says yes whatever the body names.
    for (yes, counts) in [(other, 1), (nameless, 0)] {
        let double = LegacyDouble::well_behaved();
        let proxy = started(&double, "migrate", "").await;
        let guess = |host: u8, password: &'static str| {
            let body = json!({ "email": ANN, "password": password });
            let proxy = &proxy;
            async move { post_from(proxy, &format!("10.0.7.{host}"), "/internal/login", &body).await.status }
        };
        double.say("POST", "/internal/login", 200, &[("content-type", "application/json")], &yes.to_string());
        assert_eq!(guess(1, "x").await, 200, "legacy's own answer");
        double.say("POST", "/internal/login", 401, &[], "no");
        for host in 2..12 - counts {
            assert_eq!(guess(host, "wrong").await, 401, "{yes} {host}");
        }
        let before = double.calls();
        assert_eq!(guess(1, "wrong").await, 429, "{yes}: a stranger");
        assert_eq!(double.calls(), before, "{yes}");
    }
}

#[tokio::test]
async fn r62_whoever_makes_legacy_answer_something_else_tries_no_passwords_against_our_hash_for_nothing() {
    let nameless = json!({ "user": { "id": 9 } }).to_string();
    for (status, body) in [(422, "the form has expired"), (200, &*nameless)] {
        let double = LegacyDouble::well_behaved();
        let proxy = started(&double, "migrate", "").await;
        assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200);
        double.say("POST", "/internal/login", status, &[("content-type", "application/json")], body);
        let guess = |host: u8, password: String| {
            let body = json!({ "email": ANN, "password": password });
            let proxy = &proxy;
            async move { post_from(proxy, &format!("10.0.11.{host}"), "/internal/login", &body).await.status }
        };
        for host in 0..10 {
            assert_ne!(guess(host, format!("guess {host}")).await, 429, "{status} {host}");
        }
        assert_eq!(guess(11, RIGHT.to_owned()).await, 429, "{status}");
        assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200, "{status}: she herself is not held up");
    }
}

#[tokio::test]
async fn r62_with_legacy_gone_a_change_is_limited_like_a_login() {
    let double = LegacyDouble::well_behaved();
    let proxy = started(&double, "migrate", "").await;
    assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200);
    proxy.set_mode("retired").await;
    let guess = json!({ "email": ANN, "current": "wrong", "new": "a new password" });
    for _ in 0..10 {
        assert_eq!(post_from(&proxy, "10.0.5.1", "/users/password", &guess).await.status, 403);
    }
    let before = cost(&proxy, &double).await;
    assert_eq!(post_from(&proxy, "10.0.5.1", "/users/password", &guess).await.status, 429);
    assert_eq!(login_from(&proxy, "10.0.5.1", ANN, RIGHT).await.status, 429);
    assert_eq!(cost(&proxy, &double).await, before);
    assert_eq!(login_from(&proxy, HOME, ANN, RIGHT).await.status, 200);
}

#[tokio::test]
async fn r66_the_backoff_of_the_configuration_holds() {
    let double = LegacyDouble::well_behaved();
    let text = call_login(&double, "migrate", TRUST).replace(
        "register_per_ip =",
        "backoff = { after = 5, max = \"1h\", give_up = 6, give_up_for = \"2h\" }\n register_per_ip =",
    );
    let proxy = start(&text).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(login_from(&proxy, HOME, &ann().email, "wrong").await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
}

#[tokio::test]
async fn r76_a_spray_shows_in_the_metrics() {
    let double = LegacyDouble::well_behaved();
    let proxy = started(&double, "migrate", "").await;
    for number in 0..40 {
        assert_eq!(login_from(&proxy, HOME, &format!("user{number}@example.com"), "wrong").await.status, 401);
    }
    let signal = ["signal=\"many_users_from_one_network\""];
    assert_eq!(proxy.metric("authferry_attack_signals_total", &signal).await, 1.0);
    assert_eq!(proxy.metric("authferry_password_attempts_total", &["outcome=\"failed\""]).await, 40.0);
}
