//! Headers that belong to one connection and end there (RFC 9110, section 7.6.1). A leaf for whoever hands a message on.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName,
    InvalidHeaderName, LOCATION, ORIGIN, SET_COOKIE,
};
use http::{HeaderMap, HeaderValue};

/// Takes them out, those that `Connection` names included, but for what no hop may remove: a login's cookies are not the
/// connection's, whatever its other end says.
pub fn strip(headers: &mut HeaderMap) {
    for line in take_connection(headers) {
        for name in options(&line).flatten() {
            if !is_end_to_end(&name) {
                headers.remove(name);
            }
        }
    }
    remove_where(headers, is_fixed);
}

/// Whether a header is hop-by-hop by itself: it may not go on whatever `Connection` says.
#[must_use]
pub fn is_fixed(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Takes out all headers of some kind, in one walk over those that are there: there are fewer of them than of those that may not be.
pub fn remove_where(headers: &mut HeaderMap, is_one: impl Fn(&HeaderName) -> bool) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_one(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Takes the `Connection` lines out, and gives them back.
pub fn take_connection(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    if !lines.is_empty() {
        headers.remove(CONNECTION);
    }
    lines
}

/// The headers that a `Connection` line names. Its own options are no headers.
pub fn options(line: &HeaderValue) -> impl Iterator<Item = Result<HeaderName, InvalidHeaderName>> {
    let own = |option: &&[u8]| {
        [&b""[..], b"keep-alive", b"close", b"upgrade"].iter().any(|own| own.eq_ignore_ascii_case(option))
    };
    let options = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    options.filter(move |option| !own(option)).map(HeaderName::from_bytes)
}

/// Whether a line of options has this one, given in lower case.
#[must_use]
pub fn has_option(line: &HeaderValue, option: &[u8]) -> bool {
    line.as_bytes().split(|byte| *byte == b',').any(|known| known.trim_ascii().eq_ignore_ascii_case(option))
}

/// Headers that no hop may remove, whoever asks.
#[must_use]
pub fn is_end_to_end(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 10] = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        COOKIE,
        HOST,
        LOCATION,
        ORIGIN,
        SET_COOKIE,
    ];
    NAMES.contains(name)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn r8_what_belongs_to_a_connection_ends_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private, Set-Cookie, content-type"),
            ("connection", "x-other,,bad name"),
            ("x-private", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("proxy-authenticate", "Basic"),
            ("set-cookie", "a=1"),
            ("set-cookie", "a=2"),
            ("content-type", "text/html"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers);
        // The order of different names is the map's own affair; that of one name's lines is not.
        let cookies: Vec<_> = headers.get_all("set-cookie").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(cookies, [b"a=1", b"a=2"]);
        assert_eq!(headers.get("content-type").map(HeaderValue::as_bytes), Some(&b"text/html"[..]));
        assert_eq!(headers.len(), 3, "{headers:?}");
    }
}
