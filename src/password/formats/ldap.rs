//! `userPassword` values of LDAP directories (RFC 2307, section 5.3, and what OpenLDAP and 389 added): `{SSHA}` and its kin, and
//! `{CRYPT}`. Names of schemes are compared without case, as directories do.

use super::digest::Algorithm;
use super::salted::Salted;
use super::text::{self, PADDED};
use super::{About, Format, Stored, Terms, Unusable, Wraps, argon2, bcrypt, crypt, read_inner};

pub(super) const DIGEST: Format = Format {
    about: About {
        name: "ldap",
        made_by: "OpenLDAP, 389, Active Directory LDS, Dovecot",
        shape: "{SSHA}BASE64; SHA, SSHA256, SSHA384, SSHA512, MD5, SMD5 too",
        bounded_by: "",
        wraps: Wraps::Always,
    },
    claims: |encoded| scheme(encoded).is_some_and(|(name, _)| digest_of(&name).is_some()),
    read: |encoded, terms| {
        let (name, rest) = scheme(encoded).ok_or(Unusable::Malformed)?;
        let (algorithm, is_salted) = digest_of(&name).ok_or(Unusable::Malformed)?;
        let bytes = text::base64(rest, &PADDED).ok_or(Unusable::Malformed)?;
        let (digest, salt) = bytes.split_at_checked(algorithm.output_len()).ok_or(Unusable::Malformed)?;
        if salt.is_empty() == is_salted {
            return Err(Unusable::Malformed);
        }
        Salted::new(algorithm, if is_salted { "{PASSWORD}{SALT}" } else { "{PASSWORD}" }, salt)?.stored(digest, terms)
    },
};

pub(super) const CRYPT: Format = Format {
    about: About {
        name: "ldap-crypt",
        made_by: "OpenLDAP, 389, Dovecot (`{BLF-CRYPT}`, `{SHA512-CRYPT}`, `{ARGON2ID}`)",
        shape: "{CRYPT}$6$…",
        bounded_by: "as what is within",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| scheme(encoded).is_some_and(|(name, _)| CRYPT_NAMES.contains(&name.as_str())),
    read: read_crypt,
};

const CRYPT_NAMES: [&str; 9] =
    ["CRYPT", "BCRYPT", "BLF-CRYPT", "MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "ARGON2", "ARGON2I", "ARGON2ID"];

/// The scheme's name in capitals, and what is behind it.
fn scheme(encoded: &str) -> Option<(String, &str)> {
    let (name, rest) = encoded.strip_prefix('{')?.split_once('}')?;
    (name.len() <= 16).then(|| (name.to_ascii_uppercase(), rest))
}

/// A digest, and whether a salt is behind it.
fn digest_of(name: &str) -> Option<(Algorithm, bool)> {
    match name {
        "MD5" => Some((Algorithm::Md5, false)),
        "SMD5" => Some((Algorithm::Md5, true)),
        "SHA" => Some((Algorithm::Sha1, false)),
        "SSHA" => Some((Algorithm::Sha1, true)),
        "SHA256" => Some((Algorithm::Sha256, false)),
        "SSHA256" => Some((Algorithm::Sha256, true)),
        "SHA384" => Some((Algorithm::Sha384, false)),
        "SSHA384" => Some((Algorithm::Sha384, true)),
        "SHA512" => Some((Algorithm::Sha512, false)),
        "SSHA512" => Some((Algorithm::Sha512, true)),
        _ => None,
    }
}

fn read_crypt(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let (name, rest) = scheme(encoded).ok_or(Unusable::Malformed)?;
    let formats: &[&Format] = match name.as_str() {
        "CRYPT" => &[&crypt::MD5_CRYPT, &crypt::SHA_CRYPT, &bcrypt::BCRYPT],
        "BCRYPT" | "BLF-CRYPT" => &[&bcrypt::BCRYPT],
        "MD5-CRYPT" => &[&crypt::MD5_CRYPT],
        "SHA256-CRYPT" | "SHA512-CRYPT" => &[&crypt::SHA_CRYPT],
        _ => &[&argon2::ARGON2],
    };
    read_inner(rest, terms, formats)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, matches};

    #[test]
    fn values_of_directories_verify_whatever_the_case_of_their_scheme() {
        // RFC 2307's form of sha1("test"), and of md5("test").
        for encoded in
            ["{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "{sha}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "{MD5}CY9rzUYh03PK3k6DJie09g=="]
        {
            assert_eq!(matches(encoded, b"test"), Ok(true), "{encoded}");
            assert_eq!(matches(encoded, b"tess"), Ok(false), "{encoded}");
        }
    }

    #[test]
    fn r53_a_salt_is_there_just_where_the_scheme_says_so() {
        for encoded in [
            "{SSHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
            "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9Nhb2E=",
            "{SHA}CY9rzUYh03PK3k6DJie09g==",
            "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M",
            "{SHA} qUqP5cyxm6YcTAhz05Hph5gvu9M=",
            "{CRYPT}qUqP5cyxm6",
            "{CRYPT}",
            "{BLF-CRYPT}$6$salt$hash",
        ] {
            assert_eq!(matches(encoded, b"test"), MALFORMED, "{encoded}");
        }
    }
}
