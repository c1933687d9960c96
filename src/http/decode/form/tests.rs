//! What is a form here, and what is refused since readers disagree on it.

use http::StatusCode;

use super::*;

#[test]
fn forms_are_read_in_order_and_decoded_once() {
    let fields = parse("a=1&b=%2541+%C3%A9&=x&c&&a==%3D&d=raw é".as_bytes()).expect("a form");
    let expected = [("a", "1"), ("b", "%41 é"), ("", "x"), ("c", ""), ("a", "=="), ("d", "raw é")];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(parse(b""), Ok(Vec::new()));
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
        assert_eq!(parse(body), Err(*error), "{}", String::from_utf8_lossy(body));
    }
    assert!(parse(b"_charset_=UTF-8&utf8=%E2%9C%93").is_ok());
    let many = |count: usize| vec!["a=1"; count].join("&");
    assert!(parse(many(MAX_FIELDS).as_bytes()).is_ok());
    assert_eq!(parse(many(MAX_FIELDS + 1).as_bytes()), Err(DecodeError::TooManyFields));
    assert_eq!(DecodeError::TooManyFields.status(), StatusCode::PAYLOAD_TOO_LARGE);
}
