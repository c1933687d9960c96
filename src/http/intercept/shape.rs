//! Whether our answer would look like legacy's own: status, content type, and the JSON body field by field, by type and never by
//! value. In `observe` the differences are counted; none is the gate to `migrate`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::domain::json;

/// How many different fields one route may put into a metric label; those beyond are counted as `other`.
const MAX_FIELDS: usize = 64;
/// How deep and how far a body is compared.
const MAX_DEPTH: usize = 6;
const MAX_PATHS: usize = 256;

/// The field names that a route's counters have used so far. Names come from legacy's answers, so their number is bounded.
#[derive(Default)]
pub(super) struct KnownFields(Mutex<HashSet<Arc<str>>>);

impl KnownFields {
    /// The label for a field.
    pub(super) fn label(&self, field: &str) -> Arc<str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(field) {
            Some(known) => Arc::clone(known),
            None if known.len() < MAX_FIELDS && field.len() <= 100 => {
                let label: Arc<str> = field.into();
                known.insert(Arc::clone(&label));
                label
            }
            None => "other".into(),
        }
    }
}

/// The fields in which two answers differ, in order.
pub(super) fn differences(ours: &Response<Bytes>, legacys: &Response<Bytes>) -> BTreeSet<String> {
    let mut differing = BTreeSet::new();
    if ours.status() != legacys.status() {
        differing.insert("status".to_owned());
    }
    let (our_type, their_type) = (media_type(ours), media_type(legacys));
    if our_type != their_type {
        differing.insert("content-type".to_owned());
    }
    match (json_of(ours), json_of(legacys)) {
        (Some(ours), Some(legacys)) => {
            let (ours, legacys) = (shape(&ours), shape(&legacys));
            let paths: BTreeSet<&String> = ours.keys().chain(legacys.keys()).collect();
            let differs = |path: &&&String| match (ours.get(**path), legacys.get(**path)) {
                // A field that is null on either side is there; its type shows with somebody who has a value.
                (Some(&ours), Some(&legacys)) => ours != legacys && ours != "null" && legacys != "null",
                (None, _) | (_, None) => true,
            };
            differing.extend(paths.iter().filter(differs).map(|path| format!("body{path}")));
        }
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => {
            differing.insert("body".to_owned());
        }
    }
    differing
}

fn media_type(response: &Response<Bytes>) -> Option<String> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(|media| media.trim().to_ascii_lowercase())
}

fn json_of(response: &Response<Bytes>) -> Option<Value> {
    json::from_slice(response.body()).ok()
}

/// Each path of a JSON value and the type that stands there. The elements of an array share one path.
fn shape(value: &Value) -> BTreeMap<String, &'static str> {
    let mut paths = BTreeMap::new();
    let mut open = vec![(String::new(), value, 0)];
    while let Some((path, value, depth)) = open.pop() {
        if paths.len() >= MAX_PATHS {
            break;
        }
        if depth < MAX_DEPTH {
            match value {
                Value::Object(fields) => {
                    open.extend(fields.iter().map(|(name, value)| (format!("{path}.{name}"), value, depth + 1)));
                }
                Value::Array(items) => open.extend(items.iter().map(|item| (format!("{path}[]"), item, depth + 1))),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        paths.insert(path, kind(value));
    }
    paths
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, media: &str, body: &str) -> Response<Bytes> {
        Response::builder()
            .status(status)
            .header(CONTENT_TYPE, media)
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .expect("a response")
    }

    fn differing(ours: &str, legacys: &str) -> Vec<String> {
        let (ours, legacys) =
            (answer(200, "application/json", ours), answer(200, "application/json; charset=utf-8", legacys));
        differences(&ours, &legacys).into_iter().collect()
    }

    #[test]
    fn values_do_not_count_but_fields_and_types_do() {
        assert!(differing(r#"{"token":"a","user":{"id":1}}"#, r#"{"user":{"id":2},"token":"b"}"#).is_empty());
        assert_eq!(differing(r#"{"user":{"id":"1"}}"#, r#"{"user":{"id":1}}"#), ["body.user.id"]);
        assert_eq!(differing(r#"{"a":1}"#, r#"{"a":1,"b":2}"#), ["body.b"]);
        assert_eq!(differing(r#"{"a":1,"c":{}}"#, r#"{"a":1}"#), ["body.c"]);
        assert_eq!(differing(r#"{"a":null}"#, r#"{"a":"x"}"#), [""; 0]);
        assert_eq!(differing(r#"[{"a":1}]"#, r#"[{"b":1}]"#), ["body[].a", "body[].b"]);
        assert_eq!(differing(r#""no""#, "7"), ["body"]);
        assert_eq!(differing("<p>", "{}"), ["body"]);
    }

    #[test]
    fn status_and_media_type_count() {
        let (ours, legacys) = (answer(200, "application/json", "{}"), answer(201, "text/html", "{}"));
        assert_eq!(differences(&ours, &legacys).into_iter().collect::<Vec<_>>(), ["content-type", "status"]);
    }

    #[test]
    fn r117_the_number_of_labels_is_bounded_whatever_legacy_answers() {
        let known = KnownFields::default();
        let labels: HashSet<_> = (0..10_000).map(|n| known.label(&format!("body.f{n}"))).collect();
        assert_eq!(labels.len(), MAX_FIELDS + 1);
        assert_eq!(&*known.label("body.f1"), "body.f1");
        assert_eq!(&*known.label("body.f9999"), "other");
    }
}
