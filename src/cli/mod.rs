//! The command line, a file a subcommand.

pub mod check;
pub mod schema;
