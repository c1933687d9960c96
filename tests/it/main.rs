//! Every test that needs a socket, a file or a process, in one binary: a file for each topic, the peers they talk to in `support`.

#![allow(missing_docs, unreachable_pub, reason = "tests name themselves, and nobody else uses this crate")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod forward;
mod forward_faults;
mod net;
mod server;
mod support;
