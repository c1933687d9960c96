//! What the use cases need of the world, as traits: the seams behind which a store, a legacy connector, a hasher or a limiter
//! can be exchanged. Each has a conformance suite in `tests/it/`.

use std::any::Any;
use std::error::Error as StdError;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;

pub use super::account_key::AccountKey;
use super::backup::{BackupName, BackupStart, BackupView};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::UnixSeconds;
use crate::domain::conflict::{Conflict, Resolution};
use crate::domain::credential::Credential;
use crate::domain::identifier::{Candidates, Identifier, NormalizedIdentifier, RawIdentifier};
use crate::domain::import::{Imported, Incoming, OnConflict};
use crate::domain::login::AskedBy;
use crate::domain::mode::{ConfirmedMode, Mode};
use crate::domain::password::Password;
use crate::domain::password_life::{Change, ChangeWord};
use crate::domain::proof::{Authenticated, FreshHash, LegacyAccepted, LegacyIdentity, Migrated, VerifiedUser};
use crate::domain::registration::{AtLegacy, CreateWord};
use crate::domain::roster::{Day, RosterCounts};
use crate::domain::user::{Origin, Standing, User, UserId, Version};

/// The cause of an error, for the log; never shown to a client.
pub type Cause = Box<dyn StdError + Send + Sync>;

// ---------------------------------------------------------------------------------------------------------------- store

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

/// A user whom legacy proved at a login, ready to be saved.
pub struct ProvenUser {
    /// Legacy's word.
    pub accepted: LegacyAccepted,
    /// The password that legacy accepted, hashed.
    pub hash: FreshHash,
    /// What a new record says of its origin.
    pub origin: Origin,
    /// The names that were typed and that legacy's answer confirmed: only by one of these may a record without a legacy id become
    /// his.
    pub asked: Vec<NormalizedIdentifier>,
    /// The revision that was read before legacy was asked.
    pub based_on: Version,
    /// Now.
    pub at: UnixSeconds,
}

/// What became of a proven user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// A new record is on disk.
    Created(Migrated),
    /// His record was brought up to date and is on disk.
    Updated(Migrated),
    /// A name belongs to another user here; recorded for an operator, nothing saved.
    Conflict {
        /// Who holds the name.
        with: UserId,
    },
    /// The same, and an operator has decided that the name stays where it is; nothing saved.
    Settled {
        /// Who holds the name.
        with: UserId,
    },
    /// The record changed after legacy was asked; nothing saved.
    Stale,
    /// The user was disabled or deleted meanwhile; nothing saved.
    Closed,
}

/// A registration, ready to be inserted.
pub struct NewUser {
    /// All its names.
    pub identifiers: Vec<Identifier>,
    /// Further keys that must be free: an email may not be another user's username.
    pub must_be_free: Vec<NormalizedIdentifier>,
    /// What the registration said, less the password.
    pub profile: Value,
    /// The hashed password.
    pub hash: FreshHash,
    /// Set when legacy created the user too.
    pub legacy: Option<LegacySide>,
    /// Now.
    pub at: UnixSeconds,
}

/// Legacy's side of a user who was registered at both.
pub struct LegacySide {
    /// His id there, if legacy's answer told it.
    pub id: Option<crate::domain::user::LegacyId>,
}

/// What became of a registration.
pub enum Inserted {
    /// On disk.
    Inserted(Migrated, Box<User>),
    /// A name, or the legacy id, is taken.
    Exists,
}

/// A change of one record.
pub enum UserChange {
    /// The same password under today's parameters.
    Rehash(FreshHash),
    /// A new password.
    SetPassword(FreshHash),
    /// No password: legacy is asked at the next login.
    DropPassword,
    /// Active, disabled or deleted.
    SetStanding(Standing),
    /// Legacy vouched for the user again.
    Vouched,
    /// A deleted user is active again. What the tombstone dropped does not come back: he has no password here and no profile.
    Undelete,
    /// One more name, by an operator's word.
    AddAlias {
        /// The name.
        alias: Identifier,
        /// Everything that it may be typed for, which must be nobody else's either.
        must_be_free: Vec<NormalizedIdentifier>,
    },
    /// One name less.
    RemoveAlias {
        /// The name.
        name: NormalizedIdentifier,
        /// What becomes of it.
        then: AfterRemoval,
    },
}

