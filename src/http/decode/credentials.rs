//! Who wants in, and with what: the credentials of a request, found where the route's configuration says and nowhere else.
//!
//! A name that some backend could take for a credential's is refused when it stands beside the real one (R35, R38) or in the
//! query or path (R39): legacy would judge another user than the one that is saved. Passwords leave the other fields here, so
//! that neither templates nor profiles ever hold one (R116). Called by the interceptor.

use http::header::{COOKIE, HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::form;
use super::names::{FieldName, is_password_like};
use super::{Body, CredentialField, DecodeError, Decoded, json};
use crate::http::path::CanonicalTarget;
use crate::http::settings::{BodyFormat, FieldRef, RequestShape};

/// What a request says of a user. Has no `Debug`: it holds passwords.
pub struct Credentials {
    /// The login identifier, as typed.
    pub login: Option<String>,
    /// The password; on a change, the current one.
    pub password: Option<Zeroizing<String>>,
    /// The new password of a change or reset.
    pub new_password: Option<Zeroizing<String>>,
    /// The token of a refresh.
    pub token: Option<Zeroizing<String>>,
    /// A further identifier; none if it was left empty.
    pub email: Option<String>,
    /// As above.
    pub username: Option<String>,
    /// As above.
    pub phone: Option<String>,
    /// Every field, less every password. Of a form, an object from names to strings, or to arrays where a name repeats.
    pub fields: Value,
    /// The part that becomes a profile, less every password.
    pub profile: Option<Value>,
}

/// Finds a route's credentials. What the shape names must be there: the login and the passwords as strings, the further
/// identifiers as strings if at all.
pub fn extract(shape: &RequestShape, decoded: &Decoded) -> Result<Credentials, DecodeError> {
    if decoded.format().is_some_and(|format| format != shape.format) {
        return Err(DecodeError::UnsupportedType);
    }
    refuse_aliases(shape, decoded)?;
    let required = |field: &Option<FieldRef>, what| {
        let Some(field) = field else { return Ok(None) };
        match text_of(decoded, field) {
            Text::Is(text) => Ok(Some(text)),
            Text::Absent => Err(DecodeError::MissingField(what)),
            Text::Null | Text::OtherType => Err(DecodeError::NotAString(what)),
        }
    };
    let optional = |field: &Option<FieldRef>, what| {
        let Some(field) = field else { return Ok(None) };
        match text_of(decoded, field) {
            Text::Is("") | Text::Absent | Text::Null => Ok(None),
            Text::Is(text) => Ok(Some(text.to_owned())),
            Text::OtherType => Err(DecodeError::NotAString(what)),
        }
    };
    let secret = |text: Option<&str>| text.map(|text| Zeroizing::new(text.to_owned()));
    let login = required(&shape.login, CredentialField::Login)?.map(str::to_owned);
    let password = secret(required(&shape.password, CredentialField::Password)?);
    let new_password = secret(required(&shape.new_password, CredentialField::NewPassword)?);
    let token = secret(required(&shape.token, CredentialField::Token)?);
    let email = optional(&shape.email, CredentialField::Email)?;
    let username = optional(&shape.username, CredentialField::Username)?;
    let phone = optional(&shape.phone, CredentialField::Phone)?;
    let fields = without_secrets(shape, decoded, [&password, &new_password, &token]);
    let profile = shape.profile.as_ref().and_then(|part| profile_of(shape.format, &fields, part));
    Ok(Credentials { login, password, new_password, token, email, username, phone, fields, profile })
}

/// Whether a parameter of the query bears the name of a credential in any spelling (R39). Separators that only some readers
/// know (`;`) count, and so does a name that cannot be decoded: nobody knows what it is read as.
#[must_use]
pub fn query_names_credential(query: &str, shape: &RequestShape) -> bool {
    names_credential(query.split(['&', ';']), shape, |_| true)
}

/// Whether a parameter of a path segment (`/login;email=x`) bears the name of a credential.
#[must_use]
pub fn path_names_credential(target: &CanonicalTarget, shape: &RequestShape) -> bool {
    target.path().split('/').any(|segment| names_credential(segment.split(';').skip(1), shape, |_| true))
}

/// Whether the query bears the name of a password: what a link that prefills a login page never does.
#[must_use]
pub(in crate::http) fn query_names_password(query: &str, shape: &RequestShape) -> bool {
    names_credential(query.split(['&', ';']), shape, |what| {
        matches!(what, CredentialField::Password | CredentialField::NewPassword | CredentialField::Token)
    })
}

fn names_credential<'a>(
    pairs: impl Iterator<Item = &'a str>,
    shape: &RequestShape,
    counts: impl Fn(CredentialField) -> bool,
) -> bool {
    let credentials = || credential_fields(shape).filter(|(what, _)| counts(*what)).map(|(_, field)| field.name());
    if credentials().next().is_none() {
        return false;
    }
    // More parameters than any login has are refused rather than looked through.
    pairs.enumerate().any(|(index, pair)| match form::name_of(pair) {
        Ok(name) => {
            let name = FieldName::of_form(&name);
            index >= form::MAX_FIELDS || credentials().any(|credential| credential.resembles(&name))
        }
        Err(_) => true,
    })
}

