//! The filters, tests and functions that templates and expressions have beyond the engine's own, or instead of them. Pure but
//! for `uuid()`; each is bounded by its input, which is bounded by the caller.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, general_purpose};
use minijinja::filters;
use minijinja::value::{Kwargs, Serde, StringInput};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::domain::json;

/// Everything but RFC 3986's unreserved characters (section 2.3). A slash is encoded too: a name may not become two path
/// segments.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The widest indentation of JSON, in spaces.
const MAX_INDENT: usize = 8;

/// The longest token whose claims are read, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1_024;

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE_ANY_PADDING: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::URL_SAFE, ANY_PADDING.with_decode_allow_trailing_bits(false));
const STANDARD_ANY_PADDING: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, ANY_PADDING);

/// Adds all of them.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("tojson", tojson);
    environment.add_filter(super::in_strings::FILTER, in_json_string);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("urldecode", urldecode);
    environment.add_filter("b64encode", b64encode);
    environment.add_filter("b64decode", b64decode);
    environment.add_filter("b64urlencode", b64urlencode);
    environment.add_filter("jwt_claims", |token: &Value| jwt_part(token, JwtPart::Claims));
    environment.add_filter("jwt_header", |token: &Value| jwt_part(token, JwtPart::Header));
    environment
        .add_test("startingwith", |value: &Value, with: &str| value.as_str().is_some_and(|s| s.starts_with(with)));
    environment.add_test("endingwith", |value: &Value, with: &str| value.as_str().is_some_and(|s| s.ends_with(with)));
    environment.add_test("containing", |value: &Value, with: &str| value.as_str().is_some_and(|s| s.contains(with)));
    environment.add_function("uuid", || uuid::Uuid::new_v4().to_string());
}

/// Replaces the engine's filters that make a text of anything at all, a null too: "none" would be somebody's email.
pub(super) fn refuse_nulls(environment: &mut Environment<'static>) {
    environment.add_filter("lower", |state: &State<'_, '_>, value: &Value| {
        Ok::<_, Error>(filters::lower(wanted(state, value)?))
    });
    environment.add_filter("upper", |state: &State<'_, '_>, value: &Value| {
        Ok::<_, Error>(filters::upper(wanted(state, value)?))
    });
    environment.add_filter("capitalize", |state: &State<'_, '_>, value: &Value| {
        Ok::<_, Error>(filters::capitalize(wanted(state, value)?))
    });
    environment.add_filter("title", |state: &State<'_, '_>, value: &Value| {
        Ok::<_, Error>(filters::title(wanted(state, value)?.as_str().to_owned().into()))
    });
    environment.add_filter("trim", |state: &State<'_, '_>, value: &Value, chars: Option<Cow<'_, str>>| {
        Ok::<_, Error>(filters::trim(wanted(state, value)?, chars))
    });
    environment.add_filter("string", |state: &State<'_, '_>, value: &Value| {
        wanted(state, value)?;
        filters::string(state, value)
    });
    environment.add_filter("replace", |state: &mut State<'_, '_>, value: &Value, from: &Value, to: &Value| {
        let (value, from, to) = (wanted(state, value)?, wanted(state, from)?, wanted(state, to)?);
        filters::replace(state, value, from, to)
    });
}

fn wanted<'a>(state: &State<'_, '_>, value: &'a Value) -> Result<StringInput<'a>, Error> {
    if value.is_none() {
        return Err(Error::new(ErrorKind::InvalidOperation, "null where text is wanted"));
    }
    StringInput::new(state, value)
}

/// The value as compact JSON, as most backends write it: answers are compared byte by byte.
pub(super) fn json_text(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::new(ErrorKind::BadSerialization, "this is no JSON value"))
}