/// What becomes of a name that an operator takes from a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterRemoval {
    /// It finds nobody, and nobody else gets it: whoever had it next would get the mail, and the password resets, that are meant for
    /// the one before.
    Reserved,
    /// Whoever comes first gets it.
    Free,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// On disk.
    Done(Migrated),
    /// The record changed meanwhile; nothing was written.
    Stale,
    /// There is no such record, or a tombstone that this does not change.
    Missing,
    /// It cannot be; nothing was written.
    Refused(NotChanged),
}

/// Why a change cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotChanged {
    /// The name, or another that it may be typed for, is somebody else's.
    NameTaken {
        /// Whose.
        by: UserId,
    },
    /// It is his already.
    AlreadyHis,
    /// It is none of his.
    NotHis,
    /// It is his only one: he could not be found any more.
    LastName,
    /// He has as many as one may have.
    TooManyNames,
    /// He is not deleted.
    NotDeleted,
}

/// Who holds a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameHolder {
    /// Whose it is.
    pub id: UserId,
    /// Whether he can log in by it; otherwise it is only kept from others.
    pub bears: bool,
}

/// Which conflicts to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConflictQuery {
    /// Only those in which this user holds the name.
    pub with: Option<UserId>,
    /// Only those with a smaller number: where the last page ended.
    pub before: Option<u64>,
    /// Those that are decided too.
    pub decided_too: bool,
    /// At most so many.
    pub limit: usize,
}

/// What became of a resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// On disk.
    Done {
        /// Who has the names now that were given; none if they were not, or if legacy's user is not here yet.
        given_to: Option<UserId>,
    },
    /// There is no such conflict, or none any more.
    Missing,
    /// It cannot be; nothing was written.
    Refused(NotChanged),
}

/// Makes rows of an import ready for a store.
pub trait Readier: Send {
    /// Adds a row behind the others.
    fn push(&mut self, row: Incoming);

    /// The rows so far; what is pushed next is the first of others.
    fn take(&mut self) -> ReadyRows;
}

/// For a store that makes nothing of rows ahead.
impl Readier for Vec<Incoming> {
    fn push(&mut self, row: Incoming) {
        Self::push(self, row);
    }

    fn take(&mut self) -> ReadyRows {
        ReadyRows::new(self.len(), std::mem::take(self))
    }
}

/// Rows that were made ready. What is in them concerns the store alone that made them. No `Debug`: it holds hashes and profiles.
pub struct ReadyRows {
    count: usize,
    made: Box<dyn Any + Send>,
}

impl ReadyRows {
    /// So many rows.
    #[must_use]
    pub fn new(count: usize, made: impl Any + Send) -> Self {
        Self { count, made: Box::new(made) }
    }

    /// How many rows there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Rows of an import.
pub struct ImportBatch<R = Vec<Incoming>> {
    /// At most [`MAX_IMPORT_ROWS`]; more are refused whole.
    pub rows: R,
    /// What becomes of rows whose user is known.
    pub on_conflict: OnConflict,
    /// What to remember with them.
    pub checkpoint: Option<Checkpoint>,
    /// Now.
    pub at: UnixSeconds,
}

impl<R> ImportBatch<R> {
    /// The same with other rows.
    pub fn map<S>(self, rows: impl FnOnce(R) -> S) -> ImportBatch<S> {
        let Self { rows: before, on_conflict, checkpoint, at } = self;
        ImportBatch { rows: rows(before), on_conflict, checkpoint, at }
    }
}

impl ImportBatch<Vec<ReadyRows>> {
    /// What is in the rows; none if any of it is something else.
    #[must_use]
    pub fn unpacked<T: Any>(self) -> Option<ImportBatch<Vec<T>>> {
        let unpacked = |rows: ReadyRows| rows.made.downcast::<T>().ok().map(|made| *made);
        let batch = self.map(|rows| rows.into_iter().map(unpacked).collect::<Option<Vec<T>>>());
        let ImportBatch { rows, on_conflict, checkpoint, at } = batch;
        Some(ImportBatch { rows: rows?, on_conflict, checkpoint, at })
    }
}

/// The most rows of one [`ImportBatch`].
pub const MAX_IMPORT_ROWS: usize = 2_000_000;

/// What an import is known by: a digest of its file's beginning and of how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportKey(pub [u8; 32]);

/// How far an import has come once its batch is on disk.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Of which import. The store keeps the last [`MAX_CHECKPOINTS`] imports.
    pub key: ImportKey,
    /// What the importer needs to go on, at most [`MAX_CHECKPOINT_BYTES`]; the store does not look into it.
    pub state: Vec<u8>,
}

