//! The hash threads, and the port that the rest of the program reaches them through.
//!
//! A request goes: future polled -> queue (bounded, with a deadline) -> one of N threads, each with its own arena -> answer over a
//! oneshot. Nothing is hashed on any other thread. Dropping the pool stops it: who waits is told, who is being served is served.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::arena::{Allowance, Arena};
use super::argon2id::{Policy, PolicyError};
use super::fill::{self, Choice};
use super::formats::NoAnswer;
use super::queue::{Next, Queue, Task, Wait};
use super::settings::PasswordSettings;
use crate::domain::clock::Clock;
use crate::domain::credential::Credential;
use crate::domain::password::Password;
use crate::domain::proof::{FreshHash, VerifiedUser};
use crate::domain::user::User;
use crate::service::ports::{
    AccountPermit, ClientStanding, HashLook, HashReader, HashUnavailable, PasswordHasher, Verification,
};
use crate::telemetry::Metrics;

/// How much nicer than the threads that serve connections the hash threads are: these take tens of milliseconds of a core
/// at a time, those a few microseconds.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 3;

/// How long a hash thread without work keeps its memory: a login now and then should not pay for fresh pages.
const KEPT: Duration = Duration::from_secs(10);

/// The pool that all hashing goes through.
pub struct HashPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// How many tasks have been computed.
    finished: AtomicU64,
    queue: Queue,
    policy: Policy,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// What the pool has done, and has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tasks that wait for a thread.
    pub waiting: usize,
    /// Tasks that were computed since the start.
    pub finished: u64,
}

/// The pool cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No hash can be made under the configuration.
    #[error("no password can be hashed")]
    Policy(#[from] PolicyError),
    /// The system gives no thread.
    #[error("a hash thread could not be started")]
    Thread(#[source] io::Error),
}

impl HashPool {
    /// Starts the threads. Memory is taken at the first hash of each.
    pub fn start(settings: PasswordSettings, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let policy = Policy::new(&settings)?;
        tell(fill::choice(), &metrics);
        let (capacity, deadline, threads) = (settings.queue.get(), settings.queue_deadline, settings.workers.get());
        let queue = Queue::new(capacity, deadline, threads, Arc::clone(&clock), Arc::clone(&metrics));
        let shared = Arc::new(Shared { finished: AtomicU64::new(0), queue, policy, clock, metrics });
        let mut pool = Self { shared, threads: Vec::with_capacity(settings.workers.get()) };
        let allowance = Allowance::new();
        for number in 0..settings.workers.get() {
            let arena = Arena::new(pool.shared.policy.blocks(), Arc::clone(&allowance));
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("hash-{number}"));
            pool.threads.push(thread.spawn(move || serve(&shared.queue, arena)).map_err(StartError::Thread)?);
        }
        Ok(pool)
    }

    /// How many tasks wait, and how many were computed so far: if some wait and none is computed, the threads hang.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let waiting = usize::try_from(self.shared.metrics.queue_depth().get()).unwrap_or(0);
        Progress { waiting, finished: self.shared.finished.load(Ordering::Relaxed) }
    }

    /// Has something computed on a hash thread. `work` is the word for it in the metrics.
    async fn compute<T: Send + 'static>(
        &self,
        standing: ClientStanding,
        work: &'static str,
        compute: impl FnOnce(&Policy, &mut Arena) -> Result<T, HashUnavailable> + Send + 'static,
    ) -> Result<T, HashUnavailable> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(standing, Box::new(Job { shared: Arc::clone(&self.shared), work, compute, reply }))?;
        answer.await.unwrap_or(Err(HashUnavailable::Stopped))
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.shared.queue.stop();
        for thread in self.threads.drain(..) {
            // A thread catches the panics of its tasks; should one have died all the same, there is nothing left to end.
            let _ended = thread.join();
        }
    }
}

