//! JSON whose keys somebody else chose, as a value: a client's body, legacy's answer, a profile from the store.
//!
//! `serde_json` reads an object that begins with its own `$serde_json::private::RawValue` as the document in that key's text. Read
//! so, a registration could leave a profile that cannot be read back, and every listing with that record in it would fail. Here
//! such a key is a key like any other. Pure; used wherever text from outside becomes a [`Value`].

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one document. Nesting is bounded by `serde_json`, at 128; of two equal keys the last counts.
pub fn from_slice(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(text).map(|Plain(value)| value)
}

/// Reads a field of a larger type, for `#[serde(deserialize_with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Plain::deserialize(deserializer).map(|Plain(value)| value)
}

struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder).map(Self)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
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
        let mut array = Vec::new();
        while let Some(Plain(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Plain(value))) = entries.next_entry::<String, Plain>()? {
            object.insert(key, value);
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
