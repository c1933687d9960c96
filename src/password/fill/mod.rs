//! Argon2 itself, RFC 9106: versions 16 and 19 of Argon2d, Argon2i and Argon2id, in memory that is handed in.
//!
//! Nearly all of a hash is filling memory, block by block, and what makes one block of two is here three times: for AVX-512,
//! for AVX2, and in plain words for every other processor. The `argon2` crate is the fourth implementation, and the one that
//! the others are measured by: [`choice()`] tries the fastest against it before its first use, and falls back to it.
//!
//! ```text
//! hash       H0 and H', on BLAKE2b              portable, avx2, avx512    G: one block of two
//! segment    which block is made of which       boundary                  all `unsafe` code, and why it is sound
//! choice     which implementation is used
//! ```
//!
//! Called by the formats that are Argon2, and for hashes of our own. Takes no memory but a few kilobytes of stack; never looks
//! at what it hashes, so that a right password, a wrong one and nobody's cost the same.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod boundary;
mod choice;
mod hash;
mod portable;
mod segment;

use argon2::{Algorithm, Argon2, Block, Error, Params, Version};
use zeroize::Zeroizing;

use self::boundary::WORDS;
#[cfg(target_arch = "x86_64")]
use self::boundary::{Avx2, Avx512};
pub(super) use self::boundary::{Blocks, give_back};
pub use self::choice::{Choice, Rejected, choice};
use self::hash::Seed;
use self::segment::{Segment, Shape};

/// What is hashed, and how. The length of the tag is that of the place it is put.
pub struct Input<'a> {
    /// Argon2d, Argon2i or Argon2id.
    pub algorithm: Algorithm,
    /// 16 or 19.
    pub version: Version,
    /// Memory, passes, lanes and associated data.
    pub params: &'a Params,
    /// The password, in the bytes that are hashed.
    pub password: &'a [u8],
    /// At least eight bytes.
    pub salt: &'a [u8],
    /// A secret key; an empty one is none.
    pub secret: &'a [u8],
}

/// What computes a hash. All of them compute the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// Eight words in a vector.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// Four words in a vector.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// Plain words, on any processor: what the others are read and tested beside. Nothing chooses it: the crate is about as fast.
    Portable,
    /// The `argon2` crate.
    Reference,
}

impl Implementation {
    /// Those that this processor has the instructions for, the fastest first: the crate before plain words of our own.
    #[must_use]
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors = [Avx512::detect().map(Self::Avx512), Avx2::detect().map(Self::Avx2)];
        #[cfg(not(target_arch = "x86_64"))]
        let vectors: [Option<Self>; 0] = [];
        vectors.into_iter().flatten().chain([Self::Reference, Self::Portable]).collect()
    }

    /// The word for it in logs, metrics and benches.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            Self::Portable => "portable",
            Self::Reference => "reference",
        }
    }

    /// Hashes into `tag`. The memory is to have at least [`Params::block_count`] blocks, whatever is in them; what is left in
    /// them depends on the password.
    ///
    /// # Errors
    ///
    /// As the crate has them: for lengths out of bounds, a tag of another length than the parameters say, and too little memory.
    pub fn compute(self, input: &Input<'_>, memory: &mut [Block], tag: &mut [u8]) -> Result<(), Error> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(avx512) => {
                let place = <avx512::Tile as boundary::Tile>::place;
                compute(input, memory, tag, place, |segment, memory| avx512.fill(segment, memory))
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => {
                let place = <avx2::Tile as boundary::Tile>::place;
                compute(input, memory, tag, place, |segment, memory| avx2.fill(segment, memory))
            }
            Self::Portable => {
                compute(input, memory, tag, <portable::Tile as boundary::Tile>::place, boundary::fill_portable)
            }
            Self::Reference => {
                let Input { algorithm, version, params, password, salt, secret } = *input;
                let argon2 = Argon2::new_with_secret(secret, algorithm, version, params.clone())?;
                argon2.hash_password_into_with_memory(password, salt, tag, memory)
            }
        }
    }
}

/// Section 3.2, but for what fills a segment. `place` says where in a block each of its words lies.
fn compute(
    input: &Input<'_>,
    memory: &mut [Block],
    tag: &mut [u8],
    place: impl Fn(usize) -> usize,
    fill: impl Fn(&Segment, &mut [Block]),
) -> Result<(), Error> {
    if tag.len() < input.params.output_len().unwrap_or(Params::MIN_OUTPUT_LEN) {
        return Err(Error::OutputTooShort);
    }
    if tag.len() > input.params.output_len().unwrap_or(Params::MAX_OUTPUT_LEN) {
        return Err(Error::OutputTooLong);
    }
    if input.salt.len() < argon2::MIN_SALT_LEN {
        return Err(Error::SaltTooShort);
    }
    let shape = Shape::new(input.algorithm, input.version, input.params);
    let memory = memory.get_mut(..shape.blocks()).ok_or(Error::MemoryTooLittle)?;
    let mut bytes = Zeroizing::new([0; Block::SIZE]);
    let mut seed = Seed::new(input, tag.len())?;
    for (lane, blocks) in (0..).zip(memory.chunks_exact_mut(shape.lane_length)) {
        for (column, block) in (0..2).zip(blocks) {
            seed.expand(column, lane, bytes.as_mut_slice())?;
            for (word, bytes) in bytes.as_chunks().0.iter().enumerate() {
                if let Some(word) = block.as_mut().get_mut(place(word)) {
                    *word = u64::from_le_bytes(*bytes);
                }
            }
        }
    }
    for segment in shape.segments() {
        fill(&segment, memory);
    }
    let mut last = Zeroizing::new([0; WORDS]);
    for block in memory.chunks_exact(shape.lane_length).filter_map(<[Block]>::last) {
        last.iter_mut().zip(block.as_ref()).for_each(|(word, other): (&mut u64, &u64)| *word ^= other);
    }
    for (word, bytes) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
        *bytes = last.get(place(word)).copied().unwrap_or_default().to_le_bytes();
    }
    hash::hash_long(bytes.as_slice(), tag)
}

#[cfg(test)]
mod tests;
