//! Argon2i, Argon2d and Argon2id as PHC strings: our own hashes, and those of everyone who writes the same; also behind the prefixes that
//! Django and MediaWiki put before theirs.

use argon2::password_hash::phc::PasswordHash;
use argon2::{ARGON2D_IDENT, ARGON2I_IDENT, ARGON2ID_IDENT, Algorithm, Params, Version};
use zeroize::Zeroizing;

use super::text::{self, UNPADDED};
use super::{
    About, Arena, Bounds, Format, NoAnswer, Scheme, Stored, Strength, Terms, Unusable, Wraps, is_equal, read_inner,
    within,
};
use crate::password::fill::{self, Input};

pub(super) const ARGON2: Format = Format {
    about: About {
        name: "argon2",
        made_by: "everyone: argon2-cffi, libsodium, PHP, Keycloak, SuperTokens",
        shape: "$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH; argon2i, argon2d too",
        bounded_by: "memory_kib, work_kib, lanes",
        wraps: Wraps::Never,
    },
    claims,
    read,
};

pub(super) const PREFIXED: Format = Format {
    about: About {
        name: "prefixed-argon2",
        made_by: "Django, MediaWiki",
        shape: "argon2$argon2id$v=19$…, :argon2:$argon2id$v=19$…",
        bounded_by: "memory_kib, work_kib, lanes",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("argon2$") || encoded.starts_with(":argon2:"),
    read: |encoded, terms| {
        let within = encoded.strip_prefix(":argon2:").or_else(|| encoded.strip_prefix("argon2"));
        read_inner(within.unwrap_or_default(), terms, &[&ARGON2])
    },
};

/// A PHC string of Argon2, read; nothing is said about its parameters yet.
pub(in crate::password) struct Parsed {
    pub(in crate::password) algorithm: Algorithm,
    pub(in crate::password) version: Version,
    pub(in crate::password) params: Params,
    pub(in crate::password) salt: Vec<u8>,
    pub(in crate::password) tag: Zeroizing<Vec<u8>>,
}

fn claims(encoded: &str) -> bool {
    ["$argon2i$", "$argon2d$", "$argon2id$"].iter().any(|prefix| encoded.starts_with(prefix))
}

fn read(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let parsed = Parsed::without_key(encoded, terms)?;
    let tag = parsed.tag.to_vec();
    Ok(Stored::new(parsed, tag))
}

/// Whether this is an Argon2id hash as everybody writes it, without a key and within the bounds, so that [`read`] takes it; of any other
/// one it says nothing. An import asks this of millions of hashes, and needs nothing else of them.
pub(super) fn is_as_usual(encoded: &str, terms: &Terms) -> bool {
    usual(encoded, &terms.bounds).is_some()
}

fn usual(encoded: &str, bounds: &Bounds) -> Option<()> {
    let mut fields = encoded.strip_prefix("$argon2id$v=19$m=")?.split('$');
    let (costs, salt, tag, None) = (fields.next()?, fields.next()?, fields.next()?, fields.next()) else { return None };
    let mut costs = costs.split(',');
    let (memory, passes, lanes, None) = (costs.next()?, costs.next()?, costs.next()?, costs.next()) else {
        return None;
    };
    let (memory, passes) = (decimal(memory)?, decimal(passes.strip_prefix("t=")?)?);
    let lanes = decimal(lanes.strip_prefix("p=")?)?;
    let is_possible = (1..=0xff).contains(&lanes) && passes >= 1 && memory >= 8 * lanes;
    let is_bounded = memory <= bounds.memory_kib
        && u64::from(memory) * u64::from(passes) <= bounds.work_kib
        && lanes <= bounds.lanes;
    let are_encoded = (8..=48).contains(&canonical_bytes(salt)?) && (16..=64).contains(&canonical_bytes(tag)?);
    (is_possible && is_bounded && are_encoded).then_some(())
}

/// A number without a sign or a zero in front.
fn decimal(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

/// How many bytes a text in base64 encodes, without padding and without a bit too many.
fn canonical_bytes(text: &str) -> Option<usize> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let spare = match text.len() % 4 {
        0 => 0,
        2 => 0b1111,
        3 => 0b11,
        _ => return None,
    };
    let last = value(*text.as_bytes().last()?)?;
    (last & spare == 0 && text.bytes().all(|byte| value(byte).is_some())).then_some(text.len() * 3 / 4)
}

impl Parsed {
    /// One that may be computed, and without a secret.
    pub(super) fn without_key(encoded: &str, terms: &Terms) -> Result<Self, Unusable> {
        let parsed = Self::new(encoded)?;
        if !parsed.params.keyid().is_empty() {
            return Err(Unusable::Keyed);
        }
        parsed.within(&terms.bounds)?;
        Ok(parsed)
    }

    pub(in crate::password) fn new(encoded: &str) -> Result<Self, Unusable> {
        let phc = PasswordHash::new(encoded).map_err(|_| Unusable::Malformed)?;
        let algorithm = match phc.algorithm {
            id if id == ARGON2D_IDENT => Algorithm::Argon2d,
            id if id == ARGON2I_IDENT => Algorithm::Argon2i,
            id if id == ARGON2ID_IDENT => Algorithm::Argon2id,
            _ => return Err(Unusable::UnknownFormat),
        };
        // The reference implementation takes a string without a version for one from before there were versions.
        let version = phc.version.map_or(Ok(Version::V0x10), Version::try_from).map_err(|_| Unusable::Malformed)?;
        let params = Params::try_from(&phc).map_err(|_| Unusable::Malformed)?;
        let (salt, tag) = phc.salt.zip(phc.hash).ok_or(Unusable::Malformed)?;
        if salt.len() < argon2::MIN_SALT_LEN {
            return Err(Unusable::Malformed);
        }
        let (salt, tag) = (salt.to_vec(), Zeroizing::new(tag.as_bytes().to_vec()));
        Ok(Self { algorithm, version, params, salt, tag })
    }

    /// Refuses parameters over the bounds (R53).
    pub(in crate::password) fn within(&self, bounds: &Bounds) -> Result<(), Unusable> {
        let (memory, passes) = (self.params.m_cost(), self.params.t_cost());
        within(memory, bounds.memory_kib)?;
        within(u64::from(memory) * u64::from(passes), bounds.work_kib)?;
        within(self.params.p_cost(), bounds.lanes)
    }

    /// Whether it is the hash of this password under a secret key; an empty one is none.
    pub(in crate::password) fn matches_with(
        &self,
        secret: &[u8],
        password: &[u8],
        arena: &mut Arena,
    ) -> Result<bool, NoAnswer> {
        Ok(is_equal(&self.computed(secret, password, arena)?, &self.tag))
    }

    fn computed(&self, secret: &[u8], password: &[u8], arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let mut computed = Zeroizing::new(vec![0; self.tag.len()]);
        let Self { algorithm, version, ref params, ref salt, .. } = *self;
        let input = Input { algorithm, version, params, password, salt, secret };
        arena
            .with(params.block_count(), |blocks| fill::choice().implementation.compute(&input, blocks, &mut computed))?
            .map_err(|_| Unusable::Malformed)?;
        Ok(computed)
    }
}

impl Scheme for Parsed {
    fn digest(&self, password: &[u8], arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        self.computed(&[], password, arena)
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let (params, version) = (&self.params, u32::from(self.version));
        let base64 = |bytes: &[u8]| text::to_base64(bytes, &UNPADDED);
        let data = match params.data() {
            [] => String::new(),
            data => format!(",data={}", *base64(data)),
        };
        let costs = format!("m={},t={},p={}{data}", params.m_cost(), params.t_cost(), params.p_cost());
        Zeroizing::new(format!("${}$v={version}${costs}${}${}", self.algorithm, *base64(&self.salt), *base64(digest)))
    }

    fn parameters(&self) -> String {
        let (params, version) = (&self.params, u32::from(self.version));
        let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
        let (salt, tag) = (self.salt.len(), self.tag.len());
        let name = self.algorithm;
        format!(
            "{name} version {version}, {memory} KiB, {passes} passes, {lanes} lanes, a salt of {salt} bytes, {tag} bytes"
        )
    }

    fn strength(&self) -> Strength {
        Strength::Hard
    }
}

#[cfg(test)]
pub(super) mod tests {
    use argon2::{AssociatedData, ParamsBuilder};

    use super::super::super::arena::Allowance;
    use super::*;

    /// From the reference implementation's own tests (`test.c`): "password" with "somesalt".
    pub(in super::super) const ARGON2ID: &str =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    const ARGON2I_WITHOUT_VERSION: &str =
        "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ";
    const ARGON2I_V19: &str = "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";

    fn matches(encoded: &str, password: &str) -> Result<bool, NoAnswer> {
        super::super::tests::matches(encoded, password.as_bytes())
    }

    #[test]
    fn what_is_told_to_be_as_usual_is_read_and_what_is_not_is_not_told_so() {
        let terms = Terms::default();
        let with = |params: &str, salt: &str, tag: &str| format!("$argon2id$v=19${params}${salt}${tag}");
        let (salt, tag) = ("c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc");
        let usual = |encoded: &str| {
            let told = is_as_usual(encoded, &terms);
            assert!(!told || read(encoded, &terms).is_ok(), "{encoded}");
            told
        };
        assert!(usual(ARGON2ID) && usual(&with("m=19456,t=2,p=1", salt, tag)));
        for params in [
            "m=0,t=1,p=1",
            "m=7,t=1,p=1",
            "m=8,t=0,p=1",
            "m=8,t=1,p=0",
            "m=08,t=1,p=1",
            "m=+8,t=1,p=1",
            "m=8,t=1,p=1,p=1",
            "m=8,t=1,p=1,keyid=AAAA",
            "m=8,t=1,p=1,data=AAAA",
            "t=1,m=8,p=1",
            "m=4294967295,t=1,p=1",
            "m=99999,t=99999,p=1",
            "m=8,t=1",
            "m=800000,t=1,p=200000",
            "m=99999999999,t=1,p=1",
            "",
        ] {
            assert!(!usual(&with(params, salt, tag)), "{params}");
        }
        for (salt, tag) in [
            ("", tag),
            (salt, ""),
            ("c2FsdA", tag),
            ("c29tZXNhbHR", tag),
            (salt, "CTFhFdXPJO1a"),
            ("c29tZXNhbHQ=", tag),
            ("c29tZXNhbH-", tag),
            ("c29tZXNhbHQxx", tag),
            (salt, "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc$x"),
        ] {
            assert!(!usual(&with("m=64,t=2,p=1", salt, tag)), "{salt} {tag}");
        }
        // As far as lengths and costs go, whatever is told is read.
        for length in (0..=100).filter(|length| length % 4 != 1) {
            let text = "A".repeat(length);
            usual(&with("m=64,t=2,p=1", &text, tag));
            usual(&with("m=64,t=2,p=1", salt, &text));
        }
        for costs in ["m=8,t=1,p=1", "m=2040,t=1,p=255", "m=1048576,t=1,p=1", "m=64,t=20000,p=4"] {
            usual(&with(costs, salt, tag));
        }
    }

    #[test]
    fn r52_the_reference_implementations_own_hashes_verify() {
        for encoded in [ARGON2ID, ARGON2I_V19, ARGON2I_WITHOUT_VERSION] {
            assert_eq!(matches(encoded, "password"), Ok(true), "{encoded}");
            assert_eq!(matches(encoded, "Password"), Ok(false), "{encoded}");
        }
    }

    #[test]
    fn r52_the_vectors_of_rfc_9106_come_out_of_a_reused_arena() {
        let mut params = ParamsBuilder::new();
        params.m_cost(32).t_cost(3).p_cost(4).data(AssociatedData::new(&[4; 12]).expect("12 bytes"));
        let params = params.build().expect("the RFC's parameters");
        let mut arena = Arena::new(params.block_count(), Allowance::new());
        // Section 5.1 to 5.3.
        for (algorithm, expected) in [
            (Algorithm::Argon2d, "512b391b6f1162975371d30919734294f868e3be3984f3c1a13a4db9fabe4acb"),
            (Algorithm::Argon2i, "c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8"),
            (Algorithm::Argon2id, "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"),
        ] {
            let (password, salt, secret) = (&[1; 32], &[2; 16], &[3; 8]);
            let input = Input { algorithm, version: Version::V0x13, params: &params, password, salt, secret };
            let mut tag = [0; 32];
            let hashed = arena
                .with(params.block_count(), |blocks| fill::choice().implementation.compute(&input, blocks, &mut tag));
            assert_eq!(hashed, Ok(Ok(())));
            let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{algorithm}");
        }
    }

    #[test]
    fn r53_parameters_over_the_bounds_are_unusable_before_any_memory_is_taken() {
        let over = |params: &str| {
            let encoded =
                format!("$argon2id$v=19${params}$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc");
            matches(&encoded, "password")
        };
        let refused = Err(NoAnswer::Unusable(Unusable::OverBounds));
        assert_eq!(over("m=4194304,t=1,p=1"), refused, "4 GiB");
        assert_eq!(over("m=262145,t=1,p=1"), refused, "a KiB more than 256 MiB");
        assert_eq!(over("m=4294967295,t=4294967295,p=1"), refused);
        assert_eq!(over("m=8,t=131073,p=1"), refused, "8 KiB, but too many passes");
        assert_eq!(over("m=520,t=1,p=65"), refused, "65 lanes");
        assert_eq!(over("m=512,t=1,p=64"), Ok(false), "the bound itself is within");
    }

    #[test]
    fn r53_malformed_strings_are_unusable_and_never_a_mismatch() {
        for encoded in [
            "$argon2id$",
            "$argon2id$v=19$m=65536,t=2,p=1",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=18$m=64,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=0,t=0,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=-1,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=64,t=2,p=1,x=3$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=64,t=2,p=1$!!!!!!!!$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc$more",
            "$argon2id$v=19$m=64,t=2,p=1$c2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ] {
            assert_eq!(matches(encoded, "password"), Err(NoAnswer::Unusable(Unusable::Malformed)), "{encoded}");
        }
        let keyed = "$argon2id$v=19$m=64,t=2,p=1,keyid=AAAA$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert_eq!(matches(keyed, "password"), Err(NoAnswer::Unusable(Unusable::Keyed)));
    }
}
