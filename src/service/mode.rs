//! The mode in force: read by every request, changed at run time, kept in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::future::BoxFuture;

use super::ports::{ModeSwitch, StoreError, UserStore};
use crate::domain::mode::{ConfirmedMode, Mode};
use crate::telemetry::Metrics;

/// The mode in force.
pub struct ModeCell {
    current: AtomicU8,
    store: Arc<dyn UserStore>,
    metrics: Arc<Metrics>,
    switching: tokio::sync::Mutex<()>,
}

impl ModeCell {
    /// Starts in the mode that was last set, or else in the configured one.
    pub async fn start(
        configured: Mode,
        store: Arc<dyn UserStore>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, StoreError> {
        let mode = store.mode().await?.unwrap_or(configured);
        Ok(Self::assume(mode, store, metrics))
    }

    /// Starts in the mode that is in force in the process whose place this one takes; see [`Self::reread`].
    pub fn assume(mode: Mode, store: Arc<dyn UserStore>, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.mode(mode);
        let (current, switching) = (AtomicU8::new(index(mode)), tokio::sync::Mutex::new(()));
        Arc::new(Self { current, store, metrics, switching })
    }

    /// What the store says, should it have been changed before the store came to this process.
    pub async fn reread(&self) -> Result<(), StoreError> {
        let _one = self.switching.lock().await;
        if let Some(mode) = self.store.mode().await? {
            self.current.store(index(mode), Ordering::Release);
            self.metrics.mode(mode);
        }
        Ok(())
    }

    /// The mode in force.
    #[must_use]
    pub fn current(&self) -> Mode {
        // The index was made by `index`; should it ever not be, asking legacy is the mode that harms nobody.
        let index = usize::from(self.current.load(Ordering::Acquire));
        Mode::ALL.get(index).copied().unwrap_or(Mode::Observe)
    }
}

impl ModeSwitch for ModeCell {
    fn current(&self) -> Mode {
        Self::current(self)
    }

    /// On disk first: a mode that the next start would not know is not in force either.
    fn set(&self, to: ConfirmedMode) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            // One switch at a time, or the disk could end up with the one and memory with the other.
            let _one = self.switching.lock().await;
            let mode = to.mode();
            self.store.set_mode(mode).await?;
            self.current.store(index(mode), Ordering::Release);
            self.metrics.mode(mode);
            tracing::info!(target: "authferry::audit", mode = mode.as_str(), "mode changed");
            Ok(())
        })
    }
}

fn index(mode: Mode) -> u8 {
    match mode {
        Mode::Passthrough => 0,
        Mode::Observe => 1,
        Mode::Migrate => 2,
        Mode::Retired => 3,
    }
}
