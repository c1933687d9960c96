//! The compression function with AVX-512: eight words in a vector, a whole block in sixteen of the 32 registers (RFC 9106,
//! sections 3.5 and 3.6).
//!
//! Safe code, that may be called only where AVX-512F is: `boundary` does.
//!
//! # How the words lie
//!
//! A row of the block is 16 words, and so is a column: two neighbouring words of each row. P mixes 16 words in two halves: the
//! four columns of their 4x4 matrix, and then its four diagonals. A vector instruction does the same in each of its eight
//! places, and where a word stands in a vector does not matter, as long as in each of the four vectors that are mixed its
//! partners stand in the same place.
//!
//! So the vectors are a 4x4 matrix themselves: vector `(s, x)` has words `4x` to `4x + 3` of rows `2s` and `2s + 1`. Rows are
//! mixed along `x`, columns along `s`. Its eight words are a square of two rows and two columns; they may stand in any order,
//! and there are only two kinds:
//!
//! - For the diagonals of rows, the places along `x` are turned against each other: in `(s, x)` each row's four words by `x`.
//!   Along `s` they agree, and this is all that the columns of columns need.
//! - For the diagonals of columns, in `(s, x)` each column's four words are turned by `s`. Along `x` they agree, and this is all
//!   that the columns of rows need, those of the next block.
//!
//! Changing from one kind to the other is one instruction a vector, twice a block. In memory blocks rest in the second kind;
//! [`place`] tells it.

#![expect(clippy::indexing_slicing, reason = "arrays of known length, gone over by loops of the same bounds")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_mul_epu32, _mm512_permutexvar_epi64, _mm512_ror_epi64, _mm512_set_epi64,
    _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

use super::segment::{Next, Old, Segment};

/// A block: vector `(s, x)` is `[s][x]`.
pub(super) type Tile = [[__m512i; 4]; 4];

#[target_feature(enable = "avx512f")]
pub(super) fn fill(segment: &Segment, memory: &mut [Tile]) {
    segment.fill(memory, |previous, reference, new, old, next| compress(previous, reference, new, old, next));
}

#[target_feature(enable = "avx512f")]
#[inline]
fn compress(previous: &Tile, reference: &Tile, new: &mut Tile, old: Old, next: Next<'_, Tile>) {
    let mut mixed = *previous;
    for s in 0..4 {
        for x in 0..4 {
            // Rows are mixed along `x`.
            mixed[x][s] = _mm512_xor_si512(previous[s][x], reference[s][x]);
        }
    }
    mix(&mut mixed);
    for s in 0..4 {
        for x in 0..4 {
            mixed[x][s] = arranged(mixed[x][s], &TO_ROWS[s][x]);
        }
    }
    mix(&mut mixed);
    // And columns along `s`. Those that the block's first word is in come first: it is waited for.
    let [[a, a1, a2, a3], [b, b1, b2, b3], [c, c1, c2, c3], [d, d1, d2, d3]] = transposed(mixed);
    mix_columns::<0, 1>([[a], [b], [c], [d]], previous, reference, new, old);
    next.leads_on(new);
    mix_columns::<1, 3>([[a1, a2, a3], [b1, b2, b3], [c1, c2, c3], [d1, d2, d3]], previous, reference, new, old);
}

/// P on the columns of `N` sets of vectors, of which `FIRST` is the first, and what they come to into the new block.
#[target_feature(enable = "avx512f")]
#[inline]
fn mix_columns<const FIRST: usize, const N: usize>(
    mut mixed: [[__m512i; N]; 4],
    previous: &Tile,
    reference: &Tile,
    new: &mut Tile,
    old: Old,
) {
    mix(&mut mixed);
    for s in 0..4 {
        for x in 0..N {
            mixed[s][x] = arranged(mixed[s][x], &TO_COLUMNS[s][FIRST + x]);
        }
    }
    mix(&mut mixed);
    for s in 0..4 {
        for x in 0..N {
            let made = xor3(mixed[s][x], previous[s][FIRST + x], reference[s][FIRST + x]);
            new[s][FIRST + x] = match old {
                Old::Gone => made,
                Old::Kept => _mm512_xor_si512(new[s][FIRST + x], made),
            };
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn transposed(of: Tile) -> Tile {
    let mut to = of;
    for s in 0..4 {
        for x in 0..4 {
            to[s][x] = of[x][s];
        }
    }
    to
}

/// GB on the words in the same places of four vectors, in `N` sets of these side by side.
#[target_feature(enable = "avx512f")]
#[inline]
fn mix<const N: usize>([a, b, c, d]: &mut [[__m512i; N]; 4]) {
    step::<32, N>(a, b, d);
    step::<24, N>(c, d, b);
    step::<16, N>(a, b, d);
    step::<63, N>(c, d, b);
}

/// `to = to + with + 2 * low(to) * low(with)`, and `turned = (turned ^ to) >>> BY`.
#[target_feature(enable = "avx512f")]
#[inline]
fn step<const BY: i32, const N: usize>(to: &mut [__m512i; N], with: &[__m512i; N], turned: &mut [__m512i; N]) {
    for i in 0..N {
        let product = _mm512_mul_epu32(to[i], with[i]);
        to[i] = _mm512_add_epi64(_mm512_add_epi64(to[i], with[i]), _mm512_add_epi64(product, product));
        turned[i] = _mm512_ror_epi64::<BY>(_mm512_xor_si512(turned[i], to[i]));
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0b1001_0110>(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn arranged(vector: __m512i, from: &[i64; 8]) -> __m512i {
    let [a, b, c, d, e, f, g, h] = *from;
    _mm512_permutexvar_epi64(_mm512_set_epi64(h, g, f, e, d, c, b, a), vector)
}

/// For each vector and each of its places, where the word that comes there was.
type Arrangement = [[[i64; 8]; 4]; 4];

const TO_ROWS: Arrangement = arrangement(Kind::Columns, Kind::Rows);
const TO_COLUMNS: Arrangement = arrangement(Kind::Rows, Kind::Columns);

/// What the diagonals are of that the words stand ready for.
#[derive(Clone, Copy)]
enum Kind {
    Rows,
    Columns,
}

impl Kind {
    /// Which of its square's eight words, `4 * row + column`, stands in a place of vector `(s, x)`.
    const fn word(self, s: usize, x: usize, place: usize) -> usize {
        match self {
            // Its row's next but x.
            Self::Rows => (place & 4) | ((place + x) & 3),
            // A column's four words are two pairs, one in each row.
            Self::Columns => {
                let (row, pair, word) = (place >> 2, place & 2, place & 1);
                let turned = 2 * row + word + s;
                ((turned & 2) << 1) | pair | (turned & 1)
            }
        }
    }
}

const fn arrangement(from: Kind, to: Kind) -> Arrangement {
    let mut arrangement = [[[0; 8]; 4]; 4];
    let mut at = 0;
    // Every pair of an old place and a new one, of every vector.
    while at < 4 * 4 * 8 * 8 {
        let (s, x, old, new) = (at >> 8, (at >> 6) & 3, (at >> 3) & 7, at & 7);
        if from.word(s, x, old) == to.word(s, x, new) {
            arrangement[s][x][new] = old as i64;
        }
        at += 1;
    }
    arrangement
}

/// Where a word of the block lies in memory.
pub(super) const fn place(word: usize) -> usize {
    let (s, x, in_square) = (word >> 5, (word >> 2) & 3, ((word >> 2) & 4) | (word & 3));
    let mut place = 0;
    while Kind::Columns.word(s, x, place) != in_square {
        place += 1;
    }
    32 * s + 8 * x + place
}
