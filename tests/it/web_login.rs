//! Logins with `legacy = "forward"`: the client's own request goes on, made anew, and legacy's own answer comes back; afterwards
//! we answer from templates.

use serde_json::{Value, json};

use crate::support::app::{Running, start};
use crate::support::configs::*;
use crate::support::legacy::{DoubleUser, LegacyDouble, Misbehaviour, Recorded, ann};
use crate::support::raw_client::{Answer, send};

const ANN: &str = "ann@example.com";
const RIGHT: &str = "correct horse battery";

async fn sign_in(proxy: &Running, email: &str, password: &str) -> Answer {
    proxy.post_form("/users/sign_in", &[("user[email]", email), ("user[password]", password)]).await
}

async fn web(double: &LegacyDouble) -> Running {
    start(&in_mode("migrate", double, &[GET_USER, WEB_LOGIN, TOKEN])).await
}

/// What reached the double on a path.
fn sent_to(double: &LegacyDouble, path: &str) -> Vec<Recorded> {
    double.requests().into_iter().filter(|request| request.target.split('?').next() == Some(path)).collect()
}

#[tokio::test]
async fn r126_a_form_login_is_relayed_whole_with_every_cookie_and_later_answered_here() {
    let double = LegacyDouble::well_behaved();
    let proxy = web(&double).await;
    let form = "user%5Bemail%5D=ann%40example.com&user%5Bpassword%5D=correct+horse+battery";
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let legacys = send(double.address(), "POST", "/users/sign_in", &headers, form).await;
    let relayed = sign_in(&proxy, ANN, RIGHT).await;
    assert_eq!(substance(&relayed), substance(&legacys));
    let remember = format!("remember={}; Path=/; HttpOnly", ann().token());
    assert_eq!(cookies(&relayed), ["session=old; Path=/old", "session=s-1; Path=/", &remember]);
    assert_eq!(proxy.users().await, 1);

    double.behave(Some(Misbehaviour::HangsUp));
    let calls = double.calls();
    let ours = sign_in(&proxy, "ANN@example.com", RIGHT).await;
    assert_eq!((ours.status, ours.header("location"), double.calls()), (303, Some("/home"), calls), "{ours:?}");
    assert!(cookies(&ours).is_empty());
    assert_eq!(proxy.metric("authferry_logins_total", &["route=\"web\"", "source=\"local\""]).await, 1.0);
    assert_eq!(proxy.metric("authferry_migrations_total", &["reason=\"login\""]).await, 1.0);
}

#[tokio::test]
async fn what_legacy_denies_doubts_or_asks_more_for_is_relayed_and_saves_nobody() {
    let double = LegacyDouble::well_behaved();
    double.put_user(DoubleUser { id: 9, email: "bea@example.com".into(), username: "Bea".into(), mfa: true, ..ann() });
    let proxy = web(&double).await;
    let denied = sign_in(&proxy, ANN, "wrong").await;
    assert_eq!((denied.status, cookies(&denied)), (422, vec!["remember=; Path=/; Max-Age=0"]));
    assert!(denied.body.contains("Wrong name or password") && !denied.body.contains("<p>"), "legacy's own: {denied:?}");
    let challenge = sign_in(&proxy, "bea@example.com", RIGHT).await;
    assert_eq!((challenge.status, challenge.header("location")), (303, Some("/twofa")));
    let unrecognised = [
        (303, &[("location", "/")][..], "no cookie"),
        (302, &[("location", "/users/sign_in"), ("set-cookie", "remember=x")], "back to the form"),
        (409, &[("content-type", "text/html")], "<p>Your session has expired"),
    ];
    for (status, headers, body) in unrecognised {
        double.say("POST", "/users/sign_in", status, headers, body);
        let answer = sign_in(&proxy, ANN, RIGHT).await;
        assert_eq!((answer.status, &*answer.body), (status, body));
    }
    assert_eq!(proxy.users().await, 0);
    for (outcome, count) in [("denied", 1.0), ("challenge", 1.0), ("unrecognised", 3.0), ("ok", 0.0)] {
        let label = format!("outcome=\"{outcome}\"");
        let counted = proxy.metric("authferry_logins_total", &["source=\"legacy\"", &label]).await;
        assert_eq!(counted, count, "{outcome}");
    }
}

