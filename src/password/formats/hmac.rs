//! HMACs with a key that stands in the row: Ory Kratos's `$hmac-sha256$HASH$KEY`, and what werkzeug made before 2.3 when it was not
//! asked for PBKDF2.

use zeroize::Zeroizing;

use super::digest::Algorithm;
use super::template::{Place, Template, Words};
use super::text::{self, HexCase, PADDED};
use super::{About, Arena, Format, NoAnswer, Scheme, Stored, Strength, Terms, Unusable, Wraps};

pub(super) const HMAC: Format = Format {
    about: About {
        name: "hmac",
        made_by: "anything that hashes a password with a key; Ory Kratos",
        shape: "$hmac-sha256$HASH$KEY",
        bounded_by: "",
        wraps: Wraps::Always,
    },
    claims: |encoded| encoded.starts_with("$hmac-"),
    read,
};

pub(super) const WERKZEUG: Format = Format {
    about: About {
        name: "werkzeug-hmac",
        made_by: "werkzeug before 2.3 (`method=\"sha256\"`)",
        shape: "sha256$SALT$HEX",
        bounded_by: "",
        wraps: Wraps::Always,
    },
    claims: |encoded| ["sha224$", "sha256$", "sha384$", "sha512$"].iter().any(|head| encoded.starts_with(head)),
    read: |encoded, _terms| {
        let [name, salt, hash] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
        let algorithm = Algorithm::named(name).ok_or(Unusable::Malformed)?;
        if salt.is_empty() || !text::is_plain_salt(salt) {
            return Err(Unusable::Malformed);
        }
        let hash = text::hex(hash, HexCase::Lower).ok_or(Unusable::Malformed)?;
        Hmac::new(algorithm, salt.as_bytes(), None)?.stored(&hash)
    },
};

pub(super) struct Hmac {
    algorithm: Algorithm,
    key: Zeroizing<Vec<u8>>,
    /// What the HMAC is made of, where it is not the password alone.
    message: Template,
}

impl Hmac {
    fn new(algorithm: Algorithm, key: &[u8], message: Option<&str>) -> Result<Self, Unusable> {
        let message =
            Template::new(message.unwrap_or(PASSWORD_ALONE), Place::First).map_err(|_| Unusable::Malformed)?;
        if message.needs_salt() {
            return Err(Unusable::Malformed);
        }
        Ok(Self { algorithm, key: Zeroizing::new(key.to_vec()), message })
    }

    fn stored(self, digest: &[u8]) -> Result<Stored, Unusable> {
        if digest.len() == self.algorithm.output_len() {
            Ok(Stored::new(self, digest))
        } else {
            Err(Unusable::Malformed)
        }
    }

    /// What a salted digest may be instead.
    pub(super) fn near(algorithm: Algorithm, salt: &[u8]) -> Option<(String, Box<dyn Scheme>)> {
        let hmac = Self::new(algorithm, salt, None).ok()?;
        let advice =
            format!("if it is an HMAC whose key is the salt: write it as $hmac-{}$HASH$SALT", algorithm.name());
        Some((advice, Box::new(hmac)))
    }
}

const PASSWORD_ALONE: &str = "{PASSWORD}";

impl Scheme for Hmac {
    fn digest(&self, password: &[u8], _arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let mut message = Zeroizing::new(Vec::new());
        self.message.fill(&Words { salt: &[], password, previous: &[] }, &mut message);
        Ok(self.algorithm.hmac(&self.key, &message).to_vec())
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let base64 = |bytes: &[u8]| text::to_base64(bytes, &PADDED);
        let template = match self.message.source() {
            PASSWORD_ALONE => String::new(),
            source => format!("pf={}$", base64(source.as_bytes()).as_str()),
        };
        let hash = base64(text::to_hex(digest).as_bytes());
        let key = base64(&self.key);
        Zeroizing::new(format!("$hmac-{}${template}{}${}", self.algorithm.name(), hash.as_str(), key.as_str()))
    }

    fn parameters(&self) -> String {
        let (name, message, bytes) = (self.algorithm.name(), self.message.source(), self.key.len());
        format!("HMAC-{name} of {message}, a key of {bytes} bytes")
    }

    fn strength(&self) -> Strength {
        Strength::Rounds(2)
    }
}

fn read(encoded: &str, _terms: &Terms) -> Result<Stored, Unusable> {
    let (name, rest) =
        encoded.strip_prefix("$hmac-").and_then(|rest| rest.split_once('$')).ok_or(Unusable::Malformed)?;
    let algorithm = Algorithm::named(name).ok_or(Unusable::Malformed)?;
    let base64 = |field: &str| text::base64(field, &PADDED).ok_or(Unusable::Malformed);
    let (message, [hash, key]) = match text::fields(rest, '$') {
        Some(fields) => (None, fields),
        None => {
            let [template, hash, key] = text::fields(rest, '$').ok_or(Unusable::Malformed)?;
            let bytes = base64(template.strip_prefix("pf=").ok_or(Unusable::Malformed)?)?;
            let source = str::from_utf8(&bytes).map_err(|_| Unusable::Malformed)?.to_owned();
            (Some(source), [hash, key])
        }
    };
    let (written, key) = (base64(hash)?, base64(key)?);
    // Kratos encodes the hex text; other products have the bytes.
    let hex = str::from_utf8(&written).ok().filter(|text| text.len() == algorithm.output_len() * 2);
    let digest = match hex {
        Some(text) => text::hex(text, HexCase::Lower).ok_or(Unusable::Malformed)?,
        None => written,
    };
    Hmac::new(algorithm, &key, message.as_deref())?.stored(&digest)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, matches};

    #[test]
    fn an_hmac_is_read_as_bytes_and_as_kratos_writes_it() {
        // RFC 4231, case 2: the key is "Jefe". Bytes, then hex text, in base64.
        let hex = "NWJkY2MxNDZiZjYwNzU0ZTZhMDQyNDI2MDg5NTc1Yzc1YTAwM2YwODlkMjczOTgzOWRlYzU4Yjk2NGVjMzg0Mw==";
        let hex = format!("$hmac-sha256${hex}$SmVmZQ==");
        assert_eq!(matches(&hex, b"what do ya want for nothing?"), Ok(true));
        assert_eq!(matches(&hex, b"what do ya want for nothing"), Ok(false));
        let bytes = "$hmac-sha256$W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=$SmVmZQ==";
        assert_eq!(matches(bytes, b"what do ya want for nothing?"), Ok(true));
    }

    #[test]
    fn r53_malformed_hmacs_are_unusable() {
        for encoded in [
            "$hmac-",
            "$hmac-sha256",
            "$hmac-md4$W9zBRr9gdU5qBCQmCJV1xw==$SmVmZQ==",
            "$hmac-sha256$W9zBRr9gdU5qBCQmCJV1xw==$SmVmZQ==",
            "$hmac-sha256$W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=$SmVmZQ",
            "$hmac-sha256$pf=e1NBTFR9e1BBU1NXT1JEfQ==$W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=$SmVmZQ==",
            "sha256$$e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256$salt$e3b0c442",
        ] {
            assert_eq!(matches(encoded, b"x"), MALFORMED, "{encoded}");
        }
    }
}
