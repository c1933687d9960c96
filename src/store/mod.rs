//! Where users are kept: opens the configured store. Knows nothing of HTTP, legacy or hashing.

pub mod handover;
pub mod redb;
pub mod sealing;
pub mod settings;

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::clock::Clock;
use crate::keys::{KeyId, KeyUse};
use crate::service::ports::{Cause, UserStore};
use crate::telemetry::Metrics;

pub(crate) use self::redb::missing_though_made;
pub use self::redb::offline;
pub use handover::HandoverStore;
pub use sealing::SealingKeys;
pub use settings::{StoreKeys, StoreSettings};

/// Opens the configured store, creating it at the first start. A store that was there and is damaged, missing or somebody
/// else's is refused: an empty one is never put in its place (R96, R97).
///
/// Blocks for as long as reading the whole file takes, and runs before anything is served. The offline commands open the
/// store in the same way when no proxy runs. Dropping the last handle waits for the commit under way and closes the file.
pub fn open(
    settings: &StoreSettings,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn UserStore>, OpenError> {
    Ok(Arc::new(redb::RedbStore::open(settings, metrics, clock)?))
}

/// Opens a view of the configured store, or of an empty one if there is none: what is written is seen in the view alone, and gone with
/// it. The file is locked meanwhile, and left as it is.
pub fn open_scratch(
    settings: &StoreSettings,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn UserStore>, OpenError> {
    Ok(Arc::new(redb::RedbStore::open_scratch(settings, metrics, clock)?))
}

/// Why the store cannot be opened, and what to do about it. Each is a refusal to start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open (R98).
    #[error(
        "the store {} is in use by another process, a proxy or a command; stop that one first, or look at a copy: \
         `authferry store backup` has it made while it serves", .0.display()
    )]
    Locked(PathBuf),
    /// It is one of ours, and damaged (R96).
    #[error("the store {} is damaged; restore it from a backup, and keep the damaged file", .path.display())]
    Corrupt {
        /// Where.
        path: PathBuf,
        /// What was found.
        #[source]
        cause: Cause,
    },
    /// It is not one of ours, or its first bytes are damaged.
    #[error("{} is not a store of authferry: {found}; it was left as it is. Name another file in store.path, or restore this one from a backup", .path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// It is one of ours, of the first layout, where only today's will do.
    #[error(
        "{} has the layout of the first version of authferry; put it in the place of store.path of a configuration and start \
         authferry with that once, which brings it to today's layout", .0.display()
    )]
    OldLayout(PathBuf),
    /// A newer authferry wrote it (R101).
    #[error("the store {} has schema {found}, and this authferry knows no schema after {known}; run the newer one", .path.display())]
    NewerSchema {
        /// Where.
        path: PathBuf,
        /// What it has.
        found: u64,
        /// The newest that we know.
        known: u64,
    },
    /// It was here once, and is gone (R97).
    #[error(
        "the store {} is missing, though one was made here ({} says so); restore it from a backup, or remove that file to \
         start with an empty store", .path.display(), .marker.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// What tells that it was there.
        marker: PathBuf,
    },
    /// Records need a key that is not configured (R56, R102).
    #[error(
        "{users} users of the store {} need the key \"{id}\", and {} has none of this name; put it back. It may go once nobody needs \
         it: docs/security.md says how", .path.display(), .used_for.config_key()
    )]
    MissingKey {
        /// Where.
        path: PathBuf,
        /// What it is for.
        used_for: KeyUse,
        /// Its name.
        id: KeyId,
        /// How many records need it.
        users: u64,
    },
    /// Records need another key than the one of this name that is configured (R56, R102).
    #[error(
        "the key \"{id}\" of {} is not the one that {users} users of the store {} need; put the right one back. Nothing was \
         changed", .used_for.config_key(), .path.display()
    )]
    WrongKey {
        /// Where.
        path: PathBuf,
        /// What it is for.
        used_for: KeyUse,
        /// Its name.
        id: KeyId,
        /// How many records need the right one.
        users: u64,
    },
    /// No thread to open it on.
    #[error("the store cannot be opened: the system gives no thread")]
    Thread,
    /// The system refused.
    #[error("the store {} cannot be {action}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried: "opened", "created".
        action: &'static str,
        /// What the system said.
        #[source]
        cause: Cause,
    },
}
