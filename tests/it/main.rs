//! The integration tests: one binary, a file a topic, everything over real sockets and files. `support` holds what they share.

mod config;
mod house;