impl PasswordHasher for HashPool {
    fn verify<'a>(
        &'a self,
        permit: &'a AccountPermit,
        user: Box<User>,
        password: Arc<Password>,
    ) -> BoxFuture<'a, Result<Verification, HashUnavailable>> {
        Box::pin(self.compute(permit.standing(), "verify", move |policy, arena| verify(policy, user, &password, arena)))
    }

    fn equalize<'a>(
        &'a self,
        permit: &'a AccountPermit,
        password: Arc<Password>,
    ) -> BoxFuture<'a, Result<(), HashUnavailable>> {
        Box::pin(self.compute(permit.standing(), "equalize", move |policy, arena| {
            match policy.equalize(&password, arena) {
                Ok(()) => Ok(()),
                Err(NoAnswer::OutOfMemory) => Err(HashUnavailable::OutOfMemory),
                Err(NoAnswer::Unusable(_)) => Err(HashUnavailable::Failed),
            }
        }))
    }

    fn hash(
        &self,
        standing: ClientStanding,
        password: Arc<Password>,
    ) -> BoxFuture<'_, Result<FreshHash, HashUnavailable>> {
        Box::pin(self.compute(standing, "hash", move |policy, arena| {
            policy.hash(&password, arena).map(FreshHash::assert_by_hasher)
        }))
    }

    fn is_outdated(&self, credential: &Credential) -> bool {
        self.shared.policy.is_outdated(credential)
    }

    fn retry_after(&self) -> Duration {
        self.shared.queue.retry_after()
    }
}

impl HashReader for HashPool {
    fn look(&self, credential: &Credential) -> HashLook {
        self.shared.policy.look(credential)
    }
}

/// Says what computes the hashes, and loudly if it is not what should.
fn tell(choice: &Choice, metrics: &Metrics) {
    let name = choice.implementation.name();
    metrics.password_implementation(name);
    match &choice.rejected {
        None => tracing::info!(implementation = name, "passwords are hashed"),
        Some(rejected) => {
            metrics.alarm("password_implementation");
            tracing::error!(
                implementation = name,
                error = %rejected,
                "passwords are hashed rightly, but more slowly: this processor or this build computes vectors wrongly"
            );
        }
    }
}

fn verify(
    policy: &Policy,
    user: Box<User>,
    password: &Password,
    arena: &mut Arena,
) -> Result<Verification, HashUnavailable> {
    let stored = match &user.credential {
        Credential::Argon2id(stored) | Credential::Imported(stored) => stored,
        Credential::Absent(_) => return Ok(Verification::Unusable(user)),
    };
    match policy.verify(stored, password, arena) {
        Ok(true) => Ok(Verification::Match(VerifiedUser::assert_by_verification(user))),
        Ok(false) => Ok(Verification::Mismatch(user)),
        Err(NoAnswer::OutOfMemory) => Err(HashUnavailable::OutOfMemory),
        Err(NoAnswer::Unusable(why)) => {
            tracing::error!(user = %user.id, %why, "a stored hash cannot be used");
            Ok(Verification::Unusable(user))
        }
    }
}

/// What a hash thread does all day.
fn serve(queue: &Queue, mut arena: Arena) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "hash threads run at the usual priority");
    }
    loop {
        match queue.next(Wait::No) {
            Next::Run(task) => task.run(&mut arena),
            Next::Stop => return,
            Next::Idle => {
                arena.wipe();
                let mut next = queue.next(Wait::For(KEPT));
                if let Next::Idle = next {
                    arena.give_back();
                    next = queue.next(Wait::Yes);
                }
                match next {
                    Next::Run(task) => task.run(&mut arena),
                    Next::Idle => {}
                    Next::Stop => return,
                }
            }
        }
    }
}

struct Job<T, F> {
    shared: Arc<Shared>,
    work: &'static str,
    compute: F,
    reply: oneshot::Sender<Result<T, HashUnavailable>>,
}

impl<T, F> Task for Job<T, F>
where
    T: Send,
    F: FnOnce(&Policy, &mut Arena) -> Result<T, HashUnavailable> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn refuse(self: Box<Self>, why: HashUnavailable) {
        // The client may go at any time; then nobody needs the answer.
        let _answered = self.reply.send(Err(why));
    }

    fn run(self: Box<Self>, arena: &mut Arena) {
        let Self { shared, work, compute, reply } = *self;
        let began = shared.clock.monotonic();
        // The arena's content is unspecified before every hash, so that a panic leaves nothing broken in it.
        let computed = catch_unwind(AssertUnwindSafe(|| compute(&shared.policy, arena)));
        let answer = computed.unwrap_or_else(|_| {
            shared.metrics.panic();
            Err(HashUnavailable::Failed)
        });
        shared.finished.fetch_add(1, Ordering::Relaxed);
        let took = shared.clock.monotonic().saturating_duration_since(began);
        shared.queue.measured(took);
        shared.metrics.password(work, took);
        let _answered = reply.send(answer);
    }
}

#[cfg(test)]
mod tests;
