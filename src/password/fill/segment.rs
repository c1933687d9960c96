//! Which block is made of which: the memory as lanes of four slices, and the rule by which each new block finds the older one
//! that it is mixed with (RFC 9106, sections 3.2 and 3.4).
//!
//! The one loop over the blocks of a segment is here, the same for every implementation; what mixes two blocks is handed in.
//! Never looks into a block but at its first word, and at the words of address blocks.

use argon2::{Algorithm, Params, Version};

use super::boundary::{self, Ahead, Tile};

/// Slices of a lane: after each, all lanes wait for each other.
const SLICES: usize = 4;

/// Addresses in a block of them.
const ADDRESSES: usize = 128;

/// After as many blocks, about a millisecond, whoever else waits for the core has a turn: threads that serve connections need it for
/// microseconds, and would otherwise wait until the scheduler takes it away, which beside a flood of logins made their slowest
/// answers several times slower. Where nobody waits this is one system call. More turns would give those who compute beside us more
/// than their share: to Linux's scheduler, who yields has used his time slice up.
const BLOCKS_A_TURN: usize = 4_096;

/// What becomes of the block that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    /// It is overwritten.
    Gone,
    /// It goes into the new one: from the second pass on, since version 19.
    Kept,
}

/// How the memory is laid out and gone over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    algorithm: Algorithm,
    version: Version,
    pub(super) passes: u32,
    pub(super) lanes: usize,
    pub(super) lane_length: usize,
}

impl Shape {
    pub(super) fn new(algorithm: Algorithm, version: Version, params: &Params) -> Self {
        let lanes = params.p_cost() as usize;
        Self { algorithm, version, passes: params.t_cost(), lanes, lane_length: params.block_count() / lanes }
    }

    pub(super) fn blocks(&self) -> usize {
        self.lanes * self.lane_length
    }

    /// All segments, each after those that it needs.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment> + use<> {
        let (shape, lanes) = (*self, self.lanes);
        let slices = (0..self.passes).flat_map(|pass| (0..SLICES).map(move |slice| (pass, slice)));
        slices.flat_map(move |(pass, slice)| (0..lanes).map(move |lane| Segment { shape, pass, slice, lane }))
    }
}

/// A quarter of a lane, in one pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    shape: Shape,
    pass: u32,
    slice: usize,
    lane: usize,
}

impl Segment {
    fn length(&self) -> usize {
        self.shape.lane_length / SLICES
    }

    /// Whether references do not depend on what is in the memory, and so on the password.
    fn is_independent(&self) -> bool {
        match self.shape.algorithm {
            Algorithm::Argon2d => false,
            Algorithm::Argon2i => true,
            Algorithm::Argon2id => self.pass == 0 && self.slice < SLICES / 2,
        }
    }

    fn old(&self) -> Old {
        match self.shape.version {
            Version::V0x10 => Old::Gone,
            Version::V0x13 if self.pass == 0 => Old::Gone,
            Version::V0x13 => Old::Kept,
        }
    }

    /// The first block to be made: a lane's first two are there already.
    fn first(&self) -> usize {
        if self.pass == 0 && self.slice == 0 { 2 } else { 0 }
    }

    /// Where in the memory the block with this number in the segment lies.
    fn place(&self, number: usize) -> usize {
        self.lane * self.shape.lane_length + self.slice * self.length() + number
    }

    /// And the one before it, for a lane's first its last.
    fn before(&self, number: usize) -> usize {
        let place = self.place(number);
        if self.slice == 0 && number == 0 { place + self.shape.lane_length - 1 } else { place - 1 }
    }

    /// Where in the memory the block lies that a random word leads to (section 3.4.2). Never the new block itself, nor the one
    /// before it.
    #[inline(always)]
    fn reference(&self, number: usize, random: u64) -> usize {
        let Shape { lanes, lane_length, .. } = self.shape;
        let is_first_slice = self.pass == 0 && self.slice == 0;
        // A division would be on the way that every block has to wait for.
        let lane = if is_first_slice || lanes == 1 { self.lane } else { (random >> 32) as usize % lanes };
        // What is finished: slices of this pass, or of the one before; in the own lane also this segment, but for its last block.
        let slices = if self.pass == 0 { self.slice } else { SLICES - 1 };
        let finished = slices * self.length();
        let area = if lane == self.lane { finished + number - 1 } else { finished - usize::from(number == 0) };
        // Squaring makes younger blocks likelier.
        let square = (random & 0xffff_ffff).pow(2) >> 32;
        let back = (area as u64 * square) >> 32;
        let offset = area - 1 - back as usize;
        // The oldest block that is left of the pass before stands behind this segment.
        let oldest = if self.pass == 0 { 0 } else { (self.slice + 1) * self.length() };
        let (column, beyond) = (oldest + offset, oldest + offset >= lane_length);
        lane * lane_length + if beyond { column - lane_length } else { column }
    }

