//! What the store lies on, and opening it: a file as a rule, a simulated disk in the crash tests.
//!
//! Opening reads the header and what the last commit recorded, and so takes milliseconds, whatever the file's size: no block is
//! believed that is not what was written (see [`super::checked`]), whenever it is read. Every page is read at once only where that is
//! asked for, by `store check` and after a copy was made.

use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use ::redb::backends::FileBackend;
use ::redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError};

use super::checked::{Checked, Damage, Kind, kind_of, shares};
use super::fault::{Fault, panic_cause};
use super::hurry::Hurry;
use super::overlay::Overlay;
use super::record::Codec;
use super::schema::{Ledger, META, OLDEST_SCHEMA, SCHEMA, Snapshot, View as _, initialise, schema_of, upgrade};
use super::writer::begin;
use crate::service::ports::Cause;
use crate::telemetry::Metrics;

/// What a database lies on. Crash tests bring their own.
pub trait Medium: Send + 'static {
    /// redb's view of it.
    type Backend: StorageBackend;

    /// Opens it for reading and writing. It exists.
    fn open(&self) -> std::io::Result<Self::Backend>;

    /// Which of all files its name leads to, where it is a file: device and number.
    fn identity(&self) -> std::io::Result<Option<(u64, u64)>> {
        Ok(None)
    }

    /// Whether what it opens never makes a read wait within a hurried read (`super::hurry`).
    fn can_be_hurried(&self) -> bool {
        false
    }

    /// Opens it for reading, when it cannot be opened for writing.
    fn open_to_read(&self) -> std::io::Result<Self::Backend> {
        self.open()
    }
}

/// A file.
pub(super) struct FileMedium(pub(super) PathBuf);

impl Medium for FileMedium {
    type Backend = Hurry<FileBackend>;

    fn identity(&self) -> std::io::Result<Option<(u64, u64)>> {
        let metadata = fs::metadata(&self.0)?;
        Ok(Some((metadata.dev(), metadata.ino())))
    }

    fn can_be_hurried(&self) -> bool {
        true
    }

    fn open(&self) -> std::io::Result<Self::Backend> {
        file_backend(OpenOptions::new().read(true).write(true).open(&self.0)?)
    }

    fn open_to_read(&self) -> std::io::Result<Self::Backend> {
        self.open().or_else(|_not_writable| file_backend(File::open(&self.0)?))
    }
}

pub(super) fn file_backend(file: File) -> std::io::Result<Hurry<FileBackend>> {
    // The same open file: its locks are held until both are closed, and nothing but pages is read by the second.
    let now = file.try_clone()?;
    Ok(Hurry::new(FileBackend::new(file).map_err(std::io::Error::other)?, now))
}

/// Why a database cannot be opened; [`crate::store::OpenError`] adds where it lies.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    /// Another process, or another part of this one, has it.
    #[error("it is in use")]
    Locked,
    /// It is damaged.
    #[error("it is damaged")]
    Corrupt(#[source] Cause),
    /// It is none of ours.
    #[error("it is {0}")]
    Foreign(&'static str),
    /// A newer version wrote it.
    #[error("it has schema {0}, which this version does not know")]
    NewerSchema(u64),
    /// A newer version laid it out.
    #[error("it has layout {0}, which this version does not know")]
    NewerLayout(u32),
    /// It is a plain redb file, as stores of the first schema are, and was not brought to today's layout.
    #[error("it has the layout of the first version")]
    OldLayout,
    /// The system refused.
    #[error("it cannot be read or written")]
    Io(#[source] Cause),
}

impl From<DatabaseError> for Unopened {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Locked,
            DatabaseError::UpgradeRequired(_) => Self::Foreign("a redb file of an old format"),
            DatabaseError::Storage(StorageError::Io(io)) => io.into(),
            other => Self::Corrupt(other.into()),
        }
    }
}

impl From<std::io::Error> for Unopened {
    fn from(error: std::io::Error) -> Self {
        match (Damage::of(&error), error.kind()) {
            (Some(Damage::NewerLayout(layout)), _) => Self::NewerLayout(layout),
            // The file is known to be ours: what redb does not recognise, or finds too short, was something else once.
            (Some(_), _) | (None, ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => Self::Corrupt(error.into()),
            (None, _) => Self::Io(error.into()),
        }
    }
}

impl From<Fault> for Unopened {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damage(cause) | Fault::Refused(cause) => Self::Corrupt(cause),
            Fault::Storage(cause) => match cause.downcast::<std::io::Error>() {
                Ok(error) => (*error).into(),
                Err(other) => Self::Io(other),
            },
        }
    }
}

