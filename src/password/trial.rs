//! A known password against a stored hash, for people: whether it matches, how long that took, and if it does not, which reading of the
//! hash or of the password would. Called by `authferry hash test` and by an import that demands that some credentials verify.
//!
//! Runs on the caller's thread, in memory of its own; never part of a login.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::arena::{Allowance, Arena};
use super::formats::{self, Declaration, NoAnswer, Terms, Unusable, declare};
use crate::domain::password::{Password, PasswordNormalization};

/// What a trial came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the hash of this password.
    Match,
    /// It is not; what it would be the hash of, or under which reading, if one was found.
    Mismatch(Option<String>),
}

/// A trial without a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// The hash is of no use.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The memory for it could not be had.
    #[error("there is no memory for a hash")]
    OutOfMemory,
}

impl From<NoAnswer> for TrialError {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Unusable(why) => Self::Unusable(why),
            NoAnswer::OutOfMemory => Self::OutOfMemory,
        }
    }
}

/// Tries one password after the other, in the same memory.
pub struct Trial {
    arena: Arena,
    terms: Terms,
}

impl Trial {
    /// Under these terms.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { arena: Arena::new(0, Allowance::new()), terms }
    }

    /// Whether a hash is the hash of a password, under the normalization that its record will have.
    pub fn matches(
        &mut self,
        encoded: &str,
        password: &Password,
        normalization: PasswordNormalization,
    ) -> Result<bool, TrialError> {
        let bytes = password.normalized(normalization);
        Ok(formats::verify(encoded, &bytes, &self.terms, &mut self.arena)?)
    }

    /// The same, and after a mismatch what would have matched: some ten hashes more, and for salted digests some dozens.
    pub fn explain(
        &mut self,
        encoded: &str,
        password: &Password,
        normalization: PasswordNormalization,
    ) -> Result<Verdict, TrialError> {
        if self.matches(encoded, password, normalization)? {
            return Ok(Verdict::Match);
        }
        for (told, bytes) in variants(password, normalization) {
            if formats::verify(encoded, &bytes, &self.terms, &mut self.arena)? {
                return Ok(Verdict::Mismatch(Some(told.into_owned())));
            }
        }
        let bytes = password.normalized(normalization);
        Ok(Verdict::Mismatch(formats::nearby(encoded, &bytes, &self.terms, &mut self.arena)?))
    }

    /// What a bare digest would have to be declared as, so that it is the hash of this password; none if nothing usual makes it so.
    pub fn guess(&mut self, bare: &str, salt: Option<&[u8]>, password: &Password) -> Option<String> {
        for template in ["{SALT}{PASSWORD}", "{PASSWORD}"] {
            let Ok(declared) = Declaration::new(template).and_then(|how| declare(bare, salt, &how)) else { continue };
            match self.explain(&declared, password, PasswordNormalization::None) {
                Ok(Verdict::Match) => return Some(format!("say --hash-template '{template}'")),
                Ok(Verdict::Mismatch(Some(advice))) => return Some(advice),
                Ok(Verdict::Mismatch(None)) | Err(_) => {}
            }
        }
        None
    }
}

