//! An answer of legacy: as expressions see it, computed only as far as they look, and as a client may get it. Judges nothing.
//! Called by `verdict`, `identity` and `http`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use ::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, SET_COOKIE};
use ::http::{HeaderMap, Response, StatusCode};
use minijinja::value::{Enumerator, Object};

use super::exchange::Received;
use crate::domain::json;
use crate::net::hop_by_hop;
use crate::service::ports::Relay;
use crate::template::{self, Value};

/// A whole answer with what it answers. Has no useful `Debug`: it may hold a session.
pub(super) struct Answer {
    received: Received,
    /// `request` to expressions.
    asked: Value,
    json: OnceLock<Option<serde_json::Value>>,
    seen: Seen,
}

/// What was computed for expressions so far.
#[derive(Default)]
struct Seen {
    headers: OnceLock<Value>,
    set_cookies: OnceLock<Value>,
    body: OnceLock<Value>,
    json: OnceLock<Value>,
}

impl Answer {
    pub(super) fn new(received: Received, asked: Value) -> Arc<Self> {
        Arc::new(Self { received, asked, json: OnceLock::new(), seen: Seen::default() })
    }

    pub(super) fn status(&self) -> StatusCode {
        self.received.status
    }

    /// The context of expressions, and `answer` to a template.
    pub(super) fn context(self: &Arc<Self>) -> Value {
        Value::from_dyn_object(Arc::clone(self))
    }

    /// The body as JSON, if it is JSON.
    pub(super) fn json(&self) -> Option<&serde_json::Value> {
        let parse = || self.is_readable().then(|| json::from_slice(&self.received.body).ok()).flatten();
        self.json.get_or_init(parse).as_ref()
    }

    /// Whether the body can be judged. We ask for no content coding; an answer that has one all the same is handed on unread.
    pub(super) fn is_readable(&self) -> bool {
        let codings = self.received.headers.get_all(CONTENT_ENCODING);
        codings.iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    }

    /// The answer as it may go to a client: whole, without what belonged to the connection; the order of equal headers kept
    /// (R126).
    pub(super) fn relay(&self) -> Relay {
        let mut headers = self.received.headers.clone();
        hop_by_hop::strip(&mut headers);
        // Whoever sends it on knows the length of what he sends.
        headers.remove(CONTENT_LENGTH);
        let mut relay = Response::new(self.received.body.clone());
        *relay.status_mut() = self.received.status;
        *relay.headers_mut() = headers;
        relay
    }
}

impl Object for Answer {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let (received, seen) = (&self.received, &self.seen);
        match key.as_str()? {
            "status" => Some(Value::from(received.status.as_u16())),
            "headers" => Some(seen.headers.get_or_init(|| headers(&received.headers)).clone()),
            "set_cookies" => Some(seen.set_cookies.get_or_init(|| set_cookies(&received.headers)).clone()),
            "body" if self.is_readable() => {
                let text = || Value::from(String::from_utf8_lossy(&received.body).as_ref());
                Some(seen.body.get_or_init(text).clone())
            }
            "json" => self.json().map(|json| seen.json.get_or_init(|| template::context(json)).clone()),
            "request" => Some(self.asked.clone()),
            _ => None,
        }
    }

    /// Nobody may list it: a template could print a session, and so could `Debug`.
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.received.status).finish_non_exhaustive()
    }
}

/// Names in lower case; equal ones joined as RFC 9110, section 5.3, allows. Bytes that are no text become U+FFFD.
fn headers(headers: &HeaderMap) -> Value {
    Value::from_pairs(headers.keys().map(|name| {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (name.as_str(), values.join(", "))
    }))
}

/// Every `Set-Cookie` (RFC 6265, section 5.2): name to value. Of equal names the last counts, as in a browser.
fn set_cookies(headers: &HeaderMap) -> Value {
    let mut cookies = BTreeMap::new();
    for line in headers.get_all(SET_COOKIE) {
        let line = String::from_utf8_lossy(line.as_bytes());
        let pair = line.split(';').next().unwrap_or_default();
        if let Some((name, value)) = pair.split_once('=') {
            cookies.insert(name.trim().to_owned(), unquoted(value.trim()).to_owned());
        }
    }
    Value::from_pairs(cookies)
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
pub(super) mod tests {
    use ::http::{HeaderName, HeaderValue};
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::template::Expression;

    pub(in crate::legacy) fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Arc<Answer> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        let body = Bytes::copy_from_slice(body.as_bytes());
        Answer::new(Received { status, headers: map, body }, template::context(json!({ "login": "ann" })))
    }

    fn holds(answer: &Arc<Answer>, source: &str) -> bool {
        Expression::compile(source).expect("an expression").holds(&answer.context())
    }

    #[test]
    fn expressions_see_all_that_an_answer_holds() {
        let answer = answer(
            302,
            &[
                ("location", "/home"),
                ("x-two", "a"),
                ("x-two", "b"),
                ("set-cookie", "remember=; Path=/"),
                ("set-cookie", "session=1; Path=/"),
                ("set-cookie", "session=\"2=3\"; HttpOnly"),
                ("set-cookie", "no pair"),
            ],
            r#"{"user":{"id":7}}"#,
        );
        for source in [
            "status == 302",
            "headers.location == '/home' and headers['x-two'] == 'a, b' and headers.nothing is not defined",
            "set_cookies.remember is defined and set_cookies.remember == ''",
            "set_cookies.session == '2=3' and set_cookies.no is not defined",
            "body is containing('\"id\":7')",
            "json.user.id == 7 and json.user.name is not defined",
            "request.login == 'ann'",
        ] {
            assert!(holds(&answer, source), "{source}");
        }
    }

    #[test]
    fn what_is_not_json_has_no_json() {
        for body in ["", "<p>{}</p>", "{\"a\":", "{} x", "{\"a\":\"\\ud800\"}", &"[".repeat(5_000)] {
            let answer = answer(200, &[("content-type", "application/json")], body);
            assert!(holds(&answer, "json is not defined and json.a.b is not defined"), "{body:.20}");
        }
        assert!(holds(&answer(400, &[], "\"Incorrect password\""), "json == 'Incorrect password'"));
    }

    #[test]
    fn an_encoded_answer_is_handed_on_unread() {
        let answer = answer(200, &[("content-encoding", "gzip"), ("content-length", "2")], "{}");
        assert!(holds(&answer, "body is not defined and json is not defined and status == 200"));
        let relay = answer.relay();
        assert_eq!(relay.headers().get("content-encoding").map(HeaderValue::as_bytes), Some(&b"gzip"[..]));
        assert_eq!(relay.headers().get("content-length"), None);
        assert_eq!(relay.body().as_ref(), b"{}");
    }

    #[test]
    fn r126_set_cookie_lines_stay_apart_and_in_order() {
        let lines = ["a=1; Path=/", "b=2", "a=3; Path=/x"].map(|line| ("set-cookie", line));
        let relay = answer(200, &lines, "").relay();
        let seen: Vec<_> = relay.headers().get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(seen, [&b"a=1; Path=/"[..], b"b=2", b"a=3; Path=/x"]);
    }

    #[test]
    fn r116_debug_shows_no_content() {
        let answer = answer(200, &[("set-cookie", "session=canary")], "canary");
        assert!(!format!("{answer:?} {:?}", answer.context()).contains("canary"));
    }
}
