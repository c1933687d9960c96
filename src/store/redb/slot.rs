//! The open database, whether it can be used, and the state of it that lookups see: what the writer and the readers share.
//!
//! To begin a read, open the tables and read the revision costs as much as a lookup does. So one [`Lookups`] is made after each commit,
//! before anybody is told of that commit, and shared by all lookups until the next one. Since it is of the last commit, it keeps no pages
//! from being used anew but those that the next commit replaces, and only until that commit is done.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::Duration;

use ::redb::{Database, ReadableDatabase as _};

use super::checked::isolated;
use super::fault::Fault;
use super::record::Codec;
use super::schema::{Lookups, View as _};
use crate::service::ports::StoreHealth;
use crate::telemetry::Metrics;

/// Readers hold the lock for one read, the writer for one batch; it is taken alone to open the file again, so that nobody reads
/// what a failed commit left in memory, and whoever comes meanwhile waits for it.
pub(super) struct Slot {
    open: RwLock<Option<Open>>,
    health: AtomicU8,
    generation: AtomicU64,
    /// Told when a generation begins.
    begun: (Mutex<()>, Condvar),
    metrics: Arc<Metrics>,
    codec: Codec,
}

/// An open database.
pub(super) struct Open {
    // It goes first: it reads from the database.
    latest: RwLock<Option<Arc<Lookups>>>,
    database: Database,
    codec: Codec,
}

