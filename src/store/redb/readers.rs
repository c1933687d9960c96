//! The threads that read, and when they are needed.
//!
//! A lookup whose pages are in memory takes microseconds, and runs on the I/O thread that wants it. One whose pages are not takes
//! as long as the disk does, which on network storage is milliseconds a page, and would hold up every connection of that thread;
//! and a read that meets the file being opened again has to wait for it. So a lookup is tried at once, without waiting for
//! anything (see [`super::hurry`]), and what cannot be done so hops to a few threads with a bounded queue, as everything longer
//! does from the start.

use std::borrow::Borrow as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::redb::{ReadTransaction, ReadableDatabase as _};
use tokio::sync::oneshot;

use super::checked::isolated;
use super::fault::{Fault, panic_cause};
use super::hurry::{Waits, hurried};
use super::record::Codec;
use super::schema::{Lookups, Snapshot, View as _};
use super::slot::{Generation, Open, Slot};
use crate::service::ports::StoreError;

/// How many threads read. Cached reads are far shorter than the hash that follows them; two keep one slow page from holding up
/// all others.
const READERS: usize = 2;

/// How many reads may wait.
const QUEUE: usize = 1_024;

/// How long a read waits for the file to be opened again after a failure that is not its own. That takes milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// One read, ready to run. Answers its caller, unless it says that it would rather be run again; and says whether the file has to be
/// opened again.
type Job = Box<dyn FnMut(Option<&Open>, Turn) -> Aftermath + Send>;

/// What looks at a few rows about something.
pub(super) type Lookup<A, T> = fn(&Lookups, &A) -> Result<T, Fault>;

/// Whether a read may ask to be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Last,
}

/// What a read found out about the database as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aftermath {
    Fine,
    ReopenFile,
    /// Another call failed before, and the file is about to be opened again: this read has not failed yet.
    RunAgain,
}

/// The pool. Dropping it waits for the reads under way.
pub(super) struct Readers {
    slot: Arc<Slot>,
    /// Whether it can be told what is in memory.
    may_hurry: AtomicBool,
    queue: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// `reopen` is called when a read finds that the file cannot be used on. `may_hurry` says whether lookups may be tried on the
    /// thread that wants them.
    pub(super) fn start(
        slot: &Arc<Slot>,
        may_hurry: bool,
        reopen: impl Fn(Generation) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel::<Job>(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let reopen = Arc::new(reopen);
        let mut pool = Self {
            slot: Arc::clone(slot),
            may_hurry: AtomicBool::new(may_hurry),
            queue: Some(queue),
            threads: Vec::with_capacity(READERS),
        };
        for number in 0..READERS {
            let (slot, jobs, reopen) = (Arc::clone(slot), Arc::clone(&jobs), Arc::clone(&reopen));
            let thread = thread::Builder::new().name(format!("store-read-{number}")).spawn(move || {
                while let Some(mut job) = next(&jobs) {
                    let mut turn = Turn::First;
                    loop {
                        let place = slot.shared();
                        let generation = slot.generation();
                        let aftermath = job(place.as_ref(), turn);
                        drop(place);
                        match aftermath {
                            Aftermath::Fine => break,
                            Aftermath::ReopenFile => {
                                reopen(generation);
                                break;
                            }
                            Aftermath::RunAgain => {
                                reopen(generation);
                                slot.wait_for_next(generation, PATIENCE);
                                turn = Turn::Last;
                            }
                        }
                    }
                }
            })?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Runs `work`, which looks at a few rows about something, in the last committed state of the store: on this thread if it need
    /// not wait for anything, otherwise on one of its own.
    pub(super) async fn look_up<A, T>(&self, about: &A, work: Lookup<A, T>) -> Result<T, StoreError>
    where
        A: ToOwned<Owned: Send + 'static> + ?Sized + 'static,
        T: Send + 'static,
    {
        if let Some(result) = self.at_once(&|lookups| work(lookups, about)) {
            return Ok(result);
        }
        let about = about.to_owned();
        self.hop(move |open| work(&*open.lookups()?, about.borrow())).await
    }

    /// Only success counts: whatever goes wrong goes wrong again where there is time, and is dealt with there.
    fn at_once<T>(&self, work: &impl Fn(&Lookups) -> Result<T, Fault>) -> Option<T> {
        if !self.may_hurry.load(Ordering::Relaxed) {
            return None;
        }
        let place = self.slot.try_shared()?;
        let open = place.as_ref()?;
        let read = || work(&*open.lookups()?);
        match hurried(|| isolated(read)) {
            Ok(result) => result.ok()?.ok(),
            Err(Waits::ForTheDisk) => None,
            Err(Waits::Perhaps) => {
                self.may_hurry.store(false, Ordering::Relaxed);
                None
            }
        }
    }

    /// Runs `work` in one snapshot of the store, on a thread of its own.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Snapshot) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let codec = self.slot.codec().clone();
        self.hop(move |open| work(&Snapshot::of(&open.database().begin_read()?, &codec)?)).await
    }

    /// The same, of a transaction of which `work` opens what it needs itself: a table that cannot be opened keeps it from no other.
    pub(super) async fn read_apart<T: Send + 'static>(
        &self,
        work: impl Fn(&ReadTransaction, &Codec) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let codec = self.slot.codec().clone();
        self.hop(move |open| work(&open.database().begin_read()?, &codec)).await
    }

    async fn hop<T: Send + 'static>(
        &self,
        work: impl Fn(&Open) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let mut reply = Some(reply);
        let job: Job = Box::new(move |open, turn| {
            let result = run(open, &work);
            let aftermath = match &result {
                Err(fault) if fault.is_of_another_call() && turn == Turn::First => return Aftermath::RunAgain,
                Err(fault) if fault.needs_reopening() && open.is_some() => Aftermath::ReopenFile,
                Ok(_) | Err(_) => Aftermath::Fine,
            };
            if let Some(reply) = reply.take() {
                // Nobody waits any more: the client is gone.
                let _gone = reply.send(result.map_err(StoreError::from));
            }
            aftermath
        });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => stopped(),
        })?;
        answer.await.map_err(|_dropped| stopped())?
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the store's readers have stopped".into())
}

fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn run<T>(open: Option<&Open>, work: &impl Fn(&Open) -> Result<T, Fault>) -> Result<T, Fault> {
    let Some(open) = open else {
        return Err(Fault::Storage("the store's file is closed after a failure".into()));
    };
    let read = || work(open);
    // A panic is a bug, and may have left locks of redb's poisoned. Damage of one block is neither.
    match catch_unwind(AssertUnwindSafe(|| isolated(read))) {
        Ok(Ok(result)) => result,
        Ok(Err(damage)) => Err(Fault::Damage(damage.into())),
        Err(panic) => Err(Fault::Storage(panic_cause(panic))),
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            // It catches its panics; should one escape, its reads were answered as unavailable.
            let _panicked = thread.join();
        }
    }
}
