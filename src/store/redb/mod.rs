//! The store on one file, by redb: a handle over one thread that writes and a few that read.
//!
//! ```text
//! file      making and finding the file; claim: who may
//! medium, overlay  opening the database on it
//! writer    group commit, recovery                 operation        a write and its answer
//! writes    what each write does                   readers, reads   what each read does; hurry: without waiting
//! schema    tables and counts                      record, conflicts, activity, keys, renew, fault
//! import    rows in bulk                           roster    who has not come over, by day
//! people    what an operator does beyond a login
//! checked   every block verified as it is read     upgrade          a file of the first layout
//! backup, offline  copies and checks               copy, inspect    what both of them do
//! ```
//!
//! Never decides about a login (it asks [`crate::domain::login::decide_save`]), never sees a password. A future that is dropped
//! halfway leaves a whole write or none (R91): the threads do not depend on it.

mod activity;
mod backup;
mod checked;
mod claim;
mod conflicts;
mod copy;
mod fault;
mod file;
mod hurry;
mod import;
mod inspect;
mod keys;
mod medium;
pub mod offline;
mod operation;
mod overlay;
mod people;
mod readers;
mod reads;
mod record;
mod renew;
mod roster;
mod salvage;
mod schema;
mod scratch;
mod slot;
mod upgrade;
mod writer;
mod writes;

/// What `crate::fuzzing` needs to see.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed {
    use std::sync::Arc;

    use zeroize::Zeroizing;

    use super::record::Codec;
    use super::{User, UserId, conflicts};
    use crate::keys::{KEY_BYTES, NamedKey};
    use crate::store::SealingKeys;

    /// The bytes of a record.
    pub(crate) fn encode(user: &User) -> Option<Vec<u8>> {
        Codec::default().encode(user).ok()
    }

    /// A record of these bytes.
    pub(crate) fn decode(id: UserId, bytes: &[u8]) -> Option<User> {
        Codec::default().decode(id, bytes).ok()
    }

    /// The bytes of a record that is sealed with a key that everybody knows.
    pub(crate) fn encode_sealed(user: &User) -> Option<Vec<u8>> {
        sealing()?.encode(user).ok()
    }

    /// A record of these bytes, opened with that key.
    pub(crate) fn decode_sealed(id: UserId, bytes: &[u8]) -> Option<User> {
        sealing()?.decode(id, bytes).ok()
    }

    fn sealing() -> Option<Codec> {
        let key = NamedKey::new("fuzz".parse().ok()?, Zeroizing::new([7; KEY_BYTES]));
        let id = key.id().clone();
        Some(Codec::new(Some(Arc::new(SealingKeys::new(&[key], Some(&id)).ok()?))))
    }

    /// A conflict, read and written.
    pub(crate) fn reencoded_conflict(bytes: &[u8]) -> Option<Vec<u8>> {
        conflicts::decode(0, bytes).ok().map(|conflict| conflicts::encode(&conflict))
    }
}

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use ::redb::{Database, ReadableDatabase as _};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use uuid::ContextV7;

use self::activity::{Activity, Noted};
use self::backup::Backups;
use self::claim::Claim;
pub(crate) use self::file::missing_though_made;
use self::import::{Ready, Rows};
use self::medium::{Check, Opener};
use self::operation::{Operation, Reply};
use self::readers::Readers;
use self::record::Codec;
use self::schema::Ledger;
use self::scratch::Scratch;
use self::slot::Slot;
use self::writer::{LastCommit, Writer};
use self::writes::Workshop;
use super::{OpenError, StoreSettings};
use crate::domain::clock::{Clock, UnixSeconds};
use crate::domain::conflict::{Conflict, Resolution};
use crate::domain::identifier::{Candidates, NormalizedIdentifier};
use crate::domain::import::{Imported, Incoming};
use crate::domain::mode::Mode;
use crate::domain::roster::RosterCounts;
use crate::domain::user::{User, UserId, Version};
use crate::service::backup::{BackupName, BackupStart, BackupView};
use crate::service::ports::{
    ConflictQuery, ImportBatch, ImportKey, Inserted, Lookup, NameHolder, NewUser, OnDamage, ProvenUser, Readier,
    ReadyRows, Resolved, Saved, SavedCheckpoint, StoreError, StoreHealth, StragglerQuery, Updated, UserChange,
    UserCounts, UserPage, UserQuery, UserStore,
};
use crate::telemetry::Metrics;

pub use self::conflicts::MAX_CONFLICTS;
pub use self::inspect::Inspection;
pub use self::medium::{Medium, Unopened};
pub use self::renew::Renewed;
pub use self::writes::MAX_ALIASES;

/// How many writes may wait. At a few hundred commits a second, each of up to [`writer::MAX_BATCH`], they wait for well under a
/// second.
const QUEUE: usize = 1_024;

