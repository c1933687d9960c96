//! PBKDF2 (RFC 8018, section 5.2) in the spellings of passlib, Ory Kratos, Django, werkzeug and OpenLDAP. MediaWiki's and ASP.NET's
//! end here as well. Computed by AWS-LC.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base64::engine::GeneralPurpose;
use zeroize::Zeroizing;

use super::digest::Algorithm;
use super::salted::other_salts;
use super::text::{self, ADAPTED, HexCase, PADDED, UNPADDED};
use super::{
    About, Arena, Format, MAX_DIGEST_BYTES, MIN_DIGEST_BYTES, NoAnswer, Scheme, Stored, Strength, Terms, Unusable,
    Wraps, within,
};

pub(super) const PHC: Format = Format {
    about: About {
        name: "pbkdf2",
        made_by: "passlib; Ory Kratos; Keycloak's, as we write them",
        shape: "$pbkdf2-sha256$i=27500,l=64$SALT$HASH, $pbkdf2-sha256$29000$SALT$HASH",
        bounded_by: "pbkdf2_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| encoded.starts_with("$pbkdf2-") || encoded.starts_with("$pbkdf2$"),
    read: read_phc,
};

pub(super) const DJANGO: Format = Format {
    about: About {
        name: "django-pbkdf2",
        made_by: "Django",
        shape: "pbkdf2_sha256$1000000$SALT$HASH",
        bounded_by: "pbkdf2_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| encoded.starts_with("pbkdf2_"),
    read: |encoded, terms| {
        let [name, iterations, salt, hash] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
        let prf = match name {
            "pbkdf2_sha256" => Algorithm::Sha256,
            "pbkdf2_sha1" => Algorithm::Sha1,
            _ => return Err(Unusable::Malformed),
        };
        let hash = text::base64(hash, &PADDED).ok_or(Unusable::Malformed)?;
        with_text_salt(prf, iterations, salt, Spelling::Django)?.whole(&hash, terms)
    },
};

pub(super) const WERKZEUG: Format = Format {
    about: About {
        name: "werkzeug-pbkdf2",
        made_by: "werkzeug (Flask)",
        shape: "pbkdf2:sha256:1000000$SALT$HEX",
        bounded_by: "pbkdf2_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| encoded.starts_with("pbkdf2:"),
    read: |encoded, terms| {
        let [method, salt, hash] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
        let [_, prf, iterations] = text::fields(method, ':').ok_or(Unusable::Malformed)?;
        let prf = Algorithm::named(prf).ok_or(Unusable::Malformed)?;
        let hash = text::hex(hash, HexCase::Lower).ok_or(Unusable::Malformed)?;
        with_text_salt(prf, iterations, salt, Spelling::Werkzeug)?.whole(&hash, terms)
    },
};

pub(super) const LDAP: Format = Format {
    about: About {
        name: "ldap-pbkdf2",
        made_by: "OpenLDAP's pw-pbkdf2; passlib",
        shape: "{PBKDF2-SHA256}10000$SALT$HASH",
        bounded_by: "pbkdf2_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| encoded.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("{PBKDF2")),
    read: |encoded, terms| {
        let (name, rest) = encoded.split_once('}').ok_or(Unusable::Malformed)?;
        let prf = match name.to_ascii_uppercase().as_str() {
            "{PBKDF2" | "{PBKDF2-SHA1" => Algorithm::Sha1,
            "{PBKDF2-SHA256" => Algorithm::Sha256,
            "{PBKDF2-SHA512" => Algorithm::Sha512,
            _ => return Err(Unusable::Malformed),
        };
        let [iterations, salt, hash] = text::fields(rest, '$').ok_or(Unusable::Malformed)?;
        let (salt, hash) = both(salt, hash, &ADAPTED)?;
        Pbkdf2::new(prf, text::number(iterations), &salt, Spelling::Ldap)?.whole(&hash, terms)
    },
};

/// Which product's text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Passlib,
    Phc,
    /// The same without the length.
    PhcShort,
    Django,
    Werkzeug,
    Ldap,
    MediaWiki,
    AspNetV2,
    AspNetV3,
}

#[derive(Clone)]
pub(super) struct Pbkdf2 {
    prf: Algorithm,
    iterations: NonZeroU32,
    salt: Zeroizing<Vec<u8>>,
    bytes: usize,
    spelling: Spelling,
}

impl Pbkdf2 {
    /// Without a length yet. `iterations` is what the text has, if it has a number.
    pub(super) fn new(
        prf: Algorithm,
        iterations: Option<u64>,
        salt: &[u8],
        spelling: Spelling,
    ) -> Result<Self, Unusable> {
        let iterations = iterations.filter(|iterations| *iterations > 0).ok_or(Unusable::Malformed)?;
        let iterations = u32::try_from(iterations).ok().and_then(NonZeroU32::new).ok_or(Unusable::OverBounds)?;
        if function(prf).is_none() {
            return Err(Unusable::Malformed);
        }
        Ok(Self { prf, iterations, salt: Zeroizing::new(salt.to_vec()), bytes: prf.output_len(), spelling })
    }

    /// A stored hash as long as the digest, as most products have them.
    pub(super) fn whole(self, digest: &[u8], terms: &Terms) -> Result<Stored, Unusable> {
        if digest.len() == self.prf.output_len() { self.stored(digest, terms) } else { Err(Unusable::Malformed) }
    }

    /// A stored hash of any length.
    pub(super) fn stored(self, digest: &[u8], terms: &Terms) -> Result<Stored, Unusable> {
        if !(MIN_DIGEST_BYTES..=MAX_DIGEST_BYTES).contains(&digest.len()) {
            return Err(Unusable::Malformed);
        }
        let this = Self { bytes: digest.len(), ..self };
        within(this.rounds(), terms.bounds.pbkdf2_rounds)?;
        Ok(Stored::new(this, digest))
    }

    fn rounds(&self) -> u64 {
        let outputs = self.bytes.div_ceil(self.prf.output_len()) as u64;
        u64::from(self.iterations.get()) * outputs
    }

    /// The salt where it is text; it was checked when it was read.
    fn text_salt(&self) -> &str {
        str::from_utf8(&self.salt).unwrap_or_default()
    }
}

/// AWS-LC's name for it, where it has one.
fn function(prf: Algorithm) -> Option<pbkdf2::Algorithm> {
    match prf {
        Algorithm::Sha1 => Some(pbkdf2::PBKDF2_HMAC_SHA1),
        Algorithm::Sha256 => Some(pbkdf2::PBKDF2_HMAC_SHA256),
        Algorithm::Sha384 => Some(pbkdf2::PBKDF2_HMAC_SHA384),
        Algorithm::Sha512 => Some(pbkdf2::PBKDF2_HMAC_SHA512),
        Algorithm::Md5 | Algorithm::Sha224 => None,
    }
}

impl Scheme for Pbkdf2 {
    fn digest(&self, password: &[u8], _arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let function = function(self.prf).ok_or(Unusable::Malformed)?;
        let mut digest = Zeroizing::new(vec![0; self.bytes]);
        pbkdf2::derive(function, self.iterations, &self.salt, password, &mut digest);
        Ok(digest)
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let (prf, iterations, bytes) = (self.prf.name(), self.iterations, self.bytes);
        let pair = |alphabet: &GeneralPurpose| {
            let (salt, hash) = (text::to_base64(&self.salt, alphabet), text::to_base64(digest, alphabet));
            [salt, hash]
        };
        Zeroizing::new(match self.spelling {
            Spelling::Passlib => {
                let ([salt, hash], name) = (pair(&ADAPTED), if prf == "sha1" { "" } else { prf });
                let dash = if name.is_empty() { "" } else { "-" };
                format!("$pbkdf2{dash}{name}${iterations}${}${}", *salt, *hash)
            }
            Spelling::Phc => {
                let [salt, hash] = pair(&UNPADDED);
                format!("$pbkdf2-{prf}$i={iterations},l={bytes}${}${}", *salt, *hash)
            }
            Spelling::PhcShort => {
                let [salt, hash] = pair(&UNPADDED);
                format!("$pbkdf2-{prf}$i={iterations}${}${}", *salt, *hash)
            }
            Spelling::Django => {
                let hash = text::to_base64(digest, &PADDED);
                format!("pbkdf2_{prf}${iterations}${}${}", self.text_salt(), *hash)
            }
            Spelling::Werkzeug => {
                let hash = text::to_hex(digest);
                format!("pbkdf2:{prf}:{iterations}${}${}", self.text_salt(), *hash)
            }
            Spelling::Ldap => {
                let [salt, hash] = pair(&ADAPTED);
                let name = if prf == "sha1" { String::new() } else { format!("-{}", prf.to_ascii_uppercase()) };
                format!("{{PBKDF2{name}}}{iterations}${}${}", *salt, *hash)
            }
            Spelling::MediaWiki => {
                let [salt, hash] = pair(&PADDED);
                format!(":pbkdf2:{prf}:{iterations}:{bytes}:{}:{}", *salt, *hash)
            }
            Spelling::AspNetV2 => return super::aspnet::encode_v2(&self.salt, digest),
            Spelling::AspNetV3 => return super::aspnet::encode_v3(self.prf, self.iterations.get(), &self.salt, digest),
        })
    }

    fn parameters(&self) -> String {
        let (prf, iterations, salt, bytes) = (self.prf.name(), self.iterations, self.salt.len(), self.bytes);
        format!("PBKDF2 with HMAC-{prf}, {iterations} iterations, a salt of {salt} bytes, {bytes} bytes")
    }

    fn strength(&self) -> Strength {
        Strength::Rounds(self.rounds())
    }

    fn near(&self) -> Vec<(String, Box<dyn Scheme>)> {
        let mut near: Vec<(String, Box<dyn Scheme>)> = Vec::new();
        for prf in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            if prf != self.prf {
                near.push((format!("if its function is HMAC-{}", prf.name()), Box::new(Self { prf, ..self.clone() })));
            }
        }
        for (salt, told) in other_salts(&self.salt) {
            near.push((format!("if {told}"), Box::new(Self { salt, ..self.clone() })));
        }
        near
    }
}

fn read_phc(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let [_, name, cost, salt, hash] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
    let prf =
        name.strip_prefix("pbkdf2-").map_or(Some(Algorithm::Sha1), Algorithm::named).ok_or(Unusable::Malformed)?;
    if cost.starts_with("i=") {
        let (salt, hash) = both(salt, hash, &UNPADDED)?;
        // Some makers leave the length to the hash.
        let given = (text::parameters(cost, ["i", "l"]), text::parameters(cost, ["i"]));
        let (iterations, spelling) = match given {
            (Some([iterations, bytes]), _) if hash.len() as u64 == bytes => (iterations, Spelling::Phc),
            (None, Some([iterations])) => (iterations, Spelling::PhcShort),
            (Some(_) | None, _) => return Err(Unusable::Malformed),
        };
        if name == "pbkdf2" {
            return Err(Unusable::Malformed);
        }
        return Pbkdf2::new(prf, Some(iterations), &salt, spelling)?.stored(&hash, terms);
    }
    if name == "pbkdf2-sha1" || name == "pbkdf2-sha384" {
        // passlib has no such names.
        return Err(Unusable::Malformed);
    }
    let (salt, hash) = both(salt, hash, &ADAPTED)?;
    Pbkdf2::new(prf, text::number(cost), &salt, Spelling::Passlib)?.whole(&hash, terms)
}

type Bytes = Zeroizing<Vec<u8>>;

fn both(salt: &str, hash: &str, alphabet: &GeneralPurpose) -> Result<(Bytes, Bytes), Unusable> {
    let decoded = text::base64(salt, alphabet).zip(text::base64(hash, alphabet));
    decoded.ok_or(Unusable::Malformed)
}

fn with_text_salt(prf: Algorithm, iterations: &str, salt: &str, spelling: Spelling) -> Result<Pbkdf2, Unusable> {
    if salt.is_empty() || !text::is_plain_salt(salt) {
        return Err(Unusable::Malformed);
    }
    Pbkdf2::new(prf, text::number(iterations), salt.as_bytes(), spelling)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};
    use super::*;

    #[test]
    fn the_vectors_of_the_specifications_come_out() {
        // RFC 6070, section 2 (SHA-1), and RFC 7914, section 11 (SHA-256, two digests long).
        let sha1 = text::hex("4b007901b765489abead49d926f721d065a429c1", HexCase::Lower).expect("hex");
        let encoded =
            format!("$pbkdf2$4096${}${}", *text::to_base64(b"salt", &ADAPTED), *text::to_base64(&sha1, &ADAPTED));
        assert_eq!(matches(&encoded, b"password"), Ok(true));
        let sha256 = text::hex(
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
             49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
            HexCase::Lower,
        );
        let hash = text::to_base64(&sha256.expect("hex"), &UNPADDED);
        assert_eq!(matches(&format!("$pbkdf2-sha256$i=1,l=64$c2FsdA${}", *hash), b"passwd"), Ok(true));
        assert_eq!(matches(&format!("$pbkdf2-sha256$i=1$c2FsdA${}", *hash), b"passwd"), Ok(true));
    }

    #[test]
    fn r53_iterations_are_bounded_before_any_is_computed() {
        let django =
            |iterations: &str| format!("pbkdf2_sha256${iterations}$salt$wREIWWhMdfNXr3RVTI6xlL2vRPVNNGqVtmSLMpBpe3k=");
        assert_eq!(matches(&django("2500001"), b"x"), OVER_BOUNDS);
        assert_eq!(matches(&django("99999999999999999999999"), b"x"), OVER_BOUNDS);
        assert_eq!(matches(&django("1"), b"x"), Ok(false));
        for malformed in ["", "0", "01", "+1", "1 ", "1e3"] {
            assert_eq!(matches(&django(malformed), b"x"), MALFORMED, "{malformed:?}");
        }
        // Two digests of output are twice the work.
        let long = text::to_base64(&[7; 64], &UNPADDED);
        let phc = |iterations: u32| format!("$pbkdf2-sha256$i={iterations},l=64$c2FsdHNhbHQ${}", *long);
        assert_eq!(matches(&phc(1_250_001), b"x"), OVER_BOUNDS);
        assert_eq!(matches(&phc(10), b"x"), Ok(false));
    }

    #[test]
    fn r53_malformed_hashes_are_unusable() {
        for encoded in [
            "pbkdf2_md5$1$salt$CY9rzUYh03PK3k6DJie09g==",
            "pbkdf2_sha256$1$$wREIWWhMdfNXr3RVTI6xlL2vRPVNNGqVtmSLMpBpe3k=",
            "pbkdf2_sha256$1$salt$wREIWWhMdfNXr3RVTI6xlL2vRPVNNGqVtmSLMpBpe3k",
            "pbkdf2_sha256$1$salt$CY9rzUYh03PK3k6DJie09g==",
            "pbkdf2_sha256$1$salt",
            "pbkdf2:sha256$salt$00",
            "pbkdf2:sha256:1$salt$00",
            "pbkdf2:md5:1$salt$098f6bcd4621d373cade4e832627b4f6",
            "$pbkdf2-sha256$i=1,l=16$c2FsdA$wREIWWhMdfNXr3RVTI6xlL2vRPVNNGqVtmSLMpBpe3k",
            "$pbkdf2-sha256$i=1,l=2$c2FsdA$wRE",
            "$pbkdf2-sha256$i=1,l=32$c2FsdA==$wREIWWhMdfNXr3RVTI6xlL2vRPVNNGqVtmSLMpBpe3k",
            "$pbkdf2-sha256$1$c2FsdA$wREIWWhMdfNXr3RVTI6xlL2vRPVNNGqVtmSLMpBpe3k=",
            "$pbkdf2-sha384$1$c2FsdA$wREI",
            "{PBKDF2-MD5}1$c2FsdA$wREI",
            "{PBKDF2-SHA256}1$c2FsdA",
        ] {
            assert_eq!(matches(encoded, b"x"), MALFORMED, "{encoded}");
        }
    }
}