/// What software makes of a password before it hashes it, each in the words of what to do about it.
fn variants(password: &Password, used: PasswordNormalization) -> Vec<(Cow<'static, str>, Zeroizing<Vec<u8>>)> {
    let typed = password.expose();
    let mut variants: Vec<(Cow<'static, str>, Zeroizing<Vec<u8>>)> = Vec::new();
    for (normalization, name) in [
        (PasswordNormalization::None, "none"),
        (PasswordNormalization::Nfc, "nfc"),
        (PasswordNormalization::Nfkc, "nfkc"),
    ] {
        let told = format!("if passwords are normalized: password.normalize = \"{name}\"");
        variants.push((told.into(), password.normalized(normalization)));
    }
    let text = |text: String| Zeroizing::new(Zeroizing::new(text).as_bytes().to_vec());
    let mut add = |told: &'static str, bytes: Zeroizing<Vec<u8>>| variants.push((told.into(), bytes));
    add("if the password is trimmed first (WordPress does)", text(typed.trim().to_owned()));
    add("if the password ends in a line feed, as `echo` writes one", text(format!("{typed}\n")));
    add("if the password is made lower-case first", text(typed.to_lowercase()));
    add("if the password is made upper-case first", text(typed.to_uppercase()));
    add("if the password ends at its first NUL byte", text(typed.split('\0').next().unwrap_or_default().to_owned()));
    let latin: Option<Vec<u8>> = typed.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    if let Some(latin) = latin {
        add("if the password is in Latin-1, which is not supported", Zeroizing::new(latin));
    }
    let utf16 = typed.encode_utf16().flat_map(u16::to_le_bytes).collect();
    add("if the password is in UTF-16, which is not supported", Zeroizing::new(utf16));
    add("if nothing was hashed: it is the hash of the empty password", Zeroizing::default());
    let own = password.normalized(used);
    variants.retain(|(_, bytes)| *bytes != own);
    variants
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(typed: &str) -> Password {
        Password::new(Zeroizing::new(typed.to_owned())).expect("a valid password")
    }

    fn explained(encoded: &str, typed: &str) -> Result<Verdict, TrialError> {
        Trial::new(Terms::default()).explain(encoded, &password(typed), PasswordNormalization::None)
    }

    fn advice(encoded: &str, typed: &str) -> String {
        match explained(encoded, typed) {
            Ok(Verdict::Mismatch(Some(advice))) => advice,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_template_in_the_wrong_order_is_found_out() {
        // hashcat's examples, declared wrongly.
        let wrong = |bare: &str, template: &str| {
            declare(bare, None, &Declaration::new(template).expect("a template")).expect("a digest")
        };
        let appended = wrong("01dfae6e5d4d90d9892622325959afbe:7050461", "{SALT}{PASSWORD}");
        assert_eq!(advice(&appended, "hashcat"), "if the salt is appended: --hash-template 'md5:{PASSWORD}{SALT}'");
        let first = wrong("f0fda58630310a6dd91a7d8f0a4ceda2:4225637426", "{PASSWORD}{SALT}");
        assert_eq!(advice(&first, "hashcat"), "if the salt comes first: --hash-template 'md5:{SALT}{PASSWORD}'");
        let forum = wrong("16780ba78d2d5f02f3202901c1b6d975:568", "{SALT}{PASSWORD}");
        assert!(advice(&forum, "hashcat").contains("vBulletin"));
        let hmac = wrong("bfd280436f45fa38eaacac3b00518f29:1234", "{SALT}{PASSWORD}");
        assert!(advice(&hmac, "hashcat").contains("HMAC whose key is the salt"));
        assert_eq!(explained(&first, "another"), Ok(Verdict::Mismatch(None)));
    }

    #[test]
    fn what_was_done_to_the_password_is_found_out() {
        let sha = |text: &str| {
            use base64::Engine as _;
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
            format!("{{SHA256}}{}", base64::engine::general_purpose::STANDARD.encode(digest.as_ref()))
        };
        for (hashed, typed, part) in [
            ("secret", " secret ", "trimmed"),
            ("secret\n", "secret", "line feed"),
            ("secret", "Secret", "lower-case"),
            ("SECRET", "secret", "upper-case"),
            ("fish", "\u{fb01}sh", "normalize = \"nfkc\""),
            ("\u{e9}", "e\u{301}", "normalize = \"nfc\""),
            ("before", "before\0after", "NUL"),
            ("", "secret", "empty password"),
        ] {
            let advice = advice(&sha(hashed), typed);
            assert!(advice.contains(part), "{typed:?}: {advice}");
        }
        assert_eq!(explained(&sha("secret"), "secret"), Ok(Verdict::Match));
        assert_eq!(explained(&sha("secret"), "another"), Ok(Verdict::Mismatch(None)));
    }

    #[test]
    fn a_bare_digest_is_guessed_by_its_password() {
        let guessed = |bare: &str, typed: &str| Trial::new(Terms::default()).guess(bare, None, &password(typed));
        assert_eq!(
            guessed("8743b52063cd84097a65d1633f5c74f5", "hashcat"),
            Some("say --hash-template '{PASSWORD}'".to_owned())
        );
        let forum = guessed("8d2129083ef35f4b365d5d87487e1207:47204", "hashcat").unwrap_or_default();
        assert!(forum.contains("'md5:{md5:{SALT}}{md5:{PASSWORD}}'"), "{forum}");
        assert_eq!(guessed("8743b52063cd84097a65d1633f5c74f5", "another"), None);
        assert_eq!(guessed("nonsense", "another"), None);
    }

    #[test]
    fn a_hash_that_cannot_be_used_has_no_verdict() {
        assert_eq!(explained("nonsense", "x"), Err(TrialError::Unusable(Unusable::UnknownFormat)));
    }
}
