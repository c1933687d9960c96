//! Bodies: what is read, what is refused, and that every reader of what goes on sees what we saw. The words of the tests beside the
//! modules below are here too.

use http::HeaderName;
use proptest::prelude::*;

use super::*;
use crate::http::settings::{FieldRef, RequestShape};

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    headers
}

pub(super) fn typed(content_type: &str, body: &[u8]) -> Result<Decoded, DecodeError> {
    decode(&headers(&[("content-type", content_type)]), body)
}

pub(super) fn field(name: &str) -> Option<FieldRef> {
    Some(FieldRef::new(name))
}

pub(super) fn shape(format: BodyFormat, login: &str, password: &str) -> RequestShape {
    RequestShape {
        format,
        login: field(login),
        password: field(password),
        new_password: None,
        token: None,
        email: None,
        username: None,
        phone: None,
        profile: None,
    }
}

pub(super) fn json_shape() -> RequestShape {
    shape(BodyFormat::Json, "/email", "/password")
}

pub(super) fn form_shape() -> RequestShape {
    shape(BodyFormat::Form, "user[email]", "user[password]")
}

pub(super) fn extracted(shape: &RequestShape, body: &str) -> Result<Credentials, DecodeError> {
    let content_type = match shape.format {
        BodyFormat::Json => "application/json",
        BodyFormat::Form => "application/x-www-form-urlencoded",
    };
    extract(shape, &typed(content_type, body.as_bytes())?)
}

/// Login and password, for what may be compared.
pub(super) fn pair(shape: &RequestShape, body: &str) -> Result<(String, String), DecodeError> {
    let found = extracted(shape, body)?;
    Ok((found.login.expect("a login"), found.password.expect("a password").to_string()))
}

// -------------------------------------------------------------------------------------------------------- content type