/// The largest [`Checkpoint::state`], in bytes.
pub const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;

/// As many imports are remembered; of more, the oldest is forgotten.
pub const MAX_CHECKPOINTS: u64 = 64;

/// A checkpoint as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCheckpoint {
    /// What the importer gave.
    pub state: Vec<u8>,
    /// What became of each row of the batch that it came with: whoever goes on has perhaps not heard.
    pub results: Vec<Imported>,
    /// When.
    pub at: UnixSeconds,
}

/// Which users to list.
#[derive(Debug, Clone, Default)]
pub struct UserQuery {
    /// Only users with an identifier that starts so, in canonical form, of any kind.
    pub prefix: Option<String>,
    /// Where the last page ended.
    pub after: Option<String>,
    /// At most so many, capped at 1,000.
    pub limit: usize,
}

/// Users, and where to go on.
pub struct UserPage {
    /// In order; a user found under several identifiers appears under each page once.
    pub users: Vec<User>,
    /// What to give as `after` for the next page; none at the end.
    pub next: Option<String>,
}

/// Which stragglers to list.
#[derive(Debug, Clone)]
pub struct StragglerQuery {
    /// The days on which they were last seen.
    pub days: RangeInclusive<Day>,
    /// Only those who are worth so much at least.
    pub min_value: u64,
    /// Where the last page ended.
    pub after: Option<String>,
    /// At most so many, capped at 1,000. A page may have fewer and still not be the last.
    pub limit: usize,
}

/// How many users there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UserCounts {
    /// Active or disabled, brought over by a login.
    pub migrated: u64,
    /// Active or disabled, registered through us.
    pub registered: u64,
    /// Active or disabled, imported with a hash.
    pub imported: u64,
    /// Active or disabled, known from a roster only.
    pub roster: u64,
    /// Of all those, how many are disabled.
    pub disabled: u64,
    /// Of all those, how many have no password with us.
    pub without_password: u64,
    /// Tombstones.
    pub deleted: u64,
    /// Conflicts recorded and not resolved.
    pub conflicts: u64,
}

impl UserCounts {
    /// Everyone but tombstones.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.migrated + self.registered + self.imported + self.roster
    }

    /// The count of one origin.
    #[must_use]
    pub fn of(&self, origin: Origin) -> u64 {
        match origin {
            Origin::Migrated => self.migrated,
            Origin::Registered => self.registered,
            Origin::Imported => self.imported,
            Origin::Roster => self.roster,
        }
    }
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

// --------------------------------------------------------------------------------------------------------------- hasher

/// The bounded pool that all hashing goes through. Where not everybody can be served, known clients go first.
pub trait PasswordHasher: Send + Sync {
    /// Checks a password against a user's stored credential, which is consumed.
    fn verify<'a>(
        &'a self,
        permit: &'a AccountPermit,
        user: Box<User>,
        password: Arc<Password>,
    ) -> BoxFuture<'a, Result<Verification, HashUnavailable>>;

    /// Does the work of a check for nobody, so that unknown users cost what wrong passwords cost (R60).
    fn equalize<'a>(
        &'a self,
        permit: &'a AccountPermit,
        password: Arc<Password>,
    ) -> BoxFuture<'a, Result<(), HashUnavailable>>;

    /// Hashes a password under today's parameters. Whoever has proven who he is, here or to legacy, is known.
    fn hash(
        &self,
        standing: ClientStanding,
        password: Arc<Password>,
    ) -> BoxFuture<'_, Result<FreshHash, HashUnavailable>>;

    /// Whether a credential that verified should be hashed again: other parameters, or not of our making.
    fn is_outdated(&self, credential: &Credential) -> bool;

    /// When somebody who got [`HashUnavailable`] should come again: by what waits now, and different for each who asks, so that those
    /// who were refused together do not return together. Bounded.
    fn retry_after(&self) -> Duration;
}

/// Looks at stored credentials without any password: for operators.
pub trait HashReader: Send + Sync {
    /// What a credential is. Never the hash.
    fn look(&self, credential: &Credential) -> HashLook;
}

/// What a stored credential is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashLook {
    /// There is none.
    Absent,
    /// A password can be checked against it.
    Usable {
        /// The name of its format.
        format: String,
        /// Whether it is hashed again when it verifies.
        outdated: bool,
    },
    /// Nothing can be checked against it.
    Unusable {
        /// Why.
        why: String,
    },
}

