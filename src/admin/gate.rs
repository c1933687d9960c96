//! What holds for every request before a handler sees it, and for every answer after: a known name, an honest origin, a
//! deadline, no panic, protective headers. Called by the router alone.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;

use super::problem::Problem;
use super::state::AdminState;

/// How long one request may take, body included.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// The names under which the listener may be spoken to. A page elsewhere that lets its own name point here (DNS rebinding)
/// bears another name (R110).
///
/// An address cannot be rebound, but only loopback and the bound one are ever right; any address is, when bound to all. The
/// port is not compared: it says nothing about the page, and a tunnel or a container may map it.
#[derive(Debug)]
pub(super) struct AllowedHosts {
    bound: IpAddr,
    names: Vec<String>,
}

impl AllowedHosts {
    pub(super) fn new(bound: IpAddr, names: Vec<String>) -> Self {
        Self { bound, names }
    }

    fn allows(&self, host: &str) -> bool {
        let name = without_port(host);
        let listed = |known: &String| known.eq_ignore_ascii_case(host) || known.eq_ignore_ascii_case(name);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>();
        let inherent = match address.map(|address| address.to_canonical()) {
            Ok(address) => address.is_loopback() || self.bound.is_unspecified() || address == self.bound.to_canonical(),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        };
        inherent || self.names.iter().any(listed)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        Some(_) | None => host,
    }
}

/// The one `Host` of a request, with which an absolute target has to agree (RFC 9112, section 3.2.2).
pub(super) fn host(parts: &Parts) -> Option<&str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(only), None) => only.to_str().ok()?,
        (_, Some(_)) | (None, None) => return None,
    };
    match parts.uri.authority() {
        Some(authority) if !authority.as_str().eq_ignore_ascii_case(host) => None,
        Some(_) | None => Some(host),
    }
}

/// Lets only requests to a known name pass, and no writing request that a foreign page sent.
pub(super) async fn only_known_hosts(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Some(host) = host(&parts).filter(|host| state.hosts.allows(host)) else {
        let detail = "This name is not one of the admin listener's. Use its address or localhost, or list the name.";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response();
    };
    if !parts.method.is_safe() && came_from(&parts.headers, host) == CameFrom::Elsewhere {
        let detail = "The request was sent by a page of another origin.";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

/// What the browser says of the page that sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CameFrom {
    /// A page of ours, over this scheme.
    Here(Scheme),
    /// Any other page, or one that hides.
    Elsewhere,
    /// No browser says anything.
    Unsaid,
}

/// How the browser reaches us, a terminator in front included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Plain.
    Http,
    /// TLS.
    Https,
}

/// Reads `Origin` and `Sec-Fetch-Site` (Fetch Metadata, section 2.4); all that are there have to agree (R109).
pub(super) fn came_from(headers: &HeaderMap, host: &str) -> CameFrom {
    const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    let scheme = match origin.map(|origin| origin.split_once("://")) {
        None => None,
        Some(Some(("http", authority))) if authority.eq_ignore_ascii_case(host) => Some(Scheme::Http),
        Some(Some(("https", authority))) if authority.eq_ignore_ascii_case(host) => Some(Scheme::Https),
        Some(Some(_) | None) => return CameFrom::Elsewhere,
    };
    match (site, scheme) {
        (None, None) => CameFrom::Unsaid,
        // A browser that tells no origin is taken for one over plain HTTP: the weaker promise.
        (Some(b"same-origin"), scheme) => CameFrom::Here(scheme.unwrap_or(Scheme::Http)),
        (None, Some(scheme)) => CameFrom::Here(scheme),
        (Some(_), _) => CameFrom::Elsewhere,
    }
}

/// Bounds the time of a request, and turns a bug in its handler into a 500 (R122).
pub(super) async fn deadline_and_panics(
    State(state): State<Arc<AdminState>>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(REQUEST_DEADLINE, AssertUnwindSafe(next.run(request)).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            state.metrics.panic();
            tracing::error!("an admin handler panicked");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "This is a bug; the log says more.").into_response()
        }
        Err(_elapsed) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "It took too long.").into_response(),
    }
}

/// The headers of every answer (R111; OWASP secure headers): nothing is kept, sniffed, framed, or loaded from elsewhere.
pub(super) async fn protective_headers(request: Request, next: Next) -> Response {
    const CONTENT: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; \
                           frame-ancestors 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, CONTENT),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: with it a browser's own forms come with `Origin: null`.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r110_only_names_of_the_listener_are_answered() {
        let allows = |bound: &str, host: &str| {
            let names = vec!["admin.example.com".to_owned(), "ops.example.com:8443".to_owned()];
            AllowedHosts::new(bound.parse().expect("an address"), names).allows(host)
        };
        for host in [
            "127.0.0.1:9090",
            "127.0.0.1",
            "localhost:9090",
            "LOCALHOST",
            "[::1]:9090",
            "[::1]",
            "10.0.0.5:9090",
            "[::ffff:10.0.0.5]:9090",
            "admin.example.com",
            "Admin.Example.com:9443",
            "ops.example.com:8443",
        ] {
            assert!(allows("10.0.0.5", host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "10.0.0.6:9090",
            "",
            ":9090",
            "localhost.",
            "127.1",
            "0x7f.1",
            "[::1",
            "[::2]",
            "ops.example.com",
            "admin.example.com.evil.example",
        ] {
            assert!(!allows("10.0.0.5", host), "{host}");
        }
        assert!(allows("0.0.0.0", "192.0.2.7:9090") && !allows("0.0.0.0", "evil.example:9090"));
    }

    #[test]
    fn r109_a_request_comes_from_here_only_if_all_that_the_browser_says_agrees() {
        let said = |origin: Option<&'static str>, site: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
            headers
                .extend(site.map(|site| (HeaderName::from_static("sec-fetch-site"), HeaderValue::from_static(site))));
            came_from(&headers, "localhost:9090")
        };
        assert_eq!(said(None, None), CameFrom::Unsaid);
        assert_eq!(said(Some("http://localhost:9090"), None), CameFrom::Here(Scheme::Http));
        assert_eq!(said(Some("https://LOCALHOST:9090"), Some("same-origin")), CameFrom::Here(Scheme::Https));
        assert_eq!(said(None, Some("same-origin")), CameFrom::Here(Scheme::Http));
        for (origin, site) in [
            (Some("null"), None),
            (Some("null"), Some("same-origin")),
            (Some("http://localhost:8080"), None),
            (Some("http://localhost:8080"), Some("same-site")),
            (Some("http://localhost:9090"), Some("cross-site")),
            (Some("http://localhost:9090.evil.example"), None),
            (Some("file://"), None),
            (None, Some("none")),
            (None, Some("same-site")),
        ] {
            assert_eq!(said(origin, site), CameFrom::Elsewhere, "{origin:?} {site:?}");
        }
    }
}
