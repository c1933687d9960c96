//! Everything about filling that the compiler cannot check by itself: all of the `unsafe` code, with what makes it sound beside it.
//!
//! Two things are done here. The memory is seen as what a vector instruction works on, and code that was compiled for instructions which not every
//! processor has is called, after asking whether this one has them. The code itself, in `avx2` and `avx512`, is safe Rust: it takes vectors by
//! value, and reads and writes memory through references only.

#![allow(unsafe_code, reason = "calls across a target-feature boundary, and blocks seen as vectors: each with its proof")]

use argon2::Block;

use super::segment::Segment;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Words in a block.
pub(super) const WORDS: usize = Block::SIZE / 8;

/// A block of 1 KiB, as some implementation computes with it.
///
/// # Safety
///
/// The type has the size of [`Block`] and at most its alignment, but at least that of `u64`; it has no padding, and whatever 1,024 bytes are there
/// are a value of it.
pub(super) unsafe trait Tile: Copy {
    /// All words are zero.
    const ZERO: Self;

    /// Where a word of the block, counted as RFC 9106 does, lies in the tile. Always less than [`WORDS`]; the first word lies first.
    fn place(word: usize) -> usize;
}

// SAFETY: it is what `Block` is made of: 128 words, without a gap, every one of them valid.
unsafe impl Tile for [u64; WORDS] {
    const ZERO: Self = [0; WORDS];

    fn place(word: usize) -> usize {
        word
    }
}

// SAFETY: 32 vectors of 32 bytes, without a gap, aligned to 32; any bits are a vector.
#[cfg(target_arch = "x86_64")]
unsafe impl Tile for avx2::Tile {
    // SAFETY: as above: any bits, and so all zero ones, are a value.
    const ZERO: Self = unsafe { std::mem::zeroed() };

    fn place(word: usize) -> usize {
        word
    }
}

// SAFETY: 16 vectors of 64 bytes, without a gap, aligned to 64; any bits are a vector.
#[cfg(target_arch = "x86_64")]
unsafe impl Tile for avx512::Tile {
    // SAFETY: as above: any bits, and so all zero ones, are a value.
    const ZERO: Self = unsafe { std::mem::zeroed() };

    fn place(word: usize) -> usize {
        avx512::place(word)
    }
}

/// What has to hold of a type's layout, checked when this is compiled.
const fn fits<T: Tile>() {
    assert!(size_of::<T>() == size_of::<Block>() && size_of::<Block>() == size_of::<[u64; WORDS]>());
    assert!(align_of::<T>() <= align_of::<Block>() && align_of::<T>() >= align_of::<u64>());
}

/// The blocks, as an implementation computes with them.
fn tiles<T: Tile>(blocks: &mut [Block]) -> &mut [T] {
    const { fits::<T>() };
    let (first, count) = (blocks.as_mut_ptr().cast(), blocks.len());
    // SAFETY: both types have the same size, and `T` no stricter alignment (`fits`), so that the same memory holds as many of it. All of it is
    // initialized: `Block` is 128 words, without padding, for it is as large as these (`fits`). Any bits are valid as either type: `Block` gives its
    // words out to be written (`AsMut<[u64]>`). The exclusive borrow passes on to what is returned, and ends with it.
    unsafe { std::slice::from_raw_parts_mut(first, count) }
}

/// The words of a tile, as they lie there.
pub(super) fn words<T: Tile>(tile: &T) -> &[u64; WORDS] {
    const { fits::<T>() };
    // SAFETY: `T` has the size and at least the alignment of the words (`fits`), and no padding; any bits are valid as words. The borrow passes on.
    unsafe { &*std::ptr::from_ref(tile).cast() }
}

/// The words of a tile, to be written.
pub(super) fn words_mut<T: Tile>(tile: &mut T) -> &mut [u64; WORDS] {
    const { fits::<T>() };
    // SAFETY: as in `words`; and any bits that are written are valid as `T`. The exclusive borrow passes on.
    unsafe { &mut *std::ptr::from_mut(tile).cast() }
}

/// That this processor, and the system, have AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn fill(self, segment: &Segment, memory: &mut [Block]) {
        // SAFETY: the function needs AVX2 and nothing else; that it is there is what `self` shows, which only `detect` makes.
        unsafe { avx2::fill(segment, tiles(memory)) }
    }
}

/// That this processor, and the system, have AVX-512's foundation.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    pub(super) fn fill(self, segment: &Segment, memory: &mut [Block]) {
        // SAFETY: the function needs AVX-512F and nothing else; that it is there is what `self` shows, which only `detect` makes.
        unsafe { avx512::fill(segment, tiles(memory)) }
    }
}

/// On any processor.
pub(super) fn fill_portable(segment: &Segment, memory: &mut [Block]) {
    super::portable::fill(segment, tiles(memory));
}

pub(super) struct Ahead<T>(*const T);
impl<T> Ahead<T> {
    pub(super) fn new(memory: &[T]) -> Self { Self(memory.as_ptr()) }
    #[inline(always)]
    pub(super) fn read(&self, index: usize) {
        let at: *const i8 = self.0.wrapping_add(index).cast();
        for line in 0..16 {
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.wrapping_add(64 * line)) }
        }
    }
    #[inline(always)]
    pub(super) fn write(&self, index: usize) {
        let at: *const i8 = self.0.wrapping_add(index).cast();
        for line in 0..16 {
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(at.wrapping_add(64 * line)) }
        }
    }
}
