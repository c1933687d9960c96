//! The store as the use cases see it: one trait, and what its reads give.

use futures_util::future::BoxFuture;

use super::super::backup::{BackupName, BackupStart, BackupView};
use super::{
    Cause, ConflictQuery, ImportBatch, ImportKey, Inserted, NameHolder, NewUser, ProvenUser, Readier, ReadyRows,
    Resolved, Saved, SavedCheckpoint, StragglerQuery, Updated, UserChange, UserCounts, UserPage, UserQuery,
};
use crate::domain::clock::UnixSeconds;
use crate::domain::conflict::{Conflict, Resolution};
use crate::domain::identifier::{Candidates, NormalizedIdentifier};
use crate::domain::import::{Imported, Incoming};
use crate::domain::mode::Mode;
use crate::domain::roster::RosterCounts;
use crate::domain::user::{User, UserId, Version};

/// Where users are kept. All reads see one committed state; every write is durable when its future is ready.
pub trait UserStore: Send + Sync {
    /// Looks a typed identifier up under every key that it may mean.
    fn find<'a>(&'a self, candidates: &'a Candidates) -> BoxFuture<'a, Result<Lookup, StoreError>>;

    /// Looks a user up by the id that tokens and answers carry: legacy's, or ours.
    fn find_public<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<User>, StoreError>>;

    /// Reads a record by our own key. What a legacy lets people choose for an id can never be taken for one.
    fn user(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>, StoreError>>;

    /// Saves a user whom legacy proved, deciding by [`crate::domain::login::decide_save`] inside the transaction.
    fn save_proven(&self, proven: ProvenUser) -> BoxFuture<'_, Result<Saved, StoreError>>;

    /// Inserts a registration unless one of its names is taken.
    fn insert_new(&self, new: NewUser) -> BoxFuture<'_, Result<Inserted, StoreError>>;

    /// Changes one record if it still has the version it was based on.
    fn update(&self, id: UserId, based_on: Version, change: UserChange) -> BoxFuture<'_, Result<Updated, StoreError>>;

    /// Who holds each of these names, in their order; those that an operator reserved included.
    fn holders<'a>(
        &'a self,
        names: &'a [NormalizedIdentifier],
    ) -> BoxFuture<'a, Result<Vec<Option<NameHolder>>, StoreError>>;

    /// Every name that an operator keeps from others for a user who does not bear it, and for whom.
    fn reserved(&self) -> BoxFuture<'_, Result<Vec<(UserId, NormalizedIdentifier)>, StoreError>>;

    /// Conflicts, the newest first.
    fn conflicts(&self, query: ConflictQuery) -> BoxFuture<'_, Result<Vec<Conflict>, StoreError>>;

    /// One conflict by its number.
    fn conflict(&self, number: u64) -> BoxFuture<'_, Result<Option<Conflict>, StoreError>>;

    /// Does what an operator chose about a conflict, in one commit. One that was decided can be decided otherwise.
    fn resolve(&self, number: u64, resolution: Resolution) -> BoxFuture<'_, Result<Resolved, StoreError>>;
    /// Takes rows of an import in, in their order, as if each were written before the next is looked at; one result a row. All of
    /// them, and the checkpoint, are one durable commit: an error means that none was written, or that nobody knows.
    fn import(&self, batch: ImportBatch) -> BoxFuture<'_, Result<Vec<Imported>, StoreError>>;

    /// What makes rows ready for [`Self::import_ready`], on a thread of the caller's: whatever can be made of a row before the writer's
    /// turn is made there. `at` is now.
    fn readier(&self, at: UnixSeconds) -> Box<dyn Readier> {
        let _rows_stay_as_they_are = at;
        Box::new(Vec::new())
    }

