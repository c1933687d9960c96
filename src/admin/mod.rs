//! The admin listener: metrics, health, the API and the console, on a socket of its own.

pub mod settings;

pub use settings::AdminSettings;
