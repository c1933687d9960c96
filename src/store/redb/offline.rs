//! What is done to a store that no proxy has open: reading it whole, making it small again, putting a backup in its place.
//!
//! Each takes the file's lock, as a running proxy does, and each that writes makes a new file, reads it back, and only then renames it
//! into place: a crash at any point leaves the old store or the new one. Called by `authferry store`.

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use ::redb::{Database, ReadableDatabase as _, StorageBackend as _};

use super::backup::{Unnamed, verify_copy, write_copy};
use super::claim::claim;
use super::copy::{self, CopyFault, Progress};
use super::fault::{Fault, panic_cause};
use super::file::{
    Opened, at, behind_links, keep, mark, marker, missing_though_made, not_admitted, opener, sync_directory,
};
use super::inspect::{Inspection, inspect};
use super::keys;
use super::medium::{Check, FileMedium, Medium as _, Unopened};
use super::record::Codec;
use crate::domain::user::User;
use crate::service::ports::Cause;
use crate::store::{OpenError, StoreSettings};
use crate::telemetry::{Metrics, WithCauses};

/// Told, now and then, how much is done, and of how much if that is known.
pub type Watch<'a> = &'a mut dyn FnMut(u64, Option<u64>);

/// Records between two words to who watches.
const TICK: u64 = 10_000;

/// How often who watches is told while something else does the work.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Why an offline command did not do what it was asked for. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is none.
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// Something is wrong inside; the findings say what.
    #[error("{} is damaged in {} place(s); nothing was changed", .path.display(), .inspection.findings.len() as u64 + .inspection.unnamed)]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        inspection: Box<Inspection>,
    },
    /// A store is there, and nobody said that it may be replaced.
    #[error("there is a store at {} already; `--replace` puts the backup in its place and keeps it beside", .0.display())]
    Exists(PathBuf),
    /// The backup is the store.
    #[error("{} is the store itself", .0.display())]
    Itself(PathBuf),
    /// The new file could not be made.
    #[error("{} cannot be {action}", .path.display())]
    Copy {
        /// What should have come of it.
        path: PathBuf,
        /// "compacted", "restored".
        action: &'static str,
        /// Why not.
        #[source]
        cause: Cause,
    },
}

/// What a check of a file found.
#[derive(Debug)]
pub struct Checked {
    /// What was looked at, and what is wrong.
    pub inspection: Inspection,
    /// The file's length.
    pub bytes: u64,
}

/// What compaction came to, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// The length before.
    pub before: u64,
    /// The length now.
    pub after: u64,
}

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// What the backup holds.
    pub inspection: Inspection,
    /// Where the store that was replaced is now.
    pub kept: Option<PathBuf>,
}

/// Reads every page, every record and every name of a store or of a backup. Writes nothing to it.
pub fn check(path: &Path, settings: &StoreSettings, watch: Watch<'_>) -> Result<Checked, OfflineError> {
    let bytes = length(path)?;
    let metrics = Arc::new(Metrics::new());
    let mut done = 0;
    let inspection = match opener(path, settings.cache_bytes, &metrics).open_view(Check::EveryPage) {
        Ok((database, _ledger)) => look(&database, path, settings, &mut |_user| {
            done += 1;
            if done % TICK == 0 {
                watch(done, None);
            }
        })?,
        // Damage that redb's own checksums tell of before any record was read.
        Err(Unopened::Corrupt(cause)) => {
            let mut inspection = Inspection::default();
            // Who reads the pages ends at the first that is damaged. What scanning cannot tell of, that one tells.
            let _as_far_as_it_goes =
                opener(path, settings.cache_bytes, &metrics).scan(&mut |damage| inspection.found(damage));
            let cause = WithCauses(&*cause).to_string();
            if !inspection.findings.iter().any(|finding| cause.contains(finding)) {
                inspection.found(format_args!("its pages cannot all be read: {cause}"));
            }
            inspection
        }
        Err(other) => return Err(at(path, "read", other).into()),
    };
    Ok(Checked { inspection, bytes })
}

/// Brings a store back to the size that its users need. There has to be room for the new file beside it.
pub fn compact(settings: &StoreSettings, watch: Watch<'_>) -> Result<Compacted, OfflineError> {
    length(&settings.path)?;
    let metrics = Arc::new(Metrics::new());
    // Held open, and so locked, until the new file has its name.
    let Opened { opener: _, database, ledger: _, claim: _claimed } = super::file::open(settings, &metrics)?;
    let path = &behind_links(&settings.path);
    let before = length(path)?;
    let transaction = database.begin_read().map_err(|error| failed(path, "compacted", error))?;
    let compacting = |fault| failed(path, "compacted", fault);
    let unnamed = copied(&transaction, path, &metrics, watch).map_err(compacting)?;
    let after = length(unnamed.path())?;
    transaction.close().map_err(|error| failed(path, "compacted", error))?;
    unnamed.replace(path).map_err(|error| failed(path, "compacted", error))?;
    Ok(Compacted { before, after })
}

