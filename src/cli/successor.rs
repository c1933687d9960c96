//! The process that is to take this one's place, started by this one (SIGUSR2): so it stays in the same unit of the service manager,
//! with the same arguments and environment. Called by `run`.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The flag by which a process takes over.
const TAKEOVER: &str = "--takeover";

/// How to start the next process.
pub(super) struct Successor {
    binary: io::Result<PathBuf>,
    arguments: Vec<OsString>,
}

impl Successor {
    /// The same command as this process's, taking over. The path is read now: once another binary has been put in its place, the
    /// kernel calls ours "(deleted)".
    pub(super) fn of_this_process() -> Self {
        Self { binary: std::env::current_exe(), arguments: arguments(std::env::args_os().skip(1)) }
    }

    /// Starts it. Whether it gets as far as serving is told by itself, in the same log.
    pub(super) fn start(&self) {
        let binary = match &self.binary {
            Ok(binary) => binary,
            Err(error) => return tracing::error!(%error, "the own binary is not known; no new process was started"),
        };
        let mut command = Command::new(binary);
        // The watchdog of the service manager is meant for this process until the other one is the service.
        command.args(&self.arguments).env_remove("WATCHDOG_PID").stdin(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return tracing::error!(%error, "no new process could be started"),
        };
        tracing::info!(pid = child.id(), binary = %binary.display(), "started a process that takes over");
        let waiting = std::thread::Builder::new().name("successor".to_owned()).spawn(move || match child.wait() {
            Ok(status) if status.success() => tracing::info!(%status, "the process that was to take over ended"),
            Ok(status) => tracing::error!(%status, "the process that was to take over failed"),
            Err(error) => tracing::error!(%error, "the process that was to take over cannot be waited for"),
        });
        if let Err(error) = waiting {
            // It stays a zombie, should it end before this process.
            tracing::debug!(%error, "nobody waits for the process that takes over");
        }
    }
}

fn arguments(own: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = own.collect();
    if !arguments.iter().any(|argument| argument == TAKEOVER) {
        arguments.push(TAKEOVER.into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_is_started_like_this_one_and_takes_over() {
        for own in [vec!["run", "--config", "a.toml"], vec!["run", "--takeover", "--config", "a.toml"]] {
            let next = arguments(own.iter().map(OsString::from));
            assert!(own.iter().all(|argument| next.iter().any(|other| other == argument)));
            assert_eq!(next.iter().filter(|argument| *argument == TAKEOVER).count(), 1);
        }
    }
}
