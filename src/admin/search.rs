//! What an operator typed into the search, as the prefix of a canonical identifier.

use crate::domain::identifier::{IdentifierKind, IdentifierRules, RawIdentifier};

/// The prefix to list by; none for everyone. Text that can be the start of no identifier is looked up as it is, and found
/// nowhere.
pub(super) fn canonical_prefix(rules: IdentifierRules, typed: &str) -> Option<String> {
    let typed = typed.trim();
    if typed.is_empty() {
        return None;
    }
    let canonical = |kind| {
        let raw = RawIdentifier::new(typed).ok()?;
        rules.normalize(kind, &raw).ok().map(|key| key.text().to_owned())
    };
    Some(canonical(likely_kind(typed)).unwrap_or_else(|| typed.to_owned()))
}

/// A number written as people write them is a phone number; bare digits are the same under every rule.
fn likely_kind(typed: &str) -> IdentifierKind {
    let written_as_phone = typed.chars().all(|c| c.is_ascii_digit() || " +-()./".contains(c));
    let has_digits = typed.chars().any(|c| c.is_ascii_digit());
    match (typed.contains('@'), written_as_phone && has_digits) {
        (true, _) => IdentifierKind::Email,
        (false, true) => IdentifierKind::Phone,
        (false, false) => IdentifierKind::Username,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_meets_identifiers_in_their_canonical_form() {
        for (typed, prefix) in [
            ("", None),
            ("  ", None),
            (" Ada@Exa", Some("ada@exa")),
            ("ADA", Some("ada")),
            ("+49 (151) 1", Some("491511")),
            ("151", Some("151")),
            ("+", Some("+")),
            ("\u{200b}x", Some("\u{200b}x")),
        ] {
            assert_eq!(canonical_prefix(IdentifierRules::default(), typed).as_deref(), prefix, "{typed:?}");
        }
    }
}