/// Puts a backup in the store's place, once it has been read whole and nothing is wrong with it.
pub fn restore(
    backup: &Path,
    settings: &StoreSettings,
    replace: Replace,
    watch: Watch<'_>,
) -> Result<Restored, OfflineError> {
    length(backup)?;
    // No proxy serves under this name, wherever its file may have gone.
    let _claimed = claim(&settings.path)?;
    let path = &behind_links(&settings.path);
    let exists = path.try_exists().map_err(|error| failed(path, "restored", error))?;
    if exists && same_file(backup, path) {
        return Err(OfflineError::Itself(path.clone()));
    }
    // Locked for as long as it is there, so that no proxy serves from it while another takes its name.
    let replaced = match (exists, replace) {
        (false, _) => None,
        (true, Replace::Refuse) => return Err(OfflineError::Exists(path.clone())),
        (true, Replace::KeepAside) => Some(locked(path)?),
    };
    let metrics = Arc::new(Metrics::new());
    let view = opener(backup, settings.cache_bytes, &metrics).open_view(Check::EveryPage);
    let (database, _ledger) = view.map_err(|unopened| at(backup, "read", unopened))?;
    let inspection = look(&database, backup, settings, &mut |_user| {})?;
    if !inspection.is_clean() {
        return Err(OfflineError::Damaged { path: backup.to_owned(), inspection: Box::new(inspection) });
    }
    let transaction = database.begin_read().map_err(|error| failed(path, "restored", error))?;
    let restoring = |fault| failed(path, "restored", fault);
    let unnamed = copied(&transaction, path, &metrics, watch).map_err(restoring)?;
    let failing = |error| failed(path, "restored", error);
    let kept = match replaced {
        Some(_) => {
            let kept = keep(path, "-replaced").map_err(failing)?;
            unnamed.replace(path).map_err(failing)?;
            Some(kept)
        }
        None => {
            // A proxy that was started meanwhile has made a store of its own, which is not overwritten.
            match fs::hard_link(unnamed.path(), path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(OfflineError::Exists(path.clone()));
                }
                Err(_no_links_here) if !path.exists() => unnamed.replace(path).map_err(failing)?,
                Err(error) => return Err(failing(error)),
                Ok(()) => {
                    drop(unnamed);
                    sync_directory(path).map_err(failing)?;
                }
            }
            None
        }
    };
    if !marker(&settings.path).exists() {
        mark(&settings.path).map_err(failing)?;
    }
    Ok(Restored { inspection, kept })
}

/// What becomes of a store where a backup is restored to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It stays, and nothing is restored.
    Refuse,
    /// It is kept under another name.
    KeepAside,
}

/// Looks at everything in a view of a file. Without the keys that its records need nothing could be said of it.
fn look(
    database: &Database,
    path: &Path,
    settings: &StoreSettings,
    each: &mut dyn FnMut(&User),
) -> Result<Inspection, OpenError> {
    keys::admit(database, &settings.keys).map_err(|refused| not_admitted(path, refused))?;
    let transaction = database.begin_read().map_err(|error| at(path, "read", Fault::from(error).into()))?;
    let codec = Codec::new(settings.keys.sealing.clone());
    Ok(inspect(&transaction, &codec, each))
}

/// Copies a state beside a path, and reads the copy back.
fn copied(
    from: &::redb::ReadTransaction,
    path: &Path,
    metrics: &Arc<Metrics>,
    watch: Watch<'_>,
) -> Result<Unnamed, CopyFault> {
    let progress = Progress::default();
    progress.total.store(copy::count(from)?.saturating_mul(2), Ordering::Relaxed);
    let unnamed = Unnamed::in_place_of(path)?;
    // The copy runs on a thread of its own, so that this one can tell how far it is.
    std::thread::scope(|scope| {
        let (ended, end) = sync_channel::<()>(1);
        let (unnamed, progress) = (&unnamed, &progress);
        let copying = scope.spawn(move || {
            let _dropped_at_the_end = ended;
            let copied = write_copy(from, unnamed.path(), metrics, progress)?;
            verify_copy(unnamed.path(), copied, metrics, progress)
        });
        while end.recv_timeout(TELL_EVERY) == Err(RecvTimeoutError::Timeout) {
            watch(progress.done.load(Ordering::Relaxed), Some(progress.total.load(Ordering::Relaxed)));
        }
        copying.join().unwrap_or_else(|panic| Err(CopyFault::Target(panic_cause(panic))))
    })?;
    Ok(unnamed)
}

