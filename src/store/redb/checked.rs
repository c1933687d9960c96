//! Every page verified as it is read: a layer between redb and the file, so that nothing that the disk returns is believed for
//! having been returned.
//!
//! redb keeps a checksum of each page, and looks at it only when it walks the whole file, which at ten million users takes half
//! a minute. Here each block of 4 KiB has a checksum of our own that is looked at whenever the block comes from the disk. So the
//! file opens at once, and damage is met by whoever reads the damaged block, at any time, and by nobody else:
//!
//! ```text
//! redb's cache  ->  Checked  ->  the file: preamble, two copies of redb's header, groups of 512 blocks, each group behind a
//!                                block of its checksums                                       (layout, header, sums)
//! ```
//!
//! What a power cut may leave is no damage. A commit of redb's writes pages that no earlier commit refers to, syncs, then lets the
//! header refer to them, and syncs again. Checksums of pages are on disk with the first of these syncs. A cut before it leaves
//! pages that nothing refers to, whose checksums may be wrong; the checksums of all other pages in the same block are
//! rewritten with the value that they had, so that no mixture of old and new bytes changes them. The header alone is overwritten
//! in place: there are two copies of it, each within one sector and with its own checksum and running number.
//!
//! A read that meets damage must not take the rest of the store with it. redb refuses all work after the first error of its
//! backend, until the file is opened again; a damaged page under a popular name would have it opened again for ever. So within
//! [`isolated`] a read that fails for one block alone unwinds to there instead, through redb's code, which holds no lock while it
//! reads. Outside, the error is returned like any other.

mod calm;
mod header;
mod layout;
mod scan;
mod sums;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use ::redb::{BackendError, StorageBackend};

use self::calm::Calm;
use self::header::Header;
pub(super) use self::header::ROOM as HEADER_ROOM;
pub(super) use self::layout::BLOCK;
use self::layout::{HEADER_BLOCK, Place, Preamble, logical_len, parts, physical_len, sum};
pub(super) use self::layout::{Kind, LAYOUT, kind_of};
use self::sums::Sums;
use crate::telemetry::Metrics;

/// `EIO` of Linux and every Unix: the device could not read the sectors that were asked for.
const EIO: i32 = 5;

/// As many damaged blocks are remembered, so that each is told of once in the log.
const MAX_REMEMBERED: usize = 1_024;

/// The least memory for checksums, in blocks: a megabyte covers half a gigabyte of the file.
const LEAST_SUM_BLOCKS: usize = 256;

/// What was read is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// A block whose content does not have its checksum.
    #[error("the block at byte {0} of the store's file is not what was written there")]
    Block(u64),
    /// A block that the device cannot read.
    #[error("the block at byte {0} of the store's file cannot be read from the disk")]
    Unreadable(u64),
    /// The preamble.
    #[error("the first block of the store's file is not what was written there")]
    Preamble,
    /// Both copies of redb's header.
    #[error("both copies of the header of the store's file are not what was written there")]
    Header,
    /// Its length is none that was ever set.
    #[error("the store's file has a length that it was never given: {0} bytes")]
    Length(u64),
    /// It was made by a later version.
    #[error("the store's file has layout {0}, which this version does not know")]
    NewerLayout(u32),
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::new(ErrorKind::InvalidData, damage)
    }
}

impl Damage {
    /// The damage that an error tells of, if it is one of ours.
    pub(super) fn of(error: &Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).copied()
    }
}

thread_local! {
    static ISOLATED: Cell<bool> = const { Cell::new(false) };
}

/// Runs work that only reads. If it meets a block that cannot be believed or read, the work ends with that damage, and the
/// database can be used on; any other panic goes on.
pub(super) fn isolated<T>(work: impl FnOnce() -> T) -> std::result::Result<T, Damage> {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            ISOLATED.set(self.0);
        }
    }
    let _reset = Reset(ISOLATED.replace(true));
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| match panic.downcast::<Damage>() {
        Ok(damage) => *damage,
        Err(other) => resume_unwind(other),
    })
}

/// A file whose blocks are verified as they are read.
pub(super) struct Checked<B> {
    base: Calm<B>,
    /// Part of every checksum, so that a block of another store, or an old block of a copy of this one, is none of this one's.
    salt: u64,
    sums: Sums,
    /// redb's header, once it was read.
    header: Mutex<Option<Header>>,
    met: Mutex<BTreeSet<u64>>,
    metrics: Arc<Metrics>,
}

/// How `cache_bytes` are shared: what redb may cache, and how many blocks of checksums.
///
/// redb counts a page's 4,096 bytes alone. Measured, a page takes 1.34 times as much: it is allocated with its counts beside it, which
/// makes it one of the next larger size, and stands in tables of what was used when.
pub(super) fn shares(cache_bytes: usize) -> (usize, usize) {
    let blocks = (cache_bytes / 16 / BLOCK).max(LEAST_SUM_BLOCKS);
    (cache_bytes.saturating_sub(blocks * BLOCK) / 15 * 11, blocks)
}

impl<B: StorageBackend> Checked<B> {
    /// Over a file of this layout. Reads its preamble and nothing else: whoever has the file open may still be writing it.
    pub(super) fn open(base: B, sum_blocks: usize, metrics: Arc<Metrics>) -> Result<Self> {
        let base = Calm(base);
        if base.len()? < BLOCK as u64 {
            return Err(Damage::Length(base.len()?).into());
        }
        let mut block = [0; BLOCK];
        base.read(0, &mut block)?;
        let salt = Preamble::decode(&block)?.salt;
        Ok(Self::over(base, salt, sum_blocks, metrics))
    }

