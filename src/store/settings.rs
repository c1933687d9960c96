//! What a store needs to be told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sealing::SealingKeys;
use crate::keys::KeyCheck;

/// `[store]`, resolved.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The database file.
    pub path: PathBuf,
    /// The most memory that cached pages take, in bytes.
    pub cache_bytes: usize,
    /// The folder for backups that are made while it serves; none for the one that the file is in.
    pub backups: Option<PathBuf>,
    /// The keys that its records need.
    pub keys: StoreKeys,
}

impl StoreSettings {
    /// Of a store that nothing is sealed in.
    #[must_use]
    pub fn without_keys(path: PathBuf, cache_bytes: usize) -> Self {
        Self { path, cache_bytes, backups: None, keys: StoreKeys::default() }
    }

    /// The folder for backups.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        let beside = || self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.backups.clone().unwrap_or_else(|| beside().to_owned())
    }
}

/// The keys that records need: to be opened, and so that their hashes can be verified. A store with records that need others is
/// refused.
#[derive(Debug, Clone, Default)]
pub struct StoreKeys {
    /// What profiles are and were sealed with. None where nothing ever was.
    pub sealing: Option<Arc<SealingKeys>>,
    /// Check values of the keys that passwords are and were peppered with; the store never sees those keys.
    pub peppers: Vec<KeyCheck>,
}

impl StoreKeys {
    /// The check values of all keys.
    pub(super) fn checks(&self) -> impl Iterator<Item = &KeyCheck> {
        self.sealing.iter().flat_map(|keys| keys.checks()).chain(&self.peppers)
    }
}
