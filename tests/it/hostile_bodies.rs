//! Bodies that no honest client sends: each is refused in the route's own shape, and not one byte of them reaches legacy
//! (R21, R31 to R36, R38, R40).

use std::io::Write as _;
use std::net::SocketAddr;

use serde_json::Value;

use crate::support::app::{Running, start};
use crate::support::configs::*;
use crate::support::legacy::LegacyDouble;
use crate::support::raw_client::{Answer, send_raw};

const JSON: &str = "Content-Type: application/json";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

const GOOD_JSON: &str = r#"{"email":"ann@example.com","password":"correct horse battery"}"#;
const GOOD_FORM: &str = "user%5Bemail%5D=ann%40example.com&user%5Bpassword%5D=correct+horse+battery";

/// The JSON login with a shape of its own for what is malformed; the form, whose fields are not asked for, with none.
async fn proxy(double: &LegacyDouble) -> Running {
    let shaped = LOGIN.replace(
        "reply.denied",
        "reply.invalid = { status = 422, json = '{\"invalid\": {{ reason | tojson }}}' }\n    reply.denied",
    );
    let form = WEB_LOGIN.replace(r#", fields = ["user[email]", "user[password]"]"#, "");
    start(&in_mode("migrate", double, &[TOKEN, GET_USER, CALL_LOGIN, &shaped, &form])).await
}

async fn post(to: SocketAddr, path: &str, lines: &[&str], body: &[u8]) -> Answer {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n{lines}\r\n",
        body.len()
    );
    send_raw(to, &[head.as_bytes(), body].concat()).await
}

/// Refused in the route's own shape.
fn is_shaped(answer: &Answer) -> bool {
    answer.status == 422 && answer.json::<Value>()["invalid"].is_string()
}

/// Refused as RFC 9457 has it.
fn is_problem(answer: &Answer, status: u16) -> bool {
    answer.status == status
        && answer.header("content-type") == Some("application/problem+json")
        && answer.json::<Value>()["status"] == status
}

