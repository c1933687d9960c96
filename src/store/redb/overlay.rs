//! A view of a file that cannot be written: what redb writes to it while it repairs stays in memory.
//!
//! A file system that went read-only or broken for writes is no reason to deny users whose records can still be read. Nothing
//! is ever committed through a view; [`super::writer`] only reads from it and gives it up at the next try.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redb::{BackendError, StorageBackend};

const PAGE: usize = 4_096;

/// The most memory that a view takes, in pages: 64 MiB. A repair of a file with quick repair writes a few.
const MAX_PAGES: usize = 16_384;

/// A file, and what was written over it in memory.
#[derive(Debug)]
pub(super) struct Overlay<B> {
    base: B,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// The length that redb sees.
    len: u64,
    /// As much of the file as still shows through: a cut is not undone by growing again.
    base_len: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl<B: StorageBackend> Overlay<B> {
    pub(super) fn new(base: B) -> Result<Self> {
        let len = base.len()?;
        Ok(Self { base, written: Mutex::new(Written { len, base_len: len, pages: BTreeMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One page as redb sees it.
    fn page(&self, written: &Written, number: u64) -> Result<Box<[u8; PAGE]>> {
        if let Some(page) = written.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = Box::new([0; PAGE]);
        let start = number * PAGE as u64;
        let in_base = written.base_len.saturating_sub(start).min(PAGE as u64) as usize;
        if let Some(from_base) = page.get_mut(..in_base).filter(|bytes| !bytes.is_empty()) {
            self.base.read(start, from_base)?;
        }
        Ok(page)
    }
}

/// The parts of pages that `length` bytes from `offset` touch: page, offset in it, how many.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (PAGE - within).min(length - done);
        done += count;
        (count > 0).then_some((at / PAGE as u64, within, count))
    })
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.len) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let length = out.len();
        let mut rest = out;
        for (number, within, count) in parts(offset, length) {
            let page = self.page(&written, number)?;
            let (part, after) = rest.split_at_mut(count);
            part.copy_from_slice(page.get(within..within + count).ok_or(ErrorKind::UnexpectedEof)?);
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut written = self.written();
        written.len = len;
        written.base_len = written.base_len.min(len);
        written.pages.retain(|number, _| number * (PAGE as u64) < len);
        let last = len / PAGE as u64;
        if let Some(cut) = written.pages.get_mut(&last).and_then(|page| page.get_mut((len % PAGE as u64) as usize..)) {
            cut.fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut written = self.written();
        let mut rest = data;
        for (number, within, count) in parts(offset, data.len()) {
            let mut page = self.page(&written, number)?;
            let (part, after) = rest.split_at(count);
            page.get_mut(within..within + count).ok_or(ErrorKind::UnexpectedEof)?.copy_from_slice(part);
            rest = after;
            if written.pages.len() >= MAX_PAGES && !written.pages.contains_key(&number) {
                return Err(Error::new(
                    ErrorKind::StorageFull,
                    "the repair of a read-only store takes too much memory",
                ));
            }
            written.pages.insert(number, page);
        }
        written.len = written.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.base.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        // A file that may only be read cannot be locked for writing, and no other process can write it either.
        self.base.try_lock_range(start, end).or(Err(BackendError::Unsupported))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.base.unlock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use ::redb::backends::InMemoryBackend;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_view_shows_the_file_and_leaves_it_alone() {
        let base = InMemoryBackend::new();
        base.set_len(10_000).expect("memory");
        base.write(4_000, &[7; 200]).expect("memory");
        let view = Overlay::new(base).expect("memory");
        view.write(4_050, &[9; 100]).expect("a view takes writes");
        let (mut seen, mut below) = ([0; 200], [0; 200]);
        view.read(4_000, &mut seen).expect("inside");
        view.base.read(4_000, &mut below).expect("inside");
        assert_eq!((seen[..50].to_vec(), seen[50..150].to_vec()), (vec![7; 50], vec![9; 100]));
        assert_eq!(below, [7; 200]);
        assert!(view.read(9_999, &mut [0; 2]).is_err());
    }

    proptest! {
        #[test]
        fn a_view_behaves_as_one_file(
            steps in proptest::collection::vec((0_u64..20_000, 0_usize..9_000, any::<u8>(), any::<bool>()), 1..30)
        ) {
            let base = InMemoryBackend::new();
            base.set_len(9_000).expect("memory");
            base.write(0, &[5; 9_000]).expect("memory");
            let view = Overlay::new(base).expect("memory");
            let mut model = vec![5_u8; 9_000];
            for (offset, length, byte, cut) in steps {
                if cut {
                    view.set_len(offset).expect("memory");
                    model.resize(offset as usize, 0);
                } else if offset as usize + length <= model.len() {
                    view.write(offset, &vec![byte; length]).expect("memory");
                    model[offset as usize..offset as usize + length].fill(byte);
                }
                let mut seen = vec![0; model.len()];
                view.read(0, &mut seen).expect("inside");
                prop_assert!(seen == model);
            }
        }
    }
}
