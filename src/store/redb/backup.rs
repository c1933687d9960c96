//! A backup while the store serves: one committed state, copied into a file of its own and read back (R99).
//!
//! ```text
//! snapshot -> copy in batches into <name>.<id>.new -> sync -> open it, read it whole, compare -> link it to its name
//! ```
//!
//! On a thread of its own, nicer than those that serve. It holds a read transaction of redb's, which keeps the pages of that state
//! from being used anew, so the store grows by what is written meanwhile; and nothing else: the writer may open the file again, upon
//! which the backup fails and says so. A backup is a store like any other: it is restored by being put in place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use ::redb::{ReadTransaction, ReadableDatabase as _};

use super::copy::{self, CopyFault, Digest, Progress};
use super::fault::panic_cause;
use super::file::{MODE, make_for_owner, opener, replace, sync_directory, unnamed};
use super::medium::Check;
use super::schema::Ledger;
use super::slot::Slot;
use crate::domain::clock::{Clock, UnixSeconds};
use crate::service::backup::{BackupName, BackupStart, BackupStep, BackupView};
use crate::service::ports::{Cause, StoreError};
use crate::telemetry::{Metrics, WithCauses};

/// As much memory is taken for the pages of the copy.
const CACHE_BYTES: usize = 16 << 20;

/// How much nicer than the threads that serve the one that copies is.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Makes backups of one store, one at a time.
pub(super) struct Backups {
    place: Place,
    slot: Arc<Slot>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    latest: Mutex<Option<Job>>,
}

/// Where backups go.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The folder.
    pub(super) folder: PathBuf,
    /// What the name of one begins with that was given none.
    pub(super) prefix: String,
}

struct Job {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    file: PathBuf,
    progress: Progress,
    state: Mutex<State>,
}

