//! What a user may be found by: emails, usernames and phone numbers, and the canonical form that the store is keyed by.
//!
//! The canonical form follows RFC 8265 (`UsernameCaseMapped`) as far as that can never merge two users whom a legacy
//! backend keeps apart: case is folded between true case pairs only, so that `K` (KELVIN SIGN), `İ`, `ß` and `ﬁ` stay
//! what they are. Comparing more finely than legacy costs one question to legacy; comparing more coarsely would hand an
//! account over (CVE-2019-19844).

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// The longest identifier that is looked at, in bytes: the longest email address (RFC 5321, 4.5.3.1: 64 + 1 + 255).
pub const MAX_IDENTIFIER_BYTES: usize = 320;

/// The version of the rules in this file, kept in each record: a change of the rules has to rewrite older ones.
pub const NORMALIZATION_VERSION: u16 = 1;

/// An identifier exactly as it was typed. It is what legacy is asked about; it is never a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawIdentifier(Box<str>);

/// Why a string cannot identify a user. To the client all of them look like a wrong password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentifier {
    /// Nothing was typed.
    #[error("the identifier is empty")]
    Empty,
    /// More than [`MAX_IDENTIFIER_BYTES`].
    #[error("the identifier is longer than {MAX_IDENTIFIER_BYTES} bytes")]
    TooLong,
    /// White space at an end: invisible in a form, and another user to some backends.
    #[error("the identifier begins or ends with white space")]
    EdgeSpace,
    /// A control, zero-width or direction-changing character: two that look alike would be two users.
    #[error("the identifier contains an invisible character")]
    Invisible,
    /// Nothing of it remains under the configured rule (a phone number without digits).
    #[error("nothing remains of the identifier once normalized")]
    NothingLeft,
}

impl RawIdentifier {
    /// Takes what was typed, if it can identify anyone (R46).
    pub fn new(typed: &str) -> Result<Self, InvalidIdentifier> {
        match typed.len() {
            0 => Err(InvalidIdentifier::Empty),
            1..=MAX_IDENTIFIER_BYTES if typed.trim() != typed => Err(InvalidIdentifier::EdgeSpace),
            1..=MAX_IDENTIFIER_BYTES if typed.chars().any(is_invisible) => Err(InvalidIdentifier::Invisible),
            1..=MAX_IDENTIFIER_BYTES => Ok(Self(typed.into())),
            _ => Err(InvalidIdentifier::TooLong),
        }
    }

    /// As typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters that a person cannot see or that change how the rest is shown.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The three kinds of alias.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum IdentifierKind {
    /// An email address.
    Email,
    /// A name chosen at registration.
    Username,
    /// A phone number.
    Phone,
}

impl IdentifierKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Email, Self::Username, Self::Phone];

    /// The word for it in templates, answers and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Username => "username",
            Self::Phone => "phone",
        }
    }

    /// What a key of this kind starts with; each kind is one range of keys.
    #[must_use]
    pub fn key_prefix(self) -> &'static str {
        match self {
            Self::Email => "e:",
            Self::Username => "u:",
            Self::Phone => "p:",
        }
    }
}

/// The only key under which a user is stored and found: a kind and the canonical form. Made by [`IdentifierRules`], or read
/// back from the store, which holds nothing else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NormalizedIdentifier(Box<str>);

impl NormalizedIdentifier {
    /// The bytes that the store is keyed by: a prefix for the kind, then the canonical form.
    #[must_use]
    pub fn as_key(&self) -> &str {
        &self.0
    }

    /// Reads a key back that [`Self::as_key`] gave. `None` if it never came from there.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        let known = IdentifierKind::ALL.iter().any(|kind| key.len() > 2 && key.starts_with(kind.key_prefix()));
        known.then(|| Self(key.into()))
    }

    /// Which kind of alias this is.
    #[must_use]
    pub fn kind(&self) -> IdentifierKind {
        IdentifierKind::ALL
            .into_iter()
            .find(|kind| self.0.starts_with(kind.key_prefix()))
            .unwrap_or(IdentifierKind::Username)
    }

    /// The canonical form without its kind.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get(2..).unwrap_or_default()
    }
}

impl fmt::Debug for NormalizedIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.kind().as_str(), self.text())
    }
}

/// One alias of a user: as legacy wrote it, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    /// As legacy or the registration wrote it.
    pub value: Box<str>,
    /// What it is found by; tells the kind.
    pub normalized: NormalizedIdentifier,
    /// Whether legacy said that it was verified. Carried, never invented.
    pub verified: Option<bool>,
}

/// How upper and lower case of a name are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseRule {
    /// Canonical composition and case folding between true case pairs.
    Fold,
    /// Byte for byte.
    Exact,
}

/// How a phone number is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneRule {
    /// Only its digits count.
    Digits,
    /// Byte for byte.
    Exact,
}