/// The store. Dropping it waits for the writes under way, and closes the file.
pub struct RedbStore {
    slot: Arc<Slot>,
    logins: Arc<Activity>,
    /// None on a medium that is no file.
    backups: Option<Backups>,
    // In the order in which they must go: the readers hold a sender of the writer's queue too.
    readers: Option<Readers>,
    queue: Option<SyncSender<Operation>>,
    writer: Option<JoinHandle<()>>,
    /// Given back once the file is closed. None on a medium that is no file.
    claim: Option<Claim>,
}

impl RedbStore {
    /// Opens the file of the settings, making it at the first start; see [`super::open`].
    pub fn open(settings: &StoreSettings, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let file::Opened { opener, database, ledger, claim } = file::open(settings, &metrics)?;
        keys::admit(&database, &settings.keys).map_err(|refused| file::not_admitted(&settings.path, refused))?;
        let codec = Codec::new(settings.keys.sealing.clone());
        let place = backup::Place {
            folder: settings.backups(),
            prefix: settings.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let started = Self::start(opener, database, ledger, codec, Arc::clone(&metrics), Arc::clone(&clock));
        let mut store = started.map_err(|cause| OpenError::Io {
            path: settings.path.clone(),
            action: "given its threads",
            cause: cause.into(),
        })?;
        store.backups = Some(Backups::new(place, Arc::clone(&store.slot), metrics, clock));
        store.claim = claim;
        Ok(store)
    }

    /// Opens a view of the file of the settings, or of a new store if there is none; see [`super::open_scratch`].
    pub fn open_scratch(
        settings: &StoreSettings,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let path = &settings.path;
        let failed =
            |cause: std::io::Error| OpenError::Io { path: path.clone(), action: "viewed", cause: cause.into() };
        let scratch = Scratch::of(path).map_err(failed)?;
        let opener =
            Opener { medium: scratch.clone(), cache_bytes: settings.cache_bytes, metrics: Arc::clone(&metrics) };
        if !scratch.shows_a_file() {
            opener.create().map_err(|unopened| file::at(path, "viewed", unopened))?;
        }
        let (database, ledger) = opener.open(Check::Header).map_err(|unopened| file::at(path, "viewed", unopened))?;
        keys::admit(&database, &settings.keys).map_err(|refused| file::not_admitted(path, refused))?;
        let codec = Codec::new(settings.keys.sealing.clone());
        Self::start(opener, database, ledger, codec, metrics, clock).map_err(failed)
    }

    /// Makes a store on an empty medium other than a file.
    pub fn create_on(medium: impl Medium, cache_bytes: usize) -> Result<(), Unopened> {
        Opener { medium, cache_bytes, metrics: Arc::new(Metrics::new()) }.create()
    }

    /// Opens a store on a medium other than a file.
    pub fn open_on(
        medium: impl Medium,
        cache_bytes: usize,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Unopened> {
        let opener = Opener { medium, cache_bytes, metrics: Arc::clone(&metrics) };
        let (database, ledger) = opener.open(Check::Header)?;
        Self::start(opener, database, ledger, Codec::default(), metrics, clock).map_err(Unopened::from)
    }

    /// Opens a store on a medium as a proxy does, looks at everything in it without starting any thread, and closes it. `each` is
    /// shown every record that can be read.
    pub fn inspect_on(
        medium: impl Medium,
        cache_bytes: usize,
        each: &mut dyn FnMut(&User),
    ) -> Result<Inspection, Unopened> {
        let opener = Opener { medium, cache_bytes, metrics: Arc::new(Metrics::new()) };
        let (database, _ledger) = opener.open(Check::Header)?;
        let transaction = database.begin_read().map_err(fault::Fault::from)?;
        Ok(inspect::inspect(&transaction, &Codec::default(), each))
    }

    /// Writes records anew that are not as they would be written today, some of those after this user; see
    /// [`Renewed::next`]. What a record says is not changed.
    pub async fn renew(&self, after: Option<UserId>) -> Result<Renewed, StoreError> {
        self.write(move |reply| Operation::Renew(after, reply)).await
    }

    fn start<M: Medium>(
        opener: Opener<M>,
        database: Database,
        ledger: Ledger,
        codec: Codec,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        writer::show_counts(&metrics, &ledger);
        let slot = Arc::new(Slot::new(database, Arc::clone(&metrics), codec));
        let logins = Arc::new(Activity::new(Arc::clone(&clock), Arc::clone(&metrics)));
        let (queue, operations) = sync_channel(QUEUE);
        let workshop = Workshop { clock, keys: ContextV7::new() };
        let may_hurry = opener.medium.can_be_hurried();
        let writer = Writer {
            queue: operations,
            slot: Arc::clone(&slot),
            opener,
            workshop,
            logins: Arc::clone(&logins),
            metrics,
            failures: 0,
            last: LastCommit::default(),
        };
        let writer = thread::Builder::new().name("store-write".to_owned()).spawn(move || writer.run())?;
        let nudge = queue.clone();
        // If the queue is full, the writer is about to find the same.
        let reopen = move |generation| drop(nudge.try_send(Operation::Reopen(generation)));
        let readers = Readers::start(&slot, may_hurry, reopen);
        let (queue, writer) = (Some(queue), Some(writer));
        let mut store = Self { slot, logins, backups: None, readers: None, queue, writer, claim: None };
        store.readers = Some(readers?);
        Ok(store)
    }

    async fn look_up<A, T>(&self, about: &A, work: readers::Lookup<A, T>) -> Result<T, StoreError>
    where
        A: ToOwned<Owned: Send + 'static> + ?Sized + 'static,
        T: Send + 'static,
    {
        match &self.readers {
            Some(readers) => readers.look_up(about, work).await,
            None => Err(StoreError::Unavailable("the store is being closed".into())),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&schema::Snapshot) -> Result<T, fault::Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.readers {
            Some(readers) => readers.read(work).await,
            None => Err(StoreError::Unavailable("the store is being closed".into())),
        }
    }

    async fn write<T>(&self, operation: impl FnOnce(Reply<T>) -> Operation) -> Result<T, StoreError> {
        match self.slot.health() {
            StoreHealth::Ready => {}
            StoreHealth::ReadOnly | StoreHealth::Down => {
                return Err(StoreError::Unavailable("the store takes no writes after a failure".into()));
            }
        }
        let Some(queue) = &self.queue else {
            return Err(StoreError::Unavailable("the store is being closed".into()));
        };
        let (reply, answer) = oneshot::channel();
        queue.try_send(operation(reply)).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Unavailable("the store's writer has stopped".into()),
        })?;
        // Without an answer the writer has died, before or after the commit.
        answer.await.map_err(|dropped| StoreError::OutcomeUnknown(dropped.into()))?
    }
}

