//! proxy.toml: raw text to valid settings, every problem in one run.
//!
//! ```text
//! text -> document (places) + environment -> shape (unknown keys, types) -> raw -> resolve (meaning) -> Config
//! ```
//!
//! [`Config`] holds only valid values: templates are compiled, secrets are read, sizes and durations are numbers. Nothing
//! of the file's own form leaves this module, and no secret ever reaches a message. Imported whole only by `app` and `cli`;
//! the adapters see their own settings.

mod environment;
mod report;
mod settings;

pub use environment::{Environment, OVERRIDE_PREFIX};
pub use report::{Excerpt, Finding, Place, Problems, Warning};
pub use settings::{Config, LogFormat, LogSettings, MigrationSettings, OnMismatch};