/// The names of all parameters of the query and of path segments, as far as they can be decoded.
#[must_use]
pub(in crate::http) fn parameter_names(target: &CanonicalTarget) -> Vec<FieldName> {
    let query = target.query().unwrap_or_default().split(['&', ';']);
    let path = target.path().split('/').flat_map(|segment| segment.split(';').skip(1));
    query.chain(path).filter_map(|pair| form::name_of(pair).ok()).map(|name| FieldName::of_form(&name)).collect()
}

/// Removes from `Cookie` lines the pairs that bear the name of an identifier or password of these shapes. Tokens stay: a session is
/// often a cookie of that name.
pub(in crate::http) fn strip_credential_cookies(headers: &mut HeaderMap, shapes: &[&RequestShape]) {
    if !headers.contains_key(COOKIE) {
        return;
    }
    let credentials: Vec<&FieldName> = shapes
        .iter()
        .flat_map(|shape| credential_fields(shape))
        .filter(|(what, _)| *what != CredentialField::Token)
        .map(|(_, field)| field.name())
        .collect();
    let bears_one = |pair: &[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        let name = FieldName::of_form(&percent_decode(name).decode_utf8_lossy());
        credentials.iter().any(|credential| name.holds(credential))
    };
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    if !lines.iter().any(|line| line.as_bytes().split(|byte| *byte == b';').any(bears_one)) {
        return;
    }
    headers.remove(COOKIE);
    for line in lines {
        let kept: Vec<&[u8]> = line.as_bytes().split(|byte| *byte == b';').filter(|pair| !bears_one(pair)).collect();
        let kept = kept.join(&b';');
        if let (false, Ok(line)) = (kept.trim_ascii().is_empty(), HeaderValue::from_bytes(kept.trim_ascii())) {
            headers.append(COOKIE, line);
        }
    }
}

fn credential_fields(shape: &RequestShape) -> impl Iterator<Item = (CredentialField, &FieldRef)> {
    let fields = [
        (CredentialField::Login, &shape.login),
        (CredentialField::Password, &shape.password),
        (CredentialField::NewPassword, &shape.new_password),
        (CredentialField::Token, &shape.token),
        (CredentialField::Email, &shape.email),
        (CredentialField::Username, &shape.username),
        (CredentialField::Phone, &shape.phone),
    ];
    fields.into_iter().filter_map(|(what, field)| field.as_ref().map(|field| (what, field)))
}

/// Refuses a body in which a credential's name stands twice, in whatever spellings.
fn refuse_aliases(shape: &RequestShape, decoded: &Decoded) -> Result<(), DecodeError> {
    match &decoded.0 {
        Body::Empty => Ok(()),
        Body::Json(document) => {
            credential_fields(shape).try_for_each(|(_, field)| refuse_json_aliases(document, field))?;
            refuse_json_twins(document, shape)
        }
        Body::Form(fields) => refuse_form_aliases(fields, shape),
    }
}

