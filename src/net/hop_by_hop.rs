//! Headers that belong to one connection and end there (RFC 9110, section 7.6.1). A leaf for whoever hands a message on.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName,
    InvalidHeaderName, LOCATION, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What may not go on whatever `Connection` says.
const HOP_BY_HOP: [HeaderName; 9] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HTTP2_SETTINGS,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

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
    strip_fixed(headers);
}

/// Takes out those that are hop-by-hop by themselves.
pub fn strip_fixed(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Takes the `Connection` lines out, and gives them back.
pub fn take_connection(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    let lines = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
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