#[test]
fn r32_one_exact_media_type_in_utf_8_is_accepted() {
    for content_type in [
        "application/json",
        "Application/JSON",
        "application/json;",
        "application/json; charset=utf8;",
        "application/json;charset=utf-8",
        "application/json; charset=UTF-8",
        "application/json ; charset=\"utf-8\"",
        "application/json;\tCharset=Utf-8",
    ] {
        assert!(typed(content_type, b"{}").is_ok(), "{content_type}");
    }
    for (content_type, error) in [
        ("application/json; charset=iso-8859-1", DecodeError::UnsupportedCharset),
        ("application/json; charset=utf-16", DecodeError::UnsupportedCharset),
        ("application/json; charset=utf-7", DecodeError::UnsupportedCharset),
        ("application/json; charset=", DecodeError::UnsupportedCharset),
        ("application/json; charset=\"utf-8", DecodeError::UnsupportedCharset),
        ("application/json; charset", DecodeError::UnsupportedType),
        ("application/json; charset = utf-8", DecodeError::UnsupportedType),
        ("application/json; charset=utf-8; charset=utf-16", DecodeError::UnsupportedType),
        ("application/json; charset=utf-8; x=y", DecodeError::UnsupportedType),
        ("application/json; boundary=x", DecodeError::UnsupportedType),
        ("application/json, text/html", DecodeError::UnsupportedType),
        ("application/json text/html", DecodeError::UnsupportedType),
        ("application/jsonx", DecodeError::UnsupportedType),
        ("application/vnd.api+json", DecodeError::UnsupportedType),
        ("text/json", DecodeError::UnsupportedType),
        ("text/plain", DecodeError::UnsupportedType),
        ("*/*", DecodeError::UnsupportedType),
        ("", DecodeError::UnsupportedType),
        ("é", DecodeError::UnsupportedType),
        // R40.
        ("multipart/form-data; boundary=x", DecodeError::UnsupportedType),
        ("application/xml", DecodeError::UnsupportedType),
        ("text/xml; charset=utf-8", DecodeError::UnsupportedType),
    ] {
        assert_eq!(typed(content_type, b"{}").err(), Some(error), "{content_type}");
        assert_eq!(error.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let twice = headers(&[("content-type", "application/json"), ("content-type", "application/json")]);
    assert_eq!(decode(&twice, b"{}").err(), Some(DecodeError::UnsupportedType));
    assert_eq!(decode(&HeaderMap::new(), b"{}").err(), Some(DecodeError::UnsupportedType));
}

#[test]
fn an_empty_body_needs_no_type_but_a_declared_one_is_still_judged() {
    assert_eq!(decode(&HeaderMap::new(), b"").map(|decoded| decoded.format()), Ok(None));
    assert_eq!(typed("application/json", b"").map(|decoded| decoded.format()), Ok(None));
    assert_eq!(typed("multipart/form-data; boundary=x", b"").err(), Some(DecodeError::UnsupportedType));
    let nothing = decode(&HeaderMap::new(), b"").expect("decoded");
    assert!(reserialize(&nothing).is_empty() && nothing.content_type().is_none());
    assert_eq!(extract(&json_shape(), &nothing).err(), Some(DecodeError::MissingField(CredentialField::Login)));
}

#[test]
fn r33_the_declared_type_is_believed_and_never_guessed_at() {
    assert_eq!(typed("application/json", b"email=a&password=b").err(), Some(DecodeError::MalformedJson));
    // A form of one odd name, but PHP's `php://input` and Flask's `force` find a login in it.
    for body in [r#"{"email":"a","password":"b"}"#, " \r\n[1]", "\u{feff}{}", "{", "{}=&a=b"] {
        let form = typed("application/x-www-form-urlencoded", body.as_bytes());
        assert_eq!(form.err(), Some(DecodeError::MalformedForm), "{body:?}");
    }
    for body in ["a={}", "%7B=1", "a[]={", "(x)=1"] {
        assert!(typed("application/x-www-form-urlencoded", body.as_bytes()).is_ok(), "{body:?}");
    }
    let as_form = typed("application/x-www-form-urlencoded", b"email=a&password=b").expect("a form");
    let form_shape = shape(BodyFormat::Form, "email", "password");
    assert_eq!(extract(&json_shape(), &as_form).err(), Some(DecodeError::UnsupportedType));
    let as_json = typed("application/json", br#"{"email":"a","password":"b"}"#).expect("JSON");
    assert_eq!(extract(&form_shape, &as_json).err(), Some(DecodeError::UnsupportedType));
}

#[test]
fn r34_an_encoded_body_is_refused_unread() {
    for coding in ["gzip", "br", "identity", "deflate, gzip", ""] {
        let headers = headers(&[("content-type", "application/json"), ("content-encoding", coding)]);
        assert_eq!(decode(&headers, b"{}").err(), Some(DecodeError::ContentEncoding), "{coding}");
    }
}

// --------------------------------------------------------------------------------------------- what every reader sees

fn json_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 ]{0,6}",
        "\\PC{0,6}",
        any::<String>(),
        Just("email".to_owned()),
        Just("password".to_owned()),
        Just("Email".to_owned())
    ]
}

pub(super) fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |number| serde_json::Number::from_f64(number).map(Value::Number)),
        json_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((json_text(), inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// JSON text written by hand, so that duplicate keys and odd spellings occur.
fn json_body() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("\"email\""),
        Just("\"password\""),
        Just("\"Email\""),
        Just("\"\\u0065mail\""),
        Just("\"x\""),
        Just("\"pass\\u0077ord\""),
        Just("\"PASSWORD\""),
    ];
    let value = prop_oneof![
        Just("\"a\""),
        Just("\"b\""),
        Just("\"\\u0061\""),
        Just("null"),
        Just("1"),
        Just("[\"a\"]"),
        Just("{\"email\":\"n\"}")
    ];
    let pairs = proptest::collection::vec((key, value), 0..5);
    let ending = prop_oneof![9 => Just(""), 1 => Just(","), 1 => Just(" x")];
    (pairs, ending).prop_map(|(pairs, ending)| {
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        format!("{{{}{ending}}}", pairs.join(","))
    })
}

