//! Error answers in `application/problem+json` (RFC 9457), for everything that a route's own replies do not cover.
//!
//! Only the shape lives here: which error becomes which answer is decided in one place by the callers, and no cause is
//! ever shown to a client.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

/// The members of a problem (RFC 9457, section 3.1), and `code`, the word that metrics use for it.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    code: &'a str,
}

/// An error answer. `code` is a word of a closed set, `title` a fixed sentence: neither holds anything from the request.
/// It is never stored by a cache (RFC 9111, section 5.2.2.5).
#[must_use]
pub fn problem(status: StatusCode, code: &str, title: &str) -> Response<Bytes> {
    let r#type = format!("urn:authferry:problem:{}", code.replace('_', "-"));
    let body =
        serde_json::to_vec(&Problem { r#type: &r#type, title, status: status.as_u16(), code }).unwrap_or_default();
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Bytes::from(body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_carries_its_members_its_length_and_may_not_be_cached() {
        let response = problem(StatusCode::BAD_REQUEST, "bad_path", "The path is not acceptable");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[CONTENT_LENGTH], response.body().len().to_string());
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        let expected = serde_json::json!({
            "type": "urn:authferry:problem:bad-path", "title": "The path is not acceptable", "status": 400, "code": "bad_path",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_a_title_says_cannot_break_out_of_its_string() {
        let response = problem(StatusCode::BAD_REQUEST, "x", "a\"}\r\n<b>");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["title"], "a\"}\r\n<b>");
    }
}
