//! Heads that hyper lets through, and what becomes of them.

use std::time::Duration;

use http::{HeaderValue, Request};
use proptest::prelude::*;

use super::*;

fn bounds() -> EdgeBounds {
    EdgeBounds {
        head_bytes: 16 * 1024,
        uri_bytes: 8 * 1024,
        auth_body_bytes: 16 * 1024,
        head_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(10),
        min_body_rate: 500,
        tls_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(30),
        drain_timeout: Duration::from_secs(30),
        linger: Duration::ZERO,
        drain_tunnels: Duration::ZERO,
        max_connections: 1,
        max_connections_per_ip: 1,
        ipv6_prefix: 64,
        max_requests: 1,
        workers: 1,
    }
}

fn head(method: &str, uri: &str, version: Version, fields: &[(&str, &[u8])]) -> Parts {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().expect("a URI");
    *request.version_mut() = version;
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        request.headers_mut().append(name, HeaderValue::from_bytes(value).expect("a value"));
    }
    request.into_parts().0
}

fn judged(parts: &Parts) -> Result<Admitted, (u16, &'static str)> {
    admit(parts, &bounds(), GatePolicy::default()).map_err(|refusal| (refusal.status.as_u16(), refusal.reason))
}

fn with(fields: &[(&str, &[u8])]) -> Result<Admitted, (u16, &'static str)> {
    let mut all: Vec<(&str, &[u8])> = vec![("host", b"app.example")];
    all.extend(fields);
    judged(&head("POST", "/login", Version::HTTP_11, &all))
}

#[test]
fn an_ordinary_head_is_admitted() {
    let admitted = with(&[("content-length", b"3"), ("content-type", b"text/plain"), ("cookie", "é".as_bytes())])
        .expect("admitted");
    assert_eq!(admitted.target.path_and_query().as_str(), "/login");
    assert_eq!(&*admitted.host, "app.example");
    assert!(!admitted.expects_continue && !admitted.websocket);
}

#[test]
fn r1_to_r4_the_length_of_a_body_has_one_answer() {
    for (fields, reason) in [
        (&[("content-length", &b"3"[..]), ("transfer-encoding", b"chunked")][..], "length_and_coding"),
        (&[("content-length", b"3"), ("content-length", b"3")], "content_length"),
        (&[("content-length", b"3, 3")], "content_length"),
        (&[("content-length", b"+3")], "content_length"),
        (&[("content-length", b"-3")], "content_length"),
        (&[("content-length", b"0x3")], "content_length"),
        (&[("content-length", b"3 ")], "content_length"),
        (&[("content-length", b"")], "content_length"),
        (&[("content-length", b"3.0")], "content_length"),
        (&[("content-length", b"99999999999999999999")], "content_length"),
        (&[("transfer-encoding", b"gzip, chunked")], "transfer_encoding"),
        (&[("transfer-encoding", b"chunked, chunked")], "transfer_encoding"),
        (&[("transfer-encoding", b"chunked"), ("transfer-encoding", b"chunked")], "transfer_encoding"),
        (&[("transfer-encoding", b"chunked"), ("transfer-encoding", b"identity")], "transfer_encoding"),
        (&[("transfer-encoding", b"xchunked")], "transfer_encoding"),
        (&[("transfer-encoding", b"chunked;q=1")], "transfer_encoding"),
        (&[("transfer-encoding", b"\"chunked\"")], "transfer_encoding"),
        (&[("transfer-encoding", b"")], "transfer_encoding"),
        (&[("transfer-encoding", b"identity")], "transfer_encoding"),
    ] {
        assert_eq!(with(fields), Err((400, reason)), "{fields:?}");
    }
    assert!(with(&[("transfer-encoding", b"Chunked")]).is_ok());
    let old = head("POST", "/", Version::HTTP_10, &[("host", b"a"), ("transfer-encoding", b"chunked")]);
    assert_eq!(judged(&old), Err((400, "transfer_encoding")));
}