/// Opens a database. Damage of some kinds makes redb panic rather than refuse.
pub(super) fn caught<T>(opening: impl FnOnce() -> Result<T, Unopened>) -> Result<T, Unopened> {
    catch_unwind(AssertUnwindSafe(opening)).unwrap_or_else(|panic| Err(Unopened::Corrupt(panic_cause(panic))))
}

/// How much of a file is read before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// All of it: redb's own checksums from the root down, over ours.
    EveryPage,
    /// What opening needs.
    Header,
}

/// Opens one medium, again and again if need be.
pub(super) struct Opener<M> {
    pub(super) medium: M,
    pub(super) cache_bytes: usize,
    pub(super) metrics: Arc<Metrics>,
}

impl<M: Medium> Opener<M> {
    /// Opens what must be one of our databases.
    pub(super) fn open(&self, check: Check) -> Result<(Database, Ledger), Unopened> {
        let before = self.medium.identity()?;
        let opened = self.ours(self.checked(self.medium.open()?)?, check)?;
        // It was locked a moment after it was opened. A file that lost its name in between would be written to, and gone with the process.
        if self.medium.identity()? != before {
            return Err(Unopened::Locked);
        }
        Ok(opened)
    }

    /// Opens it again after a failure in this process. It is not said to be well before a commit of it was on disk: what fails for want
    /// of room, or for a disk that takes no more writes, is not healed by being opened.
    pub(super) fn reopen(&self) -> Result<(Database, Ledger), Cause> {
        let opened = caught(|| {
            let (database, ledger) = self.open(Check::Header)?;
            let proof = begin(Some(&database))?;
            ledger.store(&mut proof.open_table(META).map_err(Fault::from)?)?;
            proof.commit().map_err(Fault::from)?;
            Ok((database, ledger))
        });
        opened.map_err(Cause::from)
    }

    /// Opens it for reading, with every write kept in memory.
    pub(super) fn open_view(&self, check: Check) -> Result<(Database, Ledger), Unopened> {
        self.ours(Overlay::new(self.checked(self.medium.open_to_read()?)?)?, check)
    }

    /// Tells of every damaged block of a file that was found damaged. Memory for checksums is as large as for a store that serves.
    pub(super) fn scan(&self, found: &mut dyn FnMut(Damage)) -> Result<(), Unopened> {
        Ok(self.checked(self.medium.open_to_read()?)?.scan(found)?)
    }

    /// Every block of it, verified as it is read.
    fn checked(&self, base: M::Backend) -> Result<Checked<M::Backend>, Unopened> {
        let mut first = [0; 16];
        let known = usize::try_from(base.len()?).unwrap_or(usize::MAX).min(first.len());
        let first = first.get_mut(..known).unwrap_or_default();
        base.read(0, first)?;
        match kind_of(first) {
            Kind::Checked => {}
            Kind::PlainRedb => return Err(Unopened::OldLayout),
            Kind::Foreign if known == 0 => return Err(Unopened::Foreign("an empty file")),
            Kind::Foreign => return Err(Unopened::Foreign("a file of another kind")),
        }
        let (_, sum_blocks) = shares(self.cache_bytes);
        Ok(Checked::open(base, sum_blocks, Arc::clone(&self.metrics))?)
    }

    fn ours(&self, backend: impl StorageBackend, check: Check) -> Result<(Database, Ledger), Unopened> {
        caught(|| {
            if backend.len()? == 0 {
                // Making it was interrupted; redb would make a new database of it.
                return Err(Unopened::Foreign("an empty file"));
            }
            let database = self.builder(check).create_with_backend(backend)?;
            let transaction = database.begin_read().map_err(Fault::from)?;
            let schema = schema_of(&transaction)?.ok_or(Unopened::Foreign("a redb file of another program"))?;
            transaction.close().map_err(Fault::from)?;
            match schema.cmp(&SCHEMA) {
                Ordering::Equal => {}
                Ordering::Greater => return Err(Unopened::NewerSchema(schema)),
                Ordering::Less if schema < OLDEST_SCHEMA => {
                    return Err(Fault::damage("its schema is none that ever was").into());
                }
                Ordering::Less => {
                    let upgrading = begin(Some(&database))?;
                    upgrade(&upgrading)?;
                    upgrading.commit().map_err(Fault::from)?;
                }
            }
            let transaction = database.begin_read().map_err(Fault::from)?;
            let ledger = Ledger::load(&Snapshot::of(&transaction, &Codec::default())?.meta)?;
            transaction.close().map_err(Fault::from)?;
            Ok((database, ledger))
        })
    }

