//! Digests of a password and a salt, once or repeated: the plain text `$md5$…`, Django's `md5$salt$hex`, Joomla's `hex:salt`. LDAP,
//! MediaWiki and whatever an operator declares end here as well.

use zeroize::Zeroizing;

use super::digest::Algorithm;
use super::template::{Place, Template, Words};
use super::text::{self, HexCase, PADDED};
use super::{About, Arena, Format, NoAnswer, Scheme, Stored, Strength, Terms, Unusable, Wraps, within};

pub(super) const TEMPLATE: Format = Format {
    about: About {
        name: "digest",
        made_by: "anything that hashes a password with a salt; Ory Kratos",
        shape: "$sha256$pf=TEMPLATE$SALT$HASH",
        bounded_by: "digest_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| head(encoded).is_some(),
    read,
};

pub(super) const DJANGO: Format = Format {
    about: About {
        name: "django-digest",
        made_by: "Django before 1.4 (MD5, SHA-1)",
        shape: "sha1$SALT$HEX",
        bounded_by: "",
        wraps: Wraps::Always,
    },
    claims: |encoded| encoded.starts_with("md5$") || encoded.starts_with("sha1$"),
    read: read_django,
};

pub(super) const JOOMLA: Format = Format {
    about: About {
        name: "joomla",
        made_by: "Joomla before 2.5.18",
        shape: "HEX:SALT",
        bounded_by: "",
        wraps: Wraps::Always,
    },
    claims: |encoded| {
        // Others write a digest and a salt in this way too, with shorter salts and in the other order.
        encoded.split_once(':').is_some_and(|(hash, salt)| {
            text::hex(hash, HexCase::Lower).is_some_and(|hash| hash.len() == Algorithm::Md5.output_len())
                && salt.len() == 32
                && salt.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
    },
    read: |encoded, terms| {
        let [hash, salt] = text::fields(encoded, ':').ok_or(Unusable::Malformed)?;
        let hash = text::hex(hash, HexCase::Lower).ok_or(Unusable::Malformed)?;
        Salted::new(Algorithm::Md5, "{PASSWORD}{SALT}", salt.as_bytes())?.stored(&hash, terms)
    },
};

/// A digest of a template, and how often it is repeated.
#[derive(Clone)]
pub(super) struct Salted {
    algorithm: Algorithm,
    template: Template,
    salt: Zeroizing<Vec<u8>>,
    /// All digests together.
    iterations: u64,
    again: Template,
}

impl Salted {
    pub(super) fn new(algorithm: Algorithm, template: &str, salt: &[u8]) -> Result<Self, Unusable> {
        let template = Template::new(template, Place::First).map_err(|_| Unusable::Malformed)?;
        Self::with(algorithm, template, salt)
    }

    pub(super) fn with(algorithm: Algorithm, template: Template, salt: &[u8]) -> Result<Self, Unusable> {
        let again = Template::new("{DIGEST}", Place::Again).map_err(|_| Unusable::Malformed)?;
        Ok(Self { algorithm, template, salt: Zeroizing::new(salt.to_vec()), iterations: 1, again })
    }

    pub(super) fn repeated(self, iterations: u64, again: Option<&str>) -> Result<Self, Unusable> {
        let again = match again {
            Some(source) => Template::new(source, Place::Again).map_err(|_| Unusable::Malformed)?,
            None => self.again,
        };
        if iterations == 0 { Err(Unusable::Malformed) } else { Ok(Self { iterations, again, ..self }) }
    }

    /// A stored hash of this kind, if it is within the bounds.
    pub(super) fn stored(self, digest: &[u8], terms: &Terms) -> Result<Stored, Unusable> {
        if digest.len() != self.algorithm.output_len() {
            return Err(Unusable::Malformed);
        }
        within(self.rounds(), terms.bounds.digest_rounds)?;
        Ok(Stored::new(self, digest))
    }

    /// As an operator has to write it.
    fn template_text(&self, source: &str) -> String {
        let repeated = if self.iterations > 1 { format!(",it={}", self.iterations) } else { String::new() };
        format!("{}{repeated}:{source}", self.algorithm.name())
    }

    fn rounds(&self) -> u64 {
        self.template.cost().saturating_add((self.iterations - 1).saturating_mul(self.again.cost()))
    }
}

impl Scheme for Salted {
    fn digest(&self, password: &[u8], _arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let mut input = Zeroizing::new(Vec::new());
        self.template.fill(&Words { salt: &self.salt, password, previous: &[] }, &mut input);
        let mut digest = self.algorithm.of(&input);
        for _ in 1..self.iterations {
            input.clear();
            self.again.fill(&Words { salt: &self.salt, password, previous: &digest }, &mut input);
            digest = self.algorithm.of(&input);
        }
        Ok(digest.to_vec())
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let base64 = |bytes: &[u8]| text::to_base64(bytes, &PADDED);
        let (name, digest) = (self.algorithm.name(), base64(digest));
        let mut parameters = format!("pf={}", base64(self.template.source().as_bytes()).as_str());
        if self.iterations > 1 {
            parameters.push_str(&format!(",it={}", self.iterations));
        }
        if self.again.source() != "{DIGEST}" {
            parameters.push_str(&format!(",rt={}", base64(self.again.source().as_bytes()).as_str()));
        }
        Zeroizing::new(format!("${name}${parameters}${}${}", base64(&self.salt).as_str(), digest.as_str()))
    }

    fn parameters(&self) -> String {
        let mut told = format!("{} of {}", self.algorithm.name(), self.template.source());
        if self.template.needs_salt() {
            told.push_str(&format!(", a salt of {} bytes", self.salt.len()));
        }
        if self.iterations > 1 {
            told.push_str(&format!(", {} times, again of {}", self.iterations, self.again.source()));
        }
        told
    }

    fn strength(&self) -> Strength {
        Strength::Rounds(self.rounds())
    }

    fn near(&self) -> Vec<(String, Box<dyn Scheme>)> {
        let mut near: Vec<(String, Box<dyn Scheme>)> = Vec::new();
        for (source, told) in USUAL_TEMPLATES {
            if let Ok(other) =
                Self::new(self.algorithm, source, &self.salt).and_then(|o| o.repeated(self.iterations, None))
            {
                near.push((format!("{told}: --hash-template '{}'", self.template_text(source)), Box::new(other)));
            }
        }
        // A salt that is written in hex or base64 is meant as the bytes, or the other way round.
        for (salt, told) in other_salts(&self.salt) {
            for (source, _) in USUAL_TEMPLATES {
                if let Ok(other) = Self::new(self.algorithm, source, &salt) {
                    let advice = format!("if {told}, with --hash-template '{}'", self.template_text(source));
                    near.push((advice, Box::new(other)));
                }
            }
        }
        near.extend(super::hmac::Hmac::near(self.algorithm, &self.salt));
        near
    }
}

/// What passwords and salts are mostly put together as, for `hash test`.
pub(super) const USUAL_TEMPLATES: [(&str, &str); 10] = [
    ("{PASSWORD}", "if there is no salt"),
    ("{SALT}{PASSWORD}", "if the salt comes first"),
    ("{PASSWORD}{SALT}", "if the salt is appended"),
    ("{SALT}{PASSWORD}{SALT}", "if the salt is on both sides"),
    ("{PASSWORD}{{SALT}}", "if it is Symfony's"),
    ("{md5:{PASSWORD}}{SALT}", "if it is vBulletin's"),
    ("{SALT}{md5:{PASSWORD}}", "if the salt comes before the password's own digest"),
    ("{md5:{SALT}}{md5:{PASSWORD}}", "if it is MyBB's or IPB's"),
    ("{SALT}{sha1:{SALT}{sha1:{PASSWORD}}}", "if it is OpenCart's or WoltLab's"),
    ("{md5:{PASSWORD}}", "if it is the digest of a digest"),
];

/// What the bytes of a salt may have been meant as.
pub(super) fn other_salts(salt: &[u8]) -> Vec<(Zeroizing<Vec<u8>>, &'static str)> {
    let mut others = Vec::new();
    if let Ok(written) = str::from_utf8(salt) {
        others.extend(text::hex(written, HexCase::Any).map(|salt| (salt, "the salt is hex text of its bytes")));
        others.extend(text::base64(written, &text::EITHER).map(|salt| (salt, "the salt is base64 text of its bytes")));
    }
    let as_text = |text: Zeroizing<String>| Zeroizing::new(text.as_bytes().to_vec());
    others.push((as_text(text::to_hex(salt)), "the salt's hex text is what is hashed"));
    others.push((as_text(text::to_base64(salt, &PADDED)), "the salt's base64 text is what is hashed"));
    others.retain(|(other, _)| !other.is_empty());
    others
}

/// The algorithm of `$md5$…`, and what is behind it.
fn head(encoded: &str) -> Option<(Algorithm, &str)> {
    let (name, rest) = encoded.strip_prefix('$')?.split_once('$')?;
    Algorithm::named(name).map(|algorithm| (algorithm, rest))
}

fn read(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let (algorithm, rest) = head(encoded).ok_or(Unusable::Malformed)?;
    let base64 = |field: &str| text::base64(field, &PADDED).ok_or(Unusable::Malformed);
    let Some([parameters, salt, hash]) = text::fields(rest, '$') else {
        return Salted::new(algorithm, "{PASSWORD}", &[])?.stored(&base64(rest)?, terms);
    };
    let source = |field: &str| {
        let bytes = base64(field)?;
        str::from_utf8(&bytes).map(str::to_owned).map_err(|_| Unusable::Malformed)
    };
    let mut parameters = parameters.split(',');
    let template = source(parameters.next().and_then(|first| first.strip_prefix("pf=")).ok_or(Unusable::Malformed)?)?;
    let mut next = parameters.next();
    let mut iterations = 1;
    if let Some(number) = next.and_then(|parameter| parameter.strip_prefix("it=")) {
        iterations = text::number(number).ok_or(Unusable::Malformed)?;
        next = parameters.next();
    }
    let mut again = None;
    if let Some(encoded) = next.and_then(|parameter| parameter.strip_prefix("rt=")) {
        again = Some(source(encoded)?);
        next = parameters.next();
    }
    if next.is_some() {
        return Err(Unusable::Malformed);
    }
    let (salt, hash) = (base64(salt)?, base64(hash)?);
    Salted::new(algorithm, &template, &salt)?.repeated(iterations, again.as_deref())?.stored(&hash, terms)
}

fn read_django(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let [name, salt, hash] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
    let algorithm = Algorithm::named(name).ok_or(Unusable::Malformed)?;
    let hash = text::hex(hash, HexCase::Lower).ok_or(Unusable::Malformed)?;
    if !text::is_plain_salt(salt) {
        return Err(Unusable::Malformed);
    }
    Salted::new(algorithm, "{SALT}{PASSWORD}", salt.as_bytes())?.stored(&hash, terms)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};
    use super::*;

    #[test]
    fn kratos_own_examples_verify() {
        // From its documentation.
        assert_eq!(matches("$md5$CY9rzUYh03PK3k6DJie09g==", b"test"), Ok(true));
        assert_eq!(matches("$md5$CY9rzUYh03PK3k6DJie09g==", b"Test"), Ok(false));
    }

    #[test]
    fn repeated_digests_follow_their_templates() {
        // Computed with Python's hashlib, by Symfony's formula: 3 digests of "secret{NaCl}", the further ones with it behind the digest.
        let merged = "e1BBU1NXT1JEfXt7U0FMVH19";
        let again = "e0RJR0VTVH17UEFTU1dPUkR9e3tTQUxUfX0=";
        let symfony =
            format!("$sha256$pf={merged},it=3,rt={again}$TmFDbA==$ii4XeTrQ5Bhqr+HIEVhAnx72ozrpgdxIGgcsnYAuZMw=");
        assert_eq!(matches(&symfony, b"secret"), Ok(true));
        assert_eq!(matches(&symfony, b"Secret"), Ok(false));
        assert_eq!(matches(&symfony.replace("it=3", "it=2"), b"secret"), Ok(false));
        // And without a second template: SHA-1 of SHA-1, as MySQL's PASSWORD().
        let mysql = "$sha1$pf=e1BBU1NXT1JEfQ==,it=2$$FOZVZ6vbUTXQz9mnCzAywXmknuc=";
        assert_eq!(matches(mysql, b"secret"), Ok(true));
    }

    #[test]
    fn r53_what_is_malformed_or_over_the_bounds_is_neither_right_nor_wrong() {
        let of = |parameters: &str| format!("$md5${parameters}$TmFDbA==$CY9rzUYh03PK3k6DJie09g==");
        let both = "pf=e1NBTFR9e1BBU1NXT1JEfQ==";
        for encoded in [
            "$md5$",
            "$md5$CY9rzUYh03PK3k6DJie09g",
            "$md5$CY9rzUYh03PK3k6DJie09h==",
            "$sha1$CY9rzUYh03PK3k6DJie09g==",
            "md5$salt$098F6BCD4621D373CADE4E832627B4F6",
            "md5$salt$098f6bcd4621d373cade4e832627b4",
            "md5$salt$098f6bcd4621d373cade4e832627b4f6$",
            "sha1$salt$098f6bcd4621d373cade4e832627b4f6",
            "sha1$sa\u{e9}lt$098f6bcd4621d373cade4e832627b4f6098f6bcd",
            &of("pf=e1NBTFR9"),
            &of("pf=e1NBTFR9e1BBU1NXT1JEfQ"),
            &of("it=2"),
            &of(&format!("{both},it=0")),
            &of(&format!("{both},it=02")),
            &of(&format!("{both},it=2,it=2")),
            &of(&format!("{both},rt=e1NBTFR9,it=2")),
            &of(&format!("{both},it=2,rt=e1NBTFR9")),
            &of(&format!("{both},")),
        ] {
            assert_eq!(matches(encoded, b"test"), MALFORMED, "{encoded}");
        }
        assert_eq!(matches(&of(&format!("{both},it=1048576")), b"test"), OVER_BOUNDS, "two parts and 1,048,575 more");
        assert_eq!(matches(&of(&format!("{both},it=99999999999999999999")), b"test"), OVER_BOUNDS);
        assert_eq!(matches(&of(&format!("{both},it=1000")), b"test"), Ok(false));
    }

    #[test]
    fn another_products_digest_and_salt_is_not_taken_for_joomlas() {
        for (encoded, claimed) in [
            ("098f6bcd4621d373cade4e832627b4f6:0123456789abcdefghijABCDEFGHIJKL", true),
            ("098f6bcd4621d373cade4e832627b4f6:ab", false),
            ("098F6BCD4621D373CADE4E832627B4F6:0123456789abcdefghijABCDEFGHIJKL", false),
            ("098f6bcd4621d373cade4e832627b4:0123456789abcdefghijABCDEFGHIJKL", false),
        ] {
            assert_eq!((JOOMLA.claims)(encoded), claimed, "{encoded}");
        }
    }
}
