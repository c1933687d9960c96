//! The compression function with AVX2: four words in a vector (RFC 9106, sections 3.5 and 3.6).
//!
//! Safe code, that may be called only where AVX2 is: `boundary` does. Two sets of 16 words are mixed side by side: what one of
//! them waits for leaves time for the other.

#![expect(clippy::indexing_slicing, reason = "arrays of known length, gone over by loops of the same bounds")]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_alignr_epi8, _mm256_mul_epu32, _mm256_permute4x64_epi64, _mm256_setr_epi8,
    _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_srli_epi64, _mm256_xor_si256,
};

use super::boundary::Tile as _;
use super::segment::{Next, Old, Segment};

/// A block: eight rows of 16 words, each as four vectors.
pub(super) type Tile = [[__m256i; 4]; 8];

/// The vectors that stand in the same place of two sets.
type Pair = [__m256i; 2];

#[target_feature(enable = "avx2")]
pub(super) fn fill(segment: &Segment, memory: &mut [Tile]) {
    let rotations = Rotations::new();
    let mut rows = Tile::ZERO;
    segment.fill(memory, |previous, reference, new, old, next| {
        compress(previous, reference, new, old, next, &mut rows, rotations);
    });
}

#[target_feature(enable = "avx2")]
#[inline]
fn compress(
    previous: &Tile,
    reference: &Tile,
    new: &mut Tile,
    old: Old,
    next: Next<'_, Tile>,
    mixed: &mut Tile,
    rotations: Rotations,
) {
    for pair in 0..4 {
        let row = 2 * pair;
        let combined = |x: usize| {
            [
                _mm256_xor_si256(previous[row][x], reference[row][x]),
                _mm256_xor_si256(previous[row + 1][x], reference[row + 1][x]),
            ]
        };
        let [a, b, c, d] = permute_rows([combined(0), combined(1), combined(2), combined(3)], rotations);
        mixed[row] = [a[0], b[0], c[0], d[0]];
        mixed[row + 1] = [a[1], b[1], c[1], d[1]];
    }
    for x in 0..4 {
        let pair = |row: usize| [mixed[row][x], mixed[row + 1][x]];
        let columns = permute_columns([pair(0), pair(2), pair(4), pair(6)], rotations);
        for (row, vector) in columns.into_iter().flatten().enumerate() {
            let made = _mm256_xor_si256(vector, _mm256_xor_si256(previous[row][x], reference[row][x]));
            new[row][x] = match old {
                Old::Gone => made,
                Old::Kept => _mm256_xor_si256(new[row][x], made),
            };
        }
        if x == 0 {
            next.leads_on(new);
        }
    }
}

/// P on two rows: each is four vectors, with four words in order.
#[target_feature(enable = "avx2")]
#[inline]
fn permute_rows(rows: [Pair; 4], rotations: Rotations) -> [Pair; 4] {
    // Each vector turned by as many places as make the diagonals columns, but all by one less: `b`, which is ready last, is
    // ready at once.
    let [a, b, c, d] = mix(rows, rotations);
    let diagonals = [turn::<BY_3>(a), b, turn::<BY_1>(c), turn::<BY_2>(d)];
    let [a, b, c, d] = mix(diagonals, rotations);
    [turn::<BY_1>(a), b, turn::<BY_3>(c), turn::<BY_2>(d)]
}

const BY_1: i32 = 0b00_11_10_01;
const BY_2: i32 = 0b01_00_11_10;
const BY_3: i32 = 0b10_01_00_11;

#[target_feature(enable = "avx2")]
#[inline]
fn turn<const BY: i32>(vectors: Pair) -> Pair {
    [_mm256_permute4x64_epi64::<BY>(vectors[0]), _mm256_permute4x64_epi64::<BY>(vectors[1])]
}

/// P on two columns: the halves of a vector are two neighbouring words of the one and of the other, and the next two are in the
/// pair's second.
#[target_feature(enable = "avx2")]
#[inline]
fn permute_columns(columns: [Pair; 4], rotations: Rotations) -> [Pair; 4] {
    let [a, b, c, d] = mix(columns, rotations);
    let [a, b, c, d] = mix([turn_pair_by_3(a), b, turn_pair_by_1(c), [d[1], d[0]]], rotations);
    [turn_pair_by_1(a), b, turn_pair_by_3(c), [d[1], d[0]]]
}

#[target_feature(enable = "avx2")]
#[inline]
fn turn_pair_by_1([first, second]: Pair) -> Pair {
    [_mm256_alignr_epi8::<8>(second, first), _mm256_alignr_epi8::<8>(first, second)]
}

#[target_feature(enable = "avx2")]
#[inline]
fn turn_pair_by_3([first, second]: Pair) -> Pair {
    [_mm256_alignr_epi8::<8>(first, second), _mm256_alignr_epi8::<8>(second, first)]
}

/// Which bytes come where when words are rotated right by whole bytes.
#[derive(Clone, Copy)]
struct Rotations {
    by_24: __m256i,
    by_16: __m256i,
}

impl Rotations {
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        let by_24 = _mm256_setr_epi8(
            3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10, 3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10,
        );
        let by_16 = _mm256_setr_epi8(
            2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9, 2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9,
        );
        // The compiler is not to know them: it would make two or three shuffles out of one.
        std::hint::black_box(Self { by_24, by_16 })
    }
}

/// GB on the words in the same places.
#[target_feature(enable = "avx2")]
#[inline]
fn mix([mut a, mut b, mut c, mut d]: [Pair; 4], rotations: Rotations) -> [Pair; 4] {
    for i in 0..2 {
        a[i] = add_with_product(a[i], b[i]);
        d[i] = _mm256_shuffle_epi32::<0b10_11_00_01>(_mm256_xor_si256(d[i], a[i]));
    }
    for i in 0..2 {
        c[i] = add_with_product(c[i], d[i]);
        b[i] = _mm256_shuffle_epi8(_mm256_xor_si256(b[i], c[i]), rotations.by_24);
    }
    for i in 0..2 {
        a[i] = add_with_product(a[i], b[i]);
        d[i] = _mm256_shuffle_epi8(_mm256_xor_si256(d[i], a[i]), rotations.by_16);
    }
    for i in 0..2 {
        c[i] = add_with_product(c[i], d[i]);
        let changed = _mm256_xor_si256(b[i], c[i]);
        b[i] = _mm256_xor_si256(_mm256_srli_epi64::<63>(changed), _mm256_add_epi64(changed, changed));
    }
    [a, b, c, d]
}

/// `to + with + 2 * low(to) * low(with)`.
#[target_feature(enable = "avx2")]
#[inline]
fn add_with_product(to: __m256i, with: __m256i) -> __m256i {
    let product = _mm256_mul_epu32(to, with);
    _mm256_add_epi64(_mm256_add_epi64(to, with), _mm256_add_epi64(product, product))
}