#[test]
fn r7_a_request_names_one_valid_host_and_an_absolute_form_agrees_with_it() {
    let named = |uri: &str, hosts: &[&[u8]]| {
        let fields: Vec<(&str, &[u8])> = hosts.iter().map(|host| ("host", *host)).collect();
        judged(&head("GET", uri, Version::HTTP_11, &fields)).map(|admitted| admitted.host.into_string())
    };
    for host in [
        "app.example",
        "APP.example",
        "a",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "[2001:db8::1]:443",
        "a_b.example",
        "app.example.",
    ] {
        assert_eq!(named("/", &[host.as_bytes()]), Ok(host.to_ascii_lowercase()), "{host}");
    }
    for host in [
        "",
        " ",
        "a b",
        "a,b",
        "a/b",
        "user@a",
        "a:",
        "a:b",
        "a:65536",
        "a:123456",
        "a:+1",
        "a:1:2",
        "::1",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[a]",
        ".a",
        "a..b",
        "a%41",
        "http://a",
        "a?b",
        "a#b",
        "é",
        "a\\b",
        "[::1%25eth0]",
        "a\t",
    ] {
        assert_eq!(named("/", &[host.as_bytes()]), Err((400, "host")), "{host:?}");
    }
    assert_eq!(named("/", &[]), Err((400, "host")));
    assert_eq!(named("/", &[b"a", b"a"]), Err((400, "host")));
    assert_eq!(named("/", &["a".repeat(256).as_bytes()]), Err((400, "host")));

    assert_eq!(named("http://a.example/x", &[b"A.example"]), Ok("a.example".to_owned()));
    assert_eq!(named("http://a.example:80/x", &[b"a.example"]), Ok("a.example".to_owned()));
    assert_eq!(named("https://a.example/x", &[b"a.example:443"]), Ok("a.example:443".to_owned()));
    for (uri, host) in [
        ("http://a.example/x", &b"b.example"[..]),
        ("http://a.example:8080/x", b"a.example"),
        ("http://a.example:443/x", b"a.example"),
        ("http://a.example:443/x", b"a.example:80"),
        ("http://user@a.example/x", b"a.example"),
        ("http://user@a.example/x", b"user@a.example"),
    ] {
        assert_eq!(named(uri, &[host]), Err((400, "host")), "{uri}");
    }
    assert_eq!(named("http://a.example/x", &[]), Err((400, "host")));
    assert_eq!(named("ftp://a.example/x", &[b"a.example"]), Err((400, "scheme")));
}

#[test]
fn r17_in_http2_the_authority_is_the_host() {
    let judge = |uri: &str, fields: &[(&str, &[u8])]| {
        judged(&head("GET", uri, Version::HTTP_2, fields)).map(|admitted| admitted.host.into_string())
    };
    assert_eq!(judge("https://a.example/", &[]), Ok("a.example".to_owned()));
    assert_eq!(judge("https://a.example/", &[("host", b"a.example")]), Ok("a.example".to_owned()));
    assert_eq!(judge("/", &[("host", b"a.example")]), Ok("a.example".to_owned()));
    assert_eq!(judge("https://a.example/", &[("host", b"b.example")]), Err((400, "host")));
    assert_eq!(judge("/", &[]), Err((400, "host")));
    for name in ["connection", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(judge("https://a.example/", &[(name, b"x")]), Err((400, "connection_header")), "{name}");
    }
    assert_eq!(judge("https://a.example/", &[("transfer-encoding", b"chunked")]), Err((400, "transfer_encoding")));
    assert_eq!(judge("https://a.example/", &[("te", b"gzip")]), Err((400, "connection_header")));
    assert!(judge("https://a.example/", &[("te", b"trailers")]).is_ok());
}

#[test]
fn r8_the_connection_header_may_not_name_what_others_rely_on() {
    for value in [
        "host",
        "Host",
        "close, host",
        "content-length",
        "x-forwarded-for",
        "X-Forwarded-Proto",
        "cookie",
        "keep-alive,Authorization",
        "forwarded",
        "x-real-ip",
        "transfer-encoding",
        "content-type",
    ] {
        assert_eq!(with(&[("connection", value.as_bytes())]), Err((400, "connection_protected")), "{value}");
    }
    assert_eq!(with(&[("connection", b"close"), ("connection", b"cookie")]), Err((400, "connection_protected")));
    for value in ["a b", "a;b", "\"close\"", "é"] {
        assert_eq!(with(&[("connection", value.as_bytes())]), Err((400, "connection")), "{value}");
    }
    for value in ["close", "keep-alive", "Keep-Alive, Upgrade", "x-custom", "te", "", ", close,"] {
        assert!(with(&[("connection", value.as_bytes())]).is_ok(), "{value}");
    }
}

