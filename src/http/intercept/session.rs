//! The session of an app that takes a token: where a request bears it, and the cookie that carries it.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::settings::CookieSettings;
use crate::service::ports::Tokens;
use crate::template::Template;

/// What makes sessions of our tokens, and shows the app whose they are.
pub struct Sessions {
    /// What mints and reads tokens; none with `kind = "none"`.
    pub tokens: Option<Arc<dyn Tokens>>,
    /// The session cookie and how long it lives.
    pub cookie: Option<(CookieSettings, Duration)>,
    /// The public keys, where the tokens are signed with a private one (RFC 7517): answered on [`super::JWKS_PATH`].
    pub jwks: Option<serde_json::Value>,
    /// Headers set on a valid session.
    pub identity_headers: Vec<(HeaderName, Template)>,
}

/// `[token] cookie` and how long it lives.
pub(super) struct SessionCookie {
    settings: CookieSettings,
    ttl: Duration,
}

impl SessionCookie {
    pub(super) fn new(settings: CookieSettings, ttl: Duration) -> Self {
        Self { settings, ttl }
    }

    /// The `Set-Cookie` line of a login (RFC 6265, 4.1). `None` if the token could not stand in a header.
    pub(super) fn set(&self, token: &str) -> Option<HeaderValue> {
        self.line(token, self.ttl.as_secs())
    }

    /// The `Set-Cookie` line of a logout.
    pub(super) fn clear(&self) -> Option<HeaderValue> {
        self.line("", 0)
    }

    fn line(&self, value: &str, max_age: u64) -> Option<HeaderValue> {
        let CookieSettings { name, path, domain, secure, http_only, same_site } = &self.settings;
        let mut line = format!("{name}={value}; Path={path}; Max-Age={max_age}");
        if let Some(domain) = domain {
            // Writing to a String cannot fail.
            let _infallible = write!(line, "; Domain={domain}");
        }
        if let Some(same_site) = same_site {
            let _infallible = write!(line, "; SameSite={same_site}");
        }
        line.push_str(if *secure { "; Secure" } else { "" });
        line.push_str(if *http_only { "; HttpOnly" } else { "" });
        let mut line = HeaderValue::from_str(&line).ok()?;
        line.set_sensitive(true);
        Some(line)
    }
}

/// The token that a request bears: `Authorization: Bearer` (RFC 6750, 2.1), else the session cookie.
pub(super) fn token_of<'a>(headers: &'a HeaderMap, cookie: Option<&SessionCookie>) -> Option<&'a str> {
    bearer(headers).or_else(|| cookie.and_then(|cookie| named_cookie(headers, &cookie.settings.name)))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The first cookie of that name, over all lines.
fn named_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';')).find_map(
        |pair| {
            let (found, value) = pair.split_once('=')?;
            (found.trim() == name).then(|| value.trim().trim_matches('"'))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(domain: Option<&str>) -> SessionCookie {
        let settings = CookieSettings {
            name: "session".to_owned(),
            path: "/".to_owned(),
            domain: domain.map(ToOwned::to_owned),
            secure: true,
            http_only: true,
            same_site: Some("Lax"),
        };
        SessionCookie::new(settings, Duration::from_secs(3600))
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_login_sets_and_a_logout_clears_the_same_cookie() {
        let set = cookie(None).set("abc").expect("a header");
        assert_eq!(set, "session=abc; Path=/; Max-Age=3600; SameSite=Lax; Secure; HttpOnly");
        assert!(set.is_sensitive());
        let clear = cookie(Some("example.com")).clear().expect("a header");
        assert_eq!(clear, "session=; Path=/; Max-Age=0; Domain=example.com; SameSite=Lax; Secure; HttpOnly");
    }

    #[test]
    fn a_token_is_found_in_the_header_first_and_then_in_the_cookie() {
        let session = cookie(None);
        let find = |lines: &[(&'static str, &'static str)]| {
            let headers = headers(lines);
            token_of(&headers, Some(&session)).map(ToOwned::to_owned)
        };
        assert_eq!(find(&[("authorization", "Bearer a.b.c"), ("cookie", "session=x")]).as_deref(), Some("a.b.c"));
        assert_eq!(find(&[("authorization", "bearer a")]).as_deref(), Some("a"));
        assert_eq!(find(&[("authorization", "Basic YTpi"), ("cookie", "other=1; session=x")]).as_deref(), Some("x"));
        assert_eq!(find(&[("cookie", "mysession=1"), ("cookie", "session=\"y\"")]).as_deref(), Some("y"));
        assert_eq!(find(&[("cookie", "session")]), None);
        assert_eq!(find(&[]), None);
    }
}
