//! Connects the configured legacy backend: sends the question, judges the answer by the operator's rules, bounds everything.

pub mod settings;

pub use settings::LegacySettings;