fn form_body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => Just(b"user[email]".to_vec()), 3 => Just(b"user[password]".to_vec()), 2 => Just(b"user%5Bemail%5D".to_vec()), 6 => Just(b"=".to_vec()),
        6 => Just(b"&".to_vec()), 1 => Just(b"+".to_vec()), 1 => Just(b"%20".to_vec()), 1 => Just(b"[]".to_vec()), 1 => Just(b";".to_vec()),
        1 => Just(b"%".to_vec()), 3 => "[a-z]{1,2}".prop_map(String::into_bytes), 1 => proptest::collection::vec(any::<u8>(), 1..3),
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// How naive readers find a field: the first one wins, or the last.
fn naive(body: &[u8], name: &str) -> [Option<String>; 2] {
    let all: Vec<(String, String)> =
        form_urlencoded::parse(body).into_owned().filter(|(found, _)| found == name).collect();
    [all.first().map(|(_, value)| value.clone()), all.last().map(|(_, value)| value.clone())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn r41_what_is_written_anew_reads_as_what_was_read(value in json_value()) {
        let decoded = Decoded(Body::Json(value.clone()));
        let bytes = reserialize(&decoded);
        // A document in a string is never read, so that none is written anew.
        let is_document = value.as_str().is_some_and(|text| text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[']));
        let read = if is_document { Err(DecodeError::MalformedJson) } else { Ok(value.clone()) };
        prop_assert_eq!(json::parse(&bytes), read);
        prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), value);
    }

    #[test]
    fn r41_a_form_written_anew_reads_as_what_was_read(fields in proptest::collection::vec((any::<String>(), any::<String>()), 0..8)) {
        prop_assume!(fields.iter().all(|(name, _)| !name.eq_ignore_ascii_case("_charset_")));
        let bytes = reserialize(&Decoded(Body::Form(fields.clone())));
        prop_assert_eq!(form::parse(&bytes), Ok(fields.clone()));
        prop_assert_eq!(form_urlencoded::parse(&bytes).into_owned().collect::<Vec<_>>(), fields);
        prop_assert!(bytes.is_ascii());
    }

    #[test]
    fn r41_every_reader_of_a_json_body_that_goes_on_sees_the_same_user(body in json_body()) {
        let Ok(decoded) = typed("application/json", body.as_bytes()) else { return Ok(()) };
        let Ok(found) = extract(&json_shape(), &decoded) else { return Ok(()) };
        let bytes = reserialize(&decoded);
        let theirs: Value = serde_json::from_slice(&bytes).expect("JSON");
        prop_assert_eq!(theirs["email"].as_str(), found.login.as_deref());
        prop_assert_eq!(theirs["password"].as_str(), found.password.as_deref().map(String::as_str));
        // A reader without case, in either order of precedence, finds one of each.
        let entries = theirs.as_object().expect("an object");
        for name in ["email", "password"] {
            prop_assert_eq!(entries.keys().filter(|key| key.eq_ignore_ascii_case(name)).count(), 1);
        }
        // Nor does the body as it came mean another user to a reader that takes the last of equal keys.
        prop_assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), theirs);
    }

    #[test]
    fn r41_every_reader_of_a_form_that_goes_on_sees_the_same_user(body in form_body()) {
        let Ok(decoded) = typed("application/x-www-form-urlencoded", &body) else { return Ok(()) };
        let Ok(found) = extract(&form_shape(), &decoded) else { return Ok(()) };
        let bytes = reserialize(&decoded);
        for seen in [&bytes[..], &body[..]] {
            for login in naive(seen, "user[email]") {
                prop_assert_eq!(login.as_deref(), found.login.as_deref());
            }
            for password in naive(seen, "user[password]") {
                prop_assert_eq!(password.as_deref(), found.password.as_deref().map(String::as_str));
            }
        }
    }

    #[test]
    fn any_bytes_are_judged(body in proptest::collection::vec(any::<u8>(), 0..64)) {
        for (content_type, shape) in [("application/json", json_shape()), ("application/x-www-form-urlencoded", form_shape())] {
            if let Ok(decoded) = typed(content_type, &body) {
                let _ = extract(&shape, &decoded);
                let again = typed(content_type, &reserialize(&decoded)).map(|decoded| reserialize(&decoded));
                prop_assert_eq!(again.ok(), Some(reserialize(&decoded)));
            }
        }
    }
}
