//! Hashes that do not say what they are: bare digests, with the salt behind a colon, in a column of its own, or nowhere. What they are an
//! operator has to tell (`--hash-template`), and then they are written in the one text that [`super`] describes.

use zeroize::Zeroizing;

use super::digest::Algorithm;
use super::salted::Salted;
use super::template::{Place, Template, TemplateError};
use super::text::{self, EITHER, HexCase};
use super::{MAX_ENCODED_BYTES, Scheme as _, aspnet};

/// What an operator says of bare hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum How {
    AspNet,
    Digest { algorithm: Option<Algorithm>, template: Template, iterations: u64, again: Option<String> },
}

/// Why a bare hash cannot be taken for what it was declared to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// The template is none.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// No digest is of this length, or the one that was told is not.
    #[error("a bare hash is a digest in hex or base64: of 16, 20, 28, 32, 48 or 64 bytes, as the algorithm has it")]
    Digest,
    /// What stands before the template is no algorithm.
    #[error("before the template stands nothing, or an algorithm: `md5:`, or `sha256,it=1000:`")]
    Algorithm,
    /// The template asks for a salt.
    #[error("the template has {{SALT}}, and there is no salt: neither told nor behind a colon")]
    NoSalt,
    /// The template has no place for it.
    #[error("there is a salt, and the template has no {{SALT}}")]
    UnusedSalt,
}

/// Templates by the name of who uses them.
const NAMED: &[(&str, &str, Option<&str>)] = &[
    ("vbulletin", "md5:{md5:{PASSWORD}}{SALT}", None),
    ("mybb", "md5:{md5:{SALT}}{md5:{PASSWORD}}", None),
    ("ipb", "md5:{md5:{SALT}}{md5:{PASSWORD}}", None),
    ("smf", "sha1:{SALT}{PASSWORD}", None),
    ("joomla", "md5:{PASSWORD}{SALT}", None),
    ("mysql", "sha1,it=2:{PASSWORD}", None),
    ("symfony", "sha512,it=5000:{PASSWORD}{{SALT}}", Some("{DIGEST}{PASSWORD}{{SALT}}")),
];

impl Declaration {
    /// From what follows `--hash-template`: a template, with the algorithm before it or without (`md5:{SALT}{PASSWORD}`), or the name of a
    /// product that has one.
    pub fn new(template: &str) -> Result<Self, DeclarationError> {
        if template == "aspnet" {
            return Ok(Self { how: How::AspNet });
        }
        let named = NAMED.iter().find(|(name, ..)| *name == template);
        let (text, again) = named.map_or((template, None), |(_, text, again)| (*text, *again));
        let (head, source) = match text.split_once(':') {
            Some((head, source)) if !head.contains('{') => (Some(head), source),
            Some(_) | None => (None, text),
        };
        let (algorithm, iterations) =
            head.map_or(Ok((None, 1)), |head| algorithm(head).ok_or(DeclarationError::Algorithm))?;
        let template = Template::new(source, Place::First)?;
        Ok(Self { how: How::Digest { algorithm, template, iterations, again: again.map(str::to_owned) } })
    }

    /// The names that [`Self::new`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, ..)| *name).chain(["aspnet"])
    }
}

/// `md5`, or `md5,it=1000`.
fn algorithm(head: &str) -> Option<(Option<Algorithm>, u64)> {
    let (name, iterations) = match head.split_once(",it=") {
        Some((name, number)) => (name, text::number(number).filter(|number| *number > 0)?),
        None => (head, 1),
    };
    Some((Some(Algorithm::named(name)?), iterations))
}

/// A bare hash as one text. The salt, where the template wants one, is told, or stands behind a colon: `hash:salt`.
pub fn declare(bare: &str, salt: Option<&[u8]>, how: &Declaration) -> Result<Zeroizing<String>, DeclarationError> {
    if bare.len() > MAX_ENCODED_BYTES {
        return Err(DeclarationError::Digest);
    }
    let (told, template, iterations, again) = match &how.how {
        How::AspNet => return Ok(Zeroizing::new(format!("{}{bare}", aspnet::PREFIX))),
        How::Digest { algorithm, template, iterations, again } => (*algorithm, template, *iterations, again.as_deref()),
    };
    let (hash, salt) = match (salt, bare.split_once(':')) {
        (Some(salt), _) => (bare, salt),
        (None, Some((hash, salt))) => (hash, salt.as_bytes()),
        (None, None) => (bare, &[][..]),
    };
    match (template.needs_salt(), salt.is_empty()) {
        (true, true) => return Err(DeclarationError::NoSalt),
        (false, false) => return Err(DeclarationError::UnusedSalt),
        (true, false) | (false, true) => {}
    }
    let digest = bytes(hash).ok_or(DeclarationError::Digest)?;
    let algorithm = Algorithm::of_len(digest.len()).filter(|algorithm| told.is_none_or(|told| told == *algorithm));
    let algorithm = algorithm.ok_or(DeclarationError::Digest)?;
    // A template that was read is read again, and none of the products above repeats by a wrong one.
    let salted = Salted::with(algorithm, template.clone(), salt).and_then(|salted| salted.repeated(iterations, again));
    Ok(salted.map_err(|_| TemplateError::NoDigest)?.encode(&digest))
}

