//! The file of the store: made once, whole and for our eyes alone; refused ever after if it is missing, damaged or foreign.
//!
//! A new store is made under another name and then linked to its own, so that a crash leaves either none or a whole one. Beside
//! it a marker, `<file>-init`, says that it was made: where that is found without the file, something took the file away,
//! and an empty store in its place would answer "unknown" for every user (R97).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::Database;
use uuid::Uuid;

use super::checked::LAYOUT;
use super::claim::{Claim, claim, claim_late};
use super::keys::{KeyRefused, NotAdmitted, Refusal};
use super::medium::{Check, FileMedium, Opener, Unopened};
use super::schema::Ledger;
use super::upgrade;
use crate::store::{OpenError, StoreSettings};
use crate::telemetry::Metrics;

/// As many replaced files are kept beside one: nobody replaces it more often and looks away.
const MAX_KEPT: u32 = 100;

/// Read and written by the owner alone (R102).
pub(super) const MODE: u32 = 0o600;

/// A file that was opened: what opens it again, the database, its counts, and the claim to its name, as far as that can be had.
pub(super) struct Opened {
    pub(super) opener: Opener<FileMedium>,
    pub(super) database: Database,
    pub(super) ledger: Ledger,
    pub(super) claim: Option<Claim>,
}

/// Opens the file, making it at the first start, and bringing one of the first layout to today's.
pub(super) fn open(settings: &StoreSettings, metrics: &Arc<Metrics>) -> Result<Opened, OpenError> {
    let path = &settings.path;
    let failed = |action| move |cause: io::Error| OpenError::Io { path: path.clone(), action, cause: cause.into() };
    let mut claimed = claim(path)?;
    if claimed.is_some() {
        clear_away(&behind_links(path));
    }
    let marker = marker(path);
    let opener = opener(path, settings.cache_bytes, metrics);
    let fresh = !path.try_exists().map_err(failed("opened"))?;
    if fresh {
        if marker.try_exists().map_err(failed("opened"))? {
            return Err(OpenError::Missing { path: path.clone(), marker });
        }
        create(&behind_links(path), settings.cache_bytes, metrics)?;
        mark(path).map_err(failed("created"))?;
    }
    restrict(path);
    if upgrade::is_due(path).map_err(failed("opened"))? {
        let upgraded = upgrade::run(&behind_links(path), settings.cache_bytes, metrics);
        upgraded.map_err(|unopened| at(path, "brought to today's layout", unopened))?;
    }
    let (database, ledger) = opener.open(Check::Header).map_err(|unopened| at(path, "opened", unopened))?;
    if !fresh && let Err(error) = mark(path) {
        tracing::warn!(path = %marker.display(), %error, "cannot write down that the store was made here; should its file \
            be lost, an empty one would take its place");
    }
    if claimed.is_none() {
        claimed = claim_late(path)?;
    }
    Ok(Opened { opener, database, ledger, claim: claimed })
}

/// Removes what a crash left of a new file that never got its name: a whole store's worth of secrets. Nobody else is making one, since
/// the name is claimed.
fn clear_away(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let Ok(entries) = fs::read_dir(directory(path)) else { return };
    for entry in entries.flatten() {
        let is_left = entry.file_name().to_str().is_some_and(|found| is_unnamed(found, name));
        if is_left && fs::remove_file(entry.path()).is_ok() {
            tracing::warn!(file = %entry.path().display(), "removed what an interrupted command left of a new store");
        }
    }
}

/// Whether this is what [`unnamed`] calls a new file beside the store of this name.
fn is_unnamed(found: &str, store: &str) -> bool {
    let id = found.strip_prefix(store).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(UNNAMED));
    id.is_some_and(|id| id.len() == 32 && Uuid::try_parse(id).is_ok())
}

/// What the name of a file ends in that has none of its own yet.
const UNNAMED: &str = ".new";

/// A name beside this one that nothing else has.
pub(super) fn unnamed(path: &Path) -> PathBuf {
    beside(path, &format!(".{}{UNNAMED}", Uuid::now_v7().simple()))
}

/// What opens the file at this path.
pub(super) fn opener(path: &Path, cache_bytes: usize, metrics: &Arc<Metrics>) -> Opener<FileMedium> {
    Opener { medium: FileMedium(path.to_owned()), cache_bytes, metrics: Arc::clone(metrics) }
}

