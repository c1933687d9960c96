//! Idle connections to one target, last in, first out, a shard for each I/O thread: a connection stays with the runtime that it was
//! opened on, and the lock is never contended in practice. Nothing runs for a connection that is idle: what has become of it meanwhile
//! is found out when it is taken. Bounded in number and age. Called by [`super::client`] and by the bodies
//! of its answers; never opens a connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::wire::Wire;

/// More than any sensible number of I/O threads; threads beyond it share.
const SHARDS: usize = 64;

pub(super) struct Pool {
    shards: Box<[Mutex<Shard>]>,
    max_idle: usize,
    idle_timeout: Duration,
}

#[derive(Default)]
struct Shard {
    /// The oldest first.
    idle: Vec<Idle>,
    /// Counted by the task that drops what has been idle for too long.
    round: u64,
    /// Whether that task is under way.
    swept: bool,
}

struct Idle {
    wire: Box<Wire>,
    /// The shard's round then.
    since: u64,
}

/// In so many rounds of the sweeper a connection gets too old. Rounds, since asking a clock twice for every request costs more.
const ROUNDS: u32 = 4;

impl Idle {
    fn is_too_old(&self, round: u64) -> bool {
        round.saturating_sub(self.since) >= u64::from(ROUNDS)
    }
}

impl Pool {
    pub(super) fn new(max_idle_per_thread: usize, idle_timeout: Duration) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, max_idle: max_idle_per_thread, idle_timeout })
    }

    /// The connection used last, of those that hold nothing unasked and have not been closed meanwhile.
    pub(super) fn take(&self) -> Option<Box<Wire>> {
        loop {
            let (mut idle, is_too_old) = {
                let mut shard = self.shard(own_shard());
                let idle = shard.idle.pop()?;
                let is_too_old = idle.is_too_old(shard.round);
                (idle, is_too_old)
            };
            if !is_too_old && !idle.wire.is_stale() {
                return Some(idle.wire);
            }
            idle.wire.close();
        }
    }

    /// Keeps a connection for the next request, in place of the oldest if there are too many; or closes it if no request may follow.
    pub(super) fn put(self: &Arc<Self>, mut wire: Box<Wire>) {
        if !wire.may_be_used_again() || self.max_idle == 0 {
            return wire.close();
        }
        wire.rest();
        let own = own_shard();
        let mut shard = self.shard(own);
        if shard.idle.len() >= self.max_idle {
            shard.idle.remove(0).wire.close();
        }
        if !shard.swept {
            // Outside of any runtime nobody would count, and nobody could use the connection either.
            let Ok(runtime) = tokio::runtime::Handle::try_current() else { return wire.close() };
            shard.swept = true;
            let sweeper = Sweeper { pool: Arc::downgrade(self), shard: own, is_over: false };
            runtime.spawn(sweep(sweeper, self.idle_timeout / ROUNDS));
        }
        let since = shard.round;
        shard.idle.push(Idle { wire, since });
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        // A panic cannot leave a shard half changed.
        #[expect(clippy::indexing_slicing, reason = "an index is taken modulo the number of shards")]
        self.shards[index % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what has been idle for too long or was closed; whether nothing is left, and the shard is swept no longer: threads may share
    /// it, and whoever keeps a connection next must find that so already.
    fn drop_old(&self, index: usize) -> bool {
        let mut shard = self.shard(index);
        shard.round += 1;
        let round = shard.round;
        let dead = shard.idle.extract_if(.., |idle| idle.is_too_old(round) || idle.wire.is_stale());
        dead.for_each(|idle| idle.wire.close());
        shard.swept = !shard.idle.is_empty();
        !shard.swept
    }
}

/// Says that a shard is swept no longer, also when the runtime goes away under the task. What other threads have put into the shard waits
/// for the next connection then.
struct Sweeper {
    pool: Weak<Pool>,
    shard: usize,
    /// It has been said: another one may sweep by now.
    is_over: bool,
}

impl Sweeper {
    /// One round; whether there is another one.
    fn goes_on(&mut self) -> bool {
        let Some(pool) = self.pool.upgrade() else { return false };
        self.is_over = pool.drop_old(self.shard);
        !self.is_over
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade().filter(|_| !self.is_over) {
            pool.shard(self.shard).swept = false;
        }
    }
}

/// Runs while a shard has connections, so that they are closed also when no request comes by.
async fn sweep(mut sweeper: Sweeper, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if !sweeper.goes_on() {
            return;
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Semaphore;

    use super::super::wire::Socket;
    use super::*;

    #[tokio::test]
    async fn what_is_kept_just_after_a_shards_last_round_is_swept_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let socket = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("room");
        let pool = Pool::new(4, Duration::from_secs(60));
        let own = own_shard();
        // Its task has not ended yet when another thread, which shares the shard, keeps a connection.
        let mut sweeper = Sweeper { pool: Arc::downgrade(&pool), shard: own, is_over: false };
        pool.shard(own).swept = true;
        assert!(!sweeper.goes_on());
        pool.put(Wire::new(Socket::Plain(socket), room));
        drop(sweeper);
        let shard = pool.shard(own);
        assert!(shard.swept && !shard.idle.is_empty());
    }
}