#[test]
fn r9_only_a_websocket_is_an_upgrade() {
    let judge = |method: &str, version, fields: &[(&str, &[u8])]| {
        let mut all: Vec<(&str, &[u8])> = vec![("host", b"a")];
        all.extend(fields);
        judged(&head(method, "/", version, &all)).expect("admitted").websocket
    };
    let asked: &[(&str, &[u8])] = &[("connection", b"keep-alive, Upgrade"), ("upgrade", b"WebSocket")];
    assert!(judge("GET", Version::HTTP_11, asked));
    assert!(!judge("POST", Version::HTTP_11, asked));
    assert!(!judge("GET", Version::HTTP_10, asked));
    assert!(!judge("GET", Version::HTTP_11, &[("upgrade", b"websocket")]));
    assert!(!judge("GET", Version::HTTP_11, &[("connection", b"upgrade"), ("upgrade", b"h2c")]));
    assert!(!judge("GET", Version::HTTP_11, &[("connection", b"upgrade"), ("upgrade", b"websocket, h2c")]));
    assert!(!judge(
        "GET",
        Version::HTTP_11,
        &[("connection", b"upgrade"), ("upgrade", b"websocket"), ("upgrade", b"h2c")]
    ));
    assert!(!judge(
        "GET",
        Version::HTTP_11,
        &[("connection", b"upgrade"), ("upgrade", b"websocket"), ("content-length", b"1")]
    ));
}

#[test]
fn r10_methods_that_apps_do_not_use_are_refused() {
    for (method, outcome) in [
        ("CONNECT", Err((405, "method_not_allowed"))),
        ("TRACE", Err((405, "method_not_allowed"))),
        ("TRACK", Err((501, "method_unknown"))),
        ("PROPFIND", Err((501, "method_unknown"))),
        ("X", Err((501, "method_unknown"))),
        ("post", Err((400, "method_not_upper_case"))),
        ("Post", Err((400, "method_not_upper_case"))),
        ("GET", Ok(())),
        ("HEAD", Ok(())),
        ("PUT", Ok(())),
        ("PATCH", Ok(())),
        ("DELETE", Ok(())),
        ("OPTIONS", Ok(())),
    ] {
        let judged = judged(&head(method, "/", Version::HTTP_11, &[("host", b"a")])).map(|_| ());
        assert_eq!(judged, outcome, "{method}");
    }
    assert!(judged(&head("OPTIONS", "*", Version::HTTP_11, &[("host", b"a")])).is_ok());
    assert_eq!(judged(&head("GET", "*", Version::HTTP_11, &[("host", b"a")])), Err((400, "path_not_absolute")));
}

#[test]
fn r12_the_only_expectation_is_100_continue() {
    assert!(with(&[("expect", b"100-Continue")]).expect("admitted").expects_continue);
    let old = head("POST", "/", Version::HTTP_10, &[("host", b"a"), ("expect", b"100-continue")]);
    assert!(!judged(&old).expect("admitted").expects_continue);
    for value in ["", "100-continue, x", "x", "200-ok", "100-continue;a=b", "y 100-continue"] {
        assert_eq!(with(&[("expect", value.as_bytes())]), Err((417, "expectation")), "{value}");
    }
    assert_eq!(with(&[("expect", b"100-continue"), ("expect", b"100-continue")]), Err((417, "expectation")));
}

#[test]
fn r14_header_names_with_underscores_are_refused_unless_allowed() {
    let parts = head("GET", "/", Version::HTTP_11, &[("host", b"a"), ("x_custom_name", b"1")]);
    assert_eq!(judged(&parts), Err((400, "header_underscore")));
    let policy = GatePolicy { underscores: Underscores::Allow, ..GatePolicy::default() };
    assert!(admit(&parts, &bounds(), policy).is_ok());
    for name in ["x_forwarded_for", "x-forwarded_host", "X_Real-IP", "content_length", "transfer-encoding_", "cookie_"]
    {
        let parts = head("GET", "/", Version::HTTP_11, &[("host", b"a"), (name, b"1")]);
        let means_another = !name.ends_with('_');
        assert_eq!(admit(&parts, &bounds(), policy).is_err(), means_another, "{name}");
    }
    assert_eq!(with(&[("transfer_encoding", b"chunked")]), Err((400, "header_underscore")));
}