#[tokio::test]
async fn a_json_login_is_proven_by_the_claims_of_its_token_or_by_a_whoami_with_it() {
    let by_claims = [TOKEN, &api_login(BY_CLAIMS)].concat();
    let by_whoami = [TOKEN, WHOAMI, &api_login(r#"{ from = "get_user" }"#)].concat();
    for tables in [by_claims, by_whoami] {
        let double = LegacyDouble::well_behaved();
        let proxy = start(&in_mode("migrate", &double, &[&tables])).await;
        let login = |password: &'static str| {
            let proxy = &proxy;
            async move { proxy.post_json("/api/login", &json!({ "email": ANN, "password": password })).await }
        };
        let wrong = login("wrong").await;
        assert_eq!((wrong.status, &*wrong.body), (400, "\"Incorrect password\""));
        assert_eq!(proxy.users().await, 0);
        let first = login(RIGHT).await;
        assert_eq!(first.json::<Value>(), json!({ "accessToken": ann().token() }));
        assert_eq!(proxy.users().await, 1, "{tables}");
        let calls = double.calls();
        let second = login(RIGHT).await;
        assert_eq!((second.status, double.calls()), (200, calls));
        assert_ne!(second.json::<Value>()["accessToken"], ann().token(), "a token of ours");
    }
}

#[tokio::test]
async fn a_session_of_the_apps_own_is_made_after_a_local_yes_and_only_then() {
    let double = LegacyDouble::well_behaved();
    let route = WEB_LOGIN.replace("legacy = \"forward\"", "legacy = \"forward\"\nsession = \"forward\"");
    let deny = base(&double, "mode = \"migrate\"\non_mismatch = \"deny\"", PATIENT);
    let proxy = start(&[&deny, GET_USER, &route, TOKEN].concat()).await;
    assert_eq!(sign_in(&proxy, ANN, RIGHT).await.status, 303);
    let calls = double.calls();
    let body = "user%5Bemail%5D=%61nn@example.com&user[password]=correct%20horse+battery&utf8=%e2%9c%93";
    let headers = [("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"), ("X-Csrf", "c-1")];
    let yes = send(proxy.public, "POST", "/users/sign_in", &headers, body).await;
    assert_eq!((yes.status, cookies(&yes).len()), (303, 3), "the app's own answer: {yes:?}");
    assert_eq!(double.calls(), calls + 1, "nobody asked legacy who it was");
    let sent = sent_to(&double, "/users/sign_in").pop().expect("it was sent on");
    let made_anew = "user%5Bemail%5D=ann%40example.com&user%5Bpassword%5D=correct+horse+battery&utf8=%E2%9C%93";
    assert_eq!(String::from_utf8_lossy(&sent.body), made_anew, "R41: what we verified is what the app gets");
    assert_eq!(sent.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(sent.header("x-csrf"), Some("c-1"));
    let no = sign_in(&proxy, ANN, "wrong").await;
    assert_eq!((no.status, &*no.body), (200, "<p>Wrong name or password.</p>"));
    assert_eq!(double.calls(), calls + 1, "a local no never reaches the app");
}

#[tokio::test]
async fn r41_what_legacy_judges_is_what_we_parsed() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&in_mode("migrate", &double, &[GET_USER, WEB_LOGIN, TOKEN, &api_login(BY_CLAIMS)])).await;
    let json = ("application/json;charset=utf-8", "/api/login");
    let form = ("application/x-www-form-urlencoded", "/users/sign_in");
    for ((content_type, path), typed, sent) in [
        (
            json,
            " {\"email\"\t: \"\\u0061nn@example.com\",\n\"password\":\"correct horse battery\", \"n\": 1.50, \"a\":[ ]} ",
            r#"{"email":"ann@example.com","password":"correct horse battery","n":1.5,"a":[]}"#,
        ),
        (json, r#"{"password":"a\/b\u00e9","email":"x@y.z"}"#, r#"{"password":"a/bé","email":"x@y.z"}"#),
        (
            form,
            "user[email]=bea@example.com&user%5bpassword%5d=correct%20horse%20battery&&c",
            "user%5Bemail%5D=bea%40example.com&user%5Bpassword%5D=correct+horse+battery&c=",
        ),
    ] {
        let answer = send(proxy.public, "POST", path, &[("Content-Type", content_type)], typed).await;
        let got = sent_to(&double, path).pop().unwrap_or_else(|| panic!("{typed} was not sent on: {answer:?}"));
        assert_eq!(String::from_utf8_lossy(&got.body), sent);
        assert_eq!(got.header("content-length"), Some(sent.len().to_string().as_str()));
        assert_eq!(got.header("content-type"), content_type.split(';').next());
    }
    // A path in another spelling that the app may take for the same is made the canonical one.
    let spelt = send(proxy.public, "POST", "/api/%6Cogin?x=%7e", &[("Content-Type", "application/json")], "{}").await;
    assert_eq!(spelt.status, 400, "{spelt:?}");
    assert!(sent_to(&double, "/api/%6Cogin").is_empty());
}

/// One path for everything, as some apps have it.
const ONE_PATH: &str = r#"
    [[route]]
    name = "one"
    action = "login"
    match = { method = "POST", path = "/index.php", query = { do = "login" }, fields = ["u", "p"] }
    request = { form = true, login = "u", password = "p" }
    legacy = "forward"
    forward.success = "status == 302"
    forward.denied = "status == 200"
    forward.user = { from = "get_user" }
"#;

#[tokio::test]
async fn a_request_that_is_not_this_login_passes_with_its_very_bytes() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&in_mode("migrate", &double, &[GET_USER, ONE_PATH])).await;
    let form = "application/x-www-form-urlencoded";
    for (method, target, content_type, body) in [
        ("POST", "/index.php", form, "u=ann&p=secret"),
        ("POST", "/index.php?do=edit", form, "u=ann;&p=%zz"),
        ("POST", "/index.php?do=edit", "multipart/form-data; boundary=x", "--x--"),
        ("POST", "/index.php?do=login", form, "a=1&&b=%41+b"),
        ("POST", "/index.php?do=login", form, "u=ann&x=%E2%9C%93"),
        ("GET", "/index.php?do=login", "", ""),
        ("HEAD", "/index.php?do=login", "", ""),
        ("OPTIONS", "/index.php?do=login", "", ""),
    ] {
        let answer = send(proxy.public, method, target, &[("Content-Type", content_type)], body).await;
        assert_eq!(answer.status, 404, "the double's own word on {method} {target} {body}: {answer:?}");
        let got = double.requests().pop().expect("it was sent on");
        assert_eq!((&*got.method, &*got.target), (method, target));
        assert_eq!((&*got.body, got.header("content-type").unwrap_or_default()), (body.as_bytes(), content_type));
    }
    let put = send(proxy.public, "PUT", "/index.php?do=login", &[("Content-Type", form)], "u=ann&p=x").await;
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, HEAD, OPTIONS, POST")));
}

