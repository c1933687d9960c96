//! Reading one JSON record of another product, field by field: what is missing or of the wrong type is a [`RowFault`] that names the
//! field, and a key that appears twice is refused, since two programs would read two different users from it.
//!
//! Never shows a value in a fault: any field may turn out to be a hash. Called by the formats of this module.

use std::borrow::Cow;
use std::cell::RefCell;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::{DeserializeSeed, Error};
use serde_json::{Map, Value};

use super::{PortableName, RowFault};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::IdentifierKind;
use crate::domain::json::{Demands, Meeting};
use crate::domain::user::{LegacyId, MAX_LEGACY_ID_BYTES};

/// `1 field`, `2 fields`.
pub(super) fn counted(fields: usize) -> String {
    format!("{fields} field{}", if fields == 1 { "" } else { "s" })
}

/// The object that a raw record is. A key that appears twice, at any depth, is a fault.
pub(super) fn object(raw: &[u8]) -> Result<Map<String, Value>, RowFault> {
    let twice = RefCell::new(None);
    // Most files that are not are so in every second name: better said than guessed from a column.
    if str::from_utf8(raw).is_err() {
        return Err(RowFault::NOT_UTF8);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(raw);
    let read =
        Meeting(Unique(&twice)).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    if let Some(key) = twice.take() {
        return Err(RowFault::new("record", format!("the key {} appears twice", quoted(&key))));
    }
    match read.map_err(|error| RowFault::json(&error))? {
        Value::Object(fields) => Ok(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(RowFault::new("record", "it is no JSON object"))
        }
    }
}

/// The same for a field that holds JSON as text.
pub(super) fn object_in_text(text: &str, field: impl Into<Cow<'static, str>>) -> Result<Map<String, Value>, RowFault> {
    object(text.as_bytes()).map_err(|fault| RowFault::new(field, format!("as JSON, {}", fault.problem)))
}

/// A key or a word from the file, fit for a message: short, and with nothing in it that a terminal would act on.
pub(super) fn quoted(word: &str) -> String {
    let short: String = word.chars().take(40).flat_map(char::escape_debug).collect();
    let more = if word.chars().nth(40).is_some() { "…" } else { "" };
    format!("`{short}{more}`")
}

/// An object within a record, and where it is.
#[derive(Clone)]
pub(super) struct Node<'a> {
    fields: &'a Map<String, Value>,
    path: Cow<'static, str>,
}

impl<'a> Node<'a> {
    pub(super) fn root(fields: &'a Map<String, Value>) -> Self {
        Self { fields, path: Cow::Borrowed("") }
    }

    /// An object that was itself a text in a field.
    pub(super) fn within(fields: &'a Map<String, Value>, path: String) -> Self {
        Self { fields, path: path.into() }
    }

