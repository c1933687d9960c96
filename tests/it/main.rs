//! The integration tests: one binary, a file a topic, everything over real sockets and files. `support` holds what they share.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should stop there; the configured exemptions reach only #[test] functions"
)]

mod admin;
mod changes;
mod cli;
mod config;
mod crash_disk;
mod crash_store;
mod demo;
mod exchange;
mod explain;
mod export;
mod faults;
mod forward;
mod forward_faults;
mod framing;
mod h2;
mod histories;
mod hostile_bodies;
mod hostile_requests;
mod house;
mod import;
mod import_store;
mod imported;
mod interception;
mod kill;
mod last_logins;
mod legacy;
mod legacy_load;
mod limits;
mod log;
mod login;
mod modes;
mod net;
mod overload;
mod parking;
mod people;
mod pepper;
mod pipelining;
mod real_backends;
mod registration;
mod restart_faults;
mod restarts;
mod roster;
mod sealing;
mod secrets;
mod server;
mod sessions;
mod small_disk;
mod store;
mod store_command;
mod store_file;
mod store_people;
mod store_upgrade;
mod support;
mod tls;
mod web_login;
