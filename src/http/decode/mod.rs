//! The body of an intercepted request: from bytes to what we judge, and back to the bytes that legacy judges.
//!
//! A body is what its one `Content-Type` declares and is never guessed at (R32, R33); what two readers could take
//! differently is refused, and what goes on to legacy is written anew from what was parsed (R41). Pure: the caller has read
//! and bounded the body. Called by the interceptor.

pub mod credentials;
pub mod form;
pub mod json;
pub mod names;

use std::io;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use self::names::FieldName;
use super::gate::Refusal;
use super::settings::BodyFormat;

pub use credentials::{Credentials, extract, path_names_credential, query_names_credential};
pub(in crate::http) use credentials::{parameter_names, query_names_password, strip_credential_cookies};

/// A parsed body. It holds passwords: it has no `Debug`, and its strings are overwritten when it is dropped.
pub struct Decoded(Body);

/// What a body holds.
enum Body {
    /// Nothing was sent.
    Empty,
    Json(Value),
    Form(Vec<(String, String)>),
}

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DecodeError {
    /// No `Content-Type`, several, or one that is neither JSON nor a form.
    #[error("the content type is not supported here")]
    UnsupportedType,
    /// A charset other than UTF-8, in the header or in a form's `_charset_`.
    #[error("only UTF-8 is supported")]
    UnsupportedCharset,
    /// Any `Content-Encoding`.
    #[error("an encoded body is not supported here")]
    ContentEncoding,
    /// No JSON document, or more than one.
    #[error("the body is not valid JSON")]
    MalformedJson,
    /// Two equal keys in one object, or two that a case-insensitive reader takes for one, where one is a credential.
    #[error("the body names a key twice")]
    DuplicateKey,
    /// Nested deeper than [`json::MAX_DEPTH`].
    #[error("the body is nested too deeply")]
    TooDeep,
    /// A control byte in a form.
    #[error("the body is not a valid form")]
    MalformedForm,
    /// A `%` without two hexadecimal digits in a form.
    #[error("the body has a percent sign that encodes nothing")]
    BadPercent,
    /// A `;` in a form, which some readers take for `&`.
    #[error("the body has a semicolon that is not encoded")]
    SemicolonSeparator,
    /// Bytes that are not UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// More than [`form::MAX_FIELDS`].
    #[error("the body has too many fields")]
    TooManyFields,
    /// Two fields that a backend could take for the same credential.
    #[error("the body names a credential twice")]
    DuplicateField,
    /// A credential that is not there.
    #[error("a required field is missing")]
    MissingField(CredentialField),
    /// A credential that is not a string.
    #[error("a field is not a string")]
    NotAString(CredentialField),
}

/// Which credential an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialField {
    /// The login identifier.
    Login,
    /// The password, on a change the current one.
    Password,
    /// The new password.
    NewPassword,
    /// The token of a refresh.
    Token,
    /// A further identifier.
    Email,
    /// As above.
    Username,
    /// As above.
    Phone,
}

impl DecodeError {
    /// The answer's status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::UnsupportedType | Self::UnsupportedCharset | Self::ContentEncoding => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::TooManyFields => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MalformedJson
            | Self::DuplicateKey
            | Self::TooDeep
            | Self::MalformedForm
            | Self::BadPercent
            | Self::SemicolonSeparator
            | Self::NotUtf8
            | Self::DuplicateField
            | Self::MissingField(_)
            | Self::NotAString(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The word for it in metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedType => "unsupported_type",
            Self::UnsupportedCharset => "unsupported_charset",
            Self::ContentEncoding => "content_encoding",
            Self::MalformedJson => "malformed_json",
            Self::DuplicateKey => "duplicate_key",
            Self::TooDeep => "too_deep",
            Self::MalformedForm => "malformed_form",
            Self::BadPercent => "bad_percent",
            Self::SemicolonSeparator => "semicolon_separator",
            Self::NotUtf8 => "not_utf8",
            Self::TooManyFields => "too_many_fields",
            Self::DuplicateField => "duplicate_field",
            Self::MissingField(_) => "missing_field",
            Self::NotAString(_) => "not_a_string",
        }
    }

    /// A fixed sentence for the client.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::UnsupportedType => "The content type is not supported here",
            Self::UnsupportedCharset => "Only UTF-8 is supported",
            Self::ContentEncoding => "An encoded body is not supported here",
            Self::MalformedJson => "The body is not valid JSON",
            Self::DuplicateKey => "The body names a key twice",
            Self::TooDeep => "The body is nested too deeply",
            Self::MalformedForm => "The body is not a valid form",
            Self::BadPercent => "The body has a percent sign that encodes nothing",
            Self::SemicolonSeparator => "The body has a semicolon that is not encoded",
            Self::NotUtf8 => "The body is not UTF-8",
            Self::TooManyFields => "The body has too many fields",
            Self::DuplicateField => "The body names a credential twice",
            Self::MissingField(_) => "A required field is missing",
            Self::NotAString(_) => "A field is not a string",
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self { status: error.status(), reason: error.as_str(), title: error.title() }
    }
}

/// Reads a body as what its header declares. An empty body needs no type.
pub fn decode(headers: &HeaderMap, body: &[u8]) -> Result<Decoded, DecodeError> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(DecodeError::ContentEncoding);
    }
    let declared = declared_format(headers)?;
    let body = match (declared, body) {
        (_, []) => Body::Empty,
        (Some(BodyFormat::Json), body) => Body::Json(json::parse(body)?),
        (Some(BodyFormat::Form), body) => Body::Form(form::parse(body)?),
        (None, _) => return Err(DecodeError::UnsupportedType),
    };
    Ok(Decoded(body))
}