/// A second password in a group, or out of one (`password` and `user.password`): apps whose framework wraps parameters read the one
/// where we read the other (Rails' `wrap_parameters`). An identifier alone may stand twice: registrations have several.
fn refuse_json_twins(document: &Value, shape: &RequestShape) -> Result<(), DecodeError> {
    let is_twin = |path: &[String], _: &Value| {
        password_fields(shape).any(|password| password.name().is_tail_folded(path))
            && !credential_fields(shape).any(|(_, own)| own.name().is_folded(path))
    };
    match json::has_field(document, &mut Vec::new(), &is_twin) {
        true => Err(DecodeError::DuplicateField),
        false => Ok(()),
    }
}

fn password_fields(shape: &RequestShape) -> impl Iterator<Item = &FieldRef> {
    [&shape.password, &shape.new_password].into_iter().flatten()
}

/// At each step of the pointer, a key that some reader takes for the one that the pointer names: Go, .NET and Jackson may
/// ignore case, and the last one wins.
fn refuse_json_aliases(document: &Value, field: &FieldRef) -> Result<(), DecodeError> {
    let mut here = document;
    for key in field.keys().unwrap_or_default() {
        if let Value::Object(entries) = here {
            let folded = super::names::fold(key);
            if entries.keys().any(|other| other != key && super::names::fold(other) == folded) {
                return Err(DecodeError::DuplicateKey);
            }
        }
        match step(here, key) {
            Some(inner) => here = inner,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The shape's own names may each stand once; what some reader takes for one of them may not stand at all.
fn refuse_form_aliases(fields: &[(String, String)], shape: &RequestShape) -> Result<(), DecodeError> {
    let credentials = || credential_fields(shape).map(|(_, field)| field);
    let mut seen: Vec<&str> = Vec::new();
    for (name, _) in fields {
        let twice = if credentials().any(|own| own.text() == name) {
            let again = seen.contains(&name.as_str());
            seen.push(name);
            again
        } else {
            let name = FieldName::of_form(name);
            credentials().any(|credential| credential.form_name().may_be(&name))
                || password_fields(shape).any(|password| name.is_tail(password.name()))
        };
        if twice {
            return Err(DecodeError::DuplicateField);
        }
    }
    Ok(())
}

/// One step of a JSON pointer (RFC 6901, section 4: no leading zeros in an index).
fn step<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(entries) => entries.get(key),
        Value::Array(items) if key == "0" || !key.starts_with(['0', '+']) => items.get(key.parse::<usize>().ok()?),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// What stands at a field.
enum Text<'a> {
    Absent,
    /// JSON's `null`.
    Null,
    Is(&'a str),
    /// A JSON value that is no string. It is refused, never converted (R36).
    OtherType,
}

fn text_of<'a>(decoded: &'a Decoded, field: &FieldRef) -> Text<'a> {
    match &decoded.0 {
        Body::Empty => Text::Absent,
        Body::Form(fields) => {
            fields.iter().find(|(name, _)| name == field.text()).map_or(Text::Absent, |(_, value)| Text::Is(value))
        }
        Body::Json(document) => {
            match field.keys().and_then(|keys| keys.iter().try_fold(document, |here, key| step(here, key))) {
                None => Text::Absent,
                Some(Value::Null) => Text::Null,
                Some(Value::String(text)) => Text::Is(text),
                Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Text::OtherType,
            }
        }
    }
}

/// Every field but passwords and tokens: those that the shape names, those that are called like one, and those that hold the same text
/// without being an identifier (a confirmation under any name).
fn without_secrets(shape: &RequestShape, decoded: &Decoded, secrets: [&Option<Zeroizing<String>>; 3]) -> Value {
    let keep = Keep {
        passwords: secrets.into_iter().flatten().map(|text| text.as_str()).collect(),
        password_fields: places([&shape.password, &shape.new_password, &shape.token]),
        identifiers: places([&shape.login, &shape.email, &shape.username, &shape.phone]),
    };
    match &decoded.0 {
        Body::Empty => Value::Object(Map::new()),
        Body::Json(document) => keep.json(document, &mut Vec::new()).unwrap_or(Value::Null),
        Body::Form(fields) => keep.form(fields),
    }
}

/// A field as it is written, and as the keys of a JSON pointer.
type Place<'a> = (&'a str, &'a [String]);

fn places<const N: usize>(fields: [&Option<FieldRef>; N]) -> Vec<Place<'_>> {
    let places = fields.into_iter().flatten();
    places.map(|field| (field.text(), field.keys().unwrap_or_default())).collect()
}

