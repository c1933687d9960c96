//! The names of fields, and which of them some backend could take for one another.
//!
//! PHP makes `_` of dots and spaces and cuts a name at a NUL; Rails, PHP and Node nest brackets, Spring and ASP.NET nest dots;
//! Go, .NET and Jackson may ignore case; Spring strips `_` and `!` from the front, PHP's own server a second `?`. Two names that
//! any of them reads as one are aliases here: a request that holds two aliases of a credential field means different users to
//! different readers (R35, R38, R39). Pure; called by the decoders and the router.

use std::borrow::Cow;

/// A field's name in the two ways in which backends read one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName {
    /// Dots and brackets nest; indices do not count.
    nested: Vec<String>,
    /// Dots and spaces before the first bracket are underscores (PHP).
    flat: Vec<String>,
}

impl FieldName {
    /// The name of a form field or a query parameter, percent-decoded.
    #[must_use]
    pub fn of_form(name: &str) -> Self {
        let folded = fold(name);
        let (top, brackets) = folded.split_at(folded.find('[').unwrap_or(folded.len()));
        let underscored = |text: &str| text.replace(['.', ' ', '['], "_").trim_start_matches(MARKERS).to_owned();
        let flat = match brackets.contains(']') {
            true => [underscored(top)].into_iter().chain(parts(brackets, &['[', ']'])).collect(),
            false => vec![underscored(&folded)], // PHP on a bracket that nobody closes.
        };
        let flat = flat.into_iter().filter(|part: &String| !part.is_empty()).collect();
        Self { nested: parts(&folded, &['.', '[', ']']).collect(), flat }
    }

    /// The place of a value in a JSON document, as its keys from the root.
    #[must_use]
    pub fn of_json(keys: &[&str]) -> Self {
        let parts: Vec<String> = keys.iter().map(|key| fold(key)).filter(|key| !is_index(key)).collect();
        Self { nested: parts.clone(), flat: parts }
    }

    /// Whether some backend may take one for the other, or one for a part of the other.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        one_begins_the_other(&self.nested, &other.nested) || one_begins_the_other(&self.flat, &other.flat)
    }

    /// Whether some backend finds `wanted` under this name, or a part of it.
    #[must_use]
    pub fn holds(&self, wanted: &Self) -> bool {
        let begins = |name: &[String], wanted: &[String]| !wanted.is_empty() && name.starts_with(wanted);
        begins(&self.nested, &wanted.nested) || begins(&self.flat, &wanted.flat)
    }

    /// Whether a value in a JSON document, given by its folded keys from the root, is this field or a part of it.
    #[must_use]
    pub fn is_under(&self, folded: &[String]) -> bool {
        let begins = |wanted: &[String]| !wanted.is_empty() && folded.starts_with(wanted);
        begins(&self.nested) || begins(&self.flat)
    }

    /// Whether this is an outer or inner part of the other's name too: `user` or `email` of `user[email]`.
    #[must_use]
    pub fn resembles(&self, other: &Self) -> bool {
        self.may_be(other) || self.is_tail(other)
    }

    /// Whether some backend finds `wanted` under this name, or would if parameters were wrapped in a group (Rails does it to JSON)
    /// or taken out of one: `email` for `user[email]`, and the other way about.
    #[must_use]
    pub fn is_like(&self, wanted: &Self) -> bool {
        self.holds(wanted) || self.is_tail(wanted)
    }

    /// Whether one of the two names is the other in a group.
    #[must_use]
    pub fn is_tail(&self, other: &Self) -> bool {
        one_ends_the_other(&self.nested, &other.nested) || one_ends_the_other(&self.flat, &other.flat)
    }

    /// [`Self::is_like`] the other way about: whether a value in a JSON document, given by its folded keys from the root, is like
    /// this field.
    #[must_use]
    pub fn is_like_folded(&self, folded: &[String]) -> bool {
        self.is_under(folded) || self.is_tail_folded(folded)
    }

    /// [`Self::is_tail`] for a value in a JSON document.
    #[must_use]
    pub fn is_tail_folded(&self, folded: &[String]) -> bool {
        one_ends_the_other(folded, &self.nested) || one_ends_the_other(folded, &self.flat)
    }

    /// What the name ends in, folded: `email` of `user[email]`.
    #[must_use]
    pub fn last(&self) -> &str {
        self.nested.last().map_or("", String::as_str)
    }

    /// Whether a value in a JSON document is this field.
    #[must_use]
    pub fn is_folded(&self, folded: &[String]) -> bool {
        self.nested == folded
    }
}

fn one_ends_the_other(a: &[String], b: &[String]) -> bool {
    !a.is_empty() && !b.is_empty() && (a.ends_with(b) || b.ends_with(a))
}

fn one_begins_the_other(a: &[String], b: &[String]) -> bool {
    !a.is_empty() && !b.is_empty() && (a.starts_with(b) || b.starts_with(a))
}

fn parts<'a>(name: &'a str, separators: &'a [char]) -> impl Iterator<Item = String> + 'a {
    name.split(separators).map(str::trim).filter(|part| !part.is_empty() && !is_index(part)).map(str::to_owned)
}

fn is_index(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// What some readers drop in front of a name.
const MARKERS: [char; 4] = ['_', '!', '?', ' '];

/// Case, surrounding space, what cannot be seen, markers in front, and what follows a NUL do not tell names apart.
#[must_use]
pub fn fold(name: &str) -> String {
    let until_nul = name.split('\0').next().unwrap_or_default();
    let visible = match until_nul.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        true => Cow::Borrowed(until_nul),
        false => Cow::Owned(until_nul.replace(|c: char| c.is_control() || is_zero_width(c), "")),
    };
    fold_case(&visible).trim().trim_start_matches(MARKERS).to_owned()
}

/// Lower case, in which characters that some reader lowers or raises to an ASCII letter are that letter: the long s, the KELVIN
/// SIGN, the i with and without a dot (Go and Python compare so).
pub(in crate::http) fn fold_case(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lowered = text.chars().flat_map(char::to_lowercase);
    lowered
        .filter(|c| *c != '\u{307}')
        .map(|c| match c {
            'ſ' => 's',
            'ı' => 'i',
            c => c,
        })
        .collect()
}

fn is_zero_width(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// The keys of a JSON pointer (RFC 6901, section 4). `None` if the text is no pointer. The empty pointer is the whole document.
#[must_use]
pub fn pointer_keys(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let keys = pointer.strip_prefix('/')?;
    Some(keys.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect())
}

/// Whether a name is one under which forms send a password a second time, or in another spelling: `password_confirmation`.
#[must_use]
pub fn is_password_like(name: &str) -> bool {
    let folded = fold(name).replace(['-', ' ', '.', '[', ']'], "_");
    let tail = folded.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').rsplit('_').next().unwrap_or_default();
    tail == "pass"
        || ["passw", "passphrase", "passcode", "passconf", "pwd", "pass_", "repass"]
            .iter()
            .any(|word| folded.contains(word))
}