    /// The same as [`Self::import`], of rows that this store's own [`Self::readier`] made ready.
    fn import_ready(&self, batch: ImportBatch<Vec<ReadyRows>>) -> BoxFuture<'_, Result<Vec<Imported>, StoreError>> {
        match batch.unpacked::<Vec<Incoming>>() {
            Some(batch) => self.import(batch.map(|rows| rows.into_iter().flatten().collect())),
            None => {
                Box::pin(async { Err(StoreError::Unavailable("the rows were made ready for another store".into())) })
            }
        }
    }

    /// How far an import came, as its last batch left it.
    fn import_checkpoint(&self, key: ImportKey) -> BoxFuture<'_, Result<Option<SavedCheckpoint>, StoreError>>;

    /// A page of users in the order of their keys, or of one prefix of any identifier in the order of that identifier.
    fn list(&self, query: UserQuery) -> BoxFuture<'_, Result<UserPage, StoreError>>;

    /// How many users there are, by origin and standing. Kept up to date in each commit, never counted by walking.
    fn counts(&self) -> BoxFuture<'_, Result<UserCounts, StoreError>>;

    /// Who has come over and who has not, by the day on which each was last seen. Kept up to date in each commit too.
    fn roster(&self) -> BoxFuture<'_, Result<RosterCounts, StoreError>>;

    /// A page of users without a password here, those who were seen last first. Whoever comes over meanwhile is left out; nobody is
    /// shown twice, unless a list says meanwhile that he was seen on another day.
    fn stragglers(&self, query: StragglerQuery) -> BoxFuture<'_, Result<UserPage, StoreError>>;

    /// Forgets users who are known from a list only, as if the list had never named them: their names are free again, and legacy is asked
    /// about them as about anybody. Who has come over, or has changed since he was looked at, stays. How many were forgotten.
    fn forget_listed(&self, users: Vec<(UserId, Version)>) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Notes that a user has just logged in. Returns at once and never fails: the time is written with a later commit, at the
    /// latest a few seconds on, so that a crash may lose the logins of these seconds; should too many wait, it is dropped and counted.
    fn note_login(&self, id: UserId, at: UnixSeconds);

    /// When each of these users last logged in here, in their order; none for one of whom no login was noted. Those that wait to
    /// be written are told too.
    fn last_login<'a>(&'a self, ids: &'a [UserId]) -> BoxFuture<'a, Result<Vec<Option<UnixSeconds>>, StoreError>>;

    /// The mode that was last set at run time.
    fn mode(&self) -> BoxFuture<'_, Result<Option<Mode>, StoreError>>;

    /// Keeps the mode for the next start.
    fn set_mode(&self, mode: Mode) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether reads and writes can be expected to work now.
    fn health(&self) -> StoreHealth;

    /// Starts copying the state of now into a file of its own, which serving goes on beside (R99). One at a time.
    fn start_backup(&self, name: Option<BackupName>) -> BoxFuture<'_, Result<BackupStart, StoreError>> {
        drop(name);
        Box::pin(async { Err(StoreError::Unavailable("this store makes no backups".into())) })
    }

    /// How far the backup is that was started last; none was since the store was opened.
    fn backup(&self) -> BoxFuture<'_, Result<Option<BackupView>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// Passes through whatever a read and a write pass through, and changes nothing. An error is an answer too: only a store
    /// whose threads hang does not answer.
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Four different things that a caller treats differently.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be used now; nothing was written.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// Its queue is full; nothing was written.
    #[error("the store has more work than it takes on")]
    Busy,
    /// What is on disk is not what was written.
    #[error("the store holds a record that cannot be read")]
    Corrupt(#[source] Cause),
    /// The disk failed during a commit: it may or may not have happened. Nothing may be acknowledged.
    #[error("it is not known whether the store's last write happened")]
    OutcomeUnknown(#[source] Cause),
}

/// What the store knows under a typed identifier.
pub struct Lookup {
    /// Who was found.
    pub found: Found,
    /// The state that was read. A save based on it loses against any later change of the records it touches.
    pub revision: Version,
}

/// Who was found.
pub enum Found {
    /// Nobody.
    Nobody,
    /// One user, deleted and disabled ones included.
    One(Box<User>),
    /// The text means more than one user.
    Ambiguous,
}

/// Whether the store can be expected to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreHealth {
    /// Reads and writes.
    Ready,
    /// Reads only: a write failed, and the file has not been read again yet.
    ReadOnly,
    /// Neither.
    Down,
}
