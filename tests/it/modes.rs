//! The modes end to end: observing changes nothing for anybody and compares everything, a share of the users is answered here, and the
//! kill switch works at run time.

use serde_json::{Value, json};

use crate::support::app::{Running, start};
use crate::support::configs::*;
use crate::support::legacy::{DoubleUser, LegacyDouble, Misbehaviour, ann};
use crate::support::raw_client::{Answer, send, send_raw};

const ANN: &str = "ann@example.com";
const RIGHT: &str = "correct horse battery";

async fn sign_in(proxy: &Running, email: &str, password: &str) -> Answer {
    proxy.post_form("/users/sign_in", &[("user[email]", email), ("user[password]", password)]).await
}

async fn legacys_own(double: &LegacyDouble, email: &str, password: &str) -> Answer {
    let fields = [("user[email]", email), ("user[password]", password)];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    send(double.address(), "POST", "/users/sign_in", &[("Content-Type", "application/x-www-form-urlencoded")], &body)
        .await
}

async fn cell(proxy: &Running, local: &str, legacy: &str) -> f64 {
    let (local, legacy) = (format!("local=\"{local}\""), format!("legacy=\"{legacy}\""));
    proxy.metric("authferry_comparisons_total", &[&local, &legacy]).await
}

#[tokio::test]
async fn observing_relays_legacys_answers_to_the_byte_saves_and_fills_the_four_cells() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&in_mode("observe", &double, &[GET_USER, WEB_LOGIN, TOKEN])).await;
    let observed = async |email: &'static str, password: &'static str| {
        let theirs = legacys_own(&double, email, password).await;
        let relayed = sign_in(&proxy, email, password).await;
        assert_eq!(substance(&relayed), substance(&theirs), "{email} {password}");
    };
    observed(ANN, "wrong").await;
    assert_eq!((proxy.users().await, cell(&proxy, "absent", "denied").await), (0, 1.0));
    observed(ANN, RIGHT).await;
    assert_eq!((proxy.users().await, cell(&proxy, "absent", "accepted").await), (1, 1.0));
    observed(ANN, RIGHT).await;
    observed(ANN, "wrong").await;
    double.put_user(DoubleUser { password: "the new one".into(), ..ann() });
    observed(ANN, RIGHT).await;
    observed(ANN, "the new one").await;
    for (local, legacy) in
        [("match", "accepted"), ("mismatch", "denied"), ("match", "denied"), ("mismatch", "accepted")]
    {
        assert_eq!(cell(&proxy, local, legacy).await, 1.0, "{local} {legacy}");
    }
    observed(ANN, "the new one").await;
    assert_eq!(cell(&proxy, "match", "accepted").await, 2.0, "the new password was learnt");
    double.say("POST", "/users/sign_in", 500, &[("content-type", "text/plain")], "oops");
    let broken = sign_in(&proxy, ANN, "the new one").await;
    assert_eq!((broken.status, &*broken.body), (500, "oops"), "its own outage too");
    assert_eq!(cell(&proxy, "match", "unavailable").await, 1.0);
}

#[tokio::test]
async fn shapes_are_compared_field_by_field() {
    let apps_own = json!({ "token": "t", "user": ann().profile(), "expires": 3600 }).to_string();
    let right = LOGIN.replace("{\"token\"", "{\"expires\": 60, \"token\"");
    let wrong = LOGIN
        .replace("{\"token\"", "{\"expires\": \"60\", \"more\": 1, \"token\"")
        .replace("reply.ok = { status = 200", "reply.ok = { status = 201");
    for (route, fields) in [(right, &[][..]), (wrong, &["body.expires", "body.more", "status"][..])] {
        let double = LegacyDouble::well_behaved();
        double.say("POST", "/login", 200, &[("content-type", "application/json")], &apps_own);
        let proxy = start(&in_mode("observe", &double, &[CALL_LOGIN, &route, TOKEN])).await;
        for _ in 0..2 {
            let answer = proxy.login(ANN, RIGHT).await;
            assert_eq!((answer.status, &answer.body), (200, &apps_own), "the app's own");
        }
        assert_eq!(proxy.users().await, 1, "the composed call proved her");
        for field in fields {
            let label = format!("field=\"{field}\"");
            assert_eq!(proxy.metric("authferry_shape_differences_total", &[&label]).await, 2.0, "{field}");
        }
        let all = proxy.metric("authferry_shape_differences_total", &[]).await;
        assert_eq!(all, f64::from(u32::try_from(2 * fields.len()).expect("few")));
        // A composed call that says no to what the app let in is a difference that must not be saved.
        assert_eq!(proxy.login("stranger@example.com", "anything").await.status, 200);
        assert_eq!(proxy.users().await, 1);
    }
}

