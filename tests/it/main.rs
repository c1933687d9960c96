//! The integration tests: one binary, a file a topic.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should stop there; the configured exemptions reach only #[test] functions"
)]

mod admin;
mod support;