/// The bytes of a digest: in hex of either case, or in base64.
pub(super) fn bytes(written: &str) -> Option<Zeroizing<Vec<u8>>> {
    text::hex(written, HexCase::Any).or_else(|| text::base64(written, &EITHER))
}

#[cfg(test)]
mod tests {
    use super::super::tests::matches;
    use super::*;

    fn declared(bare: &str, salt: Option<&[u8]>, template: &str) -> Result<Zeroizing<String>, DeclarationError> {
        declare(bare, salt, &Declaration::new(template)?)
    }

    #[test]
    fn a_bare_digest_is_read_in_hex_of_either_case_and_in_base64() {
        for bare in [
            "098f6bcd4621d373cade4e832627b4f6",
            "098F6BCD4621D373CADE4E832627B4F6",
            "CY9rzUYh03PK3k6DJie09g==",
            "CY9rzUYh03PK3k6DJie09g",
        ] {
            let encoded = declared(bare, None, "{PASSWORD}").expect("a digest");
            assert_eq!(matches(&encoded, b"test"), Ok(true), "{bare}");
        }
    }

    #[test]
    fn a_salt_is_told_or_stands_behind_a_colon() {
        // hashcat's example of md5($salt.$pass).
        let (hash, salt) = ("f0fda58630310a6dd91a7d8f0a4ceda2", "4225637426");
        let told = declared(hash, Some(salt.as_bytes()), "{SALT}{PASSWORD}").expect("a digest");
        let behind = declared(&format!("{hash}:{salt}"), None, "{SALT}{PASSWORD}").expect("a digest");
        assert_eq!(*told, *behind);
        assert_eq!(matches(&told, b"hashcat"), Ok(true));
        assert_eq!(declared(hash, None, "{SALT}{PASSWORD}"), Err(DeclarationError::NoSalt));
        assert_eq!(declared(hash, Some(b"x"), "{PASSWORD}"), Err(DeclarationError::UnusedSalt));
    }

    #[test]
    fn symfonys_digests_are_repeated_with_what_was_merged() {
        // MessageDigestPasswordEncoder with SHA-512, 5,000 iterations, in base64: computed by its formula with Python's hashlib.
        let encoded = declared(
            "Ici2oEinNiWxg/HSr6xHOoeyi2CTvBXSaoT033ptIGC1LEgCtXnBqCE4Ac7V16+Hi4BuIyjITHdaZ1zugQbP0g==",
            Some(b"salt"),
            "symfony",
        );
        let encoded = encoded.expect("a digest");
        assert!(encoded.starts_with("$sha512$pf="), "{}", *encoded);
        assert_eq!(matches(&encoded, b"pass"), Ok(true));
        assert_eq!(matches(&encoded, b"nobody's"), Ok(false));
    }

    #[test]
    fn what_is_no_digest_or_no_template_is_refused() {
        for bare in ["", "xyz", "098f6bcd", "098f6bcd4621d373cade4e832627b4", &"ab".repeat(2_049)] {
            assert_eq!(declared(bare, None, "{PASSWORD}"), Err(DeclarationError::Digest), "{bare}");
        }
        assert_eq!(declared("x", None, "{SALT}"), Err(TemplateError::NoPassword.into()));
        let md5 = "098f6bcd4621d373cade4e832627b4f6";
        assert!(declared(md5, None, "md5:{PASSWORD}").is_ok());
        assert!(declared(md5, None, "md5,it=3:{PASSWORD}").is_ok());
        assert_eq!(declared(md5, None, "sha1:{PASSWORD}"), Err(DeclarationError::Digest));
        for head in ["md4", "md5,it=0", "md5,it=x", "", "md5,"] {
            let refused = declared(md5, None, &format!("{head}:{{PASSWORD}}"));
            assert_eq!(refused, Err(DeclarationError::Algorithm), "{head}");
        }
        for name in Declaration::names() {
            assert!(Declaration::new(name).is_ok(), "{name}");
        }
    }
}