/// The file of a store that may be damaged, with its lock.
fn locked(path: &Path) -> Result<impl ::redb::StorageBackend + use<>, OfflineError> {
    let medium = FileMedium(path.to_owned());
    let failing = |error: io::Error| at(path, "opened", error.into());
    let before = medium.identity().map_err(failing)?;
    let file = medium.open().map_err(failing)?;
    match file.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
        // Another may have been given its name before it was locked.
        Ok(true) if medium.identity().map_err(failing)? == before => Ok(file),
        Ok(true | false) => Err(OpenError::Locked(path.to_owned()).into()),
        Err(error) => Err(failed(path, "locked", error)),
    }
}

fn length(path: &Path) -> Result<u64, OfflineError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(path)),
        Err(error) => Err(failed(path, "read", error)),
    }
}

/// Why a file that is not there is missed.
fn missing(path: &Path) -> OfflineError {
    match missing_though_made(path) {
        Some(error) => error.into(),
        None => OfflineError::Missing(path.to_owned()),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

fn failed(path: &Path, action: &'static str, cause: impl Into<Cause>) -> OfflineError {
    OfflineError::Copy { path: path.to_owned(), action, cause: cause.into() }
}

#[cfg(test)]
mod tests {
    use super::super::RedbStore;
    use super::super::file::testing::failing;
    use super::*;
    use crate::domain::clock::SystemClock;
    use crate::domain::mode::Mode;
    use crate::service::ports::UserStore as _;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn settings(&self, name: &str) -> StoreSettings {
            StoreSettings::without_keys(self.0.path().join(name), 1 << 20)
        }

        /// A store that is known by the mode that it keeps.
        fn store(&self, name: &str, mode: Mode) -> StoreSettings {
            let settings = self.settings(name);
            wait_for(open(&settings).set_mode(mode)).expect("written");
            settings
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.path()).expect("a folder");
            let mut names: Vec<_> =
                entries.map(|entry| entry.expect("one").file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    fn open(settings: &StoreSettings) -> RedbStore {
        RedbStore::open(settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a store")
    }

    fn wait_for<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    fn mode(settings: &StoreSettings) -> Option<Mode> {
        let checked = check(&settings.path, settings, &mut |_, _| {}).expect("it can be read");
        assert!(checked.inspection.is_clean(), "{:?}", checked.inspection);
        wait_for(open(settings).mode()).expect("a mode")
    }

    #[test]
    fn a_compaction_that_fails_at_giving_a_name_leaves_the_store_and_nothing_else() {
        let place = Place::new();
        let settings = place.store("users.redb", Mode::Observe);
        for fails in ["rename", "sync", "nothing"] {
            let ended = failing(fails, || compact(&settings, &mut |_, _| {}));
            assert_eq!(ended.is_ok(), fails == "nothing", "{fails}: {ended:?}");
            assert_eq!(mode(&settings), Some(Mode::Observe), "{fails}");
            assert_eq!(place.names(), ["users.redb", "users.redb-init"], "{fails}");
        }
    }

    #[test]
    fn r99_a_restore_that_fails_at_giving_a_name_leaves_the_old_store_or_the_new_one() {
        for (fails, replaced, kept) in
            [("rename", false, true), ("sync", true, true), ("link", true, true), ("nothing", true, true)]
        {
            let place = Place::new();
            let backup = place.store("backup", Mode::Retired);
            let settings = place.store("users.redb", Mode::Observe);
            let again = || restore(&backup.path, &settings, Replace::KeepAside, &mut |_, _| {});
            let ended = failing(fails, again);
            assert_eq!(ended.is_ok(), matches!(fails, "link" | "nothing"), "{fails}: {ended:?}");
            let now = if replaced { Mode::Retired } else { Mode::Observe };
            assert_eq!(mode(&settings), Some(now), "{fails}");
            let aside = place.names().contains(&"users.redb-replaced".to_owned());
            assert_eq!(aside, kept, "{fails}: {:?}", place.names());
            assert!(place.names().iter().all(|name| !name.ends_with(".new")), "{fails}: {:?}", place.names());
            let kept = place.settings("users.redb-replaced");
            let checked = check(&kept.path, &kept, &mut |_, _| {}).expect("it can be read");
            assert!(checked.inspection.is_clean(), "{fails}");
            again().expect("nothing fails now");
            assert_eq!(mode(&settings), Some(Mode::Retired), "{fails}");
        }
    }

    #[test]
    fn r99_a_store_that_is_gone_is_restored_by_the_name_alone() {
        for fails in ["sync", "nothing"] {
            let place = Place::new();
            let (backup, settings) = (place.store("backup", Mode::Retired), place.settings("users.redb"));
            let ended = failing(fails, || restore(&backup.path, &settings, Replace::Refuse, &mut |_, _| {}));
            assert_eq!(ended.is_ok(), fails == "nothing", "{fails}: {ended:?}");
            assert_eq!(mode(&settings), Some(Mode::Retired), "{fails}");
            assert_eq!(place.names(), ["backup", "backup-init", "users.redb", "users.redb-init"], "{fails}");
        }
    }
}
