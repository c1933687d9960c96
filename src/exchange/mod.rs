//! Users in files: what other products write, and what they read. Bytes in, [`PortableUser`]s out, and the other way round; knows
//! of no store, no config and no terminal. Called by the CLI.
//!
//! ```text
//! file -> framing (raw records, each bounded) -> a format's `parse`, in parallel -> PortableUser -> the store's import
//!                                                                                <- PortableUser <- export
//! ```
//!
//! A record is a pure function of its own bytes, so that records are read in parallel, and one that cannot be read is one line
//! of the rejects file, in the very bytes it came in.

pub use crate::domain::portable::{PortableName, PortablePassword, PortableRoster, PortableUser};