/// What a check said. The user comes back, but for a match, which is its own proof.
pub enum Verification {
    /// The password is right.
    Match(VerifiedUser),
    /// It is not the one we hold.
    Mismatch(Box<User>),
    /// The stored hash cannot be used: unreadable, or with parameters over the bounds (R53).
    Unusable(Box<User>),
}

/// No hash could be computed now. Always 503, never "wrong password".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashUnavailable {
    /// As many wait as may wait.
    #[error("the hash queue is full")]
    QueueFull,
    /// What waits already takes longer than anybody should wait.
    #[error("the hash could not be computed in time")]
    Overloaded,
    /// It waited longer than anybody should.
    #[error("the hash was not computed in time")]
    Late,
    /// The memory for it could not be had (R55).
    #[error("there is no memory for a hash")]
    OutOfMemory,
    /// A bug, or no randomness for a salt. Counted where it happened.
    #[error("the hash could not be computed")]
    Failed,
    /// The pool is shutting down.
    #[error("the hash pool has stopped")]
    Stopped,
}

impl HashUnavailable {
    /// The word for it in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Overloaded => "overloaded",
            Self::Late => "late",
            Self::OutOfMemory => "memory",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

// --------------------------------------------------------------------------------------------------------------- limits

/// Too many attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// When trying again makes sense.
    pub retry_after: Duration,
    /// What is allowed, as clients are told. The same whether there is such an account or not (R74).
    pub policy: LimitPolicy,
}

/// What a limit allows, as clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitPolicy {
    /// A word for it.
    pub name: &'static str,
    /// How many in the window.
    pub quota: u32,
    /// The window.
    pub window: Duration,
}

/// Limits by client address, asked before a body is read.
pub trait AddressLimits: Send + Sync {
    /// Counts one request of this address.
    fn admit(&self, client: ClientAddr, what: AddressBucket) -> Result<(), Limited>;
}

/// Which limit an address is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressBucket {
    /// Any intercepted request.
    Intercepted,
    /// A registration, on top.
    Registration,
}

/// Limits by account, counted before any hashing, atomically (R63).
pub trait AccountLimits: Send + Sync {
    /// Takes one attempt that comes from a client, to be settled with its outcome. Attempts from networks that the account does not
    /// know never hold up those from networks that it knows (R67). With `count = "failures"` an attempt that may still turn out right
    /// holds a place rather than using it up, and more than the limit wait for a place instead of being refused (R64): the
    /// future is bounded by a deadline.
    fn admit(&self, account: AccountKey, client: ClientAddr) -> BoxFuture<'_, Result<AccountPermit, Limited>>;

    /// Notes a login that succeeded without a permit, where legacy had the word: the account knows its network from now on.
    fn welcome(&self, account: &AccountKey, client: ClientAddr);

    /// Takes one question to legacy about an account whose local password did not match. `false` when its budget is used up.
    fn take_recheck(&self, account: &AccountKey) -> bool;

    /// Gives one such question back: legacy could not be asked.
    fn give_recheck_back(&self, account: &AccountKey);

    /// How an account stands, counting nothing: for operators. With an address, also how an attempt from there would be met.
    fn peek(&self, account: &AccountKey, from: Option<ClientAddr>) -> AccountState;
}

/// How an account stands with the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountState {
    /// How long it takes no attempts from networks that it does not know; none if it does.
    pub closed_for: Option<Duration>,
    /// Whether a local mismatch may still be put to legacy.
    pub may_recheck: bool,
    /// How an attempt from the address that was asked about would be met.
    pub there: Option<There>,
}

/// How an attempt from one address would be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct There {
    /// Whether the account knows the network.
    pub standing: ClientStanding,
    /// The first limit that would refuse it, by the name that metrics have for it, and for how long; none if it would be admitted.
    pub refused: Option<(&'static str, Duration)>,
}

/// What an account has had to do before with the network that an attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientStanding {
    /// Somebody logged in to this account from there, successfully.
    Known,
    /// Nobody did, or it is forgotten.
    Unknown,
}

/// One admitted attempt. Hashing asks for it. Dropped unsettled it counts as a failure unless said otherwise: a client that hangs up early learns
/// nothing cheaper.
pub struct AccountPermit {
    settle: Option<Box<dyn FnOnce(AttemptOutcome) + Send + Sync>>,
    if_dropped: AttemptOutcome,
    standing: ClientStanding,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The password was right.
    Succeeded,
    /// It was wrong.
    Failed,
    /// Nobody could tell (R82): not counted.
    NoVerdict,
}

