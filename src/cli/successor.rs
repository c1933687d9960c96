//! The process that is to take this one's place, started by this one (SIGUSR2): so it stays in the same unit of the service manager,
//! with the same arguments and environment. Called by `run`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
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
        let binary = std::env::current_exe().map(|own| {
            let folder = std::env::current_dir().ok();
            let called = std::env::args_os().next().unwrap_or_default();
            as_called(&called, folder.as_deref(), std::env::var_os("PATH").as_deref(), &own).unwrap_or(own)
        });
        Self { binary, arguments: arguments(std::env::args_os().skip(1)) }
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

/// The path by which this process was called, with its symbolic links: where `current` points to a release, the next process is the
/// release that it points to by then. None if it is not known to lead to this very binary, `own`: `argv[0]` may say anything.
fn as_called(called: &OsStr, folder: Option<&Path>, search: Option<&OsStr>, own: &Path) -> Option<PathBuf> {
    let own = own.canonicalize().ok()?;
    let leads_here = |path: &PathBuf| path.canonicalize().is_ok_and(|found| found == own);
    let called = Path::new(called);
    let absolute = |path: PathBuf| if path.is_absolute() { Some(path) } else { folder.map(|folder| folder.join(path)) };
    // Like execvp(3): a name without a slash is looked up.
    if called.components().count() > 1 || called.is_absolute() {
        return absolute(called.to_owned()).filter(leads_here);
    }
    let found =
        std::env::split_paths(search?).map(|place| place.join(called)).filter_map(absolute).find(|path| path.is_file());
    found.filter(leads_here)
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
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_next_process_is_the_release_that_the_link_points_to_by_then() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = folder.path().canonicalize().expect("a path");
        for release in ["1", "2"] {
            std::fs::create_dir(top.join(release)).expect("made");
            std::fs::write(top.join(release).join("authferry"), release).expect("written");
        }
        symlink(top.join("1"), top.join("current")).expect("linked");
        let (own, link) = (top.join("1/authferry"), top.join("current/authferry"));
        let search = std::env::join_paths([top.join("nowhere"), top.join("current")]).expect("no colon");
        let call = |called: &OsStr| as_called(called, Some(&top), Some(&search), &own);
        assert_eq!(call(link.as_os_str()).as_ref(), Some(&link));
        assert_eq!(call("current/authferry".as_ref()).as_ref(), Some(&link), "relative to where it was started");
        assert_eq!(call("./current/authferry".as_ref()), Some(top.join("./current/authferry")));
        assert_eq!(call("authferry".as_ref()).as_ref(), Some(&link), "found by PATH");
        for other in ["", "another", "2/authferry", "/nowhere/authferry", "-authferry"] {
            assert_eq!(call(other.as_ref()), None, "{other}: does not lead to this process's binary");
        }
    }

    #[test]
    fn the_next_process_is_started_like_this_one_and_takes_over() {
        for own in [vec!["run", "--config", "a.toml"], vec!["run", "--takeover", "--config", "a.toml"]] {
            let next = arguments(own.iter().map(OsString::from));
            assert!(own.iter().all(|argument| next.iter().any(|other| other == argument)));
            assert_eq!(next.iter().filter(|argument| *argument == TAKEOVER).count(), 1);
        }
    }
}
