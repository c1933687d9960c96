//! What the store lies on, and opening it: a file as a rule, a simulated disk in the crash tests.
//!
//! Every start reads the whole file and checks each page (redb's check of integrity): a plain open believes what the last commit
//! recorded, and damage would show only when somebody's record is wanted. Opening again after a failed write in the same process
//! goes without it, so that logins wait for milliseconds.

use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use ::redb::backends::FileBackend;
use ::redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError};

use super::fault::{Fault, panic_cause};
use super::hurry::Hurry;
use super::overlay::Overlay;
use super::record::Codec;
use super::schema::{Ledger, OLDEST_SCHEMA, SCHEMA, Snapshot, initialise, schema_of, upgrade};
use super::writer::begin;
use crate::service::ports::Cause;

/// What a database lies on. Crash tests bring their own.
pub trait Medium: Send + 'static {
    /// redb's view of it.
    type Backend: StorageBackend;

    /// Opens it for reading and writing. It exists.
    fn open(&self) -> std::io::Result<Self::Backend>;

    /// Opens it for reading, when it cannot be opened for writing.
    fn open_to_read(&self) -> std::io::Result<Self::Backend> {
        self.open()
    }
}

/// A file.
pub(super) struct FileMedium(pub(super) PathBuf);

impl Medium for FileMedium {
    type Backend = Hurry<FileBackend>;

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
    /// The system refused.
    #[error("it cannot be read or written")]
    Io(#[source] Cause),
}

impl From<DatabaseError> for Unopened {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Locked,
            DatabaseError::UpgradeRequired(_) => Self::Foreign("a redb file of an old format"),
            DatabaseError::Storage(StorageError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
                Self::Foreign("no redb file")
            }
            DatabaseError::Storage(StorageError::Io(io)) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::Corrupt(io.into())
            }
            DatabaseError::Storage(StorageError::Io(io)) => Self::Io(io.into()),
            other => Self::Corrupt(other.into()),
        }
    }
}

impl From<std::io::Error> for Unopened {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.into())
    }
}

impl From<Fault> for Unopened {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damage(cause) | Fault::Refused(cause) => Self::Corrupt(cause),
            Fault::Storage(cause) => Self::Io(cause),
        }
    }
}

/// How much of a file is read before it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    EveryPage,
    Header,
}

/// Opens one medium, again and again if need be.
pub(super) struct Opener<M> {
    pub(super) medium: M,
    pub(super) cache_bytes: usize,
}

impl<M: Medium> Opener<M> {
    /// Opens what must be one of our databases, checking every page.
    pub(super) fn open(&self) -> Result<(Database, Ledger), Unopened> {
        self.open_as(Check::EveryPage)
    }

    /// Opens it again after a failure in this process.
    pub(super) fn reopen(&self) -> Result<(Database, Ledger), Cause> {
        self.open_as(Check::Header).map_err(Cause::from)
    }

    /// Opens it for reading, with every write kept in memory.
    pub(super) fn open_view(&self) -> Result<Database, Cause> {
        let view = Overlay::new(self.medium.open_to_read()?)?;
        Ok(self.ours(view, Check::Header)?.0)
    }

    fn open_as(&self, check: Check) -> Result<(Database, Ledger), Unopened> {
        self.ours(self.medium.open()?, check)
    }

    fn ours(&self, backend: impl StorageBackend, check: Check) -> Result<(Database, Ledger), Unopened> {
        let opening = AssertUnwindSafe(|| {
            if backend.len()? == 0 {
                // redb would make a new database of it.
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
        });
        // Damage of some kinds makes redb panic rather than refuse.
        catch_unwind(opening).unwrap_or_else(|panic| Err(Unopened::Corrupt(panic_cause(panic))))
    }

    /// Makes one of our databases of an empty medium, and closes it.
    pub(super) fn create(&self) -> Result<(), Unopened> {
        let database = self.builder(Check::Header).create_with_backend(self.medium.open()?)?;
        let transaction = begin(Some(&database))?;
        initialise(&transaction)?;
        transaction.commit().map_err(Fault::from)?;
        Ok(())
    }

    fn builder(&self, check: Check) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(check == Check::EveryPage);
        builder
    }
}
