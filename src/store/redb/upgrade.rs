//! A store of the first layout, a plain redb file, is brought to today's layout at the first start with it (R101).
//!
//! ```text
//! lock -> copy into <file>-upgrading, sync, check every page -> keep the old one as <file>-schema1 -> rename
//! ```
//!
//! The old file is only read, but for what redb itself has to finish after a crash. Until the rename it is the store, from then on the new one is, and a crash in between leaves a file
//! that the next upgrade overwrites. Called by [`super::file`] alone, before anything else opens the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::{Builder, ReadableDatabase as _, StorageBackend};

use super::checked::{Checked, HEADER_ROOM, Kind, kind_of, shares};
use super::fault::Fault;
use super::file::{beside, keep, make_for_owner, opener, replace};
use super::medium::{Check, Unopened, caught, file_backend};
use super::schema::{SCHEMA, schema_of};
use crate::telemetry::Metrics;

/// As much is copied at once, in bytes.
const CHUNK: usize = 1 << 20;

/// Whether this is a plain redb file.
pub(super) fn is_due(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut first)?;
    Ok(kind_of(&first) == Kind::PlainRedb)
}

/// Brings a file of the first layout to today's.
pub(super) fn run(path: &Path, cache_bytes: usize, metrics: &Arc<Metrics>) -> Result<(), Unopened> {
    tracing::info!(store = %path.display(), "the store has the layout of an older version; it is copied and checked whole");
    check(path, cache_bytes)?;
    let old = locked(path)?;
    let new_path = beside(path, "-upgrading");
    let upgraded = replaced_by_copy(path, &old, &new_path, cache_bytes, metrics);
    if upgraded.is_err() {
        // The room that it takes may be what was missing.
        let _nothing_there = fs::remove_file(&new_path);
    }
    let kept = upgraded?;
    old.close()?;
    tracing::info!(store = %path.display(), old = %kept.display(), "the store has today's layout; the old file was kept, and can \
        be removed");
    Ok(())
}

/// Makes the new file and puts it in the place of the old one. Gives where the old one is now.
fn replaced_by_copy(
    path: &Path,
    old: &impl StorageBackend,
    new_path: &Path,
    cache_bytes: usize,
    metrics: &Arc<Metrics>,
) -> Result<PathBuf, Unopened> {
    // What a crash left; whatever else bears this name is not followed.
    match fs::remove_file(new_path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let new = make_for_owner(new_path, path)?;
    let (_, sum_blocks) = shares(cache_bytes);
    let copy = Checked::create(file_backend(new.try_clone()?)?, sum_blocks, Arc::clone(metrics))?;
    copy_blocks(old, &copy)?;
    new.sync_all()?;
    drop((copy, new));
    // From the root down, as whoever opens it will read it: what was damaged in the old file is found here.
    let (database, _ledger) = opener(new_path, cache_bytes, metrics).open(Check::EveryPage)?;
    database.close()?;
    let kept = keep(path, "-schema1")?;
    replace(new_path, path)?;
    Ok(kept)
}

/// Has redb finish or undo what a crash interrupted in the old file, and tell whose it is.
fn check(path: &Path, cache_bytes: usize) -> Result<(), Unopened> {
    caught(|| {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        let database = builder.create_with_backend(file_backend(file)?)?;
        let transaction = database.begin_read().map_err(Fault::from)?;
        let schema = schema_of(&transaction)?.ok_or(Unopened::Foreign("a redb file of another program"))?;
        if schema > SCHEMA {
            return Err(Unopened::NewerSchema(schema));
        }
        transaction.close().map_err(Fault::from)?;
        Ok(database.close()?)
    })
}

/// The old file, which nobody else can open until this is dropped.
fn locked(path: &Path) -> Result<impl StorageBackend + use<>, Unopened> {
    let old = file_backend(OpenOptions::new().read(true).write(true).open(path)?)?;
    match old.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
        Ok(true) => Ok(old),
        Ok(false) => Err(Unopened::Locked),
        Err(error) => Err(Unopened::Io(error.into())),
    }
}

