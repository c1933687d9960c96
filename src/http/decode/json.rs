//! JSON bodies (RFC 8259), read more strictly than serde_json does: duplicate keys and deep nesting are refused (R35, R36).
//!
//! Two readers of a document with duplicate keys see different users. serde_json itself refuses byte-order marks, trailing bytes,
//! `NaN`, lone surrogates, numbers beyond a double and bytes that are not UTF-8. Called by `decode` alone.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::DecodeError;
use super::names::fold;

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
    let document = strict.deserialize(&mut deserializer).and_then(|document| deserializer.end().map(|()| document));
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

/// Builds a [`Value`] and notes why it refused one, since serde's errors only carry text.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    refused: &'a Cell<Option<DecodeError>>,
    /// How many more there may be.
    values: &'a Cell<usize>,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(self, error: DecodeError) -> E {
        self.refused.set(Some(error));
        E::custom(error)
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(DecodeError::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.values.get().checked_sub(1) else { return Err(self.refuse(DecodeError::TooManyFields)) };
        self.values.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number beyond a double"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            // The key is unescaped by now: `\u0061` and `a` are one.
            if object.contains_key(&key) {
                return Err(self.refuse(DecodeError::DuplicateKey));
            }
            let value = entries.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
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
