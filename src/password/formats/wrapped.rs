//! Weak hashes in strong ones: Argon2id over the digest of somebody else's format, so that the digest itself never rests in our file.
//! The first login computes both and replaces them by plain Argon2id.

use ::argon2::{Algorithm, Params, Version};
use zeroize::Zeroizing;

use super::argon2::Parsed;
use super::text::{self, UNPADDED};
use super::{About, Arena, Format, NoAnswer, Scheme, Stored, Strength, Terms, Unusable, Wraps, prehash};
use crate::password::arena::Allowance;
use crate::password::fill::{self, Input};

pub(super) const WRAPPED: Format = Format {
    about: About {
        name: "wrapped",
        made_by: "authferry (`--wrap-weak`)",
        shape: "$wrapped$argon2id$v=19$m=19456,t=2,p=1$SALT$TAG$INNER",
        bounded_by: "memory_kib, work_kib, lanes, and as what is within",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("$wrapped$"),
    read,
};

const PREFIX: &str = "$wrapped";
const SALT_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// Argon2id's parameters for wrapping. Each wrapped row costs one such hash at the import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapParams {
    /// In KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl WrapParams {
    /// OWASP's minimum, as for new passwords: some 60 rows a second on a core.
    pub const FULL: Self = Self { memory_kib: 19 * 1024, iterations: 2, parallelism: 1 };
    /// A tenth of the work, for imports of millions: 4 MiB, once. A graphics card tries thousands a second against one, not billions.
    pub const QUICK: Self = Self { memory_kib: 4 * 1024, iterations: 1, parallelism: 1 };
}

/// A hash that could not be wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// It is of no use, wrapped or not.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The parameters make no Argon2id hash.
    #[error("the Argon2id parameters do not go together")]
    Parameters,
    /// The memory for it could not be had.
    #[error("there is no memory for a hash")]
    OutOfMemory,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Wraps hashes, one after the other, in memory of its own: one a thread.
pub struct Wrapper {
    params: Params,
    arena: Arena,
    terms: Terms,
}

impl Wrapper {
    /// With these parameters; hashes are read under these terms.
    pub fn new(params: WrapParams, terms: Terms) -> Result<Self, WrapError> {
        let WrapParams { memory_kib, iterations, parallelism } = params;
        let params =
            Params::new(memory_kib, iterations, parallelism, Some(TAG_BYTES)).map_err(|_| WrapError::Parameters)?;
        Ok(Self { arena: Arena::new(params.block_count(), Allowance::new()), params, terms })
    }

    /// The hash within Argon2id; none if it is not weak, and better left as it is.
    pub fn wrap(&mut self, encoded: &str) -> Result<Option<Zeroizing<String>>, WrapError> {
        let (format, Stored { scheme, digest }) = super::read(encoded, &self.terms)?;
        if format.wraps == Wraps::Never || !scheme.strength().is_weak() {
            return Ok(None);
        }
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| WrapError::Random)?;
        let outer = Outer { params: self.params.clone(), salt: salt.to_vec(), bytes: TAG_BYTES };
        let tag = outer.over(&digest, &mut self.arena).map_err(|why| match why {
            NoAnswer::OutOfMemory => WrapError::OutOfMemory,
            NoAnswer::Unusable(why) => WrapError::Unusable(why),
        })?;
        Ok(Some(Wrapped { outer, inner_bytes: digest.len(), inner: scheme }.encode(&tag)))
    }
}

/// Argon2id over a digest.
struct Outer {
    params: Params,
    salt: Vec<u8>,
    bytes: usize,
}

impl Outer {
    fn over(&self, digest: &[u8], arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let mut tag = Zeroizing::new(vec![0; self.bytes]);
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let input = Input { algorithm, version, params: &self.params, password: digest, salt: &self.salt, secret: &[] };
        arena
            .with(self.params.block_count(), |blocks| fill::choice().implementation.compute(&input, blocks, &mut tag))?
            .map_err(|_| Unusable::Malformed)?;
        Ok(tag)
    }
}

struct Wrapped {
    outer: Outer,
    inner: Box<dyn Scheme>,
    inner_bytes: usize,
}

impl Scheme for Wrapped {
    fn digest(&self, password: &[u8], arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let digest = self.inner.digest(password, arena)?;
        self.outer.over(&digest, arena)
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let nothing = vec![self.inner.filler(); self.inner_bytes];
        let (params, inner) = (&self.outer.params, self.inner.encode(&nothing));
        let costs = format!("m={},t={},p={}", params.m_cost(), params.t_cost(), params.p_cost());
        let (salt, tag) = (text::to_base64(&self.outer.salt, &UNPADDED), text::to_base64(digest, &UNPADDED));
        Zeroizing::new(format!("{PREFIX}$argon2id$v=19${costs}${}${}${}", *salt, *tag, *inner))
    }

    fn parameters(&self) -> String {
        let params = &self.outer.params;
        let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
        format!("argon2id, {memory} KiB, {passes} passes, {lanes} lanes, over {}", self.inner.parameters())
    }