/// Copies what redb sees of one into the other, and syncs it.
fn copy_blocks(from: &impl StorageBackend, into: &impl StorageBackend) -> io::Result<()> {
    let length = from.len()?;
    into.set_len(length)?;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        // The first page by itself: redb uses the beginning of it alone.
        let most = if at == 0 { HEADER_ROOM } else { CHUNK - (at % CHUNK as u64) as usize };
        let left = usize::try_from(length - at).unwrap_or(usize::MAX);
        let bytes = chunk.get_mut(..most.min(left)).unwrap_or_default();
        from.read(at, bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            into.write(at, bytes)?;
        }
        at = if at == 0 { super::checked::BLOCK as u64 } else { at + bytes.len() as u64 };
    }
    into.sync_data()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use ::redb::TableDefinition;
    use ::redb::backends::InMemoryBackend;

    use super::super::file::testing::failing;
    use super::*;

    const SCHEMA1: &[u8] = include_bytes!("../../../tests/it/fixtures/store/schema1.redb");

    #[test]
    fn r101_a_failure_to_give_names_leaves_a_whole_store_and_the_next_start_goes_on() {
        for (fails, old_stays) in [("rename", true), ("sync", false), ("link", false)] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("users.redb");
            fs::write(&path, SCHEMA1).expect("a file");
            // Somebody else's file of that name is not followed, and not written to.
            let other = folder.path().join("other");
            fs::write(&other, "other").expect("a file");
            std::os::unix::fs::symlink(&other, beside(&path, "-upgrading")).expect("a link");
            let metrics = Arc::new(Metrics::new());
            let ended = failing(fails, || run(&path, 1 << 20, &metrics));
            // Without links the old file is copied.
            assert_eq!(ended.is_ok(), fails == "link", "{fails}: {ended:?}");
            assert_eq!(is_due(&path).expect("a file"), old_stays, "{fails}");
            assert!(!beside(&path, "-upgrading").exists(), "{fails}");
            assert_eq!(fs::read(beside(&path, "-schema1")).expect("kept").len(), SCHEMA1.len(), "{fails}");
            assert_eq!(fs::read_to_string(&other).expect("a file"), "other");
            if old_stays {
                run(&path, 1 << 20, &metrics).expect("nothing fails now");
            }
            let (_database, ledger) = opener(&path, 1 << 20, &metrics).open(Check::EveryPage).expect("the store");
            assert_eq!(ledger.counts.migrated, 12, "{fails}");
            let mut names: Vec<_> =
                fs::read_dir(&folder).expect("a folder").map(|e| e.expect("one").file_name()).collect();
            names.sort();
            assert_eq!(names, ["other", "users.redb", "users.redb-schema1"], "{fails}");
        }
    }

    const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

    /// A disk in memory whose call of one number fails, and which counts the calls that would change it.
    #[derive(Debug, Clone, Default)]
    struct Disk(Arc<(InMemoryBackend, AtomicU64, AtomicU64)>);

    impl Disk {
        fn failing_at(call: u64) -> Self {
            Self(Arc::new((InMemoryBackend::new(), AtomicU64::new(call), AtomicU64::new(0))))
        }

        fn call(&self) -> io::Result<&InMemoryBackend> {
            match self.0.1.fetch_sub(1, Ordering::Relaxed) {
                0 => Err(io::Error::other("the disk failed")),
                _ => Ok(&self.0.0),
            }
        }

        fn change(&self) -> io::Result<&InMemoryBackend> {
            self.0.2.fetch_add(1, Ordering::Relaxed);
            self.call()
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.call()?.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.call()?.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.change()?.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.change().map(drop)
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.change()?.write(offset, data)
        }
    }

    fn old() -> Disk {
        let disk = Disk::failing_at(u64::MAX);
        let database = Builder::new().create_with_backend(disk.clone()).expect("memory");
        let transaction = database.begin_write().expect("a transaction");
        {
            let mut rows = transaction.open_table(ROWS).expect("a table");
            for n in 0..6_000 {
                rows.insert(n, [n as u8; 300].as_slice()).expect("a row");
            }
        }
        transaction.commit().expect("a commit");
        disk
    }

    fn copy_into(target: &Disk, old: &Disk) -> io::Result<()> {
        let copy = Checked::create(target.clone(), 4, Arc::new(Metrics::new()))?;
        copy_blocks(old, &copy)
    }

    #[test]
    fn r101_a_failure_at_any_call_ends_the_copy_and_the_old_file_is_only_read() {
        let old = old();
        assert!(old.len().expect("memory") > 2 * CHUNK as u64, "several chunks");
        let changes = old.0.2.load(Ordering::Relaxed);
        let mut failed = 0;
        let target = loop {
            let target = Disk::failing_at(failed);
            match copy_into(&target, &old) {
                Ok(()) => break target,
                Err(error) => assert_eq!(error.to_string(), "the disk failed", "call {failed}"),
            }
            failed += 1;
        };
        assert!(failed > 10, "{failed}");
        for call in 0..4 {
            let broken = Disk::failing_at(call);
            old.0.0.len().and_then(|len| broken.0.0.set_len(len)).expect("memory");
            assert!(copy_into(&Disk::failing_at(u64::MAX), &broken).is_err(), "read {call}");
        }
        assert_eq!(old.0.2.load(Ordering::Relaxed), changes, "nothing was written to it");
        target.0.1.store(u64::MAX, Ordering::Relaxed);
        let copy = Checked::open(target, 4, Arc::new(Metrics::new())).expect("a file of ours");
        let database = Builder::new().create_with_backend(copy).expect("a database");
        let rows = database.begin_read().expect("a transaction").open_table(ROWS).expect("a table");
        assert_eq!(rows.get(5_999).expect("a read").expect("a row").value(), [5_999_u32 as u8; 300]);
    }
}
