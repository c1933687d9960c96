//! What a store needs to be told.

use std::path::PathBuf;

/// `[store]`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The database file.
    pub path: PathBuf,
    /// The most memory that cached pages take, in bytes.
    pub cache_bytes: usize,
}
