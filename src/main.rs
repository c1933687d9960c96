//! The binary: parses the command line and hands it to [`authferry::cli`]. Owns the allocator, and nothing else.

use std::process::ExitCode;

/// Many threads allocate and free small buffers of each other's; the system's allocator is the slower one at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    authferry::cli::main()
}
