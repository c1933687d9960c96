//! JSON bodies: what is accepted has one reading, and what goes on to legacy is that reading (R35, R36, R41, R116).

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use serde_json::Value;

use super::SHIPPED;
use super::others::{json_facts, sloppy_name};
use crate::domain::json::from_slice;
use crate::http::decode::json::{BYTES_A_VALUE, MAX_DEPTH, VALUES, parse};
use crate::http::decode::{Credentials, decode, extract, reserialize};
use crate::http::settings::{BodyFormat, FieldRef, RequestShape};

/// A body.
pub fn json(data: &[u8]) {
    let theirs = str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    match parse(data) {
        Ok(document) => {
            let text = str::from_utf8(data).expect("JSON is UTF-8");
            let facts = json_facts(text);
            assert!(theirs && !facts.twice && facts.depth <= MAX_DEPTH, "{facts:?}");
            let written = document.to_string();
            assert_eq!(parse(written.as_bytes()).map(|again| again.to_string()), Ok(written), "written otherwise");
            assert_eq!(from_slice(data).ok().as_ref(), Some(&document), "read otherwise");
        }
        Err(_) if theirs => {
            let facts = json_facts(str::from_utf8(data).expect("JSON is UTF-8"));
            // What is JSON is refused for these reasons only. Whoever ignores a value does not see that a number is beyond a double,
            // or that half of a surrogate pair is missing.
            let for_size_or_nesting = from_slice(data).map_or(true, |document| {
                let inner =
                    document.as_str().map(|text| text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}'));
                values(&document) > VALUES + data.len() / BYTES_A_VALUE
                    || inner.is_some_and(|text| text.starts_with(['{', '[']))
            });
            assert!(
                facts.twice || facts.depth > MAX_DEPTH || for_size_or_nesting,
                "refused without a reason: {}",
                data.escape_ascii()
            );
        }
        Err(_) => {}
    }
    let shapes = SHIPPED.edge.routes.iter().map(|route| &route.request);
    for shape in shapes.filter(|shape| shape.format == BodyFormat::Json) {
        credentials(data, shape);
    }
}

/// How many values there are in a value.
pub(super) fn values(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(values).sum::<usize>(),
    }
}

fn credentials(data: &[u8], shape: &RequestShape) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Ok(decoded) = decode(&headers, data) else { return };
    let Ok(found) = extract(shape, &decoded) else { return };
    let onward = reserialize(&decoded);
    let again = decode(&headers, &onward).and_then(|again| extract(shape, &again)).expect("what goes on is accepted");
    assert_same(&found, &again);
    // Legacy gets the client's document and nothing else.
    let document = parse(data).expect("decoded");
    assert_eq!(parse(&onward).as_ref(), Ok(&document));
    for (field, text) in
        [(&shape.login, found.login.as_deref()), (&shape.password, found.password.as_ref().map(|text| text.as_str()))]
    {
        if let (Some(field), Some(text)) = (field, text) {
            has_one_value(&document, field, text);
        }
    }
    keeps_no_password(&found);
}

/// Readers that ignore case see the same value at the pointer, whether they take the first or the last.
fn has_one_value(document: &Value, field: &FieldRef, text: &str) {
    let keys = field.keys().expect("a pointer");
    let mut here = document;
    for key in keys {
        let Some(entries) = here.as_object() else { return };
        let meant: Vec<&Value> =
            entries.iter().filter(|(name, _)| sloppy_name(name) == sloppy_name(key)).map(|(_, value)| value).collect();
        assert_eq!(meant.len(), 1, "a credential under two names");
        let Some(value) = meant.first() else { return };
        here = value;
    }
    assert_eq!(here.as_str(), Some(text));
}

pub(super) fn assert_same(a: &Credentials, b: &Credentials) {
    let secret = |text: &Option<zeroize::Zeroizing<String>>| text.as_ref().map(|text| text.to_string());
    assert_eq!((&a.login, &a.email, &a.username, &a.phone), (&b.login, &b.email, &b.username, &b.phone));
    assert_eq!(
        (secret(&a.password), secret(&a.new_password), secret(&a.token)),
        (secret(&b.password), secret(&b.new_password), secret(&b.token))
    );
    assert_eq!((&a.fields, &a.profile), (&b.fields, &b.profile));
}

/// No template and no profile ever sees a password.
pub(super) fn keeps_no_password(found: &Credentials) {
    let Some(password) = found.password.as_ref().filter(|password| !password.is_empty()) else { return };
    let identifiers = [&found.login, &found.email, &found.username, &found.phone];
    if identifiers.into_iter().flatten().any(|identifier| identifier == password.as_str()) {
        return;
    }
    let mut open = vec![&found.fields];
    open.extend(&found.profile);
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => assert_ne!(text, password.as_str(), "a password among the fields"),
            Value::Array(items) => open.extend(items),
            Value::Object(entries) => open.extend(entries.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
