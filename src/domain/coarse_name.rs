//! What a name looks like, so coarsely that all which some legacy backend may take for the same name is the same.
//!
//! For limits alone (R70), never for identity: databases compare names by collations of their own, by which `MIKE`, `mike`, `míke`
//! and `mıke` are one user, and whoever guesses passwords would have a fresh limit for each spelling. Two users who share a coarse
//! name share a limit, no more. Pure.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The fewest digits that make a name a phone number, of which only they count.
const MIN_PHONE_DIGITS: usize = 5;

/// The coarse form of a name. At most four times as long.
#[must_use]
pub fn coarse_name(name: &str) -> String {
    let mut coarse = String::with_capacity(name.len());
    if name.is_ascii() {
        // Nearly every name, and none of what follows changes more of it.
        name.chars().for_each(|c| push_base(&mut coarse, c.to_ascii_lowercase()));
    } else {
        fold(name, &mut coarse);
    }
    let digits = coarse.chars().filter(char::is_ascii_digit).count();
    if digits >= MIN_PHONE_DIGITS && coarse.chars().all(|c| c.is_ascii_digit() || " +-()./".contains(c)) {
        coarse.retain(|c| c.is_ascii_digit());
    }
    coarse
}

/// Appends the name without case, composition and marks.
fn fold(name: &str, coarse: &mut String) {
    // Lower, upper and lower case again, as `ẞ` becomes `ß` becomes `SS`; then apart, so that the marks can be dropped.
    let folded = name.nfkc().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    for c in folded.nfkd().filter(|c| !is_combining_mark(*c)) {
        // Decomposing may bring upper-case letters back, as the squared ones.
        c.to_lowercase().for_each(|c| push_base(coarse, c));
    }
}

/// Appends the letter that a letter is a variant of, where decomposing does not tell.
fn push_base(coarse: &mut String, c: char) {
    let base = match c {
        'ı' | 'ɨ' => "i",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ŧ' => "t",
        'ƀ' => "b",
        'ǥ' => "g",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        'ς' => "σ",
        // Some take `ß` for `ss`, some for `s`: no letter follows itself here.
        's' if coarse.ends_with('s') => "",
        // To MySQL's older collations all characters beyond the basic plane are one.
        c if u32::from(c) > 0xffff => "\u{fffd}",
        c => return coarse.push(c),
    };
    coarse.push_str(base);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r70_all_that_a_collation_may_take_for_one_name_is_one() {
        for (name, variants) in [
            (
                "mike",
                ["MIKE", "m\u{131}ke", "m\u{130}ke", "mi\u{301}ke", "\u{ff4d}ike", "mi\u{212a}e", "m\u{ef}ke"]
                    .as_slice(),
            ),
            ("strasse", &["straße", "STRASSE", "STRA\u{1e9e}E", "strase", "\u{17f}trasse"]),
            ("file@x.y", &["\u{fb01}le@x.y", "FILE\u{ff20}X.Y", "file@x\u{ff0e}y"]),
            ("oystein", &["Øystein", "øystein", "O\u{338}ystein"]),
            ("aether", &["Æther", "æther"]),
            ("lukasz", &["Łukasz", "Luka\u{15b}z"]),
            ("σισυφοσ", &["ΣΊΣΥΦΟΣ", "σίσυφος"]),
            ("015112345", &["0151-12345", "0151 / 12345", "\u{ff10}151 12345"]),
            ("1kg", &["1\u{338f}", "\u{2460}kg"]),
            ("m\u{1f600}", &["m\u{1f601}"]),
        ] {
            for variant in variants {
                assert_eq!(coarse_name(variant), coarse_name(name), "{variant}");
            }
        }
    }

    #[test]
    fn names_that_nobody_takes_for_one_are_kept_apart() {
        let names = ["mike", "mika", "mike2", "mike@x.y", "mike@x.z", "1234", "12345", "", "míkeл", "山田", "山口"];
        for (at, one) in names.iter().enumerate() {
            assert!(names.iter().skip(at + 1).all(|other| coarse_name(one) != coarse_name(other)), "{one}");
        }
    }

    proptest! {
        #[test]
        fn a_name_in_ascii_takes_no_other_form_on_the_short_way(name in "[\\x00-\\x7f]{0,40}") {
            let (mut short, mut long) = (String::new(), String::new());
            name.chars().for_each(|c| push_base(&mut short, c.to_ascii_lowercase()));
            fold(&name, &mut long);
            prop_assert_eq!(short, long);
        }

        #[test]
        fn case_composition_and_marks_never_matter(name in "\\PC{0,40}") {
            let coarse = coarse_name(&name);
            prop_assert_eq!(&coarse_name(&coarse), &coarse, "it stays what it is");
            prop_assert_eq!(&coarse_name(&name.nfc().collect::<String>()), &coarse);
            prop_assert_eq!(&coarse_name(&name.nfd().collect::<String>()), &coarse);
            prop_assert_eq!(&coarse_name(&name.to_uppercase()), &coarse);
        }
    }
}