impl AccountPermit {
    /// Made by a limiter; `settle` is called exactly once.
    #[must_use]
    pub fn new(standing: ClientStanding, settle: impl FnOnce(AttemptOutcome) + Send + Sync + 'static) -> Self {
        Self { settle: Some(Box::new(settle)), if_dropped: AttemptOutcome::Failed, standing }
    }

    /// Where the attempt comes from, seen from the account: under overload known networks are served first.
    #[must_use]
    pub fn standing(&self) -> ClientStanding {
        self.standing
    }

    /// Ends the attempt.
    pub fn settle(mut self, outcome: AttemptOutcome) {
        if let Some(settle) = self.settle.take() {
            settle(outcome);
        }
    }

    /// What it counts as if nobody settles it from here on.
    pub fn count_if_dropped(&mut self, outcome: AttemptOutcome) {
        self.if_dropped = outcome;
    }
}

impl Drop for AccountPermit {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle(self.if_dropped);
        }
    }
}

// --------------------------------------------------------------------------------------------------------------- legacy

/// The backend that is to be retired. Implementations never follow redirects, bound every answer in bytes and time, and
/// connect only where their configuration says (R80, R81, R83).
pub trait LegacyBackend: Send + Sync {
    /// Puts one login to legacy.
    fn login<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, LoginAnswer>;

    /// Whether legacy knows a name, and whom it names.
    fn get_user<'a>(&'a self, name: &'a RawIdentifier) -> BoxFuture<'a, UserAnswer>;

    /// Whether a login can be put to legacy without a client's request (`[legacy.login]` is configured).
    fn can_call_login(&self) -> bool;

    /// Whether [`Self::get_user`] can be asked (`[legacy.get_user]` is configured and needs no login's answer).
    fn can_get_user(&self) -> bool;

    /// Creates a user.
    fn register<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, RegisterAnswer>;

    /// Changes or resets a password, deletes a user.
    fn change<'a>(&'a self, change: Change, question: Question<'a>) -> BoxFuture<'a, ChangeAnswer>;

    /// Sends the client's own request on to the app and brings its answer back, unjudged.
    fn relay<'a>(&'a self, request: &'a ClientRequest) -> BoxFuture<'a, Result<Relay, Outage>>;
}

/// What legacy is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Who, exactly as typed. Absent where only a token in the request tells (a change of password).
    pub login: Option<&'a RawIdentifier>,
    /// With which password: the current one, or at registration the new one.
    pub password: Option<&'a Password>,
    /// The new password of a change or reset.
    pub new_password: Option<&'a Password>,
    /// The parsed fields of the request, less every password.
    pub fields: &'a Value,
    /// How to ask.
    pub by: AskBy<'a>,
}

/// How to ask.
#[derive(Clone, Copy)]
pub enum AskBy<'a> {
    /// By the composed request of `[legacy.*]`.
    Call,
    /// By the client's request, made anew from what was parsed; judged by the rules of its route.
    Forward {
        /// Index of the route in the configuration.
        route: RouteIndex,
        /// What is sent.
        request: &'a ClientRequest,
    },
}

impl<'a> AskBy<'a> {
    /// The way that a route asks.
    #[must_use]
    pub fn of(asked_by: AskedBy, route: RouteIndex, request: &'a ClientRequest) -> Self {
        match asked_by {
            AskedBy::Call => Self::Call,
            AskedBy::Forward => Self::Forward { route, request },
        }
    }
}

/// A route's place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteIndex(pub usize);

/// A client's request as it may be sent on: canonical path, forwardable headers, and a body serialized anew from what we parsed,
/// so that what legacy judges is what we save (R41). Has no `Debug`: it holds a password.
pub struct ClientRequest {
    /// The method.
    pub method: http::Method,
    /// Canonical path and query.
    pub path_and_query: http::uri::PathAndQuery,
    /// The headers that a proxy sends on, ready.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer of legacy or the app, whole and bounded, ready to be handed to the client.
pub type Relay = http::Response<Bytes>;

/// Why there is no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outage {
    /// The breaker is open: not even tried.
    BreakerOpen,
    /// As many questions are under way as may be.
    TooManyInFlight,
    /// No connection.
    Connect,
    /// The connection's TLS could not be verified.
    Tls,
    /// No complete answer in time.
    Timeout,
    /// The answer broke off, or is no HTTP.
    Broken,
    /// The answer is larger than may be read.
    TooLarge,
    /// 5xx.
    ServerError,
    /// 429.
    RateLimited,
    /// A redirect that no rule expects.
    Redirect,
    /// An answer of another kind than every rule (`call` only).
    Unrecognised,
    /// The question could not be composed: a template failed.
    Template,
}

