//! A store that can be put away and taken out again: what lets one process close the file so that another one opens it, while
//! requests that need it wait instead of failing (R25).
//!
//! Between the requests and the real store. Costs one uncontended lock a call, held shared for as long as the call takes, so that
//! putting the store away waits for the calls under way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{RwLock, oneshot, watch};
use tokio::time::timeout;

use super::OpenError;
use crate::domain::clock::UnixSeconds;
use crate::domain::conflict::{Conflict, Resolution};
use crate::domain::identifier::{Candidates, NormalizedIdentifier};
use crate::domain::import::Imported;
use crate::domain::mode::Mode;
use crate::domain::roster::RosterCounts;
use crate::domain::user::{User, UserId, Version};
use crate::service::backup::{BackupName, BackupStart, BackupView};
use crate::service::ports::{
    ConflictQuery, ImportBatch, ImportKey, Inserted, Lookup, NameHolder, NewUser, ProvenUser, Resolved, Saved,
    SavedCheckpoint, StoreError, StoreHealth, StragglerQuery, Updated, UserChange, UserCounts, UserPage, UserQuery,
    UserStore,
};

/// The store, wherever it is.
pub struct HandoverStore {
    place: RwLock<Option<Arc<dyn UserStore>>>,
    whereabouts: watch::Sender<Whereabouts>,
    /// How long a call waits for a store that is away.
    patience: Duration,
}

/// Where the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whereabouts {
    /// Here.
    Here,
    /// In another process; it comes, or comes back.
    Away,
    /// In another process for good.
    Gone,
}

impl HandoverStore {
    /// With a store that is open. Should it be put away, a call waits for it for as long as `patience`.
    #[must_use]
    pub fn open(store: Arc<dyn UserStore>, patience: Duration) -> Self {
        Self { place: RwLock::new(Some(store)), whereabouts: watch::Sender::new(Whereabouts::Here), patience }
    }

    /// With one that is still to come, and that a call waits for as long as `patience`.
    #[must_use]
    pub fn awaited(patience: Duration) -> Self {
        Self { place: RwLock::new(None), whereabouts: watch::Sender::new(Whereabouts::Away), patience }
    }

    /// Waits for the calls under way and closes the store; calls that come wait for [`Self::bring`].
    pub async fn put_away(&self) {
        let mut place = self.place.write().await;
        self.whereabouts.send_replace(Whereabouts::Away);
        let store = place.take();
        drop(place);
        // Closing waits for the store's threads and for the disk.
        let _closed = on_a_thread(move || drop(store)).await;
    }

    /// Whether calls are answered now.
    #[must_use]
    pub fn is_here(&self) -> bool {
        *self.whereabouts.borrow() == Whereabouts::Here
    }

    /// Opens a store by this function and goes on with it; does nothing if it is here.
    pub async fn bring(
        &self,
        open: impl FnOnce() -> Result<Arc<dyn UserStore>, OpenError> + Send + 'static,
    ) -> Result<(), OpenError> {
        if self.is_here() {
            return Ok(());
        }
        let store = match on_a_thread(open).await {
            Some(opened) => opened?,
            None => return Err(OpenError::Thread),
        };
        *self.place.write().await = Some(store);
        self.whereabouts.send_replace(Whereabouts::Here);
        Ok(())
    }

    /// It does not come back: whoever waits for it, and whoever comes, is told at once that it is unavailable.
    pub fn give_up(&self) {
        self.whereabouts.send_replace(Whereabouts::Gone);
    }

