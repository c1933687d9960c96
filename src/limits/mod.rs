//! Limits by client address and by account: governor's GCRA over a bounded store of our own.

pub mod settings;

pub use settings::{CountedAttempts, LimitSettings, Quota};