impl Outage {
    /// The word for it in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::TooLarge => "too_large",
            Self::ServerError => "server_error",
            Self::RateLimited => "rate_limited",
            Self::Redirect => "redirect",
            Self::Unrecognised => "unrecognised",
            Self::Template => "template",
        }
    }
}

/// Legacy's word on a login, with its own answer where one came.
pub struct LoginAnswer {
    /// The word.
    pub word: LoginWord,
    /// The answer itself.
    pub relay: Option<Relay>,
}

/// Legacy's word on a login.
pub enum LoginWord {
    /// Right, and this is who.
    Accepted(LegacyAccepted),
    /// Wrong.
    Denied,
    /// More is wanted than a password.
    Challenge,
    /// A live answer that proves nothing.
    Unrecognised(Unrecognised),
    /// No usable answer.
    Unavailable(Outage),
}

/// Why a live answer proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unrecognised {
    /// No rule matched.
    NoRule,
    /// Several did.
    SeveralRules,
    /// Accepted, but without a stable id.
    NoStableId,
    /// Accepted, but who it is could not be asked.
    NoProfile,
}

impl Unrecognised {
    /// The word for it in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::SeveralRules => "several_rules",
            Self::NoStableId => "no_stable_id",
            Self::NoProfile => "no_profile",
        }
    }
}

/// Legacy's word on a name.
pub enum UserAnswer {
    /// It has such a user. The identity is there if the mapping gave a stable id.
    Found(Option<Box<LegacyIdentity>>),
    /// It has none.
    NotFound,
    /// Nobody can tell.
    Unknown(Outage),
}

impl UserAnswer {
    /// The part that a registration's decision needs.
    #[must_use]
    pub fn at_legacy(&self) -> AtLegacy {
        match self {
            Self::Found(_) => AtLegacy::Found,
            Self::NotFound => AtLegacy::NotFound,
            Self::Unknown(_) => AtLegacy::Unknown,
        }
    }
}

/// Legacy's word on a registration.
pub struct RegisterAnswer {
    /// The word.
    pub word: CreateWord,
    /// Who was created, if the answer tells.
    pub identity: Option<Box<LegacyIdentity>>,
    /// The answer itself.
    pub relay: Option<Relay>,
}

/// Legacy's word on a change, reset or deletion.
pub struct ChangeAnswer {
    /// The word.
    pub word: ChangeWord,
    /// Whose account, if the answer tells.
    pub identity: Option<Box<LegacyIdentity>>,
    /// The answer itself.
    pub relay: Option<Relay>,
}

// --------------------------------------------------------------------------------------------------------------- tokens

/// What an app accepts as "this user is logged in".
pub trait Tokens: Send + Sync {
    /// Mints the tokens of somebody who proved who he is.
    fn mint(&self, who: &Authenticated) -> Result<Minted, TokenError>;

    /// The public id in a `[token]` that we, or legacy with the same key, minted and that has not expired. The claims that the
    /// configuration fixes must be there as fixed, so that a token of another purpose is not taken for one.
    fn subject(&self, token: &str) -> Option<String>;

    /// The same for a token of `[tokens.NAME]`.
    fn subject_of(&self, name: &str, token: &str) -> Option<String>;
}

/// Freshly minted tokens. No `Debug`: each opens an account.
#[derive(Default)]
pub struct Minted {
    /// Of `[token]`; none with `kind = "none"`.
    pub token: Option<String>,
    /// Of each `[tokens.NAME]`.
    pub named: std::collections::BTreeMap<String, String>,
}

/// A token could not be minted: a claim's template failed, or the key refuses.
#[derive(Debug, thiserror::Error)]
#[error("a token could not be minted")]
pub struct TokenError(#[source] pub Cause);

// ----------------------------------------------------------------------------------------------------------------- mode

/// The mode in force, changed at run time.
pub trait ModeSwitch: Send + Sync {
    /// The mode that a request arriving now meets.
    fn current(&self) -> Mode;

    /// Puts a mode in force. When the future is ready the store keeps it for the next start and every later request meets
    /// it; after an error the old one is still in force.
    fn set(&self, to: ConfirmedMode) -> BoxFuture<'_, Result<(), StoreError>>;
}