#[tokio::test]
async fn r30_r39_credentials_in_the_query_and_overridden_methods_are_refused() {
    let double = LegacyDouble::well_behaved();
    let proxy = web(&double).await;
    let good = "user%5Bemail%5D=ann%40example.com&user%5Bpassword%5D=correct+horse+battery";
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let overriding = format!("{good}&_method=put");
    let doubled = format!("{good}&user%5Bemail%5D=bea%40example.com");
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 9] = [
        ("POST", "/users/sign_in?user%5Bemail%5D=bea%40example.com", &[form], good),
        ("POST", "/users/sign_in?user.email=bea", &[form], good),
        ("POST", "/users/sign_in?EMAIL=bea", &[form], good),
        ("POST", "/users/sign_in?a=1;user[password]=x", &[form], good),
        ("GET", "/users/sign_in?user[email]=ann&user[password]=x", &[], ""),
        ("POST", "/users/sign_in?_method=put", &[form], good),
        ("POST", "/users/sign_in", &[form], &overriding),
        ("POST", "/users/sign_in", &[form, ("X-HTTP-Method-Override", "PUT")], good),
        ("POST", "/users/sign_in", &[form], &doubled),
    ];
    for (method, target, headers, body) in cases {
        let answer = send(proxy.public, method, target, headers, body).await;
        assert_eq!(answer.status, 400, "{method} {target} {body}: {answer:?}");
        assert!(!answer.body.contains("bea"), "{answer:?}");
    }
    assert_eq!((double.calls(), proxy.users().await), (0, 0));
}