    fn strength(&self) -> Strength {
        Strength::Hard
    }
}

fn read(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let rest = encoded.strip_prefix(PREFIX).unwrap_or_default();
    // `$argon2id$v=19$m=…,t=…,p=…$SALT$TAG`, and behind it whatever the inner format writes.
    let (at, _) = rest.match_indices('$').nth(5).ok_or(Unusable::Malformed)?;
    let (outer, inner) = rest.split_at(at);
    let inner = inner.strip_prefix('$').unwrap_or_default();
    let outer = Parsed::without_key(outer, terms)?;
    let is_ours =
        outer.algorithm == Algorithm::Argon2id && outer.version == Version::V0x13 && outer.params.data().is_empty();
    // One within the other would be computed one after the other, as often as fits into a text.
    let nests = [&WRAPPED, &prehash::PREHASH].iter().any(|format| (format.claims)(inner));
    if !is_ours || nests {
        return Err(Unusable::Malformed);
    }
    let (format, inner) = super::read(inner, terms)?;
    let says_nothing = inner.digest.iter().all(|byte| *byte == inner.scheme.filler());
    if format.wraps == Wraps::Never || !says_nothing {
        return Err(Unusable::Malformed);
    }
    let (inner, inner_bytes) = (inner.scheme, inner.digest.len());
    let tag = outer.tag;
    let outer = Outer { params: outer.params, salt: outer.salt, bytes: tag.len() };
    Ok(Stored::new(Wrapped { outer, inner, inner_bytes }, &**tag))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};
    use super::*;

    const CHEAP: WrapParams = WrapParams { memory_kib: 64, iterations: 1, parallelism: 1 };

    fn wrapped(encoded: &str) -> Result<Option<Zeroizing<String>>, WrapError> {
        Wrapper::new(CHEAP, Terms::default()).expect("parameters").wrap(encoded)
    }

    #[test]
    fn a_weak_hash_is_wrapped_and_nothing_of_its_digest_is_left() {
        for (encoded, password, digest) in [
            ("{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "test", "qUqP5cyx"),
            ("sha1$fe76b$02d5916550edf7fc8c886f044887f4b1abf9b013", "hashcat", "02d59165"),
            ("$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0", "test12345", "feRo7ud9"),
            ("$1$28772684$iEwNOgGugqO9.bIz5sk8k/", "hashcat", "iEwNOgGu"),
            ("$aspnet$AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4B6pZWND6zgESBuWiHw", "my password", "ESBuWiHw"),
        ] {
            let wrapped = wrapped(encoded).expect("usable").expect("weak");
            assert!(!wrapped.contains(digest), "{}", *wrapped);
            assert_eq!(matches(&wrapped, password.as_bytes()), Ok(true), "{}", *wrapped);
            assert_eq!(matches(&wrapped, b"Test"), Ok(false), "{}", *wrapped);
            assert_eq!(super::super::recognise(&wrapped, &super::super::Bounds::default()), Ok("wrapped"));
        }
    }

    #[test]
    fn what_is_hard_or_wrapped_already_is_left_as_it_is() {
        let once = wrapped("{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=").expect("usable").expect("weak");
        let slow = "pbkdf2_sha256$1000000$salt$wREIWWhMdfNXr3RVTI6xlL2vRPVNNGqVtmSLMpBpe3k=";
        for hard in
            [once.as_str(), super::super::bcrypt::tests::PASSWORD_2A, super::super::argon2::tests::ARGON2ID, slow]
        {
            assert_eq!(wrapped(hard), Ok(None), "{hard}");
        }
        assert_eq!(wrapped("nonsense"), Err(WrapError::Unusable(Unusable::UnknownFormat)));
    }

    #[test]
    fn r53_a_wrapping_that_we_would_not_make_is_malformed() {
        let tag = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let of = |outer: &str, inner: &str| format!("$wrapped${outer}$c29tZXNhbHQ${tag}${inner}");
        let (outer, inner) = ("argon2id$v=19$m=64,t=1,p=1", "{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert_eq!(matches(&of(outer, inner), b"x"), Ok(false));
        for (outer, inner) in [
            (outer, "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="),
            (outer, super::super::bcrypt::tests::PASSWORD_2A),
            (outer, &of(outer, inner)),
            ("argon2i$v=19$m=64,t=1,p=1", inner),
            ("argon2id$v=16$m=64,t=1,p=1", inner),
        ] {
            assert_eq!(matches(&of(outer, inner), b"x"), MALFORMED, "{outer} {inner}");
        }
        assert_eq!(matches(&of(outer, "nonsense"), b"x"), Err(NoAnswer::Unusable(Unusable::UnknownFormat)));
        assert_eq!(matches(&of("argon2id$v=19$m=4194304,t=1,p=1", inner), b"x"), OVER_BOUNDS);
        assert_eq!(matches("$wrapped$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ", b"x"), MALFORMED);
    }
}
