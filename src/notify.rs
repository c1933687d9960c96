//! What the service manager is told: `sd_notify(3)`, a datagram of `KEY=value` lines to the Unix socket in `NOTIFY_SOCKET`, and the
//! watchdog that systemd asks for by `WATCHDOG_USEC`. Called by `app` and `cli run`; without a manager everything here does nothing.
//!
//! Never waits: a datagram that the manager does not take at once is dropped, and the next one says more.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<Manager>,
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// Nobody to tell.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// From this process's environment.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_vars(std::process::id(), |name| std::env::var_os(name))
    }

    /// From variables. An address that cannot be used is told in the log and means that there is nobody to tell.
    fn from_vars(own_pid: u32, var: impl Fn(&str) -> Option<OsString>) -> Self {
        let Some(path) = var("NOTIFY_SOCKET") else { return Self::none() };
        let manager = match Manager::at(path.as_bytes()) {
            Ok(manager) => Some(manager),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET cannot be used; the service manager is not told anything");
                None
            }
        };
        let number = |name| var(name).and_then(|value| value.to_str()?.parse::<u64>().ok());
        // Meant for another process, a parent of ours (sd_watchdog_enabled(3)).
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(own_pid));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0).map(Duration::from_micros);
        Self { manager, watchdog }
    }

    /// After how long without hearing that all is well the manager restarts the process, if it watches at all.
    #[must_use]
    pub fn watchdog_deadline(&self) -> Option<Duration> {
        self.manager.as_ref().and(self.watchdog)
    }

    /// Requests are served.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// Something is being loaded anew, or another process is taking over; [`Self::ready`] follows.
    pub fn reloading(&self, status: &str) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS={}", one_line(status)));
    }

    /// The end has begun, and may take so long.
    pub fn stopping(&self, at_most: Duration) {
        self.say(&format!("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={}", at_most.as_micros()));
    }

    /// Another process is the service now, and serves. Said by the one that was: systemd listens to no other (`NotifyAccess=main`).
    pub fn succeeded_by(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}\nREADY=1\nSTATUS=serving in process {pid}"));
    }

    /// All is well.
    pub fn watchdog(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, state: &str) {
        if let Some(manager) = &self.manager
            && let Err(error) = manager.socket.send_to_addr(state.as_bytes(), &manager.address)
        {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

impl Manager {
    /// A path, or after an `@` a name in the abstract namespace.
    fn at(path: &[u8]) -> io::Result<Self> {
        let address = match path {
            [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
            #[cfg(target_os = "linux")]
            [b'@', name @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notified<'a>(vars: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    }

    fn manager() -> (tempfile::TempDir, UnixDatagram, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("set");
        (directory, socket, path.to_string_lossy().into_owned())
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).expect("a datagram");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn each_state_is_one_datagram_of_assignments() {
        let (_kept, socket, path) = manager();
        let notifier = Notifier::from_vars(1, notified(&[("NOTIFY_SOCKET", &path)]));
        notifier.ready("serving\nMAINPID=1");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving MAINPID=1", "a status adds no assignment");
        notifier.stopping(Duration::from_secs(40));
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=40000000");
        notifier.succeeded_by(77);
        assert_eq!(heard(&socket), "MAINPID=77\nREADY=1\nSTATUS=serving in process 77");
        notifier.watchdog();
        assert_eq!(heard(&socket), "WATCHDOG=1");
        notifier.reloading("handing over");
        let reloading = heard(&socket);
        let mut lines = reloading.lines();
        assert_eq!(lines.next(), Some("RELOADING=1"));
        let micros = lines.next().and_then(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(micros.is_some_and(|micros| micros.parse::<u64>().is_ok_and(|micros| micros > 0)), "{reloading}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_in_the_abstract_namespace_is_one_too() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("authferry-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound");
        let notifier = Notifier::from_vars(1, notified(&[("NOTIFY_SOCKET", &format!("@{name}"))]));
        notifier.watchdog();
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }

    #[test]
    fn the_watchdog_is_fed_only_if_it_is_ours() {
        let (_kept, _socket, path) = manager();
        let deadline = |vars: &[(&str, &str)]| Notifier::from_vars(7, notified(vars)).watchdog_deadline();
        let own = ("NOTIFY_SOCKET", path.as_str());
        let whole = Some(Duration::from_secs(30));
        assert_eq!(deadline(&[own, ("WATCHDOG_USEC", "30000000")]), whole);
        assert_eq!(deadline(&[own, ("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")]), whole);
        for others in [
            vec![own],
            vec![own, ("WATCHDOG_USEC", "0")],
            vec![own, ("WATCHDOG_USEC", "soon")],
            vec![own, ("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")],
            vec![("WATCHDOG_USEC", "30000000")],
        ] {
            assert_eq!(deadline(&others), None, "{others:?}");
        }
    }

    #[test]
    fn a_manager_that_is_not_there_or_does_not_listen_holds_nothing_up() {
        Notifier::none().ready("x");
        Notifier::from_vars(1, notified(&[("NOTIFY_SOCKET", "vsock:2:1")])).ready("x");
        let (kept, socket, path) = manager();
        let notifier = Notifier::from_vars(1, notified(&[("NOTIFY_SOCKET", &path)]));
        for _ in 0..10_000 {
            notifier.watchdog();
        }
        drop((kept, socket));
        notifier.watchdog();
    }
}
