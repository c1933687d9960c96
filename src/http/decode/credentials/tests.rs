//! Where credentials are found, what they may be, and that passwords stay nowhere else.

mod aliases;

use proptest::prelude::*;
use serde_json::json;

use super::super::form;
use super::super::tests::{extracted, field, form_shape, json_shape, json_value, pair, shape};
use super::super::{Body, CredentialField};
use super::*;

#[test]
fn r36_credentials_are_strings_and_nothing_else() {
    for value in ["1", "1.5", "true", "[]", r#"["a"]"#, "{}", r#"{"$ne":""}"#, "null"] {
        let login = pair(&json_shape(), &format!(r#"{{"email":{value},"password":"b"}}"#));
        assert_eq!(login, Err(DecodeError::NotAString(CredentialField::Login)), "{value}");
        let password = pair(&json_shape(), &format!(r#"{{"email":"a","password":{value}}}"#));
        assert_eq!(password, Err(DecodeError::NotAString(CredentialField::Password)), "{value}");
    }
    assert_eq!(pair(&json_shape(), "{}"), Err(DecodeError::MissingField(CredentialField::Login)));
    assert_eq!(pair(&json_shape(), r#"{"email":"a"}"#), Err(DecodeError::MissingField(CredentialField::Password)));
    for document in ["null", "[]", "1", r#""email""#, r#"[{"email":"a","password":"b"}]"#] {
        assert_eq!(pair(&json_shape(), document), Err(DecodeError::MissingField(CredentialField::Login)), "{document}");
    }
}

#[test]
fn a_pointer_reaches_nested_escaped_and_indexed_places() {
    let body = r#"{"data":{"a/b":"x","m~n":"y","":"z","list":["p","q"],"0":"o"}}"#;
    for (login, password, found) in [
        ("/data/a~1b", "/data/m~0n", ("x", "y")),
        ("/data/", "/data/list/1", ("z", "q")),
        ("/data/0", "/data/list/0", ("o", "p")),
    ] {
        let found = (found.0.to_owned(), found.1.to_owned());
        assert_eq!(pair(&shape(BodyFormat::Json, login, password), body), Ok(found), "{login}");
    }
    for pointer in
        ["/data/list/00", "/data/list/+1", "/data/list/2", "/data/list/-", "/data/~2", "data", "/data/list/x"]
    {
        let missing = Err(DecodeError::MissingField(CredentialField::Login));
        assert_eq!(pair(&shape(BodyFormat::Json, pointer, "/data/0"), body), missing, "{pointer}");
    }
}

#[test]
fn further_identifiers_are_optional_but_strings() {
    let mut shape = json_shape();
    shape.phone = field("/phone");
    shape.username = field("/username");
    let found = extracted(&shape, r#"{"email":"a","password":"b","phone":"","username":null}"#).expect("credentials");
    assert_eq!((found.phone, found.username), (None, None));
    let found = extracted(&shape, r#"{"email":"a","password":"b","phone":"+49 1"}"#).expect("credentials");
    assert_eq!(found.phone.as_deref(), Some("+49 1"));
    let error = extracted(&shape, r#"{"email":"a","password":"b","phone":491}"#).err();
    assert_eq!(error, Some(DecodeError::NotAString(CredentialField::Phone)));
}

#[test]
fn r48_a_password_is_taken_byte_by_byte() {
    for password in [" a ", "\u{0}", "\t", "ﬁ", "e\u{301}", "a b+c%d&e=f;g", "😀", "\u{feff}x"] {
        let body = json!({"email": "a", "password": password}).to_string();
        assert_eq!(pair(&json_shape(), &body).map(|pair| pair.1).as_deref(), Ok(password));
        let body = form::serialize(
            &[("user[email]".into(), "a".into()), ("user[password]".into(), password.into())],
            String::new(),
        );
        assert_eq!(pair(&form_shape(), &body).map(|pair| pair.1).as_deref(), Ok(password));
    }
}

#[test]
fn passwords_leave_the_fields_and_the_profile_however_they_are_named_or_repeated() {
    let mut json = json_shape();
    json.profile = field("");
    json.new_password = field("/new/password");
    let found = extracted(
        &json,
        r#"{"email":"a@b.c","password":"s3cret","name":"Ann","new":{"password":"n3w","hint":"x"},"password_confirmation":"s3cret",
            "again":"s3cret","deep":{"list":["s3cret","kept",{"repeat":"n3w"}],"userPwd":"other","passport":"P1"},"PASS2":"s3crets","n":1,"e":""}"#,
    )
    .expect("credentials");
    let expected = json!({
        "email": "a@b.c", "name": "Ann", "new": {"hint": "x"}, "deep": {"list": ["kept", {}], "passport": "P1"}, "n": 1, "e": "",
    });
    assert_eq!(found.fields, expected);
    assert_eq!(found.profile, Some(expected));
    assert_eq!(found.new_password.as_deref().map(String::as_str), Some("n3w"));

    let mut form = form_shape();
    form.profile = field("user");
    let body = "user[email]=a&user[password]=s3cret&user[password_confirmation]=s3cret&again=s3cret&user[name]=Ann&user[tag]=1&user[tag]=2&user[passport]=p";
    let found = extracted(&form, body).expect("credentials");
    assert_eq!(
        found.fields,
        json!({"user[email]": "a", "user[name]": "Ann", "user[tag]": ["1", "2"], "user[passport]": "p"})
    );
    assert_eq!(found.profile, Some(json!({"email": "a", "name": "Ann", "tag": ["1", "2"], "passport": "p"})));
}

#[test]
fn an_identifier_stays_even_if_it_is_the_password_too() {
    let found = extracted(&json_shape(), r#"{"email":"ann","password":"ann","nick":"ann"}"#).expect("credentials");
    assert_eq!(found.fields, json!({"email": "ann"}));
    let found = extracted(&form_shape(), "user[email]=ann&user[password]=ann&nick=ann").expect("credentials");
    assert_eq!(found.fields, json!({"user[email]": "ann"}));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn no_password_is_left_in_the_fields(value in json_value(), password in "[a-zA-Z]{8,12}") {
        let mut value = value;
        if let Value::Object(entries) = &mut value {
            entries.insert("email".into(), "ann@example.org".into());
            entries.insert("password".into(), password.as_str().into());
            entries.insert("copy".into(), json!({"of": [password.as_str()]}));
        }
        if let Ok(found) = extract(&json_shape(), &Decoded(Body::Json(value))) {
            prop_assert!(!found.fields.to_string().contains(&password));
        }
    }
}
