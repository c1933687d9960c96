//! MediaWiki's own texts: `:pbkdf2:…`, and `:A:` and `:B:` of its first years.

use super::digest::Algorithm;
use super::pbkdf2::{Pbkdf2, Spelling};
use super::salted::Salted;
use super::text::{self, HexCase, PADDED};
use super::{About, Format, Stored, Terms, Unusable, Wraps};

pub(super) const PBKDF2: Format = Format {
    about: About {
        name: "mediawiki-pbkdf2",
        made_by: "MediaWiki",
        shape: ":pbkdf2:sha512:30000:64:SALT:HASH",
        bounded_by: "pbkdf2_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| encoded.starts_with(":pbkdf2:"),
    read: |encoded, terms| {
        let [_, _, prf, iterations, bytes, salt, hash] = text::fields(encoded, ':').ok_or(Unusable::Malformed)?;
        let prf = Algorithm::named(prf).ok_or(Unusable::Malformed)?;
        let decoded = text::base64(salt, &PADDED).zip(text::base64(hash, &PADDED));
        let (salt, hash) = decoded.ok_or(Unusable::Malformed)?;
        if text::number(bytes) != Some(hash.len() as u64) {
            return Err(Unusable::Malformed);
        }
        Pbkdf2::new(prf, text::number(iterations), &salt, Spelling::MediaWiki)?.stored(&hash, terms)
    },
};

pub(super) const MD5: Format = Format {
    about: About {
        name: "mediawiki-md5",
        made_by: "MediaWiki before 1.24",
        shape: ":B:SALT:HEX, :A:HEX",
        bounded_by: "",
        wraps: Wraps::Always,
    },
    claims: |encoded| encoded.starts_with(":A:") || encoded.starts_with(":B:"),
    read: read_md5,
};

fn read_md5(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let (template, salt, hash) = match (text::fields(encoded, ':'), text::fields(encoded, ':')) {
        (Some([_, "A", hash]), _) => ("{PASSWORD}", "", hash),
        (_, Some([_, "B", salt, hash])) => ("{SALT}-{md5:{PASSWORD}}", salt, hash),
        _ => return Err(Unusable::Malformed),
    };
    let hash = text::hex(hash, HexCase::Lower).ok_or(Unusable::Malformed)?;
    Salted::new(Algorithm::Md5, template, salt.as_bytes())?.stored(&hash, terms)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, matches};

    #[test]
    fn r53_malformed_hashes_are_unusable() {
        for encoded in [
            ":A:",
            ":A:salt:098f6bcd4621d373cade4e832627b4f6",
            ":A:098F6BCD4621D373CADE4E832627B4F6",
            ":B:098f6bcd4621d373cade4e832627b4f6",
            ":B:salt:098f6bcd4621d373cade4e832627b4f6:",
            ":pbkdf2:sha512:30000:64:c2FsdA==:CY9rzUYh03PK3k6DJie09g==",
            ":pbkdf2:md5:30000:16:c2FsdA==:CY9rzUYh03PK3k6DJie09g==",
            ":pbkdf2:sha512:30000:16:c2FsdA:CY9rzUYh03PK3k6DJie09g==",
        ] {
            assert_eq!(matches(encoded, b"x"), MALFORMED, "{encoded}");
        }
        assert_eq!(matches(":A:098f6bcd4621d373cade4e832627b4f6", b"test"), Ok(true));
    }
}
