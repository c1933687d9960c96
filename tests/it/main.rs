//! The integration tests: one binary, a file a topic, everything over real sockets and files. `support` holds what they share.

mod admin;
mod house;
mod legacy;
mod legacy_load;
mod support;
