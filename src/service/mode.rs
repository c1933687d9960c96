//! The mode in force: read by every request, changed at run time, kept in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::ports::{StoreError, UserStore};
use crate::domain::mode::Mode;
use crate::telemetry::Metrics;

/// The mode in force.
pub struct ModeCell {
    current: AtomicU8,
    store: Arc<dyn UserStore>,
    metrics: Arc<Metrics>,
}

/// Why the mode was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SetModeError {
    /// `retired` needs the word typed once more: legacy is not called any more from then on.
    #[error("`retired` has to be confirmed: legacy will not be called any more")]
    NotConfirmed,
    /// The store did not keep it, so it is not in force either.
    #[error("the store did not keep the mode")]
    Store(#[from] StoreError),
}

impl ModeCell {
    /// Starts in the mode that was last set, or else in the configured one.
    pub async fn start(
        configured: Mode,
        store: Arc<dyn UserStore>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, StoreError> {
        let mode = store.mode().await?.unwrap_or(configured);
        metrics.mode(mode);
        Ok(Arc::new(Self { current: AtomicU8::new(index(mode)), store, metrics }))
    }

    /// The mode in force.
    #[must_use]
    pub fn current(&self) -> Mode {
        // The index was made by `index`; should it ever not be, asking legacy is the mode that harms nobody.
        let index = usize::from(self.current.load(Ordering::Acquire));
        Mode::ALL.get(index).copied().unwrap_or(Mode::Observe)
    }

    /// Changes the mode, on disk first. `confirmed` is the name of the mode, typed.
    pub async fn set(&self, mode: Mode, confirmed: Option<&str>) -> Result<(), SetModeError> {
        if mode == Mode::Retired && confirmed != Some(Mode::Retired.as_str()) {
            return Err(SetModeError::NotConfirmed);
        }
        self.store.set_mode(mode).await?;
        self.current.store(index(mode), Ordering::Release);
        self.metrics.mode(mode);
        tracing::info!(target: "authferry::audit", mode = mode.as_str(), "mode changed");
        Ok(())
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
