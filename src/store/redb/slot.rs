//! The open database, and whether it can be used: what the writer and the readers share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::Duration;

use ::redb::Database;

use super::record::Codec;
use crate::service::ports::StoreHealth;
use crate::telemetry::Metrics;

/// Readers hold the lock for one read, the writer for one batch; it is taken alone to open the file again, so that nobody reads
/// what a failed commit left in memory, and whoever comes meanwhile waits for it.
pub(super) struct Slot {
    database: RwLock<Option<Database>>,
    health: AtomicU8,
    generation: AtomicU64,
    /// Told when a generation begins.
    begun: (Mutex<()>, Condvar),
    metrics: Arc<Metrics>,
    codec: Codec,
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
            database: RwLock::new(Some(database)),
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
    pub(super) fn shared(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless it would have to be waited for.
    pub(super) fn try_shared(&self) -> Option<RwLockReadGuard<'_, Option<Database>>> {
        match self.database.try_read() {
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
    pub(super) fn exclusive(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        let place = self.database.write().unwrap_or_else(PoisonError::into_inner);
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

    /// Closes what is in the place. Closing writes, and a file that is damaged enough makes that panic.
    pub(super) fn close(place: &mut Option<Database>) {
        let database = place.take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!("closing the store's file panicked; it is checked when it is opened again");
        }
    }
}
