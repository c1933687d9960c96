//! Form bodies: what is accepted has one reading, and what goes on to legacy is that reading (R38, R41, R116).

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use super::SHIPPED;
use super::json::{assert_same, keeps_no_password};
use super::others;
use crate::http::decode::form::{MAX_FIELDS, parse, serialize};
use crate::http::decode::{decode, extract, reserialize};
use crate::http::settings::{BodyFormat, FieldRef, RequestShape};

/// A body.
pub fn form(data: &[u8]) {
    if let Ok(fields) = parse(data) {
        assert!(fields.len() <= MAX_FIELDS);
        assert_eq!(others::form(data), fields, "read otherwise");
        let written = serialize(&fields, String::new());
        assert!(written.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*-._+%=&".contains(&byte)), "{written}");
        assert_eq!(parse(written.as_bytes()).as_ref(), Ok(&fields), "written otherwise");
        assert_eq!(others::form(written.as_bytes()), fields, "another reader of what was written");
    }
    let plain = RequestShape { login: named("email"), password: named("password"), ..any_form().clone() };
    for shape in [any_form(), &plain] {
        credentials(data, shape);
    }
}

fn named(name: &str) -> Option<FieldRef> {
    Some(FieldRef::new(name))
}

fn any_form() -> &'static RequestShape {
    let shapes = SHIPPED.edge.routes.iter().map(|route| &route.request);
    shapes.into_iter().find(|shape| shape.format == BodyFormat::Form).expect("a form among the routes we ship")
}

fn credentials(data: &[u8], shape: &RequestShape) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let Ok(decoded) = decode(&headers, data) else { return };
    let Ok(found) = extract(shape, &decoded) else { return };
    let onward = reserialize(&decoded);
    let again = decode(&headers, &onward).and_then(|again| extract(shape, &again)).expect("what goes on is accepted");
    assert_same(&found, &again);
    let password = found.password.as_ref().map(|text| text.as_str());
    for (field, text) in [(&shape.login, found.login.as_deref()), (&shape.password, password)] {
        let (Some(field), Some(text)) = (field, text) else { continue };
        // The first, the last, one in another case, one of a list, one with a dot: there is only one.
        let fields = others::form(&onward);
        let meant: Vec<&(String, String)> =
            fields.iter().filter(|(name, _)| others::sloppy_name(name) == others::sloppy_name(field.text())).collect();
        assert!(matches!(meant.as_slice(), [(name, value)] if name == field.text() && value == text), "{meant:?}");
    }
    keeps_no_password(&found);
}