/// The double's own composed login, as a route that is forwarded: every success it could fake is one here.
const FORWARDED: &str = r#"
    [[route]]
    name = "forwarded"
    action = "login"
    match = { method = "POST", path = "/internal/login" }
    request = { login = "/email", password = "/password" }
    legacy = "forward"
    forward.success = "status == 200 and json.user.id is defined"
    forward.denied = "status in [401, 403, 404]"
    forward.user = { id = "json.user.id", email = "json.user.email", username = "json.user.username", phone = "json.user.phone", profile = "json.user" }
    reply.denied = { status = 401, json = '"no, we say"' }
    reply.unavailable = { status = 503, json = '"later"' }
"#;

#[tokio::test]
async fn r78_r82_no_misbehaviour_of_a_forwarded_legacy_saves_anybody_or_counts_against_him() {
    let double = LegacyDouble::well_behaved();
    let limit = base(&double, "mode = \"migrate\"", SHORT).replace("100/15m\", burst = 100,", "3/15m\", burst = 3,");
    let proxy = start(&[&limit, FORWARDED].concat()).await;
    let body = json!({ "email": ANN, "password": RIGHT });
    for misbehaviour in Misbehaviour::ALL.into_iter().filter(|kind| *kind != Misbehaviour::Refuses) {
        double.behave(Some(misbehaviour));
        let answer = proxy.post_json("/internal/login", &body).await;
        let relayed = match misbehaviour {
            Misbehaviour::OkWithErrorBody
            | Misbehaviour::OkWithHtml
            | Misbehaviour::OkWithEmptyBody
            | Misbehaviour::OkWithHalfJson
            | Misbehaviour::NoStableId
            | Misbehaviour::AnotherUsersProfile
            | Misbehaviour::Compressed => Some(200),
            Misbehaviour::RedirectsToLoopback => Some(302),
            Misbehaviour::RedirectsWithBody => Some(307),
            _ => None,
        };
        match relayed {
            Some(status) => assert_eq!(answer.status, status, "{misbehaviour:?}: {answer:?}"),
            None => assert_eq!((answer.status, &*answer.body), (503, "\"later\""), "{misbehaviour:?}"),
        }
        assert!(!answer.body.contains("no, we say"), "{misbehaviour:?}");
        assert_eq!(proxy.users().await, 0, "{misbehaviour:?} saved somebody");
    }
    assert_eq!(double.trapped(), 0, "R80: a redirect was followed");
    double.behave(None);
    assert_eq!(proxy.post_json("/internal/login", &body).await.status, 200, "R82: no outage counted");
    assert_eq!(proxy.users().await, 1);
}

#[tokio::test]
async fn r82_a_legacy_that_refuses_connections_is_no_wrong_password() {
    let double = LegacyDouble::misbehaving(Misbehaviour::Refuses);
    let proxy = start(&in_mode("migrate", &double, &[FORWARDED])).await;
    let answer = proxy.post_json("/internal/login", &json!({ "email": ANN, "password": RIGHT })).await;
    assert_eq!((answer.status, &*answer.body), (503, "\"later\""));
    assert!(answer.header("retry-after").is_some());
}
