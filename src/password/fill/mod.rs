//! Argon2, computed.
use argon2::{Algorithm, Block, Error, Params, Version};
use zeroize::{Zeroize as _, Zeroizing};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod boundary;
mod hash;
mod portable;
mod segment;

use self::boundary::Tile;
use self::segment::{Segment, Shape};

pub struct Input<'a> {
    pub algorithm: Algorithm,
    pub version: Version,
    pub params: &'a Params,
    pub password: &'a [u8],
    pub salt: &'a [u8],
    pub secret: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    #[cfg(target_arch = "x86_64")]
    Avx512(boundary::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(boundary::Avx2),
    Portable,
    Crate,
}

impl Engine {
    pub fn all() -> Vec<Self> {
        [boundary::Avx512::detect().map(Self::Avx512), boundary::Avx2::detect().map(Self::Avx2), Some(Self::Portable), Some(Self::Crate)].into_iter().flatten().collect()
    }

    pub fn compute(self, input: &Input<'_>, memory: &mut [Block], tag: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::Avx512(e) => filled(input, memory, tag, |s, m| e.fill(s, m), <avx512::Tile as Tile>::place),
            Self::Avx2(e) => filled(input, memory, tag, |s, m| e.fill(s, m), |w| w),
            Self::Portable => filled(input, memory, tag, boundary::fill_portable, |w| w),
            Self::Crate => argon2::Argon2::new_with_secret(input.secret, input.algorithm, input.version, input.params.clone())?
                .hash_password_into_with_memory(input.password, input.salt, tag, memory),
        }
    }
}

fn filled(input: &Input<'_>, memory: &mut [Block], tag: &mut [u8], fill: impl Fn(&Segment, &mut [Block]), place: fn(usize) -> usize) -> Result<(), Error> {
    if input.salt.len() < argon2::MIN_SALT_LEN { return Err(Error::SaltTooShort); }
    let shape = Shape::new(input.algorithm, input.version, input.params);
    let memory = memory.get_mut(..shape.blocks()).ok_or(Error::MemoryTooLittle)?;
    let mut seed = hash::Seed::new(input, tag.len())?;
    let mut bytes = Zeroizing::new([0_u8; Block::SIZE]);
    for (lane, blocks) in (0..).zip(memory.chunks_exact_mut(shape.lane_length)) {
        for (column, block) in (0..2).zip(blocks) {
            seed.expand(column, lane, bytes.as_mut_slice())?;
            for (word, value) in bytes.as_chunks().0.iter().enumerate() {
                block.as_mut()[place(word)] = u64::from_le_bytes(*value);
            }
        }
    }
    for segment in shape.segments() { fill(&segment, memory); }
    let mut last = [0_u64; boundary::WORDS];
    for lane in memory.chunks_exact(shape.lane_length) {
        if let Some(b) = lane.last() { last.iter_mut().zip(b.as_ref()).for_each(|(a, b): (&mut u64, &u64)| *a ^= b); }
    }
    for (word, value) in bytes.as_chunks_mut().0.iter_mut().enumerate() { *value = last[place(word)].to_le_bytes(); }
    last.zeroize();
    hash::hash_long(bytes.as_slice(), tag)
}
