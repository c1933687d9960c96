//! Ways past a route that variants of one login do not show: a parameter of the query that stands in the body, what is read and not
//! sent, and what goes on less something. Before an app that records what it gets.

use crate::support::app::{Running, start};
use crate::support::raw_client::{Answer, send};
use crate::support::upstream::Upstream;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// `/login` always, `/shared` with its fields, `/do` with `?action=login`.
async fn proxy(upstream: &Upstream, mode: &str) -> Running {
    let route = |name: &str, matcher: &str| {
        format!(
            r#"
            [[route]]
            name = "{name}"
            action = "login"
            match = {{ method = "POST", {matcher} }}
            request = {{ form = true, login = "log", password = "pwd" }}
            legacy = "forward"
            forward.success = "status == 302 and set_cookies.session is defined"
            forward.denied = "status == 200"
            forward.user = {{ id = "json.id", username = "json.name" }}
            "#
        )
    };
    let routes = [
        route("login", r#"path = "/login""#),
        route("shared", r#"path = "/shared", fields = ["log", "pwd"]"#),
        route("query", r#"path = "/do", query = { action = "login" }"#),
    ];
    let url = upstream.url();
    start(&format!(
        r#"
        [migration]
        mode = "{mode}"
        [upstream]
        url = "{url}"
        [token]
        key = {{ value = "only-for-the-tests-change-me-32-bytes!" }}
        claims = {{ sub = "{{{{ user.id }}}}" }}
        [password]
        argon2id = {{ memory = "8MiB", iterations = 1, parallelism = 1 }}
        {}
        "#,
        routes.concat()
    ))
    .await
}

async fn ask(proxy: &Running, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    send(proxy.public, method, target, headers, body).await
}

/// Refused with this word, and not sent on.
async fn refused(proxy: &Running, upstream: &Upstream, method: &str, target: &str, body: &str, word: &str) {
    let before = upstream.recorded().len();
    let answer = ask(proxy, method, target, &[FORM], body).await;
    assert!((400..500).contains(&answer.status) && answer.body.contains(word), "{method} {target} {body}: {answer:?}");
    assert_eq!(upstream.recorded().len(), before, "{method} {target} {body} was sent on");
}

#[tokio::test]
async fn r31_a_read_of_a_route_has_no_body() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(&upstream, "migrate").await;
    for method in ["GET", "HEAD", "OPTIONS"] {
        for target in ["/login", "/LOGIN/", "/shared", "/do?action=login"] {
            let answer = ask(&proxy, method, target, &[FORM], "log=ann&pwd=x").await;
            assert_eq!(answer.status, 400, "{method} {target}: {answer:?}");
            let chunked = [FORM, ("Transfer-Encoding", "chunked")];
            let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
            let lines: String = chunked.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let raw = format!("{head}{lines}\r\n5\r\nlog=a\r\n0\r\n\r\n");
            let answer = crate::support::raw_client::send_raw(proxy.public, raw.as_bytes()).await;
            assert_eq!(answer.status, 400, "{method} {target}, chunked: {answer:?}");
        }
    }
    assert_eq!(upstream.recorded().len(), 0, "not one was sent on");
    for (method, target) in [("GET", "/login?next=/"), ("HEAD", "/login"), ("OPTIONS", "/shared")] {
        assert_eq!(ask(&proxy, method, target, &[], "").await.status, 200, "{method} {target}");
    }
    assert_eq!(
        ask(&proxy, "GET", "/other", &[FORM], "log=ann&pwd=x").await.status,
        200,
        "elsewhere it is the app's affair"
    );
}

#[tokio::test]
async fn r26_what_a_route_asks_for_in_the_query_is_looked_for_in_the_body() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(&upstream, "migrate").await;
    for (target, body) in [
        ("/do", "action=login&log=ann&pwd=x"),
        ("/do?action=other", "ACTION=Login&log=ann&pwd=x"),
        ("/do?x=1", "log=%ff&action=login"),
    ] {
        refused(&proxy, &upstream, "POST", target, body, "query_in_body").await;
    }
    let long = format!("action=login&x={}", "x".repeat(3 * 1024 * 1024));
    refused(&proxy, &upstream, "POST", "/do", &long, "body_too_large").await;
    for body in ["action=logout&log=ann", "text=how+to+login", ""] {
        let answer = ask(&proxy, "POST", "/do", &[FORM], body).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
    }
    // An upload goes on whatever its length.
    let multipart = ("Content-Type", "multipart/form-data; boundary=B");
    for length in [10, 3 * 1024 * 1024] {
        let picture = "x".repeat(length);
        let answer = ask(&proxy, "POST", "/do?action=upload", &[multipart], &picture).await;
        assert_eq!(answer.status, 200, "{length}");
    }
    let named = "--B\r\nContent-Disposition: form-data; name=\"action\"\r\n\r\nlogin\r\n--B--\r\n";
    assert_eq!(ask(&proxy, "POST", "/do", &[multipart], named).await.status, 400);
}

#[tokio::test]
async fn r39_cookies_of_a_credentials_name_and_claims_of_another_path_are_not_sent_on() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(&upstream, "migrate").await;
    let headers = [
        ("Cookie", "session=1; log=bob; PWD=y"),
        ("X-Original-URL", "/login"),
        ("X-Script-Name", "/x"),
        ("X-Original-URI", "/login"),
    ];
    for target in ["/login", "/x/login", "/other"] {
        let answer = ask(&proxy, "GET", target, &headers, "").await;
        // What claims another path is refused on a route and is not sent on elsewhere.
        assert_eq!(answer.status, if target == "/login" { 400 } else { 200 }, "{target}: {answer:?}");
    }
    let cookies = headers.get(..1).expect("the cookies");
    ask(&proxy, "GET", "/login", cookies, "").await;
    ask(&proxy, "POST", "/shared", &[cookies, &[FORM]].concat(), "x=1").await;
    ask(&proxy, "POST", "/login", &[cookies, &[FORM]].concat(), "log=ann&pwd=x").await;
    let seen: Vec<String> =
        upstream.recorded().iter().map(|bytes| String::from_utf8_lossy(bytes).to_ascii_lowercase()).collect();
    let all = seen.concat();
    assert!(
        !all.contains("x-original-url") && !all.contains("x-script-name") && !all.contains("x-original-uri"),
        "{all}"
    );
    let stripped = all.matches("cookie: session=1\r\n").count();
    let whole = all.matches("cookie: session=1; log=bob; pwd=y\r\n").count();
    assert_eq!((stripped, whole), (3, 2), "stripped on the routes, whole elsewhere: {all}");
}

#[tokio::test]
async fn observing_hands_on_what_would_be_refused_and_counts_it() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(&upstream, "observe").await;
    for (method, target, body) in [
        ("GET", "/login", "log=ann&pwd=x"),
        ("POST", "/shared?log=ann&pwd=x", ""),
        ("POST", "/do", "action=login&log=ann&pwd=x"),
        ("PUT", "/login", "log=ann&pwd=x"),
    ] {
        assert_eq!(ask(&proxy, method, target, &[FORM], body).await.status, 200, "{method} {target}");
    }
    assert_eq!(ask(&proxy, "GET", "/login", &[("Cookie", "log=bob")], "").await.status, 200);
    assert!(upstream.saw("log=bob"), "a cookie too");
    assert!(proxy.metric("authferry_refused_requests_total", &[]).await >= 3.0);
}