pub(super) fn at(path: &Path, action: &'static str, unopened: Unopened) -> OpenError {
    let path = path.to_owned();
    match unopened {
        Unopened::Locked => OpenError::Locked(path),
        Unopened::Corrupt(cause) => OpenError::Corrupt { path, cause },
        Unopened::Foreign(found) => OpenError::Foreign { path, found },
        Unopened::NewerSchema(found) => OpenError::NewerSchema { path, found, known: super::schema::SCHEMA },
        Unopened::NewerLayout(found) => OpenError::NewerSchema { path, found: found.into(), known: LAYOUT.into() },
        Unopened::OldLayout => OpenError::OldLayout(path),
        Unopened::Io(cause) => OpenError::Io { path, action, cause },
    }
}

/// Why a store is refused with the keys that were given.
pub(super) fn not_admitted(path: &Path, refused: NotAdmitted) -> OpenError {
    match refused {
        NotAdmitted::Key(KeyRefused { used_for, id, users, why }) => {
            let path = path.to_owned();
            match why {
                Refusal::Missing => OpenError::MissingKey { path, used_for, id, users },
                Refusal::Wrong => OpenError::WrongKey { path, used_for, id, users },
            }
        }
        NotAdmitted::Fault(fault) => at(path, "opened", fault.into()),
    }
}

/// Makes a whole store, then gives it its name; another process that was faster is let win.
fn create(path: &Path, cache_bytes: usize, metrics: &Arc<Metrics>) -> Result<(), OpenError> {
    let failed = |cause: io::Error| OpenError::Io { path: path.to_owned(), action: "created", cause: cause.into() };
    let unnamed = unnamed(path);
    let made = (|| {
        make_for_owner(&unnamed, path).map_err(failed)?;
        let opener = opener(&unnamed, cache_bytes, metrics);
        opener.create().map_err(|unopened| at(path, "created", unopened))?;
        File::open(&unnamed).and_then(|file| file.sync_all()).map_err(failed)?;
        name_once(&unnamed, path).map_err(failed)
    })();
    let cleared = fs::remove_file(&unnamed);
    made?;
    match cleared {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        Ok(()) | Err(_) => sync_directory(path).map_err(failed),
    }
}

/// Never overwrites: a link fails where a rename would replace. File systems without links get the rename.
fn name_once(unnamed: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(unnamed, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(_no_links_here) if !path.try_exists()? => fs::rename(unnamed, path),
        other => other,
    }
}

/// Writes down that a store was made here.
pub(super) fn mark(path: &Path) -> io::Result<()> {
    match make_for_owner(&marker(path), path) {
        Ok(mut file) => {
            writeln!(
                file,
                "authferry made a user store beside this file. While this file is here, a missing store is an error.\n\
                 Remove it only to start over with an empty store."
            )?;
            file.sync_all()?;
            sync_directory(path)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes the file from everybody else's eyes, should a copy or a restore have opened it to them.
fn restrict(path: &Path) {
    let restricted = fs::metadata(path).and_then(|metadata| {
        let mut permissions = metadata.permissions();
        if permissions.mode() & 0o077 == 0 {
            return Ok(());
        }
        permissions.set_mode(MODE);
        fs::set_permissions(path, permissions)
    });
    if let Err(error) = restricted {
        tracing::warn!(path = %path.display(), %error, "others may read the store, and its mode cannot be changed");
    }
}

/// Gives a file that is about to be replaced a second name, which it may have from a try that a crash ended. Overwrites nothing.
pub(super) fn keep(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let own = fs::metadata(path)?;
    for number in 1..=MAX_KEPT {
        let kept = beside(path, &if number == 1 { suffix.to_owned() } else { format!("{suffix}-{number}") });
        match step("link").and_then(|()| fs::hard_link(path, &kept)) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // One that leads nowhere is taken too.
                let other = fs::symlink_metadata(&kept)?;
                if (other.dev(), other.ino()) == (own.dev(), own.ino()) {
                    return Ok(kept);
                }
            }
            // A file system without links: a copy will do.
            Err(_no_links_here) => match copy_to_new(path, &kept) {
                Ok(()) => return Ok(kept),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            },
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "too many old stores are kept beside this one; remove some of them"))
}

/// Copies a file to a name that nothing has, and syncs it: what it is copied from is about to lose its only name.
fn copy_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = make_for_owner(to, from)?;
    let copied = File::open(from).and_then(|mut from| io::copy(&mut from, &mut copy)).and_then(|_| copy.sync_all());
    copied.inspect_err(|_| {
        let _stays_and_is_told_of = fs::remove_file(to);
    })
}

/// Makes a new file, for our eyes alone (R102), that takes the place of this one: it belongs to whom that belongs to, or the directory.
/// An operator who restores a store as root does not lock the proxy out of it.
pub(super) fn make_for_owner(new: &Path, in_place_of: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(new)?;
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(in_place_of).or_else(|_not_there| fs::metadata(directory(in_place_of)))?;
        // By what is open, never by its name.
        std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(file)
}

