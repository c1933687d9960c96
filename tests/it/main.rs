//! The integration tests, one binary: a file a topic.

mod crash_disk;
mod crash_store;
mod store;
mod store_file;
mod store_people;