#[tokio::test]
async fn r31_observing_refuses_nothing_that_the_app_would_take() {
    let double = LegacyDouble::well_behaved();
    let strict = base(&double, "mode = \"observe\"", PATIENT)
        .replace("per_ip = { rate = \"100000/1m\", burst = 100000 }", "per_ip = { rate = \"1/1h\", burst = 1 }")
        .replace("\"100/15m\", burst = 100,", "\"1/15m\", burst = 1,");
    let proxy = start(&[&strict, GET_USER, WEB_LOGIN, TOKEN, CALL_LOGIN, LOGIN].concat()).await;
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    let long = "x".repeat(40_000);
    for (method, target, content_type, body) in [
        ("POST", "/login", json, "{\"email\":\"a\",\"email\":\"b\""),
        ("POST", "/login", "text/plain", "anything"),
        ("POST", "/login", json, &*long),
        ("POST", "/login?email=x", json, r#"{"email":"a@b.c","password":"x"}"#),
        ("POST", "/users/sign_in", form, "user[email]=a&user[email]=b&user[password]=x;y%"),
        ("PUT", "/users/sign_in", form, "user[email]=a&user[password]=x"),
    ] {
        let answer = send(proxy.public, method, target, &[("Content-Type", content_type)], body).await;
        let own = if (method, target) == ("POST", "/users/sign_in") { 422 } else { 404 };
        assert_eq!(answer.status, own, "the double's own word on {method} {target}: {answer:?}");
        let got = double.requests().pop().expect("it was sent on");
        assert_eq!((&*got.method, &*got.target, got.header("content-type")), (method, target, Some(content_type)));
        assert!(got.body == body.as_bytes(), "{method} {target}: its very bytes");
    }
    // A body that does not say how long it is, and is too long to be looked at.
    let chunked = format!(
        "POST /login HTTP/1.1\r\nHost: {}\r\nContent-Type: {json}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        proxy.public,
        long.len()
    );
    let answer = send_raw(proxy.public, chunked.as_bytes()).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(double.requests().pop().expect("it was sent on").body == long.as_bytes(), "not a byte is lost");
    for _ in 0..5 {
        assert_eq!(sign_in(&proxy, ANN, "wrong").await.status, 422, "over every limit");
    }
    assert_eq!(sign_in(&proxy, ANN, RIGHT).await.status, 303);
    assert_eq!(proxy.users().await, 1);
    let counted = proxy.metric("authferry_refused_requests_total", &[]).await;
    assert!(counted >= 7.0, "what `migrate` would refuse is counted: {counted}");
}

#[tokio::test]
async fn a_share_of_the_users_is_answered_here_and_always_the_same_ones() {
    for (share, expected) in [(0, 0..=0), (50, 4..=28), (100, 32..=32)] {
        let double = LegacyDouble::well_behaved();
        let migration = format!("mode = \"migrate\"\nlocal_share = {share}");
        let proxy = start(&[&base(&double, &migration, PATIENT), TOKEN, CALL_LOGIN, LOGIN].concat()).await;
        let users: Vec<String> = (0..32).map(|number| format!("user{number}@example.com")).collect();
        for (number, email) in (100..).zip(&users) {
            let (username, phone) = (format!("user{number}"), format!("+49 170 {number}"));
            double.put_user(DoubleUser { id: number, email: email.clone(), username, phone, ..ann() });
            assert_eq!(proxy.login(email, RIGHT).await.status, 200);
        }
        assert_eq!(proxy.users().await, 32, "all of them are learnt");
        let answered_here = async || {
            double.behave(Some(Misbehaviour::HangsUp));
            let mut here = Vec::new();
            for email in &users {
                match proxy.login(&email.to_uppercase(), RIGHT).await.status {
                    200 => here.push(email.clone()),
                    status => assert_eq!(status, 503, "{email}"),
                }
            }
            here
        };
        let here = answered_here().await;
        assert!(expected.contains(&here.len()), "{share}: {}", here.len());
        assert_eq!(answered_here().await, here, "sticky by user");
    }
}

#[tokio::test]
async fn the_kill_switch_and_the_way_back_work_at_run_time() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&in_mode("migrate", &double, &[TOKEN, CALL_LOGIN, LOGIN])).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    double.say("POST", "/login", 200, &[("content-type", "application/json")], r#"{"app": true}"#);
    assert_eq!(proxy.login(ANN, RIGHT).await.json::<Value>()["user"]["id"], 7, "answered here");
    proxy.set_mode("passthrough").await;
    for body in [r#"{"email":"ann@example.com","password":"x"}"#, "not a login at all", ""] {
        let answer = send(proxy.public, "POST", "/login", &[("Content-Type", "text/odd")], body).await;
        assert_eq!(answer.json::<Value>(), json!({ "app": true }));
        assert_eq!(double.requests().pop().expect("it was sent on").body, body.as_bytes());
    }
    proxy.set_mode("observe").await;
    assert_eq!(proxy.login(ANN, RIGHT).await.json::<Value>(), json!({ "app": true }));
    assert_eq!(cell(&proxy, "match", "accepted").await, 1.0);
    proxy.set_mode("migrate").await;
    let calls = double.calls();
    assert_eq!(proxy.login(ANN, RIGHT).await.json::<Value>()["user"]["id"], 7);
    assert_eq!(double.calls(), calls);
    assert_eq!(proxy.users().await, 1);
}
