//! A password as the client typed it: bytes that are never trimmed, cased, cut, printed or copied around.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The longest password that is looked at, in bytes (OWASP ASVS 6.2.9 asks for at least 64 characters; a cap keeps the
/// hash's input, and so its cost, bounded).
pub const MAX_PASSWORD_BYTES: usize = 1_024;

/// A password in memory, overwritten when dropped. It has no `Debug`, `Display`, `Serialize`, `Clone` or `PartialEq`.
pub struct Password(Zeroizing<String>);

/// Why a string cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPassword {
    /// Nothing was typed.
    #[error("the password is empty")]
    Empty,
    /// More than [`MAX_PASSWORD_BYTES`].
    #[error("the password is longer than {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
}

impl Password {
    /// Takes the typed password over; the caller's copy is the one kept.
    pub fn new(typed: Zeroizing<String>) -> Result<Self, InvalidPassword> {
        match typed.len() {
            0 => Err(InvalidPassword::Empty),
            1..=MAX_PASSWORD_BYTES => Ok(Self(typed)),
            _ => Err(InvalidPassword::TooLong),
        }
    }

    /// The bytes that are hashed when no normalization is configured, and that legacy is sent.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The bytes that are hashed under the given normalization.
    #[must_use]
    pub fn normalized(&self, normalization: PasswordNormalization) -> Zeroizing<Vec<u8>> {
        match normalization {
            PasswordNormalization::None => Zeroizing::new(self.0.as_bytes().to_vec()),
            PasswordNormalization::Nfc => collect_bounded(self.0.nfc()),
            PasswordNormalization::Nfkc => collect_bounded(self.0.nfkc()),
        }
    }

    /// How many characters a person would count, for the length policy of new passwords.
    #[must_use]
    pub fn chars(&self) -> usize {
        self.0.chars().count()
    }
}

/// NFKC makes one character into at most 18 (UAX 15, section 9); reserving for that keeps the buffer from moving, and so from
/// leaving copies behind.
fn collect_bounded(chars: impl Iterator<Item = char>) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD_BYTES * 18));
    let mut utf8 = [0_u8; 4];
    for char in chars {
        bytes.extend_from_slice(char.encode_utf8(&mut utf8).as_bytes());
    }
    bytes
}

/// What legacy does to a password before it hashes it. Chosen once per deployment, kept in each record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PasswordNormalization {
    /// The bytes as they came: most backends.
    #[default]
    None,
    /// Unicode NFC.
    Nfc,
    /// Unicode NFKC, as Django's own password fields do.
    Nfkc,
}

/// What a new password has to satisfy: at registration and change, never at a login or a migration (R51).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// In characters.
    pub min_length: usize,
}

/// A new password that the policy refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password needs at least {min_length} characters")]
pub struct TooWeak {
    /// What it would have needed, in characters.
    pub min_length: usize,
}

impl PasswordPolicy {
    /// Whether a new password may be taken.
    pub fn check(self, password: &Password) -> Result<(), TooWeak> {
        if password.chars() >= self.min_length { Ok(()) } else { Err(TooWeak { min_length: self.min_length }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(typed: &str) -> Password {
        Password::new(Zeroizing::new(typed.to_owned())).expect("a valid password")
    }

    #[test]
    fn r49_the_cap_is_exact_to_the_byte() {
        let of = |bytes: usize| Password::new(Zeroizing::new("x".repeat(bytes))).map(|_| ());
        assert_eq!(of(0), Err(InvalidPassword::Empty));
        for accepted in [1, 64, 71, 72, 73, 1_023, 1_024] {
            assert_eq!(of(accepted), Ok(()), "{accepted} bytes");
        }
        assert_eq!(of(1_025), Err(InvalidPassword::TooLong));
    }

    #[test]
    fn r48_bytes_are_kept_as_typed() {
        let typed = "  Tr\u{e9}s Secret\t\u{0}e\u{301} ";
        assert_eq!(password(typed).normalized(PasswordNormalization::None).as_slice(), typed.as_bytes());
    }

    #[test]
    fn r50_normalization_makes_equal_what_the_configured_form_makes_equal() {
        let (composed, decomposed, ligature) = ("\u{e9}", "e\u{301}", "\u{fb01}");
        let bytes = |typed, form| password(typed).normalized(form).to_vec();
        assert_ne!(bytes(composed, PasswordNormalization::None), bytes(decomposed, PasswordNormalization::None));
        assert_eq!(bytes(composed, PasswordNormalization::Nfc), bytes(decomposed, PasswordNormalization::Nfc));
        assert_ne!(bytes(ligature, PasswordNormalization::Nfc), b"fi".to_vec());
        assert_eq!(bytes(ligature, PasswordNormalization::Nfkc), b"fi".to_vec());
    }

    #[test]
    fn r51_the_policy_counts_characters_not_bytes() {
        let policy = PasswordPolicy { min_length: 8 };
        assert!(policy.check(&password("1234567")).is_err());
        assert!(policy.check(&password("12345678")).is_ok());
        assert!(policy.check(&password("\u{e9}\u{e9}\u{e9}\u{e9}")).is_err());
    }
}
