//! What a salted digest is a digest of, as an operator or another product writes it: `{SALT}{PASSWORD}`, `{md5:{PASSWORD}}{SALT}`.
//! The language is described in the module above.

use zeroize::Zeroizing;

use super::digest::Algorithm;
use super::text::to_hex;

/// A template, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Salt,
    Password,
    Previous,
    PreviousHex,
    Hex(Algorithm, Template),
}

/// What the words of a template stand for.
pub(super) struct Words<'a> {
    pub(super) salt: &'a [u8],
    pub(super) password: &'a [u8],
    /// The digest before; empty where there is none.
    pub(super) previous: &'a [u8],
}

/// Where a template stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// What is hashed first: the password has to be in it.
    First,
    /// What is hashed again: the digest before has to be in it.
    Again,
}

/// What is wrong with a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A word that means nothing.
    #[error("the words of a template are {{PASSWORD}}, {{SALT}} and {{md5:…}}, {{sha1:…}}, {{sha256:…}} and so on")]
    Word,
    /// Every password would match.
    #[error("a template needs {{PASSWORD}}: without it every password would match")]
    NoPassword,
    /// The password would be forgotten on the way.
    #[error("what is hashed again needs {{DIGEST}} or {{HEX}}")]
    NoDigest,
    /// Larger than any product's.
    #[error("a template has at most {MAX_PARTS} parts, {MAX_DEPTH} deep, in {MAX_SOURCE_BYTES} bytes")]
    TooLarge,
}

const MAX_PARTS: usize = 16;
const MAX_DEPTH: usize = 3;
const MAX_SOURCE_BYTES: usize = 256;