/// Puts a file in the place of another one.
pub(super) fn replace(new: &Path, path: &Path) -> io::Result<()> {
    step("rename").and_then(|()| fs::rename(new, path))?;
    sync_directory(path)
}

/// Where the file itself is: a link to another disk stays one, and what takes the file's place is made there.
pub(super) fn behind_links(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_not_there| match fs::read_link(path) {
        Ok(leads_to) => directory(path).join(leads_to),
        Err(_no_link) => path.to_owned(),
    })
}

/// A name is on disk once its directory is.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    step("sync")?;
    File::open(directory(path))?.sync_all()
}

/// The directory that a file is in.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What says that a store was made at this path.
pub(super) fn marker(path: &Path) -> PathBuf {
    beside(path, "-init")
}

/// What there is to say of a store that is not at its path, though one was made there.
pub(crate) fn missing_though_made(path: &Path) -> Option<OpenError> {
    let marker = marker(path);
    let is_gone = !path.exists() && marker.exists();
    is_gone.then(|| OpenError::Missing { path: path.to_owned(), marker })
}

/// The same path with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// A step that has names or directories changed; a unit test may have it fail.
#[cfg(not(test))]
fn step(_name: &'static str) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use self::testing::step;

/// Has steps fail, on the thread that asks for it.
#[cfg(test)]
pub(super) mod testing {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static FAILING: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    pub(in super::super) fn step(name: &'static str) -> io::Result<()> {
        if FAILING.get() == Some(name) { Err(io::Error::other(format!("no {name}"))) } else { Ok(()) }
    }

    /// Runs something while the steps of this name fail.
    pub(in super::super) fn failing<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
        FAILING.set(Some(name));
        let done = work();
        FAILING.set(None);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::testing::failing;
    use super::*;

    fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    #[test]
    fn what_is_kept_overwrites_nothing_with_links_and_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path(), "users.redb", "first");
        let kept = failing("link", || keep(&path, "-replaced")).expect("a copy");
        assert_eq!(kept, folder.path().join("users.redb-replaced"));
        assert_eq!(fs::metadata(&kept).expect("a file").permissions().mode() & 0o777, MODE);
        fs::remove_file(&path).expect("removed");
        file(folder.path(), "users.redb", "second");
        let second = failing("link", || keep(&path, "-replaced")).expect("another copy");
        assert_eq!(second, folder.path().join("users.redb-replaced-2"));
        let third = keep(&path, "-replaced").expect("a link");
        assert_eq!(third, folder.path().join("users.redb-replaced-3"));
        assert_eq!(keep(&path, "-replaced").expect("the same link"), third);
        let texts = [&kept, &second, &third].map(|path| fs::read_to_string(path).expect("a file"));
        assert_eq!(texts, ["first", "second", "second"]);
        // A link that leads nowhere is not followed.
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), folder.path().join("users.redb-old")).expect("one");
        for fails in ["link", "nothing"] {
            let kept = failing(fails, || keep(&path, "-old")).expect("kept");
            assert_ne!(kept, folder.path().join("users.redb-old"));
        }
        assert!(!folder.path().join("elsewhere").exists());
    }

    #[test]
    fn what_takes_the_place_of_a_file_is_its_owners() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, marker) = (file(folder.path(), "users.redb", "old"), folder.path().join("users.redb-init"));
        let owner = if rustix::process::geteuid().is_root() { 12_345 } else { rustix::process::geteuid().as_raw() };
        std::os::unix::fs::chown(&store, Some(owner), None).expect("our own file");
        make_for_owner(&marker, &store).expect("a file");
        assert_eq!(fs::metadata(&marker).expect("a file").uid(), owner);
        let nobodys = folder.path().join("new");
        make_for_owner(&nobodys, &folder.path().join("not there")).expect("a file");
        let directory = fs::metadata(folder.path()).expect("a folder").uid();
        assert_eq!(fs::metadata(&nobodys).expect("a file").uid(), directory);
        assert!(make_for_owner(&nobodys, &store).is_err(), "never one that is there");
    }

    #[test]
    fn only_what_was_called_so_by_us_is_cleared_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("users.redb");
        let left = unnamed(&store);
        fs::write(&left, "half a store").expect("a file");
        let others = ["users.redb", "users.redb-init", "users.redb.new", "users.redb.0190.new", "notes.new"];
        let mut kept: Vec<PathBuf> = others.iter().map(|name| file(folder.path(), name, "other")).collect();
        // A backup that a proxy may be making.
        kept.push(unnamed(&folder.path().join("users.redb-20261123T040000Z")));
        fs::write(&kept[5], "half a backup").expect("a file");
        clear_away(&store);
        assert!(!left.exists());
        assert!(kept.iter().all(|path| path.exists()));
    }
}