/// `tojson`, or `tojson(indent=2)` where a backend's answers are written over several lines, as Express writes them.
fn tojson(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    refuse_undefined(state, value)?;
    let indent = options.get::<Option<usize>>("indent")?;
    options.assert_all_used()?;
    let mut json = match indent {
        None => json_text(value)?,
        Some(indent @ 0..=MAX_INDENT) => indented_json_text(value, indent)?,
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "an indent is at most 8 spaces")),
    };
    if *state.auto_escape() == AutoEscape::Html {
        // Safe inside a script element and inside an attribute.
        for (plain, escaped) in [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("'", "\\u0027")] {
            if json.contains(plain) {
                json = json.replace(plain, escaped);
            }
        }
    }
    Ok(Value::from_safe_string(json))
}

fn indented_json_text(value: &Value, indent: usize) -> Result<String, Error> {
    let no_json = |_| Error::new(ErrorKind::BadSerialization, "this is no JSON value");
    let (spaces, mut json) = (" ".repeat(indent), Vec::new());
    let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
    value.serialize(&mut Serializer::with_formatter(&mut json, formatter)).map_err(no_json)?;
    String::from_utf8(json).map_err(|_| Error::new(ErrorKind::BadSerialization, "this is no JSON value"))
}

/// A scalar as a part of a JSON string, without the quotes.
fn in_json_string(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let text = text(state, value)?;
    let json = json_text(&Value::from(text.as_ref()))?;
    let inside = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default();
    Ok(Value::from_safe_string(inside.to_owned()))
}

fn urlencode(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    Ok(utf8_percent_encode(&text(state, value)?, RESERVED).to_string())
}

/// Undefined if the result is not UTF-8.
fn urldecode(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let text = text(state, value)?.replace('+', " ");
    Ok(percent_decode_str(&text).decode_utf8().map_or(Value::UNDEFINED, |decoded| Value::from(decoded.as_ref())))
}

fn b64encode(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    Ok(STANDARD.encode(&*text(state, value)?))
}

fn b64urlencode(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    Ok(general_purpose::URL_SAFE_NO_PAD.encode(&*text(state, value)?))
}

/// Either alphabet, padded or not; undefined if it is no base64, or no text.
fn b64decode(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let text = text(state, value)?;
    let bytes = STANDARD_ANY_PADDING.decode(&*text).or_else(|_| URL_SAFE_ANY_PADDING.decode(&*text));
    Ok(bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).map_or(Value::UNDEFINED, Value::from))
}

#[derive(Clone, Copy)]
enum JwtPart {
    Header,
    Claims,
}

/// What a token in legacy's own answer says, unverified: it came over our own connection, from the party that we ask.
/// Undefined if it is no JWT (RFC 7519, section 3: three parts).
fn jwt_part(token: &Value, part: JwtPart) -> Value {
    let read = || {
        let token = token.as_str().filter(|token| token.len() <= MAX_TOKEN_BYTES)?;
        let mut parts = token.split('.');
        let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        let encoded = match (parts.next(), part) {
            (Some(_), _) => return None,
            (None, JwtPart::Header) => header,
            (None, JwtPart::Claims) => claims,
        };
        let bytes = URL_SAFE_ANY_PADDING.decode(encoded).ok()?;
        json::from_slice(&bytes).ok().filter(serde_json::Value::is_object)
    };
    read().map_or(Value::UNDEFINED, |claims| Value::from(Serde(claims)))
}

/// A scalar as text. In a strict environment nothing is no text; in a lenient one it is the empty string.
fn text<'a>(state: &State<'_, '_>, value: &'a Value) -> Result<Cow<'a, str>, Error> {
    use minijinja::value::ValueKind;

    refuse_undefined(state, value)?;
    match value.kind() {
        ValueKind::String => Ok(Cow::Borrowed(value.as_str().unwrap_or_default())),
        ValueKind::Undefined => Ok(Cow::Borrowed("")),
        ValueKind::Bool => Ok(Cow::Borrowed(if value.is_true() { "true" } else { "false" })),
        ValueKind::Number => Ok(Cow::Owned(value.to_string())),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "a text or a number is wanted here")),
    }
}

fn refuse_undefined(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() && state.undefined_behavior() == UndefinedBehavior::Strict {
        return Err(ErrorKind::UndefinedError.into());
    }
    Ok(())
}
