//! The compression function in plain words, for every processor (RFC 9106, sections 3.5 and 3.6).
//!
//! Also what the versions with vector instructions are easiest read beside. Four words are mixed with four others at once, side
//! by side, which compilers turn into what short vectors the target has.

#![expect(clippy::indexing_slicing, reason = "arrays of known length, gone over by loops of the same bounds")]

use super::boundary::WORDS;
use super::segment::{Next, Old, Segment};

/// A block, word by word.
pub(super) type Tile = [u64; WORDS];

pub(super) fn fill(segment: &Segment, memory: &mut [Tile]) {
    segment.fill(memory, compress);
}

/// G: both blocks combined, P over each row of 16 words and over each column of eight pairs, and the combination once more.
#[inline]
fn compress(previous: &Tile, reference: &Tile, new: &mut Tile, old: Old, _next: Next<'_, Tile>) {
    let mut combined = *previous;
    xor(&mut combined, reference);
    let mut mixed = combined;
    for row in mixed.as_chunks_mut::<16>().0 {
        permute(row);
    }
    for column in 0..8 {
        // Two neighbouring words of each row.
        let word = |number: usize| 16 * (number / 2) + 2 * column + number % 2;
        let mut words = std::array::from_fn(|number| mixed[word(number)]);
        permute(&mut words);
        for (number, value) in words.into_iter().enumerate() {
            mixed[word(number)] = value;
        }
    }
    xor(&mut mixed, &combined);
    match old {
        Old::Gone => *new = mixed,
        Old::Kept => xor(new, &mixed),
    }
}

fn xor(to: &mut Tile, from: &Tile) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
}

/// P: a round of BLAKE2b, with multiplications and without a message.
#[inline]
fn permute(words: &mut [u64; 16]) {
    for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
        mix(words, a, b, c, d);
    }
    for [a, b, c, d] in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
        mix(words, a, b, c, d);
    }
}

/// GB.
#[inline(always)]
fn mix(words: &mut [u64; 16], a: usize, b: usize, c: usize, d: usize) {
    step(words, a, b, d, 32);
    step(words, c, d, b, 24);
    step(words, a, b, d, 16);
    step(words, c, d, b, 63);
}

/// `to = to + with + 2 * low(to) * low(with)`, and `turned = (turned ^ to) >>> by`.
#[inline(always)]
fn step(words: &mut [u64; 16], to: usize, with: usize, turned: usize, by: u32) {
    const LOW: u64 = 0xffff_ffff;
    let product = (words[to] & LOW) * (words[with] & LOW);
    words[to] = words[to].wrapping_add(words[with]).wrapping_add(product << 1);
    words[turned] = (words[turned] ^ words[to]).rotate_right(by);
}
