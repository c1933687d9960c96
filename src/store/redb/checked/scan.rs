//! Every damaged block of a file, rather than the first that somebody meets. Called where damage was met already, by
//! [`super::super::offline`]: what a power cut left in blocks that nothing refers to does not match its checksum either, and is told
//! with the rest.

use std::io::Result;

use ::redb::StorageBackend;

use super::layout::{BLOCK, GROUP, Place, sum};
use super::{Checked, Damage, EIO};

/// As many blocks are read at once.
const RUN: u64 = 64;

impl<B: StorageBackend> Checked<B> {
    /// Reads the whole file and tells of each block that is not what was written there. Neither logs nor counts.
    pub(in crate::store::redb) fn scan(&self, found: &mut dyn FnMut(Damage)) -> Result<()> {
        if let Err(error) = self.with_header(|_whole| Ok(())) {
            found(Damage::of(&error).ok_or(error)?);
        }
        let blocks = self.len()? / BLOCK as u64;
        let mut buffer = vec![0; RUN as usize * BLOCK];
        let mut block = 1;
        while block < blocks {
            let place = Place::of(block);
            let count = RUN.min(GROUP - place.index as u64).min(blocks - block);
            let run = buffer.get_mut(..count as usize * BLOCK).unwrap_or_default();
            if self.base.read(place.physical * BLOCK as u64, run).is_ok() {
                for (n, bytes) in (0..).zip(run.chunks(BLOCK)) {
                    self.judge(Place::of(block + n), bytes, found)?;
                }
            } else {
                self.one_by_one(block..block + count, found)?;
            }
            block += count;
        }
        Ok(())
    }

    /// Where a run cannot be read at once, the sectors of some of its blocks are gone.
    fn one_by_one(&self, blocks: std::ops::Range<u64>, found: &mut dyn FnMut(Damage)) -> Result<()> {
        let mut bytes = [0; BLOCK];
        for place in blocks.map(Place::of) {
            let at = place.physical * BLOCK as u64;
            match self.base.read(at, &mut bytes) {
                Ok(()) => self.judge(place, &bytes, found)?,
                Err(error) if error.raw_os_error() == Some(EIO) => found(Damage::Unreadable(at)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn judge(&self, place: Place, bytes: &[u8], found: &mut dyn FnMut(Damage)) -> Result<()> {
        if !self.is_whole(place, 0, bytes)? {
            found(Damage::Block(place.physical * BLOCK as u64));
        }
        Ok(())
    }

    /// Whether a block, `n` behind a place of its group, is what was written there.
    pub(super) fn is_whole(&self, place: Place, n: usize, bytes: &[u8]) -> Result<bool> {
        Ok(match self.sums.entry(&self.base, place.group, place.index + n)? {
            0 => bytes.iter().all(|byte| *byte == 0),
            expected => expected == sum(self.salt, place.physical + n as u64, bytes),
        })
    }
}
