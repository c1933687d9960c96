//! Reads that do not wait for the disk: for the threads that serve connections.
//!
//! A lookup takes a few microseconds where the pages that it needs are in memory, redb's or the system's, and about twice that once
//! more to hand it to another thread and its answer back. So it is tried at once, on the thread that wants it, and handed over
//! only where it would have had to wait: the system is asked to read what it has and nothing else (`RWF_NOWAIT`, preadv2(2)).
//!
//! redb refuses all work after the first error of its backend, so a read that would have to wait is none: it unwinds to
//! [`hurried`], through redb's code, which holds no lock while it reads. Nothing of it is seen by anybody, and the reader threads
//! do the same again with time.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::Result;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ::redb::{BackendError, StorageBackend};

thread_local! {
    static HURRIED: Cell<bool> = const { Cell::new(false) };
}

/// Why a read was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// What it wants is not in memory.
    ForTheDisk,
    /// Nobody can tell: the file system cannot be asked.
    Perhaps,
}

/// Runs work that only reads, unless it has to wait for the disk.
pub(super) fn hurried<T>(work: impl FnOnce() -> T) -> std::result::Result<T, Waits> {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            HURRIED.set(false);
        }
    }
    HURRIED.set(true);
    let _reset = Reset;
    // Whatever else may have ended it, those with time meet it too, and know what to do.
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| panic.downcast::<Waits>().map_or(Waits::ForTheDisk, |waits| *waits))
}

/// What can be read as far as it is in memory.
pub(super) trait ReadNow: Send + Sync + 'static {
    /// Fills `out`, or says that it would have to wait; what is in `out` then is nothing.
    fn read_now(&self, offset: u64, out: &mut [u8]) -> std::result::Result<(), Waits>;
}

impl ReadNow for File {
    #[cfg(target_os = "linux")]
    fn read_now(&self, offset: u64, out: &mut [u8]) -> std::result::Result<(), Waits> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let length = out.len();
        match preadv2(self, &mut [std::io::IoSliceMut::new(out)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == length => Ok(()),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Err(Waits::ForTheDisk),
            Err(_) => Err(Waits::Perhaps),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn read_now(&self, _offset: u64, _out: &mut [u8]) -> std::result::Result<(), Waits> {
        Err(Waits::Perhaps)
    }
}

/// A backend that can be read in a hurry.
pub(super) struct Hurry<B, N = File> {
    base: B,
    /// The same file.
    now: N,
}

impl<B, N> Hurry<B, N> {
    pub(super) fn new(base: B, now: N) -> Self {
        Self { base, now }
    }
}

impl<B: StorageBackend, N: ReadNow> StorageBackend for Hurry<B, N> {
    fn len(&self) -> Result<u64> {
        self.base.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        // A thread that is unwinding already reads with patience: two panics at once would end the process.
        if HURRIED.get() && !std::thread::panicking() {
            return self.now.read_now(offset, out).or_else(|waits| resume_unwind(Box::new(waits)));
        }
        self.base.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.base.set_len(len)
    }

    fn sync_data(&self) -> Result<()> {
        self.base.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.base.write(offset, data)
    }

    fn close(&self) -> Result<()> {
        self.base.close()
    }

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

impl<B: fmt::Debug, N> fmt::Debug for Hurry<B, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hurry").field("base", &self.base).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use ::redb::backends::InMemoryBackend;
    use ::redb::{Database, ReadableDatabase, TableDefinition};

    use super::*;

    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

    #[derive(Debug, Clone, Default)]
    struct Shared(Arc<InMemoryBackend>);

    impl StorageBackend for Shared {
        fn len(&self) -> Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
            self.0.write(offset, data)
        }
    }

    /// Every third page has to be waited for; the system's answer is as good as none then.
    struct EveryThird(Shared, AtomicU64);

    impl ReadNow for EveryThird {
        fn read_now(&self, offset: u64, out: &mut [u8]) -> std::result::Result<(), Waits> {
            if self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
                out.fill(0xaa);
                return Err(Waits::ForTheDisk);
            }
            self.0.read(offset, out).map_err(|_| Waits::Perhaps)
        }
    }

    /// A tree of several levels, with a cache that holds next to nothing of it.
    fn database(now: impl FnOnce(Shared) -> EveryThird) -> Database {
        let base = Shared::default();
        let backend = Hurry::new(base.clone(), now(base));
        let database = Database::builder().set_cache_size(64 << 10).create_with_backend(backend).expect("a database");
        let writing = database.begin_write().expect("a transaction");
        let mut table = writing.open_table(TABLE).expect("a table");
        for number in 0..5_000_u64 {
            table.insert(number, [number as u8; 300].as_slice()).expect("a row");
        }
        drop(table);
        writing.commit().expect("a commit");
        database
    }

    fn row(database: &Database, number: u64) -> std::result::Result<Vec<u8>, ::redb::Error> {
        let table = database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(number)?.map(|row| row.value().to_vec()).unwrap_or_default())
    }

    #[test]
    fn a_read_that_would_wait_is_given_up_and_leaves_the_database_as_it_was() {
        let mut database = database(|base| EveryThird(base, AtomicU64::new(0)));
        let (mut done, mut given_up) = (0, 0);
        for number in (0..5_000).step_by(7) {
            match hurried(|| row(&database, number)) {
                Ok(found) => {
                    assert_eq!(found.expect("a row"), [number as u8; 300]);
                    done += 1;
                }
                Err(waits) => {
                    assert_eq!(waits, Waits::ForTheDisk);
                    given_up += 1;
                }
            }
            // With time, the same thread reads the same row, and writes.
            assert_eq!(row(&database, number).expect("a row"), [number as u8; 300]);
            if number.is_multiple_of(490) {
                let writing = database.begin_write().expect("a transaction");
                writing.open_table(TABLE).expect("a table").insert(10_000 + number, [1].as_slice()).expect("a row");
                writing.commit().expect("a commit");
            }
        }
        assert!(done > 50 && given_up > 50, "{done} done, {given_up} given up");
        assert!(database.check_integrity().expect("readable"), "nothing was left behind");
    }

    #[test]
    fn another_panic_is_given_up_too_and_the_thread_goes_on_with_time() {
        assert_eq!(hurried(|| -> u8 { resume_unwind(Box::new("another")) }), Err(Waits::ForTheDisk));
        assert!(!HURRIED.get());
        assert_eq!(hurried(|| 7), Ok(7));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_was_just_written_is_read_at_once_and_its_end_is_not_waited_for() {
        let mut file = tempfile::tempfile().expect("a file");
        std::io::Write::write_all(&mut file, &[7; 8_192]).expect("room");
        let mut out = [0; 4_096];
        // Some file systems cannot be asked; then nothing is read in a hurry, and nothing is wrong.
        if file.read_now(4_096, &mut out) == Ok(()) {
            assert_eq!(out, [7; 4_096]);
        }
        assert!(file.read_now(6_000, &mut out).is_err(), "half of it is no answer");
    }
}
