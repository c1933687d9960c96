//! The integration tests, one binary: a file a topic.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod crash_disk;
mod crash_store;
mod store;
mod store_file;
mod store_people;
