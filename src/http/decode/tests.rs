//! Bodies: what is read, what is refused, and that every reader of what goes on sees what we saw.

use http::HeaderName;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::http::settings::{FieldRef, RequestShape};

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    headers
}

fn typed(content_type: &str, body: &[u8]) -> Result<Decoded, DecodeError> {
    decode(&headers(&[("content-type", content_type)]), body)
}

fn read_json(body: &str) -> Result<Value, DecodeError> {
    json::parse(body.as_bytes())
}

fn field(name: &str) -> Option<FieldRef> {
    Some(FieldRef::new(name))
}

fn shape(format: BodyFormat, login: &str, password: &str) -> RequestShape {
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

fn json_shape() -> RequestShape {
    shape(BodyFormat::Json, "/email", "/password")
}

fn form_shape() -> RequestShape {
    shape(BodyFormat::Form, "user[email]", "user[password]")
}

fn extracted(shape: &RequestShape, body: &str) -> Result<Credentials, DecodeError> {
    let content_type = match shape.format {
        BodyFormat::Json => "application/json",
        BodyFormat::Form => "application/x-www-form-urlencoded",
    };
    extract(shape, &typed(content_type, body.as_bytes())?)
}

/// Login and password, for what may be compared.
fn pair(shape: &RequestShape, body: &str) -> Result<(String, String), DecodeError> {
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

// ---------------------------------------------------------------------------------------------------------------- JSON

#[test]
fn r35_duplicate_keys_are_refused_at_any_level_and_in_any_escape() {
    for body in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"\u0061":3}"#,
        r#"{"\u0061":1,"\u0061":2}"#,
        r#"{"x":{"a":1,"a":2}}"#,
        r#"{"x":[{"y":{"a":1,"\u0061":2}}]}"#,
        r#"[{"a":1,"a":2}]"#,
        r#"{"":1,"":2}"#,
        r#"{"é":1,"\u00e9":2}"#,
        r#"{"😀":1,"\ud83d\ude00":2}"#,
        r#"{"\/":1,"/":2}"#,
    ] {
        assert_eq!(read_json(body), Err(DecodeError::DuplicateKey), "{body}");
    }
    assert!(read_json(r#"{"a":{"a":{"a":1}},"A":2,"b":{"a":3}}"#).is_ok());
}

#[test]
fn r35_keys_that_a_reader_without_case_takes_for_a_credential_are_refused_beside_it_and_alone() {
    for body in [
        r#"{"email":"a","password":"b","Email":"c"}"#,
        r#"{"EMAIL":"c","email":"a","password":"b"}"#,
        r#"{"email":"a","password":"b","PassWord":"c"}"#,
        r#"{"email":"a","password":"b","pa\u017Fsword":"c"}"#,
        r#"{"email":"a","password":"b","emaıl":"c"}"#,
        r#"{"email":"a","password":"b","email\u0000x":"c"}"#,
        r#"{"email":"a","password":"b"," email":"c"}"#,
        r#"{"email":"a","password":"b","email\u200b":"c"}"#,
        r#"{"Email":"a","password":"b"}"#,
    ] {
        assert_eq!(pair(&json_shape(), body), Err(DecodeError::DuplicateKey), "{body}");
    }
    let nested = shape(BodyFormat::Json, "/user/email", "/user/password");
    assert_eq!(
        pair(&nested, r#"{"user":{"email":"a","password":"b"},"User":{"email":"c"}}"#),
        Err(DecodeError::DuplicateKey)
    );
    assert_eq!(pair(&nested, r#"{"user":{"email":"a","password":"b","EMAIL":"c"}}"#), Err(DecodeError::DuplicateKey));
    assert!(pair(&nested, r#"{"user":{"email":"a","password":"b"},"Email":"c"}"#).is_ok());
}

#[test]
fn r36_nesting_ends_at_eight() {
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for nested in [arrays, objects] {
        assert!(read_json(&nested(json::MAX_DEPTH)).is_ok());
        assert_eq!(read_json(&nested(json::MAX_DEPTH + 1)), Err(DecodeError::TooDeep));
        assert_eq!(read_json(&nested(4_000)), Err(DecodeError::TooDeep));
    }
    assert_eq!(read_json(&"[".repeat(100_000)), Err(DecodeError::TooDeep));
}

#[test]
fn r24_json_has_no_more_values_than_its_length_pays_for() {
    let array = |count: usize, value: &str| format!("[{}]", vec![value; count].join(","));
    for (count, value, fine) in [
        (48, "{}", true),
        (60, "{}", false),
        (5_000, "{}", false),
        (5_000, "1", false),
        (100, "12345", true),
        (2_000, "\"12345\"", true),
    ] {
        let read = read_json(&array(count, value));
        assert_eq!(read.err(), (!fine).then_some(DecodeError::TooManyFields), "{count} {value}");
    }
}

#[test]
fn r36_what_rfc_8259_does_not_allow_is_refused() {
    let refused: &[&[u8]] = &[
        b" ",
        b"{",
        b"}",
        b"[1,]",
        b"{\"a\":1,}",
        b"{a:1}",
        b"{'a':1}",
        b"{\"a\" 1}",
        b"{\"a\":}",
        b"{\"a\"}",
        b"[1 2]",
        b"{,}",
        b"[,1]",
        b"[1,,2]",
        b"nul",
        b"True",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"+1",
        b"01",
        b"-01",
        b"1.",
        b".5",
        b"1e",
        b"1e+",
        b"0x10",
        b"1_000",
        b"-",
        b"1e400",
        b"-1e999",
        b"\"a",
        b"\"\\x\"",
        b"\"\\u12\"",
        b"\"\\u12g4\"",
        b"\"\x00\"",
        b"\"\n\"",
        b"\"\t\"",
        b"\"\x1f\"",
        b"{}{}",
        b"{} x",
        b"{}\0",
        b"1 2",
        b"[1]]",
        b"/* c */{}",
        b"{}//c",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
        b"\"\xff\"",
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"{\"\xff\":1}",
        b"\"\\ud800\"",
        b"\"\\udc00\"",
        b"\"\\ud800\\ud800\"",
        b"\"\\ud800x\"",
        b"\"\\udc00\\ud800\"",
        b"{\"\\ud800\":1}",
        b"\x0c{}",
        b"\xc2\xa0{}",
    ];
    for body in refused {
        assert_eq!(json::parse(body), Err(DecodeError::MalformedJson), "{}", String::from_utf8_lossy(body));
    }
    let accepted: &[&str] = &[
        "null",
        "0",
        "-0",
        "1e5",
        "1E-5",
        "1.5e+3",
        "18446744073709551615",
        "-9223372036854775808",
        "123456789012345678901234567890",
        "1e-400",
        "\"\u{7f}\"",
        "\"\u{2028}\"",
        r#""\ud83d\ude00""#,
        r#""\u0000""#,
        r#""\/\b\f\n\r\t\"\\""#,
        " \t\r\n{ } ",
        r#"{"":{}}"#,
        "[]",
        "\"\u{feff}\"",
    ];
    for body in accepted {
        assert!(read_json(body).is_ok(), "{body}");
    }
}

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

// ---------------------------------------------------------------------------------------------------------------- forms

#[test]
fn forms_are_read_in_order_and_decoded_once() {
    let fields = form::parse("a=1&b=%2541+%C3%A9&=x&c&&a==%3D&d=raw é".as_bytes()).expect("a form");
    let expected = [("a", "1"), ("b", "%41 é"), ("", "x"), ("c", ""), ("a", "=="), ("d", "raw é")];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(form::parse(b""), Ok(Vec::new()));
}

#[test]
fn r38_what_readers_of_forms_disagree_on_is_refused() {
    let refused: &[(&[u8], DecodeError)] = &[
        (b"a=%", DecodeError::BadPercent),
        (b"a=%4", DecodeError::BadPercent),
        (b"a=%zz", DecodeError::BadPercent),
        (b"%=a", DecodeError::BadPercent),
        (b"a=%u0041", DecodeError::BadPercent),
        (b"a=%+1", DecodeError::BadPercent),
        (b"a=1;b=2", DecodeError::SemicolonSeparator),
        (b"a;b", DecodeError::SemicolonSeparator),
        (b";", DecodeError::SemicolonSeparator),
        (b"a=1\r\n", DecodeError::MalformedForm),
        (b"a\0=1", DecodeError::MalformedForm),
        (b"a=\x7f", DecodeError::MalformedForm),
        (b"a=%ff", DecodeError::NotUtf8),
        (b"%C3=1", DecodeError::NotUtf8),
        (b"a=\xff", DecodeError::NotUtf8),
        (b"a=%ED%A0%80", DecodeError::NotUtf8),
        (b"a=%C0%AF", DecodeError::NotUtf8),
        (b"_charset_=utf-16", DecodeError::UnsupportedCharset),
        (b"_CHARSET_=iso-8859-1", DecodeError::UnsupportedCharset),
    ];
    for (body, error) in refused {
        assert_eq!(form::parse(body), Err(*error), "{}", String::from_utf8_lossy(body));
    }
    assert!(form::parse(b"_charset_=UTF-8&utf8=%E2%9C%93").is_ok());
    let many = |count: usize| vec!["a=1"; count].join("&");
    assert!(form::parse(many(form::MAX_FIELDS).as_bytes()).is_ok());
    assert_eq!(form::parse(many(form::MAX_FIELDS + 1).as_bytes()), Err(DecodeError::TooManyFields));
    assert_eq!(DecodeError::TooManyFields.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn r38_a_credential_under_two_names_is_refused_whatever_the_spelling() {
    let good = "user[email]=a&user[password]=b";
    assert_eq!(pair(&form_shape(), good), Ok(("a".to_owned(), "b".to_owned())));
    for alias in [
        "user[email]",
        "user%5Bemail%5D",
        "user[email][]",
        "user[email][0]",
        "user[][email]",
        "user[0][email]",
        "user.email",
        "User[Email]",
        "USER[EMAIL]",
        " user[email]",
        "user[ email ]",
        "user[email",
        "user[email][x]",
        "user",
        "user[]",
        "user[email]%00",
        "user[email]%00x",
        "us%E2%80%8Ber[email]",
        "u%C5%BFer[email]",
        "user[ema%C4%B1l]",
        "_user[email]",
        "!user[email]",
        "user.email[]",
        "user[password][]",
        "user.password",
        "user.[email]",
        "user[email].x",
    ] {
        for body in [format!("{good}&{alias}=c"), format!("{alias}=c&{good}")] {
            assert_eq!(pair(&form_shape(), &body), Err(DecodeError::DuplicateField), "{body}");
        }
        if !alias.starts_with("user[email]=")
            && form::parse(format!("{alias}=c").as_bytes()).expect("a form")[0].0 != "user[email]"
        {
            let alone = format!("{alias}=c&user[password]=b");
            assert!(pair(&form_shape(), &alone).is_err(), "{alone}");
        }
    }
    let flat = shape(BodyFormat::Form, "user_login", "_password");
    for alias in [
        "user.login",
        "user login",
        "user[login",
        "user_login[]",
        "%20user_login",
        "User_Login",
        "password",
        ".password",
        "__password",
        "!_password",
    ] {
        assert_eq!(
            pair(&flat, &format!("user_login=a&_password=b&{alias}=c")),
            Err(DecodeError::DuplicateField),
            "{alias}"
        );
    }
    for other in [
        "user_email=c",
        "user[name]=c",
        "email=c",
        "user[email_confirmation]=c",
        "authenticity_token=x&utf8=%E2%9C%93",
        "userx=1",
        "user[name]=1&user[name]=2",
    ] {
        assert!(pair(&form_shape(), &format!("{good}&{other}")).is_ok(), "{other}");
    }
    for other in ["user_login2=c", "xuser_login=c", "login=c", "password_confirmation=c"] {
        assert!(pair(&flat, &format!("user_login=a&_password=b&{other}")).is_ok(), "{other}");
    }
}

// ------------------------------------------------------------------------------------------------- fields and profiles

/// Rails' `wrap_parameters` makes a group of flat JSON unless the group is there already: then it is what the app reads.
#[test]
fn r41_a_second_password_in_a_group_or_out_of_one_is_refused() {
    for body in [
        r#"{"email":"a","password":"b","user":{"email":"c","password":"d"}}"#,
        r#"{"user":{"Password":"d"},"email":"a","password":"b"}"#,
        r#"{"email":"a","password":"b","x":[{"y":{"password":"d"}}]}"#,
    ] {
        assert_eq!(pair(&json_shape(), body), Err(DecodeError::DuplicateField), "{body}");
    }
    let mut wrapped = json_shape();
    wrapped.login = Some(FieldRef::new("/user/email"));
    wrapped.password = Some(FieldRef::new("/user/password"));
    let body = r#"{"user":{"email":"a","password":"b"},"password":"d"}"#;
    assert_eq!(pair(&wrapped, body), Err(DecodeError::DuplicateField));
    for body in ["user[email]=a&user[password]=b&password=c", "user[email]=a&user[password]=b&x[user][password]=c"] {
        assert_eq!(pair(&form_shape(), body), Err(DecodeError::DuplicateField), "{body}");
    }
    // A change has two passwords of its own, and a registration has people with addresses.
    let mut change = json_shape();
    change.new_password = Some(FieldRef::new("/new/password"));
    let body = r#"{"email":"a","password":"b","new":{"password":"c"}}"#;
    assert!(pair(&change, body).is_ok());
    assert!(pair(&json_shape(), r#"{"email":"a","password":"b","company":{"email":"c"}}"#).is_ok());
    assert!(pair(&form_shape(), "user[email]=a&user[password]=b&email=c").is_ok());
}

/// Some apps parse again what they got as text.
#[test]
fn r36_a_document_in_a_string_is_refused() {
    for body in [r#""{\"email\":\"a\",\"password\":\"b\"}""#, r#"" [1]""#, r#""\ufeff{}""#] {
        assert_eq!(typed("application/json", body.as_bytes()).err(), Some(DecodeError::MalformedJson), "{body}");
    }
    for body in [r#""text""#, "null", r#"{"a":"{}"}"#] {
        assert!(typed("application/json", body.as_bytes()).is_ok(), "{body}");
    }
}

#[test]
fn r39_cookies_that_bear_a_credentials_name_are_not_sent_on() {
    let strip = |lines: &[&'static str], shape: &RequestShape| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("cookie", HeaderValue::from_static(line));
        }
        strip_credential_cookies(&mut headers, &[shape]);
        headers.get_all("cookie").iter().map(|line| line.to_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    for (lines, kept) in [
        (&["a=1; b=2"][..], &["a=1; b=2"][..]),
        (&["email=x; a=1; password=y"], &["a=1"]),
        (&["a=1;EMAIL=x"], &["a=1"]),
        (&["e%6dail=x;  a=1 "], &["a=1"]),
        (&["email[]=x", "a=1; email", "b=\"email=1\""], &["a=1", "b=\"email=1\""]),
        (&["email=x"], &[]),
        (&["emails=x; my_email=1; user=1"], &["emails=x; my_email=1; user=1"]),
    ] {
        assert_eq!(strip(lines, &json_shape()), kept, "{lines:?}");
    }
    assert_eq!(strip(&["user=1; user[email]=x; user.password=y"], &form_shape()), ["user=1"]);
    let mut refresh = json_shape();
    refresh.token = Some(FieldRef::new("/token"));
    assert_eq!(strip(&["token=session"], &refresh), ["token=session"], "a session is a cookie of that name");
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
fn r39_a_query_that_names_a_credential_is_found_in_any_spelling() {
    for (shape, named, other) in [
        (
            json_shape(),
            &[
                "email",
                "password=",
                "EMAIL=x",
                "%65mail=x",
                "a&email[]=x",
                "email[0]=x",
                "a;email=x",
                "user[email]=x",
                "x.email=y",
                "+email=1",
                "?email=1",
                "%3femail=1",
                "%zz=1",
            ][..],
            &["", "a=b", "emails=x", "e=mail", "next=%2Femail", "_=1"][..],
        ),
        (
            form_shape(),
            &[
                "user[email]=x",
                "email=x",
                "user.email=x",
                "user%5bpassword%5d=x",
                "User[Password]",
                "user=1",
                "user[]=1",
            ],
            &["mail=x", "username=x", "userx[email2]=1"],
        ),
        (
            shape(BodyFormat::Form, "_username", "_password"),
            &["username=x", "_USERNAME=x", ".password=x"],
            &["user=x", "pass=x"],
        ),
    ] {
        for query in named {
            assert!(query_names_credential(query, &shape), "{query}");
        }
        for query in other {
            assert!(!query_names_credential(query, &shape), "{query}");
        }
    }
}

// --------------------------------------------------------------------------------------------------------- properties

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

fn json_value() -> impl Strategy<Value = Value> {
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
