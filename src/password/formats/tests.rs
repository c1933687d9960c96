//! What holds for all formats together, and what their own tests are written with.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::arena::Allowance;
use super::*;

pub(super) const MALFORMED: Result<bool, NoAnswer> = Err(NoAnswer::Unusable(Unusable::Malformed));
pub(super) const OVER_BOUNDS: Result<bool, NoAnswer> = Err(NoAnswer::Unusable(Unusable::OverBounds));

/// Whether it is the hash of this password, under the usual bounds.
pub(super) fn matches(encoded: &str, password: &[u8]) -> Result<bool, NoAnswer> {
    verify(encoded, password, &Terms::default(), &mut Arena::new(0, Allowance::new()))
}

#[test]
fn what_no_row_knows_is_unusable_and_not_a_mismatch() {
    for unknown in [
        "",
        "$",
        "plain",
        "$y$j9T$salt$hash",
        "{CLEARTEXT}abc",
        "$argon2xx$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
        "098f6bcd4621d373cade4e832627b4f6",
        "098f6bcd4621d373cade4e832627b4f6:ab",
        "AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
    ] {
        assert_eq!(recognise(unknown, &Bounds::default()), Err(Unusable::UnknownFormat), "{unknown}");
    }
    let long = format!("{{SSHA}}{}", "A".repeat(MAX_ENCODED_BYTES));
    assert_eq!(recognise(&long, &Bounds::default()), Err(Unusable::UnknownFormat));
}

#[test]
fn no_two_formats_have_one_name_and_each_says_all_of_itself() {
    let names: BTreeSet<&str> = all().map(|about| about.name).collect();
    assert_eq!(names.len(), FORMATS.len());
    for about in all() {
        assert!(!about.made_by.is_empty() && !about.shape.is_empty(), "{}", about.name);
        let words = about.bounded_by.split(", ").filter(|word| !word.is_empty() && !word.contains("what is within"));
        for word in words {
            assert!(format!("{:?}", Bounds::default()).contains(&format!("{word}: ")), "{}: {word}", about.name);
        }
    }
}

#[test]
fn each_bound_is_one_that_some_format_keeps() {
    let kept: BTreeSet<&str> = all().flat_map(|about| about.bounded_by.split(", ")).collect();
    for bound in ["memory_kib", "work_kib", "lanes", "bcrypt_cost", "scrypt_kib", "pbkdf2_rounds", "digest_rounds"] {
        assert!(kept.contains(bound), "{bound}");
    }
}

#[test]
fn the_documentation_has_every_format_and_no_other() {
    let page = include_str!("../../../docs/passwords.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let wraps = |wraps| match wraps {
        Wraps::Always => "yes",
        Wraps::IfWeak => "with few rounds",
        Wraps::Never => "no",
    };
    let expected: Vec<String> = all()
        .map(|about| {
            let bounds = about.bounded_by.split(", ").filter(|word| !word.is_empty());
            let bounds: Vec<String> =
                bounds.map(|word| if word.contains(' ') { word.to_owned() } else { format!("`{word}`") }).collect();
            let (name, made_by, shape) = (about.name, about.made_by, about.shape);
            let bounds = if bounds.is_empty() { "one or two digests".to_owned() } else { bounds.join(", ") };
            format!("| `{name}` | {made_by} | `{shape}` | {bounds} | {} |", wraps(about.wraps))
        })
        .collect();
    for row in &expected {
        assert!(rows.contains(&row.as_str()), "docs/passwords.md lacks:\n{}", expected.join("\n"));
    }
    assert_eq!(
        rows.iter()
            .filter(|row| row.ends_with(" yes |") || row.ends_with(" no |") || row.ends_with(" rounds |"))
            .count(),
        expected.len()
    );
}

/// The beginnings and the pieces that the formats are told by and are made of.
fn hashlike() -> impl Strategy<Value = String> {
    let starts = [
        "$argon2id$",
        "$argon2i$",
        "argon2$",
        ":argon2:",
        "$2b$04$",
        "$2x$",
        "bcrypt$",
        "bcrypt_sha256$",
        "$bcrypt-sha256$",
        "$wp$",
        "$scrypt$",
        "scrypt:",
        "scrypt$",
        "$firescrypt$",
        "$pbkdf2-sha256$",
        "$pbkdf2$",
        "pbkdf2_sha256$",
        "pbkdf2:sha512:",
        "{PBKDF2-SHA256}",
        ":pbkdf2:",
        ":A:",
        ":B:",
        "$aspnet$",
        "$P$9",
        "$S$D",
        "U$S$",
        "$1$",
        "$apr1$",
        "$5$rounds=",
        "$6$",
        "{SSHA}",
        "{CRYPT}",
        "$md5$pf=",
        "$sha512$",
        "md5$",
        "$hmac-sha1$",
        "sha256$",
        "$prehash$",
        "$wrapped$argon2id$v=19$",
        "",
    ];
    let pieces = prop_oneof![
        prop::sample::select(vec![
            "$",
            ":",
            "=",
            ",",
            "{",
            "}",
            "ln=4,r=8,p=1",
            "i=1,l=32",
            "m=8,t=1,p=1",
            "v=19",
            "rounds=1000$",
            "it=2"
        ])
        .prop_map(str::to_owned),
        "[A-Za-z0-9./+=]{0,90}",
        "\\PC{0,6}",
    ];
    (prop::sample::select(starts.to_vec()), prop::collection::vec(pieces, 0..8))
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_a_reader_panic_and_none_is_claimed_twice(text in hashlike()) {
        let claims = FORMATS.iter().filter(|format| (format.claims)(&text)).count();
        prop_assert!(claims <= 1, "{text}: {claims}");
        if let Ok((_, stored)) = read(&text, &Terms::default()) {
            prop_assert!(!stored.digest.is_empty());
            let written = stored.scheme.encode(&stored.digest);
            let (_, again) = read(&written, &Terms::default()).expect("what we write we read");
            prop_assert_eq!(&again.digest, &stored.digest);
            prop_assert_eq!(&*again.scheme.encode(&again.digest), &*written);
        }
        let _ = hint(&text);
    }

    #[test]
    fn any_bare_text_is_declared_or_refused(text in "\\PC{0,70}", template in "(\\{SALT\\}|\\{PASSWORD\\}|\\{md5:|\\}|:|x){0,5}") {
        let declared = Declaration::new(&template).and_then(|how| declare(&text, None, &how));
        if let Ok(encoded) = declared {
            prop_assert!(recognise(&encoded, &Bounds::default()).is_ok(), "{}", *encoded);
        }
    }
}
