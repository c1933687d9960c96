//! Work that must not die with the client that caused it: a save under way when the client hangs up (R91), a rehash after the
//! answer. Bounded in number, waited for at shutdown.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// At most so many at once. Requests bring at most one each, and what they do is bounded in time.
const MAX_TASKS: usize = 4_096;

/// The tasks.
pub(crate) struct Background {
    tracker: TaskTracker,
    room: Arc<Semaphore>,
}

impl Background {
    pub(crate) fn new() -> Self {
        Self { tracker: TaskTracker::new(), room: Arc::new(Semaphore::new(MAX_TASKS)) }
    }

    /// Runs a future to its end whatever becomes of the caller. `None` when there is no room.
    pub(crate) fn run<F>(&self, work: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let place = Arc::clone(&self.room).try_acquire_owned().ok()?;
        Some(self.tracker.spawn(async move {
            let output = work.await;
            drop(place);
            output
        }))
    }

    /// Waits until all have ended; more may come meanwhile and are waited for too.
    pub(crate) async fn drain(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