impl Open {
    fn new(database: Database, codec: &Codec) -> Self {
        let open = Self { latest: RwLock::default(), database, codec: codec.clone() };
        open.show_last_commit();
        open
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Lets lookups see the last commit. Called by the writer alone, before whoever wrote is told; where it cannot be read, lookups meet
    /// that themselves.
    pub(super) fn show_last_commit(&self) {
        let made = isolated(|| self.begin());
        let made = made.ok().and_then(Result::ok);
        // What was there is dropped after the lock is let go.
        let _before = std::mem::replace(&mut *self.latest.write().unwrap_or_else(PoisonError::into_inner), made);
    }

    /// Lets go of what [`Self::show_last_commit`] shows, before a commit that replaces a large part of the file: what that commit frees
    /// can be used by the next one, and the file is smaller by as much. Lookups begin a read of their own until it is done.
    pub(super) fn let_go(&self) {
        let _before = self.latest.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The last commit, as lookups see it.
    pub(super) fn lookups(&self) -> Result<Arc<Lookups>, Fault> {
        let latest = match self.latest.try_read() {
            Ok(latest) => latest.clone(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().clone(),
            // It is being replaced.
            Err(TryLockError::WouldBlock) => None,
        };
        latest.map_or_else(|| self.begin(), Ok)
    }

    fn begin(&self) -> Result<Arc<Lookups>, Fault> {
        Ok(Arc::new(Lookups::of(&self.database.begin_read()?, &self.codec)?))
    }
}

/// How often the file was opened: a failure that was met in an earlier generation asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u64);

const READY: u8 = 0;
const READ_ONLY: u8 = 1;
const DOWN: u8 = 2;

impl Slot {
    pub(super) fn new(database: Database, metrics: Arc<Metrics>, codec: Codec) -> Self {
        metrics.store_ready(true);
        Self {
            open: RwLock::new(Some(Open::new(database, &codec))),
            health: AtomicU8::new(READY),
            generation: AtomicU64::new(0),
            begun: (Mutex::default(), Condvar::new()),
            metrics,
            codec,
        }
    }

    /// What it takes to read and write the database's records.
    pub(super) fn codec(&self) -> &Codec {
        &self.codec
    }

    pub(super) fn health(&self) -> StoreHealth {
        match self.health.load(Ordering::Acquire) {
            READY => StoreHealth::Ready,
            READ_ONLY => StoreHealth::ReadOnly,
            _ => StoreHealth::Down,
        }
    }

    pub(super) fn set_health(&self, health: StoreHealth) {
        let word = match health {
            StoreHealth::Ready => READY,
            StoreHealth::ReadOnly => READ_ONLY,
            StoreHealth::Down => DOWN,
        };
        self.health.store(word, Ordering::Release);
        self.metrics.store_ready(health == StoreHealth::Ready);
    }

    /// The database, for as long as the guard lives. A panic of another holder has left the database itself sound or made it
    /// refuse to work on; either way the lock's own poison says nothing more.
    pub(super) fn shared(&self) -> RwLockReadGuard<'_, Option<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless it would have to be waited for.
    pub(super) fn try_shared(&self) -> Option<RwLockReadGuard<'_, Option<Open>>> {
        match self.open.try_read() {
            Ok(place) => Some(place),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Which database [`Self::shared`] gives; steady while a guard lives.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// The place of the database, once nobody uses it; begins a new generation.
    pub(super) fn exclusive(&self) -> RwLockWriteGuard<'_, Option<Open>> {
        let place = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let (turn, begun) = &self.begun;
        let held = turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::AcqRel);
        begun.notify_all();
        drop(held);
        place
    }

    /// Waits until the file is opened again after this generation, or is about to be, for so long at most: whoever then wants the
    /// database waits for its place.
    pub(super) fn wait_for_next(&self, generation: Generation, at_most: Duration) {
        let (turn, begun) = &self.begun;
        let held = turn.lock().unwrap_or_else(PoisonError::into_inner);
        drop(begun.wait_timeout_while(held, at_most, |()| self.generation() == generation));
    }

    /// Puts a database into its place.
    pub(super) fn fill(&self, place: &mut Option<Open>, database: Database) {
        *place = Some(Open::new(database, &self.codec));
    }

    /// Closes what is in the place. Closing writes, and a file that is damaged enough makes that panic.
    pub(super) fn close(place: &mut Option<Open>) {
        let open = place.take();
        if catch_unwind(AssertUnwindSafe(|| drop(open))).is_err() {
            tracing::error!("closing the store's file panicked; it is checked when it is opened again");
        }
    }
}

#[cfg(test)]
mod tests {
    use ::redb::backends::InMemoryBackend;
    use ::redb::{Builder, WriteTransaction};

    use super::super::schema::{Ledger, Tables, initialise};
    use super::super::writer::begin;
    use super::*;

    fn open() -> Open {
        let database = Builder::new().create_with_backend(InMemoryBackend::new()).expect("a database");
        let transaction = begin(Some(&database)).expect("a transaction");
        initialise(&transaction).expect("made");
        transaction.commit().expect("committed");
        Open::new(database, &Codec::default())
    }

    /// A commit of this revision, and a thousand names written anew.
    fn write(open: &Open, revision: u64) -> WriteTransaction {
        let transaction = begin(Some(open.database())).expect("a transaction");
        let mut tables = Tables::of(&transaction, &Codec::default()).expect("tables");
        for name in 0..1_000 {
            let id = (u128::from(revision) << 64 | name).to_be_bytes();
            tables.aliases.insert(format!("e:{name}").as_str(), &id).expect("written");
        }
        Ledger { revision, ..Ledger::default() }.store(&mut tables.meta).expect("written");
        drop(tables);
        transaction
    }

    fn seen(open: &Open) -> u64 {
        open.lookups().expect("tables").revision.0
    }

    #[test]
    fn lookups_share_one_state_and_see_the_next_once_it_is_shown() {
        let open = open();
        let before = open.lookups().expect("tables");
        assert!(Arc::ptr_eq(&before, &open.lookups().expect("tables")));
        write(&open, 1).commit().expect("committed");
        assert_eq!(seen(&open), 0);
        open.show_last_commit();
        assert_eq!(seen(&open), 1);
        let id = |lookups: &Lookups| {
            lookups.aliases.get("e:7").expect("readable").map(|id| u128::from_be_bytes(*id.value()) >> 64)
        };
        assert_eq!(id(&before), None, "who looks at one state sees nothing of the next");
        assert_eq!(id(&open.lookups().expect("tables")), Some(1));
        write(&open, 2).abort().expect("given up");
        assert_eq!(seen(&open), 1);
    }

    #[test]
    fn while_the_shared_state_is_replaced_a_lookup_makes_its_own() {
        let open = open();
        let replacing = open.latest.write().expect("nobody else");
        write(&open, 1).commit().expect("committed");
        assert_eq!(seen(&open), 1);
        drop(replacing);
    }

    #[test]
    fn the_shared_state_keeps_the_pages_of_one_commit_and_no_more() {
        let (open, mut allocated) = (open(), Vec::new());
        for revision in 1..=40 {
            let transaction = write(&open, revision);
            allocated.push(transaction.stats().expect("counted").allocated_pages());
            transaction.commit().expect("committed");
            open.show_last_commit();
        }
        assert!(allocated.iter().skip(5).max() <= allocated.iter().take(5).max(), "{allocated:?}");
    }

    /// The most pages that a file takes in which everything is written anew again and again.
    fn most_pages(before_each_commit: impl Fn(&Open)) -> u64 {
        let (open, mut most) = (open(), 0);
        for revision in 1..=8 {
            let transaction = write(&open, revision);
            before_each_commit(&open);
            transaction.commit().expect("committed");
            open.show_last_commit();
            let next = begin(Some(open.database())).expect("a transaction");
            most = most.max(next.stats().expect("counted").allocated_pages());
            next.abort().expect("given up");
        }
        most
    }

    #[test]
    fn what_a_commit_frees_can_be_used_by_the_next_one_if_lookups_let_go_before_it() {
        let (letting_go, holding_on) = (most_pages(Open::let_go), most_pages(|_| {}));
        assert!(letting_go < holding_on, "{letting_go} pages, and {holding_on}");
    }

    #[test]
    fn lookups_see_the_last_commit_while_the_shared_state_is_let_go() {
        let open = open();
        write(&open, 1).commit().expect("committed");
        open.show_last_commit();
        let before = open.lookups().expect("tables");
        let transaction = write(&open, 2);
        open.let_go();
        assert_eq!(seen(&open), 1, "each begins a read of its own");
        assert!(!Arc::ptr_eq(&open.lookups().expect("tables"), &open.lookups().expect("tables")));
        transaction.commit().expect("committed");
        assert_eq!((seen(&open), before.revision.0), (2, 1), "who looks at a state goes on seeing it");
        open.show_last_commit();
        assert!(Arc::ptr_eq(&open.lookups().expect("tables"), &open.lookups().expect("tables")));
        let held = Arc::downgrade(&open.lookups().expect("tables"));
        open.let_go();
        assert!(held.upgrade().is_none(), "nobody holds its pages");
    }

    #[test]
    fn closing_lets_go_of_the_shared_state() {
        let slot = Slot::new(open().database, Arc::new(Metrics::new()), Codec::default());
        let latest = {
            let place = slot.shared();
            Arc::downgrade(&place.as_ref().expect("open").lookups().expect("tables"))
        };
        assert!(latest.upgrade().is_some());
        Slot::close(&mut slot.exclusive());
        assert!(latest.upgrade().is_none() && slot.shared().is_none());
    }
}