    /// Makes one of our databases of an empty medium, and closes it.
    pub(super) fn create(&self) -> Result<(), Unopened> {
        let database = self.create_database()?;
        let transaction = begin(Some(&database))?;
        initialise(&transaction)?;
        transaction.commit().map_err(Fault::from)?;
        Ok(())
    }

    /// Makes a database with nothing in it, which is no store yet, of an empty medium.
    pub(super) fn create_database(&self) -> Result<Database, Unopened> {
        let (_, sum_blocks) = shares(self.cache_bytes);
        let checked = Checked::create(self.medium.open()?, sum_blocks, Arc::clone(&self.metrics))?;
        Ok(self.builder(Check::Header).create_with_backend(checked)?)
    }

    fn builder(&self, check: Check) -> Builder {
        let (cache_bytes, _) = shares(self.cache_bytes);
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(check == Check::EveryPage);
        builder
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;

    use ::redb::backends::InMemoryBackend;

    use super::super::checked::BLOCK;
    use super::*;

    /// A file that another one takes the place of when it has been opened and is not locked yet.
    struct Replaced(FileMedium, PathBuf);

    impl Medium for Replaced {
        type Backend = Hurry<FileBackend>;

        fn open(&self) -> std::io::Result<Self::Backend> {
            let opened = self.0.open()?;
            if self.1.exists() {
                fs::rename(&self.1, &self.0.0)?;
            }
            Ok(opened)
        }

        fn identity(&self) -> std::io::Result<Option<(u64, u64)>> {
            self.0.identity()
        }
    }

    fn opener<M: Medium>(medium: M) -> Opener<M> {
        Opener { medium, cache_bytes: 1 << 20, metrics: Arc::new(Metrics::new()) }
    }

    fn store(path: &Path) {
        File::create_new(path).expect("a file");
        opener(FileMedium(path.to_owned())).create().expect("a store");
    }

    /// A disk in memory that takes no more than its header while it is full.
    #[derive(Debug, Clone, Default)]
    struct Small(Arc<(InMemoryBackend, AtomicBool)>);

    impl StorageBackend for Small {
        fn len(&self) -> std::io::Result<u64> {
            self.0.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.0.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.0.0.set_len(len)
        }

        fn sync_data(&self) -> std::io::Result<()> {
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            let is_header = offset < 3 * BLOCK as u64;
            if !is_header && self.0.1.load(Relaxed) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.0.0.write(offset, data)
        }
    }

    impl Medium for Small {
        type Backend = Self;

        fn open(&self) -> std::io::Result<Self> {
            Ok(self.clone())
        }
    }

    #[test]
    fn r103_a_full_disk_is_not_well_for_having_been_opened_again() {
        let disk = Small::default();
        let opener = opener(disk.clone());
        opener.create().expect("a store");
        drop(opener.reopen().expect("there is room"));
        disk.0.1.store(true, Relaxed);
        drop(opener.open(Check::Header).expect("opening alone writes no more than the header"));
        assert!(opener.reopen().is_err(), "it takes no commit");
        let (view, _ledger) = opener.open_view(Check::Header).expect("it is still read");
        drop(view);
        disk.0.1.store(false, Relaxed);
        opener.reopen().expect("there is room again");
    }

    #[test]
    fn r98_a_file_that_loses_its_name_before_it_is_locked_is_not_served() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("users.redb"), folder.path().join("restored"));
        store(&path);
        store(&other);
        let opener = opener(Replaced(FileMedium(path), other));
        assert!(matches!(opener.open(Check::Header), Err(Unopened::Locked)));
        opener.open(Check::Header).expect("the one of this name");
    }
}
