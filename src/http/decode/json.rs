//! JSON bodies (RFC 8259), read more strictly than serde_json does: duplicate keys and deep nesting are refused (R35, R36).
//!
//! Two readers of a document with duplicate keys see different users. serde_json itself refuses byte-order marks, trailing bytes,
//! `NaN`, lone surrogates, numbers beyond a double and bytes that are not UTF-8. Called by `decode` alone.

use std::cell::Cell;

use serde::de::{DeserializeSeed, Error};
use serde_json::Value;

use super::DecodeError;
use super::names::fold;
use crate::domain::json::{Demands, Meeting};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 8;

/// How many values a document may have: so many, and one more for every so many bytes. A value takes some hundred bytes of memory until
/// the request is answered, and `{},` three bytes of a body (R24).
pub(crate) const VALUES: usize = 32;
pub(crate) const BYTES_A_VALUE: usize = 8;

/// Reads one document that fills the whole body.
pub fn parse(body: &[u8]) -> Result<Value, DecodeError> {
    let refused = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let values = Cell::new(VALUES + body.len() / BYTES_A_VALUE);
    let strict = Strict { depth: 0, refused: &refused, values: &values };
    let document =
        Meeting(strict).deserialize(&mut deserializer).and_then(|document| deserializer.end().map(|()| document));
    let document = document.map_err(|_| refused.get().unwrap_or(DecodeError::MalformedJson))?;
    match &document {
        // A document in a string: lenient apps parse what they got as text once more.
        Value::String(text) if text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[']) => {
            Err(DecodeError::MalformedJson)
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Ok(document)
        }
    }
}

/// What a body must be besides JSON, and why one was refused.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    refused: &'a Cell<Option<DecodeError>>,
    /// How many more there may be.
    values: &'a Cell<usize>,
}

impl Strict<'_> {
    fn refuse<E: Error>(self, error: DecodeError) -> E {
        self.refused.set(Some(error));
        E::custom(error)
    }
}

impl Demands for Strict<'_> {
    fn value<E: Error>(self) -> Result<(), E> {
        let Some(left) = self.values.get().checked_sub(1) else { return Err(self.refuse(DecodeError::TooManyFields)) };
        self.values.set(left);
        Ok(())
    }

    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(DecodeError::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn repeated<E: Error>(self, _: &str) -> Result<(), E> {
        Err(self.refuse(DecodeError::DuplicateKey))
    }
}

/// Whether a value for which this holds is there, given its folded keys from the root. Each key is folded once, so that long keys
/// over many values cost no more than the body's length.
pub(super) fn has_field(value: &Value, path: &mut Vec<String>, holds: &dyn Fn(&[String], &Value) -> bool) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        Value::Array(items) => items.iter().any(|item| has_field(item, path, holds)),
        Value::Object(entries) => entries.iter().any(|(key, value)| {
            path.push(fold(key));
            let found = holds(path, value) || has_field(value, path, holds);
            path.pop();
            found
        }),
    }
}

#[cfg(test)]
mod tests;
