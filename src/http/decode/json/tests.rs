//! What is JSON here, and what is refused though some readers take it.

use super::super::tests::typed;
use super::*;

fn read_json(body: &str) -> Result<Value, DecodeError> {
    parse(body.as_bytes())
}

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
fn r36_nesting_ends_at_eight() {
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for nested in [arrays, objects] {
        assert!(read_json(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(read_json(&nested(MAX_DEPTH + 1)), Err(DecodeError::TooDeep));
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
        assert_eq!(parse(body), Err(DecodeError::MalformedJson), "{}", String::from_utf8_lossy(body));
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
