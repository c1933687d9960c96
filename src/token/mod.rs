//! The JWT that the app already accepts: minted with its key, algorithm and claims, and read back.

pub mod settings;

pub use settings::TokenSettings;