    /// Over an empty file, which it gives this layout. redb finds a file of no length.
    pub(super) fn create(base: B, sum_blocks: usize, metrics: Arc<Metrics>) -> Result<Self> {
        let (base, preamble) = (Calm(base), Preamble::new());
        base.set_len(BLOCK as u64)?;
        base.write(0, &preamble.encode())?;
        Ok(Self::over(base, preamble.salt, sum_blocks, metrics))
    }

    fn over(base: Calm<B>, salt: u64, sum_blocks: usize, metrics: Arc<Metrics>) -> Self {
        Self { base, salt, sums: Sums::new(sum_blocks), header: Mutex::default(), met: Mutex::default(), metrics }
    }

    /// Reads whole blocks that lie in one group and verifies each.
    fn read_run(&self, place: Place, out: &mut [u8]) -> Result<()> {
        let at = place.physical * BLOCK as u64;
        if let Err(error) = self.base.read(at, out) {
            return Err(self.unreadable(at, error));
        }
        for (n, bytes) in (0..).zip(out.chunks(BLOCK)) {
            let is_whole = match self.is_whole(place, n, bytes) {
                Ok(is_whole) => is_whole,
                Err(error) => return Err(self.unreadable(sums::position(place.group), error)),
            };
            if !is_whole {
                return Err(self.tell(Damage::Block(at + n as u64 * BLOCK as u64)));
            }
        }
        Ok(())
    }

    fn write_run(&self, place: Place, data: &[u8]) -> Result<()> {
        self.base.write(place.physical * BLOCK as u64, data)?;
        let blocks = (place.physical..).zip(data.chunks(BLOCK));
        let entries: Vec<u64> = blocks.map(|(block, bytes)| sum(self.salt, block, bytes)).collect();
        self.sums.set(&self.base, place.group, place.index, &entries)
    }

    /// Runs `work` on redb's header, which is read when it is first wanted.
    fn with_header<T>(&self, work: impl FnOnce(&mut Header) -> Result<T>) -> Result<T> {
        let mut held = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(Header::load(&self.base, self.salt)?);
        }
        let header = held.as_mut().ok_or(Damage::Header)?;
        work(header)
    }

    /// A sector that cannot be read is damage of one block; any other error is the file's.
    fn unreadable(&self, at: u64, error: Error) -> Error {
        if error.raw_os_error() == Some(EIO) { self.tell(Damage::Unreadable(at)) } else { error }
    }

    /// Tells of a damaged block, in the log once. Does not return where damage is [`isolated`].
    fn tell(&self, damage: Damage) -> Error {
        self.metrics.store_damage();
        if let Damage::Block(at) | Damage::Unreadable(at) = damage {
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            if met.len() < MAX_REMEMBERED && met.insert(at) {
                tracing::error!(%damage, "the store's file is damaged: users whose records lie in this block get 503; \
                    `authferry store check` tells what is wrong, and a backup brings them back");
            }
        }
        if ISOLATED.get() && !std::thread::panicking() {
            resume_unwind(Box::new(damage));
        }
        damage.into()
    }
}

impl<B: StorageBackend> StorageBackend for Checked<B> {
    fn len(&self) -> Result<u64> {
        logical_len(self.base.len()?)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let length = out.len();
        let mut rest = out;
        for part in parts(offset, length) {
            let (out, after) = rest.split_at_mut(part.length);
            rest = after;
            if part.block == HEADER_BLOCK {
                self.with_header(|header| header.read(part.within, out))?;
            } else if part.is_whole() {
                self.read_run(Place::of(part.block), out)?;
            } else {
                let mut block = [0; BLOCK];
                self.read_run(Place::of(part.block), &mut block)?;
                let bytes = block.get(part.within..part.within + part.length);
                out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let (old, physical) = (self.len()?, physical_len(len)?);
        if len < old {
            self.base.set_len(physical)?;
            self.sums.cut(len / BLOCK as u64);
        } else {
            // Blocks that were cut off may have left their checksums; those that take their place are zeros.
            self.sums.grow(&self.base, old / BLOCK as u64, len / BLOCK as u64)?;
            self.base.set_len(physical)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        self.sums.write_out(&self.base)?;
        self.base.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut rest = data;
        for part in parts(offset, data.len()) {
            let (data, after) = rest.split_at(part.length);
            rest = after;
            if part.block == HEADER_BLOCK {
                self.with_header(|header| header.write(&self.base, self.salt, part.within, data))?;
            } else if part.is_whole() {
                self.write_run(Place::of(part.block), data)?;
            } else {
                // redb writes whole pages, but for its header.
                let mut block = [0; BLOCK];
                self.read_run(Place::of(part.block), &mut block)?;
                let bytes = block.get_mut(part.within..part.within + part.length);
                bytes.ok_or(ErrorKind::InvalidInput)?.copy_from_slice(data);
                self.write_run(Place::of(part.block), &block)?;
            }
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.base.close()
    }

    // Locks are agreed upon between processes by numbers of bytes, whatever these hold: they are passed on as they are, so that a
    // process that takes this file for one of the old layout finds it locked too.

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.base.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.base.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.base.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.base.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.base.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.base.query_lock_range(start, end)
    }
}

impl<B: fmt::Debug> fmt::Debug for Checked<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("base", &self.base.0).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
