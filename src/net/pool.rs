//! Idle connections to one target, last in, first out, a shard for each I/O thread: a connection stays with the runtime that drives
//! it, and the lock is never contended in practice. Bounded in number and age. Called by [`super::client`] and by the bodies
//! of its answers; never opens a connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::body::ProxyBody;
use super::guard::Announcement;

/// More than any sensible number of I/O threads; threads beyond it share.
const SHARDS: usize = 64;

/// A connection's front end.
pub(super) struct Sender {
    requests: SendRequest<ProxyBody>,
    announced: Announcement,
}

impl Sender {
    pub(super) fn new(requests: SendRequest<ProxyBody>, announced: Announcement) -> Self {
        Self { requests, announced }
    }

    /// Whether a request can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        self.requests.is_ready()
    }

    fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request. The connection's guard is told first, so that it holds what comes back to an answer's form.
    pub(super) fn send(
        &mut self,
        request: Request<ProxyBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<ProxyBody>>>> {
        self.announced.make();
        self.requests.try_send_request(request)
    }
}

pub(super) struct Pool {
    shards: Box<[Mutex<Shard>]>,
    max_idle: usize,
    idle_timeout: Duration,
}

#[derive(Default)]
struct Shard {
    /// The oldest first.
    idle: Vec<Idle>,
    /// Whether a task is under way that drops what has been idle for too long.
    swept: bool,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    pub(super) fn new(max_idle_per_thread: usize, idle_timeout: Duration) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, max_idle: max_idle_per_thread, idle_timeout })
    }

    /// The connection used last of those that can take a request now.
    pub(super) fn take(&self) -> Option<Sender> {
        let mut shard = self.shard(own_shard());
        let mut at = shard.idle.len();
        while at > 0 {
            at -= 1;
            let idle = shard.idle.get(at)?;
            if idle.sender.is_closed() || idle.since.elapsed() > self.idle_timeout {
                shard.idle.remove(at);
            } else if idle.sender.is_ready() {
                return Some(shard.idle.remove(at).sender);
            }
            // Else it is still busy with the end of its last exchange: it stays for later.
        }
        None
    }

    /// Keeps a connection for the next request, in place of the oldest if there are too many.
    pub(super) fn put(self: &Arc<Self>, sender: Sender) {
        if sender.is_closed() || self.max_idle == 0 {
            return;
        }
        let own = own_shard();
        let mut shard = self.shard(own);
        if shard.idle.len() >= self.max_idle {
            shard.idle.remove(0);
        }
        shard.idle.push(Idle { sender, since: Instant::now() });
        if !shard.swept
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            shard.swept = true;
            runtime.spawn(sweep(Sweeper { pool: Arc::downgrade(self), shard: own }, self.idle_timeout));
        }
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        // A panic cannot leave a shard half changed.
        #[expect(clippy::indexing_slicing, reason = "an index is taken modulo the number of shards")]
        self.shards[index % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what has been idle for too long; whether nothing is left.
    fn drop_old(&self, index: usize) -> bool {
        let mut shard = self.shard(index);
        shard.idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() <= self.idle_timeout);
        shard.idle.is_empty()
    }
}

/// Says that a shard is swept no longer, also when the runtime goes away under the task.
struct Sweeper {
    pool: Weak<Pool>,
    shard: usize,
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.shard(self.shard).swept = false;
        }
    }
}

/// Runs while a shard has connections, so that they are closed also when no request comes by.
async fn sweep(sweeper: Sweeper, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match sweeper.pool.upgrade() {
            Some(pool) if !pool.drop_old(sweeper.shard) => {}
            Some(_) | None => return,
        }
    }
}

/// Which shard is this thread's.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| *own)
}

/// A connection in use, on its way back into its pool. Dropped instead of given back, it is closed.
pub(super) struct Lease {
    pool: Arc<Pool>,
    sender: Sender,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, sender: Sender) -> Self {
        Self { pool, sender }
    }

    pub(super) fn give_back(self) {
        self.pool.put(self.sender);
    }
}
