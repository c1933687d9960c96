//! Everything about filling that the compiler cannot check by itself: all of the `unsafe` code, with what makes it sound beside it.
//!
//! Five things are done here. The memory is taken so that it begins with a huge page; it is seen as what a vector instruction works on; the
//! processor is told which memory will be needed; the system is told how memory is used, and that it is not; and code that was compiled for instructions which not every processor has is called, after asking whether
//! this one has them. The code itself, in `avx2` and `avx512`, is safe Rust: it takes vectors by value, and reads and writes
//! memory through references only.

#![allow(
    unsafe_code,
    reason = "calls across a target-feature boundary, blocks seen as vectors, aligned memory, advice on it: each with its proof"
)]

use std::alloc::{Layout, alloc, dealloc};
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

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
/// The type has the size of [`Block`] and at most its alignment, but at least that of `u64`; it has no padding, and whatever
/// 1,024 bytes are there are a value of it.
pub(super) unsafe trait Tile: Copy {
    /// All words are zero.
    const ZERO: Self;

    /// Where a word of the block, counted as RFC 9106 does, lies in the tile. Always less than [`WORDS`]; the first word lies
    /// first.
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
    // SAFETY: both types have the same size, and `T` no stricter alignment (`fits`), so that the same memory holds as many of
    // it. All of it is initialized: `Block` is 128 words, without padding, for it is as large as these (`fits`). Any bits are
    // valid as either type: `Block` gives its words out to be written (`AsMut<[u64]>`). The exclusive borrow passes on to what
    // is returned, and ends with it.
    unsafe { std::slice::from_raw_parts_mut(first, count) }
}

/// The words of a tile, as they lie there.
pub(super) fn words<T: Tile>(tile: &T) -> &[u64; WORDS] {
    const { fits::<T>() };
    // SAFETY: `T` has the size and at least the alignment of the words (`fits`), and no padding; any bits are valid as words.
    // The borrow passes on.
    unsafe { &*std::ptr::from_ref(tile).cast() }
}

/// The words of a tile, to be written.
pub(super) fn words_mut<T: Tile>(tile: &mut T) -> &mut [u64; WORDS] {
    const { fits::<T>() };
    // SAFETY: as in `words`; and any bits that are written are valid as `T`. The exclusive borrow passes on.
    unsafe { &mut *std::ptr::from_mut(tile).cast() }
}

/// Tells the processor which block will be read soon. Knows where the memory begins, and borrows nothing of it.
pub(super) struct Ahead<T>(*const T);

impl<T: Tile> Ahead<T> {
    pub(super) fn of(memory: &[T]) -> Self {
        Self(memory.as_ptr())
    }

