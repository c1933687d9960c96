//! The canonical spelling: what is kept, rewritten and refused, and that nothing is left to rewrite.

use proptest::prelude::*;

use super::*;

fn strict(raw: &str) -> Result<String, PathError> {
    CanonicalTarget::parse_str(raw, PathPolicy::Strict).map(|target| target.path_and_query().as_str().to_owned())
}

fn tolerant(raw: &str) -> Result<String, PathError> {
    CanonicalTarget::parse_str(raw, PathPolicy::Tolerant).map(|target| target.path_and_query().as_str().to_owned())
}

#[test]
fn r27_equivalent_spellings_have_one_canonical_form() {
    for (raw, canonical) in [
        ("/", "/"),
        ("/login", "/login"),
        ("/%6cogin", "/login"),
        ("/%6C%6f%67%69%6e", "/login"),
        ("/a%2eb%2Dc%5fd%7ee", "/a.b-c_d~e"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%3a%40%21", "/%3A%40%21"),
        ("/a|b{c}d^e`f\"g<h>i[j]", "/a%7Cb%7Bc%7Dd%5Ee%60f%22g%3Ch%3Ei%5Bj%5D"),
        ("/login;jsessionid=1/", "/login;jsessionid=1/"),
        ("/...", "/..."),
        ("/.well-known/jwks.json", "/.well-known/jwks.json"),
        ("/a?b=%6c|%zz&&=", "/a?b=%6c|%zz&&="),
        ("/?", "/?"),
        ("*", "*"),
    ] {
        assert_eq!(strict(raw).as_deref(), Ok(canonical), "{raw}");
    }
}

#[test]
fn r28_what_backends_read_differently_is_refused_at_the_start_in_the_middle_and_at_the_end() {
    let forbidden = [
        ("/./", PathError::DotSegment),
        ("/../", PathError::DotSegment),
        ("/%2e/", PathError::DotSegment),
        ("/%2E%2e/", PathError::DotSegment),
        ("/.%2e/", PathError::DotSegment),
        ("/..;x=1/", PathError::DotSegment),
        ("/%2e%2e;/", PathError::DotSegment),
        ("/.;/", PathError::DotSegment),
        ("%2f", PathError::EncodedSlash),
        ("%2F", PathError::EncodedSlash),
        ("%5c", PathError::Backslash),
        ("%5C", PathError::Backslash),
        ("\\", PathError::Backslash),
        ("%00", PathError::Nul),
        ("%", PathError::BadPercent),
        ("%zz", PathError::BadPercent),
        ("%4", PathError::BadPercent),
        ("%u0041", PathError::BadPercent),
        ("%+1", PathError::BadPercent),
        ("é", PathError::NotAscii),
        ("\u{7f}", PathError::Control),
        (" ", PathError::Control),
        ("\0", PathError::Control),
        ("\t", PathError::Control),
        ("\r\n", PathError::Control),
        ("#", PathError::Fragment),
    ];
    for (token, error) in forbidden {
        for raw in
            [format!("/{}login", token.trim_start_matches('/')), format!("/log{token}in"), format!("/login{token}")]
        {
            assert_eq!(strict(&raw), Err(error), "{raw:?}");
        }
    }
    for raw in ["//login", "/log//in", "/login//", "//", "///"] {
        assert_eq!(strict(raw), Err(PathError::EmptySegment), "{raw}");
    }
    for raw in ["/.", "/..", "/a/.", "/a/..", "/a/%2e", "/a/..;", "/%2e%2e"] {
        assert_eq!(strict(raw), Err(PathError::DotSegment), "{raw}");
    }
    for raw in ["", "login", "?a", "%2flogin", "**", "*/", "http://host/login"] {
        assert_eq!(strict(raw), Err(PathError::NotAbsolute), "{raw}");
    }
}

#[test]
fn r28_a_query_keeps_its_spelling_but_holds_no_bytes_that_a_target_cannot() {
    for token in [" ", "\t", "\0", "\r", "\n", "\u{7f}", "é", "#"] {
        for raw in [format!("/a?{token}b=c"), format!("/a?b{token}=c"), format!("/a?b=c{token}")] {
            assert!(strict(&raw).is_err(), "{raw:?}");
        }
    }
    let well_formed =
        |raw| CanonicalTarget::parse_str(raw, PathPolicy::Strict).expect("a target").query_is_well_formed();
    assert!(well_formed("/a?b=%00%2f"));
    assert!(well_formed("/a"));
    for raw in ["/a?%", "/a?b=%4", "/a?%zz=1", "/a?b=%4g&c"] {
        assert!(!well_formed(raw), "{raw}");
    }
}

#[test]
fn r28_the_tolerant_switch_forwards_odd_spellings_as_valid_ones() {
    for (raw, forwarded) in [
        ("//a//b", "//a//b"),
        ("/a/../b", "/a/../b"),
        ("/AC%2fDC", "/AC%2FDC"),
        ("/a\\b%5cc", "/a%5Cb%5Cc"),
        ("/100%", "/100%25"),
        ("/%zz", "/%25zz"),
        ("/café?q=café", "/caf%C3%A9?q=caf%C3%A9"),
    ] {
        assert_eq!(tolerant(raw).as_deref(), Ok(forwarded), "{raw}");
    }
    for raw in ["/a%00", "/a b", "/a\r\n", "/a#b", "/a?b#c", "a"] {
        assert!(tolerant(raw).is_err(), "{raw:?}");
    }
}

#[test]
fn a_target_that_needs_no_change_shares_its_bytes() {
    let received = PathAndQuery::from_static("/static/app.js?v=1");
    let parsed = CanonicalTarget::parse(&received, PathPolicy::Strict).expect("a target");
    assert_eq!(parsed.path_and_query().as_str().as_ptr(), received.as_str().as_ptr());
}

#[test]
fn an_absolute_form_without_a_path_is_forwarded_with_one() {
    let uri: http::Uri = "http://host?a=1".parse().expect("a URI");
    let parsed = CanonicalTarget::parse(uri.path_and_query().expect("a target"), PathPolicy::Strict).expect("a target");
    assert_eq!(parsed.path_and_query().as_str(), "/?a=1");
    // An empty path that is shown as `/` is not the same target to `http`.
    let uri: http::Uri = "http://host".parse().expect("a URI");
    let target = CanonicalTarget::parse(uri.path_and_query().expect("a target"), PathPolicy::Strict);
    assert_eq!(target, CanonicalTarget::parse_str("/", PathPolicy::Strict));
}

#[test]
fn a_configured_path_may_be_written_in_any_script_but_not_oddly() {
    assert_eq!(CanonicalTarget::parse_configured("/connexión").expect("a path").path(), "/connexi%C3%B3n");
    for path in ["login", "/a//b", "/a/../b", "/a b", "/a#b", ""] {
        assert!(CanonicalTarget::parse_configured(path).is_err(), "{path}");
    }
}

/// Paths made of what matters, rather than of what is likely.
fn raw_targets() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just(".".to_owned()),
        Just("%".to_owned()),
        Just("?".to_owned()),
        Just(";".to_owned()),
        "[a-zA-Z0-9]{1,3}",
        "%[0-9a-fA-F]{2}",
        "[ -~]",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn r27_a_canonical_target_is_its_own_canonical_form(raw in raw_targets()) {
        for policy in [PathPolicy::Strict, PathPolicy::Tolerant] {
            if let Ok(once) = CanonicalTarget::parse_str(&raw, policy) {
                let text = once.path_and_query().as_str();
                let again = CanonicalTarget::parse_str(text, policy).expect("a canonical target is acceptable");
                prop_assert_eq!(&again, &once);
                let received = PathAndQuery::try_from(text).expect("a canonical target is valid");
                prop_assert_eq!(&CanonicalTarget::parse(&received, policy).expect("acceptable"), &once);
            }
        }
    }

    #[test]
    fn r27_canonicalization_never_changes_what_a_path_decodes_to(raw in raw_targets()) {
        if let Ok(target) = CanonicalTarget::parse_str(&raw, PathPolicy::Strict) {
            let decode = |path: &str| percent_encoding::percent_decode_str(path).collect::<Vec<u8>>();
            let path = raw.split('?').next().expect("a first part");
            prop_assert_eq!(decode(path), decode(target.path()));
            prop_assert_eq!(raw.split_once('?').map(|(_, query)| query), target.query());
        }
    }

    #[test]
    fn r28_a_strict_path_has_nothing_left_to_disagree_on(raw in raw_targets()) {
        if let Ok(target) = CanonicalTarget::parse_str(&raw, PathPolicy::Strict) {
            let path = target.path();
            prop_assert!(path.is_ascii() && !path.contains("//") && !path.contains('\\'));
            let upper = path.to_ascii_uppercase();
            prop_assert!(!["%2F", "%5C", "%00", "%2E"].iter().any(|token| upper.contains(token)));
            prop_assert!(path.split('/').all(|segment| !matches!(segment.split(';').next(), Some("." | ".."))));
        }
    }

    /// What hyper's parser lets through never gets past a panic either.
    #[test]
    fn any_target_that_http_parses_is_judged(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(received) = PathAndQuery::try_from(bytes.as_slice()) {
            let _ = CanonicalTarget::parse(&received, PathPolicy::Strict);
            if let Ok(target) = CanonicalTarget::parse(&received, PathPolicy::Tolerant) {
                prop_assert!(target.path_and_query().as_str().is_ascii());
            }
        }
    }
}