/// Decides which fields stay.
struct Keep<'a> {
    passwords: Vec<&'a str>,
    password_fields: Vec<Place<'a>>,
    identifiers: Vec<Place<'a>>,
}

impl Keep<'_> {
    fn json<'v>(&self, value: &'v Value, path: &mut Vec<&'v str>) -> Option<Value> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.clone()),
            Value::String(text) => self.keeps_text(text, || is_at(&self.identifiers, path)).then(|| value.clone()),
            Value::Array(items) => Some(items.iter().filter_map(|item| self.json(item, path)).collect()),
            Value::Object(entries) => {
                let mut kept = Map::new();
                for (key, value) in entries {
                    path.push(key);
                    let named_so = is_at(&self.password_fields, path)
                        || (is_password_like(key) && !is_at(&self.identifiers, path));
                    if let Some(value) = (!named_so).then(|| self.json(value, path)).flatten() {
                        kept.insert(key.clone(), value);
                    }
                    path.pop();
                }
                Some(Value::Object(kept))
            }
        }
    }

    fn form(&self, fields: &[(String, String)]) -> Value {
        let mut kept = Map::new();
        for (name, value) in fields {
            let identifier = is_called(&self.identifiers, name);
            let password = is_called(&self.password_fields, name) || (is_password_like(name) && !identifier);
            if password || !self.keeps_text(value, || identifier) {
                continue;
            }
            match kept.get_mut(name) {
                None => {
                    kept.insert(name.clone(), Value::from(value.as_str()));
                }
                Some(Value::Array(values)) => values.push(value.as_str().into()),
                Some(first) => *first = Value::Array(vec![first.take(), value.as_str().into()]),
            }
        }
        Value::Object(kept)
    }

    fn keeps_text(&self, text: &str, is_identifier: impl Fn() -> bool) -> bool {
        text.is_empty() || !self.passwords.contains(&text) || is_identifier()
    }
}

fn is_called(places: &[Place<'_>], name: &str) -> bool {
    places.iter().any(|(field, _)| *field == name)
}

fn is_at(places: &[Place<'_>], path: &[&str]) -> bool {
    !path.is_empty() && places.iter().any(|(_, keys)| *keys == path)
}

/// The part of the kept fields that becomes a profile: what a pointer names, or a form's field or group (`user` of
/// `user[name]`); all of them if the reference is empty.
fn profile_of(format: BodyFormat, fields: &Value, part: &FieldRef) -> Option<Value> {
    if part.text().is_empty() {
        return Some(fields.clone());
    }
    match format {
        BodyFormat::Json => part.keys()?.iter().try_fold(fields, |here, key| step(here, key)).cloned(),
        BodyFormat::Form => fields.get(part.text()).cloned().or_else(|| {
            let inner =
                |name: &str| Some(name.strip_prefix(part.text())?.strip_prefix('[')?.strip_suffix(']')?.to_owned());
            let group: Map<String, Value> =
                fields.as_object()?.iter().filter_map(|(name, value)| Some((inner(name)?, value.clone()))).collect();
            (!group.is_empty()).then_some(Value::Object(group))
        }),
    }
}

#[cfg(test)]
mod tests;
