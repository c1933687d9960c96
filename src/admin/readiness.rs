//! Whether this process should be sent requests: three flags that `app` turns and `/health` shows.

use std::sync::atomic::{AtomicBool, Ordering};

/// The stages of a process's life. Shared; set by `app`, read by the probes.
#[derive(Debug, Default)]
pub struct Readiness {
    started: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// Neither started nor draining.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store is open and the listeners are bound.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// No new requests are wanted; there is no way back.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the start is over.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