/// The configured canonical form of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentifierRules {
    /// For email addresses.
    pub email: CaseRule,
    /// For usernames.
    pub username: CaseRule,
    /// For phone numbers.
    pub phone: PhoneRule,
}

impl Default for IdentifierRules {
    fn default() -> Self {
        Self { email: CaseRule::Fold, username: CaseRule::Fold, phone: PhoneRule::Digits }
    }
}

/// The fewest digits that make typed text a phone number worth looking up.
const MIN_PHONE_DIGITS: usize = 5;

impl IdentifierRules {
    /// The key of a value whose kind is known, as from legacy's answer.
    pub fn normalize(
        self,
        kind: IdentifierKind,
        value: &RawIdentifier,
    ) -> Result<NormalizedIdentifier, InvalidIdentifier> {
        let text = match kind {
            IdentifierKind::Email => self.email.apply(value.as_str()),
            IdentifierKind::Username => self.username.apply(value.as_str()),
            IdentifierKind::Phone => self.phone.apply(value.as_str()),
        };
        if text.is_empty() {
            return Err(InvalidIdentifier::NothingLeft);
        }
        Ok(NormalizedIdentifier(format!("{}{text}", kind.key_prefix()).into()))
    }

    /// The alias that a value of a known kind makes.
    pub fn identifier(
        self,
        kind: IdentifierKind,
        value: &str,
        verified: Option<bool>,
    ) -> Result<Identifier, InvalidIdentifier> {
        let raw = RawIdentifier::new(value)?;
        Ok(Identifier { normalized: self.normalize(kind, &raw)?, value: value.into(), verified })
    }

    /// Every key that typed text may mean: a login form has one field for all three kinds.
    #[must_use]
    pub fn candidates(self, typed: &RawIdentifier) -> Candidates {
        let mut keys = Vec::with_capacity(3);
        let text = typed.as_str();
        if text.contains('@') {
            keys.extend(self.normalize(IdentifierKind::Email, typed));
        }
        let digits = text.chars().filter(char::is_ascii_digit).count();
        if digits >= MIN_PHONE_DIGITS && text.chars().all(|c| c.is_ascii_digit() || " +-()./".contains(c)) {
            keys.extend(self.normalize(IdentifierKind::Phone, typed));
        }
        keys.extend(self.normalize(IdentifierKind::Username, typed));
        Candidates(keys)
    }
}

impl CaseRule {
    fn apply(self, value: &str) -> String {
        match self {
            Self::Exact => value.to_owned(),
            // What the rules below come to where no accent or foreign letter is, at a fiftieth of the time: an import does it millions
            // of times.
            Self::Fold if value.is_ascii() => value.to_ascii_lowercase(),
            Self::Fold => compose(value).chars().map(fold_true_pair).collect(),
        }
    }
}

impl PhoneRule {
    fn apply(self, value: &str) -> String {
        match self {
            Self::Exact => value.to_owned(),
            Self::Digits => value.chars().filter(char::is_ascii_digit).collect(),
        }
    }
}

/// The lower-case form, if its upper-case form leads back; otherwise the character itself.
fn fold_true_pair(c: char) -> char {
    let (mut lower, mut back) = (c.to_lowercase(), None);
    if let (Some(single), None) = (lower.next(), lower.next()) {
        let mut upper = single.to_uppercase();
        if let (Some(upper), None) = (upper.next(), upper.next()) {
            back = (upper == c).then_some(single);
        }
    }
    back.unwrap_or(c)
}

/// NFC, except that a character which NFC would replace by a different single one (KELVIN SIGN by `K`) stays.
fn compose(value: &str) -> String {
    let mut composed = String::with_capacity(value.len());
    let mut run = String::new();
    for c in value.chars() {
        if is_singleton(c) {
            composed.extend(run.nfc());
            run.clear();
            composed.push(c);
        } else {
            run.push(c);
        }
    }
    composed.extend(run.nfc());
    composed
}

fn is_singleton(c: char) -> bool {
    let mut composed = std::iter::once(c).nfc();
    matches!((composed.next(), composed.next()), (Some(other), None) if other != c)
}

/// The keys that one typed identifier may mean, one to three of them, most specific first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates(Vec<NormalizedIdentifier>);

impl Candidates {
    /// The keys to look up.
    #[must_use]
    pub fn keys(&self) -> &[NormalizedIdentifier] {
        &self.0
    }

