//! JSON whose keys somebody else chose, as a value: a client's body, legacy's answer, a profile from the store.
//!
//! `serde_json` reads an object that begins with its own `$serde_json::private::RawValue` as the document in that key's text. Read
//! so, a registration could leave a profile that cannot be read back, and every listing with that record in it would fail. Here
//! such a key is a key like any other. Pure; used wherever text from outside becomes a [`Value`], by some with [`Demands`] of their own.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// Reads one document. Nesting is bounded by `serde_json`, at 128; of two equal keys the last counts.
pub fn from_slice(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(text).map(|Plain(value)| value)
}

/// Reads a field of a larger type, for `#[serde(deserialize_with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Plain::deserialize(deserializer).map(|Plain(value)| value)
}

/// What a reader demands of a document besides JSON's grammar, at the place where it stands. Whoever refuses remembers why by
/// himself: serde's errors carry text alone.
pub trait Demands: Copy {
    /// One more value begins. Allowed unless this is overridden.
    ///
    /// # Errors
    /// When there are too many.
    fn value<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    /// What is demanded within an array or object that begins. The same unless this is overridden.
    ///
    /// # Errors
    /// When it nests too deeply.
    fn inner<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    /// An object has this key already, escapes undone.
    ///
    /// # Errors
    /// When it may not. Otherwise the last of the values counts.
    fn repeated<E: Error>(self, key: &str) -> Result<(), E>;
}

/// Reads a value that meets these demands, as a seed for any of serde's deserializers.
#[derive(Clone, Copy)]
pub struct Meeting<D>(pub D);

/// What comes from `serde_json`'s own readers: whatever the grammar allows.
#[derive(Clone, Copy)]
struct Nothing;

impl Demands for Nothing {
    fn repeated<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Meeting(Nothing).deserialize(deserializer).map(Self)
    }
}

impl<'de, R: Demands> DeserializeSeed<'de> for Meeting<R> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.value()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Demands> Visitor<'de> for Meeting<R> {
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

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number beyond a double"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = Self(self.0.inner()?);
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = Self(self.0.inner()?);
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            // The key is unescaped by now: `\u0061` and `a` are one.
            match object.entry(key) {
                Entry::Vacant(free) => {
                    free.insert(entries.next_value_seed(inner)?);
                }
                Entry::Occupied(mut taken) => {
                    self.0.repeated(taken.key())?;
                    taken.insert(entries.next_value_seed(inner)?);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_parsers_own_keys_are_keys_like_any_other() {
        for text in [
            r#"{"$serde_json::private::RawValue":"not json"}"#,
            r#"{"$serde_json::private::RawValue":"{\"admin\":true}"}"#,
            r#"[{"a":{"$serde_json::private::RawValue":7}}]"#,
            r#"{"$serde_json::private::Number":"1","b":2}"#,
        ] {
            let value = from_slice(text.as_bytes()).expect("JSON");
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_read_as_the_parser_reads_it() {
        for text in ["null", "[true,-1,1.5e3,18446744073709551615,\"\\u00e4\"]", r#"{"b":1,"a":{"c":[]},"b":2}"#] {
            let theirs: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(from_slice(text.as_bytes()).expect("JSON").to_string(), theirs.to_string());
        }
        for text in ["", "{", "[1,]", "{}x", "NaN", "1e999", "\"\\ud800\""] {
            assert!(from_slice(text.as_bytes()).is_err(), "{text}");
        }
        assert!(from_slice("[".repeat(1_000).as_bytes()).is_err());
        assert_eq!(from_slice(b" {} ").ok(), Some(json!({})));
    }
}
