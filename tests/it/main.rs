//! The integration tests: one binary, a file a topic, everything over real sockets and files. `support` holds what they share.

mod admin;
mod cli;
mod config;
mod crash_disk;
mod crash_store;
mod demo;
mod house;
mod legacy;
mod legacy_load;
mod login;
mod store;
mod store_file;
mod store_people;
mod support;
