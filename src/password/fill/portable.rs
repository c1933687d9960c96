//! The compression function in plain words, for every processor (RFC 9106, sections 3.5 and 3.6).
//!
//! Also what the versions with vector instructions are easiest read beside. Four words are mixed with four others at once, side by side, which
//! compilers turn into what short vectors the target has.

#![expect(clippy::indexing_slicing, reason = "arrays of known length, gone over by loops of the same bounds")]

use super::boundary::WORDS;
use super::segment::{Old, Segment};

/// A block, word by word.
pub(super) type Tile = [u64; WORDS];

/// The 16 words of P, as the rows of a matrix.
type Rows = [[u64; 4]; 4];

pub(super) fn fill(segment: &Segment, memory: &mut [Tile]) {
    segment.fill(memory, compress);
}

/// G: both blocks combined, P over each row of 16 words and over each column of eight pairs, and the combination once more.
#[inline]
fn compress(previous: &Tile, reference: &Tile, new: &mut Tile, old: Old) {
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
    let Ok(rows): Result<&mut Rows, _> = words.as_chunks_mut().0.try_into() else { return };
    mix(rows);
    // The diagonals become columns, and go back.
    let [_, b, c, d] = rows;
    (b.rotate_left(1), c.rotate_left(2), d.rotate_left(3));
    mix(rows);
    let [_, b, c, d] = rows;
    (b.rotate_right(1), c.rotate_right(2), d.rotate_right(3));
}

/// GB on each column of the matrix.
#[inline(always)]
fn mix([a, b, c, d]: &mut Rows) {
    step(a, b, d, 32);
    step(c, d, b, 24);
    step(a, b, d, 16);
    step(c, d, b, 63);
}

/// `to = to + with + 2 * low(to) * low(with)`, and `turned = (turned ^ to) >>> by`.
#[inline(always)]
fn step(to: &mut [u64; 4], with: &[u64; 4], turned: &mut [u64; 4], by: u32) {
    const LOW: u64 = 0xffff_ffff;
    for ((to, with), turned) in to.iter_mut().zip(with).zip(turned) {
        let product = (*to & LOW) * (with & LOW);
        *to = to.wrapping_add(*with).wrapping_add(product.wrapping_mul(2));
        *turned = (*turned ^ *to).rotate_right(by);
    }
}