#[derive(Debug, Clone)]
enum State {
    Copying,
    Verifying,
    Done { bytes: u64, users: u64 },
    Failed(String),
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
enum BackupFault {
    #[error("the store cannot be read")]
    Store(#[source] Cause),
    #[error(transparent)]
    Copy(#[from] CopyFault),
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    #[error("the folder {} is not there; create it, or name another one in store.backups", .0.display())]
    NoFolder(PathBuf),
    #[error("{} cannot be written", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Backups {
    pub(super) fn new(place: Place, slot: Arc<Slot>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self { place, slot, metrics, clock, latest: Mutex::default() }
    }

    /// Starts one, unless one is being made. Without a name it has one with the time in it.
    pub(super) fn start(&self, name: Option<&BackupName>) -> Result<BackupStart, StoreError> {
        let mut latest = self.latest();
        if let Some(job) = latest.as_ref().filter(|job| !job.shared.state().is_over()) {
            return Ok(BackupStart::Busy(job.shared.view()));
        }
        let name = name.map_or_else(|| self.name_of_now(), |name| name.as_str().to_owned());
        let file = self.place.folder.join(name);
        if fs::symlink_metadata(&file).is_ok() {
            return Ok(BackupStart::Exists(file.display().to_string()));
        }
        let shared = Arc::new(Shared { file, progress: Progress::default(), state: Mutex::new(State::Copying) });
        let work = Work { slot: Arc::clone(&self.slot), metrics: Arc::clone(&self.metrics), job: Arc::clone(&shared) };
        let thread = thread::Builder::new().name("store-backup".to_owned()).spawn(move || work.run());
        let thread = thread.map_err(|error| StoreError::Unavailable(error.into()))?;
        let view = shared.view();
        *latest = Some(Job { shared, thread: Some(thread) });
        Ok(BackupStart::Started(view))
    }

    /// How far the latest is.
    pub(super) fn view(&self) -> Option<BackupView> {
        self.latest().as_ref().map(|job| job.shared.view())
    }

    fn latest(&self) -> MutexGuard<'_, Option<Job>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name_of_now(&self) -> String {
        format!("{}-{}", self.place.prefix, stamp(self.clock.wall()))
    }
}

/// A time as names of files have it: `20261123T041500Z`.
pub(super) fn stamp(at: UnixSeconds) -> String {
    let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

impl Drop for Backups {
    /// Gives up the one that is being made, and waits until its file is gone.
    fn drop(&mut self) {
        let job = self.latest().take();
        if let Some(Job { shared, thread: Some(thread) }) = job {
            shared.progress.cancelled.store(true, Ordering::Relaxed);
            // It catches its own panics.
            let _panicked = thread.join();
        }
    }
}

impl State {
    fn is_over(&self) -> bool {
        match self {
            Self::Copying | Self::Verifying => false,
            Self::Done { .. } | Self::Failed(_) => true,
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> BackupView {
        let state = self.state().clone();
        let (step, bytes, users, problem) = match state {
            State::Copying => (BackupStep::Copying, None, None, None),
            State::Verifying => (BackupStep::Verifying, None, None, None),
            State::Done { bytes, users } => (BackupStep::Done, Some(bytes), Some(users), None),
            State::Failed(problem) => (BackupStep::Failed, None, None, Some(problem)),
        };
        BackupView {
            file: self.file.display().to_string(),
            step,
            rows: self.progress.done.load(Ordering::Relaxed),
            rows_total: self.progress.total.load(Ordering::Relaxed),
            bytes,
            users,
            problem,
        }
    }
}

/// What the thread needs.
struct Work {
    slot: Arc<Slot>,
    metrics: Arc<Metrics>,
    job: Arc<Shared>,
}

impl Work {
    fn run(self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::debug!(%error, "a backup runs at the usual priority");
        }
        let file = &self.job.file;
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.make()));
        let made = made.unwrap_or_else(|panic| Err(BackupFault::Store(panic_cause(panic))));
        let state = match made {
            Ok((bytes, users)) => {
                tracing::info!(file = %file.display(), bytes, users, "a backup of the store was made and verified");
                State::Done { bytes, users }
            }
            Err(fault) => {
                let problem = WithCauses(&fault).to_string();
                tracing::error!(file = %file.display(), error = %problem, "no backup of the store was made");
                self.metrics.alarm("backup");
                State::Failed(problem)
            }
        };
        *self.job.state() = state;
    }

    /// Its length and how many users are in it.
    fn make(&self) -> Result<(u64, u64), BackupFault> {
        if let Some(folder) = self.job.file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
        {
            return Err(BackupFault::NoFolder(folder.to_owned()));
        }
        let transaction = self.snapshot()?;
        let progress = &self.job.progress;
        // Each row is copied, and then read again.
        progress.total.store(copy::count(&transaction)?.saturating_mul(2), Ordering::Relaxed);
        let unnamed = Unnamed::beside(&self.job.file)?;
        let copied = write_copy(&transaction, unnamed.path(), &self.metrics, progress)?;
        // The pages of that state may be used anew from here on.
        transaction.close().map_err(|error| BackupFault::Store(error.into()))?;
        *self.job.state() = State::Verifying;
        let ledger = verify_copy(unnamed.path(), copied, &self.metrics, progress)?;
        let bytes = unnamed.name(&self.job.file)?;
        Ok((bytes, ledger.counts.total()))
    }

    /// One committed state. The slot is held for a moment only: whoever opens the file again does not wait for us.
    fn snapshot(&self) -> Result<ReadTransaction, BackupFault> {
        let place = self.slot.shared();
        let open = place.as_ref().ok_or_else(|| BackupFault::Store("its file is closed after a failure".into()))?;
        open.database().begin_read().map_err(|error| BackupFault::Store(error.into()))
    }
}

/// Copies a state into a file that is made for it, and syncs that.
pub(super) fn write_copy(
    from: &ReadTransaction,
    path: &Path,
    metrics: &Arc<Metrics>,
    progress: &Progress,
) -> Result<Digest, CopyFault> {
    let database = opener(path, CACHE_BYTES, metrics).create_database().map_err(CopyFault::target)?;
    let copied = copy::copy(from, &database, progress)?;
    database.close().map_err(CopyFault::target)?;
    File::open(path)?.sync_all()?;
    Ok(copied)
}

/// Opens a copy as whoever restores it will, reads it whole and compares.
pub(super) fn verify_copy(
    path: &Path,
    copied: Digest,
    metrics: &Arc<Metrics>,
    progress: &Progress,
) -> Result<Ledger, CopyFault> {
    let view = opener(path, CACHE_BYTES, metrics).open_view(Check::Header);
    let (database, ledger) = view.map_err(|error| CopyFault::Unreadable(error.into()))?;
    let transaction = database.begin_read().map_err(|error| CopyFault::Unreadable(error.into()))?;
    match copy::digest(&transaction, progress) {
        Ok(read) if read == copied => Ok(ledger),
        Ok(_) => Err(CopyFault::Differs),
        Err(CopyFault::Source(cause)) => Err(CopyFault::Unreadable(cause)),
        Err(other) => Err(other),
    }
}

/// A file that has no name of its own yet, and is removed unless it gets one.
pub(super) struct Unnamed(PathBuf);

impl Unnamed {
    /// Makes it, empty and for our eyes alone (R102).
    pub(super) fn beside(path: &Path) -> io::Result<Self> {
        let unnamed = unnamed(path);
        OpenOptions::new().write(true).create_new(true).mode(MODE).open(&unnamed)?;
        Ok(Self(unnamed))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The same for what takes the place of a store: it belongs to whom that belongs to.
    pub(super) fn in_place_of(path: &Path) -> io::Result<Self> {
        let unnamed = unnamed(path);
        make_for_owner(&unnamed, path)?;
        Ok(Self(unnamed))
    }

    /// Gives it its name, which nothing else has, and its length.
    fn name(&self, path: &Path) -> Result<u64, BackupFault> {
        let failed = |cause| BackupFault::Io { path: path.to_owned(), cause };
        let bytes = fs::metadata(&self.0).map_err(failed)?.len();
        match fs::hard_link(&self.0, path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(BackupFault::Exists(path.to_owned())),
            // A file system without links.
            Err(_no_links) if !path.try_exists().map_err(failed)? => fs::rename(&self.0, path).map_err(failed)?,
            Err(_no_links) => return Err(BackupFault::Exists(path.to_owned())),
        }
        sync_directory(path).map_err(failed)?;
        Ok(bytes)
    }

    /// Puts it in the place of another file.
    pub(super) fn replace(self, path: &Path) -> io::Result<()> {
        replace(&self.0, path)
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(file = %self.0.display(), %error, "a file that nobody needs could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

impl From<io::Error> for BackupFault {
    fn from(error: io::Error) -> Self {
        Self::Copy(CopyFault::target(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_named_by_the_time_in_utc() {
        assert_eq!(stamp(UnixSeconds(1_790_000_000)), "20260921T141320Z");
    }
}
