//! What a hash looks like that no format claims: a guess in words, for whoever has to tell us what it is. Never the hash itself.

use super::digest::Algorithm;
use super::text::{self, EITHER, HexCase};

/// What such a text is probably, and what to do about it. None where there is nothing to guess by.
#[must_use]
pub fn hint(encoded: &str) -> Option<String> {
    if encoded.trim() != encoded {
        return Some("there is white space around it".to_owned());
    }
    if let Some(known) = STARTS.iter().find(|(start, _)| encoded.starts_with(start)) {
        return Some(known.1.to_owned());
    }
    if let Some((hash, salt)) = encoded.split_once(':') {
        let algorithm = text::hex(hash, HexCase::Any).and_then(|hash| Algorithm::of_len(hash.len()))?;
        let (name, bytes) = (algorithm.name(), salt.len());
        return Some(format!(
            "it looks like {name} with a salt of {bytes} characters: say --hash-template '{{SALT}}{{PASSWORD}}', '{{PASSWORD}}{{SALT}}', \
             vbulletin, mybb, ..."
        ));
    }
    if let Some(digest) = text::hex(encoded, HexCase::Any) {
        let algorithm = Algorithm::of_len(digest.len())?;
        let (name, digits) = (algorithm.name(), encoded.len());
        let or = if algorithm == Algorithm::Md5 { " or NTLM" } else { "" };
        return Some(format!(
            "it looks like {name}{or} without a salt ({digits} hex digits): say --hash-template '{{PASSWORD}}', or with a salt \
             '{{SALT}}{{PASSWORD}}'"
        ));
    }
    if encoded.starts_with("AQAAAA") || (encoded.starts_with('A') && encoded.len() == 68) {
        return Some("it looks like ASP.NET Identity: say --hash-template aspnet".to_owned());
    }
    if encoded.len() == 13 && encoded.bytes().all(|digit| text::itoa64_value(digit).is_some()) {
        return Some(
            "it looks like crypt(3) with DES, which is not verified: its users keep being asked for at legacy"
                .to_owned(),
        );
    }
    let digest = text::base64(encoded, &EITHER)?;
    let algorithm = Algorithm::of_len(digest.len())?;
    Some(format!("it looks like {} in base64: say --hash-template '{{PASSWORD}}', or with a salt", algorithm.name()))
}

/// Whether it is a digest and nothing else, or one with a salt behind a colon.
#[must_use]
pub fn is_bare_digest(text: &str) -> bool {
    let hash = text.split_once(':').map_or(text, |(hash, _)| hash);
    super::declared::bytes(hash).is_some_and(|digest| Algorithm::of_len(digest.len()).is_some())
}

/// Texts that are told by their beginning.
const STARTS: [(&str, &str); 12] = [
    ("$y$", "it is yescrypt of crypt(3), which is not verified"),
    ("$gy$", "it is gost-yescrypt of crypt(3), which is not verified"),
    ("$7$", "it is scrypt of crypt(3), which is not verified"),
    ("$3$", "it is NT of crypt(3), which is not verified"),
    ("$argon2", "it is a kind of Argon2 that there is not"),
    ("$2$", "it is bcrypt of the first version, which is not verified"),
    ("!", "it is a password that cannot be used: Django and Unix lock accounts in this way"),
    ("SCRAM-", "it is SCRAM, which is not verified"),
    ("{CLEAR", "it is a password in the clear: hash it first"),
    ("{PLAIN", "it is a password in the clear: hash it first"),
    ("{CRYPT}", "it is a kind of crypt(3) that is not verified"),
    ("*", "it looks like MySQL's PASSWORD(): leave the star out, and say --hash-template mysql"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_says_what_to_do() {
        for (encoded, part) in [
            ("098f6bcd4621d373cade4e832627b4f6", "md5 or NTLM without a salt (32 hex digits): say --hash-template"),
            ("B89EAAC7E61417341B710B727768294D0E6A277B", "sha1 without a salt"),
            ("098f6bcd4621d373cade4e832627b4f6:ab", "md5 with a salt of 2 characters"),
            ("AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==", "aspnet"),
            ("*85ADE5DDF71E348162894C71D73324C043838751", "mysql"),
            ("rEK1ecacw.7.c", "DES"),
            ("n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=", "sha256 in base64"),
            (" $2b$04$x", "white space"),
            ("!kjsdf", "cannot be used"),
        ] {
            let hint = hint(encoded).unwrap_or_default();
            assert!(hint.contains(part), "{encoded}: {hint}");
            assert!(!hint.contains(encoded));
        }
        for other in ["", "$", "password", "098f6bcd", "098f6bcd:salt"] {
            assert_eq!(hint(other), None, "{other}");
        }
    }
}
