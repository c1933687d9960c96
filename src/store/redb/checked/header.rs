//! redb's header: the one thing that it overwrites in place, several times a commit, and on which all else hangs.
//!
//! Kept twice, in blocks 1 and 2 of the file. Each copy lies within one sector of 512 bytes, with a running number and a checksum
//! of its own, and both are written each time, one after the other. So a sector that a power cut spoiled, or that was damaged later,
//! leaves the other copy; and of two good copies the later one counts. Between two syncs redb is content with either.

use std::io::{Error, ErrorKind, Result};

use ::redb::StorageBackend;

use super::Damage;
use super::layout::{BLOCK, number, put, sum};

/// What a disk writes at once.
const SECTOR: usize = 512;

/// How much of its first page redb may use: its header has 320 bytes.
pub(in crate::store::redb) const ROOM: usize = SECTOR - 16;

/// Where the running number lies.
const NUMBER_AT: usize = ROOM;

/// Where the checksum lies, of all before it.
const SUM_AT: usize = SECTOR - 8;

/// The blocks of the file with the copies.
const COPIES: [u64; 2] = [1, 2];

/// The header, as it is on disk or about to be.
pub(super) struct Header {
    bytes: [u8; ROOM],
    number: u64,
}

impl Header {
    /// Reads both copies and takes the later one that is whole.
    pub(super) fn load(base: &impl StorageBackend, salt: u64) -> Result<Self> {
        let mut best: Option<Self> = None;
        let (mut spoilt, mut untouched, mut unread) = (0, 0, None);
        for copy in COPIES {
            let mut sector = [0; SECTOR];
            // A sector that cannot be read is as good as a damaged one.
            let read = base.read(copy * BLOCK as u64, &mut sector);
            match decode(&sector, salt).filter(|_| read.is_ok()) {
                Some(header) if best.as_ref().is_none_or(|best| best.number < header.number) => best = Some(header),
                Some(_) => {}
                None if read.is_ok() && sector == [0; SECTOR] => untouched += 1,
                None => {
                    spoilt += 1;
                    unread = unread.or(read.err());
                }
            }
        }
        match best {
            Some(header) => {
                if spoilt + untouched > 0 {
                    tracing::warn!(
                        "one of the two copies of the header of the store's file was damaged; the other one is whole"
                    );
                }
                Ok(header)
            }
            // It was made and never written.
            None if spoilt == 0 => Ok(Self { bytes: [0; ROOM], number: 0 }),
            None => Err(unread.unwrap_or_else(|| Damage::Header.into())),
        }
    }

    /// A part of redb's first page: what lies behind the header is zeros.
    pub(super) fn read(&self, within: usize, out: &mut [u8]) -> Result<()> {
        out.fill(0);
        let known = self.bytes.get(within..).unwrap_or_default();
        let length = known.len().min(out.len());
        put(out, 0, known.get(..length).unwrap_or_default());
        Ok(())
    }

    /// Changes it and writes both copies.
    pub(super) fn write(&mut self, base: &impl StorageBackend, salt: u64, within: usize, data: &[u8]) -> Result<()> {
        let Some(place) = self.bytes.get_mut(within..within + data.len()) else {
            return Err(Error::new(ErrorKind::InvalidInput, "redb's header has become longer than its place"));
        };
        place.copy_from_slice(data);
        self.number += 1;
        let sector = self.encode(salt);
        for copy in COPIES {
            base.write(copy * BLOCK as u64, &sector)?;
        }
        Ok(())
    }

    fn encode(&self, salt: u64) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, &self.bytes);
        put(&mut sector, NUMBER_AT, &self.number.to_le_bytes());
        let sum = sum(salt, 0, sector.get(..SUM_AT).unwrap_or_default());
        put(&mut sector, SUM_AT, &sum.to_le_bytes());
        sector
    }
}

fn decode(sector: &[u8; SECTOR], salt: u64) -> Option<Header> {
    let (summed, _) = sector.split_at(SUM_AT);
    (number(sector, SUM_AT) == sum(salt, 0, summed)).then_some(())?;
    Some(Header { bytes: *sector.first_chunk()?, number: number(sector, NUMBER_AT) })
}

#[cfg(test)]
mod tests {
    use ::redb::backends::InMemoryBackend;

    use super::*;

    const SALT: u64 = 7;

    fn written(times: u8) -> InMemoryBackend {
        let base = InMemoryBackend::new();
        base.set_len(3 * BLOCK as u64).expect("memory");
        let mut header = Header::load(&base, SALT).expect("never written");
        for n in 1..=times {
            header.write(&base, SALT, 9, &[n; 300]).expect("memory");
        }
        base
    }

    fn ninth(base: &InMemoryBackend) -> Option<u8> {
        Header::load(base, SALT).ok().and_then(|header| header.bytes.get(9).copied())
    }

    fn flip(base: &InMemoryBackend, at: u64) {
        let mut byte = [0];
        base.read(at, &mut byte).expect("inside");
        base.write(at, &[byte[0] ^ 0x10]).expect("inside");
    }

    #[test]
    fn either_copy_alone_will_do() {
        for copy in COPIES {
            for at in 0..SECTOR as u64 {
                let base = written(3);
                flip(&base, copy * BLOCK as u64 + at);
                assert_eq!(ninth(&base), Some(3), "copy {copy}, byte {at}");
            }
        }
    }

    #[test]
    fn both_copies_damaged_are_no_header() {
        let base = written(3);
        for copy in COPIES {
            flip(&base, copy * BLOCK as u64 + 20);
        }
        let error = Header::load(&base, SALT).err().expect("damage");
        assert_eq!(Damage::of(&error), Some(Damage::Header));
    }

    #[test]
    fn the_later_copy_counts_whichever_it_is() {
        for (older, kept) in [(1, 2), (2, 1)] {
            let (before, after) = (written(1), written(2));
            let mut old = [0; SECTOR];
            before.read(older * BLOCK as u64, &mut old).expect("inside");
            after.write(older * BLOCK as u64, &old).expect("inside");
            assert_eq!(ninth(&after), Some(2), "copy {kept} is later");
        }
    }

    #[test]
    fn a_header_of_another_store_is_none() {
        let base = written(1);
        assert!(Header::load(&base, SALT + 1).is_err());
    }

    #[test]
    fn what_lies_behind_it_is_zeros_and_cannot_be_written() {
        let base = written(1);
        let mut header = Header::load(&base, SALT).expect("a header");
        let mut page = [1; BLOCK];
        header.read(0, &mut page).expect("a page");
        assert!(page[9..309].iter().all(|byte| *byte == 1) && page[309..].iter().all(|byte| *byte == 0));
        assert!(header.write(&base, SALT, ROOM - 1, &[1, 1]).is_err());
    }
}
