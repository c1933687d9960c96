//! The two hashes around the filling: H0 over everything that goes in, and H', BLAKE2b of any length (RFC 9106, sections 3.2
//! and 3.3).
//!
//! Called by the module above alone. BLAKE2b itself is the `blake2` crate's.

use argon2::{Error, Params};
use blake2::digest::block_api::{UpdateCore as _, VariableOutputCore as _};
use blake2::digest::block_buffer::LazyBuffer;
use blake2::{Blake2b512, Blake2bVarCore, Digest as _};
use zeroize::Zeroizing;

use super::Input;

/// The longest that BLAKE2b gives at once.
const DIGEST_BYTES: usize = 64;

/// H0, and room for the two numbers that stand behind it when a lane's first blocks are made.
pub(super) struct Seed(Zeroizing<[u8; DIGEST_BYTES + 8]>);

impl Seed {
    /// H0 of a password under its parameters, for a tag of so many bytes.
    pub(super) fn new(input: &Input<'_>, tag_bytes: usize) -> Result<Self, Error> {
        let params: &Params = input.params;
        let mut digest = Blake2b512::new();
        for number in [
            params.p_cost(),
            u32::try_from(tag_bytes).map_err(|_| Error::OutputTooLong)?,
            params.m_cost(),
            params.t_cost(),
            input.version.into(),
            input.algorithm as u32,
        ] {
            digest.update(number.to_le_bytes());
        }
        for (bytes, too_long) in [
            (input.password, Error::PwdTooLong),
            (input.salt, Error::SaltTooLong),
            (input.secret, Error::SecretTooLong),
            (params.data(), Error::AdTooLong),
        ] {
            digest.update(u32::try_from(bytes.len()).map_err(|_| too_long)?.to_le_bytes());
            digest.update(bytes);
        }
        let mut seed = Zeroizing::new([0; DIGEST_BYTES + 8]);
        let (h0, _) = seed.split_at_mut(DIGEST_BYTES);
        digest.finalize_into(h0.try_into().map_err(|_| Error::OutputTooLong)?);
        Ok(Self(seed))
    }

    /// The bytes of a lane's first block, or of its second: H'(H0 || column || lane).
    pub(super) fn expand(&mut self, column: u32, lane: u32, out: &mut [u8]) -> Result<(), Error> {
        let (_, place) = self.0.split_at_mut(DIGEST_BYTES);
        let (for_column, for_lane) = place.split_at_mut(4);
        for_column.copy_from_slice(&column.to_le_bytes());
        for_lane.copy_from_slice(&lane.to_le_bytes());
        hash_long(&*self.0, out)
    }
}

/// H': up to 64 bytes are a digest of that length; of more, each digest but the last gives its first half, and is hashed for
/// the next.
pub(super) fn hash_long(input: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let length = u32::try_from(out.len()).map_err(|_| Error::OutputTooLong)?.to_le_bytes();
    if out.len() <= DIGEST_BYTES {
        return digest(&[&length, input], out);
    }
    let (mut last, mut next) = (Zeroizing::new([0; DIGEST_BYTES]), Zeroizing::new([0; DIGEST_BYTES]));
    digest(&[&length, input], last.as_mut_slice())?;
    let mut rest = out;
    loop {
        let (half, left) = rest.split_at_mut(DIGEST_BYTES / 2);
        half.copy_from_slice(last.split_at(DIGEST_BYTES / 2).0);
        rest = left;
        if rest.len() <= DIGEST_BYTES {
            return digest(&[last.as_slice()], rest);
        }
        digest(&[last.as_slice()], next.as_mut_slice())?;
        std::mem::swap(&mut *last, &mut *next);
    }
}

/// BLAKE2b with a digest of so many bytes as `out` has, up to 64: its length goes into it, so it is not a longer one cut off.
fn digest(parts: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    let mut core = Blake2bVarCore::new(out.len()).map_err(|_| Error::OutputTooLong)?;
    let mut buffer = LazyBuffer::default();
    for part in parts {
        buffer.digest_blocks(part, |blocks| core.update_blocks(blocks));
    }
    let mut whole = Default::default();
    core.finalize_variable_core(&mut buffer, &mut whole);
    out.iter_mut().zip(&whole).for_each(|(out, byte)| *out = *byte);
    whole.fill(0);
    Ok(())
}