fn nested(depth: usize) -> String {
    format!(r#"{{"email":"a@b.c","password":"x","deep":{}1{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
}

#[tokio::test]
async fn r33_r35_r36_bad_json_is_answered_in_the_routes_shape_and_never_sent_on() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    let deep = nested(9);
    let bodies: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("no JSON", b"email=ann"),
        ("half", br#"{"email":"ann@example.com","password":"x""#),
        ("twice", br#"{"email":"a@b.c","password":"x"} {"email":"d@e.f","password":"x"}"#),
        ("a NUL after it", b"{\"email\":\"a@b.c\",\"password\":\"x\"}\0"),
        ("an array", br#"[{"email":"a@b.c","password":"x"}]"#),
        ("a string", br#""ann""#),
        ("no password", br#"{"email":"ann@example.com"}"#),
        ("no login", br#"{"password":"x"}"#),
        ("null", br#"{"email":"ann@example.com","password":null}"#),
        ("a number", br#"{"email":"ann@example.com","password":12345678}"#),
        ("an object", br#"{"email":{"$gt":""},"password":"x"}"#),
        ("a list", br#"{"email":["ann@example.com","bea@example.com"],"password":"x"}"#),
        ("a key twice", br#"{"email":"ann@example.com","email":"bea@example.com","password":"x"}"#),
        ("a key twice, escaped", br#"{"email":"ann@example.com","em\u0061il":"bea@example.com","password":"x"}"#),
        ("a key twice, deep", br#"{"email":"ann@example.com","password":"x","a":[{"b":1,"b":2}]}"#),
        ("another case", br#"{"email":"ann@example.com","Email":"bea@example.com","password":"x"}"#),
        ("too deep", deep.as_bytes()),
        ("a BOM", b"\xef\xbb\xbf{\"email\":\"a@b.c\",\"password\":\"x\"}"),
        ("not UTF-8", b"{\"email\":\"a@b.c\",\"password\":\"\xff\xfe\"}"),
        ("an overlong NUL", b"{\"email\":\"a@b.c\",\"password\":\"\xc0\x80\"}"),
        ("a lone surrogate", br#"{"email":"a@b.c","password":"\ud800"}"#),
        ("NaN", br#"{"email":"a@b.c","password":"x","n":NaN}"#),
        ("a comment", br#"{"email":"a@b.c","password":"x"/* */}"#),
        ("a trailing comma", br#"{"email":"a@b.c","password":"x",}"#),
        ("single quotes", br"{'email':'a@b.c','password':'x'}"),
        ("UTF-16", b"\xfe\xff\0{\0}"),
    ];
    for (what, body) in bodies {
        let answer = post(proxy.public, "/login", &[JSON], body).await;
        assert!(is_shaped(&answer), "{what}: {answer:?}");
    }
    assert_eq!((double.calls(), proxy.users().await), (0, 0));
    let malformed = proxy.metric("authferry_logins_total", &["outcome=\"malformed\""]).await;
    assert_eq!(malformed, f64::from(u32::try_from(bodies.len()).expect("few")), "each is counted");
    let fine = post(proxy.public, "/login", &[JSON], nested(8).as_bytes()).await;
    assert_eq!(fine.status, 401, "depth 8 is read: {fine:?}");
}

#[tokio::test]
async fn r32_r34_r40_a_body_is_what_one_plain_content_type_says() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"user[email]\"\r\n\r\nann\r\n--x--";
    let types: &[(&[&str], &str)] = &[
        (&[], GOOD_JSON),
        (&["Content-Type: text/plain"], GOOD_JSON),
        (&["Content-Type: application/jsonx"], GOOD_JSON),
        (&["Content-Type: application/ld+json"], GOOD_JSON),
        (&["Content-Type: application/json, text/plain"], GOOD_JSON),
        (&[JSON, JSON], GOOD_JSON),
        (&[JSON, FORM], GOOD_JSON),
        (&["Content-Type: application/json; charset=utf-16"], GOOD_JSON),
        (&["Content-Type: application/json; charset=utf-8; charset=utf-7"], GOOD_JSON),
        (&["Content-Type: application/json; boundary=x"], GOOD_JSON),
        (&["Content-Type: application/xml"], "<email>ann</email>"),
        (&["Content-Type: multipart/form-data; boundary=x"], multipart),
        (&[JSON, "Content-Encoding: gzip"], GOOD_JSON),
        (&[JSON, "Content-Encoding: identity"], GOOD_JSON),
        (&[FORM], GOOD_FORM),
    ];
    for (lines, body) in types {
        let answer = post(proxy.public, "/login", lines, body.as_bytes()).await;
        assert!(is_shaped(&answer), "{lines:?}: {answer:?}");
        if *lines != [FORM] {
            let answer = post(proxy.public, "/users/sign_in", lines, body.as_bytes()).await;
            assert!(is_problem(&answer, 415), "{lines:?}: {answer:?}");
        }
    }
    let answer = post(proxy.public, "/users/sign_in", &[JSON], GOOD_JSON.as_bytes()).await;
    assert!(is_problem(&answer, 415), "JSON for a form: {answer:?}");
    let bomb = {
        let mut squeezed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        squeezed.write_all(&[0; 4_096]).expect("memory");
        squeezed
    };
    let answer = post(proxy.public, "/login", &[JSON, "Content-Encoding: gzip"], &bomb).await;
    assert!(is_shaped(&answer), "{answer:?}");
    assert_eq!((double.calls(), proxy.users().await), (0, 0));
}

#[tokio::test]
async fn r38_two_fields_that_a_backend_could_take_for_one_are_refused() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    for (what, body) in [
        ("a field twice", "user[email]=a&user[email]=b&user[password]=x"),
        ("encoded", "user[email]=a&user%5bemail%5D=b&user[password]=x"),
        ("a list of it", "user[email]=a&user[email][]=b&user[password]=x"),
        ("PHP's dots", "user[email]=a&user.email=b&user[password]=x"),
        ("an outer one", "user[email]=a&user=b&user[password]=x"),
        ("another case", "user[email]=a&USER[EMAIL]=b&user[password]=x"),
        ("the password twice", "user[email]=a&user[password]=x&user[password]=y"),
        ("a semicolon", "user[email]=a;user[email]=b&user[password]=x"),
        ("a bad escape", "user[email]=a%4&user[password]=x"),
        ("another bad escape", "user[email]=a%zz&user[password]=x"),
        ("not UTF-8", "user[email]=a%ff&user[password]=x"),
        ("a control byte", "user[email]=a\u{1}&user[password]=x"),
        ("a charset of its own", "_charset_=utf-7&user[email]=a&user[password]=x"),
        ("no password", "user[email]=a"),
        ("nothing", ""),
        ("JSON in it", GOOD_JSON),
    ] {
        let answer = post(proxy.public, "/users/sign_in", &[FORM], body.as_bytes()).await;
        assert!(is_problem(&answer, 400) || is_problem(&answer, 415), "{what}: {answer:?}");
        assert!(!answer.body.contains("user["), "{what}: an answer repeats nothing: {answer:?}");
    }
    let many: String = (0..2_000).map(|n| format!("f{n}=1&")).collect();
    let answer = post(proxy.public, "/users/sign_in", &[FORM], format!("{many}{GOOD_FORM}").as_bytes()).await;
    assert!(is_problem(&answer, 413), "{answer:?}");
    assert_eq!((double.calls(), proxy.users().await), (0, 0));
}

#[tokio::test]
async fn r21_a_body_may_have_sixteen_kibibytes_and_not_a_byte_more() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy(&double).await;
    let sized = |bytes: usize| {
        let start = r#"{"email":"ann@example.com","password":"correct horse battery","padding":""#;
        format!("{start}{}\"}}", "x".repeat(bytes - start.len() - 2))
    };
    let over = post(proxy.public, "/login", &[JSON], sized(16_385).as_bytes()).await;
    assert!(is_shaped(&over), "{over:?}");
    let form = format!("{GOOD_FORM}&x={}", "x".repeat(16_384));
    let answer = post(proxy.public, "/users/sign_in", &[FORM], form.as_bytes()).await;
    assert!(is_problem(&answer, 413), "{answer:?}");
    // The same without saying so beforehand.
    let chunk = sized(16_385);
    let chunked = format!(
        "POST /login HTTP/1.1\r\nHost: {}\r\n{JSON}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
        proxy.public,
        chunk.len()
    );
    let answer = send_raw(proxy.public, chunked.as_bytes()).await;
    assert!(is_shaped(&answer), "{answer:?}");
    assert_eq!((double.calls(), proxy.users().await), (0, 0));
    let whole = post(proxy.public, "/login", &[JSON], sized(16_384).as_bytes()).await;
    assert_eq!(whole.status, 200, "{whole:?}");
}
