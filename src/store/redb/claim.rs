//! The right to the name of a store: whoever has it may open the file of that name, and put another one in its place (R98).
//!
//! A lock of the marker beside the store. The file's own lock goes with the file wherever that is moved to; the marker's stays where the
//! store belongs. So a backup is not restored under a proxy that still serves from a file which somebody moved away, and everything that
//! proxy acknowledges is not lost with it; and nobody opens a file that loses its name before it is locked. Called by [`super::file`] and
//! [`super::offline`]. Makes no file.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::file::marker;
use crate::store::OpenError;

/// How often a claim is tried that only somebody else's failing start can hold, and the pause in between.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// The claim; given back when it is dropped.
pub(super) struct Claim {
    _locked: File,
}

/// Claims the name of a store. None where no store was ever made, or where files cannot be locked.
pub(super) fn claim(path: &Path) -> Result<Option<Claim>, OpenError> {
    // To read is enough for a lock, and is all that a file system allows which went read-only.
    let Ok(marker) = File::open(marker(path)) else { return Ok(None) };
    match marker.try_lock() {
        Ok(()) => Ok(Some(Claim { _locked: marker })),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(path = %path.display(), %error, "the store's marker cannot be locked");
            Ok(None)
        }
    }
}

/// Claims the name of a store that is open already: who claimed it before finds the file locked in a moment, and gives up.
pub(super) fn claim_late(path: &Path) -> Result<Option<Claim>, OpenError> {
    for _ in 1..TRIES {
        match claim(path) {
            Err(OpenError::Locked(_)) => thread::sleep(PAUSE),
            claimed => return claimed,
        }
    }
    claim(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn r98_a_name_is_claimed_by_one_at_a_time_and_only_once_a_store_was_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("users.redb");
        assert!(claim(&store).expect("nobody has it").is_none(), "no store was made");
        fs::write(marker(&store), "").expect("a file");
        let first = claim(&store).expect("free").expect("a claim");
        assert!(matches!(claim(&store), Err(OpenError::Locked(path)) if path == store));
        drop(first);
        let second = claim_late(&store).expect("free").expect("a claim");
        let waiting = thread::spawn({
            let store = store.clone();
            move || claim_late(&store).map(|claim| claim.is_some())
        });
        drop(second);
        assert!(matches!(waiting.join().expect("no panic"), Ok(true)));
    }
}
