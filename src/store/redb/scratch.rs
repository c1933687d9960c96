//! A store to try things on: it shows a file, and what is written goes to another one that has no name and is gone with the process. A dry
//! run of an import is the import itself on such a store, so that it says what the import will say.
//!
//! The file itself is opened for writing only so that it can be locked: a proxy that had it open would change it under the view. Never
//! syncs: nothing of it is meant to last.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::ops::Bound;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, StorageBackend};
use uuid::Uuid;

use super::medium::Medium;

const PAGE: u64 = 4_096;

/// The view. Its copies show the same.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    /// What is shown; none for a store that is made on the view.
    base: Option<PathBuf>,
    over: Arc<Over>,
}

/// What was written.
#[derive(Debug)]
struct Over {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// The length that redb sees.
    length: u64,
    /// As much of the base as still shows through.
    base_length: u64,
    /// Whether the pages were written, one bit each.
    pages: Vec<u64>,
}

impl Scratch {
    /// A view of this file, or of nothing if there is none. What is written goes where the file is.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let base = path.try_exists()?.then(|| path.to_owned());
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.scratch", Uuid::now_v7().simple()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&name)?;
        // From here on it goes with the process, however that ends.
        fs::remove_file(&name)?;
        let length = match &base {
            Some(base) => fs::metadata(base)?.len(),
            None => 0,
        };
        let written = Written { length, base_length: length, pages: Vec::new() };
        Ok(Self { base, over: Arc::new(Over { file, written: Mutex::new(written) }) })
    }

    /// Whether there is a store to view.
    pub(super) fn shows_a_file(&self) -> bool {
        self.base.is_some()
    }
}

impl Medium for Scratch {
    type Backend = View;

    fn open(&self) -> Result<View> {
        let base = match &self.base {
            None => None,
            Some(path) => {
                let open = || OpenOptions::new().read(true).write(true).open(path);
                Some((open()?, FileBackend::new(open()?).map_err(Error::other)?))
            }
        };
        Ok(View { base, over: Arc::clone(&self.over) })
    }
}

/// One opening of the view.
#[derive(Debug)]
pub(super) struct View {
    /// The file to read, and the same as redb locks it.
    base: Option<(File, FileBackend)>,
    over: Arc<Over>,
}

impl View {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.over.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads within one page.
    fn read_part(&self, written: &Written, offset: u64, out: &mut [u8]) -> Result<()> {
        if written.is_over(offset / PAGE) {
            return self.over.file.read_exact_at(out, offset);
        }
        out.fill(0);
        let shown = written.base_length.saturating_sub(offset).min(out.len() as u64);
        match (&self.base, usize::try_from(shown).ok().and_then(|shown| out.get_mut(..shown))) {
            (Some((base, _)), Some(part)) if !part.is_empty() => base.read_exact_at(part, offset),
            (Some(_) | None, _) => Ok(()),
        }
    }
}

impl Written {
    fn is_over(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|word| self.pages.get(word));
        word.is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    fn set_over(&mut self, page: u64) -> Result<()> {
        let word = usize::try_from(page / 64).map_err(|_| Error::from(ErrorKind::FileTooLarge))?;
        if self.pages.len() <= word {
            self.pages.resize(word + 1, 0);
        }
        if let Some(word) = self.pages.get_mut(word) {
            *word |= 1 << (page % 64);
        }
        Ok(())
    }
}

/// The parts of pages that these bytes touch: where each begins, and how long it is.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let count = ((PAGE - at % PAGE) as usize).min(length - done);
        done += count;
        (count > 0).then_some((at, count))
    })
}

impl StorageBackend for View {
    fn len(&self) -> Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.length) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let length = out.len();
        let mut rest = out;
        for (at, count) in parts(offset, length) {
            let (part, after) = rest.split_at_mut(count);
            self.read_part(&written, at, part)?;
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut written = self.written();
        if length < written.length {
            // What is cut off does not come back when the file grows again.
            written.base_length = written.base_length.min(length);
            let (page, within) = (length / PAGE, length % PAGE);
            let kept = usize::try_from(length.div_ceil(PAGE).div_ceil(64)).unwrap_or(usize::MAX);
            written.pages.truncate(kept);
            for after in length.div_ceil(PAGE)..length.div_ceil(PAGE).next_multiple_of(64) {
                if let Some(word) = usize::try_from(after / 64).ok().and_then(|word| written.pages.get_mut(word)) {
                    *word &= !(1 << (after % 64));
                }
            }
            if within > 0 && written.is_over(page) {
                let tail = vec![0; (PAGE - within) as usize];
                self.over.file.write_all_at(&tail, length)?;
            }
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut written = self.written();
        let mut rest = data;
        for (at, count) in parts(offset, data.len()) {
            let (part, after) = rest.split_at(count);
            let page = at / PAGE;
            if !written.is_over(page) {
                if count < PAGE as usize {
                    let mut whole = vec![0; PAGE as usize];
                    self.read_part(&written, page * PAGE, &mut whole)?;
                    self.over.file.write_all_at(&whole, page * PAGE)?;
                }
                written.set_over(page)?;
            }
            self.over.file.write_all_at(part, at)?;
            rest = after;
        }
        written.length = written.length.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        match &self.base {
            Some((_, base)) => base.close(),
            None => Ok(()),
        }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        match &self.base {
            Some((_, base)) => base.try_lock_range(start, end),
            None => Err(BackendError::Unsupported),
        }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        match &self.base {
            Some((_, base)) => base.unlock_range(start, end),
            None => Err(BackendError::Unsupported),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_view_behaves_as_one_file_and_leaves_the_file_alone(
            steps in proptest::collection::vec((0_u64..40_000, 0_usize..9_000, any::<u8>(), any::<bool>()), 1..30)
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("base");
            let base: Vec<u8> = (0..20_001_u32).map(|n| n as u8).collect();
            fs::write(&path, &base).expect("writable");
            let view = Scratch::of(&path).and_then(|scratch| scratch.open()).expect("a view");
            let mut model = base.clone();
            for (offset, length, byte, cut) in steps {
                if cut {
                    view.set_len(offset).expect("cut");
                    model.resize(offset as usize, 0);
                } else if offset as usize <= model.len() {
                    view.write(offset, &vec![byte; length]).expect("written");
                    let end = offset as usize + length;
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].fill(byte);
                }
                let mut seen = vec![0; model.len()];
                view.read(0, &mut seen).expect("inside");
                prop_assert!(seen == model);
            }
            prop_assert!(fs::read(&path).expect("there") == base);
            prop_assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        }
    }
}
