//! Where what lies in the file: the preamble, and which block of the file holds which block that redb sees.
//!
//! ```text
//! block 0      preamble: magic, layout, sizes, salt, checksum; never written again
//! blocks 1, 2  two copies of redb's header                                                     (header)
//! block 3      checksums of the next 512 blocks, 8 bytes each                                   (sums)
//! block 4 ...  512 blocks of redb's, from its second page on
//! block 516    checksums of the next 512 blocks, and so on
//! ```
//!
//! The last group is as long as it needs to be. So the length that redb sees follows from the file's, and each from the other.

use std::io::{Error, ErrorKind, Result};

use twox_hash::XxHash3_64;
use uuid::Uuid;

use super::Damage;

/// redb's page and what is verified at once, in bytes.
pub(in crate::store::redb) const BLOCK: usize = 4_096;

/// The block that redb overwrites in place.
pub(super) const HEADER_BLOCK: u64 = 0;

/// As many blocks have their checksums in one.
pub(super) const GROUP: u64 = 512;

/// The block of the file with the checksums of the first group.
const FIRST_GROUP: u64 = 3;

/// The layout that this version makes. It knows no other one.
pub(in crate::store::redb) const LAYOUT: u32 = 2;

/// No text, no redb file, and broken by whatever changes line ends.
const MAGIC: [u8; 16] = *b"\xf5authferry\r\n\x1a\n\0\0";

/// The first bytes of a plain redb file, which a store was before it had this layout.
const REDB_MAGIC: [u8; 9] = *b"redb\x1a\n\xa9\r\n";

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::redb) enum Kind {
    /// Ours, in the layout above or a later one.
    Checked,
    /// Plain redb: a store of the first schema, perhaps.
    PlainRedb,
    /// Something else.
    Foreign,
}

/// Tells what a file is by its first bytes.
pub(in crate::store::redb) fn kind_of(first: &[u8]) -> Kind {
    if first.starts_with(&MAGIC) {
        Kind::Checked
    } else if first.starts_with(&REDB_MAGIC) {
        Kind::PlainRedb
    } else {
        Kind::Foreign
    }
}

/// The checksum of a block (XXH3, 64 bits), seeded with where it lies and whose it is. Never 0, which stands for a block that was
/// never written.
pub(super) fn sum(salt: u64, block: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(salt.wrapping_add(block), bytes).max(1)
}

/// What the first block says.
pub(super) struct Preamble {
    /// Part of the seed of every checksum.
    pub(super) salt: u64,
}

/// Of the preamble's 512 bytes, how many its checksum covers.
const SUMMED: usize = 504;

impl Preamble {
    /// Of a new file.
    pub(super) fn new() -> Self {
        Self { salt: Uuid::new_v4().as_u64_pair().0 }
    }

    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let fields = [
            MAGIC.as_slice(),
            &LAYOUT.to_le_bytes(),
            &(BLOCK as u32).to_le_bytes(),
            &(GROUP as u32).to_le_bytes(),
            &[0; 4],
            &self.salt.to_le_bytes(),
        ];
        put(&mut block, 0, &fields.concat());
        let sum = XxHash3_64::oneshot(block.get(..SUMMED).unwrap_or_default());
        put(&mut block, SUMMED, &sum.to_le_bytes());
        block
    }

    /// Of a file that says it is ours.
    pub(super) fn decode(block: &[u8; BLOCK]) -> Result<Self> {
        let (summed, rest) = block.split_at(SUMMED);
        let sum = XxHash3_64::oneshot(summed);
        if kind_of(block) != Kind::Checked || number(rest, 0) != sum || rest.iter().skip(8).any(|byte| *byte != 0) {
            return Err(Damage::Preamble.into());
        }
        // A later version may lay out everything behind these differently.
        let layout = (number(block, MAGIC.len()) & u64::from(u32::MAX)) as u32;
        if layout != LAYOUT {
            return Err(Damage::NewerLayout(layout).into());
        }
        Ok(Self { salt: number(block, 32) })
    }
}

/// Eight bytes as a number, zero where there are none.
pub(super) fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// Copies into a buffer that is long enough.
pub(super) fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = into.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Where a block that redb sees lies. Not of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which group.
    pub(super) group: u64,
    /// Which block of that group.
    pub(super) index: usize,
    /// Which block of the file.
    pub(super) physical: u64,
}

impl Place {
    pub(super) fn of(block: u64) -> Self {
        let data = block - 1;
        let (group, index) = (data / GROUP, data % GROUP);
        Self { group, index: index as usize, physical: sums_of(group) + 1 + index }
    }
}

/// The block of the file that holds the checksums of a group.
pub(super) fn sums_of(group: u64) -> u64 {
    FIRST_GROUP + group * (GROUP + 1)
}

/// The length of the file in which redb sees so many bytes.
pub(super) fn physical_len(logical: u64) -> Result<u64> {
    if !logical.is_multiple_of(BLOCK as u64) {
        return Err(Error::new(ErrorKind::InvalidInput, "a store's file is made of whole blocks"));
    }
    let blocks = match logical / BLOCK as u64 {
        0 => 1,
        n => {
            let (groups, rest) = ((n - 1) / GROUP, (n - 1) % GROUP);
            sums_of(groups) + if rest > 0 { rest + 1 } else { 0 }
        }
    };
    Ok(blocks * BLOCK as u64)
}

