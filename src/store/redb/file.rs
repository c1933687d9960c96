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

/// Opens the file, making it at the first start, and bringing one of the first layout to today's.
pub(super) fn open(
    settings: &StoreSettings,
    metrics: &Arc<Metrics>,
) -> Result<(Opener<FileMedium>, Database, Ledger), OpenError> {
    let path = &settings.path;
    let failed = |action| move |cause: io::Error| OpenError::Io { path: path.clone(), action, cause: cause.into() };
    let marker = marker(path);
    let opener = opener(path, settings.cache_bytes, metrics);
    let fresh = !path.try_exists().map_err(failed("opened"))?;
    if fresh {
        if marker.try_exists().map_err(failed("opened"))? {
            return Err(OpenError::Missing { path: path.clone(), marker });
        }
        create(path, settings.cache_bytes, metrics)?;
        mark(path).map_err(failed("created"))?;
    }
    restrict(path);
    if upgrade::is_due(path).map_err(failed("opened"))? {
        let upgraded = upgrade::run(path, settings.cache_bytes, metrics);
        upgraded.map_err(|unopened| at(path, "brought to today's layout", unopened))?;
    }
    let (database, ledger) = opener.open(Check::Header).map_err(|unopened| at(path, "opened", unopened))?;
    if !fresh && let Err(error) = mark(path) {
        tracing::warn!(path = %marker.display(), %error, "cannot write down that the store was made here; should its file \
            be lost, an empty one would take its place");
    }
    Ok((opener, database, ledger))
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
        Unopened::OldLayout => OpenError::Foreign { path, found: "a redb file of the first layout" },
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
    let unnamed = beside(path, &format!(".{}.new", Uuid::now_v7().simple()));
    let made = (|| {
        OpenOptions::new().write(true).create_new(true).mode(MODE).open(&unnamed).map_err(failed)?;
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
    match OpenOptions::new().write(true).create_new(true).mode(MODE).open(marker(path)) {
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

/// Gives a file that is about to be replaced a second name, which it may have from a try that a crash ended.
pub(super) fn keep(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let own = fs::metadata(path)?;
    for number in 1..=MAX_KEPT {
        let kept = beside(path, &if number == 1 { suffix.to_owned() } else { format!("{suffix}-{number}") });
        match fs::hard_link(path, &kept) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let other = fs::metadata(&kept)?;
                if (other.dev(), other.ino()) == (own.dev(), own.ino()) {
                    return Ok(kept);
                }
            }
            // A file system without links: a copy will do.
            Err(_no_links_here) => {
                fs::copy(path, &kept)?;
                return Ok(kept);
            }
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "too many old stores are kept beside this one"))
}

/// A name is on disk once its directory is.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// What says that a store was made at this path.
pub(super) fn marker(path: &Path) -> PathBuf {
    beside(path, "-init")
}

/// The same path with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