#[test]
fn r14_what_follows_a_name_with_an_underscore_is_no_request_and_what_follows_a_bad_path_is() {
    let refused = |target, name| {
        let parts = head("GET", target, Version::HTTP_11, &[("host", b"a"), (name, b"1")]);
        admit(&parts, &bounds(), GatePolicy::default()).expect_err("refused").ends_connection()
    };
    assert!(refused("/", "content_length"));
    assert!(!refused("/a//b", "x-custom"));
}

#[test]
fn r15_no_control_byte_in_any_value() {
    for byte in 0..=255_u8 {
        let Ok(value) = HeaderValue::from_bytes(&[b'a', byte, b'b']) else { continue };
        let allowed = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        assert_eq!(with(&[("x-test", value.as_bytes())]).is_ok(), allowed, "{byte}");
    }
}

#[test]
fn r21_the_target_and_the_head_are_bounded_to_the_byte() {
    let bounds = bounds();
    let uri = |len: usize| format!("/{}", "a".repeat(len - 1));
    let judge = |uri: &str| judged(&head("GET", uri, Version::HTTP_11, &[("host", b"a")])).map(|_| ());
    assert_eq!(judge(&uri(bounds.uri_bytes)), Ok(()));
    assert_eq!(judge(&uri(bounds.uri_bytes + 1)), Err((414, "uri_too_long")));

    // "GET / HTTP/1.1\r\n" + "host: a\r\n" + "x: …\r\n" + "\r\n"
    let rest = bounds.head_bytes - 16 - 9 - 5 - 2;
    let judge = |len: usize| {
        let value = vec![b'a'; len];
        judged(&head("GET", "/", Version::HTTP_11, &[("host", b"a"), ("x", &value)])).map(|_| ())
    };
    assert_eq!(judge(rest), Ok(()));
    assert_eq!(judge(rest + 1), Err((431, "head_too_large")));

    let lines: Vec<String> = (0..MAX_HEADER_LINES).map(|n| format!("x-{n}")).collect();
    let mut fields: Vec<(&str, &[u8])> = vec![("host", b"a")];
    fields.extend(lines.iter().take(MAX_HEADER_LINES - 1).map(|name| (name.as_str(), &b"1"[..])));
    assert!(judged(&head("GET", "/", Version::HTTP_11, &fields)).is_ok());
    fields.push(("x-last", b"1"));
    assert_eq!(judged(&head("GET", "/", Version::HTTP_11, &fields)), Err((431, "head_too_large")));
}

#[test]
fn r28_odd_paths_are_refused_unless_the_switch_is_set() {
    for uri in ["/a//b", "/%2e%2e/", "/a%2fb", "/a%5cb", "/%zz", "/a/../b", "/a\\b"] {
        let parts = head("GET", uri, Version::HTTP_11, &[("host", b"a")]);
        assert_eq!(judged(&parts).map_err(|(status, _)| status).map(|_| ()), Err(400), "{uri}");
        let policy = GatePolicy { paths: PathPolicy::Tolerant, ..GatePolicy::default() };
        assert!(admit(&parts, &bounds(), policy).is_ok(), "{uri}");
    }
}

proptest! {
    #[test]
    fn a_host_that_is_admitted_is_a_host_to_everyone(host in "[ -~]{0,20}|[a-z0-9.:\\[\\]]{1,12}") {
        if let Some(canonical) = canonical_host(host.as_bytes()) {
            let authority: http::uri::Authority = canonical.parse().expect("an authority");
            prop_assert_eq!(authority.as_str(), &*canonical);
            let url = url::Url::parse(&format!("http://{canonical}/"));
            prop_assert!(url.is_err() || url.is_ok_and(|url| url.username().is_empty() && url.path() == "/"));
        }
    }
}