    /// All of its fields.
    pub(super) fn fields(&self) -> &'a Map<String, Value> {
        self.fields
    }

    /// An item of a list, which is `what`, as in `credentials`.
    pub(super) fn item(value: &'a Value, what: &str, index: usize) -> Result<Self, RowFault> {
        let path = format!("{what}[{index}]");
        match value {
            Value::Object(fields) => Ok(Self { fields, path: path.into() }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(RowFault::new(path, "must be an object"))
            }
        }
    }

    /// The name of a field in faults: with the path that leads to it.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn fault(&self, key: &str, problem: impl Into<Cow<'static, str>>) -> RowFault {
        RowFault::new(self.at(key), problem)
    }

    /// A field that is there and not null.
    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, RowFault> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.fault(key, "must be a text"))
            }
        }
    }

    /// A text that has to be there. It may be empty.
    pub(super) fn needed_text(&self, key: &str) -> Result<&'a str, RowFault> {
        match self.value(key) {
            Some(Value::String(text)) => Ok(text),
            None => Err(self.fault(key, "is missing")),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.fault(key, "must be a text"))
            }
        }
    }

    /// `true` or `false`, also as a text, which several products write.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, RowFault> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(Value::Null | Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.fault(key, "must be true or false"))
            }
        }
    }

    /// A whole number that is not negative, also as a text.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, RowFault> {
        let read = match self.value(key) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        };
        read.map(Some).ok_or_else(|| self.fault(key, "must be a whole number of 0 or more"))
    }

    /// The same, where it has to fit 32 bits: iterations, costs.
    pub(super) fn small_number(&self, key: &str) -> Result<Option<u32>, RowFault> {
        let number = self.number(key)?.map(u32::try_from).transpose();
        number.map_err(|_| self.fault(key, "is far too large"))
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Node<'a>>, RowFault> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Node { fields, path: self.at(key).into() })),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Err(self.fault(key, "must be an object"))
            }
        }
    }

    /// The items of a list; none where there is no list.
    pub(super) fn list(&self, key: &str) -> Result<&'a [Value], RowFault> {
        match self.value(key) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                Err(self.fault(key, "must be a list"))
            }
        }
    }

    /// The objects of a list, each with its place.
    pub(super) fn objects(&self, key: &str) -> Result<Vec<Node<'a>>, RowFault> {
        let path = self.at(key);
        self.list(key)?.iter().enumerate().map(|(index, item)| Node::item(item, &path, index)).collect()
    }

    /// The id under which the product knows the user: a number stays a number.
    pub(super) fn id(&self, key: &str) -> Result<Option<LegacyId>, RowFault> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(value) => LegacyId::from_json(value).map(Some).ok_or_else(|| {
                self.fault(key, format!("must be a text of at most {MAX_LEGACY_ID_BYTES} bytes or a whole number"))
            }),
        }
    }

    /// A moment in RFC 3339, or in the near relatives of it that databases print.
    pub(super) fn moment(&self, key: &str) -> Result<Option<UnixSeconds>, RowFault> {
        match self.text(key)?.filter(|text| !is_no_moment(text)) {
            None => Ok(None),
            Some(text) => moment(text).map(Some).map_err(|problem| self.fault(key, problem)),
        }
    }

    /// A moment in milliseconds since the epoch, as a number or as a text.
    pub(super) fn millis(&self, key: &str) -> Result<Option<UnixSeconds>, RowFault> {
        match self.number(key) {
            Ok(millis) => Ok(millis.map(|millis| UnixSeconds(millis / 1_000))),
            Err(_) => Err(self.fault(key, "must be a time in milliseconds since 1970")),
        }
    }

    /// A moment in either of the two.
    pub(super) fn millis_or_moment(&self, key: &str) -> Result<Option<UnixSeconds>, RowFault> {
        let text = self.value(key).and_then(Value::as_str);
        let is_moment = text.is_some_and(|text| !text.bytes().all(|byte| byte.is_ascii_digit()));
        if is_moment { self.moment(key) } else { self.millis(key) }
    }
}

/// Reads a moment; without an offset it is in UTC, which is what databases keep.
pub(super) fn moment(text: &str) -> Result<UnixSeconds, &'static str> {
    let timestamp = text.parse::<Timestamp>().ok().or_else(|| {
        let civil = text.parse::<DateTime>().ok()?;
        civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    });
    let seconds = timestamp.ok_or("must be a time as in 2024-05-01T12:00:00Z")?.as_second();
    u64::try_from(seconds).map(UnixSeconds).map_err(|_| "is a time before 1970")
}

/// What programs write for a time that never was: MySQL's zero date, and the first moment of the calendars of Go and .NET.
pub(super) fn is_no_moment(text: &str) -> bool {
    ["0000-00-00", "0001-01-01"].iter().any(|never| text.starts_with(never))
}

/// A moment as RFC 3339 has it.
pub(super) fn rfc3339(at: UnixSeconds) -> String {
    let timestamp = i64::try_from(at.0).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.unwrap_or(Timestamp::MAX).to_string()
}

/// The names of a user, each once.
#[derive(Default)]
pub(super) struct Names(Vec<PortableName>);

impl Names {
    /// Adds a name. One that is there already only learns whether it is verified.
    pub(super) fn add(&mut self, kind: IdentifierKind, value: Option<&str>, verified: Option<bool>) {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        match self.0.iter_mut().find(|name| name.kind == kind && name.value == value) {
            Some(known) => known.verified = known.verified.or(verified),
            None => self.0.push(PortableName { kind, value: value.to_owned(), verified }),
        }
    }

    /// The same for a name whose product has folded its case: it may be there already as its user wrote it.
    pub(super) fn add_folded(&mut self, kind: IdentifierKind, value: &str, verified: Option<bool>) {
        let as_written = self.0.iter().find(|name| name.kind == kind && name.value.to_lowercase() == value);
        let value = as_written.map_or_else(|| value.to_owned(), |name| name.value.clone());
        self.add(kind, Some(&value), verified);
    }