impl UserStore for RedbStore {
    fn find<'a>(&'a self, candidates: &'a Candidates) -> BoxFuture<'a, Result<Lookup, StoreError>> {
        Box::pin(self.look_up(candidates, reads::find))
    }

    fn find_public<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<User>, StoreError>> {
        Box::pin(self.look_up(id, reads::find_public))
    }

    fn user(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>, StoreError>> {
        Box::pin(async move { self.look_up(&id, reads::user).await })
    }

    fn save_proven(&self, proven: ProvenUser) -> BoxFuture<'_, Result<Saved, StoreError>> {
        Box::pin(self.write(move |reply| Operation::SaveProven(Box::new(proven), reply)))
    }

    fn insert_new(&self, new: NewUser) -> BoxFuture<'_, Result<Inserted, StoreError>> {
        Box::pin(self.write(move |reply| Operation::InsertNew(Box::new(new), reply)))
    }

    fn update(&self, id: UserId, based_on: Version, change: UserChange) -> BoxFuture<'_, Result<Updated, StoreError>> {
        Box::pin(self.write(move |reply| Operation::Update(id, based_on, change, reply)))
    }

    fn holders<'a>(
        &'a self,
        names: &'a [NormalizedIdentifier],
    ) -> BoxFuture<'a, Result<Vec<Option<NameHolder>>, StoreError>> {
        let names = names.to_vec();
        Box::pin(self.read(move |snapshot| reads::holders(snapshot, &names)))
    }

    fn reserved(&self) -> BoxFuture<'_, Result<Vec<(UserId, NormalizedIdentifier)>, StoreError>> {
        Box::pin(self.read(people::reserved))
    }

    fn conflicts(&self, query: ConflictQuery) -> BoxFuture<'_, Result<Vec<Conflict>, StoreError>> {
        Box::pin(self.read(move |snapshot| conflicts::list(snapshot, &query)))
    }

    fn conflict(&self, number: u64) -> BoxFuture<'_, Result<Option<Conflict>, StoreError>> {
        Box::pin(self.read(move |snapshot| conflicts::find(&snapshot.conflicts, number)))
    }

    fn resolve(&self, number: u64, resolution: Resolution) -> BoxFuture<'_, Result<Resolved, StoreError>> {
        Box::pin(self.write(move |reply| Operation::Resolve(number, resolution, reply)))
    }

    fn import(&self, batch: ImportBatch) -> BoxFuture<'_, Result<Vec<Imported>, StoreError>> {
        Box::pin(self.write(move |reply| Operation::Import(Box::new(batch.map(Rows::Plain)), reply)))
    }

    fn readier(&self, at: UnixSeconds) -> Box<dyn Readier> {
        Box::new(MakesReady { ready: Vec::new(), codec: self.slot.codec().clone(), at })
    }

    fn import_ready(&self, batch: ImportBatch<Vec<ReadyRows>>) -> BoxFuture<'_, Result<Vec<Imported>, StoreError>> {
        match batch.unpacked::<Vec<Ready>>() {
            Some(batch) => {
                Box::pin(self.write(move |reply| Operation::Import(Box::new(batch.map(Rows::of_ready)), reply)))
            }
            None => {
                Box::pin(async { Err(StoreError::Unavailable("the rows were made ready for another store".into())) })
            }
        }
    }

    fn import_checkpoint(&self, key: ImportKey) -> BoxFuture<'_, Result<Option<SavedCheckpoint>, StoreError>> {
        Box::pin(self.read(move |snapshot| import::checkpoint(snapshot, key)))
    }

    fn list(&self, query: UserQuery) -> BoxFuture<'_, Result<UserPage, StoreError>> {
        let by_prefix = query.prefix.as_deref().is_some_and(|prefix| !prefix.is_empty());
        match (&self.readers, query.on_damage) {
            (Some(readers), OnDamage::StepOver) if !by_prefix => {
                Box::pin(readers.read_apart(move |transaction, codec| salvage::list(transaction, codec, &query)))
            }
            (_, OnDamage::Fail | OnDamage::StepOver) => {
                Box::pin(self.read(move |snapshot| reads::list(snapshot, &query)))
            }
        }
    }

    fn counts(&self) -> BoxFuture<'_, Result<UserCounts, StoreError>> {
        Box::pin(self.read(|snapshot| Ok(Ledger::load(&snapshot.meta)?.counts)))
    }

    fn roster(&self) -> BoxFuture<'_, Result<RosterCounts, StoreError>> {
        Box::pin(self.read(roster::counts))
    }

    fn stragglers(&self, query: StragglerQuery) -> BoxFuture<'_, Result<UserPage, StoreError>> {
        Box::pin(self.read(move |snapshot| roster::stragglers(snapshot, &query)))
    }

    fn forget_listed(&self, users: Vec<(UserId, Version)>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write(move |reply| Operation::ForgetListed(users, reply)))
    }

    fn note_login(&self, id: UserId, at: UnixSeconds) {
        if let (Noted::Wake, Some(queue)) = (self.logins.note(id, at), &self.queue) {
            // A probe that nobody waits for. If the queue is full, the writer is awake.
            drop(queue.try_send(Operation::Probe(oneshot::channel().0)));
        }
    }

    fn last_login<'a>(&'a self, ids: &'a [UserId]) -> BoxFuture<'a, Result<Vec<Option<UnixSeconds>>, StoreError>> {
        Box::pin(async move {
            // First those that wait: they are struck off only when they are on disk.
            let waiting = self.logins.of(ids);
            let ids = ids.to_vec();
            let written = self.read(move |snapshot| activity::last_login(snapshot, &ids)).await?;
            Ok(waiting.into_iter().zip(written).map(|(waiting, written)| waiting.max(written)).collect())
        })
    }

    fn start_backup(&self, name: Option<BackupName>) -> BoxFuture<'_, Result<BackupStart, StoreError>> {
        Box::pin(async move {
            match &self.backups {
                Some(backups) => backups.start(name.as_ref()),
                None => Err(StoreError::Unavailable("a store that is no file makes no backups".into())),
            }
        })
    }

    fn backup(&self) -> BoxFuture<'_, Result<Option<BackupView>, StoreError>> {
        Box::pin(async { Ok(self.backups.as_ref().and_then(Backups::view)) })
    }

    fn mode(&self) -> BoxFuture<'_, Result<Option<Mode>, StoreError>> {
        Box::pin(self.read(|snapshot| schema::mode_of(&snapshot.meta)))
    }

    fn set_mode(&self, mode: Mode) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |reply| Operation::SetMode(mode, reply)))
    }

    fn health(&self) -> StoreHealth {
        self.slot.health()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            self.counts().await?;
            self.write(Operation::Probe).await
        })
    }
}

/// Makes rows ready with the keys of one store.
struct MakesReady {
    ready: Vec<Ready>,
    codec: Codec,
    at: UnixSeconds,
}

impl Readier for MakesReady {
    fn push(&mut self, row: Incoming) {
        Ready::push_to(&mut self.ready, row, &self.codec, self.at);
    }

    fn take(&mut self) -> ReadyRows {
        // Chunks of one file are about as large as each other; to grow is to copy, and to hold twice what is needed.
        let next = self.ready.first().map(Ready::with_room_for);
        let ready = std::mem::replace(&mut self.ready, next.into_iter().collect());
        ReadyRows::new(ready.iter().map(Ready::len).sum(), ready)
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        drop(self.backups.take());
        drop(self.readers.take());
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // It catches its own panics; what it could not close is found by the next start.
            let _panicked = writer.join();
        }
        drop(self.claim.take());
    }
}