    /// The one key that stands for the typed text where a single one is needed (limits, sticky shares): the most specific.
    #[must_use]
    pub fn primary(&self) -> &str {
        self.0.first().map_or("", NormalizedIdentifier::as_key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(kind: IdentifierKind, value: &str) -> String {
        let raw = RawIdentifier::new(value).expect("a valid identifier");
        IdentifierRules::default().normalize(kind, &raw).expect("a canonical form").as_key().to_owned()
    }

    #[test]
    fn the_short_way_for_ascii_comes_to_what_the_long_one_does() {
        let all: String = (0..128_u8).map(char::from).collect();
        let the_long_way: String = compose(&all).chars().map(fold_true_pair).collect();
        assert_eq!(CaseRule::Fold.apply(&all), the_long_way);
    }

    #[test]
    fn r43_one_documented_canonical_form() {
        for (kind, typed, canonical) in [
            (IdentifierKind::Email, "Alice@Example.COM", "e:alice@example.com"),
            (IdentifierKind::Username, "MÜLLER", "u:müller"),
            (IdentifierKind::Username, "mu\u{308}ller", "u:müller"),
            (IdentifierKind::Username, "ΣΊΣΥΦΟΣ", "u:σίσυφοσ"),
            (IdentifierKind::Phone, "+49 (151) 123-45.67", "p:491511234567"),
        ] {
            assert_eq!(key(kind, typed), canonical);
        }
    }

    #[test]
    fn r44_r45_characters_that_only_look_or_compose_alike_stay_apart() {
        let plain = ["mike", "kate", "i", "fi", "ss", "k", "\u{e5}"];
        let alike = ["m\u{131}ke", "\u{212a}ate", "\u{130}", "\u{fb01}", "\u{df}", "\u{1e9e}", "\u{212b}"];
        for alike in alike {
            assert!(
                plain.iter().all(|plain| key(IdentifierKind::Username, plain) != key(IdentifierKind::Username, alike)),
                "{alike}"
            );
        }
    }

    #[test]
    fn r46_invisible_and_edge_characters_identify_nobody() {
        for bad in [
            "",
            " a",
            "a ",
            "a\u{0}",
            "a\u{200b}b",
            "\u{202e}a",
            "a\nb",
            "\u{feff}a",
            "a\u{e0001}",
            "\u{a0}a",
            "a\u{3164}",
        ] {
            assert!(RawIdentifier::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(RawIdentifier::new(&"a".repeat(321)), Err(InvalidIdentifier::TooLong));
        assert!(RawIdentifier::new(&"a".repeat(320)).is_ok());
        assert!(RawIdentifier::new("given name").is_ok());
    }

    #[test]
    fn typed_text_is_looked_up_as_everything_it_may_be() {
        let keys = |typed| -> Vec<String> {
            let raw = RawIdentifier::new(typed).expect("a valid identifier");
            IdentifierRules::default().candidates(&raw).keys().iter().map(|key| key.as_key().to_owned()).collect()
        };
        assert_eq!(keys("A@b.c"), ["e:a@b.c", "u:a@b.c"]);
        assert_eq!(keys("alice"), ["u:alice"]);
        assert_eq!(keys("0151-12345"), ["p:015112345", "u:0151-12345"]);
        assert_eq!(keys("1234"), ["u:1234"]);
    }

    #[test]
    fn exact_rules_change_nothing() {
        let rules = IdentifierRules { email: CaseRule::Exact, username: CaseRule::Exact, phone: PhoneRule::Exact };
        let raw = RawIdentifier::new("+49 É").expect("a valid identifier");
        for kind in IdentifierKind::ALL {
            assert_eq!(rules.normalize(kind, &raw).expect("a canonical form").text(), "+49 É");
        }
    }

    proptest! {
        #[test]
        fn normalizing_twice_is_normalizing_once(typed in "\\PC{1,40}") {
            if let Ok(raw) = RawIdentifier::new(&typed) {
                let rules = IdentifierRules::default();
                for kind in IdentifierKind::ALL {
                    if let Ok(once) = rules.normalize(kind, &raw) {
                        let again = RawIdentifier::new(once.text()).expect("a canonical form is valid");
                        prop_assert_eq!(rules.normalize(kind, &again).expect("again"), once);
                    }
                }
            }
        }

        #[test]
        fn folding_never_merges_what_case_pairs_and_composition_keep_apart(a in "\\PC{1,12}", b in "\\PC{1,12}") {
            let fold = |text: &str| CaseRule::Fold.apply(text);
            if fold(&a) == fold(&b) {
                let loose = |text: &str| text.nfc().collect::<String>().to_lowercase().nfc().collect::<String>();
                prop_assert_eq!(loose(&a), loose(&b));
            }
        }

        #[test]
        fn a_key_is_read_back(typed in "\\PC{1,40}") {
            if let Ok(raw) = RawIdentifier::new(&typed) {
                for key in IdentifierRules::default().candidates(&raw).keys() {
                    let back = NormalizedIdentifier::from_key(key.as_key());
                    prop_assert_eq!(back.as_ref(), Some(key));
                }
            }
        }
    }
}