/// How many bytes redb sees in a file of this length. A length that no [`physical_len`] gives is damage.
pub(super) fn logical_len(physical: u64) -> Result<u64> {
    let blocks = physical / BLOCK as u64;
    let logical = match blocks.checked_sub(FIRST_GROUP) {
        None => 0,
        Some(data) => {
            let (groups, rest) = (data / (GROUP + 1), data % (GROUP + 1));
            (1 + groups * GROUP + rest.saturating_sub(1)) * BLOCK as u64
        }
    };
    if physical_len(logical)? == physical { Ok(logical) } else { Err(Damage::Length(physical).into()) }
}

/// A part of what redb reads or writes: of the header, of one block, or whole blocks of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The first block.
    pub(super) block: u64,
    /// Where in it.
    pub(super) within: usize,
    /// How many bytes.
    pub(super) length: usize,
}

impl Part {
    /// Whether it is made of whole blocks.
    pub(super) fn is_whole(self) -> bool {
        self.within == 0 && self.length.is_multiple_of(BLOCK)
    }
}

/// The parts of `length` bytes from `offset` on.
pub(super) fn parts(offset: u64, length: usize) -> impl Iterator<Item = Part> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = length - done;
        if left == 0 {
            return None;
        }
        let at = offset + done as u64;
        let (block, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
        let length = if within == 0 && left >= BLOCK && block != HEADER_BLOCK {
            let to_end_of_group = GROUP as usize - Place::of(block).index;
            (left / BLOCK).min(to_end_of_group) * BLOCK
        } else {
            left.min(BLOCK - within)
        };
        done += length;
        Some(Part { block, within, length })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_blocks_lie_behind_their_checksums() {
        assert_eq!(Place::of(1), Place { group: 0, index: 0, physical: 4 });
        assert_eq!(Place::of(512), Place { group: 0, index: 511, physical: 515 });
        assert_eq!(Place::of(513), Place { group: 1, index: 0, physical: 517 });
    }

    #[test]
    fn a_length_that_was_never_set_is_damage() {
        let block = BLOCK as u64;
        for blocks in [0, 2, 4, 517] {
            assert!(logical_len(blocks * block).is_err(), "{blocks} blocks");
        }
        assert!(logical_len(3 * block + 1).is_err());
        assert_eq!(logical_len(block).ok(), Some(0));
        assert_eq!(logical_len(3 * block).ok(), Some(block));
    }

    #[test]
    fn files_are_told_apart_by_their_first_bytes() {
        assert_eq!(kind_of(&Preamble::new().encode()), Kind::Checked);
        assert_eq!(kind_of(b"redb\x1a\n\xa9\r\n and more"), Kind::PlainRedb);
        for foreign in [b"".as_slice(), b"redb", b"SQLite format 3\0", b"\xf5authferry\n\x1a\n\0\0\0", &[0; 100]] {
            assert_eq!(kind_of(foreign), Kind::Foreign);
        }
    }

    #[test]
    fn every_flip_in_the_preamble_is_met() {
        let whole = Preamble::new().encode();
        assert!(Preamble::decode(&whole).is_ok());
        for at in 0..512 {
            for bit in 0..8 {
                let mut damaged = whole;
                damaged[at] ^= 1 << bit;
                assert!(Preamble::decode(&damaged).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn each_length_follows_from_the_other(blocks in 0_u64..5_000_000) {
            let logical = blocks * BLOCK as u64;
            prop_assert_eq!(logical_len(physical_len(logical).expect("whole blocks")).expect("a length of ours"), logical);
        }

        #[test]
        fn blocks_lie_one_behind_the_other_and_within_the_file(block in 1_u64..5_000_000) {
            let (one, next) = (Place::of(block), Place::of(block + 1));
            prop_assert_eq!(next.physical - one.physical, if next.group == one.group { 1 } else { 2 });
            prop_assert!(sums_of(one.group) < one.physical && one.physical < sums_of(one.group + 1));
            let end = physical_len((block + 1) * BLOCK as u64).expect("whole blocks") / BLOCK as u64;
            prop_assert_eq!(end, one.physical + 1);
        }

        #[test]
        fn parts_cover_what_was_asked_for_once(offset in 0_u64..9_000_000, length in 0_usize..6_000_000) {
            let (mut at, mut left) = (offset, length);
            for part in parts(offset, length) {
                prop_assert_eq!((part.block * BLOCK as u64 + part.within as u64, part.length > 0), (at, true));
                at += part.length as u64;
                left -= part.length;
                if part.is_whole() && part.block != HEADER_BLOCK {
                    let last = part.block + (part.length / BLOCK) as u64 - 1;
                    prop_assert_eq!(Place::of(part.block).group, Place::of(last).group);
                } else {
                    prop_assert!(part.within + part.length <= BLOCK);
                }
            }
            prop_assert_eq!(left, 0);
        }
    }
}