    /// All of them; a user without any cannot log in, so that `field` is named as missing.
    pub(super) fn or_fault(self, field: &'static str, problem: &'static str) -> Result<Vec<PortableName>, RowFault> {
        if self.0.is_empty() { Err(RowFault::new(field, problem)) } else { Ok(self.0) }
    }
}

/// Which kind of name a login name is whose product does not say.
pub(super) fn kind_of_name(value: &str) -> IdentifierKind {
    if value.contains('@') {
        IdentifierKind::Email
    } else if is_e164(value) {
        IdentifierKind::Phone
    } else {
        IdentifierKind::Username
    }
}

/// Whether a phone number is as E.164 writes it, with the plus sign that APIs ask for.
pub(super) fn is_e164(value: &str) -> bool {
    let digits = value.strip_prefix('+').unwrap_or_default();
    (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Base64 in either alphabet, with or without padding.
pub(super) fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    engine.decode(text).ok()
}

/// Hexadecimal in either case.
pub(super) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2));
    pairs.map(|pair| pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect()
}

/// Bytes in hexadecimal.
pub(super) fn hex_text(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// No key may appear twice in an object; one that does is left in the cell.
#[derive(Clone, Copy)]
struct Unique<'a>(&'a RefCell<Option<String>>);

impl Demands for Unique<'_> {
    fn repeated<E: Error>(self, key: &str) -> Result<(), E> {
        *self.0.borrow_mut() = Some(key.to_owned());
        Err(E::custom("a key appears twice"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(raw: &str) -> String {
        object(raw.as_bytes()).expect_err("a fault").to_string()
    }

    #[test]
    fn a_key_that_appears_twice_is_refused_at_any_depth() {
        assert_eq!(fault(r#"{"email":"a","email":"b"}"#), "record: the key `email` appears twice");
        assert_eq!(fault(r#"{"a":[{"b":{"c":1,"c":1}}]}"#), "record: the key `c` appears twice");
        assert_eq!(fault(r#"{"a\u0007":1,"\u0061\u0007":2}"#), "record: the key `a\\u{7}` appears twice");
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place_and_never_its_value() {
        assert_eq!(fault("[]"), "record: it is no JSON object");
        assert_eq!(fault(r#"{"a":"sec"#), "record: the JSON ends too early, at column 9");
        assert_eq!(fault(r#"{"a":1}x"#), "record: no valid JSON, at column 8");
    }

    #[test]
    fn the_parsers_own_keys_are_keys_like_any_other() {
        let text = r#"{"$serde_json::private::RawValue":"{\"admin\":true}"}"#;
        assert_eq!(Value::Object(object(text.as_bytes()).expect("an object")).to_string(), text);
    }

    #[test]
    fn moments_are_read_as_products_and_databases_write_them() {
        for text in [
            "2024-05-01T12:00:00Z",
            "2024-05-01T12:00:00.987Z",
            "2024-05-01T14:00:00+02:00",
            "2024-05-01 12:00:00.123456+00",
            "2024-05-01 12:00:00",
        ] {
            assert_eq!(moment(text), Ok(UnixSeconds(1_714_564_800)), "{text}");
        }
        assert_eq!(moment("yesterday"), Err("must be a time as in 2024-05-01T12:00:00Z"));
        assert_eq!(moment("1969-12-31T23:59:59Z"), Err("is a time before 1970"));
        assert_eq!(rfc3339(UnixSeconds(1_714_564_800)), "2024-05-01T12:00:00Z");
    }

    #[test]
    fn bytes_are_read_in_either_alphabet_and_case() {
        assert_eq!(base64_bytes("+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(base64_bytes("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(base64_bytes("+/8!"), None);
        assert_eq!(hex_bytes("fBFf"), Some(vec![0xfb, 0xff]));
        assert_eq!((hex_bytes("fbf"), hex_bytes("fg"), hex_bytes("+f")), (None, None, None));
        assert_eq!(hex_text(&[0xfb, 0x0f]), "fb0f");
    }

    #[test]
    fn faults_name_the_field_with_its_path() {
        let record = json!({"a": {"b": [{"c": 5}, 7]}});
        let root = Node::root(record.as_object().expect("an object"));
        let inner = root.object("a").expect("an object").expect("there");
        let fault = inner.objects("b").err().map(|fault| fault.to_string());
        assert_eq!(fault.as_deref(), Some("a.b[1]: must be an object"));
        assert_eq!(root.text("a").expect_err("a fault").to_string(), "a: must be a text");
        assert_eq!(root.number("x"), Ok(None));
    }
}