/// The one format that the header declares, if there is one.
fn declared_format(headers: &HeaderMap) -> Result<Option<BodyFormat>, DecodeError> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(DecodeError::UnsupportedType);
    }
    let text = line.to_str().map_err(|_| DecodeError::UnsupportedType)?;
    let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
    let format = match parts.next() {
        Some(media) if media.eq_ignore_ascii_case("application/json") => BodyFormat::Json,
        Some(media) if media.eq_ignore_ascii_case("application/x-www-form-urlencoded") => BodyFormat::Form,
        Some(_) | None => return Err(DecodeError::UnsupportedType),
    };
    // Parameters may be empty (RFC 9110, section 5.6.6); old clients end with a semicolon.
    let mut parameters = parts.filter(|part| !part.is_empty());
    match (parameters.next(), parameters.next()) {
        (None, None) => Ok(Some(format)),
        (Some(parameter), None) => utf8_charset(parameter).map(|()| Some(format)),
        (_, Some(_)) => Err(DecodeError::UnsupportedType),
    }
}

fn utf8_charset(parameter: &str) -> Result<(), DecodeError> {
    let (name, value) = parameter.split_once('=').ok_or(DecodeError::UnsupportedType)?;
    if !name.eq_ignore_ascii_case("charset") {
        return Err(DecodeError::UnsupportedType);
    }
    let unquoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    // The second is what everybody takes for the first (WHATWG Encoding, section 4.2).
    let is_utf8 = ["utf-8", "utf8"].iter().any(|name| unquoted.eq_ignore_ascii_case(name));
    if is_utf8 { Ok(()) } else { Err(DecodeError::UnsupportedCharset) }
}

impl Decoded {
    /// A body with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self(Body::Empty)
    }

    /// The format that was declared; none of an empty body.
    #[must_use]
    pub fn format(&self) -> Option<BodyFormat> {
        match &self.0 {
            Body::Empty => None,
            Body::Json(_) => Some(BodyFormat::Json),
            Body::Form(_) => Some(BodyFormat::Form),
        }
    }

    /// Whether a field is there, in whatever spelling some backend reads it.
    pub(in crate::http) fn has_field(&self, field: &FieldName) -> bool {
        match &self.0 {
            Body::Empty => false,
            Body::Form(fields) => fields.iter().any(|(name, _)| FieldName::of_form(name).holds(field)),
            Body::Json(document) => json::has_field(document, &mut Vec::new(), &|path, _| field.is_under(path)),
        }
    }

    /// The same, in a group or out of one as well.
    pub(in crate::http) fn has_field_like(&self, field: &FieldName) -> bool {
        match &self.0 {
            Body::Empty => false,
            Body::Form(fields) => fields.iter().any(|(name, _)| FieldName::of_form(name).is_like(field)),
            Body::Json(document) => json::has_field(document, &mut Vec::new(), &|path, _| field.is_like_folded(path)),
        }
    }

    /// Whether a field may be read as holding this text, regardless of case.
    pub(in crate::http) fn may_say(&self, field: &FieldName, text: &str) -> bool {
        match &self.0 {
            Body::Empty => false,
            Body::Form(fields) => fields
                .iter()
                .any(|(name, value)| value.eq_ignore_ascii_case(text) && FieldName::of_form(name).holds(field)),
            Body::Json(document) => json::has_field(document, &mut Vec::new(), &|path, value| {
                value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(text)) && field.is_under(path)
            }),
        }
    }

    /// The names of a form's fields, or of a JSON document's outermost ones.
    pub(in crate::http) fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.0 {
            Body::Empty => Box::new(std::iter::empty()),
            Body::Form(fields) => Box::new(fields.iter().map(|(name, _)| name.as_str())),
            Body::Json(document) => {
                Box::new(document.as_object().into_iter().flat_map(|entries| entries.keys().map(String::as_str)))
            }
        }
    }

    /// The `Content-Type` that belongs to [`reserialize`]'s bytes and replaces the client's own.
    #[must_use]
    pub fn content_type(&self) -> Option<HeaderValue> {
        self.format().map(|format| match format {
            BodyFormat::Json => HeaderValue::from_static("application/json"),
            BodyFormat::Form => HeaderValue::from_static("application/x-www-form-urlencoded"),
        })
    }
}

/// The body that is sent on: written anew from what was parsed, in the same order (R41). It is overwritten when dropped.
#[must_use]
pub fn reserialize(decoded: &Decoded) -> Bytes {
    let text = match &decoded.0 {
        Body::Empty => return Bytes::new(),
        Body::Json(value) => json_bytes(value),
        Body::Form(fields) => {
            // At worst each byte becomes three; reserving for that leaves no copy behind in a buffer that grew.
            let most = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
            Zeroizing::new(form::serialize(fields, String::with_capacity(most)).into_bytes())
        }
    };
    Bytes::from_owner(Secret(text))
}

struct Secret(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Written twice, the first time only to be counted, so that the buffer never moves.
fn json_bytes(value: &Value) -> Zeroizing<Vec<u8>> {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    let counted = serde_json::to_writer(&mut count, value);
    let mut bytes = Zeroizing::new(Vec::with_capacity(count.0));
    let written = counted.and_then(|()| serde_json::to_writer(&mut *bytes, value));
    written.expect("a JSON value has string keys only and memory takes every byte");
    bytes
}

impl Drop for Decoded {
    fn drop(&mut self) {
        match &mut self.0 {
            Body::Empty => {}
            Body::Json(value) => overwrite(value),
            Body::Form(fields) => fields.iter_mut().for_each(|(_, value)| value.zeroize()),
        }
    }
}

/// Overwrites every string below a value. Nesting is bounded by [`json::MAX_DEPTH`].
fn overwrite(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(overwrite),
        Value::Object(entries) => entries.values_mut().for_each(overwrite),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