    /// Has a block fetched into the cache.
    #[inline(always)]
    pub(super) fn expect(&self, index: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..Block::SIZE / 64 {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = self.0.wrapping_add(index).cast::<i8>().wrapping_add(64 * line);
            // SAFETY: a prefetch is a hint. It reads and writes nothing that the program could notice, and may be given any
            // address, even an invalid one. It is in SSE, which every x86-64 has.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _nothing_to_tell_it_with = (self.0, index);
    }
}

/// How large a huge page is on most machines. Where it is another size, the advice is good for nothing and does no harm.
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// What all sizes of pages divide that Linux is built with: 4, 16 and 64 KiB.
#[cfg(target_os = "linux")]
const PAGES: usize = 64 * 1024;

/// The bytes of some memory from one multiple of `size` to another: where they begin, and how many they are.
#[cfg(target_os = "linux")]
fn whole<T>(memory: &mut [T], size: usize) -> (*mut std::ffi::c_void, usize) {
    let (first, length) = (memory.as_mut_ptr(), size_of_val(memory));
    let before = first.addr().next_multiple_of(size) - first.addr();
    let length = length.saturating_sub(before);
    (first.cast::<u8>().wrapping_add(before).cast(), length - length % size)
}

/// Blocks that begin with a huge page, if there are as many as fill one; a vector would begin anywhere, and lie on small pages at both
/// ends. It is computed in at random, and every other access there would have to look for its page.
#[derive(Default)]
pub(in crate::password) struct Blocks(Option<Held>);

struct Held {
    first: NonNull<Block>,
    count: usize,
    layout: Layout,
}

// SAFETY: it owns its blocks alone, as a vector does, and hands them out by its own borrows only; `Block` is words.
unsafe impl Send for Held {}
// SAFETY: as above; through a shared borrow they are only read.
unsafe impl Sync for Held {}

impl Blocks {
    /// So many blocks of zeros. None where so much memory cannot be had.
    pub(in crate::password) fn zeroed(count: usize) -> Option<Self> {
        if count == 0 {
            return Some(Self::default());
        }
        let layout = Layout::array::<Block>(count).ok()?;
        let align = if layout.size() < HUGE_PAGE { layout.align() } else { HUGE_PAGE };
        let layout = layout.align_to(align).ok()?;
        // SAFETY: the layout has a size, since there is a block at least.
        let first = NonNull::new(unsafe { alloc(layout) })?.cast::<Block>();
        // SAFETY: so many blocks were just allocated here, aligned for them, and nobody else knows of them. They need not be
        // initialized to be this.
        let memory = unsafe { std::slice::from_raw_parts_mut(first.cast::<MaybeUninit<Block>>().as_ptr(), count) };
        // Before they are touched: a page that is there stays as small as it is.
        on_huge_pages(memory);
        memory.fill(MaybeUninit::new(Block::new()));
        Some(Self(Some(Held { first, count, layout })))
    }
}

impl Deref for Blocks {
    type Target = [Block];

    fn deref(&self) -> &[Block] {
        let Some(held) = &self.0 else { return &[] };
        // SAFETY: so many blocks were allocated at `first` and aligned for them (`zeroed`), and are initialized there, and what was
        // written since are blocks. They live until `held` is dropped, and are
        // borrowed as it is.
        unsafe { std::slice::from_raw_parts(held.first.as_ptr(), held.count) }
    }
}

impl DerefMut for Blocks {
    fn deref_mut(&mut self) -> &mut [Block] {
        let Some(held) = &mut self.0 else { return &mut [] };
        // SAFETY: as in `deref`; the borrow is exclusive, as that of `held` is.
        unsafe { std::slice::from_raw_parts_mut(held.first.as_ptr(), held.count) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout (`zeroed`) by the same allocator, and nobody frees it before.
        unsafe { dealloc(self.first.as_ptr().cast(), self.layout) }
    }
}

/// Asks for huge pages under memory that was not used yet.
fn on_huge_pages(memory: &mut [MaybeUninit<Block>]) {
    #[cfg(target_os = "linux")]
    if let (first, length @ 1..) = whole(memory, HUGE_PAGE) {
        // SAFETY: the range lies within memory that is borrowed exclusively (`whole`), and this advice changes no byte of any.
        // Should there be no huge pages, all is as it was.
        let _as_it_was = unsafe { rustix::mm::madvise(first, length, rustix::mm::Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _as_it_is = memory;
}

/// Gives the pages of some memory back to the system, and keeps the place. Whatever stood there is gone, or still there.
pub(in crate::password) fn give_back(memory: &mut [Block]) {
    #[cfg(target_os = "linux")]
    if let (first, length @ 1..) = whole(memory, PAGES) {
        // SAFETY: the range lies within memory that is borrowed exclusively (`whole`), so that nobody else looks at it. It stays
        // mapped: what is read next is what a fresh page holds, which is zeros for memory of an allocator. Any bytes are valid
        // as `Block`, which is words without padding (`fits`).
        let _kept = unsafe { rustix::mm::madvise(first, length, rustix::mm::Advice::LinuxDontNeed) };
    }
    #[cfg(not(target_os = "linux"))]
    let _kept = memory;
}

/// That this processor, and the system, have AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

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
pub struct Avx512(());

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
