//! What can go wrong between a transaction and the file, in the two kinds that are handled differently.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use ::redb::{CommitError, StorageError, TableError, TransactionError};

use super::checked::Damage;
use super::record::BadRecord;
use crate::service::ports::{Cause, StoreError};

/// Something went wrong inside a transaction that is not committed.
#[derive(Debug)]
pub(super) enum Fault {
    /// What was read is not what was ever written. The rest of the store may be sound.
    Damage(Cause),
    /// The file or redb's state of it cannot be used on; it has to be opened again.
    Storage(Cause),
    /// A change that is refused as it is.
    Refused(Cause),
}

impl Fault {
    /// Damage that no error of redb's describes.
    pub(super) fn damage(what: &'static str) -> Self {
        Self::Damage(what.into())
    }

    /// The same fault, and its cause for everyone else whom it concerns.
    pub(super) fn shared(self) -> (Self, SharedCause) {
        let share = |cause: Cause| {
            let cause = SharedCause::from(cause);
            (cause.clone().into(), cause)
        };
        match self {
            Self::Damage(cause) => {
                let (own, shared) = share(cause);
                (Self::Damage(own), shared)
            }
            Self::Storage(cause) => {
                let (own, shared) = share(cause);
                (Self::Storage(own), shared)
            }
            Self::Refused(cause) => {
                let (own, shared) = share(cause);
                (Self::Refused(own), shared)
            }
        }
    }

    /// Whether it was another call that failed: redb refuses all work until the file is opened again.
    pub(super) fn is_of_another_call(&self) -> bool {
        match self {
            Self::Storage(cause) => matches!(cause.downcast_ref::<StorageError>(), Some(StorageError::PreviousIo)),
            Self::Damage(_) | Self::Refused(_) => false,
        }
    }

    /// Whether the file has to be opened again before it is used on.
    pub(super) fn needs_reopening(&self) -> bool {
        match self {
            Self::Storage(_) => true,
            Self::Damage(_) | Self::Refused(_) => false,
        }
    }
}

/// Nothing was written, so none of these is of unknown outcome.
impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damage(cause) => Self::Corrupt(cause),
            Fault::Storage(cause) if is_damage(&*cause) => Self::Corrupt(cause),
            Fault::Storage(cause) | Fault::Refused(cause) => Self::Unavailable(cause),
        }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(_) => Self::Damage(error.into()),
            // Also if it tells of damage: redb takes no more work after any error of its file.
            StorageError::Io(error) => Self::Storage(error.into()),
            other => Self::Storage(other.into()),
        }
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Self {
        if let TableError::Storage(error) = error { error.into() } else { Self::Damage(error.into()) }
    }
}

impl From<TransactionError> for Fault {
    fn from(error: TransactionError) -> Self {
        if let TransactionError::Storage(error) = error { error.into() } else { Self::Storage(error.into()) }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Self {
        if let CommitError::Storage(error) = error { error.into() } else { Self::Storage(error.into()) }
    }
}

impl From<BadRecord> for Fault {
    fn from(error: BadRecord) -> Self {
        match error {
            BadRecord::TooLarge(_) | BadRecord::NotSealed => Self::Refused(error.into()),
            BadRecord::UnknownFormat(_) | BadRecord::Length(_) | BadRecord::Value(_) | BadRecord::NotOpened => {
                Self::Damage(error.into())
            }
        }
    }
}

/// Whether a block was met that is not what was written.
fn is_damage(cause: &(dyn StdError + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().and_then(Damage::of).is_some()
}

/// One cause that several callers are told: all whose writes shared a commit.
#[derive(Debug, Clone)]
pub(super) struct SharedCause(Arc<dyn StdError + Send + Sync>);

impl SharedCause {
    /// Whether a block was met that is not what was written: opening the file again heals nothing, and nothing else is wrong with it.
    pub(super) fn is_damage(&self) -> bool {
        is_damage(&*self.0)
    }
}

impl From<Cause> for SharedCause {
    fn from(cause: Cause) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for SharedCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for SharedCause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// What a panic said, as far as it is text.
pub(super) fn panic_cause(panic: Box<dyn std::any::Any + Send>) -> Cause {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a bug, or damage in the file: {}", said.as_deref().unwrap_or("a panic")).into()
}
