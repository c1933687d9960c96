//! Request heads: whatever the gate admits keeps what it promises (R1-R4, R7-R10, R12, R14, R15, R21, R28).

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, request::Parts};

use super::SHIPPED;
use super::path::is_canonical;
use crate::http::gate::{Admitted, GatePolicy, MAX_HEADER_LINES, Underscores, admit};
use crate::http::path::PathPolicy;
use crate::http::settings::EdgeBounds;

/// A head as HTTP/1.1 writes it; `HTTP/2` as its version makes it one of HTTP/2.
pub fn gate(data: &[u8]) {
    let Some(parts) = head(data) else { return };
    let configured = SHIPPED.edge.bounds;
    let small = EdgeBounds { head_bytes: 256, uri_bytes: 64, ..configured };
    for bounds in [configured, small] {
        let strict = judged(&parts, &bounds, GatePolicy::default());
        for (paths, underscores) in [
            (PathPolicy::Tolerant, Underscores::Refuse),
            (PathPolicy::Strict, Underscores::Allow),
            (PathPolicy::Tolerant, Underscores::Allow),
        ] {
            let loose = judged(&parts, &bounds, GatePolicy { paths, underscores });
            assert!(strict.is_none() || strict == loose, "tolerance changed what was fine");
        }
    }
}

/// Reads a head with less care than any server: the gate has to judge more than hyper lets through.
fn head(data: &[u8]) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(words.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(words.next()?).ok()?;
    *request.version_mut() = match words.next()? {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/2" => Version::HTTP_2,
        _ => return None,
    };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let headers = request.headers_mut();
        headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request.into_parts().0)
}

fn judged(parts: &Parts, bounds: &EdgeBounds, policy: GatePolicy) -> Option<Admitted> {
    match admit(parts, bounds, policy) {
        Ok(admitted) => {
            within_bounds(parts, bounds);
            has_one_body_length(parts);
            has_plain_fields(parts, policy.underscores);
            says_what_it_wants(parts, &admitted);
            names_one_host(parts, &admitted.host);
            is_canonical(&admitted.target, policy.paths);
            is_admitted_again(parts, bounds, policy, &admitted);
            Some(admitted)
        }
        Err(refusal) => {
            assert!(refusal.status.is_client_error() || refusal.status.as_u16() == 501, "{refusal:?}");
            assert!(!refusal.reason.is_empty() && !refusal.title.is_empty());
            None
        }
    }
}

fn values<'a>(parts: &'a Parts, name: &'static str) -> Vec<&'a [u8]> {
    parts.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

fn within_bounds(parts: &Parts, bounds: &EdgeBounds) {
    assert!(parts.headers.len() <= MAX_HEADER_LINES);
    assert!(parts.uri.path_and_query().is_some_and(|target| target.as_str().len() <= bounds.uri_bytes));
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    assert!(fields <= bounds.head_bytes);
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    assert!(methods.contains(&parts.method.as_str()), "{}", parts.method);
}

fn has_one_body_length(parts: &Parts) {
    let lengths = values(parts, "content-length");
    let codings = values(parts, "transfer-encoding");
    assert!(lengths.len() + codings.len() <= 1, "{lengths:?} {codings:?}");
    for length in lengths {
        assert!(length.iter().all(u8::is_ascii_digit));
        assert!(str::from_utf8(length).is_ok_and(|length| length.parse::<u64>().is_ok()), "{length:?}");
    }
    for coding in codings {
        assert_eq!(coding.to_ascii_lowercase(), b"chunked");
        assert_eq!(parts.version, Version::HTTP_11);
    }
}

fn has_plain_fields(parts: &Parts, underscores: Underscores) {
    for (name, value) in &parts.headers {
        assert!(underscores == Underscores::Allow || !name.as_str().contains('_'), "{name}");
        assert!(value.as_bytes().iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)), "{name}");
    }
    if parts.version == Version::HTTP_2 {
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
            assert!(values(parts, name).is_empty(), "{name} in HTTP/2");
        }
        assert!(values(parts, "te").into_iter().all(|te| te.eq_ignore_ascii_case(b"trailers")));
    }
}

/// Expectation, upgrade, and what is to be removed on the way.
fn says_what_it_wants(parts: &Parts, admitted: &Admitted) {
    let expectations = values(parts, "expect");
    assert!(expectations.len() <= 1);
    assert!(expectations.iter().all(|expectation| expectation.eq_ignore_ascii_case(b"100-continue")));
    assert_eq!(admitted.expects_continue, !expectations.is_empty() && parts.version != Version::HTTP_10);
    let mut options = Vec::new();
    for line in values(parts, "connection") {
        let text = String::from_utf8_lossy(line).to_ascii_lowercase();
        options.extend(text.split(',').map(|option| option.trim().to_owned()).filter(|option| !option.is_empty()));
    }
    for option in &options {
        assert!(option.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)));
        let hides = ["host", "content-length", "cookie", "authorization", "content-type", "forwarded", "via"];
        assert!(!hides.contains(&option.as_str()) && !option.starts_with("x-forwarded-"), "{option}");
    }
    if admitted.websocket {
        assert_eq!((&parts.method, parts.version), (&Method::GET, Version::HTTP_11));
        assert!(options.iter().any(|option| option == "upgrade"));
        assert_eq!(values(parts, "upgrade").len(), 1);
        assert!(values(parts, "upgrade").concat().eq_ignore_ascii_case(b"websocket"));
        assert!(values(parts, "transfer-encoding").is_empty());
        assert!(values(parts, "content-length").iter().all(|length| *length == b"0"));
    }
}

fn names_one_host(parts: &Parts, host: &str) {
    let hosts = values(parts, "host");
    assert!(hosts.len() <= 1 && (hosts.len() == 1 || parts.version == Version::HTTP_2));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    assert!(!host.is_empty() && host.bytes().all(plain), "{host}");
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let named = hosts.first().and_then(|host| str::from_utf8(host).ok());
    let without_port = |host: &str| {
        let host = host.to_ascii_lowercase();
        let (name, port) = host.rsplit_once(':').unwrap_or((&host, ""));
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name.to_owned() } else { host.clone() }
    };
    for name in [authority, named].into_iter().flatten() {
        assert_eq!(without_port(name), without_port(host), "two hosts");
    }
    assert!(parts.uri.scheme_str().is_none_or(|scheme| scheme == "http" || scheme == "https"));
}

/// What is sent on, in origin-form under the one host, would be admitted by another of us, as the same request.
fn is_admitted_again(parts: &Parts, bounds: &EdgeBounds, policy: GatePolicy, admitted: &Admitted) {
    let mut onward = parts.clone();
    onward.uri = Uri::from(admitted.target.path_and_query().clone());
    onward.headers.insert("host", HeaderValue::from_str(&admitted.host).expect("a host is text"));
    // An encoded character is longer than a bare one, and a version may write longer names: only what fits is compared.
    if let Ok(again) = admit(&onward, &EdgeBounds { head_bytes: usize::MAX, uri_bytes: usize::MAX, ..*bounds }, policy)
    {
        assert_eq!(&again, admitted);
    } else {
        assert_eq!(onward.headers.len(), MAX_HEADER_LINES + 1, "admitted once, and not again");
    }
}