    /// Makes all its blocks. `compress` is G (section 3.5) of the block before and of the one referred to, into the new one; it
    /// tells the first word of this as soon as it has it.
    ///
    /// Inlined into a function that is compiled for the instructions that `compress` uses.
    #[inline(always)]
    pub(super) fn fill<T: Tile>(&self, memory: &mut [T], mut compress: impl FnMut(&T, &T, &mut T, Old, Next<'_, T>)) {
        let old = self.old();
        let mut addresses = self.is_independent().then(|| Addresses::new(self));
        let ahead = Ahead::of(memory);
        let mut random = match &mut addresses {
            Some(addresses) => addresses.word(self.first(), &mut compress),
            None => memory.get(self.before(self.first())).map_or(0, |block| boundary::words(block)[0]),
        };
        for number in self.first()..self.length() {
            let reference = self.reference(number, random);
            let is_last = number + 1 == self.length();
            if let Some(addresses) = addresses.as_mut().filter(|_| !is_last) {
                // What the next one needs can be on its way while this one is made.
                random = addresses.word(number + 1, &mut compress);
                ahead.expect(self.reference(number + 1, random));
            }
            let blocks = [self.before(number), reference, self.place(number)];
            let Ok([previous, reference, new]) = memory.get_disjoint_mut(blocks) else {
                unreachable!("three blocks within the memory, none of them another: see `reference`");
            };
            let depends = addresses.is_none() && !is_last;
            compress(previous, reference, new, old, Next(depends.then_some((self, number + 1, &ahead))));
            if depends {
                random = boundary::words(new)[0];
            }
            if number % BLOCKS_A_TURN == BLOCKS_A_TURN - 1 {
                std::thread::yield_now();
            }
        }
    }
}

/// The block that comes after one, if what it refers to depends on that one's first word.
#[derive(Clone, Copy)]
pub(super) struct Next<'a, T>(Option<(&'a Segment, usize, &'a Ahead<T>)>);

impl<T: Tile> Next<'_, T> {
    /// Has the block fetched that a new one leads to, of which only the first word is there yet: what is still to be done takes
    /// about as long as half a way to the memory.
    #[inline(always)]
    pub(super) fn leads_on(self, new: &T) {
        if let Some((segment, number, ahead)) = self.0 {
            ahead.expect(segment.reference(number, boundary::words(new)[0]));
        }
    }
}

/// The random words of a segment whose references depend on nothing but the parameters (section 3.4.1.2).
struct Addresses<T> {
    zero: T,
    input: T,
    /// How many address blocks were made.
    made: usize,
    words: T,
}

impl<T: Tile> Addresses<T> {
    #[inline(always)]
    fn new(segment: &Segment) -> Self {
        let Segment { shape, pass, slice, lane } = *segment;
        let mut input = T::ZERO;
        let numbers = [
            u64::from(pass),
            lane as u64,
            slice as u64,
            shape.blocks() as u64,
            shape.passes.into(),
            shape.algorithm as u64,
        ];
        for (index, number) in numbers.into_iter().enumerate() {
            set(&mut input, index, number);
        }
        Self { zero: T::ZERO, input, made: 0, words: T::ZERO }
    }

    /// The word for a block of the segment. They are asked for in order.
    #[inline(always)]
    fn word(&mut self, number: usize, mut compress: impl FnMut(&T, &T, &mut T, Old, Next<'_, T>)) -> u64 {
        let counter = number / ADDRESSES + 1;
        if self.made != counter {
            self.made = counter;
            set(&mut self.input, 6, counter as u64);
            let mut once = T::ZERO;
            compress(&self.zero, &self.input, &mut once, Old::Gone, Next(None));
            compress(&self.zero, &once, &mut self.words, Old::Gone, Next(None));
        }
        boundary::words(&self.words).get(T::place(number % ADDRESSES)).copied().unwrap_or_default()
    }
}

fn set<T: Tile>(tile: &mut T, index: usize, number: u64) {
    if let Some(word) = boundary::words_mut(tile).get_mut(T::place(index)) {
        *word = number;
    }
}
