//! Where users are kept: opens the configured store. Knows nothing of HTTP, legacy or hashing.

pub mod settings;

pub use settings::StoreSettings;
