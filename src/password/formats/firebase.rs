//! Firebase's scrypt: the project's signer key, encrypted under a key that scrypt derives from the password (AES-256 in counter mode, from
//! zero on). <https://github.com/firebase/scrypt> has the parameters, and Ory Kratos the text.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::scrypt::Cost;
use super::text::{self, PADDED};
use super::{
    About, Arena, Format, MAX_DIGEST_BYTES, MIN_DIGEST_BYTES, NoAnswer, Scheme, Stored, Strength, Terms, Unusable,
    Wraps,
};

pub(super) const FIREBASE: Format = Format {
    about: About {
        name: "firebase-scrypt",
        made_by: "Firebase Authentication",
        shape: "$firescrypt$ln=14,r=8,p=1$SALT$HASH$SALTSEPARATOR$SIGNERKEY",
        bounded_by: "memory_kib, scrypt_kib, lanes",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("$firescrypt$"),
    read,
};

const KEY_BYTES: usize = 32;

struct Firebase {
    cost: Cost,
    salt: Zeroizing<Vec<u8>>,
    separator: Zeroizing<Vec<u8>>,
    signer_key: Zeroizing<Vec<u8>>,
}

impl Scheme for Firebase {
    fn digest(&self, password: &[u8], arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let salt = [self.salt.as_slice(), &self.separator].concat();
        let key = self.cost.derive(password, &salt, KEY_BYTES, arena)?;
        let mut encrypted = self.signer_key.clone();
        let from_zero = EncryptionContext::Iv128(FixedLength::from([0; 16]));
        // A key of 32 bytes is AES-256's, and the counter is 16 bytes: neither can be refused.
        UnboundCipherKey::new(&AES_256, &key)
            .and_then(EncryptingKey::ctr)
            .and_then(|key| key.less_safe_encrypt(&mut encrypted, from_zero))
            .map_err(|_| Unusable::Malformed)?;
        Ok(encrypted)
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let fields =
            [&self.salt, digest, &self.separator, &self.signer_key].map(|bytes| text::to_base64(bytes, &PADDED));
        let mut encoded = Zeroizing::new(format!("$firescrypt${}", self.cost.parameters()));
        for field in &fields {
            encoded.push('$');
            encoded.push_str(field);
        }
        encoded
    }

    fn parameters(&self) -> String {
        format!("Firebase's {}, a salt of {} bytes", self.cost.told(), self.salt.len())
    }

    fn strength(&self) -> Strength {
        Strength::Hard
    }
}

fn read(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let [_, _, cost, fields @ ..]: [&str; 7] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
    let [log_n, r, p] = text::parameters(cost, ["ln", "r", "p"]).ok_or(Unusable::Malformed)?;
    let cost = Cost::new(log_n, r, p, terms)?;
    let [Some(salt), Some(hash), Some(separator), Some(signer_key)] = fields.map(|field| text::base64(field, &PADDED))
    else {
        return Err(Unusable::Malformed);
    };
    let is_whole = hash.len() == signer_key.len() && (MIN_DIGEST_BYTES..=MAX_DIGEST_BYTES).contains(&hash.len());
    if !is_whole {
        return Err(Unusable::Malformed);
    }
    Ok(Stored::new(Firebase { cost, salt, separator, signer_key }, &**hash))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};

    /// From Firebase's own README; the password is "user1password".
    const PUBLISHED: &str = "$firescrypt$ln=14,r=8,p=1$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==$Bw==$jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==";

    #[test]
    fn firebases_published_vector_verifies() {
        assert_eq!(matches(PUBLISHED, b"user1password"), Ok(true));
        assert_eq!(matches(PUBLISHED, b"user2password"), Ok(false));
    }

    #[test]
    fn r53_a_key_and_a_hash_of_different_lengths_are_malformed_and_costs_are_bounded() {
        let with = |from: &str, to: &str| matches(&PUBLISHED.replacen(from, to, 1), b"user1password");
        assert_eq!(with("ln=14", "ln=19"), OVER_BOUNDS);
        assert_eq!(with("ln=14", "ln=0"), MALFORMED);
        assert_eq!(with("$Bw==", ""), MALFORMED);
        assert_eq!(with("Bw==", "Bw"), MALFORMED);
        assert_eq!(with("UECKbm0QsEmYUSDzZvpjeJ9WmXA==", "UECA=="), MALFORMED);
        assert_eq!(with("$Bw==", "$Bw==$Bw=="), MALFORMED);
    }
}
