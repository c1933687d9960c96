//! What the store lies on, and opening it: a file as a rule, a simulated disk in the crash tests.
//!
//! Opening reads the header and what the last commit recorded, and so takes milliseconds, whatever the file's size: no block is
//! believed that is not what was written (see [`super::checked`]), whenever it is read. Every page is read at once only where that is
//! asked for, by `store check` and after a copy was made.

use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
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
use super::schema::{Ledger, OLDEST_SCHEMA, SCHEMA, Snapshot, View as _, initialise, schema_of, upgrade};
use super::writer::begin;
use crate::service::ports::Cause;
use crate::telemetry::Metrics;

/// What a database lies on. Crash tests bring their own.
pub trait Medium: Send + 'static {
    /// redb's view of it.
    type Backend: StorageBackend;

    /// Opens it for reading and writing. It exists.
    fn open(&self) -> std::io::Result<Self::Backend>;

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
        self.ours(self.checked(self.medium.open()?)?, check)
    }

    /// Opens it again after a failure in this process.
    pub(super) fn reopen(&self) -> Result<(Database, Ledger), Cause> {
        self.open(Check::Header).map_err(Cause::from)
    }

    /// Opens it for reading, with every write kept in memory.
    pub(super) fn open_view(&self, check: Check) -> Result<(Database, Ledger), Unopened> {
        self.ours(Overlay::new(self.checked(self.medium.open_to_read()?)?)?, check)
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