    /// Runs one call on the store, once it is here.
    async fn ask<T, F>(&self, call: impl FnOnce(Arc<dyn UserStore>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let here = async {
            loop {
                let place = self.place.read().await;
                if let Some(store) = place.as_ref() {
                    return Ok((Arc::clone(store), place));
                }
                drop(place);
                let mut whereabouts = self.whereabouts.subscribe();
                let now = whereabouts.wait_for(|now| *now != Whereabouts::Away).await.map(|now| *now);
                match now {
                    Ok(Whereabouts::Here) => {}
                    Ok(Whereabouts::Away | Whereabouts::Gone) | Err(_) => return Err(elsewhere()),
                }
            }
        };
        let (store, _held) = timeout(self.patience, here).await.map_err(|_elapsed| elsewhere())??;
        call(store).await
    }
}

fn elsewhere() -> StoreError {
    StoreError::Unavailable("another process has the store".into())
}

/// Runs what blocks on a thread of its own. None if there is no thread to be had, or it panicked.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("store-handover".to_owned()).spawn(move || {
        let _nobody_waits = done.send(work());
    });
    spawned.ok()?;
    result.await.ok()
}

impl UserStore for HandoverStore {
    fn find<'a>(&'a self, candidates: &'a Candidates) -> BoxFuture<'a, Result<Lookup, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.find(candidates).await }))
    }

    fn find_public<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<User>, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.find_public(id).await }))
    }

    fn user(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.user(id).await }))
    }

    fn save_proven(&self, proven: ProvenUser) -> BoxFuture<'_, Result<Saved, StoreError>> {
        Box::pin(self.ask(|store| async move { store.save_proven(proven).await }))
    }

    fn insert_new(&self, new: NewUser) -> BoxFuture<'_, Result<Inserted, StoreError>> {
        Box::pin(self.ask(|store| async move { store.insert_new(new).await }))
    }

    fn update(&self, id: UserId, based_on: Version, change: UserChange) -> BoxFuture<'_, Result<Updated, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.update(id, based_on, change).await }))
    }

    fn holders<'a>(
        &'a self,
        names: &'a [NormalizedIdentifier],
    ) -> BoxFuture<'a, Result<Vec<Option<NameHolder>>, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.holders(names).await }))
    }

    fn reserved(&self) -> BoxFuture<'_, Result<Vec<(UserId, NormalizedIdentifier)>, StoreError>> {
        Box::pin(self.ask(|store| async move { store.reserved().await }))
    }

    fn conflicts(&self, query: ConflictQuery) -> BoxFuture<'_, Result<Vec<Conflict>, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.conflicts(query).await }))
    }

    fn conflict(&self, number: u64) -> BoxFuture<'_, Result<Option<Conflict>, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.conflict(number).await }))
    }

    fn resolve(&self, number: u64, resolution: Resolution) -> BoxFuture<'_, Result<Resolved, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.resolve(number, resolution).await }))
    }

    fn import(&self, batch: ImportBatch) -> BoxFuture<'_, Result<Vec<Imported>, StoreError>> {
        Box::pin(self.ask(|store| async move { store.import(batch).await }))
    }

    fn import_checkpoint(&self, key: ImportKey) -> BoxFuture<'_, Result<Option<SavedCheckpoint>, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.import_checkpoint(key).await }))
    }

    fn list(&self, query: UserQuery) -> BoxFuture<'_, Result<UserPage, StoreError>> {
        Box::pin(self.ask(|store| async move { store.list(query).await }))
    }

    fn counts(&self) -> BoxFuture<'_, Result<UserCounts, StoreError>> {
        Box::pin(self.ask(|store| async move { store.counts().await }))
    }

    fn roster(&self) -> BoxFuture<'_, Result<RosterCounts, StoreError>> {
        Box::pin(self.ask(|store| async move { store.roster().await }))
    }

    fn stragglers(&self, query: StragglerQuery) -> BoxFuture<'_, Result<UserPage, StoreError>> {
        Box::pin(self.ask(|store| async move { store.stragglers(query).await }))
    }

    fn forget_listed(&self, users: Vec<(UserId, Version)>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.ask(|store| async move { store.forget_listed(users).await }))
    }

    /// While the store is being put away or is elsewhere, nobody is logged in by it; a login that ended just before goes unnoted.
    fn note_login(&self, id: UserId, at: UnixSeconds) {
        if let Ok(place) = self.place.try_read()
            && let Some(store) = place.as_ref()
        {
            store.note_login(id, at);
        }
    }

    fn last_login<'a>(&'a self, ids: &'a [UserId]) -> BoxFuture<'a, Result<Vec<Option<UnixSeconds>>, StoreError>> {
        Box::pin(self.ask(move |store| async move { store.last_login(ids).await }))
    }

    fn mode(&self) -> BoxFuture<'_, Result<Option<Mode>, StoreError>> {
        Box::pin(self.ask(|store| async move { store.mode().await }))
    }

    fn set_mode(&self, mode: Mode) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(move |store| async move { store.set_mode(mode).await }))
    }

    /// A store that is on its way is as good as here: its calls wait.
    fn health(&self) -> StoreHealth {
        let whereabouts = *self.whereabouts.borrow();
        match (whereabouts, self.place.try_read().as_deref()) {
            (Whereabouts::Here, Ok(Some(store))) => store.health(),
            // It is being put away or taken out at this very moment.
            (Whereabouts::Here, Ok(None) | Err(_)) | (Whereabouts::Away, _) => StoreHealth::Ready,
            (Whereabouts::Gone, _) => StoreHealth::Down,
        }
    }

    fn start_backup(&self, name: Option<BackupName>) -> BoxFuture<'_, Result<BackupStart, StoreError>> {
        Box::pin(self.ask(|store| async move { store.start_backup(name).await }))
    }

    fn backup(&self) -> BoxFuture<'_, Result<Option<BackupView>, StoreError>> {
        Box::pin(self.ask(|store| async move { store.backup().await }))
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(|store| async move { store.probe().await }))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::domain::clock::SystemClock;
    use crate::store::{StoreSettings, open};
    use crate::telemetry::Metrics;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn opener(settings: &StoreSettings) -> impl FnOnce() -> Result<Arc<dyn UserStore>, OpenError> + Send + 'static {
        let settings = settings.clone();
        move || open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock))
    }

    fn place() -> (tempfile::TempDir, StoreSettings) {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = StoreSettings::without_keys(directory.path().join("users.redb"), 1 << 20);
        (directory, settings)
    }

    #[tokio::test]
    async fn r25_what_is_put_away_can_be_opened_by_another_and_calls_wait_until_it_comes_back() {
        let (_kept, settings) = place();
        let store = HandoverStore::awaited(PATIENCE);
        store.bring(opener(&settings)).await.expect("opened");
        store.set_mode(Mode::Observe).await.expect("written");
        assert!(matches!(opener(&settings)(), Err(OpenError::Locked(_))), "one writer");
        store.put_away().await;
        assert_eq!(store.health(), StoreHealth::Ready);
        let mut waiting = store.mode();
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        let other = opener(&settings)().expect("it is free");
        other.set_mode(Mode::Retired).await.expect("written");
        drop(other);
        store.bring(opener(&settings)).await.expect("opened again");
        assert_eq!(waiting.await.expect("an answer"), Some(Mode::Retired));
    }

    #[tokio::test]
    async fn r25_what_does_not_come_back_is_unavailable_at_once() {
        let store = Arc::new(HandoverStore::awaited(PATIENCE));
        let waiting = store.counts();
        store.give_up();
        assert!(matches!(waiting.await, Err(StoreError::Unavailable(_))));
        assert!(matches!(store.counts().now_or_never(), Some(Err(StoreError::Unavailable(_)))));
        assert_eq!(store.health(), StoreHealth::Down);
    }

    #[tokio::test]
    async fn r25_nobody_waits_for_ever() {
        let store = HandoverStore::awaited(Duration::from_millis(10));
        assert!(matches!(store.mode().await, Err(StoreError::Unavailable(_))));
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_opened_is_still_awaited() {
        let (_kept, settings) = place();
        let holder = opener(&settings)().expect("opened");
        let store = HandoverStore::awaited(PATIENCE);
        assert!(matches!(store.bring(opener(&settings)).await, Err(OpenError::Locked(_))));
        drop(holder);
        store.bring(opener(&settings)).await.expect("free now");
        store.probe().await.expect("it answers");
    }
}