impl Template {
    pub(super) fn new(source: &str, place: Place) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TemplateError::TooLarge);
        }
        let (template, rest) = Self::parse(source, 0)?;
        if !rest.is_empty() {
            return Err(TemplateError::Word);
        }
        if template.cost() > MAX_PARTS as u64 {
            return Err(TemplateError::TooLarge);
        }
        let goes_on = template.has(&Part::Previous) || template.has(&Part::PreviousHex);
        match place {
            Place::First if goes_on => Err(TemplateError::Word),
            Place::First if !template.has(&Part::Password) => Err(TemplateError::NoPassword),
            Place::Again if !goes_on => Err(TemplateError::NoDigest),
            Place::First | Place::Again => Ok(template),
        }
    }

    /// As it was written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn needs_salt(&self) -> bool {
        self.has(&Part::Salt)
    }

    /// How many parts it puts together.
    pub(super) fn cost(&self) -> u64 {
        let part = |part: &Part| match part {
            Part::Hex(_, inner) => 1 + inner.cost(),
            Part::Literal(_) | Part::Salt | Part::Password | Part::Previous | Part::PreviousHex => 1,
        };
        self.parts.iter().map(part).sum()
    }

    fn has(&self, wanted: &Part) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Hex(_, inner) => inner.has(wanted),
            Part::Literal(_) | Part::Salt | Part::Password | Part::Previous | Part::PreviousHex => part == wanted,
        })
    }

    /// What it stands for, behind what is in `out` already.
    pub(super) fn fill(&self, words: &Words<'_>, out: &mut Zeroizing<Vec<u8>>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Salt => out.extend_from_slice(words.salt),
                Part::Password => out.extend_from_slice(words.password),
                Part::Previous => out.extend_from_slice(words.previous),
                Part::PreviousHex => out.extend_from_slice(to_hex(words.previous).as_bytes()),
                Part::Hex(algorithm, inner) => {
                    let mut input = Zeroizing::new(Vec::new());
                    inner.fill(words, &mut input);
                    out.extend_from_slice(to_hex(&algorithm.of(&input)).as_bytes());
                }
            }
        }
    }

    /// Up to the end, or up to the brace that closes the digest that this stands in; and what is behind that.
    fn parse(source: &str, depth: usize) -> Result<(Self, &str), TemplateError> {
        if depth > MAX_DEPTH {
            return Err(TemplateError::TooLarge);
        }
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), source);
        while let Some(first) = rest.chars().next() {
            if first == '}' && depth > 0 {
                break;
            }
            if let Some((part, behind)) = Self::word(rest, depth)? {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(part);
                rest = behind;
            } else {
                literal.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let own = source.len() - rest.len();
        let source = source.get(..own).unwrap_or_default().to_owned();
        Ok((Self { parts, source }, rest))
    }

    /// The word that a text begins with, and what is behind it. A brace before a word is a brace, as in Symfony's `{{SALT}}`; one
    /// before letters that are no word is a mistake.
    fn word(text: &str, depth: usize) -> Result<Option<(Part, &str)>, TemplateError> {
        let Some(inside) = text.strip_prefix('{') else { return Ok(None) };
        for (word, part) in [
            ("PASSWORD}", Part::Password),
            ("SALT}", Part::Salt),
            ("DIGEST}", Part::Previous),
            ("HEX}", Part::PreviousHex),
        ] {
            if let Some(behind) = inside.strip_prefix(word) {
                return Ok(Some((part, behind)));
            }
        }
        for algorithm in Algorithm::ALL {
            if let Some(inner) = inside.strip_prefix(algorithm.name()).and_then(|behind| behind.strip_prefix(':')) {
                let (inner, behind) = Self::parse(inner, depth + 1)?;
                let behind = behind.strip_prefix('}').ok_or(TemplateError::Word)?;
                return Ok(Some((Part::Hex(algorithm, inner), behind)));
            }
        }
        let looks_like_a_word = inside.starts_with(|c: char| c.is_ascii_alphabetic());
        if looks_like_a_word { Err(TemplateError::Word) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(source: &str) -> String {
        let words = Words { salt: b"NaCl", password: b"secret", previous: &[1, 255] };
        let mut out = Zeroizing::new(Vec::new());
        let place = if source.contains("{HEX}") { Place::Again } else { Place::First };
        Template::new(source, place).expect("a template").fill(&words, &mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn words_stand_for_their_bytes_and_everything_else_for_itself() {
        assert_eq!(filled("{SALT}{PASSWORD}"), "NaClsecret");
        assert_eq!(filled("{PASSWORD}{{SALT}}"), "secret{NaCl}", "as Symfony merges them");
        assert_eq!(filled("--{PASSWORD}--\u{e9}}"), "--secret--\u{e9}}");
        assert_eq!(filled("{HEX}{PASSWORD}"), "01ffsecret");
        // md5("secret"), and md5(md5("secret")).
        assert_eq!(filled("{md5:{PASSWORD}}:{SALT}"), "5ebe2294ecd0e0f08eab7690d2a6ee69:NaCl");
        assert_eq!(filled("{md5:{md5:{PASSWORD}}}"), "7022cd14c42ff272619d6beacdc9ffde");
    }

    #[test]
    fn a_template_that_would_accept_everybody_or_means_nothing_is_refused() {
        let first = |source: &str| Template::new(source, Place::First).map(|_| ());
        for (source, why) in [
            ("", TemplateError::NoPassword),
            ("{SALT}", TemplateError::NoPassword),
            ("password", TemplateError::NoPassword),
            ("{md5:{SALT}}", TemplateError::NoPassword),
            ("{PASSWORD}{PEPPER}", TemplateError::Word),
            ("{password}", TemplateError::Word),
            ("{md5:{PASSWORD}", TemplateError::Word),
            ("{PASSWORD}{DIGEST}", TemplateError::Word),
        ] {
            assert_eq!(first(source), Err(why), "{source}");
        }
        assert_eq!(first(&"{PASSWORD}".repeat(16)), Ok(()));
        assert_eq!(first(&"{PASSWORD}".repeat(17)), Err(TemplateError::TooLarge));
        assert_eq!(first(&"{md5:".repeat(200)), Err(TemplateError::TooLarge));
        assert_eq!(first(&format!("{}{}", "{PASSWORD}", "x".repeat(300))), Err(TemplateError::TooLarge));
        let again = |source: &str| Template::new(source, Place::Again).map(|_| ());
        assert_eq!(again("{PASSWORD}{SALT}"), Err(TemplateError::NoDigest));
        assert_eq!(again("{DIGEST}"), Ok(()));
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_refused_and_keeps_its_source(text in "(\\{|\\}|\\{PASSWORD\\}|\\{SALT\\}|\\{md5:|\\PC){0,20}") {
            if let Ok(template) = Template::new(&text, Place::First) {
                prop_assert_eq!(template.source(), text.as_str());
                prop_assert!(template.cost() <= MAX_PARTS as u64);
            }
        }
    }
}
